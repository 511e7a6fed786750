//! When Binance's book may be believed again after a stall, a gap or a resync: over both encodings.

mod binance_support;

use binance_support::*;
use engine_core::book::{Book, BookConfig};
use engine_core::event::{BookInvalid, Side};
use proptest::prelude::*;
use venues::venue::{Encoding, Link, Role, Venue};

/// A depth message of the SBE stream; bids in hundredths and hundred-millionths.
fn sbe_depth(first: u64, last: u64, bids: &[(i64, i64)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [26u16, 10_003, 1, 0] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    for word in [1_767_225_600_105_123, first, last] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&[0xfe, 0xf8]);
    bytes.extend_from_slice(&16u16.to_le_bytes());
    bytes.extend_from_slice(&(bids.len() as u16).to_le_bytes());
    for (price, qty) in bids {
        bytes.extend_from_slice(&price.to_le_bytes());
        bytes.extend_from_slice(&qty.to_le_bytes());
    }
    bytes.extend_from_slice(&[16, 0, 0, 0]);
    bytes.extend_from_slice(b"\x07BTCUSDT");
    bytes
}

/// The Bitcoin book over one encoding, with what the core holds it for.
struct Stream {
    rig: Rig,
    encoding: Encoding,
    book: Book,
}

impl Stream {
    /// Subscribed; nothing has come yet.
    fn subscribed(encoding: Encoding) -> Stream {
        let mut rig = Rig::subscribed(encoding);
        rig.out.clear();
        Stream { rig, encoding, book: Book::new(BookConfig::default()) }
    }

    /// In step at id 100, to which an event has led.
    fn live(encoding: Encoding) -> Stream {
        let mut stream = Stream::subscribed(encoding);
        stream.snapshot(95);
        stream.event(96, 100);
        assert!(stream.book.is_valid());
        stream
    }

    fn apply(&mut self) {
        for event in self.rig.take().iter().filter(|e| e.instrument_id() == BTC) {
            self.book.apply(event);
        }
    }

    /// An event that sets the bid at 68249.00 to `last` hundred-millionths.
    fn event(&mut self, first: u64, last: u64) {
        match self.encoding {
            Encoding::Json => self.rig.text(MARKET, &depth("BTCUSDT", first, last, &[("68249.00", &format!("0.{last:08}"))], &[])),
            Encoding::Sbe => self.rig.binary(MARKET, &sbe_depth(first, last, &[(6_824_900, last as i64)])),
        }
        self.apply();
    }

    /// An event that cannot be read.
    fn garbage(&mut self) {
        match self.encoding {
            Encoding::Json => self.rig.text(MARKET, &depth("BTCUSDT", 101, 101, &[("cheap", "1")], &[])),
            Encoding::Sbe => self.rig.binary(MARKET, &sbe_depth(102, 101, &[])),
        }
        self.apply();
    }

    fn snapshot(&mut self, sequence: u64) {
        self.rig.snapshot(BTC, sequence, &SNAPSHOT);
        self.apply();
    }

    /// The core finds the book stale.
    fn stale(&mut self) {
        let times = self.rig.times();
        self.rig.venue.resync(BTC, BookInvalid::Stale, times, &mut self.rig.events, &mut self.rig.out);
        self.apply();
        assert!(!self.book.is_valid());
    }

    fn stale_if_live(&mut self) {
        if self.book.is_valid() {
            self.stale();
        }
    }

    /// Whether a snapshot was asked for since last looked.
    fn asks(&mut self) -> bool {
        self.rig.requests().contains(&wants(BTC))
    }

    /// Milliseconds until the next snapshot is asked for.
    fn asks_after(&mut self) -> u64 {
        (1..=1_000).map(|i| i * 100).find(|_| (self.rig.timer(100 * MS), self.asks()).1).expect("asks within 100 s")
    }

    /// The bid that [`Stream::event`] sets.
    fn bid(&self) -> Option<i64> {
        self.book.levels(Side::Buy).find(|level| level.price.0 == 6_824_900).map(|level| level.qty.0)
    }
}

const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Sbe];

