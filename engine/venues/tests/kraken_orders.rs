//! Order entry as the core sees it: requests, answers, execution reports, balances, the connection's life.

mod kraken_support;

use engine_core::event::{Event, EventKind, FeedState, QTY_UNSTATED, RejectReason, Side, VenueOrderStatus, flags};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::{AssetId, OrderId};
use kraken_support::*;
use venues::outbox::ColdRequest;
use venues::venue::{ExecuteError, Link, Role, Venue};

const RENEWED: Link = Link { role: Role::OrderEntry, generation: 2 };
const PENDING: &str = r#""symbol":"BTC/USD","side":"buy","order_type":"limit","order_qty":0.0125,"limit_price":61250.4,"limit_price_type":"static","time_in_force":"GTC","cum_cost":0.0,"fee_usd_equiv":0.0,"fee_ccy_pref":"fciq","stop_price":0.0,"exec_type":"pending_new","order_status":"pending_new""#;
const NEW: &str = r#""exec_type":"new","order_status":"new""#;
const TRADE: &str = r#""symbol":"BTC/USD","side":"buy","order_type":"limit","exec_type":"trade","exec_id":"TB7YKS-LM2QW-EERTY9","trade_id":84019233,"last_qty":0.005,"last_price":61250.4,"cost":306.252,"liquidity_ind":"m","fees":[{"asset":"USD","qty":0.49}],"fee_usd_equiv":0.49,"cum_qty":0.005,"cum_cost":306.252,"avg_price":61250.4,"order_status":"partially_filled""#;

fn new_order(n: u32, flags: u8) -> Event {
    send_new(order(n), Side::Buy, 612_504, 1_250_000, flags)
}

