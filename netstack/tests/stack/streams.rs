//! TCP byte streams: whole over any link, quick to recover, truthful about their end.

use std::net::{Ipv4Addr, SocketAddrV4};

use drivers::memory::{Faults, MemoryConfig, pair};
use drivers::port::Port;
use netstack::stack::{Stack, StackConfig, StackError};
use netstack::tcp::TcpConfig;
use netstack::transport::{CloseReason, ConnectError, SocketId, SocketState, Transport};
use smoltcp::socket::tcp::State;
use smoltcp::wire::TcpControl;

use crate::frames::{self, ByHand, Seen};
use crate::link::Script;
use crate::peer::{PEER, PORT};
use crate::world::{MILLISECOND_NS, SECOND_NS, US, World, pass, stack_config};

/// Byte `position` of a stream that never repeats at a short distance.
fn pattern(position: usize) -> u8 {
    let mixed = (position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// Writes `total` bytes in pieces of changing size while the peer sends every byte back.
fn echo(world: &mut World, socket: SocketId, total: usize, limit_ns: u64) {
    let (mut written, mut read) = (0, 0);
    let mut size = 1;
    world.until("all bytes come back", limit_ns, |world| {
        let len = size.min(total - written);
        if len > 0 {
            let piece: Vec<u8> = (written..written + len).map(pattern).collect();
            if world.write(socket, &piece) {
                written += len;
                size = size * 7 % 3001 + 1;
            }
        }
        let peer = world.peer.socket(0);
        while peer.can_recv() && peer.can_send() {
            let bytes = peer.recv(|bytes| (bytes.len().min(1500), bytes[..bytes.len().min(1500)].to_vec())).expect("readable");
            let mut sent = 0;
            sent += peer.send_slice(&bytes).expect("writable");
            assert_eq!(sent, bytes.len(), "the peer's send buffer is never fuller than its receive buffer");
        }
        for byte in world.read(socket) {
            assert_eq!(byte, pattern(read), "byte {read}");
            read += 1;
        }
        read == total
    });
    assert_eq!(world.stack.unacknowledged(socket), 0);
}

#[test]
fn a_stream_is_whole_over_a_perfect_link() {
    let mut world = World::plain();
    let socket = world.connect();
    echo(&mut world, socket, 300_000, 10 * SECOND_NS);
    let statistics = world.stack.statistics();
    assert_eq!((statistics.segments_resent, statistics.bad_checksum, statistics.no_socket), (0, 0, 0), "{statistics:?}");
    assert_eq!(statistics.received(), world.stack.port().statistics().rx_frames, "every frame is counted once");
}

#[test]
fn streams_are_whole_over_links_that_lose_swap_repeat_and_corrupt() {
    let mut corrupted = 0;
    for seed in 1..=12 {
        let faults = Faults {
            loss_ppm: 20_000,
            duplicate_ppm: 20_000,
            reorder_ppm: 30_000,
            reorder_delay_ns: 300_000,
            corrupt_ppm: 10_000,
            delay_ns: 100_000,
            jitter_ns: 50_000,
            ..Faults::NONE
        };
        let mut world = World::with_faults(faults, seed);
        let socket = world.connect();
        echo(&mut world, socket, 60_000, 300 * SECOND_NS);
        let statistics = *world.stack.statistics();
        assert!(statistics.segments_resent > 0, "the faults struck: {statistics:?}");
        corrupted += statistics.bad_checksum;
        assert_eq!(statistics.received(), world.stack.port().statistics().rx_frames, "every frame is counted once");
    }
    assert!(corrupted > 5, "{corrupted}");
}

#[test]
fn a_lone_lost_order_arrives_within_three_round_trips_and_a_millisecond() {
    let mut world = World::with_faults(Faults::delay(250_000), 1);
    let socket = world.connect();
    world.run(SECOND_NS);
    world.stack.port_mut().set_faults(Faults::cut());
    assert!(world.write(socket, b"order"));
    world.stack_pass();
    let sent_ns = world.now_ns;
    world.stack.port_mut().set_faults(Faults::delay(250_000));
    world.until("the order arrives", SECOND_NS, |world| world.peer.socket(0).recv_queue() == 5);
    let waited_ns = world.now_ns - sent_ns;
    assert!((750_000..3 * 500_000 + MILLISECOND_NS).contains(&waited_ns), "{waited_ns}");
}

#[test]
fn a_swap_while_sending_does_not_stall_reading() {
    let mut world = World::with_faults(Faults::delay(250_000), 1);
    let socket = world.connect();
    world.run(SECOND_NS);
    // The peer sends data, held back by a moment, and acknowledges our data, which overtakes it.
    let held = Faults { reorder_ppm: 1_000_000, reorder_delay_ns: 400_000, ..Faults::delay(250_000) };
    world.peer.port().set_faults(held);
    world.peer.socket(0).send_slice(b"held back").expect("send");
    let now_ns = world.now_ns;
    world.peer.pass(now_ns);
    world.peer.port().set_faults(Faults::delay(250_000));
    assert!(world.write(socket, b"order"));
    let mut arrived = Vec::new();
    world.until("the data is read", 2 * MILLISECOND_NS, |world| {
        arrived.extend(world.read(socket));
        arrived == b"held back"
    });
    world.run(SECOND_NS);
    assert_eq!((world.stack.unacknowledged(socket), world.stack.statistics().segments_resent), (0, 0));
}

#[test]
fn a_refused_connection_says_so() {
    let mut world = World::plain();
    let socket = world.stack.connect(SocketAddrV4::new(PEER, 444), 0).expect("begun");
    assert_eq!(world.stack.state(socket), SocketState::Connecting);
    world.until("refused", SECOND_NS, |world| world.closed(socket) == Some(CloseReason::Refused));
}

#[test]
fn a_reset_by_the_peer_says_so_and_what_came_before_can_be_read() {
    let mut world = World::plain();
    let socket = world.connect();
    world.until("peer open", SECOND_NS, |world| world.peer.socket(0).state() == State::Established);
    world.peer.socket(0).send_slice(b"last words").expect("send");
    world.run(MILLISECOND_NS);
    world.peer.socket(0).abort();
    world.until("reset", SECOND_NS, |world| world.closed(socket) == Some(CloseReason::Reset));
    assert_eq!(world.read(socket), b"last words");
    assert!(!world.write(socket, b"too late"));
}

#[test]
fn connections_close_in_order_from_either_side() {
    let mut world = World::plain();
    let socket = world.connect();
    assert!(world.write(socket, b"bye"));
    world.stack.close(socket);
    world.until("peer sees FIN", SECOND_NS, |world| world.peer.socket(0).state() == State::CloseWait);
    assert_eq!(world.peer.socket(0).recv_queue(), 3, "what was written comes before the FIN");
    assert_eq!(world.stack.state(socket), SocketState::Open, "the peer may go on sending");
    world.peer.socket(0).close();
    world.until("closed", SECOND_NS, |world| world.closed(socket) == Some(CloseReason::Closed));
    world.stack.release(socket);

    world.peer.listen_again(0);
    let socket = world.connect();
    world.until("peer open", SECOND_NS, |world| world.peer.socket(0).state() == State::Established);
    world.peer.socket(0).send_slice(b"rest").expect("send");
    world.peer.socket(0).close();
    world.until("peer closed", SECOND_NS, |world| world.stack.state(socket) == SocketState::PeerClosed);
    assert_eq!(world.read(socket), b"rest");
    assert!(world.write(socket, b"still here"));
    world.stack.close(socket);
    world.until("closed", SECOND_NS, |world| world.closed(socket) == Some(CloseReason::Closed));
}

#[test]
fn silence_ends_a_connection_that_waits_and_never_one_that_is_idle() {
    let mut world = World::plain();
    let socket = world.connect();
    world.run(120 * SECOND_NS);
    assert_eq!(world.stack.state(socket), SocketState::Open, "idle for twelve times the user time-out");
    world.stack.port_mut().set_faults(Faults::cut());
    assert!(world.write(socket, b"?"));
    let from_ns = world.now_ns;
    world.until("given up", 20 * SECOND_NS, |world| world.closed(socket) == Some(CloseReason::TimedOut));
    assert!((10 * SECOND_NS..11 * SECOND_NS).contains(&(world.now_ns - from_ns)));
    assert_eq!(world.stack.statistics().timeouts, 1);
}

#[test]
fn an_unanswered_connect_times_out_and_an_absent_neighbour_is_unreachable() {
    let mut world = World::plain();
    world.run(SECOND_NS);
    // A far address goes to the gateway, which drops it.
    let far = world.stack.connect(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), PORT), world.now_ns).expect("begun");
    let near = world.stack.connect(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), PORT), world.now_ns).expect("begun");
    let ourselves = world.stack.connect(SocketAddrV4::new(US, PORT), world.now_ns).expect("begun");
    assert_eq!(world.closed(ourselves), Some(CloseReason::Unreachable));
    world.until("unreachable", 2 * SECOND_NS, |world| world.closed(near) == Some(CloseReason::Unreachable));
    assert_eq!(world.stack.state(far), SocketState::Connecting);
    world.until("timed out", 12 * SECOND_NS, |world| world.closed(far) == Some(CloseReason::TimedOut));
}

