//! A stack, a link and a peer, in one simulated time.

use std::net::{Ipv4Addr, SocketAddrV4};

use drivers::memory::{Faults, MemoryConfig, MemoryPort, pair};
use netstack::stack::{Stack, StackConfig};
use netstack::tcp::TcpConfig;
use netstack::transport::{CloseReason, SocketId, SocketState, Transport};

use crate::peer::{PEER, PORT, Peer};

/// The stack's address.
pub const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub const SECOND_NS: u64 = 1_000_000_000;
pub const MILLISECOND_NS: u64 = 1_000_000;

pub fn stack_config() -> StackConfig {
    StackConfig {
        address: Some((US, 24)),
        gateway: Some(PEER),
        sockets_max: 4,
        tcp: TcpConfig { receive_buffer: 64 * 1024, send_buffer: 32 * 1024, user_timeout: 10 * SECOND_NS, ..TcpConfig::default() },
        seed: 7,
        ..StackConfig::default()
    }
}

pub struct World {
    pub stack: Stack<MemoryPort>,
    pub peer: Peer,
    pub now_ns: u64,
}

impl World {
    pub fn new(link: &MemoryConfig, config: &StackConfig, peer_sockets: usize) -> World {
        let (near, far) = pair(link).expect("a link");
        let stack = Stack::new(near, config, 0).expect("a stack");
        World { stack, peer: Peer::new(far, peer_sockets, 64 * 1024), now_ns: 0 }
    }

    pub fn plain() -> World {
        World::new(&MemoryConfig::default(), &stack_config(), 2)
    }

    pub fn with_faults(faults: Faults, seed: u64) -> World {
        let link = MemoryConfig { a_to_b: faults, b_to_a: faults, seed, ..MemoryConfig::default() };
        World::new(&link, &StackConfig { seed, ..stack_config() }, 2)
    }

    /// One pass of the stack, as the engine makes it.
    pub fn stack_pass(&mut self) {
        pass(&mut self.stack, self.now_ns);
    }

    /// One pass of both, and on to the next time at which anything happens (at most `limit_ns` later).
    pub fn step(&mut self, limit_ns: u64) {
        self.stack_pass();
        self.peer.pass(self.now_ns);
        let next = [Some(self.stack.next_deadline_ns()), self.stack.port_mut().next_delivery_ns(), self.peer.next_ns(self.now_ns)];
        let next_ns = next.into_iter().flatten().min().unwrap_or(u64::MAX);
        self.now_ns = next_ns.clamp(self.now_ns + 1000, self.now_ns + limit_ns.max(1000));
    }

    /// Steps until the condition holds; panics if it does not within `limit_ns` of simulated time.
    pub fn until(&mut self, what: &str, limit_ns: u64, mut condition: impl FnMut(&mut World) -> bool) {
        let end_ns = self.now_ns + limit_ns;
        while !condition(self) {
            assert!(self.now_ns < end_ns, "{what}: not within {limit_ns} ns; {:?}", self.stack.statistics());
            self.step(MILLISECOND_NS);
        }
    }

    /// Steps for a while.
    pub fn run(&mut self, time_ns: u64) {
        let end_ns = self.now_ns + time_ns;
        while self.now_ns < end_ns {
            self.step(end_ns - self.now_ns);
        }
    }

    pub fn connect(&mut self) -> SocketId {
        let socket = self.stack.connect(SocketAddrV4::new(PEER, PORT), self.now_ns).expect("connect");
        self.until("connection opens", 60 * SECOND_NS, |world| world.stack.state(socket) == SocketState::Open);
        socket
    }

    pub fn closed(&self, socket: SocketId) -> Option<CloseReason> {
        match self.stack.state(socket) {
            SocketState::Closed(reason) => Some(reason),
            _ => None,
        }
    }

    pub fn write(&mut self, socket: SocketId, bytes: &[u8]) -> bool {
        self.stack
            .write(socket, bytes.len(), |room| {
                room.copy_from_slice(bytes);
                (bytes.len(), ())
            })
            .is_some()
    }

    pub fn read(&mut self, socket: SocketId) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let some = self.stack.read(socket, |bytes| (bytes.len(), bytes.to_vec()));
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }
}

/// One pass of the engine's loop over a stack, without anything above it.
pub fn pass(stack: &mut Stack<MemoryPort>, now_ns: u64) {
    while stack.receive(now_ns) > 0 {
        while stack.ingress_next(now_ns).is_some() {
            stack.transmit(now_ns);
            stack.flush(now_ns).expect("memory links do not fail");
        }
    }
    stack.maintain(now_ns);
    stack.transmit(now_ns);
    stack.flush(now_ns).expect("memory links do not fail");
}
