//! `book`: decoded messages into a book, best bid and ask read after each.
//!
//! Ours is what stands between codec and strategy: the rule of continuity over the message's ids ([`BookSync`]), an event for
//! each level, the book ([`Book`]) with its checks of each level and, at the end, of crossing. The side `ours, events made
//! before` begins where the peers begin: at events that are there, no continuity checked.
//!
//! All peers get inputs in their own terms, made beforehand:
//!
//! - *nautilus*: `OrderBook` of type `L2_MBP` (maps of levels of maps of orders), `apply_deltas` and, without the comparison of
//!   the instrument's id, `apply_deltas_unchecked`.
//! - *barter*: `OrderBook::update` (sorted vectors of decimals).
//! - *hftbacktest*: `update_bid_depth` and `update_ask_depth` (floating point) of its three depths. `ROIVector` is a flat array
//!   over a range of prices fixed beforehand, read without bounds checks; what lies outside is not there.
//!
//! None of them checks continuity; crossing is nothing to nautilus and barter, and mended by hftbacktest.
//!
//! There are three workloads:
//!
//! - the changes of the bench `book` ([`Stream`]), but that no message names a price twice, anywhere in a deep book: a figure is
//!   of one message of 40 changes;
//! - the same, at the touch: a figure is of eight messages of 2 changes;
//! - what Kraken and Binance sent and was recorded ([`recorded`]): many books, their messages in the order in which they came.
//!   A figure is of as many messages as have 16 changes together; where they have more, it is reckoned down to 16. Which book a
//!   message is for is known beforehand. Continuity is Binance's rule of ids for both (Kraken has a checksum, which its codec
//!   proves). Our book and hftbacktest are told the instrument's tick, and `ROIVector` reaches as far as anything happens. Binance's
//!   books are small: their snapshots were not recorded.
//!
//! Best bid and ask are read after each message. The input lies in the caches. Beside the figures stands what a change takes at
//! the median.

use crate::nautilus;
use crate::recorded::{self, Grid, Market, Recording};
use crate::{BLOCK, ONE, OURS, SEED};
use anyhow::ensure;
use barter_data::books::{Level as BarterLevel, OrderBook as BarterBook};
use barter_data::subscription::book::OrderBookEvent;
use bench::benches::book::rig::{Ours, STAMP, Shape, Spread, Stream, check, price};
use bench::measure::{Budget, Measured, Side, alternate};
use bench::messages::ID_FIRST;
use bench::random::Random;
use bench::report::{Ratio, Report, Target};
use bench::timer::Timer;
use engine_core::book::{Book, BookConfig};
use engine_core::event::{Event, Side as BookSide};
use engine_core::fixed::Price;
use hftbacktest::depth::{BTreeMarketDepth, HashMapMarketDepth, L2MarketDepth, MarketDepth, ROIVectorMarketDepth};
use nautilus_model::data::{BookOrder, OrderBookDelta, OrderBookDeltas};
use nautilus_model::enums::{BookAction, BookType};
use nautilus_model::orderbook::OrderBook as NautilusBook;
use rust_decimal::Decimal;
use std::hint::black_box;
use std::ops::Range;
use venues::binance::depth::{Applied, Diff};
use venues::binance::message::Row;

const BENCH: &str = "book";
const OURS_READY: &str = "ours, events made before";
/// The numbers of the streams that are made.
const MADE: Grid = Grid { price_scale: nautilus::PRICE_SCALE, qty_scale: nautilus::QTY_SCALE, tick: 1 };
/// Changes of a figure of what was recorded.
const RECORDED_TOGETHER: usize = 16;
/// Levels a side that our book has room for: more than any that was recorded.
const CAPACITY: usize = 4_096;

