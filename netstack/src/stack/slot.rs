//! One TCP connection: a smoltcp socket with an interface of its own, and the books kept beside it.
//!
//! An interface per socket (a few hundred bytes: it holds no buffers) makes each socket's segments
//! separately callable: one received segment goes to one socket without a search, and one socket's
//! segments leave without the others' in front of them.
//!
//! Beside smoltcp, and from the outside of it, this file
//! - lifts old acknowledgements: smoltcp drops data that carries an acknowledgement older than the newest
//!   (two frames swapped on the way while we send), where RFC 9293 section 3.10.7.4 takes it;
//! - accepts a RST only at the exact edge of the window, and challenges others (RFC 5961 section 3.2);
//! - measures the user time-out by progress: smoltcp's gives idle connections up too;
//! - lets the path's MTU be lowered.

use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpListenEndpoint};

use drivers::port::Port;

use super::device::{Egress, Ingress, Reply};
use super::wire::{ETHERNET_HEADER, IPV4_HEADER, Segment, Sent, before};
use crate::transport::{CloseReason, SocketState};

/// Segments that one socket sends before others have their turn.
const SEGMENTS_PER_TURN: usize = 32;
/// When a timer of smoltcp's is due but had nothing to send.
const IDLE_RETRY_NS: u64 = 1_000_000;
const PAGE: usize = 4096;
/// How long a released connection may take to end in order.
pub(super) const LINGER_NS: u64 = 1_000_000_000;

/// Who holds a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Nobody.
    Free,
    /// The layer above.
    Held,
    /// Nobody, but its last segments are still under way.
    Lingering {
        /// When it is cut off.
        until_ns: u64,
    },
}

/// What a segment did to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was given to TCP.
    Yes {
        /// Its old acknowledgement was lifted.
        lifted: bool,
    },
    /// A RST that is not at the window's edge: dropped, to be challenged if it was inside.
    SuspiciousReset {
        /// Acknowledgement of the challenge, if one is due.
        challenge: Option<u32>,
    },
}

/// What an egress turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Frames committed.
    pub(super) committed: usize,
    /// The port had no free frame.
    pub(super) exhausted: bool,
    /// More is ready to be sent now.
    pub(super) more: bool,
}

/// TCP's clock: the caller's, from the start of the stack, times the scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScaledClock {
    pub(super) start_ns: u64,
    pub(super) scale: u32,
}

impl ScaledClock {
    #[inline]
    pub(super) fn instant(self, now_ns: u64) -> Instant {
        let micros = u128::from(now_ns.saturating_sub(self.start_ns)) * u128::from(self.scale) / 1000;
        Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX / 2))
    }

    /// A span of the caller's time on TCP's clock; `None` for none.
    fn duration(self, ns: u64) -> Option<Duration> {
        (ns > 0).then(|| Duration::from_micros(ns.saturating_mul(u64::from(self.scale)) / 1000))
    }

    /// The first caller's time at which the instant has come.
    fn nanoseconds(self, instant: Instant) -> u64 {
        let micros = u128::try_from(instant.total_micros()).unwrap_or(0);
        let elapsed = (micros * 1000).div_ceil(u128::from(self.scale));
        self.start_ns.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }
}

/// A place for a connection. See the module's head.
pub(super) struct Slot {
    interface: Interface,
    set: SocketSet<'static>,
    handle: SocketHandle,
    clock: ScaledClock,
    link_mtu: usize,
    mtu: usize,
    send_buffer: usize,
    pub(super) life: Life,
    pub(super) generation: u32,
    reason: CloseReason,
    pub(super) local: (Ipv4Addr, u16),
    pub(super) remote: SocketAddrV4,
    /// Whom the frames go to.
    pub(super) next_hop: Ipv4Addr,
    /// Ethernet header to the next hop.
    pub(super) header: [u8; ETHERNET_HEADER],
    /// The next hop's hardware address is known.
    pub(super) reachable: bool,
    /// Its segments leave before those of others.
    pub(super) urgent: bool,
    sent: Sent,
    /// SND.UNA, once the peer has acknowledged anything.
    acknowledged: Option<u32>,
    peer_window: u16,
    /// The peer's first sequence number after its SYN.
    receive_base: Option<u32>,
    /// Bytes read by the layer above.
    consumed: u32,
    /// When the peer last acknowledged something new, or there was nothing to acknowledge.
    progress_ns: u64,
    /// When it must have its turn without being asked.
    pub(super) wake_ns: u64,
}

