//! TSC time as nanoseconds since the Unix epoch.
//!
//! The hot thread reads the time stamp counter (about 10 ns, no system call) through quanta, which
//! calibrates it once. Anchored to the wall clock at start; the cold plane compares the two each second
//! and publishes the error, which the hot thread works off slowly ([`Clock::slew`]), so time never jumps
//! and never runs backwards.
//!
//! An order's way has seven readings in it, so what follows the counter's own reading is one multiplication by a fixed-point
//! number ([`SCALE_SHIFT`]) and one addition; quanta's conversion asks what clock it has, and shifts by what it was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Largest correction taken in one [`Clock::slew`], in nanoseconds.
pub const SLEW_STEP_NS_MAX: i64 = 200;

/// Bits behind the point of what a count of the counter is in nanoseconds: with a counter of 5 GHz, a hundred days have an error of
/// rounding below 50 us, which is slewed away with the rest.
const SCALE_SHIFT: u32 = 40;

/// A clock owned by one thread. Clones share the anchor and the published error, not the slew.
#[derive(Clone)]
pub struct Clock {
    quanta: quanta::Clock,
    /// Nanoseconds of one count, times 2^[`SCALE_SHIFT`].
    scale: u64,
    anchor_raw: u64,
    anchor_unix_ns: u64,
    slewed_ns: i64,
    /// The anchor, slewed.
    base_ns: u64,
    error_ns: Arc<AtomicI64>,
    last_ns: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

/// The wall clock: nanoseconds since the Unix epoch.
pub fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

impl Clock {
    /// Calibrates (up to 200 ms, once a process) and anchors to the wall clock.
    pub fn new() -> Clock {
        let quanta = quanta::Clock::new();
        // The tightest of several brackets of the wall clock by the TSC.
        let mut best = (u64::MAX, 0, 0);
        for _ in 0..16 {
            let before = quanta.raw();
            let unix = wall_ns();
            let after = quanta.raw();
            let width = after.saturating_sub(before);
            if width < best.0 {
                best = (width, before + width / 2, unix);
            }
        }
        let (_, anchor_raw, anchor_unix_ns) = best;
        Clock {
            scale: quanta.delta_as_nanos(0, 1 << SCALE_SHIFT),
            quanta,
            anchor_raw,
            anchor_unix_ns,
            slewed_ns: 0,
            base_ns: anchor_unix_ns,
            error_ns: Arc::new(AtomicI64::new(0)),
            last_ns: 0,
        }
    }

    /// Nanoseconds from the anchor to a reading of the counter.
    #[inline(always)]
    fn elapsed_ns(&self, raw: u64) -> u64 {
        ((u128::from(raw.saturating_sub(self.anchor_raw)) * u128::from(self.scale)) >> SCALE_SHIFT) as u64
    }

    /// Now. Never earlier than the last answer of this clone.
    #[inline]
    pub fn now_ns(&mut self) -> u64 {
        let now = self.base_ns.wrapping_add(self.elapsed_ns(self.quanta.raw()));
        self.last_ns = self.last_ns.max(now);
        self.last_ns
    }

    /// Takes a step of the published error; called by the hot thread about each millisecond.
    #[inline]
    pub fn slew(&mut self) {
        let error = self.error_ns.load(Ordering::Relaxed) - self.slewed_ns;
        self.slewed_ns += error.clamp(-SLEW_STEP_NS_MAX, SLEW_STEP_NS_MAX);
        self.base_ns = self.anchor_unix_ns.saturating_add_signed(self.slewed_ns);
    }

    /// Compares with the wall clock and publishes the error for all clones; returns it (wall minus TSC,
    /// nanoseconds, slew not counted). For the cold plane.
    pub fn measure_error(&mut self) -> i64 {
        let mut best = (u64::MAX, 0i64);
        for _ in 0..8 {
            let before = self.quanta.raw();
            let unix = wall_ns();
            let after = self.quanta.raw();
            let width = after.saturating_sub(before);
            if width < best.0 {
                let tsc = self.anchor_unix_ns + self.elapsed_ns(before + width / 2);
                best = (width, unix as i64 - tsc as i64);
            }
        }
        self.error_ns.store(best.1, Ordering::Relaxed);
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_wall_clock_and_never_runs_backwards() {
        let mut clock = Clock::new();
        let mut last = 0;
        for _ in 0..10_000 {
            let now = clock.now_ns();
            assert!(now >= last);
            last = now;
        }
        assert!(wall_ns().abs_diff(clock.now_ns()) < 5_000_000, "within 5 ms");
        assert!(clock.measure_error().abs() < 5_000_000);
    }

    #[test]
    fn counts_are_the_nanoseconds_that_quanta_takes_them_for() {
        let clock = Clock::new();
        let day = clock.quanta.raw() - clock.anchor_raw + 300_000_000_000_000;
        for counts in (0..60).map(|power| 1u64 << power).filter(|counts| *counts <= day).chain([0, 1_000_003, day]) {
            let (ours, theirs) = (clock.elapsed_ns(clock.anchor_raw + counts), clock.quanta.delta_as_nanos(0, counts));
            assert!(ours.abs_diff(theirs) <= 1 + counts / 1_000_000_000_000, "{counts} counts: {ours}, {theirs}");
        }
        assert_eq!(clock.elapsed_ns(clock.anchor_raw - 1), 0, "another core's counter may be behind");
    }

    #[test]
    fn a_wrong_clock_is_corrected_in_small_steps() {
        let mut clock = Clock::new();
        clock.error_ns.store(1_000_000, Ordering::Relaxed);
        let before = clock.now_ns();
        clock.slew();
        assert_eq!(clock.slewed_ns, SLEW_STEP_NS_MAX);
        for _ in 0..10_000 {
            clock.slew();
        }
        assert_eq!(clock.slewed_ns, 1_000_000);
        clock.error_ns.store(-1_000_000_000, Ordering::Relaxed);
        for _ in 0..100 {
            clock.slew();
            assert!(clock.now_ns() >= before);
        }
    }
}
