//! Binance REST: requests with their signatures, answers, reference data, what is refused.

mod binance_support;

use binance_support::*;
use engine_core::event::{InstrumentStatus, Side, VenueOrderStatus};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::OrderId;
use engine_core::instrument::{AssetTable, Instrument, InstrumentTable};
use proptest::prelude::*;
use venues::binance::BinanceRest;
use venues::binance::auth::{SIGNATURE_MAX, Signer};
use venues::rest::{HttpRequest, RestError, RestQuery, RestReply, Tables, VenueRest};
use venues::venue::Credentials;

const HMAC_KEY: &str = "k7Qm2ZrT0aVb9XyLd3Nf6Hs1PwCe8UjGo5iRtB4xKqYvMzA2nDlWgEhFpSuJc0Tr";
const HMAC_SECRET: &str = "s3CrEtZ9aB1xQ7wLmN0pV4kT8hR2yUfJ6gDeHc5iXoYnMzKbWvAqPtEuSrGjLd1F";

struct Desk {
    rest: BinanceRest,
    instruments: InstrumentTable,
    assets: AssetTable,
}

impl Desk {
    fn new(credentials: Option<Credentials>) -> Desk {
        let (instruments, assets) = tables();
        let settings = venues::venue::VenueSettings { credentials, ..settings() };
        Desk { rest: BinanceRest::new(&settings).unwrap(), instruments, assets }
    }

    fn hmac() -> Desk {
        let secret = HMAC_SECRET.to_owned().into();
        Desk::new(Some(Credentials { api_key: HMAC_KEY.into(), secret, ed25519_seed: None }))
    }

    fn request(&mut self, query: &RestQuery) -> Result<HttpRequest, RestError> {
        self.rest.request(query, Tables { instruments: &self.instruments, assets: &self.assets }, NOW)
    }

    fn parse(&mut self, query: &RestQuery, status: u16, body: &str) -> Result<RestReply, RestError> {
        self.parse_with(query, status, &[], body)
    }

    fn parse_with(&mut self, query: &RestQuery, status: u16, headers: &[(&str, &str)], body: &str) -> Result<RestReply, RestError> {
        let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        self.rest.parse(query, status, &headers, body.as_bytes(), &self.instruments, &mut self.assets)
    }
}

