//! Text eight bytes at a time.
//!
//! Venues write their messages by machine: the same members in the same order, no white space, numbers padded to the
//! same places. [`Cursor`] reads such text by what is expected next. A whole key is one comparison, the digits of a
//! number are found and added up eight at once in one register, and nothing is decided byte by byte.
//!
//! **A cursor never says what is wrong.** `None` means "not in the usual form"; the caller then reads the message again
//! with [`crate::json::Scanner`], which takes every form and names every error. So what a cursor accepts, the scanner must
//! accept with the same result; that is what the tests of each reader check.
//!
//! A word holds text as it lies in memory, read as little-endian: the first character is the lowest byte.

pub mod levels;

use engine_core::fixed::POW10;

/// `0` in each byte.
pub(crate) const ZEROS: u64 = repeat(b'0');
/// The highest bit of each byte.
const HIGH: u64 = repeat(0x80);
/// Decimal places that [`Places`] can have.
pub const PLACES_MAX: u8 = 8;

const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Where the digits that a word begins with end: a bit of the first byte that is none. `values` is the word less [`ZEROS`].
#[inline(always)]
const fn others(values: u64) -> u64 {
    // Up to 9 the sum stays below 0x80. A carry comes from a byte that is no digit, and only touches those behind it.
    (values.wrapping_add(repeat(0x76)) | values) & HIGH
}

/// The digits that a word begins with: their values, byte by byte (what follows is garbage), and eight times their number.
#[inline(always)]
const fn leading_digits(word: u64) -> (u64, u32) {
    let values = word ^ ZEROS;
    (values, others(values).trailing_zeros() & 0x78)
}

/// The number that eight values 0 to 9 make, the first in the lowest byte.
#[inline(always)]
const fn number(values: u64) -> u64 {
    const LOW: u64 = 0x0000_00ff_0000_00ff;
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let first = (pairs & LOW).wrapping_mul(100 + (1_000_000 << 32));
    let second = ((pairs >> 16) & LOW).wrapping_mul(1 + (10_000 << 32));
    first.wrapping_add(second) >> 32
}

/// What [`number`] reverses: the eight digits of a number below 10^8, leading zeros included.
#[inline(always)]
pub(crate) const fn digits(number: u64) -> u64 {
    // Fours, pairs, digits: each half stays where it is, and what is left goes behind it. The products divide by 100
    // and by 10 exactly as far as the values reach.
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = (fours.wrapping_mul(5_243) >> 19) & 0x0000_007f_0000_007f;
    let pairs = hundreds.wrapping_add(fours.wrapping_sub(hundreds.wrapping_mul(100)) << 16);
    let tens = (pairs.wrapping_mul(103) >> 10) & 0x000f_000f_000f_000f;
    tens.wrapping_add(pairs.wrapping_sub(tens.wrapping_mul(10)) << 8)
}

/// The text of a number below 10^8 in a word, and how many digits it has. What follows them is zeros.
#[inline(always)]
pub(crate) const fn short_text(number: u64) -> (u64, u32) {
    let word = digits(number);
    // Nought has one digit.
    let zeros = (word | (1 << 56)).trailing_zeros() & 0x38;
    ((word | ZEROS).wrapping_shr(zeros), 8 - zeros / 8)
}

/// Digits of the largest integer.
pub const INTEGER_LEN_MAX: usize = 20;

/// Writes two integers one behind the other; returns the length of the text. Not for the usual case.
#[cold]
pub fn write_integers(first: u64, second: u64, out: &mut [u8; 2 * INTEGER_LEN_MAX]) -> usize {
    let mut len = 0;
    for number in [first, second] {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number).as_bytes();
        if let Some(room) = out.get_mut(len..len + digits.len()) {
            room.copy_from_slice(digits);
            len += digits.len();
        }
    }
    len
}

/// The first `bits / 8` values, fewer than eight, in the last places of eight; zeros before them.
#[inline(always)]
const fn flush_right(values: u64, bits: u32) -> u64 {
    (values << 8).wrapping_shl(56 - (bits & 0x38))
}

/// How many decimal places are kept, prepared for [`Cursor::decimal`].
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Eight times the places.
    bits: u32,
    /// Eight times the digits before the point with which the places kept make eight.
    room: u32,
    /// 10 to the power of the places.
    unit: u64,
    /// What makes the highest bit of a byte of eight decimals show that it cannot stand there: a place kept that is no
    /// digit, or one behind them that is no zero.
    limits: u64,
}

