//! What was read, as the core's events. The engine's codec and the `decode` tool both give out through here.

use super::reports::{Execution, Fill, OrderState, Resolved, Subject};
use crate::batch::Batch;
use engine_core::event::{Event, EventKind, EventSink, Side, Times, VenueOrderStatus, flags};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::{AssetId, InstrumentId, VenueId};

/// The two events of a best bid and ask.
#[inline]
#[allow(clippy::too_many_arguments)]
pub fn emit_ticker(
    venue: VenueId,
    instrument: InstrumentId,
    sequence: u64,
    bid: (i64, i64),
    ask: (i64, i64),
    time_ns: u64,
    times: Times,
    sink: &mut impl EventSink,
) {
    let side =
        |side, (price, qty): (i64, i64)| Event::top_of_book(venue, instrument, side, Price(price), Qty(qty), sequence, times).at(time_ns);
    sink.event(&side(Side::Buy, bid));
    sink.event(&side(Side::Sell, ask).with(flags::LAST));
}

/// The order was accepted.
pub fn acknowledgement(venue: VenueId, subject: &Subject, time_ns: u64, times: Times) -> Event {
    Event::order_report(EventKind::OrderAck, venue, subject.instrument, subject.order, times).at(time_ns)
}

/// What the venue says an order is, when asked.
pub fn order_status(venue: VenueId, subject: &Subject, state: &OrderState, times: Times) -> Event {
    let (filled, price, qty) = (Qty(state.filled), Price(state.price), Qty(state.qty));
    let event = Event::order_status(venue, subject.instrument, subject.order, state.status, filled, price, qty, times);
    Event { side: state.side as u8, ..event }.at(state.time_ns)
}

/// What a cancel or an amendment made of an order; `state` is [`OrderState::changed`].
pub fn emit_state(venue: VenueId, subject: &Subject, state: &OrderState, times: Times, sink: &mut impl EventSink) {
    let (instrument, order) = (subject.instrument, subject.order);
    let gone = |kind| Event::order_gone(kind, venue, instrument, order, Some(Qty(state.filled)), times);
    let event = match state.status {
        VenueOrderStatus::Canceled => gone(EventKind::OrderCanceled),
        VenueOrderStatus::Expired => gone(EventKind::OrderExpired),
        VenueOrderStatus::Open => Event::order_replaced(venue, instrument, order, Price(state.price), Qty(state.qty), times),
        _ => order_status(venue, subject, state, times),
    };
    sink.event(&event.at(state.time_ns).with(flags::LAST));
}

/// Balances, the final one with `LAST`.
pub fn emit_balances(venue: VenueId, rows: &[(AssetId, Money, Money)], time_ns: u64, times: Times, sink: &mut impl EventSink) {
    let mut batch = Batch::new(sink);
    for &(asset, total, free) in rows {
        batch.push(Event::balance(venue, asset, total, free, times).at(time_ns));
    }
    batch.finish();
}

/// A fill: its fee first, then the fill itself.
#[inline]
pub fn push_fill(
    venue: VenueId,
    subject: &Subject,
    side: Side,
    fill: &Fill,
    time_ns: u64,
    times: Times,
    batch: &mut Batch<'_, impl EventSink>,
) {
    let (instrument, order) = (subject.instrument, subject.order);
    if let Some((asset, amount)) = fill.fee {
        batch.push(Event::fill_fee(venue, instrument, order, fill.trade_id, asset, amount, times).at(time_ns));
    }
    let event = Event::fill(venue, instrument, order, side, Price(fill.price), Qty(fill.qty), fill.trade_id, times).at(time_ns);
    batch.push(event.with(if fill.maker { flags::MAKER } else { 0 }));
}

/// An execution report's events.
#[inline]
pub fn emit_report(venue: VenueId, subject: &Subject, report: &Resolved, times: Times, sink: &mut impl EventSink) {
    let (instrument, order) = (subject.instrument, subject.order);
    let mut batch = Batch::new(sink);
    if let Some(fill) = &report.fill {
        push_fill(venue, subject, report.side, fill, report.time_ns, times, &mut batch);
        batch.finish();
        return;
    }
    let gone = |kind| Event::order_gone(kind, venue, instrument, order, Some(Qty(report.filled)), times);
    let event = match report.execution {
        // A leg of an order list that does not work yet is not on the book.
        Execution::New if report.pending => return,
        Execution::New | Execution::Trade => acknowledgement(venue, subject, report.time_ns, times),
        Execution::Canceled => gone(EventKind::OrderCanceled),
        Execution::Expired => gone(EventKind::OrderExpired),
        Execution::Rejected => Event::refusal(EventKind::OrderReject, venue, instrument, order, report.reject, times),
        Execution::Replaced | Execution::TradePrevention if report.is_restated() => {
            Event::order_replaced(venue, instrument, order, Price(report.price), Qty(report.qty), times)
        }
        Execution::Replaced | Execution::TradePrevention => gone(EventKind::OrderExpired),
    };
    batch.push(event.at(report.time_ns));
    batch.finish();
}
