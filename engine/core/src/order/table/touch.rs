//! Where in memory the table's next orders, and those that are open, lie: given out so that it can be asked for before
//! they come (see [`crate::core`]'s `touch`). Nothing is changed.

use super::*;
use core::ops::Range;

impl OrderTable {
    /// Gives out where the next `count` orders go: places of the index (`next` is the id of the first), slots and nodes, and what
    /// they are linked to on the list of what is in flight.
    pub(crate) fn touch_next(&self, next: OrderId, count: u32, touch: &mut impl FnMut(Range<usize>)) {
        for ahead in 0..count {
            self.touch_place(OrderId(next.0.wrapping_add(u64::from(ahead))), touch);
        }
        self.touch_node(self.in_flight.tail, touch);
        let mut slot = if self.free == NIL { self.closed.head } else { self.free };
        for _ in 0..count {
            self.touch_slot(slot, touch);
            // Free ones and closed ones are linked alike.
            let Some(node) = self.nodes.get(slot as usize) else { return };
            slot = node.wait.next;
        }
    }

    fn touch_place(&self, id: OrderId, touch: &mut impl FnMut(Range<usize>)) {
        touch(extent(&self.index[tag(id) as usize & self.mask]));
    }

    fn touch_slot(&self, slot: u32, touch: &mut impl FnMut(Range<usize>)) {
        self.orders.get(slot as usize).into_iter().for_each(|order| touch(extent(order)));
        self.touch_node(slot, touch);
    }

    fn touch_node(&self, slot: u32, touch: &mut impl FnMut(Range<usize>)) {
        self.nodes.get(slot as usize).into_iter().for_each(|node| touch(extent(node)));
    }

    /// Gives out what an order in an instrument is linked to on its side's ladder.
    pub(crate) fn touch_ladders(&self, instrument: InstrumentId, touch: &mut impl FnMut(Range<usize>)) {
        let Some(ladders) = self.ladders.get(instrument.index()) else { return };
        touch(extent(ladders));
        for list in ladders.0.iter().map(|rungs| &rungs.list) {
            self.touch_node(list.head, touch);
            self.touch_node(list.tail, touch);
        }
    }

    /// Gives out what an order of a strategy is linked to on the list of its open ones.
    pub(crate) fn touch_strategy(&self, strategy: StrategyId, touch: &mut impl FnMut(Range<usize>)) {
        let Some(own) = self.own.get(strategy.index()) else { return };
        touch(extent(own));
        self.touch_node(own.tail, touch);
    }

    /// Gives out open orders, with their places: those that a cancel or a replace may be about. At most so many, those that follow
    /// `after` (`None`: from the first on), and after the last the first again. Returns the last. If the order that was the last is
    /// closed by now, its strategy's others wait for the next round.
    pub(crate) fn touch_open(
        &self,
        after: Option<(StrategyId, Slot)>,
        most: usize,
        touch: &mut impl FnMut(Range<usize>),
    ) -> Option<(StrategyId, Slot)> {
        let is_open = |slot: Slot| self.orders.get(slot.0 as usize).is_some_and(|o| o.id != OrderId::NONE && !o.state.is_final());
        let (mut last, mut lists) = (after, self.own.len());
        for _ in 0..most.min(self.open as usize) {
            let strategy = last.map(|(strategy, _)| strategy);
            let following = last.filter(|&(of, slot)| is_open(slot) && self.get(slot).strategy == of);
            let following = following.and_then(|(of, slot)| self.next_own(of, Some(slot)));
            let Some(slot) = following.or_else(|| self.first_own(strategy, &mut lists)) else { break };
            last = Some((self.get(slot).strategy, slot));
            self.touch_slot(slot.0, touch);
            self.touch_place(self.get(slot).id, touch);
        }
        last
    }

    /// The oldest open order of the next strategy that has one, round about; looks at so many strategies at most.
    fn first_own(&self, after: Option<StrategyId>, most: &mut usize) -> Option<Slot> {
        let from = after.map_or(0, |strategy| strategy.index() + 1);
        let lists = self.own.iter().skip(from).chain(self.own.iter().take(from));
        let looked_at = lists.take(*most).map(|list| list.head).inspect(|_| *most -= 1);
        looked_at.into_iter().find(|&head| head != NIL).map(Slot)
    }
}
