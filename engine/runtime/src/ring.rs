//! One-way rings of 64-byte events between one producer and one consumer thread.
//!
//! The event ring from the hot to the cold plane lives in a file on tmpfs (or hugetlbfs) that outlives
//! the process: a slot is written first, then `head` is released, so after `kill -9` at any point the
//! slots between `tail` and `head` are exactly the events that were recorded and not yet journalled.
//! Positions are event sequence numbers (1, 2, 3, ...), the same that the journal counts, so ring and
//! journal need no further bookkeeping to be joined again.
//!
//! Layout of the file (version [`VERSION`]): one 4 KiB header page, then `capacity` slots.
//!
//! ```text
//! 0    magic "PGNRING\0"      8  version u32    12 event layout u32
//! 16   capacity u64           24 tag u64 (the owner's: which journal the events belong to)
//! 128  head u64 (next sequence to be written; producer)      own cache-line pair
//! 256  tail u64 (next sequence to be read; consumer)         own cache-line pair
//! 4096 slots
//! ```

use engine_core::event::{Event, LAYOUT_VERSION};
use engine_core::prefetch::prefetch_to_write;
use memmap2::{MmapOptions, MmapRaw};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Version of the file layout.
pub const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"PGNRING\0";
const HEADER_LEN: usize = 4096;
const SLOT_LEN: usize = 64;
const HEAD_AT: usize = 128;
const TAIL_AT: usize = 256;
/// So many slots ahead of the one being written are asked for: they are in the other end's caches, or in none.
const ASKED_AHEAD: u64 = 16;

/// Why a ring cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The file cannot be made, sized or mapped.
    #[error("event ring {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a ring of this version.
    #[error("event ring {path}: {what}; move it away if no engine uses it")]
    Format {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// The capacity is not a power of two.
    #[error("ring capacity {0} is not a power of two")]
    Capacity(usize),
}

/// The memory of a ring, shared by its two ends.
struct Memory {
    map: MmapRaw,
    mask: u64,
    _file: Option<File>,
}

// SAFETY: the mapping is plain memory that stays valid for the life of `Memory`; all shared words are
// accessed as atomics, and a slot is accessed by one side at a time (see `Producer` and `Consumer`).
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    fn word(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at + 8 <= HEADER_LEN && at.is_multiple_of(8));
        // SAFETY: `at` lies in the header page, which is mapped and 8-byte aligned (the map is page
        // aligned), and every access to these words, in this process and others, is atomic.
        unsafe { &*self.map.as_mut_ptr().add(at).cast::<AtomicU64>() }
    }

    fn slot(&self, sequence: u64) -> *mut Event {
        let index = (sequence & self.mask) as usize;
        // SAFETY: `index` <= mask < capacity, and the map holds HEADER_LEN + capacity * SLOT_LEN bytes.
        unsafe { self.map.as_mut_ptr().add(HEADER_LEN + index * SLOT_LEN).cast::<Event>() }
    }

    fn capacity(&self) -> u64 {
        self.mask + 1
    }
}

/// The writing end. One thread.
pub struct Producer {
    /// Start of the mapping, which `memory` keeps.
    base: *mut u8,
    mask: u64,
    head: u64,
    /// The first sequence whose slot is not known to be free.
    limit: u64,
    closed: bool,
    memory: Arc<Memory>,
}

// SAFETY: `base` points into the mapping of `memory`, which is `Send` and lives as long.
unsafe impl Send for Producer {}

/// The reading end. One thread.
pub struct Consumer {
    memory: Arc<Memory>,
    tail: u64,
    head_seen: u64,
}

/// What a shared-memory ring held when it was opened: recorded, not yet journalled.
#[derive(Debug, Default)]
pub struct Leftover {
    /// Sequence of the first event in `events`.
    pub first: u64,
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// What the ring was started with.
    pub tag: u64,
}

/// Makes an in-process ring. The first event has sequence `first`.
pub fn in_process(capacity: usize, first: u64) -> Result<(Producer, Consumer), RingError> {
    check_capacity(capacity)?;
    let map = MmapOptions::new()
        .len(HEADER_LEN + capacity * SLOT_LEN)
        .populate()
        .map_anon()
        .map(MmapRaw::from)
        .map_err(|source| RingError::Io { path: "(in process)".into(), source })?;
    Ok(split(Memory { map, mask: capacity as u64 - 1, _file: None }, first))
}

