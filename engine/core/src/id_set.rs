//! Sets of dense ids: a bit for each, and a bit for each word of bits, so that a walk costs what is in the set and not what
//! could be.
//!
//! What must be looked at regularly is kept in such sets (what has a position, what is stale): the timer walks these and
//! not all instruments.

use crate::prefetch::extent;
use core::ops::Range;

/// A set of ids below a number given at the start. Walks are in the order of the ids.
#[derive(Clone, Debug)]
pub struct IdSet {
    words: Box<[u64]>,
    /// Bit `i`: word `i` is not zero.
    summary: Box<[u64]>,
}

impl IdSet {
    /// An empty set of ids below `ids`. Allocates all it will ever use.
    pub fn new(ids: usize) -> IdSet {
        let words = ids.div_ceil(64);
        IdSet { words: vec![0; words].into_boxed_slice(), summary: vec![0; words.div_ceil(64)].into_boxed_slice() }
    }

    /// Puts an id in, whether it is in already or not: no branch tells. Ids out of range are nothing to it.
    #[inline(always)]
    pub fn insert(&mut self, id: usize) {
        let at = id / 64;
        if let (Some(word), Some(summary)) = (self.words.get_mut(at), self.summary.get_mut(at / 64)) {
            *word |= 1 << (id % 64);
            *summary |= 1 << (at % 64);
        }
    }

    /// Where the bits are that stand for an id.
    pub(crate) fn extents_of(&self, id: usize) -> [Range<usize>; 2] {
        let at = id / 64;
        [self.words.get(at), self.summary.get(at / 64)].map(|word| word.map_or(0..0, extent))
    }

    /// Takes an id out.
    #[inline]
    pub fn remove(&mut self, id: usize) {
        let at = id / 64;
        if let Some(word) = self.words.get_mut(at) {
            *word &= !(1 << (id % 64));
            if *word == 0 {
                self.summary[at / 64] &= !(1 << (at % 64));
            }
        }
    }

    /// True if the id is in the set.
    #[inline]
    pub fn contains(&self, id: usize) -> bool {
        self.words.get(id / 64).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    /// The first id from `from` on. A walk by this survives changes of the set on the way.
    #[inline]
    pub fn next(&self, from: usize) -> Option<usize> {
        let at = from / 64;
        let rest = self.words.get(at)? >> (from % 64);
        if rest != 0 {
            return Some(from + rest.trailing_zeros() as usize);
        }
        let at = at + 1;
        let mut of_summary = at / 64;
        let mut rest = self.summary.get(of_summary)? >> (at % 64) << (at % 64);
        while rest == 0 {
            of_summary += 1;
            rest = *self.summary.get(of_summary)?;
        }
        let at = of_summary * 64 + rest.trailing_zeros() as usize;
        Some(at * 64 + self.words[at].trailing_zeros() as usize)
    }

    /// All ids in the set.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let mut from = 0;
        core::iter::from_fn(move || {
            let id = self.next(from)?;
            from = id + 1;
            Some(id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_out_of_range_are_in_no_set() {
        let mut set = IdSet::new(65);
        for id in [128, 4_096, usize::MAX] {
            set.insert(id);
            assert!(!set.contains(id));
            set.remove(id);
        }
        assert_eq!((set.next(0), set.next(128), IdSet::new(0).next(0)), (None, None, None));
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_set(
            ids in 1usize..9_000, steps in proptest::collection::vec((any::<bool>(), 0usize..9_000), 0..200),
        ) {
            let (mut set, mut model) = (IdSet::new(ids), BTreeSet::new());
            for (insert, id) in steps {
                let id = id % ids;
                if insert {
                    set.insert(id);
                    model.insert(id);
                } else {
                    set.remove(id);
                    model.remove(&id);
                }
                prop_assert_eq!(set.contains(id), insert);
                prop_assert_eq!(set.next(id), model.range(id..).next().copied());
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.into_iter().collect::<Vec<_>>());
        }
    }
}
