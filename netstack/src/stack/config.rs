//! How a stack is to be set up, and why it could not be.

use std::net::Ipv4Addr;

/// Settings of a [`Stack`](super::Stack).
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// Our address and the length of its network's prefix; `None`: by DHCP.
    pub address: Option<(Ipv4Addr, u8)>,
    /// Where everything outside our network goes; `None`: nowhere, or what DHCP says.
    pub gateway: Option<Ipv4Addr>,
    /// Hardware addresses that are never asked for. On an address shared with the kernel the gateway
    /// must be here: answers to our ARP questions would reach the kernel, not us.
    pub neighbours: Vec<(Ipv4Addr, [u8; 6])>,
    /// First and last local port. Each connection, and each DNS question under way, uses one of its own.
    pub ports: (u16, u16),
    /// DNS servers, asked in turn; DHCP's are added to them.
    pub dns_servers: Vec<Ipv4Addr>,
    /// Names with a known address; they go before DNS.
    pub hosts: Vec<(String, Ipv4Addr)>,
    /// Connections that may exist at once.
    pub sockets_max: usize,
    /// Bytes of each connection's receive buffer: the largest window that is offered.
    pub receive_buffer: usize,
    /// Bytes of each connection's send buffer: the most that can be unacknowledged.
    pub send_buffer: usize,
    /// How long bytes (or a SYN, or a FIN) may stay unacknowledged before the connection is given up.
    pub user_timeout_ns: u64,
    /// How many times faster than the caller's clock TCP's own clock runs.
    ///
    /// smoltcp never retransmits earlier than after 1 s of its time (RFC 6298 section 2.4): far too late
    /// for an order. At a scale of 20, the default, the floor is 50 ms, just above the 40 ms by which a
    /// Linux peer may delay an acknowledgement; below that, retransmissions would often be for nothing.
    /// All of TCP's times shrink alike: the longest back-off is 3 s, TIME-WAIT 0.5 s.
    pub time_scale: u32,
    /// How long a bare acknowledgement may wait for data to travel with, or for one to stand for several
    /// (RFC 9293 section 3.8.6.3); 0: each is sent at once. Two full segments are acknowledged at once whatever it is.
    pub ack_delay_ns: u64,
    /// Seed of initial sequence numbers, ports, DNS and DHCP identifiers. Must differ from start to start.
    pub seed: u64,
}

impl Default for StackConfig {
    fn default() -> Self {
        StackConfig {
            address: None,
            gateway: None,
            neighbours: Vec::new(),
            ports: (20_000, 28_000),
            dns_servers: Vec::new(),
            hosts: Vec::new(),
            sockets_max: 32,
            receive_buffer: 256 * 1024,
            send_buffer: 64 * 1024,
            user_timeout_ns: 10_000_000_000,
            time_scale: 20,
            ack_delay_ns: 0,
            seed: 1,
        }
    }
}

/// Largest number of sockets (their places are numbered in 15 bits).
pub const SOCKETS_MAX: usize = 4096;
/// Largest buffer of a socket: what a window can express (RFC 7323 section 2.3).
pub const BUFFER_MAX: usize = 1 << 30;
/// Smallest IP packet that every host must take (RFC 791 section 3.2): the smallest MTU that we work with.
pub const MTU_MIN: usize = 576;

/// Why there can be no stack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StackError {
    /// The address is none that an interface can have.
    #[error("{0}/{1} is no address that an interface can have")]
    Address(Ipv4Addr, u8),
    /// The gateway is not in our network.
    #[error("gateway {0} is not in the network of {1}/{2}")]
    Gateway(Ipv4Addr, Ipv4Addr, u8),
    /// The port range is empty, begins at 0, or is too small for the sockets and DNS.
    #[error("ports {first}-{last} are too few: {needed} are needed, from port 1 on")]
    Ports {
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
        /// How many are needed.
        needed: usize,
    },
    /// A number is out of its bounds.
    #[error("{what} is {value}, but must be within {min} to {max}")]
    Bounds {
        /// Name of the setting.
        what: &'static str,
        /// Its value.
        value: u64,
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// A name in the hosts table is no DNS name.
    #[error("{0:?} in the hosts table is no host name")]
    HostName(String),
}

impl StackConfig {
    /// Refuses settings that cannot work.
    pub(super) fn validate(&self, mtu: usize) -> Result<(), StackError> {
        if let Some((address, prefix)) = self.address {
            if prefix > 32 || !is_interface_address(address) {
                return Err(StackError::Address(address, prefix));
            }
            if let Some(gateway) = self.gateway
                && (gateway == address || !in_network(gateway, address, prefix))
            {
                return Err(StackError::Gateway(gateway, address, prefix));
            }
        }
        let bounds = [
            ("MTU", mtu as u64, MTU_MIN as u64, u64::from(u16::MAX)),
            ("sockets_max", self.sockets_max as u64, 1, SOCKETS_MAX as u64),
            ("receive_buffer", self.receive_buffer as u64, 2048, BUFFER_MAX as u64),
            ("send_buffer", self.send_buffer as u64, 2048, BUFFER_MAX as u64),
            ("time_scale", u64::from(self.time_scale), 1, 1000),
            ("ack_delay_ns", self.ack_delay_ns, 0, 40_000_000),
            ("user_timeout_ns", self.user_timeout_ns, 1_000_000, u64::MAX),
        ];
        for (what, value, min, max) in bounds {
            if !(min..=max).contains(&value) {
                return Err(StackError::Bounds { what, value, min, max });
            }
        }
        let (first, last) = self.ports;
        let needed = self.sockets_max + crate::dns::QUESTIONS_MAX;
        if first == 0 || first > last || usize::from(last - first) + 1 < needed {
            return Err(StackError::Ports { first, last, needed });
        }
        Ok(())
    }
}

/// True if an interface can have the address.
pub(super) fn is_interface_address(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.is_broadcast() || address.is_loopback())
}

/// True if `other` is in the network of `address`/`prefix`.
pub(super) fn in_network(other: Ipv4Addr, address: Ipv4Addr, prefix: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    (other.to_bits() ^ address.to_bits()) & mask == 0
}
