//! Two ports joined in process by a link that can misbehave on purpose.
//!
//! Each direction has a region of chunks owned by the sending port. A committed chunk's number travels
//! to the other port over a lock-free ring, is read there in place, and travels back when recycled: no
//! copy, no lock, no allocation. Both ends may live in one thread or in two.
//!
//! Faults are decided by the sender at [`Port::flush`], from a seeded generator that is drawn the same
//! number of times for every frame: a frame's fate depends on the seed and on its place in the
//! sequence of sent frames only. Delivery times are `now_ns` of the flush plus the delay, and the
//! receiver hands a frame out once its own `now_ns` has reached that time, so both ends must be driven
//! by one clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{DriverError, Result};
use crate::frame_memory::{FrameMemory, FreeList, KeptChunks, Pages};
use crate::port::{Burst, Port, PortInfo, PortStatistics, RxFrame, TxFrame};
use crate::purpose::Purpose;
use crate::spsc::{self, Consumer, Producer};

/// Bytes of an Ethernet header.
const ETHERNET_HEADER: usize = 14;
/// Probabilities are in parts per million.
pub const PPM: u32 = 1_000_000;

/// What the link does to frames in one direction. Probabilities are parts per million of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Frames that vanish.
    pub loss_ppm: u32,
    /// Frames that arrive twice.
    pub duplicate_ppm: u32,
    /// Frames held back by `reorder_delay_ns`, so that later ones overtake them.
    pub reorder_ppm: u32,
    /// How long a reordered frame is held back, in nanoseconds.
    pub reorder_delay_ns: u64,
    /// Frames in which one bit is flipped (anywhere, headers included).
    pub corrupt_ppm: u32,
    /// Time that every frame needs, in nanoseconds.
    pub delay_ns: u64,
    /// Additional time, uniform in `0..=jitter_ns`; never changes the order of frames.
    pub jitter_ns: u64,
    /// Frames with a longer IP packet vanish without a word (a path that is narrower than its link).
    pub path_mtu: Option<usize>,
}

impl Faults {
    /// A perfect link.
    pub const NONE: Faults = Faults {
        loss_ppm: 0,
        duplicate_ppm: 0,
        reorder_ppm: 0,
        reorder_delay_ns: 50_000,
        corrupt_ppm: 0,
        delay_ns: 0,
        jitter_ns: 0,
        path_mtu: None,
    };

    /// A link that only takes time.
    pub const fn delay(delay_ns: u64) -> Faults {
        Faults { delay_ns, ..Faults::NONE }
    }

    /// A link on which nothing arrives.
    pub const fn cut() -> Faults {
        Faults { loss_ppm: PPM, ..Faults::NONE }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Faults::NONE
    }
}

/// What the faults did in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultStatistics {
    /// Frames lost by chance, or because the other port is gone.
    pub lost: u64,
    /// Frames sent twice.
    pub duplicated: u64,
    /// Frames held back.
    pub reordered: u64,
    /// Frames with a flipped bit.
    pub corrupted: u64,
    /// Frames longer than the path MTU.
    pub oversized: u64,
}

/// A link to be made.
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    /// Name of the link; the ports are called `<name>-a` and `<name>-b`.
    pub name: String,
    /// Largest IP packet in bytes (both directions).
    pub mtu: usize,
    /// Transmit chunks of each port.
    pub chunks: u32,
    /// Seed of all chance.
    pub seed: u64,
    /// What happens to frames from `a` to `b`.
    pub a_to_b: Faults,
    /// What happens to frames from `b` to `a`.
    pub b_to_a: Faults,
    /// MAC address of `a`.
    pub mac_a: [u8; 6],
    /// MAC address of `b`.
    pub mac_b: [u8; 6],
    /// Where the chunks lie. A port on the hot path wants them faulted in beforehand.
    pub pages: Pages,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        MemoryConfig {
            name: "memory".to_owned(),
            mtu: 1500,
            chunks: 1024,
            seed: 1,
            a_to_b: Faults::NONE,
            b_to_a: Faults::NONE,
            mac_a: [0x02, 0, 0, 0, 0, 0x0a],
            mac_b: [0x02, 0, 0, 0, 0, 0x0b],
            pages: Pages::OnDemand,
        }
    }
}

