//! What a quantity at a mark is worth in the reporting asset: two multiplications where 64 bits are enough, and a bound for all
//! that no limit reaches.

use crate::fixed::{Money, POW10, Price, wide};
use crate::ids::AssetId;
use crate::position::Positions;

/// Bound on one value: sums over 65,536 of them fit, and no limit reaches it.
pub(in crate::risk) const VALUE_CEILING: i128 = 1_000_000_000_000_000 * 1_000_000_000_000_000_000 + 1;
/// Binary places of [`Unit::value`].
const UNIT_BITS: u32 = 20;

/// Value in the reporting asset of one price unit times one quantity unit, [`UNIT_BITS`] binary places; 0 while the rate of the
/// quote asset is unknown. The same for all instruments with this quote asset and these scales.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub(super) value: i128,
    /// As `value` where it fits, else 0.
    fast: u64,
    /// Units of [`Money`] of one price unit times one quantity unit.
    pub(super) up: i64,
    pub(super) quote: AssetId,
    /// The rate that `value` was made of; `None` at first.
    rate: Option<Money>,
}

impl Unit {
    /// A unit whose rate is not known yet.
    pub(super) const fn new(quote: AssetId, up: i64) -> Unit {
        Unit { value: 0, fast: 0, up, quote, rate: None }
    }

    /// The rate of the quote asset is known.
    #[inline]
    pub(super) const fn is_priced(&self) -> bool {
        self.value != 0
    }

    /// Takes over the rate of the quote asset.
    pub(super) fn refresh(&mut self, positions: &Positions) {
        const ONE: i128 = POW10[Money::SCALE as usize] as i128;
        let rates = &positions.rates;
        if self.quote == rates.reporting() {
            self.value = i128::from(self.up) << UNIT_BITS;
        } else {
            let rate = rates.value(self.quote);
            if rate == self.rate {
                return;
            }
            self.rate = rate;
            self.value = rate.map_or(0, |rate| {
                // Whole and fraction of the rate apart, so that nothing overflows; rounded up.
                let up = i128::from(self.up);
                let (whole, part) = (rate.0 / ONE, rate.0 % ONE * up);
                let fraction = ((part / ONE) << UNIT_BITS) + ((part % ONE) << UNIT_BITS) / ONE + 1;
                whole.saturating_mul(up << UNIT_BITS).saturating_add(fraction).min(VALUE_CEILING)
            });
        }
        self.fast = u64::try_from(self.value).unwrap_or(0);
    }

    /// `qty * mark` in the reporting asset.
    #[inline(always)]
    pub(super) fn value(&self, qty: i64, mark: Price) -> i128 {
        value_fast(self.fast, qty, mark).unwrap_or_else(|| value_wide(self.value, qty, mark))
    }
}

/// `qty * mark * unit` in the reporting asset; `None` where it takes more than two multiplications of 64 bits, or `unit` is not
/// known.
#[inline]
fn value_fast(unit: u64, qty: i64, mark: Price) -> Option<i128> {
    let raw = (qty as u64).checked_mul(mark.0 as u64).filter(|_| unit != 0 && qty | mark.0 >= 0)?;
    // Below 2^108, which is below the ceiling.
    Some((u128::from(raw).wrapping_mul(u128::from(unit)) >> UNIT_BITS) as i128)
}

/// As [`value_fast`], for any amounts: what does not fit is the ceiling.
#[cold]
fn value_wide(unit: i128, qty: i64, mark: Price) -> i128 {
    wide(qty, mark.0).checked_mul(unit).map_or(VALUE_CEILING, |value| (value >> UNIT_BITS).clamp(-VALUE_CEILING, VALUE_CEILING))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_quick_value_is_the_exact_one(
            unit in any::<u64>(), qty in any::<i64>(), mark in any::<i64>(), less in [0u32..64, 0..64, 0..64],
        ) {
            let (unit, qty, mark) = (unit >> less[0], qty >> less[1], mark >> less[2]);
            if let Some(value) = value_fast(unit, qty, Price(mark)) {
                prop_assert_eq!(value, value_wide(i128::from(unit), qty, Price(mark)));
            } else {
                let short = qty >= 0 && mark >= 0 && qty.checked_mul(mark).is_some();
                prop_assert!(unit == 0 || !short, "nearly all values are quick");
            }
        }
    }
}
