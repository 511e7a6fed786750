//! Rehearsals: the requests are those that would be made, and nothing of them stays. (All other tests of order entry have
//! rehearsals between their steps, see `Rig::rehearse`.)

mod binance_support;

use binance_support::*;
use engine_core::event::{EventKind, Side, flags};
use engine_core::ids::OrderId;
use venues::venue::{ExecuteError, Role, Venue};

#[test]
fn requests_are_those_that_would_be_made() {
    let mut rig = Rig::ready();
    let rehearsed: Vec<serde_json::Value> = rig.rehearse().iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let methods: Vec<_> = rehearsed.iter().map(|request| request["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["order.place", "order.cancel", "order.amend.keepPriority"]);
    let order = OrderId::new(7, 0x00fe_dcba);
    rig.execute(send_new(order, Side::Buy, 6_825_010, 150_000, flags::IOC)).unwrap();
    assert_eq!(rig.sent_value(Role::OrderEntry), rehearsed[0], "to the letter, the request's number too");
}

#[test]
fn nothing_is_rehearsed_without_a_session_or_about_an_order_in_use() {
    let mut rig = Rig::new(|_| {});
    assert!(rig.rehearse().is_empty());
    let mut rig = Rig::ready();
    let order = OrderId::new(7, 0x00fe_dcba);
    rig.execute(send_new(order, Side::Buy, 6_825_010, 150_000, 0)).unwrap();
    rig.sent();
    assert!(rig.rehearse().is_empty(), "what is known of it would be lost");
    rig.execute(send_replace(order, 6_825_010, 100_000, 150_000)).unwrap();
    assert_eq!(rig.sent_value(Role::OrderEntry)["method"], "order.amend.keepPriority");
}

#[test]
fn rehearsals_cost_no_budget_and_open_none() {
    let mut rig = Rig::ready();
    for _ in 0..1_000 {
        rig.rehearse();
    }
    // The venue's 50 orders in 10 seconds are still there, and no more than those.
    let mut sent = 0;
    loop {
        let order = OrderId::new(7, 100 + sent);
        match rig.execute(send_new(order, Side::Buy, 6_825_010, 150_000, 0)) {
            Ok(()) => sent += 1,
            Err(error) => {
                assert_eq!(error, ExecuteError::RateLimited);
                break;
            }
        }
        rig.sent();
    }
    assert_eq!(sent, 50);
    assert_eq!(rig.venue.counters().rate_limited, 1);
    rig.execute(send(EventKind::SendCancel, OrderId::new(7, 100))).unwrap();
}