/// Makes a link and returns its two ends, `a` and `b`.
///
/// # Errors
/// If the MTU or the number of chunks is out of bounds, or there is no memory.
pub fn pair(config: &MemoryConfig) -> Result<(MemoryPort, MemoryPort)> {
    if !(68..=65_535).contains(&config.mtu) {
        return Err(DriverError::Config(format!("MTU {} of memory link {} is not within 68 to 65535", config.mtu, config.name)));
    }
    if !(1..=65_536).contains(&config.chunks) {
        return Err(DriverError::Config(format!("{} chunks for memory link {} are not within 1 to 65536", config.chunks, config.name)));
    }
    let chunk_size = u32::try_from((config.mtu + ETHERNET_HEADER).next_power_of_two().max(2048))
        .map_err(|_| DriverError::Config(format!("MTU {}", config.mtu)))?;
    let memory_a = Arc::new(FrameMemory::new(config.chunks, chunk_size, config.pages)?);
    let memory_b = Arc::new(FrameMemory::new(config.chunks, chunk_size, config.pages)?);
    let (sent_by_a, arriving_at_b) = spsc::ring(config.chunks as usize);
    let (sent_by_b, arriving_at_a) = spsc::ring(config.chunks as usize);
    let (returned_by_a, returned_to_b) = spsc::ring(config.chunks as usize);
    let (returned_by_b, returned_to_a) = spsc::ring(config.chunks as usize);
    let alive = [Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true))];
    let port = |end: &str, mac, memory: &Arc<FrameMemory>| PortInfo {
        interface: format!("{}-{end}", config.name),
        driver: "memory",
        mode: "in-process",
        why: memory.why().to_vec(),
        mac,
        mtu: config.mtu,
        huge_pages: memory.huge_pages(),
    };
    let mut seeds = Random::new(config.seed);
    let a = MemoryPort {
        info: port("a", config.mac_a, &memory_a),
        capacity: (config.mtu + ETHERNET_HEADER) as u32,
        free: FreeList::new(0, config.chunks, chunk_size),
        kept: KeptChunks::new(0, config.chunks, chunk_size),
        staged: Vec::with_capacity(config.chunks as usize),
        sent: sent_by_a,
        returned: returned_to_a,
        arriving: arriving_at_a,
        giving_back: returned_by_a,
        pending: BinaryHeap::with_capacity(config.chunks as usize),
        transmit_memory: memory_a.clone(),
        receive_memory: memory_b.clone(),
        faults: config.a_to_b,
        random: Random::new(seeds.next()),
        sequence: 0,
        last_delivery_ns: 0,
        statistics: PortStatistics::default(),
        fault_statistics: FaultStatistics::default(),
        alive: alive[0].clone(),
        peer_alive: alive[1].clone(),
    };
    let b = MemoryPort {
        info: port("b", config.mac_b, &memory_b),
        capacity: (config.mtu + ETHERNET_HEADER) as u32,
        free: FreeList::new(0, config.chunks, chunk_size),
        kept: KeptChunks::new(0, config.chunks, chunk_size),
        staged: Vec::with_capacity(config.chunks as usize),
        sent: sent_by_b,
        returned: returned_to_b,
        arriving: arriving_at_b,
        giving_back: returned_by_b,
        pending: BinaryHeap::with_capacity(config.chunks as usize),
        transmit_memory: memory_b,
        receive_memory: memory_a,
        faults: config.b_to_a,
        random: Random::new(seeds.next()),
        sequence: 0,
        last_delivery_ns: 0,
        statistics: PortStatistics::default(),
        fault_statistics: FaultStatistics::default(),
        alive: alive[1].clone(),
        peer_alive: alive[0].clone(),
    };
    Ok((a, b))
}

