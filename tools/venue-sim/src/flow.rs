//! The rest of the market: a seeded crowd that quotes, cancels and takes around a reference price.
//!
//! All venues share the [`References`]; each venue's price of an asset strays a little from it (a
//! mean-reverting divergence) and now and then a lot for a short while (a dislocation), which is when
//! cross-venue arbitrage pays. The crowd keeps its quotes around the venue's own price, drops or hits
//! what has become stale (anyone's), and sends takers of both sides, which is what fills a market maker.
//!
//! Floating point is used for the price walk only, without libm, so a seed gives the same market on
//! every run; every order is rounded to whole ticks and lots before it reaches the exchange.

use serde::Serialize;

use crate::book::Side;
use crate::exchange::Exchange;
use crate::random::Random;

/// One in this many quotes of the crowd stands deep in the book,
const DEEP_ONE_IN: u64 = 4;
/// up to this many times [`FlowConfig::width_bps`] away.
const DEEP_WIDTHS: f64 = 10.0;

/// How the simulated market behaves.
#[derive(Clone, Debug)]
pub struct FlowConfig {
    /// Reference volatility, basis points per square root of a second.
    pub volatility_bps: f64,
    /// Usual divergence of a venue from the reference, basis points (standard deviation).
    pub divergence_bps: f64,
    /// Mean time between dislocations of a market, ms; 0 for none.
    pub dislocation_every_ms: u64,
    /// Duration of a dislocation, ms.
    pub dislocation_ms: u64,
    /// Largest size of a dislocation, basis points; the smallest is half of it.
    pub dislocation_bps: f64,
    /// Half of the crowd's usual spread, basis points.
    pub half_spread_bps: f64,
    /// How far from the touch most of the crowd quotes, basis points.
    pub width_bps: f64,
    /// Crowd orders kept on each side of a market.
    pub orders_per_side: usize,
    /// Average notional of a crowd order, in quote units.
    pub order_notional: f64,
    /// One in this many steps is a taker.
    pub taker_one_in: u64,
    /// One in this many takers sweeps everything up to a price away from the touch; 0 for none. Sweeps
    /// are what fills quotes that keep a distance, and they leave a wide spread for a moment.
    pub sweep_one_in: u64,
    /// How far from the venue's price a sweep reaches at most, basis points; most reach less.
    pub sweep_bps: f64,
}

impl Default for FlowConfig {
    fn default() -> FlowConfig {
        FlowConfig {
            volatility_bps: 1.0,
            divergence_bps: 1.5,
            dislocation_every_ms: 5_000,
            dislocation_ms: 400,
            dislocation_bps: 80.0,
            half_spread_bps: 0.5,
            width_bps: 8.0,
            orders_per_side: 60,
            order_notional: 3_000.0,
            taker_one_in: 20,
            sweep_one_in: 100,
            sweep_bps: 20.0,
        }
    }
}

/// The reference prices that all venues share.
#[derive(Clone, Debug)]
pub struct References {
    random: Random,
    volatility_per_ms: f64,
    prices: Vec<(String, f64)>,
    since_step_us: u64,
}

impl References {
    /// References that start at the given prices (asset, price in quote units).
    pub fn new(seed: u64, config: &FlowConfig, prices: Vec<(String, f64)>) -> References {
        References {
            random: Random::new(seed ^ 0x7265_6665_7265_6e63),
            volatility_per_ms: config.volatility_bps * 1e-4 / 31.6228,
            prices,
            since_step_us: 0,
        }
    }

    /// Walks on by `elapsed_us`, in whole milliseconds; the rest is kept for the next call.
    pub fn advance(&mut self, elapsed_us: u64) {
        for _ in 0..whole_ms(&mut self.since_step_us, elapsed_us) {
            self.step();
        }
    }

    /// Walks on by one millisecond.
    pub fn step(&mut self) {
        for (_, price) in &mut self.prices {
            *price *= 1.0 + self.volatility_per_ms * self.random.normal();
        }
    }

    /// The reference price of an asset.
    pub fn price(&self, asset: &str) -> Option<f64> {
        self.prices.iter().find(|(name, _)| name == asset).map(|(_, price)| *price)
    }
}

/// Adds `elapsed_us` to what has piled up and takes the whole milliseconds out, a second's worth at most.
fn whole_ms(piled_us: &mut u64, elapsed_us: u64) -> u64 {
    *piled_us = piled_us.saturating_add(elapsed_us);
    let ms = *piled_us / 1_000;
    *piled_us %= 1_000;
    ms.min(1_000)
}

