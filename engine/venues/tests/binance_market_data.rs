//! Binance market data: subscriptions, book synchronisation, both encodings, renewal, bad input.

mod binance_support;

use binance_support::*;
use engine_core::book::{Book, BookConfig};
use engine_core::event::{BookInvalid, Event, EventKind, FeedState, Side, flags};
use proptest::prelude::*;
use std::collections::BTreeMap;
use venues::binance::Binance;
use venues::outbox::ColdRequest;
use venues::venue::{Encoding, Link, Role, Venue, VenueError, VenueInit};

/// Levels of a snapshot.
type Levels = Vec<(Side, i64, i64)>;

/// Subscribed, with the Bitcoin book in step at id 100.
fn live() -> Rig {
    let mut rig = Rig::subscribed(Encoding::Json);
    rig.snapshot(BTC, 100, &SNAPSHOT);
    rig.take();
    rig.out.clear();
    rig
}

#[test]
fn subscribes_to_three_streams_a_symbol_and_reports_up_when_confirmed() {
    let mut rig = Rig::new(|_| {});
    let endpoints = rig.venue.endpoints();
    assert_eq!(
        (endpoints[0].host.as_str(), endpoints[0].port, endpoints[0].path.as_str()),
        ("stream.binance.com", 9_443, "/ws?timeUnit=MICROSECOND")
    );
    assert_eq!((endpoints[1].host.as_str(), endpoints[1].path.as_str()), ("ws-api.binance.com", "/ws-api/v3?timeUnit=MICROSECOND"));
    rig.open(MARKET);
    let request = rig.sent_value(Role::MarketData);
    assert_eq!(request["method"], "SUBSCRIBE");
    let streams =
        ["btcusdt@depth@100ms", "btcusdt@bookTicker", "btcusdt@trade", "ethusdt@depth@100ms", "ethusdt@bookTicker", "ethusdt@trade"];
    assert_eq!(request["params"], serde_json::json!(streams));
    assert!(!rig.venue.is_ready(Role::MarketData) && rig.kinds().is_empty());
    rig.text(MARKET, &format!("{{\"result\":null,\"id\":{}}}", request["id"]));
    assert!(rig.venue.is_ready(Role::MarketData));
    let events = rig.take();
    assert_eq!((events.len(), events[0].event_kind(), events[0].code), (1, Some(EventKind::FeedStatus), FeedState::Up as u32));
    assert_eq!(rig.requests(), [wants(BTC), wants(ETH)], "a quiet book comes up too");
}

#[test]
fn sbe_streams_have_their_own_host_names_and_header() {
    let mut rig = Rig::new(|settings| settings.encoding = Encoding::Sbe);
    let endpoint = &rig.venue.endpoints()[0];
    assert_eq!((endpoint.host.as_str(), endpoint.path.as_str()), ("stream-sbe.binance.com", "/ws"));
    assert_eq!(endpoint.headers, [("X-MBX-APIKEY".to_owned(), ED_KEY.to_owned())]);
    rig.open(MARKET);
    let request = rig.sent_value(Role::MarketData);
    let streams = ["btcusdt@depth", "btcusdt@bestBidAsk", "btcusdt@trade", "ethusdt@depth", "ethusdt@bestBidAsk", "ethusdt@trade"];
    assert_eq!(request["params"], serde_json::json!(streams));
}

#[test]
fn what_cannot_work_is_refused_at_construction() {
    let (instruments, assets) = tables();
    let error = |change: &dyn Fn(&mut venues::venue::VenueSettings)| {
        let mut settings = settings();
        change(&mut settings);
        Binance::new(VenueInit { settings, instruments: &instruments, assets: &assets, epoch: 1 }).err()
    };
    let no_key = error(&|s| (s.credentials, s.encoding) = (None, Encoding::Sbe));
    assert!(matches!(no_key, Some(VenueError::Credentials { .. })), "SBE needs a key");
    let hmac = error(&|s| {
        let credentials = s.credentials.as_mut().unwrap();
        (credentials.ed25519_seed, credentials.secret) = (None, "secret".to_owned().into());
    });
    assert!(matches!(hmac, Some(VenueError::Credentials { .. })), "an HMAC key cannot log on");
    assert!(matches!(error(&|s| s.request_window_ms = 60_001), Some(VenueError::Settings { .. })));
    assert!(error(&|s| s.credentials = None).is_none(), "market data only");
    let (mut bad, assets) = tables();
    let mut instrument = bad[BTC].clone();
    instrument.symbol = "A\"B".into();
    bad.add(instrument).unwrap();
    let settings = settings();
    let error = Binance::new(VenueInit { settings, instruments: &bad, assets: &assets, epoch: 1 }).err();
    assert!(matches!(error, Some(VenueError::Symbol { .. })));
}

