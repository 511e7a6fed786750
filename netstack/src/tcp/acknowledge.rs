//! Acknowledgements: what was delivered (RFC 9293, RFC 2018), how long it took (RFC 6298), what must be lost
//! (RACK, RFC 8985; without SACK, RFC 5681 and RFC 6582), and what that says of the path.

use smoltcp::wire::{TcpControl, TcpRepr};

use super::connection::{Connection, NEVER, Recovery, State};
use super::send::{Place, Record};
use super::sequence::{at_or_before, before, later};
use crate::transport::CloseReason;

/// DupThresh (RFC 5681 section 3.2, RFC 8985 section 6.2).
const DUPLICATES: u32 = 3;
/// Widest reordering window, in quarters of the least round trip.
const QUARTERS_MAX: u32 = 64;
/// Recoveries that a widened reordering window outlives (RFC 8985 section 6.2).
const PERSIST: u32 = 16;

/// What one acknowledgement delivered.
#[derive(Clone, Copy, Debug, Default)]
struct Delivery {
    /// A segment was, also one without payload.
    any: bool,
    /// Round trip of the segment sent last: none of its time was spent waiting for an acknowledgement to leave.
    newest: Option<u64>,
    /// Round trip of the segment sent first.
    oldest: Option<u64>,
    sacked: bool,
    fin: bool,
    /// A segment arrived that was taken for lost and not yet sent again, or as it was before it was sent again.
    original: bool,
    /// Without SACK, a segment is among it that was sent again: what follows it may have waited at the peer for that.
    again: bool,
}

impl Connection {
    /// Takes the acknowledgement of a segment with data, whose header was predicted, if it can say nothing new but of the window,
    /// as most do: nothing is under way, nor did anything go into a closed window. Else false, and nothing is done.
    #[inline]
    pub(super) fn on_no_news(&mut self, segment: &TcpRepr<'_>, ack: u32) -> bool {
        let open = self.snd.wnd > 0 && segment.window_len > 0 && self.persists == 0 && !self.probed;
        if ack != self.snd.una || self.send.sent() > 0 || !open || self.rack.probe_end.is_some() || segment.payload.is_empty() {
            return false;
        }
        debug_assert!(
            [self.timers.retransmit, self.timers.probe, self.timers.reorder] == [NEVER; 3] && !self.wanted.lost && !self.wanted.tail_probe,
            "what waits for an acknowledgement waits for something"
        );
        self.take_window(segment, ack);
        true
    }

