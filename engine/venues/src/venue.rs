//! The shape that every venue has: what the runtime calls, and what it may expect.
//!
//! A [`Venue`] is a state machine over the messages of its connections. The runtime owns sockets,
//! time and journal; it calls in with bytes and times, and takes events through an
//! [`EventSink`] and messages through an [`Outbox`]. All methods run on the hot thread: no
//! allocation (after construction), no clock, no I/O, no panic on what the venue sent.

use crate::outbox::Outbox;
use engine_core::event::{Event, EventSink, RejectReason, Times};
use engine_core::ids::VenueId;
use engine_core::instrument::{AssetTable, InstrumentTable};
use zeroize::Zeroizing;

/// What one of a venue's connections is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// Public market data.
    MarketData = 0,
    /// Order entry and private reports (both on one socket, as both venues allow).
    OrderEntry = 1,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 2] = [Role::MarketData, Role::OrderEntry];

    /// An array index.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Stable lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::MarketData => "market_data",
            Role::OrderEntry => "order_entry",
        }
    }
}

/// One connection, told apart from its predecessor and from its replacement during a planned renewal
/// (when two connections of one role are up for a while).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// What it is for.
    pub role: Role,
    /// Grows by one with each connection of this role. Messages for a role go to its newest open link.
    pub generation: u32,
}

/// WebSocket message kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Binary (SBE).
    Binary,
}

/// How a connection is kept alive, beyond answering the server's pings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heartbeat {
    /// Nothing of our own.
    None,
    /// A WebSocket ping frame each so many nanoseconds.
    PingFrame {
        /// Interval.
        interval_ns: u64,
    },
    /// The codec sends a text ping itself from [`Venue::on_timer`].
    Codec,
}

/// Where and how to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What for.
    pub role: Role,
    /// DNS name; also SNI and Host header.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query of the upgrade request.
    pub path: String,
    /// Extra headers of the upgrade request (may hold an API key: not for logs).
    pub headers: Vec<(String, String)>,
    /// Keep-alive.
    pub heartbeat: Heartbeat,
    /// Nothing received for so long = dead. Nanoseconds.
    pub idle_timeout_ns: u64,
    /// The venue ends connections after so long; renewed ahead of it. Nanoseconds; 0 = unlimited.
    pub max_life_ns: u64,
}

/// Where a venue's services are; the defaults are production, configuration overrides them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// REST host and port.
    pub rest: (String, u16),
    /// Public market-data WebSocket host and port.
    pub market_data: (String, u16),
    /// Order-entry WebSocket host and port.
    pub order_entry: (String, u16),
}

/// An account's secrets. Zeroised on drop; no `Debug`, so they cannot reach a log.
#[derive(Clone)]
pub struct Credentials {
    /// Public identifier of the key.
    pub api_key: String,
    /// HMAC secret as the venue gave it (Kraken: base64 text).
    pub secret: Zeroizing<String>,
    /// Ed25519 seed, where the venue uses such keys.
    pub ed25519_seed: Option<Zeroizing<[u8; 32]>>,
}

impl core::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Encoding of market data, where a venue has more than one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Encoding {
    /// JSON text.
    #[default]
    Json,
    /// Simple Binary Encoding.
    Sbe,
}

/// Settings of one venue, from configuration.
#[derive(Clone, Debug)]
pub struct VenueSettings {
    /// The id given to it.
    pub id: VenueId,
    /// Where it is.
    pub hosts: Hosts,
    /// The account; `None` = market data only.
    pub credentials: Option<Credentials>,
    /// Encoding of market data.
    pub encoding: Encoding,
    /// Dead-man's switch time-out in seconds where the venue has one; 0 = off.
    pub dead_man_s: u32,
    /// Percentage of each rate budget that only cancels may use.
    pub cancel_reserve_percent: u8,
    /// Milliseconds added to the venue's deadline or `recvWindow` parameters; venue-specific default if 0.
    pub request_window_ms: u32,
}

/// Why a command was not put on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The order-entry connection is not ready.
    #[error("order entry is not connected")]
    NotConnected,
    /// The rate budget (less the reserve for cancels) is spent.
    #[error("rate budget spent")]
    RateLimited,
    /// The venue cannot do this (replace in place, for example).
    #[error("the venue cannot do this")]
    Unsupported,
    /// The instrument or order is not known to the codec.
    #[error("unknown instrument or order")]
    Unknown,
    /// No room in the outbox or the correlation table.
    #[error("no room")]
    Full,
}

impl ExecuteError {
    /// In the common words of a reject.
    pub const fn reason(self) -> RejectReason {
        match self {
            ExecuteError::RateLimited => RejectReason::RateLimit,
            ExecuteError::NotConnected | ExecuteError::Unsupported | ExecuteError::Unknown | ExecuteError::Full => RejectReason::NotSent,
        }
    }
}

