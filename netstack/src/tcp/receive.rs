//! Received bytes: a ring whose place for a byte is its sequence number.
//!
//! ```text
//!        read            next (RCV.NXT)                    read + capacity
//!   used  |  readable     |   hole   [island]   hole  [island]   |
//! ```
//!
//! Since a place depends on nothing but the sequence number, bytes that the layer above takes straight out of
//! the received frame leave no trace here, bytes that arrive ahead of a hole are written where they will be
//! read, and filling a hole moves nothing.

use std::ops::Range;

use super::sequence::{at_or_before, before, earlier, later};

/// Separate ranges held ahead of a hole.
const ISLANDS_MAX: usize = 32;
/// SACK blocks in one segment, beside a timestamp.
pub(super) const BLOCKS_MAX: usize = 3;

#[derive(Clone, Copy, Debug, Default)]
struct Island {
    start: u32,
    end: u32,
    /// When it last grew: the most recent is reported first (RFC 2018 section 4).
    stamp: u64,
}

/// What became of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// This part of it is next in order and nothing lies before it: it may be used where it is. It counts as used,
    /// but for what is put back.
    Lent(Range<usize>),
    /// It was next in order and is in the ring.
    Stored,
    /// It lies ahead of a hole.
    Ahead,
    /// All of it was here already.
    Duplicate,
    /// No room.
    Refused,
}

/// See the module's head.
pub(super) struct ReceiveBuffer {
    ring: Box<[u8]>,
    read: u32,
    next: u32,
    islands: [Island; ISLANDS_MAX],
    count: usize,
    stamp: u64,
    lent: u32,
    copied: u64,
}

impl ReceiveBuffer {
    pub(super) fn new(capacity: usize) -> ReceiveBuffer {
        let capacity = capacity.clamp(2048, 1 << 29).next_power_of_two();
        let ring = super::touched(capacity);
        ReceiveBuffer { ring, read: 0, next: 0, islands: [Island::default(); ISLANDS_MAX], count: 0, stamp: 0, lent: 0, copied: 0 }
    }

    /// Forgets all; the first byte will have sequence number `next`.
    pub(super) fn reset(&mut self, next: u32) {
        (self.read, self.next, self.count, self.stamp, self.lent, self.copied) = (next, next, 0, 0, 0, 0);
    }

    #[inline]
    pub(super) fn capacity(&self) -> u32 {
        self.ring.len() as u32
    }

    /// RCV.NXT, the FIN not counted.
    #[inline]
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Room for bytes from RCV.NXT on.
    #[inline]
    pub(super) fn free(&self) -> u32 {
        self.capacity() - self.next.wrapping_sub(self.read)
    }

    /// Something lies ahead of a hole.
    #[inline]
    pub(super) fn has_hole(&self) -> bool {
        self.count > 0
    }

    /// Bytes copied into the ring.
    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    fn offset(&self, sequence: u32) -> usize {
        sequence as usize & (self.ring.len() - 1)
    }

    fn copy_in(&mut self, sequence: u32, bytes: &[u8]) {
        let at = self.offset(sequence);
        let first = bytes.len().min(self.ring.len() - at);
        self.ring[at..at + first].copy_from_slice(&bytes[..first]);
        self.ring[..bytes.len() - first].copy_from_slice(&bytes[first..]);
        self.copied += bytes.len() as u64;
    }

    /// Lends the next `len` bytes, which are there in order, there is room for, and no hole is before or behind: as
    /// [`ReceiveBuffer::place`] would. False, and nothing is done, if there are none or bytes before them wait to be read.
    #[inline]
    pub(super) fn lend_next(&mut self, len: u32) -> bool {
        debug_assert!(self.count == 0 && len <= self.free(), "only what header prediction has let through");
        if self.read != self.next || len == 0 {
            return false;
        }
        self.next = self.next.wrapping_add(len);
        (self.read, self.lent) = (self.next, len);
        true
    }

