//! The core: one event in, the outputs that it causes out.
//!
//! [`Core`] dispatches inputs to the [`Desk`] (which holds all state and knows all rules) and calls the strategies.
//! The files by what comes in:
//!
//! | file | what |
//! |---|---|
//! | `desk` | the state, and the answers to what strategies and reports ask |
//! | `requests` | place, replace, cancel |
//! | `fills` | fills |
//! | `reports` | other order reports, answers to questions |
//! | `transitions` | the one place where an order changes |
//! | `control` | session, connections, reconciliation, balances, commands, halts |
//! | `watch` | time: overdue answers, stale books, losses |
//! | `due` | what is to be looked at when |
//! | `outputs` | what one input causes |
//! | `touch` | what the next order will need, asked for between orders |
//! | `counters` | what happened |
//!
//! All memory is taken by [`Core::new`]; [`Core::apply`] allocates nothing, and reads no clock.

mod control;
pub mod counters;
mod desk;
mod due;
mod fills;
mod outputs;
mod reports;
mod requests;
mod touch;
mod transitions;
mod watch;

pub use counters::Counters;
pub use desk::Desk;

use crate::book::BookChange;
use crate::config::{ConfigError, CoreConfig};
use crate::event::{Anomaly, BookInvalid, Event, EventKind, Side, flags};
use crate::fixed::Price;
use crate::ids::{InstrumentId, StrategyId, VenueId};
use crate::prefetch::{extent, prefetch, prefetch_extent};
use crate::state_hash::StateHasher;
use crate::strategy::{Context, PublicTrade, Strategy};
use core::ops::Range;
use desk::Notice;

/// No instrument.
const NONE: u32 = u32::MAX;

/// Instruments of a venue whose strategies are to be called. Nearly always it is one.
struct Dirty {
    /// The id of one, or [`NONE`].
    first: u32,
    /// Preallocated for all instruments of the venue.
    others: Vec<InstrumentId>,
}

impl Dirty {
    #[inline]
    fn add(&mut self, instrument: InstrumentId) {
        if self.first != u32::from(instrument.0) {
            self.add_another(instrument);
        }
    }

    fn add_another(&mut self, instrument: InstrumentId) {
        if self.first == NONE {
            self.first = u32::from(instrument.0);
        } else {
            self.add_other(instrument);
        }
    }

    fn add_other(&mut self, instrument: InstrumentId) {
        if !self.others.contains(&instrument) {
            self.others.push(instrument);
        }
    }
}

/// The core. See the module header.
#[repr(C, align(64))]
pub struct Core {
    inputs: u64,
    /// With this input the state's hash is given out.
    hash_at: u64,
    /// By venue.
    dirty: Vec<Dirty>,
    /// By instrument: where its strategies begin and end in `subscribers`.
    subscriptions: Vec<[u32; 2]>,
    subscribers: Vec<StrategyId>,
    strategies: Vec<Box<dyn Strategy>>,
    desk: Desk,
}

/// The input with which the state's hash is given out next. With `every` 0 it never is.
fn next_hash(inputs: u64, every: u32) -> u64 {
    if every == 0 { u64::MAX } else { inputs + u64::from(every) }
}

impl Core {
    /// Builds a core. `strategies` are in the order of `config.strategies`.
    pub fn new(config: CoreConfig, strategies: Vec<Box<dyn Strategy>>) -> Result<Core, ConfigError> {
        if strategies.len() != config.strategies.len() {
            return Err(ConfigError::StrategyCount { given: strategies.len(), configured: config.strategies.len() });
        }
        let desk = Desk::new(config)?;
        let config = desk.config();
        let mut subscribers = Vec::new();
        let mut subscriptions = Vec::new();
        for (id, _) in config.instruments.iter() {
            let from = subscribers.len() as u32;
            for (at, strategy) in config.strategies.iter().enumerate() {
                if strategy.instruments.contains(&id) {
                    subscribers.push(StrategyId(at as u8));
                }
            }
            subscriptions.push([from, subscribers.len() as u32]);
        }
        let of_venue = |venue: usize| config.instruments.iter().filter(|(_, i)| i.venue.index() == venue).count();
        let dirty = (0..config.venues.len()).map(|venue| Dirty { first: NONE, others: Vec::with_capacity(of_venue(venue)) }).collect();
        let hash_at = next_hash(0, config.state_hash_every);
        Ok(Core { desk, strategies, subscribers, subscriptions, dirty, inputs: 0, hash_at })
    }

