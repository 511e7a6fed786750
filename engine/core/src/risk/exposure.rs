//! What open orders bind, and what positions are worth with all of them filled.
//!
//! Every sum here is kept, not computed: a change of one order or position touches its instrument's lane, its
//! strategy's lane and the totals over them. Quantities and amounts are exact. Values in the reporting asset use
//! each instrument's last mark: an instrument's value is brought up to date when one of its orders is checked or
//! changes, and all of them at each timer event.

use crate::event::Side;
use crate::fixed::{Money, POW10, Price, Qty};
use crate::ids::{AssetId, InstrumentId, StrategyId, VenueId};
use crate::instrument::{Instrument, InstrumentTable};
use crate::order::table::{Order, Reserved};
use crate::position::{Positions, checked_notional};
use crate::state_hash::StateHasher;

/// Bound on one value: sums over 65,536 of them fit, and no limit reaches it.
const VALUE_CEILING: i128 = 1_000_000_000_000_000 * 1_000_000_000_000_000_000 + 1;
/// Binary places of [`Exposure::units`].
const UNIT_BITS: u32 = 20;
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
    if ppm <= 0 {
        return 0;
    }
    let ppm = ppm.min(1_000_000);
    if notional < FEE_FAST_MAX {
        let rate = ((i128::from(ppm) << FEE_BITS) as u64 / 1_000_000 + 1) as i128;
        return ((notional * rate) >> FEE_BITS) + 1;
    }
    (notional / 1_000_000 + 1) * i128::from(ppm)
}

/// Open quantity and value of one instrument, of all or of one strategy.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    /// Open quantity by [`Side::index`].
    open: [i64; 2],
    /// Value in the reporting asset with all open orders filled, as of the last look.
    gross: i128,
}

impl Lane {
    /// Largest position, long or short, that `position` and the open orders can become if `added` more opens on `side`.
    #[inline]
    fn worst(&self, position: Qty, side: Side, added: i64) -> i64 {
        let mut open = self.open;
        open[side.index()] = open[side.index()].saturating_add(added);
        let long = position.0.saturating_add(open[0]);
        let short = position.0.saturating_sub(open[1]);
        long.saturating_abs().max(short.saturating_abs())
    }
}

/// Amounts of one asset over all venues.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    /// Traded into the asset so far, fees not counted.
    net: i128,
    /// Open orders that bring it in.
    open_in: i128,
    /// Open orders that pay it away.
    open_out: i128,
}

/// See the module header.
#[derive(Clone, Debug)]
pub struct Exposure {
    instruments: usize,
    assets: usize,
    /// By instrument.
    lanes: Vec<Lane>,
    /// `strategy * instruments + instrument`.
    own: Vec<Lane>,
    /// `venue * assets + asset`.
    holds: Vec<i128>,
    /// By asset.
    flows: Vec<Flow>,
    /// By instrument: value in the reporting asset of one price unit times one quantity unit, [`UNIT_BITS`] binary places;
    /// 0 while the rate of its quote asset is unknown.
    units: Vec<i128>,
    by_venue: Vec<i128>,
    by_strategy: Vec<i128>,
    total: i128,
}

impl Exposure {
    /// Nothing open, nothing held.
    pub fn new(strategies: usize, instruments: usize, venues: usize, assets: usize) -> Exposure {
        Exposure {
            instruments,
            assets,
            lanes: vec![Lane::default(); instruments],
            own: vec![Lane::default(); strategies * instruments],
            holds: vec![0; venues * assets],
            flows: vec![Flow::default(); assets],
            units: vec![0; instruments],
            by_venue: vec![0; venues],
            by_strategy: vec![0; strategies],
            total: 0,
        }
    }

    #[inline]
    fn own_index(&self, strategy: StrategyId, instrument: InstrumentId) -> usize {
        strategy.index() * self.instruments + instrument.index()
    }

    /// Takes the change of what an order binds, from `before` to what its `reserved` says now.
    #[inline]
    pub fn rebind(&mut self, order: &Order, instrument: &Instrument, before: Reserved) {
        let after = order.reserved;
        if before == after {
            return;
        }
        let side = order.side.index();
        let qty = after.qty.0 - before.qty.0;
        let own = self.own_index(order.strategy, order.instrument);
        self.lanes[order.instrument.index()].open[side] += qty;
        self.own[own].open[side] += qty;
        let held = if order.side == Side::Buy { instrument.quote } else { instrument.base };
        self.holds[order.venue.index() * self.assets + held.index()] += after.hold.0 - before.hold.0;
        let base = i128::from(qty) * i128::from(POW10[usize::from(Money::SCALE - instrument.qty_scale)]);
        let quote = after.notional.0 - before.notional.0;
        match order.side {
            Side::Buy => {
                self.flows[instrument.base.index()].open_in += base;
                self.flows[instrument.quote.index()].open_out += quote;
            }
            Side::Sell => {
                self.flows[instrument.base.index()].open_out += base;
                self.flows[instrument.quote.index()].open_in += quote;
            }
        }
    }

