//! The venue-neutral exchange: markets, accounts, orders and the rules that bind them.
//!
//! A pure state machine. A call (place, cancel, amend) checks, matches in price-time order, settles to
//! the last unit and leaves [`Event`]s behind, each with a snapshot of the order as it was at that
//! moment; the venue's dialect turns them into its messages. Wire formats, filters and error texts are
//! the dialect's; funds, duplicate ids, post-only and self-trades are checked here.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::book::{Book, IdHash, OrderId, Resting, Side};
use crate::decimal::{Amount, Rounding};
use crate::ledger::{AccountId, AssetId, Ledger};
pub use crate::orders::*;

/// Trades kept per market for snapshots and REST.
const RECENT_TRADES: usize = 1000;

/// Running figures of a market since it opened.
#[derive(Clone, Copy, Debug)]
pub struct DayStats {
    /// First price.
    pub open: i64,
    /// Highest trade.
    pub high: i64,
    /// Lowest trade.
    pub low: i64,
    /// Last trade.
    pub last: i64,
    /// Base traded.
    pub volume: i128,
    /// Quote traded.
    pub turnover: Amount,
    /// Number of trades.
    pub trades: u64,
}

/// One market: its book, recent trades and the crowd's orders in it.
#[derive(Debug)]
pub struct Market {
    /// What it trades.
    pub spec: MarketSpec,
    /// Its book.
    pub book: Book,
    /// Base asset.
    pub base: AssetId,
    /// Quote asset.
    pub quote: AssetId,
    /// Running figures.
    pub day: DayStats,
    /// The last trades, oldest first.
    pub recent: VecDeque<PublicTrade>,
    next_trade_id: u64,
    crowd: CrowdOrders,
}

/// The crowd's resting orders, for picking one at random.
#[derive(Debug, Default)]
struct CrowdOrders {
    ids: [Vec<OrderId>; 2],
    position: HashMap<OrderId, usize, IdHash>,
}

impl CrowdOrders {
    fn add(&mut self, side: Side, id: OrderId) {
        let list = &mut self.ids[side as usize];
        self.position.insert(id, list.len());
        list.push(id);
    }

    fn drop(&mut self, side: Side, id: OrderId) {
        let Some(at) = self.position.remove(&id) else { return };
        let list = &mut self.ids[side as usize];
        list.swap_remove(at);
        if let Some(moved) = list.get(at) {
            self.position.insert(*moved, at);
        }
    }
}

impl Market {
    /// The crowd's resting orders of a side, in no order.
    pub fn crowd_orders(&self, side: Side) -> &[OrderId] {
        &self.crowd.ids[side as usize]
    }
}

/// One venue's exchange.
#[derive(Debug)]
pub struct Exchange {
    /// Its markets.
    pub markets: Vec<Market>,
    /// Its accounts.
    pub ledger: Ledger,
    /// How it charges.
    pub fees: FeePolicy,
    orders: BTreeMap<OrderId, Order>,
    open: BTreeMap<AccountId, BTreeSet<OrderId>>,
    fills: BTreeMap<AccountId, Vec<Fill>>,
    by_client_id: HashMap<(AccountId, String), OrderId>,
    next_order_id: OrderId,
    next_exec_id: u64,
    events: Vec<Event>,
}

struct Taker {
    id: OrderId,
    account: AccountId,
    market: usize,
    side: Side,
    kind: OrderKind,
    limit: Option<i64>,
    self_trade: SelfTrade,
}

impl Taker {
    fn crowd(id: OrderId, market: usize, side: Side, kind: OrderKind, limit: Option<i64>) -> Taker {
        Taker { id, account: AccountId::CROWD, market, side, kind, limit, self_trade: SelfTrade::Allow }
    }
}

