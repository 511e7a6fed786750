//! The pause of an instrument whose orders are refused for the rate.
//!
//! A spent rate budget refills with time alone, so asking again soon only makes refusals. The pause doubles with each of
//! them, up to a bound, and starts short again once an order or amend was accepted. It is for orders and amends only: a
//! cancel is never held back by it, nor do the answers to cancels move it, as budgets keep a reserve for cancels.

use crate::event::RejectReason;
use crate::order::OrderState;
use crate::state_hash::StateHasher;
use crate::strategy::OrderUpdate;

/// Doublings at most: the longest pause is 32 times the shortest.
const DOUBLINGS_MAX: u32 = 5;

/// See the module header.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct RateBackoff {
    /// End of the pause.
    until_ns: u64,
    /// Doublings of the next pause: refusals in a row, as far as they count.
    doublings: u32,
}

impl RateBackoff {
    /// True while no order and no amend should be asked for.
    #[inline]
    pub fn is_pausing(&self, now_ns: u64) -> bool {
        now_ns < self.until_ns
    }

    /// Takes what became of an own order; `shortest_ns` is the first pause. True if this was an order or amend refused for
    /// the rate, which the pause answers.
    pub fn on_order(&mut self, update: &OrderUpdate, now_ns: u64, shortest_ns: u64) -> bool {
        if was_accepted(update) {
            self.doublings = 0;
            // Another request may have been refused meanwhile: that is the first of a row now.
            self.until_ns = self.until_ns.min(now_ns.saturating_add(shortest_ns));
        }
        let refused = was_refused_for_rate(update);
        // What was asked together is refused together: one pause for all.
        if refused && !self.is_pausing(now_ns) {
            self.until_ns = now_ns.saturating_add(shortest_ns.saturating_mul(1 << self.doublings));
            self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
        }
        refused
    }

    pub fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.until_ns);
        hasher.write_u32(self.doublings);
    }
}

/// The venue took an order (one that it closed at once, too) or an amend.
#[inline]
fn was_accepted(update: &OrderUpdate) -> bool {
    use OrderState::*;
    let taken = match update.previous {
        Pending => matches!(update.state, Acked | PartiallyFilled | Filled | Canceled | Expired),
        PendingReplace => update.state.is_working(),
        _ => false,
    };
    taken && update.reason.is_none()
}

