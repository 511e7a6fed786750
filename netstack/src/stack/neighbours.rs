//! Who is where on the link: the ARP table (RFC 826), refreshed ahead of time.
//!
//! One idea: a neighbour once found is never forgotten while it is needed. Long before its entry is old
//! it is asked again, by a unicast question beside the traffic (RFC 1122 section 2.3.2.1); until the
//! answer is here, and even if none comes, frames keep going where they went. No data ever waits for an
//! ARP answer, except the first SYN to a new neighbour.
//!
//! Only neighbours that we asked for are learnt: others on the link cannot fill the table. A neighbour that seems
//! to have moved is believed at once (a standby that takes over announces itself so), and all are asked at
//! once: if it was a lie, the owner's answer undoes it within a round trip.

use std::net::Ipv4Addr;

/// After this time without a confirmation a neighbour is asked again.
pub const REFRESH_NS: u64 = 20_000_000_000;
/// Between two questions of one refresh.
pub const REFRESH_RETRY_NS: u64 = 1_000_000_000;
/// Questions to the known hardware address before all are asked.
pub const UNICAST_QUESTIONS: u32 = 3;
/// Between two questions for an unknown neighbour.
pub const SEARCH_RETRY_NS: u64 = 250_000_000;
/// Questions for an unknown neighbour before it counts as unreachable.
pub const SEARCH_QUESTIONS: u32 = 4;
/// A neighbour that nobody has asked for in this time is not refreshed any more.
pub const UNUSED_NS: u64 = 120_000_000_000;

/// Count of questions of a neighbour that has just moved: its next question goes to all. (A neighbour that is
/// asked for in the usual course never rests at this count.)
const ASK_ALL_AT_ONCE: u32 = UNICAST_QUESTIONS + 1;

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: Ipv4Addr,
    /// `None` while it is searched for.
    mac: Option<[u8; 6]>,
    /// Given by the configuration: never asked for.
    fixed: bool,
    /// The gateway: always refreshed.
    keep: bool,
    /// When the next question is due.
    question_at_ns: u64,
    /// Questions since the last answer.
    questions: u32,
    /// When it was last asked for.
    used_ns: u64,
    /// When all were asked because it had moved.
    moved_ns: u64,
}

/// A question to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// Who is asked for.
    pub target: Ipv4Addr,
    /// Who is asked: a known neighbour, or all.
    pub to: Option<[u8; 6]>,
}

/// What an ARP packet taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learnt {
    /// It is about nobody that we need.
    Nothing,
    /// What we knew still holds.
    Confirmed,
    /// Found, or moved to another hardware address.
    New {
        /// True if it had another one before.
        moved: bool,
    },
}

/// What [`Neighbours::poll`] found due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Send this question.
    Ask(Question),
    /// Nobody answers for this address.
    Unreachable(Ipv4Addr),
    /// This known neighbour did not answer a round of questions.
    Silent(Ipv4Addr),
}

/// The table. Its size is fixed at construction.
#[derive(Debug)]
pub(crate) struct Neighbours {
    entries: Vec<Entry>,
    capacity: usize,
    next_ns: u64,
}

impl Neighbours {
    /// A table with the given fixed entries and room for `dynamic` others.
    pub(crate) fn new(fixed: &[(Ipv4Addr, [u8; 6])], dynamic: usize) -> Neighbours {
        let capacity = fixed.len() + dynamic;
        let mut entries = Vec::with_capacity(capacity);
        entries.extend(fixed.iter().map(|&(address, mac)| Entry {
            address,
            mac: Some(mac),
            fixed: true,
            keep: true,
            question_at_ns: u64::MAX,
            questions: 0,
            used_ns: 0,
            moved_ns: 0,
        }));
        Neighbours { entries, capacity, next_ns: u64::MAX }
    }