#[test]
fn many_symbols_are_subscribed_at_the_pace_that_the_venue_allows() {
    let (mut instruments, assets) = tables();
    for i in 0..198 {
        let mut instrument = instruments[BTC].clone();
        instrument.symbol = format!("SYM{i}USDT");
        instruments.add(instrument).unwrap();
    }
    let init = VenueInit { settings: settings(), instruments: &instruments, assets: &assets, epoch: 1 };
    let mut rig = Rig { venue: Binance::new(init).unwrap(), ..Rig::new(|_| {}) };
    rig.open(MARKET);
    let (mut sent, mut streams, mut seconds) = (rig.sent(), 0, 0);
    while !rig.venue.is_ready(Role::MarketData) {
        assert!(sent.len() <= 4 && seconds < 10, "{} in second {seconds}", sent.len());
        for (_, text) in std::mem::take(&mut sent) {
            let request: serde_json::Value = serde_json::from_str(&text).unwrap();
            streams += request["params"].as_array().unwrap().len();
            rig.text(MARKET, &format!("{{\"result\":null,\"id\":{}}}", request["id"]));
        }
        rig.timer(S);
        seconds += 1;
        sent = rig.sent();
    }
    assert_eq!(streams, 600);
}

#[test]
fn one_bad_symbol_costs_itself_only() {
    let mut rig = Rig::new(|_| {});
    rig.open(MARKET);
    let id = rig.sent_value(Role::MarketData)["id"].as_u64().unwrap();
    rig.text(MARKET, &format!("{{\"error\":{{\"code\":2,\"msg\":\"Invalid request: invalid stream\"}},\"id\":{id}}}"));
    let singles: Vec<serde_json::Value> = rig.sent().iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(singles.len(), 2);
    rig.text(MARKET, &format!("{{\"code\":2,\"msg\":\"Invalid request: invalid stream\",\"id\":{}}}", singles[0]["id"]));
    assert!(rig.venue.take_notice().unwrap().contains("btcusdt"));
    assert!(!rig.venue.is_ready(Role::MarketData));
    rig.text(MARKET, &format!("{{\"result\":null,\"id\":{}}}", singles[1]["id"]));
    assert!(rig.venue.is_ready(Role::MarketData));
    assert_eq!(rig.requests(), [wants(ETH)]);
}

#[test]
fn a_subscription_without_an_answer_is_sent_again() {
    let mut rig = Rig::new(|_| {});
    rig.open(MARKET);
    let first = rig.sent();
    rig.timer(4 * S);
    assert!(rig.sent().is_empty());
    rig.timer(S);
    assert_eq!(rig.sent(), first);
}

#[test]
fn snapshot_and_kept_differences_become_one_book() {
    let mut rig = Rig::subscribed(Encoding::Json);
    assert_eq!(rig.requests(), [wants(BTC), wants(ETH)]);
    rig.text(MARKET, &depth("BTCUSDT", 90, 95, &[("68250.10", "9.0")], &[]));
    rig.text(MARKET, &depth("BTCUSDT", 96, 102, &[("68250.00", "2.5")], &[("68250.11", "0")]));
    rig.text(MARKET, &depth("BTCUSDT", 103, 103, &[], &[("68250.12", "0.5")]));
    assert_eq!(rig.kinds(), [EventKind::FeedStatus], "nothing is given out before the snapshot");
    rig.snapshot(BTC, 100, &SNAPSHOT);
    let events = rig.take();
    assert!(events[0].has(flags::CLEAR | flags::SNAPSHOT));
    assert_eq!(events.iter().filter(|e| e.has(flags::LAST)).count(), 1, "one book, complete at its last event");
    assert!(events.iter().all(|e| e.core_time_ns == rig.now_ns));
    let book = book(&events, BTC);
    assert!(book.is_valid());
    assert_eq!(book.sequence(), 103);
    assert_eq!(
        (book.bid().unwrap().price.0, book.bid().unwrap().qty.0),
        (6_825_010, 150_000_000),
        "the event before the snapshot is dropped"
    );
    assert_eq!((book.ask().unwrap().price.0, book.depth(Side::Buy)), (6_825_012, 2));
    rig.text(MARKET, &depth("BTCUSDT", 104, 104, &[("68250.10", "0.00000000")], &[]));
    let events = rig.take();
    assert_eq!((events.len(), events[0].b, events[0].c), (1, 0, 104));
    assert!(events[0].has(flags::LAST) && !events[0].has(flags::SNAPSHOT));
    assert_eq!(events[0].venue_time_ns, 1_767_225_600_105_123_000);
    assert_eq!(rig.venue.counters().resyncs, 0, "the first is no resync");
}

