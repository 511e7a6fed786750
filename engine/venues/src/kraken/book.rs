//! The codec's own copy of a book's window, and the CRC-32 that proves it.
//!
//! Kraken's book has no sequence numbers: *the checksum is the only integrity check.* So the codec keeps the
//! subscribed window of each book itself, and hands levels on only after the sum of a message held. The
//! venue's algorithm (WebSocket v2, channel `book`):
//!
//! 1. A snapshot clears both sides and loads its levels.
//! 2. An update's rows are applied in order (quantity 0 deletes; the last row of a price wins).
//! 3. Each side is cut to the subscribed depth; the venue sends no delete for what leaves the window.
//! 4. The sum covers the ten best asks from the lowest price up, then the ten best bids from the highest
//!    down: of each level the price, then the quantity, printed with the instrument's decimals, without the
//!    point and without leading zeros; which is to say, the two integers. CRC-32/IEEE over that text.
//!
//! Each level keeps its piece of that text, rendered once when the level is set: the sum of an update then costs
//! twenty small copies and one CRC. Zeros are put before the text, for the CRC is quickest on whole blocks: one that
//! begins with nought does not change by them. Its usual beginning, all ones, is then added to the first four bytes
//! of the text, which comes to the same.

use super::message::{Row, Scratch};
use crate::words::ShortText;
use engine_core::event::Side;
use engine_core::fixed::POW10;

/// Levels a side that the checksum covers.
pub const CHECKSUM_LEVELS: usize = 10;
/// Levels a side beyond the window that one message may add before the window is cut.
const SLACK: usize = 256;
/// Blocks that the CRC takes at once.
const BLOCK_LEN: usize = 128;

/// A price level and its piece of the checksum's text.
#[derive(Clone, Copy, Debug)]
struct Level {
    price: i64,
    qty: i64,
    text: ShortText,
}

/// Decimal places: of the values held, and of the text that the venue sums up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decimals {
    /// Scale of the values.
    pub scale: u8,
    /// Decimals in the venue's text. At most the scale.
    pub printed: u8,
}

impl Decimals {
    /// Both alike, as they are unless the venue has changed its mind in mid-session.
    pub const fn same(scale: u8) -> Decimals {
        Decimals { scale, printed: scale }
    }

    #[inline]
    fn integer(self, value: i64) -> u64 {
        match self.scale.saturating_sub(self.printed) {
            0 => value.unsigned_abs(),
            down => value.unsigned_abs() / POW10[usize::from(down.min(18))] as u64,
        }
    }
}

/// Whether a message's checksum holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// It does, or the message had none.
    Holds,
    /// It does, if summed up with the decimals of the message's text instead of the instrument's: reference
    /// data is out of date. The book goes on with those.
    HoldsAtOtherDecimals,
    /// It does not.
    Fails,
}

/// One book's window. Prices are above zero and quantities not below it; see [`super::message::price`].
#[derive(Debug)]
pub struct Book {
    depth: usize,
    price: Decimals,
    qty: Decimals,
    /// Best first, by side.
    sides: [Vec<Level>; 2],
}

impl Book {
    /// An empty window of `depth` levels a side; allocates all it will need.
    pub fn new(depth: usize, price: Decimals, qty: Decimals) -> Book {
        Book { depth, price, qty, sides: [Vec::with_capacity(depth + SLACK), Vec::with_capacity(depth + SLACK)] }
    }

    /// Decimals of prices and quantities.
    pub const fn decimals(&self) -> (Decimals, Decimals) {
        (self.price, self.qty)
    }

    /// The venue prints with other decimals from here on. Levels held are rendered anew.
    pub fn set_printed(&mut self, price: u8, qty: u8) {
        self.price.printed = price.min(self.price.scale);
        self.qty.printed = qty.min(self.qty.scale);
        for level in self.sides.iter_mut().flatten() {
            *level = render(self.price, self.qty, level.price, level.qty);
        }
    }

    /// Empties both sides.
    pub fn clear(&mut self) {
        self.sides.iter_mut().for_each(Vec::clear);
    }

    /// Takes a message's rows and proves the result against the venue's checksum (`None`: the message had none).
    /// Deletes of levels that left the window are appended to the rows, which then say all that changed.
    #[inline]
    pub fn take(&mut self, snapshot: bool, scratch: &mut Scratch, checksum: Option<u32>) -> Proof {
        if snapshot {
            self.clear();
        }
        for at in 0..scratch.rows.len() {
            let row = scratch.rows[at];
            if let Some(price) = self.set(row) {
                scratch.rows.push(Row { price, qty: 0, ..row });
            }
        }
        self.truncate(|side, price| scratch.rows.push(Row { side, price, qty: 0 }));
        match checksum {
            Some(want) if self.checksum() != want => self.try_decimals_of(scratch, want),
            _ => Proof::Holds,
        }
    }

