//! Our TCP against a scripted peer: one test for each rule, named after the section of its RFC.

mod tcp_support;

use netstack::tcp::{Beginning, State, TcpConfig, Verdict};
use netstack::transport::{CloseReason, SocketState};
use smoltcp::wire::{TcpControl, TcpTimestampRepr};
use tcp_support::*;

fn fin(script: &mut Script) {
    let sequence = script.peer_next;
    script.peer_next += 1;
    let _ = script.inject(TcpControl::Fin, sequence, &[], |_| {});
}

fn closed(script: &Script) -> Option<CloseReason> {
    script.connection.close_reason()
}

// RFC 9293: opening.

#[test]
fn rfc9293_3_5_three_way_handshake_offers_all_options() {
    let mut script = Script::connecting(&TcpConfig::default());
    let syn = script.one();
    assert_eq!((syn.control, syn.sequence, syn.ack), (TcpControl::Syn, 0, None));
    assert_eq!((syn.mss, syn.shift, syn.sack_permitted), (Some(1460), Some(3), true));
    assert_eq!((syn.window, syn.stamp.map(|stamp| stamp.1)), (65535, Some(0)));
    script.silent();
    script.pass(MS);
    script.answer_syn(OFFER);
    let ack = script.one();
    assert_eq!((ack.control, ack.sequence, ack.ack, ack.payload.len()), (TcpControl::None, 1, Some(1), 0));
    assert_eq!(ack.stamp.map(|stamp| stamp.1), Some(script.peer_stamp));
    assert_eq!(script.connection.socket_state(), SocketState::Open);
    assert_eq!(script.connection.round_trip_ns(), Some(MS));
}

#[test]
fn rfc9293_3_5_data_written_before_the_answer_rides_on_the_handshakes_last_ack() {
    let mut script = Script::connecting(&TcpConfig::default());
    script.write(b"early");
    assert_eq!(script.one().payload, b"");
    script.answer_syn(OFFER);
    let sent = script.one();
    assert_eq!((sent.sequence, sent.ack, sent.payload), (1, Some(1), b"early".to_vec()));
}

#[test]
fn rfc9293_3_5_simultaneous_open() {
    let mut script = Script::connecting(&TcpConfig::default());
    let _ = script.one();
    let mut syn = segment(TcpControl::Syn, 0, None, &[]);
    syn.timestamp = Some(TcpTimestampRepr::new(1000, 0));
    syn.sack_permitted = true;
    let _ = script.connection.on_segment(script.now_ns, &syn);
    assert_eq!(script.connection.state(), State::SynReceived);
    let answer = script.one();
    assert_eq!((answer.control, answer.sequence, answer.ack), (TcpControl::Syn, 0, Some(1)));
    (script.acked, script.peer_next, script.stamps) = (1, 1, true);
    let _ = script.inject(TcpControl::Syn, 0, &[], |_| {});
    assert_eq!(script.connection.state(), State::Established);
    assert_eq!(script.data(b"x").fresh, 0..1);
}

#[test]
fn rfc9293_3_10_7_3_an_ack_of_what_was_never_sent_is_reset_and_the_syn_stands() {
    let mut script = Script::connecting(&TcpConfig::default());
    let _ = script.one();
    let _ = script.connection.on_segment(script.now_ns, &segment(TcpControl::Syn, 0, Some(77), &[]));
    let reset = script.one();
    assert_eq!((reset.control, reset.sequence, reset.ack), (TcpControl::Rst, 77, None));
    assert_eq!(script.connection.state(), State::SynSent);
    let _ = script.connection.on_segment(script.now_ns, &segment(TcpControl::Rst, 0, Some(77), &[]));
    assert_eq!(script.connection.state(), State::SynSent, "a RST for another connection");
    let _ = script.connection.on_segment(script.now_ns, &segment(TcpControl::Rst, 0, Some(1), &[]));
    assert_eq!(closed(&script), Some(CloseReason::Refused));
}

#[test]
fn rfc6298_2_1_a_lost_syn_is_sent_again_after_a_second_and_then_two() {
    let mut script = Script::connecting(&TcpConfig::default());
    let _ = script.one();
    let (waited, sent) = script.wait();
    assert_eq!((waited, sent[0].control, sent[0].sequence), (SECOND, TcpControl::Syn, 0));
    let (waited, _) = script.wait();
    assert_eq!(waited, 2 * SECOND);
    script.answer_syn(OFFER);
    assert_eq!(script.connection.state(), State::Established);
}

