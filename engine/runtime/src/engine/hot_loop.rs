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
//! 5. whatever else was written becomes frames, and one kick makes the NIC see them all. If an order is
//!    ready while frames of the burst still wait to be worked off, its kick comes at once.
//!
//! Nothing here allocates, locks, sleeps, or makes a system call but the port's. Every loop has a bound.

use super::accounting::{Accounting, HotUsage};
use super::core_side::{CommandBatch, CoreSide, command_batch};
use super::init::LoopTiming;
use super::network::{Channel, Network, TimeSource};
use super::rehearsal::{self, Rehearsal, RehearsalCounters};
use super::sending::{not_executed, put_on_wire};
use super::status::{Phase, StatusBoard};
use super::venue_slot::{Barrier, Polled, VenueSlot, notice};
use crate::cold::journal_writer::WriterProgress;
use crate::cold::rest_worker::ColdTask;
use crate::latency::Latency;
use drivers::spsc::Consumer;
use engine_core::event::{BookInvalid, CommandKind, Event, EventKind, EventSink, FeedState, Times};
use engine_core::ids::{InstrumentId, VenueId};
use netstack::purpose::Purpose;
use netstack::transport::SocketId;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use venues::outbox::ColdRequest;
use venues::venue::{Role, Venue};

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
/// Results of the cold plane taken from one venue in one pass.
const COLD_PER_PASS_MAX: usize = 32;
/// How often slow things are looked at.
const TICK_NS: u64 = 1_000_000;
/// How late a tick may be when frames keep coming.
const TICK_LATE_NS_MAX: u64 = 1_000_000;
/// How often codecs are told the time.
const VENUE_TIMER_NS: u64 = 50_000_000;
/// How often the status is published.
const STATUS_NS: u64 = 100_000_000;
/// Passes that warm-up lasts at least.
const WARM_UP_PASSES_MIN: u64 = 10_000;
/// While stopping, everything is cancelled again this often.
const CANCEL_AGAIN_NS: u64 = 1_000_000_000;
/// How long the last reconciliation may take.
const LAST_RECONCILE_NS_MAX: u64 = 15_000_000_000;
/// Before the last reconciliation: time for the last reports to come in.
const QUIET_NS: u64 = 500_000_000;
/// How long closing the connections may take.
const CLOSE_NS_MAX: u64 = 1_000_000_000;

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
struct Due {
    tick_ns: u64,
    timer_ns: u64,
    venue_timer_ns: u64,
    status_ns: u64,
    rehearsal_ns: u64,
}

/// Where a stop has come to.
#[derive(Clone, Copy, Default)]
pub(super) struct Winding {
    pub(super) since_ns: u64,
    cancel_again_ns: u64,
    reconciling: bool,
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
}

/// What went out for some commands.
#[derive(Clone, Copy, Default)]
struct Sent {
    messages: u32,
    /// How long encoding took, up to the first message.
    encode_ns: u64,
    /// When the first message was sealed.
    first_sealed_ns: u64,
    /// When its frame was ready for the NIC.
    first_ready_ns: u64,
}

