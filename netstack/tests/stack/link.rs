//! ARP, ICMP and what does not belong to a socket.

use std::net::{Ipv4Addr, SocketAddrV4};

use drivers::memory::{MemoryConfig, MemoryPort, pair};
use netstack::stack::{Stack, StackConfig};
use netstack::transport::{CloseReason, SocketId, SocketState, Transport};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{ArpOperation, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, TcpControl};

use crate::frames::{self, OUR_MAC, PEER_MAC, Seen};
use crate::peer::{PEER, PORT};
use crate::world::{MILLISECOND_NS, SECOND_NS, US, World, pass, stack_config};

const OTHER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x77];

/// A stack with a scripted host at the far end.
pub struct Script {
    pub stack: Stack<MemoryPort>,
    pub far: MemoryPort,
    pub now_ns: u64,
}

impl Script {
    pub fn new(config: &StackConfig) -> Script {
        let (near, far) = pair(&MemoryConfig::default()).expect("a link");
        Script { stack: Stack::new(near, config, 0).expect("a stack"), far, now_ns: 0 }
    }

    /// A stack that knows its gateway, and nothing under way.
    pub fn settled() -> Script {
        let mut script = Script::new(&StackConfig { neighbours: vec![(PEER, PEER_MAC)], ..stack_config() });
        script.pass();
        script
    }

    /// Passes, and returns what came out.
    pub fn pass(&mut self) -> Vec<Vec<u8>> {
        pass(&mut self.stack, self.now_ns);
        frames::receive(&mut self.far, self.now_ns)
    }

    /// Sends a frame to the stack, and returns what it answered.
    pub fn tell(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        frames::send(&mut self.far, frame, self.now_ns);
        self.pass()
    }

    /// A connection that is open: its socket, and the SYN that opened it. The host's next sequence number is 1001.
    pub fn open(&mut self) -> (SocketId, Seen) {
        let socket = self.stack.connect(SocketAddrV4::new(PEER, PORT), self.now_ns).expect("begun");
        let syn = self.pass().iter().find_map(|frame| frames::read_tcp(frame)).expect("a SYN");
        self.tell(&frames::tcp(syn.port, TcpControl::Syn, 1000, Some(syn.sequence.wrapping_add(1)), &[]));
        assert_eq!(self.stack.state(socket), SocketState::Open);
        (socket, syn)
    }
}

fn segments(frames: &[Vec<u8>]) -> Vec<Seen> {
    frames.iter().filter_map(|frame| frames::read_tcp(frame)).collect()
}

#[test]
fn the_address_is_announced_and_the_gateway_looked_for_at_once() {
    let mut script = Script::new(&stack_config());
    let out: Vec<_> = script.pass().iter().filter_map(|frame| frames::read_arp(frame)).collect();
    assert_eq!(out, [(ArpOperation::Request, US, US, [0xff; 6]), (ArpOperation::Request, US, PEER, [0xff; 6])]);
    assert!(!script.stack.is_ready(0));
    script.tell(&frames::arp(ArpOperation::Reply, (PEER_MAC, PEER), (OUR_MAC, US), OUR_MAC));
    assert!(script.stack.is_ready(0));
}

#[test]
fn ten_minutes_of_traffic_never_wait_for_arp() {
    let mut world = World::plain();
    let socket = world.connect();
    let (mut sent, mut echoed) = (0_u64, 0_u64);
    let mut slowest_ns = 0;
    while world.now_ns < 600 * SECOND_NS {
        let from_ns = world.now_ns;
        assert!(world.write(socket, b"ping"));
        sent += 4;
        while echoed < sent {
            world.step(10_000);
            let peer = world.peer.socket(0);
            if peer.can_recv() {
                let bytes = peer.recv(|bytes| (bytes.len(), bytes.to_vec())).expect("readable");
                peer.send_slice(&bytes).expect("writable");
            }
            echoed += world.read(socket).len() as u64;
        }
        slowest_ns = slowest_ns.max(world.now_ns - from_ns);
        world.run(37 * MILLISECOND_NS);
    }
    assert!(slowest_ns < MILLISECOND_NS, "one exchange took {slowest_ns} ns");
    let statistics = world.stack.statistics();
    assert!(statistics.arp_questions >= 600 / 20, "{statistics:?}");
    assert_eq!((statistics.segments_resent, statistics.neighbour_silences), (0, 0));
}

