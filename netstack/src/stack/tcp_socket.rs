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

use std::hint::cold_path;
use std::net::SocketAddrV4;
use std::ops::Range;

use drivers::port::{Port, RxFrame, TxFrame};

use super::checksum;
use super::header::HeaderTemplate;
use super::socket::{Around, Arrival, SEGMENTS_PER_TURN, SocketSettings, TcpSocket, Turn};
use super::wire::{ETHERNET_HEADER, IPV4_HEADER, TCP_HEADER};
use crate::tcp::{
    Beginning, Connection, Decided, Kept, Outgoing, Payload, Rehearsal, Taken, TcpStatistics, Verdict, parse_options, parse_usual, touched,
};
use crate::transport::{CloseReason, SocketState};
use drivers::purpose::Purpose;

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
    /// Payload bytes copied on their way out.
    copied_out: u64,
    /// Of those, sent before.
    copied_again: u64,
    wake_ns: u64,
    /// What was written last is for.
    purpose: Purpose,
    /// The frame of what is rehearsed, and what that changes, as it was before.
    before: Option<(u64, Rehearsal)>,
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
            cold_path();
            return None;
        }
        let Some(frame) = self.spare.take().or_else(|| port.keep()) else {
            cold_path();
            return None;
        };
        self.kept_capacity = frame.capacity;
        if PAYLOAD_AT + room > frame.capacity as usize {
            cold_path();
            self.spare = Some(frame);
            return None;
        }
        Some(frame)
    }
}

/// Whether a segment left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// There was none.
    Nothing,
    /// It is committed.
    Committed,
    /// It found no frame: TCP takes it for lost.
    Stuck,
}

/// Sends a segment from an ordinary frame, its payload copied; false if there is no frame, or it does not fit.
fn send_copied<P: Port>(port: &mut P, outgoing: &Outgoing, payload: &[u8], headers: &HeaderTemplate) -> bool {
    let Some(frame) = port.allocate() else { return false };
    let header_len = HeaderTemplate::len_for(&outgoing.header);
    let end = header_len + payload.len();
    // Segments are cut to the port's own MTU: there is room.
    let Some((head, room)) = port.buffer(&frame).get_mut(..end).and_then(|room| room.split_at_mut_checked(header_len)) else {
        port.abandon(frame);
        return false;
    };
    room.copy_from_slice(payload);
    headers.emit(head, &outgoing.header, payload.len(), checksum::sum(room));
    port.commit(frame, end);
    true
}

impl OwnTcp {
    /// Sends the segment; a rehearsed one goes as far as the port's ring, and counts as committed.
    ///
    /// Not inlined: a rehearsal must go through the very same code.
    #[inline(never)]
    fn send<P: Port>(&mut self, port: &mut P, decided: Decided, now_ns: u64) -> Left {
        if decided.is_kept()
            && let Some((plain, payload)) = self.connection.send_plain(now_ns, decided)
        {
            let write = |headers: &HeaderTemplate, out: &mut [u8], len: usize, sum: u64| headers.emit_plain(out, &plain, len, sum);
            if self.send_in_place(port, payload, HeaderTemplate::plain_len(&plain), write) {
                return Left::Committed;
            }
            return self.send_elsewhere(port, &Outgoing { header: self.connection.header_of(&plain), payload, again: false });
        }
        self.send_unusual(port, decided, now_ns)
    }

    /// What is not plain, or lies in no frame.
    #[inline(never)]
    fn send_unusual<P: Port>(&mut self, port: &mut P, decided: Decided, now_ns: u64) -> Left {
        let Some(outgoing) = self.connection.send(now_ns, decided) else { return Left::Nothing };
        let (header, payload) = (&outgoing.header, outgoing.payload);
        let write = |headers: &HeaderTemplate, out: &mut [u8], len: usize, sum: u64| headers.emit(out, header, len, sum);
        if self.send_in_place(port, payload, HeaderTemplate::len_for(header), write) {
            return Left::Committed;
        }
        self.send_elsewhere(port, &outgoing)
    }