/// Sizes that all slots share.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotSizes {
    pub(super) receive_buffer: usize,
    pub(super) send_buffer: usize,
    pub(super) mtu: usize,
    pub(super) ack_delay_ns: u64,
}

/// A buffer whose pages are there: the first byte that is received must not be the one that faults them in.
pub(super) fn touched(len: usize) -> Vec<u8> {
    let mut buffer = vec![0; len];
    for page in buffer.chunks_mut(PAGE) {
        page[0] = std::hint::black_box(1);
    }
    buffer
}

fn new_interface(address: Option<Ipv4Addr>, mtu: usize, seed: u64, now: Instant) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut interface = Interface::new(config, &mut Ingress { packet: None, reply: &mut Reply::new(), mtu }, now);
    if let Some(address) = address {
        interface.update_ip_addrs(|addresses| {
            // The list holds at least one address.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(address), 32));
        });
    }
    interface
}

impl Slot {
    pub(super) fn new(sizes: SlotSizes, clock: ScaledClock) -> Slot {
        let mut socket = Socket::new(SocketBuffer::new(touched(sizes.receive_buffer)), SocketBuffer::new(touched(sizes.send_buffer)));
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(clock.duration(sizes.ack_delay_ns));
        let mut set = SocketSet::new(vec![SocketStorage::EMPTY]);
        let handle = set.add(socket);
        Slot {
            interface: new_interface(None, sizes.mtu, 0, Instant::ZERO),
            set,
            handle,
            clock,
            link_mtu: sizes.mtu,
            mtu: sizes.mtu,
            send_buffer: sizes.send_buffer,
            life: Life::Free,
            generation: 0,
            reason: CloseReason::Closed,
            local: (Ipv4Addr::UNSPECIFIED, 0),
            remote: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
            next_hop: Ipv4Addr::UNSPECIFIED,
            header: [0; ETHERNET_HEADER],
            reachable: false,
            urgent: false,
            sent: Sent::default(),
            acknowledged: None,
            peer_window: 0,
            receive_base: None,
            consumed: 0,
            progress_ns: 0,
            wake_ns: u64::MAX,
        }
    }

