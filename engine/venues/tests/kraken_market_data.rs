//! Market data as the engine sees it: subscriptions, checksums, resync, trades, status, reference data.

mod kraken_support;

use engine_core::book::{Book, BookConfig};
use engine_core::event::{BookInvalid, EventKind, FeedState, InstrumentStatus, Side, flags};
use engine_core::fixed::{Price, Qty};
use kraken_support::*;
use venues::outbox::ColdRequest;
use venues::venue::{Heartbeat, Link, Role, Venue, VenueError, VenueInit};

const RENEWED: Link = Link { role: Role::MarketData, generation: 2 };

#[test]
fn opening_subscribes_to_reference_data_books_and_trades() {
    let mut rig = Rig::new(|_| {});
    let endpoint = &rig.venue.endpoints()[0];
    assert_eq!((endpoint.path.as_str(), endpoint.heartbeat), ("/v2", Heartbeat::Codec));
    rig.open(MARKET);
    let sent: Vec<serde_json::Value> = rig.sent().iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[0]["params"], serde_json::json!({"channel": "instrument", "snapshot": true}));
    assert_eq!(sent[1]["params"], serde_json::json!({"channel": "book", "symbol": ["BTC/USD", "ETH/USD"], "depth": 10, "snapshot": true}));
    assert_eq!(sent[2]["params"], serde_json::json!({"channel": "trade", "symbol": ["BTC/USD", "ETH/USD"], "snapshot": false}));
    assert!(sent.iter().all(|m| m["req_id"].as_u64().unwrap() < 1 << 31));
}

#[test]
fn snapshot_and_update_of_the_sheet_hold_and_come_out_whole() {
    let mut rig = Rig::new(|_| {});
    rig.open(MARKET);
    rig.text(MARKET, &vector_a());
    let events = rig.take();
    assert_eq!(events[0].event_kind(), Some(EventKind::FeedStatus));
    assert_eq!(events[0].code, FeedState::Up as u32);
    let levels = &events[1..];
    assert_eq!(levels.len(), 20);
    assert!(levels[0].has(flags::CLEAR | flags::SNAPSHOT) && levels[19].has(flags::LAST | flags::SNAPSHOT));
    assert_eq!(levels.iter().filter(|e| e.has(flags::LAST)).count(), 1);
    assert_eq!(levels[0].venue_time_ns, 1_767_225_600_231_904_000);
    let mut mirror = Book::new(BookConfig::default());
    levels.iter().for_each(|e| {
        mirror.apply(e);
    });
    rig.text(MARKET, &vector_a_update());
    let update = rig.take();
    assert_eq!(update.len(), 3);
    assert!(update[2].has(flags::LAST) && !update[0].has(flags::LAST));
    update.iter().for_each(|e| {
        mirror.apply(e);
    });
    let best = (mirror.best(Side::Buy).unwrap(), mirror.best(Side::Sell).unwrap());
    assert_eq!((best.0.price, best.0.qty, best.1.price), (Price(612_504), Qty(60_000_000), Price(612_506)));
    assert_eq!(rig.venue.counters().checksum_failures, 0);
}

#[test]
fn numbers_that_lost_their_trailing_zeros_hold_as_well() {
    let mut rig = Rig::new(|_| {});
    rig.open(MARKET);
    let trim = |text: &'static str| text.trim_end_matches('0').trim_end_matches('.');
    let trimmed = |rows: &[(&'static str, &'static str)]| rows.iter().map(|(p, q)| (trim(p), trim(q))).collect::<Vec<_>>();
    rig.text(MARKET, &book("snapshot", "BTC/USD", &trimmed(&BIDS_A), &trimmed(&ASKS_A), 1_382_961_491));
    rig.text(MARKET, &book("update", "BTC/USD", &[("61250.4", "0.6")], &[("61250.5", "0"), ("61266", "0.3")], 4_262_187_403));
    assert_eq!((rig.venue.counters().checksum_failures, rig.venue.counters().malformed), (0, 0));
}

