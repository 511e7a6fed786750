//! What time alone brings about: answers overdue, books gone stale, losses grown by the market.
//!
//! A timer event looks at what is due and at what is held, not at every instrument: its cost follows from what happened since
//! the last one, and from how many positions there are.

use super::desk::Desk;
use crate::event::{BookInvalid, Event, FeedState};
use crate::ids::{InstrumentId, StrategyId, VenueId};
use crate::order::OrderEvent;
use crate::strategy::BookState;
use crate::trades::Trade;

/// Overdue answers worked off at one timer event.
const OVERDUE_AT_ONCE_MAX: usize = 64;
/// Unknown orders asked for again at one timer event.
const ASKED_AT_ONCE_MAX: usize = 16;
/// Shortest time between two requests to resynchronise a stale book.
const STALE_RESYNC_EVERY_NS: u64 = 5_000_000_000;

impl Desk {
    /// Time went by. `stale` takes the instruments whose book turned stale.
    pub(super) fn on_timer(&mut self, event: &Event, mut stale: impl FnMut(VenueId, InstrumentId)) {
        self.overdue_answers(event);
        self.ask_again();
        self.gate.exposure.refresh(&self.instruments, &self.positions);
        self.check_losses();
        self.old_trades();
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

    /// Takes a public trade; gives it if it is news.
    #[inline]
    pub(super) fn take_trade(&mut self, id: InstrumentId, event: &Event) -> Option<Trade> {
        let trades = &mut self.markets[id.index()].trades;
        // As if each timer had moved each stream on.
        trades.advance(self.timer_ns);
        let trade = trades.apply(event);
        if let Some(leaves_ns) = trades.oldest_leaves_ns() {
            self.trades_due.add(id.0, leaves_ns);
        }
        trade
    }

    /// Lets old trades go where there are any.
    fn old_trades(&mut self) {
        self.timer_ns = self.now_ns;
        for _ in 0..self.trades_due.len() {
            let Some(id) = self.trades_due.take_due(self.now_ns) else { return };
            let trades = &mut self.markets[usize::from(id)].trades;
            trades.advance(self.now_ns);
            if let Some(leaves_ns) = trades.oldest_leaves_ns() {
                self.trades_due.add(id, leaves_ns);
            }
        }
    }

    /// A book became valid, or its time to be stale has come: notes when to look at it again. An invalid one is not watched.
    pub(super) fn watch_book(&mut self, id: InstrumentId) {
        let book = &self.markets[id.index()].book;
        match self.book_state(id) {
            BookState::Invalid => {}
            BookState::Stale => self.stale_books.insert(id.index()),
            BookState::Valid => {
                let stale_ns = book.updated_ns().saturating_add(self.gate.stale_after_ns(id)).saturating_add(1);
                self.books_due.add(id.0, stale_ns);
            }
        }
    }

    /// A book may have become valid or invalid: keeps the count of the valid ones.
    #[cold]
    pub(super) fn count_book(&mut self, id: InstrumentId) {
        let valid = self.markets[id.index()].book.is_valid();
        let guard = &mut self.guards[id.index()];
        if guard.counted == valid {
            return;
        }
        guard.counted = valid;
        let count = &mut self.books[guard.venue.index()];
        count.valid = if valid { count.valid + 1 } else { count.valid - 1 };
    }

    /// Books of each venue, by its id, and how many of them can be traded on. Looks at those that are stale or may be, no others.
    pub fn count_books(&self, counts: &mut [[u64; 2]]) {
        for (to, count) in counts.iter_mut().zip(&self.books) {
            *to = [count.all, count.valid].map(u64::from);
        }
        let overdue = self.books_due.due(self.now_ns).map(usize::from).filter(|&at| !self.stale_books.contains(at));
        for at in self.stale_books.iter().chain(overdue) {
            if self.book_state(InstrumentId(at as u16)) == BookState::Stale
                && let Some([_, valid]) = counts.get_mut(self.guards[at].venue.index())
            {
                *valid -= 1;
            }
        }
    }

    fn stale_books(&mut self, stale: &mut impl FnMut(VenueId, InstrumentId)) {
        for _ in 0..self.books_due.len() {
            let Some(id) = self.books_due.take_due(self.now_ns) else { break };
            self.watch_book(InstrumentId(id));
        }
        let mut from = 0;
        while let Some(at) = self.stale_books.next(from) {
            from = at + 1;
            let id = InstrumentId(at as u16);
            if self.book_state(id) != BookState::Stale {
                self.stale_books.remove(at);
                self.watch_book(id);
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

    /// Everything that time alone may change waits for it, early enough. Panics if not. Walks all instruments: for tests.
    #[doc(hidden)]
    pub fn check_due(&self) {
        for (at, market) in self.markets.iter().enumerate() {
            let id = InstrumentId(at as u16);
            let stale_ns = market.book.updated_ns().saturating_add(self.gate.stale_after_ns(id)).saturating_add(1);
            let watched = self.stale_books.contains(at) || self.books_due.due_of(id.0).is_some_and(|due_ns| due_ns <= stale_ns);
            assert!(watched || self.book_state(id) == BookState::Invalid, "the book of {id:?} may turn stale and nobody looks");
            let leaves_ns = market.trades.oldest_leaves_ns();
            let seen = leaves_ns.is_none_or(|leaves_ns| self.trades_due.due_of(id.0).is_some_and(|due_ns| due_ns <= leaves_ns));
            assert!(seen, "a trade of {id:?} leaves the window and nobody looks");
        }
        let (mut kept, mut walked) = (vec![[0; 2]; self.books.len()], vec![[0; 2]; self.books.len()]);
        self.count_books(&mut kept);
        for (at, guard) in self.guards.iter().enumerate() {
            let valid = self.book_state(InstrumentId(at as u16)) == BookState::Valid;
            walked[guard.venue.index()][0] += 1;
            walked[guard.venue.index()][1] += u64::from(valid);
        }
        assert_eq!(kept, walked, "books, and valid ones, of each venue");
    }

    /// While trading is stopped, whatever still rests is cancelled again and again.
    fn wind_down(&mut self) {
        let every_ns = self.config.timing.ack_timeout_ns;
        let switches = self.gate.switches();
        if switches.halted.is_some() || switches.shutting_down {
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

    /// Looks at the losses, of all and of each strategy, at the marks and rates of now.
    fn check_losses(&mut self) {
        self.positions.revalue(&self.instruments);
        self.check_all_losses();
        for strategy in 0..self.gate.strategy_count() {
            self.check_strategy_losses(StrategyId(strategy as u8));
        }
    }

    /// Looks at the losses after a fill of a strategy, at the marks and rates of the last timer.
    #[inline]
    pub(super) fn check_losses_of(&mut self, strategy: StrategyId) {
        self.check_all_losses();
        self.check_strategy_losses(strategy);
    }

    #[inline]
    fn check_all_losses(&mut self) {
        // The peak goes on being watched while trading is stopped.
        if let Some(reason) = self.gate.loss.look(self.positions.net(), self.now_ns) {
            self.halt(reason);
        }
    }

    #[inline]
    fn check_strategy_losses(&mut self, id: StrategyId) {
        let (net, now_ns) = (self.positions.strategy_net(id), self.now_ns);
        if let Some(reason) = self.gate.strategy_mut(id).and_then(|s| s.loss.look(net, now_ns)) {
            self.halt_strategy(id, reason);
        }
    }
}
