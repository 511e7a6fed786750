//! The hot loop of the engine over our own stack: many connections on one link, each with TLS and WebSocket, from a peer on
//! the same thread (smoltcp's TCP and rustls). What is timed is the engine's side alone: from the look at the port to the end
//! of the pass, with one frame that holds one record with one message.
//!
//! Each venue has one instrument, and either a connection for market data only, so that venues grow along with connections, or
//! one for orders beside it: then a message's way is measured up to the order's frame at the port, all that an engine
//! does but the card's and the kernel's part.

use super::desk::ORDER_EVERY_NS;
use super::market::{Market, Protocol};
use super::parts::{Built, Cold, Ends, Layout, Pools, SkippingClock, check_books, parts, session_start};
use super::rig::answers;
use crate::measure::Meter;
use anyhow::{Context, anyhow, ensure};
use drivers::memory::{self, MemoryConfig, MemoryPort};
use drivers::port::{Burst, Port};
use engine_core::event::FeedState;
use engine_core::ids::VenueId;
use netstack::stack::{Stack, StackConfig};
use netstack::tls::{Roots, TlsConfig};
use rcgen::{CertificateParams, KeyPair};
use runtime::engine::SessionChannel;
use runtime::engine::hot_loop::{HotLoop, VenueParts};
use runtime::engine::network::TimeSource;
use runtime::latency::Latency;
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
pub const OPERATIONS: [&str; 4] = [
    "a frame with a message",
    "a pass without a frame",
    "a pass with the millisecond's work",
    "a frame with a message and the order that it causes",
];
const FRAME: usize = 0;
const IDLE: usize = 1;
const TICK: usize = 2;
const ORDER: usize = 3;
const SERVER_NAME: &str = "venue.test";
const OURS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PEERS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Port of the first connection; the others follow.
const PORT: u16 = 9_000;
const BUFFER_BYTES: usize = 1 << 16;
const MESSAGES: usize = 256;
const UNCOUNTED: usize = 64;
const TICKS: usize = 8;
/// Orders of a turn.
const ORDERS: usize = 32;
/// Messages before an order that find the caches as a running market leaves them.
const BEFORE_ORDER: usize = 4;
const MS: u64 = 1_000_000;
/// A final frame of a WebSocket message (RFC 6455 section 5.2).
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
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
    protocol: Protocol,
    /// Orders that came.
    orders: usize,
    /// The book's window is to be told: the client has subscribed to it.
    wants_snapshot: bool,
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
        while let Some((opcode, message)) = self.next_message()? {
            match opcode {
                TEXT => {
                    self.wants_snapshot |= message.windows(14).any(|window| window == br#"channel":"book"#);
                    for answer in answers(self.protocol, &message).with_context(|| String::from_utf8_lossy(&message).into_owned())? {
                        self.say(answer.as_bytes())?;
                    }
                    self.orders +=
                        usize::from([&b"order.place"[..], b"add_order"].iter().any(|o| message.windows(o.len()).any(|w| w == *o)));
                }
                PING => self.frame(PONG, &message)?,
                _ => anyhow::bail!("a frame that nobody expects: {opcode:#x}"),
            }
        }
        self.send(socket)
    }

    /// The next whole frame of the client: what it is, and what it holds, unmasked.
    fn next_message(&mut self) -> anyhow::Result<Option<(u8, Vec<u8>)>> {
        let (opcode, length, head) = match *self.plain.as_slice() {
            [opcode, short, ..] if self.upgraded && short & 0x7f < 126 => (opcode, usize::from(short & 0x7f), 2),
            [opcode, 0xfe, high, low, ..] if self.upgraded => (opcode, usize::from(u16::from_be_bytes([high, low])), 4),
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
        Ok(Some((opcode, message)))
    }

    /// A text message.
    fn say(&mut self, text: &[u8]) -> anyhow::Result<()> {
        self.frame(TEXT, text)
    }

    fn frame(&mut self, opcode: u8, payload: &[u8]) -> anyhow::Result<()> {
        let mut frame = Vec::with_capacity(payload.len() + 4);
        match u16::try_from(payload.len())? {
            short @ 0..126 => frame.extend_from_slice(&[opcode, short as u8]),
            long => frame.extend_from_slice(&[[opcode, 126], long.to_be_bytes()].concat()),
        }
        frame.extend_from_slice(payload);
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
    /// Listens at as many ports as there are protocols to speak.
    fn new(port: MemoryPort, protocols: &[Protocol], authority: &Authority) -> anyhow::Result<Peer> {
        let mac = EthernetAddress(port.info().mac);
        let mut link = Link { port, burst: Burst::new(), taken: 0, now_ns: 0 };
        let mut interface = Interface::new(Config::new(HardwareAddress::Ethernet(mac)), &mut link, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(PEERS), 24));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let connection = |(at, &protocol): (usize, &Protocol)| {
            let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_BYTES]);
            let mut socket = tcp::Socket::new(buffer(), buffer());
            socket.set_nagle_enabled(false);
            socket.listen(PORT + at as u16).map_err(|error| anyhow!("{error}"))?;
            let (tls, plain, sealed) = (ServerConnection::new(Arc::clone(&authority.server))?, Vec::new(), Vec::new());
            let socket = sockets.add(socket);
            Ok(Connection { socket, tls, upgraded: false, protocol, orders: 0, wants_snapshot: false, plain, sealed })
        };
        let connections = protocols.iter().enumerate().map(connection).collect::<anyhow::Result<_>>()?;
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
    /// Connections of a venue.
    each: usize,
    text: Vec<u8>,
    next: usize,
}

