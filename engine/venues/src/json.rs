//! A one-pass scanner over borrowed JSON text: what every hot JSON codec reads with.
//!
//! The one idea: a codec knows which fields it wants, so nothing is built. The codec walks the text
//! once, asks for each value in the type it needs (decimals go straight to fixed-point), and skips the
//! rest. No allocation, no recursion, no panic: any bytes give either values or a [`JsonError`] that
//! says what was wrong and where.
//!
//! ```
//! use venues::json::Scanner;
//! let mut s = Scanner::new(br#"{"e":"trade","p":"68250.10000000","x":[1,{"y":2}],"t":42}"#);
//! let (mut price, mut id) = (0, 0);
//! let mut members = s.object()?;
//! while let Some(key) = members.next(&mut s)? {
//!     match key {
//!         b"p" => price = s.decimal(2)?,
//!         b"t" => id = s.u64()?,
//!         _ => s.skip()?,
//!     }
//! }
//! s.end()?;
//! assert_eq!((price, id), (6_825_010, 42));
//! # Ok::<(), venues::json::JsonError>(())
//! ```
//!
//! Field order, white space, unknown fields and escapes are all tolerated. Not checked is whether a
//! string is UTF-8: the WebSocket layer has done that for text messages, and codecs compare bytes.

use engine_core::event::VALUE_MAX;
use engine_core::fixed::{self, DecimalError, Money, POW10};

/// Nesting that [`Scanner::skip`] follows before it calls the text hostile.
pub const DEPTH_MAX: u32 = 64;

/// What is wrong with the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum What {
    /// The text ended in the middle of a value.
    #[error("text ends early")]
    End,
    /// A byte that cannot stand there.
    #[error("unexpected byte")]
    Unexpected,
    /// A value of another type than the schema says.
    #[error("value of the wrong type")]
    Type,
    /// An escape sequence that JSON does not have.
    #[error("bad escape")]
    Escape,
    /// A number that JSON does not allow.
    #[error("bad number")]
    Number,
    /// An integer beyond the type wanted.
    #[error("integer out of range")]
    Range,
    /// A decimal that does not fit.
    #[error("{0}")]
    Decimal(DecimalError),
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested too deep")]
    Depth,
    /// Something after the value.
    #[error("bytes after the value")]
    Trailing,
    /// A field that the schema requires is not there.
    #[error("field missing: {0}")]
    Missing(&'static str),
    /// A field whose value makes no sense.
    #[error("bad value of field: {0}")]
    Field(&'static str),
    /// More rows than the codec holds.
    #[error("too many rows")]
    Rows,
}

/// Why JSON text cannot be read as the schema says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    /// Offset in the text.
    pub at: usize,
    /// What is wrong there.
    pub what: What,
}

/// A string as it stands between its quotes; escapes are resolved only if asked for.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The bytes between the quotes, escapes unresolved.
    #[inline]
    pub const fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// True if an escape is in it.
    #[inline]
    pub const fn is_escaped(self) -> bool {
        self.escaped
    }

    /// The string's bytes with escapes resolved. Borrows the input if there are none (the common case),
    /// else `scratch`; `None` if it does not fit there or an escape is not valid text (lone surrogate).
    #[inline]
    pub fn resolve<'s>(self, scratch: &'s mut [u8]) -> Option<&'s [u8]>
    where
        'a: 's,
    {
        if self.escaped { unescape(self.raw, scratch).map(|len| &scratch[..len]) } else { Some(self.raw) }
    }

    /// True if the string is exactly `other`.
    #[inline]
    pub fn is(self, other: &[u8]) -> bool {
        if !self.escaped {
            return self.raw == other;
        }
        let mut scratch = [0; 64];
        self.resolve(&mut scratch) == Some(other)
    }
}

