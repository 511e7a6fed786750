//! What open orders bind, and what positions are worth with all of them filled: the sums. What one order binds is in [`bound`],
//! what a position can become in `extremes`, what an amount is worth in `valuation`.
//!
//! Every sum here is kept, not computed: a change of one order or position touches its instrument's lane, its
//! strategy's lane and the totals over them. Quantities and amounts are exact. Values in the reporting asset use
//! each instrument's last mark: an instrument's value is brought up to date when one of its orders is checked or
//! changes, and all that are not zero (these are kept in sets) at each timer event. Instruments with the same quote asset and
//! scales share the rate that they are valued at.

pub mod bound;
mod extremes;
pub(super) mod valuation;

use extremes::{Extremes, are_sane};
use valuation::Unit;

use crate::event::Side;
use crate::fixed::{Money, POW10, Price, Qty, difference, sum, wide};
use crate::id_set::IdSet;
use crate::ids::{AssetId, InstrumentId, StrategyId, VenueId};
use crate::instrument::{Instrument, InstrumentTable};
use crate::order::entry::{Order, Reserved};
use crate::position::{Balance, Positions};
use crate::prefetch::{extent, prefetch};
use crate::state_hash::StateHasher;
use core::ops::Range;

/// Adds a difference of values to a sum of values, which fits: see [`valuation::VALUE_CEILING`].
#[inline(always)]
fn add_value(sum: &mut i128, more: i128) {
    *sum = sum.wrapping_add(more);
}

/// Takes what was traded, and brings the values of an instrument and of a strategy's part of it up to date. Returns what they are
/// more.
#[inline(always)]
fn revalue(lane: &mut Lane, own: &mut Own, units: &[Unit], traded: i64, mark: Price) -> Gross {
    // Copies of positions, which are known to fit.
    lane.position = lane.position.wrapping_add(traded);
    own.position = own.position.wrapping_add(traded);
    let unit = &units[usize::from(lane.unit)];
    // A part of the instrument's open quantities is not larger than these.
    let sane = are_sane(lane.open);
    let worst = Extremes::of(lane.position, lane.open, sane).worst();
    let own_worst = Extremes::of(own.position, own.open, sane).worst();
    let all = unit.value(worst, mark);
    // Where only one strategy trades, what it has is all there is.
    let own_gross = if own_worst == worst { all } else { unit.value(own_worst, mark) };
    Gross {
        all: all.wrapping_sub(std::mem::replace(&mut lane.gross, all)),
        own: own_gross.wrapping_sub(std::mem::replace(&mut own.gross, own_gross)),
    }
}

/// Open quantity and value of one instrument: one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
struct Lane {
    /// Value in the reporting asset with all open orders filled, as of the last look.
    gross: i128,
    /// Open quantity by [`Side::index`].
    open: [i64; 2],
    /// The position of all strategies: a copy.
    position: i64,
    /// Units of [`Money`] of one quantity unit of the base asset.
    base_up: i64,
    /// By the side of an order: where what it holds is, in [`Exposure::holds`].
    holds: [u32; 2],
    base: AssetId,
    quote: AssetId,
    /// Its unit: index into [`Exposure::units`].
    unit: u16,
}

const _: () = assert!(size_of::<Lane>() == 64, "one cache line");

impl Lane {
    #[inline]
    fn extremes(&self) -> Extremes {
        Extremes::new(self.position, self.open)
    }
}

/// Open quantity and value of one strategy in one instrument.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    gross: i128,
    open: [i64; 2],
    /// The strategy's position: a copy.
    position: i64,
}

impl Own {
    #[inline]
    fn extremes(&self) -> Extremes {
        Extremes::new(self.position, self.open)
    }
}

/// Amounts of one asset over all venues.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
struct Flow {
    /// The net amount (all that was traded into the asset, fees not counted) with all open orders filled that bring it in, and its
    /// opposite with all filled that pay it away.
    worst: [i128; 2],
    /// Largest net amount allowed, on either side.
    max: i128,
}

/// Places of [`Flow::worst`].
const IN: usize = 0;
const OUT: usize = 1;

impl Flow {
    /// So much more is open that brings it in, and so much was brought in.
    #[inline(always)]
    fn bring_in(&mut self, open: i128, traded: i128) {
        self.worst[IN] = sum(self.worst[IN], sum(open, traded));
        self.worst[OUT] = difference(self.worst[OUT], traded);
    }

