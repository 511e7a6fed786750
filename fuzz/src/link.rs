//! A stack with a scripted host at the far end of a link in memory, and frames by hand.

use drivers::memory::{MemoryConfig, MemoryPort, pair};
use drivers::port::{Burst, Port};
use netstack::stack::{Stack, StackConfig};
use netstack::tcp::TcpConfig;
use smoltcp::wire::{Icmpv4Packet, IpAddress, Ipv4Packet, TcpControl, TcpPacket, UdpPacket};
use std::net::Ipv4Addr;

/// The stack's address, the host's, and a name server's.
pub const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The host's address.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The name server's address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);
/// Hardware addresses: the link's defaults.
pub const OUR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
/// The host's.
pub const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];
/// The host's port.
pub const PORT: u16 = 443;

/// A stack's settings, small.
pub fn config() -> StackConfig {
    StackConfig {
        address: Some((US, 24)),
        gateway: Some(PEER),
        neighbours: vec![(PEER, PEER_MAC), (SERVER, PEER_MAC)],
        dns_servers: vec![SERVER],
        sockets_max: 4,
        tcp: TcpConfig { receive_buffer: 4096, send_buffer: 4096, ..TcpConfig::default() },
        seed: 7,
        ..StackConfig::default()
    }
}

/// The stack, its port's other end, and the time.
pub struct World {
    /// The stack.
    pub stack: Stack<MemoryPort>,
    far: MemoryPort,
    /// Now.
    pub now_ns: u64,
    /// Frames sent to the stack.
    pub told: u64,
}

impl World {
    /// Nothing has happened yet.
    pub fn new(config: &StackConfig) -> World {
        let link = MemoryConfig { chunks: 64, ..MemoryConfig::default() };
        let (near, far) = pair(&link).expect("a link");
        World { stack: Stack::new(near, config, 0).expect("a stack"), far, now_ns: 0, told: 0 }
    }

    /// One pass of the engine's loop; what came out.
    pub fn pass(&mut self) -> Vec<Vec<u8>> {
        let now_ns = self.now_ns;
        while self.stack.receive(now_ns) > 0 {
            while self.stack.ingress_next(now_ns).is_some() {
                self.stack.transmit(now_ns);
                self.stack.flush(now_ns).expect("memory links do not fail");
            }
        }
        self.stack.maintain(now_ns);
        self.stack.transmit(now_ns);
        self.stack.flush(now_ns).expect("memory links do not fail");
        let (mut burst, mut frames) = (Burst::new(), Vec::new());
        while self.far.receive(now_ns, &mut burst) > 0 {
            frames.extend(burst.frames().iter().map(|&frame| self.far.frame(frame).to_vec()));
            self.far.recycle(&mut burst);
        }
        frames
    }

    /// Sends a frame to the stack; what it answered.
    pub fn tell(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let frame = self.far.allocate().expect("a free chunk");
        let bytes = &bytes[..bytes.len().min(1514)];
        self.far.buffer(&frame)[..bytes.len()].copy_from_slice(bytes);
        self.far.commit(frame, bytes.len());
        self.far.flush(self.now_ns).expect("memory links do not fail");
        self.told += 1;
        self.pass()
    }
}

/// An Ethernet frame from the host.
pub fn ethernet(ethertype: u16, destination: [u8; 6], payload: &[u8]) -> Vec<u8> {
    [&destination[..], &PEER_MAC, &ethertype.to_be_bytes(), payload].concat()
}

/// An IPv4 frame, its checksum still to be filled in.
pub fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut header = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let mac = if destination.is_broadcast() { [0xff; 6] } else { OUR_MAC };
    ethernet(0x0800, mac, &[&header, payload].concat())
}

/// A UDP datagram, its checksum still to be filled in.
pub fn udp(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let words = [source.1, destination.1, length, 0].map(u16::to_be_bytes).concat();
    ipv4(source.0, destination.0, 17, &[&words[..], payload].concat())
}

/// What a segment says beside its ports and payload.
#[derive(Clone, Copy, Default)]
pub struct Segment<'a> {
    /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32.
    pub flags: u8,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Window.
    pub window: u16,
    /// Options; padded.
    pub options: &'a [u8],
}

