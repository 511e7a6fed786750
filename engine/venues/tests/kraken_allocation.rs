//! No allocation on the hot path: after construction, messages, orders and timers of every kind use what is there.

mod counting_allocator;
mod kraken_support;

use counting_allocator::counted;
use engine_core::event::{Event, Side, flags};
use kraken_support::*;
use venues::outbox::Outbox;
use venues::venue::{MessageKind, Role, Venue};

/// Takes events and forgets them.
fn ignore(_: &Event) {}

#[test]
fn counting_works() {
    assert_eq!(counted(|| drop(std::hint::black_box(vec![1u8; 100]))), 2);
}

#[test]
fn market_data_allocates_nothing() {
    let mut rig = Rig::new(|_| {});
    let rows: Vec<(String, String)> = (0..4_000).map(|i| (format!("{}.5", 50_000 + i), "1.00000000".to_owned())).collect();
    let flood: Vec<(&str, &str)> = rows.iter().map(|(p, q)| (p.as_str(), q.as_str())).collect();
    let texts = [
        vector_a(),
        vector_a_update(),
        book("update", "BTC/USD", &flood, &[], 1),
        vector_a(),
        book("update", "BTC/USD", &[("61250.45", "1")], &[], 1),
        book("update", "DOGE/USD", &[], &[], 1),
        r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":61250.5,"qty":0.0085,"ord_type":"limit","trade_id":1,"timestamp":"2026-01-01T00:00:00.231904Z"}]}"#.into(),
        r#"{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[{"symbol":"BTC/USD","status":"post_only","qty_precision":8,"qty_increment":1e-08,"price_precision":1,"price_increment":0.5,"cost_min":0.5,"qty_min":5e-05},{"symbol":"ETH/USD"},{"symbol":"XRP/USD"}]}}"#.into(),
        r#"{"channel":"status","type":"update","data":[{"system":"maintenance"}]}"#.into(),
        r#"{"error":"Currency pair not supported ETH/USD","method":"subscribe","success":false,"symbol":"ETH/USD","req_id":3}"#.into(),
        r#"{"channel":"heartbeat"}"#.into(),
        "garbage".into(),
    ];
    let mut out = Outbox::new();
    let count = counted(|| {
        let mut times = rig.times();
        let venue = &mut rig.venue;
        for _ in 0..3 {
            venue.on_open(MARKET, times, &mut ignore, &mut out);
            for text in &texts {
                venue.on_message(MARKET, MessageKind::Text, text.as_bytes(), times, &mut ignore, &mut out);
            }
            for _ in 0..100 {
                times.core_ns += 500 * MS;
                venue.on_timer(times, &mut ignore, &mut out);
                venue.take_notice();
                out.clear();
            }
            venue.on_close(MARKET, times, &mut ignore, &mut out);
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn order_entry_allocates_nothing() {
    let mut rig = Rig::ready_with(|settings| settings.dead_man_s = 30);
    let mut texts = Vec::new();
    for i in 1..=200u32 {
        let id = u64::from(999 + i);
        texts.push(accepted("add_order", &id.into(), &format!(r#"{{"order_id":"OID-{i}"}}"#)));
        let record = |sequence: u32, fields: &str| execution(order(i), u64::from(sequence), fields).replace(VENUE_ID, &format!("OID-{i}"));
        texts.push(record(i * 3, r#""exec_type":"new","symbol":"BTC/USD","ratecount":3"#));
        texts.push(record(
            i * 3 + 1,
            r#""exec_type":"trade","trade_id":7,"last_qty":0.005,"last_price":61250.4,"liquidity_ind":"m","fees":[{"asset":"USD","qty":0.49}]"#,
        ));
        texts.push(record(i * 3 + 2, r#""exec_type":"canceled","reason":"Post only order","cum_qty":0.005"#));
    }
    for answer in ["EOrder:Rate limit exceeded", "EAPI:Invalid token", "EWeird:x"] {
        texts.push(refused("cancel_order", &5_000.into(), answer));
    }
    texts.push(r#"{"channel":"executions","type":"snapshot","data":[],"sequence":1}"#.into());
    texts.push(r#"{"channel":"balances","type":"snapshot","data":[{"asset":"USD","balance":10234.55}],"sequence":1}"#.into());
    texts.push(execution(order(9_999), 9_999, r#""exec_type":"mystery","symbol":"BTC/USD""#));
    texts.push("garbage".into());
    let mut out = Outbox::new();
    let token = Event {
        side: Role::OrderEntry as u8,
        code: 8,
        a: 0x4142_4344_4546_4748,
        flags: flags::LAST,
        ..Event::new(engine_core::event::EventKind::ColdText, VENUE, rig.times())
    };
    let count = counted(|| {
        let mut times = rig.times();
        let venue = &mut rig.venue;
        let mut sent = 0;
        for i in 1..=300 {
            sent += u32::from(venue.execute(&send_new(order(i), Side::Buy, 612_504, 1_250_000, flags::POST_ONLY), times, &mut out).is_ok());
            let _ = venue.execute(&send_cancel(order(i)), times, &mut out);
            let _ = venue.execute(&send_replace(order(i), 612_490, 2_000_000), times, &mut out);
            out.clear();
        }
        assert!(sent > 100);
        for text in &texts {
            venue.on_message(ORDERS, MessageKind::Text, text.as_bytes(), times, &mut ignore, &mut out);
            out.clear();
        }
        for _ in 0..100 {
            times.core_ns += 500 * MS;
            venue.on_timer(times, &mut ignore, &mut out);
            venue.take_notice();
            out.clear();
        }
        venue.on_close(ORDERS, times, &mut ignore, &mut out);
        venue.on_open(ORDERS, times, &mut ignore, &mut out);
        venue.on_cold(&token, times, &mut ignore, &mut out);
        venue.on_message(ORDERS, MessageKind::Text, texts[texts.len() - 4].as_bytes(), times, &mut ignore, &mut out);
        // More orders than there is room for: the closed ones make way.
        for i in 1_000..6_000 {
            times.core_ns += 2_000 * MS;
            venue.adopt_order(order(i), BTC, Some("OID"));
            let _ = venue.execute(&send_cancel(order(i)), times, &mut out);
            venue.on_timer(times, &mut ignore, &mut out);
            out.clear();
        }
    });
    assert_eq!(count, 0);
}