/// One market's place relative to the reference.
#[derive(Clone, Debug, Default)]
struct Stray {
    divergence: f64,
    dislocation: f64,
    dislocated_ms: u64,
    fair: f64,
}

/// The crowd of one venue.
#[derive(Clone, Debug)]
pub struct Crowd {
    random: Random,
    config: FlowConfig,
    strays: Vec<Stray>,
    since_step_us: u64,
}

impl Crowd {
    /// A crowd for a venue with `markets` markets.
    pub fn new(seed: u64, config: FlowConfig, markets: usize) -> Crowd {
        Crowd { random: Random::new(seed), config, strays: vec![Stray::default(); markets], since_step_us: 0 }
    }

    /// Moves the venue's own prices on by `elapsed_us`, in whole milliseconds; the rest is kept for the
    /// next call.
    pub fn advance(&mut self, exchange: &Exchange, references: &References, elapsed_us: u64) {
        for _ in 0..whole_ms(&mut self.since_step_us, elapsed_us) {
            self.step_prices(exchange, references);
        }
    }

    /// Moves the venue's own prices on by one millisecond.
    pub fn step_prices(&mut self, exchange: &Exchange, references: &References) {
        let config = &self.config;
        for (stray, market) in self.strays.iter_mut().zip(&exchange.markets) {
            // Ornstein-Uhlenbeck with a time constant of a second: stationary deviation = divergence.
            let sigma = config.divergence_bps * 1e-4 * 0.0447;
            stray.divergence += -0.001 * stray.divergence + sigma * self.random.normal();
            if stray.dislocated_ms > 0 {
                stray.dislocated_ms -= 1;
                if stray.dislocated_ms == 0 {
                    stray.dislocation = 0.0;
                }
            } else if config.dislocation_every_ms > 0 && self.random.one_in(config.dislocation_every_ms) {
                let size = config.dislocation_bps * 1e-4 * (0.5 + 0.5 * self.random.unit());
                stray.dislocation = if self.random.one_in(2) { size } else { -size };
                stray.dislocated_ms = config.dislocation_ms;
            }
            let scale = 10f64.powi(i32::from(market.spec.price_scale));
            let reference = references.price(&market.spec.base).unwrap_or(market.spec.open_price as f64 / scale);
            stray.fair = reference * (1.0 + stray.divergence + stray.dislocation) * scale;
        }
    }

    /// Fills the books before the venue opens.
    pub fn seed(&mut self, exchange: &mut Exchange, now_ns: u64) {
        for market in 0..exchange.markets.len() {
            for _ in 0..self.config.orders_per_side {
                for side in [Side::Buy, Side::Sell] {
                    self.quote(exchange, now_ns, market, side);
                }
            }
        }
    }

    /// One action of the crowd in one market. Returns the market.
    pub fn act(&mut self, exchange: &mut Exchange, now_ns: u64) -> usize {
        let market = self.random.below(exchange.markets.len() as u64) as usize;
        if self.act_on_stale(exchange, now_ns, market) {
            return market;
        }
        let side = if self.random.one_in(2) { Side::Buy } else { Side::Sell };
        if self.random.one_in(self.config.taker_one_in.max(1)) {
            self.take(exchange, now_ns, market, side);
            return market;
        }
        let count = exchange.markets[market].crowd_orders(side).len();
        let target = self.config.orders_per_side;
        // The fuller the side, the likelier a cancel: the count hovers around the target.
        if count == 0 || (self.random.below(2 * target.max(1) as u64) as usize) >= count {
            self.quote(exchange, now_ns, market, side);
        } else {
            let pick = self.random.below(count as u64) as usize;
            let id = exchange.markets[market].crowd_orders(side)[pick];
            exchange.crowd_cancel(market, id);
        }
        market
    }

    /// Deals with a best quote on the wrong side of the venue's price: the crowd moves its own most of
    /// the time, else someone takes it. True when there was one and it was acted on.
    fn act_on_stale(&mut self, exchange: &mut Exchange, now_ns: u64, market: usize) -> bool {
        let fair = self.strays[market].fair;
        for side in [Side::Buy, Side::Sell] {
            let book = &exchange.markets[market].book;
            let is_stale = |(price, _): (i64, i64)| match side {
                Side::Buy => price as f64 > fair,
                Side::Sell => (price as f64) < fair,
            };
            if !book.best(side).is_some_and(is_stale) {
                continue;
            }
            let Some(front) = book.front(side) else { continue };
            if exchange.is_crowd(market, front.id) && !self.random.one_in(3) {
                // A quote that moves: the side keeps its depth however far the price jumps.
                exchange.crowd_cancel(market, front.id);
                self.quote(exchange, now_ns, market, side);
                return true;
            }
            if self.random.one_in(3) {
                let qty = front.qty.min(self.random_qty(exchange, market).max(1));
                exchange.crowd_take(now_ns, market, side.opposite(), Some(front.price), qty);
                return true;
            }
        }
        false
    }

