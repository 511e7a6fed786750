//! Signals: numbers that say where the price may go and how fast it moves.
//!
//! The only place of this crate with floating point. A replay must give the same bits on every machine, so
//! signals use `+ - * /` and `sqrt` only, which IEEE 754 rounds exactly (Rust neither fuses nor reorders
//! them); no `exp`, `ln` or `pow`, whose last bit depends on the platform's library. Exponential decay over an
//! interval `dt` with time constant `tau` is therefore the implicit Euler step `tau / (tau + dt)`: it agrees
//! with `exp(-dt / tau)` to second order for short steps and stays in (0, 1] for long ones.
//!
//! Prices here are in price units (ticks of 10^-price_scale), not in currency: strategies round the
//! results to ticks anyway, and integers up to 2^53 are exact.

use crate::book::{Book, Level};
use crate::event::Side;
use crate::state_hash::StateHasher;

/// Nanoseconds in a second, as `f64`.
const SECOND_NS: f64 = 1e9;

/// Weight that remains of old information after `dt_ns`, with time constant `tau_ns`: in (0, 1].
#[inline]
pub fn decay(dt_ns: u64, tau_ns: u64) -> f64 {
    kept(dt_ns, tau_ns.max(1) as f64)
}

/// As [`decay`]; `tau` is at least 1.
#[inline]
fn kept(dt_ns: u64, tau: f64) -> f64 {
    tau / (tau + dt_ns as f64)
}

/// Microprice, in price units: the mid leaning to the side with less quantity, as that side is the likelier to be used up
/// (Stoikov, "The micro-price", first-order form). Always between bid and ask.
#[inline]
pub fn microprice(bid: Level, ask: Level) -> f64 {
    let (bid_qty, ask_qty) = (bid.qty.0 as f64, ask.qty.0 as f64);
    let share = bid_qty / (bid_qty + ask_qty);
    let (low, high) = (bid.price.0 as f64, ask.price.0 as f64);
    low + (high - low) * share
}

/// Book imbalance over the best `levels` levels a side, in [-1, 1]: +1 if all quantity is on the bid side. Level `i`
/// weighs `1 / (1 + i)`. Zero for an empty or invalid book.
#[inline]
pub fn imbalance(book: &Book, levels: usize) -> f64 {
    let side = |side: Side| {
        let mut sum = 0.0;
        for (i, level) in book.levels(side).take(levels).enumerate() {
            sum += level.qty.0 as f64 / (1 + i) as f64;
        }
        sum
    };
    let (bids, asks) = (side(Side::Buy), side(Side::Sell));
    if bids + asks > 0.0 { (bids - asks) / (bids + asks) } else { 0.0 }
}

/// What a deviation over one second is multiplied by to be one over `horizon_ns`.
#[inline]
pub fn horizon_root(horizon_ns: u64) -> f64 {
    (horizon_ns as f64 / SECOND_NS).sqrt()
}

/// Order-flow imbalance (Cont, Kukanov, Stoikov, "The price impact of order book events", 2014): net quantity added at or
/// taken from the best quotes, decayed over time.
///
/// Each change of the top contributes `e = [Pb >= Pb'] qb - [Pb <= Pb'] qb' - [Pa <= Pa'] qa + [Pa >= Pa'] qa'`, where a prime
/// marks the value before: positive when buyers gain.
#[derive(Clone, Copy, Debug)]
pub struct OrderFlowImbalance {
    /// Nanoseconds, at least 1.
    tau: f64,
    last: Option<(Level, Level)>,
    updated_ns: u64,
    /// Decayed sum of `e`, in quantity units.
    flow: f64,
    /// Decayed sum of `|e|`.
    activity: f64,
}

impl OrderFlowImbalance {
    /// With time constant `tau_ns` nanoseconds.
    pub const fn new(tau_ns: u64) -> OrderFlowImbalance {
        let tau = if tau_ns == 0 { 1.0 } else { tau_ns as f64 };
        OrderFlowImbalance { tau, last: None, updated_ns: 0, flow: 0.0, activity: 0.0 }
    }

