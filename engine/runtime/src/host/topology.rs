//! What the machine looks like, read once through hwloc into plain data.
//!
//! The hwloc2 crate hands out borrowed bitmaps without a lifetime and has other sharp edges, so nothing
//! of it leaves this function: the topology is built, walked, copied and dropped here.

use super::{Refusal, interrupts};
use hwloc2::{ObjectType, Topology};

/// A processing unit (hardware thread) and the core it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The number the operating system knows it by.
    pub cpu: usize,
    /// Physical core, counted over the machine.
    pub core: usize,
    /// NUMA node.
    pub numa_node: usize,
    /// The kernel was told to leave it alone.
    pub isolated: bool,
    /// Interrupts that devices have raised on it since the machine was started.
    pub interrupts: u64,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// All processing units, by logical order.
    pub units: Vec<Unit>,
    /// How many NUMA nodes.
    pub numa_nodes: usize,
}

impl Machine {
    /// Reads the topology.
    #[allow(clippy::map_clone)]
    pub fn read() -> Result<Machine, Refusal> {
        let refuse = |reason: &str| Refusal {
            what: "reading the topology",
            reason: reason.to_owned(),
            fix: "install libhwloc15; the engine goes on without placement",
        };
        let topology = Topology::new().ok_or_else(|| refuse("hwloc could not build a topology"))?;
        let mut cores: Vec<Vec<u32>> = Vec::new();
        let mut units = Vec::new();
        for depth in 0..topology.depth() {
            for object in topology.objects_at_depth(depth) {
                // Clone before any use: the crate's bitmaps are the topology's own, though their type does not say so.
                let Some(set) = object.cpuset().map(|set| set.clone()) else { continue };
                let cpus: Vec<u32> = set.into_iter().collect();
                match object.object_type() {
                    ObjectType::Core => cores.push(cpus),
                    ObjectType::PU => {
                        let nodes = object.nodeset().map(|set| set.clone().into_iter().collect::<Vec<u32>>()).unwrap_or_default();
                        if let Some(&cpu) = cpus.first() {
                            units.push((cpu, nodes.first().copied().unwrap_or(0)));
                        }
                    }
                    _ => {}
                }
            }
        }
        drop(topology);
        if units.is_empty() {
            return Err(refuse("hwloc lists no processing unit"));
        }
        let (isolated, interrupts) = (interrupts::isolated(), interrupts::of_devices());
        let units: Vec<Unit> = units
            .into_iter()
            .map(|(cpu, node)| Unit {
                cpu: cpu as usize,
                core: cores.iter().position(|c| c.contains(&cpu)).unwrap_or(cpu as usize),
                numa_node: node as usize,
                isolated: isolated.contains(&(cpu as usize)),
                interrupts: interrupts.get(&(cpu as usize)).copied().unwrap_or(0),
            })
            .collect();
        let numa_nodes = units.iter().map(|u| u.numa_node).max().map_or(1, |n| n + 1);
        Ok(Machine { units, numa_nodes })
    }

    /// The NUMA node of a CPU.
    pub fn numa_node_of(&self, cpu: usize) -> Option<usize> {
        self.units.iter().find(|u| u.cpu == cpu).map(|u| u.numa_node)
    }

    /// The CPU to choose for the hot thread when none is configured: an isolated one if there is one, and the one that
    /// devices interrupt least (a disk does, each time the journal is forced to it);
    /// `None` on a machine with a single CPU.
    pub fn default_hot_cpu(&self) -> Option<usize> {
        let quietest = self.units.iter().min_by_key(|u| (!u.isolated, u.interrupts, std::cmp::Reverse(u.cpu)));
        quietest.filter(|_| self.units.len() > 1).map(|u| u.cpu)
    }
}

