//! A scripted transport in memory, and a WebSocket server behind it (with a rustls server for TLS):
//! the peer of the session tests.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use netstack::session::{CauseKind, CloseCause, Handler, Progress, Session, SessionConfig};
use netstack::transport::{CloseReason, ConnectError, Resolution, SocketId, SocketState, Transport};
use netstack::websocket::Kind;

use crate::tls_support::{Authority, NOW, SERVER_NAME, Server};

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;

/// One end of a TCP connection, as the session sees it.
#[derive(Debug)]
pub struct FakeSocket {
    pub id: SocketId,
    pub state: SocketState,
    /// From the server, not yet read.
    pub incoming: Vec<u8>,
    /// To the server.
    pub outgoing: Vec<u8>,
    pub fin_sent: bool,
    pub released: bool,
}

/// Sockets in memory. Nothing happens to them but what the test does.
#[derive(Debug)]
pub struct FakeTransport {
    pub sockets: Vec<FakeSocket>,
    pub resolution: Resolution,
    pub connect_error: Option<ConnectError>,
    /// What a new socket is at first.
    pub first_state: SocketState,
    /// Most bytes lent at one time.
    pub lend_max: usize,
    /// Room for what is not yet taken by the server.
    pub room: usize,
    pub connects: Vec<SocketAddrV4>,
    pub resolved: Vec<String>,
}

impl FakeTransport {
    pub fn new() -> FakeTransport {
        FakeTransport {
            sockets: Vec::new(),
            resolution: Resolution::Address(Ipv4Addr::new(10, 0, 0, 2)),
            connect_error: None,
            first_state: SocketState::Open,
            lend_max: usize::MAX,
            room: 1 << 20,
            connects: Vec::new(),
            resolved: Vec::new(),
        }
    }

    fn find(&mut self, id: SocketId) -> Option<&mut FakeSocket> {
        self.sockets.iter_mut().find(|socket| socket.id == id && !socket.released)
    }

    pub fn last(&mut self) -> &mut FakeSocket {
        self.sockets.last_mut().expect("a socket was made")
    }
}

impl Transport for FakeTransport {
    fn resolve(&mut self, host: &str, _now_ns: u64) -> Resolution {
        self.resolved.push(host.to_owned());
        self.resolution
    }

    fn connect(&mut self, remote: SocketAddrV4, _now_ns: u64) -> Result<SocketId, ConnectError> {
        if let Some(error) = self.connect_error {
            return Err(error);
        }
        self.connects.push(remote);
        let id = SocketId { index: self.sockets.len() as u16, generation: 1 };
        self.sockets.push(FakeSocket {
            id,
            state: self.first_state,
            incoming: Vec::with_capacity(1 << 16),
            outgoing: Vec::with_capacity(1 << 16),
            fin_sent: false,
            released: false,
        });
        Ok(id)
    }

    fn state(&self, id: SocketId) -> SocketState {
        match self.sockets.iter().find(|socket| socket.id == id && !socket.released) {
            Some(socket) => socket.state,
            None => SocketState::Closed(CloseReason::Aborted),
        }
    }

    fn read<R>(&mut self, id: SocketId, take: impl FnOnce(&mut [u8]) -> (usize, R)) -> R {
        let lend_max = self.lend_max;
        let Some(socket) = self.find(id) else {
            return take(&mut []).1;
        };
        let count = socket.incoming.len().min(lend_max);
        let (used, result) = take(&mut socket.incoming[..count]);
        assert!(used <= count, "used more than was lent");
        socket.incoming.drain(..used);
        result
    }

