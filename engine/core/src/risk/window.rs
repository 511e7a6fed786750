//! Sliding windows: at most so many within any stretch of so long. Exact and O(1).
//!
//! The times of the last `count` events are kept in a ring. One more is allowed if the oldest of them is
//! at least a window ago. When that will be is known from the last event on: a check is one comparison, and the ring
//! is read only when an event is recorded.

use crate::config::RateLimit;
use crate::state_hash::StateHasher;

/// Counts events against a [`RateLimit`].
#[derive(Clone, Debug)]
pub struct Window {
    /// From when on one more event keeps the limit.
    allowed_at_ns: u64,
    times: Box<[u64]>,
    next: usize,
    filled: bool,
    window_ns: u64,
    /// Rolling hash of all events ever recorded; stands for the ring in the state hash.
    digest: u64,
}

impl Window {
    /// An empty window.
    pub fn new(limit: RateLimit) -> Window {
        let count = limit.count.clamp(1, RateLimit::COUNT_MAX) as usize;
        Window { allowed_at_ns: 0, times: vec![0; count].into_boxed_slice(), next: 0, filled: false, window_ns: limit.window_ns, digest: 0 }
    }

    /// True if one more event now keeps the limit.
    #[inline]
    pub fn allows(&self, now_ns: u64) -> bool {
        now_ns >= self.allowed_at_ns
    }

    /// Records an event, allowed or not.
    #[inline]
    pub fn record(&mut self, now_ns: u64) {
        self.times[self.next] = now_ns;
        self.next += 1;
        if self.next == self.times.len() {
            self.next = 0;
            self.filled = true;
        }
        if self.filled {
            self.allowed_at_ns = self.times[self.next].saturating_add(self.window_ns);
        }
        self.digest = (self.digest ^ now_ns).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
    }

    /// Forgets all events.
    pub fn clear(&mut self) {
        self.allowed_at_ns = 0;
        self.next = 0;
        self.filled = false;
        self.digest = 0;
    }

    /// Reads what the next record will need, so that it is in the caches then.
    pub(super) fn touch(&self) {
        core::hint::black_box(self.times.get(self.next));
    }

    /// Writes the state.
    pub fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.digest);
        hasher.write_usize(self.next << 1 | usize::from(self.filled));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_more_than_the_count_in_any_window(
            count in 1u32..6, window_ns in 1u64..50, steps in proptest::collection::vec(0u64..20, 1..200),
        ) {
            let mut window = Window::new(RateLimit { count, window_ns });
            let mut taken: Vec<u64> = Vec::new();
            let mut now = 1_000;
            for step in steps {
                now += step;
                let recent = taken.iter().filter(|&&t| now - t < window_ns).count();
                prop_assert_eq!(window.allows(now), recent < count as usize);
                if window.allows(now) {
                    window.record(now);
                    taken.push(now);
                }
            }
        }
    }
}
