//! Who owns what: exact balances and holds of every account of one venue.
//!
//! Account 0 is the crowd (the rest of the market, which may go below zero) and account 1 collects the
//! fees, so every movement has two ends and the sum over all accounts of an asset never changes.

use crate::decimal::Amount;

/// An account of a venue: index into its ledger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AccountId(pub usize);

impl AccountId {
    /// The rest of the market.
    pub const CROWD: AccountId = AccountId(0);
    /// Where fees go.
    pub const FEES: AccountId = AccountId(1);
}

/// An asset of a venue: index into its ledger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AssetId(pub usize);

/// What an account has of one asset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Balance {
    /// Everything owned.
    pub total: Amount,
    /// The part that open orders hold.
    pub hold: Amount,
}

impl Balance {
    /// What a new order may use.
    pub fn free(self) -> Amount {
        self.total - self.hold
    }
}

/// All accounts of one venue.
#[derive(Debug)]
pub struct Ledger {
    assets: Vec<String>,
    accounts: Vec<Vec<Balance>>,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger { assets: Vec::new(), accounts: vec![Vec::new(); 2] }
    }
}

impl Ledger {
    /// The id of an asset, made on first use.
    pub fn asset(&mut self, name: &str) -> AssetId {
        if let Some(at) = self.assets.iter().position(|other| other == name) {
            return AssetId(at);
        }
        self.assets.push(name.to_owned());
        for account in &mut self.accounts {
            account.push(Balance::default());
        }
        AssetId(self.assets.len() - 1)
    }

    /// The name of an asset.
    pub fn asset_name(&self, asset: AssetId) -> &str {
        &self.assets[asset.0]
    }

    /// All assets in order of their ids.
    pub fn assets(&self) -> impl Iterator<Item = (AssetId, &str)> {
        self.assets.iter().enumerate().map(|(at, name)| (AssetId(at), name.as_str()))
    }

    /// Opens an account with nothing in it.
    pub fn open_account(&mut self) -> AccountId {
        self.accounts.push(vec![Balance::default(); self.assets.len()]);
        AccountId(self.accounts.len() - 1)
    }

    /// What an account has of an asset.
    pub fn balance(&self, account: AccountId, asset: AssetId) -> Balance {
        self.accounts[account.0][asset.0]
    }

    /// Gives an account something out of nothing: deposits, before or between trades.
    pub fn deposit(&mut self, account: AccountId, asset: AssetId, amount: Amount) {
        self.accounts[account.0][asset.0].total += amount;
    }

    /// Moves an amount between two accounts.
    pub fn transfer(&mut self, from: AccountId, to: AccountId, asset: AssetId, amount: Amount) {
        self.accounts[from.0][asset.0].total -= amount;
        self.accounts[to.0][asset.0].total += amount;
    }

    /// Raises (or with a negative amount lowers) what open orders hold.
    pub fn hold(&mut self, account: AccountId, asset: AssetId, amount: Amount) {
        self.accounts[account.0][asset.0].hold += amount;
    }

    /// Sum of an asset over all accounts: changed by [`Ledger::deposit`] only.
    pub fn sum(&self, asset: AssetId) -> Amount {
        self.accounts.iter().map(|account| account[asset.0].total).sum()
    }
}
