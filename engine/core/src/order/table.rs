//! The order table: every open order, and the recently closed ones.
//!
//! Preallocated slots. An id is found through open addressing (ids of earlier epochs like any other); every
//! other question is answered by a list threaded through the slots:
//!
//! | list | order | answers |
//! |---|---|---|
//! | open orders of a strategy | oldest first | what does the strategy have out there |
//! | open orders of an instrument and side | most aggressive first | would a new order trade with one of ours (look at the head) |
//! | in flight | by time of the request | which answers are overdue (look at the head) |
//! | unknown | by time of the last question | which are to be asked for again (look at the head) |
//! | closed | by age | which slot to use again when none is free |
//!
//! A closed order keeps its slot, and the memory of its fills, until the slot is needed: late reports find it
//! for as long as the table is larger than the number of orders since. All of this is deterministic.

use super::fills::{FillMemory, NIL};
use super::state::OrderState;
use crate::event::Side;
use crate::fixed::{Money, Price, Qty};
use crate::ids::{InstrumentId, OrderId, StrategyId, VenueId};
use crate::state_hash::StateHasher;

/// Place of an order in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(pub(crate) u32);

/// The venue said that the order is gone, but fills that it counts have not arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closing {
    /// The final state that the venue stated.
    pub state: OrderState,
    /// Cumulative filled quantity that it stated.
    pub filled: Qty,
}

/// What an order binds while it is open: the worst case of price and quantity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reserved {
    /// Quantity that may still fill.
    pub qty: Qty,
    /// Held of the quote asset (buy) or the base asset (sell).
    pub hold: Money,
    /// Quote amount that would move, fees not counted. Follows from the rest of the order.
    pub notional: Money,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Links {
    prev: u32,
    next: u32,
}

impl Links {
    const NONE: Links = Links { prev: NIL, next: NIL };
}

/// Which list [`Order::wait`] is threaded on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WaitList {
    None,
    InFlight,
    Unknown,
    Closed,
}

/// One order.
#[derive(Clone, Debug)]
pub struct Order {
    /// Our id.
    pub id: OrderId,
    /// Whose it is.
    pub strategy: StrategyId,
    /// Its instrument.
    pub instrument: InstrumentId,
    /// Its venue.
    pub venue: VenueId,
    /// Its side.
    pub side: Side,
    /// Its state.
    pub state: OrderState,
    /// Post-only.
    pub post_only: bool,
    /// Immediate or cancel.
    pub ioc: bool,
    /// The venue acknowledged it once, or filled some of it.
    pub acked: bool,
    /// Limit price in force.
    pub price: Price,
    /// Total quantity in force.
    pub qty: Qty,
    /// Filled so far: the sum of booked fills.
    pub filled: Qty,
    /// Price and total quantity of a replace that is not resolved.
    pub pending: Option<(Price, Qty)>,
    /// Set while the venue says that it is gone but owes us fills.
    pub closing: Option<Closing>,
    /// What it binds.
    pub reserved: Reserved,
    /// When it was placed: core time, nanoseconds since the Unix epoch.
    pub created_ns: u64,
    /// When the last request or question about it was sent.
    pub asked_ns: u64,
    /// When a cancel was sent last; 0 if never.
    pub cancel_sent_ns: u64,
    /// When it became final; 0 while it is open.
    pub closed_ns: u64,
    /// The last reconciliation of its venue that reported it.
    pub reported_round: u32,
    fill_head: u32,
    fill_count: u32,
    fill_digest: u64,
    wait_list: WaitList,
    wait: Links,
    own: Links,
    ladder: Links,
}