    fn write<R>(&mut self, id: SocketId, room: usize, fill: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<R> {
        let limit = self.room;
        let socket = self.find(id)?;
        if !matches!(socket.state, SocketState::Open | SocketState::PeerClosed) || socket.fin_sent {
            return None;
        }
        let start = socket.outgoing.len();
        if start + room > limit {
            return None;
        }
        socket.outgoing.resize(start + room, 0xee);
        let (written, result) = fill(&mut socket.outgoing[start..]);
        assert!(written <= room);
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

/// What a handler was told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Open(u32),
    Message(u32, Kind, Vec<u8>),
    Close(u32, CloseCause),
    Failed(CloseCause, u64),
}

#[derive(Debug, Default)]
pub struct Recorder {
    pub told: Vec<Told>,
}

impl Recorder {
    pub fn messages(&self) -> Vec<&[u8]> {
        self.told
            .iter()
            .filter_map(|told| match told {
                Told::Message(_, _, payload) => Some(payload.as_slice()),
                _ => None,
            })
            .collect()
    }

    pub fn take(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// The kinds of causes of closed links and failed attempts.
    pub fn kinds(&self) -> Vec<CauseKind> {
        self.told
            .iter()
            .filter_map(|told| match told {
                Told::Close(_, cause) | Told::Failed(cause, _) => Some(cause.kind()),
                _ => None,
            })
            .collect()
    }
}

impl Handler for Recorder {
    fn on_open(&mut self, generation: u32) {
        self.told.push(Told::Open(generation));
    }

    fn on_message(&mut self, generation: u32, kind: Kind, payload: &[u8]) {
        self.told.push(Told::Message(generation, kind, payload.to_vec()));
    }

    fn on_close(&mut self, generation: u32, cause: &CloseCause) {
        self.told.push(Told::Close(generation, cause.clone()));
    }

    fn on_attempt_failed(&mut self, cause: &CloseCause, wait_ns: u64) {
        self.told.push(Told::Failed(cause.clone(), wait_ns));
    }
}

/// A client's frame, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// A server's frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(length as u8),
        length @ 126..=0xffff => {
            bytes.push(126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

pub fn text(payload: &str) -> Vec<u8> {
    frame(0x81, payload.as_bytes())
}

pub fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes()[..], reason.as_bytes()].concat())
}

/// The server's side of one socket: TLS (if any), the upgrade, the client's frames.
pub struct Peer {
    pub tls: Option<Server>,
    /// Plaintext of the client that is not understood yet.
    plaintext: Vec<u8>,
    pub request: Option<String>,
    pub frames: VecDeque<Frame>,
    /// What is answered to the upgrade request; `None` = 101.
    pub refusal: Option<String>,
    /// Sent in the same write as the 101.
    pub greeting: Vec<u8>,
    /// True: the request is taken but not answered.
    pub silent: bool,
}

impl Peer {
    pub fn new(tls: Option<Server>) -> Peer {
        Peer { tls, plaintext: Vec::new(), request: None, frames: VecDeque::new(), refusal: None, greeting: Vec::new(), silent: false }
    }

    /// Takes what the client has sent and answers what the protocol demands.
    pub fn serve(&mut self, socket: &mut FakeSocket) {
        let bytes = socket.outgoing.clone();
        socket.outgoing.clear();
        match &mut self.tls {
            None => self.plaintext.extend_from_slice(&bytes),
            Some(server) => {
                server.receive(&bytes);
                self.plaintext.append(&mut server.plaintext);
            }
        }
        if self.request.is_none()
            && let Some(end) = self.plaintext.windows(4).position(|window| window == b"\r\n\r\n")
        {
            let request = String::from_utf8(self.plaintext.drain(..end + 4).collect()).unwrap();
            let answer = match &self.refusal {
                Some(refusal) => refusal.clone().into_bytes(),
                None => [accept(&request).into_bytes(), std::mem::take(&mut self.greeting)].concat(),
            };
            self.request = Some(request);
            if !self.silent {
                self.send(socket, &answer);
            }
        }
        while self.request.is_some()
            && let Some(frame) = take_frame(&mut self.plaintext)
        {
            self.frames.push_back(frame);
        }
        self.flush(socket);
    }

    /// Sends plaintext.
    pub fn send(&mut self, socket: &mut FakeSocket, plaintext: &[u8]) {
        match &mut self.tls {
            None => socket.incoming.extend_from_slice(plaintext),
            // A server that met an error has nothing more to say.
            Some(server) if server.error.is_some() => {}
            Some(server) => server.write(plaintext),
        }
        self.flush(socket);
    }

    pub fn flush(&mut self, socket: &mut FakeSocket) {
        if let Some(server) = &mut self.tls {
            socket.incoming.extend_from_slice(&server.output());
        }
    }
}

/// RFC 6455 section 4.2.2.
pub fn accept(request: &str) -> String {
    use base64::Engine;
    let header = |name: &str| {
        request.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    };
    let key = header("Sec-WebSocket-Key").expect("a key");
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = base64::engine::general_purpose::STANDARD.encode(hash.finish());
    format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n")
}

fn take_frame(bytes: &mut Vec<u8>) -> Option<Frame> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0x80, "a client masks");
    let (length, header) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize, 10),
        short => (usize::from(short), 2),
    };
    assert!(header == 2 || length > 125, "the shortest form");
    let mask: [u8; 4] = bytes.get(header..header + 4)?.try_into().unwrap();
    let start = header + 4;
    let payload = bytes.get(start..start + length)?.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]).collect();
    bytes.drain(..start + length);
    Some(Frame { opcode: first, payload })
}

