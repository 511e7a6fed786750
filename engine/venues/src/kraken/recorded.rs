//! WebSocket v1 messages, as recordings before 2023 hold them. For the `decode` tool and tests only: the engine speaks
//! v2.
//!
//! Data is an array `[channelID, payload, (payload,) channelName, pair]`; everything else is an object with `event`. All
//! numbers are strings. A book's checksum is the rule of v2 over the strings as printed.

use super::message::{Row, Scratch, missing, parse_number, price, qty};
use super::stream::{self, OPEN_SCALES, Widest};
use crate::decode::DecodeError;
use crate::json::{JsonError, Scanner, Text, What};
use crate::symbols::SymbolIndex;
use engine_core::event::Side;
use engine_core::fixed::parse_decimal;

/// A v1 message; levels and trades are in the [`Scratch`].
pub enum Recorded {
    /// A book's snapshot or update.
    Book {
        /// Place of the symbol.
        symbol: usize,
        /// Levels a side that were subscribed.
        depth: usize,
        /// A snapshot.
        snapshot: bool,
        /// The venue's sum.
        checksum: Option<u32>,
        /// Latest time of its rows.
        time_ns: u64,
    },
    /// Trades; v1 numbers none.
    Trades,
    /// Best bid and ask: price and quantity each.
    Top {
        /// Place of the symbol.
        symbol: usize,
        /// Best bid.
        bid: (i64, i64),
        /// Best ask.
        ask: (i64, i64),
        /// Venue time; 0 if not stated.
        time_ns: u64,
    },
    /// An `event` object. Which.
    Control(&'static str),
    /// A channel that is not decoded. Which.
    Unused(&'static str),
}

/// True if this is a v1 message: an array, or an object with `event`.
pub fn is_v1(payload: &[u8]) -> bool {
    match Scanner::new(payload).peek() {
        Some(b'[') => true,
        Some(b'{') => event_of(payload).is_ok_and(|event| event.is_some()),
        _ => false,
    }
}

fn event_of(payload: &[u8]) -> Result<Option<Text<'_>>, JsonError> {
    let mut s = Scanner::new(payload);
    let mut event = None;
    let mut members = s.object()?;
    while let Some(key) = members.next(&mut s)? {
        match key {
            b"event" if s.peek() == Some(b'"') => event = Some(s.string()?),
            _ => s.skip()?,
        }
    }
    s.end()?;
    Ok(event)
}

/// Reads one message.
pub fn parse(payload: &[u8], symbols: &mut SymbolIndex, scratch: &mut Scratch) -> Result<Recorded, DecodeError> {
    scratch.clear();
    let mut s = Scanner::new(payload);
    if s.peek() == Some(b'{') {
        return Ok(Recorded::Control(match event_of(payload)?.map_or(&b""[..], Text::raw) {
            b"heartbeat" => "heartbeat",
            b"systemStatus" => "systemStatus",
            b"subscriptionStatus" => "subscriptionStatus",
            b"pong" => "pong",
            _ => "event",
        }));
    }
    let (payloads, channel, pair) = parts(&mut s)?;
    let payloads: Vec<Scanner<'_>> = payloads.into_iter().flatten().collect();
    let name = channel.raw().split(|&c| c == b'-').next().unwrap_or_default();
    let depth = channel.raw().split(|&c| c == b'-').nth(1).and_then(|d| core::str::from_utf8(d).ok()?.parse().ok());
    match name {
        b"book" => book(&payloads, pair, depth.unwrap_or(10).clamp(10, 1_000), symbols, scratch),
        b"trade" => trades(&payloads, pair, symbols, scratch),
        b"spread" => spread(&payloads, pair, symbols),
        b"ticker" => ticker(&payloads, pair, symbols),
        b"ohlc" => Ok(Recorded::Unused("ohlc")),
        b"openOrders" => Ok(Recorded::Unused("openOrders")),
        b"ownTrades" => Ok(Recorded::Unused("ownTrades")),
        _ => Err(DecodeError::new("a channel that is not known", 0)),
    }
}

type Parts<'a> = ([Option<Scanner<'a>>; 2], Text<'a>, Text<'a>);

