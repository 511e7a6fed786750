//! Sixteen bytes of text at a time: whether they are what they should be, which of them are digits, and what number those make.
//!
//! A lane is sixteen bytes, the first in the lowest bits; a [`Carryless::Bits`] holds one. All of it is a handful of instructions on
//! the processors that we know. Which text belongs where is the caller's affair: see the venues' `words::levels`.
#![allow(unsafe_code, reason = "a function for a processor that has the instructions may be called once that is known")]

use crate::carryless::{Carryless, Native, Portable};

/// A byte of a lane that [`Lanes::arranged`] makes zero.
pub const NOTHING: u8 = 0x80;

/// Works on lanes.
pub trait Lanes: Carryless {
    /// A lane of this text.
    fn lane(self, text: &[u8; 16]) -> Self::Bits;
    /// The bytes that are this one: a bit each, the first byte's the lowest.
    fn equal(self, a: Self::Bits, byte: u8) -> u32;
    /// The bytes that are no less than this one: a bit each, as above.
    fn no_less(self, a: Self::Bits, byte: u8) -> u32;
    /// True if no byte is above the one in its place in `limits`.
    fn is_within(self, a: Self::Bits, limits: Self::Bits) -> bool;
    /// The bytes in another order: in each place the one from the place that `from` names there, 0 to 15, or zero for [`NOTHING`].
    fn arranged(self, a: Self::Bits, from: Self::Bits) -> Self::Bits;
    /// The bits that either has.
    fn joined(self, a: Self::Bits, b: Self::Bits) -> Self::Bits;
    /// The product of the high word of `a` and the low word of `b`.
    fn product_of_high(self, a: Self::Bits, b: Self::Bits) -> Self::Bits;
    /// The high word alone, in the place of the low one.
    fn high_word(self, a: Self::Bits) -> Self::Bits;
    /// The number that the values of sixteen digits make.
    fn number(self, digits: Self::Bits) -> u64;
    /// Two of them.
    fn numbers(self, a: Self::Bits, b: Self::Bits) -> (u64, u64);
}

/// Bits of the bytes that are so.
fn bits(a: u128, is: impl Fn(u8) -> bool) -> u32 {
    a.to_le_bytes().iter().rev().fold(0, |bits, &byte| bits << 1 | u32::from(is(byte)))
}

impl Lanes for Portable {
    #[inline]
    fn lane(self, text: &[u8; 16]) -> u128 {
        u128::from_le_bytes(*text)
    }

    fn equal(self, a: u128, byte: u8) -> u32 {
        bits(a, |other| other == byte)
    }

    fn no_less(self, a: u128, byte: u8) -> u32 {
        bits(a, |other| other >= byte)
    }

    fn is_within(self, a: u128, limits: u128) -> bool {
        a.to_le_bytes().iter().zip(limits.to_le_bytes()).all(|(&byte, limit)| byte <= limit)
    }

    fn arranged(self, a: u128, from: u128) -> u128 {
        let bytes = a.to_le_bytes();
        u128::from_le_bytes(from.to_le_bytes().map(|from| if from & NOTHING != 0 { 0 } else { bytes[usize::from(from & 0xf)] }))
    }

    #[inline]
    fn joined(self, a: u128, b: u128) -> u128 {
        a | b
    }

    fn product_of_high(self, a: u128, b: u128) -> u128 {
        self.product(a >> 64, b)
    }

    #[inline]
    fn high_word(self, a: u128) -> u128 {
        a >> 64
    }

    fn number(self, digits: u128) -> u64 {
        digits.to_le_bytes().iter().fold(0, |number, &digit| number.wrapping_mul(10).wrapping_add(u64::from(digit)))
    }

    fn numbers(self, a: u128, b: u128) -> (u64, u64) {
        (self.number(a), self.number(b))
    }
}

/// The number of two halves of eight digits each, the first in the low 32 bits.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
const fn number_of_halves(halves: u64) -> u64 {
    (halves & 0xffff_ffff).wrapping_mul(100_000_000).wrapping_add(halves >> 32)
}

#[cfg(target_arch = "x86_64")]
mod native {
    use super::{Lanes, Native, number_of_halves};
    use core::arch::x86_64 as arch;

