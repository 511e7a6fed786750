//! TLS 1.3 and 1.2 client, sans-I/O: rustls shakes hands, the records are ours.
//!
//! rustls verifies certificates and agrees on keys; then it hands its traffic secrets over and only
//! keeps the key schedule (key updates, tickets). From there every record is opened where the network
//! put it and sealed where the network will take it, without an allocation or a copy.
//!
//! The caller's loop:
//!
//! ```text
//! let mut tls = TlsClient::new(&config, "example.com", unix_time)?;   // ClientHello is pending
//! loop {
//!     while tls.has_pending() { let n = tls.write_pending(frame); send(&frame[..n]) }
//!     let received = tls.receive(&mut input[at..], &mut record_buffer)?;
//!     at += received.consumed;
//!     match received.event {
//!         Event::NeedMore => break,                  // all input consumed
//!         Event::Plaintext(bytes) => handle(bytes),  // tls.seal(..) may be called while reading them
//!         Event::Established | Event::Progress => {}
//!         Event::PeerClosed => close(),
//!     }
//! }
//! ```
//!
//! Plaintext borrows the input or the [`RecordBuffer`], never the connection, so an answer can be
//! sealed while the message that caused it is still being read.
//!
//! Time (for certificates and tickets) is an argument. Randomness is the one thing that is not: rustls
//! and aws-lc draw the handshake's secrets from the operating system, and should.
//!
//! | file | what it holds |
//! |---|---|
//! | `config` | roots, versions, suites, ALPN, the given clock |
//! | `handshake` | rustls, one record at a time, and the take-over of its secrets |
//! | `aes_gcm` | AES-GCM for short records |
//! | `cipher` | a key of the negotiated suite: ours or ring's |
//! | `record` | protection of one record: nonces, additional data, both versions |
//! | `record_layer` | the established connection: receive, seal, key updates, alerts, limits |
//! | `buffer` | scratch for records that arrive in pieces |
//! | `error` | what went wrong, and the alert for it |
//! | `wiped` | memory that is overwritten when it is dropped |

#[cfg(target_arch = "x86_64")]
pub mod aes_gcm;
mod buffer;
mod cipher;
mod config;
mod error;
mod handshake;
mod record;
mod record_layer;
mod wiped;

use std::hint::cold_path;
use std::ops::Range;

use drivers::purpose::Purpose;
use rustls::client::UnbufferedClientConnection;
use rustls_pki_types::ServerName;
use zeroize::Zeroize;

pub use buffer::RecordBuffer;
pub use config::{Roots, TlsConfig, TlsOptions, Versions};
pub use error::{Alert, SealError, TlsConfigError, TlsError};
use handshake::{Established, Handshake, Step};
pub use record::{MAX_HEADER_ROOM, MAX_OVERHEAD, MAX_PLAINTEXT, RECORD_HEADER, Suite, TrafficKeys, Version};
pub use record_layer::{Event, KeySchedule, MAX_LATE_HANDSHAKE_MESSAGE, MAX_TICKETS, Received, RecordLayer, RecordStatistics};
use wiped::WipedBox;

/// Room that is enough for any pending control record after the handshake.
pub const MAX_PENDING_RECORD: usize = MAX_OVERHEAD + 8;

enum State {
    Handshake(Box<Handshake>),
    Established(WipedBox<Established>),
    Failed(TlsError),
    Closed,
}

/// One TLS connection from the client's side. See the module's head for the loop around it.
pub struct TlsClient {
    state: State,
    /// Handshake bytes to send (plaintext hellos, protected Finished, alerts).
    flight: Vec<u8>,
    flight_sent: usize,
    alpn: Option<Vec<u8>>,
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state: &dyn std::fmt::Debug = match &self.state {
            State::Handshake(_) => &"handshake",
            State::Established(established) => &**established,
            State::Failed(error) => error,
            State::Closed => &"closed",
        };
        f.debug_struct("TlsClient").field("state", state).finish_non_exhaustive()
    }
}

impl Drop for TlsClient {
    fn drop(&mut self) {
        self.flight.zeroize();
    }
}

