//! The resolved configuration that a journal was made with: `session.json` beside its segments.
//!
//! A replay must build the very core that made the journal, so the configuration file's text and the
//! reference data as it was at the first start are kept with it. No secrets: the configuration names
//! key files, it does not hold keys.

use crate::journal::export::Names;
use engine_core::event::InstrumentStatus;
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::{AssetId, VenueId};
use engine_core::instrument::{AssetTable, Capabilities, Instrument, InstrumentTable};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of the file.
pub const VERSION: u32 = 1;
/// Its name in the journal's directory.
pub const FILE_NAME: &str = "session.json";

/// The file. Ids are places in the lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionFile {
    /// [`VERSION`].
    pub version: u32,
    /// The configuration file's text.
    pub config: String,
    /// Venue names.
    pub venues: Vec<String>,
    /// Strategy names.
    pub strategies: Vec<String>,
    /// Asset names.
    pub assets: Vec<String>,
    /// Instruments.
    pub instruments: Vec<InstrumentRecord>,
}

/// An instrument. Numbers are integers at the stated scales.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstrumentRecord {
    venue: u8,
    symbol: String,
    base: u16,
    quote: u16,
    price_scale: u8,
    qty_scale: u8,
    tick: i64,
    lot: i64,
    qty_min: i64,
    qty_max: i64,
    notional_min: String,
    maker_fee_ppm: i32,
    taker_fee_ppm: i32,
    status: u32,
    replace: bool,
    reduce: bool,
    post_only: bool,
}

