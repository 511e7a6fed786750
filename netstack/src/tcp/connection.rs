//! One connection: its variables, its opening and its end, and what the layer above may call.

use std::net::SocketAddrV4;

use super::config::TcpConfig;
use super::congestion::Congestion;
use super::output::SEGMENTS_MAX;
use super::receive::ReceiveBuffer;
use super::rtt::RoundTrip;
use super::send::{Kept, SendBuffer};
use super::sequence::before;
use super::statistics::TcpStatistics;
use crate::transport::{CloseReason, SocketState};

/// A timer that is off.
pub(super) const NEVER: u64 = u64::MAX;
/// What a peer takes that announces no segment size (RFC 9293 section 3.7.1).
pub(super) const MSS_DEFAULT: u16 = 536;
/// Less than this is not believed: it would make a header out of every few bytes.
pub(super) const MSS_MIN: u16 = 88;
/// The timestamp option, padded.
pub(super) const TIMESTAMP_LEN: u16 = 12;
/// Largest shift of a window (RFC 7323 section 2.3).
pub(super) const SHIFT_MAX: u8 = 14;

/// States of RFC 9293 section 3.3.2 (a client does not listen).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// SYN sent.
    SynSent,
    /// SYN sent and received, not yet acknowledged: both sides opened at once.
    SynReceived,
    /// Bytes flow both ways.
    Established,
    /// We have closed; the peer has not acknowledged it.
    FinWait1,
    /// We have closed; the peer may still send.
    FinWait2,
    /// The peer has closed; we may still send.
    CloseWait,
    /// Both have closed at once; ours is not acknowledged.
    Closing,
    /// The peer has closed, then we; ours is not acknowledged.
    LastAck,
    /// Both have closed; stray segments may still come.
    TimeWait,
    /// Nothing.
    Closed,
}

/// Why losses are being repaired; over once SND.UNA has reached `point`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    None,
    /// Found by acknowledgements.
    Fast {
        point: u32,
    },
    /// Found by time-out.
    Timeout {
        point: u32,
    },
}

/// The send sequence space (RFC 9293 section 3.3.1).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SendSpace {
    pub(super) una: u32,
    pub(super) nxt: u32,
    pub(super) wnd: u32,
    pub(super) wl1: u32,
    pub(super) wl2: u32,
    /// Widest window seen (MAX.SND.WND of RFC 5961 section 5.2).
    pub(super) wnd_max: u32,
    pub(super) shift: u8,
    /// Largest payload.
    pub(super) mss: u32,
}

/// What is announced to the peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReceiveSpace {
    /// Right edge of the announced window.
    pub(super) edge: u32,
    pub(super) shift: u8,
    /// Last.ACK.sent (RFC 7323 section 4.3).
    pub(super) acknowledged: u32,
    /// Sequence number of the peer's FIN.
    pub(super) fin_at: Option<u32>,
    pub(super) fin_received: bool,
    pub(super) initial: u32,
}

/// Acknowledgements that we owe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    /// Bytes received since the last one.
    pub(super) bytes: u32,
    pub(super) now: bool,
    pub(super) at: u64,
    /// Bytes received twice, to be reported (RFC 2883).
    pub(super) duplicate: Option<(u32, u32)>,
}

/// Timestamps (RFC 7323 section 3).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timestamps {
    pub(super) on: bool,
    pub(super) offset: u32,
    pub(super) recent: u32,
    pub(super) recent_ns: u64,
}

/// Loss detection by time (RFC 8985).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rack {
    /// When the most recently sent of the delivered segments was sent; 0: none was.
    pub(super) sent_ns: u64,
    pub(super) end: u32,
    pub(super) rtt: u64,
    /// One past the highest sequence number delivered.
    pub(super) fack: u32,
    pub(super) reordered: bool,
    /// Quarters of the least round trip in the reordering window.
    pub(super) quarters: u32,
    /// Recoveries until `quarters` falls back.
    pub(super) persist: u32,
    /// Superfluous copies reported before this was acknowledged count once.
    pub(super) duplicate_round: Option<u32>,
    /// End of the flight that a tail loss probe asked about.
    pub(super) probe_end: Option<u32>,
    /// The probe repeated a segment.
    pub(super) probe_again: bool,
}

