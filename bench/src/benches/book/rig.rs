//! What is measured of a book, whoever it is compared with: a stream of changes, and our side of it.
//!
//! Seven in ten changes change a quantity, two add a level, one takes a level away; the stream is then played
//! backwards, undone change by change, so that it can be repeated for ever.

use crate::messages::ID_FIRST;
use crate::random::Random;
use anyhow::ensure;
use engine_core::book::{Book, BookConfig};
use engine_core::event::{Event, Side as BookSide, Times, flags};
use engine_core::ids::{InstrumentId, VenueId};
use std::collections::BTreeMap;
use std::hint::black_box;
use venues::binance::depth::{Applied, BookSync, Diff, Stamp, Taken};
use venues::binance::message::Row;

/// Of all events.
pub const STAMP: Stamp =
    Stamp { venue: VenueId(0), instrument: InstrumentId(0), times: Times { core_ns: 1_767_225_600_000_000_000, poll_delay_ns: 0 } };
/// Changes before the stream turns back, at least. Of some hundred, repeated for ever, a processor learns by heart which levels
/// come and go; no market repeats itself.
pub const CHANGES: usize = 8_192;
/// Between the best bid and the best ask.
const MIDDLE: i64 = 6_825_011;
/// Room a side.
const CAPACITY: usize = 4_096;

/// Where changes happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spread {
    /// Each level half as often as the one before.
    NearTheTop,
    /// Anywhere alike.
    Anywhere,
}

/// What a stream is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Where changes happen.
    pub spread: Spread,
    /// Changes a message, least and most.
    pub changes: (u64, u64),
    /// Levels a side at the beginning, on every other tick.
    pub levels: usize,
    /// No message names a price twice, and no level is beyond [`Shape::reach`].
    pub distinct: bool,
}

impl Shape {
    /// A tick more than the distance from the middle to the last level at the beginning, in ticks.
    pub const fn reach(&self) -> i64 {
        2 * self.levels as i64 + 1
    }
}

/// A side's price `away` ticks from the middle.
pub fn price(side: BookSide, away: i64) -> i64 {
    MIDDLE - side.sign() * away
}

/// Changes that end where they began.
#[derive(Debug)]
pub struct Stream {
    /// The levels at the beginning.
    pub snapshot: Vec<Row>,
    /// The changes of each message, there and back.
    pub messages: Vec<Vec<Row>>,
}

impl Stream {
    /// A stream of this shape.
    pub fn new(random: &mut Random, shape: Shape) -> Stream {
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
        let mut made = 0;
        while made < CHANGES {
            let (mut rows, mut back): (Vec<Row>, Vec<Row>) = (Vec::new(), Vec::new());
            let (least, most) = shape.changes;
            let changes = (least + random.below(most - least + 1)) as usize;
            while rows.len() < changes {
                let side = if random.below(2) == 0 { BookSide::Buy } else { BookSide::Sell };
                let levels = &mut sides[side.index()];
                let last = levels.len() as u64 - 1;
                let at = if shape.spread == Spread::Anywhere { random.below(last + 1) } else { random.halving(last) };
                let (&held, _) = levels.iter().nth(at as usize).expect("within the levels");
                let (away, now) = match random.below(10) {
                    0 => (held, 0),
                    1 | 2 => (held + 1, qty(random)),
                    _ => (held, qty(random)),
                };
                let named = || rows.iter().any(|row| (row.side, row.price) == (side, price(side, away)));
                let ends_it = now == 0 && last == 0;
                if ends_it || shape.distinct && (away > shape.reach() || named()) {
                    continue;
                }
                let before = levels.get(&away).copied().unwrap_or(0);
                if now == 0 {
                    levels.remove(&away)
                } else {
                    levels.insert(away, now)
                };
                rows.push(Row { side, price: price(side, away), qty: now });
                back.push(Row { side, price: price(side, away), qty: before });
            }
            back.reverse();
            made += rows.len();
            messages.push(rows);
            undone.push(back);
        }
        messages.extend(undone.into_iter().rev());
        Stream { snapshot, messages }
    }

