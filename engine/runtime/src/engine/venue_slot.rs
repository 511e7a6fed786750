//! One venue as the hot loop holds it: codec, channels, outboxes, and its ends of the rings to the cold plane.

use super::core_side::CoreSide;
use super::network::{Channel, ChannelCounters, ChannelEvents, TimeSource};
use crate::cold::rest_worker::{ColdTask, NOTICE_BYTES_MAX};
use drivers::spsc::{Consumer, Producer};
use engine_core::event::{Event, Times};
use engine_core::ids::VenueId;
use netstack::transport::SocketId;
use std::io::Write;
use venues::outbox::{ColdRequest, Outbox};
use venues::venue::{Link, MessageKind, Role, Venue};

/// A channel, what it is for, and what the loop knows of it.
pub(super) struct ChannelSlot<S> {
    pub channel: S,
    pub role: Role,
    /// Its last turn was over before its messages were: when the frame that brought them was seen.
    pub waiting_since: Option<u64>,
    /// The socket last marked as going first.
    pub marked: Option<SocketId>,
}

/// Whether the venue's records have been compared with ours since order entry came up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Barrier {
    /// Order entry is down.
    Down,
    /// Asked at this time; the records must be younger than `since_ns`.
    Asked { since_ns: u64, asked_ns: u64 },
    /// Compared at this time.
    Done { at_ns: u64 },
}

/// Counters of a venue that its codec cannot keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SlotCounters {
    /// Frames with data for one of its channels.
    pub frames: u64,
    /// Messages that a channel would not take.
    pub not_sent: u64,
    /// Tasks for the cold plane that did not fit.
    pub tasks_refused: u64,
    /// Order requests that the codec refused.
    pub refused: u64,
    /// Reconciliations completed.
    pub reconciliations: u64,
}

pub(super) struct VenueSlot<S, V> {
    pub id: VenueId,
    pub venue: V,
    /// By role.
    pub channels: [Option<ChannelSlot<S>>; 2],
    /// What the codec wants sent besides orders.
    pub out: Outbox,
    /// What an order command wants sent.
    pub orders: Outbox,
    pub tasks: Producer<ColdTask>,
    pub results: Consumer<Event>,
    /// A fee that waits for its fill, which follows directly.
    pub held_fee: Option<Event>,
    pub barrier: Barrier,
    /// The same when the connections began to be closed.
    pub last_barrier: Barrier,
    /// The round of reconciliation being delivered began before order entry came up: it says nothing.
    pub stale_round: bool,
    /// Both streams were up when the stop began.
    pub was_connected: bool,
    pub counters: SlotCounters,
}

/// What one poll of a channel brought.
#[derive(Clone, Copy, Default)]
pub(super) struct Polled {
    pub worked: bool,
    /// It brought the last message that there was.
    pub last: bool,
    /// When the message was complete, if there was one.
    pub complete_ns: Option<u64>,
    /// Bytes of the message.
    pub bytes: u32,
}

impl<S, V: Venue> VenueSlot<S, V> {
    pub(super) fn new(id: VenueId, venue: V, channels: Vec<(Role, S)>, tasks: Producer<ColdTask>, results: Consumer<Event>) -> Self {
        let mut slots = [None, None];
        for (role, channel) in channels {
            slots[role.index()] = Some(ChannelSlot { channel, role, waiting_since: None, marked: None });
        }
        VenueSlot {
            id,
            venue,
            channels: slots,
            out: Outbox::new(),
            orders: Outbox::new(),
            tasks,
            results,
            held_fee: None,
            barrier: Barrier::Down,
            last_barrier: Barrier::Down,
            stale_round: false,
            was_connected: false,
            counters: SlotCounters::default(),
        }
    }

    /// Hands a task to the cold plane.
    pub(super) fn task(&mut self, task: ColdTask) -> bool {
        let taken = self.tasks.push(task);
        self.counters.tasks_refused += u64::from(!taken);
        taken
    }

    /// Asks for a reconciliation whose records are younger than `since_ns`.
    pub(super) fn ask_reconcile(&mut self, since_ns: u64, now_ns: u64) {
        self.task(ColdTask::Request(ColdRequest::Reconcile));
        self.barrier = Barrier::Asked { since_ns, asked_ns: now_ns };
    }

    /// Passes the codec's last notice on to the log.
    pub(super) fn pass_notice_on(&mut self) {
        let Some(text) = self.venue.take_notice() else { return };
        let notice = notice(format_args!("{text}"));
        self.task(notice);
    }

