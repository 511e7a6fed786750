//! What the hot loop asks of the network: the two seams at which tests put scripts in its place.
//!
//! [`Network`] is the TCP stack with its port, [`Channel`] one logical connection of a venue (TLS and
//! WebSocket on top of a network). The loop is generic over both, so the compiler sees through them.

use crate::report::LinkReport;
use drivers::purpose::Purpose;
use netstack::transport::SocketId;
use std::io;
use venues::venue::MessageKind;

/// The stack and its port, as the loop drives them.
pub trait Network {
    /// Polls the port once; how many frames came.
    fn receive(&mut self, now_ns: u64) -> usize;

    /// Works off the next frame of the burst. `None`: there is none left. `Some(Some(socket))`: it brought
    /// data, or a new state, for that socket.
    fn ingress_next(&mut self, now_ns: u64) -> Option<Option<SocketId>>;

    /// Builds frames for what was written to marked sockets, and for nothing else; how many were committed.
    fn transmit_urgent(&mut self, now_ns: u64) -> usize;

    /// Builds frames for everything written, those of marked sockets first; how many were committed.
    fn transmit(&mut self, now_ns: u64) -> usize;

    /// The kick: makes the NIC see what was committed.
    fn flush(&mut self, now_ns: u64) -> io::Result<()>;

    /// Timers: retransmission, ARP, DHCP, DNS. Called about each millisecond.
    fn maintain(&mut self, now_ns: u64);

    /// From now on this socket's segments leave before others'.
    fn set_priority(&mut self, socket: SocketId);

    /// The link and its counters. Not for the hot path.
    fn link(&self) -> LinkReport;
}

/// What a channel tells its owner.
pub trait ChannelEvents {
    /// A connection is open.
    fn on_open(&mut self, generation: u32);
    /// A complete message.
    fn on_message(&mut self, generation: u32, kind: MessageKind, payload: &[u8]);
    /// A connection that was open is gone; `why` in words, for the log.
    fn on_close(&mut self, generation: u32, why: &dyn std::fmt::Display);
    /// An attempt failed before the connection was open; the next begins after `wait_ns`.
    fn on_attempt_failed(&mut self, why: &dyn std::fmt::Display, wait_ns: u64);
}

/// A message was not sent: the channel is not open, or has no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotSent;

/// Counters of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChannelCounters {
    /// Connections made.
    pub connects: u64,
    /// Connections lost, and attempts that failed; planned ends are not counted.
    pub disconnects: u64,
    /// TLS version of the last connection as negotiated (`0x0304` = 1.3); 0 before the first.
    pub tls_version: u16,
    /// TLS records opened.
    pub records: u64,
    /// Of these, put together from several segments.
    pub records_stitched: u64,
    /// Messages received.
    pub messages: u64,
    /// Of these, put together from several records or frames.
    pub messages_stitched: u64,
}

/// One logical connection: connects, renews itself, delivers messages.
pub trait Channel<N> {
    /// Does a bounded piece of work; delivers at most one message. Returns whether there was anything to do.
    fn poll(&mut self, network: &mut N, now_ns: u64, events: &mut impl ChannelEvents) -> bool;

    /// True if another poll would certainly bring no message. False says nothing.
    fn is_drained(&self, _network: &N) -> bool {
        false
    }

    /// True if the socket is one of its own.
    fn owns(&self, socket: SocketId) -> bool;

    /// Sends a text message over the newest open connection, or goes through the motions: then nothing is sent and
    /// nothing changes.
    fn send(&mut self, network: &mut N, message: &[u8], purpose: Purpose) -> Result<(), NotSent>;

    /// True if messages can be sent.
    fn is_open(&self) -> bool;

    /// True while a connection is being made, the first one or a replacement.
    fn is_connecting(&self) -> bool;

    /// Grows whenever a connection is begun, opened or ended.
    fn changes(&self) -> u64;

    /// Begins a planned renewal now: the venue says that it will close.
    fn renew(&mut self, now_ns: u64);

    /// The replacement is ready: the old connection of a planned renewal may go.
    fn retire_old(&mut self, network: &mut N, now_ns: u64);

    /// Closes for good. [`Channel::is_closed`] tells when it is done.
    fn shut_down(&mut self, network: &mut N, now_ns: u64);

    /// True once nothing is left of it after [`Channel::shut_down`].
    fn is_closed(&self) -> bool;

    /// The counters.
    fn counters(&self) -> ChannelCounters;
}

/// Where the loop's time comes from: the TSC, or a script.
pub trait TimeSource {
    /// Nanoseconds since the Unix epoch; never goes backwards.
    fn now_ns(&mut self) -> u64;
    /// About a millisecond went by: work off a little of the clock's error.
    fn slew(&mut self);
}

impl TimeSource for crate::clock::Clock {
    #[inline]
    fn now_ns(&mut self) -> u64 {
        crate::clock::Clock::now_ns(self)
    }
    #[inline]
    fn slew(&mut self) {
        crate::clock::Clock::slew(self);
    }
}
