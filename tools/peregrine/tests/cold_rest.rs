//! The cold plane's REST against both simulated venues: reference data before there is a core, then the questions of a
//! running engine, through refusals and 5xx answers.

use engine_core::fixed::{Money, Price};
use engine_core::ids::VenueId;
use runtime::cold::log::Log;
use runtime::cold::reference::{caller, fetch_reference_data};
use runtime::cold::rest_worker::RestCaller;
use runtime::config::network::{self, VenueSetup};
use runtime::config::tables::ReferenceData;
use runtime::config::{Document, build};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use venue_sim::config::{AccountConfig, BinanceConfig, KrakenConfig, SimConfig, TlsConfig};
use venue_sim::credentials::{BinanceCredentials, KrakenCredentials};
use venue_sim::fault::Fault;
use venue_sim::venue::VenueName;
use venue_sim::{Sim, SimHandle};
use venues::rest::{RestQuery, RestReply};

/// Both venues, and the sample configuration pointed at them.
struct Rig {
    sim: SimHandle,
    dir: PathBuf,
    document: Document,
    setups: Vec<VenueSetup>,
    stop: Arc<AtomicBool>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).expect("writable");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("ours");
}

/// The sample configuration with these replacements, each of which must apply.
fn sample(changes: &[(&str, String)]) -> Document {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/engine.toml");
    let mut text = std::fs::read_to_string(&path).expect("the sample is there");
    for (from, to) in changes {
        assert!(text.contains(from), "the sample holds {from}");
        text = text.replace(from, to);
    }
    Document::parse(&path, text).expect("the sample is right")
}

fn rig(name: &str) -> Rig {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cold-rest-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("writable");
    let (binance_keys, kraken_keys) = (BinanceCredentials::generate().expect("random"), KrakenCredentials::generate().expect("random"));
    let balances = vec![("USDT".to_owned(), "1000.5".to_owned()), ("BTC".to_owned(), "2".to_owned())];
    let mut binance = BinanceConfig::default();
    binance.venue.accounts = vec![AccountConfig { keys: binance_keys.api_keys(), balances: balances.clone() }];
    let mut kraken = KrakenConfig::default();
    kraken.venue.accounts = vec![AccountConfig { keys: kraken_keys.api_keys(), balances }];
    let ca_file = dir.join("ca.pem");
    let tls = Some(TlsConfig { ca_file: Some(ca_file.clone()), ..TlsConfig::default() });
    let config = SimConfig { binance: Some(binance), kraken: Some(kraken), tls, ..SimConfig::default() };
    let sim = Sim::start(config).expect("starts");
    let seed: String = binance_keys.ed25519_seed.iter().map(|b| format!("{b:02x}")).collect();
    let (binance_file, kraken_file) = (dir.join("binance.key"), dir.join("kraken.key"));
    write_private(&binance_file, &format!("api_key = \"{}\"\ned25519_seed = \"{seed}\"\n", binance_keys.ed25519_key));
    write_private(&kraken_file, &format!("api_key = \"{}\"\nsecret = \"{}\"\n", kraken_keys.key, kraken_keys.secret));
    let port = |venue| sim.address(venue).expect("simulated").main.port();
    let venue = |keys: &Path, port: u16| {
        format!("credentials = \"{}\"\nca_file = \"{}\"\nrest = \"localhost:{port}\"", keys.display(), ca_file.display())
    };
    let document = sample(&[
        ("# credentials = \"binance.key\"", venue(&binance_file, port(VenueName::Binance)) + " #"),
        ("# credentials = \"kraken.key\"", venue(&kraken_file, port(VenueName::Kraken)) + " #"),
        ("[dns.hosts]", "[dns.hosts]\nlocalhost = \"127.0.0.1\"".to_owned()),
    ]);
    let setups = network::venues(&document).expect("keys and certificates are there");
    Rig { sim, dir, document, setups, stop: Arc::default() }
}

impl Rig {
    fn reference(&self) -> ReferenceData {
        fetch_reference_data(&self.document, &self.setups, &Log::to_stderr(), &self.stop).expect("both venues answer")
    }

    fn caller(&self, venue: usize, reference: &ReferenceData) -> RestCaller {
        let pinned = network::pinned_hosts(&self.document);
        let (instruments, assets) = (&reference.instruments, &reference.assets);
        caller(&self.setups[venue], &pinned, instruments, assets, &Log::to_stderr(), &self.stop).expect("a client")
    }
}

