//! What to send next, and the timers that decide it.

use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber, TcpTimestampRepr};

use super::connection::{Connection, NEVER, Recovery, State};
use super::send::{Kept, Place, Record, SendBuffer};
use super::sequence::{before, later};
use crate::transport::CloseReason;

/// A probe before any round trip was measured (RFC 8985 section 7.2).
const PROBE_INITIAL_NS: u64 = 1_000_000_000;
/// Time-outs in a row after which the path is taken for a hole that swallows big segments (RFC 8899's concern), and the size
/// that every path is expected to carry then.
const BLACK_HOLE_TIMEOUTS: u32 = 3;
const BLACK_HOLE_MSS: u16 = 536;
const BLOCKS_HEADER: u32 = 4;
const BLOCK: u32 = 8;

/// The next segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// RST, in reply to a segment or of our own.
    Reset,
    /// A segment of the send buffer.
    Data(Piece),
    /// The same, to probe for a tail loss.
    TailProbe(Piece),
    /// One byte beyond the closed window.
    WindowProbe,
    /// Nothing, with an old sequence number: the peer must answer.
    KeepAlive,
    /// An acknowledgement.
    Acknowledge,
}

/// A segment of the send buffer, or its front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    index: u32,
    len: u32,
    /// It lies in a frame of the caller's.
    kept: bool,
    /// It was never sent, and is all of its segment.
    whole: bool,
}

impl Piece {
    #[inline]
    fn new(index: usize, len: u32, record: &Record, whole: bool) -> Piece {
        // There are as many segments as [`super::TcpConfig::segments_max`] allows, which has room in [`Decided`].
        Piece { index: index as u32, len, kept: record.frame.is_some(), whole }
    }
}

/// Where a segment's payload lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// There is none.
    None,
    /// In the connection's buffer: [`Connection::payload`].
    Buffer {
        /// Where in it the bytes begin.
        offset: u32,
        /// How many.
        len: u32,
    },
    /// In a frame of the caller's.
    Kept {
        /// The frame.
        frame: Kept,
        /// Where in it the bytes begin.
        offset: u32,
        /// How many.
        len: u32,
    },
}

impl Payload {
    /// How many bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match *self {
            Payload::None => 0,
            Payload::Buffer { len, .. } | Payload::Kept { len, .. } => len as usize,
        }
    }

    /// True if there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What [`Connection::decide`] has decided to send: a plan in one word. It goes from function to function for each segment, and a plan
/// would be put together in memory each time, of pieces, which a processor cannot read as a whole until they have left its store buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "send it"]
pub struct Decided(u64);

/// What [`Decided`] has room for.
pub(super) const SEGMENTS_MAX: usize = 1 << Decided::INDEX_BITS;

impl Decided {
    const RESET: u64 = 1;
    const DATA: u64 = 2;
    const TAIL_PROBE: u64 = 3;
    const WINDOW_PROBE: u64 = 4;
    const KEEP_ALIVE: u64 = 5;
    const ACKNOWLEDGE: u64 = 6;
    const WHAT: u64 = 7;
    const KEPT: u64 = 1 << 3;
    const WHOLE: u64 = 1 << 4;
    const INDEX_AT: u32 = 8;
    const INDEX_BITS: u32 = 24;
    const LEN_AT: u32 = 32;

    #[inline(always)]
    fn new(plan: Plan) -> Decided {
        let piece = |what: u64, piece: Piece| {
            let flags = (u64::from(piece.kept) * Decided::KEPT) | (u64::from(piece.whole) * Decided::WHOLE);
            what | flags | (u64::from(piece.index) << Decided::INDEX_AT) | (u64::from(piece.len) << Decided::LEN_AT)
        };
        Decided(match plan {
            Plan::Reset => Decided::RESET,
            Plan::Data(data) => piece(Decided::DATA, data),
            Plan::TailProbe(data) => piece(Decided::TAIL_PROBE, data),
            Plan::WindowProbe => Decided::WINDOW_PROBE,
            Plan::KeepAlive => Decided::KEEP_ALIVE,
            Plan::Acknowledge => Decided::ACKNOWLEDGE,
        })
    }

