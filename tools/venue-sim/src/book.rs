//! The order book: price levels, each a first-in-first-out queue of orders.
//!
//! The book knows orders by id, price and remaining quantity, nothing else: who owns them and what a
//! fill costs is the [`crate::exchange`]'s business. Every level that changes is noted in order, which
//! is what market data is made from.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};

/// Side of an order or of the book.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Side {
    /// Bid.
    Buy,
    /// Ask.
    Sell,
}

impl Side {
    /// The other side.
    pub fn opposite(self) -> Side {
        match self {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        }
    }
}

/// An order's id, unique within a venue; also the order of arrival.
pub type OrderId = u64;

/// An order resting in the book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resting {
    /// Its id.
    pub id: OrderId,
    /// Its side.
    pub side: Side,
    /// Its price, at the market's scale.
    pub price: i64,
    /// What is left of it, at the market's scale; positive.
    pub qty: i64,
}

#[derive(Debug)]
struct Level {
    price: i64,
    qty: i64,
    queue: VecDeque<OrderId>,
}

/// One side's levels, best last: most changes are near the end and move little.
#[derive(Debug)]
struct Ladder {
    side: Side,
    levels: Vec<Level>,
}

impl Ladder {
    fn new(side: Side) -> Ladder {
        Ladder { side, levels: Vec::new() }
    }

    /// Where the price is, or where it would go.
    fn find(&self, price: i64) -> Result<usize, usize> {
        match self.side {
            Side::Buy => self.levels.binary_search_by(|level| level.price.cmp(&price)),
            Side::Sell => self.levels.binary_search_by(|level| price.cmp(&level.price)),
        }
    }

    fn get_mut(&mut self, price: i64) -> Option<&mut Level> {
        let at = self.find(price).ok()?;
        self.levels.get_mut(at)
    }
}

/// One market's book.
#[derive(Debug)]
pub struct Book {
    sides: [Ladder; 2],
    orders: HashMap<OrderId, Resting, IdHash>,
    touched: Vec<(Side, i64)>,
}

impl Default for Book {
    fn default() -> Book {
        let sides = [Ladder::new(Side::Buy), Ladder::new(Side::Sell)];
        Book { sides, orders: HashMap::default(), touched: Vec::new() }
    }
}

impl Book {
    /// An empty book.
    pub fn new() -> Book {
        Book::default()
    }

    fn side(&self, side: Side) -> &Ladder {
        &self.sides[side as usize]
    }

    fn side_mut(&mut self, side: Side) -> &mut Ladder {
        &mut self.sides[side as usize]
    }

    /// Best price of a side and the quantity there.
    pub fn best(&self, side: Side) -> Option<(i64, i64)> {
        self.side(side).levels.last().map(|level| (level.price, level.qty))
    }

    /// Quantity at a price, 0 when there is no such level.
    pub fn qty_at(&self, side: Side, price: i64) -> i64 {
        let ladder = self.side(side);
        ladder.find(price).map_or(0, |at| ladder.levels[at].qty)
    }

    /// Number of levels of a side.
    pub fn depth(&self, side: Side) -> usize {
        self.side(side).levels.len()
    }

