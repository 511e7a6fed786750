//! What assets are worth in the reporting currency, fixed or by the books of instruments.

use super::amounts::{ONE, multiply};
use crate::fixed::{Money, Price};
use crate::ids::{AssetId, InstrumentId};
use crate::instrument::{Instrument, InstrumentTable};
use crate::state_hash::StateHasher;

/// Where the value of an asset in the reporting currency comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RateSource {
    /// Unknown: amounts in it cannot be converted.
    #[default]
    None,
    /// Fixed by configuration: value of one unit.
    Fixed(Money),
    /// From the book of an instrument whose base is the asset, times the value of its quote asset.
    Base(InstrumentId),
    /// From the book of an instrument whose quote is the asset, divided into the value of its base asset.
    Quote(InstrumentId),
}

/// Which rates an instrument's mid is a source of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RateFeed {
    /// None.
    None,
    /// Some, and nothing but the mid decides what they are.
    Alone,
    /// Some, together with rates that change as well.
    Chained,
}

/// Values of assets in the reporting currency. Rates from books keep their last value while a book is invalid.
#[derive(Clone, Debug)]
pub struct Rates {
    reporting: AssetId,
    sources: Vec<RateSource>,
    /// Last mid of a source's book, as value of one base unit in its quote asset.
    mids: Vec<Option<Money>>,
    values: Vec<Option<Money>>,
}

impl Rates {
    /// Rates of `assets` assets; only the reporting asset has one (1) until sources are set.
    pub fn new(assets: usize, reporting: AssetId) -> Rates {
        let mut rates = Rates { reporting, sources: vec![RateSource::None; assets], mids: vec![None; assets], values: vec![None; assets] };
        rates.set_source(reporting, RateSource::Fixed(Money::from_scaled(1, 0)));
        rates
    }

    /// The reporting asset.
    pub fn reporting(&self) -> AssetId {
        self.reporting
    }

    /// Sets where the rate of `asset` comes from. For start-up. False if the asset is out of range.
    pub fn set_source(&mut self, asset: AssetId, source: RateSource) -> bool {
        let Some(slot) = self.sources.get_mut(asset.index()) else { return false };
        *slot = source;
        self.mids[asset.index()] = None;
        self.values[asset.index()] = match source {
            RateSource::Fixed(value) => Some(value),
            _ => None,
        };
        true
    }

    /// True if somebody states the value of the asset, now or later.
    pub fn has_source(&self, asset: AssetId) -> bool {
        self.sources.get(asset.index()).is_some_and(|source| *source != RateSource::None)
    }

    /// Gives each asset without a source one from the instruments, if there is an instrument that links it to an asset that
    /// has a source; repeats until nothing more is found. For start-up.
    pub fn derive_sources(&mut self, instruments: &InstrumentTable) {
        for _ in 0..self.sources.len() {
            let mut found = false;
            for (id, instrument) in instruments.iter() {
                let known = |asset: AssetId| self.sources.get(asset.index()).is_some_and(|s| *s != RateSource::None);
                let (base, quote) = (known(instrument.base), known(instrument.quote));
                if quote && !base {
                    found |= self.set_source(instrument.base, RateSource::Base(id));
                } else if base && !quote {
                    found |= self.set_source(instrument.quote, RateSource::Quote(id));
                }
            }
            if !found {
                return;
            }
        }
    }

    /// Which rates the mid of an instrument is a source of. For start-up, once all sources are set.
    pub fn fed_by(&self, id: InstrumentId, instrument: &Instrument) -> RateFeed {
        let source = |asset: AssetId| self.sources.get(asset.index()).copied().unwrap_or_default();
        let fixed = |asset: AssetId| matches!(source(asset), RateSource::Fixed(_));
        let base = source(instrument.base) == RateSource::Base(id);
        let quote = source(instrument.quote) == RateSource::Quote(id);
        match (base, quote) {
            (false, false) => RateFeed::None,
            (true, false) if fixed(instrument.quote) => RateFeed::Alone,
            (false, true) if fixed(instrument.base) => RateFeed::Alone,
            _ => RateFeed::Chained,
        }
    }

    /// Takes the mid of an instrument's book: updates the rates that come from it. Constant time for the instrument's own
    /// two assets; an asset derived from one of these follows at its own next mid.
    #[inline]
    pub fn on_mid(&mut self, id: InstrumentId, instrument: &Instrument, mid: Price) {
        if mid.0 <= 0 {
            return;
        }
        let mid = Money::from_scaled(mid.0, instrument.price_scale);
        if self.sources.get(instrument.base.index()) == Some(&RateSource::Base(id)) {
            self.mids[instrument.base.index()] = Some(mid);
            let value = self.convert(instrument.quote, mid);
            self.values[instrument.base.index()] = value.or(self.values[instrument.base.index()]);
        }
        if self.sources.get(instrument.quote.index()) == Some(&RateSource::Quote(id)) {
            self.mids[instrument.quote.index()] = Some(mid);
            let value = self.value(instrument.base).and_then(|base| divide(base, mid));
            self.values[instrument.quote.index()] = value.or(self.values[instrument.quote.index()]);
        }
    }

    /// Value of one unit of `asset` in the reporting currency, if known.
    #[inline]
    pub fn value(&self, asset: AssetId) -> Option<Money> {
        self.values.get(asset.index()).copied().flatten()
    }

    /// An amount of `asset` in the reporting currency, rounded towards zero; `None` if the rate is unknown or the result does not fit.
    #[inline]
    pub fn convert(&self, asset: AssetId, amount: Money) -> Option<Money> {
        if asset == self.reporting {
            return Some(amount);
        }
        multiply(amount, self.value(asset)?)
    }

    /// Value of one unit of `asset`; 0 if it is not known.
    #[inline]
    pub(super) fn rate(&self, asset: AssetId) -> Money {
        if asset == self.reporting { ONE } else { self.value(asset).unwrap_or_default() }
    }

    pub(super) fn hash_state(&self, hasher: &mut StateHasher) {
        for value in self.values.iter().chain(&self.mids) {
            hasher.write_bool(value.is_some());
            hasher.write_money(value.unwrap_or_default());
        }
    }
}

/// `value / by` as a Money ratio, rounded towards zero.
#[inline]
fn divide(value: Money, by: Money) -> Option<Money> {
    match value.0.checked_mul(ONE.0) {
        Some(scaled) => scaled.checked_div(by.0).map(Money),
        // Too wide to scale up first: nine of the eighteen places before the division, nine after.
        None => value.0.checked_mul(1_000_000_000)?.checked_div(by.0)?.checked_mul(1_000_000_000).map(Money),
    }
}
