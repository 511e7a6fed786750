//! The desk: everything the core knows, and the answers to what strategies ask of it.
//!
//! Strategies reach it through [`crate::strategy::Context`]; reports and the console read it through
//! [`crate::core::Core::desk`].

use super::counters::Counters;
use super::due::DueQueue;
use super::outputs::Outputs;
use super::touch::Touched;
use crate::book::Book;
use crate::config::{ConfigError, CoreConfig};
use crate::event::{Anomaly, Event, EventKind, FeedState, HaltReason, Times};
use crate::fixed::{Money, difference};
use crate::id_set::IdSet;
use crate::ids::{AssetId, InstrumentId, OrderId, StrategyId, VenueId};
use crate::instrument::{Instrument, InstrumentTable};
use crate::order::{Order, OrderTable, Slot};
use crate::position::{Pnl, Position, Positions, RateFeed, RateSource};
use crate::risk::Gate;
use crate::state_hash::StateHasher;
use crate::strategy::{BookState, Fill, OrderUpdate};
use crate::trades::TradeStream;

/// Instruments of which all that an order reads, half a kilobyte each, fits into the first cache. Asking ahead for it costs each
/// order some nanoseconds then, and gains nothing.
const AT_HAND_MAX: usize = 64;

/// A strategy is to be told of this.
#[derive(Clone, Copy, Debug)]
pub(super) enum Notice {
    /// `on_fill`.
    Fill(StrategyId, Fill),
    /// `on_order`.
    Order(StrategyId, OrderUpdate),
}

/// The session under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Session {
    pub epoch: u16,
    pub next_sequence: u32,
    pub config_hash: u64,
}

/// The fee of the fill that follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PendingFee {
    pub venue: VenueId,
    pub order: OrderId,
    pub trade_id: u64,
    pub asset: AssetId,
    pub amount: Money,
}

/// What is known of one instrument beside its rules.
#[derive(Clone, Debug)]
pub(super) struct Market {
    pub book: Book,
    pub trades: TradeStream,
    /// When a resynchronisation was asked for last.
    pub resync_ns: u64,
}

/// The little that every message of an instrument needs beside its book: four instruments share a cache line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    /// The book's count of overflows at the last resynchronisation.
    pub overflowed: u64,
    pub venue: VenueId,
    /// Strategies were told that the book is stale.
    pub stale_told: bool,
    /// Its quote asset has a value in the reporting asset: from then on for ever.
    pub priced: bool,
    pub feeds: RateFeed,
    /// It is among the valid books of [`Desk::books`].
    pub counted: bool,
}

/// Books of a venue.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BookCount {
    pub all: u32,
    /// Valid, whether stale or not.
    pub valid: u32,
}

/// A venue's reconciliation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    /// Number of the round; 0 before the first.
    pub number: u32,
    /// Between begin and end.
    pub under_way: bool,
    /// Orders reported open in it.
    pub open_seen: u64,
    /// When the cancel-all was sent last.
    pub cancel_all_ns: u64,
}

/// Everything the core knows. See the module header. What every input touches comes first.
#[repr(C, align(64))]
pub struct Desk {
    pub(super) now_ns: u64,
    pub(super) poll_delay_ns: u32,
    /// Outputs that strategies caused with this input.
    strategy_outputs: u32,
    /// Outputs that strategies may cause with one input.
    strategy_outputs_max: u32,
    pub(super) outputs: Outputs,
    outputs_max: usize,
    /// By instrument.
    pub(super) guards: Vec<Guard>,
    /// By instrument.
    pub(super) markets: Vec<Market>,
    /// There are so many instruments that what an order reads is not at hand: it is asked for ahead.
    pub(super) asks_ahead: bool,
    pub(super) session: Option<Session>,
    pub(super) notices: Vec<Notice>,
    notices_max: usize,
    pub(super) counters: Counters,
    pub(super) gate: Gate,
    pub(super) orders: OrderTable,
    pub(super) positions: Positions,
    pub(super) instruments: InstrumentTable,
    pub(super) rounds: Vec<Round>,
    /// By venue.
    pub(super) books: Vec<BookCount>,
    /// By `venue * assets + asset`: the last difference between our record and the venue's at the end of a round.
    pub(super) differences: Vec<Money>,
    pub(super) pending_fee: Option<PendingFee>,
    /// The time of the last timer event.
    pub(super) timer_ns: u64,
    /// Instruments with public trades: when the oldest leaves the window.
    pub(super) trades_due: DueQueue,
    /// Valid books: when they would be stale, by what was known when they came here.
    pub(super) books_due: DueQueue,
    /// Books that were stale at the last look.
    pub(super) stale_books: IdSet,
    /// Orders being walked over; empty between uses.
    pub(super) walk: Vec<Slot>,
    /// How far [`Desk::touch`] has come; no part of the state.
    pub(super) touched: Touched,
    pub(super) config: CoreConfig,
}

