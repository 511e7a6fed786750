//! Recorded market data: what a venue really sent, as changes of its books.
//!
//! A recording is a file of lines `{"t":..,"dir":"in|out","conn":"..","data":".."}` beside the checkout (`../shared/captures`);
//! it is no part of the sources. Our decoder for recordings reads it beforehand, the older forms of messages among them, and
//! proves Kraken's checksums; every side is given the same sides, prices and quantities, in its own terms.
//!
//! A market whose snapshot the recording lacks begins with its first message. What is recorded can be played once. To play it
//! again, all its changes are undone, change by change, in time that does not count ([`Recording::undo`]): what is measured
//! are changes as they came.

use anyhow::{Context, ensure};
use engine_core::event::{Event, EventKind, Side, flags};
use engine_core::ids::InstrumentId;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::Path;
use venues::binance::decoder::BinanceDecoder;
use venues::binance::message::Row;
use venues::decode::{Channel, LineDecoder};
use venues::kraken::decoder::KrakenDecoder;
use venues::venue::MessageKind;

/// Beside the checkout.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/captures");
/// Whole units. A snapshot's levels beyond it (Kraken's books have some, where nothing happens) are left out for all sides:
/// a price of nautilus' with 64 bits does not reach so far.
const PRICE_MAX: i64 = 9_000_000_000;

/// How a market's numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Decimals of prices.
    pub price_scale: u32,
    /// Decimals of quantities.
    pub qty_scale: u32,
    /// All prices are multiples of it; in units of the last decimal.
    pub tick: i64,
}

impl Grid {
    /// The last decimal of a price, as floating point.
    pub fn price_unit(&self) -> f64 {
        1.0 / 10f64.powi(self.price_scale as i32)
    }

    /// The last decimal of a quantity, as floating point.
    pub fn lot(&self) -> f64 {
        1.0 / 10f64.powi(self.qty_scale as i32)
    }

    /// The tick, as floating point.
    pub fn tick_size(&self) -> f64 {
        self.tick as f64 * self.price_unit()
    }
}

/// One book.
#[derive(Debug)]
pub struct Market {
    /// Its numbers.
    pub grid: Grid,
    /// The levels that it begins with.
    pub snapshot: Vec<Row>,
    /// The lowest and the highest price at which anything happens, the best levels of the snapshot included.
    pub reach: (i64, i64),
}

/// Changes of one book that came together, no price among them twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Place of the market.
    pub market: usize,
    /// The changes.
    pub rows: Vec<Row>,
}

/// What was recorded of a venue.
#[derive(Debug)]
pub struct Recording {
    /// The books.
    pub markets: Vec<Market>,
    /// What changed them, as it came.
    pub messages: Vec<Message>,
    /// The same backwards and undone: leads from the end to the beginning.
    pub undo: Vec<Message>,
}

/// A line of the file.
#[derive(Deserialize)]
struct Line<'a> {
    dir: &'a str,
    #[serde(borrow)]
    conn: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Cow<'a, str>>,
}

/// The recordings that are there, with their venues' names; says of the others that they are not.
///
/// # Errors
/// If one is there and cannot be read.
pub fn all() -> anyhow::Result<Vec<(&'static str, Recording)>> {
    let decoders: [(&str, &str, Box<dyn LineDecoder>); 2] = [
        ("Kraken", "kraken.jsonl", Box::new(KrakenDecoder::new(Channel::Public))),
        ("Binance", "binance.jsonl", Box::new(BinanceDecoder::new(Channel::Public))),
    ];
    let mut recordings = Vec::new();
    for (venue, file, mut decoder) in decoders {
        match std::fs::read_to_string(Path::new(DIRECTORY).join(file)) {
            Ok(text) => recordings.push((venue, Recording::read(&text, decoder.as_mut()).with_context(|| format!("recording {file}"))?)),
            Err(_) => {
                eprintln!("peers: without the book of {venue} as recorded: ../shared/captures/{file}, beside the checkout, is not there")
            }
        }
    }
    Ok(recordings)
}

/// A market while the recording is read: its name, and what it holds.
struct Reading {
    id: InstrumentId,
    held: BTreeMap<(usize, i64), i64>,
}

impl Recording {
    /// Reads the lines of a recording.
    ///
    /// # Errors
    /// If a line cannot be decoded, or a book does not go on from where it was.
    pub fn read(text: &str, decoder: &mut dyn LineDecoder) -> anyhow::Result<Recording> {
        let mut recording = Recording { markets: Vec::new(), messages: Vec::new(), undo: Vec::new() };
        let (mut readings, mut events) = (Vec::new(), Vec::new());
        for (at, line) in text.lines().enumerate() {
            let line: Line<'_> = serde_json::from_str(line).with_context(|| format!("line {}", at + 1))?;
            let Some(data) = line.data.filter(|_| line.dir == "in") else { continue };
            events.clear();
            decoder.decode(MessageKind::Text, &line.conn, data.as_bytes(), &mut events).with_context(|| format!("line {}", at + 1))?;
            recording.take(&events, decoder, &mut readings).with_context(|| format!("line {}", at + 1))?;
        }
        recording.undo.reverse();
        for at in 0..recording.markets.len() {
            recording.markets[at].reach = recording.reach(at);
        }
        Ok(recording)
    }