/// Resolves escapes of `raw` into `out`; the length written.
#[cold]
fn unescape(raw: &[u8], out: &mut [u8]) -> Option<usize> {
    let (mut at, mut len) = (0, 0);
    while let Some(&byte) = raw.get(at) {
        at += 1;
        let mut utf8 = [0; 4];
        let piece: &[u8] = if byte != b'\\' {
            utf8[0] = byte;
            &utf8[..1]
        } else {
            let escape = *raw.get(at)?;
            at += 1;
            let simple = match escape {
                b'"' | b'\\' | b'/' => escape,
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'u' => 0,
                _ => return None,
            };
            if escape == b'u' {
                let high = hex4(raw.get(at..at + 4)?)?;
                at += 4;
                let code = if (0xd800..0xdc00).contains(&high) {
                    if raw.get(at..at + 2)? != b"\\u" {
                        return None;
                    }
                    let low = hex4(raw.get(at + 2..at + 6)?)?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return None;
                    }
                    at += 6;
                    0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                } else {
                    high
                };
                char::from_u32(code)?.encode_utf8(&mut utf8).as_bytes()
            } else {
                utf8[0] = simple;
                &utf8[..1]
            }
        };
        out.get_mut(len..len + piece.len())?.copy_from_slice(piece);
        len += piece.len();
    }
    Some(len)
}

fn hex4(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0u32, |value, &c| Some((value << 4) | char::from(c).to_digit(16)?))
}

/// Walks the members of an object that [`Scanner::object`] opened.
pub struct Members {
    first: bool,
    scratch: [u8; 32],
}

impl Members {
    /// Goes on in an object some of whose members have been taken by other means.
    #[inline]
    pub const fn resume() -> Members {
        Members { first: false, scratch: [0; 32] }
    }

    /// The next member's key, with the scanner in front of its value; `None` after the last, with the
    /// object closed. The caller must take or skip each value before it asks again. A key that holds
    /// escapes and is longer than 32 bytes comes out empty: it matches nothing that a schema knows.
    #[inline]
    pub fn next<'m, 'a: 'm>(&'m mut self, s: &mut Scanner<'a>) -> Result<Option<&'m [u8]>, JsonError> {
        match s.peek() {
            Some(b'}') => {
                s.at += 1;
                return Ok(None);
            }
            Some(b',') if !self.first => {
                s.at += 1;
            }
            Some(_) if self.first => {}
            other => return Err(s.unexpected(other)),
        }
        self.first = false;
        let key = s.string()?;
        s.expect(b':')?;
        Ok(Some(if key.escaped { key.resolve(&mut self.scratch).unwrap_or_default() } else { key.raw }))
    }
}

/// Walks the elements of an array that [`Scanner::array`] opened.
pub struct Elements {
    first: bool,
}

impl Elements {
    /// True with the scanner in front of the next element; false after the last, with the array closed.
    #[inline]
    pub fn next(&mut self, s: &mut Scanner<'_>) -> Result<bool, JsonError> {
        match s.peek() {
            Some(b']') => {
                s.at += 1;
                Ok(false)
            }
            Some(b',') if !self.first => {
                s.at += 1;
                Ok(true)
            }
            Some(_) if self.first => {
                self.first = false;
                Ok(true)
            }
            other => Err(s.unexpected(other)),
        }
    }
}

