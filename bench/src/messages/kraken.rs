//! Kraken's book channel (WebSocket v2) with checksums that hold.

use super::{Ids, Message, decimal};
use crate::random::Random;
use engine_core::event::Side;
use venues::kraken::book::{Book, Decimals};
use venues::kraken::market_data::DEPTH;
use venues::kraken::message::Row;

/// The symbol of all messages.
pub const SYMBOL: &str = "BTC/USD";
/// Decimals of its prices.
pub const PRICE_SCALE: u32 = 1;
/// Decimals of its quantities.
pub const QTY_SCALE: u32 = 8;
const BEST_BID: i64 = 612_504;

/// A stream of updates that ends where it began.
pub struct Stream {
    /// The book's window at the beginning.
    pub snapshot: Message,
    /// Changes of the window, and the same undone.
    pub updates: Vec<Message>,
}

type Window = [Vec<(i64, i64)>; 2];

fn window(book: &Book) -> Window {
    [Side::Buy, Side::Sell].map(|side| book.levels(side).collect())
}

fn message(kind: &str, rows: &[Row], checksum: u32) -> Message {
    let side = |side: Side| {
        let row = |row: &Row| format!(r#"{{"price":{},"qty":{}}}"#, decimal(row.price, PRICE_SCALE), decimal(row.qty, QTY_SCALE));
        rows.iter().filter(|row| row.side == side).map(row).collect::<Vec<_>>().join(",")
    };
    let text = format!(
        r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"{SYMBOL}","bids":[{}],"asks":[{}],"checksum":{checksum},"timestamp":"2026-01-01T00:00:00.231904Z"}}]}}"#,
        side(Side::Buy),
        side(Side::Sell)
    );
    Message { bytes: text.into_bytes(), ids: Ids::Digits, at: Vec::new() }
}

/// What turns one window into another. Deletes come first, as a window that is too long is cut at its end.
fn difference(from: &Window, to: &Window) -> Vec<Row> {
    let mut rows = Vec::new();
    for (side, (from, to)) in [Side::Buy, Side::Sell].into_iter().zip(from.iter().zip(to)) {
        let gone = from.iter().filter(|held| to.iter().all(|level| level.0 != held.0));
        rows.extend(gone.map(|&(price, _)| Row { side, price, qty: 0 }));
        rows.extend(to.iter().filter(|level| !from.contains(level)).map(|&(price, qty)| Row { side, price, qty }));
    }
    rows
}

fn apply(book: &mut Book, rows: &[Row]) {
    for &row in rows {
        book.set(row);
    }
    book.truncate(|_, _| {});
}

/// One change near the best of a side: seven in ten change a quantity, two add a level, one takes a level away, and then
/// the venue names the one that moves into the window.
fn change(book: &Book, random: &mut Random, rows: &mut Vec<Row>) {
    let side = if random.below(2) == 0 { Side::Buy } else { Side::Sell };
    let levels: Vec<(i64, i64)> = book.levels(side).collect();
    let at = (random.halving(DEPTH as u64 - 1) as usize).min(levels.len() - 1);
    let qty = 1 + random.below(500_000_000) as i64;
    let (price, worst) = (levels[at].0, levels[levels.len() - 1].0);
    match random.below(10) {
        0 => {
            rows.push(Row { side, price, qty: 0 });
            rows.push(Row { side, price: worst - side.sign() * (1 + random.below(20) as i64), qty });
        }
        1 | 2 => rows.push(Row { side, price: price - side.sign(), qty }),
        _ => rows.push(Row { side, price, qty }),
    }
}

/// A side is swept: all of its window is taken away, best level first, and then the venue names the levels behind it.
fn sweep(book: &Book, random: &mut Random, rows: &mut Vec<Row>) {
    let side = if random.below(2) == 0 { Side::Buy } else { Side::Sell };
    rows.extend(book.levels(side).map(|(price, _)| Row { side, price, qty: 0 }));
    let Some(mut price) = rows.last().map(|row| row.price) else { return };
    for _ in 0..DEPTH {
        price -= side.sign() * (1 + random.below(20) as i64);
        rows.push(Row { side, price, qty: 1 + random.below(500_000_000) as i64 });
    }
}

impl Stream {
    /// `count` updates near the top, then as many that undo them.
    pub fn new(random: &mut Random, count: usize) -> Stream {
        Stream::of(random, count, |book, random, rows| {
            for _ in 0..=random.halving(4) {
                change(book, random, rows);
            }
        })
    }

    /// `count` sweeps of a side, then as many that undo them: the longest updates that a window has.
    pub fn of_sweeps(random: &mut Random, count: usize) -> Stream {
        Stream::of(random, count, sweep)
    }

    fn of(random: &mut Random, count: usize, change: impl Fn(&Book, &mut Random, &mut Vec<Row>)) -> Stream {
        let scale = |scale: u32| Decimals::same(scale as u8);
        let mut book = Book::new(DEPTH, scale(PRICE_SCALE), scale(QTY_SCALE));
        let level = |side: Side, at: i64, random: &mut Random| {
            let best = if side == Side::Buy { BEST_BID } else { BEST_BID + 1 };
            Row { side, price: best - side.sign() * at * 7, qty: 1 + random.below(500_000_000) as i64 }
        };
        let places = [Side::Buy, Side::Sell].into_iter().flat_map(|side| (0..DEPTH as i64).map(move |at| (side, at)));
        let rows: Vec<Row> = places.map(|(side, at)| level(side, at, random)).collect();
        apply(&mut book, &rows);
        let snapshot = message("snapshot", &rows, book.checksum());
        let (mut updates, mut undone) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (before, checksum) = (window(&book), book.checksum());
            let mut rows = Vec::new();
            change(&book, random, &mut rows);
            apply(&mut book, &rows);
            updates.push(message("update", &rows, book.checksum()));
            undone.push(message("update", &difference(&window(&book), &before), checksum));
        }
        updates.extend(undone.into_iter().rev());
        Stream { snapshot, updates }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_ends_where_it_began() {
        let stream = Stream::new(&mut Random::new(1), 64);
        assert_eq!(stream.updates.len(), 128);
        let checksum = |message: &Message| {
            let value: serde_json::Value = serde_json::from_slice(&message.bytes).expect("JSON");
            value["data"][0]["checksum"].as_u64().expect("a number")
        };
        let last = stream.updates.last().expect("not empty");
        assert_eq!(checksum(last), checksum(&stream.snapshot));
        let sums: std::collections::HashSet<u64> = stream.updates.iter().map(checksum).collect();
        assert!(sums.len() > 50, "the book changes on the way");
    }

    #[test]
    fn a_sweep_names_every_level_of_a_side_twice_over() {
        let stream = Stream::of_sweeps(&mut Random::new(1), 16);
        for message in &stream.updates {
            let value: serde_json::Value = serde_json::from_slice(&message.bytes).expect("JSON");
            let rows = |side: &str| value["data"][0][side].as_array().expect("levels").clone();
            let (bids, asks) = (rows("bids"), rows("asks"));
            let rows = if bids.is_empty() { asks } else { bids };
            let deleted = rows.iter().take_while(|row| row["qty"] == 0.0).count();
            assert_eq!((rows.len(), deleted), (2 * DEPTH, DEPTH));
        }
    }
}
