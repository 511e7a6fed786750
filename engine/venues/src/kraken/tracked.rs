//! The orders that the codec knows of: what is needed to place a sparse report and to cost a request.
//!
//! Kraken's execution records name an order by the venue's id, and repeat symbol, side and terms only now and
//! then; so each order has an entry, found by our id or by the venue's. Fixed room: when it runs out, the entry of
//! the order that closed longest ago goes (late records of it can then no longer be placed).

use engine_core::event::Side;
use engine_core::ids::{InstrumentId, OrderId};

/// Orders held, open and lately closed.
pub const ORDERS_MAX: usize = 4_096;
/// Longest venue order id held (they are 19 long).
pub const VENUE_ID_MAX: usize = 24;

/// What is on its way to the venue for an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum InFlight {
    /// Nothing.
    #[default]
    Nothing,
    /// The order itself.
    Add,
    /// An amend to this price and total quantity.
    Amend {
        /// New price.
        price: i64,
        /// New total quantity.
        qty: i64,
        /// An execution record has reported it already, ahead of the answer.
        told: bool,
    },
}

/// One order.
#[derive(Clone, Debug)]
pub struct Tracked {
    /// Our id.
    pub order: OrderId,
    /// Its instrument; `None` until a record has named it.
    pub instrument: Option<InstrumentId>,
    /// Side, if known.
    pub side: Option<Side>,
    /// Limit price as last reported; 0 if not known.
    pub price: i64,
    /// Total quantity as last reported; 0 if not known.
    pub qty: i64,
    /// Filled so far, by the fills passed on and what records count.
    pub filled: i64,
    /// Created or last amended: nanoseconds since the Unix epoch; 0 if not known.
    pub changed_ns: u64,
    /// An acknowledgement has been passed on.
    pub acked: bool,
    /// It was sent as post-only: accepted only when the book has taken it.
    pub post_only: bool,
    /// It can change no more.
    pub closed: bool,
    /// The request on its way.
    pub in_flight: InFlight,
    /// A cancel waits for the answer to the request on its way: the venue does not keep their order.
    pub cancel_waits: bool,
    /// The last snapshot that listed it.
    pub seen: u32,
    venue_id: [u8; VENUE_ID_MAX],
    venue_id_len: u8,
}

impl Tracked {
    fn new(order: OrderId) -> Tracked {
        Tracked {
            order,
            instrument: None,
            side: None,
            price: 0,
            qty: 0,
            filled: 0,
            changed_ns: 0,
            acked: false,
            post_only: false,
            closed: false,
            in_flight: InFlight::Nothing,
            cancel_waits: false,
            seen: 0,
            venue_id: [0; VENUE_ID_MAX],
            venue_id_len: 0,
        }
    }

    /// The venue's id; empty if not known.
    pub fn venue_id(&self) -> &[u8] {
        &self.venue_id[..usize::from(self.venue_id_len)]
    }
}

const EMPTY: u32 = u32::MAX;

/// Open addressing from a hash to an entry; twice as many slots as entries, deletion by shifting back.
#[derive(Debug)]
struct Index {
    slots: Vec<u32>,
}

impl Index {
    fn new(entries: usize) -> Index {
        Index { slots: vec![EMPTY; (entries * 2).next_power_of_two()] }
    }

    #[inline]
    fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                EMPTY => return None,
                entry if is(entry) => return Some(entry),
                _ => at = (at + 1) & mask,
            }
        }
    }

    #[inline]
    fn insert(&mut self, hash: u64, entry: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = entry;
    }

    fn remove(&mut self, hash: u64, entry: u32, hash_of: impl Fn(u32) -> u64) {
        let mask = self.slots.len() - 1;
        let mut hole = hash as usize & mask;
        while self.slots[hole] != entry {
            if self.slots[hole] == EMPTY {
                return;
            }
            hole = (hole + 1) & mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let moved = self.slots[at];
            if moved == EMPTY {
                break;
            }
            // An entry may move back into the hole unless its home lies behind the hole.
            let home = hash_of(moved) as usize & mask;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.slots[hole] = moved;
                hole = at;
            }
        }
        self.slots[hole] = EMPTY;
    }
}