/// By their number.
static PLACES: [Places; PLACES_MAX as usize + 1] = {
    let mut table = [Places { bits: 0, room: 64, unit: 1, limits: repeat(0x7f) }; PLACES_MAX as usize + 1];
    let mut scale = 1;
    while scale < table.len() {
        let bits = 8 * scale as u32;
        let kept = u64::MAX >> (64 - bits);
        table[scale] = Places { bits, room: 64 - bits, unit: POW10[scale] as u64, limits: repeat(0x7f) - (kept & repeat(0x7f - 0x76)) };
        scale += 1;
    }
    table
};

impl Places {
    /// `None` if there are more than [`PLACES_MAX`].
    #[inline(always)]
    pub fn of(scale: u8) -> Option<&'static Places> {
        PLACES.get(usize::from(scale))
    }

    /// True if eight decimals fit. They are less [`ZEROS`].
    #[inline(always)]
    const fn fit(&self, decimals: u64) -> bool {
        (decimals.wrapping_add(self.limits) | decimals) & HIGH == 0
    }
}

/// A decimal as it was read: below 10^15.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plain {
    /// At the places asked for.
    pub value: i64,
    /// Decimals as printed, 1 to 8.
    pub decimals: u8,
    /// The integer part has a leading zero that JSON does not allow in a bare number.
    pub zero_padded: bool,
}

/// Up to eight bytes as a word, zeros behind them.
#[inline(always)]
const fn word_of<const N: usize>(text: &[u8; N]) -> u64 {
    const { assert!(N > 0 && N <= 8) };
    let (mut word, mut at) = (0, N);
    while at > 0 {
        at -= 1;
        word = word << 8 | text[at] as u64;
    }
    word
}

/// The word at a place of a window. That it lies in the window is known where this is called, so that nothing is left of
/// the check.
#[inline(always)]
fn word_at<const N: usize>(window: &[u8; N], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*window.get(at..)?.first_chunk()?))
}

/// What makes the highest bit of a byte less its shape show that it is not of it: up to 9 where the shape has a zero, nothing
/// elsewhere.
#[inline(always)]
const fn limits_of(shape: &[u8; 8]) -> u64 {
    let (mut limits, mut at) = ([0x7f; 8], 0);
    while at < 8 {
        if shape[at] == b'0' {
            limits[at] = 0x76;
        }
        at += 1;
    }
    u64::from_le_bytes(limits)
}

/// Eight characters of a known shape: digits where the shape has zeros, and between them what it has there.
#[derive(Clone, Copy, Debug)]
pub struct Shaped {
    /// The digits' values, byte by byte; 0 for what stands between them.
    values: u64,
}

impl Shaped {
    /// `None` if the text has another shape.
    #[inline(always)]
    pub fn read(text: &[u8; 8], shape: &[u8; 8]) -> Option<Shaped> {
        let values = u64::from_le_bytes(*text) ^ u64::from_le_bytes(*shape);
        let wrong = (values.wrapping_add(limits_of(shape)) | values) & HIGH;
        (wrong == 0).then_some(Shaped { values })
    }

    /// The number that the two digits from the place `at` on make.
    #[inline(always)]
    pub const fn pair(self, at: u32) -> u64 {
        self.values.wrapping_mul(10).wrapping_add(self.values >> 8).wrapping_shr(8 * at) & 0xff
    }

    /// The number that the six digits from the place `at` (0, 1 or 2) on make, if nothing but marks stands before and
    /// behind them.
    #[inline(always)]
    pub const fn six_from(self, at: u32) -> u64 {
        number(self.values.wrapping_shl(8 * 2u32.wrapping_sub(at)))
    }
}

