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
//! The changes are those of the bench `book` ([`Stream`]), but that no message names a price twice.
//!
//! A figure is of one message of 40 changes, or of eight messages of 2, best bid and ask read after each. The input lies in the
//! caches.

use crate::nautilus;
use crate::{BLOCK, ONE, OURS, SEED};
use anyhow::ensure;
use barter_data::books::{Level as BarterLevel, OrderBook as BarterBook};
use barter_data::subscription::book::OrderBookEvent;
use bench::benches::book::rig::{Ours, STAMP, Shape, Spread, Stream, check, empty_book, price};
use bench::measure::{Budget, Measured, Side, alternate};
use bench::messages::ID_FIRST;
use bench::random::Random;
use bench::report::{Ratio, Report, Target};
use engine_core::book::Book;
use engine_core::event::{Event, Side as BookSide};
use hftbacktest::depth::{BTreeMarketDepth, HashMapMarketDepth, L2MarketDepth, MarketDepth, ROIVectorMarketDepth};
use nautilus_model::data::{BookOrder, OrderBookDelta, OrderBookDeltas};
use nautilus_model::enums::{BookAction, BookType};
use nautilus_model::orderbook::OrderBook as NautilusBook;
use rust_decimal::Decimal;
use std::hint::black_box;
use venues::binance::depth::{Applied, Diff};
use venues::binance::message::Row;

const BENCH: &str = "book";
const OURS_READY: &str = "ours, events made before";
/// As floating point.
const TICK: f64 = 0.01;
/// As floating point.
const LOT: f64 = 1e-8;

const ANYWHERE: Shape = Shape { spread: Spread::Anywhere, changes: (40, 40), levels: 1_000, distinct: true };
const AT_THE_TOUCH: Shape = Shape { spread: Spread::NearTheTop, changes: (2, 2), ..ANYWHERE };

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    // A message of few changes takes no longer than reading the time: a figure is of several together.
    for (shape, together, case) in
        [(ANYWHERE, 1, "40 changes anywhere in 1,000 levels a side"), (AT_THE_TOUCH, 8, "8 messages of 2 changes at the touch")]
    {
        let stream = Stream::new(&mut Random::new(SEED), shape);
        let sides = vec![
            ours_side(&stream, together)?,
            ours_ready_side(&stream, together)?,
            nautilus_side("nautilus apply_deltas", &stream, together, NautilusBook::apply_deltas)?,
            nautilus_side("nautilus apply_deltas_unchecked", &stream, together, NautilusBook::apply_deltas_unchecked)?,
            barter_side(&stream, together),
            depth_side("hftbacktest HashMap", &stream, together, HashMapMarketDepth::new(TICK, LOT)),
            depth_side("hftbacktest BTree", &stream, together, BTreeMarketDepth::new(TICK, LOT)),
            depth_side("hftbacktest ROIVector", &stream, together, roi_vector()),
        ];
        let case = format!("{case}{}", nautilus::precision());
        let sides = alternate(budget, sides)?;
        // Ours, with everything that it checks, is held against each peer; the other one is there to look at.
        let target_of = |peer: &str| if peer == OURS_READY { Target::None } else { Target::AtLeast(1.0) };
        report.add_case_against(BENCH, &case, &sides, target_of);
        add_ratios_of_ready(report, &case, &sides);
    }
    Ok(())
}

/// The peers against the side that begins where they begin.
fn add_ratios_of_ready(report: &mut Report, case: &str, sides: &[Vec<Measured>]) {
    let p50 = |side: &[Measured]| side.first().map_or(0.0, |m| m.histogram.value_at_quantile(0.5).max(1) as f64);
    let Some(ready) = sides.iter().find(|side| side.first().is_some_and(|m| m.side == OURS_READY)) else { return };
    for peer in sides.iter().skip(2) {
        let name = format!("{case}: {} / {OURS_READY}, p50", peer.first().map_or("", |m| m.side));
        report.add_ratio(Ratio::new(BENCH, name, p50(peer) / p50(ready), Target::None));
    }
}

/// A side with a message in its own terms for each of the stream.
fn side<'a, B: 'a, M: Clone + 'a>(
    name: &'static str,
    together: usize,
    mut book: B,
    messages: Vec<M>,
    mut apply: impl FnMut(&mut B, &M) -> anyhow::Result<()> + 'a,
) -> Side<'a> {
    let mut at = 0;
    Side::new(name, ONE, move |meter| {
        for _ in 0..BLOCK {
            // A copy made just before lies in the caches, as what has just been decoded does.
            let next = messages[at..at + together].to_vec();
            at = (at + together) % messages.len();
            meter.time(0, || next.iter().try_for_each(|message| apply(&mut book, black_box(message))))?;
        }
        Ok(())
    })
}

