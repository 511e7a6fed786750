//! The outputs of one input: room for all that it may cause, taken at start.

use crate::event::Event;
use core::ops::Range;

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

    /// Gives out the room of the first `most`.
    pub fn touch(&self, most: usize, touch: &mut impl FnMut(Range<usize>)) {
        let first = self.events.as_ptr().addr();
        touch(first..first + most.min(self.events.capacity()) * size_of::<Event>());
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
        outputs.touch(8, &mut |room| assert_eq!(room.len(), 2 * size_of::<Event>(), "no more than there is"));
        assert_eq!(outputs.as_slice(), [event(1), event(2)]);
        outputs.clear();
        assert!(outputs.as_slice().is_empty());
        assert!(outputs.push(event(4)));
        assert_eq!(outputs.as_slice(), [event(4)]);
    }
}
