//! Public market data: subscriptions, the life of each book, trades, status, reference data.
//!
//! One book's life. A book is *live* while it follows the updates of one connection and every checksum holds:
//!
//! ```text
//!   subscribe ──► awaiting a snapshot ──► live ──► checksum fails, message unreadable, the core complains
//!       ▲                 │ none in 5 s             │  BookInvalid
//!       │                 ▼                         ▼
//!       └──── back-off (none the first time, then 1 s, 2 s, .. 60 s; forgotten after a minute of health)
//! ```
//!
//! A resync is an unsubscribe and a subscribe of that one symbol; while a snapshot is awaited or a retry waits, no other
//! resync of the book begins. During a planned renewal a book stays live on the old connection until its snapshot
//! comes in on the new one.

use super::book::{Book, Decimals, Proof};
use super::instruments::{Pair, Pairs, Rules, System};
use super::message::{Envelope, Line, Scratch};
use super::stream::{self, Message};
use super::writer::Writer;
use super::{Cx, S};
use crate::batch::{Ahead, announce_levels, emit_levels};
use crate::json::Scanner;
use crate::outbox::ColdRequest;
use crate::symbols::SymbolIndex;
use crate::venue::Role;
use engine_core::event::{BookInvalid, Event, EventKind, EventSink, FeedState, InstrumentStatus, Side, Times, flags};
use engine_core::fixed::{Price, Qty};
use engine_core::id_set::IdSet;
use engine_core::ids::{InstrumentId, VenueId};
use engine_core::instrument::InstrumentTable;

/// Levels a side. The checksum covers ten: with more, a loss below them would go unseen.
pub const DEPTH: usize = 10;
/// A snapshot takes no longer.
const SNAPSHOT_TIMEOUT_NS: u64 = 5 * S;
const BACKOFF_MIN_NS: u64 = S;
const BACKOFF_MAX_NS: u64 = 60 * S;
/// A symbol that the venue does not have is asked for again so much later.
const REFUSED_RETRY_NS: u64 = 300 * S;
/// Live for so long: earlier failures are forgotten.
const HEALTHY_NS: u64 = 60 * S;
/// Nothing sent for so long: ping. The server closes after a minute.
const PING_NS: u64 = 15 * S;
/// Symbols in one subscribe request.
const SYMBOLS_PER_REQUEST: usize = 40;

/// Request ids of this connection; those of single symbols are [`ID_BOOK`] plus the symbol's place.
const ID_PING: u64 = 1;
const ID_INSTRUMENT: u64 = 2;
const ID_ALL_BOOKS: u64 = 3;
const ID_ALL_TRADES: u64 = 4;
const ID_BOOK: u64 = 0x10_0000;
const ID_UNSUBSCRIBE: u64 = 0x20_0000;
const ID_TRADE: u64 = 0x30_0000;

/// What the codec knows of one symbol.
struct Feed {
    /// And the connection whose updates it follows.
    book: Book,
    live_since_ns: u64,
    /// A snapshot was asked for then; 0 if none is awaited.
    awaiting_since_ns: u64,
    /// Subscribe again then; 0 if no retry waits.
    retry_at_ns: u64,
    /// Failures in a row.
    failures: u32,
    /// It was live before.
    had_snapshot: bool,
    /// The venue does not have this symbol.
    refused: bool,
    last_trade: u64,
    trade_retry_at_ns: u64,
    /// What the venue says of the pair alone.
    pair_status: InstrumentStatus,
    /// What the core was told last.
    told_status: InstrumentStatus,
    rules: Rules,
}

impl Feed {
    /// True if something of it may fall due.
    const fn waits(&self) -> bool {
        self.awaiting_since_ns != 0 || self.retry_at_ns != 0 || self.trade_retry_at_ns != 0
    }
}

