//! The four rings that an AF_XDP socket shares with the kernel.
//!
//! A ring is an array of descriptors and two counters that only grow: the producer's and the
//! consumer's. Entry `n` lives in slot `n mod size`. Each side publishes its own counter with a release
//! store and reads the other's with an acquire load, and works on a private copy in between, so a
//! burst costs one shared write (kernel: Documentation/networking/af_xdp.rst, net/xdp/xsk_queue.h).
//!
//! We produce into *fill* (chunks for frames to come) and *TX*; we consume from *RX* and *completion*
//! (chunks that the kernel has finished sending).

use crate::prefetch::prefetch;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// A shared mapping, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread; shared references give out raw pointers only.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd` at page offset `offset`, faulted in.
    pub(crate) fn of(fd: BorrowedFd<'_>, len: usize, offset: libc::off_t) -> io::Result<Mapping> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd.as_raw_fd(),
                offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(base.cast()).map(|base| Mapping { base, len }).ok_or_else(|| io::Error::other("mmap returned the null page"))
    }

    /// First byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Pointer to an object `offset` bytes into the mapping.
    pub(crate) fn at<T>(&self, offset: usize) -> io::Result<NonNull<T>> {
        let fits = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.len) && offset.is_multiple_of(align_of::<T>());
        if !fits {
            return Err(io::Error::other("the kernel's ring layout points outside the ring"));
        }
        // SAFETY: the offset lies within the mapping, as just checked.
        Ok(unsafe { self.base.add(offset) }.cast())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, unmapped once; the pointers into it are dropped together with it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Where the parts of a ring lie, as `XDP_MMAP_OFFSETS` tells.
pub(crate) use libc::xdp_ring_offset as RingOffsets;

/// What both kinds of ring share.
#[derive(Debug)]
struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    size: u32,
    _mapping: Mapping,
}

// SAFETY: the pointers lead into the ring's own mapping, which moves along; a ring is used through
// `&mut self` by one thread at a time, and against the kernel by the protocol of the counters.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    fn new(mapping: Mapping, offsets: &RingOffsets, size: u32) -> io::Result<Ring<T>> {
        if !size.is_power_of_two() {
            return Err(io::Error::other("ring size is no power of two"));
        }
        let last = offsets.desc as usize + (size as usize - 1) * size_of::<T>();
        mapping.at::<T>(last)?;
        Ok(Ring {
            producer: mapping.at(offsets.producer as usize)?,
            consumer: mapping.at(offsets.consumer as usize)?,
            flags: mapping.at(offsets.flags as usize)?,
            entries: mapping.at(offsets.desc as usize)?,
            size,
            _mapping: mapping,
        })
    }

    /// The kernel's wish to be woken.
    #[inline]
    fn needs_wakeup(&self) -> bool {
        // SAFETY: points into the live mapping; the kernel writes it as an atomic word.
        let flags = unsafe { self.flags.as_ref() }.load(Ordering::Relaxed);
        flags & libc::XDP_RING_NEED_WAKEUP != 0
    }

    #[inline]
    fn slot(&self, counter: u32) -> NonNull<T> {
        // SAFETY: the masked index is below `size`, and `new` checked that all `size` entries lie
        // within the mapping.
        unsafe { self.entries.add((counter & (self.size - 1)) as usize) }
    }
}

/// A ring that we fill and the kernel empties.
#[derive(Debug)]
pub(crate) struct ProducerRing<T> {
    ring: Ring<T>,
    /// Our counter, not yet published entries included.
    next: u32,
    /// What the kernel has been told.
    published: u32,
    /// A possibly stale copy of the kernel's counter.
    consumed: u32,
}

impl<T: Copy> ProducerRing<T> {
    pub(crate) fn new(mapping: Mapping, offsets: &RingOffsets, size: u32) -> io::Result<ProducerRing<T>> {
        Ok(ProducerRing { ring: Ring::new(mapping, offsets, size)?, next: 0, published: 0, consumed: 0 })
    }

