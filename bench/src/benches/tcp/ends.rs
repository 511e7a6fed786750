//! The ends of a connection without a kernel: ours and smoltcp's, in memory, with a stream to send and a stream received.

use super::relay::{Relay, Way};
use anyhow::ensure;
use netstack::tcp::{Connection, State, TcpConfig, TcpStatistics};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpProtocol, Ipv4Packet, Ipv4Repr, TcpPacket, TcpRepr};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The end that opens the connection.
pub const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 78, 0, 3), 20_000);
/// The end that is connected to.
pub const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 78, 0, 2), 443);
/// When virtual time begins: late enough that nothing is at zero.
pub const START_NS: u64 = 1_000_000_000;
const MTU: usize = 1_500;
/// A stream repeats itself after so many bytes: a prime, so that a shifted stream is noticed.
const PERIOD: usize = 65_521;
/// Bytes of one write of a bulk transfer.
const WRITE: usize = 1_448;

/// The bytes of every stream: `offset` modulo the period says where in it.
pub struct Pattern(Vec<u8>);

impl Pattern {
    /// Makes them.
    pub fn new() -> Pattern {
        let mut random = crate::random::Random::new(super::SEED);
        let mut bytes: Vec<u8> = (0..PERIOD).map(|_| random.next() as u8).collect();
        bytes.extend_from_within(..MTU);
        Pattern(bytes)
    }

    /// The next bytes at an offset of the stream, at most `len` and at most a packet.
    pub fn at(&self, offset: u64, len: usize) -> &[u8] {
        let at = (offset % PERIOD as u64) as usize;
        &self.0[at..at + len.min(MTU)]
    }

    /// Whether these are the bytes there.
    pub fn holds(&self, offset: u64, bytes: &[u8]) -> bool {
        let mut offset = offset;
        bytes.chunks(MTU).all(|part| {
            let same = self.at(offset, part.len()) == part;
            offset += part.len() as u64;
            same
        })
    }
}

/// The IPv4 packet of a segment, written over `out`.
pub fn emit(from: SocketAddrV4, to: SocketAddrV4, repr: &TcpRepr<'_>, out: &mut Vec<u8>) {
    let (source, destination) = (*from.ip(), *to.ip());
    let ip =
        Ipv4Repr { src_addr: source, dst_addr: destination, next_header: IpProtocol::Tcp, payload_len: repr.buffer_len(), hop_limit: 64 };
    out.resize(ip.buffer_len() + repr.buffer_len(), 0);
    let checksums = ChecksumCapabilities::default();
    let mut packet = Ipv4Packet::new_unchecked(&mut out[..]);
    ip.emit(&mut packet, &checksums);
    let mut segment = TcpPacket::new_unchecked(packet.payload_mut());
    repr.emit(&mut segment, &IpAddress::Ipv4(source), &IpAddress::Ipv4(destination), &checksums);
}

/// Takes an IPv4 packet apart, both checksums verified.
pub fn parse<'a>(packet: &'a [u8], from: &SocketAddrV4, to: &SocketAddrV4) -> Option<TcpRepr<'a>> {
    let checksums = ChecksumCapabilities::default();
    let packet = Ipv4Packet::new_checked(packet).ok()?;
    let ip = Ipv4Repr::parse(&packet, &checksums).ok()?;
    if ip.src_addr != *from.ip() || ip.dst_addr != *to.ip() || ip.next_header != IpProtocol::Tcp {
        return None;
    }
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    TcpRepr::parse(&segment, &IpAddress::Ipv4(ip.src_addr), &IpAddress::Ipv4(ip.dst_addr), &checksums).ok()
}

/// One end.
pub trait End {
    /// Takes a packet.
    fn deliver(&mut self, now_ns: u64, packet: &[u8]) -> anyhow::Result<()>;
    /// Reads, writes, and hands out the packets that are to be sent now.
    fn work(&mut self, now_ns: u64, send: &mut dyn FnMut(Vec<u8>)) -> anyhow::Result<()>;
    /// When it wants to work next.
    fn due_ns(&mut self, now_ns: u64) -> u64;
    /// Bytes of the other end's stream that arrived, in order.
    fn received(&self) -> u64;
    /// Lets it send so many bytes more.
    fn offer(&mut self, bytes: u64);
    /// Both ends know of the connection.
    fn is_open(&self) -> bool;
}

/// Our TCP.
pub struct Ours {
    connection: Connection,
    local: SocketAddrV4,
    remote: SocketAddrV4,
    pattern: Pattern,
    /// Most bytes of a write.
    pub chunk: usize,
    offered: u64,
    written: u64,
    received: u64,
}

impl Ours {
    /// Begins to connect.
    pub fn new(config: &TcpConfig, local: SocketAddrV4, remote: SocketAddrV4, isn: u32, now_ns: u64) -> Ours {
        let mut connection = Connection::new(config);
        connection.connect(local, remote, isn, now_ns);
        Ours { connection, local, remote, pattern: Pattern::new(), chunk: WRITE, offered: 0, written: 0, received: 0 }
    }

