//! Positions, profit and loss, fees, and the ledger of every asset on every venue.
//!
//! The one idea: *every number here is a sum of fills and fees, exact to the last unit.* A position keeps
//! the cost of what is open, not an average price: the average is derived, so nothing drifts. When part of
//! a position closes, its share of the cost is released, rounded down once to 10^-18 of the quote asset, and the
//! rounding stays in the cost that remains. Therefore, after any sequence of fills and at any mark:
//!
//! ```text
//!   cash          = realised - cost            (cash: quote received minus quote paid, before fees)
//!   unrealised    = mark * qty - cost
//!   realised + unrealised = cash + mark * qty  (exactly)
//! ```
//!
//! Fees are kept apart, per asset: a venue may charge in base, in quote or in a token of its own.
//!
//! [`Ledger`] is the account as the venue keeps it: opening balance plus fills and fees. It must equal the
//! venue's own statement to the last unit whenever nothing is under way; [`Ledger::difference`] says by how much it does not.
//!
//! Values come from the network: every operation is checked, and a fill that does not fit is refused whole,
//! with nothing changed.

mod amounts;
mod ledger;
mod rates;
mod running;

pub(crate) use ledger::Balance;
pub use ledger::{Account, Ledger};
pub use rates::{RateFeed, RateSource, Rates};

use crate::event::{Side, VALUE_MAX};
use crate::fixed::{Money, POW10, Price, Qty, difference, product, sum};
use crate::id_set::IdSet;
use crate::ids::{AssetId, InstrumentId, StrategyId, VenueId};
use crate::instrument::{Instrument, InstrumentTable};
use crate::prefetch::{extent, prefetch};
use crate::state_hash::StateHasher;
use amounts::{share, within};
use core::ops::Range;
use running::{Held, NO_MARK, Paid, Prices, bounded};

/// Why a fill, fee or balance was not booked. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PositionError {
    /// A price or quantity of zero, negative, or beyond [`VALUE_MAX`].
    #[error("price or quantity out of bounds")]
    OutOfBounds,
    /// A sum does not fit its number type.
    #[error("amount does not fit")]
    Overflow,
    /// A strategy, instrument, venue or asset id that is not in the tables.
    #[error("unknown id")]
    UnknownId,
}

/// `price * qty` in the quote asset, or an error where [`Instrument::notional`] would overflow.
#[inline]
pub fn checked_notional(instrument: &Instrument, price: Price, qty: Qty) -> Result<Money, PositionError> {
    notional_at(money_of_unit(instrument), price, qty)
}

/// Units of [`Money`] of one price unit times one quantity unit.
#[inline]
fn money_of_unit(instrument: &Instrument) -> i64 {
    POW10[usize::from(Money::SCALE.saturating_sub(instrument.price_scale + instrument.qty_scale))]
}

/// As [`checked_notional`]; `up` is [`money_of_unit`].
#[inline(always)]
fn notional_at(up: i64, price: Price, qty: Qty) -> Result<Money, PositionError> {
    product(price.0, qty.0, up).map(Money).ok_or(PositionError::Overflow)
}

/// What one fill did to a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Booked {
    /// The fill's notional in the quote asset, positive.
    pub notional: Money,
    /// Profit or loss that it realised, in the quote asset, before fees.
    pub realised: Money,
    /// How much of its quantity closed an open position.
    pub closed: Qty,
}

/// A position in one instrument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// Base held: positive long, negative short. The sum of buys minus sells.
    pub qty: Qty,
    /// What the open quantity cost, in the quote asset: paid for a long (positive), received for a short (negative).
    pub cost: Money,
    /// Profit realised by closing, in the quote asset, before fees.
    pub realised: Money,
    /// All base bought, ever; saturates.
    pub bought: Qty,
    /// All base sold, ever; saturates.
    pub sold: Qty,
    /// Quote turnover, bought and sold; saturates.
    pub turnover: Money,
    /// Fills booked.
    pub fills: u64,
}

/// What a fill makes of a position: reckoned first, taken once everything is known to fit.
#[derive(Clone, Copy, Debug)]
struct Step {
    qty: Qty,
    cost: Money,
    realised: Money,
    booked: Booked,
}

