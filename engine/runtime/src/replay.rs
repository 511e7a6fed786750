//! Feeds a journal to a fresh core and compares what comes out with what was recorded.
//!
//! The journal holds inputs and outputs in the order in which they happened: after each input, exactly
//! the outputs that the core gave for it. So every recorded output is compared, not only the state
//! hashes among them; the first difference is reported with its sequence.
//!
//! Recovery is the same act, carried on: the core that comes out of it goes on trading.

use crate::journal::{JournalError, Reader, Summary};
use engine_core::core::Core;
use engine_core::event::{Event, EventKind};
use std::collections::VecDeque;

/// The first place where the replay and the record differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where in the journal.
    pub sequence: u64,
    /// What was recorded there; `None` if an output is missing from the record.
    pub recorded: Option<Event>,
    /// What the replay gave; `None` if it gave nothing.
    pub replayed: Option<Event>,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaySummary {
    /// Events read.
    pub events: u64,
    /// Inputs among them.
    pub inputs: u64,
    /// Outputs compared.
    pub outputs: u64,
    /// State hashes compared.
    pub hashes: u64,
    /// Last sequence read; 0 if none.
    pub last_sequence: u64,
    /// Time of the last input.
    pub last_time_ns: u64,
    /// The first difference.
    pub mismatch: Option<Mismatch>,
    /// Highest epoch that a session of the journal had.
    pub epoch: u16,
}

impl ReplaySummary {
    /// True if everything recorded came out again.
    pub fn matches(&self) -> bool {
        self.mismatch.is_none()
    }
}

/// A core being rebuilt.
pub struct Replayer {
    core: Core,
    awaited: VecDeque<Event>,
    summary: ReplaySummary,
}

impl Replayer {
    /// Starts with a fresh core, built from the journal's own configuration.
    pub fn new(core: Core) -> Replayer {
        Replayer { core, awaited: VecDeque::new(), summary: ReplaySummary::default() }
    }

    /// Takes the next event of the journal.
    pub fn feed(&mut self, sequence: u64, event: &Event) {
        self.summary.events += 1;
        self.summary.last_sequence = sequence;
        if event.is_input() {
            if let Some(missing) = self.awaited.pop_front() {
                self.differ(sequence, None, Some(missing));
                self.awaited.clear();
            }
            self.summary.inputs += 1;
            self.summary.last_time_ns = self.summary.last_time_ns.max(event.core_time_ns);
            if event.event_kind() == Some(EventKind::SessionStart) {
                self.summary.epoch = self.summary.epoch.max(event.a as u16);
            }
            self.awaited.extend(self.core.apply(event));
        } else {
            let replayed = self.awaited.pop_front();
            if replayed.as_ref() != Some(event) {
                self.differ(sequence, Some(*event), replayed);
            }
            self.summary.outputs += 1;
            self.summary.hashes += u64::from(event.event_kind() == Some(EventKind::StateHash));
        }
    }

    fn differ(&mut self, sequence: u64, recorded: Option<Event>, replayed: Option<Event>) {
        if self.summary.mismatch.is_none() {
            self.summary.mismatch = Some(Mismatch { sequence, recorded, replayed });
        }
    }

    /// Reads a whole journal, up to `until` (inclusive).
    pub fn read(&mut self, reader: &Reader, until: u64) -> Result<Summary, JournalError> {
        reader.for_each(|sequence, event| {
            if sequence > until {
                return false;
            }
            self.feed(sequence, event);
            true
        })
    }

    /// What was found so far.
    pub fn summary(&self) -> &ReplaySummary {
        &self.summary
    }

    /// The core and the outputs of its last input that the record no longer holds: the process died between
    /// deciding and recording, so they were never sent. Whoever carries on records them first.
    pub fn finish(self) -> (Core, Vec<Event>, ReplaySummary) {
        (self.core, self.awaited.into(), self.summary)
    }
}