impl TlsClient {
    /// A connection to `server_name` (a DNS name, sent as SNI, or an IP address; the certificate must be
    /// valid for it). `unix_time` is the wall clock in seconds since 1970. The ClientHello is pending.
    pub fn new(config: &TlsConfig, server_name: &str, unix_time: u64) -> Result<TlsClient, TlsConfigError> {
        config.set_unix_time(unix_time);
        let name = ServerName::try_from(server_name.to_owned()).map_err(|_| TlsConfigError::BadServerName(server_name.to_owned()))?;
        let connection = UnbufferedClientConnection::new(config.client(), name).map_err(TlsConfigError::BadOptions)?;
        let mut flight = Vec::with_capacity(4096);
        let state = match Handshake::start(connection, &mut flight) {
            Ok(handshake) => State::Handshake(Box::new(handshake)),
            Err(error) => State::Failed(error),
        };
        Ok(TlsClient { state, flight, flight_sent: 0, alpn: None })
    }

    /// True once the handshake is complete and until the connection fails.
    #[inline]
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    /// The negotiated version, once established.
    pub fn version(&self) -> Option<Version> {
        self.established().map(|established| established.version())
    }

    /// The record cipher, once established.
    pub fn suite(&self) -> Option<Suite> {
        self.established().map(|established| established.suite())
    }

    /// The protocol that the server chose by ALPN, if any.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// The counters (zero before the connection is established).
    pub fn statistics(&self) -> RecordStatistics {
        self.established().map(|established| established.statistics()).unwrap_or_default()
    }

    /// True if the connection should be replaced before long (see [`RecordLayer::wears_out`]).
    pub fn wears_out(&self) -> bool {
        self.established().is_some_and(|established| established.wears_out())
    }

    fn established(&self) -> Option<&Established> {
        match &self.state {
            State::Established(established) => Some(established),
            _ => None,
        }
    }

    /// Deals with at most one record at the front of `input`; call it again with the rest while bytes are
    /// left. An error is final, and its alert is pending.
    #[inline(always)]
    pub fn receive<'a>(&mut self, input: &'a mut [u8], buffer: &'a mut RecordBuffer) -> Result<Received<'a>, TlsError> {
        match &mut self.state {
            State::Established(established) => established.receive(input, buffer),
            _ => self.receive_handshake(input),
        }
    }

