//! Frames by the byte: reading what arrives, writing what the stack itself says (ARP, ICMP, RST, UDP).

use std::net::Ipv4Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, Ipv4Packet,
    Ipv4Repr, UdpPacket, UdpRepr,
};

pub(super) use super::tcp_wire::{Reset, Segment, TCP_HEADER};

/// Bytes of an Ethernet header.
pub(super) const ETHERNET_HEADER: usize = 14;
/// Bytes of an IPv4 header without options.
pub(super) const IPV4_HEADER: usize = 20;
/// TCP's number in an IPv4 header.
pub(super) const PROTOCOL_TCP: u8 = 6;
/// Bytes of a UDP header.
pub(super) const UDP_HEADER: usize = 8;
/// Bytes of an ARP frame.
pub(super) const ARP_FRAME: usize = ETHERNET_HEADER + 28;
/// To all on the link.
pub(super) const BROADCAST: [u8; 6] = [0xff; 6];
/// Hops that our packets may take (RFC 1700 recommends 64).
pub(super) const HOP_LIMIT: u8 = 64;

/// A ready Ethernet header for IPv4.
pub(super) fn ethernet_header(to: [u8; 6], from: [u8; 6]) -> [u8; ETHERNET_HEADER] {
    let mut header = [0; ETHERNET_HEADER];
    header[..6].copy_from_slice(&to);
    header[6..12].copy_from_slice(&from);
    header[12..].copy_from_slice(&u16::from(EthernetProtocol::Ipv4).to_be_bytes());
    header
}

/// Writes an ARP frame; returns its length. `to` is the Ethernet destination; `target` who is asked for or
/// answered.
pub(super) fn arp(
    out: &mut [u8],
    operation: ArpOperation,
    source: ([u8; 6], Ipv4Addr),
    target: ([u8; 6], Ipv4Addr),
    to: [u8; 6],
) -> Option<usize> {
    let frame = out.get_mut(..ARP_FRAME)?;
    EthernetRepr { src_addr: EthernetAddress(source.0), dst_addr: EthernetAddress(to), ethertype: EthernetProtocol::Arp }
        .emit(&mut EthernetFrame::new_unchecked(&mut *frame));
    ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(source.0),
        source_protocol_addr: source.1,
        target_hardware_addr: EthernetAddress(target.0),
        target_protocol_addr: target.1,
    }
    .emit(&mut ArpPacket::new_unchecked(&mut frame[ETHERNET_HEADER..]));
    Some(ARP_FRAME)
}

/// Writes Ethernet and IPv4 headers for `payload_len` bytes; returns where the payload begins.
pub(super) fn ipv4(
    out: &mut [u8],
    header: &[u8; ETHERNET_HEADER],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: IpProtocol,
    payload_len: usize,
) -> Option<usize> {
    let begin = ETHERNET_HEADER + IPV4_HEADER;
    if out.len() < begin + payload_len {
        return None;
    }
    out[..ETHERNET_HEADER].copy_from_slice(header);
    Ipv4Repr { src_addr: source, dst_addr: destination, next_header: protocol, payload_len, hop_limit: HOP_LIMIT }
        .emit(&mut Ipv4Packet::new_unchecked(&mut out[ETHERNET_HEADER..]), &ChecksumCapabilities::default());
    Some(begin)
}

/// Writes a UDP frame; returns its length.
pub(super) fn udp(
    out: &mut [u8],
    header: &[u8; ETHERNET_HEADER],
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    payload: &[u8],
) -> Option<usize> {
    let begin = ipv4(out, header, source.0, destination.0, IpProtocol::Udp, UDP_HEADER + payload.len())?;
    let total = begin + UDP_HEADER + payload.len();
    UdpRepr { src_port: source.1, dst_port: destination.1 }.emit(
        &mut UdpPacket::new_unchecked(&mut out[begin..total]),
        &IpAddress::Ipv4(source.0),
        &IpAddress::Ipv4(destination.0),
        payload.len(),
        |room| room.copy_from_slice(payload),
        &ChecksumCapabilities::default(),
    );
    Some(total)
}

/// Small frames that wait for room in the port: answers and questions, never data.
#[derive(Debug)]
pub(super) struct Outbox {
    frames: Box<[[u8; OUTBOX_FRAME]]>,
    lengths: Box<[usize]>,
    first: usize,
    count: usize,
}

/// Largest frame that an outbox holds: headers with all options, no payload.
pub(super) const OUTBOX_FRAME: usize = ETHERNET_HEADER + 128;

impl Outbox {
    pub(super) fn new(frames: usize) -> Outbox {
        Outbox {
            frames: vec![[0; OUTBOX_FRAME]; frames].into_boxed_slice(),
            lengths: vec![0; frames].into_boxed_slice(),
            first: 0,
            count: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds the frame that `write` writes; false if there is no room for it.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut [u8; OUTBOX_FRAME]) -> Option<usize>) -> bool {
        if self.count == self.frames.len() {
            return false;
        }
        let place = (self.first + self.count) % self.frames.len();
        match write(&mut self.frames[place]) {
            Some(len) => {
                self.lengths[place] = len;
                self.count += 1;
                true
            }
            None => false,
        }
    }

    /// The oldest frame.
    pub(super) fn front(&self) -> Option<&[u8]> {
        (self.count > 0).then(|| &self.frames[self.first][..self.lengths[self.first]])
    }

    /// Forgets the oldest frame.
    pub(super) fn pop(&mut self) {
        self.first = (self.first + 1) % self.frames.len();
        self.count -= 1;
    }
}
