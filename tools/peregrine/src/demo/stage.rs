//! The stage of a demonstration or a test of the whole system: a wire, two simulated venues, accounts, and a
//! configuration for the engine that is to trade on them. All of it is gone when the stage is dropped.

use super::config::{self, MAKER_FEE_PPM, Settings, TAKER_FEE_PPM};
use crate::sim::{Accounts, Listen};
use anyhow::Context;
use drivers::testbed::{self, Testbed, TestbedConfig};
use runtime::config::Document;
use runtime::host;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use venue_sim::config::SimConfig;
use venue_sim::{Sim, SimError, SimHandle};

/// First letters of the directories that stages are set up in; the process id follows.
pub const DIRECTORY_PREFIX: &str = "peregrine-demo-";
/// Slices of the venues' thread: as long as its ticks.
const VENUES_SLICE_NS: u64 = 100_000;
/// First port of the venues on a wire of their own; on loopback the system chooses.
const FIRST_PORT: u16 = 9_443;

/// What the stage should be like.
#[derive(Clone, Debug)]
pub struct StageOptions {
    /// `auto`, `af_xdp`, `af_packet`, `memory`.
    pub link: String,
    /// Market-data messages per second over both venues.
    pub rate: u32,
    /// Seed of the simulated market.
    pub seed: u64,
    /// Binance' market data as SBE.
    pub sbe: bool,
    /// Between two rehearsals, if it is not to be the engine's default; 0 = none.
    pub rehearse_ns: Option<u64>,
    /// Keep journal, log and configuration in this directory, which must not exist.
    pub keep: Option<PathBuf>,
    /// Record all frames of the engine's link here.
    pub capture: Option<PathBuf>,
}

impl Default for StageOptions {
    fn default() -> Self {
        StageOptions { link: "auto".into(), rate: 2_000, seed: 1, sbe: false, rehearse_ns: None, keep: None, capture: None }
    }
}

/// The stage, set. Fields end in the order in which they stand: the venues before their wire.
pub struct Stage {
    /// The venues.
    pub sim: SimHandle,
    /// The accounts that are traded on.
    pub accounts: Accounts,
    /// What joins the engine to the venues.
    pub wire: Wire,
    /// Where journal, log and configuration are.
    pub place: Workplace,
    /// The configuration's file.
    pub config: PathBuf,
    /// The configuration.
    pub document: Document,
}

impl Stage {
    /// Sets it.
    ///
    /// # Errors
    /// If the link that was asked for cannot be had, or a file or port is in the way.
    pub fn set(options: &StageOptions) -> anyhow::Result<Stage> {
        let hot_cpu = host::topology::Machine::read().ok().and_then(|machine| machine.default_hot_cpu());
        if let Some(cpu) = hot_cpu {
            // This thread and all that it starts; the hot thread pins itself.
            let _ = host::keep_off_core(cpu);
        }
        let place = Workplace::create(options.keep.as_deref())?;
        let wire = Wire::create(&options.link)?;
        let accounts = Accounts::generate()?;
        let first_port = match &wire {
            Wire::Veth(_) => FIRST_PORT,
            Wire::InProcess => free_ports()?,
        };
        let listen = Listen { address: IpAddr::V4(wire.venues_address()), first_port };
        let mut simulation = crate::sim::config(listen, options.rate, options.seed, place.path.join("ca.pem"), &accounts);
        for venue in
            [simulation.binance.as_mut().map(|c| &mut c.venue), simulation.kraken.as_mut().map(|c| &mut c.venue)].into_iter().flatten()
        {
            (venue.maker_ppm, venue.taker_ppm) = (MAKER_FEE_PPM, TAKER_FEE_PPM);
        }
        if let Some(kraken) = &mut simulation.kraken {
            // Only what is traded here: a market that nobody listens to takes the processor's time all the same.
            kraken.venue.markets.retain(|market| market.quote == "USDT");
        }
        let sim = wire.on_venues_side(|| start_venues(simulation))?.context("starting the simulated venues")?;
        let (binance_keys, kraken_keys) = accounts.write_key_files(&place.path)?;
        let ring = place.ring();
        let settings = Settings {
            directory: &place.path,
            ring: &ring,
            link: &options.link,
            testbed: match &wire {
                Wire::Veth(bed) => Some(bed.as_ref()),
                Wire::InProcess => None,
            },
            venues_address: wire.venues_address(),
            first_port,
            binance_keys: &binance_keys,
            kraken_keys: &kraken_keys,
            sbe: options.sbe,
            rehearse_ns: options.rehearse_ns,
            hot_cpu,
            capture: options.capture.as_deref(),
        };
        let config = place.path.join("engine.toml");
        std::fs::write(&config, config::text(&settings)).with_context(|| format!("writing {}", config.display()))?;
        let document = Document::read(&config)?;
        Ok(Stage { sim, accounts, wire, place, config, document })
    }

