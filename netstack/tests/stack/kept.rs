//! Messages lie in the frames that they are sent from until the peer has them: no byte is copied, none is lost, and
//! every frame comes back.

use drivers::memory::{Faults, MemoryConfig, MemoryPort};
use drivers::port::Port;
use drivers::purpose::Purpose;
use netstack::stack::StackConfig;
use netstack::transport::{SocketId, Transport};
use proptest::prelude::*;
use smoltcp::wire::TcpControl;

use crate::frames::{self, ByHand};
use crate::world::{MILLISECOND_NS, SECOND_NS, World, pass, stack_config};

const CHUNKS: u32 = 256;

/// Chunks that the port would give out.
fn free_chunks(world: &mut World) -> usize {
    let port: &mut MemoryPort = world.stack.port_mut();
    let frames: Vec<_> = std::iter::from_fn(|| port.allocate()).collect();
    let count = frames.len();
    frames.into_iter().for_each(|frame| port.abandon(frame));
    count
}

fn world(faults: Faults, seed: u64) -> World {
    let link = MemoryConfig { a_to_b: faults, b_to_a: faults, seed, chunks: CHUNKS, ..MemoryConfig::default() };
    World::new(&link, &StackConfig { seed, ..stack_config() }, 1)
}

/// Writes a message, or goes the way of it only.
fn write(world: &mut World, socket: SocketId, message: &[u8], rehearse: bool) -> bool {
    let fill = |room: &mut [u8]| {
        room.copy_from_slice(message);
        (message.len(), ())
    };
    let purpose = if rehearse { Purpose::Rehearse } else { Purpose::Send };
    world.stack.write_for(purpose, socket, message.len(), fill).is_some()
}

#[test]
fn a_lost_message_is_sent_again_from_its_frame_and_nothing_is_ever_copied() {
    let mut world = world(Faults::delay(100_000), 1);
    let socket = world.connect();
    world.run(10 * MILLISECOND_NS);
    let before = world.stack.tcp_statistics();
    for round in 0..20_u8 {
        world.stack.port_mut().set_faults(Faults::cut());
        assert!(write(&mut world, socket, &[round; 300], false));
        world.stack_pass();
        world.stack.port_mut().set_faults(Faults::delay(100_000));
        world.until("it arrives", 10 * MILLISECOND_NS, |world| world.peer.socket(0).recv_queue() == 300);
        let seen = world.peer.socket(0).recv(|bytes| (bytes.len(), bytes.to_vec())).expect("readable");
        assert_eq!(seen, [round; 300]);
        world.run(2 * MILLISECOND_NS);
    }
    let after = world.stack.tcp_statistics();
    assert!(after.retransmissions - before.retransmissions >= 20, "{after:?}");
    assert_eq!((after.bytes_copied_out, after.bytes_copied_in), (0, 0));
    assert_eq!(world.stack.unacknowledged(socket), 0);
}

#[test]
fn what_is_longer_than_a_segment_is_copied_and_counted_apart_when_it_is_sent_again() {
    let mut world = world(Faults::delay(100_000), 1);
    let socket = world.connect();
    world.run(10 * MILLISECOND_NS);
    world.stack.port_mut().set_faults(Faults::cut());
    assert!(write(&mut world, socket, &[7; 3000], false));
    world.stack_pass();
    let first = world.stack.tcp_statistics();
    assert_eq!((first.bytes_copied_out, first.bytes_copied_again), (3000, 0));
    world.stack.port_mut().set_faults(Faults::delay(100_000));
    world.until("it arrives", SECOND_NS, |world| world.peer.socket(0).recv_queue() == 3000);
    let after = world.stack.tcp_statistics();
    assert!(after.bytes_copied_again >= 3000, "{after:?}");
    assert_eq!(after.bytes_copied_out - after.bytes_copied_again, 3000);
}