impl Desk {
    /// Outputs that one input causes at most.
    pub fn outputs_max(&self) -> usize {
        self.outputs_max
    }

    /// The id that the order after `ahead` more will get; `None` outside a session.
    #[inline]
    pub fn next_order_id(&self, ahead: u32) -> Option<OrderId> {
        let session = self.session?;
        session.next_sequence.checked_add(ahead).map(|sequence| OrderId::new(session.epoch, sequence))
    }

    /// Forgets old orders ahead of need, unless a command waits to be sent. See [`OrderTable::keep_ready`]. What closed
    /// lately is always taken into the digest: that must not be put off for ever by strategies that have something to
    /// say at each timer.
    #[inline]
    pub(super) fn keep_ready(&mut self, at_leisure: bool) {
        if self.strategy_outputs == 0 {
            self.orders.keep_ready(at_leisure);
        } else if at_leisure {
            self.orders.settle_some();
        }
    }

    /// Asks for the memory that the next order will be put in.
    #[inline]
    pub(super) fn prefetch_next(&self) {
        if let Some(next) = self.next_order_id(0) {
            self.orders.prefetch_next(next);
        }
    }

    pub(super) fn new(config: CoreConfig) -> Result<Desk, ConfigError> {
        config.validate()?;
        let (instruments, venues, assets) = (config.instruments.len(), config.venues.len(), config.assets.len());
        let mut positions = Positions::new(config.strategies.len(), instruments, venues, assets, config.reporting_asset);
        for &(asset, value) in &config.conversion {
            positions.rates.set_source(asset, RateSource::Fixed(value));
        }
        positions.rates.derive_sources(&config.instruments);
        for (_, instrument) in config.instruments.iter() {
            if !positions.rates.has_source(instrument.quote) {
                let name = |asset| config.assets.name(asset).to_owned();
                return Err(ConfigError::NoRate { asset: name(instrument.quote), reporting: name(config.reporting_asset) });
            }
        }
        let book = |instrument: &Instrument| {
            let mut book = Book::with_tick(config.venues[instrument.venue.index()].book, instrument.tick);
            book.venue = instrument.venue;
            book
        };
        let market = |instrument: &Instrument| Market {
            book: book(instrument),
            trades: TradeStream::new(config.capacity.trades as usize, config.timing.trade_window_ns),
            resync_ns: 0,
        };
        let guard = |id: InstrumentId, instrument: &Instrument| Guard {
            overflowed: 0,
            venue: instrument.venue,
            stale_told: false,
            priced: false,
            counted: false,
            feeds: positions.rates.fed_by(id, instrument),
        };
        let guards = config.instruments.iter().map(|(id, i)| guard(id, i)).collect();
        let mut books = vec![BookCount::default(); venues];
        for (_, instrument) in config.instruments.iter() {
            books[instrument.venue.index()].all += 1;
        }
        let capacity = config.capacity.orders as usize;
        // Per input: every open order may change state twice (a time-out, then a halt), every book may need a
        // resynchronisation, every venue a cancel-all.
        let outputs_max = 2 * capacity + 2 * instruments + 8 * venues + config.capacity.strategy_outputs as usize + 1_024;
        let notices_max = 2 * capacity + 64;
        let mut gate = Gate::new(&config)?;
        gate.exposure.refresh(&config.instruments, &positions);
        Ok(Desk {
            instruments: config.instruments.clone(),
            now_ns: 0,
            poll_delay_ns: 0,
            session: None,
            markets: config.instruments.iter().map(|(_, i)| market(i)).collect(),
            positions,
            orders: OrderTable::new(capacity, config.capacity.fills as usize, config.strategies.len(), instruments),
            gate,
            rounds: vec![Round::default(); venues],
            differences: vec![Money::ZERO; venues * assets],
            pending_fee: None,
            timer_ns: 0,
            trades_due: DueQueue::new(instruments),
            books_due: DueQueue::new(instruments),
            stale_books: IdSet::new(instruments),
            counters: Counters::default(),
            outputs: Outputs::new(outputs_max),
            outputs_max,
            strategy_outputs: 0,
            strategy_outputs_max: config.capacity.strategy_outputs,
            guards,
            books,
            asks_ahead: instruments > AT_HAND_MAX,
            notices: Vec::with_capacity(notices_max),
            notices_max,
            walk: Vec::with_capacity(capacity),
            touched: Touched::new(&config),
            config,
        })
    }

    /// Starts on an input: takes its time, forgets the outputs of the one before.
    #[inline]
    pub(super) fn begin(&mut self, event: &Event) {
        self.outputs.clear();
        self.strategy_outputs = 0;
        self.poll_delay_ns = event.poll_delay_ns;
        if event.core_time_ns >= self.now_ns {
            self.now_ns = event.core_time_ns;
        } else {
            self.time_went_back(event);
        }
    }

