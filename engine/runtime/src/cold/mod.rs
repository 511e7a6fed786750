//! The cold plane: everything slow, on ordinary threads and kernel sockets.
//!
//! | module | thread | what it does |
//! |---|---|---|
//! | `journal_writer` | `pgn-journal` | drains the event ring into the journal, keeps the [`mirror`], logs what is notable |
//! | `rest_worker` | `pgn-rest-VENUE` | REST: tokens, snapshots, reference data, reconciliation, with retries |
//! | `reference` | (before there is a core) | asks the venues for their instruments |
//! | `log` | (called by the others) | structured lines of JSON |
//!
//! Nothing here can make the hot thread wait: it only ever pushes into bounded rings, and what does not
//! fit is counted or, for events that must not be lost, stops new orders first.

pub mod http;
pub mod journal_writer;
pub mod log;
pub mod mirror;
pub mod reconcile;
pub mod reference;
pub mod rest_worker;
pub mod throttle;
