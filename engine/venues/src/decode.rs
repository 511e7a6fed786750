//! Recorded traffic to normalised events, one JSON object each: the library part of the `decode` tool.
//!
//! A line is either one raw venue message or one line of a capture file
//! (`{"t":..,"dir":"in|out","conn":"..","data":"..","b64":".."}`; what we sent, `dir` "out", is passed
//! over). Each venue plugs in a [`LineDecoder`], which runs the very parsers of the engine with open
//! tables (any symbol, any order, any asset). Whatever a line holds, decoding goes on with the next.
//!
//! Prices, quantities, sequences, ids and times are decimal strings, exact to the last digit.

use crate::names::Names;
use crate::symbols::SymbolIndex;
use crate::venue::MessageKind;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine_core::event::{
    BookInvalid, Event, EventKind, FeedState, InstrumentStatus, QTY_UNSTATED, RejectReason, Side, VenueOrderStatus, flags,
};
use engine_core::fixed::{Decimal, Money};
use engine_core::ids::AssetId;
use std::fmt::{Display, Write as _};

/// Which of a venue's streams the messages are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Channel {
    /// Market data.
    Public,
    /// Order entry, order reports, balances.
    Private,
}

/// What a message was, beside the events that it gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// Its events are in the sink (there may be none: a heartbeat of a book).
    Events,
    /// It carries no market or order event: an acknowledgement, a ping, a status. What kind.
    Control(&'static str),
    /// A well-formed message of a stream that the engine does not use (candles, statistics). What kind.
    Unused(&'static str),
}

/// Why a message cannot be decoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct DecodeError {
    /// What is wrong.
    pub what: String,
    /// At which byte of the message.
    pub at: usize,
}

impl DecodeError {
    /// From anything that can say what is wrong.
    pub fn new(what: impl Display, at: usize) -> DecodeError {
        DecodeError { what: what.to_string(), at }
    }
}

impl From<crate::json::JsonError> for DecodeError {
    fn from(error: crate::json::JsonError) -> DecodeError {
        DecodeError::new(error.what, error.at)
    }
}

/// A venue's messages to events, with open tables.
pub trait LineDecoder {
    /// Decodes one message. `conn` is the URL of its connection if the recording says so (empty
    /// otherwise): REST answers are told apart by it. Events go to `sink`, at the scales of [`LineDecoder::symbols`]
    /// as of the return.
    fn decode(&mut self, kind: MessageKind, conn: &str, payload: &[u8], sink: &mut Vec<Event>) -> Result<Decoded, DecodeError>;

    /// The symbols met so far, with their scales.
    fn symbols(&self) -> &SymbolIndex;

    /// The orders and assets met so far.
    fn names(&self) -> &Names;
}

/// The venue is not one we have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no decoder for venue `{0}`; there are: binance, kraken")]
pub struct UnknownVenue(pub String);

/// The decoder of a venue's channel, by the venue's name.
fn dialect(venue: &str, channel: Channel) -> Option<Box<dyn LineDecoder + Send>> {
    match venue {
        "binance" => Some(Box::new(crate::binance::decoder::BinanceDecoder::new(channel))),
        "kraken" => Some(Box::new(crate::kraken::decoder::KrakenDecoder::new(channel))),
        _ => None,
    }
}

/// Turns lines into lines.
pub struct Decoder {
    dialect: Box<dyn LineDecoder + Send>,
    events: Vec<Event>,
    line: u64,
    errors: u64,
}

/// A line of a capture file.
#[derive(serde::Deserialize)]
struct Capture<'a> {
    dir: &'a str,
    #[serde(borrow)]
    conn: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    b64: Option<std::borrow::Cow<'a, str>>,
}

impl Decoder {
    /// A decoder for `venue` (`binance`, `kraken`).
    pub fn new(venue: &str, channel: Channel) -> Result<Decoder, UnknownVenue> {
        let dialect = dialect(venue, channel).ok_or_else(|| UnknownVenue(venue.to_owned()))?;
        Ok(Decoder { dialect, events: Vec::new(), line: 0, errors: 0 })
    }

