//! What one open order binds: quantity, notional, and what its venue holds of a balance, with the fee.
//!
//! Fees are rounded up: a rate is a multiple of 2^-[`FEE_BITS`], so that no order divides.

use super::valuation::VALUE_CEILING;
use crate::event::Side;
use crate::fixed::{Money, Price, Qty};
use crate::instrument::Instrument;
use crate::order::entry::Reserved;
use crate::position::checked_notional;

/// Binary places of a fee rate.
const FEE_BITS: u32 = 40;
/// Notional up to which a fee rate can be applied without a division.
const FEE_FAST_MAX: i128 = 1 << 84;

/// What an order of `qty` open quantity at `price` binds. Buying, the fee is held on top.
#[inline]
pub fn bind(instrument: &Instrument, side: Side, price: Price, qty: Qty, post_only: bool) -> Reserved {
    if qty.0 <= 0 {
        return Reserved::default();
    }
    let notional = checked_notional(instrument, price, qty).map_or(VALUE_CEILING, |n| n.0.min(VALUE_CEILING));
    let hold = match side {
        Side::Sell => Money::from_qty(qty, instrument.qty_scale),
        Side::Buy => {
            let ppm = if post_only { instrument.maker_fee_ppm } else { instrument.taker_fee_ppm };
            Money(notional + fee(notional, ppm))
        }
    };
    Reserved { qty, hold, notional: Money(notional) }
}

/// `notional * ppm / 10^6`, rounded up by less than a millionth of it; zero for rebates.
#[inline]
fn fee(notional: i128, ppm: i32) -> i128 {
    if let Some(fee) = fee_at(notional, fee_rate(ppm)) {
        return fee;
    }
    (notional / 1_000_000 + 1) * i128::from(ppm.min(1_000_000))
}

/// A fee as a fraction with [`FEE_BITS`] binary places, rounded up; zero for rebates.
pub(in crate::risk) fn fee_rate(ppm: i32) -> u64 {
    if ppm <= 0 { 0 } else { ((i128::from(ppm.min(1_000_000)) << FEE_BITS) as u64) / 1_000_000 + 1 }
}

/// The fee at a rate; `None` if the notional (not negative) is too large to multiply.
#[inline]
pub(in crate::risk) fn fee_at(notional: i128, rate: u64) -> Option<i128> {
    match rate {
        0 => Some(0),
        _ if notional < FEE_FAST_MAX => Some((notional.wrapping_mul(i128::from(rate)) >> FEE_BITS) + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AssetId, VenueId};
    use proptest::prelude::*;

    #[test]
    fn a_buy_holds_quote_with_the_fee_and_a_sell_holds_base() {
        let instrument = Instrument {
            maker_fee_ppm: -100,
            taker_fee_ppm: 1_000,
            ..Instrument::new(VenueId(0), "BTCUSDT", [AssetId(0), AssetId(1)], [2, 8])
        };
        let (price, qty) = (Price(5_000_000), Qty(100_000_000));
        let taker = bind(&instrument, Side::Buy, price, qty, false);
        assert!(taker.hold.0 >= Money::from_scaled(50_050, 0).0 && taker.hold.0 < Money::from_scaled(50_050, 0).0 + 1_000_000_000_000_000);
        assert_eq!(bind(&instrument, Side::Buy, price, qty, true).hold, Money::from_scaled(50_000, 0), "a rebate frees nothing");
        let sell = bind(&instrument, Side::Sell, price, qty, false);
        assert_eq!((sell.hold, sell.notional), (Money::from_scaled(1, 0), Money::from_scaled(50_000, 0)));
        assert_eq!(bind(&instrument, Side::Buy, price, Qty(0), false), Reserved::default());
    }

    proptest! {
        #[test]
        fn the_fee_is_never_less_than_exact_and_hardly_more(notional in 0i128..1 << 100, ppm in -1_000i32..100_000) {
            let exact = notional / 1_000_000 * i128::from(ppm.max(0)) + notional % 1_000_000 * i128::from(ppm.max(0)) / 1_000_000;
            let got = fee(notional, ppm);
            prop_assert!(got >= exact && got - exact <= notional / 500_000 + 1_000_001, "{} {}", got, exact);
        }
    }
}
