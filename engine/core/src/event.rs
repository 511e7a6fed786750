//! The language that every room speaks: one fixed layout of 64 bytes for everything that happens.
//!
//! The journal, the shared-memory ring, the replica stream and the replay tool all carry this struct
//! as it is, with no serialiser between. The layout is versioned ([`LAYOUT_VERSION`]) and its size and
//! offsets are tested. Fields are little-endian words of the host (x86-64 and aarch64 alike).
//!
//! ```text
//! offset  0      1      2      3      4           6      8              16              24           28     32  40  48  56
//!         kind | flags | venue | side | instrument | asset | core_time_ns | venue_time_ns | poll_delay | code | a | b | c | d
//! ```
//!
//! Events below [`EventKind::FIRST_OUTPUT`] are *inputs* of the core: market data, order reports,
//! timers, commands. Those above are its *outputs*: orders to send, refusals, state hashes. Both are
//! journalled in the order in which they happened, so a replay feeds the inputs and checks that the
//! outputs come out again, one by one.
//!
//! What the words `a..d` and `code` mean depends on the kind; the constructor functions below are the
//! only place where they are packed, the accessor methods the only place where they are unpacked.

use crate::fixed::{Money, Price, Qty};
use crate::ids::{AssetId, InstrumentId, OrderId, StrategyId, VenueId};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of the event layout; a journal of another version is refused, never reinterpreted.
pub const LAYOUT_VERSION: u32 = 1;

/// One thing that happened. See the module header for the layout.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Default)]
#[repr(C, align(64))]
pub struct Event {
    /// What happened: an [`EventKind`] as its byte.
    pub kind: u8,
    /// A set of [`flags`].
    pub flags: u8,
    /// The venue concerned: [`VenueId`].
    pub venue: u8,
    /// [`Side`] as its byte; 0 where no side applies.
    pub side: u8,
    /// The instrument concerned: [`InstrumentId`].
    pub instrument: u16,
    /// The asset concerned ([`AssetId`]) or, in order outputs, the strategy ([`StrategyId`]).
    pub asset: u16,
    /// When the core took the event in: nanoseconds since the Unix epoch.
    pub core_time_ns: u64,
    /// The venue's own time of it: nanoseconds since the Unix epoch; 0 if the venue gave none.
    pub venue_time_ns: u64,
    /// `core_time_ns` minus the time at which the poll loop saw the frame; saturates.
    pub poll_delay_ns: u32,
    /// A code whose meaning depends on the kind.
    pub code: u32,
    /// First payload word.
    pub a: u64,
    /// Second payload word.
    pub b: u64,
    /// Third payload word.
    pub c: u64,
    /// Fourth payload word.
    pub d: u64,
}

/// Bits of [`Event::flags`].
pub mod flags {
    /// Last event of its venue message: strategies look only after it.
    pub const LAST: u8 = 1 << 0;
    /// First event of a book snapshot: the book is cleared before it is applied.
    pub const CLEAR: u8 = 1 << 1;
    /// Part of a snapshot or a reconciliation, not news.
    pub const SNAPSHOT: u8 = 1 << 2;
    /// Fill: we were the maker.
    pub const MAKER: u8 = 1 << 3;
    /// Order: post-only.
    pub const POST_ONLY: u8 = 1 << 4;
    /// Order: immediate or cancel.
    pub const IOC: u8 = 1 << 5;
    /// The event came from the cold plane (REST), not from the venue's stream.
    pub const COLD: u8 = 1 << 6;
}

/// Side of a book, an order or an aggressor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Side {
    /// Buy side, bids.
    Buy = 1,
    /// Sell side, asks.
    Sell = 2,
}

impl Side {
    /// The other side.
    #[inline]
    pub const fn opposite(self) -> Side {
        match self {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        }
    }

    /// From the byte in an event.
    #[inline]
    pub const fn from_byte(byte: u8) -> Option<Side> {
        match byte {
            1 => Some(Side::Buy),
            2 => Some(Side::Sell),
            _ => None,
        }
    }

    /// +1 for buy, -1 for sell.
    #[inline]
    pub const fn sign(self) -> i64 {
        match self {
            Side::Buy => 1,
            Side::Sell => -1,
        }
    }

    /// 0 for buy, 1 for sell: an array index.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    /// `buy` or `sell`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Side::Buy => "buy",
            Side::Sell => "sell",
        }
    }
}