#[test]
fn a_snapshot_before_any_event_is_checked_by_the_first_event() {
    let mut rig = live();
    rig.text(MARKET, &depth("BTCUSDT", 95, 101, &[("68249.00", "1")], &[]));
    assert_eq!(rig.kinds(), [EventKind::BookLevel], "overlaps, and leads on");
    let mut rig = live();
    rig.text(MARKET, &depth("BTCUSDT", 102, 103, &[("68249.00", "1")], &[]));
    assert_eq!(rig.kinds(), [EventKind::BookInvalid]);
    assert_eq!(rig.requests(), [wants(BTC)]);
}

#[test]
fn a_splice_at_the_next_id_is_taken_and_an_older_snapshot_is_fetched_again() {
    let mut rig = Rig::subscribed(Encoding::Json);
    rig.text(MARKET, &depth("BTCUSDT", 101, 105, &[("68249.00", "1")], &[]));
    rig.take();
    rig.out.clear();
    rig.snapshot(BTC, 99, &SNAPSHOT);
    assert!(rig.kinds().is_empty() && rig.requests().is_empty(), "too old; asked for again after a wait");
    rig.timer(100 * MS);
    assert!(rig.requests().is_empty());
    rig.timer(300 * MS);
    assert_eq!(rig.requests(), [wants(BTC)]);
    rig.snapshot(BTC, 100, &SNAPSHOT);
    assert!(book(&rig.take(), BTC).is_valid(), "L = F - 1 joins");
}

#[test]
fn gap_invalidates_book_and_resyncs_with_growing_waits() {
    let mut rig = live();
    rig.text(MARKET, &depth("BTCUSDT", 102, 103, &[("68249.00", "1")], &[]));
    let events = rig.take();
    assert_eq!((events[0].event_kind(), events[0].code), (Some(EventKind::BookInvalid), BookInvalid::Gap as u32));
    assert_eq!(rig.requests(), [wants(BTC)], "the first resync does not wait");
    rig.text(MARKET, &depth("BTCUSDT", 104, 104, &[("68248.00", "1")], &[]));
    assert!(rig.requests().is_empty(), "one on its way");
    rig.snapshot(BTC, 103, &SNAPSHOT);
    assert!(book(&rig.take(), BTC).is_valid());
    assert_eq!((rig.venue.counters().gaps, rig.venue.counters().resyncs), (1, 1));
    // Again and again, right after each resync: waits 250 ms, 500 ms, 1 s ...
    let mut id = 104;
    let mut waits = Vec::new();
    for _ in 0..10 {
        rig.text(MARKET, &depth("BTCUSDT", id + 10, id + 10, &[("68249.00", "1")], &[]));
        let mut waited = 0;
        while rig.requests().is_empty() {
            rig.timer(50 * MS);
            waited += 50;
            assert!(waited <= 33_000);
        }
        waits.push(waited);
        id += 10;
        rig.snapshot(BTC, id, &SNAPSHOT);
        rig.take();
    }
    assert_eq!(waits[..4], [250, 500, 1_000, 2_000]);
    assert_eq!(waits[9], 32_000, "bounded");
    rig.timer(11 * S);
    rig.text(MARKET, &depth("BTCUSDT", id + 10, id + 10, &[("68249.00", "1")], &[]));
    assert_eq!(rig.requests(), [wants(BTC)], "in step for long enough: no wait again");
}