    /// Takes the events of a line.
    fn take(&mut self, events: &[Event], decoder: &dyn LineDecoder, readings: &mut Vec<Reading>) -> anyhow::Result<()> {
        let is = |event: &&Event, kind: EventKind| event.event_kind() == Some(kind);
        ensure!(!events.iter().any(|event| is(&event, EventKind::BookInvalid)), "a book lost its step");
        let levels: Vec<&Event> = events.iter().filter(|event| is(event, EventKind::BookLevel)).collect();
        let Some(first) = levels.first() else { return Ok(()) };
        let row = |event: &&Event| {
            let side = event.side().context("a level without a side")?;
            Ok(Row { side, price: event.level_price().0, qty: event.level_qty().0 })
        };
        let rows = levels.iter().map(row).collect::<anyhow::Result<Vec<Row>>>()?;
        let mut named = HashSet::new();
        ensure!(rows.iter().all(|row| named.insert((row.side.index(), row.price))), "a message names a price twice");
        let id = first.instrument_id();
        let Some(market) = readings.iter().position(|reading| reading.id == id) else { return self.begin(id, rows, decoder, readings) };
        ensure!(!first.has(flags::CLEAR), "a second snapshot of a book");
        self.change(market, rows, &mut readings[market].held);
        Ok(())
    }

    /// A market's first levels. Without any, it has yet to begin.
    fn begin(
        &mut self,
        id: InstrumentId,
        mut rows: Vec<Row>,
        decoder: &dyn LineDecoder,
        readings: &mut Vec<Reading>,
    ) -> anyhow::Result<()> {
        let symbol = decoder.symbols().symbols().iter().find(|symbol| symbol.instrument == id).context("an instrument without a symbol")?;
        let (price_scale, qty_scale) = (u32::from(symbol.price_scale), u32::from(symbol.qty_scale));
        rows.retain(|row| row.qty > 0 && row.price / 10i64.pow(price_scale) < PRICE_MAX);
        if rows.is_empty() {
            return Ok(());
        }
        let tick = rows.iter().fold(0, |tick, row| common_divisor(tick, row.price));
        readings.push(Reading { id, held: rows.iter().map(|row| ((row.side.index(), row.price), row.qty)).collect() });
        self.markets.push(Market { grid: Grid { price_scale, qty_scale, tick }, snapshot: rows, reach: (0, 0) });
        Ok(())
    }

    fn change(&mut self, market: usize, rows: Vec<Row>, held: &mut BTreeMap<(usize, i64), i64>) {
        let tick = &mut self.markets[market].grid.tick;
        let mut undone = Vec::new();
        for row in &rows {
            *tick = common_divisor(*tick, row.price);
            let at = (row.side.index(), row.price);
            let before = if row.qty == 0 { held.remove(&at) } else { held.insert(at, row.qty) };
            undone.push(Row { qty: before.unwrap_or(0), ..*row });
        }
        undone.reverse();
        self.messages.push(Message { market, rows });
        self.undo.push(Message { market, rows: undone });
    }

    /// Changes of all messages.
    pub fn changes(&self) -> usize {
        self.messages.iter().map(|message| message.rows.len()).sum()
    }

    /// The messages in groups of so many changes at least, each with how many it has. What is left at the end is in the last.
    pub fn groups(&self, least: usize) -> Vec<(Range<usize>, usize)> {
        let mut groups: Vec<(Range<usize>, usize)> = Vec::new();
        let (mut start, mut changes) = (0, 0);
        for (at, message) in self.messages.iter().enumerate() {
            changes += message.rows.len();
            if changes >= least {
                groups.push((start..at + 1, changes));
                (start, changes) = (at + 1, 0);
            }
        }
        if let Some((last, in_last)) = groups.last_mut() {
            last.end = self.messages.len();
            *in_last += changes;
        }
        groups
    }

    /// See [`Market::reach`].
    fn reach(&self, market: usize) -> (i64, i64) {
        const BEST: usize = 64;
        let snapshot = &self.markets[market].snapshot;
        let best = |side: Side| {
            let mut prices: Vec<i64> = snapshot.iter().filter(|row| row.side == side).map(|row| row.price).collect();
            prices.sort_unstable_by_key(|price| -side.sign() * price);
            prices.truncate(BEST);
            prices
        };
        let changed = self.messages.iter().filter(|message| message.market == market).flat_map(|message| &message.rows);
        let prices = changed.map(|row| row.price).chain(best(Side::Buy)).chain(best(Side::Sell));
        prices.fold((i64::MAX, i64::MIN), |(low, high), price| (low.min(price), high.max(price)))
    }
}

