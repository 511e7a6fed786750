//! The Kraken state machine: error texts, sparse executions, windows and checksums, faults.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;
use crate::config::AccountConfig;
use crate::credentials::KrakenCredentials;
use crate::decimal::parse_fixed;
use crate::flow::FlowConfig;
use crate::venue::reference_prices;
use crate::wire::Payload;

const NOW: u64 = 1_767_225_600_000_000_000;
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const PUBLIC: ConnId = 1;
const PRIVATE: ConnId = 2;

struct Desk {
    venue: Kraken,
    keys: KrakenCredentials,
    references: References,
    now_ns: u64,
    nonce: u64,
    token: String,
}

fn upgrade(path: &str) -> Upgrade {
    let request = HttpRequest { method: "GET".into(), path: path.into(), ..HttpRequest::default() };
    Upgrade { peer: PEER, request, second_port: false }
}

impl Desk {
    fn new(change: impl FnOnce(&mut KrakenConfig)) -> Desk {
        let keys = KrakenCredentials::generate().expect("random");
        let mut config = KrakenConfig::default();
        config.venue.accounts =
            vec![AccountConfig { keys: keys.api_keys(), balances: vec![("USDT".into(), "10000".into()), ("BTC".into(), "1".into())] }];
        change(&mut config);
        let flow = FlowConfig::default();
        let references = References::new(3, &flow, reference_prices(&config.venue));
        let venue = Kraken::new(config, 3, &flow, &references, NOW).expect("valid");
        let mut desk = Desk { venue, keys, references, now_ns: NOW, nonce: 1, token: String::new() };
        desk.venue.open(NOW, PUBLIC, &upgrade("/v2")).expect("known path");
        desk.venue.open(NOW, PRIVATE, &upgrade("/v2-auth")).expect("known path");
        desk.venue.outbox().drain();
        desk.token = desk.rest("GetWebSocketsToken", "")["result"]["token"].as_str().expect("token").to_owned();
        desk
    }

    fn rest_raw(&mut self, name: &str, body: &str, key: &str, signature: Option<&str>) -> Value {
        let body = format!("nonce={}{}{body}", self.nonce, if body.is_empty() { "" } else { "&" });
        self.post(name, "application/x-www-form-urlencoded", body, key, signature)
    }

    fn rest_json(&mut self, name: &str, body: Value) -> Value {
        self.nonce += 1;
        let mut body = body;
        body["nonce"] = json!(self.nonce.to_string());
        let key = self.keys.key.clone();
        self.post(name, "application/json", body.to_string(), &key, None)
    }

    fn post(&mut self, name: &str, content_type: &str, body: String, key: &str, signature: Option<&str>) -> Value {
        let reply = self.reply(name, content_type, body, key, signature);
        assert_eq!(reply.status, 200);
        serde_json::from_slice(&reply.body).expect("JSON")
    }

    fn reply(&mut self, name: &str, content_type: &str, body: String, key: &str, signature: Option<&str>) -> HttpReply {
        let path = format!("/0/private/{name}");
        let nonce = self.nonce.to_string();
        let good = rest::sign(&self.keys.secret, &path, &nonce, body.as_bytes()).expect("key");
        let headers = BTreeMap::from([
            ("api-key".to_owned(), key.to_owned()),
            ("api-sign".to_owned(), signature.map_or(good, str::to_owned)),
            ("content-type".to_owned(), content_type.to_owned()),
        ]);
        let request = HttpRequest { method: "POST".into(), path, query: String::new(), headers, body: body.into_bytes() };
        self.venue.http(self.now_ns, PEER, &request)
    }

    fn rest(&mut self, name: &str, body: &str) -> Value {
        self.nonce += 1;
        let key = self.keys.key.clone();
        self.rest_raw(name, body, &key, None)
    }

    fn public(&mut self, name: &str) -> Value {
        let request = HttpRequest { method: "GET".into(), path: format!("/0/public/{name}"), ..HttpRequest::default() };
        serde_json::from_slice(&self.venue.http(self.now_ns, PEER, &request).body).expect("JSON")
    }

    fn texts(&mut self, conn: ConnId) -> Vec<String> {
        let outputs: Vec<_> = self.venue.outbox().drain().collect();
        outputs
            .into_iter()
            .filter(|output| output.conn == conn)
            .filter_map(|output| match output.action {
                Action::Send(Payload::Text(text)) => Some(text.as_str().to_owned()),
                _ => None,
            })
            .collect()
    }