/// A connection whose SYN was sent twice, 1 s apart, and answered 100 ms after the second copy; with the copies' timestamps.
fn opened_by_a_second_syn(offer: Offer, echo: Echo) -> Script {
    let mut script = Script::connecting(&TcpConfig::default());
    let _ = script.one();
    let first = script.last_stamp;
    let _ = script.wait();
    script.pass(100 * MS);
    let last = script.last_stamp;
    script.last_stamp = match echo {
        Echo::First => first,
        Echo::Last => last,
        Echo::Zero => 0,
    };
    script.answer_syn(offer);
    script.last_stamp = last;
    assert_eq!(script.one().sequence, 1);
    script
}

/// Which copy's timestamp an answer echoes.
#[derive(Clone, Copy)]
enum Echo {
    First,
    Last,
    Zero,
}

#[test]
fn rfc5681_3_1_after_a_lost_syn_one_segment_is_the_window() {
    for stamps in [true, false] {
        let mut script = opened_by_a_second_syn(Offer { stamps, ..OFFER }, Echo::Last);
        script.write(&[1; 10_000]);
        assert_eq!(script.sent().len(), 1, "timestamps: {stamps}");
    }
}

#[test]
fn rfc3522_3_2_a_syn_that_was_sent_again_for_nothing_costs_no_window() {
    let script = opened_by_a_second_syn(OFFER, Echo::First);
    assert_eq!(script.connection.congestion_window(), 10 * 1448, "neither the one segment of a loss nor more than the first ten");
    assert_eq!(script.connection.round_trip_ns(), Some(1100 * MS));
}

#[test]
fn rfc7323_4_1_after_a_lost_syn_the_echoed_timestamp_tells_the_round_trip() {
    let script = opened_by_a_second_syn(OFFER, Echo::Last);
    assert_eq!(script.connection.round_trip_ns(), Some(100 * MS));
}

#[test]
fn rfc7323_3_2_an_echo_of_zero_is_none_and_so_the_syn_was_lost() {
    let mut script = opened_by_a_second_syn(OFFER, Echo::Zero);
    assert!(script.connection.congestion_window() < 2 * 1448, "an early timestamp would have left ten segments");
    assert_eq!(script.connection.round_trip_ns(), None, "which copy was answered?");
    script.write(&[1; 10_000]);
    assert_eq!(script.sent().len(), 1);
    // From here on its echoes tell the round trip.
    script.pass(100 * MS);
    script.ack(1449);
    assert_eq!(script.connection.round_trip_ns(), Some(100 * MS));
}

#[test]
fn rfc6298_5_7_after_a_lost_syn_the_timeout_is_three_seconds_until_something_is_measured() {
    let mut script = opened_by_a_second_syn(Offer { stamps: false, ..OFFER }, Echo::Last);
    assert_eq!(script.connection.round_trip_ns(), None, "which copy was answered?");
    script.write(b"hello");
    let _ = script.one();
    let (waited, _) = script.wait();
    assert_eq!((waited, script.connection.statistics().tail_probes), (SECOND, 1), "RFC 8985 section 7.2: a probe after a second");
    let (waited, _) = script.wait();
    assert_eq!((waited, script.connection.statistics().timeouts), (3 * SECOND, 2));
    script.ack(6);
    script.write(b"again");
    let _ = script.one();
    script.pass(100 * MS);
    script.ack(11);
    assert_eq!(script.connection.round_trip_ns(), Some(100 * MS));
    script.write(b"again");
    let _ = script.one();
    assert!(script.wait().0 < 400 * MS);
}

#[test]
fn rfc9293_3_8_3_a_syn_without_an_answer_times_out() {
    let mut script = Script::connecting(&TcpConfig { user_timeout: 5 * SECOND, ..TcpConfig::default() });
    for _ in 0..10 {
        let _ = script.wait();
    }
    assert_eq!(closed(&script), Some(CloseReason::TimedOut));
    assert_eq!(script.now_ns, 6 * SECOND);
}

// RFC 9293: sizes and windows.

#[test]
fn rfc9293_3_7_1_segments_keep_to_the_peers_mss_less_options() {
    for (mss, stamps, len) in
        [(Some(1000), true, 988), (Some(1000), false, 1000), (None, false, 536), (Some(9000), true, 1448), (Some(1), false, 88)]
    {
        let mut script = Script::open(&TcpConfig::default(), Offer { mss, stamps, ..OFFER }, MS);
        script.write(&[7; 3000]);
        assert_eq!(script.sent()[0].payload.len(), len, "{mss:?}");
    }
}

