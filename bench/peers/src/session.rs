//! Our core in a session: connected, reconciled, funded, a book with some depth, orders resting far from the market.
//!
//! Limits of every kind are set, wide enough to be checked and never hit. State hashes are off. Its strategies do what the
//! quantity of a public trade tells them ([`PLACE`] ..), which is the cheapest way in: no book changes on the way.

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
use std::hint::black_box;

/// A trade of this quantity: place an order.
pub const PLACE: i64 = 1_000;
/// Cancel the last order.
pub const CANCEL: i64 = 2_000;
/// Place an order that is larger than allowed.
pub const PLACE_TOO_LARGE: i64 = 3_000;
/// Only look.
pub const LOOK: i64 = 4_000;

/// The venue traded on.
pub const VENUE: VenueId = VenueId(0);
/// The instrument traded.
pub const TRADED: InstrumentId = InstrumentId(0);
/// What it is paid in.
pub const USDT: AssetId = AssetId(1);
/// Best bid, in hundredths.
pub const BID: i64 = 5_000_000;
/// Best ask.
pub const ASK: i64 = 5_000_010;
/// A coin, in the last decimal of quantities.
pub const COIN: i64 = 100_000_000;
/// Of each order.
pub const ORDER_QTY: i64 = COIN / 100;
/// The largest order allowed.
pub const ORDER_MAX: i64 = 20 * COIN;
/// Coins in the account.
pub const BALANCE_BTC: i64 = 60;
/// Dollars in the account.
pub const BALANCE_USDT: i64 = 5_000_000;
/// Orders that rest on each side.
pub const RESTING: i64 = 16;
/// The n-th resting order's distance from the market, in hundredths.
pub const fn resting_away(n: i64) -> i64 {
    100_000 + 100 * n
}

const BTC: AssetId = AssetId(0);
const START_NS: u64 = 1_800_000_000_000_000_000;
/// From one input to the next.
pub const STEP_NS: u64 = 10_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// The side of the n-th order: by turns, so that no position grows.
pub const fn side_of(order: u64) -> Side {
    if order.is_multiple_of(2) { Side::Buy } else { Side::Sell }
}

/// An order's price, so far from the best of its side.
pub const fn price_at(side: Side, away: i64) -> Price {
    match side {
        Side::Buy => Price(BID - away),
        Side::Sell => Price(ASK + away),
    }
}