/// The greatest; of zero and another, the other.
const fn common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(dir: &str, data: &str) -> String {
        serde_json::json!({"t": 1.5, "dir": dir, "conn": "wss://ws.kraken.com", "data": data, "b64": null}).to_string()
    }

    fn read(lines: &[String]) -> anyhow::Result<Recording> {
        Recording::read(&lines.join("\n"), &mut KrakenDecoder::new(Channel::Public))
    }

    fn snapshot(pair: &str) -> String {
        let (ask, bid) =
            (r#"["61250.50000","0.01250000","1.1"]"#, r#"["61250.40000","0.48000000","1.1"],["61250.10000","2.00000000","1.1"]"#);
        line("in", &format!(r#"[640,{{"as":[{ask}],"bs":[{bid}]}},"book-1000","{pair}"]"#))
    }

    fn update(pair: &str, rows: &str) -> String {
        line("in", &format!(r#"[640,{{{rows}}},"book-1000","{pair}"]"#))
    }

    #[test]
    fn changes_come_by_market_and_undone_lead_back_to_the_snapshot() {
        let lines = [
            line("out", r#"{"event":"subscribe"}"#),
            snapshot("XBT/USD"),
            snapshot("XBT/EUR"),
            update("XBT/EUR", r#""b":[["61250.10000","0.00000000","1.2"],["61250.30000","5.00000000","1.2"]]"#),
            line("in", r#"{"event":"heartbeat"}"#),
            update("XBT/USD", r#""a":[["61250.50000","7.00000000","1.3"]]"#),
        ];
        let recording = read(&lines).unwrap();
        let grid = Grid { price_scale: 5, qty_scale: 8, tick: 10_000 };
        assert_eq!(recording.markets.iter().map(|market| (market.grid, market.snapshot.len())).collect::<Vec<_>>(), [(grid, 3); 2]);
        let row = |side, price, qty| Row { side, price, qty };
        let rows = vec![row(Side::Buy, 6_125_010_000, 0), row(Side::Buy, 6_125_030_000, 500_000_000)];
        let last = Message { market: 0, rows: vec![row(Side::Sell, 6_125_050_000, 700_000_000)] };
        assert_eq!(recording.messages, [Message { market: 1, rows }, last]);
        let rows = vec![row(Side::Buy, 6_125_030_000, 0), row(Side::Buy, 6_125_010_000, 200_000_000)];
        let first = Message { market: 0, rows: vec![row(Side::Sell, 6_125_050_000, 1_250_000)] };
        assert_eq!(recording.undo, [first, Message { market: 1, rows }]);
        assert_eq!((recording.changes(), recording.markets[0].reach), (3, (6_125_010_000, 6_125_050_000)));
        assert_eq!(recording.groups(2), [(0..2, 3)]);
        assert_eq!(recording.groups(1), [(0..1, 2), (1..2, 1)]);
    }

    #[test]
    fn a_recording_that_is_broken_or_begins_a_book_again_is_refused_with_its_line() {
        let error = |lines: &[String]| format!("{:#}", read(lines).unwrap_err());
        assert_eq!(error(&[snapshot("XBT/USD"), snapshot("XBT/USD")]), "line 2: a second snapshot of a book");
        assert!(error(&[snapshot("XBT/USD"), "{".to_owned()]).starts_with("line 2: EOF"));
        assert!(error(&[update("XBT/USD", r#""a":[["61250.5"]]"#)]).starts_with("line 1: "));
        let wrong = r#""a":[["61250.50000","7.00000000","1.3"]],"c":"1""#;
        assert_eq!(error(&[snapshot("XBT/USD"), update("XBT/USD", wrong)]), "line 2: a book lost its step");
        let twice = r#""a":[["61250.50000","7.00000000","1.3"],["61250.50000","8.00000000","1.3"]]"#;
        assert_eq!(error(&[snapshot("XBT/USD"), update("XBT/USD", twice)]), "line 2: a message names a price twice");
    }

    #[test]
    fn a_market_without_a_snapshot_begins_with_its_first_message_and_levels_out_of_reach_are_left_out() {
        let rows = r#""a":[["61250.50000","7.00000000","1.3"],["9999999999.00000","1.00000000","1.3"],["61250.60000","0.00000000","1.3"]]"#;
        let recording = read(&[update("XBT/USD", rows)]).unwrap();
        assert_eq!(recording.markets[0].snapshot, [Row { side: Side::Sell, price: 6_125_050_000, qty: 700_000_000 }]);
        assert!(recording.messages.is_empty());
    }
}
