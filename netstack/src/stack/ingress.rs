//! One received frame: whose is it, is it sound, and what becomes of it. Every way out is counted.

use std::net::{Ipv4Addr, SocketAddrV4};

use drivers::port::{Port, RxFrame};
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, Icmpv4Packet, IpAddress, UdpPacket};

use super::config::is_interface_address;
use super::dhcp;
use super::neighbours::Learnt;
use super::ports::Owner;
use super::slot::Life;
use super::socket::{Around, Arrival, TcpSocket};
use super::wire::{self, ETHERNET_HEADER, PROTOCOL_TCP, Reset, Segment, ethernet_header};
use super::{Stack, checksum};
use crate::transport::{CloseReason, SocketId, SocketState};

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_UDP: u8 = 17;
const ICMP_HEADER: usize = 8;
const ICMP_ECHO_REPLY: u8 = 0;
const ICMP_UNREACHABLE: u8 = 3;
const ICMP_ECHO_REQUEST: u8 = 8;
const CODE_FRAGMENTATION_NEEDED: u8 = 4;

/// What an IPv4 header says.
#[derive(Clone, Copy)]
struct Ipv4 {
    header_len: usize,
    total_len: usize,
    protocol: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
}

/// Why a frame goes no further.
#[derive(Clone, Copy)]
enum Drop {
    Truncated,
    BadChecksum,
    Malformed,
    Fragment,
    NotOurs,
    UnknownEthertype,
    UnknownProtocol,
}

/// Reads and verifies the IPv4 header of `packet`.
#[inline]
fn read_ipv4(packet: &[u8]) -> Result<Ipv4, Drop> {
    let header: &[u8; wire::IPV4_HEADER] = packet.first_chunk().ok_or(Drop::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_len < wire::IPV4_HEADER || total_len < header_len {
        return Err(Drop::Malformed);
    }
    if total_len > packet.len() {
        return Err(Drop::Truncated);
    }
    // Options are rare.
    let sum = if header_len == wire::IPV4_HEADER { checksum::sum(header) } else { checksum::sum(&packet[..header_len]) };
    if !checksum::is_right(sum) {
        return Err(Drop::BadChecksum);
    }
    // More fragments, or an offset.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        return Err(Drop::Fragment);
    }
    Ok(Ipv4 {
        header_len,
        total_len,
        protocol: header[9],
        source: Ipv4Addr::new(header[12], header[13], header[14], header[15]),
        destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]),
    })
}

#[inline]
fn tcp_checksum_is_right(packet: &[u8], header_len: usize) -> bool {
    let Some(addresses) = packet.get(12..).and_then(|rest| rest.first_chunk::<8>()) else { return false };
    let tcp = &packet[header_len..];
    checksum::is_right(checksum::pseudo_header(addresses, PROTOCOL_TCP, tcp.len() as u16) + checksum::sum(tcp))
}

impl<P: Port, T: TcpSocket> Stack<P, T> {
    /// Deals with one frame; returns the socket that it concerned.
    #[inline]
    pub(super) fn ingress(&mut self, frame: RxFrame) -> Option<SocketId> {
        let bytes = self.port.frame(frame);
        let Some(header) = bytes.first_chunk::<ETHERNET_HEADER>() else { return self.discard(Drop::Truncated) };
        let to_us = header[..6] == self.host.mac;
        let to_all = header[..6] == wire::BROADCAST;
        if !to_us && !to_all {
            return self.discard(Drop::NotOurs);
        }
        match [header[12], header[13]] {
            ETHERTYPE_IPV4 => {}
            ETHERTYPE_ARP => {
                self.ingress_arp(frame);
                return None;
            }
            _ => return self.discard(Drop::UnknownEthertype),
        }
        let ip = match read_ipv4(&bytes[ETHERNET_HEADER..]) {
            Ok(ip) => ip,
            Err(why) => return self.discard(why),
        };
        let address = self.host.address.map(|(address, _)| address);
        if Some(ip.destination) != address {
            if ip.protocol != PROTOCOL_UDP || self.dhcp.is_none() {
                return self.discard(Drop::NotOurs);
            }
            self.ingress_udp(frame, ip);
            return None;
        }
        if !to_us || !is_interface_address(ip.source) || ip.source == ip.destination {
            return self.discard(Drop::Malformed);
        }
        match ip.protocol {
            PROTOCOL_TCP => self.ingress_tcp(frame, ip),
            PROTOCOL_UDP => {
                self.ingress_udp(frame, ip);
                None
            }
            PROTOCOL_ICMP => self.ingress_icmp(frame, ip),
            _ => self.discard(Drop::UnknownProtocol),
        }
    }