    /// Takes one input; gives the outputs that it causes, in order. They are valid until the next call.
    #[inline]
    pub fn apply(&mut self, event: &Event) -> &[Event] {
        self.desk.begin(event);
        self.inputs = self.inputs.wrapping_add(1);
        if event.kind == EventKind::BookLevel as u8 && !event.has(flags::CLEAR) {
            self.on_level(event);
        } else {
            self.apply_other(event);
        }
        if self.inputs == self.hash_at {
            self.give_hash();
        }
        self.desk.outputs.as_slice()
    }

    /// The outputs of the last input.
    #[inline]
    pub fn outputs(&self) -> &[Event] {
        self.desk.outputs.as_slice()
    }

    /// A market-data message of this instrument is being read: asks for the memory that it will need. Changes nothing.
    #[inline]
    pub fn upcoming(&self, instrument: InstrumentId) {
        let at = instrument.index();
        if let (Some(guard), Some(market), Some(from)) = (self.desk.guards.get(at), self.desk.markets.get(at), self.subscriptions.get(at)) {
            prefetch(guard);
            prefetch(from);
            market.book.prefetch();
            self.desk.positions.prefetch(instrument);
        }
    }

    /// Changes of these levels will follow: asks for the memory that they will need. Changes nothing.
    #[inline]
    pub fn upcoming_levels(&self, instrument: InstrumentId, levels: impl Iterator<Item = (Side, Price)>) {
        if let Some(market) = self.desk.markets.get(instrument.index()) {
            levels.for_each(|(side, price)| market.book.prefetch_level(side, price));
        }
    }

    /// What is no level of a book.
    #[inline(never)]
    fn apply_other(&mut self, event: &Event) {
        if event.kind == EventKind::OrderFill as u8 { self.on_fill(event) } else { self.apply_rest(event) }
    }

    #[inline(never)]
    fn apply_rest(&mut self, event: &Event) {
        match event.event_kind() {
            Some(EventKind::BookLevel | EventKind::TopOfBook | EventKind::BookTouch | EventKind::BookInvalid) => self.on_book(event),
            Some(EventKind::Trade) => self.on_trade(event),
            Some(EventKind::OrderFill) => self.on_fill(event),
            Some(EventKind::FillFee) => self.desk.on_fee(event),
            Some(
                kind @ (EventKind::OrderAck
                | EventKind::OrderReject
                | EventKind::OrderCanceled
                | EventKind::CancelReject
                | EventKind::OrderReplaced
                | EventKind::ReplaceReject
                | EventKind::OrderExpired
                | EventKind::OrderUncertain
                | EventKind::OrderStatus),
            ) => {
                self.desk.on_report(kind, event);
                self.give_notices();
                self.desk.keep_ready(false);
                // Of all reports these are the quickest, and every order gets one of them.
                self.desk.prefetch_next();
            }
            Some(EventKind::Timer) => self.on_timer(event),
            Some(EventKind::Command) => {
                self.desk.on_command(event);
                self.give_notices();
            }
            Some(EventKind::FeedStatus) => self.on_feed_status(event),
            Some(EventKind::Balance) => self.desk.on_balance(event),
            Some(EventKind::Reconcile) => {
                self.desk.on_reconcile(event);
                self.give_notices();
            }
            Some(EventKind::InstrumentStatus) => {
                let changed = self.desk.on_instrument_status(event);
                self.instrument_changed(event, changed);
            }
            Some(EventKind::InstrumentRules) => {
                let changed = self.desk.on_instrument_rules(event);
                self.instrument_changed(event, changed);
            }
            Some(EventKind::SessionStart) => self.on_session_start(event),
            _ => self.desk.anomaly(Anomaly::UnknownKind, event, u64::from(event.kind)),
        }
    }

