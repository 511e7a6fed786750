//! What the next order, cancel or replace changes was touched before it; and touching changes nothing.
#![allow(clippy::inconsistent_digit_grouping, reason = "prices are written as units and cents")]

mod support;

use engine_core::core::Core;
use engine_core::event::*;
use engine_core::fixed::{Price, Qty};
use engine_core::ids::*;
use engine_core::instrument::Instrument;
use engine_core::prefetch::lines;
use engine_core::state_hash::StateHasher;
use engine_core::strategy::{Context, Strategy};
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use support::*;

thread_local! {
    static NOTED: Cell<bool> = const { Cell::new(false) };
    static MEMORY: RefCell<Vec<(usize, usize)>> = const { RefCell::new(Vec::new()) };
}

/// Notes what the thread allocates while asked to.
struct Noting;

// SAFETY: every call is handed on to the system's allocator; noting is done with it turned off.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the system allocator's. Zeroed, so that all of it can be read.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        if NOTED.try_with(|noted| noted.replace(false)) == Ok(true) {
            MEMORY.with_borrow_mut(|memory| memory.push((pointer.addr(), layout.size())));
            NOTED.set(true);
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if NOTED.try_with(|noted| noted.replace(false)) == Ok(true) {
            MEMORY.with_borrow_mut(|memory| memory.retain(|&(at, _)| at != pointer.addr()));
            NOTED.set(true);
        }
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static NOTING: Noting = Noting;

/// The lines of all memory of a core, with what is on them.
fn snapshot(memory: &[(usize, usize)]) -> Vec<(usize, [u64; 8])> {
    let mut all = Vec::new();
    for &(from, bytes) in memory {
        let mut line = from / 64 * 64;
        while line < from + bytes {
            let word = |at: usize| {
                let address = line + at * 8;
                if address < from || address + 8 > from + bytes {
                    return 0;
                }
                // SAFETY: within one allocation of the core, which lives; it was zeroed, and nobody writes to it meanwhile.
                unsafe { std::ptr::with_exposed_provenance::<u64>(address).read_volatile() }
            };
            all.push((line, std::array::from_fn(word)));
            line += 64;
        }
    }
    all
}

/// The lines that are not as they were.
fn changed(before: &[(usize, [u64; 8])], after: &[(usize, [u64; 8])]) -> BTreeSet<usize> {
    before.iter().zip(after).filter(|(before, after)| before.1 != after.1).map(|(line, _)| line.0).collect()
}

/// Asks for something when a book changes.
struct Actor(Arc<Mutex<Option<Ask>>>);

impl Strategy for Actor {
    fn name(&self) -> &str {
        "actor"
    }

    fn on_book(&mut self, ctx: &mut Context<'_>, _instrument: InstrumentId) {
        match self.0.lock().unwrap().take() {
            None => {}
            Some(Ask::Place(order)) => _ = ctx.place(order).unwrap(),
            Some(Ask::Replace(order, price, qty)) => ctx.replace(order, price, qty).unwrap(),
            Some(Ask::Cancel(order)) => ctx.cancel(order).unwrap(),
            Some(Ask::Both(first, second)) => assert!(ctx.place_both(first, second)),
            Some(ask) => panic!("{ask:?}"),
        }
    }

    fn hash_state(&self, _hasher: &mut StateHasher) {}
}

const VENUES: usize = 20;
const STRATEGIES: usize = 20;
/// After so many calls all has been touched: each takes 16 venues and strategies, 32 of a strategy's instruments and open orders.
const CALLS: usize = 2;
const OPEN_MAX: usize = 48;

/// A core of more venues, strategies and instruments than one call touches.
struct Wide {
    core: Box<Core>,
    memory: Vec<(usize, usize)>,
    asks: Vec<Arc<Mutex<Option<Ask>>>>,
    instruments: Vec<Instrument>,
    now_ns: u64,
    sequence: u64,
    /// Lines that changes of the books change.
    ticked: BTreeSet<usize>,
}

