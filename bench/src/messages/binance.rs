//! Binance's market data: JSON and SBE of the same content.

use super::{ID_DIGITS, Ids, Message, decimal};
use crate::random::Random;
use engine_core::event::Side;

/// The symbol of all messages.
pub const SYMBOL: &str = "BTCUSDT";
/// Decimals of its prices.
pub const PRICE_SCALE: u32 = 2;
/// Decimals of its quantities.
pub const QTY_SCALE: u32 = 8;
/// Best bid; the best ask is a tick above.
pub const BEST_BID: i64 = 6_825_010;
/// Venue time of all messages, microseconds.
const TIME_US: u64 = 1_767_225_600_105_123;

/// Decimals that the venue prints in JSON, whatever the increments are.
const PRINTED: u32 = 8;

/// Price and quantity.
pub type Level = (i64, i64);

/// What a depth message says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Depth {
    /// Bids, then asks, as many of each.
    pub sides: [Vec<Level>; 2],
}

/// A quantity as they are: mostly small, sometimes large.
fn qty(random: &mut Random) -> i64 {
    let size = 10u64.pow(3 + random.below(7) as u32);
    1 + random.below(size) as i64
}

/// As JSON has prices and quantities.
fn printed((price, qty): Level) -> (String, String) {
    let padded = |value: i64, scale: u32| decimal(value * 10i64.pow(PRINTED - scale), PRINTED);
    (padded(price, PRICE_SCALE), padded(qty, QTY_SCALE))
}

impl Depth {
    /// So many levels a side, within ever wider reach of the best; one in six is deleted.
    pub fn new(random: &mut Random, levels: usize) -> Depth {
        let side = |side: Side, random: &mut Random| {
            let mut away = 0;
            let level = |_| {
                away += 1 + random.below(40) as i64;
                let price = if side == Side::Buy { BEST_BID + 1 - away } else { BEST_BID + away };
                (price, if random.below(6) == 0 { 0 } else { qty(random) })
            };
            (0..levels).map(level).collect()
        };
        Depth { sides: [side(Side::Buy, random), side(Side::Sell, random)] }
    }

    /// `<symbol>@depth@100ms`.
    pub fn json(&self) -> Message {
        let hole = "0".repeat(ID_DIGITS);
        let rows = |levels: &[Level]| {
            let row = |&level: &Level| {
                let (price, qty) = printed(level);
                format!("[\"{price}\",\"{qty}\"]")
            };
            levels.iter().map(row).collect::<Vec<_>>().join(",")
        };
        let head = format!(r#"{{"e":"depthUpdate","E":{TIME_US},"s":"{SYMBOL}","U":"#);
        let between = r#","u":"#;
        let at = vec![head.len(), head.len() + ID_DIGITS + between.len()];
        let [bids, asks] = &self.sides;
        let text = format!(r#"{head}{hole}{between}{hole},"b":[{}],"a":[{}]}}"#, rows(bids), rows(asks));
        Message { bytes: text.into_bytes(), ids: Ids::Digits, at }
    }

    /// `DepthDiffStreamEvent` of the SBE streams.
    pub fn sbe(&self) -> Message {
        let mut bytes = header(26, 10_003);
        bytes.extend_from_slice(&TIME_US.to_le_bytes());
        let at = vec![bytes.len(), bytes.len() + 8];
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&exponents());
        for side in &self.sides {
            bytes.extend_from_slice(&16u16.to_le_bytes());
            bytes.extend_from_slice(&(side.len() as u16).to_le_bytes());
            for (price, qty) in side {
                bytes.extend_from_slice(&price.to_le_bytes());
                bytes.extend_from_slice(&qty.to_le_bytes());
            }
        }
        symbol(&mut bytes);
        Message { bytes, ids: Ids::LittleEndian, at }
    }
}

/// What a message about the best bid and ask says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticker {
    /// Best bid.
    pub bid: Level,
    /// Best ask.
    pub ask: Level,
}

impl Ticker {
    /// Near the best.
    pub fn new(random: &mut Random) -> Ticker {
        let best = BEST_BID + random.below(200) as i64;
        Ticker { bid: (best, qty(random)), ask: (best + 1, qty(random)) }
    }

    /// `<symbol>@bookTicker`.
    pub fn json(&self) -> Message {
        let hole = "0".repeat(ID_DIGITS);
        let head = r#"{"u":"#;
        let ((bid, bid_qty), (ask, ask_qty)) = (printed(self.bid), printed(self.ask));
        let text = format!(r#"{head}{hole},"s":"{SYMBOL}","b":"{bid}","B":"{bid_qty}","a":"{ask}","A":"{ask_qty}"}}"#);
        Message { bytes: text.into_bytes(), ids: Ids::Digits, at: vec![head.len()] }
    }

    /// `BestBidAskStreamEvent` of the SBE streams.
    pub fn sbe(&self) -> Message {
        let mut bytes = header(50, 10_001);
        bytes.extend_from_slice(&TIME_US.to_le_bytes());
        let at = vec![bytes.len()];
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&exponents());
        for value in [self.bid.0, self.bid.1, self.ask.0, self.ask.1] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        symbol(&mut bytes);
        Message { bytes, ids: Ids::LittleEndian, at }
    }
}

/// What a message about a trade says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trade {
    /// Price and quantity.
    pub level: Level,
    /// The buyer was the maker: the aggressor sold.
    pub buyer_is_maker: bool,
}

impl Trade {
    /// Near the best.
    pub fn new(random: &mut Random) -> Trade {
        Trade { level: (BEST_BID + random.below(200) as i64, qty(random)), buyer_is_maker: random.below(2) == 0 }
    }

    /// `<symbol>@trade`.
    pub fn json(&self) -> Message {
        let hole = "0".repeat(ID_DIGITS);
        let head = format!(r#"{{"e":"trade","E":{TIME_US},"s":"{SYMBOL}","t":"#);
        let ((price, qty), maker) = (printed(self.level), self.buyer_is_maker);
        let text = format!(r#"{head}{hole},"p":"{price}","q":"{qty}","T":{TIME_US},"m":{maker},"M":true}}"#);
        Message { bytes: text.into_bytes(), ids: Ids::Digits, at: vec![head.len()] }
    }

    /// `TradesStreamEvent` of the SBE streams, of one trade.
    pub fn sbe(&self) -> Message {
        let mut bytes = header(18, 10_000);
        bytes.extend_from_slice(&TIME_US.to_le_bytes());
        bytes.extend_from_slice(&TIME_US.to_le_bytes());
        bytes.extend_from_slice(&exponents());
        bytes.extend_from_slice(&25u16.to_le_bytes());
        bytes.extend_from_slice(&1u32.to_le_bytes());
        let at = vec![bytes.len()];
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&self.level.0.to_le_bytes());
        bytes.extend_from_slice(&self.level.1.to_le_bytes());
        bytes.push(u8::from(self.buyer_is_maker));
        symbol(&mut bytes);
        Message { bytes, ids: Ids::LittleEndian, at }
    }
}

fn header(block_length: u16, template: u16) -> Vec<u8> {
    [block_length, template, 1, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Of prices and quantities.
fn exponents() -> [u8; 2] {
    [PRICE_SCALE, QTY_SCALE].map(|scale| (-(scale as i8)) as u8)
}

fn symbol(bytes: &mut Vec<u8>) {
    bytes.push(SYMBOL.len() as u8);
    bytes.extend_from_slice(SYMBOL.as_bytes());
}