#[test]
fn a_snapshot_that_does_not_join_what_was_kept_begins_anew() {
    let mut rig = Rig::subscribed(Encoding::Json);
    rig.text(MARKET, &depth("BTCUSDT", 90, 101, &[("68249.00", "1")], &[]));
    rig.text(MARKET, &depth("BTCUSDT", 105, 106, &[("68249.00", "1")], &[]));
    rig.take();
    rig.out.clear();
    rig.snapshot(BTC, 100, &SNAPSHOT);
    let events = rig.take();
    assert_eq!(events.last().and_then(Event::event_kind), Some(EventKind::BookInvalid));
    assert!(!events.iter().any(|e| e.has(flags::LAST) && e.event_kind() != Some(EventKind::BookInvalid)));
    assert!(!book(&events, BTC).is_valid());
    rig.timer(S);
    assert_eq!(rig.requests(), [wants(BTC)]);
}

#[test]
fn failed_or_lost_snapshots_are_asked_for_again() {
    let mut rig = Rig::subscribed(Encoding::Json);
    rig.out.clear();
    rig.snapshot_failed(BTC);
    rig.timer(250 * MS);
    assert_eq!(rig.requests(), [wants(BTC)]);
    rig.timer(59 * S);
    assert!(!rig.requests().contains(&wants(BTC)));
    rig.timer(2 * S);
    assert!(rig.requests().contains(&wants(BTC)), "never came");
}

#[test]
fn unwanted_snapshots_change_nothing() {
    let mut rig = live();
    rig.snapshot(BTC, 50, &SNAPSHOT);
    assert!(rig.kinds().is_empty());
    rig.text(MARKET, &depth("BTCUSDT", 101, 101, &[("68249.00", "1")], &[]));
    assert_eq!(rig.kinds(), [EventKind::BookLevel]);
}

#[test]
fn an_empty_snapshot_is_a_book_too() {
    let mut rig = Rig::subscribed(Encoding::Json);
    rig.snapshot(BTC, 7, &[]);
    let book = book(&rig.take(), BTC);
    assert!(book.is_valid() && book.bid().is_none());
}

#[test]
fn best_bid_and_ask_and_trades_are_given_out_once() {
    let mut rig = live();
    let ticker = r#"{"u":54321000777,"s":"BTCUSDT","b":"68250.10","B":"1.50000000","a":"68250.11","A":"0.42000000"}"#;
    rig.text(MARKET, ticker);
    let events = rig.take();
    assert_eq!(
        events.iter().map(|e| (e.side().unwrap(), e.a, e.b, e.c)).collect::<Vec<_>>(),
        [(Side::Buy, 6_825_010, 150_000_000, 54_321_000_777), (Side::Sell, 6_825_011, 42_000_000, 54_321_000_777)]
    );
    assert!(!events[0].has(flags::LAST) && events[1].has(flags::LAST));
    rig.text(MARKET, ticker);
    let trade = r#"{"e":"trade","E":1767225600150,"s":"BTCUSDT","t":4400123456,"p":"68250.11","q":"0.01500000","T":1767225600149,"m":false,"M":true}"#;
    rig.text(MARKET, trade);
    rig.text(MARKET, trade);
    let events = rig.take();
    assert_eq!(events.len(), 1, "repetitions are dropped");
    assert_eq!((events[0].event_kind(), events[0].side(), events[0].c), (Some(EventKind::Trade), Some(Side::Buy), 4_400_123_456));
    assert_eq!(events[0].venue_time_ns, 1_767_225_600_149 * MS);
    assert_eq!(rig.venue.counters().stale, 2);
}