/// A session, its transport, its peers and its clock.
pub struct World {
    pub session: Session,
    pub transport: FakeTransport,
    pub handler: Recorder,
    pub peers: Vec<Peer>,
    pub now_ns: u64,
    pub authority: Option<(Authority, std::sync::Arc<rustls::server::ServerConfig>)>,
    /// What new peers answer.
    pub refusal: Option<String>,
    pub greeting: Vec<u8>,
    pub silent: bool,
}

impl World {
    pub fn new(adjust: impl FnOnce(&mut SessionConfig)) -> World {
        World::with(None, adjust)
    }

    pub fn with_tls(versions: netstack::tls::Versions, adjust: impl FnOnce(&mut SessionConfig)) -> World {
        World::with(Some(versions), adjust)
    }

    fn with(versions: Option<netstack::tls::Versions>, adjust: impl FnOnce(&mut SessionConfig)) -> World {
        let authority = versions.map(|_| Authority::new());
        let tls = authority.as_ref().zip(versions).map(|(authority, versions)| authority.client_config(versions, None));
        let mut config = SessionConfig::new(SERVER_NAME, 9443, "/ws?streams=a", tls);
        config.idle_timeout_ns = 0;
        config.message_max = 1 << 16;
        config.seed = 42;
        adjust(&mut config);
        World {
            session: Session::new(config, 0),
            transport: FakeTransport::new(),
            handler: Recorder::default(),
            peers: Vec::new(),
            now_ns: 0,
            authority: authority.map(|authority| {
                let config = authority.server_config(&[]);
                (authority, config)
            }),
            refusal: None,
            greeting: Vec::new(),
            silent: false,
        }
    }

    pub fn poll(&mut self) -> Progress {
        self.session.poll(&mut self.transport, self.now_ns, NOW + self.now_ns / SECOND, &mut self.handler)
    }

    pub fn serve(&mut self) {
        while self.peers.len() < self.transport.sockets.len() {
            let server = self.authority.as_ref().map(|(_, config)| Server::new(config));
            let mut peer = Peer::new(server);
            peer.refusal = self.refusal.clone();
            peer.greeting = self.greeting.clone();
            peer.silent = self.silent;
            self.peers.push(peer);
        }
        for (peer, socket) in self.peers.iter_mut().zip(&mut self.transport.sockets) {
            if !socket.released && matches!(socket.state, SocketState::Open | SocketState::PeerClosed) {
                peer.serve(socket);
            }
        }
    }

    /// Polls and serves until nothing happens any more.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut worked = self.poll() == Progress::Worked;
            let before: usize = self.transport.sockets.iter().map(|socket| socket.outgoing.len() + socket.incoming.len()).sum();
            self.serve();
            let after: usize = self.transport.sockets.iter().map(|socket| socket.outgoing.len() + socket.incoming.len()).sum();
            worked |= before != after;
            if !worked {
                return;
            }
        }
        panic!("the session never falls silent");
    }

    pub fn advance(&mut self, by_ns: u64) {
        self.now_ns += by_ns;
        self.settle();
    }

    /// Lets time go by in steps of a millisecond until `done`.
    pub fn advance_until(&mut self, limit_ns: u64, mut done: impl FnMut(&World) -> bool) -> u64 {
        let start = self.now_ns;
        while !done(self) {
            assert!(self.now_ns - start <= limit_ns, "not within {limit_ns} ns: {:?}", self.handler.told);
            self.advance(MS);
        }
        self.now_ns - start
    }

    pub fn open(mut self) -> World {
        self.settle();
        assert!(self.session.is_open(), "{:?}", self.session.statistics());
        self.handler.take();
        self
    }

    /// The server sends plaintext on its socket `index`.
    pub fn server_sends(&mut self, index: usize, plaintext: &[u8]) {
        self.peers[index].send(&mut self.transport.sockets[index], plaintext);
    }

    /// The server's TCP sends FIN.
    pub fn server_fin(&mut self, index: usize) {
        let socket = &mut self.transport.sockets[index];
        socket.state = if socket.fin_sent { SocketState::Closed(CloseReason::Closed) } else { SocketState::PeerClosed };
    }

    pub fn reset(&mut self, index: usize) {
        self.transport.sockets[index].state = SocketState::Closed(CloseReason::Reset);
    }

    pub fn closes(&self, kind: CauseKind) -> u64 {
        self.session.statistics().closed_by(kind)
    }
}
