//! Requests that await their answers: what each was about, when it was sent, on which connection.
//!
//! Ids count up, so the table is a ring: the place of a request is its sequence modulo the size, and the
//! oldest unanswered one is found by walking forward. An id is text of fixed length (a letter that says
//! what it is, for the reader of a capture, and our 12 hexadecimal digits of epoch and sequence).

use engine_core::ids::OrderId;

/// Requests that may be unanswered at a time. A power of two.
pub const REQUESTS_MAX: usize = 4_096;
/// Places in use that a new request passes over before it gives up.
const PROBES_MAX: u32 = 64;
/// Length of a request id's text.
pub const ID_LEN: usize = OrderId::TEXT_LEN;

/// What a request asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// `session.logon`.
    LogOn,
    /// `userDataStream.subscribe`.
    Subscribe,
    /// `order.place`.
    Place,
    /// `order.cancel`.
    Cancel,
    /// `order.amend.keepPriority`.
    Amend,
    /// `openOrders.cancelAll`.
    CancelAll,
    /// `order.status`.
    Query,
}

impl Asked {
    const fn letter(self) -> u8 {
        match self {
            Asked::LogOn => b'l',
            Asked::Subscribe => b'u',
            Asked::Place => b'n',
            Asked::Cancel => b'c',
            Asked::Amend => b'a',
            Asked::CancelAll => b'x',
            Asked::Query => b'q',
        }
    }

    /// True for requests about one order.
    pub const fn is_of_order(self) -> bool {
        matches!(self, Asked::Place | Asked::Cancel | Asked::Amend | Asked::Query)
    }
}

/// A request on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// What it asks.
    pub asked: Asked,
    /// About which order; [`OrderId::NONE`] if about none.
    pub order: OrderId,
    /// Place of its symbol; 0 if about none.
    pub symbol: usize,
    /// When it was sent.
    pub sent_ns: u64,
    /// On which connection.
    pub generation: u32,
}

/// The ring. See the module header.
#[derive(Debug)]
pub struct Requests {
    epoch: u16,
    ring: Box<[Option<(u32, Request)>]>,
    /// Sequence of the next request.
    next: u32,
    /// No request before this one is unanswered.
    oldest: u32,
}

impl Requests {
    /// An empty ring; ids carry the node's epoch.
    pub fn new(epoch: u16) -> Requests {
        Requests { epoch: epoch.min(OrderId::EPOCH_MAX), ring: vec![None; REQUESTS_MAX].into_boxed_slice(), next: 1, oldest: 1 }
    }

    fn place(sequence: u32) -> usize {
        sequence as usize & (REQUESTS_MAX - 1)
    }

    /// Notes a request and gives its id; `None` if the ring is full.
    #[inline]
    pub fn add(&mut self, request: Request) -> Option<[u8; ID_LEN]> {
        // One that waits long must not stop those behind it: its place is passed over.
        let (mut sequence, mut probes) = (self.next, PROBES_MAX);
        while self.ring[Self::place(sequence)].is_some() {
            probes = probes.checked_sub(1)?;
            sequence = Self::after(sequence);
        }
        self.ring[Self::place(sequence)] = Some((sequence, request));
        self.next = Self::after(sequence);
        Some(OrderId::new(self.epoch, sequence).to_text_after(request.asked.letter()))
    }

    /// The sequence that follows. 0 is left out: with it an id of epoch 0 would not be one.
    const fn after(sequence: u32) -> u32 {
        match sequence.checked_add(1) {
            Some(next) => next,
            None => 1,
        }
    }

    /// Takes the request that an answer's id names.
    #[inline]
    pub fn take(&mut self, id: &[u8]) -> Option<Request> {
        let mut text: [u8; ID_LEN] = id.try_into().ok()?;
        let letter = core::mem::replace(&mut text[0], b'p');
        let id = OrderId::from_text(&text).filter(|id| id.epoch() == self.epoch)?;
        let place = &mut self.ring[Self::place(id.sequence())];
        match *place {
            Some((sequence, request)) if sequence == id.sequence() && request.asked.letter() == letter => {
                *place = None;
                Some(request)
            }
            _ => None,
        }
    }

    /// The oldest request.
    #[inline]
    pub fn oldest(&mut self) -> Option<Request> {
        while self.oldest != self.next {
            match self.ring[Self::place(self.oldest)] {
                Some((sequence, request)) if sequence == self.oldest => return Some(request),
                _ => self.oldest = Self::after(self.oldest),
            }
        }
        None
    }

