//! How much to trade: from what a strategy wants to what the rules, the inventory and the balance allow.
//!
//! The one idea: a size only ever shrinks on its way. [`Sizing`] says what is wanted; [`size`] bounds it by the
//! room that the position limit leaves, by what the account can pay for, and by the instrument's largest order,
//! rounds it down to the lot, and refuses it (with the reason) if what is left is below the venue's minimum.
//! It never rounds up, so no bound is passed for the sake of a minimum.
//!
//! As in the gate, the common case is here twice: amounts that exist fit 64 bits once they are in units of the instrument, and
//! an account nearly always has far more than an order takes. [`Sizer::size_at_once`] and [`Units::takes`] answer for these; what they
//! are not sure of they leave to the exact form.

use crate::event::{Side, VALUE_MAX};
use crate::fixed::{Money, POW10, Price, Qty, wide};
use crate::instrument::Instrument;

/// What a strategy wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sizing {
    /// A fixed quantity.
    Fixed(Qty),
    /// A fixed notional in the quote asset.
    Notional(Money),
    /// As much as loses `risk` (quote asset) in a move of one standard deviation over the horizon whose volatility is given in
    /// [`Bounds::volatility`]; at most `qty_max`, which also applies while the volatility is unknown (zero).
    VolatilityScaled {
        /// Quote asset at risk per order.
        risk: Money,
        /// Largest quantity.
        qty_max: Qty,
    },
}

/// What bounds the size of one order.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bounds {
    /// Buy or sell.
    pub side: Side,
    /// Limit price.
    pub price: Price,
    /// What the position limit leaves: [`inventory_room`].
    pub room: Qty,
    /// Available on the venue of what the order spends: the quote asset when buying, the base asset when selling.
    pub available: Money,
    /// Fee of this order in millionths, kept free in the quote asset when buying.
    pub fee_ppm: i32,
    /// Relative standard deviation of the price over the horizon of interest (0.001 = 10 basis points).
    pub volatility: f64,
}

/// What amounts of one instrument are counted in. Scales never change, so neither do these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Units {
    /// Units of [`Money`] of one price unit times one quantity unit.
    pub raw: u64,
    /// Units of [`Money`] of one quantity unit.
    pub qty: u64,
}

impl Units {
    /// Of an instrument whose scales are within bounds.
    pub fn of(instrument: &Instrument) -> Units {
        let up = |scale: u8| POW10[usize::from(Money::SCALE.saturating_sub(scale))] as u64;
        Units { raw: up(instrument.price_scale + instrument.qty_scale), qty: up(instrument.qty_scale) }
    }

    /// True only if the instrument takes an order of `qty`, which is on lot, and `available` of what the side spends pays for it,
    /// a fee of `fee_ppm` included: [`check_minimum`] and [`affordable`] would leave it as it is. False says nothing.
    #[inline(always)]
    pub fn takes(&self, instrument: &Instrument, side: Side, price: Price, qty: Qty, available: Money, fee_ppm: i32) -> bool {
        /// A fee below a thirty-second part.
        const FEE_PPM_MAX: i32 = 31_250;
        let in_bounds = (1..=VALUE_MAX).contains(&price.0) & (1..=VALUE_MAX).contains(&qty.0);
        let within = (qty >= instrument.qty_min) & (qty <= instrument.qty_max);
        let Ok(raw) = u64::try_from(wide(price.0, qty.0)) else { return false };
        // Below 2^124.
        let notional = u128::from(raw).wrapping_mul(u128::from(self.raw)) as i128;
        let spent = match side {
            Side::Buy => notional.wrapping_add((notional >> 5) + 1),
            Side::Sell => u128::from(qty.0 as u64).wrapping_mul(u128::from(self.qty)) as i128,
        };
        in_bounds & within & (notional >= instrument.notional_min.0) & (fee_ppm <= FEE_PPM_MAX) & (spent <= available.0)
    }
}

/// A [`Sizing`] made ready for one instrument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizer {
    sizing: Sizing,
    units: Units,
    /// A notional in price units times quantity units, rounded down; 0 if that is not what is wanted, or does not fit.
    raw: u64,
}