    /// Has headers written in front of the payload where it lies, and sends it from there; false if it lies in no kept frame, or
    /// cannot leave from it.
    #[inline(always)]
    fn send_in_place<P: Port>(
        &mut self,
        port: &mut P,
        payload: Payload,
        header_len: usize,
        write: impl FnOnce(&HeaderTemplate, &mut [u8], usize, u64),
    ) -> bool {
        let Payload::Kept { frame, offset, len } = payload else { return false };
        let frame = TxFrame { offset: frame.0, capacity: self.kept_capacity };
        let end = PAYLOAD_AT + len as usize;
        // The rest of a segment that was cut has bytes in front of it that are not yet acknowledged.
        if offset as usize != PAYLOAD_AT || header_len > PAYLOAD_AT || !port.is_at_rest(&frame) {
            return false;
        }
        let room = port.buffer(&frame).get_mut(PAYLOAD_AT - header_len..end).and_then(|room| room.split_at_mut_checked(header_len));
        let Some((headers, payload)) = room else { return false };
        write(&self.headers, headers, payload.len(), checksum::sum(payload));
        port.commit_kept_for(self.purpose, &frame, PAYLOAD_AT - header_len, header_len + len as usize)
    }

    #[inline]
    fn note_copied(&mut self, bytes: u64, again: bool) {
        self.copied_out += bytes;
        self.copied_again += if again { bytes } else { 0 };
    }

    /// Sends a segment from an ordinary frame: one whose payload lies in no frame of its own, or cannot leave from it.
    #[cold]
    #[inline(never)]
    fn send_elsewhere<P: Port>(&mut self, port: &mut P, outgoing: &Outgoing) -> Left {
        if self.purpose == Purpose::Rehearse {
            return Left::Stuck;
        }
        let sent = match outgoing.payload {
            Payload::Kept { frame, offset, len } => {
                let frame = TxFrame { offset: frame.0, capacity: self.kept_capacity };
                let (from, len) = (offset as usize, len as usize);
                let (Some(room), Some(bytes)) = (self.scratch.get_mut(..len), port.buffer(&frame).get(from..from + len)) else {
                    return Left::Stuck;
                };
                room.copy_from_slice(bytes);
                self.note_copied(len as u64, outgoing.again);
                send_copied(port, outgoing, &self.scratch[..len], &self.headers)
            }
            payload => {
                self.note_copied(payload.len() as u64, outgoing.again);
                send_copied(port, outgoing, self.connection.payload(payload), &self.headers)
            }
        };
        if sent { Left::Committed } else { Left::Stuck }
    }

    /// Takes in a segment that is not like nearly all: the length of its payload, and what it brought; `None` if it contradicts
    /// itself.
    #[cold]
    #[inline(never)]
    fn take_unusual(&mut self, bytes: &[u8], now_ns: u64) -> Option<(usize, Taken)> {
        let segment = parse_options(bytes)?;
        Some((segment.payload.len(), self.connection.on_segment(now_ns, &segment)))
    }

