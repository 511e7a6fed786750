//! The account as the venue keeps it: opening balance plus fills and fees, of each asset on each venue.
//!
//! What is kept is the balance, which risk reads; what was traded follows from it. Until a venue has stated what an account was
//! opened with, there is no balance, and the trades are summed up by themselves.

use super::PositionError;
use super::amounts::within;
use crate::fixed::Money;
use crate::ids::{AssetId, VenueId};
use crate::instrument::Instrument;
use crate::prefetch::extent;
use crate::state_hash::StateHasher;
use core::ops::Range;

/// The account of one asset on one venue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// Balance when the ledger was opened; `None` until the venue has stated it.
    pub opening: Option<Money>,
    /// Sum of all fills, signed, since then.
    pub traded: Money,
    /// Sum of all fees paid since then (negative = rebates).
    pub fees: Money,
    /// Sum of corrections taken over from the venue since then (deposits, withdrawals, found fills).
    pub adjusted: Money,
    /// The total that the venue stated last.
    pub stated_total: Option<Money>,
    /// What the venue stated last as available (not held by open orders).
    pub stated_available: Option<Money>,
    /// Core time of that statement, nanoseconds since the Unix epoch.
    pub stated_ns: u64,
}

impl Account {
    /// The balance by our own record: opening plus fills, minus fees, plus corrections; `None` before the opening.
    #[inline]
    pub fn total(&self) -> Option<Money> {
        self.opening.map(|opening| Money(opening.0.saturating_add(self.net().0)))
    }

    /// What changed since the opening.
    #[inline]
    pub fn net(&self) -> Money {
        Money(self.traded.0.saturating_sub(self.fees.0).saturating_add(self.adjusted.0))
    }

    /// Our record minus the venue's last statement; `None` while either is missing.
    #[inline]
    pub fn difference(&self) -> Option<Money> {
        Some(Money(self.total()?.0.saturating_sub(self.stated_total?.0)))
    }
}

/// The balance by our own record.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Balance {
    /// Zero before the opening is known.
    pub total: Money,
    opened: bool,
}

/// What an account holds beside its balance.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    opening: Money,
    /// Traded before the opening was known.
    traded_early: Money,
    fees: Money,
    adjusted: Money,
    stated_total: Option<Money>,
    stated_available: Option<Money>,
    stated_ns: u64,
}

/// The accounts of all assets on all venues.
#[derive(Clone, Debug)]
pub struct Ledger {
    assets: usize,
    /// By `venue * assets + asset`, both.
    balances: Vec<Balance>,
    records: Vec<Record>,
}

/// `a + b`, unless that is more than an account holds.
#[inline]
fn add(a: Money, b: Money) -> Result<Money, PositionError> {
    a.0.checked_add(b.0).filter(within).map(Money).ok_or(PositionError::Overflow)
}

impl Ledger {
    /// Accounts without a balance.
    pub fn new(venues: usize, assets: usize) -> Ledger {
        let accounts = venues * assets;
        Ledger { assets, balances: vec![Balance::default(); accounts], records: vec![Record::default(); accounts] }
    }

    #[inline(always)]
    fn slot(&self, venue: VenueId, asset: AssetId) -> Option<usize> {
        let at = venue.index().wrapping_mul(self.assets).wrapping_add(asset.index());
        (asset.index() < self.assets && at < self.balances.len()).then_some(at)
    }

    /// An account, if the ids are in range.
    #[inline]
    pub fn account(&self, venue: VenueId, asset: AssetId) -> Option<Account> {
        self.slot(venue, asset).map(|at| self.account_at(at))
    }

    fn account_at(&self, at: usize) -> Account {
        let (balance, record) = (&self.balances[at], &self.records[at]);
        let Record { opening, traded_early, fees, adjusted, stated_total, stated_available, stated_ns } = *record;
        // Sums of amounts that no account holds wrap around, and back again.
        let since = balance.total.0.wrapping_sub(opening.0).wrapping_add(fees.0).wrapping_sub(adjusted.0);
        let traded = if balance.opened { Money(since) } else { traded_early };
        Account { opening: balance.opened.then_some(opening), traded, fees, adjusted, stated_total, stated_available, stated_ns }
    }

    /// The balance by our own record; zero before the opening balance is known.
    #[inline]
    pub fn total(&self, venue: VenueId, asset: AssetId) -> Money {
        self.slot(venue, asset).map_or(Money::ZERO, |at| self.balances[at].total)
    }

