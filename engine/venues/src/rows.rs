//! Room for what one message holds, taken once: rows are written where they belong, and counted afterwards.

use core::ops::{Deref, DerefMut};

/// Rows, and room for more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rows<T> {
    places: Box<[T]>,
    count: usize,
}

impl<T: Copy> Rows<T> {
    /// None, with room for so many. `filling` is what stands where none is.
    pub fn new(room: usize, filling: T) -> Rows<T> {
        Rows { places: vec![filling; room].into_boxed_slice(), count: 0 }
    }

    /// Forgets them.
    #[inline]
    pub const fn clear(&mut self) {
        self.count = 0;
    }

    /// Adds one; false if there is no room.
    #[inline]
    pub fn push(&mut self, row: T) -> bool {
        let Some(place) = self.places.get_mut(self.count) else { return false };
        *place = row;
        self.count += 1;
        true
    }

    /// Room for more until there are `most`, to be written first and then counted by [`Rows::fill`].
    #[inline]
    pub fn free(&mut self, most: usize) -> &mut [T] {
        let most = most.min(self.places.len());
        self.places.get_mut(self.count..most).unwrap_or_default()
    }

    /// So many more are there, written to what was [`Rows::free`].
    #[inline]
    pub fn fill(&mut self, count: usize) {
        self.count = self.count.saturating_add(count).min(self.places.len());
    }
}

impl<T> Deref for Rows<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.places.get(..self.count).unwrap_or_default()
    }
}

impl<T> DerefMut for Rows<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        self.places.get_mut(..self.count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_that_were_written_and_counted() {
        let mut rows = Rows::new(4, 0);
        assert!(rows.push(1));
        assert_eq!((rows.free(1).len(), rows.free(3).len(), rows.free(9).len()), (0, 2, 3));
        rows.free(3)[1] = 3;
        rows.fill(2);
        assert_eq!(*rows, [1, 0, 3]);
        assert!(rows.push(4) && !rows.push(5));
        rows.fill(usize::MAX);
        assert_eq!(*rows, [1, 0, 3, 4]);
        rows.clear();
        assert!(rows.is_empty() && rows.push(6));
        rows[0] += 1;
        assert_eq!(*rows, [7]);
    }
}
