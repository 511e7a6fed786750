//! Our TCP against a scripted peer that loses, reorders and withholds: one test for each rule of finding and repairing
//! losses, named after the section of its RFC.

mod tcp_support;

use netstack::tcp::{State, TcpConfig};
use tcp_support::*;

// RFC 6675, 8985, 6582: losses.

/// Ten segments of 100 bytes under way, a round trip of 1 ms.
fn flight_of_ten(offer: Offer) -> Script {
    let mut script = Script::open(&TcpConfig::default(), offer, MS);
    for at in 0..10 {
        script.write(&[at; 100]);
        assert_eq!(script.sent().len(), 1);
    }
    script.pass(MS);
    script
}

#[test]
fn rfc6675_5_a_hole_below_sacked_data_is_sent_again_and_nothing_else() {
    let mut script = flight_of_ten(OFFER);
    script.sack(101, &[(301, 1001)]);
    script.pass(250 * US);
    let sent = script.sent();
    assert_eq!(sent.iter().map(|sent| sent.sequence).collect::<Vec<_>>(), [101, 201]);
    script.pass(MS);
    script.ack(1001);
    assert_eq!((script.connection.unacknowledged(), script.connection.statistics().timeouts), (0, 0));
    assert_eq!(script.connection.statistics().fast_recoveries, 1);
}

#[test]
fn rfc6675_4_what_was_reported_is_no_longer_under_way() {
    let mut script = Script::open(&TcpConfig { initial_window: 4, ..TcpConfig::default() }, OFFER, MS);
    script.write(&vec![1; 1448 * 12]);
    assert_eq!(script.sent().len(), 4, "the window is full");
    script.sack(1, &[(1449, 1 + 4 * 1448)]);
    let sent: Vec<_> = script.sent().iter().map(|sent| sent.sequence).collect();
    assert_eq!(sent, [4, 5, 6].map(|number| 1 + number * 1448), "three have left the path");
}

#[test]
fn rfc2018_5_what_was_reported_is_not_sent_again() {
    let mut script = flight_of_ten(OFFER);
    script.sack(101, &[(301, 501), (601, 1001)]);
    let mut sent = Vec::new();
    while script.now_ns < 2 * SECOND && sent.len() < 3 {
        sent.extend(script.wait().1.iter().map(|sent| sent.sequence));
    }
    assert_eq!(sent, [101, 201, 501]);
    script.ack(1001);
    assert_eq!((script.connection.unacknowledged(), script.wait().1), (0, vec![]));
}

#[test]
fn rfc6298_3_what_was_sent_twice_is_not_measured() {
    let mut script = Script::usual();
    let before = script.connection.round_trip_ns();
    script.write(b"order");
    let _ = script.one();
    assert_eq!(script.wait().1[0].sequence, 1);
    script.pass(10 * MS);
    script.ack(6);
    assert_eq!((script.connection.unacknowledged(), script.connection.round_trip_ns()), (0, before));
}

#[test]
fn rfc8985_6_2_a_segment_late_by_less_than_the_reordering_window_is_not_sent_again() {
    let mut script = flight_of_ten(OFFER);
    script.sack(1, &[(101, 301)]);
    script.silent();
    script.pass(50 * US);
    script.silent();
    script.ack(1001);
    script.silent();
    let statistics = script.connection.statistics();
    assert_eq!((statistics.retransmissions, statistics.fast_recoveries), (0, 0));
}

#[test]
fn rfc8985_6_2_three_later_segments_are_no_proof_within_the_floor() {
    let mut script = flight_of_ten(OFFER);
    script.sack(1, &[(101, 1001)]);
    script.pass(100 * US);
    script.silent();
    script.ack(1001);
    assert_eq!(script.connection.statistics().retransmissions, 0);
    let mut script = flight_of_ten(OFFER);
    script.sack(1, &[(101, 1001)]);
    let (waited, sent) = script.wait();
    assert_eq!((waited, sent[0].sequence), (120 * US, 1));
}