const ANYWHERE: Shape = Shape { spread: Spread::Anywhere, changes: (40, 40), levels: 1_000, distinct: true };
const AT_THE_TOUCH: Shape = Shape { spread: Spread::NearTheTop, changes: (2, 2), ..ANYWHERE };

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    for workload in workloads()? {
        let sides = vec![
            side(OURS, &workload, ours, |_, rows| rows.to_vec(), |ours, rows: &Vec<Row>| apply_rows(ours, rows))?,
            side(OURS_READY, &workload, ours_ready, |_, rows| events(rows), |book, events: &Vec<Event>| apply_events(book, events))?,
            nautilus_side("nautilus apply_deltas", &workload, NautilusBook::apply_deltas)?,
            nautilus_side("nautilus apply_deltas_unchecked", &workload, NautilusBook::apply_deltas_unchecked)?,
            barter_side(&workload)?,
            depth_side("hftbacktest HashMap", &workload, hash_map)?,
            depth_side("hftbacktest BTree", &workload, b_tree)?,
            depth_side("hftbacktest ROIVector", &workload, roi_vector)?,
        ];
        let case = format!("{}{}", workload.case, nautilus::precision());
        let sides = alternate(budget, sides)?;
        // Ours, with everything that it checks, is held against each peer; the other one is there to look at.
        let target_of = |peer: &str| if peer == OURS_READY { Target::None } else { Target::AtLeast(1.0) };
        report.add_case_against(BENCH, &case, &sides, target_of);
        add_ratios_of_ready(report, &case, &sides);
        for measured in sides.iter().flatten() {
            let name = format!("{case}: ns a change, {}, p50", measured.side);
            report.add_ratio(Ratio::new(BENCH, name, median(measured) / workload.together as f64, Target::None));
        }
    }
    Ok(())
}

fn median(measured: &Measured) -> f64 {
    measured.histogram.value_at_quantile(0.5).max(1) as f64
}

/// The peers against the side that begins where they begin.
fn add_ratios_of_ready(report: &mut Report, case: &str, sides: &[Vec<Measured>]) {
    let p50 = |side: &[Measured]| side.first().map_or(0.0, median);
    let Some(ready) = sides.iter().find(|side| side.first().is_some_and(|m| m.side == OURS_READY)) else { return };
    for peer in sides.iter().skip(2) {
        let name = format!("{case}: {} / {OURS_READY}, p50", peer.first().map_or("", |m| m.side));
        report.add_ratio(Ratio::new(BENCH, name, p50(peer) / p50(ready), Target::None));
    }
}

/// Books, what changes them again and again, and how much of it a figure is of.
struct Workload {
    case: String,
    changes: Recording,
    /// Messages that are timed together, and how many changes they have.
    groups: Vec<(Range<usize>, usize)>,
    /// Changes of a figure.
    together: usize,
}

impl Workload {
    /// Of changes that are made, `messages` of them together.
    fn made(case: &str, shape: Shape, seed: u64, messages: usize) -> Workload {
        let Stream { snapshot, messages: rows } = Stream::new(&mut Random::new(seed), shape);
        let far = |side: BookSide| price(side, shape.reach() + 1);
        let market = Market { grid: MADE, snapshot, reach: (far(BookSide::Buy), far(BookSide::Sell)) };
        // They end where they began: there is nothing to undo.
        let messages_of = rows.into_iter().map(|rows| recorded::Message { market: 0, rows }).collect();
        let changes = Recording { markets: vec![market], messages: messages_of, undo: Vec::new() };
        let together = messages * shape.changes.0 as usize;
        Workload { case: case.to_owned(), groups: changes.groups(together), changes, together }
    }

    fn recorded(venue: &str, changes: Recording) -> Workload {
        let (books, count) = (changes.markets.len(), changes.changes());
        let case = format!("{RECORDED_TOGETHER} of {count} recorded changes of {venue}, {books} books");
        Workload { case, groups: changes.groups(RECORDED_TOGETHER), changes, together: RECORDED_TOGETHER }
    }
}

