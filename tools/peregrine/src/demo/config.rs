//! The demonstration's configuration, as the text of a file that `peregrine run` would take too.

use drivers::testbed::{ENGINE_ADDRESS, Testbed};
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::Path;

/// Maker fee of both simulated venues, millionths. That of a large customer: market making near the best
/// price would not pay otherwise, and nothing would be seen.
pub const MAKER_FEE_PPM: u32 = 50;
/// Taker fee of both simulated venues, millionths.
pub const TAKER_FEE_PPM: u32 = 250;

/// What the text depends on.
pub struct Settings<'a> {
    /// Journal, certificate and keys are here.
    pub directory: &'a Path,
    /// File of the event ring.
    pub ring: &'a Path,
    /// `auto`, `af_xdp`, `af_packet`, `memory`.
    pub link: &'a str,
    /// The wire, if there is one.
    pub testbed: Option<&'a Testbed>,
    /// Where the venues listen.
    pub venues_address: Ipv4Addr,
    /// First of their ports: two each.
    pub first_port: u16,
    /// Binance' key file.
    pub binance_keys: &'a Path,
    /// Kraken's key file.
    pub kraken_keys: &'a Path,
    /// Binance' market data as SBE.
    pub sbe: bool,
    /// Between two rehearsals; `None`: the engine's default.
    pub rehearse_ns: Option<u64>,
    /// CPU of the hot thread.
    pub hot_cpu: Option<usize>,
    /// Record all frames here.
    pub capture: Option<&'a Path>,
}

/// The text.
pub fn text(s: &Settings<'_>) -> String {
    let mut out = String::from("# Written by the demonstration; see docs/src/engine.toml for what each key means.\n");
    // Writing to a String cannot fail.
    let _ = write_all(&mut out, s);
    out
}

fn write_all(out: &mut String, s: &Settings<'_>) -> std::fmt::Result {
    writeln!(out, "[engine]\nname = \"demo\"")?;
    writeln!(out, "journal = {:?}", s.directory.join("journal"))?;
    writeln!(out, "ring = {:?}", s.ring)?;
    writeln!(out, "log = {:?}", s.directory.join("engine.log"))?;
    writeln!(out, "reporting_asset = \"USDT\"\nstate_hash_every = 65536\n\n[host]")?;
    if let Some(span_ns) = s.rehearse_ns {
        writeln!(out, "rehearse = \"{span_ns}ns\"")?;
    }
    if let Some(cpu) = s.hot_cpu {
        writeln!(out, "hot_cpu = {cpu}")?;
    }
    match s.testbed {
        Some(bed) => {
            let kind = if s.link == "memory" { "auto" } else { s.link };
            writeln!(out, "\n[link]\nkind = \"{kind}\"\ninterface = \"{}\"", bed.left_interface())?;
            writeln!(out, "address = \"{ENGINE_ADDRESS}/{}\"", bed.config().prefix_len)?;
        }
        None => writeln!(out, "\n[link]\nkind = \"memory\"\naddress = \"{ENGINE_ADDRESS}/24\"")?,
    }
    if let Some(path) = s.capture {
        writeln!(out, "capture = {path:?}")?;
    }
    let address = s.venues_address;
    writeln!(out, "\n[dns.hosts]\n\"binance.sim\" = \"{address}\"\n\"kraken.sim\" = \"{address}\"\n")?;
    out.push_str(LIMITS);
    let (binance, kraken) = (s.first_port, s.first_port + 2);
    let market_data = if s.sbe { binance + 1 } else { binance };
    writeln!(out, "[[venue]]\nname = \"binance\"\nencoding = \"{}\"", if s.sbe { "sbe" } else { "json" })?;
    writeln!(
        out,
        "rest = \"binance.sim:{binance}\"\nmarket_data = \"binance.sim:{market_data}\"\norder_entry = \"binance.sim:{binance}\""
    )?;
    writeln!(out, "credentials = {:?}", s.binance_keys)?;
    write_venue(out, s.directory, ["BTCUSDT", "ETHUSDT"])?;
    writeln!(out, "[[venue]]\nname = \"kraken\"")?;
    writeln!(out, "rest = \"kraken.sim:{kraken}\"\nmarket_data = \"kraken.sim:{kraken}\"\norder_entry = \"kraken.sim:{}\"", kraken + 1)?;
    writeln!(out, "credentials = {:?}", s.kraken_keys)?;
    write_venue(out, s.directory, ["BTC/USDT", "ETH/USDT"])?;
    for (name, instrument) in [("quotes-binance", "binance:ETHUSDT"), ("quotes-kraken", "kraken:ETH/USDT")] {
        out.push_str(&MARKET_MAKING.replace("NAME", name).replace("INSTRUMENT", instrument));
    }
    out.push_str(ARBITRAGE);
    Ok(())
}

