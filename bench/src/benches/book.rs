//! `book`: a decoded message into a book.
//!
//! Ours is what stands between codec and strategy: the rule of continuity over the message's ids ([`BookSync`]), an
//! event for each level, the book ([`Book`]) with its checks of each level and, at the end, of crossing; then the best
//! bid and ask are read. The peers are the plain designs: a `BTreeMap` for each side, and an array for each side that is
//! sorted, with the best level last (where changes near the touch move least), and searched in halves. They check nothing,
//! and their best bid and ask are read as well. All start from decoded rows.
//!
//! Two cases matter most: messages of few changes near the touch of a shallow book, which is what most messages are, and
//! messages of 40 changes anywhere in 1,000 levels, which others publish figures of.
//!
//! Seven in ten changes change a quantity, two add a level, one takes a level away; the stream is then played
//! backwards, undone change by change, so that it can be repeated for ever.

use super::{BLOCK, ONE, OURS, SEED};
use crate::measure::{Budget, Side, alternate};
use crate::messages::ID_FIRST;
use crate::random::Random;
use crate::report::{Report, Target};
use anyhow::ensure;
use engine_core::book::{Book, BookConfig};
use engine_core::event::{Event, Side as BookSide, Times, flags};
use engine_core::fixed::{Price, Qty};
use engine_core::ids::{InstrumentId, VenueId};
use std::collections::BTreeMap;
use std::hint::black_box;
use venues::binance::depth::{Applied, BookSync, Diff, Stamp, Taken};
use venues::binance::message::Row;

const BENCH: &str = "book";
const MAPS: &str = "BTreeMap, no checks";
const ARRAYS: &str = "sorted Vec, no checks";
const STAMP: Stamp =
    Stamp { venue: VenueId(0), instrument: InstrumentId(0), times: Times { core_ns: 1_767_225_600_000_000_000, poll_delay_ns: 0 } };
/// Between the best bid and the best ask.
const MIDDLE: i64 = 6_825_011;
/// Room a side.
const CAPACITY: usize = 4_096;
/// Messages before the stream turns back.
const MESSAGES: usize = 128;

/// Where changes happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spread {
    /// Each level half as often as the one before.
    NearTheTop,
    /// Anywhere alike.
    Anywhere,
}

/// What a stream is like.
#[derive(Clone, Copy, Debug)]
struct Shape {
    case: &'static str,
    spread: Spread,
    /// Changes a message, least and most.
    changes: (u64, u64),
    /// Levels a side at the beginning.
    levels: usize,
}

const SHAPES: [Shape; 3] = [
    Shape { case: "1 to 4 changes near the top of 60 levels", spread: Spread::NearTheTop, changes: (1, 4), levels: 60 },
    Shape { case: "8 changes near the top of 1,000 levels", spread: Spread::NearTheTop, changes: (8, 8), levels: 1_000 },
    Shape { case: "40 changes anywhere in 1,000 levels", spread: Spread::Anywhere, changes: (40, 40), levels: 1_000 },
];

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    for shape in SHAPES {
        let stream = Stream::new(&mut Random::new(SEED), shape);
        let mut ours = Ours::new(&stream)?;
        let mut mine = stream.messages.iter().cycle();
        let sides = vec![
            Side::new(OURS, ONE, move |meter| {
                for rows in mine.by_ref().take(BLOCK) {
                    let applied = meter.time(0, || ours.apply(black_box(rows)));
                    ensure!(applied == Applied::Applied, "the book's synchronisation objected: {applied:?}");
                }
                ours.check()
            }),
            peer_side::<Maps>(MAPS, &stream),
            peer_side::<Arrays>(ARRAYS, &stream),
        ];
        report.add_case(BENCH, shape.case, &alternate(budget, sides)?, Target::AtLeast(1.0));
    }
    Ok(())
}

fn peer_side<'a, P: Peer + 'a>(name: &'static str, stream: &'a Stream) -> Side<'a> {
    let mut peer = P::default();
    peer.apply(&stream.snapshot);
    let mut messages = stream.messages.iter().cycle();
    Side::new(name, ONE, move |meter| {
        for rows in messages.by_ref().take(BLOCK) {
            meter.time(0, || peer.apply(black_box(rows)));
        }
        Ok(())
    })
}