    /// So much more is open that pays it away, and so much was paid.
    #[inline(always)]
    fn pay_out(&mut self, open: i128, traded: i128) {
        self.worst[OUT] = sum(self.worst[OUT], sum(open, traded));
        self.worst[IN] = difference(self.worst[IN], traded);
    }

    #[inline(always)]
    fn exceeds(&self, way: usize, more: i128) -> bool {
        // A sum that does not fit exceeds everything: there is no limit that an amount as large keeps.
        let over = match self.worst[way].checked_add(more) {
            Some(worst) => worst > self.max,
            None => self.max != i128::MAX,
        };
        over && more > 0
    }
}

/// Whose order it is, in what, where and on which side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub strategy: StrategyId,
    pub instrument: InstrumentId,
    pub venue: VenueId,
    pub side: Side,
}

/// What happened to an order: by how much it binds more, and what was traded of it.
#[derive(Clone, Copy, Debug)]
struct Change {
    qty: i64,
    notional: i128,
    hold: i128,
    /// Quantity traded.
    traded: i64,
    /// Quote amount traded.
    paid: i128,
}

impl Change {
    /// It binds `after` in the place of `before`.
    #[inline(always)]
    fn of(before: Reserved, after: Reserved) -> Change {
        Change {
            qty: after.qty.0 - before.qty.0,
            notional: after.notional.0 - before.notional.0,
            hold: after.hold.0 - before.hold.0,
            traded: 0,
            paid: 0,
        }
    }
}

/// See the module header. What an order reads comes first.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct Exposure {
    total: i128,
    instruments: usize,
    assets: usize,
    /// By instrument.
    lanes: Box<[Lane]>,
    /// `strategy * instruments + instrument`.
    own: Box<[Own]>,
    units: Box<[Unit]>,
    /// By asset.
    flows: Box<[Flow]>,
    by_venue: Box<[i128]>,
    by_strategy: Box<[i128]>,
    /// `venue * assets + asset`.
    holds: Box<[i128]>,
    /// Places of `own` with a position or something open. An instrument has some if one of its strategies has.
    active: IdSet,
}

impl Exposure {
    /// Nothing open, nothing held. `asset_max` is by asset: the largest net amount, `None` without a limit.
    pub fn new(strategies: usize, table: &InstrumentTable, venues: usize, asset_max: &[Option<Money>]) -> Exposure {
        let mut units: Vec<Unit> = Vec::new();
        let mut unit_of = |instrument: &Instrument| {
            let up = POW10[usize::from(Money::SCALE - instrument.price_scale - instrument.qty_scale)];
            let at = units.iter().position(|unit| unit.quote == instrument.quote && unit.up == up).unwrap_or_else(|| {
                units.push(Unit::new(instrument.quote, up));
                units.len() - 1
            });
            at as u16 // No more units than instruments.
        };
        let mut lane = |instrument: &Instrument| Lane {
            gross: 0,
            open: [0; 2],
            position: 0,
            base_up: POW10[usize::from(Money::SCALE - instrument.qty_scale)],
            holds: [instrument.quote, instrument.base].map(|asset| (instrument.venue.index() * asset_max.len() + asset.index()) as u32),
            base: instrument.base,
            quote: instrument.quote,
            unit: unit_of(instrument),
        };
        let lanes = table.iter().map(|(_, instrument)| lane(instrument)).collect();
        let flow = |max: &Option<Money>| Flow { worst: [0; 2], max: max.map_or(i128::MAX, |max| max.0) };
        Exposure {
            instruments: table.len(),
            assets: asset_max.len(),
            total: 0,
            lanes,
            own: vec![Own::default(); strategies * table.len()].into(),
            holds: vec![0; venues * asset_max.len()].into(),
            flows: asset_max.iter().map(flow).collect(),
            by_venue: vec![0; venues].into(),
            by_strategy: vec![0; strategies].into(),
            units: units.into(),
            active: IdSet::new(strategies * table.len()),
        }
    }

    #[inline]
    fn own_index(&self, strategy: StrategyId, instrument: InstrumentId) -> usize {
        // A place of a table that is in memory: no product or sum is too large.
        strategy.index().wrapping_mul(self.instruments).wrapping_add(instrument.index())
    }