    /// The balances by our own record, by `venue * assets + asset`.
    #[inline]
    pub(crate) fn balances(&self) -> &[Balance] {
        &self.balances
    }

    /// Gives out where a balance is.
    pub(super) fn touch(&self, venue: VenueId, asset: AssetId, touch: &mut impl FnMut(Range<usize>)) {
        self.slot(venue, asset).into_iter().for_each(|at| touch(extent(&self.balances[at])));
    }

    /// Our record minus the venue's last statement; `None` while either is missing. Meaningful only when no fill is under way.
    #[inline]
    pub fn difference(&self, venue: VenueId, asset: AssetId) -> Option<Money> {
        self.account(venue, asset).and_then(|account| account.difference())
    }

    /// Takes a balance as the venue states it. The first statement opens the account, such that the record
    /// equals it; later ones are kept for comparison. Returns the difference after it.
    pub fn state(&mut self, venue: VenueId, asset: AssetId, total: Money, available: Money, now_ns: u64) -> Result<Money, PositionError> {
        let at = self.slot(venue, asset).ok_or(PositionError::UnknownId)?;
        if !within(&total.0) || !within(&available.0) {
            return Err(PositionError::OutOfBounds);
        }
        let (balance, record) = (&mut self.balances[at], &mut self.records[at]);
        if !balance.opened {
            let net = record.traded_early - record.fees + record.adjusted;
            record.opening = Money(total.0.saturating_sub(net.0));
            *balance = Balance { total, opened: true };
        }
        record.stated_total = Some(total);
        record.stated_available = Some(available);
        record.stated_ns = now_ns;
        Ok(balance.total - total)
    }

    /// Takes the venue's last statement over as the truth (a deposit, a withdrawal, an operator's decision after a
    /// mismatch). Returns the correction made.
    pub fn adopt_statement(&mut self, venue: VenueId, asset: AssetId) -> Result<Money, PositionError> {
        let at = self.slot(venue, asset).ok_or(PositionError::UnknownId)?;
        let correction = -self.account_at(at).difference().unwrap_or(Money::ZERO);
        let (balance, record) = (&mut self.balances[at], &mut self.records[at]);
        record.adjusted = Money(record.adjusted.0.saturating_add(correction.0));
        // Without an opening there is no difference.
        balance.total += correction;
        Ok(correction)
    }

    /// Adds `base` and `quote` (both signed) to the two accounts of an instrument, or neither.
    #[inline]
    pub(super) fn trade(&mut self, instrument: &Instrument, base: Money, quote: Money) -> Result<(), PositionError> {
        let base_at = self.slot(instrument.venue, instrument.base).ok_or(PositionError::UnknownId)?;
        let quote_at = self.slot(instrument.venue, instrument.quote).ok_or(PositionError::UnknownId)?;
        let Ok([of_base, of_quote]) = self.balances.get_disjoint_mut([base_at, quote_at]) else {
            return self.trade_early([base_at, quote_at], [base, quote]);
        };
        if !(of_base.opened & of_quote.opened) {
            return self.trade_early([base_at, quote_at], [base, quote]);
        }
        let (base_total, quote_total) = (add(of_base.total, base)?, add(of_quote.total, quote)?);
        (of_base.total, of_quote.total) = (base_total, quote_total);
        Ok(())
    }

