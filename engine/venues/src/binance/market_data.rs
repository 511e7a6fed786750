//! The public streams: subscribe, parse (JSON or SBE), keep each book in step, give out events.
//!
//! Both encodings end in the same [`Message`], so everything from there on exists once. A message that
//! cannot be read makes its instrument's book invalid and begins a resync; the session goes on. If the
//! reason is a price or quantity finer than the instrument's increments, reference data is asked for too:
//! the venue has changed its rules.
//!
//! Subscriptions go out in small requests, at most `CONTROL_PER_SECOND` in a second (the venue cuts the
//! connection above five). A request that the venue refuses is sent again symbol by symbol, so that one
//! bad symbol costs itself only.

use super::depth::{Applied, BookSync, Diff, Stamp, Taken};
use super::events::emit_ticker;
use super::limits::{Cost, RateLedger};
use super::message::{Message, ParseError, Row, Scratch};
use super::{sbe, stream};
use crate::batch::{Ahead, Batch, announce_levels};
use crate::json::What;
use crate::links::LinkSet;
use crate::notice::{Digits, Notice};
use crate::outbox::{ColdRequest, Outbox};
use crate::symbols::SymbolIndex;
use crate::venue::{Encoding, Link, MessageKind, Role, VenueCounters};
use engine_core::event::{BookInvalid, Event, EventKind, EventSink, FeedState, Times, flags};
use engine_core::fixed::{DecimalError, Price, Qty};
use engine_core::id_set::IdSet;
use engine_core::ids::{InstrumentId, VenueId};
use engine_core::prefetch::prefetch;

/// Streams that one connection may carry.
pub const STREAMS_MAX: usize = 1_024;
/// Streams of each instrument.
pub const STREAMS_PER_SYMBOL: usize = 3;
/// Instruments in one subscription request.
const CHUNK_SYMBOLS: usize = 16;
/// Control messages that we send in a second.
const CONTROL_PER_SECOND: u32 = 4;
const SECOND_NS: u64 = 1_000_000_000;
/// Reference data is asked for at most this often.
const RULES_INTERVAL_NS: u64 = 10 * SECOND_NS;
/// A subscription that was not answered by then is sent again (it does no harm twice).
const ANSWER_TIMEOUT_NS: u64 = 5 * SECOND_NS;