/// The market-data side of the codec.
pub struct MarketData {
    venue: VenueId,
    symbols: SymbolIndex,
    feeds: Vec<Feed>,
    /// Feeds that wait for a time: all that do, and some that have ceased to since the last timer.
    waiting: IdSet,
    /// From instrument id to place.
    places: Vec<Option<u16>>,
    scratch: Scratch,
    /// Generation of the newest open connection.
    link: Option<u32>,
    system: System,
    subscribed: bool,
    told: FeedState,
    ready: bool,
    sent_ns: u64,
}

/// The places of a venue's symbols by instrument id.
pub fn places(symbols: &SymbolIndex, instruments: &InstrumentTable) -> Vec<Option<u16>> {
    let mut places = vec![None; instruments.len()];
    for (at, symbol) in symbols.symbols().iter().enumerate() {
        places[symbol.instrument.index()] = u16::try_from(at).ok();
    }
    places
}

/// Events of a proven message. A snapshot gives what is held, an update what changed.
pub fn emit_book<S: EventSink>(
    book: &Book,
    snapshot: bool,
    scratch: &Scratch,
    about: (VenueId, InstrumentId, u64),
    times: Times,
    sink: &mut S,
) -> u64 {
    let (venue, instrument, time_ns) = about;
    let mut count = 0;
    let level = |side: Side, price: i64, qty: i64| Event::book_level(venue, instrument, side, Price(price), Qty(qty), 0, times).at(time_ns);
    let touch = Event { instrument: instrument.0, ..Event::new(EventKind::BookTouch, venue, times) }.at(time_ns);
    if !snapshot {
        let Some(row) = scratch.rows.first() else {
            sink.event(&touch.with(flags::LAST));
            return 1;
        };
        let levels = scratch.rows.iter().map(|row| (row.side, row.price, row.qty));
        emit_levels(level(row.side, row.price, row.qty), levels, sink);
        return scratch.rows.len() as u64;
    }
    let held = book.levels(Side::Buy).count() + book.levels(Side::Sell).count();
    if held == 0 {
        sink.event(&touch.with(flags::SNAPSHOT | flags::CLEAR | flags::LAST));
        return 1;
    }
    for side in [Side::Buy, Side::Sell] {
        for (price, qty) in book.levels(side) {
            let mut mark = flags::SNAPSHOT;
            mark |= if count == 0 { flags::CLEAR } else { 0 };
            count += 1;
            mark |= if count as usize == held { flags::LAST } else { 0 };
            sink.event(&level(side, price, qty).with(mark));
        }
    }
    count
}

impl MarketData {
    /// Over the venue's instruments of the table.
    pub fn new(venue: VenueId, instruments: &InstrumentTable) -> MarketData {
        let symbols = SymbolIndex::new(instruments, venue);
        let feeds = symbols.symbols().iter().map(|symbol| {
            let instrument = &instruments[symbol.instrument];
            Feed {
                book: Book::new(DEPTH, Decimals::same(symbol.price_scale), Decimals::same(symbol.qty_scale)),
                live_since_ns: 0,
                awaiting_since_ns: 0,
                retry_at_ns: 0,
                failures: 0,
                had_snapshot: false,
                refused: false,
                last_trade: 0,
                trade_retry_at_ns: 0,
                pair_status: instrument.status,
                told_status: instrument.status,
                rules: Rules::of(instrument),
            }
        });
        MarketData {
            venue,
            waiting: IdSet::new(feeds.len()),
            feeds: feeds.collect(),
            places: places(&symbols, instruments),
            symbols,
            scratch: Scratch::default(),
            link: None,
            system: System::Online,
            subscribed: false,
            told: FeedState::Down,
            ready: false,
            sent_ns: 0,
        }
    }

    /// True once every book that the venue has is live on the newest connection.
    pub const fn is_ready(&self) -> bool {
        self.ready
    }

    fn update_ready(&mut self) {
        if !self.ready {
            self.ready = self.link.is_some() && self.feeds.iter().all(|feed| feed.refused || feed.book.live_on == self.link);
        }
    }