#[test]
fn rfc8985_6_2_step_5_after_the_window_it_is() {
    let mut script = flight_of_ten(OFFER);
    script.sack(1, &[(101, 301)]);
    let (waited, sent) = script.wait();
    assert_eq!((waited, sent[0].sequence), (250 * US, 1), "a quarter of the round trip");
}

#[test]
fn rfc8985_6_2_a_retransmission_that_is_lost_too_is_found_without_a_timeout() {
    let mut script = flight_of_ten(OFFER);
    script.sack(1, &[(101, 501)]);
    let (_, sent) = script.wait();
    assert_eq!(sent[0].sequence, 1);
    // New data sent after the retransmission arrives; the retransmission does not.
    script.pass(10 * US);
    script.sack(1, &[(101, 1001)]);
    script.write(&[10; 100]);
    assert_eq!(script.one().sequence, 1001);
    script.pass(MS);
    script.sack(1, &[(101, 1101)]);
    let (waited, sent) = script.wait();
    assert_eq!(sent[0].sequence, 1);
    assert!(waited <= MS, "{waited}");
    assert_eq!(script.connection.statistics().timeouts, 0);
}

#[test]
fn rfc8985_7_2_a_lone_lost_segment_is_probed_after_two_round_trips() {
    let mut script = Script::usual();
    script.write(b"order");
    let _ = script.one();
    let (waited, sent) = script.wait();
    assert_eq!((sent[0].sequence, sent[0].payload.clone()), (1, b"order".to_vec()));
    assert_eq!(waited, 2 * MS + MS / 2);
    assert!(waited <= 3 * MS + MS);
    assert_eq!(script.connection.statistics().tail_probes, 1);
    script.pass(MS);
    script.ack(6);
    assert_eq!(script.connection.statistics().timeouts, 0);
    // The next one may be lost as well.
    script.write(b"order");
    let _ = script.one();
    assert!(script.wait().0 <= 4 * MS);
    assert_eq!(script.connection.statistics().tail_probes, 2);
}

#[test]
fn rfc8985_6_2_step_4_once_reordering_was_seen_three_later_segments_are_no_proof() {
    let mut script = flight_of_ten(OFFER);
    script.sack(1, &[(101, 301)]);
    script.ack(301);
    script.sack(301, &[(401, 1001)]);
    let (waited, sent) = script.wait();
    assert_eq!((waited, sent[0].sequence), (250 * US, 301), "a quarter of the round trip");
}

#[test]
fn rfc8985_6_2_step_4_a_superfluous_copy_widens_the_reordering_window() {
    let mut script = flight_of_ten(OFFER);
    script.sack(1, &[(101, 1001)]);
    assert_eq!(script.wait().0, 120 * US);
    script.ack(1001);
    script.sack(1001, &[(1, 101)]);
    for at in 0..10 {
        script.write(&[at; 100]);
        let _ = script.one();
    }
    script.pass(MS);
    script.sack(1001, &[(1101, 2001)]);
    let (waited, sent) = script.wait();
    assert_eq!((waited, sent[0].sequence), (500 * US, 1001), "two quarters of the round trip");
}

#[test]
fn rfc8985_6_2_step_4_sixteen_recoveries_later_the_reordering_window_is_narrow_again() {
    let mut script = flight_of_ten(OFFER);
    let mut waits = Vec::new();
    for round in 0..18 {
        let begin = 1 + round * 1000;
        script.sack(begin, &[(begin + 100, begin + 1000)]);
        waits.push(script.wait().0);
        script.ack(begin + 1000);
        if round == 0 {
            script.sack(begin + 1000, &[(begin, begin + 100)]);
        }
        for at in 0..10 {
            script.write(&[at; 100]);
            let _ = script.one();
        }
        script.pass(MS);
    }
    assert_eq!((waits[0], &waits[1..17], waits[17]), (120 * US, &[500 * US; 16][..], 250 * US));
}

