//! What a stranger must not be able to guess of a connection: its first sequence number, its timestamps' offset and its port.

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

/// A number of first SYNs: of other secrets between the same ends, and with the same secret to other ports.
fn of_other_secrets_and_ends(number: impl Fn(&Seen) -> u32) -> [Vec<u32>; 2] {
    // The same addresses and ports, so that nothing differs but the secret.
    let config = |seed| StackConfig { ports: (40_000, 40_019), seed, ..stack_config() };
    let syns = (0..).map(|seed| first_syn(config(seed), PORT, 0)).filter(|syn| syn.port == 40_000);
    let of_secrets = syns.take(STACKS as usize).map(|syn| number(&syn)).collect();
    // The same secret and ports of our own, so that nothing differs but the peer's port.
    let of_ports = (1..=STACKS as u16).map(|port| number(&first_syn(config(7), port, 0))).collect();
    [of_secrets, of_ports]
}

fn assert_mixed_in_all_bits(numbers: &[u32]) {
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len() as u64, STACKS, "each is another: {numbers:x?}");
    for bit in 0..32 {
        let set = numbers.iter().filter(|number| *number >> bit & 1 == 1).count() as u64;
        assert!((STACKS / 4..=STACKS / 4 * 3).contains(&set), "bit {bit} is set in {set} of {STACKS}");
    }
}

#[test]
fn rfc6528_3_initial_sequence_numbers_depend_on_a_secret_and_on_the_connection_in_all_bits() {
    for numbers in of_other_secrets_and_ends(|syn| syn.sequence) {
        assert_mixed_in_all_bits(&numbers);
    }
}

#[test]
fn rfc7323_5_4_timestamps_depend_on_a_secret_and_on_the_connection_in_all_bits_and_not_on_the_sequence_number() {
    let stamp = |syn: &Seen| syn.stamp.expect("a timestamp");
    for numbers in of_other_secrets_and_ends(stamp) {
        assert_mixed_in_all_bits(&numbers);
    }
    // What a sequence number and a timestamp have in common would be the same for all.
    for numbers in of_other_secrets_and_ends(|syn| stamp(syn).wrapping_sub(syn.sequence)) {
        assert_mixed_in_all_bits(&numbers);
    }
}

#[test]
fn rfc7323_5_4_timestamps_of_the_same_ends_go_on_where_those_of_the_last_connection_were() {
    let at = |now_ns| first_syn(StackConfig { seed: 7, ..stack_config() }, PORT, now_ns);
    let first = at(0);
    for (now_ns, ticks) in [(999_999, 0), (1_000_000, 1), (60_000_000_000, 60_000), (86_400_000_000_000, 86_400_000_u32)] {
        let later = at(now_ns);
        let since = later.stamp.zip(first.stamp).map(|(later, first)| later.wrapping_sub(first));
        assert_eq!((later.port, since), (first.port, Some(ticks)), "after {now_ns} ns");
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