/// Defines a byte enum with conversions and names.
macro_rules! byte_enum {
    ($(#[$doc:meta])* $name:ident : $raw:ty { $($(#[$vdoc:meta])* $variant:ident = $value:expr => $text:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        #[repr($raw)]
        pub enum $name {
            $($(#[$vdoc])* $variant = $value),*
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// From its number; `None` for a number of another version.
            #[inline]
            pub const fn from_raw(raw: $raw) -> Option<$name> {
                // Looked up and not jumped to: nobody foretells which it is.
                const PLACES: usize = {
                    let (mut at, mut places) = (0, 0);
                    while at < $name::ALL.len() {
                        if $name::ALL[at] as usize >= places {
                            places = $name::ALL[at] as usize + 1;
                        }
                        at += 1;
                    }
                    places
                };
                const BY_NUMBER: [Option<$name>; PLACES] = {
                    let (mut table, mut at) = ([None; PLACES], 0);
                    while at < $name::ALL.len() {
                        table[$name::ALL[at] as usize] = Some($name::ALL[at]);
                        at += 1;
                    }
                    table
                };
                if (raw as usize) < PLACES { BY_NUMBER[raw as usize] } else { None }
            }

            /// Stable lower-case name, for logs, exports and counters.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text),*
                }
            }
        }
    };
}

pub(crate) use byte_enum;

byte_enum! {
    /// What happened.
    EventKind: u8 {
        // Market data.
        /// Absolute quantity at a price level (`qty` 0 deletes). a price, b qty, c venue sequence.
        BookLevel = 1 => "book_level",
        /// The book of `instrument` became invalid; `code` is a [`BookInvalid`].
        BookInvalid = 2 => "book_invalid",
        /// Best bid or ask outside the depth feed. a price, b qty (0 = empty side), c venue sequence.
        TopOfBook = 3 => "top_of_book",
        /// A public trade; `side` is the aggressor. a price, b qty, c trade id.
        Trade = 4 => "trade",
        /// Trading status of an instrument; `code` is an [`InstrumentStatus`].
        InstrumentStatus = 5 => "instrument_status",
        /// New increments of an instrument, in force from here on. a tick, b lot, c minimum quantity,
        /// d minimum notional in quote units at price scale.
        InstrumentRules = 6 => "instrument_rules",
        /// A message ended that changed the book without a level of its own (all rows were no-ops).
        BookTouch = 7 => "book_touch",
        // Connections.
        /// A stream of the venue came up or went down; `code` is a [`FeedState`], a is the connection role.
        FeedStatus = 10 => "feed_status",
        // Order reports from the venue.
        /// The venue accepted the order. a order id.
        OrderAck = 20 => "order_ack",
        /// The venue refused the order. a order id, `code` a [`RejectReason`].
        OrderReject = 21 => "order_reject",
        /// A fill. a order id, b price, c qty, d trade id (unique per instrument and order).
        OrderFill = 22 => "order_fill",
        /// The fee of the fill that follows directly. a trade id, b and c the amount (low, high word of [`Money`];
        /// negative = rebate), d order id; `asset` is the fee's asset.
        FillFee = 23 => "fill_fee",
        /// The order is gone with a remainder. a order id, b cumulative filled qty (or `u64::MAX` if the venue did not say).
        OrderCanceled = 24 => "order_canceled",
        /// The venue refused a cancel. a order id, `code` a [`RejectReason`].
        CancelReject = 25 => "cancel_reject",
        /// The venue replaced price and total quantity in place. a order id, b price, c total qty.
        OrderReplaced = 26 => "order_replaced",
        /// The venue refused a replace. a order id, `code` a [`RejectReason`].
        ReplaceReject = 27 => "replace_reject",
        /// The order expired (IOC remainder, venue rule). a order id, b cumulative filled qty (or `u64::MAX`).
        OrderExpired = 28 => "order_expired",
        /// Nobody knows what became of the request (time-out, connection lost, 5xx). a order id.
        OrderUncertain = 29 => "order_uncertain",
        /// Evidence from reconciliation: what the venue says the order is. a order id, b cumulative filled qty, c price,
        /// d total qty; `code` a [`VenueOrderStatus`].
        OrderStatus = 30 => "order_status",
        /// Balance of an asset as the venue states it. a, b total; c, d available (both [`Money`] words).
        Balance = 31 => "balance",
        /// Reconciliation of a venue began (code 0) or completed (code 1): a is the number of orders reported open.
        Reconcile = 32 => "reconcile",
        // Time and commands.
        /// Time went by; strategies' timers run on it. `core_time_ns` is the time.
        Timer = 40 => "timer",
        /// An operator's or the runtime's command; `code` is a [`CommandKind`]; a..d its arguments.
        Command = 41 => "command",
        /// The engine started. a epoch, b hash of the configuration.
        SessionStart = 42 => "session_start",
        /// A piece of text for a venue's codec from the cold plane (a token, never journalled, never fed to
        /// the core): `code` bytes of a..d, flag LAST on the final piece.
        ColdText = 60 => "cold_text",
        // Outputs.
        /// Send a new order. a order id, b price, c qty; flags POST_ONLY/IOC; `asset` is the strategy.
        SendNew = 128 => "send_new",
        /// Send a cancel. a order id.
        SendCancel = 129 => "send_cancel",
        /// Send a replace in place. a order id, b new price, c new total qty, d previous total qty.
        SendReplace = 130 => "send_replace",
        /// Send a cancel of everything on `venue` (`instrument` is meaningless).
        SendCancelAll = 131 => "send_cancel_all",
        /// Ask the venue what became of an order. a order id.
        SendQuery = 132 => "send_query",
        /// Ask the venue's codec for a new snapshot of the book of `instrument`: the core found it wrong or stale
        /// (`code` is a [`BookInvalid`]).
        SendResync = 133 => "send_resync",
        /// Risk refused what a strategy asked for. `code` is a risk `Refusal`; b price, c qty; `asset` the strategy.
        RiskRefusal = 140 => "risk_refusal",
        /// Trading stopped (kill switch, loss limit, breaker); `code` is a [`HaltReason`].
        Halt = 141 => "halt",
        /// Hash of the core's state. a hash, b number of input events so far.
        StateHash = 142 => "state_hash",
        /// An order changed state. a order id, b previous state, c new state, d cumulative filled qty.
        OrderTransition = 143 => "order_transition",
        /// The core saw an input it cannot place (unknown order, impossible transition, value out of bounds).
        /// `code` is an [`Anomaly`]; a order id or value.
        Anomaly = 144 => "anomaly",
    }
}

impl EventKind {
    /// Kinds from here on are outputs of the core.
    pub const FIRST_OUTPUT: u8 = 128;
}

byte_enum! {
    /// Why a book is not to be trusted.
    BookInvalid: u32 {
        /// No snapshot yet (start, or after a reconnect).
        Initial = 0 => "initial",
        /// The venue's sequence skipped.
        Gap = 1 => "gap",
        /// The venue's checksum does not match.
        Checksum = 2 => "checksum",
        /// Best bid at or above best ask.
        Crossed = 3 => "crossed",
        /// Nothing heard for longer than the limit.
        Stale = 4 => "stale",
        /// The connection went down.
        Disconnected = 5 => "disconnected",
        /// More levels than the book holds.
        Overflow = 6 => "overflow",
        /// A message of this instrument could not be decoded.
        Malformed = 7 => "malformed",
        /// The instrument's rules changed; a new snapshot is needed.
        RulesChanged = 8 => "rules_changed",
    }
}

byte_enum! {
    /// Whether the venue trades an instrument.
    InstrumentStatus: u32 {
        /// Normal trading.
        Trading = 0 => "trading",
        /// No trading (halt, break, maintenance, delisted).
        Halted = 1 => "halted",
        /// Only cancels are taken.
        CancelOnly = 2 => "cancel_only",
        /// Only post-only orders are taken.
        PostOnly = 3 => "post_only",
        /// Only limit orders are taken.
        LimitOnly = 4 => "limit_only",
        /// Only orders that reduce a position are taken.
        ReduceOnly = 5 => "reduce_only",
        /// A status value that we do not know: treated as halted.
        Unknown = 6 => "unknown",
    }
}

byte_enum! {
    /// State of one of a venue's streams.
    FeedState: u32 {
        /// The connection is lost or not there yet.
        Down = 0 => "down",
        /// The connection is up and subscribed (market data) or ready for orders (order entry).
        Up = 1 => "up",
        /// The venue says that it is in maintenance.
        Maintenance = 2 => "maintenance",
    }
}

byte_enum! {
    /// Why a venue refused something, in words common to all venues.
    RejectReason: u32 {
        /// A reason that has no common word; the venue's text is in the log.
        Other = 0 => "other",
        /// Not enough balance.
        InsufficientFunds = 1 => "insufficient_funds",
        /// Post-only order would have taken.
        PostOnlyWouldTake = 2 => "post_only_would_take",
        /// Client order id already in use.
        DuplicateOrderId = 3 => "duplicate_order_id",
        /// The venue does not know the order (never existed, or already closed).
        UnknownOrder = 4 => "unknown_order",
        /// Price is off tick, out of band or otherwise refused.
        InvalidPrice = 5 => "invalid_price",
        /// Quantity is off lot or out of bounds.
        InvalidQuantity = 6 => "invalid_quantity",
        /// Below the minimum (or above the maximum) notional.
        Notional = 7 => "notional",
        /// A rate limit was hit.
        RateLimit = 8 => "rate_limit",
        /// Too many open orders.
        TooManyOrders = 9 => "too_many_orders",
        /// The market is closed, halted or in maintenance.
        MarketClosed = 10 => "market_closed",
        /// Key, signature, session or permission.
        Authentication = 11 => "authentication",
        /// Timestamp or deadline outside the window.
        Timing = 12 => "timing",
        /// Self-trade prevention.
        SelfTrade = 13 => "self_trade",
        /// The venue is overloaded and did not take the request.
        Overloaded = 14 => "overloaded",
        /// The request changes nothing.
        NoChange = 15 => "no_change",
        /// The request was malformed or not supported.
        BadRequest = 16 => "bad_request",
        /// Refused locally before it was sent (encoder, rate ledger, connection down).
        NotSent = 17 => "not_sent",
    }
}

byte_enum! {
    /// What a venue says an order is, when asked.
    VenueOrderStatus: u32 {
        /// Open (new or partially filled).
        Open = 0 => "open",
        /// Completely filled.
        Filled = 1 => "filled",
        /// Cancelled.
        Canceled = 2 => "canceled",
        /// Expired.
        Expired = 3 => "expired",
        /// Refused.
        Rejected = 4 => "rejected",
        /// The venue does not know the order, asked long enough after it was sent to be evidence.
        NotFound = 5 => "not_found",
    }
}

byte_enum! {
    /// A command to the core.
    CommandKind: u32 {
        /// Stop all trading and cancel everything. a 0 = operator, else a [`HaltReason`].
        Kill = 1 => "kill",
        /// Trade again after a kill or halt.
        Resume = 2 => "resume",
        /// Cancel everything, keep trading.
        CancelAll = 3 => "cancel_all",
        /// Stop opening orders; let open ones be.
        Pause = 4 => "pause",
        /// The cold plane is behind: no new orders (a = 1) or normal again (a = 0).
        ColdPlaneBehind = 5 => "cold_plane_behind",
        /// Wind down: cancel everything and place nothing more; the engine is stopping.
        Shutdown = 6 => "shutdown",
        /// Enable (b = 1) or disable (b = 0) strategy a.
        EnableStrategy = 7 => "enable_strategy",
        /// Offset of the venue's clock to ours in nanoseconds (a as i64), for the clock-skew gate.
        ClockOffset = 8 => "clock_offset",
    }
}

byte_enum! {
    /// Why trading stopped.
    HaltReason: u32 {
        /// The operator said so.
        Operator = 0 => "operator",
        /// Daily loss limit.
        DailyLoss = 1 => "daily_loss",
        /// Drawdown from the peak.
        Drawdown = 2 => "drawdown",
        /// Too many rejects in the window.
        RejectBurst = 3 => "reject_burst",
        /// Too many fills in the window.
        FillBurst = 4 => "fill_burst",
        /// Our record and the venue's disagree.
        Mismatch = 5 => "mismatch",
        /// The cold plane cannot keep up.
        ColdPlaneBehind = 6 => "cold_plane_behind",
        /// The engine is stopping.
        Shutdown = 7 => "shutdown",
        /// Venue clock and ours differ by more than the limit.
        ClockSkew = 8 => "clock_skew",
    }
}

byte_enum! {
    /// Input that the core could not place.
    Anomaly: u32 {
        /// A report for an order that is not in the table.
        UnknownOrder = 0 => "unknown_order",
        /// A report that the order's state does not allow.
        ImpossibleTransition = 1 => "impossible_transition",
        /// A fill already booked (same trade id).
        DuplicateFill = 2 => "duplicate_fill",
        /// Fills beyond the order's quantity.
        Overfill = 3 => "overfill",
        /// A price or quantity beyond any sane bound.
        OutOfBounds = 4 => "out_of_bounds",
        /// Venue, instrument, asset or strategy id out of range.
        UnknownId = 5 => "unknown_id",
        /// Event time went backwards by more than the tolerance.
        ClockJump = 6 => "clock_jump",
        /// Our balance and the venue's differ.
        BalanceMismatch = 7 => "balance_mismatch",
        /// An event kind or code of another version.
        UnknownKind = 8 => "unknown_kind",
        /// A venue-open order that we do not hold (found by reconciliation).
        ForeignOrder = 9 => "foreign_order",
    }
}

/// Bound on the magnitude of any price or quantity the core accepts: sums of dozens of them stay in `i64`.
pub const VALUE_MAX: i64 = 100_000_000_000_000_000;

/// "The venue did not say", for a cumulative quantity.
pub const QTY_UNSTATED: u64 = u64::MAX;

/// The times that come with a message: stamped by the hot loop, copied into each of its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// When the core takes the message in: nanoseconds since the Unix epoch.
    pub core_ns: u64,
    /// How long before that the poll loop saw the frame, in nanoseconds.
    pub poll_delay_ns: u32,
}

