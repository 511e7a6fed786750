//! Local ports: who has which, and which is next.

use super::random::Random;

const FREE: u16 = u16::MAX;
const QUESTION: u16 = 0x8000;
/// Widest step from a connection's port to the next one's (RFC 6056 section 3.3.5 proposes it), and the share of the ports that
/// it is at most: so many connections, at the least, are opened between two uses of a port.
const STEP_MAX: u64 = 500;
const STEP_SHARE: usize = 4;

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
    /// Where the last connection's port is, or was.
    last: usize,
}

impl Ports {
    /// Ports `first..=last`. Connections begin at a random one.
    pub(super) fn new(first: u16, last: u16, random: &mut Random) -> Ports {
        let count = usize::from(last - first) + 1;
        Ports { first, owners: vec![FREE; count].into_boxed_slice(), last: random.below(count as u64) as usize }
    }

    /// A free port, for a connection: a random step behind the last one's (RFC 6056 section 3.3.5), and the first free one from
    /// there. Who knows one port does not know the next, and a port does not come back soon.
    pub(super) fn take_next(&mut self, slot: usize, random: &mut Random) -> Option<u16> {
        let step_max = (self.owners.len() / STEP_SHARE) as u64;
        let step = 1 + random.below(step_max.min(STEP_MAX)) as usize;
        let place = self.free_from((self.last + step) % self.owners.len())?;
        self.last = place;
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

    fn few() -> (Ports, Random) {
        let mut random = Random::new(3);
        (Ports::new(100, 103, &mut random), random)
    }

    #[test]
    fn ports_have_one_owner_each_and_all_of_them_can_be_had() {
        let (mut ports, mut random) = few();
        let taken: Vec<u16> = (0..3).filter_map(|slot| ports.take_next(slot, &mut random)).collect();
        let question = ports.take_random(5, &mut random).expect("one is free");
        let mut all = [taken[0], taken[1], taken[2], question];
        all.sort_unstable();
        assert_eq!(all, [100, 101, 102, 103]);
        assert_eq!((ports.owner(question), ports.owner(taken[1])), (Some(Owner::Question(5)), Some(Owner::Slot(1))));
        assert_eq!((ports.take_next(9, &mut random), ports.owner(99), ports.owner(104)), (None, None, None));
        ports.release(taken[1]);
        assert_eq!(ports.take_next(7, &mut random), Some(taken[1]), "the only one, wherever the step leads");
        ports.release(99);
        ports.release(104);
    }

    #[test]
    fn rfc6056_3_3_5_a_port_is_a_random_step_from_the_last_and_does_not_come_back_soon() {
        let mut random = Random::new(7);
        let mut ports = Ports::new(20_000, 27_999, &mut random);
        let taken: Vec<u16> = (0..4000)
            .map(|_| {
                let port = ports.take_next(1, &mut random).expect("free");
                ports.release(port);
                port
            })
            .collect();
        let steps: Vec<u64> = taken.windows(2).map(|pair| (8000 + u64::from(pair[1]) - u64::from(pair[0])) % 8000).collect();
        assert!(steps.iter().all(|step| (1..=STEP_MAX).contains(step)));
        for part in 0..10 {
            let within = steps.iter().filter(|&&step| (step - 1) / (STEP_MAX / 10) == part).count();
            assert!((steps.len() / 15..steps.len() / 7).contains(&within), "{within} of {} steps are in part {part}", steps.len());
        }
        assert!(taken.windows(8000 / STEP_MAX as usize).all(|ports| ports[1..].iter().all(|&port| port != ports[0])));
    }
}
