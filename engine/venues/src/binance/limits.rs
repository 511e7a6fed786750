//! The rate ledger: `REQUEST_WEIGHT` per IP address and minute, `ORDERS` per account in 10 s and a day.
//!
//! Windows are fixed calendar windows. What we count ourselves is a forecast; the `rateLimits` array
//! of each answer is the truth and overwrites it (it also knows of other clients on the same address,
//! and of orders handed back by a first fill). Cancels cost weight but no `ORDERS`, and may use the
//! reserve of the weight budget.

use crate::json::{JsonError, Scanner};
use crate::limits::{FixedWindow, Urgency};

const S: u64 = 1_000_000_000;

/// Weight of a snapshot of [`SNAPSHOT_DEPTH`] levels a side.
pub const SNAPSHOT_WEIGHT: u64 = 50;
/// Levels a side that a snapshot should have: the most that this weight buys.
pub const SNAPSHOT_DEPTH: u32 = 1_000;

/// What a request costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cost {
    /// A new order: weight 1 and one order.
    Place,
    /// A cancel, or a cancel of all orders of a symbol: weight 1, from the reserve if need be.
    Cancel,
    /// An amendment: weight 4.
    Amend,
    /// A query about an order in doubt: weight 4, from the reserve if need be.
    Query,
    /// A book snapshot over REST.
    Snapshot,
    /// Log-on, subscription.
    Session,
}

/// The budgets of one account on one address.
#[derive(Clone, Debug)]
pub struct RateLedger {
    weight: FixedWindow,
    orders_10s: FixedWindow,
    orders_day: FixedWindow,
}

impl RateLedger {
    /// Budgets as documented (6000 a minute; 50 orders in 10 s, 160,000 a day), until the venue says otherwise.
    pub const fn new(cancel_reserve_percent: u8) -> RateLedger {
        RateLedger {
            weight: FixedWindow::new(6_000, 60 * S, cancel_reserve_percent),
            orders_10s: FixedWindow::new(50, 10 * S, 0),
            orders_day: FixedWindow::new(160_000, 86_400 * S, 0),
        }
    }

    /// Spends what a request costs; false, and nothing spent, if the budget does not have it.
    #[inline]
    pub fn admit(&mut self, cost: Cost, now_ns: u64) -> bool {
        let (weight, urgency) = match cost {
            Cost::Place => (1, Urgency::Normal),
            Cost::Cancel => (1, Urgency::Cancel),
            Cost::Amend => (4, Urgency::Normal),
            Cost::Query => (4, Urgency::Cancel),
            Cost::Snapshot => (SNAPSHOT_WEIGHT, Urgency::Normal),
            Cost::Session => (2, Urgency::Cancel),
        };
        if !self.weight.has_room(weight, urgency, now_ns) {
            return false;
        }
        if cost == Cost::Place {
            if !self.orders_10s.has_room(1, Urgency::Normal, now_ns) || !self.orders_day.has_room(1, Urgency::Normal, now_ns) {
                return false;
            }
            self.orders_10s.spend(1, now_ns);
            self.orders_day.spend(1, now_ns);
        }
        self.weight.spend(weight, now_ns);
        true
    }

    /// Reads a `rateLimits` array; unknown types and intervals are passed over.
    pub fn read(&mut self, s: &mut Scanner<'_>, now_ns: u64) -> Result<(), JsonError> {
        if s.null()? {
            return Ok(());
        }
        let mut entries = s.array()?;
        while entries.next(s)? {
            let (mut kind, mut interval) = (None, None);
            let (mut number, mut limit, mut count) = (1, 0, None);
            let mut members = s.object()?;
            while let Some(key) = members.next(s)? {
                match key {
                    b"rateLimitType" => kind = Some(s.string()?),
                    b"interval" => interval = Some(s.string()?),
                    b"intervalNum" => number = s.u64()?,
                    b"limit" => limit = s.u64()?,
                    b"count" => count = Some(s.u64()?),
                    _ => s.skip()?,
                }
            }
            let (Some(kind), Some(interval)) = (kind, interval) else { continue };
            let unit_ns = match interval.raw() {
                b"SECOND" => S,
                b"MINUTE" => 60 * S,
                b"HOUR" => 3_600 * S,
                b"DAY" => 86_400 * S,
                _ => continue,
            };
            let window_ns = unit_ns.saturating_mul(number);
            let window = match kind.raw() {
                b"REQUEST_WEIGHT" => &mut self.weight,
                b"ORDERS" if window_ns == self.orders_day.window_ns() => &mut self.orders_day,
                b"ORDERS" => &mut self.orders_10s,
                _ => continue,
            };
            if window.window_ns() == window_ns {
                let count = count.unwrap_or(window.used());
                window.correct(count, limit, now_ns);
            }
        }
        Ok(())
    }

    /// The venue refused for weight (-1003): nothing more goes out before `until_ns`.
    pub fn block_all(&mut self, until_ns: u64) {
        self.weight.block(until_ns);
    }

    /// The venue refused for orders (-1015): no new order before the next 10 s window or `until_ns`.
    pub fn block_orders(&mut self, until_ns: u64, now_ns: u64) {
        let next = (now_ns / (10 * S) + 1) * (10 * S);
        self.orders_10s.block(until_ns.max(next));
    }

    /// Weight used in the present minute, and the limit.
    pub const fn weight(&self) -> (u64, u64) {
        (self.weight.used(), self.weight.limit())
    }

    /// Orders counted in the present 10 s, and the limit.
    pub const fn orders(&self) -> (u64, u64) {
        (self.orders_10s.used(), self.orders_10s.limit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_correct_the_forecast() {
        let mut ledger = RateLedger::new(20);
        let now = 1_767_225_600 * S;
        assert!(ledger.admit(Cost::Place, now));
        assert_eq!((ledger.weight(), ledger.orders()), ((1, 6_000), (1, 50)));
        let text = br#"[{"rateLimitType":"ORDERS","interval":"SECOND","intervalNum":10,"limit":100,"count":99},
            {"rateLimitType":"ORDERS","interval":"DAY","intervalNum":1,"limit":200000,"count":500},
            {"rateLimitType":"NEW_THING","interval":"FORTNIGHT","intervalNum":1,"limit":1,"count":1},
            {"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000,"count":4799}]"#;
        ledger.read(&mut Scanner::new(text), now).unwrap();
        assert!(ledger.admit(Cost::Place, now));
        assert!(!ledger.admit(Cost::Place, now), "ORDERS spent, and the weight that is left is for cancels");
        assert!(ledger.admit(Cost::Cancel, now) && ledger.admit(Cost::Query, now));
        assert!(!ledger.admit(Cost::Snapshot, now));
        assert!(ledger.admit(Cost::Place, now + 60 * S));
    }

    #[test]
    fn refusals_block_until_the_venue_said() {
        let mut ledger = RateLedger::new(20);
        let now = 1_767_225_603 * S;
        ledger.block_orders(0, now);
        assert!(!ledger.admit(Cost::Place, now + 6 * S) && ledger.admit(Cost::Cancel, now));
        assert!(ledger.admit(Cost::Place, now + 7 * S));
        ledger.block_all(now + 120 * S);
        assert!(!ledger.admit(Cost::Cancel, now + 119 * S) && ledger.admit(Cost::Cancel, now + 120 * S));
    }
}
