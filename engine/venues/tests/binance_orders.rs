//! Binance order entry: the session, requests, answers and reports in every order, what nobody knows.

mod binance_support;

use binance_support::*;
use engine_core::event::{Event, EventKind, FeedState, QTY_UNSTATED, RejectReason, Side, VenueOrderStatus, flags};
use engine_core::fixed::Money;
use engine_core::ids::{AssetId, OrderId};
use proptest::prelude::*;
use serde_json::{Value, json};
use venues::outbox::ColdRequest;
use venues::venue::{ExecuteError, Link, MessageKind, Role, Venue};

const ORDER: OrderId = OrderId::new(7, 42);
const TEXT: &str = "p00070000002a";
const USDT: AssetId = AssetId(0);

/// A place request, sent; its id.
fn placed(rig: &mut Rig) -> String {
    rig.execute(send_new(ORDER, Side::Buy, 6_825_010, 150_000, 0)).unwrap();
    rig.sent_value(Role::OrderEntry)["id"].as_str().unwrap().to_owned()
}

fn answer(rig: &mut Rig, id: &str, result: Value) {
    rig.text(ORDERS, &json!({"id": id, "status": 200, "result": result}).to_string());
}

fn refuse(rig: &mut Rig, id: &str, status: u16, code: i64, msg: &str) {
    rig.text(ORDERS, &json!({"id": id, "status": status, "error": {"code": code, "msg": msg}}).to_string());
}

/// The sheet's execution report with changes.
fn report(changes: Value) -> String {
    let mut event = json!({"e":"executionReport","E":1767225600140u64,"s":"BTCUSDT","c":TEXT,"S":"BUY","o":"LIMIT","f":"GTC",
        "q":"0.00150000","p":"68250.10000000","P":"0.00000000","F":"0.00000000","g":-1,"C":"","x":"NEW","X":"NEW","r":"NONE",
        "i":38500112233u64,"l":"0.00000000","z":"0.00000000","L":"0.00000000","n":"0","N":null,"T":1767225600139u64,"t":-1,
        "I":81234567890u64,"w":true,"m":false,"M":false,"O":1767225600131u64,"Z":"0.00000000","Y":"0.00000000","Q":"0.00000000",
        "W":1767225600131u64,"V":"EXPIRE_MAKER"});
    for (name, value) in changes.as_object().unwrap() {
        event[name] = value.clone();
    }
    json!({"subscriptionId": 0, "event": event}).to_string()
}

fn trade(trade_id: u64, qty: &str, filled: &str, status: &str) -> String {
    report(json!({"x":"TRADE","X":status,"l":qty,"z":filled,"L":"68250.10000000","n":"0.00000050","N":"BTC","t":trade_id,"m":true}))
}

fn kinds(events: &[Event]) -> Vec<EventKind> {
    events.iter().map(|e| e.event_kind().unwrap()).collect()
}

#[test]
fn the_session_logs_on_with_the_signature_of_the_sheet_then_subscribes() {
    let mut rig = Rig::new(|_| {});
    rig.open(ORDERS);
    assert_eq!(rig.execute(send_new(ORDER, Side::Buy, 1, 1, 0)), Err(ExecuteError::NotConnected));
    let request = rig.sent_value(Role::OrderEntry);
    let params = json!({"apiKey": ED_KEY, "timestamp": 1767225600123u64,
        "signature": "XytGkCk3elH+J4FMllL40z+ABuF2IcuWqthHT6Yq2mBQ9wEvCiaC5lzMAlV0gSh1BTZofF5/gLTkUy+JEIdlBg=="});
    assert_eq!(request["params"], params);
    assert_eq!(request["id"], "l000700000001");
    answer(&mut rig, "l000700000001", json!({"apiKey": ED_KEY, "authorizedSince": 1767225600123u64, "userDataStream": false}));
    let request = rig.sent_value(Role::OrderEntry);
    assert_eq!(request, json!({"id": "u000700000002", "method": "userDataStream.subscribe"}));
    assert!(!rig.venue.is_ready(Role::OrderEntry) && rig.kinds().is_empty());
    answer(&mut rig, "u000700000002", json!({"subscriptionId": 0}));
    assert!(rig.venue.is_ready(Role::OrderEntry));
    let events = rig.take();
    assert_eq!(
        (events.len(), events[0].event_kind(), events[0].code, events[0].a),
        (1, Some(EventKind::FeedStatus), FeedState::Up as u32, 1)
    );
    assert_eq!(rig.requests(), [ColdRequest::Reconcile]);
}

#[test]
fn a_refused_or_silent_log_on_is_tried_again_after_growing_waits() {
    let mut rig = Rig::new(|_| {});
    rig.open(ORDERS);
    let mut waits = Vec::new();
    for _ in 0..3 {
        let id = rig.sent_value(Role::OrderEntry)["id"].as_str().unwrap().to_owned();
        refuse(&mut rig, &id, 400, -1021, "Timestamp for this request is outside of the recvWindow.");
        assert!(rig.venue.take_notice().unwrap().contains("-1021"));
        let mut waited = 0;
        while rig.out.is_empty() {
            rig.timer(100 * MS);
            waited += 100;
        }
        waits.push(waited);
    }
    assert_eq!(waits, [500, 1_000, 2_000]);
    rig.sent();
    rig.timer(11 * S);
    rig.timer(60 * S);
    assert_eq!(rig.sent_value(Role::OrderEntry)["method"], "session.logon", "no answer");
}

