//! Recorded Kraken messages (WebSocket v1 and v2, public and private) with open tables, one a line; a first line of `!`
//! stands for the private channel.
#![no_main]

use engine_core::event::{Event, EventKind, VALUE_MAX, flags};
use libfuzzer_sys::fuzz_target;
use venues::decode::{Channel, LineDecoder};
use venues::kraken::decoder::KrakenDecoder;
use venues::venue::MessageKind;

fn check(event: &Event) {
    let kind = event.event_kind().expect("a known kind");
    let within = |word: u64, min: i64| assert!((min..=VALUE_MAX).contains(&(word as i64)), "{kind:?}: {}", word as i64);
    match kind {
        EventKind::BookLevel | EventKind::Trade => (within(event.a, 1), within(event.b, 0)),
        EventKind::TopOfBook => (within(event.a, i64::from(event.b != 0)), within(event.b, 0)),
        EventKind::OrderFill => (within(event.b, 1), within(event.c, 1)),
        _ => ((), ()),
    };
}

fn run(data: &[u8]) -> (Vec<Event>, usize) {
    let (channel, data) = match data.strip_prefix(b"!\n") {
        Some(rest) => (Channel::Private, rest),
        None => (Channel::Public, data),
    };
    let mut decoder = KrakenDecoder::new(channel);
    let (mut events, mut errors) = (Vec::new(), 0);
    for line in data.split(|&byte| byte == b'\n').take(64) {
        let before = events.len();
        let decoded = decoder.decode(MessageKind::Text, "", line, &mut events);
        errors += usize::from(decoded.is_err());
        let new = &events[before..];
        new.iter().for_each(check);
        if let Some(last) = new.iter().rfind(|event| event.event_kind() == Some(EventKind::BookLevel)) {
            assert!(last.has(flags::LAST), "the last level of a message says so");
        }
        for event in new.iter().filter(|event| matches!(event.event_kind(), Some(EventKind::BookLevel | EventKind::Trade))) {
            assert!(decoder.symbols().by_instrument(event.instrument_id()).is_some());
        }
    }
    (events, errors)
}

fuzz_target!(|data: &[u8]| {
    let first = run(data);
    assert_eq!(first, run(data), "the same bytes give the same events");
});
