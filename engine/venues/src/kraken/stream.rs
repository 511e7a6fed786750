//! Public WebSocket v2 messages, read in one pass into a [`Message`] and the [`Scratch`].
//!
//! Nearly all of them come in the one form that [`super::usual`] reads; what follows takes every form, and says what is
//! wrong with a message. `channel` comes before `data` in practice: rows then go straight to fixed-point. If the order is another one,
//! `data` is looked at after the rest; the result is the same.

use super::message::{Envelope, Line, ParseError, Row, Scratch, TradeRow, missing, price, qty, time};
use super::usual;
use crate::batch::Ahead;
use crate::json::{JsonError, Scanner, Text, What};
use crate::symbols::{Symbol, SymbolIndex};
use engine_core::event::Side;
use engine_core::ids::InstrumentId;

/// A public message; levels and trades are in the [`Scratch`].
pub enum Message<'a> {
    /// A book's snapshot or update.
    Book {
        /// Place of the symbol.
        symbol: usize,
        /// Whose book it is.
        instrument: InstrumentId,
        /// A snapshot.
        snapshot: bool,
        /// The venue's sum of the book after this message.
        checksum: Option<u32>,
        /// Venue time; 0 if not stated.
        time_ns: u64,
    },
    /// Trades.
    Trades {
        /// The last trades before the subscription, not news.
        snapshot: bool,
        /// Rows of symbols that we do not hold.
        unknown_symbols: u64,
        /// Rows with a value that we do not know.
        unknown_values: u64,
    },
    /// Reference data: in front of the `data` object. See [`super::instruments`].
    Instruments {
        /// In front of the object.
        data: Scanner<'a>,
    },
    /// State of the whole venue.
    Status {
        /// `online`, `maintenance`...
        system: Text<'a>,
    },
    /// The venue is alive.
    Heartbeat,
    /// An answer to one of our requests.
    Answer(Envelope<'a>),
    /// A channel that we know of and do not use.
    Unused(&'static str),
    /// A kind of message that we do not know.
    Unknown,
    /// A message for a symbol that we do not hold.
    UnknownSymbol,
}

/// What `data` of a channel turned out to be.
enum Body {
    Book { symbol: usize, checksum: Option<u32>, time_ns: u64 },
    Trades { unknown_symbols: u64, unknown_values: u64 },
    UnknownSymbol,
}

/// Reads one text message. In open mode `symbols` gains what it does not hold. `upcoming` hears of a book
/// and its levels as soon as they are known, if the message is in the usual form.
#[inline]
pub fn parse<'a>(
    payload: &'a [u8],
    symbols: &mut SymbolIndex,
    scratch: &mut Scratch,
    upcoming: impl FnMut(Ahead<'_, Line>),
) -> Result<Message<'a>, ParseError> {
    scratch.clear();
    match usual::parse(payload, symbols, scratch, upcoming) {
        Some(message) => Ok(message),
        None => parse_any(payload, symbols, scratch),
    }
}

/// As [`parse`], of messages in whatever form.
#[inline(never)]
pub fn parse_any<'a>(payload: &'a [u8], symbols: &mut SymbolIndex, scratch: &mut Scratch) -> Result<Message<'a>, ParseError> {
    scratch.clear();
    let mut s = Scanner::new(payload);
    let mut envelope = Envelope::default();
    let mut body = None;
    let mut members = s.object()?;
    while let Some(key) = members.next(&mut s).map_err(|error| of(&body, error))? {
        if key == b"data" && body.is_none() {
            if envelope.is_channel(b"book") {
                body = Some(book(&mut s, symbols, scratch)?);
                continue;
            }
            if envelope.is_channel(b"trade") {
                body = Some(trades(&mut s, symbols, scratch)?);
                continue;
            }
        }
        envelope.member(key, &mut s).map_err(|error| of(&body, error))?;
    }
    s.end().map_err(|error| of(&body, error))?;
    message(envelope, body, &s, symbols, scratch)
}