    #[inline(always)]
    fn plan(self) -> Plan {
        let piece = Piece {
            index: (self.0 >> Decided::INDEX_AT) as u32 & ((1 << Decided::INDEX_BITS) - 1),
            len: (self.0 >> Decided::LEN_AT) as u32,
            kept: self.0 & Decided::KEPT != 0,
            whole: self.0 & Decided::WHOLE != 0,
        };
        match self.0 & Decided::WHAT {
            Decided::RESET => Plan::Reset,
            Decided::DATA => Plan::Data(piece),
            Decided::TAIL_PROBE => Plan::TailProbe(piece),
            Decided::WINDOW_PROBE => Plan::WindowProbe,
            Decided::KEEP_ALIVE => Plan::KeepAlive,
            _ => Plan::Acknowledge,
        }
    }

    /// Its payload lies in a frame of the caller's.
    #[inline]
    pub fn is_kept(self) -> bool {
        self.0 & Decided::KEPT != 0
    }
}

/// What a segment says that is an acknowledgement, with data or without, and has no other option than a timestamp: as nearly all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Number of its first byte.
    pub sequence: u32,
    /// What it acknowledges.
    pub acknowledgement: u32,
    /// The window that it announces, as it stands in the header.
    pub window: u16,
    /// It has PSH.
    pub push: bool,
    /// Its timestamp, and the one that it echoes.
    pub stamp: Option<(u32, u32)>,
}

impl Plain {
    /// What this segment says, if it is a plain one.
    #[inline]
    pub fn of(segment: &TcpRepr<'_>) -> Option<Plain> {
        let push = match segment.control {
            TcpControl::None => false,
            TcpControl::Psh => true,
            TcpControl::Syn | TcpControl::Fin | TcpControl::Rst => return None,
        };
        let optional = segment.max_seg_size.is_some() || segment.window_scale.is_some() || segment.sack_permitted;
        if optional || segment.sack_ranges[0].is_some() {
            return None;
        }
        Some(Plain {
            sequence: segment.seq_number.0 as u32,
            acknowledgement: segment.ack_number?.0 as u32,
            window: segment.window_len,
            push,
            stamp: segment.timestamp.map(|stamp| (stamp.tsval, stamp.tsecr)),
        })
    }
}

/// A segment to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing {
    /// Its header; the payload stands beside it.
    pub header: TcpRepr<'static>,
    /// Where its payload lies.
    pub payload: Payload,
    /// The payload was sent before.
    pub again: bool,
}

impl Connection {
    /// The next segment to send, timers aside: lost data, new data, probes, acknowledgements, in this order.
    #[inline(always)]
    pub(super) fn plan(&self) -> Option<Plan> {
        if self.state != State::Established || self.wanted.any() || self.send.count(Place::Lost) > 0 {
            return self.plan_unusual();
        }
        match self.next_queued() {
            Some(piece) if self.window_takes(piece.len) => Some(Plan::Data(piece)),
            _ => self.owed.now.then_some(Plan::Acknowledge),
        }
    }

    /// The congestion window takes so many more bytes.
    #[inline]
    fn window_takes(&self, len: u32) -> bool {
        let pipe = self.pipe();
        pipe == 0 || pipe.saturating_add(len) <= self.congestion.window()
    }

    /// While the connection opens or ends, or there is more to send than new data and acknowledgements.
    #[cold]
    fn plan_unusual(&self) -> Option<Plan> {
        if self.wanted.reset_reply.is_some() || self.wanted.reset {
            return Some(Plan::Reset);
        }
        let plan = match self.state {
            State::Closed => return None,
            State::SynSent | State::SynReceived => {
                let front = self.send.front()?;
                let piece = Piece::new(0, 0, front, false);
                matches!(front.place(), Place::Queued | Place::Lost).then_some(Plan::Data(piece))
            }
            _ => self.plan_data(),
        };
        let acknowledges = self.owed.now && self.state != State::SynSent;
        plan.or_else(|| acknowledges.then_some(Plan::Acknowledge))
    }