#[test]
fn signed_requests_carry_key_time_and_a_signature_over_what_is_sent() {
    let mut desk = Desk::hmac();
    let order = OrderId::new(7, 42);
    let request = desk.request(&RestQuery::Order { instrument: BTC, order }).unwrap();
    assert_eq!((request.method, request.headers), ("GET", vec![("X-MBX-APIKEY".to_owned(), HMAC_KEY.to_owned())]));
    let (query, signature) = request.path.strip_prefix("/api/v3/order?").unwrap().split_once("&signature=").unwrap();
    assert_eq!(query, "symbol=BTCUSDT&origClientOrderId=p00070000002a&recvWindow=5000&timestamp=1767225600123");
    let mut expected = [0; SIGNATURE_MAX];
    let len = Signer::hmac(HMAC_SECRET).sign(query.as_bytes(), &mut expected).unwrap();
    assert_eq!(signature.as_bytes(), &expected[..len]);

    let mut desk = Desk::new(Some(credentials()));
    let request = desk.request(&RestQuery::CancelInstrument { instrument: BTC }).unwrap();
    assert_eq!(request.method, "DELETE");
    let (query, signature) = request.path.strip_prefix("/api/v3/openOrders?").unwrap().split_once("&signature=").unwrap();
    let mut seed = [0; 32];
    const_hex::decode_to_slice(ED_SEED, &mut seed).unwrap();
    let len = Signer::ed25519(&seed).unwrap().sign(query.as_bytes(), &mut expected).unwrap();
    let base64 = std::str::from_utf8(&expected[..len]).unwrap();
    assert_eq!(signature, base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"), "percent-encoded after signing");
}

#[test]
fn public_requests_need_no_account_and_private_ones_say_so() {
    let mut desk = Desk::new(None);
    let path = |r: Result<HttpRequest, RestError>| r.map(|r| r.path);
    assert_eq!(path(desk.request(&RestQuery::ServerTime)), Ok("/api/v3/time".into()));
    let depth = RestQuery::BookSnapshot { instrument: BTC, depth: 9_000 };
    assert_eq!(path(desk.request(&depth)), Ok("/api/v3/depth?symbol=BTCUSDT&limit=5000".into()));
    let symbols = RestQuery::Instruments { symbols: vec!["BTCUSDT".into(), "ETHUSDT".into()] };
    assert_eq!(path(desk.request(&symbols)), Ok("/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22%2C%22ETHUSDT%22%5D".into()));
    for query in [RestQuery::OpenOrders, RestQuery::Balances, RestQuery::CancelAll, RestQuery::StreamToken] {
        assert!(matches!(desk.request(&query), Err(RestError::Unsupported(_))), "{query:?}");
    }
}

#[test]
fn snapshots_come_best_first() {
    let mut desk = Desk::new(None);
    let query = RestQuery::BookSnapshot { instrument: BTC, depth: 1_000 };
    let body = r#"{"lastUpdateId":54321000740,"bids":[["68250.00","2"],["68250.10","1.50000000"]],"asks":[["68250.11","0.42000000"]]}"#;
    let bids = vec![(Price(6_825_010), Qty(150_000_000)), (Price(6_825_000), Qty(200_000_000))];
    let asks = vec![(Price(6_825_011), Qty(42_000_000))];
    assert_eq!(desk.parse(&query, 200, body), Ok(RestReply::BookSnapshot { sequence: 54_321_000_740, bids, asks }));
    for bad in ["", "[]", "{\"lastUpdateId\":1,\"bids\":[]}", &body.replace("68250.11", "68250.111"), &format!("{body}x")] {
        assert!(matches!(desk.parse(&query, 200, bad), Err(RestError::Malformed(_))), "{bad}");
    }
}

const INFO: &str = r#"{"timezone":"UTC","serverTime":1767225600000,"rateLimits":[],"exchangeFilters":[],"symbols":[
{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","baseAssetPrecision":8,"quoteAsset":"USDT","quotePrecision":8,"orderTypes":["LIMIT","LIMIT_MAKER","MARKET"],"amendAllowed":true,"isSpotTradingAllowed":true,"filters":[{"filterType":"PRICE_FILTER","minPrice":"0.01000000","maxPrice":"1000000.00000000","tickSize":"0.01000000"},{"filterType":"LOT_SIZE","minQty":"0.00001500","maxQty":"9000.00000000","stepSize":"0.00001000"},{"filterType":"MARKET_LOT_SIZE","minQty":"0.00000000","maxQty":"80.00000000","stepSize":"0.00000000"},{"filterType":"NOTIONAL","minNotional":"5.00000000","applyMinToMarket":true},{"filterType":"NEW_FILTER","minQty":{"odd":1}},{"filterType":"MAX_NUM_ORDERS","maxNumOrders":200}]},
{"symbol":"OLDUSDT","status":"BREAK","baseAsset":"OLD","baseAssetPrecision":8,"quoteAsset":"USDT","quotePrecision":8,"orderTypes":["LIMIT"],"filters":[{"filterType":"PRICE_FILTER","minPrice":"0","maxPrice":"0","tickSize":"0.00000000"},{"filterType":"LOT_SIZE","minQty":"1","maxQty":"100","stepSize":"1.00000000"},{"filterType":"MIN_NOTIONAL","minNotional":"10"}]},
{"symbol":"ODDUSDT","status":"SLEEPING","baseAsset":"ODD","baseAssetPrecision":8,"quoteAsset":"USDT","quotePrecision":8,"filters":[{"filterType":"PRICE_FILTER","tickSize":"5"},{"filterType":"LOT_SIZE","stepSize":"100","minQty":"150","maxQty":"950"}]},
{"symbol":"BADUSDT","status":"TRADING","baseAsset":"BAD","baseAssetPrecision":8,"quoteAsset":"USDT","quotePrecision":8,"filters":[{"filterType":"LOT_SIZE","stepSize":"1"}]},
{"symbol":"FINEUSDT","status":"TRADING","baseAsset":"FINE","baseAssetPrecision":8,"quoteAsset":"USDT","quotePrecision":8,"filters":[{"filterType":"PRICE_FILTER","tickSize":"0.000000000001"},{"filterType":"LOT_SIZE","stepSize":"0.0000001"}]},
{"symbol":"WORSEUSDT","status":7}]}"#;