    fn drain(&mut self, conn: ConnId) -> Vec<Value> {
        self.texts(conn).iter().map(|text| serde_json::from_str(text).unwrap_or(Value::Null)).collect()
    }

    fn ask(&mut self, conn: ConnId, method: &str, params: Value) -> Vec<Value> {
        let request = json!({"method": method, "params": params, "req_id": 7}).to_string();
        self.venue.on_text(self.now_ns, conn, &request);
        self.drain(conn)
    }

    fn private(&mut self, method: &str, params: Value) -> Vec<Value> {
        let mut params = params;
        params["token"] = json!(self.token);
        self.ask(PRIVATE, method, params)
    }

    fn add(&mut self, changes: Value) -> Vec<Value> {
        let mut params = json!({"order_type": "limit", "side": "buy", "symbol": "BTC/USDT", "order_qty": 0.01, "limit_price": 60000.0});
        for (name, value) in changes.as_object().expect("object") {
            if value.is_null() {
                params.as_object_mut().expect("object").remove(name);
            } else {
                params[name] = value.clone();
            }
        }
        self.private("add_order", params)
    }

    fn tick(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_ns += 1_000_000;
            self.references.step();
            self.venue.tick(self.now_ns, 1_000, &self.references);
        }
    }
}

#[test]
fn every_refusal_has_the_venues_text() {
    let mut desk = Desk::new(|_| {});
    for (changes, text) in [
        (json!({"order_qty": 5}), "EOrder:Insufficient funds"),
        (json!({"order_qty": 0.00001}), "EOrder:Order minimum not met"),
        (json!({"limit_price": 1.0, "order_qty": 0.001}), "EOrder:Cost minimum not met"),
        (json!({"limit_price": 60000.01}), "EOrder:Tick size check failed"),
        (json!({"limit_price": -1}), "EOrder:Invalid price"),
        (json!({"limit_price": null}), "EOrder:Invalid price"),
        (json!({"symbol": "XBT/USDT"}), "Currency pair not supported XBT/USDT"),
        (json!({"side": "long"}), "EGeneral:Invalid arguments:side"),
        (json!({"order_qty": "many"}), "EGeneral:Invalid arguments:volume"),
        (json!({"foo": 1}), "Unsupported field: 'foo' for the given msg type: add order"),
        (json!({"deadline": "2025-12-31T23:59:59.000Z"}), "EService:Deadline elapsed"),
        (json!({"cl_ord_id": "a", "order_userref": 1}), "EGeneral:Invalid arguments"),
    ] {
        let answer = desk.add(changes.clone()).remove(0);
        assert_eq!((answer["success"].as_bool(), answer["error"].as_str()), (Some(false), Some(text)), "{changes}");
        assert_eq!((answer["req_id"].as_i64(), answer["method"].as_str()), (Some(7), Some("add_order")));
    }
    for (method, params, text) in [
        ("cancel_order", json!({"order_id": ["OAAAAA-AAAAA-AAAAAA"]}), "EOrder:Invalid order"),
        ("amend_order", json!({"order_id": "OAAAAA-AAAAA-AAAAAA", "order_qty": 1}), "EOrder:Unknown order"),
        ("cancel_all_orders_after", json!({"timeout": 90000}), "EGeneral:Invalid arguments:timeout"),
    ] {
        assert_eq!(desk.private(method, params).remove(0)["error"], text, "{method}");
    }
    desk.add(json!({"cl_ord_id": "same"}));
    let no_change = desk.private("amend_order", json!({"cl_ord_id": "same", "order_qty": 0.01}));
    assert_eq!(no_change.last().expect("answered")["error"], "EOrder:No amendable parameters");
    assert_eq!(desk.ask(PUBLIC, "add_order", json!({})).remove(0)["error"], "EGeneral:Permission denied");
    assert_eq!(desk.ask(PRIVATE, "add_order", json!({"token": "x"})).remove(0)["error"], "EAPI:Invalid token");
    desk.now_ns += 901_000_000_000;
    assert_eq!(desk.add(json!({})).remove(0)["error"], "ESession:Invalid session");
}

