//! Connections that break, close, or stay up and say nothing.

use crate::world::{PATIENCE, VenueName, World};
use std::time::Duration;
use venue_sim::fault::{Fault, Scope};

/// Connections that a scope has at a venue: one of each role.
fn connections(scope: Scope) -> u64 {
    match scope {
        Scope::All => 2,
        Scope::Market | Scope::Private => 1,
    }
}

#[test]
fn lost_connections_are_made_again_and_only_those() {
    let world = World::usual();
    for venue in [VenueName::Binance, VenueName::Kraken] {
        for scope in [Scope::Market, Scope::Private, Scope::All] {
            for fault in [Fault::DropConnections { scope }, Fault::CloseConnections { scope }] {
                let before = world.inject(venue, &fault);
                let expected = connections(scope);
                let what = format!("{} notices {fault:?}", venue.as_str());
                world.until(&what, PATIENCE, |w| w.shown(&before).disconnects >= expected);
                world.recovers(&before);
                let shown = world.shown(&before);
                assert_eq!(shown.disconnects, expected, "{fault:?}: no connection more than those that were cut");
                assert_eq!((shown.checksum_failures, shown.malformed), (0, 0), "{fault:?}");
            }
        }
    }
    world.nothing_unknown();
    let report = world.end();
    for venue in &report.venues {
        // Two to begin with, and two of each scope's.
        assert_eq!((venue.disconnects, venue.connects), (8, 10), "{}", venue.name);
    }
}

#[test]
fn half_open_connections_are_found_by_their_silence() {
    let world = World::usual();
    // Binance pings each 20 s only: the silence of its market data tells late, and until then its books are not believed.
    // Its order entry is renewed as soon as requests stay unanswered.
    let connects = world.venue(VenueName::Binance).connects;
    let binance = world.inject(VenueName::Binance, &Fault::HalfOpen { scope: Scope::All });
    world.until("binance's order entry is renewed", Duration::from_secs(25), |w| w.venue(VenueName::Binance).connects > connects);
    world.until("binance's books are stale", Duration::from_secs(10), |w| w.venue(VenueName::Binance).books_valid == 0);
    assert_eq!(world.shown(&binance).disconnects, 0, "the renewal was planned");
    // Kraken says something each second: ten seconds of silence are enough. Each role by itself.
    for scope in [Scope::Market, Scope::Private] {
        let before = world.inject(VenueName::Kraken, &Fault::HalfOpen { scope });
        world.until("kraken's silence is noticed", Duration::from_secs(25), |w| w.shown(&before).disconnects >= 1);
        world.trades(VenueName::Kraken);
        assert_eq!(world.shown(&before).disconnects, 1, "{scope:?}");
    }
    world.until("binance's silence is noticed", Duration::from_secs(75), |w| w.shown(&binance).disconnects >= 1);
    world.trades(VenueName::Binance);
    assert_eq!(world.shown(&binance).disconnects, 1);
    world.nothing_unknown();
    gone_altogether(&world);
    world.end();
}

/// Each connection is cut as soon as it is made, for a while.
fn gone_altogether(world: &World) {
    let before = world.before(VenueName::Kraken);
    for _ in 0..15 {
        world.stage.sim.inject(VenueName::Kraken, &Fault::DropConnections { scope: Scope::All });
        world.pass(Duration::from_millis(200));
    }
    world.trades(VenueName::Binance);
    world.recovers(&before);
    let shown = world.shown(&before);
    // Back-off: not once for each cut.
    assert!((2..30).contains(&shown.disconnects), "{shown:?}");
    world.nothing_unknown();
}
