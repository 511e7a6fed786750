//! One side of the depth: a window of slots around the touch, and a sorted array for what lies beyond it.
//!
//! The one idea: *near the touch a price is its own address.* A window of [`WINDOW`] consecutive ticks holds one quantity
//! per tick, zero where there is no level, so that a change is one store: nothing is searched and nothing moved. A bit for
//! each slot tells which are in use; it is looked at only when a level comes or goes. Levels worse than the window (few
//! changes concern them) are kept in an array, sorted worst first.
//!
//! ```text
//!        worse                                                                      better
//!   far: [level, level, level]        window: | . . level . level level . level . . . . |
//!                                             low                         best          low + WINDOW
//! ```
//!
//! Slots are used as a ring (a key's slot is the key modulo the window), so the window follows the market without moving
//! what is in it: only levels that leave it, or come into it, are touched. It moves when a price is better than its end, or
//! when the best has sunk into its lower quarter, and each time so that the best lies at three quarters: a move costs at
//! most a step for each level held, and the next one is a quarter of a window away.
//!
//! *Keys* order both sides alike: a larger key is a better price. A key counts ticks (`step`), not price units. The step
//! is a hint that may turn out wrong: the first price between two ticks makes it smaller, for good.

use super::Level;
use crate::event::{Side, VALUE_MAX};
use crate::fixed::{Price, Qty};
use crate::prefetch::{prefetch, prefetch_lines};

/// Slots of the window.
const WINDOW: usize = 4_096;
/// Words of the window's bit set.
const WORDS: usize = WINDOW / 64;
/// Where the best comes to lie when the window moves.
const BEST_AT: i64 = WINDOW as i64 / 4 * 3;
/// The window moves down once the best is below this, if there is anything beyond it.
const BEST_MIN: i64 = WINDOW as i64 / 4;
/// How many levels from the best of the array are searched one by one before the search turns binary.
const NEAR_END: usize = 8;
/// Largest step: with it, no price off tick looks like one in the window.
const STEP_MAX: i64 = 1 << 20;
/// The best price while there is none.
const NO_PRICE: i64 = i64::MIN;

/// A level beyond the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    key: i64,
    qty: i64,
}

/// What divides by a step without dividing: the inverse modulo 2^64 of its odd part, and the powers of two in it. See
/// [`ticks`].
fn inverse(step: i64) -> (u64, u32) {
    let shift = step.trailing_zeros();
    let odd = (step as u64) >> shift;
    // Newton's iteration doubles the right bits: 3, 6, 12, 24, 48, 96.
    let inverse = (0..5).fold(odd, |x, _| x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x))));
    (inverse, shift)
}

/// Ticks in a price. Exact for multiples of the step; anything else gives a number beyond every price (for steps up to
/// [`STEP_MAX`]).
#[inline]
fn ticks(price: i64, inverse: u64, shift: u32) -> i64 {
    (price as u64).wrapping_mul(inverse).rotate_right(shift) as i64
}

/// What a unit of quantity at a price counts for in the digest; odd, so that no difference of quantity counts for nothing.
/// `price` has the side's sign.
#[inline]
fn weight(price: i64) -> u64 {
    let x = (price as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 32)) | 1
}

/// See the module header. What a change of quantity reads and writes, beside the quantity itself, is in the first cache line.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub(super) struct Ladder {
    /// Key of the window's first slot; a multiple of 64.
    low: i64,
    /// Price of the best level, negative on the ask side; [`NO_PRICE`] if there is none.
    best: i64,
    /// Quantity of the best level; 0 if there is none.
    best_qty: i64,
    quantities: Box<[i64; WINDOW]>,
    /// Sum of quantity times [`weight`] over all levels.
    digest: u64,
    /// Of the step.
    inverse: u64,
    /// +1 for bids, -1 for asks: turns ticks into keys.
    sign: i64,
    /// Of the step.
    shift: u32,
    /// Levels held, those beyond the window included.
    len: u32,

    /// Bit `i`: word `i` of `used` is not zero.
    words: u64,
    step: i64,
    /// Levels beyond the window, best last; while `far_best_first`, best first.
    far: Vec<Entry>,
    capacity: u32,
    /// A snapshot is coming in: it brings the best levels first.
    far_best_first: bool,
    /// Slots in use.
    used: [u64; WORDS],
}

