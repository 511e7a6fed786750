//! What can go wrong on a TLS connection, and which alert tells the peer so.

use std::fmt;

use thiserror::Error;

/// An alert description (RFC 8446 section 6, RFC 5246 section 7.2), as its number on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alert(pub u8);

impl Alert {
    /// The sender will send nothing more.
    pub const CLOSE_NOTIFY: Alert = Alert(0);
    /// A message that does not belong here.
    pub const UNEXPECTED_MESSAGE: Alert = Alert(10);
    /// A record whose authentication tag is wrong.
    pub const BAD_RECORD_MAC: Alert = Alert(20);
    /// A record longer than allowed.
    pub const RECORD_OVERFLOW: Alert = Alert(22);
    /// A field out of range.
    pub const ILLEGAL_PARAMETER: Alert = Alert(47);
    /// A message that cannot be decoded.
    pub const DECODE_ERROR: Alert = Alert(50);
    /// An error on our own side.
    pub const INTERNAL_ERROR: Alert = Alert(80);
    /// The handshake is given up for a reason that is not the protocol's.
    pub const USER_CANCELED: Alert = Alert(90);
    /// Renegotiation (TLS 1.2) is refused; a warning.
    pub const NO_RENEGOTIATION: Alert = Alert(100);

    /// The registered name, or `unknown`.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            21 => "decryption_failed",
            22 => "record_overflow",
            30 => "decompression_failure",
            40 => "handshake_failure",
            41 => "no_certificate",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            112 => "unrecognized_name",
            113 => "bad_certificate_status_response",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            120 => "no_application_protocol",
            _ => "unknown",
        }
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl fmt::Debug for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a TLS connection is over. Every one is final for the connection; the alert that tells the peer
/// (if one is due) is queued already and leaves with the next `write_pending`.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum TlsError {
    /// The peer gave up and said why.
    #[error("the peer sent the fatal alert {0}")]
    PeerAlert(Alert),
    /// The peer's certificate was refused.
    #[error("the peer's certificate was refused: {0}")]
    BadCertificate(rustls::CertificateError),
    /// The handshake failed for another reason.
    #[error("TLS handshake: {0}")]
    Handshake(rustls::Error),
    /// The peer closed (close_notify) before the handshake was complete.
    #[error("the peer closed the connection during the TLS handshake")]
    ClosedDuringHandshake,
    /// The handshake messages of the peer exceed what any honest peer sends.
    #[error("the peer's handshake exceeds {limit} bytes")]
    HandshakeTooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// A record did not authenticate: corruption, an attack, or lost synchronisation.
    #[error("a TLS record does not authenticate (record {sequence} of its key)")]
    BadRecordMac {
        /// The record's sequence number under the current key.
        sequence: u64,
    },
    /// A record longer than the protocol allows.
    #[error("a TLS record of {length} bytes exceeds the limit of {limit}")]
    RecordOverflow {
        /// Its length field or its plaintext's length.
        length: usize,
        /// The bound that it broke.
        limit: usize,
    },
    /// A message or record type that does not belong here.
    #[error("unexpected TLS message: {0}")]
    UnexpectedMessage(&'static str),
    /// A message that cannot be decoded.
    #[error("malformed TLS message: {0}")]
    Malformed(&'static str),
    /// A field with a value that the protocol does not allow.
    #[error("illegal TLS parameter: {0}")]
    IllegalParameter(&'static str),
    /// Our own side failed (key derivation, an unknown suite).
    #[error("TLS internal error: {0}")]
    Internal(&'static str),
}

impl TlsError {
    /// The alert that tells the peer about this error; `None` if it spoke the last word itself.
    pub fn alert(&self) -> Option<Alert> {
        match self {
            TlsError::PeerAlert(_) | TlsError::ClosedDuringHandshake => None,
            TlsError::BadCertificate(_) | TlsError::Handshake(_) => None,
            TlsError::HandshakeTooLarge { .. } => Some(Alert::ILLEGAL_PARAMETER),
            TlsError::BadRecordMac { .. } => Some(Alert::BAD_RECORD_MAC),
            TlsError::RecordOverflow { .. } => Some(Alert::RECORD_OVERFLOW),
            TlsError::UnexpectedMessage(_) => Some(Alert::UNEXPECTED_MESSAGE),
            TlsError::Malformed(_) => Some(Alert::DECODE_ERROR),
            TlsError::IllegalParameter(_) => Some(Alert::ILLEGAL_PARAMETER),
            TlsError::Internal(_) => Some(Alert::INTERNAL_ERROR),
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> TlsError {
        match error {
            rustls::Error::InvalidCertificate(reason) => TlsError::BadCertificate(reason),
            rustls::Error::AlertReceived(alert) => TlsError::PeerAlert(Alert(u8::from(alert))),
            other => TlsError::Handshake(other),
        }
    }
}

/// Why a record could not be sealed. The connection is not harmed by the refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// The handshake is not complete.
    #[error("the TLS handshake is not complete")]
    NotReady,
    /// Handshake bytes or a key update must leave first: call `write_pending`.
    #[error("pending TLS bytes must be written first")]
    PendingFirst,
    /// We sent (or queued) close_notify, or the connection failed.
    #[error("the TLS connection is closed for sending")]
    Closed,
    /// The output buffer, or the room before or after the plaintext, is too small.
    #[error("the output needs {needed} bytes")]
    BufferTooSmall {
        /// Bytes needed in total (for the range form: before plus plaintext plus after).
        needed: usize,
    },
    /// More plaintext than one record holds; split it.
    #[error("{length} bytes exceed one TLS record's 16384")]
    TooLong {
        /// The plaintext's length.
        length: usize,
    },
    /// The key has sealed as many records as is safe (TLS 1.2, which cannot update keys): reconnect.
    #[error("the TLS key is used up; reconnect")]
    KeyExhausted,
    /// The cipher refused (cannot happen with lengths in bounds).
    #[error("the TLS cipher refused to seal")]
    Cipher,
}

/// Why a configuration was refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum TlsConfigError {
    /// The PEM text holds no certificate, or is malformed.
    #[error("the CA file holds no usable PEM certificate: {0}")]
    BadPem(String),
    /// A CA certificate was not accepted as a trust anchor.
    #[error("a CA certificate is unusable: {0}")]
    BadRoot(rustls::Error),
    /// No suite is left, or rustls refused the combination of options.
    #[error("the TLS options do not fit together: {0}")]
    BadOptions(rustls::Error),
    /// The server name is neither a DNS name nor an IP address.
    #[error("{0:?} is not a valid TLS server name")]
    BadServerName(String),
}
