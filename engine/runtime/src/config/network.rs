//! From a configuration to the network: the link, the stack, and where and how each venue is reached.

use super::file::{EncodingName, LinkKind, LinkTable, VenueTable};
use super::units::{HostPort, Ratio};
use super::{ConfigError, Document};
use drivers::filter::Filter;
use drivers::select::{Link, LinkConfig};
use drivers::tap::TapConfig;
use engine_core::ids::VenueId;
use netstack::stack::StackConfig;
use netstack::tcp::TcpConfig;
use netstack::tls::{Roots, TlsConfig};
use std::net::{IpAddr, Ipv4Addr};
use venues::venue::{Encoding, Hosts, VenueSettings};

/// Local ports where the address is ours alone and no range is given: the dynamic ports of RFC 6335.
const PORTS_OF_OWN_ADDRESS: (u16, u16) = (49_152, 65_535);
/// Sockets a venue may have at once: two roles, each with a successor during a planned renewal.
const SOCKETS_PER_VENUE: usize = 4;
/// A socket's receive window. What comes in order is read from its frame: the memory is for what does not.
const RECEIVE_BUFFER: usize = 256 << 10;
/// Room for what is sent and not yet acknowledged.
const SEND_BUFFER: usize = 64 << 10;
/// Acknowledgements of market data wait so long: one stands for several, and each saves a system call.
const ACK_DELAY_NS: u64 = 1_000_000;
/// Sent and not acknowledged for so long: the connection is dead.
const USER_TIMEOUT_NS: u64 = 10_000_000_000;
/// A SYN is sent again after this time: longer than any round trip to a venue worth connecting to, and a lost SYN must not
/// cost a second of not trading (RFC 6298 section 2.1 would have it so).
const SYN_TIMEOUT_NS: u64 = 300_000_000;
/// Bounds of `link.rto_floor`. Below them a peer's scheduler would be taken for a loss; above is RFC 6298 section 2.4's own floor.
const RTO_FLOOR_NS: std::ops::RangeInclusive<u64> = 1_000_000..=1_000_000_000;
/// Largest reserve for cancels.
const RESERVE_PERCENT_MAX: i64 = 90;

/// One venue, as the runtime needs it.
#[derive(Clone, Debug)]
pub struct VenueSetup {
    /// Its name.
    pub name: String,
    /// For its codecs; holds the account's keys.
    pub settings: VenueSettings,
    /// The certificate authority that its hosts are checked against, PEM; `None` = the public ones.
    pub ca_pem: Option<Vec<u8>>,
    /// TLS of its WebSocket connections.
    pub tls: TlsConfig,
    /// Connections are renewed after so long at the latest; 0 = by the venue's own limit.
    pub connection_life_max_ns: u64,
}

impl VenueSetup {
    /// Its REST host.
    pub fn rest_host(&self) -> HostPort {
        let (host, port) = &self.settings.hosts.rest;
        HostPort { host: host.clone(), port: *port }
    }
}

/// All venues, in the order of their ids. Reads CA files and key files.
///
/// # Errors
/// With file, line, key and what was expected. No error repeats what a key file holds.
pub fn venues(document: &Document) -> Result<Vec<VenueSetup>, ConfigError> {
    document.file.venues.iter().enumerate().map(|(index, table)| venue(document, index, table)).collect()
}

fn venue(document: &Document, index: usize, table: &VenueTable) -> Result<VenueSetup, ConfigError> {
    let name = table.name.get_ref().as_str();
    let error = |key: &str, message: String| document.error_at_key(&["venue", name, key], message);
    let Some(hosts) = venues::any::default_hosts(name) else {
        return Err(error("name", format!("unknown venue \"{name}\"; expected binance or kraken")));
    };
    let encoding = match table.encoding {
        EncodingName::Json => Encoding::Json,
        // The codec knows the production host of these streams.
        EncodingName::Sbe if name == "binance" => Encoding::Sbe,
        EncodingName::Sbe => return Err(error("encoding", format!("{name} has no SBE streams; expected \"json\""))),
    };
    let hosts = Hosts {
        rest: host(&table.rest, hosts.rest),
        market_data: host(&table.market_data, hosts.market_data),
        order_entry: host(&table.order_entry, hosts.order_entry),
    };
    let credentials = match &table.credentials {
        None => None,
        Some(path) => Some(crate::credentials::read(path).map_err(|e| error("credentials", e.to_string()))?),
    };
    if encoding == Encoding::Sbe && credentials.as_ref().is_none_or(|c| c.ed25519_seed.is_none()) {
        let message = "needs an account with an Ed25519 key; expected credentials with ed25519_seed, or \"json\"";
        return Err(error("encoding", message.to_owned()));
    }
    let ca_pem = match &table.ca_file {
        None => None,
        Some(path) => Some(std::fs::read(path).map_err(|e| error("ca_file", format!("{}: {e}", path.display())))?),
    };
    let roots = ca_pem.as_deref().map_or(Roots::Public, Roots::Pem);
    let tls = TlsConfig::new(roots).map_err(|e| error("ca_file", format!("expected certificates in PEM: {e}")))?;
    let id = VenueId(u8::try_from(index).map_err(|_| document.error("venue: at most 255 venues"))?);
    Ok(VenueSetup {
        name: name.to_owned(),
        settings: VenueSettings {
            id,
            hosts,
            credentials,
            encoding,
            dead_man_s: whole_seconds(document, name, table)?,
            cancel_reserve_percent: reserve(document, name, table.cancel_reserve)?,
            request_window_ms: window(document, name, table)?,
        },
        ca_pem,
        tls,
        connection_life_max_ns: table.connection_life_max.0,
    })
}

