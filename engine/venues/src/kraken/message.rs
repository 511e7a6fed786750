//! What Kraken's messages are made of: bare numbers, RFC 3339 times, and the outer object.
//!
//! Nothing is emitted before a message has been read to its end: a message is taken whole or not at all.

use crate::crc::Piece;
use crate::json::{JsonError, Scanner, Text, What};
use crate::words::{Form, Shaped, ZEROS, digits};
use engine_core::carryless::Native;
use engine_core::event::{Side, VALUE_MAX};
use engine_core::fixed::{self, DecimalError, POW10};

/// Levels that one message may hold. A depth-10 message holds a few; a snapshot of depth 1000 fits.
pub const ROWS_MAX: usize = 4_096;
/// Trades that one message may hold.
pub const TRADES_MAX: usize = 1_024;

/// A price level: absolute quantity, zero deletes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Side of the book.
    pub side: Side,
    /// At the symbol's price scale.
    pub price: i64,
    /// At the symbol's quantity scale.
    pub qty: i64,
}

/// A row as it was read: with the checksum's piece of text, if that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// At the symbol's price scale.
    pub price: i64,
    /// At the symbol's quantity scale.
    pub qty: i64,
    /// What remains of the text of both; see [`Piece`].
    remainder: u32,
    /// The text's length; 0: the text is not known.
    text_len: u8,
    /// Side of the book.
    pub side: Side,
}

impl Line {
    /// A row whose text, if it is known, is that of its price and of its quantity at the decimals of their scales.
    #[inline(always)]
    pub const fn new(row: Row, text: Piece) -> Line {
        let Row { side, price, qty } = row;
        Line { price, qty, remainder: text.remainder, text_len: text.len, side }
    }

    /// The row alone.
    #[inline(always)]
    pub const fn row(&self) -> Row {
        Row { side: self.side, price: self.price, qty: self.qty }
    }

    /// Its text, if that is known.
    #[inline(always)]
    pub const fn text(&self) -> Piece {
        Piece { remainder: self.remainder, len: self.text_len }
    }
}

impl From<Row> for Line {
    #[inline(always)]
    fn from(row: Row) -> Line {
        Line::new(row, Piece::EMPTY)
    }
}

/// A public trade.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TradeRow {
    /// Place of the symbol.
    pub symbol: usize,
    /// The venue's trade id.
    pub id: u64,
    /// Side of the aggressor.
    pub side: Side,
    /// At the symbol's price scale.
    pub price: i64,
    /// At the symbol's quantity scale.
    pub qty: i64,
    /// Nanoseconds since the Unix epoch.
    pub time_ns: u64,
}

/// Rows of the message being read; allocated once.
#[derive(Debug)]
pub struct Scratch {
    /// Levels, in the message's order; then deletes of what left the window (no more than there were levels).
    pub rows: Vec<Line>,
    /// Trades, in the message's order.
    pub trades: Vec<TradeRow>,
    /// Most decimal places that a price of the message was printed with.
    pub price_decimals: u8,
    /// Most decimal places that a quantity of the message was printed with.
    pub qty_decimals: u8,
    /// How the last levels were printed.
    pub form: Form,
    /// What times are read with.
    pub minute: Minute,
    /// What checksums are made with, if the processor has it.
    pub carryless: Option<Native>,
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch {
            rows: Vec::with_capacity(2 * ROWS_MAX),
            trades: Vec::with_capacity(TRADES_MAX),
            price_decimals: 0,
            qty_decimals: 0,
            form: Form::NONE,
            minute: Minute::default(),
            carryless: Native::detect(),
        }
    }
}

impl Scratch {
    /// Forgets the last message.
    #[inline]
    pub fn clear(&mut self) {
        self.rows.clear();
        self.trades.clear();
        (self.price_decimals, self.qty_decimals) = (0, 0);
    }

    /// Adds a level; false if the message holds more than the bound.
    #[inline]
    pub fn level(&mut self, row: Row) -> bool {
        let fits = self.rows.len() < ROWS_MAX;
        if fits {
            self.rows.push(row.into());
        }
        fits
    }

    /// Adds a trade; false if the message holds more than the bound.
    #[inline]
    pub fn trade(&mut self, row: TradeRow) -> bool {
        let fits = self.trades.len() < TRADES_MAX;
        if fits {
            self.trades.push(row);
        }
        fits
    }
}

