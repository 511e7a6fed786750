//! The book against its rules and against a naive model.

use engine_core::book::{Book, BookChange, BookConfig, CAPACITY_MAX, Level, Sweep, Validity};
use engine_core::event::{BookInvalid, Event, EventKind, Side, Times, VALUE_MAX, flags};
use engine_core::fixed::{Price, Qty};
use engine_core::ids::{InstrumentId, VenueId};
use engine_core::state_hash::StateHasher;
use proptest::prelude::*;
use std::collections::BTreeMap;

const VENUE: VenueId = VenueId(0);
const INSTRUMENT: InstrumentId = InstrumentId(0);

fn times(ns: u64) -> Times {
    Times { core_ns: ns, poll_delay_ns: 0 }
}

fn set(side: Side, price: i64, qty: i64, sequence: u64) -> Event {
    Event::book_level(VENUE, INSTRUMENT, side, Price(price), Qty(qty), sequence, times(sequence + 1))
}

fn quote(side: Side, price: i64, qty: i64, sequence: u64) -> Event {
    Event::top_of_book(VENUE, INSTRUMENT, side, Price(price), Qty(qty), sequence, times(sequence + 1))
}

fn invalid(reason: BookInvalid) -> Event {
    Event::book_invalid(VENUE, INSTRUMENT, reason, times(50))
}

/// Applies a snapshot of the given levels, at sequence 10; the last event carries LAST.
fn load(book: &mut Book, bids: &[(i64, i64)], asks: &[(i64, i64)]) -> BookChange {
    let levels: Vec<Event> = bids
        .iter()
        .map(|&(p, q)| set(Side::Buy, p, q, 10))
        .chain(asks.iter().map(|&(p, q)| set(Side::Sell, p, q, 10)))
        .map(|e| e.with(flags::SNAPSHOT))
        .collect();
    let mut change = BookChange::Ignored;
    for (i, event) in levels.iter().enumerate() {
        let mut event = *event;
        if i == 0 {
            event = event.with(flags::CLEAR);
        }
        if i + 1 == levels.len() {
            event = event.with(flags::LAST);
        }
        change = book.apply(&event);
    }
    change
}

fn small() -> Book {
    let mut book = Book::new(BookConfig::default());
    assert_eq!(load(&mut book, &[(100, 5), (99, 7), (98, 9)], &[(102, 4), (103, 6), (105, 8)]), BookChange::Validated);
    book
}

fn side_of(book: &Book, side: Side) -> Vec<(i64, i64)> {
    book.levels(side).map(|l| (l.price.0, l.qty.0)).collect()
}

fn hash(book: &Book) -> u64 {
    let mut hasher = StateHasher::new();
    book.hash_state(&mut hasher);
    hasher.finish()
}

#[test]
fn a_new_book_has_no_prices_until_its_snapshot_is_complete() {
    let mut book = Book::new(BookConfig::default());
    assert_eq!(book.state(), Validity::Invalid(BookInvalid::Initial));
    assert_eq!(book.apply(&set(Side::Buy, 100, 5, 9).with(flags::LAST)), BookChange::Ignored, "an update without a snapshot");
    assert_eq!(book.apply(&set(Side::Buy, 100, 5, 10).with(flags::CLEAR | flags::SNAPSHOT)), BookChange::Partial);
    assert_eq!(book.state(), Validity::Loading(BookInvalid::Initial));
    assert_eq!((book.bid(), book.depth(Side::Buy), book.levels(Side::Buy).count()), (None, 0, 0), "half a snapshot is not a book");
    assert_eq!(book.apply(&set(Side::Sell, 101, 5, 10).with(flags::SNAPSHOT | flags::LAST)), BookChange::Validated);
    assert_eq!(book.top(), Some((Level { price: Price(100), qty: Qty(5) }, Level { price: Price(101), qty: Qty(5) })));
    assert_eq!((book.counters().ignored, book.counters().snapshots, book.sequence()), (1, 1, 10));
}

