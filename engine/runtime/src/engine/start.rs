//! Starting an engine: placement, recovery, network, cold threads, hot thread.

use super::adapters::SessionChannel;
use super::cold_plane::{ColdEnds, ColdPlane, ColdSetup};
use super::core_side::CoreSide;
use super::handle::{EngineHandle, Facts};
use super::hot_loop::{HotLoop, Parts, VenueParts};
use super::init::{EngineError, EngineInit, LinkSource};
use super::recovery::{Places, Recovered, recover};
use super::rehearsal::Rehearsal;
use super::status::{StatusBoard, VENUES_MAX};
use crate::clock::Clock;
use crate::cold::journal_writer::WriterProgress;
use crate::cold::log::Level;
use crate::host::hot_memory::{self, Arena, building};
use crate::host::topology::Machine;
use crate::host::{self, Refusal};
use crate::ring;
use drivers::select::AnyPort;
use engine_core::event::{Event, EventKind, Times, flags};
use engine_core::ids::VenueId;
use netstack::stack::Stack;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use venues::any::AnyVenue;
use venues::venue::{Role, Venue, VenueInit};

/// The loop of a real engine.
pub type LiveLoop = HotLoop<Stack<AnyPort>, SessionChannel, AnyVenue>;

/// Stack that the hot thread touches beforehand.
const STACK_BYTES: usize = 512 * 1024;
/// The hot thread's whole stack.
const THREAD_STACK_BYTES: usize = 8 << 20;
/// How long the start of the session may take to reach the disk.
const DURABLE_WITHIN: Duration = Duration::from_secs(10);
/// Controls that wait for the hot thread.
const CONTROLS: usize = 256;

/// The engine. See [`Engine::start`].
pub struct Engine;

impl Engine {
    /// Starts an engine: recovers what an earlier run left, makes the start of this run durable, and begins
    /// to connect. Returns once the hot thread runs. Threads inherit the caller's network namespace.
    ///
    /// # Errors
    /// If anything that trading relies on is not there; nothing runs then.
    pub fn start(init: EngineInit) -> Result<EngineHandle, EngineError> {
        let placed = place(&init);
        for refusal in &placed.refusals {
            init.log.now(Level::Warn, "host", &[("refusal", refusal.to_string().into())]);
        }
        let mut clock = Clock::new();
        let now_ns = clock.now_ns();
        let places = Places { journal: &init.journal, ring: &init.ring, ring_events: init.ring_events };
        let build = Arc::clone(&init.build_core);
        let recovered = recover(places, &init.session, || building(|| build()), now_ns)?;
        log_recovery(&init, &recovered);

        let Recovered { core, unrecorded, ring: opened, writer, epoch, lock, summary, .. } = recovered;
        let port = open_port(init.link)?;
        let network = building(|| Stack::new(port, &init.stack, now_ns)).map_err(|e| EngineError::Stack(e.to_string()))?;
        let progress = Arc::new(WriterProgress::default());
        let (producer, consumer) = ring::start(opened, writer.next_sequence(), init.session.hash());
        let instruments = core.desk().instruments().clone();
        let assets = core.desk().config().assets.clone();
        if init.venues.len() > VENUES_MAX || init.venues.len() != core.desk().config().venues.len() {
            let (given, known) = (init.venues.len(), core.desk().config().venues.len());
            return Err(EngineError::Core(format!("{given} venues given, the core knows {known} (at most {VENUES_MAX})")));
        }

        let mut venue_parts = Vec::new();
        let mut cold_ends = Vec::new();
        for setup in &init.venues {
            let make = VenueInit { settings: setup.settings.clone(), instruments: &instruments, assets: &assets, epoch };
            let failed = |reason: String| EngineError::Venue { name: setup.name.clone(), reason };
            let venue = building(|| venues::any::any_venue(&setup.name, make)).map_err(|e| failed(e.to_string()))?;
            let channels = building(|| channels(&venue, setup, init.stack.seed, now_ns)).map_err(failed)?;
            let (ends, tasks, results) = ColdEnds::new();
            venue_parts.push(VenueParts { venue, channels, tasks, results });
            cold_ends.push(ends);
        }
        let (control, controls) = drivers::spsc::ring(CONTROLS);
        let board = StatusBoard::new();
        let rehearsal = match init.timing.rehearse_ns {
            0 => None,
            _ => {
                let core = building(|| (init.build_core)()).map_err(EngineError::Core)?;
                Some(building(|| Rehearsal::new(core, now_ns).map(Box::new))?)
            }
        };
        let side = building(|| CoreSide::new(core, producer, Arc::clone(&progress)));
        let parts = Parts {
            network,
            venues: venue_parts,
            side,
            control: controls,
            board: Arc::clone(&board),
            progress: Arc::clone(&progress),
            timing: init.timing,
            epoch,
            rehearsal,
        };
        let hot = building(|| HotLoop::new(parts, now_ns));

        let cold = ColdPlane::start(ColdSetup {
            ring: consumer,
            writer,
            progress: Arc::clone(&progress),
            session: Arc::new(init.session.clone()),
            core: hot.side().core(),
            venues: &init.venues,
            ends: cold_ends,
            pinned_hosts: &init.pinned_hosts,
            sync_interval: init.sync_interval,
            hot_cpu: placed.cpu,
            log: init.log.clone(),
            clock: clock.clone(),
        })?;
        let first = First { unrecorded, session_hash: init.session.hash(), epoch, last_time_ns: summary.last_time_ns };
        let seat = Seat { cpu: placed.cpu, fifo_priority: init.placement.fifo_priority, journal: init.journal.clone() };
        let thread = match spawn_hot(hot, clock, first, seat, progress) {
            Ok(thread) => thread,
            Err(error) => {
                cold.stop();
                return Err(error);
            }
        };
        let facts = Facts {
            name: init.name,
            journal: init.journal,
            build_core: init.build_core,
            venues: init.venues.iter().map(|v| v.name.clone()).collect(),
            verify_replay: init.verify_replay,
            log: init.log,
            arena: placed.arena,
            code_on_huge_pages: placed.code_on_huge_pages,
            memory_locked: placed.memory_locked,
            cpu: placed.cpu,
            refusals: placed.refusals.iter().map(ToString::to_string).collect(),
            epoch,
            _lock: lock,
        };
        Ok(EngineHandle::new(control, board, thread, cold, facts))
    }
}

