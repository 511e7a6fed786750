//! smoltcp's TCP under the stack: one socket with an interface of its own, and the books kept beside it.
//!
//! It is here to be compared with.
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
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpListenEndpoint};

use drivers::port::Port;

use super::smoltcp_device::{Egress, Ingress, Reply};
use super::smoltcp_wire::{Sent, before, challenge, lift_acknowledgement};
use super::socket::{Around, Arrival, SEGMENTS_PER_TURN, SocketSettings, TcpSocket, Turn};
use super::wire::{ETHERNET_HEADER, IPV4_HEADER, Segment};
use crate::tcp::{Beginning, TcpStatistics, touched};
use crate::transport::{CloseReason, SocketState};
use drivers::purpose::Purpose;

/// When a timer of smoltcp's is due but had nothing to send.
const IDLE_RETRY_NS: u64 = 1_000_000;

/// TCP's clock: the caller's, from the start of the stack, times the scale.
#[derive(Clone, Copy, Debug)]
struct ScaledClock {
    start_ns: u64,
    scale: u32,
}

impl ScaledClock {
    #[inline]
    fn instant(self, now_ns: u64) -> Instant {
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

/// How many times faster than the caller's clock TCP's own clock runs.
///
/// smoltcp never retransmits earlier than after 1 s of its time (RFC 6298 section 2.4): far too late
/// for an order. At this scale the floor is 50 ms, just above the 40 ms by which a
/// Linux peer may delay an acknowledgement; below that, retransmissions would often be for nothing.
/// All of TCP's times shrink alike: the longest back-off is 3 s, TIME-WAIT 0.5 s.
const TIME_SCALE: u32 = 20;

/// smoltcp's TCP. See the module's head.
pub struct SmoltcpTcp {
    interface: Interface,
    set: SocketSet<'static>,
    handle: SocketHandle,
    clock: ScaledClock,
    link_mtu: usize,
    mtu: usize,
    send_buffer: usize,
    user_timeout_ns: u64,
    /// Where the send buffer wraps around, room is lent from here.
    scratch: Box<[u8]>,
    reason: CloseReason,
    local: SocketAddrV4,
    remote: SocketAddrV4,
    /// Ethernet header to the next hop.
    header: [u8; ETHERNET_HEADER],
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
    wake_ns: u64,
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

impl SmoltcpTcp {
    #[inline]
    fn socket(&self) -> &Socket<'static> {
        self.set.get(self.handle)
    }

    #[inline]
    fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
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

    /// A RST that is not at the window's edge: dropped, and challenged if it was inside.
    fn suspect(&self, sequence: u32, next: u32, around: Around<'_>) {
        around.statistics.refused_segments += 1;
        let window = self.socket().recv_capacity() - self.socket().recv_queue();
        if sequence.wrapping_sub(next) >= window as u32 {
            return;
        }
        if !around.answers.allow(around.now_ns) {
            around.statistics.replies_limited += 1;
            return;
        }
        let queued = around.outbox.push(|out| challenge(out, &self.header, self.local, self.remote, &self.sent, next));
        around.statistics.replies_dropped += u64::from(!queued);
    }
}

impl TcpSocket for SmoltcpTcp {
    fn new(settings: &SocketSettings) -> SmoltcpTcp {
        let (tcp, clock) = (settings.tcp, ScaledClock { start_ns: settings.start_ns, scale: TIME_SCALE });
        let mut socket =
            Socket::new(SocketBuffer::new(touched(tcp.receive_buffer).into_vec()), SocketBuffer::new(touched(tcp.send_buffer).into_vec()));
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(CongestionControl::None);
        socket.set_ack_delay(clock.duration(tcp.ack_delay));
        let mut set = SocketSet::new(vec![SocketStorage::EMPTY]);
        let handle = set.add(socket);
        let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        SmoltcpTcp {
            interface: new_interface(None, settings.mtu, 0, Instant::ZERO),
            set,
            handle,
            clock,
            link_mtu: settings.mtu,
            mtu: settings.mtu,
            send_buffer: tcp.send_buffer,
            user_timeout_ns: tcp.user_timeout,
            scratch: touched(tcp.send_buffer),
            reason: CloseReason::Closed,
            local: nobody,
            remote: nobody,
            header: [0; ETHERNET_HEADER],
            sent: Sent::default(),
            acknowledged: None,
            peer_window: 0,
            receive_base: None,
            consumed: 0,
            progress_ns: 0,
            wake_ns: u64::MAX,
        }
    }

    fn connect(&mut self, local: SocketAddrV4, remote: SocketAddrV4, beginning: Beginning, now_ns: u64) -> bool {
        (self.local, self.remote, self.reason) = (local, remote, CloseReason::Unreachable);
        (self.sent, self.acknowledged, self.peer_window) = (Sent::default(), None, 0);
        (self.receive_base, self.consumed) = (None, 0);
        (self.progress_ns, self.wake_ns) = (now_ns, now_ns);
        self.mtu = self.link_mtu;
        self.interface = new_interface(Some(*local.ip()), self.mtu, u64::from(beginning.sequence), self.clock.instant(now_ns));
        let socket = self.set.get_mut::<Socket<'static>>(self.handle);
        let from = IpListenEndpoint { addr: Some(IpAddress::Ipv4(*local.ip())), port: local.port() };
        let to = IpEndpoint::new(IpAddress::Ipv4(*remote.ip()), remote.port());
        let begun = socket.connect(self.interface.context(), to, from).is_ok();
        if begun {
            self.reason = CloseReason::Closed;
        }
        begun
    }

    fn set_ethernet(&mut self, header: &[u8; ETHERNET_HEADER]) {
        self.header = *header;
    }

    fn state(&self) -> SocketState {
        match self.socket().state() {
            State::SynSent | State::SynReceived | State::Listen => SocketState::Connecting,
            State::Established | State::FinWait1 | State::FinWait2 => SocketState::Open,
            State::CloseWait | State::LastAck | State::Closing => SocketState::PeerClosed,
            State::TimeWait | State::Closed => SocketState::Closed(self.reason),
        }
    }

    fn is_over(&self) -> bool {
        self.socket().state() == State::Closed && self.socket().local_endpoint().is_none()
    }

    fn has_sent(&self, sequence: u32) -> bool {
        match self.acknowledged {
            Some(oldest) => !before(sequence, oldest) && before(sequence, self.sent.end),
            None => self.sent.begun && sequence.wrapping_add(1) == self.sent.end,
        }
    }

    #[inline]
    fn ingress<P: Port>(&mut self, port: &mut P, arrival: &Arrival, around: Around<'_>) -> bool {
        // smoltcp does not tell what it read, and books are kept beside it.
        let Some(segment) = port.frame(arrival.frame).get(arrival.tcp_at..arrival.end).and_then(Segment::parse) else {
            around.statistics.malformed += 1;
            return false;
        };
        let (state, now_ns) = (self.socket().state(), around.now_ns);
        let mut lifted = false;
        if segment.rst && state != State::SynSent {
            if let Some(next) = self.receive_next()
                && segment.sequence != next
            {
                self.suspect(segment.sequence, next, around);
                return false;
            }
        } else if let (Some(acknowledgement), Some(newest)) = (segment.acknowledgement, self.acknowledged)
            && before(acknowledgement, newest)
            && (segment.payload_len > 0 || segment.fin)
            && newest.wrapping_sub(acknowledgement) as usize <= self.send_buffer
        {
            let tcp = port.frame(arrival.frame).get_mut(arrival.tcp_at..).unwrap_or(&mut []);
            lift_acknowledgement(tcp, newest, self.peer_window);
            lifted = true;
        }

        let queued_before = self.socket().send_queue();
        let mut reply = Reply::new();
        let packet = port.frame(arrival.frame).get(ETHERNET_HEADER..arrival.end);
        let mut device = Ingress { packet, reply: &mut reply, mtu: self.mtu };
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
        around.statistics.tcp_segments += 1;
        if !reply.packet().is_empty() {
            let queued = around.outbox.push(|out| {
                let len = ETHERNET_HEADER + reply.packet().len();
                out[..ETHERNET_HEADER].copy_from_slice(&self.header);
                out[ETHERNET_HEADER..len].copy_from_slice(reply.packet());
                Some(len)
            });
            around.statistics.replies_dropped += u64::from(!queued);
        }
        true
    }

    fn let_go<P: Port>(&mut self, _port: &mut P) {}

    #[inline]
    fn egress<P: Port>(&mut self, port: &mut P, now_ns: u64) -> Turn {
        let (now, resent) = (self.clock.instant(now_ns), self.sent.resent);
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
        let more = exhausted || (ready && committed == SEGMENTS_PER_TURN);
        Turn { committed, resent: self.sent.resent - resent, exhausted, more }
    }

    fn wake_ns(&self) -> u64 {
        self.wake_ns
    }

    fn times_out_ns(&self) -> u64 {
        if self.waits() { self.progress_ns.saturating_add(self.user_timeout_ns) } else { u64::MAX }
    }

    /// smoltcp keeps that to itself; what lingers is cut off as if it were not in TIME-WAIT.
    fn time_wait_ends_ns(&self) -> Option<u64> {
        None
    }

    fn abort(&mut self, reason: CloseReason) {
        if !matches!(self.socket().state(), State::Closed | State::TimeWait) {
            self.reason = reason;
        }
        if !self.is_over() {
            self.socket_mut().abort();
        }
    }

    fn close(&mut self, now_ns: u64) {
        if self.socket().state() == State::SynSent {
            self.reason = CloseReason::Aborted;
        }
        if !self.waits() {
            self.progress_ns = now_ns;
        }
        self.socket_mut().close();
    }

    #[inline]
    fn read<P: Port, R>(&mut self, _port: &mut P, take: impl FnOnce(&mut [u8]) -> (usize, R)) -> (usize, R) {
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

    #[inline]
    fn is_drained(&self) -> bool {
        self.socket().recv_queue() == 0
    }

    fn is_rehearsing(&self) -> bool {
        false
    }

    fn end_rehearsal(&mut self) {}

    #[inline]
    fn write<P: Port, R>(
        &mut self,
        _port: &mut P,
        purpose: Purpose,
        room: usize,
        fill: impl FnOnce(&mut [u8]) -> (usize, R),
        now_ns: u64,
    ) -> Option<R> {
        let fill = |room: &mut [u8]| {
            let (written, result) = fill(room);
            (purpose.count(written), result)
        };
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
        let bytes = self.scratch.get_mut(..room)?;
        let (written, result) = fill?(bytes);
        // The room has been checked above.
        socket.send_slice(&bytes[..written.min(room)]).ok()?;
        Some(result)
    }

    #[inline]
    fn unacknowledged(&self) -> usize {
        self.socket().send_queue()
    }

    fn narrow(&mut self, mtu: usize, seed: u64, now_ns: u64) -> bool {
        if mtu >= self.mtu || mtu < IPV4_HEADER + 64 {
            return false;
        }
        self.mtu = mtu;
        self.interface = new_interface(Some(*self.local.ip()), mtu, seed, self.clock.instant(now_ns));
        true
    }

    fn statistics(&self) -> TcpStatistics {
        TcpStatistics { segments_out: self.sent.segments, retransmissions: self.sent.resent, ..TcpStatistics::default() }
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
