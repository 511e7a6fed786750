//! What the next order will need, asked for between orders.
//!
//! Market data comes thousands of times a second, orders a few times. What only orders read and change has left the core's own
//! cache by the time of the next one, and each line of it then costs some tens of nanoseconds. Rehearsals of orders
//! ([`Core::touch`](super::Core::touch) is called with each) keep the code warm, but are made by a second core, on memory of its own.
//! So here the lines of this one are asked for:
//!
//! | once for | what |
//! |---|---|
//! | all | the desk's head with its counters, gate, order table and sums; the next slots of the rate of all; room for outputs |
//! | the next orders | places of the index, slots, nodes, the end of the list in flight |
//! | a venue | its gate, the next slots of its rates (orders, messages, cancels), its value |
//! | a strategy | its gate, the next slots of its rate, its value, the end of its list of open orders |
//! | a strategy in an instrument | limits, rules, seat, lanes, unit, mark, head of the book, ladders; of both assets holds, balance, flow |
//! | an open order | slot, node, place of the index |
//!
//! A call takes a bounded number of each kind, and the next call goes on behind them. It reads (the ends of lists) and asks, and
//! writes nothing but how far it has come: neither outputs nor the state's hash know of it.

use super::desk::Desk;
use crate::config::CoreConfig;
use crate::ids::{InstrumentId, StrategyId, VenueId};
use crate::order::Slot;
use crate::prefetch::extent;
use core::ops::Range;

/// Bytes at the head of a book that every order reads.
const BOOK_HEAD: usize = 192;
/// Orders for which a slot is asked for: as many as one tick is answered by.
const NEXT_TOUCHED: u32 = 4;
/// Outputs for which room is asked for.
const OUTPUTS_TOUCHED: usize = 8;
/// Venues of one call, and strategies.
const GATES_TOUCHED: usize = 16;
/// Pairs of strategy and instrument of one call.
const SEATS_TOUCHED: usize = 32;
/// Open orders of one call.
const OPEN_TOUCHED: usize = 32;

/// Goes round the places of a table, some at a time.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    next: usize,
}

impl Round {
    /// The next `most` places of `len`, or all.
    fn take(&mut self, len: usize, most: usize) -> impl Iterator<Item = usize> + use<> {
        let (from, count) = (self.next, most.min(len));
        let to = from + count;
        self.next = if to < len { to } else { to - len };
        (from..to).map(move |at| if at < len { at } else { at - len })
    }
}

/// How far it has come.
#[derive(Clone, Debug)]
pub(super) struct Touched {
    /// What strategies trade.
    seats: Vec<(StrategyId, InstrumentId)>,
    of_seats: Round,
    of_venues: Round,
    of_strategies: Round,
    open: Option<(StrategyId, Slot)>,
}

impl Touched {
    pub fn new(config: &CoreConfig) -> Touched {
        let of_strategy = |at: usize| config.strategies[at].instruments.iter().map(move |&id| (StrategyId(at as u8), id));
        let seats = (0..config.strategies.len()).flat_map(of_strategy).collect();
        let (of_seats, of_venues, of_strategies) = (Round::default(), Round::default(), Round::default());
        Touched { seats, of_seats, of_venues, of_strategies, open: None }
    }
}

impl Desk {
    /// Gives out the memory that the next orders will read and change. See the module header.
    pub(super) fn touch(&mut self, touch: &mut impl FnMut(Range<usize>)) {
        // From the head to the last of the counters that orders change.
        touch(extent(self).start..extent(&self.counters.refusals).start);
        touch(extent(&self.gate).start..extent(&self.rounds).start);
        touch(extent(&self.config.timing));
        self.gate.touch(touch);
        self.outputs.touch(OUTPUTS_TOUCHED, touch);
        if let Some(next) = self.next_order_id(0) {
            self.orders.touch_next(next, NEXT_TOUCHED, touch);
        }
        for at in self.touched.of_venues.take(self.gate.venue_count(), GATES_TOUCHED) {
            self.gate.touch_venue(VenueId(at as u8), touch);
        }
        for at in self.touched.of_strategies.take(self.gate.strategy_count(), GATES_TOUCHED) {
            self.gate.touch_strategy(StrategyId(at as u8), touch);
            self.orders.touch_strategy(StrategyId(at as u8), touch);
        }
        for at in self.touched.of_seats.take(self.touched.seats.len(), SEATS_TOUCHED) {
            let (strategy, id) = self.touched.seats[at];
            self.touch_seat(strategy, id, touch);
        }
        self.touched.open = self.orders.touch_open(self.touched.open, OPEN_TOUCHED, touch);
    }

    fn touch_seat(&self, strategy: StrategyId, id: InstrumentId, touch: &mut impl FnMut(Range<usize>)) {
        let (Some(instrument), Some(market)) = (self.instruments.get(id), self.markets.get(id.index())) else { return };
        touch(extent(instrument));
        let book = extent(&market.book);
        touch(book.start..book.end.min(book.start + BOOK_HEAD));
        self.gate.touch_seat(strategy, id, touch);
        self.positions.touch(id, instrument, touch);
        self.orders.touch_ladders(id, touch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_round_comes_to_every_place_and_to_none_twice_before(len in 0usize..50, most in 1usize..20, calls in 0usize..30) {
            let mut round = Round::default();
            let taken: Vec<usize> = (0..calls).flat_map(|_| round.take(len, most).collect::<Vec<_>>()).collect();
            prop_assert_eq!(taken.len(), calls * most.min(len));
            prop_assert!(taken.iter().enumerate().all(|(at, &place)| place == at % len));
        }
    }
}
