//! What a message is made for.

/// Sending and rehearsing take the same way through the same machine code, down to the cipher, so that the one keeps
/// it in the caches for the other; they part only where something would be counted, used up or given to TCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// It is sent.
    Send,
    /// It is thrown away, and nothing has changed.
    Rehearse,
}

impl Purpose {
    /// `count` of something that is sent; none of it in a rehearsal. Without a branch: rehearsals would have the processor
    /// guess it wrong for the order.
    #[inline]
    pub fn count<N: Default>(self, count: N) -> N {
        std::hint::select_unpredictable(self == Purpose::Send, count, N::default())
    }
}