    /// The sum does not hold. If the message was printed with other decimals than we sum up, the text wins.
    #[cold]
    fn try_decimals_of(&mut self, scratch: &Scratch, want: u32) -> Proof {
        let before = (self.price.printed, self.qty.printed);
        let seen = (scratch.price_decimals, scratch.qty_decimals);
        for (price, qty) in [seen, (seen.0, before.1), (before.0, seen.1)] {
            self.set_printed(price, qty);
            if (self.price.printed, self.qty.printed) != before && self.checksum() == want {
                return Proof::HoldsAtOtherDecimals;
            }
        }
        self.set_printed(before.0, before.1);
        Proof::Fails
    }

    /// Sets or deletes one level. Returns the price of the worst level if there was no room for both.
    #[inline]
    pub fn set(&mut self, row: Row) -> Option<i64> {
        let side = &mut self.sides[row.side.index()];
        // Nearly all updates are near the top, and the window is short.
        let turn = if row.side == Side::Buy { 0 } else { -1 };
        let better = |held: i64| (held ^ turn) > (row.price ^ turn);
        let at = if side.len() <= 2 * CHECKSUM_LEVELS {
            side.iter().position(|level| !better(level.price)).unwrap_or(side.len())
        } else {
            side.partition_point(|level| better(level.price))
        };
        let held = side.get(at).is_some_and(|level| level.price == row.price);
        if row.qty == 0 {
            if held {
                side.remove(at);
            }
            return None;
        }
        let level = render(self.price, self.qty, row.price, row.qty);
        if held {
            side[at] = level;
            return None;
        }
        let popped = if side.len() == side.capacity() { side.pop().map(|worst| worst.price) } else { None };
        side.insert(at.min(side.len()), level);
        popped
    }

    /// Cuts both sides to the window. `dropped` is told of each level that left it.
    #[inline]
    pub fn truncate(&mut self, mut dropped: impl FnMut(Side, i64)) {
        for side in [Side::Buy, Side::Sell] {
            let levels = &mut self.sides[side.index()];
            for level in levels.iter().skip(self.depth) {
                dropped(side, level.price);
            }
            levels.truncate(self.depth);
        }
    }

    /// The venue's checksum of what is held.
    #[inline]
    pub fn checksum(&self) -> u32 {
        let mut text = [0u8; BLOCK_LEN + 2 * CHECKSUM_LEVELS * ShortText::LEN_MAX];
        let mut end = BLOCK_LEN;
        for side in [Side::Sell, Side::Buy] {
            for level in self.sides[side.index()].iter().take(CHECKSUM_LEVELS) {
                // What is written too much is overwritten by the next piece.
                end += level.text.write(&mut text[end..]);
            }
        }
        let len = end - BLOCK_LEN;
        let Some(first) = text[BLOCK_LEN..end].first_chunk_mut() else { return crc32fast::hash(&text[BLOCK_LEN..end]) };
        *first = (!u32::from_le_bytes(*first)).to_le_bytes();
        let mut crc = crc32fast::Hasher::new_with_initial(u32::MAX);
        crc.update(&text[end - len.next_multiple_of(BLOCK_LEN)..end]);
        crc.finalize()
    }

    /// Levels of a side as price and quantity, best first.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = (i64, i64)> {
        self.sides[side.index()].iter().map(|level| (level.price, level.qty))
    }

    /// True if neither side holds a level.
    pub fn is_empty(&self) -> bool {
        self.sides.iter().all(Vec::is_empty)
    }
}