#[test]
fn what_is_read_in_order_is_read_from_its_frame_and_what_is_left_is_kept() {
    let mut world = world(Faults::delay(100_000), 1);
    let socket = world.connect();
    world.until("peer open", SECOND_NS, |world| world.peer.socket(0).may_send());
    world.peer.socket(0).send_slice(b"all of it").expect("send");
    let mut read = Vec::new();
    world.until("read", SECOND_NS, |world| {
        while world.stack.receive(world.now_ns) > 0 {
            while let Some(fed) = world.stack.ingress_next(world.now_ns) {
                if fed == Some(socket) {
                    read.extend(world.stack.read(socket, |bytes| (bytes.len(), bytes.to_vec())));
                }
            }
        }
        read == b"all of it"
    });
    assert_eq!(world.stack.tcp_statistics().bytes_copied_in, 0);
    assert!(world.stack.is_drained(socket));
    // Half of it, and the rest when the frame is long gone.
    world.peer.socket(0).send_slice(b"half and half").expect("send");
    let mut first = Vec::new();
    world.until("half is read", SECOND_NS, |world| {
        world.stack.receive(world.now_ns);
        while let Some(fed) = world.stack.ingress_next(world.now_ns) {
            if fed == Some(socket) && first.is_empty() {
                first = world.stack.read(socket, |bytes| {
                    bytes.make_ascii_uppercase();
                    (6, bytes[..6].to_vec())
                });
            }
        }
        !first.is_empty()
    });
    assert!(!world.stack.is_drained(socket));
    world.run(10 * MILLISECOND_NS);
    assert_eq!((first.as_slice(), world.read(socket).as_slice()), (&b"HALF A"[..], &b"ND HALF"[..]), "as it was left");
    assert_eq!(world.stack.tcp_statistics().bytes_copied_in, 7);
}

#[test]
fn a_message_cut_for_a_narrower_path_leaves_in_pieces_and_its_frame_comes_back_once() {
    let ByHand { mut stack, mut far, socket, port, next } = ByHand::opened(32, 1000);
    let message: Vec<u8> = (0..1400_u32).map(|at| (at * 7) as u8).collect();
    stack.write(socket, message.len(), |room| (room.len(), room.copy_from_slice(&message))).expect("room");
    pass(&mut stack, 1000);
    let sent = frames::receive(&mut far, 1000);
    assert_eq!(sent.len(), 1);
    frames::send(&mut far, &crate::link::unreachable(4, 640, &sent[0]), 2000);
    pass(&mut stack, 2000);
    // In pieces, each when the one before it has arrived or a window lets it out.
    let (mut whole, mut now_ns) = (vec![None; message.len()], 2000);
    for _ in 0..50 {
        for seen in frames::receive(&mut far, now_ns).iter().filter_map(|frame| frames::read_tcp(frame)) {
            assert!(seen.payload.len() <= 600, "{}", seen.payload.len());
            let at = seen.sequence.wrapping_sub(next) as usize;
            for (place, byte) in seen.payload.iter().enumerate() {
                whole[at + place] = Some(*byte);
            }
        }
        let got = whole.iter().take_while(|byte| byte.is_some()).count() as u32;
        frames::send(&mut far, &frames::tcp(port, TcpControl::None, 1001, Some(next.wrapping_add(got)), &[]), now_ns);
        now_ns += 10 * MILLISECOND_NS;
        pass(&mut stack, now_ns);
    }
    assert_eq!(whole.into_iter().flatten().collect::<Vec<_>>(), message);
    assert_eq!(stack.unacknowledged(socket), 0);
    frames::receive(&mut far, now_ns);
    pass(&mut stack, now_ns);
    stack.flush(now_ns).expect("flush");
    assert_eq!(std::iter::from_fn(|| stack.port_mut().allocate()).count(), 32, "all chunks are free again");
}

/// A stack with one open connection, and the other end of its link in our hands.
struct Twin {
    link: ByHand,
    now_ns: u64,
}

impl Twin {
    fn new(urgent: bool) -> Twin {
        let mut link = ByHand::opened(CHUNKS, 1000);
        if urgent {
            link.stack.set_priority(link.socket);
        }
        Twin { link, now_ns: 0 }
    }

    /// Writes for this purpose, and makes frames as the engine does.
    fn write(&mut self, purpose: Purpose, len: usize, byte: u8) {
        let fill = |room: &mut [u8]| {
            room.fill(byte);
            (room.len(), ())
        };
        self.link.stack.write_for(purpose, self.link.socket, len, fill);
        self.link.stack.transmit_urgent(self.now_ns);
    }

    /// Time goes by, and nothing happens: timers may be due.
    fn wait(&mut self, ns: u64) {
        self.now_ns += ns;
        self.link.stack.transmit_urgent(self.now_ns);
    }

