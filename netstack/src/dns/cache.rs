//! What is known of names, and until when.

use std::net::Ipv4Addr;

use super::FAILURE_HOLD_NS;
use super::message::ADDRESSES_MAX;
use super::name::Name;

/// Names that are remembered.
const NAMES_MAX: usize = 64;
const SECOND_NS: u64 = 1_000_000_000;
/// Bounds of how long an answer is believed, whatever the server says.
const TTL_MIN_S: u32 = 5;
const TTL_MAX_S: u32 = 3600;
const NEGATIVE_TTL_MAX_S: u32 = 60;
/// How long addresses may be used after their time while no server answers (RFC 8767 section 5).
const STALE_NS: u64 = 86_400 * SECOND_NS;
/// How long such old addresses are given out before servers are asked again.
const STALE_HOLD_NS: u64 = 30 * SECOND_NS;

/// What the cache says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Address(Ipv4Addr),
    NoSuchName,
    TimedOut,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Name,
    /// Addresses; none if there is no such name, or no answer.
    addresses: [Ipv4Addr; ADDRESSES_MAX],
    count: usize,
    /// Which address is given out next.
    turn: usize,
    /// What an entry without addresses says.
    failure: Known,
    until_ns: u64,
    stale_until_ns: u64,
}

/// The cache: a short list, searched from the front. Its memory is taken at construction.
#[derive(Debug)]
pub(super) struct Cache {
    entries: Vec<Entry>,
}

impl Cache {
    pub(super) fn new() -> Cache {
        Cache { entries: Vec::with_capacity(NAMES_MAX) }
    }

    /// What holds now.
    pub(super) fn look_up(&mut self, name: &Name, now_ns: u64) -> Option<Known> {
        let entry = self.entries.iter_mut().find(|entry| entry.name == *name && entry.until_ns > now_ns)?;
        if entry.count == 0 {
            return Some(entry.failure);
        }
        let address = entry.addresses[entry.turn % entry.count];
        entry.turn = (entry.turn + 1) % entry.count;
        Some(Known::Address(address))
    }

    pub(super) fn addresses(&mut self, name: &Name, addresses: &[Ipv4Addr], ttl_s: u32, now_ns: u64) {
        let until_ns = now_ns.saturating_add(u64::from(ttl_s.clamp(TTL_MIN_S, TTL_MAX_S)) * SECOND_NS);
        let entry = self.entry(name, now_ns);
        let count = addresses.len().min(ADDRESSES_MAX);
        entry.addresses[..count].copy_from_slice(&addresses[..count]);
        entry.count = count;
        entry.turn = 0;
        entry.until_ns = until_ns;
        entry.stale_until_ns = until_ns.saturating_add(STALE_NS);
    }

    pub(super) fn no_such_name(&mut self, name: &Name, ttl_s: u32, now_ns: u64) {
        let until_ns = now_ns.saturating_add(u64::from(ttl_s.clamp(TTL_MIN_S, NEGATIVE_TTL_MAX_S)) * SECOND_NS);
        let entry = self.entry(name, now_ns);
        entry.count = 0;
        entry.failure = Known::NoSuchName;
        entry.until_ns = until_ns;
        entry.stale_until_ns = until_ns;
    }

    /// No server answered: old addresses are good for a while longer.
    pub(super) fn no_answer(&mut self, name: &Name, now_ns: u64) {
        let entry = self.entry(name, now_ns);
        if entry.count > 0 && entry.stale_until_ns > now_ns {
            entry.until_ns = now_ns.saturating_add(STALE_HOLD_NS);
            return;
        }
        entry.count = 0;
        entry.failure = Known::TimedOut;
        entry.until_ns = now_ns.saturating_add(FAILURE_HOLD_NS);
        entry.stale_until_ns = entry.until_ns;
    }

    /// The name's entry, or a new one in the place of the one that has been useless longest.
    fn entry(&mut self, name: &Name, now_ns: u64) -> &mut Entry {
        if let Some(index) = self.entries.iter().position(|entry| entry.name == *name) {
            return &mut self.entries[index];
        }
        let fresh = Entry {
            name: *name,
            addresses: [Ipv4Addr::UNSPECIFIED; ADDRESSES_MAX],
            count: 0,
            turn: 0,
            failure: Known::TimedOut,
            until_ns: now_ns,
            stale_until_ns: now_ns,
        };
        let index = if self.entries.len() < NAMES_MAX {
            self.entries.push(fresh);
            self.entries.len() - 1
        } else {
            let oldest = self.entries.iter().enumerate().min_by_key(|(_, entry)| (entry.until_ns, entry.stale_until_ns));
            let index = oldest.map_or(0, |(index, _)| index);
            self.entries[index] = fresh;
            index
        };
        &mut self.entries[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    #[test]
    fn addresses_hold_for_their_time_and_take_turns() {
        let mut cache = Cache::new();
        let [first, second] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
        cache.addresses(&name("a.example"), &[first, second], 10, 0);
        let seen: Vec<_> = (0..3).map(|_| cache.look_up(&name("A.example"), 1)).collect();
        assert_eq!(seen, [Some(Known::Address(first)), Some(Known::Address(second)), Some(Known::Address(first))]);
        assert_eq!(cache.look_up(&name("a.example"), 10 * SECOND_NS), None);
        cache.no_answer(&name("a.example"), 11 * SECOND_NS);
        assert_eq!(cache.look_up(&name("a.example"), 12 * SECOND_NS), Some(Known::Address(second)), "old beats none");
        cache.no_answer(&name("a.example"), 12 * SECOND_NS + STALE_NS);
        assert_eq!(cache.look_up(&name("a.example"), 12 * SECOND_NS + STALE_NS), Some(Known::TimedOut));
    }

    #[test]
    fn times_to_live_are_bounded() {
        let mut cache = Cache::new();
        let address = Ipv4Addr::new(192, 0, 2, 1);
        cache.addresses(&name("zero.example"), &[address], 0, 0);
        cache.addresses(&name("ever.example"), &[address], u32::MAX, 0);
        cache.no_such_name(&name("none.example"), u32::MAX, 0);
        assert!(cache.look_up(&name("zero.example"), 4 * SECOND_NS).is_some());
        assert!(cache.look_up(&name("ever.example"), 3601 * SECOND_NS).is_none());
        assert_eq!(cache.look_up(&name("none.example"), 59 * SECOND_NS), Some(Known::NoSuchName));
        assert_eq!(cache.look_up(&name("none.example"), 61 * SECOND_NS), None);
    }

    #[test]
    fn a_full_cache_gives_up_what_ends_first() {
        let mut cache = Cache::new();
        for number in 0..=NAMES_MAX {
            cache.addresses(&name(&format!("host{number}.example")), &[Ipv4Addr::LOCALHOST], 100 + number as u32, 0);
        }
        assert!(cache.look_up(&name("host0.example"), 0).is_none());
        assert!((1..=NAMES_MAX).all(|number| cache.look_up(&name(&format!("host{number}.example")), 0).is_some()));
    }
}
