//! The cold plane's REST against both simulated venues: reference data before there is a core, then the questions of a
//! running engine, through refusals and 5xx answers.

use engine_core::event::{CommandKind, Event, EventKind, InstrumentStatus, flags};
use engine_core::fixed::{Money, Price};
use engine_core::ids::{InstrumentId, VenueId};
use runtime::cold::log::Log;
use runtime::cold::reference::{caller, fetch_reference_data};
use runtime::cold::rest_worker::{CallError, ColdTask, RestCaller, RestWorker};
use runtime::config::network::{self, VenueSetup};
use runtime::config::tables::ReferenceData;
use runtime::config::{Document, build};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use venue_sim::config::{AccountConfig, BinanceConfig, KrakenConfig, SimConfig, TlsConfig};
use venue_sim::credentials::{BinanceCredentials, KrakenCredentials};
use venue_sim::fault::Fault;
use venue_sim::venue::VenueName;
use venue_sim::{Sim, SimHandle};
use venues::outbox::ColdRequest;
use venues::rest::{RestQuery, RestReply};
use venues::venue::Role;

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
    let btc_usdt = &reference.instruments[InstrumentId(0)];
    assert_eq!((btc_usdt.price_scale, btc_usdt.tick), (2, Price(1)));
    assert_eq!((btc_usdt.maker_fee_ppm, btc_usdt.taker_fee_ppm), (1_000, 1_000), "the configuration's fees");
    let parts = build::core(&rig.document, &reference.instruments, &reference.assets).expect("builds");
    assert_eq!(parts.left_out, Vec::<String>::new());
    assert_eq!(parts.config.venues.len(), 2);
}

#[test]
fn a_symbol_that_the_venue_does_not_have_is_named_with_its_line() {
    let mut rig = rig("unknown");
    for (from, to) in [("BTC/USD", "BTC/NIL"), ("BTCUSDT", "BTCNIL")] {
        let original = rig.document.text.clone();
        let text = original.replacen(&format!("symbol = \"{from}\""), &format!("symbol = \"{to}\""), 1);
        let line = text.lines().position(|l| l.starts_with(&format!("symbol = \"{to}\""))).expect("is there") + 1;
        rig.document = Document::parse(Path::new("engine.toml"), text).expect("well-formed");
        let error = fetch_reference_data(&rig.document, &rig.setups, &Log::to_stderr(), &rig.stop).expect_err("refused").to_string();
        assert!(
            error.starts_with(&format!("engine.toml:{line}: ")) && error.contains(to) && error.contains("expected its spelling"),
            "{error}"
        );
        rig.document = Document::parse(Path::new("engine.toml"), original).expect("well-formed");
    }
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
fn a_refusal_for_the_rate_is_waited_out_as_long_as_the_venue_asks() {
    let rig = rig("refusals");
    let reference = rig.reference();
    let mut kraken = rig.caller(1, &reference);
    assert!(rig.sim.inject(VenueName::Kraken, &Fault::RateLimit { count: 1 }));
    let started = Instant::now();
    assert_eq!(kraken.ask(&RestQuery::OpenOrders), Ok(RestReply::Orders(Vec::new())));
    assert!(started.elapsed() >= Duration::from_secs(1), "answered after {:?}: it did not wait", started.elapsed());
    assert_eq!((kraken.counters.requests.load(Ordering::Relaxed), kraken.counters.failures.load(Ordering::Relaxed)), (2, 1));

    // Binance asks for the rest of the minute; an engine that stops does not sit it out.
    let mut binance = rig.caller(0, &reference);
    assert!(rig.sim.inject(VenueName::Binance, &Fault::RateLimit { count: 1 }));
    let stop = Arc::clone(&rig.stop);
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
    });
    let started = Instant::now();
    let error = binance.ask(&RestQuery::OpenOrders).expect_err("stopped while waiting");
    assert!(matches!(&error, CallError::GivenUp(reason) if reason.contains("wait")), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3));
    stopper.join().expect("ends");
}

