//! The hot loop of the engine over our own stack: many connections on one link, each with TLS and WebSocket, from a peer on
//! the same thread (smoltcp's TCP and rustls). What is timed is the engine's side alone: from the look at the port to the end
//! of the pass, with one frame that holds one record with one message.
//!
//! Each connection is a venue's with one instrument, market data only, so venues grow along with connections.

use super::market::{Market, Protocol};
use super::parts::{Built, Cold, Ends, Layout, Pools, SkippingClock, check_books, parts, session_start};
use crate::measure::Meter;
use anyhow::{Context, anyhow, ensure};
use drivers::memory::{self, MemoryConfig, MemoryPort};
use drivers::port::{Burst, Port};
use engine_core::ids::VenueId;
use netstack::stack::{Stack, StackConfig};
use netstack::tls::{Roots, TlsConfig};
use rcgen::{CertificateParams, KeyPair};
use runtime::engine::SessionChannel;
use runtime::engine::hot_loop::{HotLoop, VenueParts};
use runtime::engine::network::TimeSource;
use rustls::crypto::aws_lc_rs;
use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use venues::any::AnyVenue;
use venues::venue::{Hosts, Venue};

/// What is timed.
pub const OPERATIONS: [&str; 3] = ["a frame with a message", "a pass without a frame", "a pass with the millisecond's work"];
const FRAME: usize = 0;
const IDLE: usize = 1;
const TICK: usize = 2;
const SERVER_NAME: &str = "venue.test";
const OURS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PEERS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Port of the first connection; the others follow.
const PORT: u16 = 9_000;
const BUFFER_BYTES: usize = 1 << 16;
const MESSAGES: usize = 256;
const UNCOUNTED: usize = 64;
const TICKS: usize = 8;
const MS: u64 = 1_000_000;
/// Passes until all must be up.
const PASSES_MAX: usize = 200_000;

/// The peer's certificate, and who vouches for it.
pub struct Authority {
    server: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// A fresh one.
    pub fn new() -> anyhow::Result<Authority> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![SERVER_NAME.to_owned()])?.self_signed(&key)?.der().clone();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], private)?;
        Ok(Authority { server: Arc::new(server), certificate })
    }
}

/// The port as smoltcp wants a device.
struct Link {
    port: MemoryPort,
    burst: Burst,
    taken: usize,
    now_ns: u64,
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Transmit<'a>(&'a mut MemoryPort);

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        match self.0.allocate() {
            Some(frame) => {
                let result = write(&mut self.0.buffer(&frame)[..len]);
                self.0.commit(frame, len);
                result
            }
            None => write(&mut vec![0; len]), // Lost, as on a full card: TCP sends it again.
        }
    }
}

