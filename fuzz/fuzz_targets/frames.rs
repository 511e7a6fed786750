//! Ethernet frames of a hostile host on the link: ARP, IPv4, ICMP, UDP and TCP, nearly right, with a connection
//! open, another opening, data under way and a name being asked for. Nothing panics, each frame is counted
//! once, whatever we send is sound, bytes of a connection come out in their order, and the stack goes on.
#![no_main]

use drivers::port::Port;
use libfuzzer_sys::fuzz_target;
use netstack::transport::{SocketId, SocketState, Transport};
use smoltcp::wire::TcpControl;
use std::net::{Ipv4Addr, SocketAddrV4};
use support::input::Input;
use support::link::{self, OUR_MAC, PEER, PORT, SERVER, Seen, Segment, US, World};

/// The host's first sequence number.
const FIRST: u32 = 0xffff_fc00;

/// One of our connections, as the host sees it.
#[derive(Clone, Copy)]
struct Connection {
    socket: SocketId,
    port: u16,
    /// The next byte that we will send, and the next that we want.
    ours: u32,
    theirs: u32,
}

/// Byte of the host's stream with this sequence number.
fn pattern(sequence: u32) -> u8 {
    (sequence ^ (sequence >> 8)) as u8
}

struct Hostile {
    world: World,
    connections: Vec<Connection>,
    /// Nothing but sound segments of the pattern has been sent.
    pure: bool,
    /// Sequence number of the next byte to be read from the first connection.
    read_at: u32,
    last_out: Vec<u8>,
}

impl Hostile {
    fn new() -> Hostile {
        let world = World::new(&link::config());
        let mut hostile = Hostile { world, connections: Vec::new(), pure: true, read_at: FIRST.wrapping_add(1), last_out: Vec::new() };
        hostile.world.pass();
        hostile.open();
        let first = hostile.connections[0].socket;
        hostile.world.stack.write(first, 500, |room| (room.len(), room.fill(7))).expect("room");
        hostile.connect();
        hostile.world.stack.resolve("hostile.example", 0);
        let out = hostile.world.pass();
        hostile.see(&out);
        hostile
    }

    /// Learns from what we sent.
    fn see(&mut self, frames: &[Vec<u8>]) {
        for frame in frames {
            link::read_udp(frame);
            self.last_out.clone_from(frame);
            let Some(Seen { port, sequence, acknowledgement, len, control }) = link::read_tcp(frame) else { continue };
            if let Some(connection) = self.connections.iter_mut().find(|connection| connection.port == port)
                && control != TcpControl::Rst
            {
                connection.ours = sequence.wrapping_add(len);
                if acknowledgement != 0 {
                    connection.theirs = acknowledgement;
                }
            }
        }
    }

    /// Begins a connection; false if there is no socket left.
    fn connect(&mut self) -> bool {
        let Ok(socket) = self.world.stack.connect(SocketAddrV4::new(PEER, PORT), self.world.now_ns) else { return false };
        let out = self.world.pass();
        let syn = out.iter().filter_map(|frame| link::read_tcp(frame)).filter(|seen| seen.control == TcpControl::Syn).last();
        let Some(syn) = syn else { return false };
        self.connections.retain(|connection| connection.port != syn.port);
        self.connections.push(Connection { socket, port: syn.port, ours: syn.sequence.wrapping_add(1), theirs: FIRST });
        true
    }

    /// A connection that is open, with an honest host.
    fn open(&mut self) -> Connection {
        assert!(self.connect(), "a SYN leaves");
        let new = *self.connections.last().expect("just begun");
        let answer = Segment { flags: 0x12, sequence: FIRST, acknowledgement: new.ours, window: 60_000, options: &[2, 4, 5, 0xb4] };
        self.tell(link::tcp(new.port, &answer, &[]), true);
        assert_eq!(self.world.stack.state(new.socket), SocketState::Open);
        *self.connections.last().expect("just begun")
    }