#[test]
fn new_orders_are_written_as_the_venue_wants_them() {
    let mut rig = Rig::ready();
    rig.execute(send_new(ORDER, Side::Buy, 6_825_010, 150_000, 0)).unwrap();
    let request = rig.sent_value(Role::OrderEntry);
    let params = json!({"symbol":"BTCUSDT","side":"BUY","type":"LIMIT","timeInForce":"GTC","price":"68250.10","quantity":"0.00150000",
        "newClientOrderId":TEXT,"newOrderRespType":"ACK","recvWindow":5000,"timestamp":1767225600123u64});
    assert_eq!((&request["method"], &request["params"]), (&json!("order.place"), &params));
    rig.execute(send_new(ORDER, Side::Sell, 6_825_010, 150_000, flags::POST_ONLY)).unwrap();
    let request = rig.sent_value(Role::OrderEntry);
    assert_eq!((&request["params"]["type"], &request["params"]["side"]), (&json!("LIMIT_MAKER"), &json!("SELL")));
    assert!(request["params"].get("timeInForce").is_none());
    rig.execute(send_new(ORDER, Side::Buy, 6_825_010, 150_000, flags::IOC)).unwrap();
    assert_eq!(rig.sent_value(Role::OrderEntry)["params"]["timeInForce"], "IOC");
    let both = send_new(ORDER, Side::Buy, 1, 1, flags::IOC | flags::POST_ONLY);
    assert_eq!(rig.execute(both), Err(ExecuteError::Unsupported));
    let stranger = Event { instrument: 9, ..send_new(ORDER, Side::Buy, 1, 1, 0) };
    assert_eq!(rig.execute(stranger), Err(ExecuteError::Unknown));
}

#[test]
fn an_order_lives_from_place_to_fill_with_answer_and_report_in_any_order() {
    for answer_first in [true, false] {
        let mut rig = Rig::ready();
        let id = placed(&mut rig);
        let ack =
            json!({"symbol":"BTCUSDT","orderId":38500112233u64,"orderListId":-1,"clientOrderId":TEXT,"transactTime":1767225600131u64});
        if answer_first {
            answer(&mut rig, &id, ack.clone());
            let events = rig.take();
            assert_eq!((kinds(&events), events[0].order_id()), (vec![EventKind::OrderAck], ORDER));
            assert_eq!(events[0].venue_time_ns, 1_767_225_600_131 * MS);
        }
        rig.text(ORDERS, &report(json!({})));
        assert_eq!(rig.kinds(), [EventKind::OrderAck]);
        rig.text(ORDERS, &trade(4_400_123_457, "0.00050000", "0.00050000", "PARTIALLY_FILLED"));
        let events = rig.take();
        assert_eq!(kinds(&events), [EventKind::FillFee, EventKind::OrderFill]);
        assert_eq!((events[0].a, events[0].d, events[0].asset), (4_400_123_457, ORDER.0, 1));
        assert_eq!(Money::from_words(events[0].b, events[0].c), Money::parse(b"0.0000005").unwrap());
        let fill = events[1];
        assert_eq!((fill.order_id(), fill.b, fill.c, fill.d, fill.side()), (ORDER, 6_825_010, 50_000, 4_400_123_457, Some(Side::Buy)));
        assert!(fill.has(flags::MAKER | flags::LAST) && !events[0].has(flags::LAST));
        rig.text(ORDERS, &trade(4_400_123_458, "0.00100000", "0.00150000", "FILLED"));
        assert_eq!(rig.kinds(), [EventKind::FillFee, EventKind::OrderFill]);
        if !answer_first {
            answer(&mut rig, &id, ack);
            assert_eq!(rig.kinds(), [EventKind::OrderAck], "the core takes it as late");
        }
    }
}

