//! TCP segments by the byte: what the books beside smoltcp need to know.

use std::net::SocketAddrV4;

use smoltcp::wire::TcpControl;

use super::tcp_wire::{Segment, TCP_HEADER, bare};
use super::wire::{ETHERNET_HEADER, IPV4_HEADER};

/// True if sequence number `a` lies before `b` (RFC 9293 section 3.4).
pub(super) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Puts another acknowledgement and window into a segment whose checksum has been verified.
pub(super) fn lift_acknowledgement(packet: &mut [u8], acknowledgement: u32, window: u16) {
    if let Some(header) = packet.first_chunk_mut::<TCP_HEADER>() {
        header[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
        header[14..16].copy_from_slice(&window.to_be_bytes());
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

/// Writes a bare acknowledgement (the challenge of RFC 5961); returns the frame's length.
pub(super) fn challenge(
    out: &mut [u8],
    header: &[u8; ETHERNET_HEADER],
    source: SocketAddrV4,
    destination: SocketAddrV4,
    sent: &Sent,
    acknowledgement: u32,
) -> Option<usize> {
    bare(
        out,
        header,
        (*source.ip(), source.port()),
        (*destination.ip(), destination.port()),
        TcpControl::None,
        sent.end,
        Some(acknowledgement),
        sent.window,
    )
}