/// A frame under way. Ordered by time of delivery, then by order of sending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Delivery {
    deliver_at_ns: u64,
    sequence: u64,
    offset: u64,
    len: u32,
}

/// One end of an in-process link.
pub struct MemoryPort {
    info: PortInfo,
    /// Bytes of the largest frame.
    capacity: u32,
    /// Our chunks that nobody uses.
    free: FreeList,
    /// Those that our user keeps.
    kept: KeptChunks,
    /// Committed, not yet flushed: offset and length.
    staged: Vec<(u64, u32)>,
    /// Frames on their way to the other port.
    sent: Producer<Delivery>,
    /// Our chunks that the other port has recycled.
    returned: Consumer<u64>,
    /// Frames on their way to us.
    arriving: Consumer<Delivery>,
    /// The other port's chunks that we have recycled.
    giving_back: Producer<u64>,
    /// Frames that have reached us but are not yet due.
    pending: BinaryHeap<Reverse<Delivery>>,
    transmit_memory: Arc<FrameMemory>,
    receive_memory: Arc<FrameMemory>,
    faults: Faults,
    random: Random,
    sequence: u64,
    last_delivery_ns: u64,
    statistics: PortStatistics,
    fault_statistics: FaultStatistics,
    alive: Arc<AtomicBool>,
    peer_alive: Arc<AtomicBool>,
}

impl MemoryPort {
    /// Changes what happens to the frames that this port sends from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// What happens to the frames that this port sends.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// What the faults did to the frames that this port sent.
    pub fn fault_statistics(&self) -> FaultStatistics {
        self.fault_statistics
    }

    /// The time at which the next frame under way to this port is due, if there is one: where a
    /// simulation may advance its clock to.
    pub fn next_delivery_ns(&mut self) -> Option<u64> {
        self.collect();
        self.pending.peek().map(|Reverse(delivery)| delivery.deliver_at_ns)
    }

    /// Moves what the ring brought to the heap. Bounded by the other port's number of chunks.
    fn collect(&mut self) {
        while let Some(delivery) = self.arriving.pop() {
            self.pending.push(Reverse(delivery));
        }
    }

    /// Takes back the chunks that the other port has recycled.
    fn reclaim(&mut self) {
        while let Some(offset) = self.returned.pop() {
            self.free.give(offset);
        }
    }

    /// Decides the fate of one committed frame and sends what is left of it.
    fn transmit(&mut self, now_ns: u64, offset: u64, len: u32) {
        // Always the same draws, so that one frame's fate does not depend on another's.
        let lost = self.random.chance(self.faults.loss_ppm);
        let duplicated = self.random.chance(self.faults.duplicate_ppm);
        let reordered = self.random.chance(self.faults.reorder_ppm);
        let corrupted = self.random.chance(self.faults.corrupt_ppm);
        let jitter_ns = self.random.up_to(self.faults.jitter_ns);
        // Of the place of a flipped bit.
        self.random.step();

        if self.faults.path_mtu.is_some_and(|mtu| len as usize > mtu + ETHERNET_HEADER) {
            self.fault_statistics.oversized += 1;
            self.free.give(offset);
            return;
        }
        if lost || !self.peer_alive.load(Ordering::Relaxed) {
            self.fault_statistics.lost += 1;
            self.free.give(offset);
            return;
        }
        if corrupted {
            self.fault_statistics.corrupted += 1;
            let bit = scaled(self.random.mixed(), u64::from(len) * 8);
            let byte = self.transmit_memory.pointer(offset + bit / 8, 1);
            // SAFETY: the chunk is ours until it is sent below, and the pointer is bounds-checked.
            unsafe { *byte ^= 1 << (bit % 8) };
        }
        let in_order_ns = now_ns.saturating_add(self.faults.delay_ns).saturating_add(jitter_ns).max(self.last_delivery_ns);
        let deliver_at_ns = if reordered {
            self.fault_statistics.reordered += 1;
            in_order_ns.saturating_add(self.faults.reorder_delay_ns)
        } else {
            self.last_delivery_ns = in_order_ns;
            in_order_ns
        };
        if duplicated && let Some(copy) = self.free.take() {
            self.fault_statistics.duplicated += 1;
            let (from, to) = (self.transmit_memory.pointer(offset, len), self.transmit_memory.pointer(copy, len));
            // SAFETY: two different chunks of ours, both long enough (bounds-checked).
            unsafe { std::ptr::copy_nonoverlapping(from, to, len as usize) };
            self.send(deliver_at_ns, copy, len);
        }
        self.send(deliver_at_ns, offset, len);
    }

