//! Recorded Kraken traffic to events: the same parsers as the engine's, with open tables; WebSocket v1 besides.
//!
//! A book update gives its own rows (what left the window is not spelled out here), a snapshot gives all of its levels
//! with `CLEAR` and `SNAPSHOT`. Books are kept as the engine keeps them, so every checksum in a recording is checked;
//! where one fails, `BookInvalid` follows the levels.

use super::Cx;
use super::book::{Book, Decimals, Proof};
use super::executions::Reports;
use super::instruments::{Pairs, System};
use super::message::{Envelope, ParseError, Scratch, missing, number};
use super::orders::{Answer, reason_of};
use super::recorded::{self, Recorded};
use super::stream::{self, Message};
use super::tracked::ORDERS_MAX;
use crate::batch::Batch;
use crate::decode::{Channel, DecodeError, Decoded, LineDecoder};
use crate::names::Names;
use crate::notice::Notice;
use crate::outbox::Outbox;
use crate::symbols::SymbolIndex;
use crate::venue::{MessageKind, Role, VenueCounters};
use engine_core::event::{BookInvalid, Event, EventKind, FeedState, RejectReason, Side, Times, flags};
use engine_core::fixed::{Price, Qty};
use engine_core::ids::{InstrumentId, VenueId};

const VENUE: VenueId = VenueId(0);
const TIMES: Times = Times { core_ns: 0, poll_delay_ns: 0 };

/// Checksums of a recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checksums {
    /// Those that hold.
    pub held: u64,
    /// Those that do not.
    pub failed: u64,
    /// Updates without a snapshot before them: nothing to check against.
    pub unchecked: u64,
}

/// See the module header.
pub struct KrakenDecoder {
    channel: Channel,
    reports: Reports,
    /// By place of the symbol; `None` before the first snapshot and after a failure.
    books: Vec<Option<Book>>,
    scratch: Scratch,
    checksums: Checksums,
    counters: VenueCounters,
    notice: Notice,
    out: Outbox,
}

impl KrakenDecoder {
    /// For one of the two kinds of stream.
    pub fn new(channel: Channel) -> KrakenDecoder {
        let symbols = SymbolIndex::open(stream::OPEN_SCALES.0, stream::OPEN_SCALES.1);
        KrakenDecoder {
            channel,
            reports: Reports::new(VENUE, Names::open(), symbols, ORDERS_MAX),
            books: Vec::new(),
            scratch: Scratch::default(),
            checksums: Checksums::default(),
            counters: VenueCounters::default(),
            notice: Notice::default(),
            out: Outbox::new(),
        }
    }

    /// The checksums met so far.
    pub const fn checksums(&self) -> Checksums {
        self.checksums
    }

    fn instrument(&self, symbol: usize) -> InstrumentId {
        self.reports.symbols.symbols()[symbol].instrument
    }

    fn book(&mut self, symbol: usize, depth: usize, snapshot: bool, checksum: Option<u32>, time_ns: u64, sink: &mut Vec<Event>) {
        let instrument = self.instrument(symbol);
        let first = sink.len();
        let mark = if snapshot { flags::SNAPSHOT } else { 0 };
        let mut batch = Batch::new(sink);
        for row in &self.scratch.rows {
            let level = Event::book_level(VENUE, instrument, row.side, Price(row.price), Qty(row.qty), 0, TIMES);
            batch.push(level.at(time_ns).with(mark));
        }
        if !batch.finish() {
            let touch = Event { instrument: instrument.0, ..Event::new(EventKind::BookTouch, VENUE, TIMES) };
            sink.push(touch.at(time_ns).with(mark | flags::LAST));
        }
        if snapshot {
            sink[first].flags |= flags::CLEAR;
        }
        if !self.check(symbol, depth, snapshot, checksum) {
            sink.push(Event::book_invalid(VENUE, instrument, BookInvalid::Checksum, TIMES).at(time_ns));
        }
    }

