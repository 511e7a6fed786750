//! `core`: the trading core, from an input to its outputs.
//!
//! Each figure is one call of [`Core::apply`] (a fill and its fee are two inputs), with everything that belongs to it: the book's
//! change, the strategy, all risk checks, the order's state, positions, profit and loss, outputs. Nothing is taken off
//! for the strategy, which is as small as one can be, or for the book; how much the book alone is, the row without an
//! order says.
//!
//! Limits of every kind are set, wide enough to be checked and never hit; sizes are those that the engine runs with by
//! default. Some orders rest far from the market all the time. Orders alternate: half are filled, half are cancelled,
//! buys and sells in turn, so that no position grows. State hashes, which the engine takes once in many thousand inputs,
//! are off.

use super::{BLOCK, OURS};
use crate::measure::{Budget, Meter, Side as Measure, alternate};
use crate::report::{Ratio, Report, Target};
use anyhow::{Context as _, ensure};
use engine_core::book::BookConfig;
use engine_core::config::{
    AssetLimits, Capacity, CoreConfig, GlobalLimits, InstrumentLimits, RateLimit, StrategyConfig, StrategyLimits, Timing, VenueConfig,
};
use engine_core::core::Core;
use engine_core::event::{Event, EventKind, FeedState, InstrumentStatus, Side, Times, flags};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::{AssetId, InstrumentId, OrderId, VenueId};
use engine_core::instrument::{AssetTable, Capabilities, Instrument, InstrumentTable};
use engine_core::state_hash::StateHasher;
use engine_core::strategy::{Context, NewOrder, PublicTrade, Strategy};

const BENCH: &str = "core";
const OPERATIONS: [&str; 7] = [
    "book change, no order",
    "book change, order placed",
    "order accepted",
    "fee of a fill",
    "fill",
    "trade, order cancelled",
    "cancel confirmed",
];
const QUIET: usize = 0;
const PLACE: usize = 1;
const ACCEPT: usize = 2;
const FEE: usize = 3;
const FILL: usize = 4;
const CANCEL: usize = 5;
const CANCELED: usize = 6;
/// Operations that are order state and risk: those with targets.
const ORDER_OPERATIONS: [usize; 6] = [PLACE, ACCEPT, FEE, FILL, CANCEL, CANCELED];
/// Nanoseconds at the median.
const P50_MAX: f64 = 100.0;
/// Nanoseconds at 999 of 1000.
const P999_MAX: f64 = 300.0;

const START_NS: u64 = 1_800_000_000_000_000_000;
/// From one input to the next.
const STEP_NS: u64 = 10_000_000;
const SECOND_NS: u64 = 1_000_000_000;
const VENUE: VenueId = VenueId(0);
/// The instrument traded; three are there.
const TRADED: InstrumentId = InstrumentId(0);
const BTC: AssetId = AssetId(0);
const USDT: AssetId = AssetId(1);
const ETH: AssetId = AssetId(2);
/// In hundredths.
const BID: i64 = 5_000_000;
const ASK: i64 = 5_000_010;
const COIN: i64 = 100_000_000;
const ORDER_QTY: i64 = COIN / 100;
/// Orders that rest on each side.
const RESTING: u32 = 16;
/// How far from the market, at least.
const RESTING_AWAY: i64 = 100_000;

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    let mut rig = Rig::new()?;
    let side = Measure::new(OURS, &OPERATIONS, |meter| {
        for _ in 0..BLOCK {
            rig.cycle(meter)?;
        }
        rig.check()
    });
    let sides = alternate(budget, vec![side])?;
    for &at in &ORDER_OPERATIONS {
        let measured = sides.first().and_then(|side| side.get(at)).context("every operation is measured")?;
        for (quantile, percentile, most) in [(0.5, "p50", P50_MAX), (0.999, "p99.9", P999_MAX)] {
            let value = measured.histogram.value_at_quantile(quantile) as f64;
            report.add_ratio(Ratio::new(BENCH, format!("{}: nanoseconds, {percentile}", measured.operation), value, Target::AtMost(most)));
        }
    }
    for measured in sides.into_iter().flatten() {
        // Each operation is a case of its own, so that it has its own picture.
        let operation = measured.operation;
        report.add_case(BENCH, operation, &[vec![crate::measure::Measured { operation: "", ..measured }]], Target::None);
    }
    Ok(())
}

