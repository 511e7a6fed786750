//! A small core, and scripts in the place of network, channel, codec and clock, for tests of the hot loop.
#![allow(dead_code)] // Each test file uses a part of it.

use drivers::purpose::Purpose;
use drivers::spsc;
use engine_core::book::BookConfig;
use engine_core::config::{
    AssetLimits, Capacity, CoreConfig, GlobalLimits, InstrumentLimits, RateLimit, StrategyConfig, StrategyLimits, Timing, VenueConfig,
};
use engine_core::core::Core;
use engine_core::event::{BookInvalid, Event, EventKind, EventSink, FeedState, Side, Times, flags};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::{InstrumentId, OrderId, VenueId};
use engine_core::instrument::{AssetTable, Capabilities, Instrument, InstrumentTable};
use engine_core::state_hash::StateHasher;
use engine_core::strategy::{Context, NewOrder, OrderUpdate, Strategy};
use netstack::transport::SocketId;
use runtime::cold::journal_writer::WriterProgress;
use runtime::cold::rest_worker::ColdTask;
use runtime::engine::LoopTiming;
use runtime::engine::core_side::CoreSide;
use runtime::engine::hot_loop::{Control, HotLoop, Parts, VenueParts};
use runtime::engine::network::{Channel, ChannelCounters, ChannelEvents, Network, NotSent, TimeSource};
use runtime::engine::rehearsal::Rehearsal;
use runtime::engine::status::StatusBoard;
use runtime::report::LinkReport;
use runtime::ring;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use venues::outbox::{ColdRequest, Outbox};
use venues::venue::{Endpoint, ExecuteError, Link, MessageKind, Role, Venue, VenueCounters};

/// Where the scripts' time begins.
pub const START_NS: u64 = 1_800_000_000_000_000_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

fn money(text: &str) -> Money {
    Money::parse(text.as_bytes()).expect("a number")
}

/// One instrument `BTC/USDT` on each of `venues` venues, one strategy that trades them all.
pub fn config(venues: usize) -> CoreConfig {
    let mut assets = AssetTable::new();
    let (base, quote) = (assets.intern("BTC"), assets.intern("USDT"));
    let mut instruments = InstrumentTable::new();
    for venue in 0..venues {
        let instrument = Instrument {
            capabilities: Capabilities { replace: true, reduce: true, post_only: true },
            ..Instrument::new(VenueId(venue as u8), "BTC/USDT", [base, quote], [2, 3])
        };
        instruments.add(instrument).expect("a new instrument");
    }
    let rate = RateLimit::per_second(1_000);
    let limits = InstrumentLimits {
        order_min: Qty(1),
        order_max: Qty(1_000),
        position_max: Qty(100_000),
        notional_max: money("1000000"),
        open_orders_max: 100,
        price_collar_ppm: None,
        stale_after_ns: None,
    };
    CoreConfig {
        instrument_limits: vec![Some(limits); venues],
        asset_limits: vec![AssetLimits { asset: base, exposure_max: money("1000") }],
        venues: (0..venues)
            .map(|id| VenueConfig {
                name: format!("venue{id}"),
                exposure_max: money("10000000"),
                open_orders_max: 100,
                order_rate: rate,
                message_rate: rate,
                check_balance: false,
                require_reconcile: false,
                book: BookConfig { capacity: 64, window: None, top_only: false },
            })
            .collect(),
        strategies: vec![StrategyConfig {
            name: "scripted".into(),
            instruments: (0..venues).map(|id| InstrumentId(id as u16)).collect(),
            limits: StrategyLimits {
                position_max: money("1000"),
                exposure_max: None,
                open_orders_max: 100,
                daily_loss_max: money("1000000"),
                drawdown_max: None,
                order_rate: rate,
            },
            enabled: true,
        }],
        reporting_asset: quote,
        conversion: Vec::new(),
        limits: GlobalLimits {
            exposure_max: money("10000000"),
            daily_loss_max: money("1000000"),
            drawdown_max: money("1000000"),
            open_orders_max: 500,
            order_rate: rate,
            cancel_rate: rate,
            reject_burst: rate,
            fill_burst: rate,
            clock_skew_max_ns: S,
            duplicate_window_ns: 1,
            stale_after_ns: 3_600 * S,
            price_collar_ppm: 500_000,
            reduce_when_stale: false,
            suspend_on_foreign_order: false,
            halt_on_balance_mismatch: false,
        },
        timing: Timing::default(),
        capacity: Capacity { orders: 1_024, fills: 1_024, strategy_outputs: 64, trades: 16 },
        state_hash_every: 16,
        assets,
        instruments,
    }
}