    /// When [`Neighbours::poll`] has something to do.
    pub(crate) fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// The neighbour's hardware address, if it is known; else it is searched for from now on.
    pub(crate) fn want(&mut self, address: Ipv4Addr, now_ns: u64) -> Option<[u8; 6]> {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.address == address) {
            entry.used_ns = now_ns;
            if entry.question_at_ns == u64::MAX && !entry.fixed {
                // It had been left alone as unused.
                entry.question_at_ns = now_ns;
                self.next_ns = now_ns;
            }
            return entry.mac;
        }
        self.search(address, false, now_ns);
        None
    }

    /// Keeps this neighbour (the gateway) known whether it is in use or not.
    pub(crate) fn keep(&mut self, address: Ipv4Addr, now_ns: u64) {
        match self.entries.iter_mut().find(|entry| entry.address == address) {
            Some(entry) => entry.keep = true,
            None => self.search(address, true, now_ns),
        }
    }

    /// Forgets all but the fixed entries: the address has changed, and the link maybe too.
    pub(crate) fn clear(&mut self) {
        self.entries.retain(|entry| entry.fixed);
        self.next_ns = u64::MAX;
    }

    fn search(&mut self, address: Ipv4Addr, keep: bool, now_ns: u64) {
        let entry = Entry { address, mac: None, fixed: false, keep, question_at_ns: now_ns, questions: 0, used_ns: now_ns, moved_ns: 0 };
        if self.entries.len() < self.capacity {
            self.entries.push(entry);
        } else if let Some(oldest) = self.entries.iter_mut().filter(|entry| !entry.fixed && !entry.keep).min_by_key(|entry| entry.used_ns) {
            *oldest = entry;
        }
        self.next_ns = now_ns;
    }

    /// Takes in that `address` is at `mac`.
    pub(crate) fn learn(&mut self, address: Ipv4Addr, mac: [u8; 6], now_ns: u64) -> Learnt {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.address == address && !entry.fixed) else {
            return Learnt::Nothing;
        };
        let before = entry.mac.replace(mac);
        if entry.questions == ASK_ALL_AT_ONCE && before == Some(mac) {
            // A lie that is repeated does not keep us from asking.
            return Learnt::Confirmed;
        }
        entry.questions = 0;
        entry.question_at_ns = now_ns.saturating_add(REFRESH_NS);
        if before.is_some_and(|known| known != mac) {
            // The next question goes to all; two that both claim to be it do not make us ask without end.
            entry.questions = ASK_ALL_AT_ONCE;
            entry.question_at_ns = now_ns.max(entry.moved_ns.saturating_add(SEARCH_RETRY_NS));
            entry.moved_ns = entry.question_at_ns;
        }
        self.next_ns = self.next_ns.min(entry.question_at_ns);
        match before {
            Some(known) if known == mac => Learnt::Confirmed,
            before => Learnt::New { moved: before.is_some() },
        }
    }

    /// The next thing that is due, one at a time; `None` if nothing is until [`Neighbours::next_ns`].
    pub(crate) fn poll(&mut self, now_ns: u64) -> Option<Due> {
        if now_ns < self.next_ns {
            return None;
        }
        // What nobody has used for long is left alone until somebody does.
        for entry in &mut self.entries {
            if entry.mac.is_some() && !entry.keep && entry.questions == 0 && now_ns.saturating_sub(entry.used_ns) > UNUSED_NS {
                entry.question_at_ns = u64::MAX;
            }
        }
        let Some(index) = self.entries.iter().position(|entry| entry.question_at_ns <= now_ns) else {
            self.next_ns = self.entries.iter().map(|entry| entry.question_at_ns).min().unwrap_or(u64::MAX);
            return None;
        };
        let entry = &mut self.entries[index];
        let target = entry.address;
        let Some(mac) = entry.mac else {
            if entry.questions >= SEARCH_QUESTIONS {
                if entry.keep {
                    entry.questions = 0;
                    entry.question_at_ns = now_ns.saturating_add(REFRESH_RETRY_NS);
                } else {
                    self.entries.swap_remove(index);
                }
                return Some(Due::Unreachable(target));
            }
            entry.questions += 1;
            entry.question_at_ns = now_ns.saturating_add(SEARCH_RETRY_NS);
            return Some(Due::Ask(Question { target, to: None }));
        };
        entry.questions = entry.questions.saturating_add(1);
        entry.question_at_ns = now_ns.saturating_add(REFRESH_RETRY_NS);
        if entry.questions == UNICAST_QUESTIONS + 1 {
            entry.questions += 1;
            entry.question_at_ns = now_ns;
            return Some(Due::Silent(target));
        }
        Some(Due::Ask(Question { target, to: (entry.questions <= UNICAST_QUESTIONS).then_some(mac) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const MOVED: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const SECOND: u64 = 1_000_000_000;

    fn drain(table: &mut Neighbours, now_ns: u64) -> Vec<Due> {
        std::iter::from_fn(|| table.poll(now_ns)).take(100).collect()
    }

    #[test]
    fn an_unknown_neighbour_is_searched_for_and_then_unreachable() {
        let mut table = Neighbours::new(&[], 4);
        assert_eq!(table.want(OTHER, 0), None);
        let ask = Due::Ask(Question { target: OTHER, to: None });
        for round in 0..SEARCH_QUESTIONS {
            assert_eq!(drain(&mut table, u64::from(round) * SEARCH_RETRY_NS), [ask]);
        }
        assert_eq!(drain(&mut table, 10 * SECOND), [Due::Unreachable(OTHER)]);
        assert_eq!(table.next_ns(), u64::MAX);
        assert_eq!(table.want(OTHER, 11 * SECOND), None, "and searched for again when it is wanted again");
        assert_eq!(drain(&mut table, 11 * SECOND), [ask]);
    }

    #[test]
    fn a_known_neighbour_is_asked_again_in_time_and_stays_known_without_an_answer() {
        let mut table = Neighbours::new(&[], 4);
        table.keep(GATEWAY, 0);
        drain(&mut table, 0);
        assert_eq!(table.learn(GATEWAY, MAC, 0), Learnt::New { moved: false });
        assert_eq!(drain(&mut table, REFRESH_NS - 1), []);
        let unicast = Due::Ask(Question { target: GATEWAY, to: Some(MAC) });
        let broadcast = Due::Ask(Question { target: GATEWAY, to: None });
        assert_eq!(drain(&mut table, REFRESH_NS), [unicast]);
        assert_eq!(drain(&mut table, REFRESH_NS + SECOND), [unicast]);
        assert_eq!(drain(&mut table, REFRESH_NS + 2 * SECOND), [unicast]);
        assert_eq!(drain(&mut table, REFRESH_NS + 3 * SECOND), [Due::Silent(GATEWAY), broadcast]);
        assert_eq!(drain(&mut table, REFRESH_NS + 4 * SECOND), [broadcast]);
        assert_eq!(table.want(GATEWAY, 100 * SECOND), Some(MAC));
        assert_eq!(table.learn(GATEWAY, MOVED, 100 * SECOND), Learnt::New { moved: true });
        assert_eq!(table.learn(GATEWAY, MOVED, 100 * SECOND), Learnt::Confirmed);
    }

    #[test]
    fn a_neighbour_that_seems_to_move_is_believed_and_asked_for_at_once_but_not_without_end() {
        let mut table = Neighbours::new(&[], 4);
        table.want(OTHER, SECOND);
        drain(&mut table, SECOND);
        table.learn(OTHER, MAC, SECOND);
        let broadcast = Due::Ask(Question { target: OTHER, to: None });
        let mut now_ns = 2 * SECOND;
        assert_eq!(table.learn(OTHER, MOVED, now_ns), Learnt::New { moved: true });
        assert_eq!(table.learn(OTHER, MOVED, now_ns), Learnt::Confirmed, "said twice");
        assert_eq!(drain(&mut table, now_ns), [broadcast]);
        // It was a lie: the owner answers. That is news again, and asked for again, later.
        assert_eq!(table.learn(OTHER, MAC, now_ns), Learnt::New { moved: true });
        assert_eq!(drain(&mut table, now_ns + SEARCH_RETRY_NS - 1), []);
        assert_eq!(drain(&mut table, now_ns + SEARCH_RETRY_NS), [broadcast]);
        assert_eq!(table.learn(OTHER, MAC, now_ns + SEARCH_RETRY_NS), Learnt::Confirmed);
        assert_eq!(drain(&mut table, now_ns + REFRESH_NS), [], "and now it is as any other");
        // Two that never agree: four questions a second, no more.
        now_ns += 10 * SECOND;
        let mut questions = 0;
        for round in 0..1_000u64 {
            table.learn(OTHER, if round % 2 == 0 { MOVED } else { MAC }, now_ns + round * 1_000_000);
            questions += drain(&mut table, now_ns + round * 1_000_000).len();
        }
        assert!((1..=5).contains(&questions), "{questions}");
    }

    #[test]
    fn only_wanted_neighbours_are_learnt_and_fixed_ones_never_change() {
        let mut table = Neighbours::new(&[(GATEWAY, MAC)], 1);
        assert_eq!(table.learn(OTHER, MAC, 0), Learnt::Nothing);
        assert_eq!(table.learn(GATEWAY, MOVED, 0), Learnt::Nothing);
        assert_eq!(table.want(GATEWAY, 0), Some(MAC));
        assert_eq!(table.next_ns(), u64::MAX, "and are never asked for");
    }

    #[test]
    fn a_neighbour_that_is_not_used_is_left_alone_until_it_is_wanted() {
        let mut table = Neighbours::new(&[], 1);
        table.want(OTHER, 0);
        drain(&mut table, 0);
        table.learn(OTHER, MAC, 0);
        let mut now_ns = 0;
        while now_ns < UNUSED_NS + 2 * REFRESH_NS {
            now_ns += REFRESH_NS;
            drain(&mut table, now_ns);
            table.learn(OTHER, MAC, now_ns);
        }
        drain(&mut table, now_ns + REFRESH_NS);
        assert_eq!(table.next_ns(), u64::MAX);
        assert_eq!(table.want(OTHER, 2 * now_ns), Some(MAC));
        assert_eq!(drain(&mut table, 2 * now_ns).len(), 1);
    }

    #[test]
    fn a_full_table_gives_up_what_was_used_longest_ago() {
        let mut table = Neighbours::new(&[], 2);
        for (time, host) in [(0, 1), (1, 2), (2, 3)] {
            table.want(Ipv4Addr::new(10, 0, 0, host), time);
        }
        assert_eq!(table.learn(Ipv4Addr::new(10, 0, 0, 1), MAC, 3), Learnt::Nothing);
        assert_eq!(table.learn(Ipv4Addr::new(10, 0, 0, 3), MAC, 3), Learnt::New { moved: false });
    }
}
