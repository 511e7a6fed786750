//! The sample configuration is right, and every way of being wrong is told with file, line, key and what was expected.

use super::tables::{VenueReference, assemble};
use super::{ConfigError, Document, build, network};
use crate::session_file::SessionFile;
use drivers::filter::Filter;
use drivers::select::Link;
use engine_core::fixed::{Money, Qty};
use engine_core::ids::{AssetId, InstrumentId, VenueId};
use engine_core::instrument::{AssetTable, Capabilities, Instrument};
use std::path::Path;

const SAMPLE: &str = include_str!("../../../../docs/src/engine.toml");

fn parse(text: &str) -> Result<Document, ConfigError> {
    Document::parse(Path::new("engine.toml"), text.to_owned())
}

/// The sample with `from` (which must be there) replaced once.
fn changed(from: &str, to: &str) -> String {
    assert!(SAMPLE.contains(from), "the sample does not hold {from:?}");
    SAMPLE.replacen(from, to, 1)
}

fn instrument(symbol: &str, base: AssetId, quote: AssetId, price_scale: u8, qty_scale: u8) -> Instrument {
    Instrument {
        notional_min: Money::from_scaled(5, 0),
        maker_fee_ppm: 77,
        taker_fee_ppm: 77,
        capabilities: Capabilities { replace: true, reduce: true, post_only: true },
        ..Instrument::new(VenueId(9), symbol, [base, quote], [price_scale, qty_scale])
    }
}

/// What the venues say about the sample's symbols, and the assets of it.
fn answers() -> (Vec<VenueReference>, AssetTable) {
    let mut assets = AssetTable::new();
    let (usdt, btc, usd) = (assets.intern("USDT"), assets.intern("BTC"), assets.intern("USD"));
    let binance = vec![instrument("BTCUSDT", btc, usdt, 2, 5)];
    // In another order than the configuration's: that one counts.
    let kraken = vec![instrument("BTC/USD", btc, usd, 1, 8), instrument("BTC/USDT", btc, usdt, 1, 8)];
    let said = |instruments| VenueReference { instruments, quarantined: Vec::new() };
    (vec![said(binance), said(kraken)], assets)
}

/// Everything that is made of a text, as at a live start.
fn whole(text: &str) -> Result<build::CoreParts, ConfigError> {
    let document = parse(text)?;
    let (found, assets) = answers();
    let reference = assemble(&document, &found, &assets)?;
    network::link(&document)?;
    network::stack(&document, 1)?;
    network::venues(&document)?;
    build::core(&document, &reference.instruments, &reference.assets)
}

/// Asserts that a text is refused at the line that begins with `line` ("" = no line), with all of `words` in the message.
fn refused(text: &str, line: &str, words: &[&str]) {
    let error = match whole(text) {
        Ok(_) => panic!("taken, though it should be refused with {words:?}"),
        Err(error) => error,
    };
    let shown = error.line.checked_sub(1).and_then(|at| text.lines().nth(at)).unwrap_or("");
    let at_line = if line.is_empty() { error.line == 0 } else { shown.trim_start().starts_with(line) };
    assert!(at_line, "{error}: points at {shown:?}, not at {line:?}");
    for word in words {
        assert!(error.message.contains(word), "{error}: does not say {word:?}");
    }
    let full = error.to_string();
    assert!(full.starts_with("engine.toml:"), "{full}");
}

