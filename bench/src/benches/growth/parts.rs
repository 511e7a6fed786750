//! What the hot loops that are measured are made of, whatever their network: markets at venues, codecs, a core, a clock, and
//! the cold plane's part.

use super::desk;
use super::market::{Market, Pool, Protocol, name};
use anyhow::{Context, ensure};
use drivers::spsc;
use engine_core::core::Core;
use engine_core::event::{Event, EventKind, Times, flags};
use engine_core::ids::{InstrumentId, VenueId};
use engine_core::instrument::{AssetTable, InstrumentTable};
use runtime::clock::Clock;
use runtime::cold::journal_writer::WriterProgress;
use runtime::cold::rest_worker::ColdTask;
use runtime::engine::LoopTiming;
use runtime::engine::core_side::CoreSide;
use runtime::engine::hot_loop::{Control, Parts};
use runtime::engine::network::TimeSource;
use runtime::engine::status::StatusBoard;
use runtime::ring;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use venues::any::{AnyVenue, any_venue, default_hosts};
use venues::outbox::ColdRequest;
use venues::venue::{Credentials, Encoding, Hosts, Role, VenueInit, VenueSettings};

/// This run's epoch.
pub const EPOCH: u16 = 1;
/// Events that the journal's ring holds.
const RING: usize = 1 << 14;
/// Tasks and results between the loop and the cold plane, of one venue.
const COLD: usize = 1 << 10;
/// A token as Kraken gives them.
const TOKEN: &[u8] = b"Xk3abcdefghijklmnopqrstuvwxyz0123456789+/AB";
/// A key made for measurements, of no account.
const KRAKEN_SECRET: &str = "ZW5naW5lLXVuaXQtdGVzdC1zZWNyZXQta3Jha2VuLXNwb3QtNjQtYnl0ZXMtbG9uZy0wMTIzNDU2Nzg5YWJjZA==";

/// Which markets there are, and where.
pub struct Layout {
    /// By venue id.
    pub venues: Vec<Protocol>,
    /// By instrument id, with the names of their assets.
    markets: Vec<(Market, String)>,
}

/// The pools of both protocols.
pub struct Pools([Rc<Pool>; 2]);

impl Pools {
    /// From a seed.
    pub fn new(seed: u64) -> anyhow::Result<Pools> {
        Ok(Pools([Pool::new(Protocol::Binance, seed)?, Pool::new(Protocol::Kraken, seed)?]))
    }

    fn of(&self, protocol: Protocol) -> &Rc<Pool> {
        &self.0[protocol as usize]
    }
}

impl Layout {
    /// The same asset at each of these venues.
    pub fn over_venues(pools: &Pools, venues: &[Protocol]) -> Layout {
        let market = |(id, protocol): (usize, &Protocol)| {
            (Market::new(pools.of(*protocol), VenueId(id as u8), InstrumentId(id as u16), &name(0)), name(0))
        };
        Layout { venues: venues.to_vec(), markets: venues.iter().enumerate().map(market).collect() }
    }

    /// So many assets at one venue, or at as few of a protocol as carry them.
    pub fn over_instruments(pools: &Pools, protocol: Protocol, count: usize) -> Layout {
        let venues = count.div_ceil(protocol.instruments_max());
        let market = |id: usize| {
            let venue = VenueId((id * venues / count) as u8);
            (Market::new(pools.of(protocol), venue, InstrumentId(id as u16), &name(id)), name(id))
        };
        Layout { venues: vec![protocol; venues], markets: (0..count).map(market).collect() }
    }