/// Streams of an instrument: depth, best bid and ask, trades.
const fn stream_names(encoding: Encoding) -> [&'static [u8]; STREAMS_PER_SYMBOL] {
    match encoding {
        Encoding::Json => [b"@depth@100ms", b"@bookTicker", b"@trade"],
        Encoding::Sbe => [b"@depth", b"@bestBidAsk", b"@trade"],
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ask {
    /// Not sent yet.
    Due,
    /// Sent at this time, not answered.
    Sent(u64),
    /// Confirmed, or refused for good.
    Settled,
}

/// A run of instruments that one request subscribes.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    first: usize,
    count: usize,
    ask: Ask,
}

/// The subscriptions of the newest connection.
#[derive(Debug)]
struct Subscriptions {
    /// Lower-case symbols.
    names: Vec<Box<[u8]>>,
    streams: [&'static [u8]; STREAMS_PER_SYMBOL],
    chunks: Vec<Chunk>,
    generation: u32,
    second: u64,
    sent_in_second: u32,
}

impl Subscriptions {
    fn begin(&mut self, generation: u32) {
        self.generation = generation;
        self.chunks.clear();
        self.sent_in_second = 0;
        let count = self.names.len();
        self.chunks.extend((0..count).step_by(CHUNK_SYMBOLS).map(|first| Chunk {
            first,
            count: CHUNK_SYMBOLS.min(count - first),
            ask: Ask::Due,
        }));
    }

    fn settled(&self) -> bool {
        self.chunks.iter().all(|chunk| chunk.ask == Ask::Settled)
    }

    /// Sends what is due, within the pace.
    fn pump(&mut self, now_ns: u64, out: &mut Outbox) {
        let second = now_ns / SECOND_NS;
        if second != self.second {
            self.second = second;
            self.sent_in_second = 0;
        }
        for at in 0..self.chunks.len() {
            if self.sent_in_second >= CONTROL_PER_SECOND {
                return;
            }
            let Chunk { first, count, ask } = self.chunks[at];
            match ask {
                Ask::Due => {}
                Ask::Sent(sent_ns) if now_ns.saturating_sub(sent_ns) >= ANSWER_TIMEOUT_NS => {}
                Ask::Sent(_) | Ask::Settled => continue,
            }
            let id = self.request_id(at);
            let names = &self.names[first..first + count];
            let streams = &self.streams;
            if !out.send(Role::MarketData, |space| write_subscribe(space, id, names, streams)) {
                return;
            }
            self.chunks[at].ask = Ask::Sent(now_ns);
            self.sent_in_second += 1;
        }
    }

    fn request_id(&self, chunk: usize) -> u64 {
        (u64::from(self.generation) << 16) | (chunk as u64 + 1)
    }

    /// The chunk that an answer belongs to.
    fn chunk_of(&self, id: u64) -> Option<usize> {
        let chunk = usize::try_from(id & 0xffff).ok()?.checked_sub(1)?;
        (id >> 16 == u64::from(self.generation) && matches!(self.chunks.get(chunk)?.ask, Ask::Sent(_))).then_some(chunk)
    }

    /// A request was refused: its instruments are asked for one by one. False if it was about one only.
    fn split(&mut self, at: usize) -> bool {
        let Some(&Chunk { first, count, .. }) = self.chunks.get(at) else { return false };
        self.chunks[at].ask = Ask::Settled;
        if count < 2 {
            return false;
        }
        self.chunks.extend((first..first + count).map(|first| Chunk { first, count: 1, ask: Ask::Due }));
        true
    }
}

/// `{"method":"SUBSCRIBE","params":["btcusdt@trade",..],"id":7}`.
fn write_subscribe(space: &mut [u8], id: u64, names: &[Box<[u8]>], streams: &[&[u8]]) -> Option<usize> {
    let mut at = 0;
    let mut put = |bytes: &[u8]| -> Option<()> {
        space.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
        at += bytes.len();
        Some(())
    };
    put(b"{\"method\":\"SUBSCRIBE\",\"params\":[\"")?;
    for (i, name) in names.iter().enumerate() {
        for (j, stream) in streams.iter().enumerate() {
            if i + j > 0 {
                put(b"\",\"")?;
            }
            put(name)?;
            put(stream)?;
        }
    }
    put(b"\"],\"id\":")?;
    put(itoa::Buffer::new().format(id).as_bytes())?;
    put(b"}")?;
    Some(at)
}

/// Per-instrument state. What every message asks of it is in the first cache line.
#[derive(Debug)]
#[repr(C, align(64))]
struct Feed {
    instrument: InstrumentId,
    /// The book was in step once.
    seen: bool,
    /// Sequence of the last best bid and ask.
    ticker: u64,
    /// Id of the last trade.
    trade: u64,
    book: BookSync,
}

const _: () = assert!(core::mem::offset_of!(Feed, book) + BookSync::HOT_BYTES <= 64);

impl Feed {
    fn new(instrument: InstrumentId) -> Feed {
        Feed { instrument, seen: false, ticker: 0, trade: 0, book: BookSync::default() }
    }
}

/// The market-data side of the codec.
#[derive(Debug)]
pub struct MarketData {
    venue: VenueId,
    encoding: Encoding,
    symbols: SymbolIndex,
    feeds: Vec<Feed>,
    /// Feeds whose book may want a snapshot: all that are not settled, and some that have come to be since the last timer.
    unsettled: IdSet,
    /// Place of an instrument in `symbols`, by instrument id; `usize::MAX` if it is another venue's.
    places: Vec<usize>,
    scratch: Scratch,
    subscriptions: Subscriptions,
    links: LinkSet,
    up: bool,
    closing: bool,
}

/// What a call may use beside the market data's own state.
pub struct Tools<'a> {
    /// The rate budget.
    pub ledger: &'a mut RateLedger,
    /// The counters.
    pub counters: &'a mut VenueCounters,
    /// What the operator should read.
    pub notice: &'a mut Notice,
    /// When reference data was last asked for.
    pub rules_asked_ns: &'a mut u64,
    /// Where messages and requests go.
    pub out: &'a mut Outbox,
}

impl Tools<'_> {
    /// An instrument's rules seem to have changed: asks for reference data, unless that was done a moment ago.
    #[cold]
    pub fn ask_rules(&mut self, now_ns: u64) {
        if *self.rules_asked_ns == 0 || now_ns.saturating_sub(*self.rules_asked_ns) >= RULES_INTERVAL_NS {
            *self.rules_asked_ns = now_ns;
            self.out.request(ColdRequest::Instruments);
        }
    }
}

