//! The one place where an order changes: state table, sums, outputs and notices move together.

use super::desk::{Desk, Notice};
use crate::event::{Anomaly, Event, EventKind, RejectReason};
use crate::fixed::{Money, Qty};
use crate::order::entry::Reserved;
use crate::order::{Next, Order, OrderEvent, OrderState, Slot, state};
use crate::risk::exposure::Place;
use crate::risk::exposure::bound::bind;
use crate::strategy::OrderUpdate;

/// The state that the table gives, and whether it is a contradiction.
#[inline(never)]
pub(super) fn resolve(order: &Order, event: OrderEvent) -> (OrderState, bool) {
    let working = || {
        if order.closing.is_some() {
            OrderState::Unknown // it is gone already; what is missing are its fills
        } else if order.filled >= order.qty {
            OrderState::Filled
        } else if order.filled.0 > 0 {
            OrderState::PartiallyFilled
        } else {
            OrderState::Acked
        }
    };
    let was_there = order.acked || order.filled.0 > 0;
    match state::next(order.state, event) {
        Next::To(state) => (state, false),
        Next::Stay => (order.state, false),
        Next::Working => (working(), false),
        Next::FirstAck if order.acked => (order.state, false),
        Next::FirstAck => (working(), false),
        Next::Resume if order.pending.is_some() => (OrderState::PendingReplace, false),
        Next::Resume if !was_there => (OrderState::Pending, false),
        Next::Resume => (working(), false),
        Next::RejectedUnlessAcked if was_there => (OrderState::Unknown, true),
        Next::RejectedUnlessAcked => (OrderState::Rejected, false),
        Next::Gone if was_there => (OrderState::Canceled, false),
        Next::Gone => (OrderState::Rejected, false),
        Next::Impossible => (order.state, true),
        Next::ImpossibleTo(state) => (state, true),
    }
}

/// True for events that show that the venue has (or had) the order.
#[inline]
const fn shows_acceptance(event: OrderEvent) -> bool {
    matches!(event, OrderEvent::Ack | OrderEvent::PartFill | OrderEvent::FullFill | OrderEvent::Replaced | OrderEvent::StatusOpen)
}

/// What changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Changed {
    pub from: OrderState,
    pub to: OrderState,
    /// The table does not allow it.
    pub contradicts: bool,
}

impl Desk {
    /// Lets an event happen to an order: first `mutate` (the values that came with it), then the state table. Keeps sums and
    /// counters, and gives the transition out if state or filled quantity changed.
    #[inline]
    pub(super) fn change(&mut self, slot: Slot, event: OrderEvent, mutate: impl FnOnce(&mut Order)) -> Changed {
        self.change_by(slot, event, None, mutate)
    }

    /// As [`Desk::change`], by a fill (quantity and notional) that was booked just now.
    #[inline]
    fn change_by(&mut self, slot: Slot, event: OrderEvent, fill: Option<(Qty, Money)>, mutate: impl FnOnce(&mut Order)) -> Changed {
        let order = self.orders.get(slot);
        let (from, before, filled, acked) = (order.state, order.reserved, order.filled, order.acked);
        let Some(instrument) = self.instruments.get(order.instrument) else {
            return Changed { from, to: from, contradicts: true };
        };
        let mut contradicts = false;
        let worst = |o: &Order| (o.price_worst(), o.qty_worst(), o.filled, o.closing, o.state.is_final());
        let bound_by = worst(order);
        self.orders.update(slot, self.now_ns, |order| {
            mutate(order);
            let (to, contradiction) = resolve(order, event);
            contradicts = contradiction;
            order.state = to;
            order.acked |= shows_acceptance(event);
            if to.is_final() {
                order.reserved = Reserved::default();
            } else if worst(order) != bound_by {
                let total = order.closing.map_or(order.qty_worst(), |c| c.filled.min(order.qty_worst()));
                let open = Qty((total.0 - order.filled.0).max(0));
                order.reserved = bind(instrument, order.side, order.price_worst(), open, order.post_only);
            }
        });
        let order = self.orders.get(slot);
        let to = order.state;
        if fill.is_some() || order.reserved != before {
            let place = Place { strategy: order.strategy, instrument: order.instrument, venue: order.venue, side: order.side };
            let mark = self.positions.mark(order.instrument).unwrap_or_default();
            match fill {
                Some(fill) => self.gate.exposure.fill(place, before, order.reserved, fill, mark),
                None => self.gate.exposure.rebind(place, before, order.reserved, mark),
            }
        }
        self.counters.acked += u64::from(order.acked && !acked);
        if from != to || order.filled != filled {
            let output = self.order_output(EventKind::OrderTransition, order);
            let filled = order.filled.0 as u64;
            self.push(Event { b: from as u64, c: to as u64, d: filled, ..output });
        }
        if from != to {
            self.count_transition(slot, from, to);
        }
        Changed { from, to, contradicts }
    }

    #[inline(always)]
    fn count_transition(&mut self, slot: Slot, from: OrderState, to: OrderState) {
        let venue = self.orders.get(slot).venue;
        if from.is_final() != to.is_final()
            && let Some(gate) = self.gate.venue_mut(venue)
        {
            gate.open = if to.is_final() { gate.open.saturating_sub(1) } else { gate.open + 1 };
        }
        match to {
            OrderState::Filled => self.counters.filled += 1,
            OrderState::Canceled => self.counters.cancelled += 1,
            OrderState::Expired => self.counters.expired += 1,
            OrderState::Rejected => self.counters.rejected += 1,
            OrderState::Unknown => self.counters.became_unknown += 1,
            _ => {}
        }
    }

    /// As [`Desk::change`], for something that the venue (or silence) brought about: the strategy is told, contradictions are
    /// reported, and an order that became unknown is asked for.
    #[inline]
    pub(super) fn report(
        &mut self,
        slot: Slot,
        event: OrderEvent,
        reason: Option<RejectReason>,
        about: &Event,
        mutate: impl FnOnce(&mut Order),
    ) -> Changed {
        self.report_by(slot, event, None, reason, about, mutate)
    }

    /// As [`Desk::report`], by a fill (quantity and notional) that was booked just now.
    #[inline]
    pub(super) fn report_by(
        &mut self,
        slot: Slot,
        event: OrderEvent,
        fill: Option<(Qty, Money)>,
        reason: Option<RejectReason>,
        about: &Event,
        mutate: impl FnOnce(&mut Order),
    ) -> Changed {
        let changed = self.change_by(slot, event, fill, mutate);
        if changed.contradicts {
            let id = self.orders.get(slot).id;
            self.anomaly(Anomaly::ImpossibleTransition, about, id.0);
        }
        if changed.from != changed.to || reason.is_some() {
            self.tell(slot, changed.from, reason);
        }
        if changed.to == OrderState::Unknown && changed.from != OrderState::Unknown {
            self.ask(slot);
        }
        changed
    }

    /// Has the order's strategy told of it.
    #[inline]
    pub(super) fn tell(&mut self, slot: Slot, previous: OrderState, reason: Option<RejectReason>) {
        let order = self.orders.get(slot);
        let update = OrderUpdate::of(order, previous, order.state, order.filled, reason);
        let strategy = order.strategy;
        self.notify(Notice::Order(strategy, update));
    }

    /// Asks the venue what became of an order.
    pub(super) fn ask(&mut self, slot: Slot) {
        self.counters.queries += 1;
        let output = self.order_output(EventKind::SendQuery, self.orders.get(slot));
        self.push(output);
        self.orders.asked(slot, self.now_ns);
    }
}
