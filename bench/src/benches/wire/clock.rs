//! The clients' clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970, counted on by the time stamp counter.
#[derive(Clone, Debug)]
pub struct Clock {
    counter: quanta::Clock,
    start: u64,
    start_ns: u64,
}

impl Clock {
    /// Set by the wall clock.
    pub fn new() -> Clock {
        let counter = quanta::Clock::new();
        let start = counter.raw();
        let start_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        Clock { start, counter, start_ns }
    }

    /// Now.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.start_ns + self.counter.delta_as_nanos(self.start, self.counter.raw())
    }
}