    /// Takes the top of the book after a message. Call [`OrderFlowImbalance::reset`] when the book becomes invalid.
    #[inline]
    pub fn update(&mut self, bid: Level, ask: Level, now_ns: u64) {
        let Some((old_bid, old_ask)) = self.last.replace((bid, ask)) else {
            self.updated_ns = now_ns;
            return;
        };
        if (old_bid, old_ask) == (bid, ask) {
            return;
        }
        let when = |condition: bool, level: Level| if condition { level.qty.0 } else { 0 };
        // Quantities are positive, so differences fit.
        let bids = when(bid.price >= old_bid.price, bid).wrapping_sub(when(bid.price <= old_bid.price, old_bid));
        let asks = when(ask.price >= old_ask.price, old_ask).wrapping_sub(when(ask.price <= old_ask.price, ask));
        let event = bids.saturating_add(asks) as f64;
        let keep = kept(now_ns.saturating_sub(self.updated_ns), self.tau);
        self.updated_ns = self.updated_ns.max(now_ns);
        self.flow = self.flow * keep + event;
        self.activity = self.activity * keep + event.abs();
    }

    /// Forgets everything: the next update starts afresh.
    pub fn reset(&mut self) {
        *self = OrderFlowImbalance { tau: self.tau, ..OrderFlowImbalance::new(1) };
    }

    /// Net flow in quantity units, as of the last update.
    #[inline]
    pub fn flow(&self) -> f64 {
        self.flow
    }

    /// Net flow over all flow, in [-1, 1]: +1 if every change favoured buyers.
    #[inline]
    pub fn normalised(&self) -> f64 {
        if self.activity > 0.0 { self.flow / self.activity } else { 0.0 }
    }

    /// Writes the state.
    pub fn hash_state(&self, hasher: &mut StateHasher) {
        if let Some((bid, ask)) = self.last {
            for level in [bid, ask] {
                hasher.write_price(level.price);
                hasher.write_qty(level.qty);
            }
        }
        hasher.write_u64(self.updated_ns);
        hasher.write_f64(self.flow);
        hasher.write_f64(self.activity);
    }
}

/// Volatility of a price, weighted to the recent past and aware of time between samples.
///
/// Keeps the decayed sum of squared returns and the decayed time over which they were collected; their ratio
/// is the variance per second. Uneven sampling therefore neither inflates nor deflates it. Samples closer together than
/// `interval_ns` are skipped, so that bid-ask bounce within it does not count as movement.
#[derive(Clone, Copy, Debug)]
pub struct EwmaVolatility {
    tau_ns: u64,
    interval_ns: u64,
    price: f64,
    sampled_ns: u64,
    /// Decayed sum of squared relative returns.
    squares: f64,
    /// Decayed sum of seconds.
    seconds: f64,
    samples: u64,
    /// [`EwmaVolatility::per_sqrt_second`]: asked for far more often than it changes.
    deviation: f64,
}

impl EwmaVolatility {
    /// Time constant `tau_ns`, shortest sampling interval `interval_ns` (at least 1), in nanoseconds.
    pub const fn new(tau_ns: u64, interval_ns: u64) -> EwmaVolatility {
        let interval_ns = if interval_ns == 0 { 1 } else { interval_ns };
        EwmaVolatility { tau_ns, interval_ns, price: 0.0, sampled_ns: 0, squares: 0.0, seconds: 0.0, samples: 0, deviation: 0.0 }
    }

    /// Takes the price at `now_ns`. Prices that are not positive, and times that do not advance by the interval, are skipped.
    #[inline]
    pub fn update(&mut self, price: f64, now_ns: u64) {
        if price.is_nan() || price <= 0.0 {
            return;
        }
        if self.price <= 0.0 {
            self.price = price;
            self.sampled_ns = now_ns;
            return;
        }
        let dt_ns = now_ns.saturating_sub(self.sampled_ns);
        if dt_ns < self.interval_ns {
            return;
        }
        let change = (price - self.price) / self.price;
        let keep = decay(dt_ns, self.tau_ns);
        self.squares = self.squares * keep + change * change;
        self.seconds = self.seconds * keep + dt_ns as f64 / SECOND_NS;
        self.deviation = if self.seconds > 0.0 { (self.squares / self.seconds).sqrt() } else { 0.0 };
        self.price = price;
        self.sampled_ns = now_ns;
        self.samples += 1;
    }

    /// Starts the next return from the next price (after a gap in the feed), keeping what was learned.
    pub fn restart(&mut self) {
        self.price = 0.0;
    }

    /// Relative standard deviation of the price over one second (0.0001 = 1 basis point). Zero before the first return.
    #[inline]
    pub fn per_sqrt_second(&self) -> f64 {
        self.deviation
    }

    /// Relative standard deviation over `horizon_ns` nanoseconds.
    #[inline]
    pub fn over(&self, horizon_ns: u64) -> f64 {
        self.per_sqrt_second() * horizon_root(horizon_ns)
    }