impl Position {
    const FLAT: Position = Position {
        qty: Qty::ZERO,
        cost: Money::ZERO,
        realised: Money::ZERO,
        bought: Qty::ZERO,
        sold: Qty::ZERO,
        turnover: Money::ZERO,
        fills: 0,
    };

    /// What one fill makes of it. `up`: [`money_of_unit`].
    #[inline(always)]
    fn step(&self, instrument: &Instrument, up: i64, side: Side, price: Price, qty: Qty) -> Result<Step, PositionError> {
        if !(1..=VALUE_MAX).contains(&price.0) || !(1..=VALUE_MAX).contains(&qty.0) {
            return Err(PositionError::OutOfBounds);
        }
        let notional = notional_at(up, price, qty)?;
        let signed = qty.0.wrapping_mul(side.sign());
        // Neither is beyond `VALUE_MAX`.
        let after = self.qty.0.wrapping_add(signed);
        if after.unsigned_abs() > VALUE_MAX as u64 {
            return Err(PositionError::Overflow);
        }
        if self.qty.0.signum() == -side.sign() {
            return self.closing_step(instrument, side, (price, qty), notional, Qty(after));
        }
        let paid = if side == Side::Buy { notional.0 } else { notional.0.wrapping_neg() };
        let cost = Money(self.cost.0.checked_add(paid).ok_or(PositionError::Overflow)?);
        let booked = Booked { notional, realised: Money::ZERO, closed: Qty::ZERO };
        Ok(Step { qty: Qty(after), cost, realised: self.realised, booked })
    }

    /// As [`Position::step`], where the fill (its notional is known) closes all or some of what is open. `after`: the quantity then.
    fn closing_step(
        &self,
        instrument: &Instrument,
        side: Side,
        (price, qty): (Price, Qty),
        notional: Money,
        after: Qty,
    ) -> Result<Step, PositionError> {
        let closed = qty.0.min(self.qty.0.abs());
        // The closing part of the fill and its share of the open cost.
        let closed_notional = if closed == qty.0 { notional } else { checked_notional(instrument, price, Qty(closed))? };
        let released = share(self.cost.0, closed, self.qty.0.abs());
        let opened_notional = notional.0 - closed_notional.0;
        // Selling closes a long: proceeds minus cost. Buying closes a short: cost is negative (received).
        let (proceeds, opened_cost) = match side {
            Side::Buy => (-closed_notional.0, opened_notional),
            Side::Sell => (closed_notional.0, -opened_notional),
        };
        let realised = Money(proceeds - released);
        Ok(Step {
            qty: after,
            cost: Money((self.cost.0 - released).checked_add(opened_cost).ok_or(PositionError::Overflow)?),
            realised: Money(self.realised.0.checked_add(realised.0).ok_or(PositionError::Overflow)?),
            booked: Booked { notional, realised, closed: Qty(closed) },
        })
    }

    /// Takes a step of its own.
    #[inline]
    fn take(&mut self, step: &Step, side: Side, qty: Qty) {
        (self.qty, self.cost, self.realised) = (step.qty, step.cost, step.realised);
        let of_side = if side == Side::Buy { &mut self.bought } else { &mut self.sold };
        *of_side = Qty(of_side.0.checked_add(qty.0).unwrap_or(i64::MAX));
        self.turnover = Money(sum(self.turnover.0, step.booked.notional.0));
        self.fills = self.fills.wrapping_add(1);
    }

    /// Average price of what is open, rounded towards zero to a price unit; `None` if flat.
    #[inline]
    pub fn average_price(&self, instrument: &Instrument) -> Option<Price> {
        if self.qty.is_zero() {
            return None;
        }
        let up = i128::from(POW10[usize::from(Money::SCALE.saturating_sub(instrument.price_scale + instrument.qty_scale))]);
        let price = self.cost.0 / up / i128::from(self.qty.0);
        Some(Price(price.clamp(0, i128::from(i64::MAX)) as i64))
    }

