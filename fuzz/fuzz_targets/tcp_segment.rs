//! Segments into our TCP. The first byte says what sends them: an honest peer on a wire that loses, doubles and reorders,
//! or anybody.
//!
//! Whoever sends: nothing panics, what we send is what was written, at its place in the sequence, within the size agreed on;
//! our acknowledgements and the edge of our window never go back; nothing is due that is not sent.
//! With an honest peer, too: what comes out is what it sent, in its order; we stay within its window; and in the end, when the
//! wire is good again, everything has arrived on both sides.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netstack::tcp::{Connection, State, TcpConfig};
use netstack::transport::CloseReason;
use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber, TcpTimestampRepr};
use std::net::{Ipv4Addr, SocketAddrV4};
use support::input::Input;

const OURS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 50_000);
const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 443);
const MS: u64 = 1_000_000;
const STEPS_MAX: usize = 400;
/// Segments of the peer under way.
const POOL_MAX: usize = 32;
/// Bytes of each stream, at most: within half of what a window of ours holds twice over.
const STREAM_MAX: u32 = 20_000;

/// Byte of a stream at an offset.
fn pattern(offset: u32, seed: u8) -> u8 {
    (offset ^ (offset >> 8)) as u8 ^ seed
}

const UP: u8 = 0x5a;
const DOWN: u8 = 0xc3;

/// A segment that owns its payload.
#[derive(Clone)]
struct Segment {
    repr: TcpRepr<'static>,
    payload: Vec<u8>,
}

/// What our side has sent, as the peer sees it.
struct Seen {
    control: TcpControl,
    /// Offset in our stream; the SYN lies before 0.
    offset: u32,
    len: u32,
}

struct World {
    connection: Connection,
    now_ns: u64,
    honest: bool,
    isn: u32,
    peer_isn: u32,
    /// Bytes written by us, and read by us.
    written: u32,
    read: u32,
    /// Which bytes of our stream the peer has.
    received: Vec<bool>,
    /// How many from the first on.
    taken: u32,
    fin_at: Option<u32>,
    fin_received: bool,
    /// The peer's stream so far, and what it has of our acknowledgements: bytes, edge of the window.
    sent: u32,
    acked: u32,
    edge: u32,
    /// The edge of the peer's window that it has ever offered, and its present width.
    peer_edge: u32,
    peer_window: u16,
    shift: u8,
    peer_shift: u8,
    mss: u32,
    stamps: bool,
    sack: bool,
    last_stamp: u32,
    pool: Vec<Segment>,
    last_ack: Option<u32>,
    last_edge: Option<u32>,
}

impl World {
    fn new(input: &mut Input<'_>) -> World {
        let options = input.u8();
        let small = options & 2 != 0;
        let config = TcpConfig {
            receive_buffer: if small { 2_048 } else { 32 * 1_024 },
            send_buffer: if small { 4_096 } else { 64 * 1_024 },
            segments_max: if options & 4 != 0 { 64 } else { 256 },
            sack: options & 8 == 0,
            timestamps: options & 16 == 0,
            keep_alive: (options & 32 != 0).then_some(1_000 * MS),
            user_timeout: 1_000_000 * MS,
            ..TcpConfig::default()
        };
        let isns = [input.u32(), input.u32()];
        let mut connection = Connection::new(&config);
        connection.connect(OURS, PEER, isns[0], 1_000 * MS);
        let mut world = World {
            connection,
            now_ns: 1_000 * MS,
            honest: options & 1 == 0,
            isn: isns[0],
            peer_isn: isns[1],
            written: 0,
            read: 0,
            received: vec![false; STREAM_MAX as usize],
            taken: 0,
            fin_at: None,
            fin_received: false,
            sent: 0,
            acked: 0,
            edge: 0,
            peer_edge: 0,
            peer_window: input.pick(&[60_000, 400, 3_000, 10_000]),
            shift: 0,
            peer_shift: input.u8() % 4,
            mss: 1_460,
            stamps: config.timestamps,
            sack: config.sack,
            last_stamp: 0,
            pool: Vec::new(),
            last_ack: None,
            last_edge: None,
        };
        let syn = world.drain(&mut |_| true);
        assert!(syn.len() == 1 && syn[0].control == TcpControl::Syn, "a SYN leaves at once");
        world
    }

