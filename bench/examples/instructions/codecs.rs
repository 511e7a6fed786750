//! A venue's message to events, as the bench `codec` times it.

use crate::repeat;
use anyhow::ensure;
use bench::benches::codec::rig::{Feed, LINK, Rig, TIMES, events_end};
use bench::messages::Message;
use bench::messages::binance::{Depth, Ticker};
use bench::messages::kraken::Stream;
use bench::random::Random;
use std::hint::black_box;
use venues::venue::{Encoding, Venue};

const SEED: u64 = 0x5eed;
/// Levels a side.
const LEVELS: usize = 8;
const POOL: usize = 64;

/// Messages, over and over again.
fn run<V: Venue>(mut rig: Rig<V>, messages: &[Message]) -> anyhow::Result<()> {
    let (mut feed, mut frame) = (Feed::new(messages), Vec::new());
    repeat(|counter| {
        let bytes = feed.next(&mut frame);
        rig.events.clear();
        let Rig { venue, kind, events, out, .. } = &mut rig;
        counter.count(|| venue.on_message(LINK, *kind, black_box(bytes), TIMES, events, out));
        ensure!(events_end(events), "the codec did not take a message");
        Ok(())
    })?;
    rig.check("the counted messages")
}

fn messages(mut make: impl FnMut(&mut Random) -> Message) -> Vec<Message> {
    let mut random = Random::new(SEED);
    (0..POOL).map(|_| make(&mut random)).collect()
}

pub fn binance_depth_json() -> anyhow::Result<()> {
    run(Rig::binance(Encoding::Json)?, &messages(|random| Depth::new(random, LEVELS).json()))
}

pub fn binance_ticker_json() -> anyhow::Result<()> {
    run(Rig::binance(Encoding::Json)?, &messages(|random| Ticker::new(random).json()))
}

pub fn binance_depth_sbe() -> anyhow::Result<()> {
    run(Rig::binance(Encoding::Sbe)?, &messages(|random| Depth::new(random, LEVELS).sbe()))
}

pub fn kraken_book() -> anyhow::Result<()> {
    let stream = Stream::new(&mut Random::new(SEED), POOL);
    run(Rig::kraken(&stream.snapshot)?, &stream.updates)
}

pub fn kraken_sweep() -> anyhow::Result<()> {
    let stream = Stream::of_sweeps(&mut Random::new(SEED), POOL);
    run(Rig::kraken(&stream.snapshot)?, &stream.updates)
}