#[test]
fn rfc9293_3_7_4_no_nagle_small_writes_leave_at_once() {
    let mut script = Script::usual();
    for byte in 0..5 {
        script.write(&[byte; 10]);
        assert_eq!(script.one().payload, [byte; 10]);
    }
}

#[test]
fn rfc9293_3_8_6_1_zero_window_is_probed_with_back_off_and_opens_without_loss() {
    let mut script = Script::usual();
    script.window = 0;
    script.write(b"first");
    let _ = script.one();
    script.ack(6);
    script.write(b"second");
    script.silent();
    let (waited, sent) = script.wait();
    assert_eq!((sent[0].sequence, sent[0].payload.clone()), (6, b"s".to_vec()));
    script.ack(6);
    let (waited_again, sent) = script.wait();
    assert_eq!((sent[0].sequence, sent[0].payload.len()), (6, 1));
    assert!(waited_again >= 2 * waited - MS, "{waited} {waited_again}");
    // The byte is taken: the window opens behind it.
    script.window = 1000;
    script.ack(7);
    let sent = script.one();
    assert_eq!((sent.sequence, sent.payload), (7, b"econd".to_vec()));
    assert_eq!(script.connection.statistics().window_probes, 2);
}

#[test]
fn rfc9293_3_8_6_1_a_peer_that_answers_probes_is_never_given_up() {
    let mut script = Script::open(&TcpConfig { user_timeout: 10 * SECOND, ..TcpConfig::default() }, OFFER, MS);
    script.window = 0;
    script.ack(1);
    script.write(b"x");
    for _ in 0..30 {
        let (_, sent) = script.wait();
        assert_eq!(sent.len(), 1);
        script.ack(1);
    }
    assert!(script.now_ns > 40 * SECOND);
    assert_eq!(script.connection.state(), State::Established);
    for _ in 0..20 {
        let _ = script.wait();
    }
    assert_eq!(closed(&script), Some(CloseReason::TimedOut), "silence is another matter");
}

#[test]
fn rfc9293_3_8_6_2_1_data_keeps_inside_the_window() {
    let mut script = Script::open(&TcpConfig::default(), Offer { shift: Some(0), window: 3000, ..OFFER }, MS);
    script.write(&[1; 5000]);
    let lens: Vec<_> = script.sent().iter().map(|sent| sent.payload.len()).collect();
    assert_eq!(lens, [1448, 1448], "104 bytes of room are no reason for a small segment");
    script.ack(2897);
    let lens: Vec<_> = script.sent().iter().map(|sent| sent.payload.len()).collect();
    assert_eq!(lens, [1448, 656]);
}

#[test]
fn rfc9293_3_8_6_2_1_a_window_too_narrow_for_a_segment_is_used_after_a_while() {
    let mut script = Script::open(&TcpConfig::default(), Offer { shift: Some(0), window: 3000, ..OFFER }, MS);
    script.window = 100;
    script.ack(1);
    script.write(&[1; 500]);
    script.silent();
    let (waited, sent) = script.wait();
    assert_eq!((sent[0].sequence, sent[0].payload.len(), script.connection.statistics().window_probes), (1, 100, 0));
    assert!(waited > MS, "{waited}");
}

#[test]
fn rfc9293_3_8_6_2_2_window_closes_and_its_edge_never_moves_back() {
    let mut script =
        Script::open(&TcpConfig { receive_buffer: 4096, ack_delay: 0, ..TcpConfig::default() }, Offer { shift: None, ..OFFER }, MS);
    let mut edge = 0;
    for _ in 0..4 {
        let taken = script.data(&[5; 1000]);
        assert_eq!(taken.fresh, if edge == 0 { 0..1000 } else { 0..0 });
        if edge == 0 {
            script.connection.put_back(&[5; 1000]);
        }
        let ack = script.one();
        let now = ack.ack.unwrap_or(0) + u32::from(ack.window);
        assert!(now >= edge, "{now} {edge}");
        edge = now;
    }
    assert_eq!(edge, 1 + 4096);
    let taken = script.data(&[6; 500]);
    assert_eq!(taken.verdict, Verdict::Taken, "96 bytes fit");
    assert_eq!(script.one().window, 0);
    assert_eq!(script.read_all().len(), 4096);
    assert_eq!(script.one().window, 4096, "the peer is told of the room");
}

