//! Binance's JSON streams, as a script of lines: see `support::script`.
#![no_main]

use engine_core::event::{Event, Side};
use libfuzzer_sys::fuzz_target;
use support::codec::Rig;
use support::script::Script;
use support::tables::{BINANCE, settings, tables};
use venues::binance::message::{Message, Scratch};
use venues::binance::{Binance, default_hosts, stream};
use venues::outbox::ColdRequest;
use venues::symbols::SymbolIndex;
use venues::venue::{Encoding, MessageKind, Role, VenueCounters, VenueInit, VenueSettings};

const LEVELS: [(Side, i64, i64); 4] =
    [(Side::Buy, 6_825_010, 150_000_000), (Side::Buy, 6_825_000, 5_000), (Side::Sell, 6_825_011, 42_000_000), (Side::Sell, 6_825_020, 1)];

fn run(data: &[u8]) -> (Vec<Event>, VenueCounters, u64, Vec<ColdRequest>) {
    let (instruments, assets) = tables(&BINANCE);
    let settings = VenueSettings { credentials: None, ..settings(default_hosts(), Encoding::Json) };
    let venue = Binance::new(VenueInit { settings, instruments: &instruments, assets: &assets, epoch: 7 }).expect("a codec");
    let mut symbols = SymbolIndex::new(&instruments, support::tables::VENUE);
    let mut scratch = Scratch::default();
    let mut rig = Rig::new(venue, instruments, assets);
    let mut script = Script::new(Role::MarketData, &LEVELS);
    rig.open(script.link());
    let id = rig.ids.last().expect("a subscription").clone();
    rig.message(script.link(), MessageKind::Text, format!("{{\"result\":null,\"id\":{id}}}").as_bytes());
    let look = |line: Vec<u8>| {
        // A text that is not JSON to its end is never taken for data.
        if let Ok(Message::Diff { .. } | Message::Book { .. } | Message::Ticker { .. } | Message::Trades { .. }) =
            stream::parse(&line, &mut symbols, &mut scratch, |_| {})
            && std::str::from_utf8(&line).is_ok()
        {
            let whole = serde_json::from_slice::<&serde_json::value::RawValue>(&line);
            assert!(whole.is_ok(), "{whole:?}");
        }
        line
    };
    script.run(&mut rig, data, look, |_| {});
    rig.outcome()
}

fuzz_target!(|data: &[u8]| {
    let first = run(data);
    // Some of the time: it costs as much again.
    if data.len() % 4 == 0 {
        assert_eq!(first, run(data), "the same bytes give the same events");
    }
});
