//! The real network behind the loop's seams: `netstack`'s stack and session.

use super::network::{Channel, ChannelCounters, ChannelEvents, Network, NotSent};
use crate::report::{LinkReport, PiecesReport, TcpReport};
use drivers::port::Port;
use drivers::purpose::Purpose;
use netstack::session::{CauseKind, CloseCause, Handler, Progress, Session, SessionConfig};
use netstack::stack::Stack;
use netstack::tls::{TlsConfig, Version};
use netstack::transport::{SocketId, Transport};
use netstack::websocket::Kind;
use std::io;
use venues::venue::{Endpoint, Heartbeat, MessageKind};

impl<P: Port> Network for Stack<P> {
    #[inline]
    fn receive(&mut self, now_ns: u64) -> usize {
        Stack::receive(self, now_ns)
    }
    #[inline]
    fn ingress_next(&mut self, now_ns: u64) -> Option<Option<SocketId>> {
        Stack::ingress_next(self, now_ns)
    }
    #[inline]
    fn transmit_urgent(&mut self, now_ns: u64) -> usize {
        Stack::transmit_urgent(self, now_ns)
    }
    #[inline]
    fn transmit(&mut self, now_ns: u64) -> usize {
        Stack::transmit(self, now_ns)
    }
    #[inline]
    fn flush(&mut self, now_ns: u64) -> io::Result<()> {
        Stack::flush(self, now_ns)
    }
    fn maintain(&mut self, now_ns: u64) {
        Stack::maintain(self, now_ns);
    }
    fn set_priority(&mut self, socket: SocketId) {
        Stack::set_priority(self, socket);
    }
    fn link(&self) -> LinkReport {
        let (info, statistics) = (self.port().info(), self.port().statistics());
        let tcp = self.tcp_statistics();
        LinkReport {
            driver: info.driver.to_owned(),
            mode: info.mode.to_owned(),
            why: info.why.clone(),
            huge_pages: info.huge_pages,
            rx_frames: statistics.rx_frames,
            tx_frames: statistics.tx_frames,
            rx_dropped: statistics.rx_dropped,
            rx_refused: self.statistics().dropped(),
            kicks: statistics.kicks,
            wakeups: statistics.wakeups,
            tcp: TcpReport {
                segments_in: tcp.segments_in,
                predicted: tcp.predicted,
                bytes_in: tcp.bytes_in,
                bytes_copied_in: tcp.bytes_copied_in,
                segments_out: tcp.segments_out,
                bytes_out: tcp.bytes_out,
                bytes_copied_out: tcp.bytes_copied_out,
                bytes_copied_again: tcp.bytes_copied_again,
                retransmissions: tcp.retransmissions,
                spurious: tcp.spurious,
            },
            // Of the channels, which are not the network's.
            tls: PiecesReport::default(),
            websocket: PiecesReport::default(),
        }
    }
}

/// A [`Session`] as the loop wants it.
pub struct SessionChannel {
    session: Session,
    /// Attempts that failed before they were open.
    failed: u64,
    /// Links and attempts that ended.
    ended: u64,
    /// TLS version of the first link that was open; 0 before.
    tls_version: u16,
}

impl SessionChannel {
    /// Keeps a connection to `endpoint` up. `life_max_ns` shortens the venue's own limit (0 = it does not).
    pub fn new(endpoint: &Endpoint, tls: &TlsConfig, life_max_ns: u64, seed: u64, now_ns: u64) -> SessionChannel {
        let life = [endpoint.max_life_ns, life_max_ns].into_iter().filter(|ns| *ns != 0).min().unwrap_or(0);
        let defaults = SessionConfig::new(&endpoint.host, endpoint.port, &endpoint.path, Some(tls.clone()));
        let config = SessionConfig {
            headers: endpoint.headers.clone(),
            ping_interval_ns: match endpoint.heartbeat {
                Heartbeat::PingFrame { interval_ns } => interval_ns,
                Heartbeat::None | Heartbeat::Codec => 0,
            },
            idle_timeout_ns: endpoint.idle_timeout_ns,
            life_max_ns: life,
            renewal_lead_ns: defaults.renewal_lead_ns.min(life / 4),
            seed,
            ..defaults
        };
        SessionChannel { session: Session::new(config, now_ns), failed: 0, ended: 0, tls_version: 0 }
    }
}