/// Opens the shared-memory ring at `path`, making it if it is not there. Returns what an earlier
/// process left in it; the caller journals that and then calls [`start`].
///
/// While something is left in it, the ring keeps the capacity it had: resizing could lose it.
pub fn open(path: &Path, mut capacity: usize) -> Result<(Opened, Leftover), RingError> {
    check_capacity(capacity)?;
    let io_error = |source| RingError::Io { path: path.display().to_string(), source };
    let format = |what: String| RingError::Format { path: path.display().to_string(), what };
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io_error)?;
    lock_exclusively(&file).map_err(io_error)?;
    let len = file.metadata().map_err(io_error)?.len();
    let mut leftover = Leftover::default();
    if len != 0 {
        let old = map_file(&file, len).map_err(io_error)?;
        let old_capacity;
        (leftover, old_capacity) = read_leftover(&old, len).map_err(format)?;
        if !leftover.events.is_empty() {
            capacity = old_capacity;
        }
    }
    let wanted = (HEADER_LEN + capacity * SLOT_LEN) as u64;
    if len != wanted {
        nix::fcntl::posix_fallocate(&file, 0, wanted as i64).map_err(|e| io_error(e.into()))?;
        file.set_len(wanted).map_err(io_error)?;
    }
    let map = map_file(&file, wanted).map_err(io_error)?;
    Ok((Opened { memory: Memory { map, mask: capacity as u64 - 1, _file: Some(file) } }, leftover))
}

/// A shared-memory ring that is open and not yet started.
pub struct Opened {
    memory: Memory,
}

/// Starts the ring empty, its next event having sequence `first`; `tag` says whose events they are. Call
/// only after the leftover is safe.
pub fn start(opened: Opened, first: u64, tag: u64) -> (Producer, Consumer) {
    let memory = opened.memory;
    // Invalidate first, so that a crash in between leaves an empty ring and never a wrong one.
    memory.word(0).store(0, Ordering::Release);
    memory.word(HEAD_AT).store(first, Ordering::Release);
    memory.word(TAIL_AT).store(first, Ordering::Release);
    memory.word(8).store(u64::from(VERSION) | (u64::from(LAYOUT_VERSION) << 32), Ordering::Release);
    memory.word(16).store(memory.capacity(), Ordering::Release);
    memory.word(24).store(tag, Ordering::Release);
    memory.word(0).store(u64::from_le_bytes(MAGIC), Ordering::Release);
    split(memory, first)
}

fn split(memory: Memory, first: u64) -> (Producer, Consumer) {
    memory.word(HEAD_AT).store(first, Ordering::Release);
    memory.word(TAIL_AT).store(first, Ordering::Release);
    let (base, mask) = (memory.map.as_mut_ptr(), memory.mask);
    let limit = first.wrapping_add(memory.capacity());
    let memory = Arc::new(memory);
    let producer = Producer { base, mask, head: first, limit, closed: false, memory: Arc::clone(&memory) };
    (producer, Consumer { memory, tail: first, head_seen: first })
}

fn check_capacity(capacity: usize) -> Result<(), RingError> {
    if capacity.is_power_of_two() && capacity >= 64 { Ok(()) } else { Err(RingError::Capacity(capacity)) }
}

fn map_file(file: &File, len: u64) -> io::Result<MmapRaw> {
    MmapOptions::new().len(len as usize).populate().map_raw(file)
}

/// One engine a ring: a second one is refused while the first lives (the lock dies with its process).
fn lock_exclusively(file: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: flock on a file descriptor that `file` keeps open.
    let result = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "another running engine holds it"));
    }
    Err(error)
}

fn read_leftover(map: &MmapRaw, len: u64) -> Result<(Leftover, usize), String> {
    if len < HEADER_LEN as u64 {
        return Err("shorter than a header".into());
    }
    // SAFETY: the map is at least HEADER_LEN long and page aligned.
    let word = |at: usize| unsafe { (*map.as_ptr().add(at).cast::<AtomicU64>()).load(Ordering::Acquire) };
    if word(0) == 0 {
        return Ok((Leftover::default(), 0));
    }
    if word(0) != u64::from_le_bytes(MAGIC) {
        return Err("not an event ring".into());
    }
    let (version, layout) = (word(8) as u32, (word(8) >> 32) as u32);
    if version != VERSION || layout != LAYOUT_VERSION {
        return Err(format!("ring version {version}, event layout {layout}; this program knows {VERSION} and {LAYOUT_VERSION}"));
    }
    let (capacity, head, tail) = (word(16), word(HEAD_AT), word(TAIL_AT));
    let fits = capacity.is_power_of_two() && len >= HEADER_LEN as u64 + capacity.saturating_mul(SLOT_LEN as u64);
    if !fits || tail > head || head - tail > capacity {
        return Err(format!("impossible positions: capacity {capacity}, tail {tail}, head {head}"));
    }
    let mut events = Vec::with_capacity((head - tail) as usize);
    for sequence in tail..head {
        let index = (sequence & (capacity - 1)) as usize;
        // SAFETY: index < capacity and the map holds that many slots (checked above); the producer is
        // gone (we hold the file's lock), so nobody writes.
        events.push(unsafe { *map.as_ptr().add(HEADER_LEN + index * SLOT_LEN).cast::<Event>() });
    }
    Ok((Leftover { first: tail, events, tag: word(24) }, capacity as usize))
}

