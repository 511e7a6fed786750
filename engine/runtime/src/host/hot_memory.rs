//! The hot thread's memory: a pre-faulted huge-page arena, and a global allocator that counts.
//!
//! The binary installs [`HotAllocator`] as its global allocator. A thread is in one of three modes:
//!
//! - *cold* (every thread at first): the system allocator;
//! - *building* ([`building`]): allocations come from the arena, so that everything the hot thread makes
//!   at start (books, order table, buffers) lies on locked, NUMA-local 2 MiB pages;
//! - *hot* ([`enter_hot`]): the system allocator again, and every call is counted. In steady state the
//!   count stands still; a connection's TLS handshake is the one thing allowed to move it, and the
//!   runtime accounts for that separately.
//!
//! Memory of the arena is not reused when freed (start-up garbage is small and bounded); it is given
//! back with the process.

use super::Refusal;
use drivers::pages::{PageKind, Region};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Cold,
    Building,
    Hot,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Cold) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

static ARENA_START: AtomicUsize = AtomicUsize::new(0);
static ARENA_END: AtomicUsize = AtomicUsize::new(0);
static ARENA_NEXT: AtomicUsize = AtomicUsize::new(0);

/// The global allocator. See the module header.
pub struct HotAllocator;

/// What the arena is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arena {
    /// Its size in bytes; 0 = none.
    pub bytes: usize,
    /// True if it lies on 2 MiB pages.
    pub huge_pages: bool,
    /// What was refused on the way.
    pub refusals: Vec<Refusal>,
}

/// Maps, binds, locks and touches the arena; once a process (later calls return its size). `bytes` is
/// rounded up to 2 MiB.
pub fn create_arena(bytes: usize, numa_node: Option<usize>) -> Arena {
    let mut arena = Arena::default();
    let start = ARENA_START.load(Ordering::Acquire);
    if start != 0 {
        arena.bytes = ARENA_END.load(Ordering::Acquire) - start;
        return arena;
    }
    let mut region = match Region::huge("the hot arena", bytes) {
        Ok(region) => region,
        Err(error) => {
            arena.refusals.push(Refusal {
                what: "the hot arena",
                reason: error.to_string(),
                fix: "give the process more memory; the hot thread uses ordinary heap memory meanwhile",
            });
            return arena;
        }
    };
    if let Some(node) = numa_node
        && let Err(refusal) = super::topology::bind_to_node(region.base(), region.len(), node)
    {
        arena.refusals.push(refusal);
    }
    region.populate();
    arena.huge_pages = region.kind() != PageKind::Ordinary;
    if !arena.huge_pages {
        arena.refusals.push(Refusal {
            what: "2 MiB pages for the hot arena",
            reason: region.why().join("; "),
            fix: "raise vm.nr_hugepages, or set /sys/kernel/mm/transparent_hugepage/enabled to madvise",
        });
    }
    let bytes = region.len();
    let base = region.leak();
    arena.bytes = bytes;
    ARENA_NEXT.store(base as usize, Ordering::Release);
    ARENA_END.store(base as usize + bytes, Ordering::Release);
    ARENA_START.store(base as usize, Ordering::Release);
    arena
}

/// Bytes of the arena in use.
pub fn arena_used() -> usize {
    ARENA_NEXT.load(Ordering::Acquire).min(ARENA_END.load(Ordering::Acquire)) - ARENA_START.load(Ordering::Acquire)
}

/// Runs `build` with the calling thread's allocations taken from the arena (if there is one).
pub fn building<T>(build: impl FnOnce() -> T) -> T {
    struct Restore(Mode);
    impl Drop for Restore {
        fn drop(&mut self) {
            MODE.set(self.0);
        }
    }
    let _restore = Restore(MODE.replace(Mode::Building));
    build()
}

/// From here on the calling thread's allocations are counted.
pub fn enter_hot() {
    MODE.set(Mode::Hot);
}