impl Ladder {
    /// An empty side. Allocates all it will ever use. `step` is the expected price increment.
    pub fn new(side: Side, capacity: usize, step: Price) -> Ladder {
        let step = if (1..=STEP_MAX).contains(&step.0) { step.0 } else { 1 };
        let (inverse, shift) = inverse(step);
        Ladder {
            low: 0,
            best: NO_PRICE,
            best_qty: 0,
            quantities: vec![0; WINDOW].try_into().unwrap_or_else(|_| unreachable!("the length is the array's")),
            digest: 0,
            inverse,
            sign: side.sign(),
            shift,
            len: 0,
            words: 0,
            step,
            far: Vec::with_capacity(capacity),
            capacity: capacity as u32,
            far_best_first: false,
            used: [0; WORDS],
        }
    }

    /// Levels held.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Stands for all levels, in whatever order they came.
    #[inline]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The best level; quantity 0 if there is none.
    #[inline]
    pub fn best(&self) -> Level {
        if self.best_qty == 0 {
            return Level::NONE;
        }
        Level { price: Price(self.best.wrapping_mul(self.sign)), qty: Qty(self.best_qty) }
    }

    #[inline]
    fn price(&self, key: i64) -> Price {
        Price(key.wrapping_mul(self.sign).wrapping_mul(self.step))
    }

    #[inline]
    fn key(&self, price: Price) -> i64 {
        ticks(price.0, self.inverse, self.shift).wrapping_mul(self.sign)
    }

    /// Key of the best level; lower than any other if there is none.
    fn best_key(&self) -> i64 {
        self.best / self.step
    }

    /// Takes all levels away. `loading`: the next ones come best first.
    pub fn clear(&mut self, loading: bool) {
        let mut at = 0;
        while let Some(offset) = self.above(at) {
            self.quantities[slot(self.low + offset as i64)] = 0;
            at = offset + 1;
        }
        self.used = [0; WORDS];
        self.words = 0;
        self.best = NO_PRICE;
        self.best_qty = 0;
        self.digest = 0;
        self.len = 0;
        self.far.clear();
        self.far_best_first = loading;
    }

    /// Asks for what every change reads.
    #[inline]
    pub fn prefetch(&self) {
        prefetch_lines(self, 2);
    }

    /// Asks for what a change of this level reads.
    #[inline]
    pub fn prefetch_level(&self, price: Price) {
        let slot = slot(self.key(price));
        prefetch(&self.quantities[slot]);
        prefetch(&self.used[slot / 64]);
    }

    /// Ends the loading order. Returns at once if it has ended.
    #[inline]
    pub fn settle(&mut self) {
        if self.far_best_first {
            self.far.reverse();
            self.far_best_first = false;
        }
    }

    /// Sets or (with `qty` 0) removes a level; price and quantity are within bounds. Returns true if a level was dropped for
    /// want of room.
    #[inline]
    pub fn set(&mut self, price: Price, qty: Qty) -> bool {
        let key = self.key(price);
        if !self.in_window(key) {
            return self.set_beyond(price, qty);
        }
        let held = &mut self.quantities[slot(key)];
        if *held == 0 || qty.0 == 0 {
            return self.come_or_go(key, qty.0);
        }
        let more = qty.0.wrapping_sub(*held);
        *held = qty.0;
        let signed = price.0.wrapping_mul(self.sign);
        self.digest = self.digest.wrapping_add(weight(signed).wrapping_mul(more as u64));
        if signed == self.best {
            self.best_qty = qty.0;
        }
        false
    }

    #[inline]
    fn in_window(&self, key: i64) -> bool {
        (key.wrapping_sub(self.low) as u64) < WINDOW as u64
    }

