//! The checks one by one, in their order: which one refuses an order, and why. What [`Gate::pass`] is sure of does not come here.

use super::{Gate, Passed, Request, Seat, View};
use crate::event::{FeedState, InstrumentStatus, Side, VALUE_MAX};
use crate::fixed::{Money, Price, Qty};
use crate::instrument::Instrument;
use crate::order::entry::Reserved;
use crate::position::checked_notional;
use crate::risk::exposure::Gross;
use crate::risk::exposure::bound::bind;
use crate::risk::refusal::Refusal;

impl Gate {
    /// The checks one by one, in their order: the first that fails is the reason.
    #[cold]
    #[inline(never)]
    pub(crate) fn check_each(&self, request: &Request<'_>, view: &View<'_>) -> Result<Passed, Refusal> {
        self.check_switches(request.strategy)?;
        let seat = &self.seats[self.seat(request.strategy, request.instrument)];
        if !seat.allowed {
            return Err(Refusal::InstrumentNotAllowed);
        }
        let (before, filled) = request.replaces.map_or((Reserved::default(), 0), |o| (o.reserved, o.filled.0));
        let open_qty = Qty(request.worst_qty().0.saturating_sub(filled).max(0));
        let added = Qty(open_qty.0.saturating_sub(before.qty.0).max(0));
        let reducing = self.reduces(request, added, view);
        self.venue_and_market(request, reducing, view)?;
        let reference = self.reference(request, reducing, view)?;
        self.order_itself(request, view.instrument, reference)?;
        self.self_trade(request, view)?;
        self.duplicate(request, seat, view.now_ns)?;
        self.open_orders(request, view)?;
        self.positions(request, seat, added, view)?;
        let after = bind(view.instrument, request.side, request.worst_price(), open_qty, request.post_only);
        let values = self.exposures(request, added, before, after, reference, view)?;
        self.balance(request, before, after, view)?;
        self.rates(request, view)?;
        Ok(Passed { reserved: after, values, reference })
    }

    /// True if the order can only bring the position nearer to zero, with all open orders of its side filled.
    fn reduces(&self, request: &Request<'_>, added: Qty, view: &View<'_>) -> bool {
        let position = view.positions.total(request.instrument).map_or(0, |p| p.qty.0);
        let open = self.exposure.open(request.instrument, request.side).0;
        let against = position.signum() == -request.side.sign();
        against && open.saturating_add(added.0) <= position.saturating_abs()
    }

    fn venue_and_market(&self, request: &Request<'_>, reducing: bool, view: &View<'_>) -> Result<(), Refusal> {
        let venue = &self.venues[view.instrument.venue.index()];
        let entry = venue.entry;
        if entry.state != FeedState::Up {
            return Err(Refusal::OrderEntryDown);
        }
        if venue.require_reconcile && !entry.reconciled {
            return Err(Refusal::NotReconciled);
        }
        if entry.skewed {
            return Err(Refusal::ClockSkew);
        }
        match view.instrument.status {
            InstrumentStatus::Trading | InstrumentStatus::LimitOnly => {}
            InstrumentStatus::PostOnly if request.post_only => {}
            InstrumentStatus::PostOnly => return Err(Refusal::PostOnlyMarket),
            InstrumentStatus::ReduceOnly if reducing => {}
            InstrumentStatus::ReduceOnly => return Err(Refusal::ReduceOnlyMarket),
            InstrumentStatus::Halted | InstrumentStatus::CancelOnly | InstrumentStatus::Unknown => return Err(Refusal::InstrumentClosed),
        }
        if self.instruments[request.instrument.index()].suspended {
            return Err(Refusal::InstrumentSuspended);
        }
        Ok(())
    }