/// What the machine granted.
struct Placed {
    cpu: Option<usize>,
    arena: Arena,
    code_on_huge_pages: usize,
    memory_locked: bool,
    refusals: Vec<Refusal>,
}

fn place(init: &EngineInit) -> Placed {
    let mut refusals = Vec::new();
    refusals.extend(host::topology::keep_pages_mapped().err());
    let machine = Machine::read().map_err(|refusal| refusals.push(refusal)).ok();
    let cpu = init.placement.hot_cpu.or_else(|| machine.as_ref().and_then(Machine::default_hot_cpu));
    let node = cpu.and_then(|cpu| machine.as_ref()?.numa_node_of(cpu));
    let (mut arena, mut code_on_huge_pages) = (Arena::default(), 0);
    if init.placement.arena_bytes > 0 && hot_memory::is_installed() {
        arena = hot_memory::create_arena(init.placement.arena_bytes, node);
        refusals.extend(arena.refusals.iter().cloned());
        match host::code_pages::make_huge() {
            Ok(bytes) => code_on_huge_pages = bytes,
            Err(refusal) => refusals.push(refusal),
        }
    }
    let locked = init.placement.lock_memory.then(host::lock_memory);
    let memory_locked = matches!(locked, Some(Ok(())));
    refusals.extend(locked.and_then(Result::err));
    Placed { cpu, arena, code_on_huge_pages, memory_locked, refusals }
}

fn log_recovery(init: &EngineInit, recovered: &Recovered) {
    let summary = &recovered.summary;
    let fields = [
        ("name", init.name.clone().into()),
        ("events", summary.events.into()),
        ("from_ring", recovered.leftover.into()),
        ("torn_bytes", recovered.torn.as_ref().map_or(0, |t| t.bytes).into()),
        ("unrecorded", recovered.unrecorded.len().into()),
        ("open_orders", recovered.core.desk().orders().open_len().into()),
        ("epoch", recovered.epoch.into()),
        ("state_hash", format!("{:016x}", recovered.core.state_hash()).into()),
    ];
    init.log.now(Level::Info, "recovered", &fields);
}