    /// The clock does not follow. Events of the cold plane may be old by the time they arrive.
    #[cold]
    fn time_went_back(&mut self, event: &Event) {
        const TOLERANCE_NS: u64 = 1_000_000_000;
        if self.now_ns - event.core_time_ns > TOLERANCE_NS && !event.has(crate::event::flags::COLD) {
            self.anomaly(Anomaly::ClockJump, event, event.core_time_ns);
        }
    }

    /// Times of an output.
    #[inline]
    pub(super) fn times(&self) -> Times {
        Times { core_ns: self.now_ns, poll_delay_ns: self.poll_delay_ns }
    }

    #[inline]
    pub(super) fn push(&mut self, output: Event) {
        if !self.outputs.push(output) {
            self.counters.outputs_lost += 1;
        }
    }

    /// True if strategies may cause `count` more outputs with this input.
    #[inline]
    pub(super) fn has_strategy_outputs(&self, count: u32) -> bool {
        self.strategy_outputs + count <= self.strategy_outputs_max
    }

    /// Takes room for `count` outputs out of what strategies may cause with one input; false if there is none.
    #[inline]
    pub(super) fn take_strategy_outputs(&mut self, count: u32) -> bool {
        let room = self.has_strategy_outputs(count);
        if room {
            self.strategy_outputs += count;
        }
        room
    }

    #[inline]
    pub(super) fn notify(&mut self, notice: Notice) {
        if self.notices.len() < self.notices_max {
            self.notices.push(notice);
        }
    }

    /// An output about an order.
    #[inline]
    pub(super) fn order_output(&self, kind: EventKind, order: &Order) -> Event {
        Event {
            side: order.side as u8,
            asset: u16::from(order.strategy.0),
            ..Event::order_report(kind, order.venue, order.instrument, order.id, self.times())
        }
    }

    /// Reports an input that cannot be placed.
    #[cold]
    pub(super) fn anomaly(&mut self, anomaly: Anomaly, about: &Event, value: u64) {
        self.counters.anomalies[anomaly as usize] += 1;
        let output = Event {
            instrument: about.instrument,
            asset: about.asset,
            side: about.side,
            code: anomaly as u32,
            a: value,
            b: u64::from(about.kind),
            ..Event::new(EventKind::Anomaly, about.venue_id(), self.times())
        };
        self.push(output);
    }

    /// The core's time, nanoseconds since the Unix epoch.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// What the core was built from.
    pub fn config(&self) -> &CoreConfig {
        &self.config
    }

    /// All instruments, with the rules now in force.
    #[inline]
    pub fn instruments(&self) -> &InstrumentTable {
        &self.instruments
    }

    /// The instruments of a strategy, in configured order; empty if out of range.
    #[inline]
    pub fn strategy_instruments(&self, strategy: StrategyId) -> &[InstrumentId] {
        self.config.strategies.get(strategy.index()).map_or(&[], |s| &s.instruments)
    }

    /// The book of an instrument, if the id is in range.
    #[inline]
    pub fn book(&self, instrument: InstrumentId) -> Option<&Book> {
        self.markets.get(instrument.index()).map(|m| &m.book)
    }

    /// Whether that book can be traded on now. Out of range: invalid.
    #[inline]
    pub fn book_state(&self, instrument: InstrumentId) -> BookState {
        match self.book(instrument) {
            Some(book) if book.is_valid() => {
                let fresh = book.age_ns(self.now_ns) <= self.gate.stale_after_ns(instrument);
                if fresh { BookState::Valid } else { BookState::Stale }
            }
            _ => BookState::Invalid,
        }
    }

    /// Recent public trades of an instrument, if the id is in range.
    #[inline]
    pub fn trades(&self, instrument: InstrumentId) -> Option<&TradeStream> {
        self.markets.get(instrument.index()).map(|m| &m.trades)
    }

    /// State of a venue's order entry.
    #[inline]
    pub fn order_entry(&self, venue: VenueId) -> FeedState {
        self.gate.venue(venue).map_or(FeedState::Down, |v| v.entry().state)
    }

    /// State of a venue's market-data stream.
    #[inline]
    pub fn market_data(&self, venue: VenueId) -> FeedState {
        self.gate.venue(venue).map_or(FeedState::Down, |v| v.market_data)
    }

    /// True if the venue's records were compared with ours since its order entry last came up.
    #[inline]
    pub fn reconciled(&self, venue: VenueId) -> bool {
        self.gate.venue(venue).is_some_and(|v| v.entry().reconciled)
    }