    /// What the open quantity is worth at `mark`, in the quote asset; negative for a short. Saturates.
    #[inline]
    pub fn value(&self, instrument: &Instrument, mark: Price) -> Money {
        self.value_at(money_of_unit(instrument), mark)
    }

    #[inline]
    fn value_at(&self, up: i64, mark: Price) -> Money {
        notional_at(up, mark, self.qty).unwrap_or_else(|_| Money(i128::MAX / 4 * i128::from(self.qty.0.signum())))
    }

    /// Profit or loss of what is open at `mark`, in the quote asset.
    #[inline]
    pub fn unrealised(&self, instrument: &Instrument, mark: Price) -> Money {
        self.unrealised_at(money_of_unit(instrument), mark)
    }

    /// As [`Position::unrealised`]; `up` is [`money_of_unit`].
    #[inline]
    fn unrealised_at(&self, up: i64, mark: Price) -> Money {
        Money(difference(self.value_at(up, mark).0, self.cost.0))
    }

    /// Quote received minus quote paid by all fills, before fees.
    #[inline]
    pub fn cash(&self) -> Money {
        Money(self.realised.0.saturating_sub(self.cost.0))
    }

    fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_qty(self.qty);
        hasher.write_money(self.cost);
        hasher.write_money(self.realised);
        hasher.write_qty(self.bought);
        hasher.write_qty(self.sold);
        hasher.write_money(self.turnover);
        hasher.write_u64(self.fills);
    }
}

/// Profit and loss in the reporting currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pnl {
    /// Realised by closing, before fees.
    pub realised: Money,
    /// Of open positions at their marks.
    pub unrealised: Money,
    /// Fees paid (negative = rebates).
    pub fees: Money,
    /// Amounts left out because a mark or a rate is unknown.
    pub unpriced: u32,
}

impl Pnl {
    /// Realised plus unrealised minus fees.
    #[inline]
    pub fn net(&self) -> Money {
        Money(self.realised.0.saturating_add(self.unrealised.0).saturating_sub(self.fees.0))
    }

    /// Adds an amount of an asset to one of the sums.
    #[inline]
    fn add(&mut self, rates: &Rates, asset: AssetId, amount: Option<Money>, into: fn(&mut Pnl) -> &mut Money) {
        match amount.map(|amount| rates.convert(asset, amount)) {
            Some(Some(converted)) => {
                let sum = into(self);
                *sum = Money(sum.0.saturating_add(bounded(converted)));
            }
            _ => self.unpriced += 1,
        }
    }
}

/// Where profit and loss may come from. Everything else is zero and need not be looked at.
#[derive(Clone, Debug)]
struct Traded {
    /// Instruments with fills.
    instruments: IdSet,
    /// Assets in which fees were paid.
    fees: IdSet,
}

impl Traded {
    fn new(instruments: usize, assets: usize) -> Traded {
        Traded { instruments: IdSet::new(instruments), fees: IdSet::new(assets) }
    }
}

/// What a position in an instrument is worth now is reckoned at these.
#[inline]
fn prices(marks: &[Option<Price>], rates: &Rates, id: InstrumentId, instrument: &Instrument) -> Prices {
    let mark = marks.get(id.index()).copied().flatten().map_or(NO_MARK, |mark| mark.0);
    Prices { mark, rate: rates.rate(instrument.quote) }
}

/// The same, off the path of a fill that needs none.
#[inline(never)]
fn prices_now(marks: &[Option<Price>], rates: &Rates, id: InstrumentId, instrument: &Instrument) -> Prices {
    prices(marks, rates, id, instrument)
}

/// All positions, fees, marks and accounts. Fixed size after construction.
#[derive(Clone, Debug)]
pub struct Positions {
    instruments: usize,
    strategies: usize,
    assets: usize,
    /// `strategy * instruments + instrument`.
    by_strategy: Vec<Held>,
    /// By instrument, all strategies together (fills without a known strategy included).
    totals: Vec<Held>,
    /// `strategy * assets + asset`.
    fees_by_strategy: Vec<Paid>,
    /// By asset, all venues and strategies.
    fees: Vec<Paid>,
    /// Running profit and loss: see [`running`].
    net: i128,
    net_by_strategy: Vec<i128>,
    /// By instrument: the last mark price.
    marks: Vec<Option<Price>>,
    /// What there is to sum up, of all strategies and of each.
    traded: Traded,
    traded_by_strategy: Vec<Traded>,
    /// Accounts by venue and asset.
    pub ledger: Ledger,
    /// Values of assets in the reporting currency.
    pub rates: Rates,
}