    /// The acknowledgement of a segment whose acknowledgement number was found acceptable.
    #[inline(never)]
    pub(super) fn on_acknowledgement(&mut self, now_ns: u64, segment: &TcpRepr<'_>) {
        let Some(ack) = segment.ack_number.map(|ack| ack.0 as u32) else { return };
        let una = self.snd.una;
        if before(ack, una) {
            // Old, but its data counts (RFC 9293 section 3.10.7.4).
            return;
        }
        let window_before = self.snd.wnd;
        self.take_window(segment, ack);
        let flight = self.snd.nxt.wrapping_sub(una);
        let limited = self.pipe() + self.snd.mss >= self.congestion.window();
        let mut delivery = Delivery::default();
        if self.probed && ack == self.snd.nxt.wrapping_add(1) && self.send.sent() == 0 {
            self.send.trim_front(1);
            self.snd.nxt = ack;
            self.snd.una = ack;
        }
        if before(self.snd.nxt, ack) {
            return;
        }
        self.probed &= window_before == 0 && self.snd.wnd == 0;
        let echo = self.echo_of(segment);
        while let Some(record) = self.send.pop(ack) {
            if record.place() != Place::Sacked {
                self.deliver(now_ns, &record, echo, &mut delivery);
            }
            delivery.fin |= record.fin;
        }
        self.snd.una = later(self.snd.una, ack);
        let advanced = self.snd.una != una;
        let duplicate = self.take_blocks(now_ns, segment, ack, echo, &mut delivery);
        self.measure(now_ns, &delivery, echo);
        if advanced {
            self.progress_ns = now_ns;
            self.timeouts = 0;
            self.rtt.end_back_off();
        } else if self.snd.wnd == 0 || self.persists > 0 {
            // The peer lives; it just has no room (RFC 9293 section 3.8.6.1).
            self.progress_ns = now_ns;
        }
        let bare = segment.payload.is_empty() && matches!(segment.control, TcpControl::None | TcpControl::Psh);
        let plain = !advanced && bare && self.snd.wnd == window_before;
        let repeated = plain && self.send.sent() > 0;
        if advanced {
            self.duplicate_acks = 0;
        } else if repeated {
            self.duplicate_acks += 1;
        }
        if delivery.original && matches!(self.recovery, Recovery::Timeout { .. }) {
            self.on_groundless_timeout();
        }
        self.end_probe(ack, duplicate, plain && segment.sack_ranges[0].is_none(), flight);
        self.end_recovery(advanced);
        if self.sack {
            self.find_losses(now_ns);
        } else {
            self.find_losses_by_count(advanced);
        }
        // What is only reported beyond a hole does not widen the window (RFC 3042 section 2).
        if advanced && limited && !matches!(self.recovery, Recovery::Fast { .. }) {
            self.congestion.on_ack(self.snd.una.wrapping_sub(una), self.rtt.smoothed.unwrap_or(0), now_ns);
        }
        self.wanted.lost &= self.send.count(Place::Lost) > 0;
        if self.send.sent() == 0 {
            self.wanted.tail_probe = false;
            (self.timers.retransmit, self.timers.probe, self.timers.reorder) = (NEVER, NEVER, NEVER);
        } else if advanced {
            self.timers.retransmit = now_ns.saturating_add(self.rtt.timeout());
            self.arm_probe(now_ns);
        } else if self.send.count(Place::Sacked) > 0 {
            self.timers.probe = NEVER;
        }
        if delivery.fin {
            self.on_own_fin_acknowledged(now_ns);
        }
    }

    #[inline]
    pub(super) fn take_window(&mut self, segment: &TcpRepr<'_>, ack: u32) {
        let sequence = segment.seq_number.0 as u32;
        let newer = before(self.snd.wl1, sequence) || (self.snd.wl1 == sequence && at_or_before(self.snd.wl2, ack));
        if newer && segment.control != TcpControl::Syn {
            self.snd.wnd = u32::from(segment.window_len) << self.snd.shift;
            self.snd.wnd_max = self.snd.wnd_max.max(self.snd.wnd);
            (self.snd.wl1, self.snd.wl2) = (sequence, ack);
        }
    }

    /// Bytes thought to be under way (RFC 6675 section 4).
    pub(super) fn pipe(&self) -> u32 {
        let under_way = self.send.bytes_in(Place::UnderWay);
        if self.sack { under_way } else { under_way.saturating_sub(self.duplicate_acks.saturating_mul(self.snd.mss)) }
    }

