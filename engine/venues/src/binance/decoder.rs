//! Recorded Binance traffic to events: the same parsers as the engine's, with open tables.
//!
//! There is no synchronisation here: a difference gives its levels, a snapshot or partial book gives all
//! of its levels with `CLEAR` and `SNAPSHOT`. REST answers in a recording are told apart by the URL of
//! their connection.

use super::depth::{Diff, Stamp};
use super::events::{acknowledgement, emit_balances, emit_report, emit_state, emit_ticker, order_status};
use super::instruments::{self, ExchangeInfo};
use super::message::{Message, ParseError, Scratch};
use super::reports::{OrderAnswer, Private, Stranger, Tables, balances, parse};
use super::{sbe, stream};
use crate::batch::Batch;
use crate::decode::{Channel, DecodeError, Decoded, LineDecoder};
use crate::json::Scanner;
use crate::names::Names;
use crate::symbols::SymbolIndex;
use crate::venue::MessageKind;
use engine_core::event::{Event, EventSink, Times, flags};
use engine_core::fixed::{Price, Qty};
use engine_core::ids::VenueId;

/// Decimal places that hold every price and quantity of the venue.
const SCALE: u8 = 8;
const VENUE: VenueId = VenueId(0);
const TIMES: Times = Times { core_ns: 0, poll_delay_ns: 0 };

/// See the module header.
pub struct BinanceDecoder {
    channel: Channel,
    symbols: SymbolIndex,
    names: Names,
    scratch: Scratch,
}

impl BinanceDecoder {
    /// For one of the two kinds of stream.
    pub fn new(channel: Channel) -> BinanceDecoder {
        BinanceDecoder { channel, symbols: SymbolIndex::open(SCALE, SCALE), names: Names::open(), scratch: Scratch::default() }
    }

    fn stamp(&self, symbol: usize) -> Stamp {
        Stamp { venue: VENUE, instrument: self.symbols.symbols()[symbol].instrument, times: TIMES }
    }

    fn public(&mut self, kind: MessageKind, payload: &[u8], sink: &mut Vec<Event>) -> Result<Decoded, DecodeError> {
        let message = match kind {
            MessageKind::Text => stream::parse(payload, &mut self.symbols, &mut self.scratch, |_| {}),
            MessageKind::Binary => sbe::parse(payload, &mut self.symbols, &mut self.scratch, |_| {}),
        };
        Ok(match message.map_err(|ParseError { error, .. }| error)? {
            Message::Diff { symbol, first, last, time_ns } => {
                Diff { first, last, time_ns, rows: self.scratch.rows() }.emit(&self.stamp(symbol), sink);
                Decoded::Events
            }
            Message::Book { symbol, sequence, time_ns } => {
                self.book(symbol, sequence, time_ns, sink);
                Decoded::Events
            }
            Message::Ticker { symbol, sequence, bid, ask, time_ns } => {
                emit_ticker(VENUE, self.stamp(symbol).instrument, sequence, bid, ask, time_ns, TIMES, sink);
                Decoded::Events
            }
            Message::Trades { symbol, time_ns } => {
                let instrument = self.stamp(symbol).instrument;
                let mut batch = Batch::new(sink);
                for trade in &self.scratch.trades {
                    let event = Event::trade(VENUE, instrument, trade.side, Price(trade.price), Qty(trade.qty), trade.id, TIMES);
                    batch.push(event.at(time_ns));
                }
                batch.finish();
                Decoded::Events
            }
            Message::Accepted { .. } => Decoded::Control("accepted"),
            Message::Refused { .. } => Decoded::Control("refused"),
            Message::Shutdown => Decoded::Control("serverShutdown"),
            Message::Unused(what) => Decoded::Unused(what),
            Message::Unknown => return Err(DecodeError::new("a message of a kind that is not known", 0)),
            Message::UnknownSymbol => return Err(DecodeError::new("the message names no symbol that could be one", 0)),
        })
    }

    /// A whole book.
    fn book(&self, symbol: usize, sequence: u64, time_ns: u64, sink: &mut Vec<Event>) {
        let stamp = self.stamp(symbol);
        let first = sink.len();
        let mut batch = Batch::new(sink);
        for &row in self.scratch.rows() {
            batch.push(stamp.level(row, sequence, time_ns).with(flags::SNAPSHOT));
        }
        if !batch.finish() {
            sink.event(&stamp.touch(sequence, time_ns).with(flags::SNAPSHOT | flags::LAST));
        }
        sink[first].flags |= flags::CLEAR;
    }

