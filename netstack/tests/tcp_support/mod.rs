//! A scripted peer, and two endpoints over a seeded wire in memory.

#![allow(dead_code)]

use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddrV4};

use netstack::tcp::{Connection, State, Taken, TcpConfig};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr};

pub const US: u64 = 1_000;
pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;
pub const OURS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 50_000);
pub const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 443);
/// The scripted peer's initial sequence number: its stream passes the wrap early.
pub const PEER_ISN: u32 = u32::MAX - 5;
pub const OUR_ISN: u32 = u32::MAX - 7;

/// A segment that our side sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub control: TcpControl,
    /// Relative to our initial sequence number.
    pub sequence: u32,
    /// Relative to the peer's.
    pub ack: Option<u32>,
    pub window: u16,
    pub shift: Option<u8>,
    pub mss: Option<u16>,
    pub sack_permitted: bool,
    pub blocks: Vec<(u32, u32)>,
    pub stamp: Option<(u32, u32)>,
    pub payload: Vec<u8>,
}

/// Our connection against a peer that does what the test says. Sequence numbers are relative: 0 is each side's SYN.
pub struct Script {
    pub connection: Connection,
    pub now_ns: u64,
    /// Where the peer's next byte goes.
    pub peer_next: u32,
    /// What the peer acknowledges when the test does not say.
    pub acked: u32,
    pub peer_stamp: u32,
    pub last_stamp: u32,
    pub stamps: bool,
    pub window: u16,
}

/// What the peer's SYN offers.
#[derive(Clone, Copy)]
pub struct Offer {
    pub mss: Option<u16>,
    pub shift: Option<u8>,
    pub sack: bool,
    pub stamps: bool,
    pub window: u16,
}

pub const OFFER: Offer = Offer { mss: Some(1460), shift: Some(4), sack: true, stamps: true, window: 60_000 };

pub fn segment(control: TcpControl, sequence: u32, ack: Option<u32>, payload: &[u8]) -> TcpRepr<'_> {
    TcpRepr {
        src_port: PEER.port(),
        dst_port: OURS.port(),
        control,
        seq_number: TcpSeqNumber(PEER_ISN.wrapping_add(sequence) as i32),
        ack_number: ack.map(|ack| TcpSeqNumber(OUR_ISN.wrapping_add(ack) as i32)),
        window_len: 60_000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload,
    }
}

impl Script {
    /// SYN not yet answered.
    pub fn connecting(config: &TcpConfig) -> Script {
        let mut connection = Connection::new(config);
        connection.connect(OURS, PEER, OUR_ISN, SECOND);
        Script { connection, now_ns: SECOND, peer_next: 0, acked: 0, peer_stamp: 1000, last_stamp: 0, stamps: false, window: OFFER.window }
    }

    /// Open, with a round trip of `rtt_ns` measured.
    pub fn open(config: &TcpConfig, offer: Offer, rtt_ns: u64) -> Script {
        let mut script = Script::connecting(config);
        let syn = script.one();
        assert_eq!((syn.control, syn.sequence), (TcpControl::Syn, 0));
        script.pass(rtt_ns);
        script.answer_syn(offer);
        let ack = script.one();
        assert_eq!((ack.control, ack.sequence, ack.ack), (TcpControl::None, 1, Some(1)));
        assert_eq!(script.connection.state(), State::Established);
        script
    }

    pub fn usual() -> Script {
        Script::open(&TcpConfig::default(), OFFER, MS)
    }

    pub fn answer_syn(&mut self, offer: Offer) {
        let mut answer = segment(TcpControl::Syn, 0, Some(1), &[]);
        (answer.max_seg_size, answer.window_scale, answer.sack_permitted) = (offer.mss, offer.shift, offer.sack);
        answer.window_len = offer.window;
        answer.timestamp = offer.stamps.then_some(TcpTimestampRepr::new(self.peer_stamp, self.last_stamp));
        (self.stamps, self.acked, self.peer_next, self.window) = (offer.stamps, 1, 1, offer.window);
        let _ = self.connection.on_segment(self.now_ns, &answer);
    }

