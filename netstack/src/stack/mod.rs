//! IP over a port: ARP, routing to a gateway, ICMP echo, UDP for DNS and DHCP, and TCP behind
//! [`Transport`].
//!
//! The caller's loop, one pass of it:
//!
//! ```text
//! stack.receive(now_ns);                                 // one burst from the port
//! while let Some(fed) = stack.ingress_next(now_ns) {     // one frame
//!     if let Some(socket) = fed { work_off(socket) }     // read, decide, write: while the frame is hot
//!     if stack.transmit(now_ns) > 0 {                    // what was written becomes frames, orders first
//!         stack.flush(now_ns)?;                          // one kick
//!     }
//! }
//! stack.maintain(now_ns);                                // timers
//! stack.transmit(now_ns);                                // what they woke, and the acknowledgements
//! stack.flush(now_ns)?;
//! ```
//!
//! TCP is our own ([`crate::tcp`]): a segment finds its connection by its local port, which no two share, and each
//! connection sends by itself, so orders never stand behind another's segments. What arrives in order is lent to the
//! reader where it lies in the received frame. Ethernet headers, the ARP table, ICMP and UDP are ours as well, on
//! smoltcp's wire formats.
//!
//! With the feature `smoltcp-tcp` a stack over smoltcp's TCP can be had as well, `Stack<P, SmoltcpTcp>`, to compare.
//!
//! After [`Stack::new`] nothing allocates. Time never goes back: an earlier `now_ns` counts as the latest
//! seen. No frame, however wrong, ends in a panic; each is counted in [`StackStatistics`].
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | the stack: its pass, its timers, [`Transport`] |
//! | `ingress` | one received frame and what becomes of it |
//! | `slot` | a place for a connection |
//! | `socket` | what the stack needs of a TCP |
//! | `tcp_socket` | our TCP under the stack |
//! | `header`, `checksum` | a connection's headers, ready made; the Internet checksum |
//! | `smoltcp_socket`, `smoltcp_device`, `smoltcp_wire` | smoltcp's TCP under the stack (feature `smoltcp-tcp`) |
//! | `neighbours` | the ARP table, refreshed ahead of time |
//! | `dhcp` | the address, if nobody gave one |
//! | `ports` | local ports and their owners |
//! | `wire`, `tcp_wire` | frames by the byte |
//! | `beginning` | the numbers that a connection begins with |
//! | `config`, `statistics`, `random` | settings; counters; chance from a seed |

mod beginning;
mod checksum;
mod config;
mod dhcp;
mod header;
mod ingress;
mod neighbours;
mod ports;
pub(crate) mod random;
mod slot;
#[cfg(feature = "smoltcp-tcp")]
mod smoltcp_device;
#[cfg(feature = "smoltcp-tcp")]
mod smoltcp_socket;
#[cfg(feature = "smoltcp-tcp")]
mod smoltcp_wire;
mod socket;
mod statistics;
mod tcp_socket;
mod tcp_wire;
mod wire;

use std::hint::cold_path;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use drivers::port::{Burst, Port};
use smoltcp::wire::ArpOperation;

pub use config::{BUFFER_MAX, MTU_MIN, SOCKETS_MAX, StackConfig, StackError};
use config::{in_network, is_interface_address};
pub use neighbours::{REFRESH_NS, SEARCH_QUESTIONS, SEARCH_RETRY_NS};
#[cfg(feature = "smoltcp-tcp")]
pub use smoltcp_socket::SmoltcpTcp;
pub use socket::TcpSocket;
pub use statistics::StackStatistics;
pub use tcp_socket::OwnTcp;

use crate::dns::{QUESTIONS_MAX, Resolver};
use crate::tcp::{TcpStatistics, touched};
use crate::transport::{CloseReason, ConnectError, Resolution, SocketId, SocketState, Transport};
use beginning::Beginnings;
use dhcp::{Action, Dhcp};
use drivers::purpose::Purpose;
use neighbours::{Due, Neighbours};
use ports::Ports;
use random::{Random, RateLimit};
use slot::{Life, Slot};
use socket::SocketSettings;
use wire::{ETHERNET_HEADER, Outbox, ethernet_header};