    /// The core, the codecs and the markets. `orders`: with accounts to trade on; `hosts` where a venue is, if it matters.
    pub fn build(self, orders: bool, hosts: impl Fn(VenueId) -> Option<Hosts>) -> anyhow::Result<Built> {
        let (instruments, assets) = desk::tables(&self.markets)?;
        let venue = |(id, protocol): (usize, &Protocol)| {
            let id = VenueId(id as u8);
            codec(*protocol, id, orders, hosts(id), &instruments, &assets)
        };
        let codecs = self.venues.iter().enumerate().map(venue).collect::<anyhow::Result<_>>()?;
        let core = desk::core(self.venues.len(), instruments, assets, false)?;
        Ok(Built { core, codecs, markets: self.markets.into_iter().map(|(market, _)| market).collect() })
    }
}

/// The codec of a venue. `orders`: with an account to trade on.
pub fn codec(
    protocol: Protocol,
    id: VenueId,
    orders: bool,
    hosts: Option<Hosts>,
    instruments: &InstrumentTable,
    assets: &AssetTable,
) -> anyhow::Result<AnyVenue> {
    let usual = || default_hosts(protocol.as_str()).context("a venue without hosts");
    let secret = if protocol == Protocol::Kraken { KRAKEN_SECRET } else { "" };
    let credentials = || Credentials { api_key: "measured".into(), secret: secret.to_owned().into(), ed25519_seed: Some([7; 32].into()) };
    let settings = VenueSettings {
        id,
        hosts: hosts.map_or_else(usual, Ok)?,
        credentials: orders.then(credentials),
        encoding: Encoding::Json,
        dead_man_s: 0,
        cancel_reserve_percent: 20,
        request_window_ms: 0,
    };
    Ok(any_venue(protocol.as_str(), VenueInit { settings, instruments, assets, epoch: EPOCH })?)
}

/// What a [`Layout`] gives.
pub struct Built {
    /// The core.
    pub core: Core,
    /// By venue id.
    pub codecs: Vec<AnyVenue>,
    /// By instrument id.
    pub markets: Vec<Market>,
}

/// The time of a loop, which can be moved on: an order needs not wait until the venues' rate limits allow the next.
pub enum SkippingClock {
    /// The engine's clock, and how far it was moved on.
    Running(Box<Clock>, u64),
    /// Time that goes by with each look at it only: the same in every run.
    Scripted(u64),
}

impl SkippingClock {
    /// Begins in 2026.
    const SCRIPT_BEGINS_NS: u64 = 1_767_225_600_000_000_000;
    /// What a look takes.
    const LOOK_NS: u64 = 20;

    /// Now.
    pub fn running() -> SkippingClock {
        SkippingClock::Running(Box::new(Clock::new()), 0)
    }

    /// For counting instructions.
    pub const fn scripted() -> SkippingClock {
        SkippingClock::Scripted(Self::SCRIPT_BEGINS_NS)
    }

    /// So much time goes by at once.
    pub fn skip(&mut self, ns: u64) {
        match self {
            SkippingClock::Running(_, skipped) => *skipped += ns,
            SkippingClock::Scripted(now) => *now += ns,
        }
    }
}

impl TimeSource for SkippingClock {
    #[inline]
    fn now_ns(&mut self) -> u64 {
        match self {
            SkippingClock::Running(clock, skipped) => clock.now_ns() + *skipped,
            SkippingClock::Scripted(now) => {
                *now += Self::LOOK_NS;
                *now
            }
        }
    }

    fn slew(&mut self) {
        if let SkippingClock::Running(clock, _) = self {
            clock.slew();
        }
    }
}

/// What must live as long as a loop: the far ends of its rings.
pub struct Ends {
    /// The journal's ring.
    pub journal: ring::Consumer,
    _control: spsc::Producer<Control>,
}

/// The parts of a loop around a core, without its network and venues.
pub fn parts<N, S, V>(network: N, core: Core) -> anyhow::Result<(Parts<N, S, V>, Ends)> {
    let (producer, journal) = ring::in_process(RING, 1)?;
    let (control, controls) = spsc::ring(16);
    let progress = Arc::new(WriterProgress::default());
    let parts = Parts {
        network,
        venues: Vec::new(),
        side: CoreSide::new(core, producer, Arc::clone(&progress)),
        control: controls,
        board: StatusBoard::new(),
        progress,
        timing: LoopTiming { reconcile_ns: 0, warm_up_ns: 0, warm_up_max_ns: 0, ..LoopTiming::default() },
        epoch: EPOCH,
        rehearsal: None,
    };
    Ok((parts, Ends { journal, _control: control }))
}

