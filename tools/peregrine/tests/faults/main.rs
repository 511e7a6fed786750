//! Faults: the whole system trades while venues and the wire misbehave.
//!
//! Each test sets a stage (over AF_XDP between two network namespaces where root is available, else over the
//! in-process link), launches the real engine in this process, and does one thing after the other to it. After each:
//! the engine is up, the counter that belongs to the fault has moved, the other venue noticed nothing, and once
//! the fault is over, books are valid and new orders are placed within a bound. At the end of each test
//! the engine's records equal the venues', every invariant holds, and the journal replays to the same state.
//!
//! One engine at a time: its hot thread has a core to itself.

mod frames;
mod hostile;
mod links;
mod market_data;
mod orders;
mod venue;
mod world;