#[test]
fn cancels_name_the_venues_id_once_it_is_known() {
    let mut rig = Rig::ready();
    placed(&mut rig);
    rig.execute(send(EventKind::SendCancel, ORDER)).unwrap();
    assert_eq!(rig.sent_value(Role::OrderEntry)["params"]["origClientOrderId"], TEXT);
    rig.text(ORDERS, &report(json!({})));
    rig.execute(send(EventKind::SendCancel, ORDER)).unwrap();
    let request = rig.sent_value(Role::OrderEntry);
    assert_eq!(request["params"]["orderId"], 38_500_112_233u64);
    assert!(request["params"].get("origClientOrderId").is_none());
    rig.take();
    let id = request["id"].as_str().unwrap().to_owned();
    let result = json!({"symbol":"BTCUSDT","origClientOrderId":TEXT,"orderId":38500112233u64,"orderListId":-1,
        "clientOrderId":"Zk3sGqT1aB7uWm0xYp5vRd","transactTime":1767225602007u64,"price":"68250.10000000","origQty":"0.00150000",
        "executedQty":"0.00050000","origQuoteOrderQty":"0.000000","cummulativeQuoteQty":"0.00000000","status":"CANCELED",
        "timeInForce":"GTC","type":"LIMIT","side":"BUY","selfTradePreventionMode":"EXPIRE_MAKER"});
    answer(&mut rig, &id, result);
    rig.text(ORDERS, &report(json!({"c":"Zk3sGqT1aB7uWm0xYp5vRd","C":TEXT,"x":"CANCELED","X":"CANCELED","z":"0.00050000"})));
    let events = rig.take();
    assert_eq!(kinds(&events), [EventKind::OrderCanceled; 2]);
    assert!(events.iter().all(|e| e.order_id() == ORDER && e.b == 50_000 && e.b != QTY_UNSTATED));
    let adopted = OrderId::new(6, 1);
    rig.venue.adopt_order(adopted, BTC, Some("777"));
    rig.execute(send(EventKind::SendCancel, adopted)).unwrap();
    assert_eq!(rig.sent_value(Role::OrderEntry)["params"]["orderId"], 777);
}

#[test]
fn an_amendment_keeps_the_order_id_and_is_given_out_once() {
    let amended = |qty: &str| {
        json!({"transactTime":1767225600200u64,"executionId":16,"amendedOrder":{"symbol":"BTCUSDT","orderId":38500112233u64,
        "orderListId":-1,"origClientOrderId":TEXT,"clientOrderId":TEXT,"price":"68250.10000000","qty":qty,"executedQty":"0.00000000",
        "preventedQty":"0.00000000","quoteOrderQty":"0.00000000","cumulativeQuoteQty":"0.00000000","status":"NEW","timeInForce":"GTC",
        "type":"LIMIT","side":"BUY","workingTime":1767225600131u64,"selfTradePreventionMode":"EXPIRE_MAKER"}})
    };
    for answer_first in [true, false] {
        let mut rig = Rig::ready();
        placed(&mut rig);
        rig.execute(send_replace(ORDER, 6_825_010, 100_000, 150_000)).unwrap();
        let request = rig.sent_value(Role::OrderEntry);
        assert_eq!(request["method"], "order.amend.keepPriority");
        let params = &request["params"];
        assert_eq!(
            (&params["newQty"], &params["origClientOrderId"], &params["newClientOrderId"]),
            (&json!("0.00100000"), &json!(TEXT), &json!(TEXT))
        );
        let id = request["id"].as_str().unwrap().to_owned();
        let stream = report(json!({"x":"REPLACED","q":"0.00100000"}));
        if answer_first {
            answer(&mut rig, &id, amended("0.00100000"));
            rig.text(ORDERS, &stream);
        } else {
            rig.text(ORDERS, &stream);
            answer(&mut rig, &id, amended("0.00100000"));
        }
        let events = rig.take();
        assert_eq!(kinds(&events), [EventKind::OrderReplaced]);
        assert_eq!((events[0].order_id(), events[0].b, events[0].c), (ORDER, 6_825_010, 100_000));
    }
    let mut rig = Rig::ready();
    placed(&mut rig);
    assert_eq!(rig.execute(send_replace(ORDER, 6_825_020, 100_000, 150_000)), Err(ExecuteError::Unsupported), "another price");
    assert_eq!(rig.execute(send_replace(ORDER, 6_825_010, 150_000, 150_000)), Err(ExecuteError::Unsupported), "not smaller");
    rig.execute(send_replace(ORDER, 6_825_010, 100_000, 150_000)).unwrap();
    let id = rig.sent_value(Role::OrderEntry)["id"].as_str().unwrap().to_owned();
    answer(&mut rig, &id, amended("0.00000000"));
    assert_eq!(rig.kinds(), [EventKind::OrderUncertain], "it cannot work with nothing left to trade");
    assert_eq!(rig.requests(), [ColdRequest::OrderStatus { order: ORDER, instrument: BTC }]);
}

