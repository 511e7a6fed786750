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
//! The text is never put together. Each level keeps what remains of its piece of it modulo the CRC's polynomial, and its length (see
//! [`crate::crc`]): from a level read in the usual form these come with its digits. The sum of an update is then twenty
//! products.
//!
//! With a thousand books each message finds its own out of the caches. So a book is one block without pointers to follow:
//! a line with the order of the levels and all that is asked at every message, then the remainders, prices and quantities, each
//! level in a slot that it keeps as long as it is held. A side that a message does not change is not summed up again. What
//! comes or goes changes the order, and nothing is moved. A slot that is free again is the next to be taken, so that no more
//! are touched than were ever in use at once. Levels beyond the slots (a deep window, or the middle of a message that adds
//! many) are in a list elsewhere.

use super::message::{Row, Scratch};
use crate::crc::{self, Backwards, Piece};
use crate::words::INTEGER_LEN_MAX;
use engine_core::carryless::{Carryless, Native, Portable};
use engine_core::event::Side;
use engine_core::fixed::POW10;
use engine_core::prefetch::prefetch_lines;

/// Levels a side that the checksum covers.
pub const CHECKSUM_LEVELS: usize = 10;
/// Levels a side beyond the window that one message may add before the window is cut.
const SLACK: usize = 256;
/// Levels a side that have slots: four bits say which.
const SLOTS: usize = 14;
/// Slots that there is room for: the remainders of a side are one line.
const ROOM: usize = 16;
/// Behind the remainders of the levels: that of the whole side, and the length of its text.
const SIDE: usize = SLOTS;
const SIDE_LEN: usize = SLOTS + 1;
/// The length of a side's text that has changed since it was summed up.
const STALE: u32 = u32::MAX;

const _: () = assert!(CHECKSUM_LEVELS < SLOTS && SIDE_LEN < ROOM && 2 * CHECKSUM_LEVELS * 2 * INTEGER_LEN_MAX <= crc::LEN_MAX);

/// A price level.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    price: i64,
    qty: i64,
}

/// The slots of a side: those in use from the best level to the worst, then those that are free. Four bits each, the first
/// in the lowest.
#[derive(Clone, Copy, Debug)]
struct Order(u64);

impl Order {
    const START: Order = Order(0xfedc_ba98_7654_3210);

    /// The slot at a place.
    #[inline(always)]
    const fn slot(self, at: usize) -> usize {
        (self.0.wrapping_shr((at as u32) << 2) & 0xf) as usize
    }

    /// The bits of a place and of all behind it.
    #[inline(always)]
    const fn from(at: usize) -> u64 {
        u64::MAX.wrapping_shl((at as u32) << 2)
    }

    /// Takes the slot at the place `free` to `at`, which is not behind it; those between move on.
    #[inline(always)]
    const fn bring_forward(&mut self, free: usize, at: usize) {
        let moved = self.0 & Order::from(at) & !Order::from(free);
        let kept = self.0 & (!Order::from(at) | Order::from(free) << 4);
        self.0 = kept | moved << 4 | (self.slot(free) as u64).wrapping_shl((at as u32) << 2);
    }

    /// Takes the slot at the place `at` to `last`, which is not before it; those between move up.
    #[inline(always)]
    const fn send_back(&mut self, at: usize, last: usize) {
        let moved = self.0 & (Order::from(at) << 4) & !(Order::from(last) << 4);
        let kept = self.0 & (!Order::from(at) | Order::from(last) << 4);
        self.0 = kept | moved >> 4 | (self.slot(at) as u64).wrapping_shl((last as u32) << 2);
    }
}

/// Where the last row of a message was: a message names the levels of a side from the best to the worst, mostly, and no level
/// before that place is one that follows.
struct Trail {
    side: usize,
    /// Its price, turned.
    rank: i64,
    /// Its place: levels before it are better.
    at: usize,
}

impl Trail {
    /// Of no row yet.
    const START: Trail = Trail { side: 0, rank: i64::MIN, at: 0 };
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