#[test]
fn rfc9293_3_8_6_2_2_a_closed_window_opens_by_no_less_than_a_segment() {
    let mut script = Script::open(&TcpConfig { receive_buffer: 4096, ..TcpConfig::default() }, Offer { shift: None, ..OFFER }, MS);
    let taken = script.data(&[5; 4096]);
    assert_eq!(taken.fresh, 0..4096);
    script.connection.put_back(&[5; 4096]);
    assert_eq!(script.one().window, 0);
    let mut opened = Vec::new();
    for _ in 0..20 {
        script.connection.read(|_| (100, ()));
        opened.extend(script.sent().iter().map(|sent| sent.window));
        let _ = script.inject(TcpControl::Psh, 4097, b"?", |_| {});
        opened.extend(script.sent().iter().map(|sent| sent.window));
    }
    assert!(opened.contains(&0) && opened.iter().all(|&window| window == 0 || window >= 1460), "{opened:?}");
    assert!(opened.iter().any(|&window| window > 0), "{opened:?}");
}

#[test]
fn rfc9293_3_8_6_3_acks_wait_a_little_ride_on_data_and_leave_with_every_second_segment() {
    let mut script = Script::usual();
    assert_eq!(script.data(b"small").fresh, 0..5);
    script.silent();
    let (waited, sent) = script.wait();
    assert_eq!((waited, sent[0].ack, sent[0].payload.len()), (MS, Some(6), 0));
    let _ = script.data(b"question");
    script.write(b"answer");
    let sent = script.one();
    assert_eq!((sent.ack, sent.payload), (Some(14), b"answer".to_vec()));
    script.ack(7);
    assert_eq!(script.wait().1, [], "the ACK has ridden on the answer");
    let _ = script.data(&[1; 1448]);
    script.silent();
    let _ = script.data(&[1; 1448]);
    assert_eq!(script.one().ack, Some(14 + 2896));
}

// RFC 9293: ends.

#[test]
fn rfc9293_3_6_close_by_us_then_the_peer_ends_in_time_wait() {
    let mut script = Script::usual();
    script.write(b"bye");
    script.connection.close(script.now_ns);
    let sent = script.one();
    assert_eq!((sent.control, sent.payload), (TcpControl::Fin, b"bye".to_vec()));
    assert_eq!(script.connection.state(), State::FinWait1);
    script.ack(5);
    assert_eq!(script.connection.state(), State::FinWait2);
    assert_eq!(script.data(b"late").fresh, 0..4, "half-closed: the peer may send");
    assert!(script.connection.write(script.now_ns, 1, |_| (1, ())).is_none());
    fin(&mut script);
    assert_eq!(script.connection.state(), State::TimeWait);
    assert_eq!(script.connection.socket_state(), SocketState::Closed(CloseReason::Closed));
    assert_eq!(script.one().ack, Some(6));
    script.pass(59 * SECOND);
    let _ = script.inject(TcpControl::Fin, 5, &[], |_| {});
    assert_eq!(script.one().ack, Some(6), "3.10.7.4: a repeated FIN is acknowledged and time begins again");
    let (waited, sent) = script.wait();
    assert_eq!((waited, sent.len(), closed(&script)), (60 * SECOND, 0, Some(CloseReason::Closed)));
}

#[test]
fn rfc9293_3_6_close_by_the_peer_leaves_our_half_open() {
    let mut script = Script::usual();
    fin(&mut script);
    assert_eq!(script.one().ack, Some(2));
    assert_eq!((script.connection.state(), script.connection.socket_state()), (State::CloseWait, SocketState::PeerClosed));
    script.write(b"more");
    assert_eq!(script.one().payload, b"more");
    script.connection.close(script.now_ns);
    assert_eq!(script.one().control, TcpControl::Fin);
    assert_eq!(script.connection.state(), State::LastAck);
    script.ack(6);
    assert_eq!(closed(&script), Some(CloseReason::Closed));
}

#[test]
fn rfc9293_3_6_simultaneous_close() {
    let mut script = Script::usual();
    script.connection.close(script.now_ns);
    let _ = script.one();
    fin(&mut script);
    assert_eq!(script.connection.state(), State::Closing);
    assert_eq!(script.one().ack, Some(2));
    script.ack(2);
    assert_eq!(script.connection.state(), State::TimeWait);
}