#[test]
fn rfc8985_6_3_a_timeout_takes_the_first_for_lost_and_not_what_was_sent_just_before() {
    let mut script = Script::usual();
    script.write(b"order");
    let _ = script.one();
    assert_eq!(script.wait().1[0].sequence, 1, "the tail is probed");
    let due = script.connection.next_due_ns();
    script.pass(due - script.now_ns - 10 * US);
    script.write(b"late");
    assert_eq!(script.one().sequence, 6);
    let (_, sent) = script.wait();
    assert_eq!((sent.iter().map(|sent| sent.sequence).collect::<Vec<_>>(), script.connection.statistics().timeouts), (vec![1], 1));
}

#[test]
fn rfc5681_4_1_after_a_pause_the_initial_window_is_the_limit_again() {
    let mut script = Script::usual();
    let mut flights = Vec::new();
    for _ in 0..5 {
        script.write(&vec![1; 60_000]);
        loop {
            let sent = script.sent();
            let Some(last) = sent.last() else { break };
            flights.push(sent.len());
            script.pass(MS);
            script.ack(last.sequence + last.payload.len() as u32);
        }
    }
    assert!(flights.iter().any(|&segments| segments > 20), "{flights:?}");
    script.pass(10 * SECOND);
    script.write(&vec![1; 60_000]);
    assert_eq!(script.sent().len(), 10);
}

#[test]
fn rfc8985_6_2_step_2_the_answer_to_the_first_copy_says_nothing_of_the_second() {
    let mut script = Script::usual();
    for at in 0..3 {
        script.write(&[at; 100]);
        let _ = script.one();
        script.pass(10 * US);
    }
    let (_, sent) = script.wait();
    assert_eq!((sent.len(), sent[0].sequence), (1, 201), "the tail is probed");
    script.pass(50 * US);
    script.sack(1, &[(201, 301)]);
    script.silent();
    script.pass(500 * US);
    script.silent();
    script.ack(301);
    assert_eq!(script.connection.statistics().retransmissions, 1);
}

#[test]
fn rfc8985_7_2_where_the_timeout_would_come_first_the_probe_takes_its_place() {
    let mut script = Script::open(&TcpConfig::default(), OFFER, 20 * MS);
    let mut written = 1;
    for _ in 0..60 {
        script.write(b"order");
        let _ = script.one();
        script.pass(20 * MS);
        written += 5;
        script.ack(written);
    }
    script.write(b"order");
    let _ = script.one();
    let (waited, _) = script.wait();
    assert!((25 * MS..27 * MS).contains(&waited), "the round trip and the floor: {waited}");
    let statistics = script.connection.statistics();
    assert_eq!((statistics.tail_probes, statistics.timeouts), (1, 0));
    let (waited, _) = script.wait();
    assert!(waited >= 25 * MS, "and then the time-out has its time: {waited}");
    assert_eq!(script.connection.statistics().timeouts, 1);
}

#[test]
fn rfc8985_7_3_a_probe_prefers_new_data() {
    let mut script = Script::open(&TcpConfig { initial_window: 2, ..TcpConfig::default() }, OFFER, MS);
    script.write(&[1; 1448 * 3]);
    assert_eq!(script.sent().len(), 2, "the congestion window is full");
    let (_, sent) = script.wait();
    assert_eq!(sent[0].sequence, 1 + 2 * 1448);
}

#[test]
fn rfc8985_7_4_2_a_superfluous_probe_costs_no_window() {
    let mut script = Script::usual();
    let window = script.connection.congestion_window();
    script.write(b"order");
    let _ = script.one();
    let _ = script.wait();
    script.ack(6);
    script.sack(6, &[(1, 6)]);
    assert_eq!((script.connection.statistics().spurious, script.connection.congestion_window()), (1, window));
    script.write(b"order");
    let _ = script.one();
    script.ack(11);
    assert_eq!(script.connection.congestion_window(), window);
}

