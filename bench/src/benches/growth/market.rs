//! One instrument's market at its venue: an endless stream of messages in the venue's shape that its codec takes, and
//! the core's view of the instrument.
//!
//! All markets of a protocol share one small pool of messages, so that reading it does not fill the caches in the place of
//! what is measured; a market's own symbol and ids are written into the copy that is taken in.

use crate::messages::binance::{self, Depth};
use crate::messages::kraken::{self, Stream};
use crate::messages::{ID_FIRST, Message};
use crate::random::Random;
use anyhow::Context;
use engine_core::event::{Event, Side, Times, flags};
use engine_core::fixed::{Price, Qty};
use engine_core::ids::{AssetId, InstrumentId, VenueId};
use engine_core::instrument::{Capabilities, Instrument};
use std::rc::Rc;

/// Different messages of each protocol.
const POOL: usize = 64;
/// Levels a side of a Binance message.
const LEVELS: usize = 4;
/// Levels a side of a Binance snapshot.
const SNAPSHOT_LEVELS: i64 = 50;

/// A venue's dialect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Differences of the book, JSON.
    Binance,
    /// Changes of the book's window with a checksum, JSON.
    Kraken,
}

impl Protocol {
    /// Both.
    pub const ALL: [Protocol; 2] = [Protocol::Binance, Protocol::Kraken];

    /// The venue's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Binance => venues::binance::NAME,
            Protocol::Kraken => venues::kraken::NAME,
        }
    }

    /// Most instruments that one connection carries.
    pub const fn instruments_max(self) -> usize {
        match self {
            Protocol::Binance => 341, // 1,024 streams, three for each.
            Protocol::Kraken => 1_000,
        }
    }

    fn symbol(self, name: &str) -> String {
        match self {
            Protocol::Binance => format!("{name}USDT"),
            Protocol::Kraken => format!("{name}/USD"),
        }
    }
}

/// Messages and where their symbols stand.
#[derive(Debug)]
pub struct Pool {
    protocol: Protocol,
    messages: Vec<(Message, usize)>,
    snapshot: Option<(Message, usize)>,
}

fn with_place(message: Message, symbol: &str) -> anyhow::Result<(Message, usize)> {
    let at = message.bytes.windows(symbol.len()).position(|window| window == symbol.as_bytes()).context("a message without its symbol")?;
    Ok((message, at))
}

impl Pool {
    /// Of one protocol, from a seed.
    pub fn new(protocol: Protocol, seed: u64) -> anyhow::Result<Rc<Pool>> {
        let mut random = Random::new(seed);
        let (messages, snapshot) = match protocol {
            Protocol::Binance => {
                let messages = (0..POOL).map(|_| with_place(Depth::new(&mut random, LEVELS).json(), binance::SYMBOL));
                (messages.collect::<anyhow::Result<_>>()?, None)
            }
            Protocol::Kraken => {
                // It ends where it began: half of it undoes the other.
                let stream = Stream::new(&mut random, POOL / 2);
                let messages = stream.updates.into_iter().map(|message| with_place(message, kraken::SYMBOL));
                (messages.collect::<anyhow::Result<_>>()?, Some(with_place(stream.snapshot, kraken::SYMBOL)?))
            }
        };
        Ok(Rc::new(Pool { protocol, messages, snapshot }))
    }
}

/// Three letters, different for each number below 17,576.
pub fn name(number: usize) -> String {
    [676, 26, 1].map(|place| char::from(b'A' + (number / place % 26) as u8)).iter().collect()
}

/// A market. See the module header.
pub struct Market {
    /// At this venue.
    pub venue: VenueId,
    /// The core's id.
    pub instrument: InstrumentId,
    symbol: String,
    pool: Rc<Pool>,
    at: usize,
    id: u64,
}

impl Market {
    /// The market for the asset with this name.
    pub fn new(pool: &Rc<Pool>, venue: VenueId, instrument: InstrumentId, name: &str) -> Market {
        Market { venue, instrument, symbol: pool.protocol.symbol(name), pool: Rc::clone(pool), at: 0, id: ID_FIRST }
    }

    /// Its dialect.
    pub fn protocol(&self) -> Protocol {
        self.pool.protocol
    }

    /// Messages from one place to the same again.
    pub fn round(&self) -> usize {
        self.pool.messages.len()
    }

