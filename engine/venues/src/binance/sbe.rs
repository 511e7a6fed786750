//! SBE market-data messages (schema 1): the same content as the JSON streams, in binary.
//!
//! A message is a header of 8 bytes (`blockLength`, `templateId`, `schemaId`, `version`, all `u16`), a
//! root block, groups and the symbol; little-endian throughout. A newer version of the schema may
//! lengthen blocks and append groups: what is skipped is the length that the message states, never the
//! length that we know, and bytes after the last field that we know are passed over. Group headers
//! differ from template to template.
//!
//! What the venue sends today has exactly the blocks that we know and numbers that need not be divided: [`usual`] reads
//! that, field by field at fixed places. Everything else is `None` there, and read by the general reader, which also says
//! what is wrong.

use super::message::{Message, ParseError, Row, Scratch, TradeRow, is_quote, time_ns};
use crate::batch::Ahead;
use crate::json::What;
use crate::symbols::{Found, SymbolIndex};
use engine_core::event::{Side, VALUE_MAX};
use engine_core::fixed::POW10;

/// The schema that we read.
pub const SCHEMA_ID: u16 = 1;
/// Template of `<symbol>@trade`.
pub const TRADES: u16 = 10_000;
/// Template of `<symbol>@bestBidAsk`.
pub const BEST_BID_ASK: u16 = 10_001;
/// Template of `<symbol>@depth20`.
pub const DEPTH_SNAPSHOT: u16 = 10_002;
/// Template of `<symbol>@depth`.
pub const DEPTH_DIFF: u16 = 10_003;

/// Reads little-endian fields; remembers where it is for the error.
#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Failure = (usize, What);

impl<'a> Reader<'a> {
    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Failure> {
        let end = self.at.checked_add(len).ok_or((self.at, What::End))?;
        let slice = self.bytes.get(self.at..end).ok_or((self.at, What::End))?;
        self.at = end;
        Ok(slice)
    }

    /// A block of the stated length that must hold at least the `known` bytes which we read of it.
    #[inline]
    fn block(&mut self, stated: usize, known: usize) -> Result<Block<'a>, Failure> {
        if stated < known {
            return Err((self.at, What::Field("blockLength")));
        }
        let at = self.at;
        Ok(Block { bytes: self.take(stated)?, at })
    }

    #[inline]
    fn u8(&mut self) -> Result<u8, Failure> {
        let at = self.at;
        self.take(1)?.first().copied().ok_or((at, What::End))
    }

    #[inline]
    fn u16(&mut self) -> Result<u16, Failure> {
        let at = self.at;
        self.take(2)?.first_chunk().map(|b| u16::from_le_bytes(*b)).ok_or((at, What::End))
    }

    #[inline]
    fn u32(&mut self) -> Result<u32, Failure> {
        let at = self.at;
        self.take(4)?.first_chunk().map(|b| u32::from_le_bytes(*b)).ok_or((at, What::End))
    }
}

/// One block's bytes; offsets are the schema's.
#[derive(Clone, Copy)]
struct Block<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Block<'_> {
    #[inline]
    fn i64(&self, offset: usize) -> Result<i64, Failure> {
        self.bytes.get(offset..).and_then(|b| b.first_chunk()).map(|b| i64::from_le_bytes(*b)).ok_or((self.at, What::End))
    }

    /// Ids and times: never negative.
    #[inline]
    fn u64(&self, offset: usize, field: &'static str) -> Result<u64, Failure> {
        u64::try_from(self.i64(offset)?).map_err(|_| (self.at + offset, What::Field(field)))
    }

    #[inline]
    fn u8(&self, offset: usize) -> Result<u8, Failure> {
        self.bytes.get(offset).copied().ok_or((self.at, What::End))
    }

    #[inline]
    fn exponent(&self, offset: usize) -> Result<i8, Failure> {
        Ok(self.u8(offset)? as i8)
    }
}

/// How mantissas of a message become numbers at a symbol's scale; worked out once per message.
#[derive(Clone, Copy)]
enum Rescale {
    Multiply(i64),
    Divide(i64),
}

impl Rescale {
    /// From 10^`exponent` to 10^-`scale`.
    #[inline]
    fn new(exponent: i8, scale: u8) -> Option<Rescale> {
        let shift = i32::from(scale) + i32::from(exponent);
        let power = *POW10.get(shift.unsigned_abs() as usize)?;
        Some(if shift >= 0 { Rescale::Multiply(power) } else { Rescale::Divide(power) })
    }

    #[inline]
    fn apply(self, mantissa: i64) -> Option<i64> {
        let value = match self {
            Rescale::Multiply(power) => mantissa.checked_mul(power)?,
            Rescale::Divide(power) if mantissa % power == 0 => mantissa / power,
            Rescale::Divide(_) => return None,
        };
        (0..=VALUE_MAX).contains(&value).then_some(value)
    }
}

