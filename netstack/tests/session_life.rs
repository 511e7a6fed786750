//! The life of a session: opening, heartbeats, closing, back-off, renewal.

mod session_support;
mod tls_support;

use drivers::purpose::Purpose;
use netstack::session::{CauseKind, CloseCause, Progress, SendError};
use netstack::tls::{Version, Versions};
use netstack::transport::{CloseReason, ConnectError, Resolution, ResolveError, SocketState};
use netstack::websocket::{Kind, UpgradeError};
use session_support::*;
use tls_support::SERVER_NAME;

#[test]
fn a_link_opens_over_each_kind_of_transport_security() {
    for mut world in [
        World::new(|_| {}),
        World::with_tls(Versions::Tls13, |_| {}),
        World::with_tls(Versions::Tls12, |_| {}),
        World::with_tls(Versions::Both, |config| config.headers = vec![("X-Key".into(), "secret".into())]),
    ] {
        world.settle();
        assert_eq!(world.handler.take(), [Told::Open(1)]);
        assert_eq!(world.session.generation(), 1);
        assert!(world.session.is_open() && world.session.owns(world.transport.sockets[0].id));
        assert_eq!(world.transport.resolved[0], SERVER_NAME);
        assert_eq!(world.transport.connects[0].port(), 9443);
        let request = world.peers[0].request.clone().unwrap();
        assert!(request.starts_with("GET /ws?streams=a HTTP/1.1\r\nHost: venue.test:9443\r\n"), "{request}");
        world.server_sends(0, &text("hello"));
        world.settle();
        assert_eq!(world.handler.take(), [Told::Message(1, Kind::Text, b"hello".to_vec())]);
        assert_eq!(world.session.send(&mut world.transport, Kind::Text, b"{\"method\":\"ping\"}"), Ok(1));
        world.serve();
        assert_eq!(world.peers[0].frames.pop_front(), Some(Frame { opcode: 0x81, payload: b"{\"method\":\"ping\"}".to_vec() }));
        let statistics = world.session.statistics();
        assert_eq!((statistics.attempts, statistics.connects, statistics.opens), (1, 1, 1));
        assert_eq!((statistics.messages_in, statistics.message_bytes_in), (1, 5));
        assert_eq!((statistics.messages_out, statistics.message_bytes_out), (1, 17));
    }
}

#[test]
fn configured_headers_are_sent_and_never_shown() {
    let world = World::new(|config| config.headers = vec![("X-MBX-APIKEY".into(), "secret".into())]).open();
    assert!(world.peers[0].request.as_ref().unwrap().contains("\r\nX-MBX-APIKEY: secret\r\n"));
    assert!(!format!("{:?}", world.session).contains("secret"));
}

#[test]
fn a_changed_request_is_used_by_the_next_attempt() {
    let mut world = World::new(|_| {}).open();
    world.session.set_request("/other", vec![("X-Key".into(), "renewed".into())]);
    world.session.renew(world.now_ns);
    world.settle();
    let request = world.peers[1].request.as_ref().unwrap();
    assert!(request.starts_with("GET /other HTTP/1.1\r\n") && request.contains("X-Key: renewed\r\n"), "{request}");
}

#[test]
fn one_message_is_handed_out_per_poll_even_if_a_record_holds_many() {
    for versions in [None, Some(Versions::Tls13), Some(Versions::Tls12)] {
        let mut world = match versions {
            None => World::new(|_| {}),
            Some(versions) => World::with_tls(versions, |_| {}),
        }
        .open();
        let messages: Vec<String> = (0..9).map(|index| format!("message {index}")).collect();
        let bytes: Vec<u8> = messages.iter().flat_map(|message| text(message)).collect();
        world.server_sends(0, &bytes);
        for (index, message) in messages.iter().enumerate() {
            assert_eq!(world.poll(), Progress::Worked);
            assert_eq!(world.handler.messages().len(), index + 1);
            assert_eq!(world.handler.messages()[index], message.as_bytes());
            // What a message causes leaves before the next one is read.
            let order = format!("order {index}");
            world.session.send(&mut world.transport, Kind::Text, order.as_bytes()).unwrap();
            world.serve();
            assert_eq!(world.peers[0].frames.pop_front().unwrap().payload, order.as_bytes());
        }
        assert_eq!(world.poll(), Progress::Idle);
        assert_eq!(world.transport.last().incoming.len(), 0);
    }
}

