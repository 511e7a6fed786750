//! Order reports: what venues say about our orders, merged into the table. (Fills: see [`super::fills`].)
//!
//! Reports come late, twice and in any order. The rules that make them converge:
//!
//! - A fill is booked once, by (order, trade id), whatever the order's state: money moved.
//! - "Gone" counts only with all its fills: if the venue counts more filled than was booked, the order is *closing*:
//!   unknown until the missing fills arrive, and asked for.
//! - A snapshot older than what we saw since is no evidence ([`crate::config::Timing::reconcile_grace_ns`]).

use super::desk::{Desk, PendingFee};
use crate::event::{Anomaly, Event, EventKind, HaltReason, QTY_UNSTATED, RejectReason, VALUE_MAX, VenueOrderStatus, flags};
use crate::fixed::{Money, Price, Qty};
use crate::ids::{AssetId, OrderId, VenueId};
use crate::order::{Closing, Order, OrderEvent, OrderState, Slot};

impl Desk {
    /// Takes the fee of the fill that follows.
    #[inline]
    pub(super) fn on_fee(&mut self, event: &Event) {
        if usize::from(event.asset) >= self.config.assets.len() {
            self.anomaly(Anomaly::UnknownId, event, u64::from(event.asset));
            self.pending_fee = None;
            return;
        }
        self.pending_fee = Some(PendingFee {
            venue: event.venue_id(),
            order: OrderId(event.d),
            trade_id: event.a,
            asset: AssetId(event.asset),
            amount: Money::from_words(event.b, event.c),
        });
    }

    /// Takes a report about one of our orders.
    #[inline]
    pub(super) fn on_report(&mut self, kind: EventKind, event: &Event) {
        self.take_report(kind, event);
        // It was the fee of this, or of nothing.
        self.pending_fee = None;
    }

    #[inline(always)]
    fn take_report(&mut self, kind: EventKind, event: &Event) {
        let Some(slot) = self.orders.find(event.order_id()).filter(|&slot| self.orders.get(slot).venue == event.venue_id()) else {
            return self.on_stranger(kind, event);
        };
        match kind {
            EventKind::OrderAck => {
                self.report(slot, OrderEvent::Ack, None, event, |_| {});
            }
            EventKind::OrderReject => self.on_reject(slot, event),
            EventKind::OrderCanceled => self.on_gone(slot, event, OrderState::Canceled),
            EventKind::OrderExpired => self.on_gone(slot, event, OrderState::Expired),
            EventKind::CancelReject => self.on_request_refused(slot, event, OrderEvent::CancelRejected),
            EventKind::ReplaceReject => self.on_request_refused(slot, event, OrderEvent::ReplaceRejected),
            EventKind::OrderReplaced => self.on_replaced(slot, event),
            EventKind::OrderUncertain => {
                self.report(slot, OrderEvent::Uncertain, None, event, |_| {});
            }
            EventKind::OrderStatus => self.on_status(slot, event),
            _ => self.anomaly(Anomaly::UnknownKind, event, u64::from(event.kind)),
        }
    }

    /// A report about an order that is not in the table.
    #[cold]
    pub(super) fn on_stranger(&mut self, kind: EventKind, event: &Event) {
        let foreign = event.order_id() == OrderId::NONE;
        match kind {
            EventKind::OrderStatus => {
                let open = event.code == VenueOrderStatus::Open as u32;
                if open {
                    if let Some(round) = self.rounds.get_mut(event.venue_id().index()) {
                        round.open_seen += 1;
                    }
                    self.anomaly(Anomaly::ForeignOrder, event, event.a);
                    if self.config.limits.suspend_on_foreign_order {
                        self.gate.suspend(event.instrument_id());
                    }
                }
            }
            // Old fills in a snapshot: of orders that the table has forgotten, or of an earlier life of the account.
            EventKind::OrderFill if event.has(flags::SNAPSHOT) => self.counters.repeated_fills += 1,
            EventKind::OrderFill => {
                self.anomaly(if foreign { Anomaly::ForeignOrder } else { Anomaly::UnknownOrder }, event, event.a);
                if !foreign || self.config.limits.suspend_on_foreign_order {
                    self.gate.suspend(event.instrument_id());
                }
            }
            _ if event.has(flags::SNAPSHOT) => {}
            _ => self.anomaly(Anomaly::UnknownOrder, event, event.a),
        }
    }

