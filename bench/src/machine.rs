//! Where and of what it was measured.

use runtime::host;
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::process::Command;

/// The machine, as far as figures depend on it. What cannot be read is `unknown` or left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// Processor.
    pub cpu: String,
    /// Logical CPUs.
    pub cpus: usize,
    /// It is a virtual machine, as the processor says.
    pub virtual_machine: bool,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Operating system kernel.
    pub kernel: String,
    /// Architecture.
    pub architecture: &'static str,
    /// The CPU that the measuring thread was pinned to.
    pub pinned_to: Option<usize>,
    /// CPUs that the kernel leaves alone.
    pub isolated: Vec<usize>,
    /// Frequency governor of the CPU.
    pub governor: Option<String>,
    /// Runnable threads per the kernel's one-minute average, before the run: other work disturbs.
    pub load: Option<f64>,
    /// Compiled with debug assertions.
    pub debug_build: bool,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cpus, memory_mib, kernel, architecture, .. } = self;
        write!(f, "{cpu}, {cpus} CPUs, {memory_mib} MiB, {kernel} {architecture}")?;
        if self.virtual_machine {
            f.write_str(", virtual")?;
        }
        match self.pinned_to {
            Some(cpu) if self.isolated.contains(&cpu) => write!(f, ", on isolated CPU {cpu}")?,
            Some(cpu) => write!(f, ", on CPU {cpu}, not isolated")?,
            None => f.write_str(", not pinned")?,
        }
        self.load.map_or(Ok(()), |load| write!(f, ", load {load}"))
    }
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The value behind `key` and a colon, in the manner of `/proc`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
}

impl Machine {
    /// Reads the description.
    pub fn read() -> Machine {
        let cpuinfo = text("/proc/cpuinfo").unwrap_or_default();
        let kib = text("/proc/meminfo").and_then(|text| field(&text, "MemTotal")?.split_whitespace().next()?.parse::<u64>().ok());
        Machine {
            cpu: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            virtual_machine: field(&cpuinfo, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            memory_mib: kib.unwrap_or(0) / 1_024,
            kernel: format!("Linux {}", text("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into())),
            architecture: std::env::consts::ARCH,
            pinned_to: None,
            isolated: host::interrupts::isolated(),
            governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            load: text("/proc/loadavg").and_then(|load| load.split(' ').next()?.parse().ok()),
            debug_build: cfg!(debug_assertions),
        }
    }
}

/// Pins the calling thread where the engine's hot thread would be, and describes the machine. A machine that does not
/// let itself be pinned is measured all the same; the report says so.
pub fn prepare() -> Machine {
    let mut machine = Machine::read();
    host::touch_stack(256 * 1024);
    let cpu = host::topology::Machine::read().ok().and_then(|topology| topology.default_hot_cpu());
    machine.pinned_to = cpu.filter(|&cpu| host::pin_to_core(cpu).is_ok());
    machine
}

/// The commit of the sources in the current directory, `-dirty` if they differ from it; `unknown` elsewhere.
pub fn commit() -> String {
    let git = |arguments: &[&str]| -> Option<String> {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    let ours = git(&["rev-parse", "--show-toplevel"]).filter(|top| Path::new(top).join("engine/core/Cargo.toml").exists());
    let Some(hash) = ours.and_then(|_| git(&["rev-parse", "HEAD"])) else { return "unknown".into() };
    let clean = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| changes.is_empty());
    if clean { hash } else { hash + "-dirty" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_described() {
        let machine = Machine::read();
        assert!(machine.cpus > 0 && machine.memory_mib > 0 && machine.kernel.len() > "Linux ".len());
        assert_eq!(machine.debug_build, cfg!(debug_assertions));
        assert!(machine.to_string().contains("not pinned"));
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 85\nmodel name\t: A Processor: fast\n";
        assert_eq!(field(text, "model name"), Some("A Processor: fast"));
        assert_eq!(field(text, "name"), None);
    }
}