#[test]
fn rehearsals_leave_no_trace() {
    for versions in [None, Some(Versions::Tls13), Some(Versions::Tls12)] {
        let mut world = match versions {
            None => World::new(|_| {}),
            Some(versions) => World::with_tls(versions, |_| {}),
        };
        let rehearse =
            |world: &mut World, payload: &[u8]| world.session.send_for(Purpose::Rehearse, &mut world.transport, Kind::Text, payload);
        assert!(rehearse(&mut world, b"too early").is_err());
        let mut world = world.open();
        for round in 0..20u32 {
            let before = format!("{:?}", world.session.statistics());
            for length in [0, 1, 300, 16_376] {
                assert_eq!(rehearse(&mut world, &vec![b'r'; length]), Ok(1));
            }
            // More than one record: not worth a rehearsal, and none is made.
            assert_eq!(rehearse(&mut world, &vec![b'r'; 20_000]).is_ok(), versions.is_none());
            assert_eq!(format!("{:?}", world.session.statistics()), before);
            world.serve();
            assert!(world.peers[0].frames.is_empty(), "nothing of it was sent");
            // The peer opens the next record: no number was used up.
            let order = format!("order {round}");
            world.session.send(&mut world.transport, Kind::Text, order.as_bytes()).unwrap();
            world.serve();
            assert_eq!(world.peers[0].frames.pop_front().unwrap().payload, order.as_bytes());
        }
    }
}

#[test]
fn frames_behind_the_upgrade_answer_are_not_lost() {
    for versions in [None, Some(Versions::Tls13), Some(Versions::Tls12)] {
        let mut world = match versions {
            None => World::new(|_| {}),
            Some(versions) => World::with_tls(versions, |_| {}),
        };
        world.greeting = [text("first"), text("second")].concat();
        world.settle();
        assert_eq!(world.handler.messages(), [b"first".as_slice(), b"second"]);
        assert_eq!(world.handler.told[0], Told::Open(1));
    }
}

#[test]
fn a_large_message_is_split_in_records_and_arrives_whole() {
    for versions in [Versions::Tls13, Versions::Tls12] {
        let mut world = World::with_tls(versions, |_| {}).open();
        for length in [0usize, 125, 126, 16_384 - 8, 16_384 - 7, 16_384, 65_535, 65_536, 200_001] {
            let payload: Vec<u8> = (0..length).map(|index| (index * 131 % 251) as u8).collect();
            world.session.send(&mut world.transport, Kind::Binary, &payload).unwrap();
            world.serve();
            let frame = world.peers[0].frames.pop_front().unwrap();
            assert_eq!((frame.opcode, frame.payload.len()), (0x82, length));
            assert!(frame.payload == payload, "{versions:?} {length}");
        }
    }
}

#[test]
fn a_message_is_one_record_of_minimal_length() {
    let mut world = World::with_tls(Versions::Tls13, |_| {}).open();
    world.session.send(&mut world.transport, Kind::Text, &[b'x'; 200]).unwrap();
    // Record header, frame header with a 16-bit length and a mask, payload, content type, tag.
    assert_eq!(world.transport.last().outgoing.len(), 5 + 8 + 200 + 1 + 16);
    assert_eq!(world.session.statistics().bytes_out, 5 + 8 + 200 + 1 + 16);
    assert_eq!(world.session.tls().map(|(version, _)| version), Some(Version::Tls13));
    assert_eq!(world.transport.last().outgoing[..5], [23, 3, 3, 0, 225]);
}

