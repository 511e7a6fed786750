//! What the codec remembers of an order that is out there: the venue's id and the terms in force.
//!
//! Nothing here is needed for correctness: a cancel can name an order by our id as well. With the venue's
//! id it is faster at the venue; with the terms, an amendment that the venue cannot do is refused here
//! instead of there, and a replacement that is reported twice (answer and stream) is given out once.
//!
//! Open addressing with a fixed number of places; an order that finds none is simply not remembered. Ids count up, so an id is its
//! own hash: the next order's place follows the last one's, and is at hand where the place of a scattered hash would be a line that
//! no cache has. Every other place is kept free for those that find theirs taken, so that what is searched stays short.

use engine_core::ids::OrderId;

/// What is known of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// The venue's id; 0 if not known yet.
    pub venue_id: u64,
    /// Price, at the instrument's scale; 0 if not known.
    pub price: i64,
    /// Total quantity in force; 0 if not known.
    pub qty: i64,
}

/// Orders by id.
#[derive(Debug)]
pub struct WorkingOrders {
    places: Box<[(OrderId, Known)]>,
    len: usize,
}

impl WorkingOrders {
    /// Room for `capacity` orders.
    pub fn new(capacity: usize) -> WorkingOrders {
        let places = (capacity.max(1) * 2).next_power_of_two();
        WorkingOrders { places: vec![(OrderId::NONE, Known::default()); places].into_boxed_slice(), len: 0 }
    }

    #[inline]
    fn home(&self, order: OrderId) -> usize {
        (order.0 << 1) as usize & (self.places.len() - 1)
    }

    /// The place of an order, or the free place where it would go.
    #[inline]
    fn locate(&self, order: OrderId) -> Result<usize, usize> {
        let mask = self.places.len() - 1;
        let mut at = self.home(order);
        // At most half of the places are taken: a free one is found.
        loop {
            match self.places[at].0 {
                OrderId::NONE => return Err(at),
                found if found == order => return Ok(at),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// What is known of an order.
    #[inline]
    pub fn get(&self, order: OrderId) -> Option<&Known> {
        self.locate(order).ok().map(|at| &self.places[at].1)
    }

    /// What is known of an order, to change.
    #[inline]
    pub fn get_mut(&mut self, order: OrderId) -> Option<&mut Known> {
        self.locate(order).ok().map(|at| &mut self.places[at].1)
    }

    /// What is known of an order, to add to; remembers it if there is room.
    #[inline]
    pub fn entry(&mut self, order: OrderId) -> Option<&mut Known> {
        if order == OrderId::NONE {
            return None;
        }
        let at = match self.locate(order) {
            Ok(at) => at,
            Err(_) if (self.len + 1) * 2 > self.places.len() => return None,
            Err(at) => {
                self.places[at] = (order, Known::default());
                self.len += 1;
                at
            }
        };
        Some(&mut self.places[at].1)
    }

    /// Forgets an order.
    #[inline]
    pub fn remove(&mut self, order: OrderId) {
        let Ok(mut hole) = self.locate(order) else { return };
        let mask = self.places.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let other = self.places[at].0;
            if other == OrderId::NONE {
                break;
            }
            // Moves back what would no longer be found across the hole.
            if (at.wrapping_sub(self.home(other)) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.places[hole] = self.places[at];
                hole = at;
            }
        }
        self.places[hole] = (OrderId::NONE, Known::default());
        self.len -= 1;
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn agrees_with_a_map_and_refuses_beyond_its_room(steps in proptest::collection::vec((any::<bool>(), 1u32..40), 0..400)) {
            let mut ours = WorkingOrders::new(16);
            let mut model = BTreeMap::new();
            for (at, (add, sequence)) in steps.into_iter().enumerate() {
                let order = OrderId::new(1, sequence);
                if add {
                    match ours.entry(order) {
                        Some(known) => {
                            known.venue_id = at as u64;
                            model.insert(order, at as u64);
                        }
                        None => prop_assert!(model.len() == 16 && !model.contains_key(&order)),
                    }
                } else {
                    ours.remove(order);
                    model.remove(&order);
                }
                prop_assert_eq!(ours.len(), model.len());
                for sequence in 1..40 {
                    let order = OrderId::new(1, sequence);
                    prop_assert_eq!(ours.get(order).map(|k| k.venue_id), model.get(&order).copied());
                }
            }
        }
    }
}