#[test]
fn reference_data_is_read_symbol_by_symbol() {
    let mut desk = Desk::new(None);
    let query = RestQuery::Instruments { symbols: Vec::new() };
    let Ok(RestReply::Instruments { instruments, quarantined }) = desk.parse(&query, 200, INFO) else { panic!("decodes") };
    let by = |symbol: &str| -> &Instrument { instruments.iter().find(|i| i.symbol == symbol).unwrap() };
    let btc = by("BTCUSDT");
    assert_eq!((btc.price_scale, btc.tick, btc.qty_scale, btc.lot), (2, Price(1), 5, Qty(1)));
    assert_eq!((btc.qty_min, btc.qty_max, btc.notional_min), (Qty(2), Qty(900_000_000), Money::from_scaled(5, 0)), "bounds go inwards");
    assert_eq!(
        (btc.status, btc.capabilities.reduce, btc.capabilities.replace, btc.capabilities.post_only),
        (InstrumentStatus::Trading, true, false, true)
    );
    assert_eq!((desk.assets.name(btc.base), desk.assets.name(btc.quote)), ("BTC", "USDT"));
    let old = by("OLDUSDT");
    assert_eq!((old.price_scale, old.tick, old.qty_scale, old.lot), (8, Price(1), 0, Qty(1)), "no tick: the quote's precision");
    assert_eq!((old.status, old.notional_min, old.capabilities.post_only), (InstrumentStatus::Halted, Money::from_scaled(10, 0), false));
    let odd = by("ODDUSDT");
    assert_eq!(
        (odd.tick, odd.lot, odd.qty_min, odd.qty_max, odd.status),
        (Price(5), Qty(100), Qty(200), Qty(900), InstrumentStatus::Unknown)
    );
    let names: Vec<&str> = quarantined.iter().map(|(symbol, _)| symbol.as_str()).collect();
    assert_eq!(names, ["BADUSDT", "FINEUSDT", "WORSEUSDT"]);
    let mut table = InstrumentTable::new();
    for instrument in instruments {
        table.add(instrument).unwrap();
    }
}