/// Why a codec cannot be built from its settings.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VenueError {
    /// The account's key is not usable. The key itself is not repeated.
    #[error("{venue}: credentials: {reason}")]
    Credentials {
        /// The venue's name.
        venue: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A setting that the venue cannot work with.
    #[error("{venue}: {reason}")]
    Settings {
        /// The venue's name.
        venue: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// An instrument whose symbol cannot stand in a request.
    #[error("{venue}: symbol `{symbol}`: {reason}")]
    Symbol {
        /// The venue's name.
        venue: &'static str,
        /// The symbol.
        symbol: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no such venue.
    #[error("there is no venue `{0}`; there are: binance, kraken")]
    Unknown(String),
}

/// Counters of one venue; plain integers, read by the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VenueCounters {
    /// Messages taken in.
    pub messages: u64,
    /// Events given out.
    pub events: u64,
    /// Messages that could not be decoded.
    pub malformed: u64,
    /// Messages of a kind we do not know (ignored).
    pub unknown_messages: u64,
    /// Messages for a symbol we do not hold.
    pub unknown_symbols: u64,
    /// Enum values we do not know.
    pub unknown_values: u64,
    /// Sequence gaps.
    pub gaps: u64,
    /// Checksum failures.
    pub checksum_failures: u64,
    /// Books resynchronised (snapshots applied after the first).
    pub resyncs: u64,
    /// Messages dropped as older than what was applied.
    pub stale: u64,
    /// Order requests sent.
    pub requests: u64,
    /// Answers that belong to no request of ours.
    pub uncorrelated: u64,
    /// Requests refused for the rate budget.
    pub rate_limited: u64,
    /// Error answers from the venue.
    pub venue_errors: u64,
}

/// A venue's codec. See the module header for the rules.
pub trait Venue {
    /// `binance`, `kraken`.
    fn name(&self) -> &'static str;

    /// The connections to keep up.
    fn endpoints(&self) -> &[Endpoint];

    /// A connection is open (upgraded): subscribe, log on. During a planned renewal this is called for
    /// the new link while the old one still delivers.
    fn on_open(&mut self, link: Link, times: Times, sink: &mut impl EventSink, out: &mut Outbox);

    /// A connection is gone. If it was the newest of its role: books invalid, requests in flight
    /// uncertain, feed down.
    fn on_close(&mut self, link: Link, times: Times, sink: &mut impl EventSink, out: &mut Outbox);

    /// A complete message. Emits its events, [`engine_core::event::flags::LAST`] on the final one.
    fn on_message(&mut self, link: Link, kind: MessageKind, payload: &[u8], times: Times, sink: &mut impl EventSink, out: &mut Outbox);

    /// Something that the cold plane fetched: levels of a book snapshot (`BookLevel` with flags COLD and
    /// SNAPSHOT, CLEAR on the first, LAST on the last, `c` = the snapshot's sequence; `BookInvalid` with COLD
    /// if the fetch failed for good; the levels that this gives out may lack LAST until the stream has joined them), or
    /// pieces of a token (`ColdText`, `side` = role number).
    fn on_cold(&mut self, event: &Event, times: Times, sink: &mut impl EventSink, out: &mut Outbox);

    /// Time went by (called at least each 100 ms): text pings, dead-man's switch, resync back-off,
    /// requests that got no answer (emit `OrderUncertain`).
    fn on_timer(&mut self, times: Times, sink: &mut impl EventSink, out: &mut Outbox);

    /// Puts one of the core's order outputs (`SendNew`, `SendCancel`, `SendReplace`, `SendCancelAll`,
    /// `SendQuery`) on the wire. On an error nothing was queued, and the runtime reports the refusal to the core.
    fn execute(&mut self, command: &Event, times: Times, out: &mut Outbox) -> Result<(), ExecuteError>;

    /// The core found this book wrong (crossed, stale, overflowed) or events of it were dropped: emit
    /// `BookInvalid` and synchronise it anew, unless that is already under way.
    fn resync(
        &mut self,
        instrument: engine_core::ids::InstrumentId,
        reason: engine_core::event::BookInvalid,
        times: Times,
        sink: &mut impl EventSink,
        out: &mut Outbox,
    );

    /// True once the newest link of this role is subscribed (market data) or logged on and reporting
    /// (order entry): the old link of a planned renewal may go.
    fn is_ready(&self, role: Role) -> bool;

    /// Tells the codec of a working order that survived a restart, so that reports and cancels find it.
    /// `venue_order_id` is the venue's own id if known.
    fn adopt_order(&mut self, order: engine_core::ids::OrderId, instrument: engine_core::ids::InstrumentId, venue_order_id: Option<&str>);

    /// The counters.
    fn counters(&self) -> &VenueCounters;

    /// Text of the last refusal or oddity that the venue sent, for the log; `None` if none since last asked.
    fn take_notice(&mut self) -> Option<&str>;

    /// The next [`Venue::execute`], of this new order, cancel or replace, is for practice: its message is never sent, and
    /// whatever it changes is taken back by [`Venue::end_rehearsal`], which follows at once. The runtime rehearses to
    /// keep the way to an order in the caches. False, and there is nothing to end, if the codec cannot or need not.
    fn begin_rehearsal(&mut self, command: &Event, times: Times) -> bool {
        let _ = (command, times);
        false
    }

    /// Takes back what was executed since [`Venue::begin_rehearsal`].
    fn end_rehearsal(&mut self, command: &Event) {
        let _ = command;
    }

    /// Reads what is remembered of an order, so that it is in the caches when a request about it is made.
    fn touch_order(&self, order: engine_core::ids::OrderId) {
        let _ = order;
    }

    /// The venue says that it will soon close the newest connection of this role: true once per notice. The
    /// runtime may begin a planned renewal at once; a venue that never says so keeps the default.
    fn take_closing(&mut self, role: Role) -> bool {
        let _ = role;
        false
    }
}

/// What a venue's constructor takes.
pub struct VenueInit<'a> {
    /// Settings from configuration.
    pub settings: VenueSettings,
    /// All instruments (the codec uses those of its venue).
    pub instruments: &'a InstrumentTable,
    /// All assets, for fees and balances.
    pub assets: &'a AssetTable,
    /// The node's epoch: keeps request ids of one run apart from those of the one before.
    pub epoch: u16,
}