#[test]
fn rest_checks_key_signature_and_nonce() {
    let mut desk = Desk::new(|_| {});
    let key = desk.keys.key.clone();
    assert_eq!(desk.rest_raw("Balance", "", &key, None)["error"][0], "EAPI:Invalid nonce", "a nonce is used once");
    desk.nonce += 1;
    assert_eq!(desk.rest_raw("Balance", "", "stranger", None)["error"][0], "EAPI:Invalid key");
    assert_eq!(desk.rest_raw("Balance", "", &key, Some("AAAA"))["error"][0], "EAPI:Invalid signature");
    assert_eq!(desk.rest("Balance", "")["result"]["XXBT"], "1.0000000000");
    assert_eq!(desk.rest("AddOrder", "pair=NOSUCH")["error"][0], "EQuery:Unknown asset pair");
    assert_eq!(desk.rest("CancelOrder", "txid=OAAAAA-AAAAA-AAAAAA")["error"][0], "EOrder:Unknown order");
    let placed = desk.rest("AddOrder", "pair=XBTUSDT&type=buy&ordertype=limit&volume=0.01&price=60000&oflags=post&cl_ord_id=r1");
    assert_eq!(placed["result"]["descr"]["order"], "buy 0.01000000 XBTUSDT @ limit 60000.0");
    let txid = placed["result"]["txid"][0].as_str().expect("txid").to_owned();
    let open = desk.rest("OpenOrders", "cl_ord_id=r1");
    assert_eq!(open["result"]["open"][&txid]["descr"]["price"], "60000.0");
    let extended = desk.rest("BalanceEx", "");
    assert_eq!(extended["result"]["USDT"]["hold_trade"], "601.5600000000", "cost and taker fee");
    assert_eq!(desk.rest("CancelOrder", "cl_ord_id=r1")["result"]["count"], 1);
    assert_eq!(desk.rest("QueryOrders", &format!("txid={txid}"))["result"][&txid]["status"], "canceled");
}

#[test]
fn executions_are_sparse_numbered_and_complete() {
    let mut desk = Desk::new(|_| {});
    let messages = desk.private("subscribe", json!({"channel": "executions", "snap_orders": true}));
    assert_eq!(messages[0]["success"], true);
    assert_eq!((messages[1]["type"].as_str(), messages[1]["sequence"].as_u64()), (Some("snapshot"), Some(1)));
    let balances = desk.private("subscribe", json!({"channel": "balances"}));
    assert_eq!(balances[1]["data"].as_array().map(Vec::len), Some(2));

    let messages = desk.add(json!({"cl_ord_id": "e1", "order_qty": 0.02, "limit_price": 80000.0, "time_in_force": "ioc"}));
    assert_eq!(messages[0]["result"]["cl_ord_id"], "e1");
    let records: Vec<&Value> = messages.iter().filter(|m| m["channel"] == "executions").map(|m| &m["data"][0]).collect();
    let kinds: Vec<&str> = records.iter().filter_map(|r| r["exec_type"].as_str()).collect();
    assert_eq!((&kinds[..2], kinds.last()), (&["pending_new", "new"][..], Some(&"filled")));
    assert!(records[1].get("symbol").is_none(), "a new record is sparse");
    let filled = records.last().expect("filled");
    assert!(filled.get("last_qty").is_none() && filled["cum_qty"] == 0.02);
    let sequences: Vec<u64> = messages.iter().filter(|m| m["channel"] == "executions").filter_map(|m| m["sequence"].as_u64()).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1) && sequences[0] == 2);
    let trades = records.iter().filter(|r| r["exec_type"] == "trade").count();
    assert_eq!(messages.iter().filter(|m| m["channel"] == "balances").count(), 2 * trades);
    let last_quote = messages.iter().rfind(|m| m["channel"] == "balances" && m["data"][0]["asset"] == "USDT").expect("quote");
    let ledger = desk.venue.exchange.ledger.balance(AccountId(2), desk.venue.exchange.markets[0].quote).total;
    assert_eq!(last_quote["data"][0]["balance"].to_string(), ledger.to_string(), "the last balance is the ledger's");

    let post = desk.add(json!({"cl_ord_id": "e2", "limit_price": 80000.0, "post_only": true}));
    assert_eq!(post[0]["success"], true, "acknowledged first");
    assert_eq!(post.last().expect("record")["data"][0]["reason"], "Post only order");

    desk.add(json!({"cl_ord_id": "e3"}));
    let amended = desk.private("amend_order", json!({"cl_ord_id": "e3", "limit_price": 59000.5}));
    assert!(amended[0]["result"]["amend_id"].as_str().is_some_and(|id| id.starts_with('T')));
    assert_eq!(
        (amended[1]["data"][0]["exec_type"].as_str(), amended[1]["data"][0]["limit_price"].as_f64()),
        (Some("amended"), Some(59000.5))
    );
    let cancelled = desk.private("cancel_order", json!({"cl_ord_id": ["e3", "gone"]}));
    assert_eq!(cancelled[0]["result"], json!({"cl_ord_id": "e3"}));
    assert_eq!(cancelled[1]["error"], "EOrder:Invalid order", "one answer per id");
    assert_eq!(cancelled[2]["data"][0]["cancel_reason"], "User requested");
}