impl Sizer {
    /// For an instrument whose scales are within bounds.
    pub fn new(sizing: Sizing, instrument: &Instrument) -> Sizer {
        let units = Units::of(instrument);
        let raw = match sizing {
            Sizing::Notional(amount) => u64::try_from(amount.0 / i128::from(units.raw)).unwrap_or(0),
            Sizing::Fixed(_) | Sizing::VolatilityScaled { .. } => 0,
        };
        Sizer { sizing, units, raw }
    }

    /// As [`size`], but says nothing of why there is nothing to trade.
    #[inline]
    pub fn size(&self, instrument: &Instrument, bounds: &Bounds) -> Option<Qty> {
        let (quick, exact) = (self.size_at_once(instrument, bounds), size(&self.sizing, instrument, bounds).ok());
        debug_assert!(quick.is_none() || quick == exact, "sized at once {quick:?}, not step by step: {bounds:?}");
        exact
    }

    /// As [`Sizer::size`], if 64 bits do and the account pays for all of it: `None` says nothing.
    #[inline(always)]
    pub fn size_at_once(&self, instrument: &Instrument, bounds: &Bounds) -> Option<Qty> {
        let Bounds { side, price, room, available, fee_ppm, volatility } = *bounds;
        let divisor = u64::try_from(price.0).ok().filter(|&price| price > 0)?;
        let wanted = match self.sizing {
            Sizing::Fixed(qty) => qty.0,
            Sizing::Notional(_) => i64::try_from(self.raw / divisor).ok()?,
            sizing @ Sizing::VolatilityScaled { .. } => sizing.wanted(instrument, price, volatility).0,
        };
        let most = wanted.min(room.0).min(instrument.qty_max.0);
        let lot = u64::try_from(instrument.lot.0).ok().filter(|&lot| lot > 0)?;
        let most = u64::try_from(most).ok()?;
        let qty = Qty((most - most % lot) as i64);
        self.units.takes(instrument, side, price, qty, available, fee_ppm).then_some(qty)
    }
}

/// Why there is nothing to trade.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoSize {
    /// The price is not positive.
    #[error("no usable price")]
    Price,
    /// The position is at its limit on this side.
    #[error("position limit reached")]
    Inventory,
    /// The account cannot pay for the smallest order.
    #[error("not enough balance")]
    Balance,
    /// What is left is below the venue's smallest quantity.
    #[error("below the smallest quantity")]
    BelowMinimumQty,
    /// What is left is below the venue's smallest notional.
    #[error("below the smallest notional")]
    BelowMinimumNotional,
}

/// Quantity that `amount` of quote buys at `price`, rounded down; saturates at [`VALUE_MAX`].
#[inline]
pub fn qty_for_notional(instrument: &Instrument, amount: Money, price: Price) -> Qty {
    if price.0 <= 0 || amount.0 <= 0 {
        return Qty::ZERO;
    }
    let up = POW10[usize::from(Money::SCALE.saturating_sub(instrument.price_scale + instrument.qty_scale))];
    let qty = amount.0 / wide(up, price.0);
    Qty(qty.min(i128::from(VALUE_MAX)) as i64)
}

/// How much an order on `side` may add before the position passes `position_max`; zero if it is there already.
#[inline]
pub fn inventory_room(side: Side, position: Qty, position_max: Qty) -> Qty {
    let room = match side {
        Side::Buy => position_max.0.saturating_sub(position.0),
        Side::Sell => position_max.0.saturating_add(position.0),
    };
    Qty(room.max(0))
}

/// How much the account can pay for: base on hand when selling; quote on hand, less the fee, when buying.
#[inline]
pub fn affordable(instrument: &Instrument, bounds: &Bounds) -> Qty {
    match bounds.side {
        Side::Sell => Qty(bounds.available.to_scaled(instrument.qty_scale).clamp(0, VALUE_MAX)),
        Side::Buy => {
            const MILLION: i128 = 1_000_000;
            let with_fee = MILLION + i128::from(bounds.fee_ppm.max(0));
            let amount = bounds.available.0.max(0);
            // amount * 10^6 / with_fee without overflow: whole part and rest apart.
            let spend = amount / with_fee * MILLION + amount % with_fee * MILLION / with_fee;
            qty_for_notional(instrument, Money(spend), bounds.price)
        }
    }
}