#[test]
fn a_message_that_cannot_be_read_quarantines_its_instrument_only() {
    let mut rig = live();
    rig.snapshot(ETH, 10, &[]);
    rig.take();
    rig.text(MARKET, &depth("BTCUSDT", 101, 101, &[("cheap", "1")], &[]));
    let events = rig.take();
    assert_eq!((events.len(), events[0].code, events[0].instrument_id()), (1, BookInvalid::Malformed as u32, BTC));
    assert_eq!(rig.requests(), [wants(BTC)]);
    assert!(rig.venue.take_notice().unwrap().contains("BTCUSDT"));
    rig.text(MARKET, &depth("ETHUSDT", 11, 11, &[("3000.00", "1")], &[]));
    assert_eq!(rig.kinds(), [EventKind::BookLevel], "the other goes on");
    for garbage in ["", "{", "[1,2]", "{\"e\":\"depthUpdate\"}", "{\"e\":\"mystery\",\"s\":\"BTCUSDT\"}", "nonsense"] {
        rig.text(MARKET, garbage);
    }
    rig.text(MARKET, &depth("NOSUCHUSDT", 1, 1, &[], &[]));
    assert!(rig.kinds().is_empty());
    let counters = rig.venue.counters();
    assert_eq!((counters.unknown_symbols, counters.malformed, counters.unknown_messages), (1, 5, 2));
}

#[test]
fn finer_prices_than_the_tick_ask_for_new_rules() {
    let mut rig = live();
    rig.text(MARKET, &depth("BTCUSDT", 101, 101, &[("68250.105", "1")], &[]));
    assert_eq!(rig.take()[0].code, BookInvalid::RulesChanged as u32);
    assert_eq!(rig.requests(), [ColdRequest::Instruments, wants(BTC)]);
}

#[test]
fn the_core_can_ask_for_a_resync() {
    let mut rig = live();
    let times = rig.times();
    rig.venue.resync(BTC, BookInvalid::Crossed, times, &mut rig.events, &mut rig.out);
    rig.venue.resync(BTC, BookInvalid::Crossed, times, &mut rig.events, &mut rig.out);
    assert_eq!(rig.take().len(), 1, "once");
    assert_eq!(rig.requests(), [wants(BTC)]);
}

#[test]
fn books_survive_a_planned_renewal_and_die_with_the_last_link() {
    let mut rig = live();
    let new = Link { role: Role::MarketData, generation: 2 };
    rig.open(new);
    let id = rig.sent_value(Role::MarketData)["id"].as_u64().unwrap();
    assert!(!rig.venue.is_ready(Role::MarketData), "the new link is not subscribed yet");
    rig.text(MARKET, &depth("BTCUSDT", 101, 103, &[("68249.00", "1")], &[]));
    rig.text(new, &format!("{{\"result\":null,\"id\":{id}}}"));
    assert!(rig.venue.is_ready(Role::MarketData));
    rig.text(new, &depth("BTCUSDT", 102, 105, &[("68249.00", "2")], &[]));
    rig.text(MARKET, &depth("BTCUSDT", 104, 105, &[("68249.00", "2")], &[]));
    rig.close(MARKET);
    rig.text(new, &depth("BTCUSDT", 106, 106, &[("68249.00", "3")], &[]));
    assert_eq!(rig.kinds(), [EventKind::BookLevel; 3], "overlap taken, repetition dropped, nothing invalid");
    rig.close(new);
    let events = rig.take();
    assert_eq!(events.iter().filter(|e| e.code == BookInvalid::Disconnected as u32 && e.kind == EventKind::BookInvalid as u8).count(), 2);
    assert_eq!(events.last().map(|e| (e.event_kind(), e.code)), Some((Some(EventKind::FeedStatus), FeedState::Down as u32)));
    rig.close(new);
    assert!(rig.kinds().is_empty());
}