/// Changes that end where they began.
struct Stream {
    snapshot: Vec<Row>,
    messages: Vec<Vec<Row>>,
}

/// A side's price `away` ticks from the middle.
fn price(side: BookSide, away: i64) -> i64 {
    MIDDLE - side.sign() * away
}

impl Stream {
    fn new(random: &mut Random, shape: Shape) -> Stream {
        let qty = |random: &mut Random| 1 + random.below(1_000_000_000) as i64;
        // Every other tick at first; the ticks between are for levels that are added.
        let mut sides: [BTreeMap<i64, i64>; 2] = Default::default();
        let mut snapshot = Vec::new();
        for side in [BookSide::Buy, BookSide::Sell] {
            for at in 0..shape.levels as i64 {
                let row = Row { side, price: price(side, 2 * at + 1), qty: qty(random) };
                sides[side.index()].insert(2 * at + 1, row.qty);
                snapshot.push(row);
            }
        }
        let (mut messages, mut undone) = (Vec::new(), Vec::new());
        for _ in 0..MESSAGES {
            let (mut rows, mut back) = (Vec::new(), Vec::new());
            let (least, most) = shape.changes;
            for _ in 0..least + random.below(most - least + 1) {
                let side = if random.below(2) == 0 { BookSide::Buy } else { BookSide::Sell };
                let levels = &mut sides[side.index()];
                let last = levels.len() as u64 - 1;
                let at = if shape.spread == Spread::Anywhere { random.below(last + 1) } else { random.halving(last) };
                let (&held, &before) = levels.iter().nth(at as usize).expect("within the levels");
                let (away, now) = match random.below(10) {
                    0 => (held, 0),
                    1 | 2 => (held + 1, qty(random)),
                    _ => (held, qty(random)),
                };
                let before = if away == held { before } else { levels.get(&away).copied().unwrap_or(0) };
                if now == 0 {
                    levels.remove(&away)
                } else {
                    levels.insert(away, now)
                };
                rows.push(Row { side, price: price(side, away), qty: now });
                back.push(Row { side, price: price(side, away), qty: before });
            }
            back.reverse();
            messages.push(rows);
            undone.push(back);
        }
        messages.extend(undone.into_iter().rev());
        Stream { snapshot, messages }
    }
}

/// Continuity, events, book.
struct Ours {
    sync: BookSync,
    book: Book,
    id: u64,
}

impl Ours {
    /// In step, with the stream's snapshot.
    fn new(stream: &Stream) -> anyhow::Result<Ours> {
        let mut book = Book::new(BookConfig { capacity: CAPACITY, window: None, top_only: false });
        let mut sync = BookSync::default();
        let now_ns = STAMP.times.core_ns;
        sync.start(now_ns);
        sync.asked(now_ns);
        let mut taken = Taken::Unwanted;
        for (at, &row) in stream.snapshot.iter().enumerate() {
            let mut event = STAMP.level(row, ID_FIRST, 0).with(flags::COLD | flags::SNAPSHOT);
            event.flags |= if at == 0 { flags::CLEAR } else { 0 };
            event.flags |= if at + 1 == stream.snapshot.len() { flags::LAST } else { 0 };
            taken = sync.on_snapshot(&event, &STAMP, &mut |event: &Event| {
                book.apply(event);
            });
        }
        ensure!(taken == Taken::Synchronised && book.is_valid(), "the book did not take its snapshot: {taken:?}");
        Ok(Ours { sync, book, id: ID_FIRST })
    }

    #[inline]
    fn apply(&mut self, rows: &[Row]) -> Applied {
        let Ours { sync, book, id } = self;
        let diff = Diff { first: *id + 1, last: *id + 4, time_ns: STAMP.times.core_ns, rows };
        *id += 4;
        let applied = sync.on_diff(diff, &STAMP, &mut |event: &Event| {
            black_box(book.apply(event));
        });
        black_box((book.best(BookSide::Buy), book.best(BookSide::Sell)));
        applied
    }