#[test]
fn a_deposit_is_told_to_the_balances_channel() {
    let mut desk = Desk::new(|_| {});
    desk.private("subscribe", json!({"channel": "balances"}));
    let account = desk.venue.account_of(&desk.keys.key).expect("known");
    desk.venue.deposit(NOW, account, "USDT", Amount::parse("-0.5").expect("valid"));
    let message = desk.drain(PRIVATE).remove(0);
    assert_eq!(message["sequence"], 2);
    assert_eq!((message["data"][0]["type"].as_str(), message["data"][0]["balance"].as_f64()), (Some("withdrawal"), Some(9999.5)));
}

#[test]
fn batches_answer_row_by_row() {
    let mut desk = Desk::new(|_| {});
    let row = |id: &str, qty: f64| json!({"order_type": "limit", "side": "buy", "order_qty": qty, "limit_price": 60000.0, "cl_ord_id": id});
    let answer =
        desk.private("batch_add", json!({"symbol": "BTC/USDT", "orders": [row("b1", 0.01), row("b2", 1.0), row("b3", 0.01)]})).remove(0);
    assert_eq!(
        (answer["result"][0]["cl_ord_id"].as_str(), answer["result"][1]["error"].as_str()),
        (Some("b1"), Some("EOrder:Insufficient funds"))
    );
    let bad = desk.private("batch_add", json!({"symbol": "BTC/USDT", "orders": [row("b4", 0.01), row("b5", 1e-9)]})).remove(0);
    assert_eq!(bad["success"], false, "a bad row refuses the whole batch");
    let cancelled = desk.private("batch_cancel", json!({"orders": [], "cl_ord_id": ["b1", "b3"]})).remove(0);
    assert_eq!(cancelled["result"]["count"], 2);
    desk.add(json!({}));
    assert_eq!(desk.private("cancel_all", json!({})).remove(0)["result"]["count"], 1);
}

#[test]
fn the_dead_mans_switch_cancels_everything_once() {
    let mut desk = Desk::new(|_| {});
    desk.private("subscribe", json!({"channel": "executions"}));
    desk.add(json!({}));
    let armed = desk.private("cancel_all_orders_after", json!({"timeout": 1})).remove(0);
    assert_eq!(armed["result"]["triggerTime"], "2026-01-01T00:00:01.000000Z");
    desk.tick(900);
    assert_eq!(desk.venue.exchange.open_orders(AccountId(2)).count(), 1);
    desk.tick(200);
    assert_eq!(desk.venue.exchange.open_orders(AccountId(2)).count(), 0);
    desk.private("cancel_all_orders_after", json!({"timeout": 1}));
    let disarmed = desk.private("cancel_all_orders_after", json!({"timeout": 0})).remove(0);
    assert_eq!(disarmed["result"]["triggerTime"], "0");
    desk.add(json!({}));
    desk.tick(1_500);
    assert_eq!(desk.venue.exchange.open_orders(AccountId(2)).count(), 1);
}

/// A client's book: applies a message's raw numbers, truncates, checks the sum as the venue tells.
fn apply(held: &mut [BTreeMap<i64, i64>; 2], text: &str, depth: usize) -> bool {
    #[derive(serde::Deserialize)]
    struct Row<'a> {
        #[serde(borrow)]
        price: &'a RawValue,
        #[serde(borrow)]
        qty: &'a RawValue,
    }
    #[derive(serde::Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        bids: Vec<Row<'a>>,
        #[serde(borrow)]
        asks: Vec<Row<'a>>,
        checksum: u32,
    }
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        r#type: &'a str,
        #[serde(borrow)]
        data: [Data<'a>; 1],
    }
    let message: Message<'_> = serde_json::from_str(text).expect("a book message");
    let [data] = message.data;
    if message.r#type == "snapshot" {
        held.iter_mut().for_each(BTreeMap::clear);
    }
    for (side, rows) in held.iter_mut().zip([&data.bids, &data.asks]) {
        for row in rows {
            let (price, qty) = (parse_fixed(row.price.get(), 1).expect("price"), parse_fixed(row.qty.get(), 8).expect("qty"));
            assert_eq!(row.qty.get().split('.').nth(1).map(str::len), Some(8), "fixed decimals");
            if qty == 0 {
                side.remove(&price);
            } else {
                side.insert(price, qty);
            }
        }
    }
    while held[0].len() > depth {
        held[0].pop_first();
    }
    while held[1].len() > depth {
        held[1].pop_last();
    }
    let mut sum_text = String::new();
    for (price, qty) in held[1].iter().take(10).chain(held[0].iter().rev().take(10)) {
        sum_text += &format!("{price}{qty}");
    }
    crc32fast::hash(sum_text.as_bytes()) == data.checksum
}

