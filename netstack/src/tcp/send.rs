//! Written bytes until they are acknowledged, and the segments that they are cut into.
//!
//! The bytes lie in the buffer here, or in frames that the caller keeps ([`SendBuffer::push_kept`]): of those only the
//! number is known, and which are over.
//!
//! A write gets room that lies together, so that a record can be sealed into it; segments point into the
//! buffer, so that sending again copies nothing but into the frame. The segments stand in the order of their
//! sequence numbers: first those that were sent (each under way, lost or selectively acknowledged), then those
//! that were not.
//!
//! ```text
//!        front (SND.UNA)                      SND.NXT
//!   gone  | under way | lost | sacked | ...     | queued | queued |  room
//! ```

use std::collections::VecDeque;

use super::output::Payload;
use super::sequence::{at_or_before, before};

/// Records that only sending again may use: a segment cut smaller for a narrower path needs one more.
const SPARE: usize = 16;

/// Where a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Never sent.
    Queued,
    /// Sent, and thought to be under way.
    UnderWay,
    /// Sent, and thought to be lost: to be sent again.
    Lost,
    /// Selectively acknowledged.
    Sacked,
}

/// A segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) sequence: u32,
    /// Payload bytes.
    pub(super) len: u32,
    /// Where its bytes begin: in the buffer, or in its frame.
    pub(super) offset: u32,
    /// The frame that its bytes lie in.
    pub(super) frame: Option<Kept>,
    /// The frame is over with this segment.
    last: bool,
    pub(super) syn: bool,
    pub(super) fin: bool,
    place: Place,
    /// Sent more than once.
    pub(super) again: bool,
    /// When it was last sent.
    pub(super) sent_ns: u64,
    /// The timestamp that it last carried.
    pub(super) stamp: u32,
}

impl Record {
    /// Sequence numbers, which wrap.
    #[inline]
    pub(super) fn sequence_len(&self) -> u32 {
        self.len.wrapping_add(u32::from(self.syn)).wrapping_add(u32::from(self.fin))
    }

    #[inline]
    pub(super) fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.sequence_len())
    }

    #[inline]
    pub(super) fn place(&self) -> Place {
        self.place
    }
}

/// A frame that the caller keeps until its bytes are acknowledged; what the number means is the caller's affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept(pub u64);

/// Segments in one place.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    count: u32,
    bytes: u32,
}

/// See the module's head.
pub(super) struct SendBuffer {
    bytes: Box<[u8]>,
    head: usize,
    tail: usize,
    held: usize,
    /// Bytes in kept frames.
    kept: usize,
    /// Frames that are over.
    over: Vec<Kept>,
    records: VecDeque<Record>,
    records_max: usize,
    tallies: [Tally; 4],
    /// One past what was written.
    end: u32,
}

impl SendBuffer {
    pub(super) fn new(capacity: usize, records_max: usize) -> SendBuffer {
        let records_max = records_max.max(4 * SPARE);
        let bytes = super::touched(capacity.clamp(2048, 1 << 29));
        SendBuffer {
            bytes,
            head: 0,
            tail: 0,
            held: 0,
            kept: 0,
            over: Vec::with_capacity(records_max + 1),
            records: VecDeque::with_capacity(records_max + 1),
            records_max,
            tallies: [Tally::default(); 4],
            end: 0,
        }
    }

    /// Forgets all; what is written next has sequence number `first`.
    pub(super) fn reset(&mut self, first: u32) {
        self.over.extend(self.records.iter().filter(|record| record.last).filter_map(|record| record.frame));
        self.records.clear();
        self.kept = 0;
        self.tallies = [Tally::default(); 4];
        (self.head, self.tail, self.held, self.end) = (0, 0, 0, first);
    }

    fn add(&mut self, place: Place, bytes: u32) {
        let tally = &mut self.tallies[place as usize];
        tally.count += 1;
        tally.bytes += bytes;
    }

    fn subtract(&mut self, place: Place, bytes: u32) {
        let tally = &mut self.tallies[place as usize];
        tally.count -= 1;
        tally.bytes -= bytes;
    }

