//! What a connection's numbers begin with: a stranger must not be able to compute it, and it must not go back for those who
//! remember the last connection between the same ends. Both are had from a secret and the connection's addresses and ports.
//!
//! - The first sequence number (RFC 6528 section 3) is a clock that ticks each 4 us, plus what is secret. Numbers of one pair of
//!   addresses and ports therefore grow, as the one who still remembers the last connection wants it (RFC 9293 section 3.4.1), and
//!   those of others tell nothing about them.
//! - Timestamps begin at a secret offset from the clock (RFC 7323 section 5.4), the same for the same ends: so the next connection's are
//!   later than the last one's. The offset is another part of the hash: who sees the sequence number knows nothing of it, and
//!   who sees timestamps does not know how long this machine has been up.

use ring::hmac;
use std::net::SocketAddrV4;

use crate::tcp::Beginning;

/// One tick of the clock of sequence numbers.
const TICK_NS: u64 = 4_000;

/// Gives the numbers that connections begin with.
#[derive(Clone, Debug)]
pub(super) struct Beginnings {
    key: hmac::Key,
}

impl Beginnings {
    /// The same numbers for the same secret.
    pub(super) fn new(secret: u64) -> Beginnings {
        Beginnings { key: hmac::Key::new(hmac::HMAC_SHA256, &secret.to_be_bytes()) }
    }

    /// Those of a connection that begins now.
    pub(super) fn of(&self, local: SocketAddrV4, remote: SocketAddrV4, now_ns: u64) -> Beginning {
        let mut about = [0; 12];
        for (to, end) in about.chunks_exact_mut(6).zip([local, remote]) {
            to[..4].copy_from_slice(&end.ip().octets());
            to[4..].copy_from_slice(&end.port().to_be_bytes());
        }
        let tag = hmac::sign(&self.key, &about);
        let (words, _) = tag.as_ref().as_chunks();
        let word = |at: usize| words.get(at).map_or(0, |bytes| u32::from_be_bytes(*bytes));
        Beginning { sequence: word(0).wrapping_add((now_ns / TICK_NS) as u32), stamp_offset: word(1) }
    }
}
