//! The thread that moves events from the ring into the journal, and tells the rest of the cold plane what
//! went by.
//!
//! An event is released from the ring only after `write(2)` took it: from then on it survives the process
//! in the file instead. `fdatasync` follows on a clock, and at once for a session's start.

use super::log::{Level, Log};
use super::mirror::Mirror;
use super::throttle::Throttle;
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
        let mut throttle = Throttle::default();
        let mut synced_at = Instant::now();
        loop {
            let stopping = self.stop.load(Ordering::Acquire);
            let count = match self.step(&mut batch, &mut throttle) {
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

    fn step(&mut self, batch: &mut [Event], throttle: &mut Throttle) -> Result<usize, JournalError> {
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
        self.observe(events, throttle);
        Ok(count)
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.writer.sync()?;
        self.progress.synced.store(self.writer.next_sequence(), Ordering::Release);
        Ok(())
    }

    fn observe(&self, events: &[Event], throttle: &mut Throttle) {
        let concerned = events.iter().any(|e| e.kind >= EventKind::OrderAck as u8);
        if !concerned && !events.iter().any(|e| level_of(e).is_some()) {
            return;
        }
        let mut mirror = self.mirror.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            mirror.observe(event);
            if let Some(level) = level_of(event)
                && let Some(left_out) = throttle.pass(event)
            {
                let line = export::to_json(0, event, self.names.as_ref());
                let mut fields: Vec<(&str, serde_json::Value)> = line
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(k, _)| !matches!(k.as_str(), "kind" | "sequence" | "core_time_ns" | "flags" | "poll_delay_ns"))
                    .map(|(k, v)| (k.as_str(), v.clone()))
                    .collect();
                if left_out > 0 {
                    fields.push(("left_out", left_out.into()));
                }
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
        | EventKind::RiskRefusal
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::export::Unnamed;
    use crate::journal::{Reader, WriterOptions};
    use engine_core::event::{HaltReason, Side, Times};
    use engine_core::fixed::{Price, Qty};
    use engine_core::ids::{InstrumentId, OrderId, VenueId};
    use serde_json::Value;

    fn events() -> Vec<Event> {
        let times = |ns| Times { core_ns: ns, poll_delay_ns: 0 };
        let venue = VenueId(0);
        let mut events = vec![Event { a: 1, ..Event::new(EventKind::SessionStart, venue, times(1)) }];
        for n in 0..3_000 {
            let (price, qty) = (Price(100), Qty(1));
            events.push(Event::book_level(venue, InstrumentId(0), Side::Buy, price, qty, n, times(2)));
        }
        let order = OrderId::new(1, 1);
        events.push(Event { a: order.0, b: 100, c: 5, side: 1, ..Event::new(EventKind::SendNew, venue, times(3)) });
        for _ in 0..10 {
            events.push(Event { code: 13, ..Event::new(EventKind::RiskRefusal, venue, times(4)) });
        }
        events.push(Event { code: HaltReason::DailyLoss as u32, ..Event::new(EventKind::Halt, venue, times(5)) });
        events
    }

    #[test]
    fn everything_reaches_the_journal_and_what_is_notable_the_log() {
        let dir = std::env::temp_dir().join(format!("peregrine-journal-writer-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let log_file = dir.join("log");
        let (mut ring, consumer) = crate::ring::in_process(1 << 13, 1).unwrap();
        let (progress, mirror, stop) = (Arc::new(WriterProgress::default()), Arc::new(Mutex::new(Mirror::default())), Arc::default());
        let writer = JournalWriter {
            ring: consumer,
            writer: Writer::open(&dir, 1, 2, WriterOptions::default()).unwrap().0,
            log: Log::to_file(&log_file).unwrap(),
            names: Arc::new(Unnamed),
            mirror: Arc::clone(&mirror),
            progress: Arc::clone(&progress),
            sync_interval: Duration::from_millis(10),
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::spawn(move || writer.run());
        let events = events();
        events.iter().for_each(|event| assert!(ring.push(event)));
        stop.store(true, Ordering::Release);
        thread.join().unwrap();

        let end = events.len() as u64 + 1;
        assert_eq!((progress.written.load(Ordering::Acquire), progress.synced.load(Ordering::Acquire)), (end, end));
        assert!(!progress.failed.load(Ordering::Acquire));
        let mut read = Vec::new();
        Reader::open(&dir)
            .unwrap()
            .for_each(|_, event| {
                read.push(*event);
                true
            })
            .unwrap();
        assert_eq!(read, events);
        assert_eq!(mirror.lock().unwrap().working(VenueId(0)).len(), 1);
        let lines: Vec<Value> =
            std::fs::read_to_string(&log_file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<(&str, &str)> = lines.iter().map(|l| (l["event"].as_str().unwrap(), l["level"].as_str().unwrap())).collect();
        assert_eq!(told, [("session_start", "info"), ("risk_refusal", "warn"), ("halt", "error")], "no market data, each thing once");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
