//! Fills: money moved, so they are booked whatever the order's state.
//!
//! Nearly all fills are of orders that rest, with nothing on its way, and are known to be new. What they change is written straight
//! through: position and accounts, order, exposure, and the losses are looked at. Everything else takes the way of
//! all reports ([`super::transitions`]), with the same result.

use super::Core;
use super::counters::count;
use super::desk::{Desk, Notice};
use super::reports::closing_event;
use crate::event::{Anomaly, Event, EventKind, HaltReason, flags};
use crate::fixed::{Money, Qty};
use crate::ids::{AssetId, OrderId, StrategyId};
use crate::order::entry::Reserved;
use crate::order::{OrderEvent, OrderState, Slot};
use crate::risk::exposure::Place;
use crate::risk::exposure::bound::bind;
use crate::strategy::{Context, Fill, OrderUpdate};

impl Core {
    /// Takes a fill of one of our orders.
    #[inline(never)]
    pub(super) fn on_fill(&mut self, event: &Event) {
        let Core { desk, strategies, .. } = self;
        // Before anything that waits in the notices.
        desk.take_fill(event, |desk, id, fill, update| {
            let (strategy, mut ctx) = (&mut *strategies[id.index()], Context::new(desk, id));
            strategy.on_fill(&mut ctx, fill);
            if let Some(update) = update {
                strategy.on_order(&mut ctx, update);
            }
        });
        if !self.desk.notices.is_empty() {
            self.give_notices();
        }
        self.desk.keep_ready(false);
    }
}

impl Desk {
    /// Takes a fill; has the strategy of an order that rested told of it, and what became of its order if its state changed.
    #[inline(always)]
    fn take_fill(&mut self, event: &Event, tell: impl FnOnce(&mut Desk, StrategyId, &Fill, Option<&OrderUpdate>)) {
        match self.orders.find(event.order_id()) {
            Some(slot) if self.orders.get(slot).venue == event.venue_id() => self.on_fill(slot, event, tell),
            _ => self.on_stranger(EventKind::OrderFill, event),
        }
        // It was the fee of this, or of nothing.
        self.pending_fee = None;
    }

    #[inline(always)]
    fn on_fill(&mut self, slot: Slot, event: &Event, tell: impl FnOnce(&mut Desk, StrategyId, &Fill, Option<&OrderUpdate>)) {
        let (price, qty, trade_id) = (event.order_price(), event.order_qty(), event.d);
        let order = self.orders.get(slot);
        let (id, strategy, instrument_id, side) = (order.id, order.strategy, order.instrument, order.side);
        if self.orders.knows_fill(slot, trade_id) {
            return self.on_repeated_fill(id, event);
        }
        if event.instrument_id() != instrument_id || event.side == side.opposite() as u8 {
            return self.not_booked(slot, Anomaly::ImpossibleTransition, event);
        }
        let Some(instrument) = self.instruments.get(instrument_id) else { return };
        let Ok(booked) = self.positions.on_fill(Some(strategy), instrument_id, instrument, side, price, qty) else {
            return self.not_booked(slot, Anomaly::OutOfBounds, event);
        };
        let maker = event.has(flags::MAKER);
        let mut fill = Fill { order: id, instrument: instrument_id, side, price, qty, trade_id, fee: None, maker };
        if self.pending_fee.is_some() {
            fill.fee = self.pay_fee(slot, event);
        }
        if !self.orders.remember_fill(slot, trade_id) {
            self.gate.suspend(instrument_id);
        }
        count(&mut self.counters.fills);
        let order = self.orders.get(slot);
        let filled = Qty(order.filled.0.checked_add(qty.0).unwrap_or(i64::MAX));
        let rested = order.state.is_working() && order.closing.is_none() && order.pending.is_none() && filled <= order.qty;
        let fill_of = (qty, booked.notional);
        let update = if !rested {
            self.fill_any(slot, event, filled, fill_of, &fill);
            None
        } else if filled == order.qty {
            Some(self.complete(slot, fill_of))
        } else {
            self.fill_part(slot, filled, fill_of)
        };
        let news = !event.has(flags::SNAPSHOT) && !event.has(flags::COLD);
        if news && self.gate.record_fill(event.venue_id(), self.now_ns) {
            self.halt(HaltReason::FillBurst);
        }
        self.check_losses_of(strategy);
        if rested {
            tell(self, strategy, &fill, update.as_ref());
        }
    }

    #[cold]
    fn on_repeated_fill(&mut self, id: OrderId, event: &Event) {
        self.counters.repeated_fills += 1;
        if !event.has(flags::SNAPSHOT) {
            self.anomaly(Anomaly::DuplicateFill, event, id.0);
        }
    }

