//! What hostile or broken peers do ends that link only, is counted, and is followed by a new link.

mod session_support;
mod tls_support;

use netstack::session::{CauseKind, CloseCause, Progress};
use netstack::tls::{Alert, TlsError, Versions};
use netstack::websocket::WebSocketError;
use proptest::prelude::*;
use session_support::*;

/// The link falls for `kind`, the peer is told by `close_code`, and the next link works.
fn falls_and_recovers(mut world: World, kind: CauseKind, close_code: Option<u16>) {
    world.settle();
    assert_eq!(world.handler.kinds(), [kind], "{:?}", world.handler.told);
    assert_eq!(world.closes(kind), 1);
    assert!(!world.session.statistics().last_error.is_empty());
    if let Some(code) = close_code {
        let frame = world.peers[0].frames.pop_back().expect("the peer is told");
        assert_eq!(frame, Frame { opcode: 0x88, payload: code.to_be_bytes().to_vec() });
    }
    assert!(world.transport.sockets[0].fin_sent || world.transport.sockets[0].released);
    world.handler.take();
    world.advance_until(SECOND, |world| world.session.is_open());
    world.server_sends(1, &text("works"));
    world.settle();
    assert_eq!(world.handler.messages(), [b"works"]);
}

#[test]
fn violations_of_the_websocket_protocol_are_answered_by_their_code() {
    let violations: [(&str, Vec<u8>, CauseKind, u16); 12] = [
        ("reserved bit", frame(0xc1, b"x"), CauseKind::WebSocket, 1002),
        ("reserved opcode", frame(0x83, b"x"), CauseKind::WebSocket, 1002),
        ("masked", vec![0x81, 0x81, 1, 2, 3, 4, b'x'], CauseKind::WebSocket, 1002),
        ("length not shortest", vec![0x81, 126, 0, 5, 1, 2, 3, 4, 5], CauseKind::WebSocket, 1002),
        ("fragmented ping", frame(0x09, b"x"), CauseKind::WebSocket, 1002),
        ("long ping", vec![0x89, 126, 0, 126], CauseKind::WebSocket, 1002),
        ("continuation of nothing", frame(0x80, b"x"), CauseKind::WebSocket, 1002),
        ("interrupted message", [frame(0x01, b"x"), frame(0x81, b"y")].concat(), CauseKind::WebSocket, 1002),
        ("text that is not UTF-8", frame(0x81, &[0xff]), CauseKind::WebSocket, 1007),
        ("close code that must not be sent", close(1005, ""), CauseKind::WebSocket, 1002),
        ("too big in one frame", frame(0x82, &vec![0; 65_537]), CauseKind::TooBig, 1009),
        ("too big in two", [frame(0x02, &vec![0; 65_536]), frame(0x80, b"x")].concat(), CauseKind::TooBig, 1009),
    ];
    for (name, bytes, kind, code) in violations {
        println!("{name}");
        let mut world = World::with_tls(Versions::Tls13, |_| {}).open();
        world.server_sends(0, &bytes);
        falls_and_recovers(world, kind, Some(code));
    }
}

