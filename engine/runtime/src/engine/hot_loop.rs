//! The hot loop: from a frame to the order it causes, run to completion, on one thread.
//!
//! One *pass*:
//!
//! 1. poll the port once;
//! 2. for each frame: TCP takes it in; the channel whose socket it fed is polled, one message at a time;
//!    the codec turns the message into events, each of which is recorded and applied to the core; the
//!    orders that this causes are encoded, sealed and put into frames before the next message is read;
//! 3. what codecs want sent besides orders follows;
//! 4. if no frame came (or it is overdue): time. Timers, commands, results of the cold plane;
//! 5. whatever else was written becomes frames, and one kick makes the NIC see them all. The kick of a
//!    message's orders comes at once: neither acknowledgements nor other messages come before it.
//!
//! Nothing here allocates, locks, sleeps, or makes a system call but the port's. Every loop has a bound.

use super::accounting::{Accounting, HotUsage};
use super::core_side::{COMMANDS_MAX, CommandBatch, CoreSide, command_batch};
use super::init::LoopTiming;
use super::network::{Channel, Network, TimeSource};
use super::rehearsal::{self, Rehearsal, RehearsalCounters};
use super::sending::{not_executed, put_on_wire};
use super::status::{Phase, StatusBoard};
use super::venue_slot::{Barrier, Polled, VenueSlot, notice};
use crate::cold::journal_writer::WriterProgress;
use crate::cold::rest_worker::ColdTask;
use crate::latency::{Circumstances, Latency, TickRecord};
use drivers::purpose::Purpose;
use drivers::spsc::Consumer;
use engine_core::event::{BookInvalid, CommandKind, Event, EventKind, EventSink, FeedState, Times};
use engine_core::ids::{InstrumentId, VenueId};
use netstack::transport::SocketId;
use std::io;
use std::sync::Arc;
use venues::outbox::ColdRequest;
use venues::venue::{ExecuteError, Role, Venue};

/// Messages of one channel worked off for one frame; more wait for the next pass.
const MESSAGES_PER_FRAME_MAX: usize = 64;
/// Rounds of orders that one message may cause: an order's refusal may cause the next.
const ROUNDS_MAX: usize = 8;
/// Places of sockets whose owners are remembered; others are looked for each time.
const SOCKETS_REMEMBERED: usize = 256;
/// Open orders that are kept at hand, for the cancel or the replace that may come.
const ORDERS_TOUCHED_MAX: usize = 32;
/// Before a rehearsal, no frame has come for so long.
const QUIET_BEFORE_REHEARSAL_NS: u64 = 5_000;
/// The pause after a rehearsal is at least so many times its length.
const REHEARSAL_PAUSE_MIN: u64 = 15;
/// How late a tick may be when frames keep coming.
const TICK_LATE_NS_MAX: u64 = 1_000_000;

/// What the handle tells the loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// Nothing (an unused slot).
    #[default]
    None,
    /// A command for the core.
    Command {
        /// Which.
        kind: CommandKind,
        /// Its first argument.
        a: u64,
        /// Its second argument.
        b: u64,
    },
    /// Wind down and end.
    Stop,
}

/// Why the loop ended.
#[derive(Debug, Default)]
pub enum Ending {
    /// It was told to.
    #[default]
    Stopped,
    /// The journal could not be written any more.
    JournalFailed,
    /// The port is gone.
    PortGone(io::Error),
}

/// Counters of the loop itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopCounters {
    /// Passes.
    pub passes: u64,
    /// Frames received.
    pub frames: u64,
    /// Kicks.
    pub kicks: u64,
    /// Frames whose socket belongs to no channel.
    pub strays: u64,
    /// Times that the bound on messages of one frame was reached.
    pub cut_short: u64,
    /// Longest pass that worked off frames, nanoseconds, since warm-up.
    pub pass_ns_max: u64,
    /// Time spent on rehearsals, nanoseconds.
    pub rehearsing_ns: u64,
    /// The longest of them since warm-up.
    pub rehearsal_ns_max: u64,
}

/// When the next of each comes.
#[derive(Clone, Copy, Default)]
pub(super) struct Due {
    pub(super) tick_ns: u64,
    pub(super) timer_ns: u64,
    pub(super) venue_timer_ns: u64,
    pub(super) status_ns: u64,
    rehearsal_ns: u64,
}