#[test]
fn the_sample_parses_and_builds() {
    let parts = whole(SAMPLE).unwrap();
    let config = &parts.config;
    assert!(parts.left_out.is_empty());
    assert_eq!(parts.strategies.len(), config.strategies.len());
    let assets: Vec<&str> = (0..config.assets.len()).map(|i| config.assets.name(AssetId(i as u16))).collect();
    assert_eq!(assets, ["USD", "BTC", "USDT", "BNB"], "ids come from the configuration's order alone");
    let symbols: Vec<(u8, &str)> = config.instruments.iter().map(|(_, i)| (i.venue.0, i.symbol.as_str())).collect();
    assert_eq!(symbols, [(0, "BTCUSDT"), (1, "BTC/USDT"), (1, "BTC/USD")]);
    assert_eq!(config.instruments[InstrumentId(1)].taker_fee_ppm, 2_600, "fees are the configuration's");
    assert_eq!(config.limits.exposure_max, Money::from_scaled(200_000, 0));
    assert_eq!((config.limits.order_rate.count, config.limits.order_rate.window_ns), (200, 1_000_000_000));
    assert_eq!(config.limits.price_collar_ppm, 5_000);
    let limits = config.instrument_limits[0].unwrap();
    assert_eq!((limits.order_min, limits.order_max), (Qty(10), Qty(50_000)), "at the instrument's scale");
    assert_eq!(config.validate(), Ok(()));
}

#[test]
fn the_same_text_and_tables_build_the_same_core_from_the_session_file() {
    let parts = whole(SAMPLE).unwrap();
    let document = parse(SAMPLE).unwrap();
    let session = build::session_file(&document, &parts.config);
    let text = serde_json::to_string(&session).unwrap();
    let read: SessionFile = serde_json::from_str(&text).unwrap();
    let again = build::core_of_session(&read, Path::new("journal/session.json")).unwrap();
    assert_eq!(format!("{:?}", again.config), format!("{:?}", parts.config));
    assert_eq!(build::session_file(&document, &again.config).hash(), session.hash());
    assert!(!text.contains("secret ="), "no secrets");
}

#[test]
fn a_limit_left_out_is_an_error_that_names_it() {
    for line in SAMPLE.lines() {
        let Some((key, _)) = line.split_once(" = ") else { continue };
        let is_limit = ["_max", "_burst", "order_min", "stale_after", "price_collar", "duplicate_window", "maker_fee", "taker_fee"];
        if !is_limit.iter().any(|end| key.ends_with(end)) || key.starts_with('#') || line.contains("# default") {
            continue;
        }
        // Once for each place at which the line stands.
        let mut from = 0;
        while let Some(at) = SAMPLE[from..].find(&format!("\n{line}\n")) {
            let start = from + at + 1;
            let text = format!("{}{}", &SAMPLE[..start], &SAMPLE[start + line.len() + 1..]);
            if let Err(error) = whole(&text) {
                assert!(error.line > 0 && error.message.contains(key), "{key}: {error}");
            } else {
                panic!("{key} left out near byte {start} is taken");
            }
            from = start;
        }
    }
}

#[test]
fn an_unknown_key_is_refused_in_every_table() {
    for header in [
        "[engine]",
        "[host]",
        "[link]",
        "[dns]",
        "[limits]",
        "[asset_limits.BTC]",
        "[[venue]]",
        "[[venue.instrument]]",
        "[strategy.limits]",
    ] {
        let at = SAMPLE.find(&format!("\n{header}")).expect(header) + 1;
        let end = at + SAMPLE[at..].find('\n').expect("ends");
        let text = format!("{}\nnonsense = 1{}", &SAMPLE[..end], &SAMPLE[end..]);
        refused(&text, "nonsense", &["nonsense", "expected"]);
    }
    refused(&format!("nonsense = 1\n{SAMPLE}"), "nonsense", &["nonsense"]);
    refused(&format!("{SAMPLE}\n[nonsense]\n"), "[nonsense]", &["nonsense"]);
}