impl Producer {
    /// Sequence of the next event.
    #[inline]
    pub fn next_sequence(&self) -> u64 {
        self.head
    }

    /// Free slots; refreshed from the consumer's position.
    #[inline]
    pub fn free(&mut self) -> u64 {
        let limit = self.memory.word(TAIL_AT).load(Ordering::Acquire).wrapping_add(self.capacity());
        if !self.closed {
            self.limit = limit;
        }
        limit - self.head
    }

    /// Capacity in slots.
    #[inline]
    pub fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// Takes no event from here on: every push says that the ring is full.
    pub fn close(&mut self) {
        self.closed = true;
        self.limit = self.head;
    }

    /// Records an event; false if the ring is full.
    #[inline]
    #[must_use]
    pub fn push(&mut self, event: &Event) -> bool {
        if self.head == self.limit && !self.has_room() {
            return false;
        }
        // SAFETY: the slot lies in the mapping, as in `Memory::slot`. It is free: the consumer has released it (its tail
        // acquired in `free`, now or earlier), and this is the only producer.
        let slots = unsafe {
            let slots = self.base.add(HEADER_LEN).cast::<Event>();
            slots.add((self.head & self.mask) as usize).write(*event);
            slots
        };
        prefetch_to_write(slots.wrapping_add((self.head.wrapping_add(ASKED_AHEAD) & self.mask) as usize));
        self.head = self.head.wrapping_add(1);
        // SAFETY: as in `Memory::word`.
        unsafe { &*self.base.add(HEAD_AT).cast::<AtomicU64>() }.store(self.head, Ordering::Release);
        true
    }

    /// Looks at the consumer's position again.
    #[cold]
    fn has_room(&mut self) -> bool {
        self.free() > 0 && !self.closed
    }

    /// Reads the next `count` slots, so that they are in the caches when they are written.
    #[inline]
    pub fn touch_next(&self, count: u64) {
        for at in 0..count {
            // SAFETY: the slot lies in the map; whatever bytes it holds are a word. The consumer only reads slots,
            // so nothing writes it meanwhile.
            std::hint::black_box(unsafe { self.memory.slot(self.head + at).cast::<u64>().read_volatile() });
        }
    }
}

impl Consumer {
    /// Sequence of the next event to be read.
    #[inline]
    pub fn next_sequence(&self) -> u64 {
        self.tail
    }

    /// How many events wait.
    #[inline]
    pub fn waiting(&mut self) -> u64 {
        self.head_seen = self.memory.word(HEAD_AT).load(Ordering::Acquire);
        self.head_seen - self.tail
    }

    /// Copies up to `out.len()` events without releasing them; returns how many. A consumer that must
    /// not lose events (the journal writer) releases them with [`Consumer::release`] once they are safe.
    pub fn peek(&mut self, out: &mut [Event]) -> usize {
        let count = self.waiting().min(out.len() as u64) as usize;
        for (i, event) in out.iter_mut().take(count).enumerate() {
            // SAFETY: slots tail..head_seen were released by the producer and are not written again
            // until this consumer moves tail.
            *event = unsafe { self.memory.slot(self.tail + i as u64).read() };
        }
        count
    }

    /// Gives `count` events' slots back.
    ///
    /// # Panics
    /// If more than were seen waiting (a bug of the caller).
    pub fn release(&mut self, count: usize) {
        assert!(count as u64 <= self.head_seen - self.tail);
        self.tail += count as u64;
        self.memory.word(TAIL_AT).store(self.tail, Ordering::Release);
    }

