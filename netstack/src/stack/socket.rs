//! What the stack needs of a TCP connection, whoever implements it.
//!
//! Ours is in `tcp_socket.rs`. smoltcp's, for comparison, is in `smoltcp_socket.rs` (feature `smoltcp-tcp`).

use std::net::SocketAddrV4;

use drivers::port::{Port, RxFrame};

#[cfg(feature = "smoltcp-tcp")]
use super::random::RateLimit;
use super::statistics::StackStatistics;
use super::wire::ETHERNET_HEADER;
#[cfg(feature = "smoltcp-tcp")]
use super::wire::Outbox;
use crate::tcp::{Beginning, TcpConfig, TcpStatistics};
use crate::transport::{CloseReason, SocketState};
use drivers::purpose::Purpose;

/// Settings that all sockets share.
#[derive(Clone, Copy, Debug)]
pub struct SocketSettings {
    /// TCP's settings, segment size included.
    pub tcp: TcpConfig,
    /// Largest IP packet of the link.
    pub mtu: usize,
    /// The caller's clock when the stack began.
    pub start_ns: u64,
}

/// A received segment that is this connection's, its checksums verified.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The frame that it lies in.
    pub frame: RxFrame,
    /// Where in it TCP begins.
    pub tcp_at: usize,
    /// Where it ends.
    pub end: usize,
}

/// What of the stack a socket may use while it takes a segment in.
pub struct Around<'a> {
    pub(super) statistics: &'a mut StackStatistics,
    #[cfg(feature = "smoltcp-tcp")]
    pub(super) outbox: &'a mut Outbox,
    #[cfg(feature = "smoltcp-tcp")]
    pub(super) answers: &'a mut RateLimit,
    pub(super) now_ns: u64,
}

/// What a turn at sending did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Frames committed.
    pub committed: usize,
    /// Of those, segments that had been sent before.
    pub resent: u64,
    /// The port had no free frame.
    pub exhausted: bool,
    /// More is ready to be sent now.
    pub more: bool,
}

/// Segments that one socket sends before others have their turn.
pub(super) const SEGMENTS_PER_TURN: usize = 32;

/// A TCP connection under the stack. Not meant to be implemented elsewhere.
pub trait TcpSocket: Sized {
    /// Memory for a connection: the only call that may allocate.
    fn new(settings: &SocketSettings) -> Self;
    /// Begins a connection with these numbers; false if the addresses cannot be.
    fn connect(&mut self, local: SocketAddrV4, remote: SocketAddrV4, beginning: Beginning, now_ns: u64) -> bool;
    /// The Ethernet header of its frames, once the next hop is known, and whenever it changes.
    fn set_ethernet(&mut self, header: &[u8; ETHERNET_HEADER]);
    /// What the layer above sees.
    fn state(&self) -> SocketState;
    /// True if TCP has no more to do for it.
    fn is_over(&self) -> bool;
    /// True if a segment with this sequence number is under way (RFC 5927 section 4.1).
    fn has_sent(&self, sequence: u32) -> bool;
    /// Takes a segment in; false if it changed nothing.
    fn ingress<P: Port>(&mut self, port: &mut P, arrival: &Arrival, around: Around<'_>) -> bool;
    /// The frame of the last arrival is about to go: what of it was not read must be kept elsewhere.
    fn let_go<P: Port>(&mut self, port: &mut P);
    /// Sends what is ready; the next hop is known.
    fn egress<P: Port>(&mut self, port: &mut P, now_ns: u64) -> Turn;
    /// When it must have its turn without being asked, the time-out aside.
    fn wake_ns(&self) -> u64;
    /// When the connection is given up if the peer stays silent.
    fn times_out_ns(&self) -> u64;
    /// When TIME-WAIT ends, if the connection is in it.
    fn time_wait_ends_ns(&self) -> Option<u64>;
    /// Closes with RST, if the peer knows of it.
    fn abort(&mut self, reason: CloseReason);
    /// Closes in order, after what was written.
    fn close(&mut self, now_ns: u64);
    /// Lends received bytes; how many were used, and the result.
    fn read<P: Port, R>(&mut self, port: &mut P, take: impl FnOnce(&mut [u8]) -> (usize, R)) -> (usize, R);
    /// True if there is nothing to read.
    fn is_drained(&self) -> bool;
    /// Lends room to write. What is rehearsed is sent by the next [`TcpSocket::egress`] up to the port and taken back there.
    fn write<P: Port, R>(
        &mut self,
        port: &mut P,
        purpose: Purpose,
        room: usize,
        fill: impl FnOnce(&mut [u8]) -> (usize, R),
        now_ns: u64,
    ) -> Option<R>;
    /// True between what was rehearsed and the `egress` that takes it back.
    fn is_rehearsing(&self) -> bool;
    /// Takes back what was rehearsed and had no turn.
    fn end_rehearsal(&mut self);
    /// Bytes written and not yet acknowledged.
    fn unacknowledged(&self) -> usize;
    /// Cuts segments to a narrower path from now on; false if it is no narrower.
    fn narrow(&mut self, mtu: usize, seed: u64, now_ns: u64) -> bool;
    /// Counters of the present connection.
    fn statistics(&self) -> TcpStatistics;
}