#[test]
fn refusals_come_in_common_words() {
    use RejectReason as R;
    let rows = [
        (-2010, "Account has insufficient balance for requested action.", R::InsufficientFunds),
        (-2010, "Order would immediately match and take.", R::PostOnlyWouldTake),
        (-2010, "Duplicate order sent.", R::DuplicateOrderId),
        (-2010, "Market is closed.", R::MarketClosed),
        (-2010, "This action is disabled on this account.", R::Other),
        (-1013, "Filter failure: PRICE_FILTER", R::InvalidPrice),
        (-1013, "Filter failure: PERCENT_PRICE_BY_SIDE", R::InvalidPrice),
        (-1013, "Filter failure: LOT_SIZE", R::InvalidQuantity),
        (-1013, "Filter failure: NOTIONAL", R::Notional),
        (-1013, "Filter failure: MAX_NUM_ORDERS", R::TooManyOrders),
        (-1013, "This symbol does not allow the specified self-trade prevention mode.", R::SelfTrade),
        (-1106, "Parameter 'timeInForce' sent when not required.", R::BadRequest),
        (-1111, "Parameter 'price' has too much precision.", R::InvalidPrice),
        (-1015, "Too many new orders; current limit is 100 orders per 10 SECOND.", R::RateLimit),
        (-1022, "Signature for this request is not valid.", R::Authentication),
        (-1021, "Timestamp for this request is outside of the recvWindow.", R::Timing),
        (-1121, "Invalid symbol.", R::BadRequest),
        (-9999, "Something new.", R::Other),
    ];
    for (code, msg, reason) in rows {
        let mut rig = Rig::ready();
        let id = placed(&mut rig);
        refuse(&mut rig, &id, 400, code, msg);
        let events = rig.take();
        assert_eq!((kinds(&events), events[0].code, events[0].order_id()), (vec![EventKind::OrderReject], reason as u32, ORDER), "{msg}");
        assert!(rig.venue.take_notice().unwrap().contains(msg));
        assert_eq!(rig.venue.counters().venue_errors, 1);
    }
    let mut rig = Rig::ready();
    for _ in 0..2 {
        let id = placed(&mut rig);
        refuse(&mut rig, &id, 400, -2010, "Market is closed.");
    }
    assert_eq!(rig.requests(), [ColdRequest::Instruments], "the rules may have changed: asked for, but not each time");
    let mut rig = Rig::ready();
    rig.execute(send(EventKind::SendCancel, ORDER)).unwrap();
    let id = rig.sent_value(Role::OrderEntry)["id"].as_str().unwrap().to_owned();
    refuse(&mut rig, &id, 400, -2011, "Unknown order sent.");
    let events = rig.take();
    assert_eq!((kinds(&events), events[0].code), (vec![EventKind::CancelReject], R::UnknownOrder as u32));
    rig.execute(send_replace(ORDER, 6_825_010, 100_000, 150_000)).unwrap();
    let id = rig.sent_value(Role::OrderEntry)["id"].as_str().unwrap().to_owned();
    refuse(&mut rig, &id, 400, -2038, "The requested action would change no state; rejecting.");
    let events = rig.take();
    assert_eq!((kinds(&events), events[0].code), (vec![EventKind::ReplaceReject], R::NoChange as u32));
}

#[test]
fn what_nobody_knows_is_never_a_refusal() {
    for (status, code) in [(500, -1000), (503, -1008), (504, -1007), (400, -1006), (400, -1007), (400, -1001)] {
        let mut rig = Rig::ready();
        let id = placed(&mut rig);
        refuse(&mut rig, &id, status, code, "Timeout waiting for response from backend server.");
        assert_eq!(rig.kinds(), [EventKind::OrderUncertain], "{status} {code}");
    }
    let mut rig = Rig::ready();
    let id = placed(&mut rig);
    rig.timer(9 * S);
    assert!(rig.kinds().is_empty());
    rig.timer(2 * S);
    assert_eq!(rig.kinds(), [EventKind::OrderUncertain], "no answer");
    answer(&mut rig, &id, json!({"symbol":"BTCUSDT","orderId":1,"clientOrderId":TEXT,"transactTime":1}));
    assert!(rig.kinds().is_empty());
    assert_eq!(rig.venue.counters().uncorrelated, 1);
    let mut rig = Rig::ready();
    placed(&mut rig);
    rig.execute(send(EventKind::SendCancel, ORDER)).unwrap();
    rig.close(ORDERS);
    assert_eq!(rig.kinds(), [EventKind::OrderUncertain, EventKind::OrderUncertain, EventKind::FeedStatus]);
    assert_eq!(rig.execute(send(EventKind::SendCancel, ORDER)), Err(ExecuteError::NotConnected));
}

#[test]
fn expiries_self_trades_and_rejections_are_told_apart() {
    let mut rig = Rig::ready();
    rig.text(ORDERS, &report(json!({"x":"EXPIRED","X":"EXPIRED","z":"0.00050000","eR":"UNFILLED_IOC_QUANTITY_EXPIRED"})));
    rig.text(ORDERS, &report(json!({"x":"TRADE_PREVENTION","X":"EXPIRED_IN_MATCH","z":"0.00050000","A":"0.00100000","B":"0.00100000"})));
    rig.text(ORDERS, &report(json!({"x":"TRADE_PREVENTION","X":"PARTIALLY_FILLED","z":"0.00050000","A":"0.00030000","B":"0.00030000"})));
    rig.text(ORDERS, &report(json!({"x":"REJECTED","X":"REJECTED","r":"INSUFFICIENT_BALANCE"})));
    rig.text(ORDERS, &report(json!({"x":"NEW","X":"PENDING_NEW","g":12})));
    let events = rig.take();
    use EventKind as K;
    assert_eq!(kinds(&events), [K::OrderExpired, K::OrderExpired, K::OrderReplaced, K::OrderReject]);
    assert_eq!((events[0].b, events[1].b, events[2].c), (50_000, 50_000, 120_000));
    assert_eq!(events[3].code, RejectReason::InsufficientFunds as u32);
}