/// All of them; of the recorded ones those that are there.
fn workloads() -> anyhow::Result<Vec<Workload>> {
    // A message of few changes takes no longer than reading the time: a figure is of several together.
    let mut workloads = vec![
        Workload::made("40 changes anywhere in 1,000 levels a side", ANYWHERE, SEED, 1),
        Workload::made("8 messages of 2 changes at the touch", AT_THE_TOUCH, SEED, 8),
    ];
    workloads.extend(recorded::all()?.into_iter().map(|(venue, recording)| Workload::recorded(venue, recording)));
    Ok(workloads)
}

/// A side with a book for each market, and each message in its own terms.
fn side<'a, B: 'a, M: Clone + 'a>(
    name: &'static str,
    workload: &Workload,
    book: impl Fn(&Market) -> anyhow::Result<B>,
    message: impl Fn(Grid, &[Row]) -> M,
    mut apply: impl FnMut(&mut B, &M) -> anyhow::Result<()> + 'a,
) -> anyhow::Result<Side<'a>> {
    let Workload { changes, groups, together, .. } = workload;
    let mut books = changes.markets.iter().map(book).collect::<anyhow::Result<Vec<B>>>()?;
    let translated = |messages: &[recorded::Message]| -> Vec<(usize, M)> {
        messages.iter().map(|m| (m.market, message(changes.markets[m.market].grid, &m.rows))).collect()
    };
    let (messages, undo) = (translated(&changes.messages), translated(&changes.undo));
    let (groups, together, timer) = (groups.clone(), *together as u64, Timer::new());
    let mut at = 0;
    Ok(Side::new(name, ONE, move |meter| {
        for _ in 0..BLOCK {
            if at == groups.len() {
                undo.iter().try_for_each(|(market, message)| apply(&mut books[*market], message))?;
                at = 0;
            }
            let (range, changes) = &groups[at];
            at += 1;
            // A copy made just before lies in the caches, as what has just been decoded does.
            let next = messages[range.clone()].to_vec();
            let start = timer.read();
            let applied = black_box(next.iter().try_for_each(|(market, message)| apply(&mut books[*market], black_box(message))));
            let stop = timer.read();
            applied?;
            meter.record(0, timer.ns_between(start, stop) * together / *changes as u64);
        }
        Ok(())
    }))
}

/// Continuity, events, book.
fn ours(market: &Market) -> anyhow::Result<Ours> {
    let mut ours = Ours::new(&beginning(market))?;
    ours.book = ours_ready(market)?;
    Ok(ours)
}

/// A book that is given events.
fn ours_ready(market: &Market) -> anyhow::Result<Book> {
    let mut book = Book::with_tick(BookConfig { capacity: CAPACITY, ..BookConfig::default() }, Price(market.grid.tick));
    for event in &beginning(market).snapshot_events() {
        book.apply(event);
    }
    check(&book)?;
    Ok(book)
}

fn beginning(market: &Market) -> Stream {
    Stream { snapshot: market.snapshot.clone(), messages: Vec::new() }
}

#[inline]
fn apply_rows(ours: &mut Ours, rows: &[Row]) -> anyhow::Result<()> {
    let applied = ours.apply(rows);
    ensure!(applied == Applied::Applied && ours.book.is_valid(), "the book objected: {applied:?}, {:?}", ours.book.counters());
    Ok(())
}

fn events(rows: &[Row]) -> Vec<Event> {
    let mut events = Vec::new();
    let diff = Diff { first: ID_FIRST + 1, last: ID_FIRST + 1, time_ns: STAMP.times.core_ns, rows };
    diff.emit(&STAMP, &mut |event: &Event| events.push(*event));
    events
}

#[inline]
fn apply_events(book: &mut Book, events: &[Event]) -> anyhow::Result<()> {
    for event in events {
        black_box(book.apply(event));
    }
    black_box((book.best(BookSide::Buy), book.best(BookSide::Sell)));
    ensure!(book.is_valid(), "the book objected: {:?}", book.counters());
    Ok(())
}

