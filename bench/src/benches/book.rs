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
//! What the changes are, [`rig`] says.

pub mod rig;

use super::{BLOCK, ONE, OURS, SEED};
use crate::measure::{Budget, Side, alternate};
use crate::random::Random;
use crate::report::{Report, Target};
use anyhow::ensure;
#[cfg(test)]
use engine_core::event::Side as BookSide;
use engine_core::fixed::{Price, Qty};
use rig::{Ours, Shape, Spread, Stream};
use std::collections::BTreeMap;
use std::hint::black_box;
use venues::binance::depth::Applied;
use venues::binance::message::Row;

const BENCH: &str = "book";
const MAPS: &str = "BTreeMap, no checks";
const ARRAYS: &str = "sorted Vec, no checks";
const CASES: [(&str, Shape); 3] = [
    ("1 to 4 changes near the top of 60 levels", shape(Spread::NearTheTop, (1, 4), 60)),
    ("8 changes near the top of 1,000 levels", shape(Spread::NearTheTop, (8, 8), 1_000)),
    ("40 changes anywhere in 1,000 levels", shape(Spread::Anywhere, (40, 40), 1_000)),
];

const fn shape(spread: Spread, changes: (u64, u64), levels: usize) -> Shape {
    Shape { spread, changes, levels, distinct: false }
}

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    for (case, shape) in CASES {
        let stream = Stream::new(&mut Random::new(SEED), shape);
        let mut ours = Ours::new(&stream)?;
        let mut mine = stream.messages.iter().cycle();
        let sides = vec![
            Side::new(OURS, ONE, move |meter| {
                for rows in mine.by_ref().take(BLOCK) {
                    let applied = meter.time(0, || ours.apply(black_box(rows)));
                    ensure!(applied == Applied::Applied, "the book's synchronisation objected: {applied:?}");
                }
                rig::check(&ours.book)
            }),
            peer_side::<Maps>(MAPS, &stream),
            peer_side::<Arrays>(ARRAYS, &stream),
        ];
        report.add_case(BENCH, case, &alternate(budget, sides)?, Target::AtLeast(1.0));
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
    use engine_core::book::Book;

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
        for (_, shape) in CASES {
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
            rig::check(&ours.book).unwrap();
        }
    }
}