#[test]
fn a_wrong_unit_says_which_was_expected() {
    for (from, to, line, words) in [
        ("ack_timeout = \"2s\"", "ack_timeout = \"2\"", "ack_timeout", &["engine.ack_timeout", "span of time", "250ms"][..]),
        ("ack_timeout = \"2s\"", "ack_timeout = 2", "ack_timeout", &["engine.ack_timeout", "in quotes with its unit"]),
        ("ack_timeout = \"2s\"", "ack_timeout = \"2MiB\"", "ack_timeout", &["engine.ack_timeout", "span of time"]),
        ("arena = \"64MiB\"", "arena = \"64MB\"", "arena", &["host.arena", "MiB"]),
        ("price_collar = \"50 bps\"", "price_collar = \"50\"", "price_collar", &["limits.price_collar", "bps"]),
        ("price_collar = \"50 bps\"", "price_collar = 50", "price_collar", &["limits.price_collar", "bps"]),
        ("exposure_max = \"200000 USD\"", "exposure_max = \"200000\"", "exposure_max", &["limits.exposure_max", "asset"]),
        ("exposure_max = \"200000 USD\"", "exposure_max = \"2 BTC\"", "exposure_max", &["limits.exposure_max", "BTC", "amount of USD"]),
        ("exposure_max = \"200000 USD\"", "exposure_max = \"0 USD\"", "exposure_max", &["limits.exposure_max", "greater than zero"]),
        ("exposure_max = \"200000 USD\"", "exposure_max = \"-1 USD\"", "exposure_max", &["limits.exposure_max", "greater than zero"]),
        ("order_rate_max = \"200/1s\"", "order_rate_max = \"200\"", "order_rate_max", &["limits.order_rate_max", "100/1s"]),
        ("order_rate_max = \"200/1s\"", "order_rate_max = \"0/1s\"", "order_rate_max", &["limits.order_rate_max", "expected 1 to"]),
        ("order_rate_max = \"200/1s\"", "order_rate_max = \"99999/1s\"", "order_rate_max", &["limits.order_rate_max", "65536"]),
        ("open_orders_max = 200", "open_orders_max = 0", "open_orders_max", &["limits.open_orders_max", "greater than zero"]),
        ("open_orders_max = 200", "open_orders_max = -5", "open_orders_max", &["limits.open_orders_max"]),
        ("open_orders_max = 200", "open_orders_max = \"200\"", "open_orders_max", &["limits.open_orders_max"]),
        ("stale_after = \"5s\"", "stale_after = \"0s\"", "stale_after", &["limits.stale_after", "greater than zero"]),
        ("price_collar = \"50 bps\"", "price_collar = \"-1 bps\"", "price_collar", &["limits.price_collar", "above 0"]),
        ("price_collar = \"50 bps\"", "price_collar = \"90 %\"", "price_collar", &["limits.price_collar", "50 %"]),
        ("USDT = \"1\"", "USDT = 1.0", "USDT", &["conversion.USDT", "in quotes"]),
        ("USDT = \"1\"", "USDT = \"0\"", "USDT", &["conversion.USDT", "greater than zero"]),
        ("kind = \"auto\"", "kind = \"best\"", "kind", &["link.kind", "af_xdp"]),
        ("address = \"10.20.0.5/24\"", "address = \"10.20.0.5\"", "address", &["link.address", "prefix"]),
        ("maker_fee = \"10 bps\"", "maker_fee = \"0.001\"", "maker_fee", &["venue.binance.maker_fee", "bps"]),
        ("maker_fee = \"10 bps\"", "maker_fee = \"99 %\"", "maker_fee", &["venue.binance.maker_fee", "10 %"]),
        ("dead_man = \"60s\"", "dead_man = \"1500ms\"", "dead_man", &["venue.binance.dead_man", "whole seconds"]),
        ("cancel_reserve = \"20 %\"", "cancel_reserve = \"95 %\"", "cancel_reserve", &["venue.binance.cancel_reserve", "90"]),
        ("request_window = \"0s\"", "request_window = \"10us\"", "request_window", &["venue.binance.request_window", "milliseconds"]),
        ("book_levels = 1024", "book_levels = 3", "book_levels", &["engine.book_levels", "64"]),
        ("name = \"sample\"", "name = \"../etc\"", "name", &["engine.name", "file names"]),
        ("ring_events = 262144", "ring_events = 1000", "ring_events", &["engine.ring_events", "power of two"]),
        ("fifo_priority = 0", "fifo_priority = 100", "fifo_priority", &["host.fifo_priority", "1 to 99"]),
        ("sync_interval = \"100ms\"", "sync_interval = \"0ms\"", "sync_interval", &["engine.sync_interval", "greater than zero"]),
        ("orders = 16384", "orders = 100", "orders", &["engine.orders", "twice"]),
        ("fills = 65536", "fills = 10", "fills", &["engine.fills", "engine.orders"]),
        ("trades = 1024", "trades = 0", "trades", &["engine.trades"]),
    ] {
        refused(&changed(from, to), line, words);
    }
}

