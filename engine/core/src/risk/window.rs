//! Sliding windows: at most so many within any stretch of so long. Exact and O(1).
//!
//! The last `count` events are kept in a ring, each as the time at which it leaves the window. One more is allowed once the
//! oldest has left. When that will be is known from the last event on: a check is one comparison, and the ring
//! is read only when an event is recorded.

use crate::config::RateLimit;
use crate::prefetch::extent;
use crate::state_hash::StateHasher;
use core::ops::Range;

/// Slots from the next one on that are touched between orders.
const RECORDS_TOUCHED: usize = 8;

/// Counts events against a [`RateLimit`].
#[derive(Clone, Debug)]
pub struct Window {
    /// From when on one more event keeps the limit.
    allowed_at_ns: u64,
    /// When each of the last events leaves the window; 0 where there was none yet.
    leaves_ns: Box<[u64]>,
    /// The oldest.
    next: usize,
    window_ns: u64,
    /// Sum of the times of all events ever recorded; stands for the ring in the state hash.
    times_sum: u64,
}

impl Window {
    /// An empty window.
    pub fn new(limit: RateLimit) -> Window {
        let count = limit.count.clamp(1, RateLimit::COUNT_MAX) as usize;
        // Written, so that the pages are there before the first event.
        let leaves_ns = std::iter::repeat_n(core::hint::black_box(0), count).collect();
        Window { allowed_at_ns: 0, leaves_ns, next: 0, window_ns: limit.window_ns, times_sum: 0 }
    }

    /// True if one more event now keeps the limit.
    #[inline]
    pub fn allows(&self, now_ns: u64) -> bool {
        now_ns >= self.allowed_at_ns
    }

    /// Records an event, allowed or not.
    #[inline]
    pub fn record(&mut self, now_ns: u64) {
        let (ring, at) = (&mut self.leaves_ns, self.next);
        ring[at] = now_ns.saturating_add(self.window_ns);
        let oldest = if at + 1 < ring.len() { at + 1 } else { 0 };
        self.next = oldest;
        self.allowed_at_ns = ring[oldest];
        self.times_sum = self.times_sum.wrapping_add(now_ns);
    }

    /// Forgets all events. Walks the ring.
    pub fn clear(&mut self) {
        self.allowed_at_ns = 0;
        self.leaves_ns.fill(0);
        self.next = 0;
        self.times_sum = 0;
    }

    /// Gives out the slots that the next records write, and the one that each of them reads: those of a line's length at least.
    pub(super) fn touch(&self, touch: &mut impl FnMut(Range<usize>)) {
        let (slots, rest) = (&self.leaves_ns, RECORDS_TOUCHED.saturating_sub(self.leaves_ns.len() - self.next));
        touch(extent(&slots[self.next..slots.len().min(self.next + RECORDS_TOUCHED)]));
        touch(extent(&slots[..rest.min(self.next)]));
    }

    /// Writes the state.
    pub fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.times_sum);
        hasher.write_usize(self.next);
        hasher.write_u64(self.allowed_at_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_more_than_the_count_in_any_window(
            count in 1u32..6, window_ns in 1u64..50, steps in proptest::collection::vec((0u64..20, 0u8..12), 1..200),
        ) {
            let mut window = Window::new(RateLimit { count, window_ns });
            let mut taken: Vec<u64> = Vec::new();
            let mut now = 1_000;
            for (step, action) in steps {
                now += step;
                if action == 0 {
                    window.clear();
                    taken.clear();
                }
                let recent = taken.iter().filter(|&&t| now - t < window_ns).count();
                prop_assert_eq!(window.allows(now), recent < count as usize);
                // Bursts are recorded as well: what is not allowed happened all the same.
                if window.allows(now) || action == 1 {
                    window.record(now);
                    taken.push(now);
                }
            }
        }
    }
}