#[test]
fn rfc9293_3_10_7_4_a_fin_ahead_of_a_hole_waits_for_it() {
    let mut script = Script::usual();
    let _ = script.inject(TcpControl::Fin, 4, b"def", |_| {});
    assert_eq!((script.connection.state(), script.one().ack), (State::Established, Some(1)));
    assert_eq!(script.data(b"abc").fresh, 0..3);
    assert_eq!(script.read_all(), b"def");
    assert_eq!((script.connection.state(), script.one().ack), (State::CloseWait, Some(8)));
}

#[test]
fn rfc9293_3_10_7_4_a_segment_outside_the_window_is_dropped_and_answered() {
    let open = || Script::open(&TcpConfig { receive_buffer: 4096, ..TcpConfig::default() }, Offer { shift: None, ..OFFER }, MS);
    // The window is 1 to 4096. An empty segment at its edge is what a peer sends that has filled it.
    for (sequence, len, taken) in [
        (1, 0, true),
        (4096, 1, true),
        (4097, 0, true),
        (4097, 1, false),
        (4098, 0, false),
        (5000, 10, false),
        (0x7000_0000, 10, false),
        (0_u32.wrapping_sub(10), 5, false),
        (0_u32.wrapping_sub(9), 10, false),
        (0_u32.wrapping_sub(9), 20, true),
        (0_u32.wrapping_sub(9), 5000, true),
    ] {
        let mut script = open();
        script.write(b"order");
        let _ = script.one();
        script.acked = 6;
        let verdict = script.inject(TcpControl::Psh, sequence, &vec![7; len], |_| {}).verdict;
        assert_eq!(verdict == Verdict::Taken, taken, "{len} bytes from {sequence}");
        let beyond = !taken && sequence < 1 << 31;
        assert_eq!(script.connection.statistics().out_of_window, u64::from(beyond), "{len} bytes from {sequence}");
        if !taken {
            assert_eq!((script.one().ack, script.connection.readable()), (Some(1), 0));
        }
        // What begins at the edge is outside only by its payload.
        let believed = taken || sequence == 4097;
        assert_eq!(script.connection.unacknowledged(), if believed { 0 } else { 5 }, "its acknowledgement too: {len} from {sequence}");
    }
}

#[test]
fn rfc9293_3_10_7_4_a_segment_without_an_acknowledgement_is_dropped() {
    let mut script = Script::usual();
    assert_eq!(script.inject(TcpControl::Psh, 1, b"naked", |repr| repr.ack_number = None).verdict, Verdict::Dropped);
    script.silent();
    assert_eq!(script.data(b"dressed").fresh, 0..7);
}

#[test]
fn rfc9293_3_10_7_4_data_with_an_old_ack_counts() {
    let mut script = Script::usual();
    script.write(b"order");
    let _ = script.one();
    script.ack(6);
    script.acked = 1;
    assert_eq!(script.data(b"tick").fresh, 0..4);
}

#[test]
fn rfc9293_3_10_5_abort_sends_rst_and_forgets() {
    let mut script = Script::usual();
    script.write(b"never sent");
    script.connection.abort();
    let reset = script.one();
    assert_eq!((reset.control, reset.sequence, reset.ack), (TcpControl::Rst, 1, Some(1)));
    assert_eq!((closed(&script), script.connection.next_due_ns()), (Some(CloseReason::Aborted), u64::MAX));
    script.silent();
}

#[test]
fn rfc9293_3_8_4_keep_alive_probes_silence_and_gives_up() {
    let config = TcpConfig { keep_alive: Some(10 * SECOND), keep_alive_probes: 2, ..TcpConfig::default() };
    let mut script = Script::open(&config, OFFER, MS);
    let (waited, sent) = script.wait();
    assert_eq!((waited, sent[0].sequence, sent[0].payload.len()), (10 * SECOND, 0, 0));
    script.ack(1);
    let (waited, _) = script.wait();
    assert_eq!(waited, 10 * SECOND, "an answer ends the alarm");
    let (waited, _) = script.wait();
    assert_eq!(waited, SECOND);
    let (_, sent) = script.wait();
    assert_eq!((sent[0].control, closed(&script)), (TcpControl::Rst, Some(CloseReason::TimedOut)));
}