fn nautilus_deltas(grid: Grid, rows: &[Row], snapshot: bool) -> OrderBookDeltas {
    let id = nautilus::instrument_id();
    let delta = |row: &Row| {
        let (price, size) = (nautilus::price_at(row.price, grid.price_scale), nautilus::quantity_at(row.qty, grid.qty_scale));
        let order = BookOrder::new(nautilus::side(row.side), price, size, 0);
        let action = match row.qty {
            0 => BookAction::Delete,
            _ if snapshot => BookAction::Add,
            _ => BookAction::Update,
        };
        OrderBookDelta::new(id, action, order, 0, ID_FIRST, nautilus::time(), nautilus::time())
    };
    OrderBookDeltas::new(id, rows.iter().map(delta).collect())
}

fn nautilus_book(market: &Market) -> anyhow::Result<NautilusBook> {
    let mut book = NautilusBook::new(nautilus::instrument_id(), BookType::L2_MBP);
    book.apply_deltas(&nautilus_deltas(market.grid, &market.snapshot, true))?;
    Ok(book)
}

fn nautilus_side<'a, E: std::error::Error + Send + Sync + 'static>(
    name: &'static str,
    workload: &Workload,
    apply: fn(&mut NautilusBook, &OrderBookDeltas) -> Result<(), E>,
) -> anyhow::Result<Side<'a>> {
    side(
        name,
        workload,
        nautilus_book,
        |grid, rows| nautilus_deltas(grid, rows, false),
        move |book, deltas| {
            apply(book, deltas)?;
            black_box((book.best_bid_price(), book.best_bid_size(), book.best_ask_price(), book.best_ask_size()));
            Ok(())
        },
    )
}

fn barter_book(grid: Grid, rows: &[Row]) -> BarterBook {
    let levels = |side: BookSide| {
        let level = |row: &Row| BarterLevel::new(Decimal::new(row.price, grid.price_scale), Decimal::new(row.qty, grid.qty_scale));
        rows.iter().filter(|row| row.side == side).map(level).collect::<Vec<_>>()
    };
    BarterBook::new(ID_FIRST, None, levels(BookSide::Buy), levels(BookSide::Sell))
}

fn barter_update(grid: Grid, rows: &[Row]) -> OrderBookEvent {
    OrderBookEvent::Update(barter_book(grid, rows))
}

fn barter_side<'a>(workload: &Workload) -> anyhow::Result<Side<'a>> {
    let begun = |market: &Market| Ok(barter_book(market.grid, &market.snapshot));
    side("barter OrderBook::update", workload, begun, barter_update, |book, event| {
        book.update(event);
        black_box((book.bids().best(), book.asks().best()));
        Ok(())
    })
}

/// A change as hftbacktest takes it: side, price, quantity.
type Change = (BookSide, f64, f64);

fn hftbacktest_changes(grid: Grid, rows: &[Row]) -> Vec<Change> {
    rows.iter().map(|row| (row.side, row.price as f64 * grid.price_unit(), row.qty as f64 * grid.lot())).collect()
}

#[inline]
fn apply_changes<D: L2MarketDepth + MarketDepth>(depth: &mut D, changes: &[Change]) {
    for &(side, price, qty) in changes {
        match side {
            BookSide::Buy => black_box(depth.update_bid_depth(price, qty, 0)),
            BookSide::Sell => black_box(depth.update_ask_depth(price, qty, 0)),
        };
    }
    black_box((depth.best_bid_tick(), depth.best_bid_qty(), depth.best_ask_tick(), depth.best_ask_qty()));
}

fn hash_map(market: &Market) -> HashMapMarketDepth {
    HashMapMarketDepth::new(market.grid.tick_size(), market.grid.lot())
}

fn b_tree(market: &Market) -> BTreeMarketDepth {
    BTreeMarketDepth::new(market.grid.tick_size(), market.grid.lot())
}

fn roi_vector(market: &Market) -> ROIVectorMarketDepth {
    let (low, high) = market.reach;
    let bound = |price: i64| price as f64 * market.grid.price_unit();
    ROIVectorMarketDepth::new(market.grid.tick_size(), market.grid.lot(), bound(low), bound(high))
}

fn begun<D: L2MarketDepth + MarketDepth>(mut depth: D, market: &Market) -> D {
    apply_changes(&mut depth, &hftbacktest_changes(market.grid, &market.snapshot));
    depth
}

