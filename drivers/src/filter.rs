//! Which frames are ours: one definition, from which the XDP program, the traffic-control shield and
//! the classic socket filter are all made, and against which they are all tested.
//!
//! What is not *plainly* ours goes to the kernel. In detail:
//!
//! | frame | own address | shared address and ports |
//! |---|---|---|
//! | ARP | ours if Ethernet/IPv4 and the target address is ours | kernel's (it answers; our neighbours are configured) |
//! | IPv4 with options | ours | kernel's |
//! | IPv4 fragment | ours (the stack reassembles or drops) | kernel's: only the first carries ports |
//! | TCP, UDP | ours | ours if the destination port is in range |
//! | ICMP | ours | kernel's |
//! | VLAN tag (0x8100, 0x88a8), IPv6, anything else | kernel's | kernel's |
//!
//! A NIC that strips VLAN tags in hardware hides them from XDP: switch `rx-vlan-offload` off where one
//! wire carries our address in two VLANs. AF_PACKET sees stripped tags in metadata and excludes them.

use std::net::Ipv4Addr;

use crate::error::{DriverError, Result};

/// Ethertype of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// Ethertype of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

/// Byte offsets from the start of an Ethernet frame without a VLAN tag.
pub mod offset {
    /// Ethertype.
    pub const ETHERTYPE: usize = 12;
    /// Length of the Ethernet header.
    pub const PAYLOAD: usize = 14;
    /// IPv4 version and header length (RFC 791 3.1).
    pub const IPV4_VERSION_IHL: usize = 14;
    /// IPv4 flags and fragment offset.
    pub const IPV4_FRAGMENT: usize = 20;
    /// IPv4 protocol.
    pub const IPV4_PROTOCOL: usize = 23;
    /// IPv4 destination address.
    pub const IPV4_DESTINATION: usize = 30;
    /// End of an IPv4 header without options.
    pub const IPV4_END: usize = 34;
    /// TCP or UDP destination port after an IPv4 header without options.
    pub const DESTINATION_PORT: usize = 36;
    /// First byte after that port.
    pub const DESTINATION_PORT_END: usize = 38;
    /// ARP hardware and protocol type (RFC 826).
    pub const ARP_TYPES: usize = 14;
    /// ARP target protocol address.
    pub const ARP_TARGET: usize = 38;
    /// End of an Ethernet/IPv4 ARP packet.
    pub const ARP_END: usize = 42;
}

/// IPv4 "more fragments" flag and fragment offset: any bit set means a fragment.
pub const FRAGMENT_MASK: u16 = 0x3fff;
/// ARP for Ethernet (1) and IPv4 (0x0800), as one big-endian word.
pub const ARP_ETHERNET_IPV4: u32 = 0x0001_0800;

/// Which frames the port takes from the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// An IPv4 address of our own, which the kernel does not have: all IPv4 to it, and ARP for it.
    Address(Ipv4Addr),
    /// The kernel's address, of which we own a range of ports: TCP and UDP to those ports.
    /// The range lies outside `ip_local_port_range`, or the kernel would use the same ports.
    Ports {
        /// The shared address.
        address: Ipv4Addr,
        /// First port of ours.
        first: u16,
        /// Last port of ours.
        last: u16,
    },
    /// Every frame: an interface that is given over entirely (or whose address is still to come by
    /// DHCP). The kernel then hears nothing on an AF_XDP queue, not even its own SSH.
    Everything,
}

impl Filter {
    /// Refuses settings that cannot work.
    ///
    /// # Errors
    /// If the address is no unicast address, or the port range is empty or begins at zero.
    pub fn validate(&self) -> Result<()> {
        let (Filter::Address(address) | Filter::Ports { address, .. }) = self else { return Ok(()) };
        if address.is_unspecified() || address.is_multicast() || address.is_broadcast() || address.is_loopback() {
            return Err(DriverError::Config(format!("filter address {address} is no unicast address of a link")));
        }
        if let Filter::Ports { first, last, .. } = self
            && (*first == 0 || first > last)
        {
            return Err(DriverError::Config(format!("filter ports {first}-{last} are an empty range or begin at 0")));
        }
        Ok(())
    }

    /// Refuses a range of ports from which the kernel takes ports for its own connections (see
    /// [`crate::interface::kernel_port_range`]): their segments would be taken from it.
    ///
    /// # Errors
    /// If the ranges overlap.
    pub fn validate_beside_kernel(&self, kernel: (u16, u16)) -> Result<()> {
        match self {
            Filter::Ports { first, last, .. } if *first <= kernel.1 && kernel.0 <= *last => Err(DriverError::Config(format!(
                "filter ports {first}-{last} overlap the kernel's own, {}-{} (net.ipv4.ip_local_port_range): choose a range outside",
                kernel.0, kernel.1
            ))),
            _ => Ok(()),
        }
    }

