//! Our core in a session: connected, reconciled, funded, a book with some depth.
//!
//! Limits of every kind are set, wide enough to be checked and never hit; sizes are those that the engine runs with by
//! default. State hashes, which the engine takes once in many thousand inputs, are off.

use anyhow::{Context as _, ensure};
use engine_core::book::BookConfig;
use engine_core::config::{
    AssetLimits, Capacity, CoreConfig, GlobalLimits, InstrumentLimits, RateLimit, StrategyConfig, StrategyLimits, Timing, VenueConfig,
};
use engine_core::core::Core;
use engine_core::event::{Event, EventKind, FeedState, Side, Times, flags};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::{AssetId, InstrumentId, OrderId, VenueId};
use engine_core::instrument::{AssetTable, Capabilities, Instrument, InstrumentTable};
use engine_core::strategy::{Context, NewOrder, Strategy};

/// The venue traded on.
pub const VENUE: VenueId = VenueId(0);
/// The instrument traded: the first market.
pub const TRADED: InstrumentId = InstrumentId(0);
/// The first asset.
pub const BTC: AssetId = AssetId(0);
/// What everything is paid in.
pub const USDT: AssetId = AssetId(1);
/// The third asset, where a market has it.
pub const ETH: AssetId = AssetId(2);
/// Names of the assets, and what of them is in the account at each venue.
const ASSETS: [(&str, i64); 3] = [("BTC", BALANCE_BTC), ("USDT", BALANCE_USDT), ("ETH", 100)];
/// Coins in the account.
pub const BALANCE_BTC: i64 = 60;
/// Dollars in the account.
pub const BALANCE_USDT: i64 = 5_000_000;

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
/// Orders that rest on each side.
pub const RESTING: i64 = 16;
/// Levels of the book on each side.
const LEVELS: i64 = 100;

const START_NS: u64 = 1_800_000_000_000_000_000;
/// From one input to the next.
pub const STEP_NS: u64 = 10_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// The n-th resting order's distance from the market, in hundredths.
pub const fn resting_away(n: i64) -> i64 {
    100_000 + 100 * n
}

/// An order's price, so far from the best of its side.
pub const fn price_at(side: Side, away: i64) -> Price {
    match side {
        Side::Buy => Price(BID - away),
        Side::Sell => Price(ASK + away),
    }
}

/// An order, so far from the best of its side.
pub const fn order_at(side: Side, away: i64, qty: i64) -> NewOrder {
    NewOrder { instrument: TRADED, side, price: price_at(side, away), qty: Qty(qty), post_only: true, ioc: false }
}

/// For a strategy: places the orders that rest, of so much each.
pub fn place_resting(ctx: &mut Context<'_>, qty: i64) {
    for at in 0..RESTING {
        for side in [Side::Buy, Side::Sell] {
            let _ = ctx.place(order_at(side, resting_away(at), qty));
        }
    }
}

/// Something that is traded for [`USDT`].
#[derive(Clone, Copy, Debug)]
pub struct Market {
    /// Where.
    pub venue: VenueId,
    /// The venue's name for it.
    pub symbol: &'static str,
    /// What is traded.
    pub base: AssetId,
}

fn units(n: i64) -> Money {
    Money::from_scaled(n, 0)
}