/// Small frames that may wait for room in the port.
const OUTBOX_FRAMES: usize = 64;
/// RST and challenges: so many at once, then one in so many nanoseconds.
const RESET_BURST: u64 = 20;
const RESET_INTERVAL_NS: u64 = 10_000_000;
/// Answers to pings: likewise.
const ECHO_BURST: u64 = 50;
const ECHO_INTERVAL_NS: u64 = 1_000_000;
/// A datagram whose next hop is not known yet is tried again after this time.
const DATAGRAM_RETRY_NS: u64 = 10_000_000;
const DNS_PORT: u16 = 53;
const NOBODY: usize = usize::MAX;

/// Who we are on the link.
#[derive(Clone, Copy, Debug)]
struct Host {
    mac: [u8; 6],
    address: Option<(Ipv4Addr, u8)>,
    gateway: Option<Ipv4Addr>,
}

impl Host {
    /// Where a packet to `destination` goes first.
    fn next_hop(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        let (address, prefix) = self.address?;
        if destination == address || !is_interface_address(destination) {
            None
        } else if in_network(destination, address, prefix) {
            Some(destination)
        } else {
            self.gateway
        }
    }
}

/// A set of slots, one bit each.
#[derive(Debug)]
struct SlotSet {
    words: Box<[u64]>,
}

impl SlotSet {
    fn new(slots: usize) -> SlotSet {
        SlotSet { words: vec![0; slots.div_ceil(64)].into_boxed_slice() }
    }

    #[inline]
    fn set(&mut self, index: usize) {
        self.words[index / 64] |= 1 << (index % 64);
    }

    #[inline]
    fn clear(&mut self, index: usize) {
        self.words[index / 64] &= !(1 << (index % 64));
    }

    #[inline]
    fn has(&self, index: usize) -> bool {
        self.words[index / 64] >> (index % 64) & 1 == 1
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }
}

/// An IP stack over one port. See the module's head.
pub struct Stack<P: Port, T: TcpSocket = OwnTcp> {
    port: P,
    burst: Burst,
    cursor: usize,
    host: Host,
    neighbours: Neighbours,
    slots: Box<[Slot<T>]>,
    /// The slot whose last frame is still to be read from; `NOBODY`: none.
    reading: usize,
    /// Slots with something new to send, or with a timer that is due.
    written: SlotSet,
    /// Slots that took something in: an acknowledgement may be due, or the window may have opened.
    fed: SlotSet,
    /// Slots whose segments leave first.
    urgent: SlotSet,
    ports: Ports,
    outbox: Outbox,
    resolver: Resolver,
    /// Local port of each DNS question under way; 0: none.
    question_ports: [u16; QUESTIONS_MAX],
    dhcp: Option<Dhcp>,
    scratch: Box<[u8]>,
    random: Random,
    beginnings: Beginnings,
    reset_limit: RateLimit,
    echo_limit: RateLimit,
    now_ns: u64,
    next_maintain_ns: u64,
    /// Frames committed since the last transmit returned.
    committed: usize,
    statistics: StackStatistics,
    /// Of connections that are over.
    past: TcpStatistics,
}

/// The port's MTU, or less if its frames are smaller than that.
fn usable_mtu<P: Port>(port: &mut P) -> usize {
    let mtu = port.info().mtu;
    let Some(frame) = port.allocate() else { return mtu };
    let capacity = frame.capacity as usize;
    port.abandon(frame);
    mtu.min(capacity.saturating_sub(ETHERNET_HEADER))
}

impl<P: Port> Stack<P> {
    /// A stack over `port`. Allocates all that it will ever need.
    ///
    /// # Errors
    /// If the settings contradict each other or the port.
    pub fn new(port: P, config: &StackConfig, now_ns: u64) -> Result<Stack<P>, StackError> {
        Stack::with_tcp(port, config, now_ns)
    }
}