fn host(given: &Option<HostPort>, default: (String, u16)) -> (String, u16) {
    given.as_ref().map_or(default, |h| (h.host.clone(), h.port))
}

fn whole_seconds(document: &Document, venue: &str, table: &VenueTable) -> Result<u32, ConfigError> {
    let ns = table.dead_man.0;
    match u32::try_from(ns / 1_000_000_000) {
        Ok(seconds) if ns.is_multiple_of(1_000_000_000) && seconds <= 86_400 => Ok(seconds),
        _ => {
            Err(document.error_at_key(&["venue", venue, "dead_man"], "expected whole seconds up to 24h, like \"60s\", or \"0s\" for none"))
        }
    }
}

fn reserve(document: &Document, venue: &str, ratio: Ratio) -> Result<u8, ConfigError> {
    let percent = ratio.0 / 10_000;
    if ratio.0 % 10_000 != 0 || !(0..=RESERVE_PERCENT_MAX).contains(&percent) {
        let message = "expected whole per cent from 0 to 90, like \"20 %\"";
        return Err(document.error_at_key(&["venue", venue, "cancel_reserve"], message));
    }
    Ok(percent as u8)
}

fn window(document: &Document, venue: &str, table: &VenueTable) -> Result<u32, ConfigError> {
    let ns = table.request_window.0;
    if !ns.is_multiple_of(1_000_000) || ns > 60_000_000_000 {
        let message = "expected whole milliseconds up to 60s, like \"2s\", or \"0s\" for the venue's usual value";
        return Err(document.error_at_key(&["venue", venue, "request_window"], message));
    }
    Ok((ns / 1_000_000) as u32)
}

/// Names that need no name server, for the cold plane's own connections.
pub fn pinned_hosts(document: &Document) -> Vec<(String, IpAddr)> {
    document.file.dns.hosts.iter().map(|(name, address)| (name.clone(), IpAddr::V4(*address))).collect()
}

/// The link to open.
///
/// # Errors
/// With file, line, key and what was expected.
pub fn link(document: &Document) -> Result<LinkConfig, ConfigError> {
    let table = &document.file.link;
    let error = |key: &str, message: &str| document.error_at_key(&["link", key], message);
    let link = match table.kind {
        LinkKind::Auto => Link::Auto,
        LinkKind::AfXdp => Link::AfXdp,
        LinkKind::AfPacket => Link::AfPacket,
        LinkKind::Memory => Link::Memory,
    };
    if link != Link::Memory && table.interface.is_empty() {
        return Err(error("interface", "is missing; expected the name of a network interface, like \"eth1\""));
    }
    let filter = match (table.address, table.shared_address, table.ports) {
        (None, true, _) => return Err(error("address", "is missing; expected the address shared with the kernel, like \"10.0.0.5/24\"")),
        (Some(_), true, None) => {
            let message =
                "is missing; a shared address needs a range of its own, outside net.ipv4.ip_local_port_range, like \"61000-61999\"";
            return Err(error("ports", message));
        }
        (None, false, _) => Filter::Everything,
        (Some(network), false, _) => Filter::Address(network.address),
        (Some(network), true, Some(ports)) => Filter::Ports { address: network.address, first: ports.first, last: ports.last },
    };
    filter.validate().map_err(|e| error("address", &e.to_string()))?;
    Ok(LinkConfig { queue: table.queue, ..LinkConfig::new(link, table.interface.as_str(), filter) })
}

