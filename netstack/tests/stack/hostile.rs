//! Hostile frames: whatever arrives, nothing panics, every frame is counted once, and the stack lives on.

use std::net::{Ipv4Addr, SocketAddrV4};

use drivers::port::Port;
use netstack::stack::StackConfig;
use netstack::transport::{SocketId, SocketState, Transport};
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{ArpOperation, Icmpv4Packet, Icmpv4Repr, IpAddress, IpProtocol, Ipv4Packet, TcpControl, TcpPacket, UdpPacket};

use crate::frames::{self, OUR_MAC, PEER_MAC};
use crate::link::Script;
use crate::peer::{PEER, PORT};
use crate::world::{US, stack_config};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);

/// A stack with a connection open, one opening, data under way and a DNS question asked, and the port numbers of those.
fn busy() -> (Script, SocketId, u16, u32) {
    let config = StackConfig { neighbours: vec![(PEER, PEER_MAC), (SERVER, PEER_MAC)], dns_servers: vec![SERVER], ..stack_config() };
    let mut script = Script::new(&config);
    script.pass();
    let (socket, syn) = script.open();
    script.stack.write(socket, 500, |room| (room.len(), room.fill(7))).expect("room");
    script.stack.connect(SocketAddrV4::new(PEER, PORT), 0).expect("begun");
    script.stack.resolve("hostile.example", 0);
    script.pass();
    (script, socket, syn.port, syn.sequence.wrapping_add(1))
}

/// Makes all checksums right, so that the change is seen by what lies behind them.
fn repair(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(14..).filter(|packet| packet.len() >= 20) else { return };
    let header_len = usize::from(packet[0] & 0x0f) * 4;
    if header_len < 20 || header_len > packet.len() {
        return;
    }
    Ipv4Packet::new_unchecked(&mut *packet).fill_checksum();
    let total_len = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let (source, destination) =
        (Ipv4Addr::new(packet[12], packet[13], packet[14], packet[15]), Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]));
    let (source, destination) = (IpAddress::Ipv4(source), IpAddress::Ipv4(destination));
    let protocol = packet[9];
    let Some(payload) = packet.get_mut(header_len..total_len) else { return };
    match protocol {
        6 if payload.len() >= 20 => TcpPacket::new_unchecked(payload).fill_checksum(&source, &destination),
        17 if payload.len() >= 8 && usize::from(u16::from_be_bytes([payload[4], payload[5]])) == payload.len() => {
            UdpPacket::new_unchecked(payload).fill_checksum(&source, &destination);
        }
        1 if payload.len() >= 8 => Icmpv4Packet::new_unchecked(payload).fill_checksum(),
        _ => {}
    }
}

/// Frames that are nearly right for the busy stack.
fn seeds(port: u16, next: u32) -> Vec<Vec<u8>> {
    let echo = Icmpv4Repr::EchoRequest { ident: 1, seq_no: 2, data: &[9; 40] };
    let mut message = vec![0; echo.buffer_len()];
    echo.emit(&mut Icmpv4Packet::new_unchecked(&mut message[..]), &ChecksumCapabilities::default());
    let data = frames::tcp(port, TcpControl::Psh, 1001, Some(next.wrapping_add(500)), &[1; 300]);
    let mut unreachable = vec![3, 4, 0, 0, 0, 0, 2, 0];
    unreachable.extend(&data[14..42]);
    vec![
        frames::tcp(port, TcpControl::Psh, 1101, Some(next), &[2; 100]),
        frames::tcp(port, TcpControl::Fin, 1301, Some(next.wrapping_add(200)), &[3; 20]),
        frames::tcp(port, TcpControl::Syn, 5000, Some(next), &[]),
        frames::tcp(port, TcpControl::Rst, 1001, Some(next), &[]),
        frames::tcp(port + 1, TcpControl::Syn, 9000, Some(1), &[]),
        data,
        frames::ipv4(PEER, US, IpProtocol::Icmp, &message),
        frames::ipv4(PEER, US, IpProtocol::Icmp, &unreachable),
        frames::arp(ArpOperation::Request, (PEER_MAC, PEER), ([0; 6], US), OUR_MAC),
        frames::udp((SERVER, 53), (US, 20_000), &[0; 60]),
    ]
}

