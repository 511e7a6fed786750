//! What a segment costs: the TCP at one end of a connection, the far end a script.

use super::super::{BLOCK, OURS};
use super::ends::{CLIENT, Opening, Pattern, SERVER, START_NS, Smol, emit};
use crate::measure::{Budget, Meter, Side, alternate};
use crate::report::{Report, Target};
use anyhow::{Context, ensure};
use netstack::tcp::{Connection, TcpConfig, parse};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::tcp::{CongestionControl, Socket};
use smoltcp::wire::{IpAddress, Ipv4Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr};
use std::hint::black_box;

const OPERATIONS: [&str; 3] = ["data in", "write out", "acknowledgement in"];
const DATA_IN: usize = 0;
const WRITE_OUT: usize = 1;
const ACK_IN: usize = 2;
/// Bytes of a write: an order.
const WRITE: usize = 200;
/// Bytes of a data segment: a market-data message, and a full segment.
const SIZES: [usize; 2] = [300, 1_400];
/// Between one round and the next.
const STEP_NS: u64 = 10_000;

/// A TCP that is measured.
trait Tcp {
    /// Puts a packet where it will be taken from.
    fn lay(&mut self, packet: &[u8]);
    /// Takes the packet; returns how many bytes of payload came out.
    fn take(&mut self, now_ns: u64) -> usize;
    /// Writes, and makes the packet.
    fn write(&mut self, now_ns: u64, bytes: &[u8]) -> bool;
    /// Makes a packet, if one is to be sent.
    fn send(&mut self, now_ns: u64) -> bool;
    /// The packet made last.
    fn packet(&mut self) -> &[u8];
}

struct Ours {
    connection: Connection,
    incoming: Vec<u8>,
    packet: Vec<u8>,
}

impl Tcp for Ours {
    fn lay(&mut self, packet: &[u8]) {
        self.incoming.clear();
        self.incoming.extend_from_slice(packet);
    }

    #[inline]
    fn take(&mut self, now_ns: u64) -> usize {
        let Ok(packet) = Ipv4Packet::new_checked(&self.incoming) else { return 0 };
        let segment = TcpPacket::new_unchecked(packet.payload());
        let (from, to) = (IpAddress::Ipv4(packet.src_addr()), IpAddress::Ipv4(packet.dst_addr()));
        if !packet.verify_checksum() || !segment.verify_checksum(&from, &to) {
            return 0;
        }
        let Some(repr) = parse(packet.payload()) else { return 0 };
        let taken = self.connection.on_segment(now_ns, &repr);
        black_box(&repr.payload[taken.fresh]).len()
    }

    #[inline]
    fn write(&mut self, now_ns: u64, bytes: &[u8]) -> bool {
        let fill = |room: &mut [u8]| {
            room.copy_from_slice(bytes);
            (room.len(), ())
        };
        self.connection.write(now_ns, bytes.len(), fill).is_some() && self.send(now_ns)
    }

    #[inline]
    fn send(&mut self, now_ns: u64) -> bool {
        let packet = &mut self.packet;
        self.connection.poll_transmit(now_ns, |repr| emit(CLIENT, SERVER, repr, packet)).is_some()
    }

    fn packet(&mut self) -> &[u8] {
        &self.packet
    }
}

struct Theirs {
    smol: Smol,
    packet: Vec<u8>,
}

impl Tcp for Theirs {
    fn lay(&mut self, packet: &[u8]) {
        self.smol.slots.put(packet);
    }

    #[inline]
    fn take(&mut self, now_ns: u64) -> usize {
        self.smol.take_in(now_ns);
        let socket: &mut Socket<'_> = self.smol.socket();
        let mut taken = 0;
        // Twice where its ring begins anew.
        while socket.can_recv() {
            taken += socket.recv(|bytes| (bytes.len(), black_box(bytes).len())).unwrap_or(0);
        }
        taken
    }

    #[inline]
    fn write(&mut self, now_ns: u64, bytes: &[u8]) -> bool {
        let written = self.smol.socket().send_slice(bytes);
        self.smol.send_out(now_ns);
        written == Ok(bytes.len())
    }

    fn send(&mut self, now_ns: u64) -> bool {
        self.smol.send_out(now_ns);
        self.smol.slots.has_sent()
    }

    fn packet(&mut self) -> &[u8] {
        if let Some(packet) = self.smol.slots.sent().last_mut() {
            std::mem::swap(packet, &mut self.packet);
        }
        &self.packet
    }
}

/// The far end, and the packets that it sends.
struct Script {
    pattern: Pattern,
    offset: u64,
    next: u32,
    acknowledges: u32,
    stamp: u32,
    echo: u32,
    packet: Vec<u8>,
}

impl Script {
    fn new() -> Script {
        Script { pattern: Pattern::new(), offset: 0, next: 0x7000_0000, acknowledges: 0, stamp: 1, echo: 0, packet: Vec::new() }
    }