    fn send(&mut self, deliver_at_ns: u64, offset: u64, len: u32) {
        let delivery = Delivery { deliver_at_ns, sequence: self.sequence, offset, len };
        self.sequence += 1;
        let room = self.sent.claim(|slot| *slot = delivery);
        debug_assert!(room, "the ring holds as many frames as there are chunks");
    }
}

impl Drop for MemoryPort {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::Relaxed);
    }
}

impl Port for MemoryPort {
    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn receive(&mut self, now_ns: u64, burst: &mut Burst) -> usize {
        self.collect();
        let mut added = 0;
        while burst.room() > 0 {
            match self.pending.peek() {
                Some(Reverse(delivery)) if delivery.deliver_at_ns <= now_ns => {
                    burst.push(RxFrame { offset: delivery.offset, len: delivery.len });
                    self.statistics.rx_frames += 1;
                    self.statistics.rx_bytes += u64::from(delivery.len);
                    self.pending.pop();
                    added += 1;
                }
                _ => break,
            }
        }
        added
    }

    fn frame(&mut self, frame: RxFrame) -> &mut [u8] {
        let pointer = self.receive_memory.pointer(frame.offset, frame.len);
        // SAFETY: bounds-checked; the sending port handed this chunk over through the ring and leaves
        // it alone until it is recycled, and `&mut self` keeps us from making a second slice of it.
        unsafe { std::slice::from_raw_parts_mut(pointer, frame.len as usize) }
    }

    fn recycle(&mut self, burst: &mut Burst) {
        for frame in burst.frames() {
            let room = self.giving_back.claim(|slot| *slot = self.receive_memory.chunk_of(frame.offset));
            debug_assert!(room, "a frame was recycled twice");
        }
        self.giving_back.publish();
        burst.clear();
    }

    fn allocate(&mut self) -> Option<TxFrame> {
        if self.free.is_empty() {
            self.reclaim();
        }
        match self.free.take() {
            Some(offset) => Some(TxFrame { offset, capacity: self.capacity }),
            None => {
                self.statistics.tx_exhausted += 1;
                None
            }
        }
    }

    fn buffer(&mut self, frame: &TxFrame) -> &mut [u8] {
        let pointer = self.transmit_memory.pointer(frame.offset, frame.capacity);
        // SAFETY: bounds-checked; an allocated chunk belongs to this port until it is committed, and
        // `&mut self` keeps us from making a second slice of it.
        unsafe { std::slice::from_raw_parts_mut(pointer, frame.capacity as usize) }
    }

    fn commit(&mut self, frame: TxFrame, len: usize) {
        if len < ETHERNET_HEADER || len > self.capacity as usize {
            self.statistics.tx_invalid += 1;
            self.free.give(frame.offset);
            return;
        }
        self.statistics.tx_frames += 1;
        self.statistics.tx_bytes += len as u64;
        self.staged.push((frame.offset, len as u32));
    }

    fn abandon(&mut self, frame: TxFrame) {
        self.free.give(frame.offset);
    }

    // The other port gets a frame's chunk itself and may write into it, so of a kept chunk it gets a copy.
    fn keep(&mut self) -> Option<TxFrame> {
        if !self.kept.has_room() {
            return None;
        }
        if self.free.is_empty() {
            self.reclaim();
        }
        let offset = self.free.take()?;
        self.kept.keep(offset);
        Some(TxFrame { offset, capacity: self.transmit_memory.chunk_size() })
    }

