//! After it was made, a connection allocates nothing: not in opening, sending, losing, repairing or closing.

mod counting_allocator;
mod tcp_support;

use counting_allocator::ALLOCATIONS;
use netstack::tcp::{Connection, State, TcpConfig};
use smoltcp::wire::{TcpControl, TcpRepr};
use tcp_support::*;

/// A segment under way, in a fixed place.
#[derive(Clone, Copy)]
struct Slot {
    repr: TcpRepr<'static>,
    payload: [u8; 1460],
    len: usize,
}

/// Exchanges segments until neither side has any, dropping one in `drop_one_in`.
fn exchange(sides: &mut [Connection; 2], now_ns: &mut u64, chance: &mut Chance, drop_one_in: u64) -> u64 {
    let mut segments = 0;
    for _ in 0..400 {
        let mut quiet = true;
        for from in 0..2 {
            let sent = sides[from].poll_transmit(*now_ns, |repr| {
                let mut slot = Slot { repr: TcpRepr { payload: &[], ..*repr }, payload: [0; 1460], len: repr.payload.len() };
                slot.payload[..slot.len].copy_from_slice(repr.payload);
                slot
            });
            if let Some(slot) = sent {
                (quiet, segments) = (false, segments + 1);
                if drop_one_in == 0 || chance.below(drop_one_in) != 0 {
                    let repr = TcpRepr { payload: &slot.payload[..slot.len], ..slot.repr };
                    let taken = sides[1 - from].on_segment(*now_ns, &repr);
                    let fresh = &repr.payload[taken.fresh];
                    sides[1 - from].put_back(&fresh[fresh.len() / 2..]);
                    sides[1 - from].read(|bytes| (bytes.len(), ()));
                }
            }
        }
        let due = sides[0].next_due_ns().min(sides[1].next_due_ns());
        if quiet && (due == u64::MAX || due > *now_ns + SECOND) {
            break;
        }
        *now_ns = if quiet { due.max(*now_ns + US) } else { *now_ns + 20 * US };
    }
    segments
}

#[test]
fn a_connection_allocates_nothing_after_it_was_made() {
    let config = TcpConfig::default();
    let mut sides = [Connection::new(&config), Connection::new(&config)];
    let mut chance = Chance::new(7);
    let mut now_ns = SECOND;
    let before = ALLOCATIONS.get();
    let mut segments = 0;
    for round in 0..3 {
        sides[0].connect(OURS, PEER, u32::MAX - round, now_ns);
        sides[1].connect(PEER, OURS, round, now_ns);
        segments += exchange(&mut sides, &mut now_ns, &mut chance, 0);
        assert_eq!((sides[0].state(), sides[1].state()), (State::Established, State::Established));
        for _ in 0..200 {
            for side in &mut sides {
                for _ in 0..4 {
                    let _ = side.write(now_ns, 1000, |room| (room.len(), ()));
                }
            }
            segments += exchange(&mut sides, &mut now_ns, &mut chance, 20);
        }
        sides[0].close(now_ns);
        segments += exchange(&mut sides, &mut now_ns, &mut chance, 20);
        sides[1].abort();
        segments += exchange(&mut sides, &mut now_ns, &mut chance, 0);
    }
    let allocated = ALLOCATIONS.get() - before;
    println!("{segments} segments, {:?}", sides[0].statistics());
    assert!(sides[0].statistics().retransmissions > 10 && sides[0].statistics().out_of_order > 10);
    assert_eq!(allocated, 0);
    assert_ne!(TcpControl::Syn, TcpControl::Fin);
    let counted = vec![now_ns];
    assert!(ALLOCATIONS.get() > before, "the counter counts: {counted:?}");
}