/// Takes events as a codec produces them. The runtime journals and applies each at once; tests collect
/// them in a `Vec`.
pub trait EventSink {
    /// Takes one event.
    fn event(&mut self, event: &Event);

    /// A market-data message of this instrument is being read: its events will follow. Changes nothing; what takes the events can
    /// have its memory at hand by then.
    #[inline]
    fn upcoming(&mut self, _instrument: InstrumentId) {}

    /// Changes of these levels of its book will follow at once. As [`EventSink::upcoming`], which comes first.
    #[inline]
    fn upcoming_levels(&mut self, _instrument: InstrumentId, _levels: impl Iterator<Item = (Side, Price)>) {}
}

impl EventSink for Vec<Event> {
    fn event(&mut self, event: &Event) {
        self.push(*event);
    }
}

impl<F: FnMut(&Event)> EventSink for F {
    #[inline]
    fn event(&mut self, event: &Event) {
        self(event);
    }
}

impl Event {
    /// An event of `kind` with nothing else set but its times.
    #[inline]
    pub fn new(kind: EventKind, venue: VenueId, times: Times) -> Event {
        Event { kind: kind as u8, venue: venue.0, core_time_ns: times.core_ns, poll_delay_ns: times.poll_delay_ns, ..Event::default() }
    }

    /// Sets the venue's time.
    #[inline]
    #[must_use]
    pub fn at(mut self, venue_time_ns: u64) -> Event {
        self.venue_time_ns = venue_time_ns;
        self
    }