#[test]
fn rfc8985_7_4_2_a_second_plain_ack_says_the_same_where_duplicates_are_not_reported() {
    let mut script = Script::open(&TcpConfig::default(), Offer { sack: false, ..OFFER }, MS);
    script.ack(1);
    let window = script.connection.congestion_window();
    script.write(b"order");
    let _ = script.one();
    let _ = script.wait();
    script.ack(6);
    script.ack(6);
    script.write(b"order");
    let _ = script.one();
    script.ack(11);
    assert_eq!(script.connection.congestion_window(), window);
}

#[test]
fn rfc8985_7_4_2_a_loss_that_a_probe_repaired_counts_as_one() {
    let mut script = Script::usual();
    let window = script.connection.congestion_window();
    script.write(b"order");
    let _ = script.one();
    let _ = script.wait();
    script.ack(6);
    assert_eq!(script.connection.congestion_window(), window, "which copy arrived is not known yet");
    script.write(b"order");
    let _ = script.one();
    script.ack(11);
    assert!(script.connection.congestion_window() < window);
}

#[test]
fn rfc3708_a_timeout_found_groundless_by_duplicate_reports_gives_the_window_back() {
    let mut script = Script::usual();
    let window = script.connection.congestion_window();
    script.write(b"order");
    let _ = script.one();
    let _ = script.wait();
    let (_, again) = script.wait();
    assert_eq!((again[0].sequence, script.connection.statistics().timeouts), (1, 1));
    assert_eq!(script.connection.congestion_window(), 1448);
    script.ack(6);
    script.sack(6, &[(1, 6)]);
    assert!(script.connection.congestion_window() >= window);
}

/// Five segments under way, their probe, and the time-out that comes before any answer; with what the window was, and the
/// timestamp of the first copies.
fn timed_out(offer: Offer) -> (Script, usize, u32) {
    let mut script = Script::open(&TcpConfig::default(), offer, MS);
    for at in 0..5 {
        script.write(&[at; 1000]);
        let _ = script.one();
    }
    let (window, stamp) = (script.connection.congestion_window(), script.last_stamp);
    let mut again = Vec::new();
    while script.connection.statistics().timeouts == 0 {
        again.extend(script.wait().1.iter().map(|sent| sent.sequence));
    }
    assert_eq!(again, [4001, 1], "the tail is probed, then the front is sent again");
    assert!(script.connection.congestion_window() < 1500);
    (script, window, stamp)
}

#[test]
fn rfc5682_3_1_answers_to_what_was_not_sent_again_show_a_timeout_groundless() {
    // Without timestamps: the acknowledgements of the first copies come at last.
    let (mut script, window, _) = timed_out(Offer { stamps: false, ..OFFER });
    script.ack(2001);
    script.silent();
    assert!(script.connection.congestion_window() >= window, "the window is what it was");
    script.ack(5001);
    script.silent();
    assert_eq!((script.connection.unacknowledged(), script.connection.statistics().retransmissions), (0, 2));
}

#[test]
fn rfc5682_3_1_an_answer_to_the_copy_alone_leaves_the_rest_lost() {
    let (mut script, window, _) = timed_out(Offer { stamps: false, ..OFFER });
    script.ack(1001);
    assert_eq!(script.sent().iter().map(|sent| sent.sequence).collect::<Vec<_>>(), [1001, 2001], "slow start from one segment");
    assert!(script.connection.congestion_window() < window);
}

#[test]
fn rfc6298_3_without_sack_what_waited_behind_a_hole_is_no_round_trip_and_no_sign_of_a_groundless_timeout() {
    let (mut script, window, _) = timed_out(Offer { sack: false, stamps: false, ..OFFER });
    let before = script.connection.round_trip_ns();
    script.pass(SECOND);
    // The copy of the first filled the hole; the second and the third had been there, sent once and long ago.
    script.ack(3001);
    assert_eq!(script.sent().iter().map(|sent| sent.sequence).collect::<Vec<_>>(), [3001, 4001], "the rest is lost and goes again");
    assert_eq!(script.connection.round_trip_ns(), before);
    assert!(script.connection.congestion_window() < window);
}

