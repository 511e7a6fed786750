//! Recorded traffic, the sheet's own messages, and hostile variations of both.

mod kraken_support;

use engine_core::event::{Event, EventKind};
use kraken_support::*;
use proptest::prelude::*;
use std::path::Path;
use venues::decode::{Channel, Decoded, Decoder, LineDecoder};
use venues::kraken::decoder::KrakenDecoder;
use venues::outbox::Outbox;
use venues::venue::{MessageKind, Role, Venue};

fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped: {reason}");
    eprintln!("skipped: {reason}");
}

/// The messages of the recording that came in; `None` if it is not there.
fn recording() -> Option<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures/kraken.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else {
        skip("the recordings (../shared/captures, beside the checkout) are not there");
        return None;
    };
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a capture line"));
    Some(lines.filter(|line| line["dir"] == "in").map(|line| line["data"].as_str().expect("text").to_owned()).collect())
}

#[test]
fn recording_decodes_and_every_checksum_holds() {
    let Some(messages) = recording() else { return };
    let mut decoder = KrakenDecoder::new(Channel::Public);
    let (mut events, mut controls, mut unused) = (Vec::new(), 0, 0);
    for message in &messages {
        match decoder.decode(MessageKind::Text, "", message.as_bytes(), &mut events) {
            Ok(Decoded::Events) => {}
            Ok(Decoded::Control(_)) => controls += 1,
            Ok(Decoded::Unused(_)) => unused += 1,
            Err(error) => panic!("{error}: {message}"),
        }
    }
    let count = |kind: EventKind| events.iter().filter(|e: &&Event| e.event_kind() == Some(kind)).count();
    let sums = decoder.checksums();
    eprintln!(
        "{} messages: {} levels, {} quotes, {} trades, {controls} control, {unused} unused; checksums: {sums:?}",
        messages.len(),
        count(EventKind::BookLevel),
        count(EventKind::TopOfBook),
        count(EventKind::Trade)
    );
    assert_eq!((sums.failed, sums.unchecked), (0, 0));
    assert!(sums.held > 1_000 && count(EventKind::BookInvalid) == 0);
    assert!(count(EventKind::BookLevel) > 8_000 && count(EventKind::TopOfBook) == 36 && count(EventKind::Trade) >= 8);
}

fn objects(channel: Channel, lines: &[&str]) -> Vec<serde_json::Value> {
    let mut decoder = Decoder::new("kraken", channel).unwrap();
    let mut out = Vec::new();
    lines.iter().for_each(|line| decoder.decode_line(line.as_bytes(), &mut out));
    out.split(|&c| c == b'\n').filter(|o| !o.is_empty()).map(|o| serde_json::from_slice(o).unwrap()).collect()
}

#[test]
fn public_messages_of_v2_become_objects() {
    let lines = [
        r#"{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2","connection_id":11825441236587412933}]}"#,
        &vector_a(),
        &vector_a_update(),
        r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":61250.5,"qty":0.0085,"ord_type":"limit","trade_id":84019233,"timestamp":"2026-01-01T00:00:00.231904Z"}]}"#,
        r#"{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":61250.4,"bid_qty":0.48,"ask":61250.5,"ask_qty":0.0125,"last":61250.5,"volume":1482.11734,"vwap":60988.1,"low":60011.2,"high":61802.0,"change":412.3,"change_pct":0.68,"timestamp":"2026-01-01T00:00:00.231904Z"}]}"#,
        r#"{"channel":"heartbeat"}"#,
        r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":1}]}"#,
        "{broken",
        r#"{"channel":"mystery"}"#,
    ];
    let got = objects(Channel::Public, &lines);
    let kinds: Vec<_> = got.iter().map(|o| o.get("kind").map_or("error", |k| k.as_str().unwrap())).collect();
    assert_eq!(kinds.iter().filter(|k| **k == "book_level").count(), 23);
    assert_eq!(kinds[0], "feed_status");
    assert_eq!(kinds[24..], ["trade", "top_of_book", "top_of_book", "control", "book_touch", "book_invalid", "error", "error"]);
    let level = &got[1];
    assert_eq!(
        (&level["instrument"], &level["side"], &level["price"], &level["qty"]),
        (&"BTC/USD".into(), &"buy".into(), &"61250.4".into(), &"0.48".into())
    );
    assert_eq!((&level["clear"], &level["snapshot"]), (&true.into(), &true.into()));
    assert_eq!((&got[24]["trade_id"], &got[24]["venue_time_ns"]), (&"84019233".into(), &"1767225600231904000".into()));
    assert_eq!(got[29]["reason"], "checksum");
}

