//! Daily loss and drawdown of one scope (everything, or one strategy), in the reporting asset.
//!
//! The day is the UTC day. Its loss is counted from the P&L at its first look; the drawdown from the best P&L ever
//! seen. Both start anew when an operator decides to go on ([`LossWatch::accept`]).

use crate::event::HaltReason;
use crate::fixed::{Money, difference};
use crate::state_hash::StateHasher;

/// Nanoseconds in a day.
const DAY_NS: u64 = 86_400_000_000_000;

/// See the module header.
#[derive(Clone, Copy, Debug)]
pub struct LossWatch {
    daily_loss_max: Money,
    drawdown_max: Option<Money>,
    day: u64,
    day_start: Money,
    peak: Money,
    /// Until then, and while the P&L is above `floor`, a look finds nothing.
    day_ends_ns: u64,
    floor: Money,
}

impl LossWatch {
    /// Watches from a P&L of zero. Limits are positive amounts.
    pub const fn new(daily_loss_max: Money, drawdown_max: Option<Money>) -> LossWatch {
        let (day_start, peak) = (Money::ZERO, Money::ZERO);
        LossWatch { daily_loss_max, drawdown_max, day: 0, day_start, peak, day_ends_ns: 0, floor: Money::ZERO }
    }

    /// Takes the P&L now. Returns the limit that it reaches, if any.
    #[inline]
    pub fn look(&mut self, net: Money, now_ns: u64) -> Option<HaltReason> {
        if now_ns < self.day_ends_ns {
            if net > self.peak {
                self.raise(net);
            }
            if net > self.floor {
                return None;
            }
        }
        self.look_close(net, now_ns)
    }

    /// A new peak.
    #[inline(never)]
    fn raise(&mut self, net: Money) {
        self.peak = net;
        self.floor = self.floor.max(self.drawdown_floor());
    }

    /// The drawdown's limit is reached here.
    fn drawdown_floor(&self) -> Money {
        Money(self.drawdown_max.map_or(i128::MIN, |limit| difference(self.peak.0, limit.0)))
    }

    #[inline(never)]
    fn look_close(&mut self, net: Money, now_ns: u64) -> Option<HaltReason> {
        let day = now_ns / DAY_NS;
        if day != self.day {
            // The first day starts from zero: what was lost before the first look counts.
            if self.day != 0 {
                self.day_start = net;
            }
            self.day = day;
        }
        self.peak = self.peak.max(net);
        self.day_ends_ns = (day + 1).saturating_mul(DAY_NS);
        let daily = self.day_start.0.saturating_sub(self.daily_loss_max.0);
        self.floor = Money(daily).max(self.drawdown_floor());
        let reached = |from: Money, limit: Money| from.0.saturating_sub(net.0) >= limit.0;
        if reached(self.day_start, self.daily_loss_max) {
            return Some(HaltReason::DailyLoss);
        }
        match self.drawdown_max {
            Some(limit) if reached(self.peak, limit) => Some(HaltReason::Drawdown),
            _ => None,
        }
    }

    /// Accepts the loss so far: day and peak start anew from `net`.
    pub fn accept(&mut self, net: Money) {
        self.day_start = net;
        self.peak = net;
        self.day_ends_ns = 0;
    }

    /// Writes the state.
    pub fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.day);
        hasher.write_money(self.day_start);
        hasher.write_money(self.peak);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same without what is kept ready.
    struct Plain {
        limits: (Money, Option<Money>),
        day: u64,
        day_start: Money,
        peak: Money,
    }

    impl Plain {
        fn look(&mut self, net: Money, now_ns: u64) -> Option<HaltReason> {
            let day = now_ns / DAY_NS;
            if day != self.day {
                self.day_start = if self.day == 0 { self.day_start } else { net };
                self.day = day;
            }
            self.peak = self.peak.max(net);
            if self.day_start - net >= self.limits.0 {
                return Some(HaltReason::DailyLoss);
            }
            (self.limits.1.is_some_and(|limit| self.peak - net >= limit)).then_some(HaltReason::Drawdown)
        }
    }

    proptest! {
        #[test]
        fn the_quick_look_sees_what_the_plain_one_sees(
            daily in 1i64..60, drawdown in proptest::option::of(1i64..60),
            steps in proptest::collection::vec((-40i64..40, 0u64..40, 0u8..12), 0..200),
        ) {
            let limits = (units(daily), drawdown.map(units));
            let mut watch = LossWatch::new(limits.0, limits.1);
            let mut plain = Plain { limits, day: 0, day_start: Money::ZERO, peak: Money::ZERO };
            let (mut net, mut now_ns) = (Money::ZERO, 20_000 * DAY_NS);
            for (change, hours, accept) in steps {
                net += units(change);
                now_ns += hours * DAY_NS / 240;
                if accept == 0 {
                    watch.accept(net);
                    (plain.day_start, plain.peak) = (net, net);
                }
                prop_assert_eq!(watch.look(net, now_ns), plain.look(net, now_ns));
                prop_assert_eq!((watch.day, watch.day_start, watch.peak), (plain.day, plain.day_start, plain.peak));
            }
        }
    }

    fn units(n: i64) -> Money {
        Money::from_scaled(n, 0)
    }

    #[test]
    fn daily_loss_counts_from_midnight_and_drawdown_from_the_peak() {
        let mut watch = LossWatch::new(units(100), Some(units(150)));
        let day = 20_000 * DAY_NS;
        assert_eq!(watch.look(units(-99), day), None);
        assert_eq!(watch.look(units(-100), day + 1), Some(HaltReason::DailyLoss));
        assert_eq!(watch.look(units(-100), day + DAY_NS), None, "a new day starts from here");
        assert_eq!(watch.look(units(-149), day + DAY_NS + 1), None);
        assert_eq!(watch.look(units(-150), day + DAY_NS + 2), Some(HaltReason::Drawdown), "from the peak of 0");
        watch.accept(units(-150));
        assert_eq!(watch.look(units(-150), day + DAY_NS + 3), None);
        assert_eq!(watch.look(units(500), day + DAY_NS + 4), None);
        assert_eq!(watch.look(units(349), day + DAY_NS + 5), Some(HaltReason::Drawdown));
    }
}