    /// Lines that could not be decoded so far.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Decodes one line (without or with its end) and appends the objects, one a line, to `out`.
    pub fn decode_line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        self.line += 1;
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return;
        }
        match serde_json::from_slice::<Capture<'_>>(line) {
            Ok(capture) if capture.dir == "in" => match (&capture.data, &capture.b64) {
                (Some(text), _) => self.message(MessageKind::Text, &capture.conn, text.as_bytes(), out),
                (None, Some(base64)) => match STANDARD.decode(base64.as_bytes()) {
                    Ok(bytes) => self.message(MessageKind::Binary, &capture.conn, &bytes, out),
                    Err(error) => self.error(&DecodeError::new(format_args!("capture line: bad base64: {error}"), 0), out),
                },
                (None, None) => self.error(&DecodeError::new("capture line holds neither data nor b64", 0), out),
            },
            Ok(_) => {}
            Err(_) => self.message(MessageKind::Text, "", line, out),
        }
    }

    /// Decodes one message that is not wrapped in a line.
    pub fn message(&mut self, kind: MessageKind, conn: &str, payload: &[u8], out: &mut Vec<u8>) {
        self.events.clear();
        let result = self.dialect.decode(kind, conn, payload, &mut self.events);
        let events = core::mem::take(&mut self.events);
        for event in &events {
            self.write_event(event, out);
        }
        self.events = events;
        match result {
            Ok(Decoded::Events) => {}
            Ok(Decoded::Control(what)) => self.write_plain("control", what, out),
            Ok(Decoded::Unused(what)) => self.write_plain("unused", what, out),
            Err(error) => self.error(&error, out),
        }
    }

    fn error(&mut self, error: &DecodeError, out: &mut Vec<u8>) {
        self.errors += 1;
        let mut object = Object::new();
        object.text("error", &error.to_string());
        object.text("what", &error.what);
        object.number("byte", error.at);
        object.number("line", self.line);
        object.finish(out);
    }

    fn write_plain(&self, kind: &str, what: &str, out: &mut Vec<u8>) {
        let mut object = Object::new();
        object.text("kind", kind);
        object.text("what", what);
        object.finish(out);
    }

    fn write_event(&self, event: &Event, out: &mut Vec<u8>) {
        let symbols = self.dialect.symbols();
        let names = self.dialect.names();
        let symbol = symbols.by_instrument(event.instrument_id());
        let (price_scale, qty_scale) = symbol.map_or((0, 0), |s| (s.price_scale, s.qty_scale));
        let price = |word: u64| Decimal { value: i128::from(word as i64), scale: price_scale, trim: true };
        let qty = |word: u64| Decimal { value: i128::from(word as i64), scale: qty_scale, trim: true };
        let filled = |word: u64| (word != QTY_UNSTATED).then(|| qty(word));
        let code_name = |name: Option<&'static str>| name.unwrap_or("unknown");

        let mut object = Object::new();
        let Some(kind) = event.event_kind() else { return };
        object.text("kind", kind.as_str());
        let of_instrument = !matches!(kind, EventKind::Balance | EventKind::FeedStatus | EventKind::Reconcile);
        if let Some(symbol) = symbol.filter(|_| of_instrument) {
            object.text("instrument", &symbol.text);
        }
        if let Some(side) = event.side() {
            object.text("side", Side::as_str(side));
        }
        match kind {
            EventKind::BookLevel | EventKind::TopOfBook => {
                object.number("price", price(event.a));
                object.number("qty", qty(event.b));
                object.number("sequence", event.c);
            }
            EventKind::Trade => {
                object.number("price", price(event.a));
                object.number("qty", qty(event.b));
                object.number("trade_id", event.c);
            }
            EventKind::BookTouch => object.number("sequence", event.c),
            EventKind::BookInvalid => object.text("reason", code_name(BookInvalid::from_raw(event.code).map(BookInvalid::as_str))),
            EventKind::InstrumentStatus => {
                object.text("status", code_name(InstrumentStatus::from_raw(event.code).map(InstrumentStatus::as_str)));
            }
            EventKind::FeedStatus => object.text("status", code_name(FeedState::from_raw(event.code).map(FeedState::as_str))),
            EventKind::OrderAck | EventKind::OrderUncertain => object.text("order", &names.order_text(event.order_id())),
            EventKind::OrderReject | EventKind::CancelReject | EventKind::ReplaceReject => {
                object.text("order", &names.order_text(event.order_id()));
                object.text("reason", code_name(RejectReason::from_raw(event.code).map(RejectReason::as_str)));
            }
            EventKind::OrderFill => {
                object.text("order", &names.order_text(event.order_id()));
                object.number("price", price(event.b));
                object.number("qty", qty(event.c));
                object.number("trade_id", event.d);
                object.flag("maker", event.has(flags::MAKER));
            }
            EventKind::FillFee => {
                object.text("order", &names.order_text(engine_core::ids::OrderId(event.d)));
                object.number("trade_id", event.a);
                object.number("fee", Money::from_words(event.b, event.c));
                object.text("asset", names.assets().name(AssetId(event.asset)));
            }
            EventKind::OrderCanceled | EventKind::OrderExpired => {
                object.text("order", &names.order_text(event.order_id()));
                if let Some(filled) = filled(event.b) {
                    object.number("filled", filled);
                }
            }
            EventKind::OrderReplaced => {
                object.text("order", &names.order_text(event.order_id()));
                object.number("price", price(event.b));
                object.number("qty", qty(event.c));
            }
            EventKind::OrderStatus => {
                object.text("order", &names.order_text(event.order_id()));
                object.text("status", code_name(VenueOrderStatus::from_raw(event.code).map(VenueOrderStatus::as_str)));
                if let Some(filled) = filled(event.b) {
                    object.number("filled", filled);
                }
                object.number("price", price(event.c));
                object.number("qty", qty(event.d));
            }
            EventKind::Balance => {
                object.text("asset", names.assets().name(AssetId(event.asset)));
                object.number("total", Money::from_words(event.a, event.b));
                object.number("available", Money::from_words(event.c, event.d));
            }
            _ => {}
        }
        object.number("venue_time_ns", event.venue_time_ns);
        if event.has(flags::CLEAR) {
            object.flag("clear", true);
        }
        if event.has(flags::SNAPSHOT) {
            object.flag("snapshot", true);
        }
        object.flag("last", event.has(flags::LAST));
        object.finish(out);
    }
}

/// A flat JSON object being written.
struct Object {
    text: String,
}

impl Object {
    fn new() -> Object {
        Object { text: String::with_capacity(256) }
    }

    fn key(&mut self, key: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        self.text.push('"');
        self.text.push_str(key);
        self.text.push_str("\":");
    }

    /// A string member, escaped.
    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.text.push_str(&serde_json::Value::from(value).to_string());
    }

    /// A number as a decimal string.
    fn number(&mut self, key: &str, value: impl Display) {
        self.key(key);
        // Writing to a String cannot fail.
        let _ = write!(self.text, "\"{value}\"");
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.key(key);
        self.text.push_str(if value { "true" } else { "false" });
    }

    fn finish(mut self, out: &mut Vec<u8>) {
        self.text.push_str("}\n");
        out.extend_from_slice(self.text.as_bytes());
    }
}