/// Why a message cannot be read, and whose book it would have changed if it said so before it went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Place of the symbol whose book misses the message.
    pub symbol: Option<usize>,
    /// What is wrong, where.
    pub error: JsonError,
}

impl From<JsonError> for ParseError {
    fn from(error: JsonError) -> ParseError {
        ParseError { symbol: None, error }
    }
}

/// An error at the scanner's place.
#[cold]
pub fn missing(s: &Scanner<'_>, field: &'static str) -> JsonError {
    s.error(What::Missing(field))
}

/// A decimal as an integer at a scale, and how many decimal places its text has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number {
    /// At the scale asked for.
    pub value: i64,
    /// Decimal places as printed.
    pub decimals: u8,
}

/// Takes a decimal (bare, as WebSocket v2 has them, or quoted), exact and within [`VALUE_MAX`], or an error.
#[inline]
pub fn number(s: &mut Scanner<'_>, scale: u8) -> Result<Number, JsonError> {
    s.peek();
    let at = s.position();
    let text = s.decimal_text()?;
    parse_number(text, scale).map_err(|error| JsonError { at, what: What::Decimal(error) })
}

/// As [`number`], from text.
#[inline]
pub fn parse_number(text: &[u8], scale: u8) -> Result<Number, DecimalError> {
    // The shape of the traffic: plain digits, at most 18 of them after scaling; digits beyond the scale
    // must be zeros, so no division is needed.
    let mut value = 0u64;
    let mut at = 0;
    while let Some(digit) = text.get(at).map(|c| c.wrapping_sub(b'0')).filter(|&d| d <= 9) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    let integer = at;
    let mut missing = scale;
    let mut plain = integer > 0;
    if text.get(at) == Some(&b'.') {
        at += 1;
        let fraction = at;
        while let Some(digit) = text.get(at).map(|c| c.wrapping_sub(b'0')).filter(|&d| d <= 9) {
            if missing > 0 {
                value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
                missing -= 1;
            } else {
                plain &= digit == 0;
            }
            at += 1;
        }
        plain &= at > fraction;
    }
    if plain && at == text.len() && integer + usize::from(scale) <= 18 {
        let value = value as i64 * POW10[usize::from(missing)];
        if value <= VALUE_MAX {
            let decimals = (at - integer).saturating_sub(1);
            return Ok(Number { value, decimals: decimals.min(255) as u8 });
        }
    }
    parse_number_slow(text, scale)
}

/// Signs, exponents, many digits, and everything that is an error.
#[cold]
fn parse_number_slow(text: &[u8], scale: u8) -> Result<Number, DecimalError> {
    let value = fixed::parse_decimal(text, scale)?;
    if value.unsigned_abs() > VALUE_MAX as u64 {
        return Err(DecimalError::Overflow);
    }
    let point = text.iter().position(|&c| c == b'.');
    let end = text.iter().position(|&c| c == b'e' || c == b'E').unwrap_or(text.len());
    let decimals = point.filter(|_| end == text.len()).map_or(0, |point| text.len() - point - 1);
    Ok(Number { value, decimals: decimals.min(255) as u8 })
}

/// Takes a price: above zero.
#[inline]
pub fn price(s: &mut Scanner<'_>, scale: u8) -> Result<Number, JsonError> {
    let number = number(s, scale)?;
    if number.value > 0 { Ok(number) } else { Err(s.error(What::Field("price"))) }
}

/// Takes a quantity: zero or more.
#[inline]
pub fn qty(s: &mut Scanner<'_>, scale: u8) -> Result<Number, JsonError> {
    let number = number(s, scale)?;
    if number.value >= 0 { Ok(number) } else { Err(s.error(What::Field("qty"))) }
}

/// Takes a time (RFC 3339, UTC) as nanoseconds since the Unix epoch. A time that cannot be read is 0,
/// "not stated": it is for measurements only and never worth losing a message for.
#[inline]
pub fn time(s: &mut Scanner<'_>) -> Result<u64, JsonError> {
    if s.peek() != Some(b'"') {
        s.skip()?;
        return Ok(0);
    }
    Ok(parse_time(s.string()?.raw()).unwrap_or(0))
}

/// `2026-01-01T00:00:00.231904Z` with nought to nine decimals, as nanoseconds since the Unix epoch.
#[inline]
pub fn parse_time(text: &[u8]) -> Option<u64> {
    match text.try_into() {
        Ok(text) => parse_time_us(text),
        Err(_) => parse_time_any(text),
    }
}

