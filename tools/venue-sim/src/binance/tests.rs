//! The Binance state machine: error texts, order life, sequences, faults.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::*;
use crate::config::AccountConfig;
use crate::credentials::{BinanceCredentials, ed25519_sign, hmac_sha256_hex};
use crate::flow::FlowConfig;
use crate::venue::reference_prices;

const NOW: u64 = 1_767_225_600_000_000_000;
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const MARKET: ConnId = 1;
const API: ConnId = 2;

struct Desk {
    venue: Binance,
    keys: BinanceCredentials,
    references: References,
    now_ns: u64,
}

fn upgrade(path: &str, query: &str) -> Upgrade {
    let request = HttpRequest { method: "GET".into(), path: path.into(), query: query.into(), ..HttpRequest::default() };
    Upgrade { peer: PEER, request, second_port: false }
}

impl Desk {
    fn new(change: impl FnOnce(&mut BinanceConfig)) -> Desk {
        let keys = BinanceCredentials::generate().expect("random");
        let mut config = BinanceConfig::default();
        config.venue.accounts =
            vec![AccountConfig { keys: keys.api_keys(), balances: vec![("USDT".into(), "10000".into()), ("BTC".into(), "1".into())] }];
        change(&mut config);
        let flow = FlowConfig::default();
        let references = References::new(3, &flow, reference_prices(&config.venue));
        let venue = Binance::new(config, 3, &flow, &references, NOW).expect("valid");
        let mut desk = Desk { venue, keys, references, now_ns: NOW };
        desk.venue.open(NOW, API, &upgrade("/ws-api/v3", "")).expect("known path");
        desk
    }

    fn logged_on() -> Desk {
        let mut desk = Desk::new(|_| {});
        desk.logon();
        desk
    }

    fn logon(&mut self) -> Value {
        let timestamp = (self.now_ns / 1_000_000).to_string();
        let payload = format!("apiKey={}&timestamp={timestamp}", self.keys.ed25519_key);
        let signature = ed25519_sign(&self.keys.ed25519_seed, payload.as_bytes()).expect("key");
        let key = self.keys.ed25519_key.clone();
        self.ask("session.logon", json!({"apiKey": key, "timestamp": NOW / 1_000_000, "signature": signature}))
    }

    /// Every message that has become ready for a connection.
    fn drain(&mut self, conn: ConnId) -> Vec<Value> {
        let outputs: Vec<_> = self.venue.outbox().drain().collect();
        outputs
            .into_iter()
            .filter(|output| output.conn == conn)
            .filter_map(|output| match output.action {
                Action::Send(Payload::Text(text)) => Some(serde_json::from_str(text.as_str()).unwrap_or(Value::Null)),
                _ => None,
            })
            .collect()
    }

    fn all(&mut self, method: &str, params: Value) -> Vec<Value> {
        let request = json!({"id": "t", "method": method, "params": params}).to_string();
        self.venue.on_text(self.now_ns, API, &request);
        self.drain(API)
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.all(method, params).into_iter().next().expect("answered")
    }

    fn order(&mut self, changes: Value) -> Value {
        let mut params = json!({"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC",
            "price": "60000.00", "quantity": "0.01000", "timestamp": self.now_ns / 1_000_000});
        for (name, value) in changes.as_object().expect("object") {
            if value.is_null() {
                params.as_object_mut().expect("object").remove(name);
            } else {
                params[name] = value.clone();
            }
        }
        self.ask("order.place", params)
    }

    fn error(answer: &Value) -> (i64, i64, String) {
        let error = &answer["error"];
        (answer["status"].as_i64().unwrap_or(0), error["code"].as_i64().unwrap_or(0), error["msg"].as_str().unwrap_or("").to_owned())
    }

    fn signed_get(&mut self, method: &str, path: &str, query: &str) -> (u16, Value) {
        let query = format!("{query}&timestamp={}", self.now_ns / 1_000_000);
        let query = query.trim_start_matches('&').to_owned();
        let signature = hmac_sha256_hex(self.keys.hmac_secret.as_bytes(), query.as_bytes());
        self.http(method, path, &format!("{query}&signature={signature}"))
    }