/// Buys one lot at the best bid, on every venue whose book is good, whenever a book's bid moves; what is
/// refused it leaves be. Cancels everything of an instrument when its best bid's price ends in 13.
#[derive(Default)]
pub struct Eager {
    last_bid: [i64; 4],
    pub refused: u64,
}

impl Strategy for Eager {
    fn name(&self) -> &str {
        "eager"
    }

    fn on_book(&mut self, ctx: &mut Context<'_>, instrument: InstrumentId) {
        let Some(bid) = ctx.book(instrument).and_then(|b| b.best(Side::Buy)) else { return };
        let last = &mut self.last_bid[instrument.index() % 4];
        if bid.price.0 == *last {
            return;
        }
        *last = bid.price.0;
        if bid.price.0 % 100 == 13 {
            ctx.cancel_instrument(instrument);
            return;
        }
        for at in 0..ctx.own_instruments().len() {
            let target = ctx.own_instruments()[at];
            if ctx.book_state(target) == engine_core::strategy::BookState::Valid {
                let order = NewOrder { instrument: target, side: Side::Buy, price: bid.price, qty: Qty(1), post_only: true, ioc: false };
                let _ = ctx.place(order);
            }
        }
    }

    fn on_order(&mut self, _: &mut Context<'_>, update: &OrderUpdate) {
        self.refused += u64::from(update.reason.is_some());
    }

    fn hash_state(&self, hasher: &mut StateHasher) {
        self.last_bid.iter().for_each(|&bid| hasher.write_u64(bid as u64));
        hasher.write_u64(self.refused);
    }
}

/// A core of [`config`] with [`Eager`].
pub fn core(venues: usize) -> Core {
    Core::new(config(venues), vec![Box::new(Eager::default())]).expect("a valid configuration")
}

/// What the scripts wrote down, in order.
pub type Diary = Rc<RefCell<Vec<String>>>;

fn note(diary: &Diary, line: impl Into<String>) {
    diary.borrow_mut().push(line.into());
}

/// A network whose frames are given beforehand: each names the socket it feeds.
pub struct ScriptedNetwork {
    pub diary: Diary,
    /// Bursts to come.
    pub bursts: Rc<RefCell<VecDeque<Vec<u16>>>>,
    burst: VecDeque<u16>,
    /// What was sent over order entry, and over others, and is not in frames yet.
    written: Rc<RefCell<[usize; 2]>>,
    /// The next flush fails.
    pub gone: Rc<RefCell<bool>>,
}

pub fn socket(index: u16) -> SocketId {
    SocketId { index, generation: 1 }
}

impl Network for ScriptedNetwork {
    fn receive(&mut self, _: u64) -> usize {
        self.burst = self.bursts.borrow_mut().pop_front().unwrap_or_default().into();
        self.burst.len()
    }
    fn ingress_next(&mut self, _: u64) -> Option<Option<SocketId>> {
        let index = self.burst.pop_front()?;
        note(&self.diary, format!("frame {index}"));
        Some(Some(socket(index)))
    }
    fn transmit_urgent(&mut self, _: u64) -> usize {
        let count = std::mem::take(&mut self.written.borrow_mut()[0]);
        if count > 0 {
            note(&self.diary, format!("transmit {count}"));
        }
        count
    }
    fn transmit(&mut self, _: u64) -> usize {
        let count = std::mem::take(&mut *self.written.borrow_mut()).iter().sum();
        if count > 0 {
            note(&self.diary, format!("transmit all {count}"));
        }
        count
    }
    fn flush(&mut self, _: u64) -> io::Result<()> {
        if *self.gone.borrow() {
            return Err(io::Error::from_raw_os_error(libc::ENETDOWN));
        }
        note(&self.diary, "kick");
        Ok(())
    }
    fn maintain(&mut self, _: u64) {}
    fn set_priority(&mut self, socket: SocketId) {
        note(&self.diary, format!("priority {}", socket.index));
    }
    fn link(&self) -> LinkReport {
        LinkReport { driver: "script".into(), ..LinkReport::default() }
    }
}

/// What happens on a channel.
#[derive(Clone, Debug)]
pub enum Happening {
    Open,
    Message(String),
    Close,
}

