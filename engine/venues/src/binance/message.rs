//! What a market-data message says, whichever encoding it came in.
//!
//! The JSON and SBE parsers fill the same [`Scratch`] and return the same [`Message`], so everything
//! behind them (synchronisation, events) exists once. Nothing is emitted before a message has been read
//! to its end: a message is taken whole or not at all.

use crate::json::{JsonError, What};
use engine_core::event::Side;

/// Levels that one message may hold. A diff holds tens; a full snapshot of 5000 a side fits.
pub const ROWS_MAX: usize = 10_240;
/// Trades that one SBE message may hold.
pub const TRADES_MAX: usize = 4_096;

/// A price level: absolute quantity, zero deletes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Side of the book.
    pub side: Side,
    /// At the symbol's price scale.
    pub price: i64,
    /// At the symbol's quantity scale.
    pub qty: i64,
}

/// A public trade.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TradeRow {
    /// The venue's trade id.
    pub id: u64,
    /// Side of the aggressor.
    pub side: Side,
    /// At the symbol's price scale.
    pub price: i64,
    /// At the symbol's quantity scale.
    pub qty: i64,
}

/// Rows of the message being read; allocated once.
#[derive(Debug)]
pub struct Scratch {
    /// Room for levels, and how many there are.
    rows: Box<[Row]>,
    row_count: usize,
    /// Trades.
    pub trades: Vec<TradeRow>,
}

impl Default for Scratch {
    fn default() -> Self {
        let none = Row { side: Side::Buy, price: 0, qty: 0 };
        Scratch { rows: vec![none; ROWS_MAX].into_boxed_slice(), row_count: 0, trades: Vec::with_capacity(TRADES_MAX) }
    }
}

impl Scratch {
    /// Forgets the last message's rows.
    #[inline]
    pub fn clear(&mut self) {
        self.row_count = 0;
        self.trades.clear();
    }

    /// Adds a level; false if the message holds more than the bound.
    #[inline]
    pub fn level(&mut self, row: Row) -> bool {
        let Some(place) = self.rows.get_mut(self.row_count) else { return false };
        *place = row;
        self.row_count += 1;
        true
    }

    /// Room for more levels, to be written first and then counted by [`Scratch::fill`].
    #[inline]
    pub fn free(&mut self) -> &mut [Row] {
        self.rows.get_mut(self.row_count..).unwrap_or_default()
    }

    /// So many more levels are there, written to what was [`Scratch::free`].
    #[inline]
    pub fn fill(&mut self, count: usize) {
        self.row_count = self.row_count.saturating_add(count).min(self.rows.len());
    }

    /// The levels.
    #[inline]
    pub fn rows(&self) -> &[Row] {
        self.rows.get(..self.row_count).unwrap_or_default()
    }

    /// Adds a trade; false if the message holds more than the bound.
    #[inline]
    pub fn trade(&mut self, row: TradeRow) -> bool {
        let fits = self.trades.len() < TRADES_MAX;
        if fits {
            self.trades.push(row);
        }
        fits
    }
}

/// A market-data message; levels and trades are in the [`Scratch`]. `symbol` is the place in the symbol index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// A book difference: update ids `first..=last`.
    Diff {
        /// Place of the symbol.
        symbol: usize,
        /// `U`.
        first: u64,
        /// `u`.
        last: u64,
        /// Venue time.
        time_ns: u64,
    },
    /// A whole (partial-depth) book that replaces what was.
    Book {
        /// Place of the symbol.
        symbol: usize,
        /// `lastUpdateId`.
        sequence: u64,
        /// Venue time; 0 in JSON.
        time_ns: u64,
    },
    /// Best bid and ask.
    Ticker {
        /// Place of the symbol.
        symbol: usize,
        /// `u`, of the same counter as the book's.
        sequence: u64,
        /// Price and quantity.
        bid: (i64, i64),
        /// Price and quantity.
        ask: (i64, i64),
        /// Venue time; 0 in JSON.
        time_ns: u64,
    },
    /// Trades, oldest first.
    Trades {
        /// Place of the symbol.
        symbol: usize,
        /// Venue time.
        time_ns: u64,
    },
    /// The answer to a control request: accepted (`id` is our request's, 0 if none).
    Accepted {
        /// The request.
        id: u64,
    },
    /// The answer to a control request: refused.
    Refused {
        /// The request; 0 if none.
        id: u64,
        /// The venue's code.
        code: i64,
        /// The venue's text, escapes unresolved.
        text: &'a [u8],
    },
    /// The server is about to close the connection.
    Shutdown,
    /// A stream that we know of and do not use.
    Unused(&'static str),
    /// A kind of message that we do not know.
    Unknown,
    /// A message for a symbol that we do not hold.
    UnknownSymbol,
}

/// Why a message cannot be read, and whose it is if it said so before it went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Place of the symbol.
    pub symbol: Option<usize>,
    /// What is wrong, where.
    pub error: JsonError,
}

impl ParseError {
    /// Builds one.
    #[cold]
    pub const fn new(symbol: Option<usize>, at: usize, what: What) -> ParseError {
        ParseError { symbol, error: JsonError { at, what } }
    }
}

impl From<JsonError> for ParseError {
    fn from(error: JsonError) -> ParseError {
        ParseError { symbol: None, error }
    }
}

/// A venue time in milliseconds or microseconds (which of them depends on the connection's `timeUnit`;
/// the magnitude tells) as nanoseconds. Saturates.
#[inline]
pub const fn time_ns(value: u64) -> u64 {
    // 10^14 ms is the year 5138; 10^14 us is 1973.
    if value < 100_000_000_000_000 { value.saturating_mul(1_000_000) } else { value.saturating_mul(1_000) }
}

/// True if a price and a quantity can be a best bid or ask: only an empty side has no price.
#[inline]
pub const fn is_quote((price, qty): (i64, i64)) -> bool {
    price > 0 || qty == 0
}
