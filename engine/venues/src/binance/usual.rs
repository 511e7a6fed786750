//! The three streams' messages in exactly the form in which the venue writes them: see [`crate::words`].
//!
//! ```text
//! {"e":"depthUpdate","E":1767225600105123,"s":"BTCUSDT","U":54321000701,"u":54321000777,"b":[["68250.10000000","1.50000000"]],"a":[]}
//! {"u":54321000777,"s":"BTCUSDT","b":"68250.10000000","B":"1.50000000","a":"68250.11000000","A":"0.42000000"}
//! {"e":"trade","E":1767225600150123,"s":"BTCUSDT","t":4400123456,"p":"68250.11000000","q":"0.01500000","T":1767225600149877,
//! "m":false,"M":true}
//! ```
//!
//! Anything else (members in another order or new ones, white space, a symbol that we do not hold, a value out of
//! bounds) is `None` here, and [`super::stream`] says what it is.

use super::message::{Message, Row, Scratch, TradeRow, is_quote, time_ns};
use crate::batch::Ahead;
use crate::symbols::{Found, SymbolIndex};
use crate::words::{Cursor, Places};
use engine_core::event::Side;

/// Reads one text message. What was read before it turned out to be in another form stays in the scratch.
#[inline]
pub fn parse(
    payload: &[u8],
    symbols: &SymbolIndex,
    scratch: &mut Scratch,
    upcoming: impl FnMut(Ahead<'_, Row>),
) -> Option<Message<'static>> {
    let mut c = Cursor::new(payload);
    let message = match payload.first_chunk()? {
        b"{\"e\":\"de" => depth(&mut c, symbols, scratch, upcoming)?,
        b"{\"e\":\"tr" => trade(&mut c, symbols, scratch, upcoming)?,
        _ => ticker(&mut c, symbols, upcoming)?,
    };
    c.is_at_end().then_some(message)
}

/// Takes a symbol and the quote behind it: what is known of it, and how its prices and quantities are read.
#[inline(always)]
fn symbol(c: &mut Cursor<'_>, symbols: &SymbolIndex) -> Option<(Found, &'static Places, &'static Places)> {
    let found = symbols.find_as_written(c.until_quote()?)?;
    Some((found, Places::of(found.price_scale)?, Places::of(found.qty_scale)?))
}

#[inline(always)]
fn price(c: &mut Cursor<'_>, places: &Places) -> Option<i64> {
    let value = c.decimal(places)?.value;
    (value > 0).then_some(value)
}

#[inline(always)]
fn qty(c: &mut Cursor<'_>, places: &Places) -> Option<i64> {
    Some(c.decimal(places)?.value)
}

#[inline(always)]
fn depth(
    c: &mut Cursor<'_>,
    symbols: &SymbolIndex,
    scratch: &mut Scratch,
    mut upcoming: impl FnMut(Ahead<'_, Row>),
) -> Option<Message<'static>> {
    c.expect(b"{\"e\":\"depthUpdate\",\"E\":")?;
    let time = c.integer()?;
    c.expect(b",\"s\":\"")?;
    let (Found { at: symbol, instrument, .. }, price_places, qty_places) = symbol(c, symbols)?;
    upcoming(Ahead::Book(symbol, instrument));
    c.expect(b",\"U\":")?;
    let first = c.integer()?;
    c.expect(b",\"u\":")?;
    let last = c.integer()?;
    c.expect(b",\"b\":[")?;
    *c = levels(*c, Side::Buy, (price_places, qty_places), scratch)?;
    let bids = scratch.rows().len();
    upcoming(Ahead::Levels(instrument, scratch.rows()));
    c.expect(b",\"a\":[")?;
    *c = levels(*c, Side::Sell, (price_places, qty_places), scratch)?;
    upcoming(Ahead::Levels(instrument, &scratch.rows()[bids..]));
    c.expect(b"}")?;
    (first <= last).then_some(Message::Diff { symbol, first, last, time_ns: time_ns(time) })
}

