//! HTTP/1.1 client messages, sans-I/O (RFC 9112): what upgrades and keep-alive REST calls need.
//!
//! [`RequestWriter`] writes a request into the caller's buffer. [`ResponseParser`] takes a response in
//! pieces of any size; its head is kept in a buffer of fixed size, its body is handed out as slices of
//! the input, never collected. One response at a time: no pipelining.
//!
//! The parser is strict where leniency has a history of attacks: CRLF only, no folded headers, no
//! space before a colon, no message with both a length and a transfer coding. Everything is bounded by
//! [`Limits`].

mod error;
mod request;
mod response;

pub use error::{HttpError, RequestError};
pub use request::{Method, RequestWriter};
pub use response::{Event, Expected, Headers, Limits, Received, ResponseParser};

/// True for the characters of a token: header names, methods (RFC 9110 section 5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
        })
}

/// True for the characters of a field value: no control characters but the tab (RFC 9110 section 5.5).
pub(crate) fn is_field_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// The elements of a comma-separated list, without surrounding white space and without empty ones.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}
