//! Writes a request piece by piece into the outbox's room: prepared text is copied, numbers are patched in. No format
//! strings, no allocation; what does not fit makes the whole message fail.
//!
//! Numbers are made in registers, eight digits at once, and stored in whole words: what a word holds too much is garbage that
//! the next piece overwrites, or that stays behind the message's end.

use crate::words::{ZEROS, digits, short_text};
use engine_core::fixed::{POW10, write_decimal};

/// Bytes that hold any decimal of ours.
const DECIMAL_MAX: usize = 24;
/// Numbers below it have eight digits at most.
const SHORT_END: u64 = 100_000_000;

/// How a number at a scale of up to eight is parted at its point.
#[derive(Clone, Copy)]
struct Scale {
    /// Eight times the digits before the point, of eight.
    whole_bits: u32,
    /// The last digit before the point, or the first one behind it: it is written even if it is nought.
    least: u64,
    /// The nought before the point if all eight digits are behind it, and how far they make room for it.
    nought: u64,
    nought_bits: u32,
    /// 10 to the power of the scale.
    unit: u64,
    /// 2^(64 + shift) by the unit, rounded up.
    reciprocal: u64,
    shift: u32,
    /// What makes the fraction a number of eight digits.
    up: u64,
}

/// By the number of decimals.
static SCALES: [Scale; 9] = {
    let one = Scale { whole_bits: 64, least: 1 << 56, nought: 0, nought_bits: 0, unit: 1, reciprocal: 0, shift: 0, up: POW10[8] as u64 };
    let mut table = [one; 9];
    let mut scale = 1;
    while scale < table.len() {
        let unit = POW10[scale] as u64;
        // One less than the bits of the unit, so that the reciprocal has 64.
        let shift = unit.ilog2();
        let reciprocal = ((1u128 << (64 + shift)) / unit as u128 + 1) as u64;
        let whole_bits = 64 - 8 * scale as u32;
        let least = if whole_bits == 0 { 1 } else { 1 << (whole_bits - 8) };
        table[scale] = Scale { whole_bits, least, unit, reciprocal, shift, up: POW10[8 - scale] as u64, ..one };
        scale += 1;
    }
    (table[8].nought, table[8].nought_bits) = (b'0' as u64, 8);
    table
};

/// A decimal in two words: what is before the point, then what is behind it. The rest of either is garbage.
struct Parts {
    head: u64,
    /// Digits before the point, one to eight.
    head_len: u32,
    tail: u64,
}

impl Scale {
    /// A number below 10^8: its eight digits are made at once, then parted.
    #[inline(always)]
    const fn short(&self, value: u64) -> Parts {
        let word = digits(value);
        let zeros = (word | self.least).trailing_zeros() & 0x38;
        let text = word | ZEROS;
        let head = text.wrapping_shr(zeros).wrapping_shl(self.nought_bits) | self.nought;
        Parts { head, head_len: (self.whole_bits + self.nought_bits - zeros) / 8, tail: text.wrapping_shr(self.whole_bits) }
    }

    /// A number below 2^63; `None` if more than eight digits are before its point.
    #[inline(always)]
    fn long(&self, value: u64) -> Option<Parts> {
        let (whole, fraction) = self.part(value);
        if whole >= SHORT_END {
            return None;
        }
        let (head, head_len) = short_text(whole);
        Some(Parts { head, head_len, tail: digits(fraction.wrapping_mul(self.up)) | ZEROS })
    }

    /// The whole part and the fraction of a number below 2^63. (The reciprocal is too large by less than 2^-63 of itself.)
    #[inline(always)]
    const fn part(&self, value: u64) -> (u64, u64) {
        let whole = if self.unit == 1 { value } else { ((value as u128 * self.reciprocal as u128) >> 64) as u64 >> self.shift };
        (whole, value.wrapping_sub(whole.wrapping_mul(self.unit)))
    }
}

/// Writes a number below 10^13 with leading zeros.
#[inline(always)]
pub fn write_thirteen_digits(number: u64, room: &mut [u8; 13]) {
    store(room, 0, (digits(number / SHORT_END) | ZEROS) >> 24);
    store(room, 5, digits(number % SHORT_END) | ZEROS);
}

