//! What can go wrong on a WebSocket, and which close code tells the peer so.

use thiserror::Error;

use crate::http::{HttpError, RequestError};

/// Close codes (RFC 6455 section 7.4.1).
pub mod close_code {
    /// The purpose is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// The endpoint goes away (a server going down).
    pub const GOING_AWAY: u16 = 1001;
    /// A violation of the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// Text that is not UTF-8, or data inconsistent with its type.
    pub const INVALID_DATA: u16 = 1007;
    /// A message too big to process.
    pub const TOO_BIG: u16 = 1009;

    /// True for a code that may travel in a close frame: registered for that, or in the ranges for
    /// libraries (3000-3999) and private use (4000-4999).
    pub const fn may_be_sent(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// Why a WebSocket is over. Final; a close frame with [`WebSocketError::close_code`] is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WebSocketError {
    /// A reserved bit is set, and no extension was negotiated that would use it.
    #[error("a WebSocket frame has reserved bits set")]
    ReservedBits,
    /// An opcode that RFC 6455 does not define.
    #[error("a WebSocket frame has the reserved opcode {0:#x}")]
    ReservedOpcode(u8),
    /// A server must not mask.
    #[error("the server masked a WebSocket frame")]
    Masked,
    /// The length is not in its shortest form, or its highest bit is set.
    #[error("a WebSocket frame's length is not in its shortest form")]
    BadLength,
    /// A control frame is fragmented, or longer than 125 bytes.
    #[error("a WebSocket control frame is fragmented or longer than 125 bytes")]
    BadControlFrame,
    /// A continuation frame without a message to continue.
    #[error("a WebSocket continuation frame continues nothing")]
    NothingToContinue,
    /// A new message before the fragmented one is complete.
    #[error("a WebSocket message begins within a fragmented one")]
    InterruptedMessage,
    /// A text message or a close reason is not UTF-8.
    #[error("a WebSocket text is not UTF-8")]
    InvalidUtf8,
    /// A close frame with one byte, or with a code that must not be sent.
    #[error("a malformed WebSocket close frame")]
    BadClose,
    /// A message longer than the receiver's buffer.
    #[error("a WebSocket message exceeds {limit} bytes")]
    TooBig {
        /// The bound, in bytes.
        limit: usize,
    },
}

impl WebSocketError {
    /// The close code that tells the peer about this error.
    pub fn close_code(self) -> u16 {
        match self {
            WebSocketError::InvalidUtf8 => close_code::INVALID_DATA,
            WebSocketError::TooBig { .. } => close_code::TOO_BIG,
            _ => close_code::PROTOCOL_ERROR,
        }
    }
}

/// Why a frame could not be written. The connection is not harmed by the refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A close frame was sent or queued: no more data may follow.
    #[error("the WebSocket is closing")]
    Closing,
    /// The output buffer, or the room before the payload, is too small.
    #[error("the WebSocket frame needs {needed} bytes")]
    BufferTooSmall {
        /// Bytes needed for header and payload.
        needed: usize,
    },
    /// More than 125 bytes in a ping, or a close reason of more than 123.
    #[error("a WebSocket control frame carries at most 125 bytes")]
    ControlTooLong,
    /// A close code that must not be sent.
    #[error("{0} is not a close code that may be sent")]
    BadCloseCode(u16),
}

/// Why the upgrade from HTTP to WebSocket failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UpgradeError {
    /// The server answered with another status.
    #[error("the server refused the WebSocket with status {status} {reason}: {body}")]
    Refused {
        /// The status code (401, 403, 429, 503, ...).
        status: u16,
        /// The reason phrase.
        reason: String,
        /// The Retry-After header, if there is one.
        retry_after: Option<String>,
        /// The beginning of the body, at most [`super::MAX_REFUSAL_BODY`] bytes, as text.
        body: String,
    },
    /// The response is not what RFC 6455 section 4.1 demands.
    #[error("the WebSocket upgrade response is unusable: {0}")]
    BadResponse(&'static str),
    /// The response is not HTTP.
    #[error("the WebSocket upgrade: {0}")]
    Http(#[from] HttpError),
    /// The request could not be written.
    #[error("the WebSocket upgrade request: {0}")]
    Request(#[from] RequestError),
}
