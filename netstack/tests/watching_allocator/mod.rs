//! An allocator that frees nothing while it watches, so that what was left in freed memory can be looked at.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::Relaxed};

/// Blocks that may be handed out in all of the watched time.
const BLOCKS_MAX: usize = 1 << 14;

/// A block that was handed out in watched time.
struct Block {
    place: AtomicPtr<u8>,
    length: AtomicUsize,
    freed: AtomicBool,
}

static BLOCKS: [Block; BLOCKS_MAX] =
    [const { Block { place: AtomicPtr::new(std::ptr::null_mut()), length: AtomicUsize::new(0), freed: AtomicBool::new(false) } };
        BLOCKS_MAX];
static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

fn known() -> &'static [Block] {
    &BLOCKS[..COUNT.load(Relaxed).min(BLOCKS_MAX)]
}

/// Does something under watch. Only one thread of a process may ever do so.
pub fn watched<R>(act: impl FnOnce() -> R) -> R {
    WATCHED.set(true);
    let result = act();
    WATCHED.set(false);
    assert!(COUNT.load(Relaxed) <= BLOCKS_MAX, "more blocks than can be watched");
    result
}

/// Blocks of watched time, freed or still in use, in which these bytes lie.
pub fn blocks_with(bytes: &[u8], freed: bool) -> usize {
    // As the kernel sees it: bytes between fields have no value in Rust.
    let memory = File::open("/proc/self/mem").expect("the process may read its own memory");
    let holds = |block: &&Block| {
        let mut held = vec![0; block.length.load(Relaxed)];
        memory.read_exact_at(&mut held, block.place.load(Relaxed) as u64).expect("a block of watched time stays in memory");
        held.windows(bytes.len()).any(|window| window == bytes)
    };
    known().iter().filter(|block| block.freed.load(Relaxed) == freed).filter(holds).count()
}

struct Watching;

// SAFETY: memory comes from the system's allocator under the caller's own contract; a watched block is never given back.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !WATCHED.try_with(Cell::get).unwrap_or(false) {
            // SAFETY: the caller's contract is passed on.
            return unsafe { System.alloc(layout) };
        }
        // SAFETY: the caller's contract is passed on.
        let place = unsafe { System.alloc_zeroed(layout) };
        if let Some(block) = BLOCKS.get(COUNT.fetch_add(1, Relaxed)) {
            block.place.store(place, Relaxed);
            block.length.store(layout.size(), Relaxed);
        }
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        match known().iter().rev().find(|block| block.place.load(Relaxed) == place) {
            Some(block) => block.freed.store(true, Relaxed),
            // SAFETY: the caller's contract is passed on.
            None => unsafe { System.dealloc(place, layout) },
        }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;
