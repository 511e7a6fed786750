//! Two network namespaces joined by a veth pair: a wire on which AF_XDP and AF_PACKET can be tried on
//! any Linux machine, for tests and for the demonstration.
//!
//! Names carry the process id (`pgn<pid>-<number>a`), so that two runs never meet and
//! [`sweep_stale`] can remove what a killed run left behind. Needs root and `ip` (iproute2).
//!
//! A namespace belongs to a thread: [`Namespace::run`] runs a closure on a thread of its own inside,
//! [`Namespace::enter`] moves the calling thread for good, [`Namespace::command`] makes a child
//! process that starts inside. Sockets and ports stay in the namespace in which they were opened,
//! whichever thread uses them later.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::error::{DriverError, Result};
use crate::interface::{self, Offload};

/// First letters of every name made here.
pub const PREFIX: &str = "pgn";
const NETNS_DIRECTORY: &str = "/run/netns";

/// What the wire should look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestbedConfig {
    /// The kernel's address on the left (engine's) side, if it is to have one.
    pub left: Option<Ipv4Addr>,
    /// The kernel's address on the right (venues') side.
    pub right: Option<Ipv4Addr>,
    /// Length of the network prefix.
    pub prefix_len: u8,
    /// MTU of both sides.
    pub mtu: u32,
    /// Leave checksums of outgoing frames to the (absent) hardware: only to show what that breaks.
    pub transmit_offload: bool,
}

impl Default for TestbedConfig {
    /// Left 10.77.0.2, right 10.77.0.1, /24. An engine with an address of its own takes
    /// [`ENGINE_ADDRESS`], which no kernel has.
    fn default() -> Self {
        TestbedConfig {
            left: Some(Ipv4Addr::new(10, 77, 0, 2)),
            right: Some(Ipv4Addr::new(10, 77, 0, 1)),
            prefix_len: 24,
            mtu: 1500,
            transmit_offload: false,
        }
    }
}

/// An address in the default network that neither kernel has.
pub const ENGINE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);

/// Why there can be no testbed here (not root, a container without the capabilities, no `ip`), or
/// `None` if there can.
pub fn unavailable() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    // linux/capability.h
    for (name, bit) in [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13), ("CAP_SYS_ADMIN", 21)] {
        if effective_capabilities().is_some_and(|mask| mask & (1 << bit) == 0) {
            return Some(format!("network namespaces need {name}, which this container's root lacks"));
        }
    }
    if let Err(error) = run(&["-Version"]) {
        return Some(format!("iproute2 is not installed: {error}"));
    }
    None
}

/// The calling thread's effective capabilities, as a bit mask.
fn effective_capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// A namespace, removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with `lo` up.
    ///
    /// # Errors
    /// Without root, or if the name is taken.
    pub fn create(name: &str) -> Result<Namespace> {
        run(&["netns", "add", name])?;
        let namespace = Namespace { name: name.to_owned() };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(NETNS_DIRECTORY).join(&self.name)
    }

    /// Moves the calling thread into the namespace, for the rest of its life.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN`, or if the namespace has been removed.
    pub fn enter(&self) -> Result<()> {
        let file = self.open()?;
        setns(&file, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| DriverError::io(format!("setns to {}", self.name), io::Error::from_raw_os_error(errno as i32)))
    }

    /// Runs a closure inside the namespace, on a thread of its own, and waits for it. A panic of the
    /// closure goes on in the caller.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.enter()?;
                Ok(action())
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a thread that lives inside the namespace.
    ///
    /// # Errors
    /// If the namespace cannot be opened or the thread not started. If entering fails inside the
    /// thread, joining it returns that error.
    pub fn spawn<T: Send + 'static>(&self, action: impl FnOnce() -> T + Send + 'static) -> Result<thread::JoinHandle<Result<T>>> {
        let (file, name) = (self.open()?, self.name.clone());
        thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                setns(&file, CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| DriverError::io(format!("setns to {name}"), io::Error::from_raw_os_error(errno as i32)))?;
                Ok(action())
            })
            .map_err(|error| DriverError::io("start of a thread", error))
    }

    /// A child process that will start inside the namespace.
    ///
    /// # Errors
    /// If the namespace cannot be opened.
    pub fn command(&self, program: &str) -> Result<Command> {
        let file = self.open()?;
        let mut command = Command::new(program);
        // SAFETY: between fork and exec only setns is called, which is async-signal-safe; the file was
        // opened beforehand and lives as long as the command.
        unsafe {
            command.pre_exec(move || setns(&file, CloneFlags::CLONE_NEWNET).map_err(|errno| io::Error::from_raw_os_error(errno as i32)));
        }
        Ok(command)
    }

    /// Runs `ip` inside the namespace.
    ///
    /// # Errors
    /// With what `ip` wrote, if it failed.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        let mut full = vec!["-netns", self.name.as_str()];
        full.extend_from_slice(arguments);
        run(&full)
    }

    fn open(&self) -> Result<File> {
        File::open(self.path()).map_err(|error| DriverError::io(format!("open of namespace {}", self.name), error))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A failure leaves the name behind, which the next sweep removes.
        let _ = run(&["netns", "del", &self.name]);
    }
}

