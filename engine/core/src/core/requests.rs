//! What strategies ask for: place, replace, cancel. Each passes the gate before it becomes an output.

use super::counters::count;
use super::desk::{Desk, Session};
use crate::event::{Event, EventKind, FeedState, Side, flags};
use crate::fixed::{Money, Price, Qty};
use crate::ids::{InstrumentId, OrderId, StrategyId, VenueId};
use crate::order::entry::Reserved;
use crate::order::table::Vacancy;
use crate::order::{Order, OrderEvent, OrderState, Slot};
use crate::risk::exposure::Place;
use crate::risk::gate::Passed;
use crate::risk::{Refusal, Request, View};
use crate::strategy::NewOrder;

/// Outputs of one request: the command and the transition.
const OUTPUTS: u32 = 2;

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
        let request = request(strategy, order);
        self.gate.check(&request, &self.view(&request)?).map(|_| ())
    }

    /// What the checks of a request look at.
    #[inline]
    fn view(&self, request: &Request<'_>) -> Result<View<'_>, Refusal> {
        let at = request.instrument.index();
        let (instrument, market) = self.instruments.get(request.instrument).zip(self.markets.get(at)).ok_or(Refusal::UnknownInstrument)?;
        Ok(View { now_ns: self.now_ns, instrument, book: &market.book, orders: &self.orders, positions: &self.positions })
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
        if self.asks_ahead {
            self.gate.prefetch(request.strategy, request.instrument);
            self.orders.prefetch(request.instrument);
        }
        let id = OrderId::new(session.epoch, session.next_sequence);
        let vacancy = self.orders.vacancy(id);
        match self.gate.pass(request, &self.view(request)?) {
            Some(passed) => self.send_new(session, request, &passed, vacancy),
            None => self.place_each(session, request),
        }
    }

    /// Two new orders of a strategy. See [`crate::strategy::Context::place_both`].
    pub fn place_both(&mut self, strategy: StrategyId, first: NewOrder, second: NewOrder) -> bool {
        let Some(session) = self.session else { return false };
        let (first, ahead) = (request(strategy, first), request(strategy, second));
        let passed = self.view(&first).and_then(|view| self.gate.check(&first, &view));
        let Ok(passed) = passed else { return false };
        let passed_ahead = self.view(&ahead).and_then(|view| self.gate.check(&ahead, &view));
        let Ok(passed_ahead) = passed_ahead else { return false };
        let vacancy = self.orders.vacancy(OrderId::new(session.epoch, session.next_sequence));
        match self.send_another(session, &first, &passed, vacancy) {
            Ok(_) => self.place_after(&first, &ahead, &passed_ahead),
            Err(refusal) => self.refuse(&first, OrderId::NONE, refusal),
        }
        true
    }

    /// The second of two orders, which passed all checks before the first was sent. Risk looks at it again, with what the first
    /// one binds.
    #[inline(always)]
    fn place_after(&mut self, first: &Request<'_>, second: &Request<'_>, passed: &Passed) {
        let Some(session) = self.session else { return };
        let apart = first.instrument != second.instrument;
        let again = apart && self.view(second).is_ok_and(|view| self.gate.passes_again(second, passed, &view));
        let sent = if again {
            let vacancy = self.orders.vacancy(OrderId::new(session.epoch, session.next_sequence));
            self.send_another(session, second, passed, vacancy)
        } else {
            self.place_each(session, second)
        };
        if let Err(refusal) = sent {
            self.refuse(second, OrderId::NONE, refusal);
        }
    }

    /// As [`Desk::try_place`], for what does not pass all checks at once.
    #[cold]
    #[inline(never)]
    fn place_each(&mut self, session: Session, request: &Request<'_>) -> Result<OrderId, Refusal> {
        let passed = self.gate.check_each(request, &self.view(request)?)?;
        let id = OrderId::new(session.epoch, session.next_sequence);
        self.send_another(session, request, &passed, self.orders.vacancy(id))
    }

    /// As [`Desk::send_new`], off the path of a lone order that passes at once.
    #[inline(never)]
    fn send_another(
        &mut self,
        session: Session,
        request: &Request<'_>,
        passed: &Passed,
        vacancy: Option<Vacancy>,
    ) -> Result<OrderId, Refusal> {
        self.send_new(session, request, passed, vacancy)
    }

    /// Sends a new order that has passed all checks.
    #[inline(always)]
    fn send_new(&mut self, session: Session, request: &Request<'_>, passed: &Passed, vacancy: Option<Vacancy>) -> Result<OrderId, Refusal> {
        let Request { strategy, instrument, side, price, qty, post_only, ioc, .. } = *request;
        let (venue, reserved) = (self.gate.venue_of(instrument).ok_or(Refusal::UnknownInstrument)?, passed.reserved);
        if session.next_sequence == u32::MAX {
            return Err(Refusal::IdsExhausted);
        }
        if !self.take_strategy_outputs(OUTPUTS) {
            return Err(Refusal::OutputFull);
        }
        let id = OrderId::new(session.epoch, session.next_sequence);
        // What `change` would make of a new order with `OrderEvent::Send`, without the way there.
        let mut order = Order::new(id, strategy, instrument, venue, side, price, qty, self.now_ns);
        (order.state, order.post_only, order.ioc, order.reserved) = (OrderState::Pending, post_only, ioc, reserved);
        let Some(vacancy) = vacancy else { return Err(Refusal::TableFull) };
        if self.orders.insert_at(vacancy, order).is_none() {
            return Err(Refusal::TableFull);
        }
        if let Some(session) = &mut self.session {
            session.next_sequence += 1;
        }
        self.gate.record(request, venue, self.now_ns);
        self.gate.exposure.bind_new(Place { strategy, instrument, venue, side }, reserved, passed.values);
        count(&mut self.counters.submitted);
        let mode = (if post_only { flags::POST_ONLY } else { 0 }) | (if ioc { flags::IOC } else { 0 });
        let about = |kind: EventKind| Event {
            side: side as u8,
            asset: u16::from(strategy.0),
            ..Event::order_report(kind, venue, instrument, id, self.times())
        };
        let command = Event { flags: mode, b: price.0 as u64, c: qty.0 as u64, ..about(EventKind::SendNew) };
        let (from, to) = (OrderState::New as u64, OrderState::Pending as u64);
        let transition = Event { b: from, c: to, ..about(EventKind::OrderTransition) };
        self.push(command);
        self.push(transition);
        Ok(id)
    }

    /// A replace of a strategy's order, in place.
    pub fn replace(&mut self, strategy: StrategyId, order: OrderId, price: Price, qty: Qty) -> Result<(), Refusal> {
        self.replace_in(self.orders.find(order), strategy, order, price, qty)
    }

    /// As [`Desk::replace`], of an order that is likely to be the best of ours on its side.
    pub fn replace_near_best(
        &mut self,
        strategy: StrategyId,
        order: OrderId,
        (instrument, side): (InstrumentId, Side),
        price: Price,
        qty: Qty,
    ) -> Result<(), Refusal> {
        self.replace_in(self.orders.find_near_best(order, instrument, side), strategy, order, price, qty)
    }

    #[inline]
    fn replace_in(&mut self, slot: Option<Slot>, strategy: StrategyId, order: OrderId, price: Price, qty: Qty) -> Result<(), Refusal> {
        let Some(slot) = slot.filter(|&slot| self.orders.get(slot).strategy == strategy) else {
            return Err(self.refuse_unknown(strategy, order));
        };
        self.try_replace(slot, price, qty).inspect_err(|&refusal| self.refuse_change(slot, Some((price, qty)), refusal))
    }

    #[inline(always)]
    fn try_replace(&mut self, slot: Slot, price: Price, qty: Qty) -> Result<(), Refusal> {
        if self.session.is_none() {
            return Err(Refusal::NoSession);
        }
        if !self.has_strategy_outputs(OUTPUTS) {
            return Err(Refusal::OutputFull);
        }
        let old = self.orders.get(slot);
        let instrument = self.instruments.get(old.instrument).ok_or(Refusal::UnknownInstrument)?;
        if !old.state.is_working() {
            return Err(Refusal::WrongState);
        }
        if price == old.price && qty == old.qty {
            return Err(Refusal::NoChange);
        }
        if qty <= old.filled {
            return Err(Refusal::BelowFilled);
        }
        let only_reduces = price == old.price && qty < old.qty;
        let can = instrument.capabilities;
        let allowed = can.replace || (can.reduce && only_reduces);
        if !allowed {
            return Err(Refusal::ReplaceUnsupported);
        }
        let request = Request { price, qty, replaces: Some(old), ..request_of(old) };
        let view = View {
            now_ns: self.now_ns,
            instrument,
            book: &self.markets[request.instrument.index()].book,
            orders: &self.orders,
            positions: &self.positions,
        };
        let passed = self.gate.check(&request, &view)?;
        let venue = old.venue;
        self.gate.record(&request, venue, self.now_ns);
        // There is room: see above.
        self.take_strategy_outputs(OUTPUTS);
        count(&mut self.counters.replaces);
        self.send_replace(slot, (price, qty), &passed);
        Ok(())
    }

    /// Sends a replace that has passed all checks.
    #[inline(always)]
    fn send_replace(&mut self, slot: Slot, pending: (Price, Qty), passed: &Passed) {
        let order = self.orders.get(slot);
        let Order { strategy, instrument, venue, side, reserved: before, .. } = *order;
        let (price, qty) = pending;
        let command =
            Event { b: price.0 as u64, c: qty.0 as u64, d: order.qty.0 as u64, ..self.order_output(EventKind::SendReplace, order) };
        let (from, filled) = (order.state as u64, order.filled.0 as u64);
        let alone = order.pending.is_none() & order.closing.is_none();
        // It binds the worst of both, which is what risk has looked at.
        let (after, raises) = (passed.reserved, ((price.0 - order.price.0) * side.sign() > 0) | (qty > order.qty));
        let foretold = (after.qty >= before.qty) & (self.positions.mark(instrument) == Some(passed.reference));
        if !alone | (raises & !foretold) {
            return self.send_any_replace(slot, pending, command);
        }
        // What `change` would make of it, without the way there.
        self.orders.ask_replace(slot, pending, raises.then_some(after), self.now_ns);
        if raises {
            let [hold, notional] = [after.hold.0 - before.hold.0, after.notional.0 - before.notional.0].map(Money);
            let more = Reserved { qty: Qty(after.qty.0 - before.qty.0), hold, notional };
            self.gate.exposure.bind_more(Place { strategy, instrument, venue, side }, more, passed.values);
        }
        self.push(command);
        let to = OrderState::PendingReplace as u64;
        self.push(Event { kind: EventKind::OrderTransition as u8, b: from, c: to, d: filled, ..command });
    }

    /// As [`Desk::send_replace`], whatever the order waits for.
    #[cold]
    #[inline(never)]
    fn send_any_replace(&mut self, slot: Slot, pending: (Price, Qty), command: Event) {
        self.push(command);
        self.change(slot, OrderEvent::ReplaceAsked, |order| order.pending = Some(pending));
    }

    /// A cancel of a strategy's order.
    pub fn cancel(&mut self, strategy: StrategyId, order: OrderId) -> Result<(), Refusal> {
        self.cancel_in(self.orders.find(order), strategy, order)
    }

    /// As [`Desk::cancel`], of an order that is likely to be the best of ours on its side.
    pub fn cancel_near_best(
        &mut self,
        strategy: StrategyId,
        order: OrderId,
        (instrument, side): (InstrumentId, Side),
    ) -> Result<(), Refusal> {
        self.cancel_in(self.orders.find_near_best(order, instrument, side), strategy, order)
    }

    #[inline]
    fn cancel_in(&mut self, slot: Option<Slot>, strategy: StrategyId, order: OrderId) -> Result<(), Refusal> {
        let Some(slot) = slot.filter(|&slot| self.orders.get(slot).strategy == strategy) else {
            return Err(self.refuse_unknown(strategy, order));
        };
        self.try_cancel(slot).map(|_| ()).inspect_err(|&refusal| self.refuse_change(slot, None, refusal))
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
    #[inline]
    pub(super) fn send_cancel(&mut self, slot: Slot) {
        count(&mut self.counters.cancels);
        let order = self.orders.get(slot);
        let (from, filled) = (order.state, order.filled);
        let command = self.order_output(EventKind::SendCancel, order);
        if !from.is_working() {
            return self.send_any_cancel(slot, command);
        }
        // What `change` would make of it, without the way there.
        self.orders.ask_cancel(slot, self.now_ns);
        self.push(command);
        let (from, to) = (from as u64, OrderState::PendingCancel as u64);
        self.push(Event { kind: EventKind::OrderTransition as u8, b: from, c: to, d: filled.0 as u64, ..command });
    }

    /// As [`Desk::send_cancel`], whatever the order waits for.
    #[cold]
    #[inline(never)]
    fn send_any_cancel(&mut self, slot: Slot, command: Event) {
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

    /// Refuses what was asked about an order: a price and quantity, or its cancel.
    #[cold]
    fn refuse_change(&mut self, slot: Slot, asked: Option<(Price, Qty)>, refusal: Refusal) {
        let order = self.orders.get(slot);
        let (price, qty) = asked.unwrap_or((order.price, order.qty));
        let (request, id) = (Request { price, qty, replaces: None, ..request_of(order) }, order.id);
        self.refuse(&request, id, refusal);
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
    fn refuse_unknown(&mut self, strategy: StrategyId, order: OrderId) -> Refusal {
        self.counters.refusals[Refusal::UnknownOrder.index()] += 1;
        if self.take_strategy_outputs(1) {
            let event = Event::order_report(EventKind::RiskRefusal, VenueId(0), InstrumentId(0), order, self.times());
            self.push(Event { asset: u16::from(strategy.0), code: Refusal::UnknownOrder as u32, ..event });
        }
        Refusal::UnknownOrder
    }
}