impl<P: Port, T: TcpSocket> Stack<P, T> {
    /// [`Stack::new`], over any TCP.
    ///
    /// # Errors
    /// If the settings contradict each other or the port.
    pub fn with_tcp(mut port: P, config: &StackConfig, now_ns: u64) -> Result<Stack<P, T>, StackError> {
        let (mac, mtu) = (port.info().mac, usable_mtu(&mut port));
        config.validate(mtu)?;
        let mut random = Random::new(config.seed);
        let beginnings = Beginnings::new(config.seed);
        let resolver = Resolver::new(&config.dns_servers, &config.hosts, random.next()).map_err(StackError::HostName)?;
        let settings = SocketSettings { tcp: config.tcp, mtu, start_ns: now_ns };
        let mut stack = Stack {
            burst: Burst::new(),
            cursor: 0,
            host: Host { mac, address: config.address, gateway: config.gateway },
            neighbours: Neighbours::new(&config.neighbours, config.sockets_max + QUESTIONS_MAX + 1),
            slots: (0..config.sockets_max).map(|_| Slot::new(&settings)).collect(),
            reading: NOBODY,
            written: SlotSet::new(config.sockets_max),
            fed: SlotSet::new(config.sockets_max),
            urgent: SlotSet::new(config.sockets_max),
            ports: Ports::new(config.ports.0, config.ports.1, &mut random),
            outbox: Outbox::new(OUTBOX_FRAMES),
            resolver,
            question_ports: [0; QUESTIONS_MAX],
            dhcp: config.address.is_none().then(|| Dhcp::new(mac, random.next(), now_ns)),
            scratch: touched(mtu + ETHERNET_HEADER),
            beginnings,
            random,
            reset_limit: RateLimit::new(RESET_INTERVAL_NS, RESET_BURST),
            echo_limit: RateLimit::new(ECHO_INTERVAL_NS, ECHO_BURST),
            now_ns,
            next_maintain_ns: 0,
            committed: 0,
            statistics: StackStatistics::default(),
            past: TcpStatistics::default(),
            port,
        };
        stack.settle();
        stack.maintain(now_ns);
        Ok(stack)
    }

    /// Takes a burst from the port, unless frames of the last one are left; returns how many there are for
    /// [`Stack::ingress_next`].
    #[inline]
    pub fn receive(&mut self, now_ns: u64) -> usize {
        self.advance(now_ns);
        if self.cursor < self.burst.len() {
            return self.burst.len() - self.cursor;
        }
        self.recycle();
        self.port.receive(now_ns, &mut self.burst)
    }

    /// Works off the next frame of the burst: `None` if there is none (the burst's frames go back to the
    /// port); `Some(Some(socket))` if it changed what the socket has to read, its room, or its state.
    #[inline]
    pub fn ingress_next(&mut self, now_ns: u64) -> Option<Option<SocketId>> {
        self.advance(now_ns);
        self.let_go();
        let Some(&frame) = self.burst.frames().get(self.cursor) else {
            self.recycle();
            return None;
        };
        self.cursor += 1;
        Some(self.ingress(frame))
    }

    /// The last frame is about to go: what of it was not read is kept.
    #[inline]
    fn let_go(&mut self) {
        if let Some(slot) = self.slots.get_mut(self.reading) {
            slot.tcp.let_go(&mut self.port);
            self.reading = NOBODY;
        }
    }

    fn recycle(&mut self) {
        self.let_go();
        if !self.burst.is_empty() {
            self.port.recycle(&mut self.burst);
        }
        self.cursor = 0;
    }

    /// Makes frames of what was written to urgent sockets, and of nothing else: acknowledgements and other traffic are left
    /// for [`Stack::transmit`], which is called afterwards. Returns how many frames were committed.
    #[inline]
    pub fn transmit_urgent(&mut self, now_ns: u64) -> usize {
        self.advance(now_ns);
        self.transmit_written_urgent();
        std::mem::take(&mut self.committed)
    }

    /// False if the port has no free frame.
    ///
    /// Not inlined: a rehearsal must go through the very same code.
    #[inline(never)]
    fn transmit_written_urgent(&mut self) -> bool {
        (0..self.written.words.len()).all(|word| self.transmit_set(word, self.written.words[word] & self.urgent.words[word]))
    }

    /// Makes frames of everything that was written, urgent sockets first, and then of the acknowledgements
    /// that are due; returns how many frames were committed since the last call.
    ///
    /// While a burst is being worked off only what was written leaves (acknowledgements ride on it): bare
    /// acknowledgements and answers wait for the burst's end, so that no order stands behind them.
    #[inline]
    pub fn transmit(&mut self, now_ns: u64) -> usize {
        self.advance(now_ns);
        let mut room = self.transmit_written_urgent();
        for word in 0..self.written.words.len() {
            room = room && self.transmit_set(word, self.written.words[word]);
        }
        if self.burst.is_empty() {
            for word in 0..self.fed.words.len() {
                room = room && self.transmit_set(word, self.fed.words[word]);
            }
            if room && !self.outbox.is_empty() {
                self.transmit_outbox();
            }
        }
        std::mem::take(&mut self.committed)
    }