fn depth_side<'a, D: L2MarketDepth + MarketDepth + 'a>(
    name: &'static str,
    workload: &Workload,
    empty: fn(&Market) -> D,
) -> anyhow::Result<Side<'a>> {
    side(
        name,
        workload,
        |market| Ok(begun(empty(market), market)),
        hftbacktest_changes,
        |depth, changes: &Vec<Change>| {
            apply_changes(depth, changes);
            Ok(())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench::measure::Budget;
    use std::collections::BTreeSet;

    /// Units of the last decimals, best first, both sides.
    type Levels = [Vec<(i64, i64)>; 2];

    fn of_ours(book: &Book) -> Levels {
        [BookSide::Buy, BookSide::Sell].map(|side| book.levels(side).map(|level| (level.price.0, level.qty.0)).collect())
    }

    fn of_nautilus(book: &NautilusBook, grid: Grid) -> Levels {
        let units = |value: Decimal, scale: u32| i64::try_from(value * Decimal::from(10i64.pow(scale))).unwrap();
        let level = |level: &nautilus_model::orderbook::BookLevel| {
            (units(level.price.value.as_decimal(), grid.price_scale), units(level.size_decimal(), grid.qty_scale))
        };
        [book.bids(None).map(level).collect(), book.asks(None).map(level).collect()]
    }

    fn of_barter(book: &BarterBook) -> Levels {
        let level = |level: &BarterLevel| (level.price.mantissa() as i64, level.amount.mantissa() as i64);
        [book.bids().levels().iter().map(level).collect(), book.asks().levels().iter().map(level).collect()]
    }

    /// What it holds at these prices.
    fn of_depth(depth: &impl MarketDepth, prices: &BTreeSet<i64>, grid: Grid) -> Levels {
        [BookSide::Buy, BookSide::Sell].map(|side| {
            let qty = |price: i64| match side {
                BookSide::Buy => depth.bid_qty_at_tick(price / grid.tick),
                BookSide::Sell => depth.ask_qty_at_tick(price / grid.tick),
            };
            let level = |&price: &i64| (price, (qty(price) / grid.lot()).round() as i64);
            let mut levels: Vec<(i64, i64)> = prices.iter().map(level).filter(|level| level.1 > 0).collect();
            levels.sort_unstable_by_key(|level| -side.sign() * level.0);
            levels
        })
    }

    /// A market's books, one of each kind.
    struct Books {
        ours: Ours,
        ready: Book,
        nautilus: NautilusBook,
        barter: BarterBook,
        hash: HashMapMarketDepth,
        tree: BTreeMarketDepth,
        roi: ROIVectorMarketDepth,
        grid: Grid,
        /// All there ever were.
        prices: BTreeSet<i64>,
        reach: (i64, i64),
    }

    impl Books {
        fn new(changes: &Recording, at: usize) -> Books {
            let market = &changes.markets[at];
            let named = changes.messages.iter().filter(|message| message.market == at).flat_map(|message| &message.rows);
            Books {
                ours: ours(market).unwrap(),
                ready: ours_ready(market).unwrap(),
                nautilus: nautilus_book(market).unwrap(),
                barter: barter_book(market.grid, &market.snapshot),
                hash: begun(hash_map(market), market),
                tree: begun(b_tree(market), market),
                roi: begun(roi_vector(market), market),
                grid: market.grid,
                prices: market.snapshot.iter().chain(named).map(|row| row.price).collect(),
                reach: market.reach,
            }
        }

        fn apply(&mut self, rows: &[Row]) {
            apply_rows(&mut self.ours, rows).unwrap();
            apply_events(&mut self.ready, &events(rows)).unwrap();
            self.nautilus.apply_deltas(&nautilus_deltas(self.grid, rows, false)).unwrap();
            self.barter.update(&barter_update(self.grid, rows));
            let changes = hftbacktest_changes(self.grid, rows);
            apply_changes(&mut self.hash, &changes);
            apply_changes(&mut self.tree, &changes);
            apply_changes(&mut self.roi, &changes);
        }

        /// What all of them hold.
        fn levels(&self) -> Levels {
            let (levels, grid) = (of_ours(&self.ours.book), self.grid);
            assert_eq!(of_ours(&self.ready), levels);
            assert_eq!(of_nautilus(&self.nautilus, grid), levels);
            assert_eq!(of_barter(&self.barter), levels);
            assert_eq!(of_depth(&self.hash, &self.prices, grid), levels);
            assert_eq!(of_depth(&self.tree, &self.prices, grid), levels);
            // What is beyond its reach is not there.
            let within = |price: i64| (self.reach.0..=self.reach.1).contains(&price);
            let near = self.prices.iter().copied().filter(|&price| within(price)).collect();
            let near_levels = levels.clone().map(|side| side.into_iter().filter(|level| within(level.0)).collect::<Vec<_>>());
            assert_eq!(of_depth(&self.roi, &near, grid), near_levels);
            if let [Some(bid), Some(ask)] = [levels[0].first(), levels[1].first()] {
                for best in [(self.hash.best_bid_tick(), self.hash.best_ask_tick()), (self.roi.best_bid_tick(), self.roi.best_ask_tick())] {
                    assert_eq!(best, (bid.0 / grid.tick, ask.0 / grid.tick));
                }
            }
            levels
        }
    }

    fn all_hold_the_same(workload: &Workload) {
        let changes = &workload.changes;
        let mut books: Vec<Books> = (0..changes.markets.len()).map(|at| Books::new(changes, at)).collect();
        let first: Vec<Levels> = books.iter().map(Books::levels).collect();
        let mut changed = 0;
        for message in changes.messages.iter().chain(&changes.undo) {
            let book = &mut books[message.market];
            book.apply(&message.rows);
            changed += usize::from(book.levels() != first[message.market]);
        }
        assert!(changed * 2 > changes.messages.len(), "{changed}");
        assert_eq!(books.iter().map(Books::levels).collect::<Vec<_>>(), first);
        books.iter().for_each(|book| check(&book.ours.book).unwrap());
    }

    #[test]
    fn all_hold_the_same_book_and_a_stream_that_is_made_ends_where_it_began() {
        for shape in [AT_THE_TOUCH, ANYWHERE] {
            all_hold_the_same(&Workload::made("made", shape, 1, 1));
        }
    }

    #[test]
    fn all_hold_the_same_books_of_what_was_recorded_and_undone_they_are_where_they_began() {
        for (venue, recording) in recorded::all().unwrap() {
            let workload = Workload::recorded(venue, recording);
            assert!(workload.groups.len() > 10 && workload.changes.markets.len() > 2, "{}", workload.case);
            all_hold_the_same(&workload);
        }
    }

    #[test]
    fn figures_are_of_as_many_changes_as_they_say() {
        for workload in workloads().unwrap() {
            let of_groups: usize = workload.groups.iter().map(|(_, changes)| changes).sum();
            assert_eq!(of_groups, workload.changes.changes());
            assert!(workload.groups.iter().all(|(_, changes)| *changes >= workload.together));
        }
        let sizes = |shape: Shape, messages: usize| {
            let Workload { groups, together, .. } = Workload::made("made", shape, SEED, messages);
            (groups.iter().all(|(range, changes)| range.len() == messages && *changes == together), together)
        };
        assert_eq!((sizes(ANYWHERE, 1), sizes(AT_THE_TOUCH, 8)), ((true, 40), (true, 16)));
    }

    #[test]
    fn a_side_goes_round_and_round() {
        let workload = Workload::made("made", AT_THE_TOUCH, 1, 8);
        let sides = vec![depth_side("hftbacktest BTree", &workload, b_tree).unwrap()];
        let measured = alternate(Budget::of_seconds(0.05).unwrap(), sides).unwrap();
        assert!(measured[0][0].histogram.len() >= BLOCK as u64);
    }
}