#[test]
fn rfc9293_3_8_3_user_timeout_ends_a_connection_without_acknowledgements() {
    let mut script = Script::open(&TcpConfig { user_timeout: 3 * SECOND, ..TcpConfig::default() }, OFFER, MS);
    script.pass(100 * SECOND);
    script.silent();
    assert_eq!(script.connection.state(), State::Established, "idle is not silent");
    script.write(b"order");
    let begin = script.now_ns;
    for _ in 0..30 {
        let _ = script.wait();
    }
    assert_eq!((closed(&script), script.now_ns - begin), (Some(CloseReason::TimedOut), 3 * SECOND));
}

// RFC 5961.

#[test]
fn rfc5961_3_2_only_the_exact_rst_resets() {
    let mut script = Script::usual();
    let _ = script.inject(TcpControl::Rst, 1 + 1000, &[], |_| {});
    let challenge = script.one();
    assert_eq!((challenge.control, challenge.ack), (TcpControl::None, Some(1)));
    let _ = script.inject(TcpControl::Rst, 1 + 300_000, &[], |_| {});
    script.silent();
    assert_eq!(script.connection.state(), State::Established);
    let _ = script.inject(TcpControl::Rst, 1, &[], |_| {});
    assert_eq!(closed(&script), Some(CloseReason::Reset));
}

#[test]
fn rfc5961_4_2_a_syn_on_an_open_connection_is_challenged() {
    let mut script = Script::usual();
    let _ = script.inject(TcpControl::Syn, 1, &[], |_| {});
    assert_eq!((script.one().ack, script.connection.state()), (Some(1), State::Established));
}

#[test]
fn rfc5961_5_2_acks_outside_the_range_are_challenged_and_their_data_dropped() {
    let mut script = Script::usual();
    script.acked = 2;
    assert_eq!(script.inject(TcpControl::Psh, 1, b"evil", |_| {}).verdict, Verdict::Dropped);
    assert_eq!(script.one().ack, Some(1));
    script.acked = 1_u32.wrapping_sub(60_000 << 4).wrapping_sub(1);
    assert_eq!(script.inject(TcpControl::Psh, 1, b"evil", |_| {}).verdict, Verdict::Dropped);
    script.acked = 1_u32.wrapping_sub(1000);
    assert_eq!(script.inject(TcpControl::Psh, 1, b"fine", |_| {}).fresh, 0..4);
}

#[test]
fn rfc5961_5_2_while_both_open_at_once_an_ack_of_what_was_never_sent_is_reset_and_the_syn_stands() {
    let mut script = Script::connecting(&TcpConfig::default());
    let _ = script.one();
    let _ = script.connection.on_segment(script.now_ns, &segment(TcpControl::Syn, 0, None, &[]));
    assert_eq!((script.one().ack, script.connection.state()), (Some(1), State::SynReceived));
    let forged = script.connection.on_segment(script.now_ns, &segment(TcpControl::None, 1, Some(77), &[]));
    let reset = script.one();
    assert_eq!((forged.verdict, reset.control, reset.sequence, reset.ack), (Verdict::Dropped, TcpControl::Rst, 77, None));
    assert_eq!((script.connection.state(), script.connection.statistics().challenges), (State::SynReceived, 0));
}

#[test]
fn rfc5961_7_challenges_are_limited() {
    let mut script = Script::usual();
    let mut answers = 0;
    for _ in 0..100 {
        let _ = script.inject(TcpControl::Syn, 1, &[], |_| {});
        answers += script.sent().len();
    }
    let statistics = script.connection.statistics();
    assert_eq!((answers, statistics.challenges, statistics.challenges_withheld), (10, 10, 90));
    script.pass(6 * SECOND);
    let _ = script.inject(TcpControl::Syn, 1, &[], |_| {});
    assert_eq!(script.sent().len(), 1);
}

// RFC 7323.

#[test]
fn rfc7323_2_windows_are_scaled_both_ways_but_not_in_the_syn() {
    let mut script = Script::open(&TcpConfig::default(), Offer { shift: Some(7), window: 2000, ..OFFER }, MS);
    script.write(&vec![1; 20_000]);
    assert_eq!(script.sent().len(), 1, "2000 bytes, as the SYN said");
    script.window = 2000;
    script.ack(1449);
    assert!(script.sent().len() >= 10, "256000 bytes now");
    let _ = script.data(b"x");
    let (_, sent) = script.wait();
    assert!(u32::from(sent[0].window) << 3 > 65_535, "ours is 256 KiB: {}", sent[0].window);
}

