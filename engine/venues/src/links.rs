//! Which connections of a role are open, and which of them are subscribed.
//!
//! Usually there is one; during a planned renewal there are two, and both deliver. What counts is
//! whether *any* ready link remains: only then is a stream uninterrupted.

use core::cmp::Reverse;

/// Connections of one role that may be open at a time; beyond, the oldest is forgotten.
const LINKS_MAX: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    generation: u32,
    ready: bool,
}

/// The open connections of one role.
#[derive(Clone, Debug, Default)]
pub struct LinkSet {
    open: [Option<Entry>; LINKS_MAX],
    /// Generation of the newest, as every order asks for it.
    newest: Option<u32>,
}

impl LinkSet {
    /// A connection is open, and not ready yet.
    pub fn open(&mut self, generation: u32) {
        self.close(generation);
        let entry = Some(Entry { generation, ready: false });
        match self.open.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = entry,
            None => {
                if let Some(oldest) = self.open.iter_mut().min_by_key(|slot| slot.map(|e| e.generation)) {
                    *oldest = entry;
                }
            }
        }
        self.find_newest();
    }

    fn find_newest(&mut self) {
        self.newest = self.open.iter().flatten().map(|e| e.generation).max();
    }

    /// A connection is gone.
    pub fn close(&mut self, generation: u32) {
        for slot in &mut self.open {
            if slot.is_some_and(|e| e.generation == generation) {
                *slot = None;
            }
        }
        self.find_newest();
    }

    /// Notes that a connection is subscribed (or no longer is).
    pub fn set_ready(&mut self, generation: u32, ready: bool) {
        for entry in self.open.iter_mut().flatten() {
            if entry.generation == generation {
                entry.ready = ready;
            }
        }
    }

    /// The newest open connection: the one that messages for the role go to.
    #[inline]
    pub const fn newest(&self) -> Option<u32> {
        self.newest
    }

    /// True if the newest connection is ready.
    #[inline]
    pub fn newest_ready(&self) -> bool {
        self.open.iter().flatten().min_by_key(|e| Reverse(e.generation)).is_some_and(|e| e.ready)
    }

    /// True if any connection is ready.
    #[inline]
    pub fn any_ready(&self) -> bool {
        self.open.iter().flatten().any(|e| e.ready)
    }

    /// True if this connection is open.
    #[inline]
    pub fn is_open(&self, generation: u32) -> bool {
        self.open.iter().flatten().any(|e| e.generation == generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_keeps_the_old_link_until_it_goes() {
        let mut links = LinkSet::default();
        links.open(1);
        links.set_ready(1, true);
        links.open(2);
        assert!(links.any_ready() && !links.newest_ready());
        assert_eq!(links.newest(), Some(2));
        links.set_ready(2, true);
        links.close(1);
        assert!(links.newest_ready() && !links.is_open(1));
        links.close(2);
        assert!(!links.any_ready() && links.newest().is_none());
        for generation in 10..20 {
            links.open(generation);
        }
        assert_eq!(links.newest(), Some(19));
    }
}
