//! Profit and loss as running sums: a look at it after a fill costs the same however many positions there are.
//!
//! Each position, and each sum of fees, remembers what it counts for in the reporting asset, and the mark and the rate that this
//! was reckoned at. A fill or a fee replaces its own part. [`super::Positions::revalue`] (at timers) goes through all and takes the
//! marks and rates of now. In between everything stands at those of the last timer, so that no leg of a hedge is ever looked at
//! with a newer price than the other; only what was flat, or had no price, is taken at the mark and rate of its fill.
//!
//! Amounts are rounded as in [`Pnl`](super::Pnl) (each towards zero to 10^-18): the sums are its net, to the last unit, at each
//! timer, and after fills for as long as no mark or rate has moved.

use super::amounts::{ONE, fits, multiply};
use super::{Position, PositionError, Step, money_of_unit};
use crate::event::Side;
use crate::fixed::{Money, Price, Qty};
use crate::instrument::Instrument;
use crate::state_hash::StateHasher;

/// Two to this power bounds what one amount counts for (3.2 * 10^14 units, beyond any limit): the sums over all positions and fees fit.
const COUNTED_BITS: u32 = 108;

/// No mark is known.
pub(super) const NO_MARK: i64 = i64::MIN;

/// What a converted amount counts for.
#[inline]
pub(super) fn bounded(amount: Money) -> i128 {
    if fits(amount.0, COUNTED_BITS) { amount.0 } else { bound(amount.0) }
}

#[cold]
fn bound(amount: i128) -> i128 {
    amount.clamp(-(1 << COUNTED_BITS), 1 << COUNTED_BITS)
}

/// What an amount counts for at a rate; 0 if that is not known (0), or the result does not fit.
#[inline]
fn count(amount: Money, rate: Money) -> i128 {
    if rate == ONE {
        return bounded(amount);
    }
    if amount == Money::ZERO || rate == Money::ZERO {
        return 0;
    }
    converted(amount, rate)
}

#[inline(never)]
fn converted(amount: Money, rate: Money) -> i128 {
    multiply(amount, rate).map_or(0, bounded)
}

/// The mark of an instrument and the rate of its quote asset; [`NO_MARK`] and 0 while not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prices {
    pub mark: i64,
    pub rate: Money,
}

/// A position, and what it counts for.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub position: Position,
    counted: i128,
    /// The mark that it was reckoned at, and the rate of the quote asset.
    mark: i64,
    /// Units of [`Money`] of one price unit times one quantity unit. Known from the first fill on.
    up: i64,
    rate: Money,
}

const _: () = assert!(size_of::<Held>() == 128, "two cache lines");

impl Held {
    pub const FLAT: Held = Held { position: Position::FLAT, counted: 0, mark: NO_MARK, up: 0, rate: Money::ZERO };

    /// The first fill is about to be taken.
    #[inline]
    pub fn meet(&mut self, instrument: &Instrument) {
        self.up = money_of_unit(instrument);
    }

    /// What a fill would make of the position.
    #[inline(always)]
    pub fn step(&self, instrument: &Instrument, side: Side, price: Price, qty: Qty) -> Result<Step, PositionError> {
        self.position.step(instrument, self.up, side, price, qty)
    }

    /// As [`Held::step`], where an instrument is not one strategy's alone.
    #[inline(never)]
    pub fn another_step(&self, instrument: &Instrument, side: Side, price: Price, qty: Qty) -> Result<Step, PositionError> {
        self.step(instrument, side, price, qty)
    }

    /// Takes a fill. Returns by how much it counts for more. `now` is asked only where the prices of the last timer do not do.
    #[inline(always)]
    pub fn fill(&mut self, step: &Step, side: Side, qty: Qty, now: impl FnOnce() -> Prices) -> i128 {
        if self.position.qty.is_zero() | (self.mark == NO_MARK) | (self.rate == Money::ZERO) {
            self.price(now());
        }
        self.position.take(step, side, qty);
        self.recount()
    }

    /// A fill is taken that these prices are for.
    #[inline(never)]
    fn price(&mut self, now: Prices) {
        if self.position.qty.is_zero() || self.mark == NO_MARK {
            self.mark = now.mark;
        }
        if self.rate == Money::ZERO {
            self.rate = now.rate;
        }
    }

    /// As [`Held::fill`], where an instrument is not one strategy's alone.
    #[inline(never)]
    pub fn another_fill(&mut self, step: &Step, side: Side, qty: Qty, now: impl FnOnce() -> Prices) -> i128 {
        self.fill(step, side, qty, now)
    }

    /// Takes the prices of now. Returns what it counts for.
    pub fn revalue(&mut self, now: Prices) -> i128 {
        (self.mark, self.rate) = (now.mark, now.rate);
        self.recount();
        self.counted
    }

    #[inline(always)]
    fn recount(&mut self) -> i128 {
        let position = &self.position;
        let open = !position.qty.is_zero() && self.mark != NO_MARK;
        let unrealised = if open { position.unrealised_at(self.up, Price(self.mark)) } else { Money::ZERO };
        let now = if self.rate == ONE {
            bounded(position.realised).wrapping_add(bounded(unrealised))
        } else {
            count(position.realised, self.rate) + count(unrealised, self.rate)
        };
        // Both are below 2^(COUNTED_BITS + 1).
        now.wrapping_sub(std::mem::replace(&mut self.counted, now))
    }

    pub fn hash_state(&self, hasher: &mut StateHasher) {
        self.position.hash_state(hasher);
        hasher.write_i128(self.counted);
        hasher.write_i64(self.mark);
        hasher.write_money(self.rate);
    }
}

/// Fees paid in an asset, and what they count for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Paid {
    pub sum: Money,
    counted: i128,
    rate: Money,
}

impl Paid {
    /// Takes the new sum. Returns by how much it counts for more.
    #[inline]
    pub fn pay(&mut self, sum: Money, rate: Money) -> i128 {
        self.sum = sum;
        if self.rate == Money::ZERO {
            self.rate = rate;
        }
        self.recount()
    }

    /// Takes the rate of now. Returns what it counts for.
    pub fn revalue(&mut self, rate: Money) -> i128 {
        self.rate = rate;
        self.recount();
        self.counted
    }

    #[inline]
    fn recount(&mut self) -> i128 {
        let now = count(self.sum, self.rate);
        now - std::mem::replace(&mut self.counted, now)
    }

    pub fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_money(self.sum);
        hasher.write_i128(self.counted);
        hasher.write_money(self.rate);
    }
}
