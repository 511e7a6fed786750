//! A received segment: is it to be believed (RFC 9293 section 3.10.7, RFC 5961, RFC 7323), and what it carries.

use std::ops::Range;

use smoltcp::wire::{TcpControl, TcpRepr};

use super::congestion::Congestion;
use super::connection::{Connection, MSS_DEFAULT, MSS_MIN, NEVER, Recovery, SHIFT_MAX, State, TIMESTAMP_LEN};
use super::receive::Placed;
use super::send::Place;
use super::sequence::{at_or_before, before, later};
use crate::transport::CloseReason;

/// Challenges in so long a time (RFC 5961 section 7).
const CHALLENGES_MAX: u32 = 10;
const CHALLENGE_WINDOW_NS: u64 = 5_000_000_000;
/// A timestamp older than this says nothing (RFC 7323 section 5.5).
const TIMESTAMP_LIFE_NS: u64 = 24 * 86_400_000_000_000;

/// What was made of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counted.
    Taken,
    /// It did not: foreign, outside the window, old, or forged.
    Dropped,
}

/// What a segment brought. See [`Connection::on_segment`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the fresh bytes count as used up; give back what was not used"]
pub struct Taken {
    /// The part of the segment's payload that is next in order, to be used where it lies. It counts as used, but for
    /// what is given to [`Connection::put_back`]. What became readable behind it is read with [`Connection::read`].
    pub fresh: Range<usize>,
    /// What was made of the segment.
    pub verdict: Verdict,
}

const DROPPED: Taken = Taken { fresh: 0..0, verdict: Verdict::Dropped };
const TAKEN: Taken = Taken { fresh: 0..0, verdict: Verdict::Taken };

fn sequence_of(segment: &TcpRepr<'_>) -> u32 {
    segment.seq_number.0 as u32
}

impl Connection {
    /// Takes a segment whose checksum was verified and whose addresses are this connection's.
    #[inline]
    pub fn on_segment(&mut self, now_ns: u64, segment: &TcpRepr<'_>) -> Taken {
        self.statistics.segments_in += 1;
        if segment.src_port != self.remote.port() || segment.dst_port != self.local.port() {
            return DROPPED;
        }
        let taken = if self.predicts(segment) { self.on_predicted(now_ns, segment) } else { self.on_unpredicted(now_ns, segment) };
        self.arm_persist(now_ns);
        taken
    }

    #[inline(never)]
    fn on_unpredicted(&mut self, now_ns: u64, segment: &TcpRepr<'_>) -> Taken {
        match self.state {
            State::Closed => DROPPED,
            State::SynSent => self.on_answer(now_ns, segment),
            _ => self.on_synchronized(now_ns, segment),
        }
    }

    /// Header prediction: the segment is the next one of an open connection, with nothing unusual in it.
    #[inline(always)]
    fn predicts(&self, segment: &TcpRepr<'_>) -> bool {
        let stamped = match segment.timestamp {
            Some(stamp) => self.timestamps.on && !before(stamp.tsval, self.timestamps.recent),
            None => !self.timestamps.on,
        };
        let Some(ack) = segment.ack_number else { return false };
        let ack = ack.0 as u32;
        self.state == State::Established
            && matches!(segment.control, TcpControl::None | TcpControl::Psh)
            && stamped
            && sequence_of(segment) == self.receive.next()
            && !self.receive.has_hole()
            && segment.payload.len() as u32 <= self.receive.free()
            && segment.sack_ranges[0].is_none()
            && at_or_before(self.snd.una, ack)
            && at_or_before(ack, self.snd.nxt)
            && (!segment.payload.is_empty() || ack != self.snd.una)
            && self.recovery == Recovery::None
            && self.rcv.fin_at.is_none()
    }

    #[inline(always)]
    fn on_predicted(&mut self, now_ns: u64, segment: &TcpRepr<'_>) -> Taken {
        self.statistics.predicted += 1;
        self.hear(now_ns);
        self.note_stamp(segment, now_ns);
        if !segment.ack_number.is_some_and(|ack| self.on_no_news(segment, ack.0 as u32)) {
            self.on_acknowledgement(now_ns, segment);
        }
        let len = segment.payload.len();
        if !self.receive.lend_next(len as u32) {
            return if len == 0 { TAKEN } else { self.on_payload(now_ns, segment) };
        }
        self.statistics.bytes_in += len as u64;
        self.owe(now_ns, len as u32);
        Taken { fresh: 0..len, verdict: Verdict::Taken }
    }

