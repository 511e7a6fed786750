//! JSON market-data messages, raw or in the combined wrapper `{"stream":..,"data":..}`.
//!
//! Nearly all of them come in the one form that [`super::usual`] reads; what follows takes every form, and says what is
//! wrong with a message. A short look ahead finds what kind of message it is and for which symbol (both stand at the front in
//! practice, anywhere in principle); then one typed pass reads the values in any order, with unknown
//! fields skipped.

use super::message::{Message, ParseError, Row, Scratch, TradeRow, is_quote, time_ns};
use super::usual;
use crate::batch::Ahead;
use crate::json::{JsonError, Members, Scanner, Text, What};
use crate::symbols::SymbolIndex;
use engine_core::event::Side;

/// What the look ahead found.
#[derive(Default)]
struct Front<'a> {
    kind: Option<Text<'a>>,
    symbol: Option<Text<'a>>,
    stream: Option<Text<'a>>,
    data: Option<Scanner<'a>>,
    /// `lastUpdateId` was there: a partial book.
    partial: bool,
    /// `result`, `error`, `id` or `code` was there: a control answer.
    control: bool,
    /// Behind the object, if it was looked at to its end.
    rest: Option<Scanner<'a>>,
}

/// Looks at an object's members until it is clear what it is.
fn look_ahead<'a>(mut s: Scanner<'a>) -> Result<Front<'a>, JsonError> {
    let mut front = Front::default();
    let mut members = s.object()?;
    let mut ticker = false;
    while let Some(key) = members.next(&mut s)? {
        match key {
            b"e" if s.peek() == Some(b'"') => front.kind = Some(s.string()?),
            b"s" if s.peek() == Some(b'"') => front.symbol = Some(s.string()?),
            b"stream" => front.stream = Some(s.string()?),
            b"data" => {
                front.data = Some(s.clone());
                if front.stream.is_some() {
                    return Ok(front);
                }
                s.skip()?;
            }
            b"lastUpdateId" => {
                front.partial = true;
                return Ok(front);
            }
            b"result" | b"error" | b"id" | b"code" => {
                front.control = true;
                s.skip()?;
            }
            b"B" => {
                ticker = true;
                s.skip()?;
            }
            _ => s.skip()?,
        }
        // `e`, then `s`; or, in the one kind without `e`, `s` and `B`.
        if front.symbol.is_some() && (front.kind.is_some() || ticker) {
            return Ok(front);
        }
    }
    front.rest = Some(s);
    Ok(front)
}

/// Reads one text message. In open mode `symbols` gains what it does not hold. `upcoming` hears of a book and its levels
/// as soon as they are known, if the message is in the usual form.
#[inline]
pub fn parse<'a>(
    payload: &'a [u8],
    symbols: &mut SymbolIndex,
    scratch: &mut Scratch,
    upcoming: impl FnMut(Ahead<'_, Row>),
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
    let front = look_ahead(s.clone())?;
    let Some(data) = front.data else {
        let message = parse_data(&mut s, front, None, symbols, scratch)?;
        s.end()?;
        return Ok(message);
    };
    let mut s = data;
    let message = if front.stream.is_some_and(|stream| stream.is(b"!serverShutdown")) {
        skip(&mut s, Message::Shutdown)?
    } else {
        let inner = look_ahead(s.clone())?;
        parse_data(&mut s, inner, front.stream, symbols, scratch)?
    };
    let symbol = symbol_of(&message);
    let end = match front.rest {
        Some(mut rest) => rest.end(),
        None => finish(&mut s),
    };
    end.map_err(|error| ParseError { symbol, error })?;
    Ok(message)
}

/// The wrapper's remaining members, if any, and its end.
fn finish(s: &mut Scanner<'_>) -> Result<(), JsonError> {
    let mut members = Members::resume();
    while members.next(s)?.is_some() {
        s.skip()?;
    }
    s.end()
}

const fn symbol_of(message: &Message<'_>) -> Option<usize> {
    match message {
        Message::Diff { symbol, .. } | Message::Book { symbol, .. } | Message::Ticker { symbol, .. } | Message::Trades { symbol, .. } => {
            Some(*symbol)
        }
        _ => None,
    }
}

