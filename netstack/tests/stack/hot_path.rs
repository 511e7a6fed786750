//! After construction nothing allocates: not connecting, not sending, not receiving, not ARP.

use netstack::stack::StackConfig;
use netstack::transport::{SocketState, Transport};
use std::net::SocketAddrV4;

use drivers::memory::{MemoryConfig, pair};
use drivers::port::Port;
use netstack::stack::Stack;
use smoltcp::wire::TcpControl;

use crate::allocator;
use crate::frames;
use crate::peer::{PEER, PORT};
use crate::world::{pass, stack_config};

const NAMES: [&str; 20] = [
    "a.example",
    "b.example",
    "c.example",
    "d.example",
    "e.example",
    "f.example",
    "g.example",
    "h.example",
    "i.example",
    "j.example",
    "k.example",
    "l.example",
    "m.example",
    "n.example",
    "o.example",
    "p.example",
    "q.example",
    "r.example",
    "s.example",
    "t.example",
];

#[test]
fn connecting_and_twenty_thousand_segments_allocate_nothing() {
    let (near, mut far) = pair(&MemoryConfig::default()).expect("a link");
    let hosts = vec![("literal.sim".to_owned(), PEER)];
    let config = StackConfig { ports: (30_000, 30_100), dns_servers: vec![PEER], hosts, ..stack_config() };
    let mut stack = Stack::new(near, &config, 0).expect("a stack");
    let mut allocated = 0;
    let mut count = |action: &mut dyn FnMut()| {
        let before = allocator::calls();
        action();
        allocated += allocator::calls() - before;
    };

    let mut socket = None;
    count(&mut || socket = Some(stack.connect(SocketAddrV4::new(PEER, PORT), 0).expect("begun")));
    let socket = socket.expect("begun");
    let mut syn = None;
    for _ in 0..5 {
        count(&mut || pass(&mut stack, 0));
        let frames = frames::receive(&mut far, 0);
        let rest = frames::answer_arp(&mut far, PEER, frames, 0);
        syn = syn.or_else(|| rest.iter().find_map(|frame| frames::read_tcp(frame)));
    }
    let syn = syn.expect("a SYN");
    let (mut sent, mut received) = (syn.sequence.wrapping_add(1), 1000_u32);
    frames::send(&mut far, &frames::tcp(syn.port, TcpControl::Syn, received, Some(sent), &[]), 0);
    count(&mut || pass(&mut stack, 0));
    received += 1;
    assert_eq!(stack.state(socket), SocketState::Open);
    count(&mut || stack.set_priority(socket));
    frames::receive(&mut far, 0);

    for round in 1..=10_000_u64 {
        let now_ns = round * 100_000;
        frames::send(&mut far, &frames::tcp(syn.port, TcpControl::Psh, received, Some(sent), &[0x5a; 300]), now_ns);
        received = received.wrapping_add(300);
        count(&mut || {
            assert_eq!(stack.receive(now_ns), 1);
            assert_eq!(stack.ingress_next(now_ns), Some(Some(socket)));
            // Twice where the receive buffer wraps around.
            let mut read = stack.read(socket, |bytes| (bytes.len(), bytes.len()));
            if read < 300 {
                read += stack.read(socket, |bytes| (bytes.len(), bytes.len()));
            }
            assert_eq!(read, 300);
            stack.write(socket, 200, |room| (room.len(), room.fill(0xa5))).expect("room");
            assert_eq!(stack.transmit(now_ns), 1, "the acknowledgement rides on the data");
            stack.flush(now_ns).expect("flush");
            assert_eq!(stack.ingress_next(now_ns), None);
            stack.maintain(now_ns);
        });
        let frames = frames::receive(&mut far, now_ns);
        assert_eq!(frames.len(), 1);
        sent = sent.wrapping_add(200);
    }
    assert_eq!(stack.statistics().tcp_segments, 10_001);

    // Names, refreshes, time-outs and new connections do not either.
    let mut now_ns = 2_000_000_000;
    for name in NAMES {
        count(&mut || {
            stack.resolve("literal.sim", now_ns);
            stack.resolve(name, now_ns);
            stack.release(socket);
            let socket = stack.connect(SocketAddrV4::new(PEER, PORT), now_ns).expect("begun");
            pass(&mut stack, now_ns);
            now_ns += 5_000_000_000;
            pass(&mut stack, now_ns);
            stack.release(socket);
            pass(&mut stack, now_ns);
        });
        frames::receive(&mut far, now_ns);
    }
    assert!(stack.statistics().dns_questions > 20);
    assert_eq!(allocated, 0);
    assert!(stack.port().statistics().tx_frames >= 10_002);
}