#[test]
fn released_sockets_are_gone_and_their_places_are_used_again() {
    let mut world = World::plain();
    let mut ports = Vec::new();
    let mut old: Option<SocketId> = None;
    for _ in 0..20 {
        world.peer.listen_again(0);
        world.peer.listen_again(1);
        let socket = world.connect();
        let other = world.connect();
        assert_ne!(socket, other);
        if let Some(old) = old {
            assert_eq!(world.closed(old), Some(CloseReason::Aborted));
            assert!(!world.write(old, b"x") && world.read(old).is_empty());
            world.stack.close(old);
            world.stack.abort(old);
            world.stack.release(old);
            assert_eq!(world.stack.state(socket), SocketState::Open, "a stale id touches nobody");
        }
        ports.push(world.peer.socket(0).remote_endpoint().expect("connected").port);
        world.stack.release(socket);
        world.stack.release(other);
        world.until("peer sees the reset", SECOND_NS, |world| world.peer.socket(0).state() == State::Closed);
        old = Some(socket);
    }
    let mut unique = ports.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ports.len(), "no local port comes back soon");
}

#[test]
fn more_connections_than_sockets_are_refused() {
    let mut world = World::plain();
    let remote = SocketAddrV4::new(PEER, PORT);
    let sockets: Vec<_> = (0..4).map(|_| world.stack.connect(remote, 0).expect("a free socket")).collect();
    assert_eq!(world.stack.connect(remote, 0), Err(ConnectError::NoSocket));
    world.stack.release(sockets[2]);
    let again = world.stack.connect(remote, 0).expect("the released one");
    assert_eq!((again.index, again.generation), (sockets[2].index, sockets[2].generation + 1));
}