    /// Takes what a new order binds, and the values that [`Exposure::outlook`] foretold.
    #[inline(always)]
    pub(crate) fn bind_new(&mut self, place: Place, bound: Reserved, values: Gross) {
        // The first that is open takes the same way as any other.
        self.active.insert(self.own_index(place.strategy, place.instrument));
        self.bind_more(place, bound, values);
    }

    /// Takes what an open order that is being replaced binds more (a quantity not negative), and the values foretold.
    #[inline(always)]
    pub(crate) fn bind_more(&mut self, place: Place, more: Reserved, values: Gross) {
        let Place { strategy, instrument: id, venue, side } = place;
        let at = self.own_index(strategy, id);
        debug_assert!(self.active.contains(at), "what binds is looked at");
        let (lane, own) = (&mut self.lanes[id.index()], &mut self.own[at]);
        lane.open[side.index()] += more.qty.0;
        own.open[side.index()] += more.qty.0;
        let change = values.all.wrapping_sub(std::mem::replace(&mut lane.gross, values.all));
        let own_change = values.own.wrapping_sub(std::mem::replace(&mut own.gross, values.own));
        let (base, quote) = (lane.base.index(), lane.quote.index());
        let (base_more, held) = (wide(more.qty.0, lane.base_up), lane.holds[side.index()] as usize);
        add_value(&mut self.by_venue[venue.index()], change);
        add_value(&mut self.by_strategy[strategy.index()], own_change);
        add_value(&mut self.total, change);
        self.holds[held] += more.hold.0;
        let (into, out, [brought, paid]) = match side {
            Side::Buy => (base, quote, [base_more, more.notional.0]),
            Side::Sell => (quote, base, [more.notional.0, base_more]),
        };
        let brought_in = &mut self.flows[into].worst[IN];
        *brought_in = sum(*brought_in, brought);
        let paid_out = &mut self.flows[out].worst[OUT];
        *paid_out = sum(*paid_out, paid);
    }

    /// Takes a fill of an order that binds what is left of it: so much of what it bound was traded. Quantity and notional of the fill,
    /// which was booked.
    #[inline(always)]
    pub(crate) fn fill_rest(&mut self, place: Place, freed: Reserved, (qty, notional): (Qty, Money), mark: Price) {
        debug_assert_eq!(freed.qty, qty);
        let Place { strategy, instrument: id, side, .. } = place;
        let at = self.own_index(strategy, id);
        // What binds is looked at already.
        debug_assert!(self.active.contains(at));
        let (lane, own) = (&mut self.lanes[id.index()], &mut self.own[at]);
        lane.open[side.index()] -= qty.0;
        own.open[side.index()] -= qty.0;
        let (held, base, quote) = (lane.holds[side.index()] as usize, lane.base.index(), lane.quote.index());
        let base_traded = wide(qty.0, lane.base_up);
        let more = revalue(lane, own, &self.units, qty.0.wrapping_mul(side.sign()), mark);
        self.add_values(place, more);
        self.holds[held] -= freed.hold.0;
        // What was open of the base asset was traded, and of the quote asset too unless the fill's price was another than the order's.
        let (into, out) = (side.index(), side.opposite().index());
        let of_base = &mut self.flows[base].worst[out];
        *of_base = difference(*of_base, base_traded);
        let of_quote = &mut self.flows[quote].worst;
        of_quote[into] = difference(of_quote[into], notional.0);
        // Neither is negative.
        of_quote[out] = sum(of_quote[out], notional.0.wrapping_sub(freed.notional.0));
    }

    /// Takes a change of what an order binds.
    #[inline(never)]
    pub(crate) fn rebind(&mut self, place: Place, before: Reserved, after: Reserved, mark: Price) {
        self.take(place, Change::of(before, after), mark);
    }

    /// The same by a fill that was booked: quantity and notional.
    #[inline(never)]
    pub(crate) fn fill(&mut self, place: Place, before: Reserved, after: Reserved, (qty, notional): (Qty, Money), mark: Price) {
        self.take(place, Change { traded: qty.0, paid: notional.0, ..Change::of(before, after) }, mark);
    }