impl Wide {
    fn new() -> Wide {
        let of = |strategy: usize| [0, 7, 20].map(|more| InstrumentId(((strategy + more) % (2 * VENUES)) as u16));
        let strategies = (0..STRATEGIES).map(|at| strategy_config(&format!("s{at}"), &of(at))).collect();
        let mut config = config(strategies);
        let model = config.instruments.get(BTC_A).unwrap().clone();
        for at in config.instruments.len()..2 * VENUES {
            let venue = VenueId((at / 2) as u8);
            config.instruments.add(Instrument { venue, symbol: format!("S{at}"), ..model.clone() }).unwrap();
        }
        config.instrument_limits = vec![config.instrument_limits[0]; 2 * VENUES];
        config.venues = (0..VENUES).map(|at| config.venues[at % 2].clone()).collect();
        // Rates with few slots: each of them goes round.
        let rate = engine_core::config::RateLimit::per_second(21);
        for venue in &mut config.venues {
            (venue.order_rate, venue.message_rate) = (rate, rate);
        }
        config.strategies.iter_mut().for_each(|strategy| strategy.limits.order_rate = rate);
        (config.limits.order_rate, config.limits.cancel_rate, config.limits.fill_burst) = (rate, rate, rate);
        config.limits.open_orders_max = 64;
        config.capacity.orders = 200;
        config.capacity.fills = 256;
        config.capacity.strategy_outputs = 64;
        let instruments: Vec<Instrument> = config.instruments.iter().map(|(_, instrument)| instrument.clone()).collect();
        let asks: Vec<Arc<Mutex<Option<Ask>>>> = (0..STRATEGIES).map(|_| Arc::default()).collect();
        let strategies: Vec<Box<dyn Strategy>> = asks.iter().map(|ask| Box::new(Actor(ask.clone())) as Box<dyn Strategy>).collect();
        NOTED.set(true);
        let core = Core::new(config, strategies).map(Box::new);
        NOTED.set(false);
        let core = core.unwrap();
        let memory = MEMORY.take();
        let mut wide = Wide { core, memory, asks, instruments, now_ns: START_NS, sequence: 1, ticked: BTreeSet::new() };
        wide.start();
        wide
    }

    fn times(&self) -> Times {
        Times { core_ns: self.now_ns, poll_delay_ns: 0 }
    }

    fn start(&mut self) {
        let times = self.times();
        self.core.apply(&Event { a: 1, b: 7, ..Event::new(EventKind::SessionStart, VenueId(0), times) });
        for venue in (0..VENUES).map(|at| VenueId(at as u8)) {
            for role in [0, 1] {
                self.core.apply(&Event::feed_status(venue, role, FeedState::Up, times));
            }
            for asset in [BTC, USDT, ETH] {
                let total = units(50_000_000);
                self.core.apply(&Event::balance(venue, asset, total, total, times).with(flags::COLD | flags::SNAPSHOT));
            }
            for code in [0, 1] {
                self.core.apply(&Event { code, ..Event::new(EventKind::Reconcile, venue, times) }.with(flags::COLD | flags::LAST));
            }
        }
        for at in 0..self.instruments.len() {
            let level = |side, price| self.level(at, side, price, 10 * COIN);
            let events = [level(Side::Buy, 49_990_00).with(flags::CLEAR), level(Side::Sell, 50_010_00).with(flags::LAST)];
            events.iter().for_each(|event| _ = self.core.apply(event));
        }
        let before = snapshot(&self.memory);
        for at in 0..self.instruments.len() {
            self.tick(at);
        }
        self.ticked = changed(&before, &snapshot(&self.memory));
    }

    fn level(&self, at: usize, side: Side, price: i64, qty: i64) -> Event {
        let instrument = &self.instruments[at];
        Event::book_level(instrument.venue, InstrumentId(at as u16), side, Price(price), Qty(qty), self.sequence, self.times())
    }

    /// A change of a book; gives the outputs.
    fn tick(&mut self, at: usize) -> Vec<Event> {
        self.sequence += 1;
        self.now_ns += 10 * SECOND;
        let event = self.level(at, Side::Buy, 49_990_00, 10 * COIN + self.sequence as i64).with(flags::LAST);
        self.core.apply(&event).to_vec()
    }

    /// The lines that are touched before the next order.
    fn touched(&mut self) -> BTreeSet<usize> {
        let mut touched = BTreeSet::new();
        for _ in 0..CALLS {
            self.core.touch_with(|extent| touched.extend(lines(extent)));
        }
        touched
    }