    fn is_at_rest(&self, frame: &TxFrame) -> bool {
        self.kept.is_at_rest(frame.offset)
    }

    fn commit_kept_for(&mut self, purpose: Purpose, frame: &TxFrame, start: usize, len: usize) -> bool {
        let fits = len >= ETHERNET_HEADER && len <= self.capacity as usize && start + len <= frame.capacity as usize;
        if !fits || !self.kept.is_at_rest(frame.offset) || purpose == Purpose::Rehearse {
            return false;
        }
        let Some(copy) = self.allocate() else { return false };
        let from = self.transmit_memory.pointer(frame.offset + start as u64, len as u32);
        let to = self.transmit_memory.pointer(copy.offset, len as u32);
        // SAFETY: both are bounds-checked and lie in different chunks, each of which is ours alone now.
        unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
        self.commit(copy, len);
        true
    }

    fn has_room(&mut self, _kept: bool) -> bool {
        // What leaves is a chunk of its own either way.
        if self.free.is_empty() {
            self.reclaim();
        }
        let room = !self.free.is_empty();
        self.statistics.tx_exhausted += u64::from(!room);
        room
    }

    fn release(&mut self, frame: TxFrame) {
        if self.kept.release(frame.offset) {
            self.free.give(frame.offset);
        }
    }

    fn flush(&mut self, now_ns: u64) -> io::Result<()> {
        self.reclaim();
        for index in 0..self.staged.len() {
            let (offset, len) = self.staged[index];
            self.transmit(now_ns, offset, len);
        }
        self.staged.clear();
        self.sent.publish();
        Ok(())
    }

    fn statistics(&self) -> PortStatistics {
        self.statistics
    }
}

/// SplitMix64: a 64-bit counter passed through a mixing function (Steele, Lea, Flood 2014). Each call moves the counter on by one
/// step, whatever it is asked for; what can come out in one way only is not mixed.
#[derive(Clone, Debug)]
struct Random {
    state: u64,
}

impl Random {
    fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.step();
        self.mixed()
    }

    fn step(&mut self) {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    }

    fn mixed(&self) -> u64 {
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `0..=most`.
    fn up_to(&mut self, most: u64) -> u64 {
        self.step();
        if most == 0 { 0 } else { scaled(self.mixed(), most.saturating_add(1)) }
    }

    /// True in `ppm` of a million cases.
    fn chance(&mut self, ppm: u32) -> bool {
        self.step();
        ppm > 0 && scaled(self.mixed(), u64::from(PPM)) < u64::from(ppm)
    }
}

