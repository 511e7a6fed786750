//! From the loop's state to the status that others read.

use super::hot_loop::HotLoop;
use super::network::{Channel, Network};
use super::status::{Phase, Status, VENUES_MAX, VenueStatus};
use super::venue_slot::{Barrier, VenueSlot};
use engine_core::core::Desk;
use venues::venue::Venue;

impl<N, S, V> HotLoop<N, S, V>
where
    N: Network,
    S: Channel<N>,
    V: Venue,
{
    /// Publishes the status. A few microseconds, no allocation.
    pub(super) fn publish(&mut self, now_ns: u64) {
        let desk = self.side.core().desk();
        let counters = desk.counters();
        let (allocations, allocations_connecting) =
            if matches!(self.phase, Phase::Starting | Phase::WarmUp) { (0, 0) } else { self.accounting.allocations() };
        let mut status = Status {
            now_ns,
            started_ns: self.started_ns,
            epoch: u64::from(self.epoch),
            passes: self.counters.passes,
            frames: self.counters.frames,
            sequence: self.side.next_sequence(),
            dropped: self.side.counters().dropped,
            submitted: counters.submitted,
            acked: counters.acked,
            filled: counters.filled,
            fills: counters.fills,
            cancelled: counters.cancelled + counters.expired,
            rejected: counters.rejected,
            replaced: counters.replaced,
            refused_by_risk: counters.refused(),
            unknown: u64::from(desk.orders().unknown_len()),
            open: u64::from(desk.orders().open_len()),
            allocations,
            allocations_connecting,
            venue_count: self.venues.len().min(VENUES_MAX) as u64,
            ..Status::default()
        };
        status.set_phase(self.phase);
        status.set_halted(desk.halted().is_some());
        let pnl = desk.pnl();
        status.set_pnl([pnl.net(), pnl.realised, pnl.unrealised, pnl.fees]);
        let mut books = [[0; 2]; VENUES_MAX];
        desk.count_books(&mut books);
        for (slot, entry) in self.venues.iter().zip(&mut status.venues) {
            fill_venue(slot, desk, books.get(slot.id.index()), entry);
        }
        self.board.publish(&status);
    }
}

fn fill_venue<N, S, V>(slot: &VenueSlot<S, V>, desk: &Desk, books: Option<&[u64; 2]>, entry: &mut VenueStatus)
where
    S: Channel<N>,
    V: Venue,
{
    let (codec, channels) = (slot.venue.counters(), slot.channel_counters());
    let [books, books_valid] = books.copied().unwrap_or_default();
    *entry = VenueStatus {
        frames: slot.counters.frames,
        messages: codec.messages,
        events: codec.events,
        gaps: codec.gaps,
        checksum_failures: codec.checksum_failures,
        resyncs: codec.resyncs,
        malformed: codec.malformed,
        unknown: codec.unknown_messages + codec.unknown_symbols + codec.unknown_values,
        venue_errors: codec.venue_errors,
        connects: channels.connects,
        disconnects: channels.disconnects,
        books,
        books_valid,
        reconciliations: slot.counters.reconciliations,
        reconcile_pending: u64::from(!matches!(slot.barrier, Barrier::Done { .. })),
        ..VenueStatus::default()
    };
    entry.set_feeds(desk.market_data(slot.id), desk.order_entry(slot.id));
}