/// Reads one binary message. In open mode `symbols` gains what it does not hold. `upcoming` hears of a book and its levels as soon
/// as they are known, if the message is in the usual form.
#[inline]
pub fn parse(
    payload: &[u8],
    symbols: &mut SymbolIndex,
    scratch: &mut Scratch,
    upcoming: impl FnMut(Ahead<'_, Row>),
) -> Result<Message<'static>, ParseError> {
    scratch.clear();
    match usual(payload, symbols, scratch, upcoming) {
        Some(message) => Ok(message),
        None => parse_any(payload, symbols, scratch),
    }
}

/// How mantissas become numbers at a symbol's scale, if that takes no division: by this factor, up to this mantissa.
#[derive(Clone, Copy)]
struct Factor {
    power: u64,
    mantissa_max: u64,
}

/// By how many decimal places the scale is finer than the mantissas.
static FACTORS: [Factor; POW10.len()] = {
    let mut table = [Factor { power: 1, mantissa_max: VALUE_MAX as u64 }; POW10.len()];
    let mut shift = 1;
    while shift < table.len() {
        let power = POW10[shift] as u64;
        table[shift] = Factor { power, mantissa_max: VALUE_MAX as u64 / power };
        shift += 1;
    }
    table
};

impl Factor {
    #[inline(always)]
    fn of(exponent: u8, scale: u8) -> Option<&'static Factor> {
        let shift = i32::from(scale) + i32::from(exponent as i8);
        FACTORS.get(usize::try_from(shift).ok()?)
    }

    /// A number from zero up.
    #[inline(always)]
    fn value(&self, mantissa: i64) -> Option<i64> {
        let mantissa = mantissa as u64;
        (mantissa <= self.mantissa_max).then_some(mantissa.wrapping_mul(self.power) as i64)
    }

    /// A number above zero.
    #[inline(always)]
    fn price(&self, mantissa: i64) -> Option<i64> {
        self.value(mantissa).filter(|&value| value > 0)
    }
}

#[inline(always)]
fn i64_at<const N: usize>(block: &[u8; N], offset: usize) -> Option<i64> {
    block.get(offset..)?.first_chunk().map(|bytes| i64::from_le_bytes(*bytes))
}

/// Ids and times: never negative.
#[inline(always)]
fn u64_at<const N: usize>(block: &[u8; N], offset: usize) -> Option<u64> {
    u64::try_from(i64_at(block, offset)?).ok()
}

/// The symbol that a message ends with: what is known of it, and how prices and quantities at these exponents become numbers.
#[inline(always)]
fn ending(rest: &[u8], exponents: [u8; 2], symbols: &SymbolIndex) -> Option<(Found, &'static Factor, &'static Factor)> {
    let (&length, rest) = rest.split_first()?;
    let found = symbols.find(rest.get(..usize::from(length))?)?;
    Some((found, Factor::of(exponents[0], found.price_scale)?, Factor::of(exponents[1], found.qty_scale)?))
}

/// A group's entries, if they have the length that we know, and what follows them.
#[inline(always)]
fn entries<const STRIDE: usize>(count: usize, rest: &[u8]) -> Option<(&[[u8; STRIDE]], &[u8])> {
    let (entries, rest) = rest.split_at_checked(count.checked_mul(STRIDE)?)?;
    Some((entries.as_chunks().0, rest))
}

