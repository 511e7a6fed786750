//! Keeps the way to an order warm.
//!
//! Market data comes thousands of times a second, orders perhaps ten times. In between, the code of risk,
//! order table, encoder and cipher falls out of the caches nearest to the core, and the branch predictors
//! forget it: the rare order, the one that counts, would pay with several microseconds of fetching.
//!
//! So, when nothing else is to do, the hot thread rehearses: a second core, built like the first and fed
//! with books made up around the real ones, decides on orders; they are recorded into a ring of their own,
//! and are encoded by the real codec and sealed on the real connection, which take back what that changed and
//! send nothing. Nothing of it is journalled or seen by the real core: the
//! two share code and tables that do not change, no state.
//!
//! Its clock runs fast (half a second a step), so that no rate limit is in the way; its orders are acknowledged
//! at once and never fill.

use super::core_side::{CommandBatch, CoreSide, command_batch};
use crate::cold::journal_writer::WriterProgress;
use crate::ring;
use engine_core::book::Book;
use engine_core::core::{Core, Desk};
use engine_core::event::{Event, EventKind, EventSink, FeedState, Side, Times, flags};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::{AssetId, InstrumentId, OrderId, VenueId};
use engine_core::instrument::Instrument;
use engine_core::strategy::NewOrder;
use std::sync::Arc;
use venues::venue::Role;

/// How far the second core's clock moves with each step. With a step each 300 us it is good for four months of idle
/// passes; then there are no more rehearsals until the next start.
const STEP_NS: u64 = 500_000_000;
/// Where its clock ends.
const CLOCK_END_NS: u64 = u64::MAX - 1_000 * STEP_NS;
/// Orders after which it begins a new session: it has ids for twice as many.
const ORDERS_PER_SESSION: u32 = 1 << 31;
/// Rounds of orders and answers in one step.
pub const ROUNDS_MAX: usize = 3;
/// Orders encoded in one step.
const ORDERS_MAX: usize = 5;
/// One in so many moves is one that arbitrage between venues answers; the others are a spread wide.
const GAP_ONE_IN: u64 = 3;
/// Such a move is the price divided by this: beyond any fees, within any sensible price collar.
const GAP_DIVISOR: i64 = 100;
/// Books of the same asset on other venues that are renewed with the one that moves.
const COMPANIONS_MAX: usize = 16;
/// What a venue says we have of everything.
const PLENTY: Money = Money(1_000_000 * 1_000_000_000_000_000_000);
/// What is encoded for a venue.
const KINDS: [EventKind; 3] = [EventKind::SendNew, EventKind::SendCancel, EventKind::SendReplace];

/// Place of a command in [`KINDS`].
fn kind_of(command: &Event) -> Option<usize> {
    KINDS.iter().position(|kind| command.kind == *kind as u8)
}

/// Counters of the rehearsals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RehearsalCounters {
    /// Steps made.
    pub steps: u64,
    /// Orders, cancels and replaces.
    pub orders: u64,
    /// Of these, decided on by strategies.
    pub decided: u64,
    /// Messages encoded.
    pub encoded: u64,
}

/// The second core and what stands around it. See the module header.
pub struct Rehearsal {
    side: CoreSide,
    ring: ring::Consumer,
    batch: Box<CommandBatch>,
    instruments: Vec<(InstrumentId, VenueId)>,
    /// By place in `instruments`: those of the same asset on other venues.
    companions: Vec<Vec<(InstrumentId, VenueId)>>,
    next: usize,
    up: bool,
    now_ns: u64,
    venues: usize,
    assets: usize,
    epoch: u64,
    orders_per_session: u32,
    /// Commands in the batch that await their answer.
    asked: usize,
    /// Orders that the step may still encode.
    left: usize,
    to_send: [Event; ORDERS_MAX],
    /// By venue and kind of command: the step in which one was last encoded.
    encoded_at: Vec<[u64; KINDS.len()]>,
    /// A command of the kind that the venue whose book moves has not seen for longest, in case the strategies have
    /// none: they may amend for hours, and cancel once.
    plain: Option<Event>,
    counters: RehearsalCounters,
}

impl Rehearsal {
    /// Prepares a rehearsal with a core that was built like the real one and has seen nothing yet.
    ///
    /// # Errors
    /// If there is no memory for its ring.
    pub fn new(core: Core, now_ns: u64) -> Result<Rehearsal, ring::RingError> {
        let room = (2 * core.desk().outputs_max()).next_power_of_two();
        let (producer, ring) = ring::in_process(room, 1)?;
        let table = core.desk().instruments();
        let others = |of: InstrumentId, base| {
            let same = table.iter().filter(move |(id, i)| *id != of && i.base == base);
            same.map(|(id, i)| (id, i.venue)).take(COMPANIONS_MAX).collect()
        };
        let companions = table.iter().map(|(id, i)| others(id, i.base)).collect();
        let instruments = table.iter().map(|(id, i)| (id, i.venue)).collect();
        let (venues, assets) = (core.desk().config().venues.len(), core.desk().config().assets.len());
        let mut rehearsal = Rehearsal {
            side: CoreSide::new(core, producer, Arc::new(WriterProgress::default())),
            ring,
            batch: command_batch(),
            instruments,
            companions,
            next: 0,
            up: false,
            now_ns,
            venues,
            assets,
            epoch: 0,
            orders_per_session: ORDERS_PER_SESSION,
            asked: 0,
            left: 0,
            to_send: [Event::default(); ORDERS_MAX],
            encoded_at: vec![[0; KINDS.len()]; venues],
            plain: None,
            counters: RehearsalCounters::default(),
        };
        rehearsal.begin_session();
        Ok(rehearsal)
    }

