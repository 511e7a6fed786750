//! The lists that orders are threaded on: links by slot, lists of them, and the ladders by price.

use super::fills::NIL;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Links {
    pub(super) prev: u32,
    pub(super) next: u32,
}

impl Links {
    pub(super) const NONE: Links = Links { prev: NIL, next: NIL };
}

#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) len: u32,
}

impl List {
    pub(super) const EMPTY: List = List { head: NIL, tail: NIL, len: 0 };
}

/// The places of an order on its lists.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// On the list of what is awaited.
    pub(super) wait: Links,
    /// Among the open orders of its strategy.
    pub(super) own: Links,
    /// Among the open orders of its instrument and side.
    pub(super) ladder: Links,
    /// Of the order ([`super::entry::Order`]), while it is on the ladder.
    pub(super) key: i64,
}

impl Node {
    pub(super) const NEW: Node = Node { wait: Links::NONE, own: Links::NONE, ladder: Links::NONE, key: 0 };
}

/// Threads a node into or out of a list through one of its link fields.
macro_rules! list_ops {
    ($push_before:ident, $remove:ident, $field:ident) => {
        /// Inserts before `at` ([`NIL`]: at the tail).
        #[inline]
        pub(super) fn $push_before(nodes: &mut [Node], list: &mut List, at: u32, slot: u32) {
            let prev = if at == NIL { list.tail } else { nodes[at as usize].$field.prev };
            nodes[slot as usize].$field = Links { prev, next: at };
            if prev == NIL {
                list.head = slot;
            } else {
                nodes[prev as usize].$field.next = slot;
            }
            if at == NIL {
                list.tail = slot;
            } else {
                nodes[at as usize].$field.prev = slot;
            }
            list.len += 1;
        }

        #[inline]
        pub(super) fn $remove(nodes: &mut [Node], list: &mut List, slot: u32) {
            let Links { prev, next } = nodes[slot as usize].$field;
            if prev == NIL {
                list.head = next;
            } else {
                nodes[prev as usize].$field.next = next;
            }
            if next == NIL {
                list.tail = prev;
            } else {
                nodes[next as usize].$field.prev = prev;
            }
            nodes[slot as usize].$field = Links::NONE;
            list.len -= 1;
        }
    };
}

list_ops!(wait_insert, wait_remove, wait);
list_ops!(own_insert, own_remove, own);
list_ops!(ladder_insert, ladder_remove, ladder);

/// The open orders of an instrument and side, most aggressive first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rungs {
    pub(super) list: List,
    /// Key of the first; [`NO_KEY`] if there is none.
    pub(super) best: i64,
}

/// Below all keys, and far from overflow with a price added.
pub(super) const NO_KEY: i64 = i64::MIN / 2;

impl Rungs {
    pub(super) const EMPTY: Rungs = Rungs { list: List::EMPTY, best: NO_KEY };

    #[inline]
    pub(super) fn look_again(&mut self, nodes: &[Node]) {
        self.best = nodes.get(self.list.head as usize).map_or(NO_KEY, |node| node.key);
    }
}

/// Both sides of an instrument, by [`Side::index`].
#[repr(align(64))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Ladders(pub(super) [Rungs; 2]);