    /// A level that begins no snapshot: the hot path. Strategies look when the message is over.
    #[inline]
    fn on_level(&mut self, event: &Event) {
        let id = event.instrument_id();
        let Some(market) = self.desk.markets.get_mut(id.index()) else { return self.unknown(event) };
        if market.book.venue != event.venue_id() {
            return self.unknown(event);
        }
        match market.book.take_level(event) {
            Ok(()) if event.has(flags::LAST) => self.message_ended(event),
            Ok(()) => self.add_dirty(event.venue_id(), id),
            Err(change) => self.level_not_taken(event, change),
        }
    }

    /// That was the last level of a message.
    #[inline(never)]
    fn message_ended(&mut self, event: &Event) {
        let id = event.instrument_id();
        let Some(market) = self.desk.markets.get_mut(id.index()) else { return };
        match market.book.end_message() {
            BookChange::Updated { top } => self.updated(event.venue_id(), id, top),
            change => self.turned(event, change),
        }
        self.call_on_books(event.venue_id());
    }

    #[cold]
    fn level_not_taken(&mut self, event: &Event, change: BookChange) {
        self.book_changed(event, change);
    }

    /// Any event of a book.
    fn on_book(&mut self, event: &Event) {
        let id = event.instrument_id();
        let Some(market) = self.desk.markets.get_mut(id.index()) else { return self.unknown(event) };
        if market.book.venue != event.venue_id() {
            return self.unknown(event);
        }
        let change = market.book.apply(event);
        if event.has(flags::CLEAR) {
            // It may have been valid.
            self.desk.count_book(id);
        }
        self.book_changed(event, change);
    }

    fn book_changed(&mut self, event: &Event, change: BookChange) {
        let id = event.instrument_id();
        match change {
            BookChange::Partial => self.add_dirty(event.venue_id(), id),
            BookChange::Updated { top } => self.updated(event.venue_id(), id, top),
            BookChange::Ignored => {}
            change => self.turned(event, change),
        }
        if event.has(flags::LAST) {
            self.call_on_books(event.venue_id());
        }
    }

    /// A message ended, and the book is valid as before.
    #[inline(always)]
    fn updated(&mut self, venue: VenueId, id: InstrumentId, top: bool) {
        let desk = &mut self.desk;
        let (Some(guard), Some(market)) = (desk.guards.get_mut(id.index()), desk.markets.get(id.index())) else { return };
        guard.stale_told = false;
        let overflowed = market.book.overflowed() != guard.overflowed;
        if top
            && let Some(mid) = market.book.mid()
            && !(desk.positions.on_mid_alone(id, guard.feeds, mid) && guard.priced)
        {
            self.mark_all(id, mid);
        }
        if overflowed {
            self.overflowed(id);
        }
        self.add_dirty(venue, id);
    }

    #[cold]
    fn unknown(&mut self, event: &Event) {
        self.desk.anomaly(Anomaly::UnknownId, event, u64::from(event.instrument));
    }

    #[inline]
    fn add_dirty(&mut self, venue: VenueId, instrument: InstrumentId) {
        if let Some(dirty) = self.dirty.get_mut(venue.index()) {
            dirty.add(instrument);
        }
    }

    /// A book became valid or invalid.
    #[cold]
    fn turned(&mut self, event: &Event, change: BookChange) {
        let id = event.instrument_id();
        self.desk.count_book(id);
        if let BookChange::Invalidated(reason) = change {
            return self.invalidated(event, reason);
        }
        let guard = &mut self.desk.guards[id.index()];
        guard.stale_told = false;
        guard.overflowed = self.desk.markets[id.index()].book.overflowed();
        self.desk.watch_book(id);
        if let Some(mid) = self.desk.markets[id.index()].book.mid() {
            self.mark_all(id, mid);
        }
        self.add_dirty(event.venue_id(), id);
    }