const fn order_at(side: Side, away: i64, qty: i64) -> NewOrder {
    NewOrder { instrument: TRADED, side, price: price_at(side, away), qty: Qty(qty), post_only: true, ioc: false }
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
            for at in 0..RESTING {
                for side in [Side::Buy, Side::Sell] {
                    let _ = ctx.place(order_at(side, resting_away(at), ORDER_QTY));
                }
            }
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

fn units(n: i64) -> Money {
    Money::from_scaled(n, 0)
}

fn config(strategies: usize) -> anyhow::Result<CoreConfig> {
    let (mut assets, mut instruments) = (AssetTable::new(), InstrumentTable::new());
    for name in ["BTC", "USDT"] {
        assets.intern(name);
    }
    let instrument = Instrument {
        venue: VENUE,
        symbol: "BTCUSDT".into(),
        base: BTC,
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
    let rate = RateLimit::per_second(100);
    let instrument_limits = InstrumentLimits {
        order_min: Qty(1_000),
        order_max: Qty(ORDER_MAX),
        position_max: Qty(60 * COIN),
        notional_max: units(5_000_000),
        open_orders_max: 400,
        price_collar_ppm: None,
        stale_after_ns: None,
    };
    let venue = VenueConfig {
        name: "a".into(),
        exposure_max: units(50_000_000),
        open_orders_max: 600,
        order_rate: rate,
        message_rate: RateLimit::per_second(200),
        check_balance: true,
        require_reconcile: true,
        book: BookConfig::default(),
    };
    let strategy = |at: usize| StrategyConfig {
        name: format!("strategy {at}"),
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
        asset_limits: vec![AssetLimits { asset: BTC, exposure_max: units(100) }],
        venues: vec![venue],
        strategies: (0..strategies).map(strategy).collect(),
        reporting_asset: USDT,
        conversion: Vec::new(),
        limits: GlobalLimits {
            exposure_max: units(80_000_000),
            daily_loss_max: units(1_000_000),
            drawdown_max: units(1_000_000),
            open_orders_max: 1_000,
            order_rate: rate,
            cancel_rate: rate,
            reject_burst: rate,
            fill_burst: rate,
            clock_skew_max_ns: SECOND_NS / 2,
            duplicate_window_ns: 1,
            stale_after_ns: u64::MAX / 4,
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

/// See the module header.
pub struct Session {
    /// The core.
    pub core: Core,
    now_ns: u64,
    trade_id: u64,
}

impl Session {
    /// With one strategy that does what it is told, and its resting orders.
    pub fn trading() -> anyhow::Result<Session> {
        let mut session = Session::new(vec![Box::new(Told::default())])?;
        let next = session.next();
        let outputs = session.core.apply(&Event::timer(next)).to_vec();
        let orders: Vec<OrderId> = outputs.iter().filter(|e| e.event_kind() == Some(EventKind::SendNew)).map(Event::order_id).collect();
        ensure!(orders.len() as i64 == 2 * RESTING, "the core did not take the resting orders: {outputs:?}");
        for order in orders {
            session.core.apply(&Event::order_report(EventKind::OrderAck, VENUE, TRADED, order, next));
        }
        Ok(session)
    }

    /// With so many strategies that only look.
    pub fn looking(strategies: usize) -> anyhow::Result<Session> {
        Session::new((0..strategies).map(|_| Box::new(Looking::default()) as Box<dyn Strategy>).collect())
    }

    fn new(strategies: Vec<Box<dyn Strategy>>) -> anyhow::Result<Session> {
        let mut core = Core::new(config(strategies.len())?, strategies)?;
        let times = Times { core_ns: START_NS, poll_delay_ns: 100 };
        core.apply(&Event { a: 1, b: 7, ..Event::new(EventKind::SessionStart, VENUE, times) });
        for role in 0..2 {
            core.apply(&Event::feed_status(VENUE, role, FeedState::Up, times));
        }
        for (asset, total) in [(BTC, BALANCE_BTC), (USDT, BALANCE_USDT)] {
            core.apply(&Event::balance(VENUE, asset, units(total), units(total), times).with(flags::COLD | flags::SNAPSHOT));
        }
        for code in 0..2 {
            let reconcile = Event::new(EventKind::Reconcile, VENUE, times).with(flags::COLD | flags::LAST);
            core.apply(&Event { code, ..reconcile });
        }
        for at in 0..100 {
            for side in [Side::Buy, Side::Sell] {
                let mark = if at == 0 && side == Side::Buy { flags::CLEAR } else { 0 };
                let mark = if at == 99 && side == Side::Sell { flags::LAST } else { mark };
                core.apply(&Event::book_level(VENUE, TRADED, side, price_at(side, 10 * at), Qty(COIN), 1, times).with(mark));
            }
        }
        Ok(Session { core, now_ns: START_NS, trade_id: 0 })
    }

    /// The time of the next input.
    pub fn next(&mut self) -> Times {
        self.now_ns += STEP_NS;
        Times { core_ns: self.now_ns, poll_delay_ns: 100 }
    }

    /// A trade that tells strategies what to do.
    pub fn trade(&mut self, told: i64) -> Event {
        self.trade_id += 1;
        let times = self.next();
        Event::trade(VENUE, TRADED, Side::Buy, Price(ASK), Qty(told), self.trade_id, times).with(flags::LAST)
    }

    /// A fill of an order and its fee.
    pub fn fill(&mut self, order: OrderId, side: Side, qty: i64) -> [Event; 2] {
        self.trade_id += 1;
        let times = self.next();
        let price = price_at(side, 0);
        [
            Event::fill_fee(VENUE, TRADED, order, self.trade_id, USDT, Money(1_000), times),
            Event::fill(VENUE, TRADED, order, side, price, Qty(qty), self.trade_id, times),
        ]
    }

    /// The order of the last output that sends one.
    pub fn last_order(&self) -> anyhow::Result<OrderId> {
        let next = self.core.desk().next_order_id(0).context("no session")?;
        let last = OrderId::new(1, next.sequence().checked_sub(1).context("no order was placed")?);
        let order = self.core.desk().order(last).context("the order is gone")?;
        ensure!(!order.state.is_final(), "the last order is {:?}", order.state);
        Ok(last)
    }

    /// Time goes by.
    pub fn tick(&mut self) {
        let timer = Event::timer(self.next());
        self.core.apply(&timer);
    }
}
