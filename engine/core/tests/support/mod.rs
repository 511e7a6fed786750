//! A core on a bench: two venues, three instruments, and a strategy that does as it is told.
#![allow(clippy::inconsistent_digit_grouping, reason = "prices are written as units and cents")]
#![allow(dead_code, reason = "each test file uses its own part")]

use engine_core::book::BookConfig;
use engine_core::config::*;
use engine_core::core::{Core, Desk};
use engine_core::event::*;
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::*;
use engine_core::instrument::{AssetTable, Capabilities, Instrument, InstrumentTable};
use engine_core::order::OrderState;
use engine_core::risk::Refusal;
use engine_core::state_hash::StateHasher;
use engine_core::strategy::{Context, Fill, NewOrder, OrderUpdate, PublicTrade, Strategy};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

pub const START_NS: u64 = 1_800_000_000_000_000_000;
pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000_000_000;
/// Venue with amend and post-only.
pub const A: VenueId = VenueId(0);
/// Venue without amend.
pub const B: VenueId = VenueId(1);
/// BTC/USDT on A: tick 0.01, lot 0.00001.
pub const BTC_A: InstrumentId = InstrumentId(0);
/// BTC/USDT on B: tick 0.1, lot 0.0001.
pub const BTC_B: InstrumentId = InstrumentId(1);
/// ETH/USDT on A.
pub const ETH_A: InstrumentId = InstrumentId(2);
pub const BTC: AssetId = AssetId(0);
pub const USDT: AssetId = AssetId(1);
pub const ETH: AssetId = AssetId(2);
/// One coin at the quantity scale of every instrument here.
pub const COIN: i64 = 100_000_000;

pub fn units(n: i64) -> Money {
    Money::from_scaled(n, 0)
}

fn instrument(venue: VenueId, symbol: &str, base: AssetId, tick: i64, lot: i64) -> Instrument {
    Instrument {
        tick: Price(tick),
        lot: Qty(lot),
        qty_min: Qty(lot),
        qty_max: Qty(VALUE_MAX),
        notional_min: units(5),
        maker_fee_ppm: 100,
        taker_fee_ppm: 1_000,
        capabilities: Capabilities { replace: venue == A, reduce: false, post_only: true },
        ..Instrument::new(venue, symbol, [base, USDT], [2, 8])
    }
}

pub fn strategy_config(name: &str, instruments: &[InstrumentId]) -> StrategyConfig {
    StrategyConfig {
        name: name.into(),
        instruments: instruments.to_vec(),
        limits: StrategyLimits {
            position_max: units(50),
            exposure_max: Some(units(50_000_000)),
            open_orders_max: 500,
            daily_loss_max: units(1_000_000),
            drawdown_max: None,
            order_rate: RateLimit::per_second(10_000),
        },
        enabled: true,
    }
}

/// Wide limits; tests narrow the one they are about.
pub fn config(strategies: Vec<StrategyConfig>) -> CoreConfig {
    let mut assets = AssetTable::new();
    for name in ["BTC", "USDT", "ETH"] {
        assets.intern(name);
    }
    let mut instruments = InstrumentTable::new();
    for i in [instrument(A, "BTCUSDT", BTC, 1, 1_000), instrument(B, "BTC/USDT", BTC, 10, 10_000), instrument(A, "ETHUSDT", ETH, 1, 10_000)]
    {
        instruments.add(i).unwrap();
    }
    let limits = InstrumentLimits {
        order_min: Qty(1_000),
        order_max: Qty(20 * COIN),
        position_max: Qty(40 * COIN),
        notional_max: units(5_000_000),
        open_orders_max: 400,
        price_collar_ppm: None,
        stale_after_ns: None,
    };
    let venue = |name: &str| VenueConfig {
        name: name.into(),
        exposure_max: units(50_000_000),
        open_orders_max: 600,
        order_rate: RateLimit::per_second(10_000),
        message_rate: RateLimit::per_second(20_000),
        check_balance: true,
        require_reconcile: true,
        book: BookConfig { capacity: 64, window: None, top_only: false },
    };
    CoreConfig {
        assets,
        instruments,
        instrument_limits: vec![Some(limits); 3],
        asset_limits: vec![AssetLimits { asset: BTC, exposure_max: units(80) }, AssetLimits { asset: ETH, exposure_max: units(80) }],
        venues: vec![venue("a"), venue("b")],
        strategies,
        reporting_asset: USDT,
        conversion: Vec::new(),
        limits: GlobalLimits {
            exposure_max: units(80_000_000),
            daily_loss_max: units(1_000_000),
            drawdown_max: units(1_000_000),
            open_orders_max: 1_000,
            order_rate: RateLimit::per_second(10_000),
            cancel_rate: RateLimit::per_second(10_000),
            reject_burst: RateLimit::per_second(100),
            fill_burst: RateLimit::per_second(10_000),
            clock_skew_max_ns: 500 * MS,
            duplicate_window_ns: 1,
            stale_after_ns: 3_600 * SECOND,
            price_collar_ppm: 100_000,
            reduce_when_stale: true,
            suspend_on_foreign_order: true,
            halt_on_balance_mismatch: true,
        },
        timing: Timing::default(),
        capacity: Capacity { orders: 2_048, fills: 8_192, strategy_outputs: 1_024, trades: 64 },
        state_hash_every: 0,
    }
}