    /// The price to compare with: the middle of a fresh book; for orders that reduce a position, where allowed, the
    /// last mark.
    fn reference(&self, request: &Request<'_>, reducing: bool, view: &View<'_>) -> Result<Price, Refusal> {
        let stale_after = self.instruments[request.instrument.index()].stale_after_ns;
        let on_mark = self.limits.reduce_when_stale && reducing;
        let mark = || view.positions.mark(request.instrument).ok_or(Refusal::NoReference);
        if !view.book.is_valid() {
            return if on_mark { mark() } else { Err(Refusal::BookInvalid) };
        }
        if view.book.age_ns(view.now_ns) > stale_after {
            return if on_mark { mark() } else { Err(Refusal::BookStale) };
        }
        match view.book.mid() {
            Some(mid) if mid.0 > 0 => Ok(mid),
            _ if on_mark => mark(),
            _ => Err(Refusal::NoReference),
        }
    }

    fn order_itself(&self, request: &Request<'_>, instrument: &Instrument, reference: Price) -> Result<(), Refusal> {
        let limits = &self.instruments[request.instrument.index()];
        let (price, qty) = (request.price, request.qty);
        if !(1..=VALUE_MAX).contains(&price.0) {
            return Err(Refusal::PriceOutOfBounds);
        }
        if price.0 % instrument.tick.0 != 0 {
            return Err(Refusal::PriceOffTick);
        }
        if !(1..=VALUE_MAX).contains(&qty.0) {
            return Err(Refusal::QtyOutOfBounds);
        }
        if qty.0 % instrument.lot.0 != 0 {
            return Err(Refusal::QtyOffLot);
        }
        if qty < limits.order_min.max(instrument.qty_min) {
            return Err(Refusal::QtyBelowMin);
        }
        if qty > limits.order_max.min(instrument.qty_max) {
            return Err(Refusal::QtyAboveMax);
        }
        let notional = checked_notional(instrument, price, qty).map_err(|_| Refusal::NotionalAboveMax)?;
        if notional < instrument.notional_min {
            return Err(Refusal::NotionalBelowMin);
        }
        if notional > limits.notional_max {
            return Err(Refusal::NotionalAboveMax);
        }
        if request.post_only && (request.ioc || !instrument.capabilities.post_only) {
            return Err(Refusal::BadFlags);
        }
        let distance = i128::from(price.0.abs_diff(reference.0)) * 1_000_000;
        if distance > i128::from(reference.0) * i128::from(limits.price_collar_ppm) {
            return Err(Refusal::PriceCollar);
        }
        Ok(())
    }

    fn self_trade(&self, request: &Request<'_>, view: &View<'_>) -> Result<(), Refusal> {
        match view.orders.most_aggressive(request.instrument, request.side.opposite()) {
            Some(own) if (request.price.0 - own.price_worst().0) * request.side.sign() >= 0 => Err(Refusal::SelfTrade),
            _ => Ok(()),
        }
    }

    #[inline]
    pub(super) fn duplicate(&self, request: &Request<'_>, seat: &Seat, now_ns: u64) -> Result<(), Refusal> {
        let last = &seat.last[request.side.index()];
        let same = last.price == request.price && last.qty == request.qty && last.ioc == request.ioc;
        let recent = last.at_ns != 0 && now_ns.saturating_sub(last.at_ns) < self.limits.duplicate_window_ns;
        if request.replaces.is_none() && same && recent { Err(Refusal::Duplicate) } else { Ok(()) }
    }

    fn open_orders(&self, request: &Request<'_>, view: &View<'_>) -> Result<(), Refusal> {
        if request.replaces.is_some() {
            return Ok(());
        }
        if view.orders.open_of_instrument(request.instrument) >= self.instruments[request.instrument.index()].open_orders_max {
            return Err(Refusal::OpenOrdersInstrument);
        }
        let venue = &self.venues[view.instrument.venue.index()];
        if venue.open >= venue.open_orders_max {
            return Err(Refusal::OpenOrdersVenue);
        }
        if view.orders.open_of_strategy(request.strategy) >= self.strategies[request.strategy.index()].open_orders_max {
            return Err(Refusal::OpenOrdersStrategy);
        }
        if view.orders.open_len() >= self.limits.open_orders_max {
            return Err(Refusal::OpenOrdersTotal);
        }
        Ok(())
    }

