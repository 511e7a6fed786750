//! Gives out the events of one message so that exactly the final one carries `LAST`.

use engine_core::event::{Event, EventSink, Side, flags};
use engine_core::fixed::Price;
use engine_core::ids::InstrumentId;

/// Levels whose memory is asked for at once: about as many lines as a core can wait for.
const AHEAD_MAX: usize = 16;

/// What is known of a message about a book while it is still being read.
#[derive(Clone, Copy, Debug)]
pub enum Ahead<'a, R> {
    /// Whose book it is: the symbol's place, and the instrument.
    Book(usize, InstrumentId),
    /// Levels of that book that it changes.
    Levels(InstrumentId, &'a [R]),
}

/// Tells the sink which levels will follow, so that their memory comes at once, and not level by level: the sooner, the more
/// can be done meanwhile.
#[inline]
pub fn announce_levels(instrument: InstrumentId, levels: impl Iterator<Item = (Side, i64)>, sink: &mut impl EventSink) {
    sink.upcoming_levels(instrument, levels.take(AHEAD_MAX).map(|(side, price)| (side, Price(price))));
}

/// Gives out the levels of one message. `event` is like all of them; side, price and quantity are written into it.
///
/// It is one event throughout, of which only what differs is written: whoever copies events in wide pieces would
/// otherwise wait, at each, for the narrow writes that it was made of.
///
/// The sink should have heard of them: see [`announce_levels`].
#[inline]
pub fn emit_levels(mut event: Event, levels: impl ExactSizeIterator<Item = (Side, i64, i64)>, sink: &mut impl EventSink) {
    let count = levels.len();
    for (at, (side, price, qty)) in levels.enumerate() {
        if event.side != side as u8 {
            event.side = side as u8;
        }
        (event.a, event.b) = (price as u64, qty as u64);
        if at + 1 == count {
            event.flags |= flags::LAST;
        }
        sink.event(&event);
    }
}

/// Holds one event back until it is known whether another follows.
pub struct Batch<'a, S: EventSink> {
    sink: &'a mut S,
    held: Option<Event>,
}

impl<'a, S: EventSink> Batch<'a, S> {
    /// Nothing yet.
    #[inline]
    pub fn new(sink: &'a mut S) -> Batch<'a, S> {
        Batch { sink, held: None }
    }

    /// Adds an event.
    #[inline]
    pub fn push(&mut self, event: Event) {
        if let Some(before) = self.held.replace(event) {
            self.sink.event(&before);
        }
    }

    /// Gives out the final event; false if there was none at all.
    #[inline]
    pub fn finish(self) -> bool {
        let Some(last) = self.held else { return false };
        self.sink.event(&last.with(flags::LAST));
        true
    }
}

/// Counts the events that pass through.
pub struct Counting<'a, S: EventSink> {
    sink: &'a mut S,
    count: u64,
}

impl<'a, S: EventSink> Counting<'a, S> {
    /// Counts from zero.
    #[inline]
    pub fn new(sink: &'a mut S) -> Counting<'a, S> {
        Counting { sink, count: 0 }
    }

    /// How many have passed.
    #[inline]
    pub const fn count(&self) -> u64 {
        self.count
    }
}

impl<S: EventSink> EventSink for Counting<'_, S> {
    #[inline]
    fn event(&mut self, event: &Event) {
        self.count += 1;
        self.sink.event(event);
    }

    #[inline]
    fn upcoming(&mut self, instrument: InstrumentId) {
        self.sink.upcoming(instrument);
    }

    #[inline]
    fn upcoming_levels(&mut self, instrument: InstrumentId, levels: impl Iterator<Item = (Side, Price)>) {
        self.sink.upcoming_levels(instrument, levels);
    }
}
