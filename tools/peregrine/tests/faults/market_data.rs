//! Market data that is late, lost, damaged or nonsense.

use crate::world::{BOTH, Before, PATIENCE, Trouble, VenueName, World, other};
use peregrine::demo::stage::StageOptions;
use std::time::Duration;
use venue_sim::fault::Fault;

/// Waits until the venue has shown at least this much trouble of each kind.
#[track_caller]
fn shows(world: &World, before: &Before, fault: &Fault, least: Trouble) {
    let what = format!("{} shows {least:?} for {fault:?}", before.venue.as_str());
    world.until(&what, PATIENCE, |w| {
        let shown = w.shown(before);
        let pairs = [
            (shown.gaps, least.gaps),
            (shown.checksum_failures, least.checksum_failures),
            (shown.resyncs, least.resyncs),
            (shown.malformed, least.malformed),
            (shown.unknown, least.unknown),
            (shown.disconnects, least.disconnects),
        ];
        pairs.iter().all(|(shown, least)| shown >= least)
    });
}

/// One fault and what it must show; nothing else of these kinds may.
#[track_caller]
fn step(world: &World, venue: VenueName, fault: &Fault, least: Trouble) {
    let before = world.inject(venue, fault);
    shows(world, &before, fault, least);
    world.recovers(&before);
    let shown = world.shown(&before);
    let absent = |shown: u64, least: u64| least > 0 || shown == 0;
    let calm = absent(shown.gaps, least.gaps)
        && absent(shown.checksum_failures, least.checksum_failures)
        && absent(shown.malformed, least.malformed)
        && absent(shown.unknown, least.unknown)
        && shown.disconnects == 0;
    assert!(calm, "{} showed {shown:?} for {fault:?}, expected {least:?}", venue.as_str());
}

#[test]
fn bad_market_data_costs_its_book_at_most() {
    let world = World::usual();
    let none = Trouble::default();
    let resync = Trouble { resyncs: 1, ..none };
    for _ in 0..2 {
        step(&world, VenueName::Binance, &Fault::SkipSequence { count: 1 }, Trouble { gaps: 1, ..resync });
    }
    // One lost message may not show: the next may renew the very levels it was about. Twenty do. Once: each failure of a book
    // doubles its wait for the next snapshot, and more are to come.
    step(&world, VenueName::Kraken, &Fault::SkipSequence { count: 20 }, Trouble { checksum_failures: 1, ..resync });
    // Of a book that is given up already no checksum is looked at.
    for count in [1, 5] {
        step(&world, VenueName::Kraken, &Fault::BadChecksum { count }, Trouble { checksum_failures: 1, ..resync });
    }
    for venue in BOTH {
        step(&world, venue, &Fault::CrossedBook, resync);
        // Unknown things are passed over, and no book is given up for them.
        step(&world, venue, &Fault::UnknownSymbol, Trouble { unknown: 1, ..none });
        // It is about an order of somebody else: not even looked at closely.
        step(&world, venue, &Fault::UnknownEnum, none);
        for count in [1, 50] {
            malformed(&world, venue, count);
        }
    }
    let report = world.end();
    for venue in &report.venues {
        assert!(venue.resyncs >= 3 && venue.unknown >= 1, "{venue:?}");
    }
}

/// Every damaged message is counted, once.
fn malformed(world: &World, venue: VenueName, count: u32) {
    let before = world.inject(venue, &Fault::MalformedJson { count });
    world.until("every damaged message is counted", PATIENCE, |w| w.shown(&before).malformed >= u64::from(count));
    world.recovers(&before);
    let shown = world.shown(&before);
    assert_eq!((shown.malformed, shown.disconnects), (u64::from(count), 0), "{}", venue.as_str());
}

#[test]
fn bad_sbe_is_no_worse_than_bad_json_and_stalled_streams_are_worked_off() {
    let world = World::set(&StageOptions { rate: 1_000, sbe: true, ..StageOptions::default() });
    let venue = VenueName::Binance;
    let resync = Trouble { resyncs: 1, ..Trouble::default() };
    step(&world, venue, &Fault::SkipSequence { count: 1 }, Trouble { gaps: 1, ..resync });
    step(&world, venue, &Fault::CrossedBook, resync);
    step(&world, venue, &Fault::UnknownSymbol, Trouble { unknown: 1, ..Trouble::default() });
    malformed(&world, venue, 20);
    for venue in BOTH {
        let before = world.inject(venue, &Fault::StallStreams { ms: 7_000 });
        world.until("its books are stale", PATIENCE, |w| w.venue(venue).books_valid == 0);
        world.trades(other(venue));
        world.recovers(&before);
        assert_eq!(world.shown(&before).disconnects, 0);
        // What was held back comes when the stall is over, and belongs to this fault, not to the next.
        world.pass(Duration::from_secs(8));
        world.recovers(&before);
    }
    world.nothing_unknown();
    world.end();
}