    fn positions(&self, request: &Request<'_>, seat: &Seat, added: Qty, view: &View<'_>) -> Result<(), Refusal> {
        let sign = request.side.sign();
        // What the position becomes in the direction of the order, all open orders of its side filled.
        let becomes = |position: Option<&crate::position::Position>, open: Qty| {
            let position = position.map_or(0, |p| p.qty.0) * sign;
            position.saturating_add(open.0).saturating_add(added.0)
        };
        let open = self.exposure.open(request.instrument, request.side);
        let limits = &self.instruments[request.instrument.index()];
        if added.0 > 0 && becomes(view.positions.total(request.instrument), open) > limits.position_max {
            return Err(Refusal::PositionInstrument);
        }
        let own_open = self.exposure.own_open(request.strategy, request.instrument, request.side);
        let own = view.positions.strategy(request.strategy, request.instrument);
        if added.0 > 0 && becomes(own, own_open) > seat.position_max.0 {
            return Err(Refusal::PositionStrategy);
        }
        Ok(())
    }

    fn exposures(
        &self,
        request: &Request<'_>,
        added: Qty,
        before: Reserved,
        after: Reserved,
        reference: Price,
        view: &View<'_>,
    ) -> Result<Gross, Refusal> {
        let instrument = view.instrument;
        let buying = request.side == Side::Buy;
        let notional = after.notional.0 - before.notional.0;
        let base = Money::from_qty(added, instrument.qty_scale).0;
        if self.exposure.flow_exceeds(instrument.base, buying, base) || self.exposure.flow_exceeds(instrument.quote, !buying, notional) {
            return Err(Refusal::ExposureAsset);
        }
        if !self.exposure.is_priced(request.instrument) {
            return Err(Refusal::NoReference);
        }
        let (strategy, id) = (request.strategy, request.instrument);
        let standing = self.exposure.standing(strategy, id);
        let outlook = self.exposure.outlook(&standing, strategy, instrument.venue, request.side, added, reference);
        let values = outlook.values;
        if outlook.raises && values.venue > self.venues[instrument.venue.index()].exposure_max.0 {
            return Err(Refusal::ExposureVenue);
        }
        if outlook.raises_own && values.strategy > self.strategies[strategy.index()].exposure_max.0 {
            return Err(Refusal::ExposureStrategy);
        }
        if outlook.raises && values.total > self.limits.exposure_max.0 {
            return Err(Refusal::ExposureTotal);
        }
        Ok(values.of_instrument)
    }

    fn balance(&self, request: &Request<'_>, before: Reserved, after: Reserved, view: &View<'_>) -> Result<(), Refusal> {
        let instrument = view.instrument;
        let more = after.hold.0 - before.hold.0;
        if more <= 0 || !self.venues[instrument.venue.index()].check_balance {
            return Ok(());
        }
        let asset = if request.side == Side::Buy { instrument.quote } else { instrument.base };
        if more > self.available(instrument.venue, asset, view) { Err(Refusal::Balance) } else { Ok(()) }
    }

    fn rates(&self, request: &Request<'_>, view: &View<'_>) -> Result<(), Refusal> {
        let venue = &self.venues[view.instrument.venue.index()];
        if !self.strategies[request.strategy.index()].order_rate.allows(view.now_ns) {
            return Err(Refusal::OrderRateStrategy);
        }
        if !venue.order_rate.allows(view.now_ns) {
            return Err(Refusal::OrderRateVenue);
        }
        if !self.order_rate.allows(view.now_ns) {
            return Err(Refusal::OrderRateTotal);
        }
        if !venue.message_rate.allows(view.now_ns) {
            return Err(Refusal::MessageBudget);
        }
        if request.replaces.is_some() {
            return Ok(());
        }
        if !view.orders.has_room() {
            return Err(Refusal::TableFull);
        }
        if view.orders.fills_nearly_full() {
            return Err(Refusal::FillMemoryFull);
        }
        Ok(())
    }
}