/// Reads the object that `s` stands at, which `front` describes. Leaves `s` behind it.
fn parse_data<'a>(
    s: &mut Scanner<'a>,
    front: Front<'a>,
    stream: Option<Text<'a>>,
    symbols: &mut SymbolIndex,
    scratch: &mut Scratch,
) -> Result<Message<'a>, ParseError> {
    if front.partial {
        return partial_book(s, stream, symbols, scratch);
    }
    let Some(kind) = front.kind else {
        if let Some(symbol) = front.symbol {
            return with_symbol(s, symbol, symbols, |s, at, scales| ticker(s, at, scales).map_err(|e| (e, at)));
        }
        return if front.control { Ok(control(s)?) } else { skip(s, Message::Unknown) };
    };
    let Some(symbol) = front.symbol else {
        return match kind.raw() {
            b"serverShutdown" => skip(s, Message::Shutdown),
            _ => skip(s, Message::Unknown),
        };
    };
    match kind.raw() {
        b"depthUpdate" => with_symbol(s, symbol, symbols, |s, at, scales| diff(s, at, scales, scratch).map_err(|e| (e, at))),
        b"trade" => with_symbol(s, symbol, symbols, |s, at, scales| trade(s, at, scales, b't', scratch).map_err(|e| (e, at))),
        b"aggTrade" => with_symbol(s, symbol, symbols, |s, at, scales| trade(s, at, scales, b'l', scratch).map_err(|e| (e, at))),
        b"kline" => skip(s, Message::Unused("kline")),
        b"24hrTicker" | b"24hrMiniTicker" | b"1hTicker" | b"4hTicker" | b"1dTicker" => skip(s, Message::Unused("ticker")),
        b"avgPrice" => skip(s, Message::Unused("avgPrice")),
        b"blockTrade" => skip(s, Message::Unused("blockTrade")),
        b"referencePrice" => skip(s, Message::Unused("referencePrice")),
        _ => skip(s, Message::Unknown),
    }
}

fn skip<'a>(s: &mut Scanner<'a>, message: Message<'a>) -> Result<Message<'a>, ParseError> {
    s.skip()?;
    Ok(message)
}

type Scales = (u8, u8);

/// Finds the symbol, then reads with its scales; an error carries the symbol.
#[inline]
fn with_symbol<'a>(
    s: &mut Scanner<'a>,
    text: Text<'a>,
    symbols: &mut SymbolIndex,
    read: impl FnOnce(&mut Scanner<'a>, usize, Scales) -> Result<Message<'a>, (JsonError, usize)>,
) -> Result<Message<'a>, ParseError> {
    let mut scratch = [0; 64];
    let at = text.resolve(&mut scratch).and_then(|text| symbols.position_or_add(text));
    let Some(entry) = at.and_then(|at| symbols.symbols().get(at).map(|entry| (at, entry))) else {
        return skip(s, Message::UnknownSymbol);
    };
    read(s, entry.0, (entry.1.price_scale, entry.1.qty_scale)).map_err(|(error, at)| ParseError { symbol: Some(at), error })
}

fn missing(s: &Scanner<'_>, field: &'static str) -> JsonError {
    s.error(What::Missing(field))
}

/// A price above zero.
#[inline]
fn price(s: &mut Scanner<'_>, scale: u8) -> Result<i64, JsonError> {
    let value = s.decimal(scale)?;
    if value > 0 { Ok(value) } else { Err(s.error(What::Field("price"))) }
}

/// A quantity of zero or more.
#[inline]
fn qty(s: &mut Scanner<'_>, scale: u8) -> Result<i64, JsonError> {
    let value = s.decimal(scale)?;
    if value >= 0 { Ok(value) } else { Err(s.error(What::Field("quantity"))) }
}

/// Reads `[["price","qty"],..]` into the scratch. Further elements of a row are passed over.
#[inline]
fn levels(s: &mut Scanner<'_>, side: Side, scales: Scales, scratch: &mut Scratch) -> Result<(), JsonError> {
    let mut rows = s.array()?;
    while rows.next(s)? {
        let mut row = s.array()?;
        if !row.next(s)? {
            return Err(missing(s, "price"));
        }
        let price = price(s, scales.0)?;
        if !row.next(s)? {
            return Err(missing(s, "quantity"));
        }
        let qty = qty(s, scales.1)?;
        while row.next(s)? {
            s.skip()?;
        }
        if !scratch.level(Row { side, price, qty }) {
            return Err(s.error(What::Rows));
        }
    }
    Ok(())
}

fn diff<'a>(s: &mut Scanner<'a>, symbol: usize, scales: Scales, scratch: &mut Scratch) -> Result<Message<'a>, JsonError> {
    let (mut time, mut first, mut last) = (0, None, None);
    let (mut bids, mut asks) = (false, false);
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        match key {
            b"E" => time = s.u64()?,
            b"U" => first = Some(s.u64()?),
            b"u" => last = Some(s.u64()?),
            b"b" if !bids => {
                levels(s, Side::Buy, scales, scratch)?;
                bids = true;
            }
            b"a" if !asks => {
                levels(s, Side::Sell, scales, scratch)?;
                asks = true;
            }
            _ => s.skip()?,
        }
    }
    let first = first.ok_or_else(|| missing(s, "U"))?;
    let last = last.ok_or_else(|| missing(s, "u"))?;
    if !bids || !asks {
        return Err(missing(s, if bids { "a" } else { "b" }));
    }
    if first > last {
        return Err(s.error(What::Field("U")));
    }
    Ok(Message::Diff { symbol, first, last, time_ns: time_ns(time) })
}

