//! Why a connection ended: each cause has a kind (with a counter) and words for the log.

use thiserror::Error;

use crate::tls::{SealError, TlsConfigError, TlsError};
use crate::transport::{CloseReason, ConnectError, ResolveError};
use crate::websocket::{UpgradeError, WebSocketError};

/// Why a connection ended, or an attempt to make one failed. Whatever it was, only this connection is over.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CloseCause {
    /// The host's name has no address.
    #[error("resolving {host}: {error}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        error: ResolveError,
    },
    /// TCP could not start a connection.
    #[error("connecting: {0}")]
    Connect(#[from] ConnectError),
    /// The attempt took too long.
    #[error("no connection within {timeout_ms} ms; it had come as far as {stage}")]
    ConnectTimeout {
        /// The bound, in milliseconds.
        timeout_ms: u64,
        /// How far it had come: `resolving`, `connecting`, `TLS handshake`, `upgrade`.
        stage: &'static str,
    },
    /// The socket is closed: refused, reset, timed out, unreachable.
    #[error("TCP: {}", socket_words(*.0))]
    Socket(CloseReason),
    /// The peer closed TCP (or TLS, if `orderly`) without a WebSocket close frame.
    #[error("the peer closed the connection without a close frame ({})", if *.orderly { "close_notify" } else { "FIN" })]
    PeerClosed {
        /// True if TLS was closed in order, so nothing was cut off.
        orderly: bool,
    },
    /// The TLS configuration does not allow a connection to this host.
    #[error("{0}")]
    TlsConfig(#[from] TlsConfigError),
    /// TLS failed; a fatal alert of the peer included.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The record cipher refused.
    #[error("{0}")]
    Seal(#[from] SealError),
    /// The server refused the upgrade, or answered with something else.
    #[error("{0}")]
    Upgrade(#[from] UpgradeError),
    /// The peer broke the WebSocket protocol or a size limit.
    #[error("{0}")]
    WebSocket(#[from] WebSocketError),
    /// The peer closed in order.
    #[error("the peer closed with code {} {reason}", code.map_or(String::from("(none)"), |code| code.to_string()))]
    PeerClose {
        /// Its close code, if it sent one.
        code: Option<u16>,
        /// Its reason, at most 123 bytes.
        reason: String,
    },
    /// Nothing was received for so long.
    #[error("nothing received for {timeout_ms} ms")]
    Idle {
        /// The bound, in milliseconds.
        timeout_ms: u64,
    },
    /// The old link of a planned renewal, closed by us.
    #[error("replaced by a newer connection")]
    Retired,
    /// The caller asked for a new connection.
    #[error("closed by us: {0}")]
    Reconnect(&'static str),
    /// The session is shut down.
    #[error("closed by us: shut down")]
    ShutDown,
}

fn socket_words(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Closed => "closed",
        CloseReason::Aborted => "aborted",
        CloseReason::Refused => "connection refused",
        CloseReason::Reset => "connection reset by the peer",
        CloseReason::TimedOut => "the peer does not answer",
        CloseReason::Unreachable => "the peer cannot be reached",
    }
}

/// The kinds of causes, one counter each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CauseKind {
    /// No address.
    Resolve,
    /// No socket, port or address of our own.
    Connect,
    /// The attempt took too long.
    ConnectTimeout,
    /// RST in answer to the SYN.
    Refused,
    /// RST on an open connection.
    Reset,
    /// TCP gave up for lack of an answer, or found no route.
    Unreachable,
    /// FIN or close_notify without a close frame.
    PeerClosed,
    /// A fatal TLS alert of the peer.
    TlsAlert,
    /// TLS failed on our side of the judgement: certificate, garbage, a record that does not authenticate.
    Tls,
    /// The upgrade was refused with an HTTP status.
    UpgradeRefused,
    /// The answer to the upgrade is unusable.
    Upgrade,
    /// A message longer than allowed.
    TooBig,
    /// Another violation of the WebSocket protocol.
    WebSocket,
    /// The peer's close frame.
    PeerClose,
    /// Silence.
    Idle,
    /// Closed by us after a planned renewal.
    Retired,
    /// Closed by us: reconnect or shut down.
    Ours,
}

impl CauseKind {
    /// Every kind.
    pub const ALL: [CauseKind; 17] = [
        CauseKind::Resolve,
        CauseKind::Connect,
        CauseKind::ConnectTimeout,
        CauseKind::Refused,
        CauseKind::Reset,
        CauseKind::Unreachable,
        CauseKind::PeerClosed,
        CauseKind::TlsAlert,
        CauseKind::Tls,
        CauseKind::UpgradeRefused,
        CauseKind::Upgrade,
        CauseKind::TooBig,
        CauseKind::WebSocket,
        CauseKind::PeerClose,
        CauseKind::Idle,
        CauseKind::Retired,
        CauseKind::Ours,
    ];
    /// How many kinds there are.
    pub const COUNT: usize = CauseKind::ALL.len();

    /// An array index.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Stable lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            CauseKind::Resolve => "resolve",
            CauseKind::Connect => "connect",
            CauseKind::ConnectTimeout => "connect_timeout",
            CauseKind::Refused => "refused",
            CauseKind::Reset => "reset",
            CauseKind::Unreachable => "unreachable",
            CauseKind::PeerClosed => "peer_closed",
            CauseKind::TlsAlert => "tls_alert",
            CauseKind::Tls => "tls",
            CauseKind::UpgradeRefused => "upgrade_refused",
            CauseKind::Upgrade => "upgrade",
            CauseKind::TooBig => "too_big",
            CauseKind::WebSocket => "websocket",
            CauseKind::PeerClose => "peer_close",
            CauseKind::Idle => "idle",
            CauseKind::Retired => "retired",
            CauseKind::Ours => "ours",
        }
    }
}

impl CloseCause {
    /// Its kind.
    pub fn kind(&self) -> CauseKind {
        match self {
            CloseCause::Resolve { .. } => CauseKind::Resolve,
            CloseCause::Connect(_) => CauseKind::Connect,
            CloseCause::ConnectTimeout { .. } => CauseKind::ConnectTimeout,
            CloseCause::Socket(CloseReason::Refused) => CauseKind::Refused,
            CloseCause::Socket(CloseReason::Reset) => CauseKind::Reset,
            CloseCause::Socket(CloseReason::TimedOut | CloseReason::Unreachable) => CauseKind::Unreachable,
            CloseCause::Socket(CloseReason::Closed | CloseReason::Aborted) | CloseCause::PeerClosed { .. } => CauseKind::PeerClosed,
            CloseCause::Tls(TlsError::PeerAlert(_)) => CauseKind::TlsAlert,
            CloseCause::Tls(_) | CloseCause::TlsConfig(_) | CloseCause::Seal(_) => CauseKind::Tls,
            CloseCause::Upgrade(UpgradeError::Refused { .. }) => CauseKind::UpgradeRefused,
            CloseCause::Upgrade(_) => CauseKind::Upgrade,
            CloseCause::WebSocket(WebSocketError::TooBig { .. }) => CauseKind::TooBig,
            CloseCause::WebSocket(_) => CauseKind::WebSocket,
            CloseCause::PeerClose { .. } => CauseKind::PeerClose,
            CloseCause::Idle { .. } => CauseKind::Idle,
            CloseCause::Retired => CauseKind::Retired,
            CloseCause::Reconnect(_) | CloseCause::ShutDown => CauseKind::Ours,
        }
    }

    /// The Retry-After header of a refused upgrade.
    pub fn retry_after(&self) -> Option<&str> {
        match self {
            CloseCause::Upgrade(UpgradeError::Refused { retry_after, .. }) => retry_after.as_deref(),
            _ => None,
        }
    }

    /// True if the socket still works, so that the peer can be told and TCP closed in order.
    pub(super) fn leaves_socket_usable(&self) -> bool {
        !matches!(
            self,
            CloseCause::Resolve { .. }
                | CloseCause::Connect(_)
                | CloseCause::ConnectTimeout { .. }
                | CloseCause::Socket(_)
                | CloseCause::TlsConfig(_)
                | CloseCause::Idle { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_dense_and_their_names_differ() {
        for (index, kind) in CauseKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index);
            assert!(CauseKind::ALL.iter().all(|other| *other == kind || other.as_str() != kind.as_str()));
        }
    }

    #[test]
    fn causes_say_what_happened() {
        let cause = CloseCause::PeerClose { code: Some(1001), reason: "maintenance".into() };
        assert_eq!(cause.to_string(), "the peer closed with code 1001 maintenance");
        assert_eq!(CloseCause::Socket(CloseReason::Refused).to_string(), "TCP: connection refused");
        assert_eq!(CloseCause::PeerClosed { orderly: false }.to_string(), "the peer closed the connection without a close frame (FIN)");
    }
}
