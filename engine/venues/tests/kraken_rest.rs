//! The cold plane's queries: requests as the sheet has them, answers, refusals, paging.

mod kraken_support;

use engine_core::event::{Side, VenueOrderStatus};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::AssetId;
use engine_core::instrument::{AssetTable, InstrumentTable};
use kraken_support::*;
use venues::kraken::KrakenRest;
use venues::rest::{HttpRequest, RestError, RestQuery, RestReply, Tables, VenueRest};

struct Cold {
    rest: KrakenRest,
    instruments: InstrumentTable,
    assets: AssetTable,
}

impl Cold {
    fn new() -> Cold {
        let (instruments, assets) = tables();
        Cold { rest: KrakenRest::new(&settings()).unwrap(), instruments, assets }
    }

    fn request(&mut self, query: &RestQuery, now_ns: u64) -> HttpRequest {
        self.rest.request(query, Tables { instruments: &self.instruments, assets: &self.assets }, now_ns).unwrap()
    }

    fn body(&mut self, query: &RestQuery, now_ns: u64) -> String {
        String::from_utf8(self.request(query, now_ns).body).unwrap()
    }

    fn parse(&mut self, query: &RestQuery, status: u16, body: &str) -> Result<RestReply, RestError> {
        self.rest.parse(query, status, &[], body.as_bytes(), &self.instruments, &mut self.assets)
    }