/// The calling thread is an ordinary one again.
pub fn leave_hot() {
    MODE.set(Mode::Cold);
}

/// Allocator calls (allocate, reallocate) of the calling thread while hot. Stays 0 if [`HotAllocator`]
/// is not the global allocator: see [`is_installed`].
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// True if [`HotAllocator`] is in force (a report of 0 allocations is worth nothing otherwise).
pub fn is_installed() -> bool {
    let mode = MODE.replace(Mode::Hot);
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(1u64)));
    let counted = ALLOCATIONS.get() != before;
    ALLOCATIONS.set(before);
    MODE.set(mode);
    counted
}

fn arena_allocate(layout: Layout) -> Option<*mut u8> {
    let end = ARENA_END.load(Ordering::Acquire);
    let mut next = ARENA_NEXT.load(Ordering::Relaxed);
    loop {
        let start = next.checked_add(layout.align() - 1)? & !(layout.align() - 1);
        let stop = start.checked_add(layout.size())?;
        if stop > end {
            return None;
        }
        match ARENA_NEXT.compare_exchange_weak(next, stop, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return Some(start as *mut u8),
            Err(seen) => next = seen,
        }
    }
}

fn in_arena(pointer: *mut u8) -> bool {
    let address = pointer as usize;
    address >= ARENA_START.load(Ordering::Relaxed) && address < ARENA_END.load(Ordering::Relaxed)
}

// SAFETY: memory comes from `System` or from the arena; the arena's ranges are handed out once each,
// aligned and in bounds; a pointer of the arena never reaches `System` (told apart by address).
unsafe impl GlobalAlloc for HotAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match MODE.try_with(Cell::get).unwrap_or(Mode::Cold) {
            Mode::Cold => {}
            Mode::Building => {
                if let Some(pointer) = arena_allocate(layout) {
                    return pointer;
                }
            }
            Mode::Hot => {
                let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
            }
        }
        // SAFETY: the caller's layout is passed on.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if !in_arena(pointer) {
            // SAFETY: not the arena's, so `System` gave it out with this layout.
            unsafe { System.dealloc(pointer, layout) };
        }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let mode = MODE.try_with(Cell::get).unwrap_or(Mode::Cold);
        if !in_arena(pointer) && mode != Mode::Building {
            if mode == Mode::Hot {
                let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
            }
            // SAFETY: not the arena's, so `System` gave it out with this layout.
            return unsafe { System.realloc(pointer, layout, new_size) };
        }
        // SAFETY: `new_size` is valid for this alignment by the caller's contract.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: `new_layout` has non-zero size by the caller's contract.
        let new = unsafe { self.alloc(new_layout) };
        if !new.is_null() {
            // SAFETY: both blocks hold at least the smaller size and do not overlap (one is fresh).
            unsafe {
                std::ptr::copy_nonoverlapping(pointer, new, layout.size().min(new_size));
                self.dealloc(pointer, layout);
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: HotAllocator = HotAllocator;

    #[test]
    fn building_uses_the_arena_and_hot_calls_are_counted() {
        assert!(is_installed());
        let arena = create_arena(8 << 20, Some(0));
        assert_eq!(arena.bytes, 8 << 20);
        let mut built: Vec<u64> = building(|| (0..1000).collect());
        assert!(in_arena(built.as_mut_ptr().cast()));
        assert!(arena_used() >= 8000);
        let boxed = building(|| Box::new([0u8; 128]));
        enter_hot();
        let before = allocations();
        assert_eq!(built.iter().sum::<u64>(), 499_500);
        assert_eq!(allocations(), before);
        built.extend(0..5000);
        assert!(allocations() > before);
        leave_hot();
        assert!(!in_arena(built.as_mut_ptr().cast()), "grown out of the arena");
        assert_eq!(built[999], 999);
        drop(boxed);
        // More than the arena holds falls back to the heap.
        let big = building(|| vec![0u8; 16 << 20]);
        assert_eq!(big.len(), 16 << 20);
    }
}