/// What is left to read. See the module header.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// At the start of `text`.
    #[inline(always)]
    pub const fn new(text: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: text }
    }

    /// True if nothing is left.
    #[inline(always)]
    pub const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline(always)]
    fn word(&self) -> Option<u64> {
        self.rest.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// `count` is at most 8, and so many are there.
    #[inline(always)]
    fn advance(&mut self, count: usize) -> Option<()> {
        self.rest = self.rest.get(count..)?;
        Some(())
    }

    /// Takes so many bytes.
    #[inline(always)]
    pub fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(taken)
    }

    /// Takes exactly this text.
    #[inline(always)]
    pub fn expect<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        let (found, rest) = self.rest.split_first_chunk::<N>()?;
        if found != text {
            return None;
        }
        self.rest = rest;
        Some(())
    }

    /// Takes this text if it is there.
    #[inline(always)]
    pub fn accept<const N: usize>(&mut self, text: &[u8; N]) -> bool {
        self.expect(text).is_some()
    }

    /// Takes the text up to a quote, and the quote. At most 32 bytes. Escapes and control characters are not looked for:
    /// the caller must know the text.
    #[inline(always)]
    pub fn until_quote(&mut self) -> Option<&'a [u8]> {
        let start = self.rest;
        let mut len = 0;
        for _ in 0..4 {
            let unlike = self.word()? ^ repeat(b'"');
            let quotes = unlike.wrapping_sub(repeat(1)) & !unlike & HIGH;
            if quotes != 0 {
                let at = (quotes.trailing_zeros() / 8) as usize;
                self.advance(at + 1)?;
                return start.get(..len + at);
            }
            self.advance(8)?;
            len += 8;
        }
        None
    }

    /// Takes a bare integer of up to 19 digits, without leading zeros.
    #[inline(always)]
    pub fn integer(&mut self) -> Option<u64> {
        let (values, bits) = leading_digits(self.word()?);
        if bits < 64 {
            if bits == 0 || (values & 0xff == 0 && bits > 8) {
                return None;
            }
            self.advance((bits / 8) as usize)?;
            return Some(number(flush_right(values, bits)));
        }
        if values & 0xff == 0 {
            return None;
        }
        let mut value = number(values);
        self.advance(8)?;
        let (values, bits) = leading_digits(self.word()?);
        if bits < 64 {
            self.advance((bits / 8) as usize)?;
            return Some(value.wrapping_mul(POW10[(bits / 8) as usize] as u64).wrapping_add(number(flush_right(values, bits))));
        }
        value = value.wrapping_mul(100_000_000).wrapping_add(number(values));
        self.advance(8)?;
        let (values, bits) = leading_digits(self.word()?);
        // 19 digits always fit.
        if bits > 24 {
            return None;
        }
        self.advance((bits / 8) as usize)?;
        Some(value.wrapping_mul(POW10[(bits / 8) as usize] as u64).wrapping_add(number(flush_right(values, bits))))
    }

    /// Takes a decimal of one to seven digits, a point, and one to eight decimals, of which those beyond `places` are
    /// zeros. What follows is the caller's to check.
    #[inline(always)]
    pub fn decimal(&mut self, places: &Places) -> Option<Plain> {
        let word = self.word()?;
        let values = word ^ ZEROS;
        let point = others(values);
        if point == 0 {
            return None;
        }
        let bits = point.trailing_zeros() & 0x38;
        if bits == 0 || word.wrapping_shr(bits) as u8 != b'.' {
            return None;
        }
        let zero_padded = values & 0xff == 0 && bits > 8;
        let whole = flush_right(values, bits);
        self.advance((bits / 8) as usize + 1)?;
        let mut fraction = self.word()? ^ ZEROS;
        let mut decimals = 8;
        // Eight decimals are the usual thing. Where there are fewer, zeros follow them.
        if !places.fit(fraction) {
            let end = others(fraction).trailing_zeros() & 0x78;
            if end == 0 {
                return None;
            }
            fraction &= u64::MAX.wrapping_shr(64u32.wrapping_sub(end));
            if !places.fit(fraction) {
                return None;
            }
            decimals = (end / 8) as u8;
        }
        self.advance(usize::from(decimals))?;
        // With no places kept the fraction is zero, wherever it is shifted.
        let part = fraction.wrapping_shl(64u32.wrapping_sub(places.bits));
        let value = if bits <= places.room {
            number(whole.wrapping_shr(places.bits) | part)
        } else {
            number(whole).wrapping_mul(places.unit).wrapping_add(number(part))
        };
        Some(Plain { value: value as i64, decimals, zero_padded })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::fixed::parse_decimal;
    use proptest::prelude::*;

    #[test]
    fn integers_of_every_length_up_to_nineteen_digits() {
        for len in 1..=25 {
            let digits = &"9876543210987654321098765"[..len];
            let text = format!("{digits},        ");
            let mut cursor = Cursor::new(text.as_bytes());
            let want = (len <= 19).then(|| digits.parse().unwrap());
            assert_eq!(cursor.integer(), want, "{digits}");
            assert_eq!(cursor.accept(b","), want.is_some());
        }
        for (text, want) in [("0,       ", Some(0)), ("00,      ", None), ("012345678,       ", None), ("01,      ", None)] {
            assert_eq!(Cursor::new(text.as_bytes()).integer(), want, "{text}");
        }
        for text in ["", ",       ", "-1,       ", "1234567", "12345678", "1234567812345678"] {
            assert_eq!(Cursor::new(text.as_bytes()).integer(), None, "{text}: no number, or no room to look ahead");
        }
    }

    #[test]
    fn texts_end_at_the_first_quote() {
        for len in 0..40 {
            let text = format!("{}\"rest\"    ", "x".repeat(len));
            let mut cursor = Cursor::new(text.as_bytes());
            let want = (len < 32).then(|| &text.as_bytes()[..len]);
            assert_eq!(cursor.until_quote(), want);
            assert_eq!(cursor.accept(b"rest"), want.is_some());
        }
        assert_eq!(Cursor::new(b"\xa2#!\"       ").until_quote(), Some(&b"\xa2#!"[..]), "neighbours of a quote are none");
        assert_eq!(Cursor::new(b"abc\"").until_quote(), None, "no room to look ahead");
    }

    #[test]
    fn decimals_keep_their_places_or_are_none() {
        let read = |text: &str, scale| {
            let text = format!("{text}\"        ");
            let mut cursor = Cursor::new(text.as_bytes());
            let plain = cursor.decimal(Places::of(scale).unwrap())?;
            cursor.accept(b"\"").then_some((plain.value, plain.decimals))
        };
        assert_eq!(read("68250.10000000", 2), Some((6_825_010, 8)));
        assert_eq!(read("68250.1", 8), Some((6_825_010_000_000, 1)));
        assert_eq!(read("1234567.00000000", 0), Some((1_234_567, 8)));
        assert_eq!(read("9999999.99999999", 8), Some((999_999_999_999_999, 8)));
        assert_eq!(read("0.0", 3), Some((0, 1)));
        for text in ["68250.10100000", "0.001", "0.00000001"] {
            assert_eq!(read(text, 2), None, "{text}: finer than the places");
        }
        for text in ["", ".5", "5.", "5", "-5.0", "1e5", "12345678.0", "0.123456789", "5.x", "5,0", "5.0e1"] {
            assert_eq!(read(text, 8), None, "{text}");
        }
        assert!(Places::of(9).is_none());
    }

    #[test]
    fn integers_of_any_length_are_written() {
        let mut whole = [b'x'; 40];
        assert_eq!(write_integers(u64::MAX, u64::MAX, &mut whole), 40);
        assert_eq!(&whole, b"1844674407370955161518446744073709551615");
    }

    /// The two halves of eight digits do not touch each other: every value of each is every number.
    #[test]
    fn digits_are_those_of_the_number() {
        for half in 0..10_000 {
            for number in [half, half * 10_000, half * 10_000 + 9_999 - half, half * 10_000 + half] {
                assert_eq!((digits(number) | ZEROS).to_le_bytes().as_slice(), format!("{number:08}").as_bytes());
            }
        }
    }

    proptest! {
        #[test]
        fn integers_have_the_text_that_they_always_have(
            first in any::<u64>(), second in any::<u64>(), digits in (1u32..=18, 1u32..=18),
        ) {
            let (first, second) = (first % 10u64.pow(digits.0), second % 10u64.pow(digits.1));
            let want = format!("{first}{second}");
            let mut whole = [b'x'; 2 * INTEGER_LEN_MAX];
            prop_assert_eq!(write_integers(first, second, &mut whole), want.len());
            prop_assert_eq!(&whole[..want.len()], want.as_bytes());
        }

        #[test]
        fn numbers_agree_with_the_reference_parser(text in "[0-9]{1,8}\\.[0-9]{1,8}", tail in "[\",}\\]][ -~]{8}", scale in 0u8..=8) {
            let all = format!("{text}{tail}");
            let mut cursor = Cursor::new(all.as_bytes());
            let point = text.find('.').unwrap();
            let decimals = text.len() - point - 1;
            let want = parse_decimal(text.as_bytes(), scale).ok().filter(|_| point <= 7);
            let read = cursor.decimal(Places::of(scale).unwrap());
            prop_assert_eq!(read.map(|plain| plain.value), want);
            if let Some(plain) = read {
                prop_assert_eq!(usize::from(plain.decimals), decimals);
                prop_assert_eq!(plain.zero_padded, point > 1 && text.starts_with('0'));
                prop_assert_eq!(cursor.rest, tail.as_bytes());
            }
        }

        #[test]
        fn every_byte_is_told_from_a_digit(bytes in any::<[u8; 8]>()) {
            let digits = bytes.iter().take_while(|c| c.is_ascii_digit()).count();
            prop_assert_eq!(leading_digits(u64::from_le_bytes(bytes)).1 as usize, digits * 8);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), scale in 0u8..=8) {
            let mut cursor = Cursor::new(&bytes);
            let _ = (cursor.integer(), cursor.decimal(Places::of(scale).unwrap()), cursor.until_quote());
        }
    }
}
