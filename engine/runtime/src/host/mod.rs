//! The machine under the hot thread: which cores there are, pinning, scheduling class, locked memory.
//!
//! Everything here happens once, at start. Each step that the machine refuses is reported with the fix
//! (a [`Refusal`]) and the engine goes on without it, because a slower start beats none; the report says
//! what was obtained.

pub mod code_pages;
pub mod hot_memory;
pub mod interrupts;
pub mod topology;

use std::fmt;

/// Something the machine did not grant, and what would grant it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked.
    pub what: &'static str,
    /// What the system said.
    pub reason: String,
    /// What to do about it.
    pub fix: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.what, self.reason, self.fix)
    }
}

/// Pins the calling thread to one logical CPU.
pub fn pin_to_core(cpu: usize) -> Result<(), Refusal> {
    let refuse = |reason: String| Refusal { what: "pinning the hot thread", reason, fix: "choose a core that the process may use" };
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu).map_err(|e| refuse(format!("CPU {cpu}: {e}")))?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).map_err(|e| refuse(format!("CPU {cpu}: {e}")))
}

/// Keeps the calling thread off one logical CPU (cold threads stay away from the hot core). Does
/// nothing if that would leave no CPU.
pub fn keep_off_core(cpu: usize) -> Result<(), Refusal> {
    let refuse = |reason: String| Refusal { what: "keeping cold threads off the hot core", reason, fix: "give the process a second core" };
    let this = nix::unistd::Pid::from_raw(0);
    let mut set = nix::sched::sched_getaffinity(this).map_err(|e| refuse(e.to_string()))?;
    let others = (0..nix::sched::CpuSet::count()).filter(|&c| c != cpu && set.is_set(c).unwrap_or(false)).count();
    if others == 0 {
        return Err(refuse(format!("CPU {cpu} is the only one")));
    }
    set.unset(cpu).map_err(|e| refuse(e.to_string()))?;
    nix::sched::sched_setaffinity(this, &set).map_err(|e| refuse(e.to_string()))
}

/// Gives the calling thread the SCHED_FIFO class at `priority` (1 to 99).
pub fn set_fifo(priority: i32) -> Result<(), Refusal> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: sched_setscheduler on the calling thread (0) with a valid parameter struct.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) } == 0 {
        return Ok(());
    }
    Err(Refusal {
        what: "SCHED_FIFO",
        reason: std::io::Error::last_os_error().to_string(),
        fix: "grant CAP_SYS_NICE or raise RLIMIT_RTPRIO",
    })
}

/// Gives the calling thread of the ordinary class, and those that it will start, slices of this length: with short ones
/// it runs as soon as it wakes up, and never for long (Linux 6.12 and later).
pub fn set_slice(nanoseconds: u64) -> Result<(), Refusal> {
    /// `struct sched_attr` in its first version.
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let attributes = Attributes { size: size_of::<Attributes>() as u32, runtime: nanoseconds, ..Attributes::default() };
    // SAFETY: sched_setattr reads the struct, whose size it is told; 0 is the calling thread.
    if unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } == 0 {
        return Ok(());
    }
    Err(Refusal { what: "a thread's slices", reason: std::io::Error::last_os_error().to_string(), fix: "use Linux 6.12 or later" })
}

/// Locks all memory of the process, now and later, so that no page is ever faulted in from disk.
pub fn lock_memory() -> Result<(), Refusal> {
    nix::sys::mman::mlockall(nix::sys::mman::MlockAllFlags::MCL_CURRENT | nix::sys::mman::MlockAllFlags::MCL_FUTURE).map_err(|e| Refusal {
        what: "locking memory",
        reason: e.to_string(),
        fix: "grant CAP_IPC_LOCK or raise RLIMIT_MEMLOCK",
    })
}

/// Touches the calling thread's stack down to `bytes` below here, so that it never faults later.
#[inline(never)]
pub fn touch_stack(bytes: usize) {
    const STEP: usize = 64 * 1024;
    #[inline(never)]
    #[allow(clippy::large_stack_arrays)] // A large stack array is the purpose.
    fn touch() -> u8 {
        let block = [0u8; STEP];
        std::hint::black_box(&block)[STEP / 2]
    }
    fn deeper(left: usize) -> u8 {
        let here = touch();
        if left <= STEP { here } else { std::hint::black_box(here ^ deeper(left - STEP)) }
    }
    std::hint::black_box(deeper(bytes));
}

/// Counters of the calling thread from the kernel (`getrusage(RUSAGE_THREAD)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadUsage {
    /// Page faults that needed no I/O.
    pub minor_faults: u64,
    /// Page faults that needed I/O.
    pub major_faults: u64,
    /// Times the thread gave up the CPU itself.
    pub voluntary_switches: u64,
    /// Times the scheduler took it away.
    pub involuntary_switches: u64,
}

impl ThreadUsage {
    /// Reads the calling thread's counters.
    pub fn now() -> ThreadUsage {
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD);
        usage.map_or_else(
            |_| ThreadUsage::default(),
            |u| ThreadUsage {
                minor_faults: u.minor_page_faults() as u64,
                major_faults: u.major_page_faults() as u64,
                voluntary_switches: u.voluntary_context_switches() as u64,
                involuntary_switches: u.involuntary_context_switches() as u64,
            },
        )
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(self, earlier: ThreadUsage) -> ThreadUsage {
        ThreadUsage {
            minor_faults: self.minor_faults - earlier.minor_faults,
            major_faults: self.major_faults - earlier.major_faults,
            voluntary_switches: self.voluntary_switches - earlier.voluntary_switches,
            involuntary_switches: self.involuntary_switches - earlier.involuntary_switches,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned_and_kept_off() {
        std::thread::spawn(|| {
            let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
            let cpus: Vec<usize> = (0..nix::sched::CpuSet::count()).filter(|&c| allowed.is_set(c).unwrap()).collect();
            if cpus.len() > 1 {
                keep_off_core(cpus[0]).unwrap();
                assert!(!nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap().is_set(cpus[0]).unwrap());
            }
            pin_to_core(*cpus.last().unwrap()).unwrap();
            // SAFETY: sched_getcpu has no preconditions.
            assert_eq!(unsafe { libc::sched_getcpu() } as usize, *cpus.last().unwrap());
            assert!(pin_to_core(100_000).is_err());
            touch_stack(256 * 1024);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn thread_usage_counts_faults() {
        let before = ThreadUsage::now();
        let memory = vec![1u8; 4 << 20];
        std::hint::black_box(&memory);
        assert!(ThreadUsage::now().since(before).minor_faults > 0);
    }
}