/// Why a session file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionFileError {
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The content is not a session file.
    #[error("{path}: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl SessionFile {
    /// Collects the tables.
    pub fn new(
        config: &str,
        venues: Vec<String>,
        strategies: Vec<String>,
        assets: &AssetTable,
        instruments: &InstrumentTable,
    ) -> SessionFile {
        SessionFile {
            version: VERSION,
            config: config.to_owned(),
            venues,
            strategies,
            assets: (0..assets.len()).map(|i| assets.name(AssetId(i as u16)).to_owned()).collect(),
            instruments: instruments.iter().map(|(_, i)| record(i)).collect(),
        }
    }

    /// Reads the file of a journal directory (or of the directory that a segment lies in); `None` if there is none.
    pub fn read(journal: &Path) -> Result<Option<SessionFile>, SessionFileError> {
        let dir = if journal.is_file() { journal.parent().unwrap_or(Path::new(".")) } else { journal };
        let path = dir.join(FILE_NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SessionFileError::Io { path, source }),
        };
        let format = |reason: String| SessionFileError::Format { path: path.clone(), reason };
        let file: SessionFile = serde_json::from_slice(&text).map_err(|e| format(e.to_string()))?;
        if file.version != VERSION {
            return Err(format(format!("version {}; this program knows {VERSION}", file.version)));
        }
        Ok(Some(file))
    }

    /// Writes the file into a journal directory, whole or not at all.
    pub fn write(&self, dir: &Path) -> Result<(), SessionFileError> {
        let path = dir.join(FILE_NAME);
        let failed = |source| SessionFileError::Io { path: path.clone(), source };
        let text = serde_json::to_vec_pretty(self).map_err(|e| failed(e.into()))?;
        let temporary = dir.join(format!("{FILE_NAME}.new"));
        std::fs::create_dir_all(dir).map_err(failed)?;
        let mut file = std::fs::File::create(&temporary).map_err(failed)?;
        std::io::Write::write_all(&mut file, &text).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&temporary, &path).map_err(failed)
    }

    /// A hash of everything in it: the journal's segments carry it.
    pub fn hash(&self) -> u64 {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let mut h = 0xcbf2_9ce4_8422_2325u64;
        for byte in text {
            h = (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        h
    }

    /// The tables again.
    pub fn tables(&self) -> Result<(InstrumentTable, AssetTable), String> {
        let mut assets = AssetTable::new();
        for name in &self.assets {
            assets.intern(name);
        }
        let mut instruments = InstrumentTable::new();
        for record in &self.instruments {
            instruments.add(instrument(record)?).map_err(|e| e.to_string())?;
        }
        Ok((instruments, assets))
    }
}

fn record(i: &Instrument) -> InstrumentRecord {
    InstrumentRecord {
        venue: i.venue.0,
        symbol: i.symbol.clone(),
        base: i.base.0,
        quote: i.quote.0,
        price_scale: i.price_scale,
        qty_scale: i.qty_scale,
        tick: i.tick.0,
        lot: i.lot.0,
        qty_min: i.qty_min.0,
        qty_max: i.qty_max.0,
        notional_min: i.notional_min.to_string(),
        maker_fee_ppm: i.maker_fee_ppm,
        taker_fee_ppm: i.taker_fee_ppm,
        status: i.status as u32,
        replace: i.capabilities.replace,
        reduce: i.capabilities.reduce,
        post_only: i.capabilities.post_only,
    }
}

fn instrument(r: &InstrumentRecord) -> Result<Instrument, String> {
    Ok(Instrument {
        venue: VenueId(r.venue),
        symbol: r.symbol.clone(),
        base: AssetId(r.base),
        quote: AssetId(r.quote),
        price_scale: r.price_scale,
        qty_scale: r.qty_scale,
        tick: Price(r.tick),
        lot: Qty(r.lot),
        qty_min: Qty(r.qty_min),
        qty_max: Qty(r.qty_max),
        notional_min: Money::parse(r.notional_min.as_bytes()).map_err(|e| format!("{}: notional_min: {e}", r.symbol))?,
        maker_fee_ppm: r.maker_fee_ppm,
        taker_fee_ppm: r.taker_fee_ppm,
        status: InstrumentStatus::from_raw(r.status).ok_or_else(|| format!("{}: status {}", r.symbol, r.status))?,
        epoch: 0,
        capabilities: Capabilities { replace: r.replace, reduce: r.reduce, post_only: r.post_only },
    })
}

impl Names for SessionFile {
    fn venue(&self, id: u8) -> Option<&str> {
        self.venues.get(usize::from(id)).map(String::as_str)
    }
    fn instrument(&self, id: u16) -> Option<(&str, u8, u8)> {
        self.instruments.get(usize::from(id)).map(|i| (i.symbol.as_str(), i.price_scale, i.qty_scale))
    }
    fn asset(&self, id: u16) -> Option<&str> {
        self.assets.get(usize::from(id)).map(String::as_str)
    }
    fn strategy(&self, id: u16) -> Option<&str> {
        self.strategies.get(usize::from(id)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_survive_the_file() {
        let mut assets = AssetTable::new();
        let (base, quote) = (assets.intern("BTC"), assets.intern("USDT"));
        let mut instruments = InstrumentTable::new();
        let btc = Instrument {
            qty_min: Qty(5_000),
            notional_min: Money::parse(b"0.5").unwrap(),
            maker_fee_ppm: 2_500,
            taker_fee_ppm: 4_000,
            capabilities: Capabilities { replace: true, reduce: true, post_only: true },
            ..Instrument::new(VenueId(1), "BTC/USDT", [base, quote], [1, 8])
        };
        instruments.add(btc.clone()).unwrap();
        let file = SessionFile::new("[engine]", vec!["binance".into(), "kraken".into()], vec!["mm".into()], &assets, &instruments);
        let dir = std::env::temp_dir().join(format!("peregrine-session-{}", std::process::id()));
        file.write(&dir).unwrap();
        let again = SessionFile::read(&dir).unwrap().unwrap();
        assert_eq!(again, file);
        assert_eq!(again.hash(), file.hash());
        let (table, names) = again.tables().unwrap();
        assert_eq!(table[engine_core::ids::InstrumentId(0)], btc);
        assert_eq!(names.name(quote), "USDT");
        assert_eq!(Names::instrument(&again, 0), Some(("BTC/USDT", 1, 8)));
        std::fs::write(dir.join(FILE_NAME), "{}").unwrap();
        assert!(matches!(SessionFile::read(&dir), Err(SessionFileError::Format { .. })));
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(SessionFile::read(&dir).unwrap(), None);
    }
}
