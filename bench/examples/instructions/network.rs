//! TLS records and TCP segments.

use crate::repeat;
use anyhow::{Context, ensure};
use netstack::tcp::{Connection, TcpConfig, parse};
use netstack::tls::{Event, KeySchedule, MAX_OVERHEAD, RecordBuffer, RecordLayer, Suite, TlsError, TrafficKeys, Version};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Bytes of a record, and of a segment that comes in.
const SIZE: usize = 300;
/// Bytes of a write.
const WRITE: usize = 200;
const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 20_000);
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 443);
const START_NS: u64 = 1_000_000_000;
const STEP_NS: u64 = 10_000;

/// Keys do not change while counting.
struct Fixed;

impl KeySchedule for Fixed {
    fn next_send_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        Err(TlsError::Internal("no other key"))
    }

    fn next_receive_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        Err(TlsError::Internal("no other key"))
    }

    fn new_session_ticket(&mut self, _: &[u8]) -> Result<(), TlsError> {
        Ok(())
    }
}

/// Two ends of a connection.
fn ends() -> anyhow::Result<[RecordLayer<Fixed>; 2]> {
    let keys = |fill: u8| TrafficKeys::new(Suite::Aes256Gcm, &[fill; 32], [fill; 12], 0).context("the key is as long as the suite's");
    let (one, other) = (keys(1)?, keys(2)?);
    Ok([RecordLayer::new(Version::Tls13, &one, &other, Fixed)?, RecordLayer::new(Version::Tls13, &other, &one, Fixed)?])
}

pub fn tls_open_300() -> anyhow::Result<()> {
    let [mut sender, mut receiver] = ends()?;
    let (plain, mut record, mut buffer) = ([7; SIZE], [0; SIZE + MAX_OVERHEAD], RecordBuffer::new());
    repeat(|counter| {
        let length = sender.seal(&plain, &mut record)?;
        let mut whole = false;
        counter.count(|| {
            let received = receiver.receive(black_box(&mut record[..length]), &mut buffer);
            whole = received.is_ok_and(|received| received.event == Event::Plaintext(&plain));
        });
        ensure!(whole, "the record does not hold what was sealed");
        Ok(())
    })
}

pub fn tls_seal_300() -> anyhow::Result<()> {
    let [mut sender, _] = ends()?;
    let (plain, mut record) = ([7; SIZE], [0; SIZE + MAX_OVERHEAD]);
    repeat(|counter| {
        let mut length = 0;
        counter.count(|| length = sender.seal(black_box(&plain), &mut record).unwrap_or(0));
        ensure!(length > SIZE, "nothing was sealed");
        Ok(())
    })
}

/// An open connection, and the far end as a script.
struct Script {
    connection: Connection,
    now_ns: u64,
    next: u32,
    acknowledges: u32,
    stamp: u32,
    echo: u32,
    segment: Vec<u8>,
}

fn addresses() -> (IpAddress, IpAddress) {
    (IpAddress::Ipv4(*SERVER.ip()), IpAddress::Ipv4(*CLIENT.ip()))
}

/// Gives what the connection has to send, if anything, to the far end.
fn send(connection: &mut Connection, now_ns: u64, out: &mut Vec<u8>) -> bool {
    let (from, to) = addresses();
    let emit = |repr: &TcpRepr<'_>| {
        out.resize(repr.buffer_len(), 0);
        repr.emit(&mut TcpPacket::new_unchecked(&mut out[..]), &to, &from, &ChecksumCapabilities::ignored());
    };
    connection.poll_transmit(now_ns, emit).is_some()
}

impl Script {
    fn new() -> anyhow::Result<Script> {
        let mut connection = Connection::new(&TcpConfig::default());
        connection.connect(CLIENT, SERVER, 0xffff_0000, START_NS);
        let mut script =
            Script { connection, now_ns: START_NS, next: 0x7000_0000, acknowledges: 0, stamp: 1, echo: 0, segment: Vec::new() };
        script.hear().context("no SYN")?;
        script.say(TcpControl::Syn, 0);
        script.take()?;
        script.hear().context("no answer to the far end's SYN")?;
        Ok(script)
    }