    /// Takes what happened to an order, and brings the values that it changes up to date.
    #[inline(always)]
    fn take(&mut self, place: Place, change: Change, mark: Price) {
        let Place { strategy, instrument: id, side, .. } = place;
        let at = self.own_index(strategy, id);
        let (lane, own) = (&mut self.lanes[id.index()], &mut self.own[at]);
        lane.open[side.index()] += change.qty;
        own.open[side.index()] += change.qty;
        let more = revalue(lane, own, &self.units, change.traded.wrapping_mul(side.sign()), mark);
        self.add_values(place, more);
        self.active.insert(at);
        let lane = &self.lanes[id.index()];
        let (base_asset, quote_asset) = (lane.base.index(), lane.quote.index());
        let (base, base_traded) = (wide(change.qty, lane.base_up), wide(change.traded, lane.base_up));
        let held = lane.holds[side.index()] as usize;
        self.holds[held] += change.hold;
        match side {
            Side::Buy => {
                self.flows[base_asset].bring_in(base, base_traded);
                self.flows[quote_asset].pay_out(change.notional, change.paid);
            }
            Side::Sell => {
                self.flows[base_asset].pay_out(base, base_traded);
                self.flows[quote_asset].bring_in(change.notional, change.paid);
            }
        }
    }

    /// So much more is what an instrument is worth, and what a strategy's part of it is.
    #[inline(always)]
    fn add_values(&mut self, place: Place, more: Gross) {
        add_value(&mut self.by_venue[place.venue.index()], more.all);
        add_value(&mut self.by_strategy[place.strategy.index()], more.own);
        add_value(&mut self.total, more.all);
    }

    #[inline]
    fn revalue_all(&mut self, id: InstrumentId, venue: VenueId, mark: Price) {
        let lane = &self.lanes[id.index()];
        let gross = self.value(id, lane.extremes().worst(), mark);
        let lane = &mut self.lanes[id.index()];
        let change = gross - lane.gross;
        lane.gross = gross;
        self.by_venue[venue.index()] += change;
        self.total += change;
    }

    #[inline]
    fn revalue_own(&mut self, strategy: StrategyId, id: InstrumentId, mark: Price) {
        let at = self.own_index(strategy, id);
        let gross = self.value(id, self.own[at].extremes().worst(), mark);
        let own = &mut self.own[at];
        self.by_strategy[strategy.index()] += gross - own.gross;
        own.gross = gross;
    }

    /// Asks for what an order of a strategy in an instrument reads.
    #[inline]
    pub(super) fn prefetch(&self, strategy: StrategyId, id: InstrumentId) {
        if let (Some(lane), Some(own)) = (self.lanes.get(id.index()), self.own.get(self.own_index(strategy, id))) {
            prefetch(lane);
            prefetch(own);
        }
    }

    /// Brings everything up to date: rates, then values. Walks what has a position or something open: for timers.
    pub fn refresh(&mut self, instruments: &InstrumentTable, positions: &Positions) {
        for unit in &mut self.units {
            unit.refresh(positions);
        }
        let (mut from, mut strategy, mut begin) = (0, 0, 0);
        while let Some(at) = self.active.next(from) {
            while at >= begin + self.instruments {
                (strategy, begin) = (strategy + 1, begin + self.instruments);
            }
            let id = InstrumentId((at - begin) as u16);
            let mark = positions.mark(id).unwrap_or_default();
            // An instrument of several strategies comes several times: it is worth the same each time.
            if let Some(instrument) = instruments.get(id) {
                self.revalue_all(id, instrument.venue, mark);
            }
            self.revalue_own(StrategyId(strategy), id, mark);
            if self.own[at].extremes().worst() == 0 {
                self.active.remove(at);
            }
            from = at + 1;
        }
    }

    /// Takes over the rate of an instrument's quote asset.
    pub fn refresh_unit(&mut self, id: InstrumentId, positions: &Positions) {
        self.units[usize::from(self.lanes[id.index()].unit)].refresh(positions);
    }

    /// True if the instrument's quote asset has a value in the reporting asset.
    #[inline]
    pub fn is_priced(&self, id: InstrumentId) -> bool {
        self.unit(id).is_priced()
    }

    #[inline]
    fn unit(&self, id: InstrumentId) -> &Unit {
        &self.units[usize::from(self.lanes[id.index()].unit)]
    }