impl Positions {
    /// Flat positions, empty accounts. `venues`, `strategies` and `assets` are counts.
    pub fn new(strategies: usize, instruments: usize, venues: usize, assets: usize, reporting: AssetId) -> Positions {
        Positions {
            instruments,
            strategies,
            assets,
            by_strategy: vec![Held::FLAT; strategies * instruments],
            totals: vec![Held::FLAT; instruments],
            fees_by_strategy: vec![Paid::default(); strategies * assets],
            fees: vec![Paid::default(); assets],
            net: 0,
            net_by_strategy: vec![0; strategies],
            marks: vec![None; instruments],
            traded: Traded::new(instruments, assets),
            traded_by_strategy: vec![Traded::new(instruments, assets); strategies],
            ledger: Ledger::new(venues, assets),
            rates: Rates::new(assets, reporting),
        }
    }

    #[inline]
    fn slot(&self, strategy: StrategyId, instrument: InstrumentId) -> Option<usize> {
        let known = strategy.index() < self.strategies && instrument.index() < self.instruments;
        // A place of a table that is in memory: no product or sum is too large.
        known.then(|| strategy.index().wrapping_mul(self.instruments).wrapping_add(instrument.index()))
    }

    /// The position of a strategy in an instrument, if the ids are in range.
    #[inline]
    pub fn strategy(&self, strategy: StrategyId, instrument: InstrumentId) -> Option<&Position> {
        self.slot(strategy, instrument).map(|at| &self.by_strategy[at].position)
    }

    /// The position of all strategies together in an instrument, if the id is in range.
    #[inline]
    pub fn total(&self, instrument: InstrumentId) -> Option<&Position> {
        self.totals.get(instrument.index()).map(|held| &held.position)
    }

    /// Books a fill: position of the strategy (`None` if nobody's, e.g. found by reconciliation), position of the instrument,
    /// and both accounts on the venue. All or nothing. The fill's fee is booked by [`Positions::on_fee`].
    #[inline]
    pub fn on_fill(
        &mut self,
        strategy: Option<StrategyId>,
        id: InstrumentId,
        instrument: &Instrument,
        side: Side,
        price: Price,
        qty: Qty,
    ) -> Result<Booked, PositionError> {
        let own = match strategy {
            Some(strategy) => Some(self.slot(strategy, id).ok_or(PositionError::UnknownId)?),
            None => None,
        };
        let total = self.totals.get_mut(id.index()).ok_or(PositionError::UnknownId)?;
        let first = total.position.fills == 0;
        if first {
            total.meet(instrument);
        }
        let step = total.step(instrument, side, price, qty)?;
        // Unless all fills are the strategy's own, so that its position is the whole.
        let own_step = match own {
            Some(own) if self.by_strategy[own].position.fills != total.position.fills => {
                let own = &mut self.by_strategy[own];
                own.meet(instrument);
                Some(own.another_step(instrument, side, price, qty)?)
            }
            _ => None,
        };
        let base = Money::from_qty(Qty(qty.0 * side.sign()), instrument.qty_scale);
        // A notional is positive.
        let quote = if side == Side::Buy { Money(step.booked.notional.0.wrapping_neg()) } else { step.booked.notional };
        self.ledger.trade(instrument, base, quote)?;
        let now = || prices_now(&self.marks, &self.rates, id, instrument);
        if first {
            self.traded.instruments.insert(id.index());
        }
        let change = total.fill(&step, side, qty, now);
        // What all positions and fees count for fits: see `running`.
        self.net = self.net.wrapping_add(change);
        let (Some(at), Some(strategy)) = (own, strategy) else { return Ok(step.booked) };
        let (own, net) = (&mut self.by_strategy[at], &mut self.net_by_strategy[strategy.index()]);
        if own.position.fills == 0 {
            self.traded_by_strategy[strategy.index()].instruments.insert(id.index());
        }
        if let Some(step) = own_step {
            *net = net.wrapping_add(own.another_fill(&step, side, qty, now));
            return Ok(step.booked);
        }
        *own = *total;
        *net = net.wrapping_add(change);
        Ok(step.booked)
    }