    /// Takes a payload that starts at `sequence`.
    pub(super) fn place(&mut self, sequence: u32, payload: &[u8]) -> Placed {
        self.lent = 0;
        let end = sequence.wrapping_add(payload.len() as u32);
        if at_or_before(end, self.next) {
            return Placed::Duplicate;
        }
        let limit = self.read.wrapping_add(self.capacity());
        let (from, to) = (later(sequence, self.next), earlier(end, limit));
        if !before(from, to) {
            return Placed::Refused;
        }
        let skip = from.wrapping_sub(sequence) as usize;
        let part = skip..skip + to.wrapping_sub(from) as usize;
        if from != self.next {
            return self.place_ahead(from, to, &payload[part]);
        }
        let lend = self.read == self.next;
        if lend {
            self.lent = part.len() as u32;
            self.read = to;
        } else {
            self.copy_in(from, &payload[part.clone()]);
        }
        self.next = to;
        if self.count > 0 {
            self.join();
        }
        if lend { Placed::Lent(part) } else { Placed::Stored }
    }

    /// Advances over islands that RCV.NXT has reached.
    fn join(&mut self) {
        let mut reached = 0;
        while reached < self.count && at_or_before(self.islands[reached].start, self.next) {
            self.next = later(self.next, self.islands[reached].end);
            reached += 1;
        }
        self.islands.copy_within(reached..self.count, 0);
        self.count -= reached;
    }

    fn place_ahead(&mut self, from: u32, to: u32, bytes: &[u8]) -> Placed {
        // Islands first..last touch the new range; they are sorted and apart.
        let islands = &self.islands[..self.count];
        let first = islands.partition_point(|island| before(island.end, from));
        let last = islands.partition_point(|island| at_or_before(island.start, to));
        let mut merged = Island { start: from, end: to, stamp: self.stamp + 1 };
        if first == last {
            if self.count == ISLANDS_MAX {
                return Placed::Refused;
            }
            self.islands.copy_within(first..self.count, first + 1);
            self.count += 1;
        } else {
            let (start, end) = (self.islands[first].start, self.islands[last - 1].end);
            if last - first == 1 && at_or_before(start, from) && at_or_before(to, end) {
                return Placed::Duplicate;
            }
            (merged.start, merged.end) = (earlier(from, start), later(to, end));
            self.islands.copy_within(last..self.count, first + 1);
            self.count -= last - first - 1;
        }
        self.stamp += 1;
        self.islands[first] = merged;
        self.copy_in(from, bytes);
        Placed::Ahead
    }

    /// Gives back the unused end of what [`ReceiveBuffer::place`] lent: it is copied, once.
    pub(super) fn put_back(&mut self, rest: &[u8]) {
        let rest = &rest[rest.len() - rest.len().min(self.lent as usize)..];
        // What was lent ends where the ring's readable bytes begin: nothing has been read since.
        self.read = self.read.wrapping_sub(rest.len() as u32);
        self.copy_in(self.read, rest);
        self.lent = 0;
    }

    /// Bytes that can be read.
    #[inline]
    pub(super) fn readable(&self) -> usize {
        self.next.wrapping_sub(self.read) as usize
    }

    /// Readable bytes that lie together.
    #[inline]
    pub(super) fn lend(&mut self) -> &mut [u8] {
        let at = self.offset(self.read);
        let len = self.readable().min(self.ring.len() - at);
        &mut self.ring[at..at + len]
    }

    /// The first `len` readable bytes are used up.
    #[inline]
    pub(super) fn consume(&mut self, len: usize) {
        self.lent = 0;
        self.read = self.read.wrapping_add(len.min(self.readable()) as u32);
    }

