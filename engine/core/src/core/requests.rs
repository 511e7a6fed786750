//! What strategies ask for: place, replace, cancel. Each passes the gate before it becomes an output.

use super::desk::Desk;
use crate::event::{Event, EventKind, FeedState, flags};
use crate::fixed::{Price, Qty};
use crate::ids::{InstrumentId, OrderId, StrategyId, VenueId};
use crate::order::table::Reserved;
use crate::order::{Order, OrderEvent, OrderState, Slot};
use crate::risk::{Refusal, Request, View};
use crate::strategy::NewOrder;

/// Outputs of one request: the command and the transition.
const OUTPUTS: usize = 2;

#[inline]
fn request(strategy: StrategyId, order: NewOrder) -> Request<'static> {
    Request {
        strategy,
        instrument: order.instrument,
        side: order.side,
        price: order.price,
        qty: order.qty,
        post_only: order.post_only,
        ioc: order.ioc,
        replaces: None,
    }
}

/// What an order is now, as a request: for refusals of what was asked about it.
fn request_of(order: &Order) -> Request<'static> {
    Request {
        strategy: order.strategy,
        instrument: order.instrument,
        side: order.side,
        price: order.price,
        qty: order.qty,
        post_only: order.post_only,
        ioc: order.ioc,
        replaces: None,
    }
}

impl Desk {
    /// What risk would say to a new order. Nothing is sent and nothing counted.
    pub fn check(&self, strategy: StrategyId, order: NewOrder) -> Result<(), Refusal> {
        self.session.ok_or(Refusal::NoSession)?;
        self.check_new(&request(strategy, order)).map(|_| ())
    }

    #[inline]
    fn check_new(&self, request: &Request<'_>) -> Result<(Reserved, VenueId), Refusal> {
        let instrument = self.instruments.get(request.instrument).ok_or(Refusal::UnknownInstrument)?;
        let view = View {
            now_ns: self.now_ns,
            instrument,
            book: &self.markets[request.instrument.index()].book,
            orders: &self.orders,
            positions: &self.positions,
        };
        let reserved = self.gate.check(request, &view)?;
        Ok((reserved, self.gate.venue_of(request.instrument).ok_or(Refusal::UnknownInstrument)?))
    }

    /// A new order of a strategy.
    #[inline]
    pub fn place(&mut self, strategy: StrategyId, order: NewOrder) -> Result<OrderId, Refusal> {
        let request = request(strategy, order);
        self.try_place(&request).inspect_err(|&refusal| self.refuse(&request, OrderId::NONE, refusal))
    }

    #[inline]
    fn try_place(&mut self, request: &Request<'_>) -> Result<OrderId, Refusal> {
        let session = self.session.ok_or(Refusal::NoSession)?;
        let (reserved, venue) = self.check_new(request)?;
        if session.next_sequence == u32::MAX {
            return Err(Refusal::IdsExhausted);
        }
        if !self.take_strategy_outputs(OUTPUTS) {
            return Err(Refusal::OutputFull);
        }
        let id = OrderId::new(session.epoch, session.next_sequence);
        let mut order = Order::new(id, request.strategy, request.instrument, venue, request.side, request.price, request.qty, self.now_ns);
        order.post_only = request.post_only;
        order.ioc = request.ioc;
        order.reserved = reserved;
        // What `change` would make of it with `OrderEvent::Send`, without going there.
        order.state = OrderState::Pending;
        let slot = self.orders.insert(order).ok_or(Refusal::TableFull)?;
        self.session = Some(super::desk::Session { next_sequence: session.next_sequence + 1, ..session });
        self.gate.record(request, venue, self.now_ns);
        if let Some(venue) = self.gate.venue_mut(venue) {
            venue.open += 1;
        }
        self.counters.submitted += 1;
        let order = self.orders.get(slot);
        self.gate.exposure.rebind(order, Reserved::default());
        self.gate.exposure.revalue(request.strategy, request.instrument, venue, &self.positions);
        let mode = (if request.post_only { flags::POST_ONLY } else { 0 }) | (if request.ioc { flags::IOC } else { 0 });
        let output = self.order_output(EventKind::SendNew, order);
        self.push(Event { b: request.price.0 as u64, c: request.qty.0 as u64, ..output.with(mode) });
        let (from, to) = (OrderState::New as u64, OrderState::Pending as u64);
        self.push(Event { kind: EventKind::OrderTransition as u8, b: from, c: to, d: 0, ..output });
        Ok(id)
    }

    /// A replace of a strategy's order, in place.
    pub fn replace(&mut self, strategy: StrategyId, order: OrderId, price: Price, qty: Qty) -> Result<(), Refusal> {
        let Some(slot) = self.own_order(strategy, order) else {
            self.refuse_unknown(strategy, order);
            return Err(Refusal::UnknownOrder);
        };
        let request = Request { price, qty, ..request_of(self.orders.get(slot)) };
        self.try_replace(slot, &request).inspect_err(|&refusal| self.refuse(&request, order, refusal))
    }