    #[inline]
    fn value(&self, id: InstrumentId, qty: i64, mark: Price) -> i128 {
        self.unit(id).value(qty, mark)
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
    #[inline(always)]
    pub fn held(&self, venue: VenueId, asset: AssetId) -> Money {
        self.holds.get(venue.index() * self.assets + asset.index()).map_or(Money::ZERO, |&h| Money(h))
    }

    /// What is left of what an order on a side is paid with, of these balances (by `venue * assets + asset`).
    #[inline(always)]
    pub(super) fn left(&self, standing: &Standing<'_>, side: Side, balances: &[Balance]) -> i128 {
        let at = standing.holds[side.index()] as usize;
        match (balances.get(at), self.holds.get(at)) {
            (Some(balance), Some(&held)) => difference(balance.total.0, held),
            _ => 0,
        }
    }

    /// True if the net amount of an asset would pass its limit, were everything open filled that moves it in the direction of
    /// `into`, and `more` besides. What adds nothing passes.
    #[inline(always)]
    pub fn flow_exceeds(&self, asset: AssetId, into: bool, more: i128) -> bool {
        self.flows[asset.index()].exceeds(if into { IN } else { OUT }, more)
    }

    /// What an order in an instrument is measured against.
    #[inline(always)]
    pub(super) fn standing(&self, strategy: StrategyId, id: InstrumentId) -> Standing<'_> {
        let (lane, own) = (&self.lanes[id.index()], &self.own[self.own_index(strategy, id)]);
        Standing {
            all: lane.extremes(),
            own: own.extremes(),
            gross: lane.gross,
            own_gross: own.gross,
            base_up: lane.base_up,
            holds: lane.holds,
            base: lane.base,
            quote: lane.quote,
            unit: &self.units[usize::from(lane.unit)],
        }
    }

    /// What `added` more open on `side` would make of the values. `mark` is the price to value this instrument at.
    #[inline(always)]
    pub(super) fn outlook(
        &self,
        standing: &Standing<'_>,
        strategy: StrategyId,
        venue: VenueId,
        side: Side,
        added: Qty,
        mark: Price,
    ) -> Outlook {
        let unit = standing.unit;
        let (then, own_then) = (standing.all.worst_with(side, added.0), standing.own.worst_with(side, added.0));
        let all = unit.value(then, mark);
        // Where only one strategy trades, what it has is all there is.
        let own = if own_then == then { all } else { unit.value(own_then, mark) };
        let values = self.values(standing, strategy, venue, Gross { all, own });
        Outlook { values, raises: then > standing.all.worst(), raises_own: own_then > standing.own.worst() }
    }