#[test]
fn a_shutdown_notice_is_passed_on_once() {
    let mut rig = live();
    rig.text(MARKET, r#"{"e":"serverShutdown","E":1770000000000}"#);
    assert!(rig.venue.take_closing(Role::MarketData));
    assert!(!rig.venue.take_closing(Role::MarketData));
    assert!(rig.venue.take_notice().is_some());
}

#[test]
fn snapshots_wait_for_the_rate_budget() {
    let (mut instruments, assets) = tables();
    for i in 0..198 {
        let mut instrument = instruments[BTC].clone();
        instrument.symbol = format!("SYM{i}USDT");
        instruments.add(instrument).unwrap();
    }
    let init = VenueInit { settings: settings(), instruments: &instruments, assets: &assets, epoch: 1 };
    let mut rig = Rig { venue: Binance::new(init).unwrap(), now_ns: 1_767_225_600 * S, ..Rig::new(|_| {}) };
    rig.open(MARKET);
    let mut asked = 0;
    for _ in 0..20 {
        for (_, text) in rig.sent() {
            let request: serde_json::Value = serde_json::from_str(&text).unwrap();
            rig.text(MARKET, &format!("{{\"result\":null,\"id\":{}}}", request["id"]));
        }
        asked += rig.requests().len();
        rig.timer(S);
    }
    assert_eq!(asked, 96, "4800 of the minute's weight; the rest is kept for orders");
    rig.timer(60 * S);
    assert_eq!(rig.requests().len(), 96);
}

fn unhex(text: &str) -> Vec<u8> {
    const_hex::decode(text).unwrap()
}

#[test]
fn sbe_and_json_give_the_same_events() {
    let (mut json, mut sbe) = (Rig::subscribed(Encoding::Json), Rig::subscribed(Encoding::Sbe));
    for rig in [&mut json, &mut sbe] {
        rig.snapshot(BTC, 54_321_000_777, &SNAPSHOT);
        assert!(book(&rig.take(), BTC).is_valid());
    }
    let ticker = unhex(
        "3200112701000000402222464847060049b1c8a50c000000fefb3224680000000000f049020000000000332468000000000010a40000000000000742544355534454",
    );
    sbe.binary(MARKET, &ticker);
    json.text(MARKET, r#"{"u":54321000777,"s":"BTCUSDT","b":"68250.10","B":"1.50000000","a":"68250.11","A":"0.42000000"}"#);
    let mut events = sbe.take();
    assert!(events.iter().all(|e| e.venue_time_ns == 1_767_225_600_123_456_000));
    events.iter_mut().for_each(|e| e.venue_time_ns = 0); // JSON's has no time.
    assert_eq!(events, json.take());

    let diff = unhex(
        "1a00132701000000e0622246484706004ab1c8a50c0000004db1c8a50c000000fefb1000020032246800000000000000000000000000282468000000000090d0030000000000100001003c24680000000000f8240100000000000742544355534454",
    );
    sbe.binary(MARKET, &diff);
    json.text(
        MARKET,
        r#"{"e":"depthUpdate","E":1767225600140000,"s":"BTCUSDT","U":54321000778,"u":54321000781,"b":[["68250.10","0.00000000"],["68250.00","2.50000000"]],"a":[["68250.20","0.75000000"]]}"#,
    );
    let (mut sbe_events, json_events) = (sbe.take(), json.take());
    assert_eq!(json_events.len(), 3);
    sbe_events.iter_mut().for_each(|e| e.venue_time_ns = 1_767_225_600_140_000_000);
    assert_eq!(sbe_events, json_events);

    let mut trade = Vec::new();
    for word in [18u16, 10_000, 1, 0] {
        trade.extend_from_slice(&word.to_le_bytes());
    }
    for time in [1_767_225_600_150_000i64, 1_767_225_600_149_000] {
        trade.extend_from_slice(&time.to_le_bytes());
    }
    trade.extend_from_slice(&[0xfe, 0xf8]);
    trade.extend_from_slice(&25u16.to_le_bytes());
    trade.extend_from_slice(&1u32.to_le_bytes());
    for value in [4_400_123_456i64, 6_825_011, 1_500_000] {
        trade.extend_from_slice(&value.to_le_bytes());
    }
    trade.extend_from_slice(b"\x00\x07BTCUSDT");
    sbe.binary(MARKET, &trade);
    json.text(
        MARKET,
        r#"{"e":"trade","E":1767225600150,"s":"BTCUSDT","t":4400123456,"p":"68250.11","q":"0.01500000","T":1767225600149,"m":false,"M":true}"#,
    );
    assert_eq!(sbe.take(), json.take());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is lost, repeated or late: whenever the book is valid, it is the venue's book as of its sequence.
    #[test]
    fn a_valid_book_is_the_venues_book(
        steps in proptest::collection::vec((1u64..4, 0i64..6, 0i64..5, any::<bool>(), 0u8..20), 1..200),
        delay in 0usize..6,
    ) {
        let mut rig = Rig::subscribed(Encoding::Json);
        let mut ours = Book::new(BookConfig::default());
        let mut truth: BTreeMap<(u8, i64), i64> = BTreeMap::new();
        let mut history = vec![(0, truth.clone())];
        let mut id = 0;
        // Snapshots on their way: (steps until delivery, id, levels).
        let mut pending: Vec<(usize, u64, Levels)> = Vec::new();
        for (ids, offset, qty, buy, fate) in steps {
            let side = if buy { Side::Buy } else { Side::Sell };
            let price = if buy { 6_825_000 - offset } else { 6_825_001 + offset };
            let (first, last) = (id + 1, id + ids);
            id = last;
            if qty == 0 { truth.remove(&(side as u8, price)); } else { truth.insert((side as u8, price), qty); }
            history.push((id, truth.clone()));
            let (price, qty) = (format!("{}.{:02}", price / 100, price % 100), format!("0.{qty:08}"));
            let row = [(price.as_str(), qty.as_str())];
            let message = if buy { depth("BTCUSDT", first, last, &row, &[]) } else { depth("BTCUSDT", first, last, &[], &row) };
            match fate {
                0 => {}
                1 => { rig.text(MARKET, &message); rig.text(MARKET, &message); }
                _ => rig.text(MARKET, &message),
            }
            for request in rig.requests() {
                if request == wants(BTC) {
                    let levels = truth.iter().rev().filter(|((s, _), _)| *s == 1).chain(truth.iter().filter(|((s, _), _)| *s == 2));
                    let levels = levels.map(|(&(s, p), &q)| (Side::from_byte(s).unwrap(), p, q)).collect();
                    pending.push((delay, id, levels));
                }
            }
            for at in (0..pending.len()).rev() {
                if pending[at].0 == 0 {
                    let (_, sequence, levels) = pending.remove(at);
                    rig.snapshot(BTC, sequence, &levels);
                } else {
                    pending[at].0 -= 1;
                }
            }
            rig.timer(100 * MS);
            for event in rig.take() {
                if event.instrument_id() == BTC && event.kind != EventKind::FeedStatus as u8 {
                    ours.apply(&event);
                }
            }
            if ours.is_valid() {
                let (_, expected) = history.iter().rev().find(|(at, _)| *at == ours.sequence()).expect("a sequence that was");
                let mut held = BTreeMap::new();
                for side in [Side::Buy, Side::Sell] {
                    for level in ours.levels(side) {
                        held.insert((side as u8, level.price.0), level.qty.0);
                    }
                }
                prop_assert_eq!(&held, expected);
            }
        }
    }

    #[test]
    fn mutated_messages_never_panic(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(), which in 0usize..4,
    ) {
        let mut rig = live();
        let texts = [
            depth("BTCUSDT", 101, 104, &[("68250.10", "1.50000000")], &[("68250.11", "0.42")]),
            r#"{"stream":"btcusdt@bookTicker","data":{"u":5,"s":"BTCUSDT","b":"68250.10","B":"1.5","a":"68250.11","A":"0.42"}}"#.into(),
            r#"{"e":"trade","E":1,"s":"BTCUSDT","t":4,"p":"68250.11","q":"0.015","T":1,"m":false,"M":true}"#.into(),
            r#"{"error":{"code":2,"msg":"x"},"id":65537}"#.into(),
        ];
        let mut bytes = texts[which].clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let cut = cut.index(bytes.len()) + 1;
        rig.venue.on_message(MARKET, venues::venue::MessageKind::Text, &bytes, rig.times(), &mut rig.events, &mut rig.out);
        rig.venue.on_message(MARKET, venues::venue::MessageKind::Text, &bytes[..cut], rig.times(), &mut rig.events, &mut rig.out);
    }

    #[test]
    fn mutated_sbe_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut rig = Rig::subscribed(Encoding::Sbe);
        let mut bytes = unhex("1a00132701000000e0622246484706004ab1c8a50c0000004db1c8a50c000000fefb1000020032246800000000000000000000000000282468000000000090d0030000000000100001003c24680000000000f8240100000000000742544355534454");
        let at = at.index(bytes.len());
        bytes[at] = byte;
        rig.binary(MARKET, &bytes);
        let cut = cut.index(bytes.len()) + 1;
        rig.binary(MARKET, &bytes[..cut]);
    }
}