/// A time with six decimals, as nearly all are: eight characters at a time.
#[inline]
pub fn parse_time_us(text: &[u8; 27]) -> Option<u64> {
    Minute::default().parse_time_us(text)
}

/// The minute that the last time was in. The next one is in the same, nearly always.
#[derive(Clone, Copy, Debug)]
pub struct Minute {
    /// `2026-01-01T00:00`.
    text: [u8; 16],
    /// Since the Unix epoch.
    seconds: u64,
}

impl Default for Minute {
    fn default() -> Minute {
        Minute { text: *b"1970-01-01T00:00", seconds: 0 }
    }
}

impl Minute {
    /// As the function of this name.
    #[inline(always)]
    pub fn parse_time_us(&mut self, text: &[u8; 27]) -> Option<u64> {
        let minute: &[u8; 16] = text.first_chunk()?;
        if *minute != self.text {
            *self = Minute { text: *minute, seconds: minute_seconds(minute)? };
        }
        let second = Shaped::read(text[16..].first_chunk()?, b":00.0000")?.pair(1);
        let fraction = Shaped::read(text.last_chunk()?, b".000000Z")?.six_from(1);
        // Up to the year 2500 nothing overflows; 60 is a leap second.
        (second <= 60).then(|| (self.seconds + second).wrapping_mul(1_000_000_000).wrapping_add(fraction * 1_000))
    }
}

#[cold]
fn minute_seconds(text: &[u8; 16]) -> Option<u64> {
    let date = Shaped::read(text.first_chunk()?, b"0000-00-")?;
    let day = Shaped::read(text.last_chunk()?, b"00T00:00")?;
    seconds((date.pair(0) * 100 + date.pair(2), date.pair(5), day.pair(0)), (day.pair(3), day.pair(6), 0))
}

/// As [`parse_time`], of any length.
fn parse_time_any(text: &[u8]) -> Option<u64> {
    let digits = |from: usize, to: usize| {
        text.get(from..to)?.iter().try_fold(0u64, |value, c| {
            let digit = c.wrapping_sub(b'0');
            (digit <= 9).then(|| value * 10 + u64::from(digit))
        })
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !marks.iter().all(|&(at, mark)| text.get(at) == Some(&mark)) || text.last() != Some(&b'Z') {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    let seconds = seconds((year, month, day), (hour, minute, second))?;
    let fraction = text.get(19..text.len() - 1)?;
    let mut ns = 0u64;
    match fraction {
        [] => {}
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => {
            for at in 0..9 {
                let digit = digits.get(at).map_or(0, |c| c.wrapping_sub(b'0'));
                if digit > 9 {
                    return None;
                }
                ns = ns * 10 + u64::from(digit);
            }
        }
        _ => return None,
    }
    seconds.checked_mul(1_000_000_000)?.checked_add(ns)
}

/// Seconds from the Unix epoch to a time of a day; `None` if there is no such time.
#[inline]
fn seconds((year, month, day): (u64, u64, u64), (hour, minute, second): (u64, u64, u64)) -> Option<u64> {
    if !(1970..=2500).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some((days(year, month, day) * 24 + hour) * 3_600 + minute * 60 + second)
}

/// Days from the Unix epoch to a date of the Gregorian calendar (years from 1970 on).
const fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years begin in March, so that the leap day is the last of its year.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since the Unix epoch: year, month, day.
const fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, era * 400 + year_of_era) } else { (month - 9, era * 400 + year_of_era + 1) };
    (year, month, day)
}

/// Length of a time with milliseconds.
pub const TIME_TEXT_LEN: usize = 24;

