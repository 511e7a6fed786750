//! What becomes of a connection that the layer above has let go of: TIME-WAIT, and the places that it takes.

use netstack::stack::StackConfig;
use netstack::transport::{CloseReason, SocketState, Transport};
use smoltcp::wire::TcpControl;
use std::net::SocketAddrV4;

use crate::frames::{self, PEER_MAC, Seen};
use crate::link::Script;
use crate::peer::{PEER, PORT};
use crate::world::{SECOND_NS, stack_config};

/// A stack with so many sockets that knows its gateway.
fn settled(sockets_max: usize) -> Script {
    let mut script = Script::new(&StackConfig { neighbours: vec![(PEER, PEER_MAC)], sockets_max, ..stack_config() });
    script.pass();
    script
}

fn answers(out: &[Vec<u8>]) -> Vec<(TcpControl, Option<u32>)> {
    let seen = out.iter().filter_map(|frame| frames::read_tcp(frame));
    seen.map(|seen| (seen.control, seen.acknowledgement)).collect()
}

/// Opens a connection, closes it first, and lets go of it once the host has closed as well; returns its SYN.
fn in_time_wait(script: &mut Script) -> Seen {
    let (socket, syn) = script.open();
    script.stack.close(socket);
    assert_eq!(answers(&script.pass()), [(TcpControl::Fin, Some(1001))]);
    assert_eq!(answers(&script.tell(&their_fin(&syn))), [(TcpControl::None, Some(1002))]);
    assert_eq!(script.stack.state(socket), SocketState::Closed(CloseReason::Closed));
    script.stack.release(socket);
    assert_eq!(script.pass(), Vec::<Vec<u8>>::new());
    syn
}

fn their_fin(syn: &Seen) -> Vec<u8> {
    frames::tcp(syn.port, TcpControl::Fin, 1001, Some(syn.sequence.wrapping_add(2)), &[])
}

#[test]
fn rfc9293_3_6_1_a_connection_that_nobody_holds_waits_out_twice_the_segment_lifetime() {
    let mut script = settled(4);
    let syn = in_time_wait(&mut script);
    for _ in 0..2 {
        // Our last acknowledgement was lost, and the host says it again: acknowledged, and time begins again.
        script.now_ns += 59 * SECOND_NS;
        assert_eq!(answers(&script.tell(&their_fin(&syn))), [(TcpControl::None, Some(1002))]);
    }
    script.now_ns += 61 * SECOND_NS;
    script.pass();
    let late = answers(&script.tell(&their_fin(&syn)));
    assert_eq!(late, [(TcpControl::Rst, None)], "nothing is left of it");
}

#[test]
fn rfc9293_3_6_1_time_wait_gives_way_to_a_new_connection_when_places_run_out() {
    let mut script = settled(2);
    let mut syns = Vec::new();
    for round in 0..20 {
        syns.push(in_time_wait(&mut script));
        script.now_ns += 1_000_000;
        assert_eq!(script.stack.statistics().connects, round + 1);
    }
    assert_eq!(script.stack.tcp_statistics().segments_in, 2 * 20, "each connection is counted once");
    let [.., gone, waiting, last] = &syns[..] else { unreachable!("twenty of them") };
    for still in [waiting, last] {
        assert_eq!(answers(&script.tell(&their_fin(still))), [(TcpControl::None, Some(1002))], "the latest two still wait");
    }
    assert_eq!(answers(&script.tell(&their_fin(gone))), [(TcpControl::Rst, None)], "the one before them has made room");
}

#[test]
fn rfc9293_3_10_4_closing_an_unanswered_connect_says_nothing_and_a_late_answer_is_reset() {
    let mut script = settled(4);
    let socket = script.stack.connect(SocketAddrV4::new(PEER, PORT), 0).expect("begun");
    let syn = script.pass().iter().find_map(|frame| frames::read_tcp(frame)).expect("a SYN");
    script.stack.close(socket);
    assert_eq!(script.pass(), Vec::<Vec<u8>>::new());
    assert_eq!(script.stack.state(socket), SocketState::Closed(CloseReason::Aborted));
    let next = syn.sequence.wrapping_add(1);
    let out = script.tell(&frames::tcp(syn.port, TcpControl::Syn, 1000, Some(next), &[]));
    let reset = frames::read_tcp(&out[0]).expect("a segment");
    assert_eq!((reset.control, reset.sequence, reset.acknowledgement), (TcpControl::Rst, next, None));
}

#[test]
fn rfc9293_3_10_7_4_a_connection_that_the_peer_closed_first_is_gone_with_our_fins_acknowledgement() {
    let mut script = settled(4);
    let (socket, syn) = script.open();
    let next = syn.sequence.wrapping_add(1);
    // The acknowledgement of a FIN waits for nothing.
    assert_eq!(answers(&script.tell(&frames::tcp(syn.port, TcpControl::Fin, 1001, Some(next), &[]))), [(TcpControl::None, Some(1002))]);
    script.stack.close(socket);
    assert_eq!(answers(&script.pass()), [(TcpControl::Fin, Some(1002))]);
    let last = frames::tcp(syn.port, TcpControl::None, 1002, Some(next.wrapping_add(1)), &[]);
    assert_eq!(script.tell(&last), Vec::<Vec<u8>>::new());
    assert_eq!(script.stack.state(socket), SocketState::Closed(CloseReason::Closed));
    assert_eq!(answers(&script.tell(&last)), [(TcpControl::Rst, None)]);
}

#[test]
fn what_is_let_go_of_before_it_was_closed_is_reset_and_gone() {
    let mut script = settled(1);
    for _ in 0..20 {
        let (socket, _) = script.open();
        script.stack.release(socket);
        assert_eq!(answers(&script.pass()), [(TcpControl::Rst, Some(1001))]);
    }
}