    /// Bytes came in order that are to be acknowledged: every second full segment at once, the rest a little later
    /// (RFC 9293 section 3.8.6.3).
    #[inline]
    fn owe(&mut self, now_ns: u64, bytes: u32) {
        self.owed.bytes += bytes;
        if self.owed.bytes >= 2 * self.snd.mss {
            self.owed.now = true;
        } else if self.owed.at == NEVER {
            self.owed.at = now_ns.saturating_add(self.config.ack_delay);
        }
    }

    fn hear(&mut self, now_ns: u64) {
        self.heard_ns = now_ns;
        self.unanswered = 0;
        self.wanted.keep_alive = false;
        self.timers.keep_alive = match self.config.keep_alive {
            Some(after) => now_ns.saturating_add(after),
            None => NEVER,
        };
    }

    /// SYN-SENT (RFC 9293 section 3.10.7.3).
    fn on_answer(&mut self, now_ns: u64, segment: &TcpRepr<'_>) -> Taken {
        let acknowledges = match segment.ack_number.map(|ack| ack.0 as u32) {
            Some(ack) if before(self.snd.una, ack) && at_or_before(ack, self.snd.nxt) => true,
            Some(ack) => {
                if segment.control != TcpControl::Rst {
                    self.wanted.reset_reply = Some(ack);
                }
                return DROPPED;
            }
            None => false,
        };
        match segment.control {
            TcpControl::Rst if acknowledges => {
                self.end(CloseReason::Refused);
                return TAKEN;
            }
            TcpControl::Syn => {}
            _ => return DROPPED,
        }
        self.hear(now_ns);
        self.agree(segment, now_ns);
        if acknowledges {
            self.state = State::Established;
            self.owed.now = true;
            self.on_acknowledgement(now_ns, segment);
            // A window in a SYN is never scaled (RFC 7323 section 2.2).
            (self.snd.wnd, self.snd.wnd_max) = (u32::from(segment.window_len), u32::from(segment.window_len));
        } else {
            // Both open at once: our SYN goes again, with an acknowledgement.
            self.state = State::SynReceived;
            self.snd.wnd = u32::from(segment.window_len);
            if self.send.front().is_some_and(|record| record.place() == Place::UnderWay) {
                self.send.put(0, Place::Lost);
            }
            self.wanted.lost = true;
        }
        TAKEN
    }

    /// What the peer's SYN offers.
    fn agree(&mut self, segment: &TcpRepr<'_>, now_ns: u64) {
        self.rcv.initial = sequence_of(segment);
        let next = self.rcv.initial.wrapping_add(1);
        self.receive.reset(next);
        self.rcv.acknowledged = next;
        // The window of our SYN: not scaled.
        self.rcv.edge = next.wrapping_add(self.receive.free().min(u32::from(u16::MAX)));
        match segment.window_scale {
            Some(shift) => self.snd.shift = shift.min(SHIFT_MAX),
            None => (self.snd.shift, self.rcv.shift) = (0, 0),
        }
        self.sack &= segment.sack_permitted;
        self.timestamps.on &= segment.timestamp.is_some();
        if let Some(stamp) = segment.timestamp {
            (self.timestamps.recent, self.timestamps.recent_ns) = (stamp.tsval, now_ns);
        }
        let mss = segment.max_seg_size.unwrap_or(MSS_DEFAULT).max(MSS_MIN).min(self.config.mss.max(MSS_MIN));
        self.snd.mss = u32::from(mss - if self.timestamps.on { TIMESTAMP_LEN } else { 0 });
        (self.snd.wl1, self.snd.wl2) = (self.rcv.initial, self.snd.una);
        (self.undo, self.recovery) = (None, Recovery::None);
        self.congestion = Congestion::new(self.snd.mss, self.config.initial_window, self.config.back_off);
        if self.has_lost_syn(segment) {
            self.rtt.lose_syn();
            self.congestion.on_lost_syn(self.snd.mss);
        }
    }

    /// Our SYN had to be sent again, and not for nothing, as the peer's echo of an earlier copy's timestamp would tell (RFC 3522
    /// section 3.2).
    fn has_lost_syn(&self, answer: &TcpRepr<'_>) -> bool {
        let echo = self.echo_of(answer);
        self.send.front().is_some_and(|syn| syn.again && echo.is_none_or(|echo| !before(echo, syn.stamp)))
    }

    /// The timestamp of ours that the segment echoes. Zero is what stands there if nothing is echoed (RFC 7323 section 3.2), and what
    /// some put there always: it says nothing. Ours is zero for a millisecond in 49 days, which nobody will miss.
    #[inline]
    pub(super) fn echo_of(&self, segment: &TcpRepr<'_>) -> Option<u32> {
        let stamp = segment.timestamp.filter(|_| self.timestamps.on && segment.ack_number.is_some())?;
        (stamp.tsecr != 0).then_some(stamp.tsecr)
    }