    /// A level within the window appears or disappears.
    fn come_or_go(&mut self, key: i64, qty: i64) -> bool {
        let held = self.quantities[slot(key)];
        if qty != 0 {
            let full = self.len == self.capacity;
            if full && !self.make_room(key) {
                return true;
            }
            self.enter(key, qty);
            self.count(key, qty);
            self.len += 1;
            let signed = key * self.step;
            if signed > self.best {
                self.best = signed;
                self.best_qty = qty;
            }
            return full;
        }
        if held != 0 {
            self.leave(key);
            self.count(key, -held);
            self.len -= 1;
            if key * self.step == self.best {
                self.find_best(key);
            }
        }
        false
    }

    /// Takes a difference of quantity into the digest.
    #[inline]
    fn count(&mut self, key: i64, more: i64) {
        self.digest = self.digest.wrapping_add(weight(key.wrapping_mul(self.step)).wrapping_mul(more as u64));
    }

    /// Puts a level into its slot, which is empty.
    #[inline]
    fn enter(&mut self, key: i64, qty: i64) {
        let slot = slot(key);
        self.quantities[slot] = qty;
        self.used[slot / 64] |= 1 << (slot % 64);
        self.words |= 1 << (slot / 64);
    }

    /// Empties a slot.
    #[inline]
    fn leave(&mut self, key: i64) {
        let slot = slot(key);
        self.quantities[slot] = 0;
        let word = &mut self.used[slot / 64];
        *word &= !(1 << (slot % 64));
        if *word == 0 {
            self.words &= !(1 << (slot / 64));
        }
    }

    /// The best is gone: the next one below `key` is the best, and the window follows it.
    #[inline]
    fn find_best(&mut self, key: i64) {
        match self.below((key - self.low) as usize) {
            Some(offset) => {
                let key = self.low + offset as i64;
                self.best = key * self.step;
                self.best_qty = self.quantities[slot(key)];
                if (offset as i64) < BEST_MIN && !self.far.is_empty() {
                    self.sink(key);
                }
            }
            None => self.find_best_beyond(),
        }
    }

    #[cold]
    fn find_best_beyond(&mut self) {
        self.settle();
        match self.far.last().copied() {
            Some(Entry { key, qty }) => {
                self.best = key * self.step;
                self.best_qty = qty;
                self.sink(key);
            }
            None => {
                self.best = NO_PRICE;
                self.best_qty = 0;
            }
        }
    }

    /// The window's first slot such that `best` lies at [`BEST_AT`].
    fn low_for(best: i64) -> i64 {
        (best - BEST_AT).div_euclid(64) * 64
    }

    /// Moves the window down to `best`, and takes in what it now covers of the array.
    #[cold]
    fn sink(&mut self, best: i64) {
        self.settle();
        self.low = Self::low_for(best);
        while let Some(&Entry { key, qty }) = self.far.last()
            && key >= self.low
        {
            self.far.pop();
            self.enter(key, qty);
        }
    }

    /// Moves the window up, so that `best` lies within it; levels that it no longer covers go to the array.
    #[cold]
    fn rise(&mut self, best: i64) {
        self.settle();
        self.drain_below(Self::low_for(best));
    }

    /// Levels below `low` go to the array; the window begins there.
    fn drain_below(&mut self, low: i64) {
        let mut at = 0;
        while let Some(offset) = self.above(at) {
            let key = self.low + offset as i64;
            if key >= low {
                break;
            }
            self.far.push(Entry { key, qty: self.quantities[slot(key)] });
            self.leave(key);
            at = offset + 1;
        }
        self.low = low;
    }

    /// As [`Ladder::set`], for a price that the window does not cover.
    #[cold]
    #[inline(never)]
    fn set_beyond(&mut self, price: Price, qty: Qty) -> bool {
        if price.0 % self.step != 0 {
            self.refine(price);
        }
        let key = self.key(price);
        if self.len == 0 && qty.0 != 0 {
            self.low = Self::low_for(key);
        } else if key > self.best_key() && qty.0 != 0 && !self.in_window(key) {
            self.rise(key);
        }
        if self.in_window(key) {
            return self.set(price, qty);
        }
        key < self.low && self.set_far(Entry { key, qty: qty.0 })
    }

