//! A transport in memory: nothing happens to its sockets but what the script says.

use netstack::transport::{CloseReason, ConnectError, Resolution, SocketId, SocketState, Transport};
use std::net::{Ipv4Addr, SocketAddrV4};

/// One end of a TCP connection, as the layers above see it.
pub struct Socket {
    id: SocketId,
    /// What it is.
    pub state: SocketState,
    /// From the server, not yet read.
    pub incoming: Vec<u8>,
    /// To the server.
    pub outgoing: Vec<u8>,
    /// The upgrade was answered.
    pub answered: bool,
    /// Messages sent whole and sound, as long as nothing else was sent.
    pub expected: Option<Vec<Vec<u8>>>,
    fin_sent: bool,
    released: bool,
}

impl Socket {
    /// True if both ends could still talk.
    pub fn is_live(&self) -> bool {
        !self.released && matches!(self.state, SocketState::Open | SocketState::PeerClosed)
    }
}

/// Sockets in memory.
pub struct Memory {
    /// All that there have been.
    pub sockets: Vec<Socket>,
    /// What every name is.
    pub resolution: Resolution,
    /// Why no connection can be made.
    pub connect_error: Option<ConnectError>,
    /// What a new socket is at first.
    pub first_state: SocketState,
    /// Most bytes lent at one time.
    pub lend_max: usize,
    /// Room for what the server has not taken.
    pub room: usize,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            sockets: Vec::new(),
            resolution: Resolution::Address(Ipv4Addr::new(10, 0, 0, 2)),
            connect_error: None,
            first_state: SocketState::Open,
            lend_max: usize::MAX,
            room: 1 << 20,
        }
    }
}

impl Memory {
    fn find(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.sockets.iter_mut().find(|socket| socket.id == id && !socket.released)
    }
}

impl Transport for Memory {
    fn resolve(&mut self, _host: &str, _now_ns: u64) -> Resolution {
        self.resolution
    }

    fn connect(&mut self, _remote: SocketAddrV4, _now_ns: u64) -> Result<SocketId, ConnectError> {
        if let Some(error) = self.connect_error {
            return Err(error);
        }
        let id = SocketId { index: self.sockets.len() as u16, generation: 1 };
        let socket = Socket {
            id,
            state: self.first_state,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            answered: false,
            expected: Some(Vec::new()),
            fin_sent: false,
            released: false,
        };
        self.sockets.push(socket);
        Ok(id)
    }

    fn state(&self, id: SocketId) -> SocketState {
        let found = self.sockets.iter().find(|socket| socket.id == id && !socket.released);
        found.map_or(SocketState::Closed(CloseReason::Aborted), |socket| socket.state)
    }

    fn read<R>(&mut self, id: SocketId, take: impl FnOnce(&mut [u8]) -> (usize, R)) -> R {
        let lend_max = self.lend_max;
        let Some(socket) = self.find(id) else { return take(&mut []).1 };
        let count = socket.incoming.len().min(lend_max);
        let (used, result) = take(&mut socket.incoming[..count]);
        assert!(used <= count, "used more than was lent");
        socket.incoming.drain(..used);
        result
    }

    fn write<R>(&mut self, id: SocketId, room: usize, fill: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<R> {
        let limit = self.room;
        let socket = self.find(id)?;
        if !socket.is_live() || socket.fin_sent {
            return None;
        }
        let start = socket.outgoing.len();
        if start + room > limit {
            return None;
        }
        socket.outgoing.resize(start + room, 0xee);
        let (written, result) = fill(&mut socket.outgoing[start..]);
        assert!(written <= room, "wrote more than the room");
        socket.outgoing.truncate(start + written);
        Some(result)
    }

    fn unacknowledged(&self, id: SocketId) -> usize {
        self.sockets.iter().find(|socket| socket.id == id).map_or(0, |socket| socket.outgoing.len())
    }

    fn close(&mut self, id: SocketId) {
        if let Some(socket) = self.find(id) {
            socket.fin_sent = true;
        }
    }

    fn abort(&mut self, id: SocketId) {
        if let Some(socket) = self.find(id) {
            socket.state = SocketState::Closed(CloseReason::Aborted);
        }
    }

    fn release(&mut self, id: SocketId) {
        self.find(id).expect("released once").released = true;
    }
}