/// What the puppet is to do at the next timer.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    Place(NewOrder),
    Replace(OrderId, Price, Qty),
    Cancel(OrderId),
    CancelInstrument(InstrumentId),
    /// Both or neither; 1 if asked for.
    Both(NewOrder, NewOrder),
    /// The same, each by itself.
    EachOf(NewOrder, NewOrder),
}

/// What the puppet was told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Said {
    Start,
    Book(InstrumentId),
    Trade(PublicTrade),
    Order(OrderUpdate),
    Fill(Fill),
}

#[derive(Default)]
pub struct PuppetState {
    pub asks: VecDeque<Ask>,
    pub answers: VecDeque<Result<OrderId, Refusal>>,
    pub said: Vec<Said>,
}

/// Does what the test asks, when a timer comes.
#[derive(Clone, Default)]
pub struct Puppet(pub Arc<Mutex<PuppetState>>);

impl Strategy for Puppet {
    fn name(&self) -> &str {
        "puppet"
    }

    fn on_start(&mut self, _ctx: &mut Context<'_>) {
        self.0.lock().unwrap().said.push(Said::Start);
    }

    fn on_book(&mut self, _ctx: &mut Context<'_>, instrument: InstrumentId) {
        self.0.lock().unwrap().said.push(Said::Book(instrument));
    }

    fn on_trade(&mut self, _ctx: &mut Context<'_>, trade: &PublicTrade) {
        self.0.lock().unwrap().said.push(Said::Trade(*trade));
    }

    fn on_order(&mut self, _ctx: &mut Context<'_>, update: &OrderUpdate) {
        self.0.lock().unwrap().said.push(Said::Order(*update));
    }

    fn on_fill(&mut self, _ctx: &mut Context<'_>, fill: &Fill) {
        self.0.lock().unwrap().said.push(Said::Fill(*fill));
    }

    fn on_timer(&mut self, ctx: &mut Context<'_>) {
        let mut state = self.0.lock().unwrap();
        while let Some(ask) = state.asks.pop_front() {
            let answer = match ask {
                Ask::Place(order) => ctx.place(order),
                Ask::Replace(order, price, qty) => ctx.replace(order, price, qty).map(|()| order),
                Ask::Cancel(order) => ctx.cancel(order).map(|()| order),
                Ask::CancelInstrument(instrument) => Ok(OrderId(u64::from(ctx.cancel_instrument(instrument)))),
                Ask::Both(first, second) => Ok(OrderId(u64::from(ctx.place_both(first, second)))),
                Ask::EachOf(first, second) => {
                    let both = ctx.check(first).is_ok() && ctx.check(second).is_ok();
                    if both {
                        let _ = ctx.place(first);
                        let _ = ctx.place(second);
                    }
                    Ok(OrderId(u64::from(both)))
                }
            };
            state.answers.push_back(answer);
        }
    }

    fn hash_state(&self, _hasher: &mut StateHasher) {}
}

/// A core with a clock.
pub struct Bench {
    pub core: Core,
    pub puppets: Vec<Puppet>,
    pub now_ns: u64,
    /// All outputs so far.
    pub outputs: Vec<Event>,
    pub sequence: u64,
}

impl Bench {
    /// One puppet for each strategy of the configuration. Nothing has happened yet.
    pub fn cold(config: CoreConfig) -> Bench {
        let puppets: Vec<Puppet> = config.strategies.iter().map(|_| Puppet::default()).collect();
        let boxed = puppets.iter().map(|p| Box::new(p.clone()) as Box<dyn Strategy>).collect();
        Bench { core: Core::new(config, boxed).unwrap(), puppets, now_ns: START_NS, outputs: Vec::new(), sequence: 1 }
    }

    /// Session started, everything up, reconciled, funded, books around 50,000 (BTC) and 2,000 (ETH).
    pub fn with(config: CoreConfig) -> Bench {
        let mut bench = Bench::cold(config);
        bench.start(1);
        bench
    }

    /// One puppet on all instruments, wide limits.
    pub fn new() -> Bench {
        Bench::with(config(vec![strategy_config("puppet", &[BTC_A, BTC_B, ETH_A])]))
    }