impl Exchange {
    /// An exchange whose order and trade ids start after the given ones.
    pub fn new(fees: FeePolicy, first_order_id: u64) -> Exchange {
        Exchange {
            markets: Vec::new(),
            ledger: Ledger::default(),
            fees,
            orders: BTreeMap::new(),
            open: BTreeMap::new(),
            fills: BTreeMap::new(),
            by_client_id: HashMap::new(),
            next_order_id: first_order_id,
            next_exec_id: first_order_id.wrapping_mul(2),
            events: Vec::new(),
        }
    }

    /// Opens a market; returns its index.
    pub fn add_market(&mut self, spec: MarketSpec, first_trade_id: u64) -> usize {
        let (base, quote) = (self.ledger.asset(&spec.base), self.ledger.asset(&spec.quote));
        let open = spec.open_price;
        self.markets.push(Market {
            book: Book::new(),
            base,
            quote,
            day: DayStats { open, high: open, low: open, last: open, volume: 0, turnover: Amount::ZERO, trades: 0 },
            recent: VecDeque::with_capacity(RECENT_TRADES),
            next_trade_id: first_trade_id,
            crowd: CrowdOrders::default(),
            spec,
        });
        self.markets.len() - 1
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Changes the events' memory for that of a list that has been read, which is emptied.
    pub fn swap_events(&mut self, read: &mut Vec<Event>) {
        read.clear();
        std::mem::swap(&mut self.events, read);
    }

    /// An account's order, open or done.
    pub fn order(&self, account: AccountId, id: OrderId) -> Option<&Order> {
        self.orders.get(&id).filter(|order| order.terms.account == account)
    }

    /// The open order of an account with this client id.
    pub fn open_by_client_id(&self, account: AccountId, client_id: &str) -> Option<&Order> {
        self.by_client_id.get(&(account, client_id.to_owned())).and_then(|id| self.orders.get(id))
    }

    /// The latest order of an account with this client id, open or done.
    pub fn latest_by_client_id(&self, account: AccountId, client_id: &str) -> Option<&Order> {
        self.open_by_client_id(account, client_id)
            .or_else(|| self.orders.values().rev().find(|order| order.terms.account == account && order.terms.client_id == client_id))
    }

    /// An account's open orders, oldest first.
    pub fn open_orders(&self, account: AccountId) -> impl Iterator<Item = &Order> {
        self.open.get(&account).into_iter().flatten().filter_map(|id| self.orders.get(id))
    }

    /// All of an account's orders, oldest first.
    pub fn all_orders(&self, account: AccountId) -> impl Iterator<Item = &Order> {
        self.orders.values().filter(move |order| order.terms.account == account)
    }

    /// All of an account's fills, oldest first.
    pub fn fills(&self, account: AccountId) -> &[Fill] {
        self.fills.get(&account).map_or(&[], Vec::as_slice)
    }

    /// Places an account's order. On success its events (new, fills, end) are queued.
    pub fn place(&mut self, now_ns: u64, new: NewOrder) -> Result<OrderId, Refusal> {
        if !new.client_id.is_empty() && self.open_by_client_id(new.account, &new.client_id).is_some() {
            return Err(Refusal::DuplicateClientId);
        }
        let limit = (new.kind == OrderKind::Limit).then_some(new.price);
        if new.post_only && self.markets[new.market].book.crosses(new.side, limit) {
            return Err(Refusal::WouldTake);
        }
        let held = self.needed_hold(&new);
        let asset = self.hold_asset(&new);
        if self.ledger.balance(new.account, asset).free() < held {
            return Err(Refusal::InsufficientFunds);
        }
        self.ledger.hold(new.account, asset, held);
        let id = self.record(now_ns, new, held);
        self.emit(id, OrderChange::New);
        self.execute(now_ns, id);
        Ok(id)
    }

    /// Records an order that is taken in and ended at once, as Kraken does with a post-only order that
    /// would take.
    pub fn place_stillborn(&mut self, now_ns: u64, new: NewOrder, reason: EndReason) -> OrderId {
        let id = self.record(now_ns, new, Amount::ZERO);
        self.emit(id, OrderChange::New);
        self.end(now_ns, id, Status::Canceled, reason);
        id
    }

    /// True when the account could pay for this order.
    pub fn can_afford(&self, new: &NewOrder) -> bool {
        self.ledger.balance(new.account, self.hold_asset(new)).free() >= self.needed_hold(new)
    }

    /// Cancels an account's open order.
    pub fn cancel(&mut self, now_ns: u64, account: AccountId, id: OrderId, reason: EndReason) -> Result<Order, Refusal> {
        match self.order(account, id) {
            Some(order) if order.status.is_open() => {}
            _ => return Err(Refusal::UnknownOrder),
        }
        self.end(now_ns, id, Status::Canceled, reason);
        self.order(account, id).cloned().ok_or(Refusal::UnknownOrder)
    }

    /// Gives an open order a new total quantity and/or price and/or client id. A lower quantity keeps the
    /// place in the queue; anything else goes to the back and may match. A total at or below what is
    /// filled ends the order.
    pub fn amend(&mut self, now_ns: u64, account: AccountId, id: OrderId, amend: Amend) -> Result<(), Refusal> {
        let Amend { qty, price, client_id, post_only } = amend;
        let order = self.order(account, id).filter(|order| order.status.is_open()).ok_or(Refusal::UnknownOrder)?;
        let (new_qty, new_price) = (qty.unwrap_or(order.terms.qty), price.unwrap_or(order.terms.price));
        let (old_qty, old_price, market, side) = (order.terms.qty, order.terms.price, order.terms.market, order.terms.side);
        if new_qty == old_qty && new_price == old_price && client_id.is_none() {
            return Err(Refusal::NothingToAmend);
        }
        if let Some(client_id) = &client_id
            && *client_id != order.terms.client_id
            && self.open_by_client_id(account, client_id).is_some()
        {
            return Err(Refusal::DuplicateClientId);
        }
        if post_only && new_price != old_price && self.markets[market].book.crosses(side, Some(new_price)) {
            return Err(Refusal::WouldTake);
        }
        let mut order = order.clone();
        let previous_client_id = order.terms.client_id.clone();
        order.terms.qty = new_qty;
        order.terms.price = new_price;
        if let Some(client_id) = client_id {
            order.terms.client_id = client_id;
        }
        if order.open_qty() <= 0 {
            self.end(now_ns, id, Status::Canceled, EndReason::AmendedAway);
            return Ok(());
        }
        let asset = self.hold_asset(&order.terms);
        let held = self.remaining_hold(&order);
        if self.ledger.balance(account, asset).free() + order.held < held {
            return Err(Refusal::InsufficientFunds);
        }
        self.ledger.hold(account, asset, held - order.held);
        order.held = held;
        order.amends += 1;
        order.updated_ns = now_ns;
        order.amended_ns = now_ns;
        if !previous_client_id.is_empty() {
            self.by_client_id.remove(&(account, previous_client_id.clone()));
        }
        if !order.terms.client_id.is_empty() {
            self.by_client_id.insert((account, order.terms.client_id.clone()), id);
        }
        let keeps_place = new_price == old_price && new_qty <= old_qty;
        if keeps_place {
            self.markets[market].book.reduce(id, old_qty - new_qty);
        } else {
            self.markets[market].book.remove(id);
        }
        self.orders.insert(id, order);
        self.emit(id, OrderChange::Amended { previous_client_id });
        if !keeps_place {
            self.execute(now_ns, id);
        }
        Ok(())
    }

    /// A limit order of the crowd: takes what it crosses, rests with the remainder. Returns its id.
    pub fn crowd_place(&mut self, now_ns: u64, market: usize, side: Side, price: i64, qty: i64) -> OrderId {
        let id = self.next_id();
        let left = self.crowd_match(now_ns, &Taker::crowd(id, market, side, OrderKind::Limit, Some(price)), qty);
        if left > 0 {
            let market = &mut self.markets[market];
            market.book.insert(Resting { id, side, price, qty: left });
            market.crowd.add(side, id);
        }
        id
    }

    /// A taking order of the crowd down to `limit`; what does not match is dropped. Returns what is left.
    pub fn crowd_take(&mut self, now_ns: u64, market: usize, side: Side, limit: Option<i64>, qty: i64) -> i64 {
        let id = self.next_id();
        let kind = if limit.is_some() { OrderKind::Limit } else { OrderKind::Market };
        self.crowd_match(now_ns, &Taker::crowd(id, market, side, kind, limit), qty)
    }

    /// Cancels an order of the crowd.
    pub fn crowd_cancel(&mut self, market: usize, id: OrderId) {
        let market = &mut self.markets[market];
        if market.crowd.position.contains_key(&id)
            && let Some(order) = market.book.remove(id)
        {
            market.crowd.drop(order.side, id);
        }
    }

    /// True when this resting order is the crowd's.
    pub fn is_crowd(&self, market: usize, id: OrderId) -> bool {
        self.markets[market].crowd.position.contains_key(&id)
    }

    fn next_id(&mut self) -> OrderId {
        self.next_order_id += 1;
        self.next_order_id
    }

    fn record(&mut self, now_ns: u64, new: NewOrder, held: Amount) -> OrderId {
        let id = self.next_id();
        if !new.client_id.is_empty() {
            self.by_client_id.insert((new.account, new.client_id.clone()), id);
        }
        self.open.entry(new.account).or_default().insert(id);
        let order = Order {
            id,
            terms: new,
            status: Status::Open,
            filled_qty: 0,
            filled_cost: Amount::ZERO,
            prevented_qty: 0,
            fees: Amount::ZERO,
            created_ns: now_ns,
            updated_ns: now_ns,
            amended_ns: now_ns,
            amends: 0,
            end_reason: None,
            held,
        };
        self.orders.insert(id, order);
        id
    }

    fn emit(&mut self, id: OrderId, change: OrderChange) {
        if let Some(order) = self.orders.get(&id) {
            self.events.push(Event::Order(Box::new(order.clone()), change));
        }
    }

    fn hold_asset(&self, terms: &NewOrder) -> AssetId {
        let market = &self.markets[terms.market];
        match terms.side {
            Side::Buy => market.quote,
            Side::Sell => market.base,
        }
    }

    /// Cost plus, where fees come in quote, the highest fee on it.
    fn cost_with_fee(&self, cost: Amount) -> Amount {
        match self.fees.asset {
            FeeAsset::Received => cost,
            FeeAsset::Quote => {
                let rate = self.fees.taker_ppm.max(self.fees.maker_ppm);
                cost + cost.fee(rate, FeePolicy::QUOTE_PLACES, Rounding::Up)
            }
        }
    }

    fn needed_hold(&self, new: &NewOrder) -> Amount {
        let market = &self.markets[new.market];
        let spec = &market.spec;
        let notional = |price, qty| Amount::notional(price, spec.price_scale, qty, spec.qty_scale);
        match (new.side, new.kind, new.quote_qty) {
            (Side::Buy, OrderKind::Limit, _) => self.cost_with_fee(notional(new.price, new.qty)),
            (Side::Buy, OrderKind::Market, Some(quote)) => self.cost_with_fee(quote),
            (Side::Buy, OrderKind::Market, None) => {
                let mut left = new.qty;
                let mut cost = Amount::ZERO;
                let mut fee_slack = Amount::ZERO;
                for (price, qty) in market.book.levels(Side::Sell) {
                    let take = left.min(qty);
                    cost += notional(price, take);
                    // Each fill's fee is rounded by itself: one unit a level covers the difference.
                    fee_slack += Amount::from_fixed(1, FeePolicy::QUOTE_PLACES);
                    left -= take;
                    if left == 0 {
                        break;
                    }
                }
                match self.fees.asset {
                    FeeAsset::Received => cost,
                    FeeAsset::Quote => self.cost_with_fee(cost) + fee_slack,
                }
            }
            (Side::Sell, _, None) => Amount::from_fixed(new.qty, spec.qty_scale),
            (Side::Sell, _, Some(quote)) => {
                // Base that must be sold to raise the wanted quote at today's bids.
                let mut base = 0i64;
                let mut raised = Amount::ZERO;
                for (price, qty) in market.book.levels(Side::Buy) {
                    let take = affordable(quote - raised, price, spec).min(qty);
                    base += take;
                    raised += notional(price, take);
                    if take < qty {
                        break;
                    }
                }
                Amount::from_fixed(base, spec.qty_scale)
            }
        }
    }

    fn remaining_hold(&self, order: &Order) -> Amount {
        let spec = &self.markets[order.terms.market].spec;
        match order.terms.side {
            Side::Buy => self.cost_with_fee(Amount::notional(order.terms.price, spec.price_scale, order.open_qty(), spec.qty_scale)),
            Side::Sell => Amount::from_fixed(order.open_qty(), spec.qty_scale),
        }
    }

    /// Matches a recorded order and rests or ends what is left.
    fn execute(&mut self, now_ns: u64, id: OrderId) {
        let Some(order) = self.orders.get(&id) else { return };
        let terms = &order.terms;
        let taker = Taker {
            id,
            account: terms.account,
            market: terms.market,
            side: terms.side,
            kind: terms.kind,
            limit: (terms.kind == OrderKind::Limit).then_some(terms.price),
            self_trade: terms.self_trade,
        };
        let (time_in_force, open_qty, quote_qty) = (terms.time_in_force, order.open_qty(), terms.quote_qty);
        if time_in_force == TimeInForce::Fok && self.markets[taker.market].book.fillable(taker.side, taker.limit, open_qty) < open_qty {
            self.end(now_ns, id, Status::Expired, EndReason::CannotFill);
            return;
        }
        self.match_taker(now_ns, &taker, quote_qty);
        let Some(order) = self.orders.get_mut(&id) else { return };
        if !order.status.is_open() {
            return;
        }
        if taker.kind == OrderKind::Market {
            let done = quote_qty.is_some() && order.filled_qty > 0;
            if done {
                order.terms.qty = order.filled_qty;
                self.finish_filled(now_ns, id);
            } else {
                self.end(now_ns, id, Status::Expired, EndReason::NoLiquidity);
            }
        } else if time_in_force == TimeInForce::Gtc {
            let resting = Resting { id, side: taker.side, price: order.terms.price, qty: order.open_qty() };
            self.markets[taker.market].book.insert(resting);
        } else {
            self.end(now_ns, id, Status::Expired, EndReason::ImmediateRemainder);
        }
    }

    fn finish_filled(&mut self, now_ns: u64, id: OrderId) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        order.status = Status::Filled;
        order.updated_ns = now_ns;
        // A market order by quote quantity learns its size only now; its last report must say "filled".
        if let Some(Event::Order(snapshot, OrderChange::Fill(_))) =
            self.events.iter_mut().rev().find(|event| matches!(event, Event::Order(o, _) if o.id == id))
        {
            snapshot.status = Status::Filled;
            snapshot.terms.qty = order.terms.qty;
        }
        self.close(id);
    }