/// An error outside `data`: still the loss of the message.
#[cold]
fn of(body: &Option<Body>, error: JsonError) -> ParseError {
    match body {
        Some(Body::Book { symbol, .. }) => ParseError { symbol: Some(*symbol), error },
        _ => ParseError { symbol: None, error },
    }
}

fn message<'a>(
    envelope: Envelope<'a>,
    body: Option<Body>,
    s: &Scanner<'a>,
    symbols: &mut SymbolIndex,
    scratch: &mut Scratch,
) -> Result<Message<'a>, ParseError> {
    let snapshot = envelope.snapshot;
    let Some(channel) = envelope.channel else {
        return Ok(if envelope.method.is_some() || envelope.error.is_some() { Message::Answer(envelope) } else { Message::Unknown });
    };
    let mut late = envelope.data.clone();
    let data = |late: &mut Option<Scanner<'a>>| late.take().ok_or_else(|| ParseError::from(missing(s, "data")));
    let body = match channel.raw() {
        b"book" => match body {
            Some(body) => body,
            None => book(&mut data(&mut late)?, symbols, scratch)?,
        },
        b"trade" => match body {
            Some(body) => body,
            None => trades(&mut data(&mut late)?, symbols, scratch)?,
        },
        b"heartbeat" => return Ok(Message::Heartbeat),
        b"status" => return Ok(Message::Status { system: status(&mut data(&mut late)?)? }),
        b"instrument" => return Ok(Message::Instruments { data: data(&mut late)? }),
        b"ticker" => return Ok(Message::Unused("ticker")),
        b"ohlc" => return Ok(Message::Unused("ohlc")),
        b"level3" => return Ok(Message::Unused("level3")),
        _ => return Ok(Message::Unknown),
    };
    Ok(match body {
        Body::Book { symbol, checksum, time_ns } => {
            let instrument = symbols.symbols()[symbol].instrument;
            Message::Book { symbol, instrument, snapshot, checksum, time_ns }
        }
        Body::Trades { unknown_symbols, unknown_values } => Message::Trades { snapshot, unknown_symbols, unknown_values },
        Body::UnknownSymbol => Message::UnknownSymbol,
    })
}

/// The `symbol` of the object that `s` stands at, without moving.
#[inline]
fn symbol_of<'a>(s: &Scanner<'a>) -> Result<Text<'a>, JsonError> {
    let mut look = s.clone();
    let mut members = look.object()?;
    while let Some(key) = members.next(&mut look)? {
        if key == b"symbol" {
            return look.string();
        }
        look.skip()?;
    }
    Err(missing(&look, "symbol"))
}

/// The place of a symbol. In open mode a stranger is added, with scales that `scales` finds out.
#[inline]
pub fn position(symbols: &mut SymbolIndex, text: Text<'_>, scales: impl FnOnce() -> (u8, u8)) -> Option<usize> {
    let mut scratch = [0; 64];
    let text = text.resolve(&mut scratch)?;
    match symbols.position(text) {
        Some(at) => Some(at),
        None if symbols.is_open() => add(symbols, text, scales()),
        None => None,
    }
}

#[cold]
fn add(symbols: &mut SymbolIndex, text: &[u8], (price_scale, qty_scale): (u8, u8)) -> Option<usize> {
    let text = core::str::from_utf8(text).ok().filter(|t| !t.is_empty() && t.len() <= 64 && t.bytes().all(|b| b.is_ascii_graphic()))?;
    let instrument = InstrumentId(u16::try_from(symbols.symbols().len()).ok()?);
    symbols.add(Symbol { text: text.to_owned(), instrument, price_scale, qty_scale });
    Some(symbols.symbols().len() - 1)
}

/// The widest numbers met: digits in front of the point, decimals behind it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Widest {
    digits: u8,
    decimals: u8,
}