    /// Segments that the venues' kernel has sent again; `None` if the venues have no network of their own.
    pub fn venues_retransmissions(&self) -> Option<u64> {
        if matches!(self.wire, Wire::InProcess) {
            return None;
        }
        // The namespace is the thread's, not the process's.
        let read = || std::fs::read_to_string("/proc/thread-self/net/snmp");
        super::flow::retransmissions(&self.wire.on_venues_side(read).ok()?.ok()?)
    }
}

/// Starts the venues from a thread with short slices, which theirs inherits. They stand for machines far away: when what
/// they should have said waits for a processor on this one, it comes in a flood that no venue sends.
fn start_venues(simulation: SimConfig) -> Result<SimHandle, SimError> {
    std::thread::scope(|scope| {
        let starter = scope.spawn(|| {
            let _ = host::set_slice(VENUES_SLICE_NS); // An older kernel lets them wait as others do.
            Sim::start(simulation)
        });
        starter.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The first of a few free ports in a row on loopback.
fn free_ports() -> anyhow::Result<u16> {
    for _ in 0..64 {
        let Ok(first) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else { continue };
        let port = first.local_addr().context("asking for a port")?.port();
        let others = (1..crate::sim::PORTS).map(|n| TcpListener::bind((Ipv4Addr::LOCALHOST, port.checked_add(n)?)).ok());
        if others.collect::<Option<Vec<_>>>().is_some() {
            return Ok(port);
        }
    }
    anyhow::bail!("no {} free ports in a row on 127.0.0.1", crate::sim::PORTS)
}

/// Where journal, log and configuration go.
pub struct Workplace {
    /// The directory.
    pub path: PathBuf,
    /// It stays.
    pub keep: bool,
}

impl Workplace {
    fn create(keep: Option<&Path>) -> anyhow::Result<Workplace> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = match keep {
            Some(path) => path.to_owned(),
            None => std::env::temp_dir().join(format!("{DIRECTORY_PREFIX}{}-{number}", std::process::id())),
        };
        std::fs::create_dir(&path).with_context(|| format!("making the directory {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("finding {}", path.display()))?;
        Ok(Workplace { path, keep: keep.is_some() })
    }

    /// The event ring's file: on tmpfs, named after the directory.
    pub fn ring(&self) -> PathBuf {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let name = self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let owner = format!("{DIRECTORY_PREFIX}{}-", std::process::id());
        directory.join(if name.starts_with(DIRECTORY_PREFIX) { format!("{name}.ring") } else { format!("{owner}{name}.ring") })
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.ring());
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes what stages of killed processes left; returns what it was.
pub fn sweep() -> Vec<String> {
    let mut swept = testbed::sweep_stale();
    for directory in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(DIRECTORY_PREFIX).and_then(|rest| rest.split(['-', '.']).next()?.parse::<u32>().ok());
            let Some(owner) = owner.filter(|pid| !Path::new(&format!("/proc/{pid}")).exists()) else { continue };
            let path = entry.path();
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            if removed.is_ok() {
                swept.push(format!("{} (of process {owner})", path.display()));
            }
        }
    }
    swept
}

/// What joins the engine to the venues.
pub enum Wire {
    /// Two namespaces and a veth pair.
    Veth(Box<Testbed>),
    /// The in-process link; the venues are on loopback.
    InProcess,
}

impl Wire {
    fn create(link: &str) -> anyhow::Result<Wire> {
        if link == "memory" {
            return Ok(Wire::InProcess);
        }
        let refused = match testbed::unavailable() {
            Some(reason) => reason,
            None => match Testbed::create(TestbedConfig::default()) {
                Ok(bed) => return Ok(Wire::Veth(Box::new(bed))),
                Err(error) => error.to_string(),
            },
        };
        anyhow::ensure!(link == "auto", "--link {link} needs network namespaces: {refused}; run it as root, or use --link memory");
        eprintln!("No network namespaces here ({refused}): using the in-process link. Run it as root to see AF_XDP.");
        Ok(Wire::InProcess)
    }

    /// Where the venues listen.
    pub fn venues_address(&self) -> Ipv4Addr {
        match self {
            Wire::Veth(bed) => bed.config().right.unwrap_or(Ipv4Addr::LOCALHOST),
            Wire::InProcess => Ipv4Addr::LOCALHOST,
        }
    }

    /// Runs something on the venues' side.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn on_venues_side<T: Send>(&self, action: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        match self {
            Wire::Veth(bed) => Ok(bed.right().run(action)?),
            Wire::InProcess => Ok(action()),
        }
    }

    /// Runs something on the engine's side.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn on_engine_side<T: Send>(&self, action: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        match self {
            Wire::Veth(bed) => Ok(bed.left().run(action)?),
            Wire::InProcess => Ok(action()),
        }
    }
}