#[test]
fn without_room_nothing_of_a_message_leaves() {
    let mut world = World::with_tls(Versions::Tls13, |_| {}).open();
    world.transport.room = 100;
    assert_eq!(world.session.send(&mut world.transport, Kind::Text, &[b'x'; 200]), Err(SendError::NoRoom));
    assert_eq!(world.transport.last().outgoing.len(), 0);
    assert_eq!(world.session.statistics().sends_refused, 1);
    world.transport.room = 1 << 20;
    world.session.send(&mut world.transport, Kind::Text, b"later").unwrap();
    world.serve();
    assert_eq!(world.peers[0].frames.pop_front().unwrap().payload, b"later");
}

#[test]
fn nothing_is_sent_before_the_link_is_open() {
    let mut world = World::new(|_| {});
    assert_eq!(world.session.send(&mut world.transport, Kind::Text, b"x"), Err(SendError::NotOpen));
    world.transport.first_state = SocketState::Connecting;
    world.settle();
    assert_eq!(world.session.send(&mut world.transport, Kind::Text, b"x"), Err(SendError::NotOpen));
    assert_eq!(world.session.send_to(1, &mut world.transport, Kind::Text, b"x"), Err(SendError::NotOpen));
}

#[test]
fn pings_of_the_server_are_answered_with_their_payload() {
    let mut world = World::with_tls(Versions::Tls13, |_| {}).open();
    world.server_sends(0, &frame(0x89, b"1700000000000"));
    world.settle();
    assert_eq!(world.peers[0].frames.pop_front(), Some(Frame { opcode: 0x8a, payload: b"1700000000000".to_vec() }));
    assert_eq!(world.session.statistics().pings_in, 1);
}

#[test]
fn heartbeats_go_out_at_their_interval_and_tell_the_round_trip() {
    let mut world = World::new(|config| config.ping_interval_ns = 5 * SECOND).open();
    world.advance(4 * SECOND);
    assert_eq!(world.peers[0].frames.len(), 0);
    world.advance(SECOND);
    let ping = world.peers[0].frames.pop_front().unwrap();
    assert_eq!(ping.opcode, 0x89);
    world.now_ns += 7 * MS;
    world.server_sends(0, &frame(0x8a, &ping.payload));
    world.settle();
    assert_eq!(world.session.statistics().ping_round_trip_ns, 7 * MS);
    for expected in 2..5 {
        world.advance(5 * SECOND);
        assert_eq!(world.session.statistics().pings_out, expected);
    }
}

#[test]
fn silence_is_death_and_any_byte_is_life() {
    let mut world = World::new(|config| config.idle_timeout_ns = 10 * SECOND).open();
    for _ in 0..5 {
        world.advance(9 * SECOND);
        // The first byte of a frame counts, too.
        world.server_sends(0, &[0x8a, 0]);
        world.settle();
    }
    world.advance(9 * SECOND);
    assert!(world.handler.told.is_empty());
    world.advance(SECOND);
    assert_eq!(world.handler.told[0], Told::Close(1, CloseCause::Idle { timeout_ms: 10_000 }));
    assert!(world.transport.sockets[0].released);
    assert!(!world.session.is_open());
    world.advance_until(SECOND, |world| world.session.is_open());
    assert_eq!(world.session.generation(), 2);
}