/// Writes a word at a place; not if there is no room for it.
#[inline(always)]
fn store(room: &mut [u8], at: usize, word: u64) {
    if let Some(place) = room.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = word.to_le_bytes();
    }
}

/// A message being written.
pub struct Writer<'a> {
    /// What is left of the room.
    rest: &'a mut [u8],
    /// The whole room's length.
    len: usize,
    fits: bool,
}

impl<'a> Writer<'a> {
    /// Into this room.
    #[inline(always)]
    pub const fn new(space: &'a mut [u8]) -> Writer<'a> {
        Writer { len: space.len(), rest: space, fits: true }
    }

    /// Text as it is, of a length that only shows when it is written.
    #[inline(always)]
    pub fn put(&mut self, text: &[u8]) -> &mut Self {
        match core::mem::take(&mut self.rest).split_at_mut_checked(text.len()) {
            Some((room, rest)) => {
                room.copy_from_slice(text);
                self.rest = rest;
            }
            None => self.fits = false,
        }
        self
    }

    /// Text as it is, of a length that is known beforehand.
    #[inline(always)]
    pub fn fixed<const N: usize>(&mut self, text: &[u8; N]) -> &mut Self {
        match core::mem::take(&mut self.rest).split_first_chunk_mut::<N>() {
            Some((room, rest)) => {
                *room = *text;
                self.rest = rest;
            }
            None => self.fits = false,
        }
        self
    }

    /// An integer.
    #[inline(always)]
    pub fn integer(&mut self, value: u64) -> &mut Self {
        let count = match self.rest.first_chunk_mut::<8>() {
            Some(room) if value < SHORT_END => {
                let (word, len) = short_text(value);
                *room = word.to_le_bytes();
                Some(len as usize)
            }
            _ => long_integer(self.rest, value),
        };
        self.pass(count)
    }

    /// A decimal with all its places.
    #[inline(always)]
    pub fn decimal(&mut self, value: i64, scale: u8) -> &mut Self {
        let count = match (self.rest.first_chunk_mut(), SCALES.get(usize::from(scale))) {
            (Some(room), Some(parts)) if (value as u64) < SHORT_END => Some(write_parts(&parts.short(value as u64), scale, room)),
            _ => long_decimal(self.rest, value, scale),
        };
        self.pass(count)
    }

    /// So many bytes are written; `None` if they did not fit.
    #[inline(always)]
    fn pass(&mut self, count: Option<usize>) -> &mut Self {
        match count.and_then(|count| core::mem::take(&mut self.rest).get_mut(count..)) {
            Some(rest) => self.rest = rest,
            None => (self.rest, self.fits) = (&mut [], false),
        }
        self
    }

    /// The length written; `None` if something did not fit.
    #[inline(always)]
    pub const fn finish(&self) -> Option<usize> {
        if self.fits { Some(self.len - self.rest.len()) } else { None }
    }
}

/// Writes a decimal and returns its length.
#[inline(always)]
fn write_parts(parts: &Parts, scale: u8, room: &mut [u8; DECIMAL_MAX]) -> usize {
    let len = parts.head_len as usize & 0xf;
    store(room, 0, parts.head);
    room[len] = b'.';
    store(room, len + 1, parts.tail);
    if scale == 0 { len } else { len + 1 + usize::from(scale) }
}

/// Writes a decimal of any length and returns that; `None` if it does not fit.
#[inline(never)]
fn long_decimal(room: &mut [u8], value: i64, scale: u8) -> Option<usize> {
    let parts = SCALES.get(usize::from(scale)).filter(|_| value >= 0).and_then(|parts| parts.long(value as u64));
    if let (Some(room), Some(parts)) = (room.first_chunk_mut(), parts) {
        return Some(write_parts(&parts, scale, room));
    }
    let mut text = [0; DECIMAL_MAX];
    let len = write_decimal(value, scale, &mut text);
    room.get_mut(..len)?.copy_from_slice(&text[..len]);
    Some(len)
}

/// Writes an integer of any length and returns that; `None` if it does not fit.
#[inline(never)]
fn long_integer(room: &mut [u8], value: u64) -> Option<usize> {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value).as_bytes();
    room.get_mut(..text.len())?.copy_from_slice(text);
    Some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_fit_fails_as_a_whole() {
        let mut space = [0; 12];
        let mut writer = Writer::new(&mut space);
        assert_eq!(writer.put(b"a").integer(42).decimal(612_504, 1).finish(), Some(10));
        assert_eq!(writer.put(b"1234").put(b"5").finish(), None);
        assert_eq!(&space[..10], b"a4261250.4");
    }