    /// From here to [`TcpSocket::end_rehearsal`] everything is as if a message of `len` bytes were sent in this frame. False if
    /// anything else is to be sent.
    fn begin_rehearsal(&mut self, frame: &TxFrame, len: usize, now_ns: u64) -> bool {
        self.before = self.connection.begin_rehearsal(now_ns, len as u32).map(|before| (frame.offset, before));
        if self.before.is_some() {
            self.purpose = Purpose::Rehearse;
        }
        self.before.is_some()
    }
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
            scratch: touched(settings.mtu),
            copied_out: 0,
            copied_again: 0,
            wake_ns: u64::MAX,
            purpose: Purpose::Send,
            before: None,
        }
    }

    fn connect(&mut self, local: SocketAddrV4, remote: SocketAddrV4, beginning: Beginning, now_ns: u64) -> bool {
        self.connection.connect(local, remote, beginning, now_ns);
        self.headers = HeaderTemplate::new(&[0; ETHERNET_HEADER], local, remote);
        self.lent = None;
        (self.copied_out, self.copied_again) = (0, 0);
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
        let bytes = port.frame(arrival.frame).get(arrival.tcp_at..arrival.end).unwrap_or(&[]);
        let (payload_len, taken) = match parse_usual(bytes) {
            Some(segment) => (segment.payload.len(), self.connection.on_segment(around.now_ns, &segment)),
            None => match self.take_unusual(bytes, around.now_ns) {
                Some(taken) => taken,
                None => {
                    around.statistics.malformed += 1;
                    return false;
                }
            },
        };
        let payload_at = arrival.end - payload_len;
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
        while let Some(decided) = self.connection.decide(now_ns) {
            if turn.committed == SEGMENTS_PER_TURN {
                turn.more = true;
                break;
            }
            if self.purpose == Purpose::Send && !port.has_room(decided.is_kept()) {
                (turn.exhausted, turn.more) = (true, true);
                break;
            }
            match self.send(port, decided, now_ns) {
                Left::Nothing => break,
                Left::Committed => turn.committed += 1,
                Left::Stuck => {}
            }
            if !self.connection.may_send() {
                break;
            }
        }
        turn.committed = self.purpose.count(turn.committed);
        if self.purpose == Purpose::Rehearse {
            self.end_rehearsal();
        }
        self.give_back(port);
        turn.resent = self.connection.retransmissions() - resent;
        self.wake_ns = self.connection.wakes_ns();
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

    fn time_wait_ends_ns(&self) -> Option<u64> {
        self.connection.time_wait_ends_ns()
    }

    fn abort(&mut self, reason: CloseReason) {
        self.connection.give_up(reason);
    }

    fn close(&mut self, now_ns: u64) {
        self.connection.close(now_ns);
    }

    #[inline]
    fn read<P: Port, R>(&mut self, port: &mut P, take: impl FnOnce(&mut [u8]) -> (usize, R)) -> (usize, R) {
        // Called in one place only: there it is inlined, however long it is.
        let lent = match &self.lent {
            Some((frame, range)) => port.frame(*frame).get_mut(range.clone()).unwrap_or(&mut []),
            None => self.connection.lend(),
        };
        let len = lent.len();
        let (used, result) = take(lent);
        let used = used.min(len);
        match &mut self.lent {
            Some((_, range)) if range.start + used == range.end => self.lent = None,
            Some((_, range)) => range.start += used,
            None => self.connection.use_up(used),
        }
        (used, result)
    }

    #[inline]
    fn is_drained(&self) -> bool {
        self.lent.is_none() && self.connection.readable() == 0
    }

    #[inline]
    fn write<P: Port, R>(
        &mut self,
        port: &mut P,
        purpose: Purpose,
        room: usize,
        fill: impl FnOnce(&mut [u8]) -> (usize, R),
        now_ns: u64,
    ) -> Option<R> {
        let frame = self.spare(port, room);
        let place = match &frame {
            Some(frame) => port.buffer(frame).get_mut(PAYLOAD_AT..PAYLOAD_AT + room).unwrap_or(&mut []),
            None => self.connection.room(room)?,
        };
        let len = place.len();
        let (written, result) = fill(place);
        let written = written.min(len);
        match frame {
            None => self.connection.note_written(now_ns, room, purpose.count(written)),
            Some(frame) if written == 0 || (purpose == Purpose::Rehearse && !self.begin_rehearsal(&frame, written, now_ns)) => {
                self.spare = Some(frame);
            }
            Some(frame) => self.connection.write_kept(now_ns, Kept(frame.offset), PAYLOAD_AT as u32, written as u32),
        }
        Some(result)
    }

    #[inline]
    fn is_rehearsing(&self) -> bool {
        self.purpose == Purpose::Rehearse
    }

    fn end_rehearsal(&mut self) {
        if let Some((offset, before)) = self.before.take() {
            self.connection.end_rehearsal(&before);
            self.spare = Some(TxFrame { offset, capacity: self.kept_capacity });
        }
        self.purpose = Purpose::Send;
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
        TcpStatistics { bytes_copied_out: self.copied_out, bytes_copied_again: self.copied_again, ..self.connection.statistics() }
    }
}
