//! Many streams over bad wires, byte by byte: everything that arrives is what was sent, at its place, at every moment, and in
//! the end all of it has arrived. Each round draws its wire, its settings and its streams from a seed; a failure names it.
//!
//! The number of segments is taken from the environment, so that the same test is quick in the usual run and thorough on
//! demand (a minute for thirty millions; against Linux, where time is real, an hour or two for ten):
//!
//! ```text
//! TCP_SEGMENTS=30000000 cargo test -p netstack --profile fast --test tcp_endurance -- --nocapture
//! TCP_SEGMENTS=10000000 cargo test -p netstack --profile fast --test tcp_linux -- --nocapture     # against Linux (root)
//! ```
//!
//! `TCP_SEED` begins with another seed than 1, to repeat a round that failed.

#[path = "tcp_support/smol.rs"]
mod smol;
mod tcp_support;

use netstack::tcp::{State, TcpConfig};
use smol::Smol;
use tcp_support::*;

/// Segments without the environment's word.
const SEGMENTS: u64 = 60_000;

/// A model of a stream's receiver: it knows what was sent, and looks at what has arrived since it last looked.
struct Model {
    sent: Vec<u8>,
    seen: usize,
}

impl Model {
    fn new(sent: Vec<u8>) -> Model {
        Model { sent, seen: 0 }
    }

    /// What has arrived is the beginning of what was sent, of which `written` bytes had been given to TCP.
    fn look(&mut self, received: &[u8], written: usize, seed: u64) {
        assert!(received.len() <= written.min(self.sent.len()), "seed {seed}: {} of {written} bytes", received.len());
        assert!(received[self.seen..] == self.sent[self.seen..received.len()], "seed {seed}: wrong from byte {} on", self.seen);
        self.seen = received.len();
    }

    fn is_whole(&self) -> bool {
        self.seen == self.sent.len()
    }
}

/// A wire, from fair to dreadful.
fn wire(chance: &mut Chance) -> Faults {
    let dreadful = chance.below(4);
    Faults {
        loss: chance.below(1 + 60 * dreadful),
        duplication: chance.below(1 + 30 * dreadful),
        reordering: chance.below(1 + 200 * dreadful),
        corruption: chance.below(1 + 20 * dreadful),
        delay_ns: [20 * US, 250 * US, 5 * MS, 60 * MS][chance.below(4) as usize],
        lateness_ns: [50 * US, 500 * US, 5 * MS][chance.below(3) as usize],
        serialization_ns: [0, 1_200, 12 * US, 120 * US][chance.below(4) as usize],
    }
}

fn settings(chance: &mut Chance) -> TcpConfig {
    TcpConfig {
        mss: [1460, 1460, 536, 200][chance.below(4) as usize],
        receive_buffer: [2048, 16 * 1024, 256 * 1024][chance.below(3) as usize],
        send_buffer: [4096, 128 * 1024][chance.below(2) as usize],
        segments_max: [64, 512][chance.below(2) as usize],
        ack_delay: [0, MS, 40 * MS][chance.below(3) as usize],
        sack: chance.below(4) > 0,
        timestamps: chance.below(4) > 0,
        user_timeout: 3000 * SECOND,
        rto_max: 2 * SECOND,
        time_wait: 5 * MS,
        ..TcpConfig::default()
    }
}

fn an_end(chance: &mut Chance, local: std::net::SocketAddrV4, remote: std::net::SocketAddrV4, stream: Vec<u8>) -> Ours {
    let isn = [0, u32::MAX, u32::MAX - 40_000, 0x7fff_f000, chance.next() as u32][chance.below(5) as usize];
    let mut end = Ours::new(&settings(chance), local, remote, isn, SECOND, stream);
    (end.chunk, end.use_per_mille) = (1 + chance.below(4000) as usize, chance.below(1001));
    end
}

/// A round between two ends of ours; returns the packets sent.
fn ours_and_ours(seed: u64) -> u64 {
    let mut chance = Chance::new(seed);
    let sizes = [chance.below(400_000), chance.below(400_000)];
    let (mut up, mut down) = (Model::new(stream(sizes[0] as usize, seed)), Model::new(stream(sizes[1] as usize, !seed)));
    let mut a = an_end(&mut chance, OURS, PEER, up.sent.clone());
    let mut b = an_end(&mut chance, PEER, OURS, down.sent.clone());
    let faults = wire(&mut chance);
    let mut wire = Wire::new(faults, seed);
    run(&mut wire, &mut a, &mut b, SECOND, 3000 * SECOND, |a, b, _| {
        up.look(&b.received, a.written, seed);
        down.look(&a.received, b.written, seed);
        a.peer_closed && b.peer_closed && a.finished() && b.finished()
    });
    assert!(up.is_whole() && down.is_whole(), "seed {seed}: {faults:?} {:?} {:?}", a.connection.statistics(), b.connection.statistics());
    wire.sent[0] + wire.sent[1]
}

/// A round between ours and smoltcp's server.
fn ours_and_smoltcp(seed: u64) -> u64 {
    let mut chance = Chance::new(seed);
    let sizes = [chance.below(100_000), chance.below(100_000)];
    let (mut up, mut down) = (Model::new(stream(sizes[0] as usize, seed)), Model::new(stream(sizes[1] as usize, !seed)));
    let mut a = an_end(&mut chance, OURS, PEER, up.sent.clone());
    let mut b = Smol::new([2000, 20_000, 200_000][chance.below(3) as usize], down.sent.clone(), seed);
    b.delay_acks(chance.below(2) > 0);
    let faults = wire(&mut chance);
    let mut wire = Wire::new(faults, seed);
    run(&mut wire, &mut a, &mut b, SECOND, 20_000 * SECOND, |a, b, _| {
        up.look(b.received(), a.written, seed);
        down.look(&a.received, sizes[1] as usize, seed);
        up.is_whole() && down.is_whole()
    });
    assert!(up.is_whole() && down.is_whole(), "seed {seed}: {faults:?} {:?}", a.connection.statistics());
    assert!(a.connection.state() != State::Closed || a.peer_closed, "seed {seed}");
    wire.sent[0] + wire.sent[1]
}

fn rounds(what: &str, segments: u64, round: fn(u64) -> u64) {
    let (first, mut total) = (from_environment("TCP_SEED").unwrap_or(1), 0);
    let mut seed = first;
    while total < segments {
        total += round(seed);
        seed += 1;
    }
    println!("{what}: {total} segments in {} rounds", seed - first);
}

#[test]
fn every_byte_arrives_between_two_of_ours() {
    rounds("two of ours", from_environment("TCP_SEGMENTS").unwrap_or(SEGMENTS), ours_and_ours);
}

#[test]
fn every_byte_arrives_between_ours_and_smoltcp() {
    // smoltcp waits for its timers of a second, and each millisecond of it is a turn.
    rounds("ours and smoltcp", from_environment("TCP_SEGMENTS").unwrap_or(SEGMENTS) / 10, ours_and_smoltcp);
}

#[test]
#[should_panic(expected = "wrong from byte 1")]
fn the_model_notices_a_wrong_byte() {
    let mut model = Model::new(vec![1, 2, 3]);
    model.look(&[1], 3, 0);
    model.look(&[1, 3], 3, 0);
}

#[test]
#[should_panic(expected = "3 of 2 bytes")]
fn the_model_notices_a_byte_that_was_not_written_yet() {
    Model::new(vec![1, 2, 3]).look(&[1, 2, 3], 2, 0);
}