/// A time as `2026-01-01T00:00:05.000Z`.
#[inline]
pub fn time_text(ns: u64) -> [u8; TIME_TEXT_LEN] {
    let ms = ns / 1_000_000;
    let seconds = ms / 1_000;
    let (year, month, day) = date(seconds / 86_400);
    let of_day = seconds % 86_400;
    let mut out = *b"0000-00-00T00:00:00.000Z";
    let mut put = |at: usize, len: usize, mut value: u64| {
        for slot in out[at..at + len].iter_mut().rev() {
            *slot = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, of_day / 3_600);
    put(14, 2, of_day / 60 % 60);
    put(17, 2, of_day % 60);
    put(20, 3, ms % 1_000);
    out
}

/// Times as [`time_text`] has them, of which only what lies in the minute is written anew.
#[derive(Clone, Copy, Debug)]
pub struct MinuteText {
    /// Since the Unix epoch.
    minute: u64,
    /// Its first millisecond.
    text: [u8; TIME_TEXT_LEN],
}

impl Default for MinuteText {
    fn default() -> MinuteText {
        MinuteText { minute: 0, text: time_text(0) }
    }
}

impl MinuteText {
    /// The text of a time.
    #[inline(always)]
    pub fn time_text(&mut self, ns: u64) -> [u8; TIME_TEXT_LEN] {
        const MINUTE_NS: u64 = 60_000_000_000;
        let minute = ns / MINUTE_NS;
        if minute != self.minute {
            *self = MinuteText { minute, text: time_text(minute.wrapping_mul(MINUTE_NS)) };
        }
        // Seconds in the fourth and fifth place, milliseconds behind them.
        let digits = digits(ns % MINUTE_NS / 1_000_000) | ZEROS;
        let seconds = digits >> 16 & 0xffff_ff00 | u64::from(b':');
        let of_minute = seconds & 0x00ff_ffff | u64::from(b'.') << 24 | digits >> 40 << 32 | u64::from(b'Z') << 56;
        let mut text = self.text;
        if let Some(end) = text.last_chunk_mut() {
            *end = of_minute.to_le_bytes();
        }
        text
    }
}

/// The outer object of a message, looked at once: what it is, and where its parts begin.
#[derive(Default)]
pub struct Envelope<'a> {
    /// `channel` of a push.
    pub channel: Option<Text<'a>>,
    /// `type` is `snapshot`.
    pub snapshot: bool,
    /// In front of the value of `data`.
    pub data: Option<Scanner<'a>>,
    /// `sequence` of a private push.
    pub sequence: Option<u64>,
    /// `method` of an answer.
    pub method: Option<Text<'a>>,
    /// `req_id` of an answer.
    pub req_id: Option<u64>,
    /// `success` of an answer.
    pub success: Option<bool>,
    /// `error` of an answer.
    pub error: Option<Text<'a>>,
    /// `symbol` of a refusal.
    pub symbol: Option<Text<'a>>,
    /// In front of the value of `result`.
    pub result: Option<Scanner<'a>>,
    /// `time_out` of an answer: when the venue sent it; 0 if not stated.
    pub time_ns: u64,
}

impl<'a> Envelope<'a> {
    /// Takes the value of one member. `data` and `result` are checked for grammar and left for later.
    #[inline]
    pub fn member(&mut self, key: &[u8], s: &mut Scanner<'a>) -> Result<(), JsonError> {
        match key {
            b"channel" => self.channel = Some(s.string()?),
            b"type" => self.snapshot = s.string()?.is(b"snapshot"),
            b"data" => {
                self.data = Some(s.clone());
                s.skip()?;
            }
            b"sequence" => self.sequence = Some(s.u64()?),
            b"method" => self.method = Some(s.string()?),
            b"req_id" if matches!(s.peek(), Some(b'0'..=b'9')) => self.req_id = Some(s.u64()?),
            b"success" => self.success = Some(s.bool()?),
            b"error" if s.peek() == Some(b'"') => self.error = Some(s.string()?),
            b"symbol" if s.peek() == Some(b'"') => self.symbol = Some(s.string()?),
            b"result" => {
                self.result = Some(s.clone());
                s.skip()?;
            }
            b"time_out" => self.time_ns = time(s)?,
            _ => s.skip()?,
        }
        Ok(())
    }