    fn plan_data(&self) -> Option<Plan> {
        if let Some(index) = self.send.first_lost() {
            let piece = self.front_of(index, self.snd.mss);
            if self.wanted.lost || self.window_takes(piece.len) {
                return Some(Plan::Data(piece));
            }
        }
        let queued = self.next_queued();
        if self.wanted.tail_probe {
            let piece = queued.or_else(|| self.send.last_unreported().map(|index| self.front_of(index, self.snd.mss)));
            if let Some(piece) = piece {
                return Some(Plan::TailProbe(piece));
            }
        }
        if let Some(piece) = queued
            && self.send.count(Place::Lost) == 0
            && self.window_takes(piece.len)
        {
            return Some(Plan::Data(piece));
        }
        if self.wanted.window_probe
            && let Some(index) = self.send.first_queued()
        {
            // A window too narrow to be worth a segment has had its time (RFC 9293 section 3.8.6.2.1, override).
            let record = self.send.record(index);
            let len = record.len.min(self.snd.mss).min(self.usable(record));
            let sendable = len > 0 && (len == record.len || self.send.can_cut(index));
            return Some(if sendable { Plan::Data(self.front_of(index, len)) } else { Plan::WindowProbe });
        }
        self.wanted.keep_alive.then_some(Plan::KeepAlive)
    }

    /// The first unsent segment, cut to what the peer's window takes (RFC 9293 section 3.8.6.2.1, without Nagle).
    #[inline]
    fn next_queued(&self) -> Option<Piece> {
        let index = self.send.first_queued()?;
        let record = self.send.record(index);
        let len = record.len;
        if len == 0 || (len <= self.snd.mss && len <= self.usable(record)) {
            return Some(Piece::new(index, len, record, true));
        }
        self.cut_to_window(index)
    }

    /// The front of a segment, up to `most` bytes.
    fn front_of(&self, index: usize, most: u32) -> Piece {
        let record = self.send.record(index);
        Piece::new(index, record.len.min(most), record, false)
    }

    /// The part of an unsent segment that may leave, if it may not leave whole.
    #[cold]
    fn cut_to_window(&self, index: usize) -> Option<Piece> {
        let record = self.send.record(index);
        let usable = self.usable(record);
        let len = record.len.min(self.snd.mss);
        if len < record.len && !self.send.can_cut(index) {
            return None;
        }
        if len <= usable {
            return Some(self.front_of(index, len));
        }
        let enough = usable > 0 && self.send.can_cut(index) && usable >= self.snd.mss.min(self.snd.wnd_max / 2);
        enough.then_some(self.front_of(index, usable))
    }

    /// Room in the peer's window from a segment on.
    #[inline]
    fn usable(&self, record: &Record) -> u32 {
        let edge = self.snd.una.wrapping_add(self.snd.wnd);
        if before(record.sequence, edge) { edge.wrapping_sub(record.sequence) } else { 0 }
    }

    /// [`Connection::next_segment`], for connections without kept frames: hands the segment, if there is one, to `emit`, whose
    /// result is returned.
    pub fn poll_transmit<R>(&mut self, now_ns: u64, emit: impl FnOnce(&TcpRepr<'_>) -> R) -> Option<R> {
        let outgoing = self.next_segment(now_ns)?;
        Some(emit(&TcpRepr { payload: self.payload(outgoing.payload), ..outgoing.header }))
    }

    /// The bytes of a payload that lies in the connection's buffer, until anything is acknowledged.
    #[inline]
    pub fn payload(&self, payload: Payload) -> &[u8] {
        match payload {
            Payload::Buffer { offset, len } => self.send.bytes(offset, len),
            Payload::None | Payload::Kept { .. } => &[],
        }
    }

    /// Whether there is something to send, timers aside. True says that there may be.
    #[inline]
    pub fn may_send(&self) -> bool {
        self.send.count(Place::Queued) > 0 || self.send.count(Place::Lost) > 0 || self.owed.now || self.wanted.any()
    }

    /// Runs the timers, then gives the next segment, if there is one. Call it until there is none; a segment that was given
    /// counts as sent.
    #[inline]
    pub fn next_segment(&mut self, now_ns: u64) -> Option<Outgoing> {
        let decided = self.decide(now_ns)?;
        self.send(now_ns, decided)
    }

    /// Runs the timers, then says what is to be sent, if anything is.
    #[inline(always)]
    pub fn decide(&mut self, now_ns: u64) -> Option<Decided> {
        self.run_timers(now_ns);
        let Some(plan) = self.plan() else {
            self.arm_persist(now_ns);
            return None;
        };
        Some(Decided::new(plan))
    }

    /// [`Connection::send`] for what is plain: new data on an open connection. `None`, and nothing is done, for all else.
    #[inline(always)]
    pub fn send_plain(&mut self, now_ns: u64, decided: Decided) -> Option<(Plain, Payload)> {
        let Plan::Data(piece) = decided.plan() else { return None };
        if !piece.whole || piece.len == 0 || self.state != State::Established || self.reports() {
            return None;
        }
        let (record, stamp) = self.depart(now_ns, piece.index as usize, true);
        debug_assert!(!record.syn && !record.fin, "neither is queued while the connection is open");
        self.statistics.segments_out += 1;
        let plain = Plain {
            sequence: record.sequence,
            acknowledgement: self.expected(),
            window: self.window_field(),
            push: true,
            stamp: self.timestamps.on.then_some((stamp, self.timestamps.recent)),
        };
        self.acknowledged();
        Some((plain, SendBuffer::place(&record, record.len)))
    }

    /// The header of a plain segment.
    #[cold]
    pub fn header_of(&self, plain: &Plain) -> TcpRepr<'static> {
        TcpRepr {
            src_port: self.local.port(),
            dst_port: self.remote.port(),
            control: if plain.push { TcpControl::Psh } else { TcpControl::None },
            seq_number: TcpSeqNumber(plain.sequence as i32),
            ack_number: Some(TcpSeqNumber(plain.acknowledgement as i32)),
            window_len: plain.window,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: plain.stamp.map(|(value, echo)| TcpTimestampRepr::new(value, echo)),
            payload: &[],
        }
    }

