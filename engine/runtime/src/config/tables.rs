//! The tables of assets and instruments, from the configuration and what the venues say.
//!
//! Ids are places in these tables, and a journal holds ids, so the order is fixed by the configuration file
//! alone: first the reporting asset, then venue by venue and instrument by instrument the assets traded, then
//! the assets that only fees are paid in.

use super::{ConfigError, Document};
use engine_core::ids::VenueId;
use engine_core::instrument::{AssetTable, Instrument, InstrumentTable};

/// An instrument that the venue has, but that cannot be traded because its reference data cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The venue's name.
    pub venue: String,
    /// The symbol.
    pub symbol: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What one venue said about the configured symbols.
#[derive(Clone, Debug, Default)]
pub struct VenueReference {
    /// The instruments; their assets are of the table that goes with them.
    pub instruments: Vec<Instrument>,
    /// Symbol and reason.
    pub quarantined: Vec<(String, String)>,
}

/// The tables that everything is built from.
#[derive(Clone, Debug, Default)]
pub struct ReferenceData {
    /// All instruments that can be traded, in the order of the configuration.
    pub instruments: InstrumentTable,
    /// All assets.
    pub assets: AssetTable,
    /// What is left out, and why.
    pub quarantined: Vec<Quarantined>,
}

/// Joins what the venues said (one entry a venue, in the order of the configuration; assets of `found_assets`)
/// with the configuration. Fees are the configuration's.
///
/// # Errors
/// If a venue does not know a configured symbol, or nothing is left to trade.
pub fn assemble(document: &Document, found: &[VenueReference], found_assets: &AssetTable) -> Result<ReferenceData, ConfigError> {
    let file = &document.file;
    let mut data = ReferenceData::default();
    data.assets.intern(file.engine.reporting_asset.get_ref());
    for (index, venue) in file.venues.iter().enumerate() {
        let name = venue.name.get_ref();
        let id = VenueId(u8::try_from(index).map_err(|_| document.error("venue: at most 255 venues"))?);
        let empty = VenueReference::default();
        let said = found.get(index).unwrap_or(&empty);
        for wanted in &venue.instruments {
            let key = ["venue", name, "instrument", &wanted.symbol, "symbol"];
            if let Some((symbol, reason)) = said.quarantined.iter().find(|(symbol, _)| *symbol == wanted.symbol) {
                data.quarantined.push(Quarantined { venue: name.clone(), symbol: symbol.clone(), reason: reason.clone() });
                continue;
            }
            let Some(instrument) = said.instruments.iter().find(|i| i.symbol == wanted.symbol) else {
                let message = format!("{name} knows no instrument \"{}\"; expected its spelling on the order channel", wanted.symbol);
                return Err(document.error_at_key(&key, message));
            };
            let mut instrument = instrument.clone();
            instrument.venue = id;
            instrument.base = data.assets.intern(found_assets.name(instrument.base));
            instrument.quote = data.assets.intern(found_assets.name(instrument.quote));
            instrument.maker_fee_ppm = fee(document, name, "maker_fee", venue.maker_fee.0)?;
            instrument.taker_fee_ppm = fee(document, name, "taker_fee", venue.taker_fee.0)?;
            data.instruments.add(instrument).map_err(|e| document.error_at_key(&key, e))?;
        }
    }
    for name in file.venues.iter().flat_map(|venue| &venue.fee_assets) {
        data.assets.intern(name);
    }
    if data.instruments.is_empty() {
        return Err(
            document.error("no instrument is left to trade; expected at least one [[venue.instrument]] that its venue describes well")
        );
    }
    Ok(data)
}

fn fee(document: &Document, venue: &str, key: &str, ppm: i64) -> Result<i32, ConfigError> {
    i32::try_from(ppm)
        .ok()
        .filter(|ppm| (-100_000..=100_000).contains(ppm))
        .ok_or_else(|| document.error_at_key(&["venue", venue, key], "expected a fee between -10 % and 10 %"))
}