fn ours_side<'a>(stream: &Stream, together: usize) -> anyhow::Result<Side<'a>> {
    Ok(side(OURS, together, Ours::new(stream)?, stream.messages.clone(), |ours, rows| {
        let applied = ours.apply(rows);
        ensure!(applied == Applied::Applied && ours.book.is_valid(), "the book objected: {applied:?}, {:?}", ours.book.counters());
        Ok(())
    }))
}

/// Events that are there, book.
struct OursReady {
    book: Book,
    messages: Vec<Vec<Event>>,
}

impl OursReady {
    fn new(stream: &Stream) -> anyhow::Result<OursReady> {
        let mut book = empty_book();
        for event in &stream.snapshot_events() {
            book.apply(event);
        }
        check(&book)?;
        let events = |rows: &Vec<Row>| {
            let mut events = Vec::new();
            let diff = Diff { first: ID_FIRST + 1, last: ID_FIRST + 1, time_ns: STAMP.times.core_ns, rows };
            diff.emit(&STAMP, &mut |event: &Event| events.push(*event));
            events
        };
        Ok(OursReady { book, messages: stream.messages.iter().map(events).collect() })
    }
}

fn ours_ready_side<'a>(stream: &Stream, together: usize) -> anyhow::Result<Side<'a>> {
    let OursReady { book, messages } = OursReady::new(stream)?;
    Ok(side(OURS_READY, together, book, messages, |book, events| apply_events(book, events)))
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

fn nautilus_deltas(rows: &[Row], snapshot: bool) -> OrderBookDeltas {
    let id = nautilus::instrument_id();
    let delta = |row: &Row| {
        let order = BookOrder::new(nautilus::side(row.side), nautilus::price(row.price), nautilus::quantity(row.qty), 0);
        let action = match row.qty {
            0 => BookAction::Delete,
            _ if snapshot => BookAction::Add,
            _ => BookAction::Update,
        };
        OrderBookDelta::new(id, action, order, 0, ID_FIRST, nautilus::time(), nautilus::time())
    };
    OrderBookDeltas::new(id, rows.iter().map(delta).collect())
}

fn nautilus_book(stream: &Stream) -> anyhow::Result<NautilusBook> {
    let mut book = NautilusBook::new(nautilus::instrument_id(), BookType::L2_MBP);
    book.apply_deltas(&nautilus_deltas(&stream.snapshot, true))?;
    Ok(book)
}

fn nautilus_side<'a, E: std::error::Error + Send + Sync + 'static>(
    name: &'static str,
    stream: &Stream,
    together: usize,
    apply: fn(&mut NautilusBook, &OrderBookDeltas) -> Result<(), E>,
) -> anyhow::Result<Side<'a>> {
    let messages = stream.messages.iter().map(|rows| nautilus_deltas(rows, false)).collect();
    Ok(side(name, together, nautilus_book(stream)?, messages, move |book, deltas| {
        apply(book, deltas)?;
        black_box((book.best_bid_price(), book.best_bid_size(), book.best_ask_price(), book.best_ask_size()));
        Ok(())
    }))
}

fn barter_book(rows: &[Row]) -> BarterBook {
    let levels = |side: BookSide| {
        let level =
            |row: &Row| BarterLevel::new(Decimal::new(row.price, nautilus::PRICE_SCALE), Decimal::new(row.qty, nautilus::QTY_SCALE));
        rows.iter().filter(|row| row.side == side).map(level).collect::<Vec<_>>()
    };
    BarterBook::new(ID_FIRST, None, levels(BookSide::Buy), levels(BookSide::Sell))
}

fn barter_side<'a>(stream: &Stream, together: usize) -> Side<'a> {
    let messages = stream.messages.iter().map(|rows| OrderBookEvent::Update(barter_book(rows))).collect();
    side("barter OrderBook::update", together, barter_book(&stream.snapshot), messages, |book, event| {
        book.update(event);
        black_box((book.bids().best(), book.asks().best()));
        Ok(())
    })
}

/// A change as hftbacktest takes it: side, price, quantity.
type Change = (BookSide, f64, f64);