/// Runs a venue's worker with these tasks until `enough` of its events say so.
fn work(rig: &Rig, venue: usize, tasks: &[ColdRequest], enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let reference = rig.reference();
    let caller = rig.caller(venue, &reference);
    let stop = Arc::new(AtomicBool::new(false));
    let (mut to_worker, from_us) = drivers::spsc::ring(64);
    let (to_us, mut from_worker) = drivers::spsc::ring(4_096);
    let worker = RestWorker {
        venue: VenueId(venue as u8),
        caller: RestCaller { stop: Arc::clone(&stop), ..caller },
        snapshot_depth: 50,
        tasks: from_us,
        results: to_us,
        mirror: Arc::default(),
        has_credentials: true,
    };
    for task in tasks {
        assert!(to_worker.push(ColdTask::Request(*task)));
    }
    let thread = std::thread::spawn(move || worker.run());
    let (started, mut events) = (Instant::now(), Vec::new());
    while !enough(&events) {
        assert!(started.elapsed() < Duration::from_secs(20), "{events:?}");
        match from_worker.pop() {
            Some(event) => events.push(event),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    stop.store(true, Ordering::Relaxed);
    thread.join().expect("ends");
    events
}

#[test]
fn the_worker_turns_answers_into_events_for_the_hot_thread() {
    let rig = rig("worker");
    let kraken = InstrumentId(1);
    let tasks = [ColdRequest::Token { role: Role::OrderEntry }, ColdRequest::Reconcile];
    let done = |events: &[Event]| events.iter().any(|e| e.event_kind() == Some(EventKind::Reconcile) && e.code == 1);
    let events = work(&rig, 1, &tasks, done);
    assert!(events.iter().all(|e| e.venue == 1 && e.has(flags::COLD)));
    let of = |kind: EventKind| events.iter().filter(move |e| e.event_kind() == Some(kind)).collect::<Vec<_>>();
    let pieces = of(EventKind::ColdText);
    assert!(pieces.last().is_some_and(|e| e.has(flags::LAST)) && pieces.iter().map(|e| e.code).sum::<u32>() > 20, "a token");
    assert_eq!((of(EventKind::Reconcile).first().map(|e| e.code), of(EventKind::Reconcile).len()), (Some(0), 2));
    assert!(of(EventKind::Balance).len() >= 2);
    let offset = of(EventKind::Command)[0];
    assert_eq!(CommandKind::from_raw(offset.code), Some(CommandKind::ClockOffset));
    assert!((offset.a as i64).abs() < 50_000_000, "the venue's clock is ours: {} ns off", offset.a as i64);

    let snapshot = ColdRequest::BookSnapshot { instrument: InstrumentId(0) };
    let events =
        work(&rig, 0, &[snapshot], |events| events.iter().any(|e| e.event_kind() == Some(EventKind::BookLevel) && e.has(flags::LAST)));
    let levels: Vec<&Event> = events.iter().filter(|e| e.event_kind() == Some(EventKind::BookLevel)).collect();
    assert!(levels[0].has(flags::CLEAR | flags::SNAPSHOT) && levels.iter().filter(|e| e.has(flags::CLEAR)).count() == 1);
    assert!(levels.iter().all(|e| e.c == levels[0].c && e.c > 0), "all carry the snapshot's sequence");

    // Nothing changed since the start: nothing is said about any instrument but what was asked for next.
    let events = work(&rig, 1, &[ColdRequest::Instruments, ColdRequest::BookSnapshot { instrument: kraken }], |events| {
        events.iter().any(|e| e.event_kind() == Some(EventKind::BookLevel) && e.has(flags::LAST))
    });
    assert!(!events.iter().any(|e| matches!(e.event_kind(), Some(EventKind::InstrumentRules | EventKind::InstrumentStatus))), "{events:?}");
}

#[test]
fn a_venue_that_takes_cancels_only_is_told_to_the_hot_thread() {
    let rig = rig("cancel-only");
    let reference = rig.reference();
    assert!(rig.sim.inject(VenueName::Binance, &Fault::CancelOnlyOn));
    let mut caller = rig.caller(0, &reference);
    let RestReply::Instruments { instruments, .. } =
        caller.query(&RestQuery::Instruments { symbols: vec!["BTCUSDT".into()] }).expect("answers")
    else {
        panic!("instruments were asked for");
    };
    assert_ne!(instruments[0].status, InstrumentStatus::Trading);
}
