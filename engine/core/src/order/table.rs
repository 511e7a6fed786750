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
//! An order fills three cache lines, its places on the lists half of a fourth, elsewhere: joining a list, leaving it and looking
//! for a place by price touch the neighbours' links, not the neighbours. Ids that follow each other share a line of the index.
//!
//! A closed order keeps its slot, and the memory of its fills, until the slot is needed: late reports find it
//! for as long as the table is larger than the number of orders since. All of this is deterministic.

mod touch;

use super::entry::{Order, Reserved, WaitList, digest};
use super::fills::{FillMemory, NIL};
use super::lists::{
    Ladders, Links, List, NO_KEY, Node, Rungs, ladder_insert, ladder_remove, own_append, own_remove, wait_append, wait_remove,
};
use super::state::OrderState;
use crate::event::Side;
use crate::fixed::{Price, Qty};
use crate::ids::{InstrumentId, OrderId, StrategyId, VenueId};
use crate::prefetch::{extent, prefetch};
use crate::state_hash::StateHasher;

/// Place of an order in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(pub(crate) u32);

/// Of the index: which slot, and what of the id's hash is enough to tell where the entry would rather be.
#[derive(Clone, Copy, Debug)]
struct Place {
    slot: u32,
    tag: u32,
}

/// A free place of the index, for one id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vacancy {
    at: usize,
    tag: u32,
}

impl Place {
    const FREE: Place = Place { slot: NIL, tag: 0 };
}

/// See the module header. What an order reads and changes comes first.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub struct OrderTable {
    /// Open addressing; a power of two, at most half full.
    index: Box<[Place]>,
    mask: usize,
    /// Slots never used, and those of forgotten orders, linked through `wait.next`; used before any order is recycled.
    free: u32,
    free_len: u32,
    open: u32,
    in_flight: List,
    closed: List,
    /// The first of the orders that closed lately and are not in `closed_digest`; from it on the list of closed ones none is.
    unsettled: u32,

    orders: Box<[Order]>,
    /// By slot.
    nodes: Box<[Node]>,
    own: Box<[List]>,
    /// By instrument.
    ladders: Box<[Ladders]>,

    /// Fills remembered of open orders: these cannot be forgotten.
    open_fills: usize,
    /// Three quarters of the memory of fills.
    open_fills_max: usize,
    /// With less room than this in the memory of fills, closed orders are forgotten.
    fills_low: usize,
    /// With fewer slots free than this, orders are forgotten ahead of need.
    free_low: u32,
    unknown: List,
    /// Sum of the digests of closed orders: they need not be walked for the state hash.
    closed_digest: u64,
    fills: FillMemory,
}

const _: () = assert!(core::mem::offset_of!(OrderTable, orders) == 64 && core::mem::offset_of!(OrderTable, open_fills) == 128);

/// Slots that are kept free at most.
const READY_MAX: usize = 64;

/// The same of a table of so many.
fn ready(capacity: usize) -> u32 {
    READY_MAX.min(capacity / 64) as u32
}

#[inline]
fn spread(id: OrderId) -> u64 {
    let x = id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ (x >> 32)
}

/// Where an id would be in the index, more bits of it than any index has. Eight ids in a row lie side by side. Such blocks are
/// scattered by a product with an odd number: those of one epoch never fall on each other while fewer ids than the index has
/// places lie between them, and those of two epochs do not make long runs.
#[inline]
fn tag(id: OrderId) -> u32 {
    let block = (id.sequence() >> 3).wrapping_mul(0x9e37_79b1);
    let of_epoch = u32::from(id.epoch()).wrapping_mul(0x85eb_ca6b);
    block.wrapping_add(of_epoch) << 3 | (id.sequence() & 7)
}

/// Finds the place of an order by price, behind those as aggressive, and takes it there; returns its links. The least aggressive
/// goes to the end at once; else the walk is as long as there are own orders ahead of it.
#[inline(always)]
fn climb(nodes: &mut [Node], rungs: &mut Rungs, slot: u32, key: i64) -> Links {
    let ahead = |at: u32| nodes.get(at as usize).is_some_and(|node| node.key >= key);
    let mut at = NIL;
    if rungs.list.tail != NIL && !ahead(rungs.list.tail) {
        at = rungs.list.head;
        while ahead(at) {
            at = nodes[at as usize].ladder.next;
        }
    }
    rungs.best = rungs.best.max(key);
    ladder_insert(nodes, &mut rungs.list, at, slot)
}

