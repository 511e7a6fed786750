//! The life of one logical connection, sans-I/O over any [`Transport`](crate::transport::Transport):
//! resolve, connect, TLS, upgrade, messages, heartbeat, close, back-off, planned renewal.
//!
//! A [`Session`] keeps one WebSocket up for as long as the caller wants it. Most of the time it owns one
//! link (a TCP connection and what is on it); during a planned renewal two: the new one is opened ahead of
//! the end of the old one's life, and the old one delivers until the caller says that the new one is ready
//! ([`Session::retire_old`]) or a bound is reached. Links are told apart by a generation that grows by one
//! with each link that opens; messages go to the newest.
//!
//! The caller's loop, with at most one message per call so that what it causes leaves before the next
//! one is read:
//!
//! ```text
//! for _ in 0..BOUND {
//!     if session.poll(&mut stack, now_ns, unix_s, &mut handler) == Progress::Idle { break }
//!     for message in handler.outbox() { session.send(&mut stack, Kind::Text, message)?; }
//! }
//! ```
//!
//! Whatever the peer does (alerts, refusals, resets, oversize, garbage, silence) ends that link only, is
//! counted by its [`CauseKind`] and tried again after a [`Backoff`].
//!
//! | file | what it holds |
//! |---|---|
//! | `supervisor` | [`Session`]: which links there should be, timers, renewal, back-off |
//! | `link` | one link's stages from resolving to draining |
//! | `dial` | from a name to a channel: resolve, connect, TLS |
//! | `channel` | plaintext over a socket: records opened and sealed where the transport lends them |
//! | `cause` | why a link ended |
//! | `backoff` | waits between attempts, Retry-After |
//! | `random` | masks and nonces from a seed |
//! | `http_client` | requests and responses over one kept-alive connection |

mod backoff;
mod cause;
mod channel;
mod dial;
mod http_client;
mod link;
mod random;
mod supervisor;

use thiserror::Error;

pub use backoff::{Backoff, retry_after_s};
pub use cause::{CauseKind, CloseCause};
pub use http_client::{HttpClient, HttpClientConfig, HttpClientError, HttpClientStatistics, HttpProgress, Response};
pub use supervisor::Session;

use crate::tls::{SealError, TlsConfig};
use crate::websocket::{Kind, Utf8Check};

const SECOND_NS: u64 = 1_000_000_000;

/// What a session connects to and how it behaves. Times are in nanoseconds.
///
/// [`SessionConfig::new`] fills in defaults that suit a venue's market data.
#[derive(Clone)]
pub struct SessionConfig {
    /// DNS name or address literal; also SNI (what the certificate must be valid for) and Host header.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query of the upgrade request.
    pub path: String,
    /// Further headers of the upgrade request (may hold keys: never logged).
    pub headers: Vec<(String, String)>,
    /// TLS, or `None` for plain text (tests, a local relay).
    pub tls: Option<TlsConfig>,
    /// Longest message accepted, in bytes; a buffer of this size is allocated for each of two links.
    pub message_max: usize,
    /// Who checks that text messages are UTF-8.
    pub utf8_check: Utf8Check,
    /// A ping frame each so often; 0 = none of our own.
    pub ping_interval_ns: u64,
    /// Nothing received for so long: the link is dead. 0 = never.
    pub idle_timeout_ns: u64,
    /// From resolving to open, at most.
    pub connect_timeout_ns: u64,
    /// Closing handshake, at most; then the socket is dropped.
    pub close_timeout_ns: u64,
    /// The venue ends connections after so long; 0 = unlimited.
    pub life_max_ns: u64,
    /// A replacement is begun so long before the end of the link's life.
    pub renewal_lead_ns: u64,
    /// After the replacement is open the old link stays at most so long.
    pub overlap_max_ns: u64,
    /// Shortest wait before another attempt.
    pub backoff_min_ns: u64,
    /// Longest wait before another attempt. A link that was open for longer resets the back-off.
    pub backoff_max_ns: u64,
    /// Longest wait that a server may impose by Retry-After.
    pub retry_after_max_ns: u64,
    /// Seed of masks, nonces and jitter.
    pub seed: u64,
}

impl SessionConfig {
    /// A session with `host`, over TLS if a configuration is given.
    pub fn new(host: &str, port: u16, path: &str, tls: Option<TlsConfig>) -> SessionConfig {
        SessionConfig {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
            headers: Vec::new(),
            tls,
            message_max: 1 << 20,
            utf8_check: Utf8Check::Strict,
            ping_interval_ns: 0,
            idle_timeout_ns: 60 * SECOND_NS,
            connect_timeout_ns: 10 * SECOND_NS,
            close_timeout_ns: 2 * SECOND_NS,
            life_max_ns: 0,
            renewal_lead_ns: 600 * SECOND_NS,
            overlap_max_ns: 60 * SECOND_NS,
            backoff_min_ns: SECOND_NS / 4,
            backoff_max_ns: 30 * SECOND_NS,
            retry_after_max_ns: 3600 * SECOND_NS,
            seed: 0,
        }
    }

