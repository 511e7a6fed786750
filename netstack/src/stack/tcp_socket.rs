//! Our own TCP under the stack: received payload is lent from the frame, headers leave from a template.

use std::net::SocketAddrV4;
use std::ops::Range;

use drivers::port::{Port, RxFrame};

use super::checksum;
use super::header::HeaderTemplate;
use super::socket::{Around, Arrival, SEGMENTS_PER_TURN, SocketSettings, TcpSocket, Turn};
use super::wire::{ETHERNET_HEADER, IPV4_HEADER, TCP_HEADER};
use crate::tcp::{Connection, TcpStatistics, Verdict, parse};
use crate::transport::{CloseReason, SocketState};

/// See the module's head.
pub struct OwnTcp {
    connection: Connection,
    headers: HeaderTemplate,
    /// The unread part of the frame that came last, if it came in order.
    lent: Option<(RxFrame, Range<usize>)>,
    wake_ns: u64,
}

impl TcpSocket for OwnTcp {
    fn new(settings: &SocketSettings) -> OwnTcp {
        let mut config = settings.tcp;
        config.mss = u16::try_from(settings.mtu - IPV4_HEADER - TCP_HEADER).unwrap_or(u16::MAX);
        let nobody = SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0);
        OwnTcp {
            connection: Connection::new(&config),
            headers: HeaderTemplate::new(&[0; ETHERNET_HEADER], nobody, nobody),
            lent: None,
            wake_ns: u64::MAX,
        }
    }

    fn connect(&mut self, local: SocketAddrV4, remote: SocketAddrV4, seed: u64, now_ns: u64) -> bool {
        self.connection.connect(local, remote, seed as u32, now_ns);
        self.headers = HeaderTemplate::new(&[0; ETHERNET_HEADER], local, remote);
        self.lent = None;
        self.wake_ns = now_ns;
        true
    }

    fn set_ethernet(&mut self, header: &[u8; ETHERNET_HEADER]) {
        self.headers.set_ethernet(header);
    }

    #[inline]
    fn state(&self) -> SocketState {
        self.connection.socket_state()
    }

    fn is_over(&self) -> bool {
        self.connection.is_over()
    }

    fn has_sent(&self, sequence: u32) -> bool {
        self.connection.has_under_way(sequence)
    }

    #[inline]
    fn ingress<P: Port>(&mut self, port: &mut P, arrival: &Arrival, around: Around<'_>) -> bool {
        let bytes = port.frame(arrival.frame);
        let Some(segment) = bytes.get(arrival.tcp_at..arrival.end).and_then(parse) else {
            around.statistics.malformed += 1;
            return false;
        };
        let payload_at = arrival.end - segment.payload.len();
        let taken = self.connection.on_segment(around.now_ns, &segment);
        if !taken.fresh.is_empty() {
            self.lent = Some((arrival.frame, payload_at + taken.fresh.start..payload_at + taken.fresh.end));
        }
        match taken.verdict {
            Verdict::Taken => around.statistics.tcp_segments += 1,
            Verdict::Dropped => around.statistics.refused_segments += 1,
        }
        true
    }

    #[inline]
    fn let_go<P: Port>(&mut self, port: &mut P) {
        if let Some((frame, rest)) = self.lent.take()
            && let Some(rest) = port.frame(frame).get(rest)
        {
            self.connection.put_back(rest);
        }
    }

    #[inline]
    fn egress<P: Port>(&mut self, port: &mut P, now_ns: u64) -> Turn {
        let resent = self.connection.retransmissions();
        let mut turn = Turn::default();
        while self.connection.is_due(now_ns) {
            if turn.committed == SEGMENTS_PER_TURN {
                turn.more = true;
                break;
            }
            let Some(frame) = port.allocate() else {
                (turn.exhausted, turn.more) = (true, true);
                break;
            };
            let buffer = port.buffer(&frame);
            let headers = &self.headers;
            let len = self.connection.poll_transmit(now_ns, |segment| {
                let header_len = HeaderTemplate::len_for(segment);
                let end = header_len + segment.payload.len();
                // Segments are cut to the port's own MTU: there is room.
                let (head, payload) = buffer.get_mut(..end)?.split_at_mut(header_len);
                payload.copy_from_slice(segment.payload);
                headers.emit(head, segment, checksum::sum(payload));
                Some(end)
            });
            match len.flatten() {
                Some(len) => {
                    port.commit(frame, len);
                    turn.committed += 1;
                }
                None => port.abandon(frame),
            }
            if len.is_none() {
                break;
            }
        }
        turn.resent = self.connection.retransmissions() - resent;
        self.wake_ns = self.connection.timers_due_ns();
        turn
    }

    #[inline]
    fn wake_ns(&self) -> u64 {
        self.wake_ns
    }

    #[inline]
    fn times_out_ns(&self) -> u64 {
        self.connection.times_out_ns()
    }

    fn abort(&mut self, reason: CloseReason) {
        self.connection.abandon(reason);
    }

    fn close(&mut self, now_ns: u64) {
        self.connection.close(now_ns);
    }

    #[inline]
    fn read<P: Port, R>(&mut self, port: &mut P, take: impl FnOnce(&mut [u8]) -> (usize, R)) -> (usize, R) {
        if let Some((frame, range)) = &mut self.lent {
            let lent = port.frame(*frame).get_mut(range.clone()).unwrap_or(&mut []);
            let len = lent.len();
            let (used, result) = take(lent);
            let used = used.min(len);
            range.start += used;
            if range.start == range.end {
                self.lent = None;
            }
            return (used, result);
        }
        self.connection.read(|bytes| {
            let len = bytes.len();
            let (used, result) = take(bytes);
            let used = used.min(len);
            (used, (used, result))
        })
    }

    #[inline]
    fn write<P: Port, R>(&mut self, _port: &mut P, room: usize, fill: impl FnOnce(&mut [u8]) -> (usize, R), now_ns: u64) -> Option<R> {
        self.connection.write(now_ns, room, fill)
    }

    #[inline]
    fn unacknowledged(&self) -> usize {
        self.connection.unacknowledged()
    }

    fn narrow(&mut self, mtu: usize, _seed: u64, _now_ns: u64) -> bool {
        let before = self.connection.segment_max();
        self.connection.narrow(u16::try_from(mtu.saturating_sub(IPV4_HEADER + TCP_HEADER)).unwrap_or(u16::MAX));
        self.connection.segment_max() < before
    }

    fn statistics(&self) -> TcpStatistics {
        self.connection.statistics()
    }
}