    impl Lanes for Native {
        #[inline(always)]
        fn lane(self, text: &[u8; 16]) -> Self::Bits {
            // SAFETY: SSE2 is part of every x86-64, and there are sixteen bytes to read, which may lie anywhere.
            unsafe { arch::_mm_loadu_si128(text.as_ptr().cast()) }
        }

        #[inline(always)]
        fn equal(self, a: Self::Bits, byte: u8) -> u32 {
            // SAFETY: SSE2 is part of every x86-64.
            unsafe { arch::_mm_movemask_epi8(arch::_mm_cmpeq_epi8(a, arch::_mm_set1_epi8(byte as i8))) as u32 }
        }

        #[inline(always)]
        fn no_less(self, a: Self::Bits, byte: u8) -> u32 {
            // SAFETY: SSE2 is part of every x86-64.
            unsafe { arch::_mm_movemask_epi8(arch::_mm_cmpeq_epi8(a, arch::_mm_max_epu8(a, arch::_mm_set1_epi8(byte as i8)))) as u32 }
        }

        #[inline(always)]
        fn is_within(self, a: Self::Bits, limits: Self::Bits) -> bool {
            // SAFETY: `detect` has found AVX, of which SSE4.1 is a part.
            unsafe {
                let above = arch::_mm_subs_epu8(a, limits);
                arch::_mm_testz_si128(above, above) != 0
            }
        }

        #[inline(always)]
        fn arranged(self, a: Self::Bits, from: Self::Bits) -> Self::Bits {
            // SAFETY: `detect` has found AVX, of which SSSE3 is a part.
            unsafe { arch::_mm_shuffle_epi8(a, from) }
        }

        #[inline(always)]
        fn joined(self, a: Self::Bits, b: Self::Bits) -> Self::Bits {
            // SAFETY: SSE2 is part of every x86-64.
            unsafe { arch::_mm_or_si128(a, b) }
        }

        #[inline(always)]
        fn product_of_high(self, a: Self::Bits, b: Self::Bits) -> Self::Bits {
            // SAFETY: `detect` has found that the processor has this instruction.
            unsafe { arch::_mm_clmulepi64_si128::<0x01>(a, b) }
        }

        #[inline(always)]
        fn high_word(self, a: Self::Bits) -> Self::Bits {
            // SAFETY: SSE2 is part of every x86-64.
            unsafe { arch::_mm_srli_si128::<8>(a) }
        }

        // Pairs of digits, fours of them, eights of them: each step adds neighbours, the first of them times what it counts for.

        #[inline(always)]
        fn number(self, digits: Self::Bits) -> u64 {
            // SAFETY: `detect` has found AVX, of which SSE4.1 and SSSE3 are parts.
            let halves = unsafe {
                let pairs = arch::_mm_maddubs_epi16(digits, arch::_mm_set1_epi16(0x010a));
                let fours = arch::_mm_madd_epi16(pairs, arch::_mm_set1_epi32(0x0001_0064));
                let eights = arch::_mm_madd_epi16(arch::_mm_packus_epi32(fours, fours), arch::_mm_set1_epi32(0x0001_2710));
                arch::_mm_cvtsi128_si64(eights) as u64
            };
            number_of_halves(halves)
        }

