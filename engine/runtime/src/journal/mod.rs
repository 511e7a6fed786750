//! The journal on disk: everything the core took in and gave out, in order, in 64-byte events.
//!
//! A journal is a directory of *segments*. A segment is a file named after the sequence of its first
//! event; it begins with a [`SegmentHeader`] and goes on with *blocks*: a [`BlockHeader`] and up to
//! [`BLOCK_EVENTS_MAX`] events. Every header and every block's events carry a CRC-32, every block says
//! which sequence it starts at. So a reader knows, without trusting anything, how far the journal is
//! whole:
//!
//! - the last block of the last segment may be incomplete (the process or the machine died in a write):
//!   that is a *torn tail*; [`Writer::open`] cuts it off and says how many bytes it cut;
//! - anything else that does not check is corruption, and an error that names the file and the offset.
//!
//! Written by the cold plane only. `write(2)` first (survives the process), `fdatasync` on a clock and on
//! request (survives the machine).

pub mod export;
mod reader;
mod writer;

pub use reader::{Reader, Summary, TornTail, read_segment_header, segments};
pub use writer::{Writer, WriterOptions};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of the file layout.
pub const VERSION: u32 = 1;
/// First bytes of a segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"PGNJRNL\0";
/// First bytes of a block.
pub const BLOCK_MAGIC: u32 = 0x4b4c_4250; // "PBLK"
/// Most events in one block.
pub const BLOCK_EVENTS_MAX: usize = 1023;
/// Extension of segment files.
pub const SEGMENT_EXTENSION: &str = "pgj";

/// First 64 bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SegmentHeader {
    /// [`SEGMENT_MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// [`engine_core::event::LAYOUT_VERSION`].
    pub event_layout: u32,
    /// Sequence of the first event.
    pub first_sequence: u64,
    /// When the segment was begun: nanoseconds since the Unix epoch.
    pub created_ns: u64,
    /// Hash of the session file that the events were made with.
    pub session_hash: u64,
    /// Zero.
    pub reserved: [u8; 20],
    /// CRC-32 of the bytes before.
    pub crc: u32,
}

/// First 64 bytes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockHeader {
    /// [`BLOCK_MAGIC`].
    pub magic: u32,
    /// Events that follow, 1 to [`BLOCK_EVENTS_MAX`].
    pub count: u32,
    /// Sequence of the first of them.
    pub first_sequence: u64,
    /// CRC-32 of the events' bytes.
    pub events_crc: u32,
    /// Zero.
    pub reserved: [u8; 40],
    /// CRC-32 of the bytes before.
    pub crc: u32,
}

impl SegmentHeader {
    /// A header with its checksum.
    pub fn new(first_sequence: u64, created_ns: u64, session_hash: u64) -> SegmentHeader {
        let mut header = SegmentHeader {
            magic: SEGMENT_MAGIC,
            version: VERSION,
            event_layout: engine_core::event::LAYOUT_VERSION,
            first_sequence,
            created_ns,
            session_hash,
            reserved: [0; 20],
            crc: 0,
        };
        header.crc = crc32fast::hash(&header.as_bytes()[..60]);
        header
    }

    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), String> {
        if self.magic != SEGMENT_MAGIC {
            return Err("not a journal segment".into());
        }
        if self.crc != crc32fast::hash(&self.as_bytes()[..60]) {
            return Err("segment header's checksum does not match".into());
        }
        if self.version != VERSION || self.event_layout != engine_core::event::LAYOUT_VERSION {
            return Err(format!(
                "journal version {}, event layout {}; this program knows {VERSION} and {}",
                self.version,
                self.event_layout,
                engine_core::event::LAYOUT_VERSION
            ));
        }
        Ok(())
    }
}

impl BlockHeader {
    /// A header for these events' bytes, with its checksums.
    pub fn new(first_sequence: u64, count: u32, events: &[u8]) -> BlockHeader {
        let mut header =
            BlockHeader { magic: BLOCK_MAGIC, count, first_sequence, events_crc: crc32fast::hash(events), reserved: [0; 40], crc: 0 };
        header.crc = crc32fast::hash(&header.as_bytes()[..60]);
        header
    }

    /// True if the header itself is whole.
    pub fn is_whole(&self) -> bool {
        self.magic == BLOCK_MAGIC
            && self.count >= 1
            && self.count as usize <= BLOCK_EVENTS_MAX
            && self.crc == crc32fast::hash(&self.as_bytes()[..60])
    }
}

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("journal {path}: {source}")]
    Io {
        /// File or directory.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something in it is not what was written.
    #[error("journal {path}: corrupt at byte {offset}: {what}; the events before sequence {sequence} are whole")]
    Corrupt {
        /// The segment.
        path: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: String,
        /// First sequence that is lost.
        sequence: u64,
    },
    /// A segment of another version or no segment at all.
    #[error("journal {path}: {what}")]
    Format {
        /// The segment.
        path: String,
        /// What is wrong.
        what: String,
    },
}

