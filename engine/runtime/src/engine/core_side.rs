//! The core with its ring: every event is recorded before it acts, and every output before it is sent.
//!
//! What happens when the cold plane falls behind is decided here, by how full the ring is:
//!
//! | free slots | what happens |
//! |---|---|
//! | below a half | the core is told (`ColdPlaneBehind`): no new orders until three quarters are free again |
//! | below an eighth | market data is dropped before the core sees it (counted; books invalid until they resync) |
//! | none | order reports wait for the writer (counted): they are never dropped |
//!
//! Since what is dropped never reaches the core, the journal still rebuilds the very state. A writer that
//! has failed, or does not move for seconds, is not waited for: [`CoreSide::is_deaf`] is true from then on,
//! nothing more is recorded (so that the record stays a whole beginning of what happened), and the loop ends.

use crate::cold::journal_writer::WriterProgress;
use crate::ring::Producer;
use engine_core::core::Core;
use engine_core::event::{BookInvalid, CommandKind, Event, EventKind, EventSink, Side, Times, flags};
use engine_core::fixed::Price;
use engine_core::ids::InstrumentId;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Orders and cancels that one pass may cause; more are refused by the core's own output bound.
pub const COMMANDS_MAX: usize = 512;
/// Slots of the ring that are touched between orders.
const RING_TOUCHED: u64 = 16;
/// Turns that a full ring is waited for: some seconds.
const WAIT_TURNS_MAX: u32 = 100_000_000;
/// Turns between two looks at whether the writer has failed.
const WAIT_TURNS: u32 = 1_024;

/// Counters of the hot plane's core side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreSideCounters {
    /// Inputs applied.
    pub inputs: u64,
    /// Outputs given.
    pub outputs: u64,
    /// Market-data events dropped because the cold plane was behind.
    pub dropped: u64,
    /// Times that an order report had to wait for the journal writer.
    pub waited: u64,
    /// Times that new orders were stopped because the cold plane was behind.
    pub stopped: u64,
    /// Commands that did not fit the queue (cannot happen unless the core's bound is wrong).
    pub overflow: u64,
    /// Events that could not be recorded because the journal writer had failed.
    pub unrecorded: u64,
}

/// The ring with the rules of waiting for room in it.
struct Recorder {
    ring: Producer,
    progress: Arc<WriterProgress>,
    deaf: bool,
}

impl Recorder {
    #[inline]
    fn record(&mut self, event: &Event, counters: &mut CoreSideCounters) {
        // A deaf recorder's ring is closed.
        if !self.ring.push(event) {
            self.wait(event, counters);
        }
    }

    #[cold]
    fn wait(&mut self, event: &Event, counters: &mut CoreSideCounters) {
        counters.waited += u64::from(!self.deaf);
        let mut turns = 0;
        while !self.deaf {
            if self.ring.push(event) {
                return;
            }
            std::hint::spin_loop();
            turns += 1;
            if turns % WAIT_TURNS == 0 {
                self.deaf = turns >= WAIT_TURNS_MAX || self.progress.failed.load(Ordering::Acquire);
            }
        }
        self.ring.close();
        counters.unrecorded += 1;
    }
}

/// The core, the ring, and the commands waiting to be put on the wire.
pub struct CoreSide {
    core: Core,
    recorder: Recorder,
    commands: Box<[Event; COMMANDS_MAX]>,
    command_count: usize,
    market_orders: bool,
    behind: bool,
    counters: CoreSideCounters,
    /// What the core had taken in before.
    inputs_before: u64,
}

impl CoreSide {
    /// Joins a core to its ring. `progress` is the journal writer's.
    pub fn new(core: Core, ring: Producer, progress: Arc<WriterProgress>) -> CoreSide {
        let commands = vec![Event::default(); COMMANDS_MAX].into_boxed_slice().try_into();
        CoreSide {
            inputs_before: core.inputs(),
            core,
            recorder: Recorder { ring, progress, deaf: false },
            commands: commands.unwrap_or_else(|_| unreachable!("the length is the array's")),
            command_count: 0,
            market_orders: false,
            behind: false,
            counters: CoreSideCounters::default(),
        }
    }

    /// The core, to look at.
    #[inline]
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// The counters.
    #[inline]
    pub fn counters(&self) -> CoreSideCounters {
        CoreSideCounters { inputs: self.core.inputs() - self.inputs_before, ..self.counters }
    }

    /// Sequence of the next event.
    #[inline]
    pub fn next_sequence(&self) -> u64 {
        self.recorder.ring.next_sequence()
    }

    /// True once the journal writer has failed or hangs: nothing more is recorded.
    #[inline]
    pub fn is_deaf(&self) -> bool {
        self.recorder.deaf
    }

    /// True while new orders are stopped because the cold plane is behind.
    #[inline]
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// Touches what the next order will be written to: the ring's next slots, the order table's next place.
    #[inline]
    pub fn touch(&mut self) {
        self.recorder.ring.touch_next(RING_TOUCHED);
        self.core.touch();
    }

