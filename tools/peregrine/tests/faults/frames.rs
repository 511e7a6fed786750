//! Frames by hand, put on the wire at the venues' end, and a look at what the engine sends.

use drivers::af_packet::{AfPacket, AfPacketConfig};
use drivers::filter::Filter;
use drivers::interface::Interface;
use drivers::port::{Burst, Port};
use drivers::testbed::{ENGINE_ADDRESS, Testbed};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr,
    TcpControl, TcpOption, TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr, UdpPacket, UdpRepr,
};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Splitmix64: the same frames in each run.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll() as u8).collect()
    }
}

/// One of the engine's connections, as the wire shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The engine's port.
    pub engine_port: u16,
    /// The venue's port.
    pub venue_port: u16,
    /// What the engine expects next.
    pub next: u32,
    /// What the engine will send next.
    pub acknowledge: u32,
    /// The timestamps that a segment of the venue's would carry now (RFC 7323).
    pub stamps: Option<(u32, u32)>,
}

/// A raw socket at the venues' end of the wire.
pub struct Intruder {
    port: AfPacket,
    pub venue: Ipv4Addr,
    pub venue_mac: [u8; 6],
    pub engine_mac: [u8; 6],
}

impl Intruder {
    /// On the venues' interface; hears everything that the engine sends, and leaves it to the kernel too.
    pub fn enter(bed: &Testbed) -> Intruder {
        let open = || AfPacket::open(&AfPacketConfig::new(bed.right_interface(), Filter::Everything));
        let port = bed.right().run(open).expect("the namespace is there").expect("a raw socket");
        let engine = bed.left().run(|| Interface::open(bed.left_interface())).expect("the namespace is there").expect("an interface");
        let venue = bed.config().right.expect("the venues have an address");
        let venue_mac = port.info().mac;
        Intruder { port, venue, venue_mac, engine_mac: engine.mac }
    }

    /// Puts frames on the wire.
    pub fn send(&mut self, frames: &[Vec<u8>]) {
        for bytes in frames {
            let started = Instant::now();
            let frame = loop {
                if let Some(frame) = self.port.allocate() {
                    break frame;
                }
                assert!(started.elapsed() < Duration::from_secs(5), "the wire takes no frames");
                self.port.flush(0).expect("the interface is there");
            };
            let len = bytes.len().min(frame.capacity as usize);
            self.port.buffer(&frame)[..len].copy_from_slice(&bytes[..len]);
            self.port.commit(frame, len);
            self.port.flush(0).expect("the interface is there");
        }
    }

    /// The newest state of the engine's connections to these ports, one for each port.
    pub fn connections(&mut self, venue_ports: &[u16]) -> Vec<Connection> {
        let mut found: Vec<Connection> = Vec::new();
        let mut burst = Burst::new();
        let started = Instant::now();
        // What waits in the ring is old: only what comes after it counts.
        while self.port.receive(0, &mut burst) > 0 {
            self.port.recycle(&mut burst);
        }
        while found.len() < venue_ports.len() || started.elapsed() < Duration::from_millis(200) {
            assert!(started.elapsed() < Duration::from_secs(20), "the engine sends to {venue_ports:?}; seen: {found:?}");
            self.port.receive(0, &mut burst);
            for index in 0..burst.len() {
                let frame = burst.frames()[index];
                let seen = segment(self.port.frame(frame));
                if let Some(seen) = seen.filter(|seen| venue_ports.contains(&seen.venue_port)) {
                    found.retain(|known| known.venue_port != seen.venue_port);
                    found.push(seen);
                }
            }
            self.port.recycle(&mut burst);
            std::thread::sleep(Duration::from_micros(200));
        }
        found
    }