/// `["68250.10000000","1.50000000"],["68249.90000000","0.00000000"]]`, or `]` alone. Not inlined: the loop needs every
/// register.
#[inline(never)]
fn levels<'a>(mut c: Cursor<'a>, side: Side, (price_places, qty_places): (&Places, &Places), scratch: &mut Scratch) -> Option<Cursor<'a>> {
    if c.accept(b"]") {
        return Some(c);
    }
    c.expect(b"[\"")?;
    let mut count = 0;
    for place in scratch.free() {
        let more = match c.quoted_pair(price_places, qty_places) {
            Some(pair) => {
                let (price, qty) = pair.values;
                *place = Row { side, price, qty };
                if pair.is_before(b"\"],[\"") {
                    c.skip::<5>()?;
                    true
                } else {
                    c.expect(b"\"]]")?;
                    false
                }
            }
            None => {
                let more;
                (*place, c, more) = level(c, side, (price_places, qty_places))?;
                more
            }
        };
        count += 1;
        if !more {
            scratch.fill(count);
            return Some(c);
        }
    }
    None
}

/// A level near the end of a message, or with other decimals than the usual eight, and what follows it: true if that is
/// another one.
#[inline(never)]
fn level<'a>(mut c: Cursor<'a>, side: Side, (price_places, qty_places): (&Places, &Places)) -> Option<(Row, Cursor<'a>, bool)> {
    let price = price(&mut c, price_places)?;
    c.expect(b"\",\"")?;
    let qty = qty(&mut c, qty_places)?;
    let more = c.accept(b"\"],[\"");
    if !more {
        c.expect(b"\"]]")?;
    }
    Some((Row { side, price, qty }, c, more))
}

#[inline(always)]
fn ticker(c: &mut Cursor<'_>, symbols: &SymbolIndex, mut upcoming: impl FnMut(Ahead<'_, Row>)) -> Option<Message<'static>> {
    c.expect(b"{\"u\":")?;
    let sequence = c.integer()?;
    c.expect(b",\"s\":\"")?;
    let (Found { at: symbol, instrument, .. }, price_places, qty_places) = symbol(c, symbols)?;
    upcoming(Ahead::Book(symbol, instrument));
    c.expect(b",\"b\":\"")?;
    let bid_price = qty(c, price_places)?;
    c.expect(b"\",\"B\":\"")?;
    let bid = (bid_price, qty(c, qty_places)?);
    c.expect(b"\",\"a\":\"")?;
    let ask_price = qty(c, price_places)?;
    c.expect(b"\",\"A\":\"")?;
    let ask = (ask_price, qty(c, qty_places)?);
    c.expect(b"\"}")?;
    (is_quote(bid) && is_quote(ask)).then_some(Message::Ticker { symbol, sequence, bid, ask, time_ns: 0 })
}

#[inline(always)]
fn trade(
    c: &mut Cursor<'_>,
    symbols: &SymbolIndex,
    scratch: &mut Scratch,
    mut upcoming: impl FnMut(Ahead<'_, Row>),
) -> Option<Message<'static>> {
    c.expect(b"{\"e\":\"trade\",\"E\":")?;
    c.integer()?;
    c.expect(b",\"s\":\"")?;
    let (Found { at: symbol, instrument, .. }, price_places, qty_places) = symbol(c, symbols)?;
    upcoming(Ahead::Book(symbol, instrument));
    c.expect(b",\"t\":")?;
    let id = c.integer()?;
    c.expect(b",\"p\":\"")?;
    let price = price(c, price_places)?;
    c.expect(b"\",\"q\":\"")?;
    let qty = qty(c, qty_places)?;
    c.expect(b"\",\"T\":")?;
    let time = c.integer()?;
    c.expect(b",\"m\":")?;
    // The buyer was the maker: the aggressor sold.
    let side = if c.accept(b"true") {
        Side::Sell
    } else {
        c.expect(b"false")?;
        Side::Buy
    };
    // Said of every trade, and to be ignored.
    if !c.accept(b",\"M\":true}") {
        c.expect(b",\"M\":false}")?;
    }
    scratch.trade(TradeRow { id, side, price, qty });
    Some(Message::Trades { symbol, time_ns: time_ns(time) })
}