#[test]
fn a_stalled_stream_is_not_hidden_by_snapshots() {
    for encoding in ENCODINGS {
        let mut stream = Stream::live(encoding);
        stream.rig.timer(10 * S);
        stream.stale();
        assert!(stream.asks());
        // The market moves on, the stream does not.
        let mut waits = Vec::new();
        for sequence in [150, 160, 170, 180, 190, 200, 210] {
            stream.snapshot(sequence);
            assert!(!stream.book.is_valid(), "{encoding:?}: {sequence} says nothing about the stream");
            waits.push(stream.asks_after());
        }
        assert_eq!(waits, [2_000, 4_000, 8_000, 16_000, 32_000, 32_000, 32_000]);
        stream.snapshot(220);
        assert_eq!(stream.rig.venue.counters().resyncs, 0, "none has succeeded");
        // The stream goes on where it stopped.
        stream.event(101, 150);
        stream.event(151, 219);
        assert!(!stream.book.is_valid(), "{encoding:?}");
        stream.event(220, 225);
        assert!(stream.book.is_valid(), "{encoding:?}");
        assert_eq!((stream.book.sequence(), stream.bid()), (225, Some(225)));
        assert_eq!((stream.book.bid().unwrap().price.0, stream.book.depth(Side::Buy)), (6_825_010, 2), "the snapshot's levels are there");
        stream.event(226, 226);
        assert_eq!((stream.book.sequence(), stream.bid()), (226, Some(226)));
        let counters = stream.rig.venue.counters();
        assert_eq!((counters.resyncs, counters.gaps, counters.stale), (1, 0, 2), "{encoding:?}");
        // The next stall begins with the shortest wait again.
        stream.rig.timer(10 * S);
        stream.stale();
        assert!(stream.asks());
        stream.snapshot(300);
        assert_eq!(stream.asks_after(), 2_000);
    }
}

#[test]
fn a_stream_that_goes_on_past_the_snapshot_fetches_another_at_once() {
    for encoding in ENCODINGS {
        let mut stream = Stream::live(encoding);
        stream.rig.timer(10 * S);
        stream.stale();
        stream.snapshot(150);
        stream.rig.timer(S);
        stream.asks();
        // What lies between is lost.
        stream.event(170, 175);
        assert!(!stream.book.is_valid());
        assert!(stream.asks(), "{encoding:?}: not kept waiting");
        stream.snapshot(168);
        assert!(!stream.book.is_valid(), "older than the event that was kept");
        assert!(stream.asks_after() <= 500);
        stream.snapshot(172);
        assert!(stream.book.is_valid(), "{encoding:?}: the event kept joins it");
        assert_eq!((stream.book.sequence(), stream.bid()), (175, Some(175)));
        let counters = stream.rig.venue.counters();
        assert_eq!((counters.resyncs, counters.gaps), (1, 0), "the book was not in step, so it was no gap");
    }
}

#[test]
fn after_a_gap_the_stream_must_reach_the_snapshot() {
    for encoding in ENCODINGS {
        let mut stream = Stream::live(encoding);
        stream.event(105, 106);
        assert!(!stream.book.is_valid() && stream.asks());
        stream.snapshot(110);
        assert!(!stream.book.is_valid(), "{encoding:?}: 107 to 110 are still to come");
        stream.event(107, 108);
        assert!(!stream.book.is_valid());
        stream.event(109, 110);
        assert!(stream.book.is_valid(), "{encoding:?}: it has reached L exactly");
        assert_eq!((stream.book.sequence(), stream.bid()), (110, None), "the snapshot has it all");
        stream.event(111, 112);
        assert_eq!((stream.book.sequence(), stream.bid()), (112, Some(112)));
        stream.event(114, 114);
        assert!(!stream.book.is_valid(), "and from there on it is checked");
        assert_eq!(stream.rig.venue.counters().gaps, 2);
    }
}

#[test]
fn a_quiet_book_is_confirmed_by_one_snapshot() {
    for encoding in ENCODINGS {
        // The stream's last event leads to where the venue stands.
        let mut stream = Stream::live(encoding);
        for _ in 0..3 {
            stream.rig.timer(10 * S);
            stream.stale();
            stream.snapshot(100);
            assert!(stream.book.is_valid(), "{encoding:?}: nothing has changed at the venue");
        }
        stream.event(101, 101);
        assert_eq!(stream.bid(), Some(101));
        // There never was an event.
        let mut stream = Stream::subscribed(encoding);
        stream.snapshot(50);
        assert!(stream.book.is_valid(), "{encoding:?}: the subscription was confirmed a moment ago");
        stream.rig.timer(10 * S);
        stream.stale();
        stream.snapshot(50);
        assert!(stream.book.is_valid());
        stream.rig.timer(10 * S);
        stream.stale();
        stream.snapshot(51);
        assert!(!stream.book.is_valid(), "{encoding:?}: of this change the stream has said nothing");
    }
}

#[test]
fn a_quiet_book_that_waits_for_an_event_in_vain_is_confirmed_by_a_second_snapshot() {
    for encoding in ENCODINGS {
        let mut stream = Stream::live(encoding);
        stream.garbage();
        assert!(!stream.book.is_valid() && stream.asks());
        stream.snapshot(101);
        assert!(!stream.book.is_valid(), "{encoding:?}: the event that led there was not read");
        assert_eq!(stream.asks_after(), 2_000);
        stream.snapshot(103);
        assert!(!stream.book.is_valid(), "it moves");
        assert_eq!(stream.asks_after(), 4_000);
        stream.rig.snapshot_failed(BTC);
        assert!(stream.asks_after() <= 1_000, "a failure is not waited for");
        stream.snapshot(103);
        assert!(stream.book.is_valid(), "{encoding:?}: two snapshots with the same L");
        stream.rig.timer(60 * S);
        assert!(!stream.asks());
        stream.event(104, 105);
        assert_eq!((stream.book.sequence(), stream.bid()), (105, Some(105)));
    }
}