    fn quote(&mut self, exchange: &mut Exchange, now_ns: u64, market: usize, side: Side) {
        let spec = &exchange.markets[market].spec;
        let (tick, fair) = (spec.tick, self.strays[market].fair);
        // Squaring a uniform crowds the quotes towards the touch; a few stand far behind, so that a sweep
        // never empties a side.
        let beyond = match self.random.one_in(DEEP_ONE_IN) {
            true => DEEP_WIDTHS * self.random.unit(),
            false => self.random.unit() * self.random.unit(),
        };
        let away = self.config.half_spread_bps + self.config.width_bps * beyond;
        let distance = fair * away * 1e-4;
        let price = match side {
            Side::Buy => ((fair - distance) as i64).div_euclid(tick) * tick,
            Side::Sell => ((fair + distance) as i64).div_euclid(tick) * tick + tick,
        };
        let qty = self.random_qty(exchange, market);
        if price > 0 && qty > 0 {
            exchange.crowd_place(now_ns, market, side, price, qty);
        }
    }

    fn take(&mut self, exchange: &mut Exchange, now_ns: u64, market: usize, side: Side) {
        let fair = self.strays[market].fair;
        let tick = exchange.markets[market].spec.tick;
        let limit_at = |bps: f64| {
            let reach = fair * bps * 1e-4;
            let price = if side == Side::Buy { fair + reach } else { fair - reach };
            (price as i64).div_euclid(tick) * tick
        };
        if self.config.sweep_one_in > 0 && self.random.one_in(self.config.sweep_one_in) {
            let limit = limit_at(self.config.sweep_bps * self.random.unit() * self.random.unit());
            let qty = exchange.markets[market].book.fillable(side, Some(limit), i64::MAX);
            exchange.crowd_take(now_ns, market, side, Some(limit), qty);
            return;
        }
        let limit = limit_at(self.config.half_spread_bps + 2.0);
        let qty = self.random_qty(exchange, market);
        let limit = (!self.random.one_in(4)).then_some(limit);
        if qty > 0 {
            exchange.crowd_take(now_ns, market, side, limit, qty);
        }
    }

    fn random_qty(&mut self, exchange: &Exchange, market: usize) -> i64 {
        let spec = &exchange.markets[market].spec;
        let scale = 10f64.powi(i32::from(spec.price_scale));
        let price = (self.strays[market].fair / scale).max(1e-9);
        let u = self.random.unit();
        let base = 3.0 * u * u * self.config.order_notional / price;
        let lots = base * 10f64.powi(i32::from(spec.qty_scale)) / spec.lot as f64;
        (lots as i64).saturating_mul(spec.lot).clamp(spec.qty_min, spec.qty_max)
    }
}

/// What became of the messages that were due: all of them are made, given up, unheard or still owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct FlowCount {
    /// Messages asked for so far: rate times time.
    pub due: u64,
    /// Distinct messages made.
    pub made: u64,
    /// Messages given up because the venue was too far behind its clock.
    pub given_up: u64,
    /// Steps of the market that were due while nobody listened.
    pub unheard: u64,
}

/// Spreads a rate of messages evenly over ticks: how many are due by now, and what became of the others.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    credit: f64,
    due: f64,
    given_up: f64,
    made: u64,
    unheard: u64,
}

impl Pace {
    /// Adds `elapsed_us` worth of `rate_per_s`. At most a quarter of a second is ever owed, so a host
    /// that stalls does not cause a flood; what is beyond that is given up.
    pub fn earn(&mut self, rate_per_s: u32, elapsed_us: u64) {
        let rate = f64::from(rate_per_s);
        let earned = rate * elapsed_us as f64 / 1e6;
        let owed = self.credit + earned;
        self.credit = owed.min(rate / 4.0 + 1.0);
        self.given_up += owed - self.credit;
        self.due += earned;
    }

    /// Gives up `elapsed_us` worth of `rate_per_s`.
    pub fn give_up(&mut self, rate_per_s: u32, elapsed_us: u64) {
        let messages = f64::from(rate_per_s) * elapsed_us as f64 / 1e6;
        self.due += messages;
        self.given_up += messages;
    }

