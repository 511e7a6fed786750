//! However the network cuts a stream (and however little of it the transport lends at a time), the same
//! messages come out; and what is sent and received allocates nothing once the link is open.

mod session_support;
mod tls_support;

use netstack::session::Progress;
use netstack::tls::Versions;
use netstack::websocket::Kind;
use proptest::prelude::*;
use session_support::*;

/// What a venue may send: messages in one frame and in several, with control frames between.
fn conversation() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let records = vec![
        text("{\"e\":\"trade\"}"),
        [text("one"), text("two"), frame(0x89, b"ping"), text("three")].concat(),
        frame(0x01, "gro\u{df}e Fr\u{f6}".as_bytes()),
        [frame(0x8a, b"pong"), frame(0x00, b"sche, "), frame(0x80, b"quaken laut")].concat(),
        frame(0x82, &[0xff; 300]),
        frame(0x81, b""),
        text("\u{1f4b0} end"),
    ];
    let messages = vec![
        b"{\"e\":\"trade\"}".to_vec(),
        b"one".to_vec(),
        b"two".to_vec(),
        b"three".to_vec(),
        "gro\u{df}e Fr\u{f6}sche, quaken laut".as_bytes().to_vec(),
        vec![0xff; 300],
        Vec::new(),
        "\u{1f4b0} end".as_bytes().to_vec(),
    ];
    (records, messages)
}

fn world(versions: Option<Versions>) -> World {
    match versions {
        None => World::new(|_| {}),
        Some(versions) => World::with_tls(versions, |_| {}),
    }
    .open()
}

/// The bytes on the wire of the conversation, for this world's keys.
fn wire(world: &mut World) -> Vec<u8> {
    for record in conversation().0 {
        world.server_sends(0, &record);
    }
    std::mem::take(&mut world.transport.sockets[0].incoming)
}

fn poll_until_idle(world: &mut World) {
    for _ in 0..1000 {
        let before = world.handler.messages().len();
        if world.poll() == Progress::Idle {
            return;
        }
        assert!(world.handler.messages().len() <= before + 1, "one message per poll");
    }
    panic!("never idle");
}

fn arrives(world: &mut World, pieces: impl IntoIterator<Item = Vec<u8>>) {
    for piece in pieces {
        world.transport.sockets[0].incoming.extend_from_slice(&piece);
        poll_until_idle(world);
    }
    assert_eq!(world.handler.messages(), conversation().1);
    assert_eq!(world.handler.kinds(), []);
    assert_eq!(world.transport.sockets[0].incoming.len(), 0);
    let statistics = world.session.statistics();
    assert_eq!((statistics.pings_in, statistics.pongs_in), (1, 1));
}

const SECURITIES: [Option<Versions>; 3] = [None, Some(Versions::Tls13), Some(Versions::Tls12)];

#[test]
fn every_single_cut_gives_the_same_messages() {
    for versions in SECURITIES {
        let length = wire(&mut world(versions)).len();
        for cut in 1..length {
            let mut world = world(versions);
            let bytes = wire(&mut world);
            let (head, tail) = bytes.split_at(cut);
            arrives(&mut world, [head.to_vec(), tail.to_vec()]);
        }
    }
}

#[test]
fn every_size_of_pieces_gives_the_same_messages() {
    for versions in SECURITIES {
        let length = wire(&mut world(versions)).len();
        for size in (1..64).chain([100, 200, 300, 500, length]) {
            let mut world = world(versions);
            let bytes = wire(&mut world);
            arrives(&mut world, bytes.chunks(size).map(<[u8]>::to_vec));
        }
    }
}

#[test]
fn however_little_is_lent_the_messages_are_the_same() {
    for versions in SECURITIES {
        for lend_max in (1..64).chain([100, 200, 300, 500]) {
            let mut world = world(versions);
            let bytes = wire(&mut world);
            world.transport.lend_max = lend_max;
            arrives(&mut world, [bytes]);
        }
    }
}

#[test]
fn handshake_and_upgrade_survive_every_size_of_pieces() {
    for versions in [Some(Versions::Tls13), Some(Versions::Tls12), None] {
        for lend_max in [1, 2, 3, 4, 5, 6, 7, 16, 17, 100, 333] {
            let mut world = match versions {
                None => World::new(|_| {}),
                Some(versions) => World::with_tls(versions, |_| {}),
            };
            world.greeting = conversation().0.concat();
            world.transport.lend_max = lend_max;
            world.settle();
            assert_eq!(world.handler.messages(), conversation().1, "{versions:?} {lend_max}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_cuts_and_random_lending_give_the_same_messages(
        security in 0usize..3,
        cuts in proptest::collection::vec(1usize..120, 1..40),
        lend_max in 1usize..700,
    ) {
        let mut world = world(SECURITIES[security]);
        let bytes = wire(&mut world);
        world.transport.lend_max = lend_max;
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts {
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece.to_vec());
            rest = tail;
        }
        pieces.push(rest.to_vec());
        arrives(&mut world, pieces);
    }

    #[test]
    fn messages_of_any_length_arrive_both_ways(
        security in 0usize..3,
        lengths in proptest::collection::vec(prop_oneof![0usize..300, 16_300usize..16_500, 65_500usize..65_537], 1..6),
        lend_max in 1usize..40_000,
    ) {
        let mut world = world(SECURITIES[security]);
        world.transport.lend_max = lend_max.max(64);
        let payloads: Vec<Vec<u8>> = lengths.iter().map(|length| (0..*length).map(|index| (index % 253) as u8).collect()).collect();
        for payload in &payloads {
            world.server_sends(0, &frame(0x82, payload));
            world.session.send(&mut world.transport, Kind::Binary, payload).unwrap();
            world.serve();
            let sent = world.peers[0].frames.pop_front().unwrap();
            prop_assert!(sent.payload == *payload);
        }
        world.settle();
        prop_assert!(world.handler.messages() == payloads);
    }
}
