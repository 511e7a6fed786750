//! The first sequence number of a connection (RFC 6528 section 3): a clock that ticks each 4 us, plus what a stranger cannot
//! compute, for it takes a secret, of the connection's addresses and ports.
//!
//! Numbers of one pair of addresses and ports therefore grow, as the one who still remembers the last connection wants it
//! (RFC 9293 section 3.4.1), and those of others tell nothing about them.

use ring::hmac;
use std::net::SocketAddrV4;

/// One tick of the clock.
const TICK_NS: u64 = 4_000;

/// Gives first sequence numbers.
#[derive(Clone, Debug)]
pub(super) struct InitialSequence {
    key: hmac::Key,
}

impl InitialSequence {
    /// The same numbers for the same secret.
    pub(super) fn new(secret: u64) -> InitialSequence {
        InitialSequence { key: hmac::Key::new(hmac::HMAC_SHA256, &secret.to_be_bytes()) }
    }

    /// The number of a connection that begins now.
    pub(super) fn of(&self, local: SocketAddrV4, remote: SocketAddrV4, now_ns: u64) -> u32 {
        let mut about = [0; 12];
        for (to, end) in about.chunks_exact_mut(6).zip([local, remote]) {
            to[..4].copy_from_slice(&end.ip().octets());
            to[4..].copy_from_slice(&end.port().to_be_bytes());
        }
        let tag = hmac::sign(&self.key, &about);
        let secret = tag.as_ref().first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        secret.wrapping_add((now_ns / TICK_NS) as u32)
    }
}
