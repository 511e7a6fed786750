//! Kraken's book kept beside `serde_json`, so that the checksum can be proved: without that, a message of Kraken's cannot
//! be believed. What a competent engineer would write: ordered maps, cut to the window, their integers printed into one
//! text, and its CRC-32 from `crc32fast`.

use super::rig::Feed;
use super::typed::{BookData, BookMessage, KrakenLevel};
use crate::benches::{BLOCK, ONE};
use crate::measure::Side;
use crate::messages::Message;
use anyhow::{Context, ensure};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::hint::black_box;
use venues::kraken::book::CHECKSUM_LEVELS;
use venues::kraken::market_data::DEPTH;

/// The window, and the text of the last sum.
#[derive(Default)]
pub struct CheckedBook {
    bids: BTreeMap<Reverse<i64>, i64>,
    asks: BTreeMap<i64, i64>,
    text: Vec<u8>,
}

fn take<K: Ord>(side: &mut BTreeMap<K, i64>, rows: &[KrakenLevel], key: impl Fn(i64) -> K) {
    for row in rows {
        if row.qty.0 == 0 {
            side.remove(&key(row.price.0));
        } else {
            side.insert(key(row.price.0), row.qty.0);
        }
    }
    while side.len() > DEPTH {
        side.pop_last();
    }
}

impl CheckedBook {
    /// Takes a message in. False if the venue's checksum is another than that of what is held now.
    pub fn take(&mut self, message: &BookData<'_>) -> bool {
        take(&mut self.bids, &message.bids, Reverse);
        take(&mut self.asks, &message.asks, |price| price);
        self.text.clear();
        let mut digits = itoa::Buffer::new();
        let asks = self.asks.iter().map(|(&price, &qty)| (price, qty)).take(CHECKSUM_LEVELS);
        let bids = self.bids.iter().map(|(&Reverse(price), &qty)| (price, qty)).take(CHECKSUM_LEVELS);
        for (price, qty) in asks.chain(bids) {
            self.text.extend_from_slice(digits.format(price).as_bytes());
            self.text.extend_from_slice(digits.format(qty).as_bytes());
        }
        crc32fast::hash(&self.text) == message.checksum
    }

    /// Parses a message and takes it in. An error if it is none, or if its checksum does not hold.
    #[inline]
    pub fn parse_and_take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let message: BookMessage<'_> = serde_json::from_slice(black_box(bytes)).context("serde_json")?;
        ensure!(self.take(&message.data[0]), "a checksum does not hold");
        Ok(())
    }
}

/// The peer on these updates of this window.
pub fn side<'a>(name: &'static str, snapshot: &Message, updates: &'a [Message]) -> anyhow::Result<Side<'a>> {
    let (mut feed, mut frame, mut book) = (Feed::new(updates), Vec::new(), CheckedBook::default());
    book.parse_and_take(&snapshot.bytes)?;
    Ok(Side::new(name, ONE, move |meter| {
        for _ in 0..BLOCK {
            let bytes = feed.next(&mut frame);
            meter.time(0, || book.parse_and_take(bytes))?;
        }
        Ok(())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::kraken::Stream;
    use crate::random::Random;

    #[test]
    fn every_checksum_holds_and_a_missed_update_shows() {
        let stream = Stream::new(&mut Random::new(8), 100);
        let mut book = CheckedBook::default();
        book.parse_and_take(&stream.snapshot.bytes).unwrap();
        for message in stream.updates.iter().chain(&stream.updates) {
            book.parse_and_take(&message.bytes).unwrap();
        }
        let failed = stream.updates[1..20].iter().filter(|message| book.parse_and_take(&message.bytes).is_err()).count();
        assert!(failed > 0, "the first update was left out");
    }
}