#[test]
fn checksums_hold_at_every_depth_until_one_is_spoilt_or_a_message_is_lost() {
    for depth in [10, 25, 100] {
        let mut desk = Desk::new(|_| {});
        let request = json!({"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USDT"], "depth": depth}}).to_string();
        desk.venue.on_text(desk.now_ns, PUBLIC, &request);
        let mut held: [BTreeMap<i64, i64>; 2] = Default::default();
        let mut good = 0;
        for _ in 0..1_200 {
            for text in desk.texts(PUBLIC).iter().filter(|text| text.starts_with(r#"{"channel":"book""#)) {
                assert!(apply(&mut held, text, depth));
                good += 1;
            }
            desk.tick(1);
        }
        assert!(good > 300, "{good} messages at depth {depth}");
        desk.texts(PUBLIC);
        desk.venue.inject(desk.now_ns, &Fault::BadChecksum { count: 1 });
        desk.tick(30);
        let spoilt = desk.texts(PUBLIC).iter().filter(|text| !apply(&mut held, text, depth)).count();
        assert!(spoilt >= 1);
        desk.venue.inject(desk.now_ns, &Fault::SkipSequence { count: 20 });
        desk.tick(60);
        let wrong = desk.texts(PUBLIC).iter().filter(|text| !apply(&mut held, text, depth)).count();
        assert!(wrong >= 1, "what was lost shows in the sum");
    }
}

#[test]
fn a_crossed_book_has_a_right_checksum_and_is_taken_back() {
    let mut desk = Desk::new(|_| {});
    let messages = desk.ask(PUBLIC, "subscribe", json!({"channel": "book", "symbol": ["BTC/USDT"]}));
    assert_eq!(messages[0]["result"]["depth"], 10);
    let mut held: [BTreeMap<i64, i64>; 2] = Default::default();
    desk.ask(PUBLIC, "unsubscribe", json!({"channel": "book", "symbol": ["BTC/USDT"]}));
    let request = json!({"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USDT"]}}).to_string();
    desk.venue.on_text(desk.now_ns, PUBLIC, &request);
    desk.venue.inject(desk.now_ns, &Fault::CrossedBook);
    let texts = desk.texts(PUBLIC);
    assert!(apply(&mut held, &texts[1], 10), "snapshot");
    assert!(apply(&mut held, &texts[2], 10), "crossed");
    assert!(held[0].last_key_value().expect("bids").0 > held[1].first_key_value().expect("asks").0);
    assert!(apply(&mut held, &texts[3], 10), "restored");
    assert!(held[0].last_key_value().expect("bids").0 < held[1].first_key_value().expect("asks").0);
}

#[test]
fn subscriptions_fail_in_the_venues_words() {
    let mut desk = Desk::new(|_| {});
    for (params, text) in [
        (json!({"channel": "book", "symbol": ["FOO/USD"]}), "Currency pair not supported FOO/USD"),
        (json!({"channel": "nosuch", "symbol": ["BTC/USD"]}), "Subscription name invalid"),
        (json!({"channel": "book", "symbol": ["BTC/USD"], "depth": 11}), "Subscription depth not supported"),
        (json!({"channel": "book"}), "Malformed request"),
    ] {
        assert_eq!(desk.ask(PUBLIC, "subscribe", params).remove(0)["error"], text);
    }
    let two = desk.ask(PUBLIC, "subscribe", json!({"channel": "trade", "symbol": ["BTC/USD", "ETH/USDT"]}));
    assert_eq!(two.iter().filter(|message| message["success"] == true).count(), 2, "one answer per symbol");
    assert_eq!(desk.ask(PUBLIC, "subscribe", json!({"channel": "trade", "symbol": ["BTC/USD"]})).remove(0)["error"], "Already subscribed");
    for garbage in ["", "{", "[]", "null", r#"{"method":1}"#, r#"{"method":"ping","req_id":"x"}"#] {
        desk.venue.on_text(NOW, PUBLIC, garbage);
        assert_eq!(desk.drain(PUBLIC).remove(0)["success"], false, "{garbage}");
    }
    let pong = desk.ask(PUBLIC, "ping", json!({})).remove(0);
    assert_eq!((pong["method"].as_str(), pong["req_id"].as_i64()), (Some("pong"), Some(7)));
    let instrument = desk.ask(PUBLIC, "subscribe", json!({"channel": "instrument"})).remove(1);
    assert_eq!(instrument["data"]["pairs"][0]["price_precision"], 1);
}