#[test]
fn rfc3522_3_2_an_answer_with_the_first_copys_timestamp_shows_a_timeout_groundless() {
    let (mut script, window, stamp) = timed_out(OFFER);
    script.last_stamp = stamp;
    script.ack(1001);
    script.silent();
    assert!(script.connection.congestion_window() >= window);
    let (mut script, window, _) = timed_out(OFFER);
    script.ack(1001);
    assert_eq!(script.sent().len(), 2, "with the copy's timestamp it was lost");
    assert!(script.connection.congestion_window() < window);
}

#[test]
fn rfc4015_3_2_a_groundless_timeout_is_learned_from() {
    let (mut script, ..) = timed_out(Offer { stamps: false, ..OFFER });
    script.pass(20 * MS);
    script.ack(5001);
    assert!(script.connection.round_trip_ns() > Some(3 * MS), "{:?}", script.connection.round_trip_ns());
    script.write(b"order");
    let _ = script.one();
    let (waited, _) = script.wait();
    assert!(waited > 5 * MS, "{waited}");
}

#[test]
fn rfc3042_2_each_repeated_acknowledgement_lets_a_new_segment_go() {
    for sack in [true, false] {
        let mut script = Script::open(&TcpConfig { initial_window: 4, ..TcpConfig::default() }, Offer { sack, ..OFFER }, MS);
        script.ack(1);
        script.write(&[1; 1448 * 8]);
        assert_eq!(script.sent().len(), 4, "the window is full");
        script.pass(50 * US);
        let repeat = |script: &mut Script, end| if sack { script.sack(1, &[(1449, end)]) } else { script.ack(1) };
        for later in [2, 3] {
            repeat(&mut script, 1 + later * 1448);
            let sent: Vec<_> = script.sent().iter().map(|sent| sent.sequence).collect();
            assert_eq!(sent, [1 + (later + 2) * 1448]);
        }
        assert_eq!(script.connection.statistics().retransmissions, 0);
    }
}

#[test]
fn rfc6298_5_1_and_6298_5_2_and_6298_5_3_the_timer_runs_while_something_is_out_and_starts_over_with_what_is_acknowledged() {
    // Probes that would come much later leave the time-out as what is due.
    let config = TcpConfig { peer_ack_delay: 10 * SECOND, reordering_floor: 10 * SECOND, ..TcpConfig::default() };
    let mut script = Script::open(&config, OFFER, MS);
    script.ack(1);
    let left = |script: &Script| script.connection.next_due_ns().saturating_sub(script.now_ns);
    assert!(left(&script) > SECOND, "nothing is out");
    script.write(b"order");
    let _ = script.one();
    let timeout = left(&script);
    assert!((5 * MS..20 * MS).contains(&timeout), "{timeout}");
    script.pass(MS);
    script.write(b"order");
    let _ = script.one();
    assert_eq!(left(&script), timeout - MS, "it runs already: what follows does not put it off");
    script.pass(MS);
    script.ack(6);
    assert!(left(&script) > timeout - 2 * MS, "what is left has all of its time again");
    assert!((5 * MS..20 * MS).contains(&left(&script)), "{}", left(&script));
    script.pass(MS);
    script.ack(11);
    assert!(left(&script) > SECOND, "nothing is out any more");
    script.pass(SECOND);
    script.silent();
    assert_eq!(script.connection.statistics().timeouts, 0);
}

