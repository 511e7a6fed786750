//! A tap on the venue's network interface: when each frame passed it, and what TCP's header says.
//!
//! Small BPF programs (`program`) on the venue's end of the wire write a record of each frame into memory that we read once a
//! slice is over. The times are the kernel's `CLOCK_MONOTONIC`, one clock for both directions:
//!
//! - *out*: the venue's IP has handed the frame to the interface, just before the driver's transmit function (tcx egress);
//! - *in*: the driver hands the frame to the venue's kernel (tracepoint `netif_rx`, where the kernel takes its software receive
//!   time stamps too): before the interrupt in which the kernel looks at it. Which frame it was says the program behind it (tcx
//!   ingress), which runs on the same CPU.
//!
//! So between the two there is nothing of the venue but the last step out, and nothing of its sockets or TCP. veth's transmit
//! function is the wire, and hands over at the other end: as if the cable had no length. Each program takes about 0.1 us. What
//! comes behind its reading of the clock is in the times of all clients: less than that; of those on kernel sockets
//! once more, since their ticks are handed over by `netif_rx` too. The venue loses 0.1 to 0.3 us on each tick, so the tap is
//! attached only in slices of its own.
//!
//! Frames that do not go through the traffic control layer pass unseen: those that AF_XDP sends or receives at this end, and those
//! that AF_PACKET sends from it without a queueing discipline. So the floors of `super::floor` cannot be tapped, and the one of
//! `super::echo` can.

mod pairing;
mod program;

pub use pairing::pair;

use anyhow::{Context, ensure};
use drivers::bpf::{AttachType, Link, ProgramType, SharedArray, attach_to_tracepoint, create_link, load_program, load_tracepoint_program};
use drivers::interface::Interface;
use drivers::testbed::Testbed;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

/// Records of one direction; a power of two. A slice has 256 ticks and some frames for each.
const CAPACITY: usize = 4_096;
/// Bytes of a record.
const RECORD_LEN: usize = 32;
const CACHE_LINE: usize = 64;
/// Where each CPU's last arrival is noted, on a cache line of its own; the two counters of frames are before.
const ARRIVALS: usize = 4_096;
/// CPUs that are told apart; a power of two.
const CPUS: usize = 1_024;
/// Where the rings begin.
const HEAD: usize = ARRIVALS + CPUS * CACHE_LINE;
const WORD: usize = size_of::<u64>();

/// Which frames of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    /// Those that come in.
    Ingress,
    /// Those that go out.
    Egress,
}

impl Direction {
    /// Where their program is.
    const fn attach_type(self) -> AttachType {
        match self {
            Direction::Ingress => AttachType::TcxIngress,
            Direction::Egress => AttachType::TcxEgress,
        }
    }
}

const DIRECTIONS: [Direction; 2] = [Direction::Egress, Direction::Ingress];

/// Place in [`DIRECTIONS`].
const fn index(direction: Direction) -> usize {
    match direction {
        Direction::Egress => 0,
        Direction::Ingress => 1,
    }
}

/// Where the number of frames in this direction stands.
const fn counter_offset(direction: Direction) -> usize {
    index(direction) * 2 * CACHE_LINE
}

/// Where the records of this direction begin.
const fn ring_offset(direction: Direction) -> usize {
    HEAD + index(direction) * CAPACITY * RECORD_LEN
}

/// A frame that has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// When, `CLOCK_MONOTONIC`; zero for a frame that no driver has handed over.
    pub time_ns: u64,
    /// TCP's sequence number; the number of a datagram.
    pub sequence: u32,
    /// TCP's acknowledgement; the number of a datagram.
    pub acknowledged: u32,
    /// Bytes of TCP's or UDP's payload.
    pub payload: u16,
    /// TCP, else UDP.
    pub tcp: bool,
}

impl Frame {
    /// As `program` writes it; nothing if this is not the record of frame `number` (counted from 0).
    fn decode(record: [u64; 4], number: u64) -> Option<Frame> {
        let [time_ns, numbers, rest, stamp] = record;
        (stamp == number + 1).then_some(Frame {
            time_ns,
            sequence: numbers as u32,
            acknowledged: (numbers >> 32) as u32,
            payload: rest as u16,
            tcp: (rest >> 24) as u8 == 6,
        })
    }
}