/// The payloads (one or two), the channel's name and the pair. Private channels have no pair: then `sequence` stands
/// there, and the pair comes out empty.
fn parts<'a>(s: &mut Scanner<'a>) -> Result<Parts<'a>, JsonError> {
    let (mut payloads, mut texts): ([Option<Scanner<'a>>; 2], [Option<Text<'a>>; 2]) = (Default::default(), Default::default());
    let mut elements = s.array()?;
    while elements.next(s)? {
        match s.peek() {
            Some(b'{' | b'[') => {
                let free = payloads.iter_mut().find(|slot| slot.is_none()).ok_or_else(|| s.error(What::Rows))?;
                *free = Some(s.clone());
                s.skip()?;
            }
            Some(b'"') => {
                let free = texts.iter_mut().find(|slot| slot.is_none()).ok_or_else(|| s.error(What::Rows))?;
                *free = Some(s.string()?);
            }
            _ => s.skip()?,
        }
    }
    s.end()?;
    let channel = texts[0].ok_or_else(|| missing(s, "channelName"))?;
    Ok((payloads, channel, texts[1].unwrap_or(channel)))
}

/// Place and scales of the pair. A new one is given the scales of these numbers: v1 prints all decimals, always.
fn place(symbols: &mut SymbolIndex, pair: Text<'_>, seen: impl FnOnce() -> (Widest, Widest)) -> Result<(usize, (u8, u8)), DecodeError> {
    let scales = || {
        let (price, qty) = seen();
        price.printed().zip(qty.printed()).unwrap_or(OPEN_SCALES)
    };
    let at = stream::position(symbols, pair, scales).ok_or_else(|| DecodeError::new("the message names no pair that could be one", 0))?;
    let entry = &symbols.symbols()[at];
    Ok((at, (entry.price_scale, entry.qty_scale)))
}

