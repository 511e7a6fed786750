//! Frames by hand, for scripted hosts.

use std::net::{Ipv4Addr, SocketAddrV4};

use drivers::memory::{MemoryConfig, MemoryPort, pair};
use drivers::port::{Burst, Port};
use netstack::stack::{Stack, StackConfig};
use netstack::transport::{SocketId, SocketState, Transport};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, Ipv4Packet,
    Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
};

use crate::peer::{PEER, PORT};
use crate::world::{US, pass, stack_config};

/// The scripted host's hardware address, and ours (the memory link's defaults).
pub const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];
pub const OUR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];

/// Sends one frame.
pub fn send(port: &mut MemoryPort, bytes: &[u8], now_ns: u64) {
    let frame = port.allocate().expect("a free chunk");
    port.buffer(&frame)[..bytes.len()].copy_from_slice(bytes);
    port.commit(frame, bytes.len());
    port.flush(now_ns).expect("memory links do not fail");
}

/// All frames that have come.
pub fn receive(port: &mut MemoryPort, now_ns: u64) -> Vec<Vec<u8>> {
    let mut burst = Burst::new();
    let mut frames = Vec::new();
    while port.receive(now_ns, &mut burst) > 0 {
        for index in 0..burst.len() {
            let frame = burst.frames()[index];
            frames.push(port.frame(frame).to_vec());
        }
        port.recycle(&mut burst);
    }
    frames
}

fn ethernet(ethertype: EthernetProtocol, destination: [u8; 6], payload_len: usize) -> Vec<u8> {
    let mut frame = vec![0; 14 + payload_len];
    EthernetRepr { src_addr: EthernetAddress(PEER_MAC), dst_addr: EthernetAddress(destination), ethertype }
        .emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    frame
}

/// An IPv4 frame from the scripted host at `source` to `destination`.
pub fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let mac = if destination.is_broadcast() { [0xff; 6] } else { OUR_MAC };
    let mut frame = ethernet(EthernetProtocol::Ipv4, mac, 20 + payload.len());
    Ipv4Repr { src_addr: source, dst_addr: destination, next_header: protocol, payload_len: payload.len(), hop_limit: 64 }
        .emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &ChecksumCapabilities::default());
    frame[34..].copy_from_slice(payload);
    frame
}

/// An ARP frame of the scripted host.
pub fn arp(operation: ArpOperation, source: ([u8; 6], Ipv4Addr), target: ([u8; 6], Ipv4Addr), destination: [u8; 6]) -> Vec<u8> {
    let mut frame = ethernet(EthernetProtocol::Arp, destination, 28);
    ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(source.0),
        source_protocol_addr: source.1,
        target_hardware_addr: EthernetAddress(target.0),
        target_protocol_addr: target.1,
    }
    .emit(&mut ArpPacket::new_unchecked(&mut frame[14..]));
    frame
}

/// What an ARP frame says: operation, sender, target, and whom the frame goes to.
pub fn read_arp(frame: &[u8]) -> Option<(ArpOperation, Ipv4Addr, Ipv4Addr, [u8; 6])> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Arp {
        return None;
    }
    let packet = ArpPacket::new_checked(ethernet.payload()).ok()?;
    let ArpRepr::EthernetIpv4 { operation, source_protocol_addr, target_protocol_addr, .. } = ArpRepr::parse(&packet).ok()? else {
        return None;
    };
    Some((operation, source_protocol_addr, target_protocol_addr, ethernet.dst_addr().0))
}

/// Answers every ARP question for `address` among the frames; returns the others.
pub fn answer_arp(port: &mut MemoryPort, address: Ipv4Addr, frames: Vec<Vec<u8>>, now_ns: u64) -> Vec<Vec<u8>> {
    let mut rest = Vec::new();
    for frame in frames {
        match read_arp(&frame) {
            Some((ArpOperation::Request, asker, target, _)) if target == address => {
                send(port, &arp(ArpOperation::Reply, (PEER_MAC, address), (OUR_MAC, asker), OUR_MAC), now_ns);
            }
            Some(_) => {}
            None => rest.push(frame),
        }
    }
    rest
}

/// A UDP frame.
pub fn udp(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; 8 + payload.len()];
    UdpRepr { src_port: source.1, dst_port: destination.1 }.emit(
        &mut UdpPacket::new_unchecked(&mut datagram[..]),
        &IpAddress::Ipv4(source.0),
        &IpAddress::Ipv4(destination.0),
        payload.len(),
        |room| room.copy_from_slice(payload),
        &ChecksumCapabilities::default(),
    );
    ipv4(source.0, destination.0, IpProtocol::Udp, &datagram)
}