    /// Begins a new session of the second core after so many orders; for tests.
    #[must_use]
    pub fn with_session_length(self, orders: u32) -> Rehearsal {
        Rehearsal { orders_per_session: orders, ..self }
    }

    /// A session of the second core: everything is up, the records agree, money is no object.
    fn begin_session(&mut self) {
        self.epoch += 1;
        let times = self.times();
        let mut start = Event::new(EventKind::SessionStart, VenueId(0), times).with(flags::LAST);
        start.a = self.epoch;
        self.take(&start);
        for venue in (0..self.venues).map(|id| VenueId(id as u8)) {
            for role in Role::ALL {
                self.take(&Event::feed_status(venue, role as u8, FeedState::Up, times));
            }
            for code in [0, 1] {
                self.take(&Event { code, ..Event::new(EventKind::Reconcile, venue, times) }.with(flags::LAST));
                for asset in (0..self.assets).map(|id| AssetId(id as u16)) {
                    self.take(&Event::balance(venue, asset, PLENTY, PLENTY, times));
                }
            }
        }
        self.side.take_commands(&mut self.batch);
    }

    /// The second core learns what the real one knows of an instrument's rules.
    fn keep_to_rules(&mut self, venue: VenueId, id: InstrumentId, real: &Desk) {
        let (Some(theirs), Some(ours)) = (real.instruments().get(id), self.side.core().desk().instruments().get(id)) else { return };
        let rules = |i: &Instrument| (i.tick, i.lot, i.qty_min);
        let (status, changed) = ((theirs.status != ours.status).then_some(theirs.status), rules(theirs) != rules(ours));
        let (tick, lot, qty_min) = rules(theirs);
        let times = self.times();
        if changed {
            let words =
                Event { a: tick.0 as u64, b: lot.0 as u64, c: qty_min.0 as u64, ..Event::new(EventKind::InstrumentRules, venue, times) };
            self.take(&Event { instrument: id.0, ..words }.with(flags::LAST));
        }
        if let Some(status) = status {
            self.take(&Event::instrument_status(venue, id, status, times));
        }
    }

    /// The counters.
    pub fn counters(&self) -> RehearsalCounters {
        self.counters
    }

    fn times(&self) -> Times {
        Times { core_ns: self.now_ns, poll_delay_ns: 1_000 }
    }

    #[inline]
    fn take(&mut self, event: &Event) {
        self.side.event(event);
        while self.ring.pop().is_some() {}
    }

    /// A step begins: a book moves, those of the same asset elsewhere stay where they are. False if there is nothing to
    /// move. `real` lends the market.
    #[inline(never)]
    pub fn begin(&mut self, real: &Desk) -> bool {
        let at = self.next;
        let Some(&(instrument, venue)) = self.instruments.get(at) else { return false };
        self.next = (at + 1) % self.instruments.len();
        if self.next == 0 {
            self.up = !self.up;
        }
        let Some(market) = real.book(instrument).and_then(Market::of) else { return false };
        if self.now_ns >= CLOCK_END_NS {
            return false;
        }
        self.now_ns += STEP_NS;
        if self.side.core().desk().next_order_id(0).is_none_or(|id| id.sequence() > self.orders_per_session) {
            self.begin_session();
        }
        self.keep_to_rules(venue, instrument, real);
        self.counters.steps += 1;
        self.left = ORDERS_MAX;
        let rules = real.instruments().get(instrument);
        let tick = rules.map_or(1, |i| i.tick.0.max(1));
        let shift = match self.counters.steps % GAP_ONE_IN {
            0 => market.ask.0 / GAP_DIVISOR / tick * tick,
            _ if self.up => (market.ask.0 - market.bid.0).max(tick),
            _ => 0,
        };
        let times = self.times();
        self.take(&Event::timer(times));
        for other in 0..self.companions[at].len() {
            let (instrument, venue) = self.companions[at][other];
            if let Some(market) = real.book(instrument).and_then(Market::of) {
                self.show(venue, instrument, &market, 0);
            }
        }
        self.show(venue, instrument, &market, shift);
        self.plain = rules.and_then(|rules| self.plain(venue, instrument, market.bid, rules));
        true
    }