/// Reads one message in the usual form, see the module header. What was read before it turned out to be in another form
/// may stay in the scratch.
#[inline]
pub fn usual(
    payload: &[u8],
    symbols: &SymbolIndex,
    scratch: &mut Scratch,
    mut upcoming: impl FnMut(Ahead<'_, Row>),
) -> Option<Message<'static>> {
    let (&[b0, b1, t0, t1, s0, s1, _, _], rest) = payload.split_first_chunk::<8>()?;
    if u16::from_le_bytes([s0, s1]) != SCHEMA_ID {
        return None;
    }
    match (u16::from_le_bytes([t0, t1]), u16::from_le_bytes([b0, b1])) {
        (BEST_BID_ASK, 50) => {
            let (root, rest) = rest.split_first_chunk::<50>()?;
            let (Found { at: symbol, .. }, price, qty) = ending(rest, [root[16], root[17]], symbols)?;
            let bid = (price.value(i64_at(root, 18)?)?, qty.value(i64_at(root, 26)?)?);
            let ask = (price.value(i64_at(root, 34)?)?, qty.value(i64_at(root, 42)?)?);
            let (sequence, time_ns) = (u64_at(root, 8)?, time_ns(u64_at(root, 0)?));
            (is_quote(bid) && is_quote(ask)).then_some(Message::Ticker { symbol, sequence, bid, ask, time_ns })
        }
        (DEPTH_DIFF, 26) => {
            let (root, rest) = rest.split_first_chunk::<26>()?;
            let (bids, rest) = usual_levels(rest)?;
            let (asks, rest) = usual_levels(rest)?;
            let (Found { at: symbol, instrument, .. }, price, qty) = ending(rest, [root[24], root[25]], symbols)?;
            upcoming(Ahead::Book(symbol, instrument));
            for (side, levels) in [(Side::Buy, bids), (Side::Sell, asks)] {
                let free = scratch.free();
                if levels.len() > free.len() {
                    return None;
                }
                for (place, level) in free.iter_mut().zip(levels) {
                    *place = Row { side, price: price.price(i64_at(level, 0)?)?, qty: qty.value(i64_at(level, 8)?)? };
                }
                scratch.fill(levels.len());
            }
            upcoming(Ahead::Levels(instrument, scratch.rows()));
            let (first, last, time_ns) = (u64_at(root, 8)?, u64_at(root, 16)?, time_ns(u64_at(root, 0)?));
            (first <= last).then_some(Message::Diff { symbol, first, last, time_ns })
        }
        (TRADES, 18) => {
            let (root, rest) = rest.split_first_chunk::<18>()?;
            let (&[25, 0, c0, c1, c2, c3], rest) = rest.split_first_chunk()? else { return None };
            let (trades, rest) = entries::<25>(u32::from_le_bytes([c0, c1, c2, c3]) as usize, rest)?;
            let (Found { at: symbol, .. }, price, qty) = ending(rest, [root[16], root[17]], symbols)?;
            for trade in trades {
                let side = match trade[24] {
                    0 => Side::Buy,
                    1 => Side::Sell,
                    _ => return None,
                };
                let row =
                    TradeRow { id: u64_at(trade, 0)?, side, price: price.price(i64_at(trade, 8)?)?, qty: qty.value(i64_at(trade, 16)?)? };
                if !scratch.trade(row) {
                    return None;
                }
            }
            Some(Message::Trades { symbol, time_ns: time_ns(u64_at(root, 8)?) })
        }
        _ => None,
    }
}

#[inline(always)]
fn usual_levels(rest: &[u8]) -> Option<(&[[u8; 16]], &[u8])> {
    let (&[16, 0, c0, c1], rest) = rest.split_first_chunk()? else { return None };
    entries(usize::from(u16::from_le_bytes([c0, c1])), rest)
}

/// As [`parse`], of messages in whatever form.
#[inline(never)]
pub fn parse_any(payload: &[u8], symbols: &mut SymbolIndex, scratch: &mut Scratch) -> Result<Message<'static>, ParseError> {
    scratch.clear();
    let mut symbol = None;
    read(payload, symbols, scratch, &mut symbol).map_err(|(at, what)| ParseError::new(symbol, at, what))
}