    /// As [`Ledger::trade`], where not both have an opening, or both are the same.
    #[inline(never)]
    fn trade_early(&mut self, places: [usize; 2], amounts: [Money; 2]) -> Result<(), PositionError> {
        let before = places.map(|at| (self.balances[at], self.records[at]));
        for (at, amount) in places.into_iter().zip(amounts) {
            let (balance, record) = (&mut self.balances[at], &mut self.records[at]);
            let sum = if balance.opened { &mut balance.total } else { &mut record.traded_early };
            match add(*sum, amount) {
                Ok(after) => *sum = after,
                Err(error) => {
                    for (at, (balance, record)) in places.into_iter().zip(before) {
                        (self.balances[at], self.records[at]) = (balance, record);
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn fee(&mut self, venue: VenueId, asset: AssetId, amount: Money) -> Result<(), PositionError> {
        let at = self.slot(venue, asset).ok_or(PositionError::UnknownId)?;
        let (balance, record) = (&mut self.balances[at], &mut self.records[at]);
        let fees = add(record.fees, amount)?;
        if balance.opened {
            balance.total = Money(balance.total.0.checked_sub(amount.0).filter(within).ok_or(PositionError::Overflow)?);
        }
        record.fees = fees;
        Ok(())
    }

    pub(super) fn hash_state(&self, hasher: &mut StateHasher) {
        for account in (0..self.balances.len()).map(|at| self.account_at(at)) {
            for amount in [account.opening, account.stated_total, account.stated_available] {
                hasher.write_bool(amount.is_some());
                hasher.write_money(amount.unwrap_or_default());
            }
            hasher.write_money(account.traded);
            hasher.write_money(account.fees);
            hasher.write_money(account.adjusted);
            hasher.write_u64(account.stated_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VENUE: VenueId = VenueId(1);

    /// The same as sums, each by itself.
    #[derive(Clone, Copy, Default)]
    struct Plain {
        opening: Option<i128>,
        traded: i128,
        fees: i128,
        adjusted: i128,
        stated: Option<i128>,
    }

    impl Plain {
        fn total(&self) -> Option<i128> {
            self.opening.map(|opening| opening + self.traded - self.fees + self.adjusted)
        }
    }

    fn amount() -> impl proptest::strategy::Strategy<Value = i128> {
        prop_oneof![4 => -1_000i128..1_000, 1 => -(1i128 << 122)..1 << 122, 1 => any::<i128>()]
    }

    fn taken(sum: i128, more: i128) -> Option<i128> {
        sum.checked_add(more).filter(within)
    }

    proptest! {
        #[test]
        fn a_balance_is_the_opening_with_all_that_came_after_whenever_it_was_stated(
            steps in proptest::collection::vec((0u8..6, 0u16..2, amount(), amount()), 0..60),
        ) {
            let instrument = Instrument::new(VENUE, "A", [AssetId(0), AssetId(1)], [2, 8]);
            let (mut ledger, mut plain) = (Ledger::new(2, 3), [Plain::default(); 2]);
            for (action, asset, a, b) in steps {
                let (id, at) = (AssetId(asset), usize::from(asset));
                match action {
                    0 | 1 => {
                        let fits = |plain: &Plain, more| taken(plain.total().unwrap_or(plain.traded), more).is_some();
                        let both = fits(&plain[0], a) && fits(&plain[1], b);
                        prop_assert_eq!(ledger.trade(&instrument, Money(a), Money(b)).is_ok(), both);
                        if both {
                            plain[0].traded += a;
                            plain[1].traded += b;
                        }
                    }
                    2 => {
                        let total = plain[at].total().map_or(Some(0), |total| total.checked_sub(a).filter(within));
                        let fits = taken(plain[at].fees, a).is_some() && total.is_some();
                        prop_assert_eq!(ledger.fee(VENUE, id, Money(a)).is_ok(), fits);
                        if fits {
                            plain[at].fees += a;
                        }
                    }
                    3 | 4 => {
                        let fits = within(&a) && within(&b);
                        let stated = ledger.state(VENUE, id, Money(a), Money(b), 7);
                        prop_assert_eq!(stated.is_ok(), fits);
                        if fits {
                            let plain = &mut plain[at];
                            plain.opening.get_or_insert(a - (plain.traded - plain.fees + plain.adjusted));
                            plain.stated = Some(a);
                            prop_assert_eq!(stated.unwrap().0, plain.total().unwrap() - a);
                        }
                    }
                    _ => {
                        let plain = &mut plain[at];
                        let correction = plain.stated.map_or(0, |stated| stated - plain.total().unwrap());
                        prop_assert_eq!(ledger.adopt_statement(VENUE, id), Ok(Money(correction)));
                        plain.adjusted += correction;
                    }
                }
                for (asset, plain) in plain.iter().enumerate() {
                    let id = AssetId(asset as u16);
                    let account = ledger.account(VENUE, id).unwrap();
                    prop_assert_eq!(account.total(), plain.total().map(Money));
                    prop_assert_eq!(ledger.total(VENUE, id), Money(plain.total().unwrap_or(0)));
                    prop_assert_eq!((account.opening, account.traded), (plain.opening.map(Money), Money(plain.traded)));
                    prop_assert_eq!((account.fees, account.adjusted), (Money(plain.fees), Money(plain.adjusted)));
                    prop_assert_eq!(ledger.difference(VENUE, id), plain.stated.map(|stated| Money(plain.total().unwrap() - stated)));
                }
                prop_assert_eq!(ledger.total(VenueId(0), AssetId(0)), Money::ZERO, "nor does anything else change");
            }
        }
    }
}