#[test]
fn a_report_that_cannot_be_read_puts_its_order_in_doubt_and_nothing_else() {
    let doubt = ColdRequest::OrderStatus { order: ORDER, instrument: BTC };
    for change in [
        json!({"x":"TELEPORTED"}),
        json!({"X":"FROZEN"}),
        json!({"z":"0.000000001"}),
        json!({"q":null}),
        json!({"S":"BOTH"}),
        json!({"x":"TRADE","l":"0.001","L":"68250.105","t":1}),
        json!({"x":"TRADE","l":"0.001","L":"68250.10"}),
        json!({"x":"TRADE","l":"0.001","L":"68250.10","t":1,"n":"much"}),
        json!({"x":"REPLACED","q":"0.00000000"}),
        json!({"x":"REPLACED","p":"0.00000000"}),
        json!({"x":"TRADE_PREVENTION","X":"PARTIALLY_FILLED","q":"0.00150000","A":"0.00150000"}),
        json!({"x":"TRADE_PREVENTION","X":"PARTIALLY_FILLED","q":"0.00150000","A":"0.00100000","z":"0.00050000"}),
    ] {
        let mut rig = Rig::ready();
        rig.text(ORDERS, &report(change.clone()));
        let events = rig.take();
        assert_eq!((kinds(&events), events[0].order_id()), (vec![EventKind::OrderUncertain], ORDER), "{change}");
        assert_eq!(rig.requests(), [doubt]);
        assert_eq!(rig.venue.counters().unknown_values, 1);
    }
    let mut rig = Rig::ready();
    rig.text(ORDERS, "{\"subscriptionId\":0,\"event\":{\"e\":\"executionReport\"");
    assert_eq!(rig.requests(), [ColdRequest::Reconcile], "not JSON: a report may have been in it");
    for (text, unknown) in [
        ("{\"event\":{\"e\":\"mystery\",\"x\":[1]}}", 1),
        ("{\"hello\":1}", 2),
        ("{\"event\":{\"e\":\"listStatus\",\"O\":[{}],\"c\":\"OCO\"}}", 2),
    ] {
        rig.text(ORDERS, text);
        assert_eq!(rig.venue.counters().unknown_messages, unknown);
    }
    assert!(rig.kinds().is_empty());
}

#[test]
fn orders_of_others_are_counted_and_left_alone() {
    let mut rig = Rig::ready();
    rig.text(ORDERS, &report(json!({"c":"eng-7f3a_01"})));
    rig.text(ORDERS, &report(json!({"s":"DOGEUSDT"})));
    assert!(rig.kinds().is_empty());
    assert_eq!((rig.venue.counters().uncorrelated, rig.venue.counters().unknown_symbols), (1, 1));
}

#[test]
fn a_fee_in_an_unknown_asset_loses_the_fee_and_not_the_fill() {
    let mut rig = Rig::ready();
    let text = trade(1, "0.00050000", "0.00050000", "PARTIALLY_FILLED").replace("\"BTC\"", "\"BNB\"");
    rig.text(ORDERS, &text);
    assert_eq!(rig.kinds(), [EventKind::OrderFill]);
    assert!(rig.venue.take_notice().unwrap().contains("fee"));
    rig.text(ORDERS, &report(json!({"x":"TRADE","X":"FILLED","l":"0.001","z":"0.0015","L":"68250.1","n":"0","N":null,"t":2})));
    assert_eq!(rig.kinds(), [EventKind::OrderFill], "no fee at all");
}