    /// Keeps the book and checks the sum; false if it fails.
    fn check(&mut self, symbol: usize, depth: usize, snapshot: bool, checksum: Option<u32>) -> bool {
        if self.books.len() <= symbol {
            self.books.resize_with(symbol + 1, || None);
        }
        let slot = &mut self.books[symbol];
        if snapshot {
            let entry = &self.reports.symbols.symbols()[symbol];
            let decimals = |scale: u8, printed: u8| Decimals { scale, printed: printed.min(scale) };
            let price = decimals(entry.price_scale, self.scratch.price_decimals);
            let qty = decimals(entry.qty_scale, self.scratch.qty_decimals);
            *slot = Some(Book::new(depth, price, qty));
        }
        let Some(book) = slot else {
            self.checksums.unchecked += 1;
            return true;
        };
        match book.take(snapshot, &mut self.scratch, checksum) {
            Proof::Holds | Proof::HoldsAtOtherDecimals => {
                self.checksums.held += u64::from(checksum.is_some());
                true
            }
            Proof::Fails => {
                self.checksums.failed += 1;
                *slot = None;
                false
            }
        }
    }

    fn trades(&self, snapshot: bool, sink: &mut Vec<Event>) {
        let mark = if snapshot { flags::SNAPSHOT } else { 0 };
        let mut batch = Batch::new(sink);
        for row in &self.scratch.trades {
            let instrument = self.instrument(row.symbol);
            let trade = Event::trade(VENUE, instrument, row.side, Price(row.price), Qty(row.qty), row.id, TIMES);
            batch.push(trade.at(row.time_ns).with(mark));
        }
        batch.finish();
    }

    fn top(&self, symbol: usize, bid: (i64, i64), ask: (i64, i64), time_ns: u64, sink: &mut Vec<Event>) -> Result<(), DecodeError> {
        // Only an empty side has no price.
        if [bid, ask].iter().any(|&(price, qty)| price < 0 || qty < 0 || (price == 0 && qty > 0)) {
            return Err(DecodeError::new("a best bid or ask that cannot be one", 0));
        }
        let instrument = self.instrument(symbol);
        for (side, (price, qty), mark) in [(Side::Buy, bid, 0), (Side::Sell, ask, flags::LAST)] {
            sink.push(Event::top_of_book(VENUE, instrument, side, Price(price), Qty(qty), 0, TIMES).at(time_ns).with(mark));
        }
        Ok(())
    }

    fn public(&mut self, payload: &[u8], sink: &mut Vec<Event>) -> Result<Decoded, DecodeError> {
        match stream::parse(payload, &mut self.reports.symbols, &mut self.scratch, |_| {}).map_err(|ParseError { error, .. }| error)? {
            Message::Book { symbol, snapshot, checksum, time_ns, .. } => {
                self.book(symbol, super::market_data::DEPTH, snapshot, checksum, time_ns, sink);
            }
            Message::Trades { snapshot, unknown_symbols, unknown_values } => {
                if unknown_symbols + unknown_values > 0 {
                    return Err(DecodeError::new("a trade names no symbol or no side that could be one", 0));
                }
                self.trades(snapshot, sink);
            }
            Message::Instruments { data } => {
                let mut pairs = Pairs::new(data)?;
                while let Some(pair) = pairs.next(&mut self.reports.symbols)? {
                    let pair = pair.map_err(|bad| bad.error)?;
                    let instrument = self.instrument(pair.symbol);
                    sink.push(Event::instrument_status(VENUE, instrument, pair.status, TIMES));
                }
            }
            Message::Status { system } => sink.push(feed_status(System::of(system.raw()), Role::MarketData)),
            Message::Heartbeat => return Ok(Decoded::Control("heartbeat")),
            Message::Answer(answer) => return Ok(control(&answer)),
            Message::Unused("ticker") => self.ticker(payload, sink)?,
            Message::Unused(what) => return Ok(Decoded::Unused(what)),
            Message::Unknown => return Err(DecodeError::new("a message of a kind that is not known", 0)),
            Message::UnknownSymbol => return Err(DecodeError::new("the message names no symbol that could be one", 0)),
        }
        Ok(Decoded::Events)
    }