/// A random number, made one in `0..bound`; 0 if `bound` is 0.
fn scaled(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn send(port: &mut MemoryPort, now_ns: u64, bytes: &[u8]) -> bool {
        let Some(frame) = port.allocate() else { return false };
        port.buffer(&frame)[..bytes.len()].copy_from_slice(bytes);
        port.commit(frame, bytes.len());
        port.flush(now_ns).expect("memory links do not fail");
        true
    }

    fn receive_all(port: &mut MemoryPort, now_ns: u64) -> Vec<Vec<u8>> {
        let mut burst = Burst::new();
        let mut frames = Vec::new();
        while port.receive(now_ns, &mut burst) > 0 {
            for index in 0..burst.len() {
                let frame = burst.frames()[index];
                frames.push(port.frame(frame).to_vec());
            }
            port.recycle(&mut burst);
        }
        frames
    }

    fn numbered(number: u32) -> Vec<u8> {
        let mut frame = vec![0x5a; 64];
        frame[..4].copy_from_slice(&number.to_be_bytes());
        frame
    }

    fn number(frame: &[u8]) -> u32 {
        u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]])
    }

    /// Sends `count` numbered frames, one every `gap_ns`, and returns what arrived.
    fn run(config: &MemoryConfig, count: u32, gap_ns: u64) -> (Vec<Vec<u8>>, FaultStatistics) {
        let (mut a, mut b) = pair(config).expect("pair");
        let mut received = Vec::new();
        for index in 0..count {
            let now_ns = u64::from(index) * gap_ns;
            assert!(send(&mut a, now_ns, &numbered(index)));
            received.extend(receive_all(&mut b, now_ns));
        }
        received.extend(receive_all(&mut b, u64::MAX));
        (received, a.fault_statistics())
    }

    #[test]
    fn a_kept_frame_can_be_sent_again_whatever_the_receiver_did_to_it_and_some_chunks_are_always_left() {
        let (mut a, mut b) = pair(&MemoryConfig { chunks: 8, ..MemoryConfig::default() }).expect("pair");
        let kept = a.keep().expect("a chunk");
        a.buffer(&kept)[20..84].copy_from_slice(&numbered(7));
        for round in 0..20 {
            assert!(a.is_at_rest(&kept) && a.commit_kept(&kept, 20, 64));
            a.flush(round).expect("flush");
            let mut burst = Burst::new();
            assert_eq!(b.receive(round, &mut burst), 1);
            let frame = burst.frames()[0];
            assert_eq!(b.frame(frame), numbered(7));
            b.frame(frame).fill(0);
            b.recycle(&mut burst);
        }
        assert!(!a.commit_kept(&kept, 0, 13) && !a.commit_kept(&kept, 0, 1515), "no Ethernet header; longer than the link takes");
        let more: Vec<TxFrame> = std::iter::from_fn(|| a.keep()).collect();
        assert_eq!(more.len(), 5, "three quarters at most");
        let other = a.allocate().expect("the rest is for others");
        a.abandon(other);
        a.release(kept);
        for frame in more {
            a.release(frame);
        }
        assert_eq!(std::iter::from_fn(|| a.allocate()).count(), 8, "none is lost");
    }

    #[test]
    fn a_perfect_link_delivers_everything_in_order_both_ways() {
        let (mut a, mut b) = pair(&MemoryConfig { chunks: 4, ..MemoryConfig::default() }).expect("pair");
        for round in 0..50 {
            assert!(send(&mut a, round, &numbered(round as u32)));
            assert!(send(&mut b, round, &numbered(1000 + round as u32)));
            assert_eq!(receive_all(&mut b, round), [numbered(round as u32)]);
            assert_eq!(receive_all(&mut a, round), [numbered(1000 + round as u32)]);
        }
        assert_eq!((a.statistics().tx_frames, b.statistics().rx_frames, b.statistics().rx_bytes), (50, 50, 50 * 64));
    }

    #[test]
    fn nothing_is_sent_before_flush_and_nothing_arrives_before_its_time() {
        let (mut a, mut b) = pair(&MemoryConfig { a_to_b: Faults::delay(1000), ..MemoryConfig::default() }).expect("pair");
        let frame = a.allocate().expect("free chunk");
        a.commit(frame, 60);
        assert_eq!(b.next_delivery_ns(), None);
        a.flush(500).expect("flush");
        assert_eq!(b.next_delivery_ns(), Some(1500));
        assert!(receive_all(&mut b, 1499).is_empty());
        assert_eq!(receive_all(&mut b, 1500).len(), 1);
    }

    #[test]
    fn chunks_run_out_and_come_back_when_recycled() {
        let (mut a, mut b) = pair(&MemoryConfig { chunks: 3, ..MemoryConfig::default() }).expect("pair");
        assert!((0..3).all(|index| send(&mut a, 0, &numbered(index))));
        assert!(!send(&mut a, 0, &numbered(3)));
        assert_eq!(a.statistics().tx_exhausted, 1);
        assert_eq!(receive_all(&mut b, 0).len(), 3);
        assert!(send(&mut a, 0, &numbered(3)));
        let abandoned = a.allocate().expect("free chunk");
        a.abandon(abandoned);
        assert!(a.allocate().is_some());
    }

    #[test]
    fn faults_strike_at_about_the_asked_rate_and_equally_for_a_seed() {
        let faults = Faults { loss_ppm: 100_000, duplicate_ppm: 50_000, corrupt_ppm: 20_000, reorder_ppm: 30_000, ..Faults::NONE };
        let config = MemoryConfig { a_to_b: faults, seed: 42, ..MemoryConfig::default() };
        let (first, statistics) = run(&config, 10_000, 10_000);
        let (second, _) = run(&config, 10_000, 10_000);
        assert_eq!(first, second, "one seed, one history");
        let near = |count: u64, expected: u64| count.abs_diff(expected) < expected / 4;
        assert!(near(statistics.lost, 1000), "{statistics:?}");
        assert!(near(statistics.duplicated, 450), "{statistics:?}");
        assert!(near(statistics.corrupted, 180), "{statistics:?}");
        assert!(near(statistics.reordered, 270), "{statistics:?}");
        assert_eq!(first.len() as u64, 10_000 - statistics.lost + statistics.duplicated);
        let (other, _) = run(&MemoryConfig { seed: 43, ..config }, 10_000, 10_000);
        assert_ne!(first, other, "another seed, another history");
    }

    #[test]
    fn a_frames_fate_is_the_same_whatever_else_may_befall_others() {
        let lost = |other: Faults| {
            let config = MemoryConfig { a_to_b: Faults { loss_ppm: 100_000, ..other }, seed: 7, ..MemoryConfig::default() };
            let (frames, _) = run(&config, 1000, 10_000);
            let arrived: std::collections::BTreeSet<u32> = frames.iter().map(|frame| number(frame)).collect();
            (0..1000).filter(|index| !arrived.contains(index)).collect::<Vec<_>>()
        };
        let alone = lost(Faults::NONE);
        assert!(alone.len() > 50, "{} of 1000 are lost", alone.len());
        assert_eq!(lost(Faults { duplicate_ppm: 300_000, reorder_ppm: 300_000, jitter_ns: 900, ..Faults::NONE }), alone);
    }

    #[test]
    fn corruption_flips_exactly_one_bit() {
        let config = MemoryConfig { a_to_b: Faults { corrupt_ppm: PPM, ..Faults::NONE }, ..MemoryConfig::default() };
        let (received, _) = run(&config, 100, 1);
        for (index, frame) in received.iter().enumerate() {
            let flipped: u32 = frame.iter().zip(numbered(index as u32)).map(|(got, sent)| (got ^ sent).count_ones()).sum();
            assert_eq!(flipped, 1);
        }
    }

    #[test]
    fn reordered_frames_are_overtaken_and_jitter_alone_keeps_the_order() {
        let reorder = Faults { reorder_ppm: 200_000, reorder_delay_ns: 2_500, ..Faults::NONE };
        let (received, statistics) = run(&MemoryConfig { a_to_b: reorder, ..MemoryConfig::default() }, 1000, 1000);
        let numbers: Vec<u32> = received.iter().map(|frame| number(frame)).collect();
        let inversions = numbers.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!(statistics.reordered > 100 && inversions > 50, "{statistics:?}, {inversions} inversions");
        let mut sorted = numbers;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());

        let jitter = Faults { jitter_ns: 100_000, ..Faults::NONE };
        let (received, _) = run(&MemoryConfig { a_to_b: jitter, ..MemoryConfig::default() }, 1000, 1000);
        assert!(received.windows(2).all(|pair| number(&pair[0]) < number(&pair[1])));
    }

    #[test]
    fn frames_over_the_path_mtu_vanish_and_over_the_link_mtu_are_refused() {
        let faults = Faults { path_mtu: Some(100), ..Faults::NONE };
        let (mut a, mut b) = pair(&MemoryConfig { a_to_b: faults, mtu: 200, ..MemoryConfig::default() }).expect("pair");
        assert!(send(&mut a, 0, &[0; 114]));
        assert!(send(&mut a, 0, &[0; 115]));
        assert_eq!(receive_all(&mut b, 0).len(), 1);
        assert_eq!(a.fault_statistics().oversized, 1);
        let frame = a.allocate().expect("free chunk");
        assert_eq!(frame.capacity, 214);
        a.commit(frame, 215);
        assert_eq!((a.statistics().tx_invalid, a.statistics().tx_frames), (1, 2));
    }

    #[test]
    fn a_port_whose_peer_is_gone_keeps_its_chunks() {
        let (mut a, b) = pair(&MemoryConfig { chunks: 2, ..MemoryConfig::default() }).expect("pair");
        drop(b);
        assert!((0..10).all(|index| send(&mut a, 0, &numbered(index))));
        assert_eq!(a.fault_statistics().lost, 10);
    }

    #[test]
    fn cutting_and_mending_the_link_at_run_time_works() {
        let (mut a, mut b) = pair(&MemoryConfig::default()).expect("pair");
        a.set_faults(Faults::cut());
        assert!(send(&mut a, 0, &numbered(0)));
        a.set_faults(Faults::NONE);
        assert!(send(&mut a, 0, &numbered(1)));
        assert_eq!(receive_all(&mut b, 0), [numbered(1)]);
    }

    #[test]
    fn the_two_ends_may_live_in_two_threads() {
        const COUNT: u32 = 20_000;
        let (mut a, mut b) = pair(&MemoryConfig { chunks: 64, ..MemoryConfig::default() }).expect("pair");
        let echo = std::thread::spawn(move || {
            let mut burst = Burst::new();
            let mut echoed = 0;
            while echoed < COUNT {
                if b.receive(1, &mut burst) == 0 {
                    std::thread::yield_now();
                    continue;
                }
                for index in 0..burst.len() {
                    let frame = burst.frames()[index];
                    let copy = b.frame(frame).to_vec();
                    while !send(&mut b, 1, &copy) {
                        std::thread::yield_now();
                    }
                    echoed += 1;
                }
                b.recycle(&mut burst);
            }
        });
        let (mut sent, mut expected) = (0, 0);
        while expected < COUNT {
            if sent < COUNT && send(&mut a, 1, &numbered(sent)) {
                sent += 1;
            }
            let frames = receive_all(&mut a, 1);
            if frames.is_empty() {
                std::thread::yield_now();
            }
            for frame in frames {
                assert_eq!(number(&frame), expected);
                expected += 1;
            }
        }
        echo.join().expect("echo thread");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the faults, frames only vanish or repeat as counted, and no chunk is lost.
        #[test]
        fn frames_and_chunks_are_conserved(
            seed in any::<u64>(),
            loss_ppm in 0..PPM, duplicate_ppm in 0..PPM, reorder_ppm in 0..PPM,
            delay_ns in 0..5_000_u64, jitter_ns in 0..5_000_u64, reorder_delay_ns in 0..5_000_u64,
            gaps_ns in prop::collection::vec(0..3_000_u64, 1..200),
        ) {
            let faults = Faults { loss_ppm, duplicate_ppm, reorder_ppm, reorder_delay_ns, delay_ns, jitter_ns, ..Faults::NONE };
            let config = MemoryConfig { seed, a_to_b: faults, chunks: 32, ..MemoryConfig::default() };
            let (mut a, mut b) = pair(&config).expect("pair");
            let (mut now_ns, mut sent, mut received) = (0, 0_u32, 0_u64);
            for gap_ns in gaps_ns {
                now_ns += gap_ns;
                sent += u32::from(send(&mut a, now_ns, &numbered(sent)));
                for frame in receive_all(&mut b, now_ns) {
                    prop_assert!(number(&frame) < sent);
                    prop_assert_eq!(&frame[4..], &numbered(0)[4..]);
                    received += 1;
                }
            }
            received += receive_all(&mut b, u64::MAX).len() as u64;
            let faults = a.fault_statistics();
            prop_assert_eq!(received, u64::from(sent) - faults.lost + faults.duplicated);
            prop_assert_eq!(std::iter::from_fn(|| a.allocate()).count(), 32, "all chunks are free again");
        }
    }
}