    fn tell(&mut self, mut frame: Vec<u8>, repaired: bool) {
        if repaired {
            link::repair(&mut frame);
        }
        let out = self.world.tell(&frame);
        self.see(&out);
    }

    fn read(&mut self, connection: Connection, input: &mut Input<'_>) {
        let most = usize::from(input.u16());
        let first = self.connections.first().is_some_and(|first| first.socket == connection.socket);
        let bytes = self.world.stack.read(connection.socket, |bytes| {
            let used = bytes.len().min(most);
            (used, bytes[..used].to_vec())
        });
        if first && self.pure {
            for byte in bytes {
                assert_eq!(byte, pattern(self.read_at), "bytes come in their order");
                self.read_at = self.read_at.wrapping_add(1);
            }
        }
    }

    /// A segment that nearly fits one of the connections.
    fn segment(&mut self, input: &mut Input<'_>) -> Vec<u8> {
        let at = usize::from(input.u8()) % self.connections.len().max(1);
        let Some(&connection) = self.connections.get(at) else { return Vec::new() };
        let flags = input.pick(&[0x10, 0x18, 0x11, 0x14, 0x04, 0x02, 0x12, 0x01, 0x30, 0x00, 0xff, 0x19]);
        let sequence = connection.theirs.wrapping_add(offset(input));
        let acknowledgement = connection.ours.wrapping_add(offset(input));
        let window = input.pick(&[60_000, 0, 1, 65_535, 1000]);
        let options = if input.u8() & 3 == 0 { input.short() } else { &[] };
        let len = usize::from(input.u16()) % 1400;
        let first = sequence.wrapping_add(u32::from(flags & 2 != 0));
        let payload: Vec<u8> = (0..len as u32).map(|at| pattern(first.wrapping_add(at))).collect();
        // A reset, a FIN or another SYN may end the stream where it stands; that is the host's right.
        self.pure &= at != 0 || flags & 0x07 == 0;
        link::tcp(connection.port, &Segment { flags, sequence, acknowledgement, window, options }, &payload)
    }
}

/// Mostly small, either way.
fn offset(input: &mut Input<'_>) -> u32 {
    match input.u8() {
        0..=99 => 0,
        100..=179 => u32::from(input.u8()),
        180..=239 => (-i32::from(input.u8())) as u32,
        240..=247 => input.u16().into(),
        248..=251 => u32::from(input.u16()).wrapping_neg(),
        _ => input.u32(),
    }
}