    /// Writes an entry that the kernel does not see yet; false if the ring is full.
    #[inline]
    pub(crate) fn write(&mut self, entry: T) -> bool {
        if self.next.wrapping_sub(self.consumed) >= self.ring.size {
            // SAFETY: points into the live mapping; the kernel writes it as an atomic word.
            self.consumed = unsafe { self.ring.consumer.as_ref() }.load(Ordering::Acquire);
            if self.next.wrapping_sub(self.consumed) >= self.ring.size {
                return false;
            }
        }
        // SAFETY: the slot lies within the mapping, and the kernel has consumed its last entry.
        unsafe { self.ring.slot(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Takes the last entry back, if the kernel has not been shown it.
    #[inline]
    pub(crate) fn take_back(&mut self) {
        if self.next != self.published {
            self.next = self.next.wrapping_sub(1);
        }
    }

    /// Shows all written entries to the kernel; true if there were any.
    #[inline]
    pub(crate) fn publish(&mut self) -> bool {
        if self.next == self.published {
            return false;
        }
        self.published = self.next;
        // SAFETY: points into the live mapping; the kernel reads it as an atomic word.
        unsafe { self.ring.producer.as_ref() }.store(self.next, Ordering::Release);
        true
    }

    /// The kernel's wish to be woken for this ring.
    #[inline]
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }
}

/// A ring that the kernel fills and we empty.
#[derive(Debug)]
pub(crate) struct ConsumerRing<T> {
    ring: Ring<T>,
    /// Our counter, not yet released entries included.
    next: u32,
    /// What the kernel has been told.
    released: u32,
    /// A possibly stale copy of the kernel's counter.
    produced: u32,
}

impl<T: Copy> ConsumerRing<T> {
    pub(crate) fn new(mapping: Mapping, offsets: &RingOffsets, size: u32) -> io::Result<ConsumerRing<T>> {
        Ok(ConsumerRing { ring: Ring::new(mapping, offsets, size)?, next: 0, released: 0, produced: 0 })
    }

    /// Asks for the line of the next entry: if the kernel has just written it, it comes along with the kernel's counter and
    /// not after it.
    #[inline]
    pub(crate) fn expect(&self) {
        prefetch(self.ring.slot(self.next).as_ptr().cast());
    }

    /// Copies the oldest entry out; `None` if there is none.
    #[inline]
    pub(crate) fn read(&mut self) -> Option<T> {
        if self.next == self.produced {
            // SAFETY: points into the live mapping; the kernel writes it as an atomic word.
            self.produced = unsafe { self.ring.producer.as_ref() }.load(Ordering::Acquire);
            if self.next == self.produced {
                return None;
            }
        }
        // SAFETY: the slot lies within the mapping, and the kernel published it (acquire above) and
        // leaves it alone until it is released.
        let entry = unsafe { self.ring.slot(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives the slots of all entries read back to the kernel.
    #[inline]
    pub(crate) fn release(&mut self) {
        if self.next != self.released {
            self.released = self.next;
            // SAFETY: points into the live mapping; the kernel reads it as an atomic word.
            unsafe { self.ring.consumer.as_ref() }.store(self.next, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, FromRawFd, OwnedFd};

    const OFFSETS: RingOffsets = RingOffsets { producer: 0, consumer: 64, desc: 192, flags: 128 };

    /// A memory file that plays the kernel's part, mapped twice.
    fn both_sides(size: u32) -> (ProducerRing<u64>, ConsumerRing<u64>, Mapping) {
        // SAFETY: plain system call with a constant name.
        let fd = unsafe { libc::memfd_create(c"ring".as_ptr(), 0) };
        assert!(fd >= 0);
        // SAFETY: the descriptor was just created.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let len = 192 + size as usize * 8;
        // SAFETY: plain system call on our own descriptor.
        assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), len as libc::off_t) }, 0);
        let map = || Mapping::of(fd.as_fd(), len, 0).expect("mapping of the memory file");
        (
            ProducerRing::new(map(), &OFFSETS, size).expect("producer ring"),
            ConsumerRing::new(map(), &OFFSETS, size).expect("consumer ring"),
            map(),
        )
    }

    #[test]
    fn entries_cross_in_order_and_only_when_published() {
        let (mut producer, mut consumer, _) = both_sides(4);
        for round in 0..100_u64 {
            assert!((0..4).all(|n| producer.write(round * 4 + n)));
            assert!(!producer.write(0), "full");
            assert_eq!(consumer.read(), None, "not yet published");
            assert!(producer.publish());
            assert!(!producer.publish(), "nothing new");
            assert_eq!(std::iter::from_fn(|| consumer.read()).collect::<Vec<_>>(), (round * 4..round * 4 + 4).collect::<Vec<_>>());
            assert!(!producer.write(0), "read but not yet released");
            consumer.release();
        }
    }

    #[test]
    fn counters_wrap_around() {
        let (mut producer, mut consumer, _) = both_sides(2);
        for counter in [&mut producer.next, &mut producer.published, &mut producer.consumed] {
            *counter = u32::MAX;
        }
        for counter in [&mut consumer.next, &mut consumer.released, &mut consumer.produced] {
            *counter = u32::MAX;
        }
        for value in 0..10 {
            assert!(producer.write(value));
            producer.publish();
            assert_eq!(consumer.read(), Some(value));
            consumer.release();
        }
    }

    #[test]
    fn the_wakeup_flag_is_read() {
        let (producer, _, raw) = both_sides(2);
        assert!(!producer.needs_wakeup());
        let flags: NonNull<AtomicU32> = raw.at(128).expect("inside");
        // SAFETY: points into the live mapping.
        unsafe { flags.as_ref() }.store(libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
        assert!(producer.needs_wakeup());
    }

    #[test]
    fn a_layout_that_points_outside_is_refused() {
        let (_, _, mapping) = both_sides(4);
        let beyond = RingOffsets { desc: 200, ..OFFSETS };
        assert!(ConsumerRing::<u64>::new(mapping, &beyond, 4).is_err());
    }
}