/// Two namespaces and the veth pair between them; all removed when dropped.
#[derive(Debug)]
pub struct Testbed {
    left: Namespace,
    right: Namespace,
    left_interface: String,
    right_interface: String,
    config: TestbedConfig,
}

impl Testbed {
    /// Builds the wire and waits until both sides have a carrier.
    ///
    /// # Errors
    /// Without root or `ip`, or if the kernel has no veth.
    pub fn create(config: TestbedConfig) -> Result<Testbed> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed) % 1000;
        let pid = std::process::id();
        let bed = Testbed {
            left: Namespace::create(&format!("{PREFIX}{pid}-{number}a"))?,
            right: Namespace::create(&format!("{PREFIX}{pid}-{number}b"))?,
            // At most 3 + 7 + 1 + 3 + 1 = 15 bytes, the longest that the kernel takes.
            left_interface: format!("{PREFIX}{pid}v{number}a"),
            right_interface: format!("{PREFIX}{pid}v{number}b"),
            config,
        };
        // One queue each way: what comes in comes in on queue 0.
        run(&[
            "link",
            "add",
            &bed.left_interface,
            "numtxqueues",
            "1",
            "numrxqueues",
            "1",
            "netns",
            &bed.left.name,
            "type",
            "veth",
            "peer",
            "name",
            &bed.right_interface,
            "numtxqueues",
            "1",
            "numrxqueues",
            "1",
            "netns",
            &bed.right.name,
        ])?;
        for (namespace, interface, address) in
            [(&bed.left, &bed.left_interface, config.left), (&bed.right, &bed.right_interface, config.right)]
        {
            namespace.run(|| {
                // No router solicitations or duplicate address detection on the wire. Kernels without
                // IPv6 have no such file, which is as good.
                let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1");
                if config.transmit_offload { Ok(()) } else { interface::set_offload(interface, Offload::TransmitChecksum, false) }
            })??;
            if let Some(address) = address {
                namespace.ip(&["address", "add", &format!("{address}/{}", config.prefix_len), "dev", interface])?;
            }
            namespace.ip(&["link", "set", interface, "mtu", &config.mtu.to_string(), "up"])?;
        }
        Ok(bed)
    }

    /// The engine's side.
    pub fn left(&self) -> &Namespace {
        &self.left
    }

    /// The venues' side.
    pub fn right(&self) -> &Namespace {
        &self.right
    }

    /// Interface in the left namespace.
    pub fn left_interface(&self) -> &str {
        &self.left_interface
    }

    /// Interface in the right namespace.
    pub fn right_interface(&self) -> &str {
        &self.right_interface
    }

    /// How it was asked for.
    pub fn config(&self) -> &TestbedConfig {
        &self.config
    }
}

/// Removes namespaces that dead processes left behind; returns their names.
pub fn sweep_stale() -> Vec<String> {
    let Ok(entries) = fs::read_dir(NETNS_DIRECTORY) else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| owner(name).is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()))
        .filter(|name| run(&["netns", "del", name]).is_ok())
        .collect()
}

/// The process id in a name made by [`Testbed::create`].
fn owner(name: &str) -> Option<u32> {
    let (pid, rest) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let number = rest.strip_suffix(['a', 'b'])?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

fn run(arguments: &[&str]) -> Result<String> {
    let failed = |message: String| DriverError::Command { command: format!("ip {}", arguments.join(" ")), message };
    let output = Command::new("ip").args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_have_an_owner() {
        assert_eq!(owner("pgn123-0a"), Some(123));
        assert_eq!(owner("pgn4194304-999b"), Some(4_194_304));
        for foreign in ["pgn-0a", "pgnx-0a", "pgn12", "pgn12-0c", "pgn12-a", "blue", ""] {
            assert_eq!(owner(foreign), None, "{foreign}");
        }
    }
}