    fn ethernet(&self, source: [u8; 6], ethertype: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 14 + payload.len()];
        let destination = EthernetAddress(self.engine_mac);
        EthernetRepr { src_addr: EthernetAddress(source), dst_addr: destination, ethertype }
            .emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
        frame[14..].copy_from_slice(payload);
        frame
    }

    /// An IPv4 frame to the engine.
    pub fn ipv4(&self, source: Ipv4Addr, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20 + payload.len()];
        let repr =
            Ipv4Repr { src_addr: source, dst_addr: ENGINE_ADDRESS, next_header: protocol, payload_len: payload.len(), hop_limit: 64 };
        repr.emit(&mut Ipv4Packet::new_unchecked(&mut packet[..]), &ChecksumCapabilities::default());
        packet[20..].copy_from_slice(payload);
        self.ethernet(self.venue_mac, EthernetProtocol::Ipv4, &packet)
    }

    /// A TCP segment to the engine that looks as if it were one of this connection's.
    pub fn forged(&self, connection: &Connection, control: TcpControl, numbers: (u32, Option<u32>), payload: &[u8]) -> Vec<u8> {
        let ports = (connection.venue_port, connection.engine_port);
        self.stamped(self.venue, ports, control, numbers, connection.stamps, payload)
    }

    /// A TCP segment to the engine.
    pub fn tcp(&self, source: Ipv4Addr, ports: (u16, u16), control: TcpControl, numbers: (u32, Option<u32>), payload: &[u8]) -> Vec<u8> {
        self.stamped(source, ports, control, numbers, None, payload)
    }

    fn stamped(
        &self,
        source: Ipv4Addr,
        ports: (u16, u16),
        control: TcpControl,
        numbers: (u32, Option<u32>),
        stamps: Option<(u32, u32)>,
        payload: &[u8],
    ) -> Vec<u8> {
        let repr = TcpRepr {
            src_port: ports.0,
            dst_port: ports.1,
            control,
            seq_number: TcpSeqNumber(numbers.0 as i32),
            ack_number: numbers.1.map(|n| TcpSeqNumber(n as i32)),
            window_len: 65_000,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: stamps.map(|(value, echo)| TcpTimestampRepr::new(value, echo)),
            payload,
        };
        let mut segment = vec![0; repr.buffer_len()];
        let capabilities = ChecksumCapabilities::default();
        repr.emit(&mut TcpPacket::new_unchecked(&mut segment[..]), &source.into(), &ENGINE_ADDRESS.into(), &capabilities);
        self.ipv4(source, IpProtocol::Tcp, &segment)
    }

    /// A UDP datagram to the engine.
    pub fn udp(&self, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        let repr = UdpRepr { src_port: ports.0, dst_port: ports.1 };
        let mut datagram = vec![0; 8 + payload.len()];
        repr.emit(
            &mut UdpPacket::new_unchecked(&mut datagram[..]),
            &self.venue.into(),
            &ENGINE_ADDRESS.into(),
            payload.len(),
            |buffer| buffer.copy_from_slice(payload),
            &ChecksumCapabilities::default(),
        );
        self.ipv4(self.venue, IpProtocol::Udp, &datagram)
    }

    /// An ARP packet to the engine in which `address` claims to be at `mac`.
    pub fn arp(&self, operation: ArpOperation, mac: [u8; 6], address: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
        let repr = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(mac),
            source_protocol_addr: address,
            target_hardware_addr: EthernetAddress(self.engine_mac),
            target_protocol_addr: target,
        };
        let mut packet = vec![0; repr.buffer_len()];
        repr.emit(&mut ArpPacket::new_unchecked(&mut packet[..]));
        self.ethernet(mac, EthernetProtocol::Arp, &packet)
    }
}

/// A segment from the engine with an acknowledgement.
fn segment(frame: &[u8]) -> Option<Connection> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    if packet.src_addr() != ENGINE_ADDRESS || packet.next_header() != IpProtocol::Tcp {
        return None;
    }
    let tcp = TcpPacket::new_checked(packet.payload()).ok()?;
    let mut options = tcp.options();
    let mut stamps = None;
    while let Ok((rest, option)) = TcpOption::parse(options) {
        match option {
            // A little later than what the engine has heard last.
            TcpOption::TimeStamp { tsval, tsecr } => stamps = Some((tsecr.wrapping_add(1_000), tsval)),
            TcpOption::EndOfList => break,
            _ => {}
        }
        options = rest;
        if options.is_empty() {
            break;
        }
    }
    (tcp.ack() && !tcp.syn() && !tcp.fin() && !tcp.rst()).then(|| Connection {
        engine_port: tcp.src_port(),
        venue_port: tcp.dst_port(),
        next: tcp.ack_number().0 as u32,
        acknowledge: (tcp.seq_number().0 as u32).wrapping_add(tcp.payload().len() as u32),
        stamps,
    })
}
