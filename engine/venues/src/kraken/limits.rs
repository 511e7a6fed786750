//! The trading counter: per account and pair, it rises with each request and falls with time.
//!
//! | action | fixed | more by seconds since the order's creation or last amend |
//! |---|---|---|
//! | add | 1 | |
//! | amend | 1 | <5: 3, <10: 2, <15: 1 |
//! | cancel | 0 | <5: 8, <10: 6, <15: 5, <45: 4, <90: 2, <300: 1 |
//! | cancel all | 1 a pair | |
//!
//! The venue refuses above the account's threshold (60, 125 or 180 by tier). The threshold comes with the
//! acknowledgement of the `executions` subscription (`maxratecount`), the counter itself with execution records
//! where the venue states it; until then the lowest tier is assumed. A cancel is sent as long as the counter is not
//! over the threshold, whatever it costs; orders and amends must also leave the reserve untouched.

use crate::limits::{Leaky, Urgency};

const S: u64 = 1_000_000_000;
const MILLI: u64 = 1_000;
/// Threshold and decay a second (in thousandths) of the tiers.
const TIERS: [(u64, u64); 3] = [(60, 1_000), (125, 2_340), (180, 3_750)];

/// What a request costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cost {
    /// A new order.
    Add,
    /// An amend of an order last changed at this time (0 = not known).
    Amend {
        /// Nanoseconds since the Unix epoch.
        changed_ns: u64,
    },
    /// A cancel of an order last changed at this time (0 = not known).
    Cancel {
        /// Nanoseconds since the Unix epoch.
        changed_ns: u64,
    },
}

/// Points of a request.
pub const fn points(cost: Cost, now_ns: u64) -> u64 {
    match cost {
        Cost::Add => 1,
        Cost::Amend { changed_ns } => match now_ns.saturating_sub(changed_ns) / S {
            _ if changed_ns == 0 => 4,
            0..5 => 4,
            5..10 => 3,
            10..15 => 2,
            _ => 1,
        },
        Cost::Cancel { changed_ns } => match now_ns.saturating_sub(changed_ns) / S {
            _ if changed_ns == 0 => 8,
            0..5 => 8,
            5..10 => 6,
            10..15 => 5,
            15..45 => 4,
            45..90 => 2,
            90..300 => 1,
            _ => 0,
        },
    }
}

/// The counters of all pairs, by place of the symbol.
#[derive(Clone, Debug)]
pub struct RateLedger {
    pairs: Vec<Leaky>,
    limit: u64,
    reserve_percent: u8,
}

impl RateLedger {
    /// Counters for so many pairs, at the lowest tier.
    pub fn new(pairs: usize, reserve_percent: u8) -> RateLedger {
        let (limit, decay) = TIERS[0];
        RateLedger { pairs: vec![Leaky::new(limit * MILLI, decay, reserve_percent); pairs], limit, reserve_percent }
    }

    /// The venue says what the threshold is. An unknown tier is taken to drain as slowly as the slowest, in a minute.
    pub fn set_limit(&mut self, limit: u64, now_ns: u64) {
        let limit = limit.min(1_000_000_000);
        if limit == 0 || limit == self.limit {
            return;
        }
        self.limit = limit;
        let decay = TIERS.iter().find(|(known, _)| *known == limit).map_or(limit * MILLI / 60, |(_, decay)| *decay);
        for pair in &mut self.pairs {
            let counter = pair.counter_milli();
            *pair = Leaky::new(limit * MILLI, decay, self.reserve_percent);
            pair.correct(counter, now_ns);
        }
    }

    /// Spends what a request costs; false, and nothing spent, if it must not go out.
    #[inline]
    pub fn admit(&mut self, pair: usize, cost: Cost, now_ns: u64) -> bool {
        let milli = points(cost, now_ns) * MILLI;
        let Some(pair) = self.pairs.get_mut(pair) else { return false };
        let fits = match cost {
            Cost::Cancel { .. } => pair.has_room(0, Urgency::Cancel, now_ns),
            Cost::Add | Cost::Amend { .. } => pair.has_room(milli, Urgency::Normal, now_ns),
        };
        if fits {
            pair.spend(milli, now_ns);
        }
        fits
    }