    #[test]
    fn each_piece_fits_exactly_or_not_at_all() {
        type Piece = fn(&mut Writer<'_>);
        let pieces: [(Piece, &str); 6] = [
            (|w| _ = w.fixed(b"four"), "four"),
            (|w| _ = w.put(b"four"), "four"),
            (|w| _ = w.integer(12_345_678), "12345678"),
            (|w| _ = w.integer(u64::MAX), "18446744073709551615"),
            (|w| _ = w.decimal(1_234_567_800_000_000, 8), "12345678.00000000"),
            (|w| _ = w.decimal(i64::MIN, 18), "-9.223372036854775808"),
        ];
        for (piece, text) in pieces {
            for len in 0..40 {
                let mut space = [b'x'; 40];
                let mut writer = Writer::new(&mut space[..len]);
                piece(&mut writer);
                let want = (len >= text.len()).then_some(text.len());
                assert_eq!(writer.finish(), want, "{text} in {len}");
                assert_eq!(writer.put(b"").finish(), want, "once failed is failed");
                if want.is_some() {
                    assert_eq!(&space[..text.len()], text.as_bytes());
                }
                assert!(space[len..].iter().all(|&c| c == b'x'));
            }
        }
    }

    #[test]
    fn thirteen_digits_are_those_of_the_number() {
        for number in [0, 1, 99_999_999, 100_000_000, 1_767_225_600_123, 9_999_999_999_999] {
            let mut text = [b'x'; 13];
            write_thirteen_digits(number, &mut text);
            assert_eq!(text.as_slice(), format!("{number:013}").as_bytes());
        }
    }

    /// A number of any size.
    fn value() -> impl Strategy<Value = i64> {
        let any_size = (0u32..=63, any::<i64>()).prop_map(|(bits, value)| value >> bits);
        let round = (0usize..=18, -2i64..=2, 1i64..=9).prop_map(|(power, near, times)| POW10[power].wrapping_mul(times).wrapping_add(near));
        prop_oneof![4 => any_size, 2 => round, 1 => Just(i64::MAX), 1 => Just(i64::MIN)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]
        #[test]
        fn decimals_have_the_text_that_they_always_have(value in value(), scale in 0u8..=18, integer in any::<u64>(), bits in 0u32..64) {
            let mut want = [0; DECIMAL_MAX];
            let len = write_decimal(value, scale, &mut want);
            let integer = integer >> bits;
            let want = format!("<{}|{integer}>", core::str::from_utf8(&want[..len]).unwrap());
            let mut space = [b'x'; 64];
            let len = Writer::new(&mut space).fixed(b"<").decimal(value, scale).put(b"|").integer(integer).fixed(b">").finish().unwrap();
            prop_assert_eq!(&space[..len], want.as_bytes());
        }

        #[test]
        fn numbers_are_parted_as_by_division(value in value(), scale in 0usize..=8) {
            let (value, unit) = (value.unsigned_abs() >> 1, POW10[scale] as u64);
            prop_assert_eq!(SCALES[scale].part(value), (value / unit, value % unit));
        }

        #[test]
        fn thirteen_digits_of_any_number(number in 0u64..10_000_000_000_000) {
            let want = format!("{number:013}");
            let mut text = [b'x'; 13];
            write_thirteen_digits(number, &mut text);
            prop_assert_eq!(text.as_slice(), want.as_bytes());
        }
    }
}