#[test]
fn rfc7323_2_2_without_the_peers_shift_there_is_none() {
    let mut script = Script::open(&TcpConfig::default(), Offer { shift: None, window: 2000, ..OFFER }, MS);
    script.ack(1);
    script.write(&vec![1; 20_000]);
    assert_eq!(script.sent().len(), 1);
    let _ = script.data(b"x");
    assert_eq!(script.wait().1[0].window, 65_535);
}

#[test]
fn rfc7323_2_3_a_shift_beyond_fourteen_counts_as_fourteen() {
    let config = TcpConfig { initial_window: 40, ..TcpConfig::default() };
    let mut script = Script::open(&config, Offer { shift: Some(15), ..OFFER }, MS);
    script.window = 1;
    script.ack(1);
    script.write(&vec![1; 40_000]);
    let sent: usize = script.sent().iter().map(|sent| sent.payload.len()).sum();
    assert!((14_000..=1 << 14).contains(&sent), "{sent}");
}

#[test]
fn rfc7323_3_2_timestamps_are_echoed_and_required_once_agreed() {
    let mut script = Script::usual();
    script.pass(70 * MS);
    let _ = script.data(b"a");
    script.write(b"b");
    let sent = script.one();
    assert_eq!(sent.stamp.map(|stamp| stamp.1), Some(script.peer_stamp));
    assert_eq!(script.inject(TcpControl::Psh, 2, b"naked", |repr| repr.timestamp = None).verdict, Verdict::Dropped);
    assert_eq!(script.connection.statistics().paws_drops, 1);
    let mut script = Script::open(&TcpConfig::default(), Offer { stamps: false, ..OFFER }, MS);
    script.write(b"b");
    assert_eq!(script.one().stamp, None);
}

#[test]
fn rfc7323_4_3_a_segment_ahead_of_a_hole_does_not_move_ts_recent() {
    let mut script = Script::usual();
    let old = script.peer_stamp;
    script.pass(50 * MS);
    let _ = script.inject(TcpControl::Psh, 5, b"later", |_| {});
    assert_eq!(script.one().stamp.map(|stamp| stamp.1), Some(old), "case A: the round trip includes the hole");
}

#[test]
fn rfc7323_5_3_paws_drops_old_duplicates_and_acknowledges() {
    let mut script = Script::usual();
    script.pass(100 * MS);
    let _ = script.data(b"new");
    script.write(b"x");
    let _ = script.sent();
    let old = script.peer_stamp - 50;
    let forged = script.inject(TcpControl::Psh, 4, b"old", |repr| repr.timestamp = Some(TcpTimestampRepr::new(old, 0)));
    assert_eq!(forged.verdict, Verdict::Dropped);
    assert_eq!((script.one().ack, script.connection.statistics().paws_drops), (Some(4), 1));
    let far = script.inject(TcpControl::Rst, 4, &[], |repr| repr.timestamp = Some(TcpTimestampRepr::new(old, 0)));
    assert_eq!(far.verdict, Verdict::Taken, "5.2: a RST is not subject to PAWS");
}

#[test]
fn rfc7323_5_4_the_clock_ticks_in_milliseconds_from_another_start_for_each_connection() {
    let mut script = Script::usual();
    let mut stamps = Vec::new();
    for (written, wait) in [(1, 0), (2, 70 * MS), (3, 5 * SECOND)] {
        script.pass(wait);
        script.write(b"x");
        stamps.push(script.one().stamp.map_or(0, |stamp| stamp.0));
        script.ack(1 + written);
    }
    assert_eq!([stamps[1].wrapping_sub(stamps[0]), stamps[2].wrapping_sub(stamps[1])], [70, 5000]);
    let first = |stamp_offset| {
        let mut connection = netstack::tcp::Connection::new(&TcpConfig::default());
        connection.connect(OURS, PEER, Beginning { sequence: OUR_ISN, stamp_offset }, SECOND);
        connection.poll_transmit(SECOND, |syn| syn.timestamp.map(|stamp| stamp.tsval)).flatten()
    };
    assert_eq!([first(0), first(5), first(u32::MAX)], [Some(1000), Some(1005), Some(999)]);
}