    /// Gives the slot the turn of an order, in which it takes back what it has rehearsed. Only while no slot has anything to
    /// send.
    fn rehearse(&mut self, index: usize) {
        let fed = self.fed.has(index);
        if self.written.is_empty() {
            self.written.set(index);
            self.transmit_written_urgent();
            self.written.clear(index);
        }
        // Its turn may not have come: no next hop, or it is not urgent.
        self.slots[index].tcp.end_rehearsal();
        if fed {
            self.fed.set(index);
        }
    }

    /// Gives the slots of one word of the set their turn; false if the port has no free frame.
    #[inline]
    fn transmit_set(&mut self, word: usize, mut bits: u64) -> bool {
        while bits != 0 {
            let index = word * 64 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            if !self.transmit_slot(index) {
                return false;
            }
        }
        true
    }

    #[inline]
    fn transmit_slot(&mut self, index: usize) -> bool {
        let slot = &mut self.slots[index];
        if !slot.reachable {
            // It gets its turn when its next hop is found.
            self.written.clear(index);
            self.fed.clear(index);
            self.retire(index);
            return true;
        }
        let was_open = !matches!(slot.tcp.state(), SocketState::Closed(_));
        let turn = slot.tcp.egress(&mut self.port, self.now_ns);
        slot.wake_ns = slot.tcp.wake_ns().min(slot.tcp.times_out_ns());
        if was_open && slot.tcp.state() == SocketState::Closed(CloseReason::TimedOut) {
            self.statistics.timeouts += 1;
        }
        let (held, mut wake_ns) = (slot.life == Life::Held, slot.wake_ns);
        self.statistics.segments_sent += turn.committed as u64;
        self.statistics.segments_resent += turn.resent;
        self.committed += turn.committed;
        if !turn.more {
            self.written.clear(index);
            self.fed.clear(index);
        }
        if !held {
            self.retire(index);
            wake_ns = self.slots[index].wake_ns;
        }
        self.next_maintain_ns = self.next_maintain_ns.min(wake_ns);
        self.statistics.transmit_exhausted += u64::from(turn.exhausted);
        !turn.exhausted
    }

    fn transmit_outbox(&mut self) {
        while let Some(waiting) = self.outbox.front() {
            let Some(frame) = self.port.allocate() else { return };
            let len = waiting.len();
            match self.port.buffer(&frame).get_mut(..len) {
                Some(room) => {
                    room.copy_from_slice(waiting);
                    self.port.commit(frame, len);
                    self.committed += 1;
                }
                None => self.port.abandon(frame),
            }
            self.outbox.pop();
        }
    }

    /// Sends the first `len` bytes of the scratch buffer as a frame; false if the port has no room.
    fn send_scratch(&mut self, len: usize) -> bool {
        let Some(frame) = self.port.allocate() else { return false };
        match self.port.buffer(&frame).get_mut(..len) {
            Some(room) => {
                room.copy_from_slice(&self.scratch[..len]);
                self.port.commit(frame, len);
                self.committed += 1;
                true
            }
            None => {
                self.port.abandon(frame);
                false
            }
        }
    }

    /// Makes the port's hardware look at what was committed: at most one system call. Call it also when
    /// nothing was: a kick that the kernel refused for the moment is repeated.
    ///
    /// # Errors
    /// If the port is gone.
    #[inline]
    pub fn flush(&mut self, now_ns: u64) -> io::Result<()> {
        self.port.flush(now_ns)
    }

    /// Timers: retransmissions, time-outs, ARP, DNS, DHCP. Returns at once if none is due; what becomes due
    /// leaves with the next [`Stack::transmit`]. Call it every pass, or every millisecond.
    #[inline]
    pub fn maintain(&mut self, now_ns: u64) {
        self.advance(now_ns);
        if self.now_ns >= self.next_maintain_ns {
            self.maintain_due();
        }
    }

    /// When [`Stack::maintain`] has something to do, if no frame comes and nothing is written before.
    pub fn next_deadline_ns(&self) -> u64 {
        self.next_maintain_ns
    }

