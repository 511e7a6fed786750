//! WebSocket client (RFC 6455), sans-I/O: messages out as borrowed slices.
//!
//! [`Upgrade`] turns the HTTP connection into a WebSocket; [`WebSocket`] is the connection from then
//! on. The common case, one message = one frame that lies whole in the input, is handed out where it
//! lies. What arrives in pieces (a frame over several inputs, a message over several frames) is put
//! together in the caller's [`MessageBuffer`], whose size is the limit on messages.
//!
//! The caller's loop:
//!
//! ```text
//! let mut at = 0;
//! while at < plaintext.len() {
//!     let received = socket.receive(&plaintext[at..], &mut message_buffer)?;
//!     at += received.consumed;
//!     match received.event {
//!         Event::Message(message) => handle(message),   // socket.frame(..) may be called while reading it
//!         Event::Ping(_) => {}                           // its pong is pending
//!         Event::Close(close) => log(close),             // our echo is pending
//!         Event::Pong(_) | Event::Progress | Event::NeedMore => {}
//!     }
//! }
//! while socket.has_pending() { let n = socket.write_pending(random_mask(), out); send(&out[..n]) }
//! ```
//!
//! Masking keys are arguments (nothing here draws randomness), one per frame.

mod buffer;
mod error;
mod frame;
mod socket;
mod upgrade;
mod utf8;

pub use buffer::MessageBuffer;
pub use error::{EncodeError, UpgradeError, WebSocketError, close_code};
pub use frame::{MAX_CONTROL_PAYLOAD, MAX_FRAME_HEADER, frame_header_len};
pub use socket::{Close, Event, Kind, Message, Received, Utf8Check, WebSocket, WebSocketStatistics};
pub use upgrade::{MAX_REFUSAL_BODY, Upgrade, UpgradeProgress, UpgradeRequest};
