//! Kraken's order entry and executions, as a script of lines: see `support::script`. The token is there and the
//! subscriptions are answered first.
#![no_main]

use engine_core::event::Event;
use libfuzzer_sys::fuzz_target;
use support::codec::Rig;
use support::script::Script;
use support::tables::{KRAKEN, settings, tables};
use venues::kraken::{Kraken, default_hosts};
use venues::outbox::ColdRequest;
use venues::venue::{Encoding, MessageKind, Role, Venue, VenueCounters, VenueInit};

const TOKEN: &[u8] = b"Xk3abcdefghijklmnopqrstuvwxyz0123456789+/AB";

fn run(data: &[u8]) -> (Vec<Event>, VenueCounters, u64, Vec<ColdRequest>) {
    let (instruments, assets) = tables(&KRAKEN);
    let settings = settings(default_hosts(), Encoding::Json);
    let venue = Kraken::new(VenueInit { settings, instruments: &instruments, assets: &assets, epoch: 7 }).expect("a codec");
    let mut rig = Rig::new(venue, instruments, assets);
    let mut script = Script::new(Role::OrderEntry, &[]);
    rig.open(script.link());
    rig.token(TOKEN);
    for text in [
        r#"{"method":"subscribe","result":{"channel":"executions","maxratecount":180},"success":true,"req_id":2}"#,
        r#"{"method":"subscribe","result":{"channel":"balances"},"success":true,"req_id":3}"#,
        r#"{"channel":"executions","type":"snapshot","data":[],"sequence":1}"#,
    ] {
        rig.message(script.link(), MessageKind::Text, text.as_bytes());
    }
    assert!(rig.venue.is_ready(Role::OrderEntry));
    script.run(&mut rig, data, |line| line, |rig| rig.token(TOKEN));
    rig.outcome()
}

fuzz_target!(|data: &[u8]| {
    let first = run(data);
    // Some of the time: it costs as much again.
    if data.len() % 4 == 0 {
        assert_eq!(first, run(data), "the same bytes give the same events");
    }
});