    /// Bytes that it was let send.
    pub fn offered(&self) -> u64 {
        self.offered
    }

    /// What it has counted.
    pub fn statistics(&self) -> TcpStatistics {
        self.connection.statistics()
    }
}

impl End for Ours {
    fn deliver(&mut self, now_ns: u64, packet: &[u8]) -> anyhow::Result<()> {
        let Some(repr) = parse(packet, &self.remote, &self.local) else { return Ok(()) };
        let taken = self.connection.on_segment(now_ns, &repr);
        let fresh = &repr.payload[taken.fresh];
        ensure!(self.pattern.holds(self.received, fresh), "byte {} and on were not sent so", self.received);
        self.received += fresh.len() as u64;
        Ok(())
    }

    fn work(&mut self, now_ns: u64, send: &mut dyn FnMut(Vec<u8>)) -> anyhow::Result<()> {
        while self.connection.readable() > 0 {
            let (pattern, received) = (&self.pattern, self.received);
            let (len, sound) = self.connection.read(|bytes| (bytes.len(), (bytes.len(), pattern.holds(received, bytes))));
            ensure!(sound, "byte {received} and on were not sent so");
            self.received += len as u64;
        }
        while self.connection.state() == State::Established && self.written < self.offered {
            let bytes = self.pattern.at(self.written, self.chunk.min((self.offered - self.written) as usize));
            let fill = |room: &mut [u8]| {
                room.copy_from_slice(bytes);
                (room.len(), ())
            };
            if self.connection.write(now_ns, bytes.len(), fill).is_none() {
                break;
            }
            self.written += bytes.len() as u64;
        }
        let (local, remote) = (self.local, self.remote);
        let mut packet = Vec::new();
        while self.connection.poll_transmit(now_ns, |repr| emit(local, remote, repr, &mut packet)).is_some() {
            send(std::mem::take(&mut packet));
        }
        ensure!(self.connection.state() != State::Closed, "our connection ended: {:?}", self.connection.close_reason());
        Ok(())
    }

    fn due_ns(&mut self, _now_ns: u64) -> u64 {
        self.connection.next_due_ns()
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn offer(&mut self, bytes: u64) {
        self.offered += bytes;
    }

    fn is_open(&self) -> bool {
        self.connection.state() == State::Established
    }
}

/// One packet in, some out: a device for smoltcp that allocates nothing once it is warm.
#[derive(Default)]
pub struct Slots {
    incoming: Vec<u8>,
    waiting: bool,
    outgoing: Vec<Vec<u8>>,
    used: usize,
}

impl Slots {
    /// Puts a packet there to be taken in.
    pub fn put(&mut self, packet: &[u8]) {
        self.incoming.clear();
        self.incoming.extend_from_slice(packet);
        self.waiting = true;
    }

    /// Packets were sent since the last call of [`Slots::sent`].
    pub fn has_sent(&self) -> bool {
        self.used > 0
    }

    /// The packets sent since the last call.
    pub fn sent(&mut self) -> &mut [Vec<u8>] {
        let used = std::mem::take(&mut self.used);
        &mut self.outgoing[..used]
    }
}

/// A packet to be taken in.
pub struct Incoming<'a>(&'a [u8]);

/// Room for packets.
pub struct Outgoing<'a>(&'a mut Vec<Vec<u8>>, &'a mut usize);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        if self.0.len() == *self.1 {
            self.0.push(Vec::new());
        }
        let packet = &mut self.0[*self.1];
        *self.1 += 1;
        packet.resize(len, 0);
        fill(packet)
    }
}

impl Device for Slots {
    type RxToken<'a> = Incoming<'a>;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        std::mem::take(&mut self.waiting).then_some((Incoming(&self.incoming), Outgoing(&mut self.outgoing, &mut self.used)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.outgoing, &mut self.used))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

/// smoltcp's TCP socket on its own interface, as lean as it goes: no Ethernet, no Nagle.
pub struct Smol {
    /// The packets.
    pub slots: Slots,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    pattern: Pattern,
    offered: u64,
    written: u64,
    received: u64,
}

/// Whether an end opens the connection or waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It opens it.
    Connects,
    /// It waits.
    Listens,
}

/// smoltcp's time, which is in microseconds.
pub fn instant(now_ns: u64) -> Instant {
    Instant::from_micros((now_ns / 1_000) as i64)
}

impl Smol {
    /// With buffers of the size that ours has by default.
    pub fn new(opening: Opening, control: CongestionControl, seed: u64) -> Smol {
        let (local, remote) = if opening == Opening::Connects { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let mut slots = Slots::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut slots, instant(START_NS));
        interface.update_ip_addrs(|addresses| {
            // There is room for one.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(*local.ip()), 24));
        });
        let buffers = TcpConfig::default();
        let mut socket = Socket::new(SocketBuffer::new(vec![0; buffers.receive_buffer]), SocketBuffer::new(vec![0; buffers.send_buffer]));
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(control);
        // With a generator it agrees to timestamps; it does nothing with them but to echo them.
        socket.set_tsval_generator(Some(|| 1));
        let endpoint = |address: SocketAddrV4| IpEndpoint::new(IpAddress::Ipv4(*address.ip()), address.port());
        match opening {
            Opening::Connects => socket.connect(interface.context(), endpoint(remote), local.port()).expect("a new socket connects"),
            Opening::Listens => socket.listen(local.port()).expect("a new socket listens"),
        }
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Smol { slots, interface, sockets, handle, pattern: Pattern::new(), offered: 0, written: 0, received: 0 }
    }