    /// The sums of values, were an instrument's these.
    #[inline(always)]
    pub(super) fn values(&self, standing: &Standing<'_>, strategy: StrategyId, venue: VenueId, of_instrument: Gross) -> Values {
        // Sums of values fit: see `VALUE_CEILING`.
        let Gross { all, own } = of_instrument;
        let (change, own_change) = (all.wrapping_sub(standing.gross), own.wrapping_sub(standing.own_gross));
        Values {
            of_instrument,
            venue: self.by_venue[venue.index()].wrapping_add(change),
            strategy: self.by_strategy[strategy.index()].wrapping_add(own_change),
            total: self.total.wrapping_add(change),
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

    /// Gives out what an order of a strategy in an instrument reads and changes.
    pub(super) fn touch(&self, strategy: StrategyId, id: InstrumentId, touch: &mut impl FnMut(Range<usize>)) {
        let at = self.own_index(strategy, id);
        let (Some(lane), Some(own)) = (self.lanes.get(id.index()), self.own.get(at)) else { return };
        touch(extent(lane));
        touch(extent(own));
        self.active.extents_of(at).into_iter().for_each(&mut *touch);
        [lane.base, lane.quote].into_iter().filter_map(|asset| self.flows.get(asset.index())).for_each(|flow| touch(extent(flow)));
        lane.holds.into_iter().filter_map(|at| self.holds.get(at as usize)).for_each(|held| touch(extent(held)));
        self.units.get(usize::from(lane.unit)).into_iter().for_each(|unit| touch(extent(unit)));
    }

    /// The same of all orders of a venue.
    pub(super) fn touch_venue(&self, venue: VenueId, touch: &mut impl FnMut(Range<usize>)) {
        self.by_venue.get(venue.index()).into_iter().for_each(|value| touch(extent(value)));
    }

    /// The same of all orders of a strategy.
    pub(super) fn touch_strategy(&self, strategy: StrategyId, touch: &mut impl FnMut(Range<usize>)) {
        self.by_strategy.get(strategy.index()).into_iter().for_each(|value| touch(extent(value)));
    }

    /// Checks the sums against what they are sums of, and that everything with a value is looked at by the timer. `current`: a
    /// timer event was the last. `orders` are those that are open. For tests.
    ///
    /// # Panics
    /// If anything disagrees.
    pub fn check<'a>(&self, positions: &Positions, orders: impl Iterator<Item = &'a Order>, current: bool) {
        self.check_flows(positions, orders);
        let all = |amounts: &[i128]| amounts.iter().sum::<i128>();
        let gross = self.lanes.iter().map(|lane| lane.gross).sum::<i128>();
        assert_eq!((gross, gross), (self.total, all(&self.by_venue)), "values of instruments, of all, of venues");
        for (at, lane) in self.lanes.iter().enumerate() {
            let (id, worst) = (InstrumentId(at as u16), lane.extremes().worst());
            let active = (at..self.own.len()).step_by(self.instruments.max(1)).any(|own| self.active.contains(own));
            assert!(active || (worst == 0 && lane.gross == 0), "what has a value is looked at");
            let now = self.value(id, worst, positions.mark(id).unwrap_or_default());
            assert!(!current || lane.gross == now, "the timer brings values up to date");
        }
        for (strategy, own) in self.own.chunks(self.instruments.max(1)).enumerate() {
            assert_eq!(own.iter().map(|own| own.gross).sum::<i128>(), self.by_strategy[strategy]);
            for (at, own) in own.iter().enumerate() {
                let (id, worst) = (InstrumentId(at as u16), own.extremes().worst());
                let active = self.active.contains(strategy * self.instruments + at);
                assert!(active || (worst == 0 && own.gross == 0), "what has a value is looked at");
                let now = self.value(id, worst, positions.mark(id).unwrap_or_default());
                assert!(!current || own.gross == now, "the timer brings values up to date");
            }
        }
    }

    fn check_flows<'a>(&self, positions: &Positions, orders: impl Iterator<Item = &'a Order>) {
        let mut flows = vec![[0i128; 2]; self.assets];
        for order in orders {
            let lane = &self.lanes[order.instrument.index()];
            let base = wide(order.reserved.qty.0, lane.base_up);
            let into = order.side.index();
            flows[lane.base.index()][into] += base;
            flows[lane.quote.index()][1 - into] += order.reserved.notional.0;
        }
        for (asset, (flow, open)) in self.flows.iter().zip(flows).enumerate() {
            let venues = (0..self.by_venue.len()).map(|venue| VenueId(venue as u8));
            let traded = venues.filter_map(|venue| positions.ledger.account(venue, AssetId(asset as u16))).map(|account| account.traded.0);
            let net = traded.sum::<i128>();
            assert_eq!(flow.worst, [net + open[0], open[1] - net], "what moves asset {asset}");
        }
    }

    /// Writes the state.
    pub fn hash_state(&self, hasher: &mut StateHasher) {
        let lanes = self.lanes.iter().map(|lane| (lane.open, lane.gross));
        for (open, gross) in lanes.chain(self.own.iter().map(|own| (own.open, own.gross))) {
            hasher.write_i64(open[0]);
            hasher.write_i64(open[1]);
            hasher.write_i128(gross);
        }
        for flow in &self.flows {
            hasher.write_i128(flow.worst[IN]);
            hasher.write_i128(flow.worst[OUT]);
        }
        let units = self.lanes.iter().map(|lane| &self.units[usize::from(lane.unit)].value);
        for &amount in self.holds.iter().chain(units) {
            hasher.write_i128(amount);
        }
        hasher.write_i128(self.total);
    }
}

/// Positions, open quantities and values of one instrument, of all and of one strategy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing<'a> {
    pub all: Extremes,
    pub own: Extremes,
    gross: i128,
    own_gross: i128,
    pub base_up: i64,
    holds: [u32; 2],
    pub base: AssetId,
    pub quote: AssetId,
    unit: &'a Unit,
}

impl Standing<'_> {
    /// As [`Exposure::is_priced`].
    #[inline]
    pub fn is_priced(&self) -> bool {
        self.unit.is_priced()
    }
}

/// Gross values of an instrument in the reporting asset once an order is open: of all and of its strategy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gross {
    all: i128,
    own: i128,
}