#[test]
fn v1_messages_of_the_sheet_become_objects() {
    let lines = [
        r#"{"connectionID":18239578009413566319,"event":"systemStatus","status":"online","version":"1.8.3"}"#,
        r#"[341,[["61250.50000","0.00850000","1767225600.231904","b","l",""]],"trade","XBT/USD"]"#,
        r#"[640,{"as":[["61250.50000","0.01250000","1767225600.100030"]],"bs":[["61250.40000","0.48000000","1767225600.100030"]]},"book-1000","XBT/USD"]"#,
        r#"[640,{"a":[["61250.50000","0.00000000","1767225600.200030"],["61250.60000","1.50000000","1767225600.1","r"]]},{"b":[["61250.40000","0.60000000","1767225600.2"]],"c":"0"},"book-1000","XBT/USD"]"#,
        r#"[341,["61250.40000","61250.50000","1767225600.231904","0.48000000","0.01250000"],"spread","XBT/USD"]"#,
        r#"[1,[],"ohlc-5","XBT/USD"]"#,
        r#"[7,{"new":1},"party","XBT/USD"]"#,
    ];
    let got = objects(Channel::Public, &lines);
    let kinds: Vec<_> = got.iter().map(|o| o.get("kind").map_or("error", |k| k.as_str().unwrap())).collect();
    let levels = ["book_level"; 5];
    let want: Vec<&str> = [&["control", "trade"][..], &levels, &["book_invalid", "top_of_book", "top_of_book", "unused", "error"]].concat();
    assert_eq!(kinds, want);
    assert_eq!(
        (&got[1]["price"], &got[1]["side"], &got[1]["venue_time_ns"]),
        (&"61250.5".into(), &"buy".into(), &"1767225600231904000".into())
    );
    assert_eq!((&got[4]["price"], &got[4]["qty"]), (&"61250.5".into(), &"0".into()));
}