fn change(frame: &mut Vec<u8>, input: &mut Input<'_>) {
    match input.u8() % 5 {
        0 => {
            let (at, byte) = (usize::from(input.u8()), input.u8());
            frame.get_mut(at).into_iter().for_each(|place| *place = byte);
        }
        1 => {
            let (at, bit) = (usize::from(input.u8()), input.u8() % 8);
            frame.get_mut(at).into_iter().for_each(|place| *place ^= 1 << bit);
        }
        2 => frame.truncate(usize::from(input.u8()).max(14)),
        3 => frame.extend_from_slice(input.short()),
        _ => {
            let (at, word) = (usize::from(input.u8()), input.u32());
            frame.get_mut(at..at + 4).into_iter().for_each(|place| place.copy_from_slice(&word.to_be_bytes()));
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut hostile = Hostile::new();
    let base = *hostile.world.stack.statistics();
    let (told, received) = (hostile.world.told, hostile.world.stack.port().statistics().rx_frames);
    let mut steps = 0;
    while !input.is_empty() && steps < 100 {
        steps += 1;
        let op = input.u8();
        let frame = match op % 16 {
            0..=5 => hostile.segment(&mut input),
            6 => {
                let (operation, target) = (u16::from(input.u8() % 4), input.pick(&[US, PEER, SERVER, Ipv4Addr::BROADCAST]));
                let source = input.pick(&[PEER, SERVER, US, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 0, 0, 77)]);
                let mut body = [0, 1, 8, 0, 6, 4, 0, operation as u8].to_vec();
                body.extend(input.bytes(6));
                body.resize(14, 2);
                body.extend(source.octets());
                body.extend([0; 6]);
                body.extend(target.octets());
                link::ethernet(0x0806, input.pick(&[OUR_MAC, [0xff; 6]]), &body)
            }
            7 => {
                let mut message = vec![input.pick(&[8, 3, 0, 11, 5]), input.u8() % 16, 0, 0];
                message.extend(input.bytes(4));
                message.resize(8, 0);
                message.extend(if input.u8() & 1 == 0 { hostile.last_out.get(14..).unwrap_or_default() } else { input.short() });
                message.truncate(600);
                link::ipv4(PEER, US, 1, &message)
            }
            8 => {
                let (from, to) = (input.pick(&[53, 67, 1000]), input.pick(&[20_000, 68, 7]) + u16::from(input.u8() % 8));
                link::udp((input.pick(&[SERVER, PEER, US]), from), (US, to), input.short())
            }
            9 => {
                let protocol = input.u8();
                link::ipv4(PEER, input.pick(&[US, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)]), protocol, input.short())
            }
            10 => link::ethernet(input.pick(&[0x0800, 0x0806, 0x86dd, 0x8100, 0x0000]), OUR_MAC, input.short()),
            11 => {
                hostile.world.now_ns += u64::from(input.u32());
                let out = hostile.world.pass();
                hostile.see(&out);
                continue;
            }
            _ => {
                let now_ns = hostile.world.now_ns;
                let at = usize::from(input.u8()) % hostile.connections.len().max(1);
                if let Some(&connection) = hostile.connections.get(at) {
                    let stack = &mut hostile.world.stack;
                    match input.u8() % 8 {
                        0..=2 => hostile.read(connection, &mut input),
                        3 | 4 => drop(stack.write(connection.socket, usize::from(input.u8()) + 1, |room| (room.len(), room.fill(7)))),
                        5 => stack.close(connection.socket),
                        6 if at > 0 => {
                            stack.release(connection.socket);
                            hostile.connections.remove(at);
                        }
                        6 => stack.abort(connection.socket),
                        _ => drop(stack.resolve(input.pick(&["a.example", "b.example", "10.1.2.3"]), now_ns)),
                    }
                }
                let out = hostile.world.pass();
                hostile.see(&out);
                if op == 0xff && hostile.connections.len() < 4 {
                    hostile.connect();
                }
                continue;
            }
        };
        let mut frame = frame;
        // Two bits: changed or not, and how often; the top bit: with wrong checksums.
        let changes = input.u8();
        let changed = changes & 3 == 3;
        hostile.pure &= !changed && !matches!(op % 16, 9 | 10);
        for _ in 0..if changed { (changes >> 2 & 3) + 1 } else { 0 } {
            change(&mut frame, &mut input);
        }
        frame.resize(frame.len().max(14), 0);
        hostile.tell(frame, changes & 0x80 == 0);
    }
    let statistics = *hostile.world.stack.statistics();
    assert_eq!(statistics.received() - base.received(), hostile.world.told - told, "each frame is counted once");
    assert_eq!(hostile.world.stack.port().statistics().rx_frames - received, hostile.world.told - told);

    // It goes on: with every socket given back, a connection opens and carries bytes.
    for connection in std::mem::take(&mut hostile.connections) {
        hostile.world.stack.release(connection.socket);
    }
    hostile.world.now_ns += 2_000_000_000;
    hostile.world.pass();
    let connection = hostile.open();
    let push = Segment { flags: 0x18, sequence: FIRST.wrapping_add(1), acknowledgement: connection.ours, window: 60_000, options: &[] };
    hostile.tell(link::tcp(connection.port, &push, b"works"), true);
    assert_eq!(hostile.world.stack.read(connection.socket, |bytes| (bytes.len(), bytes.to_vec())), b"works");
});
