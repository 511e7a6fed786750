//! CRC-32 (IEEE 802.3, reflected) of a text that is made of pieces.
//!
//! The sum of a text is linear: up to the ones that it begins and ends with it is the sum over the pieces of each one's
//! *remainder* times a power of x for what stands behind it. So a piece keeps its remainder as long as it stays the same, and the
//! text itself is never put together. Zero bytes in front of a piece do not change its remainder.
//!
//! Words hold text as it lies in memory: the lowest bit of the first byte is the highest power of x.

use crate::words::{INTEGER_LEN_MAX, ZEROS, digits, write_integers};
use engine_core::carryless::Carryless;

/// The polynomial without x^32, and 1.
const POLYNOMIAL: u32 = 0xedb8_8320;
/// Longer texts have no sum here.
pub const LEN_MAX: usize = 1_023;

/// x^(8 n - 1) modulo the polynomial, by n. That is one place less than asked for, as a product of two reflected words is read one place
/// off.
static POWERS: [u32; LEN_MAX + 1] = {
    let mut powers = [0; LEN_MAX + 1];
    // x^-1.
    let mut power = POLYNOMIAL << 1 | 1;
    let mut at = 0;
    while at < powers.len() {
        powers[at] = power;
        let mut bit = 0;
        while bit < 8 {
            power = power >> 1 ^ if power & 1 != 0 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        at += 1;
    }
    powers
};

/// What a text of this length in front is multiplied with.
#[inline(always)]
fn power<C: Carryless>(c: C, len: usize) -> C::Bits {
    c.word(u64::from(POWERS[len & LEN_MAX]))
}

/// The remainder of a polynomial of 64 bits.
#[inline(always)]
fn remainder_of_word<C: Carryless>(c: C, bits: C::Bits) -> u32 {
    // Barrett's reduction: the quotient by a product with x^64 divided by the polynomial, then what is left.
    let quotient = c.product(c.low_half(bits), c.word(0x1_f701_1641));
    let multiple = c.product(c.low_half(quotient), c.word(u64::from(POLYNOMIAL) << 1 | 1 | 1 << 32));
    (c.low(c.sum(bits, multiple)) >> 32) as u32
}

/// The digits of a number without the zeros in front of it, of which the last one stays: their text, and how many there are. They
/// are eight values, the first in the lowest byte.
#[inline(always)]
const fn without_zeros(values: u64) -> (u64, u32) {
    let zeros = (values | 1 << 56).trailing_zeros() & 0x38;
    ((values | ZEROS) & u64::MAX.wrapping_shl(zeros), 8 - zeros / 8)
}

/// How many decimals the second number of a piece has, prepared for [`Piece::of_digits`].
#[derive(Clone, Copy, Debug)]
pub struct Decimals {
    count: u32,
    /// The text of as many zeros.
    zeros: u64,
    /// What a text in front of them is multiplied with.
    power: u64,
}

impl Decimals {
    /// 1 to 8.
    #[inline(always)]
    pub fn new(count: u32) -> Decimals {
        let power = u64::from(POWERS[(count as usize + 4) & LEN_MAX]);
        Decimals { count, zeros: ZEROS.wrapping_shl(64u32.wrapping_sub(8 * count)), power }
    }
}

/// A piece of text: of one level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Its remainder.
    pub remainder: u32,
    /// Its length, at most twice [`INTEGER_LEN_MAX`].
    pub len: u8,
}

impl Piece {
    /// Of no text.
    pub const EMPTY: Piece = Piece { remainder: 0, len: 0 };

    /// The text of the digits `price`, then that of `whole` and `decimals` as one number. Each is eight digits' values, byte by byte,
    /// the first in the lowest byte; of `decimals` only the last ones count, and those before them are zero.
    /// Zeros in front of a number are left out, and the second number is above zero.
    #[inline(always)]
    pub fn of_digits<C: Carryless>(c: C, price: u64, (whole, decimals): (u64, u64), of: &Decimals) -> Piece {
        let (price, price_len) = without_zeros(price);
        let (second, third, len);
        if whole == 0 {
            (second, (third, len)) = (0, without_zeros(decimals));
        } else {
            let (text, whole_len) = without_zeros(whole);
            second = text;
            third = decimals | of.zeros;
            len = whole_len + of.count;
        }
        let before = c.product(c.word(price), power(c, len as usize + 4));
        let between = c.product(c.word(second), c.word(of.power));
        let bits = c.sum(c.sum(before, between), c.word(third));
        Piece { remainder: remainder(c, bits), len: (price_len + len) as u8 }
    }

    /// The text of two integers one behind the other.
    #[inline(always)]
    pub fn of_integers<C: Carryless>(c: C, first: u64, second: u64) -> Piece {
        const WORD: u64 = 100_000_000;
        if first >= WORD * WORD || second >= WORD * WORD {
            return Piece::of_long_integers(first, second);
        }
        let words = |number: u64| {
            let (high, low) = (number / WORD, number % WORD);
            if high == 0 {
                let (text, len) = without_zeros(digits(low));
                (0, text, len)
            } else {
                let (text, len) = without_zeros(digits(high));
                (text, digits(low) | ZEROS, len + 8)
            }
        };
        let (first, second) = (words(first), words(second));
        let bits = c.product(c.word(first.0), power(c, second.2 as usize + 12));
        let bits = c.sum(bits, c.product(c.word(first.1), power(c, second.2 as usize + 4)));
        let bits = c.sum(bits, c.product(c.word(second.0), power(c, 12)));
        let bits = c.sum(bits, c.word(second.1));
        Piece { remainder: remainder(c, bits), len: (first.2 + second.2) as u8 }
    }