/// These, and the sums over them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values {
    pub(super) of_instrument: Gross,
    /// Of its venue.
    pub(super) venue: i128,
    /// Of its strategy.
    pub(super) strategy: i128,
    /// Of everything.
    pub(super) total: i128,
}

/// What an order would make of the values. An order that raises nothing keeps every limit, whatever prices made of the sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlook {
    pub values: Values,
    /// It raises what the instrument can become.
    pub raises: bool,
    /// The same of its strategy's part.
    pub raises_own: bool,
}

#[cfg(test)]
mod tests {
    use super::bound::bind;
    use super::valuation::VALUE_CEILING;
    use super::*;
    use crate::position::RateSource;
    use proptest::prelude::*;

    fn instrument(price_scale: u8, qty_scale: u8) -> Instrument {
        Instrument {
            maker_fee_ppm: -100,
            taker_fee_ppm: 1_000,
            ..Instrument::new(VenueId(0), "BTCUSDT", [AssetId(0), AssetId(1)], [price_scale, qty_scale])
        }
    }

    fn hash(exposure: &Exposure) -> u64 {
        let mut hasher = StateHasher::new();
        exposure.hash_state(&mut hasher);
        hasher.finish()
    }

    proptest! {
        #[test]
        fn what_was_foretold_is_what_a_change_leaves(
            orders in proptest::collection::vec(
                (0usize..2, 0u8..2, any::<bool>(), 1i64..1_000_000, 1i64..1_000_000_000, 0i64..1_000), 1..30,
            ),
        ) {
            let mut positions = Positions::new(2, 2, 1, 2, AssetId(1));
            positions.rates.set_source(AssetId(1), RateSource::Fixed(Money::from_scaled(1, 0)));
            let mut table = InstrumentTable::new();
            let all = [instrument(2, 8), Instrument { symbol: "ETHUSDT".into(), ..instrument(1, 6) }];
            all.iter().for_each(|instrument| _ = table.add(instrument.clone()).unwrap());
            let mut foretold = Exposure::new(2, &table, 1, &[None; 2]);
            foretold.refresh(&table, &positions);
            let mut changed = foretold.clone();
            for (at, strategy, buy, price, qty, more) in orders {
                let (id, strategy, side) = (InstrumentId(at as u16), StrategyId(strategy), if buy { Side::Buy } else { Side::Sell });
                let place = Place { strategy, instrument: id, venue: VenueId(0), side };
                let bound = |price: i64, qty: i64| bind(&all[at], side, Price(price), Qty(qty), false);
                // A new order, then the same one for more at another price.
                let placed = bound(price, qty);
                for (before, after) in [(Reserved::default(), placed), (placed, bound(price + more, qty + 7 * more))] {
                    let added = after.qty.0 - before.qty.0;
                    let standing = foretold.standing(strategy, id);
                    let values = foretold.outlook(&standing, strategy, VenueId(0), side, Qty(added), Price(price)).values;
                    let (hold, notional) = (after.hold - before.hold, after.notional - before.notional);
                    let more = Reserved { qty: Qty(added), hold, notional };
                    if before == Reserved::default() {
                        foretold.bind_new(place, more, values.of_instrument);
                    } else {
                        foretold.bind_more(place, more, values.of_instrument);
                    }
                    changed.rebind(place, before, after, Price(price));
                    prop_assert_eq!(hash(&foretold), hash(&changed));
                    prop_assert_eq!((foretold.by_venue[0], foretold.total), (values.venue, values.total));
                    prop_assert_eq!(foretold.by_strategy[strategy.index()], values.strategy);
                    prop_assert_eq!(&foretold.by_strategy, &changed.by_strategy);
                }
            }
        }

        #[test]
        fn values_in_the_reporting_asset_are_never_understated(
            price_scale in 0u8..=9, qty_scale in 0u8..=9,
            rate in 1i64..100_000_000_000, qty in 1i64..10_000_000_000, mark in 1i64..10_000_000,
        ) {
            let instrument = instrument(price_scale, qty_scale);
            let mut positions = Positions::new(1, 1, 1, 3, AssetId(2));
            positions.rates.set_source(AssetId(1), RateSource::Fixed(Money::from_scaled(rate, 8)));
            let mut table = InstrumentTable::new();
            table.add(instrument.clone()).unwrap();
            let mut exposure = Exposure::new(1, &table, 1, &[None; 3]);
            exposure.refresh_unit(InstrumentId(0), &positions);
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
