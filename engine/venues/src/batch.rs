//! Gives out the events of one message so that exactly the final one carries `LAST`.

use engine_core::event::{Event, EventSink, flags};

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
}