    fn try_replace(&mut self, slot: Slot, request: &Request<'_>) -> Result<(), Refusal> {
        if self.session.is_none() {
            return Err(Refusal::NoSession);
        }
        if !self.has_strategy_outputs(OUTPUTS) {
            return Err(Refusal::OutputFull);
        }
        let old = self.orders.get(slot);
        let (venue, old_qty) = (old.venue, old.qty);
        let instrument = self.instruments.get(old.instrument).ok_or(Refusal::UnknownInstrument)?;
        if !old.state.is_working() {
            return Err(Refusal::WrongState);
        }
        if request.price == old.price && request.qty == old.qty {
            return Err(Refusal::NoChange);
        }
        if request.qty <= old.filled {
            return Err(Refusal::BelowFilled);
        }
        let only_reduces = request.price == old.price && request.qty < old.qty;
        let can = instrument.capabilities;
        let allowed = can.replace || (can.reduce && only_reduces);
        if !allowed {
            return Err(Refusal::ReplaceUnsupported);
        }
        let request = Request { replaces: Some(old), ..*request };
        let view = View {
            now_ns: self.now_ns,
            instrument,
            book: &self.markets[request.instrument.index()].book,
            orders: &self.orders,
            positions: &self.positions,
        };
        self.gate.check(&request, &view)?;
        self.gate.record(&request, venue, self.now_ns);
        let (price, qty) = (request.price, request.qty);
        self.take_strategy_outputs(OUTPUTS);
        self.counters.replaces += 1;
        let command = self.order_output(EventKind::SendReplace, self.orders.get(slot));
        self.push(Event { b: price.0 as u64, c: qty.0 as u64, d: old_qty.0 as u64, ..command });
        self.change(slot, OrderEvent::ReplaceAsked, |order| order.pending = Some((price, qty)));
        Ok(())
    }

    /// A cancel of a strategy's order.
    pub fn cancel(&mut self, strategy: StrategyId, order: OrderId) -> Result<(), Refusal> {
        let Some(slot) = self.own_order(strategy, order) else {
            self.refuse_unknown(strategy, order);
            return Err(Refusal::UnknownOrder);
        };
        self.try_cancel(slot).map(|_| ()).inspect_err(|&refusal| {
            let request = request_of(self.orders.get(slot));
            self.refuse(&request, order, refusal);
        })
    }

    /// Sends a cancel, unless one is on its way; true if it was sent.
    fn try_cancel(&mut self, slot: Slot) -> Result<bool, Refusal> {
        let order = self.orders.get(slot);
        let venue = order.venue;
        if order.state.is_final() {
            return Err(Refusal::WrongState);
        }
        let sent_lately = order.cancel_sent_ns != 0 && self.now_ns - order.cancel_sent_ns < self.config.timing.ack_timeout_ns;
        if order.state == OrderState::PendingCancel || (order.state == OrderState::Unknown && sent_lately) {
            return Ok(false);
        }
        if self.order_entry(venue) == FeedState::Down {
            return Err(Refusal::OrderEntryDown);
        }
        self.gate.check_cancel(venue, self.now_ns)?;
        if !self.take_strategy_outputs(OUTPUTS) {
            return Err(Refusal::OutputFull);
        }
        self.gate.record_cancel(venue, self.now_ns);
        self.send_cancel(slot);
        Ok(true)
    }

    /// Sends a cancel, whatever the rates say.
    pub(super) fn send_cancel(&mut self, slot: Slot) {
        self.counters.cancels += 1;
        let command = self.order_output(EventKind::SendCancel, self.orders.get(slot));
        self.push(command);
        let now_ns = self.now_ns;
        self.change(slot, OrderEvent::CancelAsked, |order| order.cancel_sent_ns = now_ns);
    }

    /// Cancels of all of a strategy's open orders in an instrument; returns how many were sent.
    pub fn cancel_instrument(&mut self, strategy: StrategyId, instrument: InstrumentId) -> u32 {
        let mut sent = 0;
        let mut at = self.orders.next_own(strategy, None);
        while let Some(slot) = at {
            // A cancel does not close the order: its place on the list stays.
            at = self.orders.next_own(strategy, Some(slot));
            if self.orders.get(slot).instrument != instrument {
                continue;
            }
            let order = self.orders.get(slot).id;
            match self.try_cancel(slot) {
                Ok(true) => sent += 1,
                Ok(false) => {}
                Err(_) => {
                    // Refused as a single cancel would be; the next would be refused too.
                    let _ = self.cancel(strategy, order);
                    break;
                }
            }
        }
        sent
    }

    #[inline]
    fn own_order(&self, strategy: StrategyId, order: OrderId) -> Option<Slot> {
        self.orders.find(order).filter(|&slot| self.orders.get(slot).strategy == strategy)
    }

    /// Counts a refusal and gives it out, if there is room.
    #[cold]
    fn refuse(&mut self, request: &Request<'_>, order: OrderId, refusal: Refusal) {
        self.counters.refusals[refusal.index()] += 1;
        if !self.take_strategy_outputs(1) {
            return;
        }
        let venue = self.instruments.get(request.instrument).map_or(VenueId(0), |i| i.venue);
        let event = Event::order_report(EventKind::RiskRefusal, venue, request.instrument, order, self.times());
        self.push(Event {
            side: request.side as u8,
            asset: u16::from(request.strategy.0),
            code: refusal as u32,
            b: request.price.0 as u64,
            c: request.qty.0 as u64,
            ..event
        });
    }

    #[cold]
    fn refuse_unknown(&mut self, strategy: StrategyId, order: OrderId) {
        self.counters.refusals[Refusal::UnknownOrder.index()] += 1;
        if self.take_strategy_outputs(1) {
            let event = Event::order_report(EventKind::RiskRefusal, VenueId(0), InstrumentId(0), order, self.times());
            self.push(Event { asset: u16::from(strategy.0), code: Refusal::UnknownOrder as u32, ..event });
        }
    }
}