#[test]
fn fields_in_another_order_and_unknown_ones_make_no_difference() {
    let mut rig = Rig::new(|_| {});
    rig.open(MARKET);
    let message = r#"{"data":[{"timestamp":"x","checksum":2534543218,"new":{"a":[1]},"asks":[{"qty":1.00000000,"price":61250.5}],"bids":[],"symbol":"BTC/USD"}],"type":"snapshot","channel":"book"}"#;
    let sum = crc32fast::hash(b"612505100000000");
    rig.text(MARKET, &message.replace("2534543218", &sum.to_string()));
    assert_eq!(rig.kinds(), [EventKind::FeedStatus, EventKind::BookLevel]);
}

#[test]
fn levels_pushed_out_of_the_window_are_deleted_explicitly() {
    let mut rig = Rig::subscribed();
    let mut asks: Vec<(i64, i64)> = ASKS_A.iter().map(|(p, q)| (fixed(p, 1), fixed(q, 8))).collect();
    let bids: Vec<(i64, i64)> = BIDS_A.iter().map(|(p, q)| (fixed(p, 1), fixed(q, 8))).collect();
    asks.insert(2, (612_507, 7));
    asks.truncate(10);
    rig.text(MARKET, &book("update", "BTC/USD", &[], &[("61250.7", "0.00000007")], sum(&asks, &bids)));
    let events = rig.take();
    assert_eq!(events.len(), 2);
    assert_eq!((events[1].level_price(), events[1].level_qty(), events[1].side()), (Price(612_652), Qty(0), Some(Side::Sell)));
    assert!(events[1].has(flags::LAST));
}

fn fixed(text: &str, scale: u8) -> i64 {
    engine_core::fixed::parse_decimal(text.as_bytes(), scale).unwrap()
}

fn sum(asks: &[(i64, i64)], bids: &[(i64, i64)]) -> u32 {
    let text: String = asks.iter().chain(bids).map(|(p, q)| format!("{p}{q}")).collect();
    crc32fast::hash(text.as_bytes())
}

#[test]
fn checksum_failure_invalidates_the_book_and_resyncs_once() {
    let mut rig = Rig::subscribed();
    rig.text(MARKET, &book("update", "BTC/USD", &[("61250.4", "0.60000000")], &[], 1));
    let events = rig.take();
    assert_eq!(events.len(), 1, "the levels of a message that fails are not handed on");
    assert_eq!((events[0].event_kind(), events[0].code), (Some(EventKind::BookInvalid), BookInvalid::Checksum as u32));
    let sent: Vec<serde_json::Value> = rig.sent().iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
    let about = |m: &serde_json::Value| (m["method"].clone(), m["params"]["symbol"].clone(), m["params"]["depth"].clone());
    assert_eq!(about(&sent[0]), ("unsubscribe".into(), serde_json::json!(["BTC/USD"]), 10.into()));
    assert_eq!(about(&sent[1]), ("subscribe".into(), serde_json::json!(["BTC/USD"]), 10.into()));
    // Updates before the new snapshot are ignored, and neither they nor the core start another resync.
    rig.text(MARKET, &vector_a_update());
    rig.venue.resync(BTC, BookInvalid::Crossed, rig.times(), &mut rig.events, &mut rig.out);
    assert!(rig.take().is_empty() && rig.sent().is_empty());
    assert_eq!(rig.venue.counters().stale, 1);
    rig.text(MARKET, &vector_a());
    assert_eq!(rig.kinds().len(), 20);
    rig.text(MARKET, &vector_a_update());
    assert_eq!(rig.kinds(), [EventKind::BookLevel; 3]);
    let counters = rig.venue.counters();
    assert_eq!((counters.checksum_failures, counters.resyncs), (1, 1));
}

#[test]
fn repeated_failures_back_off_and_a_healthy_minute_forgives() {
    let mut rig = Rig::subscribed();
    let fail = |rig: &mut Rig| {
        rig.text(MARKET, &book("update", "BTC/USD", &[("61250.4", "0.60000000")], &[], 1));
        rig.methods()
    };
    assert_eq!(fail(&mut rig), ["unsubscribe", "subscribe"], "the first time at once");
    for wait_s in [1, 2, 4, 8] {
        rig.text(MARKET, &vector_a());
        rig.timer(0); // In step, it waits for nothing.
        rig.out.clear();
        assert!(fail(&mut rig).is_empty());
        rig.timer(wait_s * S - MS);
        assert!(rig.methods().iter().all(|m| m == "ping"), "{wait_s}");
        rig.timer(MS);
        assert!(rig.methods().contains(&"subscribe".to_owned()), "{wait_s}");
    }
    rig.text(MARKET, &vector_a());
    rig.now_ns += 60 * S;
    assert_eq!(fail(&mut rig), ["unsubscribe", "subscribe"]);
}

