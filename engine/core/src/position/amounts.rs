//! Arithmetic of amounts of 128 bits: exact, checked, and without a division where there is a way around it.

use crate::fixed::{Money, POW10};

/// One unit of an asset, and the rate of what is worth as much as one of the reporting asset.
pub(super) const ONE: Money = Money(POW10[Money::SCALE as usize] as i128);

/// `amount * part / whole` rounded down, exact within `i128` for any `part <= whole` (both positive).
#[inline]
pub(super) fn share(amount: i128, part: i64, whole: i64) -> i128 {
    if part == whole {
        return amount;
    }
    let (part, whole) = (i128::from(part), i128::from(whole));
    amount.div_euclid(whole) * part + amount.rem_euclid(whole) * part / whole
}

/// `amount * rate` where `rate` is the value of one unit; rounded towards zero, `None` if it does not fit.
#[inline]
pub(super) fn multiply(amount: Money, rate: Money) -> Option<Money> {
    const UNIT: u128 = ONE.0 as u128;
    let (a, r) = (amount.0.unsigned_abs(), rate.0.unsigned_abs());
    let (a_units, r_units) = (whole_units(a), whole_units(r));
    let (a_rest, r_rest) = (a.wrapping_sub(a_units.wrapping_mul(UNIT)) as u64, r.wrapping_sub(r_units.wrapping_mul(UNIT)) as u64);
    // a * r / UNIT with a = a_units * UNIT + a_rest, r alike; the last term is below 10^36.
    let product = if (a_units | r_units) >> 32 == 0 {
        // Below 2^125, and no more than 64 bits times 64.
        let units = unsigned_wide(a_units as u64 * r_units as u64, UNIT as u64);
        let mixed = unsigned_wide(a_units as u64, r_rest).wrapping_add(unsigned_wide(a_rest, r_units as u64));
        units.wrapping_add(mixed).wrapping_add(whole_units(unsigned_wide(a_rest, r_rest)))
    } else {
        let whole = a_units.checked_mul(r)?;
        let rest = u128::from(a_rest).checked_mul(r_units)?;
        whole.checked_add(rest)?.checked_add(whole_units(unsigned_wide(a_rest, r_rest)))?
    };
    let product = i128::try_from(product).ok()?;
    Some(Money(if (amount.0 < 0) == (rate.0 < 0) { product } else { -product }))
}

/// `a * b`, which always fits.
#[inline]
const fn unsigned_wide(a: u64, b: u64) -> u128 {
    (a as u128).wrapping_mul(b as u128)
}

/// `amount / 10^18` without a division: 10^18 is 2^18 * 5^18, and 5^18 divides what is below 2^110 as a product with its inverse
/// of 152 binary places, rounded up, does.
#[inline]
const fn whole_units(amount: u128) -> u128 {
    const FIVES: u128 = 5u128.pow(18);
    const PLACES: u32 = 152;
    // 2^152 / 5^18, rounded up: 2^152 is more than `u128` holds.
    const INVERSE: u128 = {
        let (high, rest) = ((1 << 127) / FIVES, (1 << 127) % FIVES);
        let shift = PLACES - 127;
        (high << shift) + (rest << shift) / FIVES + 1
    };
    let (high, low) = ((amount >> 82) as u64, (amount >> 18) as u64);
    let (inverse_high, inverse_low) = ((INVERSE >> 64) as u64, INVERSE as u64);
    let middle = unsigned_wide(high, inverse_low).wrapping_add(unsigned_wide(low, inverse_high));
    let middle = middle.wrapping_add(unsigned_wide(low, inverse_low) >> 64);
    unsigned_wide(high, inverse_high).wrapping_add(middle >> 64) >> (PLACES - 128)
}

/// Two to this power bounds any single account or sum of fees: sums of several stay within `i128`.
const AMOUNT_BITS: u32 = 123;

#[inline]
pub(super) fn within(amount: &i128) -> bool {
    fits(*amount, AMOUNT_BITS)
}

/// True for amounts from `-2^bits` to `2^bits - 1`; `bits` is more than 64. It takes a look at the upper half.
#[inline]
pub(super) const fn fits(amount: i128, bits: u32) -> bool {
    let high = (amount >> 64) as i64;
    high.wrapping_add(1 << (bits - 64)) as u64 >> (bits - 63) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whole_units_are_those_of_a_division(amount in any::<u128>(), shift in 0u32..128, units in any::<u64>(), less in 0u128..2) {
            let unit = ONE.0 as u128;
            prop_assert_eq!(whole_units(amount >> shift), (amount >> shift) / unit);
            let edge = u128::from(units) * unit - less.min(u128::from(units));
            prop_assert_eq!(whole_units(edge), edge / unit);
            prop_assert_eq!(whole_units(u128::MAX - (amount >> shift)), (u128::MAX - (amount >> shift)) / unit);
        }

        #[test]
        fn what_fits_so_many_bits_is_told_by_the_upper_half(amount in any::<i128>(), shift in 0u32..127, bits in 65u32..127) {
            let amount = amount >> shift;
            prop_assert_eq!(fits(amount, bits), (-(1 << bits)..1 << bits).contains(&amount));
        }
    }
}