fn open_port(link: LinkSource) -> Result<AnyPort, EngineError> {
    let failed = |e: drivers::error::DriverError| EngineError::Link(e.to_string());
    match link {
        LinkSource::Port(port) => Ok(port),
        LinkSource::Open(config, capture) => {
            let port = drivers::select::open(&config).map_err(failed)?.port;
            match capture {
                Some(tap) => port.tapped(&tap).map_err(failed),
                None => Ok(port),
            }
        }
    }
}

fn channels(
    venue: &AnyVenue,
    setup: &crate::config::network::VenueSetup,
    seed: u64,
    now_ns: u64,
) -> Result<Vec<(Role, SessionChannel)>, String> {
    let mut channels: Vec<(Role, SessionChannel)> = Vec::new();
    for endpoint in venue.endpoints() {
        if channels.iter().any(|(role, _)| *role == endpoint.role) {
            return Err(format!("two connections for {}; one of each role is what there can be", endpoint.role.as_str()));
        }
        let seed = seed ^ (u64::from(setup.settings.id.0) << 8 | endpoint.role as u64) << 48;
        channels.push((endpoint.role, SessionChannel::new(endpoint, &setup.tls, setup.connection_life_max_ns, seed, now_ns)));
    }
    Ok(channels)
}

/// What the hot thread does before its first pass.
struct First {
    unrecorded: Vec<Event>,
    session_hash: u64,
    epoch: u16,
    last_time_ns: u64,
}

/// Where the hot thread sits.
struct Seat {
    cpu: Option<usize>,
    fifo_priority: i32,
    journal: std::path::PathBuf,
}

impl Seat {
    /// Takes the seat; what was refused.
    fn take(&self) -> Vec<Refusal> {
        let pinned = self.cpu.map_or(Ok(()), host::pin_to_core);
        // Ordinary otherwise: a greater weight would starve the cold threads, which share the group's share of the machine.
        let class = if self.fifo_priority > 0 { host::set_fifo(self.fifo_priority) } else { Ok(()) };
        host::touch_stack(STACK_BYTES);
        [pinned, class].into_iter().filter_map(Result::err).collect()
    }
}

/// What the hot thread gives back.
pub(super) struct HotThread {
    pub(super) thread: std::thread::JoinHandle<Box<LiveLoop>>,
    pub(super) refusals: Vec<String>,
}

fn spawn_hot(hot: LiveLoop, mut clock: Clock, first: First, seat: Seat, progress: Arc<WriterProgress>) -> Result<HotThread, EngineError> {
    let (ready, is_ready) = mpsc::sync_channel(1);
    let journal = seat.journal.clone();
    let builder = std::thread::Builder::new().name("pgn-hot".into()).stack_size(THREAD_STACK_BYTES);
    let spawned = builder.spawn(move || {
        let mut hot = Box::new(hot);
        let refusals = seat.take();
        if !begin(&mut hot, &mut clock, &first, &progress) {
            let _ = ready.send(None);
            return hot;
        }
        let _ = ready.send(Some(refusals));
        hot_memory::enter_hot();
        hot.run(&mut clock);
        hot_memory::leave_hot();
        hot
    });
    let thread = spawned.map_err(|source| EngineError::Thread { name: "pgn-hot".into(), source })?;
    match is_ready.recv() {
        Ok(Some(refusals)) => Ok(HotThread { thread, refusals: refusals.iter().map(ToString::to_string).collect() }),
        Ok(None) | Err(_) => Err(EngineError::NotDurable { path: journal }),
    }
}

/// The session's start: recorded, written, synced; before it no order can leave.
fn begin(hot: &mut LiveLoop, clock: &mut Clock, first: &First, progress: &WriterProgress) -> bool {
    hot.side.record_only(&first.unrecorded);
    let core_ns = clock.now_ns().max(first.last_time_ns);
    let times = Times { core_ns, poll_delay_ns: 0 };
    let mut start = Event::new(EventKind::SessionStart, VenueId(0), times).with(flags::LAST);
    (start.a, start.b) = (u64::from(first.epoch), first.session_hash);
    let sequence = hot.side.next_sequence();
    hot.begin_session(&start, clock);
    let deadline = Instant::now() + DURABLE_WITHIN;
    while progress.synced.load(Ordering::Acquire) <= sequence {
        if progress.failed.load(Ordering::Acquire) || Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    true
}
