//! The exchange's vocabulary: market terms, orders, fills, events and refusals.

use crate::book::{OrderId, Side};
use crate::decimal::Amount;
use crate::ledger::{AccountId, AssetId};

/// What a market trades and in which steps. Prices and quantities are integers at the given scales.
#[derive(Clone, Debug)]
pub struct MarketSpec {
    /// Base asset, e.g. `BTC`.
    pub base: String,
    /// Quote asset, e.g. `USDT`.
    pub quote: String,
    /// Decimal places of prices.
    pub price_scale: u8,
    /// Decimal places of quantities.
    pub qty_scale: u8,
    /// Price step.
    pub tick: i64,
    /// Quantity step.
    pub lot: i64,
    /// Smallest quantity of an order.
    pub qty_min: i64,
    /// Largest quantity of an order.
    pub qty_max: i64,
    /// Smallest price x quantity of an order, in quote.
    pub notional_min: Amount,
    /// Price at which the market opens.
    pub open_price: i64,
}

/// Kind of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OrderKind {
    /// Limit.
    Limit,
    /// Market.
    Market,
}

/// How long an order lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeInForce {
    /// Until cancelled.
    Gtc,
    /// What does not match at once is dropped.
    Ioc,
    /// All at once or nothing.
    Fok,
}

/// What happens when an account would trade with itself; the taker's mode decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SelfTrade {
    /// It trades.
    Allow,
    /// The incoming order ends.
    EndTaker,
    /// The resting order ends.
    EndMaker,
    /// Both end.
    EndBoth,
    /// Both lose the quantity that would have matched.
    Decrement,
}

/// Where an order is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Working, nothing filled.
    Open,
    /// Working, partly filled.
    PartiallyFilled,
    /// Done: all filled.
    Filled,
    /// Done: cancelled.
    Canceled,
    /// Done: expired by its own terms.
    Expired,
    /// Done: ended by self-trade prevention.
    ExpiredInMatch,
}

impl Status {
    /// True while the order can still change.
    pub fn is_open(self) -> bool {
        matches!(self, Status::Open | Status::PartiallyFilled)
    }
}

/// Why an order ended other than by its last fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// Its owner cancelled it.
    User,
    /// The dead man's switch fired.
    DeadMan,
    /// IOC remainder.
    ImmediateRemainder,
    /// FOK that could not fill.
    CannotFill,
    /// Market order that ran out of book.
    NoLiquidity,
    /// Self-trade prevention.
    SelfTrade,
    /// Post-only that would have taken.
    PostOnly,
    /// An amend asked for no more than was already filled.
    AmendedAway,
}

/// What a caller wants placed. Values are at the market's scales and already pass the venue's filters.
#[derive(Clone, Debug)]
pub struct NewOrder {
    /// Owner.
    pub account: AccountId,
    /// Index of the market.
    pub market: usize,
    /// Side.
    pub side: Side,
    /// Kind.
    pub kind: OrderKind,
    /// Time in force; GTC for market orders.
    pub time_in_force: TimeInForce,
    /// Limit price; 0 for market orders.
    pub price: i64,
    /// Quantity of base; 0 when `quote_qty` is given.
    pub qty: i64,
    /// Quantity of quote to spend or raise (market orders).
    pub quote_qty: Option<Amount>,
    /// Refuse rather than take.
    pub post_only: bool,
    /// Client's id; unique among the account's open orders. May be empty.
    pub client_id: String,
    /// Client's number (Kraken's `userref`).
    pub user_ref: i64,
    /// Self-trade prevention.
    pub self_trade: SelfTrade,
}

/// An account's order with its history summed up.
#[derive(Clone, Debug)]
pub struct Order {
    /// Venue's id.
    pub id: OrderId,
    /// As placed, with amended price, quantity and client id.
    pub terms: NewOrder,
    /// Where it is.
    pub status: Status,
    /// Filled quantity.
    pub filled_qty: i64,
    /// Price x quantity over all fills.
    pub filled_cost: Amount,
    /// Quantity lost to self-trade prevention.
    pub prevented_qty: i64,
    /// Fees paid, in the fee's asset.
    pub fees: Amount,
    /// When it was taken in, ns.
    pub created_ns: u64,
    /// Last change, ns.
    pub updated_ns: u64,
    /// Last amend (or creation), ns: what rate-limit costs depend on.
    pub amended_ns: u64,
    /// Number of amends.
    pub amends: u32,
    /// Why it ended, if not filled.
    pub end_reason: Option<EndReason>,
    pub(crate) held: Amount,
}

