//! The cold plane's side of a venue: requests to build, answers to parse, no sockets.
//!
//! [`VenueRest`] turns a [`RestQuery`] into an [`HttpRequest`] (signed where need be) and an HTTP answer
//! into a [`RestReply`]. The runtime's cold plane carries them over kernel sockets with TLS and retries.
//! Allocation is fine here; determinism is kept: reconciliation is a pure function of the replies.

use engine_core::event::{Side, VenueOrderStatus};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::{AssetId, InstrumentId, OrderId};
use engine_core::instrument::{AssetTable, Instrument, InstrumentTable};
use zeroize::Zeroizing;

/// What to ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RestQuery {
    /// The venue's clock.
    ServerTime,
    /// Reference data of these symbols (the venue's order-channel spelling).
    Instruments {
        /// The symbols wanted.
        symbols: Vec<String>,
    },
    /// A book snapshot.
    BookSnapshot {
        /// Of this instrument.
        instrument: InstrumentId,
        /// Levels a side.
        depth: u32,
    },
    /// A token for private streams (Kraken).
    StreamToken,
    /// All open orders.
    OpenOrders,
    /// One order, by our id.
    Order {
        /// Its instrument.
        instrument: InstrumentId,
        /// Our id.
        order: OrderId,
    },
    /// Our fills of an instrument since a time (inclusive), oldest first, one page.
    Fills {
        /// Of this instrument.
        instrument: InstrumentId,
        /// Nanoseconds since the Unix epoch.
        since_ns: u64,
        /// Where the last page ended; 0 for the first page.
        cursor: u64,
    },
    /// All balances.
    Balances,
    /// Cancel every open order of the account. Venues that cancel by symbol only (Binance) answer
    /// [`RestError::Unsupported`]: ask once for each instrument instead.
    CancelAll,
    /// Cancel every open order of an instrument. Venues that cancel all or nothing (Kraken) answer
    /// [`RestError::Unsupported`].
    CancelInstrument {
        /// Of this instrument.
        instrument: InstrumentId,
    },
}

/// An HTTP request to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpRequest {
    /// `GET`, `POST`, `DELETE`.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// Extra headers; may hold keys and signatures: not for logs.
    pub headers: Vec<(String, String)>,
    /// Body; empty if none.
    pub body: Vec<u8>,
}

/// An order as the venue states it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderRecord {
    /// Its instrument.
    pub instrument: InstrumentId,
    /// Our id; `None` if it is not one of ours.
    pub order: Option<OrderId>,
    /// The venue's id.
    pub venue_order_id: String,
    /// Side.
    pub side: Side,
    /// Limit price; zero for a market order.
    pub price: Price,
    /// Total quantity.
    pub qty: Qty,
    /// Cumulative filled quantity.
    pub filled: Qty,
    /// What it is.
    pub status: VenueOrderStatus,
}

/// A fill as the venue states it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FillRecord {
    /// Its instrument.
    pub instrument: InstrumentId,
    /// Our id, if the record names it (Binance' `myTrades` does not).
    pub order: Option<OrderId>,
    /// The venue's order id.
    pub venue_order_id: String,
    /// The trade id, the same number that the private stream reports.
    pub trade_id: u64,
    /// Side of our order.
    pub side: Side,
    /// Price.
    pub price: Price,
    /// Quantity.
    pub qty: Qty,
    /// Fee (positive = paid).
    pub fee: Money,
    /// The fee's asset; `None` if unknown to the table.
    pub fee_asset: Option<AssetId>,
    /// We were the maker.
    pub maker: bool,
    /// Nanoseconds since the Unix epoch.
    pub time_ns: u64,
}

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RestReply {
    /// The venue's clock, nanoseconds since the Unix epoch.
    ServerTime(u64),
    /// Reference data. An instrument that could not be decoded is in `quarantined` with the reason.
    Instruments {
        /// Decoded; `venue` is set.
        instruments: Vec<Instrument>,
        /// Symbol and reason.
        quarantined: Vec<(String, String)>,
    },
    /// A book snapshot.
    BookSnapshot {
        /// Sequence (`lastUpdateId`); 0 if the venue has none.
        sequence: u64,
        /// Best first.
        bids: Vec<(Price, Qty)>,
        /// Best first.
        asks: Vec<(Price, Qty)>,
    },
    /// A token.
    Token(Zeroizing<String>),
    /// Orders (open ones, or the one asked for; empty = the venue does not know it).
    Orders(Vec<OrderRecord>),
    /// A page of fills, and where the next begins.
    Fills {
        /// The page.
        fills: Vec<FillRecord>,
        /// The next page's cursor; `None` = this was the last.
        next: Option<u64>,
    },
    /// Total and available, by asset; assets unknown to the table are left out.
    Balances(Vec<(AssetId, Money, Money)>),
    /// How many orders were cancelled.
    Canceled(u32),
}

/// Why an answer is not usable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RestError {
    /// The venue refused; the text is the venue's own.
    #[error("the venue refused: {text} (HTTP {status}, code {code})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The venue's code; 0 if it has none.
        code: i64,
        /// The venue's text, bounded.
        text: String,
    },
    /// Try again after so long: rate limit, overload.
    #[error("the venue asks to wait {wait_ms} ms: {text}")]
    Wait {
        /// Milliseconds.
        wait_ms: u64,
        /// The venue's text, bounded.
        text: String,
    },
    /// The answer is not what the protocol says.
    #[error("answer cannot be decoded: {0}")]
    Malformed(String),
    /// The query makes no sense for this venue or needs credentials that are not there.
    #[error("not possible: {0}")]
    Unsupported(&'static str),
}

/// What a REST codec may look things up in.
#[derive(Clone, Copy)]
pub struct Tables<'a> {
    /// All instruments.
    pub instruments: &'a InstrumentTable,
    /// All assets.
    pub assets: &'a AssetTable,
}

/// A venue's REST dialect. Cold plane only.
pub trait VenueRest: Send {
    /// Builds the request. `now_ns` (Unix) feeds timestamps and nonces; nonces grow even if it does not.
    fn request(&mut self, query: &RestQuery, tables: Tables<'_>, now_ns: u64) -> Result<HttpRequest, RestError>;

    /// Parses the answer. `headers` are lower-case names and values of the response.
    /// `Instruments` may intern new assets, hence `assets` is mutable.
    fn parse(
        &mut self,
        query: &RestQuery,
        status: u16,
        headers: &[(String, String)],
        body: &[u8],
        instruments: &InstrumentTable,
        assets: &mut AssetTable,
    ) -> Result<RestReply, RestError>;
}
