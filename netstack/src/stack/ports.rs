//! Local ports: who has which, and which is next.

use super::random::Random;

const FREE: u16 = u16::MAX;
const QUESTION: u16 = 0x8000;

/// Who has a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The connection in this slot.
    Slot(usize),
    /// The DNS question in this place.
    Question(usize),
}

/// All ports of our range. A port has one owner, whatever the peer: finding a segment's socket is one look.
#[derive(Debug)]
pub(super) struct Ports {
    first: u16,
    owners: Box<[u16]>,
    next: usize,
}

impl Ports {
    /// Ports `first..=last`. Connections begin at a random one (RFC 6056 section 3.3) and go around from
    /// there: a port comes back only after all others.
    pub(super) fn new(first: u16, last: u16, random: &mut Random) -> Ports {
        let count = usize::from(last - first) + 1;
        Ports { first, owners: vec![FREE; count].into_boxed_slice(), next: random.below(count as u64) as usize }
    }

    /// The next free port, for a connection.
    pub(super) fn take_next(&mut self, slot: usize) -> Option<u16> {
        let place = self.free_from(self.next)?;
        self.next = (place + 1) % self.owners.len();
        self.owners[place] = slot as u16;
        Some(self.first + place as u16)
    }

    /// A random free port, for a DNS question (RFC 5452 section 9.2).
    pub(super) fn take_random(&mut self, question: usize, random: &mut Random) -> Option<u16> {
        let place = self.free_from(random.below(self.owners.len() as u64) as usize)?;
        self.owners[place] = QUESTION | question as u16;
        Some(self.first + place as u16)
    }

    fn free_from(&self, start: usize) -> Option<usize> {
        let (before, after) = self.owners.split_at(start);
        let free = |owners: &[u16]| owners.iter().position(|&owner| owner == FREE);
        free(after).map(|place| start + place).or_else(|| free(before))
    }

    /// Gives a port back.
    pub(super) fn release(&mut self, port: u16) {
        if let Some(owner) = port.checked_sub(self.first).and_then(|place| self.owners.get_mut(usize::from(place))) {
            *owner = FREE;
        }
    }

    /// Who has the port.
    #[inline]
    pub(super) fn owner(&self, port: u16) -> Option<Owner> {
        match *self.owners.get(usize::from(port.checked_sub(self.first)?))? {
            FREE => None,
            question if question & QUESTION != 0 => Some(Owner::Question(usize::from(question & !QUESTION))),
            slot => Some(Owner::Slot(usize::from(slot))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_go_around_and_have_one_owner_each() {
        let mut random = Random::new(3);
        let mut ports = Ports::new(100, 103, &mut random);
        let first = ports.take_next(1).expect("free");
        ports.release(first);
        let others: Vec<u16> = (0..3).filter_map(|slot| ports.take_next(slot)).collect();
        assert!(!others.contains(&first), "a released port comes back last");
        let question = ports.take_random(5, &mut random).expect("one is free");
        assert_eq!(question, first);
        assert_eq!((ports.owner(question), ports.owner(others[1])), (Some(Owner::Question(5)), Some(Owner::Slot(1))));
        assert_eq!((ports.take_next(9), ports.owner(99), ports.owner(104)), (None, None, None));
        ports.release(99);
        ports.release(104);
    }
}
