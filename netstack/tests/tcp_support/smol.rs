//! smoltcp's TCP socket as a server at the other end of the wire.

#![allow(dead_code)]

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::{Chance, Endpoint, OURS, PEER};

#[derive(Default)]
struct Queues {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
}

struct Incoming(Vec<u8>);
struct Outgoing<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut packet = vec![0; len];
        let result = fill(&mut packet);
        self.0.push(packet);
        result
    }
}

impl Device for Queues {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Incoming, Outgoing<'_>)> {
        let packet = self.incoming.pop_front()?;
        Some((Incoming(packet), Outgoing(&mut self.outgoing)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        capabilities
    }
}

/// See the module's head.
pub struct Smol {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    queues: Queues,
    to_send: Vec<u8>,
    written: usize,
    received: Vec<u8>,
    chance: Chance,
    pub close_after: bool,
    closed: bool,
    /// Reads at most so much in a turn.
    pub reads_max: usize,
}

fn instant(now_ns: u64) -> Instant {
    Instant::from_micros((now_ns / 1000) as i64)
}

impl Smol {
    pub fn new(buffer: usize, to_send: Vec<u8>, seed: u64) -> Smol {
        let mut queues = Queues::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut queues, instant(0));
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::Ipv4(*PEER.ip()), 24)).expect("room for one address");
        });
        let mut socket = Socket::new(SocketBuffer::new(vec![0; buffer]), SocketBuffer::new(vec![0; buffer]));
        socket.set_nagle_enabled(false);
        socket.listen(PEER.port()).expect("a port");
        // Stamps of its own: otherwise it agrees to none.
        socket.set_tsval_generator(Some(|| 1));
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        assert_ne!(OURS.ip(), PEER.ip());
        Smol {
            interface,
            sockets,
            handle,
            queues,
            to_send,
            written: 0,
            received: Vec::new(),
            chance: Chance::new(seed),
            close_after: true,
            closed: false,
            reads_max: usize::MAX,
        }
    }

    /// Whether it lets acknowledgements wait (10 ms).
    pub fn delay_acks(&mut self, delay: bool) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        socket.set_ack_delay(delay.then_some(smoltcp::time::Duration::from_millis(10)));
    }

    pub fn state(&self) -> State {
        self.sockets.get::<Socket<'_>>(self.handle).state()
    }
}

impl Endpoint for Smol {
    fn deliver(&mut self, now_ns: u64, packet: &[u8]) {
        self.queues.incoming.push_back(packet.to_vec());
        self.interface.poll(instant(now_ns), &mut self.queues, &mut self.sockets);
    }

    fn work(&mut self, now_ns: u64) -> Vec<Vec<u8>> {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let mut left = self.reads_max;
        while socket.can_recv() && left > 0 {
            let received = &mut self.received;
            let read = socket.recv(|bytes| {
                let len = bytes.len().min(left);
                received.extend_from_slice(&bytes[..len]);
                (len, len)
            });
            left -= read.unwrap_or(left);
        }
        if socket.may_send() {
            while self.written < self.to_send.len() {
                let len = (1 + self.chance.below(3000) as usize).min(self.to_send.len() - self.written);
                match socket.send_slice(&self.to_send[self.written..self.written + len]) {
                    Ok(written) if written > 0 => self.written += written,
                    _ => break,
                }
            }
            if self.close_after && !self.closed && self.written == self.to_send.len() {
                socket.close();
                self.closed = true;
            }
        }
        self.interface.poll(instant(now_ns), &mut self.queues, &mut self.sockets);
        std::mem::take(&mut self.queues.outgoing)
    }

    fn next_due_ns(&self, now_ns: u64) -> u64 {
        // poll_at needs a mutable interface in name only: a turn each millisecond is as good.
        now_ns / 1_000_000 * 1_000_000 + 1_000_000
    }

    fn received(&self) -> &[u8] {
        &self.received
    }

    fn finished(&self) -> bool {
        matches!(self.state(), State::Closed | State::TimeWait)
    }
}