#[test]
fn urgent_sockets_leave_first() {
    let (near, mut far) = pair(&MemoryConfig::default()).expect("a link");
    let config = StackConfig { neighbours: vec![(PEER, frames::PEER_MAC)], ..stack_config() };
    let mut stack = Stack::new(near, &config, 0).expect("a stack");
    let sockets: Vec<_> = (0..3).map(|_| stack.connect(SocketAddrV4::new(PEER, PORT), 0).expect("begun")).collect();
    pass(&mut stack, 0);
    for frame in frames::receive(&mut far, 0) {
        let Some(syn) = frames::read_tcp(&frame) else { continue };
        frames::send(&mut far, &frames::tcp(syn.port, TcpControl::Syn, 100, Some(syn.sequence.wrapping_add(1)), &[]), 0);
    }
    pass(&mut stack, 0);
    assert!(sockets.iter().all(|socket| stack.state(*socket) == SocketState::Open));
    frames::receive(&mut far, 0);
    stack.set_priority(sockets[2]);
    for socket in &sockets {
        stack.write(*socket, 5, |room| (room.len(), room.fill(b'a' + socket.index as u8))).expect("room");
    }
    assert_eq!(stack.transmit(0), 3);
    stack.flush(0).expect("flush");
    let order: Vec<u8> =
        frames::receive(&mut far, 0).iter().filter_map(|frame| frames::read_tcp(frame)).map(|seen| seen.payload[0]).collect();
    assert_eq!(order, [b'c', b'a', b'b']);
}