fn hftbacktest_changes(rows: &[Row]) -> Vec<Change> {
    rows.iter().map(|row| (row.side, row.price as f64 * TICK, row.qty as f64 * LOT)).collect()
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

fn roi_vector() -> ROIVectorMarketDepth {
    let bound = |side: BookSide| price(side, ANYWHERE.reach() + 1) as f64 * TICK;
    ROIVectorMarketDepth::new(TICK, LOT, bound(BookSide::Buy), bound(BookSide::Sell))
}

fn depth_side<'a, D: L2MarketDepth + MarketDepth + 'a>(name: &'static str, stream: &Stream, together: usize, mut depth: D) -> Side<'a> {
    apply_changes(&mut depth, &hftbacktest_changes(&stream.snapshot));
    let messages = stream.messages.iter().map(|rows| hftbacktest_changes(rows)).collect();
    side(name, together, depth, messages, |depth, changes: &Vec<Change>| {
        apply_changes(depth, changes);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks and units, best first, both sides.
    type Levels = [Vec<(i64, i64)>; 2];

    fn of_ours(book: &Book) -> Levels {
        [BookSide::Buy, BookSide::Sell].map(|side| book.levels(side).map(|level| (level.price.0, level.qty.0)).collect())
    }

    fn of_nautilus(book: &NautilusBook) -> Levels {
        let level = |level: &nautilus_model::orderbook::BookLevel| {
            let ticks = level.price.value.as_decimal() * Decimal::from(100);
            let units = level.size_decimal() * Decimal::from(100_000_000);
            (i64::try_from(ticks).unwrap(), i64::try_from(units).unwrap())
        };
        [book.bids(None).map(level).collect(), book.asks(None).map(level).collect()]
    }

    fn of_barter(book: &BarterBook) -> Levels {
        let level = |level: &BarterLevel| (level.price.mantissa() as i64, level.amount.mantissa() as i64);
        [book.bids().levels().iter().map(level).collect(), book.asks().levels().iter().map(level).collect()]
    }

    fn of_depth(depth: &impl MarketDepth) -> Levels {
        [BookSide::Buy, BookSide::Sell].map(|side| {
            let qty = |ticks: i64| match side {
                BookSide::Buy => depth.bid_qty_at_tick(ticks),
                BookSide::Sell => depth.ask_qty_at_tick(ticks),
            };
            let ticks = (-ANYWHERE.reach()..=ANYWHERE.reach()).map(|away| price(side, away));
            ticks.map(|ticks| (ticks, (qty(ticks) / LOT).round() as i64)).filter(|level| level.1 > 0).collect()
        })
    }

    #[test]
    fn all_hold_the_same_book_and_the_stream_ends_where_it_began() {
        for shape in [AT_THE_TOUCH, ANYWHERE] {
            let stream = Stream::new(&mut Random::new(1), shape);
            let (mut ours, mut ready) = (Ours::new(&stream).unwrap(), OursReady::new(&stream).unwrap());
            let (mut nautilus, mut barter) = (nautilus_book(&stream).unwrap(), barter_book(&stream.snapshot));
            let (mut hash, mut tree, mut roi) = (HashMapMarketDepth::new(TICK, LOT), BTreeMarketDepth::new(TICK, LOT), roi_vector());
            let snapshot = hftbacktest_changes(&stream.snapshot);
            apply_changes(&mut hash, &snapshot);
            apply_changes(&mut tree, &snapshot);
            apply_changes(&mut roi, &snapshot);
            let first = of_ours(&ours.book);
            let mut changed = false;
            for (at, rows) in stream.messages.iter().enumerate() {
                assert_eq!(ours.apply(rows), Applied::Applied);
                apply_events(&mut ready.book, &ready.messages[at]).unwrap();
                nautilus.apply_deltas(&nautilus_deltas(rows, false)).unwrap();
                barter.update(&OrderBookEvent::Update(barter_book(rows)));
                let changes = hftbacktest_changes(rows);
                apply_changes(&mut hash, &changes);
                apply_changes(&mut tree, &changes);
                apply_changes(&mut roi, &changes);
                let levels = of_ours(&ours.book);
                assert_eq!(of_ours(&ready.book), levels);
                assert_eq!(of_nautilus(&nautilus), levels);
                assert_eq!(of_barter(&barter), levels);
                assert_eq!([of_depth(&hash), of_depth(&tree), of_depth(&roi)], [levels.clone(), levels.clone(), levels.clone()]);
                for best in [(hash.best_bid_tick(), hash.best_ask_tick()), (roi.best_bid_tick(), roi.best_ask_tick())] {
                    assert_eq!(best, (levels[0][0].0, levels[1][0].0));
                }
                changed |= levels != first;
            }
            assert!(changed);
            assert_eq!(of_ours(&ours.book), first);
            check(&ours.book).unwrap();
        }
    }
}
