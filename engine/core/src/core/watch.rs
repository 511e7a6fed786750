//! What time alone brings about: answers overdue, books gone stale, losses grown by the market.

use super::desk::Desk;
use crate::event::{BookInvalid, Event, FeedState};
use crate::ids::{InstrumentId, StrategyId, VenueId};
use crate::order::OrderEvent;
use crate::strategy::BookState;

/// Overdue answers worked off at one timer event.
const OVERDUE_AT_ONCE_MAX: usize = 64;
/// Unknown orders asked for again at one timer event.
const ASKED_AT_ONCE_MAX: usize = 16;
/// Shortest time between two looks at P&L.
const LOSSES_EVERY_NS: u64 = 10_000_000;
/// Shortest time between two requests to resynchronise a stale book.
const STALE_RESYNC_EVERY_NS: u64 = 5_000_000_000;

impl Desk {
    /// Time went by. `stale` takes the instruments whose book turned stale.
    pub(super) fn on_timer(&mut self, event: &Event, mut stale: impl FnMut(VenueId, InstrumentId)) {
        self.overdue_answers(event);
        self.ask_again();
        self.gate.exposure.refresh(&self.instruments, &self.positions);
        self.check_losses();
        self.stale_books(&mut stale);
        self.wind_down();
    }

    fn overdue_answers(&mut self, event: &Event) {
        let timeout_ns = self.config.timing.ack_timeout_ns;
        for _ in 0..OVERDUE_AT_ONCE_MAX {
            let Some(slot) = self.orders.oldest_in_flight() else { return };
            if self.now_ns.saturating_sub(self.orders.get(slot).asked_ns) < timeout_ns {
                return;
            }
            self.report(slot, OrderEvent::Uncertain, None, event, |_| {});
        }
    }

    fn ask_again(&mut self) {
        let requery_ns = self.config.timing.requery_ns;
        for _ in 0..ASKED_AT_ONCE_MAX {
            let Some(slot) = self.orders.oldest_unknown() else { return };
            if self.now_ns.saturating_sub(self.orders.get(slot).asked_ns) < requery_ns {
                return;
            }
            self.ask(slot);
        }
    }

    fn stale_books(&mut self, stale: &mut impl FnMut(VenueId, InstrumentId)) {
        for at in 0..self.markets.len() {
            let id = InstrumentId(at as u16);
            self.markets[at].trades.advance(self.now_ns);
            if self.book_state(id) != BookState::Stale {
                continue;
            }
            let Some(venue) = self.instruments.get(id).map(|i| i.venue) else { continue };
            if !self.guards[at].stale_told {
                self.guards[at].stale_told = true;
                stale(venue, id);
            }
            let due = self.now_ns.saturating_sub(self.markets[at].resync_ns) >= STALE_RESYNC_EVERY_NS;
            if due && self.market_data(venue) == FeedState::Up {
                self.resync(id, BookInvalid::Stale);
            }
        }
    }

    /// While trading is stopped, whatever still rests is cancelled again and again.
    fn wind_down(&mut self) {
        let every_ns = self.config.timing.ack_timeout_ns;
        if self.gate.halted.is_some() || self.gate.shutting_down {
            for venue in 0..self.gate.venue_count() {
                let id = VenueId(venue as u8);
                let rests = self.gate.venue(id).is_some_and(|v| v.open > 0);
                if rests && self.now_ns.saturating_sub(self.rounds[venue].cancel_all_ns) >= every_ns {
                    self.cancel_all(id);
                }
            }
        }
        for strategy in 0..self.gate.strategy_count() {
            let id = StrategyId(strategy as u8);
            if !self.strategy_enabled(id) && self.orders.open_of_strategy(id) > 0 {
                self.pull_orders_of(id);
            }
        }
    }

    /// Looks at the losses, of all and of each strategy; at most each [`LOSSES_EVERY_NS`].
    pub(super) fn check_losses(&mut self) {
        if self.now_ns.saturating_sub(self.losses_seen_ns) < LOSSES_EVERY_NS {
            return;
        }
        self.losses_seen_ns = self.now_ns;
        let net = self.pnl().net();
        // The peak goes on being watched while trading is stopped.
        if let Some(reason) = self.gate.loss.look(net, self.now_ns) {
            self.halt(reason);
        }
        for strategy in 0..self.gate.strategy_count() {
            let id = StrategyId(strategy as u8);
            let net = self.strategy_pnl(id).net();
            let now_ns = self.now_ns;
            if let Some(reason) = self.gate.strategy_mut(id).and_then(|s| s.loss.look(net, now_ns)) {
                self.halt_strategy(id, reason);
            }
        }
    }
}