impl Widest {
    /// Looks at one number's text.
    pub fn see(&mut self, text: &[u8]) {
        let digits = text.iter().take_while(|c| c.is_ascii_digit()).count();
        let decimals = text.len().saturating_sub(digits + 1);
        self.digits = self.digits.max(digits.min(18) as u8);
        self.decimals = self.decimals.max(decimals.min(18) as u8);
    }

    /// The scale of numbers that are always printed with all their decimals; `None` if none was seen.
    pub fn printed(self) -> Option<u8> {
        (self.digits > 0).then(|| self.decimals.min(17u8.saturating_sub(self.digits)).min(10))
    }

    /// A scale that holds these and, if it can be, much larger and finer ones: books hold orders at thousands of times
    /// the market's price.
    fn scale(self, sum: u8, max: u8) -> u8 {
        sum.saturating_sub(self.digits).max(self.decimals).min(17u8.saturating_sub(self.digits)).min(max)
    }
}

/// Scales for a symbol that was met with such prices and quantities, in open mode.
pub fn open_scales(price: Widest, qty: Widest) -> (u8, u8) {
    (price.scale(13, 10), qty.scale(16, 8))
}

/// Scales for the symbol of the object that `s` stands at, by its numbers.
#[cold]
fn scales_of(s: &Scanner<'_>) -> (u8, u8) {
    fn look(s: &mut Scanner<'_>, found: &mut (Widest, Widest), rows: bool) -> Result<(), JsonError> {
        let mut members = s.object()?;
        while let Some(key) = members.next(s)? {
            match key {
                b"bids" | b"asks" if !rows => {
                    let mut rows = s.array()?;
                    while rows.next(s)? {
                        look(s, found, true)?;
                    }
                }
                b"price" => found.0.see(s.decimal_text()?),
                b"qty" => found.1.see(s.decimal_text()?),
                _ => s.skip()?,
            }
        }
        Ok(())
    }
    let mut found = Default::default();
    match look(&mut s.clone(), &mut found, false) {
        Ok(()) => open_scales(found.0, found.1),
        Err(_) => OPEN_SCALES,
    }
}

/// Scales of a symbol whose numbers are not known yet, in open mode.
pub const OPEN_SCALES: (u8, u8) = (8, 8);

/// Reads the array of a `book` message: exactly one element.
#[inline]
fn book(s: &mut Scanner<'_>, symbols: &mut SymbolIndex, scratch: &mut Scratch) -> Result<Body, ParseError> {
    let mut elements = s.array()?;
    if !elements.next(s)? {
        return Err(missing(s, "data").into());
    }
    let name = symbol_of(s)?;
    let at = position(symbols, name, || scales_of(s));
    let Some(symbol) = at else {
        s.skip()?;
        while elements.next(s)? {
            s.skip()?;
        }
        return Ok(Body::UnknownSymbol);
    };
    let entry = &symbols.symbols()[symbol];
    let scales = (entry.price_scale, entry.qty_scale);
    let mut read = |s: &mut Scanner<'_>, scratch: &mut Scratch| {
        let body = element(s, symbol, scales, scratch)?;
        if elements.next(s)? { Err(s.error(What::Field("data"))) } else { Ok(body) }
    };
    read(s, scratch).map_err(|error| ParseError { symbol: Some(symbol), error })
}

#[inline]
fn element(s: &mut Scanner<'_>, symbol: usize, scales: (u8, u8), scratch: &mut Scratch) -> Result<Body, JsonError> {
    let (mut checksum, mut time_ns) = (None, 0);
    let (mut bids, mut asks) = (false, false);
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        match key {
            b"bids" if !bids => {
                levels(s, Side::Buy, scales, scratch)?;
                bids = true;
            }
            b"asks" if !asks => {
                levels(s, Side::Sell, scales, scratch)?;
                asks = true;
            }
            b"checksum" => {
                let sum = s.u64()?;
                checksum = Some(u32::try_from(sum).map_err(|_| s.error(What::Range))?);
            }
            b"timestamp" => time_ns = time(s)?,
            _ => s.skip()?,
        }
    }
    if !bids || !asks {
        return Err(missing(s, if bids { "asks" } else { "bids" }));
    }
    Ok(Body::Book { symbol, checksum, time_ns })
}