#[test]
fn heartbeats_idle_closes_and_maintenance() {
    let mut desk = Desk::new(|config| {
        config.idle_close_ms = 5_000;
        config.venue.messages_per_s = 0;
    });
    desk.ask(PUBLIC, "subscribe", json!({"channel": "trade", "symbol": ["BTC/USD"]}));
    desk.tick(2_200);
    let beats = desk.drain(PUBLIC).iter().filter(|message| message["channel"] == "heartbeat").count();
    assert_eq!(beats, 2);
    desk.venue.inject(desk.now_ns, &Fault::MaintenanceOn);
    assert_eq!(desk.drain(PUBLIC)[0]["data"][0]["system"], "maintenance");
    assert_eq!(desk.add(json!({})).remove(0)["error"], "EService:Unavailable");
    desk.venue.inject(desk.now_ns, &Fault::MaintenanceOff);
    assert_eq!(desk.drain(PUBLIC)[0]["data"][0]["system"], "online");
    desk.tick(3_500);
    let closed: Vec<_> = desk.venue.outbox().drain().filter(|o| matches!(o.action, Action::Close(1000, _))).map(|o| o.conn).collect();
    assert!(closed.contains(&PUBLIC));
}

#[test]
fn the_trading_counter_refuses_a_flood() {
    let mut desk = Desk::new(|config| config.trading_threshold = 5.0);
    let answers: Vec<Value> = (0..7).map(|_| desk.add(json!({"order_qty": 0.001})).remove(0)).collect();
    assert_eq!(answers.iter().filter(|answer| answer["success"] == true).count(), 5);
    assert_eq!(answers[6]["error"], "EOrder:Rate limit exceeded");
}

#[test]
fn hostile_numbers_are_refused() {
    let mut desk = Desk::new(|_| {});
    for value in ["9223372036854775807", "170141183460469231731687303715.88", "1e30", "-1", "1e-2147483648", "999999999999"] {
        let raw: Value = serde_json::from_str(&format!("\"{value}\"")).expect("a string");
        for change in [json!({"order_qty": raw}), json!({"limit_price": raw})] {
            assert_eq!(desk.add(change).remove(0)["success"], false, "{value}");
        }
        let spend = json!({"order_type": "market", "limit_price": null, "order_qty": null, "cash_order_qty": raw});
        assert_eq!(desk.add(spend).remove(0)["success"], false, "{value}");
    }
    assert_eq!(desk.add(json!({})).remove(0)["success"], true);
}

#[test]
fn rest_batches_answer_row_by_row() {
    let mut desk = Desk::new(|_| {});
    let row = |id: &str, volume: &str| json!({"ordertype": "limit", "type": "buy", "volume": volume, "price": "60000.0", "cl_ord_id": id});
    let answer =
        desk.rest_json("AddOrderBatch", json!({"pair": "XBTUSDT", "orders": [row("b1", "0.01"), row("b2", "1"), row("b3", "0.01")]}));
    let orders = &answer["result"]["orders"];
    assert_eq!(orders[0]["descr"]["order"], "buy 0.01000000 XBTUSDT @ limit 60000.0");
    assert_eq!(orders[1]["error"], "EOrder:Insufficient funds", "only that row");
    let txid = orders[2]["txid"].clone();
    let cancelled = desk.rest_json("CancelOrderBatch", json!({"orders": [txid], "cl_ord_ids": ["b1"]}));
    assert_eq!(cancelled["result"]["count"], 2);
    let single = desk.rest_json("AddOrderBatch", json!({"pair": "XBTUSDT", "orders": [row("b4", "0.01")]}));
    assert_eq!(single["error"][0], "EGeneral:Invalid arguments:orders");
}

#[test]
fn orders_are_found_by_their_client_ids_open_or_closed() {
    let mut desk = Desk::new(|_| {});
    desk.add(json!({"cl_ord_id": "open"}));
    desk.add(json!({"cl_ord_id": "done"}));
    desk.private("cancel_order", json!({"cl_ord_id": ["done"]}));
    let only = |answer: Value, list: &str| -> Vec<String> {
        let rows = answer["result"][list].as_object().expect("rows").clone();
        rows.values().map(|row| row["cl_ord_id"].as_str().unwrap_or("").to_owned()).collect()
    };
    assert_eq!(only(desk.rest("OpenOrders", "cl_ord_id=open"), "open"), ["open"]);
    assert_eq!(only(desk.rest("OpenOrders", "cl_ord_id=done"), "open"), [""; 0]);
    assert_eq!(only(desk.rest("ClosedOrders", "cl_ord_id=done"), "closed"), ["done"]);
    assert_eq!(only(desk.rest("ClosedOrders", "cl_ord_id=open"), "closed"), [""; 0]);
}

