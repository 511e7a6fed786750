//! What a strategy is, and what it can see and do.
//!
//! A [`Strategy`] is a state machine like everything in this crate: the core calls it after an event,
//! it looks around through its [`Context`] and asks for orders. Every request passes the risk checks
//! before it becomes an output; a refusal comes back at once, as the error of the call.
//!
//! Rules for implementations: no allocation after construction, no clock (use [`Context::now_ns`]), no
//! randomness, no unbounded loop; floats for signals only. State that influences decisions is written in
//! [`Strategy::hash_state`], else a replay could diverge unnoticed.
//!
//! When the core calls:
//! - `on_start`: once, at the session start event.
//! - `on_book`: after the last event of a venue message, for each instrument whose book (or its
//!   validity) changed; also once when a book turns stale. Check [`Context::book_state`].
//! - `on_trade`: for each public trade.
//! - `on_fill`, then `on_order`: for own orders, as reports come in. Transitions that the strategy itself
//!   caused by a call (`Pending`, `PendingCancel`, `PendingReplace`) are not called back.
//! - `on_timer`: at each timer event.

use crate::book::Book;
use crate::core::Desk;
use crate::event::{FeedState, RejectReason, Side};
use crate::fixed::{Money, Price, Qty};
use crate::ids::{AssetId, InstrumentId, OrderId, StrategyId, VenueId};
use crate::instrument::{Instrument, InstrumentTable};
use crate::order::{Order, OrderState};
use crate::position::Position;
use crate::risk::Refusal;
use crate::state_hash::StateHasher;
use crate::trades::TradeStream;

/// What a strategy asks for: a limit order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewOrder {
    /// The instrument; must be one of the strategy's own.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// Limit price, on tick.
    pub price: Price,
    /// Quantity, on lot.
    pub qty: Qty,
    /// Refused by the venue rather than taking.
    pub post_only: bool,
    /// Immediate or cancel. Not together with `post_only`.
    pub ioc: bool,
}

/// An order of the strategy's changed state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrderUpdate {
    /// The order.
    pub order: OrderId,
    /// Its instrument.
    pub instrument: InstrumentId,
    /// Its side.
    pub side: Side,
    /// The state before.
    pub previous: OrderState,
    /// The state now. May equal `previous` where a request failed without moving the order (a cancel
    /// refused while the order's fate is unknown).
    pub state: OrderState,
    /// Limit price now in force.
    pub price: Price,
    /// Total quantity now in force.
    pub qty: Qty,
    /// Cumulative filled quantity.
    pub filled: Qty,
    /// Why the venue refused, where it did (reject, cancel reject, replace reject).
    pub reason: Option<RejectReason>,
}

impl OrderUpdate {
    /// Of an order that is (or is just about to be) in this state, filled so far.
    #[inline(always)]
    pub(crate) fn of(order: &Order, previous: OrderState, state: OrderState, filled: Qty, reason: Option<RejectReason>) -> OrderUpdate {
        let Order { id, instrument, side, price, qty, .. } = *order;
        OrderUpdate { order: id, instrument, side, previous, state, price, qty, filled, reason }
    }
}

/// A fill of one of the strategy's orders, accepted and booked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fill {
    /// The order.
    pub order: OrderId,
    /// Its instrument.
    pub instrument: InstrumentId,
    /// Its side.
    pub side: Side,
    /// Price of this fill.
    pub price: Price,
    /// Quantity of this fill.
    pub qty: Qty,
    /// The venue's trade id.
    pub trade_id: u64,
    /// The fee (positive = paid) and its asset, where the venue stated it.
    pub fee: Option<(AssetId, Money)>,
    /// We were the maker.
    pub maker: bool,
}

/// A public trade.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicTrade {
    /// The instrument.
    pub instrument: InstrumentId,
    /// The aggressor's side.
    pub side: Side,
    /// Price.
    pub price: Price,
    /// Quantity.
    pub qty: Qty,
    /// The venue's time, nanoseconds since the Unix epoch; 0 if it gave none.
    pub venue_time_ns: u64,
}