    /// With these strategies instead of puppets.
    pub fn of(config: CoreConfig, strategies: Vec<Box<dyn Strategy>>) -> Bench {
        let core = Core::new(config, strategies).unwrap();
        let mut bench = Bench { core, puppets: Vec::new(), now_ns: START_NS, outputs: Vec::new(), sequence: 1 };
        bench.start(1);
        bench
    }

    pub fn start(&mut self, epoch: u64) {
        self.session(epoch);
        for venue in [A, B] {
            self.feed(venue, 0, FeedState::Up);
            self.feed(venue, 1, FeedState::Up);
            self.balance(venue, BTC, units(60));
            self.balance(venue, USDT, units(5_000_000));
            self.balance(venue, ETH, units(100));
            self.reconcile(venue, 0, 0);
            self.reconcile(venue, 1, 0);
        }
        self.book(BTC_A, 49_990_00, 50_010_00);
        self.book(BTC_B, 49_990_00, 50_010_00);
        self.book(ETH_A, 1_999_00, 2_001_00);
    }

    pub fn times(&self) -> Times {
        Times { core_ns: self.now_ns, poll_delay_ns: 100 }
    }

    /// Applies an event; gives its outputs.
    pub fn apply(&mut self, event: Event) -> Vec<Event> {
        let outputs = self.core.apply(&event).to_vec();
        self.outputs.extend(&outputs);
        outputs
    }

    pub fn advance(&mut self, ns: u64) {
        self.now_ns += ns;
    }

    pub fn timer(&mut self) -> Vec<Event> {
        self.apply(Event::timer(self.times()))
    }

    pub fn session(&mut self, epoch: u64) -> Vec<Event> {
        self.apply(Event { a: epoch, b: 7, ..Event::new(EventKind::SessionStart, VenueId(0), self.times()) })
    }

    pub fn feed(&mut self, venue: VenueId, role: u8, state: FeedState) -> Vec<Event> {
        self.apply(Event::feed_status(venue, role, state, self.times()))
    }

    pub fn balance(&mut self, venue: VenueId, asset: AssetId, total: Money) -> Vec<Event> {
        self.apply(Event::balance(venue, asset, total, total, self.times()).with(flags::COLD | flags::SNAPSHOT))
    }

    pub fn reconcile(&mut self, venue: VenueId, code: u32, open: u64) -> Vec<Event> {
        let times = self.times();
        self.apply(Event { code, a: open, flags: flags::COLD | flags::LAST, ..Event::new(EventKind::Reconcile, venue, times) })
    }

    pub fn venue_of(&self, instrument: InstrumentId) -> VenueId {
        self.core.desk().instruments().get(instrument).map_or(VenueId(9), |i| i.venue)
    }

    /// A fresh snapshot: one level a side, ten coins each.
    pub fn book(&mut self, instrument: InstrumentId, bid: i64, ask: i64) -> Vec<Event> {
        self.deep_book(instrument, &[(bid, 10 * COIN)], &[(ask, 10 * COIN)])
    }

    pub fn deep_book(&mut self, instrument: InstrumentId, bids: &[(i64, i64)], asks: &[(i64, i64)]) -> Vec<Event> {
        let (venue, times) = (self.venue_of(instrument), self.times());
        self.sequence += 1;
        let sequence = self.sequence;
        let level =
            |side: Side, (price, qty): (i64, i64)| Event::book_level(venue, instrument, side, Price(price), Qty(qty), sequence, times);
        let mut events: Vec<Event> = bids.iter().map(|&l| level(Side::Buy, l)).collect();
        events.extend(asks.iter().map(|&l| level(Side::Sell, l)));
        events[0].flags |= flags::CLEAR;
        events.last_mut().unwrap().flags |= flags::LAST;
        events.into_iter().flat_map(|e| self.apply(e)).collect()
    }

    /// Changes one level.
    pub fn level(&mut self, instrument: InstrumentId, side: Side, price: i64, qty: i64) -> Vec<Event> {
        self.sequence += 1;
        let event = Event::book_level(self.venue_of(instrument), instrument, side, Price(price), Qty(qty), self.sequence, self.times());
        self.apply(event.with(flags::LAST))
    }

    pub fn book_invalid(&mut self, instrument: InstrumentId, reason: BookInvalid) -> Vec<Event> {
        self.apply(Event::book_invalid(self.venue_of(instrument), instrument, reason, self.times()))
    }

    pub fn ask_of(&mut self, strategy: usize, ask: Ask) -> Result<OrderId, Refusal> {
        self.puppets[strategy].0.lock().unwrap().asks.push_back(ask);
        self.timer();
        self.puppets[strategy].0.lock().unwrap().answers.pop_front().unwrap()
    }

