//! The linear scratch in which records that arrive in pieces are put together.

use std::ops::Range;

use super::record::{MAX_CIPHERTEXT_TLS12, RECORD_HEADER};

/// Room for one record of the greatest legal length. The caller owns it (and lends it to
/// [`super::TlsClient::receive`]), so that plaintext which lies in it can be read while the connection
/// itself is free to seal an answer.
///
/// One buffer belongs to one connection: between calls it holds the connection's unfinished record.
pub struct RecordBuffer {
    bytes: Box<[u8]>,
    len: usize,
    /// Plaintext of the record that was put together here last and that the caller has not used up.
    unread: Range<usize>,
}

impl Default for RecordBuffer {
    fn default() -> Self {
        RecordBuffer::new()
    }
}

impl std::fmt::Debug for RecordBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordBuffer").field("len", &self.len).finish_non_exhaustive()
    }
}

impl RecordBuffer {
    /// An empty buffer (allocates once, 18 KiB).
    pub fn new() -> RecordBuffer {
        RecordBuffer { bytes: vec![0; RECORD_HEADER + MAX_CIPHERTEXT_TLS12].into_boxed_slice(), len: 0, unread: 0..0 }
    }

    /// Forgets an unfinished record; call it when the connection is replaced.
    pub fn clear(&mut self) {
        self.len = 0;
        self.unread = 0..0;
    }

    /// Plaintext in this buffer that the last [`super::Event::Plaintext`] handed out and that
    /// [`RecordBuffer::consume`] has not taken; empty if that plaintext lay in the input. It stays
    /// readable until the connection receives again.
    #[inline]
    pub fn unread(&self) -> &[u8] {
        self.bytes.get(self.unread.clone()).unwrap_or(&[])
    }

    /// Takes `count` bytes from the front of [`RecordBuffer::unread`].
    #[inline]
    pub fn consume(&mut self, count: usize) {
        self.unread.start = (self.unread.start + count).min(self.unread.end);
    }

    /// Says where the plaintext of the record in this buffer lies.
    #[inline]
    pub(super) fn set_unread(&mut self, plaintext: Range<usize>) {
        self.unread = plaintext;
    }

    /// True if no unfinished record is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes held so far.
    pub(super) fn held(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// The first `len` bytes, held or not.
    pub(super) fn record_mut(&mut self, len: usize) -> &mut [u8] {
        let len = len.min(self.bytes.len());
        &mut self.bytes[..len]
    }

    /// Takes bytes from `input` until `target` bytes are held; returns how many were taken.
    pub(super) fn fill(&mut self, target: usize, input: &[u8]) -> usize {
        let target = target.min(self.bytes.len());
        let count = target.saturating_sub(self.len).min(input.len());
        if let (Some(to), Some(from)) = (self.bytes.get_mut(self.len..self.len + count), input.get(..count)) {
            to.copy_from_slice(from);
        }
        self.len += count;
        count
    }
}