/// An order on a ladder becomes as aggressive as this, if it is less; false if it has to change its place for that.
#[inline(always)]
fn rise(nodes: &mut [Node], rungs: &mut Rungs, slot: u32, key: i64) -> bool {
    let Some(&Node { ladder, key: before, .. }) = nodes.get(slot as usize) else { return false };
    if key <= before {
        return true;
    }
    match nodes.get(ladder.prev as usize) {
        Some(ahead) if ahead.key < key => return false,
        Some(_) => {}
        None => rungs.best = key,
    }
    nodes[slot as usize].key = key;
    true
}

impl OrderTable {
    /// Room for `capacity` orders (open and closed) and `fills` fills of them.
    pub fn new(capacity: usize, fills: usize, strategies: usize, instruments: usize) -> OrderTable {
        let capacity = capacity.max(1);
        let places = (capacity * 2).next_power_of_two();
        let fills = FillMemory::new(fills);
        let nobodys = (StrategyId(0), InstrumentId(0), VenueId(0));
        let unused = Order::new(OrderId::NONE, nobodys.0, nobodys.1, nobodys.2, Side::Buy, Price(0), Qty(0), 0);
        let next = |slot: usize| if slot + 1 < capacity { slot as u32 + 1 } else { NIL };
        let node = |slot: usize| Node { wait: Links { next: next(slot), ..Links::NONE }, ..Node::NEW };
        OrderTable {
            orders: vec![unused; capacity].into(),
            nodes: (0..capacity).map(node).collect(),
            free: 0,
            free_len: capacity as u32,
            index: vec![Place::FREE; places].into(),
            mask: places - 1,
            own: vec![List::EMPTY; strategies].into(),
            ladders: vec![Ladders([Rungs::EMPTY; 2]); instruments].into(),
            in_flight: List::EMPTY,
            unknown: List::EMPTY,
            closed: List::EMPTY,
            open: 0,
            open_fills: 0,
            open_fills_max: fills.room() / 4 * 3,
            fills_low: (fills.room() / 16).max(1),
            free_low: ready(capacity) / 8,
            fills,
            closed_digest: 0,
            unsettled: NIL,
        }
    }

    /// Asks for what the next order reads on its way into the table (what it only writes it does not wait for). `next` is its id.
    #[inline]
    pub(crate) fn prefetch_next(&self, next: OrderId) {
        let places = (self.index.get(tag(next) as usize & self.mask), self.nodes.get(self.free as usize));
        if let (Some(place), Some(node)) = places {
            prefetch(place);
            prefetch(node);
        }
    }

    /// Asks for what a new order in an instrument reads.
    #[inline]
    pub(crate) fn prefetch(&self, instrument: InstrumentId) {
        if let Some(ladders) = self.ladders.get(instrument.index()) {
            prefetch(ladders);
        }
    }

