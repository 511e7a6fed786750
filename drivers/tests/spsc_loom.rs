//! The one-way ring under every interleaving of its two threads that the memory model allows.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p drivers --test spsc_loom --release
//! ```
#![cfg(loom)]

use drivers::spsc;

#[test]
fn what_is_pushed_is_popped_once_and_in_order() {
    loom::model(|| {
        let (mut producer, mut consumer) = spsc::ring::<u32>(2);
        let sender = loom::thread::spawn(move || {
            let mut sent = 0;
            // One more than there are slots, so that the ring can be full and can wrap around.
            for value in 1..=3 {
                sent += u32::from(producer.push(value));
            }
            sent
        });
        let mut received = Vec::new();
        for _ in 0..2 {
            received.extend(consumer.pop());
        }
        let sent = sender.join().expect("sender");
        while let Some(value) = consumer.pop() {
            received.push(value);
        }
        // A refused push leaves a gap in the values, never a repetition or a change of order.
        assert!(received.is_sorted_by(|a, b| a < b), "{received:?}");
        assert_eq!(received.len() as u32, sent);
    });
}

#[test]
fn staged_slots_appear_together() {
    loom::model(|| {
        let (mut producer, mut consumer) = spsc::ring::<u32>(2);
        let sender = loom::thread::spawn(move || {
            assert!(producer.claim(|slot| *slot = 1));
            assert!(producer.claim(|slot| *slot = 2));
            producer.publish();
        });
        if let Some(first) = consumer.pop() {
            assert_eq!((first, consumer.pop()), (1, Some(2)), "the second is there as soon as the first is");
        }
        sender.join().expect("sender");
    });
}