#[test]
fn rfc6298_5_4_to_5_6_timeouts_double_and_start_over_after_an_acknowledgement() {
    let mut script = Script::usual();
    script.write(b"order");
    let _ = script.one();
    let (_, probe) = script.wait();
    assert_eq!(probe[0].sequence, 1);
    let mut waits = Vec::new();
    for _ in 0..4 {
        let (waited, sent) = script.wait();
        assert_eq!(sent[0].sequence, 1);
        waits.push(waited);
    }
    assert!(waits[0] >= 5 * MS && waits[0] <= 7 * MS, "a round trip and the floor: {waits:?}");
    assert!(waits.windows(2).all(|pair| pair[1] == 2 * pair[0]), "{waits:?}");
    script.ack(6);
    script.write(b"order");
    let _ = script.one();
    let _ = script.wait();
    let (waited, _) = script.wait();
    assert!(waited <= waits[0], "{waited}");
}

#[test]
fn rfc5681_3_2_and_6582_3_2_a_peer_without_sack_is_repaired_by_repeated_and_partial_acks() {
    let mut script = flight_of_ten(Offer { sack: false, ..OFFER });
    // The first only tells of the scaled window.
    for _ in 0..3 {
        script.ack(1);
    }
    script.silent();
    script.ack(1);
    assert_eq!(script.one().sequence, 1);
    for _ in 0..5 {
        script.ack(1);
    }
    script.silent();
    script.ack(301);
    assert_eq!(script.one().sequence, 301, "a partial acknowledgement names the next hole");
    script.ack(1001);
    script.silent();
    let statistics = script.connection.statistics();
    assert_eq!((statistics.retransmissions, statistics.fast_recoveries, statistics.timeouts), (2, 1, 0));
}

#[test]
fn rfc2018_8_what_a_peer_reported_and_let_go_is_sent_again() {
    let mut script = flight_of_ten(OFFER);
    script.sack(1, &[(101, 1001)]);
    let _ = script.wait();
    // The peer has dropped all of it, and acknowledges the front alone.
    script.ack(101);
    let mut again = Vec::new();
    for _ in 0..20 {
        let (_, sent) = script.wait();
        again.extend(sent.iter().map(|sent| sent.sequence));
        if let Some(last) = sent.last() {
            script.ack(last.sequence + 100);
        }
        if script.connection.unacknowledged() == 0 {
            break;
        }
    }
    assert_eq!((script.connection.unacknowledged(), script.connection.state()), (0, State::Established), "{again:?}");
}

#[test]
fn rfc5681_3_1_the_congestion_window_bounds_what_is_under_way_and_grows() {
    let mut script = Script::usual();
    script.write(&vec![1; 60_000]);
    assert_eq!(script.sent().len(), 10, "RFC 6928: ten segments");
    script.pass(MS);
    script.ack(1 + 1448 * 2);
    assert_eq!(script.sent().len(), 4, "slow start: two left, two more");
}

#[test]
fn rfc1191_6_4_a_narrower_path_cuts_what_is_under_way() {
    let mut script = Script::usual();
    script.write(&[1; 2000]);
    assert_eq!(script.sent().len(), 2);
    script.connection.narrow(1000);
    let sent: Vec<_> = script.sent().iter().map(|sent| (sent.sequence, sent.payload.len())).collect();
    assert_eq!(sent, [(1, 988), (989, 460)]);
    script.ack(2001);
    assert_eq!(script.connection.unacknowledged(), 0);
}

#[test]
fn rfc5927_4_1_only_what_is_under_way_can_be_quoted() {
    let mut script = Script::usual();
    script.write(&[1; 2000]);
    let _ = script.sent();
    script.ack(1449);
    let quoted = |sequence: u32| script.connection.has_under_way(OUR_ISN.wrapping_add(sequence));
    assert_eq!([1448, 1449, 2000, 2001].map(quoted), [false, true, true, false]);
}

#[test]
fn rfc8899_a_path_that_swallows_big_segments_is_found_out() {
    let mut script = Script::usual();
    script.write(&[1; 1448]);
    let mut passed = 0;
    for _ in 0..12 {
        let (_, sent) = script.wait();
        if let Some(small) = sent.iter().find(|sent| sent.payload.len() <= 524) {
            passed = small.payload.len();
            break;
        }
    }
    assert_eq!(passed, 524);
}
