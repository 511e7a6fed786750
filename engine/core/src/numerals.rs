//! Numbers as text, sixteen characters at once, on any processor of the family.
//!
//! Text comes in two words, the first character in the lowest byte of the first one: what is not wanted of it is shifted out.
#![allow(unsafe_code, reason = "vector instructions that every x86-64 has")]

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64 as arch;

const EIGHT_DIGITS: u64 = 100_000_000;

/// Sixteen hexadecimal digits.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn hexadecimal(value: u64) -> [u64; 2] {
    // SAFETY: SSE2 is part of every x86-64.
    unsafe {
        let bytes = arch::_mm_cvtsi64_si128(value.swap_bytes() as i64);
        let one = arch::_mm_set1_epi8(0xf);
        let digits = arch::_mm_unpacklo_epi8(arch::_mm_and_si128(arch::_mm_srli_epi16::<4>(bytes), one), arch::_mm_and_si128(bytes, one));
        let is_letter = arch::_mm_cmpgt_epi8(digits, arch::_mm_set1_epi8(9));
        let more = arch::_mm_and_si128(is_letter, arch::_mm_set1_epi8((b'a' - b'9' - 1) as i8));
        words(arch::_mm_add_epi8(arch::_mm_add_epi8(digits, arch::_mm_set1_epi8(b'0' as i8)), more))
    }
}

/// The values of sixteen decimal digits, leading zeros included. The number is below 10^16.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn sixteen_digits(number: u64) -> [u64; 2] {
    let (first, last) = (number / EIGHT_DIGITS, number % EIGHT_DIGITS);
    // SAFETY: SSE2 is part of every x86-64.
    unsafe {
        // Eights, fours, pairs, digits: each time what divides stays where it is, and what is left goes behind it. The products divide
        // exactly as far as the values reach.
        let eights = arch::_mm_set_epi64x(last as i64, first as i64);
        let by_10_000 = arch::_mm_srli_epi64::<45>(arch::_mm_mul_epu32(eights, arch::_mm_set1_epi64x(0xd1b7_1759)));
        let left = arch::_mm_sub_epi64(eights, arch::_mm_mul_epu32(by_10_000, arch::_mm_set1_epi64x(10_000)));
        let fours = arch::_mm_or_si128(by_10_000, arch::_mm_slli_epi64::<32>(left));
        let by_100 = arch::_mm_srli_epi16::<3>(arch::_mm_mulhi_epu16(fours, arch::_mm_set1_epi16(5_243)));
        let left = arch::_mm_sub_epi16(fours, arch::_mm_mullo_epi16(by_100, arch::_mm_set1_epi16(100)));
        let pairs = arch::_mm_or_si128(by_100, arch::_mm_slli_epi32::<16>(left));
        let by_10 = arch::_mm_mulhi_epu16(pairs, arch::_mm_set1_epi16(6_554));
        let left = arch::_mm_sub_epi16(pairs, arch::_mm_mullo_epi16(by_10, arch::_mm_set1_epi16(10)));
        words(arch::_mm_or_si128(by_10, arch::_mm_slli_epi16::<8>(left)))
    }
}

/// The two words of sixteen bytes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn words(bytes: arch::__m128i) -> [u64; 2] {
    // SAFETY: SSE2 is part of every x86-64.
    unsafe { [arch::_mm_cvtsi128_si64(bytes) as u64, arch::_mm_cvtsi128_si64(arch::_mm_unpackhi_epi64(bytes, bytes)) as u64] }
}

/// Sixteen hexadecimal digits.
#[cfg(not(target_arch = "x86_64"))]
pub fn hexadecimal(value: u64) -> [u64; 2] {
    digits_of(value, 16).map(|digits| u64::from_le_bytes(digits.map(|digit| digit + if digit > 9 { b'a' - 10 } else { b'0' })))
}

/// The values of sixteen decimal digits, leading zeros included. The number is below 10^16.
#[cfg(not(target_arch = "x86_64"))]
pub fn sixteen_digits(number: u64) -> [u64; 2] {
    digits_of(number, 10).map(u64::from_le_bytes)
}

/// The last sixteen digits of a number to a base.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn digits_of(mut number: u64, base: u64) -> [[u8; 8]; 2] {
    let mut digits = [[0; 8]; 2];
    for digit in digits.iter_mut().rev().flat_map(|half| half.iter_mut().rev()) {
        (*digit, number) = ((number % base) as u8, number / base);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of fours, which go their way alone, all.
    #[test]
    fn digits_are_those_of_every_four() {
        for four in 0..10_000 {
            for number in [four, four * 10_000, four * EIGHT_DIGITS, (9_999 - four) * 10_000 * EIGHT_DIGITS + four * 10_001] {
                assert_eq!(sixteen_digits(number), digits_of(number, 10).map(u64::from_le_bytes), "{number}");
            }
        }
    }

    proptest! {
        #[test]
        fn numbers_have_their_text(value: u64, shift in 0u32..64) {
            let value = value >> shift;
            let text = |words: [u64; 2]| words.map(u64::to_le_bytes).as_flattened().to_vec();
            prop_assert_eq!(text(hexadecimal(value)), format!("{value:016x}").into_bytes());
            let value = value % (EIGHT_DIGITS * EIGHT_DIGITS);
            let digits: Vec<u8> = text(sixteen_digits(value)).iter().map(|digit| digit + b'0').collect();
            prop_assert_eq!(digits, format!("{value:016}").into_bytes());
        }
    }
}