/// A stack that acknowledges at once, with a feed and a socket for orders open.
fn feed_and_orders() -> (Script, (SocketId, Seen), SocketId) {
    let tcp = TcpConfig { ack_delay: 0, ..stack_config().tcp };
    let config = StackConfig { neighbours: vec![(PEER, frames::PEER_MAC)], tcp, ..stack_config() };
    let mut script = Script::new(&config);
    script.pass();
    let feed = script.open();
    let (orders, _) = script.open();
    script.pass();
    (script, feed, orders)
}

#[test]
fn what_is_urgent_leaves_without_what_is_not() {
    let (mut script, (feed, feed_syn), orders) = feed_and_orders();
    script.stack.set_priority(orders);
    let next = feed_syn.sequence.wrapping_add(1);
    frames::send(&mut script.far, &frames::tcp(feed_syn.port, TcpControl::Psh, 1001, Some(next), b"tick"), 0);
    assert_eq!((script.stack.receive(0), script.stack.ingress_next(0), script.stack.ingress_next(0)), (1, Some(Some(feed)), None));
    script.stack.read(feed, |bytes| (bytes.len(), ()));
    assert_eq!(script.stack.transmit_urgent(0), 0, "an acknowledgement is due, and is not urgent");
    script.stack.write(feed, 4, |room| (4, room.copy_from_slice(b"chat"))).expect("room");
    script.stack.write(orders, 5, |room| (5, room.copy_from_slice(b"order"))).expect("room");
    assert_eq!(script.stack.transmit_urgent(0), 1);
    script.stack.flush(0).expect("flush");
    let seen = |script: &mut Script| -> Vec<(Vec<u8>, Option<u32>)> {
        let frames = frames::receive(&mut script.far, 0);
        frames.iter().filter_map(|frame| frames::read_tcp(frame)).map(|seen| (seen.payload.to_vec(), seen.acknowledgement)).collect()
    };
    assert_eq!(seen(&mut script).into_iter().map(|seen| seen.0).collect::<Vec<_>>(), [b"order"]);
    assert_eq!((script.stack.transmit_urgent(0), script.stack.transmit(0)), (0, 1));
    script.stack.flush(0).expect("flush");
    assert_eq!(seen(&mut script), [(b"chat".to_vec(), Some(1005))], "the acknowledgement rides along");
}

#[test]
fn within_a_burst_only_what_was_written_leaves() {
    let (mut script, (feed, feed_syn), orders) = feed_and_orders();
    for number in 0..3_u32 {
        let next = feed_syn.sequence.wrapping_add(1);
        frames::send(&mut script.far, &frames::tcp(feed_syn.port, TcpControl::Psh, 1001 + number * 4, Some(next), b"tick"), 0);
    }
    assert_eq!(script.stack.receive(0), 3);
    assert_eq!(script.stack.ingress_next(0), Some(Some(feed)));
    script.stack.read(feed, |bytes| (bytes.len(), ()));
    assert_eq!(script.stack.transmit(0), 0, "no bare acknowledgement in the middle");
    script.stack.write(orders, 5, |room| (5, room.copy_from_slice(b"order"))).expect("room");
    assert_eq!(script.stack.transmit(0), 1, "the order at once");
    while script.stack.ingress_next(0).is_some() {
        assert_eq!(script.stack.transmit(0), 0);
    }
    assert_eq!(script.stack.transmit(0), 1, "one acknowledgement for the whole burst");
    script.stack.flush(0).expect("flush");
    let seen: Vec<_> = frames::receive(&mut script.far, 0).iter().filter_map(|frame| frames::read_tcp(frame)).collect();
    assert_eq!((seen[0].payload.as_slice(), seen[1].acknowledgement), (&b"order"[..], Some(1013)));
}