/// Address and port.
pub type Endpoint = (Ipv4Addr, u16);

/// What a UDP frame says: from, to, and the payload.
pub fn read_udp(frame: &[u8]) -> Option<(Endpoint, Endpoint, Vec<u8>)> {
    let packet = Ipv4Packet::new_checked(frame.get(14..)?).ok()?;
    assert!(packet.verify_checksum());
    if packet.next_header() != IpProtocol::Udp {
        return None;
    }
    let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
    assert!(datagram.verify_checksum(&IpAddress::Ipv4(packet.src_addr()), &IpAddress::Ipv4(packet.dst_addr())));
    Some(((packet.src_addr(), datagram.src_port()), (packet.dst_addr(), datagram.dst_port()), datagram.payload().to_vec()))
}

/// A segment from the scripted host's port [`PORT`] to ours.
pub fn tcp(to_port: u16, control: TcpControl, sequence: u32, acknowledgement: Option<u32>, payload: &[u8]) -> Vec<u8> {
    let repr = TcpRepr {
        src_port: PORT,
        dst_port: to_port,
        control,
        seq_number: TcpSeqNumber(sequence as i32),
        ack_number: acknowledgement.map(|number| TcpSeqNumber(number as i32)),
        window_len: 60_000,
        window_scale: None,
        max_seg_size: (control == TcpControl::Syn).then_some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload,
    };
    let mut segment = vec![0; repr.buffer_len()];
    repr.emit(
        &mut TcpPacket::new_unchecked(&mut segment[..]),
        &IpAddress::Ipv4(PEER),
        &IpAddress::Ipv4(US),
        &ChecksumCapabilities::default(),
    );
    ipv4(PEER, US, IpProtocol::Tcp, &segment)
}

/// A segment of ours, as the scripted host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub port: u16,
    pub to_port: u16,
    pub control: TcpControl,
    pub sequence: u32,
    pub acknowledgement: Option<u32>,
    pub payload: Vec<u8>,
    pub mss: Option<u16>,
    /// The value of its timestamp.
    pub stamp: Option<u32>,
}

/// The TCP segment in a frame; all checksums must be right.
pub fn read_tcp(frame: &[u8]) -> Option<Seen> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    assert!(packet.verify_checksum());
    if packet.next_header() != IpProtocol::Tcp {
        return None;
    }
    let (from, to) = (IpAddress::Ipv4(packet.src_addr()), IpAddress::Ipv4(packet.dst_addr()));
    let repr = TcpRepr::parse(&TcpPacket::new_checked(packet.payload()).ok()?, &from, &to, &ChecksumCapabilities::default()).ok()?;
    Some(Seen {
        port: repr.src_port,
        to_port: repr.dst_port,
        control: repr.control,
        sequence: repr.seq_number.0 as u32,
        acknowledgement: repr.ack_number.map(|number| number.0 as u32),
        payload: repr.payload.to_vec(),
        mss: repr.max_seg_size,
        stamp: repr.timestamp.map(|stamp| stamp.tsval),
    })
}

/// A stack with one open connection, and the other end of its link in our hands.
pub struct ByHand {
    pub stack: Stack<MemoryPort>,
    pub far: MemoryPort,
    pub socket: SocketId,
    /// The stack's port.
    pub port: u16,
    /// The first byte of its that the peer has not seen.
    pub next: u32,
}

impl ByHand {
    /// Over a link with so many chunks; the peer's first sequence number is this one.
    pub fn opened(chunks: u32, sequence: u32) -> ByHand {
        let (near, mut far) = pair(&MemoryConfig { chunks, ..MemoryConfig::default() }).expect("a link");
        let config = StackConfig { neighbours: vec![(PEER, PEER_MAC)], ..stack_config() };
        let mut stack = Stack::new(near, &config, 0).expect("a stack");
        let socket = stack.connect(SocketAddrV4::new(PEER, PORT), 0).expect("begun");
        pass(&mut stack, 0);
        let syn = receive(&mut far, 0).iter().find_map(|frame| read_tcp(frame)).expect("a SYN");
        let next = syn.sequence.wrapping_add(1);
        send(&mut far, &tcp(syn.port, TcpControl::Syn, sequence, Some(next), &[]), 0);
        pass(&mut stack, 0);
        receive(&mut far, 0);
        assert_eq!(stack.state(socket), SocketState::Open);
        ByHand { stack, far, socket, port: syn.port, next }
    }
}