    /// Gives the segment that [`Connection::decide`] has decided on just before: it counts as sent.
    pub fn send(&mut self, now_ns: u64, decided: Decided) -> Option<Outgoing> {
        Some(match decided.plan() {
            Plan::Reset => {
                let (sequence, acknowledge) = self.wanted.reset_reply.map_or((self.snd.nxt, true), |sequence| (sequence, false));
                let segment = self.header(now_ns, TcpControl::Rst, sequence, acknowledge);
                (self.wanted.reset, self.wanted.reset_reply) = (self.wanted.reset && !acknowledge, None);
                Outgoing { header: segment, payload: Payload::None, again: false }
            }
            Plan::Data(piece) => self.transmit(now_ns, piece.index as usize, piece.len)?,
            Plan::TailProbe(Piece { index, len, .. }) => {
                let index = index as usize;
                self.wanted.tail_probe = false;
                self.rack.probe_again = self.send.record(index).place() != Place::Queued;
                let outgoing = self.transmit(now_ns, index, len)?;
                self.statistics.tail_probes += 1;
                self.rack.probe_end = Some(self.snd.nxt);
                self.timers.probe = NEVER;
                self.timers.retransmit = now_ns.saturating_add(self.rtt.timeout());
                outgoing
            }
            Plan::WindowProbe => self.transmit_window_probe(now_ns)?,
            Plan::KeepAlive => {
                self.wanted.keep_alive = false;
                self.statistics.keep_alive_probes += 1;
                let segment = self.header(now_ns, TcpControl::None, self.snd.nxt.wrapping_sub(1), true);
                Outgoing { header: segment, payload: Payload::None, again: false }
            }
            Plan::Acknowledge => {
                let mut segment = self.header(now_ns, TcpControl::None, self.snd.nxt, true);
                segment.sack_ranges = self.blocks(u32::MAX);
                self.owed.duplicate = None;
                self.acknowledged();
                Outgoing { header: segment, payload: Payload::None, again: false }
            }
        })
    }

