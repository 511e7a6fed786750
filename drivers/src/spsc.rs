//! A bounded lock-free ring between one producer and one consumer.
//!
//! The idea: two ever-growing counters. `head` is written by the producer only, `tail` by the consumer
//! only; each sits on its own cache line and each side keeps a stale copy of the other's, which it
//! refreshes only when the ring looks full (or empty). A slot belongs to the producer while
//! `head - tail < capacity`, to the consumer once `head` has passed it. The release store of a counter
//! hands slots over, the acquire load of it takes them.
//!
//! Slots are filled in place ([`Producer::claim`]) and become visible together ([`Producer::publish`]),
//! so that a large record is written once.

#[cfg(not(loom))]
use std::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crossbeam_utils::CachePadded;

struct Shared<T> {
    /// Slots ever published.
    head: CachePadded<AtomicUsize>,
    /// Slots ever released.
    tail: CachePadded<AtomicUsize>,
    slots: Box<[UnsafeCell<T>]>,
}

// SAFETY: a slot is reached by one side at a time (the counters decide which, with release/acquire
// hand-over), so sharing the ring between two threads needs only that T may move between them.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; nothing in it is bound to a thread.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    #[inline]
    fn slot(&self, counter: usize) -> &UnsafeCell<T> {
        &self.slots[counter & (self.slots.len() - 1)]
    }
}

#[cfg(not(loom))]
fn with_mut<T, R>(cell: &UnsafeCell<T>, action: impl FnOnce(*mut T) -> R) -> R {
    action(cell.get())
}

#[cfg(loom)]
fn with_mut<T, R>(cell: &UnsafeCell<T>, action: impl FnOnce(*mut T) -> R) -> R {
    cell.with_mut(action)
}

/// The sending side.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Slots claimed so far, published or not.
    claimed: usize,
    /// Slots published so far.
    published: usize,
    /// A possibly stale copy of `tail`.
    tail: usize,
}

/// The receiving side.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// Slots released so far.
    tail: usize,
    /// A possibly stale copy of `head`.
    head: usize,
}

/// Makes a ring of `capacity` slots, rounded up to a power of two.
pub fn ring<T: Default + Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    ring_with(capacity, T::default)
}

/// Makes a ring whose slots begin as `make` makes them: for slots that own memory and are reused.
pub fn ring_with<T: Send>(capacity: usize, mut make: impl FnMut() -> T) -> (Producer<T>, Consumer<T>) {
    let capacity = capacity.max(1).next_power_of_two();
    let slots: Box<[UnsafeCell<T>]> = (0..capacity).map(|_| UnsafeCell::new(make())).collect();
    let shared = Arc::new(Shared { head: CachePadded::new(AtomicUsize::new(0)), tail: CachePadded::new(AtomicUsize::new(0)), slots });
    (Producer { shared: shared.clone(), claimed: 0, published: 0, tail: 0 }, Consumer { shared, tail: 0, head: 0 })
}

impl<T> Producer<T> {
    /// How many slots the ring has.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// How many claimed slots are not yet published.
    #[inline]
    pub fn staged(&self) -> usize {
        self.claimed.wrapping_sub(self.published)
    }

    /// Claims the next slot and writes it in place; false (and no call) if the ring is full. The slot
    /// holds whatever was left in it. Invisible to the consumer until [`Producer::publish`].
    #[inline]
    pub fn claim(&mut self, write: impl FnOnce(&mut T)) -> bool {
        if self.claimed.wrapping_sub(self.tail) >= self.capacity() {
            self.tail = self.shared.tail.load(Ordering::Acquire);
            if self.claimed.wrapping_sub(self.tail) >= self.capacity() {
                return false;
            }
        }
        // SAFETY: the slot is released by the consumer (acquire above, now or earlier) and not yet
        // published, so this side alone reaches it.
        with_mut(self.shared.slot(self.claimed), |slot| write(unsafe { &mut *slot }));
        self.claimed = self.claimed.wrapping_add(1);
        true
    }

    /// Revisits every staged slot, oldest first.
    #[inline]
    pub fn for_each_staged(&mut self, mut visit: impl FnMut(&mut T)) {
        let mut at = self.published;
        while at != self.claimed {
            // SAFETY: staged slots are claimed but not published: this side alone reaches them.
            with_mut(self.shared.slot(at), |slot| visit(unsafe { &mut *slot }));
            at = at.wrapping_add(1);
        }
    }

    /// Makes all claimed slots visible to the consumer.
    #[inline]
    pub fn publish(&mut self) {
        if self.published != self.claimed {
            self.published = self.claimed;
            self.shared.head.store(self.claimed, Ordering::Release);
        }
    }

    /// Claims, writes and publishes one value (and everything staged before it); false if full.
    #[inline]
    pub fn push(&mut self, value: T) -> bool {
        let done = self.claim(|slot| *slot = value);
        if done {
            self.publish();
        }
        done
    }

    /// True if the consumer has been dropped.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }
}

impl<T> Consumer<T> {
    /// True if there is a slot to read.
    #[inline]
    pub fn is_ready(&mut self) -> bool {
        if self.tail == self.head {
            self.head = self.shared.head.load(Ordering::Acquire);
        }
        self.tail != self.head
    }

    /// Reads the oldest slot in place and releases it; `None` if the ring is empty.
    #[inline]
    pub fn consume<R>(&mut self, read: impl FnOnce(&mut T) -> R) -> Option<R> {
        if !self.is_ready() {
            return None;
        }
        // SAFETY: the slot was published (acquire in `is_ready`) and not yet released, so this side
        // alone reaches it.
        let answer = with_mut(self.shared.slot(self.tail), |slot| read(unsafe { &mut *slot }));
        self.tail = self.tail.wrapping_add(1);
        self.shared.tail.store(self.tail, Ordering::Release);
        Some(answer)
    }

    /// Takes a copy of the oldest value.
    #[inline]
    pub fn pop(&mut self) -> Option<T>
    where
        T: Copy,
    {
        self.consume(|slot| *slot)
    }

    /// True if the producer has been dropped.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_in_order_and_a_full_ring_refuses() {
        let (mut producer, mut consumer) = ring::<u32>(3);
        assert_eq!(producer.capacity(), 4);
        assert!((0..4).all(|value| producer.push(value)));
        assert!(!producer.push(4));
        assert_eq!(consumer.pop(), Some(0));
        assert!(producer.push(4));
        assert_eq!(std::iter::from_fn(|| consumer.pop()).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(consumer.pop(), None);
    }

    #[test]
    fn staged_slots_stay_invisible_until_published() {
        let (mut producer, mut consumer) = ring::<u32>(4);
        assert!(producer.claim(|slot| *slot = 7));
        assert!(producer.claim(|slot| *slot = 8));
        assert_eq!((consumer.pop(), producer.staged()), (None, 2));
        producer.for_each_staged(|slot| *slot += 10);
        producer.publish();
        assert_eq!((consumer.pop(), consumer.pop(), consumer.pop(), producer.staged()), (Some(17), Some(18), None, 0));
    }

    #[test]
    fn two_threads_lose_and_repeat_nothing() {
        const COUNT: u64 = 200_000;
        let (mut producer, mut consumer) = ring::<u64>(64);
        let sender = std::thread::spawn(move || {
            let mut next = 0;
            while next < COUNT {
                if producer.push(next) {
                    next += 1;
                } else {
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < COUNT {
            match consumer.pop() {
                Some(value) => {
                    assert_eq!(value, expected);
                    expected += 1;
                }
                None => std::thread::yield_now(),
            }
        }
        sender.join().expect("sender finishes");
        assert!(consumer.is_abandoned());
    }
}