fn write_venue(out: &mut String, directory: &Path, symbols: [&str; 2]) -> std::fmt::Result {
    writeln!(out, "ca_file = {:?}", directory.join("ca.pem"))?;
    writeln!(out, "maker_fee = \"{MAKER_FEE_PPM} ppm\"\ntaker_fee = \"{TAKER_FEE_PPM} ppm\"")?;
    writeln!(out, "exposure_max = \"400000 USDT\"\nopen_orders_max = 40\norder_rate_max = \"8/1s\"\nmessage_rate_max = \"40/1s\"\n")?;
    for (symbol, base, size, most) in [(symbols[0], "BTC", "0.0001", "0.2"), (symbols[1], "ETH", "0.002", "5")] {
        writeln!(out, "[[venue.instrument]]\nsymbol = \"{symbol}\"\norder_min = \"{size} {base}\"\norder_max = \"{most} {base}\"")?;
        let position = if base == "BTC" { "2" } else { "40" };
        writeln!(out, "position_max = \"{position} {base}\"\nnotional_max = \"40000 USDT\"\nopen_orders_max = 20\n")?;
    }
    Ok(())
}

const LIMITS: &str = r#"[limits]
exposure_max = "800000 USDT"
daily_loss_max = "20000 USDT"
drawdown_max = "20000 USDT"
open_orders_max = 100
order_rate_max = "40/1s"
cancel_rate_max = "40/1s"
reject_burst = "200/10s"
fill_burst = "2000/10s"
clock_skew_max = "500ms"
duplicate_window = "1ms"
stale_after = "5s"
price_collar = "150 bps"

[asset_limits.BTC]
exposure_max = "4 BTC"
[asset_limits.ETH]
exposure_max = "80 ETH"

"#;

const MARKET_MAKING: &str = r#"[[strategy]]
name = "NAME"
kind = "market_making"
instruments = ["INSTRUMENT"]

[strategy.limits]
position_max = "20 ETH"
open_orders_max = 16
daily_loss_max = "10000 USDT"
order_rate_max = "20/1s"

[strategy.parameters]
size = "0.05 ETH"
half_spread = "1.2 bps"
edge_min = "0.3 bps"
volatility_multiple = "0.5"
volatility_horizon = "500ms"
volatility_memory = "30s"
volatility_interval = "50ms"
inventory_max = "2 ETH"
inventory_skew = "2 bps"
flow_lean = "0.5 bps"
flow_memory = "2s"
refresh = "0.5 bps"
refresh_min = "300ms"
retry = "500ms"

"#;

const ARBITRAGE: &str = r#"[[strategy]]
name = "arbitrage"
kind = "cross_venue_arbitrage"
instruments = ["binance:BTCUSDT", "kraken:BTC/USDT"]

[strategy.limits]
position_max = "1.5 BTC"
open_orders_max = 8
daily_loss_max = "10000 USDT"
order_rate_max = "20/1s"

[strategy.parameters]
edge_min = "1 bps"
size_max = "0.02 BTC"
slippage = "0.5 bps"
hedge_slippage = "30 bps"
imbalance_max = "0.0002 BTC"
book_age_max = "500ms"
cooldown = "150ms"
leg_timeout = "2s"
retry = "300ms"
retries_max = 5
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::Document;

    #[test]
    fn the_text_is_a_well_formed_configuration() {
        let directory = Path::new("somewhere");
        let keys = directory.join("key");
        let settings = Settings {
            directory,
            ring: Path::new("ring"),
            link: "memory",
            testbed: None,
            venues_address: Ipv4Addr::LOCALHOST,
            first_port: 9_443,
            binance_keys: &keys,
            kraken_keys: &keys,
            sbe: true,
            rehearse_ns: Some(0),
            hot_cpu: Some(1),
            capture: None,
        };
        let document = Document::parse(Path::new("demo.toml"), text(&settings)).unwrap();
        assert_eq!(document.file.venues.len(), 2);
        assert_eq!(document.file.strategies.len(), 3);
    }
}
