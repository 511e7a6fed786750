//! Two endpoints over a wire that loses, doubles, reorders, corrupts and delays: the streams arrive whole.

#[path = "tcp_support/smol.rs"]
mod smol;
mod tcp_support;

use netstack::tcp::{State, TcpConfig};
use proptest::prelude::*;
use smol::Smol;
use tcp_support::*;

fn faults() -> impl Strategy<Value = Faults> {
    (0..80_u64, 0..50_u64, 0..300_u64, 0..30_u64, 10..2000_u64, 1..3000_u64, 0..20_u64).prop_map(
        |(loss, duplication, reordering, corruption, delay_us, lateness_us, serialization_us)| Faults {
            loss,
            duplication,
            reordering,
            corruption,
            delay_ns: delay_us * US,
            lateness_ns: lateness_us * US,
            serialization_ns: serialization_us * US,
        },
    )
}

/// Bad luck is no reason to give up.
fn patient() -> TcpConfig {
    TcpConfig { user_timeout: 600 * SECOND, rto_max: 5 * SECOND, ..TcpConfig::default() }
}

fn isn() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), (0..200_000_u32).prop_map(|back| u32::MAX - back), Just(u32::MAX), (0..5_u32).prop_map(|x| (1 << 31) - 2 + x)]
}

/// A checksum of 16 bits lets some of what was corrupted through, but never a single flipped bit.
fn compare(name: &str, sent: &[u8], received: &[u8]) -> Result<(), TestCaseError> {
    prop_assert_eq!(sent.len(), received.len(), "{}: bytes", name);
    let differs = sent.iter().zip(received).position(|(a, b)| a != b);
    prop_assert_eq!(differs, None, "{}: first wrong byte", name);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn streams_arrive_whole_between_ours_and_smoltcp(
        faults in faults(), seed in any::<u64>(), isn in isn(), up in 0..80_000_usize, down in 0..80_000_usize,
        receive_buffer in prop_oneof![Just(2048_usize), Just(16 * 1024), Just(256 * 1024)],
        peer_buffer in prop_oneof![Just(2000_usize), Just(20_000), Just(200_000)],
        (timestamps, sack) in (any::<bool>(), any::<bool>()), use_per_mille in prop_oneof![Just(1000_u64), Just(0), 0..1000_u64],
    ) {
        let config = TcpConfig { receive_buffer, timestamps, sack, ..patient() };
        let (to_peer, to_us) = (stream(up, seed), stream(down, !seed));
        let mut ours = Ours::new(&config, OURS, PEER, isn, SECOND, to_peer.clone());
        ours.use_per_mille = use_per_mille;
        let mut peer = Smol::new(peer_buffer, to_us.clone(), seed);
        let mut wire = Wire::new(faults, seed);
        let whole = |ours: &Ours, peer: &Smol| ours.received.len() >= to_us.len() && peer.received().len() >= to_peer.len();
        let until = |ours: &Ours, peer: &Smol, _: u64| whole(ours, peer) && ours.peer_closed && ours.finished();
        run(&mut wire, &mut ours, &mut peer, SECOND, 3000 * SECOND, until);
        compare("up", &to_peer, peer.received())?;
        compare("down", &to_us, &ours.received)?;
        prop_assert!(matches!(ours.connection.state(), State::TimeWait | State::Closed), "{:?}", ours.connection.state());
    }

    #[test]
    fn streams_arrive_whole_between_two_of_ours(
        faults in faults(), seed in any::<u64>(), isns in (isn(), isn()), sizes in (0..300_000_usize, 0..300_000_usize),
        receive_buffers in (prop_oneof![Just(4096_usize), Just(256 * 1024)], prop_oneof![Just(2048_usize), Just(64 * 1024)]),
        sack in any::<bool>(), use_per_mille in 0..1001_u64, mss in 200..1461_u16,
    ) {
        let config = |receive_buffer, mss| TcpConfig { receive_buffer, sack, mss, ..patient() };
        let (up, down) = (stream(sizes.0, seed), stream(sizes.1, !seed));
        let mut a = Ours::new(&config(receive_buffers.0, 1460), OURS, PEER, isns.0, SECOND, up.clone());
        let mut b = Ours::new(&config(receive_buffers.1, mss), PEER, OURS, isns.1, SECOND, down.clone());
        a.use_per_mille = use_per_mille;
        let mut wire = Wire::new(faults, seed);
        let until = |a: &Ours, b: &Ours, _: u64| a.peer_closed && b.peer_closed && a.finished() && b.finished();
        run(&mut wire, &mut a, &mut b, SECOND, 3000 * SECOND, until);
        compare("up", &up, &b.received)?;
        compare("down", &down, &a.received)?;
        prop_assert!(a.finished() && b.finished(), "{:?} {:?}", a.connection.state(), b.connection.state());
    }
}

#[test]
fn a_slow_reader_closes_and_opens_the_window_without_loss() {
    let (to_peer, to_us) = (stream(100_000, 1), stream(10, 2));
    let mut ours = Ours::new(&TcpConfig::default(), OURS, PEER, u32::MAX - 50_000, SECOND, to_peer.clone());
    let mut peer = Smol::new(4000, to_us, 3);
    peer.reads_max = 700;
    let mut wire = Wire::new(CLEAN, 4);
    run(&mut wire, &mut ours, &mut peer, SECOND, 600 * SECOND, |_, peer, _| peer.received().len() >= 100_000);
    assert!(peer.received() == to_peer);
}

#[test]
fn a_path_that_turns_narrow_under_way_is_survived_with_few_records() {
    for seed in 1..20 {
        let config = TcpConfig { segments_max: 64, ..TcpConfig::default() };
        let up = stream(200_000, seed);
        let mut ours = Ours::new(&config, OURS, PEER, u32::MAX - 50_000, SECOND, up.clone());
        let mut peer = Smol::new(100_000, Vec::new(), seed);
        let mut wire = Wire::new(Faults { loss: 20, ..CLEAN }, seed);
        let half = |_: &Ours, peer: &Smol, _: u64| peer.received().len() >= 100_000;
        let now_ns = run(&mut wire, &mut ours, &mut peer, SECOND, 60 * SECOND, half);
        ours.connection.narrow(100);
        wire.drop = Box::new(|from, _, packet| from == 0 && packet.len() > 140);
        run(&mut wire, &mut ours, &mut peer, now_ns, 60 * SECOND, |_, peer, _| peer.received().len() >= 200_000);
        assert!(peer.received() == up, "seed {seed}: {} {:?}", peer.received().len(), ours.connection.statistics());
    }
}