    fn http(&mut self, method: &str, path: &str, query: &str) -> (u16, Value) {
        let headers = BTreeMap::from([("x-mbx-apikey".to_owned(), self.keys.hmac_key.clone())]);
        let request = HttpRequest { method: method.into(), path: path.into(), query: query.into(), headers, body: Vec::new() };
        let reply = self.venue.http(self.now_ns, PEER, &request);
        (reply.status, serde_json::from_slice(&reply.body).expect("JSON"))
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
fn every_refusal_has_the_venues_code_and_text() {
    let mut desk = Desk::logged_on();
    let insufficient = "Account has insufficient balance for requested action.";
    let rows: Vec<(Value, i64, &str)> = vec![
        (json!({"quantity": "5"}), -2010, insufficient),
        (json!({"side": "SELL", "price": "70000", "quantity": "2"}), -2010, insufficient),
        (json!({"type": "LIMIT_MAKER", "timeInForce": null, "price": "80000"}), -2010, "Order would immediately match and take."),
        (json!({"price": "60000.001"}), -1013, "Filter failure: PRICE_FILTER"),
        (json!({"price": "400000"}), -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
        (json!({"quantity": "0.000001"}), -1013, "Filter failure: LOT_SIZE"),
        (json!({"quantity": "0.00001"}), -1013, "Filter failure: NOTIONAL"),
        (json!({"price": "60000.000000001"}), -1111, "Parameter 'price' has too much precision."),
        (json!({"type": "MARKET", "price": null}), -1106, "Parameter 'timeInForce' sent when not required."),
        (json!({"type": "LIMIT_MAKER"}), -1106, "Parameter 'timeInForce' sent when not required."),
        (json!({"selfTradePreventionMode": "X"}), -1013, "This symbol does not allow the specified self-trade prevention mode."),
        (json!({"symbol": "NOSUCH"}), -1121, "Invalid symbol."),
        (json!({"quantity": null}), -1102, "Mandatory parameter 'quantity' was not sent, was empty/null, or malformed."),
        (
            json!({"newClientOrderId": "a b"}),
            -1100,
            "Illegal characters found in parameter 'newClientOrderId'; legal range is '^[a-zA-Z0-9-_]{1,36}$'.",
        ),
        (json!({"foo": "1"}), -1104, "Not all sent parameters were read; read '7' parameter(s) but was sent '8'."),
        (json!({"timestamp": NOW / 1_000_000 - 5_001}), -1021, "Timestamp for this request is outside of the recvWindow."),
        (json!({"timestamp": NOW / 1_000_000 + 1_000}), -1021, "Timestamp for this request was 1000ms ahead of the server's time."),
        (json!({"timestamp": null}), -1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed."),
    ];
    for (changes, code, text) in rows {
        let answer = desk.order(changes.clone());
        assert_eq!(Desk::error(&answer), (400, code, text.to_owned()), "{changes}");
    }
    assert_eq!(desk.order(json!({"newClientOrderId": "twin"}))["status"], 200);
    assert_eq!(Desk::error(&desk.order(json!({"newClientOrderId": "twin"}))), (400, -2010, "Duplicate order sent.".into()));
    let stamp = json!(NOW / 1_000_000);
    for (method, params, code, text) in [
        ("order.cancel", json!({"symbol": "BTCUSDT", "orderId": 1, "timestamp": stamp}), -2011, "Unknown order sent."),
        ("order.status", json!({"symbol": "BTCUSDT", "orderId": 1, "timestamp": stamp}), -2013, "Order does not exist."),
        ("openOrders.cancelAll", json!({"symbol": "ETHUSDT", "timestamp": stamp}), -2011, "Unknown order sent."),
        (
            "order.amend.keepPriority",
            json!({"symbol": "BTCUSDT", "origClientOrderId": "twin", "newQty": "0.02", "timestamp": stamp}),
            -2038,
            "Order amend (quantity increase) is not supported.",
        ),
        (
            "order.amend.keepPriority",
            json!({"symbol": "BTCUSDT", "origClientOrderId": "twin", "newQty": "0.01", "timestamp": stamp}),
            -2038,
            "The requested action would change no state; rejecting.",
        ),
        (
            "order.amend.keepPriority",
            json!({"symbol": "BTCUSDT", "orderId": 1, "newQty": "0.01", "timestamp": stamp}),
            -2038,
            "Unknown order sent.",
        ),
    ] {
        let answer = desk.ask(method, params);
        assert_eq!(Desk::error(&answer), (400, code, text.to_owned()), "{method}");
    }
}

#[test]
fn requests_without_a_good_key_or_signature_are_refused() {
    let mut desk = Desk::new(|_| {});
    assert_eq!(Desk::error(&desk.order(json!({}))).1, -2015, "not logged on");
    let query = format!("symbol=BTCUSDT&timestamp={}", NOW / 1_000_000);
    assert_eq!(desk.http("GET", "/api/v3/openOrders", &format!("{query}&signature=00")).1["code"], -1022);
    assert_eq!(desk.http("GET", "/api/v3/openOrders", &query).1["code"], -1102);
    desk.keys.hmac_key = "A".repeat(64);
    assert_eq!(
        desk.http("GET", "/api/v3/openOrders", &query),
        (401, json!({"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}))
    );
    desk.keys.hmac_key = "short".into();
    assert_eq!(desk.http("GET", "/api/v3/openOrders", &query).1["code"], -2014);
    let hmac_logon = json!({"apiKey": desk.keys.hmac_secret, "timestamp": NOW / 1_000_000, "signature": "x"});
    assert_eq!(Desk::error(&desk.ask("session.logon", hmac_logon)).1, -2015);
    assert_eq!(desk.logon()["result"]["authorizedSince"], NOW / 1_000_000);
    assert_eq!(desk.ask("session.status", json!({}))["result"]["apiKey"], desk.keys.ed25519_key);
    assert!(desk.ask("session.logout", json!({}))["result"]["apiKey"].is_null());
}

#[test]
fn an_order_lives_from_new_over_fills_to_its_end_in_the_user_stream() {
    let mut desk = Desk::logged_on();
    assert_eq!(desk.ask("userDataStream.subscribe", json!({}))["result"], json!({"subscriptionId": 0}));
    assert_eq!(Desk::error(&desk.ask("userDataStream.subscribe", json!({}))).1, -2035);

    let stamp = json!(NOW / 1_000_000);
    let messages = desk.all(
        "order.place",
        json!({"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.00200", "newClientOrderId": "m1", "timestamp": stamp}),
    );
    let result = &messages[0]["result"];
    assert_eq!((result["status"].as_str(), result["executedQty"].as_str()), (Some("FILLED"), Some("0.00200000")));
    let fills = result["fills"].as_array().expect("FULL by default");
    assert!(!fills.is_empty() && fills.iter().all(|fill| fill["commissionAsset"] == "BTC"));
    let events: Vec<&Value> = messages[1..].iter().map(|message| &message["event"]).collect();
    let kinds: Vec<_> = events.iter().map(|event| event["x"].as_str().or(event["e"].as_str()).unwrap_or("")).collect();
    assert_eq!(kinds.first(), Some(&"NEW"));
    assert_eq!(kinds.last(), Some(&"outboundAccountPosition"));
    assert_eq!(events[events.len() - 2]["X"], "FILLED");
    let free = events[events.len() - 1]["B"][0]["f"].as_str().expect("base").to_owned();
    assert_eq!(free, "1.00199800", "the fee comes out of what was bought");

    let placed = desk.order(json!({"newClientOrderId": "r1", "newOrderRespType": "ACK"}));
    let id = placed["result"]["orderId"].clone();
    assert!(placed["result"].get("price").is_none(), "ACK says no more than the ids");
    assert_eq!(placed["rateLimits"].as_array().map(Vec::len), Some(3));
    let messages = desk.all(
        "order.amend.keepPriority",
        json!({"symbol": "BTCUSDT", "orderId": id, "newQty": "0.005", "newClientOrderId": "r1", "timestamp": stamp}),
    );
    assert_eq!(messages[0]["result"]["amendedOrder"]["qty"], "0.00500000");
    assert_eq!((messages[1]["event"]["x"].as_str(), messages[1]["event"]["q"].as_str()), (Some("REPLACED"), Some("0.00500000")));
    let messages = desk.all("order.cancel", json!({"symbol": "BTCUSDT", "orderId": id, "newClientOrderId": "c1", "timestamp": stamp}));
    assert_eq!(messages[0]["result"]["status"], "CANCELED");
    let event = &messages[1]["event"];
    assert_eq!((event["x"].as_str(), event["c"].as_str(), event["C"].as_str()), (Some("CANCELED"), Some("c1"), Some("r1")));
    assert_eq!(messages[2]["event"]["B"][1]["l"], "0.00000000");

    let ioc = desk.all("order.place", json!({"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "IOC", "price": "60000", "quantity": "0.01", "timestamp": stamp}));
    assert_eq!(ioc[0]["result"]["status"], "EXPIRED");
    assert_eq!(ioc[2]["event"]["eR"], "UNFILLED_IOC_QUANTITY_EXPIRED");
    let fok = desk.order(json!({"timeInForce": "FOK"}));
    assert_eq!(fok["result"]["expiryReason"], "UNFILLED_FOK_ORDER_EXPIRED");

    let (status, trades) = desk.signed_get("GET", "/api/v3/myTrades", "symbol=BTCUSDT");
    assert_eq!((status, trades.as_array().map(Vec::len)), (200, Some(fills.len())));
    let ended = desk.all("userDataStream.unsubscribe", json!({}));
    assert!(ended.iter().any(|message| message["event"]["e"] == "eventStreamTerminated"));
}

#[test]
fn a_deposit_is_told_to_the_user_stream() {
    let mut desk = Desk::logged_on();
    desk.ask("userDataStream.subscribe", json!({}));
    let account = desk.venue.account_of(&desk.keys.hmac_key).expect("known");
    desk.venue.deposit(NOW, account, "USDT", Amount::parse("500").expect("valid"));
    let event = desk.drain(API).remove(0)["event"].clone();
    assert_eq!(
        (event["e"].as_str(), event["a"].as_str(), event["d"].as_str()),
        (Some("balanceUpdate"), Some("USDT"), Some("500.00000000"))
    );
}

#[test]
fn cancel_replace_answers_each_half() {
    let mut desk = Desk::logged_on();
    let base = json!({"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "60000",
        "quantity": "0.01", "cancelReplaceMode": "STOP_ON_FAILURE", "timestamp": NOW / 1_000_000});
    let with = |changes: Value| {
        let mut params = base.clone();
        for (name, value) in changes.as_object().expect("object") {
            params[name] = value.clone();
        }
        params
    };
    let placed = desk.order(json!({"newClientOrderId": "a"}));
    assert_eq!(placed["status"], 200);
    let good = desk.ask("order.cancelReplace", with(json!({"cancelOrigClientOrderId": "a", "newClientOrderId": "b"})));
    assert_eq!((good["result"]["cancelResult"].as_str(), good["result"]["newOrderResult"].as_str()), (Some("SUCCESS"), Some("SUCCESS")));
    let stopped = desk.ask("order.cancelReplace", with(json!({"cancelOrigClientOrderId": "a"})));
    assert_eq!(Desk::error(&stopped), (400, -2022, "Order cancel-replace failed.".into()));
    assert_eq!(stopped["error"]["data"]["newOrderResult"], "NOT_ATTEMPTED");
    assert!(stopped["error"]["data"]["newOrderResponse"].is_null());
    let partly = desk.ask("order.cancelReplace", with(json!({"cancelOrigClientOrderId": "a", "cancelReplaceMode": "ALLOW_FAILURE"})));
    assert_eq!(Desk::error(&partly), (409, -2021, "Order cancel-replace partially failed.".into()));
    let poor = desk.ask("order.cancelReplace", with(json!({"cancelOrigClientOrderId": "b", "quantity": "1"})));
    assert_eq!((Desk::error(&poor).1, poor["error"]["data"]["newOrderResponse"]["code"].as_i64()), (-2021, Some(-2010)));
}

#[test]
fn depth_ids_are_contiguous_and_rebuild_the_book_at_any_interval() {
    for interval in [Some(0), Some(7), None] {
        let mut desk = Desk::new(|config| config.depth_interval_ms = interval);
        desk.venue
            .open(NOW, MARKET, &upgrade("/stream", "streams=btcusdt@depth@100ms/btcusdt@bookTicker/btcusdt@trade"))
            .expect("known path");
        desk.tick(20);
        desk.drain(MARKET);
        let (_, snapshot) = desk.http("GET", "/api/v3/depth", "symbol=BTCUSDT&limit=5000");
        let mut last = snapshot["lastUpdateId"].as_u64().expect("id");
        let mut sides: [BTreeMap<String, String>; 2] = Default::default();
        let apply = |side: &mut BTreeMap<String, String>, rows: &Value| {
            for row in rows.as_array().expect("rows") {
                let (price, qty) = (row[0].as_str().expect("price"), row[1].as_str().expect("qty"));
                if qty == "0.00000000" {
                    side.remove(price);
                } else {
                    side.insert(price.into(), qty.into());
                }
            }
        };
        apply(&mut sides[0], &snapshot["bids"]);
        apply(&mut sides[1], &snapshot["asks"]);
        let mut first = true;
        let (mut events, mut tickers, mut trade_ids) = (0, 0, Vec::new());
        for _ in 0..1_500 {
            desk.tick(1);
            for message in desk.drain(MARKET) {
                let data = &message["data"];
                match message["stream"].as_str() {
                    Some("btcusdt@depth@100ms") => {
                        let (from, to) = (data["U"].as_u64().expect("U"), data["u"].as_u64().expect("u"));
                        if to <= last {
                            continue;
                        }
                        if first {
                            assert!(from <= last + 1 && last < to);
                        } else {
                            assert_eq!(from, last + 1, "contiguous");
                        }
                        first = false;
                        last = to;
                        events += 1;
                        apply(&mut sides[0], &data["b"]);
                        apply(&mut sides[1], &data["a"]);
                    }
                    Some("btcusdt@bookTicker") => tickers += 1,
                    Some("btcusdt@trade") => trade_ids.push(data["t"].as_u64().expect("t")),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(events >= 10 && tickers > 0, "{interval:?}: {events} events, {tickers} tickers");
        assert!(trade_ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "trade ids are sequential");
        if last == desk.venue.streams.update_id(0) {
            let (_, now) = desk.http("GET", "/api/v3/depth", "symbol=BTCUSDT&limit=5000");
            for (side, name) in sides.iter().zip(["bids", "asks"]) {
                assert_eq!(side.len(), now[name].as_array().expect("rows").len());
            }
        } else {
            assert_ne!(interval, Some(0), "without an interval nothing waits");
        }
    }
}

#[test]
fn a_skipped_message_is_a_gap_and_a_crossed_book_is_taken_back() {
    let mut desk = Desk::new(|_| {});
    desk.venue.open(NOW, MARKET, &upgrade("/ws/btcusdt@depth", "")).expect("known path");
    desk.tick(50);
    let before = desk.drain(MARKET);
    let last = before.last().expect("messages")["u"].as_u64().expect("u");
    desk.venue.inject(desk.now_ns, &Fault::SkipSequence { count: 1 });
    desk.tick(50);
    let after = desk.drain(MARKET);
    assert!(after[0]["U"].as_u64().expect("U") > last + 1, "a gap");

    let last = after.last().expect("messages")["u"].as_u64().expect("u");
    desk.venue.inject(desk.now_ns, &Fault::CrossedBook);
    let crossed = desk.drain(MARKET).remove(0);
    assert_eq!(crossed["U"].as_u64(), Some(last + 1), "in sequence");
    let price: f64 = crossed["b"][0][0].as_str().expect("price").parse().expect("number");
    let (_, book) = desk.http("GET", "/api/v3/ticker/bookTicker", "symbol=BTCUSDT");
    assert!(price > book["askPrice"].as_str().expect("ask").parse::<f64>().expect("number"));
    desk.tick(5);
    let restored = desk.drain(MARKET).into_iter().any(|message| {
        message["b"].as_array().is_some_and(|rows| rows.iter().any(|row| row[0] == crossed["b"][0][0] && row[1] == "0.00000000"))
    });
    assert!(restored);
}

#[test]
fn subscriptions_are_acknowledged_listed_ended_and_malformed_ones_refused() {
    let mut desk = Desk::new(|config| config.stream_messages_per_s = 100);
    desk.venue.open(NOW, MARKET, &upgrade("/ws", "")).expect("known path");
    let mut ask = |text: &str| {
        desk.venue.on_text(NOW, MARKET, text);
        desk.drain(MARKET).remove(0)
    };
    assert_eq!(ask(r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","nosuch@depth"],"id":7}"#), json!({"result": null, "id": 7}));
    assert_eq!(ask(r#"{"method":"LIST_SUBSCRIPTIONS","id":"x"}"#), json!({"result": ["btcusdt@trade", "nosuch@depth"], "id": "x"}));
    assert_eq!(ask(r#"{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":null}"#), json!({"result": null, "id": null}));
    for bad in ["BTCUSDT@trade", "btcusdt", "btcusdt@nosuch", "@trade"] {
        let answer = ask(&json!({"method": "SUBSCRIBE", "params": [bad], "id": 1}).to_string());
        assert_eq!(answer["error"]["code"], 2, "{bad}");
    }
    assert_eq!(ask("{")["error"]["code"], 3);
    assert_eq!(ask(r#"{"method":"SUBSCRIBE","params":[1],"id":1}"#)["error"]["code"], 1);
    assert_eq!(ask(r#"{"method":"SET_PROPERTY","params":["combined",true],"id":1}"#), json!({"result": null, "id": 1}));
}

#[test]
fn too_many_messages_on_a_stream_connection_close_it() {
    let mut desk = Desk::new(|_| {});
    desk.venue.open(NOW, MARKET, &upgrade("/ws", "")).expect("known path");
    for _ in 0..6 {
        desk.venue.on_text(NOW, MARKET, r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#);
    }
    let closed = desk.venue.outbox().drain().any(|output| matches!(output.action, Action::Close(1008, _)));
    assert!(closed);
}

#[test]
fn order_limits_refuse_with_429_and_say_when_to_come_back() {
    let mut desk = Desk::new(|config| config.orders_per_10s = 2);
    desk.logon();
    for _ in 0..2 {
        assert_eq!(desk.order(json!({}))["status"], 200);
    }
    let refused = desk.order(json!({}));
    assert_eq!(Desk::error(&refused), (429, -1015, "Too many new orders; current limit is 2 orders per 10 SECOND.".into()));
    assert!(refused["error"]["data"]["retryAfter"].as_u64() > Some(NOW / 1_000_000));
}

#[test]
fn faults_on_answers_and_reports_do_what_they_say() {
    let mut desk = Desk::logged_on();
    desk.ask("userDataStream.subscribe", json!({}));
    let stamp = json!(NOW / 1_000_000);
    let place = |desk: &mut Desk, id: &str| {
        desk.all("order.place", json!({"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "60000", "quantity": "0.001", "newClientOrderId": id, "timestamp": stamp}))
    };
    desk.venue.inject(NOW, &Fault::LoseAcks { count: 1 });
    let messages = place(&mut desk, "lost");
    assert!(messages.iter().all(|message| message.get("id").is_none()), "no answer");
    assert_eq!(messages[0]["event"]["c"], "lost", "but it was placed");
    desk.venue.inject(NOW, &Fault::DuplicateAcks { count: 1 });
    assert_eq!(place(&mut desk, "twice").iter().filter(|message| message.get("id").is_some()).count(), 2);
    desk.venue.inject(NOW, &Fault::DuplicateExecutions { count: 1 });
    assert_eq!(place(&mut desk, "dup").iter().filter(|message| message["event"]["x"] == "NEW").count(), 2);
    desk.venue.inject(NOW, &Fault::RateLimit { count: 1 });
    assert_eq!(Desk::error(&place(&mut desk, "limited")[0]).0, 429);
    desk.venue.inject(NOW, &Fault::UnknownEnum);
    assert_eq!(desk.drain(API)[0]["event"]["x"], "MYSTERY");
    desk.venue.inject(NOW, &Fault::MaintenanceOn);
    assert_eq!(desk.drain(API)[0]["event"]["e"], "serverShutdown");
    assert_eq!(Desk::error(&place(&mut desk, "closed")[0]).1, -1008);
    assert!(desk.venue.open(NOW, 9, &upgrade("/ws", "")).is_err());
    desk.tick(1_001);
    assert!(desk.venue.outbox().drain().any(|output| matches!(output.action, Action::Close(1001, _)) && output.conn == API));
    desk.venue.inject(NOW, &Fault::MaintenanceOff);
    assert_eq!(Desk::error(&desk.ask("ping", json!({}))).1, 0);
}

#[test]
fn silences_losses_closes_and_halts_do_what_they_say() {
    let mut desk = Desk::logged_on();
    desk.ask("userDataStream.subscribe", json!({}));
    let reports = |messages: &[Value]| messages.iter().filter(|message| message["event"]["e"] == "executionReport").count();
    let params = |desk: &Desk, id: &str| {
        json!({"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "60000",
            "quantity": "0.001", "newClientOrderId": id, "timestamp": desk.now_ns / 1_000_000})
    };
    desk.venue.inject(NOW, &Fault::SilencePrivate { ms: 50 });
    let silent = desk.all("order.place", params(&desk, "silent"));
    assert_eq!((silent[0]["status"].as_u64(), reports(&silent)), (Some(200), 0), "answered but not reported");
    desk.tick(55);
    assert_eq!(reports(&desk.drain(API)), 1, "late, not lost");
    desk.venue.inject(desk.now_ns, &Fault::LoseExecutions { count: 2 });
    assert_eq!(reports(&desk.all("order.place", params(&desk, "lost"))), 0);
    assert_eq!(reports(&desk.all("order.place", params(&desk, "told"))), 1);
    desk.venue.inject(desk.now_ns, &Fault::UnknownOutcome { count: 1 });
    let unknown = desk.all("order.place", params(&desk, "unknown"));
    assert_eq!((Desk::error(&unknown[0]).0, Desk::error(&unknown[0]).1, reports(&unknown)), (504, -1007, 1), "but it was placed");
    desk.venue.inject(desk.now_ns, &Fault::CancelOnlyOn);
    assert_eq!(desk.http("GET", "/api/v3/exchangeInfo", "symbol=BTCUSDT").1["symbols"][0]["status"], "CANCEL_ONLY");
    let closed = desk.ask("order.place", params(&desk, "late"));
    assert_eq!(Desk::error(&closed), (400, -2010, "Market is closed.".into()));
    let cancel = json!({"symbol": "BTCUSDT", "origClientOrderId": "lost", "timestamp": desk.now_ns / 1_000_000});
    assert_eq!(desk.ask("order.cancel", cancel)["status"], 200);
    desk.venue.inject(desk.now_ns, &Fault::CancelOnlyOff);
    assert_eq!(desk.ask("order.place", params(&desk, "late"))["status"], 200);
    desk.venue.inject(desk.now_ns, &Fault::CloseConnections { scope: Scope::Private });
    assert!(desk.venue.outbox().drain().any(|output| output.conn == API && matches!(output.action, Action::Close(1001, _))));
}

#[test]
fn data_about_strangers_is_sent_on_command() {
    let mut desk = Desk::new(|config| config.venue.messages_per_s = 0);
    desk.venue.open(NOW, MARKET, &upgrade("/ws/btcusdt@depth", "")).expect("known path");
    desk.venue.inject(NOW, &Fault::UnknownSymbol);
    assert_eq!(desk.drain(MARKET)[0]["s"], "NOSUCHUSDT");
    desk.venue.inject(NOW, &Fault::UnknownEnum);
    assert_eq!(desk.drain(MARKET)[0]["e"], "mysteryEvent");
    desk.venue.inject(NOW, &Fault::MalformedJson { count: 1 });
    desk.venue.inject(NOW, &Fault::CrossedBook);
    assert!(desk.drain(MARKET)[0].is_null(), "not JSON");
}

#[test]
fn orders_are_found_by_their_client_ids_open_or_closed() {
    let mut desk = Desk::logged_on();
    desk.order(json!({"newClientOrderId": "open"}));
    desk.order(json!({"newClientOrderId": "done", "timeInForce": "IOC"}));
    let status = |desk: &mut Desk, id: &str| {
        desk.signed_get("GET", "/api/v3/order", &format!("symbol=BTCUSDT&origClientOrderId={id}")).1["status"].clone()
    };
    assert_eq!((status(&mut desk, "open"), status(&mut desk, "done")), (json!("NEW"), json!("EXPIRED")));
    let (code, unknown) = desk.signed_get("GET", "/api/v3/order", "symbol=BTCUSDT&origClientOrderId=never");
    assert_eq!((code, unknown["code"].as_i64()), (400, Some(-2013)));
    desk.order(json!({"newClientOrderId": "done"}));
    assert_eq!(status(&mut desk, "done"), "NEW", "an id may be used again and names the latest order");
    let (_, open) = desk.signed_get("GET", "/api/v3/openOrders", "symbol=BTCUSDT");
    assert_eq!(open.as_array().map(Vec::len), Some(2));
    assert_eq!(desk.signed_get("DELETE", "/api/v3/openOrders", "symbol=BTCUSDT").1.as_array().map(Vec::len), Some(2), "cancelled, all");
    let (_, all) = desk.signed_get("GET", "/api/v3/allOrders", "symbol=BTCUSDT");
    assert_eq!(all.as_array().map(Vec::len), Some(3));
}

#[test]
fn my_trades_come_in_pages_from_an_id_or_a_time() {
    let mut desk = Desk::logged_on();
    let mut orders = Vec::new();
    for turn in 0..40 {
        let side = if turn % 2 == 0 { "BUY" } else { "SELL" };
        let market = json!({"type": "MARKET", "timeInForce": null, "price": null, "side": side, "quantity": "0.05"});
        orders.push(desk.order(market)["result"]["orderId"].clone());
        desk.tick(3);
        desk.drain(API);
    }
    let (_, all) = desk.signed_get("GET", "/api/v3/myTrades", "symbol=BTCUSDT&limit=1000");
    let all = all.as_array().expect("rows").clone();
    assert!(all.len() > 40, "{}", all.len());
    let mut paged: Vec<Value> = Vec::new();
    let mut from = 0;
    loop {
        let (_, page) = desk.signed_get("GET", "/api/v3/myTrades", &format!("symbol=BTCUSDT&fromId={from}&limit=7"));
        let page = page.as_array().expect("rows").clone();
        assert!(page.len() <= 7);
        let Some(last) = page.last() else { break };
        from = last["id"].as_u64().expect("id") + 1;
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let (_, latest) = desk.signed_get("GET", "/api/v3/myTrades", "symbol=BTCUSDT&limit=5");
    assert_eq!(latest.as_array().map(Vec::as_slice), Some(&all[all.len() - 5..]), "without a start, the latest");
    let start = &all[10]["time"];
    let (_, since) = desk.signed_get("GET", "/api/v3/myTrades", &format!("symbol=BTCUSDT&startTime={start}&limit=1000"));
    assert_eq!(since.as_array().expect("rows")[0]["time"], *start);
    let (_, of_order) = desk.signed_get("GET", "/api/v3/myTrades", &format!("symbol=BTCUSDT&orderId={}", orders[3]));
    let sum: f64 = of_order.as_array().expect("rows").iter().filter_map(|row| row["qty"].as_str()?.parse::<f64>().ok()).sum();
    assert!((sum - 0.05).abs() < 1e-9, "the fills of one order");
}

#[test]
fn a_connections_life_ends_with_notice() {
    let mut desk = Desk::new(|config| config.connection_life_ms = 100);
    desk.venue.open(NOW, MARKET, &upgrade("/stream", "streams=ethusdt@trade")).expect("known path");
    desk.tick(200);
    let outputs: Vec<_> = desk.venue.outbox().drain().filter(|output| output.conn == MARKET).collect();
    let notice = outputs.iter().position(|o| matches!(&o.action, Action::Send(Payload::Text(t)) if t.as_str().contains("!serverShutdown")));
    let close = outputs.iter().position(|o| matches!(o.action, Action::Close(1001, _)));
    assert!(notice.is_some() && notice < close);
}

#[test]
fn hostile_requests_get_an_error_and_harm_nothing() {
    let mut desk = Desk::logged_on();
    for text in
        ["", "{", "[]", "null", r#"{"id":1}"#, r#"{"id":{},"method":1}"#, r#"{"id":1,"method":"order.place","params":[1]}"#, "\u{0}"]
    {
        desk.venue.on_text(NOW, API, text);
        let answer = desk.drain(API).remove(0);
        assert!(answer["error"]["code"].as_i64().is_some(), "{text}");
    }
    for value in ["-1", "1e400", "NaN", "99999999999999999999999999999999999999999", "", "0"] {
        assert_ne!(desk.order(json!({"quantity": value}))["status"], 200, "{value}");
        assert_ne!(desk.order(json!({"price": value}))["status"], 200, "{value}");
    }
    for value in ["9223372036854775807", "170141183460469231731687303715.88", "1e18", "999999999"] {
        assert_ne!(desk.order(json!({"quantity": value}))["status"], 200, "{value}");
        assert_ne!(desk.order(json!({"price": value}))["status"], 200, "{value}");
        let spend = json!({"type": "MARKET", "price": null, "timeInForce": null, "quantity": null, "quoteOrderQty": value});
        assert_ne!(desk.order(spend)["status"], 200, "{value}");
    }
    assert_eq!(desk.order(json!({}))["status"], 200);
}