    /// Adds flags.
    #[inline]
    #[must_use]
    pub fn with(mut self, flags: u8) -> Event {
        self.flags |= flags;
        self
    }

    /// A book level. `qty` zero deletes it.
    #[inline]
    pub fn book_level(venue: VenueId, instrument: InstrumentId, side: Side, price: Price, qty: Qty, sequence: u64, times: Times) -> Event {
        Event {
            instrument: instrument.0,
            side: side as u8,
            a: price.0 as u64,
            b: qty.0 as u64,
            c: sequence,
            ..Event::new(EventKind::BookLevel, venue, times)
        }
    }

    /// The book is invalid from here until the next snapshot.
    #[inline]
    pub fn book_invalid(venue: VenueId, instrument: InstrumentId, reason: BookInvalid, times: Times) -> Event {
        Event { instrument: instrument.0, code: reason as u32, flags: flags::LAST, ..Event::new(EventKind::BookInvalid, venue, times) }
    }

    /// One side of the best bid and ask.
    #[inline]
    pub fn top_of_book(venue: VenueId, instrument: InstrumentId, side: Side, price: Price, qty: Qty, sequence: u64, times: Times) -> Event {
        Event { kind: EventKind::TopOfBook as u8, ..Event::book_level(venue, instrument, side, price, qty, sequence, times) }
    }