/// An order sent, answered and open.
fn open_order(rig: &mut Rig, n: u32) {
    let request = rig.send(new_order(n, 0));
    rig.text(ORDERS, &accepted("add_order", &request["req_id"], &format!(r#"{{"order_id":"{VENUE_ID}","cl_ord_id":"{}"}}"#, order(n))));
    assert_eq!(rig.kinds(), [EventKind::OrderAck]);
}

#[test]
fn connection_fetches_a_token_subscribes_and_reconciles() {
    let mut rig = Rig::new(|settings| settings.dead_man_s = 60);
    rig.open(ORDERS);
    assert_eq!(rig.execute(new_order(1, 0)), Err(ExecuteError::NotConnected));
    assert_eq!(rig.requests(), [ColdRequest::Token { role: Role::OrderEntry }]);
    rig.token(TOKEN);
    let sent: Vec<serde_json::Value> = rig.sent().iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
    let executions = serde_json::json!({"channel": "executions", "snap_orders": true, "snap_trades": false, "order_status": true, "ratecounter": true, "token": TOKEN});
    assert_eq!(sent[0]["params"], executions);
    assert_eq!(sent[1]["params"], serde_json::json!({"channel": "balances", "snapshot": true, "token": TOKEN}));
    rig.text(ORDERS, &accepted("subscribe", &2.into(), r#"{"channel":"executions","maxratecount":180}"#));
    assert!(!rig.venue.is_ready(Role::OrderEntry), "not before the snapshot");
    rig.text(ORDERS, r#"{"channel":"executions","type":"snapshot","data":[],"sequence":1}"#);
    let events = rig.take();
    assert_eq!((events[0].event_kind(), events[0].code, events[0].a), (Some(EventKind::FeedStatus), FeedState::Up as u32, 1));
    assert!(rig.venue.is_ready(Role::OrderEntry));
    let dead_man = rig.sent_value(Role::OrderEntry);
    assert_eq!(
        (&dead_man["method"], &dead_man["params"]),
        (&"cancel_all_orders_after".into(), &serde_json::json!({"timeout": 60, "token": TOKEN}))
    );
    assert_eq!(rig.requests(), [ColdRequest::Reconcile]);
    rig.timer(19 * S);
    assert_eq!(rig.methods(), ["ping"]);
    rig.timer(S);
    assert_eq!(rig.methods(), ["cancel_all_orders_after"]);
    rig.text(ORDERS, &refused("cancel_all_orders_after", &dead_man["req_id"], "EService:Busy"));
    rig.timer(S);
    assert_eq!(rig.methods(), ["cancel_all_orders_after"], "again after a second");
}

#[test]
fn an_empty_account_is_ready_without_a_snapshot() {
    let mut rig = Rig::new(|_| {});
    rig.open(ORDERS);
    rig.token(TOKEN);
    rig.text(ORDERS, &accepted("subscribe", &2.into(), r#"{"channel":"executions"}"#));
    rig.timer(S);
    assert!(!rig.venue.is_ready(Role::OrderEntry));
    rig.timer(S);
    assert!(rig.venue.is_ready(Role::OrderEntry));
}

#[test]
fn requests_read_as_the_sheet_has_them() {
    let mut rig = Rig::ready();
    let request = rig.send(new_order(1, flags::POST_ONLY));
    let mut params = serde_json::json!({"order_type": "limit", "side": "buy", "symbol": "BTC/USD", "order_qty": 0.0125, "limit_price": 61250.4,
        "time_in_force": "gtc", "post_only": true, "cl_ord_id": "p000700000001", "deadline": "2026-01-01T00:00:02.123Z", "token": TOKEN});
    assert_eq!((&request["method"], &request["params"]), (&"add_order".into(), &params));
    rig.text(ORDERS, &accepted("add_order", &request["req_id"], &format!(r#"{{"order_id":"{VENUE_ID}"}}"#)));
    let request = rig.send(send_replace(order(1), 612_490, 2_000_000));
    params = serde_json::json!({"cl_ord_id": "p000700000001", "order_qty": 0.02, "limit_price": 61249.0, "post_only": true, "deadline": "2026-01-01T00:00:02.123Z", "token": TOKEN});
    assert_eq!((&request["method"], &request["params"]), (&"amend_order".into(), &params));
    let request = rig.send(send_new(order(2), Side::Sell, 612_505, 5_000, flags::IOC));
    assert_eq!(request["params"]["time_in_force"], "ioc");
    assert_eq!((&request["params"]["side"], &request["params"]["post_only"]), (&"sell".into(), &serde_json::Value::Null));
    rig.text(ORDERS, &accepted("add_order", &request["req_id"], r#"{"order_id":"OTHER"}"#));
    let request = rig.send(send_cancel(order(2)));
    assert_eq!(
        (&request["method"], &request["params"]),
        (&"cancel_order".into(), &serde_json::json!({"cl_ord_id": ["p000700000002"], "token": TOKEN}))
    );
    let request = rig.send(Event::new(EventKind::SendCancelAll, VENUE, rig.times()));
    assert_eq!((&request["method"], &request["params"]), (&"cancel_all".into(), &serde_json::json!({"token": TOKEN})));
    rig.execute(Event { kind: EventKind::SendQuery as u8, ..send_cancel(order(2)) }).unwrap();
    assert_eq!(rig.requests(), [ColdRequest::OrderStatus { order: order(2), instrument: BTC }]);
}

#[test]
fn what_cannot_be_sent_is_refused_without_a_trace() {
    let mut rig = Rig::ready();
    assert_eq!(rig.execute(send_new(order(1), Side::Buy, 0, 1, 0)), Err(ExecuteError::Unsupported));
    assert_eq!(rig.execute(Event { instrument: 99, ..new_order(1, 0) }), Err(ExecuteError::Unknown));
    assert_eq!(rig.execute(Event { side: 0, ..new_order(1, 0) }), Err(ExecuteError::Unknown));
    assert_eq!(rig.execute(send_replace(order(1), 1, 1)), Err(ExecuteError::Unknown));
    assert_eq!(rig.execute(Event::new(EventKind::Halt, VENUE, rig.times())), Err(ExecuteError::Unsupported));
    rig.send(new_order(1, 0));
    assert_eq!(rig.execute(new_order(1, 0)), Err(ExecuteError::Unknown), "ids are used once");
    assert_eq!(rig.execute(send_replace(order(1), 612_400, 1_250_000)), Err(ExecuteError::Full), "not while it is on its way");
    assert!(rig.sent().is_empty());
    let mut public = Rig::new(|settings| settings.credentials = None);
    assert_eq!(public.venue.endpoints().len(), 1);
    assert_eq!(public.execute(new_order(1, 0)), Err(ExecuteError::NotConnected));
    assert!(!public.venue.is_ready(Role::OrderEntry));
}

#[test]
fn life_of_an_order_in_the_sheets_own_messages() {
    let mut rig = Rig::ready();
    let request = rig.send(new_order(1, 0));
    rig.text(ORDERS, &accepted("add_order", &request["req_id"], &format!(r#"{{"order_id":"{VENUE_ID}","cl_ord_id":"{}"}}"#, order(1))));
    let ack = rig.take();
    assert_eq!((ack.len(), ack[0].event_kind(), ack[0].order_id()), (1, Some(EventKind::OrderAck), order(1)));
    assert!(ack[0].has(flags::LAST) && ack[0].venue_time_ns == 1_767_225_600_304_809_000);
    rig.text(ORDERS, &execution(order(1), 2, PENDING));
    rig.text(ORDERS, &execution(order(1), 3, NEW));
    assert!(rig.take().is_empty(), "acknowledged once");
    // Later records may name the order by the venue's id alone, and no symbol.
    rig.text(ORDERS, &execution(order(1), 4, TRADE).replace(&format!(r#""cl_ord_id":"{}","#, order(1)), ""));
    let fill = rig.take();
    assert_eq!(fill.len(), 2);
    assert_eq!((fill[0].event_kind(), fill[0].asset, fill[0].a), (Some(EventKind::FillFee), AssetId(0).0, 84_019_233));
    assert_eq!(Money::from_words(fill[0].b, fill[0].c), Money::from_scaled(49, 2));
    assert_eq!((fill[1].event_kind(), fill[1].order_id(), fill[1].side()), (Some(EventKind::OrderFill), order(1), Some(Side::Buy)));
    assert_eq!((fill[1].order_price(), fill[1].order_qty(), fill[1].d), (Price(612_504), Qty(500_000), 84_019_233));
    assert!(fill[1].has(flags::LAST | flags::MAKER) && !fill[0].has(flags::LAST));
    rig.text(
        ORDERS,
        &execution(
            order(1),
            5,
            r#""exec_type":"canceled","order_status":"canceled","reason":"User requested","cancel_reason":"User requested","cum_qty":0.005,"cum_cost":306.252,"avg_price":61250.4,"fee_usd_equiv":0.49"#,
        ),
    );
    let gone = rig.take();
    assert_eq!((gone.len(), gone[0].event_kind(), gone[0].b), (1, Some(EventKind::OrderCanceled), 500_000));
    let counters = rig.venue.counters();
    assert_eq!((counters.gaps, counters.malformed, counters.uncorrelated, counters.unknown_values), (0, 0, 0, 0));
}

#[test]
fn fill_may_overtake_the_acknowledgement() {
    let mut rig = Rig::ready();
    let request = rig.send(new_order(1, flags::IOC));
    rig.text(ORDERS, &execution(order(1), 2, PENDING));
    rig.text(ORDERS, &execution(order(1), 3, &TRADE.replace("0.005", "0.0125")));
    assert_eq!(rig.kinds(), [EventKind::FillFee, EventKind::OrderFill]);
    rig.text(ORDERS, &execution(order(1), 4, r#""exec_type":"filled","order_status":"filled","cum_qty":0.0125"#));
    assert!(rig.take().is_empty(), "`filled` repeats no fill");
    rig.text(ORDERS, &accepted("add_order", &request["req_id"], &format!(r#"{{"order_id":"{VENUE_ID}"}}"#)));
    assert_eq!(rig.kinds(), [EventKind::OrderAck]);
}

#[test]
fn completion_without_the_fills_is_evidence_that_asks_for_them() {
    let mut rig = Rig::ready();
    open_order(&mut rig, 1);
    rig.text(ORDERS, &execution(order(1), 2, TRADE));
    rig.take();
    rig.text(ORDERS, &execution(order(1), 3, r#""exec_type":"filled","order_status":"filled","cum_qty":0.0125"#));
    let events = rig.take();
    assert_eq!((events.len(), events[0].event_kind(), events[0].code), (1, Some(EventKind::OrderStatus), VenueOrderStatus::Filled as u32));
    assert_eq!((events[0].b, events[0].c, events[0].d), (1_250_000, 612_504, 1_250_000));
    assert_eq!(rig.requests(), [ColdRequest::OrderStatus { order: order(1), instrument: BTC }]);
}

#[test]
fn post_only_order_that_would_take_is_a_reject_unless_it_was_in_the_book() {
    let mut rig = Rig::ready();
    let killed = r#""exec_type":"canceled","order_status":"canceled","reason":"Post only order","cum_qty":0"#;
    let request = rig.send(new_order(1, flags::POST_ONLY));
    rig.text(ORDERS, &accepted("add_order", &request["req_id"], &format!(r#"{{"order_id":"{VENUE_ID}"}}"#)));
    rig.text(ORDERS, &execution(order(1), 2, PENDING));
    assert!(rig.take().is_empty(), "an answer is no acceptance yet");
    rig.text(ORDERS, &execution(order(1), 3, killed));
    let events = rig.take();
    assert_eq!(
        (events.len(), events[0].event_kind(), events[0].code),
        (1, Some(EventKind::OrderReject), RejectReason::PostOnlyWouldTake as u32)
    );
    // The same after `new`: the core has it as accepted, so it is cancelled.
    let other = |text: String| text.replace(VENUE_ID, "OSECON-DORDE-RAAAAA");
    rig.send(new_order(2, flags::POST_ONLY));
    rig.text(ORDERS, &other(execution(order(2), 4, PENDING)));
    rig.text(ORDERS, &other(execution(order(2), 5, NEW)));
    rig.text(ORDERS, &other(execution(order(2), 6, killed)));
    assert_eq!(rig.kinds(), [EventKind::OrderAck, EventKind::OrderCanceled]);
    assert!(rig.venue.take_notice().unwrap().contains("Post only order"));
}

#[test]
fn cancel_that_loses_to_a_fill_is_refused_as_unknown() {
    let mut rig = Rig::ready();
    open_order(&mut rig, 1);
    let request = rig.send(send_cancel(order(1)));
    rig.text(ORDERS, &execution(order(1), 2, &TRADE.replace("0.005", "0.0125")));
    rig.text(ORDERS, &refused("cancel_order", &request["req_id"], "EOrder:Invalid order"));
    let events = rig.take();
    assert_eq!(events[1].event_kind(), Some(EventKind::OrderFill));
    assert_eq!((events[2].event_kind(), events[2].code), (Some(EventKind::CancelReject), RejectReason::UnknownOrder as u32));
}

#[test]
fn cancel_waits_for_the_answer_to_the_request_before_it() {
    let mut rig = Rig::ready();
    let request = rig.send(new_order(1, 0));
    rig.execute(send_cancel(order(1))).unwrap();
    assert!(rig.sent().is_empty(), "the venue does not keep the order of requests");
    rig.text(ORDERS, &accepted("add_order", &request["req_id"], &format!(r#"{{"order_id":"{VENUE_ID}"}}"#)));
    let cancel = rig.sent_value(Role::OrderEntry);
    assert_eq!(cancel["method"], "cancel_order");
    rig.text(ORDERS, &accepted("cancel_order", &cancel["req_id"], &format!(r#"{{"cl_ord_id":"{}"}}"#, order(1))));
    assert_eq!(rig.kinds(), [EventKind::OrderAck], "gone only when executions say so");
    // Refused: nothing is left to cancel.
    let request = rig.send(new_order(2, 0));
    rig.execute(send_cancel(order(2))).unwrap();
    rig.text(ORDERS, &refused("add_order", &request["req_id"], "EOrder:Insufficient funds"));
    assert!(rig.sent().is_empty());
    assert_eq!(rig.kinds(), [EventKind::OrderReject]);
    // No answer: it goes out all the same.
    rig.send(new_order(3, 0));
    rig.execute(send_cancel(order(3))).unwrap();
    rig.timer(3 * S + MS);
    assert_eq!(rig.kinds(), [EventKind::OrderUncertain]);
    assert_eq!(rig.methods(), ["cancel_order"]);
}

#[test]
fn amend_replaces_on_its_answer_or_on_a_record_with_its_terms() {
    let mut rig = Rig::ready();
    open_order(&mut rig, 1);
    let amended = |qty: &str, price: &str| {
        format!(r#""exec_type":"amended","order_status":"new","amended":true,"order_qty":{qty},"limit_price":{price}"#)
    };
    let check = |events: Vec<Event>, price: u64, qty: u64| {
        assert_eq!((events.len(), events[0].event_kind(), events[0].b, events[0].c), (1, Some(EventKind::OrderReplaced), price, qty));
    };
    // The answer first.
    let request = rig.send(send_replace(order(1), 612_490, 2_000_000));
    rig.text(
        ORDERS,
        &accepted("amend_order", &request["req_id"], &format!(r#"{{"amend_id":"TQ7WKD-LR3HF-X9MPLA","cl_ord_id":"{}"}}"#, order(1))),
    );
    check(rig.take(), 612_490, 2_000_000);
    rig.text(ORDERS, &execution(order(1), 2, &amended("0.02", "61249.0")));
    assert!(rig.take().is_empty(), "told already");
    // The record first.
    let request = rig.send(send_replace(order(1), 612_480, 1_000_000));
    rig.text(ORDERS, &execution(order(1), 3, &amended("0.02", "61249.0")));
    assert!(rig.take().is_empty(), "of the amend before");
    rig.text(ORDERS, &execution(order(1), 4, &amended("0.01", "61248.0")));
    check(rig.take(), 612_480, 1_000_000);
    rig.text(ORDERS, &accepted("amend_order", &request["req_id"], r#"{"amend_id":"T"}"#));
    assert!(rig.take().is_empty());
    // Nobody asked: the venue did it.
    rig.text(ORDERS, &execution(order(1), 5, &amended("0.008", "61248.0").replace("amended\",\"order", "restated\",\"order")));
    check(rig.take(), 612_480, 800_000);
    let request = rig.send(send_replace(order(1), 612_480, 800_000));
    rig.text(ORDERS, &refused("amend_order", &request["req_id"], "EOrder:No amendable parameters"));
    let events = rig.take();
    assert_eq!((events[0].event_kind(), events[0].code), (Some(EventKind::ReplaceReject), RejectReason::NoChange as u32));
}

#[test]
fn refusals_are_told_in_common_words() {
    for (text, reason) in [
        ("EOrder:Insufficient funds", RejectReason::InsufficientFunds),
        ("EOrder:Post only order", RejectReason::PostOnlyWouldTake),
        ("EOrder:Order minimum not met", RejectReason::InvalidQuantity),
        ("EOrder:Cost minimum not met", RejectReason::Notional),
        ("EOrder:Tick size check failed", RejectReason::InvalidPrice),
        ("EOrder:Invalid price", RejectReason::InvalidPrice),
        ("EOrder:Rate limit exceeded", RejectReason::RateLimit),
        ("EOrder:Domain rate limit exceeded", RejectReason::RateLimit),
        ("EOrder:Orders limit exceeded", RejectReason::TooManyOrders),
        ("EGeneral:Permission denied", RejectReason::Authentication),
        ("EGeneral:Invalid arguments:volume", RejectReason::InvalidQuantity),
        ("EAPI:Rate limit exceeded", RejectReason::RateLimit),
        ("EAPI:Invalid key", RejectReason::Authentication),
        ("EService:Unavailable", RejectReason::MarketClosed),
        ("EService:Busy", RejectReason::Overloaded),
        ("EService:Deadline elapsed", RejectReason::Timing),
        ("EService:Market in cancel_only mode", RejectReason::MarketClosed),
        ("EQuery:Unknown asset pair", RejectReason::BadRequest),
        ("Unsupported field: 'foo' for the given msg type: add order", RejectReason::BadRequest),
        ("EWeird:Never seen", RejectReason::Other),
    ] {
        let mut rig = Rig::ready();
        let request = rig.send(new_order(1, 0));
        rig.text(ORDERS, &refused("add_order", &request["req_id"], text));
        let events = rig.take();
        assert_eq!((events.len(), events[0].event_kind(), events[0].code), (1, Some(EventKind::OrderReject), reason as u32), "{text}");
        assert!(rig.venue.take_notice().unwrap().contains(text));
        // The same once more belongs to nothing.
        rig.text(ORDERS, &refused("add_order", &request["req_id"], text));
        assert!(rig.take().is_empty());
        assert_eq!(rig.venue.counters().uncorrelated, 1);
    }
}

#[test]
fn rate_budget_is_kept_per_pair_with_a_reserve_and_corrected_by_the_venue() {
    let mut rig = Rig::ready();
    let sent = (1..200).take_while(|&n| rig.execute(new_order(n, 0)).inspect(|()| rig.out.clear()).is_ok()).count();
    assert_eq!(sent, 144, "180 less a fifth");
    assert_eq!(rig.execute(new_order(500, 0)), Err(ExecuteError::RateLimited));
    assert_eq!(rig.venue.counters().rate_limited, 2);
    assert!(rig.execute(send_cancel(order(1))).is_ok());
    assert!(rig.execute(Event { instrument: ETH.0, ..new_order(501, 0) }).is_ok(), "another pair");
    rig.text(ORDERS, &execution(order(1), 2, &format!("{NEW},\"symbol\":\"BTC/USD\",\"ratecount\":10.5")));
    assert!(rig.execute(new_order(502, 0)).is_ok());
    rig.out.clear();
    let request = rig.send(new_order(503, 0));
    rig.text(ORDERS, &refused("add_order", &request["req_id"], "EOrder:Rate limit exceeded"));
    assert_eq!(rig.execute(new_order(504, 0)), Err(ExecuteError::RateLimited));
}

#[test]
fn request_without_an_answer_is_uncertain_and_a_late_answer_still_counts() {
    let mut rig = Rig::ready();
    let request = rig.send(new_order(1, 0));
    rig.timer(3 * S);
    assert!(rig.take().is_empty());
    rig.timer(MS);
    let events = rig.take();
    assert_eq!((events.len(), events[0].event_kind(), events[0].order_id()), (1, Some(EventKind::OrderUncertain), order(1)));
    rig.timer(S);
    assert!(rig.take().is_empty(), "said once");
    rig.text(ORDERS, &accepted("add_order", &request["req_id"], &format!(r#"{{"order_id":"{VENUE_ID}"}}"#)));
    assert_eq!(rig.kinds(), [EventKind::OrderAck]);
}

#[test]
fn connection_loss_makes_requests_uncertain_and_the_next_one_starts_over() {
    let mut rig = Rig::ready();
    open_order(&mut rig, 1);
    rig.send(send_cancel(order(1)));
    rig.send(new_order(2, 0));
    rig.close(ORDERS);
    let events = rig.take();
    let kinds: Vec<_> = events.iter().map(|e| (e.event_kind().unwrap(), e.a)).collect();
    assert_eq!(kinds, [(EventKind::OrderUncertain, order(1).0), (EventKind::OrderUncertain, order(2).0), (EventKind::FeedStatus, 1)]);
    assert_eq!(rig.execute(new_order(3, 0)), Err(ExecuteError::NotConnected));
    rig.log_on(RENEWED);
    rig.take();
    // What the snapshot lists is evidence.
    rig.text(
        RENEWED,
        &format!(
            r#"{{"channel":"executions","type":"snapshot","data":[{{"order_id":"{VENUE_ID}","cl_ord_id":"{}","symbol":"BTC/USD","side":"buy","order_type":"limit","order_qty":0.0125,"limit_price":61250.4,"exec_type":"status","order_status":"partially_filled","cum_qty":0.005,"timestamp":"2026-01-01T00:00:00.304100Z"}},{{"order_id":"X","exec_type":"trade","cl_ord_id":"{}","symbol":"BTC/USD","side":"buy","last_qty":1,"last_price":1}}],"sequence":1}}"#,
            order(1),
            order(9)
        ),
    );
    let events = rig.take();
    assert_eq!((events.len(), events[0].event_kind(), events[0].code), (1, Some(EventKind::OrderStatus), VenueOrderStatus::Open as u32));
    assert!(events[0].has(flags::SNAPSHOT | flags::LAST));
    assert_eq!((events[0].b, events[0].c, events[0].d), (500_000, 612_504, 1_250_000));
}

#[test]
fn refused_token_is_replaced_and_orders_wait_for_it() {
    let mut rig = Rig::ready();
    let request = rig.send(new_order(1, 0));
    rig.text(ORDERS, &refused("add_order", &request["req_id"], "EAPI:Invalid token"));
    assert_eq!(rig.take()[0].code, RejectReason::Authentication as u32);
    assert_eq!(rig.requests(), [ColdRequest::Token { role: Role::OrderEntry }]);
    assert_eq!(rig.execute(new_order(2, 0)), Err(ExecuteError::NotConnected));
    assert!(rig.take().is_empty(), "reports still come in");
    rig.token("AnotherTokenOfTheVenue");
    rig.out.clear();
    rig.text(ORDERS, &refused("subscribe", &2.into(), "Already subscribed"));
    rig.timer(MS);
    assert!(rig.venue.is_ready(Role::OrderEntry));
    rig.out.clear();
    assert_eq!(rig.send(new_order(3, 0))["params"]["token"], "AnotherTokenOfTheVenue");
}

#[test]
fn token_that_does_not_come_or_is_no_token_is_asked_for_again() {
    let mut rig = Rig::new(|_| {});
    rig.open(ORDERS);
    rig.out.clear();
    rig.token("two \"words\"");
    assert!(rig.sent().is_empty());
    assert!(rig.venue.take_notice().is_some());
    rig.token(&"x".repeat(300));
    assert!(rig.sent().is_empty());
    rig.timer(15 * S);
    assert_eq!(rig.out.requests(), [ColdRequest::Token { role: Role::OrderEntry }]);
    rig.token(TOKEN);
    rig.out.clear();
    rig.text(ORDERS, &refused("subscribe", &2.into(), "ESession:Invalid session"));
    assert_eq!(rig.requests(), [ColdRequest::Token { role: Role::OrderEntry }]);
}

#[test]
fn repeated_messages_are_dropped_and_a_gap_subscribes_anew() {
    let mut rig = Rig::ready();
    open_order(&mut rig, 1);
    rig.text(ORDERS, &execution(order(1), 2, TRADE));
    assert_eq!(rig.kinds().len(), 2);
    rig.text(ORDERS, &execution(order(1), 2, TRADE));
    assert!(rig.take().is_empty());
    assert_eq!(rig.venue.counters().stale, 1);
    rig.text(ORDERS, &execution(order(1), 4, &TRADE.replace("84019233", "84019240")));
    assert_eq!(rig.kinds().len(), 2, "what came is news all the same");
    assert_eq!(rig.methods(), ["unsubscribe", "subscribe"]);
    assert_eq!(rig.requests(), [ColdRequest::Reconcile]);
    rig.text(ORDERS, &execution(order(1), 6, NEW));
    assert!(rig.sent().is_empty(), "one at a time");
    assert_eq!(rig.venue.counters().gaps, 2);
    rig.text(ORDERS, r#"{"channel":"executions","type":"snapshot","data":[],"sequence":1}"#);
    rig.text(ORDERS, &execution(order(1), 2, NEW));
    assert_eq!((rig.venue.counters().gaps, rig.venue.counters().stale), (2, 1));
}

#[test]
fn unknown_values_cost_one_question_and_nothing_else() {
    let mut rig = Rig::ready();
    open_order(&mut rig, 1);
    rig.text(ORDERS, &execution(order(1), 2, r#""exec_type":"mystery","order_status":"mystery","new_field":{"a":[1,2]}"#));
    assert!(rig.take().is_empty());
    assert_eq!(rig.requests(), [ColdRequest::OrderStatus { order: order(1), instrument: BTC }]);
    assert_eq!(rig.venue.counters().unknown_values, 1);
    assert!(rig.venue.take_notice().unwrap().contains("mystery"));
    // Another client's order, a record without a type, a fill that cannot be read: each by itself.
    rig.text(ORDERS, r#"{"channel":"executions","type":"update","data":[{"order_id":"OAAAAA-AAAAA-AAAAAA","exec_type":"mystery"},{"order_id":"O"},7],"sequence":3}"#);
    assert_eq!((rig.venue.counters().uncorrelated, rig.venue.counters().malformed), (1, 2));
    rig.text(ORDERS, &execution(order(1), 4, &TRADE.replace("61250.4", "61250.44")));
    assert_eq!(rig.requests(), [ColdRequest::OrderStatus { order: order(1), instrument: BTC }]);
    rig.text(ORDERS, &execution(order(1), 5, TRADE));
    assert_eq!(rig.kinds(), [EventKind::FillFee, EventKind::OrderFill]);
    rig.text(ORDERS, &execution(order(1), 6, &TRADE.replace("\"USD\",\"qty\"", "\"KFEE\",\"qty\"").replace("84019233", "84019234")));
    assert_eq!(rig.kinds(), [EventKind::OrderFill], "a fee in an asset that we do not hold is told, not booked");
}

#[test]
fn ends_of_orders_that_the_venue_decides() {
    let mut rig = Rig::ready();
    open_order(&mut rig, 1);
    rig.text(ORDERS, &execution(order(1), 2, r#""exec_type":"expired","order_status":"expired""#));
    let events = rig.take();
    assert_eq!((events[0].event_kind(), events[0].b), (Some(EventKind::OrderExpired), QTY_UNSTATED));
    let request = rig.send(new_order(2, flags::IOC));
    rig.text(ORDERS, &accepted("add_order", &request["req_id"], r#"{"order_id":"OTHER"}"#));
    let canceled = r#""exec_type":"canceled","order_status":"canceled","reason":"Insufficient liquidity for IOC order","cum_qty":0"#;
    rig.text(ORDERS, &execution(order(2), 3, canceled).replace(VENUE_ID, "OTHER"));
    assert_eq!(rig.kinds(), [EventKind::OrderAck, EventKind::OrderCanceled]);
}

#[test]
fn adopted_orders_are_found_by_both_ids_and_can_be_cancelled() {
    let mut rig = Rig::ready();
    let before = OrderId::new(3, 42);
    rig.venue.adopt_order(before, BTC, Some(VENUE_ID));
    rig.text(ORDERS, &execution(order(1), 2, TRADE).replace(&format!(r#""cl_ord_id":"{}","#, order(1)), ""));
    assert_eq!(rig.take()[1].order_id(), before);
    assert_eq!(rig.send(send_cancel(before))["params"]["cl_ord_id"], serde_json::json!([before.to_string()]));
}

#[test]
fn balances_are_totals_of_assets_that_we_hold() {
    let mut rig = Rig::ready();
    rig.text(
        ORDERS,
        r#"{"channel":"balances","type":"snapshot","data":[{"asset":"USD","asset_class":"currency","balance":10234.55,"wallets":[{"type":"spot","id":"main","balance":10234.55}]},{"asset":"PEPE","asset_class":"currency","balance":1}],"sequence":1}"#,
    );
    let events = rig.take();
    assert_eq!((events.len(), events[0].event_kind(), events[0].asset), (1, Some(EventKind::Balance), 0));
    assert_eq!(Money::from_words(events[0].a, events[0].b), Money::from_scaled(1_023_455, 2));
    assert!(events[0].has(flags::SNAPSHOT));
    let update = r#"{"channel":"balances","type":"update","data":[{"asset":"USD","asset_class":"currency","amount":-306.252,"balance":9927.808,"fee":0.49,"ledger_id":"LQ","ref_id":"TB7YKS-LM2QW-EERTY9","timestamp":"2026-01-01T00:00:01.500210Z","type":"trade","subtype":"","category":"trade","wallet_type":"spot","wallet_id":"main"}],"sequence":2}"#;
    rig.text(ORDERS, update);
    rig.text(ORDERS, update);
    let events = rig.take();
    assert_eq!((events.len(), Money::from_words(events[0].a, events[0].b)), (1, Money::from_scaled(9_927_808, 3)));
    rig.text(ORDERS, &update.replace("\"sequence\":2", "\"sequence\":9"));
    assert_eq!(rig.requests(), [ColdRequest::Reconcile]);
}

#[test]
fn renewal_takes_reports_from_the_old_link_until_the_new_one_is_ready() {
    let mut rig = Rig::ready();
    open_order(&mut rig, 1);
    rig.open(RENEWED);
    rig.token(TOKEN);
    rig.text(ORDERS, &execution(order(1), 2, TRADE));
    assert_eq!(rig.kinds().len(), 2);
    rig.text(RENEWED, &execution(order(1), 7, NEW));
    assert!(rig.take().is_empty(), "not before its snapshot");
    rig.text(RENEWED, r#"{"channel":"executions","type":"snapshot","data":[],"sequence":1}"#);
    assert!(rig.venue.is_ready(Role::OrderEntry));
    rig.text(ORDERS, &execution(order(1), 3, &TRADE.replace("84019233", "84019234")));
    assert!(rig.take().is_empty());
    rig.text(RENEWED, &execution(order(1), 2, &TRADE.replace("84019233", "84019234")));
    assert_eq!(rig.kinds().len(), 2);
    rig.close(ORDERS);
    assert!(rig.take().is_empty() && rig.venue.is_ready(Role::OrderEntry));
}

#[test]
fn maintenance_on_the_order_connection_is_a_feed_state() {
    let mut rig = Rig::ready_with(|settings| settings.dead_man_s = 10);
    let status = |system: &str| format!(r#"{{"channel":"status","type":"update","data":[{{"system":"{system}"}}]}}"#);
    rig.text(ORDERS, &status("maintenance"));
    assert_eq!(rig.take()[0].code, FeedState::Maintenance as u32);
    rig.timer(10 * S);
    assert!(rig.methods().iter().all(|m| m == "ping"), "no switch can be set now");
    rig.text(ORDERS, &status("online"));
    assert_eq!(rig.take()[0].code, FeedState::Up as u32);
    rig.timer(MS);
    assert_eq!(rig.methods(), ["cancel_all_orders_after"]);
}