#[test]
fn a_full_transmit_ring_does_not_stop_receiving() {
    let ByHand { mut stack, mut far, socket, port, next } = ByHand::opened(8, 100);
    // The far end keeps every frame: all chunks are soon under way.
    for _ in 0..14 {
        stack.write(socket, 1000, |room| (room.len(), ())).expect("room");
        stack.transmit(0);
    }
    stack.flush(0).expect("flush");
    assert!(stack.statistics().transmit_exhausted > 0);
    let received = stack.statistics().tcp_segments;
    for number in 0..5_u32 {
        frames::send(&mut far, &frames::tcp(port, TcpControl::Psh, 101 + number * 10, Some(next), b"0123456789"), 0);
    }
    pass(&mut stack, 0);
    assert_eq!(stack.statistics().tcp_segments, received + 5);
    assert_eq!(stack.read(socket, |bytes| (bytes.len(), bytes.len())), 50);
    // Room again: what waited leaves.
    let mut bytes = 0;
    for _ in 0..10 {
        bytes +=
            frames::receive(&mut far, 0).iter().filter_map(|frame| frames::read_tcp(frame)).map(|seen| seen.payload.len()).sum::<usize>();
        pass(&mut stack, 0);
    }
    assert_eq!(bytes, 14_000, "all that the initial window of ten segments lets out");
}

#[test]
fn room_to_write_is_whole_where_the_buffer_wraps_around() {
    let mut world = World::plain();
    let socket = world.connect();
    let mut sent = 0;
    let mut received = 0;
    for round in 0..200 {
        let len = 1000 + round * 37 % 4000;
        world.until("room", SECOND_NS, |world| {
            let mut offered = 0;
            let written = world.stack.write(socket, len, |room| {
                offered = room.len();
                for (place, byte) in room.iter_mut().enumerate() {
                    *byte = pattern(sent + place);
                }
                (len, ())
            });
            assert!(written.is_none() || offered == len);
            world
                .peer
                .socket(0)
                .recv(|bytes| {
                    for byte in bytes.iter() {
                        assert_eq!(*byte, pattern(received), "byte {received}");
                        received += 1;
                    }
                    (bytes.len(), ())
                })
                .ok();
            written.is_some()
        });
        sent += len;
    }
    assert!(world.stack.write(socket, 40 * 1024, |room| (0, room.len())).is_none(), "more than the buffer");
}

#[test]
fn segments_fit_the_link() {
    for mtu in [576, 1500, 3000] {
        let (near, mut far) = pair(&MemoryConfig { mtu, ..MemoryConfig::default() }).expect("a link");
        let config = StackConfig { neighbours: vec![(PEER, frames::PEER_MAC)], ..stack_config() };
        let mut stack = Stack::new(near, &config, 0).expect("a stack");
        stack.connect(SocketAddrV4::new(PEER, PORT), 0).expect("begun");
        pass(&mut stack, 0);
        let syn = frames::receive(&mut far, 0).iter().find_map(|frame| frames::read_tcp(frame)).expect("a SYN");
        assert_eq!(syn.mss, Some(mtu as u16 - 40));
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let wrong = [
        StackConfig { address: Some((Ipv4Addr::new(224, 0, 0, 1), 24)), ..stack_config() },
        StackConfig { address: Some((US, 33)), ..stack_config() },
        StackConfig { gateway: Some(Ipv4Addr::new(10, 9, 9, 9)), ..stack_config() },
        StackConfig { gateway: Some(US), ..stack_config() },
        StackConfig { ports: (0, 1000), ..stack_config() },
        StackConfig { ports: (1000, 1010), ..stack_config() },
        StackConfig { sockets_max: 0, ..stack_config() },
        StackConfig { tcp: TcpConfig { receive_buffer: 0, ..stack_config().tcp }, ..stack_config() },
        StackConfig { tcp: TcpConfig { ack_delay: SECOND_NS, ..stack_config().tcp }, ..stack_config() },
        StackConfig { hosts: vec![("not a name".to_owned(), US)], ..stack_config() },
    ];
    for config in wrong {
        let (near, _far) = pair(&MemoryConfig::default()).expect("a link");
        let error: StackError = Stack::new(near, &config, 0).map(|_| ()).expect_err("refused");
        assert!(!error.to_string().is_empty());
    }
}