    /// A segment was delivered (RFC 8985 section 6.2, steps 1 to 3).
    fn deliver(&mut self, now_ns: u64, record: &Record, echo: Option<u32>, delivery: &mut Delivery) {
        delivery.any = true;
        // Without SACK, what the peer held beyond a hole looks the same once the hole is filled.
        delivery.original |= self.sack && record.place() == Place::Lost && !record.again;
        delivery.again |= record.again && !self.sack;
        let (round_trip, end) = (now_ns.saturating_sub(record.sent_ns), record.end());
        if record.again {
            // Which of its copies arrived? Not this one, if the peer echoes an earlier timestamp or it were faster than light.
            let first_copy = echo.is_some_and(|echo| before(echo, record.stamp));
            delivery.original |= first_copy && record.place() == Place::UnderWay;
            if first_copy || round_trip < self.rtt.min() {
                return;
            }
        } else {
            // RFC 6298 section 3 (Karn): only what was sent once is measured.
            delivery.newest = Some(delivery.newest.map_or(round_trip, |newest| newest.min(round_trip)));
            delivery.oldest = Some(delivery.oldest.map_or(round_trip, |oldest| oldest.max(round_trip)));
            if before(end, self.rack.fack) {
                self.rack.reordered = true;
            }
        }
        self.rack.fack = later(self.rack.fack, end);
        if self.rack.sent_ns == 0
            || record.sent_ns > self.rack.sent_ns
            || (record.sent_ns == self.rack.sent_ns && before(self.rack.end, end))
        {
            (self.rack.sent_ns, self.rack.end) = (record.sent_ns, end);
        }
        self.rack.rtt = round_trip;
    }

    /// Selective acknowledgement (RFC 2018 section 5). Returns the block that reports a superfluous copy, if the first is one
    /// (RFC 2883 section 4).
    fn take_blocks(
        &mut self,
        now_ns: u64,
        segment: &TcpRepr<'_>,
        ack: u32,
        echo: Option<u32>,
        delivery: &mut Delivery,
    ) -> Option<(u32, u32)> {
        if !self.sack {
            return None;
        }
        let mut duplicate = None;
        for (at, &(start, end)) in segment.sack_ranges.iter().flatten().enumerate() {
            let inside = segment
                .sack_ranges
                .get(1)
                .copied()
                .flatten()
                .is_some_and(|(outer_start, outer_end)| at_or_before(outer_start, start) && at_or_before(end, outer_end));
            if at == 0 && before(start, end) && (at_or_before(end, ack) || inside) {
                duplicate = Some((start, end));
                self.on_superfluous(start, end);
                continue;
            }
            if !before(start, end) || before(start, ack) || before(self.snd.nxt, end) {
                continue;
            }
            for index in 0..self.send.sent() {
                let record = *self.send.record(index);
                if !before(record.sequence, end) {
                    break;
                }
                if at_or_before(start, record.sequence) && at_or_before(record.end(), end) && record.place() != Place::Sacked {
                    self.send.put(index, Place::Sacked);
                    delivery.sacked = true;
                    self.deliver(now_ns, &record, echo, delivery);
                }
            }
        }
        duplicate
    }

    /// The peer had a segment already that we sent again: the reordering window was too narrow (RFC 8985 section 6.2,
    /// step 4); if all that we sent again was superfluous, nothing was lost.
    fn on_superfluous(&mut self, start: u32, end: u32) {
        if end.wrapping_sub(start) > self.snd.wnd_max.max(1 << 16) {
            return;
        }
        self.statistics.spurious += 1;
        if self.rack.duplicate_round.is_none_or(|round| at_or_before(round, self.snd.una)) {
            self.rack.duplicate_round = Some(self.snd.nxt);
            if !matches!(self.recovery, Recovery::None) || self.undo.is_some() {
                self.rack.quarters = (self.rack.quarters + 1).min(QUARTERS_MAX);
                self.rack.persist = PERSIST;
                // What was not lost was late.
                self.rack.reordered = true;
            }
        }
        if let Some(((window, threshold), copies)) = &mut self.undo {
            *copies = copies.saturating_sub(1);
            if *copies == 0 {
                self.congestion.restore(*window, *threshold);
                self.undo = None;
            }
        }
    }

    /// What a time-out took for lost was only late: it is under way again, and the window is what it was (F-RTO, RFC 5682
    /// section 3; Eifel, RFC 3522 section 3.2 and RFC 4015 section 3.2).
    fn on_groundless_timeout(&mut self) {
        // More copies than the time-out's own: a loss had been found before it, which stands.
        let before = self.undo.take().filter(|(_, copies)| *copies <= 1);
        match before {
            Some(((window, threshold), _)) => self.congestion.restore(window, threshold),
            None => self.congestion.resume(),
        }
        for index in 0..self.send.sent() {
            let record = self.send.record(index);
            if record.place() == Place::Lost && (before.is_some() || !record.again) {
                self.send.put(index, Place::UnderWay);
            }
        }
        self.recovery = Recovery::None;
        self.duplicate_acks = 0;
        // The path is longer than it was.
        self.rtt.forget_least();
    }

