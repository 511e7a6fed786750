//! What the journal says our orders are: the cold plane's own copy, kept from the events that pass by.
//!
//! The cold plane must not ask the hot thread for its order table, so it builds the part it needs (the
//! orders that are not final) from the same events that everybody else gets.

use super::reconcile::WorkingOrder;
use engine_core::event::{Event, EventKind, Side};
use engine_core::fixed::Qty;
use engine_core::ids::{OrderId, VenueId};
use engine_core::order::OrderState;
use std::collections::BTreeMap;

/// Working orders by id.
#[derive(Debug, Default)]
pub struct Mirror {
    orders: BTreeMap<OrderId, (VenueId, WorkingOrder)>,
}

impl Mirror {
    /// Takes note of an event of the journal, input or output.
    pub fn observe(&mut self, event: &Event) {
        match event.event_kind() {
            Some(EventKind::SendNew) => {
                let order = WorkingOrder {
                    order: event.order_id(),
                    instrument: event.instrument_id(),
                    side: event.side().unwrap_or(Side::Buy),
                    price: event.order_price(),
                    qty: event.order_qty(),
                    filled: Qty::ZERO,
                    sent_ns: event.core_time_ns,
                };
                self.orders.insert(order.order, (event.venue_id(), order));
            }
            Some(EventKind::OrderTransition) => {
                let is_final = u8::try_from(event.c).ok().and_then(OrderState::from_raw).is_some_and(OrderState::is_final);
                if is_final {
                    self.orders.remove(&event.order_id());
                } else if let Some((_, order)) = self.orders.get_mut(&event.order_id()) {
                    order.filled = Qty(event.d as i64);
                }
            }
            Some(EventKind::OrderReplaced) => {
                if let Some((_, order)) = self.orders.get_mut(&event.order_id()) {
                    order.price = event.order_price();
                    order.qty = event.order_qty();
                }
            }
            _ => {}
        }
    }

    /// The working orders of a venue, by id.
    pub fn working(&self, venue: VenueId) -> Vec<WorkingOrder> {
        self.orders.values().filter(|(v, _)| *v == venue).map(|(_, order)| *order).collect()
    }

    /// How many orders are working.
    pub fn len(&self) -> usize {
        self.orders.len()
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::event::Times;
    use engine_core::fixed::Price;
    use engine_core::ids::InstrumentId;

    const TIMES: Times = Times { core_ns: 7, poll_delay_ns: 0 };

    #[test]
    fn orders_are_kept_as_the_journal_moves_them_until_they_are_final() {
        let (venue, instrument, order) = (VenueId(1), InstrumentId(2), OrderId::new(1, 1));
        let report = |kind| Event::order_report(kind, venue, instrument, order, TIMES);
        let mut mirror = Mirror::default();
        mirror.observe(&Event { side: Side::Sell as u8, b: 100, c: 10, ..report(EventKind::SendNew) });
        let transition = |to: OrderState, filled: u64| Event { c: to as u64, d: filled, ..report(EventKind::OrderTransition) };
        mirror.observe(&transition(OrderState::PartiallyFilled, 4));
        mirror.observe(&Event::order_replaced(venue, instrument, order, Price(101), Qty(12), TIMES));
        let [ours] = mirror.working(venue)[..] else { panic!("one order works") };
        assert_eq!((ours.side, ours.price, ours.qty, ours.filled, ours.sent_ns), (Side::Sell, Price(101), Qty(12), Qty(4), 7));
        assert!(mirror.working(VenueId(0)).is_empty());
        mirror.observe(&transition(OrderState::Unknown, 4));
        assert_eq!(mirror.len(), 1, "unknown is not final");
        mirror.observe(&transition(OrderState::Canceled, 4));
        assert!(mirror.is_empty());
    }
}