impl Order {
    /// What could still fill.
    pub fn open_qty(&self) -> i64 {
        self.terms.qty - self.filled_qty - self.prevented_qty
    }
}

/// One side of one match, as its owner sees it.
#[derive(Clone, Debug)]
pub struct Fill {
    /// Public trade id.
    pub trade_id: u64,
    /// Venue-wide unique id of this side.
    pub exec_id: u64,
    /// The order.
    pub order_id: OrderId,
    /// Its client id at that time.
    pub client_id: String,
    /// Owner.
    pub account: AccountId,
    /// Market.
    pub market: usize,
    /// Side.
    pub side: Side,
    /// Price.
    pub price: i64,
    /// Quantity.
    pub qty: i64,
    /// Price x quantity.
    pub cost: Amount,
    /// Fee paid.
    pub fee: Amount,
    /// Asset of the fee.
    pub fee_asset: AssetId,
    /// True when this side rested in the book.
    pub maker: bool,
    /// When, ns.
    pub at_ns: u64,
    /// Owner's total of base after this fill.
    pub base_total: Amount,
    /// Owner's total of quote after this fill.
    pub quote_total: Amount,
}

/// A match as the public sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicTrade {
    /// Market.
    pub market: usize,
    /// Sequential per market.
    pub id: u64,
    /// Price.
    pub price: i64,
    /// Quantity.
    pub qty: i64,
    /// Aggressor's side.
    pub taker_side: Side,
    /// Aggressor's kind.
    pub taker_kind: OrderKind,
    /// When, ns.
    pub at_ns: u64,
}

/// What happened to an account's order.
#[derive(Clone, Debug)]
pub enum OrderChange {
    /// Taken in.
    New,
    /// Filled, wholly or in part.
    Fill(Box<Fill>),
    /// Ended for [`Order::end_reason`].
    Ended,
    /// New terms, or quantity taken by self-trade prevention.
    Amended {
        /// Client id before the amend.
        previous_client_id: String,
    },
    /// Lost quantity to self-trade prevention and lives on.
    Decremented {
        /// Quantity lost.
        qty: i64,
    },
}

/// New terms for an open order; `None` leaves a term as it is.
#[derive(Clone, Debug, Default)]
pub struct Amend {
    /// New total quantity.
    pub qty: Option<i64>,
    /// New limit price.
    pub price: Option<i64>,
    /// New client id.
    pub client_id: Option<String>,
    /// Refuse if the new price would take.
    pub post_only: bool,
}

/// Something that happened, in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// A match.
    Trade(PublicTrade),
    /// An account's order changed; the snapshot is as of then.
    Order(Box<Order>, OrderChange),
}

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Not enough free balance.
    #[error("insufficient funds")]
    InsufficientFunds,
    /// Post-only that would match.
    #[error("post-only order would take")]
    WouldTake,
    /// Another open order has this client id.
    #[error("duplicate client id")]
    DuplicateClientId,
    /// No such open order of this account.
    #[error("unknown order")]
    UnknownOrder,
    /// Amend that changes nothing.
    #[error("nothing to amend")]
    NothingToAmend,
}

/// How fees are charged.
#[derive(Clone, Copy, Debug)]
pub struct FeePolicy {
    /// Maker rate in millionths.
    pub maker_ppm: u32,
    /// Taker rate in millionths.
    pub taker_ppm: u32,
    /// Asset of the fee.
    pub asset: FeeAsset,
}

/// Which asset a fee is taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeeAsset {
    /// What the fill brings in, cut to 8 decimals (Binance).
    Received,
    /// Always quote, rounded to 5 decimals (Kraken).
    Quote,
}

impl FeePolicy {
    pub(crate) const RECEIVED_PLACES: u8 = 8;
    pub(crate) const QUOTE_PLACES: u8 = 5;

    pub(crate) fn rate(self, maker: bool) -> u32 {
        if maker { self.maker_ppm } else { self.taker_ppm }
    }
}
