//! What losses and reordering cost, in round trips, measured on a wire with known faults.

#[path = "tcp_support/smol.rs"]
mod smol;
mod tcp_support;

use netstack::tcp::TcpConfig;
use smol::Smol;
use tcp_support::*;

const RTT: u64 = 500 * US;

/// Our side and smoltcp's, open, nothing under way.
fn opened(config: &TcpConfig, faults: Faults, seed: u64) -> (Wire, Ours, Smol, u64) {
    let mut ours = Ours::new(config, OURS, PEER, 0xffff_fff0, SECOND, Vec::new());
    let mut peer = Smol::new(256 * 1024, Vec::new(), seed);
    (ours.close_after, peer.close_after) = (false, false);
    peer.delay_acks(false);
    let mut wire = Wire::new(faults, seed);
    let now_ns = run(&mut wire, &mut ours, &mut peer, SECOND, 20 * MS, |_, _, now_ns| now_ns >= SECOND + 15 * MS);
    (wire, ours, peer, now_ns)
}

/// Drops the data packets of our side for whose number (of data packets, from 0) `which` says so.
fn drop_data(wire: &mut Wire, mut which: impl FnMut(u64) -> bool + 'static) {
    let mut count = 0;
    wire.drop = Box::new(move |from, _, packet| {
        let header = 20 + usize::from(packet[32] >> 4) * 4;
        if from != 0 || packet.len() <= header {
            return false;
        }
        count += 1;
        which(count - 1)
    });
}

#[test]
fn a_lone_lost_order_arrives_within_three_round_trips_and_a_millisecond() {
    for rtt in [100 * US, RTT, 5 * MS, 40 * MS] {
        let faults = Faults { delay_ns: rtt / 2, ..CLEAN };
        let mut ours = Ours::new(&TcpConfig::default(), OURS, PEER, 1, SECOND, Vec::new());
        let mut peer = Smol::new(256 * 1024, Vec::new(), 1);
        (ours.close_after, peer.close_after) = (false, false);
        peer.delay_acks(false);
        let mut wire = Wire::new(faults, 1);
        let mut now_ns = run(&mut wire, &mut ours, &mut peer, SECOND, SECOND, |_, _, now_ns| now_ns >= SECOND + 500 * MS);
        for order in 1..=2 {
            drop_data(&mut wire, |number| number == 0);
            let begin = now_ns;
            ours.to_send.extend_from_slice(&[order; 300]);
            let arrived =
                run(&mut wire, &mut ours, &mut peer, now_ns, 10 * SECOND, |_, peer, _| peer.received().len() >= 300 * usize::from(order));
            let took = arrived - begin;
            println!(
                "round trip {} us: the lost order arrived after {} us ({:.2} round trips)",
                rtt / US,
                took / US,
                took as f64 / rtt as f64
            );
            assert!(took <= 3 * rtt + MS, "{took} of {rtt}");
            now_ns = run(&mut wire, &mut ours, &mut peer, arrived, SECOND, |_, _, now_ns| now_ns >= arrived + 500 * MS);
        }
        assert_eq!(ours.connection.statistics().timeouts, 0);
    }
}

#[test]
fn reordering_by_50_us_costs_no_retransmission_and_no_stall() {
    for (seed, delay_ns) in [(1, 50 * US), (2, 250 * US), (3, 2 * MS)] {
        let faults = Faults { delay_ns, reordering: 200, lateness_ns: 50 * US, serialization_ns: 2 * US, ..CLEAN };
        let (mut wire, mut ours, mut peer, mut now_ns) = opened(&TcpConfig::default(), faults, seed);
        let mut total = 0;
        for burst in 0..400 {
            for size in 0..8 {
                ours.to_send.extend_from_slice(&vec![burst as u8; 200 + size]);
                total += 200 + size;
            }
            let begin = now_ns;
            now_ns = run(&mut wire, &mut ours, &mut peer, now_ns, SECOND, |_, peer, _| peer.received().len() >= total);
            assert!(now_ns - begin <= delay_ns + 150 * US, "burst {burst}: {} us", (now_ns - begin) / US);
            let settled = now_ns + 20 * MS;
            now_ns = run(&mut wire, &mut ours, &mut peer, now_ns, SECOND, |_, _, now_ns| now_ns >= settled);
        }
        let statistics = ours.connection.statistics();
        println!("delay {} us: {} segments, {} sent again", delay_ns / US, statistics.segments_out, statistics.retransmissions);
        assert_eq!((statistics.retransmissions, statistics.timeouts), (0, 0));
    }
}

#[test]
fn received_data_swapped_by_50_us_while_we_send_is_readable_at_once() {
    let (to_us, up) = (stream(40_000, 9), Vec::new());
    let mut ours = Ours::new(&TcpConfig::default(), OURS, PEER, 7, SECOND, up);
    ours.close_after = false;
    let mut peer = Smol::new(256 * 1024, to_us.clone(), 2);
    peer.close_after = false;
    let mut wire = Wire::new(Faults { reordering: 500, lateness_ns: 50 * US, ..CLEAN }, 5);
    let mut orders = 0;
    let end = run(&mut wire, &mut ours, &mut peer, SECOND, SECOND, |ours, _, _| {
        orders += 1;
        ours.received.len() >= to_us.len()
    });
    assert!(ours.received == to_us);
    println!("40 KB with half of the packets late: {} us", (end - SECOND) / US);
    assert!(end - SECOND < 20 * MS, "{}", end - SECOND);
}