#[test]
fn attempts_back_off_exponentially_with_jitter_and_recover() {
    let mut world = World::new(|config| {
        config.backoff_min_ns = 100 * MS;
        config.backoff_max_ns = 2 * SECOND;
    });
    world.transport.first_state = SocketState::Closed(CloseReason::Refused);
    world.settle();
    let mut attempts = 1;
    for ceiling_ms in [100, 200, 400, 800, 1600, 2000, 2000, 2000] {
        attempts += 1;
        let waited = world.advance_until(3 * SECOND, |world| world.session.statistics().attempts == attempts);
        assert!((ceiling_ms * MS / 2..=ceiling_ms * MS + MS).contains(&waited), "{waited} after attempt {attempts}");
    }
    assert_eq!(world.closes(CauseKind::Refused), 9);
    assert_eq!(world.session.statistics().failures, 9);
    assert_eq!(world.session.statistics().last_error, "TCP: connection refused");
    // A link that opens and falls at once does not reset the back-off; one that holds does.
    world.transport.first_state = SocketState::Open;
    world.advance_until(3 * SECOND, |world| world.session.is_open());
    let last = world.transport.sockets.len() - 1;
    world.reset(last);
    world.settle();
    assert_eq!(world.session.statistics().failures, 10);
    world.advance_until(3 * SECOND, |world| world.session.is_open());
    world.advance(2 * SECOND);
    let last = world.transport.sockets.len() - 1;
    world.reset(last);
    world.settle();
    assert_eq!(world.session.statistics().failures, 1);
    assert!(world.advance_until(SECOND, |world| world.session.is_open()) <= 101 * MS);
}

#[test]
fn every_way_to_fail_on_the_way_has_its_counter() {
    let mut world = World::new(|_| {});
    world.transport.resolution = Resolution::Failed(ResolveError::NoSuchName);
    world.settle();
    assert_eq!(world.session.statistics().last_error, "resolving venue.test: no such name");
    world.transport.resolution = Resolution::Address(std::net::Ipv4Addr::LOCALHOST);
    world.transport.connect_error = Some(ConnectError::NoPort);
    world.advance_until(SECOND, |world| world.closes(CauseKind::Connect) == 1);
    world.transport.connect_error = None;
    world.transport.first_state = SocketState::Closed(CloseReason::Unreachable);
    world.advance_until(2 * SECOND, |world| world.closes(CauseKind::Unreachable) == 1);
    world.transport.first_state = SocketState::Closed(CloseReason::TimedOut);
    world.advance_until(3 * SECOND, |world| world.closes(CauseKind::Unreachable) == 2);
    assert_eq!(world.closes(CauseKind::Resolve), 1);
    world.transport.first_state = SocketState::Open;
    world.advance_until(5 * SECOND, |world| world.session.is_open());
}

#[test]
fn an_attempt_that_hangs_is_given_up_at_whatever_stage() {
    type Hang = fn(&mut World);
    let stages: [(&str, Hang); 3] = [
        ("resolving", |world| world.transport.resolution = Resolution::Pending),
        ("connecting", |world| world.transport.first_state = SocketState::Connecting),
        ("upgrade", |world| world.silent = true),
    ];
    for (stage, hang) in stages {
        let mut world = World::with_tls(Versions::Tls13, |config| config.connect_timeout_ns = 3 * SECOND);
        hang(&mut world);
        world.settle();
        world.advance_until(4 * SECOND, |world| world.closes(CauseKind::ConnectTimeout) == 1);
        assert_eq!(world.now_ns, 3 * SECOND);
        let error = &world.session.statistics().last_error;
        assert_eq!(*error, format!("no connection within 3000 ms; it had come as far as {stage}"));
        assert!(world.transport.sockets.iter().all(|socket| socket.released));
    }
}