    /// Learns from a packet of the measured end.
    fn hear(&mut self, packet: &[u8]) -> anyhow::Result<()> {
        let packet = Ipv4Packet::new_checked(packet).context("the measured end sends IPv4")?;
        let segment = TcpPacket::new_checked(packet.payload()).context("the measured end sends TCP")?;
        let nobody = IpAddress::Ipv4(packet.src_addr());
        let repr = TcpRepr::parse(&segment, &nobody, &nobody, &ChecksumCapabilities::ignored()).context("a sound segment")?;
        self.acknowledges = (repr.seq_number.0 as u32).wrapping_add(repr.segment_len() as u32);
        self.echo = repr.timestamp.map_or(self.echo, |stamp| stamp.tsval);
        Ok(())
    }

    /// Makes a segment with `len` bytes.
    fn segment(&mut self, control: TcpControl, len: usize) {
        let Script { pattern, offset, next, acknowledges, stamp, echo, packet } = self;
        let syn = control == TcpControl::Syn;
        *stamp += 1;
        let repr = TcpRepr {
            src_port: SERVER.port(),
            dst_port: CLIENT.port(),
            control,
            seq_number: TcpSeqNumber(*next as i32),
            ack_number: Some(TcpSeqNumber(*acknowledges as i32)),
            window_len: 60_000,
            window_scale: syn.then_some(4),
            max_seg_size: syn.then_some(1_460),
            sack_permitted: syn,
            sack_ranges: [None; 3],
            timestamp: Some(TcpTimestampRepr::new(*stamp, *echo)),
            payload: pattern.at(*offset, len),
        };
        *next = next.wrapping_add(repr.segment_len() as u32);
        *offset += len as u64;
        emit(SERVER, CLIENT, &repr, packet);
    }
}

/// A connection in its common case.
struct Bench<T> {
    tcp: T,
    script: Script,
    now_ns: u64,
    order: [u8; WRITE],
}

impl<T: Tcp> Bench<T> {
    fn new(mut tcp: T) -> anyhow::Result<Bench<T>> {
        let (mut script, now_ns) = (Script::new(), START_NS);
        ensure!(tcp.send(now_ns), "no SYN");
        script.hear(tcp.packet())?;
        script.segment(TcpControl::Syn, 0);
        tcp.lay(&script.packet);
        tcp.take(now_ns);
        ensure!(tcp.send(now_ns), "no answer to the far end's SYN");
        script.hear(tcp.packet())?;
        Ok(Bench { tcp, script, now_ns, order: [7; WRITE] })
    }

    fn round(&mut self, size: usize, meter: &mut Meter) -> anyhow::Result<()> {
        let Bench { tcp, script, now_ns, order } = self;
        *now_ns += STEP_NS;
        script.segment(TcpControl::Psh, size);
        tcp.lay(&script.packet);
        let taken = meter.time(DATA_IN, || tcp.take(black_box(*now_ns)));
        ensure!(taken == size, "{taken} of {size} bytes came out");
        let written = meter.time(WRITE_OUT, || tcp.write(*now_ns, black_box(order)));
        ensure!(written, "the order did not leave");
        script.hear(tcp.packet())?;
        script.segment(TcpControl::None, 0);
        tcp.lay(&script.packet);
        let taken = meter.time(ACK_IN, || tcp.take(black_box(*now_ns)));
        ensure!(taken == 0 && !tcp.send(*now_ns), "nothing is left to be said");
        Ok(())
    }
}

fn ours() -> anyhow::Result<Bench<Ours>> {
    let mut connection = Connection::new(&TcpConfig::default());
    connection.connect(CLIENT, SERVER, 0xffff_0000, START_NS);
    Bench::new(Ours { connection, incoming: Vec::new(), packet: Vec::new() })
}

fn theirs() -> anyhow::Result<Bench<Theirs>> {
    let smol = Smol::new(Opening::Connects, CongestionControl::None, 1);
    Bench::new(Theirs { smol, packet: Vec::new() })
}

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    for size in SIZES {
        let (mut ours, mut theirs) = (ours()?, theirs()?);
        let sides = vec![
            Side::new(OURS, &OPERATIONS, |meter| (0..BLOCK).try_for_each(|_| ours.round(size, meter))),
            Side::new("smoltcp", &OPERATIONS, |meter| (0..BLOCK).try_for_each(|_| theirs.round(size, meter))),
        ];
        report.add_case(super::BENCH, &format!("{size} bytes in, {WRITE} out:"), &alternate(budget, sides)?, Target::None);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    #[test]
    fn both_sides_take_the_common_case_and_a_damaged_packet_is_not_taken() {
        let mut report = Report::new(Machine::read());
        run(Budget::of_seconds(0.001).expect("positive"), &mut report).expect("it runs");
        assert_eq!((report.rows.len(), report.ratios.len()), (2 * 2 * 3, 2 * 2 * 3));
        let (mut ours, mut theirs) = (ours().expect("opens"), theirs().expect("opens"));
        for script in [&mut ours.script, &mut theirs.script] {
            script.segment(TcpControl::Psh, 300);
            script.packet[100] ^= 1;
        }
        ours.tcp.lay(&ours.script.packet);
        theirs.tcp.lay(&theirs.script.packet);
        assert_eq!((ours.tcp.take(ours.now_ns), theirs.tcp.take(theirs.now_ns)), (0, 0));
    }
}