    #[cold]
    fn receive_handshake(&mut self, input: &[u8]) -> Result<Received<'static>, TlsError> {
        let handshake = match &mut self.state {
            State::Handshake(handshake) => handshake,
            State::Failed(error) => return Err(error.clone()),
            State::Closed | State::Established(_) => return Ok(Received { consumed: input.len(), event: Event::PeerClosed }),
        };
        let queued = self.flight.len();
        let (consumed, step) = match handshake.receive(input, &mut self.flight) {
            Ok(progress) => progress,
            Err(error) => {
                // rustls says nothing to what it cannot even take for a record or a message.
                if self.flight.len() == queued && matches!(error, TlsError::Handshake(_)) {
                    self.queue_plain_alert(Alert::DECODE_ERROR);
                }
                return Err(self.fail(error));
            }
        };
        let event = match step {
            Step::NeedMore => Event::NeedMore,
            Step::Progress => Event::Progress,
            Step::Complete => {
                self.establish()?;
                Event::Established
            }
        };
        Ok(Received { consumed, event })
    }

    fn establish(&mut self) -> Result<(), TlsError> {
        let state = std::mem::replace(&mut self.state, State::Closed);
        let State::Handshake(handshake) = state else {
            return Err(self.fail(TlsError::Internal("established twice")));
        };
        match handshake.finish() {
            Ok((established, alpn)) => {
                self.state = State::Established(WipedBox::new(established));
                self.alpn = alpn;
                Ok(())
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// The handshake failed. rustls has queued the alert for what it found; ours is for what it did not
    /// get to see, and unprotected (no keys are agreed, or none that the peer must have yet).
    fn fail(&mut self, error: TlsError) -> TlsError {
        if let Some(alert) = error.alert() {
            self.queue_plain_alert(alert);
        }
        self.state = State::Failed(error.clone());
        error
    }

    fn queue_plain_alert(&mut self, alert: Alert) {
        self.flight.extend_from_slice(&[record::ALERT, 3, 3, 0, 2, 2, alert.0]);
    }

    /// True if bytes wait for [`TlsClient::write_pending`].
    #[inline]
    pub fn has_pending(&self) -> bool {
        self.flight_sent < self.flight.len() || self.established_pending()
    }

    #[inline]
    fn established_pending(&self) -> bool {
        match &self.state {
            State::Established(established) => established.has_pending(),
            _ => false,
        }
    }

    /// Writes as many pending bytes (handshake, key update, alert) as fit into `out`; returns how many.
    /// They must go out before anything that is sealed afterwards.
    pub fn write_pending(&mut self, out: &mut [u8]) -> usize {
        let waiting = self.flight.get(self.flight_sent..).unwrap_or(&[]);
        let count = waiting.len().min(out.len());
        let (now, rest) = out.split_at_mut(count);
        now.copy_from_slice(&waiting[..count]);
        self.flight_sent += count;
        if self.flight_sent < self.flight.len() {
            return count;
        }
        self.flight.clear();
        self.flight_sent = 0;
        match &mut self.state {
            State::Established(established) => count + established.write_pending(rest),
            _ => count,
        }
    }

    /// Room that takes everything which waits for [`TlsClient::write_pending`]; 0 if nothing does.
    pub fn pending_room(&self) -> usize {
        let flight = self.flight.len() - self.flight_sent;
        // At most a key update, a warning and an alert.
        flight + if self.established_pending() { 3 * MAX_PENDING_RECORD } else { 0 }
    }

    /// Bytes that sealing puts before the plaintext; [`MAX_HEADER_ROOM`] before the handshake is complete.
    #[inline]
    pub fn header_room(&self) -> usize {
        self.established().map_or(MAX_HEADER_ROOM, |established| established.header_room())
    }

    /// Bytes that sealing adds in total; [`MAX_OVERHEAD`] before the handshake is complete.
    #[inline]
    pub fn overhead(&self) -> usize {
        self.established().map_or(MAX_OVERHEAD, |established| established.header_room() + established.trailer_room())
    }

    /// Seals `plaintext` (at most [`MAX_PLAINTEXT`] bytes) as one record at the front of `out`; returns
    /// the record's length.
    #[inline]
    pub fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        self.sealer()?.seal(plaintext, out)
    }

    /// Seals the plaintext that the caller wrote to `out[plaintext]`, in place: the record begins
    /// [`TlsClient::header_room`] bytes before it. Returns where the record lies in `out`.
    #[inline]
    pub fn seal_in_place(&mut self, out: &mut [u8], plaintext: Range<usize>) -> Result<Range<usize>, SealError> {
        self.seal_in_place_for(Purpose::Send, out, plaintext)
    }

    /// [`TlsClient::seal_in_place`], for this purpose: what lies in `out` after a rehearsal is not to be sent.
    #[inline(always)]
    pub fn seal_in_place_for(&mut self, purpose: Purpose, out: &mut [u8], plaintext: Range<usize>) -> Result<Range<usize>, SealError> {
        self.sealer()?.seal_in_place(purpose, out, plaintext)
    }

    #[inline(always)]
    fn sealer(&mut self) -> Result<&mut Established, SealError> {
        match &mut self.state {
            // The client's Finished must leave before the first record.
            State::Established(_) if !self.flight.is_empty() => Err(SealError::PendingFirst),
            State::Established(established) => Ok(established),
            State::Handshake(_) => {
                cold_path();
                Err(SealError::NotReady)
            }
            State::Failed(_) | State::Closed => {
                cold_path();
                Err(SealError::Closed)
            }
        }
    }

    /// Queues close_notify; nothing can be sealed afterwards. During the handshake it gives the
    /// handshake up.
    pub fn queue_close_notify(&mut self) {
        match &mut self.state {
            State::Established(established) => established.queue_close_notify(),
            State::Handshake(_) => {
                self.flight.extend_from_slice(&[record::ALERT, 3, 3, 0, 2, 1, Alert::USER_CANCELED.0]);
                self.state = State::Closed;
            }
            State::Failed(_) | State::Closed => {}
        }
    }

    /// Queues an update of our sending key (TLS 1.3).
    pub fn queue_key_update(&mut self) {
        if let State::Established(established) = &mut self.state {
            established.queue_key_update();
        }
    }
}
