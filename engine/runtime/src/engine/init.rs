//! What an engine is started with, and why it may not start.

use crate::cold::log::Log;
use crate::config::network::VenueSetup;
use crate::journal::JournalError;
use crate::replay::Mismatch;
use crate::ring::RingError;
use crate::session_file::{SessionFile, SessionFileError};
use drivers::select::{AnyPort, LinkConfig};
use drivers::tap::TapConfig;
use engine_core::core::Core;
use netstack::stack::StackConfig;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Builds the core: the very same each time it is called. Called for the live core, and again when the
/// finished journal is to be verified.
pub type CoreBuilder = Arc<dyn Fn() -> Result<Core, String> + Send + Sync>;

/// A builder of the core that a session file describes.
pub fn core_builder(session: &SessionFile, journal: &Path) -> CoreBuilder {
    let (session, path) = (session.clone(), journal.join(crate::session_file::FILE_NAME));
    Arc::new(move || {
        let parts = crate::config::build::core_of_session(&session, &path).map_err(|e| e.to_string())?;
        Core::new(parts.config, parts.strategies).map_err(|e| e.to_string())
    })
}

/// Where the engine's frames come from.
#[allow(clippy::large_enum_variant)] // One value a run.
pub enum LinkSource {
    /// Open this link, with a recorder around it if one is given. The thread that calls
    /// [`super::Engine::start`] opens it: if the interface lies in a network namespace, that thread must have
    /// entered it (the engine's threads inherit it, those that do REST too).
    Open(Box<LinkConfig>, Option<TapConfig>),
    /// An open port: one end of an in-process link, or any other that the caller has made.
    Port(AnyPort),
}

/// Where the hot thread runs, and what it asks of the machine. What the machine refuses is reported, and
/// the engine goes on without it.
#[derive(Clone, Debug)]
pub struct Placement {
    /// CPU of the hot thread; `None` = the machine's last one, or no pinning on a single CPU.
    pub hot_cpu: Option<usize>,
    /// SCHED_FIFO priority of the hot thread, 1 to 99; 0 = ordinary class.
    pub fifo_priority: i32,
    /// Lock all memory of the process.
    pub lock_memory: bool,
    /// Bytes of the hot arena; 0 = none. Has an effect only where [`crate::host::hot_memory::HotAllocator`] is
    /// the global allocator.
    pub arena_bytes: usize,
}

impl Default for Placement {
    fn default() -> Self {
        Placement { hot_cpu: None, fifo_priority: 0, lock_memory: true, arena_bytes: 64 << 20 }
    }
}

/// Times of the loop.
#[derive(Clone, Copy, Debug)]
pub struct LoopTiming {
    /// Between two timer events of the core.
    pub timer_ns: u64,
    /// Between two rehearsals of the way to an order (see the `rehearsal` module); 0 = none.
    pub rehearse_ns: u64,
    /// Between two reconciliations of a venue in quiet times; 0 = only at start and after an outage.
    pub reconcile_ns: u64,
    /// A reconciliation that has not completed after so long is asked for again.
    pub reconcile_retry_ns: u64,
    /// Warm-up lasts at least so long; after it, allocations and page faults count.
    pub warm_up_ns: u64,
    /// Warm-up ends at the latest after this, connections open or not.
    pub warm_up_max_ns: u64,
    /// A stop waits so long for open orders to be gone.
    pub stop_ns: u64,
}

impl Default for LoopTiming {
    fn default() -> Self {
        const S: u64 = 1_000_000_000;
        LoopTiming {
            timer_ns: 10_000_000,
            rehearse_ns: 300_000,
            reconcile_ns: 60 * S,
            reconcile_retry_ns: 15 * S,
            warm_up_ns: 2 * S,
            warm_up_max_ns: 60 * S,
            stop_ns: 10 * S,
        }
    }
}

/// Everything an engine is started with.
pub struct EngineInit {
    /// Its name in logs.
    pub name: String,
    /// Directory of the journal; made if it is not there.
    pub journal: PathBuf,
    /// File of the event ring; should be on tmpfs.
    pub ring: PathBuf,
    /// Events that the ring holds; a power of two.
    pub ring_events: usize,
    /// The journal is forced to disk this often.
    pub sync_interval: Duration,
    /// What the journal is made with. If the journal has one already, it must be this very one.
    pub session: SessionFile,
    /// Builds the core that belongs to `session`; see [`core_builder`].
    pub build_core: CoreBuilder,
    /// The venues, by id, as [`crate::config::network::venues`] gives them.
    pub venues: Vec<VenueSetup>,
    /// The network path.
    pub link: LinkSource,
    /// Addresses, ports, names.
    pub stack: StackConfig,
    /// Names that the cold plane does not look up (the hot plane's are in `stack`).
    pub pinned_hosts: Vec<(String, IpAddr)>,
    /// Where the hot thread runs.
    pub placement: Placement,
    /// Times of the loop.
    pub timing: LoopTiming,
    /// The log.
    pub log: Log,
    /// Replay the finished journal at the end and compare (`journal.replay_matches` in the report).
    pub verify_replay: bool,
}

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The event ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The session file.
    #[error(transparent)]
    SessionFile(#[from] SessionFileError),
    /// The journal belongs to another configuration.
    #[error("journal {}: it was made with another configuration ({what}); move it away (the new one begins with empty positions) or use the old configuration", path.display())]
    ConfigChanged {
        /// The journal.
        path: PathBuf,
        /// Which part differs.
        what: &'static str,
    },
    /// Another engine uses the journal.
    #[error("journal {}: another running engine uses it", path.display())]
    JournalInUse {
        /// The journal.
        path: PathBuf,
    },
    /// The ring holds events that do not continue the journal.
    #[error(
        "event ring {} holds events from sequence {first} on that do not belong to journal {} (next sequence {next}); restore the journal they belong to, or move the ring away",
        ring.display(),
        journal.display()
    )]
    RingMismatch {
        /// The ring.
        ring: PathBuf,
        /// The journal.
        journal: PathBuf,
        /// First sequence in the ring.
        first: u64,
        /// Next sequence of the journal.
        next: u64,
    },
    /// The journal does not give the recorded outputs again: another version of the program wrote it.
    #[error("journal {}: replaying it does not give what was recorded, first at sequence {}; `peregrine replay` shows more", path.display(), mismatch.sequence)]
    Replay {
        /// The journal.
        path: PathBuf,
        /// The first difference.
        mismatch: Box<Mismatch>,
    },
    /// All epochs are used up.
    #[error("journal {}: {max} sessions is the most that client order ids allow; begin a new journal", path.display())]
    EpochsUsedUp {
        /// The journal.
        path: PathBuf,
        /// The last epoch.
        max: u16,
    },
    /// The core cannot be built.
    #[error("core: {0}")]
    Core(String),
    /// A venue cannot be built.
    #[error("venue {name}: {reason}")]
    Venue {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },
    /// The link cannot be opened.
    #[error("link: {0}")]
    Link(String),
    /// The stack cannot be built.
    #[error("network stack: {0}")]
    Stack(String),
    /// A thread cannot be started.
    #[error("starting thread {name}: {source}")]
    Thread {
        /// Which.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The session's start did not reach the disk: no order may be sent.
    #[error("the start of the session was not written to journal {} in time", path.display())]
    NotDurable {
        /// The journal.
        path: PathBuf,
    },
}