#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    Flip(usize, u8),
    Truncate(usize),
    Extend(usize, u8),
    Word(usize, u32),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..120_usize, any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        4 => (0..120_usize, 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => (0..120_usize).prop_map(Change::Truncate),
        1 => (0..100_usize, any::<u8>()).prop_map(|(len, byte)| Change::Extend(len, byte)),
        3 => (30..60_usize, prop_oneof![Just(0), Just(u32::MAX), Just(0x8000_0000), 900..1500_u32, any::<u32>()])
            .prop_map(|(at, word)| Change::Word(at, word)),
    ]
}

fn apply(frame: &mut Vec<u8>, change: &Change) {
    match *change {
        Change::Set(at, byte) => {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        Change::Flip(at, bit) => {
            if let Some(place) = frame.get_mut(at) {
                *place ^= 1 << bit;
            }
        }
        Change::Truncate(len) => frame.truncate(len.max(14)),
        Change::Extend(len, byte) => {
            frame.extend(std::iter::repeat_n(byte, len));
        }
        Change::Word(at, word) => {
            if let Some(place) = frame.get_mut(at..at + 4) {
                place.copy_from_slice(&word.to_be_bytes());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_frames_never_panic(
        script in proptest::collection::vec(
            (any::<prop::sample::Index>(), proptest::collection::vec(change(), 0..4), any::<bool>(), 0..2_000_000_u64),
            1..40,
        ),
        read in any::<bool>(),
    ) {
        let (mut world, socket, port, next) = busy();
        let base = *world.stack.statistics();
        let received = world.stack.port().statistics().rx_frames;
        let mut sent = 0;
        for (which, changes, repaired, wait_ns) in script {
            let mut frame = which.get(&seeds(port, next)).clone();
            for change in &changes {
                apply(&mut frame, change);
            }
            if repaired {
                repair(&mut frame);
            }
            world.now_ns += wait_ns;
            world.tell(&frame);
            sent += 1;
            if read {
                world.stack.read(socket, |bytes| (bytes.len(), ()));
                world.stack.write(socket, 10, |_| (10, ()));
            }
        }
        prop_assert_eq!(world.stack.statistics().received() - base.received(), sent);
        prop_assert_eq!(world.stack.port().statistics().rx_frames - received, sent);
        // It goes on: a new connection opens.
        world.stack.release(socket);
        world.now_ns += 2_000_000_000;
        world.pass();
        let (socket, _) = world.open();
        prop_assert_eq!(world.stack.state(socket), SocketState::Open);
    }

    #[test]
    fn random_bytes_never_panic(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 14..200), 1..20), ethertype in any::<bool>(),
    ) {
        let (mut world, _, _, _) = busy();
        for mut frame in frames {
            frame[..6].copy_from_slice(&OUR_MAC);
            frame[12..14].copy_from_slice(if ethertype { &[8, 0] } else { &[8, 6] });
            world.tell(&frame);
        }
    }

    #[test]
    fn reordered_segments_with_any_numbers_never_panic(
        segments in proptest::collection::vec((-70_000_i64..70_000, -2_000_i64..2_000, 0..1500_usize, 0..5_u8), 1..60),
    ) {
        let (mut world, socket, port, next) = busy();
        for (sequence, acknowledgement, len, control) in segments {
            let control = [TcpControl::None, TcpControl::Psh, TcpControl::Fin, TcpControl::Rst, TcpControl::Syn][usize::from(control)];
            let sequence = (1001 + sequence) as u32;
            let acknowledgement = (i64::from(next) + acknowledgement) as u32;
            world.tell(&frames::tcp(port, control, sequence, Some(acknowledgement), &vec![5; len.min(1400)]));
            world.stack.read(socket, |bytes| (bytes.len() / 2, ()));
        }
    }
}