impl Order {
    /// A new order, unsent.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        id: OrderId,
        strategy: StrategyId,
        instrument: InstrumentId,
        venue: VenueId,
        side: Side,
        price: Price,
        qty: Qty,
        now_ns: u64,
    ) -> Order {
        Order {
            id,
            strategy,
            instrument,
            venue,
            side,
            state: OrderState::New,
            post_only: false,
            ioc: false,
            acked: false,
            price,
            qty,
            filled: Qty::ZERO,
            pending: None,
            closing: None,
            reserved: Reserved::default(),
            created_ns: now_ns,
            asked_ns: now_ns,
            cancel_sent_ns: 0,
            closed_ns: 0,
            reported_round: 0,
            fill_head: NIL,
            fill_count: 0,
            fill_digest: 0,
            wait_list: WaitList::None,
            wait: Links::NONE,
            own: Links::NONE,
            ladder: Links::NONE,
        }
    }

    /// Quantity not filled, by what is in force; zero after an overfill.
    #[inline]
    pub fn remaining(&self) -> Qty {
        Qty((self.qty.0 - self.filled.0).max(0))
    }

    /// The largest total quantity that may be in force, a replace on its way counted.
    #[inline]
    pub fn qty_worst(&self) -> Qty {
        self.pending.map_or(self.qty, |(_, qty)| self.qty.max(qty))
    }

    /// The most aggressive price that may be in force (highest for a buy, lowest for a sell).
    #[inline]
    pub fn price_worst(&self) -> Price {
        match (self.pending, self.side) {
            (None, _) => self.price,
            (Some((price, _)), Side::Buy) => self.price.max(price),
            (Some((price, _)), Side::Sell) => self.price.min(price),
        }
    }

    fn write(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.id.0);
        let small = u64::from(self.strategy.0) << 48
            | u64::from(self.instrument.0) << 32
            | u64::from(self.venue.0) << 24
            | u64::from(self.side as u8) << 16
            | u64::from(self.state as u8) << 8
            | u64::from(self.post_only)
            | u64::from(self.ioc) << 1
            | u64::from(self.acked) << 2
            | u64::from(self.pending.is_some()) << 3
            | u64::from(self.closing.is_some()) << 4;
        hasher.write_u64(small);
        hasher.write_price(self.price);
        hasher.write_qty(self.qty);
        hasher.write_qty(self.filled);
        if let Some((price, qty)) = self.pending {
            hasher.write_price(price);
            hasher.write_qty(qty);
        }
        if let Some(closing) = self.closing {
            hasher.write_u64(closing.state as u64);
            hasher.write_qty(closing.filled);
        }
        hasher.write_qty(self.reserved.qty);
        hasher.write_money(self.reserved.hold);
        hasher.write_u64(self.created_ns);
        hasher.write_u64(self.asked_ns);
        hasher.write_u64(self.cancel_sent_ns);
        hasher.write_u64(self.closed_ns);
        hasher.write_u32(self.reported_round);
        hasher.write_u64(self.fill_digest);
    }
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl List {
    const EMPTY: List = List { head: NIL, tail: NIL, len: 0 };
}

/// Threads `order` into or out of a list through one of its link fields.
macro_rules! list_ops {
    ($push_before:ident, $remove:ident, $field:ident) => {
        /// Inserts before `at` ([`NIL`]: at the tail).
        #[inline]
        fn $push_before(orders: &mut [Order], list: &mut List, at: u32, slot: u32) {
            let prev = if at == NIL { list.tail } else { orders[at as usize].$field.prev };
            orders[slot as usize].$field = Links { prev, next: at };
            if prev == NIL {
                list.head = slot;
            } else {
                orders[prev as usize].$field.next = slot;
            }
            if at == NIL {
                list.tail = slot;
            } else {
                orders[at as usize].$field.prev = slot;
            }
            list.len += 1;
        }

        #[inline]
        fn $remove(orders: &mut [Order], list: &mut List, slot: u32) {
            let Links { prev, next } = orders[slot as usize].$field;
            if prev == NIL {
                list.head = next;
            } else {
                orders[prev as usize].$field.next = next;
            }
            if next == NIL {
                list.tail = prev;
            } else {
                orders[next as usize].$field.prev = prev;
            }
            orders[slot as usize].$field = Links::NONE;
            list.len -= 1;
        }
    };
}

list_ops!(wait_insert, wait_remove, wait);
list_ops!(own_insert, own_remove, own);
list_ops!(ladder_insert, ladder_remove, ladder);

/// See the module header.
#[derive(Clone, Debug)]
pub struct OrderTable {
    orders: Vec<Order>,
    capacity: usize,
    /// Slots of forgotten orders, linked through `wait.next`; used before any order is recycled.
    free: u32,
    free_len: u32,
    /// Open addressing: slot number or [`NIL`]; a power of two, at most half full.
    index: Vec<u32>,
    mask: usize,
    own: Vec<List>,
    /// By instrument and [`Side::index`].
    ladders: Vec<[List; 2]>,
    in_flight: List,
    unknown: List,
    closed: List,
    open: u32,
    fills: FillMemory,
    /// Fills remembered of open orders: these cannot be forgotten.
    open_fills: usize,
    /// Sum of the digests of closed orders: they need not be walked for the state hash.
    closed_digest: u64,
}

#[inline]
fn spread(id: OrderId) -> u64 {
    let x = id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ (x >> 32)
}