    fn on_reject(&mut self, slot: Slot, event: &Event) {
        let reason = RejectReason::from_raw(event.code).unwrap_or(RejectReason::Other);
        if reason == RejectReason::DuplicateOrderId {
            // Somebody's order with this id is there, and ids are used once: ask what it is.
            self.report(slot, OrderEvent::Uncertain, Some(reason), event, |_| {});
        } else {
            self.report(slot, OrderEvent::Reject, Some(reason), event, |_| {});
        }
        // A post-only refusal is the market's doing; what was not sent is no word of the venue's.
        let venues_own = !matches!(reason, RejectReason::PostOnlyWouldTake | RejectReason::NotSent | RejectReason::RateLimit);
        if venues_own && self.gate.record_reject(event.venue_id(), self.now_ns) {
            self.halt(HaltReason::RejectBurst);
        }
    }

    fn on_request_refused(&mut self, slot: Slot, event: &Event, refused: OrderEvent) {
        let reason = RejectReason::from_raw(event.code).unwrap_or(RejectReason::Other);
        if reason == RejectReason::UnknownOrder {
            self.report(slot, OrderEvent::NotKnown, Some(reason), event, |_| {});
            return;
        }
        let replace = refused == OrderEvent::ReplaceRejected;
        self.report(slot, refused, Some(reason), event, |order| {
            if replace {
                order.pending = None;
            }
        });
    }

    fn on_replaced(&mut self, slot: Slot, event: &Event) {
        let (price, qty) = (event.order_price(), event.order_qty());
        // More than was ever asked for is no replace of ours: what risk has passed stays the bound.
        let order = self.orders.get(slot);
        if !(1..=VALUE_MAX).contains(&price.0) || qty.0 < 1 || (qty > order.qty_worst() && !order.state.is_final()) {
            let instrument = order.instrument;
            self.gate.suspend(instrument);
            return self.anomaly(Anomaly::OutOfBounds, event, event.a);
        }
        let changed = self.report(slot, OrderEvent::Replaced, None, event, |order| {
            if !order.state.is_final() {
                order.price = price;
                order.qty = qty;
                order.pending = None;
            }
        });
        if !changed.from.is_final() {
            self.counters.replaced += 1;
            if changed.from == changed.to && changed.from.is_working() {
                self.tell(slot, changed.from, None);
            }
        }
    }

    /// The venue says that the order is gone.
    fn on_gone(&mut self, slot: Slot, event: &Event, state: OrderState) {
        let order = self.orders.get(slot);
        let booked = order.filled;
        if event.b != QTY_UNSTATED {
            let stated = Qty(event.b as i64);
            if !(0..=VALUE_MAX).contains(&stated.0) {
                return self.anomaly(Anomaly::OutOfBounds, event, event.a);
            }
            if stated > booked {
                return self.owe(slot, event, Some(Closing { state, filled: stated }));
            }
            if stated < booked && !event.has(flags::SNAPSHOT) {
                self.anomaly(Anomaly::ImpossibleTransition, event, event.a);
            }
        }
        self.report(slot, closing_event(state), None, event, |_| {});
    }

    /// The venue counts more filled than was booked.
    fn owe(&mut self, slot: Slot, event: &Event, closing: Option<Closing>) {
        self.report(slot, OrderEvent::Owing, None, event, |order| {
            order.acked = true;
            if order.state != OrderState::Filled && closing.is_some() {
                order.closing = closing;
            }
        });
    }

