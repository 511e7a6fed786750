//! Binance's rate limits: request weight per IP address and unfilled orders per account, in fixed windows.

use std::collections::HashMap;
use std::net::IpAddr;

use super::errors::ApiError;
use crate::config::BinanceConfig;
use crate::json::{Object, array};
use crate::ledger::AccountId;

const MINUTE_MS: u64 = 60_000;
const TEN_SECONDS_MS: u64 = 10_000;
const DAY_MS: u64 = 86_400_000;
const FIVE_MINUTES_MS: u64 = 300_000;
/// An address that asks on beyond this multiple of its limit is banned.
const BAN_FACTOR: u32 = 2;
const BAN_MS: u64 = 120_000;

/// A count within the current fixed window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    start_ms: u64,
    count: u32,
}

impl Window {
    fn at(&mut self, now_ms: u64, length_ms: u64) -> &mut u32 {
        let start = now_ms - now_ms % length_ms;
        if self.start_ms != start {
            *self = Window { start_ms: start, count: 0 };
        }
        &mut self.count
    }
}

/// The venue's counters.
#[derive(Debug)]
pub struct Limits {
    weight_max: u32,
    orders_10s_max: u32,
    orders_day_max: u32,
    weight: HashMap<IpAddr, Window>,
    banned: HashMap<IpAddr, u64>,
    orders: HashMap<AccountId, [Window; 2]>,
    connects: HashMap<IpAddr, Window>,
    connects_max: u32,
}

impl Limits {
    /// Limits as configured.
    pub fn new(config: &BinanceConfig) -> Limits {
        Limits {
            weight_max: config.weight_per_minute,
            orders_10s_max: config.orders_per_10s,
            orders_day_max: config.orders_per_day,
            weight: HashMap::new(),
            banned: HashMap::new(),
            orders: HashMap::new(),
            connects: HashMap::new(),
            connects_max: config.connects_per_5min,
        }
    }

    /// Charges a request. Over the limit it is refused; far over, the address is banned.
    pub fn charge(&mut self, now_ms: u64, peer: IpAddr, weight: u32) -> Result<(), ApiError> {
        if let Some(until) = self.banned.get(&peer).copied() {
            if now_ms < until {
                return Err(ApiError::weight(self.weight_max, now_ms, until, true));
            }
            self.banned.remove(&peer);
        }
        let used = self.weight.entry(peer).or_default().at(now_ms, MINUTE_MS);
        *used = used.saturating_add(weight);
        if *used <= self.weight_max {
            return Ok(());
        }
        if *used > self.weight_max.saturating_mul(BAN_FACTOR) {
            self.banned.insert(peer, now_ms + BAN_MS);
            return Err(ApiError::weight(self.weight_max, now_ms, now_ms + BAN_MS, true));
        }
        Err(ApiError::weight(self.weight_max, now_ms, now_ms - now_ms % MINUTE_MS + MINUTE_MS, false))
    }

    /// Counts a WebSocket connection attempt; false when there have been too many.
    pub fn charge_connect(&mut self, now_ms: u64, peer: IpAddr) -> bool {
        let count = self.connects.entry(peer).or_default().at(now_ms, FIVE_MINUTES_MS);
        *count = count.saturating_add(1);
        *count <= self.connects_max
    }

    /// The refusal that a rate-limit fault gives.
    pub fn refusal(&self, now_ms: u64) -> ApiError {
        ApiError::weight(self.weight_max, now_ms, now_ms - now_ms % MINUTE_MS + MINUTE_MS, false)
    }

    /// Weight used in this minute.
    pub fn used_weight(&mut self, now_ms: u64, peer: IpAddr) -> u32 {
        *self.weight.entry(peer).or_default().at(now_ms, MINUTE_MS)
    }

    /// Counts a new order, or refuses it.
    pub fn charge_order(&mut self, now_ms: u64, account: AccountId) -> Result<(), ApiError> {
        let [ten, day] = self.orders.entry(account).or_default();
        let (ten, day) = (ten.at(now_ms, TEN_SECONDS_MS), day.at(now_ms, DAY_MS));
        if *ten >= self.orders_10s_max {
            return Err(ApiError::orders(self.orders_10s_max, "10 SECOND", now_ms, now_ms - now_ms % TEN_SECONDS_MS + TEN_SECONDS_MS));
        }
        if *day >= self.orders_day_max {
            return Err(ApiError::orders(self.orders_day_max, "1 DAY", now_ms, now_ms - now_ms % DAY_MS + DAY_MS));
        }
        *ten += 1;
        *day += 1;
        Ok(())
    }

    /// An order's first fill gives counts back: a taker 1, a maker 5.
    pub fn first_fill(&mut self, now_ms: u64, account: AccountId, maker: bool) {
        let back = if maker { 5 } else { 1 };
        let [ten, day] = self.orders.entry(account).or_default();
        for count in [ten.at(now_ms, TEN_SECONDS_MS), day.at(now_ms, DAY_MS)] {
            *count = count.saturating_sub(back);
        }
    }