    /// All other states (RFC 9293 section 3.10.7.4).
    fn on_synchronized(&mut self, now_ns: u64, segment: &TcpRepr<'_>) -> Taken {
        let sequence = sequence_of(segment);
        let ack = segment.ack_number.map(|ack| ack.0 as u32);
        if segment.control == TcpControl::Syn {
            let own = self.state == State::SynReceived && sequence == self.rcv.initial;
            if own && ack == Some(self.snd.nxt) {
                self.hear(now_ns);
                self.open(now_ns, segment);
                return TAKEN;
            }
            if own {
                self.owed.now = true;
            } else {
                // RFC 5961 section 4.2.
                self.challenge(now_ns);
            }
            return DROPPED;
        }
        if segment.control == TcpControl::Rst {
            return self.on_reset(now_ns, sequence);
        }
        if !self.is_fresh(now_ns, segment) || !self.is_acceptable(now_ns, segment) {
            return DROPPED;
        }
        let Some(ack) = ack else { return DROPPED };
        // RFC 5961 section 5.2; a reset while SYN-RECEIVED (RFC 9293 section 3.10.7.4, fifth).
        let probe_end = self.snd.nxt.wrapping_add(u32::from(self.probed));
        let oldest = self.snd.una.wrapping_sub(self.snd.wnd_max);
        if before(ack, oldest) || before(probe_end, ack) {
            if self.state == State::SynReceived {
                self.wanted.reset_reply = Some(ack);
            } else {
                self.challenge(now_ns);
            }
            return DROPPED;
        }
        self.hear(now_ns);
        self.note_stamp(segment, now_ns);
        if self.state == State::SynReceived {
            if !before(self.snd.una, ack) {
                return DROPPED;
            }
            self.open(now_ns, segment);
        } else {
            self.on_acknowledgement(now_ns, segment);
        }
        if self.state == State::Closed {
            return TAKEN;
        }
        let receives = matches!(self.state, State::Established | State::FinWait1 | State::FinWait2) && !self.rcv.fin_received;
        if segment.control == TcpControl::Fin && receives && self.rcv.fin_at.is_none() {
            self.rcv.fin_at = Some(sequence.wrapping_add(segment.payload.len() as u32));
        }
        let taken = if segment.payload.is_empty() || !receives { TAKEN } else { self.on_payload(now_ns, segment) };
        if segment.control == TcpControl::Fin {
            self.owed.now = true;
        }
        if receives && self.rcv.fin_at == Some(self.receive.next()) {
            self.on_fin(now_ns);
        }
        taken
    }

    /// SYN-RECEIVED becomes ESTABLISHED.
    fn open(&mut self, now_ns: u64, segment: &TcpRepr<'_>) {
        if self.state == State::SynReceived {
            self.state = State::Established;
        }
        self.owed.now = true;
        self.on_acknowledgement(now_ns, segment);
        let shift = if segment.control == TcpControl::Syn { 0 } else { self.snd.shift };
        self.snd.wnd = u32::from(segment.window_len) << shift;
        self.snd.wnd_max = self.snd.wnd_max.max(self.snd.wnd);
    }

    /// RFC 5961 section 3.2: only the exact next sequence number resets.
    fn on_reset(&mut self, now_ns: u64, sequence: u32) -> Taken {
        let expected = self.expected();
        if sequence == expected {
            self.end(match self.state {
                State::SynReceived => CloseReason::Refused,
                State::TimeWait | State::LastAck | State::Closing if self.rcv.fin_received => CloseReason::Closed,
                _ => CloseReason::Reset,
            });
            return TAKEN;
        }
        if before(expected, sequence) && before(sequence, expected.wrapping_add(self.announced())) {
            self.challenge(now_ns);
        }
        DROPPED
    }

    /// PAWS (RFC 7323 section 5.3), and no segment without a timestamp once they were agreed on (section 3.2).
    fn is_fresh(&mut self, now_ns: u64, segment: &TcpRepr<'_>) -> bool {
        if !self.timestamps.on {
            return true;
        }
        let Some(stamp) = segment.timestamp else {
            self.statistics.paws_drops += 1;
            return false;
        };
        let living = now_ns.saturating_sub(self.timestamps.recent_ns) < TIMESTAMP_LIFE_NS;
        if living && before(stamp.tsval, self.timestamps.recent) {
            self.statistics.paws_drops += 1;
            self.acknowledge_stray(now_ns, segment);
            return false;
        }
        true
    }

