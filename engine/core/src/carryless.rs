//! Products of polynomials over GF(2), of which CRCs are made: one instruction on the processors that we know.
//!
//! A word is a polynomial. Which of its bits is the highest power is the caller's affair: the product of two words has the
//! bit `i + j` for each bit `i` of the one and `j` of the other, twice the same is nothing.
#![allow(unsafe_code, reason = "a function for a processor that has the instructions may be called once that is known")]

/// Multiplies words.
pub trait Carryless: Copy {
    /// Words, products and sums of them.
    type Bits: Copy;

    /// A word.
    fn word(self, word: u64) -> Self::Bits;
    /// The product of the low words of both.
    fn product(self, a: Self::Bits, b: Self::Bits) -> Self::Bits;
    /// The sum of both.
    fn sum(self, a: Self::Bits, b: Self::Bits) -> Self::Bits;
    /// The low 32 bits alone.
    fn low_half(self, a: Self::Bits) -> Self::Bits;
    /// What is above the low 32 bits, 32 places down.
    fn down_half(self, a: Self::Bits) -> Self::Bits;
    /// The low word.
    fn low(self, a: Self::Bits) -> u64;
    /// Runs a piece of work compiled for such a processor, as far as it is inlined. What multiplies belongs in here: elsewhere
    /// each product is a call.
    fn run<R>(self, work: impl FnOnce() -> R) -> R;
}

/// On any processor.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Carryless for Portable {
    type Bits = u128;

    #[inline]
    fn word(self, word: u64) -> u128 {
        u128::from(word)
    }

    fn product(self, a: u128, b: u128) -> u128 {
        let (mut a, mut shifted, mut product) = (a as u64, u128::from(b as u64), 0);
        while a != 0 {
            if a & 1 != 0 {
                product ^= shifted;
            }
            a >>= 1;
            shifted <<= 1;
        }
        product
    }

    #[inline]
    fn sum(self, a: u128, b: u128) -> u128 {
        a ^ b
    }

    #[inline]
    fn low_half(self, a: u128) -> u128 {
        a & u128::from(u32::MAX)
    }

    #[inline]
    fn down_half(self, a: u128) -> u128 {
        a >> 32
    }

    #[inline]
    fn low(self, a: u128) -> u64 {
        a as u64
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        work()
    }
}

/// By the processor's instruction. Whoever holds one knows that the processor has it, and what goes with it: see
/// [`Native::detect`].
#[derive(Clone, Copy, Debug)]
pub struct Native(());

#[cfg(target_arch = "x86_64")]
impl Native {
    /// `None` if the processor has not all of it: carryless products, AVX, and the shifts of BMI.
    pub fn detect() -> Option<Native> {
        let has = is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("avx")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2");
        has.then_some(Native(()))
    }
}

#[cfg(target_arch = "x86_64")]
impl Carryless for Native {
    type Bits = core::arch::x86_64::__m128i;

    #[inline(always)]
    fn word(self, word: u64) -> Self::Bits {
        // SAFETY: SSE2 is part of every x86-64.
        unsafe { core::arch::x86_64::_mm_cvtsi64_si128(word as i64) }
    }

    #[inline(always)]
    fn product(self, a: Self::Bits, b: Self::Bits) -> Self::Bits {
        // SAFETY: `detect` has found that the processor has this instruction.
        unsafe { core::arch::x86_64::_mm_clmulepi64_si128::<0>(a, b) }
    }

    #[inline(always)]
    fn sum(self, a: Self::Bits, b: Self::Bits) -> Self::Bits {
        // SAFETY: SSE2 is part of every x86-64.
        unsafe { core::arch::x86_64::_mm_xor_si128(a, b) }
    }

    #[inline(always)]
    fn low_half(self, a: Self::Bits) -> Self::Bits {
        // SAFETY: SSE2 is part of every x86-64.
        unsafe { core::arch::x86_64::_mm_and_si128(a, core::arch::x86_64::_mm_set_epi32(0, 0, 0, -1)) }
    }

    #[inline(always)]
    fn down_half(self, a: Self::Bits) -> Self::Bits {
        // SAFETY: SSE2 is part of every x86-64.
        unsafe { core::arch::x86_64::_mm_srli_si128::<4>(a) }
    }

    #[inline(always)]
    fn low(self, a: Self::Bits) -> u64 {
        // SAFETY: SSE2 is part of every x86-64.
        unsafe { core::arch::x86_64::_mm_cvtsi128_si64(a) as u64 }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        #[inline(never)]
        #[target_feature(enable = "pclmulqdq,avx,bmi1,bmi2")]
        fn compiled<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        // SAFETY: `detect` has found that the processor has what the function is compiled for.
        unsafe { compiled(work) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Native {
    /// There is none here.
    pub fn detect() -> Option<Native> {
        None
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Carryless for Native {
    type Bits = u128;

    fn word(self, word: u64) -> u128 {
        Portable.word(word)
    }

    fn product(self, a: u128, b: u128) -> u128 {
        Portable.product(a, b)
    }

    fn sum(self, a: u128, b: u128) -> u128 {
        Portable.sum(a, b)
    }

    fn low_half(self, a: u128) -> u128 {
        Portable.low_half(a)
    }

    fn down_half(self, a: u128) -> u128 {
        Portable.down_half(a)
    }

    fn low(self, a: u128) -> u64 {
        Portable.low(a)
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        work()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit by bit, as the module's header says.
    fn product(a: u64, b: u64) -> u128 {
        let mut product = 0u128;
        for i in 0..64 {
            for j in 0..64 {
                product ^= u128::from(a >> i & 1 & (b >> j)) << (i + j);
            }
        }
        product
    }

    /// The product and what is made of it: its low word, the next 64 bits from the half up, its low half.
    fn all<C: Carryless>(c: C, a: u64, b: u64, added: u64) -> [u64; 4] {
        let bits = c.sum(c.product(c.word(a), c.word(b)), c.word(added));
        let down = c.down_half(bits);
        [c.low(bits), c.low(down), c.low(c.low_half(bits)), c.low(c.down_half(c.down_half(c.down_half(down))))]
    }

    proptest! {
        #[test]
        fn products_are_those_of_the_bits(a: u64, b: u64, added: u64) {
            let want = product(a, b) ^ u128::from(added);
            let want = [want as u64, (want >> 32) as u64, want as u64 & 0xffff_ffff, (want >> 127 >> 1) as u64];
            prop_assert_eq!(all(Portable, a, b, added), want);
            if let Some(native) = Native::detect() {
                prop_assert_eq!(all(native, a, b, added), want);
                prop_assert_eq!(native.run(|| all(native, a, b, added)), want);
            }
        }
    }
}