    /// The peer answers the SYN.
    fn open(&mut self) {
        let mut answer = self.segment(TcpControl::Syn, u32::MAX, 0);
        answer.repr.window_scale = Some(self.peer_shift);
        answer.repr.max_seg_size = Some(1_460);
        answer.repr.sack_permitted = self.sack;
        self.deliver(&answer, 0);
        assert_eq!(self.connection.state(), State::Established);
        self.mss = self.connection.segment_max() as u32;
        self.peer_edge = u32::from(self.peer_window);
    }

    /// A segment of the honest peer: bytes of its stream from an offset on (`u32::MAX`: the SYN's place).
    fn segment(&mut self, control: TcpControl, offset: u32, len: u32) -> Segment {
        let ack = self.taken;
        let past_fin = u32::from(self.fin_received && self.fin_at == Some(ack));
        let payload: Vec<u8> = (offset..offset.wrapping_add(len)).map(|at| pattern(at, DOWN)).collect();
        let mut blocks = [None; 3];
        if self.sack && control != TcpControl::Syn {
            let written = &self.received[..self.written as usize];
            let mut at = ack as usize;
            for block in &mut blocks {
                let Some(start) = (at..written.len()).find(|&at| written[at]) else { break };
                let end = (start..written.len()).find(|&at| !written[at]).unwrap_or(written.len());
                let place = |offset: usize| self.isn.wrapping_add(1).wrapping_add(offset as u32);
                *block = Some((place(start), place(end)));
                at = end;
            }
        }
        let syn = control == TcpControl::Syn;
        if !syn {
            let width = u32::from(self.peer_window) << self.peer_shift;
            // An honest peer does not take back what it offered; what it cannot say in full it rounds up.
            let width = width.max(self.peer_edge.saturating_sub(ack)).min(u32::from(u16::MAX) << self.peer_shift);
            let field = width.div_ceil(1 << self.peer_shift).min(u32::from(u16::MAX));
            self.peer_edge = self.peer_edge.max(ack + (field << self.peer_shift));
        }
        let width = self.peer_edge.saturating_sub(ack);
        let window_len = if syn { self.peer_window } else { (width >> self.peer_shift) as u16 };
        let repr = TcpRepr {
            src_port: PEER.port(),
            dst_port: OURS.port(),
            control,
            seq_number: TcpSeqNumber(self.peer_isn.wrapping_add(1).wrapping_add(offset) as i32),
            ack_number: Some(TcpSeqNumber(self.isn.wrapping_add(1).wrapping_add(ack + past_fin) as i32)),
            window_len,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: blocks,
            timestamp: self.stamps.then(|| TcpTimestampRepr::new((self.now_ns / MS) as u32, self.last_stamp)),
            payload: &[],
        };
        Segment { repr, payload }
    }

    /// Takes a segment; `keep` per 256 of what it lends is put back.
    fn deliver(&mut self, segment: &Segment, keep: u8) {
        let repr = TcpRepr { payload: &segment.payload, ..segment.repr };
        let taken = self.connection.on_segment(self.now_ns, &repr);
        assert!(taken.fresh.start <= taken.fresh.end && taken.fresh.end <= segment.payload.len());
        let fresh = &segment.payload[taken.fresh];
        let used = fresh.len() - fresh.len() * usize::from(keep) / 256;
        self.take(&fresh[..used]);
        self.connection.put_back(&fresh[used..]);
    }