    fn measure(&mut self, now_ns: u64, delivery: &Delivery, echo: Option<u32>) {
        // RFC 6298 section 3: an acknowledgement that a copy brought about says nothing of those that were sent once.
        let (newest, oldest) = if delivery.again { (None, None) } else { (delivery.newest, delivery.oldest) };
        if let Some(newest) = newest {
            self.rtt.least(newest, now_ns);
        }
        if let Some(oldest) = oldest {
            self.rtt.sample(oldest);
        } else if delivery.any
            && let Some(echo) = echo
        {
            // Only copies were delivered: the timestamp says which (RFC 7323 section 4.1), to a millisecond.
            let ticks = self.stamp(now_ns).wrapping_sub(echo);
            if self.rtt.smoothed.is_none() && ticks < 60_000 {
                self.rtt.sample(u64::from(ticks.max(1)) * 1_000_000);
            }
        }
    }

    /// Ends the episode of a tail loss probe (RFC 8985 section 7.4.2).
    fn end_probe(&mut self, ack: u32, duplicate: Option<(u32, u32)>, plain_repeat: bool, flight: u32) {
        let Some(end) = self.rack.probe_end else { return };
        if before(ack, end) {
            return;
        }
        let original_arrived = duplicate.is_some_and(|(_, duplicate_end)| duplicate_end == end) || plain_repeat;
        if !self.rack.probe_again || original_arrived {
            self.rack.probe_end = None;
        } else if before(end, ack) {
            // The probe repaired a loss, which counts as one.
            self.rack.probe_end = None;
            if self.recovery == Recovery::None {
                self.lose(flight);
            }
        }
    }

    fn end_recovery(&mut self, advanced: bool) {
        let (Recovery::Fast { point } | Recovery::Timeout { point }) = self.recovery else { return };
        if advanced && at_or_before(point, self.snd.una) {
            self.recovery = Recovery::None;
            self.duplicate_acks = 0;
            self.rack.persist = self.rack.persist.saturating_sub(1);
            if self.rack.persist == 0 {
                self.rack.quarters = 1;
            }
        }
    }

    /// How much later than a delivered segment an earlier one may come (RFC 8985 section 6.2, step 4).
    fn reordering_window(&self) -> u64 {
        let floor = self.config.reordering_floor;
        let sure = self.recovery != Recovery::None || self.send.count(Place::Sacked) >= DUPLICATES;
        if !self.rack.reordered && sure {
            return floor;
        }
        let window = u64::from(self.rack.quarters) * self.rtt.min() / 4;
        window.min(self.rtt.smoothed.unwrap_or(window)).max(floor)
    }

    /// Takes those segments for lost that were sent long enough before one that was delivered (RFC 8985 section 6.2, step 5).
    pub(super) fn find_losses(&mut self, now_ns: u64) {
        self.timers.reorder = NEVER;
        if self.rack.sent_ns == 0 || self.send.count(Place::UnderWay) == 0 {
            return;
        }
        let patience = self.rack.rtt.saturating_add(self.reordering_window());
        let (mut lost, mut again_at) = (false, 0);
        for index in 0..self.send.sent() {
            let record = *self.send.record(index);
            let earlier =
                record.sent_ns < self.rack.sent_ns || (record.sent_ns == self.rack.sent_ns && before(record.end(), self.rack.end));
            if record.place() != Place::UnderWay || !earlier {
                continue;
            }
            let deadline = record.sent_ns.saturating_add(patience);
            if deadline <= now_ns {
                self.send.put(index, Place::Lost);
                lost = true;
            } else {
                again_at = again_at.max(deadline);
            }
        }
        if again_at > 0 {
            self.timers.reorder = again_at;
        }
        if lost {
            self.enter_recovery();
        }
    }

