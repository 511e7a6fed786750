//! A host at the far end of the link: smoltcp whole (ARP, IP, ICMP, TCP), with listening sockets.

use std::net::Ipv4Addr;

use drivers::memory::MemoryPort;
use drivers::port::{Burst, Port};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

/// The peer's address.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The port on which it listens.
pub const PORT: u16 = 443;
/// Its TCP clock runs as fast as the stack's does by default: a retransmission floor of 50 ms.
const SCALE: u64 = 20;

struct Wire {
    port: MemoryPort,
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
            None => write(&mut vec![0; len]),
        }
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Transmit<'_>)> {
        let mut one = Burst::new();
        while one.room() > 1 {
            // Leaves room for exactly one frame; the fillers are forgotten before recycling.
            one.push(drivers::port::RxFrame { offset: 0, len: 0 });
        }
        if self.port.receive(self.now_ns, &mut one) == 0 {
            return None;
        }
        let frame = *one.frames().last()?;
        let bytes = self.port.frame(frame).to_vec();
        let mut back = Burst::new();
        back.push(frame);
        self.port.recycle(&mut back);
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

/// The host.
pub struct Peer {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    pub handles: Vec<SocketHandle>,
}

impl Peer {
    /// A host with `count` sockets listening on [`PORT`], each with buffers of `buffer` bytes.
    pub fn new(port: MemoryPort, count: usize, buffer: usize) -> Peer {
        let mac = EthernetAddress(port.info().mac);
        let mut wire = Wire { port, now_ns: 0 };
        let mut config = Config::new(HardwareAddress::Ethernet(mac));
        config.random_seed = 99;
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::Ipv4(PEER), 24)).expect("room for an address");
        });
        let mut sockets = SocketSet::new(Vec::new());
        let handles = (0..count)
            .map(|_| {
                let mut socket = Socket::new(SocketBuffer::new(vec![0; buffer]), SocketBuffer::new(vec![0; buffer]));
                socket.set_nagle_enabled(false);
                socket.set_ack_delay(None);
                socket.listen(PORT).expect("listen");
                sockets.add(socket)
            })
            .collect();
        Peer { wire, interface, sockets, handles }
    }

    /// A socket.
    pub fn socket(&mut self, index: usize) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handles[index])
    }

    /// Makes a closed socket listen again.
    pub fn listen_again(&mut self, index: usize) {
        let socket = self.socket(index);
        if socket.state() != State::Listen {
            socket.abort();
            let _ = socket.listen(PORT);
        }
    }

    /// Its port, for the faults.
    pub fn port(&mut self) -> &mut MemoryPort {
        &mut self.wire.port
    }

    fn instant(now_ns: u64) -> Instant {
        Instant::from_micros((now_ns * SCALE / 1000) as i64)
    }

    /// Takes in what has come and sends what is ready.
    pub fn pass(&mut self, now_ns: u64) {
        self.wire.now_ns = now_ns;
        self.interface.poll(Peer::instant(now_ns), &mut self.wire, &mut self.sockets);
        self.wire.port.flush(now_ns).expect("memory links do not fail");
    }

    /// When it wants to be called again.
    pub fn next_ns(&mut self, now_ns: u64) -> Option<u64> {
        let now = Peer::instant(now_ns);
        let timer = self.interface.poll_at(now, &self.sockets).map(|at| (at.total_micros().max(0) as u64 * 1000).div_ceil(SCALE));
        [timer, self.wire.port.next_delivery_ns()].into_iter().flatten().min()
    }
}
