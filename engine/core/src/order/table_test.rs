//! The order table against a naive model.

use super::OrderState;
use super::entry::{Order, Reserved};
use super::table::OrderTable;
use crate::event::Side;
use crate::fixed::{Price, Qty};
use crate::ids::{InstrumentId, OrderId, StrategyId, VenueId};
use crate::state_hash::StateHasher;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};

fn order(sequence: u32, side: Side, price: i64, now_ns: u64) -> Order {
    let id = OrderId::new(1, sequence);
    Order::new(id, StrategyId((sequence % 2) as u8), InstrumentId(0), VenueId(0), side, Price(price), Qty(10), now_ns)
}

fn close(table: &mut OrderTable, id: OrderId, now_ns: u64) {
    let slot = table.find(id).unwrap();
    table.update(slot, now_ns, |o| {
        o.state = OrderState::Canceled;
        o.reserved = Reserved::default();
    });
}

fn hash(table: &OrderTable) -> u64 {
    let mut hasher = StateHasher::new();
    table.hash_state(&mut hasher);
    hasher.finish()
}

#[test]
fn slots_of_the_longest_closed_are_used_again_and_open_ones_never() {
    let mut table = OrderTable::new(3, 8, 2, 1);
    for sequence in 1..=3 {
        assert!(table.insert(order(sequence, Side::Buy, 100, 1)).is_some());
    }
    assert!(!table.has_room() && table.insert(order(4, Side::Buy, 100, 1)).is_none());
    close(&mut table, OrderId::new(1, 2), 5);
    close(&mut table, OrderId::new(1, 1), 6);
    assert!(table.insert(order(3, Side::Buy, 100, 7)).is_none(), "ids are used once");
    assert!(table.insert(order(4, Side::Buy, 100, 7)).is_some());
    assert!(table.find(OrderId::new(1, 2)).is_none(), "closed first, forgotten first");
    assert!(table.find(OrderId::new(1, 1)).is_some());
    table.check();
}

#[test]
fn the_most_aggressive_order_is_the_head_with_replaces_on_their_way_counted() {
    let mut table = OrderTable::new(8, 8, 2, 1);
    for (sequence, price) in [(1, 100), (2, 102), (3, 101)] {
        table.insert(order(sequence, Side::Buy, price, 1));
        table.insert(order(sequence + 10, Side::Sell, price + 10, 1));
    }
    let best = |table: &OrderTable, side| table.most_aggressive(InstrumentId(0), side).unwrap().id.sequence();
    assert_eq!((best(&table, Side::Buy), best(&table, Side::Sell)), (2, 11));
    let slot = table.find(OrderId::new(1, 1)).unwrap();
    table.update(slot, 2, |o| o.pending = Some((Price(105), Qty(10))));
    assert_eq!(best(&table, Side::Buy), 1);
    table.update(slot, 3, |o| o.pending = None);
    assert_eq!(best(&table, Side::Buy), 2);
    table.check();
}

#[test]
fn a_nearly_full_memory_of_fills_forgets_closed_orders_as_a_whole() {
    let mut table = OrderTable::new(8, 4, 2, 1);
    for sequence in 1..=3 {
        table.insert(order(sequence, Side::Buy, 100, 1));
    }
    let slot = |table: &OrderTable, n| table.find(OrderId::new(1, n)).unwrap();
    for trade in 0..2 {
        assert!(table.remember_fill(slot(&table, 1), trade));
    }
    assert!(!table.fills_nearly_full());
    assert!(table.remember_fill(slot(&table, 2), 7));
    assert!(table.fills_nearly_full(), "three of four, all of open orders");
    close(&mut table, OrderId::new(1, 1), 2);
    assert!(!table.fills_nearly_full());
    assert!(table.remember_fill(slot(&table, 2), 8));
    assert!(table.remember_fill(slot(&table, 2), 9), "room is made");
    assert!(table.find(OrderId::new(1, 1)).is_none(), "no late report may find it");
    assert!(table.knows_fill(slot(&table, 2), 7) && !table.knows_fill(slot(&table, 2), 6));
    table.check();
    // Open orders' fills are kept at any price.
    assert!(table.remember_fill(slot(&table, 3), 1));
    assert!(!table.remember_fill(slot(&table, 3), 2));
    assert!(table.insert(order(9, Side::Buy, 100, 3)).is_some(), "the slot is free");
    table.check();
}

/// Both tables hold the same, and their ladders are in the same order.
fn agree(mut one: OrderTable, mut two: OrderTable) {
    one.check();
    two.check();
    assert_eq!(hash(&one), hash(&two));
    for side in [Side::Buy, Side::Sell] {
        let head = |table: &OrderTable| table.most_aggressive(InstrumentId(0), side).map(|order| order.id);
        while let Some(id) = head(&one) {
            assert_eq!(head(&two), Some(id));
            close(&mut one, id, 100);
            close(&mut two, id, 100);
        }
        assert_eq!(head(&two), None);
    }
}

