//! The life of orders: reports in every order, time-outs, restarts, reconciliation.
#![allow(clippy::inconsistent_digit_grouping, reason = "prices are written as units and cents")]

mod support;

use engine_core::event::*;
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::*;
use engine_core::order::OrderState as S;
use engine_core::risk::Refusal;
use engine_core::strategy::NewOrder;
use support::*;

fn position(bench: &Bench, instrument: InstrumentId) -> i64 {
    bench.desk().instrument_position(instrument).unwrap().qty.0
}

fn transitions(events: &[Event]) -> Vec<(u64, u64)> {
    of_kind(events, EventKind::OrderTransition).iter().map(|e| (e.b, e.c)).collect()
}

fn updates(bench: &Bench) -> Vec<(S, S, Option<RejectReason>)> {
    let said = bench.said();
    said.iter().filter_map(|s| if let Said::Order(u) = s { Some((u.previous, u.state, u.reason)) } else { None }).collect()
}

#[test]
fn ack_fills_and_completion_reach_the_strategy_in_order() {
    let mut bench = Bench::new();
    let id = bench.place(buy(BTC_A, 50_000_00, COIN)).unwrap();
    bench.said();
    bench.simple(EventKind::OrderAck, id);
    bench.fill(id, 50_000_00, COIN / 4, 1);
    bench.fee(id, 2, USDT, units(3));
    bench.fill(id, 49_000_00, COIN / 4 * 3, 2);
    let said: Vec<String> = bench
        .said()
        .iter()
        .map(|s| match s {
            Said::Order(u) => format!("{}>{}", u.previous.as_str(), u.state.as_str()),
            Said::Fill(f) => format!("fill {} fee {:?}", f.qty.0, f.fee.map(|f| f.1)),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        said,
        [
            "pending>acked",
            "fill 25000000 fee None",
            "acked>partially_filled",
            &format!("fill 75000000 fee {:?}", Some(units(3))),
            "partially_filled>filled",
        ]
    );
    assert_eq!(position(&bench, BTC_A), COIN);
    let desk = bench.desk();
    let counters = desk.counters();
    assert_eq!((counters.submitted, counters.acked, counters.filled, counters.fills), (1, 1, 1, 2));
    assert_eq!(desk.positions().fees(USDT), units(3));
    // 12,500 + 36,750 paid, 3 in fees.
    assert_eq!(desk.positions().ledger.total(A, USDT), units(5_000_000 - 49_250 - 3));
    assert_eq!(desk.positions().ledger.total(A, BTC), units(61));
    assert_eq!(desk.gate().exposure.held(A, USDT), Money::ZERO);
}

#[test]
fn a_fill_is_booked_once_however_often_it_is_reported() {
    let mut bench = Bench::new();
    let id = bench.resting();
    bench.fill(id, 49_000_00, COIN / 2, 7);
    let again = bench.fill(id, 49_000_00, COIN / 2, 7);
    assert_eq!(of_kind(&again, EventKind::Anomaly)[0].code, Anomaly::DuplicateFill as u32);
    bench.fee(id, 7, USDT, units(1));
    bench.fill(id, 49_000_00, COIN / 2, 7);
    assert_eq!((position(&bench, BTC_A), bench.state(id)), (COIN / 2, S::PartiallyFilled));
    assert_eq!(bench.desk().positions().fees(USDT), Money::ZERO, "nor is its fee");
    bench.gone(EventKind::OrderCanceled, id, Some(COIN / 2));
    bench.fill(id, 49_000_00, COIN / 2, 7);
    assert_eq!((position(&bench, BTC_A), bench.state(id)), (COIN / 2, S::Canceled));
    // From the cold plane a repetition is expected, and no anomaly.
    let event = Event::fill(A, BTC_A, id, Side::Buy, Price(49_000_00), Qty(COIN / 2), 7, bench.times());
    assert_eq!(bench.apply(event.with(flags::COLD | flags::SNAPSHOT)), []);
    assert_eq!(bench.desk().counters().repeated_fills, 4);
}

#[test]
fn a_fee_belongs_to_the_fill_that_follows_only() {
    let mut bench = Bench::new();
    let id = bench.resting();
    bench.fee(id, 1, USDT, units(1));
    bench.fill(id, 49_000_00, 1_000, 2);
    bench.fill(id, 49_000_00, 1_000, 1);
    assert_eq!(bench.desk().positions().fees(USDT), Money::ZERO);
    bench.fee(id, 3, AssetId(99), units(1));
    bench.fill(id, 49_000_00, 1_000, 3);
    assert_eq!(bench.desk().counters().anomaly(Anomaly::UnknownId), 1);
    bench.fee(id, 4, BTC, Money(-5));
    bench.fill(id, 49_000_00, 1_000, 4);
    assert_eq!(bench.desk().positions().fees(BTC), Money(-5), "a rebate");
}

#[test]
fn fills_overtake_acks_and_cancels_lose_to_fills() {
    let mut bench = Bench::new();
    let id = bench.place(buy(BTC_A, 50_000_00, COIN)).unwrap();
    bench.fill(id, 50_000_00, COIN / 2, 1);
    assert_eq!(bench.state(id), S::PartiallyFilled);
    assert_eq!(bench.simple(EventKind::OrderAck, id), [], "says nothing new");
    bench.cancel(id).unwrap();
    bench.fill(id, 50_000_00, COIN / 4, 2);
    assert_eq!(bench.state(id), S::PendingCancel);
    bench.fill(id, 50_000_00, COIN / 4, 3);
    assert_eq!(bench.state(id), S::Filled);
    bench.refused(EventKind::CancelReject, id, RejectReason::UnknownOrder);
    assert_eq!(bench.state(id), S::Filled);
    assert_eq!(bench.desk().counters().anomalies().count(), 0, "all of it is everyday life");
}

#[test]
fn a_cancel_that_counts_missing_fills_waits_for_them_and_asks() {
    let mut bench = Bench::new();
    let id = bench.resting();
    bench.cancel(id).unwrap();
    let outputs = bench.gone(EventKind::OrderCanceled, id, Some(COIN / 2));
    assert_eq!(bench.state(id), S::Unknown);
    assert_eq!(of_kind(&outputs, EventKind::SendQuery).len(), 1);
    assert_eq!(bench.desk().gate().exposure.open(BTC_A, Side::Buy), Qty(COIN / 2), "only what is owed may still come");
    bench.fill(id, 49_000_00, COIN / 4, 1);
    assert_eq!(bench.state(id), S::Unknown, "half of what is owed");
    // An old snapshot that shows it open, or a venue that forgot it, changes nothing.
    bench.advance(10 * SECOND);
    bench.status(id, VenueOrderStatus::Open, 0, 49_000_00, COIN);
    bench.status(id, VenueOrderStatus::NotFound, 0, 0, 0);
    assert_eq!(bench.state(id), S::Unknown);
    bench.fill(id, 49_000_00, COIN / 4, 2);
    assert_eq!(bench.state(id), S::Canceled);
    assert_eq!(position(&bench, BTC_A), COIN / 2);
    assert_eq!(bench.desk().gate().exposure.open(BTC_A, Side::Buy), Qty(0));
}

#[test]
fn a_fill_after_the_cancel_is_booked() {
    let mut bench = Bench::new();
    let id = bench.resting();
    bench.gone(EventKind::OrderCanceled, id, None);
    assert_eq!(bench.state(id), S::Canceled);
    bench.fill(id, 49_000_00, COIN / 2, 1);
    assert_eq!((bench.state(id), position(&bench, BTC_A)), (S::Canceled, COIN / 2));
    bench.fill(id, 49_000_00, COIN / 2, 2);
    assert_eq!((bench.state(id), position(&bench, BTC_A)), (S::Filled, COIN));
    assert_eq!(bench.desk().counters().anomalies().count(), 0);
}

#[test]
fn overfills_are_booked_and_reported() {
    let mut bench = Bench::new();
    let id = bench.resting();
    let outputs = bench.fill(id, 49_000_00, 2 * COIN, 1);
    assert_eq!((bench.state(id), position(&bench, BTC_A)), (S::Filled, 2 * COIN));
    assert_eq!(of_kind(&outputs, EventKind::Anomaly)[0].code, Anomaly::Overfill as u32);
}

#[test]
fn impossible_fills_are_refused_and_suspend_the_instrument() {
    let mut bench = Bench::new();
    let id = bench.resting();
    bench.fill(id, 0, COIN, 1);
    bench.fill(id, 49_000_00, i64::MIN, 2);
    bench.apply(Event::fill(A, BTC_A, id, Side::Sell, Price(1), Qty(1), 3, bench.times()));
    bench.apply(Event::fill(A, ETH_A, id, Side::Buy, Price(1), Qty(1), 4, bench.times()));
    assert_eq!((position(&bench, BTC_A), bench.state(id)), (0, S::Acked));
    assert!(bench.desk().suspended(BTC_A));
    assert_eq!(bench.desk().counters().anomaly(Anomaly::OutOfBounds), 2);
    assert_eq!(bench.desk().counters().anomaly(Anomaly::ImpossibleTransition), 2);
}

#[test]
fn reports_about_strangers_change_nothing() {
    let mut bench = Bench::new();
    let id = bench.resting();
    let hash = |bench: &Bench| bench.desk().order(id).map(|o| (o.state, o.filled));
    let before = hash(&bench);
    let stranger = OrderId::new(9, 9);
    for kind in [EventKind::OrderAck, EventKind::OrderReject, EventKind::OrderCanceled, EventKind::OrderUncertain] {
        let outputs = bench.apply(Event::order_report(kind, A, BTC_A, stranger, bench.times()));
        assert_eq!(of_kind(&outputs, EventKind::Anomaly)[0].code, Anomaly::UnknownOrder as u32);
    }
    // The right order from the wrong venue is a stranger too.
    bench.apply(Event::order_report(EventKind::OrderCanceled, B, BTC_A, id, bench.times()));
    assert_eq!(hash(&bench), before);
    bench.apply(Event::fill(A, BTC_A, stranger, Side::Buy, Price(1), Qty(1), 1, bench.times()).with(flags::SNAPSHOT));
    assert!(!bench.desk().suspended(BTC_A), "an old fill in a snapshot");
    bench.apply(Event::fill(A, BTC_A, stranger, Side::Buy, Price(1), Qty(1), 1, bench.times()));
    assert!(bench.desk().suspended(BTC_A), "a new one moved money behind our back");
    assert_eq!(position(&bench, BTC_A), 0);
}

#[test]
fn rejects_and_refusals_of_requests_are_told_with_their_reason() {
    let mut bench = Bench::new();
    let id = bench.place(buy(BTC_A, 50_000_00, COIN)).unwrap();
    bench.said();
    bench.refused(EventKind::OrderReject, id, RejectReason::InsufficientFunds);
    assert_eq!(updates(&bench), [(S::Pending, S::Rejected, Some(RejectReason::InsufficientFunds))]);
    assert_eq!(bench.desk().available(A, USDT), units(5_000_000));

    let id = bench.resting();
    bench.cancel(id).unwrap();
    bench.said();
    bench.refused(EventKind::CancelReject, id, RejectReason::RateLimit);
    assert_eq!(updates(&bench), [(S::PendingCancel, S::Acked, Some(RejectReason::RateLimit))]);
    bench.replace(id, 49_100_00, COIN).unwrap();
    bench.said();
    bench.refused(EventKind::ReplaceReject, id, RejectReason::PostOnlyWouldTake);
    assert_eq!(updates(&bench), [(S::PendingReplace, S::Acked, Some(RejectReason::PostOnlyWouldTake))]);
    assert_eq!((bench.order(id).price, bench.order(id).pending), (Price(49_000_00), None));
}

#[test]
fn a_request_about_an_order_that_the_venue_does_not_know_makes_it_unknown_and_is_asked_for() {
    let mut bench = Bench::new();
    for kind in [EventKind::CancelReject, EventKind::ReplaceReject] {
        let id = bench.resting();
        let ask = if kind == EventKind::CancelReject { bench.cancel(id) } else { bench.replace(id, 49_100_00, COIN) };
        ask.unwrap();
        let outputs = bench.refused(kind, id, RejectReason::UnknownOrder);
        assert_eq!(bench.state(id), S::Unknown);
        assert_eq!(of_kind(&outputs, EventKind::SendQuery)[0].order_id(), id);
        // It had been filled, as it turns out.
        bench.status(id, VenueOrderStatus::Filled, COIN, 49_000_00, COIN);
        assert_eq!(bench.state(id), S::Unknown, "filled needs its fills");
        bench.fill(id, 49_000_00, COIN, u64::from(kind as u8));
        assert_eq!(bench.state(id), S::Filled);
    }
}

#[test]
fn an_id_in_use_is_asked_for_not_taken_as_a_reject() {
    let mut bench = Bench::new();
    let id = bench.place(buy(BTC_A, 50_000_00, COIN)).unwrap();
    let outputs = bench.refused(EventKind::OrderReject, id, RejectReason::DuplicateOrderId);
    assert_eq!(bench.state(id), S::Unknown);
    assert_eq!(of_kind(&outputs, EventKind::SendQuery).len(), 1);
}

#[test]
fn replaces_take_effect_when_the_venue_says_so() {
    let mut bench = Bench::new();
    let id = bench.resting();
    bench.replace(id, 49_500_00, 2 * COIN).unwrap();
    let sent = of_kind(&bench.outputs, EventKind::SendReplace)[0];
    assert_eq!((sent.order_price(), sent.order_qty(), sent.d), (Price(49_500_00), Qty(2 * COIN), COIN as u64));
    assert_eq!(bench.desk().gate().exposure.open(BTC_A, Side::Buy), Qty(2 * COIN));
    bench.replaced(id, 49_500_00, 2 * COIN);
    let order = bench.order(id);
    assert_eq!((order.state, order.price, order.qty, order.pending), (S::Acked, Price(49_500_00), Qty(2 * COIN), None));
    bench.fill(id, 49_500_00, COIN, 1);
    bench.replace(id, 49_500_00, COIN + 1_000).unwrap();
    bench.fill(id, 49_500_00, 1_000, 2);
    assert_eq!(bench.state(id), S::PendingReplace, "the old quantity may still be in force");
    bench.replaced(id, 49_500_00, COIN + 1_000);
    assert_eq!(bench.state(id), S::Filled, "the new one is reached");
    assert_eq!(bench.desk().counters().replaced, 2);
}

#[test]
fn a_venue_cannot_make_an_order_larger_than_was_asked_for() {
    let mut bench = Bench::new();
    let id = bench.resting();
    let outputs = bench.replaced(id, 49_000_00, VALUE_MAX);
    assert_eq!(of_kind(&outputs, EventKind::Anomaly)[0].code, Anomaly::OutOfBounds as u32);
    assert_eq!((bench.order(id).qty, bench.state(id)), (Qty(COIN), S::Acked));
    assert!(bench.desk().suspended(BTC_A));
    bench.simple(EventKind::OrderUncertain, id);
    bench.advance(10 * SECOND);
    bench.status(id, VenueOrderStatus::Open, 0, 49_000_00, 2 * COIN);
    assert_eq!(bench.order(id).qty, Qty(COIN));
}

#[test]
fn a_cancel_may_follow_a_replace_and_each_is_answered_on_its_own() {
    let mut bench = Bench::new();
    let id = bench.resting();
    bench.replace(id, 49_500_00, COIN).unwrap();
    bench.cancel(id).unwrap();
    bench.refused(EventKind::CancelReject, id, RejectReason::Overloaded);
    assert_eq!(bench.state(id), S::PendingReplace, "the replace is still on its way");
    bench.cancel(id).unwrap();
    bench.replaced(id, 49_500_00, COIN);
    assert_eq!((bench.state(id), bench.order(id).price), (S::PendingCancel, Price(49_500_00)));
    bench.refused(EventKind::CancelReject, id, RejectReason::Overloaded);
    assert_eq!(bench.state(id), S::Acked);
}

#[test]
fn no_answer_in_time_makes_unknown_and_the_venue_is_asked_until_it_tells() {
    let mut bench = Bench::new();
    let id = bench.place(buy(BTC_A, 50_000_00, COIN)).unwrap();
    bench.advance(2 * SECOND - 1);
    assert_eq!(of_kind(&bench.timer(), EventKind::SendQuery), []);
    bench.advance(1);
    let outputs = bench.timer();
    assert_eq!(of_kind(&outputs, EventKind::SendQuery)[0].order_id(), id);
    assert_eq!(transitions(&outputs), [(S::Pending as u64, S::Unknown as u64)]);
    assert_eq!(bench.desk().orders().unknown_len(), 1);
    bench.advance(5 * SECOND - 1);
    assert_eq!(of_kind(&bench.timer(), EventKind::SendQuery), []);
    bench.advance(1);
    assert_eq!(of_kind(&bench.timer(), EventKind::SendQuery).len(), 1);
    assert!(bench.desk().gate().exposure.held(A, USDT) > units(50_000), "it binds as an open order does");
    bench.simple(EventKind::OrderAck, id);
    assert_eq!(bench.state(id), S::Acked);
}

#[test]
fn only_late_evidence_counts_that_an_order_is_not_there() {
    let mut bench = Bench::new();
    let id = bench.place(buy(BTC_A, 50_000_00, COIN)).unwrap();
    bench.simple(EventKind::OrderUncertain, id);
    bench.advance(3 * SECOND - 1);
    bench.status(id, VenueOrderStatus::NotFound, 0, 0, 0);
    assert_eq!(bench.state(id), S::Unknown);
    bench.advance(1);
    bench.status(id, VenueOrderStatus::NotFound, 0, 0, 0);
    assert_eq!(bench.state(id), S::Rejected, "never acknowledged: it never was");
    let id = bench.resting();
    bench.advance(3 * SECOND);
    bench.status(id, VenueOrderStatus::NotFound, 0, 0, 0);
    assert_eq!(bench.state(id), S::Canceled, "it was there once");
}

#[test]
fn a_snapshot_older_than_the_close_does_not_reopen() {
    let mut bench = Bench::new();
    let id = bench.resting();
    bench.gone(EventKind::OrderCanceled, id, Some(0));
    bench.advance(3 * SECOND - 1);
    assert_eq!(bench.status(id, VenueOrderStatus::Open, 0, 49_000_00, COIN), []);
    assert_eq!(bench.state(id), S::Canceled);
    bench.advance(1);
    bench.status(id, VenueOrderStatus::Open, 0, 49_000_00, COIN);
    assert_eq!(bench.state(id), S::Unknown, "long after, it is a contradiction: ask");
    assert_eq!(bench.desk().counters().anomaly(Anomaly::ImpossibleTransition), 1);
    bench.status(id, VenueOrderStatus::Canceled, 0, 49_000_00, COIN);
    assert_eq!(bench.state(id), S::Canceled);
}

#[test]
fn what_a_venue_says_is_as_old_as_the_question() {
    let mut bench = Bench::new();
    let id = bench.resting();
    let asked_ns = bench.now_ns;
    bench.advance(SECOND);
    bench.gone(EventKind::OrderCanceled, id, Some(0));
    let open = |bench: &Bench, asked_ns| {
        let status = Event::order_status(A, BTC_A, id, VenueOrderStatus::Open, Qty(0), Price(49_000_00), Qty(COIN), bench.times());
        status.at(asked_ns).with(flags::COLD | flags::SNAPSHOT | flags::LAST)
    };
    // The venue had us wait ten seconds for the rest of the round.
    bench.advance(10 * SECOND);
    let late = open(&bench, asked_ns);
    assert_eq!((bench.apply(late), bench.state(id)), (vec![], S::Canceled));
    let soon = open(&bench, asked_ns + 4 * SECOND - 1);
    assert_eq!((bench.apply(soon), bench.state(id)), (vec![], S::Canceled));
    assert_eq!(bench.desk().counters().anomaly(Anomaly::ImpossibleTransition), 0);
    let contradicts = open(&bench, asked_ns + 4 * SECOND);
    bench.apply(contradicts);
    assert_eq!(bench.state(id), S::Unknown);
    // An order that was placed after the question cannot be missing from the answer.
    let young = bench.resting();
    let missing = Event::order_status(A, BTC_A, young, VenueOrderStatus::NotFound, Qty(0), Price(0), Qty(0), bench.times());
    let before = bench.now_ns - SECOND;
    bench.advance(10 * SECOND);
    bench.apply(missing.at(before).with(flags::COLD | flags::SNAPSHOT | flags::LAST));
    assert_eq!(bench.state(young), S::Acked);
}

#[test]
fn an_unanswered_replace_is_resolved_by_what_the_venue_shows() {
    let mut bench = Bench::new();
    let id = bench.resting();
    bench.replace(id, 49_500_00, 2 * COIN).unwrap();
    bench.advance(2 * SECOND);
    bench.timer();
    assert_eq!(bench.state(id), S::Unknown);
    bench.status(id, VenueOrderStatus::Open, 0, 49_500_00, 2 * COIN);
    let order = bench.order(id);
    assert_eq!((order.state, order.price, order.qty, order.pending), (S::Acked, Price(49_500_00), Qty(2 * COIN), None));
    bench.replace(id, 49_600_00, 2 * COIN).unwrap();
    bench.advance(2 * SECOND);
    bench.timer();
    bench.status(id, VenueOrderStatus::Open, 0, 49_500_00, 2 * COIN);
    assert_eq!((bench.state(id), bench.order(id).price), (S::Acked, Price(49_500_00)), "it did not take effect");
}

#[test]
fn a_lost_link_makes_what_awaits_an_answer_unknown_and_nothing_else() {
    let mut bench = Bench::new();
    let resting = bench.resting();
    let pending = bench.place(buy(BTC_A, 48_000_00, COIN)).unwrap();
    let elsewhere = bench.place(buy(BTC_B, 48_000_00, COIN)).unwrap();
    bench.said();
    let outputs = bench.feed(A, 1, FeedState::Down);
    assert_eq!(transitions(&outputs), [(S::Pending as u64, S::Unknown as u64)]);
    assert_eq!((bench.state(resting), bench.state(pending), bench.state(elsewhere)), (S::Acked, S::Unknown, S::Pending));
    assert_eq!(updates(&bench), [(S::Pending, S::Unknown, None)]);
    assert!(!bench.desk().reconciled(A) && bench.desk().reconciled(B));
}

#[test]
fn a_cold_round_brings_missed_fills_closes_and_unknowns_home() {
    let mut bench = Bench::new();
    let (filled, closed, open, lost) = (bench.resting(), bench.resting(), bench.resting(), {
        bench.advance(1);
        bench.place(buy(BTC_A, 49_000_00, COIN)).unwrap()
    });
    bench.feed(A, 1, FeedState::Down);
    bench.advance(10 * SECOND);
    bench.feed(A, 1, FeedState::Up);
    bench.reconcile(A, 0, 0);
    let cold = flags::COLD | flags::SNAPSHOT;
    let fill = Event::fill(A, BTC_A, filled, Side::Buy, Price(49_000_00), Qty(COIN), 5, bench.times());
    bench.apply(fill.with(cold));
    bench.status(filled, VenueOrderStatus::Filled, COIN, 49_000_00, COIN);
    bench.status(closed, VenueOrderStatus::Canceled, 0, 49_000_00, COIN);
    bench.status(open, VenueOrderStatus::Open, 0, 49_000_00, COIN);
    bench.status(lost, VenueOrderStatus::NotFound, 0, 49_000_00, COIN);
    bench.reconcile(A, 1, 1);
    let states = [filled, closed, open, lost].map(|id| bench.state(id));
    assert_eq!(states, [S::Filled, S::Canceled, S::Acked, S::Rejected]);
    assert!(bench.desk().reconciled(A));
    assert_eq!(bench.desk().counters().reconciliations, 3);
    assert_eq!(bench.desk().counters().anomalies().count(), 0);
}

#[test]
fn a_round_that_spans_an_outage_proves_nothing() {
    let mut bench = Bench::new();
    bench.reconcile(A, 0, 0);
    bench.feed(A, 1, FeedState::Down);
    bench.feed(A, 1, FeedState::Up);
    bench.reconcile(A, 1, 0);
    assert!(!bench.desk().reconciled(A));
}

#[test]
fn after_a_restart_everything_open_is_unknown_until_the_venue_shows_it() {
    let mut bench = Bench::new();
    let (acked, pending) = (bench.resting(), bench.place(buy(BTC_A, 48_000_00, COIN)).unwrap());
    bench.fill(acked, 49_000_00, COIN / 2, 1);
    bench.said();
    bench.advance(60 * SECOND);
    bench.session(2);
    assert_eq!((bench.state(acked), bench.state(pending)), (S::Unknown, S::Unknown));
    assert_eq!(bench.said().last(), Some(&Said::Start));
    assert_eq!(bench.desk().epoch(), Some(2));
    assert_eq!(bench.place(buy(BTC_A, 47_000_00, COIN)), Err(Refusal::OrderEntryDown));
    assert!(bench.desk().book(BTC_A).unwrap().top().is_none());
    bench.feed(A, 0, FeedState::Up);
    bench.feed(A, 1, FeedState::Up);
    bench.book(BTC_A, 49_990_00, 50_010_00);
    assert_eq!(bench.place(buy(BTC_A, 47_000_00, COIN)), Err(Refusal::NotReconciled));
    bench.reconcile(A, 0, 0);
    bench.status(acked, VenueOrderStatus::Open, COIN / 2, 49_000_00, COIN);
    bench.status(pending, VenueOrderStatus::NotFound, 0, 0, 0);
    bench.reconcile(A, 1, 1);
    assert_eq!((bench.state(acked), bench.state(pending)), (S::PartiallyFilled, S::Rejected));
    assert_eq!(bench.place(buy(BTC_A, 47_000_00, COIN)), Ok(OrderId::new(2, 1)), "ids of the new epoch");
}

#[test]
fn an_epoch_is_used_once() {
    let mut bench = Bench::new();
    for epoch in [0, 1, u64::from(OrderId::EPOCH_MAX) + 1, u64::MAX] {
        let outputs = bench.session(epoch);
        assert_eq!(of_kind(&outputs, EventKind::Anomaly)[0].code, Anomaly::OutOfBounds as u32);
    }
    assert_eq!(bench.desk().epoch(), Some(1));
    assert!(bench.place(buy(BTC_A, 49_000_00, COIN)).is_ok());
}

#[test]
fn kill_cancels_everything_on_every_venue_and_again_until_it_is_gone() {
    let mut bench = Bench::new();
    let (acked, pending, other) =
        (bench.resting(), bench.place(buy(BTC_A, 48_000_00, COIN)).unwrap(), bench.place(buy(BTC_B, 48_000_00, COIN)).unwrap());
    bench.said();
    let outputs = bench.command(CommandKind::Kill, 0, 0);
    assert_eq!(of_kind(&outputs, EventKind::Halt)[0].code, HaltReason::Operator as u32);
    let venues: Vec<u8> = of_kind(&outputs, EventKind::SendCancelAll).iter().map(|e| e.venue).collect();
    assert_eq!(venues, [0, 1]);
    assert!([acked, pending, other].iter().all(|&id| bench.state(id) == S::PendingCancel));
    assert_eq!(updates(&bench).len(), 3, "the strategy did not ask for it, so it is told");
    assert_eq!(bench.command(CommandKind::Kill, 0, 0), [], "once");
    bench.gone(EventKind::OrderCanceled, other, Some(0));
    bench.advance(2 * SECOND);
    let outputs = bench.timer();
    let venues: Vec<u8> = of_kind(&outputs, EventKind::SendCancelAll).iter().map(|e| e.venue).collect();
    assert_eq!(venues, [0], "where something may rest");
    bench.gone(EventKind::OrderCanceled, acked, Some(0));
    bench.gone(EventKind::OrderCanceled, pending, Some(0));
    bench.advance(2 * SECOND);
    assert_eq!(of_kind(&bench.timer(), EventKind::SendCancelAll), []);
}

#[test]
fn a_kill_while_a_venue_is_away_is_made_up_for_when_it_is_back() {
    let mut bench = Bench::new();
    let id = bench.resting();
    bench.feed(A, 1, FeedState::Down);
    let outputs = bench.command(CommandKind::Kill, 0, 0);
    assert_eq!(of_kind(&outputs, EventKind::SendCancelAll).iter().map(|e| e.venue).collect::<Vec<_>>(), [1]);
    let outputs = bench.feed(A, 1, FeedState::Up);
    assert_eq!(of_kind(&outputs, EventKind::SendCancelAll).iter().map(|e| e.venue).collect::<Vec<_>>(), [0]);
    assert_eq!(bench.state(id), S::PendingCancel);
}

#[test]
fn a_disabled_strategy_has_its_orders_pulled_and_the_others_keep_theirs() {
    let both = vec![strategy_config("one", &[BTC_A]), strategy_config("two", &[BTC_A])];
    let mut bench = Bench::with(config(both));
    let mine = bench.resting();
    let other = bench.ask_of(1, Ask::Place(buy(BTC_A, 48_000_00, COIN))).unwrap();
    let outputs = bench.command(CommandKind::EnableStrategy, 0, 0);
    assert_eq!(of_kind(&outputs, EventKind::SendCancel).iter().map(|e| e.order_id()).collect::<Vec<_>>(), [mine]);
    assert_eq!(bench.state(other), S::Pending);
}

#[test]
fn cancel_instrument_cancels_that_instruments_orders_only() {
    let mut bench = Bench::new();
    let (a, b) = (bench.resting(), bench.resting());
    let eth = bench.place(buy(ETH_A, 1_900_00, COIN)).unwrap();
    assert_eq!(bench.ask(Ask::CancelInstrument(BTC_A)), Ok(OrderId(2)));
    assert_eq!((bench.state(a), bench.state(b), bench.state(eth)), (S::PendingCancel, S::PendingCancel, S::Pending));
    assert_eq!(bench.ask(Ask::CancelInstrument(BTC_A)), Ok(OrderId(0)));
}

#[test]
fn balances_that_keep_differing_stop_trading_and_resume_takes_them_over() {
    let mut bench = Bench::new();
    let round = |bench: &mut Bench, btc: i64| {
        bench.reconcile(A, 0, 0);
        bench.balance(A, BTC, units(btc));
        bench.reconcile(A, 1, 0);
    };
    round(&mut bench, 60);
    round(&mut bench, 61);
    assert_eq!(bench.desk().halted(), None, "once may be a fill under way");
    round(&mut bench, 62);
    assert_eq!(bench.desk().halted(), None, "a different difference");
    round(&mut bench, 62);
    assert_eq!(bench.desk().halted(), Some(HaltReason::Mismatch));
    assert_eq!(bench.desk().counters().anomaly(Anomaly::BalanceMismatch), 1);
    bench.command(CommandKind::Resume, 0, 0);
    assert_eq!(bench.desk().positions().ledger.total(A, BTC), units(62));
    round(&mut bench, 62);
    round(&mut bench, 62);
    assert_eq!(bench.desk().halted(), None);
}

#[test]
fn books_turn_stale_once_are_asked_for_anew_and_recover() {
    let mut config = config(vec![strategy_config("puppet", &[BTC_A, BTC_B, ETH_A])]);
    config.limits.stale_after_ns = 2 * SECOND;
    let mut bench = Bench::with(config);
    bench.advance(SECOND);
    bench.book(BTC_B, 49_990_00, 50_010_00);
    bench.book(ETH_A, 1_999_00, 2_001_00);
    bench.said();
    bench.advance(SECOND + 1);
    let outputs = bench.timer();
    let resyncs = of_kind(&outputs, EventKind::SendResync);
    assert_eq!((resyncs.len(), resyncs[0].instrument_id(), resyncs[0].code), (1, BTC_A, BookInvalid::Stale as u32));
    assert_eq!(bench.said(), [Said::Book(BTC_A)]);
    bench.advance(MS);
    assert_eq!(of_kind(&bench.timer(), EventKind::SendResync), []);
    assert_eq!(bench.said(), [], "told once");
    bench.level(BTC_A, Side::Buy, 49_990_00, COIN);
    assert_eq!(bench.desk().book_state(BTC_A), engine_core::strategy::BookState::Valid);
}

#[test]
fn a_crossed_book_is_told_and_asked_for_anew_and_what_the_codec_said_is_not() {
    let mut bench = Bench::new();
    bench.said();
    let outputs = bench.level(BTC_A, Side::Buy, 50_020_00, COIN);
    let resync = of_kind(&outputs, EventKind::SendResync)[0];
    assert_eq!((resync.instrument_id(), resync.venue_id(), resync.code), (BTC_A, A, BookInvalid::Crossed as u32));
    assert_eq!(bench.said(), [Said::Book(BTC_A)]);
    assert_eq!(of_kind(&bench.book_invalid(BTC_B, BookInvalid::Gap), EventKind::SendResync), []);
    assert_eq!(bench.said(), [Said::Book(BTC_B)]);
    let outputs = bench.feed(A, 0, FeedState::Down);
    assert_eq!(of_kind(&outputs, EventKind::SendResync), []);
    assert_eq!(bench.said(), [Said::Book(ETH_A)], "the only book of that venue that was valid");
}

#[test]
fn strategies_look_when_the_message_is_over() {
    let mut bench = Bench::new();
    bench.said();
    let event = |bench: &Bench, instrument, price| Event::book_level(A, instrument, Side::Buy, Price(price), Qty(COIN), 99, bench.times());
    bench.apply(event(&bench, BTC_A, 49_980_00));
    bench.apply(event(&bench, ETH_A, 1_998_00));
    // Another venue's message in between ends its own only.
    bench.level(BTC_B, Side::Buy, 49_980_00, COIN);
    assert_eq!(bench.said(), [Said::Book(BTC_B)]);
    bench.apply(event(&bench, BTC_A, 49_970_00).with(flags::LAST));
    assert_eq!(bench.said(), [Said::Book(BTC_A), Said::Book(ETH_A)]);
    bench.apply(Event::trade(A, BTC_A, Side::Sell, Price(49_990_00), Qty(5), 1, bench.times()).with(flags::LAST));
    assert!(matches!(bench.said()[..], [Said::Trade(t)] if t.price == Price(49_990_00) && t.side == Side::Sell));
}

#[test]
fn new_rules_are_in_force_at_once_and_impossible_ones_close_the_instrument() {
    let mut bench = Bench::new();
    let rules = |bench: &mut Bench, tick: i64, lot: i64| {
        let event = Event::new(EventKind::InstrumentRules, A, bench.times());
        bench.apply(Event { instrument: BTC_A.0, a: tick as u64, b: lot as u64, c: 5_000, d: 10_00, flags: flags::LAST, ..event });
    };
    rules(&mut bench, 50, 2_000);
    let instrument = bench.desk().instruments().get(BTC_A).unwrap().clone();
    assert_eq!((instrument.tick, instrument.lot, instrument.qty_min, instrument.epoch), (Price(50), Qty(2_000), Qty(5_000), 1));
    assert_eq!(instrument.notional_min, units(10));
    assert_eq!(bench.place(buy(BTC_A, 49_000_01, COIN)), Err(Refusal::PriceOffTick));
    rules(&mut bench, 0, 2_000);
    assert_eq!(bench.place(buy(BTC_A, 49_000_00, COIN)), Err(Refusal::InstrumentClosed));
}

#[test]
fn nonsense_is_counted_and_changes_nothing() {
    let mut bench = Bench::new();
    let before = bench.desk().orders().open_len();
    let times = bench.times();
    let nonsense = [
        Event { kind: 0, ..Event::timer(times) },
        Event { kind: 200, ..Event::timer(times) },
        Event::new(EventKind::SendNew, A, times),
        Event::new(EventKind::ColdText, A, times),
        Event::book_level(VenueId(9), BTC_A, Side::Buy, Price(1), Qty(1), 1, times),
        Event::book_level(A, InstrumentId(999), Side::Buy, Price(1), Qty(1), 1, times),
        Event::book_level(A, BTC_B, Side::Buy, Price(1), Qty(1), 1, times),
        Event::trade(VenueId(200), InstrumentId(9), Side::Buy, Price(1), Qty(1), 1, times),
        Event::feed_status(VenueId(77), 0, FeedState::Up, times),
        Event::feed_status(A, 9, FeedState::Up, times),
        Event { code: 99, ..Event::feed_status(A, 0, FeedState::Up, times) },
        Event { code: 99, ..Event::command(CommandKind::Kill, 0, 0, times) },
        Event::command(CommandKind::EnableStrategy, 77, 1, times),
        Event { venue: 99, ..Event::command(CommandKind::ClockOffset, 0, 0, times) },
        Event::balance(VenueId(9), BTC, units(1), units(1), times),
        Event::balance(A, AssetId(999), Money(i128::MAX), Money(i128::MIN), times),
        Event::instrument_status(A, InstrumentId(99), InstrumentStatus::Trading, times),
        Event { instrument: 99, ..Event::new(EventKind::InstrumentRules, A, times) },
        Event { code: 7, ..Event::new(EventKind::Reconcile, A, times) },
        Event { venue: 99, ..Event::new(EventKind::Reconcile, A, times) },
    ];
    for event in nonsense {
        let outputs = bench.apply(event);
        assert_eq!(kinds(&outputs), [EventKind::Anomaly], "{event:?}");
    }
    assert_eq!(bench.desk().orders().open_len(), before);
    assert!(bench.place(buy(BTC_A, 49_000_00, COIN)).is_ok());
}

#[test]
fn time_does_not_go_backwards() {
    let mut bench = Bench::new();
    let now = bench.desk().now_ns();
    let times = Times { core_ns: now - 2 * SECOND, poll_delay_ns: 0 };
    assert_eq!(of_kind(&bench.apply(Event::timer(times)), EventKind::Anomaly)[0].code, Anomaly::ClockJump as u32);
    assert_eq!(bench.apply(Event::balance(A, BTC, units(60), units(60), times).with(flags::COLD)), [], "fetched a while ago");
    assert_eq!(bench.desk().now_ns(), now);
}

#[test]
fn orders_of_all_kinds_carry_their_flags() {
    let mut bench = Bench::new();
    bench.place(NewOrder { post_only: true, ..buy(BTC_A, 49_000_00, COIN) }).unwrap();
    bench.place(NewOrder { ioc: true, ..buy(BTC_A, 49_000_00, COIN) }).unwrap();
    let sent = of_kind(&bench.outputs, EventKind::SendNew);
    assert_eq!(sent.iter().map(|e| e.flags).collect::<Vec<_>>(), [flags::POST_ONLY, flags::IOC]);
    assert!(sent.iter().all(|e| e.strategy_id() == StrategyId(0) && e.core_time_ns == bench.now_ns));
}

#[test]
fn state_hashes_come_every_so_many_inputs() {
    let mut config = config(vec![strategy_config("puppet", &[BTC_A])]);
    config.state_hash_every = 10;
    let mut bench = Bench::with(config);
    for _ in 0..20 {
        bench.timer();
    }
    let hashes = of_kind(&bench.outputs, EventKind::StateHash);
    assert!(hashes.len() >= 3);
    assert!(hashes.iter().enumerate().all(|(i, e)| e.b == (i as u64 + 1) * 10));
}