#[test]
fn records_of_orders_fills_and_balances() {
    let mut desk = Desk::hmac();
    let order = |client: &str, status: &str| {
        format!(
            r#"{{"symbol":"BTCUSDT","orderId":38500112233,"orderListId":-1,"clientOrderId":"{client}","price":"68250.10000000","origQty":"0.00150000","executedQty":"0.00050000","cummulativeQuoteQty":"34.12505000","status":"{status}","timeInForce":"GTC","type":"LIMIT","side":"BUY","stopPrice":"0.00000000","icebergQty":"0.00000000","time":1767225600131,"updateTime":1767225600139,"isWorking":true,"workingTime":1767225600131,"origQuoteOrderQty":"0.00000000","selfTradePreventionMode":"EXPIRE_MAKER"}}"#
        )
    };
    let body = format!(
        "[{},{},{}]",
        order("p00070000002a", "PARTIALLY_FILLED"),
        order("eng-7f3a_01", "NEW"),
        order("p00070000002b", "TELEPORTED")
    );
    let Ok(RestReply::Orders(orders)) = desk.parse(&RestQuery::OpenOrders, 200, &body) else { panic!("decodes") };
    assert_eq!(orders.len(), 2, "an unknown status costs its record only");
    assert_eq!((orders[0].order, orders[1].order), (Some(OrderId::new(7, 42)), None));
    assert_eq!((orders[0].price, orders[0].qty, orders[0].filled), (Price(6_825_010), Qty(150_000), Qty(50_000)));
    assert_eq!((orders[0].status, orders[0].side, orders[0].venue_order_id.as_str()), (VenueOrderStatus::Open, Side::Buy, "38500112233"));
    let one = RestQuery::Order { instrument: BTC, order: OrderId::new(7, 42) };
    assert!(
        matches!(desk.parse(&one, 200, &order("p00070000002a", "EXPIRED_IN_MATCH")), Ok(RestReply::Orders(o)) if o[0].status == VenueOrderStatus::Expired)
    );
    assert!(
        matches!(desk.parse(&one, 200, &order("p00070000002a", "TELEPORTED")), Err(RestError::Malformed(_))),
        "never taken for not found"
    );
    assert_eq!(desk.parse(&one, 400, r#"{"code":-2013,"msg":"Order does not exist."}"#), Ok(RestReply::Orders(Vec::new())));

    let trade = r#"{"symbol":"BTCUSDT","id":4400123457,"orderId":38500112233,"orderListId":-1,"price":"68250.10000000","qty":"0.00050000","quoteQty":"34.12505000","commission":"0.00000050","commissionAsset":"BTC","time":1767225600139,"isBuyer":true,"isMaker":true,"isBestMatch":true}"#;
    let first = RestQuery::Fills { instrument: BTC, since_ns: NOW, cursor: 0 };
    assert!(
        desk.request(&first).unwrap().path.starts_with("/api/v3/myTrades?symbol=BTCUSDT&startTime=1767225600123&limit=1000&recvWindow")
    );
    let Ok(RestReply::Fills { fills, next }) = desk.parse(&first, 200, &format!("[{trade}]")) else { panic!("decodes") };
    assert_eq!((fills[0].trade_id, fills[0].price, fills[0].qty, fills[0].maker), (4_400_123_457, Price(6_825_010), Qty(50_000), true));
    assert_eq!((fills[0].fee, fills[0].fee_asset), (Money::parse(b"0.0000005").unwrap(), desk.assets.find(b"BTC")));
    assert_eq!((fills[0].time_ns, next), (1_767_225_600_139 * MS, Some(4_400_123_458)), "the rest goes by id");
    let more = RestQuery::Fills { instrument: BTC, since_ns: NOW, cursor: 4_400_123_458 };
    assert!(desk.request(&more).unwrap().path.contains("&fromId=4400123458&"));
    assert_eq!(desk.parse(&more, 200, "[]"), Ok(RestReply::Fills { fills: Vec::new(), next: None }));
    let finer = trade.replace("68250.10000000", "68250.105");
    assert!(matches!(desk.parse(&first, 200, &format!("[{finer}]")), Err(RestError::Malformed(_))), "fills are whole or an error");

    let body = r#"{"makerCommission":10,"canTrade":true,"balances":[{"asset":"BTC","free":"0.50049950","locked":"0.1"},{"asset":"XYZ","free":"1","locked":"0"}],"uid":1}"#;
    let total = Money::parse(b"0.6004995").unwrap();
    let rows = vec![(desk.assets.find(b"BTC").unwrap(), total, Money::parse(b"0.5004995").unwrap())];
    assert_eq!(desk.parse(&RestQuery::Balances, 200, body), Ok(RestReply::Balances(rows)));
    let cancel = RestQuery::CancelInstrument { instrument: BTC };
    assert_eq!(desk.parse(&cancel, 200, "[{},{}]"), Ok(RestReply::Canceled(2)));
    assert_eq!(desk.parse(&cancel, 400, r#"{"code":-2011,"msg":"Unknown order sent."}"#), Ok(RestReply::Canceled(0)));
    assert_eq!(desk.parse(&RestQuery::ServerTime, 200, r#"{"serverTime":1767225600123}"#), Ok(RestReply::ServerTime(NOW)));
}

#[test]
fn refusals_and_orders_to_wait() {
    let mut desk = Desk::hmac();
    let body = r#"{"code":-1003,"msg":"Too much request weight used; ..."}"#;
    let wait = desk.parse_with(&RestQuery::Balances, 429, &[("retry-after", "7")], body);
    assert_eq!(wait, Err(RestError::Wait { wait_ms: 7_000, text: "Too much request weight used; ...".into() }));
    let refused = desk.parse(&RestQuery::Balances, 401, r#"{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}"#);
    assert!(matches!(refused, Err(RestError::Refused { status: 401, code: -2015, .. })));
    assert!(matches!(desk.parse(&RestQuery::Balances, 503, "<html>busy</html>"), Err(RestError::Refused { status: 503, code: 0, .. })));
}

#[test]
fn what_can_wait_is_put_off_when_the_weight_is_nearly_used() {
    let mut desk = Desk::hmac();
    desk.request(&RestQuery::ServerTime).unwrap();
    desk.parse_with(&RestQuery::ServerTime, 200, &[("X-MBX-USED-WEIGHT-1M", "4790")], r#"{"serverTime":1}"#).unwrap();
    let depth = RestQuery::BookSnapshot { instrument: BTC, depth: 1_000 };
    assert!(matches!(desk.request(&depth), Err(RestError::Wait { wait_ms, .. }) if wait_ms == 60_000 - 123));
    assert!(desk.request(&RestQuery::Balances).is_ok(), "reconciliation gets through");
    let tables = Tables { instruments: &desk.instruments, assets: &desk.assets };
    assert!(desk.rest.request(&depth, tables, NOW + 60 * S).is_ok(), "next minute");
}

proptest! {
    #[test]
    fn mutated_answers_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), which in 0usize..6) {
        let mut desk = Desk::hmac();
        let queries = [
            RestQuery::ServerTime,
            RestQuery::Instruments { symbols: Vec::new() },
            RestQuery::BookSnapshot { instrument: BTC, depth: 5 },
            RestQuery::OpenOrders,
            RestQuery::Fills { instrument: BTC, since_ns: 0, cursor: 0 },
            RestQuery::Balances,
        ];
        let mut bytes = INFO.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = desk.rest.parse(&queries[which], 200, &[], &bytes, &desk.instruments, &mut desk.assets);
    }
}