    #[cold]
    fn maintain_due(&mut self) {
        let now_ns = self.now_ns;
        let mut next_ns = u64::MAX;
        self.maintain_dhcp();
        self.maintain_resolver();
        self.maintain_neighbours();
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.life == Life::Free {
                continue;
            }
            if slot.tcp.times_out_ns() <= now_ns {
                slot.tcp.abort(CloseReason::TimedOut);
                self.written.set(index);
                self.statistics.timeouts += 1;
            }
            let lingers_until_ns = slot.lingers_until_ns().unwrap_or(u64::MAX);
            if lingers_until_ns <= now_ns {
                self.free(index);
                continue;
            }
            if slot.wake_ns <= now_ns {
                slot.wake_ns = u64::MAX;
                self.written.set(index);
            }
            next_ns = next_ns.min(slot.wake_ns).min(slot.tcp.times_out_ns()).min(lingers_until_ns);
        }
        next_ns = next_ns.min(self.neighbours.next_ns()).min(self.resolver.next_ns());
        if let Some(client) = &self.dhcp {
            next_ns = next_ns.min(client.next_ns());
        }
        // What had no room in the port is tried again, but not in every pass.
        self.next_maintain_ns = next_ns.max(now_ns.saturating_add(1));
    }

    fn maintain_neighbours(&mut self) {
        // Each entry is due at most twice in a row.
        while let Some(due) = self.neighbours.poll(self.now_ns) {
            match due {
                Due::Ask(question) => {
                    let Some((address, _)) = self.host.address else { continue };
                    let us = (self.host.mac, address);
                    let to = question.to.unwrap_or(wire::BROADCAST);
                    let target = (question.to.unwrap_or([0; 6]), question.target);
                    if self.outbox.push(|out| wire::arp(out, ArpOperation::Request, us, target, to)) {
                        self.statistics.arp_questions += 1;
                    }
                }
                Due::Silent(_) => self.statistics.neighbour_silences += 1,
                Due::Unreachable(address) => {
                    for index in 0..self.slots.len() {
                        let slot = &mut self.slots[index];
                        if slot.life != Life::Free && !slot.reachable && slot.next_hop == address {
                            slot.tcp.abort(CloseReason::Unreachable);
                            self.written.set(index);
                        }
                    }
                }
            }
        }
    }

    /// A neighbour has been found, or has moved.
    fn neighbour_found(&mut self, address: Ipv4Addr, mac: [u8; 6]) {
        let header = ethernet_header(mac, self.host.mac);
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.life != Life::Free && slot.next_hop == address {
                slot.reach(&header);
                self.written.set(index);
            }
        }
        self.resolver.retry_now(self.now_ns);
        self.next_maintain_ns = 0;
    }

    fn maintain_resolver(&mut self) {
        for question in 0..QUESTIONS_MAX {
            if !self.resolver.is_open(question) && self.question_ports[question] != 0 {
                self.ports.release(std::mem::take(&mut self.question_ports[question]));
            }
        }
        for _ in 0..QUESTIONS_MAX {
            let Some((question, server)) = self.resolver.due(self.now_ns) else { return };
            let next_hop = self.host.next_hop(server);
            let mac = next_hop.and_then(|next_hop| self.neighbours.want(next_hop, self.now_ns));
            let (Some((address, _)), Some(mac)) = (self.host.address, mac) else {
                self.resolver.postpone(question, self.now_ns.saturating_add(DATAGRAM_RETRY_NS));
                continue;
            };
            // A new port and identifier for every attempt: an answer must guess both.
            if self.question_ports[question] != 0 {
                self.ports.release(std::mem::take(&mut self.question_ports[question]));
            }
            let Some(port) = self.ports.take_random(question, &mut self.random) else {
                self.resolver.postpone(question, self.now_ns.saturating_add(DATAGRAM_RETRY_NS));
                continue;
            };
            self.question_ports[question] = port;
            let header = ethernet_header(mac, self.host.mac);
            let message = self.resolver.message(question, self.now_ns);
            let len = wire::udp(&mut self.scratch, &header, (address, port), (server, DNS_PORT), message);
            if len.is_some_and(|len| self.send_scratch(len)) {
                self.statistics.dns_questions += 1;
            }
        }
    }

    fn maintain_dhcp(&mut self) {
        let Some(client) = &mut self.dhcp else { return };
        // A round of it has few steps: an answer taken, an address set, a request sent.
        for _ in 0..4 {
            match client.poll(self.now_ns) {
                None => return,
                Some(Action::Send { source, destination, mac, payload }) => {
                    let header = ethernet_header(mac.unwrap_or(wire::BROADCAST), self.host.mac);
                    let (from, to) = ((source, dhcp::CLIENT_PORT), (destination, dhcp::SERVER_PORT));
                    if let Some(len) = wire::udp(&mut self.scratch, &header, from, to, payload)
                        && let Some(frame) = self.port.allocate()
                    {
                        match self.port.buffer(&frame).get_mut(..len) {
                            Some(room) => {
                                room.copy_from_slice(&self.scratch[..len]);
                                self.port.commit(frame, len);
                                self.committed += 1;
                            }
                            None => self.port.abandon(frame),
                        }
                    }
                }
                Some(Action::Configure(lease)) => {
                    let same = self.host.address == Some((lease.address, lease.prefix)) && self.host.gateway == lease.gateway;
                    self.resolver.set_learnt_servers(lease.dns_servers());
                    if !same {
                        let address = Some((lease.address, lease.prefix));
                        self.host = Host { address, gateway: lease.gateway, ..self.host };
                        self.address_changed();
                        return;
                    }
                }
                Some(Action::Deconfigure) => {
                    self.host = Host { address: None, gateway: None, ..self.host };
                    self.address_changed();
                    return;
                }
            }
        }
    }

    /// The address is not what it was: connections from the old one are lost.
    fn address_changed(&mut self) {
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.life != Life::Free {
                slot.reachable = false;
                slot.tcp.abort(CloseReason::Unreachable);
            }
        }
        self.neighbours.clear();
        self.settle();
    }

    /// Makes our address known on the link and begins to look for the gateway.
    fn settle(&mut self) {
        let Some((address, _)) = self.host.address else { return };
        let us = (self.host.mac, address);
        self.outbox.push(|out| wire::arp(out, ArpOperation::Request, us, ([0; 6], address), wire::BROADCAST));
        if let Some(gateway) = self.host.gateway {
            self.neighbours.keep(gateway, self.now_ns);
        }
        self.next_maintain_ns = 0;
    }

    #[inline]
    fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    #[inline]
    fn id(&self, index: usize) -> SocketId {
        SocketId { index: index as u16, generation: self.slots[index].generation }
    }

    /// The slot of a socket that is still the caller's.
    #[inline]
    fn held(&self, socket: SocketId) -> Option<usize> {
        let index = usize::from(socket.index);
        match self.slots.get(index) {
            Some(slot) if slot.generation == socket.generation && slot.life == Life::Held => Some(index),
            _ => {
                cold_path();
                None
            }
        }
    }

    /// Frees a slot that nobody holds and whose connection is over.
    fn retire(&mut self, index: usize) {
        let slot = &self.slots[index];
        if matches!(slot.life, Life::Lingering { .. }) && (slot.tcp.is_over() || !slot.reachable) {
            self.free(index);
        }
    }

    fn free(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.life = Life::Free;
        self.past += slot.tcp.statistics();
        slot.wake_ns = u64::MAX;
        let port = slot.local.port();
        self.ports.release(port);
        self.written.clear(index);
        self.fed.clear(index);
        self.urgent.clear(index);
    }

    /// Lets the socket's segments leave before those of other sockets in each [`Stack::transmit`]: for
    /// connections that carry orders.
    pub fn set_priority(&mut self, socket: SocketId) {
        if let Some(index) = self.held(socket) {
            self.urgent.set(index);
        }
    }

    /// The port below.
    pub fn port(&self) -> &P {
        &self.port
    }

    /// The port below, for its faults or its recorder.
    pub fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// The counters.
    pub fn statistics(&self) -> &StackStatistics {
        &self.statistics
    }

    /// The counters of all connections together, also of those that are over.
    pub fn tcp_statistics(&self) -> TcpStatistics {
        let mut sum = self.past;
        for slot in self.slots.iter().filter(|slot| slot.life != Life::Free) {
            sum += slot.tcp.statistics();
        }
        sum
    }

    /// Our address, once there is one.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.host.address.map(|(address, _)| address)
    }

    /// True if the gateway's hardware address is known (or there is no gateway): the first connection will
    /// not have to wait for it.
    pub fn is_ready(&mut self, now_ns: u64) -> bool {
        self.advance(now_ns);
        match (self.host.address, self.host.gateway) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(_), Some(gateway)) => self.neighbours.want(gateway, self.now_ns).is_some(),
        }
    }

    /// A slot for a new connection: a free one, or the one that lingers and would be free first.
    fn free_slot(&mut self) -> Option<usize> {
        if let Some(index) = self.slots.iter().position(|slot| slot.life == Life::Free) {
            return Some(index);
        }
        let lingering = self.slots.iter().enumerate().filter_map(|(index, slot)| Some((slot.lingers_until_ns()?, index)));
        let (_, index) = lingering.min()?;
        self.slots[index].tcp.abort(CloseReason::Aborted);
        if self.slots[index].reachable {
            self.transmit_slot(index);
        }
        // What was sent may have been its last: then it is free already, and counted.
        if self.slots[index].life != Life::Free {
            self.free(index);
        }
        Some(index)
    }
}