    /// The same for a peer without SACK: the third repeated acknowledgement, and then each partial one
    /// (RFC 5681 section 3.2, RFC 6582 section 3.2).
    fn find_losses_by_count(&mut self, advanced: bool) {
        let front_lost = match self.recovery {
            Recovery::None => self.duplicate_acks == DUPLICATES,
            Recovery::Fast { .. } => advanced && self.send.front().is_some_and(|record| !record.again),
            Recovery::Timeout { .. } => false,
        };
        if front_lost && self.send.front().is_some_and(|record| record.place() == Place::UnderWay) {
            self.send.put(0, Place::Lost);
            self.enter_recovery();
            self.wanted.lost = true;
        }
    }

    fn lose(&mut self, flight: u32) {
        self.congestion.on_loss(flight, self.rtt.smoothed.unwrap_or(0), self.rtt.min());
    }

    fn enter_recovery(&mut self) {
        if self.recovery != Recovery::None {
            return;
        }
        self.undo = Some((self.congestion.state(), 0));
        self.lose(self.snd.nxt.wrapping_sub(self.snd.una));
        self.recovery = Recovery::Fast { point: self.snd.nxt };
        self.statistics.fast_recoveries += 1;
        self.wanted.lost = true;
        self.timers.probe = NEVER;
    }