    /// Returns taken so far.
    #[inline]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Writes the state.
    pub fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_f64(self.price);
        hasher.write_u64(self.sampled_ns);
        hasher.write_f64(self.squares);
        hasher.write_f64(self.seconds);
        hasher.write_u64(self.samples);
    }
}

/// Volume-weighted average price with exponential forgetting, in price units. (Over a fixed window:
/// [`crate::trades::TradeStream::vwap`].)
#[derive(Clone, Copy, Debug)]
pub struct EwmaVwap {
    tau_ns: u64,
    updated_ns: u64,
    notional: f64,
    qty: f64,
}

impl EwmaVwap {
    /// With time constant `tau_ns` nanoseconds.
    pub const fn new(tau_ns: u64) -> EwmaVwap {
        EwmaVwap { tau_ns, updated_ns: 0, notional: 0.0, qty: 0.0 }
    }

    /// Takes a trade: price and quantity in the instrument's units.
    #[inline]
    pub fn update(&mut self, price: f64, qty: f64, now_ns: u64) {
        if qty.is_nan() || qty <= 0.0 {
            return;
        }
        let keep = decay(now_ns.saturating_sub(self.updated_ns), self.tau_ns);
        self.updated_ns = self.updated_ns.max(now_ns);
        self.notional = self.notional * keep + price * qty;
        self.qty = self.qty * keep + qty;
    }

    /// The average; `None` before the first trade.
    #[inline]
    pub fn value(&self) -> Option<f64> {
        (self.qty > 0.0).then(|| self.notional / self.qty)
    }

