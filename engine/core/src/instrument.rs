//! Instruments and assets: what can be traded, in which steps, and whether it can be traded now.
//!
//! One [`Instrument`] is one symbol on one venue. Tables are filled at start-up from configuration and
//! reference data and never grow on the hot path; the rules of an instrument may change in mid-session
//! (an [`crate::event::EventKind::InstrumentRules`] event), which raises its `epoch`.

use crate::event::InstrumentStatus;
use crate::fixed::{Money, Price, Qty, SCALE_MAX};
use crate::ids::{AssetId, InstrumentId, VenueId};

/// What an instrument's venue can do with its orders.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// Price and quantity can be replaced in place (same order id).
    pub replace: bool,
    /// The quantity can be reduced in place, keeping queue priority.
    pub reduce: bool,
    /// The venue has post-only orders.
    pub post_only: bool,
}

/// One symbol on one venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// The venue.
    pub venue: VenueId,
    /// The venue's own spelling on its order channel, e.g. `BTCUSDT`, `BTC/USDT`.
    pub symbol: String,
    /// Base asset.
    pub base: AssetId,
    /// Quote asset.
    pub quote: AssetId,
    /// Decimal places of prices.
    pub price_scale: u8,
    /// Decimal places of quantities.
    pub qty_scale: u8,
    /// Price increment, in price units. At least 1.
    pub tick: Price,
    /// Quantity increment, in quantity units. At least 1.
    pub lot: Qty,
    /// Smallest order quantity.
    pub qty_min: Qty,
    /// Largest order quantity; [`Qty::MAX`] if unbounded.
    pub qty_max: Qty,
    /// Smallest order notional in the quote asset; zero if none.
    pub notional_min: Money,
    /// Maker fee in millionths of the notional (negative = rebate).
    pub maker_fee_ppm: i32,
    /// Taker fee in millionths of the notional.
    pub taker_fee_ppm: i32,
    /// Trading status.
    pub status: InstrumentStatus,
    /// Raised at each change of the rules.
    pub epoch: u32,
    /// What the venue can do.
    pub capabilities: Capabilities,
}

impl Instrument {
    /// One whose steps are the last decimals, that has no bounds and no fees and can be traded. `assets`: base, quote; `scales`:
    /// decimal places of prices, of quantities.
    pub fn new(venue: VenueId, symbol: impl Into<String>, assets: [AssetId; 2], scales: [u8; 2]) -> Instrument {
        let ([base, quote], [price_scale, qty_scale]) = (assets, scales);
        Instrument {
            venue,
            symbol: symbol.into(),
            base,
            quote,
            price_scale,
            qty_scale,
            tick: Price(1),
            lot: Qty(1),
            qty_min: Qty(1),
            qty_max: Qty::MAX,
            notional_min: Money::ZERO,
            maker_fee_ppm: 0,
            taker_fee_ppm: 0,
            status: InstrumentStatus::Trading,
            epoch: 0,
            capabilities: Capabilities::default(),
        }
    }

    /// `price * qty` in the quote asset.
    #[inline]
    pub fn notional(&self, price: Price, qty: Qty) -> Money {
        Money::notional(price, qty, self.price_scale, self.qty_scale)
    }

    /// Rounds a price down to the tick.
    #[inline]
    pub fn floor_to_tick(&self, price: Price) -> Price {
        Price(price.0 - over(price.0, self.tick.0))
    }

    /// Rounds a price up to the tick.
    #[inline]
    pub fn ceil_to_tick(&self, price: Price) -> Price {
        let over = over(price.0, self.tick.0);
        Price(price.0 - over + if over == 0 { 0 } else { self.tick.0 })
    }

    /// Rounds a (non-negative) quantity down to the lot.
    #[inline]
    pub fn floor_to_lot(&self, qty: Qty) -> Qty {
        Qty(qty.0 - over(qty.0, self.lot.0))
    }
}

/// By how much a value is beyond a multiple of a step.
#[inline]
fn over(value: i64, step: i64) -> i64 {
    // Signs take as long as the division.
    if value >= 0 && step > 0 { (value as u64 % step as u64) as i64 } else { over_signed(value, step) }
}

#[cold]
#[inline(never)]
fn over_signed(value: i64, step: i64) -> i64 {
    value.rem_euclid(step)
}

/// Why an instrument cannot be added.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InstrumentError {
    /// Scales beyond what the number types hold.
    #[error("{symbol}: price scale {price_scale} and quantity scale {qty_scale} must add up to at most {SCALE_MAX}")]
    Scale {
        /// The symbol.
        symbol: String,
        /// Its price scale.
        price_scale: u8,
        /// Its quantity scale.
        qty_scale: u8,
    },
    /// A step of zero or below.
    #[error("{symbol}: tick and lot must be positive")]
    Step {
        /// The symbol.
        symbol: String,
    },
    /// The same symbol twice on one venue.
    #[error("{symbol}: already in the table for this venue")]
    Duplicate {
        /// The symbol.
        symbol: String,
    },
    /// More instruments than an id can name.
    #[error("too many instruments")]
    Full,
}

/// All instruments, by id.
#[derive(Clone, Debug, Default)]
pub struct InstrumentTable {
    instruments: Vec<Instrument>,
}

impl InstrumentTable {
    /// An empty table.
    pub fn new() -> InstrumentTable {
        InstrumentTable::default()
    }

