//! Reads and verifies a journal.

use super::{BlockHeader, JournalError, SEGMENT_EXTENSION, SegmentHeader};
use engine_core::event::Event;
use memmap2::Mmap;
use std::fs::File;
use std::path::{Path, PathBuf};
use zerocopy::FromBytes;

const HEADER_LEN: usize = 64;
const EVENT_LEN: usize = 64;

/// An incomplete last block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub path: PathBuf,
    /// Where the whole part ends.
    pub offset: u64,
    /// Bytes after it.
    pub bytes: u64,
}

/// What a pass over a journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Segments read.
    pub segments: u32,
    /// Blocks read.
    pub blocks: u64,
    /// Events read.
    pub events: u64,
    /// First sequence; 0 if there is no event.
    pub first_sequence: u64,
    /// Last sequence; 0 if there is no event.
    pub last_sequence: u64,
    /// The incomplete last block, if there is one.
    pub torn: Option<TornTail>,
}

/// The segments of a journal directory with their first sequences, in order.
pub fn segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, JournalError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| JournalError::io(dir, e))? {
        let path = entry.map_err(|e| JournalError::io(dir, e))?.path();
        if path.extension().is_some_and(|e| e == SEGMENT_EXTENSION)
            && let Some(first) = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<u64>().ok())
        {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a segment's header; `None` if the file is shorter than one (the process died making it).
pub fn read_segment_header(path: &Path) -> Result<Option<SegmentHeader>, JournalError> {
    let map = map(path)?;
    let Some((header, _)) = map.as_deref().and_then(|bytes| SegmentHeader::read_from_prefix(bytes).ok()) else {
        return Ok(None);
    };
    header.check().map_err(|what| JournalError::Format { path: path.display().to_string(), what })?;
    Ok(Some(header))
}

fn map(path: &Path) -> Result<Option<Mmap>, JournalError> {
    let file = File::open(path).map_err(|e| JournalError::io(path, e))?;
    if file.metadata().map_err(|e| JournalError::io(path, e))?.len() == 0 {
        return Ok(None);
    }
    // SAFETY: segments are append-only and truncated only by the writer at start-up, when no reader of
    // this process holds them; a reader of a live journal sees whole blocks or stops at a torn one.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| JournalError::io(path, e))?;
    Ok(Some(map))
}

/// A journal opened for reading: a directory, or a single segment file.
pub struct Reader {
    segments: Vec<(u64, PathBuf)>,
}

impl Reader {
    /// Opens a journal directory or one segment of it.
    pub fn open(path: &Path) -> Result<Reader, JournalError> {
        if path.is_file() {
            let first = read_segment_header(path)?.map_or(0, |h| h.first_sequence);
            return Ok(Reader { segments: vec![(first, path.to_owned())] });
        }
        Ok(Reader { segments: segments(path)? })
    }

    /// True if there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// About how many events there are, from the sizes of the files: for progress, not for arithmetic.
    pub fn events_estimate(&self) -> u64 {
        let bytes: u64 = self.segments.iter().filter_map(|(_, path)| std::fs::metadata(path).ok()).map(|m| m.len()).sum();
        bytes / EVENT_LEN as u64
    }

    /// Calls `visit` with each event and its sequence, in order, until it returns false; verifies as it
    /// goes. A torn tail ends the pass and is reported in the summary; corruption is an error.
    pub fn for_each(&self, mut visit: impl FnMut(u64, &Event) -> bool) -> Result<Summary, JournalError> {
        let mut summary = Summary::default();
        let mut expected: Option<u64> = None;
        for (i, (first, path)) in self.segments.iter().enumerate() {
            let last_segment = i + 1 == self.segments.len();
            if let Some(next) = expected
                && next != *first
            {
                return Err(JournalError::Corrupt {
                    path: path.display().to_string(),
                    offset: 0,
                    what: format!("a segment is missing: it begins at sequence {first}, {next} was expected"),
                    sequence: next,
                });
            }
            let mut next = *first;
            let keep_going = read_segment(path, *first, last_segment, &mut next, &mut summary, &mut visit)?;
            expected = Some(next);
            if !keep_going {
                break;
            }
        }
        Ok(summary)
    }
}

fn read_segment(
    path: &Path,
    first: u64,
    last_segment: bool,
    next: &mut u64,
    summary: &mut Summary,
    visit: &mut impl FnMut(u64, &Event) -> bool,
) -> Result<bool, JournalError> {
    summary.segments += 1;
    let corrupt = |offset: usize, what: &str, sequence: u64| JournalError::Corrupt {
        path: path.display().to_string(),
        offset: offset as u64,
        what: what.to_owned(),
        sequence,
    };
    let torn = |offset: usize, len: usize| TornTail { path: path.to_owned(), offset: offset as u64, bytes: (len - offset) as u64 };
    let map = map(path)?;
    let bytes: &[u8] = map.as_deref().unwrap_or_default();
    let Ok((header, _)) = SegmentHeader::read_from_prefix(bytes) else {
        if last_segment {
            summary.torn = Some(torn(0, bytes.len())).filter(|t| t.bytes > 0);
            return Ok(true);
        }
        return Err(corrupt(0, "segment without a header", first));
    };
    header.check().map_err(|what| JournalError::Format { path: path.display().to_string(), what })?;
    if header.first_sequence != first {
        return Err(corrupt(0, "the header's first sequence is not the file's name", first));
    }
    let mut at = HEADER_LEN;
    while at < bytes.len() {
        let Some(events) = whole_block(&bytes[at..], *next) else {
            if last_segment && !later_block_exists(&bytes[at + 1..], *next) {
                summary.torn = Some(torn(at, bytes.len()));
                return Ok(true);
            }
            return Err(corrupt(at, "a block does not check, and whole ones follow it", *next));
        };
        summary.blocks += 1;
        for raw in events.chunks_exact(EVENT_LEN) {
            let Ok(event) = Event::read_from_bytes(raw) else { return Err(corrupt(at, "event of impossible length", *next)) };
            if summary.first_sequence == 0 {
                summary.first_sequence = *next;
            }
            summary.events += 1;
            summary.last_sequence = *next;
            let sequence = *next;
            *next += 1;
            if !visit(sequence, &event) {
                return Ok(false);
            }
        }
        at += HEADER_LEN + events.len();
    }
    Ok(true)
}

/// The events of the block at the start of `bytes`, if it is whole and starts at `sequence`.
fn whole_block(bytes: &[u8], sequence: u64) -> Option<&[u8]> {
    let (header, rest) = BlockHeader::read_from_prefix(bytes).ok()?;
    if !header.is_whole() || header.first_sequence != sequence {
        return None;
    }
    let events = rest.get(..header.count as usize * EVENT_LEN)?;
    (crc32fast::hash(events) == header.events_crc).then_some(events)
}

/// True if a whole block header with a later sequence lies anywhere in `bytes`: then what comes before
/// it is corruption, not a torn tail.
fn later_block_exists(bytes: &[u8], sequence: u64) -> bool {
    let magic = super::BLOCK_MAGIC.to_le_bytes();
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(4).position(|w| w == magic) {
        at += found;
        if let Ok((header, _)) = BlockHeader::read_from_prefix(&bytes[at..])
            && header.is_whole()
            && header.first_sequence > sequence
        {
            return true;
        }
        at += 4;
    }
    false
}
