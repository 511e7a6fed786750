//! Rehearsals: the requests are those that would be made, and nothing of them stays. (All other tests of order entry have
//! rehearsals between their steps, see `Rig::rehearse`.)

mod kraken_support;

use engine_core::event::{Side, flags};
use engine_core::ids::OrderId;
use kraken_support::*;
use venues::venue::{ExecuteError, Role, Venue};

#[test]
fn requests_are_those_that_would_be_made() {
    let mut rig = Rig::ready();
    let rehearsed: Vec<serde_json::Value> = rig.rehearse().iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let methods: Vec<_> = rehearsed.iter().map(|request| request["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["add_order", "cancel_order", "amend_order"]);
    let order = OrderId::new(7, 0x00fe_dcba);
    let request = rig.send(send_new(order, Side::Buy, 612_504, 1_250_000, flags::IOC));
    assert_eq!(request, rehearsed[0], "to the letter, the request's number too");
}

#[test]
fn nothing_is_rehearsed_without_a_session_or_about_an_order_in_use() {
    let mut rig = Rig::new(|_| {});
    assert!(rig.rehearse().is_empty());
    let mut rig = Rig::ready();
    let order = OrderId::new(7, 0x00fe_dcba);
    let request = rig.send(send_new(order, Side::Buy, 612_504, 1_250_000, 0));
    assert!(rig.rehearse().is_empty(), "what is known of it would be lost");
    rig.text(ORDERS, &accepted("add_order", &request["req_id"], r#"{"order_id":"OAAAAA-BBBBB-CCCCCC"}"#));
    assert_eq!(rig.send(send_replace(order, 612_490, 1_250_000))["method"], "amend_order");
}

#[test]
fn rehearsals_cost_no_points_and_give_none_back() {
    let mut rig = Rig::ready();
    for _ in 0..1_000 {
        rig.rehearse();
    }
    // 180 points, a fifth of them kept for cancels: so many new orders at one point each.
    let mut sent = 0;
    loop {
        match rig.execute(send_new(OrderId::new(7, 100 + sent), Side::Buy, 612_504, 1_250_000, 0)) {
            Ok(()) => sent += 1,
            Err(error) => {
                assert_eq!(error, ExecuteError::RateLimited);
                break;
            }
        }
        assert_eq!(rig.sent()[0].0, Role::OrderEntry);
    }
    assert_eq!(sent, 144);
    assert_eq!(rig.venue.counters().rate_limited, 1);
}

#[test]
fn a_rehearsal_does_not_put_off_the_ping() {
    let mut rig = Rig::ready();
    rig.timer(10 * S);
    assert!(rig.sent().is_empty());
    rig.rehearse();
    rig.timer(5 * S);
    assert_eq!(rig.methods(), ["ping"], "15 s after the last real message");
}