    /// True while something is due.
    pub fn due(&self) -> bool {
        self.credit >= 1.0
    }

    /// Pays for `messages` that were made.
    pub fn spend(&mut self, messages: u64) {
        self.credit -= messages as f64;
        self.made += messages;
    }

    /// Pays for a step that nobody heard of.
    pub fn spend_unheard(&mut self) {
        self.credit -= 1.0;
        self.unheard += 1;
    }

    /// What became of the messages that were due.
    pub fn count(&self) -> FlowCount {
        FlowCount { due: self.due as u64, made: self.made, given_up: self.given_up as u64, unheard: self.unheard }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::Amount;
    use crate::exchange::{FeeAsset, FeePolicy, MarketSpec};

    fn exchange() -> Exchange {
        let mut exchange = Exchange::new(FeePolicy { maker_ppm: 0, taker_ppm: 0, asset: FeeAsset::Received }, 1);
        exchange.add_market(
            MarketSpec {
                base: "BTC".into(),
                quote: "USDT".into(),
                price_scale: 2,
                qty_scale: 5,
                tick: 1,
                lot: 1,
                qty_min: 1,
                qty_max: 900_000_000,
                notional_min: Amount::ZERO,
                open_price: 6_825_010,
            },
            1,
        );
        exchange
    }

    fn run(seed: u64, steps: usize) -> (Vec<(i64, i64)>, usize, Vec<i64>) {
        let config = FlowConfig::default();
        let mut exchange = exchange();
        let mut references = References::new(seed, &config, vec![("BTC".into(), 68_250.10)]);
        let mut crowd = Crowd::new(seed, config, 1);
        crowd.step_prices(&exchange, &references);
        crowd.seed(&mut exchange, 0);
        let mut trades = 0;
        for step in 0..steps {
            if step % 10 == 0 {
                references.step();
                crowd.step_prices(&exchange, &references);
            }
            crowd.act(&mut exchange, step as u64);
            trades += exchange.take_events().len();
            let (bid, ask) = (exchange.markets[0].book.best(Side::Buy), exchange.markets[0].book.best(Side::Sell));
            if let (Some(bid), Some(ask)) = (bid, ask) {
                assert!(bid.0 < ask.0, "a book never crosses");
            }
        }
        let book = &exchange.markets[0].book;
        (book.levels(Side::Buy).chain(book.levels(Side::Sell)).collect(), trades, vec![exchange.markets[0].day.last])
    }

    #[test]
    fn a_seed_reproduces_the_market() {
        assert_eq!(run(5, 3_000), run(5, 3_000));
        assert_ne!(run(5, 3_000).0, run(6, 3_000).0);
    }

    #[test]
    fn the_market_keeps_depth_trades_and_stays_near_its_reference() {
        let (levels, trades, last) = run(11, 50_000);
        assert!(levels.len() > 40 && levels.len() < 400, "{} levels", levels.len());
        assert!(trades > 500, "{trades} trades");
        assert!((last[0] - 6_825_010).abs() < 6_825_010 / 20, "{last:?}");
    }

    #[test]
    fn pace_pays_out_the_rate_and_never_floods() {
        let mut pace = Pace::default();
        let mut sent = 0;
        for _ in 0..1_000 {
            pace.earn(20_000, 1_000);
            while pace.due() {
                pace.spend(1);
                sent += 1;
            }
        }
        assert!((19_990..=20_000).contains(&sent), "{sent}");
        pace.earn(20_000, 60_000_000);
        let mut burst = 0;
        while pace.due() {
            pace.spend(1);
            burst += 1;
        }
        assert!(burst <= 5_002);
    }

    #[test]
    fn messages_that_were_due_are_made_given_up_unheard_or_owed() {
        let mut pace = Pace::default();
        pace.earn(1_000, 2_000_000);
        let after_a_stall = FlowCount { due: 2_000, given_up: 1_749, ..FlowCount::default() };
        assert_eq!(pace.count(), after_a_stall, "a quarter of a second and one stay");
        pace.spend(3);
        pace.spend_unheard();
        pace.give_up(1_000, 500_000);
        assert_eq!(pace.count(), FlowCount { due: 2_500, made: 3, given_up: 2_249, unheard: 1 });
        let mut owed = 0;
        while pace.due() {
            pace.spend(1);
            owed += 1;
        }
        assert_eq!(owed, 247);
        assert_eq!(pace.count().due, pace.count().made + pace.count().given_up + pace.count().unheard);
    }
}
