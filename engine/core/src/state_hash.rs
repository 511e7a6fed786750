//! The state hash: 64 bits that change when anything changes that could change an output.
//!
//! Two cores that took in the same events have the same hash; replay, recovery and the standby compare
//! it. Every part of the core writes its state, word by word and in a fixed order, into a
//! [`StateHasher`]. It is a full walk, made each so many inputs (65,536 by default): about 1 ns a word,
//! so some 50 us for a table of 1,000 open orders and ten books, which is under 1 ns an input.
//!
//! The function is our own (a multiply-rotate mix with a strong finish). It guards against divergence,
//! not against an adversary, and its value is part of the journal: changing it makes old journals fail
//! their check.

use crate::fixed::{Money, Price, Qty};

const SEED: u64 = 0x7065_7265_6772_696e;
const MULTIPLY_A: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLY_B: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// Takes words in order, gives 64 bits.
#[derive(Clone, Debug)]
pub struct StateHasher {
    state: u64,
    words: u64,
}

impl Default for StateHasher {
    fn default() -> Self {
        StateHasher::new()
    }
}

impl StateHasher {
    /// Nothing hashed yet.
    pub const fn new() -> StateHasher {
        StateHasher { state: SEED, words: 0 }
    }

    /// Takes one word.
    #[inline]
    pub fn write_u64(&mut self, word: u64) {
        let mixed = (self.state ^ word.wrapping_mul(MULTIPLY_B)).wrapping_mul(MULTIPLY_A);
        self.state = mixed.rotate_left(29) ^ (mixed >> 32);
        self.words = self.words.wrapping_add(1);
    }

    /// Takes a signed word.
    #[inline]
    pub fn write_i64(&mut self, word: i64) {
        self.write_u64(word as u64);
    }

    /// Takes a wide integer.
    #[inline]
    pub fn write_i128(&mut self, word: i128) {
        self.write_u64(word as u64);
        self.write_u64((word >> 64) as u64);
    }

    /// Takes a small integer, as a word.
    #[inline]
    pub fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    /// Takes a length or an index.
    #[inline]
    pub fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    /// Takes a flag.
    #[inline]
    pub fn write_bool(&mut self, flag: bool) {
        self.write_u64(u64::from(flag));
    }

    /// Takes the exact bits of a float (signals are state too). Positive and negative zero differ.
    #[inline]
    pub fn write_f64(&mut self, value: f64) {
        self.write_u64(value.to_bits());
    }

    /// Takes a price.
    #[inline]
    pub fn write_price(&mut self, price: Price) {
        self.write_i64(price.0);
    }

    /// Takes a quantity.
    #[inline]
    pub fn write_qty(&mut self, qty: Qty) {
        self.write_i64(qty.0);
    }

    /// Takes an amount.
    #[inline]
    pub fn write_money(&mut self, amount: Money) {
        self.write_i128(amount.0);
    }

    /// The hash of all words so far; the hasher can go on.
    pub fn finish(&self) -> u64 {
        let mut x = self.state ^ self.words;
        x = (x ^ (x >> 33)).wrapping_mul(MULTIPLY_B);
        x = (x ^ (x >> 29)).wrapping_mul(MULTIPLY_A);
        x ^ (x >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(words: &[u64]) -> u64 {
        let mut hasher = StateHasher::new();
        words.iter().for_each(|&w| hasher.write_u64(w));
        hasher.finish()
    }

    #[test]
    fn order_length_and_every_bit_matter() {
        assert_ne!(hash(&[1, 2]), hash(&[2, 1]));
        assert_ne!(hash(&[]), hash(&[0]));
        assert_ne!(hash(&[0]), hash(&[0, 0]));
        let mut seen = std::collections::HashSet::new();
        for word in 0..3 {
            for bit in 0..64 {
                let mut words = [7u64, 0, u64::MAX];
                words[word] ^= 1 << bit;
                assert!(seen.insert(hash(&words)), "word {word} bit {bit}");
            }
        }
    }

    #[test]
    fn the_function_is_pinned_because_journals_hold_its_values() {
        assert_eq!(hash(&[]), PINNED_EMPTY);
        assert_eq!(hash(&[1, 2, 3]), PINNED_123);
    }

    const PINNED_EMPTY: u64 = 7_902_520_986_585_275_004;
    const PINNED_123: u64 = 15_971_793_186_223_400_203;
}