    /// Takes a booked fill.
    #[inline]
    pub fn on_fill(&mut self, instrument: &Instrument, side: Side, qty: Qty, notional: Money) {
        let base = Money::from_qty(qty, instrument.qty_scale).0 * i128::from(side.sign());
        let quote = notional.0 * i128::from(side.sign());
        let into = &mut self.flows[instrument.base.index()];
        into.net = into.net.saturating_add(base);
        let out = &mut self.flows[instrument.quote.index()];
        out.net = out.net.saturating_sub(quote);
    }

    /// Brings the values of one instrument, of all and of one strategy, up to date.
    #[inline]
    pub fn revalue(&mut self, strategy: StrategyId, id: InstrumentId, venue: VenueId, positions: &Positions) {
        let mark = positions.mark(id).unwrap_or_default();
        let position = positions.total(id).map_or(Qty::ZERO, |p| p.qty);
        let gross = self.value(id, self.lanes[id.index()].worst(position, Side::Buy, 0), mark);
        let change = gross - self.lanes[id.index()].gross;
        self.lanes[id.index()].gross = gross;
        self.by_venue[venue.index()] += change;
        self.total += change;
        self.revalue_own(strategy, id, mark, positions);
    }

    #[inline]
    fn revalue_own(&mut self, strategy: StrategyId, id: InstrumentId, mark: Price, positions: &Positions) {
        let own = self.own_index(strategy, id);
        let position = positions.strategy(strategy, id).map_or(Qty::ZERO, |p| p.qty);
        let gross = self.value(id, self.own[own].worst(position, Side::Buy, 0), mark);
        self.by_strategy[strategy.index()] += gross - self.own[own].gross;
        self.own[own].gross = gross;
    }

    /// Brings everything up to date: rates, then values. Walks all instruments of all strategies: for timers.
    pub fn refresh(&mut self, instruments: &InstrumentTable, positions: &Positions) {
        for (id, instrument) in instruments.iter() {
            self.refresh_unit(id, instrument, positions);
            let mark = positions.mark(id).unwrap_or_default();
            let position = positions.total(id).map_or(Qty::ZERO, |p| p.qty);
            let gross = self.value(id, self.lanes[id.index()].worst(position, Side::Buy, 0), mark);
            let change = gross - self.lanes[id.index()].gross;
            self.lanes[id.index()].gross = gross;
            self.by_venue[instrument.venue.index()] += change;
            self.total += change;
            for strategy in 0..self.by_strategy.len() {
                self.revalue_own(StrategyId(strategy as u8), id, mark, positions);
            }
        }
    }

    /// Takes over the rate of an instrument's quote asset.
    pub fn refresh_unit(&mut self, id: InstrumentId, instrument: &Instrument, positions: &Positions) {
        const ONE: i128 = POW10[Money::SCALE as usize] as i128;
        let up = i128::from(POW10[usize::from(Money::SCALE - instrument.price_scale - instrument.qty_scale)]);
        self.units[id.index()] = match positions.rates.value(instrument.quote) {
            _ if instrument.quote == positions.rates.reporting() => up << UNIT_BITS,
            Some(rate) => {
                // Whole and fraction of the rate apart, so that nothing overflows; rounded up.
                let (whole, part) = (rate.0 / ONE, rate.0 % ONE * up);
                let fraction = ((part / ONE) << UNIT_BITS) + ((part % ONE) << UNIT_BITS) / ONE + 1;
                whole.saturating_mul(up << UNIT_BITS).saturating_add(fraction).min(VALUE_CEILING)
            }
            None => 0,
        };
    }

    /// True if the instrument's quote asset has a value in the reporting asset.
    #[inline]
    pub fn is_priced(&self, id: InstrumentId) -> bool {
        self.units[id.index()] != 0
    }

    #[inline]
    fn value(&self, id: InstrumentId, qty: i64, mark: Price) -> i128 {
        let raw = i128::from(qty) * i128::from(mark.0);
        raw.checked_mul(self.units[id.index()]).map_or(VALUE_CEILING, |v| (v >> UNIT_BITS).min(VALUE_CEILING))
    }

    /// Open quantity of an instrument on a side.
    #[inline]
    pub fn open(&self, id: InstrumentId, side: Side) -> Qty {
        Qty(self.lanes[id.index()].open[side.index()])
    }

    /// Open quantity of a strategy in an instrument on a side.
    #[inline]
    pub fn own_open(&self, strategy: StrategyId, id: InstrumentId, side: Side) -> Qty {
        Qty(self.own[self.own_index(strategy, id)].open[side.index()])
    }

    /// Held of an asset on a venue by open orders.
    #[inline]
    pub fn held(&self, venue: VenueId, asset: AssetId) -> Money {
        self.holds.get(venue.index() * self.assets + asset.index()).map_or(Money::ZERO, |&h| Money(h))
    }

