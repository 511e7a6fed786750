//! The memory of fills: a trade is booked once, however often it is reported.
//!
//! Venues repeat fills (stream and REST, before and after a reconnect). Each booked fill is remembered by
//! (order, trade id) for as long as its order is in the table; an order belongs to one instrument, so this
//! is unique per instrument too. Entries live in a preallocated pool, are found by open addressing and
//! are chained per order, so that recycling an order's slot frees exactly its entries.

use crate::ids::OrderId;

/// No entry.
pub(crate) const NIL: u32 = u32::MAX;

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
    pub fn contains(&self, order: OrderId, trade_id: u64) -> bool {
        self.find(order, trade_id).is_some()
    }

    /// How many more fills can be remembered.
    #[inline]
    pub fn room(&self) -> usize {
        self.entries.len() - self.used
    }

    /// Remembers a fill at the front of its order's chain `head`. False if there is no room; then nothing changed.
    #[inline]
    pub(crate) fn insert(&mut self, order: OrderId, trade_id: u64, head: &mut u32) -> bool {
        if self.free == NIL {
            return false;
        }
        let number = self.free;
        let entry = &mut self.entries[number as usize];
        self.free = entry.next;
        *entry = Entry { order, trade_id, next: *head };
        *head = number;
        self.used += 1;
        let mut at = mix(order, trade_id) as usize & self.mask;
        while self.index[at] != NIL {
            at = (at + 1) & self.mask;
        }
        self.index[at] = number;
        true
    }

    /// Forgets all fills of the chain.
    pub(crate) fn forget(&mut self, mut head: u32) {
        while head != NIL {
            let Entry { order, trade_id, next } = self.entries[head as usize];
            if let Some(at) = self.find(order, trade_id) {
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
        let (mut a, mut b) = (NIL, NIL);
        assert!(memory.insert(OrderId(1), 10, &mut a));
        assert!(memory.insert(OrderId(2), 10, &mut b));
        assert!(!memory.insert(OrderId(1), 11, &mut a));
        assert!(memory.contains(OrderId(1), 10) && !memory.contains(OrderId(1), 11));
        memory.forget(b);
        assert!(!memory.contains(OrderId(2), 10));
        assert!(memory.insert(OrderId(1), 11, &mut a));
        assert_eq!(memory.room(), 0);
    }

    proptest! {
        #[test]
        fn behaves_like_a_set_per_order(steps in proptest::collection::vec((0u64..6, 0u64..12, any::<bool>()), 0..400)) {
            let mut memory = FillMemory::new(24);
            let mut heads: BTreeMap<u64, u32> = BTreeMap::new();
            let mut model: BTreeMap<u64, HashSet<u64>> = BTreeMap::new();
            for (order, trade, forget) in steps {
                let head = heads.entry(order).or_insert(NIL);
                let set = model.entry(order).or_default();
                if forget && trade == 0 {
                    memory.forget(*head);
                    *head = NIL;
                    set.clear();
                } else if !memory.contains(OrderId(order), trade) {
                    prop_assert!(!set.contains(&trade));
                    if memory.insert(OrderId(order), trade, head) {
                        set.insert(trade);
                    }
                }
                let total: usize = model.values().map(HashSet::len).sum();
                prop_assert_eq!(memory.len(), total);
                for (o, set) in &model {
                    for t in 0..12 {
                        prop_assert_eq!(memory.contains(OrderId(*o), t), set.contains(&t));
                    }
                }
            }
        }
    }
}