#[test]
fn snapshot_that_does_not_come_is_asked_for_again() {
    let mut rig = Rig::new(|_| {});
    rig.open(MARKET);
    rig.text(MARKET, &vector_a());
    rig.out.clear();
    rig.timer(5 * S);
    rig.timer(S);
    let sent = rig.sent();
    assert!(sent.iter().all(|(_, text)| text.contains("ETH/USD")) && sent.len() == 2, "{sent:?}");
    assert!(!rig.venue.is_ready(Role::MarketData));
}

#[test]
fn malformed_message_costs_its_own_book_only() {
    let mut rig = Rig::subscribed();
    rig.text(
        MARKET,
        r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":"cheap","qty":1}],"asks":[],"checksum":1}]}"#,
    );
    let events = rig.take();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].instrument_id(), events[0].code), (BTC, BookInvalid::Malformed as u32));
    // Without a symbol there is nobody to blame: the next checksum tells.
    rig.text(MARKET, "{\"channel\":\"book\",");
    rig.text(MARKET, &book("update", "NOSUCH/USD", &[("1", "1")], &[], 0));
    rig.text(MARKET, r#"{"channel":"mystery","type":"update","data":[{"symbol":"BTC/USD"}]}"#);
    assert!(rig.take().is_empty());
    let counters = rig.venue.counters();
    assert_eq!((counters.malformed, counters.unknown_symbols, counters.unknown_messages), (2, 1, 1));
    // ETH goes on.
    rig.text(MARKET, &book("update", "ETH/USD", &[("3000.10", "1.00000000")], &[], crc32fast::hash(b"300010100000000")));
    assert_eq!(rig.kinds(), [EventKind::BookLevel]);
}