    /// The socket.
    pub fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Takes in the packet that was put into its slot.
    #[inline]
    pub fn take_in(&mut self, now_ns: u64) -> bool {
        self.interface.poll_ingress_single(instant(now_ns), &mut self.slots, &mut self.sockets) != PollIngressSingleResult::None
    }

    /// Sends what is to be sent.
    #[inline]
    pub fn send_out(&mut self, now_ns: u64) {
        self.interface.poll_egress(instant(now_ns), &mut self.slots, &mut self.sockets);
    }
}

impl End for Smol {
    fn deliver(&mut self, now_ns: u64, packet: &[u8]) -> anyhow::Result<()> {
        self.slots.put(packet);
        self.take_in(now_ns);
        Ok(())
    }

    fn work(&mut self, now_ns: u64, send: &mut dyn FnMut(Vec<u8>)) -> anyhow::Result<()> {
        let Smol { sockets, handle, pattern, offered, written, received, .. } = self;
        let socket = sockets.get_mut::<Socket<'_>>(*handle);
        while socket.can_recv() {
            let sound = socket.recv(|bytes| (bytes.len(), (bytes.len(), pattern.holds(*received, bytes))));
            let Ok((len, true)) = sound else { anyhow::bail!("byte {received} and on were not sent so: {sound:?}") };
            *received += len as u64;
        }
        while socket.can_send() && *written < *offered {
            let bytes = pattern.at(*written, WRITE.min((*offered - *written) as usize));
            match socket.send_slice(bytes) {
                Ok(len) if len > 0 => *written += len as u64,
                _ => break,
            }
        }
        self.interface.poll_maintenance(instant(now_ns));
        // Until nothing more comes: a call sends at most a segment for each socket.
        loop {
            self.interface.poll_egress(instant(now_ns), &mut self.slots, &mut self.sockets);
            let sent = self.slots.sent();
            if sent.is_empty() {
                return Ok(());
            }
            for packet in sent {
                send(std::mem::take(packet));
            }
        }
    }

    fn due_ns(&mut self, now_ns: u64) -> u64 {
        match self.interface.poll_at(instant(now_ns), &self.sockets) {
            Some(at) => u64::try_from(at.total_micros()).unwrap_or(0) * 1_000,
            None => u64::MAX,
        }
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn offer(&mut self, bytes: u64) {
        self.offered += bytes;
    }

    fn is_open(&self) -> bool {
        self.sockets.get::<Socket<'_>>(self.handle).may_send()
    }
}

/// Two ends and the wire between them, in virtual time.
pub struct Simulation<A, B> {
    /// What sends up.
    pub client: A,
    /// What sends down.
    pub server: B,
    /// Between them.
    pub relay: Relay,
    /// Virtual time.
    pub now_ns: u64,
}

impl<A: End, B: End> Simulation<A, B> {
    /// Ends that have just been made at [`START_NS`].
    pub fn new(client: A, server: B, relay: Relay) -> Simulation<A, B> {
        Simulation { client, server, relay, now_ns: START_NS }
    }

    /// Goes on until `done` says so, `until_ns` at the latest.
    pub fn run(&mut self, until_ns: u64, mut done: impl FnMut(&A, &B) -> bool) -> anyhow::Result<()> {
        let Simulation { client, server, relay, now_ns } = self;
        loop {
            loop {
                let arrived = relay.arrived(*now_ns);
                match &arrived {
                    Some((Way::Up, packet)) => server.deliver(*now_ns, packet)?,
                    Some((Way::Down, packet)) => client.deliver(*now_ns, packet)?,
                    None => {}
                }
                client.work(*now_ns, &mut |packet| relay.send(Way::Up, *now_ns, packet))?;
                server.work(*now_ns, &mut |packet| relay.send(Way::Down, *now_ns, packet))?;
                if arrived.is_none() {
                    break;
                }
            }
            if done(client, server) {
                return Ok(());
            }
            let due_ns = relay.next_ns().min(client.due_ns(*now_ns)).min(server.due_ns(*now_ns));
            if due_ns >= until_ns {
                *now_ns = until_ns;
                return Ok(());
            }
            *now_ns = due_ns.max(*now_ns + 1_000);
        }
    }

    /// Opens the connection.
    pub fn open(&mut self) -> anyhow::Result<()> {
        self.run(START_NS + 10_000_000_000, |client, server| client.is_open() && server.is_open())?;
        ensure!(self.client.is_open() && self.server.is_open(), "the connection did not open");
        Ok(())
    }
}
