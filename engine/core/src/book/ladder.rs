//! One side of the depth: a window of slots around the touch, and a sorted array for what lies beyond it.
//!
//! The one idea: *near the touch a price is its own address.* A window of [`WINDOW`] consecutive ticks holds one quantity
//! per tick, zero where there is no level, so that a change is one store: nothing is searched and nothing moved. A bit for
//! each slot tells which are in use; it is looked at only when the best level goes. Levels worse than the window (few
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
//! Whether a level comes, goes or only changes, and on which side, nobody can foretell, so a change within the window does
//! not branch on it: a branch that is guessed wrong costs more than all the rest of the change.
//!
//! *Keys* order both sides alike: a larger key is a better price. A key counts ticks (`step`), not price units. The step
//! is a hint that may turn out wrong: the first price between two ticks makes it smaller, for good.

use super::{CAPACITY_MAX, Level};
use crate::event::{Side, VALUE_MAX};
use crate::fixed::{Price, Qty};
use crate::prefetch::{prefetch, prefetch_lines};
use std::hint::select_unpredictable;

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
fn inverse(step: i64) -> (u64, u8) {
    let shift = step.trailing_zeros() as u8;
    let odd = (step as u64) >> shift;
    // Newton's iteration doubles the right bits: 3, 6, 12, 24, 48, 96.
    let inverse = (0..5).fold(odd, |x, _| x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x))));
    (inverse, shift)
}

/// Ticks in a price. Exact for multiples of the step; anything else gives a number beyond every price (for steps up to
/// [`STEP_MAX`]).
#[inline]
fn ticks(price: i64, inverse: u64, shift: u8) -> i64 {
    (price as u64).wrapping_mul(inverse).rotate_right(u32::from(shift)) as i64
}

/// What a unit of quantity at a price counts for in the digest; odd, so that no difference of quantity counts for nothing. A half
/// folded over the other makes it no linear function of the price: quantity that moves between prices does not count for nothing
/// because as much moves back elsewhere. It tells divergence, which nobody contrives; whoever can choose levels can make two books
/// of the same digest.
#[inline]
fn weight(price: i64) -> u64 {
    let x = (price as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 32)) | 1
}

/// See the module header. What a change reads and writes, beside its slot and the slot's bit, is in the first cache line.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub(super) struct Ladder {
    /// Key of the window's first slot; a multiple of 64.
    low: i64,
    /// Price of the best level, negative on the ask side; [`NO_PRICE`] if there is none.
    best: i64,
    /// Quantity of the best level; 0 if there is none.
    best_qty: i64,
    slots: Box<Slots>,
    /// Sum of quantity times [`weight`] over all levels.
    digest: u64,
    /// Of the step.
    inverse: u64,
    /// Levels held, those beyond the window included.
    len: u16,
    capacity: u16,
    /// Of the step.
    shift: u8,
    /// +1 for bids, -1 for asks: turns ticks into keys.
    sign: i8,
    /// A snapshot is coming in: it brings the best levels first.
    far_best_first: bool,
    step: i64,

    /// Levels beyond the window, best last; while `far_best_first`, best first.
    far: Vec<Entry>,
}

/// The window.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
struct Slots {
    quantities: [i64; WINDOW],
    /// Those in use.
    used: [u64; WORDS],
}

impl Slots {
    #[allow(clippy::large_stack_arrays, reason = "its way to the heap is short, and once an instrument")]
    fn new() -> Box<Slots> {
        Box::new(Slots { quantities: [0; WINDOW], used: [0; WORDS] })
    }
}

const _: () = assert!(std::mem::offset_of!(Ladder, far) == 64, "the first line has what is not of a slot");
const _: () = assert!(CAPACITY_MAX < u16::MAX as usize);

