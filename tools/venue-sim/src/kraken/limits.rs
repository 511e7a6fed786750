//! Kraken's rate limits: decaying counters per account and pair, per REST key, and per address.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::config::KrakenConfig;
use crate::ledger::AccountId;

/// A counter that decays with time.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    value: f64,
    at_ns: u64,
}

impl Counter {
    fn decayed(&mut self, now_ns: u64, per_s: f64) -> &mut f64 {
        let elapsed = now_ns.saturating_sub(self.at_ns) as f64 / 1e9;
        self.value = (self.value - elapsed * per_s).max(0.0);
        self.at_ns = now_ns;
        &mut self.value
    }
}

/// What an action does to an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OrderAction {
    /// `add_order`.
    Add,
    /// `amend_order`.
    Amend,
    /// `edit_order`.
    Edit,
    /// `cancel_order`.
    Cancel,
}

/// Cost of an action on an order of this age (seconds since creation or last amend).
pub fn cost(action: OrderAction, age_s: f64) -> f64 {
    let rows: &[(f64, f64)] = match action {
        OrderAction::Add => return 1.0,
        OrderAction::Amend => &[(5.0, 3.0), (10.0, 2.0), (15.0, 1.0)],
        OrderAction::Edit => &[(5.0, 6.0), (10.0, 5.0), (15.0, 4.0), (45.0, 2.0), (90.0, 1.0)],
        OrderAction::Cancel => &[(5.0, 8.0), (10.0, 6.0), (15.0, 5.0), (45.0, 4.0), (90.0, 2.0), (300.0, 1.0)],
    };
    let fixed = if action == OrderAction::Cancel { 0.0 } else { 1.0 };
    fixed + rows.iter().find(|(below, _)| age_s < *below).map_or(0.0, |(_, extra)| *extra)
}

/// The venue's counters.
#[derive(Debug)]
pub struct Limits {
    trading_threshold: f64,
    trading_decay: f64,
    rest_max: f64,
    rest_decay: f64,
    trading: HashMap<(AccountId, usize), Counter>,
    rest: HashMap<String, Counter>,
    public: HashMap<IpAddr, Counter>,
    connects: HashMap<IpAddr, VecDeque<u64>>,
    connects_max: usize,
}

/// Public REST calls per address: about one a second, with room for a burst.
const PUBLIC_MAX: f64 = 30.0;
const PUBLIC_DECAY: f64 = 1.0;
/// Window of the connection attempts.
const CONNECT_WINDOW_NS: u64 = 600_000_000_000;

impl Limits {
    /// Limits as configured.
    pub fn new(config: &KrakenConfig) -> Limits {
        Limits {
            trading_threshold: config.trading_threshold,
            trading_decay: config.trading_decay_per_s,
            rest_max: config.rest_counter_max,
            rest_decay: config.rest_decay_per_s,
            trading: HashMap::new(),
            rest: HashMap::new(),
            public: HashMap::new(),
            connects: HashMap::new(),
            connects_max: config.connects_per_10min,
        }
    }

    /// Charges a trading action. A refused action costs its fixed point all the same; a cancel is refused
    /// only once the counter is over.
    pub fn charge(&mut self, now_ns: u64, account: AccountId, market: usize, action: OrderAction, age_s: f64) -> bool {
        let value = self.trading.entry((account, market)).or_default().decayed(now_ns, self.trading_decay);
        let points = cost(action, age_s);
        let allowed = match action {
            OrderAction::Cancel => *value <= self.trading_threshold,
            _ => *value + points <= self.trading_threshold,
        };
        *value += if allowed { points } else { cost(action, f64::INFINITY) };
        allowed
    }

    /// Adds to a pair's counter without asking (batches).
    pub fn add(&mut self, now_ns: u64, account: AccountId, market: usize, points: f64) {
        *self.trading.entry((account, market)).or_default().decayed(now_ns, self.trading_decay) += points;
    }

    /// The pair's counter.
    pub fn trading_counter(&mut self, now_ns: u64, account: AccountId, market: usize) -> f64 {
        *self.trading.entry((account, market)).or_default().decayed(now_ns, self.trading_decay)
    }

    /// Charges a private REST call.
    pub fn charge_rest(&mut self, now_ns: u64, key: &str, points: f64) -> bool {
        charge_counter(self.rest.entry(key.to_owned()).or_default(), now_ns, self.rest_decay, self.rest_max, points)
    }

    /// Counts a WebSocket connection attempt of an address within the last ten minutes.
    pub fn charge_connect(&mut self, now_ns: u64, peer: IpAddr) -> bool {
        let attempts = self.connects.entry(peer).or_default();
        while attempts.front().is_some_and(|at| now_ns.saturating_sub(*at) > CONNECT_WINDOW_NS) {
            attempts.pop_front();
        }
        let allowed = attempts.len() < self.connects_max;
        if allowed {
            attempts.push_back(now_ns);
        }
        allowed
    }

    /// Charges a public REST call.
    pub fn charge_public(&mut self, now_ns: u64, peer: IpAddr) -> bool {
        charge_counter(self.public.entry(peer).or_default(), now_ns, PUBLIC_DECAY, PUBLIC_MAX, 1.0)
    }
}

fn charge_counter(counter: &mut Counter, now_ns: u64, decay: f64, max: f64, points: f64) -> bool {
    let value = counter.decayed(now_ns, decay);
    let allowed = *value + points <= max;
    if allowed {
        *value += points;
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_orders_are_dear_to_change() {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(cost(OrderAction::Add, 0.0), 1.0));
        assert!(near(cost(OrderAction::Amend, 4.9), 4.0) && near(cost(OrderAction::Amend, 15.0), 1.0));
        assert!(near(cost(OrderAction::Edit, 0.0), 7.0));
        assert!(near(cost(OrderAction::Cancel, 0.0), 8.0) && near(cost(OrderAction::Cancel, 300.0), 0.0));
    }

    #[test]
    fn connection_attempts_are_counted_over_ten_minutes() {
        let mut limits = Limits::new(&KrakenConfig { connects_per_10min: 2, ..KrakenConfig::default() });
        let peer = IpAddr::from([127, 0, 0, 1]);
        assert!(limits.charge_connect(0, peer) && limits.charge_connect(1, peer) && !limits.charge_connect(2, peer));
        assert!(limits.charge_connect(CONNECT_WINDOW_NS + 1, peer));
    }

    #[test]
    fn the_counter_fills_refuses_and_decays() {
        let mut limits = Limits::new(&KrakenConfig { trading_threshold: 3.0, trading_decay_per_s: 1.0, ..KrakenConfig::default() });
        let account = AccountId(2);
        let add = |limits: &mut Limits, now_ns| limits.charge(now_ns, account, 0, OrderAction::Add, 0.0);
        assert!((0..3).all(|_| add(&mut limits, 0)));
        assert!(!add(&mut limits, 0), "and the refusal costs a point");
        assert!(limits.charge(0, account, 1, OrderAction::Add, 0.0), "another pair has its own counter");
        assert!(!add(&mut limits, 1_000_000_000));
        assert!(add(&mut limits, 4_000_000_000));
    }
}