#[test]
fn updates_set_insert_and_delete_levels() {
    let mut book = small();
    assert_eq!(book.apply(&set(Side::Buy, 100, 0, 11)), BookChange::Partial);
    assert_eq!(book.apply(&set(Side::Sell, 104, 3, 11)), BookChange::Partial);
    assert_eq!(book.apply(&set(Side::Buy, 97, 0, 11)), BookChange::Partial, "deleting an unknown level is normal");
    assert_eq!(book.apply(&set(Side::Buy, 98, 1, 11).with(flags::LAST)), BookChange::Updated { top: true });
    assert_eq!(side_of(&book, Side::Buy), [(99, 7), (98, 1)]);
    assert_eq!(side_of(&book, Side::Sell), [(102, 4), (103, 6), (104, 3), (105, 8)]);
    assert_eq!(book.apply(&set(Side::Sell, 105, 9, 12).with(flags::LAST)), BookChange::Updated { top: false });
    assert_eq!(book.level(Side::Sell, 3), Some(Level { price: Price(105), qty: Qty(9) }));
    assert_eq!(book.level(Side::Sell, 4), None);
}

#[test]
fn every_reason_makes_the_book_answer_nothing_until_the_next_snapshot() {
    for &reason in BookInvalid::ALL {
        let mut book = small();
        assert_eq!(book.apply(&invalid(reason)), BookChange::Invalidated(reason));
        assert_eq!(book.state(), Validity::Invalid(reason));
        assert_eq!((book.top(), book.mid(), book.levels(Side::Sell).count()), (None, None, 0));
        assert_eq!(book.sweep(Side::Buy, Qty(1), None), Sweep::default());
        assert_eq!(book.apply(&set(Side::Buy, 100, 1, 11).with(flags::LAST)), BookChange::Ignored);
        assert_eq!(book.apply(&invalid(reason)), BookChange::Ignored, "a second reason is no news");
        assert_eq!(load(&mut book, &[(90, 1)], &[(91, 1)]), BookChange::Validated);
        assert_eq!(side_of(&book, Side::Buy), [(90, 1)], "nothing of the old book is left");
    }
}

#[test]
fn crossing_is_judged_at_the_end_of_the_message_only() {
    let mut book = small();
    assert_eq!(book.apply(&set(Side::Buy, 102, 5, 11)), BookChange::Partial);
    assert_eq!(book.apply(&set(Side::Sell, 102, 0, 11).with(flags::LAST)), BookChange::Updated { top: true }, "crossed only in between");
    assert_eq!(book.apply(&set(Side::Sell, 102, 1, 12).with(flags::LAST)), BookChange::Invalidated(BookInvalid::Crossed), "locked");
    assert_eq!((book.counters().crossed, book.counters().invalidated), (1, 1));
    let mut book = Book::new(BookConfig::default());
    assert_eq!(load(&mut book, &[(100, 1)], &[(99, 1)]), BookChange::Invalidated(BookInvalid::Crossed), "a crossed snapshot");
}

#[test]
fn a_new_snapshot_replaces_a_valid_book() {
    let mut book = small();
    assert_eq!(book.apply(&set(Side::Buy, 50, 1, 20).with(flags::CLEAR | flags::SNAPSHOT)), BookChange::Partial);
    assert_eq!(book.bid(), None);
    assert_eq!(book.apply(&Event { c: 21, flags: flags::LAST, ..touch() }), BookChange::Validated);
    assert_eq!((side_of(&book, Side::Buy), side_of(&book, Side::Sell), book.sequence()), (vec![(50, 1)], vec![], 21));
}

fn touch() -> Event {
    Event { instrument: 0, ..Event::new(EventKind::BookTouch, VENUE, times(60)) }
}

#[test]
fn a_touch_confirms_the_book_and_an_empty_snapshot_is_valid() {
    let mut book = small();
    assert_eq!(book.age_ns(61), 50);
    assert_eq!(book.apply(&touch().with(flags::LAST)), BookChange::Updated { top: false });
    assert_eq!((book.age_ns(61), book.is_fresh(61, 1), book.is_fresh(62, 1)), (1, true, false));
    assert_eq!(book.apply(&touch().with(flags::CLEAR | flags::LAST | flags::SNAPSHOT)), BookChange::Validated);
    assert_eq!((book.is_valid(), book.top()), (true, None));
}

