//! Segments made to do harm: none ends in a panic, in an endless exchange, or in a byte that was not sent.

mod tcp_support;

use netstack::tcp::{Connection, State, TcpConfig};
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr};
use tcp_support::*;

fn control() -> impl Strategy<Value = TcpControl> {
    prop_oneof![
        4 => Just(TcpControl::None),
        4 => Just(TcpControl::Psh),
        1 => Just(TcpControl::Syn),
        2 => Just(TcpControl::Fin),
        1 => Just(TcpControl::Rst),
    ]
}

/// A number near one of those that matter, or any.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => (0..20_u32, 0..3000_u32).prop_map(|(back, on)| on.wrapping_sub(back)), 1 => any::<u32>()]
}

#[derive(Clone, Debug)]
enum Step {
    Segment {
        control: TcpControl,
        sequence: u32,
        ack: Option<u32>,
        window: u16,
        blocks: [Option<(u32, u32)>; 3],
        stamp: Option<(u32, u32)>,
        options: (Option<u16>, Option<u8>, bool),
        len: usize,
    },
    Write(usize),
    Read(usize),
    Pass(u64),
    PutBack(usize),
    Narrow(u16),
    Close,
    Abort,
}

fn step() -> impl Strategy<Value = Step> {
    let block = || proptest::option::of((number(), number()));
    let stamp = proptest::option::weighted(0.8, (prop_oneof![3 => 990..1100_u32, 1 => any::<u32>()], any::<u32>()));
    let options = (proptest::option::of(any::<u16>()), proptest::option::of(any::<u8>()), any::<bool>());
    let ack = proptest::option::weighted(0.95, number());
    prop_oneof![
        20 => (control(), number(), ack, any::<u16>(), [block(), block(), block()], stamp, options, 0..3000_usize)
            .prop_map(|(control, sequence, ack, window, blocks, stamp, options, len)| Step::Segment {
                control, sequence, ack, window, blocks, stamp, options, len,
            }),
        5 => (0..5000_usize).prop_map(Step::Write),
        3 => (0..5000_usize).prop_map(Step::Read),
        5 => prop_oneof![0..2 * MS, 0..100 * SECOND].prop_map(Step::Pass),
        2 => (0..4000_usize).prop_map(Step::PutBack),
        1 => any::<u16>().prop_map(Step::Narrow),
        1 => Just(Step::Close),
        1 => (0..20_u8).prop_map(|chance| if chance == 0 { Step::Abort } else { Step::Read(10) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_segments_and_calls_panics(
        steps in proptest::collection::vec(step(), 1..120), open in any::<bool>(), sack in any::<bool>(), small in any::<bool>(),
    ) {
        let config = TcpConfig {
            receive_buffer: if small { 2048 } else { 65_536 },
            send_buffer: if small { 4096 } else { 65_536 },
            segments_max: 64,
            reordering_floor: if sack { 0 } else { 120_000 },
            keep_alive: small.then_some(SECOND),
            ..TcpConfig::default()
        };
        let offer = Offer { sack, window: if small { 500 } else { 60_000 }, ..OFFER };
        let mut script = if open { Script::open(&config, offer, MS) } else { Script::connecting(&config) };
        let payload = [9; 3000];
        for step in steps {
            match step {
                Step::Segment { control, sequence, ack, window, blocks, stamp, options, len } => {
                    let mut repr = segment(control, sequence, ack, &payload[..len]);
                    repr.window_len = window;
                    repr.sack_ranges = blocks.map(|block| block.map(|(a, b)| (OUR_ISN.wrapping_add(a), OUR_ISN.wrapping_add(b))));
                    repr.timestamp = stamp.map(|(value, echo)| TcpTimestampRepr::new(value, echo));
                    (repr.max_seg_size, repr.window_scale, repr.sack_permitted) = options;
                    let taken = script.connection.on_segment(script.now_ns, &repr);
                    prop_assert!(taken.fresh.start <= taken.fresh.end && taken.fresh.end <= len);
                }
                Step::Write(len) => {
                    let _ = script.connection.write(script.now_ns, len, |room| (room.len(), ()));
                }
                Step::Read(len) => script.connection.read(|bytes| (len.min(bytes.len() + 10), ())),
                Step::Pass(ns) => script.pass(ns),
                Step::PutBack(len) => script.connection.put_back(&payload[..len.min(3000)]),
                Step::Narrow(mss) => script.connection.narrow(mss),
                Step::Close => script.connection.close(script.now_ns),
                Step::Abort => script.connection.abort(),
            }
            for sent in script.sent() {
                prop_assert!(sent.payload.len() <= 1460);
            }
            let due = script.connection.next_due_ns();
            prop_assert!(due > script.now_ns, "something is due that is never sent: {:?}", script.connection.state());
            if script.connection.state() == State::Closed {
                prop_assert_eq!(due, u64::MAX);
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), open in any::<bool>()) {
        let mut script = if open { Script::usual() } else { Script::connecting(&TcpConfig::default()) };
        let mut bytes = bytes;
        for (at, byte) in [(0_usize, 443_u16.to_be_bytes()), (2, 50_000_u16.to_be_bytes())] {
            if let Some(port) = bytes.get_mut(at..at + 2) {
                port.copy_from_slice(&byte);
            }
        }
        let addresses = (IpAddress::Ipv4(*PEER.ip()), IpAddress::Ipv4(*OURS.ip()));
        if let Ok(packet) = TcpPacket::new_checked(&bytes[..])
            && let Ok(repr) = TcpRepr::parse(&packet, &addresses.0, &addresses.1, &ChecksumCapabilities::ignored())
        {
            let taken = script.connection.on_segment(script.now_ns, &repr);
            prop_assert!(taken.fresh.end <= repr.payload.len());
        }
        let _ = script.sent();
    }
}

#[test]
fn two_sides_that_disagree_do_not_answer_each_other_for_ever() {
    let mut a = Script::usual();
    let mut b = Script::usual();
    let mut exchanged = 0;
    let mut to_b = vec![(5_000_000_u32, 5_000_000_u32)];
    while let Some((sequence, ack)) = to_b.pop() {
        let mut repr = segment(TcpControl::None, 0, Some(0), &[]);
        (repr.seq_number, repr.ack_number) = (TcpSeqNumber(sequence as i32), Some(TcpSeqNumber(ack as i32)));
        repr.timestamp = Some(TcpTimestampRepr::new(5000, 0));
        let receiver: &mut Connection = if exchanged % 2 == 0 { &mut b.connection } else { &mut a.connection };
        let _ = receiver.on_segment(a.now_ns, &repr);
        let answer = |repr: &TcpRepr<'_>| (repr.seq_number.0 as u32, repr.ack_number.map_or(0, |ack| ack.0 as u32));
        if let Some(answer) = receiver.poll_transmit(a.now_ns, answer) {
            to_b.push((answer.0.wrapping_add(1 << 30), answer.1.wrapping_add(1 << 30)));
        }
        exchanged += 1;
        assert!(exchanged < 100);
    }
    assert!(exchanged > 10, "the first are answered");
}
