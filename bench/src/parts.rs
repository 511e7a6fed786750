//! What no tick-to-order can do without: opening the record that the tick came in, looking at each of its bytes once, and
//! sealing the order's record. Nothing of TCP, WebSocket, parsing, book, strategy, risk or encoding.
//!
//! The cipher is the one that our connections have where the venue does not object (AES-128-GCM), by what is the quickest with
//! everything at hand: ours, or aws-lc's on a processor that ours is not for (see `tls`). All of it is in the
//! caches and the branches are known: these are the parts at their quickest.

use crate::measure::{Budget, Measured, Side, alternate};
use crate::random::Random;
use anyhow::{Context, anyhow};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use netstack::tls::aes_gcm::{Aes128Gcm, NONCE, TAG};
use std::hint::black_box;

const BLOCK: usize = 64;
/// A TLS record's header is authenticated with it.
const HEADER: [u8; 5] = [0; 5];
const NUMBER: [u8; NONCE] = [3; NONCE];

/// The quickest key there is here.
#[expect(clippy::large_enum_variant, reason = "there is one, and a pointer would be followed in each measured piece")]
enum Key {
    Ours(Aes128Gcm),
    AwsLc(LessSafeKey),
}

impl Key {
    fn new() -> anyhow::Result<Key> {
        let key = [7; 16];
        match Aes128Gcm::new(&key) {
            Some(key) => Ok(Key::Ours(key)),
            None => UnboundKey::new(&AES_128_GCM, &key).map(|key| Key::AwsLc(LessSafeKey::new(key))).map_err(|error| anyhow!("{error}")),
        }
    }

    /// Opens the text before the tag at the end.
    #[inline]
    fn open<'a>(&self, record: &'a mut [u8]) -> Option<&'a [u8]> {
        match self {
            Key::Ours(key) => key.open(NUMBER, HEADER, record).ok().map(|()| &record[..record.len() - TAG]),
            Key::AwsLc(key) => key.open_in_place(Nonce::assume_unique_for_key(NUMBER), Aad::from(HEADER), record).ok().map(|text| &*text),
        }
    }

    /// Seals the text before the room for the tag.
    #[inline]
    fn seal(&self, record: &mut [u8]) -> Option<()> {
        match self {
            Key::Ours(key) => key.seal(NUMBER, HEADER, record).ok(),
            Key::AwsLc(key) => {
                let (text, tag) = record.split_last_chunk_mut::<TAG>()?;
                key.seal_in_place_scatter(Nonce::assume_unique_for_key(NUMBER), Aad::from(HEADER), text, &[], tag).ok()
            }
        }
    }
}

/// The sum of all bytes, read eight at a time.
fn read_once(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

/// Times the parts together, of a tick with so many bytes in its record and an order with so many.
pub fn unavoidable(budget: Budget, tick: usize, order: usize) -> anyhow::Result<Measured> {
    let key = Key::new()?;
    let mut random = Random::new(0x5eed);
    let plain: Vec<u8> = (0..tick).map(|_| random.next() as u8).collect();
    let mut sealed = [plain.as_slice(), &[0; TAG]].concat();
    key.seal(&mut sealed).context("there is no room for a tag")?;
    let (mut record, mut out) = (sealed.clone(), vec![0x55; order + TAG]);
    let side = Side::new("its unavoidable parts", &[""], |meter| {
        for _ in 0..BLOCK {
            record.copy_from_slice(&sealed);
            let done = meter.time(0, || {
                let opened = key.open(&mut record)?;
                let sum = read_once(black_box(opened));
                key.seal(black_box(&mut out))?;
                Some(sum)
            });
            let sum = done.context("a record could not be opened or sealed")?;
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