/// Frames of a slice, in the order in which they passed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frames {
    /// What the venue has sent.
    pub out: Vec<Frame>,
    /// What has come to it.
    pub into: Vec<Frame>,
}

/// See the module's head.
pub struct Tap {
    array: SharedArray,
    /// Of each direction.
    programs: [OwnedFd; 2],
    arrivals: OwnedFd,
    namespace: File,
    ifindex: u32,
}

impl Tap {
    /// For the right end of a wire. It is not there before it listens.
    pub fn new(bed: &Testbed) -> anyhow::Result<Tap> {
        let array = SharedArray::new((HEAD + 2 * CAPACITY * RECORD_LEN) / WORD)?;
        let ifindex = bed.right().run(|| Interface::open(bed.right_interface()))??.index;
        let load = |direction: Direction| {
            let program = program::program(&array, direction)?;
            load_program(ProgramType::TrafficControl, direction.attach_type(), &program)
        };
        let programs = DIRECTIONS.map(load);
        let [egress, ingress] = programs;
        let arrivals = load_tracepoint_program(&program::arrival_program(&array)?)?;
        Ok(Tap { array, programs: [egress?, ingress?], arrivals, namespace: File::open(bed.right().path())?, ifindex })
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// If the kernel does not attach the programs (before Linux 6.6), or the interface is gone.
    pub fn listen(&self) -> anyhow::Result<Listening<'_>> {
        let before = DIRECTIONS.map(|direction| self.passed(direction));
        let arrivals = attach_to_tracepoint(self.arrivals.as_fd(), c"netif_rx").context("attaching the tap to netif_rx")?;
        // A link is made in the network namespace of the thread that makes it.
        let Tap { programs, namespace, ifindex, .. } = self;
        let links = std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET)?;
                let attach = |direction: Direction| create_link(programs[index(direction)].as_fd(), *ifindex, direction.attach_type(), 0);
                anyhow::Ok([attach(Direction::Egress)?, attach(Direction::Ingress)?])
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        Ok(Listening { _links: links.context("attaching the tap (tcx, from Linux 6.6 on)")?, _arrivals: arrivals, tap: self, before })
    }

    fn passed(&self, direction: Direction) -> u64 {
        self.array.words()[counter_offset(direction) / WORD].load(Ordering::Acquire)
    }

    fn since(&self, before: u64, direction: Direction) -> anyhow::Result<Vec<Frame>> {
        let now = self.passed(direction);
        ensure!(now - before <= CAPACITY as u64, "{} frames in one slice are more than the tap holds", now - before);
        let ring = &self.array.words()[ring_offset(direction) / WORD..][..CAPACITY * RECORD_LEN / WORD];
        let record = |number: u64| {
            let at = (number % CAPACITY as u64) as usize * RECORD_LEN / WORD;
            // The stamp first: what it promises was written before it.
            let stamp = ring[at + 3].load(Ordering::Acquire);
            let [time, numbers, rest] = [0, 1, 2].map(|word| ring[at + word].load(Ordering::Relaxed));
            Frame::decode([time, numbers, rest, stamp], number)
        };
        // A frame that passes right now is after the slice.
        Ok((before..now).map_while(record).collect())
    }
}

/// While it is there, the tap listens.
pub struct Listening<'a> {
    _links: [Link; 2],
    _arrivals: Link,
    tap: &'a Tap,
    /// Frames of each direction that had passed before.
    before: [u64; 2],
}

