//! Our core in the session of the bench `core`, with strategies that do what they are told and orders that rest.
//!
//! They do what the quantity of a public trade tells them ([`PLACE`] ..), which is the cheapest way in: no book changes on the
//! way.

pub use bench::benches::core::session::{
    ASK, BALANCE_BTC, BALANCE_USDT, BID, ORDER_MAX, ORDER_QTY, RESTING, STEP_NS, Session, TRADED, VENUE, price_at, resting_away,
};

use bench::benches::core::session::{BTC, Market, config, order_at, place_resting};
use engine_core::event::{Event, Side};
use engine_core::fixed::Price;
use engine_core::ids::{InstrumentId, OrderId};
use engine_core::state_hash::StateHasher;
use engine_core::strategy::{Context, PublicTrade, Strategy};
use std::hint::black_box;

/// A trade of this quantity: place an order.
pub const PLACE: i64 = 1_000;
/// Cancel the last order.
pub const CANCEL: i64 = 2_000;
/// Place an order that is larger than allowed.
pub const PLACE_TOO_LARGE: i64 = 3_000;
/// Only look.
pub const LOOK: i64 = 4_000;

/// The side of the n-th order: by turns, so that no position grows.
pub const fn side_of(order: u64) -> Side {
    if order.is_multiple_of(2) { Side::Buy } else { Side::Sell }
}

/// Does what trades tell.
#[derive(Default)]
struct Told {
    placed: u64,
    last: Option<OrderId>,
    rested: bool,
}

impl Strategy for Told {
    fn name(&self) -> &str {
        "told"
    }

    fn on_book(&mut self, _ctx: &mut Context<'_>, _instrument: InstrumentId) {}

    fn on_trade(&mut self, ctx: &mut Context<'_>, trade: &PublicTrade) {
        match trade.qty.0 {
            PLACE => {
                self.last = ctx.place(order_at(side_of(self.placed), 0, ORDER_QTY)).ok();
                self.placed += 1;
            }
            CANCEL => {
                if let Some(order) = self.last.take() {
                    let _ = ctx.cancel(order);
                }
            }
            PLACE_TOO_LARGE => {
                let _ = ctx.place(order_at(Side::Buy, 0, 2 * ORDER_MAX));
            }
            _ => {}
        }
    }

    fn on_timer(&mut self, ctx: &mut Context<'_>) {
        if !self.rested {
            self.rested = true;
            place_resting(ctx, ORDER_QTY);
        }
    }

    fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.placed);
    }
}

/// Looks at trades.
#[derive(Default)]
struct Looking {
    trades: u64,
}

impl Strategy for Looking {
    fn name(&self) -> &str {
        "looking"
    }

    fn on_book(&mut self, _ctx: &mut Context<'_>, _instrument: InstrumentId) {}

    fn on_trade(&mut self, _ctx: &mut Context<'_>, trade: &PublicTrade) {
        self.trades = black_box(self.trades + black_box(trade).price.0 as u64);
    }

    fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.trades);
    }
}

/// With one strategy that does what it is told, and its resting orders.
pub fn trading() -> anyhow::Result<Session> {
    let mut session = open(vec![Box::new(Told::default())])?;
    session.rest()?;
    Ok(session)
}

/// With so many strategies that only look.
pub fn looking(strategies: usize) -> anyhow::Result<Session> {
    open((0..strategies).map(|_| Box::new(Looking::default()) as Box<dyn Strategy>).collect())
}

/// On one market.
fn open(strategies: Vec<Box<dyn Strategy>>) -> anyhow::Result<Session> {
    let names: Vec<String> = (0..strategies.len()).map(|at| format!("strategy {at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut config = config(&[Market { venue: VENUE, symbol: "BTCUSDT", base: BTC }], &names)?;
    // No book changes, however long it is measured.
    config.limits.stale_after_ns = u64::MAX / 4;
    Session::new(config, strategies)
}

/// A trade that tells strategies what to do.
pub fn tell(session: &mut Session, told: i64) -> Event {
    session.trade(Side::Buy, Price(ASK), told)
}
