//! The hot loop: a message from the look at the network to the end of the pass, and what is due each ten milliseconds, over
//! how many there are. Here a loop over all venues, instruments or connections shows, whatever the caches do.

use crate::repeat;
use bench::benches::growth::connections::{self, Authority};
use bench::benches::growth::market::Protocol;
use bench::benches::growth::parts::{Layout, Pools, SkippingClock};
use bench::benches::growth::rig::Rig;

const SEED: u64 = 0x5eed;

fn message(layout: impl FnOnce(&Pools) -> Layout) -> anyhow::Result<()> {
    let mut rig = Rig::new(layout(&Pools::new(SEED)?), SkippingClock::scripted())?;
    repeat(|counter| {
        rig.prepare()?;
        counter.count(|| rig.take_in());
        rig.check_taken()
    })
}

fn timer(layout: impl FnOnce(&Pools) -> Layout) -> anyhow::Result<()> {
    let mut rig = Rig::new(layout(&Pools::new(SEED)?), SkippingClock::scripted())?;
    repeat(|counter| {
        rig.prepare_timer()?;
        counter.count(|| rig.take_in());
        Ok(())
    })
}

fn binance(venues: usize) -> impl FnOnce(&Pools) -> Layout {
    move |pools| Layout::over_venues(pools, &vec![Protocol::Binance; venues])
}

fn instruments(count: usize) -> impl FnOnce(&Pools) -> Layout {
    move |pools| Layout::over_instruments(pools, Protocol::Binance, count)
}

pub fn message_of_1_venue() -> anyhow::Result<()> {
    message(binance(1))
}

pub fn message_of_10_venues() -> anyhow::Result<()> {
    message(binance(10))
}

pub fn message_of_1000_instruments() -> anyhow::Result<()> {
    message(instruments(1_000))
}

pub fn kraken_message_of_1000_instruments() -> anyhow::Result<()> {
    message(|pools| Layout::over_instruments(pools, Protocol::Kraken, 1_000))
}

pub fn timer_of_1_venue() -> anyhow::Result<()> {
    timer(binance(1))
}

pub fn timer_of_10_venues() -> anyhow::Result<()> {
    timer(binance(10))
}

pub fn timer_of_1000_instruments() -> anyhow::Result<()> {
    timer(instruments(1_000))
}

type Step = fn(&mut connections::Rig) -> anyhow::Result<()>;

/// Counts passes over a stack with TLS, each prepared and checked so.
fn passes(mut rig: connections::Rig, prepare: Step, check: Step) -> anyhow::Result<()> {
    repeat(|counter| {
        prepare(&mut rig)?;
        counter.count(|| rig.take_in());
        check(&mut rig)
    })
}

fn frame(connections: usize) -> anyhow::Result<()> {
    let rig = connections::Rig::of_market_data(&Pools::new(SEED)?, connections, &Authority::new()?, SkippingClock::scripted())?;
    passes(rig, connections::Rig::prepare, connections::Rig::check_taken)
}

pub fn frame_over_1_connection() -> anyhow::Result<()> {
    frame(1)
}

pub fn frame_over_64_connections() -> anyhow::Result<()> {
    frame(64)
}

fn frame_and_order(protocol: Protocol) -> anyhow::Result<()> {
    let rig = connections::Rig::of_orders(&Pools::new(SEED)?, protocol, &Authority::new()?, SkippingClock::scripted())?;
    passes(rig, connections::Rig::prepare_order, connections::Rig::check_ordered)
}

pub fn frame_and_order_binance() -> anyhow::Result<()> {
    frame_and_order(Protocol::Binance)
}

pub fn frame_and_order_kraken() -> anyhow::Result<()> {
    frame_and_order(Protocol::Kraken)
}