/// The smaller of `wanted` and what the account can pay for. No division where that is `wanted`, as it nearly always is.
#[inline]
pub fn affordable_of(instrument: &Instrument, bounds: &Bounds, wanted: Qty) -> Qty {
    if pays_for(instrument, bounds, wanted) { wanted } else { wanted.min(affordable(instrument, bounds)) }
}

/// True only if [`affordable`] is at least `qty`. False says nothing where amounts are beyond any that exist.
#[inline]
fn pays_for(instrument: &Instrument, bounds: &Bounds, qty: Qty) -> bool {
    const MILLION: i128 = 1_000_000;
    /// Amounts below this can be multiplied by a million and a fee.
    const AMOUNT_SANE: i128 = 1 << 100;
    if !(0..=VALUE_MAX).contains(&qty.0) {
        return false;
    }
    match bounds.side {
        Side::Sell => Money::from_qty(qty, instrument.qty_scale) <= bounds.available,
        Side::Buy => {
            let cost = crate::position::checked_notional(instrument, bounds.price, qty).map_or(AMOUNT_SANE, |cost| cost.0);
            let amount = bounds.available.0;
            let sane = bounds.price.0 > 0 && cost < AMOUNT_SANE && (0..AMOUNT_SANE).contains(&amount);
            let with_fee = MILLION + i128::from(bounds.fee_ppm.max(0));
            sane && cost.wrapping_mul(with_fee) <= amount.wrapping_mul(MILLION)
        }
    }
}

impl Sizing {
    /// The quantity wanted at `price`, before any bound.
    #[inline]
    pub fn wanted(&self, instrument: &Instrument, price: Price, volatility: f64) -> Qty {
        match *self {
            Sizing::Fixed(qty) => qty,
            Sizing::Notional(amount) => qty_for_notional(instrument, amount, price),
            Sizing::VolatilityScaled { risk, qty_max } => {
                let loss_per_unit = price.to_f64(instrument.price_scale) * volatility;
                if loss_per_unit.is_nan() || loss_per_unit <= 0.0 {
                    return qty_max;
                }
                let units = risk.to_f64() / loss_per_unit * POW10[usize::from(instrument.qty_scale)] as f64;
                // A float beyond i64 saturates in the cast; NaN becomes zero.
                Qty((units as i64).clamp(0, qty_max.0.max(0)))
            }
        }
    }
}

/// The size of an order: `sizing` within `bounds`, on lot, at or above the venue's minimum, or why not.
#[inline]
pub fn size(sizing: &Sizing, instrument: &Instrument, bounds: &Bounds) -> Result<Qty, NoSize> {
    if !(1..=VALUE_MAX).contains(&bounds.price.0) {
        return Err(NoSize::Price);
    }
    let wanted = sizing.wanted(instrument, bounds.price, bounds.volatility).0.clamp(0, VALUE_MAX);
    let room = bounds.room.0;
    if room <= 0 {
        return Err(NoSize::Inventory);
    }
    let bounded = wanted.min(room);
    let paid = check_minimum(instrument, bounds.price, affordable_of(instrument, bounds, Qty(bounded)).0);
    if paid.is_ok() {
        return paid;
    }
    match (paid, check_minimum(instrument, bounds.price, bounded)) {
        (Err(_), Ok(_)) => Err(NoSize::Balance),
        (Err(_), Err(_)) if wanted > room && check_minimum(instrument, bounds.price, wanted).is_ok() => Err(NoSize::Inventory),
        (paid, _) => paid,
    }
}