/// When something is to happen; [`NEVER`]: not at all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    pub(super) retransmit: u64,
    pub(super) probe: u64,
    pub(super) reorder: u64,
    pub(super) persist: u64,
    pub(super) keep_alive: u64,
    pub(super) time_wait: u64,
}

impl Timers {
    pub(super) const OFF: Timers =
        Timers { retransmit: NEVER, probe: NEVER, reorder: NEVER, persist: NEVER, keep_alive: NEVER, time_wait: NEVER };

    pub(super) fn first(&self) -> u64 {
        let loss = self.retransmit.min(self.probe).min(self.reorder);
        loss.min(self.persist).min(self.keep_alive).min(self.time_wait)
    }
}

/// Segments that are to be sent, beside data and acknowledgements.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    /// RST of our own.
    pub(super) reset: bool,
    /// RST for a segment that acknowledges what was never sent.
    pub(super) reset_reply: Option<u32>,
    /// The first lost segment, whatever the congestion window says.
    pub(super) lost: bool,
    pub(super) tail_probe: bool,
    pub(super) window_probe: bool,
    pub(super) keep_alive: bool,
}

impl Wanted {
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.reset | self.lost | self.tail_probe | self.window_probe | self.keep_alive | self.reset_reply.is_some()
    }
}

/// What a message changes on its way out, as it was before. See [`Connection::begin_rehearsal`].
#[derive(Clone, Copy, Debug)]
#[must_use = "end the rehearsal with it"]
pub struct Rehearsal {
    snd: SendSpace,
    rcv: ReceiveSpace,
    owed: Owed,
    timers: Timers,
    wanted: Wanted,
    congestion: Congestion,
    rack: Rack,
    undo: Option<((u32, u32), u32)>,
    persists: u32,
    sent_ns: u64,
    progress_ns: u64,
    statistics: TcpStatistics,
}

/// The numbers that a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The initial sequence number; not to be guessed (RFC 6528).
    pub sequence: u32,
    /// How far timestamps are ahead of the clock's milliseconds; not to be guessed either, and the same for the same ends
    /// (RFC 7323 section 5.4).
    pub stamp_offset: u32,
}

impl From<u32> for Beginning {
    /// With this sequence number, and timestamps that are the clock's: where nobody is to be feared.
    fn from(sequence: u32) -> Beginning {
        Beginning { sequence, stamp_offset: 0 }
    }
}

/// A connection. See the module's head.
pub struct Connection {
    pub(super) config: TcpConfig,
    pub(super) state: State,
    pub(super) reason: CloseReason,
    pub(super) local: SocketAddrV4,
    pub(super) remote: SocketAddrV4,
    pub(super) snd: SendSpace,
    pub(super) rcv: ReceiveSpace,
    pub(super) send: SendBuffer,
    pub(super) receive: ReceiveBuffer,
    pub(super) owed: Owed,
    pub(super) timestamps: Timestamps,
    pub(super) sack: bool,
    pub(super) rtt: RoundTrip,
    pub(super) rack: Rack,
    pub(super) congestion: Congestion,
    pub(super) recovery: Recovery,
    /// Window and threshold before the present recovery, and its segments sent again that may yet turn out superfluous.
    pub(super) undo: Option<((u32, u32), u32)>,
    pub(super) duplicate_acks: u32,
    /// Time-outs in a row.
    pub(super) timeouts: u32,
    pub(super) timers: Timers,
    pub(super) wanted: Wanted,
    /// A byte beyond SND.NXT was sent into a closed window.
    pub(super) probed: bool,
    /// Window probes since the window closed.
    pub(super) persists: u32,
    /// Keep-alive probes since the peer was last heard.
    pub(super) unanswered: u32,
    pub(super) heard_ns: u64,
    pub(super) sent_ns: u64,
    /// When the peer last acknowledged something, or there was nothing to acknowledge.
    pub(super) progress_ns: u64,
    pub(super) challenge_since: u64,
    pub(super) challenge_count: u32,
    pub(super) statistics: TcpStatistics,
}

