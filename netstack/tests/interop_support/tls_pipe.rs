//! TLS over a socket of the stack, by hand: nothing between the record layer and TCP.

use netstack::tls::{Event, RecordBuffer, TlsClient, TlsConfig};
use netstack::transport::{SocketId, SocketState, Transport};

use super::{PEER_NAME, unix_s};

const PIECE: usize = 4096;

/// A TLS connection and what came over it.
pub struct TlsPipe {
    pub socket: SocketId,
    pub tls: TlsClient,
    records: RecordBuffer,
    pub received: Vec<u8>,
    pub peer_closed: bool,
}

impl TlsPipe {
    pub fn new(socket: SocketId, config: &TlsConfig) -> TlsPipe {
        let tls = TlsClient::new(config, PEER_NAME, unix_s()).expect("a TLS client");
        TlsPipe { socket, tls, records: RecordBuffer::new(), received: Vec::new(), peer_closed: false }
    }

    /// Takes in what has come and gives out what TLS itself has to say.
    pub fn poll<T: Transport>(&mut self, transport: &mut T) {
        assert!(
            !matches!(transport.state(self.socket), SocketState::Closed(_)) || self.peer_closed,
            "the connection is gone: {:?}",
            transport.state(self.socket)
        );
        let (tls, records, received, peer_closed) = (&mut self.tls, &mut self.records, &mut self.received, &mut self.peer_closed);
        transport.read(self.socket, |bytes| {
            let mut at = 0;
            loop {
                let step = tls.receive(&mut bytes[at..], records).expect("sound TLS");
                at += step.consumed;
                match step.event {
                    Event::NeedMore => break,
                    Event::Plaintext(plaintext) => received.extend_from_slice(plaintext),
                    Event::Established | Event::Progress => {}
                    Event::PeerClosed => {
                        *peer_closed = true;
                        break;
                    }
                }
            }
            (at, ())
        });
        while self.tls.has_pending() && transport.state(self.socket) == SocketState::Open {
            let tls = &mut self.tls;
            if transport.write(self.socket, PIECE, |room| (tls.write_pending(room), ())).is_none() {
                break;
            }
        }
    }

    /// Seals and writes; false if it has to be tried again.
    pub fn send<T: Transport>(&mut self, transport: &mut T, plaintext: &[u8]) -> bool {
        if !self.tls.is_established() || self.tls.has_pending() {
            return false;
        }
        let room = plaintext.len() + self.tls.overhead();
        let tls = &mut self.tls;
        transport.write(self.socket, room, |out| (tls.seal(plaintext, out).expect("sealed"), ())).is_some()
    }
}