    /// The mid of a book moved, and rates may come from it, or nothing is known of them yet.
    #[inline(never)]
    fn mark_all(&mut self, id: InstrumentId, mid: Price) {
        let Some(instrument) = self.desk.instruments.get(id) else { return };
        self.desk.positions.on_mid(id, instrument, mid);
        if !self.desk.gate.exposure.is_priced(id) {
            self.desk.gate.exposure.refresh_unit(id, &self.desk.positions);
        }
        self.desk.guards[id.index()].priced = self.desk.gate.exposure.is_priced(id);
    }

    /// Levels were dropped for want of room. The book stays right near the top; once a side has run down to where the dropped
    /// levels were, only a new snapshot knows what is there.
    #[cold]
    fn overflowed(&mut self, id: InstrumentId) {
        let book = &self.desk.markets[id.index()].book;
        let low = book.config().capacity / 4;
        if book.depth(Side::Buy).min(book.depth(Side::Sell)) < low {
            self.desk.resync(id, BookInvalid::Overflow);
        }
    }

    #[cold]
    fn invalidated(&mut self, event: &Event, reason: BookInvalid) {
        let id = event.instrument_id();
        self.add_dirty(event.venue_id(), id);
        // The codec knows of what it said itself; what the book found out is news to it.
        if event.kind != EventKind::BookInvalid as u8 {
            self.desk.resync(id, reason);
        }
    }

    /// Calls `on_book` for every instrument of a venue that changed since the last message ended.
    #[inline(always)]
    fn call_on_books(&mut self, venue: VenueId) {
        let Some(dirty) = self.dirty.get_mut(venue.index()) else { return };
        let first = std::mem::replace(&mut dirty.first, NONE);
        if first == NONE {
            return;
        }
        let first = InstrumentId(first as u16);
        self.call_subscribers(first, |strategy, ctx| strategy.on_book(ctx, first));
        if !self.dirty[venue.index()].others.is_empty() {
            self.call_on_other_books(venue);
        }
    }

    fn call_on_other_books(&mut self, venue: VenueId) {
        let mut others = std::mem::take(&mut self.dirty[venue.index()].others);
        for &id in &others {
            self.call_subscribers(id, |strategy, ctx| strategy.on_book(ctx, id));
        }
        others.clear();
        self.dirty[venue.index()].others = others;
    }

