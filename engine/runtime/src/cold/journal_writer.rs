//! The thread that moves events from the ring into the journal, and tells the rest of the cold plane what
//! went by.
//!
//! An event is released from the ring only after `write(2)` took it: from then on it survives the process
//! in the file instead. `fdatasync` follows on a clock, and at once for a session's start.

use super::log::{Level, Log};
use super::mirror::Mirror;
use crate::journal::export::{self, Names};
use crate::journal::{JournalError, Writer};
use crate::ring::Consumer;
use engine_core::event::{Event, EventKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Events moved at once.
const BATCH: usize = 4 * crate::journal::BLOCK_EVENTS_MAX;

/// What the writer has done, readable by others while it runs.
#[derive(Debug, Default)]
pub struct WriterProgress {
    /// Sequence after the last event in the file.
    pub written: AtomicU64,
    /// Sequence after the last event on the disk.
    pub synced: AtomicU64,
    /// Set when the journal can no longer be written: the engine must stop.
    pub failed: AtomicBool,
}

/// The writer thread's state.
pub struct JournalWriter {
    /// Events from the hot thread.
    pub ring: Consumer,
    /// The file.
    pub writer: Writer,
    /// What is notable goes here.
    pub log: Log,
    /// Names for the log.
    pub names: Arc<dyn Names + Send + Sync>,
    /// Kept for the REST workers.
    pub mirror: Arc<Mutex<Mirror>>,
    /// Shared with whoever watches.
    pub progress: Arc<WriterProgress>,
    /// Time between two syncs.
    pub sync_interval: Duration,
    /// Ends the thread, once the ring is empty.
    pub stop: Arc<AtomicBool>,
}

impl JournalWriter {
    /// Works until told to stop, then drains the ring and syncs.
    pub fn run(mut self) {
        let mut batch = vec![Event::default(); BATCH];
        let mut synced_at = Instant::now();
        loop {
            let stopping = self.stop.load(Ordering::Acquire);
            let count = match self.step(&mut batch) {
                Ok(count) => count,
                Err(error) => return self.fail(&error),
            };
            if synced_at.elapsed() >= self.sync_interval || (stopping && count == 0) {
                if let Err(error) = self.sync() {
                    return self.fail(&error);
                }
                synced_at = Instant::now();
            }
            if count == 0 {
                if stopping {
                    return;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    fn step(&mut self, batch: &mut [Event]) -> Result<usize, JournalError> {
        let count = self.ring.peek(batch);
        if count == 0 {
            return Ok(0);
        }
        let events = &batch[..count];
        self.writer.append(events)?;
        self.ring.release(count);
        self.progress.written.store(self.writer.next_sequence(), Ordering::Release);
        let starts = events.iter().any(|e| e.event_kind() == Some(EventKind::SessionStart));
        if starts {
            self.sync()?;
        }
        self.observe(events);
        Ok(count)
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.writer.sync()?;
        self.progress.synced.store(self.writer.next_sequence(), Ordering::Release);
        Ok(())
    }

    fn observe(&self, events: &[Event]) {
        let concerned = events.iter().any(|e| e.kind >= EventKind::OrderAck as u8);
        if !concerned && !events.iter().any(|e| level_of(e).is_some()) {
            return;
        }
        let mut mirror = self.mirror.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            mirror.observe(event);
            if let Some(level) = level_of(event) {
                let line = export::to_json(0, event, self.names.as_ref());
                let fields: Vec<(&str, serde_json::Value)> = line
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(k, _)| !matches!(k.as_str(), "kind" | "sequence" | "core_time_ns" | "flags" | "poll_delay_ns"))
                    .map(|(k, v)| (k.as_str(), v.clone()))
                    .collect();
                let kind = event.event_kind().map_or("event", EventKind::as_str);
                self.log.write(event.core_time_ns, level, kind, &fields);
            }
        }
    }

    fn fail(&self, error: &JournalError) {
        self.progress.failed.store(true, Ordering::Release);
        self.log.now(Level::Error, "journal_failed", &[("reason", error.to_string().into())]);
    }
}

/// How much an event matters to whoever reads the log; `None` = not at all (market data, routine orders).
fn level_of(event: &Event) -> Option<Level> {
    match event.event_kind()? {
        EventKind::Halt | EventKind::OrderUncertain => Some(Level::Error),
        EventKind::Anomaly
        | EventKind::BookInvalid
        | EventKind::OrderReject
        | EventKind::CancelReject
        | EventKind::ReplaceReject
        | EventKind::InstrumentStatus
        | EventKind::SendQuery => Some(Level::Warn),
        EventKind::FeedStatus
        | EventKind::InstrumentRules
        | EventKind::Command
        | EventKind::SessionStart
        | EventKind::Reconcile
        | EventKind::SendCancelAll => Some(Level::Info),
        _ => None,
    }
}
