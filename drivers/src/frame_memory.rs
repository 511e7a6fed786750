//! Frame memory: one region cut into equal chunks, and the list of chunks that are free.
//!
//! The region lies on 2 MiB pages if that can be had (see [`crate::pages`]), so that the whole of it costs a
//! handful of TLB entries; otherwise [`FrameMemory::why`] says why not. Pages are
//! faulted in and locked before the first frame. Memory lands on the NUMA node of the thread that
//! opens the port: pin that thread first.

use std::fs;
use std::io;

use crate::error::{DriverError, Result};
use crate::pages::{PageKind, Region};

/// Chunk size of all ports that share memory with a NIC: ENA takes no other.
pub const CHUNK_SIZE: u32 = 4096;
/// Largest region that will be made, as a guard against a mistyped size.
pub const REGION_MAX: usize = 4 << 30;

const HUGE_PAGES_TOTAL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
const HUGE_PAGES_FREE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

/// How the region's pages are obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Huge pages if they can be had, else ordinary pages; locked and faulted in.
    HugeOrOrdinary,
    /// Ordinary pages; locked and faulted in.
    Ordinary,
    /// Ordinary pages that the kernel provides on first touch: for tests that open many links.
    OnDemand,
}

/// A region of equal chunks.
#[derive(Debug)]
pub struct FrameMemory {
    region: Region,
    chunk_size: u32,
    chunks: u32,
    /// Bytes that the chunks occupy.
    len: usize,
    why: Vec<String>,
}

impl FrameMemory {
    /// Maps `chunks` chunks of `chunk_size` bytes (a power of two).
    ///
    /// # Errors
    /// If the size is out of bounds or the kernel has no memory.
    pub fn new(chunks: u32, chunk_size: u32, pages: Pages) -> Result<FrameMemory> {
        let bytes = chunks as usize * chunk_size as usize;
        if !chunk_size.is_power_of_two() || chunk_size < 64 || bytes == 0 || bytes > REGION_MAX {
            return Err(DriverError::Config(format!("frame memory of {chunks} chunks of {chunk_size} bytes")));
        }
        let mapped = match pages {
            Pages::HugeOrOrdinary => Region::huge("frame memory", bytes),
            Pages::Ordinary | Pages::OnDemand => Region::ordinary(bytes),
        };
        let mut region = mapped.map_err(|error| DriverError::io(format!("mmap of {bytes} bytes of frame memory"), error))?;
        if pages != Pages::OnDemand {
            region.populate();
        }
        let mut memory = FrameMemory { why: region.why().to_vec(), region, chunk_size, chunks, len: bytes };
        if pages != Pages::OnDemand && memory.region.kind() != PageKind::Reserved {
            memory.lock();
        }
        Ok(memory)
    }

    fn lock(&mut self) {
        let len = self.region.len();
        // SAFETY: our own live mapping.
        if unsafe { libc::mlock(self.region.base().cast(), len) } != 0 {
            let error = io::Error::last_os_error();
            self.why.push(format!("frame memory is not locked: mlock of {len} bytes refused ({error}); raise RLIMIT_MEMLOCK"));
        }
    }

    /// First byte of the region.
    pub fn base(&self) -> *mut u8 {
        self.region.base()
    }

    /// Bytes of the region that chunks occupy.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there is no chunk: never.
    pub fn is_empty(&self) -> bool {
        self.chunks == 0
    }

    /// How many chunks.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Bytes in a chunk.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// True if the region lies on huge pages, reserved or transparent.
    pub fn huge_pages(&self) -> bool {
        self.region.kind() != PageKind::Ordinary
    }

    /// Why not on huge pages, or not locked; empty if all is well.
    pub fn why(&self) -> &[String] {
        &self.why
    }

    /// Offset of the chunk in which `offset` lies.
    #[inline]
    pub fn chunk_of(&self, offset: u64) -> u64 {
        offset & !(u64::from(self.chunk_size) - 1)
    }

