//! Steps of prices and quantities (tick, lot): whether a number is a multiple of one, without a division.
//!
//! A step is `odd * 2^shift`. Modulo 2^64 the product with the inverse of an odd number maps its multiples, in their order, to
//! 0, 1, 2 .., and everything else above them. Rotated by `shift`, a quotient whose lower bits are not zero becomes large too: one
//! comparison tells (Granlund and Montgomery, *Division by Invariant Integers using Multiplication*, section 9).

/// A step of at least 1, prepared.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    /// Of the odd part, modulo 2^64.
    inverse: u64,
    /// Quotient of the largest multiple.
    quotient_max: u64,
}

impl Step {
    /// The step, and its power of two (kept apart: two of them fit where one would be padded).
    pub const fn new(step: u64) -> (Step, u8) {
        let step = if step == 0 { 1 } else { step };
        let shift = step.trailing_zeros();
        let odd = step >> shift;
        // Newton: right in 3 bits to begin with, twice as many each time.
        let mut inverse = odd;
        let mut bits = 3;
        while bits < 64 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
            bits *= 2;
        }
        (Step { inverse, quotient_max: u64::MAX / step }, shift as u8)
    }

    /// True if `value` is a multiple of the step, whose power of two is `shift`.
    #[inline]
    pub const fn divides(self, value: u64, shift: u8) -> bool {
        value.wrapping_mul(self.inverse).rotate_right(shift as u32) <= self.quotient_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn divides(step: u64, value: u64) -> bool {
        let (prepared, shift) = Step::new(step);
        prepared.divides(value, shift)
    }

    #[test]
    fn every_small_number_is_told() {
        for step in 1..300 {
            for value in 0..3_000 {
                assert_eq!(divides(step, value), value % step == 0, "{value} by {step}");
            }
        }
        assert!(divides(0, 7), "no step is a step of 1");
    }

    proptest! {
        #[test]
        fn a_multiple_is_what_a_division_leaves_nothing_of(
            step in any::<u64>(), shift in 0u32..64, value in any::<u64>(), times in any::<u64>(), off in 0u64..3,
        ) {
            let step = (step >> shift).max(1);
            prop_assert_eq!(divides(step, value), value.is_multiple_of(step));
            let near = (times % (u64::MAX / step).max(1) * step).wrapping_add(off).wrapping_sub(1);
            prop_assert_eq!(divides(step, near), near.is_multiple_of(step));
            let even = step >> 1 << 1;
            prop_assert_eq!(divides(even.max(1), value), value.is_multiple_of(even.max(1)));
            prop_assert_eq!(divides(step, u64::MAX), u64::MAX.is_multiple_of(step));
        }
    }
}