#[test]
fn an_event_that_joins_makes_the_snapshot_on_its_way_unwanted() {
    for encoding in ENCODINGS {
        let mut stream = Stream::live(encoding);
        stream.rig.timer(10 * S);
        stream.stale();
        assert!(stream.asks());
        stream.snapshot(150);
        assert_eq!(stream.asks_after(), 2_000);
        stream.event(140, 155);
        assert!(stream.book.is_valid());
        stream.snapshot(152);
        assert!(stream.book.is_valid());
        assert_eq!(stream.book.sequence(), 155, "{encoding:?}");
    }
}

#[test]
fn at_the_start_the_confirmation_of_the_subscription_stands_for_an_event() {
    for encoding in ENCODINGS {
        // But not if the stream has begun to speak: then it owes the rest.
        let mut stream = Stream::subscribed(encoding);
        stream.event(90, 95);
        stream.snapshot(100);
        assert!(!stream.book.is_valid(), "{encoding:?}");
        stream.event(96, 101);
        assert!(stream.book.is_valid());
        // Nor if it is long ago.
        let mut stream = Stream::subscribed(encoding);
        stream.rig.timer(11 * S);
        stream.snapshot(100);
        assert!(!stream.book.is_valid(), "{encoding:?}");
        assert_eq!(stream.asks_after(), 2_000);
        stream.snapshot(100);
        assert!(stream.book.is_valid());
        // Nor after a message that could not be read.
        let mut stream = Stream::subscribed(encoding);
        stream.garbage();
        stream.snapshot(100);
        assert!(!stream.book.is_valid(), "{encoding:?}");
        // A new connection is a new start, wherever the old one stood.
        let mut stream = Stream::live(encoding);
        stream.stale();
        stream.snapshot(150);
        stream.rig.close(MARKET);
        stream.rig.timer(60 * S);
        stream.apply();
        stream.rig.sent();
        let second = Link { generation: 2, ..MARKET };
        stream.rig.open(second);
        let id = stream.rig.sent_value(Role::MarketData)["id"].as_u64().unwrap();
        stream.rig.text(second, &format!("{{\"result\":null,\"id\":{id}}}"));
        assert!(stream.asks());
        stream.snapshot(7);
        assert!(stream.book.is_valid() && stream.book.sequence() == 7, "{encoding:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The market moves all the time; events are lost or held back, the core asks for resyncs. Whenever the book turns
    /// valid, it stands where the stream stands.
    #[test]
    fn a_book_turns_valid_with_the_stream_only(
        steps in proptest::collection::vec((1u64..4, 0u8..24), 1..300), delay in 0usize..6, sbe in any::<bool>(),
    ) {
        let mut stream = Stream::live(if sbe { Encoding::Sbe } else { Encoding::Json });
        let (mut id, mut heard, mut stalled) = (100, 100, false);
        let mut held: Vec<(u64, u64)> = Vec::new();
        let mut pending: Vec<(usize, u64)> = Vec::new();
        for (ids, fate) in steps {
            let was_valid = stream.book.is_valid();
            let (first, last) = (id + 1, id + ids);
            id = last;
            match fate {
                0 => held.clear(),
                1 => stalled = true,
                2 | 3 => stalled = false,
                4 | 5 => { stream.stale_if_live(); }
                6 => stream.garbage(),
                _ => {}
            }
            held.push((first, last));
            if !stalled {
                for (first, last) in std::mem::take(&mut held) {
                    stream.event(first, last);
                    heard = last;
                }
            }
            if stream.asks() {
                pending.push((delay, id));
            }
            for at in (0..pending.len()).rev() {
                if pending[at].0 == 0 {
                    stream.snapshot(pending.remove(at).1);
                } else {
                    pending[at].0 -= 1;
                }
            }
            stream.rig.timer(100 * MS);
            if stream.book.is_valid() && !was_valid {
                prop_assert_eq!(stream.book.sequence(), heard);
            }
        }
        // Whatever it was, the book heals once the stream speaks again.
        for _ in 0..700 {
            id += 1;
            held.push((id, id));
            for (first, last) in std::mem::take(&mut held) {
                stream.event(first, last);
            }
            if stream.asks() {
                stream.snapshot(id);
            }
            stream.rig.timer(100 * MS);
        }
        prop_assert!(stream.book.is_valid());
        prop_assert_eq!(stream.book.sequence(), id);
    }
}