/// All rows of a history, page by page.
fn history(desk: &mut Desk, body: &str) -> Vec<(String, Value)> {
    let mut rows = Vec::new();
    loop {
        desk.now_ns += 10_000_000_000;
        let answer = desk.rest("TradesHistory", &format!("{body}&ofs={}", rows.len()));
        let page = answer["result"]["trades"].as_object().expect("rows").clone();
        assert!(page.len() <= 50, "a page holds 50");
        rows.extend(page);
        if rows.len() as u64 >= answer["result"]["count"].as_u64().expect("a total") {
            return rows;
        }
    }
}

#[test]
fn trade_history_comes_in_pages_and_is_consolidated_unless_asked_not_to_be() {
    let mut desk = Desk::new(|config| config.trading_threshold = 1_000.0);
    for turn in 0..70 {
        desk.now_ns += 1_000_000;
        let side = if turn % 2 == 0 { "buy" } else { "sell" };
        let answer = desk.add(json!({"order_type": "market", "side": side, "limit_price": null, "order_qty": 0.05})).remove(0);
        assert_eq!(answer["success"], true, "{answer}");
        desk.tick(3);
        desk.drain(PRIVATE);
    }
    let account = desk.venue.account_of(&desk.keys.key).expect("known");
    let truth: Vec<(String, String)> =
        desk.venue.exchange.fills(account).iter().map(|fill| (ids::text('T', fill.exec_id), fill.fee.to_text(5))).collect();
    let rows = history(&mut desk, "consolidate_taker=false");
    assert!(rows.len() > 70, "{} fills", rows.len());
    assert_eq!(rows.len(), truth.len());
    for (id, fee) in &truth {
        assert!(rows.iter().any(|(key, row)| key == id && row["fee"] == **fee), "{id}");
    }
    let merged = history(&mut desk, "consolidate_taker=true");
    assert_eq!(merged.len(), 70, "one row an order");
    assert!(merged.iter().all(|(_, row)| row["vol"] == "0.05000000"));
    let last = rows.iter().filter_map(|(_, row)| row["time"].as_f64()).fold(0.0, f64::max);
    let since = desk.rest("TradesHistory", &format!("consolidate_taker=false&start={last}"));
    assert_eq!(since["result"]["count"], 0, "start is exclusive");
}

#[test]
fn call_counters_refuse_in_the_venues_words() {
    let mut desk = Desk::new(|_| {});
    let errors =
        |answers: Vec<Value>| answers.iter().filter_map(|answer| answer["error"][0].as_str()).map(str::to_owned).collect::<Vec<_>>();
    let private: Vec<Value> = (0..6).map(|_| desk.rest("TradesHistory", "")).collect();
    assert_eq!(errors(private), ["EAPI:Rate limit exceeded"; 2], "4 points a call, the token's call before it");
    let public: Vec<Value> = (0..31).map(|_| desk.public("Time")).collect();
    assert_eq!(errors(public), ["EGeneral:Too many requests"]);
    desk.now_ns += 60_000_000_000;
    assert!(errors(vec![desk.rest("TradesHistory", ""), desk.public("Time")]).is_empty(), "time forgives");
    desk.venue.inject(desk.now_ns, &Fault::RateLimit { count: 2 });
    assert_eq!(errors(vec![desk.rest("Balance", "")]), ["EAPI:Rate limit exceeded"]);
    assert_eq!(desk.add(json!({})).remove(0)["error"], "EOrder:Rate limit exceeded");
    assert_eq!(desk.add(json!({})).remove(0)["success"], true);
}

