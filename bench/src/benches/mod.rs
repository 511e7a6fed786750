//! The benches.

pub mod book;
pub mod codec;
pub mod core;
pub mod growth;
pub mod link;
pub mod tcp;
pub mod tls;
pub mod wire;

/// The seed of everything random.
const SEED: u64 = 0x5eed;
/// Operations in a block: enough that a side runs on its own caches, few enough that both see the same machine.
const BLOCK: usize = 64;
/// Our side's name.
const OURS: &str = "ours";
/// A side with a single operation that is the case itself.
const ONE: &[&str] = &[""];

/// Lets the calling thread run on any CPU but this one, if there is another.
fn keep_off(cpu: Option<usize>) {
    let mut set = nix::sched::CpuSet::new();
    for other in (0..nix::sched::CpuSet::count()).filter(|&other| Some(other) != cpu) {
        // In bounds.
        let _ = set.set(other);
    }
    // Where there is no other CPU this fails, and the thread stays.
    let _ = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set);
}