proptest! {
    #[test]
    fn a_request_that_goes_straight_leaves_what_an_update_leaves(
        placed in proptest::collection::vec((any::<bool>(), 98i64..104, any::<bool>()), 1..9),
        pick in any::<usize>(), price in 96i64..106, qty in 1i64..20, more in any::<bool>(), cancel in any::<bool>(),
    ) {
        let mut table = OrderTable::new(16, 16, 2, 1);
        for (at, &(buy, price, awaits)) in placed.iter().enumerate() {
            let side = if buy { Side::Buy } else { Side::Sell };
            let slot = table.insert(order(at as u32 + 1, side, price, 1)).unwrap();
            let partly = at % 2 == 0;
            table.update(slot, 2, |order| order.state = if partly { OrderState::PartiallyFilled } else { OrderState::Acked });
            if awaits && at != pick % placed.len() {
                table.update(slot, 3, |order| order.state = OrderState::PendingCancel);
            }
        }
        let slot = table.find(OrderId::new(1, (pick % placed.len()) as u32 + 1)).unwrap();
        let (mut straight, mut updated) = (table.clone(), table);
        let (pending, reserved) = ((Price(price), Qty(qty)), Reserved { qty: Qty(qty), ..Reserved::default() });
        if cancel {
            straight.ask_cancel(slot, 5);
            updated.update(slot, 5, |order| (order.state, order.cancel_sent_ns) = (OrderState::PendingCancel, 5));
        } else {
            straight.ask_replace(slot, pending, more.then_some(reserved), 5);
            updated.update(slot, 5, |order| {
                (order.state, order.pending) = (OrderState::PendingReplace, Some(pending));
                order.reserved = if more { reserved } else { order.reserved };
            });
        }
        prop_assert_eq!(straight.get(slot).words(), updated.get(slot).words());
        agree(straight, updated);
    }

    #[test]
    fn behaves_like_a_map_with_lists(steps in proptest::collection::vec((0u8..12, 0u32..40, 90i64..110, 0u64..6), 1..300)) {
        let mut table = OrderTable::new(16, 24, 2, 1);
        // Open orders by id, with side and price; fills of every order that the table holds.
        let mut open: BTreeMap<OrderId, (Side, i64)> = BTreeMap::new();
        let mut fills: BTreeMap<OrderId, HashSet<u64>> = BTreeMap::new();
        let (mut sequence, mut now_ns) = (0, 1);
        for (action, pick, price, trade) in steps {
            now_ns += 1;
            let id = OrderId::new(1, sequence.max(pick) - pick.min(sequence));
            match (action, table.find(id)) {
                (0..=2, _) => {
                    sequence += 1;
                    let side = if sequence % 3 == 0 { Side::Sell } else { Side::Buy };
                    let fits = open.len() < 16;
                    prop_assert_eq!(table.has_room(), fits);
                    let new = order(sequence, side, price, now_ns);
                    let id = new.id;
                    prop_assert_eq!(table.insert(new).is_some(), fits);
                    if fits {
                        open.insert(id, (side, price));
                    }
                }
                (3, Some(slot)) if open.contains_key(&id) => {
                    close(&mut table, id, now_ns);
                    open.remove(&id);
                    prop_assert!(table.get(slot).state.is_final());
                }
                (4, Some(slot)) if !open.contains_key(&id) && table.open_len() < 16 => {
                    table.update(slot, now_ns, |o| o.state = OrderState::Unknown);
                    open.insert(id, (table.get(slot).side, table.get(slot).price_worst().0));
                }
                (5, Some(slot)) if open.contains_key(&id) => {
                    table.update(slot, now_ns, |o| {
                        o.price = Price(price);
                        o.state = OrderState::PendingCancel;
                    });
                    open.get_mut(&id).unwrap().1 = price;
                }
                (6 | 7, Some(slot)) => {
                    let known = fills.get(&id).is_some_and(|f| f.contains(&trade));
                    prop_assert_eq!(table.knows_fill(slot, trade), known);
                    if !known && table.remember_fill(slot, trade) {
                        fills.entry(id).or_default().insert(trade);
                    }
                }
                (8, Some(slot)) if open.contains_key(&id) => {
                    table.update(slot, now_ns, |o| (o.state, o.pending, o.closing) = (OrderState::Acked, None, None));
                    let mut updated = table.clone();
                    updated.update(slot, now_ns, |o| (o.state, o.filled, o.reserved) = (OrderState::Filled, o.qty, Reserved::default()));
                    table.complete(slot, now_ns);
                    prop_assert_eq!(hash(&table), hash(&updated));
                    let order = table.get(slot);
                    prop_assert_eq!(order.words(), updated.get(slot).words());
                    prop_assert_eq!((order.state, order.filled, order.reserved), (OrderState::Filled, order.qty, Reserved::default()));
                    prop_assert_eq!(order.closed_ns, now_ns);
                    open.remove(&id);
                }
                (9, _) => {
                    // What closed lately is digested, here and there.
                    let before = hash(&table);
                    table.settle(trade as usize);
                    prop_assert_eq!(hash(&table), before, "when that happens makes no difference");
                }
                (10, _) => table.keep_ready(trade == 0),
                (11, Some(slot)) if open.contains_key(&id) => {
                    table.update(slot, now_ns, |o| o.state = OrderState::Acked);
                    let reserved = Reserved { qty: Qty(5), ..Reserved::default() };
                    table.fill_part(slot, Qty(5), reserved);
                    let order = table.get(slot);
                    prop_assert_eq!((order.state, order.filled, order.reserved), (OrderState::PartiallyFilled, Qty(5), reserved));
                }
                _ => {}
            }
            table.check();
            fills.retain(|&id, _| table.find(id).is_some());
            prop_assert!(open.keys().all(|&id| table.find(id).is_some()), "open orders are never forgotten");
            prop_assert_eq!(table.iter_open().map(|o| o.id).collect::<HashSet<_>>(), open.keys().copied().collect::<HashSet<_>>());
            for side in [Side::Buy, Side::Sell] {
                let want = open.values().filter(|(s, _)| *s == side).map(|(_, p)| p * side.sign()).max();
                let head = table.most_aggressive(InstrumentId(0), side).map(|o| o.price_worst().0 * side.sign());
                prop_assert_eq!(head, want);
            }
        }
    }
}