    /// A public trade; `side` is the aggressor's.
    #[inline]
    pub fn trade(venue: VenueId, instrument: InstrumentId, side: Side, price: Price, qty: Qty, trade_id: u64, times: Times) -> Event {
        Event { kind: EventKind::Trade as u8, ..Event::book_level(venue, instrument, side, price, qty, trade_id, times) }
    }

    /// Trading status of an instrument.
    pub fn instrument_status(venue: VenueId, instrument: InstrumentId, status: InstrumentStatus, times: Times) -> Event {
        Event { instrument: instrument.0, code: status as u32, flags: flags::LAST, ..Event::new(EventKind::InstrumentStatus, venue, times) }
    }

    /// A stream came up or went down; `role` is the venue's connection role number.
    pub fn feed_status(venue: VenueId, role: u8, state: FeedState, times: Times) -> Event {
        Event { code: state as u32, a: u64::from(role), flags: flags::LAST, ..Event::new(EventKind::FeedStatus, venue, times) }
    }

    /// A report about one of our orders that carries no quantities: ack, reject, cancel reject, uncertain...
    #[inline]
    pub fn order_report(kind: EventKind, venue: VenueId, instrument: InstrumentId, order: OrderId, times: Times) -> Event {
        Event { instrument: instrument.0, a: order.0, ..Event::new(kind, venue, times) }
    }