    /// [`Connection::stamped_header`] of now.
    fn header(&mut self, now_ns: u64, control: TcpControl, sequence: u32, acknowledge: bool) -> TcpRepr<'static> {
        self.stamped_header(self.stamp(now_ns), control, sequence, acknowledge)
    }

    /// A header with all that each segment carries. Who asks for one sends it.
    fn stamped_header(&mut self, stamp: u32, control: TcpControl, sequence: u32, acknowledge: bool) -> TcpRepr<'static> {
        self.statistics.segments_out += 1;
        let stamped = self.timestamps.on && (acknowledge || control == TcpControl::Syn);
        let recent = self.timestamps.recent;
        TcpRepr {
            src_port: self.local.port(),
            dst_port: self.remote.port(),
            control,
            seq_number: TcpSeqNumber(sequence as i32),
            ack_number: acknowledge.then(|| TcpSeqNumber(self.expected() as i32)),
            window_len: if acknowledge { self.window_field() } else { 0 },
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: stamped.then(|| TcpTimestampRepr::new(stamp, if acknowledge { recent } else { 0 })),
            payload: &[],
        }
    }

    /// The window to announce: its right edge moves by whole segments (RFC 9293 section 3.8.6.2.2), never back.
    #[inline]
    fn window_field(&mut self) -> u16 {
        let (free, announced) = (self.receive.free(), self.announced());
        let step = u32::from(self.config.mss).min(self.receive.capacity() / 2);
        let shift = u32::from(self.rcv.shift);
        // Of at most 2^30 bytes, and a shift of at most 14: nothing is lost.
        let units = |bytes: u32| bytes.wrapping_shr(shift);
        let rounded_up = |bytes: u32| units(bytes.wrapping_add(1_u32.wrapping_shl(shift).wrapping_sub(1)));
        let wanted = if free >= announced.wrapping_add(step) { units(free) } else { rounded_up(announced).min(units(free)) };
        let field = wanted.min(u32::from(u16::MAX));
        self.rcv.edge = later(self.rcv.edge, self.receive.next().wrapping_add(field.wrapping_shl(shift)));
        field as u16
    }

    /// There are blocks to report.
    #[inline]
    fn reports(&self) -> bool {
        self.sack && (self.receive.has_hole() || self.owed.duplicate.is_some())
    }

    /// SACK blocks that fit beside `payload` bytes.
    #[cold]
    fn blocks(&self, payload: u32) -> [Option<(u32, u32)>; 3] {
        if !self.reports() {
            return [None; 3];
        }
        let mut blocks = self.receive.blocks(self.owed.duplicate);
        if payload != u32::MAX {
            let spare = self.snd.mss.saturating_sub(payload);
            for (at, block) in blocks.iter_mut().enumerate() {
                if BLOCKS_HEADER + BLOCK * (at as u32 + 1) > spare {
                    *block = None;
                }
            }
        }
        blocks
    }

    /// An acknowledgement has left.
    fn acknowledged(&mut self) {
        (self.owed.bytes, self.owed.now, self.owed.at) = (0, false, NEVER);
        self.rcv.acknowledged = self.expected();
    }

    fn transmit(&mut self, now_ns: u64, index: usize, len: u32) -> Option<Outgoing> {
        let record = self.send.record(index);
        let fresh = record.place() == Place::Queued;
        let mut alone = false;
        if len > 0 && len < record.len {
            // Without a record for the rest, the front of a segment is sent again alone, and its rest when the front has arrived.
            alone = !self.send.cut(index, len);
            if alone && fresh {
                return None;
            }
        }
        let (record, stamp) = self.depart(now_ns, index, fresh);
        let control = match (record.syn, record.fin) {
            (true, _) => TcpControl::Syn,
            (false, true) if !alone => TcpControl::Fin,
            (false, _) => TcpControl::Psh,
        };
        let mut segment = self.stamped_header(stamp, control, record.sequence, self.state != State::SynSent);
        let mut told = true;
        if record.syn {
            segment.max_seg_size = Some(self.config.mss);
            segment.window_scale = (self.rcv.shift > 0 || self.state == State::SynSent).then_some(self.rcv.shift);
            segment.sack_permitted = self.sack;
            segment.window_len = self.receive.free().min(u32::from(u16::MAX)) as u16;
        } else if self.reports() {
            segment.sack_ranges = self.blocks(record.len);
            told = segment.sack_ranges[0].is_some();
        }
        let payload = SendBuffer::place(&record, if alone { len } else { record.len });
        if told && self.state != State::SynSent {
            self.owed.duplicate = None;
            self.acknowledged();
        }
        Some(Outgoing { header: segment, payload, again: !fresh })
    }

    /// A segment leaves, for the first time if it is fresh: what it is now, and its timestamp.
    #[inline(always)]
    fn depart(&mut self, now_ns: u64, index: usize, fresh: bool) -> (Record, u32) {
        if fresh && self.send.sent() == 0 && now_ns.saturating_sub(self.sent_ns) > self.rtt.timeout() {
            self.congestion.on_idle();
        }
        let stamp = self.stamp(now_ns);
        let record = self.send.note_sent(index, now_ns, stamp);
        self.statistics.bytes_out += u64::from(record.len);
        self.snd.nxt = later(self.snd.nxt, record.end());
        (self.sent_ns, self.persists, self.timers.persist) = (now_ns, 0, NEVER);
        self.wanted.window_probe = false;
        if !fresh {
            self.statistics.retransmissions += 1;
            self.wanted.lost = false;
            if let Some((_, copies)) = &mut self.undo {
                *copies += 1;
            }
        }
        if self.timers.retransmit == NEVER || !fresh {
            self.timers.retransmit = now_ns.saturating_add(self.rtt.timeout());
        }
        if fresh {
            self.arm_probe(now_ns);
        }
        (record, stamp)
    }

    /// RFC 9293 section 3.8.6.1: one byte of new data, though there is no room.
    fn transmit_window_probe(&mut self, now_ns: u64) -> Option<Outgoing> {
        self.wanted.window_probe = false;
        self.statistics.window_probes += 1;
        let record = *self.send.record(self.send.first_queued()?);
        let header = self.header(now_ns, TcpControl::Psh, record.sequence, true);
        self.probed = true;
        self.acknowledged();
        Some(Outgoing { header, payload: SendBuffer::place(&record, 1), again: false })
    }

    /// Starts the persist timer if unsent data waits for the peer's window alone.
    #[inline]
    pub(super) fn arm_persist(&mut self, now_ns: u64) {
        if self.send.count(Place::Queued) == 0 {
            (self.timers.persist, self.persists, self.wanted.window_probe) = (NEVER, 0, false);
        } else {
            self.arm_persist_of_queued(now_ns);
        }
    }

    fn arm_persist_of_queued(&mut self, now_ns: u64) {
        let waits = !matches!(self.state, State::SynSent | State::SynReceived | State::Closed)
            && self.send.sent() == 0
            && self.next_queued().is_none();
        if !waits {
            (self.timers.persist, self.persists, self.wanted.window_probe) = (NEVER, 0, false);
        } else if self.timers.persist == NEVER && !self.wanted.window_probe {
            let wait =
                self.rtt.timeout().saturating_mul(1 << self.persists.min(16)).min(self.config.rto_max).min(self.config.user_timeout / 4);
            self.timers.persist = now_ns.saturating_add(wait);
        }
    }

    /// Starts the timer of the tail loss probe (RFC 8985 section 7.2).
    pub(super) fn arm_probe(&mut self, now_ns: u64) {
        let open = !matches!(self.state, State::SynSent | State::SynReceived | State::Closed);
        let asked = self.rack.probe_end.is_some_and(|end| before(self.snd.una, end));
        if !open || asked || self.recovery != Recovery::None || self.send.sent() == 0 || self.send.count(Place::Sacked) > 0 {
            self.timers.probe = NEVER;
            return;
        }
        // Small messages are no full segments: the peer may hold back the acknowledgement of two of them as well.
        let lone = self.send.bytes_in(Place::UnderWay) < 2 * self.snd.mss;
        // On a path of some microseconds, two round trips are less than the peer may be busy with something else.
        let held_back = if lone { self.config.peer_ack_delay } else { self.config.reordering_floor };
        // A peer that holds acknowledgements back makes the smoothed round trip long; a lost order must not wait for that.
        let least = if self.rtt.min() > 0 { self.rtt.min().saturating_mul(2) } else { u64::MAX };
        let wait = self.rtt.smoothed.map_or(PROBE_INITIAL_NS, |smoothed| smoothed.min(least).saturating_mul(2).saturating_add(held_back));
        self.timers.probe = now_ns.saturating_add(wait).min(self.timers.retransmit);
    }

    #[inline]
    fn run_timers(&mut self, now_ns: u64) {
        if self.waits() && now_ns >= self.progress_ns.saturating_add(self.config.user_timeout) {
            return self.end(CloseReason::TimedOut);
        }
        if self.owed.at <= now_ns {
            (self.owed.now, self.owed.at) = (true, NEVER);
        }
        if self.timers.first() <= now_ns {
            self.run_due_timers(now_ns);
        }
    }

    #[cold]
    fn run_due_timers(&mut self, now_ns: u64) {
        if self.timers.time_wait <= now_ns {
            return self.end(CloseReason::Closed);
        }
        if self.timers.reorder <= now_ns {
            self.find_losses(now_ns);
        }
        if self.timers.probe <= now_ns {
            self.timers.probe = NEVER;
            self.wanted.tail_probe = true;
            // The probe comes first, and then the time-out has its time.
            self.timers.retransmit = self.timers.retransmit.max(now_ns + 1);
        }
        if self.timers.retransmit <= now_ns {
            self.on_timeout(now_ns);
        }
        if self.timers.persist <= now_ns {
            (self.timers.persist, self.wanted.window_probe) = (NEVER, true);
            self.persists += 1;
        }
        if self.timers.keep_alive <= now_ns {
            self.on_silence(now_ns);
        }
    }

    /// RFC 6298 section 5.4 and what follows it; what is taken for lost: RFC 8985 section 6.3.
    fn on_timeout(&mut self, now_ns: u64) {
        self.timers.retransmit = NEVER;
        if self.send.sent() == 0 {
            return;
        }
        self.statistics.timeouts += 1;
        self.timeouts += 1;
        self.rtt.back_off();
        if self.timeouts >= BLACK_HOLE_TIMEOUTS && self.send.front().is_some_and(|record| record.len > u32::from(BLACK_HOLE_MSS)) {
            self.narrow(BLACK_HOLE_MSS);
        }
        let flight = self.snd.nxt.wrapping_sub(self.snd.una);
        let first = !matches!(self.recovery, Recovery::Timeout { .. });
        if self.recovery == Recovery::None {
            self.undo = Some((self.congestion.state(), 0));
        }
        self.congestion.on_timeout(flight, first);
        self.recovery = Recovery::Timeout { point: self.snd.nxt };
        // A peer that has let go of what it reported (RFC 2018 section 8) has reported the front.
        let renege = self.send.front().is_some_and(|record| record.place() == Place::Sacked);
        let patience = self.rack.rtt.saturating_add(self.config.reordering_floor);
        for index in 0..self.send.sent() {
            let record = *self.send.record(index);
            let old = index == 0 || !self.sack || record.sent_ns.saturating_add(patience) <= now_ns;
            if (record.place() == Place::UnderWay && old) || (record.place() == Place::Sacked && renege) {
                self.send.put(index, Place::Lost);
            }
        }
        (self.duplicate_acks, self.rack.probe_end) = (0, None);
        (self.timers.probe, self.timers.reorder) = (NEVER, NEVER);
        (self.wanted.lost, self.wanted.tail_probe) = (true, false);
        self.timers.retransmit = now_ns.saturating_add(self.rtt.timeout());
    }

    /// Keep-alive (RFC 9293 section 3.8.4).
    fn on_silence(&mut self, now_ns: u64) {
        self.timers.keep_alive = now_ns.saturating_add(self.config.keep_alive_interval);
        if self.send.sent() > 0 || self.state == State::TimeWait {
            return;
        }
        if self.unanswered >= self.config.keep_alive_probes {
            return self.give_up(CloseReason::TimedOut);
        }
        self.unanswered += 1;
        self.wanted.keep_alive = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_comes_out_of_its_word_as_it_went_in() {
        let mut plans = vec![Plan::Reset, Plan::WindowProbe, Plan::KeepAlive, Plan::Acknowledge];
        for (index, len) in [(0, 0), (1, 1460), (SEGMENTS_MAX as u32 - 1, u32::MAX)] {
            for (kept, whole) in [(false, false), (true, false), (false, true), (true, true)] {
                let piece = Piece { index, len, kept, whole };
                plans.extend([Plan::Data(piece), Plan::TailProbe(piece)]);
            }
        }
        for plan in plans {
            let decided = Decided::new(plan);
            let kept = matches!(plan, Plan::Data(piece) | Plan::TailProbe(piece) if piece.kept);
            assert_eq!((decided.plan(), decided.is_kept()), (plan, kept));
        }
    }
}
