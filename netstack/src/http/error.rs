//! What can be wrong with a response, or with a request that the caller asks for.

use thiserror::Error;

/// Why a response was refused. Final: nothing behind it on the connection can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HttpError {
    /// The first line is not an HTTP status line.
    #[error("the response does not begin with an HTTP/1.x status line")]
    BadStatusLine,
    /// Another major version of HTTP.
    #[error("the response is not HTTP/1.x")]
    UnsupportedVersion,
    /// A header line is malformed (name, colon, characters, folding, line ending).
    #[error("a malformed response header: {0}")]
    BadHeader(&'static str),
    /// Status line and headers together are too long.
    #[error("the response head exceeds {limit} bytes")]
    HeadTooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// Too many header fields.
    #[error("the response has more than {limit} header fields")]
    TooManyHeaders {
        /// The bound.
        limit: usize,
    },
    /// Content-Length is not a number, or there are several that differ.
    #[error("the response has a malformed or contradictory Content-Length")]
    BadContentLength,
    /// Transfer-Encoding with Content-Length, in HTTP/1.0, or with a coding that we do not do.
    #[error("the response has an unusable Transfer-Encoding: {0}")]
    BadTransferEncoding(&'static str),
    /// The body is, or says that it will be, too long.
    #[error("the response body exceeds {limit} bytes")]
    BodyTooLarge {
        /// The bound, in bytes.
        limit: u64,
    },
    /// A chunk's size line or end is malformed.
    #[error("a malformed chunk: {0}")]
    BadChunk(&'static str),
    /// 101 without having asked for an upgrade.
    #[error("the server switches protocols without having been asked")]
    UnexpectedUpgrade,
    /// More interim (1xx) responses than sensible.
    #[error("more than {limit} interim responses")]
    TooManyInterim {
        /// The bound.
        limit: u8,
    },
    /// The connection ended within the response.
    #[error("the connection ended within the response")]
    Truncated,
}

/// Why a request could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The output buffer is too small.
    #[error("the request does not fit into {capacity} bytes")]
    BufferTooSmall {
        /// The buffer's size.
        capacity: usize,
    },
    /// The target is empty or has white space or control characters.
    #[error("the request target has illegal characters")]
    BadTarget,
    /// A header name is not a token, or a value has control characters.
    #[error("a request header has illegal characters")]
    BadHeader,
}