    /// Counts a frame that goes no further.
    #[cold]
    fn discard(&mut self, why: Drop) -> Option<SocketId> {
        let statistics = &mut self.statistics;
        *match why {
            Drop::Truncated => &mut statistics.truncated,
            Drop::BadChecksum => &mut statistics.bad_checksum,
            Drop::Malformed => &mut statistics.malformed,
            Drop::Fragment => &mut statistics.fragments,
            Drop::NotOurs => &mut statistics.not_ours,
            Drop::UnknownEthertype => &mut statistics.unknown_ethertype,
            Drop::UnknownProtocol => &mut statistics.unknown_protocol,
        } += 1;
        None
    }

    #[inline(always)]
    fn ingress_tcp(&mut self, frame: RxFrame, ip: Ipv4) -> Option<SocketId> {
        let bytes = self.port.frame(frame);
        let packet = &bytes[ETHERNET_HEADER..][..ip.total_len];
        let tcp = &packet[ip.header_len..];
        let Some(header) = tcp.first_chunk::<{ wire::TCP_HEADER }>() else { return self.discard(Drop::Truncated) };
        let header_len = usize::from(header[12] >> 4) * 4;
        if header_len < wire::TCP_HEADER || header_len > tcp.len() {
            return self.discard(Drop::Malformed);
        }
        if !tcp_checksum_is_right(packet, ip.header_len) {
            return self.discard(Drop::BadChecksum);
        }
        let peer = SocketAddrV4::new(ip.source, u16::from_be_bytes([header[0], header[1]]));
        let index = match self.ports.owner(u16::from_be_bytes([header[2], header[3]])) {
            Some(Owner::Slot(index)) if self.slots[index].remote == peer && !self.slots[index].tcp.is_over() => index,
            _ => {
                self.refuse(frame, ip);
                return None;
            }
        };
        let tcp_at = ETHERNET_HEADER + ip.header_len;
        let arrival = Arrival { frame, tcp_at, end: ETHERNET_HEADER + ip.total_len };
        let around = Around {
            statistics: &mut self.statistics,
            #[cfg(feature = "smoltcp-tcp")]
            outbox: &mut self.outbox,
            #[cfg(feature = "smoltcp-tcp")]
            answers: &mut self.reset_limit,
            now_ns: self.now_ns,
        };
        let slot = &mut self.slots[index];
        if !slot.tcp.ingress(&mut self.port, &arrival, around) {
            return None;
        }
        self.reading = index;
        self.fed.set(index);
        (slot.life == Life::Held).then(|| self.id(index))
    }

    /// A segment that belongs to no socket.
    #[cold]
    fn refuse(&mut self, frame: RxFrame, ip: Ipv4) {
        self.statistics.no_socket += 1;
        let bytes = self.port.frame(frame);
        let source_mac: [u8; 6] = [bytes[6], bytes[7], bytes[8], bytes[9], bytes[10], bytes[11]];
        let segment = Segment::parse(&bytes[ETHERNET_HEADER..][ip.header_len..ip.total_len]);
        if let Some(reset) = segment.and_then(|segment| Reset::answer(&segment, ip.source, ip.destination)) {
            self.send_reset(reset, source_mac);
        }
    }

    #[cold]
    fn send_reset(&mut self, reset: Reset, to: [u8; 6]) {
        if !self.reset_limit.allow(self.now_ns) {
            self.statistics.replies_limited += 1;
            return;
        }
        let header = ethernet_header(to, self.host.mac);
        if self.outbox.push(|out| reset.emit(out, &header)) {
            self.statistics.resets_sent += 1;
        } else {
            self.statistics.replies_dropped += 1;
        }
    }