    pub fn ask(&mut self, ask: Ask) -> Result<OrderId, Refusal> {
        self.ask_of(0, ask)
    }

    pub fn place(&mut self, order: NewOrder) -> Result<OrderId, Refusal> {
        self.ask(Ask::Place(order))
    }

    pub fn cancel(&mut self, order: OrderId) -> Result<OrderId, Refusal> {
        self.ask(Ask::Cancel(order))
    }

    pub fn replace(&mut self, order: OrderId, price: i64, qty: i64) -> Result<OrderId, Refusal> {
        self.ask(Ask::Replace(order, Price(price), Qty(qty)))
    }

    /// A buy of BTC on A below the market, acknowledged.
    pub fn resting(&mut self) -> OrderId {
        self.advance(1); // past the duplicate guard
        let order = self.place(buy(BTC_A, 49_000_00, COIN)).unwrap();
        self.simple(EventKind::OrderAck, order);
        order
    }

    pub fn order(&self, order: OrderId) -> engine_core::order::Order {
        self.core.desk().order(order).unwrap().clone()
    }

    pub fn state(&self, order: OrderId) -> OrderState {
        self.order(order).state
    }

    fn place_of(&self, order: OrderId) -> (VenueId, InstrumentId) {
        self.core.desk().order(order).map_or((A, BTC_A), |o| (o.venue, o.instrument))
    }

    /// A report without quantities.
    pub fn simple(&mut self, kind: EventKind, order: OrderId) -> Vec<Event> {
        let (venue, instrument) = self.place_of(order);
        self.apply(Event::order_report(kind, venue, instrument, order, self.times()))
    }

    pub fn refused(&mut self, kind: EventKind, order: OrderId, reason: RejectReason) -> Vec<Event> {
        let (venue, instrument) = self.place_of(order);
        self.apply(Event::refusal(kind, venue, instrument, order, reason, self.times()))
    }

    pub fn fill(&mut self, order: OrderId, price: i64, qty: i64, trade_id: u64) -> Vec<Event> {
        let (venue, instrument) = self.place_of(order);
        let side = self.core.desk().order(order).map_or(Side::Buy, |o| o.side);
        self.apply(Event::fill(venue, instrument, order, side, Price(price), Qty(qty), trade_id, self.times()))
    }

    pub fn fee(&mut self, order: OrderId, trade_id: u64, asset: AssetId, amount: Money) -> Vec<Event> {
        let (venue, instrument) = self.place_of(order);
        self.apply(Event::fill_fee(venue, instrument, order, trade_id, asset, amount, self.times()))
    }

    pub fn gone(&mut self, kind: EventKind, order: OrderId, filled: Option<i64>) -> Vec<Event> {
        let (venue, instrument) = self.place_of(order);
        self.apply(Event::order_gone(kind, venue, instrument, order, filled.map(Qty), self.times()))
    }

    pub fn replaced(&mut self, order: OrderId, price: i64, qty: i64) -> Vec<Event> {
        let (venue, instrument) = self.place_of(order);
        self.apply(Event::order_replaced(venue, instrument, order, Price(price), Qty(qty), self.times()))
    }

    pub fn status(&mut self, order: OrderId, status: VenueOrderStatus, filled: i64, price: i64, qty: i64) -> Vec<Event> {
        let (venue, instrument) = self.place_of(order);
        let event = Event::order_status(venue, instrument, order, status, Qty(filled), Price(price), Qty(qty), self.times());
        self.apply(event.with(flags::COLD | flags::SNAPSHOT | flags::LAST))
    }

    pub fn command(&mut self, kind: CommandKind, a: u64, b: u64) -> Vec<Event> {
        self.apply(Event::command(kind, a, b, self.times()))
    }

    pub fn said(&self) -> Vec<Said> {
        std::mem::take(&mut self.puppets[0].0.lock().unwrap().said)
    }

    pub fn desk(&self) -> &Desk {
        self.core.desk()
    }
}

pub fn kinds(events: &[Event]) -> Vec<EventKind> {
    events.iter().map(|e| e.event_kind().unwrap()).collect()
}

pub fn of_kind(events: &[Event], kind: EventKind) -> Vec<Event> {
    events.iter().copied().filter(|e| e.event_kind() == Some(kind)).collect()
}

pub fn buy(instrument: InstrumentId, price: i64, qty: i64) -> NewOrder {
    NewOrder { instrument, side: Side::Buy, price: Price(price), qty: Qty(qty), post_only: false, ioc: false }
}

pub fn sell(instrument: InstrumentId, price: i64, qty: i64) -> NewOrder {
    NewOrder { side: Side::Sell, ..buy(instrument, price, qty) }
}