/// Places an order at every second book change, cancels it at a trade, in buys and sells by turns.
struct Minimal {
    changes: u64,
    placed: u64,
    last: Option<OrderId>,
    rested: bool,
}

/// The side of the n-th order: buy, sell, sell, buy. Every second one is filled, so fills alternate too.
const fn side_of(order: u64) -> Side {
    if matches!(order % 4, 0 | 3) { Side::Buy } else { Side::Sell }
}

const fn order_at(side: Side, away: i64, qty: i64) -> NewOrder {
    let price = match side {
        Side::Buy => BID - away,
        Side::Sell => ASK + away,
    };
    NewOrder { instrument: TRADED, side, price: Price(price), qty: Qty(qty), post_only: true, ioc: false }
}

impl Strategy for Minimal {
    fn name(&self) -> &str {
        "minimal"
    }

    fn on_book(&mut self, ctx: &mut Context<'_>, _instrument: InstrumentId) {
        if !self.rested {
            return;
        }
        self.changes += 1;
        if self.changes.is_multiple_of(2) {
            self.last = ctx.place(order_at(side_of(self.placed), 0, ORDER_QTY)).ok();
            self.placed += 1;
        }
    }

    fn on_trade(&mut self, ctx: &mut Context<'_>, _trade: &PublicTrade) {
        if let Some(order) = self.last.take() {
            let _ = ctx.cancel(order);
        }
    }

    fn on_timer(&mut self, ctx: &mut Context<'_>) {
        if !self.rested {
            self.rested = true;
            for at in 0..i64::from(RESTING) {
                for side in [Side::Buy, Side::Sell] {
                    let _ = ctx.place(order_at(side, RESTING_AWAY + 100 * at, COIN));
                }
            }
        }
    }

    fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.changes);
    }
}

fn units(n: i64) -> Money {
    Money::from_scaled(n, 0)
}

fn config() -> anyhow::Result<CoreConfig> {
    let (mut assets, mut instruments) = (AssetTable::new(), InstrumentTable::new());
    for name in ["BTC", "USDT", "ETH"] {
        assets.intern(name);
    }
    for (venue, symbol, base) in [(VENUE, "BTCUSDT", BTC), (VenueId(1), "BTC/USDT", BTC), (VENUE, "ETHUSDT", ETH)] {
        let instrument = Instrument {
            venue,
            symbol: symbol.into(),
            base,
            quote: USDT,
            price_scale: 2,
            qty_scale: 8,
            tick: Price(1),
            lot: Qty(1_000),
            qty_min: Qty(1_000),
            qty_max: Qty(1_000_000 * COIN),
            notional_min: units(5),
            maker_fee_ppm: 100,
            taker_fee_ppm: 1_000,
            status: InstrumentStatus::Trading,
            epoch: 0,
            capabilities: Capabilities { replace: true, reduce: false, post_only: true },
        };
        instruments.add(instrument).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    }
    let rate = RateLimit::per_second(100);
    let instrument_limits = InstrumentLimits {
        order_min: Qty(1_000),
        order_max: Qty(20 * COIN),
        position_max: Qty(60 * COIN),
        notional_max: units(5_000_000),
        open_orders_max: 400,
        price_collar_ppm: None,
        stale_after_ns: None,
    };
    let venue = |name: &str| VenueConfig {
        name: name.into(),
        exposure_max: units(50_000_000),
        open_orders_max: 600,
        order_rate: rate,
        message_rate: RateLimit::per_second(200),
        check_balance: true,
        require_reconcile: true,
        book: BookConfig::default(),
    };
    let strategy = StrategyConfig {
        name: "minimal".into(),
        instruments: vec![TRADED],
        limits: StrategyLimits {
            position_max: units(50),
            exposure_max: Some(units(50_000_000)),
            open_orders_max: 500,
            daily_loss_max: units(1_000_000),
            drawdown_max: Some(units(1_000_000)),
            order_rate: rate,
        },
        enabled: true,
    };
    Ok(CoreConfig {
        assets,
        instrument_limits: vec![Some(instrument_limits); instruments.len()],
        instruments,
        asset_limits: [BTC, ETH].map(|asset| AssetLimits { asset, exposure_max: units(100) }).to_vec(),
        venues: vec![venue("a"), venue("b")],
        strategies: vec![strategy],
        reporting_asset: USDT,
        conversion: Vec::new(),
        limits: GlobalLimits {
            exposure_max: units(80_000_000),
            daily_loss_max: units(1_000_000),
            drawdown_max: units(1_000_000),
            open_orders_max: 1_000,
            order_rate: rate,
            cancel_rate: rate,
            reject_burst: RateLimit::per_second(100),
            fill_burst: rate,
            clock_skew_max_ns: SECOND_NS / 2,
            duplicate_window_ns: 1,
            stale_after_ns: 3_600 * SECOND_NS,
            price_collar_ppm: 100_000,
            reduce_when_stale: true,
            suspend_on_foreign_order: true,
            halt_on_balance_mismatch: true,
        },
        timing: Timing::default(),
        capacity: Capacity::default(),
        state_hash_every: 0,
    })
}

