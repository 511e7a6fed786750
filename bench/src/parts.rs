//! What no tick-to-order can do without: opening the record that the tick came in, looking at each of its bytes once, and
//! sealing the order's record. Nothing of TCP, WebSocket, parsing, book, strategy, risk or encoding.
//!
//! The cipher is the one that our connections have where the venue does not object (AES-256-GCM), from the library that is
//! the quicker one with everything at hand (aws-lc, see `tls`), called as directly as it allows. All of it is in the
//! caches and the branches are known: these are the parts at their quickest.

use crate::measure::{Budget, Measured, Side, alternate};
use crate::random::Random;
use anyhow::{Context, anyhow};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::hint::black_box;

const BLOCK: usize = 64;
/// A TLS record's header is authenticated with it.
const HEADER: usize = 5;

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([3; NONCE_LEN])
}

/// The sum of all bytes, read eight at a time.
fn read_once(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

/// Times the parts together, of a tick with so many bytes in its record and an order with so many.
pub fn unavoidable(budget: Budget, tick: usize, order: usize) -> anyhow::Result<Measured> {
    let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|error| anyhow!("{error}"))?;
    let key = LessSafeKey::new(key);
    let mut random = Random::new(0x5eed);
    let mut sealed: Vec<u8> = (0..tick).map(|_| random.next() as u8).collect();
    let plain = sealed.clone();
    key.seal_in_place_append_tag(nonce(), Aad::from([0; HEADER]), &mut sealed).map_err(|error| anyhow!("{error}"))?;
    let (mut record, mut out) = (sealed.clone(), vec![0x55; order]);
    let side = Side::new("its unavoidable parts", &[""], |meter| {
        for _ in 0..BLOCK {
            record.copy_from_slice(&sealed);
            let done = meter.time(0, || {
                let opened = key.open_in_place(nonce(), Aad::from([0; HEADER]), &mut record).ok()?;
                let sum = read_once(black_box(opened));
                let tag = key.seal_in_place_separate_tag(nonce(), Aad::from([0; HEADER]), &mut out).ok()?;
                Some((sum, tag))
            });
            let (sum, _) = done.context("a record could not be opened or sealed")?;
            anyhow::ensure!(sum == read_once(&plain), "the record does not hold what was sealed");
        }
        Ok(())
    });
    alternate(budget, vec![side])?.pop().and_then(|mut side| side.pop()).context("no side")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read_once() {
        assert_eq!(read_once(&[1, 0, 0, 0, 0, 0, 0, 0, 5, 6]), 12);
        assert_eq!(read_once(&[]), 0);
    }

    #[test]
    fn larger_records_take_longer() {
        let p50 = |size| {
            let budget = Budget::of_seconds(0.01).expect("positive");
            unavoidable(budget, size, size).expect("sealed and opened").histogram.value_at_quantile(0.5)
        };
        let (small, large) = (p50(100), p50(20_000));
        assert!(small > 0 && large > 2 * small, "{small} {large}");
    }
}