/// Passes a session's calls on, and counts what ends.
struct Relay<'a, E> {
    events: &'a mut E,
    failed: &'a mut u64,
    ended: &'a mut u64,
}

impl<E: ChannelEvents> Handler for Relay<'_, E> {
    fn on_open(&mut self, generation: u32) {
        self.events.on_open(generation);
    }

    #[inline]
    fn on_message(&mut self, generation: u32, kind: Kind, payload: &[u8]) {
        let kind = match kind {
            Kind::Text => MessageKind::Text,
            Kind::Binary => MessageKind::Binary,
        };
        self.events.on_message(generation, kind, payload);
    }

    fn on_close(&mut self, generation: u32, cause: &CloseCause) {
        *self.ended += 1;
        self.events.on_close(generation, cause);
    }

    fn on_attempt_failed(&mut self, cause: &CloseCause, wait_ns: u64) {
        *self.ended += 1;
        *self.failed += 1;
        self.events.on_attempt_failed(cause, wait_ns);
    }
}

impl<N: Network + Transport> Channel<N> for SessionChannel {
    #[inline]
    fn poll(&mut self, network: &mut N, now_ns: u64, events: &mut impl ChannelEvents) -> bool {
        let mut relay = Relay { events, failed: &mut self.failed, ended: &mut self.ended };
        let worked = self.session.poll(network, now_ns, now_ns / 1_000_000_000, &mut relay) == Progress::Worked;
        if self.tls_version == 0 && worked {
            self.tls_version = self.session.tls().map_or(0, |(version, _)| match version {
                Version::Tls12 => 0x0303,
                Version::Tls13 => 0x0304,
            });
        }
        worked
    }

    #[inline]
    fn is_drained(&self, network: &N) -> bool {
        self.session.is_drained(network)
    }

    #[inline]
    fn owns(&self, socket: SocketId) -> bool {
        self.session.owns(socket)
    }

    #[inline]
    fn send(&mut self, network: &mut N, message: &[u8], purpose: Purpose) -> Result<(), NotSent> {
        self.session.send_for(purpose, network, Kind::Text, message).map(|_| ()).map_err(|_| NotSent)
    }

    #[inline]
    fn is_open(&self) -> bool {
        self.session.is_open()
    }

    #[inline]
    fn is_connecting(&self) -> bool {
        let s = self.session.statistics();
        !self.session.is_open() || s.attempts > s.opens + self.failed
    }

    #[inline]
    fn changes(&self) -> u64 {
        let s = self.session.statistics();
        s.attempts + s.opens + self.ended
    }

    fn renew(&mut self, now_ns: u64) {
        self.session.renew(now_ns);
    }

    #[inline]
    fn retire_old(&mut self, network: &mut N, now_ns: u64) {
        self.session.retire_old(network, now_ns);
    }

    fn shut_down(&mut self, network: &mut N, now_ns: u64) {
        self.session.shut_down(network, now_ns);
    }

    fn is_closed(&self) -> bool {
        self.session.is_shut_down()
    }

    fn counters(&self) -> ChannelCounters {
        let s = self.session.statistics();
        let planned = s.closed_by(CauseKind::Retired) + s.closed_by(CauseKind::Ours);
        let stitched = self.session.stitched();
        ChannelCounters {
            connects: s.opens,
            disconnects: s.closes.iter().sum::<u64>() - planned,
            tls_version: self.tls_version,
            records: s.records_in,
            records_stitched: stitched.records,
            messages: s.messages_in,
            messages_stitched: stitched.messages,
        }
    }
}