/// Reads `[{"price":..,"qty":..},..]` into the scratch.
#[inline]
fn levels(s: &mut Scanner<'_>, side: Side, scales: (u8, u8), scratch: &mut Scratch) -> Result<(), JsonError> {
    let mut rows = s.array()?;
    while rows.next(s)? {
        let (mut row_price, mut row_qty) = (None, None);
        let mut members = s.object()?;
        while let Some(key) = members.next(s)? {
            match key {
                b"price" => row_price = Some(price(s, scales.0)?),
                b"qty" => row_qty = Some(qty(s, scales.1)?),
                _ => s.skip()?,
            }
        }
        let price = row_price.ok_or_else(|| missing(s, "price"))?;
        let qty = row_qty.ok_or_else(|| missing(s, "qty"))?;
        scratch.price_decimals = scratch.price_decimals.max(price.decimals);
        scratch.qty_decimals = scratch.qty_decimals.max(qty.decimals);
        if !scratch.level(Row { side, price: price.value, qty: qty.value }) {
            return Err(s.error(What::Rows));
        }
    }
    Ok(())
}

/// Reads the array of a `trade` message. A row with a value or symbol that we do not know is left out.
fn trades(s: &mut Scanner<'_>, symbols: &mut SymbolIndex, scratch: &mut Scratch) -> Result<Body, ParseError> {
    let (mut unknown_symbols, mut unknown_values) = (0, 0);
    let mut elements = s.array()?;
    while elements.next(s)? {
        let name = symbol_of(s)?;
        let Some(symbol) = position(symbols, name, || scales_of(s)) else {
            unknown_symbols += 1;
            s.skip()?;
            continue;
        };
        let entry = &symbols.symbols()[symbol];
        let scales = (entry.price_scale, entry.qty_scale);
        let (mut side, mut id, mut time_ns) = (None, None, 0);
        let (mut row_price, mut row_qty) = (None, None);
        let mut members = s.object()?;
        while let Some(key) = members.next(s)? {
            match key {
                b"side" => side = Some(s.string()?),
                b"price" => row_price = Some(price(s, scales.0)?.value),
                b"qty" => row_qty = Some(qty(s, scales.1)?.value),
                b"trade_id" => id = Some(s.u64()?),
                b"timestamp" => time_ns = time(s)?,
                _ => s.skip()?,
            }
        }
        let side = match side.ok_or_else(|| missing(s, "side"))?.raw() {
            b"buy" => Side::Buy,
            b"sell" => Side::Sell,
            _ => {
                unknown_values += 1;
                continue;
            }
        };
        let price = row_price.ok_or_else(|| missing(s, "price"))?;
        let qty = row_qty.ok_or_else(|| missing(s, "qty"))?;
        let id = id.ok_or_else(|| missing(s, "trade_id"))?;
        if !scratch.trade(TradeRow { symbol, id, side, price, qty, time_ns }) {
            return Err(s.error(What::Rows).into());
        }
    }
    Ok(Body::Trades { unknown_symbols, unknown_values })
}

/// Reads the array of a `status` message: the last element counts.
pub fn status<'a>(s: &mut Scanner<'a>) -> Result<Text<'a>, JsonError> {
    let mut system = None;
    let mut elements = s.array()?;
    while elements.next(s)? {
        let mut members = s.object()?;
        while let Some(key) = members.next(s)? {
            match key {
                b"system" => system = Some(s.string()?),
                _ => s.skip()?,
            }
        }
    }
    system.ok_or_else(|| missing(s, "system"))
}
