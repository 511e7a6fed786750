//! `core`: the trading core, from an input to its outputs.
//!
//! Each figure is one call of [`Core::apply`] (a fill and its fee are two inputs), with everything that belongs to it: the book's
//! change, the strategy, all risk checks, the order's state, positions, profit and loss, outputs. Nothing is taken off
//! for the strategy, which is as small as one can be, or for the book; how much the book alone is, the row without an
//! order says.
//!
//! Limits, sizes, accounts and the book are those of [`session`]. Some orders rest far from the market all the time. Orders
//! alternate: half are filled, half are cancelled, buys and sells in turn, so that no position grows.

pub mod session;

use super::{BLOCK, OURS};
use crate::measure::{Budget, Meter, Side as Measure, alternate};
use crate::report::{Ratio, Report, Target};
use anyhow::{Context as _, ensure};
use engine_core::event::{Event, EventKind, Side, flags};
use engine_core::fixed::{Price, Qty};
use engine_core::ids::{InstrumentId, OrderId, VenueId};
use engine_core::state_hash::StateHasher;
use engine_core::strategy::{Context, PublicTrade, Strategy};
use session::{BID, BTC, COIN, ETH, Market, ORDER_QTY, RESTING, Session, TRADED, VENUE, order_at, place_resting, price_at};

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

/// The first is traded, the others are there.
const MARKETS: [Market; 3] = [
    Market { venue: VENUE, symbol: "BTCUSDT", base: BTC },
    Market { venue: VenueId(1), symbol: "BTC/USDT", base: BTC },
    Market { venue: VENUE, symbol: "ETHUSDT", base: ETH },
];

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
            place_resting(ctx, COIN);
        }
    }

    fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.changes);
    }
}

/// A core in a session, with a venue that answers.
struct Rig {
    session: Session,
    sequence: u64,
    cycles: u64,
}

impl Rig {
    /// With orders resting.
    fn new() -> anyhow::Result<Rig> {
        let strategy = Minimal { changes: 0, placed: 0, last: None, rested: false };
        let mut session = Session::new(session::config(&MARKETS, &["minimal"])?, vec![Box::new(strategy)])?;
        session.rest()?;
        Ok(Rig { session, sequence: 0, cycles: 0 })
    }

    /// A change of quantity near the top of the book, as a whole message.
    fn change(&mut self) -> Event {
        self.sequence += 1;
        let at = (self.sequence % 5) as i64;
        let qty = COIN + (self.sequence % 1_000) as i64;
        let times = self.session.next_times();
        Event::book_level(VENUE, TRADED, Side::Buy, Price(BID - 10 * at), Qty(qty), 1 + self.sequence, times).with(flags::LAST)
    }

    /// One order's life.
    fn cycle(&mut self, meter: &mut Meter) -> anyhow::Result<()> {
        let quiet = self.change();
        meter.time(QUIET, || self.session.core.apply(&quiet).len());
        let change = self.change();
        let Rig { session, cycles, .. } = self;
        meter.time(PLACE, || session.core.apply(&change).len());
        let order = session.last_order().with_context(|| format!("no order was placed in cycle {cycles}"))?;
        let ack = Event::order_report(EventKind::OrderAck, VENUE, TRADED, order, session.next_times());
        meter.time(ACCEPT, || session.core.apply(&ack).len());
        let side = side_of(*cycles);
        if cycles.is_multiple_of(2) {
            let [fee, fill] = session.fill(order, side, ORDER_QTY);
            meter.time(FEE, || session.core.apply(&fee).len());
            meter.time(FILL, || session.core.apply(&fill).len());
        } else {
            let trade = session.trade(side, price_at(side, 0), 1_000);
            meter.time(CANCEL, || session.core.apply(&trade).len());
            let gone = Event::order_gone(EventKind::OrderCanceled, VENUE, TRADED, order, None, session.next_times());
            meter.time(CANCELED, || session.core.apply(&gone).len());
        }
        ensure!(session.core.desk().order(order).is_some_and(|order| order.state.is_final()), "an order lives on in cycle {cycles}");
        *cycles += 1;
        Ok(())
    }

    /// Time goes by, and nothing was refused.
    fn check(&mut self) -> anyhow::Result<()> {
        self.session.tick();
        let c = self.session.core.desk().counters();
        let orders = self.cycles + 2 * RESTING as u64;
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
        let position = rig.session.core.desk().instrument_position(TRADED).unwrap();
        assert_eq!(position.qty.0, 0);
        assert_eq!(rig.session.core.desk().counters().refused(), 0);
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