    #[cold]
    #[inline(never)]
    fn ingress_udp(&mut self, frame: RxFrame, ip: Ipv4) {
        let bytes = self.port.frame(frame);
        let source_mac: [u8; 6] = [bytes[6], bytes[7], bytes[8], bytes[9], bytes[10], bytes[11]];
        let udp = &bytes[ETHERNET_HEADER..][ip.header_len..ip.total_len];
        let Ok(datagram) = UdpPacket::new_checked(udp) else {
            self.statistics.truncated += 1;
            return;
        };
        if !datagram.verify_checksum(&IpAddress::Ipv4(ip.source), &IpAddress::Ipv4(ip.destination)) {
            self.statistics.bad_checksum += 1;
            return;
        }
        let source = SocketAddrV4::new(ip.source, datagram.src_port());
        let expected = if datagram.dst_port() == dhcp::CLIENT_PORT
            && let Some(client) = &mut self.dhcp
        {
            source.port() == dhcp::SERVER_PORT && client.receive(datagram.payload(), source_mac, self.now_ns)
        } else {
            match self.ports.owner(datagram.dst_port()) {
                Some(Owner::Question(question)) if self.host.address.is_some_and(|(address, _)| address == ip.destination) => {
                    self.resolver.receive(question, source, datagram.payload(), self.now_ns)
                }
                _ => {
                    self.statistics.no_port += 1;
                    return;
                }
            }
        };
        if expected {
            self.statistics.udp_datagrams += 1;
            self.next_maintain_ns = 0;
        } else {
            self.statistics.unexpected_datagrams += 1;
        }
    }

    #[cold]
    #[inline(never)]
    fn ingress_icmp(&mut self, frame: RxFrame, ip: Ipv4) -> Option<SocketId> {
        let bytes = self.port.frame(frame);
        let message = &bytes[ETHERNET_HEADER..][ip.header_len..ip.total_len];
        if message.len() < ICMP_HEADER {
            self.statistics.truncated += 1;
            return None;
        }
        if !Icmpv4Packet::new_unchecked(message).verify_checksum() {
            self.statistics.bad_checksum += 1;
            return None;
        }
        match message[0] {
            ICMP_ECHO_REQUEST => {
                self.statistics.icmp_messages += 1;
                self.echo(frame, ip);
                None
            }
            ICMP_UNREACHABLE => {
                let (code, mtu) = (message[1], usize::from(u16::from_be_bytes([message[6], message[7]])));
                let mut quote = [0; wire::IPV4_HEADER + 40 + 8];
                let quoted = &message[ICMP_HEADER..];
                let len = quoted.len().min(quote.len());
                quote[..len].copy_from_slice(&quoted[..len]);
                match self.quoted_socket(&quote[..len]) {
                    Some(index) => {
                        self.statistics.icmp_messages += 1;
                        self.unreachable(index, code, mtu)
                    }
                    None => {
                        self.statistics.ignored_icmp += 1;
                        None
                    }
                }
            }
            _ => {
                self.statistics.ignored_icmp += 1;
                None
            }
        }
    }

    /// The socket whose segment an ICMP message quotes, if it is really under way (RFC 5927 section 4.1).
    fn quoted_socket(&self, quote: &[u8]) -> Option<usize> {
        let header: &[u8; wire::IPV4_HEADER] = quote.first_chunk()?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let tcp: &[u8; 8] = quote.get(header_len..)?.first_chunk()?;
        let u16_at = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let Some(Owner::Slot(index)) = self.ports.owner(u16_at(0)) else { return None };
        let slot = &self.slots[index];
        let remote = SocketAddrV4::new(Ipv4Addr::new(header[16], header[17], header[18], header[19]), u16_at(2));
        let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        (header[9] == PROTOCOL_TCP && slot.remote == remote && slot.tcp.has_sent(sequence)).then_some(index)
    }

