//! The cold threads of an engine: made at start, told to stop, waited for.

use super::init::EngineError;
use crate::clock::Clock;
use crate::cold::journal_writer::{JournalWriter, WriterProgress};
use crate::cold::log::{Level, Log};
use crate::cold::mirror::Mirror;
use crate::cold::reference;
use crate::cold::rest_worker::{ColdTask, RestCounters, RestWorker};
use crate::config::network::VenueSetup;
use crate::host;
use crate::journal::Writer;
use crate::journal::export::Names;
use crate::ring;
use crate::session_file::SessionFile;
use drivers::spsc::{self, Consumer, Producer};
use engine_core::core::Core;
use engine_core::event::Event;
use engine_core::fixed::Qty;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Tasks that wait for a venue's worker.
const TASKS: usize = 512;
/// Events that wait for the hot thread: a deep snapshot of both sides.
const RESULTS: usize = 16_384;
/// Levels a side asked for in book snapshots.
const SNAPSHOT_DEPTH: u32 = 1_000;
/// How often the clock is compared with the wall clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a REST worker is waited for; it may hang in a request.
const WORKER_PATIENCE: Duration = Duration::from_secs(3);

/// The worker's ends of a venue's two rings.
pub(super) struct ColdEnds {
    tasks: Consumer<ColdTask>,
    results: Producer<Event>,
}

impl ColdEnds {
    /// Both rings of a venue: the worker's ends, and the hot thread's.
    pub(super) fn new() -> (ColdEnds, Producer<ColdTask>, Consumer<Event>) {
        let (task_producer, tasks) = spsc::ring(TASKS);
        let (results, result_consumer) = spsc::ring(RESULTS);
        (ColdEnds { tasks, results }, task_producer, result_consumer)
    }
}

/// What the cold plane is made from.
pub(super) struct ColdSetup<'a> {
    pub ring: ring::Consumer,
    pub writer: Writer,
    pub progress: Arc<WriterProgress>,
    pub session: Arc<SessionFile>,
    pub core: &'a Core,
    pub venues: &'a [VenueSetup],
    pub ends: Vec<ColdEnds>,
    pub pinned_hosts: &'a [(String, IpAddr)],
    pub sync_interval: Duration,
    pub hot_cpu: Option<usize>,
    pub log: Log,
    pub clock: Clock,
}

/// The running cold threads.
pub(super) struct ColdPlane {
    journal: JoinHandle<()>,
    workers: Vec<JoinHandle<()>>,
    clock: JoinHandle<()>,
    stop_workers: Arc<AtomicBool>,
    stop_journal: Arc<AtomicBool>,
    progress: Arc<WriterProgress>,
    rest: Vec<Arc<RestCounters>>,
    log: Log,
}

impl ColdPlane {
    /// Starts the threads, away from the hot core.
    pub(super) fn start(setup: ColdSetup<'_>) -> Result<ColdPlane, EngineError> {
        let (stop_workers, stop_journal) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mirror = Arc::new(Mutex::new(mirror_of(setup.core)));
        let names: Arc<dyn Names + Send + Sync> = setup.session;
        let place = Place { hot_cpu: setup.hot_cpu };

        // What can fail without a thread comes first, so that a failure leaves none behind.
        let (instruments, assets) = (setup.core.desk().instruments(), &setup.core.desk().config().assets);
        let mut workers = Vec::new();
        for (venue, ends) in setup.venues.iter().zip(setup.ends) {
            let caller = reference::caller(venue, setup.pinned_hosts, instruments, assets, &setup.log, &stop_workers)
                .map_err(|e| EngineError::Venue { name: venue.name.clone(), reason: e.to_string() })?;
            workers.push((
                format!("pgn-rest-{}", venue.name),
                RestWorker {
                    venue: venue.settings.id,
                    caller,
                    snapshot_depth: SNAPSHOT_DEPTH,
                    tasks: ends.tasks,
                    results: ends.results,
                    mirror: Arc::clone(&mirror),
                    has_credentials: venue.settings.credentials.is_some(),
                },
            ));
        }
        let rest = workers.iter().map(|(_, worker)| Arc::clone(&worker.caller.counters)).collect();
        let writer = JournalWriter {
            ring: setup.ring,
            writer: setup.writer,
            log: setup.log.clone(),
            names,
            mirror,
            progress: Arc::clone(&setup.progress),
            sync_interval: setup.sync_interval,
            stop: Arc::clone(&stop_journal),
        };
        let journal = place.spawn("pgn-journal", move || writer.run())?;
        let workers = workers.into_iter().map(|(name, worker)| place.spawn(&name, move || worker.run())).collect::<Result<_, _>>()?;
        let (mut clock, stop) = (setup.clock, Arc::clone(&stop_workers));
        let clock = place.spawn("pgn-clock", move || {
            let mut next = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                if Instant::now() >= next {
                    clock.measure_error();
                    next += CLOCK_INTERVAL;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        })?;
        Ok(ColdPlane { journal, workers, clock, stop_workers, stop_journal, progress: setup.progress, rest, log: setup.log })
    }

    /// REST requests and failures, by venue.
    pub(super) fn rest_counts(&self) -> Vec<(u64, u64)> {
        let count = |c: &Arc<RestCounters>| (c.requests.load(Ordering::Relaxed), c.failures.load(Ordering::Relaxed));
        self.rest.iter().map(count).collect()
    }

    /// Ends the threads: workers first, then the journal writer, which drains the ring. Returns whether the
    /// journal is whole.
    pub(super) fn stop(self) -> bool {
        self.stop_workers.store(true, Ordering::Release);
        let deadline = Instant::now() + WORKER_PATIENCE;
        for worker in self.workers {
            while !worker.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(2));
            }
            if worker.is_finished() {
                let _ = worker.join();
            } else {
                // It hangs in a request that nobody waits for any more; it ends with the process.
                let name = worker.thread().name().unwrap_or("pgn-rest").to_owned();
                self.log.now(Level::Warn, "worker_left_behind", &[("thread", name.into())]);
            }
        }
        let _ = self.clock.join();
        self.stop_journal.store(true, Ordering::Release);
        let ended = self.journal.join().is_ok();
        ended && !self.progress.failed.load(Ordering::Acquire)
    }
}

/// Where cold threads run.
struct Place {
    hot_cpu: Option<usize>,
}

impl Place {
    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, EngineError> {
        let hot_cpu = self.hot_cpu;
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Some(cpu) = hot_cpu {
                // Refused only on a machine with one CPU, where there is nothing to keep off.
                let _ = host::keep_off_core(cpu);
            }
            work();
        });
        spawned.map_err(|source| EngineError::Thread { name: name.to_owned(), source })
    }
}

/// The working orders of a recovered core, for the cold plane's own record.
fn mirror_of(core: &Core) -> Mirror {
    let mut mirror = Mirror::default();
    for order in core.desk().orders().iter_open() {
        let times = engine_core::event::Times { core_ns: order.created_ns, poll_delay_ns: 0 };
        let mut sent = Event::new(engine_core::event::EventKind::SendNew, order.venue, times);
        sent.instrument = order.instrument.0;
        sent.side = order.side as u8;
        (sent.a, sent.b, sent.c) = (order.id.0, order.price.0 as u64, order.qty.0 as u64);
        mirror.observe(&sent);
        if order.filled > Qty::ZERO {
            let mut moved = Event::new(engine_core::event::EventKind::OrderTransition, order.venue, times);
            (moved.a, moved.c, moved.d) = (order.id.0, order.state as u64, order.filled.0 as u64);
            mirror.observe(&moved);
        }
    }
    mirror
}
