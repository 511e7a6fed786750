//! Appends to a journal.

use super::reader::{Reader, TornTail, segments};
use super::{BLOCK_EVENTS_MAX, BlockHeader, JournalError, SEGMENT_EXTENSION, SegmentHeader};
use engine_core::event::Event;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use zerocopy::IntoBytes;

/// Settings of a writer.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// A new segment is begun when the current one would grow past this.
    pub segment_bytes_max: u64,
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions { segment_bytes_max: 256 << 20 }
    }
}

/// The writing end of a journal.
pub struct Writer {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    len: u64,
    next_sequence: u64,
    session_hash: u64,
    now_ns: u64,
    options: WriterOptions,
    block: Vec<u8>,
    unsynced: bool,
}

impl Writer {
    /// Opens the journal in `dir` (making it if need be), verifies its last segment, cuts a torn tail off
    /// and goes on behind it. `now_ns` and `session_hash` go into the headers of new segments.
    pub fn open(dir: &Path, now_ns: u64, session_hash: u64, options: WriterOptions) -> Result<(Writer, Option<TornTail>), JournalError> {
        std::fs::create_dir_all(dir).map_err(|e| JournalError::io(dir, e))?;
        let mut found = segments(dir)?;
        // A segment whose header was never completed holds nothing.
        while let Some((_, path)) = found.last() {
            if super::read_segment_header(path)?.is_some() {
                break;
            }
            std::fs::remove_file(path).map_err(|e| JournalError::io(path, e))?;
            found.pop();
        }
        let Some((first, path)) = found.pop() else {
            let (path, file, len) = new_segment(dir, 1, now_ns, session_hash)?;
            return Ok((Writer::at(dir, path, file, len, 1, now_ns, session_hash, options), None));
        };
        let summary = Reader::open(&path)?.for_each(|_, _| true)?;
        let next_sequence = if summary.events == 0 { first } else { summary.last_sequence + 1 };
        let mut file = OpenOptions::new().write(true).open(&path).map_err(|e| JournalError::io(&path, e))?;
        if let Some(torn) = &summary.torn {
            file.set_len(torn.offset).map_err(|e| JournalError::io(&path, e))?;
            file.sync_all().map_err(|e| JournalError::io(&path, e))?;
        }
        let len = file.seek(SeekFrom::End(0)).map_err(|e| JournalError::io(&path, e))?;
        Ok((Writer::at(dir, path, file, len, next_sequence, now_ns, session_hash, options), summary.torn))
    }

    #[allow(clippy::too_many_arguments)]
    fn at(dir: &Path, path: PathBuf, file: File, len: u64, next: u64, now_ns: u64, session_hash: u64, options: WriterOptions) -> Writer {
        Writer {
            dir: dir.to_owned(),
            path,
            file,
            len,
            next_sequence: next,
            session_hash,
            now_ns,
            options,
            block: Vec::with_capacity(64 + BLOCK_EVENTS_MAX * 64),
            unsynced: false,
        }
    }

    /// Sequence of the next event.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Appends events, in blocks. On return they survive the process, not yet the machine.
    pub fn append(&mut self, events: &[Event]) -> Result<(), JournalError> {
        for chunk in events.chunks(BLOCK_EVENTS_MAX) {
            let bytes = chunk.as_bytes();
            if self.len > 64 && self.len + 64 + bytes.len() as u64 > self.options.segment_bytes_max {
                self.sync()?;
                if let Some(last) = chunk.first() {
                    self.now_ns = self.now_ns.max(last.core_time_ns);
                }
                (self.path, self.file, self.len) = new_segment(&self.dir, self.next_sequence, self.now_ns, self.session_hash)?;
            }
            let header = BlockHeader::new(self.next_sequence, chunk.len() as u32, bytes);
            self.block.clear();
            self.block.extend_from_slice(header.as_bytes());
            self.block.extend_from_slice(bytes);
            self.file.write_all(&self.block).map_err(|e| JournalError::io(&self.path, e))?;
            self.len += self.block.len() as u64;
            self.next_sequence += chunk.len() as u64;
            self.unsynced = true;
        }
        Ok(())
    }

    /// Makes everything appended survive the machine.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        if self.unsynced {
            self.file.sync_data().map_err(|e| JournalError::io(&self.path, e))?;
            self.unsynced = false;
        }
        Ok(())
    }
}

fn new_segment(dir: &Path, first: u64, now_ns: u64, session_hash: u64) -> Result<(PathBuf, File, u64), JournalError> {
    let path = dir.join(format!("{first:020}.{SEGMENT_EXTENSION}"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path).map_err(|e| JournalError::io(&path, e))?;
    file.write_all(SegmentHeader::new(first, now_ns, session_hash).as_bytes()).map_err(|e| JournalError::io(&path, e))?;
    file.sync_all().map_err(|e| JournalError::io(&path, e))?;
    // The directory entry too, or a power failure could lose the whole segment.
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| JournalError::io(dir, e))?;
    Ok((path, file, 64))
}
