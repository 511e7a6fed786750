//! After start, moving frames allocates nothing, faults no page in and makes no system call beyond the
//! counted kicks: measured on every port.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use drivers::af_packet::{AfPacket, AfPacketConfig};
use drivers::af_xdp::{AfXdp, AfXdpConfig};
use drivers::error::Result;
use drivers::filter::Filter;
use drivers::frame_memory::Pages;
use drivers::memory::{Faults, MemoryConfig, pair};
use drivers::port::{Burst, Port};
use drivers::select::AnyPort;
use drivers::tap::TapConfig;
use drivers::testbed::{self, Testbed, TestbedConfig};

/// Counts the calls of each thread for itself.
struct CountingAllocator;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more; nobody asks for it either.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call is passed on unchanged to the system's allocator; counting does not allocate.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's guarantees are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's guarantees are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's guarantees are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Page faults of the calling thread so far: minor, major.
fn page_faults() -> (i64, i64) {
    // SAFETY: rusage is plain data; all zeroes is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is live and writable.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) }, 0);
    (usage.ru_minflt, usage.ru_majflt)
}

/// Ethernet type for local experiments (IEEE 802).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// Sends bursts of `burst_len` frames from `left` to `right`, a millisecond apart from `start_ns` on,
/// `rounds` times; returns how many arrived.
fn exchange(left: &mut impl Port, right: &mut impl Port, start_ns: u64, rounds: u64, burst_len: usize) -> u64 {
    let mut burst = Burst::new();
    let mut arrived = 0;
    for round in 0..rounds {
        let now_ns = start_ns + round * 1_000_000;
        for _ in 0..burst_len {
            let frame = left.allocate().expect("a free chunk");
            let buffer = left.buffer(&frame);
            buffer[..12].fill(0xff);
            buffer[12..14].copy_from_slice(&ETHERTYPE);
            buffer[14..200].fill(round as u8);
            left.commit(frame, 200);
        }
        left.flush(now_ns).expect("flush");
        // A later look, for links with delay; a few, for kernels that need a moment.
        for _ in 0..1000 {
            right.receive(now_ns + 900_000, &mut burst);
            for index in 0..burst.len() {
                let handle = burst.frames()[index];
                if right.frame(handle)[12..14] == ETHERTYPE {
                    arrived += 1;
                }
            }
            right.recycle(&mut burst);
            if arrived == (round + 1) * burst_len as u64 {
                break;
            }
        }
    }
    arrived
}

fn assert_quiet(name: &str, left: &mut impl Port, right: &mut impl Port, start_ns: u64, lossless: bool) {
    const ROUNDS: u64 = 2000;
    const BURST: usize = 8;
    // Once round all chunks and rings.
    exchange(left, right, start_ns, ROUNDS, BURST);
    let start_ns = start_ns + ROUNDS * 1_000_000;
    let before = (CALLS.with(Cell::get), page_faults());
    let kicks = left.statistics().kicks;
    let arrived = exchange(left, right, start_ns, ROUNDS, BURST);
    let after = (CALLS.with(Cell::get), page_faults());
    assert_eq!(after.0 - before.0, 0, "{name}: allocator calls");
    assert_eq!(after.1, before.1, "{name}: page faults");
    assert!(left.statistics().kicks - kicks <= ROUNDS, "{name}: one system call for a burst");
    assert_eq!(right.statistics().wakeups, 0, "{name}: none for receiving");
    assert!(arrived > 0);
    if lossless {
        assert_eq!(arrived, ROUNDS * BURST as u64, "{name}");
    }
}

#[test]
fn memory_link_is_quiet_with_and_without_faults() {
    let config = MemoryConfig { chunks: 256, pages: Pages::Ordinary, ..MemoryConfig::default() };
    let (mut a, mut b) = pair(&config).expect("pair");
    assert_quiet("memory", &mut a, &mut b, 0, true);
    let faults =
        Faults { loss_ppm: 10_000, duplicate_ppm: 10_000, reorder_ppm: 10_000, corrupt_ppm: 10_000, jitter_ns: 1000, ..Faults::NONE };
    a.set_faults(faults);
    assert_quiet("memory with faults", &mut a, &mut b, 60_000_000_000, false);
}

#[test]
fn tap_is_quiet() {
    let path = std::env::temp_dir().join(format!("peregrine-hot-path-{}.pcapng", std::process::id()));
    let config = MemoryConfig { chunks: 256, pages: Pages::Ordinary, ..MemoryConfig::default() };
    let (a, mut b) = pair(&config).expect("pair");
    let mut tapped = AnyPort::Memory(a).tapped(&TapConfig { slots: 512, ..TapConfig::new(&path) }).expect("tap");
    assert_quiet("tap", &mut tapped, &mut b, 0, true);
    drop(tapped);
    std::fs::remove_file(path).expect("the capture was written");
}

fn on_a_wire(name: &str, open: impl Fn(&str) -> Result<AnyPort> + Sync) {
    if let Some(reason) = testbed::unavailable() {
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: {reason}");
        eprintln!("skipped: {reason}");
        return;
    }
    let bed = Testbed::create(TestbedConfig { left: None, right: None, ..TestbedConfig::default() }).expect("testbed");
    let mut left = bed.left().run(|| open(bed.left_interface())).expect("enter").expect("left port");
    let mut right = bed.right().run(|| open(bed.right_interface())).expect("enter").expect("right port");
    assert_quiet(name, &mut left, &mut right, 0, true);
}

#[test]
fn af_xdp_is_quiet() {
    on_a_wire("af_xdp", |interface| {
        let config = AfXdpConfig { rx_frames: 256, tx_frames: 128, ..AfXdpConfig::new(interface, Filter::Everything) };
        AfXdp::open(&config).map(AnyPort::AfXdp)
    });
}

#[test]
fn af_packet_is_quiet() {
    on_a_wire("af_packet", |interface| {
        let config = AfPacketConfig { rx_frames: 256, tx_frames: 128, ..AfPacketConfig::new(interface, Filter::Everything) };
        AfPacket::open(&config).map(AnyPort::AfPacket)
    });
}
