//! From a configuration to a running engine: what `run` and `demo` share.
//!
//! Order matters: key files and certificates are read first (cheap errors first), then the venues are
//! asked for reference data over kernel sockets, then the core is built and checked, and only then are the
//! link opened and the hot thread started. A journal that exists already brings its own reference data: the
//! engine carries on with the very core that made it.

use crate::relay::{Relay, RelayConfig};
use anyhow::Context;
use drivers::memory::{self, MemoryConfig};
use drivers::select::{AnyPort, Link};
use netstack::stack::StackConfig;
use runtime::cold::log::Log;
use runtime::cold::reference::fetch_reference_data;
use runtime::config::network::VenueSetup;
use runtime::config::{Document, build, network};
use runtime::engine::{Engine, EngineHandle, EngineInit, LinkSource, LoopTiming, Placement, core_builder};
use runtime::session_file::SessionFile;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The engine's address on the in-process link, if the configuration gives none.
const MEMORY_ADDRESS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 77, 0, 3), 24);
/// The relay's address on the in-process link.
const RELAY_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// What to launch, and how.
pub struct Launch<'a> {
    /// The configuration.
    pub document: &'a Document,
    /// The log.
    pub log: Log,
    /// Set when the person at the keyboard gives up: waiting for the venues ends.
    pub stop: Arc<AtomicBool>,
    /// Replay the finished journal and compare.
    pub verify_replay: bool,
    /// Times of the loop.
    pub timing: LoopTiming,
}

/// A running engine, and what it stands on.
pub struct Running {
    /// The engine.
    pub handle: EngineHandle,
    /// Names of the venues, by id.
    pub venues: Vec<String>,
    /// Name of the reporting asset.
    pub reporting: String,
    /// The far end of the in-process link; ends after the engine.
    pub relay: Option<Relay>,
}

/// The configured ring file, or the usual one.
pub fn ring_path(document: &Document) -> PathBuf {
    let engine = &document.file.engine;
    engine.ring.clone().unwrap_or_else(|| {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        directory.join(format!("peregrine-{}.ring", engine.name))
    })
}

/// The configured log, or standard error.
pub fn open_log(document: &Document) -> anyhow::Result<Log> {
    match &document.file.engine.log {
        None => Ok(Log::to_stderr()),
        Some(path) => Log::to_file(path).with_context(|| format!("opening the log {}", path.display())),
    }
}

/// Starts the engine. Its threads live in the network namespace of the calling thread.
pub fn launch(launch: Launch<'_>) -> anyhow::Result<Running> {
    let document = launch.document;
    let file = &document.file;
    let venues = network::venues(document)?;
    let link = network::link(document)?;
    let mut stack = network::stack(document, seed()?)?;

    let session = session(document, &venues, &launch.log, &launch.stop)?;
    let (link, relay) = if link.link == Link::Memory {
        let (port, relay) = memory_link(&venues, &mut stack, document)?;
        (LinkSource::Port(port), Some(relay))
    } else {
        (LinkSource::Open(Box::new(link), network::capture(document)), None)
    };
    let init = EngineInit {
        name: file.engine.name.clone(),
        journal: file.engine.journal.clone(),
        ring: ring_path(document),
        ring_events: file.engine.ring_events as usize,
        sync_interval: Duration::from_nanos(file.engine.sync_interval.0),
        build_core: core_builder(&session, &file.engine.journal),
        session,
        venues,
        link,
        stack,
        pinned_hosts: network::pinned_hosts(document),
        placement: Placement {
            hot_cpu: file.host.hot_cpu,
            fifo_priority: file.host.fifo_priority,
            lock_memory: file.host.lock_memory,
            arena_bytes: file.host.arena.0 as usize,
        },
        timing: LoopTiming { rehearse_ns: file.host.rehearse.0, ..launch.timing },
        log: launch.log,
        verify_replay: launch.verify_replay,
    };
    let names = init.venues.iter().map(|v| v.name.clone()).collect();
    let handle = Engine::start(init)?;
    Ok(Running { handle, venues: names, reporting: file.engine.reporting_asset.get_ref().clone(), relay })
}

/// The session that the journal was begun with, or a new one from what the venues say now.
fn session(document: &Document, venues: &[VenueSetup], log: &Log, stop: &Arc<AtomicBool>) -> anyhow::Result<SessionFile> {
    let data = match SessionFile::read(&document.file.engine.journal)? {
        Some(found) => build::reference_of_session(&found).map_err(anyhow::Error::msg)?,
        None => fetch_reference_data(document, venues, log, stop)?,
    };
    let parts = build::core(document, &data.instruments, &data.assets)?;
    for strategy in &parts.left_out {
        eprintln!("peregrine: strategy {strategy} is left out: an instrument of it is quarantined (see the log)");
    }
    Ok(build::session_file(document, &parts.config))
}

/// Randomness for ports, sequence numbers and back-off.
fn seed() -> anyhow::Result<u64> {
    let mut bytes = [0u8; 8];
    let mut source = std::fs::File::open("/dev/urandom").context("opening /dev/urandom")?;
    std::io::Read::read_exact(&mut source, &mut bytes).context("reading /dev/urandom")?;
    Ok(u64::from_le_bytes(bytes))
}

/// The in-process link, with a relay at its far end that hands each connection on to the venue's real address
/// over kernel sockets.
fn memory_link(venues: &[VenueSetup], stack: &mut StackConfig, document: &Document) -> anyhow::Result<(AnyPort, Relay)> {
    let (address, prefix_len) = *stack.address.get_or_insert(MEMORY_ADDRESS);
    anyhow::ensure!(address != RELAY_ADDRESS, "link.address: {RELAY_ADDRESS} is the relay's on the memory link; expected another");
    let mut ports: Vec<(u16, SocketAddr)> = Vec::new();
    let mut hosts = Vec::new();
    for venue in venues {
        let wanted = &venue.settings.hosts;
        for (host, port) in [&wanted.market_data, &wanted.order_entry] {
            let server = server_of(host, *port, document)?;
            match ports.iter().find(|(p, _)| p == port) {
                None => ports.push((*port, server)),
                Some((_, known)) if *known == server => {}
                Some((_, known)) => anyhow::bail!("the memory link tells venues apart by port, but {known} and {server} share port {port}"),
            }
            hosts.push((host.clone(), RELAY_ADDRESS));
        }
    }
    hosts.sort();
    hosts.dedup();
    stack.hosts = hosts;
    let (near, far) = memory::pair(&MemoryConfig { name: "memory".into(), ..MemoryConfig::default() })?;
    let relay = Relay::start(far, RelayConfig { address: RELAY_ADDRESS, prefix_len, ports }, || ()).context("starting the relay")?;
    Ok((AnyPort::Memory(near), relay))
}

fn server_of(host: &str, port: u16, document: &Document) -> anyhow::Result<SocketAddr> {
    if let Some(pinned) = document.file.dns.hosts.get(host) {
        return Ok(SocketAddr::from((*pinned, port)));
    }
    let found = (host, port).to_socket_addrs().with_context(|| format!("looking up {host}"))?.find(SocketAddr::is_ipv4);
    found.with_context(|| format!("{host} has no IPv4 address"))
}