    /// Adds an instrument; its id is its place in the table.
    pub fn add(&mut self, instrument: Instrument) -> Result<InstrumentId, InstrumentError> {
        let symbol = || instrument.symbol.clone();
        if u32::from(instrument.price_scale) + u32::from(instrument.qty_scale) > u32::from(SCALE_MAX) {
            return Err(InstrumentError::Scale { symbol: symbol(), price_scale: instrument.price_scale, qty_scale: instrument.qty_scale });
        }
        if instrument.tick.0 < 1 || instrument.lot.0 < 1 {
            return Err(InstrumentError::Step { symbol: symbol() });
        }
        if self.find(instrument.venue, instrument.symbol.as_bytes()).is_some() {
            return Err(InstrumentError::Duplicate { symbol: symbol() });
        }
        let id = u16::try_from(self.instruments.len()).map_err(|_| InstrumentError::Full)?;
        self.instruments.push(instrument);
        Ok(InstrumentId(id))
    }

    /// Finds a symbol by the venue's spelling. Linear: for start-up; codecs build their own index.
    pub fn find(&self, venue: VenueId, symbol: &[u8]) -> Option<InstrumentId> {
        self.instruments.iter().position(|i| i.venue == venue && i.symbol.as_bytes() == symbol).map(|i| InstrumentId(i as u16))
    }

    /// The instrument, if the id is in range.
    #[inline]
    pub fn get(&self, id: InstrumentId) -> Option<&Instrument> {
        self.instruments.get(id.index())
    }

    /// The instrument for change (rules, status).
    #[inline]
    pub fn get_mut(&mut self, id: InstrumentId) -> Option<&mut Instrument> {
        self.instruments.get_mut(id.index())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.instruments.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.instruments.is_empty()
    }

    /// All, with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (InstrumentId, &Instrument)> {
        self.instruments.iter().enumerate().map(|(i, x)| (InstrumentId(i as u16), x))
    }
}

impl core::ops::Index<InstrumentId> for InstrumentTable {
    type Output = Instrument;

    /// Panics on an id out of range: only for ids that this table gave out.
    #[inline]
    fn index(&self, id: InstrumentId) -> &Instrument {
        &self.instruments[id.index()]
    }
}

/// Asset names, by id. Names are upper case in the common spelling (`BTC`, `USD`, `USDT`).
#[derive(Clone, Debug, Default)]
pub struct AssetTable {
    names: Vec<String>,
}

impl AssetTable {
    /// An empty table.
    pub fn new() -> AssetTable {
        AssetTable::default()
    }

    /// The id of `name`, adding it if it is new. For start-up only.
    ///
    /// # Panics
    /// Beyond 65,535 assets.
    pub fn intern(&mut self, name: &str) -> AssetId {
        self.find(name.as_bytes()).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            AssetId(u16::try_from(self.names.len() - 1).expect("fewer than 65,536 assets"))
        })
    }

    /// The id of `name`, if known.
    pub fn find(&self, name: &[u8]) -> Option<AssetId> {
        self.names.iter().position(|n| n.as_bytes() == name).map(|i| AssetId(i as u16))
    }

    /// The name of an asset, `?` if out of range.
    pub fn name(&self, id: AssetId) -> &str {
        self.names.get(id.index()).map_or("?", String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn btc_usdt() -> Instrument {
        Instrument {
            tick: Price(5),
            lot: Qty(1_000),
            qty_min: Qty(1_000),
            notional_min: Money::from_scaled(5, 0),
            maker_fee_ppm: 1_000,
            taker_fee_ppm: 1_000,
            ..Instrument::new(VenueId(0), "BTCUSDT", [AssetId(0), AssetId(1)], [2, 8])
        }
    }

    #[test]
    fn rounding_goes_to_the_stated_side() {
        let instrument = btc_usdt();
        assert_eq!(instrument.floor_to_tick(Price(104)), Price(100));
        assert_eq!(instrument.ceil_to_tick(Price(101)), Price(105));
        assert_eq!(instrument.ceil_to_tick(Price(105)), Price(105));
        assert_eq!(instrument.floor_to_tick(Price(-1)), Price(-5));
        assert_eq!(instrument.floor_to_lot(Qty(1_999)), Qty(1_000));
    }

    proptest::proptest! {
        #[test]
        fn rounding_is_that_of_a_whole_division(
            value in proptest::prelude::prop_oneof![-1_000_i64..1_000, i64::MIN / 2..i64::MAX / 2],
            step in proptest::prelude::prop_oneof![1_i64..100, 1..i64::MAX / 4],
        ) {
            let instrument = Instrument { tick: Price(step), lot: Qty(step), ..btc_usdt() };
            let (floor, ceil) = (value.div_euclid(step) * step, -(-value).div_euclid(step) * step);
            proptest::prop_assert_eq!(instrument.floor_to_tick(Price(value)), Price(floor));
            proptest::prop_assert_eq!(instrument.ceil_to_tick(Price(value)), Price(ceil));
            proptest::prop_assert_eq!(instrument.floor_to_lot(Qty(value)), Qty(floor));
        }
    }

    #[test]
    fn impossible_instruments_are_refused() {
        let mut table = InstrumentTable::new();
        assert_eq!(table.add(btc_usdt()), Ok(InstrumentId(0)));
        assert!(matches!(table.add(btc_usdt()), Err(InstrumentError::Duplicate { .. })));
        assert!(matches!(table.add(Instrument { price_scale: 11, symbol: "A".into(), ..btc_usdt() }), Err(InstrumentError::Scale { .. })));
        assert!(matches!(table.add(Instrument { tick: Price(0), symbol: "B".into(), ..btc_usdt() }), Err(InstrumentError::Step { .. })));
        assert_eq!(table.find(VenueId(0), b"BTCUSDT"), Some(InstrumentId(0)));
        assert_eq!(table.find(VenueId(1), b"BTCUSDT"), None);
    }
}