/// Where a stop has come to.
#[derive(Clone, Copy, Default)]
pub(super) struct Winding {
    pub(super) since_ns: u64,
    pub(super) cancel_again_ns: u64,
    pub(super) reconciling: bool,
    pub(super) closing_since_ns: Option<u64>,
    /// Open orders were left when the time was up.
    pub(super) orders_left: bool,
}

/// When a message came, and how far it has come.
#[derive(Clone, Copy)]
struct Tick {
    /// Whose message it is.
    venue: usize,
    seen_ns: u64,
    /// When this message's turn came.
    turn_ns: u64,
    /// It is known when its frame was seen, so its way to an order can be measured.
    measured: bool,
    /// Messages of the same frame before this one.
    before: u32,
    /// What this one is.
    bytes: u32,
    events: u32,
}

impl Tick {
    fn new(venue: usize, seen_ns: u64, turn_ns: u64, measured: bool) -> Tick {
        Tick { venue, seen_ns, turn_ns, measured, before: 0, bytes: 0, events: 0 }
    }
}

/// When the loop last did what the next tick may find changed by it.
#[derive(Clone, Copy, Default)]
struct Lately {
    /// The last pass with frames, and the one before.
    frames_ns: u64,
    frames_before_ns: u64,
    ordered_ns: u64,
    rehearsed_ns: u64,
}

/// What went out for some commands.
#[derive(Clone, Copy, Default)]
struct Sent {
    /// What the core wanted sent.
    commands: u32,
    messages: u32,
    /// Event kind of the command that the first message was for.
    first: u8,
    /// How long encoding took, up to the first message.
    encode_ns: u64,
    /// When the first message was sealed.
    first_sealed_ns: u64,
    /// When its frame was ready for the NIC.
    first_ready_ns: u64,
    /// When all of this was done.
    done_ns: u64,
}

/// The loop. See the module header.
pub struct HotLoop<N, S, V> {
    pub(super) network: N,
    pub(super) venues: Vec<VenueSlot<S, V>>,
    pub(super) side: CoreSide,
    pub(super) latency: Latency,
    /// What is to be sent besides orders waits for this pass.
    put_off: bool,
    pub(super) counters: LoopCounters,
    pub(super) accounting: Accounting,
    pub(super) phase: Phase,
    pub(super) winding: Winding,
    pub(super) board: Arc<StatusBoard>,
    pub(super) started_ns: u64,
    pub(super) epoch: u16,
    pub(super) ending: Ending,
    /// Warm-up has ended.
    pub(super) warm: bool,
    /// The hot thread's accounts when the stop began.
    pub(super) usage: Option<HotUsage>,
    pub(super) control: Consumer<Control>,
    pub(super) progress: Arc<WriterProgress>,
    pub(super) timing: LoopTiming,
    batch: Box<CommandBatch>,
    /// Commands of the batch that did not get out, and why if it is known. It has room for all of them.
    failures: Failures,
    pub(super) due: Due,
    /// Something was written, or may have to be sent again.
    pub(super) dirty: bool,
    /// Frames committed and not kicked.
    committed: usize,
    lately: Lately,
    /// Frames of the burst not worked off.
    frames_left: usize,
    /// A channel has more messages than one turn allows: go on in this pass, after what is due.
    cut_short: bool,
    pub(super) failed: Option<io::Error>,
    rehearsal: Option<Box<Rehearsal>>,
    /// By place of a socket: whose it is.
    owners: Vec<Option<(SocketId, usize, Role)>>,
}

/// What a loop is made of.
pub struct Parts<N, S, V> {
    /// The stack.
    pub network: N,
    /// The venues, by id: codec, channels and the ends of its rings to the cold plane.
    pub venues: Vec<VenueParts<S, V>>,
    /// Core and ring.
    pub side: CoreSide,
    /// What the handle says.
    pub control: Consumer<Control>,
    /// Where the status goes.
    pub board: Arc<StatusBoard>,
    /// How far the journal is.
    pub progress: Arc<WriterProgress>,
    /// Times.
    pub timing: LoopTiming,
    /// This run's epoch.
    pub epoch: u16,
    /// What keeps the way to an order warm, if it is wanted.
    pub rehearsal: Option<Box<Rehearsal>>,
}