impl OrderTable {
    /// Room for `capacity` orders (open and closed) and `fills` fills of them.
    pub fn new(capacity: usize, fills: usize, strategies: usize, instruments: usize) -> OrderTable {
        let capacity = capacity.max(1);
        let places = (capacity * 2).next_power_of_two();
        OrderTable {
            orders: Vec::with_capacity(capacity),
            capacity,
            free: NIL,
            free_len: 0,
            index: vec![NIL; places],
            mask: places - 1,
            own: vec![List::EMPTY; strategies],
            ladders: vec![[List::EMPTY; 2]; instruments],
            in_flight: List::EMPTY,
            unknown: List::EMPTY,
            closed: List::EMPTY,
            open: 0,
            fills: FillMemory::new(fills),
            open_fills: 0,
            closed_digest: 0,
        }
    }

    /// Touches the slot and the place in the index that the next order gets, so that they are in the caches then.
    /// `next` is its id. Nothing changes.
    pub(crate) fn touch_next(&mut self, next: OrderId) {
        use core::hint::black_box;
        black_box(self.index[spread(next) as usize & self.mask]);
        if self.free == NIL && self.orders.len() < self.capacity {
            let (strategy, instrument, venue) = (StrategyId(0), InstrumentId(0), VenueId(0));
            let unused = Order::new(next, strategy, instrument, venue, Side::Buy, Price(0), Qty(0), 0);
            if let Some(room) = self.orders.spare_capacity_mut().first_mut() {
                black_box(room.write(unused));
            }
            return;
        }
        let slot = if self.free == NIL { self.closed.head } else { self.free };
        if let Some(order) = self.orders.get(slot as usize) {
            black_box(order.clone());
        }
    }

    /// Reads up to `most` open orders: those that a cancel or a replace may be about.
    pub(crate) fn touch_open(&self, most: usize) {
        for order in self.iter_open().take(most) {
            core::hint::black_box((self.find(order.id), order.clone()));
        }
    }

    /// Where the order is, if the table (still) has it.
    #[inline]
    pub fn find(&self, id: OrderId) -> Option<Slot> {
        let mut at = spread(id) as usize & self.mask;
        loop {
            let slot = self.index[at];
            if slot == NIL {
                return None;
            }
            if self.orders[slot as usize].id == id {
                return Some(Slot(slot));
            }
            at = (at + 1) & self.mask;
        }
    }

    /// The order in a slot.
    #[inline]
    pub fn get(&self, slot: Slot) -> &Order {
        &self.orders[slot.0 as usize]
    }

    /// The order by id.
    #[inline]
    pub fn by_id(&self, id: OrderId) -> Option<&Order> {
        self.find(id).map(|slot| self.get(slot))
    }

    /// Open orders in all.
    #[inline]
    pub fn open_len(&self) -> u32 {
        self.open
    }

    /// Open orders of a strategy.
    #[inline]
    pub fn open_of_strategy(&self, strategy: StrategyId) -> u32 {
        self.own.get(strategy.index()).map_or(0, |l| l.len)
    }

    /// Open orders of an instrument, both sides.
    #[inline]
    pub fn open_of_instrument(&self, instrument: InstrumentId) -> u32 {
        self.ladders.get(instrument.index()).map_or(0, |l| l[0].len + l[1].len)
    }

