//! From what an earlier run left behind to a core that goes on where it stopped.
//!
//! 1. Nobody else uses ring and journal (both are locked for as long as the engine lives).
//! 2. What the ring still holds is appended to the journal: it was recorded, and not yet written when the
//!    process died. Both count in event sequences, so an overlap is seen and left out.
//! 3. The journal is replayed into a fresh core. Every output must come out as it was recorded.
//! 4. Outputs that the core decided on and the dead process did not get to record were never sent; they are
//!    recorded first when the new run begins.

use super::init::EngineError;
use crate::journal::{JournalError, Reader, TornTail, Writer, WriterOptions};
use crate::replay::{ReplaySummary, Replayer};
use crate::ring;
use crate::session_file::SessionFile;
use engine_core::core::Core;
use engine_core::event::Event;
use engine_core::ids::OrderId;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Everything that the new run begins with.
pub struct Recovered {
    /// The core, in the state in which the last run left it.
    pub core: Core,
    /// Outputs decided on and never recorded (nor sent).
    pub unrecorded: Vec<Event>,
    /// The ring, not started.
    pub ring: ring::Opened,
    /// The journal, ready to go on.
    pub writer: Writer,
    /// Epoch of the new run.
    pub epoch: u16,
    /// What the replay found.
    pub summary: ReplaySummary,
    /// Events that the ring still held.
    pub leftover: usize,
    /// A torn tail that was cut off.
    pub torn: Option<TornTail>,
    /// Keeps others off the journal.
    pub lock: JournalLock,
}

/// Holds a journal directory for one engine; the lock dies with the process.
#[derive(Debug)]
pub struct JournalLock {
    _directory: File,
}

impl JournalLock {
    /// Takes the lock.
    pub fn take(journal: &Path) -> Result<JournalLock, EngineError> {
        let io = |source| JournalError::Io { path: journal.display().to_string(), source };
        let directory = File::open(journal).map_err(io)?;
        // SAFETY: flock on a file descriptor that `directory` keeps open.
        if unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(JournalLock { _directory: directory });
        }
        let error = std::io::Error::last_os_error();
        if error.kind() == std::io::ErrorKind::WouldBlock {
            return Err(EngineError::JournalInUse { path: journal.to_owned() });
        }
        Err(io(error).into())
    }
}

/// Where an engine keeps what must survive it.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The journal's directory.
    pub journal: &'a Path,
    /// The ring's file.
    pub ring: &'a Path,
    /// Events that a new ring holds.
    pub ring_events: usize,
}

/// Recovers. `build` makes a fresh core for `session`.
///
/// # Errors
/// If something does not belong together, or the journal is damaged; nothing is guessed.
pub fn recover(
    places: Places<'_>,
    session: &SessionFile,
    build: impl FnOnce() -> Result<Core, String>,
    now_ns: u64,
) -> Result<Recovered, EngineError> {
    let Places { journal, ring: ring_path, ring_events } = places;
    std::fs::create_dir_all(journal).map_err(|source| JournalError::Io { path: journal.display().to_string(), source })?;
    let lock = JournalLock::take(journal)?;
    let (opened, leftover) = ring::open(ring_path, ring_events)?;
    claim_session(journal, session)?;
    let (mut writer, torn) = Writer::open(journal, now_ns, session.hash(), WriterOptions::default())?;
    let next = writer.next_sequence();
    let foreign = leftover.first > next || leftover.tag != session.hash();
    if !leftover.events.is_empty() && foreign {
        return Err(EngineError::RingMismatch { ring: ring_path.to_owned(), journal: journal.to_owned(), first: leftover.first, next });
    }
    let known = (next - leftover.first.min(next)) as usize;
    let fresh = leftover.events.get(known..).unwrap_or(&[]);
    writer.append(fresh)?;
    writer.sync()?;

    let core = build().map_err(EngineError::Core)?;
    let mut replayer = Replayer::new(core);
    replayer.read(&Reader::open(journal)?, u64::MAX)?;
    let (core, unrecorded, summary) = replayer.finish();
    if let Some(mismatch) = summary.mismatch.clone() {
        return Err(EngineError::Replay { path: journal.to_owned(), mismatch: Box::new(mismatch) });
    }
    if summary.epoch >= OrderId::EPOCH_MAX {
        return Err(EngineError::EpochsUsedUp { path: journal.to_owned(), max: OrderId::EPOCH_MAX });
    }
    let epoch = summary.epoch + 1;
    Ok(Recovered { core, unrecorded, ring: opened, writer, epoch, summary, leftover: fresh.len(), torn, lock })
}

/// The journal's own session file must be this one; a new journal gets it.
fn claim_session(journal: &Path, session: &SessionFile) -> Result<(), EngineError> {
    let changed = |what| EngineError::ConfigChanged { path: journal.to_owned(), what };
    match SessionFile::read(journal)? {
        Some(held) if held == *session => Ok(()),
        Some(held) if held.config != session.config => Err(changed("the configuration file's text")),
        Some(held) if held.instruments != session.instruments => Err(changed("the instruments' reference data")),
        Some(_) => Err(changed("venues, strategies or assets")),
        None if !crate::journal::segments(journal)?.is_empty() => Err(changed("its session.json is missing")),
        None => Ok(session.write(journal)?),
    }
}
