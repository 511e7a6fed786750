//! The memory of fills: a trade is booked once, however often it is reported.
//!
//! Venues repeat fills (stream and REST, before and after a reconnect). Each booked fill is remembered by
//! (order, trade id) for as long as its order is in the table; an order belongs to one instrument, so this
//! is unique per instrument too. Entries live in a preallocated pool and are chained per order, so that recycling an order's
//! slot frees exactly its entries.
//!
//! Nearly all orders have few fills: these are found by walking the chain, newest first. An order with more than
//! [`CHAIN_MAX`] has all of them in an index as well (open addressing), which is far larger than any cache and is not
//! touched before.

use crate::ids::OrderId;

/// No entry.
pub(crate) const NIL: u32 = u32::MAX;

/// Fills of one order that are found by walking.
const CHAIN_MAX: u32 = 8;

/// The fills of one order: kept with the order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    head: u32,
    len: u32,
}

impl Chain {
    pub(crate) const EMPTY: Chain = Chain { head: NIL, len: 0 };

    /// How many.
    #[inline]
    pub(crate) fn len(self) -> usize {
        self.len as usize
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    order: OrderId,
    trade_id: u64,
    /// Next entry of the same order, or next free entry.
    next: u32,
}

/// See the module header.
#[derive(Clone, Debug)]
pub struct FillMemory {
    entries: Vec<Entry>,
    /// Open addressing: entry number or [`NIL`]; a power of two, at most half full.
    index: Vec<u32>,
    mask: usize,
    free: u32,
    used: usize,
}

#[inline]
fn mix(order: OrderId, trade_id: u64) -> u64 {
    let x = (order.0 ^ trade_id.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ trade_id;
    let x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 29)
}

impl FillMemory {
    /// Room for `capacity` fills.
    pub fn new(capacity: usize) -> FillMemory {
        let capacity = capacity.max(1);
        let slots = (capacity * 2).next_power_of_two();
        let mut entries = Vec::with_capacity(capacity);
        for i in 0..capacity {
            let next = if i + 1 < capacity { (i + 1) as u32 } else { NIL };
            entries.push(Entry { order: OrderId::NONE, trade_id: 0, next });
        }
        FillMemory { entries, index: vec![NIL; slots], mask: slots - 1, free: 0, used: 0 }
    }

    /// True if this trade of this order was booked.
    #[inline]
    pub(crate) fn contains(&self, order: OrderId, trade_id: u64, chain: Chain) -> bool {
        if chain.len > CHAIN_MAX {
            return self.contains_indexed(order, trade_id);
        }
        let mut at = chain.head;
        while at != NIL {
            let entry = &self.entries[at as usize];
            if entry.trade_id == trade_id {
                return true;
            }
            at = entry.next;
        }
        false
    }

    #[inline(never)]
    fn contains_indexed(&self, order: OrderId, trade_id: u64) -> bool {
        self.find(order, trade_id).is_some()
    }

    /// How many more fills can be remembered.
    #[inline]
    pub fn room(&self) -> usize {
        self.entries.len() - self.used
    }

    /// Remembers a fill at the front of its order's chain. False if there is no room; then nothing changed.
    #[inline]
    pub(crate) fn insert(&mut self, order: OrderId, trade_id: u64, chain: &mut Chain) -> bool {
        if self.free == NIL {
            return false;
        }
        let number = self.free;
        let entry = &mut self.entries[number as usize];
        self.free = entry.next;
        *entry = Entry { order, trade_id, next: chain.head };
        let before = chain.len;
        // No more than there are entries, both.
        *chain = Chain { head: number, len: before.wrapping_add(1) };
        self.used = self.used.wrapping_add(1);
        if before >= CHAIN_MAX {
            self.insert_index(*chain, if before == CHAIN_MAX { chain.len } else { 1 });
        }
        true
    }

    /// Takes the first `count` fills of a chain into the index.
    #[cold]
    fn insert_index(&mut self, chain: Chain, count: u32) {
        let mut number = chain.head;
        for _ in 0..count {
            let Entry { order, trade_id, next } = self.entries[number as usize];
            let mut at = mix(order, trade_id) as usize & self.mask;
            while self.index[at] != NIL {
                at = (at + 1) & self.mask;
            }
            self.index[at] = number;
            number = next;
        }
    }