impl<P: Port, T: TcpSocket> Transport for Stack<P, T> {
    fn resolve(&mut self, host: &str, now_ns: u64) -> Resolution {
        self.advance(now_ns);
        let resolution = self.resolver.resolve(host, self.now_ns);
        self.next_maintain_ns = self.next_maintain_ns.min(self.resolver.next_ns());
        resolution
    }

    fn connect(&mut self, remote: SocketAddrV4, now_ns: u64) -> Result<SocketId, ConnectError> {
        self.advance(now_ns);
        let (address, _) = self.host.address.ok_or(ConnectError::NoAddress)?;
        let index = self.free_slot().ok_or(ConnectError::NoSocket)?;
        let port = self.ports.take_next(index, &mut self.random).ok_or(ConnectError::NoPort)?;
        let local = SocketAddrV4::new(address, port);
        let beginning = self.beginnings.of(local, remote, self.now_ns);
        self.statistics.connects += 1;
        let next_hop = self.host.next_hop(*remote.ip());
        let slot = &mut self.slots[index];
        slot.connect(local, remote, next_hop, beginning, self.now_ns);
        if let Some(mac) = next_hop.and_then(|next_hop| self.neighbours.want(next_hop, self.now_ns)) {
            slot.reach(&ethernet_header(mac, self.host.mac));
        }
        self.written.set(index);
        self.next_maintain_ns = 0;
        Ok(self.id(index))
    }

