//! Kraken's `book` channel: depth windows and checksums.
//!
//! A subscriber of depth N holds exactly the best N levels of each side. An update therefore carries the
//! changed levels inside the window and the levels that refill it after a deletion, but no deletion of
//! levels that were pushed out; the receiver truncates. The checksum covers the ten best levels of each
//! side: integers of price and quantity at the pair's precision, asks first.

use crate::book::{Book, Side};
use crate::decimal::push_fixed;
use crate::json::{Object, array};
use crate::wire::{ConnId, push_rfc3339_us};

/// Depths that can be subscribed to.
pub const DEPTHS: [usize; 5] = [10, 25, 100, 500, 1000];
const CHECKSUM_DEPTH: usize = 10;

/// Scales of a market.
#[derive(Clone, Copy, Debug)]
pub struct Scales {
    /// Decimal places of prices.
    pub price: u8,
    /// Decimal places of quantities.
    pub qty: u8,
}

/// Rows of one message, `(price, qty)`.
pub type Rows = Vec<(i64, i64)>;

/// The subscribers of one depth of one market, and where their windows end.
#[derive(Debug, Default)]
pub struct BookFeed {
    /// Who subscribes.
    pub subscribers: Vec<ConnId>,
    /// Worst price of a full window, by side; `None` while the window holds the whole side.
    edge: [Option<i64>; 2],
}

fn within(side: Side, price: i64, edge: Option<i64>) -> bool {
    edge.is_none_or(|edge| match side {
        Side::Buy => price >= edge,
        Side::Sell => price <= edge,
    })
}

fn edge_of(book: &Book, side: Side, depth: usize) -> Option<i64> {
    if book.depth(side) < depth { None } else { book.levels(side).nth(depth - 1).map(|(price, _)| price) }
}

impl BookFeed {
    /// Takes the book as it is now as what the subscribers hold.
    pub fn reset(&mut self, book: &Book, depth: usize) {
        self.edge = [edge_of(book, Side::Buy, depth), edge_of(book, Side::Sell, depth)];
    }

    /// Rows that bring the subscribers' windows from before the touched changes to the book as it is now:
    /// bids, asks. `rows` is emptied first.
    pub fn rows(&mut self, book: &Book, depth: usize, touched: &[(Side, i64)], rows: &mut [Rows; 2]) {
        for (side, rows) in [Side::Buy, Side::Sell].into_iter().zip(rows) {
            let old_edge = self.edge[side as usize];
            let new_edge = edge_of(book, side, depth);
            self.edge[side as usize] = new_edge;
            rows.clear();
            for (_, price) in touched.iter().filter(|(s, _)| *s == side) {
                let qty = book.qty_at(side, *price);
                let told = if qty > 0 { within(side, *price, new_edge) } else { within(side, *price, old_edge) };
                if told {
                    rows.push((*price, qty));
                }
            }
            if old_edge.is_some() {
                // What the old window did not hold is at the end of the new one.
                let held = depth.min(book.depth(side));
                let refill = book.levels(side).take(held).rev().take_while(|(price, _)| !within(side, *price, old_edge)).count();
                for (price, qty) in book.levels(side).skip(held - refill).take(refill) {
                    if !touched.contains(&(side, price)) {
                        rows.push((price, qty));
                    }
                }
            }
        }
    }
}

/// The checksum of a book's ten best levels, given best first.
pub fn checksum(bids: impl Iterator<Item = (i64, i64)>, asks: impl Iterator<Item = (i64, i64)>) -> u32 {
    // Two integers a level, of at most 20 digits.
    let mut text = [0u8; 2 * CHECKSUM_DEPTH * 40];
    let mut at = 0;
    for (price, qty) in asks.take(CHECKSUM_DEPTH).chain(bids.take(CHECKSUM_DEPTH)) {
        for value in [price, qty] {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(value.unsigned_abs()).as_bytes();
            text[at..at + digits.len()].copy_from_slice(digits);
            at += digits.len();
        }
    }
    crc32fast::hash(&text[..at])
}

/// The checksum of a book.
pub fn book_checksum(book: &Book) -> u32 {
    checksum(book.levels(Side::Buy), book.levels(Side::Sell))
}