    #[cold]
    #[inline(never)]
    fn of_long_integers(first: u64, second: u64) -> Piece {
        let mut text = [0; 2 * INTEGER_LEN_MAX];
        let len = write_integers(first, second, &mut text);
        let mut remainder = 0u32;
        for byte in &text[..len] {
            remainder ^= u32::from(*byte);
            for _ in 0..8 {
                remainder = remainder >> 1 ^ if remainder & 1 != 0 { POLYNOMIAL } else { 0 };
            }
        }
        Piece { remainder, len: len as u8 }
    }
}

/// The remainder of 96 bits: of a text of 64 bits, and x^32.
#[inline(always)]
fn remainder<C: Carryless>(c: C, bits: C::Bits) -> u32 {
    let first = c.product(c.low_half(bits), power(c, 8));
    remainder_of_word(c, c.sum(first, c.down_half(bits)))
}

/// The sum of a text, from its last piece to the first.
#[derive(Clone, Copy, Debug)]
pub struct Backwards<C: Carryless> {
    c: C,
    bits: C::Bits,
    len: usize,
}

impl<C: Carryless> Backwards<C> {
    /// Nothing yet.
    #[inline(always)]
    pub fn new(c: C) -> Backwards<C> {
        Backwards { c, bits: c.word(0), len: 0 }
    }

    /// Puts a piece in front. The whole must not be longer than [`LEN_MAX`].
    #[inline(always)]
    pub fn put(&mut self, remainder: u32, len: usize) {
        self.bits = self.c.sum(self.bits, self.c.product(self.c.word(u64::from(remainder)), power(self.c, self.len)));
        self.len = self.len.wrapping_add(len) & LEN_MAX;
    }

    /// What remains of the text as it is, and its length: it is a piece of a longer one.
    #[inline(always)]
    pub fn piece(self) -> (u32, usize) {
        (remainder_of_word(self.c, self.bits), self.len)
    }

    /// The sum.
    #[inline(always)]
    pub fn finish(mut self) -> u32 {
        // All ones, 32 places before the beginning, which is where remainders are.
        self.put(u32::MAX, 0);
        !remainder_of_word(self.c, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::carryless::{Native, Portable};
    use engine_core::fixed::POW10;
    use proptest::prelude::*;

    /// Pieces of two integers each, and the sum of all, on this processor and on any.
    fn both<R: PartialEq + core::fmt::Debug>(portable: R, native: impl FnOnce(Native) -> R) -> R {
        if let Some(c) = Native::detect() {
            assert_eq!(c.run(|| native(c)), portable);
        }
        portable
    }

    fn sum_of<C: Carryless>(c: C, numbers: &[(u64, u64)]) -> (u32, usize) {
        let mut sum = Backwards::new(c);
        let mut total = 0;
        for &(first, second) in numbers.iter().rev() {
            let Piece { remainder, len } = Piece::of_integers(c, first, second);
            sum.put(remainder, usize::from(len));
            total += usize::from(len);
        }
        let (remainder, len) = sum.piece();
        let mut whole = Backwards::new(c);
        whole.put(remainder, len);
        assert_eq!(whole.finish(), sum.finish());
        (sum.finish(), total)
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![6 => (0u32..=18).prop_flat_map(|digits| 0..=10u64.pow(digits)), 1 => any::<u64>(), 1 => 0u64..3]
    }

    #[test]
    fn nothing_has_the_sum_of_nothing() {
        assert_eq!(both(sum_of(Portable, &[]), |c| sum_of(c, &[])), (0, 0));
    }

    proptest! {
        #[test]
        fn a_sum_of_pieces_is_that_of_the_text(numbers in proptest::collection::vec((number(), number()), 0..24)) {
            let text: String = numbers.iter().map(|(first, second)| format!("{first}{second}")).collect();
            let sum = both(sum_of(Portable, &numbers), |c| sum_of(c, &numbers));
            prop_assert_eq!(sum, (crc32fast::hash(text.as_bytes()), text.len()));
        }

        #[test]
        fn digits_have_the_piece_of_the_numbers(
            price in (0u32..=8).prop_flat_map(|digits| 0..10u64.pow(digits)),
            whole in (0u32..=7).prop_flat_map(|digits| 0..10u64.pow(digits)),
            (count, decimals) in (1u32..=8).prop_flat_map(|count| (Just(count), 0..10u64.pow(count))),
        ) {
            let qty = whole * POW10[count as usize] as u64 + decimals;
            prop_assume!(qty > 0);
            let (of, count) = ((digits(whole), digits(decimals)), Decimals::new(count));
            let piece = both(Piece::of_digits(Portable, digits(price), of, &count), |c| Piece::of_digits(c, digits(price), of, &count));
            prop_assert_eq!(piece, Piece::of_integers(Portable, price, qty));
        }
    }
}