/// A segment from the host to a port of ours, its checksums still to be filled in.
pub fn tcp(to_port: u16, segment: &Segment<'_>, payload: &[u8]) -> Vec<u8> {
    let options = &segment.options[..segment.options.len().min(40)];
    let header_len = 20 + options.len().next_multiple_of(4);
    let mut bytes = [&PORT.to_be_bytes()[..], &to_port.to_be_bytes()].concat();
    bytes.extend(segment.sequence.to_be_bytes());
    bytes.extend(segment.acknowledgement.to_be_bytes());
    bytes.extend([(header_len as u8 / 4) << 4, segment.flags]);
    bytes.extend(segment.window.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(options);
    bytes.resize(header_len, 0);
    bytes.extend(payload);
    ipv4(PEER, US, 6, &bytes)
}

/// Makes all checksums right, so that what lies behind them sees the rest.
pub fn repair(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(14..).filter(|packet| packet.len() >= 20) else { return };
    let header_len = usize::from(packet[0] & 0x0f) * 4;
    if header_len < 20 || header_len > packet.len() {
        return;
    }
    Ipv4Packet::new_unchecked(&mut *packet).fill_checksum();
    let total_len = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let address = |at: usize| IpAddress::Ipv4(Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]));
    let (source, destination, protocol) = (address(12), address(16), packet[9]);
    let Some(payload) = packet.get_mut(header_len..total_len) else { return };
    match protocol {
        6 if payload.len() >= 20 => TcpPacket::new_unchecked(payload).fill_checksum(&source, &destination),
        17 if payload.len() >= 8 && usize::from(u16::from_be_bytes([payload[4], payload[5]])) == payload.len() => {
            UdpPacket::new_unchecked(payload).fill_checksum(&source, &destination);
        }
        1 if payload.len() >= 8 => Icmpv4Packet::new_unchecked(payload).fill_checksum(),
        _ => {}
    }
}

/// A segment of ours: port, control, sequence, acknowledgement, payload length.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Our port.
    pub port: u16,
    /// SYN, FIN, RST or none.
    pub control: TcpControl,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Sequence numbers that it takes up.
    pub len: u32,
}

/// The payload of an IPv4 frame of ours of this protocol; whatever we send is sound.
fn of_protocol(frame: &[u8], protocol: u8) -> Option<(IpAddress, IpAddress, &[u8])> {
    if frame.get(12..14)? != [8, 0] {
        return None;
    }
    let packet = Ipv4Packet::new_checked(frame.get(14..)?).expect("we send sound packets");
    assert!(packet.verify_checksum());
    let (from, to) = (IpAddress::Ipv4(packet.src_addr()), IpAddress::Ipv4(packet.dst_addr()));
    (u8::from(packet.next_header()) == protocol).then(|| (from, to, packet.payload()))
}

/// The segment in a frame of ours.
pub fn read_tcp(frame: &[u8]) -> Option<Seen> {
    let (from, to, payload) = of_protocol(frame, 6)?;
    let packet = TcpPacket::new_checked(payload).expect("we send sound segments");
    assert!(packet.verify_checksum(&from, &to));
    let control = match (packet.syn(), packet.fin(), packet.rst()) {
        (true, ..) => TcpControl::Syn,
        (_, true, _) => TcpControl::Fin,
        (.., true) => TcpControl::Rst,
        _ => TcpControl::None,
    };
    let acknowledgement = if packet.ack() { packet.ack_number().0 as u32 } else { 0 };
    let len = packet.segment_len() as u32;
    Some(Seen { port: packet.src_port(), control, sequence: packet.seq_number().0 as u32, acknowledgement, len })
}

/// The datagram in a frame of ours: our port, theirs, the payload.
pub fn read_udp(frame: &[u8]) -> Option<(u16, u16, Vec<u8>)> {
    let (from, to, payload) = of_protocol(frame, 17)?;
    let packet = UdpPacket::new_checked(payload).expect("we send sound datagrams");
    assert!(packet.verify_checksum(&from, &to));
    Some((packet.src_port(), packet.dst_port(), packet.payload().to_vec()))
}