/// A `book` message.
pub fn message(kind: &str, symbol: &str, scales: Scales, rows: &[Rows; 2], checksum: u32, now_ns: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(200 + 48 * (rows[0].len() + rows[1].len()));
    out.extend_from_slice(b"{\"channel\":\"book\",\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"data\":[");
    let mut object = Object::new(&mut out);
    object.str("symbol", symbol);
    for (name, rows) in ["bids", "asks"].into_iter().zip(rows) {
        array(object.key(name), rows, |out, (price, qty)| {
            out.extend_from_slice(b"{\"price\":");
            push_fixed(out, *price, scales.price);
            out.extend_from_slice(b",\"qty\":");
            push_fixed(out, *qty, scales.qty);
            out.push(b'}');
        });
    }
    object.u64("checksum", u64::from(checksum));
    let out_time = object.key("timestamp");
    out_time.push(b'"');
    push_rfc3339_us(out_time, now_ns);
    out_time.push(b'"');
    object.end();
    out.extend_from_slice(b"]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Resting;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn checksum_vector_a_holds_before_and_after_its_update() {
        let mut asks: Rows = vec![
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
        ];
        let mut bids: Rows = vec![
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
        ];
        assert_eq!(checksum(bids.iter().copied(), asks.iter().copied()), 1_382_961_491);
        bids[0].1 = 60_000_000;
        asks.remove(0);
        asks.push((612_660, 30_000_000));
        assert_eq!(checksum(bids.iter().copied(), asks.iter().copied()), 4_262_187_403);
    }

    #[test]
    fn checksum_vector_b_holds_on_a_thin_book() {
        let asks = [(10_035, 74_000_000_000), (10_040, 1_250_000_000)];
        let bids = [(10_025, 100_000_000_000), (9_990, 50_000_000)];
        assert_eq!(checksum(bids.into_iter(), asks.into_iter()), 4_215_223_324);
    }

    #[test]
    fn numbers_keep_their_trailing_zeros() {
        let rows = [vec![(612_504, 60_000_000)], vec![(612_505, 0)]];
        let out = message("update", "BTC/USD", Scales { price: 1, qty: 8 }, &rows, 7, 1_767_225_600_231_904_000);
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":61250.4,"qty":0.60000000}],"asks":[{"price":61250.5,"qty":0.00000000}],"checksum":7,"timestamp":"2026-01-01T00:00:00.231904Z"}]}"#
        );
    }

    proptest! {
        /// A receiver that applies the rows, truncates and never looks at the real book holds exactly the
        /// window, and its checksum agrees, after every message.
        #[test]
        fn receivers_windows_stay_exact(
            steps in proptest::collection::vec(proptest::collection::vec((any::<bool>(), 1i64..40, 0i64..3), 1..6), 1..80),
            depth in prop_oneof![Just(10usize), Just(25usize)],
        ) {
            let mut book = Book::new();
            let mut feed = BookFeed::default();
            feed.reset(&book, depth);
            let mut held: [BTreeMap<i64, i64>; 2] = Default::default();
            let mut next_id = 1u64;
            let mut ids: BTreeMap<(Side, i64), u64> = BTreeMap::new();
            for step in steps {
                let mut touched = Vec::new();
                for (buy, level, qty) in step {
                    let (side, price) = if buy { (Side::Buy, 1_000 - level) } else { (Side::Sell, 1_000 + level) };
                    if let Some(id) = ids.remove(&(side, price)) {
                        book.remove(id);
                    }
                    if qty > 0 {
                        book.insert(Resting { id: next_id, side, price, qty });
                        ids.insert((side, price), next_id);
                        next_id += 1;
                    }
                }
                book.take_touched(&mut touched);
                touched.sort_unstable();
                touched.dedup();
                let mut rows = [vec![(1, 1)], Vec::new()];
                feed.rows(&book, depth, &touched, &mut rows);
                for (side, rows) in [Side::Buy, Side::Sell].into_iter().zip(&rows) {
                    let held = &mut held[side as usize];
                    for (price, qty) in rows {
                        if *qty == 0 { held.remove(price); } else { held.insert(*price, *qty); }
                    }
                    while held.len() > depth {
                        if side == Side::Buy { held.pop_first(); } else { held.pop_last(); }
                    }
                    let mine: Rows = match side {
                        Side::Buy => held.iter().rev().map(|(p, q)| (*p, *q)).collect(),
                        Side::Sell => held.iter().map(|(p, q)| (*p, *q)).collect(),
                    };
                    let truth: Rows = book.levels(side).take(depth).collect();
                    prop_assert_eq!(mine, truth);
                }
            }
        }
    }
}