/// Rounds a quantity down to lot and largest order, and refuses it below the instrument's minimum.
#[inline]
pub fn check_minimum(instrument: &Instrument, price: Price, qty: i64) -> Result<Qty, NoSize> {
    let qty = instrument.floor_to_lot(Qty(qty.min(instrument.qty_max.0).max(0)));
    if qty.is_zero() || qty < instrument.qty_min {
        return Err(NoSize::BelowMinimumQty);
    }
    let notional = crate::position::checked_notional(instrument, price, qty).unwrap_or(Money(i128::MAX));
    if notional < instrument.notional_min { Err(NoSize::BelowMinimumNotional) } else { Ok(qty) }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::ids::{AssetId, VenueId};

    use proptest::prelude::*;

    /// Prices in cents, quantities in 10^-8, lot 10^-5, smallest notional 5.
    fn btc_usdt() -> Instrument {
        Instrument {
            lot: Qty(1_000),
            qty_min: Qty(1_000),
            qty_max: Qty(900_000_000_000),
            notional_min: Money::from_scaled(5, 0),
            maker_fee_ppm: 1_000,
            taker_fee_ppm: 1_000,
            ..Instrument::new(VenueId(0), "BTCUSDT", [AssetId(0), AssetId(1)], [2, 8])
        }
    }

    fn bounds(side: Side) -> Bounds {
        Bounds {
            side,
            price: Price(5_000_000),
            room: Qty(100_000_000),
            available: if side == Side::Buy { Money::from_scaled(1_000_000, 0) } else { Money::from_scaled(10, 0) },
            fee_ppm: 1_000,
            volatility: 0.0,
        }
    }

    #[test]
    fn sizes_come_out_on_lot_and_never_above_what_was_wanted() {
        let instrument = btc_usdt();
        assert_eq!(size(&Sizing::Fixed(Qty(1_234_567)), &instrument, &bounds(Side::Buy)), Ok(Qty(1_234_000)));
        // 1,000 USDT at 50,000 is 0.02 BTC.
        assert_eq!(size(&Sizing::Notional(Money::from_scaled(1_000, 0)), &instrument, &bounds(Side::Sell)), Ok(Qty(2_000_000)));
    }

    #[test]
    fn volatility_scaled_size_halves_when_volatility_doubles() {
        let instrument = btc_usdt();
        let sizing = Sizing::VolatilityScaled { risk: Money::from_scaled(10, 0), qty_max: Qty(50_000_000) };
        // 10 USDT at risk, 50,000 * 0.1% = 50 per unit: 0.2 BTC.
        assert_eq!(size(&sizing, &instrument, &Bounds { volatility: 0.001, ..bounds(Side::Buy) }), Ok(Qty(20_000_000)));
        assert_eq!(size(&sizing, &instrument, &Bounds { volatility: 0.002, ..bounds(Side::Buy) }), Ok(Qty(10_000_000)));
        for volatility in [0.0, f64::NAN, -1.0, 1e-300] {
            assert_eq!(size(&sizing, &instrument, &Bounds { volatility, ..bounds(Side::Buy) }), Ok(Qty(50_000_000)), "{volatility}");
        }
    }

    #[test]
    fn each_bound_refuses_with_its_own_reason() {
        let instrument = btc_usdt();
        let fixed = Sizing::Fixed(Qty(10_000_000));
        let long = |side: Side, position: i64| Bounds { room: inventory_room(side, Qty(position), Qty(100_000_000)), ..bounds(side) };
        assert_eq!(size(&fixed, &instrument, &long(Side::Buy, 100_000_000)), Err(NoSize::Inventory));
        assert_eq!(size(&fixed, &instrument, &long(Side::Buy, 99_999_900)), Err(NoSize::Inventory));
        assert_eq!(size(&fixed, &instrument, &long(Side::Sell, 100_000_000)), Ok(Qty(10_000_000)), "reducing is allowed");
        let poor = Bounds { available: Money::from_scaled(4, 0), ..bounds(Side::Buy) };
        assert_eq!(size(&fixed, &instrument, &poor), Err(NoSize::Balance));
        let empty = Bounds { available: Money::ZERO, ..bounds(Side::Sell) };
        assert_eq!(size(&fixed, &instrument, &empty), Err(NoSize::Balance));
        assert_eq!(size(&Sizing::Fixed(Qty(999)), &instrument, &bounds(Side::Buy)), Err(NoSize::BelowMinimumQty));
        assert_eq!(size(&Sizing::Fixed(Qty(9_000)), &instrument, &bounds(Side::Buy)), Err(NoSize::BelowMinimumNotional));
        assert_eq!(size(&fixed, &instrument, &Bounds { price: Price(0), ..bounds(Side::Buy) }), Err(NoSize::Price));
    }

    #[test]
    fn buying_keeps_the_fee_free() {
        let instrument = btc_usdt();
        let bounds = Bounds { available: Money::from_scaled(50_000, 0), fee_ppm: 1_000, ..bounds(Side::Buy) };
        // 50,000 / 1.001 / 50,000 = 0.99900099 BTC.
        assert_eq!(size(&Sizing::Fixed(Qty(100_000_000)), &instrument, &bounds), Ok(Qty(99_900_000)));
    }

    /// Small numbers, large ones, and those at the edges.
    fn amount() -> impl Strategy<Value = i64> {
        let edge = prop_oneof![Just(0), Just(VALUE_MAX), Just(i64::MAX), Just(i64::MIN), Just(i64::from(u32::MAX))];
        let near = (edge, -2_i64..=2).prop_map(|(edge, by)| edge.saturating_add(by));
        prop_oneof![0_i64..20, 1_i64..10_000_000_000, (any::<i64>(), 0_u32..63).prop_map(|(n, by)| n >> by), near]
    }

    /// As [`amount`], of money.
    fn money() -> impl Strategy<Value = Money> {
        let scaled = (0_i64..10_000_000, 0_u8..=18).prop_map(|(n, scale)| Money::from_scaled(n, scale));
        prop_oneof![3 => scaled, 1 => (any::<i128>(), 0_u32..127).prop_map(|(n, by)| Money(n >> by))]
    }

    fn sizing() -> impl Strategy<Value = Sizing> {
        prop_oneof![
            amount().prop_map(|qty| Sizing::Fixed(Qty(qty))),
            money().prop_map(Sizing::Notional),
            (money(), amount()).prop_map(|(risk, max)| Sizing::VolatilityScaled { risk, qty_max: Qty(max) }),
        ]
    }

    prop_compose! {
        /// Any rules, mostly such as exist.
        fn rules()(
            price_scale in 0_u8..=9, qty_scale in 0_u8..=9, lot in prop_oneof![Just(1), 1_i64..100_000, 1_i64..=VALUE_MAX],
            qty_min in prop_oneof![0_i64..100_000, 0..=VALUE_MAX], qty_max in prop_oneof![Just(i64::MAX), 0_i64..i64::MAX],
            least in money(),
        ) -> Instrument {
            Instrument {
                lot: Qty(lot), qty_min: Qty(qty_min), qty_max: Qty(qty_max), notional_min: least,
                ..Instrument::new(VenueId(0), "BTCUSDT", [AssetId(0), AssetId(1)], [price_scale, qty_scale])
            }
        }
    }

    prop_compose! {
        fn any_bounds()(
            buy in any::<bool>(), price in amount(), room in amount(), available in money(),
            fee_ppm in prop_oneof![-1_000_i32..40_000, any::<i32>()],
            volatility in prop_oneof![Just(0.0), 0.0..0.1_f64, any::<f64>()],
        ) -> Bounds {
            Bounds {
                side: if buy { Side::Buy } else { Side::Sell }, price: Price(price),
                room: Qty(room), available, fee_ppm, volatility,
            }
        }
    }

    #[test]
    fn what_is_usual_is_sized_at_once() {
        let instrument = btc_usdt();
        for side in [Side::Buy, Side::Sell] {
            for sizing in [
                Sizing::Fixed(Qty(1_234_567)),
                Sizing::Notional(Money::from_scaled(1_000, 0)),
                Sizing::VolatilityScaled { risk: Money::from_scaled(10, 0), qty_max: Qty(50_000_000) },
            ] {
                let sized = Sizer::new(sizing, &instrument).size_at_once(&instrument, &bounds(side));
                assert_eq!(sized, size(&sizing, &instrument, &bounds(side)).ok());
                assert!(sized.is_some(), "{sizing:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn sized_at_once_is_sized_step_by_step(sizing in sizing(), instrument in rules(), bounds in any_bounds()) {
            let sizer = Sizer::new(sizing, &instrument);
            let plain = size(&sizing, &instrument, &bounds).ok();
            let quick = sizer.size_at_once(&instrument, &bounds);
            prop_assert!(quick.is_none() || quick == plain, "{:?}, not {:?}", quick, plain);
            prop_assert_eq!(sizer.size(&instrument, &bounds), plain);
        }

        #[test]
        fn room_is_what_is_left_in_the_direction_of_the_side(buy in any::<bool>(), position in amount(), position_max in amount()) {
            let side = if buy { Side::Buy } else { Side::Sell };
            let room = i128::from(position_max) - i128::from(position) * i128::from(side.sign());
            let room = room.clamp(0, i128::from(i64::MAX)) as i64;
            prop_assert_eq!(inventory_room(side, Qty(position), Qty(position_max)), Qty(room));
        }

        /// On the edge of what the account pays for, and of what the instrument takes.
        #[test]
        fn what_is_taken_at_once_is_allowed_and_paid_for(
            instrument in rules(), bounds in any_bounds(), lots in 1_i64..100_000, near in -2_i128..=2, qty_near in -1_i64..=1,
        ) {
            let qty = Qty(instrument.lot.0.saturating_mul(lots));
            let notional = crate::position::checked_notional(&instrument, bounds.price, qty).map_or(0, |n| n.0);
            let fee = notional.saturating_mul(i128::from(bounds.fee_ppm.clamp(0, 1_000_000))) / 1_000_000;
            let sells = Money::from_qty(qty, instrument.qty_scale).0;
            let spent = if bounds.side == Side::Buy { notional.saturating_add(fee) } else { sells };
            let on_edge = Money(spent.saturating_add(near));
            let edged = Instrument { qty_min: Qty(qty.0.saturating_add(qty_near)), notional_min: Money(notional), ..instrument.clone() };
            let free = bounds.available;
            for (instrument, available) in [(&instrument, on_edge), (&edged, free), (&edged, on_edge), (&instrument, free)] {
                let bounds = Bounds { available, ..bounds };
                let taken = Units::of(instrument).takes(instrument, bounds.side, bounds.price, qty, available, bounds.fee_ppm);
                if taken {
                    prop_assert_eq!(check_minimum(instrument, bounds.price, qty.0), Ok(qty));
                    prop_assert!(affordable(instrument, &bounds) >= qty);
                }
            }
        }

        #[test]
        fn what_is_affordable_of_a_quantity_is_the_smaller_of_both(
            buy in any::<bool>(), price in 1..=VALUE_MAX, wanted in prop_oneof![1..=VALUE_MAX, any::<i64>()], near in -2i64..=2,
            available in prop_oneof![any::<i128>(), (0i64..i64::MAX).prop_map(i128::from)], fee_ppm in -1_000i32..1_000_000,
        ) {
            let instrument = btc_usdt();
            let bounds = Bounds {
                price: Price(price), available: Money(available), fee_ppm, ..self::bounds(if buy { Side::Buy } else { Side::Sell })
            };
            let most = affordable(&instrument, &bounds);
            for wanted in [wanted, most.0 + near] {
                prop_assert_eq!(affordable_of(&instrument, &bounds, Qty(wanted)), Qty(wanted).min(most));
            }
        }

        #[test]
        fn a_size_keeps_every_bound(
            buy in any::<bool>(), price in 1..=VALUE_MAX, wanted in any::<i64>(), position in -VALUE_MAX..=VALUE_MAX,
            position_max in 0..=VALUE_MAX, available in any::<i64>(), fee_ppm in -1_000i32..100_000,
        ) {
            let instrument = btc_usdt();
            let side = if buy { Side::Buy } else { Side::Sell };
            let bounds = Bounds {
                side, price: Price(price), room: inventory_room(side, Qty(position), Qty(position_max)),
                available: Money::from_scaled(available, if buy { 2 } else { 8 }), fee_ppm, volatility: 0.0,
            };
            if let Ok(qty) = size(&Sizing::Fixed(Qty(wanted)), &instrument, &bounds) {
                prop_assert!(qty.0 > 0 && qty.0 <= wanted && qty.0 % instrument.lot.0 == 0 && qty <= instrument.qty_max);
                prop_assert!((position + qty.0 * bounds.side.sign()) * bounds.side.sign() <= position_max);
                let notional = instrument.notional(Price(price), qty);
                prop_assert!(notional >= instrument.notional_min);
                match bounds.side {
                    Side::Buy => {
                        let with_fee = notional.0 / 1_000 * (1_000_000 + i128::from(fee_ppm.max(0))) / 1_000;
                        prop_assert!(with_fee <= bounds.available.0);
                    }
                    Side::Sell => prop_assert!(Money::from_qty(qty, 8) <= bounds.available),
                }
            }
        }
    }
}