impl Rig {
    /// So many connections for market data alone, all open, their books good.
    pub fn of_market_data(pools: &Pools, connections: usize, authority: &Authority, clock: SkippingClock) -> anyhow::Result<Rig> {
        Rig::new(pools, &vec![Protocol::Binance; connections], false, authority, clock)
    }

    /// A venue with an account to trade on.
    pub fn of_orders(pools: &Pools, protocol: Protocol, authority: &Authority, clock: SkippingClock) -> anyhow::Result<Rig> {
        Rig::new(pools, &[protocol], true, authority, clock)
    }

    fn new(pools: &Pools, venues: &[Protocol], orders: bool, authority: &Authority, mut clock: SkippingClock) -> anyhow::Result<Rig> {
        let layout = Layout::over_venues(pools, venues);
        let each = 1 + usize::from(orders);
        let hosts = |id: VenueId| {
            let host = |role: usize| (SERVER_NAME.to_owned(), PORT + (usize::from(id.0) * each + role) as u16);
            Some(Hosts { rest: host(0), market_data: host(0), order_entry: host(each - 1) })
        };
        let Built { core, codecs, markets } = layout.build(orders, hosts)?;
        let (near, far) = memory::pair(&MemoryConfig::default())?;
        let now_ns = clock.now_ns();
        let config = StackConfig {
            address: Some((OURS, 24)),
            hosts: vec![(SERVER_NAME.to_owned(), PEERS)],
            sockets_max: venues.len() * each + 1,
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
        let protocols: Vec<Protocol> = venues.iter().flat_map(|&protocol| std::iter::repeat_n(protocol, each)).collect();
        let peer = Peer::new(far, &protocols, authority)?;
        let mut rig = Rig { hot, clock, ends, cold, markets, peer, each, text: Vec::new(), next: 0 };
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
            for (at, market) in self.markets.iter().enumerate() {
                if std::mem::take(&mut self.peer.connections[at * self.each].wants_snapshot) && market.snapshot(&mut self.text) {
                    self.peer.say(at * self.each, &self.text, self.clock.now_ns())?;
                }
            }
            if self.is_up() {
                return Ok(());
            }
        }
        check_books(self.hot.side().core(), &self.markets)?;
        anyhow::bail!("not all connections came up")
    }

    fn is_up(&self) -> bool {
        let core = self.hot.side().core();
        let traded = |market: &Market| self.each == 1 || core.desk().order_entry(market.venue) == FeedState::Up;
        check_books(core, &self.markets).is_ok() && self.markets.iter().all(traded)
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
        self.peer.say(which * self.each, &self.text, now_ns)
    }

    /// The same, and the message will cause an order.
    pub fn prepare_order(&mut self) -> anyhow::Result<()> {
        self.clock.skip(ORDER_EVERY_NS);
        for _ in 0..BEFORE_ORDER {
            self.pass()?; // What fell due meanwhile.
        }
        self.peer.connections.iter_mut().for_each(|connection| connection.orders = 0);
        self.prepare()
    }

    /// The last message caused an order, which has come and is answered.
    pub fn check_ordered(&mut self) -> anyhow::Result<()> {
        self.check_taken()?;
        self.pass()?;
        let orders = self.peer.connections.iter_mut().map(|connection| std::mem::take(&mut connection.orders)).sum::<usize>();
        ensure!(orders == 1, "{orders} orders came in the place of one");
        self.pass()
    }

    /// The last message was taken as a good one.
    pub fn check_taken(&mut self) -> anyhow::Result<()> {
        let (events, invalid) = self.ends.drain();
        ensure!(events > 0 && !invalid, "a message over a connection was not taken as it should: {events} events");
        Ok(())
    }

    /// What the loop itself measured of its orders.
    pub fn latency(&self) -> &Latency {
        self.hot.latency()
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
        for _ in 0..if self.each == 1 { 0 } else { ORDERS } {
            self.prepare_order()?;
            meter.time(ORDER, || self.take_in());
            self.check_ordered()?;
        }
        for _ in 0..TICKS {
            self.clock.skip(MS);
            meter.time(TICK, || self.take_in());
            self.pass()?;
        }
        check_books(self.hot.side().core(), &self.markets)
    }
}
