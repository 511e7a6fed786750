//! TCP segments by the byte: what the stack itself looks at, and the segments without a socket.

use std::net::Ipv4Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, IpProtocol, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

use super::wire::{ETHERNET_HEADER, ipv4};

/// Bytes of a TCP header without options.
pub(super) const TCP_HEADER: usize = 20;
const FLAG_FIN: u8 = 0x01;
const FLAG_SYN: u8 = 0x02;
const FLAG_RST: u8 = 0x04;
const FLAG_ACK: u8 = 0x10;

/// The fields of a received segment that the stack looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) sequence: u32,
    pub(super) acknowledgement: Option<u32>,
    pub(super) window: u16,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) payload_len: usize,
}

impl Segment {
    /// Reads a whole TCP packet (its checksum is not looked at); `None` if its header contradicts itself.
    pub(super) fn parse(packet: &[u8]) -> Option<Segment> {
        let header: &[u8; TCP_HEADER] = packet.first_chunk()?;
        let header_len = usize::from(header[12] >> 4) * 4;
        if header_len < TCP_HEADER || header_len > packet.len() {
            return None;
        }
        let u16_at = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let u32_at = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let flags = header[13];
        Some(Segment {
            source_port: u16_at(0),
            destination_port: u16_at(2),
            sequence: u32_at(4),
            acknowledgement: (flags & FLAG_ACK != 0).then(|| u32_at(8)),
            window: u16_at(14),
            syn: flags & FLAG_SYN != 0,
            fin: flags & FLAG_FIN != 0,
            rst: flags & FLAG_RST != 0,
            payload_len: packet.len() - header_len,
        })
    }

    /// Sequence numbers that it uses.
    pub(super) fn sequence_len(&self) -> u32 {
        self.payload_len as u32 + u32::from(self.syn) + u32::from(self.fin)
    }
}

/// A RST for a segment that belongs to no socket (RFC 9293 section 3.10.7.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Reset {
    /// Our address and port.
    pub(super) source: (Ipv4Addr, u16),
    /// The peer's.
    pub(super) destination: (Ipv4Addr, u16),
    sequence: u32,
    acknowledgement: Option<u32>,
}

impl Reset {
    /// The answer to `segment`, which `peer` sent to our `address`; `None` to a RST.
    pub(super) fn answer(segment: &Segment, peer: Ipv4Addr, address: Ipv4Addr) -> Option<Reset> {
        if segment.rst {
            return None;
        }
        let (sequence, acknowledgement) = match segment.acknowledgement {
            Some(acknowledgement) => (acknowledgement, None),
            None => (0, Some(segment.sequence.wrapping_add(segment.sequence_len()))),
        };
        Some(Reset { source: (address, segment.destination_port), destination: (peer, segment.source_port), sequence, acknowledgement })
    }

    /// Writes the frame; returns its length.
    pub(super) fn emit(&self, out: &mut [u8], header: &[u8; ETHERNET_HEADER]) -> Option<usize> {
        bare(out, header, self.source, self.destination, TcpControl::Rst, self.sequence, self.acknowledgement, 0)
    }
}

#[allow(clippy::too_many_arguments)]
pub(super) fn bare(
    out: &mut [u8],
    header: &[u8; ETHERNET_HEADER],
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    control: TcpControl,
    sequence: u32,
    acknowledgement: Option<u32>,
    window: u16,
) -> Option<usize> {
    let begin = ipv4(out, header, source.0, destination.0, IpProtocol::Tcp, TCP_HEADER)?;
    let repr = TcpRepr {
        src_port: source.1,
        dst_port: destination.1,
        control,
        seq_number: TcpSeqNumber(sequence as i32),
        ack_number: acknowledgement.map(|number| TcpSeqNumber(number as i32)),
        window_len: window,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    repr.emit(
        &mut TcpPacket::new_unchecked(&mut out[begin..begin + TCP_HEADER]),
        &IpAddress::Ipv4(source.0),
        &IpAddress::Ipv4(destination.0),
        &ChecksumCapabilities::default(),
    );
    Some(begin + TCP_HEADER)
}