    /// Forgets all fills of the chain.
    pub(crate) fn forget(&mut self, chain: Chain) {
        let mut head = chain.head;
        while head != NIL {
            let Entry { order, trade_id, next } = self.entries[head as usize];
            if chain.len > CHAIN_MAX
                && let Some(at) = self.find(order, trade_id)
            {
                self.remove_index(at);
            }
            self.entries[head as usize] = Entry { order: OrderId::NONE, trade_id: 0, next: self.free };
            self.free = head;
            self.used -= 1;
            head = next;
        }
    }

    #[inline]
    fn find(&self, order: OrderId, trade_id: u64) -> Option<usize> {
        let mut at = mix(order, trade_id) as usize & self.mask;
        loop {
            let number = self.index[at];
            if number == NIL {
                return None;
            }
            let entry = &self.entries[number as usize];
            if entry.order == order && entry.trade_id == trade_id {
                return Some(at);
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Empties a place and moves later entries of the run back (no tombstones, so probes stay short for ever).
    fn remove_index(&mut self, mut hole: usize) {
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask;
            let number = self.index[at];
            if number == NIL {
                break;
            }
            let entry = &self.entries[number as usize];
            let home = mix(entry.order, entry.trade_id) as usize & self.mask;
            if (at.wrapping_sub(home) & self.mask) >= (at.wrapping_sub(hole) & self.mask) {
                self.index[hole] = number;
                hole = at;
            }
        }
        self.index[hole] = NIL;
    }

    /// How many fills are remembered.
    pub fn len(&self) -> usize {
        self.used
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, HashSet};

    #[test]
    fn full_memory_says_so_and_forgetting_makes_room() {
        let mut memory = FillMemory::new(2);
        let (mut a, mut b) = (Chain::EMPTY, Chain::EMPTY);
        assert!(memory.insert(OrderId(1), 10, &mut a));
        assert!(memory.insert(OrderId(2), 10, &mut b));
        assert!(!memory.insert(OrderId(1), 11, &mut a));
        assert_eq!(a.len(), 1, "what was not remembered is not counted");
        assert!(memory.contains(OrderId(1), 10, a) && !memory.contains(OrderId(1), 11, a));
        memory.forget(b);
        assert!(memory.insert(OrderId(1), 11, &mut a));
        assert_eq!(memory.room(), 0);
    }

    proptest! {
        #[test]
        fn behaves_like_a_set_per_order(steps in proptest::collection::vec((0u64..4, 0u64..24, 0u8..20), 0..600)) {
            let mut memory = FillMemory::new(48);
            let mut chains: BTreeMap<u64, Chain> = BTreeMap::new();
            let mut model: BTreeMap<u64, HashSet<u64>> = BTreeMap::new();
            for (order, trade, action) in steps {
                let chain = chains.entry(order).or_insert(Chain::EMPTY);
                let set = model.entry(order).or_default();
                if action == 0 {
                    memory.forget(*chain);
                    *chain = Chain::EMPTY;
                    set.clear();
                } else if !memory.contains(OrderId(order), trade, *chain) {
                    prop_assert!(!set.contains(&trade));
                    if memory.insert(OrderId(order), trade, chain) {
                        set.insert(trade);
                    }
                }
                let total: usize = model.values().map(HashSet::len).sum();
                prop_assert_eq!(memory.len(), total);
                let indexed: usize = model.values().map(HashSet::len).filter(|&len| len > CHAIN_MAX as usize).sum();
                prop_assert_eq!(memory.index.iter().filter(|&&at| at != NIL).count(), indexed);
                for (o, set) in &model {
                    prop_assert_eq!(chains[o].len(), set.len());
                    for t in 0..24 {
                        prop_assert_eq!(memory.contains(OrderId(*o), t, chains[o]), set.contains(&t));
                    }
                }
            }
        }
    }
}