    /// RFC 9293 section 3.10.7.4, first check. An empty segment at the window's right edge is what a peer sends that has
    /// filled the window.
    fn is_acceptable(&mut self, now_ns: u64, segment: &TcpRepr<'_>) -> bool {
        let (sequence, expected) = (sequence_of(segment), self.expected());
        let end = sequence.wrapping_add(segment.segment_len() as u32);
        let edge = later(self.rcv.edge, expected);
        let begins = at_or_before(expected, sequence) && at_or_before(sequence, edge);
        let ends = before(expected, end) && at_or_before(end, edge);
        let spans = before(sequence, expected) && before(edge, end);
        if begins || ends || spans {
            return true;
        }
        if before(sequence, expected) && segment.segment_len() > 0 {
            self.statistics.duplicates += 1;
            self.report_duplicate(sequence, end);
            if self.state == State::TimeWait && segment.control == TcpControl::Fin {
                self.timers.time_wait = now_ns.saturating_add(self.config.time_wait);
            }
        } else {
            self.statistics.out_of_window += 1;
        }
        self.acknowledge_stray(now_ns, segment);
        false
    }

    fn report_duplicate(&mut self, start: u32, end: u32) {
        if self.sack && before(start, end) && end.wrapping_sub(start) <= 1 << 16 {
            self.owed.duplicate = Some((start, end));
        }
    }

    /// Answers a segment that does not count. Empty ones are answered at a limited rate, so that two sides who disagree
    /// do not answer each other for ever.
    fn acknowledge_stray(&mut self, now_ns: u64, segment: &TcpRepr<'_>) {
        if segment.segment_len() > 0 {
            self.owed.now = true;
        } else {
            self.challenge(now_ns);
        }
    }

    /// A challenge (RFC 5961): an acknowledgement of where we are.
    fn challenge(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.challenge_since) >= CHALLENGE_WINDOW_NS {
            (self.challenge_since, self.challenge_count) = (now_ns, 0);
        }
        if self.challenge_count < CHALLENGES_MAX {
            self.challenge_count += 1;
            self.statistics.challenges += 1;
            self.owed.now = true;
        } else {
            self.statistics.challenges_withheld += 1;
        }
    }

    /// TS.Recent (RFC 7323 section 4.3).
    #[inline]
    fn note_stamp(&mut self, segment: &TcpRepr<'_>, now_ns: u64) {
        let Some(stamp) = segment.timestamp else { return };
        if self.timestamps.on && at_or_before(sequence_of(segment), self.rcv.acknowledged) {
            let living = now_ns.saturating_sub(self.timestamps.recent_ns) < TIMESTAMP_LIFE_NS;
            if !living || !before(stamp.tsval, self.timestamps.recent) {
                (self.timestamps.recent, self.timestamps.recent_ns) = (stamp.tsval, now_ns);
            }
        }
    }

    #[inline(never)]
    fn on_payload(&mut self, now_ns: u64, segment: &TcpRepr<'_>) -> Taken {
        let (sequence, before_next) = (sequence_of(segment), self.receive.next());
        let had_hole = self.receive.has_hole();
        let placed = self.receive.place(sequence, segment.payload);
        let advanced = self.receive.next().wrapping_sub(before_next);
        self.statistics.bytes_in += u64::from(advanced);
        match placed {
            Placed::Lent(_) | Placed::Stored => {
                if had_hole {
                    // At once (RFC 5681 section 4.2).
                    self.owed.bytes += advanced;
                    self.owed.now = true;
                } else {
                    self.owe(now_ns, advanced);
                }
            }
            Placed::Ahead => {
                self.statistics.out_of_order += 1;
                self.owed.now = true;
            }
            Placed::Duplicate => {
                self.statistics.duplicates += 1;
                self.report_duplicate(sequence, sequence.wrapping_add(segment.payload.len() as u32));
                self.owed.now = true;
            }
            Placed::Refused => {
                self.statistics.out_of_window += 1;
                self.owed.now = true;
            }
        }
        match placed {
            Placed::Lent(fresh) => Taken { fresh, verdict: Verdict::Taken },
            Placed::Stored | Placed::Ahead => TAKEN,
            Placed::Duplicate | Placed::Refused => DROPPED,
        }
    }

    /// The peer's FIN is next in order (RFC 9293 section 3.10.7.4, eighth).
    fn on_fin(&mut self, now_ns: u64) {
        self.rcv.fin_received = true;
        self.owed.now = true;
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.wait_out(now_ns),
            _ => {}
        }
    }

    /// TIME-WAIT begins.
    pub(super) fn wait_out(&mut self, now_ns: u64) {
        self.state = State::TimeWait;
        self.timers =
            super::connection::Timers { time_wait: now_ns.saturating_add(self.config.time_wait), ..super::connection::Timers::OFF };
    }
}