    /// True if both are alike.
    #[inline(always)]
    const fn are_same(self) -> bool {
        self.scale == self.printed
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
#[repr(C, align(64))]
pub struct Book {
    /// By side, as all that follows.
    order: [Order; 2],
    /// Lengths of the levels' texts, by slot.
    text_lens: [[u8; ROOM]; 2],
    /// Levels with slots: the best ones.
    counts: [u8; 2],
    depth: u16,
    price: Decimals,
    qty: Decimals,
    /// The connection whose updates the book follows; `None` while it is invalid. The codec's, kept where it is at hand.
    pub live_on: Option<u32>,
    // 64 bytes.
    /// What remains of the levels' texts, by slot: see [`Piece`]. Behind them, of the whole side's.
    remainders: [[u32; ROOM]; 2],
    prices: [[i64; ROOM]; 2],
    qtys: [[i64; ROOM]; 2],
    /// Levels without slots, the worst first. Empty unless all slots of the side are in use.
    below: [Vec<Level>; 2],
}

impl Book {
    /// An empty window of `depth` levels a side (at most 65,535); allocates all it will need.
    pub fn new(depth: usize, price: Decimals, qty: Decimals) -> Book {
        let depth = u16::try_from(depth).unwrap_or(u16::MAX);
        let below = || Vec::with_capacity(usize::from(depth) + SLACK - SLOTS);
        Book {
            order: [Order::START; 2],
            text_lens: [[0; ROOM]; 2],
            counts: [0; 2],
            depth,
            price,
            qty,
            live_on: None,
            remainders: [[0; ROOM]; 2],
            prices: [[0; ROOM]; 2],
            qtys: [[0; ROOM]; 2],
            below: [below(), below()],
        }
    }

    /// Decimals of prices and quantities.
    pub const fn decimals(&self) -> (Decimals, Decimals) {
        (self.price, self.qty)
    }

    /// A message of this book is being read: asks for the memory that it will need. Changes nothing.
    #[inline]
    pub fn prefetch(&self) {
        prefetch_lines(self, size_of::<Book>() / 64 - 1);
    }

    /// The venue prints with other decimals from here on. Levels held are rendered anew.
    pub fn set_printed(&mut self, price: u8, qty: u8) {
        self.price.printed = price.min(self.price.scale);
        self.qty.printed = qty.min(self.qty.scale);
        match Native::detect() {
            Some(c) => self.render_anew(c),
            None => self.render_anew(Portable),
        }
    }

    fn render_anew<C: Carryless>(&mut self, c: C) {
        for side in 0..2 {
            for at in 0..self.count(side) {
                let slot = self.order[side].slot(at);
                let level = self.level(side, slot);
                self.put(side, slot, level, self.text_of(c, level));
            }
        }
    }

    /// The text of a side is another one.
    #[inline(always)]
    const fn changed(&mut self, side: usize) {
        self.remainders[side][SIDE_LEN] = STALE;
    }

    #[inline(always)]
    fn count(&self, side: usize) -> usize {
        usize::from(self.counts[side])
    }

    /// Empties both sides.
    pub fn clear(&mut self) {
        self.counts = [0; 2];
        self.changed(0);
        self.changed(1);
        self.below.iter_mut().for_each(Vec::clear);
    }

    /// Takes a message's rows and proves the result against the venue's checksum (`None`: the message had none).
    /// Deletes of levels that left the window are appended to the rows, which then say all that changed.
    #[inline]
    pub fn take(&mut self, snapshot: bool, scratch: &mut Scratch, checksum: Option<u32>) -> Proof {
        match scratch.carryless {
            Some(c) => c.run(
                #[inline(always)]
                || self.take_with(c, snapshot, scratch, checksum),
            ),
            None => self.take_with(Portable, snapshot, scratch, checksum),
        }
    }

    #[inline(always)]
    fn take_with<C: Carryless>(&mut self, c: C, snapshot: bool, scratch: &mut Scratch, checksum: Option<u32>) -> Proof {
        if snapshot {
            self.clear();
        }
        let texts_hold = self.price.are_same() && self.qty.are_same();
        let mut trail = Trail::START;
        for line in &scratch.rows {
            let text = if texts_hold { line.text() } else { Piece::EMPTY };
            if self.set_behind(c, line.row(), text, &mut trail).is_some() {
                // Hundreds of levels more than were asked for: no window of this venue, and one has been given up.
                return Proof::Fails;
            }
        }
        self.truncate(|side, price| scratch.rows.push(Row { side, price, qty: 0 }.into()));
        match checksum {
            Some(want) if self.sum(c) != want => self.try_decimals_of(scratch, want),
            _ => Proof::Holds,
        }
    }

    /// The sum does not hold. If the message was printed with other decimals than we sum up, the text wins.
    #[cold]
    fn try_decimals_of(&mut self, scratch: &mut Scratch, want: u32) -> Proof {
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
        let mut trail = Trail::START;
        match Native::detect() {
            Some(c) => self.set_behind(c, row, Piece::EMPTY, &mut trail),
            None => self.set_behind(Portable, row, Piece::EMPTY, &mut trail),
        }
    }

    /// As [`Book::set`], of a message's next row.
    #[inline(always)]
    fn set_behind<C: Carryless>(&mut self, c: C, row: Row, text: Piece, trail: &mut Trail) -> Option<i64> {
        let side = row.side.index();
        let level = Level { price: row.price, qty: row.qty };
        let count = self.count(side);
        // Nearly all updates are near the top, or behind the one before.
        let turn = turn(row.side);
        let rank = row.price ^ turn;
        let (mut at, mut held) = (if side == trail.side && rank < trail.rank { trail.at } else { 0 }, false);
        let mut order = Order(self.order[side].0.wrapping_shr((at as u32) << 2));
        while at < count {
            let price = self.prices[side][order.slot(0)];
            if (price ^ turn) <= rank {
                held = price == row.price;
                break;
            }
            order.0 >>= 4;
            at += 1;
        }
        *trail = Trail { side, rank, at };
        if count == SLOTS {
            return self.set_in_full(c, row, at, held);
        }
        if row.qty == 0 {
            if held {
                self.order[side].send_back(at, count - 1);
                self.counts[side] = (count - 1) as u8;
                self.changed(side);
            }
            return None;
        }
        if !held {
            if at < count {
                self.order[side].bring_forward(count, at);
            }
            self.counts[side] = (count + 1) as u8;
        }
        let text = if text.len == 0 { self.text_of(c, level) } else { text };
        self.put(side, self.order[side].slot(at), level, text);
        None
    }

    /// As [`Book::set`], with all slots of the side in use; the level's place among them is `at`.
    #[cold]
    #[inline(never)]
    fn set_in_full<C: Carryless>(&mut self, c: C, row: Row, at: usize, held: bool) -> Option<i64> {
        let side = row.side.index();
        let level = Level { price: row.price, qty: row.qty };
        let last = SLOTS - 1;
        let pushed = self.level(side, self.order[side].slot(last));
        let below = &mut self.below[side];
        let turn = turn(row.side);
        if at == SLOTS {
            let place = below.partition_point(|held| (held.price ^ turn) < (row.price ^ turn));
            let held = below.get(place).is_some_and(|held| held.price == row.price);
            match (held, row.qty == 0) {
                (true, true) => drop(below.remove(place)),
                (true, false) => below[place] = level,
                (false, true) => {}
                (false, false) if below.len() < below.capacity() => below.insert(place, level),
                // The worst goes, and that may be this one.
                (false, false) if place == 0 => return Some(row.price),
                (false, false) => {
                    let worst = below.remove(0).price;
                    below.insert(place - 1, level);
                    return Some(worst);
                }
            }
            return None;
        }
        if held && row.qty > 0 {
            self.put(side, self.order[side].slot(at), level, self.text_of(c, level));
            return None;
        }
        if row.qty > 0 {
            let worst = if below.len() == below.capacity() { Some(below.remove(0).price) } else { None };
            below.push(pushed);
            self.order[side].bring_forward(last, at);
            self.put(side, self.order[side].slot(at), level, self.text_of(c, level));
            return worst;
        }
        if held {
            let next = below.pop();
            self.order[side].send_back(at, last);
            match next {
                Some(next) => self.put(side, self.order[side].slot(last), next, self.text_of(c, next)),
                None => {
                    self.counts[side] -= 1;
                    self.changed(side);
                }
            }
        }
        None
    }

    /// Puts a level into a slot.
    #[inline(always)]
    fn put(&mut self, side: usize, slot: usize, level: Level, text: Piece) {
        self.changed(side);
        self.prices[side][slot] = level.price;
        self.qtys[side][slot] = level.qty;
        self.remainders[side][slot] = text.remainder;
        self.text_lens[side][slot] = text.len;
    }

    /// The text of a level as the venue prints it.
    #[inline(always)]
    fn text_of<C: Carryless>(&self, c: C, level: Level) -> Piece {
        let (price, qty) = (self.price.integer(level.price), self.qty.integer(level.qty));
        c.run(
            #[inline(always)]
            || Piece::of_integers(c, price, qty),
        )
    }

    fn level(&self, side: usize, slot: usize) -> Level {
        Level { price: self.prices[side][slot], qty: self.qtys[side][slot] }
    }

    /// Cuts both sides to the window. `dropped` is told of each level that left it.
    #[inline]
    pub fn truncate(&mut self, mut dropped: impl FnMut(Side, i64)) {
        let depth = usize::from(self.depth);
        for side in [Side::Buy, Side::Sell] {
            let at = side.index();
            let count = self.count(at);
            if count > depth {
                for place in depth..count {
                    dropped(side, self.prices[at][self.order[at].slot(place)]);
                }
                self.counts[at] = depth as u8;
                self.changed(at);
            }
            if count == SLOTS {
                self.truncate_below(side, &mut dropped);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn truncate_below(&mut self, side: Side, dropped: &mut impl FnMut(Side, i64)) {
        let below = &mut self.below[side.index()];
        let over = below.len().saturating_sub(usize::from(self.depth).saturating_sub(SLOTS));
        below[..over].iter().rev().for_each(|level| dropped(side, level.price));
        below.drain(..over);
    }

    /// The venue's checksum of what is held.
    pub fn checksum(&self) -> u32 {
        match Native::detect() {
            Some(c) => sum_of_sides(c, self.sum_of_side(c, 0), self.sum_of_side(c, 1)),
            None => sum_of_sides(Portable, self.sum_of_side(Portable, 0), self.sum_of_side(Portable, 1)),
        }
    }

    /// The sum of both sides, of which those that have changed are summed up anew.
    #[inline(always)]
    fn sum<C: Carryless>(&mut self, c: C) -> u32 {
        for side in 0..2 {
            if self.remainders[side][SIDE_LEN] == STALE {
                let (remainder, len) = self.sum_of_side(c, side);
                self.remainders[side][SIDE] = remainder;
                self.remainders[side][SIDE_LEN] = len as u32;
            }
        }
        let [bids, asks] = self.remainders.map(|of| (of[SIDE], of[SIDE_LEN] as usize));
        sum_of_sides(c, bids, asks)
    }

    /// What remains of a side's text, and its length.
    #[inline(always)]
    fn sum_of_side<C: Carryless>(&self, c: C, side: usize) -> (u32, usize) {
        let (remainders, text_lens) = (&self.remainders[side], &self.text_lens[side]);
        let mut sum = Backwards::new(c);
        let mut put = |slot: usize| sum.put(remainders[slot], usize::from(text_lens[slot]));
        let order = self.order[side];
        let count = self.count(side);
        if count >= CHECKSUM_LEVELS {
            // Nearly always: no loop is left of it.
            for at in (0..CHECKSUM_LEVELS).rev() {
                put(order.slot(at));
            }
        } else {
            for at in (0..count).rev() {
                put(order.slot(at));
            }
        }
        sum.piece()
    }

    /// Levels of a side as price and quantity, best first.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = (i64, i64)> {
        let side = side.index();
        let order = self.order[side];
        let top = (0..self.count(side)).map(move |at| self.level(side, order.slot(at)));
        top.chain(self.below[side].iter().rev().copied()).map(|level| (level.price, level.qty))
    }

    /// True if neither side holds a level.
    pub fn is_empty(&self) -> bool {
        self.counts == [0; 2]
    }
}

/// The checksum, by what remains of each side's text, and its length: the asks come first.
#[inline(always)]
fn sum_of_sides<C: Carryless>(c: C, bids: (u32, usize), asks: (u32, usize)) -> u32 {
    let mut sum = Backwards::new(c);
    sum.put(bids.0, bids.1);
    sum.put(asks.0, asks.1);
    sum.finish()
}

/// What turns the bits of a side's prices so that of two the greater is the better.
#[inline(always)]
const fn turn(side: Side) -> i64 {
    match side {
        Side::Buy => 0,
        Side::Sell => -1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kraken::message::Line;
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
        let (first, last) = (1, 5_000);
        let orders: [Vec<i64>; 3] =
            [(first..last).collect(), (first..last).rev().collect(), (first..last).map(|at| at * 7 % 4_999 + 1).collect()];
        for prices in orders {
            let mut book = Book::new(10, Decimals::same(1), Decimals::same(8));
            let capacity = book.below[0].capacity();
            let mut gone = Vec::new();
            for &price in &prices {
                gone.extend(book.set(Row { side: Side::Buy, price, qty: i64::from(u32::MAX) }));
            }
            assert_eq!((book.below[0].capacity(), book.levels(Side::Buy).count()), (capacity, capacity + SLOTS));
            let mut held: Vec<i64> = book.levels(Side::Buy).map(|level| level.0).collect();
            assert!(held.is_sorted_by(|better, worse| better > worse));
            assert_eq!(book.levels(Side::Buy).next(), Some((4_999, i64::from(u32::MAX))));
            book.truncate(|_, price| assert_eq!(held.remove(10), price));
            assert_eq!((held.len(), book.levels(Side::Buy).count()), (10, 10));
        }
    }

    #[test]
    fn what_a_message_needs_of_a_book_is_in_few_lines() {
        assert_eq!((align_of::<Book>(), core::mem::offset_of!(Book, remainders)), (64, 64));
        assert!(size_of::<Book>() <= 12 * 64, "{}", size_of::<Book>());
        let mut book = vector_a();
        for at in 0..1_000 {
            // Levels come in front and leave at the end.
            book.set(Row { side: Side::Sell, price: 612_504 - at, qty: 1 });
            book.truncate(|_, _| {});
        }
        let last_slot = (0..10).map(|at| book.order[1].slot(at)).max();
        assert_eq!(last_slot, Some(10), "a slot that is free again is the next to be taken");
    }

    /// Every change of the order keeps it one of all slots.
    #[test]
    fn an_order_is_what_a_list_would_be() {
        for free in 0..ROOM {
            for at in 0..=free {
                let mut list: Vec<usize> = (0..ROOM).map(|at| at * 7 % ROOM).collect();
                let mut order = Order(list.iter().rev().fold(0, |bits, &slot| bits << 4 | slot as u64));
                let slots = |order: Order| (0..ROOM).map(|at| order.slot(at)).collect::<Vec<_>>();
                assert_eq!(slots(order), list);
                order.bring_forward(free, at);
                let moved = list.remove(free);
                list.insert(at, moved);
                assert_eq!(slots(order), list, "{free} to {at}");
                order.send_back(at, free);
                let moved = list.remove(at);
                list.insert(free, moved);
                assert_eq!(slots(order), list, "{at} to {free}");
            }
        }
    }

    /// A price or quantity of any size.
    fn value() -> impl Strategy<Value = i64> {
        let any_size = (1u32..=17).prop_flat_map(|digits| 10i64.pow(digits - 1)..10i64.pow(digits));
        prop_oneof![9 => any_size, 1 => Just(engine_core::event::VALUE_MAX)]
    }

    /// A book as its rules say it.
    struct Model {
        depth: usize,
        sides: [BTreeMap<i64, i64>; 2],
    }

    impl Model {
        fn levels(&self, side: Side) -> Vec<(i64, i64)> {
            let levels = self.sides[side.index()].iter().map(|(price, qty)| (*price, *qty));
            if side == Side::Buy { levels.rev().collect() } else { levels.collect() }
        }

        /// Takes rows; the rows and, side by side, what left the window.
        fn take(&mut self, rows: &[Row]) -> Vec<Row> {
            let mut all = rows.to_vec();
            for row in rows {
                let side = &mut self.sides[row.side.index()];
                if row.qty == 0 {
                    side.remove(&row.price)
                } else {
                    side.insert(row.price, row.qty)
                };
            }
            for side in [Side::Buy, Side::Sell] {
                for (price, _) in self.levels(side).into_iter().skip(self.depth) {
                    self.sides[side.index()].remove(&price);
                    all.push(Row { side, price, qty: 0 });
                }
            }
            all
        }

        fn checksum(&self, places: (u8, u8)) -> u32 {
            let of = |side: Side| self.levels(side).into_iter().take(CHECKSUM_LEVELS);
            let shown = |(price, qty): (i64, i64)| {
                format!("{}{}", price / POW10[usize::from(8 - places.0)], qty / POW10[usize::from(8 - places.1)])
            };
            let text: String = of(Side::Sell).chain(of(Side::Buy)).map(shown).collect();
            crc32fast::hash(text.as_bytes())
        }
    }

    /// A row with its text, as nearly all of them are read, or without.
    fn line(row: Row) -> Line {
        let text = if row.price % 3 == 0 { Piece::EMPTY } else { Piece::of_integers(Portable, row.price as u64, row.qty as u64) };
        Line::new(row, text)
    }

    /// Rows of prices that are close together or all over, so that levels come, go and change.
    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let price = prop_oneof![6 => 1i64..40, 2 => (1i64..40).prop_map(|price| price * 1_000_000_007), 1 => value()];
        let qty = prop_oneof![1 => Just(0), 1 => 1i64..4, 2 => value()];
        let row =
            (any::<bool>(), price, qty).prop_map(|(buy, price, qty)| Row { side: if buy { Side::Buy } else { Side::Sell }, price, qty });
        let few = proptest::collection::vec(row.clone(), 0..8);
        let many = || proptest::collection::vec(row.clone(), 5..40);
        // As the venue has them: side by side, from the best to the worst. And the other way.
        let place = |row: &Row| (row.side.index(), row.price ^ turn(row.side));
        let in_order = many().prop_map(move |mut rows| {
            rows.sort_by_key(|row| (place(row).0, core::cmp::Reverse(place(row).1)));
            rows
        });
        let in_reverse = many().prop_map(move |mut rows| {
            rows.sort_by_key(place);
            rows
        });
        // All deleted, then as many set.
        let sweep = (any::<bool>(), 1i64..30, 1i64..30).prop_map(|(buy, from, to)| {
            let side = if buy { Side::Buy } else { Side::Sell };
            let rows = |from: i64, qty: i64| (0..10).map(move |at| Row { side, price: from + if buy { 10 - at } else { at }, qty });
            rows(from, 0).chain(rows(to, 1)).collect()
        });
        prop_oneof![6 => few, 2 => in_order, 1 => in_reverse, 2 => sweep, 1 => proptest::collection::vec(row.clone(), 30..90)]
    }

    #[test]
    fn a_message_of_more_levels_than_any_window_has_is_not_believed() {
        let mut book = Book::new(10, Decimals::same(8), Decimals::same(8));
        let mut scratch = Scratch::default();
        let mut filled = |book: &mut Book, levels: i64| {
            scratch.clear();
            (scratch.price_decimals, scratch.qty_decimals) = (8, 8);
            scratch.rows.extend((1..=levels).map(|price| line(Row { side: Side::Buy, price, qty: 1 })));
            book.take(true, &mut scratch, None)
        };
        let room = (10 + SLACK) as i64;
        assert_eq!(filled(&mut book, room), Proof::Holds);
        assert_eq!(filled(&mut book, room + 1), Proof::Fails, "a level was given up in the middle of it");
        assert_eq!(filled(&mut book, 10), Proof::Holds);
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_text_however_long(
            levels in proptest::collection::vec((any::<bool>(), value(), value()), 0..24), printed in (0u8..=8, 0u8..=8),
        ) {
            let mut book = Book::new(10, Decimals::same(8), Decimals::same(8));
            book.set_printed(printed.0, printed.1);
            let mut model = Model { depth: 10, sides: Default::default() };
            let rows: Vec<Row> =
                levels.into_iter().map(|(buy, price, qty)| Row { side: if buy { Side::Buy } else { Side::Sell }, price, qty }).collect();
            rows.iter().for_each(|row| assert_eq!(book.set(*row), None));
            book.truncate(|_, _| {});
            model.take(&rows);
            prop_assert_eq!(book.checksum(), model.checksum(printed));
        }

        /// Windows of all depths, messages short and long, snapshots between them, sums that hold and sums that do not,
        /// and now and then other decimals.
        #[test]
        fn the_window_equals_a_naive_model(
            depth in prop_oneof![4 => Just(10usize), 1 => 1usize..40], portable: bool,
            messages in proptest::collection::vec((rows(), 0u8..16, (0u8..=8, 0u8..=8)), 1..50),
        ) {
            let mut book = Book::new(depth, Decimals::same(8), Decimals::same(8));
            let mut model = Model { depth, sides: Default::default() };
            let mut scratch = Scratch::default();
            scratch.carryless = scratch.carryless.filter(|_| !portable);
            let mut printed = (8, 8);
            for (rows, case, decimals) in messages {
                let snapshot = case == 0;
                if snapshot {
                    model.sides = Default::default();
                }
                scratch.clear();
                scratch.rows.extend(rows.iter().map(|&row| line(row)));
                (scratch.price_decimals, scratch.qty_decimals) = printed;
                let all = model.take(&rows);
                let mut want = Proof::Holds;
                let held = model.checksum(printed);
                let sum = match case {
                    1 => {
                        want = Proof::Fails;
                        Some(held ^ 1)
                    }
                    2 => None,
                    3 => {
                        (scratch.price_decimals, scratch.qty_decimals) = decimals;
                        let other = model.checksum(decimals);
                        if other != held {
                            want = Proof::HoldsAtOtherDecimals;
                            printed = decimals;
                        }
                        Some(other)
                    }
                    _ => Some(held),
                };
                let sum_printed = printed;
                prop_assert_eq!(book.take(snapshot, &mut scratch, sum), want);
                if case == 3 {
                    // One of the two may have been enough.
                    printed = (book.decimals().0.printed, book.decimals().1.printed);
                    prop_assert_eq!(model.checksum(printed), model.checksum(sum_printed));
                }
                prop_assert_eq!(scratch.rows.iter().map(Line::row).collect::<Vec<_>>(), all);
                for side in [Side::Buy, Side::Sell] {
                    prop_assert_eq!(book.levels(side).collect::<Vec<_>>(), model.levels(side));
                }
                prop_assert_eq!(book.is_empty(), model.sides.iter().all(BTreeMap::is_empty));
                prop_assert_eq!(book.checksum(), model.checksum(printed));
            }
        }
    }
}