#[inline]
fn hash_order(order: OrderId) -> u64 {
    order.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

#[inline]
fn hash_text(text: &[u8]) -> u64 {
    let hash = text.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, &byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash ^ (hash >> 32)
}

/// The table. Entries are named by their place.
#[derive(Debug)]
pub struct TrackedOrders {
    entries: Vec<Tracked>,
    max: usize,
    by_order: Index,
    by_venue: Index,
    /// Closed entries, the one closed first at the front.
    closed: std::collections::VecDeque<u32>,
}

impl TrackedOrders {
    /// Room for `max` orders, all of it allocated.
    pub fn new(max: usize) -> TrackedOrders {
        TrackedOrders {
            entries: Vec::with_capacity(max),
            max,
            by_order: Index::new(max),
            by_venue: Index::new(max),
            closed: std::collections::VecDeque::with_capacity(max),
        }
    }

    /// The entry of one of our ids.
    #[inline]
    pub fn find(&self, order: OrderId) -> Option<usize> {
        self.by_order.find(hash_order(order), |entry| self.entries[entry as usize].order == order).map(|entry| entry as usize)
    }

    /// The entry of one of the venue's ids.
    #[inline]
    pub fn find_venue(&self, venue_id: &[u8]) -> Option<usize> {
        if venue_id.is_empty() {
            return None;
        }
        self.by_venue.find(hash_text(venue_id), |entry| self.entries[entry as usize].venue_id() == venue_id).map(|entry| entry as usize)
    }

    /// The entry of `order`, made if need be; `None` if there is no room (every entry is open).
    pub fn find_or_insert(&mut self, order: OrderId) -> Option<usize> {
        if let Some(at) = self.find(order) {
            return Some(at);
        }
        let at = if self.entries.len() < self.max {
            self.entries.push(Tracked::new(order));
            self.entries.len() - 1
        } else {
            let at = self.closed.pop_front()? as usize;
            self.forget(at);
            self.entries[at] = Tracked::new(order);
            at
        };
        self.by_order.insert(hash_order(order), at as u32);
        Some(at)
    }

    /// Takes an entry out of both indexes.
    fn forget(&mut self, at: usize) {
        let entries = &self.entries;
        let order = entries[at].order;
        self.by_order.remove(hash_order(order), at as u32, |entry| hash_order(entries[entry as usize].order));
        if entries[at].venue_id_len != 0 {
            let hash = hash_text(entries[at].venue_id());
            self.by_venue.remove(hash, at as u32, |entry| hash_text(entries[entry as usize].venue_id()));
        }
    }

    /// The entry that the next new order will displace, for [`TrackedOrders::take_back`]; `None` while there is room.
    pub fn mark(&self) -> Option<(u32, Tracked)> {
        if self.entries.len() < self.max {
            return None;
        }
        self.closed.front().map(|&at| (at, self.entries[at as usize].clone()))
    }

    /// Takes back the entry of `order`, the only one made since `mark`, as if it had never been.
    pub fn take_back(&mut self, order: OrderId, mark: Option<(u32, Tracked)>) {
        let Some(at) = self.find(order) else { return };
        self.forget(at);
        if self.entries[at].closed && self.closed.back() == Some(&(at as u32)) {
            self.closed.pop_back();
        }
        let Some((displaced, entry)) = mark else {
            self.entries.pop();
            return;
        };
        self.by_order.insert(hash_order(entry.order), displaced);
        if entry.venue_id_len != 0 {
            self.by_venue.insert(hash_text(entry.venue_id()), displaced);
        }
        self.entries[at] = entry;
        self.closed.push_front(displaced);
    }

    /// Notes the venue's id of an order. A longer one than expected is not noted, nor a second one.
    pub fn bind(&mut self, at: usize, venue_id: &[u8]) {
        let entry = &mut self.entries[at];
        if venue_id.is_empty() || venue_id.len() > VENUE_ID_MAX || entry.venue_id_len != 0 {
            return;
        }
        entry.venue_id[..venue_id.len()].copy_from_slice(venue_id);
        entry.venue_id_len = venue_id.len() as u8;
        self.by_venue.insert(hash_text(venue_id), at as u32);
    }

    /// The order can change no more; its entry may be reused later.
    pub fn close(&mut self, at: usize) {
        let entry = &mut self.entries[at];
        if !entry.closed {
            entry.closed = true;
            (entry.in_flight, entry.cancel_waits) = (InFlight::Nothing, false);
            self.closed.push_back(at as u32);
        }
    }

    /// Closes every open entry that `ended` says has ended.
    pub fn close_where(&mut self, ended: impl Fn(&Tracked) -> bool) {
        for at in 0..self.entries.len() {
            if !self.entries[at].closed && ended(&self.entries[at]) {
                self.close(at);
            }
        }
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl core::ops::Index<usize> for TrackedOrders {
    type Output = Tracked;

    #[inline]
    fn index(&self, at: usize) -> &Tracked {
        &self.entries[at]
    }
}

impl core::ops::IndexMut<usize> for TrackedOrders {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut Tracked {
        &mut self.entries[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_order_closed_longest_ago_makes_room() {
        let mut orders = TrackedOrders::new(4);
        let places: Vec<usize> = (1..=4).map(|n| orders.find_or_insert(OrderId::new(1, n)).unwrap()).collect();
        orders.bind(places[1], b"OAAAAA-BBBBB-CCCCCC");
        orders.bind(places[1], b"OTHER");
        assert_eq!(orders.find_or_insert(OrderId::new(1, 5)), None, "all are open");
        orders.close(places[1]);
        orders.close(places[0]);
        orders.close(places[1]);
        assert_eq!(orders.find_venue(b"OAAAAA-BBBBB-CCCCCC"), Some(places[1]), "closed ones are still found");
        assert_eq!(orders.find_or_insert(OrderId::new(1, 5)), Some(places[1]));
        assert_eq!((orders.find(OrderId::new(1, 2)), orders.find_venue(b"OAAAAA-BBBBB-CCCCCC")), (None, None));
        assert_eq!(orders.find(OrderId::new(1, 1)), Some(places[0]));
        orders.bind(places[0], &[b'x'; VENUE_ID_MAX + 1]);
        assert!(orders[places[0]].venue_id().is_empty());
    }

    proptest! {
        #[test]
        fn look_ups_agree_with_a_model(steps in proptest::collection::vec((0u8..4, 1u32..40), 1..400)) {
            let mut orders = TrackedOrders::new(16);
            let mut model: Vec<(u32, bool)> = Vec::new(); // sequence, closed; oldest closed is looked up by order of closing
            let mut closing: Vec<u32> = Vec::new();
            for (step, n) in steps {
                // What is taken back was never there.
                let (practice, mark) = (OrderId::new(2, n), orders.mark());
                if let Some(at) = orders.find_or_insert(practice) {
                    orders.bind(at, b"PRACTICE");
                    if step == 1 {
                        orders.close(at);
                    }
                }
                orders.take_back(practice, mark);
                prop_assert!(orders.find(practice).is_none() && orders.find_venue(b"PRACTICE").is_none());
                let id = OrderId::new(1, n);
                let text = format!("OID-{n}");
                match step {
                    0 | 1 => {
                        let known = model.iter().any(|(m, _)| *m == n);
                        let got = orders.find_or_insert(id);
                        if known {
                            prop_assert!(got.is_some());
                        } else if model.len() < 16 {
                            prop_assert!(got.is_some());
                            model.push((n, false));
                        } else if closing.is_empty() {
                            prop_assert!(got.is_none());
                        } else {
                            let gone = closing.remove(0);
                            model.retain(|(m, _)| *m != gone);
                            model.push((n, false));
                            prop_assert!(got.is_some());
                        }
                        if let Some(at) = got {
                            orders.bind(at, text.as_bytes());
                        }
                    }
                    _ => {
                        if let Some(at) = orders.find(id) {
                            orders.close(at);
                            let entry = model.iter_mut().find(|(m, _)| *m == n).unwrap();
                            if !entry.1 {
                                entry.1 = true;
                                closing.push(n);
                            }
                        }
                    }
                }
                for n in 1..40 {
                    let held = model.iter().any(|(m, _)| *m == n);
                    prop_assert_eq!(orders.find(OrderId::new(1, n)).is_some(), held);
                    prop_assert_eq!(orders.find_venue(format!("OID-{n}").as_bytes()).is_some(), held);
                }
            }
        }
    }
}