#[test]
fn balances_are_free_and_locked_together() {
    let mut rig = Rig::ready();
    rig.text(
        ORDERS,
        r#"{"subscriptionId":0,"event":{"e":"outboundAccountPosition","E":1767225600140,"u":1767225600139,"B":[{"a":"BTC","f":"0.50049950","l":"0.00000000"},{"a":"XYZ","f":"1","l":"1"},{"a":"USDT","f":"9897.62480000","l":"68.25010000"}]}}"#,
    );
    let events = rig.take();
    assert_eq!(kinds(&events), [EventKind::Balance; 2]);
    assert_eq!((events[1].asset, events[1].has(flags::LAST), events[0].has(flags::LAST)), (USDT.0, true, false));
    assert_eq!(Money::from_words(events[1].a, events[1].b), Money::parse(b"9965.8749").unwrap());
    assert_eq!(Money::from_words(events[1].c, events[1].d), Money::parse(b"9897.6248").unwrap());
    rig.text(ORDERS, r#"{"event":{"e":"balanceUpdate","E":1767225700000,"a":"USDT","d":"500.00000000","T":1767225699990}}"#);
    assert!(rig.kinds().is_empty());
}

#[test]
fn a_question_about_an_order_goes_over_the_session_and_fills_come_from_the_cold_plane() {
    let cold = ColdRequest::OrderStatus { order: ORDER, instrument: BTC };
    let record = |status: &str, filled: &str| {
        json!({"symbol":"BTCUSDT","orderId":38500112233u64,"orderListId":-1,"clientOrderId":TEXT,"price":"68250.10000000",
        "origQty":"0.00150000","executedQty":filled,"cummulativeQuoteQty":"34.12505000","status":status,"timeInForce":"GTC",
        "type":"LIMIT","side":"BUY","stopPrice":"0.00000000","icebergQty":"0.00000000","time":1767225600131u64,
        "updateTime":1767225600139u64,"isWorking":true,"workingTime":1767225600131u64,"origQuoteOrderQty":"0.00000000",
        "selfTradePreventionMode":"EXPIRE_MAKER"})
    };
    let mut rig = Rig::ready();
    let ask = |rig: &mut Rig| {
        rig.execute(send(EventKind::SendQuery, ORDER)).unwrap();
        let request = rig.sent_value(Role::OrderEntry);
        assert_eq!((&request["method"], &request["params"]["origClientOrderId"]), (&json!("order.status"), &json!(TEXT)));
        request["id"].as_str().unwrap().to_owned()
    };
    let id = ask(&mut rig);
    answer(&mut rig, &id, record("NEW", "0.00000000"));
    let events = rig.take();
    assert_eq!((kinds(&events), events[0].code), (vec![EventKind::OrderStatus], VenueOrderStatus::Open as u32));
    assert_eq!((events[0].b, events[0].c, events[0].d, events[0].side()), (0, 6_825_010, 150_000, Some(Side::Buy)));
    assert!(rig.requests().is_empty());
    let id = ask(&mut rig);
    answer(&mut rig, &id, record("CANCELED", "0.00050000"));
    assert_eq!(rig.take()[0].code, VenueOrderStatus::Canceled as u32);
    assert_eq!(rig.requests(), [cold], "the answer counts a fill that it does not list");
    let id = ask(&mut rig);
    refuse(&mut rig, &id, 400, -2013, "Order does not exist.");
    assert!(rig.kinds().is_empty(), "may be too early to tell");
    assert_eq!(rig.requests(), [cold]);
    ask(&mut rig);
    rig.close(ORDERS);
    assert!(rig.requests().contains(&cold));
    rig.execute(send(EventKind::SendQuery, ORDER)).unwrap();
    assert_eq!(rig.requests(), [cold], "without a session the cold plane asks");
}

#[test]
fn everything_is_cancelled_symbol_by_symbol() {
    let mut rig = Rig::ready();
    rig.execute(send(EventKind::SendCancelAll, OrderId::NONE)).unwrap();
    let sent = rig.sent();
    let symbols: Vec<Value> =
        sent.iter().map(|(_, text)| serde_json::from_str::<Value>(text).unwrap()["params"]["symbol"].clone()).collect();
    assert_eq!(symbols, ["BTCUSDT", "ETHUSDT"]);
    let id = serde_json::from_str::<Value>(&sent[0].1).unwrap()["id"].as_str().unwrap().to_owned();
    refuse(&mut rig, &id, 400, -2011, "Unknown order sent.");
    assert!(rig.kinds().is_empty() && rig.venue.take_notice().is_none(), "nothing was open");
}

#[test]
fn the_venues_count_rules_the_budget_and_cancels_get_through() {
    let mut rig = Rig::ready();
    let id = placed(&mut rig);
    let limits = json!([{"rateLimitType":"ORDERS","interval":"SECOND","intervalNum":10,"limit":100,"count":100},
        {"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000,"count":4900}]);
    let result = json!({"symbol":"BTCUSDT","orderId":38500112233u64,"clientOrderId":TEXT,"transactTime":1767225600131u64});
    rig.text(ORDERS, &json!({"id": id, "status": 200, "result": result, "rateLimits": limits}).to_string());
    assert_eq!(rig.execute(send_new(ORDER, Side::Buy, 1, 1, 0)), Err(ExecuteError::RateLimited));
    assert_eq!(rig.venue.counters().rate_limited, 1);
    rig.execute(send(EventKind::SendCancel, ORDER)).unwrap();
    let id = rig.sent_value(Role::OrderEntry)["id"].as_str().unwrap().to_owned();
    let until_ms = rig.now_ns / MS + 5_000;
    rig.text(
        ORDERS,
        &json!({"id": id, "status": 429, "error": {"code": -1003, "msg": "Too much request weight used; ...", "data": {"serverTime": 1, "retryAfter": until_ms}}})
            .to_string(),
    );
    assert_eq!(rig.take().last().map(|e| (e.event_kind(), e.code)), Some((Some(EventKind::CancelReject), RejectReason::RateLimit as u32)));
    assert_eq!(rig.execute(send(EventKind::SendCancel, ORDER)), Err(ExecuteError::RateLimited));
    rig.now_ns += 5 * S;
    rig.execute(send(EventKind::SendCancel, ORDER)).unwrap();
}

#[test]
fn a_lost_session_is_logged_on_again_and_a_lost_subscription_subscribed_again() {
    let mut rig = Rig::ready();
    rig.text(ORDERS, r#"{"id":null,"status":401,"error":{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}}"#);
    assert!(!rig.venue.is_ready(Role::OrderEntry));
    assert_eq!(rig.take()[0].code, FeedState::Down as u32);
    rig.timer(S);
    assert_eq!(rig.sent_value(Role::OrderEntry)["method"], "session.logon");
    let mut rig = Rig::ready();
    rig.text(ORDERS, r#"{"subscriptionId":0,"event":{"e":"eventStreamTerminated","E":1770000000000}}"#);
    assert_eq!(rig.take()[0].code, FeedState::Down as u32);
    let request = rig.sent_value(Role::OrderEntry);
    assert_eq!(request["method"], "userDataStream.subscribe");
    answer(&mut rig, request["id"].as_str().unwrap(), json!({"subscriptionId": 1}));
    assert_eq!(rig.take()[0].code, FeedState::Up as u32);
    assert_eq!(rig.requests(), [ColdRequest::Reconcile]);
}

#[test]
fn a_planned_renewal_reports_without_a_break() {
    let mut rig = Rig::ready();
    let new = Link { role: Role::OrderEntry, generation: 2 };
    rig.text(ORDERS, r#"{"event":{"e":"serverShutdown","E":1770000000000}}"#);
    assert!(rig.venue.take_closing(Role::OrderEntry));
    rig.open(new);
    assert_eq!(rig.execute(send(EventKind::SendCancel, ORDER)), Err(ExecuteError::NotConnected), "the new link is a stranger yet");
    rig.text(ORDERS, &trade(1, "0.00050000", "0.00050000", "PARTIALLY_FILLED"));
    assert_eq!(rig.kinds().len(), 2, "the old one still reports");
    for _ in 0..2 {
        let request = rig.sent_value(Role::OrderEntry);
        rig.text(new, &format!("{{\"id\":{},\"status\":200,\"result\":{{}}}}", request["id"]));
    }
    assert!(rig.venue.is_ready(Role::OrderEntry));
    rig.close(ORDERS);
    assert!(rig.kinds().is_empty() && rig.requests().is_empty(), "no break, nothing to reconcile");
    rig.execute(send(EventKind::SendCancel, ORDER)).unwrap();
}

#[test]
fn a_connection_that_answers_nothing_is_renewed_once_and_its_requests_keep_their_fate() {
    let mut rig = Rig::ready();
    rig.timer(60 * S);
    assert!(!rig.venue.take_closing(Role::OrderEntry), "nothing was asked, so nothing is missing");
    placed(&mut rig);
    rig.timer(2_900 * MS);
    assert!(!rig.venue.take_closing(Role::OrderEntry));
    rig.timer(100 * MS);
    assert!(rig.venue.take_closing(Role::OrderEntry));
    assert!(rig.venue.take_notice().unwrap().contains("answers nothing"));
    for _ in 0..70 {
        rig.timer(100 * MS);
        assert!(!rig.venue.take_closing(Role::OrderEntry), "once");
    }
    assert!(rig.kinds().is_empty(), "10 s are not over");
    rig.timer(100 * MS);
    let events = rig.take();
    assert_eq!((kinds(&events), events[0].order_id()), (vec![EventKind::OrderUncertain], ORDER));

    // A new request over the same connection does not ask again, however long that stays.
    placed(&mut rig);
    rig.timer(40 * S);
    assert!(!rig.venue.take_closing(Role::OrderEntry));
}

#[test]
fn a_renewed_connection_is_judged_anew_and_a_slow_venue_is_not_renewed_again_and_again() {
    let mut rig = Rig::ready();
    placed(&mut rig);
    rig.timer(3 * S);
    assert!(rig.venue.take_closing(Role::OrderEntry));
    let second = Link { generation: 2, ..ORDERS };
    rig.open(second);
    rig.timer(4 * S);
    assert!(!rig.venue.take_closing(Role::OrderEntry), "what waits on the old connection is no reason to renew the new one");
    let log_on = rig.sent_value(Role::OrderEntry)["id"].as_str().unwrap().to_owned();
    rig.text(second, &json!({"id": log_on, "status": 200, "result": {}}).to_string());
    let subscribe = rig.sent_value(Role::OrderEntry)["id"].as_str().unwrap().to_owned();
    rig.text(second, &json!({"id": subscribe, "status": 200, "result": {"subscriptionId": 0}}).to_string());
    rig.close(ORDERS);
    assert!(kinds(&rig.take()).contains(&EventKind::OrderUncertain), "the old connection's request ends with it");
    rig.sent();

    placed(&mut rig);
    rig.timer(9 * S);
    assert!(!rig.venue.take_closing(Role::OrderEntry), "13 s after the last renewal");
    rig.timer(13 * S);
    placed(&mut rig);
    rig.timer(3 * S);
    assert!(!rig.venue.take_closing(Role::OrderEntry), "29 s");
    rig.timer(S);
    assert!(rig.venue.take_closing(Role::OrderEntry));
}

#[test]
fn a_connection_on_its_way_out_is_not_judged() {
    let mut rig = Rig::ready();
    placed(&mut rig);
    rig.open(Link { generation: 2, ..ORDERS });
    rig.timer(5 * S);
    assert!(!rig.venue.take_closing(Role::OrderEntry), "its replacement is there already");
}

#[test]
fn a_lost_answer_is_no_silence_while_others_come() {
    let mut rig = Rig::ready();
    placed(&mut rig);
    for sequence in 100..120 {
        let other = OrderId::new(7, sequence);
        rig.execute(send_new(other, Side::Buy, 6_825_010, 150_000, 0)).unwrap();
        let id = rig.sent_value(Role::OrderEntry)["id"].as_str().unwrap().to_owned();
        answer(
            &mut rig,
            &id,
            json!({"symbol":"BTCUSDT","orderId":1,"clientOrderId":other.to_text().escape_ascii().to_string(),"transactTime":1}),
        );
        rig.timer(S);
        rig.sent();
        assert!(!rig.venue.take_closing(Role::OrderEntry), "order {sequence}");
    }
    assert!(rig.kinds().contains(&EventKind::OrderUncertain), "the lost one");
    // Reports are no answers: they may come from elsewhere in the venue.
    placed(&mut rig);
    rig.text(ORDERS, &report(json!({})));
    rig.timer(2 * S);
    rig.text(ORDERS, &report(json!({})));
    rig.timer(S);
    assert!(rig.venue.take_closing(Role::OrderEntry));
}

#[test]
fn a_log_on_that_is_never_answered_asks_for_another_connection_at_its_time_out() {
    let mut rig = Rig::new(|_| {});
    rig.open(ORDERS);
    rig.timer(9_900 * MS);
    assert!(!rig.venue.take_closing(Role::OrderEntry));
    rig.timer(100 * MS);
    assert!(rig.venue.take_closing(Role::OrderEntry));
    rig.timer(60 * S);
    assert!(!rig.venue.take_closing(Role::OrderEntry), "once");
}

#[test]
fn a_full_outbox_or_table_refuses_and_leaves_nothing_behind() {
    let mut rig = Rig::ready();
    rig.venue.counters();
    let limits = json!([{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":600000,"count":0}]);
    rig.text(ORDERS, &json!({"id": null, "status": 200, "result": {}, "rateLimits": limits}).to_string());
    let mut sent = 0;
    let refusal = loop {
        match rig.execute(send(EventKind::SendCancel, ORDER)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((sent, refusal), (64, ExecuteError::Full));
    rig.out.clear();
    for _ in 0..4_096 - 64 {
        rig.execute(send(EventKind::SendCancel, ORDER)).unwrap();
        rig.out.clear();
    }
    rig.out.clear();
    assert_eq!(rig.execute(send(EventKind::SendCancel, ORDER)), Err(ExecuteError::Full), "too many unanswered");
    rig.timer(11 * S);
    assert_eq!(rig.take().len(), 4_096);
    rig.out.clear();
    rig.execute(send(EventKind::SendCancel, ORDER)).unwrap();
}

#[test]
fn without_an_account_there_is_no_order_entry() {
    let mut rig = Rig::new(|settings| settings.credentials = None);
    assert_eq!(rig.venue.endpoints().len(), 1);
    assert_eq!(rig.execute(send(EventKind::SendCancel, ORDER)), Err(ExecuteError::NotConnected));
    rig.open(ORDERS);
    rig.text(ORDERS, &report(json!({})));
    rig.close(ORDERS);
    assert!(rig.kinds().is_empty() && !rig.venue.is_ready(Role::OrderEntry));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn written_orders_read_back_as_they_were(
        sequence in 1u32.., sell in any::<bool>(), price in 1i64..1_000_000_000_000, qty in 1i64..1_000_000_000_000,
    ) {
        let mut rig = Rig::ready();
        let order = OrderId::new(7, sequence);
        let side = if sell { Side::Sell } else { Side::Buy };
        rig.execute(send_new(order, side, price, qty, 0)).unwrap();
        let params = rig.sent_value(Role::OrderEntry)["params"].clone();
        let text = |name: &str| params[name].as_str().unwrap().as_bytes().to_vec();
        prop_assert_eq!(OrderId::from_text(&text("newClientOrderId")), Some(order));
        prop_assert_eq!(engine_core::fixed::parse_decimal(&text("price"), 2), Ok(price));
        prop_assert_eq!(engine_core::fixed::parse_decimal(&text("quantity"), 8), Ok(qty));
    }

    #[test]
    fn mutated_messages_never_panic(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(), which in 0usize..5,
    ) {
        let mut rig = Rig::ready();
        let id = placed(&mut rig);
        let texts = [
            trade(1, "0.00050000", "0.00050000", "FILLED"),
            json!({"id": id, "status": 200, "result": {"symbol":"BTCUSDT","orderId":1,"clientOrderId":TEXT,"transactTime":5}, "rateLimits": [{"rateLimitType":"ORDERS","interval":"DAY","intervalNum":1,"limit":9,"count":3}]}).to_string(),
            json!({"id": id, "status": 400, "error": {"code":-2010,"msg":"Duplicate order sent.","data":{"retryAfter":1}}}).to_string(),
            r#"{"event":{"e":"outboundAccountPosition","E":1,"u":1,"B":[{"a":"BTC","f":"0.5","l":"0.1"}]}}"#.into(),
            r#"{"event":{"e":"eventStreamTerminated","E":1}}"#.into(),
        ];
        let mut bytes = texts[which].clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let cut = cut.index(bytes.len()) + 1;
        for piece in [&bytes[..], &bytes[..cut]] {
            rig.venue.on_message(ORDERS, MessageKind::Text, piece, rig.times(), &mut rig.events, &mut rig.out);
            rig.timer(S);
        }
    }
}