    /// Segments in a place.
    #[inline]
    pub(super) fn count(&self, place: Place) -> u32 {
        self.tallies[place as usize].count
    }

    /// Sequence numbers in a place.
    #[inline]
    pub(super) fn bytes_in(&self, place: Place) -> u32 {
        self.tallies[place as usize].bytes
    }

    /// Segments sent and not yet acknowledged.
    #[inline]
    pub(super) fn sent(&self) -> usize {
        self.records.len() - self.count(Place::Queued) as usize
    }

    /// Payload bytes held.
    #[inline]
    pub(super) fn held(&self) -> usize {
        self.held + self.kept
    }

    /// A frame that is over.
    #[inline]
    pub(super) fn take_over(&mut self) -> Option<Kept> {
        self.over.pop()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    #[inline]
    pub(super) fn record(&self, index: usize) -> &Record {
        &self.records[index]
    }

    #[inline]
    pub(super) fn front(&self) -> Option<&Record> {
        self.records.front()
    }

    /// Bytes of the buffer.
    #[inline]
    pub(super) fn bytes(&self, offset: u32, len: u32) -> &[u8] {
        self.bytes.get(offset as usize..offset as usize + len as usize).unwrap_or(&[])
    }

    /// Where the first `len` payload bytes of a segment lie.
    #[inline]
    pub(super) fn place(record: &Record, len: u32) -> Payload {
        match record.frame {
            _ if len == 0 => Payload::None,
            Some(frame) => Payload::Kept { frame, offset: record.offset, len },
            None => Payload::Buffer { offset: record.offset, len },
        }
    }

    /// Moves a segment to another place.
    pub(super) fn put(&mut self, index: usize, place: Place) {
        let record = &mut self.records[index];
        let (before, bytes) = (record.place, record.sequence_len());
        record.place = place;
        self.subtract(before, bytes);
        self.add(place, bytes);
    }

    /// Notes that a segment leaves; what it is then.
    #[inline]
    pub(super) fn note_sent(&mut self, index: usize, now_ns: u64, stamp: u32) -> Record {
        let record = &mut self.records[index];
        let (before, bytes) = (record.place, record.sequence_len());
        record.again |= before != Place::Queued;
        (record.sent_ns, record.stamp, record.place) = (now_ns, stamp, Place::UnderWay);
        let record = *record;
        self.subtract(before, bytes);
        self.add(Place::UnderWay, bytes);
        record
    }

    #[inline]
    fn push(&mut self, len: u32, offset: u32, syn: bool, fin: bool, frame: Option<Kept>) {
        let last = frame.is_some();
        let record =
            Record { sequence: self.end, len, offset, frame, last, syn, fin, place: Place::Queued, again: false, sent_ns: 0, stamp: 0 };
        self.end = record.end();
        self.add(Place::Queued, record.sequence_len());
        self.records.push_back(record);
    }

    /// Queues a SYN.
    pub(super) fn push_syn(&mut self) {
        self.push(0, 0, true, false, None);
    }

    /// Queues a FIN: on the last segment if that has not left.
    pub(super) fn push_fin(&mut self) {
        if let Some(last) = self.records.back_mut()
            && last.place == Place::Queued
            && last.len > 0
        {
            last.fin = true;
            self.end = self.end.wrapping_add(1);
            self.tallies[Place::Queued as usize].bytes += 1;
        } else {
            self.push(0, 0, false, true, None);
        }
    }

    /// Where `room` bytes that lie together could go.
    #[inline]
    fn room_at(&self, room: usize) -> Option<usize> {
        if self.held == 0 {
            (room <= self.bytes.len()).then_some(0)
        } else if self.head > self.tail {
            if self.bytes.len() - self.head >= room { Some(self.head) } else { (self.tail > room).then_some(0) }
        } else {
            (self.tail - self.head > room).then_some(self.head)
        }
    }

    /// Lends room for `room` bytes, if there is such room. [`SendBuffer::note_written`] says how much was written to it.
    pub(super) fn room(&mut self, room: usize) -> Option<&mut [u8]> {
        if self.records.len() + SPARE >= self.records_max {
            return None;
        }
        let at = self.room_at(room)?;
        self.bytes.get_mut(at..at + room)
    }

    /// Queues the first `written` bytes of the room for `room` bytes, which was lent just now, in segments of `segment` bytes.
    pub(super) fn note_written(&mut self, room: usize, written: usize, segment: u32) {
        let written = written.min(room);
        let Some(at) = self.room_at(room).filter(|_| written > 0) else { return };
        if self.held == 0 {
            self.tail = at;
        }
        self.held += written;
        self.head = at + written;
        // Small writes that wait together leave together.
        if let Some(last) = self.records.back_mut()
            && last.place == Place::Queued
            && last.len > 0
            && last.frame.is_none()
            && (last.offset + last.len) as usize == at
            && last.len + written as u32 <= segment
        {
            last.len += written as u32;
            self.end = self.end.wrapping_add(written as u32);
            self.tallies[Place::Queued as usize].bytes += written as u32;
        } else {
            self.push(written as u32, at as u32, false, false, None);
        }
    }

    /// True if a segment of `len` bytes in a kept frame can be added.
    #[inline]
    pub(super) fn can_keep(&self, len: usize) -> bool {
        self.records.len() + SPARE < self.records_max && self.held() + len <= self.bytes.len()
    }

    /// Adds a segment whose bytes lie in a kept frame, from `offset` on.
    #[inline(always)]
    pub(super) fn push_kept(&mut self, frame: Kept, offset: u32, len: u32) {
        self.kept += len as usize;
        self.push(len, offset, false, false, Some(frame));
    }

    /// Takes back the last [`SendBuffer::push_kept`].
    pub(super) fn unpush_kept(&mut self) {
        if let Some(record) = self.records.pop_back() {
            self.subtract(record.place, record.sequence_len());
            self.kept -= record.len as usize;
            self.end = record.sequence;
        }
    }

    /// True if there is a record for the rest of a cut segment. New data leaves some to what must be sent again.
    pub(super) fn can_cut(&self, index: usize) -> bool {
        let reserve = if self.records[index].place == Place::Queued && self.sent() > 0 { SPARE } else { 0 };
        self.records.len() + reserve < self.records_max
    }

    /// Cuts a segment after `len` payload bytes; false if there is no record for the rest.
    pub(super) fn cut(&mut self, index: usize, len: u32) -> bool {
        let record = self.records[index];
        debug_assert!(0 < len && len < record.len, "a cut leaves two segments");
        if !self.can_cut(index) {
            return false;
        }
        let front = Record { len, fin: false, last: false, ..record };
        let rest = Record {
            sequence: record.sequence.wrapping_add(len),
            len: record.len - len,
            offset: record.offset + len,
            syn: false,
            ..record
        };
        self.records[index] = front;
        self.records.insert(index + 1, rest);
        self.tallies[record.place as usize].count += 1;
        true
    }

    /// Takes the first segment off if `acknowledged` covers all of it, else shortens it at most. Returns what is
    /// gone (a whole segment).
    pub(super) fn pop(&mut self, acknowledged: u32) -> Option<Record> {
        let record = *self.records.front()?;
        if !before(record.sequence, acknowledged) || record.place == Place::Queued {
            return None;
        }
        if !at_or_before(record.end(), acknowledged) {
            self.trim_front(acknowledged.wrapping_sub(record.sequence));
            return None;
        }
        self.records.pop_front();
        self.subtract(record.place, record.sequence_len());
        self.let_go(&record, record.len, record.offset + record.len);
        Some(record)
    }

    /// Takes `len` payload bytes off the first segment, which has more.
    pub(super) fn trim_front(&mut self, len: u32) {
        let Some(record) = self.records.front_mut() else { return };
        let len = len.min(record.len);
        record.sequence = record.sequence.wrapping_add(len);
        record.offset += len;
        record.len -= len;
        let (place, offset, record) = (record.place, record.offset, *record);
        let gone = record.sequence_len() == 0;
        self.tallies[place as usize].bytes -= len;
        if gone {
            self.records.pop_front();
            self.tallies[place as usize].count -= 1;
        }
        self.let_go(&Record { last: record.last && gone, ..record }, len, offset);
    }

    fn let_go(&mut self, record: &Record, len: u32, tail: u32) {
        if let Some(frame) = record.frame {
            self.kept -= len as usize;
            if record.last {
                self.over.push(frame);
            }
            return;
        }
        self.held -= len as usize;
        if self.held == 0 {
            (self.head, self.tail) = (0, 0);
        } else if len > 0 {
            // The next bytes may lie at the start of the buffer again.
            self.tail =
                self.records.iter().find(|record| record.len > 0 && record.frame.is_none()).map_or(tail, |record| record.offset) as usize;
        }
    }

    /// The first segment that is to be sent again.
    #[inline]
    pub(super) fn first_lost(&self) -> Option<usize> {
        if self.count(Place::Lost) == 0 { None } else { self.records.iter().position(|record| record.place == Place::Lost) }
    }

    /// The first segment that was never sent.
    #[inline]
    pub(super) fn first_queued(&self) -> Option<usize> {
        (self.count(Place::Queued) > 0).then(|| self.sent())
    }

    /// The last segment sent that the peer has not reported.
    pub(super) fn last_unreported(&self) -> Option<usize> {
        (0..self.sent()).rev().find(|&index| self.records[index].place != Place::Sacked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(buffer: &mut SendBuffer, bytes: &[u8]) -> bool {
        let Some(room) = buffer.room(bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        buffer.note_written(bytes.len(), bytes.len(), 1000);
        true
    }

    #[test]
    fn room_lies_together_around_the_end_of_the_buffer() {
        let mut buffer = SendBuffer::new(2048, 64);
        buffer.reset(u32::MAX - 999);
        assert!(write(&mut buffer, &[1; 1000]) && write(&mut buffer, &[2; 900]));
        assert!(!write(&mut buffer, &[3; 900]), "148 at the end, none at the front");
        for index in 0..2 {
            buffer.note_sent(index, 1, 0);
        }
        assert_eq!(buffer.pop(0).map(|record| record.len), Some(1000));
        assert!(!write(&mut buffer, &[3; 1000]), "exactly what is free would make it look empty");
        assert!(write(&mut buffer, &[3; 900]));
        assert!(!write(&mut buffer, &[4; 100]), "a full buffer must not look like an empty one");
        let last = *buffer.record(1);
        assert_eq!((buffer.bytes(last.offset, last.len), last.sequence), (&[3; 900][..], 900));
        assert_eq!(buffer.pop(900).map(|record| record.len), Some(900));
        assert!(write(&mut buffer, &[4; 1000]));
        assert_eq!(buffer.held(), 1900);
    }

    #[test]
    fn writes_that_wait_are_joined_up_to_a_segment_and_a_cut_keeps_the_fin_at_the_end() {
        let mut buffer = SendBuffer::new(4096, 64);
        buffer.reset(10);
        assert!(write(&mut buffer, &[1; 600]) && write(&mut buffer, &[2; 400]) && write(&mut buffer, &[3; 5]));
        buffer.push_fin();
        assert_eq!(buffer.count(Place::Queued), 2);
        assert!(buffer.cut(1, 2));
        let ends: Vec<_> = (0..3).map(|index| (buffer.record(index).end(), buffer.record(index).fin)).collect();
        assert_eq!(ends, [(1010, false), (1012, false), (1016, true)]);
        assert_eq!(buffer.bytes_in(Place::Queued), 1006);
    }

    #[test]
    fn a_segment_acknowledged_in_part_is_shortened() {
        let mut buffer = SendBuffer::new(4096, 64);
        buffer.reset(0);
        assert!(write(&mut buffer, b"abcdef"));
        buffer.note_sent(0, 1, 0);
        assert!(buffer.pop(4).is_none());
        let front = *buffer.record(0);
        assert_eq!((buffer.bytes(front.offset, front.len), front.sequence, buffer.bytes_in(Place::UnderWay)), (&b"ef"[..], 4, 2));
    }
}