/// Whether a book can be traded on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BookState {
    /// Continuous and fresh.
    Valid,
    /// Continuous, but nothing heard of it for longer than the limit.
    Stale,
    /// Not to be trusted until its next snapshot.
    Invalid,
}

/// A trading strategy. See the module header for the rules and the order of calls.
pub trait Strategy: Send {
    /// Name of its kind, for reports.
    fn name(&self) -> &str;

    /// The session starts.
    fn on_start(&mut self, _ctx: &mut Context<'_>) {}

    /// The book of one of its instruments changed, in content or validity.
    fn on_book(&mut self, ctx: &mut Context<'_>, instrument: InstrumentId);

    /// A public trade happened in one of its instruments.
    fn on_trade(&mut self, _ctx: &mut Context<'_>, _trade: &PublicTrade) {}

    /// An order of its own changed state.
    fn on_order(&mut self, _ctx: &mut Context<'_>, _update: &OrderUpdate) {}

    /// An order of its own was filled, in part or whole. Positions hold it already.
    fn on_fill(&mut self, _ctx: &mut Context<'_>, _fill: &Fill) {}

    /// Time went by.
    fn on_timer(&mut self, _ctx: &mut Context<'_>) {}

    /// Writes all state that influences decisions.
    fn hash_state(&self, hasher: &mut StateHasher);
}

/// What a strategy sees and can do, for the length of one call.
pub struct Context<'a> {
    desk: &'a mut Desk,
    strategy: StrategyId,
}

impl<'a> Context<'a> {
    #[inline]
    pub(crate) fn new(desk: &'a mut Desk, strategy: StrategyId) -> Context<'a> {
        Context { desk, strategy }
    }

    /// The strategy being called.
    #[inline]
    pub fn strategy(&self) -> StrategyId {
        self.strategy
    }

    /// The core's time: nanoseconds since the Unix epoch. Never goes backwards.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.desk.now_ns()
    }

    /// All instruments.
    #[inline]
    pub fn instruments(&self) -> &InstrumentTable {
        self.desk.instruments()
    }

    /// One instrument, if the id is in range.
    #[inline]
    pub fn instrument(&self, instrument: InstrumentId) -> Option<&Instrument> {
        self.desk.instruments().get(instrument)
    }

    /// The instruments that this strategy trades, in configured order.
    #[inline]
    pub fn own_instruments(&self) -> &[InstrumentId] {
        self.desk.strategy_instruments(self.strategy)
    }

    /// The book of an instrument, if the id is in range. Look at [`Context::book_state`] first.
    #[inline]
    pub fn book(&self, instrument: InstrumentId) -> Option<&Book> {
        self.desk.book(instrument)
    }

    /// Whether that book can be traded on now.
    #[inline]
    pub fn book_state(&self, instrument: InstrumentId) -> BookState {
        self.desk.book_state(instrument)
    }

    /// The recent public trades of an instrument, if the id is in range.
    #[inline]
    pub fn trades(&self, instrument: InstrumentId) -> Option<&TradeStream> {
        self.desk.trades(instrument)
    }

    /// True if orders can be sent to this venue: order entry is up.
    #[inline]
    pub fn order_entry_up(&self, venue: VenueId) -> bool {
        self.desk.order_entry(venue) == FeedState::Up
    }

    /// State of a venue's market-data stream.
    #[inline]
    pub fn market_data(&self, venue: VenueId) -> FeedState {
        self.desk.market_data(venue)
    }

    /// True while this strategy may open orders: enabled, no halt, no pause, no kill. (A single order may
    /// still be refused.)
    #[inline]
    pub fn trading_enabled(&self) -> bool {
        self.desk.trading_enabled(self.strategy)
    }

    /// This strategy's own position in an instrument.
    #[inline]
    pub fn position(&self, instrument: InstrumentId) -> Option<&Position> {
        self.desk.strategy_position(self.strategy, instrument)
    }

    /// The position of all strategies together in an instrument.
    #[inline]
    pub fn total_position(&self, instrument: InstrumentId) -> Option<&Position> {
        self.desk.instrument_position(instrument)
    }

    /// What can still be spent of an asset on a venue: the ledger's total less the holds of our open orders.
    #[inline]
    pub fn available(&self, venue: VenueId, asset: AssetId) -> Money {
        self.desk.available(venue, asset)
    }

    /// Value of one unit of an asset in the reporting asset, if known.
    #[inline]
    pub fn value_of(&self, asset: AssetId) -> Option<Money> {
        self.desk.positions().rates.value(asset)
    }

    /// One of this strategy's orders, while it is in the table.
    #[inline]
    pub fn order(&self, order: OrderId) -> Option<&Order> {
        self.desk.order(order).filter(|o| o.strategy == self.strategy)
    }

    /// As [`Context::order`], for an order that is likely to be the best of ours on its side: then it need not be searched.
    #[inline]
    pub fn order_near_best(&self, order: OrderId, instrument: InstrumentId, side: Side) -> Option<&Order> {
        match self.desk.orders().most_aggressive(instrument, side) {
            Some(best) if best.id == order => Some(best).filter(|o| o.strategy == self.strategy),
            _ => self.order(order),
        }
    }

    /// This strategy's orders that are not final, oldest first. Cost is the number of them.
    #[inline]
    pub fn open_orders(&self) -> impl Iterator<Item = &Order> {
        self.desk.open_orders_of(self.strategy)
    }

    /// The most aggressive price at which an order of ours (of any strategy) may be resting on a side: going through it
    /// would trade with ourselves.
    #[inline]
    pub fn own_best(&self, instrument: InstrumentId, side: Side) -> Option<Price> {
        self.desk.orders().most_aggressive_price(instrument, side)
    }

    /// True if an order at `price` could trade with one of our own: see [`Context::own_best`] of the opposite side.
    #[inline]
    pub fn crosses_own(&self, instrument: InstrumentId, side: Side, price: Price) -> bool {
        self.desk.orders().crosses(instrument, side, price)
    }

    /// What risk would say to an order now. Nothing is sent and nothing counted.
    #[inline]
    pub fn check(&self, order: NewOrder) -> Result<(), Refusal> {
        self.desk.check(self.strategy, order)
    }

    /// Asks for a new order. `Ok`: it passed risk and is on its way to the venue.
    #[inline]
    pub fn place(&mut self, order: NewOrder) -> Result<OrderId, Refusal> {
        self.desk.place(self.strategy, order)
    }

    /// Asks for two new orders, or neither: false if risk refuses one of them as things are, and nothing is sent or counted. Else
    /// the second follows the first, unless that took the last of something: then it is refused, and counted so.
    #[inline]
    pub fn place_both(&mut self, first: NewOrder, second: NewOrder) -> bool {
        self.desk.place_both(self.strategy, first, second)
    }

    /// Asks to replace price and total quantity (filled part included) of an own working order, in place.
    /// Only where [`crate::instrument::Capabilities::replace`] says that the venue can.
    #[inline]
    pub fn replace(&mut self, order: OrderId, price: Price, qty: Qty) -> Result<(), Refusal> {
        self.desk.replace(self.strategy, order, price, qty)
    }

    /// As [`Context::replace`], for an order in an instrument and on a side as in [`Context::order_near_best`].
    #[inline]
    pub fn replace_near_best(&mut self, order: OrderId, at: (InstrumentId, Side), price: Price, qty: Qty) -> Result<(), Refusal> {
        self.desk.replace_near_best(self.strategy, order, at, price, qty)
    }

    /// Asks to cancel an own order. Cancels pass risk always, but have a rate of their own; asking again
    /// while a cancel is on its way is `Ok` and sends nothing.
    #[inline]
    pub fn cancel(&mut self, order: OrderId) -> Result<(), Refusal> {
        self.desk.cancel(self.strategy, order)
    }

    /// As [`Context::cancel`], for an order in an instrument and on a side as in [`Context::order_near_best`].
    #[inline]
    pub fn cancel_near_best(&mut self, order: OrderId, at: (InstrumentId, Side)) -> Result<(), Refusal> {
        self.desk.cancel_near_best(self.strategy, order, at)
    }

    /// Cancels all own open orders of an instrument; returns how many cancels were sent.
    #[inline]
    pub fn cancel_instrument(&mut self, instrument: InstrumentId) -> u32 {
        self.desk.cancel_instrument(self.strategy, instrument)
    }
}