    /// Reads a whole message.
    pub fn read(payload: &'a [u8]) -> Result<Envelope<'a>, JsonError> {
        let mut s = Scanner::new(payload);
        let mut envelope = Envelope::default();
        let mut members = s.object()?;
        while let Some(key) = members.next(&mut s)? {
            envelope.member(key, &mut s)?;
        }
        s.end()?;
        Ok(envelope)
    }

    /// True if the channel is this one.
    #[inline]
    pub fn is_channel(&self, name: &[u8]) -> bool {
        self.channel.is_some_and(|channel| channel.is(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_round_trip_and_garbage_is_none() {
        assert_eq!(parse_time(b"2026-01-01T00:00:00.231904Z"), Some(1_767_225_600_231_904_000));
        assert_eq!(parse_time(b"2025-12-31T23:59:58.120033871Z"), Some(1_767_225_598_120_033_871));
        assert_eq!(parse_time(b"2024-02-29T12:00:00Z"), Some(1_709_208_000_000_000_000));
        assert_eq!(&time_text(1_767_225_605_000_000_000), b"2026-01-01T00:00:05.000Z");
        for bad in [&b""[..], b"0", b"2026-01-01 00:00:00Z", b"2026-13-01T00:00:00Z", b"2026-01-01T00:00:00.Z", b"2026-01-01T00:00:0xZ"] {
            assert_eq!(parse_time(bad), None);
        }
    }

    #[test]
    fn a_minute_is_remembered_only_if_there_is_one() {
        let mut minute = Minute::default();
        let mut read = |text: &[u8; 27]| minute.parse_time_us(text);
        assert_eq!(read(b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0:00.000000Z"), None);
        assert_eq!(read(b"1970-01-01T00:00:01.000002Z"), Some(1_000_002_000));
        for _ in 0..2 {
            assert_eq!(read(b"2026-13-01T00:00:00.000000Z"), None);
            assert_eq!(read(b"2026-01-01T00:00:00.231904Z"), Some(1_767_225_600_231_904_000));
            assert_eq!(read(b"2026-01-01T00:00:61.231904Z"), None);
            assert_eq!(read(b"2026-01-01T00:01:01.231904Z"), Some(1_767_225_661_231_904_000));
        }
    }

    #[test]
    fn numbers_tell_how_they_were_printed() {
        let parse = |text: &str, scale| parse_number(text.as_bytes(), scale).map(|n| (n.value, n.decimals));
        assert_eq!(parse("61250.4", 1), Ok((612_504, 1)));
        assert_eq!(parse("0.00000000", 8), Ok((0, 8)));
        assert_eq!(parse("61250.40", 1), Ok((612_504, 2)));
        assert_eq!(parse("2", 8), Ok((200_000_000, 0)));
        assert_eq!(parse("1e-08", 8), Ok((1, 0)));
        assert_eq!(parse("61250.41", 1), Err(DecimalError::Precision));
        assert_eq!(parse("1000000001", 8), Err(DecimalError::Overflow));
        assert!(parse("", 8).is_err() && parse(".5", 8).is_err() && parse("5.", 8).is_err() && parse("1.2.3", 8).is_err());
    }

    proptest! {
        #[test]
        fn numbers_agree_with_the_reference_parser(text in "-?[0-9]{1,12}(\\.[0-9]{1,10})?(e-?[0-9])?", scale in 0u8..=18) {
            let want = fixed::parse_decimal(text.as_bytes(), scale).ok().filter(|v| v.unsigned_abs() <= VALUE_MAX as u64);
            prop_assert_eq!(parse_number(text.as_bytes(), scale).ok().map(|n| n.value), want);
        }

        #[test]
        fn times_with_six_decimals_read_the_same_either_way(
            text in "[12][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{6}Z",
            at in any::<prop::sample::Index>(), byte in prop_oneof![0x20u8..0x7f, any::<u8>()],
        ) {
            let mut bytes = text.into_bytes();
            prop_assert_eq!(parse_time(&bytes), parse_time_any(&bytes));
            let at = at.index(bytes.len());
            bytes[at] = byte;
            prop_assert_eq!(parse_time(&bytes), parse_time_any(&bytes));
        }

        #[test]
        fn times_of_a_minute_have_the_text_that_they_always_have(
            times in proptest::collection::vec((any::<u64>(), 0u32..64, 0u64..90_000_000_000), 1..4),
        ) {
            let mut minute = MinuteText::default();
            for (base, bits, after) in times {
                for ns in [base >> bits, (base >> bits).saturating_add(after)] {
                    prop_assert_eq!(minute.time_text(ns), time_text(ns));
                }
            }
        }

        #[test]
        fn time_text_is_read_back(ms in 0u64..10_000_000_000_000) {
            prop_assert_eq!(parse_time(&time_text(ms * 1_000_000)), Some(ms * 1_000_000));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Envelope::read(&bytes);
            let _ = parse_time(&bytes);
            let _ = parse_number(&bytes, 8);
        }
    }
}
