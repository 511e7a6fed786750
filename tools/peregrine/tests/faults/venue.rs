//! Venues that refuse: rate limits, maintenance, cancel-only, a clock that is wrong.

use crate::world::{PATIENCE, VenueName, World};
use engine_core::event::FeedState;
use std::time::Duration;
use venue_sim::fault::Fault;

const BOTH: [VenueName; 2] = [VenueName::Binance, VenueName::Kraken];

#[test]
fn maintenance_stops_orders_there_and_trading_resumes_after_it() {
    let world = World::usual();
    for venue in BOTH {
        let before = world.inject(venue, &Fault::MaintenanceOn);
        world.until("order entry is not up", PATIENCE, |w| w.venue(venue).order_entry() != FeedState::Up);
        world.pass(Duration::from_secs(2));
        world.undisturbed(&before);
        world.stage.sim.inject(venue, &Fault::MaintenanceOff);
        world.recovers(&before);
        world.nothing_unknown();
    }
    world.end();
}

#[test]
fn cancel_only_is_respected_until_it_is_over() {
    let world = World::usual();
    for venue in BOTH {
        let before = world.inject(venue, &Fault::CancelOnlyOn);
        let rejected = world.status().rejected;
        world.pass(Duration::from_secs(4));
        world.undisturbed(&before);
        let refused = world.status().rejected - rejected;
        assert!(refused < 40, "{}: {refused} orders were sent all the same", venue.as_str());
        world.stage.sim.inject(venue, &Fault::CancelOnlyOff);
        world.recovers(&before);
        world.nothing_unknown();
    }
    world.end();
}

#[test]
fn a_venue_whose_clock_jumps_is_traded_on_again_once_it_is_right() {
    let world = World::usual();
    for venue in BOTH {
        for offset_ms in [30_000, -30_000] {
            let before = world.inject(venue, &Fault::ClockJump { offset_ms });
            world.pass(Duration::from_secs(3));
            world.undisturbed(&before);
            world.stage.sim.inject(venue, &Fault::ClockJump { offset_ms: 0 });
            world.recovers(&before);
            world.nothing_unknown();
        }
    }
    world.end();
}

#[test]
fn a_rate_limit_is_waited_out_and_the_venue_not_pressed() {
    let world = World::usual();
    // Kraken refuses single requests.
    let errors = world.venue(VenueName::Kraken).venue_errors;
    let before = world.inject(VenueName::Kraken, &Fault::RateLimit { count: 5 });
    world.until("refusals are counted", PATIENCE, |w| w.venue(VenueName::Kraken).venue_errors > errors);
    world.recovers(&before);
    // Binance wants silence until its minute is over.
    let errors = world.venue(VenueName::Binance).venue_errors;
    let before = world.inject(VenueName::Binance, &Fault::RateLimit { count: 1 });
    world.until("the refusal is counted", PATIENCE, |w| w.venue(VenueName::Binance).venue_errors > errors);
    let orders = world.orders_at(VenueName::Binance);
    world.trades(VenueName::Kraken);
    world.undisturbed(&before);
    let bound = Duration::from_secs(70);
    world.until("binance gets orders again", bound, |w| w.orders_at(VenueName::Binance) >= orders + 5);
    world.nothing_unknown();
    world.end();
}
