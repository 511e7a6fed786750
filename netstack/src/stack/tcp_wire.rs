//! TCP segments by the byte: what the books beside smoltcp need to know, and the segments without a socket.

use std::net::Ipv4Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, IpProtocol, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

use super::wire::{ETHERNET_HEADER, IPV4_HEADER, ipv4};

/// Bytes of a TCP header without options.
pub(super) const TCP_HEADER: usize = 20;
const FLAG_FIN: u8 = 0x01;
const FLAG_SYN: u8 = 0x02;
const FLAG_RST: u8 = 0x04;
const FLAG_ACK: u8 = 0x10;

/// True if sequence number `a` lies before `b` (RFC 9293 section 3.4).
pub(super) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// The fields of a received segment that we look at.
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

    /// Puts another acknowledgement and window into a segment whose checksum has been verified.
    pub(super) fn lift_acknowledgement(packet: &mut [u8], acknowledgement: u32, window: u16) {
        if let Some(header) = packet.first_chunk_mut::<TCP_HEADER>() {
            header[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
            header[14..16].copy_from_slice(&window.to_be_bytes());
        }
    }
}

/// What a socket has sent: read from its own packets, since smoltcp keeps it to itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// True once the SYN has left.
    pub(super) begun: bool,
    /// SND.MAX: one past the highest sequence number sent.
    pub(super) end: u32,
    /// Last window field sent.
    pub(super) window: u16,
    /// Segments.
    pub(super) segments: u64,
    /// Of those, with sequence numbers that had been sent before.
    pub(super) resent: u64,
}

impl Sent {
    /// Notes an IP packet that leaves.
    #[inline]
    pub(super) fn note(&mut self, packet: &[u8]) {
        let Some(segment) = packet.get(IPV4_HEADER..).and_then(Segment::parse) else { return };
        self.segments += 1;
        self.window = segment.window;
        let end = segment.sequence.wrapping_add(segment.sequence_len());
        if !self.begun || before(self.end, end) {
            self.begun = true;
            self.end = end;
        } else if segment.sequence_len() > 0 {
            self.resent += 1;
        }
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

/// Writes a bare acknowledgement (the challenge of RFC 5961); returns the frame's length.
pub(super) fn challenge(
    out: &mut [u8],
    header: &[u8; ETHERNET_HEADER],
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    sent: &Sent,
    acknowledgement: u32,
) -> Option<usize> {
    bare(out, header, source, destination, TcpControl::None, sent.end, Some(acknowledgement), sent.window)
}

#[allow(clippy::too_many_arguments)]
fn bare(
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