    pub fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        self.peer_stamp = self.peer_stamp.wrapping_add((ns / MS) as u32);
    }

    /// All that our side sends now.
    pub fn sent(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        while let Some(sent) = self.connection.poll_transmit(self.now_ns, |repr| {
            let relative = |block: &(u32, u32)| (block.0.wrapping_sub(PEER_ISN), block.1.wrapping_sub(PEER_ISN));
            Sent {
                control: repr.control,
                sequence: (repr.seq_number.0 as u32).wrapping_sub(OUR_ISN),
                ack: repr.ack_number.map(|ack| (ack.0 as u32).wrapping_sub(PEER_ISN)),
                window: repr.window_len,
                shift: repr.window_scale,
                mss: repr.max_seg_size,
                sack_permitted: repr.sack_permitted,
                blocks: repr.sack_ranges.iter().flatten().map(relative).collect(),
                stamp: repr.timestamp.map(|stamp| (stamp.tsval, stamp.tsecr)),
                payload: repr.payload.to_vec(),
            }
        }) {
            self.last_stamp = sent.stamp.map_or(self.last_stamp, |stamp| stamp.0);
            all.push(sent);
            assert!(all.len() < 10_000, "sends without end");
        }
        all
    }

    /// The one segment that our side sends now.
    #[track_caller]
    pub fn one(&mut self) -> Sent {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    #[track_caller]
    pub fn silent(&mut self) {
        let sent = self.sent();
        assert!(sent.is_empty(), "{sent:?}");
    }

    /// Lets time pass until our side sends of itself; returns how long that took, and what was sent.
    pub fn wait(&mut self) -> (u64, Vec<Sent>) {
        let start = self.now_ns;
        for _ in 0..1000 {
            let sent = self.sent();
            if !sent.is_empty() {
                return (self.now_ns - start, sent);
            }
            let due = self.connection.next_due_ns();
            if due == u64::MAX {
                break;
            }
            assert!(due > self.now_ns, "due, but nothing was sent");
            self.pass(due - self.now_ns);
        }
        (self.now_ns - start, Vec::new())
    }

    pub fn write(&mut self, bytes: &[u8]) {
        let fill = |room: &mut [u8]| {
            room.copy_from_slice(bytes);
            (bytes.len(), ())
        };
        assert!(self.connection.write(self.now_ns, bytes.len(), fill).is_some(), "no room");
    }

    /// The peer sends what the test makes of an ordinary segment.
    pub fn inject(&mut self, control: TcpControl, sequence: u32, payload: &[u8], change: impl FnOnce(&mut TcpRepr<'_>)) -> Taken {
        let mut repr = segment(control, sequence, Some(self.acked), payload);
        repr.window_len = self.window;
        repr.timestamp = self.stamps.then_some(TcpTimestampRepr::new(self.peer_stamp, self.last_stamp));
        change(&mut repr);
        self.connection.on_segment(self.now_ns, &repr)
    }

    /// The peer's next bytes.
    pub fn data(&mut self, payload: &[u8]) -> Taken {
        let sequence = self.peer_next;
        self.peer_next += payload.len() as u32;
        self.inject(TcpControl::Psh, sequence, payload, |_| {})
    }

    /// The peer acknowledges all before `ack`.
    pub fn ack(&mut self, ack: u32) {
        self.acked = ack;
        let _ = self.inject(TcpControl::None, self.peer_next, &[], |_| {});
    }

    /// The peer acknowledges all before `ack`, and blocks beyond (relative to our initial sequence number).
    pub fn sack(&mut self, ack: u32, blocks: &[(u32, u32)]) {
        self.acked = ack;
        let _ = self.inject(TcpControl::None, self.peer_next, &[], |repr| {
            for (slot, block) in repr.sack_ranges.iter_mut().zip(blocks) {
                *slot = Some((OUR_ISN.wrapping_add(block.0), OUR_ISN.wrapping_add(block.1)));
            }
        });
    }

    pub fn read_all(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while self.connection.readable() > 0 {
            self.connection.read(|bytes| {
                all.extend_from_slice(bytes);
                (bytes.len(), ())
            });
        }
        all
    }
}

/// Chance from a seed (xorshift64*).
#[derive(Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn per_mille(&mut self, share: u64) -> bool {
        self.below(1000) < share
    }
}

/// What the wire does to packets, per mille.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub loss: u64,
    pub duplication: u64,
    pub reordering: u64,
    pub corruption: u64,
    /// One way.
    pub delay_ns: u64,
    /// How much later a reordered packet comes, at most.
    pub lateness_ns: u64,
    /// Time that a packet of full size takes; 0: none.
    pub serialization_ns: u64,
}

pub const CLEAN: Faults =
    Faults { loss: 0, duplication: 0, reordering: 0, corruption: 0, delay_ns: 250 * US, lateness_ns: 0, serialization_ns: 0 };

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flying(std::cmp::Reverse<(u64, u64)>, usize, Vec<u8>);