    /// Orders counted in the current 10 s and day.
    pub fn order_counts(&mut self, now_ms: u64, account: AccountId) -> [u32; 2] {
        let [ten, day] = self.orders.entry(account).or_default();
        [*ten.at(now_ms, TEN_SECONDS_MS), *day.at(now_ms, DAY_MS)]
    }

    /// `rateLimits` rows for the orders of an account, with counts.
    pub fn push_order_rows(&mut self, out: &mut Vec<u8>, now_ms: u64, account: AccountId) {
        let counts = self.order_counts(now_ms, account);
        let rows = [("SECOND", 10, self.orders_10s_max, counts[0]), ("DAY", 1, self.orders_day_max, counts[1])];
        array(out, rows, |out, (interval, num, limit, count)| row(out, "ORDERS", interval, num, limit, Some(count)));
    }

    /// The `rateLimits` array of a ws-api answer.
    pub fn push_answer_rows(&mut self, out: &mut Vec<u8>, now_ms: u64, peer: IpAddr, orders_of: Option<AccountId>) {
        let used = self.used_weight(now_ms, peer);
        let mut rows = Vec::new();
        if let Some(account) = orders_of {
            let counts = self.order_counts(now_ms, account);
            rows.push(("ORDERS", "SECOND", 10, self.orders_10s_max, counts[0]));
            rows.push(("ORDERS", "DAY", 1, self.orders_day_max, counts[1]));
        }
        rows.push(("REQUEST_WEIGHT", "MINUTE", 1, self.weight_max, used));
        array(out, rows, |out, (kind, interval, num, limit, count)| row(out, kind, interval, num, limit, Some(count)));
    }

    /// The `rateLimits` array of exchangeInfo.
    pub fn push_info_rows(&self, out: &mut Vec<u8>) {
        let rows = [
            ("REQUEST_WEIGHT", "MINUTE", 1, self.weight_max),
            ("ORDERS", "SECOND", 10, self.orders_10s_max),
            ("ORDERS", "DAY", 1, self.orders_day_max),
            ("RAW_REQUESTS", "MINUTE", 5, 300_000),
        ];
        array(out, rows, |out, (kind, interval, num, limit)| row(out, kind, interval, num, limit, None));
    }
}

fn row(out: &mut Vec<u8>, kind: &str, interval: &str, num: u64, limit: u32, count: Option<u32>) {
    let mut object = Object::new(out);
    object.str("rateLimitType", kind).str("interval", interval).u64("intervalNum", num).u64("limit", u64::from(limit));
    if let Some(count) = count {
        object.u64("count", u64::from(count));
    }
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_refuses_then_bans_and_a_new_minute_forgives() {
        let mut limits = Limits::new(&BinanceConfig { weight_per_minute: 10, ..BinanceConfig::default() });
        let peer = IpAddr::from([127, 0, 0, 1]);
        assert!(limits.charge(60_000, peer, 10).is_ok());
        let refused = limits.charge(60_001, peer, 1).expect_err("over");
        assert_eq!((refused.status, refused.code), (429, -1003));
        assert!(limits.charge(120_000, peer, 1).is_ok());
        let banned = limits.charge(120_001, peer, 25).expect_err("far over");
        assert_eq!(banned.status, 418);
        assert_eq!(limits.charge(180_000, peer, 1).expect_err("still banned").status, 418);
        assert!(limits.charge(120_001 + BAN_MS, peer, 1).is_ok());
    }

    #[test]
    fn connection_attempts_are_counted_per_five_minutes() {
        let mut limits = Limits::new(&BinanceConfig { connects_per_5min: 1, ..BinanceConfig::default() });
        let peer = IpAddr::from([127, 0, 0, 1]);
        assert!(limits.charge_connect(0, peer) && !limits.charge_connect(1, peer) && limits.charge_connect(FIVE_MINUTES_MS, peer));
    }

    #[test]
    fn orders_count_in_both_windows_and_a_first_fill_gives_back() {
        let mut limits = Limits::new(&BinanceConfig { orders_per_10s: 2, orders_per_day: 3, ..BinanceConfig::default() });
        let account = AccountId(2);
        assert!(limits.charge_order(10_000, account).is_ok() && limits.charge_order(10_001, account).is_ok());
        let refused = limits.charge_order(10_002, account).expect_err("10 s");
        assert_eq!((refused.status, refused.msg.as_str()), (429, "Too many new orders; current limit is 2 orders per 10 SECOND."));
        limits.first_fill(10_003, account, false);
        assert_eq!(limits.order_counts(10_003, account), [1, 1]);
        assert!(limits.charge_order(10_004, account).is_ok());
        assert!(limits.charge_order(20_000, account).is_ok());
        assert_eq!(limits.charge_order(20_001, account).expect_err("day").msg, "Too many new orders; current limit is 3 orders per 1 DAY.");
    }
}