    /// A pair's counter as it is, to be put back by [`RateLedger::restore`].
    pub fn pair(&self, pair: usize) -> Option<Leaky> {
        self.pairs.get(pair).copied()
    }

    /// Puts a pair's counter back to what it was.
    pub fn restore(&mut self, pair: usize, counter: Option<Leaky>) {
        if let (Some(pair), Some(counter)) = (self.pairs.get_mut(pair), counter) {
            *pair = counter;
        }
    }

    /// Spends one point on every pair: a cancel of everything.
    pub fn charge_all(&mut self, now_ns: u64) {
        self.pairs.iter_mut().for_each(|pair| pair.spend(MILLI, now_ns));
    }

    /// The venue refused for the rate: the counter is at its threshold, whatever we believed.
    pub fn refused(&mut self, pair: usize, now_ns: u64) {
        if let Some(pair) = self.pairs.get_mut(pair) {
            pair.correct(pair.counter_milli().max(self.limit * MILLI), now_ns);
        }
    }

    /// The venue says what the counter is, in thousandths.
    pub fn correct(&mut self, pair: usize, counter_milli: u64, now_ns: u64) {
        if let Some(pair) = self.pairs.get_mut(pair) {
            pair.correct(counter_milli, now_ns);
        }
    }

    /// A pair's counter in thousandths, and the threshold in points.
    pub fn state(&self, pair: usize) -> (u64, u64) {
        (self.pairs.get(pair).map_or(0, Leaky::counter_milli), self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_orders_are_dear_to_change() {
        let at = |age_s: u64| 1_000 * S - age_s * S;
        let amend = |age| points(Cost::Amend { changed_ns: at(age) }, 1_000 * S);
        let cancel = |age| points(Cost::Cancel { changed_ns: at(age) }, 1_000 * S);
        assert_eq!([0, 4, 5, 10, 15].map(amend), [4, 4, 3, 2, 1]);
        assert_eq!([0, 5, 10, 15, 45, 90, 300].map(cancel), [8, 6, 5, 4, 2, 1, 0]);
        assert_eq!(points(Cost::Cancel { changed_ns: 0 }, 1_000 * S), 8, "not known: as dear as can be");
    }

    #[test]
    fn the_reserve_is_left_for_cancels_which_may_overdraw_once() {
        let now = 1_000 * S;
        let mut ledger = RateLedger::new(2, 20);
        assert_eq!((0..60).filter(|_| ledger.admit(0, Cost::Add, now)).count(), 48);
        assert!(ledger.admit(1, Cost::Add, now), "each pair has its own counter");
        assert!(ledger.admit(0, Cost::Cancel { changed_ns: now }, now) && ledger.admit(0, Cost::Cancel { changed_ns: now }, now));
        assert!(!ledger.admit(0, Cost::Cancel { changed_ns: now }, now), "64 of 60");
        assert!(ledger.admit(0, Cost::Cancel { changed_ns: now }, now + 4 * S));
        assert!(!ledger.admit(7, Cost::Add, now));
    }

    #[test]
    fn the_venues_word_prevails() {
        let now = 1_000 * S;
        let mut ledger = RateLedger::new(1, 0);
        ledger.refused(0, now);
        assert!(!ledger.admit(0, Cost::Add, now) && ledger.admit(0, Cost::Add, now + S));
        ledger.set_limit(180, now + S);
        assert_eq!(ledger.state(0).1, 180);
        assert_eq!((0..200).filter(|_| ledger.admit(0, Cost::Add, now + S)).count(), 120);
        ledger.correct(0, 0, now + S);
        assert!(ledger.admit(0, Cost::Add, now + S));
        ledger.set_limit(0, now);
        assert_eq!(ledger.state(0).1, 180);
    }
}