#[test]
fn reference_data_of_both_venues_builds_the_core() {
    let rig = rig("reference");
    let reference = rig.reference();
    assert_eq!(reference.quarantined, []);
    let symbols: Vec<(u8, &str)> = reference.instruments.iter().map(|(_, i)| (i.venue.0, i.symbol.as_str())).collect();
    assert_eq!(symbols, [(0, "BTCUSDT"), (1, "BTC/USDT"), (1, "BTC/USD")]);
    let btc_usdt = &reference.instruments[engine_core::ids::InstrumentId(0)];
    assert_eq!((btc_usdt.price_scale, btc_usdt.tick), (2, Price(1)));
    assert_eq!((btc_usdt.maker_fee_ppm, btc_usdt.taker_fee_ppm), (1_000, 1_000), "the configuration's fees");
    let parts = build::core(&rig.document, &reference.instruments, &reference.assets).expect("builds");
    assert_eq!(parts.left_out, Vec::<String>::new());
    assert_eq!(parts.config.venues.len(), 2);
}

#[test]
fn a_symbol_that_the_venue_does_not_have_is_named() {
    let mut rig = rig("unknown");
    let text = rig.document.text.replace("symbol = \"BTC/USD\"", "symbol = \"BTC/XXX\"").replace("kraken:BTC/USD\"", "kraken:BTC/XXX\"");
    rig.document = Document::parse(&rig.document.path.clone(), text).expect("well-formed");
    let error = fetch_reference_data(&rig.document, &rig.setups, &Log::to_stderr(), &rig.stop).err().expect("refused").to_string();
    assert!(error.contains("BTC/XXX"), "{error}");
}

#[test]
fn public_and_private_questions_are_answered() {
    let rig = rig("questions");
    let reference = rig.reference();
    for (index, name) in [(0, VenueName::Binance), (1, VenueName::Kraken)] {
        let venue = VenueId(index as u8);
        let mut caller = rig.caller(index, &reference);
        let mut ask = |query: RestQuery| caller.query(&query).unwrap_or_else(|e| panic!("{name:?} {query:?}: {e}"));
        assert!(matches!(ask(RestQuery::ServerTime), RestReply::ServerTime(ns) if ns > 1_700_000_000_000_000_000));
        let (instrument, _) = reference.instruments.iter().find(|(_, i)| i.venue == venue).expect("there is one");
        let RestReply::BookSnapshot { bids, asks, .. } = ask(RestQuery::BookSnapshot { instrument, depth: 10 }) else { panic!("{name:?}") };
        assert!(bids[0].0 < asks[0].0 && bids.len() <= 10 && bids.windows(2).all(|w| w[0].0 > w[1].0), "{name:?}");
        assert_eq!(ask(RestQuery::OpenOrders), RestReply::Orders(Vec::new()));
        let RestReply::Balances(balances) = ask(RestQuery::Balances) else { panic!("{name:?}") };
        let of = |asset: &str| reference.assets.find(asset.as_bytes()).and_then(|id| balances.iter().find(|b| b.0 == id)).map(|b| b.1);
        assert_eq!((of("USDT"), of("BTC")), (Money::parse(b"1000.5").ok(), Money::parse(b"2").ok()), "{name:?}");
        let RestReply::Fills { fills, next } = ask(RestQuery::Fills { instrument, since_ns: 0, cursor: 0 }) else { panic!("{name:?}") };
        assert_eq!((fills, next), (Vec::new(), None));
        if name == VenueName::Kraken {
            assert!(matches!(ask(RestQuery::StreamToken), RestReply::Token(token) if !token.is_empty()));
        }
        assert_eq!(caller.counters.failures.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn refusals_for_the_rate_are_waited_out() {
    let rig = rig("refusals");
    let reference = rig.reference();
    for (index, name) in [(0, VenueName::Binance), (1, VenueName::Kraken)] {
        let mut caller = rig.caller(index, &reference);
        assert!(rig.sim.inject(name, &Fault::RateLimit { count: 2 }));
        let started = Instant::now();
        let reply = caller.query(&RestQuery::OpenOrders);
        assert_eq!(reply, Ok(RestReply::Orders(Vec::new())), "{name:?} after {:?}", started.elapsed());
    }
}