/// For these markets, with their venues and assets, and strategies of these names that trade the first market.
///
/// # Errors
/// If a market is there twice.
pub fn config(markets: &[Market], strategies: &[&str]) -> anyhow::Result<CoreConfig> {
    let (mut assets, mut instruments) = (AssetTable::new(), InstrumentTable::new());
    let last_asset = markets.iter().map(|market| market.base).chain([USDT]).max().unwrap_or(USDT);
    for (name, _) in &ASSETS[..=usize::from(last_asset.0)] {
        assets.intern(name);
    }
    for market in markets {
        let instrument = Instrument {
            lot: Qty(1_000),
            qty_min: Qty(1_000),
            qty_max: Qty(1_000_000 * COIN),
            notional_min: units(5),
            maker_fee_ppm: 100,
            taker_fee_ppm: 1_000,
            capabilities: Capabilities { replace: true, reduce: false, post_only: true },
            ..Instrument::new(market.venue, market.symbol, [market.base, USDT], [2, 8])
        };
        instruments.add(instrument).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    }
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
    let strategy = |name: &&str| StrategyConfig {
        name: (*name).into(),
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
    let last_venue = markets.iter().map(|market| market.venue).max().unwrap_or(VENUE);
    let traded = [BTC, ETH].into_iter().filter(|asset| *asset <= last_asset);
    Ok(CoreConfig {
        assets,
        instrument_limits: vec![Some(instrument_limits); instruments.len()],
        instruments,
        asset_limits: traded.map(|asset| AssetLimits { asset, exposure_max: units(100) }).collect(),
        venues: ["a", "b"][..=usize::from(last_venue.0)].iter().map(|name| venue(name)).collect(),
        strategies: strategies.iter().map(strategy).collect(),
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

/// See the module header.
pub struct Session {
    /// The core.
    pub core: Core,
    now_ns: u64,
    trade_id: u64,
}

impl Session {
    /// Everything up, reconciled and funded; the book of [`TRADED`] is there.
    ///
    /// # Errors
    /// If the core does not take the configuration.
    pub fn new(config: CoreConfig, strategies: Vec<Box<dyn Strategy>>) -> anyhow::Result<Session> {
        let (venues, assets) = (config.venues.len() as u8, config.assets.len());
        let mut session = Session { core: Core::new(config, strategies)?, now_ns: START_NS, trade_id: 0 };
        let times = session.times();
        let core = &mut session.core;
        core.apply(&Event { a: 1, b: 7, ..Event::new(EventKind::SessionStart, VENUE, times) });
        for venue in (0..venues).map(VenueId) {
            for role in 0..2 {
                core.apply(&Event::feed_status(venue, role, FeedState::Up, times));
            }
            for (asset, (_, total)) in (0..).map(AssetId).zip(&ASSETS[..assets]) {
                core.apply(&Event::balance(venue, asset, units(*total), units(*total), times).with(flags::COLD | flags::SNAPSHOT));
            }
            for code in 0..2 {
                let reconcile = Event::new(EventKind::Reconcile, venue, times).with(flags::COLD | flags::LAST);
                core.apply(&Event { code, ..reconcile });
            }
        }
        for at in 0..LEVELS {
            for side in [Side::Buy, Side::Sell] {
                let mark = if at == 0 && side == Side::Buy { flags::CLEAR } else { 0 };
                let mark = if at == LEVELS - 1 && side == Side::Sell { flags::LAST } else { mark };
                core.apply(&Event::book_level(VENUE, TRADED, side, price_at(side, 10 * at), Qty(COIN), 1, times).with(mark));
            }
        }
        Ok(session)
    }

    /// A timer, at which the strategy does [`place_resting`]; the venue accepts.
    ///
    /// # Errors
    /// If not all orders were sent.
    pub fn rest(&mut self) -> anyhow::Result<()> {
        let times = self.next_times();
        let outputs = self.core.apply(&Event::timer(times)).to_vec();
        let orders: Vec<OrderId> = outputs.iter().filter(|e| e.event_kind() == Some(EventKind::SendNew)).map(Event::order_id).collect();
        ensure!(orders.len() as i64 == 2 * RESTING, "the core did not take the resting orders: {outputs:?}");
        for order in orders {
            self.core.apply(&Event::order_report(EventKind::OrderAck, VENUE, TRADED, order, times));
        }
        Ok(())
    }

    fn times(&self) -> Times {
        Times { core_ns: self.now_ns, poll_delay_ns: 100 }
    }

    /// The times of the next input.
    pub fn next_times(&mut self) -> Times {
        self.now_ns += STEP_NS;
        self.times()
    }

    /// A public trade.
    pub fn trade(&mut self, side: Side, price: Price, qty: i64) -> Event {
        self.trade_id += 1;
        let times = self.next_times();
        Event::trade(VENUE, TRADED, side, price, Qty(qty), self.trade_id, times).with(flags::LAST)
    }

    /// The fee of a fill of an order at the market, and the fill.
    pub fn fill(&mut self, order: OrderId, side: Side, qty: i64) -> [Event; 2] {
        self.trade_id += 1;
        let times = self.next_times();
        [
            Event::fill_fee(VENUE, TRADED, order, self.trade_id, USDT, Money(1_000), times),
            Event::fill(VENUE, TRADED, order, side, price_at(side, 0), Qty(qty), self.trade_id, times),
        ]
    }

    /// The order of the last placing.
    ///
    /// # Errors
    /// If none was placed, or it has ended.
    pub fn last_order(&self) -> anyhow::Result<OrderId> {
        let next = self.core.desk().next_order_id(0).context("no session")?;
        let last = OrderId::new(1, next.sequence().checked_sub(1).context("no order was placed")?);
        let order = self.core.desk().order(last).context("the order is gone")?;
        ensure!(!order.state.is_final(), "the last order is {:?}", order.state);
        Ok(last)
    }

    /// Time goes by.
    pub fn tick(&mut self) {
        let timer = Event::timer(self.next_times());
        self.core.apply(&timer);
    }
}