impl MarketData {
    /// For these symbols (whose number the caller has checked).
    pub fn new(venue: VenueId, encoding: Encoding, symbols: SymbolIndex) -> MarketData {
        let count = symbols.symbols().len();
        let instruments = symbols.symbols().iter().map(|s| s.instrument.index() + 1).max().unwrap_or(0);
        let mut places = vec![usize::MAX; instruments];
        for (at, symbol) in symbols.symbols().iter().enumerate() {
            places[symbol.instrument.index()] = at;
        }
        let names = symbols.symbols().iter().map(|s| s.text.to_lowercase().into_bytes().into_boxed_slice()).collect();
        MarketData {
            venue,
            encoding,
            feeds: symbols.symbols().iter().map(|symbol| Feed::new(symbol.instrument)).collect(),
            unsettled: IdSet::new(count),
            symbols,
            places,
            scratch: Scratch::default(),
            subscriptions: Subscriptions {
                names,
                streams: stream_names(encoding),
                // Each chunk may be split into its symbols once.
                chunks: Vec::with_capacity(count.div_ceil(CHUNK_SYMBOLS) + count),
                generation: 0,
                second: 0,
                sent_in_second: 0,
            },
            links: LinkSet::default(),
            up: false,
            closing: false,
        }
    }

    fn place(&self, instrument: InstrumentId) -> Option<usize> {
        self.places.get(instrument.index()).copied().filter(|&at| at < self.feeds.len())
    }

    fn stamp(&self, at: usize, times: Times) -> Stamp {
        Stamp { venue: self.venue, instrument: self.symbols.symbols()[at].instrument, times }
    }

    /// True once the newest connection is subscribed.
    pub fn is_ready(&self) -> bool {
        self.links.newest_ready()
    }

    /// True once after the server said that it will close the newest connection.
    pub fn take_closing(&mut self) -> bool {
        core::mem::take(&mut self.closing)
    }

    /// A connection is open: subscribe on it.
    pub fn on_open(&mut self, link: Link, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        self.links.open(link.generation);
        self.closing = false;
        if self.links.newest() == Some(link.generation) {
            self.subscriptions.begin(link.generation);
            self.subscriptions.pump(times.core_ns, tools.out);
            self.settle(times, sink);
        }
    }

    /// A connection is gone. While another subscribed one delivers, nothing is lost.
    pub fn on_close(&mut self, link: Link, times: Times, sink: &mut impl EventSink) {
        if !self.links.is_open(link.generation) {
            return;
        }
        self.links.close(link.generation);
        if self.links.any_ready() {
            return;
        }
        for at in 0..self.feeds.len() {
            let stamp = self.stamp(at, times);
            let feed = &mut self.feeds[at];
            // A venue that comes back may count anew.
            (feed.ticker, feed.trade) = (0, 0);
            if feed.book.stop() {
                sink.event(&Event::book_invalid(stamp.venue, stamp.instrument, BookInvalid::Disconnected, times));
            }
        }
        if core::mem::take(&mut self.up) {
            sink.event(&Event::feed_status(self.venue, Role::MarketData as u8, FeedState::Down, times));
        }
    }

    /// Reports the stream up once every subscription is settled.
    fn settle(&mut self, times: Times, sink: &mut impl EventSink) {
        let generation = self.subscriptions.generation;
        if !self.subscriptions.settled() || !self.links.is_open(generation) {
            return;
        }
        self.links.set_ready(generation, true);
        if !core::mem::replace(&mut self.up, true) {
            sink.event(&Event::feed_status(self.venue, Role::MarketData as u8, FeedState::Up, times));
        }
    }