/// Binds a mapping to one NUMA node (`mbind`, MPOL_BIND); must be called before it is touched.
pub(super) fn bind_to_node(address: *mut u8, len: usize, node: usize) -> Result<(), Refusal> {
    const MPOL_BIND: libc::c_ulong = 2;
    let refuse = |reason: String| Refusal { what: "binding memory to a NUMA node", reason, fix: "none needed on a single node" };
    if node >= 64 {
        return Err(refuse(format!("node {node} is out of range")));
    }
    let mask: libc::c_ulong = 1 << node;
    // SAFETY: mbind only sets a policy on the given range of our own mapping; the mask outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_mbind, address, len, MPOL_BIND, &raw const mask, 64usize, 0u32) };
    if result == 0 { Ok(()) } else { Err(refuse(std::io::Error::last_os_error().to_string())) }
}

/// Keeps the kernel from taking pages away for a moment to see which node uses them (NUMA balancing): the hot thread would
/// fault on each, locked or not. It leaves alone what belongs to a thread with a policy of its own, and this is the policy
/// that everybody has anyway, memory from the node of whoever touches it first, for the calling thread and those that it will
/// start (set_mempolicy(2)). A thread that has none looks through the memory of the whole process: call it before there are others.
///
/// # Errors
/// If NUMA balancing is on and the system does not let us.
pub fn keep_pages_mapped() -> Result<(), Refusal> {
    let nowhere = std::ptr::null::<libc::c_ulong>();
    // SAFETY: set_mempolicy with MPOL_LOCAL reads no mask, and changes nothing but where pages will come from.
    if unsafe { libc::syscall(libc::SYS_set_mempolicy, libc::MPOL_LOCAL, nowhere, 0usize) } == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    let balancing = std::fs::read_to_string("/proc/sys/kernel/numa_balancing").is_ok_and(|state| state.trim() != "0");
    if !balancing {
        return Ok(());
    }
    let fix = "set kernel.numa_balancing=0, or allow set_mempolicy (CAP_SYS_NICE in a container)";
    Err(Refusal { what: "pages that NUMA balancing leaves mapped", reason: error.to_string(), fix })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calling thread's memory policy (get_mempolicy(2)).
    fn policy() -> libc::c_int {
        let (mut mode, nowhere) = (-1, std::ptr::null::<libc::c_ulong>());
        // SAFETY: get_mempolicy writes the mode alone where it is given neither mask nor address.
        let result = unsafe { libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, nowhere, 0usize, nowhere, 0usize) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        mode
    }

    #[test]
    fn a_thread_and_those_it_starts_have_a_policy_that_numa_balancing_leaves_alone() {
        std::thread::spawn(|| {
            assert_eq!(policy(), libc::MPOL_DEFAULT, "a thread that has chosen none");
            keep_pages_mapped().unwrap();
            assert_eq!(policy(), libc::MPOL_LOCAL);
            assert_eq!(std::thread::spawn(policy).join().unwrap(), libc::MPOL_LOCAL);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn this_machine_has_units_and_a_node() {
        let machine = Machine::read().unwrap();
        let online = std::thread::available_parallelism().unwrap().get();
        assert!(machine.units.len() >= online);
        assert!(machine.numa_nodes >= 1);
        assert_eq!(machine.numa_node_of(machine.units[0].cpu), Some(machine.units[0].numa_node));
        assert_eq!(machine.default_hot_cpu().is_some(), machine.units.len() > 1);
    }

    #[test]
    fn the_hot_thread_goes_where_it_is_quiet() {
        let unit = |cpu, isolated, interrupts| Unit { cpu, core: cpu, numa_node: 0, isolated, interrupts };
        let hot = |units: &[Unit]| Machine { units: units.to_vec(), numa_nodes: 1 }.default_hot_cpu();
        assert_eq!(hot(&[unit(0, false, 5), unit(1, false, 900), unit(2, false, 7)]), Some(0));
        assert_eq!(hot(&[unit(0, false, 5), unit(1, true, 900), unit(2, true, 7)]), Some(2), "isolated first");
        assert_eq!(hot(&[unit(0, false, 5), unit(1, false, 5)]), Some(1), "as quiet: the last");
        assert_eq!(hot(&[unit(0, false, 5)]), None);
    }
}