#[test]
fn unknown_assets_instruments_and_venues_are_named_with_the_known_ones() {
    for (from, to, line, words) in [
        ("[asset_limits.BTC]", "[asset_limits.BTX]", "[asset_limits.BTX]", &["unknown asset \"BTX\"", "USD, BTC, USDT, BNB"][..]),
        (
            "[asset_limits.BTC]                  # one for each base asset\nexposure_max = \"3 BTC\"",
            "[asset_limits.USDT]\nexposure_max = \"3 USDT\"",
            "[asset_limits.USDT]",
            &["asset_limits.BTC", "is missing"],
        ),
        ("BNB = \"600\"", "BNX = \"600\"", "BNX", &["conversion.BNX", "unknown asset \"BNX\""]),
        ("name = \"binance\"", "name = \"nasdaq\"", "name", &["nasdaq", "expected binance or kraken"]),
        ("name = \"kraken\"", "name = \"binance\"", "name", &["twice"]),
        ("symbol = \"BTCUSDT\"", "symbol = \"BTCUSDX\"", "symbol", &["BTCUSDX", "expected its spelling"]),
        (
            "order_min = \"0.0001 BTC\"",
            "order_min = \"5 USDT\"",
            "order_min",
            &["venue.binance.instrument.BTCUSDT.order_min", "amount of BTC"],
        ),
        ("order_min = \"0.0001 BTC\"", "order_min = \"0.000001 BTC\"", "order_min", &["decimal places"]),
        ("order_max = \"0.5 BTC\"", "order_max = \"0.00005 BTC\"", "order_max", &["smallest order"]),
        ("notional_max = \"50000 USDT\"", "notional_max = \"50000 USD\"", "notional_max", &["amount of USDT"]),
        ("encoding = \"json\"", "encoding = \"xml\"", "encoding", &["json", "sbe"]),
    ] {
        refused(&changed(from, to), line, words);
    }
    refused(&changed("encoding = \"json\"", "encoding = \"sbe\""), "encoding", &["venue.binance.encoding", "ed25519_seed"]);
    // Kraken has no SBE.
    refused(&changed("name = \"kraken\"", "name = \"kraken\"\nencoding = \"sbe\""), "encoding", &["no SBE streams", "json"]);
}

#[test]
fn a_quarantined_instrument_takes_its_strategies_along_and_nothing_else() {
    let document = parse(SAMPLE).unwrap();
    let (mut found, assets) = answers();
    found[0].instruments.clear();
    found[0].quarantined.push(("BTCUSDT".into(), "tick size of zero".into()));
    let reference = assemble(&document, &found, &assets).unwrap();
    assert_eq!(reference.quarantined[0].reason, "tick size of zero");
    assert_eq!(reference.instruments.len(), 2);
    let parts = build::core(&document, &reference.instruments, &reference.assets).unwrap();
    assert!(!parts.left_out.is_empty());
    assert_eq!(parts.left_out.len() + parts.strategies.len(), document.file.strategies.len());
    // The session file of it builds the same again.
    let session = build::session_file(&document, &parts.config);
    let again = build::core_of_session(&session, Path::new("session.json")).unwrap();
    assert_eq!(again.left_out, parts.left_out);
}