/// A core in a session, with a venue that answers.
struct Rig {
    core: Core,
    now_ns: u64,
    sequence: u64,
    trade_id: u64,
    cycles: u64,
}

impl Rig {
    /// Everything up, reconciled and funded, a book with some depth, orders resting.
    fn new() -> anyhow::Result<Rig> {
        let strategy = Minimal { changes: 0, placed: 0, last: None, rested: false };
        let core = Core::new(config()?, vec![Box::new(strategy)])?;
        let mut rig = Rig { core, now_ns: START_NS, sequence: 0, trade_id: 0, cycles: 0 };
        let times = rig.times();
        rig.core.apply(&Event { a: 1, b: 7, ..Event::new(EventKind::SessionStart, VENUE, times) });
        for venue in [VENUE, VenueId(1)] {
            for role in 0..2 {
                rig.core.apply(&Event::feed_status(venue, role, FeedState::Up, times));
            }
            for (asset, total) in [(BTC, 60), (USDT, 5_000_000), (ETH, 100)] {
                rig.core.apply(&Event::balance(venue, asset, units(total), units(total), times).with(flags::COLD | flags::SNAPSHOT));
            }
            for code in 0..2 {
                let reconcile = Event::new(EventKind::Reconcile, venue, times).with(flags::COLD | flags::LAST);
                rig.core.apply(&Event { code, ..reconcile });
            }
        }
        for at in 0..100 {
            for (side, price) in [(Side::Buy, BID - 10 * at), (Side::Sell, ASK + 10 * at)] {
                let mark = if at == 0 && side == Side::Buy { flags::CLEAR } else { 0 };
                let mark = if at == 99 && side == Side::Sell { flags::LAST } else { mark };
                rig.core.apply(&Event::book_level(VENUE, TRADED, side, Price(price), Qty(COIN), 1, times).with(mark));
            }
        }
        let next = rig.next();
        let outputs = rig.core.apply(&Event::timer(next)).to_vec();
        let orders: Vec<OrderId> = outputs.iter().filter(|e| e.event_kind() == Some(EventKind::SendNew)).map(Event::order_id).collect();
        ensure!(orders.len() == 2 * RESTING as usize, "the core did not take the resting orders: {outputs:?}");
        for order in orders {
            rig.core.apply(&Event::order_report(EventKind::OrderAck, VENUE, TRADED, order, next));
        }
        Ok(rig)
    }

    fn times(&self) -> Times {
        Times { core_ns: self.now_ns, poll_delay_ns: 100 }
    }

    fn next(&mut self) -> Times {
        self.now_ns += STEP_NS;
        self.times()
    }

    /// A change of quantity near the top of the book, as a whole message.
    fn change(&mut self) -> Event {
        self.sequence += 1;
        let at = (self.sequence % 5) as i64;
        let qty = COIN + (self.sequence % 1_000) as i64;
        let times = self.next();
        Event::book_level(VENUE, TRADED, Side::Buy, Price(BID - 10 * at), Qty(qty), 1 + self.sequence, times).with(flags::LAST)
    }

