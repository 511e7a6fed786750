//! Our address, from a DHCP server (RFC 2131): a client as a state machine.
//!
//! ```text
//! Selecting --offer--> Requesting --ack--> Bound --T1--> Renewing --T2--> Rebinding --end--> Selecting
//!     ^                    |                  ^--ack--------'--ack-----------'
//!     '-------nak----------'
//! ```
//!
//! Selecting and Requesting go to all on the link, with the broadcast flag (we cannot be addressed yet);
//! Renewing goes to the server that gave the lease, through the neighbour it came from.

use std::net::Ipv4Addr;

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress};

use super::config::is_interface_address;
use super::random::Random;
use crate::dns::SERVERS_MAX;

pub(super) const CLIENT_PORT: u16 = 68;
pub(super) const SERVER_PORT: u16 = 67;
const SECOND_NS: u64 = 1_000_000_000;
/// The first repetition comes after about a second, each later one after twice the time (section 4.1).
const RETRY_FIRST_NS: u64 = SECOND_NS;
const RETRY_MAX_NS: u64 = 16 * SECOND_NS;
/// Requests for one offer before the search begins anew.
const REQUESTS_MAX: u32 = 4;
/// Between two requests for a renewal.
const RENEW_RETRY_NS: u64 = 10 * SECOND_NS;
/// A lease without a stated time, and the shortest that we accept.
const LEASE_DEFAULT_S: u32 = 3600;
const LEASE_MIN_S: u32 = 30;
/// Subnet mask, router, name servers (RFC 2132).
const OPTION_ROUTER: u8 = 3;
const PARAMETERS: &[u8] = &[1, OPTION_ROUTER, 6];
const MESSAGE_MAX: usize = 320;

/// What a server lent us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) address: Ipv4Addr,
    pub(super) prefix: u8,
    pub(super) gateway: Option<Ipv4Addr>,
    servers: [Ipv4Addr; SERVERS_MAX],
    server_count: usize,
}

impl Lease {
    pub(super) fn dns_servers(&self) -> &[Ipv4Addr] {
        &self.servers[..self.server_count]
    }
}

/// What is to be done now.
#[derive(Debug)]
pub(super) enum Action<'a> {
    /// Send a message.
    Send {
        /// From our address, or from none.
        source: Ipv4Addr,
        /// To a server, or to all.
        destination: Ipv4Addr,
        /// Through this neighbour, or to all.
        mac: Option<[u8; 6]>,
        /// The message.
        payload: &'a [u8],
    },
    /// Use this address from now on.
    Configure(Lease),
    /// The address is not ours any more.
    Deconfigure,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Selecting { attempts: u32 },
    Requesting { address: Ipv4Addr, server: Ipv4Addr, attempts: u32 },
    Bound { lease: Lease, server: Ipv4Addr, renew_ns: u64, rebind_ns: u64, end_ns: u64 },
}

/// The client.
#[derive(Debug)]
pub(super) struct Dhcp {
    mac: [u8; 6],
    state: State,
    /// What must be told before anything else: a new lease (`Some(Some)`), or the loss of one.
    news: Option<Option<Lease>>,
    /// Neighbour through which the server's last message came.
    via: [u8; 6],
    transaction: u32,
    started_ns: u64,
    next_ns: u64,
    random: Random,
    message: [u8; MESSAGE_MAX],
}

impl Dhcp {
    pub(super) fn new(mac: [u8; 6], seed: u64, now_ns: u64) -> Dhcp {
        let mut random = Random::new(seed);
        Dhcp {
            mac,
            state: State::Selecting { attempts: 0 },
            news: None,
            via: [0xff; 6],
            transaction: random.next() as u32,
            started_ns: now_ns,
            next_ns: now_ns,
            random,
            message: [0; MESSAGE_MAX],
        }
    }

    /// When [`Dhcp::poll`] has something to do.
    pub(super) fn next_ns(&self) -> u64 {
        if self.news.is_some() { 0 } else { self.next_ns }
    }

