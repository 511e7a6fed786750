//! From one of the core's outputs to a sealed message, and what becomes of it if that fails.
//!
//! Orders and rehearsals take the same way through the same code: a copy of it, such as inlining makes, would
//! keep itself in the caches and not the code that an order needs.

use super::core_side::CoreSide;
use super::network::{Channel, TimeSource};
use super::venue_slot::VenueSlot;
use crate::cold::rest_worker::ColdTask;
use drivers::purpose::Purpose;
use engine_core::event::{Event, EventKind, EventSink, Times};
use venues::outbox::ColdRequest;
use venues::venue::{ExecuteError, Venue};

/// What came of it.
pub(super) struct Put {
    pub executed: Result<(), ExecuteError>,
    /// Messages that the channels took.
    pub messages: u32,
    /// A channel did not take its message.
    pub lost: bool,
    /// When it was encoded.
    pub encoded_ns: u64,
}

/// Encodes a command and seals what comes of it, beginning at `now_ns`. What the codec asks of the cold plane is left in its outbox.
#[inline]
pub(super) fn put_on_wire<N, S: Channel<N>, V: Venue>(
    slot: &mut VenueSlot<S, V>,
    network: &mut N,
    command: &Event,
    now_ns: u64,
    clock: &mut impl TimeSource,
    purpose: Purpose,
) -> Put {
    let times = Times { core_ns: now_ns, poll_delay_ns: 0 };
    let VenueSlot { venue, orders, channels, .. } = slot;
    let executed = venue.execute(command, times, orders);
    let mut put = Put { executed, messages: 0, lost: false, encoded_ns: clock.now_ns() };
    for (role, message) in orders.messages() {
        let taken = channels[role.index()].as_mut().is_some_and(|c| c.channel.send(network, message, purpose).is_ok());
        put.messages += u32::from(taken);
        put.lost |= !taken;
    }
    put
}

/// A command did not get out, or not all of it: the core is told.
#[cold]
pub(super) fn not_executed<S, V: Venue>(
    slot: &mut VenueSlot<S, V>,
    command: &Event,
    executed: Result<(), ExecuteError>,
    times: Times,
    side: &mut CoreSide,
) {
    match executed {
        Ok(()) => {
            // Whether a part of it reached the peer is for the venue to say: asked for, never guessed.
            slot.counters.not_sent += 1;
            uncertain(command, times, side);
        }
        Err(error) => {
            slot.counters.refused += 1;
            refuse(command, error, times, side);
            if command.event_kind() == Some(EventKind::SendQuery) && error != ExecuteError::RateLimited {
                let request = ColdRequest::OrderStatus { order: command.order_id(), instrument: command.instrument_id() };
                slot.task(ColdTask::Request(request));
            }
        }
    }
}

/// Tells the core that a command was not put on the wire. Nothing went out, so this is certain.
fn refuse(command: &Event, error: ExecuteError, times: Times, side: &mut CoreSide) {
    let kind = match command.event_kind() {
        Some(EventKind::SendNew) => EventKind::OrderReject,
        Some(EventKind::SendCancel) => EventKind::CancelReject,
        Some(EventKind::SendReplace) => EventKind::ReplaceReject,
        // A query or a cancel-all that could not be sent changes nothing: the core asks again.
        _ => return,
    };
    let refusal = Event::refusal(kind, command.venue_id(), command.instrument_id(), command.order_id(), error.reason(), times);
    side.event(&Event { side: command.side, ..refusal }.with(engine_core::event::flags::LAST));
}

/// Tells the core that nobody knows whether a command reached the venue.
fn uncertain(command: &Event, times: Times, side: &mut CoreSide) {
    if matches!(command.event_kind(), Some(EventKind::SendNew | EventKind::SendCancel | EventKind::SendReplace)) {
        let event = Event::order_report(EventKind::OrderUncertain, command.venue_id(), command.instrument_id(), command.order_id(), times);
        side.event(&event.with(engine_core::event::flags::LAST));
    }
}