    /// The venues agree to everything.
    fn answer(&mut self, outputs: &[Event]) {
        for output in outputs {
            let (venue, instrument, order, times) = (output.venue_id(), output.instrument_id(), output.order_id(), self.times());
            let answer = match output.event_kind() {
                Some(EventKind::SendNew) => Event::order_report(EventKind::OrderAck, venue, instrument, order, times),
                Some(EventKind::SendCancel) => Event::order_gone(EventKind::OrderCanceled, venue, instrument, order, None, times),
                Some(EventKind::SendReplace) => {
                    Event::order_replaced(venue, instrument, order, output.order_price(), output.order_qty(), times)
                }
                _ => continue,
            };
            self.core.apply(&answer.with(flags::LAST));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3, ..ProptestConfig::default() })]

    /// All memory of the core is compared before and after: lines that a command changed and a tick without one does not.
    #[test]
    fn what_a_command_changes_was_touched(
        steps in proptest::collection::vec(
            (0..STRATEGIES, 0usize..2, any::<bool>(), 0i64..40, 0u8..8, any::<prop::sample::Index>()), 60..90,
        ),
    ) {
        let mut wide = Wide::new();
        let mut commands = 0;
        for (strategy, which, buying, away, action, order) in steps {
            let desk = wide.core.desk();
            let id = StrategyId(strategy as u8);
            let traded = desk.strategy_instruments(id).to_vec();
            let open: Vec<_> = desk.open_orders_of(id).map(|order| (order.id, order.instrument, order.price, order.qty)).collect();
            let new = |instrument| match buying {
                true => buy(instrument, 49_000_00 - 10 * away, COIN / 10),
                false => sell(instrument, 51_000_00 + 10 * away, COIN / 10),
            };
            let (ask, instrument) = match action {
                0..=3 if desk.orders().open_len() as usize >= OPEN_MAX => continue,
                0..=2 => (Ask::Place(new(traded[which])), traded[which]),
                3 => (Ask::Both(new(traded[which]), new(traded[which + 1])), traded[which]),
                _ if open.is_empty() => continue,
                _ => {
                    let &(order, instrument, price, qty) = order.get(&open);
                    let replace = action < 6 && desk.instruments().get(instrument).unwrap().capabilities.replace;
                    let price = Price(price.0 + 10 * (1 + away) * if buying { 1 } else { -1 });
                    (if replace { Ask::Replace(order, price, qty) } else { Ask::Cancel(order) }, instrument)
                }
            };
            let touched = wide.touched();
            *wide.asks[strategy].lock().unwrap() = Some(ask);
            let before = snapshot(&wide.memory);
            let outputs = wide.tick(instrument.index());
            let after = snapshot(&wide.memory);
            prop_assert!(outputs.len() >= 2, "{:?}: {:?}", ask, outputs);
            commands += 1;
            for line in changed(&before, &after) {
                let of = wide.memory.iter().find(|&&(from, bytes)| line + 64 > from && line < from + bytes).unwrap();
                prop_assert!(
                    touched.contains(&line) || wide.ticked.contains(&line),
                    "{:?} changed what was not touched, in memory of {} bytes", ask, of.1
                );
            }
            wide.answer(&outputs);
            if away % 8 == 0 {
                let timer = Event::timer(wide.times());
                wide.core.apply(&timer);
            }
        }
        prop_assert!(commands > 20);
    }

    /// Two cores go the same way; one is touched at each step.
    #[test]
    fn touching_changes_nothing(steps in proptest::collection::vec((0u8..7, 0u16..3, any::<bool>(), -60i64..60, 1i64..400), 1..120)) {
        let make = || {
            let mut config = config(vec![strategy_config("one", &[BTC_A, BTC_B, ETH_A]), strategy_config("two", &[BTC_A])]);
            config.capacity.orders = 64;
            config.limits.open_orders_max = 24;
            Bench::with(config)
        };
        let mut benches = [make(), make()];
        for (trade, (action, instrument, buying, offset, lots)) in steps.into_iter().enumerate() {
            benches[1].core.touch();
            let [outputs, of_touched] = benches.each_mut().map(|bench| {
                bench.advance(MS);
                let instrument = InstrumentId(instrument);
                let mid = if instrument == ETH_A { 2_000_00 } else { 50_000_00 };
                let (price, qty) = (mid + 10 * offset, lots * 10_000);
                let order = bench.desk().orders().iter_open().nth(lots as usize % 8).map(|order| order.id);
                match (action, order) {
                    (0 | 1, _) => {
                        let new = if buying { buy(instrument, price, qty) } else { sell(instrument, price, qty) };
                        let placed = bench.ask(Ask::Place(new));
                        placed.map_or(Vec::new(), |order| bench.simple(EventKind::OrderAck, order))
                    }
                    (2, Some(order)) => bench.cancel(order).map_or(Vec::new(), |order| bench.gone(EventKind::OrderCanceled, order, None)),
                    (3, Some(order)) => bench.replace(order, price, qty).map_or(Vec::new(), |order| bench.replaced(order, price, qty)),
                    (4, Some(order)) => bench.fill(order, price, qty, trade as u64),
                    (5, _) => bench.timer(),
                    _ => bench.level(instrument, if buying { Side::Buy } else { Side::Sell }, mid - 10_00, qty),
                }
            });
            prop_assert_eq!(outputs, of_touched);
            prop_assert_eq!(benches[0].core.state_hash(), benches[1].core.state_hash());
        }
        let [plain, touched] = benches.map(|bench| bench.outputs);
        prop_assert_eq!(plain, touched);
    }
}

#[test]
fn a_core_without_a_session_can_be_touched() {
    let mut bench = Bench::cold(config(vec![strategy_config("one", &[BTC_A])]));
    let before = bench.core.state_hash();
    let mut touched = 0;
    bench.core.touch_with(|extent| touched += lines(extent).count());
    bench.core.touch();
    assert!(touched > 50 && bench.core.state_hash() == before);
}
