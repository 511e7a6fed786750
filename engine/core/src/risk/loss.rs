//! Daily loss and drawdown of one scope (everything, or one strategy), in the reporting asset.
//!
//! The day is the UTC day. Its loss is counted from the P&L at its first look; the drawdown from the best P&L ever
//! seen. Both start anew when an operator decides to go on ([`LossWatch::accept`]).

use crate::event::HaltReason;
use crate::fixed::Money;
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
}

impl LossWatch {
    /// Watches from a P&L of zero. Limits are positive amounts.
    pub const fn new(daily_loss_max: Money, drawdown_max: Option<Money>) -> LossWatch {
        LossWatch { daily_loss_max, drawdown_max, day: 0, day_start: Money::ZERO, peak: Money::ZERO }
    }

    /// Takes the P&L now. Returns the limit that it reaches, if any.
    pub fn look(&mut self, net: Money, now_ns: u64) -> Option<HaltReason> {
        let day = now_ns / DAY_NS;
        if day != self.day {
            // The first day starts from zero: what was lost before the first look counts.
            if self.day != 0 {
                self.day_start = net;
            }
            self.day = day;
        }
        self.peak = self.peak.max(net);
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