    fn unreachable(&mut self, index: usize, code: u8, mtu: usize) -> Option<SocketId> {
        let slot = &mut self.slots[index];
        if code == CODE_FRAGMENTATION_NEEDED {
            // RFC 1191 section 3; a router from before it says nothing of the size (section 5). What is lost comes again, smaller.
            let mtu = if mtu == 0 { super::config::MTU_MIN } else { mtu.max(super::config::MTU_MIN) };
            if slot.tcp.narrow(mtu, self.random.next(), self.now_ns) {
                self.statistics.path_mtu_reductions += 1;
                self.written.set(index);
            }
            return None;
        }
        // On an open connection it may pass (RFC 1122 section 4.2.3.9): the user time-out decides.
        if slot.tcp.state() == SocketState::Connecting {
            slot.tcp.abort(CloseReason::Unreachable);
            self.written.set(index);
            return (slot.life == Life::Held).then(|| self.id(index));
        }
        None
    }

    /// Answers a ping.
    fn echo(&mut self, frame: RxFrame, ip: Ipv4) {
        if !self.echo_limit.allow(self.now_ns) {
            self.statistics.replies_limited += 1;
            return;
        }
        let bytes = self.port.frame(frame);
        let from: [u8; 6] = [bytes[6], bytes[7], bytes[8], bytes[9], bytes[10], bytes[11]];
        let message = &bytes[ETHERNET_HEADER..][ip.header_len..ip.total_len];
        let header = ethernet_header(from, self.host.mac);
        let protocol = smoltcp::wire::IpProtocol::Icmp;
        let Some(begin) = wire::ipv4(&mut self.scratch, &header, ip.destination, ip.source, protocol, message.len()) else { return };
        let end = begin + message.len();
        let answer = &mut self.scratch[begin..end];
        answer.copy_from_slice(message);
        answer[0] = ICMP_ECHO_REPLY;
        Icmpv4Packet::new_unchecked(&mut *answer).fill_checksum();
        if !self.send_scratch(end) {
            self.statistics.replies_dropped += 1;
        }
    }

    #[cold]
    #[inline(never)]
    fn ingress_arp(&mut self, frame: RxFrame) {
        let bytes = self.port.frame(frame);
        let Ok(packet) = ArpPacket::new_checked(&bytes[ETHERNET_HEADER..]) else {
            self.statistics.truncated += 1;
            return;
        };
        let Ok(ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, target_protocol_addr, .. }) =
            ArpRepr::parse(&packet)
        else {
            self.statistics.malformed += 1;
            return;
        };
        let source_mac = source_hardware_addr.0;
        let Some((address, prefix)) = self.host.address else {
            self.statistics.ignored_arp += 1;
            return;
        };
        if !source_hardware_addr.is_unicast() || source_mac == [0; 6] {
            self.statistics.malformed += 1;
            return;
        }
        if source_protocol_addr == address {
            // Our own announcement, come back, or somebody who has our address.
            if source_mac == self.host.mac {
                self.statistics.ignored_arp += 1;
            } else {
                self.statistics.address_conflicts += 1;
                self.statistics.arp_packets += 1;
            }
            return;
        }
        // What anybody says about a neighbour of ours is news, also an announcement (RFC 5227 section 1.1).
        let learnt = if is_interface_address(source_protocol_addr) && super::config::in_network(source_protocol_addr, address, prefix) {
            self.neighbours.learn(source_protocol_addr, source_mac, self.now_ns)
        } else {
            Learnt::Nothing
        };
        if let Learnt::New { moved } = learnt {
            self.statistics.neighbour_changes += u64::from(moved);
            self.neighbour_found(source_protocol_addr, source_mac);
        }
        let asks_us = operation == ArpOperation::Request && target_protocol_addr == address;
        if asks_us {
            let (us, asker) = ((self.host.mac, address), (source_mac, source_protocol_addr));
            let queued = self.outbox.push(|out| wire::arp(out, ArpOperation::Reply, us, asker, source_mac));
            self.statistics.replies_dropped += u64::from(!queued);
        }
        if asks_us || learnt != Learnt::Nothing {
            self.statistics.arp_packets += 1;
        } else {
            self.statistics.ignored_arp += 1;
        }
    }
}