    fn start_over(&mut self, now_ns: u64) {
        self.state = State::Selecting { attempts: 0 };
        self.transaction = self.random.next() as u32;
        self.started_ns = now_ns;
        self.next_ns = now_ns;
    }

    /// Doubling times, with up to a quarter of chance.
    fn retry_at(&mut self, attempts: u32, now_ns: u64) -> u64 {
        let wait_ns = (RETRY_FIRST_NS << attempts.min(8)).min(RETRY_MAX_NS);
        now_ns.saturating_add(wait_ns).saturating_add(self.random.below(wait_ns / 4))
    }

    /// The next thing to be done.
    pub(super) fn poll(&mut self, now_ns: u64) -> Option<Action<'_>> {
        if let Some(news) = self.news.take() {
            return Some(news.map_or(Action::Deconfigure, Action::Configure));
        }
        if now_ns < self.next_ns {
            return None;
        }
        match self.state {
            State::Selecting { attempts } => {
                self.state = State::Selecting { attempts: attempts.saturating_add(1) };
                self.next_ns = self.retry_at(attempts, now_ns);
                self.send(DhcpMessageType::Discover, None, None, now_ns)
            }
            State::Requesting { address, server, attempts } => {
                if attempts >= REQUESTS_MAX {
                    self.start_over(now_ns);
                    return self.poll(now_ns);
                }
                self.state = State::Requesting { address, server, attempts: attempts + 1 };
                self.next_ns = self.retry_at(attempts, now_ns);
                self.send(DhcpMessageType::Request, Some(address), Some(server), now_ns)
            }
            State::Bound { lease, server, rebind_ns, end_ns, .. } => {
                if now_ns >= end_ns {
                    self.start_over(now_ns);
                    return Some(Action::Deconfigure);
                }
                self.next_ns = now_ns.saturating_add(RENEW_RETRY_NS).min(end_ns);
                self.renew(lease.address, (now_ns < rebind_ns).then_some(server), now_ns)
            }
        }
    }

    fn repr(&self, message_type: DhcpMessageType, now_ns: u64) -> DhcpRepr<'static> {
        let none = Ipv4Addr::UNSPECIFIED;
        DhcpRepr {
            message_type,
            transaction_id: self.transaction,
            secs: u16::try_from(now_ns.saturating_sub(self.started_ns) / SECOND_NS).unwrap_or(u16::MAX),
            client_hardware_address: EthernetAddress(self.mac),
            client_ip: none,
            your_ip: none,
            server_ip: none,
            router: None,
            subnet_mask: None,
            relay_agent_ip: none,
            broadcast: true,
            requested_ip: None,
            client_identifier: Some(EthernetAddress(self.mac)),
            server_identifier: None,
            parameter_request_list: Some(PARAMETERS),
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        }
    }

    fn send(
        &mut self,
        message_type: DhcpMessageType,
        requested_ip: Option<Ipv4Addr>,
        server_identifier: Option<Ipv4Addr>,
        now_ns: u64,
    ) -> Option<Action<'_>> {
        let repr = DhcpRepr { requested_ip, server_identifier, ..self.repr(message_type, now_ns) };
        let payload = emit(&repr, &mut self.message)?;
        Some(Action::Send { source: Ipv4Addr::UNSPECIFIED, destination: Ipv4Addr::BROADCAST, mac: None, payload })
    }

    /// Asks the server, or any, to leave us the address for longer.
    fn renew(&mut self, address: Ipv4Addr, server: Option<Ipv4Addr>, now_ns: u64) -> Option<Action<'_>> {
        let repr = DhcpRepr { client_ip: address, broadcast: false, ..self.repr(DhcpMessageType::Request, now_ns) };
        let payload = emit(&repr, &mut self.message)?;
        let destination = server.unwrap_or(Ipv4Addr::BROADCAST);
        Some(Action::Send { source: address, destination, mac: server.map(|_| self.via), payload })
    }

    /// Takes in a message from a server; false if it is not for us, or not wanted now.
    pub(super) fn receive(&mut self, message: &[u8], via: [u8; 6], now_ns: u64) -> bool {
        let Ok(packet) = DhcpPacket::new_checked(message) else { return false };
        let Ok(repr) = DhcpRepr::parse(&packet) else { return false };
        if repr.transaction_id != self.transaction || repr.client_hardware_address != EthernetAddress(self.mac) {
            return false;
        }
        let from = repr.server_identifier;
        match (self.state, repr.message_type) {
            (State::Selecting { .. }, DhcpMessageType::Offer) => {
                let Some(server) = from else { return false };
                if !is_interface_address(repr.your_ip) {
                    return false;
                }
                self.state = State::Requesting { address: repr.your_ip, server, attempts: 0 };
                self.next_ns = now_ns;
                true
            }
            (State::Requesting { server, .. }, DhcpMessageType::Ack) if from == Some(server) => {
                self.bind(&packet, &repr, server, via, now_ns)
            }
            (State::Requesting { server, .. }, DhcpMessageType::Nak) if from == Some(server) => {
                self.start_over(now_ns);
                true
            }
            (State::Bound { server, renew_ns, .. }, DhcpMessageType::Ack) if now_ns >= renew_ns => {
                self.bind(&packet, &repr, from.unwrap_or(server), via, now_ns)
            }
            (State::Bound { renew_ns, .. }, DhcpMessageType::Nak) if now_ns >= renew_ns => {
                self.start_over(now_ns);
                self.news = Some(None);
                true
            }
            _ => false,
        }
    }

    fn bind(&mut self, packet: &DhcpPacket<&[u8]>, repr: &DhcpRepr<'_>, server: Ipv4Addr, via: [u8; 6], now_ns: u64) -> bool {
        let mask = repr.subnet_mask.map_or(u32::MAX, Ipv4Addr::to_bits);
        let prefix = mask.leading_ones();
        if !is_interface_address(repr.your_ip) || mask.count_ones() != prefix {
            return false;
        }
        // Several routers may be named: the first is the best (RFC 2132 section 3.5).
        let router =
            packet.options().find(|option| option.kind == OPTION_ROUTER).and_then(|option| option.data.first_chunk::<4>().copied());
        let mut lease = Lease {
            address: repr.your_ip,
            prefix: prefix as u8,
            gateway: router.map(Ipv4Addr::from).filter(|router| is_interface_address(*router) && *router != repr.your_ip),
            servers: [Ipv4Addr::UNSPECIFIED; SERVERS_MAX],
            server_count: 0,
        };
        for address in repr.dns_servers.iter().flatten().filter(|address| is_interface_address(**address)).take(SERVERS_MAX) {
            lease.servers[lease.server_count] = *address;
            lease.server_count += 1;
        }
        let lease_s = repr.lease_duration.unwrap_or(LEASE_DEFAULT_S).max(LEASE_MIN_S);
        let within = |seconds: Option<u32>, otherwise: u32| seconds.filter(|seconds| (1..lease_s).contains(seconds)).unwrap_or(otherwise);
        let renew_s = within(repr.renew_duration, lease_s / 2);
        let rebind_s = within(repr.rebind_duration, lease_s - lease_s / 8).max(renew_s);
        let at = |seconds: u32| now_ns.saturating_add(u64::from(seconds) * SECOND_NS);
        self.state = State::Bound { lease, server, renew_ns: at(renew_s), rebind_ns: at(rebind_s), end_ns: at(lease_s) };
        self.next_ns = at(renew_s);
        self.via = via;
        self.news = Some(Some(lease));
        true
    }
}

fn emit<'a>(repr: &DhcpRepr<'_>, message: &'a mut [u8; MESSAGE_MAX]) -> Option<&'a [u8]> {
    message.fill(0);
    let len = repr.buffer_len();
    let room = message.get_mut(..len)?;
    repr.emit(&mut DhcpPacket::new_unchecked(&mut *room)).ok()?;
    Some(room)
}