    /// Time goes by; the peer acknowledges what came if `answers`, and says something if `speaks`. What left, byte by byte.
    fn on(&mut self, ns: u64, answers: bool, speaks: &[u8]) -> Vec<Vec<u8>> {
        self.now_ns += ns;
        pass(&mut self.link.stack, self.now_ns);
        let left = frames::receive(&mut self.link.far, self.now_ns);
        for seen in left.iter().filter_map(|frame| frames::read_tcp(frame)) {
            if seen.sequence == self.link.next {
                self.link.next = self.link.next.wrapping_add(seen.payload.len() as u32);
            }
        }
        if answers {
            frames::send(
                &mut self.link.far,
                &frames::tcp(self.link.port, TcpControl::None, 1001, Some(self.link.next), speaks),
                self.now_ns,
            );
            pass(&mut self.link.stack, self.now_ns);
        }
        left
    }

    /// All that one can ask it.
    fn told(&mut self) -> String {
        let (port, tcp) = (self.link.stack.port_mut().statistics(), self.link.stack.tcp_statistics());
        let next =
            (self.link.stack.next_deadline_ns(), self.link.stack.unacknowledged(self.link.socket), self.link.stack.state(self.link.socket));
        format!("{:?} {port:?} {tcp:?} {next:?}", self.link.stack.statistics())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever else is going on, with a rehearsal before each step a stack sends the same bytes at the same times.
    #[test]
    fn a_stack_that_rehearses_is_not_to_be_told_from_one_that_does_not(
        urgent in any::<bool>(),
        steps in proptest::collection::vec((0..1460_usize, 1..1600_usize, 0..4_u8, 0..3_u8), 1..80),
    ) {
        let (mut plain, mut rehearsing) = (Twin::new(urgent), Twin::new(urgent));
        for (at, (len, rehearsed, pause, peer)) in steps.into_iter().enumerate() {
            let byte = at as u8;
            for ns in [0, 50_000, 20 * MILLISECOND_NS] {
                plain.wait(ns);
                rehearsing.wait(ns);
                rehearsing.write(Purpose::Rehearse, rehearsed, 0xee);
                prop_assert_eq!(rehearsing.told(), plain.told(), "step {}", at);
            }
            if len > 0 {
                plain.write(Purpose::Send, len, byte);
                rehearsing.write(Purpose::Send, len, byte);
                rehearsing.write(Purpose::Rehearse, rehearsed, 0xee);
            }
            let ns = [1_000, 200_000, 30 * MILLISECOND_NS, SECOND_NS][usize::from(pause)];
            let left = rehearsing.on(ns, peer > 0, &[byte; 3][..usize::from(peer).saturating_sub(1)]);
            prop_assert_eq!(left, plain.on(ns, peer > 0, &[byte; 3][..usize::from(peer).saturating_sub(1)]), "step {}", at);
            prop_assert_eq!(rehearsing.told(), plain.told(), "step {}", at);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn messages_and_rehearsals_over_a_bad_link_arrive_whole_and_leave_every_frame_free(
        seed in 1..u64::MAX,
        loss_ppm in 0..60_000_u32,
        messages in proptest::collection::vec((1..2500_usize, any::<bool>(), 0..300_u64), 1..120),
        end in 0..3_u8,
    ) {
        let faults = Faults {
            loss_ppm, reorder_ppm: 20_000, reorder_delay_ns: 200_000, duplicate_ppm: 10_000, delay_ns: 50_000, ..Faults::NONE
        };
        let mut world = world(faults, seed);
        let free = free_chunks(&mut world);
        let socket = world.connect();
        let (mut written, mut arrived, mut number) = (Vec::new(), Vec::new(), 0_u8);
        for (len, rehearse, wait_us) in messages {
            number = number.wrapping_add(1);
            let message: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add(number)).collect();
            world.until("room", 60 * SECOND_NS, |world| {
                world.peer.socket(0).recv(|bytes| (bytes.len(), arrived.extend_from_slice(bytes))).ok();
                write(world, socket, &message, rehearse)
            });
            if !rehearse {
                written.extend(message);
            }
            world.run(wait_us * 1000);
        }
        if end == 0 {
            world.stack.abort(socket);
        } else {
            world.until("all arrives", 120 * SECOND_NS, |world| {
                world.peer.socket(0).recv(|bytes| (bytes.len(), arrived.extend_from_slice(bytes))).ok();
                arrived.len() == written.len() && world.stack.unacknowledged(socket) == 0
            });
            prop_assert_eq!(&arrived, &written);
        }
        world.stack.release(socket);
        world.run(3 * SECOND_NS);
        // What the next message will be written into stays with the connection's place.
        let now = free_chunks(&mut world);
        prop_assert!((free - 4..=free).contains(&now), "{} of {}", now, free);
    }
}
