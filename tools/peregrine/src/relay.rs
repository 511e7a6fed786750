//! The far end of the in-process link: a small TCP host that hands each connection on to a server on
//! loopback.
//!
//! Where network namespaces are not allowed, the demonstration and the tests run the engine's whole path
//! (frames, TCP, TLS, WebSocket) over `drivers::memory`, and this relay stands where the venue's host
//! would: it answers ARP for the venues' address, accepts TCP on their ports, and copies the bytes to and
//! from ordinary kernel sockets, behind which the simulated venues listen. One thread.

use drivers::memory::MemoryPort;
use drivers::port::{Burst, Port};
use runtime::clock::Clock;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration as WireDuration, Instant as WireInstant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Connections a port accepts at once.
const BACKLOG: usize = 4;
const BUFFER_BYTES: usize = 1 << 20;

/// What to relay.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// The address that the engine knows the venues by.
    pub address: Ipv4Addr,
    /// Length of its network prefix.
    pub prefix_len: u8,
    /// Port on that address, and the server behind it.
    pub ports: Vec<(u16, SocketAddr)>,
}

/// A running relay; stops when dropped.
pub struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts the relay on a thread of its own. `before` runs first on that thread (placement).
    pub fn start(port: MemoryPort, config: RelayConfig, before: impl FnOnce() + Send + 'static) -> io::Result<Relay> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("pgn-relay".into()).spawn({
            let stop = Arc::clone(&stop);
            move || {
                before();
                Host::new(port, &config).run(&stop);
            }
        })?;
        Ok(Relay { stop, thread: Some(thread) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A [`MemoryPort`] as smoltcp wants a device.
struct LinkDevice {
    port: MemoryPort,
    burst: Burst,
    taken: usize,
}

struct Transmit<'a>(&'a mut MemoryPort);

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        match self.0.allocate() {
            Some(frame) => {
                let result = f(&mut self.0.buffer(&frame)[..len]);
                self.0.commit(frame, len);
                result
            }
            // All frames are in flight: the frame is lost here, as on a full NIC, and TCP sends it again.
            None => f(&mut vec![0; len]),
        }
    }
}

/// A frame copied out of the link: smoltcp wants a receive and a transmit token at once, and one port
/// cannot lend both. This is the venues' side, not the product's path.
struct Copied(Vec<u8>);

impl RxToken for Copied {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl LinkDevice {
    fn next_frame(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        if self.taken == self.burst.len() {
            self.port.recycle(&mut self.burst);
            self.taken = 0;
            self.port.receive(now_ns, &mut self.burst);
        }
        let frame = *self.burst.frames().get(self.taken)?;
        self.taken += 1;
        Some(self.port.frame(frame).to_vec())
    }
}

impl Device for LinkDevice {
    type RxToken<'a> = Copied;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, timestamp: WireInstant) -> Option<(Copied, Transmit<'_>)> {
        let frame = self.next_frame(timestamp.total_micros() as u64 * 1_000)?;
        Some((Copied(frame), Transmit(&mut self.port)))
    }

    fn transmit(&mut self, _: WireInstant) -> Option<Transmit<'_>> {
        Some(Transmit(&mut self.port))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.port.info().mtu + 14;
        capabilities
    }
}

/// One accepted connection and the server behind it.
struct Joined {
    socket: SocketHandle,
    local_port: u16,
    server: SocketAddr,
    stream: Option<TcpStream>,
    server_closed: bool,
}

struct Host {
    device: LinkDevice,
    interface: Interface,
    sockets: SocketSet<'static>,
    joined: Vec<Joined>,
    scratch: Vec<u8>,
    /// The engine's time: both ends of the link must be driven by one clock.
    clock: Clock,
}

impl Host {
    fn new(port: MemoryPort, config: &RelayConfig) -> Host {
        let mac = EthernetAddress(port.info().mac);
        let mut device = LinkDevice { port, burst: Burst::new(), taken: 0 };
        let mut interface = Interface::new(Config::new(HardwareAddress::Ethernet(mac)), &mut device, WireInstant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(config.address), config.prefix_len));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let mut joined = Vec::new();
        for &(local_port, server) in &config.ports {
            for _ in 0..BACKLOG {
                let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_BYTES]);
                let mut socket = tcp::Socket::new(buffer(), buffer());
                socket.set_nagle_enabled(false);
                socket.set_ack_delay(Some(WireDuration::from_millis(1)));
                let socket = sockets.add(socket);
                joined.push(Joined { socket, local_port, server, stream: None, server_closed: false });
            }
        }
        Host { device, interface, sockets, joined, scratch: vec![0; 64 * 1024], clock: Clock::new() }
    }

    fn run(mut self, stop: &AtomicBool) {
        let mut idle_passes = 0u32;
        while !stop.load(Ordering::Acquire) {
            let now_ns = self.clock.now_ns();
            let now = WireInstant::from_micros((now_ns / 1_000) as i64);
            self.interface.poll(now, &mut self.device, &mut self.sockets);
            let mut moved = false;
            for index in 0..self.joined.len() {
                moved |= self.pump(index);
            }
            self.interface.poll_egress(now, &mut self.device, &mut self.sockets);
            if self.device.port.flush(now_ns).is_err() {
                return; // The engine's end is gone.
            }
            idle_passes = if moved { 0 } else { idle_passes + 1 };
            if idle_passes > 1_000 {
                std::thread::sleep(std::time::Duration::from_micros(20));
            }
        }
    }

    /// Moves bytes both ways; true if any moved.
    fn pump(&mut self, index: usize) -> bool {
        let joined = &mut self.joined[index];
        let socket = self.sockets.get_mut::<tcp::Socket>(joined.socket);
        if !socket.is_open() {
            joined.stream = None;
            joined.server_closed = false;
            let _ = socket.listen(joined.local_port);
            return false;
        }
        if joined.stream.is_none() {
            if socket.may_send() && socket.may_recv() {
                joined.stream = connect(joined.server);
                if joined.stream.is_none() {
                    socket.abort();
                }
                return true;
            }
            return false;
        }
        let Some(stream) = joined.stream.as_mut() else { return false };
        let mut moved = false;
        let mut failed = false;
        while socket.can_recv() && !failed {
            let sent = socket.recv(|bytes| match stream.write(bytes) {
                Ok(n) => (n, Ok(n)),
                Err(e) => (0, Err(e)),
            });
            match sent {
                Ok(Ok(n)) if n > 0 => moved = true,
                Ok(Err(e)) if e.kind() != io::ErrorKind::WouldBlock => failed = true,
                _ => break,
            }
        }
        while socket.can_send() && !joined.server_closed && !failed {
            let room = (socket.send_capacity() - socket.send_queue()).min(self.scratch.len());
            match stream.read(&mut self.scratch[..room]) {
                Ok(0) => {
                    joined.server_closed = true;
                    socket.close();
                }
                Ok(n) => {
                    let _ = socket.send_slice(&self.scratch[..n]);
                    moved = true;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => failed = true,
            }
        }
        if failed {
            socket.abort();
            joined.stream = None;
        } else if !socket.may_recv() && !socket.can_recv() && !joined.server_closed {
            let _ = stream.shutdown(std::net::Shutdown::Write);
            socket.close();
        }
        moved
    }
}

fn connect(server: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, std::time::Duration::from_secs(1)).ok()?;
    stream.set_nonblocking(true).ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}