impl Listening<'_> {
    /// What has passed since.
    ///
    /// # Errors
    /// If that was more than there is room for.
    pub fn taken(&self) -> anyhow::Result<Frames> {
        let [out, into] = DIRECTIONS.map(|direction| self.tap.since(self.before[index(direction)], direction));
        Ok(Frames { out: out?, into: into? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drivers::testbed::{TestbedConfig, unavailable};
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

    const LEFT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
    const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    const PORT: u16 = 9_444;

    #[test]
    fn a_record_is_taken_apart_and_one_that_is_not_whole_or_of_another_round_is_none() {
        let record = [7, 0x8765_4321_0102_0304, 0x06_18_01_72, 42];
        let frame = Frame { time_ns: 7, sequence: 0x0102_0304, acknowledged: 0x8765_4321, payload: 0x172, tcp: true };
        assert_eq!(Frame::decode(record, 41), Some(frame));
        assert_eq!(Frame::decode([7, 1, 0x11_00_01_72, 42], 41).map(|frame| frame.tcp), Some(false));
        for number in [42, 40, 41 + CAPACITY as u64] {
            assert_eq!(Frame::decode(record, number), None, "{number}");
        }
    }

    /// A wire with a tap, if there can be one.
    fn tapped() -> Option<(Testbed, Tap)> {
        if let Some(reason) = unavailable() {
            assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: {reason}");
            eprintln!("skipped: {reason}");
            return None;
        }
        let bed = Testbed::create(TestbedConfig::default()).unwrap();
        let tap = Tap::new(&bed).unwrap();
        Some((bed, tap))
    }

    fn payloads(frames: &[Frame]) -> Vec<u16> {
        frames.iter().map(|frame| frame.payload).filter(|payload| *payload > 0).collect()
    }

    #[test]
    fn the_tap_sees_each_segment_with_its_numbers_and_both_directions_on_one_clock() {
        let Some((bed, tap)) = tapped() else { return };
        let listening = tap.listen().unwrap();
        let listener = bed.right().run(|| TcpListener::bind((RIGHT, PORT))).unwrap().unwrap();
        let mut client = bed.left().run(|| TcpStream::connect((RIGHT, PORT))).unwrap().unwrap();
        let (mut venue, _) = listener.accept().unwrap();
        let shake = listening.taken().unwrap();
        assert!(shake.into.len() >= 2 && payloads(&shake.into).is_empty(), "SYN, ACK: {shake:?}");
        let mut exchange = || {
            let mut bytes = [0; 400];
            venue.write_all(&[1; 400]).unwrap();
            client.read_exact(&mut bytes).unwrap();
            client.write_all(&[2; 300]).unwrap();
            venue.read_exact(&mut bytes[..300]).unwrap();
        };
        exchange();
        drop(listening);
        exchange();
        let listening = tap.listen().unwrap();
        let since = listening.taken().unwrap();
        assert!(payloads(&since.out).is_empty() && payloads(&since.into).is_empty(), "of what passed while nobody listened: {since:?}");
        (0..3).for_each(|_| exchange());
        let frames = listening.taken().unwrap();
        assert_eq!((payloads(&frames.out), payloads(&frames.into)), (vec![400; 3], vec![300; 3]));
        let pairs = pair(&frames, 3).unwrap();
        assert!(pairs.times_ns.iter().all(|ns| (100..1_000_000_000).contains(ns)), "{pairs:?}");
    }

    #[test]
    fn the_tap_counts_datagrams_by_their_number_and_refuses_more_than_it_holds() {
        let Some((bed, tap)) = tapped() else { return };
        let venue = bed.right().run(|| UdpSocket::bind((RIGHT, PORT))).unwrap().unwrap();
        let client = bed.left().run(|| UdpSocket::bind((LEFT, PORT))).unwrap().unwrap();
        let send = |from: &UdpSocket, to: Ipv4Addr, number: u32| {
            let mut datagram = [0; 100];
            datagram[..4].copy_from_slice(&number.to_be_bytes());
            from.send_to(&datagram, (to, PORT)).unwrap();
        };
        let listening = tap.listen().unwrap();
        send(&venue, LEFT, 7);
        send(&client, RIGHT, 8);
        let frames = listening.taken().unwrap();
        assert_eq!((payloads(&frames.out), payloads(&frames.into)), (vec![100], vec![100]));
        let seen = |frame: &Frame| (frame.sequence, frame.acknowledged, frame.tcp);
        assert_eq!((seen(&frames.out[0]), seen(&frames.into[0])), ((7, 7, false), (8, 8, false)));
        // On to the end of the ring.
        (0..CAPACITY as u32 - 10).for_each(|number| send(&venue, LEFT, number));
        drop(listening);
        let listening = tap.listen().unwrap();
        (0..20).for_each(|number| send(&venue, LEFT, number));
        let numbers: Vec<u32> = listening.taken().unwrap().out.iter().map(|frame| frame.sequence).collect();
        assert_eq!(numbers, (0..20).collect::<Vec<_>>(), "around its end");
        (0..CAPACITY as u32).for_each(|number| send(&venue, LEFT, number));
        assert!(listening.taken().unwrap_err().to_string().contains("more than the tap holds"));
    }
}