/// What a change has come to within the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Near {
    /// It is done.
    Set,
    /// It is done, but for the best: there is no level at this price or better.
    BestGone,
    /// Nothing is done: the price is beyond the window, or the side full.
    Untouched,
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
            slots: Slots::new(),
            digest: 0,
            inverse,
            len: 0,
            capacity: capacity as u16,
            shift,
            sign: side.sign() as i8,
            far_best_first: false,
            step,
            far: Vec::with_capacity(capacity),
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

    /// The best level. `side` is the ladder's.
    #[inline]
    pub fn best(&self, side: Side) -> Option<Level> {
        let best = Level { price: Price(self.best.wrapping_mul(side.sign())), qty: Qty(self.best_qty) };
        if self.best_qty == 0 { None } else { Some(best) }
    }

    #[inline]
    fn sign(&self) -> i64 {
        i64::from(self.sign)
    }

    #[inline]
    fn price(&self, key: i64) -> Price {
        Price(key.wrapping_mul(self.sign()).wrapping_mul(self.step))
    }

    #[inline]
    fn key(&self, price: Price) -> i64 {
        ticks(price.0, self.inverse, self.shift).wrapping_mul(self.sign())
    }

    /// Key of the best level, of which there is one.
    #[inline]
    fn best_key(&self) -> i64 {
        self.key(Price(self.best.wrapping_mul(self.sign())))
    }

    /// Takes all levels away. `loading`: the next ones come best first.
    pub fn clear(&mut self, loading: bool) {
        let mut at = 0;
        for _ in self.far.len()..self.len() {
            let Some(offset) = self.above(at) else { break };
            self.slots.quantities[slot(self.low + offset as i64)] = 0;
            at = offset + 1;
        }
        self.slots.used = [0; WORDS];
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
        prefetch_lines(self, 1);
    }

    /// Asks for what a change of this level reads.
    #[inline]
    pub fn prefetch_level(&self, price: Price) {
        let slot = slot(self.key(price));
        prefetch(&self.slots.quantities[slot]);
        prefetch(&self.slots.used[slot / 64]);
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
    pub fn set(&mut self, price: Price, qty: Qty) -> bool {
        let near = self.set_near(price, qty);
        self.set_rest(price, qty, near)
    }

    /// As [`Ladder::set`], as far as it goes without a call; [`Ladder::set_rest`] is to follow unless that was all.
    #[inline(always)]
    pub fn set_near(&mut self, price: Price, qty: Qty) -> Near {
        let key = self.key(price);
        if !self.in_window(key) {
            return Near::Untouched;
        }
        let slot = slot(key);
        let held = self.slots.quantities[slot];
        let more_levels = u16::from(held == 0).wrapping_sub(u16::from(qty.0 == 0));
        let len = self.len.wrapping_add(more_levels);
        if len > self.capacity {
            return Near::Untouched;
        }
        self.len = len;
        self.slots.quantities[slot] = qty.0;
        let signed = price.0.wrapping_mul(self.sign());
        let is_best = signed >= self.best;
        self.best = select_unpredictable(is_best, signed, self.best);
        self.best_qty = select_unpredictable(is_best, qty.0, self.best_qty);
        let more = qty.0.wrapping_sub(held);
        self.digest = self.digest.wrapping_add(weight(price.0).wrapping_mul(more as u64));
        // The bit turns when a level comes or goes.
        self.slots.used[slot / 64] ^= u64::from(more_levels & 1) << (slot % 64);
        if self.best_qty == 0 { Near::BestGone } else { Near::Set }
    }

    /// What [`Ladder::set_near`] has left of a change.
    pub fn set_rest(&mut self, price: Price, qty: Qty, near: Near) -> bool {
        let key = self.key(price);
        match near {
            Near::Set => false,
            Near::BestGone => {
                self.find_best(key);
                false
            }
            Near::Untouched if !self.in_window(key) => self.set_beyond(price, qty),
            Near::Untouched => {
                if self.make_room(key) {
                    self.set(price, qty);
                }
                true
            }
        }
    }

    #[inline]
    fn in_window(&self, key: i64) -> bool {
        (key.wrapping_sub(self.low) as u64) < WINDOW as u64
    }

    /// Takes a difference of quantity into the digest.
    #[inline]
    fn count(&mut self, key: i64, more: i64) {
        self.digest = self.digest.wrapping_add(weight(self.price(key).0).wrapping_mul(more as u64));
    }

    /// Puts a level into its slot, which is empty.
    #[inline]
    fn enter(&mut self, key: i64, qty: i64) {
        let slot = slot(key);
        self.slots.quantities[slot] = qty;
        self.slots.used[slot / 64] |= 1 << (slot % 64);
    }

    /// Empties a slot.
    #[inline]
    fn leave(&mut self, key: i64) {
        let slot = slot(key);
        self.slots.quantities[slot] = 0;
        self.slots.used[slot / 64] &= !(1 << (slot % 64));
    }

    /// There is no level at `key` or better: the next one is the best, and the window follows it.
    #[inline(never)]
    fn find_best(&mut self, key: i64) {
        match self.below((key - self.low) as usize) {
            Some(offset) => {
                let key = self.low + offset as i64;
                self.best = key * self.step;
                self.best_qty = self.slots.quantities[slot(key)];
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
        for _ in self.far.len()..self.len() {
            let Some(offset) = self.above(at) else { break };
            let key = self.low + offset as i64;
            if key >= low {
                break;
            }
            self.far.push(Entry { key, qty: self.slots.quantities[slot(key)] });
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
        } else if qty.0 != 0 && key > self.best_key() && !self.in_window(key) {
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
            self.count(key, -self.slots.quantities[slot(key)]);
            self.leave(key);
            if key * self.step == self.best {
                self.best = NO_PRICE;
                self.best_qty = 0;
            }
        }
        self.len -= count as u16;
    }

    /// The window's word that begins with so many slots of 64 after its first.
    #[inline]
    fn word(&self, at: usize) -> u64 {
        self.slots.used[(slot(self.low) / 64 + at) % WORDS]
    }

    /// Offset in the window of the best level worse than `offset`.
    #[inline]
    fn below(&self, offset: usize) -> Option<usize> {
        let mut at = offset / 64;
        let mut bits = if at < WORDS { self.word(at) & !(u64::MAX << (offset % 64)) } else { 0 };
        while bits == 0 {
            at = at.checked_sub(1)?;
            bits = self.word(at);
        }
        Some(at * 64 + highest(bits))
    }

    /// Offset in the window of the worst level that is at `offset` or better.
    fn above(&self, offset: usize) -> Option<usize> {
        let at = offset / 64;
        let bits = if at < WORDS { self.word(at) & (u64::MAX << (offset % 64)) } else { return None };
        if bits != 0 {
            return Some(at * 64 + lowest(bits));
        }
        // The words that follow: up to the ring's end, and from its beginning.
        let (start, used) = (slot(self.low) / 64, &self.slots.used[..]);
        let from = start + at + 1;
        let (ahead, wrapped) = if from < WORDS { (&used[from..], &used[..start]) } else { (&used[from - WORDS..start], &used[..0]) };
        let next = first_set(ahead).or_else(|| first_set(wrapped).map(|next| ahead.len() + next))?;
        Some((at + 1 + next) * 64 + lowest(self.word(at + 1 + next)))
    }

    /// A walk over all levels, best first.
    #[inline]
    pub fn walk(&self) -> Walk<'_> {
        // While loading, the array is in the other order; nobody walks then.
        Walk { ladder: self, offset: 0, left: self.len() }
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

/// The first word that is not zero. Most are, so several are looked at together.
fn first_set(words: &[u64]) -> Option<usize> {
    const TOGETHER: usize = 8;
    let (chunks, rest) = words.as_chunks::<TOGETHER>();
    let any = |words: &[u64; TOGETHER]| words.iter().fold(0, |any, word| any | word) != 0;
    let at = chunks.iter().position(any).unwrap_or(words.len() / TOGETHER) * TOGETHER;
    let words = chunks.get(at / TOGETHER).map_or(rest, |chunk| &chunk[..]);
    words.iter().position(|&word| word != 0).map(|next| at + next)
}

#[inline]
const fn lowest(bits: u64) -> usize {
    bits.trailing_zeros() as usize
}

/// Levels of a side, best first.
#[derive(Clone, Debug)]
pub(super) struct Walk<'a> {
    ladder: &'a Ladder,
    /// Levels of the window at this offset and better were given out. Unknown before the second one: the best is at hand.
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
        let sign = self.ladder.sign();
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
        let ladder = self.ladder;
        if self.left == ladder.len() && self.left > 0 {
            self.left -= 1;
            return Some(Level { price: Price(ladder.best.wrapping_mul(ladder.sign())), qty: Qty(ladder.best_qty) });
        }
        self.next_worse()
    }
}

impl Walk<'_> {
    /// As [`Walk::next`], after the best.
    #[inline(never)]
    fn next_worse(&mut self) -> Option<Level> {
        let left = self.left.checked_sub(1)?;
        self.left = left;
        let ladder = self.ladder;
        if left + 2 == ladder.len() {
            self.offset = (ladder.best_key() - ladder.low) as usize;
        }
        if left >= ladder.far.len()
            && let Some(offset) = ladder.below(self.offset)
        {
            self.offset = offset;
            let key = ladder.low + offset as i64;
            return Some(Level { price: ladder.price(key), qty: Qty(ladder.slots.quantities[slot(key)]) });
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

    fn side_of(ladder: &Ladder) -> Side {
        if ladder.sign > 0 { Side::Buy } else { Side::Sell }
    }

    proptest! {
        #[test]
        fn the_first_set_is_found_wherever_it_is(set in proptest::collection::vec(0_usize..80, 0..4), len in 0_usize..=80) {
            let words: Vec<u64> = (0..len).map(|at| u64::from(set.contains(&at)) << (at % 64)).collect();
            prop_assert_eq!(first_set(&words), words.iter().position(|&word| word != 0));
        }
    }

    /// Every part against the others.
    fn check(ladder: &Ladder, model: &BTreeMap<i64, i64>) {
        let signed = |price: i64| price * ladder.sign();
        let mut expected: Vec<(i64, i64)> = model.iter().map(|(&price, &qty)| (price, qty)).collect();
        expected.sort_by_key(|&(price, _)| -signed(price));
        assert_eq!(ladder.walk().map(|level| (level.price.0, level.qty.0)).collect::<Vec<_>>(), expected);
        assert_eq!(ladder.len(), expected.len());
        assert_eq!(ladder.best(side_of(ladder)).map(|best| (best.price.0, best.qty.0)), expected.first().copied());
        assert!(ladder.far.is_sorted_by(|a, b| a.key < b.key) && ladder.far.iter().all(|entry| entry.key < ladder.low));
        let held = (0..WINDOW as i64).filter(|offset| ladder.slots.quantities[slot(ladder.low + offset)] != 0).count();
        assert_eq!(held + ladder.far.len(), expected.len(), "each level is in one place");
        let counts_for = |(&price, &qty): (&i64, &i64)| weight(price).wrapping_mul(qty as u64);
        assert_eq!(ladder.digest(), model.iter().map(counts_for).fold(0, u64::wrapping_add));
        for (at, &word) in ladder.slots.used.iter().enumerate() {
            (0..64).for_each(|bit| assert_eq!(word >> bit & 1 == 1, ladder.slots.quantities[at * 64 + bit] != 0));
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

    /// What can be done to a side.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A quantity, so many ticks from where the window begins.
        At(i64, i64),
        /// A quantity, so many ticks from the best level (better: positive).
        OfBest(i64, i64),
        /// The level of this rank (beyond the last: the last) gets another quantity.
        OfRank(usize, i64),
        /// All levels go.
        Clear,
        /// So many levels stay.
        Cut(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let qty = || prop_oneof![2 => Just(0i64), 3 => 1i64..100];
        let window = WINDOW as i64;
        let step = prop_oneof![
            // Within the window; at words of its bits, at its ends, beyond them.
            16 => (0..window, qty()).prop_map(|(at, qty)| Step::At(at, qty)),
            4 => (0..=window / 64, -1i64..2, qty()).prop_map(|(word, by, qty)| Step::At(word * 64 + by, qty)),
            2 => (-6_000..12_000i64, qty()).prop_map(|(at, qty)| Step::At(at, qty)),
            8 => (-3i64..4, qty()).prop_map(|(by, qty)| Step::OfBest(by, qty)),
            8 => (0usize..60, qty()).prop_map(|(rank, qty)| Step::OfRank(rank, qty)),
            1 => Just(Step::Clear),
            1 => (0usize..60).prop_map(Step::Cut),
        ];
        proptest::collection::vec(step, 1..300)
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
                    assert_eq!(ladder.best(side).unwrap().price, Price(price(at - 1)));
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
        fn whatever_comes_and_goes_every_part_agrees_with_the_model(
            steps in steps(), buy in any::<bool>(), tick in prop_oneof![Just(1i64), Just(5), Just(48)],
            capacity in prop_oneof![1usize..60, Just(9_000)],
        ) {
            let side = if buy { Side::Buy } else { Side::Sell };
            let (mut ladder, mut model) = (Ladder::new(side, capacity, Price(tick)), BTreeMap::new());
            let ticks_of = |ladder: &Ladder, key: i64| ladder.price(key).0;
            ladder.set(Price(100_000 * tick), Qty(1));
            model.insert(100_000 * tick, 1);
            for (i, step) in steps.into_iter().enumerate() {
                let (price, qty) = match step {
                    Step::At(at, qty) => (ticks_of(&ladder, ladder.low + at), qty),
                    Step::OfBest(by, qty) => (ladder.best(side).map_or(0, |best| best.price.0) + by * tick * side.sign(), qty),
                    Step::OfRank(rank, qty) => (ladder.walk().take(rank + 1).last().map_or(0, |level| level.price.0), qty),
                    Step::Clear => {
                        ladder.clear(false);
                        model.clear();
                        (100_000 * tick, 1)
                    }
                    Step::Cut(to) => {
                        ladder.truncate(to);
                        while model.len() > to {
                            if buy { model.pop_first() } else { model.pop_last() };
                        }
                        (100_000 * tick, 0)
                    }
                };
                if price < 1 {
                    continue;
                }
                let dropped = ladder.set(Price(price), Qty(qty));
                if qty == 0 { model.remove(&price) } else { model.insert(price, qty) };
                prop_assert_eq!(dropped, model.len() > capacity);
                if dropped {
                    if buy { model.pop_first() } else { model.pop_last() };
                }
                let best = if buy { model.last_key_value() } else { model.first_key_value() };
                prop_assert_eq!(ladder.best(side).map(|level| (level.price.0, level.qty.0)), best.map(|(&price, &qty)| (price, qty)));
                if i % 8 == 0 {
                    check(&ladder, &model);
                }
            }
            check(&ladder, &model);
        }

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
