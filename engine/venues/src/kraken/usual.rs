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

use super::message::{Line, ROWS_MAX, Row, Scratch, TradeRow};
use super::stream::Message;
use crate::batch::Ahead;
use crate::crc::{Decimals, Piece};
use crate::symbols::{Found, SymbolIndex};
use crate::words::{Cursor, Places, Plain};
use engine_core::carryless::{Carryless, Portable};
use engine_core::event::Side;
use engine_core::ids::InstrumentId;

/// Reads one text message. What was read before it turned out to be in another form stays in the scratch, and `upcoming` has
/// heard of a book and of levels.
#[inline]
pub fn parse<'a>(
    payload: &'a [u8],
    symbols: &SymbolIndex,
    scratch: &mut Scratch,
    upcoming: impl FnMut(Ahead<'_, Line>),
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
fn symbol(c: &mut Cursor<'_>, symbols: &SymbolIndex) -> Option<Found> {
    symbols.find_as_written(c.until_quote()?)
}

/// How the prices and quantities of a symbol are read.
#[inline(always)]
fn places(symbol: Found) -> Option<(&'static Places, &'static Places)> {
    Some((Places::of(symbol.price_scale)?, Places::of(symbol.qty_scale)?))
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
    mut upcoming: impl FnMut(Ahead<'_, Line>),
) -> Option<Message<'a>> {
    let snapshot = is_snapshot(c)?;
    c.expect(b",\"data\":[{\"symbol\":\"")?;
    let found = symbol(c, symbols)?;
    let (symbol, instrument) = (found.at, found.instrument);
    upcoming(Ahead::Book(symbol, instrument));
    let (price_places, qty_places) = places(found)?;
    *c = sides(*c, instrument, (price_places, qty_places), scratch, &mut upcoming)?;
    c.expect(b",\"checksum\":")?;
    let checksum = u32::try_from(c.integer()?).ok()?;
    c.expect(b",\"timestamp\":\"")?;
    let time_ns = time(c, scratch)?;
    c.expect(b"}]}")?;
    Some(Message::Book { symbol, instrument, snapshot, checksum: Some(checksum), time_ns })
}

/// Takes `,"bids":[..],"asks":[..]`.
#[inline(always)]
fn sides<'a>(
    c: Cursor<'a>,
    instrument: InstrumentId,
    places: (&Places, &Places),
    scratch: &mut Scratch,
    upcoming: &mut impl FnMut(Ahead<'_, Line>),
) -> Option<Cursor<'a>> {
    match scratch.carryless {
        Some(k) => k.run(
            #[inline(always)]
            || sides_with(k, c, instrument, places, scratch, upcoming),
        ),
        None => sides_with(Portable, c, instrument, places, scratch, upcoming),
    }
}

#[inline(always)]
fn sides_with<'a>(
    k: impl Carryless,
    mut c: Cursor<'a>,
    instrument: InstrumentId,
    places: (&Places, &Places),
    scratch: &mut Scratch,
    upcoming: &mut impl FnMut(Ahead<'_, Line>),
) -> Option<Cursor<'a>> {
    for side in [Side::Buy, Side::Sell] {
        c.expect(if side == Side::Buy { b",\"bids\":[" } else { b",\"asks\":[" })?;
        let first = scratch.rows.len();
        c = levels(k, c, side, places, scratch)?;
        upcoming(Ahead::Levels(instrument, &scratch.rows[first..]));
    }
    Some(c)
}

/// `{"price":61250.4,"qty":0.60000000},{"price":61249.9,"qty":0.00000000}]`, or `]` alone.
#[inline(always)]
fn levels<'a>(
    k: impl Carryless,
    mut c: Cursor<'a>,
    side: Side,
    (price_places, qty_places): (&Places, &Places),
    scratch: &mut Scratch,
) -> Option<Cursor<'a>> {
    if c.accept(b"]") {
        return Some(c);
    }
    c.expect(b"{\"price\":")?;
    if !scratch.form.is_with(price_places, qty_places) {
        scratch.form = c.form(price_places, qty_places);
    }
    loop {
        let ended;
        (c, ended) = levels_alike(k, c, side, scratch)?;
        if ended {
            c.expect(b"}]")?;
            return Some(c);
        }
        let more;
        (c, more) = level(c, side, (price_places, qty_places), scratch)?;
        if !more {
            return Some(c);
        }
    }
}

/// Takes levels as long as they are in the form of those before them; true if that was all.
#[inline(always)]
fn levels_alike<'a>(k: impl Carryless, mut c: Cursor<'a>, side: Side, scratch: &mut Scratch) -> Option<(Cursor<'a>, bool)> {
    let Scratch { rows, form, .. } = scratch;
    let qty_decimals = Decimals::new(form.qty_decimals());
    let mut any = false;
    let mut ended = false;
    while let Some(level) = c.level_like(form) {
        if rows.len() >= ROWS_MAX {
            return None;
        }
        let (price, whole, decimals) = level.digits;
        let row = Row { side, price: level.values.0, qty: level.values.1 };
        let text = if row.qty == 0 { Piece::EMPTY } else { Piece::of_digits(k, price, (whole, decimals), &qty_decimals) };
        rows.push(Line::new(row, text));
        c = level.rest;
        any = true;
        if !level.more {
            ended = true;
            break;
        }
    }
    if any {
        let (price, qty) = form.printed();
        (scratch.price_decimals, scratch.qty_decimals) = (scratch.price_decimals.max(price), scratch.qty_decimals.max(qty));
    }
    Some((c, ended))
}

/// Takes a level in another form, which those behind it are expected to have, too; true if there is one.
#[inline(never)]
fn level<'a>(
    mut c: Cursor<'a>,
    side: Side,
    (price_places, qty_places): (&Places, &Places),
    scratch: &mut Scratch,
) -> Option<(Cursor<'a>, bool)> {
    scratch.form = c.form(price_places, qty_places);
    let pair = c.named_pair(price_places, qty_places)?;
    let (price, qty) = pair.decimals;
    (scratch.price_decimals, scratch.qty_decimals) = (scratch.price_decimals.max(price), scratch.qty_decimals.max(qty));
    if !scratch.level(Row { side, price: pair.values.0, qty: pair.values.1 }) {
        return None;
    }
    let more = pair.is_before(b"},{\"pric") && c.accept(b"},{\"price\":");
    if !more {
        c.expect(b"}]")?;
    }
    Some((c, more))
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
        let found = symbol(c, symbols)?;
        let (symbol, (price_places, qty_places)) = (found.at, places(found)?);
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
