//! The linear scratch in which messages that arrive in pieces are put together.

use super::frame::MAX_CONTROL_PAYLOAD;

/// Room for one message of the greatest accepted length, and for one control frame that arrives between
/// its pieces. The caller owns it and lends it to [`super::WebSocket::receive`], so that a message in it
/// can be read while the socket is free to write an answer. It belongs to one connection.
pub struct MessageBuffer {
    message: Box<[u8]>,
    len: usize,
    control: [u8; MAX_CONTROL_PAYLOAD],
    control_len: usize,
}

impl std::fmt::Debug for MessageBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageBuffer").field("len", &self.len).field("message_max", &self.message_max()).finish_non_exhaustive()
    }
}

impl MessageBuffer {
    /// A buffer for messages of at most `message_max` bytes (allocates once). Longer ones are refused,
    /// also those that would need no buffer.
    pub fn new(message_max: usize) -> MessageBuffer {
        MessageBuffer { message: vec![0; message_max].into_boxed_slice(), len: 0, control: [0; MAX_CONTROL_PAYLOAD], control_len: 0 }
    }

    /// The greatest accepted message, in bytes.
    pub fn message_max(&self) -> usize {
        self.message.len()
    }

    /// Forgets an unfinished message; call it when the connection is replaced.
    pub fn clear(&mut self) {
        self.len = 0;
        self.control_len = 0;
    }

    /// Bytes of the unfinished message.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends to the message; the caller has checked that it fits.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.message.get_mut(self.len..).and_then(|room| room.get_mut(..bytes.len())) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Appends to the control frame's payload; the caller has checked that it fits.
    pub(super) fn push_control(&mut self, bytes: &[u8]) {
        if let Some(room) = self.control.get_mut(self.control_len..).and_then(|room| room.get_mut(..bytes.len())) {
            room.copy_from_slice(bytes);
            self.control_len += bytes.len();
        }
    }

    /// Ends the message: its bytes stay readable until the next call.
    pub(super) fn take(&mut self) -> &[u8] {
        let len = std::mem::take(&mut self.len);
        self.message.get(..len).unwrap_or(&[])
    }

    /// Ends the control frame: its payload stays readable until the next call.
    pub(super) fn take_control(&mut self) -> &[u8] {
        let len = std::mem::take(&mut self.control_len);
        self.control.get(..len).unwrap_or(&[])
    }
}
