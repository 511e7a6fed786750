//! The benches.

pub mod book;
pub mod codec;
pub mod core;
pub mod tls;

/// The seed of everything random.
const SEED: u64 = 0x5eed;
/// Operations in a block: enough that a side runs on its own caches, few enough that both see the same machine.
const BLOCK: usize = 64;
/// Our side's name.
const OURS: &str = "ours";
/// A side with a single operation that is the case itself.
const ONE: &[&str] = &[""];