/// A channel whose happenings are given beforehand.
pub struct ScriptedChannel {
    diary: Diary,
    socket: SocketId,
    role: Role,
    happenings: Rc<RefCell<VecDeque<Happening>>>,
    /// What was sent over order entry, and over others, and is not in frames yet.
    written: Rc<RefCell<[usize; 2]>>,
    /// Takes no message while true.
    full: Rc<RefCell<bool>>,
    open: bool,
    shut: bool,
    generation: u32,
    counters: ChannelCounters,
}

impl Channel<ScriptedNetwork> for ScriptedChannel {
    fn poll(&mut self, _: &mut ScriptedNetwork, _: u64, events: &mut impl ChannelEvents) -> bool {
        let Some(happening) = self.happenings.borrow_mut().pop_front() else { return false };
        match happening {
            Happening::Open => {
                self.open = true;
                self.generation += 1;
                self.counters.connects += 1;
                events.on_open(self.generation);
            }
            Happening::Message(text) => {
                note(&self.diary, format!("message {text}"));
                events.on_message(self.generation, MessageKind::Text, text.as_bytes());
            }
            Happening::Close => {
                self.open = false;
                self.counters.disconnects += 1;
                events.on_close(self.generation, &"the script says so");
            }
        }
        true
    }
    fn owns(&self, socket: SocketId) -> bool {
        self.socket == socket
    }
    fn send(&mut self, _: &mut ScriptedNetwork, message: &[u8], purpose: Purpose) -> Result<(), NotSent> {
        if !self.open || *self.full.borrow() {
            return Err(NotSent);
        }
        if purpose == Purpose::Rehearse {
            return Ok(());
        }
        self.written.borrow_mut()[usize::from(self.role != Role::OrderEntry)] += 1;
        note(&self.diary, format!("send {} {} {}", self.socket.index, self.role.as_str(), String::from_utf8_lossy(message)));
        Ok(())
    }
    fn is_open(&self) -> bool {
        self.open
    }
    fn is_connecting(&self) -> bool {
        !self.open
    }
    fn changes(&self) -> u64 {
        self.counters.connects + self.counters.disconnects
    }
    fn renew(&mut self, _: u64) {}
    fn retire_old(&mut self, _: &mut ScriptedNetwork, _: u64) {}
    fn shut_down(&mut self, _: &mut ScriptedNetwork, _: u64) {
        note(&self.diary, format!("shut down {}", self.socket.index));
        self.shut = true;
        self.open = false;
    }
    fn is_closed(&self) -> bool {
        self.shut
    }
    fn counters(&self) -> ChannelCounters {
        self.counters
    }
}

/// A codec for messages in words:
///
/// `book BID` a snapshot with that best bid · `bid OLD NEW` moves it · `ack ID` · `fill ID` · `canceled ID` ·
/// anything else is malformed. Ids are sequences of the epoch under way.
pub struct ScriptedVenue {
    id: VenueId,
    epoch: u16,
    open: [bool; 2],
    pub execute_error: Rc<RefCell<Option<ExecuteError>>>,
    resyncing: bool,
    adopted: Diary,
    rehearsed: Rc<RefCell<Vec<EventKind>>>,
    /// While it rehearses: the counters before.
    rehearsal: Option<VenueCounters>,
    counters: VenueCounters,
}

impl ScriptedVenue {
    fn level(&self, side: Side, price: i64, qty: i64, flags: u8, times: Times) -> Event {
        Event::book_level(self.id, InstrumentId(self.id.0.into()), side, Price(price), Qty(qty), 0, times).with(flags)
    }
}