#[test]
fn rfc7323_5_5_a_timestamp_older_than_24_days_says_nothing() {
    let mut script = Script::usual();
    script.pass(25 * 86_400 * SECOND);
    script.peer_stamp = script.peer_stamp.wrapping_sub(1 << 30);
    let earlier = script.peer_stamp.wrapping_sub(1 << 31);
    assert_eq!(script.inject(TcpControl::Psh, 1, b"x", |repr| repr.timestamp = Some(TcpTimestampRepr::new(earlier, 0))).fresh, 0..1);
}

// RFC 5681, 2018, 2883.

#[test]
fn rfc5681_4_2_what_lies_ahead_of_a_hole_and_what_fills_it_in_part_is_acknowledged_at_once() {
    let mut script = Script::usual();
    for (sequence, acked) in [(41, 1), (11, 1), (1, 21), (31, 21), (21, 51)] {
        let _ = script.inject(TcpControl::Psh, sequence, &[1; 10], |_| {});
        assert_eq!(script.one().ack, Some(acked), "{sequence}");
    }
    let _ = script.inject(TcpControl::Psh, 51, &[1; 10], |_| {});
    script.silent();
}

#[test]
fn rfc2018_3_holes_are_reported_the_latest_first_and_at_once() {
    let mut script = Script::usual();
    for sequence in [11, 31, 51, 71] {
        let _ = script.inject(TcpControl::Psh, sequence, &[1; 10], |_| {});
        let ack = script.one();
        assert_eq!((ack.ack, ack.blocks[0]), (Some(1), (sequence, sequence + 10)));
    }
    let _ = script.inject(TcpControl::Psh, 41, &[1; 10], |_| {});
    assert_eq!(script.one().blocks, [(31, 61), (71, 81), (11, 21)]);
    assert_eq!(script.inject(TcpControl::Psh, 1, &[1; 10], |_| {}).fresh, 0..10);
    let ack = script.one();
    assert_eq!((ack.ack, ack.blocks), (Some(21), vec![(31, 61), (71, 81)]));
    assert_eq!(script.connection.readable(), 10, "what lay behind the hole");
}

#[test]
fn rfc2018_3_blocks_ride_on_data_where_they_fit_and_follow_it_where_they_do_not() {
    let mut script = Script::usual();
    let _ = script.inject(TcpControl::Psh, 11, &[1; 10], |_| {});
    script.write(&[2; 1448]);
    let sent: Vec<_> = script.sent().into_iter().map(|sent| (sent.payload.len(), sent.blocks)).collect();
    assert_eq!(sent, [(1448, vec![]), (0, vec![(11, 21)])]);
    let _ = script.inject(TcpControl::Psh, 31, &[1; 10], |_| {});
    script.write(&[2; 300]);
    let sent = script.one();
    assert_eq!((sent.payload.len(), sent.blocks), (300, vec![(31, 41), (11, 21)]));
}

#[test]
fn rfc2018_2_no_blocks_without_permission() {
    let mut script = Script::open(&TcpConfig::default(), Offer { sack: false, ..OFFER }, MS);
    let _ = script.inject(TcpControl::Psh, 11, &[1; 10], |_| {});
    assert_eq!(script.one().blocks, []);
}

#[test]
fn rfc2883_4_duplicates_are_reported() {
    let mut script = Script::usual();
    let _ = script.data(b"twice");
    let _ = script.wait();
    let _ = script.inject(TcpControl::Psh, 1, b"twice", |_| {});
    let ack = script.one();
    assert_eq!((ack.ack, ack.blocks), (Some(6), vec![(1, 6)]));
    let _ = script.data(b"next");
    assert_eq!(script.wait().1[0].blocks, [], "once");
}

// Not in an RFC.

#[test]
fn payload_in_order_is_lent_where_it_lies_and_only_the_rest_is_copied() {
    let mut script = Script::usual();
    assert_eq!(script.data(b"hello world").fresh, 0..11);
    script.connection.put_back(b" world");
    assert_eq!(script.read_all(), b" world");
    let statistics = script.connection.statistics();
    assert_eq!((statistics.bytes_in, statistics.bytes_copied_in, statistics.predicted), (11, 6, 1));
    let taken = script.inject(TcpControl::Psh, 7, b"world + more", |_| {});
    assert_eq!(taken.fresh, 5..12, "what is known is cut off");
}

#[test]
fn segments_of_other_connections_are_dropped() {
    let mut script = Script::usual();
    let taken = script.inject(TcpControl::Rst, 1, &[], |repr| repr.src_port += 1);
    assert_eq!((taken.verdict, script.connection.state()), (Verdict::Dropped, State::Established));
}