/// One venue for a loop.
pub struct VenueParts<S, V> {
    /// The codec.
    pub venue: V,
    /// Its channels.
    pub channels: Vec<(Role, S)>,
    /// Tasks for the cold plane.
    pub tasks: drivers::spsc::Producer<ColdTask>,
    /// Its results.
    pub results: Consumer<Event>,
}

impl<N, S, V> HotLoop<N, S, V>
where
    N: Network,
    S: Channel<N>,
    V: Venue,
{
    /// Puts a loop together. All its memory is taken here.
    pub fn new(parts: Parts<N, S, V>, now_ns: u64) -> HotLoop<N, S, V> {
        let venues = parts.venues.into_iter().enumerate();
        let venues: Vec<_> = venues.map(|(id, v)| VenueSlot::new(VenueId(id as u8), v.venue, v.channels, v.tasks, v.results)).collect();
        HotLoop {
            network: parts.network,
            latency: Latency::new(venues.len()),
            venues,
            side: parts.side,
            put_off: false,
            counters: LoopCounters::default(),
            accounting: Accounting::new(),
            phase: Phase::WarmUp,
            winding: Winding::default(),
            board: parts.board,
            started_ns: now_ns,
            epoch: parts.epoch,
            ending: Ending::Stopped,
            warm: false,
            usage: None,
            control: parts.control,
            progress: parts.progress,
            timing: parts.timing,
            failures: Vec::with_capacity(COMMANDS_MAX),
            batch: command_batch(),
            due: Due { tick_ns: now_ns, timer_ns: now_ns, venue_timer_ns: now_ns, status_ns: now_ns, rehearsal_ns: now_ns },
            dirty: true,
            committed: 0,
            lately: Lately::default(),
            frames_left: 0,
            cut_short: false,
            failed: None,
            rehearsal: parts.rehearsal,
            owners: vec![None; SOCKETS_REMEMBERED],
        }
    }

    /// The core's side, to look at.
    pub fn side(&self) -> &CoreSide {
        &self.side
    }

    /// What was measured, to look at.
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// What was rehearsed, if anything is.
    pub fn rehearsals(&self) -> RehearsalCounters {
        self.rehearsal.as_ref().map_or_else(RehearsalCounters::default, |r| r.counters())
    }

    /// Begins a session: `start` is recorded and applied, the venues' streams are down whatever the record
    /// ended with, codecs learn of the orders that survived, and what the core wants sent is sent.
    pub fn begin_session(&mut self, start: &Event, clock: &mut impl TimeSource) {
        self.side.event(start);
        let times = Times { core_ns: start.core_time_ns, poll_delay_ns: 0 };
        for venue in 0..self.venues.len() {
            for role in Role::ALL {
                self.side.event(&Event::feed_status(VenueId(venue as u8), role as u8, FeedState::Down, times));
            }
        }
        let HotLoop { venues, side, .. } = self;
        for order in side.core().desk().orders().iter_open() {
            if let Some(slot) = venues.get_mut(order.venue.index()) {
                slot.venue.adopt_order(order.id, order.instrument, None);
            }
        }
        self.settle(clock);
    }

    /// Passes until the loop ends. The hot thread's accounts (allocations, page faults) are those of the
    /// thread that calls this.
    pub fn run(&mut self, clock: &mut impl TimeSource) {
        self.accounting.restart();
        while self.pass(clock) {}
        self.freeze();
    }

    /// Takes down what the report wants to know of the time before the connections were closed.
    pub(super) fn freeze(&mut self) {
        if self.usage.is_none() {
            self.usage = Some(self.accounting.read());
            let desk = self.side.core().desk();
            for slot in &mut self.venues {
                let both = [desk.market_data(slot.id), desk.order_entry(slot.id)];
                slot.was_connected = both.iter().all(|state| *state == FeedState::Up);
            }
        }
    }

    /// One pass; false once the loop has ended.
    #[inline]
    pub fn pass(&mut self, clock: &mut impl TimeSource) -> bool {
        let now = clock.now_ns();
        self.counters.passes += 1;
        let kicks = self.counters.kicks;
        let frames = self.network.receive(now);
        if frames > 0 {
            self.counters.frames += frames as u64;
            (self.lately.frames_before_ns, self.lately.frames_ns) = (self.lately.frames_ns, now);
            self.work_off(frames, now, clock);
        }
        if now >= self.due.tick_ns && (frames == 0 || now - self.due.tick_ns >= TICK_LATE_NS_MAX) {
            self.tick(now, clock);
        } else if frames == 0 {
            self.take_cold_results(clock);
            if now >= self.due.rehearsal_ns && self.is_idle(now) {
                self.rehearse(now, clock);
            }
        }
        if self.cut_short {
            self.cut_short = false;
            self.poll_all(clock);
        }
        // An order has been kicked off by itself: the rest of its pass leaves with the next, whatever that brings.
        let kicked = self.counters.kicks != kicks;
        if self.dirty && (!kicked || self.put_off) {
            (self.dirty, self.put_off) = (false, false);
            self.committed += self.network.transmit(clock.now_ns());
        } else {
            self.put_off = self.dirty;
        }
        if self.committed > 0 {
            self.kick(clock.now_ns(), clock);
        }
        if frames > 0 {
            let spent = clock.now_ns() - now;
            self.counters.pass_ns_max = self.counters.pass_ns_max.max(spent);
        }
        self.phase != Phase::Ended
    }

    /// Works off the burst.
    fn work_off(&mut self, frames: usize, seen_ns: u64, clock: &mut impl TimeSource) {
        self.frames_left = frames;
        self.dirty = true;
        while let Some(fed) = self.network.ingress_next(seen_ns) {
            self.frames_left = self.frames_left.saturating_sub(1);
            let Some(socket) = fed else { continue };
            match self.owner(socket) {
                Some((venue, role)) => {
                    self.venues[venue].counters.frames += 1;
                    let tick = Tick::new(venue, seen_ns, clock.now_ns(), true);
                    self.read_channel(venue, role, tick, clock);
                }
                None => self.counters.strays += 1,
            }
        }
        self.frames_left = 0;
    }

    /// Whose socket it is. The order-entry channel's socket is marked as going first when it is first seen.
    #[inline]
    fn owner(&mut self, socket: SocketId) -> Option<(usize, Role)> {
        let place = usize::from(socket.index);
        if let Some(&Some((known, venue, role))) = self.owners.get(place)
            && known == socket
        {
            return Some((venue, role));
        }
        let found = self.find_owner(socket);
        if let Some(known) = self.owners.get_mut(place) {
            *known = found.map(|(venue, role)| (socket, venue, role));
        }
        found
    }

    #[cold]
    fn find_owner(&mut self, socket: SocketId) -> Option<(usize, Role)> {
        for (at, venue) in self.venues.iter_mut().enumerate() {
            for slot in venue.channels.iter_mut().flatten() {
                if slot.channel.owns(socket) {
                    if slot.role == Role::OrderEntry && slot.marked != Some(socket) {
                        slot.marked = Some(socket);
                        self.network.set_priority(socket);
                    }
                    return Some((at, slot.role));
                }
            }
        }
        None
    }

    /// Reads a channel, one message at a time, each with all its consequences.
    fn read_channel(&mut self, venue: usize, role: Role, mut tick: Tick, clock: &mut impl TimeSource) {
        for _ in 0..MESSAGES_PER_FRAME_MAX {
            let inputs = self.side.core().inputs();
            let polled = self.poll_channel(venue, role, tick, clock);
            if !self.side.commands().is_empty() {
                (tick.bytes, tick.events) = (polled.bytes, (self.side.core().inputs() - inputs) as u32);
                self.send_orders(polled.complete_ns, tick, Purpose::Send, clock);
            }
            self.send_rest(venue, clock);
            if !polled.worked || polled.last {
                self.set_waiting(venue, role, None);
                return;
            }
            tick.turn_ns = clock.now_ns();
            tick.before += u32::from(polled.complete_ns.is_some());
        }
        self.counters.cut_short += 1;
        self.cut_short = true;
        self.set_waiting(venue, role, Some(tick.seen_ns));
    }

    #[inline]
    fn set_waiting(&mut self, venue: usize, role: Role, since: Option<u64>) {
        if let Some(slot) = &mut self.venues[venue].channels[role.index()] {
            slot.waiting_since = since;
        }
    }

    #[inline]
    fn poll_channel(&mut self, venue: usize, role: Role, tick: Tick, clock: &mut impl TimeSource) -> Polled {
        let HotLoop { venues, network, side, accounting, .. } = self;
        let slot = &mut venues[venue];
        let state = |slot: &VenueSlot<S, V>| {
            let channel = slot.channels[role.index()].as_ref().map(|c| &c.channel);
            channel.map_or((false, 0), |c| (c.is_connecting(), c.changes()))
        };
        let (connecting, changes) = state(slot);
        let before = accounting.before(connecting);
        let polled = slot.poll(role, network, side, clock, tick.seen_ns, tick.turn_ns);
        let (still, now) = state(slot);
        accounting.after(before, still || now != changes);
        polled
    }

    /// Puts the orders that a message caused into frames, and measures how long it all took.
    ///
    /// Not inlined: a rehearsal must go through the very same code.
    #[inline(never)]
    fn send_orders(&mut self, complete_ns: Option<u64>, tick: Tick, purpose: Purpose, clock: &mut impl TimeSource) -> Sent {
        let of_market = self.side.take_market_orders();
        let decided_ns = clock.now_ns();
        let sent = self.execute_commands(decided_ns, purpose, clock);
        if sent.messages == 0 || purpose == Purpose::Rehearse {
            return sent;
        }
        self.dirty = true;
        self.kick(sent.done_ns, clock);
        if let (true, Some(complete_ns)) = (of_market && tick.measured, complete_ns) {
            let stages_ns = [
                tick.turn_ns - tick.seen_ns,
                complete_ns.saturating_sub(tick.turn_ns),
                decided_ns.saturating_sub(complete_ns),
                sent.encode_ns,
                sent.first_sealed_ns.saturating_sub(decided_ns).saturating_sub(sent.encode_ns),
                sent.first_ready_ns.saturating_sub(sent.first_sealed_ns),
            ];
            let like = Circumstances {
                seen_ns: tick.seen_ns,
                commands: sent.commands,
                messages: sent.messages,
                last_ns: sent.done_ns.saturating_sub(tick.seen_ns),
                bytes: tick.bytes,
                events: tick.events,
                before: tick.before,
                behind: self.frames_left as u32,
                quiet_ns: since(self.lately.frames_before_ns, tick.seen_ns),
                order_ns: since(self.lately.ordered_ns, tick.seen_ns),
                rehearsed_ns: since(self.lately.rehearsed_ns, tick.seen_ns),
            };
            let whole = self.latency.record(&TickRecord { venue: tick.venue as u32, first: sent.first, stages_ns, like });
            self.board.latency.record(whole);
        }
        self.lately.ordered_ns = sent.done_ns;
        sent
    }

    /// Executes what the core wants sent, and what follows from it, up to a bound. It is `now_ns`.
    #[inline(never)]
    fn execute_commands(&mut self, now_ns: u64, purpose: Purpose, clock: &mut impl TimeSource) -> Sent {
        let mut sent = Sent { done_ns: now_ns, ..Sent::default() };
        for _ in 0..ROUNDS_MAX {
            let count = self.side.take_commands(&mut self.batch);
            if count == 0 {
                break;
            }
            sent.commands += count as u32;
            for at in 0..count {
                if self.batch[at].event_kind() == Some(EventKind::SendResync) {
                    self.resync(at, clock);
                    sent.done_ns = clock.now_ns();
                } else {
                    self.execute(at, purpose, &mut sent, clock);
                }
            }
            if !self.failures.is_empty() {
                self.report_failures(clock);
                // What the core makes of it is no part of encoding what comes next.
                sent.done_ns = clock.now_ns();
            }
        }
        sent
    }

    /// Encodes one order command of the batch, seals it, and makes its frame.
    #[inline]
    fn execute(&mut self, at: usize, purpose: Purpose, sent: &mut Sent, clock: &mut impl TimeSource) {
        let HotLoop { venues, network, batch, failures, .. } = self;
        let command = &batch[at];
        let Some(slot) = venues.get_mut(command.venue_id().index()) else { return };
        let begun_ns = sent.done_ns;
        let put = put_on_wire(slot, network, command, begun_ns, clock, purpose);
        sent.done_ns = put.encoded_ns;
        let first = sent.messages == 0;
        if first {
            sent.encode_ns += put.encoded_ns - begun_ns;
        }
        if put.messages > 0 {
            // Its frame is made at once: an order does not wait for the one behind it.
            let sealed_ns = clock.now_ns();
            self.committed += network.transmit_urgent(sealed_ns);
            sent.done_ns = clock.now_ns();
            if first {
                (sent.first, sent.first_sealed_ns, sent.first_ready_ns) = (command.kind, sealed_ns, sent.done_ns);
            }
        }
        sent.messages += put.messages;
        if (put.lost || put.executed.is_err()) && purpose == Purpose::Send {
            note_failure(failures, at, put.executed);
        }
        if !slot.orders.requests().is_empty() {
            pass_requests_on(slot, purpose);
        }
        slot.orders.clear();
    }

    /// Tells the core of the commands of the batch that did not get out: the others have left by now.
    #[cold]
    #[inline(never)]
    fn report_failures(&mut self, clock: &mut impl TimeSource) {
        let HotLoop { venues, side, batch, failures, .. } = self;
        for (at, executed) in failures.drain(..) {
            let command = &batch[at];
            let Some(slot) = venues.get_mut(command.venue_id().index()) else { continue };
            let times = Times { core_ns: clock.now_ns(), poll_delay_ns: 0 };
            not_executed(slot, command, executed, times, side);
        }
    }

    fn resync(&mut self, at: usize, clock: &mut impl TimeSource) {
        let command = self.batch[at];
        let Some(slot) = self.venues.get_mut(command.venue_id().index()) else { return };
        let times = Times { core_ns: clock.now_ns(), poll_delay_ns: 0 };
        let reason = BookInvalid::from_raw(command.code).unwrap_or(BookInvalid::Gap);
        slot.venue.resync(InstrumentId(command.instrument), reason, times, &mut self.side, &mut slot.out);
    }

    /// Sends what a codec wants sent besides orders, and hands its requests to the cold plane.
    #[inline]
    fn send_rest(&mut self, venue: usize, clock: &mut impl TimeSource) {
        let HotLoop { venues, network, committed, .. } = self;
        let slot = &mut venues[venue];
        if slot.out.is_empty() {
            return;
        }
        self.dirty = true;
        let now = clock.now_ns();
        for (role, message) in slot.out.messages() {
            let channel = slot.channels[role.index()].as_mut();
            let sent = channel.is_some_and(|c| c.channel.send(network, message, Purpose::Send).is_ok());
            slot.counters.not_sent += u64::from(!sent);
            if role == Role::OrderEntry {
                // A cancel of the codec's own does not wait either.
                *committed += network.transmit_urgent(now);
            }
        }
        let mut reconcile = false;
        for request in slot.out.requests() {
            if *request == ColdRequest::Reconcile {
                reconcile = true;
                continue;
            }
            slot.counters.tasks_refused += u64::from(!slot.tasks.push(ColdTask::Request(*request)));
        }
        slot.out.clear();
        // The loop itself asks when order entry comes up; an answer that is on its way serves both.
        if reconcile && !matches!(slot.barrier, Barrier::Asked { .. }) {
            slot.ask_reconcile(now, now);
        }
    }

    /// Sends everything that waits: orders first, then the rest, of all venues.
    pub(super) fn settle(&mut self, clock: &mut impl TimeSource) {
        if !self.side.commands().is_empty() {
            self.side.take_market_orders();
            if self.execute_commands(clock.now_ns(), Purpose::Send, clock).messages > 0 {
                self.dirty = true;
            }
        }
        for venue in 0..self.venues.len() {
            self.send_rest(venue, clock);
        }
    }

    /// The one system call. It is `now_ns`.
    #[inline(never)]
    fn kick(&mut self, now_ns: u64, clock: &mut impl TimeSource) {
        if self.committed == 0 {
            return;
        }
        self.committed = 0;
        self.counters.kicks += 1;
        if let Err(error) = self.network.flush(now_ns) {
            self.failed = Some(error);
        }
        self.latency.record_kick(clock.now_ns() - now_ns);
    }

    /// True if nothing waits and nothing has come for a moment: the next frame of a burst must not find us rehearsing.
    #[inline]
    fn is_idle(&self, now: u64) -> bool {
        !self.dirty && self.committed == 0 && !self.cut_short && now.saturating_sub(self.lately.frames_ns) >= QUIET_BEFORE_REHEARSAL_NS
    }

    /// Nothing else is to do: goes the way to an order once, without an order.
    fn rehearse(&mut self, now: u64, clock: &mut impl TimeSource) {
        self.due.rehearsal_ns = if self.timing.rehearse_ns == 0 { u64::MAX } else { now + self.timing.rehearse_ns };
        if !matches!(self.phase, Phase::WarmUp | Phase::Running) || !self.side.commands().is_empty() {
            return;
        }
        let Some(mut rehearsal) = self.rehearsal.take() else { return };
        self.side.touch();
        for order in self.side.core().desk().orders().iter_open().take(ORDERS_TOUCHED_MAX) {
            if let Some(slot) = self.venues.get(order.venue.index()) {
                slot.venue.touch_order(order.id);
            }
        }
        if rehearsal.begin(self.side.core().desk()) {
            for _ in 0..rehearsal::ROUNDS_MAX {
                let mut messages = 0;
                for order in rehearsal.orders(self.side.core().desk()) {
                    messages += self.rehearse_order(order, now, clock);
                }
                if !rehearsal.answer(messages) {
                    break;
                }
            }
        }
        self.rehearsal = Some(rehearsal);
        let end = clock.now_ns();
        let spent = end - now;
        self.lately.rehearsed_ns = end;
        self.counters.rehearsing_ns += spent;
        self.counters.rehearsal_ns_max = self.counters.rehearsal_ns_max.max(spent);
        // However long it takes (many venues, many instruments), most of the time is the market's.
        self.due.rehearsal_ns = self.due.rehearsal_ns.max(end + REHEARSAL_PAUSE_MIN * spent);
    }

    /// Goes the way of one command of the core's, to the port; the messages that came of it.
    fn rehearse_order(&mut self, order: &Event, now: u64, clock: &mut impl TimeSource) -> u32 {
        let venue = order.venue_id().index();
        let Some(slot) = self.venues.get_mut(venue) else { return 0 };
        if !slot.venue.begin_rehearsal(order, Times { core_ns: now, poll_delay_ns: 0 }) {
            return 0;
        }
        let mut messages = 0;
        if self.side.lend_commands(std::slice::from_ref(order)) {
            messages = self.send_orders(Some(now), Tick::new(venue, now, now, true), Purpose::Rehearse, clock).messages;
        }
        self.venues[venue].venue.end_rehearsal(order);
        messages
    }

    /// Polls every channel: for its timers, and for messages that were left when its turn was over.
    pub(super) fn poll_all(&mut self, clock: &mut impl TimeSource) {
        for venue in 0..self.venues.len() {
            for role in Role::ALL {
                if let Some(slot) = &self.venues[venue].channels[role.index()] {
                    let now = clock.now_ns();
                    let waited = slot.waiting_since;
                    let tick = Tick::new(venue, waited.unwrap_or(now), now, waited.is_some());
                    self.read_channel(venue, role, tick, clock);
                }
            }
        }
    }

    /// A line for the log of one venue.
    pub fn note(&mut self, venue: usize, text: std::fmt::Arguments<'_>) {
        if let Some(slot) = self.venues.get_mut(venue) {
            slot.task(notice(text));
        }
    }
}

/// How long ago something was; 0, if it has not been yet.
const fn since(at_ns: u64, now_ns: u64) -> u64 {
    if at_ns == 0 { 0 } else { now_ns.saturating_sub(at_ns) }
}

/// Failures of one batch.
type Failures = Vec<(usize, Result<(), ExecuteError>)>;

#[cold]
#[inline(never)]
fn note_failure(failures: &mut Failures, at: usize, executed: Result<(), ExecuteError>) {
    failures.push((at, executed));
}

/// Hands what a codec asked of the cold plane on to it.
#[cold]
#[inline(never)]
fn pass_requests_on<S, V>(slot: &mut VenueSlot<S, V>, purpose: Purpose) {
    for request in slot.orders.requests().iter().filter(|_| purpose == Purpose::Send) {
        slot.counters.tasks_refused += u64::from(!slot.tasks.push(ColdTask::Request(*request)));
    }
}
