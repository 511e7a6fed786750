//! What a stranger must not be able to guess of a connection: its first sequence number and its port.

use netstack::stack::StackConfig;
use netstack::transport::Transport;
use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use crate::frames::{self, PEER_MAC, Seen};
use crate::link::Script;
use crate::peer::{PEER, PORT};
use crate::world::stack_config;

const STACKS: u64 = 64;

/// The SYN of a fresh stack's first connection.
fn first_syn(config: StackConfig, remote_port: u16, now_ns: u64) -> Seen {
    let mut script = Script::new(&StackConfig { neighbours: vec![(PEER, PEER_MAC)], ..config });
    script.now_ns = now_ns;
    script.pass();
    script.stack.connect(SocketAddrV4::new(PEER, remote_port), now_ns).expect("begun");
    script.pass().iter().find_map(|frame| frames::read_tcp(frame)).expect("a SYN")
}

#[test]
fn rfc6528_3_initial_sequence_numbers_depend_on_a_secret_and_on_the_connection_in_all_bits() {
    // The same addresses and ports, so that nothing differs but the secret.
    let config = |seed| StackConfig { ports: (40_000, 40_019), seed, ..stack_config() };
    let syns = (0..).map(|seed| first_syn(config(seed), PORT, 0)).filter(|syn| syn.port == 40_000);
    let of_secrets: Vec<u32> = syns.take(STACKS as usize).map(|syn| syn.sequence).collect();
    // The same secret and ports of our own, so that nothing differs but the peer's port.
    let of_ports: Vec<u32> = (1..=STACKS as u16).map(|port| first_syn(config(7), port, 0).sequence).collect();
    for sequences in [of_secrets, of_ports] {
        assert_eq!(sequences.iter().collect::<BTreeSet<_>>().len() as u64, STACKS, "each is another: {sequences:x?}");
        for bit in 0..32 {
            let set = sequences.iter().filter(|sequence| *sequence >> bit & 1 == 1).count() as u64;
            assert!((STACKS / 4..=STACKS / 4 * 3).contains(&set), "bit {bit} is set in {set} of {STACKS}");
        }
    }
}

#[test]
fn rfc6528_3_and_9293_3_4_1_initial_sequence_numbers_of_the_same_ends_grow_by_one_in_4_us() {
    let at = |now_ns| first_syn(StackConfig { seed: 7, ..stack_config() }, PORT, now_ns);
    let first = at(0);
    for (now_ns, ticks) in [(3_999, 0), (4_000, 1), (1_000_000_000, 250_000), (1_800_000_000_000_000_000, 3_391_496_192_u32)] {
        let later = at(now_ns);
        assert_eq!((later.port, later.sequence.wrapping_sub(first.sequence)), (first.port, ticks), "after {now_ns} ns");
    }
}

#[test]
fn rfc6056_3_3_a_port_cannot_be_guessed_from_the_start_nor_from_the_last_one() {
    let (first, last) = stack_config().ports;
    let ports: Vec<u16> = (0..STACKS).map(|seed| first_syn(StackConfig { seed, ..stack_config() }, PORT, 0).port).collect();
    assert!(ports.iter().all(|port| (first..=last).contains(port)), "{ports:?}");
    assert!(ports.iter().collect::<BTreeSet<_>>().len() as u64 >= STACKS - 4, "{ports:?}");
    let low = ports.iter().filter(|&&port| port - first < (last - first) / 2).count() as u64;
    assert!((STACKS / 4..=STACKS / 4 * 3).contains(&low), "{low} of {STACKS} are in the lower half");

    let mut script = Script::settled();
    let ports: Vec<u16> = (0..STACKS)
        .map(|_| {
            let (socket, syn) = script.open();
            script.stack.release(socket);
            script.pass();
            syn.port
        })
        .collect();
    let steps: BTreeSet<u16> = ports.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(steps.len() as u64 > STACKS / 2, "{ports:?}");
    assert_eq!(ports[..16].iter().collect::<BTreeSet<_>>().len(), 16, "none comes back soon: {ports:?}");
}