    /// Net amount of an asset if everything open filled that moves it in the direction of `into`, and `added` more.
    #[inline]
    pub fn flow_worst(&self, asset: AssetId, into: bool, added: Money) -> Money {
        let flow = &self.flows[asset.index()];
        let worst = if into { flow.net.saturating_add(flow.open_in) } else { flow.open_out.saturating_sub(flow.net) };
        Money(worst.saturating_add(added.0))
    }

    /// Gross values with `added` more open on `side`: of the venue, of the strategy and of everything; `None` if that
    /// does not raise the instrument's own value. `mark` is the price to value this instrument at.
    #[inline]
    #[allow(clippy::too_many_arguments)]
    pub fn gross_with(
        &self,
        strategy: StrategyId,
        id: InstrumentId,
        venue: VenueId,
        side: Side,
        added: Qty,
        mark: Price,
        positions: &Positions,
    ) -> Gross {
        let lane = &self.lanes[id.index()];
        let position = positions.total(id).map_or(Qty::ZERO, |p| p.qty);
        let (now, then) = (lane.worst(position, side, 0), lane.worst(position, side, added.0));
        let own = &self.own[self.own_index(strategy, id)];
        let own_position = positions.strategy(strategy, id).map_or(Qty::ZERO, |p| p.qty);
        let (own_now, own_then) = (own.worst(own_position, side, 0), own.worst(own_position, side, added.0));
        let change = if then > now { Some(self.value(id, then, mark) - lane.gross) } else { None };
        let own_change = if own_then > own_now { Some(self.value(id, own_then, mark) - own.gross) } else { None };
        Gross {
            venue: change.map(|c| Money(self.by_venue[venue.index()] + c)),
            total: change.map(|c| Money(self.total + c)),
            strategy: own_change.map(|c| Money(self.by_strategy[strategy.index()] + c)),
        }
    }

    /// Gross value of everything in the reporting asset, open orders filled, as of the last look.
    pub fn total(&self) -> Money {
        Money(self.total)
    }

    /// Gross value of a venue.
    pub fn of_venue(&self, venue: VenueId) -> Money {
        self.by_venue.get(venue.index()).map_or(Money::ZERO, |&v| Money(v))
    }

    /// Writes the state.
    pub fn hash_state(&self, hasher: &mut StateHasher) {
        for lane in self.lanes.iter().chain(&self.own) {
            hasher.write_i64(lane.open[0]);
            hasher.write_i64(lane.open[1]);
            hasher.write_i128(lane.gross);
        }
        for flow in &self.flows {
            hasher.write_i128(flow.net);
            hasher.write_i128(flow.open_in);
            hasher.write_i128(flow.open_out);
        }
        for &amount in self.holds.iter().chain(&self.units) {
            hasher.write_i128(amount);
        }
        hasher.write_i128(self.total);
    }
}

/// Gross values after an order; `None` where it raises nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gross {
    /// Of its venue.
    pub venue: Option<Money>,
    /// Of everything.
    pub total: Option<Money>,
    /// Of its strategy.
    pub strategy: Option<Money>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::RateSource;
    use proptest::prelude::*;

    fn instrument(price_scale: u8, qty_scale: u8) -> Instrument {
        Instrument {
            venue: VenueId(0),
            symbol: "BTCUSDT".into(),
            base: AssetId(0),
            quote: AssetId(1),
            price_scale,
            qty_scale,
            tick: Price(1),
            lot: Qty(1),
            qty_min: Qty(1),
            qty_max: Qty::MAX,
            notional_min: Money::ZERO,
            maker_fee_ppm: -100,
            taker_fee_ppm: 1_000,
            status: crate::event::InstrumentStatus::Trading,
            epoch: 0,
            capabilities: crate::instrument::Capabilities::default(),
        }
    }

    #[test]
    fn a_buy_holds_quote_with_the_fee_and_a_sell_holds_base() {
        let instrument = instrument(2, 8);
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

        #[test]
        fn values_in_the_reporting_asset_are_never_understated(
            price_scale in 0u8..=9, qty_scale in 0u8..=9,
            rate in 1i64..100_000_000_000, qty in 1i64..10_000_000_000, mark in 1i64..10_000_000,
        ) {
            let instrument = instrument(price_scale, qty_scale);
            let mut positions = Positions::new(1, 1, 1, 3, AssetId(2));
            positions.rates.set_source(AssetId(1), RateSource::Fixed(Money::from_scaled(rate, 8)));
            let mut exposure = Exposure::new(1, 1, 1, 3);
            exposure.refresh_unit(InstrumentId(0), &instrument, &positions);
            let got = exposure.value(InstrumentId(0), qty, Price(mark));
            let notional = instrument.notional(Price(mark), Qty(qty));
            let exact = positions.rates.convert(AssetId(1), notional).unwrap().0;
            prop_assert!(got >= exact.min(VALUE_CEILING), "{} {}", got, exact);
            // Hardly overstated either, as long as it is an amount that exists.
            let real = exact < VALUE_CEILING / 16;
            prop_assert!(!real || got <= exact + exact / 1_000 + i128::from(qty) * i128::from(mark) + 1, "{} {}", got, exact);
        }
    }
}