/// A position in JSON text. Cheap to clone: a codec that meets a value before it knows how to read it
/// keeps a clone, skips, and comes back.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// At the start of `bytes`.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Scanner<'a> {
        Scanner { bytes, at: 0 }
    }

    /// Offset in the text.
    #[inline]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// An error at the present offset.
    #[cold]
    pub const fn error(&self, what: What) -> JsonError {
        JsonError { at: self.at, what }
    }

    #[cold]
    fn unexpected(&self, found: Option<u8>) -> JsonError {
        self.error(if found.is_none() { What::End } else { What::Unexpected })
    }

    /// The next byte that is not white space, not taken.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Takes `byte` (after white space) or fails.
    #[inline]
    pub fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        let next = self.peek();
        if next == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.unexpected(next))
        }
    }

    /// Opens an object.
    #[inline]
    pub fn object(&mut self) -> Result<Members, JsonError> {
        self.open(b'{')?;
        Ok(Members { first: true, scratch: [0; 32] })
    }

    /// Opens an array.
    #[inline]
    pub fn array(&mut self) -> Result<Elements, JsonError> {
        self.open(b'[')?;
        Ok(Elements { first: true })
    }

    #[inline]
    fn open(&mut self, byte: u8) -> Result<(), JsonError> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.error(What::Type)),
            None => Err(self.error(What::End)),
        }
    }

    /// Nothing but white space may follow.
    #[inline]
    pub fn end(&mut self) -> Result<(), JsonError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.error(What::Trailing)) }
    }

    /// Takes a string.
    #[inline]
    pub fn string(&mut self) -> Result<Text<'a>, JsonError> {
        self.open(b'"')?;
        let start = self.at;
        let mut at = start;
        while let Some(&byte) = self.bytes.get(at) {
            match byte {
                b'"' => {
                    self.at = at + 1;
                    return Ok(Text { raw: &self.bytes[start..at], escaped: false });
                }
                b'\\' => return self.string_escaped(start, at),
                0..=0x1f => {
                    self.at = at;
                    return Err(self.error(What::Unexpected));
                }
                _ => at += 1,
            }
        }
        self.at = at;
        Err(self.error(What::End))
    }

    /// The rest of a string whose first backslash is at `at`.
    #[cold]
    fn string_escaped(&mut self, start: usize, mut at: usize) -> Result<Text<'a>, JsonError> {
        loop {
            let byte = self.bytes.get(at).copied();
            let what = match byte {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(Text { raw: &self.bytes[start..at], escaped: true });
                }
                Some(b'\\') => match self.bytes.get(at + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                        at += 2;
                        continue;
                    }
                    Some(b'u') if self.bytes.get(at + 2..at + 6).is_some_and(|h| hex4(h).is_some()) => {
                        at += 6;
                        continue;
                    }
                    _ => What::Escape,
                },
                Some(0..=0x1f) => What::Unexpected,
                Some(_) => {
                    at += 1;
                    continue;
                }
                None => What::End,
            };
            self.at = at;
            return Err(self.error(what));
        }
    }

    /// Takes `null` if it stands here.
    #[inline]
    pub fn null(&mut self) -> Result<bool, JsonError> {
        if self.peek() == Some(b'n') { self.literal(b"null").map(|()| true) } else { Ok(false) }
    }

    /// Takes `true` or `false`.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, JsonError> {
        match self.peek() {
            Some(b't') => self.literal(b"true").map(|()| true),
            Some(b'f') => self.literal(b"false").map(|()| false),
            Some(_) => Err(self.error(What::Type)),
            None => Err(self.error(What::End)),
        }
    }

    #[inline]
    fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.error(What::Unexpected))
        }
    }

    /// Takes an unsigned integer, bare or in quotes.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, JsonError> {
        let quoted = self.peek() == Some(b'"');
        self.at += usize::from(quoted);
        let start = self.at;
        let mut value = 0u64;
        while let Some(digit) = self.digit() {
            value = match value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit))) {
                Some(value) => value,
                None => return Err(self.error(What::Range)),
            };
            self.at += 1;
        }
        self.integer_ends(start, quoted)?;
        Ok(value)
    }

    /// Takes a signed integer, bare or in quotes.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, JsonError> {
        let quoted = self.peek() == Some(b'"');
        self.at += usize::from(quoted);
        let negative = self.bytes.get(self.at) == Some(&b'-');
        self.at += usize::from(negative);
        let start = self.at;
        let mut value = 0i64;
        while let Some(digit) = self.digit() {
            // Accumulated downwards, so that i64::MIN is reached without overflow.
            value = match value.checked_mul(10).and_then(|v| v.checked_sub(i64::from(digit))) {
                Some(value) => value,
                None => return Err(self.error(What::Range)),
            };
            self.at += 1;
        }
        self.integer_ends(start, quoted)?;
        if negative {
            return Ok(value);
        }
        value.checked_neg().ok_or_else(|| self.error(What::Range))
    }

    #[inline]
    fn digit(&self) -> Option<u8> {
        self.bytes.get(self.at).map(|c| c.wrapping_sub(b'0')).filter(|&d| d <= 9)
    }

    /// Checks what follows the digits that began at `start`.
    #[inline]
    fn integer_ends(&mut self, start: usize, quoted: bool) -> Result<(), JsonError> {
        let digits = self.at - start;
        if digits == 0 {
            return Err(self.error(if self.at >= self.bytes.len() { What::End } else { What::Type }));
        }
        if digits > 1 && self.bytes[start] == b'0' {
            return Err(JsonError { at: start, what: What::Number });
        }
        match self.bytes.get(self.at) {
            Some(b'"') if quoted => {
                self.at += 1;
                Ok(())
            }
            Some(b'.' | b'e' | b'E') => Err(self.error(What::Type)),
            None if quoted => Err(self.error(What::End)),
            Some(_) if quoted => Err(self.error(What::Type)),
            _ => Ok(()),
        }
    }

    /// Takes a bare number and gives its text (checked against JSON's grammar).
    #[inline]
    pub fn number(&mut self) -> Result<&'a [u8], JsonError> {
        self.peek();
        let start = self.at;
        self.at += usize::from(self.bytes.get(self.at) == Some(&b'-'));
        let integer = self.at;
        self.digits()?;
        if self.bytes[integer] == b'0' && self.at - integer > 1 {
            return Err(JsonError { at: integer, what: What::Number });
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(&self.bytes[start..self.at])
    }

    /// Takes one digit or more.
    #[inline]
    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.digit().is_some() {
            self.at += 1;
        }
        if self.at > start {
            return Ok(());
        }
        Err(self.error(if self.at >= self.bytes.len() { What::End } else { What::Number }))
    }

    /// The text of a decimal, quoted or bare.
    #[inline]
    pub fn decimal_text(&mut self) -> Result<&'a [u8], JsonError> {
        match self.peek() {
            Some(b'"') => {
                let start = self.at;
                let text = self.string()?;
                if text.escaped { Err(JsonError { at: start, what: What::Type }) } else { Ok(text.raw) }
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.error(What::Type)),
            None => Err(self.error(What::End)),
        }
    }

    /// Takes a decimal, quoted or bare, as an integer at `scale` decimal places. Exact, and within
    /// [`VALUE_MAX`], or an error.
    ///
    /// # Panics
    /// If `scale` is above 18; scales come from the instrument table, never from the wire.
    #[inline]
    pub fn decimal(&mut self, scale: u8) -> Result<i64, JsonError> {
        // The shape of 99.9% of the traffic: quoted plain digits, at most 18 of them that count. The
        // fraction's digits beyond the scale must be zeros (venues pad), so no division is needed.
        if self.peek() == Some(b'"') {
            let mut at = self.at + 1;
            let start = at;
            let mut value = 0u64;
            while let Some(digit) = self.bytes.get(at).map(|c| c.wrapping_sub(b'0')).filter(|&d| d <= 9) {
                value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
                at += 1;
            }
            let mut counted = at - start;
            let mut missing = scale;
            let mut plain = counted > 0;
            if self.bytes.get(at) == Some(&b'.') {
                at += 1;
                let fraction = at;
                while let Some(digit) = self.bytes.get(at).map(|c| c.wrapping_sub(b'0')).filter(|&d| d <= 9) {
                    if missing > 0 {
                        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
                        missing -= 1;
                        counted += 1;
                    } else {
                        plain &= digit == 0;
                    }
                    at += 1;
                }
                plain &= at > fraction;
            }
            // 18 counted digits cannot wrap; scaling up by what is missing is checked by the bound.
            if plain && counted + usize::from(missing) <= 18 && self.bytes.get(at) == Some(&b'"') {
                let value = value as i64 * POW10[usize::from(missing)];
                if value <= VALUE_MAX {
                    self.at = at + 1;
                    return Ok(value);
                }
            }
        }
        self.decimal_slow(scale)
    }

    /// Signs, exponents, bare numbers, leading zeros, and everything that is an error.
    #[cold]
    fn decimal_slow(&mut self, scale: u8) -> Result<i64, JsonError> {
        self.peek();
        let start = self.at;
        let fail = |error| JsonError { at: start, what: What::Decimal(error) };
        let value = fixed::parse_decimal(self.decimal_text()?, scale).map_err(fail)?;
        if value.unsigned_abs() > VALUE_MAX as u64 {
            return Err(fail(DecimalError::Overflow));
        }
        Ok(value)
    }

    /// Takes a decimal, quoted or bare, as an amount.
    #[inline]
    pub fn money(&mut self) -> Result<Money, JsonError> {
        self.peek();
        let start = self.at;
        Money::parse(self.decimal_text()?).map_err(|error| JsonError { at: start, what: What::Decimal(error) })
    }

    /// Skips a value of any kind, checking its grammar.
    pub fn skip(&mut self) -> Result<(), JsonError> {
        // One bit per open container, the innermost lowest: 1 = object.
        let mut kinds = 0u64;
        let mut depth = 0u32;
        loop {
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    self.at += 1;
                    let object = open == b'{';
                    let next = self.peek();
                    if next == Some(if object { b'}' } else { b']' }) {
                        self.at += 1;
                    } else {
                        if depth == DEPTH_MAX {
                            return Err(self.error(What::Depth));
                        }
                        kinds = (kinds << 1) | u64::from(object);
                        depth += 1;
                        if object {
                            self.string()?;
                            self.expect(b':')?;
                        }
                        continue;
                    }
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                }
                other => return Err(self.unexpected(other)),
            }
            // A value ended: close what ends with it, or go on to the next element.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let object = kinds & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if object {
                            self.string()?;
                            self.expect(b':')?;
                        }
                        break;
                    }
                    Some(b'}') if object => self.at += 1,
                    Some(b']') if !object => self.at += 1,
                    other => return Err(self.unexpected(other)),
                }
                kinds >>= 1;
                depth -= 1;
            }
        }
    }

    /// Skips a value and gives its text.
    #[inline]
    pub fn raw(&mut self) -> Result<&'a [u8], JsonError> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(&self.bytes[start..self.at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole<T>(text: &str, read: impl FnOnce(&mut Scanner<'_>) -> Result<T, JsonError>) -> Result<T, What> {
        let mut s = Scanner::new(text.as_bytes());
        let value = read(&mut s).map_err(|e| e.what)?;
        s.end().map_err(|e| e.what)?;
        Ok(value)
    }

    #[test]
    fn decimals_are_exact_or_an_error() {
        let decimal = |text: &str, scale| whole(text, |s| s.decimal(scale));
        assert_eq!(decimal(r#""68250.10000000""#, 2), Ok(6_825_010));
        assert_eq!(decimal(r#" "68250.1" "#, 8), Ok(6_825_010_000_000));
        assert_eq!(decimal(r#""0.00000000""#, 0), Ok(0));
        assert_eq!(decimal("5e-05", 8), Ok(5_000));
        assert_eq!(decimal("-0.5", 1), Ok(-5));
        assert_eq!(decimal(r#""000000000000000000000001.5""#, 1), Ok(15));
        assert_eq!(decimal(r#""100000000000000000""#, 0), Ok(VALUE_MAX));
        assert_eq!(decimal(r#""100000000000000001""#, 0), Err(What::Decimal(DecimalError::Overflow)));
        assert_eq!(decimal(r#""10000000000""#, 8), Err(What::Decimal(DecimalError::Overflow)));
        assert_eq!(decimal(r#""0.001""#, 2), Err(What::Decimal(DecimalError::Precision)));
        assert_eq!(decimal(r#""""#, 2), Err(What::Decimal(DecimalError::Empty)));
        assert_eq!(decimal(r#""1.""#, 2), Err(What::Decimal(DecimalError::Garbage)));
        assert_eq!(decimal(r#"".5""#, 2), Err(What::Decimal(DecimalError::Garbage)));
        assert_eq!(decimal(r#""NaN""#, 2), Err(What::Decimal(DecimalError::Garbage)));
        assert_eq!(decimal(r#""1"#, 2), Err(What::End));
        assert_eq!(decimal("null", 2), Err(What::Type));
        assert_eq!(decimal("[1]", 2), Err(What::Type));
    }

    #[test]
    fn integers_hold_their_whole_range_and_no_more() {
        assert_eq!(whole("18446744073709551615", |s| s.u64()), Ok(u64::MAX));
        assert_eq!(whole("18446744073709551616", |s| s.u64()), Err(What::Range));
        assert_eq!(whole("-9223372036854775808", |s| s.i64()), Ok(i64::MIN));
        assert_eq!(whole("9223372036854775807", |s| s.i64()), Ok(i64::MAX));
        assert_eq!(whole("9223372036854775808", |s| s.i64()), Err(What::Range));
        assert_eq!(whole("\"42\"", |s| s.u64()), Ok(42));
        assert_eq!(whole("\"42", |s| s.u64()), Err(What::End));
        assert_eq!(whole("-1", |s| s.u64()), Err(What::Type));
        assert_eq!(whole("1.5", |s| s.u64()), Err(What::Type));
        assert_eq!(whole("01", |s| s.u64()), Err(What::Number));
        assert_eq!(whole("", |s| s.u64()), Err(What::End));
    }

    #[test]
    fn escapes_are_resolved_only_where_they_stand() {
        let mut s = Scanner::new(br#"{"\u0065":"a\"b\\\ud83d\ude00\n","z":1}"#);
        let mut members = s.object().unwrap();
        assert_eq!(members.next(&mut s).unwrap(), Some(&b"e"[..]));
        let text = s.string().unwrap();
        let mut scratch = [0; 16];
        assert_eq!(text.resolve(&mut scratch), Some("a\"b\\\u{1f600}\n".as_bytes()));
        assert!(text.is("a\"b\\\u{1f600}\n".as_bytes()) && !text.is(b"a"));
        assert_eq!(text.resolve(&mut [0; 3]), None, "does not fit");
        assert_eq!(members.next(&mut s).unwrap(), Some(&b"z"[..]));
        s.skip().unwrap();
        assert_eq!(members.next(&mut s).unwrap(), None);
        for bad in [r#""\x""#, r#""\u12g4""#, r#""\"#] {
            assert!(whole(bad, |s| s.string().map(|_| ())).is_err(), "{bad}");
        }
        assert_eq!(Scanner::new(br#""\ud800""#).string().unwrap().resolve(&mut scratch), None, "lone surrogate");
    }

    #[test]
    fn nesting_beyond_the_bound_is_refused_not_followed() {
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(whole(&deep(64), |s| s.skip()), Ok(()));
        assert_eq!(whole(&deep(65), |s| s.skip()), Err(What::Depth));
        assert_eq!(whole(&deep(100_000), |s| s.skip()), Err(What::Depth));
    }

    #[test]
    fn errors_say_where() {
        let error = Scanner::new(br#"{"a":tru}"#).skip().unwrap_err();
        assert_eq!(error, JsonError { at: 5, what: What::Unexpected });
        assert_eq!(error.to_string(), "unexpected byte at byte 5");
    }

    /// Random JSON values as text, white space included.
    fn json_text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|b| b.to_string()),
            any::<i64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| serde_json::to_string(&f).unwrap()),
            any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(|v| format!("[ {} ]", v.join(" ,\n"))),
                proptest::collection::vec((any::<String>(), inner), 0..6).prop_map(|v| {
                    let members: Vec<_> = v.iter().map(|(k, v)| format!("{}\t: {v}", serde_json::to_string(k).unwrap())).collect();
                    format!("{{{} }}", members.join(", "))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn skip_accepts_what_an_independent_parser_accepts(text in json_text()) {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            prop_assert_eq!(whole(&text, |s| s.skip()), Ok(()));
        }

        #[test]
        fn mutated_text_is_accepted_only_if_an_independent_parser_accepts_it(
            text in json_text(), at in any::<prop::sample::Index>(), byte in 0x20u8..0x7f,
        ) {
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let mut s = Scanner::new(&bytes);
            let ours = s.skip().is_ok() && s.end().is_ok();
            let theirs = serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok();
            prop_assert!(!ours || theirs || core::str::from_utf8(&bytes).is_err(), "{}", String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn strings_resolve_to_what_an_independent_parser_says(text in any::<String>()) {
            let quoted = serde_json::to_string(&text).unwrap();
            let mut s = Scanner::new(quoted.as_bytes());
            let mut scratch = vec![0; quoted.len()];
            prop_assert_eq!(s.string().unwrap().resolve(&mut scratch), Some(text.as_bytes()));
        }

        #[test]
        fn decimals_agree_with_the_reference_parser(text in "-?[0-9]{1,12}(\\.[0-9]{1,10})?(e-?[0-9])?", scale in 0u8..=18) {
            let quoted = format!("\"{text}\"");
            let want = fixed::parse_decimal(text.as_bytes(), scale).ok().filter(|v| v.unsigned_abs() <= VALUE_MAX as u64);
            prop_assert_eq!(whole(&quoted, |s| s.decimal(scale)).ok(), want);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Scanner::new(&bytes).skip();
            let _ = Scanner::new(&bytes).decimal(8);
            let _ = Scanner::new(&bytes).u64();
            let _ = Scanner::new(&bytes).i64();
            let _ = Scanner::new(&bytes).number();
            let _ = Scanner::new(&bytes).money();
            let _ = Scanner::new(&bytes).raw();
        }
    }
}