    /// One order's life.
    fn cycle(&mut self, meter: &mut Meter) -> anyhow::Result<()> {
        let quiet = self.change();
        meter.time(QUIET, || self.core.apply(&quiet).len());
        let change = self.change();
        meter.time(PLACE, || self.core.apply(&change).len());
        let order = self.last_order().with_context(|| format!("no order was placed in cycle {}", self.cycles))?;
        let ack = Event::order_report(EventKind::OrderAck, VENUE, TRADED, order, self.next());
        meter.time(ACCEPT, || self.core.apply(&ack).len());
        self.trade_id += 1;
        let side = side_of(self.cycles);
        let price = order_at(side, 0, ORDER_QTY).price;
        let times = self.next();
        if self.cycles.is_multiple_of(2) {
            let fee = Event::fill_fee(VENUE, TRADED, order, self.trade_id, USDT, Money(1_000), times);
            let fill = Event::fill(VENUE, TRADED, order, side, price, Qty(ORDER_QTY), self.trade_id, times);
            meter.time(FEE, || self.core.apply(&fee).len());
            meter.time(FILL, || self.core.apply(&fill).len());
        } else {
            let trade = Event::trade(VENUE, TRADED, side, price, Qty(1_000), self.trade_id, times).with(flags::LAST);
            meter.time(CANCEL, || self.core.apply(&trade).len());
            let gone = Event::order_gone(EventKind::OrderCanceled, VENUE, TRADED, order, None, self.next());
            meter.time(CANCELED, || self.core.apply(&gone).len());
        }
        ensure!(self.core.desk().order(order).is_some_and(|order| order.state.is_final()), "an order lives on in cycle {}", self.cycles);
        self.cycles += 1;
        Ok(())
    }

    /// The order of the last placing.
    fn last_order(&self) -> Option<OrderId> {
        let next = self.core.desk().next_order_id(0)?;
        let last = OrderId::new(1, next.sequence().checked_sub(1)?);
        self.core.desk().order(last).is_some_and(|order| !order.state.is_final()).then_some(last)
    }

    /// Time goes by, and nothing was refused.
    fn check(&mut self) -> anyhow::Result<()> {
        let timer = Event::timer(self.next());
        self.core.apply(&timer);
        let c = self.core.desk().counters();
        let orders = self.cycles + 2 * u64::from(RESTING);
        ensure!(c.submitted == orders && c.outputs_lost == 0, "{orders} orders were asked for, not all were taken: {c:?}");
        ensure!(c.fills == self.cycles.div_ceil(2) && c.cancelled == self.cycles / 2, "not all orders ended as they should: {c:?}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    #[test]
    fn orders_are_filled_and_cancelled_by_turns_and_no_position_grows() {
        let mut rig = Rig::new().unwrap();
        let budget = Budget::of_seconds(0.001).unwrap();
        let side = Measure::new(OURS, &OPERATIONS, |meter| {
            for _ in 0..400 {
                rig.cycle(meter)?;
            }
            rig.check()
        });
        let sides = alternate(budget, vec![side]).unwrap();
        assert_eq!(sides[0].iter().map(|m| m.histogram.len() % 200).sum::<u64>(), 0);
        assert!(sides[0][FILL].histogram.len() == sides[0][CANCEL].histogram.len());
        let position = rig.core.desk().instrument_position(TRADED).unwrap();
        assert_eq!(position.qty.0, 0);
        assert_eq!(rig.core.desk().counters().refused(), 0);
    }

    #[test]
    fn every_order_operation_is_held_against_both_targets() {
        let mut report = Report::new(Machine::read());
        run(Budget::of_seconds(0.001).unwrap(), &mut report).unwrap();
        assert_eq!((report.rows.len(), report.ratios.len()), (OPERATIONS.len(), 2 * ORDER_OPERATIONS.len()));
        assert!(report.ratios.iter().all(|r| r.value > 0.0 && r.met == Some(r.value <= r.target.unwrap())));
        assert!(report.rows.iter().all(|row| row.count > 0 && row.p50 > 0));
    }
}