    /// Where this offset is or would be; not to be read or written.
    pub fn address(&self, offset: u64) -> *const u8 {
        self.region.base().wrapping_add(offset as usize).cast_const()
    }

    /// Pointer to `len` bytes at `offset`.
    ///
    /// # Panics
    /// If they are not inside the region: a handle that no port gave out.
    #[inline]
    pub fn pointer(&self, offset: u64, len: u32) -> *mut u8 {
        let end = offset.checked_add(u64::from(len));
        assert!(end.is_some_and(|end| end <= self.len() as u64), "frame handle outside frame memory");
        // SAFETY: offset is within the mapping, as just asserted.
        unsafe { self.region.base().add(offset as usize) }
    }
}

/// Where the chunks are that their user keeps over several sendings.
#[derive(Debug)]
pub struct KeptChunks {
    states: Box<[KeptState]>,
    first: u32,
    /// Binary logarithm of a chunk's bytes.
    chunk_shift: u32,
    count: usize,
    count_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeptState {
    NotKept,
    AtRest,
    UnderWay,
}

impl KeptChunks {
    /// For the `count` chunks of `chunk_size` bytes (a power of two) from chunk number `first` on; three quarters of them may be kept
    /// at once.
    pub fn new(first: u32, count: u32, chunk_size: u32) -> KeptChunks {
        let states = vec![KeptState::NotKept; count as usize].into_boxed_slice();
        KeptChunks { states, first, chunk_shift: chunk_size.ilog2(), count: 0, count_max: count as usize / 4 * 3 }
    }

    /// Where the state of the chunk at `offset` is, if it is one of ours.
    #[inline]
    fn place(&self, offset: u64) -> Option<usize> {
        (offset >> self.chunk_shift).checked_sub(u64::from(self.first)).map(|chunk| chunk as usize)
    }

    #[inline]
    fn state(&mut self, offset: u64) -> Option<&mut KeptState> {
        let place = self.place(offset)?;
        self.states.get_mut(place)
    }

    /// True if another may be kept.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.count < self.count_max
    }

    /// The chunk is kept from now on.
    #[inline]
    pub fn keep(&mut self, offset: u64) {
        if let Some(state) = self.state(offset) {
            *state = KeptState::AtRest;
            self.count += 1;
        }
    }

    /// True if the chunk is kept and is not being sent.
    #[inline]
    pub fn is_at_rest(&self, offset: u64) -> bool {
        self.place(offset).is_some_and(|place| self.states.get(place) == Some(&KeptState::AtRest))
    }

    /// The chunk is being sent.
    #[inline]
    pub fn depart(&mut self, offset: u64) {
        if let Some(state) = self.state(offset) {
            *state = KeptState::UnderWay;
        }
    }

    /// The chunk has been sent; true if it is kept.
    #[inline]
    pub fn arrive(&mut self, offset: u64) -> bool {
        match self.state(offset) {
            Some(state @ (KeptState::UnderWay | KeptState::AtRest)) => {
                *state = KeptState::AtRest;
                true
            }
            _ => false,
        }
    }

    /// The chunk is not kept any more; true if it is at rest, and so free.
    #[inline]
    pub fn release(&mut self, offset: u64) -> bool {
        match self.state(offset) {
            Some(state) if *state != KeptState::NotKept => {
                let at_rest = *state == KeptState::AtRest;
                *state = KeptState::NotKept;
                self.count -= 1;
                at_rest
            }
            _ => false,
        }
    }
}

/// The free chunks of a region, last freed first (its lines are still in the cache).
#[derive(Debug)]
pub struct FreeList {
    offsets: Box<[u64]>,
    len: usize,
}

impl FreeList {
    /// A list of the `count` chunks from chunk number `first` on, all free; never grows beyond them.
    pub fn new(first: u32, count: u32, chunk_size: u32) -> FreeList {
        // Lowest offset on top of the stack, so that a quiet port keeps reusing the same few chunks.
        let offsets: Box<[u64]> = (first..first + count).rev().map(|chunk| u64::from(chunk) * u64::from(chunk_size)).collect();
        FreeList { len: offsets.len(), offsets }
    }

