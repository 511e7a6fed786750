//! Answers and reports about orders that are late, lost, doubled or say nothing.

use crate::world::{PATIENCE, VenueName, World};
use std::time::Duration;
use venue_sim::fault::Fault;

const BOTH: [VenueName; 2] = [VenueName::Binance, VenueName::Kraken];

/// Commits a fault, trades through it, and waits until nothing is in doubt.
#[track_caller]
fn trade_through(world: &World, venue: VenueName, fault: &Fault) {
    let before = world.inject(venue, fault);
    // Enough orders that the fault has hit.
    let orders = world.orders_at(venue);
    world.until(&format!("orders go on with {fault:?}"), PATIENCE, |w| w.orders_at(venue) >= orders + 10);
    world.recovers(&before);
    world.nothing_unknown();
    assert_eq!(world.shown(&before).disconnects, 0, "{fault:?}");
}

#[test]
fn doubled_answers_and_reports_count_once() {
    let world = World::usual();
    for venue in BOTH {
        trade_through(&world, venue, &Fault::DuplicateAcks { count: 10 });
        trade_through(&world, venue, &Fault::DuplicateExecutions { count: 20 });
    }
    let report = world.end();
    assert!(report.orders.fills > 0);
}

#[test]
fn late_and_lost_answers_leave_no_order_in_doubt() {
    let world = World::usual();
    for venue in BOTH {
        trade_through(&world, venue, &Fault::LoseAcks { count: 5 });
        trade_through(&world, venue, &Fault::DelayAcks { ms: 4_000, count: 5 });
    }
    world.end();
}

#[test]
fn an_order_of_unknown_outcome_is_asked_for_not_taken_for_refused() {
    let world = World::usual();
    for venue in BOTH {
        let rejected = world.status().rejected;
        trade_through(&world, venue, &Fault::UnknownOutcome { count: 3 });
        assert_eq!(world.status().rejected, rejected, "{}: what nobody knows is no refusal", venue.as_str());
    }
    let report = world.end();
    assert!(report.venues.iter().all(|venue| venue.rest_requests > 0));
}

#[test]
fn lost_reports_and_a_silent_private_stream_are_made_up_for() {
    let world = World::usual();
    for venue in BOTH {
        trade_through(&world, venue, &Fault::LoseExecutions { count: 5 });
        let before = world.inject(venue, &Fault::SilencePrivate { ms: 4_000 });
        world.pass(Duration::from_secs(4));
        world.recovers(&before);
        world.nothing_unknown();
    }
    let report = world.end();
    assert!(report.venues[1].gaps >= 1, "kraken numbers its reports: {:?}", report.venues[1]);
}

#[test]
fn lost_answers_and_lost_reports_at_once_are_resolved_by_asking() {
    let world = World::usual();
    for venue in BOTH {
        let before = world.inject(venue, &Fault::LoseAcks { count: 6 });
        world.stage.sim.inject(venue, &Fault::LoseExecutions { count: 6 });
        world.until("an order is in doubt", PATIENCE, |w| w.status().unknown > 0);
        world.recovers(&before);
        world.nothing_unknown();
    }
    world.end();
}