    /// Where the order is, if the table (still) has it.
    #[inline]
    pub fn find(&self, id: OrderId) -> Option<Slot> {
        let tag = tag(id);
        let mut at = tag as usize & self.mask;
        loop {
            let place = self.index[at];
            if place.slot == NIL {
                return None;
            }
            if place.tag == tag && self.orders[place.slot as usize].id == id {
                return Some(Slot(place.slot));
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
        self.ladders.get(instrument.index()).map_or(0, |l| l.0[0].list.len + l.0[1].list.len)
    }

    /// True if a new order would find a slot.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.free != NIL || self.closed.len > 0
    }

    /// True if open orders alone fill three quarters of the memory of fills.
    #[inline]
    pub fn fills_nearly_full(&self) -> bool {
        self.open_fills >= self.open_fills_max
    }

    /// True if this trade of this order was booked.
    #[inline]
    pub fn knows_fill(&self, slot: Slot, trade_id: u64) -> bool {
        self.fills.contains(self.get(slot).id, trade_id, self.get(slot).fills)
    }

    /// The most aggressive own order on a side of an instrument, the worst case of a replace counted.
    #[inline]
    pub fn most_aggressive(&self, instrument: InstrumentId, side: Side) -> Option<&Order> {
        // No order has the slot `NIL`.
        self.orders.get(self.ladders.get(instrument.index())?.0[side.index()].list.head as usize)
    }

    /// As [`OrderTable::find`], for an order that is likely to be the most aggressive one there: then it need not be searched.
    #[inline]
    pub fn find_near_best(&self, id: OrderId, instrument: InstrumentId, side: Side) -> Option<Slot> {
        let head = self.ladders.get(instrument.index()).map_or(NIL, |ladders| ladders.0[side.index()].list.head);
        match self.orders.get(head as usize) {
            Some(best) if best.id == id => Some(Slot(head)),
            _ => self.find_else(id),
        }
    }

    #[inline(never)]
    fn find_else(&self, id: OrderId) -> Option<Slot> {
        self.find(id)
    }

    /// True if an order at `price` could trade with one of our own: see [`OrderTable::most_aggressive`].
    #[inline]
    pub fn crosses(&self, instrument: InstrumentId, side: Side, price: Price) -> bool {
        let best = self.ladders.get(instrument.index()).map_or(NO_KEY, |ladders| ladders.0[side.opposite().index()].best);
        price.0.saturating_mul(side.sign()).saturating_add(best) >= 0
    }

    /// Open orders of an instrument, and whether one at `price` could trade with one of them: both of the above at once.
    #[inline(always)]
    pub(crate) fn resting(&self, instrument: InstrumentId, side: Side, price: Price) -> Option<(u32, bool)> {
        let sides = &self.ladders.get(instrument.index())?.0;
        let open = sides[0].list.len.wrapping_add(sides[1].list.len);
        Some((open, price.0 * side.sign() + sides[side.opposite().index()].best >= 0))
    }

    /// Its price, the worst case of a replace counted.
    #[inline]
    pub fn most_aggressive_price(&self, instrument: InstrumentId, side: Side) -> Option<Price> {
        let best = self.ladders.get(instrument.index())?.0[side.index()].best;
        (best != NO_KEY).then(|| Price(best * side.sign()))
    }

    /// Open orders of a strategy, oldest first.
    #[inline]
    pub fn iter_strategy(&self, strategy: StrategyId) -> impl Iterator<Item = &Order> {
        let mut at = self.own.get(strategy.index()).map_or(NIL, |l| l.head);
        core::iter::from_fn(move || {
            let order = self.orders.get(at as usize)?;
            at = self.nodes[at as usize].own.next;
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
            Some(slot) => self.nodes[slot.0 as usize].own.next,
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

    /// Takes a new order in. `None` if all slots are open orders, or the id is in use.
    #[cfg(test)]
    pub(crate) fn insert(&mut self, order: Order) -> Option<Slot> {
        let vacancy = self.vacancy(order.id)?;
        self.insert_at(vacancy, order)
    }

    /// The place of the index where a new id would go; `None` if it is in use. To be asked for ahead of need: it is likely not
    /// in the cache.
    #[inline]
    pub(crate) fn vacancy(&self, id: OrderId) -> Option<Vacancy> {
        let tag = tag(id);
        let mut at = tag as usize & self.mask;
        loop {
            let place = self.index[at];
            if place.slot == NIL {
                return Some(Vacancy { at, tag });
            }
            if place.tag == tag && self.orders[place.slot as usize].id == id {
                return None;
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Takes a new order in, at a vacancy of its id that was asked for after the last change. `None` if all slots are open
    /// orders; if no other is free, the slot of the order closed longest ago is used again.
    #[inline(always)]
    pub(crate) fn insert_at(&mut self, vacancy: Vacancy, order: Order) -> Option<Slot> {
        let (slot, vacancy) = if self.free == NIL { self.vacate(order.id)? } else { (self.take_free_slot(), vacancy) };
        let OrderTable { orders, nodes, index, own, ladders, .. } = self;
        let (Some(room), Some(own)) = (orders.get_mut(slot as usize), own.get_mut(order.strategy.index())) else { return None };
        let rungs = &mut ladders.get_mut(order.instrument.index())?.0[order.side.index()];
        // A new order has no replace on its way.
        debug_assert!(order.pending.is_none());
        let (key, in_flight) = (order.price.0 * order.side.sign(), order.state.is_in_flight());
        let wait = if in_flight { wait_append(nodes, &mut self.in_flight, slot) } else { Links::NONE };
        let links = Node { wait, own: own_append(nodes, own, slot), ladder: climb(nodes, rungs, slot, key), key };
        if let Some(node) = nodes.get_mut(slot as usize) {
            *node = links;
        }
        if let Some(place) = index.get_mut(vacancy.at) {
            *place = Place { slot, tag: vacancy.tag };
        }
        *room = Order { wait_list: if in_flight { WaitList::InFlight } else { WaitList::None }, ..order };
        // At most one for each slot.
        self.open = self.open.wrapping_add(1);
        Some(Slot(slot))
    }

    /// The slot of the order closed longest ago. Forgetting it closes gaps in the index: a new order's vacancy is another then.
    #[cold]
    fn vacate(&mut self, new: OrderId) -> Option<(u32, Vacancy)> {
        let slot = self.forget_oldest(NIL)?;
        Some((slot, self.vacancy(new)?))
    }

    /// A slot of an order that was forgotten before.
    #[inline]
    fn take_free_slot(&mut self) -> u32 {
        let slot = self.free;
        self.free = self.nodes[slot as usize].wait.next;
        // It counts what is linked from `free`.
        self.free_len = self.free_len.wrapping_sub(1);
        slot
    }

    /// Forgets the order closed longest ago (but not `but`), its fills included; returns its slot.
    fn forget_oldest(&mut self, but: u32) -> Option<u32> {
        let mut slot = self.closed.head;
        if slot == but && slot != NIL {
            slot = self.nodes[slot as usize].wait.next;
        }
        if slot == NIL {
            return None;
        }
        self.closed_digest = self.closed_digest.wrapping_sub(self.orders[slot as usize].digest);
        self.leave_closed(slot);
        self.fills.forget(self.orders[slot as usize].fills);
        self.unindex(slot);
        Some(slot)
    }

    fn release(&mut self, slot: u32) {
        self.orders[slot as usize].id = OrderId::NONE;
        self.nodes[slot as usize].wait.next = self.free;
        self.free = slot;
        self.free_len += 1;
    }

    /// Forgets orders ahead of need, so that a new order finds a slot that is free, and in the cache. `at_leisure` (at timers):
    /// as many as are kept ready; else (after reports that caused no command) a few, and only when hardly one is left. What it
    /// costs, some reads of what no cache holds any more, is thus paid neither by an order nor, as a rule, by a report.
    #[inline]
    pub(crate) fn keep_ready(&mut self, at_leisure: bool) {
        if at_leisure || self.free_len < self.free_low {
            self.make_ready(at_leisure);
        }
    }

    #[inline(never)]
    fn make_ready(&mut self, at_leisure: bool) {
        if at_leisure {
            self.settle_some();
        }
        let (enough, most) = if at_leisure { (ready(self.orders.len()), READY_MAX) } else { (self.free_low, 2) };
        for _ in 0..most {
            if self.free_len >= enough {
                return;
            }
            let Some(slot) = self.forget_oldest(NIL) else { return };
            self.release(slot);
        }
    }

    fn unindex(&mut self, slot: u32) {
        let mut hole = tag(self.orders[slot as usize].id) as usize & self.mask;
        while self.index[hole].slot != slot {
            hole = (hole + 1) & self.mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask;
            let other = self.index[at];
            if other.slot == NIL {
                break;
            }
            let home = other.tag as usize & self.mask;
            if (at.wrapping_sub(home) & self.mask) >= (at.wrapping_sub(hole) & self.mask) {
                self.index[hole] = other;
                hole = at;
            }
        }
        self.index[hole] = Place::FREE;
    }

    /// Enters an order on its ladder.
    fn enter_ladder(&mut self, slot: u32) {
        let order = &self.orders[slot as usize];
        let (instrument, side, key) = (order.instrument, order.side, order.key());
        let rungs = &mut self.ladders[instrument.index()].0[side.index()];
        let ladder = climb(&mut self.nodes, rungs, slot, key);
        let node = &mut self.nodes[slot as usize];
        (node.ladder, node.key) = (ladder, key);
    }

    fn leave_ladder(&mut self, slot: u32) {
        let order = &self.orders[slot as usize];
        let rungs = &mut self.ladders[order.instrument.index()].0[order.side.index()];
        let links = self.nodes[slot as usize].ladder;
        ladder_remove(&mut self.nodes, &mut rungs.list, links);
        rungs.look_again(&self.nodes);
    }

    /// Changes an order and keeps every list in step with what became of it.
    #[inline]
    pub(crate) fn update(&mut self, slot: Slot, now_ns: u64, change: impl FnOnce(&mut Order)) {
        let at = slot.0 as usize;
        let order = &mut self.orders[at];
        let (was_final, state, price) = (order.state.is_final(), order.state, order.price_worst());
        change(order);
        let (is_final, changed, moved) = (order.state.is_final(), order.state != state, order.price_worst() != price);
        match (was_final, is_final) {
            (false, true) => self.close(slot.0, now_ns),
            (false, false) => {
                if moved {
                    self.climb_on(slot.0);
                }
                if changed && !(self.orders[at].wait_list == WaitList::None && self.orders[at].state.is_working()) {
                    self.rewait(slot.0, now_ns);
                }
            }
            (true, _) => self.change_closed(slot.0, now_ns),
        }
    }

    /// A replace of an order that rests with nothing on its way was sent; `reserved` is what it binds from now on, if that is not
    /// as before.
    #[inline(always)]
    pub(crate) fn ask_replace(&mut self, slot: Slot, pending: (Price, Qty), reserved: Option<Reserved>, now_ns: u64) {
        let OrderTable { orders, nodes, ladders, .. } = self;
        let Some(order) = orders.get_mut(slot.0 as usize) else { return };
        debug_assert!(order.pending.is_none() && order.closing.is_none());
        (order.pending, order.state) = (Some(pending), OrderState::PendingReplace);
        if let Some(reserved) = reserved {
            order.reserved = reserved;
        }
        let key = pending.0.0 * order.side.sign();
        let rungs = ladders.get_mut(order.instrument.index()).map(|ladders| &mut ladders.0[order.side.index()]);
        if !rungs.is_some_and(|rungs| rise(nodes, rungs, slot.0, key)) {
            self.climb_on(slot.0);
        }
        self.await_answer(slot, now_ns);
    }

    /// Takes an order to another place of its ladder.
    #[inline(never)]
    fn climb_on(&mut self, slot: u32) {
        self.leave_ladder(slot);
        self.enter_ladder(slot);
    }

    /// A cancel of an order that rests with nothing on its way was sent.
    #[inline(always)]
    pub(crate) fn ask_cancel(&mut self, slot: Slot, now_ns: u64) {
        let Some(order) = self.orders.get_mut(slot.0 as usize) else { return };
        (order.cancel_sent_ns, order.state) = (now_ns, OrderState::PendingCancel);
        self.await_answer(slot, now_ns);
    }

    /// An order with nothing on its way awaits an answer from now on.
    #[inline(always)]
    fn await_answer(&mut self, slot: Slot, now_ns: u64) {
        let Some(order) = self.orders.get_mut(slot.0 as usize) else { return };
        debug_assert!(order.wait_list == WaitList::None && order.state.is_in_flight());
        (order.wait_list, order.asked_ns) = (WaitList::InFlight, now_ns);
        let links = wait_append(&mut self.nodes, &mut self.in_flight, slot.0);
        if let Some(node) = self.nodes.get_mut(slot.0 as usize) {
            node.wait = links;
        }
    }

    /// An open order with nothing on its way is filled whole.
    #[inline(always)]
    pub(crate) fn complete(&mut self, slot: Slot, now_ns: u64) {
        self.leave_open(slot.0, now_ns, |order| {
            debug_assert!(order.wait_list == WaitList::None && order.pending.is_none() && order.closing.is_none());
            (order.filled, order.state, order.reserved) = (order.qty, OrderState::Filled, Reserved::default());
        });
    }

    /// Of an open order with nothing on its way a part is filled; `reserved` is what the rest binds.
    #[inline]
    pub(crate) fn fill_part(&mut self, slot: Slot, filled: Qty, reserved: Reserved) {
        let order = &mut self.orders[slot.0 as usize];
        debug_assert!(order.state.is_working() && order.wait_list == WaitList::None && filled < order.qty);
        (order.filled, order.reserved, order.state) = (filled, reserved, OrderState::PartiallyFilled);
    }

    /// A closed order changed; perhaps it is open again.
    #[cold]
    fn change_closed(&mut self, slot: u32, now_ns: u64) {
        if !self.orders[slot as usize].state.is_final() {
            self.reopen(slot);
        }
        self.rewait(slot, now_ns);
        self.recount(slot);
    }

    /// Brings what the order counts for among the closed ones up to date. One that closed lately counts for nothing yet.
    fn recount(&mut self, slot: u32) {
        let order = &mut self.orders[slot as usize];
        let before = order.digest;
        if before != 0 {
            order.digest = if order.state.is_final() { digest(&order.words_closed()) } else { 0 };
            self.closed_digest = self.closed_digest.wrapping_sub(before).wrapping_add(order.digest);
        }
    }

    /// Takes a part of what closed lately into the digest.
    pub(crate) fn settle_some(&mut self) {
        const SETTLED_MAX: usize = 256;
        self.settle(SETTLED_MAX);
    }

    /// Takes what closed lately into the digest, at most so many orders.
    pub(super) fn settle(&mut self, most: usize) {
        for _ in 0..most {
            let slot = self.unsettled as usize;
            let Some(order) = self.orders.get_mut(slot) else { return };
            order.digest = digest(&order.words_closed());
            self.closed_digest = self.closed_digest.wrapping_add(order.digest);
            self.unsettled = self.nodes[slot].wait.next;
        }
    }

    /// The digest of all closed orders.
    fn digest_of_closed(&self) -> u64 {
        let mut sum = self.closed_digest;
        let mut at = self.unsettled as usize;
        while let Some(order) = self.orders.get(at) {
            sum = sum.wrapping_add(digest(&order.words_closed()));
            at = self.nodes[at].wait.next as usize;
        }
        sum
    }

    /// Takes an order off the list of closed ones.
    fn leave_closed(&mut self, slot: u32) {
        let links = self.nodes[slot as usize].wait;
        if self.unsettled == slot {
            self.unsettled = links.next;
        }
        wait_remove(&mut self.nodes, &mut self.closed, links);
    }

    /// Adds an order to the list of closed ones.
    #[inline(always)]
    fn enter_closed(&mut self, slot: u32) {
        let links = wait_append(&mut self.nodes, &mut self.closed, slot);
        if let Some(node) = self.nodes.get_mut(slot as usize) {
            node.wait = links;
        }
        if self.unsettled == NIL {
            self.unsettled = slot;
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
        let links = self.nodes[slot as usize].wait;
        match from {
            WaitList::None => {}
            WaitList::InFlight => wait_remove(&mut self.nodes, &mut self.in_flight, links),
            WaitList::Unknown => wait_remove(&mut self.nodes, &mut self.unknown, links),
            WaitList::Closed => self.leave_closed(slot),
        }
        match to {
            WaitList::None => {}
            WaitList::InFlight => self.nodes[slot as usize].wait = wait_append(&mut self.nodes, &mut self.in_flight, slot),
            WaitList::Unknown => self.nodes[slot as usize].wait = wait_append(&mut self.nodes, &mut self.unknown, slot),
            WaitList::Closed => self.enter_closed(slot),
        }
        let order = &mut self.orders[slot as usize];
        order.wait_list = to;
        if matches!(to, WaitList::InFlight | WaitList::Unknown) {
            order.asked_ns = now_ns;
        }
    }

    /// The order is final now: takes it off the lists of open ones. It is counted among the closed ones at leisure.
    #[inline(never)]
    fn close(&mut self, slot: u32, now_ns: u64) {
        let OrderTable { orders, nodes, .. } = self;
        let (Some(order), Some(&links)) = (orders.get_mut(slot as usize), nodes.get(slot as usize)) else { return };
        (order.pending, order.closing) = (None, None);
        match order.wait_list {
            WaitList::None | WaitList::Closed => {}
            WaitList::InFlight => wait_remove(nodes, &mut self.in_flight, links.wait),
            WaitList::Unknown => wait_remove(nodes, &mut self.unknown, links.wait),
        }
        self.leave_open(slot, now_ns, |_| {});
    }

    /// As [`OrderTable::close`], for an order that waits for nothing (any more), and becomes final by `change`.
    #[inline(always)]
    fn leave_open(&mut self, slot: u32, now_ns: u64, change: impl FnOnce(&mut Order)) {
        let OrderTable { orders, nodes, own, ladders, .. } = self;
        let (Some(order), Some(&links)) = (orders.get_mut(slot as usize), nodes.get(slot as usize)) else { return };
        change(order);
        (order.closed_ns, order.wait_list) = (now_ns, WaitList::Closed);
        // Both count it, open as it was.
        self.open_fills = self.open_fills.wrapping_sub(order.fills.len());
        self.open = self.open.wrapping_sub(1);
        if let Some(own) = own.get_mut(order.strategy.index()) {
            own_remove(nodes, own, links.own);
        }
        if let Some(ladders) = ladders.get_mut(order.instrument.index()) {
            let rungs = &mut ladders.0[order.side.index()];
            ladder_remove(nodes, &mut rungs.list, links.ladder);
            rungs.look_again(nodes);
        }
        self.enter_closed(slot);
    }

    fn reopen(&mut self, slot: u32) {
        let order = &mut self.orders[slot as usize];
        order.closed_ns = 0;
        self.open_fills += order.fills.len();
        let strategy = order.strategy.index();
        self.nodes[slot as usize].own = own_append(&mut self.nodes, &mut self.own[strategy], slot);
        self.enter_ladder(slot);
        self.open += 1;
    }

    /// Remembers a booked fill. If the memory is nearly full, the orders closed longest ago are forgotten (as a whole: a later
    /// report of one of their fills finds no order, and is not booked twice), a few at each fill, never this one. False if
    /// there is no room all the same.
    pub(crate) fn remember_fill(&mut self, slot: Slot, trade_id: u64) -> bool {
        if self.fills.room() < self.fills_low {
            self.make_room_for_fills(slot);
        }
        let order = &mut self.orders[slot.0 as usize];
        let remembered = self.fills.insert(order.id, trade_id, &mut order.fills);
        if remembered {
            order.fill_digest = order.fill_digest.wrapping_add(spread(OrderId(trade_id ^ 0x5bd1_e995)));
        }
        if order.state.is_final() {
            self.recount(slot.0);
        } else {
            // No more than there are entries.
            self.open_fills = self.open_fills.wrapping_add(usize::from(remembered));
        }
        remembered
    }

    #[cold]
    fn make_room_for_fills(&mut self, but: Slot) {
        const FORGOTTEN_AT_ONCE_MAX: usize = 16;
        for _ in 0..FORGOTTEN_AT_ONCE_MAX {
            let Some(forgotten) = self.forget_oldest(but.0) else { return };
            self.release(forgotten);
            if self.fills.room() >= self.fills_low {
                return;
            }
        }
    }

    /// Writes the state: open orders one by one, closed ones as the sum kept for them.
    pub fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.digest_of_closed());
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
                at = self.nodes[at as usize].wait.next;
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
                closed_digest = closed_digest.wrapping_add(digest(&order.words_closed()));
                assert!(order.digest == 0 || order.digest == digest(&order.words_closed()));
                assert_eq!(order.wait_list, WaitList::Closed);
                assert_eq!(order.reserved, Reserved::default(), "a closed order binds nothing");
                assert_eq!((order.pending, order.closing), (None, None), "a closed order waits for nothing");
            } else {
                open += 1;
                assert_eq!(order.digest, 0, "an open order is not counted among the closed");
                open_fills += order.fills.len();
                assert_eq!(order.wait_list == WaitList::InFlight, order.state.is_in_flight());
                assert_eq!(order.wait_list == WaitList::Unknown, order.state == OrderState::Unknown);
            }
        }
        assert_eq!((self.open, self.closed.len), (open, closed));
        assert_eq!(self.open_fills, open_fills);
        assert_eq!(self.digest_of_closed(), closed_digest, "digest of closed orders is current");
        let (mut at, mut settled) = (self.closed.head, true);
        while at != NIL {
            settled &= at != self.unsettled;
            assert_eq!(self.orders[at as usize].digest != 0, settled, "what is not in the digest closed last");
            at = self.nodes[at as usize].wait.next;
        }
        assert!(self.unsettled == NIL || !settled, "what is not in the digest is closed");
        assert_eq!(self.iter_open().count() as u32, open);
        assert_eq!(self.index.iter().filter(|place| place.slot != NIL).count() as u32, open + closed);
        for rungs in self.ladders.iter().flat_map(|ladders| &ladders.0) {
            let (mut at, mut last, mut len) = (rungs.list.head, i64::MAX, 0);
            assert_eq!(rungs.best, self.orders.get(at as usize).map_or(NO_KEY, Order::key), "the best price is the first order's");
            while at != NIL {
                let key = self.orders[at as usize].key();
                assert!(key <= last && key == self.nodes[at as usize].key, "ladder is sorted");
                (last, at, len) = (key, self.nodes[at as usize].ladder.next, len + 1);
            }
            assert_eq!(len, rungs.list.len);
        }
        for list in [&self.in_flight, &self.unknown] {
            let (mut at, mut last) = (list.head, 0);
            while at != NIL {
                assert!(self.orders[at as usize].asked_ns >= last, "waiting lists are in order of time");
                (last, at) = (self.orders[at as usize].asked_ns, self.nodes[at as usize].wait.next);
            }
        }
    }
}
