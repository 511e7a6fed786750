//! The handshake, done by rustls, fed with exactly one record at a time.
//!
//! rustls works through everything in its input. Given more than the handshake's last record it would
//! also take records that belong to the established connection, and the secrets that it hands over would
//! no longer match what is left in our input. So records are framed here and given one by one: at the
//! moment when the handshake is complete rustls has seen nothing else, holds nothing to send, and
//! `dangerous_into_kernel_connection` must succeed.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{ProtocolVersion, SupportedCipherSuite};

use super::error::TlsError;
use super::record::{MAX_CIPHERTEXT_TLS12, RECORD_HEADER, TrafficKeys, Version};
use super::record_layer::{KeySchedule, RecordLayer};

/// Most bytes of handshake that are held at one time (certificate chains are a few KiB).
pub const MAX_HANDSHAKE: usize = 128 * 1024;
/// States that rustls may go through for one record; a flight is three to six messages.
const MAX_STEPS: usize = 64;

/// The established connection as rustls backs it.
pub(super) type Established = RecordLayer<KernelConnection<ClientConnectionData>>;

impl KeySchedule for KernelConnection<ClientConnectionData> {
    fn next_send_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        let (sequence, secrets) = self.update_tx_secret()?;
        TrafficKeys::from_rustls(sequence, &secrets)
    }

    fn next_receive_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        let (sequence, secrets) = self.update_rx_secret()?;
        TrafficKeys::from_rustls(sequence, &secrets)
    }

    fn new_session_ticket(&mut self, body: &[u8]) -> Result<(), TlsError> {
        self.handle_new_session_ticket(body).map_err(|_| TlsError::Malformed("a session ticket that rustls refused"))
    }
}

/// A handshake under way.
pub(super) struct Handshake {
    connection: UnbufferedClientConnection,
    /// Records that rustls still needs (a message may be split over several), then the unfinished one.
    input: Vec<u8>,
    /// Where the unfinished record starts in `input`.
    record_start: usize,
}

/// Whether the handshake goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The input ends within a record.
    NeedMore,
    /// A record was consumed.
    Progress,
    /// Complete: call [`Handshake::finish`].
    Complete,
}

impl Handshake {
    /// Starts: `out` receives the ClientHello.
    pub(super) fn start(connection: UnbufferedClientConnection, out: &mut Vec<u8>) -> Result<Handshake, TlsError> {
        let mut handshake = Handshake { connection, input: Vec::with_capacity(RECORD_HEADER + MAX_CIPHERTEXT_TLS12), record_start: 0 };
        handshake.advance(out)?;
        Ok(handshake)
    }

    /// Takes at most one record from `input`; `out` receives what is to be sent.
    pub(super) fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Step), TlsError> {
        let mut consumed = self.fill(RECORD_HEADER, input);
        let Some(&[_, _, _, high, low]) = self.record().first_chunk::<RECORD_HEADER>() else {
            return Ok((consumed, Step::NeedMore));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > MAX_CIPHERTEXT_TLS12 {
            return Err(TlsError::RecordOverflow { length, limit: MAX_CIPHERTEXT_TLS12 });
        }
        if self.record_start + RECORD_HEADER + length > MAX_HANDSHAKE {
            return Err(TlsError::HandshakeTooLarge { limit: MAX_HANDSHAKE });
        }
        consumed += self.fill(RECORD_HEADER + length, input.get(consumed..).unwrap_or(&[]));
        if self.record().len() < RECORD_HEADER + length {
            return Ok((consumed, Step::NeedMore));
        }
        let complete = self.advance(out)?;
        self.record_start = self.input.len();
        Ok((consumed, if complete { Step::Complete } else { Step::Progress }))
    }

    /// The unfinished record.
    fn record(&self) -> &[u8] {
        self.input.get(self.record_start..).unwrap_or(&[])
    }

    /// Appends input until the unfinished record has `target` bytes; returns how many were taken.
    fn fill(&mut self, target: usize, input: &[u8]) -> usize {
        let count = target.saturating_sub(self.record().len()).min(input.len());
        self.input.extend_from_slice(input.get(..count).unwrap_or(&[]));
        count
    }

    /// Lets rustls go on until it needs more input (false) or is done (true).
    fn advance(&mut self, out: &mut Vec<u8>) -> Result<bool, TlsError> {
        for _ in 0..MAX_STEPS {
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut self.input);
            let result = match state {
                Ok(ConnectionState::EncodeTlsData(mut chunk)) => {
                    let start = out.len();
                    match chunk.encode(&mut []) {
                        Err(EncodeError::InsufficientSize(size)) => out.resize(start + size.required_size, 0),
                        Ok(_) => {}
                        Err(EncodeError::AlreadyEncoded) => return Err(TlsError::Internal("rustls lost a handshake flight")),
                    }
                    match chunk.encode(out.get_mut(start..).unwrap_or(&mut [])) {
                        Ok(length) => {
                            out.truncate(start + length);
                            None
                        }
                        Err(_) => return Err(TlsError::Internal("rustls did not encode its handshake flight")),
                    }
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => {
                    transmit.done();
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Ok(false)),
                Ok(ConnectionState::WriteTraffic(_)) => Some(Ok(true)),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Some(Err(TlsError::ClosedDuringHandshake)),
                Ok(_) => Some(Err(TlsError::UnexpectedMessage("application data before the handshake is complete"))),
                Err(error) => Some(Err(TlsError::from(error))),
            };
            self.input.drain(..discard.min(self.input.len()));
            match result {
                None => {}
                Some(Ok(complete)) => return Ok(complete),
                Some(Err(error)) => {
                    self.collect_alert(out);
                    return Err(error);
                }
            }
        }
        Err(TlsError::Internal("the handshake makes no progress"))
    }

    /// After an error: takes the alert that rustls has ready for the peer. With something to send, rustls
    /// hands it out before it looks at its input; with nothing, it must not be asked again.
    fn collect_alert(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            let status = self.connection.process_tls_records(&mut self.input);
            let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut chunk)), .. } = status else {
                return;
            };
            let start = out.len();
            if let Err(EncodeError::InsufficientSize(size)) = chunk.encode(&mut []) {
                out.resize(start + size.required_size, 0);
                let length = chunk.encode(out.get_mut(start..).unwrap_or(&mut [])).unwrap_or(0);
                out.truncate(start + length);
            }
        }
    }

    /// Takes the secrets over from rustls. Call it once, after [`Step::Complete`].
    pub(super) fn finish(self) -> Result<(Established, Option<Vec<u8>>), TlsError> {
        if !self.input.is_empty() {
            return Err(TlsError::UnexpectedMessage("data behind the last handshake message in its record"));
        }
        let alpn = self.connection.alpn_protocol().map(<[u8]>::to_vec);
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
            Some(ProtocolVersion::TLSv1_2) => Version::Tls12,
            _ => return Err(TlsError::Internal("a protocol version that was not offered")),
        };
        let (secrets, kernel) = self.connection.dangerous_into_kernel_connection()?;
        let send = TrafficKeys::from_rustls(secrets.tx.0, &secrets.tx.1)?;
        let receive = TrafficKeys::from_rustls(secrets.rx.0, &secrets.rx.1)?;
        let limit = confidentiality_limit(kernel.negotiated_cipher_suite());
        let mut established = RecordLayer::new(version, &send, &receive, kernel)?;
        established.set_record_limit(limit);
        Ok((established, alpn))
    }
}

fn confidentiality_limit(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
    }
}