fn refusal(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_refused_upgrade_is_kept_for_the_log_and_its_retry_after_is_honoured() {
    let mut world = World::with_tls(Versions::Tls13, |_| {});
    world.refusal = Some(refusal("429 Too Many Requests", "Retry-After: 7\r\n", "{\"code\":-1003,\"msg\":\"Way too many requests\"}"));
    world.settle();
    let [Told::Failed(CloseCause::Upgrade(UpgradeError::Refused { status, body, .. }), wait_ns)] = world.handler.told.as_slice() else {
        panic!("{:?}", world.handler.told);
    };
    assert_eq!((*status, body.as_str()), (429, "{\"code\":-1003,\"msg\":\"Way too many requests\"}"));
    assert_eq!(*wait_ns, 7 * SECOND);
    let statistics = world.session.statistics();
    assert_eq!((statistics.upgrade_refusals, statistics.last_refusal_status), (1, 429));
    assert!(statistics.last_error.contains("Way too many requests"));
    world.refusal = None;
    assert_eq!(world.advance_until(8 * SECOND, |world| world.session.is_open()), 7 * SECOND);
}

#[test]
fn retry_after_is_bounded_and_may_be_a_date() {
    let mut world = World::new(|config| config.retry_after_max_ns = 20 * SECOND);
    world.refusal = Some(refusal("503 Service Unavailable", "Retry-After: 999999999999\r\n", ""));
    world.settle();
    assert!(matches!(world.handler.take()[0], Told::Failed(_, wait_ns) if wait_ns == 20 * SECOND));
    // The wall clock of these tests stands at 2026-09-21 14:13:20 when it begins; 20 s have gone by.
    world.refusal = Some(refusal("418 I'm a teapot", "Retry-After: Mon, 21 Sep 2026 14:13:45 GMT\r\n", ""));
    world.advance_until(21 * SECOND, |world| !world.handler.told.is_empty());
    assert!(matches!(world.handler.take()[0], Told::Failed(_, wait_ns) if wait_ns == 5 * SECOND));
    // Nonsense leaves the back-off as it is.
    world.refusal = Some(refusal("429 Slow down", "Retry-After: soon\r\n", ""));
    world.advance_until(21 * SECOND, |world| !world.handler.told.is_empty());
    assert!(matches!(world.handler.take()[0], Told::Failed(_, wait_ns) if wait_ns < 2 * SECOND));
}

#[test]
fn a_refusal_whose_body_never_ends_is_still_a_refusal() {
    let mut world = World::new(|config| config.connect_timeout_ns = SECOND);
    world.refusal = Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\nblocked".into());
    world.settle();
    assert!(world.handler.told.is_empty());
    world.advance(SECOND);
    assert!(
        matches!(&world.handler.told[0], Told::Failed(CloseCause::Upgrade(UpgradeError::Refused { status: 403, body, .. }), _) if body == "blocked")
    );
    // The same if the server hangs up.
    let mut world = World::new(|_| {});
    world.refusal = Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\nblocked".into());
    world.settle();
    world.server_fin(0);
    world.settle();
    assert_eq!(world.handler.kinds(), [CauseKind::UpgradeRefused]);
}

#[test]
fn an_answer_that_is_no_upgrade_ends_the_attempt_only() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n".to_owned(),
        "\0\0\0\0\0\0\0\0".to_owned(),
    ] {
        let mut world = World::with_tls(Versions::Tls13, |_| {});
        world.refusal = Some(answer);
        world.settle();
        assert_eq!(world.handler.kinds(), [CauseKind::Upgrade]);
        assert!(world.transport.sockets[0].fin_sent);
        assert!(world.peers[0].tls.as_ref().unwrap().closed, "TLS is closed in order");
        world.refusal = None;
        world.advance_until(SECOND, |world| world.session.is_open());
    }
}

#[test]
fn the_peers_close_frame_is_answered_then_tcp_closed_then_a_new_link_made() {
    let mut world = World::with_tls(Versions::Tls13, |_| {}).open();
    world.server_sends(0, &[text("last words"), close(1001, "maintenance"), text("never read")].concat());
    world.settle();
    let cause = CloseCause::PeerClose { code: Some(1001), reason: "maintenance".into() };
    assert_eq!(world.handler.take(), [Told::Message(1, Kind::Text, b"last words".to_vec()), Told::Close(1, cause)]);
    assert_eq!(world.peers[0].frames.pop_front(), Some(Frame { opcode: 0x88, payload: 1001u16.to_be_bytes().to_vec() }));
    assert!(world.peers[0].tls.as_ref().unwrap().closed && world.transport.sockets[0].fin_sent);
    assert!(!world.transport.sockets[0].released, "the FIN must get there");
    world.server_fin(0);
    world.settle();
    assert!(world.transport.sockets[0].released);
    world.advance_until(SECOND, |world| world.session.is_open());
}