#[test]
fn a_gateway_that_is_silent_to_arp_stays_in_use_and_its_move_is_followed() {
    let mut script = Script::new(&stack_config());
    script.pass();
    script.tell(&frames::arp(ArpOperation::Reply, (PEER_MAC, PEER), (OUR_MAC, US), OUR_MAC));
    let (socket, syn) = script.open();
    for _ in 0..300 {
        script.now_ns += SECOND_NS;
        script.pass();
    }
    assert!(script.stack.statistics().neighbour_silences >= 1);
    script.stack.write(socket, 1, |_| (1, ())).expect("room");
    let out = script.pass();
    assert_eq!(segments(&out).len(), 1, "data goes where it went");
    assert_eq!(out[0][..6], PEER_MAC);
    script.tell(&frames::tcp(syn.port, TcpControl::None, 1001, Some(syn.sequence.wrapping_add(2)), &[]));
    // The gateway announces itself from another card.
    script.tell(&frames::arp(ArpOperation::Request, (OTHER_MAC, PEER), ([0; 6], PEER), [0xff; 6]));
    assert_eq!(script.stack.statistics().neighbour_changes, 1);
    script.stack.write(socket, 1, |_| (1, ())).expect("room");
    assert_eq!(script.pass()[0][..6], OTHER_MAC);
}

#[test]
fn arp_questions_for_us_are_answered_and_others_are_not() {
    let mut script = Script::settled();
    let out = script.tell(&frames::arp(ArpOperation::Request, (PEER_MAC, PEER), ([0; 6], US), [0xff; 6]));
    assert_eq!(out.iter().filter_map(|frame| frames::read_arp(frame)).collect::<Vec<_>>(), [(ArpOperation::Reply, US, PEER, PEER_MAC)]);
    let other = Ipv4Addr::new(10, 0, 0, 55);
    assert!(script.tell(&frames::arp(ArpOperation::Request, (PEER_MAC, PEER), ([0; 6], other), [0xff; 6])).is_empty());
    assert_eq!(script.stack.statistics().ignored_arp, 1);
    script.tell(&frames::arp(ArpOperation::Reply, (OTHER_MAC, US), (OUR_MAC, US), OUR_MAC));
    assert_eq!(script.stack.statistics().address_conflicts, 1);
}

#[test]
fn pings_are_answered() {
    let mut script = Script::settled();
    let repr = Icmpv4Repr::EchoRequest { ident: 7, seq_no: 9, data: b"are you there?" };
    let mut message = vec![0; repr.buffer_len()];
    repr.emit(&mut Icmpv4Packet::new_unchecked(&mut message[..]), &ChecksumCapabilities::default());
    let out = script.tell(&frames::ipv4(PEER, US, IpProtocol::Icmp, &message));
    let packet = Ipv4Packet::new_checked(&out[0][14..]).expect("IPv4");
    assert_eq!((packet.src_addr(), packet.dst_addr()), (US, PEER));
    let answer = Icmpv4Packet::new_checked(packet.payload()).expect("ICMP");
    assert_eq!(
        Icmpv4Repr::parse(&answer, &ChecksumCapabilities::default()),
        Ok(Icmpv4Repr::EchoReply { ident: 7, seq_no: 9, data: b"are you there?" })
    );
    for _ in 0..200 {
        script.tell(&frames::ipv4(PEER, US, IpProtocol::Icmp, &message));
    }
    assert!(script.stack.statistics().replies_limited > 100, "but not a flood of them");
}