impl Device for Link {
    type RxToken<'a> = Received;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Transmit<'_>)> {
        if self.taken == self.burst.len() {
            self.port.recycle(&mut self.burst);
            self.taken = 0;
            self.port.receive(self.now_ns, &mut self.burst);
        }
        let frame = *self.burst.frames().get(self.taken)?;
        self.taken += 1;
        let bytes = self.port.frame(frame).to_vec();
        Some((Received(bytes), Transmit(&mut self.port)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Transmit<'_>> {
        Some(Transmit(&mut self.port))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.port.info().mtu + 14;
        capabilities
    }
}

/// The peer's end of a connection.
struct Connection {
    socket: SocketHandle,
    tls: ServerConnection,
    upgraded: bool,
    /// Decrypted and not yet understood.
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

impl Connection {
    /// Takes in what has come, and answers it.
    fn work(&mut self, socket: &mut tcp::Socket<'_>) -> anyhow::Result<()> {
        while socket.can_recv() {
            let tls = &mut self.tls;
            socket.recv(|bytes| (tls.read_tls(&mut &*bytes).unwrap_or(0), ())).map_err(|error| anyhow!("{error}"))?;
            self.tls.process_new_packets()?;
        }
        let mut bytes = [0; 4_096];
        loop {
            match self.tls.reader().read(&mut bytes) {
                Ok(0) => break,
                Ok(read) => self.plain.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        if !self.upgraded && self.plain.ends_with(b"\r\n\r\n") {
            let request = String::from_utf8(std::mem::take(&mut self.plain))?;
            let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).context("an upgrade without a key")?;
            let accept = derive_accept_key(key.as_bytes());
            let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
            write!(self.tls.writer(), "{head}Sec-WebSocket-Accept: {accept}\r\n\r\n")?;
            self.upgraded = true;
        }
        while let Some(message) = self.next_message()? {
            let value: serde_json::Value = serde_json::from_slice(&message)?;
            self.say(format!(r#"{{"result":null,"id":{}}}"#, value["id"]).as_bytes())?;
        }
        self.send(socket)
    }

    /// The next whole message of the client, unmasked.
    fn next_message(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let (length, head) = match *self.plain.as_slice() {
            [0x81, short, ..] if self.upgraded && short & 0x7f < 126 => (usize::from(short & 0x7f), 2),
            [0x81, 0xfe, high, low, ..] if self.upgraded => (usize::from(u16::from_be_bytes([high, low])), 4),
            ref less if less.len() < 4 || !self.upgraded => return Ok(None),
            _ => anyhow::bail!("a frame that nobody expects"),
        };
        let whole = head + 4 + length;
        if self.plain.len() < whole {
            return Ok(None);
        }
        let mask: [u8; 4] = std::array::from_fn(|i| self.plain[head + i]);
        let message = self.plain[head + 4..whole].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        self.plain.drain(..whole);
        Ok(Some(message))
    }

    /// A text message.
    fn say(&mut self, text: &[u8]) -> anyhow::Result<()> {
        let mut frame = Vec::with_capacity(text.len() + 4);
        match u16::try_from(text.len())? {
            short @ 0..126 => frame.extend_from_slice(&[0x81, short as u8]),
            long => frame.extend_from_slice(&[[0x81, 126], long.to_be_bytes()].concat()),
        }
        frame.extend_from_slice(text);
        Ok(self.tls.writer().write_all(&frame)?)
    }

    /// Gives TCP what is sealed.
    fn send(&mut self, socket: &mut tcp::Socket<'_>) -> anyhow::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.sealed)?;
        }
        if !self.sealed.is_empty() && socket.may_send() {
            let sent = socket.send_slice(&self.sealed).map_err(|error| anyhow!("{error}"))?;
            self.sealed.drain(..sent);
        }
        Ok(())
    }
}

/// The peer.
struct Peer {
    link: Link,
    interface: Interface,
    sockets: SocketSet<'static>,
    connections: Vec<Connection>,
}

impl Peer {
    fn new(port: MemoryPort, connections: usize, authority: &Authority) -> anyhow::Result<Peer> {
        let mac = EthernetAddress(port.info().mac);
        let mut link = Link { port, burst: Burst::new(), taken: 0, now_ns: 0 };
        let mut interface = Interface::new(Config::new(HardwareAddress::Ethernet(mac)), &mut link, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(PEERS), 24));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let connection = |at| {
            let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_BYTES]);
            let mut socket = tcp::Socket::new(buffer(), buffer());
            socket.set_nagle_enabled(false);
            socket.listen(PORT + at as u16).map_err(|error| anyhow!("{error}"))?;
            let (tls, plain, sealed) = (ServerConnection::new(Arc::clone(&authority.server))?, Vec::new(), Vec::new());
            Ok(Connection { socket: sockets.add(socket), tls, upgraded: false, plain, sealed })
        };
        let connections = (0..connections).map(connection).collect::<anyhow::Result<_>>()?;
        Ok(Peer { link, interface, sockets, connections })
    }

    /// What has come, and what follows from it, up to the wire.
    fn work(&mut self, now_ns: u64) -> anyhow::Result<()> {
        self.link.now_ns = now_ns;
        let now = Instant::from_micros((now_ns / 1_000) as i64);
        self.interface.poll(now, &mut self.link, &mut self.sockets);
        for connection in &mut self.connections {
            connection.work(self.sockets.get_mut(connection.socket))?;
        }
        self.interface.poll(now, &mut self.link, &mut self.sockets);
        Ok(self.link.port.flush(now_ns)?)
    }

    /// A message over one connection, on the wire at once.
    fn say(&mut self, connection: usize, text: &[u8], now_ns: u64) -> anyhow::Result<()> {
        let connection = &mut self.connections[connection];
        connection.say(text)?;
        connection.send(self.sockets.get_mut(connection.socket))?;
        self.link.now_ns = now_ns;
        self.interface.poll_egress(Instant::from_micros((now_ns / 1_000) as i64), &mut self.link, &mut self.sockets);
        Ok(self.link.port.flush(now_ns)?)
    }
}

/// The loop, its peer and what surrounds them.
pub struct Rig {
    hot: HotLoop<Stack<MemoryPort>, SessionChannel, AnyVenue>,
    clock: SkippingClock,
    ends: Ends,
    cold: Vec<Cold>,
    markets: Vec<Market>,
    peer: Peer,
    text: Vec<u8>,
    next: usize,
}

impl Rig {
    /// So many connections, all open, their books good.
    pub fn new(pools: &Pools, connections: usize, authority: &Authority, mut clock: SkippingClock) -> anyhow::Result<Rig> {
        let layout = Layout::over_venues(pools, &vec![Protocol::Binance; connections]);
        let hosts = |id: VenueId| {
            let host = |port: u16| (SERVER_NAME.to_owned(), port);
            let port = PORT + u16::from(id.0);
            Some(Hosts { rest: host(port), market_data: host(port), order_entry: host(port) })
        };
        let Built { core, codecs, markets } = layout.build(false, hosts)?;
        let (near, far) = memory::pair(&MemoryConfig::default())?;
        let now_ns = clock.now_ns();
        let config = StackConfig {
            address: Some((OURS, 24)),
            hosts: vec![(SERVER_NAME.to_owned(), PEERS)],
            sockets_max: connections + 1,
            ..StackConfig::default()
        };
        let stack = Stack::new(near, &config, now_ns)?;
        let tls = TlsConfig::new(Roots::Der(&authority.certificate))?;
        let (mut parts, ends) = parts(stack, core)?;
        let mut cold = Vec::new();
        for (id, venue) in codecs.into_iter().enumerate() {
            let (end, tasks, results) = Cold::new(VenueId(id as u8));
            cold.push(end);
            let channel = |endpoint: &venues::venue::Endpoint| (endpoint.role, SessionChannel::new(endpoint, &tls, 0, id as u64, now_ns));
            let channels = venue.endpoints().iter().map(channel).collect();
            parts.venues.push(VenueParts { venue, channels, tasks, results });
        }
        let mut hot = HotLoop::new(parts, now_ns);
        hot.begin_session(&session_start(now_ns), &mut clock);
        let peer = Peer::new(far, connections, authority)?;
        let mut rig = Rig { hot, clock, ends, cold, markets, peer, text: Vec::new(), next: 0 };
        rig.open()?;
        Ok(rig)
    }

    /// A pass that nobody looks at, and everybody else's.
    fn pass(&mut self) -> anyhow::Result<()> {
        self.hot.pass(&mut self.clock);
        let now_ns = self.clock.now_ns();
        for cold in &mut self.cold {
            cold.serve(&self.markets, now_ns);
        }
        self.ends.drain();
        self.peer.work(now_ns)
    }

    fn open(&mut self) -> anyhow::Result<()> {
        for _ in 0..PASSES_MAX {
            self.clock.skip(MS);
            self.pass()?;
            if check_books(self.hot.side().core(), &self.markets).is_ok() {
                return Ok(());
            }
        }
        check_books(self.hot.side().core(), &self.markets)
    }

    /// A pass.
    #[inline(never)]
    pub fn take_in(&mut self) {
        self.hot.pass(&mut self.clock);
    }

    /// The next connection's next message is on the wire, and nothing else is to be done.
    pub fn prepare(&mut self) -> anyhow::Result<()> {
        self.pass()?; // Acknowledgements.
        self.take_in();
        let which = self.next;
        self.next = (which + 1) % self.markets.len();
        self.markets[which].next(&mut self.text);
        let now_ns = self.clock.now_ns();
        self.peer.say(which, &self.text, now_ns)
    }

    /// The last message was taken as a good one.
    pub fn check_taken(&mut self) -> anyhow::Result<()> {
        let (events, invalid) = self.ends.drain();
        ensure!(events > 0 && !invalid, "a message over a connection was not taken as it should: {events} events");
        Ok(())
    }

    /// A turn: messages, and passes without one.
    pub fn turn(&mut self, meter: &mut Meter) -> anyhow::Result<()> {
        for at in 0..MESSAGES {
            self.prepare()?;
            if at < UNCOUNTED {
                self.take_in();
            } else {
                meter.time(FRAME, || self.take_in());
            }
            self.check_taken()?;
            if at % 16 == 0 {
                self.pass()?;
                self.take_in();
                meter.time(IDLE, || self.take_in());
            }
        }
        for _ in 0..TICKS {
            self.clock.skip(MS);
            meter.time(TICK, || self.take_in());
            self.pass()?;
        }
        check_books(self.hot.side().core(), &self.markets)
    }
}
