//! Venues that refuse: rate limits, maintenance, cancel-only, a clock that is wrong.

use crate::world::{PATIENCE, VenueName, World};
use engine_core::event::FeedState;
use std::time::Duration;
use venue_sim::fault::Fault;

/// Maintenance begins and ends.
fn maintenance(world: &World, venue: VenueName) {
    let before = world.inject(venue, &Fault::MaintenanceOn);
    world.until("order entry is not up", PATIENCE, |w| w.venue(venue).order_entry() != FeedState::Up);
    world.pass(Duration::from_secs(2));
    world.undisturbed(&before);
    world.stage.sim.inject(venue, &Fault::MaintenanceOff);
    world.recovers(&before);
}

/// Only cancels are taken for a while.
fn cancel_only(world: &World, venue: VenueName) {
    let errors = world.venue(venue).venue_errors;
    let before = world.inject(venue, &Fault::CancelOnlyOn);
    world.pass(Duration::from_secs(3));
    world.undisturbed(&before);
    let refused = world.venue(venue).venue_errors - errors;
    assert!(refused < 10, "{}: {refused} orders were sent all the same", venue.as_str());
    world.stage.sim.inject(venue, &Fault::CancelOnlyOff);
    world.recovers(&before);
}

/// The venue's clock jumps and comes back.
fn clock_jump(world: &World, venue: VenueName, offset_ms: i64) {
    let before = world.inject(venue, &Fault::ClockJump { offset_ms });
    world.pass(Duration::from_secs(2));
    world.undisturbed(&before);
    world.stage.sim.inject(venue, &Fault::ClockJump { offset_ms: 0 });
    world.recovers(&before);
}

#[test]
fn a_venue_that_refuses_is_traded_on_again_once_it_does_not() {
    let world = World::usual();
    maintenance(&world, VenueName::Binance);
    cancel_only(&world, VenueName::Binance);
    for offset_ms in [30_000, -30_000] {
        clock_jump(&world, VenueName::Binance, offset_ms);
    }
    // Kraken refuses single requests.
    let errors = world.venue(VenueName::Kraken).venue_errors;
    let before = world.inject(VenueName::Kraken, &Fault::RateLimit { count: 5 });
    world.until("refusals are counted", PATIENCE, |w| w.venue(VenueName::Kraken).venue_errors > errors);
    world.recovers(&before);
    world.nothing_unknown();

    // Binance wants silence until its minute is over; Kraken has its own worries meanwhile.
    let errors = world.venue(VenueName::Binance).venue_errors;
    world.inject(VenueName::Binance, &Fault::RateLimit { count: 1 });
    world.until("the refusal is counted", PATIENCE, |w| w.venue(VenueName::Binance).venue_errors > errors);
    maintenance(&world, VenueName::Kraken);
    cancel_only(&world, VenueName::Kraken);
    for offset_ms in [30_000, -30_000] {
        clock_jump(&world, VenueName::Kraken, offset_ms);
    }
    world.orders_go_on(VenueName::Binance, 3, Duration::from_secs(70));
    world.nothing_unknown();
    world.end();
}
