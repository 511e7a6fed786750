//! The wire between two ends: as long, as narrow and as lossy as it is told, from a seed. It owns no clock: the same relay
//! carries simulated ends in virtual time and kernels in real time.

use crate::random::Random;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Ethernet header, checksum, preamble and gap: what a packet costs on the wire beside itself.
const FRAMING: u64 = 38;
const TCP: u8 = 6;
const FLAGS_SYN_RST: u8 = 0x06;

/// What the wire is like, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// One way, nanoseconds.
    pub delay_ns: u64,
    /// Bits a second.
    pub rate: u64,
    /// Bytes that may wait for their turn; what comes then is dropped.
    pub queue: u64,
    /// Packets lost, per mille. Those that open or reset a connection are not.
    pub loss: u64,
    /// Packets that come later than their turn, per mille.
    pub late: u64,
    /// How much later they come, nanoseconds.
    pub lateness_ns: u64,
}

/// In which direction: from the end that opened the connection, or to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the end that opened the connection.
    Up,
    /// To it.
    Down,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flying(Reverse<(u64, u64)>, Way, Vec<u8>);

/// See the module's head.
pub struct Relay {
    path: Path,
    random: [Random; 2],
    busy_until_ns: [u64; 2],
    flying: BinaryHeap<Flying>,
    count: u64,
    /// Loses the packets with payload for which it holds: their number among those of the same way, from 0.
    pub lose: fn(Way, u64) -> bool,
    data: [u64; 2],
    /// Packets of both ways that were lost, by chance or for want of room.
    pub lost: u64,
}

impl Relay {
    /// Nothing under way.
    pub fn new(path: Path, seed: u64) -> Relay {
        let random = [Random::new(seed), Random::new(!seed)];
        Relay { path, random, busy_until_ns: [0; 2], flying: BinaryHeap::new(), count: 0, lose: |_, _| false, data: [0; 2], lost: 0 }
    }

    /// Takes an IPv4 packet.
    pub fn send(&mut self, way: Way, now_ns: u64, packet: Vec<u8>) {
        let Path { delay_ns, rate, queue, loss, late, lateness_ns } = self.path;
        let busy_until_ns = &mut self.busy_until_ns[way as usize];
        let backlog = busy_until_ns.saturating_sub(now_ns) * rate / 8_000_000_000;
        if backlog + packet.len() as u64 > queue {
            self.lost += 1;
            return;
        }
        let sent_ns = now_ns.max(*busy_until_ns) + (packet.len() as u64 + FRAMING) * 8_000_000_000 / rate;
        *busy_until_ns = sent_ns;
        let random = &mut self.random[way as usize];
        // Drawn for every packet: what one chance decides does not shift the others.
        let (chance, turn, slip) = (random.below(1_000), random.below(1_000), random.below(lateness_ns + 1));
        let mut lost = chance < loss && !opens_or_resets(&packet);
        if carries_data(&packet) {
            lost |= (self.lose)(way, self.data[way as usize]);
            self.data[way as usize] += 1;
        }
        if lost {
            self.lost += 1;
            return;
        }
        let arrival_ns = sent_ns + delay_ns + if turn < late { slip } else { 0 };
        self.count += 1;
        self.flying.push(Flying(Reverse((arrival_ns, self.count)), way, packet));
    }

    /// When the next packet arrives; `u64::MAX`: none is under way.
    pub fn next_ns(&self) -> u64 {
        self.flying.peek().map_or(u64::MAX, |flying| flying.0.0.0)
    }

    /// A packet that has arrived.
    pub fn arrived(&mut self, now_ns: u64) -> Option<(Way, Vec<u8>)> {
        if self.next_ns() > now_ns {
            return None;
        }
        self.flying.pop().map(|Flying(_, way, packet)| (way, packet))
    }

    /// Counts packets with payload from 0 again.
    pub fn forget_data(&mut self) {
        self.data = [0; 2];
    }
}

/// The TCP segment in an IPv4 packet.
fn segment(packet: &[u8]) -> Option<&[u8]> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    (packet.get(9) == Some(&TCP)).then(|| packet.get(header..)).flatten()
}

fn opens_or_resets(packet: &[u8]) -> bool {
    segment(packet).and_then(|segment| segment.get(13)).is_some_and(|flags| flags & FLAGS_SYN_RST != 0)
}

fn carries_data(packet: &[u8]) -> bool {
    segment(packet).is_some_and(|segment| segment.get(12).is_some_and(|offset| segment.len() > usize::from(offset >> 4) * 4))
}

/// Ports of a TCP packet: source, destination.
pub fn ports(packet: &[u8]) -> Option<(u16, u16)> {
    let &[a, b, c, d] = segment(packet)?.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: Path = Path { delay_ns: 1_000_000, rate: 8_000_000, queue: 4_000, loss: 0, late: 0, lateness_ns: 0 };

    /// A packet of `len` bytes whose TCP header has these flags.
    fn packet(len: usize, flags: u8) -> Vec<u8> {
        let mut packet = vec![0; len];
        (packet[0], packet[9], packet[32], packet[33]) = (0x45, TCP, 0x50, flags);
        packet
    }

    #[test]
    fn packets_take_their_turn_and_what_finds_no_room_is_dropped() {
        let mut relay = Relay::new(PATH, 1);
        for _ in 0..10 {
            relay.send(Way::Up, 0, packet(962, 0x10));
        }
        // A byte takes a microsecond; four packets and their framing exceed the queue's 4000 bytes.
        let mut arrivals = Vec::new();
        while relay.next_ns() < u64::MAX {
            arrivals.push(relay.next_ns());
            relay.arrived(u64::MAX);
        }
        assert_eq!((arrivals, relay.lost), (vec![2_000_000, 3_000_000, 4_000_000, 5_000_000], 6));
    }

    #[test]
    fn a_share_is_lost_but_for_what_opens_a_connection() {
        let mut relay = Relay::new(Path { loss: 500, rate: 1_000_000_000_000, ..PATH }, 7);
        for at in 0..1_000 {
            relay.send(Way::Up, at * 1_000_000, packet(60, 0x10));
        }
        assert!((400..600).contains(&relay.lost), "{}", relay.lost);
        let before = relay.lost;
        for at in 0..1_000 {
            relay.send(Way::Down, at * 1_000_000, packet(60, 0x02));
        }
        assert_eq!(relay.lost, before);
    }

    #[test]
    fn the_same_seed_loses_the_same_packets() {
        let arrivals = |seed| {
            let mut relay = Relay::new(Path { loss: 300, late: 300, lateness_ns: 50_000, ..PATH }, seed);
            (0..100_u64)
                .filter_map(|at| {
                    relay.send(Way::Down, at * 10_000_000, packet(60, 0x10));
                    let next = relay.next_ns();
                    relay.arrived(u64::MAX).map(|_| next)
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(arrivals(3), arrivals(3));
        assert_ne!(arrivals(3), arrivals(4));
    }

    #[test]
    fn chosen_data_packets_are_lost_and_acknowledgements_are_not_counted() {
        let mut relay = Relay::new(PATH, 1);
        relay.lose = |way, number| way == Way::Up && number == 1;
        for len in [60, 40, 61, 62] {
            relay.send(Way::Up, 0, packet(len, 0x10));
        }
        let arrived: Vec<usize> = std::iter::from_fn(|| relay.arrived(u64::MAX)).map(|(_, packet)| packet.len()).collect();
        assert_eq!((arrived, relay.data), (vec![60, 40, 62], [3, 0]));
    }
}
