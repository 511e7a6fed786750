//! Keeps a log readable when something happens thousands of times a second.

use engine_core::event::Event;
use std::collections::BTreeMap;

/// The same thing is logged at most once in so long.
const QUIET_NS: u64 = 1_000_000_000;
/// Different things remembered; beyond it all are forgotten (and may be logged again).
const KEYS_MAX: usize = 4_096;

/// What makes two events the same thing: kind, code, venue, instrument.
type Key = (u8, u32, u8, u16);

/// Lets the first of a kind through, then one a second with the number left out.
#[derive(Debug, Default)]
pub struct Throttle {
    seen: BTreeMap<Key, (u64, u64)>,
}

impl Throttle {
    /// `Some(n)` if the event is to be logged, n of its like having been left out before it.
    pub fn pass(&mut self, event: &Event) -> Option<u64> {
        if self.seen.len() >= KEYS_MAX {
            self.seen.clear();
        }
        let key = (event.kind, event.code, event.venue, event.instrument);
        let Some((last_ns, left_out)) = self.seen.get_mut(&key) else {
            self.seen.insert(key, (event.core_time_ns, 0));
            return Some(0);
        };
        if event.core_time_ns.saturating_sub(*last_ns) < QUIET_NS {
            *left_out += 1;
            return None;
        }
        *last_ns = event.core_time_ns;
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_passes_then_one_a_second_with_the_count_of_the_others() {
        let mut throttle = Throttle::default();
        let at = |ms: u64, code: u32| Event { kind: 140, code, core_time_ns: ms * 1_000_000, ..Event::default() };
        assert_eq!(throttle.pass(&at(1_000, 1)), Some(0));
        assert_eq!(throttle.pass(&at(1_001, 1)), None);
        assert_eq!(throttle.pass(&at(1_001, 2)), Some(0), "another code is another thing");
        assert_eq!(throttle.pass(&at(1_999, 1)), None);
        assert_eq!(throttle.pass(&at(2_000, 1)), Some(2));
        assert_eq!(throttle.pass(&at(3_500, 1)), Some(0));
        assert_eq!(throttle.pass(&at(0, 1)), None, "a clock that stepped back does not flood the log");
    }
}