#[test]
fn a_peer_that_hangs_up_without_a_word_is_replaced() {
    let mut world = World::with_tls(Versions::Tls13, |_| {}).open();
    world.server_sends(0, &text("last words"));
    world.server_fin(0);
    world.settle();
    let cause = CloseCause::PeerClosed { orderly: false };
    assert_eq!(world.handler.take(), [Told::Message(1, Kind::Text, b"last words".to_vec()), Told::Close(1, cause)]);
    world.advance_until(SECOND, |world| world.session.is_open());
    let server = world.peers[1].tls.as_mut().unwrap();
    server.connection.send_close_notify();
    world.serve();
    world.settle();
    assert_eq!(world.handler.told[1], Told::Close(2, CloseCause::PeerClosed { orderly: true }));
}

#[test]
fn a_draining_socket_is_dropped_after_a_while() {
    let mut world = World::new(|config| config.close_timeout_ns = 2 * SECOND).open();
    world.server_sends(0, &close(1000, ""));
    world.settle();
    world.advance(SECOND);
    assert!(!world.transport.sockets[0].released);
    world.server_sends(0, &vec![0x55; 1000]);
    world.settle();
    assert_eq!(world.transport.sockets[0].incoming.len(), 0, "what comes behind the close is discarded");
    world.advance(SECOND);
    assert!(world.transport.sockets[0].released);
}

#[test]
fn shutting_down_is_a_close_handshake_and_no_attempt_follows() {
    let mut world = World::with_tls(Versions::Tls13, |_| {}).open();
    world.session.shut_down(&mut world.transport, world.now_ns);
    assert!(!world.session.is_open());
    assert_eq!(world.session.send(&mut world.transport, Kind::Text, b"x"), Err(SendError::NotOpen));
    world.settle();
    assert_eq!(world.peers[0].frames.pop_front(), Some(Frame { opcode: 0x88, payload: 1000u16.to_be_bytes().to_vec() }));
    // Fills that were under way are still handed out.
    world.server_sends(0, &[text("fill"), close(1000, "")].concat());
    world.settle();
    assert_eq!(world.handler.take(), [Told::Message(1, Kind::Text, b"fill".to_vec()), Told::Close(1, CloseCause::ShutDown)]);
    assert!(!world.session.is_shut_down());
    world.server_fin(0);
    world.settle();
    assert!(world.session.is_shut_down());
    world.advance(100 * SECOND);
    assert_eq!(world.transport.sockets.len(), 1);
}

#[test]
fn a_peer_that_ignores_our_close_cannot_hold_the_shut_down() {
    let mut world = World::new(|config| config.close_timeout_ns = 2 * SECOND).open();
    world.session.shut_down(&mut world.transport, world.now_ns);
    world.advance_until(5 * SECOND, |world| world.session.is_shut_down());
    assert_eq!(world.handler.told, [Told::Close(1, CloseCause::ShutDown)]);
}

#[test]
fn reconnecting_on_request_is_paced_by_the_back_off() {
    let mut world = World::new(|config| config.backoff_min_ns = 100 * MS).open();
    world.session.reconnect(&mut world.transport, world.now_ns, "the book cannot be trusted");
    world.server_sends(0, &close(1000, ""));
    world.settle();
    assert_eq!(world.handler.take(), [Told::Close(1, CloseCause::Reconnect("the book cannot be trusted"))]);
    let waited = world.advance_until(SECOND, |world| world.session.is_open());
    assert!((50 * MS..=101 * MS).contains(&waited), "{waited}");
}

#[test]
fn a_reset_ends_the_link_at_once() {
    let mut world = World::with_tls(Versions::Tls13, |_| {}).open();
    world.reset(0);
    world.settle();
    assert_eq!(world.handler.told, [Told::Close(1, CloseCause::Socket(CloseReason::Reset))]);
    assert!(world.transport.sockets[0].released);
    world.advance_until(SECOND, |world| world.session.is_open());
}