#[inline(always)]
fn render(price_decimals: Decimals, qty_decimals: Decimals, price: i64, qty: i64) -> Level {
    Level { price, qty, text: ShortText::of_integers(price_decimals.integer(price), qty_decimals.integer(qty)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn book(price: u8, qty: u8, asks: &[(i64, i64)], bids: &[(i64, i64)]) -> Book {
        let mut book = Book::new(10, Decimals::same(price), Decimals::same(qty));
        for (side, rows) in [(Side::Sell, asks), (Side::Buy, bids)] {
            for &(price, qty) in rows {
                book.set(Row { side, price, qty });
            }
        }
        book
    }

    fn vector_a() -> Book {
        book(
            1,
            8,
            &[
                (612_505, 1_250_000),
                (612_506, 150_000_000),
                (612_510, 31_000),
                (612_524, 200_000_000),
                (612_533, 40_812_345),
                (612_550, 10_000_000),
                (612_588, 75_000_000),
                (612_600, 320_000_000),
                (612_617, 5_000_000),
                (612_652, 90_000_000),
            ],
            &[
                (612_504, 48_000_000),
                (612_499, 12_500),
                (612_480, 125_000_000),
                (612_473, 6_400_000),
                (612_450, 500_000_000),
                (612_441, 33_330_000),
                (612_400, 20_000_000),
                (612_386, 900_000),
                (612_355, 71_000_000),
                (612_300, 1_250_000_000),
            ],
        )
    }

    #[test]
    fn checksum_vector_a_holds_before_and_after_its_update() {
        let mut book = vector_a();
        assert_eq!(book.checksum(), 1_382_961_491);
        book.set(Row { side: Side::Buy, price: 612_504, qty: 60_000_000 });
        book.set(Row { side: Side::Sell, price: 612_505, qty: 0 });
        book.set(Row { side: Side::Sell, price: 612_660, qty: 30_000_000 });
        book.truncate(|side, price| panic!("{side:?} {price} left a window that is not overfull"));
        assert_eq!(book.checksum(), 4_262_187_403);
    }

    #[test]
    fn checksum_vector_b_holds_on_a_thin_book() {
        let book = book(5, 8, &[(10_035, 74_000_000_000), (10_040, 1_250_000_000)], &[(10_025, 100_000_000_000), (9_990, 50_000_000)]);
        assert_eq!(book.checksum(), 4_215_223_324);
    }

    #[test]
    fn the_sum_follows_the_decimals_that_the_venue_prints() {
        let mut fine = Book::new(10, Decimals { scale: 3, printed: 1 }, Decimals::same(8));
        let coarse = vector_a();
        for side in [Side::Sell, Side::Buy] {
            for (price, qty) in coarse.levels(side) {
                fine.set(Row { side, price: price * 100, qty });
            }
        }
        assert_eq!(fine.checksum(), 1_382_961_491);
        fine.set_printed(2, 8);
        assert_ne!(fine.checksum(), 1_382_961_491);
        fine.set_printed(1, 8);
        assert_eq!(fine.checksum(), 1_382_961_491);
    }

    #[test]
    fn levels_pushed_out_of_the_window_are_named() {
        let mut book = vector_a();
        book.set(Row { side: Side::Sell, price: 612_507, qty: 1 });
        book.set(Row { side: Side::Buy, price: 612_503, qty: 1 });
        let mut gone = Vec::new();
        book.truncate(|side, price| gone.push((side, price)));
        assert_eq!(gone, [(Side::Buy, 612_300), (Side::Sell, 612_652)]);
        assert!(book.levels(Side::Buy).count() == 10 && book.levels(Side::Sell).count() == 10);
        book.clear();
        assert!(book.is_empty());
        assert_eq!(book.checksum(), 0);
    }

    #[test]
    fn a_flood_of_levels_stays_within_what_was_allocated() {
        let mut book = Book::new(10, Decimals::same(1), Decimals::same(8));
        let capacity = book.sides[0].capacity();
        for price in 1..5_000 {
            book.set(Row { side: Side::Buy, price, qty: i64::from(u32::MAX) });
        }
        assert_eq!(book.sides[0].capacity(), capacity);
        book.truncate(|_, _| {});
        assert_eq!(book.levels(Side::Buy).next(), Some((4_999, i64::from(u32::MAX))));
    }

    /// A price or quantity of any size.
    fn value() -> impl Strategy<Value = i64> {
        let any_size = (1u32..=17).prop_flat_map(|digits| 10i64.pow(digits - 1)..10i64.pow(digits));
        prop_oneof![9 => any_size, 1 => Just(engine_core::event::VALUE_MAX)]
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_text_however_long(
            levels in proptest::collection::vec((any::<bool>(), value(), value()), 0..24), printed in (0u8..=8, 0u8..=8),
        ) {
            let mut book = Book::new(10, Decimals::same(8), Decimals::same(8));
            book.set_printed(printed.0, printed.1);
            for (buy, price, qty) in levels {
                book.set(Row { side: if buy { Side::Buy } else { Side::Sell }, price, qty });
            }
            book.truncate(|_, _| {});
            let shown = |(price, qty): (i64, i64)| {
                format!("{}{}", price / POW10[usize::from(8 - printed.0)], qty / POW10[usize::from(8 - printed.1)])
            };
            let text: String = book.levels(Side::Sell).chain(book.levels(Side::Buy)).map(shown).collect();
            prop_assert_eq!(book.checksum(), crc32fast::hash(text.as_bytes()), "{}", text);
        }

        #[test]
        fn the_window_equals_a_naive_model(
            steps in proptest::collection::vec(proptest::collection::vec((any::<bool>(), 1i64..60, 0i64..4), 1..8), 1..60),
        ) {
            let mut book = Book::new(10, Decimals::same(1), Decimals::same(8));
            let mut model: [BTreeMap<i64, i64>; 2] = Default::default();
            for step in steps {
                for (buy, price, qty) in step {
                    let side = if buy { Side::Buy } else { Side::Sell };
                    book.set(Row { side, price, qty });
                    if qty == 0 { model[side.index()].remove(&price); } else { model[side.index()].insert(price, qty); }
                }
                book.truncate(|side, price| { model[side.index()].remove(&price); });
                let bids: Vec<_> = model[0].iter().rev().map(|(p, q)| (*p, *q)).collect();
                let asks: Vec<_> = model[1].iter().map(|(p, q)| (*p, *q)).collect();
                prop_assert!(bids.len() <= 10 && asks.len() <= 10);
                prop_assert_eq!(book.levels(Side::Buy).collect::<Vec<_>>(), bids.clone());
                prop_assert_eq!(book.levels(Side::Sell).collect::<Vec<_>>(), asks.clone());
                let text: String = asks.iter().chain(&bids).map(|(p, q)| format!("{p}{q}")).collect();
                prop_assert_eq!(book.checksum(), crc32fast::hash(text.as_bytes()));
            }
        }
    }
}