    /// Tells the core the state of the feed if it differs from what was told.
    fn tell_feed<K: EventSink>(&mut self, cx: &mut Cx<'_, K>) {
        let state = match (self.link.is_some() && self.subscribed, self.system) {
            (false, _) => FeedState::Down,
            (true, System::Maintenance) => FeedState::Maintenance,
            (true, _) => FeedState::Up,
        };
        if state != self.told {
            self.told = state;
            cx.emit(&Event::feed_status(self.venue, Role::MarketData as u8, state, cx.times));
        }
    }

    /// A connection is open: subscribe to everything.
    pub fn on_open<K: EventSink>(&mut self, generation: u32, cx: &mut Cx<'_, K>) {
        let now_ns = cx.times.core_ns;
        self.link = Some(generation);
        self.ready = false;
        if self.feeds.iter().all(|feed| feed.book.live_on.is_none()) {
            self.subscribed = false;
        }
        self.send(cx, |message| {
            message
                .put(br#"{"method":"subscribe","params":{"channel":"instrument","snapshot":true},"req_id":"#)
                .integer(ID_INSTRUMENT)
                .put(b"}");
        });
        for first in (0..self.feeds.len()).step_by(SYMBOLS_PER_REQUEST) {
            let end = (first + SYMBOLS_PER_REQUEST).min(self.feeds.len());
            let books = self.subscribe("book", first..end, ID_ALL_BOOKS, cx);
            self.subscribe("trade", first..end, ID_ALL_TRADES, cx);
            for (place, feed) in (first..end).zip(&mut self.feeds[first..end]) {
                (feed.refused, feed.failures, feed.trade_retry_at_ns) = (false, 0, 0);
                (feed.awaiting_since_ns, feed.retry_at_ns) = if books { (now_ns, 0) } else { (0, now_ns + BACKOFF_MIN_NS) };
                self.waiting.insert(place);
            }
        }
        if self.feeds.is_empty() {
            self.subscribed = true;
            self.ready = true;
            self.tell_feed(cx);
        }
    }

    /// Subscribes to a channel of some symbols; false if there was no room.
    fn subscribe<K: EventSink>(&mut self, channel: &str, places: core::ops::Range<usize>, id: u64, cx: &mut Cx<'_, K>) -> bool {
        let symbols = &self.symbols;
        let sent = cx.out.send(Role::MarketData, |space| {
            let mut message = Writer::new(space);
            message.put(br#"{"method":"subscribe","params":{"channel":""#).put(channel.as_bytes()).put(br#"","symbol":["#);
            for (at, symbol) in symbols.symbols()[places.clone()].iter().enumerate() {
                message.put(if at == 0 { b"\"" } else { b",\"" }).put(symbol.text.as_bytes()).put(b"\"");
            }
            let tail: &[u8] =
                if channel == "book" { br#"],"depth":10,"snapshot":true},"req_id":"# } else { br#"],"snapshot":false},"req_id":"# };
            message.put(tail).integer(id).put(b"}").finish()
        });
        self.sent_ns = cx.times.core_ns;
        sent
    }

    /// Sends a message; false if there was no room.
    fn send<K: EventSink>(&mut self, cx: &mut Cx<'_, K>, build: impl FnOnce(&mut Writer<'_>)) -> bool {
        self.sent_ns = cx.times.core_ns;
        cx.out.send(Role::MarketData, |space| {
            let mut message = Writer::new(space);
            build(&mut message);
            message.finish()
        })
    }

    /// A connection is gone.
    pub fn on_close<K: EventSink>(&mut self, generation: u32, cx: &mut Cx<'_, K>) {
        let newest = self.link == Some(generation);
        for place in 0..self.feeds.len() {
            let feed = &mut self.feeds[place];
            if newest {
                (feed.awaiting_since_ns, feed.retry_at_ns, feed.trade_retry_at_ns) = (0, 0, 0);
            }
            if feed.book.live_on.is_some() && (newest || feed.book.live_on == Some(generation)) {
                self.invalidate(place, BookInvalid::Disconnected, cx);
            }
        }
        if newest {
            self.link = None;
            self.subscribed = false;
            self.ready = false;
            self.tell_feed(cx);
        }
    }

    fn invalidate<K: EventSink>(&mut self, place: usize, reason: BookInvalid, cx: &mut Cx<'_, K>) {
        let feed = &mut self.feeds[place];
        if feed.book.live_on.take().is_some() {
            feed.book.clear();
            let instrument = self.symbols.symbols()[place].instrument;
            cx.emit(&Event::book_invalid(self.venue, instrument, reason, cx.times));
        }
    }

    /// The book of `place` is not to be trusted: say so, and synchronise it anew unless that is under way.
    fn lose<K: EventSink>(&mut self, place: usize, reason: BookInvalid, cx: &mut Cx<'_, K>) {
        self.invalidate(place, reason, cx);
        self.retry(place, cx);
    }

    /// Plans the next subscription of a book; at once if it was healthy.
    fn retry<K: EventSink>(&mut self, place: usize, cx: &mut Cx<'_, K>) {
        let now_ns = cx.times.core_ns;
        let feed = &mut self.feeds[place];
        if self.link.is_none() || feed.awaiting_since_ns != 0 || feed.retry_at_ns != 0 {
            return;
        }
        if feed.failures > 0 && feed.live_since_ns != 0 && now_ns.saturating_sub(feed.live_since_ns) >= HEALTHY_NS {
            feed.failures = 0;
        }
        feed.live_since_ns = 0;
        let failures = feed.failures;
        feed.failures = failures.saturating_add(1);
        if failures == 0 {
            self.resubscribe(place, cx);
        } else {
            let delay_ns = (BACKOFF_MIN_NS << (failures - 1).min(6)).min(BACKOFF_MAX_NS);
            self.feeds[place].retry_at_ns = now_ns + delay_ns;
            self.waiting.insert(place);
        }
    }

    fn resubscribe<K: EventSink>(&mut self, place: usize, cx: &mut Cx<'_, K>) {
        let text = &self.symbols.symbols()[place].text;
        let unsubscribed = cx.out.send(Role::MarketData, |space| {
            let mut message = Writer::new(space);
            message.put(br#"{"method":"unsubscribe","params":{"channel":"book","symbol":[""#).put(text.as_bytes());
            message.put(br#""],"depth":10},"req_id":"#).integer(ID_UNSUBSCRIBE + place as u64).put(b"}").finish()
        });
        let sent = unsubscribed && self.subscribe("book", place..place + 1, ID_BOOK + place as u64, cx);
        let feed = &mut self.feeds[place];
        let now_ns = cx.times.core_ns;
        (feed.awaiting_since_ns, feed.retry_at_ns) = if sent { (now_ns, 0) } else { (0, now_ns + BACKOFF_MIN_NS) };
        self.waiting.insert(place);
    }

    /// The core found the book wrong.
    pub fn resync<K: EventSink>(&mut self, instrument: InstrumentId, reason: BookInvalid, cx: &mut Cx<'_, K>) {
        let Some(place) = self.places.get(instrument.index()).copied().flatten() else { return };
        self.lose(usize::from(place), reason, cx);
    }

    /// A complete message.
    #[inline]
    pub fn on_message<K: EventSink>(&mut self, generation: u32, payload: &[u8], cx: &mut Cx<'_, K>) {
        let (feeds, sink) = (&self.feeds, &mut *cx.sink);
        let upcoming = |ahead: Ahead<'_, Line>| match ahead {
            Ahead::Book(place, instrument) => {
                if let Some(feed) = feeds.get(place) {
                    feed.book.prefetch();
                }
                sink.upcoming(instrument);
            }
            Ahead::Levels(instrument, rows) => announce_levels(instrument, rows.iter().map(|row| (row.side, row.price)), sink),
        };
        match stream::parse(payload, &mut self.symbols, &mut self.scratch, upcoming) {
            Ok(Message::Book { symbol, instrument, snapshot, checksum, time_ns }) => {
                self.on_book(generation, (symbol, instrument), snapshot, checksum, time_ns, cx);
            }
            Ok(Message::Trades { snapshot, unknown_symbols, unknown_values }) => {
                cx.counters.unknown_symbols += unknown_symbols;
                cx.counters.unknown_values += unknown_values;
                self.on_trades(snapshot, cx);
            }
            Ok(Message::Heartbeat) => {}
            Ok(Message::Status { system }) => self.on_system(System::of(system.raw()), system.raw(), cx),
            Ok(Message::Instruments { data }) => self.on_instruments(data, cx),
            Ok(Message::Answer(answer)) => self.on_answer(generation, &answer, cx),
            Ok(Message::Unused(_) | Message::Unknown) => cx.counters.unknown_messages += 1,
            Ok(Message::UnknownSymbol) => cx.counters.unknown_symbols += 1,
            Err(error) => {
                cx.counters.malformed += 1;
                if let Some(place) = error.symbol
                    && self.feeds[place].book.live_on == Some(generation)
                {
                    self.lose(place, BookInvalid::Malformed, cx);
                }
            }
        }
    }

    fn on_book<K: EventSink>(
        &mut self,
        generation: u32,
        (place, instrument): (usize, InstrumentId),
        snapshot: bool,
        checksum: Option<u32>,
        time_ns: u64,
        cx: &mut Cx<'_, K>,
    ) {
        let feed = &mut self.feeds[place];
        let follows = if snapshot { self.link == Some(generation) } else { feed.book.live_on == Some(generation) };
        if !follows {
            cx.counters.stale += 1;
            return;
        }
        if checksum.is_none() && !snapshot {
            cx.counters.malformed += 1;
            self.lose(place, BookInvalid::Malformed, cx);
            return;
        }
        let proof = feed.book.take(snapshot, &mut self.scratch, checksum);
        if snapshot {
            (feed.awaiting_since_ns, feed.retry_at_ns) = (0, 0);
        }
        match proof {
            Proof::Holds => {}
            Proof::HoldsAtOtherDecimals => {
                cx.out.request(ColdRequest::Instruments);
            }
            Proof::Fails => {
                cx.counters.checksum_failures += 1;
                self.lose(place, BookInvalid::Checksum, cx);
                return;
            }
        }
        if snapshot {
            cx.counters.resyncs += u64::from(feed.had_snapshot);
            (feed.had_snapshot, feed.refused) = (true, false);
            (feed.book.live_on, feed.live_since_ns) = (Some(generation), cx.times.core_ns.max(1));
        }
        if snapshot && !self.subscribed {
            self.subscribed = true;
            self.tell_feed(cx);
        }
        let book = &self.feeds[place].book;
        cx.counters.events += emit_book(book, snapshot, &self.scratch, (self.venue, instrument, time_ns), cx.times, cx.sink);
        if snapshot {
            self.update_ready();
        }
    }

    fn on_trades<K: EventSink>(&mut self, snapshot: bool, cx: &mut Cx<'_, K>) {
        // The last row that will be handed on carries the end mark: find out which are new first.
        for row in &mut self.scratch.trades {
            let feed = &mut self.feeds[row.symbol];
            if snapshot || row.id > feed.last_trade {
                cx.counters.gaps += u64::from(!snapshot && feed.last_trade != 0 && row.id != feed.last_trade + 1);
                feed.last_trade = feed.last_trade.max(row.id);
            } else {
                cx.counters.stale += 1;
                row.qty = 0; // Not handed on.
            }
        }
        let rows = &self.scratch.trades;
        let Some(last) = rows.iter().rposition(|row| row.qty > 0) else { return };
        for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.qty > 0) {
            let instrument = self.symbols.symbols()[row.symbol].instrument;
            let trade = Event::trade(self.venue, instrument, row.side, Price(row.price), Qty(row.qty), row.id, cx.times).at(row.time_ns);
            let mark = if snapshot { flags::SNAPSHOT } else { 0 } | if at == last { flags::LAST } else { 0 };
            cx.emit(&trade.with(mark));
        }
    }

    fn on_system<K: EventSink>(&mut self, system: System, text: &[u8], cx: &mut Cx<'_, K>) {
        if system == self.system {
            return;
        }
        self.system = system;
        cx.counters.unknown_values += u64::from(system == System::Unknown);
        cx.notice.set(&[b"system is ", text]);
        self.tell_feed(cx);
        for place in 0..self.feeds.len() {
            self.tell_status(place, cx);
        }
    }

    fn tell_status<K: EventSink>(&mut self, place: usize, cx: &mut Cx<'_, K>) {
        let feed = &mut self.feeds[place];
        let status = self.system.narrow(feed.pair_status);
        if status != feed.told_status {
            feed.told_status = status;
            cx.emit(&Event::instrument_status(self.venue, self.symbols.symbols()[place].instrument, status, cx.times));
        }
    }

    fn on_instruments<K: EventSink>(&mut self, data: Scanner<'_>, cx: &mut Cx<'_, K>) {
        let mut pairs = match Pairs::new(data) {
            Ok(pairs) => pairs,
            Err(_) => {
                cx.counters.malformed += 1;
                return;
            }
        };
        loop {
            match pairs.next(&mut self.symbols) {
                Ok(Some(Ok(pair))) => self.on_pair(&pair, cx),
                Ok(Some(Err(bad))) => self.on_bad_pair(bad.symbol, cx),
                Ok(None) => return,
                Err(_) => {
                    cx.counters.malformed += 1;
                    return;
                }
            }
        }
    }

    fn on_pair<K: EventSink>(&mut self, pair: &Pair, cx: &mut Cx<'_, K>) {
        let place = pair.symbol;
        let instrument = self.symbols.symbols()[place].instrument;
        let feed = &mut self.feeds[place];
        cx.counters.unknown_values += u64::from(pair.status == InstrumentStatus::Unknown && feed.pair_status != pair.status);
        feed.pair_status = pair.status;
        let (price, qty) = feed.book.decimals();
        if (price.printed, qty.printed) != (pair.price_decimals, pair.qty_decimals) {
            feed.book.set_printed(pair.price_decimals, pair.qty_decimals);
        }
        if feed.rules != pair.rules {
            feed.rules = pair.rules;
            let rules = Event {
                instrument: instrument.0,
                a: pair.rules.tick as u64,
                b: pair.rules.lot as u64,
                c: pair.rules.qty_min as u64,
                d: pair.rules.notional_min as u64,
                ..Event::new(EventKind::InstrumentRules, self.venue, cx.times)
            };
            cx.emit(&rules.with(flags::LAST));
            // The cold plane's copy of the table is stale now.
            cx.out.request(ColdRequest::Instruments);
        }
        self.tell_status(place, cx);
    }

    /// An instrument whose reference data cannot be read (its decimals became finer than our numbers, for one) is
    /// quarantined: no trading, no book, until the venue says something that we understand.
    fn on_bad_pair<K: EventSink>(&mut self, place: usize, cx: &mut Cx<'_, K>) {
        cx.counters.malformed += 1;
        cx.notice.set(&[b"reference data cannot be read: ", self.symbols.symbols()[place].text.as_bytes()]);
        self.feeds[place].pair_status = InstrumentStatus::Unknown;
        self.tell_status(place, cx);
        self.lose(place, BookInvalid::RulesChanged, cx);
        cx.out.request(ColdRequest::Instruments);
    }

    fn on_answer<K: EventSink>(&mut self, generation: u32, answer: &Envelope<'_>, cx: &mut Cx<'_, K>) {
        let Some(error) = answer.error.filter(|_| answer.success != Some(true)) else { return };
        let unsubscribe = answer.method.is_some_and(|method| method.is(b"unsubscribe"));
        if unsubscribe || self.link != Some(generation) {
            return; // Of a subscription that was not there, or of a connection that is on its way out.
        }
        cx.counters.venue_errors += 1;
        let id = answer.req_id.unwrap_or(0);
        let named = answer.symbol.and_then(|symbol| self.symbols.position(symbol.raw()));
        let single = |base: u64| id.checked_sub(base).and_then(|at| usize::try_from(at).ok()).filter(|&at| at < self.feeds.len());
        let trade = id == ID_ALL_TRADES || single(ID_TRADE).is_some();
        let book = id == ID_ALL_BOOKS || single(ID_BOOK).is_some();
        let place = named.or_else(|| single(ID_TRADE)).or_else(|| single(ID_BOOK));
        let symbol = place.map_or(&b""[..], |place| self.symbols.symbols()[place].text.as_bytes());
        cx.notice.set(&[b"subscription refused: ", error.raw(), b" ", symbol]);
        let Some(place) = place else { return }; // The time-out of the snapshot will find out whose it was.
        let now_ns = cx.times.core_ns;
        let unsupported = error.raw().starts_with(b"Currency pair not supported");
        if trade {
            self.feeds[place].trade_retry_at_ns = now_ns + if unsupported { REFUSED_RETRY_NS } else { 30 * S };
            self.waiting.insert(place);
        } else if book && self.feeds[place].book.live_on != Some(generation) {
            self.feeds[place].awaiting_since_ns = 0;
            if unsupported {
                let feed = &mut self.feeds[place];
                (feed.refused, feed.retry_at_ns) = (true, now_ns + REFUSED_RETRY_NS);
                feed.pair_status = InstrumentStatus::Unknown;
                self.waiting.insert(place);
                self.tell_status(place, cx);
                self.update_ready();
            } else {
                // At least one step of back-off: the venue has just said no.
                self.feeds[place].failures = self.feeds[place].failures.max(1);
                self.retry(place, cx);
            }
        }
    }

    /// Time went by: pings, snapshots that did not come, retries that are due.
    pub fn on_timer<K: EventSink>(&mut self, cx: &mut Cx<'_, K>) {
        let now_ns = cx.times.core_ns;
        if self.link.is_none() {
            return;
        }
        debug_assert!(self.feeds.iter().enumerate().all(|(place, feed)| !feed.waits() || self.waiting.contains(place)));
        let mut from = 0;
        while let Some(place) = self.waiting.next(from) {
            from = place + 1;
            let feed = &mut self.feeds[place];
            if feed.awaiting_since_ns != 0 && now_ns.saturating_sub(feed.awaiting_since_ns) >= SNAPSHOT_TIMEOUT_NS {
                feed.awaiting_since_ns = 0;
                feed.failures = feed.failures.max(1);
                self.retry(place, cx);
            } else if feed.retry_at_ns != 0 && now_ns >= feed.retry_at_ns {
                feed.retry_at_ns = 0;
                self.resubscribe(place, cx);
            }
            if self.feeds[place].trade_retry_at_ns != 0 && now_ns >= self.feeds[place].trade_retry_at_ns {
                self.feeds[place].trade_retry_at_ns = 0;
                self.subscribe("trade", place..place + 1, ID_TRADE + place as u64, cx);
            }
            if !self.feeds[place].waits() {
                self.waiting.remove(place);
            }
        }
        if now_ns.saturating_sub(self.sent_ns) >= PING_NS {
            self.send(cx, |message| {
                message.put(br#"{"method":"ping","req_id":"#).integer(ID_PING).put(b"}");
            });
        }
    }
}