    /// True if the frame is ours. The reference for all the programs, and usable on any bytes.
    pub fn matches(&self, frame: &[u8]) -> bool {
        match self {
            Filter::Everything => frame.len() >= offset::PAYLOAD,
            Filter::Address(address) => match read_u16(frame, offset::ETHERTYPE) {
                Some(ETHERTYPE_ARP) => {
                    frame.len() >= offset::ARP_END
                        && read_u32(frame, offset::ARP_TYPES) == Some(ARP_ETHERNET_IPV4)
                        && read_u32(frame, offset::ARP_TARGET) == Some(address.to_bits())
                }
                Some(ETHERTYPE_IPV4) => {
                    frame.len() >= offset::IPV4_END
                        && frame.get(offset::IPV4_VERSION_IHL).is_some_and(|byte| byte >> 4 == 4)
                        && read_u32(frame, offset::IPV4_DESTINATION) == Some(address.to_bits())
                }
                _ => false,
            },
            Filter::Ports { address, first, last } => {
                read_u16(frame, offset::ETHERTYPE) == Some(ETHERTYPE_IPV4)
                    && frame.len() >= offset::DESTINATION_PORT_END
                    && frame.get(offset::IPV4_VERSION_IHL) == Some(&0x45)
                    && read_u16(frame, offset::IPV4_FRAGMENT).is_some_and(|bits| bits & FRAGMENT_MASK == 0)
                    && matches!(frame.get(offset::IPV4_PROTOCOL), Some(&(PROTOCOL_TCP | PROTOCOL_UDP)))
                    && read_u32(frame, offset::IPV4_DESTINATION) == Some(address.to_bits())
                    && read_u16(frame, offset::DESTINATION_PORT).is_some_and(|port| (*first..=*last).contains(&port))
            }
        }
    }
}