    /// A price lies between two ticks: the step becomes a divisor of it.
    #[cold]
    fn refine(&mut self, price: Price) {
        let mut step = self.step;
        let mut rest = price.0 % step;
        while rest != 0 {
            (step, rest) = (rest, step % rest);
        }
        let factor = self.step / step;
        self.settle();
        self.drain_below(i64::MAX);
        for entry in &mut self.far {
            entry.key *= factor;
        }
        self.step = step;
        (self.inverse, self.shift) = inverse(step);
        self.low = 0;
        if self.len > 0 {
            self.find_best_beyond();
        }
    }

    /// A level beyond the window changes, appears or disappears.
    fn set_far(&mut self, entry: Entry) -> bool {
        if self.far_best_first {
            if self.far.last().is_none_or(|worst| entry.key < worst.key) {
                return self.append_worst(entry);
            }
            self.settle();
        }
        match self.locate(entry.key) {
            Ok(at) => {
                let held = std::mem::replace(&mut self.far[at].qty, entry.qty);
                self.count(entry.key, entry.qty - held);
                if entry.qty == 0 {
                    self.far.remove(at);
                    self.len -= 1;
                }
                false
            }
            Err(_) if entry.qty == 0 => false,
            Err(at) => self.insert_far(at, entry),
        }
    }

    fn append_worst(&mut self, entry: Entry) -> bool {
        if entry.qty == 0 {
            return false;
        }
        if self.len == self.capacity {
            return true;
        }
        self.count(entry.key, entry.qty);
        self.far.push(entry);
        self.len += 1;
        false
    }

    fn insert_far(&mut self, at: usize, entry: Entry) -> bool {
        let full = self.len == self.capacity;
        if !full {
            self.far.insert(at, entry);
            self.len += 1;
        } else if at > 0 {
            // The deepest level (index 0) makes room: everything between shifts one place down.
            let deepest = self.far[0];
            self.count(deepest.key, -deepest.qty);
            self.far.copy_within(1..at, 0);
            self.far[at - 1] = entry;
        } else {
            return true;
        }
        self.count(entry.key, entry.qty);
        full
    }

    /// Index of `key` in the array, or where it would go.
    fn locate(&self, key: i64) -> Result<usize, usize> {
        let near = self.far.len().saturating_sub(NEAR_END);
        for (i, entry) in self.far.iter().enumerate().skip(near).rev() {
            if entry.key == key {
                return Ok(i);
            }
            if entry.key < key {
                return Err(i + 1);
            }
        }
        self.far[..near].binary_search_by_key(&key, |entry| entry.key)
    }

    /// Drops the deepest level for a new one with `key`; false if that would be the deepest itself.
    #[cold]
    fn make_room(&mut self, key: i64) -> bool {
        self.settle();
        let deepest = self.far.first().map(|entry| entry.key).or_else(|| self.above(0).map(|offset| self.low + offset as i64));
        if deepest.is_none_or(|deepest| key < deepest) {
            return false;
        }
        self.drop_worst(1);
        true
    }

    /// Cuts the side to its best `window` levels.
    #[inline]
    pub fn truncate(&mut self, window: usize) {
        if self.len() > window {
            self.drop_worst(self.len() - window);
        }
    }

    #[inline(never)]
    fn drop_worst(&mut self, count: usize) {
        self.settle();
        let of_array = count.min(self.far.len());
        for i in 0..of_array {
            let Entry { key, qty } = self.far[i];
            self.count(key, -qty);
        }
        self.far.drain(..of_array);
        for _ in of_array..count {
            let Some(offset) = self.above(0) else { break };
            let key = self.low + offset as i64;
            self.count(key, -self.quantities[slot(key)]);
            self.leave(key);
            if key * self.step == self.best {
                self.best = NO_PRICE;
                self.best_qty = 0;
            }
        }
        self.len -= count as u32;
    }

    /// Word of `used` that holds the window's first slot.
    #[inline]
    fn first_word(&self) -> u32 {
        (slot(self.low) / 64) as u32
    }