#[test]
fn links_are_made_of_the_link_table_and_impossible_ones_are_refused() {
    let link = |text: &str| network::link(&parse(text).unwrap());
    let sample = link(SAMPLE).unwrap();
    assert_eq!((sample.link, sample.filter), (Link::Auto, Filter::Address([10, 20, 0, 5].into())));
    let shared = changed("shared_address = false", "shared_address = true\nports = \"61000-61999\"");
    assert_eq!(link(&shared).unwrap().filter, Filter::Ports { address: [10, 20, 0, 5].into(), first: 61_000, last: 61_999 });
    let dhcp = changed("address = \"10.20.0.5/24\"", "# no address");
    assert_eq!(link(&dhcp).unwrap().filter, Filter::Everything);
    refused(&changed("shared_address = false", "shared_address = true"), "[link]", &["link.ports", "61000-61999"]);
    refused(&shared, "[link.neighbours]", &["link.neighbours", "10.20.0.1"]);
    refused(&changed("interface = \"eth1\"", "interface = \"\""), "interface", &["link.interface"]);
    refused(&changed("address = \"10.20.0.5/24\"", "address = \"224.0.0.1/24\""), "address", &["link.address", "unicast"]);
    refused(&changed("gateway = \"10.20.0.1\"", "gateway = \"10.30.0.1\""), "gateway", &["link.gateway", "neighbour"]);
    refused(&changed("# ports = ", "ports = \"100-101\" #"), "ports", &["link.ports", "too few"]);
    refused(&changed("servers = [\"10.20.0.1\"]", "servers = []"), "[dns]", &["no way to find", "dns.hosts"]);
    let bad_mac = changed("# \"10.20.0.1\" = \"52:54:00:12:34:56\"", "\"10.20.0.1\" = \"52:54:00:12:34\"");
    refused(&bad_mac, "\"10.20.0.1\"", &["link.neighbours.10.20.0.1", "aa:bb:cc:dd:ee:ff"]);
    let mac = changed("# \"10.20.0.1\" = \"52:54:00:12:34:56\"", "\"10.20.0.1\" = \"52:54:00:12:34:56\"");
    let stack = network::stack(&parse(&mac).unwrap(), 5).unwrap();
    assert_eq!(stack.neighbours, [([10, 20, 0, 1].into(), [0x52, 0x54, 0, 0x12, 0x34, 0x56])]);
    assert_eq!((stack.address, stack.seed), (Some(([10, 20, 0, 5].into(), 24)), 5));
    assert_eq!((stack.tcp.rto_initial, stack.tcp.rto_floor), (300_000_000, 5_000_000));
    let floor = |value: &str| changed("rto_floor = \"5ms\"", &format!("rto_floor = \"{value}\""));
    assert_eq!(network::stack(&parse(&floor("40ms")).unwrap(), 5).unwrap().tcp.rto_floor, 40_000_000);
    refused(&floor("900us"), "rto_floor", &["link.rto_floor", "1ms to 1s"]);
    refused(&floor("2s"), "rto_floor", &["link.rto_floor", "1ms to 1s"]);
}

