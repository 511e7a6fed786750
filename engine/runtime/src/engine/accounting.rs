//! What the hot thread does that it should not: allocations and page faults after warm-up.
//!
//! A TLS handshake allocates (certificates, key shares); the loop reports such work apart, so that a
//! reconnect in the middle of a run cannot hide an allocation in steady state.

use crate::host::ThreadUsage;
use crate::host::hot_memory;

/// A reading before a piece of connection work.
#[derive(Clone, Copy)]
pub(super) struct Before {
    allocations: u64,
    faults: Option<u64>,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotUsage {
    /// Allocator calls.
    pub allocations: u64,
    /// Of these, while connections were being made.
    pub allocations_connecting: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Of these, while connections were being made.
    pub page_faults_connecting: u64,
    /// Times that the thread gave up the CPU.
    pub voluntary_switches: u64,
    /// Times that the CPU was taken away.
    pub involuntary_switches: u64,
}

/// The accounts, of the thread that uses them.
pub(super) struct Accounting {
    base_allocations: u64,
    base_usage: ThreadUsage,
    connecting_allocations: u64,
    connecting_faults: u64,
}

fn faults(usage: ThreadUsage) -> u64 {
    usage.minor_faults + usage.major_faults
}

impl Accounting {
    /// Begins now.
    pub(super) fn new() -> Accounting {
        Accounting {
            base_allocations: hot_memory::allocations(),
            base_usage: ThreadUsage::now(),
            connecting_allocations: 0,
            connecting_faults: 0,
        }
    }

    /// Forgets what was counted so far (after warm-up).
    pub(super) fn restart(&mut self) {
        *self = Accounting::new();
    }

    /// Before work on a channel. The kernel is asked for page faults only while a connection is being made.
    #[inline]
    pub(super) fn before(&self, connecting: bool) -> Before {
        Before { allocations: hot_memory::allocations(), faults: connecting.then(|| faults(ThreadUsage::now())) }
    }

    /// After it: if a connection was being made, before or after, what it took is put down to that.
    #[inline]
    pub(super) fn after(&mut self, before: Before, connecting: bool) {
        if before.faults.is_none() && !connecting {
            return;
        }
        self.connecting_allocations += hot_memory::allocations() - before.allocations;
        if let Some(earlier) = before.faults {
            self.connecting_faults += faults(ThreadUsage::now()) - earlier;
        }
    }

    /// Allocations since warm-up, and those of them while connecting. No system call.
    #[inline]
    pub(super) fn allocations(&self) -> (u64, u64) {
        (hot_memory::allocations() - self.base_allocations, self.connecting_allocations)
    }

    /// Everything. One system call.
    pub(super) fn read(&self) -> HotUsage {
        let (allocations, allocations_connecting) = self.allocations();
        let usage = ThreadUsage::now().since(self.base_usage);
        HotUsage {
            allocations,
            allocations_connecting,
            page_faults: faults(usage),
            page_faults_connecting: self.connecting_faults,
            voluntary_switches: usage.voluntary_switches,
            involuntary_switches: usage.involuntary_switches,
        }
    }
}
