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

/// Threads a node into or out of a list through one of its link fields. [`NIL`] is no place of `nodes`: one look tells both
/// whether there is a neighbour and that it is in range.
macro_rules! list_ops {
    ($append:ident, $remove:ident, $field:ident) => {
        /// Makes `slot` the tail; returns its links, which are for the caller to write.
        #[inline]
        pub(super) fn $append(nodes: &mut [Node], list: &mut List, slot: u32) -> Links {
            let prev = std::mem::replace(&mut list.tail, slot);
            match nodes.get_mut(prev as usize) {
                Some(before) => before.$field.next = slot,
                None => list.head = slot,
            }
            // No list is longer than there are nodes.
            list.len = list.len.wrapping_add(1);
            Links { prev, next: NIL }
        }

        /// Takes a node out that is on the list. Its own links stay as they were.
        #[inline]
        pub(super) fn $remove(nodes: &mut [Node], list: &mut List, links: Links) {
            let Links { prev, next } = links;
            match nodes.get_mut(prev as usize) {
                Some(before) => before.$field.next = next,
                None => list.head = next,
            }
            match nodes.get_mut(next as usize) {
                Some(after) => after.$field.prev = prev,
                None => list.tail = prev,
            }
            list.len = list.len.wrapping_sub(1);
        }
    };
}

list_ops!(wait_append, wait_remove, wait);
list_ops!(own_append, own_remove, own);
list_ops!(ladder_append, ladder_remove, ladder);

/// Makes room for `slot` before `at` ([`NIL`]: at the tail); returns its links, which are for the caller to write.
#[inline]
pub(super) fn ladder_insert(nodes: &mut [Node], list: &mut List, at: u32, slot: u32) -> Links {
    let Some(after) = nodes.get_mut(at as usize) else { return ladder_append(nodes, list, slot) };
    let prev = std::mem::replace(&mut after.ladder.prev, slot);
    match nodes.get_mut(prev as usize) {
        Some(before) => before.ladder.next = slot,
        None => list.head = slot,
    }
    list.len = list.len.wrapping_add(1);
    Links { prev, next: at }
}

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