    /// Levels `(price, qty)` of a side, best first.
    pub fn levels(&self, side: Side) -> Levels<'_> {
        Levels { iter: self.side(side).levels.iter().rev() }
    }

    /// The order that a taker of `side.opposite()` meets first.
    pub fn front(&self, side: Side) -> Option<Resting> {
        let level = self.side(side).levels.last()?;
        level.queue.front().and_then(|id| self.orders.get(id)).copied()
    }

    /// A resting order.
    pub fn get(&self, id: OrderId) -> Option<Resting> {
        self.orders.get(&id).copied()
    }

    /// Number of resting orders.
    pub fn len(&self) -> usize {
        self.orders.len()
    }

    /// True when nothing rests.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// True when a `side` order at `limit` (None = any price) would match at once.
    pub fn crosses(&self, side: Side, limit: Option<i64>) -> bool {
        match (self.best(side.opposite()), limit) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some((best, _)), Some(limit)) => match side {
                Side::Buy => best <= limit,
                Side::Sell => best >= limit,
            },
        }
    }

    /// Puts an order at the back of its level's queue. It must not cross and its id must be new.
    pub fn insert(&mut self, order: Resting) {
        debug_assert!(order.qty > 0 && !self.orders.contains_key(&order.id));
        let ladder = self.side_mut(order.side);
        match ladder.find(order.price) {
            Ok(at) => {
                ladder.levels[at].qty += order.qty;
                ladder.levels[at].queue.push_back(order.id);
            }
            Err(at) => ladder.levels.insert(at, Level { price: order.price, qty: order.qty, queue: VecDeque::from([order.id]) }),
        }
        self.orders.insert(order.id, order);
        self.touched.push((order.side, order.price));
    }

    /// Takes an order out.
    pub fn remove(&mut self, id: OrderId) -> Option<Resting> {
        let order = self.orders.remove(&id)?;
        let ladder = self.side_mut(order.side);
        if let Ok(place) = ladder.find(order.price) {
            let level = &mut ladder.levels[place];
            level.qty -= order.qty;
            if let Some(at) = level.queue.iter().position(|other| *other == id) {
                level.queue.remove(at);
            }
            if level.queue.is_empty() {
                ladder.levels.remove(place);
            }
        }
        self.touched.push((order.side, order.price));
        Some(order)
    }

    /// Lowers what is left of an order by `qty`, keeping its place; takes it out at zero. Returns what
    /// is left, `None` for an unknown order.
    pub fn reduce(&mut self, id: OrderId, qty: i64) -> Option<i64> {
        let order = self.orders.get_mut(&id)?;
        if qty >= order.qty {
            self.remove(id);
            return Some(0);
        }
        order.qty -= qty;
        let (left, side, price) = (order.qty, order.side, order.price);
        if let Some(level) = self.side_mut(side).get_mut(price) {
            level.qty -= qty;
        }
        self.touched.push((side, price));
        Some(left)
    }

    /// Quantity that a `side` taker could get down to `limit`, counted up to `enough`.
    pub fn fillable(&self, side: Side, limit: Option<i64>, enough: i64) -> i64 {
        let mut sum = 0i64;
        for (price, qty) in self.levels(side.opposite()) {
            let beyond = limit.is_some_and(|limit| match side {
                Side::Buy => price > limit,
                Side::Sell => price < limit,
            });
            if beyond || sum >= enough {
                break;
            }
            sum = sum.saturating_add(qty);
        }
        sum
    }

    /// The levels changed since the last call, in the order of change; a level may appear twice.
    pub fn take_touched(&mut self, into: &mut Vec<(Side, i64)>) {
        into.append(&mut self.touched);
    }
}

/// Iterator over a side's levels, best first. What is passed over costs nothing.
pub struct Levels<'a> {
    iter: std::iter::Rev<std::slice::Iter<'a, Level>>,
}

fn told(level: &Level) -> (i64, i64) {
    (level.price, level.qty)
}

impl Iterator for Levels<'_> {
    type Item = (i64, i64);

    fn next(&mut self) -> Option<(i64, i64)> {
        self.iter.next().map(told)
    }

    fn nth(&mut self, n: usize) -> Option<(i64, i64)> {
        self.iter.nth(n).map(told)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.iter.size_hint()
    }
}

impl DoubleEndedIterator for Levels<'_> {
    fn next_back(&mut self) -> Option<(i64, i64)> {
        self.iter.next_back().map(told)
    }
}

impl ExactSizeIterator for Levels<'_> {}

/// Hashes ids that are given out in a row: no two of them collide, and nobody outside chooses them.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHash;

impl BuildHasher for IdHash {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher(0)
    }
}