/// The loop. See the module header.
pub struct HotLoop<N, S, V> {
    pub(super) network: N,
    pub(super) venues: Vec<VenueSlot<S, V>>,
    pub(super) side: CoreSide,
    pub(super) latency: Latency,
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
    control: Consumer<Control>,
    progress: Arc<WriterProgress>,
    timing: LoopTiming,
    batch: Box<CommandBatch>,
    due: Due,
    /// Something was written, or may have to be sent again.
    dirty: bool,
    /// Frames committed and not kicked.
    committed: usize,
    /// When frames came last.
    frames_ns: u64,
    /// Frames of the burst not worked off.
    frames_left: usize,
    /// A channel has more messages than one turn allows: go on in this pass, after what is due.
    cut_short: bool,
    failed: Option<io::Error>,
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
            batch: command_batch(),
            due: Due { tick_ns: now_ns, timer_ns: now_ns, venue_timer_ns: now_ns, status_ns: now_ns, rehearsal_ns: now_ns },
            dirty: true,
            committed: 0,
            frames_ns: 0,
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
    fn freeze(&mut self) {
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
        let frames = self.network.receive(now);
        if frames > 0 {
            self.counters.frames += frames as u64;
            self.frames_ns = now;
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
        if self.dirty || self.committed > 0 {
            self.dirty = false;
            self.committed += self.network.transmit(clock.now_ns());
            self.kick(clock);
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
                    let tick = Tick { venue, seen_ns, turn_ns: clock.now_ns(), measured: true };
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
            let polled = self.poll_channel(venue, role, tick.seen_ns, clock);
            if !self.side.commands().is_empty() {
                self.send_orders(polled.complete_ns, tick, Purpose::Send, clock);
            }
            self.send_rest(venue, clock);
            if !polled.worked || polled.last {
                self.set_waiting(venue, role, None);
                return;
            }
            tick.turn_ns = clock.now_ns();
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
    fn poll_channel(&mut self, venue: usize, role: Role, seen_ns: u64, clock: &mut impl TimeSource) -> Polled {
        let HotLoop { venues, network, side, accounting, .. } = self;
        let slot = &mut venues[venue];
        let state = |slot: &VenueSlot<S, V>| {
            let channel = slot.channels[role.index()].as_ref().map(|c| &c.channel);
            channel.map_or((false, 0), |c| (c.is_connecting(), c.changes()))
        };
        let (connecting, changes) = state(slot);
        let before = accounting.before(connecting);
        let polled = slot.poll(role, network, side, clock, seen_ns);
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
        let sent = self.execute_commands(purpose, clock);
        if sent.messages == 0 || purpose == Purpose::Rehearse {
            return sent;
        }
        let last_ready_ns = clock.now_ns();
        if let (true, Some(complete_ns)) = (of_market && tick.measured, complete_ns) {
            let stages_ns = [
                tick.turn_ns - tick.seen_ns,
                complete_ns.saturating_sub(tick.turn_ns),
                decided_ns.saturating_sub(complete_ns),
                sent.encode_ns,
                sent.first_sealed_ns.saturating_sub(decided_ns).saturating_sub(sent.encode_ns),
                sent.first_ready_ns.saturating_sub(sent.first_sealed_ns),
            ];
            let whole = self.latency.record(tick.venue, stages_ns);
            self.latency.record_last(last_ready_ns.saturating_sub(tick.seen_ns));
            self.board.latency.record(whole);
        }
        if self.frames_left > 0 {
            self.kick(clock);
        }
        sent
    }

    /// Executes what the core wants sent, and what follows from it, up to a bound.
    #[inline(never)]
    fn execute_commands(&mut self, purpose: Purpose, clock: &mut impl TimeSource) -> Sent {
        let mut sent = Sent::default();
        for _ in 0..ROUNDS_MAX {
            let count = self.side.take_commands(&mut self.batch);
            if count == 0 {
                break;
            }
            for at in 0..count {
                let command = self.batch[at];
                if command.event_kind() == Some(EventKind::SendResync) {
                    self.resync(&command, clock);
                } else {
                    let more = self.execute(&command, purpose, clock);
                    if sent.messages == 0 {
                        sent.encode_ns += more.encode_ns;
                    }
                    if more.messages > 0 {
                        // Its frame is made at once: an order does not wait for the one behind it.
                        let sealed_ns = clock.now_ns();
                        self.committed += self.network.transmit(sealed_ns);
                        if sent.messages == 0 {
                            (sent.first_sealed_ns, sent.first_ready_ns) = (sealed_ns, clock.now_ns());
                        }
                    }
                    sent.messages += more.messages;
                }
            }
        }
        sent
    }

    /// Encodes one order command and seals it.
    #[inline]
    fn execute(&mut self, command: &Event, purpose: Purpose, clock: &mut impl TimeSource) -> Sent {
        let HotLoop { venues, network, side, .. } = self;
        let Some(slot) = venues.get_mut(command.venue_id().index()) else { return Sent::default() };
        let put = put_on_wire(slot, network, command, clock, purpose);
        if (put.lost || put.executed.is_err()) && purpose == Purpose::Send {
            let times = Times { core_ns: clock.now_ns(), poll_delay_ns: 0 };
            not_executed(slot, command, &put, times, side);
        }
        for request in slot.orders.requests().iter().filter(|_| purpose == Purpose::Send) {
            slot.counters.tasks_refused += u64::from(!slot.tasks.push(ColdTask::Request(*request)));
        }
        slot.orders.clear();
        Sent { encode_ns: put.encode_ns, messages: put.messages, ..Sent::default() }
    }

    fn resync(&mut self, command: &Event, clock: &mut impl TimeSource) {
        let Some(slot) = self.venues.get_mut(command.venue_id().index()) else { return };
        let times = Times { core_ns: clock.now_ns(), poll_delay_ns: 0 };
        let reason = BookInvalid::from_raw(command.code).unwrap_or(BookInvalid::Gap);
        slot.venue.resync(InstrumentId(command.instrument), reason, times, &mut self.side, &mut slot.out);
    }

    /// Sends what a codec wants sent besides orders, and hands its requests to the cold plane.
    #[inline]
    fn send_rest(&mut self, venue: usize, clock: &mut impl TimeSource) {
        let HotLoop { venues, network, .. } = self;
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
    fn settle(&mut self, clock: &mut impl TimeSource) {
        if !self.side.commands().is_empty() {
            self.side.take_market_orders();
            if self.execute_commands(Purpose::Send, clock).messages > 0 {
                self.dirty = true;
            }
        }
        for venue in 0..self.venues.len() {
            self.send_rest(venue, clock);
        }
    }

    /// The one system call.
    fn kick(&mut self, clock: &mut impl TimeSource) {
        if self.committed == 0 {
            return;
        }
        self.committed = 0;
        self.counters.kicks += 1;
        let before = clock.now_ns();
        if let Err(error) = self.network.flush(before) {
            self.failed = Some(error);
        }
        self.latency.record_kick(clock.now_ns() - before);
    }

    /// What is due each millisecond, and more rarely.
    fn tick(&mut self, now: u64, clock: &mut impl TimeSource) {
        self.due.tick_ns = now + TICK_NS;
        self.dirty = true;
        self.network.maintain(now);
        clock.slew();
        let times = Times { core_ns: clock.now_ns(), poll_delay_ns: 0 };
        self.side.watch_ring(times);
        self.take_control(clock);
        self.take_cold_results(clock);
        if now >= self.due.timer_ns {
            self.due.timer_ns = next_due(self.due.timer_ns, self.timing.timer_ns, now);
            let times = Times { core_ns: clock.now_ns(), poll_delay_ns: 0 };
            self.side.event(&Event::timer(times));
        }
        self.settle(clock);
        self.poll_all(clock);
        if now >= self.due.venue_timer_ns {
            self.due.venue_timer_ns = next_due(self.due.venue_timer_ns, VENUE_TIMER_NS, now);
            for slot in &mut self.venues {
                let times = Times { core_ns: clock.now_ns(), poll_delay_ns: 0 };
                slot.venue.on_timer(times, &mut self.side, &mut slot.out);
            }
        }
        self.watch_order_entry(clock);
        self.settle(clock);
        self.step_phase(clock);
        // A kick that was refused for the moment is tried again; a port that is gone is noticed without traffic.
        if let Err(error) = self.network.flush(now) {
            self.failed = Some(error);
        }
        if let Some(error) = self.failed.take() {
            self.ending = Ending::PortGone(error);
            self.phase = Phase::Ended;
        }
        if now >= self.due.status_ns || self.phase == Phase::Ended {
            self.due.status_ns = now + STATUS_NS;
            self.publish(now);
        }
    }

    /// True if nothing waits and nothing has come for a moment: the next frame of a burst must not find us rehearsing.
    #[inline]
    fn is_idle(&self, now: u64) -> bool {
        !self.dirty && self.committed == 0 && !self.cut_short && now.saturating_sub(self.frames_ns) >= QUIET_BEFORE_REHEARSAL_NS
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
                let orders = rehearsal.orders(self.side.core().desk());
                let mut messages = 0;
                if !orders.is_empty() && self.side.lend_commands(orders) {
                    let tick = Tick { venue: 0, seen_ns: now, turn_ns: now, measured: true };
                    messages = self.send_orders(Some(now), tick, Purpose::Rehearse, clock).messages;
                }
                if !rehearsal.answer(messages) {
                    break;
                }
            }
        }
        self.rehearsal = Some(rehearsal);
        let end = clock.now_ns();
        let spent = end - now;
        self.counters.rehearsing_ns += spent;
        self.counters.rehearsal_ns_max = self.counters.rehearsal_ns_max.max(spent);
        // However long it takes (many venues, many instruments), most of the time is the market's.
        self.due.rehearsal_ns = self.due.rehearsal_ns.max(end + REHEARSAL_PAUSE_MIN * spent);
    }

    /// Polls every channel: for its timers, and for messages that were left when its turn was over.
    fn poll_all(&mut self, clock: &mut impl TimeSource) {
        for venue in 0..self.venues.len() {
            for role in Role::ALL {
                if let Some(slot) = &self.venues[venue].channels[role.index()] {
                    let now = clock.now_ns();
                    let waited = slot.waiting_since;
                    let tick = Tick { venue, seen_ns: waited.unwrap_or(now), turn_ns: now, measured: waited.is_some() };
                    self.read_channel(venue, role, tick, clock);
                }
            }
        }
    }

    fn take_control(&mut self, clock: &mut impl TimeSource) {
        while let Some(control) = self.control.pop() {
            let times = Times { core_ns: clock.now_ns(), poll_delay_ns: 0 };
            match control {
                Control::None => {}
                Control::Command { kind, a, b } => self.side.event(&Event::command(kind, a, b, times)),
                Control::Stop => self.begin_stop(clock),
            }
        }
        if (self.progress.failed.load(Ordering::Relaxed) || self.side.is_deaf()) && !matches!(self.ending, Ending::JournalFailed) {
            self.ending = Ending::JournalFailed;
            self.begin_stop(clock);
        }
    }

    /// Takes what the cold plane has fetched: for a codec, or straight for the core.
    fn take_cold_results(&mut self, clock: &mut impl TimeSource) {
        let mut any = false;
        for at in 0..self.venues.len() {
            for _ in 0..COLD_PER_PASS_MAX {
                let Some(event) = self.venues[at].results.pop() else { break };
                any = true;
                self.take_cold(at, event, clock);
            }
        }
        if any {
            self.settle(clock);
        }
    }

    fn take_cold(&mut self, at: usize, event: Event, clock: &mut impl TimeSource) {
        let HotLoop { venues, side, .. } = self;
        let slot = &mut venues[at];
        let times = Times { core_ns: clock.now_ns(), poll_delay_ns: 0 };
        let now_stamped = |event: &Event| Event { core_time_ns: times.core_ns, poll_delay_ns: 0, ..*event };
        use EventKind as K;
        match event.event_kind() {
            Some(K::BookLevel | K::BookTouch | K::BookInvalid | K::ColdText) => {
                slot.venue.on_cold(&event, times, side, &mut slot.out);
            }
            Some(K::Reconcile) => {
                let begins = event.code == 0;
                if begins {
                    // The event's own time is when the venue was asked.
                    slot.stale_round = match slot.barrier {
                        Barrier::Down => true,
                        Barrier::Asked { since_ns, .. } => event.core_time_ns < since_ns,
                        Barrier::Done { .. } => false,
                    };
                }
                if slot.stale_round {
                    slot.stale_round = begins;
                    return;
                }
                side.event(&now_stamped(&event));
                if !begins {
                    slot.counters.reconciliations += 1;
                    slot.barrier = Barrier::Done { at_ns: times.core_ns };
                }
            }
            // A fee belongs to the fill that follows directly: nothing may come between them.
            Some(K::FillFee) => slot.held_fee = Some(event),
            Some(_) if event.is_input() => {
                if let Some(fee) = slot.held_fee.take() {
                    side.event(&now_stamped(&fee));
                }
                side.event(&now_stamped(&event));
            }
            _ => {}
        }
    }

    /// Asks for the venue's records whenever order entry has come up, and now and then; lets the old
    /// connection of a planned renewal go once the new one is ready.
    fn watch_order_entry(&mut self, clock: &mut impl TimeSource) {
        let HotLoop { venues, network, .. } = self;
        for slot in venues.iter_mut() {
            let now = clock.now_ns();
            for channel in slot.channels.iter_mut().flatten() {
                if slot.venue.is_ready(channel.role) {
                    channel.channel.retire_old(network, now);
                }
                if slot.venue.take_closing(channel.role) {
                    channel.channel.renew(now);
                }
            }
            let ready = slot.venue.is_ready(Role::OrderEntry);
            match slot.barrier {
                _ if !ready => slot.barrier = Barrier::Down,
                Barrier::Down => slot.ask_reconcile(now, now),
                Barrier::Asked { since_ns, asked_ns } if now - asked_ns >= self.timing.reconcile_retry_ns => {
                    slot.ask_reconcile(since_ns, now);
                }
                Barrier::Done { at_ns } if self.timing.reconcile_ns != 0 && now - at_ns >= self.timing.reconcile_ns => {
                    slot.ask_reconcile(now, now);
                }
                Barrier::Asked { .. } | Barrier::Done { .. } => {}
            }
            slot.pass_notice_on();
        }
    }

    /// Warm-up ends, a stop goes on.
    fn step_phase(&mut self, clock: &mut impl TimeSource) {
        let now = clock.now_ns();
        match self.phase {
            Phase::WarmUp => {
                let age = now.saturating_sub(self.started_ns);
                let settled = age >= self.timing.warm_up_ns && self.counters.passes >= WARM_UP_PASSES_MIN && self.all_open();
                if settled || age >= self.timing.warm_up_max_ns {
                    self.end_warm_up();
                }
            }
            Phase::Stopping => self.step_stopping(now, clock),
            Phase::Closing => self.step_closing(now),
            Phase::Starting | Phase::Running | Phase::Ended => {}
        }
    }

    fn all_open(&self) -> bool {
        self.venues.iter().all(|slot| {
            slot.channels.iter().flatten().all(|c| c.channel.is_open() && !c.channel.is_connecting() && slot.venue.is_ready(c.role))
        })
    }

    fn end_warm_up(&mut self) {
        self.latency.reset();
        self.board.latency.reset();
        self.counters.pass_ns_max = 0;
        self.counters.rehearsal_ns_max = 0;
        self.accounting.restart();
        self.warm = true;
        self.phase = Phase::Running;
    }

    fn begin_stop(&mut self, clock: &mut impl TimeSource) {
        if matches!(self.phase, Phase::Stopping | Phase::Closing | Phase::Ended) {
            return;
        }
        let now = clock.now_ns();
        self.freeze();
        self.phase = Phase::Stopping;
        self.winding = Winding { since_ns: now, cancel_again_ns: now + CANCEL_AGAIN_NS, ..Winding::default() };
        self.side.event(&Event::command(CommandKind::Shutdown, 0, 0, Times { core_ns: now, poll_delay_ns: 0 }));
    }

    /// Waits for the open orders to be gone; then for a last look at the venues' records.
    fn step_stopping(&mut self, now: u64, clock: &mut impl TimeSource) {
        let open = self.side.core().desk().orders().open_len();
        let waited = now.saturating_sub(self.winding.since_ns);
        if self.winding.reconciling {
            let done = self.venues.iter().all(|slot| !matches!(slot.barrier, Barrier::Asked { .. }));
            if done || waited >= LAST_RECONCILE_NS_MAX {
                self.close_all(now);
            }
            return;
        }
        if open > 0 && waited < self.timing.stop_ns {
            if now >= self.winding.cancel_again_ns {
                self.winding.cancel_again_ns = now + CANCEL_AGAIN_NS;
                let times = Times { core_ns: now, poll_delay_ns: 0 };
                self.side.event(&Event::command(CommandKind::CancelAll, 0, 0, times));
                self.settle(clock);
            }
            return;
        }
        if waited < QUIET_NS {
            return;
        }
        self.winding.orders_left = open > 0;
        self.winding.reconciling = true;
        self.winding.since_ns = now;
        for slot in self.venues.iter_mut().filter(|slot| slot.barrier != Barrier::Down) {
            slot.ask_reconcile(now, now);
        }
    }

    fn close_all(&mut self, now: u64) {
        self.phase = Phase::Closing;
        self.winding.closing_since_ns = Some(now);
        for slot in &mut self.venues {
            slot.last_barrier = slot.barrier;
            for channel in slot.channels.iter_mut().flatten() {
                channel.channel.shut_down(&mut self.network, now);
            }
        }
    }

    fn step_closing(&mut self, now: u64) {
        let closed = self.venues.iter().all(|slot| slot.channels.iter().flatten().all(|c| c.channel.is_closed()));
        let waited = now.saturating_sub(self.winding.closing_since_ns.unwrap_or(now));
        if closed || waited >= CLOSE_NS_MAX {
            self.phase = Phase::Ended;
        }
    }

    /// A line for the log of one venue.
    pub fn note(&mut self, venue: usize, text: std::fmt::Arguments<'_>) {
        if let Some(slot) = self.venues.get_mut(venue) {
            slot.task(notice(text));
        }
    }
}

/// The time after `due`, without catching up on what was missed.
fn next_due(due: u64, interval: u64, now: u64) -> u64 {
    let next = due + interval;
    if next > now { next } else { now + interval }
}
