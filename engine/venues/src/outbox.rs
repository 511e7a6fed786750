//! What a codec wants sent: messages for its connections and requests for the cold plane.
//!
//! Preallocated; the runtime drains it after each call into a codec. Full means that the call wanted
//! more than a whole pass may send: the message is refused and counted, never grown.

use crate::venue::Role;
use engine_core::ids::{InstrumentId, OrderId};

/// Messages that fit between two drains.
pub const MESSAGES_MAX: usize = 64;
/// Bytes that fit between two drains.
pub const BYTES_MAX: usize = 64 * 1024;
/// Cold-plane requests that fit between two drains.
pub const REQUESTS_MAX: usize = 256;

/// Something the codec needs from the cold plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColdRequest {
    /// A REST snapshot of a book. The levels come back through [`crate::venue::Venue::on_cold`].
    BookSnapshot {
        /// Of this instrument.
        instrument: InstrumentId,
    },
    /// A token for a private connection; comes back as text through [`crate::venue::Venue::on_cold`].
    Token {
        /// For the connection of this role.
        role: Role,
    },
    /// What became of this order (the venue has no such query on its stream).
    OrderStatus {
        /// The order asked for.
        order: OrderId,
        /// Its instrument.
        instrument: InstrumentId,
    },
    /// Ask for open orders, recent fills and balances and report them (after a private stream was down).
    Reconcile,
    /// Fetch reference data again: an instrument's rules no longer fit what the stream says.
    Instruments,
}

/// Messages and requests waiting for the runtime.
pub struct Outbox {
    bytes: Box<[u8]>,
    used: usize,
    messages: [(Role, u32, u32); MESSAGES_MAX],
    message_count: usize,
    requests: [ColdRequest; REQUESTS_MAX],
    request_count: usize,
    refused: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        Outbox::new()
    }
}

impl Outbox {
    /// An empty outbox; allocates its one buffer.
    pub fn new() -> Outbox {
        Outbox {
            bytes: vec![0; BYTES_MAX].into_boxed_slice(),
            used: 0,
            messages: [(Role::MarketData, 0, 0); MESSAGES_MAX],
            message_count: 0,
            requests: [ColdRequest::Reconcile; REQUESTS_MAX],
            request_count: 0,
            refused: 0,
        }
    }

    /// Queues a text message for the connection of `role`. `write` gets the free space and returns how
    /// many bytes it wrote; `None` means that it did not fit or could not be built, and nothing is queued.
    /// Returns whether the message was queued.
    #[inline]
    pub fn send(&mut self, role: Role, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        if self.message_count == MESSAGES_MAX {
            self.refused += 1;
            return false;
        }
        let start = self.used;
        match write(&mut self.bytes[start..]) {
            Some(len) if len <= BYTES_MAX - start => {
                self.messages[self.message_count] = (role, start as u32, len as u32);
                self.message_count += 1;
                self.used += len;
                true
            }
            _ => {
                self.refused += 1;
                false
            }
        }
    }

    /// Queues a complete text message.
    #[inline]
    pub fn send_bytes(&mut self, role: Role, message: &[u8]) -> bool {
        self.send(role, |space| {
            space.get_mut(..message.len())?.copy_from_slice(message);
            Some(message.len())
        })
    }

    /// Queues a request for the cold plane. An equal request already waiting is not doubled.
    #[inline]
    pub fn request(&mut self, request: ColdRequest) -> bool {
        if self.requests[..self.request_count].contains(&request) {
            return true;
        }
        if self.request_count == REQUESTS_MAX {
            self.refused += 1;
            return false;
        }
        self.requests[self.request_count] = request;
        self.request_count += 1;
        true
    }

    /// The waiting messages, oldest first.
    #[inline]
    pub fn messages(&self) -> impl Iterator<Item = (Role, &[u8])> {
        self.messages[..self.message_count]
            .iter()
            .map(|&(role, start, len)| (role, &self.bytes[start as usize..start as usize + len as usize]))
    }

    /// The waiting requests, oldest first.
    #[inline]
    pub fn requests(&self) -> &[ColdRequest] {
        &self.requests[..self.request_count]
    }

    /// True if nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.message_count == 0 && self.request_count == 0
    }

    /// Forgets everything; after draining.
    #[inline]
    pub fn clear(&mut self) {
        self.used = 0;
        self.message_count = 0;
        self.request_count = 0;
    }

    /// Messages and requests refused so far because there was no room.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_in_order_and_a_full_outbox_refuses() {
        let mut out = Outbox::new();
        assert!(out.send_bytes(Role::OrderEntry, b"one"));
        assert!(out.send(Role::MarketData, |space| {
            space[..3].copy_from_slice(b"two");
            Some(3)
        }));
        let got: Vec<_> = out.messages().map(|(role, bytes)| (role, bytes.to_vec())).collect();
        assert_eq!(got, [(Role::OrderEntry, b"one".to_vec()), (Role::MarketData, b"two".to_vec())]);
        assert!(!out.send_bytes(Role::OrderEntry, &vec![0; BYTES_MAX]));
        assert_eq!(out.refused(), 1);
        out.clear();
        assert!(out.is_empty());
        for _ in 0..MESSAGES_MAX {
            assert!(out.send_bytes(Role::OrderEntry, b"x"));
        }
        assert!(!out.send_bytes(Role::OrderEntry, b"x"));
        assert!(out.request(ColdRequest::Reconcile) && out.request(ColdRequest::Reconcile));
        assert_eq!(out.requests().len(), 1);
    }
}