    /// As the core knows it.
    pub fn as_instrument(&self, base: AssetId, quote: AssetId) -> Instrument {
        let (price_scale, qty_scale) = match self.protocol() {
            Protocol::Binance => (binance::PRICE_SCALE, binance::QTY_SCALE),
            Protocol::Kraken => (kraken::PRICE_SCALE, kraken::QTY_SCALE),
        };
        Instrument {
            qty_max: Qty(1_000_000_000_000),
            maker_fee_ppm: 100,
            taker_fee_ppm: 1_000,
            capabilities: Capabilities { replace: false, reduce: true, post_only: true },
            ..Instrument::new(self.venue, self.symbol.clone(), [base, quote], [price_scale as u8, qty_scale as u8])
        }
    }

    /// Writes the next message.
    pub fn next(&mut self, frame: &mut Vec<u8>) {
        let (message, symbol_at) = &self.pool.messages[self.at];
        self.at = (self.at + 1) % self.pool.messages.len();
        let first = self.id + 1;
        self.id = first + 3;
        message.write(frame, &[first, self.id]);
        frame[*symbol_at..*symbol_at + self.symbol.len()].copy_from_slice(self.symbol.as_bytes());
    }

    /// Writes the snapshot that the venue sends by itself; false if it is one that has to be asked for.
    pub fn snapshot(&self, frame: &mut Vec<u8>) -> bool {
        let Some((message, symbol_at)) = &self.pool.snapshot else { return false };
        message.write(frame, &[]);
        frame[*symbol_at..*symbol_at + self.symbol.len()].copy_from_slice(self.symbol.as_bytes());
        true
    }

    /// The snapshot as the cold plane brings it, of the book just before the next message.
    pub fn cold_snapshot(&self, times: Times) -> Vec<Event> {
        let level = |side: Side, at: i64| {
            let best = if side == Side::Buy { binance::BEST_BID } else { binance::BEST_BID + 1 };
            let price = Price(best - side.sign() * at * 3);
            Event::book_level(self.venue, self.instrument, side, price, Qty(100_000 + at), self.id, times)
                .with(flags::COLD | flags::SNAPSHOT)
        };
        let mut levels: Vec<Event> =
            [Side::Buy, Side::Sell].into_iter().flat_map(|side| (0..SNAPSHOT_LEVELS).map(move |at| level(side, at))).collect();
        levels[0] = levels[0].with(flags::CLEAR);
        if let Some(last) = levels.last_mut() {
            *last = last.with(flags::LAST);
        }
        levels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markets_have_messages_of_their_own_from_one_pool() {
        let pool = Pool::new(Protocol::Kraken, 1).unwrap();
        let mut markets = ["AAA", "AAB"].map(|name| Market::new(&pool, VenueId(0), InstrumentId(0), name));
        let mut frame = Vec::new();
        assert!(markets[0].snapshot(&mut frame));
        assert!(String::from_utf8_lossy(&frame).contains("\"symbol\":\"AAA/USD\""));
        markets[1].next(&mut frame);
        assert!(String::from_utf8_lossy(&frame).contains("\"symbol\":\"AAB/USD\"") && markets[0].at == 0 && markets[1].at == 1);
        assert_eq!(markets[0].round(), POOL);
    }

    #[test]
    fn ids_of_binances_messages_follow_on() {
        let pool = Pool::new(Protocol::Binance, 1).unwrap();
        let mut market = Market::new(&pool, VenueId(0), InstrumentId(0), "QQQ");
        let mut frame = Vec::new();
        let mut ids = || {
            market.next(&mut frame);
            let value: serde_json::Value = serde_json::from_slice(&frame).expect("JSON");
            assert_eq!(value["s"], "QQQUSDT");
            [&value["U"], &value["u"]].map(|id| id.as_u64().expect("a number"))
        };
        let (first, second) = (ids(), ids());
        assert_eq!((first[0], second[0]), (ID_FIRST + 1, first[1] + 1));
        assert!(!market.snapshot(&mut Vec::new()), "it has to be asked for");
    }

    #[test]
    fn names_are_different() {
        let names: std::collections::HashSet<String> = (0..17_576).map(name).collect();
        assert_eq!((names.len(), name(0), name(27)), (17_576, "AAA".into(), "ABB".into()));
    }
}