#[test]
fn impossible_values_invalidate_instead_of_entering_the_book() {
    for (price, qty) in [(0, 1), (-1, 1), (i64::MIN, 1), (VALUE_MAX + 1, 1), (100, -1), (100, i64::MIN), (100, VALUE_MAX + 1)] {
        let mut book = small();
        assert_eq!(book.apply(&set(Side::Buy, price, qty, 11)), BookChange::Invalidated(BookInvalid::Malformed), "{price} {qty}");
        assert_eq!(book.counters().malformed, 1);
    }
    let mut book = small();
    assert_eq!(book.apply(&Event { side: 3, ..set(Side::Buy, 100, 1, 11) }), BookChange::Invalidated(BookInvalid::Malformed));
    let mut book = small();
    assert_eq!(book.apply(&Event { code: 999, ..invalid(BookInvalid::Gap) }), BookChange::Invalidated(BookInvalid::Malformed));
}

#[test]
fn a_full_side_drops_its_deepest_level_and_counts_it() {
    let mut book = Book::new(BookConfig { capacity: 3, ..BookConfig::default() });
    load(&mut book, &[(100, 1), (99, 1), (98, 1), (97, 1)], &[(105, 1)]);
    assert_eq!((side_of(&book, Side::Buy), book.counters().overflowed), (vec![(100, 1), (99, 1), (98, 1)], 1), "deepest of the snapshot");
    book.apply(&set(Side::Buy, 101, 2, 11).with(flags::LAST));
    assert_eq!(side_of(&book, Side::Buy), [(101, 2), (100, 1), (99, 1)]);
    book.apply(&set(Side::Buy, 50, 2, 12).with(flags::LAST));
    assert_eq!((side_of(&book, Side::Buy), book.counters().overflowed), (vec![(101, 2), (100, 1), (99, 1)], 3));
}

#[test]
fn a_window_is_cut_at_the_end_of_the_message_and_not_before() {
    let mut book = Book::new(BookConfig { capacity: 8, window: Some(2), top_only: false });
    load(&mut book, &[(100, 1), (99, 1)], &[(105, 1)]);
    // A level enters on top and another leaves in the same message: the third must survive until the end.
    book.apply(&set(Side::Buy, 101, 1, 11));
    book.apply(&set(Side::Buy, 100, 0, 11).with(flags::LAST));
    assert_eq!(side_of(&book, Side::Buy), [(101, 1), (99, 1)]);
    book.apply(&set(Side::Buy, 102, 1, 12).with(flags::LAST));
    assert_eq!((side_of(&book, Side::Buy), book.counters().overflowed), (vec![(102, 1), (101, 1)], 0));
}

#[test]
fn a_newer_quote_is_the_top_and_hides_depth_that_is_gone() {
    let mut book = small();
    assert_eq!(book.apply(&quote(Side::Buy, 99, 2, 11)), BookChange::Partial);
    assert_eq!(book.bid().map(|l| l.price), Some(Price(100)), "half a quote changes nothing");
    assert_eq!(book.apply(&quote(Side::Sell, 101, 3, 11).with(flags::LAST)), BookChange::Updated { top: true });
    assert_eq!(side_of(&book, Side::Buy), [(99, 2), (98, 9)], "100 is gone, 99 has the newer quantity");
    assert_eq!(side_of(&book, Side::Sell), [(101, 3), (102, 4), (103, 6), (105, 8)]);
    // The depth catches up with the same counter: it rules again.
    assert_eq!(book.apply(&set(Side::Buy, 100, 0, 11).with(flags::LAST)), BookChange::Updated { top: true });
    assert_eq!(side_of(&book, Side::Buy), [(99, 7), (98, 9)]);
    assert_eq!(book.ask().map(|l| l.price), Some(Price(102)));
}

#[test]
fn a_newer_quote_stays_the_top_when_a_message_of_older_depth_ends() {
    let mut book = small();
    book.apply(&quote(Side::Buy, 99, 3, 20));
    assert_eq!(book.apply(&quote(Side::Sell, 101, 2, 20).with(flags::LAST)), BookChange::Updated { top: true });
    assert_eq!(book.apply(&set(Side::Buy, 100, 6, 19).with(flags::LAST)), BookChange::Updated { top: false });
    let level = |price, qty| Level { price: Price(price), qty: Qty(qty) };
    assert_eq!(book.top(), Some((level(99, 3), level(101, 2))));
    assert_eq!(book.apply(&set(Side::Buy, 98, 6, 21).with(flags::LAST)), BookChange::Updated { top: true });
    assert_eq!(book.top(), Some((level(100, 6), level(102, 4))));
}