fn ticker<'a>(s: &mut Scanner<'a>, symbol: usize, scales: Scales) -> Result<Message<'a>, JsonError> {
    let mut sequence = None;
    let (mut bid, mut bid_qty, mut ask, mut ask_qty) = (None, None, None, None);
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        match key {
            b"u" => sequence = Some(s.u64()?),
            // An empty side is a price and a quantity of zero.
            b"b" => bid = Some(qty(s, scales.0)?),
            b"B" => bid_qty = Some(qty(s, scales.1)?),
            b"a" => ask = Some(qty(s, scales.0)?),
            b"A" => ask_qty = Some(qty(s, scales.1)?),
            _ => s.skip()?,
        }
    }
    let both = |price: Option<i64>, qty: Option<i64>| price.zip(qty);
    let sequence = sequence.ok_or_else(|| missing(s, "u"))?;
    let bid = both(bid, bid_qty).ok_or_else(|| missing(s, "b"))?;
    let ask = both(ask, ask_qty).ok_or_else(|| missing(s, "a"))?;
    if !is_quote(bid) || !is_quote(ask) {
        return Err(s.error(What::Field("price")));
    }
    Ok(Message::Ticker { symbol, sequence, bid, ask, time_ns: 0 })
}

/// `id_key` is `t` in a trade; an aggregate has no `t`, its last trade's id `l` stands for it.
fn trade<'a>(s: &mut Scanner<'a>, symbol: usize, scales: Scales, id_key: u8, scratch: &mut Scratch) -> Result<Message<'a>, JsonError> {
    let (mut id, mut time, mut maker) = (None, 0, None);
    let (mut price_, mut qty_) = (None, None);
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        match key {
            b"p" => price_ = Some(price(s, scales.0)?),
            b"q" => qty_ = Some(qty(s, scales.1)?),
            b"T" => time = s.u64()?,
            b"m" => maker = Some(s.bool()?),
            [key] if *key == id_key => id = Some(s.u64()?),
            _ => s.skip()?,
        }
    }
    let id = id.ok_or_else(|| missing(s, "t"))?;
    let price = price_.ok_or_else(|| missing(s, "p"))?;
    let qty = qty_.ok_or_else(|| missing(s, "q"))?;
    // The buyer was the maker: the aggressor sold.
    let side = if maker.ok_or_else(|| missing(s, "m"))? { Side::Sell } else { Side::Buy };
    scratch.trade(TradeRow { id, side, price, qty });
    Ok(Message::Trades { symbol, time_ns: time_ns(time) })
}

/// A partial book has no symbol inside: the stream's name has it (`btcusdt@depth5`).
fn partial_book<'a>(
    s: &mut Scanner<'a>,
    stream: Option<Text<'a>>,
    symbols: &mut SymbolIndex,
    scratch: &mut Scratch,
) -> Result<Message<'a>, ParseError> {
    let name = stream.map(Text::raw).and_then(|name| name.split(|&c| c == b'@').next()).unwrap_or_default();
    let mut upper = [0; 64];
    let Some(upper) = upper.get_mut(..name.len()) else { return skip(s, Message::UnknownSymbol) };
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    let at = symbols.position_or_add(upper);
    let Some((symbol, entry)) = at.and_then(|at| symbols.symbols().get(at).map(|entry| (at, entry))) else {
        return skip(s, Message::UnknownSymbol);
    };
    book_body(s, (entry.price_scale, entry.qty_scale), scratch)
        .map(|sequence| Message::Book { symbol, sequence, time_ns: 0 })
        .map_err(|error| ParseError { symbol: Some(symbol), error })
}

/// Reads `{"lastUpdateId":..,"bids":[..],"asks":[..]}`, a REST snapshot's body too; returns the id.
pub fn book_body(s: &mut Scanner<'_>, scales: Scales, scratch: &mut Scratch) -> Result<u64, JsonError> {
    let (mut sequence, mut bids, mut asks) = (None, false, false);
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        match key {
            b"lastUpdateId" => sequence = Some(s.u64()?),
            b"bids" if !bids => {
                levels(s, Side::Buy, scales, scratch)?;
                bids = true;
            }
            b"asks" if !asks => {
                levels(s, Side::Sell, scales, scratch)?;
                asks = true;
            }
            _ => s.skip()?,
        }
    }
    if !bids || !asks {
        return Err(missing(s, if bids { "asks" } else { "bids" }));
    }
    sequence.ok_or_else(|| missing(s, "lastUpdateId"))
}

/// `{"result":null,"id":7}`, `{"error":{"code":2,"msg":".."},"id":10}`, or the error's members bare.
fn control<'a>(s: &mut Scanner<'a>) -> Result<Message<'a>, JsonError> {
    let (mut id, mut code, mut text) = (0, None, &b""[..]);
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        match key {
            b"id" if matches!(s.peek(), Some(b'0'..=b'9')) => id = s.u64()?,
            b"code" => code = Some(s.i64()?),
            b"msg" => text = s.string()?.raw(),
            b"error" if s.peek() == Some(b'{') => {
                let mut error = s.object()?;
                while let Some(key) = error.next(s)? {
                    match key {
                        b"code" => code = Some(s.i64()?),
                        b"msg" => text = s.string()?.raw(),
                        _ => s.skip()?,
                    }
                }
            }
            _ => s.skip()?,
        }
    }
    Ok(match code {
        Some(code) => Message::Refused { id, code, text },
        None => Message::Accepted { id },
    })
}