#[test]
fn faults_on_answers_and_executions_do_what_they_say() {
    let mut desk = Desk::new(|_| {});
    desk.private("subscribe", json!({"channel": "executions"}));
    let answers = |messages: &[Value]| messages.iter().filter(|message| message.get("req_id").is_some()).count();
    let kinds = |messages: &[Value]| -> Vec<(u64, String)> {
        let reports = messages.iter().filter(|message| message["channel"] == "executions");
        reports.map(|m| (m["sequence"].as_u64().expect("numbered"), m["data"][0]["exec_type"].as_str().unwrap_or("").to_owned())).collect()
    };
    desk.venue.inject(NOW, &Fault::LoseAcks { count: 1 });
    let messages = desk.add(json!({"cl_ord_id": "lost"}));
    assert_eq!((answers(&messages), kinds(&messages).len()), (0, 2), "placed and reported, not answered");
    desk.venue.inject(NOW, &Fault::DuplicateAcks { count: 1 });
    assert_eq!(answers(&desk.add(json!({"cl_ord_id": "twice"}))), 2);
    desk.venue.inject(NOW, &Fault::DuplicateExecutions { count: 1 });
    let twice = kinds(&desk.add(json!({"cl_ord_id": "dup"})));
    assert_eq!((twice.len(), twice[0].clone()), (3, twice[1].clone()), "the very same message");
    desk.venue.inject(NOW, &Fault::LoseExecutions { count: 1 });
    let gap = kinds(&desk.add(json!({"cl_ord_id": "gap"})));
    assert_eq!((gap.len(), gap[0].0), (1, twice[2].0 + 2), "the lost report shows in the sequence");
    desk.venue.inject(desk.now_ns, &Fault::SilencePrivate { ms: 50 });
    let silent = desk.add(json!({"cl_ord_id": "silent"}));
    assert_eq!((answers(&silent), kinds(&silent).len()), (1, 0), "answered but not reported");
    desk.tick(40);
    assert!(kinds(&desk.drain(PRIVATE)).is_empty());
    desk.tick(15);
    assert_eq!(kinds(&desk.drain(PRIVATE)).len(), 2, "late, not lost");
    desk.venue.inject(desk.now_ns, &Fault::UnknownEnum);
    assert_eq!(kinds(&desk.drain(PRIVATE))[0].1, "mystery");
    desk.venue.inject(desk.now_ns, &Fault::CancelOnlyOn);
    assert_eq!(desk.drain(PRIVATE)[0]["data"][0]["system"], "cancel_only");
    assert_eq!(desk.add(json!({"cl_ord_id": "late"})).remove(0)["error"], "EService:Market in cancel_only mode");
    assert_eq!(desk.private("cancel_order", json!({"cl_ord_id": ["gap"]})).remove(0)["success"], true);
    desk.venue.inject(desk.now_ns, &Fault::CancelOnlyOff);
    desk.venue.outbox().drain();
    assert_eq!(desk.add(json!({"cl_ord_id": "late"})).remove(0)["success"], true);
    desk.venue.inject(desk.now_ns, &Fault::CloseConnections { scope: Scope::Private });
    let closed: Vec<_> = desk.venue.outbox().drain().filter(|o| matches!(o.action, Action::Close(1001, _))).map(|o| o.conn).collect();
    assert_eq!(closed, [PRIVATE]);
}

#[test]
fn an_order_over_rest_may_be_placed_though_the_answer_knows_nothing() {
    let mut desk = Desk::new(|_| {});
    desk.venue.inject(NOW, &Fault::UnknownOutcome { count: 1 });
    desk.nonce += 1;
    let body = format!("nonce={}&pair=XBTUSDT&type=buy&ordertype=limit&volume=0.01&price=60000&cl_ord_id=u1", desk.nonce);
    let key = desk.keys.key.clone();
    let reply = desk.reply("AddOrder", "application/x-www-form-urlencoded", body, &key, None);
    assert_eq!((reply.status, reply.body.starts_with(b"<html>")), (502, true));
    assert_eq!(desk.rest("OpenOrders", "cl_ord_id=u1")["result"]["open"].as_object().map(serde_json::Map::len), Some(1));
}

#[test]
fn data_about_strangers_is_sent_on_command() {
    let mut desk = Desk::new(|config| config.venue.messages_per_s = 0);
    desk.ask(PUBLIC, "subscribe", json!({"channel": "book", "symbol": ["BTC/USDT"]}));
    desk.venue.inject(NOW, &Fault::UnknownSymbol);
    assert_eq!(desk.drain(PUBLIC)[0]["data"][0]["symbol"], "NOSUCH/USD");
    desk.venue.inject(NOW, &Fault::UnknownEnum);
    assert_eq!(desk.drain(PUBLIC)[0]["channel"], "mystery");
    desk.venue.inject(NOW, &Fault::MalformedJson { count: 1 });
    desk.venue.inject(NOW, &Fault::CrossedBook);
    assert!(desk.drain(PUBLIC)[0].is_null(), "not JSON");
}