    /// Takes one event.
    #[inline]
    pub fn pop(&mut self) -> Option<Event> {
        if self.head_seen == self.tail && self.waiting() == 0 {
            return None;
        }
        // SAFETY: as in `peek`.
        let event = unsafe { self.memory.slot(self.tail).read() };
        self.release(1);
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::event::Times;

    fn numbered(n: u64) -> Event {
        Event { a: n, b: !n, ..Event::timer(Times { core_ns: n, poll_delay_ns: 0 }) }
    }

    fn scratch(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("peregrine-ring-{name}-{}", std::process::id()))
    }

    #[test]
    fn two_threads_pass_a_million_events_in_order() {
        let (mut producer, mut consumer) = in_process(1024, 1).unwrap();
        let writer = std::thread::spawn(move || {
            for n in 1..=1_000_000u64 {
                while !producer.push(&numbered(n)) {
                    std::hint::spin_loop();
                }
            }
        });
        let mut next = 1u64;
        let mut batch = [Event::default(); 100];
        while next <= 1_000_000 {
            let count = consumer.peek(&mut batch);
            for event in &batch[..count] {
                assert_eq!((event.a, event.b), (next, !next));
                next += 1;
            }
            consumer.release(count);
        }
        writer.join().unwrap();
        assert!(consumer.pop().is_none());
    }

    #[test]
    fn a_full_ring_refuses_and_loses_nothing() {
        let (mut producer, mut consumer) = in_process(64, 10).unwrap();
        for n in 0..64 {
            assert!(producer.push(&numbered(n)));
        }
        assert!(!producer.push(&numbered(64)));
        assert_eq!(producer.free(), 0);
        assert_eq!(consumer.pop().unwrap().a, 0);
        assert!(producer.push(&numbered(64)));
        assert_eq!(consumer.next_sequence(), 11);
    }

    #[test]
    fn a_closed_ring_takes_nothing_more_and_keeps_what_it_has() {
        let (mut producer, mut consumer) = in_process(64, 10).unwrap();
        assert!(producer.push(&numbered(1)) && producer.push(&numbered(2)));
        producer.close();
        assert!(!producer.push(&numbered(3)));
        assert_eq!(consumer.pop().unwrap().a, 1);
        assert_eq!(producer.free(), 63, "room is still told of");
        assert!(!producer.push(&numbered(4)));
        assert_eq!((producer.next_sequence(), consumer.pop().unwrap().a), (12, 2));
        assert!(consumer.pop().is_none());
    }

    #[test]
    fn events_stay_whole_and_in_order_over_many_turns_of_the_ring() {
        let (mut producer, mut consumer) = in_process(64, 61).unwrap();
        let mut next = 0;
        for n in 0..10_000u64 {
            assert!(producer.push(&numbered(n)));
            if n % 7 == 6 || n % 64 == 63 {
                while let Some(event) = consumer.pop() {
                    assert_eq!(event, numbered(next));
                    next += 1;
                }
            }
        }
        assert_eq!(consumer.next_sequence(), 61 + next);
    }

    #[test]
    fn what_was_recorded_survives_the_process() {
        let path = scratch("survive");
        let _ = std::fs::remove_file(&path);
        {
            let (opened, leftover) = open(&path, 128).unwrap();
            assert!(leftover.events.is_empty());
            let (mut producer, mut consumer) = start(opened, 500, 7);
            for n in 0..100 {
                assert!(producer.push(&numbered(n)));
            }
            for _ in 0..30 {
                consumer.pop().unwrap();
            }
            // Neither end is shut down in any way.
        }
        for capacity in [128, 256] {
            let (opened, leftover) = open(&path, capacity).unwrap();
            assert_eq!((leftover.first, leftover.tag), (530, 7));
            assert_eq!(leftover.events.len(), 70);
            assert_eq!(leftover.events[0].a, 30);
            assert_eq!(leftover.events[69].a, 99);
            assert_eq!(opened.memory.capacity(), 128, "keeps its capacity while something is left");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_second_engine_and_a_foreign_file_are_refused() {
        let path = scratch("lock");
        let _ = std::fs::remove_file(&path);
        let (opened, _) = open(&path, 64).unwrap();
        let held = start(opened, 1, 0);
        let error = open(&path, 64).err().expect("locked").to_string();
        assert!(error.contains("another running engine"), "{error}");
        drop(held);
        std::fs::write(&path, vec![7u8; 8192]).unwrap();
        assert!(matches!(open(&path, 64), Err(RingError::Format { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(in_process(100, 1), Err(RingError::Capacity(100))));
    }
}