    /// Offset in the window of the best level worse than `offset`.
    #[inline]
    fn below(&self, offset: usize) -> Option<usize> {
        let first = self.first_word();
        let word = offset / 64;
        if word < WORDS {
            let bits = self.used[(first as usize + word) % WORDS] & !(u64::MAX << (offset % 64));
            if bits != 0 {
                return Some(word * 64 + highest(bits));
            }
        }
        let words = self.words.rotate_right(first) & if word < WORDS { !(u64::MAX << word) } else { u64::MAX };
        (words != 0).then(|| highest(words) * 64 + highest(self.used[(first as usize + highest(words)) % WORDS]))
    }

    /// Offset in the window of the worst level that is at `offset` or better.
    fn above(&self, offset: usize) -> Option<usize> {
        let first = self.first_word();
        let word = offset / 64;
        if word >= WORDS {
            return None;
        }
        let bits = self.used[(first as usize + word) % WORDS] & (u64::MAX << (offset % 64));
        if bits != 0 {
            return Some(word * 64 + lowest(bits));
        }
        // Two shifts: one by 64 would be none.
        let words = self.words.rotate_right(first) & (u64::MAX << word << 1);
        (words != 0).then(|| lowest(words) * 64 + lowest(self.used[(first as usize + lowest(words)) % WORDS]))
    }

    /// A walk over all levels, best first.
    #[inline]
    pub fn walk(&self) -> Walk<'_> {
        // While loading, the array is in the other order; nobody walks then.
        let offset = if self.best_qty == 0 { 0 } else { (self.best_key() - self.low) as usize + 1 };
        Walk { ladder: self, offset, left: self.len() }
    }
}

/// The slot of a key.
#[inline]
const fn slot(key: i64) -> usize {
    key as usize % WINDOW
}

#[inline]
const fn highest(bits: u64) -> usize {
    63 - bits.leading_zeros() as usize
}

#[inline]
const fn lowest(bits: u64) -> usize {
    bits.trailing_zeros() as usize
}

/// Levels of a side, best first.
#[derive(Clone, Debug)]
pub(super) struct Walk<'a> {
    ladder: &'a Ladder,
    /// Levels of the window at this offset and better were given out.
    offset: usize,
    /// Levels not given out.
    left: usize,
}

impl Walk<'_> {
    /// Levels not given out.
    #[inline]
    pub fn left(&self) -> usize {
        self.left
    }

    /// Skips levels that are as good as `price` or better.
    #[inline]
    pub fn skip_to_worse_than(&mut self, price: Price) {
        let sign = self.ladder.sign;
        loop {
            let mut ahead = self.clone();
            match ahead.next() {
                Some(level) if level.price.0 * sign >= price.0 * sign => *self = ahead,
                _ => return,
            }
        }
    }

    /// Ends the walk.
    #[inline]
    pub fn end(&mut self) {
        self.left = 0;
    }
}

impl Iterator for Walk<'_> {
    type Item = Level;

    #[inline]
    fn next(&mut self) -> Option<Level> {
        let left = self.left.checked_sub(1)?;
        self.left = left;
        let ladder = self.ladder;
        if left >= ladder.far.len()
            && let Some(offset) = ladder.below(self.offset)
        {
            self.offset = offset;
            let key = ladder.low + offset as i64;
            return Some(Level { price: ladder.price(key), qty: Qty(ladder.quantities[slot(key)]) });
        }
        let entry = ladder.far.get(left)?;
        Some(Level { price: ladder.price(entry.key), qty: Qty(entry.qty) })
    }
}