#[test]
fn an_announced_length_beyond_the_limit_is_refused_before_it_comes() {
    let mut world = World::new(|_| {}).open();
    world.server_sends(0, &[0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    world.settle();
    assert_eq!(world.handler.told, [Told::Close(1, CloseCause::WebSocket(WebSocketError::TooBig { limit: 1 << 16 }))]);
}

#[test]
fn a_fatal_alert_in_mid_stream_is_named() {
    // A peer that cannot make sense of a record of ours sends an alert under its keys.
    for versions in [Versions::Tls13, Versions::Tls12] {
        let mut world = World::with_tls(versions, |_| {}).open();
        world.server_sends(0, &text("before"));
        let server = world.peers[0].tls.as_mut().unwrap();
        server.receive(&[23, 3, 3, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(server.error.is_some());
        let alert = server.output();
        world.transport.sockets[0].incoming.extend_from_slice(&alert);
        let _ = world.poll();
        assert_eq!(world.handler.messages(), [b"before"]);
        world.handler.take();
        let _ = world.poll();
        let cause = CloseCause::Tls(TlsError::PeerAlert(Alert::BAD_RECORD_MAC));
        assert_eq!(world.handler.told, [Told::Close(1, cause)]);
        falls_and_recovers(world, CauseKind::TlsAlert, None);
    }
}

#[test]
fn a_corrupted_record_is_answered_by_an_alert() {
    let mut world = World::with_tls(Versions::Tls13, |_| {}).open();
    world.server_sends(0, &text("before"));
    world.server_sends(0, &text("corrupted"));
    *world.transport.sockets[0].incoming.last_mut().unwrap() ^= 1;
    let _ = world.poll();
    let _ = world.poll();
    assert_eq!(world.handler.messages(), [b"before"]);
    world.serve();
    let error = world.peers[0].tls.as_ref().unwrap().error.clone();
    assert_eq!(error, Some(rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac)));
    world.handler.take();
    world.handler.told.push(Told::Close(1, CloseCause::Tls(TlsError::BadRecordMac { sequence: 0 })));
    falls_and_recovers(world, CauseKind::Tls, None);
}

#[test]
fn garbage_instead_of_tls_ends_the_attempt() {
    let mut world = World::with_tls(Versions::Both, |_| {});
    while world.poll() == Progress::Worked {}
    world.transport.last().incoming.extend_from_slice(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let _ = world.poll();
    assert_eq!(world.handler.kinds(), [CauseKind::Tls]);
    // The server is told by an alert.
    let outgoing = &world.transport.last().outgoing;
    assert!(outgoing.windows(5).any(|window| window == [21, 3, 3, 0, 2]), "{outgoing:?}");
}

#[test]
fn a_certificate_for_somebody_else_is_never_talked_to() {
    let mut world = World::with_tls(Versions::Both, |config| config.host = "other.test".into());
    world.settle();
    assert_eq!(world.handler.kinds(), [CauseKind::Tls]);
    assert_eq!(world.peers[0].request, None);
    assert!(world.session.statistics().last_error.contains("certificate"), "{}", world.session.statistics().last_error);
}

#[test]
fn a_flood_of_pings_costs_bounded_work_per_poll_and_few_answers() {
    let mut world = World::new(|_| {}).open();
    let flood: Vec<u8> = (0..10_000u32).flat_map(|index| frame(0x89, &index.to_be_bytes())).collect();
    world.server_sends(0, &flood);
    let before = world.transport.sockets[0].incoming.len();
    let _ = world.poll();
    let taken = before - world.transport.sockets[0].incoming.len();
    assert!(taken > 0 && taken <= 100 * 6, "{taken} bytes in one call");
    world.settle();
    assert_eq!(world.session.statistics().pings_in, 10_000);
    // RFC 6455 section 5.5.3: the latest of several pings may be answered alone.
    assert!(world.peers[0].frames.len() < 10_000 / 32);
    assert_eq!(world.peers[0].frames.pop_back().unwrap().payload, 9_999u32.to_be_bytes());
}

#[test]
fn a_key_update_asked_for_by_the_server_is_made_before_the_next_message() {
    let mut world = World::with_tls(Versions::Tls13, |_| {}).open();
    for round in 0..5u8 {
        world.peers[0].tls.as_mut().unwrap().connection.refresh_traffic_keys().unwrap();
        world.server_sends(0, &text("after the update"));
        world.settle();
        world.session.send(&mut world.transport, netstack::websocket::Kind::Text, &[b'a' + round; 300]).unwrap();
        world.settle();
        assert_eq!(world.peers[0].tls.as_ref().unwrap().error, None);
        assert_eq!(world.peers[0].frames.pop_front().unwrap().payload, [b'a' + round; 300]);
    }
    assert_eq!(world.handler.messages().len(), 5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever bytes come at whatever stage: no panic, and the session makes a new link in the end.
    #[test]
    fn any_bytes_at_any_stage_leave_a_session_that_recovers(
        tls in any::<bool>(),
        polls in 0usize..6,
        bytes in proptest::collection::vec(any::<u8>(), 1..300),
        lend_max in 1usize..400,
    ) {
        let mut world = if tls { World::with_tls(Versions::Both, |_| {}) } else { World::new(|_| {}) };
        world.transport.lend_max = lend_max;
        for _ in 0..polls {
            let _ = world.poll();
            world.serve();
        }
        if let Some(socket) = world.transport.sockets.last_mut() {
            socket.incoming.extend_from_slice(&bytes);
        }
        for _ in 0..1000 {
            let _ = world.poll();
        }
        // Half a message may be waiting for its end: the peer hangs up.
        for index in 0..world.transport.sockets.len() {
            world.server_fin(index);
        }
        world.transport.lend_max = usize::MAX;
        for _ in 0..2_000 {
            world.now_ns += MS;
            let _ = world.poll();
            world.transport.sockets.iter_mut().for_each(|socket| if socket.fin_sent && !socket.released {
                socket.state = netstack::transport::SocketState::Closed(netstack::transport::CloseReason::Closed);
            });
            world.serve();
        }
        prop_assert!(world.session.is_open(), "{:?}", world.session.statistics());
    }
}
