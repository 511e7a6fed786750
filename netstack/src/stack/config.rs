//! How a stack is to be set up, and why it could not be.

use std::net::Ipv4Addr;

use crate::tcp::TcpConfig;

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
    /// TCP's settings, but for `mss`, which follows from the link's MTU.
    pub tcp: TcpConfig,
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
            tcp: TcpConfig::default(),
            seed: 1,
        }
    }
}

/// Largest number of sockets (their places are numbered in 15 bits).
pub const SOCKETS_MAX: usize = 4096;
/// Largest buffer of a socket: half of what a window can express (RFC 7323 section 2.3).
pub const BUFFER_MAX: usize = 1 << 29;
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
            ("tcp.receive_buffer", self.tcp.receive_buffer as u64, 2048, BUFFER_MAX as u64),
            ("tcp.send_buffer", self.tcp.send_buffer as u64, 2048, BUFFER_MAX as u64),
            ("tcp.ack_delay", self.tcp.ack_delay, 0, 500_000_000),
            ("tcp.user_timeout", self.tcp.user_timeout, 1_000_000, u64::MAX),
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
