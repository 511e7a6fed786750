//! The worked example of `docs/src/STRATEGY.md`: follows the imbalance of the book with one order at a time.
#![allow(clippy::inconsistent_digit_grouping, reason = "prices are written as units and cents")]

mod support;

use engine_core::event::{EventKind, Side};
use engine_core::fixed::Qty;
use engine_core::ids::{InstrumentId, OrderId};
use engine_core::signals::imbalance;
use engine_core::state_hash::StateHasher;
use engine_core::strategy::{BookState, Context, NewOrder, OrderUpdate, Strategy};
use support::*;

// ANCHOR: strategy
/// Buys when the bids outweigh the asks, sells when the asks outweigh the bids, and holds at most one lot
/// either way.
struct FollowImbalance {
    /// Quantity of an order, and the largest position.
    lot: Qty,
    /// Imbalance, 0 to 1, beyond which it acts.
    threshold: f64,
    /// The order that is out there, if any.
    working: Option<OrderId>,
}

impl FollowImbalance {
    /// The side that the book leans to, if it leans far enough.
    fn lean(&self, ctx: &Context<'_>, instrument: InstrumentId) -> Option<Side> {
        let lean = imbalance(ctx.book(instrument)?, 5);
        match lean {
            l if l > self.threshold => Some(Side::Buy),
            l if l < -self.threshold => Some(Side::Sell),
            _ => None,
        }
    }
}

impl Strategy for FollowImbalance {
    fn name(&self) -> &str {
        "follow_imbalance"
    }

    fn on_book(&mut self, ctx: &mut Context<'_>, instrument: InstrumentId) {
        // A book that is stale or has a gap is no reason to trade; one order at a time is enough.
        if ctx.book_state(instrument) != BookState::Valid || self.working.is_some() {
            return;
        }
        let Some(side) = self.lean(ctx, instrument) else { return };
        let held = ctx.position(instrument).map_or(0, |p| p.qty.0);
        if held * side.sign() >= self.lot.0 {
            return; // Already where the book leans to.
        }
        // The best price that it can trade with.
        let Some(touch) = ctx.book(instrument).and_then(|book| book.best(side.opposite())) else { return };
        let order = NewOrder { instrument, side, price: touch.price, qty: self.lot, post_only: false, ioc: true };
        // Refused by risk: nothing was sent, the reason is counted and journalled. The next book is the next try.
        self.working = ctx.place(order).ok();
    }

    fn on_order(&mut self, _ctx: &mut Context<'_>, update: &OrderUpdate) {
        // An unknown order is not final: nothing new is sent until the venue has told what became of it.
        if Some(update.order) == self.working && update.state.is_final() {
            self.working = None;
        }
    }

    fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.working.unwrap_or(OrderId::NONE).0);
    }
}
// ANCHOR_END: strategy

fn bench() -> Bench {
    let strategy = FollowImbalance { lot: Qty(COIN / 10), threshold: 0.6, working: None };
    Bench::of(config(vec![strategy_config("follow", &[BTC_A])]), vec![Box::new(strategy)])
}

fn sent(outputs: &[engine_core::event::Event]) -> Vec<(Side, OrderId)> {
    let news = outputs.iter().filter(|e| e.event_kind() == Some(EventKind::SendNew));
    news.map(|e| (e.side().expect("an order has a side"), e.order_id())).collect()
}

#[test]
fn it_buys_once_when_bids_outweigh_asks_and_waits_for_the_answer() {
    let mut bench = bench();
    assert_eq!(sent(&bench.outputs), [], "a balanced book is no reason");
    let orders = sent(&bench.deep_book(BTC_A, &[(49_990_00, 10 * COIN)], &[(50_010_00, COIN)]));
    let [(Side::Buy, order)] = orders[..] else { panic!("one buy, not {orders:?}") };
    bench.advance(MS);
    assert_eq!(sent(&bench.level(BTC_A, Side::Buy, 49_989_00, COIN)), [], "one order at a time");
    bench.fill(order, 50_010_00, COIN / 10, 1);
    bench.advance(MS);
    assert_eq!(sent(&bench.level(BTC_A, Side::Buy, 49_988_00, COIN)), [], "it holds what it wanted");
}

#[test]
fn an_order_that_nobody_knows_of_stops_it() {
    let mut bench = bench();
    let orders = sent(&bench.deep_book(BTC_A, &[(49_990_00, COIN)], &[(50_010_00, 10 * COIN)]));
    let [(Side::Sell, order)] = orders[..] else { panic!("one sell, not {orders:?}") };
    bench.simple(EventKind::OrderUncertain, order);
    bench.advance(SECOND);
    assert_eq!(sent(&bench.level(BTC_A, Side::Sell, 50_011_00, COIN)), []);
    bench.gone(EventKind::OrderExpired, order, Some(0));
    assert_eq!(sent(&bench.level(BTC_A, Side::Sell, 50_012_00, COIN)).len(), 1, "with evidence it goes on");
}