impl Venue for ScriptedVenue {
    fn name(&self) -> &'static str {
        "scripted"
    }
    fn endpoints(&self) -> &[Endpoint] {
        &[]
    }
    fn on_open(&mut self, link: Link, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        self.open[link.role.index()] = true;
        sink.event(&Event::feed_status(self.id, link.role as u8, FeedState::Up, times));
        out.send_bytes(link.role, b"subscribe");
    }
    fn on_close(&mut self, link: Link, times: Times, sink: &mut impl EventSink, _: &mut Outbox) {
        self.open[link.role.index()] = false;
        sink.event(&Event::feed_status(self.id, link.role as u8, FeedState::Down, times));
    }
    fn on_message(&mut self, _: Link, _: MessageKind, payload: &[u8], times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        self.counters.messages += 1;
        let text = String::from_utf8_lossy(payload).into_owned();
        let words: Vec<&str> = text.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|w| w.parse::<i64>().ok()).unwrap_or(0);
        let order = OrderId::new(self.epoch, number(1) as u32);
        let instrument = InstrumentId(self.id.0.into());
        match words[0] {
            "pong" => {
                out.send_bytes(Role::MarketData, b"pong");
            }
            "book" => {
                self.resyncing = false;
                sink.event(&self.level(Side::Buy, number(1), 10, flags::CLEAR | flags::SNAPSHOT, times));
                sink.event(&self.level(Side::Sell, number(1) + 5_000, 10, flags::SNAPSHOT | flags::LAST, times));
            }
            "bid" => {
                sink.event(&self.level(Side::Buy, number(1), 0, 0, times));
                sink.event(&self.level(Side::Buy, number(2), 10, flags::LAST, times));
            }
            "ack" => sink.event(&Event::order_report(EventKind::OrderAck, self.id, instrument, order, times).with(flags::LAST)),
            "fill" => {
                let fill = Event::fill(self.id, instrument, order, Side::Buy, Price(number(2)), Qty(1), number(1) as u64, times);
                sink.event(&fill.with(flags::LAST));
            }
            "canceled" => {
                let gone = Event::order_gone(EventKind::OrderCanceled, self.id, instrument, order, None, times);
                sink.event(&gone.with(flags::LAST));
            }
            _ => self.counters.malformed += 1,
        }
    }
    fn on_cold(&mut self, event: &Event, _: Times, sink: &mut impl EventSink, _: &mut Outbox) {
        note(&self.adopted, format!("cold {:?}", event.event_kind()));
        if event.event_kind() == Some(EventKind::BookLevel) {
            sink.event(event);
        }
    }
    fn on_timer(&mut self, _: Times, _: &mut impl EventSink, _: &mut Outbox) {}
    fn execute(&mut self, command: &Event, _: Times, out: &mut Outbox) -> Result<(), ExecuteError> {
        if self.rehearsal.is_some() {
            out.send_bytes(Role::OrderEntry, format!("rehearse {}", command.order_id()).as_bytes());
            return Ok(());
        }
        if let Some(error) = *self.execute_error.borrow() {
            return Err(error);
        }
        if !self.open[Role::OrderEntry.index()] {
            return Err(ExecuteError::NotConnected);
        }
        let kind = command.event_kind().map_or("?", EventKind::as_str);
        let text = format!("{kind} {} {}", command.order_id().sequence(), command.order_price().0);
        self.counters.requests += 1;
        if out.send_bytes(Role::OrderEntry, text.as_bytes()) { Ok(()) } else { Err(ExecuteError::Full) }
    }
    fn resync(&mut self, instrument: InstrumentId, reason: BookInvalid, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        if std::mem::replace(&mut self.resyncing, true) {
            return;
        }
        sink.event(&Event::book_invalid(self.id, instrument, reason, times));
        out.send_bytes(Role::MarketData, b"resync");
        out.request(ColdRequest::BookSnapshot { instrument });
    }
    fn is_ready(&self, role: Role) -> bool {
        self.open[role.index()]
    }
    fn adopt_order(&mut self, order: OrderId, _: InstrumentId, _: Option<&str>) {
        note(&self.adopted, format!("adopt {order}"));
    }
    fn counters(&self) -> &VenueCounters {
        &self.counters
    }
    fn take_notice(&mut self) -> Option<&str> {
        None
    }
    fn begin_rehearsal(&mut self, command: &Event, _: Times) -> bool {
        assert!(self.rehearsal.is_none(), "one at a time");
        self.rehearsed.borrow_mut().extend(command.event_kind());
        self.rehearsal = Some(self.counters);
        true
    }
    fn end_rehearsal(&mut self, _: &Event) {
        self.counters = self.rehearsal.take().expect("it began");
    }
}

/// A clock that a test moves.
pub struct ScriptedClock {
    pub now: Rc<RefCell<u64>>,
    /// What each reading takes.
    pub reading_ns: u64,
}

impl TimeSource for ScriptedClock {
    fn now_ns(&mut self) -> u64 {
        let mut now = self.now.borrow_mut();
        *now += self.reading_ns;
        *now
    }
    fn slew(&mut self) {}
}