    /// Takes the oldest request if it was sent before `before_ns`.
    #[inline]
    pub fn take_older(&mut self, before_ns: u64) -> Option<Request> {
        let request = self.oldest().filter(|request| request.sent_ns < before_ns)?;
        self.ring[Self::place(self.oldest)] = None;
        Some(request)
    }

    /// Takes any request of a connection that is gone.
    pub fn take_of(&mut self, generation: u32) -> Option<Request> {
        let place = self.ring.iter_mut().find(|place| place.is_some_and(|(_, r)| r.generation == generation))?;
        place.take().map(|(_, request)| request)
    }

    /// Where the ids stand, for [`Requests::rewind`].
    pub const fn next_id(&self) -> u32 {
        self.next
    }

    /// Takes back the request that was added since ids stood at `next`, at most one, as if it had never been.
    pub fn rewind(&mut self, next: u32) {
        if self.next != next {
            // Ids that were passed over belong to others; the last one given is ours.
            let last = if self.next == 1 { u32::MAX } else { self.next - 1 };
            let place = &mut self.ring[Self::place(last)];
            if place.is_some_and(|(sequence, _)| sequence == last) {
                *place = None;
            }
            self.next = next;
        }
    }

    /// Takes back a request that could not be sent.
    pub fn withdraw(&mut self, id: &[u8]) {
        self.take(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(sent_ns: u64) -> Request {
        Request { asked: Asked::Place, order: OrderId::new(1, 9), symbol: 0, sent_ns, generation: 1 }
    }

    #[test]
    fn answers_find_their_request_once() {
        let mut requests = Requests::new(7);
        let id = requests.add(request(5)).unwrap();
        assert_eq!(&id, b"n000700000001");
        assert_eq!(requests.take(b"c000700000001"), None, "another kind");
        assert_eq!(requests.take(b"n000800000001"), None, "another run");
        assert_eq!(requests.take(b"n00070000000"), None);
        assert_eq!(requests.take(&id), Some(request(5)));
        assert_eq!(requests.take(&id), None);
    }

    #[test]
    fn rewound_requests_were_never_there() {
        let mut requests = Requests::new(1);
        let kept = requests.add(request(1)).unwrap();
        for _ in 0..3 {
            let mark = requests.next_id();
            let undone = requests.add(request(2)).unwrap();
            assert_eq!(&undone, b"n000100000002");
            requests.rewind(mark);
            assert_eq!(requests.take(&undone), None);
        }
        let mark = requests.next_id();
        requests.rewind(mark);
        assert_eq!(requests.take(&kept), Some(request(1)), "nothing was added: nothing is taken");
        // Over the end of the ids, past places in use.
        requests.next = u32::MAX;
        let long = requests.add(request(3)).unwrap();
        let mark = requests.next_id();
        assert_eq!(mark, 1);
        requests.next = u32::MAX;
        let mark = requests.next_id();
        let undone = requests.add(request(4)).unwrap();
        assert_eq!(&undone, b"n000100000001", "the place of the long one is passed over");
        requests.rewind(mark);
        assert_eq!((requests.take(&undone), requests.take(&long)), (None, Some(request(3))));
        assert_eq!(requests.next_id(), u32::MAX);
    }

    #[test]
    fn one_that_waits_long_does_not_stop_those_behind_it() {
        let mut requests = Requests::new(1);
        let slow = requests.add(request(1)).unwrap();
        for at in 0..3 * REQUESTS_MAX as u64 {
            let id = requests.add(request(at + 2)).unwrap();
            assert!(requests.take(&id).is_some());
        }
        assert_eq!(requests.take_older(2), Some(request(1)));
        assert_eq!(requests.take(&slow), None);
        assert_eq!(requests.take_older(u64::MAX), None);
    }

    #[test]
    fn overdue_requests_come_oldest_first_and_a_full_ring_refuses() {
        let mut requests = Requests::new(1);
        for at in 0..REQUESTS_MAX as u64 {
            assert!(requests.add(request(at)).is_some());
        }
        assert_eq!(requests.add(request(1)), None);
        assert_eq!((requests.take_older(0), requests.oldest()), (None, Some(request(0))));
        assert_eq!(requests.take_older(2), Some(request(0)));
        assert_eq!(requests.take_older(2), Some(request(1)));
        assert_eq!((requests.take_older(2), requests.oldest()), (None, Some(request(2))));
        assert!(requests.add(request(9_000)).is_some());
        let mut gone = 0;
        while requests.take_of(1).is_some() {
            gone += 1;
        }
        assert_eq!(gone, REQUESTS_MAX - 1);
        assert_eq!(requests.take_older(u64::MAX), None);
    }
}