    /// Books a fee (positive = paid) on the venue's account, the strategy's sum and the asset's sum. All or nothing.
    #[inline]
    pub fn on_fee(&mut self, strategy: Option<StrategyId>, venue: VenueId, asset: AssetId, amount: Money) -> Result<(), PositionError> {
        let sum = self.fees.get(asset.index()).ok_or(PositionError::UnknownId)?;
        let sum = sum.sum.0.checked_add(amount.0).filter(within).ok_or(PositionError::Overflow)?;
        let own = match strategy {
            Some(strategy) if strategy.index() < self.strategies => {
                let at = strategy.index() * self.assets + asset.index();
                Some((at, self.fees_by_strategy[at].sum.0.checked_add(amount.0).filter(within).ok_or(PositionError::Overflow)?))
            }
            Some(_) => return Err(PositionError::UnknownId),
            None => None,
        };
        self.ledger.fee(venue, asset, amount)?;
        let rate = self.rates.rate(asset);
        let paid = &mut self.fees[asset.index()];
        if paid.sum == Money::ZERO {
            self.traded.fees.insert(asset.index());
        }
        self.net -= paid.pay(Money(sum), rate);
        if let (Some((at, own)), Some(strategy)) = (own, strategy) {
            let paid = &mut self.fees_by_strategy[at];
            if paid.sum == Money::ZERO {
                self.traded_by_strategy[strategy.index()].fees.insert(asset.index());
            }
            self.net_by_strategy[strategy.index()] -= paid.pay(Money(own), rate);
        }
        Ok(())
    }

    /// Takes the mid of an instrument's book as its mark, and for the rates that come from it. Constant time.
    #[inline]
    pub fn on_mid(&mut self, id: InstrumentId, instrument: &Instrument, mid: Price) {
        if let Some(mark) = self.marks.get_mut(id.index()) {
            *mark = Some(mid);
            self.rates.on_mid(id, instrument, mid);
        }
    }

    /// Takes the mid as [`Positions::on_mid`] does, if it is no news for any rate. False: nothing was done.
    #[inline]
    pub fn on_mid_alone(&mut self, id: InstrumentId, feeds: RateFeed, mid: Price) -> bool {
        let Some(mark) = self.marks.get_mut(id.index()) else { return true };
        match feeds {
            RateFeed::None => *mark = Some(mid),
            RateFeed::Alone if *mark == Some(mid) => {}
            _ => return false,
        }
        true
    }

    /// Asks for what a new mid of an instrument reads.
    #[inline]
    pub(crate) fn prefetch(&self, id: InstrumentId) {
        if let Some(mark) = self.marks.get(id.index()) {
            prefetch(mark);
        }
    }

    /// The last mark of an instrument.
    #[inline]
    pub fn mark(&self, instrument: InstrumentId) -> Option<Price> {
        self.marks.get(instrument.index()).copied().flatten()
    }

    /// Fees paid in `asset` by all strategies.
    #[inline]
    pub fn fees(&self, asset: AssetId) -> Money {
        self.fees.get(asset.index()).map_or(Money::ZERO, |fees| fees.sum)
    }

    /// Gives out what risk reads for an order in an instrument.
    pub(crate) fn touch(&self, id: InstrumentId, instrument: &Instrument, touch: &mut impl FnMut(Range<usize>)) {
        self.marks.get(id.index()).into_iter().for_each(|mark| touch(extent(mark)));
        for asset in [instrument.base, instrument.quote] {
            self.ledger.touch(instrument.venue, asset, touch);
        }
    }

    /// Profit and loss of everything, in the reporting currency. Walks what was ever traded: not for every event.
    pub fn pnl(&self, instruments: &InstrumentTable) -> Pnl {
        self.sum_pnl(instruments, &self.traded, &self.totals, &self.fees)
    }