    /// What the venue says the order is, when asked.
    fn on_status(&mut self, slot: Slot, event: &Event) {
        let Some(status) = VenueOrderStatus::from_raw(event.code) else {
            return self.anomaly(Anomaly::UnknownKind, event, u64::from(event.code));
        };
        let stated = Qty(event.b as i64);
        if !(0..=VALUE_MAX).contains(&stated.0) {
            return self.anomaly(Anomaly::OutOfBounds, event, event.a);
        }
        if let Some(round) = self.rounds.get_mut(event.venue_id().index()).filter(|r| r.under_way) {
            round.open_seen += u64::from(status == VenueOrderStatus::Open);
            let number = round.number;
            self.orders.update(slot, self.now_ns, |order| order.reported_round = number);
        }
        let grace_ns = self.config.timing.reconcile_grace_ns;
        let order = self.orders.get(slot);
        // A round of reconciliation may take many seconds where the venue has us wait: what it says is as old as its question.
        let asked = event.has(flags::COLD) && event.venue_time_ns != 0;
        let as_of_ns = if asked { event.venue_time_ns.min(self.now_ns) } else { self.now_ns };
        let since = |then: u64| as_of_ns.saturating_sub(then);
        let (state, happened) = match status {
            VenueOrderStatus::Open => {
                // Closed a moment ago, or known to be closed but for its fills: the snapshot is older.
                let older = order.state.is_final() && since(order.closed_ns) < grace_ns;
                if older || order.closing.is_some() {
                    return;
                }
                return self.on_status_open(slot, event, stated, as_of_ns);
            }
            VenueOrderStatus::NotFound => {
                if since(order.created_ns) < grace_ns || order.closing.is_some() {
                    return;
                }
                (OrderState::Canceled, OrderEvent::StatusNotFound)
            }
            VenueOrderStatus::Filled => (OrderState::Filled, OrderEvent::StatusFilled),
            VenueOrderStatus::Canceled => (OrderState::Canceled, OrderEvent::StatusCanceled),
            VenueOrderStatus::Expired => (OrderState::Expired, OrderEvent::StatusExpired),
            VenueOrderStatus::Rejected => (OrderState::Rejected, OrderEvent::StatusRejected),
        };
        if stated > order.filled && status != VenueOrderStatus::NotFound {
            return self.owe(slot, event, Some(Closing { state, filled: stated }));
        }
        self.report(slot, happened, None, event, |_| {});
    }

    fn on_status_open(&mut self, slot: Slot, event: &Event, stated: Qty, as_of_ns: u64) {
        let order = self.orders.get(slot);
        if stated > order.filled {
            return self.owe(slot, event, None);
        }
        let (price, qty) = (Price(event.c as i64), Qty(event.d as i64));
        let sane = (1..=VALUE_MAX).contains(&price.0) && (1..=order.qty_worst().0).contains(&qty.0);
        let grace_ns = self.config.timing.reconcile_grace_ns;
        let current = as_of_ns.saturating_sub(order.asked_ns) >= grace_ns || order.state == OrderState::Unknown;
        self.report(slot, OrderEvent::StatusOpen, None, event, |order: &mut Order| {
            let answers = sane && current && !order.state.is_in_flight();
            if answers {
                // Tells also whether a replace without an answer took effect.
                order.price = price;
                order.qty = qty;
                order.pending = None;
            }
        });
    }

    /// Moves orders of a venue whose answers will not come any more: all that wait for one, or (after a restart) all.
    pub(super) fn lose_link(&mut self, venue: Option<VenueId>, everything: bool, event: &Event) {
        let mut walk = std::mem::take(&mut self.walk);
        self.collect_open(venue, &mut walk);
        let happened = if everything { OrderEvent::Owing } else { OrderEvent::Uncertain };
        for &slot in &walk {
            let changed = self.change(slot, happened, |_| {});
            if changed.contradicts {
                self.anomaly(Anomaly::ImpossibleTransition, event, self.orders.get(slot).id.0);
            }
            if changed.from != changed.to {
                self.tell(slot, changed.from, None);
            }
        }
        walk.clear();
        self.walk = walk;
    }

    /// Open orders of a venue (`None`: of all), strategy by strategy, oldest first.
    pub(super) fn collect_open(&self, venue: Option<VenueId>, into: &mut Vec<Slot>) {
        into.clear();
        for strategy in 0..self.gate.strategy_count() {
            let strategy = crate::ids::StrategyId(strategy as u8);
            let mut at = self.orders.next_own(strategy, None);
            while let Some(slot) = at {
                at = self.orders.next_own(strategy, Some(slot));
                if venue.is_none_or(|v| self.orders.get(slot).venue == v) && into.len() < into.capacity() {
                    into.push(slot);
                }
            }
        }
    }
}

/// The event of the table for "gone, with all its fills".
pub(super) const fn closing_event(state: OrderState) -> OrderEvent {
    match state {
        OrderState::Filled => OrderEvent::StatusFilled,
        OrderState::Expired => OrderEvent::Expired,
        OrderState::Rejected => OrderEvent::StatusRejected,
        _ => OrderEvent::Canceled,
    }
}