    /// v2 `ticker`: the engine takes its best quotes from the book, a recording may hold nothing else.
    fn ticker(&mut self, payload: &[u8], sink: &mut Vec<Event>) -> Result<(), DecodeError> {
        let envelope = Envelope::read(payload)?;
        let mut s = envelope.data.ok_or_else(|| DecodeError::new("field missing: data", 0))?;
        let mut elements = s.array()?;
        while elements.next(&mut s)? {
            let start = s.clone();
            let mut name = None;
            let mut members = s.object()?;
            while let Some(key) = members.next(&mut s)? {
                if key == b"symbol" { name = Some(s.string()?) } else { s.skip()? }
            }
            let name = name.ok_or_else(|| missing(&s, "symbol"))?;
            let scales = || stream::OPEN_SCALES;
            let at = stream::position(&mut self.reports.symbols, name, scales);
            let symbol = at.ok_or_else(|| DecodeError::new("the message names no symbol that could be one", 0))?;
            let entry = &self.reports.symbols.symbols()[symbol];
            let (price_scale, qty_scale) = (entry.price_scale, entry.qty_scale);
            let (mut bid, mut ask, mut time_ns) = ((0, 0), (0, 0), 0);
            let mut s = start;
            let mut members = s.object()?;
            while let Some(key) = members.next(&mut s)? {
                match key {
                    b"bid" => bid.0 = number(&mut s, price_scale)?.value,
                    b"bid_qty" => bid.1 = number(&mut s, qty_scale)?.value,
                    b"ask" => ask.0 = number(&mut s, price_scale)?.value,
                    b"ask_qty" => ask.1 = number(&mut s, qty_scale)?.value,
                    b"timestamp" => time_ns = super::message::time(&mut s)?,
                    _ => s.skip()?,
                }
            }
            self.top(symbol, bid, ask, time_ns, sink)?;
        }
        Ok(())
    }

    fn v1(&mut self, payload: &[u8], sink: &mut Vec<Event>) -> Result<Decoded, DecodeError> {
        match recorded::parse(payload, &mut self.reports.symbols, &mut self.scratch)? {
            Recorded::Book { symbol, depth, snapshot, checksum, time_ns } => self.book(symbol, depth, snapshot, checksum, time_ns, sink),
            Recorded::Trades => self.trades(false, sink),
            Recorded::Top { symbol, bid, ask, time_ns } => self.top(symbol, bid, ask, time_ns, sink)?,
            Recorded::Control(what) => return Ok(Decoded::Control(what)),
            Recorded::Unused(what) => return Ok(Decoded::Unused(what)),
        }
        Ok(Decoded::Events)
    }

    fn private(&mut self, payload: &[u8], sink: &mut Vec<Event>) -> Result<Decoded, DecodeError> {
        let envelope = Envelope::read(payload)?;
        let Some(channel) = envelope.channel else { return self.answer(&envelope, sink) };
        let snapshot = envelope.snapshot;
        let no_data = || DecodeError::new("field missing: data", 0);
        self.out.clear();
        self.counters = VenueCounters::default();
        self.notice = Notice::default();
        let mut cx = Cx { times: TIMES, sink, out: &mut self.out, counters: &mut self.counters, notice: &mut self.notice };
        match channel.raw() {
            b"executions" => self.reports.read(envelope.data.ok_or_else(no_data)?, snapshot, &mut cx)?,
            b"balances" => self.reports.read_balances(envelope.data.ok_or_else(no_data)?, snapshot, &mut cx)?,
            b"status" => {
                let system = System::of(stream::status(&mut envelope.data.ok_or_else(no_data)?)?.raw());
                sink.push(feed_status(system, Role::OrderEntry));
            }
            b"heartbeat" => return Ok(Decoded::Control("heartbeat")),
            _ => return Err(DecodeError::new("a message of a kind that is not known", 0)),
        }
        let c = &self.counters;
        if c.malformed + c.unknown_values + c.unknown_symbols + c.uncorrelated > 0 {
            let what = self.notice.take().unwrap_or("a record that cannot be placed or read").to_owned();
            return Err(DecodeError::new(what, 0));
        }
        Ok(Decoded::Events)
    }

