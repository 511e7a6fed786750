//! Memory on 2 MiB pages: each costs one TLB entry where ordinary pages of the same size cost 512, and on a virtual
//! machine a missed entry costs most of all.
//!
//! Three kinds, best first: pages reserved for this (`vm.nr_hugepages`), pages that the kernel makes huge on
//! request (`/sys/kernel/mm/transparent_hugepage/enabled` is `madvise` or `always`), ordinary pages.

use std::io;
use std::ptr::NonNull;

/// Size of a huge page.
pub const HUGE_PAGE: usize = 2 << 20;
const PAGE: usize = 4096;

/// What a region's pages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// Reserved 2 MiB pages.
    Reserved,
    /// Ordinary memory that the kernel was asked to put on 2 MiB pages.
    Transparent,
    /// 4 KiB pages.
    Ordinary,
}

/// A mapping of its own, unmapped when dropped.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    len: usize,
    kind: PageKind,
    why: Vec<String>,
}

// SAFETY: plain memory owned by this value; nothing in it is bound to a thread. Who may touch what is decided by
// those who take the pointer.
unsafe impl Send for Region {}
// SAFETY: shared references only hand out the raw pointer.
unsafe impl Sync for Region {}

impl Region {
    /// Maps at least `bytes` on the largest pages that there are, without touching them yet. `what` is for the refusals.
    ///
    /// # Errors
    /// If there is no memory at all.
    pub fn huge(what: &str, bytes: usize) -> io::Result<Region> {
        let len = bytes.next_multiple_of(HUGE_PAGE);
        let wanted = len / HUGE_PAGE;
        match map(len, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB) {
            Ok(base) => Ok(Region { base, len, kind: PageKind::Reserved, why: Vec::new() }),
            Err(error) => {
                let why = vec![format!(
                    "{what} not on reserved pages: {wanted} huge pages of 2 MiB refused ({error}); raise vm.nr_hugepages by {wanted}"
                )];
                let mut region = Region::transparent(bytes)?;
                region.why = why;
                Ok(region)
            }
        }
    }

    /// Maps at least `bytes` of ordinary memory that is to be put on huge pages, aligned to them.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn transparent(bytes: usize) -> io::Result<Region> {
        let len = bytes.next_multiple_of(HUGE_PAGE);
        Ok(Region { base: map_aligned(len)?, len, kind: PageKind::Transparent, why: Vec::new() })
    }

    /// Maps at least `bytes` on ordinary pages.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn ordinary(bytes: usize) -> io::Result<Region> {
        let len = bytes.next_multiple_of(PAGE);
        Ok(Region { base: map(len, 0)?, len, kind: PageKind::Ordinary, why: Vec::new() })
    }

    /// Faults every page in. From here on the kind says what the pages are.
    pub fn populate(&mut self) {
        let asked = match self.kind {
            // SAFETY: our own mapping; the advice changes nothing that can be seen but the page size.
            PageKind::Transparent => (unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_HUGEPAGE) }) == 0,
            PageKind::Reserved | PageKind::Ordinary => true,
        };
        let refusal = io::Error::last_os_error();
        let step = if self.kind == PageKind::Reserved { HUGE_PAGE } else { PAGE };
        for at in (0..self.len).step_by(step) {
            // SAFETY: inside our own mapping, which nobody else knows yet: fresh pages are zero.
            unsafe { self.base.add(at).write_volatile(0) };
        }
        if self.kind != PageKind::Transparent {
            return;
        }
        // What could not be had at once is put together now; the answer says whether all of it is.
        // SAFETY: as above.
        let collapsed = asked && unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_COLLAPSE) } == 0;
        if !collapsed {
            let error = if asked { io::Error::last_os_error() } else { refusal };
            self.kind = PageKind::Ordinary;
            self.why.push(format!(
                "nor on transparent ones: {error}; set /sys/kernel/mm/transparent_hugepage/enabled to madvise, or free memory"
            ));
        }
    }

    /// First byte.
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Bytes mapped.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if nothing is mapped: never.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the pages are; certain after [`Region::populate`].
    pub fn kind(&self) -> PageKind {
        self.kind
    }

    /// Why not better ones.
    pub fn why(&self) -> &[String] {
        &self.why
    }

    /// The memory is the process's for good.
    pub fn leak(self) -> *mut u8 {
        let base = self.base.as_ptr();
        std::mem::forget(self);
        base
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: our own mapping, unmapped once; those who took the pointer drop theirs together with it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

fn map(bytes: usize, flags: i32) -> io::Result<NonNull<u8>> {
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
    let base = unsafe {
        libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags, -1, 0)
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap returned the null page"))
}

/// Maps `len` bytes at a multiple of the size of a huge page.
fn map_aligned(len: usize) -> io::Result<NonNull<u8>> {
    let whole = map(len + HUGE_PAGE, 0)?;
    let before = whole.as_ptr().align_offset(HUGE_PAGE);
    // SAFETY: both pieces lie inside the mapping just made, outside of what is kept.
    unsafe {
        if before > 0 {
            libc::munmap(whole.as_ptr().cast(), before);
        }
        libc::munmap(whole.as_ptr().add(before + len).cast(), HUGE_PAGE - before);
        Ok(whole.add(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_aligned_whole_and_says_what_it_is() {
        let mut region = Region::huge("a test", HUGE_PAGE + 1).expect("memory");
        region.populate();
        assert_eq!(region.len(), 2 * HUGE_PAGE);
        assert_eq!(region.base() as usize % HUGE_PAGE, 0);
        // SAFETY: the region's own bytes.
        let bytes = unsafe { std::slice::from_raw_parts_mut(region.base(), region.len()) };
        assert!(bytes.iter().all(|byte| *byte == 0));
        bytes.fill(0x5a);
        assert_eq!(region.kind() == PageKind::Reserved, region.why().is_empty());
        assert_eq!(region.why().len() > 1, region.kind() == PageKind::Ordinary);
    }

    #[test]
    fn ordinary_pages_are_not_called_huge() {
        let mut region = Region::ordinary(5000).expect("memory");
        region.populate();
        assert_eq!((region.kind(), region.len()), (PageKind::Ordinary, 8192));
    }
}
