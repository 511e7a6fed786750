//! Our own TCP under the stack: received payload is lent from the frame, headers leave from a template, and a message
//! is written into the very frame that it will be sent from.
//!
//! ```text
//!   a kept frame       | free | headers | payload (sealed here) |     |
//!                             ^ commit  ^ PAYLOAD_AT
//! ```
//!
//! The frame is kept until the peer has acknowledged it: sending it again takes new headers in front of the same bytes.
//! What is longer than a segment, and what finds no frame, goes through the connection's buffer and is copied once.

use std::net::SocketAddrV4;
use std::ops::Range;

use drivers::port::{Port, RxFrame, TxFrame};

use super::checksum;
use super::header::HeaderTemplate;
use super::socket::{Around, Arrival, SEGMENTS_PER_TURN, SocketSettings, TcpSocket, Turn};
use super::wire::{ETHERNET_HEADER, IPV4_HEADER, TCP_HEADER};
use crate::tcp::{Connection, Kept, KeptPayload, Outgoing, TcpStatistics, Verdict, parse};
use crate::transport::{CloseReason, SocketState};

/// Where the payload begins in a kept frame: room for the longest headers, and an aligned start.
const PAYLOAD_AT: usize = 96;

/// See the module's head.
pub struct OwnTcp {
    connection: Connection,
    headers: HeaderTemplate,
    /// The unread part of the frame that came last, if it came in order.
    lent: Option<(RxFrame, Range<usize>)>,
    /// The frame that the next message will be written into.
    spare: Option<TxFrame>,
    /// Bytes of a kept frame.
    kept_capacity: u32,
    /// Where a kept frame's bytes go that cannot leave from where they are.
    scratch: Box<[u8]>,
    wake_ns: u64,
}

impl OwnTcp {
    /// The frames whose bytes have been acknowledged go back to the port.
    #[inline]
    fn give_back<P: Port>(&mut self, port: &mut P) {
        while let Some(Kept(offset)) = self.connection.take_over() {
            port.release(TxFrame { offset, capacity: self.kept_capacity });
        }
    }

    /// A frame for a message of `room` bytes, if it is one for a frame.
    #[inline]
    fn spare<P: Port>(&mut self, port: &mut P, room: usize) -> Option<TxFrame> {
        if !self.connection.can_keep(room) {
            return None;
        }
        let frame = self.spare.take().or_else(|| port.keep())?;
        self.kept_capacity = frame.capacity;
        if PAYLOAD_AT + room > frame.capacity as usize {
            self.spare = Some(frame);
            return None;
        }
        Some(frame)
    }
}

/// Puts headers in front of the payload of a kept frame; where they begin, and the length of all.
#[inline]
fn head(buffer: &mut [u8], outgoing: &Outgoing<'_>, payload_len: u32, headers: &HeaderTemplate) -> Option<(usize, usize)> {
    let end = PAYLOAD_AT + payload_len as usize;
    let (front, payload) = buffer.get_mut(..end)?.split_at_mut_checked(PAYLOAD_AT)?;
    let start = PAYLOAD_AT.checked_sub(HeaderTemplate::len_for(&outgoing.segment))?;
    headers.emit(&mut front[start..], &outgoing.segment, payload.len(), checksum::sum(payload));
    Some((start, end - start))
}

/// Sends a segment from the kept frame that its payload lies in; false if it cannot leave from there.
#[inline]
fn send_kept<P: Port>(port: &mut P, outgoing: &Outgoing<'_>, kept: KeptPayload, capacity: u32, headers: &HeaderTemplate) -> bool {
    let frame = TxFrame { offset: kept.frame.0, capacity };
    // The rest of a segment that was cut has bytes in front of it that are not yet acknowledged.
    if kept.offset as usize != PAYLOAD_AT || !port.is_at_rest(&frame) {
        return false;
    }
    head(port.buffer(&frame), outgoing, kept.len, headers).is_some_and(|(start, len)| port.commit_kept(&frame, start, len))
}

/// Sends a segment from an ordinary frame, its payload copied; false if it does not fit.
#[inline]
fn send_copied<P: Port>(port: &mut P, frame: TxFrame, outgoing: &Outgoing<'_>, payload: &[u8], headers: &HeaderTemplate) -> bool {
    let header_len = HeaderTemplate::len_for(&outgoing.segment);
    let end = header_len + payload.len();
    // Segments are cut to the port's own MTU: there is room.
    let Some((head, room)) = port.buffer(&frame).get_mut(..end).and_then(|room| room.split_at_mut_checked(header_len)) else {
        port.abandon(frame);
        return false;
    };
    room.copy_from_slice(payload);
    headers.emit(head, &outgoing.segment, payload.len(), checksum::sum(room));
    port.commit(frame, end);
    true
}

/// Sends a kept segment that cannot leave from its frame.
#[cold]
fn send_from_kept<P: Port>(
    port: &mut P,
    frame: TxFrame,
    outgoing: &Outgoing<'_>,
    kept: KeptPayload,
    capacity: u32,
    headers: &HeaderTemplate,
    scratch: &mut [u8],
) -> bool {
    let (from, len) = (kept.offset as usize, kept.len as usize);
    let source = TxFrame { offset: kept.frame.0, capacity };
    let copied = match (scratch.get_mut(..len), port.buffer(&source).get(from..from + len)) {
        (Some(room), Some(bytes)) => {
            room.copy_from_slice(bytes);
            true
        }
        _ => false,
    };
    if !copied {
        port.abandon(frame);
        return false;
    }
    send_copied(port, frame, outgoing, &scratch[..len], headers)
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
            spare: None,
            kept_capacity: 0,
            scratch: super::slot::touched(settings.mtu).into_boxed_slice(),
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
        self.give_back(port);
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
            let mut frame = Some(frame);
            let OwnTcp { connection, headers, scratch, kept_capacity, .. } = self;
            let sent = connection.poll_outgoing(now_ns, |outgoing| match (outgoing.kept, &mut frame) {
                (Some(kept), _) if send_kept(port, outgoing, kept, *kept_capacity, headers) => true,
                (Some(kept), frame) => frame
                    .take()
                    .is_some_and(|frame| send_from_kept(port, frame, outgoing, kept, *kept_capacity, headers, scratch)),
                (None, frame) => frame.take().is_some_and(|frame| send_copied(port, frame, outgoing, outgoing.segment.payload, headers)),
            });
            if let Some(frame) = frame {
                port.abandon(frame);
            }
            match sent {
                Some(sent) => turn.committed += usize::from(sent),
                None => break,
            }
        }
        self.give_back(port);
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
    fn write<P: Port, R>(&mut self, port: &mut P, room: usize, fill: impl FnOnce(&mut [u8]) -> (usize, R), now_ns: u64) -> Option<R> {
        let Some(frame) = self.spare(port, room) else {
            return self.connection.write(now_ns, room, fill);
        };
        let buffer = port.buffer(&frame);
        let (written, result) = fill(buffer.get_mut(PAYLOAD_AT..PAYLOAD_AT + room).unwrap_or(&mut []));
        let OwnTcp { connection, headers, .. } = self;
        if written == 0 {
            // Only rehearsed, or refused: the frame goes as far as its headers.
            connection.rehearse(now_ns, PAYLOAD_AT as u32, room as u32, |outgoing| {
                std::hint::black_box(head(buffer, outgoing, room as u32, headers));
            });
            self.spare = Some(frame);
        } else {
            connection.write_kept(now_ns, Kept(frame.offset), PAYLOAD_AT as u32, written.min(room) as u32);
        }
        Some(result)
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