    /// An answer by itself: without the request, only what it names can be told.
    fn answer(&mut self, envelope: &Envelope<'_>, sink: &mut Vec<Event>) -> Result<Decoded, DecodeError> {
        let method = envelope.method.map_or(&b""[..], |method| method.raw());
        let kind = match method {
            b"add_order" => EventKind::OrderReject,
            b"amend_order" => EventKind::ReplaceReject,
            b"cancel_order" => EventKind::CancelReject,
            _ => return Ok(control(envelope)),
        };
        let answer = Answer::read(envelope.result.as_ref(), envelope.time_ns)?;
        if envelope.success == Some(true) {
            let name = if answer.client_id.is_empty() { answer.order_id } else { answer.client_id };
            let order = self.reports.names.order(name).filter(|_| method == b"add_order");
            let Some(order) = order else { return Ok(control(envelope)) };
            if let Some(at) = self.reports.orders.find_or_insert(order) {
                self.reports.orders.bind(at, answer.order_id);
            }
            let instrument = InstrumentId(u16::MAX);
            sink.push(Event::order_report(EventKind::OrderAck, VENUE, instrument, order, TIMES).at(answer.time_ns).with(flags::LAST));
            return Ok(Decoded::Events);
        }
        // A refusal names nothing but its request.
        let mut name = *b"req_id:                    ";
        let mut writer = super::writer::Writer::new(&mut name[7..]);
        let len = writer.integer(envelope.req_id.unwrap_or(0)).finish().unwrap_or(0);
        let order = self.reports.names.order(&name[..7 + len]);
        let reason = envelope.error.map_or(RejectReason::Other, |error| reason_of(error.raw()));
        let Some(order) = order else { return Ok(control(envelope)) };
        let refusal = Event::refusal(kind, VENUE, InstrumentId(u16::MAX), order, reason, TIMES);
        sink.push(refusal.at(answer.time_ns).with(flags::LAST));
        Ok(Decoded::Events)
    }
}

fn feed_status(system: System, role: Role) -> Event {
    let state = if system == System::Maintenance { FeedState::Maintenance } else { FeedState::Up };
    Event::feed_status(VENUE, role as u8, state, TIMES)
}

/// What an answer that gives no event is called.
fn control(answer: &Envelope<'_>) -> Decoded {
    if answer.error.is_some() {
        return Decoded::Control("refused");
    }
    Decoded::Control(match answer.method.map_or(&b""[..], |method| method.raw()) {
        b"pong" => "pong",
        b"subscribe" => "subscribe",
        b"unsubscribe" => "unsubscribe",
        b"amend_order" => "amend_order",
        b"cancel_order" => "cancel_order",
        b"cancel_all" => "cancel_all",
        b"cancel_all_orders_after" => "cancel_all_orders_after",
        _ => "answer",
    })
}

impl LineDecoder for KrakenDecoder {
    fn decode(&mut self, kind: MessageKind, _conn: &str, payload: &[u8], sink: &mut Vec<Event>) -> Result<Decoded, DecodeError> {
        if kind != MessageKind::Text {
            return Err(DecodeError::new("Kraken sends no binary messages", 0));
        }
        match self.channel {
            _ if recorded::is_v1(payload) => self.v1(payload, sink),
            Channel::Public => self.public(payload, sink),
            Channel::Private => self.private(payload, sink),
        }
    }

    fn symbols(&self) -> &SymbolIndex {
        &self.reports.symbols
    }

    fn names(&self) -> &Names {
        &self.reports.names
    }
}