    fn on_own_fin_acknowledged(&mut self, now_ns: u64) {
        match self.state {
            State::FinWait1 => self.state = State::FinWait2,
            State::Closing => self.wait_out(now_ns),
            State::LastAck => self.end(CloseReason::Closed),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::TcpConfig;
    use super::super::output::Plain;
    use super::*;
    use proptest::prelude::*;
    use smoltcp::wire::{TcpSeqNumber, TcpTimestampRepr};
    use std::net::{Ipv4Addr, SocketAddrV4};

    const PEER_ISN: u32 = 7000;

    fn segment(connection: &Connection, control: TcpControl, ack: u32, window_len: u16, payload: &[u8]) -> TcpRepr<'static> {
        let syn = control == TcpControl::Syn;
        TcpRepr {
            src_port: 443,
            dst_port: 30_000,
            control,
            seq_number: TcpSeqNumber(if syn { PEER_ISN } else { connection.receive.next() } as i32),
            ack_number: Some(TcpSeqNumber(ack as i32)),
            window_len,
            window_scale: syn.then_some(0),
            max_seg_size: syn.then_some(1460),
            sack_permitted: syn,
            sack_ranges: [None; 3],
            timestamp: Some(TcpTimestampRepr::new(1, 1)),
            payload: &[9; 400][..payload.len()],
        }
    }

    /// All that an acknowledgement may change.
    fn state(connection: &Connection) -> String {
        let Connection { snd, rcv, owed, rtt, rack, congestion, recovery, undo, duplicate_acks, timeouts, timers, wanted, .. } = connection;
        let rest = (connection.probed, connection.persists, connection.progress_ns, connection.send.sent(), connection.send.held());
        format!(
            "{snd:?} {rcv:?} {owed:?} {rtt:?} {rack:?} {congestion:?} {recovery:?} {undo:?} {duplicate_acks} {timeouts} {timers:?} {wanted:?} \
             {rest:?} {:?}",
            connection.statistics
        )
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Write(usize),
        Send,
        /// The peer acknowledges so much of what is under way, with this window, and sends so many bytes.
        Hear(u32, u16, usize),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let window = prop_oneof![3 => Just(60_000_u16), 1 => 0_u16..900];
        let step = prop_oneof![
            (1usize..900).prop_map(Step::Write),
            Just(Step::Send),
            (prop_oneof![Just(u32::MAX), 0_u32..900], window, 0usize..400).prop_map(|(part, window, len)| Step::Hear(part, window, len)),
            prop_oneof![0_u64..2_000_000, Just(3_000_000_000)].prop_map(Step::Wait),
        ];
        proptest::collection::vec(step, 1..40)
    }

    fn run(steps: &[Step]) -> (Connection, u64) {
        let mut now_ns = 1_000_000_000;
        let mut connection = Connection::new(&TcpConfig::default());
        let address = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        connection.connect(address(30_000), address(443), 100, now_ns);
        let _ = connection.next_segment(now_ns);
        let answer = segment(&connection, TcpControl::Syn, 101, 60_000, &[]);
        let _ = connection.on_segment(now_ns, &answer);
        for step in steps {
            match *step {
                Step::Write(len) => {
                    let _ = connection.write(now_ns, len, |room| (room.len(), ()));
                }
                Step::Send => while connection.next_segment(now_ns).is_some() {},
                Step::Hear(part, window, len) => {
                    let ack = connection.snd.una.wrapping_add(part.min(connection.snd.nxt.wrapping_sub(connection.snd.una)));
                    let heard = segment(&connection, TcpControl::Psh, ack, window, &[0; 400][..len]);
                    let _ = connection.on_segment(now_ns, &heard);
                    connection.receive.consume(usize::MAX);
                }
                Step::Wait(ns) => now_ns += ns,
            }
        }
        (connection, now_ns)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_plain_segment_says_and_changes_what_any_other_would(steps in steps(), len in 1_usize..900) {
            let ((mut plain, now_ns), (mut any, _)) = (run(&steps), run(&steps));
            for connection in [&mut plain, &mut any] {
                let _ = connection.write(now_ns, len, |room| (room.len(), ()));
            }
            let (decided, same) = (plain.decide(now_ns), any.decide(now_ns));
            prop_assert_eq!(decided, same);
            let Some(decided) = decided else { return Ok(()) };
            let (before, narrow) = (state(&plain), plain.snd.wnd < 2_000);
            let sent = plain.send_plain(now_ns, decided);
            let Some(outgoing) = any.send(now_ns, decided) else { return Ok(()) };
            match sent {
                Some((header, payload)) => {
                    prop_assert_eq!(plain.header_of(&header), outgoing.header);
                    prop_assert_eq!((Some(header), payload, false), (Plain::of(&outgoing.header), outgoing.payload, outgoing.again));
                    prop_assert_eq!(state(&plain), state(&any));
                }
                None => {
                    prop_assert_eq!(state(&plain), before);
                    let usual = !outgoing.payload.is_empty() && !outgoing.again && Plain::of(&outgoing.header).is_some();
                    prop_assert!(!usual || narrow || plain.wanted.any(), "the usual case is taken");
                }
            }
        }

        #[test]
        fn no_news_change_nothing_that_an_acknowledgement_would(
            steps in steps(), window in prop_oneof![Just(0_u16), 1_u16..900, Just(60_000)],
        ) {
            let ((mut quick, now_ns), (mut plain, _)) = (run(&steps), run(&steps));
            prop_assume!(quick.state == State::Established && quick.recovery == Recovery::None);
            let una = quick.snd.una;
            let heard = segment(&quick, TcpControl::Psh, una, window, &[0; 100]);
            let before = state(&quick);
            if quick.on_no_news(&heard, una) {
                plain.on_acknowledgement(now_ns, &heard);
                prop_assert_eq!(state(&quick), state(&plain));
            } else {
                prop_assert_eq!(state(&quick), before);
                let idle = quick.send.is_empty() && quick.persists == 0 && !quick.probed && quick.rack.probe_end.is_none();
                prop_assert!(!(idle && quick.snd.wnd > 0 && window > 0), "the usual case is taken");
            }
        }
    }
}