const _: () = assert!(VALUE_MAX as u128 + (WINDOW as u128) * (STEP_MAX as u128) < u64::MAX as u128 + 1, "see ticks()");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Every part against the others.
    fn check(ladder: &Ladder, model: &BTreeMap<i64, i64>) {
        let signed = |price: i64| price * ladder.sign;
        let mut expected: Vec<(i64, i64)> = model.iter().map(|(&price, &qty)| (price, qty)).collect();
        expected.sort_by_key(|&(price, _)| -signed(price));
        assert_eq!(ladder.walk().map(|level| (level.price.0, level.qty.0)).collect::<Vec<_>>(), expected);
        assert_eq!(ladder.len(), expected.len());
        assert_eq!(ladder.best().exists().map(|best| (best.price.0, best.qty.0)), expected.first().copied());
        assert!(ladder.far.is_sorted_by(|a, b| a.key < b.key) && ladder.far.iter().all(|entry| entry.key < ladder.low));
        let held = (0..WINDOW as i64).filter(|offset| ladder.quantities[slot(ladder.low + offset)] != 0).count();
        assert_eq!(held + ladder.far.len(), expected.len(), "each level is in one place");
        for (at, &word) in ladder.used.iter().enumerate() {
            assert_eq!(word != 0, ladder.words >> at & 1 == 1);
            (0..64).for_each(|bit| assert_eq!(word >> bit & 1 == 1, ladder.quantities[at * 64 + bit] != 0));
        }
    }

    fn apply(ladder: &mut Ladder, model: &mut BTreeMap<i64, i64>, price: i64, qty: i64) {
        ladder.set(Price(price), Qty(qty));
        if qty == 0 {
            model.remove(&price)
        } else {
            model.insert(price, qty)
        };
    }

    #[test]
    fn with_a_level_at_every_tick_the_window_follows_down_and_up_again() {
        for side in [Side::Buy, Side::Sell] {
            for tick in [1, 5] {
                let (mut ladder, mut model) = (Ladder::new(side, 10_000, Price(tick)), BTreeMap::new());
                let price = |at: i64| (20_000 + side.sign() * at) * tick;
                // Worst first: the window has to rise for each quarter of it.
                (0..9_500).for_each(|at| apply(&mut ladder, &mut model, price(at), 1 + at));
                check(&ladder, &model);
                assert!(ladder.far.len() > 1_000, "some are beyond the window");
                for at in (1..9_500).rev() {
                    apply(&mut ladder, &mut model, price(at), 0);
                    assert_eq!(ladder.best().price, Price(price(at - 1)));
                    if at % 61 == 0 {
                        check(&ladder, &model);
                    }
                }
                check(&ladder, &model);
            }
        }
    }

    #[test]
    fn a_price_off_tick_makes_the_step_smaller_and_loses_nothing() {
        let (mut ladder, mut model) = (Ladder::new(Side::Sell, 1_000, Price(100)), BTreeMap::new());
        (0..700).for_each(|at| apply(&mut ladder, &mut model, 500_000 + 100 * at, 1 + at));
        apply(&mut ladder, &mut model, 500_150, 9);
        assert_eq!(ladder.step, 50);
        check(&ladder, &model);
        apply(&mut ladder, &mut model, 500_001, 0);
        assert_eq!(ladder.step, 1, "a level that is not there is off tick all the same");
        check(&ladder, &model);
    }

    proptest! {
        #[test]
        fn a_price_is_in_the_window_only_at_its_tick(step in 1..=STEP_MAX, ticks_of in 0..=VALUE_MAX, off in 0..STEP_MAX) {
            let (inverse, shift) = inverse(step);
            let (count, off) = (ticks_of / step, off % step);
            prop_assert_eq!(ticks(count * step, inverse, shift), count);
            if off > 0 && count * step + off <= VALUE_MAX {
                let got = ticks(count * step + off, inverse, shift) as u64;
                prop_assert!(got > (VALUE_MAX / step) as u64 + WINDOW as u64 && got < (-(WINDOW as i64)) as u64, "{}", got);
            }
        }

        #[test]
        fn every_part_agrees_with_the_others(
            steps in proptest::collection::vec((0i64..9_000, prop_oneof![2 => Just(0i64), 3 => 1i64..100]), 1..120), buy in any::<bool>(),
        ) {
            let side = if buy { Side::Buy } else { Side::Sell };
            let (mut ladder, mut model) = (Ladder::new(side, 1_000, Price(1)), BTreeMap::new());
            // Every other level goes where the window begins.
            for (i, (price, qty)) in steps.into_iter().enumerate() {
                let edge = ladder.price(ladder.low + price % 3 - 1).0;
                let price = if i % 2 == 0 || edge < 1 { 50_000 + price } else { edge };
                apply(&mut ladder, &mut model, price, qty);
                if i % 16 == 0 {
                    check(&ladder, &model);
                }
            }
            check(&ladder, &model);
        }
    }
}