    /// A message.
    #[inline]
    pub fn on_message(
        &mut self,
        link: Link,
        kind: MessageKind,
        payload: &[u8],
        times: Times,
        sink: &mut impl EventSink,
        tools: &mut Tools<'_>,
    ) {
        let feeds = &self.feeds;
        let upcoming = |ahead: Ahead<'_, Row>| match ahead {
            Ahead::Book(place, instrument) => {
                if let Some(feed) = feeds.get(place) {
                    prefetch(feed);
                }
                sink.upcoming(instrument);
            }
            Ahead::Levels(instrument, rows) => announce_levels(instrument, rows.iter().map(|row| (row.side, row.price)), sink),
        };
        let parsed = match kind {
            MessageKind::Text => stream::parse(payload, &mut self.symbols, &mut self.scratch, upcoming),
            MessageKind::Binary => sbe::parse(payload, &mut self.symbols, &mut self.scratch, upcoming),
        };
        match parsed {
            Ok(Message::Diff { symbol, first, last, time_ns }) => self.diff(symbol, (first, last, time_ns), times, sink, tools),
            Ok(Message::Ticker { symbol, sequence, bid, ask, time_ns }) => {
                let Some(feed) = self.feeds.get_mut(symbol) else { return };
                if sequence <= feed.ticker {
                    tools.counters.stale += 1;
                    return;
                }
                feed.ticker = sequence;
                emit_ticker(self.venue, feed.instrument, sequence, bid, ask, time_ns, times, sink);
            }
            Ok(Message::Trades { symbol, time_ns }) => {
                let Some(feed) = self.feeds.get_mut(symbol) else { return };
                let (instrument, before) = (feed.instrument, feed.trade);
                let mut batch = Batch::new(sink);
                let mut fresh = false;
                for trade in self.scratch.trades.iter().filter(|trade| trade.id > before) {
                    let event =
                        Event::trade(self.venue, instrument, trade.side, Price(trade.price), Qty(trade.qty), trade.id, times).at(time_ns);
                    batch.push(event);
                    feed.trade = feed.trade.max(trade.id);
                    fresh = true;
                }
                batch.finish();
                tools.counters.stale += u64::from(!fresh);
            }
            Ok(other) => self.control(link, &other, times, sink, tools),
            Err(error) => self.malformed(error, times, sink, tools),
        }
    }

    #[inline]
    fn diff(&mut self, at: usize, (first, last, time_ns): (u64, u64, u64), times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        let Some(feed) = self.feeds.get_mut(at) else { return };
        let stamp = Stamp { venue: self.venue, instrument: feed.instrument, times };
        let diff = Diff { first, last, time_ns, rows: self.scratch.rows() };
        match feed.book.on_diff(diff, &stamp, sink) {
            Applied::Applied => {}
            Applied::Joined => tools.counters.resyncs += u64::from(core::mem::replace(&mut feed.seen, true)),
            Applied::Stale => tools.counters.stale += 1,
            Applied::Gap => {
                tools.counters.gaps += 1;
                self.ask_snapshot(at, times.core_ns, tools);
            }
            Applied::Buffered => self.ask_snapshot(at, times.core_ns, tools),
        }
    }

    /// A book's synchronisation began, or went on: asks for its snapshot if it is due, else the timer does.
    #[cold]
    fn ask_snapshot(&mut self, at: usize, now_ns: u64, tools: &mut Tools<'_>) {
        self.unsettled.insert(at);
        self.ask_if_due(at, now_ns, tools);
    }

    /// Asks for a book's snapshot if it is due and the budget has it.
    fn ask_if_due(&mut self, at: usize, now_ns: u64, tools: &mut Tools<'_>) {
        let instrument = self.symbols.symbols()[at].instrument;
        let Some(feed) = self.feeds.get_mut(at) else { return };
        if !feed.book.wants_snapshot(now_ns) || !tools.ledger.admit(Cost::Snapshot, now_ns) {
            return;
        }
        if tools.out.request(ColdRequest::BookSnapshot { instrument }) {
            feed.book.asked(now_ns);
        }
    }

    /// Everything but the three streams.
    #[cold]
    fn control(&mut self, link: Link, message: &Message<'_>, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        match *message {
            Message::Accepted { id } => {
                let Some(chunk) = self.subscriptions.chunk_of(id) else { return };
                let Chunk { first, count, .. } = self.subscriptions.chunks[chunk];
                self.subscriptions.chunks[chunk].ask = Ask::Settled;
                for at in first..first + count {
                    self.feeds[at].book.start(times.core_ns);
                    self.ask_snapshot(at, times.core_ns, tools);
                }
                self.settle(times, sink);
            }
            Message::Refused { id, code, text } => {
                tools.counters.venue_errors += 1;
                let (mut digits, mut single) = (Digits::new(), None);
                if let Some(chunk) = self.subscriptions.chunk_of(id) {
                    let first = self.subscriptions.chunks[chunk].first;
                    if !self.subscriptions.split(chunk) {
                        single = Some(first);
                    }
                    self.subscriptions.pump(times.core_ns, tools.out);
                }
                let symbol = single.and_then(|at| self.subscriptions.names.get(at)).map_or(&b""[..], |name| name);
                tools.notice.set(&[b"market data request refused: ", text, b" (code ", digits.of(code), b") ", symbol]);
                self.settle(times, sink);
            }
            Message::Shutdown => {
                self.closing |= self.links.newest() == Some(link.generation);
                tools.notice.set(&[b"the venue will shut down this market-data connection"]);
            }
            Message::UnknownSymbol => tools.counters.unknown_symbols += 1,
            Message::Unused(_) | Message::Book { .. } | Message::Unknown => tools.counters.unknown_messages += 1,
            Message::Diff { .. } | Message::Ticker { .. } | Message::Trades { .. } => {}
        }
    }

    #[cold]
    fn malformed(&mut self, error: ParseError, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        tools.counters.malformed += 1;
        let Some(at) = error.symbol else {
            tools.notice.set(&[b"market data message cannot be read"]);
            return;
        };
        tools.notice.set(&[b"market data message cannot be read: ", self.symbols.symbols()[at].text.as_bytes()]);
        let rules = matches!(error.error.what, What::Decimal(DecimalError::Precision));
        if rules {
            tools.ask_rules(times.core_ns);
        }
        let reason = if rules { BookInvalid::RulesChanged } else { BookInvalid::Malformed };
        self.invalidate(at, reason, times, sink, tools);
    }

    /// Marks a book invalid and begins its resync, unless one is under way.
    fn invalidate(&mut self, at: usize, reason: BookInvalid, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        let stamp = self.stamp(at, times);
        let Some(feed) = self.feeds.get_mut(at) else { return };
        if feed.book.restart(times.core_ns) {
            sink.event(&Event::book_invalid(stamp.venue, stamp.instrument, reason, times));
            self.ask_snapshot(at, times.core_ns, tools);
        }
    }

    /// The core found a book wrong.
    pub fn resync(
        &mut self,
        instrument: InstrumentId,
        reason: BookInvalid,
        times: Times,
        sink: &mut impl EventSink,
        tools: &mut Tools<'_>,
    ) {
        if let Some(at) = self.place(instrument) {
            self.invalidate(at, reason, times, sink, tools);
        }
    }

    /// A piece of a snapshot, or the news that there is none.
    pub fn on_cold(&mut self, event: &Event, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        let Some(at) = self.place(event.instrument_id()) else { return };
        let stamp = self.stamp(at, times);
        let Feed { book, seen, .. } = &mut self.feeds[at];
        if event.kind == EventKind::BookInvalid as u8 {
            book.snapshot_failed(times.core_ns);
            return;
        }
        match book.on_snapshot(event, &stamp, sink) {
            Taken::Partial | Taken::Joining => {}
            Taken::Synchronised => tools.counters.resyncs += u64::from(core::mem::replace(seen, true)),
            Taken::Unwanted | Taken::TooOld => tools.counters.stale += u64::from(event.has(flags::CLEAR)),
            Taken::Gap => {
                tools.counters.gaps += 1;
                self.ask_snapshot(at, times.core_ns, tools);
            }
        }
    }

    /// Time went by: subscriptions held back by the pace, snapshots held back by their wait.
    pub fn on_timer(&mut self, times: Times, tools: &mut Tools<'_>) {
        if self.links.newest().is_none() {
            return;
        }
        if !self.links.newest_ready() {
            self.subscriptions.pump(times.core_ns, tools.out);
        }
        debug_assert!(self.feeds.iter().enumerate().all(|(at, feed)| feed.book.is_settled() || self.unsettled.contains(at)));
        let mut from = 0;
        while let Some(at) = self.unsettled.next(from) {
            from = at + 1;
            if self.feeds[at].book.is_settled() {
                self.unsettled.remove(at);
            } else {
                self.ask_if_due(at, times.core_ns, tools);
            }
        }
    }

    /// The encoding in use.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }
}