    /// Bytes come out.
    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            assert!(!self.honest || (byte == pattern(self.read, DOWN) && self.read < self.sent), "byte {} was not sent so", self.read);
            self.read += 1;
        }
    }

    fn read(&mut self, most: usize) {
        let bytes = self.connection.read(|bytes| {
            let used = bytes.len().min(most);
            (used, bytes[..used].to_vec())
        });
        self.take(&bytes);
    }

    fn write(&mut self, len: u32) {
        let (from, len) = (self.written, len.min(STREAM_MAX - self.written));
        let fill = |room: &mut [u8]| {
            room.iter_mut().enumerate().for_each(|(at, byte)| *byte = pattern(from + at as u32, UP));
            (room.len(), ())
        };
        if self.fin_at.is_none() && len > 0 && self.connection.write(self.now_ns, len as usize, fill).is_some() {
            self.written += len;
        }
    }

    /// All that our side sends now; `arrives` says which of it the peer gets.
    fn drain(&mut self, arrives: &mut dyn FnMut(&Seen) -> bool) -> Vec<Seen> {
        let mut all = Vec::new();
        for _ in 0..2_000 {
            let sent = self
                .connection
                .poll_transmit(self.now_ns, |repr| Segment { repr: TcpRepr { payload: &[], ..*repr }, payload: repr.payload.to_vec() });
            let Some(segment) = sent else { break };
            let seen = self.look(&segment);
            if arrives(&seen) {
                self.peer_takes(&segment, &seen);
            }
            all.push(seen);
        }
        assert!(all.len() < 2_000, "sends without end");
        let due_ns = self.connection.next_due_ns();
        assert!(due_ns > self.now_ns, "something is due that is never sent");
        assert!(self.connection.state() != State::Closed || due_ns == u64::MAX);
        all
    }

    /// What must be true of every segment of ours.
    fn look(&mut self, segment: &Segment) -> Seen {
        let Segment { repr, payload } = segment;
        let offset = (repr.seq_number.0 as u32).wrapping_sub(self.isn).wrapping_sub(1);
        let len = payload.len() as u32;
        if repr.control != TcpControl::Rst {
            assert!(
                payload.iter().enumerate().all(|(at, &byte)| byte == pattern(offset + at as u32, UP)),
                "not what was written at {offset}"
            );
            assert!(len == 0 || offset + len <= self.written, "more than was written");
            assert!(len <= 1_460, "{len}");
            if let (Some(ack), true) = (repr.ack_number, repr.control != TcpControl::Syn) {
                let ack = ack.0 as u32;
                let edge = ack.wrapping_add(u32::from(repr.window_len) << self.shift);
                let behind = |value: u32, last: Option<u32>| last.is_some_and(|last| (value.wrapping_sub(last) as i32) < 0);
                assert!(!behind(ack, self.last_ack), "an acknowledgement goes back");
                assert!(!behind(edge, self.last_edge), "the window goes back: {edge} {:?}", self.last_edge);
                (self.last_ack, self.last_edge) = (Some(ack), Some(edge));
                if self.honest {
                    let acked = ack.wrapping_sub(self.peer_isn).wrapping_sub(1);
                    assert!(acked <= self.sent, "{acked} of {} acknowledged", self.sent);
                }
            }
            if self.honest && len > 0 {
                // A window that is closed is probed with a byte beyond it.
                let probe = u32::from(len == 1);
                assert!(offset + len <= self.peer_edge + probe, "{} beyond the window's edge {}", offset + len, self.peer_edge);
                assert!(len <= self.mss, "{len} of {}", self.mss);
            }
        }
        if repr.control == TcpControl::Syn {
            self.shift = repr.window_scale.unwrap_or(0);
        }
        Seen { control: repr.control, offset, len }
    }

    /// The peer gets a segment of ours.
    fn peer_takes(&mut self, segment: &Segment, seen: &Seen) {
        let Segment { repr, .. } = segment;
        if matches!(seen.control, TcpControl::Rst) {
            return;
        }
        if let Some(stamp) = repr.timestamp {
            self.last_stamp = stamp.tsval;
        }
        if let (Some(ack), true) = (repr.ack_number, seen.control != TcpControl::Syn) {
            let acked = (ack.0 as u32).wrapping_sub(self.peer_isn).wrapping_sub(1);
            let edge = acked.wrapping_add(u32::from(repr.window_len) << self.shift);
            if self.honest {
                (self.acked, self.edge) = (self.acked.max(acked), self.edge.max(edge));
            }
        }
        if self.honest && seen.len > 0 && seen.offset + seen.len <= self.peer_edge {
            self.received[seen.offset as usize..(seen.offset + seen.len) as usize].fill(true);
            let beyond = &self.received[self.taken as usize..];
            self.taken += beyond.iter().position(|&here| !here).unwrap_or(beyond.len()) as u32;
        }
        if seen.control == TcpControl::Fin {
            self.fin_received = true;
        }
    }

    /// New bytes of the peer's stream, as many as our window takes.
    fn peer_sends(&mut self, len: u32) {
        let len = len.min(1_460).min(STREAM_MAX - self.sent).min(self.edge.saturating_sub(self.sent));
        let offset = self.sent;
        self.sent += len;
        let segment = self.segment(TcpControl::Psh, offset, len);
        self.launch(segment);
    }

    fn launch(&mut self, segment: Segment) {
        if self.pool.len() < POOL_MAX {
            self.pool.push(segment);
        }
    }

    fn hostile(&mut self, input: &mut Input<'_>) {
        let control = input.pick(&[TcpControl::None, TcpControl::Psh, TcpControl::Syn, TcpControl::Fin, TcpControl::Rst]);
        let (offset, len) = (u32::from(input.u16()).wrapping_sub(16), u32::from(input.u16()) % 1_500);
        let mut segment = self.segment(control, offset, len);
        let what = input.u8();
        if what & 1 != 0 {
            segment.repr.ack_number = Some(TcpSeqNumber(self.isn.wrapping_add(u32::from(input.u16())) as i32));
        }
        if what & 2 != 0 {
            segment.repr.window_len = input.u16();
        }
        if what & 4 != 0 {
            for block in &mut segment.repr.sack_ranges {
                let (start, end) = (u32::from(input.u16()), u32::from(input.u16()));
                *block = Some((self.isn.wrapping_add(start), self.isn.wrapping_add(end)));
            }
        }
        if what & 8 != 0 {
            segment.repr.timestamp = Some(TcpTimestampRepr::new(input.u32(), input.u32()));
        }
        if what & 16 != 0 {
            segment.repr.seq_number = TcpSeqNumber(input.u32() as i32);
        }
        if what & 32 != 0 {
            segment.repr.ack_number = None;
        }
        if what & 64 != 0 {
            (segment.repr.max_seg_size, segment.repr.window_scale) = (Some(input.u16()), Some(input.u8()));
        }
        if what & 128 != 0 {
            segment.payload.iter_mut().for_each(|byte| *byte = !*byte);
        }
        self.deliver(&segment, input.u8());
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.u8();
        match op & 0x0f {
            0..3 => self.peer_sends(u32::from(input.u16())),
            3..6 if !self.pool.is_empty() => {
                let at = usize::from(input.u8()) % self.pool.len();
                let segment = if op & 0x10 == 0 { self.pool.remove(at) } else { self.pool[at].clone() };
                self.deliver(&segment, if op & 0x20 == 0 { 0 } else { input.u8() });
            }
            6 => self.write(u32::from(input.u16()) % 5_000),
            7 => self.read(usize::from(input.u16())),
            8 => self.now_ns += u64::from(input.u16()) << (op >> 4),
            9 => self.now_ns = self.now_ns.max(self.connection.next_due_ns().min(self.now_ns + 2_000 * MS)),
            10 => {
                // Something sent before goes again.
                let from = u32::from(input.u16()) % (self.sent + 1);
                let len = (u32::from(input.u16()) % 1_460).min(self.sent - from);
                let segment = self.segment(TcpControl::Psh, from, len);
                self.launch(segment);
            }
            11 => {
                self.peer_window = input.u16();
                let segment = self.segment(TcpControl::None, self.sent, 0);
                self.launch(segment);
            }
            12 if op & 0xf0 == 0 && self.fin_at.is_none() => {
                self.fin_at = Some(self.written);
                self.connection.close(self.now_ns);
            }
            13 if op & 0xf0 == 0 => {
                self.connection.narrow(input.u16());
            }
            14 | 15 if !self.honest => self.hostile(input),
            _ => {
                let segment = self.segment(TcpControl::None, self.sent, 0);
                self.launch(segment);
            }
        }
        let mut fate = input.u8();
        self.drain(&mut |_| {
            fate = fate.rotate_right(1);
            fate & 0x80 == 0
        });
    }

    /// The wire is good again: everything arrives.
    fn finish(&mut self) {
        self.pool.clear();
        self.peer_window = u16::MAX;
        for _ in 0..3_000 {
            self.drain(&mut |_| true);
            self.read(usize::MAX);
            self.drain(&mut |_| true);
            if self.connection.close_reason() == Some(CloseReason::TimedOut) && self.connection.statistics().keep_alive_probes > 0 {
                // The wire was silent for so long that the peer was taken for dead.
                return;
            }
            let ours_done = self.taken == self.written && self.connection.unacknowledged() == 0;
            if ours_done && self.read == self.sent && self.acked == self.sent {
                return;
            }
            let from = self.acked.min(self.sent);
            let len = (self.sent - from).min(1_460);
            let segment = self.segment(TcpControl::Psh, from, len);
            self.deliver(&segment, 0);
            self.drain(&mut |_| true);
            let due_ns = self.connection.next_due_ns();
            self.now_ns = if due_ns < self.now_ns + 120_000 * MS { due_ns.max(self.now_ns + MS) } else { self.now_ns + MS };
        }
        panic!(
            "stuck in {:?}: {} of {} bytes up, {} of {} down, {} acknowledged; {:?}",
            self.connection.state(),
            self.taken,
            self.written,
            self.read,
            self.sent,
            self.acked,
            self.connection.statistics()
        );
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    world.open();
    world.drain(&mut |_| true);
    let mut steps = 0;
    while !input.is_empty() && steps < STEPS_MAX {
        steps += 1;
        world.step(&mut input);
    }
    if world.honest {
        world.finish();
    }
});
