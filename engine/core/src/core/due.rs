//! What is to be looked at when: at most one time for each id, the earliest first.

use crate::id_set::IdSet;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Ids and when each is due. A look that turns out too early costs nothing but the look.
#[derive(Clone, Debug)]
pub(super) struct DueQueue {
    queue: BinaryHeap<Reverse<(u64, u16)>>,
    waiting: IdSet,
}

impl DueQueue {
    /// Of ids below `ids`, none of which is waiting. Allocates all it will ever use.
    pub fn new(ids: usize) -> DueQueue {
        DueQueue { queue: BinaryHeap::with_capacity(ids), waiting: IdSet::new(ids) }
    }

    /// Adds an id, unless it is waiting: what waits already must be due no later.
    #[inline]
    pub fn add(&mut self, id: u16, due_ns: u64) {
        if !self.waiting.contains(usize::from(id)) {
            self.waiting.insert(usize::from(id));
            self.queue.push(Reverse((due_ns, id)));
        }
    }

    /// Takes out one that is due; it waits no longer.
    #[inline]
    pub fn take_due(&mut self, now_ns: u64) -> Option<u16> {
        let &Reverse((due_ns, id)) = self.queue.peek()?;
        if due_ns > now_ns {
            return None;
        }
        self.queue.pop();
        self.waiting.remove(usize::from(id));
        Some(id)
    }

    /// All that are due, in no order.
    pub fn due(&self, now_ns: u64) -> impl Iterator<Item = u16> + '_ {
        let any = self.queue.peek().is_some_and(|first| first.0.0 <= now_ns);
        self.queue.iter().take(if any { usize::MAX } else { 0 }).filter(move |entry| entry.0.0 <= now_ns).map(|entry| entry.0.1)
    }

    /// When an id is due that waits; panics if something waits twice, or more than memory was taken for. Walks all.
    pub fn due_of(&self, id: u16) -> Option<u64> {
        let mut waits = self.queue.iter().filter(|entry| entry.0.1 == id).map(|entry| entry.0.0);
        let due_ns = waits.next();
        assert!(waits.next().is_none() && due_ns.is_some() == self.waiting.contains(usize::from(id)), "{id} waits once or not at all");
        due_ns
    }

    /// How many wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_given_once_when_it_is_due() {
        let mut due = DueQueue::new(3);
        due.add(2, 30);
        due.add(0, 20);
        due.add(0, 5); // It waits already.
        due.add(1, 20);
        assert_eq!((due.len(), due.take_due(19)), (3, None));
        assert_eq!([due.take_due(20), due.take_due(20), due.take_due(20)], [Some(0), Some(1), None]);
        due.add(0, 40);
        assert_eq!([due.take_due(100), due.take_due(100), due.take_due(100)], [Some(2), Some(0), None]);
    }
}