/// The recorder to put around the link, if one is asked for.
pub fn capture(document: &Document) -> Option<TapConfig> {
    document.file.link.capture.as_ref().map(TapConfig::new)
}

/// The stack on that link. `seed` is for ports and sequence numbers.
///
/// # Errors
/// With file, line, key and what was expected.
pub fn stack(document: &Document, seed: u64) -> Result<StackConfig, ConfigError> {
    let link = &document.file.link;
    let dns = &document.file.dns;
    let sockets = document.file.venues.len() * SOCKETS_PER_VENUE;
    let ports = link.ports.map_or(PORTS_OF_OWN_ADDRESS, |r| (r.first, r.last));
    if usize::from(ports.1 - ports.0) + 1 < 4 * sockets {
        let message = format!("are too few; expected at least {} ports, like \"61000-61999\"", 4 * sockets);
        return Err(document.error_at_key(&["link", "ports"], message));
    }
    if let (Some(network), Some(gateway)) = (link.address, link.gateway)
        && !same_network(network.address, gateway, network.prefix_len)
    {
        let message =
            format!("{gateway} is not in the network of link.address; expected a neighbour of {}/{}", network.address, network.prefix_len);
        return Err(document.error_at_key(&["link", "gateway"], message));
    }
    if let Some(gateway) = link.gateway.filter(|g| link.shared_address && !link.neighbours.contains_key(g)) {
        let message = format!("lacks {gateway}; on a shared address the kernel hears the answers to ARP: expected the gateway's MAC here");
        return Err(document.error_at_key(&["link", "neighbours"], message));
    }
    if !RTO_FLOOR_NS.contains(&link.rto_floor.0) {
        return Err(document.error_at_key(&["link", "rto_floor"], "expected 1ms to 1s, like \"5ms\""));
    }
    // On the in-process link the program itself says where the venues are.
    if link.address.is_some() && dns.servers.is_empty() && link.kind != LinkKind::Memory {
        require_pinned(document)?;
    }
    Ok(StackConfig {
        address: link.address.map(|n| (n.address, n.prefix_len)),
        gateway: link.gateway,
        neighbours: neighbours(document, link)?,
        ports,
        dns_servers: dns.servers.clone(),
        hosts: dns.hosts.iter().map(|(name, address)| (name.clone(), *address)).collect(),
        sockets_max: sockets,
        tcp: TcpConfig {
            receive_buffer: RECEIVE_BUFFER,
            send_buffer: SEND_BUFFER,
            user_timeout: USER_TIMEOUT_NS,
            ack_delay: ACK_DELAY_NS,
            rto_initial: SYN_TIMEOUT_NS,
            rto_floor: link.rto_floor.0,
            ..TcpConfig::default()
        },
        seed,
    })
}

fn same_network(a: Ipv4Addr, b: Ipv4Addr, prefix_len: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0);
    a.to_bits() & mask == b.to_bits() & mask
}

/// Without a name server (and without DHCP, which may name one) every WebSocket host must be pinned.
fn require_pinned(document: &Document) -> Result<(), ConfigError> {
    for table in &document.file.venues {
        let name = table.name.get_ref();
        let Some(default) = venues::any::default_hosts(name).filter(|_| table.encoding == EncodingName::Json) else { continue };
        for (host, _) in [host(&table.market_data, default.market_data), host(&table.order_entry, default.order_entry)] {
            if !document.file.dns.hosts.contains_key(&host) && host.parse::<Ipv4Addr>().is_err() {
                let message = format!("no way to find {host} of {name}; expected dns.servers, or its address in [dns.hosts]");
                return Err(document.error_at_key(&["dns"], message));
            }
        }
    }
    Ok(())
}

fn neighbours(document: &Document, link: &LinkTable) -> Result<Vec<(Ipv4Addr, [u8; 6])>, ConfigError> {
    let parse = |address: &Ipv4Addr, text: &String| {
        parse_mac(text).map(|mac| (*address, mac)).ok_or_else(|| {
            let message = format!("\"{text}\" is not the address of a neighbour; expected six bytes like \"aa:bb:cc:dd:ee:ff\"");
            document.error_at_key(&["link", "neighbours", &address.to_string()], message)
        })
    };
    link.neighbours.iter().map(|(address, text)| parse(address, text)).collect()
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0u8; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    // A group address is nobody's.
    (parts.next().is_none() && mac[0] & 1 == 0).then_some(mac)
}