    /// `exchangeInfo`: the status of each symbol. One that cannot be read costs itself only.
    fn exchange_info(&mut self, payload: &[u8], sink: &mut Vec<Event>) -> Result<Decoded, DecodeError> {
        let info: ExchangeInfo<'_> = std::str::from_utf8(payload)
            .map_err(|e| DecodeError::new(e, e.valid_up_to()))
            .and_then(|text| sonic_rs::from_str(text).map_err(|e| DecodeError::new(&e, e.offset())))?;
        for record in info.symbols {
            let Ok((symbol, status)) = instruments::name_and_status(&record) else { continue };
            let Some(at) = self.symbols.position_or_add(symbol.as_bytes()) else { continue };
            sink.push(Event::instrument_status(VENUE, self.stamp(at).instrument, status, TIMES));
        }
        Ok(Decoded::Events)
    }

    /// A REST snapshot, whose symbol only the URL has.
    fn snapshot(&mut self, url: &str, payload: &[u8], sink: &mut Vec<Event>) -> Result<Decoded, DecodeError> {
        let parameters = url.split_once('?').map_or("", |(_, query)| query).split('&');
        let symbol = parameters.filter_map(|p| p.strip_prefix("symbol=")).next().unwrap_or_default();
        let at = self.symbols.position_or_add(symbol.as_bytes()).ok_or_else(|| DecodeError::new("the URL names no symbol", 0))?;
        self.scratch.clear();
        let mut s = Scanner::new(payload);
        let sequence = stream::book_body(&mut s, (SCALE, SCALE), &mut self.scratch)?;
        s.end()?;
        self.book(at, sequence, 0, sink);
        Ok(Decoded::Events)
    }

    fn private(&mut self, payload: &[u8], sink: &mut Vec<Event>) -> Result<Decoded, DecodeError> {
        let mut tables = Tables { symbols: &mut self.symbols, names: &mut self.names };
        let stranger = |stranger| match stranger {
            Stranger::Order => DecodeError::new("the report names no order", 0),
            Stranger::Symbol => DecodeError::new("the report names no symbol", 0),
        };
        let field = |super::reports::BadField(name)| DecodeError::new(format_args!("bad value of field: {name}"), 0);
        Ok(match parse(payload)? {
            Private::Report(report) => {
                let subject = report.subject(&mut tables).map_err(stranger)?;
                let resolved = report.resolve(&subject, tables.names).map_err(field)?;
                emit_report(VENUE, &subject, &resolved, TIMES, sink);
                Decoded::Events
            }
            Private::Position { balances: rows, time_ns } => {
                let mut found = Vec::new();
                balances(rows, tables.names, |asset, total, free| found.push((asset, total, free)))?;
                emit_balances(VENUE, &found, time_ns, TIMES, sink);
                Decoded::Events
            }
            Private::Answer(answer) => {
                if answer.refusal.is_some() {
                    return Ok(Decoded::Control("refused"));
                }
                let parsed = answer.result.map(OrderAnswer::parse).transpose()?.flatten();
                let Some(result) = parsed else { return Ok(Decoded::Control("answer")) };
                let Ok(subject) = result.subject(&mut tables) else { return Ok(Decoded::Control("answer")) };
                if !result.is_full {
                    sink.push(acknowledgement(VENUE, &subject, result.time_ns(), TIMES).with(flags::LAST));
                    return Ok(Decoded::Events);
                }
                let state = result.resolve(subject.scales).map_err(field)?;
                if result.is_cancel() || result.amended {
                    emit_state(VENUE, &subject, &state.changed().map_err(field)?, TIMES, sink);
                } else {
                    sink.push(order_status(VENUE, &subject, &state, TIMES).with(flags::LAST));
                }
                Decoded::Events
            }
            Private::Terminated => Decoded::Control("eventStreamTerminated"),
            Private::Shutdown => Decoded::Control("serverShutdown"),
            Private::Unused(what) => Decoded::Unused(what),
            Private::Unknown => return Err(DecodeError::new("a message of a kind that is not known", 0)),
        })
    }
}

impl LineDecoder for BinanceDecoder {
    fn decode(&mut self, kind: MessageKind, conn: &str, payload: &[u8], sink: &mut Vec<Event>) -> Result<Decoded, DecodeError> {
        if conn.contains("/api/v3/exchangeInfo") {
            return self.exchange_info(payload, sink);
        }
        if conn.contains("/api/v3/depth") {
            return self.snapshot(conn, payload, sink);
        }
        match (self.channel, kind) {
            (Channel::Public, _) => self.public(kind, payload, sink),
            (Channel::Private, MessageKind::Text) => self.private(payload, sink),
            (Channel::Private, MessageKind::Binary) => Err(DecodeError::new("private messages are text", 0)),
        }
    }

    fn symbols(&self) -> &SymbolIndex {
        &self.symbols
    }

    fn names(&self) -> &Names {
        &self.names
    }
}
