//! The hot plane: one pinned thread that takes a frame all the way to the order it causes.
//!
//! ```text
//! Engine::start(EngineInit) -> EngineHandle { status, tick_to_order, command, stop -> Report }
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `init` | what an engine is started with, and why it may not start |
//! | `start` | placement, recovery, network, threads |
//! | `recovery` | ring + journal -> the core as it was |
//! | `hot_loop` | the loop: frame -> message -> events -> orders -> frames -> kick |
//! | `upkeep` | what it does besides: timers, commands, results of the cold plane |
//! | `phases` | its life: warm-up, running, stopping, closing |
//! | `core_side` | core + ring: everything is recorded before it acts |
//! | `venue_slot` | one venue as the loop holds it |
//! | `sending` | from an output of the core to a sealed message |
//! | `rehearsal` | keeps the way to an order in the caches between two orders |
//! | `network`, `adapters` | the seams to `netstack`, and what is behind them |
//! | `accounting` | allocations and page faults of the hot thread |
//! | `status`, `publish` | the state for whoever looks on, without a lock |
//! | `cold_plane` | the cold threads' life |
//! | `handle`, `finish` | the engine from outside; the report |

mod accounting;
mod adapters;
mod cold_plane;
pub mod core_side;
mod finish;
mod handle;
pub mod hot_loop;
mod init;
pub mod network;
mod phases;
mod publish;
pub mod recovery;
pub mod rehearsal;
mod sending;
mod start;
pub mod status;
mod upkeep;
mod venue_slot;

pub use accounting::HotUsage;
pub use adapters::SessionChannel;
pub use handle::{Busy, EngineHandle};
pub use init::{CoreBuilder, EngineError, EngineInit, LinkSource, LoopTiming, Placement, core_builder};
pub use start::{Engine, LiveLoop};
pub use status::{Phase, Status, VenueStatus};
pub use venue_slot::SlotCounters;
