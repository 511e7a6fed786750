//! Book and trade messages in exactly the form in which the venue writes them: see [`crate::words`].
//!
//! ```text
//! {"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":61250.4,"qty":0.60000000}],"asks":[],
//! "checksum":4262187403,"timestamp":"2026-01-01T00:00:00.231904Z"}]}
//! {"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":61250.5,"qty":0.00850000,
//! "ord_type":"limit","trade_id":84019233,"timestamp":"2026-01-01T00:00:00.231904Z"}]}
//! ```
//!
//! Anything else (members in another order or new ones, white space, a symbol that we do not hold, a value out of
//! bounds) is `None` here, and [`super::stream`] says what it is.

use super::message::{Row, Scratch, TradeRow};
use super::stream::Message;
use crate::batch::Ahead;
use crate::symbols::{Symbol, SymbolIndex};
use crate::words::{Cursor, Places, Plain};
use engine_core::event::Side;

/// Reads one text message. What was read before it turned out to be in another form stays in the scratch, and `upcoming` has
/// heard of a book and of levels.
#[inline]
pub fn parse<'a>(
    payload: &'a [u8],
    symbols: &SymbolIndex,
    scratch: &mut Scratch,
    upcoming: impl FnMut(Ahead<'_, Row>),
) -> Option<Message<'a>> {
    let mut c = Cursor::new(payload);
    c.expect(b"{\"channel\":\"")?;
    let message = if c.accept(b"book\",\"type\":\"") {
        book(&mut c, symbols, scratch, upcoming)?
    } else {
        c.expect(b"trade\",\"type\":\"")?;
        trades(&mut c, symbols, scratch)?
    };
    c.is_at_end().then_some(message)
}

/// Takes `update` or `snapshot` and the quote behind it: whether it is a snapshot.
#[inline(always)]
fn is_snapshot(c: &mut Cursor<'_>) -> Option<bool> {
    if c.accept(b"update\"") {
        return Some(false);
    }
    c.expect(b"snapshot\"")?;
    Some(true)
}

/// Takes a symbol and the quote behind it.
#[inline(always)]
fn entry<'a>(c: &mut Cursor<'_>, symbols: &'a SymbolIndex) -> Option<(usize, &'a Symbol)> {
    let at = symbols.position_as_written(c.until_quote()?)?;
    Some((at, symbols.symbols().get(at)?))
}

/// Takes a symbol and the quote behind it: its place and how its prices and quantities are read.
#[inline(always)]
fn symbol(c: &mut Cursor<'_>, symbols: &SymbolIndex) -> Option<(usize, &'static Places, &'static Places)> {
    let (at, entry) = entry(c, symbols)?;
    Some((at, Places::of(entry.price_scale)?, Places::of(entry.qty_scale)?))
}

/// A bare decimal: JSON allows it no leading zeros.
#[inline(always)]
fn number(c: &mut Cursor<'_>, places: &Places) -> Option<Plain> {
    c.decimal(places).filter(|plain| !plain.zero_padded)
}

#[inline(always)]
fn price(c: &mut Cursor<'_>, places: &Places) -> Option<Plain> {
    number(c, places).filter(|plain| plain.value > 0)
}

#[inline(always)]
fn book<'a>(
    c: &mut Cursor<'a>,
    symbols: &SymbolIndex,
    scratch: &mut Scratch,
    mut upcoming: impl FnMut(Ahead<'_, Row>),
) -> Option<Message<'a>> {
    let snapshot = is_snapshot(c)?;
    c.expect(b",\"data\":[{\"symbol\":\"")?;
    let (symbol, entry) = entry(c, symbols)?;
    upcoming(Ahead::Book(symbol, entry.instrument));
    let (price_places, qty_places) = (Places::of(entry.price_scale)?, Places::of(entry.qty_scale)?);
    c.expect(b",\"bids\":[")?;
    *c = levels(*c, Side::Buy, (price_places, qty_places), scratch)?;
    let bids = scratch.rows.len();
    upcoming(Ahead::Levels(entry.instrument, &scratch.rows));
    c.expect(b",\"asks\":[")?;
    *c = levels(*c, Side::Sell, (price_places, qty_places), scratch)?;
    upcoming(Ahead::Levels(entry.instrument, &scratch.rows[bids..]));
    c.expect(b",\"checksum\":")?;
    let checksum = u32::try_from(c.integer()?).ok()?;
    c.expect(b",\"timestamp\":\"")?;
    let time_ns = time(c, scratch)?;
    c.expect(b"}]}")?;
    Some(Message::Book { symbol, snapshot, checksum: Some(checksum), time_ns })
}

/// `{"price":61250.4,"qty":0.60000000},{"price":61249.9,"qty":0.00000000}]`, or `]` alone. Not inlined: the loop needs
/// every register.
#[inline(never)]
fn levels<'a>(mut c: Cursor<'a>, side: Side, (price_places, qty_places): (&Places, &Places), scratch: &mut Scratch) -> Option<Cursor<'a>> {
    if c.accept(b"]") {
        return Some(c);
    }
    c.expect(b"{\"price\":")?;
    let (mut price_decimals, mut qty_decimals) = (scratch.price_decimals, scratch.qty_decimals);
    loop {
        let pair = c.named_pair(price_places, qty_places)?;
        price_decimals = price_decimals.max(pair.decimals.0);
        qty_decimals = qty_decimals.max(pair.decimals.1);
        if !scratch.level(Row { side, price: pair.values.0, qty: pair.values.1 }) {
            return None;
        }
        if !(pair.is_before(b"},{\"pric") && c.accept(b"},{\"price\":")) {
            c.expect(b"}]")?;
            (scratch.price_decimals, scratch.qty_decimals) = (price_decimals, qty_decimals);
            return Some(c);
        }
    }
}

/// Takes a time with six decimals and the quote behind it.
#[inline(always)]
fn time(c: &mut Cursor<'_>, scratch: &mut Scratch) -> Option<u64> {
    let time_ns = scratch.minute.parse_time_us(c.take()?)?;
    c.expect(b"\"")?;
    Some(time_ns)
}

#[inline(always)]
fn trades<'a>(c: &mut Cursor<'a>, symbols: &SymbolIndex, scratch: &mut Scratch) -> Option<Message<'a>> {
    let snapshot = is_snapshot(c)?;
    c.expect(b",\"data\":[{\"symbol\":\"")?;
    loop {
        let (symbol, price_places, qty_places) = symbol(c, symbols)?;
        c.expect(b",\"side\":\"")?;
        let side = if c.accept(b"buy\",\"price\":") {
            Side::Buy
        } else {
            c.expect(b"sell\",\"price\":")?;
            Side::Sell
        };
        let price = price(c, price_places)?.value;
        c.expect(b",\"qty\":")?;
        let qty = number(c, qty_places)?.value;
        c.expect(b",\"ord_type\":\"")?;
        if !c.accept(b"limit\",\"trade_id\":") {
            c.expect(b"market\",\"trade_id\":")?;
        }
        let id = c.integer()?;
        c.expect(b",\"timestamp\":\"")?;
        let time_ns = time(c, scratch)?;
        if !scratch.trade(TradeRow { symbol, id, side, price, qty, time_ns }) {
            return None;
        }
        if !c.accept(b"},{\"symbol\":\"") {
            c.expect(b"}]}")?;
            return Some(Message::Trades { snapshot, unknown_symbols: 0, unknown_values: 0 });
        }
    }
}
