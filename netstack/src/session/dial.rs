//! From a host's name to a channel that plaintext can go through: resolve, connect, TLS.

use std::net::SocketAddrV4;

use super::Progress;
use super::cause::CloseCause;
use super::channel::{Channel, Flow};
use crate::tls::{RecordBuffer, TlsClient, TlsConfig};
use crate::transport::{CloseReason, Resolution, SocketState, Transport};

/// How far the way has been gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dial {
    /// The name is being looked up.
    Resolving,
    /// SYN sent.
    Connecting,
    /// The TLS handshake is under way.
    Securing,
    /// Plaintext can flow.
    Done,
}

impl Dial {
    /// In words, for errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Dial::Resolving => "resolving",
            Dial::Connecting => "connecting",
            Dial::Securing => "TLS handshake",
            Dial::Done => "request",
        }
    }
}

/// Whom to call.
#[derive(Clone, Copy)]
pub(super) struct Peer<'a> {
    pub host: &'a str,
    pub port: u16,
    pub tls: Option<&'a TlsConfig>,
}

impl Peer<'_> {
    /// The Host header: with the port unless it is the scheme's own (RFC 9110 section 7.2).
    pub(super) fn host_header(&self) -> String {
        match (self.tls.is_some(), self.port) {
            (true, 443) | (false, 80) => self.host.to_owned(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

impl Channel {
    /// One step of the way: the stage it leads to, and whether anything was done.
    #[cold]
    pub(super) fn dial<T: Transport>(
        &mut self,
        stage: Dial,
        peer: Peer<'_>,
        transport: &mut T,
        records: &mut RecordBuffer,
        now_ns: u64,
        unix_s: u64,
    ) -> Result<(Dial, Progress), CloseCause> {
        match stage {
            Dial::Resolving => {
                let address = match transport.resolve(peer.host, now_ns) {
                    Resolution::Pending => return Ok((stage, Progress::Idle)),
                    Resolution::Address(address) => address,
                    Resolution::Failed(error) => return Err(CloseCause::Resolve { host: peer.host.to_owned(), error }),
                };
                *self = Channel::new(transport.connect(SocketAddrV4::new(address, peer.port), now_ns)?);
                Ok((Dial::Connecting, Progress::Worked))
            }
            Dial::Connecting => {
                match self.state(transport) {
                    SocketState::Connecting => return Ok((stage, Progress::Idle)),
                    SocketState::Open | SocketState::PeerClosed => {}
                    SocketState::Closed(reason) => return Err(CloseCause::Socket(reason)),
                }
                let Some(tls) = peer.tls else {
                    return Ok((Dial::Done, Progress::Worked));
                };
                self.secure(TlsClient::new(tls, peer.host, unix_s)?);
                self.flush(transport);
                Ok((Dial::Securing, Progress::Worked))
            }
            Dial::Securing => {
                let intake = self.receive(transport, records, |_| Ok((0, Flow::Stop)))?;
                self.flush(transport);
                if intake.established {
                    return Ok((Dial::Done, Progress::Worked));
                }
                if intake.bytes > 0 {
                    return Ok((stage, Progress::Worked));
                }
                self.still_connected(transport)?;
                Ok((stage, Progress::Idle))
            }
            Dial::Done => Ok((stage, Progress::Idle)),
        }
    }

    /// What the socket is.
    #[inline]
    pub(super) fn state<T: Transport>(&self, transport: &T) -> SocketState {
        self.socket().map_or(SocketState::Closed(CloseReason::Aborted), |socket| transport.state(socket))
    }

    /// When nothing came: either the peer is silent, or this is the end of the connection.
    #[inline]
    pub(super) fn still_connected<T: Transport>(&self, transport: &T) -> Result<(), CloseCause> {
        match self.state(transport) {
            SocketState::Connecting | SocketState::Open => Ok(()),
            SocketState::PeerClosed => Err(CloseCause::PeerClosed { orderly: false }),
            SocketState::Closed(reason) => Err(CloseCause::Socket(reason)),
        }
    }
}