    /// It cannot be booked, so our record is wrong from here on.
    #[cold]
    fn not_booked(&mut self, slot: Slot, anomaly: Anomaly, event: &Event) {
        let (id, instrument) = (self.orders.get(slot).id, self.orders.get(slot).instrument);
        self.anomaly(anomaly, event, id.0);
        self.gate.suspend(instrument);
    }

    /// Books the fee that came with a fill, if it is this one's.
    #[inline(never)]
    fn pay_fee(&mut self, slot: Slot, event: &Event) -> Option<(AssetId, Money)> {
        let (id, strategy) = (self.orders.get(slot).id, self.orders.get(slot).strategy);
        let fee = self.pending_fee.filter(|f| f.order == id && f.trade_id == event.d && f.venue == event.venue_id())?;
        if self.positions.on_fee(Some(strategy), fee.venue, fee.asset, fee.amount).is_err() {
            self.anomaly(Anomaly::OutOfBounds, event, id.0);
        }
        Some((fee.asset, fee.amount))
    }

    /// The order's part of a booked fill, where one that rests with nothing on its way is filled whole: as [`Desk::report_by`] with
    /// [`OrderEvent::FullFill`]. Returns what its strategy is to be told.
    #[inline(always)]
    fn complete(&mut self, slot: Slot, fill: (Qty, Money)) -> OrderUpdate {
        let order = self.orders.get(slot);
        debug_assert_eq!(super::transitions::resolve(order, OrderEvent::FullFill), (OrderState::Filled, false));
        debug_assert!(order.acked, "what rests was acknowledged");
        let (from, to, before) = (order.state, OrderState::Filled, order.reserved);
        let place = Place { strategy: order.strategy, instrument: order.instrument, venue: order.venue, side: order.side };
        let update = OrderUpdate::of(order, from, to, order.qty, None);
        let output = self.order_output(EventKind::OrderTransition, order);
        self.push(Event { b: from as u64, c: to as u64, d: update.filled.0 as u64, ..output });
        self.orders.complete(slot, self.now_ns);
        let mark = self.positions.mark(place.instrument).unwrap_or_default();
        self.gate.exposure.fill_rest(place, before, fill, mark);
        if let Some(gate) = self.gate.venue_mut(place.venue) {
            gate.open = gate.open.saturating_sub(1);
        }
        count(&mut self.counters.filled);
        update
    }

    /// The same where something is left: as with [`OrderEvent::PartFill`].
    #[inline(never)]
    fn fill_part(&mut self, slot: Slot, filled: Qty, fill: (Qty, Money)) -> Option<OrderUpdate> {
        let order = self.orders.get(slot);
        debug_assert_eq!(super::transitions::resolve(order, OrderEvent::PartFill), (OrderState::PartiallyFilled, false));
        debug_assert!(order.acked, "what rests was acknowledged");
        let (from, to, before) = (order.state, OrderState::PartiallyFilled, order.reserved);
        let place = Place { strategy: order.strategy, instrument: order.instrument, venue: order.venue, side: order.side };
        let instrument = self.instruments.get(order.instrument)?;
        let after = bind(instrument, order.side, order.price, Qty(order.qty.0 - filled.0), order.post_only);
        let update = OrderUpdate::of(order, from, to, filled, None);
        let output = self.order_output(EventKind::OrderTransition, order);
        self.push(Event { b: from as u64, c: to as u64, d: filled.0 as u64, ..output });
        self.orders.fill_part(slot, filled, after);
        let mark = self.positions.mark(place.instrument).unwrap_or_default();
        let freed = Reserved { qty: before.qty - after.qty, hold: before.hold - after.hold, notional: before.notional - after.notional };
        self.gate.exposure.fill_rest(place, freed, fill, mark);
        (from != to).then_some(update)
    }

    /// The same of any other order.
    #[inline(never)]
    fn fill_any(&mut self, slot: Slot, event: &Event, filled: Qty, fill: (Qty, Money), told: &Fill) {
        self.notify(Notice::Fill(self.orders.get(slot).strategy, *told));
        let order = self.orders.get(slot);
        let total = order.qty_worst();
        if filled > total {
            let id = order.id;
            self.anomaly(Anomaly::Overfill, event, id.0);
        }
        let happened = match self.orders.get(slot).closing {
            _ if filled >= total => OrderEvent::FullFill,
            Some(closing) if filled >= closing.filled => closing_event(closing.state),
            Some(_) => OrderEvent::Owing,
            None => OrderEvent::PartFill,
        };
        self.report_by(slot, happened, Some(fill), None, event, |order| {
            order.filled = filled;
            order.acked = true;
        });
    }
}