#[test]
fn an_update_without_its_checksum_is_not_taken() {
    let mut rig = Rig::subscribed();
    rig.text(MARKET, r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":61250.4,"qty":1}],"asks":[]}]}"#);
    assert_eq!(rig.kinds(), [EventKind::BookInvalid]);
    assert_eq!(rig.venue.counters().malformed, 1);
}

#[test]
fn prices_finer_than_our_numbers_quarantine_the_instrument() {
    let mut rig = Rig::subscribed();
    rig.text(MARKET, &book("update", "BTC/USD", &[("61250.45", "1.00000000")], &[], 1));
    assert_eq!(rig.kinds(), [EventKind::BookInvalid]);
    rig.text(
        MARKET,
        r#"{"channel":"instrument","type":"update","data":{"pairs":[{"symbol":"BTC/USD","status":"online","qty_precision":8,"qty_increment":1e-08,"price_precision":2,"price_increment":0.01,"cost_min":0.5,"qty_min":5e-05}]}}"#,
    );
    let events = rig.take();
    assert_eq!(events[0].event_kind(), Some(EventKind::InstrumentStatus));
    assert_eq!(events[0].code, InstrumentStatus::Unknown as u32);
    assert_eq!(rig.requests(), [ColdRequest::Instruments]);
    assert!(rig.venue.take_notice().unwrap().contains("BTC/USD"));
}

#[test]
fn the_printed_text_wins_over_the_instruments_decimals() {
    let mut rig = Rig::subscribed();
    // The venue begins to print ETH with one decimal instead of two.
    let text = book("snapshot", "ETH/USD", &[("3000.1", "1.00000000")], &[], crc32fast::hash(b"30001100000000"));
    rig.text(MARKET, &text);
    assert_eq!(rig.kinds(), [EventKind::BookLevel]);
    assert_eq!((rig.requests(), rig.venue.counters().checksum_failures), (vec![ColdRequest::Instruments], 0));
    // It holds from then on without a second look.
    rig.text(MARKET, &book("update", "ETH/USD", &[("3000.1", "2.00000000")], &[], crc32fast::hash(b"30001200000000")));
    assert_eq!((rig.kinds(), rig.requests()), (vec![EventKind::BookLevel], vec![]));
}

#[test]
fn trades_come_in_order_once_and_gaps_are_counted() {
    let mut rig = Rig::subscribed();
    let row = |id: u64, side: &str| {
        format!(
            r#"{{"symbol":"BTC/USD","side":"{side}","price":61250.5,"qty":0.0085,"ord_type":"limit","trade_id":{id},"timestamp":"2026-01-01T00:00:00.231904Z"}}"#
        )
    };
    let trades = |rows: &[String]| format!(r#"{{"channel":"trade","type":"update","data":[{}]}}"#, rows.join(","));
    rig.text(MARKET, &trades(&[row(5, "buy"), row(6, "sell"), row(7, "mystery")]));
    let events = rig.take();
    assert_eq!(events.len(), 2);
    assert_eq!((events[0].side(), events[0].c, events[1].side(), events[1].c), (Some(Side::Buy), 5, Some(Side::Sell), 6));
    assert_eq!((events[0].level_price(), events[0].level_qty()), (Price(612_505), Qty(850_000)));
    assert!(!events[0].has(flags::LAST) && events[1].has(flags::LAST));
    rig.text(MARKET, &trades(&[row(6, "sell"), row(8, "buy"), row(5, "buy")]));
    let events = rig.take();
    assert_eq!(events.len(), 1);
    assert!(events[0].c == 8 && events[0].has(flags::LAST));
    let counters = rig.venue.counters();
    assert_eq!((counters.unknown_values, counters.stale, counters.gaps), (1, 2, 1));
}

#[test]
fn maintenance_is_a_state_of_feed_and_instruments() {
    let mut rig = Rig::subscribed();
    let status = |system: &str| {
        format!(
            r#"{{"channel":"status","type":"update","data":[{{"version":"2.0.10","system":"{system}","api_version":"v2","connection_id":11825441236587412933}}]}}"#
        )
    };
    rig.text(MARKET, &status("online"));
    assert!(rig.take().is_empty());
    rig.text(MARKET, &status("maintenance"));
    let codes: Vec<_> = rig.take().iter().map(|e| (e.event_kind().unwrap(), e.code)).collect();
    let halted = (EventKind::InstrumentStatus, InstrumentStatus::Halted as u32);
    assert_eq!(codes, [(EventKind::FeedStatus, FeedState::Maintenance as u32), halted, halted]);
    rig.text(MARKET, &status("maintenance"));
    assert!(rig.take().is_empty(), "repeats say nothing new");
    rig.text(MARKET, &status("post_only"));
    let codes: Vec<_> = rig.take().iter().map(|e| (e.event_kind().unwrap(), e.code)).collect();
    let post_only = (EventKind::InstrumentStatus, InstrumentStatus::PostOnly as u32);
    assert_eq!(codes, [(EventKind::FeedStatus, FeedState::Up as u32), post_only, post_only]);
    rig.text(MARKET, &status("a_new_word"));
    assert_eq!(rig.venue.counters().unknown_values, 1);
    assert!(rig.take().iter().all(|e| e.code == InstrumentStatus::CancelOnly as u32));
    assert!(rig.venue.take_notice().unwrap().contains("a_new_word"));
}

#[test]
fn reference_data_changes_in_mid_session_are_reported() {
    let mut rig = Rig::subscribed();
    let pairs = |status: &str, tick: &str| {
        format!(
            r#"{{"channel":"instrument","type":"snapshot","data":{{"assets":[],"pairs":[{{"symbol":"FOO/USD"}},{{"symbol":"BTC/USD","base":"BTC","quote":"USD","status":"{status}","qty_precision":8,"qty_increment":1e-08,"price_precision":1,"price_increment":{tick},"cost_precision":5,"cost_min":0.5,"qty_min":5e-05}}]}}}}"#
        )
    };
    rig.text(MARKET, &pairs("online", "0.1"));
    assert!(rig.take().is_empty(), "as the table has it");
    rig.text(MARKET, &pairs("limit_only", "0.5"));
    let events = rig.take();
    assert_eq!(
        (events[0].event_kind(), events[0].a, events[0].b, events[0].c, events[0].d),
        (Some(EventKind::InstrumentRules), 5, 1, 5_000, 5)
    );
    assert_eq!((events[1].event_kind(), events[1].code), (Some(EventKind::InstrumentStatus), InstrumentStatus::LimitOnly as u32));
    rig.text(MARKET, &pairs("a_new_word", "0.5"));
    assert_eq!(rig.take()[0].code, InstrumentStatus::Unknown as u32);
}

#[test]
fn symbol_the_venue_does_not_have_stands_alone() {
    let mut rig = Rig::new(|_| {});
    rig.open(MARKET);
    rig.out.clear();
    rig.text(
        MARKET,
        r#"{"error":"Currency pair not supported ETH/USD","method":"subscribe","success":false,"symbol":"ETH/USD","req_id":3}"#,
    );
    assert_eq!(rig.take()[0].code, InstrumentStatus::Unknown as u32);
    rig.text(MARKET, &vector_a());
    assert!(rig.venue.is_ready(Role::MarketData));
    assert!(rig.venue.take_notice().unwrap().contains("ETH/USD"));
    rig.timer(5 * S);
    assert!(rig.methods().is_empty());
    rig.timer(300 * S);
    assert!(rig.methods().contains(&"subscribe".to_owned()), "asked again, in case it comes back");
}

#[test]
fn connection_loss_invalidates_and_the_next_link_begins_anew() {
    let mut rig = Rig::subscribed();
    rig.close(MARKET);
    assert_eq!(rig.kinds(), [EventKind::BookInvalid, EventKind::BookInvalid, EventKind::FeedStatus]);
    rig.timer(60 * S);
    assert!(rig.sent().is_empty());
    rig.open(RENEWED);
    rig.text(RENEWED, &vector_a());
    assert_eq!(rig.kinds().len(), 21);
    assert_eq!(rig.venue.counters().resyncs, 1);
}

#[test]
fn renewal_keeps_a_book_live_until_the_new_link_has_its_snapshot() {
    let mut rig = Rig::subscribed();
    rig.open(RENEWED);
    assert!(rig.take().is_empty() && !rig.venue.is_ready(Role::MarketData));
    rig.text(RENEWED, &vector_a_update());
    assert!(rig.take().is_empty(), "not before its snapshot");
    rig.text(MARKET, &vector_a_update());
    assert_eq!(rig.kinds(), [EventKind::BookLevel; 3]);
    rig.text(RENEWED, &vector_a());
    rig.text(MARKET, &vector_a_update());
    assert_eq!(rig.kinds().len(), 20, "the old link no longer counts");
    rig.text(RENEWED, &book("snapshot", "ETH/USD", &[], &[], 0));
    assert!(rig.venue.is_ready(Role::MarketData));
    rig.take();
    rig.close(MARKET);
    assert!(rig.take().is_empty());
}

#[test]
fn silence_of_ours_is_broken_by_a_ping() {
    let mut rig = Rig::subscribed();
    rig.timer(14 * S);
    assert!(rig.sent().is_empty());
    rig.timer(S);
    assert_eq!(rig.sent_value(Role::MarketData)["method"], "ping");
    rig.text(MARKET, r#"{"method":"pong","req_id":1,"time_in":"2026-01-01T00:00:00.123456Z","time_out":"2026-01-01T00:00:00.123470Z"}"#);
    rig.text(MARKET, r#"{"channel":"heartbeat"}"#);
    assert!(rig.take().is_empty());
    assert_eq!(rig.venue.counters().malformed + rig.venue.counters().unknown_messages, 0);
}

#[test]
fn a_symbol_that_cannot_stand_in_a_request_is_refused() {
    let (mut instruments, assets) = tables();
    let odd = engine_core::instrument::Instrument { symbol: "BTC\"/USD".into(), ..instruments[BTC].clone() };
    instruments.add(odd).unwrap();
    let init = VenueInit { settings: settings(), instruments: &instruments, assets: &assets, epoch: 1 };
    assert!(matches!(venues::kraken::Kraken::new(init).err(), Some(VenueError::Symbol { .. })));
    let mut settings = settings();
    settings.credentials.as_mut().unwrap().secret = "not base64!".to_owned().into();
    let init = VenueInit { settings, instruments: &tables().0, assets: &assets, epoch: 1 };
    assert!(matches!(venues::kraken::Kraken::new(init).err(), Some(VenueError::Credentials { .. })));
}