    /// One poll of the channel of `role`, at `now_ns`, for a frame that was seen at `seen_ns`. Events go to `side`, messages to the
    /// codec's outbox.
    #[inline]
    pub(super) fn poll<N>(
        &mut self,
        role: Role,
        network: &mut N,
        side: &mut CoreSide,
        clock: &mut impl TimeSource,
        seen_ns: u64,
        now_ns: u64,
    ) -> Polled
    where
        S: Channel<N>,
    {
        let VenueSlot { venue, channels, out, tasks, counters, .. } = self;
        let Some(slot) = &mut channels[role.index()] else { return Polled::default() };
        let mut dispatch = Dispatch { venue, role, side, out, clock, seen_ns, tasks, counters, complete_ns: None, bytes: 0 };
        let worked = slot.channel.poll(network, now_ns, &mut dispatch);
        let (complete_ns, bytes) = (dispatch.complete_ns, dispatch.bytes);
        Polled { worked, last: complete_ns.is_some() && slot.channel.is_drained(network), complete_ns, bytes }
    }

    /// The counters of both channels together.
    pub(super) fn channel_counters<N>(&self) -> ChannelCounters
    where
        S: Channel<N>,
    {
        let mut sum = ChannelCounters::default();
        for slot in self.channels.iter().flatten() {
            let counters = slot.channel.counters();
            sum.connects += counters.connects;
            sum.disconnects += counters.disconnects;
            sum.tls_version = sum.tls_version.max(counters.tls_version);
            sum.records += counters.records;
            sum.records_stitched += counters.records_stitched;
            sum.messages += counters.messages;
            sum.messages_stitched += counters.messages_stitched;
        }
        sum
    }
}

/// A line for the log, cut to what fits, without allocating.
pub(super) fn notice(text: std::fmt::Arguments<'_>) -> ColdTask {
    let mut bytes = [0u8; NOTICE_BYTES_MAX];
    let mut rest = &mut bytes[..];
    let _ = rest.write_fmt(text); // What does not fit is cut off.
    let len = NOTICE_BYTES_MAX - rest.len();
    ColdTask::Notice { len: len as u16, text: bytes }
}

/// Takes a channel's events to the codec, with the time of each.
struct Dispatch<'a, V, T> {
    venue: &'a mut V,
    role: Role,
    side: &'a mut CoreSide,
    out: &'a mut Outbox,
    clock: &'a mut T,
    seen_ns: u64,
    tasks: &'a mut Producer<ColdTask>,
    counters: &'a mut SlotCounters,
    complete_ns: Option<u64>,
    bytes: u32,
}

impl<V, T: TimeSource> Dispatch<'_, V, T> {
    #[inline]
    fn times(&mut self) -> Times {
        let core_ns = self.clock.now_ns();
        let delay = core_ns.saturating_sub(self.seen_ns);
        Times { core_ns, poll_delay_ns: u32::try_from(delay).unwrap_or(u32::MAX) }
    }

    #[cold]
    fn note(&mut self, text: std::fmt::Arguments<'_>) {
        let taken = self.tasks.push(notice(text));
        self.counters.tasks_refused += u64::from(!taken);
    }
}

impl<V: Venue, T: TimeSource> ChannelEvents for Dispatch<'_, V, T> {
    fn on_open(&mut self, generation: u32) {
        let times = self.times();
        self.venue.on_open(Link { role: self.role, generation }, times, self.side, self.out);
    }

    #[inline]
    fn on_message(&mut self, generation: u32, kind: MessageKind, payload: &[u8]) {
        let times = self.times();
        (self.complete_ns, self.bytes) = (Some(times.core_ns), payload.len() as u32);
        self.venue.on_message(Link { role: self.role, generation }, kind, payload, times, self.side, self.out);
    }

    fn on_close(&mut self, generation: u32, why: &dyn std::fmt::Display) {
        let times = self.times();
        self.venue.on_close(Link { role: self.role, generation }, times, self.side, self.out);
        self.note(format_args!("{} connection {generation} ended: {why}", self.role.as_str()));
    }

    fn on_attempt_failed(&mut self, why: &dyn std::fmt::Display, wait_ns: u64) {
        let wait_ms = wait_ns / 1_000_000;
        self.note(format_args!("{}: no connection, next attempt in {wait_ms} ms: {why}", self.role.as_str()));
    }
}