#[test]
fn late_crossed_and_one_sided_quotes_do_not_mislead() {
    let mut book = small();
    book.apply(&quote(Side::Buy, 101, 1, 12).with(flags::LAST));
    assert_eq!(book.bid().map(|l| l.price), Some(Price(100)), "one side alone");
    book.apply(&quote(Side::Sell, 101, 1, 12).with(flags::LAST));
    assert_eq!((book.bid().map(|l| l.price), book.counters().quotes_crossed), (Some(Price(100)), 1), "crossed");
    assert_eq!(book.apply(&quote(Side::Sell, 102, 1, 11).with(flags::LAST)), BookChange::Ignored, "older than the last quote");
    book.apply(&quote(Side::Sell, 0, 0, 13).with(flags::LAST));
    assert_eq!((side_of(&book, Side::Buy)[0], side_of(&book, Side::Sell)), ((101, 1), vec![]), "an empty side is empty");
    // After a reconnect the counter may start anew.
    book.apply(&invalid(BookInvalid::Disconnected));
    load(&mut book, &[(100, 5)], &[(102, 4)]);
    book.apply(&quote(Side::Buy, 101, 1, 11));
    book.apply(&quote(Side::Sell, 102, 1, 11).with(flags::LAST));
    assert_eq!(book.bid().map(|l| l.price), Some(Price(101)));
}

#[test]
fn a_book_without_a_depth_feed_lives_on_quotes() {
    let mut book = Book::new(BookConfig { capacity: 1, window: None, top_only: true });
    assert_eq!(book.apply(&quote(Side::Buy, 99, 2, 0)), BookChange::Partial);
    assert_eq!(book.apply(&quote(Side::Sell, 101, 3, 0).with(flags::LAST)), BookChange::Validated);
    assert_eq!(book.mid(), Some(Price(100)));
    assert_eq!(book.sweep(Side::Buy, Qty(5), None), Sweep { qty: Qty(3), cost: 303, worst: Price(101) });
    assert_eq!(book.apply(&invalid(BookInvalid::Disconnected)), BookChange::Invalidated(BookInvalid::Disconnected));
    assert_eq!(book.mid(), None);
    let mut depth = Book::new(BookConfig::default());
    depth.apply(&quote(Side::Buy, 99, 2, 5));
    assert_eq!(depth.apply(&quote(Side::Sell, 101, 3, 5).with(flags::LAST)), BookChange::Ignored, "quotes do not replace a depth feed");
}

#[test]
fn sweeps_walk_the_book_to_quantity_limit_or_end() {
    let book = small();
    let buy = book.sweep(Side::Buy, Qty(7), None);
    assert_eq!(buy, Sweep { qty: Qty(7), cost: 102 * 4 + 103 * 3, worst: Price(103) });
    assert_eq!(buy.vwap(), Some(Price((102 * 4 + 103 * 3) / 7)));
    assert_eq!(book.sweep(Side::Buy, Qty(100), Some(Price(103))), Sweep { qty: Qty(10), cost: 102 * 4 + 103 * 6, worst: Price(103) });
    assert_eq!(book.sweep(Side::Sell, Qty(6), Some(Price(99))), Sweep { qty: Qty(6), cost: 100 * 5 + 99, worst: Price(99) });
    assert_eq!(book.sweep(Side::Sell, Qty(6), Some(Price(101))), Sweep::default());
    assert_eq!(book.sweep(Side::Sell, Qty(-5), None), Sweep::default());
    assert_eq!((book.quantity_to(Side::Sell, Price(103)), book.quantity_to(Side::Buy, Price(99))), (Qty(10), Qty(12)));
}