    /// Puts commands of a rehearsal where those of the core wait, if none does: to be taken from there by the same
    /// code. Returns whether that was possible.
    #[inline]
    pub fn lend_commands(&mut self, commands: &[Event]) -> bool {
        if self.command_count != 0 || commands.len() > COMMANDS_MAX {
            return false;
        }
        self.commands[..commands.len()].copy_from_slice(commands);
        self.command_count = commands.len();
        true
    }

    /// Commands waiting to be sent, oldest first.
    #[inline]
    pub fn commands(&self) -> &[Event] {
        &self.commands[..self.command_count]
    }

    /// Takes the waiting commands over into `out`; returns how many.
    #[inline]
    pub fn take_commands(&mut self, out: &mut [Event; COMMANDS_MAX]) -> usize {
        let count = self.command_count;
        out[..count].copy_from_slice(&self.commands[..count]);
        self.command_count = 0;
        count
    }

    /// True if an order, a cancel or a replace was caused by a market-data event since last asked.
    #[inline]
    pub fn take_market_orders(&mut self) -> bool {
        std::mem::take(&mut self.market_orders)
    }

    /// Records events without applying them: outputs that an earlier process had decided on and not
    /// recorded. They are not sent.
    pub fn record_only(&mut self, events: &[Event]) {
        for event in events {
            self.record(event);
        }
    }

    /// Looks at how full the ring is and tells the core. Called once a pass.
    #[inline]
    pub fn watch_ring(&mut self, times: Times) {
        let (free, capacity) = (self.recorder.ring.free(), self.recorder.ring.capacity());
        if !self.behind && free < capacity / 2 {
            self.behind = true;
            self.counters.stopped += 1;
            self.apply(&Event::command(CommandKind::ColdPlaneBehind, 1, 0, times));
        } else if self.behind && free >= capacity / 4 * 3 {
            self.behind = false;
            self.apply(&Event::command(CommandKind::ColdPlaneBehind, 0, 0, times));
        }
    }

    #[inline]
    fn record(&mut self, event: &Event) {
        self.recorder.record(event, &mut self.counters);
    }

    #[inline]
    fn apply(&mut self, event: &Event) {
        self.record(event);
        if !self.core.apply(event).is_empty() {
            self.take_outputs(event);
        }
    }

    /// Records what the event caused, and has commands wait to be sent.
    #[inline(never)]
    fn take_outputs(&mut self, event: &Event) {
        let market = event.kind < EventKind::FeedStatus as u8;
        // Split borrows: the outputs belong to the core while they are recorded.
        let CoreSide { core, recorder, commands, command_count, counters, market_orders, .. } = self;
        let outputs = core.outputs();
        counters.outputs += outputs.len() as u64;
        for output in outputs {
            recorder.record(output, counters);
            if output.kind >= EventKind::SendNew as u8 && output.kind <= EventKind::SendResync as u8 {
                if *command_count < COMMANDS_MAX {
                    commands[*command_count] = *output;
                    *command_count += 1;
                    *market_orders |= market && output.kind <= EventKind::SendReplace as u8;
                } else {
                    counters.overflow += 1;
                }
            }
        }
    }

    /// Takes an event while the cold plane is behind: drops market data, unless there is room for it.
    #[cold]
    fn event_behind(&mut self, event: &Event) {
        let market_data = event.kind <= EventKind::Trade as u8 && event.kind != EventKind::BookInvalid as u8;
        if !market_data {
            return self.apply(event);
        }
        let tight = self.recorder.ring.free() < self.recorder.ring.capacity() / 8;
        if !tight {
            return self.apply(event);
        }
        self.counters.dropped += 1;
        let of_book = matches!(event.event_kind(), Some(EventKind::BookLevel | EventKind::BookTouch));
        if of_book && event.has(flags::LAST) && self.command_count < COMMANDS_MAX {
            // The codec does not know what was dropped: have it begin anew.
            let times = Times { core_ns: event.core_time_ns, poll_delay_ns: event.poll_delay_ns };
            self.commands[self.command_count] = Event {
                instrument: event.instrument,
                code: BookInvalid::Gap as u32,
                ..Event::new(EventKind::SendResync, event.venue_id(), times)
            };
            self.command_count += 1;
        }
    }
}

impl EventSink for CoreSide {
    #[inline]
    fn event(&mut self, event: &Event) {
        if self.behind {
            return self.event_behind(event);
        }
        self.apply(event);
    }

    #[inline]
    fn upcoming(&mut self, instrument: InstrumentId) {
        self.core.upcoming(instrument);
    }

    #[inline]
    fn upcoming_levels(&mut self, instrument: InstrumentId, levels: impl Iterator<Item = (Side, Price)>) {
        self.core.upcoming_levels(instrument, levels);
    }
}

/// Room for the commands of one pass.
pub type CommandBatch = [Event; COMMANDS_MAX];

/// An empty batch.
pub fn command_batch() -> Box<CommandBatch> {
    vec![Event::default(); COMMANDS_MAX].into_boxed_slice().try_into().unwrap_or_else(|_| unreachable!("the length is the array's"))
}