/// The event with which a session begins.
pub fn session_start(now_ns: u64) -> Event {
    let start = Event::new(EventKind::SessionStart, VenueId(0), Times { core_ns: now_ns, poll_delay_ns: 0 });
    Event { a: u64::from(EPOCH), b: 1, ..start }.with(flags::LAST)
}

impl Ends {
    /// Takes everything out of the journal's ring: how many events, and whether one says that a book is not to be trusted.
    pub fn drain(&mut self) -> (u64, bool) {
        let (mut events, mut invalid) = (0, false);
        while let Some(event) = self.journal.pop() {
            events += 1;
            invalid |= event.event_kind() == Some(EventKind::BookInvalid);
        }
        (events, invalid)
    }
}

/// The cold plane of one venue: snapshots and tokens, at once.
pub struct Cold {
    venue: VenueId,
    tasks: spsc::Consumer<ColdTask>,
    results: spsc::Producer<Event>,
    waiting: VecDeque<Event>,
}

impl Cold {
    /// With the loop's ends of its rings.
    pub fn new(venue: VenueId) -> (Cold, spsc::Producer<ColdTask>, spsc::Consumer<Event>) {
        let (task_producer, tasks) = spsc::ring(COLD);
        let (results, result_consumer) = spsc::ring(COLD);
        (Cold { venue, tasks, results, waiting: VecDeque::new() }, task_producer, result_consumer)
    }

    /// Answers what was asked for; true if anything was.
    pub fn serve(&mut self, markets: &[Market], now_ns: u64) -> bool {
        let times = Times { core_ns: now_ns, poll_delay_ns: 0 };
        while let Some(task) = self.tasks.pop() {
            match task {
                ColdTask::Request(ColdRequest::BookSnapshot { instrument }) => {
                    let market = markets.get(instrument.index());
                    self.waiting.extend(market.into_iter().flat_map(|market| market.cold_snapshot(times)));
                }
                ColdTask::Request(ColdRequest::Token { role }) => self.waiting.extend(token(self.venue, role, times)),
                ColdTask::Request(_) | ColdTask::Notice { .. } | ColdTask::None => {}
            }
        }
        let any = !self.waiting.is_empty();
        while let Some(event) = self.waiting.front() {
            if !self.results.push(*event) {
                break;
            }
            self.waiting.pop_front();
        }
        any
    }
}

/// A token in pieces, as it comes through the ring.
pub fn token(venue: VenueId, role: Role, times: Times) -> Vec<Event> {
    let pieces: Vec<&[u8]> = TOKEN.chunks(32).collect();
    let event = |(at, piece): (usize, &&[u8])| {
        let mut words = [0; 32];
        words[..piece.len()].copy_from_slice(piece);
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| words[8 * at + i]));
        let mark = flags::COLD | if at + 1 == pieces.len() { flags::LAST } else { 0 };
        let text = Event { side: role as u8, code: piece.len() as u32, ..Event::new(EventKind::ColdText, venue, times) };
        Event { a: word(0), b: word(1), c: word(2), d: word(3), ..text }.with(mark)
    };
    pieces.iter().enumerate().map(event).collect()
}

/// All books are good.
pub fn check_books(core: &Core, markets: &[Market]) -> anyhow::Result<()> {
    for market in markets {
        let good = core.desk().book(market.instrument).is_some_and(engine_core::book::Book::is_valid);
        ensure!(good, "the book of instrument {} of venue {} is not good", market.instrument.0, market.venue.0);
    }
    Ok(())
}