/// The test's ends of one venue.
pub struct VenueEnds {
    pub market_data: Rc<RefCell<VecDeque<Happening>>>,
    pub order_entry: Rc<RefCell<VecDeque<Happening>>>,
    pub order_entry_full: Rc<RefCell<bool>>,
    pub execute_error: Rc<RefCell<Option<ExecuteError>>>,
    pub tasks: spsc::Consumer<ColdTask>,
    pub results: spsc::Producer<Event>,
    /// Kinds of the commands rehearsed.
    pub rehearsed: Rc<RefCell<Vec<EventKind>>>,
}

impl VenueEnds {
    /// Requests handed to the cold plane since last asked.
    pub fn requests(&mut self) -> Vec<ColdRequest> {
        let mut requests = Vec::new();
        while let Some(task) = self.tasks.pop() {
            if let ColdTask::Request(request) = task {
                requests.push(request);
            }
        }
        requests
    }
}

/// A loop with scripts all around it. Venue `v` has market data on socket `2 * v`, order entry on `2 * v + 1`.
pub struct Stage {
    pub hot: HotLoop<ScriptedNetwork, ScriptedChannel, ScriptedVenue>,
    pub clock: ScriptedClock,
    pub now: Rc<RefCell<u64>>,
    pub diary: Diary,
    pub bursts: Rc<RefCell<VecDeque<Vec<u16>>>>,
    pub gone: Rc<RefCell<bool>>,
    pub venues: Vec<VenueEnds>,
    pub control: spsc::Producer<Control>,
    pub board: Arc<StatusBoard>,
    pub progress: Arc<WriterProgress>,
    pub ring: ring::Consumer,
    /// All events drained so far.
    pub events: Vec<Event>,
}

/// Times for tests: no warm-up, no periodic reconciliation.
pub fn timing() -> LoopTiming {
    LoopTiming { reconcile_ns: 0, warm_up_ns: 0, warm_up_max_ns: 0, stop_ns: 2 * S, ..LoopTiming::default() }
}

impl Stage {
    /// A stage around `core`, with a ring of `capacity` slots, its first event having sequence `first`.
    pub fn new(core: Core, venues: usize, capacity: usize, epoch: u16) -> Stage {
        let (producer, consumer) = ring::in_process(capacity, 1).expect("a ring");
        Stage::with_ring(core, venues, producer, consumer, epoch)
    }

    /// As [`Stage::new`], with rehearsals.
    pub fn rehearsing(venues: usize) -> Stage {
        Stage::rehearsing_for(venues, u32::MAX)
    }

    /// The second core begins a new session after so many orders.
    pub fn rehearsing_for(venues: usize, orders: u32) -> Stage {
        let (producer, consumer) = ring::in_process(4_096, 1).expect("a ring");
        let rehearsal = Rehearsal::new(core(venues), START_NS).expect("a ring").with_session_length(orders);
        Stage::with(core(venues), venues, producer, consumer, 1, Some(Box::new(rehearsal)))
    }

    pub fn with_ring(core: Core, venues: usize, producer: ring::Producer, consumer: ring::Consumer, epoch: u16) -> Stage {
        Stage::with(core, venues, producer, consumer, epoch, None)
    }

