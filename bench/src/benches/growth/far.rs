//! What memory itself costs where there is more of it than the core's own caches hold: one cache line, and three of which each
//! says where the next one lies, as table, instrument and book do. The least that a message can take more where it is one of
//! a thousand instruments'.

use crate::measure::Meter;
use crate::random::Random;
use std::hint::black_box;

/// What is timed, by index.
pub const OPERATIONS: [&str; 2] = ["a cache line out of the core's caches", "three, each found by the one before"];
const ONE: usize = 0;
const THREE: usize = 1;
/// Eight times a large second-level cache.
const BYTES: usize = 16 << 20;
/// Operations in a turn.
const TURN: usize = 64;

/// A cache line that says which one is next.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    next: u32,
}

/// Lines, all of them in one circle, in no order that a processor could guess.
pub struct Lines {
    lines: Vec<Line>,
    at: u32,
}

impl Lines {
    /// From a seed.
    pub fn new(seed: u64) -> Lines {
        let count = BYTES / size_of::<Line>();
        let mut lines: Vec<Line> = (0..count as u32).map(|next| Line { next }).collect();
        let mut random = Random::new(seed);
        // Sattolo's shuffle: one circle through all.
        for last in (1..count).rev() {
            let other = random.next() as usize % last;
            lines.swap(last, other);
        }
        Lines { lines, at: 0 }
    }

    /// Goes on by so many lines.
    #[inline]
    fn go_on(&mut self, count: usize) {
        for _ in 0..count {
            self.at = self.lines[self.at as usize].next;
        }
    }

    /// Times each operation some times.
    pub fn turn(&mut self, meter: &mut Meter) {
        for _ in 0..TURN {
            meter.time(ONE, || black_box(&mut *self).go_on(1));
            meter.time(THREE, || black_box(&mut *self).go_on(3));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_leads_through_all_lines_before_one_comes_again() {
        let mut lines = Lines::new(1);
        let mut seen = vec![false; lines.lines.len()];
        for _ in 0..seen.len() {
            assert!(!std::mem::replace(&mut seen[lines.at as usize], true));
            lines.go_on(1);
        }
        assert_eq!(lines.at, 0);
    }
}