/// Side that sends, number of its packet, the packet: true to lose it.
pub type DropRule = Box<dyn FnMut(usize, u64, &[u8]) -> bool>;

/// Packets under way between side 0 and side 1.
pub struct Wire {
    pub faults: Faults,
    pub chance: Chance,
    flying: BinaryHeap<Flying>,
    count: u64,
    busy_until: [u64; 2],
    /// Drops the packets (counted from 0, per sending side) for which it returns true.
    pub drop: DropRule,
    /// Packets sent by each side.
    pub sent: [u64; 2],
}

impl Wire {
    pub fn new(faults: Faults, seed: u64) -> Wire {
        Wire {
            faults,
            chance: Chance::new(seed),
            flying: BinaryHeap::new(),
            count: 0,
            busy_until: [0; 2],
            drop: Box::new(|_, _, _| false),
            sent: [0; 2],
        }
    }

    pub fn send(&mut self, from: usize, now_ns: u64, packet: Vec<u8>) {
        let number = self.sent[from];
        self.sent[from] += 1;
        let time = self.faults.serialization_ns * packet.len() as u64 / 1500;
        let start = self.busy_until[from].max(now_ns);
        self.busy_until[from] = start + time;
        if (self.drop)(from, number, &packet) || self.chance.per_mille(self.faults.loss) {
            return;
        }
        let copies = 1 + u64::from(self.chance.per_mille(self.faults.duplication));
        for _ in 0..copies {
            let late = if self.chance.per_mille(self.faults.reordering) { self.chance.below(self.faults.lateness_ns) } else { 0 };
            let mut packet = packet.clone();
            if self.chance.per_mille(self.faults.corruption) {
                let at = self.chance.below(packet.len() as u64) as usize;
                packet[at] ^= 1 << self.chance.below(8);
            }
            self.count += 1;
            let arrival = start + time + self.faults.delay_ns + late;
            self.flying.push(Flying(std::cmp::Reverse((arrival, self.count)), 1 - from, packet));
        }
    }

    pub fn next_ns(&self) -> u64 {
        self.flying.peek().map_or(u64::MAX, |flying| flying.0.0.0)
    }

    pub fn arrived(&mut self, now_ns: u64) -> Option<(usize, Vec<u8>)> {
        if self.next_ns() > now_ns {
            return None;
        }
        self.flying.pop().map(|flying| (flying.1, flying.2))
    }
}

/// The IP packet of a segment.
pub fn packet(from: SocketAddrV4, to: SocketAddrV4, repr: &TcpRepr<'_>) -> Vec<u8> {
    let ip =
        Ipv4Repr { src_addr: *from.ip(), dst_addr: *to.ip(), next_header: IpProtocol::Tcp, payload_len: repr.buffer_len(), hop_limit: 64 };
    let mut bytes = vec![0; ip.buffer_len() + repr.buffer_len()];
    let mut view = Ipv4Packet::new_unchecked(&mut bytes[..]);
    ip.emit(&mut view, &ChecksumCapabilities::default());
    let mut tcp = TcpPacket::new_unchecked(view.payload_mut());
    repr.emit(&mut tcp, &IpAddress::Ipv4(*from.ip()), &IpAddress::Ipv4(*to.ip()), &ChecksumCapabilities::default());
    bytes
}

/// Something at an end of the wire, with a stream to send and a stream received.
pub trait Endpoint {
    fn deliver(&mut self, now_ns: u64, packet: &[u8]);
    /// Writes, reads, and returns the packets to send.
    fn work(&mut self, now_ns: u64) -> Vec<Vec<u8>>;
    fn next_due_ns(&self, now_ns: u64) -> u64;
    fn received(&self) -> &[u8];
    fn finished(&self) -> bool;
}

/// Our side.
pub struct Ours {
    pub connection: Connection,
    pub local: SocketAddrV4,
    pub remote: SocketAddrV4,
    pub to_send: Vec<u8>,
    pub written: usize,
    pub received: Vec<u8>,
    /// Most bytes of a write.
    pub chunk: usize,
    /// Share of a lent payload that is used in place.
    pub use_per_mille: u64,
    pub chance: Chance,
    pub close_after: bool,
    closed: bool,
    pub peer_closed: bool,
}

impl Ours {
    pub fn new(config: &TcpConfig, local: SocketAddrV4, remote: SocketAddrV4, isn: u32, now_ns: u64, to_send: Vec<u8>) -> Ours {
        let mut connection = Connection::new(config);
        connection.connect(local, remote, isn, now_ns);
        Ours {
            connection,
            local,
            remote,
            to_send,
            written: 0,
            received: Vec::new(),
            chunk: 3000,
            use_per_mille: 1000,
            chance: Chance::new(u64::from(isn)),
            close_after: true,
            closed: false,
            peer_closed: false,
        }
    }
}

