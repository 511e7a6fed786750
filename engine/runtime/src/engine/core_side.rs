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
//! Since what is dropped never reaches the core, the journal still rebuilds the very state.

use crate::ring::Producer;
use engine_core::core::Core;
use engine_core::event::{BookInvalid, CommandKind, Event, EventKind, EventSink, Times, flags};

/// Orders and cancels that one pass may cause; more are refused by the core's own output bound.
const COMMANDS_MAX: usize = 512;

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
}

/// The core, the ring, and the commands waiting to be put on the wire.
pub struct CoreSide {
    core: Core,
    ring: Producer,
    commands: Box<[Event; COMMANDS_MAX]>,
    command_count: usize,
    market_orders: bool,
    behind: bool,
    counters: CoreSideCounters,
}

impl CoreSide {
    /// Joins a core to its ring.
    pub fn new(core: Core, ring: Producer) -> CoreSide {
        let commands = vec![Event::default(); COMMANDS_MAX].into_boxed_slice().try_into();
        CoreSide {
            core,
            ring,
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
        self.counters
    }

    /// Sequence of the next event.
    #[inline]
    pub fn next_sequence(&self) -> u64 {
        self.ring.next_sequence()
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

    /// True if an order was caused by a market-data event since last asked.
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
        let (free, capacity) = (self.ring.free(), self.ring.capacity());
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
        if self.ring.push(event) {
            return;
        }
        self.counters.waited += 1;
        while !self.ring.push(event) {
            std::hint::spin_loop();
        }
    }

    #[inline]
    fn apply(&mut self, event: &Event) {
        self.record(event);
        self.counters.inputs += 1;
        let market = event.kind < EventKind::FeedStatus as u8;
        // Split borrows: the outputs belong to the core while they are recorded.
        let CoreSide { core, ring, commands, command_count, counters, market_orders, .. } = self;
        for output in core.apply(event) {
            counters.outputs += 1;
            if !ring.push(output) {
                counters.waited += 1;
                while !ring.push(output) {
                    std::hint::spin_loop();
                }
            }
            if output.kind >= EventKind::SendNew as u8 && output.kind <= EventKind::SendResync as u8 {
                if *command_count < COMMANDS_MAX {
                    commands[*command_count] = *output;
                    *command_count += 1;
                    *market_orders |= market;
                } else {
                    counters.overflow += 1;
                }
            }
        }
    }

    /// Drops a market-data event, unless there is room for it.
    #[cold]
    fn drop_or_apply(&mut self, event: &Event) {
        let tight = self.ring.free() < self.ring.capacity() / 8;
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
        let market_data = event.kind <= EventKind::Trade as u8 && event.kind != EventKind::BookInvalid as u8;
        if self.behind && market_data {
            return self.drop_or_apply(event);
        }
        self.apply(event);
    }
}

/// Room for the commands of one pass.
pub type CommandBatch = [Event; COMMANDS_MAX];

/// An empty batch.
pub fn command_batch() -> Box<CommandBatch> {
    vec![Event::default(); COMMANDS_MAX].into_boxed_slice().try_into().unwrap_or_else(|_| unreachable!("the length is the array's"))
}