    fn ask(&mut self, query: &RestQuery, result: &str) -> Result<RestReply, RestError> {
        self.request(query, NOW);
        self.parse(query, 200, &format!(r#"{{"error":[],"result":{result}}}"#))
    }
}

const OPEN: &str = r#"{"open":{"OZ4QKD-7RWJH-X2MPLN":{"refid":null,"userref":0,"cl_ord_id":"p000700000001","status":"open","opentm":1767225600.3041,"starttm":0,"expiretm":0,"descr":{"pair":"XBTUSD","type":"buy","ordertype":"limit","price":"61250.4","price2":"0","leverage":"none","order":"buy 0.01250000 XBTUSD @ limit 61250.4","close":""},"vol":"0.01250000","vol_exec":"0.00500000","cost":"306.25","fee":"0.49","price":"61250.4","stopprice":"0.00000","limitprice":"0.00000","misc":"","oflags":"fciq,post"},"OOTHER":{"status":"open","descr":{"pair":"PEPEUSD","type":"buy","price":"1"},"vol":"1","vol_exec":"0"},"OFOREIGN":{"cl_ord_id":"somebody","status":"open","descr":{"pair":"ETHUSD","type":"sell","price":"3000.123"},"vol":"1","vol_exec":"0"}}}"#;

#[test]
fn private_calls_are_signed_over_a_nonce_that_grows() {
    let mut cold = Cold::new();
    let request = cold.request(&RestQuery::StreamToken, 1_767_225_600_123_456_000);
    assert_eq!(
        (request.method, request.path.as_str(), &request.body[..]),
        ("POST", "/0/private/GetWebSocketsToken", &b"nonce=1767225600123456"[..])
    );
    let header = |name: &str| request.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(header("API-Sign"), Some("TY2KnMblbGguQIxb2oow7wAiSPPBjUOTCcpSiE2xho1yBFShcmUiYm+Fg65JOqXq8ow6Wzqchze7lg1A3i7Giw=="));
    assert_eq!((header("API-Key"), header("Content-Type")), (Some("testkey"), Some("application/x-www-form-urlencoded")));
    assert_eq!(cold.body(&RestQuery::StreamToken, 1_000), "nonce=1767225600123457", "even if the clock steps back");
    let mut public = KrakenRest::new(&venues::venue::VenueSettings { credentials: None, ..settings() }).unwrap();
    let tables = Tables { instruments: &cold.instruments, assets: &cold.assets };
    assert!(matches!(public.request(&RestQuery::Balances, tables, NOW), Err(RestError::Unsupported(_))));
    assert!(public.request(&RestQuery::ServerTime, tables, NOW).is_ok());
    assert!(matches!(public.request(&RestQuery::CancelInstrument { instrument: BTC }, tables, NOW), Err(RestError::Unsupported(_))));
}

#[test]
fn answers_are_read() {
    let mut cold = Cold::new();
    let token = cold.ask(&RestQuery::StreamToken, r#"{"token":"Xk3","expires":900}"#).unwrap();
    assert!(matches!(token, RestReply::Token(text) if *text == "Xk3"));
    let time = cold.ask(&RestQuery::ServerTime, r#"{"unixtime":1767225600,"rfc1123":"x"}"#).unwrap();
    assert_eq!(time, RestReply::ServerTime(1_767_225_600_500_000_000));
    let book = RestQuery::BookSnapshot { instrument: BTC, depth: 5 };
    assert_eq!(cold.request(&book, NOW).path, "/0/public/Depth?pair=XBTUSD&count=5");
    let reply =
        cold.ask(&book, r#"{"XXBTZUSD":{"asks":[["61250.50000","0.012",1767225600]],"bids":[["61250.40000","0.480",1767225600]]}}"#);
    let want = RestReply::BookSnapshot {
        sequence: 0,
        bids: vec![(Price(612_504), Qty(48_000_000))],
        asks: vec![(Price(612_505), Qty(1_200_000))],
    };
    assert_eq!(reply, Ok(want));
    let shuffled = r#"{"XXBTZUSD":{"asks":[["3","1",0],["2","1",0]],"bids":[["0","1",0],["1.1","0",0],["1.2","1",0],["1.3","1",0]]}}"#;
    let Ok(RestReply::BookSnapshot { bids, asks, .. }) = cold.ask(&book, shuffled) else { panic!("not a snapshot") };
    let prices = |levels: &[(Price, Qty)]| levels.iter().map(|level| level.0.0).collect::<Vec<_>>();
    assert_eq!((prices(&bids), prices(&asks)), (vec![13, 12], vec![20, 30]), "best first, without empty levels");
    let reply = cold.ask(&RestQuery::Balances, r#"{"ZUSD":{"balance":"9927.81","hold_trade":"459.38"},"XXBT":{"balance":"0.005","credit":"1","credit_used":"0.5","hold_trade":"0"},"PEPE":{"balance":"1","hold_trade":"0"}}"#);
    let money = |text: &str| Money::parse(text.as_bytes()).unwrap();
    let want = vec![(AssetId(0), money("9927.81"), money("9468.43")), (AssetId(1), money("0.005"), money("0.505"))];
    assert_eq!(reply, Ok(RestReply::Balances(want)));
    assert_eq!(cold.ask(&RestQuery::CancelAll, r#"{"count":3}"#), Ok(RestReply::Canceled(3)));
}

#[test]
fn reference_data_quarantines_what_it_cannot_read() {
    let mut cold = Cold::new();
    let symbols = ["BTC/USD", "BAD/USD", "NONE/USD"].map(str::to_owned).to_vec();
    let query = RestQuery::Instruments { symbols };
    assert_eq!(cold.request(&query, NOW).path, "/0/public/AssetPairs");
    let reply = cold.ask(
        &query,
        r#"{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","base":"XXBT","quote":"ZUSD","pair_decimals":1,"lot_decimals":8,"cost_decimals":5,"lot_multiplier":1,"fees":[[0,0.4]],"fees_maker":[[0,0.25]],"ordermin":"0.00005","costmin":"0.5","tick_size":"0.1","status":"online"},"BAD":{"wsname":"BAD/USD","pair_decimals":1,"lot_decimals":8,"tick_size":"0.001"},"OTHER":{"wsname":"OTH/USD"}}"#,
    );
    let Ok(RestReply::Instruments { instruments, quarantined }) = reply else { panic!("{reply:?}") };
    assert_eq!(instruments.len(), 1);
    assert_eq!((instruments[0].symbol.as_str(), instruments[0].venue, instruments[0].base), ("BTC/USD", VENUE, AssetId(1)));
    assert!(instruments[0].capabilities.replace && instruments[0].capabilities.post_only);
    let names: Vec<_> = quarantined.iter().map(|(s, why)| (s.as_str(), why.contains("tick_size"))).collect();
    assert_eq!(names, [("BAD/USD", true)], "what the venue does not list is left out of both");
}

#[test]
fn open_orders_of_our_pairs_are_listed() {
    let mut cold = Cold::new();
    assert!(cold.body(&RestQuery::OpenOrders, NOW).starts_with("nonce="));
    let Ok(RestReply::Orders(orders)) = cold.ask(&RestQuery::OpenOrders, OPEN) else { panic!() };
    assert_eq!(orders.len(), 2);
    let ours = &orders[0];
    assert_eq!((ours.instrument, ours.order, ours.venue_order_id.as_str(), ours.side), (BTC, Some(order(1)), VENUE_ID, Side::Buy));
    assert_eq!((ours.price, ours.qty, ours.filled, ours.status), (Price(612_504), Qty(1_250_000), Qty(500_000), VenueOrderStatus::Open));
    assert_eq!((orders[1].instrument, orders[1].order), (ETH, None));
    // One of ours that cannot be read must not be taken as gone.
    assert!(matches!(
        cold.ask(&RestQuery::OpenOrders, &OPEN.replace("\"status\":\"open\",\"opentm\"", "\"status\":\"odd\",\"opentm\"")),
        Err(RestError::Malformed(_))
    ));
    let negative = cold.ask(&RestQuery::OpenOrders, &OPEN.replace("\"price\":\"6", "\"price\":\"-6"));
    assert!(matches!(negative, Err(RestError::Malformed(_))), "a price below nothing: {negative:?}");
}

#[test]
fn an_order_is_looked_for_among_the_open_then_the_closed() {
    let mut cold = Cold::new();
    let query = RestQuery::Order { instrument: BTC, order: order(1) };
    let request = cold.request(&query, NOW);
    assert_eq!(request.path, "/0/private/OpenOrders");
    assert!(String::from_utf8(request.body).unwrap().ends_with("&cl_ord_id=p000700000001"));
    assert!(matches!(cold.parse(&query, 200, r#"{"error":[],"result":{"open":{}}}"#), Err(RestError::Wait { wait_ms: 0, .. })));
    let request = cold.request(&query, NOW);
    assert_eq!(request.path, "/0/private/ClosedOrders");
    let closed = OPEN.replace("{\"open\":", "{\"closed\":").replace("\"status\":\"open\",\"opentm\"", "\"status\":\"canceled\",\"opentm\"");
    let reply = cold.parse(&query, 200, &format!(r#"{{"error":[],"result":{closed}}}"#));
    assert!(
        matches!(&reply, Ok(RestReply::Orders(orders)) if orders.len() == 1 && orders[0].status == VenueOrderStatus::Canceled),
        "{reply:?}"
    );
    // Right after a list of the open ones, the closed ones are asked at once; nowhere to be found is an empty answer.
    cold.ask(&RestQuery::OpenOrders, r#"{"open":{}}"#).unwrap();
    assert_eq!(cold.request(&query, NOW + S).path, "/0/private/ClosedOrders");
    assert_eq!(cold.parse(&query, 200, r#"{"error":[],"result":{"closed":{}}}"#), Ok(RestReply::Orders(vec![])));
    assert_eq!(cold.request(&query, NOW + 3 * S).path, "/0/private/OpenOrders", "the list is old by now");
}

#[test]
fn fills_are_paged_oldest_first_with_the_same_end() {
    let mut cold = Cold::new();
    let since_ns = 1_767_225_601 * S;
    let query = |cursor| RestQuery::Fills { instrument: BTC, since_ns, cursor };
    let row = |id: u64, time: &str| {
        format!(
            r#""T{id}":{{"ordertxid":"{VENUE_ID}","postxid":"","pair":"XXBTZUSD","time":{time},"type":"buy","ordertype":"limit","price":"61250.40000","cost":"306.25","fee":"0.49","vol":"0.00500000","margin":"0.0","misc":"","trade_id":{id},"maker":true}}"#
        )
    };
    let page = |rows: &[String], count: u64| format!(r#"{{"error":[],"result":{{"trades":{{{}}},"count":{count}}}}}"#, rows.join(","));
    let body = cold.body(&query(0), NOW);
    assert!(body.ends_with("&start=1767225600&end=1767225601&ofs=0&consolidate_taker=false"), "{body}");
    let other = row(9, "1767225601.6").replace("XXBTZUSD", "XETHZUSD");
    let reply = cold.parse(&query(0), 200, &page(&[row(3, "1767225601.50021"), other, row(2, "1767225601.4"), row(1, "1767225600.9")], 4));
    let Ok(RestReply::Fills { fills, next: None }) = reply else { panic!("{reply:?}") };
    assert_eq!(fills.iter().map(|f| f.trade_id).collect::<Vec<_>>(), [2, 3], "other pairs and older ones are left out");
    let last = &fills[1];
    assert_eq!((last.order, last.venue_order_id.as_str(), last.side, last.maker), (None, VENUE_ID, Side::Buy, true));
    assert_eq!(
        (last.price, last.qty, last.fee, last.fee_asset),
        (Price(612_504), Qty(500_000), Money::from_scaled(49, 2), Some(AssetId(0)))
    );
    assert_eq!(last.time_ns, 1_767_225_601_500_210_000);
    for (was, is) in [("\"price\":\"61250.40000\"", "\"price\":\"-61250.40000\""), ("\"vol\":\"0.00500000\"", "\"vol\":\"0.00000000\"")] {
        let reply = cold.parse(&query(0), 200, &page(&[row(3, "1767225601.5").replace(was, is)], 1));
        assert!(matches!(reply, Err(RestError::Malformed(_))), "{is}: {reply:?}");
    }
    // 120 rows: the first answer only counts them; then the last page comes first.
    cold.request(&query(0), NOW);
    let mut cursor = match cold.parse(&query(0), 200, &page(&[row(120, "1767225700")], 120)) {
        Ok(RestReply::Fills { fills, next: Some(next) }) if fills.is_empty() => next,
        other => panic!("{other:?}"),
    };
    let mut offsets = Vec::new();
    loop {
        let body = cold.body(&query(cursor), NOW + 60 * S);
        assert!(body.contains("&end=1767225601&"), "{body}");
        offsets.push(body.split("&ofs=").nth(1).unwrap().split('&').next().unwrap().to_owned());
        match cold.parse(&query(cursor), 200, &page(&[row(7, "1767225700")], 120)) {
            Ok(RestReply::Fills { next: Some(next), .. }) => cursor = next,
            Ok(RestReply::Fills { next: None, .. }) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(offsets, ["100", "50", "0"]);
}

#[test]
fn refusals_and_requests_to_wait_are_told_apart() {
    let mut cold = Cold::new();
    let far = cold.parse(&RestQuery::Balances, 200, r#"{"error":["EService:Throttled: 18446744073709551615"]}"#);
    assert!(matches!(far, Err(RestError::Wait { wait_ms: 60_000, .. })), "a time beyond all is no fault of ours: {far:?}");
    let query = RestQuery::Balances;
    cold.request(&query, NOW);
    let error = |text: &str| format!(r#"{{"error":["{text}"]}}"#);
    for (text, least_ms, most_ms) in [
        ("EAPI:Rate limit exceeded", 1_000, 10_000),
        ("EGeneral:Too many requests", 500, 10_000),
        ("EService:Unavailable", 100, 10_000),
        ("EService:Busy", 100, 10_000),
        ("EAPI:Invalid nonce", 0, 1_000),
        ("EService:Throttled: 1767225602", 1_877, 1_877),
    ] {
        let got = cold.parse(&query, 200, &error(text));
        assert!(matches!(&got, Err(RestError::Wait { wait_ms, .. }) if (least_ms..=most_ms).contains(wait_ms)), "{text}: {got:?}");
    }
    for text in ["EAPI:Invalid key", "EAPI:Invalid signature", "EGeneral:Permission denied", "EGeneral:Temporary lockout"] {
        assert_eq!(cold.parse(&query, 200, &error(text)), Err(RestError::Refused { status: 200, code: 0, text: text.into() }));
    }
    assert!(matches!(cold.parse(&query, 520, "<html>"), Err(RestError::Wait { .. })));
    assert!(matches!(cold.parse(&query, 429, "slow down"), Err(RestError::Wait { .. })));
    assert!(matches!(cold.parse(&query, 403, "<html>"), Err(RestError::Refused { status: 403, .. })));
    assert!(matches!(cold.parse(&query, 200, "<html>"), Err(RestError::Malformed(_))));
    assert!(matches!(cold.parse(&query, 200, r#"{"error":[]}"#), Err(RestError::Malformed(_))));
    assert!(cold.parse(&query, 200, r#"{"error":["WGeneral:Take care"],"result":{}}"#).is_ok(), "a warning is no refusal");
}

proptest::proptest! {
    #[test]
    fn hostile_answers_never_panic(which in 0usize..8, at in proptest::prelude::any::<proptest::sample::Index>(), byte: u8, cut: bool) {
        let queries = [
            RestQuery::ServerTime,
            RestQuery::Instruments { symbols: vec!["BTC/USD".into()] },
            RestQuery::BookSnapshot { instrument: BTC, depth: 1 },
            RestQuery::StreamToken,
            RestQuery::OpenOrders,
            RestQuery::Order { instrument: BTC, order: order(1) },
            RestQuery::Fills { instrument: BTC, since_ns: 0, cursor: 0 },
            RestQuery::Balances,
        ];
        let mut cold = Cold::new();
        let mut body = format!(r#"{{"error":[],"result":{}}}"#, OPEN.replace("{\"open\"", "{\"trades\":{\"T\":{\"pair\":\"XBTUSD\",\"time\":1.5,\"type\":\"buy\",\"price\":\"1\",\"vol\":\"1\",\"trade_id\":1}},\"count\":1,\"token\":\"x\",\"unixtime\":1,\"open\"")).into_bytes();
        let place = at.index(body.len());
        body[place] = byte;
        if cut {
            body.truncate(place);
        }
        for query in &queries[which..] {
            cold.request(query, NOW);
            let _ = cold.rest.parse(query, 200, &[], &body, &cold.instruments, &mut cold.assets);
        }
    }
}