#[test]
fn key_files_and_authorities_that_cannot_be_used_are_told_without_their_content() {
    let dir = std::env::temp_dir().join(format!("peregrine-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let key = dir.join("exposed.key");
    std::fs::write(&key, "api_key = \"k\"\nsecret = \"TOPSECRET\"\n").unwrap();
    let with = |line: String| changed("# credentials = \"binance.key\"", &line);
    let exposed = with(format!("credentials = \"{}\" #", key.display()));
    refused(&exposed, "credentials", &["venue.binance.credentials", "chmod 600"]);
    let missing = with("credentials = \"no/such.key\" #".into());
    refused(&missing, "credentials", &["venue.binance.credentials", "no/such.key"]);
    let no_pem = with(format!("ca_file = \"{}\" #", key.display()));
    refused(&no_pem, "ca_file", &["venue.binance.ca_file", "PEM"]);
    for text in [&exposed, &no_pem] {
        assert!(!whole(text).err().unwrap().to_string().contains("TOPSECRET"));
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn hosts_default_to_production_and_can_be_pointed_elsewhere() {
    let setups = network::venues(&parse(SAMPLE).unwrap()).unwrap();
    assert_eq!(setups[0].settings.hosts, venues::any::default_hosts("binance").unwrap());
    assert!(setups[0].settings.credentials.is_none() && setups[0].ca_pem.is_none());
    assert_eq!((setups[0].settings.dead_man_s, setups[0].settings.cancel_reserve_percent), (60, 20));
    let elsewhere = changed("# order_entry = \"ws-api.binance.com:443\"", "order_entry = \"venue.test:9443\"");
    let setups = network::venues(&parse(&elsewhere).unwrap()).unwrap();
    assert_eq!(setups[0].settings.hosts.order_entry, ("venue.test".to_owned(), 9_443));
}

#[test]
fn strategy_parameters_are_strict_too() {
    for (from, to, line, words) in [
        ("half_spread = \"3 bps\"", "half_spread = \"3\"", "half_spread", &["strategy.quotes.parameters.half_spread", "bps"][..]),
        ("half_spread = \"3 bps\"", "half_spread = 3", "half_spread", &["strategy.quotes.parameters.half_spread", "in quotes"]),
        ("half_spread = \"3 bps\"", "half_spread = \"-3 bps\"", "half_spread", &["half_spread", "from 0"]),
        ("half_spread = \"3 bps\"", "", "[strategy.parameters]", &["strategy.quotes.parameters.half_spread", "is missing", "20 bps"]),
        ("half_spread = \"3 bps\"", "half_sprad = \"3 bps\"\nhalf_spread = \"3 bps\"", "half_sprad", &["unknown key", "half_spread"]),
        ("volatility_multiple = \"1.0\"", "volatility_multiple = 1.0", "volatility_multiple", &["decimal number in quotes"]),
        ("volatility_multiple = \"1.0\"", "volatility_multiple = \"-1\"", "volatility_multiple", &["from 0 to 100"]),
        ("volatility_memory = \"60s\"", "volatility_memory = \"60\"", "volatility_memory", &["span of time"]),
        ("volatility_memory = \"60s\"", "volatility_memory = \"0s\"", "volatility_memory", &["greater than zero"]),
        ("size = \"0.01 BTC\"", "size = \"0.01 ETH\"", "size", &["strategy.quotes.parameters.size", "BTC"]),
        ("size = \"0.01 BTC\"", "size = \"0.0000001 BTC\"", "size", &["decimal places"]),
        ("size = \"0.01 BTC\"", "size = \"500 USDT\"\nsize_risk = \"5 USDT\"", "size_risk", &["expected size in BTC"]),
        ("inventory_max = \"0.5 BTC\"", "inventory_max = \"5 USDT\"", "inventory_max", &["amount of BTC"]),
        ("retries_max = 6", "retries_max = \"6\"", "retries_max", &["strategy.arbitrage.parameters.retries_max", "whole number"]),
        ("retries_max = 6", "retries_max = 0", "retries_max", &["greater than zero"]),
        ("kind = \"market_making\"", "kind = \"magic\"", "kind", &["strategy.quotes.kind", "market_making"]),
        ("\"kraken:BTC/USDT\"]", "\"kraken:ETH/USDT\"]", "instruments", &["kraken:ETH/USDT", "expected one of", "kraken:BTC/USD"]),
        ("\"kraken:BTC/USDT\"]", "\"BTC/USDT\"]", "instruments", &["venue:SYMBOL"]),
        ("\"kraken:BTC/USDT\"]", "\"binance:BTCUSDT\"]", "instruments", &["twice"]),
        ("name = \"arbitrage\"", "name = \"quotes\"", "name", &["twice"]),
        (
            "position_max = \"1 BTC\"\nopen_orders_max = 8",
            "position_max = \"1 USDT\"\nopen_orders_max = 8",
            "position_max",
            &["strategy.quotes.limits.position_max", "BTC"],
        ),
    ] {
        refused(&changed(from, to), line, words);
    }
    // The other ways to give a size.
    for size in ["size = \"500 USDT\"", "size = \"0.01 BTC\"\nsize_risk = \"5 USDT\""] {
        assert!(whole(&changed("size = \"0.01 BTC\"", size)).is_ok(), "{size}");
    }
}
