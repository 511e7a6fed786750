//! Time and place: the hot loop, the shared-memory ring, the journal, recovery, the cold plane.
//!
//! Everything below this crate is a pure state machine; here it gets a clock, a core to run on, frame
//! memory, files and sockets. Two planes:
//!
//! - the *hot plane*: one pinned thread that polls the port and takes a frame all the way to the order
//!   it causes ([`engine`]); it makes no system call but the NIC's;
//! - the *cold plane*: ordinary threads that write the journal, do REST over kernel sockets, reconcile,
//!   log ([`cold`]).
//!
//! Between them lie one-way rings ([`ring`]); the one that carries events lives in shared memory that
//! outlives the process, so `kill -9` loses nothing that the hot thread had recorded.
//!
//! | module | what it is |
//! |---|---|
//! | `ring` | one-way rings of 64-byte events, in shared memory or in process |
//! | `journal` | segments of checksummed blocks on disk: write, read, verify, cut a torn tail |
//! | `session_file` | the resolved configuration that a journal was made with |
//! | `replay` | feed a journal to a fresh core and compare what comes out |
//! | `clock` | TSC time as Unix nanoseconds |
//! | `host` | topology (hwloc2), pinning, scheduling class, locked memory, huge-page arena |
//! | `config` | the TOML configuration, strict |
//! | `engine` | the hot loop |
//! | `cold` | journal writer, REST workers, reconciliation, log |
//! | `report` | the summary as JSON |

pub mod clock;
pub mod cold;
pub mod config;
pub mod credentials;
pub mod engine;
pub mod host;
pub mod journal;
pub mod latency;
pub mod replay;
pub mod report;
pub mod ring;
pub mod session_file;