fn read_u16(frame: &[u8], at: usize) -> Option<u16> {
    frame.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn read_u32(frame: &[u8], at: usize) -> Option<u32> {
    frame.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
pub(crate) mod samples {
    //! Frames with known ownership, shared by the tests of all programs made from a filter.

    use super::*;
    use proptest::prelude::*;

    pub const OURS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
    /// Top bit set in every byte: catches sign extension in the programs.
    pub const OURS_HIGH: Ipv4Addr = Ipv4Addr::new(240, 129, 200, 254);

    /// An Ethernet + IPv4 + ports frame of 60 bytes.
    pub fn ipv4(destination: Ipv4Addr, protocol: u8, port: u16) -> Vec<u8> {
        let mut frame = vec![0_u8; 60];
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
        frame[14] = 0x45;
        frame[23] = protocol;
        frame[30..34].copy_from_slice(&destination.octets());
        frame[36..38].copy_from_slice(&port.to_be_bytes());
        frame
    }

    /// An ARP request for `target`.
    pub fn arp(target: Ipv4Addr) -> Vec<u8> {
        let mut frame = vec![0_u8; 42];
        frame[12..14].copy_from_slice(&ETHERTYPE_ARP.to_be_bytes());
        frame[14..18].copy_from_slice(&ARP_ETHERNET_IPV4.to_be_bytes());
        // Address lengths, and a request.
        frame[18..22].copy_from_slice(&[6, 4, 0, 1]);
        frame[38..42].copy_from_slice(&target.octets());
        frame
    }

    /// Frames near the edge of every rule: plausible headers with a few bytes changed, cut anywhere.
    pub fn near_misses() -> impl Strategy<Value = (Filter, Vec<u8>)> {
        let filters = prop_oneof![
            Just(Filter::Address(OURS)),
            Just(Filter::Address(OURS_HIGH)),
            (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Filter::Ports { address: OURS, first: a.min(b).max(1), last: a.max(b).max(1) }),
            Just(Filter::Everything),
        ];
        let addresses = prop_oneof![Just(OURS), Just(OURS_HIGH), any::<u32>().prop_map(Ipv4Addr::from_bits)];
        let protocols = prop_oneof![Just(PROTOCOL_TCP), Just(PROTOCOL_UDP), any::<u8>()];
        let frames = prop_oneof![
            (addresses.clone(), protocols, any::<u16>()).prop_map(|(address, protocol, port)| ipv4(address, protocol, port)),
            addresses.prop_map(arp),
        ];
        let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
        (filters, frames, edits, 14..61_usize).prop_map(|(filter, mut frame, edits, len)| {
            for (index, value) in edits {
                // Headers only: what follows is never looked at.
                let at = 12 + index.index(26);
                frame[at] = value;
            }
            frame.truncate(len);
            (filter, frame)
        })
    }

    /// (name, filter, frame, ours?)
    pub fn cases() -> Vec<(&'static str, Filter, Vec<u8>, bool)> {
        let own = Filter::Address(OURS);
        let high = Filter::Address(OURS_HIGH);
        let shared = Filter::Ports { address: OURS, first: 20_000, last: 20_999 };
        let other = Ipv4Addr::new(10, 77, 0, 4);
        let with = |mut frame: Vec<u8>, at: usize, value: u8| {
            frame[at] = value;
            frame
        };
        vec![
            ("tcp to our address", own, ipv4(OURS, PROTOCOL_TCP, 1), true),
            ("icmp to our address", own, ipv4(OURS, 1, 0), true),
            ("tcp to our high address", high, ipv4(OURS_HIGH, PROTOCOL_TCP, 1), true),
            ("tcp to another address", own, ipv4(other, PROTOCOL_TCP, 1), false),
            ("options to our address", own, with(ipv4(OURS, PROTOCOL_TCP, 1), 14, 0x46), true),
            ("fragment to our address", own, with(ipv4(OURS, PROTOCOL_TCP, 1), 20, 0x20), true),
            ("version 6 under the ipv4 ethertype", own, with(ipv4(OURS, PROTOCOL_TCP, 1), 14, 0x65), false),
            ("arp for our address", own, arp(OURS), true),
            ("arp for our high address", high, arp(OURS_HIGH), true),
            ("arp for another address", own, arp(other), false),
            ("arp of another hardware type", own, with(arp(OURS), 15, 6), false),
            ("truncated arp", own, arp(OURS)[..41].to_vec(), false),
            ("truncated ipv4", own, ipv4(OURS, PROTOCOL_TCP, 1)[..33].to_vec(), false),
            ("vlan tag", own, with(with(ipv4(OURS, PROTOCOL_TCP, 1), 12, 0x81), 13, 0), false),
            ("ipv6", own, with(with(ipv4(OURS, PROTOCOL_TCP, 1), 12, 0x86), 13, 0xdd), false),
            ("shorter than a header", own, vec![0; 13], false),
            ("tcp in range, first", shared, ipv4(OURS, PROTOCOL_TCP, 20_000), true),
            ("tcp in range, last", shared, ipv4(OURS, PROTOCOL_TCP, 20_999), true),
            ("udp in range", shared, ipv4(OURS, PROTOCOL_UDP, 20_500), true),
            ("tcp below range", shared, ipv4(OURS, PROTOCOL_TCP, 19_999), false),
            ("tcp above range", shared, ipv4(OURS, PROTOCOL_TCP, 21_000), false),
            ("ssh on the shared address", shared, ipv4(OURS, PROTOCOL_TCP, 22), false),
            ("icmp on the shared address", shared, ipv4(OURS, 1, 20_500), false),
            ("arp for the shared address", shared, arp(OURS), false),
            ("other address, port in range", shared, ipv4(other, PROTOCOL_TCP, 20_500), false),
            ("options on the shared address", shared, with(ipv4(OURS, PROTOCOL_TCP, 20_500), 14, 0x46), false),
            ("first fragment on the shared address", shared, with(ipv4(OURS, PROTOCOL_TCP, 20_500), 20, 0x20), false),
            ("later fragment on the shared address", shared, with(ipv4(OURS, PROTOCOL_TCP, 20_500), 21, 0x01), false),
            ("don't-fragment on the shared address", shared, with(ipv4(OURS, PROTOCOL_TCP, 20_500), 20, 0x40), true),
            ("truncated before the port ends", shared, ipv4(OURS, PROTOCOL_TCP, 20_500)[..37].to_vec(), false),
            ("anything", Filter::Everything, vec![0; 14], true),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_filter_takes_only_what_is_plainly_ours() {
        for (name, filter, frame, ours) in samples::cases() {
            assert_eq!(filter.matches(&frame), ours, "{name}");
        }
    }

    #[test]
    fn impossible_filters_are_refused() {
        let address = samples::OURS;
        assert!(Filter::Address(address).validate().is_ok());
        assert!(Filter::Address(Ipv4Addr::UNSPECIFIED).validate().is_err());
        assert!(Filter::Address(Ipv4Addr::new(224, 0, 0, 1)).validate().is_err());
        assert!(Filter::Ports { address, first: 0, last: 9 }.validate().is_err());
        assert!(Filter::Ports { address, first: 10, last: 9 }.validate().is_err());
        assert!(Filter::Ports { address, first: 9, last: 9 }.validate().is_ok());
    }

    #[test]
    fn ports_of_the_kernels_own_connections_are_refused() {
        let kernel = (32_768, 60_999);
        let ports = |first, last| Filter::Ports { address: samples::OURS, first, last };
        for (first, last) in [(32_768, 32_768), (60_999, 61_999), (1, u16::MAX), (20_000, 32_768), (40_000, 41_000)] {
            let refusal = ports(first, last).validate_beside_kernel(kernel).unwrap_err().to_string();
            assert!(refusal.contains(&format!("{first}-{last}")) && refusal.contains("32768-60999"), "{refusal}");
        }
        assert!(ports(20_000, 32_767).validate_beside_kernel(kernel).is_ok());
        assert!(ports(61_000, 61_999).validate_beside_kernel(kernel).is_ok());
        assert!(Filter::Address(samples::OURS).validate_beside_kernel(kernel).is_ok());
    }
}