    /// A command of the kind that the venue has not seen for longest.
    fn plain(&self, venue: VenueId, instrument: InstrumentId, price: Price, rules: &Instrument) -> Option<Event> {
        let encoded_at = self.encoded_at.get(venue.index())?;
        let kind = (0..KINDS.len()).min_by_key(|kind| encoded_at[*kind])?;
        let qty = rules.qty_min.0.max(rules.lot.0);
        let mode = match KINDS[kind] {
            EventKind::SendNew if self.up => flags::POST_ONLY,
            EventKind::SendNew => flags::IOC,
            _ => 0,
        };
        let command = Event::order_report(KINDS[kind], venue, instrument, OrderId::NONE, self.times()).with(mode);
        // An amendment makes the order smaller by a lot: any venue can do that.
        Some(Event { side: Side::Buy as u8, b: price.0 as u64, c: qty as u64, d: qty.saturating_add(rules.lot.0) as u64, ..command })
    }

    /// Shows the second core a book of two levels.
    fn show(&mut self, venue: VenueId, instrument: InstrumentId, market: &Market, shift: i64) {
        let times = self.times();
        let level = |side, price: Price, qty, more| {
            Event::book_level(venue, instrument, side, Price(price.0 + shift), qty, 0, times).with(flags::SNAPSHOT | more)
        };
        self.take(&level(Side::Buy, market.bid, market.bid_qty, flags::CLEAR));
        self.take(&level(Side::Sell, market.ask, market.ask_qty, flags::LAST));
    }

    /// What the strategies answered, under the ids that the next real orders will have: what is found by id is at
    /// hand then. Real risk is asked about each order, so that the limits and windows that the next one meets are at
    /// hand too. Empty once they have nothing more to say. To be followed by [`Rehearsal::answer`].
    pub fn orders(&mut self, real: &Desk) -> &[Event] {
        self.asked = self.side.take_commands(&mut self.batch);
        let mut count = 0;
        for command in &self.batch[..self.asked] {
            let Some(kind) = kind_of(command).filter(|_| count < self.left) else { continue };
            if let Some(encoded_at) = self.encoded_at.get_mut(command.venue_id().index()) {
                encoded_at[kind] = self.counters.steps;
            }
            if self.plain.is_some_and(|plain| (plain.venue, plain.kind) == (command.venue, command.kind)) {
                self.plain = None;
            }
            self.to_send[count] = *command;
            count += 1;
        }
        self.counters.decided += count as u64;
        if let Some(plain) = self.plain.take().filter(|_| count < self.left) {
            if let (Some(encoded_at), Some(kind)) = (self.encoded_at.get_mut(plain.venue_id().index()), kind_of(&plain)) {
                encoded_at[kind] = self.counters.steps;
            }
            self.to_send[count] = plain;
            count += 1;
        }
        for (ahead, command) in self.to_send[..count].iter_mut().enumerate() {
            ask(real, command);
            command.a = real.next_order_id(ahead as u32).unwrap_or(OrderId::NONE).0;
        }
        self.left -= count;
        self.counters.orders += count as u64;
        &self.to_send[..count]
    }

    /// The venues answer what [`Rehearsal::orders`] gave; `messages` were encoded of it. False if there was nothing.
    pub fn answer(&mut self, messages: u32) -> bool {
        self.counters.encoded += u64::from(messages);
        for at in 0..self.asked {
            let command = self.batch[at];
            self.agree(&command);
        }
        std::mem::take(&mut self.asked) > 0
    }

    /// The venue agrees to everything at once.
    fn agree(&mut self, command: &Event) {
        let (venue, instrument, order, times) = (command.venue_id(), command.instrument_id(), command.order_id(), self.times());
        let report = |kind| Event::order_report(kind, venue, instrument, order, times).with(flags::LAST);
        let gone = |kind| Event::order_gone(kind, venue, instrument, order, Some(Qty::ZERO), times).with(flags::LAST);
        match command.event_kind() {
            Some(EventKind::SendNew) => {
                self.take(&report(EventKind::OrderAck));
                if command.has(flags::IOC) {
                    self.take(&gone(EventKind::OrderExpired));
                }
            }
            Some(EventKind::SendCancel) => self.take(&gone(EventKind::OrderCanceled)),
            Some(EventKind::SendReplace) => {
                let replaced = Event::order_replaced(venue, instrument, order, command.order_price(), command.order_qty(), times);
                self.take(&replaced.with(flags::LAST));
            }
            _ => {}
        }
    }
}

/// What real risk would say of the order. The answer is of no interest.
fn ask(real: &Desk, command: &Event) {
    let Some(side) = command.side().filter(|_| command.event_kind() == Some(EventKind::SendNew)) else { return };
    let order = NewOrder {
        instrument: command.instrument_id(),
        side,
        price: command.order_price(),
        qty: command.order_qty(),
        post_only: command.has(flags::POST_ONLY),
        ioc: command.has(flags::IOC),
    };
    let _ = std::hint::black_box(real.check(command.strategy_id(), order));
}

/// Best bid and ask of a real book.
struct Market {
    bid: Price,
    bid_qty: Qty,
    ask: Price,
    ask_qty: Qty,
}

impl Market {
    fn of(book: &Book) -> Option<Market> {
        let (bid, ask) = (book.best(Side::Buy)?, book.best(Side::Sell)?);
        book.is_valid().then_some(Market { bid: bid.price, bid_qty: bid.qty, ask: ask.price, ask_qty: ask.qty })
    }
}