impl JournalError {
    pub(crate) fn io(path: &std::path::Path, source: std::io::Error) -> JournalError {
        JournalError::Io { path: path.display().to_string(), source }
    }
}

#[cfg(test)]
mod journal_properties;

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::event::{Event, Times};
    use std::path::{Path, PathBuf};

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("peregrine-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    fn numbered(n: u64) -> Event {
        Event { a: n, ..Event::timer(Times { core_ns: 1_000 + n, poll_delay_ns: 7 }) }
    }

    fn write(dir: &Path, from: u64, to: u64, options: WriterOptions) {
        let mut writer = Writer::open(dir, 42, 99, options).unwrap().0;
        assert_eq!(writer.next_sequence(), from);
        let events: Vec<Event> = (from..to).map(numbered).collect();
        for chunk in events.chunks(10) {
            writer.append(chunk).unwrap();
        }
        writer.sync().unwrap();
    }

    fn read_all(dir: &Path) -> Vec<u64> {
        let mut got = Vec::new();
        let summary = Reader::open(dir)
            .unwrap()
            .for_each(|sequence, event| {
                assert_eq!(event.a, sequence);
                got.push(sequence);
                true
            })
            .unwrap();
        assert_eq!(summary.events, got.len() as u64);
        got
    }

    #[test]
    fn what_is_written_is_read_again_over_many_segments_and_sessions() {
        let dir = scratch("roundtrip");
        let small = WriterOptions { segment_bytes_max: 4096 };
        write(&dir, 1, 501, small);
        write(&dir, 501, 777, small);
        assert_eq!(read_all(&dir), (1..777).collect::<Vec<_>>());
        assert!(segments(&dir).unwrap().len() > 5);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_torn_tail_is_cut_at_every_length() {
        let dir = scratch("torn");
        write(&dir, 1, 31, WriterOptions::default());
        let file = segments(&dir).unwrap().pop().unwrap().1;
        let whole = std::fs::read(&file).unwrap();
        // Blocks of 10 events: 64 + 640 bytes each after the 64-byte segment header.
        for cut in 64..whole.len() {
            std::fs::write(&file, &whole[..cut]).unwrap();
            let complete = ((cut - 64) / 704) as u64;
            let mut got = 0;
            let summary = Reader::open(&dir)
                .unwrap()
                .for_each(|_, _| {
                    got += 1;
                    true
                })
                .unwrap();
            assert_eq!(got, complete * 10);
            assert_eq!(summary.torn.map_or(0, |t| t.bytes), (cut as u64 - 64) % 704);
            let (writer, torn) = Writer::open(&dir, 1, 99, WriterOptions::default()).unwrap();
            assert_eq!(writer.next_sequence(), complete * 10 + 1);
            assert_eq!(torn.map_or(0, |t| t.bytes), (cut as u64 - 64) % 704);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_flipped_bit_is_corruption_unless_it_is_in_the_last_block() {
        let dir = scratch("flip");
        write(&dir, 1, 31, WriterOptions::default());
        let file = segments(&dir).unwrap().pop().unwrap().1;
        let whole = std::fs::read(&file).unwrap();
        for at in (64..whole.len()).step_by(37) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&file, &bytes).unwrap();
            let result = Reader::open(&dir).unwrap().for_each(|_, _| true);
            if at >= 64 + 2 * 704 {
                assert!(result.unwrap().torn.is_some(), "byte {at}");
            } else {
                assert!(matches!(result, Err(JournalError::Corrupt { .. })), "byte {at}");
                assert!(Writer::open(&dir, 1, 99, WriterOptions::default()).is_err());
            }
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_missing_segment_is_corruption() {
        let dir = scratch("missing");
        write(&dir, 1, 501, WriterOptions { segment_bytes_max: 4096 });
        std::fs::remove_file(&segments(&dir).unwrap()[2].1).unwrap();
        let error = Reader::open(&dir).unwrap().for_each(|_, _| true).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_crash_right_after_a_segment_was_made_is_no_loss() {
        let dir = scratch("empty-segment");
        write(&dir, 1, 31, WriterOptions::default());
        for torn in [0usize, 10, 64] {
            let file = dir.join(format!("{:020}.{SEGMENT_EXTENSION}", 31));
            std::fs::write(&file, &SegmentHeader::new(31, 1, 99).as_bytes()[..torn]).unwrap();
            assert_eq!(read_all(&dir).len(), 30);
            assert_eq!(Writer::open(&dir, 1, 99, WriterOptions::default()).unwrap().0.next_sequence(), 31);
        }
        write(&dir, 31, 41, WriterOptions::default());
        assert_eq!(read_all(&dir).len(), 40);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
