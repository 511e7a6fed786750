//! `peregrine demo`: the whole system on one machine, with nothing to set up.
//!
//! Two network namespaces joined by a veth pair: the simulated venues live in one, on the kernel's sockets;
//! the engine in the other, on its own network path. Where namespaces are not allowed, the in-process link
//! takes the wire's place. At the end the engine's positions, open orders and balances are compared with the
//! venues' own records.

pub mod config;
pub mod records;

use crate::launch::{Launch, Running, launch};
use crate::live::LiveLine;
use crate::run::write_report;
use crate::sim::{Accounts, Listen};
use crate::{signals, summary};
use anyhow::Context;
use drivers::testbed::{self, Testbed, TestbedConfig};
use runtime::cold::log::Log;
use runtime::config::Document;
use runtime::engine::LoopTiming;
use runtime::host;
use runtime::report::Report;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use venue_sim::{Sim, SimHandle};

/// First letters of the directories that demonstrations work in; the process id follows.
const DIRECTORY_PREFIX: &str = "peregrine-demo-";
/// First port of the venues.
const FIRST_PORT: u16 = 9_443;

/// Options of the subcommand.
#[derive(clap::Args)]
#[command(after_help = "Needs nothing: no keys, no network, no configuration. As root it makes two network namespaces and runs over \
    AF_XDP; without root it says so and uses an in-process link. Everything it makes is removed at the end, and what \
    an earlier demonstration left when it was killed is removed at the start.\n\n\
    Exit status: 0 if every invariant held (positions and balances equal to the venues' records, no order in an \
    unknown state, the journal replays to the same state).\n\nExamples:\n  \
    peregrine demo --seconds 60 --rate 20000\n  \
    peregrine demo --seconds 20 --link af_packet --report report.json\n  \
    peregrine demo --seconds 20 --keep demo        and then: peregrine replay demo/journal")]
pub struct Arguments {
    /// How long to trade.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Market-data messages per second, over both venues.
    #[arg(long, default_value_t = 20_000, value_name = "EVENTS_PER_SECOND")]
    rate: u32,
    /// The link.
    #[arg(long, default_value = "auto", value_parser = ["auto", "af_xdp", "af_packet", "memory"])]
    link: String,
    /// Write the summary as JSON to this file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Take Binance' market data as SBE.
    #[arg(long)]
    sbe: bool,
    /// Seed of the simulated market.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep journal, log and configuration in this directory (which must not exist) instead of removing them.
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
    /// Record all frames of the engine's link into this pcapng file (Wireshark reads it).
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
}

/// Where journal, log and configuration go.
struct Workplace {
    path: PathBuf,
    keep: bool,
}

impl Workplace {
    fn create(keep: Option<&Path>) -> anyhow::Result<Workplace> {
        let path = match keep {
            Some(path) => path.to_owned(),
            None => std::env::temp_dir().join(format!("{DIRECTORY_PREFIX}{}", std::process::id())),
        };
        std::fs::create_dir(&path).with_context(|| format!("making the directory {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("finding {}", path.display()))?;
        Ok(Workplace { path, keep: keep.is_some() })
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(config::ring_path());
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes what killed demonstrations left; returns what it was.
fn sweep() -> Vec<String> {
    let mut swept = testbed::sweep_stale();
    let places = [(std::env::temp_dir(), DIRECTORY_PREFIX, ""), (PathBuf::from("/dev/shm"), config::RING_PREFIX, ".ring")];
    for (directory, prefix, suffix) in places {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix)).and_then(|pid| pid.parse::<u32>().ok());
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
enum Wire {
    Veth(Box<Testbed>),
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
        println!("No network namespaces here ({refused}): using the in-process link. Run it as root to see AF_XDP.");
        Ok(Wire::InProcess)
    }

    /// Where the venues listen.
    fn venues_address(&self) -> Ipv4Addr {
        match self {
            Wire::Veth(bed) => bed.config().right.unwrap_or(Ipv4Addr::LOCALHOST),
            Wire::InProcess => Ipv4Addr::LOCALHOST,
        }
    }

    /// Runs something on the venues' side.
    fn on_venues_side<T: Send>(&self, action: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        match self {
            Wire::Veth(bed) => Ok(bed.right().run(action)?),
            Wire::InProcess => Ok(action()),
        }
    }

    /// Runs something on the engine's side.
    fn on_engine_side<T: Send>(&self, action: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        match self {
            Wire::Veth(bed) => Ok(bed.left().run(action)?),
            Wire::InProcess => Ok(action()),
        }
    }
}

/// Runs the demonstration.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::ensure!((1..=1_000_000).contains(&arguments.rate), "--rate {} is not between 1 and 1000000 messages a second", arguments.rate);
    for swept in sweep() {
        println!("Removed what a killed demonstration left: {swept}");
    }
    let stop = signals::stop_flag()?;
    let hot_cpu = hot_cpu();
    if let Some(cpu) = hot_cpu {
        // This thread and all that it starts; the hot thread pins itself.
        let _ = host::keep_off_core(cpu);
    }
    let place = Workplace::create(arguments.keep.as_deref())?;
    let wire = Wire::create(&arguments.link)?;
    let accounts = Accounts::generate()?;
    let sim = start_venues(arguments, &wire, &place, &accounts)?;

    let (binance_keys, kraken_keys) = accounts.write_key_files(&place.path)?;
    let ring = config::ring_path();
    let settings = config::Settings {
        directory: &place.path,
        ring: &ring,
        link: &arguments.link,
        testbed: match &wire {
            Wire::Veth(bed) => Some(bed.as_ref()),
            Wire::InProcess => None,
        },
        venues_address: wire.venues_address(),
        first_port: FIRST_PORT,
        binance_keys: &binance_keys,
        kraken_keys: &kraken_keys,
        sbe: arguments.sbe,
        hot_cpu,
        capture: arguments.capture.as_deref(),
    };
    let path = place.path.join("engine.toml");
    std::fs::write(&path, config::text(&settings)).with_context(|| format!("writing {}", path.display()))?;
    let document = Document::read(&path)?;
    let log_path = place.path.join("engine.log");
    let log = Log::to_file(&log_path).with_context(|| format!("opening the log {}", log_path.display()))?;
    println!(
        "Two simulated venues at {}, {} messages/s; two strategies; {} s. Ctrl-C ends it early.",
        wire.venues_address(),
        arguments.rate,
        arguments.seconds
    );

    let running = wire.on_engine_side(|| {
        launch(Launch {
            document: &document,
            log,
            stop: Arc::clone(&stop),
            verify_replay: true,
            timing: LoopTiming { reconcile_ns: 20_000_000_000, ..LoopTiming::default() },
        })
    })??;
    trade(&running, &stop, Duration::from_secs(arguments.seconds));
    let mut report = running.handle.stop();
    compare(&mut report, &sim, &accounts);
    drop(running.relay);
    sim.stop();
    summary::print(&report);
    if !report.failures.is_empty() && !place.keep {
        println!("(repeat with --keep DIRECTORY to keep the journal and the log)");
    }
    if let Some(path) = &arguments.report {
        write_report(&report, path)?;
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The CPU of the hot thread: the last one, if there is another for everything else.
fn hot_cpu() -> Option<usize> {
    let machine = host::topology::Machine::read().ok()?;
    machine.default_hot_cpu()
}

fn start_venues(arguments: &Arguments, wire: &Wire, place: &Workplace, accounts: &Accounts) -> anyhow::Result<SimHandle> {
    let listen = Listen { address: IpAddr::V4(wire.venues_address()), first_port: FIRST_PORT };
    let ca_file = place.path.join("ca.pem");
    let mut simulation = crate::sim::config(listen, arguments.rate, arguments.seed, ca_file, accounts);
    for venue in [simulation.binance.as_mut().map(|c| &mut c.venue), simulation.kraken.as_mut().map(|c| &mut c.venue)].into_iter().flatten() {
        (venue.maker_ppm, venue.taker_ppm) = (config::MAKER_FEE_PPM, config::TAKER_FEE_PPM);
    }
    wire.on_venues_side(|| Sim::start(simulation))?.context("starting the simulated venues")
}

fn trade(running: &Running, stop: &AtomicBool, length: Duration) {
    let mut live = LiveLine::new(running.venues.clone(), running.reporting.clone(), false);
    let deadline = Instant::now() + length;
    while !stop.load(Ordering::Acquire) && Instant::now() < deadline && running.handle.is_running() {
        std::thread::sleep(Duration::from_millis(50));
        live.show(&running.handle);
    }
    live.end();
}

/// The engine's record against the venues' own.
fn compare(report: &mut Report, sim: &SimHandle, accounts: &Accounts) {
    let differences = records::differences(report, sim, accounts);
    let balances_match = report.positions_match != Some(false);
    report.positions_match = Some(balances_match && differences.is_empty());
    for difference in differences {
        report.failures.push(format!("differs from the venue's record: {difference}"));
        report.differences.push(difference);
    }
}
