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
use crate::crc::Piece;
use crate::symbols::{Found, SymbolIndex};
use crate::words::levels::Shapes;
use crate::words::{Cursor, Places, Plain};
use engine_core::carryless::{Carryless, Portable};
use engine_core::event::Side;
use engine_core::ids::InstrumentId;
use engine_core::lanes::Lanes;

/// Reads one text message. What was read before it turned out to be in another form stays in the scratch, and `upcoming` has
/// heard of a book and of levels.
#[inline]
pub fn parse<'a>(
    payload: &'a [u8],
    symbols: &SymbolIndex,
    scratch: &mut Scratch,
    upcoming: impl FnMut(Ahead<'_, Line>),
) -> Option<Message<'a>> {
    match scratch.native {
        Some(k) => k.run(
            #[inline(always)]
            || parse_with(Some(k), payload, symbols, scratch, upcoming),
        ),
        None => parse_with(None::<Portable>, payload, symbols, scratch, upcoming),
    }
}

#[inline(always)]
fn parse_with<'a, C: Lanes>(
    k: Option<C>,
    payload: &'a [u8],
    symbols: &SymbolIndex,
    scratch: &mut Scratch,
    upcoming: impl FnMut(Ahead<'_, Line>),
) -> Option<Message<'a>> {
    let mut c = Cursor::new(payload);
    c.expect(b"{\"channel\":\"")?;
    let message = if c.accept(b"book\",\"type\":\"") {
        book(k, &mut c, symbols, scratch, upcoming)?
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

/// Takes a bare integer.
#[inline(always)]
fn integer<C: Lanes>(k: Option<C>, c: &mut Cursor<'_>) -> Option<u64> {
    match k {
        Some(k) => c.integer_in_lane(k),
        None => c.integer(),
    }
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
fn book<'a, C: Lanes>(
    k: Option<C>,
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
    sides(k, c, instrument, (found.price_scale, found.qty_scale), scratch, &mut upcoming)?;
    c.expect(b",\"checksum\":")?;
    let checksum = u32::try_from(integer(k, c)?).ok()?;
    c.expect(b",\"timestamp\":\"")?;
    let time_ns = time(c, scratch)?;
    c.expect(b"}]}")?;
    Some(Message::Book { symbol, instrument, snapshot, checksum: Some(checksum), time_ns })
}

/// Takes `,"bids":[..],"asks":[..]`. Without a processor that helps, `k` is none, of whatever kind.
#[inline(always)]
fn sides<'a, C: Lanes>(
    k: Option<C>,
    c: &mut Cursor<'a>,
    instrument: InstrumentId,
    scales: (u8, u8),
    scratch: &mut Scratch,
    upcoming: &mut impl FnMut(Ahead<'_, Line>),
) -> Option<()> {
    let shapes = (Shapes::bare(scales.0)?, Shapes::bare(scales.1)?);
    for side in [Side::Buy, Side::Sell] {
        c.expect(if side == Side::Buy { b",\"bids\":[" } else { b",\"asks\":[" })?;
        let first = scratch.rows.len();
        *c = levels(k, *c, side, scales, shapes, scratch)?;
        upcoming(Ahead::Levels(instrument, &scratch.rows[first..]));
    }
    Some(())
}

/// `{"price":61250.4,"qty":0.60000000},{"price":61249.9,"qty":0.00000000}]`, or `]` alone.
#[inline(always)]
fn levels<'a, C: Lanes>(
    k: Option<C>,
    mut c: Cursor<'a>,
    side: Side,
    scales: (u8, u8),
    shapes: (&Shapes, &Shapes),
    scratch: &mut Scratch,
) -> Option<Cursor<'a>> {
    if c.accept(b"]") {
        return Some(c);
    }
    c.expect(b"{\"price\":")?;
    loop {
        if let Some(k) = k {
            let ended;
            (c, ended) = levels_as_kept(k, c, side, shapes, scratch)?;
            if ended {
                c.expect(b"}]")?;
                return Some(c);
            }
        }
        let more;
        (c, more) = level(c, side, scales, scratch)?;
        if !more {
            return Some(c);
        }
    }
}

/// Takes levels as long as they are printed with the decimals that are kept; true if that was all.
#[inline(always)]
fn levels_as_kept<'a, C: Lanes>(
    k: C,
    mut c: Cursor<'a>,
    side: Side,
    shapes: (&Shapes, &Shapes),
    scratch: &mut Scratch,
) -> Option<(Cursor<'a>, bool)> {
    let before = scratch.rows.len();
    let mut ended = false;
    while let Some(level) = c.bare_level(k, shapes.0, shapes.1) {
        if scratch.rows.len() >= ROWS_MAX {
            return None;
        }
        let row = Row { side, price: level.values.0, qty: level.values.1 };
        let text = if row.qty == 0 { Piece::EMPTY } else { Piece::of_digits(k, level.digits, level.zeros) };
        scratch.rows.push(Line::new(row, text));
        c = level.rest;
        if !level.more {
            ended = true;
            break;
        }
    }
    if scratch.rows.len() > before {
        scratch.printed(shapes.0.decimals(), shapes.1.decimals());
    }
    Some((c, ended))
}

/// Takes a level however it is printed; true if there is another one.
#[inline(never)]
fn level<'a>(mut c: Cursor<'a>, side: Side, scales: (u8, u8), scratch: &mut Scratch) -> Option<(Cursor<'a>, bool)> {
    let price = price(&mut c, Places::of(scales.0)?)?;
    c.expect(b",\"qty\":")?;
    let qty = number(&mut c, Places::of(scales.1)?)?;
    scratch.printed(price.decimals, qty.decimals);
    if !scratch.level(Row { side, price: price.value, qty: qty.value }) {
        return None;
    }
    let more = c.accept(b"},{\"price\":");
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
