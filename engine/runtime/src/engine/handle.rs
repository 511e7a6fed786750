//! The engine from outside: look at it, tell it something, stop it.

use super::cold_plane::ColdPlane;
use super::finish;
use super::hot_loop::Control;
use super::init::CoreBuilder;
use super::recovery::JournalLock;
use super::start::{HotThread, LiveLoop};
use super::status::{Status, StatusBoard};
use crate::cold::log::{Level, Log};
use crate::host::hot_memory::Arena;
use crate::latency::Percentiles;
use crate::report::Report;
use drivers::spsc::Producer;
use engine_core::event::CommandKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What stays the same while the engine runs, for the report.
pub(super) struct Facts {
    pub name: String,
    pub journal: PathBuf,
    pub build_core: CoreBuilder,
    pub venues: Vec<String>,
    pub verify_replay: bool,
    pub log: Log,
    pub arena: Arena,
    /// Bytes of code on huge pages.
    pub code_on_huge_pages: usize,
    /// All memory is locked.
    pub memory_locked: bool,
    pub cpu: Option<usize>,
    pub refusals: Vec<String>,
    pub epoch: u16,
    pub _lock: JournalLock,
}

/// The hot thread does not take commands at the moment: too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many commands wait for the engine")]
pub struct Busy;

/// A running engine. Dropping it without [`EngineHandle::stop`] stops it too, and throws the report away.
pub struct EngineHandle {
    control: Mutex<Producer<Control>>,
    board: Arc<StatusBoard>,
    running: Option<(HotThread, ColdPlane, Facts)>,
    started: Instant,
}

impl EngineHandle {
    pub(super) fn new(
        control: Producer<Control>,
        board: Arc<StatusBoard>,
        thread: HotThread,
        cold: ColdPlane,
        facts: Facts,
    ) -> EngineHandle {
        EngineHandle { control: Mutex::new(control), board, running: Some((thread, cold, facts)), started: Instant::now() }
    }

    /// The last status that the hot thread published (about ten a second). Takes no lock.
    pub fn status(&self) -> Status {
        self.board.read()
    }

    /// Tick-to-order since warm-up, to about 6 percent.
    pub fn tick_to_order(&self) -> Percentiles {
        self.board.tick_to_order()
    }

    /// This run's epoch.
    pub fn epoch(&self) -> u16 {
        self.running.as_ref().map_or(0, |(_, _, facts)| facts.epoch)
    }

    /// Gives the core a command; it takes effect within about a millisecond and is journalled.
    ///
    /// # Errors
    /// If too many wait already.
    pub fn command(&self, kind: CommandKind, a: u64, b: u64) -> Result<(), Busy> {
        self.control(Control::Command { kind, a, b })
    }

    fn control(&self, control: Control) -> Result<(), Busy> {
        let taken = self.control.lock().unwrap_or_else(PoisonError::into_inner).push(control);
        if taken { Ok(()) } else { Err(Busy) }
    }

    /// False once the loop has ended, by itself (the journal failed, the port is gone) or when told.
    pub fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(|(hot, _, _)| !hot.thread.is_finished())
    }

    /// Stops: cancels everything, waits (with a bound) for open orders to be gone, compares the venues'
    /// records a last time, closes the connections, drains the ring into the journal. The report says what
    /// all that came to.
    pub fn stop(mut self) -> Report {
        self.end(true)
    }

    /// Waits for a loop that ends by itself; see [`EngineHandle::is_running`].
    pub fn join(mut self) -> Report {
        self.end(false)
    }

    fn end(&mut self, tell: bool) -> Report {
        let Some((hot, cold, facts)) = self.running.take() else { return Report::default() };
        while tell && !hot.thread.is_finished() && self.control(Control::Stop).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let ended: Result<Box<LiveLoop>, _> = hot.thread.join();
        let rest = cold.rest_counts();
        let whole = cold.stop();
        let seconds = self.started.elapsed().as_secs_f64();
        match ended {
            Ok(hot_loop) => finish::report(&hot_loop, &facts, &finish::Ended { refusals: hot.refusals, rest, whole, seconds }),
            Err(_) => {
                // Nothing on the hot thread panics on outside input; this is a bug, and the record stays.
                facts.log.now(Level::Error, "hot_thread_panicked", &[("name", facts.name.clone().into())]);
                Report { seconds, failures: vec!["the hot thread panicked".into()], ..Report::default() }
            }
        }
    }
}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        self.end(true);
    }
}