    /// A refusal (`OrderReject`, `CancelReject`, `ReplaceReject`).
    #[inline]
    pub fn refusal(kind: EventKind, venue: VenueId, instrument: InstrumentId, order: OrderId, reason: RejectReason, times: Times) -> Event {
        Event { code: reason as u32, ..Event::order_report(kind, venue, instrument, order, times) }
    }

    /// A fill of ours. Emit [`Event::fill_fee`] first if the fee is known.
    #[inline]
    #[allow(clippy::too_many_arguments)]
    pub fn fill(
        venue: VenueId,
        instrument: InstrumentId,
        order: OrderId,
        side: Side,
        price: Price,
        qty: Qty,
        trade_id: u64,
        times: Times,
    ) -> Event {
        Event {
            side: side as u8,
            b: price.0 as u64,
            c: qty.0 as u64,
            d: trade_id,
            ..Event::order_report(EventKind::OrderFill, venue, instrument, order, times)
        }
    }

    /// The fee of the fill that follows directly (positive = we pay).
    #[inline]
    pub fn fill_fee(
        venue: VenueId,
        instrument: InstrumentId,
        order: OrderId,
        trade_id: u64,
        asset: AssetId,
        amount: Money,
        times: Times,
    ) -> Event {
        let (low, high) = amount.to_words();
        Event {
            instrument: instrument.0,
            asset: asset.0,
            a: trade_id,
            b: low,
            c: high,
            d: order.0,
            ..Event::new(EventKind::FillFee, venue, times)
        }
    }

    /// The order is gone (`OrderCanceled`, `OrderExpired`); `filled` is the cumulative filled quantity if stated.
    #[inline]
    pub fn order_gone(
        kind: EventKind,
        venue: VenueId,
        instrument: InstrumentId,
        order: OrderId,
        filled: Option<Qty>,
        times: Times,
    ) -> Event {
        Event { b: filled.map_or(QTY_UNSTATED, |q| q.0 as u64), ..Event::order_report(kind, venue, instrument, order, times) }
    }

    /// The venue replaced price and total quantity in place.
    #[inline]
    pub fn order_replaced(venue: VenueId, instrument: InstrumentId, order: OrderId, price: Price, qty: Qty, times: Times) -> Event {
        Event { b: price.0 as u64, c: qty.0 as u64, ..Event::order_report(EventKind::OrderReplaced, venue, instrument, order, times) }
    }

    /// What the venue says an order is, when asked.
    #[allow(clippy::too_many_arguments)]
    pub fn order_status(
        venue: VenueId,
        instrument: InstrumentId,
        order: OrderId,
        status: VenueOrderStatus,
        filled: Qty,
        price: Price,
        qty: Qty,
        times: Times,
    ) -> Event {
        Event {
            code: status as u32,
            b: filled.0 as u64,
            c: price.0 as u64,
            d: qty.0 as u64,
            ..Event::order_report(EventKind::OrderStatus, venue, instrument, order, times)
        }
    }

    /// Balance of an asset as the venue states it.
    pub fn balance(venue: VenueId, asset: AssetId, total: Money, available: Money, times: Times) -> Event {
        let (a, b) = total.to_words();
        let (c, d) = available.to_words();
        Event { asset: asset.0, a, b, c, d, ..Event::new(EventKind::Balance, venue, times) }
    }