    /// SACK blocks to report, the most recent first; `duplicate` (RFC 2883) before them.
    pub(super) fn blocks(&self, duplicate: Option<(u32, u32)>) -> [Option<(u32, u32)>; BLOCKS_MAX] {
        let mut blocks = [duplicate, None, None];
        let mut newer_than = u64::MAX;
        for block in &mut blocks[usize::from(duplicate.is_some())..] {
            let newest = self.islands[..self.count].iter().filter(|island| island.stamp < newer_than).max_by_key(|island| island.stamp);
            let Some(island) = newest else { break };
            *block = Some((island.start, island.end));
            newer_than = island.stamp;
        }
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(next: u32) -> ReceiveBuffer {
        let mut buffer = ReceiveBuffer::new(4096);
        buffer.reset(next);
        buffer
    }

    #[test]
    fn bytes_in_order_are_lent_and_only_the_rest_is_copied() {
        let mut buffer = buffer(u32::MAX - 3);
        assert_eq!(buffer.place(u32::MAX - 3, b"0123456789"), Placed::Lent(0..10));
        buffer.put_back(b"6789");
        assert_eq!((buffer.lend().to_vec(), buffer.copied()), (b"6789".to_vec(), 4));
        assert_eq!(buffer.place(6, b"ab"), Placed::Stored, "behind unread bytes");
        assert_eq!(buffer.lend(), b"6789ab");
        buffer.consume(6);
        assert_eq!(buffer.place(4, b"67ab+"), Placed::Lent(4..5), "what is old is cut off");
    }

    #[test]
    fn rfc2018_4_the_most_recent_block_comes_first_and_blocks_merge() {
        let mut buffer = buffer(100);
        for (sequence, bytes) in [(110_u32, b"aa"), (120, b"bb"), (130, b"cc"), (140, b"dd")] {
            assert_eq!(buffer.place(sequence, bytes), Placed::Ahead);
        }
        assert_eq!(buffer.blocks(None), [Some((140, 142)), Some((130, 132)), Some((120, 122))]);
        assert_eq!(buffer.place(112, b"++++++++"), Placed::Ahead);
        assert_eq!(buffer.blocks(None), [Some((110, 122)), Some((140, 142)), Some((130, 132))]);
        assert_eq!(buffer.blocks(Some((1, 2))), [Some((1, 2)), Some((110, 122)), Some((140, 142))]);
        assert_eq!(buffer.place(113, b"+++"), Placed::Duplicate);
    }

    #[test]
    fn a_filled_hole_makes_what_lies_behind_it_readable() {
        let mut buffer = buffer(0);
        assert_eq!(buffer.place(4, b"efgh"), Placed::Ahead);
        assert_eq!(buffer.place(0, b"abcdef"), Placed::Lent(0..6));
        assert_eq!(buffer.lend(), b"gh");
        buffer.put_back(b"cdef");
        assert_eq!(buffer.lend(), b"cdefgh");
        assert!(!buffer.has_hole());
    }

    #[test]
    fn too_many_islands_and_bytes_beyond_the_window_are_refused() {
        let mut buffer = buffer(0);
        for island in 0..ISLANDS_MAX as u32 {
            assert_eq!(buffer.place(10 + island * 2, b"x"), Placed::Ahead);
        }
        assert_eq!(buffer.place(1000, b"x"), Placed::Refused);
        assert_eq!(buffer.place(4096, b"x"), Placed::Refused);
        assert_eq!(buffer.place(0, b"0123456789"), Placed::Lent(0..10));
        assert_eq!(buffer.next(), 11);
    }

    proptest::proptest! {
        /// Whatever is read and given back between: what is lent without a further look is what would have been lent.
        #[test]
        fn the_next_bytes_are_lent_as_they_would_be_placed(
            steps in proptest::collection::vec((0usize..700, 0usize..700, proptest::bool::ANY), 1..30),
        ) {
            let (mut quick, mut plain) = (buffer(u32::MAX - 1000), buffer(u32::MAX - 1000));
            for (len, kept, reads) in steps {
                let payload = vec![len as u8; len.min(plain.free() as usize)];
                let len = payload.len();
                let placed = plain.place(plain.next(), &payload);
                let lent = quick.lend_next(len as u32);
                proptest::prop_assert_eq!(lent, len > 0 && placed == Placed::Lent(0..len));
                if !lent {
                    let _ = quick.place(quick.next(), &payload);
                }
                let kept = &payload[len - len.min(kept)..];
                for buffer in [&mut quick, &mut plain] {
                    buffer.put_back(kept);
                    if reads {
                        buffer.consume(300);
                    }
                }
                proptest::prop_assert_eq!(
                    (quick.next, quick.read, quick.lent, quick.copied, quick.lend().to_vec()),
                    (plain.next, plain.read, plain.lent, plain.copied, plain.lend().to_vec())
                );
            }
        }
    }
}