/// The widest price and quantity of `[[price, quantity, ..],..]`, or of such arrays in an object.
fn widest(payloads: &[Scanner<'_>]) -> (Widest, Widest) {
    fn rows(s: &mut Scanner<'_>, seen: &mut (Widest, Widest)) -> Result<(), JsonError> {
        let mut rows = s.array()?;
        while rows.next(s)? {
            let mut row = s.array()?;
            let mut column = 0;
            while row.next(s)? {
                match column {
                    0 => seen.0.see(s.decimal_text()?),
                    1 => seen.1.see(s.decimal_text()?),
                    _ => s.skip()?,
                }
                column += 1;
            }
        }
        Ok(())
    }
    let mut seen = Default::default();
    for payload in payloads {
        let mut s = payload.clone();
        // What cannot be read is told when the message is.
        let _ = match s.peek() {
            Some(b'{') => s.object().and_then(|mut members| {
                while let Some(key) = members.next(&mut s)? {
                    if key == b"c" { s.skip()? } else { rows(&mut s, &mut seen)? }
                }
                Ok(())
            }),
            _ => rows(&mut s, &mut seen),
        };
    }
    seen
}

/// Of two numbers.
fn seen(price: &[u8], qty: &[u8]) -> (Widest, Widest) {
    let mut seen: (Widest, Widest) = Default::default();
    seen.0.see(price);
    seen.1.see(qty);
    seen
}

/// Seconds with decimals, as nanoseconds; 0 if it is no such text.
fn time(s: &mut Scanner<'_>) -> Result<u64, JsonError> {
    Ok(parse_decimal(s.decimal_text()?, 9).ok().and_then(|ns| u64::try_from(ns).ok()).unwrap_or(0))
}

fn book(
    payloads: &[Scanner<'_>],
    pair: Text<'_>,
    depth: usize,
    symbols: &mut SymbolIndex,
    scratch: &mut Scratch,
) -> Result<Recorded, DecodeError> {
    let (symbol, scales) = place(symbols, pair, || widest(payloads))?;
    let (mut checksum, mut snapshot, mut time_ns) = (None, false, 0);
    for payload in payloads {
        let mut s = payload.clone();
        let mut members = s.object()?;
        while let Some(key) = members.next(&mut s)? {
            let side = match key {
                b"a" | b"as" => Side::Sell,
                b"b" | b"bs" => Side::Buy,
                b"c" => {
                    checksum = Some(u32::try_from(s.u64()?).map_err(|_| s.error(What::Range))?);
                    continue;
                }
                _ => {
                    s.skip()?;
                    continue;
                }
            };
            snapshot |= key.len() == 2;
            let mut rows = s.array()?;
            while rows.next(&mut s)? {
                time_ns = time_ns.max(level(&mut s, side, scales, scratch)?);
            }
        }
    }
    Ok(Recorded::Book { symbol, depth, snapshot, checksum, time_ns })
}

/// `[price, volume, time, "r"?]`; returns the time.
fn level(s: &mut Scanner<'_>, side: Side, scales: (u8, u8), scratch: &mut Scratch) -> Result<u64, JsonError> {
    let mut row = s.array()?;
    if !row.next(s)? {
        return Err(missing(s, "price"));
    }
    let price = price(s, scales.0)?;
    if !row.next(s)? {
        return Err(missing(s, "volume"));
    }
    let qty = qty(s, scales.1)?;
    let mut time_ns = 0;
    if row.next(s)? {
        time_ns = time(s)?;
        while row.next(s)? {
            s.skip()?;
        }
    }
    scratch.price_decimals = scratch.price_decimals.max(price.decimals);
    scratch.qty_decimals = scratch.qty_decimals.max(qty.decimals);
    if scratch.level(Row { side, price: price.value, qty: qty.value }) { Ok(time_ns) } else { Err(s.error(What::Rows)) }
}

/// `[[price, volume, time, side, type, misc],..]`
fn trades(payloads: &[Scanner<'_>], pair: Text<'_>, symbols: &mut SymbolIndex, scratch: &mut Scratch) -> Result<Recorded, DecodeError> {
    let (symbol, scales) = place(symbols, pair, || widest(payloads))?;
    for payload in payloads {
        let mut s = payload.clone();
        let mut rows = s.array()?;
        while rows.next(&mut s)? {
            let mut row = s.array()?;
            let (mut price_, mut qty_, mut time_ns, mut side) = (None, None, 0, None);
            let mut column = 0;
            while row.next(&mut s)? {
                match column {
                    0 => price_ = Some(price(&mut s, scales.0)?.value),
                    1 => qty_ = Some(qty(&mut s, scales.1)?.value),
                    2 => time_ns = time(&mut s)?,
                    3 => {
                        side = match s.string()?.raw() {
                            b"b" => Some(Side::Buy),
                            b"s" => Some(Side::Sell),
                            _ => None,
                        }
                    }
                    _ => s.skip()?,
                }
                column += 1;
            }
            let (price, qty) = price_.zip(qty_).ok_or_else(|| missing(&s, "price"))?;
            let side = side.ok_or_else(|| missing(&s, "side"))?;
            if !scratch.trade(super::message::TradeRow { symbol, id: 0, side, price, qty, time_ns }) {
                return Err(s.error(What::Rows).into());
            }
        }
    }
    Ok(Recorded::Trades)
}

/// `[bid, ask, time, bidVolume, askVolume]`
fn spread(payloads: &[Scanner<'_>], pair: Text<'_>, symbols: &mut SymbolIndex) -> Result<Recorded, DecodeError> {
    let mut s = payloads.first().cloned().ok_or_else(|| DecodeError::new("no payload", 0))?;
    let mut texts = [&b""[..]; 5];
    let mut row = s.array()?;
    let mut column = 0;
    while row.next(&mut s)? {
        match texts.get_mut(column) {
            Some(slot) => *slot = s.decimal_text()?,
            None => s.skip()?,
        }
        column += 1;
    }
    let (symbol, scales) = place(symbols, pair, || seen(texts[1], texts[3]))?;
    let time_ns = parse_decimal(texts[2], 9).ok().and_then(|ns| u64::try_from(ns).ok()).unwrap_or(0);
    top(symbol, scales, (texts[0], texts[3]), (texts[1], texts[4]), time_ns)
}

/// `{"a":[price, wholeLot, lot],"b":[..],..}`
fn ticker(payloads: &[Scanner<'_>], pair: Text<'_>, symbols: &mut SymbolIndex) -> Result<Recorded, DecodeError> {
    let mut s = payloads.first().cloned().ok_or_else(|| DecodeError::new("no payload", 0))?;
    let (mut bid, mut ask) = ((&b""[..], &b""[..]), (&b""[..], &b""[..]));
    let mut members = s.object()?;
    while let Some(key) = members.next(&mut s)? {
        let best = match key {
            b"a" => &mut ask,
            b"b" => &mut bid,
            _ => {
                s.skip()?;
                continue;
            }
        };
        let mut row = s.array()?;
        let mut column = 0;
        while row.next(&mut s)? {
            let text = s.decimal_text()?;
            match column {
                0 => best.0 = text,
                2 => best.1 = text,
                _ => {}
            }
            column += 1;
        }
    }
    let (symbol, scales) = place(symbols, pair, || seen(ask.0, ask.1))?;
    top(symbol, scales, bid, ask, 0)
}

fn top(symbol: usize, scales: (u8, u8), bid: (&[u8], &[u8]), ask: (&[u8], &[u8]), time_ns: u64) -> Result<Recorded, DecodeError> {
    let best = |(price, qty): (&[u8], &[u8])| {
        let price = parse_number(price, scales.0).map_err(|error| DecodeError::new(error, 0))?;
        let qty = parse_number(qty, scales.1).map_err(|error| DecodeError::new(error, 0))?;
        Ok::<_, DecodeError>((price.value, qty.value))
    };
    Ok(Recorded::Top { symbol, bid: best(bid)?, ask: best(ask)?, time_ns })
}
