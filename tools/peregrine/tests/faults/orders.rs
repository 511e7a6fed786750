//! Answers and reports about orders that are late, lost, doubled or say nothing. Both venues at once.

use crate::world::{BOTH, PATIENCE, VenueName, World};
use engine_core::event::RejectReason;
use std::time::Duration;
use venue_sim::fault::Fault;

/// Commits a fault at both venues, trades through it, and waits until nothing is in doubt.
#[track_caller]
fn trade_through(world: &World, faults: &[Fault]) {
    let before = BOTH.map(|venue| world.before(venue));
    for fault in faults {
        world.inject_both(fault);
    }
    // Enough orders that the faults have hit.
    for venue in BOTH {
        world.orders_go_on(venue, 8, PATIENCE);
    }
    for before in before {
        world.trades(before.venue);
        assert_eq!(world.shown(&before).disconnects, 0, "{faults:?}");
    }
    world.nothing_unknown();
}

#[test]
fn doubled_late_and_lost_answers_leave_no_order_in_doubt_and_nothing_counts_twice() {
    let world = World::usual();
    trade_through(&world, &[Fault::DuplicateAcks { count: 10 }, Fault::DuplicateExecutions { count: 20 }]);
    trade_through(&world, &[Fault::LoseAcks { count: 5 }]);
    trade_through(&world, &[Fault::DelayAcks { ms: 4_000, count: 5 }]);
    let report = world.end();
    assert!(report.orders.fills > 0);
}

#[test]
fn unknown_outcomes_and_lost_reports_are_asked_for() {
    let world = World::usual();
    trade_through(&world, &[Fault::UnknownOutcome { count: 3 }]);

    trade_through(&world, &[Fault::LoseExecutions { count: 5 }]);
    assert!(world.venue(VenueName::Kraken).gaps >= 1, "kraken numbers its reports");

    let before = world.inject_both(&Fault::SilencePrivate { ms: 4_000 });
    world.pass(Duration::from_secs(4));
    for before in &before {
        world.trades(before.venue);
    }
    world.nothing_unknown();

    // Neither answer nor report: at Kraken the next report's number tells, at Binance only time.
    trade_through(&world, &[Fault::LoseAcks { count: 6 }, Fault::LoseExecutions { count: 6 }]);
    let (report, refusals) = world.end_with_refusals();
    // A market that moves towards a quote on its way makes a venue refuse it, the more the slower the machine is; and our own
    // ledgers of what a venue allows hold orders back.
    let usual = [RejectReason::PostOnlyWouldTake, RejectReason::RateLimit, RejectReason::NotSent];
    let others: Vec<_> = refusals.into_iter().filter(|reason| !usual.contains(reason)).collect();
    assert_eq!(others, Vec::<RejectReason>::new(), "what nobody knows is no refusal");
    assert!(report.venues.iter().all(|venue| venue.rest_requests > 0));
}