    fn state(&self, socket: SocketId) -> SocketState {
        match self.held(socket) {
            Some(index) => self.slots[index].tcp.state(),
            None => SocketState::Closed(CloseReason::Aborted),
        }
    }

    #[inline]
    fn read<R>(&mut self, socket: SocketId, take: impl FnOnce(&mut [u8]) -> (usize, R)) -> R {
        let Some(index) = self.held(socket) else { return take(&mut []).1 };
        let (used, result) = self.slots[index].tcp.read(&mut self.port, take);
        if used > 0 {
            // The window may have grown enough to tell the peer.
            self.fed.set(index);
        }
        result
    }

    #[inline]
    fn is_drained(&self, socket: SocketId) -> bool {
        self.held(socket).is_none_or(|index| self.slots[index].tcp.is_drained())
    }

    #[inline]
    fn write<R>(&mut self, socket: SocketId, room: usize, fill: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<R> {
        self.write_for(Purpose::Send, socket, room, fill)
    }

    #[inline]
    fn write_for<R>(&mut self, purpose: Purpose, socket: SocketId, room: usize, fill: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<R> {
        let index = self.held(socket)?;
        let tcp = &mut self.slots[index].tcp;
        let result = tcp.write(&mut self.port, purpose, room, fill, self.now_ns)?;
        if purpose == Purpose::Send {
            self.written.set(index);
        } else if tcp.is_rehearsing() {
            self.rehearse(index);
        }
        Some(result)
    }

    fn unacknowledged(&self, socket: SocketId) -> usize {
        self.held(socket).map_or(0, |index| self.slots[index].tcp.unacknowledged())
    }

    fn close(&mut self, socket: SocketId) {
        if let Some(index) = self.held(socket) {
            self.slots[index].tcp.close(self.now_ns);
            self.written.set(index);
        }
    }

    fn abort(&mut self, socket: SocketId) {
        if let Some(index) = self.held(socket) {
            self.slots[index].tcp.abort(CloseReason::Aborted);
            self.written.set(index);
        }
    }

    fn release(&mut self, socket: SocketId) {
        let Some(index) = self.held(socket) else { return };
        self.slots[index].release(self.now_ns);
        self.urgent.clear(index);
        self.written.set(index);
        self.next_maintain_ns = 0;
        self.retire(index);
    }
}