#[test]
fn extreme_but_legal_values_do_not_overflow() {
    let mut book = Book::new(BookConfig::default());
    let bids: Vec<_> = (0..300).map(|i| (VALUE_MAX - 1 - i, VALUE_MAX)).collect();
    load(&mut book, &bids, &[(VALUE_MAX, VALUE_MAX)]);
    let sweep = book.sweep(Side::Sell, Qty::MAX, None);
    assert!(sweep.qty == Qty::MAX && sweep.vwap().is_some());
    assert_eq!(book.quantity_to(Side::Buy, Price(1)), Qty::MAX, "saturates");
    assert_eq!(book.mid(), Some(Price(VALUE_MAX - 1)));
    assert_eq!(Book::new(BookConfig { capacity: usize::MAX, ..BookConfig::default() }).config().capacity, CAPACITY_MAX);
}

#[test]
fn the_hash_tells_books_apart_and_does_not_depend_on_how_they_came_about() {
    let book = small();
    let mut other = small();
    assert_eq!(hash(&book), hash(&other));
    other.apply(&set(Side::Buy, 97, 1, 11).with(flags::LAST));
    let with_level = hash(&other);
    assert_ne!(hash(&book), with_level);
    let mut fresh = Book::new(BookConfig::default());
    load(&mut fresh, &[(100, 5), (99, 7), (98, 9), (97, 2)], &[(102, 4), (103, 6), (105, 8)]);
    assert_ne!(hash(&fresh), with_level, "another quantity");
    fresh.apply(&set(Side::Buy, 97, 1, 11).with(flags::LAST));
    assert_eq!(hash(&fresh), with_level);
}

/// The model: maps, no bound but the capacity, everything recomputed.
#[derive(Default)]
struct Naive {
    sides: [BTreeMap<i64, i64>; 2],
}

impl Naive {
    /// Best first.
    fn levels(&self, side: Side) -> Vec<(i64, i64)> {
        let map = self.sides[side.index()].iter().map(|(&p, &q)| (p, q));
        if side == Side::Buy { map.rev().collect() } else { map.collect() }
    }

    /// True if a level was dropped for want of room.
    fn set(&mut self, side: Side, price: i64, qty: i64, capacity: usize) -> bool {
        let map = &mut self.sides[side.index()];
        if qty == 0 {
            map.remove(&price);
            return false;
        }
        map.insert(price, qty);
        let full = map.len() > capacity;
        if full {
            let deepest = if side == Side::Buy { *map.keys().next().unwrap() } else { *map.keys().next_back().unwrap() };
            map.remove(&deepest);
        }
        full
    }