impl Connection {
    /// Memory for a connection. The only call that allocates.
    pub fn new(config: &TcpConfig) -> Connection {
        let none = SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0);
        Connection {
            config: *config,
            state: State::Closed,
            reason: CloseReason::Closed,
            local: none,
            remote: none,
            snd: SendSpace::default(),
            rcv: ReceiveSpace::default(),
            send: SendBuffer::new(config.send_buffer, config.segments_max.min(SEGMENTS_MAX)),
            receive: ReceiveBuffer::new(config.receive_buffer),
            owed: Owed { bytes: 0, now: false, at: NEVER, duplicate: None },
            timestamps: Timestamps::default(),
            sack: false,
            rtt: RoundTrip::new(config.rto_initial, config.rto_floor, config.rto_max, 0),
            rack: Rack::default(),
            congestion: Congestion::new(u32::from(config.mss), config.initial_window, config.back_off),
            recovery: Recovery::None,
            undo: None,
            duplicate_acks: 0,
            timeouts: 0,
            timers: Timers::OFF,
            wanted: Wanted::default(),
            probed: false,
            persists: 0,
            unanswered: 0,
            heard_ns: 0,
            sent_ns: 0,
            progress_ns: 0,
            challenge_since: 0,
            challenge_count: 0,
            statistics: TcpStatistics::default(),
        }
    }

    /// Opens a connection; whatever was before is forgotten. `beginning` must not be guessable, nor `local`'s
    /// port (RFC 6056). The SYN leaves with the next [`Connection::next_segment`]; what is written
    /// before the answer follows it.
    pub fn connect(&mut self, local: SocketAddrV4, remote: SocketAddrV4, beginning: impl Into<Beginning>, now_ns: u64) {
        let Beginning { sequence: isn, stamp_offset } = beginning.into();
        let config = self.config;
        (self.local, self.remote, self.state, self.reason) = (local, remote, State::SynSent, CloseReason::Closed);
        self.snd = SendSpace { una: isn, nxt: isn, mss: u32::from(MSS_DEFAULT), ..SendSpace::default() };
        self.rcv = ReceiveSpace { shift: shift_for(self.receive.capacity()), ..ReceiveSpace::default() };
        self.send.reset(isn);
        self.send.push_syn();
        self.receive.reset(0);
        self.owed = Owed { bytes: 0, now: false, at: NEVER, duplicate: None };
        self.timestamps = Timestamps { on: config.timestamps, offset: stamp_offset, ..Timestamps::default() };
        self.sack = config.sack;
        self.rtt = RoundTrip::new(config.rto_initial, config.rto_floor, config.rto_max, now_ns);
        self.rack = Rack { quarters: 1, fack: isn, ..Rack::default() };
        self.congestion = Congestion::new(u32::from(config.mss), config.initial_window, config.back_off);
        (self.recovery, self.undo, self.duplicate_acks, self.timeouts) = (Recovery::None, None, 0, 0);
        (self.timers, self.wanted, self.probed) = (Timers::OFF, Wanted::default(), false);
        (self.persists, self.unanswered) = (0, 0);
        (self.heard_ns, self.sent_ns, self.progress_ns) = (now_ns, now_ns, now_ns);
        (self.challenge_since, self.challenge_count) = (now_ns, 0);
        self.statistics = TcpStatistics::default();
    }

    /// The state of RFC 9293.
    #[inline]
    pub fn state(&self) -> State {
        self.state
    }

    /// What the layer above is told.
    pub fn socket_state(&self) -> SocketState {
        match self.state {
            State::SynSent | State::SynReceived => SocketState::Connecting,
            State::Established | State::FinWait1 | State::FinWait2 => SocketState::Open,
            State::CloseWait | State::LastAck | State::Closing => SocketState::PeerClosed,
            State::TimeWait | State::Closed => SocketState::Closed(self.reason),
        }
    }

    /// Why it is closed, if it is.
    pub fn close_reason(&self) -> Option<CloseReason> {
        (self.state == State::Closed).then_some(self.reason)
    }

    /// True if a segment with this sequence number is under way: an ICMP message that quotes another one was made up
    /// (RFC 5927 section 4.1).
    pub fn has_under_way(&self, sequence: u32) -> bool {
        !before(sequence, self.snd.una) && before(sequence, self.snd.nxt)
    }

    /// Counters since [`Connection::connect`].
    pub fn statistics(&self) -> TcpStatistics {
        TcpStatistics { bytes_copied_in: self.receive.copied(), ..self.statistics }
    }

    /// Smoothed round trip, if one was measured.
    pub fn round_trip_ns(&self) -> Option<u64> {
        self.rtt.smoothed
    }

    /// Largest payload of a segment sent.
    pub fn segment_max(&self) -> usize {
        self.snd.mss as usize
    }

    /// Bytes that congestion control lets be under way.
    pub fn congestion_window(&self) -> usize {
        self.congestion.window() as usize
    }

    /// Bytes written and not yet acknowledged.
    #[inline]
    pub fn unacknowledged(&self) -> usize {
        self.send.held()
    }

    /// Bytes that can be read.
    #[inline]
    pub fn readable(&self) -> usize {
        self.receive.readable()
    }

    /// Lends received bytes that lie together (empty if there are none; not always all). `take` returns how many
    /// it has used up, and its result.
    #[inline]
    pub fn read<R>(&mut self, take: impl FnOnce(&mut [u8]) -> (usize, R)) -> R {
        let lent = self.lend();
        let len = lent.len();
        let (used, result) = take(lent);
        self.use_up(used.min(len));
        result
    }

    /// The first half of [`Connection::read`]: what is lent. Say how much was used with [`Connection::use_up`].
    #[inline]
    pub fn lend(&mut self) -> &mut [u8] {
        self.receive.lend()
    }

    /// The second half of [`Connection::read`]: so many bytes of what [`Connection::lend`] lent are used up.
    pub fn use_up(&mut self, used: usize) {
        self.receive.consume(used);
        self.tell_of_room();
    }

    /// Gives back the unused end of what the last [`Connection::on_segment`] lent, before anything is read: it is
    /// copied, and can be read.
    pub fn put_back(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.receive.put_back(rest);
        }
    }

    /// Tells the peer of room in a window that was nearly closed.
    fn tell_of_room(&mut self) {
        let (free, announced) = (self.receive.free(), self.announced());
        let half = self.receive.capacity() / 2;
        let grown = free.saturating_sub(announced);
        let synchronized = !matches!(self.state, State::SynSent | State::Closed | State::TimeWait);
        if synchronized && (grown >= half || (announced < u32::from(self.config.mss) && grown >= u32::from(self.config.mss).min(half))) {
            self.owed.now = true;
        }
    }

    /// Lends room for `room` bytes that follow what was written before. `fill` returns how many at the front it
    /// wrote, and its result. `None`, without a call, if there is no room or nothing may be written any more.
    #[inline]
    pub fn write<R>(&mut self, now_ns: u64, room: usize, fill: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<R> {
        let lent = self.room(room)?;
        let (written, result) = fill(lent);
        self.note_written(now_ns, room, written);
        Some(result)
    }

    /// The first half of [`Connection::write`]: the room, if there is any. Say how much was written with
    /// [`Connection::note_written`].
    pub fn room(&mut self, room: usize) -> Option<&mut [u8]> {
        let open = matches!(self.state, State::SynSent | State::SynReceived | State::Established | State::CloseWait);
        if open { self.send.room(room) } else { None }
    }

    /// The second half of [`Connection::write`]: so many bytes at the front of the room for `room` bytes, which
    /// [`Connection::room`] has just lent, were written.
    pub fn note_written(&mut self, now_ns: u64, room: usize, written: usize) {
        if self.send.is_empty() {
            self.progress_ns = now_ns;
        }
        self.send.note_written(room, written, self.snd.mss);
    }

    /// True if `len` bytes that lie in a frame of the caller's may be written now, as one segment.
    #[inline]
    pub fn can_keep(&self, len: usize) -> bool {
        matches!(self.state, State::Established | State::CloseWait) && len <= self.snd.mss as usize && self.send.can_keep(len)
    }

    /// Writes `len` bytes that lie in a frame of the caller's, from `offset` on: [`Connection::can_keep`] has said that it
    /// may. The frame must be kept as it is until [`Connection::take_over`] gives it back.
    #[inline]
    pub fn write_kept(&mut self, now_ns: u64, frame: Kept, offset: u32, len: u32) {
        if self.send.is_empty() {
            self.progress_ns = now_ns;
        }
        self.send.push_kept(frame, offset, len);
    }

    /// A kept frame whose bytes have all been acknowledged, or will never be.
    #[inline]
    pub fn take_over(&mut self) -> Option<Kept> {
        self.send.take_over()
    }

    /// Begins a rehearsal: what follows, [`Connection::write_kept`] of `len` bytes and [`Connection::next_segment`] of them, is
    /// taken back by [`Connection::end_rehearsal`]. `None` if anything else is to be sent, or the message would have to
    /// wait.
    pub fn begin_rehearsal(&self, now_ns: u64, len: u32) -> Option<Rehearsal> {
        let under_way = self.snd.nxt.wrapping_sub(self.snd.una);
        let waits = self.send.count(super::send::Place::Queued) > 0 || self.snd.wnd < under_way.saturating_add(len);
        let other = self.may_send() || self.timers_due_ns() <= now_ns;
        if !self.can_keep(len as usize) || other || waits || len == 0 {
            return None;
        }
        Some(Rehearsal {
            snd: self.snd,
            rcv: self.rcv,
            owed: self.owed,
            timers: self.timers,
            wanted: self.wanted,
            congestion: self.congestion,
            rack: self.rack,
            undo: self.undo,
            persists: self.persists,
            sent_ns: self.sent_ns,
            progress_ns: self.progress_ns,
            statistics: self.statistics,
        })
    }

    /// Takes back what was rehearsed.
    pub fn end_rehearsal(&mut self, before: &Rehearsal) {
        self.send.unpush_kept();
        let Rehearsal { snd, rcv, owed, timers, wanted, congestion, rack, undo, persists, sent_ns, progress_ns, statistics } = *before;
        (self.snd, self.rcv, self.owed, self.timers, self.wanted, self.congestion) = (snd, rcv, owed, timers, wanted, congestion);
        (self.rack, self.undo, self.persists) = (rack, undo, persists);
        (self.sent_ns, self.progress_ns, self.statistics) = (sent_ns, progress_ns, statistics);
    }

    /// Sends FIN after what was written. The peer may go on sending.
    pub fn close(&mut self, now_ns: u64) {
        self.state = match self.state {
            State::SynSent => return self.end(CloseReason::Aborted),
            State::SynReceived | State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            _ => return,
        };
        if self.send.is_empty() {
            self.progress_ns = now_ns;
        }
        self.send.push_fin();
    }

    /// Sends RST and forgets what was written.
    pub fn abort(&mut self) {
        self.give_up(CloseReason::Aborted);
    }

    /// Ends with RST, if the peer knows of the connection and has not closed it in order.
    pub fn give_up(&mut self, reason: CloseReason) {
        let reset = !matches!(self.state, State::SynSent | State::TimeWait | State::Closed);
        if self.state != State::Closed {
            self.end(if self.state == State::TimeWait { CloseReason::Closed } else { reason });
        }
        self.wanted.reset |= reset;
    }

    /// Is closed from now on. What was received can still be read.
    pub(super) fn end(&mut self, reason: CloseReason) {
        (self.state, self.reason) = (State::Closed, reason);
        (self.timers, self.wanted) = (Timers::OFF, Wanted::default());
        (self.owed.now, self.owed.at) = (false, NEVER);
        self.send.reset(self.snd.nxt);
    }

    /// The path takes segments of at most `mss` bytes, options included (its MTU less 40): what is bigger and under way
    /// is sent again in pieces (RFC 1191 section 6.4).
    pub fn narrow(&mut self, mss: u16) {
        let mss = u32::from(mss.max(MSS_MIN) - if self.timestamps.on { TIMESTAMP_LEN } else { 0 });
        if mss >= self.snd.mss {
            return;
        }
        self.snd.mss = mss;
        self.congestion.narrow(mss);
        self.statistics.narrowed += 1;
        for index in 0..self.send.sent() {
            let record = *self.send.record(index);
            if record.len > mss && record.place() == super::send::Place::UnderWay {
                self.send.put(index, super::send::Place::Lost);
                self.wanted.lost = true;
            }
        }
    }

    /// RCV.NXT.
    #[inline]
    pub(super) fn expected(&self) -> u32 {
        self.receive.next().wrapping_add(u32::from(self.rcv.fin_received))
    }

    /// Room that the peer knows of.
    #[inline]
    pub(super) fn announced(&self) -> u32 {
        let next = self.receive.next();
        if before(next, self.rcv.edge) { self.rcv.edge.wrapping_sub(next) } else { 0 }
    }

    /// The timestamp of now: milliseconds (RFC 7323 section 5.4 allows 1 ms to 1 s; finer ones would look old to PAWS after
    /// half an hour of silence).
    #[inline]
    pub(super) fn stamp(&self, now_ns: u64) -> u32 {
        self.timestamps.offset.wrapping_add((now_ns / 1_000_000) as u32)
    }

    /// When [`Connection::next_segment`] should be called next, without a segment coming in: 0 for at once.
    pub fn next_due_ns(&self) -> u64 {
        if self.plan().is_some() {
            return 0;
        }
        self.timers_due_ns()
    }

    /// The same, once [`Connection::next_segment`] has said that there is nothing to send.
    #[inline]
    pub fn timers_due_ns(&self) -> u64 {
        self.wakes_ns().min(self.times_out_ns())
    }

    /// The same, [`Connection::times_out_ns`] aside.
    #[inline]
    pub fn wakes_ns(&self) -> u64 {
        self.timers.first().min(self.owed.at)
    }

    /// When the connection is given up if the peer acknowledges nothing (RFC 9293 section 3.8.3).
    #[inline]
    pub fn times_out_ns(&self) -> u64 {
        if self.waits() { self.progress_ns.saturating_add(self.config.user_timeout) } else { NEVER }
    }

    /// When TIME-WAIT ends, if the connection is in it (RFC 9293 section 3.6.1).
    pub fn time_wait_ends_ns(&self) -> Option<u64> {
        (self.state == State::TimeWait).then_some(self.timers.time_wait)
    }

    /// Segments sent again since [`Connection::connect`].
    #[inline]
    pub fn retransmissions(&self) -> u64 {
        self.statistics.retransmissions
    }

    /// True once nothing is left to be sent, said or waited for.
    pub fn is_over(&self) -> bool {
        self.state == State::Closed && self.plan().is_none()
    }

    /// The peer owes us an acknowledgement.
    pub(super) fn waits(&self) -> bool {
        !self.send.is_empty() && self.state != State::Closed
    }
}

/// The smallest shift with which a window of `capacity` fits its field.
fn shift_for(capacity: u32) -> u8 {
    (0..SHIFT_MAX).find(|shift| capacity >> shift <= u32::from(u16::MAX)).unwrap_or(SHIFT_MAX)
}