#[test]
fn private_messages_of_the_sheet_become_objects() {
    let id = "6d1b345e-2821-40e2-ad83-4ecb18a06876";
    let record = |fields: &str, n: u32| {
        format!(
            r#"{{"channel":"executions","type":"update","data":[{{"order_id":"OZ4QKD-7RWJH-X2MPLN","cl_ord_id":"{id}",{fields},"timestamp":"2026-01-01T00:00:00.304100Z"}}],"sequence":{n}}}"#
        )
    };
    let lines = [
        &format!(
            r#"{{"method":"add_order","req_id":11,"result":{{"order_id":"OZ4QKD-7RWJH-X2MPLN","cl_ord_id":"{id}"}},"success":true,"time_in":"2026-01-01T00:00:00.300112Z","time_out":"2026-01-01T00:00:00.304809Z"}}"#
        ),
        r#"{"error":"EOrder:Insufficient funds","method":"add_order","req_id":12,"success":false,"time_in":"2026-01-01T00:00:00.310112Z","time_out":"2026-01-01T00:00:00.311209Z"}"#,
        &record(
            r#""symbol":"BTC/USD","side":"buy","order_type":"limit","order_qty":0.0125,"limit_price":61250.4,"exec_type":"pending_new","order_status":"pending_new""#,
            2,
        ),
        &record(r#""exec_type":"new","order_status":"new""#, 3),
        &record(
            r#""symbol":"BTC/USD","side":"buy","exec_type":"trade","exec_id":"TB7YKS-LM2QW-EERTY9","trade_id":84019233,"last_qty":0.005,"last_price":61250.4,"liquidity_ind":"m","fees":[{"asset":"USD","qty":0.49}],"cum_qty":0.005,"order_status":"partially_filled""#,
            4,
        ),
        &record(r#""exec_type":"canceled","order_status":"canceled","reason":"User requested","cum_qty":0.005"#, 5),
        r#"{"channel":"balances","type":"update","data":[{"asset":"USD","asset_class":"currency","amount":-306.252,"balance":9927.808,"fee":0.49,"wallet_type":"spot"}],"sequence":2}"#,
        r#"{"channel":"executions","type":"update","data":[{"order_id":"OAAAAA-AAAAA-AAAAAA","symbol":"BTC/USD","exec_type":"mystery"}],"sequence":6}"#,
        r#"{"method":"pong","req_id":101}"#,
    ];
    let got = objects(Channel::Private, &lines);
    let kinds: Vec<_> = got.iter().map(|o| o.get("kind").map_or("error", |k| k.as_str().unwrap())).collect();
    assert_eq!(
        kinds,
        ["order_ack", "order_reject", "order_ack", "fill_fee", "order_fill", "order_canceled", "balance", "error", "control"]
    );
    assert_eq!((&got[0]["order"], &got[1]["order"], &got[1]["reason"]), (&id.into(), &"req_id:12".into(), &"insufficient_funds".into()));
    assert_eq!((&got[4]["instrument"], &got[4]["price"], &got[4]["qty"]), (&"BTC/USD".into(), &"61250.4".into(), &"0.005".into()));
    assert_eq!((&got[3]["fee"], &got[3]["asset"], &got[5]["filled"]), (&"0.49".into(), &"USD".into(), &"0.005".into()));
}

/// Messages of every kind that the codec reads.
fn corpus() -> Vec<(Role, String)> {
    let public = [
        vector_a(),
        vector_a_update(),
        r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":61250.5,"qty":0.0085,"ord_type":"limit","trade_id":84019233,"timestamp":"2026-01-01T00:00:00.231904Z"}]}"#.into(),
        r#"{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[{"symbol":"BTC/USD","status":"online","qty_precision":8,"qty_increment":1e-08,"price_precision":1,"price_increment":0.1,"cost_min":0.5,"qty_min":5e-05}]}}"#.into(),
        r#"{"channel":"status","type":"update","data":[{"system":"post_only","connection_id":11825441236587412933}]}"#.into(),
        r#"{"error":"Currency pair not supported BTC/USD","method":"subscribe","success":false,"symbol":"BTC/USD","req_id":3}"#.into(),
    ];
    let private = [
        accepted("add_order", &1000.into(), &format!(r#"{{"order_id":"{VENUE_ID}","warnings":["w"]}}"#)),
        refused("amend_order", &1001.into(), "EOrder:Unknown order"),
        execution(
            order(1),
            2,
            r#""symbol":"BTC/USD","side":"buy","exec_type":"trade","trade_id":84019233,"last_qty":0.005,"last_price":61250.4,"liquidity_ind":"m","fees":[{"asset":"USD","qty":0.49}],"cum_qty":0.005"#,
        ),
        execution(order(1), 3, r#""exec_type":"amended","order_qty":0.02,"limit_price":61249.0"#),
        execution(order(1), 4, r#""exec_type":"filled","order_status":"filled","cum_qty":0.02"#),
        r#"{"channel":"balances","type":"snapshot","data":[{"asset":"USD","balance":10234.55}],"sequence":1}"#.into(),
    ];
    let public = public.into_iter().map(|text| (Role::MarketData, text));
    public.chain(private.into_iter().map(|text| (Role::OrderEntry, text))).collect()
}

/// A change to a message: where, how, and with which byte.
type Step = (prop::sample::Index, u8, u8);

/// Changes to a message: a byte replaced, a piece cut out or doubled, the end cut off.
fn mutate(text: &str, steps: &[Step]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, how, byte) in steps {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        let piece = at..(at + usize::from(*byte % 24)).min(bytes.len());
        match how % 5 {
            0 => bytes[at] = *byte,
            1 => drop(bytes.drain(piece)),
            2 => {
                let copy = bytes[piece].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => bytes.truncate(at),
            _ => bytes.insert(at, b"0123456789.-e\"{}[],:"[usize::from(*byte) % 20]),
        }
    }
    bytes
}

/// Messages of the corpus, each with the changes made to it.
fn picks() -> impl Strategy<Value = Vec<(prop::sample::Index, Vec<Step>)>> {
    let steps = proptest::collection::vec(any::<Step>(), 0..4);
    proptest::collection::vec((any::<prop::sample::Index>(), steps), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn hostile_messages_never_stop_the_codec(picks in picks()) {
        let corpus = corpus();
        let mut rig = Rig::subscribed();
        rig.log_on(ORDERS);
        rig.take();
        rig.send(send_new(order(1), engine_core::event::Side::Buy, 612_504, 1_250_000, 0));
        for (pick, steps) in &picks {
            let (role, text) = &corpus[pick.index(corpus.len())];
            let link = if *role == Role::MarketData { MARKET } else { ORDERS };
            let bytes = mutate(text, steps);
            rig.venue.on_message(link, MessageKind::Text, &bytes, rig.times(), &mut rig.events, &mut rig.out);
            rig.timer(100 * MS);
            rig.out.clear();
        }
        let given = rig.take().len() as u64;
        prop_assert!(rig.venue.counters().events >= given);
        // The session goes on: a good snapshot and a good order are taken.
        rig.open(venues::venue::Link { generation: 2, ..MARKET });
        rig.text(venues::venue::Link { generation: 2, ..MARKET }, &vector_a());
        prop_assert!(rig.take().iter().any(|e| e.event_kind() == Some(EventKind::BookLevel)));
    }

    #[test]
    fn hostile_lines_never_stop_the_decoder(picks in picks()) {
        let mut corpus: Vec<String> = corpus().into_iter().map(|(_, text)| text).collect();
        corpus.push(r#"[640,{"as":[["61250.50000","0.01250000","1767225600.100030"]],"bs":[]},"book-1000","XBT/USD"]"#.into());
        corpus.push(r#"[640,{"a":[["61250.50000","0.00000000","1767225600.2"]]},{"b":[["61250.4","0.6","1767225600.2"]],"c":"0"},"book-1000","XBT/USD"]"#.into());
        let mut public = Decoder::new("kraken", Channel::Public).unwrap();
        let mut private = Decoder::new("kraken", Channel::Private).unwrap();
        let mut out = Vec::new();
        for (pick, steps) in &picks {
            let bytes = mutate(&corpus[pick.index(corpus.len())], steps);
            public.decode_line(&bytes, &mut out);
            private.decode_line(&bytes, &mut out);
        }
        for object in out.split(|&c| c == b'\n').filter(|o| !o.is_empty()) {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(object).is_ok());
        }
    }

    #[test]
    fn any_stream_of_updates_keeps_the_mirror_equal_to_the_venues_window(
        steps in proptest::collection::vec(proptest::collection::vec((any::<bool>(), 1i64..40, 0i64..3), 1..6), 1..40),
    ) {
        use engine_core::book::{Book, BookConfig};
        use engine_core::event::Side;
        use std::collections::BTreeMap;
        let mut rig = Rig::new(|_| {});
        rig.open(MARKET);
        rig.text(MARKET, &book("snapshot", "BTC/USD", &[], &[], 0));
        let mut mirror = Book::new(BookConfig::default());
        rig.take().iter().for_each(|e| { mirror.apply(e); });
        // The venue's whole book, and what its subscriber at depth ten holds.
        let mut whole: [BTreeMap<i64, i64>; 2] = Default::default();
        let mut out = Outbox::new();
        for step in steps {
            let best = |whole: &[BTreeMap<i64, i64>; 2]| {
                let bids: Vec<(i64, i64)> = whole[0].iter().rev().take(10).map(|(p, q)| (*p, *q)).collect();
                let asks: Vec<(i64, i64)> = whole[1].iter().take(10).map(|(p, q)| (*p, *q)).collect();
                [bids, asks]
            };
            let before = best(&whole);
            for (buy, level, qty) in step {
                let (side, price) = if buy { (0, 1_000 - level) } else { (1, 1_000 + level) };
                if qty == 0 { whole[side].remove(&price); } else { whole[side].insert(price, qty); }
            }
            let after = best(&whole);
            // Rows: what changed inside the window, what refills it, deletes of what is gone from the whole book.
            let rows = |side: usize| -> Vec<(String, String)> {
                let mut rows = Vec::new();
                for (price, _) in &before[side] {
                    if !whole[side].contains_key(price) { rows.push((format!("{}.{}", price / 10, price % 10), "0".to_owned())); }
                }
                for row @ (price, qty) in &after[side] {
                    if !before[side].contains(row) { rows.push((format!("{}.{}", price / 10, price % 10), format!("0.0000000{qty}"))); }
                }
                rows
            };
            let text: String = after[1].iter().chain(&after[0]).map(|(p, q)| format!("{p}{q}")).collect();
            let (bids, asks) = (rows(0), rows(1));
            if bids.is_empty() && asks.is_empty() { continue; }
            fn refs(rows: &[(String, String)]) -> Vec<(&str, &str)> { rows.iter().map(|(p, q)| (p.as_str(), q.as_str())).collect() }
            let message = book("update", "BTC/USD", &refs(&bids), &refs(&asks), crc32fast::hash(text.as_bytes()));
            rig.venue.on_message(MARKET, MessageKind::Text, message.as_bytes(), rig.times(), &mut rig.events, &mut out);
            rig.take().iter().for_each(|e| { mirror.apply(e); });
            prop_assert_eq!(rig.venue.counters().checksum_failures, 0);
            for (side, index) in [(Side::Buy, 0), (Side::Sell, 1)] {
                let best = mirror.best(side).map(|level| (level.price.0, level.qty.0));
                prop_assert_eq!(best, after[index].first().copied());
            }
        }
    }
}