    fn crossed(&self) -> bool {
        match (self.sides[0].keys().next_back(), self.sides[1].keys().next()) {
            (Some(bid), Some(ask)) => bid >= ask,
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Step {
    buy: bool,
    price: i64,
    qty: i64,
    clear: bool,
    last: bool,
}

fn steps(prices: std::ops::Range<i64>) -> impl Strategy<Value = Vec<Step>> {
    let step =
        (any::<bool>(), prices, prop_oneof![Just(0i64), 1i64..1_000], 0u8..40, any::<bool>()).prop_map(|(buy, price, qty, clear, last)| {
            // Bids mostly below, asks mostly above, with some overlap so that crossings happen.
            let price = if buy { price } else { price + 45 };
            Step { buy, price, qty, clear: clear == 0, last }
        });
    proptest::collection::vec(step, 1..400)
}

/// What a market does that moves about.
#[derive(Clone, Copy, Debug)]
enum Move {
    /// The middle moves, by so many ticks.
    Drift(i64),
    /// A quantity at so many ticks from the middle, and so many price units off the tick.
    Set { buy: bool, away: i64, off: i64, qty: i64 },
    /// The level of this rank goes; beyond the last: the last.
    Take { buy: bool, rank: usize },
    /// A new snapshot of what is there: best first, or in the order of prices.
    Snapshot { best_first: bool },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    // Within a window of the book, across its ends, and far beyond them.
    let away = || prop_oneof![6 => 0i64..8, 3 => 0i64..1_500, 2 => 0i64..6_000, 1 => 0i64..50_000];
    let off = prop_oneof![60 => Just(0i64), 1 => 1i64..64];
    let step = prop_oneof![
        2 => away().prop_map(Move::Drift),
        2 => away().prop_map(|by| Move::Drift(-by)),
        12 => (any::<bool>(), away(), off, 1i64..1_000).prop_map(|(buy, away, off, qty)| Move::Set { buy, away, off, qty }),
        6 => (any::<bool>(), prop_oneof![3 => Just(0usize), 1 => 0usize..40]).prop_map(|(buy, rank)| Move::Take { buy, rank }),
        1 => any::<bool>().prop_map(|best_first| Move::Snapshot { best_first }),
    ];
    proptest::collection::vec(step, 1..250)
}

/// Messages of levels in ticks: each side all over a window of the book, now and then beyond it or across the other side.
fn messages() -> impl Strategy<Value = Vec<Vec<(Side, i64, i64)>>> {
    let away = prop_oneof![4 => 1i64..12, 12 => 1i64..3_000, 2 => 1i64..9_000, 1 => -40i64..1];
    let qty = prop_oneof![2 => Just(0i64), 3 => 1i64..1_000];
    let level = (any::<bool>(), away, qty).prop_map(|(buy, away, qty)| {
        let side = if buy { Side::Buy } else { Side::Sell };
        (side, 20_000 - side.sign() * away, qty)
    });
    proptest::collection::vec(proptest::collection::vec(level, 1..41), 1..24)
}

/// Applies the levels to the book as one message, and to the model. Returns how many were dropped for want of room.
fn apply_message(book: &mut Book, naive: &mut Naive, levels: &[(Side, i64, i64)], clear: bool, capacity: usize) -> u64 {
    let mut dropped = 0;
    let first = touch().with(if clear { flags::CLEAR | flags::SNAPSHOT } else { 0 });
    book.apply(&Event { c: 7, ..first });
    for &(side, price, qty) in levels {
        book.apply(&set(side, price, qty, 7));
        dropped += u64::from(naive.set(side, price, qty, capacity));
    }
    book.apply(&Event { c: 7, ..touch() }.with(flags::LAST));
    dropped
}

proptest! {
    #[test]
    fn the_book_equals_the_naive_model_wherever_the_market_goes(
        moves in moves(), tick in prop_oneof![Just(1i64), Just(5), Just(48), Just(1 << 21)], capacity in 1usize..40,
    ) {
        let config = BookConfig { capacity, window: None, top_only: false };
        let (mut book, mut naive) = (Book::with_tick(config, Price(tick)), Naive::default());
        let mut dropped = apply_message(&mut book, &mut naive, &[], true, capacity);
        let mut middle = 100_000i64;
        for step in moves {
            let mut levels = Vec::new();
            let mut clear = false;
            match step {
                Move::Drift(by) => middle = (middle + by).clamp(60_000, 1_000_000),
                Move::Set { buy, away, off, qty } => {
                    let side = if buy { Side::Buy } else { Side::Sell };
                    let price = (middle - side.sign() * (away + 1)) * tick + off % tick;
                    // What is in the way has traded.
                    let others = naive.levels(side.opposite());
                    let crossed = others.iter().take_while(|(p, _)| (price - p) * side.sign() >= 0);
                    levels.extend(crossed.map(|&(p, _)| (side.opposite(), p, 0)));
                    levels.push((side, price, qty));
                }
                Move::Take { buy, rank } => {
                    let side = if buy { Side::Buy } else { Side::Sell };
                    let held = naive.levels(side);
                    levels.extend(held.get(rank).or(held.last()).map(|&(price, _)| (side, price, 0)));
                    // And one that is not there.
                    levels.push((side, (middle - side.sign() * 70_000).max(1) * tick, 0));
                }
                Move::Snapshot { best_first } => {
                    clear = true;
                    let of = |side: Side| naive.levels(side).into_iter().map(move |(p, q)| (side, p, q));
                    levels = of(Side::Buy).chain(of(Side::Sell)).collect();
                    if !best_first {
                        levels.sort_by_key(|&(_, price, _)| price);
                    }
                    naive = Naive::default();
                }
            }
            dropped += apply_message(&mut book, &mut naive, &levels, clear, capacity);
            prop_assert!(book.is_valid());
            for side in [Side::Buy, Side::Sell] {
                prop_assert_eq!(side_of(&book, side), naive.levels(side));
                prop_assert_eq!((book.depth(side), book.levels(side).len()), (naive.levels(side).len(), naive.levels(side).len()));
                prop_assert_eq!(book.best(side).map(|l| (l.price.0, l.qty.0)), naive.levels(side).first().copied());
            }
        }
        prop_assert_eq!(book.counters().overflowed, dropped);
        // The same levels taken in at once, by a book that knows nothing of the tick, make the same state.
        let mut direct = Book::new(config);
        let of = |side| naive.levels(side).into_iter().map(move |(price, qty)| (side, price, qty));
        let levels: Vec<_> = [Side::Buy, Side::Sell].into_iter().flat_map(of).collect();
        apply_message(&mut direct, &mut Naive::default(), &levels, true, capacity);
        prop_assert_eq!(hash(&book), hash(&direct));
    }

    #[test]
    fn a_window_keeps_the_best_levels_wherever_the_market_goes(moves in moves(), window in 1usize..12) {
        let mut book = Book::with_tick(BookConfig { capacity: 100, window: Some(window), top_only: false }, Price(5));
        let mut naive = Naive::default();
        apply_message(&mut book, &mut naive, &[], true, 100);
        let mut middle = 100_000i64;
        for step in moves {
            match step {
                Move::Drift(by) => middle = (middle + by).clamp(60_000, 1_000_000),
                Move::Set { buy, away, qty, .. } => {
                    let side = if buy { Side::Buy } else { Side::Sell };
                    let level = (side, (middle - side.sign() * (away + 1)) * 5, qty);
                    let crosses = naive.levels(side.opposite()).first().is_some_and(|(p, _)| (level.1 - p) * side.sign() >= 0);
                    if !crosses {
                        apply_message(&mut book, &mut naive, &[level], false, window);
                    }
                }
                Move::Take { buy, rank } => {
                    let side = if buy { Side::Buy } else { Side::Sell };
                    let gone: Vec<_> = naive.levels(side).get(rank).map(|&(price, _)| (side, price, 0)).into_iter().collect();
                    apply_message(&mut book, &mut naive, &gone, false, window);
                }
                Move::Snapshot { .. } => {}
            }
            for side in [Side::Buy, Side::Sell] {
                prop_assert_eq!(side_of(&book, side), naive.levels(side));
            }
        }
    }

    #[test]
    fn the_book_equals_the_naive_model(steps in steps(1..60), capacity in 1usize..30) {
        let mut book = Book::new(BookConfig { capacity, window: None, top_only: false });
        let mut naive = Naive::default();
        // Valid, loading or invalid, as the model sees it.
        let (mut valid, mut loading) = (false, false);
        for (i, step) in steps.iter().enumerate() {
            let side = if step.buy { Side::Buy } else { Side::Sell };
            let clear = step.clear || i == 0;
            let mut event = set(side, step.price, step.qty, i as u64 + 1);
            event.flags = if clear { flags::CLEAR } else { 0 } | if step.last { flags::LAST } else { 0 };
            if clear {
                naive = Naive::default();
                (valid, loading) = (false, true);
            }
            let change = book.apply(&event);
            if !valid && !loading {
                prop_assert_eq!(change, BookChange::Ignored);
                continue;
            }
            naive.set(side, step.price, step.qty, capacity);
            if !step.last {
                prop_assert_eq!(change, BookChange::Partial);
                continue;
            }
            if naive.crossed() {
                prop_assert_eq!(change, BookChange::Invalidated(BookInvalid::Crossed));
                (valid, loading) = (false, false);
            } else {
                prop_assert_eq!(change == BookChange::Validated, loading);
                (valid, loading) = (true, false);
            }
            if valid {
                for side in [Side::Buy, Side::Sell] {
                    prop_assert_eq!(side_of(&book, side), naive.levels(side));
                    prop_assert_eq!(book.best(side).map(|l| (l.price.0, l.qty.0)), naive.levels(side).first().copied());
                }
                let (want, limit) = (Qty(500), Price(70));
                let mut model = Sweep::default();
                for (price, qty) in naive.levels(Side::Sell) {
                    let take = qty.min(want.0 - model.qty.0);
                    if price > limit.0 || take == 0 { break; }
                    model = Sweep { qty: Qty(model.qty.0 + take), cost: model.cost + i128::from(price * take), worst: Price(price) };
                }
                prop_assert_eq!(book.sweep(Side::Buy, want, Some(limit)), model);
            } else {
                prop_assert!(book.top().is_none());
            }
        }
    }

    #[test]
    fn messages_of_levels_that_come_and_go_all_over_the_window_and_beyond_leave_what_the_model_holds(
        messages in messages(), tick in prop_oneof![Just(1i64), Just(10), Just(64)], capacity in prop_oneof![20usize..60, Just(2_000)],
    ) {
        let config = BookConfig { capacity, window: None, top_only: false };
        let (mut book, mut naive) = (Book::with_tick(config, Price(tick)), Naive::default());
        apply_message(&mut book, &mut naive, &[], true, capacity);
        for levels in messages {
            let levels: Vec<_> = levels.into_iter().map(|(side, ticks, qty)| (side, ticks * tick, qty)).collect();
            let before = book.counters();
            let dropped = apply_message(&mut book, &mut naive, &levels, false, capacity);
            prop_assert_eq!(book.counters().applied - before.applied, levels.len() as u64);
            prop_assert_eq!(book.counters().overflowed - before.overflowed, dropped);
            prop_assert_eq!(book.is_valid(), !naive.crossed());
            if naive.crossed() {
                prop_assert_eq!((book.top(), book.depth(Side::Buy), book.levels(Side::Sell).count()), (None, 0, 0));
                // A snapshot of what one side has, and the other from its best on.
                naive.sides[1] = BTreeMap::new();
                let bids: Vec<_> = naive.levels(Side::Buy).into_iter().map(|(price, qty)| (Side::Buy, price, qty)).collect();
                naive.sides[0] = BTreeMap::new();
                apply_message(&mut book, &mut naive, &bids, true, capacity);
                prop_assert!(book.is_valid());
            }
            for side in [Side::Buy, Side::Sell] {
                prop_assert_eq!(side_of(&book, side), naive.levels(side));
                prop_assert_eq!(book.best(side).map(|l| (l.price.0, l.qty.0)), naive.levels(side).first().copied());
            }
        }
        let mut direct = Book::new(config);
        let of = |side| naive.levels(side).into_iter().map(move |(price, qty)| (side, price, qty));
        let levels: Vec<_> = [Side::Buy, Side::Sell].into_iter().flat_map(of).collect();
        apply_message(&mut direct, &mut Naive::default(), &levels, true, capacity);
        prop_assert_eq!(hash(&book), hash(&direct));
    }

    #[test]
    fn equal_contents_have_equal_hashes_whatever_the_path(steps in steps(1..45)) {
        // The same final levels, once through all the steps and once directly.
        let mut walked = Book::new(BookConfig::default());
        walked.apply(&touch().with(flags::CLEAR | flags::LAST));
        let mut naive = Naive::default();
        for step in &steps {
            let side = if step.buy { Side::Buy } else { Side::Sell };
            walked.apply(&set(side, step.price, step.qty, 7));
            naive.set(side, step.price, step.qty, 1024);
        }
        let end = Event { c: 9, core_time_ns: 100, ..touch() }.with(flags::LAST);
        walked.apply(&end);
        let mut direct = Book::new(BookConfig::default());
        direct.apply(&touch().with(flags::CLEAR));
        for side in [Side::Buy, Side::Sell] {
            for (price, qty) in naive.levels(side) {
                direct.apply(&set(side, price, qty, 7));
            }
        }
        direct.apply(&end);
        prop_assert!(walked.is_valid());
        prop_assert_eq!(hash(&walked), hash(&direct));
    }

    #[test]
    fn any_event_bytes_leave_a_book_that_answers(
        words in proptest::collection::vec((any::<[u64; 4]>(), 0u8..10, any::<u8>(), 0u8..4), 0..100),
    ) {
        let mut book = Book::new(BookConfig { capacity: 8, window: Some(4), top_only: false });
        for ([a, b, c, d], kind, flags, side) in words {
            let event = Event { kind, flags, side, a, b, c, d, ..Event::default() };
            book.apply(&event);
            prop_assert!(book.levels(Side::Buy).count() <= 9);
            if let Some((bid, ask)) = book.top() {
                prop_assert!(bid.price < ask.price || !event.has(engine_core::event::flags::LAST));
            }
        }
    }
}