/// See [`IdHash`].
#[derive(Clone, Copy, Debug)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // An odd factor is a bijection of the low bits, which pick the bucket; the high ones get their share.
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(id: OrderId, side: Side, price: i64, qty: i64) -> Resting {
        Resting { id, side, price, qty }
    }

    #[test]
    fn best_price_first_then_first_come_first_served() {
        let mut book = Book::new();
        book.insert(order(1, Side::Sell, 101, 5));
        book.insert(order(2, Side::Sell, 100, 5));
        book.insert(order(3, Side::Sell, 100, 5));
        assert_eq!(book.front(Side::Sell).map(|o| o.id), Some(2));
        assert_eq!(book.reduce(2, 3), Some(2));
        assert_eq!(book.front(Side::Sell).map(|o| o.id), Some(2), "a partial fill keeps the place");
        assert_eq!(book.reduce(2, 2), Some(0));
        assert_eq!(book.front(Side::Sell).map(|o| o.id), Some(3));
        book.remove(3);
        assert_eq!(book.best(Side::Sell), Some((101, 5)));
        assert!(book.crosses(Side::Buy, Some(101)) && !book.crosses(Side::Buy, Some(100)) && book.crosses(Side::Buy, None));
        assert!(!book.crosses(Side::Sell, None));
    }

    #[test]
    fn fillable_stops_at_the_limit() {
        let mut book = Book::new();
        book.insert(order(1, Side::Buy, 100, 5));
        book.insert(order(2, Side::Buy, 99, 7));
        assert_eq!(book.fillable(Side::Sell, Some(100), 100), 5);
        assert_eq!(book.fillable(Side::Sell, Some(99), 100), 12);
        assert_eq!(book.fillable(Side::Sell, None, 100), 12);
        assert_eq!(book.fillable(Side::Buy, None, 100), 0);
    }

    proptest! {
        /// Against a naive list of orders: level sums, best prices and queue fronts agree after any
        /// mix of inserts, removals and reductions.
        #[test]
        fn agrees_with_a_naive_list(steps in proptest::collection::vec((0u8..3, 0u64..40, 1i64..20, 1i64..30), 1..200)) {
            let mut book = Book::new();
            let mut naive: Vec<Resting> = Vec::new();
            for (next_id, (kind, pick, level, qty)) in (1u64..).zip(steps) {
                match kind {
                    0 => {
                        let side = if pick % 2 == 0 { Side::Buy } else { Side::Sell };
                        let price = if side == Side::Buy { 100 - level } else { 100 + level };
                        book.insert(order(next_id, side, price, qty));
                        naive.push(order(next_id, side, price, qty));
                    }
                    1 if !naive.is_empty() => {
                        let gone = naive.remove(pick as usize % naive.len());
                        prop_assert_eq!(book.remove(gone.id), Some(gone));
                    }
                    _ if !naive.is_empty() => {
                        let at = pick as usize % naive.len();
                        let left = (naive[at].qty - qty).max(0);
                        prop_assert_eq!(book.reduce(naive[at].id, qty), Some(left));
                        naive[at].qty = left;
                        if left == 0 { naive.remove(at); }
                    }
                    _ => {}
                }
                prop_assert_eq!(book.len(), naive.len());
                for side in [Side::Buy, Side::Sell] {
                    let best = naive.iter().filter(|o| o.side == side).map(|o| o.price)
                        .reduce(|a, b| if side == Side::Buy { a.max(b) } else { a.min(b) });
                    prop_assert_eq!(book.best(side).map(|b| b.0), best);
                    if let Some(best) = best {
                        let front = naive.iter().find(|o| o.side == side && o.price == best).copied();
                        prop_assert_eq!(book.front(side), front);
                    }
                    for (price, qty) in book.levels(side) {
                        let sum: i64 = naive.iter().filter(|o| o.side == side && o.price == price).map(|o| o.qty).sum();
                        prop_assert_eq!(qty, sum);
                    }
                }
            }
        }
    }
}