    /// Profit and loss of one strategy, in the reporting currency. Zero for a strategy out of range.
    pub fn strategy_pnl(&self, strategy: StrategyId, instruments: &InstrumentTable) -> Pnl {
        if strategy.index() >= self.strategies {
            return Pnl::default();
        }
        let positions = strategy.index() * self.instruments;
        let fees = strategy.index() * self.assets;
        self.sum_pnl(
            instruments,
            &self.traded_by_strategy[strategy.index()],
            &self.by_strategy[positions..positions + self.instruments],
            &self.fees_by_strategy[fees..fees + self.assets],
        )
    }

    /// Net profit and loss of everything as it stands since the last timer: see [`running`].
    #[inline]
    pub fn net(&self) -> Money {
        Money(self.net)
    }

    /// The same of one strategy. Zero for a strategy out of range.
    #[inline]
    pub fn strategy_net(&self, strategy: StrategyId) -> Money {
        self.net_by_strategy.get(strategy.index()).map_or(Money::ZERO, |&net| Money(net))
    }

    /// Takes the marks and rates of now for what [`Positions::net`] sums up. Walks what was ever traded: for timers.
    pub fn revalue(&mut self, instruments: &InstrumentTable) {
        let Positions { marks, rates, .. } = self;
        let sum_up = |traded: &Traded, held: &mut [Held], paid: &mut [Paid]| {
            let mut net = 0;
            for at in traded.instruments.iter() {
                let id = InstrumentId(at as u16);
                let Some(instrument) = instruments.get(id) else { continue };
                net += held[at].revalue(prices(marks, rates, id, instrument));
            }
            for asset in traded.fees.iter() {
                net -= paid[asset].revalue(rates.rate(AssetId(asset as u16)));
            }
            net
        };
        self.net = sum_up(&self.traded, &mut self.totals, &mut self.fees);
        for (at, traded) in self.traded_by_strategy.iter().enumerate() {
            let (held, paid) = (at * self.instruments, at * self.assets);
            let held = &mut self.by_strategy[held..held + self.instruments];
            self.net_by_strategy[at] = sum_up(traded, held, &mut self.fees_by_strategy[paid..paid + self.assets]);
        }
    }

    fn sum_pnl(&self, instruments: &InstrumentTable, traded: &Traded, positions: &[Held], fees: &[Paid]) -> Pnl {
        let mut pnl = Pnl::default();
        for at in traded.instruments.iter() {
            let position = &positions[at].position;
            if position.qty.is_zero() && position.realised == Money::ZERO {
                continue;
            }
            let id = InstrumentId(at as u16);
            let Some(instrument) = instruments.get(id) else { continue };
            if position.realised != Money::ZERO {
                pnl.add(&self.rates, instrument.quote, Some(position.realised), |pnl| &mut pnl.realised);
            }
            if !position.qty.is_zero() {
                let unrealised = self.mark(id).map(|mark| position.unrealised(instrument, mark));
                if unrealised != Some(Money::ZERO) {
                    pnl.add(&self.rates, instrument.quote, unrealised, |pnl| &mut pnl.unrealised);
                }
            }
        }
        for asset in traded.fees.iter().filter(|&asset| fees[asset].sum != Money::ZERO) {
            pnl.add(&self.rates, AssetId(asset as u16), Some(fees[asset].sum), |pnl| &mut pnl.fees);
        }
        pnl
    }

    /// Writes positions, fees, marks, rates and accounts.
    pub fn hash_state(&self, hasher: &mut StateHasher) {
        // The running sums are those of what each counts for.
        for held in self.by_strategy.iter().chain(&self.totals) {
            held.hash_state(hasher);
        }
        for paid in self.fees_by_strategy.iter().chain(&self.fees) {
            paid.hash_state(hasher);
        }
        for mark in &self.marks {
            hasher.write_i64(mark.map_or(i64::MIN, |price| price.0));
        }
        self.rates.hash_state(hasher);
        self.ledger.hash_state(hasher);
    }
}