    /// True while the strategy may open orders.
    #[inline]
    pub fn trading_enabled(&self, strategy: StrategyId) -> bool {
        self.session.is_some() && self.gate.is_open_to(strategy)
    }

    /// True unless the strategy is disabled.
    #[inline]
    pub fn strategy_enabled(&self, strategy: StrategyId) -> bool {
        self.gate.strategy(strategy).is_some_and(|s| s.enabled)
    }

    /// Why trading stopped, if it did.
    #[inline]
    pub fn halted(&self) -> Option<HaltReason> {
        self.gate.switches().halted
    }

    /// True while the operator's pause lasts.
    #[inline]
    pub fn paused(&self) -> bool {
        self.gate.switches().paused
    }

    /// True once the engine winds down.
    #[inline]
    pub fn shutting_down(&self) -> bool {
        self.gate.switches().shutting_down
    }

    /// True if the instrument is suspended: our record and the venue's disagreed.
    pub fn suspended(&self, instrument: InstrumentId) -> bool {
        self.gate.is_suspended(instrument)
    }

    /// A strategy's position in an instrument, if the ids are in range.
    #[inline]
    pub fn strategy_position(&self, strategy: StrategyId, instrument: InstrumentId) -> Option<&Position> {
        self.positions.strategy(strategy, instrument)
    }

    /// The position of all strategies in an instrument, if the id is in range.
    #[inline]
    pub fn instrument_position(&self, instrument: InstrumentId) -> Option<&Position> {
        self.positions.total(instrument)
    }

    /// All positions, fees, accounts and rates.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// The risk gate, with what is open and held.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Profit and loss of everything, in the reporting asset. Walks all instruments.
    pub fn pnl(&self) -> Pnl {
        self.positions.pnl(&self.instruments)
    }

    /// Profit and loss of one strategy, in the reporting asset. Walks all instruments.
    pub fn strategy_pnl(&self, strategy: StrategyId) -> Pnl {
        self.positions.strategy_pnl(strategy, &self.instruments)
    }

    /// What can still be spent of an asset on a venue: the ledger's total less what open orders hold.
    #[inline]
    pub fn available(&self, venue: VenueId, asset: AssetId) -> Money {
        Money(difference(self.positions.ledger.total(venue, asset).0, self.gate.exposure.held(venue, asset).0))
    }

    /// All orders: the open ones and those closed recently.
    pub fn orders(&self) -> &OrderTable {
        &self.orders
    }

    /// An order, while it is in the table.
    #[inline]
    pub fn order(&self, order: OrderId) -> Option<&Order> {
        self.orders.by_id(order)
    }

    /// Open orders of a strategy, oldest first.
    #[inline]
    pub fn open_orders_of(&self, strategy: StrategyId) -> impl Iterator<Item = &Order> {
        self.orders.iter_strategy(strategy)
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Epoch of the session; `None` before the first.
    pub fn epoch(&self) -> Option<u16> {
        self.session.map(|s| s.epoch)
    }

    /// Hash of the configuration that the session started with; `None` before the first.
    pub fn config_hash(&self) -> Option<u64> {
        self.session.map(|s| s.config_hash)
    }

    /// Writes everything that could change an output.
    pub(super) fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.now_ns);
        let session = self.session.unwrap_or(Session { epoch: 0, next_sequence: 0, config_hash: 0 });
        hasher.write_u64(u64::from(session.epoch) << 32 | u64::from(session.next_sequence));
        hasher.write_u64(session.config_hash);
        for ((_, instrument), (market, guard)) in self.instruments.iter().zip(self.markets.iter().zip(&self.guards)) {
            hasher.write_price(instrument.tick);
            hasher.write_qty(instrument.lot);
            hasher.write_qty(instrument.qty_min);
            hasher.write_money(instrument.notional_min);
            hasher.write_u64(u64::from(instrument.status as u32) << 32 | u64::from(instrument.epoch));
            market.book.hash_state(hasher);
            market.trades.hash_state(hasher, self.timer_ns);
            hasher.write_bool(guard.stale_told);
            hasher.write_u64(market.resync_ns);
            hasher.write_u64(guard.overflowed);
        }
        self.positions.hash_state(hasher);
        self.orders.hash_state(hasher);
        self.gate.hash_state(hasher);
        for round in &self.rounds {
            hasher.write_u64(u64::from(round.number) << 1 | u64::from(round.under_way));
            hasher.write_u64(round.open_seen);
            hasher.write_u64(round.cancel_all_ns);
        }
        for &difference in &self.differences {
            hasher.write_money(difference);
        }
        if let Some(fee) = self.pending_fee {
            hasher.write_u64(fee.order.0);
            hasher.write_u64(fee.trade_id);
            hasher.write_u64(u64::from(fee.asset.0));
            hasher.write_money(fee.amount);
        }
    }
}
