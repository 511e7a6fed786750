//! netstack's [`Transport`] over a non-blocking kernel socket: what is above TCP stays ours, TCP is the kernel's.
//!
//! One connected socket, which [`Transport::connect`] hands out. Bytes are received into a buffer and lent there; what is
//! written is given to the kernel at once.

use netstack::transport::{CloseReason, ConnectError, Resolution, SocketId, SocketState, Transport};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

const BUFFER: usize = 64 * 1024;
const SOCKET: SocketId = SocketId { index: 0, generation: 0 };

/// See the module's head.
pub struct KernelTransport {
    stream: TcpStream,
    state: SocketState,
    incoming: Box<[u8]>,
    /// Received and not yet used up.
    start: usize,
    end: usize,
    outgoing: Box<[u8]>,
    /// Written and not yet taken by the kernel.
    waiting: std::ops::Range<usize>,
}

impl KernelTransport {
    /// Over a connected socket.
    pub fn new(stream: TcpStream) -> std::io::Result<KernelTransport> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let buffer = || vec![0; BUFFER].into_boxed_slice();
        Ok(KernelTransport { stream, state: SocketState::Open, incoming: buffer(), start: 0, end: 0, outgoing: buffer(), waiting: 0..0 })
    }

    /// Gives the kernel what it had no room for.
    #[inline]
    pub fn flush(&mut self) {
        while !self.waiting.is_empty() {
            match self.stream.write(&self.outgoing[self.waiting.clone()]) {
                Ok(count) => self.waiting.start += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.state = SocketState::Closed(CloseReason::Reset);
                    self.waiting = 0..0;
                }
            }
        }
        self.waiting = 0..0;
    }

    #[inline]
    fn receive(&mut self) {
        if self.state != SocketState::Open {
            return;
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == BUFFER {
            self.incoming.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == BUFFER {
            return;
        }
        match self.stream.read(&mut self.incoming[self.end..]) {
            Ok(0) => self.state = SocketState::PeerClosed,
            Ok(count) => self.end += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.state = SocketState::Closed(CloseReason::Reset),
        }
    }
}

impl Transport for KernelTransport {
    fn resolve(&mut self, _host: &str, _now_ns: u64) -> Resolution {
        Resolution::Address(Ipv4Addr::LOCALHOST)
    }

    fn connect(&mut self, _remote: SocketAddrV4, _now_ns: u64) -> Result<SocketId, ConnectError> {
        Ok(SOCKET)
    }

    #[inline]
    fn state(&self, _socket: SocketId) -> SocketState {
        self.state
    }

    #[inline]
    fn read<R>(&mut self, _socket: SocketId, take: impl FnOnce(&mut [u8]) -> (usize, R)) -> R {
        self.receive();
        let (used, result) = take(&mut self.incoming[self.start..self.end]);
        self.start = (self.start + used).min(self.end);
        result
    }

    #[inline]
    fn write<R>(&mut self, _socket: SocketId, room: usize, fill: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<R> {
        let (written, result) = fill(self.outgoing.get_mut(self.waiting.end..)?.get_mut(..room)?);
        self.waiting.end += written.min(room);
        self.flush();
        Some(result)
    }

    fn unacknowledged(&self, _socket: SocketId) -> usize {
        self.waiting.len()
    }

    fn close(&mut self, _socket: SocketId) {
        self.state = SocketState::Closed(CloseReason::Closed);
    }

    fn abort(&mut self, _socket: SocketId) {
        self.state = SocketState::Closed(CloseReason::Aborted);
    }

    fn release(&mut self, socket: SocketId) {
        self.abort(socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn bytes_are_lent_until_they_are_used_and_written_ones_leave_at_once() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut transport = KernelTransport::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        assert_eq!(transport.read(SOCKET, |bytes| (0, bytes.len())), 0);
        peer.write_all(b"abcdef").unwrap();
        while transport.read(SOCKET, |bytes| (0, bytes.len())) < 6 {}
        transport.read(SOCKET, |bytes| {
            bytes[2] = b'X';
            (2, ())
        });
        assert_eq!(transport.read(SOCKET, |bytes| (bytes.len(), bytes.to_vec())), b"Xdef");
        transport.write(SOCKET, 8, |room| {
            room[..3].copy_from_slice(b"buy");
            (3, ())
        });
        let mut order = [0; 3];
        peer.read_exact(&mut order).unwrap();
        assert_eq!(&order, b"buy");
        assert!(transport.write(SOCKET, BUFFER + 1, |_| (0, ())).is_none());
        drop(peer);
        while transport.state(SOCKET) == SocketState::Open {
            transport.read(SOCKET, |bytes| (bytes.len(), ()));
        }
    }
}