    /// Writes the state.
    pub fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.updated_ns);
        hasher.write_f64(self.notional);
        hasher.write_f64(self.qty);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::{Price, Qty};
    use proptest::prelude::*;

    fn level(price: i64, qty: i64) -> Level {
        Level { price: Price(price), qty: Qty(qty) }
    }

    #[test]
    #[allow(clippy::float_cmp)]
    fn microprice_leans_to_the_thin_side() {
        assert_eq!(microprice(level(100, 5), level(102, 5)), 101.0);
        assert_eq!(microprice(level(100, 3), level(102, 1)), 101.5);
        assert_eq!(microprice(level(100, 1), level(102, 3)), 100.5);
    }

    #[test]
    #[allow(clippy::float_cmp)]
    fn order_flow_follows_the_published_cases() {
        // (bid, ask) after (100 x 10, 102 x 10), and the expected contribution.
        let cases = [
            (level(100, 15), level(102, 10), 5.0),  // bid grows
            (level(100, 4), level(102, 10), -6.0),  // bid shrinks
            (level(101, 7), level(102, 10), 7.0),   // new best bid: its whole quantity
            (level(99, 20), level(102, 10), -10.0), // best bid gone: what was there
            (level(100, 10), level(102, 13), -3.0), // ask grows
            (level(100, 10), level(101, 8), -8.0),  // new best ask
            (level(100, 10), level(103, 50), 10.0), // best ask gone
            (level(100, 10), level(102, 10), 0.0),  // nothing
        ];
        for (bid, ask, want) in cases {
            let mut ofi = OrderFlowImbalance::new(1_000_000_000);
            ofi.update(level(100, 10), level(102, 10), 5);
            ofi.update(bid, ask, 5);
            assert_eq!(ofi.flow(), want, "{bid:?} {ask:?}");
        }
    }

    proptest! {
        /// As the published formula has it, with every difference bounded and every time turned into a float as it is used.
        #[test]
        #[allow(clippy::float_cmp)]
        fn order_flow_is_the_plain_sum(
            tau_ns in prop_oneof![0_u64..3, any::<u64>()],
            changes in proptest::collection::vec(
                (
                    (-2_i64..2, 1..=i64::MAX), (-2_i64..2, prop_oneof![1_i64..5, 1..=i64::MAX]), prop_oneof![0_u64..3, 0..=u64::MAX / 8],
                ),
                1..8,
            ),
        ) {
            let mut ofi = OrderFlowImbalance::new(tau_ns);
            let (mut now_ns, mut flow, mut activity) = (0, 0.0, 0.0);
            let (mut last, mut last_ns): (Option<(Level, Level)>, u64) = (None, 0);
            for ((bid, bid_qty), (ask, ask_qty), later_ns) in changes {
                now_ns += later_ns;
                let (bid, ask) = (level(100 + bid, bid_qty), level(110 + ask, ask_qty));
                ofi.update(bid, ask, now_ns);
                if last == Some((bid, ask)) {
                    continue;
                }
                if let Some((old_bid, old_ask)) = last.replace((bid, ask)) {
                    let when = |condition: bool, level: Level| if condition { level.qty.0 } else { 0 };
                    let bids = when(bid.price >= old_bid.price, bid).saturating_sub(when(bid.price <= old_bid.price, old_bid));
                    let asks = when(ask.price >= old_ask.price, old_ask).saturating_sub(when(ask.price <= old_ask.price, ask));
                    let event = bids.saturating_add(asks);
                    let keep = decay(now_ns - last_ns, tau_ns);
                    flow = flow * keep + event as f64;
                    activity = activity * keep + event.unsigned_abs() as f64;
                }
                last_ns = now_ns;
                prop_assert_eq!((ofi.flow, ofi.activity, ofi.updated_ns), (flow, activity, last_ns));
            }
        }
    }

    #[test]
    fn order_flow_forgets_with_its_time_constant() {
        let mut ofi = OrderFlowImbalance::new(1_000);
        ofi.update(level(100, 10), level(102, 10), 0);
        ofi.update(level(100, 20), level(102, 10), 0);
        assert!((ofi.flow() - 10.0).abs() < 1e-12);
        // One time constant later the old flow counts half, and 1 comes on top.
        ofi.update(level(100, 21), level(102, 10), 1_000);
        assert!((ofi.flow() - 6.0).abs() < 1e-12);
        assert!((ofi.normalised() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn volatility_is_the_same_at_any_sampling_rate() {
        // Moves of +-1% every 100 ms, sampled evenly or with idle samples in between, is 1% * sqrt(10) per sqrt(second).
        let run = |steps_between: u64| {
            let mut volatility = EwmaVolatility::new(10_000_000_000, 1);
            let (mut now, mut up) = (1_000_000_000u64, false);
            for _ in 0..2_000 {
                up = !up;
                for i in 1..=steps_between {
                    now += 100_000_000 / steps_between;
                    let moved = i == steps_between;
                    volatility.update(if up == moved { 10_100.0 } else { 10_000.0 }, now);
                }
            }
            volatility.per_sqrt_second()
        };
        let want = 0.01 * 10.0f64.sqrt();
        for steps in [1, 2, 5] {
            assert!((run(steps) / want - 1.0).abs() < 0.02, "{} vs {want}", run(steps));
        }
    }

    #[test]
    #[allow(clippy::float_cmp)]
    fn volatility_ignores_prices_and_times_that_cannot_be() {
        let mut volatility = EwmaVolatility::new(1_000_000_000, 1_000);
        for price in [0.0, -1.0, f64::NAN] {
            volatility.update(price, 10_000);
        }
        volatility.update(100.0, 10_000);
        volatility.update(200.0, 10_500);
        volatility.update(200.0, 5_000);
        assert_eq!((volatility.samples(), volatility.per_sqrt_second()), (0, 0.0));
        volatility.update(100.0, 11_000);
        assert_eq!((volatility.samples(), volatility.per_sqrt_second()), (1, 0.0));
    }

    #[test]
    fn ewma_vwap_weighs_by_quantity_and_age() {
        let mut vwap = EwmaVwap::new(1_000);
        assert_eq!(vwap.value(), None);
        vwap.update(100.0, 3.0, 5_000);
        vwap.update(200.0, 1.0, 5_000);
        assert!((vwap.value().unwrap_or(0.0) - 125.0).abs() < 1e-9);
        vwap.update(200.0, 4.0, 6_000);
        // Old quantities count half: (250 + 800) / (2 + 4).
        assert!((vwap.value().unwrap_or(0.0) - 1_050.0 / 6.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn microprice_lies_between_bid_and_ask(
            bid in 1i64..1 << 50, gap in 1i64..1 << 20, bid_qty in 1i64..1 << 50, ask_qty in 1i64..1 << 50,
        ) {
            let price = microprice(level(bid, bid_qty), level(bid + gap, ask_qty));
            prop_assert!(price >= bid as f64 && price <= (bid + gap) as f64);
        }

        #[test]
        fn normalised_flow_stays_in_bounds(
            tops in proptest::collection::vec((1i64..50, 1i64..1 << 56, 1i64..50, 1i64..1 << 56, 0u64..5_000), 1..60),
        ) {
            let mut ofi = OrderFlowImbalance::new(1_000);
            let mut now = 0;
            for (bid, bid_qty, gap, ask_qty, dt) in tops {
                now += dt;
                ofi.update(level(bid, bid_qty), level(bid + gap, ask_qty), now);
                prop_assert!(ofi.normalised().abs() <= 1.0 + 1e-12);
            }
        }
    }
}
