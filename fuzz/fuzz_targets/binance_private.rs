//! Binance's order entry and user data, as a script of lines: see `support::script`. The session is logged on first.
#![no_main]

use engine_core::event::Event;
use libfuzzer_sys::fuzz_target;
use support::codec::Rig;
use support::script::Script;
use support::tables::{BINANCE, settings, tables};
use venues::binance::{Binance, default_hosts};
use venues::outbox::ColdRequest;
use venues::venue::{Encoding, MessageKind, Role, Venue, VenueCounters, VenueInit};

fn run(data: &[u8]) -> (Vec<Event>, VenueCounters, u64, Vec<ColdRequest>) {
    let (instruments, assets) = tables(&BINANCE);
    let settings = settings(default_hosts(), Encoding::Json);
    let venue = Binance::new(VenueInit { settings, instruments: &instruments, assets: &assets, epoch: 7 }).expect("a codec");
    let mut rig = Rig::new(venue, instruments, assets);
    let mut script = Script::new(Role::OrderEntry, &[]);
    rig.open(script.link());
    for _ in 0..2 {
        let id = rig.ids.last().expect("a request").clone();
        rig.message(script.link(), MessageKind::Text, format!("{{\"id\":\"{id}\",\"status\":200,\"result\":{{}}}}").as_bytes());
    }
    assert!(rig.venue.is_ready(Role::OrderEntry));
    script.run(&mut rig, data, |line| line, |_| {});
    rig.outcome()
}

fuzz_target!(|data: &[u8]| {
    let first = run(data);
    // Some of the time: it costs as much again.
    if data.len() % 4 == 0 {
        assert_eq!(first, run(data), "the same bytes give the same events");
    }
});