    /// Takes an order out of the books of open orders and releases what it holds.
    fn close(&mut self, id: OrderId) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        let held = std::mem::take(&mut order.held);
        let (account, terms) = (order.terms.account, order.terms.clone());
        let asset = self.hold_asset(&terms);
        self.ledger.hold(account, asset, -held);
        if let Some(open) = self.open.get_mut(&account) {
            open.remove(&id);
        }
        if self.by_client_id.get(&(account, terms.client_id.clone())) == Some(&id) {
            self.by_client_id.remove(&(account, terms.client_id));
        }
    }

    fn end(&mut self, now_ns: u64, id: OrderId, status: Status, reason: EndReason) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        order.status = status;
        order.end_reason = Some(reason);
        order.updated_ns = now_ns;
        let market = order.terms.market;
        self.markets[market].book.remove(id);
        self.close(id);
        self.emit(id, OrderChange::Ended);
    }

    fn match_taker(&mut self, now_ns: u64, taker: &Taker, quote_qty: Option<Amount>) {
        loop {
            let Some(order) = self.orders.get(&taker.id).filter(|order| order.status.is_open()) else { return };
            let market = &self.markets[taker.market];
            if !market.book.crosses(taker.side, taker.limit) {
                return;
            }
            let Some(front) = market.book.front(taker.side.opposite()) else { return };
            let wanted = match quote_qty {
                Some(quote) => affordable(quote - order.filled_cost, front.price, &market.spec),
                None => order.open_qty(),
            };
            let qty = wanted.min(front.qty);
            if qty <= 0 {
                return;
            }
            let own = self.orders.get(&front.id).is_some_and(|maker| maker.terms.account == taker.account);
            if own && taker.self_trade != SelfTrade::Allow {
                self.prevent_self_trade(now_ns, taker, front.id, qty);
            } else {
                self.trade(now_ns, taker, front, qty);
            }
        }
    }

    fn prevent_self_trade(&mut self, now_ns: u64, taker: &Taker, maker: OrderId, qty: i64) {
        let mode = taker.self_trade;
        if mode == SelfTrade::Decrement {
            self.markets[taker.market].book.reduce(maker, qty);
            for id in [maker, taker.id] {
                let Some(order) = self.orders.get_mut(&id) else { continue };
                order.prevented_qty += qty;
                order.updated_ns = now_ns;
                if order.open_qty() == 0 {
                    self.end(now_ns, id, Status::ExpiredInMatch, EndReason::SelfTrade);
                } else {
                    self.reset_hold(id);
                    self.emit(id, OrderChange::Decremented { qty });
                }
            }
            return;
        }
        if matches!(mode, SelfTrade::EndMaker | SelfTrade::EndBoth) {
            self.end(now_ns, maker, Status::ExpiredInMatch, EndReason::SelfTrade);
        }
        if matches!(mode, SelfTrade::EndTaker | SelfTrade::EndBoth) {
            self.end(now_ns, taker.id, Status::ExpiredInMatch, EndReason::SelfTrade);
        }
    }

    fn crowd_match(&mut self, now_ns: u64, taker: &Taker, qty: i64) -> i64 {
        let (market, side, limit) = (taker.market, taker.side, taker.limit);
        let mut left = qty;
        while left > 0 && self.markets[market].book.crosses(side, limit) {
            let Some(front) = self.markets[market].book.front(side.opposite()) else { break };
            let take = left.min(front.qty);
            self.trade(now_ns, taker, front, take);
            left -= take;
        }
        left
    }

    /// One match of `qty` at the resting order's price.
    fn trade(&mut self, now_ns: u64, taker: &Taker, maker: Resting, qty: i64) {
        let market = &mut self.markets[taker.market];
        let left = market.book.reduce(maker.id, qty);
        if left == Some(0) {
            market.crowd.drop(maker.side, maker.id);
        }
        let cost = Amount::notional(maker.price, market.spec.price_scale, qty, market.spec.qty_scale);
        let trade_id = market.next_trade_id;
        market.next_trade_id += 1;
        let trade = PublicTrade {
            market: taker.market,
            id: trade_id,
            price: maker.price,
            qty,
            taker_side: taker.side,
            taker_kind: taker.kind,
            at_ns: now_ns,
        };
        market.day.last = maker.price;
        market.day.high = market.day.high.max(maker.price);
        market.day.low = market.day.low.min(maker.price);
        market.day.volume += i128::from(qty);
        market.day.turnover += cost;
        market.day.trades += 1;
        if market.recent.len() == RECENT_TRADES {
            market.recent.pop_front();
        }
        market.recent.push_back(trade);
        self.events.push(Event::Trade(trade));

        let maker_account = self.orders.get(&maker.id).map_or(AccountId::CROWD, |order| order.terms.account);
        if maker_account == AccountId::CROWD && taker.account == AccountId::CROWD {
            return;
        }
        let (base, quote, qty_scale) = (market.base, market.quote, market.spec.qty_scale);
        let (buyer, seller) = match taker.side {
            Side::Buy => (taker.account, maker_account),
            Side::Sell => (maker_account, taker.account),
        };
        self.ledger.transfer(seller, buyer, base, Amount::from_fixed(qty, qty_scale));
        self.ledger.transfer(buyer, seller, quote, cost);
        for (id, is_maker) in [(maker.id, true), (taker.id, false)] {
            // The crowd's side has no order of record and is skipped.
            self.settle_side(now_ns, &trade, id, is_maker, cost);
        }
    }

    /// Fee, order totals, hold and event of one account's side of a match.
    fn settle_side(&mut self, now_ns: u64, trade: &PublicTrade, id: OrderId, maker: bool, cost: Amount) {
        let Some((account, side)) = self.orders.get(&id).map(|order| (order.terms.account, order.terms.side)) else { return };
        let market = &self.markets[trade.market];
        let (base, quote, qty_scale) = (market.base, market.quote, market.spec.qty_scale);
        let rate = self.fees.rate(maker);
        let (fee, fee_asset) = match (self.fees.asset, side) {
            (FeeAsset::Received, Side::Buy) => {
                (Amount::from_fixed(trade.qty, qty_scale).fee(rate, FeePolicy::RECEIVED_PLACES, Rounding::Down), base)
            }
            (FeeAsset::Received, Side::Sell) => (cost.fee(rate, FeePolicy::RECEIVED_PLACES, Rounding::Down), quote),
            (FeeAsset::Quote, _) => (cost.fee(rate, FeePolicy::QUOTE_PLACES, Rounding::HalfUp), quote),
        };
        self.ledger.transfer(account, AccountId::FEES, fee_asset, fee);
        self.next_exec_id += 1;
        let exec_id = self.next_exec_id;
        let Some(order) = self.orders.get_mut(&id) else { return };
        order.filled_qty += trade.qty;
        order.filled_cost += cost;
        order.fees += fee;
        order.updated_ns = now_ns;
        let filled = order.terms.quote_qty.is_none() && order.open_qty() == 0;
        order.status = if filled { Status::Filled } else { Status::PartiallyFilled };
        let fill = Fill {
            trade_id: trade.id,
            exec_id,
            order_id: id,
            client_id: order.terms.client_id.clone(),
            account,
            market: trade.market,
            side,
            price: trade.price,
            qty: trade.qty,
            cost,
            fee,
            fee_asset,
            maker,
            at_ns: now_ns,
            base_total: self.ledger.balance(account, base).total,
            quote_total: self.ledger.balance(account, quote).total,
        };
        self.fills.entry(account).or_default().push(fill.clone());
        if filled {
            self.close(id);
        } else {
            self.reset_hold(id);
        }
        self.emit(id, OrderChange::Fill(Box::new(fill)));
    }

    /// Brings a limit order's hold down to what its open quantity needs. Market orders keep theirs until
    /// they end, which is in the same call.
    fn reset_hold(&mut self, id: OrderId) {
        let Some(order) = self.orders.get(&id).filter(|order| order.terms.kind == OrderKind::Limit) else { return };
        let held = self.remaining_hold(order);
        let (account, asset, change) = (order.terms.account, self.hold_asset(&order.terms), held - order.held);
        self.ledger.hold(account, asset, change);
        if let Some(order) = self.orders.get_mut(&id) {
            order.held = held;
        }
    }
}

/// Whole lots that `quote` buys at `price`.
fn affordable(quote: Amount, price: i64, spec: &MarketSpec) -> i64 {
    let lot_cost = Amount::notional(price, spec.price_scale, spec.lot, spec.qty_scale);
    if lot_cost.0 <= 0 || quote.0 <= 0 {
        return 0;
    }
    i64::try_from(quote.0 / lot_cost.0).unwrap_or(i64::MAX / spec.lot.max(1)).saturating_mul(spec.lot)
}