    /// True if a new order would find a slot.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.orders.len() < self.capacity || self.free != NIL || self.closed.len > 0
    }

    /// True if open orders alone fill three quarters of the memory of fills.
    #[inline]
    pub fn fills_nearly_full(&self) -> bool {
        self.open_fills >= (self.fills.len() + self.fills.room()) / 4 * 3
    }

    /// True if this trade of this order was booked.
    #[inline]
    pub fn knows_fill(&self, slot: Slot, trade_id: u64) -> bool {
        self.fills.contains(self.get(slot).id, trade_id)
    }

    /// The most aggressive own order on a side of an instrument.
    #[inline]
    pub fn most_aggressive(&self, instrument: InstrumentId, side: Side) -> Option<&Order> {
        let head = self.ladders.get(instrument.index())?[side.index()].head;
        (head != NIL).then(|| &self.orders[head as usize])
    }

    /// Open orders of a strategy, oldest first.
    #[inline]
    pub fn iter_strategy(&self, strategy: StrategyId) -> impl Iterator<Item = &Order> {
        let mut at = self.own.get(strategy.index()).map_or(NIL, |l| l.head);
        core::iter::from_fn(move || {
            let order = self.orders.get(at as usize)?;
            at = order.own.next;
            Some(order)
        })
    }

    /// All open orders, strategy by strategy, oldest first.
    pub fn iter_open(&self) -> impl Iterator<Item = &Order> {
        (0..self.own.len()).flat_map(|s| self.iter_strategy(StrategyId(s as u8)))
    }

    /// The open order of a strategy that follows `after` (`None`: the first): a walk that survives changes of the order it stands on.
    #[inline]
    pub(crate) fn next_own(&self, strategy: StrategyId, after: Option<Slot>) -> Option<Slot> {
        let at = match after {
            None => self.own.get(strategy.index()).map_or(NIL, |l| l.head),
            Some(slot) => self.orders[slot.0 as usize].own.next,
        };
        (at != NIL).then_some(Slot(at))
    }

    /// The order longest without an answer.
    #[inline]
    pub(crate) fn oldest_in_flight(&self) -> Option<Slot> {
        (self.in_flight.head != NIL).then_some(Slot(self.in_flight.head))
    }

    /// The unknown order longest not asked for.
    #[inline]
    pub(crate) fn oldest_unknown(&self) -> Option<Slot> {
        (self.unknown.head != NIL).then_some(Slot(self.unknown.head))
    }

    /// Orders in state unknown.
    #[inline]
    pub fn unknown_len(&self) -> u32 {
        self.unknown.len
    }

    /// Takes a new order in. Recycles the slot of the order closed longest ago if no other is free. `None` if
    /// all slots are open orders, or the id is in use.
    pub(crate) fn insert(&mut self, order: Order) -> Option<Slot> {
        if self.find(order.id).is_some() {
            return None;
        }
        let slot = if self.free != NIL {
            let slot = self.free;
            self.free = self.orders[slot as usize].wait.next;
            self.free_len -= 1;
            self.orders[slot as usize] = order;
            slot
        } else if self.orders.len() < self.capacity {
            self.orders.push(order);
            (self.orders.len() - 1) as u32
        } else {
            let slot = self.forget_oldest(NIL)?;
            self.orders[slot as usize] = order;
            slot
        };
        let Order { id, strategy, .. } = self.orders[slot as usize];
        let mut at = spread(id) as usize & self.mask;
        while self.index[at] != NIL {
            at = (at + 1) & self.mask;
        }
        self.index[at] = slot;
        own_insert(&mut self.orders, &mut self.own[strategy.index()], NIL, slot);
        self.enter_ladder(slot);
        self.open += 1;
        Some(Slot(slot))
    }

    /// Forgets the order closed longest ago (but not `but`), its fills included; returns its slot.
    fn forget_oldest(&mut self, but: u32) -> Option<u32> {
        let mut slot = self.closed.head;
        if slot == but && slot != NIL {
            slot = self.orders[slot as usize].wait.next;
        }
        if slot == NIL {
            return None;
        }
        self.closed_digest = self.closed_digest.wrapping_sub(self.digest(slot));
        wait_remove(&mut self.orders, &mut self.closed, slot);
        self.fills.forget(self.orders[slot as usize].fill_head);
        self.unindex(slot);
        Some(slot)
    }

    fn release(&mut self, slot: u32) {
        self.orders[slot as usize].id = OrderId::NONE;
        self.orders[slot as usize].wait.next = self.free;
        self.free = slot;
        self.free_len += 1;
    }

    /// Forgets a few orders ahead of need, so that a new order finds a slot that is free, and in the cache. Called after
    /// reports and timers: what it costs is not paid by an order.
    pub(crate) fn keep_ready(&mut self) {
        const READY_MAX: usize = 16;
        let ready = READY_MAX.min(self.capacity / 64) as u32;
        for _ in 0..2 {
            if self.orders.len() < self.capacity || self.free_len >= ready {
                return;
            }
            let Some(slot) = self.forget_oldest(NIL) else { return };
            self.release(slot);
        }
    }

    fn unindex(&mut self, slot: u32) {
        let mut hole = spread(self.orders[slot as usize].id) as usize & self.mask;
        while self.index[hole] != slot {
            hole = (hole + 1) & self.mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask;
            let other = self.index[at];
            if other == NIL {
                break;
            }
            let home = spread(self.orders[other as usize].id) as usize & self.mask;
            if (at.wrapping_sub(home) & self.mask) >= (at.wrapping_sub(hole) & self.mask) {
                self.index[hole] = other;
                hole = at;
            }
        }
        self.index[hole] = NIL;
    }

    /// Inserts by price: behind those as aggressive. The least aggressive goes to the end at once; else the walk is as long as
    /// there are own orders ahead of it.
    fn enter_ladder(&mut self, slot: u32) {
        let order = &self.orders[slot as usize];
        let (instrument, side) = (order.instrument.index(), order.side);
        let key = order.price_worst().0 * side.sign();
        let list = &mut self.ladders[instrument][side.index()];
        let ahead = |at: u32| self.orders[at as usize].price_worst().0 * side.sign() >= key;
        let mut at = if list.tail != NIL && ahead(list.tail) { NIL } else { list.head };
        while at != NIL && ahead(at) {
            at = self.orders[at as usize].ladder.next;
        }
        ladder_insert(&mut self.orders, list, at, slot);
    }

    /// Changes an order and keeps every list in step with what became of it.
    #[inline]
    pub(crate) fn update(&mut self, slot: Slot, now_ns: u64, change: impl FnOnce(&mut Order)) {
        let at = slot.0 as usize;
        let was_final = self.orders[at].state.is_final();
        if was_final {
            self.closed_digest = self.closed_digest.wrapping_sub(self.digest(slot.0));
        }
        let (price, state) = (self.orders[at].price_worst(), self.orders[at].state);
        change(&mut self.orders[at]);
        let is_final = self.orders[at].state.is_final();
        match (was_final, is_final) {
            (false, true) => self.close(slot.0, now_ns),
            (true, false) => self.reopen(slot.0),
            (false, false) if self.orders[at].price_worst() != price => {
                let (instrument, side) = (self.orders[at].instrument.index(), self.orders[at].side);
                ladder_remove(&mut self.orders, &mut self.ladders[instrument][side.index()], slot.0);
                self.enter_ladder(slot.0);
            }
            _ => {}
        }
        if self.orders[at].state != state {
            self.rewait(slot.0, now_ns);
        }
        if is_final {
            self.closed_digest = self.closed_digest.wrapping_add(self.digest(slot.0));
        }
    }

    /// Notes that a request or question was sent now: the order goes to the end of its list.
    #[inline]
    pub(crate) fn asked(&mut self, slot: Slot, now_ns: u64) {
        self.rewait(slot.0, now_ns);
    }

    /// Puts the order at the end of the list that its state belongs on.
    fn rewait(&mut self, slot: u32, now_ns: u64) {
        let order = &self.orders[slot as usize];
        let (from, to) = (
            order.wait_list,
            match order.state {
                s if s.is_final() => WaitList::Closed,
                s if s.is_in_flight() => WaitList::InFlight,
                OrderState::Unknown => WaitList::Unknown,
                _ => WaitList::None,
            },
        );
        if from == WaitList::Closed && to == WaitList::Closed {
            return;
        }
        match from {
            WaitList::None => {}
            WaitList::InFlight => wait_remove(&mut self.orders, &mut self.in_flight, slot),
            WaitList::Unknown => wait_remove(&mut self.orders, &mut self.unknown, slot),
            WaitList::Closed => wait_remove(&mut self.orders, &mut self.closed, slot),
        }
        match to {
            WaitList::None => {}
            WaitList::InFlight => wait_insert(&mut self.orders, &mut self.in_flight, NIL, slot),
            WaitList::Unknown => wait_insert(&mut self.orders, &mut self.unknown, NIL, slot),
            WaitList::Closed => wait_insert(&mut self.orders, &mut self.closed, NIL, slot),
        }
        let order = &mut self.orders[slot as usize];
        order.wait_list = to;
        if matches!(to, WaitList::InFlight | WaitList::Unknown) {
            order.asked_ns = now_ns;
        }
    }

    fn close(&mut self, slot: u32, now_ns: u64) {
        let order = &mut self.orders[slot as usize];
        order.closed_ns = now_ns;
        order.pending = None;
        order.closing = None;
        let (strategy, instrument, side) = (order.strategy.index(), order.instrument.index(), order.side.index());
        self.open_fills -= order.fill_count as usize;
        own_remove(&mut self.orders, &mut self.own[strategy], slot);
        ladder_remove(&mut self.orders, &mut self.ladders[instrument][side], slot);
        self.open -= 1;
    }

    fn reopen(&mut self, slot: u32) {
        let order = &mut self.orders[slot as usize];
        order.closed_ns = 0;
        self.open_fills += order.fill_count as usize;
        let strategy = order.strategy.index();
        own_insert(&mut self.orders, &mut self.own[strategy], NIL, slot);
        self.enter_ladder(slot);
        self.open += 1;
    }

    /// Remembers a booked fill. If the memory is nearly full, the orders closed longest ago are forgotten (as a whole: a later
    /// report of one of their fills finds no order, and is not booked twice), a few at each fill, never this one. False if
    /// there is no room all the same.
    pub(crate) fn remember_fill(&mut self, slot: Slot, trade_id: u64) -> bool {
        const FORGOTTEN_AT_ONCE_MAX: usize = 16;
        let at = slot.0 as usize;
        let low = ((self.fills.len() + self.fills.room()) / 16).max(1);
        for _ in 0..FORGOTTEN_AT_ONCE_MAX {
            if self.fills.room() >= low {
                break;
            }
            let Some(forgotten) = self.forget_oldest(slot.0) else { break };
            self.release(forgotten);
        }
        let is_final = self.orders[at].state.is_final();
        if is_final {
            self.closed_digest = self.closed_digest.wrapping_sub(self.digest(slot.0));
        }
        let order = &mut self.orders[at];
        let remembered = self.fills.insert(order.id, trade_id, &mut order.fill_head);
        if remembered {
            order.fill_digest = order.fill_digest.wrapping_add(spread(OrderId(trade_id ^ 0x5bd1_e995)));
            order.fill_count += 1;
        }
        if is_final {
            self.closed_digest = self.closed_digest.wrapping_add(self.digest(slot.0));
        } else {
            self.open_fills += usize::from(remembered);
        }
        remembered
    }

    fn digest(&self, slot: u32) -> u64 {
        let mut hasher = StateHasher::new();
        hasher.write_u32(slot);
        self.orders[slot as usize].write(&mut hasher);
        hasher.finish()
    }

    /// Writes the state: open orders one by one, closed ones as the sum kept for them.
    pub fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.closed_digest);
        hasher.write_usize(self.fills.len());
        hasher.write_u32(self.open);
        hasher.write_u32(self.closed.len);
        for order in self.iter_open() {
            order.write(hasher);
        }
        for list in [&self.in_flight, &self.unknown] {
            let mut at = list.head;
            while at != NIL {
                hasher.write_u32(at);
                at = self.orders[at as usize].wait.next;
            }
        }
    }

    /// Checks every list and index against the slots. For tests: cost grows with the capacity.
    ///
    /// # Panics
    /// If anything disagrees.
    pub fn check(&self) {
        let mut closed_digest = 0u64;
        let (mut open, mut closed, mut open_fills) = (0, 0, 0);
        let held = self.orders.iter().enumerate().filter(|(_, order)| order.id != OrderId::NONE);
        for (slot, order) in held {
            assert_eq!(self.find(order.id), Some(Slot(slot as u32)), "every order is found");
            if order.state.is_final() {
                closed += 1;
                closed_digest = closed_digest.wrapping_add(self.digest(slot as u32));
                assert_eq!(order.wait_list, WaitList::Closed);
                assert_eq!(order.reserved, Reserved::default(), "a closed order binds nothing");
            } else {
                open += 1;
                open_fills += order.fill_count as usize;
                assert_eq!(order.wait_list == WaitList::InFlight, order.state.is_in_flight());
                assert_eq!(order.wait_list == WaitList::Unknown, order.state == OrderState::Unknown);
            }
        }
        assert_eq!((self.open, self.closed.len), (open, closed));
        assert_eq!(self.open_fills, open_fills);
        assert_eq!(self.closed_digest, closed_digest, "digest of closed orders is current");
        assert_eq!(self.iter_open().count() as u32, open);
        assert_eq!(self.index.iter().filter(|&&s| s != NIL).count() as u32, open + closed);
        for [buys, sells] in &self.ladders {
            for (list, sign) in [(buys, 1), (sells, -1)] {
                let (mut at, mut last, mut len) = (list.head, i64::MAX, 0);
                while at != NIL {
                    let key = self.orders[at as usize].price_worst().0 * sign;
                    assert!(key <= last, "ladder is sorted");
                    (last, at, len) = (key, self.orders[at as usize].ladder.next, len + 1);
                }
                assert_eq!(len, list.len);
            }
        }
        for list in [&self.in_flight, &self.unknown] {
            let (mut at, mut last) = (list.head, 0);
            while at != NIL {
                assert!(self.orders[at as usize].asked_ns >= last, "waiting lists are in order of time");
                (last, at) = (self.orders[at as usize].asked_ns, self.orders[at as usize].wait.next);
            }
        }
    }
}
