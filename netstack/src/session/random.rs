//! What a session draws from its seed besides jitter: masking keys and nonces, the same in every run.

pub(super) use crate::stack::random::Random;

impl Random {
    /// A masking key (RFC 6455 section 5.3).
    #[inline]
    pub(super) fn mask(&mut self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.next().to_le_bytes();
        [a, b, c, d]
    }

    /// The nonce of an upgrade request (RFC 6455 section 4.1).
    pub(super) fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        for half in nonce.as_chunks_mut::<8>().0 {
            *half = self.next().to_le_bytes();
        }
        nonce
    }
}