/// An order or amend was refused for the rate. Where it may as well have been a cancel, it was the cancel.
#[inline]
fn was_refused_for_rate(update: &OrderUpdate) -> bool {
    use OrderState::*;
    let no_cancel = match (update.previous, update.state) {
        (_, Rejected) => true,
        // A refused cancel would have left the amend on its way, and would have ended the wait for itself.
        (PendingReplace, state) => state != PendingReplace,
        (PendingCancel, PendingCancel) => true,
        _ => false,
    };
    no_cancel && update.reason == Some(RejectReason::RateLimit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Side;
    use crate::fixed::{Price, Qty};
    use crate::ids::{InstrumentId, OrderId};
    use OrderState::*;

    fn update(previous: OrderState, state: OrderState, reason: Option<RejectReason>) -> OrderUpdate {
        let (order, instrument) = (OrderId::new(1, 1), InstrumentId(0));
        OrderUpdate { order, instrument, side: Side::Buy, previous, state, price: Price(1), qty: Qty(1), filled: Qty(0), reason }
    }

    fn refused() -> OrderUpdate {
        update(Pending, Rejected, Some(RejectReason::RateLimit))
    }

    /// Refuses `count` requests, each at the end of the pause; the pauses.
    fn pauses(backoff: &mut RateBackoff, now_ns: &mut u64, count: usize) -> Vec<u64> {
        let mut pauses = Vec::new();
        for _ in 0..count {
            assert!(!backoff.is_pausing(*now_ns) && backoff.on_order(&refused(), *now_ns, 10));
            pauses.push(backoff.until_ns - *now_ns);
            *now_ns = backoff.until_ns;
        }
        pauses
    }

    #[test]
    fn pauses_double_up_to_the_bound_and_start_short_again_once_accepted() {
        let (mut backoff, mut now_ns) = (RateBackoff::default(), 1_000);
        assert_eq!(pauses(&mut backoff, &mut now_ns, 8), [10, 20, 40, 80, 160, 320, 320, 320]);
        assert!(!backoff.on_order(&update(Pending, Acked, None), now_ns, 10));
        assert_eq!(pauses(&mut backoff, &mut now_ns, 2), [10, 20]);
    }

    #[test]
    fn what_was_asked_together_makes_one_pause() {
        let mut backoff = RateBackoff::default();
        assert!(backoff.on_order(&refused(), 1_000, 10) && backoff.on_order(&refused(), 1_009, 10));
        assert_eq!(backoff, RateBackoff { until_ns: 1_010, doublings: 1 });
    }

    #[test]
    fn an_acceptance_leaves_no_more_than_the_shortest_pause() {
        let (mut backoff, mut now_ns) = (RateBackoff::default(), 1_000);
        pauses(&mut backoff, &mut now_ns, 6);
        backoff.on_order(&refused(), now_ns, 10);
        backoff.on_order(&update(PendingReplace, Acked, None), now_ns, 10);
        assert!(backoff.is_pausing(now_ns + 9) && !backoff.is_pausing(now_ns + 10));
    }

    #[test]
    fn only_answers_to_orders_and_amends_count() {
        let rate = Some(RejectReason::RateLimit);
        let other = Some(RejectReason::PostOnlyWouldTake);
        for (previous, state, reason, refused) in [
            (Pending, Rejected, rate, true),
            (PendingReplace, Acked, rate, true),
            (PendingReplace, PartiallyFilled, rate, true),
            (PendingCancel, PendingCancel, rate, true), // an amend, while a cancel is on its way
            (PendingCancel, Acked, rate, false),        // cancels, from here on
            (PendingCancel, PendingReplace, rate, false),
            (PendingReplace, PendingReplace, rate, false),
            (Acked, Acked, rate, false),
            (Unknown, Unknown, rate, false),
            (Pending, Rejected, other, false),
            (PendingReplace, Acked, other, false),
        ] {
            let mut backoff = RateBackoff::default();
            assert_eq!(backoff.on_order(&update(previous, state, reason), 1_000, 10), refused, "{previous:?} {state:?} {reason:?}");
            assert_eq!(backoff.is_pausing(1_000), refused, "{previous:?} {state:?} {reason:?}");
        }
        for (previous, state, reason, accepted) in [
            (Pending, Acked, None, true),
            (Pending, PartiallyFilled, None, true),
            (Pending, Filled, None, true),
            (Pending, Expired, None, true), // immediate or cancel, and nothing filled
            (PendingReplace, Acked, None, true),
            (PendingReplace, PartiallyFilled, None, true),
            (Pending, Unknown, None, false),
            (Pending, Rejected, other, false),
            (PendingReplace, Acked, other, false),
            (PendingReplace, Filled, None, false), // of the amend this says nothing
            (PendingCancel, Canceled, None, false),
            (Acked, PartiallyFilled, None, false),
        ] {
            let mut backoff = RateBackoff { until_ns: 0, doublings: 3 };
            backoff.on_order(&update(previous, state, reason), 1_000, 10);
            assert_eq!(backoff.doublings == 0, accepted, "{previous:?} {state:?} {reason:?}");
        }
    }

    #[test]
    fn no_pause_overflows() {
        let mut backoff = RateBackoff { until_ns: 0, doublings: DOUBLINGS_MAX };
        backoff.on_order(&refused(), u64::MAX - 1, u64::MAX);
        assert_eq!(backoff.until_ns, u64::MAX);
    }

    #[test]
    fn all_of_it_is_hashed() {
        let hash = |until_ns, doublings| {
            let mut hasher = StateHasher::new();
            RateBackoff { until_ns, doublings }.hash_state(&mut hasher);
            hasher.finish()
        };
        assert_ne!(hash(1, 2), hash(2, 2));
        assert_ne!(hash(1, 2), hash(1, 1));
    }
}
