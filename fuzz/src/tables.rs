//! Two instruments of a venue, and settings with keys of no account.

use engine_core::ids::VenueId;
use engine_core::instrument::{AssetTable, Capabilities, Instrument, InstrumentTable};
use venues::venue::{Credentials, Encoding, Hosts, VenueSettings};

/// Milliseconds in nanoseconds.
pub const MS: u64 = 1_000_000;
/// When everything happens.
pub const NOW: u64 = 1_767_225_600_123 * MS;
/// The venue's id.
pub const VENUE: VenueId = VenueId(1);

/// Symbol, base, price scale, quantity scale.
type Row = (&'static str, &'static str, u8, u8);

/// The instruments of Binance.
pub const BINANCE: [Row; 2] = [("BTCUSDT", "BTC", 2, 8), ("ETHUSDT", "ETH", 2, 4)];
/// The instruments of Kraken.
pub const KRAKEN: [Row; 2] = [("BTC/USD", "BTC", 1, 8), ("ETH/USD", "ETH", 2, 8)];

/// Tables of these instruments.
pub fn tables(rows: &[Row]) -> (InstrumentTable, AssetTable) {
    let (mut instruments, mut assets) = (InstrumentTable::new(), AssetTable::new());
    let quote = assets.intern(if rows[0].0.contains('/') { "USD" } else { "USDT" });
    for &(symbol, base, price_scale, qty_scale) in rows {
        let base = assets.intern(base);
        let instrument = Instrument {
            maker_fee_ppm: 1_000,
            taker_fee_ppm: 1_000,
            capabilities: Capabilities { replace: true, reduce: true, post_only: true },
            ..Instrument::new(VENUE, symbol, [base, quote], [price_scale, qty_scale])
        };
        instruments.add(instrument).expect("a sound instrument");
    }
    (instruments, assets)
}

/// Settings with both kinds of keys.
pub fn settings(hosts: Hosts, encoding: Encoding) -> VenueSettings {
    let secret = "ZW5naW5lLWZ1enotc2VjcmV0LW9mLW5vLWFjY291bnQtMDEyMzQ1Njc4OWFiY2RlZg==".to_owned();
    VenueSettings {
        id: VENUE,
        hosts,
        credentials: Some(Credentials { api_key: "fuzzkey".into(), secret: secret.into(), ed25519_seed: Some([7; 32].into()) }),
        encoding,
        dead_man_s: 60,
        cancel_reserve_percent: 20,
        request_window_ms: 0,
    }
}