#[test]
fn rfc9293_3_10_7_1_segments_without_a_socket_are_reset_at_a_limited_rate() {
    let mut script = Script::settled();
    let out = script.tell(&frames::tcp(9, TcpControl::Syn, 77, None, &[]));
    let reset = &segments(&out)[0];
    assert_eq!((reset.control, reset.sequence, reset.acknowledgement), (TcpControl::Rst, 0, Some(78)));
    let out = script.tell(&frames::tcp(9, TcpControl::Psh, 77, Some(5555), b"data"));
    let reset = &segments(&out)[0];
    assert_eq!((reset.control, reset.sequence, reset.port, reset.to_port), (TcpControl::Rst, 5555, 9, PORT));
    assert!(script.tell(&frames::tcp(9, TcpControl::Rst, 77, Some(5555), &[])).is_empty(), "never to a reset");
    let answers: usize = (0..1000).map(|_| script.tell(&frames::tcp(9, TcpControl::Syn, 77, None, &[])).len()).sum();
    assert!(answers < 30, "{answers}");
    assert_eq!(script.stack.statistics().no_socket, 1003);
}

#[test]
fn rfc5961_3_2_only_an_exact_reset_is_believed() {
    let mut script = Script::settled();
    let (socket, syn) = script.open();
    let out = script.tell(&frames::tcp(syn.port, TcpControl::Rst, 1001 + 500, None, &[]));
    assert_eq!(script.stack.state(socket), SocketState::Open);
    let challenge = &segments(&out)[0];
    assert_eq!(
        (challenge.control, challenge.sequence, challenge.acknowledgement),
        (TcpControl::None, syn.sequence.wrapping_add(1), Some(1001))
    );
    assert!(script.tell(&frames::tcp(syn.port, TcpControl::Rst, 900, None, &[])).is_empty(), "outside of the window: not a word");
    assert_eq!(script.stack.statistics().refused_segments, 2);
    script.tell(&frames::tcp(syn.port, TcpControl::Psh, 1001, Some(syn.sequence.wrapping_add(1)), b"data"));
    script.tell(&frames::tcp(syn.port, TcpControl::Rst, 1005, None, &[]));
    assert_eq!(script.stack.state(socket), SocketState::Closed(CloseReason::Reset));
}

/// An ICMP "destination unreachable" that quotes a frame of ours.
pub fn unreachable(code: u8, mtu: u16, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![3, code, 0, 0, 0, 0];
    message.extend(mtu.to_be_bytes());
    message.extend(&quoted[14..14 + 28]);
    Icmpv4Packet::new_unchecked(&mut message[..]).fill_checksum();
    frames::ipv4(PEER, US, IpProtocol::Icmp, &message)
}

#[test]
fn rfc1191_3_and_5927_4_1_a_narrow_path_is_learnt_and_forged_quotes_are_not() {
    let mut script = Script::settled();
    let (socket, syn) = script.open();
    script.stack.write(socket, 3000, |room| (room.len(), room.fill(1))).expect("room");
    let out = script.pass();
    assert_eq!(segments(&out).iter().map(|seen| seen.payload.len()).collect::<Vec<_>>(), [1460, 1460, 80]);
    let mut forged = out[0].clone();
    forged[38] ^= 0x40; // another sequence number
    script.tell(&unreachable(4, 576, &forged));
    assert_eq!((script.stack.statistics().path_mtu_reductions, script.stack.statistics().ignored_icmp), (0, 1));
    let again = segments(&script.tell(&unreachable(4, 1000, &out[0])));
    assert_eq!(script.stack.statistics().path_mtu_reductions, 1);
    assert_eq!(again.iter().map(|seen| seen.payload.len()).collect::<Vec<_>>(), [960, 500, 960, 500]);
    assert_eq!(again[0].sequence, syn.sequence.wrapping_add(1));
}

#[test]
fn rfc1191_5_a_router_that_says_nothing_of_the_size_gets_the_least_that_every_path_takes() {
    let mut script = Script::settled();
    let (socket, _) = script.open();
    script.stack.write(socket, 1460, |room| (room.len(), room.fill(1))).expect("room");
    let out = script.pass();
    let again = segments(&script.tell(&unreachable(4, 0, &out[0])));
    assert_eq!(again.iter().map(|seen| seen.payload.len()).collect::<Vec<_>>(), [536, 536, 388]);
}