    fn peer(&self) -> dial::Peer<'_> {
        dial::Peer { host: &self.host, port: self.port, tls: self.tls.as_ref() }
    }
}

impl std::fmt::Debug for SessionConfig {
    /// Without the headers' values, and without the query: they may hold keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.split('?').next().unwrap_or("");
        f.debug_struct("SessionConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("path", &path)
            .field("tls", &self.tls.is_some())
            .field("message_max", &self.message_max)
            .finish_non_exhaustive()
    }
}

/// What a session tells its caller. It cannot be sent through from within: collect what is to be sent
/// and send it after [`Session::poll`] returned.
pub trait Handler {
    /// A link is open: subscribe, log on. During a planned renewal the old link still delivers.
    fn on_open(&mut self, generation: u32);

    /// A whole message, where it was decrypted.
    fn on_message(&mut self, generation: u32, kind: Kind, payload: &[u8]);

    /// A link that was open is gone.
    fn on_close(&mut self, generation: u32, cause: &CloseCause);

    /// An attempt failed before the link was open; the next begins after `wait_ns`.
    fn on_attempt_failed(&mut self, cause: &CloseCause, wait_ns: u64) {
        let _ = (cause, wait_ns);
    }
}

/// Whether a call did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Nothing to do now.
    Idle,
    /// Something was done; there may be more.
    Worked,
}

/// Why a message was not sent. Nothing of it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// No link is open (or not the one asked for).
    #[error("the connection is not open")]
    NotOpen,
    /// The transport has no room: the peer does not keep up. Try again, or drop it.
    #[error("no room to send: the peer does not keep up")]
    NoRoom,
    /// The record layer refused: the link is given up with the next poll.
    #[error("{0}")]
    Seal(#[from] SealError),
}

/// Counters of a session, over all its links; all monotonic unless noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionStatistics {
    /// Attempts begun.
    pub attempts: u64,
    /// TCP connections that came about.
    pub connects: u64,
    /// Links that were opened (upgraded).
    pub opens: u64,
    /// Of these, replacements in a planned renewal.
    pub renewals: u64,
    /// Links that ended and attempts that failed, by [`CauseKind::index`].
    pub closes: [u64; CauseKind::COUNT],
    /// Upgrades refused with an HTTP status.
    pub upgrade_refusals: u64,
    /// The last such status (not monotonic).
    pub last_refusal_status: u16,
    /// Messages received.
    pub messages_in: u64,
    /// Bytes of their payloads.
    pub message_bytes_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Bytes of their payloads.
    pub message_bytes_out: u64,
    /// Bytes taken from TCP once TLS is established.
    pub bytes_in: u64,
    /// Bytes given to TCP for messages: framed, and sealed.
    pub bytes_out: u64,
    /// TLS records opened after the handshake.
    pub records_in: u64,
    /// Pings of the peer.
    pub pings_in: u64,
    /// Pings of ours.
    pub pings_out: u64,
    /// Pongs received.
    pub pongs_in: u64,
    /// Round trip of the last ping of ours that was answered, in nanoseconds (not monotonic).
    pub ping_round_trip_ns: u64,
    /// Messages not sent for lack of room.
    pub sends_refused: u64,
    /// Attempts that failed in a row, as the back-off counts them (not monotonic).
    pub failures: u32,
    /// When the next attempt may begin, in the caller's nanoseconds (not monotonic).
    pub next_attempt_ns: u64,
    /// Words of the last cause, at most 512 bytes.
    pub last_error: String,
}

/// What came in pieces, and was copied once to be put together: everything else is read where it arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stitched {
    /// TLS records that did not lie whole in one segment, those of the handshake aside.
    pub records: u64,
    /// WebSocket messages that did not lie whole in one record.
    pub messages: u64,
}

impl SessionStatistics {
    /// Links and attempts that ended for this kind of cause.
    pub fn closed_by(&self, kind: CauseKind) -> u64 {
        self.closes.get(kind.index()).copied().unwrap_or(0)
    }

    #[inline]
    fn note_message(&mut self, payload: &[u8]) {
        self.messages_in += 1;
        self.message_bytes_in += payload.len() as u64;
    }

    fn note_ping(&mut self) {
        self.pings_in += 1;
    }

    /// The peer answers a ping of ours: what it sends back is when that was sent.
    fn note_pong(&mut self, payload: &[u8], now_ns: u64) {
        self.pongs_in += 1;
        if let Ok(sent_ns) = payload.try_into().map(u64::from_be_bytes) {
            self.ping_round_trip_ns = now_ns.saturating_sub(sent_ns);
        }
    }
}
