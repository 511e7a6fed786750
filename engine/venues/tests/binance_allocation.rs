//! No allocation on the hot path: after construction, messages, orders and timers of every kind use what is there.

mod binance_support;
mod counting_allocator;

use binance_support::*;
use counting_allocator::counted;
use engine_core::event::{Event, EventKind, Side};
use engine_core::ids::OrderId;
use venues::outbox::Outbox;
use venues::venue::{Encoding, MessageKind, Venue};

/// Takes events and forgets them.
fn ignore(_: &Event) {}

#[test]
fn counting_works() {
    assert_eq!(counted(|| drop(std::hint::black_box(vec![1u8; 100]))), 2);
}

#[test]
fn market_data_allocates_nothing() {
    for encoding in [Encoding::Json, Encoding::Sbe] {
        let mut rig = Rig::subscribed(encoding);
        let snapshot = snapshot_events(BTC, 100, &[(Side::Buy, 6_825_010, 150_000_000), (Side::Sell, 6_825_011, 42_000_000)]);
        let kept: Vec<String> = (0..600).map(|i| depth("BTCUSDT", 90 + i, 90 + i, &[("68250.00", "1")], &[])).collect();
        let diffs: Vec<String> =
            (0..100).map(|i| depth("BTCUSDT", 690 + i, 690 + i, &[("68250.00", "1")], &[("68250.20", "0.5")])).collect();
        let others = [
            depth("BTCUSDT", 900, 901, &[], &[]),
            depth("BTCUSDT", 901, 902, &[("cheap", "1")], &[]),
            depth("DOGEUSDT", 1, 1, &[], &[]),
            r#"{"u":5,"s":"BTCUSDT","b":"68250.10","B":"1.5","a":"68250.11","A":"0.42"}"#.to_owned(),
            r#"{"e":"trade","E":1,"s":"BTCUSDT","t":4,"p":"68250.11","q":"0.015","T":1,"m":false,"M":true}"#.to_owned(),
            r#"{"error":{"code":2,"msg":"x"},"id":65537}"#.to_owned(),
            r#"{"e":"serverShutdown","E":1}"#.to_owned(),
            "garbage".to_owned(),
        ];
        let ticker = const_hex::decode("3200112701000000402222464847060049b1c8a50c000000fefb3224680000000000f049020000000000332468000000000010a40000000000000742544355534454").unwrap();
        let mut out = Outbox::new();
        let count = counted(|| {
            let mut times = rig.times();
            let venue = &mut rig.venue;
            for text in &kept {
                venue.on_message(MARKET, MessageKind::Text, text.as_bytes(), times, &mut ignore, &mut out);
            }
            for event in &snapshot {
                venue.on_cold(event, times, &mut ignore, &mut out);
            }
            for text in diffs.iter().chain(&others) {
                venue.on_message(MARKET, MessageKind::Text, text.as_bytes(), times, &mut ignore, &mut out);
            }
            venue.on_message(MARKET, MessageKind::Binary, &ticker, times, &mut ignore, &mut out);
            for _ in 0..100 {
                times.core_ns += 500 * MS;
                venue.on_timer(times, &mut ignore, &mut out);
                venue.take_notice();
            }
            venue.on_close(MARKET, times, &mut ignore, &mut out);
            venue.on_open(MARKET, times, &mut ignore, &mut out);
        });
        assert_eq!(count, 0, "{encoding:?}");
    }
}

#[test]
fn order_entry_allocates_nothing() {
    let mut rig = Rig::ready();
    let order = |sequence| OrderId::new(7, sequence);
    let report = |sequence: u32, x: &str, status: &str| {
        format!(
            r#"{{"subscriptionId":0,"event":{{"e":"executionReport","E":1,"s":"BTCUSDT","c":"{}","S":"BUY","q":"0.00150000","p":"68250.10","C":"","x":"{x}","X":"{status}","r":"NONE","i":{sequence},"l":"0.0015","z":"0.0015","L":"68250.10","n":"0.1","N":"USDT","T":1,"t":{sequence},"m":true}}}}"#,
            order(sequence)
        )
    };
    let mut texts = Vec::new();
    for i in 1..=200 {
        texts.push(report(i, "NEW", "NEW"));
        texts.push(report(i, "TRADE", "FILLED"));
        // Requests are numbered like this by the rig's first session (two requests) and the orders below.
        let id = format!("n0007{:08x}", i + 2);
        texts.push(format!(
            r#"{{"id":"{id}","status":200,"result":{{"symbol":"BTCUSDT","orderId":{i},"clientOrderId":"{}","transactTime":1}},"rateLimits":[{{"rateLimitType":"ORDERS","interval":"SECOND","intervalNum":10,"limit":1000,"count":3}}]}}"#,
            order(i)
        ));
    }
    texts.push(r#"{"id":null,"status":200,"result":{},"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":60000,"count":3}]}"#.into());
    texts.push(
        r#"{"event":{"e":"outboundAccountPosition","E":1,"u":1,"B":[{"a":"BTC","f":"0.5","l":"0.1"},{"a":"USDT","f":"5","l":"1"}]}}"#
            .into(),
    );
    texts.push(report(300, "TELEPORTED", "NEW"));
    texts.push("garbage".into());
    let mut out = Outbox::new();
    let count = counted(|| {
        let mut times = rig.times();
        let venue = &mut rig.venue;
        let mut sent = 0;
        for i in 1..=200 {
            let new = send_new(order(i), Side::Buy, 6_825_010, 150_000, 0);
            sent += u32::from(venue.execute(&new, times, &mut out).is_ok());
            let _ = venue.execute(&send(EventKind::SendCancel, order(i)), times, &mut out);
            let _ = venue.execute(&send_replace(order(i), 6_825_010, 100_000, 150_000), times, &mut out);
            let _ = venue.execute(&send(EventKind::SendQuery, order(i)), times, &mut out);
            out.clear();
        }
        assert!(sent > 0);
        let _ = venue.execute(&send(EventKind::SendCancelAll, OrderId::NONE), times, &mut out);
        for text in &texts {
            venue.on_message(ORDERS, MessageKind::Text, text.as_bytes(), times, &mut ignore, &mut out);
        }
        for _ in 0..100 {
            times.core_ns += 500 * MS;
            venue.on_timer(times, &mut ignore, &mut out);
            out.clear();
        }
        // Connecting again allocates: the library's signature of the log-on, like the TLS handshake before it.
        venue.on_close(ORDERS, times, &mut ignore, &mut out);
        venue.take_notice();
    });
    assert_eq!(count, 0);
}