impl Endpoint for Ours {
    fn deliver(&mut self, now_ns: u64, bytes: &[u8]) {
        let Ok(ip) = Ipv4Packet::new_checked(bytes) else { return };
        let caps = ChecksumCapabilities::default();
        let Ok(ip_repr) = Ipv4Repr::parse(&ip, &caps) else { return };
        if ip_repr.src_addr != *self.remote.ip() || ip_repr.dst_addr != *self.local.ip() || ip_repr.next_header != IpProtocol::Tcp {
            return;
        }
        let Ok(tcp) = TcpPacket::new_checked(ip.payload()) else { return };
        let Ok(repr) = TcpRepr::parse(&tcp, &IpAddress::Ipv4(ip_repr.src_addr), &IpAddress::Ipv4(ip_repr.dst_addr), &caps) else {
            return;
        };
        let taken = self.connection.on_segment(now_ns, &repr);
        let fresh = &repr.payload[taken.fresh];
        let used = fresh.len() * self.use_per_mille as usize / 1000;
        self.received.extend_from_slice(&fresh[..used]);
        self.connection.put_back(&fresh[used..]);
    }

    fn work(&mut self, now_ns: u64) -> Vec<Vec<u8>> {
        while self.connection.readable() > 0 {
            let received = &mut self.received;
            self.connection.read(|bytes| {
                received.extend_from_slice(bytes);
                (bytes.len(), ())
            });
        }
        while self.written < self.to_send.len() {
            let len = (1 + self.chance.below(self.chunk as u64) as usize).min(self.to_send.len() - self.written);
            let bytes = &self.to_send[self.written..self.written + len];
            let fill = |room: &mut [u8]| {
                room.copy_from_slice(bytes);
                (bytes.len(), ())
            };
            if self.connection.write(now_ns, len, fill).is_none() {
                break;
            }
            self.written += len;
        }
        if self.close_after && !self.closed && self.written == self.to_send.len() && self.connection.state() != State::SynSent {
            self.connection.close(now_ns);
            self.closed = true;
        }
        self.peer_closed |= matches!(self.connection.state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        let mut packets = Vec::new();
        let (local, remote) = (self.local, self.remote);
        while let Some(bytes) = self.connection.poll_transmit(now_ns, |repr| packet(local, remote, repr)) {
            packets.push(bytes);
            assert!(packets.len() < 100_000, "sends without end");
        }
        packets
    }

    fn next_due_ns(&self, _now_ns: u64) -> u64 {
        self.connection.next_due_ns()
    }

    fn received(&self) -> &[u8] {
        &self.received
    }

    fn finished(&self) -> bool {
        matches!(self.connection.state(), State::TimeWait | State::Closed)
    }
}

/// Runs both sides until `until` says so or the time is up; returns the time.
pub fn run<A: Endpoint, B: Endpoint>(
    wire: &mut Wire,
    a: &mut A,
    b: &mut B,
    start_ns: u64,
    limit_ns: u64,
    mut until: impl FnMut(&A, &B, u64) -> bool,
) -> u64 {
    let mut now_ns = start_ns;
    loop {
        while let Some((to, packet)) = wire.arrived(now_ns) {
            if to == 0 {
                a.deliver(now_ns, &packet);
            } else {
                b.deliver(now_ns, &packet);
            }
            // Work after each packet, as a polling loop does.
            for bytes in a.work(now_ns) {
                wire.send(0, now_ns, bytes);
            }
            for bytes in b.work(now_ns) {
                wire.send(1, now_ns, bytes);
            }
        }
        for bytes in a.work(now_ns) {
            wire.send(0, now_ns, bytes);
        }
        for bytes in b.work(now_ns) {
            wire.send(1, now_ns, bytes);
        }
        if until(a, b, now_ns) {
            return now_ns;
        }
        let due = wire.next_ns().min(a.next_due_ns(now_ns)).min(b.next_due_ns(now_ns));
        if due > start_ns.saturating_add(limit_ns) {
            return start_ns + limit_ns;
        }
        now_ns = due.max(now_ns + 1);
    }
}

/// A number from the environment.
pub fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Bytes that tell their place.
pub fn stream(len: usize, seed: u64) -> Vec<u8> {
    let mut chance = Chance::new(seed);
    (0..len).map(|_| chance.next() as u8).collect()
}