    #[inline]
    fn call_subscribers(&mut self, id: InstrumentId, mut call: impl FnMut(&mut dyn Strategy, &mut Context<'_>)) {
        let [from, to] = self.subscriptions[id.index()];
        for &subscriber in &self.subscribers[from as usize..to as usize] {
            call(&mut *self.strategies[subscriber.index()], &mut Context::new(&mut self.desk, subscriber));
        }
    }

    #[inline]
    fn on_trade(&mut self, event: &Event) {
        let id = event.instrument_id();
        if self.desk.guards.get(id.index()).is_none_or(|guard| guard.venue != event.venue_id()) {
            return self.unknown(event);
        }
        if let Some(trade) = self.desk.take_trade(id, event) {
            let public =
                PublicTrade { instrument: id, side: trade.side, price: trade.price, qty: trade.qty, venue_time_ns: event.venue_time_ns };
            self.call_subscribers(id, |strategy, ctx| strategy.on_trade(ctx, &public));
        }
        if event.has(flags::LAST) {
            self.call_on_books(event.venue_id());
        }
    }

    /// Tells strategies what happened to their orders.
    #[inline(always)]
    fn give_notices(&mut self) {
        let mut notices = std::mem::take(&mut self.desk.notices);
        for notice in &notices {
            match notice {
                Notice::Fill(id, fill) => {
                    self.strategies[id.index()].on_fill(&mut Context::new(&mut self.desk, *id), fill);
                }
                Notice::Order(id, update) => {
                    self.strategies[id.index()].on_order(&mut Context::new(&mut self.desk, *id), update);
                }
            }
        }
        notices.clear();
        self.desk.notices = notices;
    }

    fn on_timer(&mut self, event: &Event) {
        let Core { desk, dirty, .. } = self;
        let mut turned_stale = false;
        desk.on_timer(event, |venue, id| {
            turned_stale = true;
            dirty[venue.index()].add(id);
        });
        self.give_notices();
        if turned_stale {
            for venue in 0..self.dirty.len() {
                self.call_on_books(VenueId(venue as u8));
            }
        }
        for (at, strategy) in self.strategies.iter_mut().enumerate() {
            strategy.on_timer(&mut Context::new(&mut self.desk, StrategyId(at as u8)));
        }
        self.desk.keep_ready(true);
    }

    fn on_feed_status(&mut self, event: &Event) {
        let books_gone = self.desk.on_feed_status(event);
        if books_gone {
            let venue = event.venue_id();
            for at in 0..self.desk.markets.len() {
                let id = InstrumentId(at as u16);
                let of_venue = self.desk.instruments.get(id).is_some_and(|i| i.venue == venue);
                if of_venue && self.desk.markets[at].book.invalidate(BookInvalid::Disconnected) != BookChange::Ignored {
                    self.desk.count_book(id);
                    self.add_dirty(venue, id);
                }
            }
        }
        self.give_notices();
        self.call_on_books(event.venue_id());
    }

    fn instrument_changed(&mut self, event: &Event, changed: bool) {
        let known = self.desk.instruments.get(event.instrument_id()).is_some_and(|i| i.venue == event.venue_id());
        if changed && known {
            self.add_dirty(event.venue_id(), event.instrument_id());
        }
        if event.has(flags::LAST) {
            self.call_on_books(event.venue_id());
        }
    }

    fn on_session_start(&mut self, event: &Event) {
        if !self.desk.on_session_start(event) {
            return;
        }
        for dirty in &mut self.dirty {
            dirty.first = NONE;
            dirty.others.clear();
        }
        self.give_notices();
        for (at, strategy) in self.strategies.iter_mut().enumerate() {
            strategy.on_start(&mut Context::new(&mut self.desk, StrategyId(at as u8)));
        }
    }

    #[cold]
    fn give_hash(&mut self) {
        self.hash_at = next_hash(self.inputs, self.desk.config().state_hash_every);
        let output = Event::new(EventKind::StateHash, VenueId(0), self.desk.times());
        let hash = self.state_hash();
        self.desk.push(Event { a: hash, b: self.inputs, flags: flags::LAST, ..output });
    }

    /// Hash of everything that could change an output. Walks the state: some tens of microseconds.
    pub fn state_hash(&self) -> u64 {
        let mut hasher = StateHasher::new();
        hasher.write_u64(self.inputs);
        self.desk.hash_state(&mut hasher);
        for dirty in &self.dirty {
            if dirty.first != NONE {
                hasher.write_u32(dirty.first);
            }
            for id in &dirty.others {
                hasher.write_u32(u32::from(id.0));
            }
        }
        for strategy in &self.strategies {
            strategy.hash_state(&mut hasher);
        }
        hasher.finish()
    }

    /// Asks for what the next order, cancel or replace will read and change, so that it is in the caches then: see the header of
    /// `touch.rs`. Nothing changes but how far it has come. To be called now and then between orders.
    pub fn touch(&mut self) {
        self.touch_with(prefetch_extent);
    }

    /// As [`Core::touch`]; what to do with the memory (from the first address to before the second) is for the caller to say.
    pub fn touch_with(&mut self, mut touch: impl FnMut(Range<usize>)) {
        touch(extent(&self.strategies[..]));
        self.desk.touch(&mut touch);
    }

    /// The desk, to look at.
    #[inline]
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Inputs taken in so far.
    pub fn inputs(&self) -> u64 {
        self.inputs
    }

    /// The strategies, in the order of their ids.
    pub fn strategies(&self) -> impl Iterator<Item = &dyn Strategy> {
        self.strategies.iter().map(|s| &**s)
    }
}