    /// Takes a free chunk.
    #[inline]
    pub fn take(&mut self) -> Option<u64> {
        self.len = self.len.checked_sub(1)?;
        self.offsets.get(self.len).copied()
    }

    /// Gives a chunk back. A chunk too many (a caller's bug) is dropped rather than corrupting the list.
    #[inline]
    pub fn give(&mut self, offset: u64) {
        debug_assert!(self.len < self.offsets.len(), "a chunk was freed twice");
        if let Some(slot) = self.offsets.get_mut(self.len) {
            *slot = offset;
            self.len += 1;
        }
    }

    /// How many are free.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if none is free.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The machine's 2 MiB pages, as [`ensure_huge_pages`] left them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HugePages {
    /// Reserved pages.
    pub total: u64,
    /// Of these, unused.
    pub free: u64,
    /// What kept the wish from being met, and what to do.
    pub why: Option<String>,
}

/// Tries to have at least `count` free 2 MiB pages, raising the machine's reservation if it is allowed
/// to; never lowers it.
pub fn ensure_huge_pages(count: u64) -> HugePages {
    let read = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let (Some(total), Some(free)) = (read(HUGE_PAGES_TOTAL), read(HUGE_PAGES_FREE)) else {
        return HugePages { total: 0, free: 0, why: Some("the kernel has no 2 MiB pages (CONFIG_HUGETLBFS)".to_owned()) };
    };
    if free >= count {
        return HugePages { total, free, why: None };
    }
    let wanted = total + (count - free);
    let refused = fs::write(HUGE_PAGES_TOTAL, wanted.to_string()).err();
    let (total, free) = (read(HUGE_PAGES_TOTAL).unwrap_or(total), read(HUGE_PAGES_FREE).unwrap_or(free));
    let why = (free < count).then(|| match refused {
        Some(error) => format!("{free} of {count} huge pages free, raising vm.nr_hugepages to {wanted} refused: {error}"),
        None => format!("{free} of {count} huge pages free: memory is too fragmented; reserve them at boot (hugepages={wanted})"),
    });
    HugePages { total, free, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_handed_out_once_and_comes_back() {
        let mut list = FreeList::new(4, 3, CHUNK_SIZE);
        let taken: Vec<u64> = std::iter::from_fn(|| list.take()).collect();
        assert_eq!(taken, [4 * 4096, 5 * 4096, 6 * 4096]);
        assert!(list.is_empty());
        list.give(5 * 4096);
        assert_eq!((list.len(), list.take(), list.take()), (1, Some(5 * 4096), None));
    }

    #[test]
    fn memory_is_writable_to_its_last_byte_whichever_pages_it_got() {
        for pages in [Pages::HugeOrOrdinary, Pages::Ordinary, Pages::OnDemand] {
            let memory = FrameMemory::new(8, CHUNK_SIZE, pages).expect("32 KiB are available");
            assert_eq!(memory.len(), 8 * 4096);
            let last = memory.pointer(memory.len() as u64 - 1, 1);
            // SAFETY: the pointer was bounds-checked and nobody else has one.
            unsafe {
                last.write(0xa5);
                assert_eq!(last.read(), 0xa5);
            }
            if pages == Pages::HugeOrOrdinary {
                assert!(memory.huge_pages() || !memory.why().is_empty(), "what was refused is told");
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside frame memory")]
    fn a_handle_past_the_region_is_caught() {
        let memory = FrameMemory::new(1, CHUNK_SIZE, Pages::OnDemand).expect("4 KiB are available");
        memory.pointer(4090, 7);
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        for (chunks, size) in [(0, 4096), (1, 3000), (1, 32), (u32::MAX, 4096)] {
            assert!(FrameMemory::new(chunks, size, Pages::OnDemand).is_err(), "{chunks} x {size}");
        }
    }
}
