//! The outputs of one input: room for all that it may cause, taken at start.

use crate::event::Event;

/// See the module header.
pub(super) struct Outputs {
    /// Never longer than the capacity that it was made with.
    events: Vec<Event>,
}

impl Outputs {
    /// Room for so many.
    pub fn new(most: usize) -> Outputs {
        Outputs { events: Vec::with_capacity(most) }
    }

    /// Forgets all.
    #[inline]
    pub fn clear(&mut self) {
        self.events.clear();
    }

    /// Adds one; false if there is no room. (The compiler sees that what is within the capacity asks for no more memory.)
    #[inline]
    pub fn push(&mut self, output: Event) -> bool {
        let fits = self.events.len() < self.events.capacity();
        if fits {
            self.events.push(output);
        }
        fits
    }

    /// All, in order.
    #[inline]
    pub fn as_slice(&self) -> &[Event] {
        &self.events
    }

    /// Touches room for the next `most`, so that it is in the caches then. Nothing changes.
    pub fn touch(&mut self, most: usize) {
        for room in self.events.spare_capacity_mut().iter_mut().take(most) {
            core::hint::black_box(room.write(Event::default()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_given_in_order_and_refused_without_room() {
        let mut outputs = Outputs::new(2);
        let event = |a| Event { a, ..Event::default() };
        assert!(outputs.as_slice().is_empty());
        assert_eq!([1, 2, 3].map(|a| outputs.push(event(a))), [true, true, false]);
        outputs.touch(8);
        assert_eq!(outputs.as_slice(), [event(1), event(2)]);
        outputs.clear();
        assert!(outputs.as_slice().is_empty());
        assert!(outputs.push(event(4)));
        assert_eq!(outputs.as_slice(), [event(4)]);
    }
}