    /// Time went by.
    #[inline]
    pub fn timer(times: Times) -> Event {
        Event { flags: flags::LAST, ..Event::new(EventKind::Timer, VenueId(0), times) }
    }

    /// A command.
    pub fn command(kind: CommandKind, a: u64, b: u64, times: Times) -> Event {
        Event { code: kind as u32, a, b, flags: flags::LAST, ..Event::new(EventKind::Command, VenueId(0), times) }
    }

    /// The kind, if known to this version.
    #[inline]
    pub const fn event_kind(&self) -> Option<EventKind> {
        EventKind::from_raw(self.kind)
    }

    /// True for events that the core takes in.
    #[inline]
    pub const fn is_input(&self) -> bool {
        self.kind < EventKind::FIRST_OUTPUT
    }

    /// The venue.
    #[inline]
    pub const fn venue_id(&self) -> VenueId {
        VenueId(self.venue)
    }

    /// The instrument.
    #[inline]
    pub const fn instrument_id(&self) -> InstrumentId {
        InstrumentId(self.instrument)
    }

    /// The strategy, in order outputs.
    #[inline]
    pub const fn strategy_id(&self) -> StrategyId {
        StrategyId(self.asset as u8)
    }

    /// The side, where one applies.
    #[inline]
    pub const fn side(&self) -> Option<Side> {
        Side::from_byte(self.side)
    }

    /// The order id, in order reports and order outputs (word `a`).
    #[inline]
    pub const fn order_id(&self) -> OrderId {
        OrderId(self.a)
    }

    /// Price of market-data events (word `a`).
    #[inline]
    pub const fn level_price(&self) -> Price {
        Price(self.a as i64)
    }

    /// Quantity of market-data events (word `b`).
    #[inline]
    pub const fn level_qty(&self) -> Qty {
        Qty(self.b as i64)
    }

    /// Price of order events (word `b`).
    #[inline]
    pub const fn order_price(&self) -> Price {
        Price(self.b as i64)
    }

    /// Quantity of order events (word `c`).
    #[inline]
    pub const fn order_qty(&self) -> Qty {
        Qty(self.c as i64)
    }

    /// True if all of `mask` is set.
    #[inline]
    pub const fn has(&self, mask: u8) -> bool {
        self.flags & mask == mask
    }
}

impl core::fmt::Debug for Event {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.event_kind() {
            Some(kind) => write!(f, "{}", kind.as_str())?,
            None => write!(f, "kind {}", self.kind)?,
        }
        write!(
            f,
            "{{venue {} instrument {} side {} flags {:#04x} asset {} code {} a {} b {} c {} d {} core {} venue_time {}}}",
            self.venue,
            self.instrument,
            self.side,
            self.flags,
            self.asset,
            self.code,
            self.a,
            self.b,
            self.c,
            self.d,
            self.core_time_ns,
            self.venue_time_ns
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{align_of, offset_of, size_of};

    #[test]
    fn layout_is_64_bytes_at_fixed_offsets() {
        assert_eq!(size_of::<Event>(), 64);
        assert_eq!(align_of::<Event>(), 64);
        assert_eq!(offset_of!(Event, kind), 0);
        assert_eq!(offset_of!(Event, flags), 1);
        assert_eq!(offset_of!(Event, venue), 2);
        assert_eq!(offset_of!(Event, side), 3);
        assert_eq!(offset_of!(Event, instrument), 4);
        assert_eq!(offset_of!(Event, asset), 6);
        assert_eq!(offset_of!(Event, core_time_ns), 8);
        assert_eq!(offset_of!(Event, venue_time_ns), 16);
        assert_eq!(offset_of!(Event, poll_delay_ns), 24);
        assert_eq!(offset_of!(Event, code), 28);
        assert_eq!(offset_of!(Event, a), 32);
        assert_eq!(offset_of!(Event, b), 40);
        assert_eq!(offset_of!(Event, c), 48);
        assert_eq!(offset_of!(Event, d), 56);
    }

    #[test]
    fn kinds_keep_their_numbers_and_names_are_unique() {
        let mut names = std::collections::HashSet::new();
        for &kind in EventKind::ALL {
            assert_eq!(EventKind::from_raw(kind as u8), Some(kind));
            assert!(names.insert(kind.as_str()));
        }
        assert_eq!(EventKind::from_raw(0), None);
        assert_eq!(EventKind::from_raw(255), None);
    }
}