        #[inline(always)]
        fn numbers(self, a: Self::Bits, b: Self::Bits) -> (u64, u64) {
            // SAFETY: `detect` has found AVX2.
            let (a, b) = unsafe {
                let pairs = arch::_mm256_maddubs_epi16(arch::_mm256_set_m128i(b, a), arch::_mm256_set1_epi16(0x010a));
                let fours = arch::_mm256_madd_epi16(pairs, arch::_mm256_set1_epi32(0x0001_0064));
                let eights = arch::_mm256_madd_epi16(arch::_mm256_packus_epi32(fours, fours), arch::_mm256_set1_epi32(0x0001_2710));
                let (a, b) = (arch::_mm256_castsi256_si128(eights), arch::_mm256_extracti128_si256::<1>(eights));
                (arch::_mm_cvtsi128_si64(a) as u64, arch::_mm_cvtsi128_si64(b) as u64)
            };
            (number_of_halves(a), number_of_halves(b))
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Lanes for Native {
    fn lane(self, text: &[u8; 16]) -> u128 {
        Portable.lane(text)
    }

    fn equal(self, a: u128, byte: u8) -> u32 {
        Portable.equal(a, byte)
    }

    fn no_less(self, a: u128, byte: u8) -> u32 {
        Portable.no_less(a, byte)
    }

    fn is_within(self, a: u128, limits: u128) -> bool {
        Portable.is_within(a, limits)
    }

    fn arranged(self, a: u128, from: u128) -> u128 {
        Portable.arranged(a, from)
    }

    fn joined(self, a: u128, b: u128) -> u128 {
        Portable.joined(a, b)
    }

    fn product_of_high(self, a: u128, b: u128) -> u128 {
        Portable.product_of_high(a, b)
    }

    fn high_word(self, a: u128) -> u128 {
        Portable.high_word(a)
    }

    fn number(self, digits: u128) -> u64 {
        Portable.number(digits)
    }

    fn numbers(self, a: u128, b: u128) -> (u64, u64) {
        Portable.numbers(a, b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All that is made of lanes: masks and the like, and the words of what are lanes again.
    fn all<C: Lanes>(c: C, a: [u8; 16], b: [u8; 16], byte: u8) -> ([u32; 3], [u64; 10]) {
        let (a, b) = (c.lane(&a), c.lane(&b));
        let masks = [c.equal(a, byte), c.no_less(a, byte), u32::from(c.is_within(a, b))];
        let made = [a, c.arranged(a, b), c.joined(a, b), c.product_of_high(a, b), c.high_word(a)];
        let words = made.map(|made| [c.low(made), c.low(c.high_word(made))]);
        (masks, words.as_flattened().try_into().unwrap())
    }

    proptest! {
        #[test]
        fn lanes_are_the_same_on_any_processor(a: [u8; 16], b: [u8; 16], near in any::<[bool; 16]>(), byte: u8, at in 0usize..16) {
            let near: [u8; 16] = std::array::from_fn(|at| if near[at] { a[at] } else { a[at].saturating_add(b[at] % 3) });
            if let Some(native) = Native::detect() {
                for (b, byte) in [(b, byte), (near, a[at]), (b.map(|from| from & 0x8f), b'.')] {
                    let want = all(Portable, a, b, byte);
                    prop_assert_eq!(all(native, a, b, byte), want);
                    prop_assert_eq!(native.run(|| all(native, a, b, byte)), want);
                }
            }
        }

        #[test]
        fn numbers_are_those_of_their_digits(a in 0u64..10_000_000_000_000_000, b in 0u64..10_000_000_000_000_000) {
            let digits = |number: u64| -> [u8; 16] {
                format!("{number:016}").into_bytes().iter().map(|digit| digit - b'0').collect::<Vec<_>>().try_into().unwrap()
            };
            let read = |c: Portable| (c.number(c.lane(&digits(a))), c.numbers(c.lane(&digits(a)), c.lane(&digits(b))));
            prop_assert_eq!(read(Portable), (a, (a, b)));
            if let Some(native) = Native::detect() {
                let read = || (native.number(native.lane(&digits(a))), native.numbers(native.lane(&digits(a)), native.lane(&digits(b))));
                prop_assert_eq!((read(), native.run(read)), ((a, (a, b)), (a, (a, b))));
            }
        }
    }

    #[test]
    fn what_a_lane_says_of_its_bytes() {
        let c = Portable;
        let lane = c.lane(b"68250.10\",\"1.500");
        assert_eq!((c.equal(lane, b'.'), c.equal(lane, b'"')), (1 << 5 | 1 << 12, 1 << 8 | 1 << 10));
        assert_eq!(c.no_less(lane, b'5'), 1 << 0 | 1 << 1 | 1 << 3 | 1 << 13);
        assert!(c.is_within(lane, c.lane(b"99999.99\",\"9.999")) && !c.is_within(lane, c.lane(b"67999.99\",\"9.999")));
        let from = [15, NOTHING, 0, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        assert_eq!(c.arranged(lane, c.lane(&from)).to_le_bytes(), *b"0\x006\x008250.10\",\"1.");
    }
}