    /// The far end takes what the connection has to send.
    fn hear(&mut self) -> Option<()> {
        let mut sent = Vec::new();
        if !send(&mut self.connection, self.now_ns, &mut sent) {
            return None;
        }
        let (from, to) = addresses();
        let repr = TcpRepr::parse(&TcpPacket::new_checked(&sent[..]).ok()?, &to, &from, &ChecksumCapabilities::ignored()).ok()?;
        self.acknowledges = (repr.seq_number.0 as u32).wrapping_add(repr.segment_len() as u32);
        self.echo = repr.timestamp.map_or(self.echo, |stamp| stamp.tsval);
        Some(())
    }

    /// The far end's next segment.
    fn say(&mut self, control: TcpControl, len: usize) {
        let payload = [7; SIZE];
        let syn = control == TcpControl::Syn;
        self.stamp += 1;
        let repr = TcpRepr {
            src_port: SERVER.port(),
            dst_port: CLIENT.port(),
            control,
            seq_number: TcpSeqNumber(self.next as i32),
            ack_number: Some(TcpSeqNumber(self.acknowledges as i32)),
            window_len: 60_000,
            window_scale: syn.then_some(4),
            max_seg_size: syn.then_some(1_460),
            sack_permitted: syn,
            sack_ranges: [None; 3],
            timestamp: Some(TcpTimestampRepr::new(self.stamp, self.echo)),
            payload: &payload[..len],
        };
        self.next = self.next.wrapping_add(repr.segment_len() as u32);
        let (from, to) = addresses();
        self.segment.resize(repr.buffer_len(), 0);
        repr.emit(&mut TcpPacket::new_unchecked(&mut self.segment[..]), &from, &to, &ChecksumCapabilities::ignored());
    }

    fn take(&mut self) -> anyhow::Result<usize> {
        let repr = parse(&self.segment).context("a sound segment")?;
        Ok(self.connection.on_segment(self.now_ns, &repr).fresh.len())
    }
}

pub fn tcp_segment_in() -> anyhow::Result<()> {
    let mut script = Script::new()?;
    repeat(|counter| {
        script.now_ns += STEP_NS;
        script.say(TcpControl::Psh, SIZE);
        let Script { connection, segment, now_ns, .. } = &mut script;
        let mut taken = 0;
        counter.count(|| {
            if let Some(repr) = parse(black_box(segment)) {
                taken = black_box(&repr.payload[connection.on_segment(*now_ns, &repr).fresh]).len();
            }
        });
        ensure!(taken == SIZE, "{taken} bytes came out");
        let _ = script.hear(); // An acknowledgement, now and then.
        Ok(())
    })
}

pub fn tcp_write_out() -> anyhow::Result<()> {
    let (mut script, mut out) = (Script::new()?, vec![0; 2_048]);
    repeat(|counter| {
        script.now_ns += STEP_NS;
        let Script { connection, now_ns, .. } = &mut script;
        let mut sent = false;
        counter.count(|| {
            let fill = |room: &mut [u8]| {
                room.fill(7);
                (room.len(), ())
            };
            sent = connection.write(*now_ns, black_box(WRITE), fill).is_some() && send(connection, *now_ns, &mut out);
        });
        ensure!(sent, "nothing was sent");
        let (from, to) = addresses();
        let repr = TcpRepr::parse(&TcpPacket::new_checked(&out[..])?, &to, &from, &ChecksumCapabilities::ignored())?;
        script.acknowledges = (repr.seq_number.0 as u32).wrapping_add(repr.segment_len() as u32);
        script.echo = repr.timestamp.map_or(script.echo, |stamp| stamp.tsval);
        script.say(TcpControl::None, 0);
        script.take()?;
        Ok(())
    })
}
