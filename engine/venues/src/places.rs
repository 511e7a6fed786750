//! Sets of places of a venue's symbols: a bit for each. What waits for something is kept in one, so that the timer looks at
//! that and not at every symbol.

/// A set of places below a number given at the start. Walks are in the order of the places.
#[derive(Clone, Debug)]
pub struct PlaceSet {
    words: Box<[u64]>,
}

impl PlaceSet {
    /// An empty set of places below `places`. Allocates all it will ever use.
    pub fn new(places: usize) -> PlaceSet {
        PlaceSet { words: vec![0; places.div_ceil(64)].into_boxed_slice() }
    }

    /// Puts a place in. Places out of range are nothing to it.
    #[inline]
    pub fn insert(&mut self, place: usize) {
        if let Some(word) = self.words.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    /// Takes a place out.
    #[inline]
    pub fn remove(&mut self, place: usize) {
        if let Some(word) = self.words.get_mut(place / 64) {
            *word &= !(1 << (place % 64));
        }
    }

    /// True if the place is in the set.
    #[inline]
    pub fn contains(&self, place: usize) -> bool {
        self.words.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// The first place from `from` on. A walk by this survives changes of the set on the way.
    #[inline]
    pub fn next(&self, from: usize) -> Option<usize> {
        let mut at = from / 64;
        let mut rest = self.words.get(at)? >> (from % 64) << (from % 64);
        while rest == 0 {
            at += 1;
            rest = *self.words.get(at)?;
        }
        Some(at * 64 + rest.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn places_out_of_range_are_in_no_set() {
        let mut set = PlaceSet::new(65);
        for place in [128, usize::MAX] {
            set.insert(place);
            set.remove(place);
            assert!(!set.contains(place));
        }
        assert_eq!((set.next(0), set.next(128), PlaceSet::new(0).next(0)), (None, None, None));
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_set(
            places in 1usize..1_500, steps in proptest::collection::vec((any::<bool>(), 0usize..1_500), 0..200),
        ) {
            let (mut set, mut model) = (PlaceSet::new(places), BTreeSet::new());
            for (insert, place) in steps {
                let place = place % places;
                if insert {
                    set.insert(place);
                    model.insert(place);
                } else {
                    set.remove(place);
                    model.remove(&place);
                }
                prop_assert_eq!(set.contains(place), insert);
                prop_assert_eq!(set.next(place), model.range(place..).next().copied());
            }
            let walk: Vec<_> = std::iter::successors(set.next(0), |&place| set.next(place + 1)).collect();
            prop_assert_eq!(walk, model.into_iter().collect::<Vec<_>>());
        }
    }
}