/// The symbol comes last, after the groups whose scales it decides: walk to it first, by the lengths alone.
fn read(payload: &[u8], symbols: &mut SymbolIndex, scratch: &mut Scratch, found: &mut Option<usize>) -> Result<Message<'static>, Failure> {
    let mut r = Reader { bytes: payload, at: 0 };
    let block_length = usize::from(r.u16()?);
    let template = r.u16()?;
    let schema = r.u16()?;
    let _version = r.u16()?;
    if schema != SCHEMA_ID {
        return Ok(Message::Unknown);
    }
    let (known, groups): (usize, &[GroupHeader]) = match template {
        TRADES => (18, &[GroupHeader::Wide]),
        BEST_BID_ASK => (50, &[]),
        DEPTH_SNAPSHOT => (18, &[GroupHeader::Narrow, GroupHeader::Narrow]),
        DEPTH_DIFF => (26, &[GroupHeader::Narrow, GroupHeader::Narrow]),
        _ => return Ok(Message::Unknown),
    };
    let root = r.block(block_length, known)?;
    let body = r;
    for &header in groups {
        let (stride, count) = header.read(&mut r)?;
        r.take(stride.checked_mul(count).ok_or((r.at, What::Range))?)?;
    }
    let length = usize::from(r.u8()?);
    let Some(symbol) = symbols.position_or_add(r.take(length)?) else { return Ok(Message::UnknownSymbol) };
    *found = Some(symbol);
    let Some(scales) = symbols.symbols().get(symbol).map(|s| (s.price_scale, s.qty_scale)) else { return Ok(Message::UnknownSymbol) };
    let (mut r, root) = (body, &root);
    match template {
        TRADES => {
            let (price, qty) = rescales(root, 16, scales)?;
            let (stride, count) = GroupHeader::Wide.read(&mut r)?;
            for _ in 0..count {
                let entry = r.block(stride, 25)?;
                let row = TradeRow {
                    id: entry.u64(0, "id")?,
                    price: positive(&entry, 8, price)?,
                    qty: value(&entry, 16, qty, "qty")?,
                    side: match entry.u8(24)? {
                        0 => Side::Buy,
                        1 => Side::Sell,
                        _ => return Err((entry.at + 24, What::Field("isBuyerMaker"))),
                    },
                };
                if !scratch.trade(row) {
                    return Err((entry.at, What::Rows));
                }
            }
            Ok(Message::Trades { symbol, time_ns: time_ns(root.u64(8, "transactTime")?) })
        }
        BEST_BID_ASK => {
            let (price, qty) = rescales(root, 16, scales)?;
            let bid = (value(root, 18, price, "bidPrice")?, value(root, 26, qty, "bidQty")?);
            let ask = (value(root, 34, price, "askPrice")?, value(root, 42, qty, "askQty")?);
            if !is_quote(bid) || !is_quote(ask) {
                return Err((root.at + 18, What::Field("price")));
            }
            let (sequence, time_ns) = (root.u64(8, "bookUpdateId")?, time_ns(root.u64(0, "eventTime")?));
            Ok(Message::Ticker { symbol, sequence, bid, ask, time_ns })
        }
        DEPTH_SNAPSHOT => {
            depth_groups(&mut r, rescales(root, 16, scales)?, scratch)?;
            Ok(Message::Book { symbol, sequence: root.u64(8, "bookUpdateId")?, time_ns: time_ns(root.u64(0, "eventTime")?) })
        }
        _ => {
            depth_groups(&mut r, rescales(root, 24, scales)?, scratch)?;
            let (first, last) = (root.u64(8, "firstBookUpdateId")?, root.u64(16, "lastBookUpdateId")?);
            if first > last {
                return Err((root.at + 8, What::Field("firstBookUpdateId")));
            }
            Ok(Message::Diff { symbol, first, last, time_ns: time_ns(root.u64(0, "eventTime")?) })
        }
    }
}

/// The two kinds of group header: `u16` block length and a count.
#[derive(Clone, Copy)]
enum GroupHeader {
    /// Count is `u16`.
    Narrow,
    /// Count is `u32`.
    Wide,
}

impl GroupHeader {
    #[inline]
    fn read(self, r: &mut Reader<'_>) -> Result<(usize, usize), Failure> {
        let stride = usize::from(r.u16()?);
        let at = r.at;
        let count = match self {
            GroupHeader::Narrow => usize::from(r.u16()?),
            GroupHeader::Wide => r.u32()? as usize,
        };
        // Entries of no length would let a few bytes claim billions of them.
        if stride == 0 && count > 0 {
            return Err((at, What::Field("blockLength")));
        }
        Ok((stride, count))
    }
}

/// Price and quantity exponents stand side by side at `offset`.
#[inline]
fn rescales(root: &Block<'_>, offset: usize, scales: (u8, u8)) -> Result<(Rescale, Rescale), Failure> {
    let price = Rescale::new(root.exponent(offset)?, scales.0).ok_or((root.at + offset, What::Field("priceExponent")))?;
    let qty = Rescale::new(root.exponent(offset + 1)?, scales.1).ok_or((root.at + offset + 1, What::Field("qtyExponent")))?;
    Ok((price, qty))
}

/// A price or quantity of zero or more. One that does not fit the scale says so as a decimal would, for
/// the caller tells a change of rules by it.
#[inline]
fn value(block: &Block<'_>, offset: usize, rescale: Rescale, field: &'static str) -> Result<i64, Failure> {
    let mantissa = block.i64(offset)?;
    rescale.apply(mantissa).ok_or_else(|| {
        let inexact = matches!(rescale, Rescale::Divide(power) if mantissa % power != 0);
        let what = if inexact { What::Decimal(engine_core::fixed::DecimalError::Precision) } else { What::Field(field) };
        (block.at + offset, what)
    })
}

#[inline]
fn positive(block: &Block<'_>, offset: usize, rescale: Rescale) -> Result<i64, Failure> {
    match value(block, offset, rescale, "price")? {
        0 => Err((block.at + offset, What::Field("price"))),
        value => Ok(value),
    }
}

#[inline]
fn depth_groups(r: &mut Reader<'_>, (price, qty): (Rescale, Rescale), scratch: &mut Scratch) -> Result<(), Failure> {
    for side in [Side::Buy, Side::Sell] {
        let (stride, count) = GroupHeader::Narrow.read(r)?;
        for _ in 0..count {
            let entry = r.block(stride, 16)?;
            let row = Row { side, price: positive(&entry, 0, price)?, qty: value(&entry, 8, qty, "qty")? };
            if !scratch.level(row) {
                return Err((entry.at, What::Rows));
            }
        }
    }
    Ok(())
}