#[test]
fn a_burst_with_holes_is_whole_after_two_round_trips_without_a_timeout() {
    let config = TcpConfig::default();
    let mut a = Ours::new(&config, OURS, PEER, 1, SECOND, Vec::new());
    let mut b = Ours::new(&config, PEER, OURS, 2, SECOND, Vec::new());
    (a.close_after, b.close_after) = (false, false);
    let mut wire = Wire::new(CLEAN, 1);
    let now_ns = run(&mut wire, &mut a, &mut b, SECOND, SECOND, |_, _, now_ns| now_ns >= SECOND + 50 * MS);
    let before = a.connection.statistics();
    drop_data(&mut wire, |number| matches!(number, 1 | 3 | 4));
    a.chunk = 1448;
    a.to_send = stream(1448 * 10, 3);
    let arrived = run(&mut wire, &mut a, &mut b, now_ns, SECOND, |_, b, _| b.received.len() >= 1448 * 10);
    let took = arrived - now_ns;
    println!("three of ten lost: whole after {:.2} round trips", took as f64 / RTT as f64);
    assert!(took <= 2 * RTT, "{took}");
    let statistics = a.connection.statistics();
    let again = statistics.retransmissions - before.retransmissions;
    assert_eq!((again, statistics.timeouts, statistics.spurious), (3, 0, 0));
}

#[test]
fn a_clean_wire_sees_no_segment_twice_and_header_prediction_takes_the_bulk() {
    let down = stream(2_000_000, 1);
    let mut ours = Ours::new(&TcpConfig::default(), OURS, PEER, 1, SECOND, stream(500_000, 2));
    let mut peer = Smol::new(128 * 1024, down.clone(), 2);
    (ours.close_after, peer.close_after) = (false, false);
    let mut wire = Wire::new(Faults { serialization_ns: 1_200, ..CLEAN }, 1);
    run(&mut wire, &mut ours, &mut peer, SECOND, 60 * SECOND, |ours, peer, _| {
        ours.received.len() >= 2_000_000 && peer.received().len() >= 500_000
    });
    assert!(ours.received == down);
    let statistics = ours.connection.statistics();
    println!("{statistics:?}");
    assert_eq!((statistics.retransmissions, statistics.duplicates, statistics.bytes_copied_in), (0, 0, 0));
    assert!(statistics.predicted * 10 >= statistics.segments_in * 8, "{statistics:?}");
}

/// Bytes a second of a bulk transfer from our side to a peer of ours.
fn goodput(loss: u64, seed: u64) -> u64 {
    const BYTES: usize = 3_000_000;
    let config = TcpConfig::default();
    let mut a = Ours::new(&config, OURS, PEER, 1, SECOND, stream(BYTES, 1));
    let mut b = Ours::new(&config, PEER, OURS, 2, SECOND, Vec::new());
    (a.close_after, b.close_after) = (false, false);
    a.chunk = 1448;
    let mut wire = Wire::new(Faults { loss, delay_ns: 5 * MS, serialization_ns: 12 * US, ..CLEAN }, seed);
    let end = run(&mut wire, &mut a, &mut b, SECOND, 600 * SECOND, |_, b, _| b.received.len() >= BYTES);
    assert!(b.received == a.to_send);
    println!("loss {loss} per mille: {:?}", a.connection.statistics());
    BYTES as u64 * SECOND / (end - SECOND)
}

/// The same with smoltcp as the sender, for comparison.
fn goodput_of_smoltcp(loss: u64, seed: u64) -> u64 {
    const BYTES: usize = 300_000;
    let mut ours = Ours::new(&TcpConfig::default(), OURS, PEER, 1, SECOND, Vec::new());
    let mut peer = Smol::new(128 * 1024, stream(BYTES, 1), seed);
    (ours.close_after, peer.close_after) = (false, false);
    let mut wire = Wire::new(Faults { loss, delay_ns: 5 * MS, serialization_ns: 12 * US, ..CLEAN }, seed);
    let end = run(&mut wire, &mut ours, &mut peer, SECOND, 600 * SECOND, |ours, _, _| ours.received.len() >= BYTES);
    assert_eq!(ours.received.len(), BYTES);
    BYTES as u64 * SECOND / (end - SECOND)
}

#[test]
fn goodput_under_loss_follows_what_the_loss_rate_allows_without_waiting_for_timers() {
    let clean = goodput(0, 1);
    for loss in [10, 50] {
        let ours = (1..=3).map(|seed| goodput(loss, seed)).sum::<u64>() / 3;
        let theirs = (1..=3).map(|seed| goodput_of_smoltcp(loss, seed)).sum::<u64>() / 3;
        // Mathis et al. 1997: MSS / RTT * sqrt(3 / 2p), what Reno reaches on such a path.
        let reno = (1448.0 / 0.01 * (1.5 / (loss as f64 / 1000.0)).sqrt()) as u64;
        println!(
            "loss {loss} per mille: ours {} KB/s (clean {}), Reno by formula {}, smoltcp without congestion control {}",
            ours / 1000,
            clean / 1000,
            reno / 1000,
            theirs / 1000
        );
        assert!(ours * 10 >= reno * 7, "{ours} {reno}");
    }
}