    /// The snapshot as events.
    pub fn snapshot_events(&self) -> Vec<Event> {
        let last = self.snapshot.len() - 1;
        let event = |(at, &row): (usize, &Row)| {
            let mut event = STAMP.level(row, ID_FIRST, 0).with(flags::COLD | flags::SNAPSHOT);
            event.flags |= if at == 0 { flags::CLEAR } else { 0 };
            event.flags |= if at == last { flags::LAST } else { 0 };
            event
        };
        self.snapshot.iter().enumerate().map(event).collect()
    }
}

/// A book of ours with room for every stream.
pub fn empty_book() -> Book {
    Book::new(BookConfig { capacity: CAPACITY, window: None, top_only: false })
}

/// Nothing was wrong with what the book was given.
///
/// # Errors
/// If something was.
pub fn check(book: &Book) -> anyhow::Result<()> {
    let c = book.counters();
    ensure!(book.is_valid() && c.overflowed + c.crossed + c.malformed == 0, "the book objected: {c:?}");
    Ok(())
}

/// Continuity, events, book.
pub struct Ours {
    /// The book.
    pub book: Book,
    sync: BookSync,
    id: u64,
}

impl Ours {
    /// In step, with the stream's snapshot.
    ///
    /// # Errors
    /// If the book does not take it.
    pub fn new(stream: &Stream) -> anyhow::Result<Ours> {
        let (mut book, mut sync) = (empty_book(), BookSync::default());
        let now_ns = STAMP.times.core_ns;
        sync.start(now_ns);
        sync.asked(now_ns);
        let mut taken = Taken::Unwanted;
        for event in &stream.snapshot_events() {
            taken = sync.on_snapshot(event, &STAMP, &mut |event: &Event| {
                book.apply(event);
            });
        }
        ensure!(taken == Taken::Synchronised && book.is_valid(), "the book did not take its snapshot: {taken:?}");
        Ok(Ours { book, sync, id: ID_FIRST })
    }

    /// Takes a message, and reads the best bid and ask.
    #[inline]
    pub fn apply(&mut self, rows: &[Row]) -> Applied {
        let Ours { book, sync, id } = self;
        let diff = Diff { first: *id + 1, last: *id + 4, time_ns: STAMP.times.core_ns, rows };
        *id += 4;
        let applied = sync.on_diff(diff, &STAMP, &mut |event: &Event| {
            black_box(book.apply(event));
        });
        black_box((book.best(BookSide::Buy), book.best(BookSide::Sell)));
        applied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distinct_stream_names_no_price_twice_in_a_message_and_most_changes_are_of_quantities() {
        let shape = Shape { spread: Spread::Anywhere, changes: (40, 40), levels: 1_000, distinct: true };
        let repeats = |stream: &Stream| {
            let mut prices = std::collections::HashSet::new();
            let repeats = |rows: &Vec<Row>| {
                prices.clear();
                rows.iter().filter(|row| !prices.insert((row.side.index(), row.price))).count()
            };
            stream.messages.iter().map(repeats).sum::<usize>()
        };
        let stream = Stream::new(&mut Random::new(2), shape);
        assert!(stream.messages.iter().all(|rows| rows.len() == 40));
        assert_eq!(repeats(&stream), 0);
        assert!(repeats(&Stream::new(&mut Random::new(2), Shape { distinct: false, ..shape })) > 0);
        let (far, near) = (price(BookSide::Sell, shape.reach()), price(BookSide::Buy, shape.reach()));
        assert!(stream.messages.iter().flatten().all(|row| (near..=far).contains(&row.price)));
        let forwards = &stream.messages[..stream.messages.len() / 2];
        assert_eq!(forwards.len(), CHANGES.div_ceil(40));
        let deleted = forwards.iter().flatten().filter(|row| row.qty == 0).count() as f64 / (40 * forwards.len()) as f64;
        assert!((0.07..0.13).contains(&deleted), "{deleted}");
    }
}
