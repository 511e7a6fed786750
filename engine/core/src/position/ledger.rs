//! The account as the venue keeps it: opening balance plus fills and fees, of each asset on each venue.

use super::PositionError;
use super::amounts::within;
use crate::fixed::Money;
use crate::ids::{AssetId, VenueId};
use crate::instrument::Instrument;
use crate::state_hash::StateHasher;

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

/// The accounts of all assets on all venues.
#[derive(Clone, Debug)]
pub struct Ledger {
    assets: usize,
    accounts: Vec<Account>,
    /// [`Account::total`] of each, zero before the opening balance is known: what risk reads.
    pub(super) totals: Vec<Money>,
}

impl Ledger {
    /// Accounts without a balance.
    pub fn new(venues: usize, assets: usize) -> Ledger {
        Ledger { assets, accounts: vec![Account::default(); venues * assets], totals: vec![Money::ZERO; venues * assets] }
    }

    #[inline(always)]
    fn slot(&self, venue: VenueId, asset: AssetId) -> Option<usize> {
        let at = venue.index() * self.assets + asset.index();
        (asset.index() < self.assets && at < self.accounts.len()).then_some(at)
    }

    /// An account, if the ids are in range.
    #[inline]
    pub fn account(&self, venue: VenueId, asset: AssetId) -> Option<&Account> {
        self.slot(venue, asset).map(|at| &self.accounts[at])
    }

    /// The balance by our own record; zero before the opening balance is known.
    #[inline]
    pub fn total(&self, venue: VenueId, asset: AssetId) -> Money {
        self.slot(venue, asset).map_or(Money::ZERO, |at| self.totals[at])
    }

    /// An account changed.
    #[inline]
    fn sum_up(&mut self, at: usize) {
        self.totals[at] = self.accounts[at].total().unwrap_or(Money::ZERO);
    }

    /// Our record minus the venue's last statement; `None` while either is missing. Meaningful only when no fill is under way.
    #[inline]
    pub fn difference(&self, venue: VenueId, asset: AssetId) -> Option<Money> {
        self.account(venue, asset).and_then(Account::difference)
    }

    /// Takes a balance as the venue states it. The first statement opens the account, such that the record
    /// equals it; later ones are kept for comparison. Returns the difference after it.
    pub fn state(&mut self, venue: VenueId, asset: AssetId, total: Money, available: Money, now_ns: u64) -> Result<Money, PositionError> {
        let at = self.slot(venue, asset).ok_or(PositionError::UnknownId)?;
        if !within(&total.0) || !within(&available.0) {
            return Err(PositionError::OutOfBounds);
        }
        let account = &mut self.accounts[at];
        if account.opening.is_none() {
            account.opening = Some(Money(total.0.saturating_sub(account.net().0)));
        }
        account.stated_total = Some(total);
        account.stated_available = Some(available);
        account.stated_ns = now_ns;
        let difference = account.difference().unwrap_or(Money::ZERO);
        self.sum_up(at);
        Ok(difference)
    }

    /// Takes the venue's last statement over as the truth (a deposit, a withdrawal, an operator's decision after a
    /// mismatch). Returns the correction made.
    pub fn adopt_statement(&mut self, venue: VenueId, asset: AssetId) -> Result<Money, PositionError> {
        let at = self.slot(venue, asset).ok_or(PositionError::UnknownId)?;
        let account = &mut self.accounts[at];
        let correction = -account.difference().unwrap_or(Money::ZERO);
        account.adjusted = Money(account.adjusted.0.saturating_add(correction.0));
        self.sum_up(at);
        Ok(correction)
    }

    /// Adds `base` and `quote` (both signed) to the two accounts of an instrument, or neither.
    #[inline]
    pub(super) fn trade(&mut self, instrument: &Instrument, base: Money, quote: Money) -> Result<(), PositionError> {
        let base_at = self.slot(instrument.venue, instrument.base).ok_or(PositionError::UnknownId)?;
        let quote_at = self.slot(instrument.venue, instrument.quote).ok_or(PositionError::UnknownId)?;
        let base_traded = self.accounts[base_at].traded.0.checked_add(base.0).filter(within).ok_or(PositionError::Overflow)?;
        let quote_traded = self.accounts[quote_at].traded.0.checked_add(quote.0).filter(within).ok_or(PositionError::Overflow)?;
        self.accounts[base_at].traded = Money(base_traded);
        self.accounts[quote_at].traded = Money(quote_traded);
        // What was stated, and what came in by fills and by fees since, is below 2^AMOUNT_BITS each.
        self.totals[base_at] += if self.accounts[base_at].opening.is_some() { base } else { Money::ZERO };
        self.totals[quote_at] += if self.accounts[quote_at].opening.is_some() { quote } else { Money::ZERO };
        Ok(())
    }

    #[inline]
    pub(super) fn fee(&mut self, venue: VenueId, asset: AssetId, amount: Money) -> Result<(), PositionError> {
        let at = self.slot(venue, asset).ok_or(PositionError::UnknownId)?;
        let fees = self.accounts[at].fees.0.checked_add(amount.0).filter(within).ok_or(PositionError::Overflow)?;
        self.accounts[at].fees = Money(fees);
        self.totals[at] -= if self.accounts[at].opening.is_some() { amount } else { Money::ZERO };
        Ok(())
    }

    pub(super) fn hash_state(&self, hasher: &mut StateHasher) {
        for account in &self.accounts {
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