    fn check(&self) -> anyhow::Result<()> {
        let c = self.book.counters();
        ensure!(self.book.is_valid() && c.overflowed + c.crossed + c.malformed == 0, "the book objected: {c:?}");
        Ok(())
    }
}

/// A book without a check.
trait Peer: Default {
    /// Changes the book and reads its best levels.
    fn apply(&mut self, rows: &[Row]);

    /// Levels of a side, best first.
    #[cfg(test)]
    fn levels(&self, side: BookSide) -> Vec<(i64, i64)>;
}

/// Two maps.
#[derive(Default)]
struct Maps {
    sides: [BTreeMap<Price, Qty>; 2],
}

impl Peer for Maps {
    #[inline]
    fn apply(&mut self, rows: &[Row]) {
        for row in rows {
            let side = &mut self.sides[row.side.index()];
            if row.qty == 0 {
                side.remove(&Price(row.price));
            } else {
                side.insert(Price(row.price), Qty(row.qty));
            }
        }
        black_box((self.sides[0].last_key_value(), self.sides[1].first_key_value()));
    }

    #[cfg(test)]
    fn levels(&self, side: BookSide) -> Vec<(i64, i64)> {
        let levels = self.sides[side.index()].iter().map(|(price, qty)| (price.0, qty.0));
        if side == BookSide::Buy { levels.rev().collect() } else { levels.collect() }
    }
}

/// Two sorted arrays of price (negative on the ask side) and quantity, best last.
#[derive(Default)]
struct Arrays {
    sides: [Vec<(i64, i64)>; 2],
}

impl Peer for Arrays {
    #[inline]
    fn apply(&mut self, rows: &[Row]) {
        for row in rows {
            let side = &mut self.sides[row.side.index()];
            let key = row.price * row.side.sign();
            match side.binary_search_by_key(&key, |level| level.0) {
                Ok(at) if row.qty == 0 => drop(side.remove(at)),
                Ok(at) => side[at].1 = row.qty,
                Err(_) if row.qty == 0 => {}
                Err(at) => side.insert(at, (key, row.qty)),
            }
        }
        black_box((self.sides[0].last(), self.sides[1].last()));
    }

    #[cfg(test)]
    fn levels(&self, side: BookSide) -> Vec<(i64, i64)> {
        self.sides[side.index()].iter().rev().map(|&(key, qty)| (key * side.sign(), qty)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(book: &Book, side: BookSide) -> Vec<(i64, i64)> {
        book.levels(side).map(|level| (level.price.0, level.qty.0)).collect()
    }

    fn filled<P: Peer>(stream: &Stream) -> P {
        let mut peer = P::default();
        peer.apply(&stream.snapshot);
        peer
    }

    #[test]
    fn all_sides_hold_the_same_book_and_the_stream_ends_where_it_began() {
        const SIDES: [BookSide; 2] = [BookSide::Buy, BookSide::Sell];
        for shape in SHAPES {
            let stream = Stream::new(&mut Random::new(1), shape);
            let (mut ours, mut maps, mut arrays) = (Ours::new(&stream).unwrap(), filled::<Maps>(&stream), filled::<Arrays>(&stream));
            let first = SIDES.map(|side| levels(&ours.book, side));
            assert_eq!(first[0].len(), shape.levels);
            let mut changed = false;
            for rows in &stream.messages {
                assert!((shape.changes.0..=shape.changes.1).contains(&(rows.len() as u64)));
                assert_eq!(ours.apply(rows), Applied::Applied);
                maps.apply(rows);
                arrays.apply(rows);
                let held = SIDES.map(|side| levels(&ours.book, side));
                assert_eq!(held, SIDES.map(|side| maps.levels(side)));
                assert_eq!(held, SIDES.map(|side| arrays.levels(side)));
                changed |= held != first;
            }
            assert!(changed);
            assert_eq!(SIDES.map(|side| levels(&ours.book, side)), first);
            ours.check().unwrap();
        }
    }
}