    #[inline]
    fn socket(&self) -> &Socket<'static> {
        self.set.get(self.handle)
    }

    #[inline]
    fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
    }

    /// Takes the slot for a connection from `local` to `remote`; the SYN leaves on its first turn.
    /// False if TCP refuses the addresses.
    pub(super) fn connect(&mut self, local: (Ipv4Addr, u16), remote: SocketAddrV4, seed: u64, now_ns: u64) -> bool {
        self.generation = self.generation.wrapping_add(1);
        self.life = Life::Held;
        self.local = local;
        self.remote = remote;
        self.reason = CloseReason::Unreachable;
        self.urgent = false;
        self.sent = Sent::default();
        self.acknowledged = None;
        self.peer_window = 0;
        self.receive_base = None;
        self.consumed = 0;
        self.progress_ns = now_ns;
        self.wake_ns = now_ns;
        self.mtu = self.link_mtu;
        self.interface = new_interface(Some(local.0), self.mtu, seed, self.clock.instant(now_ns));
        let socket = self.set.get_mut::<Socket<'static>>(self.handle);
        let from = IpListenEndpoint { addr: Some(IpAddress::Ipv4(local.0)), port: local.1 };
        let to = IpEndpoint::new(IpAddress::Ipv4(*remote.ip()), remote.port());
        let begun = socket.connect(self.interface.context(), to, from).is_ok();
        if begun {
            self.reason = CloseReason::Closed;
        }
        begun
    }

    /// What the layer above sees.
    pub(super) fn state(&self) -> SocketState {
        match self.socket().state() {
            State::SynSent | State::SynReceived | State::Listen => SocketState::Connecting,
            State::Established | State::FinWait1 | State::FinWait2 => SocketState::Open,
            State::CloseWait | State::LastAck | State::Closing => SocketState::PeerClosed,
            State::TimeWait | State::Closed => SocketState::Closed(self.reason),
        }
    }

    /// True if TCP has no more to do for it.
    pub(super) fn is_over(&self) -> bool {
        self.socket().state() == State::Closed && self.socket().local_endpoint().is_none()
    }

    /// True if the peer owes an acknowledgement.
    fn waits(&self) -> bool {
        match self.socket().state() {
            State::SynSent | State::SynReceived | State::FinWait1 | State::Closing | State::LastAck => true,
            State::Established | State::CloseWait => self.socket().send_queue() > 0,
            State::Listen | State::FinWait2 | State::TimeWait | State::Closed => false,
        }
    }

    /// RCV.NXT, once the peer's SYN has been seen.
    fn receive_next(&self) -> Option<u32> {
        let fin = matches!(self.socket().state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        let base = self.receive_base?;
        Some(base.wrapping_add(self.consumed).wrapping_add(self.socket().recv_queue() as u32).wrapping_add(u32::from(fin)))
    }

    /// True if an ICMP message quotes a segment that is under way (RFC 5927 section 4.1).
    pub(super) fn has_sent(&self, sequence: u32) -> bool {
        match self.acknowledged {
            Some(oldest) => !before(sequence, oldest) && before(sequence, self.sent.end),
            None => self.sent.begun && sequence.wrapping_add(1) == self.sent.end,
        }
    }

    /// Takes a received segment in. `packet` is the IP packet, `header_len` long its IP header, all checksums
    /// verified. What TCP answers at once is left in `reply`.
    #[inline]
    pub(super) fn ingress(&mut self, packet: &mut [u8], header_len: usize, segment: &Segment, reply: &mut Reply, now_ns: u64) -> Taken {
        let state = self.socket().state();
        let mut lifted = false;
        if segment.rst && state != State::SynSent {
            if let Some(next) = self.receive_next()
                && segment.sequence != next
            {
                let window = self.socket().recv_capacity() - self.socket().recv_queue();
                let inside = segment.sequence.wrapping_sub(next) < window as u32;
                return Taken::SuspiciousReset { challenge: inside.then_some(next) };
            }
        } else if let (Some(acknowledgement), Some(newest)) = (segment.acknowledgement, self.acknowledged)
            && before(acknowledgement, newest)
            && (segment.payload_len > 0 || segment.fin)
            && newest.wrapping_sub(acknowledgement) as usize <= self.send_buffer
        {
            Segment::lift_acknowledgement(&mut packet[header_len..], newest, self.peer_window);
            lifted = true;
        }

        let queued_before = self.socket().send_queue();
        let mut device = Ingress { packet: Some(packet), reply, mtu: self.mtu };
        self.interface.poll_ingress_single(self.clock.instant(now_ns), &mut device, &mut self.set);

        let state_now = self.socket().state();
        if state == State::SynSent && matches!(state_now, State::Established | State::SynReceived) {
            self.receive_base = Some(segment.sequence.wrapping_add(1));
            self.acknowledged = segment.acknowledgement;
        }
        // SND.UNA is what TCP took, not what a segment claims: one from outside of the window claims in vain.
        let taken = queued_before.saturating_sub(self.socket().send_queue());
        self.acknowledged = self.acknowledged.map(|oldest| oldest.wrapping_add(taken as u32));
        if !lifted && segment.acknowledgement == self.acknowledged {
            self.peer_window = segment.window;
        }
        if state_now != state || self.socket().send_queue() < queued_before {
            self.progress_ns = now_ns;
        }
        if state_now == State::Closed && state != State::Closed {
            self.reason = match (segment.rst, state) {
                (true, State::SynSent) => CloseReason::Refused,
                (true, _) => CloseReason::Reset,
                (false, _) => CloseReason::Closed,
            };
        }
        Taken::Yes { lifted }
    }

    /// Sends what is ready. Call it only while the next hop is known.
    #[inline]
    pub(super) fn egress<P: Port>(&mut self, port: &mut P, now_ns: u64) -> Turn {
        let now = self.clock.instant(now_ns);
        let mut device = Egress { port, header: &self.header, mtu: self.mtu, sent: &mut self.sent, committed: 0, exhausted: false };
        let mut due = None;
        for _ in 0..SEGMENTS_PER_TURN {
            let turn = self.interface.poll_egress(now, &mut device, &mut self.set);
            due = self.interface.poll_at(now, &self.set);
            if turn == PollResult::None || due.is_none_or(|at| at > now) {
                break;
            }
        }
        let (committed, exhausted) = (device.committed, device.exhausted);
        let ready = due.is_some_and(|at| at <= now);
        self.wake_ns = match due {
            None => u64::MAX,
            Some(at) if at > now => self.clock.nanoseconds(at),
            Some(_) => now_ns.saturating_add(IDLE_RETRY_NS),
        };
        Turn { committed, exhausted, more: exhausted || (ready && committed == SEGMENTS_PER_TURN) }
    }

    /// When the connection is given up if the peer stays silent.
    pub(super) fn time_out_ns(&self, user_timeout_ns: u64) -> u64 {
        if self.waits() { self.progress_ns.saturating_add(user_timeout_ns) } else { u64::MAX }
    }

    /// Counts of segments sent so far on this connection: all, and repeated ones.
    pub(super) fn take_sent_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.sent.segments), std::mem::take(&mut self.sent.resent))
    }

    /// What has been sent, for a challenge.
    pub(super) fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Closes with RST, if the peer knows of it.
    pub(super) fn abort(&mut self, reason: CloseReason) {
        if !matches!(self.socket().state(), State::Closed | State::TimeWait) {
            self.reason = reason;
        }
        if !self.is_over() {
            self.socket_mut().abort();
        }
    }

    /// Closes in order, after what was written.
    pub(super) fn close(&mut self, now_ns: u64) {
        if self.socket().state() == State::SynSent {
            self.reason = CloseReason::Aborted;
        }
        if !self.waits() {
            self.progress_ns = now_ns;
        }
        self.socket_mut().close();
    }

    /// Lends received bytes.
    #[inline]
    pub(super) fn read<R>(&mut self, take: impl FnOnce(&mut [u8]) -> (usize, R)) -> (usize, R) {
        if !self.socket().can_recv() {
            return (0, take(&mut []).1);
        }
        let mut take = Some(take);
        let received = self.socket_mut().recv(|bytes| {
            let len = bytes.len();
            let (used, result) = match take.take() {
                Some(take) => take(bytes),
                None => unreachable!("smoltcp calls the closure once"),
            };
            let used = used.min(len);
            (used, (used, result))
        });
        match (received, take) {
            (Ok((used, result)), _) => {
                self.consumed = self.consumed.wrapping_add(used as u32);
                (used, result)
            }
            (Err(_), Some(take)) => (0, take(&mut []).1),
            (Err(_), None) => unreachable!("smoltcp fails before it calls the closure"),
        }
    }

    /// Lends room to write. `scratch` is used where the send buffer wraps around.
    #[inline]
    pub(super) fn write<R>(
        &mut self,
        room: usize,
        scratch: &mut [u8],
        fill: impl FnOnce(&mut [u8]) -> (usize, R),
        now_ns: u64,
    ) -> Option<R> {
        let socket = self.set.get_mut::<Socket<'static>>(self.handle);
        let queued = socket.send_queue();
        if !socket.may_send() || socket.send_capacity() - queued < room {
            return None;
        }
        if queued == 0 {
            self.progress_ns = now_ns;
        }
        let mut fill = Some(fill);
        let direct = socket.send(|bytes| match bytes.get_mut(..room) {
            Some(bytes) => match fill.take() {
                Some(fill) => {
                    let (written, result) = fill(bytes);
                    (written.min(room), Some(result))
                }
                None => (0, None),
            },
            None => (0, None),
        });
        if let Ok(Some(result)) = direct {
            return Some(result);
        }
        let bytes = scratch.get_mut(..room)?;
        let (written, result) = fill?(bytes);
        // The room has been checked above.
        socket.send_slice(&bytes[..written.min(room)]).ok()?;
        Some(result)
    }

    /// Bytes written and not yet acknowledged.
    #[inline]
    pub(super) fn unacknowledged(&self) -> usize {
        self.socket().send_queue()
    }

    /// Cuts segments to a narrower path from now on; false if it is no narrower.
    pub(super) fn narrow(&mut self, mtu: usize, seed: u64, now_ns: u64) -> bool {
        if mtu >= self.mtu || mtu < IPV4_HEADER + 64 {
            return false;
        }
        self.mtu = mtu;
        self.interface = new_interface(Some(self.local.0), mtu, seed, self.clock.instant(now_ns));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scaled_clock_goes_back_and_forth() {
        let clock = ScaledClock { start_ns: 1_700_000_000_000_000_000, scale: 20 };
        for elapsed_ns in [0_u64, 50, 1_000, 12_345_678, 86_400_000_000_000 * 365] {
            let now_ns = clock.start_ns + elapsed_ns;
            let instant = clock.instant(now_ns);
            assert_eq!(instant.total_micros() as u64, elapsed_ns * 20 / 1000);
            let back = clock.nanoseconds(instant);
            assert!(back <= now_ns && now_ns - back < 50, "{elapsed_ns}");
            assert_eq!(clock.instant(back), instant);
        }
        assert_eq!(clock.instant(0), Instant::ZERO, "a clock before its start stands still");
    }
}