    fn with(
        core: Core,
        venues: usize,
        producer: ring::Producer,
        consumer: ring::Consumer,
        epoch: u16,
        rehearsal: Option<Box<Rehearsal>>,
    ) -> Stage {
        let diary = Diary::default();
        let written = Rc::new(RefCell::new([0; 2]));
        let (mut parts, mut ends) = (Vec::new(), Vec::new());
        for id in 0..venues {
            let (task_producer, tasks) = spsc::ring(256);
            let (results, result_consumer) = spsc::ring(256);
            let end = VenueEnds {
                market_data: Rc::default(),
                order_entry: Rc::default(),
                order_entry_full: Rc::default(),
                execute_error: Rc::default(),
                tasks,
                results,
                rehearsed: Rc::default(),
            };
            let channel = |role: Role, happenings: &Rc<RefCell<VecDeque<Happening>>>| {
                let channel = ScriptedChannel {
                    diary: Rc::clone(&diary),
                    socket: socket((2 * id + role.index()) as u16),
                    role,
                    happenings: Rc::clone(happenings),
                    written: Rc::clone(&written),
                    full: if role == Role::OrderEntry { Rc::clone(&end.order_entry_full) } else { Rc::default() },
                    open: false,
                    shut: false,
                    generation: 0,
                    counters: ChannelCounters::default(),
                };
                (role, channel)
            };
            let venue = ScriptedVenue {
                id: VenueId(id as u8),
                epoch,
                open: [false; 2],
                execute_error: Rc::clone(&end.execute_error),
                resyncing: false,
                adopted: Rc::clone(&diary),
                rehearsed: Rc::clone(&end.rehearsed),
                rehearsal: None,
                counters: VenueCounters::default(),
            };
            let channels = vec![channel(Role::MarketData, &end.market_data), channel(Role::OrderEntry, &end.order_entry)];
            parts.push(VenueParts { venue, channels, tasks: task_producer, results: result_consumer });
            ends.push(end);
        }
        let bursts = Rc::<RefCell<VecDeque<Vec<u16>>>>::default();
        let gone = Rc::<RefCell<bool>>::default();
        let network = ScriptedNetwork {
            diary: Rc::clone(&diary),
            bursts: Rc::clone(&bursts),
            burst: VecDeque::new(),
            written,
            gone: Rc::clone(&gone),
        };
        let (control, controls) = spsc::ring(16);
        let (board, progress) = (StatusBoard::new(), Arc::new(WriterProgress::default()));
        let now = Rc::new(RefCell::new(START_NS));
        let parts = Parts {
            network,
            venues: parts,
            side: CoreSide::new(core, producer, Arc::clone(&progress)),
            control: controls,
            board: Arc::clone(&board),
            progress: Arc::clone(&progress),
            timing: timing(),
            epoch,
            rehearsal,
        };
        let mut stage = Stage {
            hot: HotLoop::new(parts, START_NS),
            clock: ScriptedClock { now: Rc::clone(&now), reading_ns: 1 },
            now,
            diary,
            bursts,
            gone,
            venues: ends,
            control,
            board,
            progress,
            ring: consumer,
            events: Vec::new(),
        };
        let times = Times { core_ns: START_NS, poll_delay_ns: 0 };
        let mut start = Event::new(EventKind::SessionStart, VenueId(0), times).with(flags::LAST);
        (start.a, start.b) = (u64::from(epoch), 99);
        stage.hot.begin_session(&start, &mut stage.clock);
        stage
    }

    /// Opens both channels of every venue and gives each book a best bid of 1,000,000.
    pub fn opened(self) -> Stage {
        let mut stage = self.opened_undrained();
        stage.pass(); // What an order's pass has left to say.
        stage.drain();
        for venue in &mut stage.venues {
            venue.requests();
        }
        stage.diary.borrow_mut().clear();
        stage
    }

    /// As [`Stage::opened`]; ring and diary keep what happened.
    pub fn opened_undrained(mut self) -> Stage {
        for venue in &self.venues {
            venue.order_entry.borrow_mut().push_back(Happening::Open);
        }
        self.tick();
        for venue in &self.venues {
            venue.market_data.borrow_mut().extend([Happening::Open, Happening::Message("book 1000000".into())]);
        }
        self.tick();
        self
    }

    /// One pass.
    pub fn pass(&mut self) -> bool {
        self.hot.pass(&mut self.clock)
    }

    /// A millisecond goes by, and what is due is done.
    pub fn tick(&mut self) -> bool {
        self.wait_ms(1)
    }

    /// Time goes by, then a pass.
    pub fn wait_ms(&mut self, ms: u64) -> bool {
        *self.now.borrow_mut() += ms * MS;
        self.pass()
    }

    /// A message comes in a frame of its own, in the next burst.
    pub fn message(&mut self, venue: usize, role: Role, text: &str) {
        let end = &self.venues[venue];
        let happenings = if role == Role::MarketData { &end.market_data } else { &end.order_entry };
        happenings.borrow_mut().push_back(Happening::Message(text.into()));
        self.bursts.borrow_mut().push_back(vec![(2 * venue + role.index()) as u16]);
    }

    /// The diary since last asked.
    pub fn diary(&self) -> Vec<String> {
        std::mem::take(&mut *self.diary.borrow_mut())
    }

    /// Takes everything out of the ring; what came since last asked.
    pub fn drain(&mut self) -> Vec<Event> {
        let mut fresh = Vec::new();
        while let Some(event) = self.ring.pop() {
            fresh.push(event);
        }
        self.events.extend_from_slice(&fresh);
        fresh
    }
}

/// The kinds of events, for comparing.
pub fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().filter_map(|e| e.event_kind().map(EventKind::as_str)).collect()
}