#[test]
fn rfc1122_4_2_3_9_an_unreachable_host_does_not_end_an_open_connection() {
    let mut script = Script::settled();
    let (socket, _) = script.open();
    script.stack.write(socket, 5, |room| (5, room.copy_from_slice(b"order"))).expect("room");
    let out = script.pass();
    let icmp = script.stack.statistics().icmp_messages;
    for code in [0, 1, 5] {
        script.tell(&unreachable(code, 0, &out[0]));
    }
    assert_eq!((script.stack.state(socket), script.stack.statistics().icmp_messages), (SocketState::Open, icmp + 3), "routes flap");
}

#[test]
fn rfc1122_4_2_3_9_an_unreachable_host_ends_a_connect() {
    let mut script = Script::settled();
    let socket = script.stack.connect(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), PORT), 0).expect("begun");
    let syn = script.pass();
    assert_eq!(syn.len(), 1, "through the gateway");
    script.tell(&unreachable(1, 0, &syn[0]));
    assert_eq!(script.stack.state(socket), SocketState::Closed(CloseReason::Unreachable));
}

#[test]
fn every_kind_of_dropped_frame_has_its_counter() {
    let mut script = Script::settled();
    let (_, syn) = script.open();
    let data = frames::tcp(syn.port, TcpControl::Psh, 1001, Some(syn.sequence.wrapping_add(1)), b"data");
    let datagram = frames::udp((PEER, 1000), (US, 1001), b"hello");
    let before = *script.stack.statistics();
    let mut changed = |change: &mut dyn FnMut(&mut Vec<u8>), base: &[u8]| {
        let mut frame = base.to_vec();
        change(&mut frame);
        script.tell(&frame);
    };
    changed(&mut |frame| frame.truncate(14), &data); // no IP header: truncated
    changed(&mut |frame| frame.truncate(40), &data); // shorter than its length: truncated
    changed(&mut |frame| frame[0] = 0x04, &data); // another card: not_ours
    changed(&mut |frame| frame[12] = 0x86, &data); // unknown_ethertype
    changed(&mut |frame| frame[40] ^= 1, &data); // bad_checksum (TCP)
    changed(&mut |frame| frame[22] ^= 1, &data); // bad_checksum (IP)
    changed(&mut |frame| frame[14] = 0x44, &data); // header too short: malformed
    changed(&mut |frame| *frame = frames::ipv4(PEER, Ipv4Addr::new(10, 0, 0, 9), IpProtocol::Tcp, &frame[34..]), &data); // not_ours
    changed(&mut |frame| *frame = frames::ipv4(Ipv4Addr::new(224, 0, 0, 1), US, IpProtocol::Tcp, &frame[34..]), &data); // malformed
    changed(&mut |frame| *frame = frames::ipv4(US, US, IpProtocol::Tcp, &frame[34..]), &data); // from ourselves: malformed
    changed(&mut |frame| *frame = frames::ipv4(PEER, US, IpProtocol::Igmp, &frame[34..]), &data); // unknown_protocol
    changed(&mut |_| {}, &datagram); // no_port
    changed(&mut |frame| *frame = frames::ipv4(PEER, US, IpProtocol::Icmp, &[13, 0, 0xf2, 0xff, 0, 0, 0, 0]), &data); // ignored_icmp
    changed(
        &mut |frame| {
            frame[20] = 0x20; // more fragments
            Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
        },
        &data,
    );
    let after = *script.stack.statistics();
    assert_eq!(after.truncated - before.truncated, 2);
    assert_eq!(after.not_ours - before.not_ours, 2);
    assert_eq!(after.unknown_ethertype - before.unknown_ethertype, 1);
    assert_eq!(after.bad_checksum - before.bad_checksum, 2);
    assert_eq!(after.malformed - before.malformed, 3);
    assert_eq!(after.unknown_protocol - before.unknown_protocol, 1);
    assert_eq!(after.no_port - before.no_port, 1);
    assert_eq!(after.ignored_icmp - before.ignored_icmp, 1);
    assert_eq!(after.fragments - before.fragments, 1);
    assert_eq!(after.tcp_segments, before.tcp_segments);
}
