//! `growth`: what a message costs over how many venues, instruments and connections one hot core has.
//!
//! A message is taken from the loop's look at the network to the end of the pass: events, recording, core, strategy, and
//! the order where one results. Messages go round robin, so that each finds the memory of its venue, instrument or
//! connection as cold as it gets. Everything is in one process and on one thread:
//!
//! | case | what grows | network |
//! |---|---|---|
//! | venues | venues that trade the same asset, in two protocols | a script: TLS and TCP are left out |
//! | instruments | instruments of one venue (Binance's connections carry 341: then as few venues as do) | a script |
//! | connections | venues with a connection each | frames over our TCP and TLS from a peer on the same thread |
//! | path | one venue with a connection for market data and one for orders; tick to order, as the loop itself measures it | the same |
//! | memory | cache lines that the core does not have: what more instruments cannot do without | none |
//!
//! Nothing rehearses. Passes without a frame, and those that do what is due each millisecond and each ten, are timed too: a
//! frame that comes meanwhile waits for their end.
//!
//! Where the program has the engine's allocator and has made its arena ([`ARENA_BYTES`]), all that the loops read is built
//! there, on 2 MiB pages, as it is in a running engine.

pub mod connections;
pub mod desk;
pub mod far;
pub mod market;
pub mod parts;
pub mod rig;

use super::SEED;
use crate::measure::{Budget, Measured, Side, alternate};
use crate::report::{Curve, Growth, NANOSECONDS, Ratio, Report, Target};
use market::Protocol;
use parts::{Layout, Pools, SkippingClock};
use rig::Rig;
use runtime::host::hot_memory::building;
use runtime::latency::{Latency, Stage};

const BENCH: &str = "growth";
/// What 1000 instruments of each protocol, and all the others, take of the engine's arena.
pub const ARENA_BYTES: usize = 1 << 30;
/// The most there are, against one: of p99.
const TARGET: Target = Target::AtMost(2.0);
const VENUES: [usize; 4] = [1, 2, 4, 10];
const INSTRUMENTS: [usize; 4] = [1, 10, 100, 1_000];
const CONNECTIONS: [usize; 4] = [1, 4, 16, 64];

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    let pools = Pools::new(SEED)?;
    venues(budget, &pools, report)?;
    for protocol in Protocol::ALL {
        instruments(budget, &pools, protocol, report)?;
    }
    let authority = connections::Authority::new()?;
    connections(budget, &pools, &authority, report)?;
    path(budget, &pools, &authority, report)?;
    memory(budget, report)
}

/// A name that lives as long as the report.
const fn count_text(count: usize) -> &'static str {
    match count {
        1 => "1",
        2 => "2",
        4 => "4",
        10 => "10",
        16 => "16",
        64 => "64",
        100 => "100",
        1_000 => "1000",
        _ => "many",
    }
}

fn venues(budget: Budget, pools: &Pools, report: &mut Report) -> anyhow::Result<()> {
    // One alone of each protocol; by turns otherwise.
    let alone = Protocol::ALL.map(|protocol| (1, vec![protocol]));
    let mixed = VENUES[1..].iter().map(|&count| (count, (0..count).map(|at| Protocol::ALL[at % 2]).collect()));
    let layouts: Vec<(usize, Vec<Protocol>)> = alone.into_iter().chain(mixed).collect();
    let rigs = layouts
        .iter()
        .map(|(count, venues)| Ok((*count, building(|| Rig::new(Layout::over_venues(pools, venues), SkippingClock::running()))?)));
    let rigs = rigs.collect::<anyhow::Result<Vec<_>>>()?;
    measure(budget, rigs, "venues", report)
}

fn instruments(budget: Budget, pools: &Pools, protocol: Protocol, report: &mut Report) -> anyhow::Result<()> {
    let rig =
        |&count: &usize| Ok((count, building(|| Rig::new(Layout::over_instruments(pools, protocol, count), SkippingClock::running()))?));
    let rigs = INSTRUMENTS.iter().map(rig).collect::<anyhow::Result<Vec<_>>>()?;
    let of = match protocol {
        Protocol::Binance => "instruments of binance",
        Protocol::Kraken => "instruments of kraken",
    };
    measure(budget, rigs, of, report)
}

fn measure(budget: Budget, rigs: Vec<(usize, Rig)>, of: &'static str, report: &mut Report) -> anyhow::Result<()> {
    let side = |(count, mut rig): (usize, Rig)| Side::new(count_text(count), &rig::OPERATIONS, move |meter| rig.turn(meter));
    let counts: Vec<usize> = rigs.iter().map(|rig| rig.0).collect();
    let sides = alternate(budget, rigs.into_iter().map(side).collect())?;
    let held = |operation: &str| {
        if operation == rig::OPERATIONS[rig::MESSAGE] || operation == rig::OPERATIONS[rig::MESSAGE + 1] { TARGET } else { Target::None }
    };
    give(of, &counts, &sides, held, report);
    Ok(())
}

fn connections(budget: Budget, pools: &Pools, authority: &connections::Authority, report: &mut Report) -> anyhow::Result<()> {
    let rig =
        |&count: &usize| Ok((count, building(|| connections::Rig::of_market_data(pools, count, authority, SkippingClock::running()))?));
    let rigs = CONNECTIONS.iter().map(rig).collect::<anyhow::Result<Vec<_>>>()?;
    let side =
        |(count, mut rig): (usize, connections::Rig)| Side::new(count_text(count), &connections::OPERATIONS, move |meter| rig.turn(meter));
    let sides = alternate(budget, rigs.into_iter().map(side).collect())?;
    give("connections", &CONNECTIONS, &sides, |_| Target::None, report);
    Ok(())
}

/// The way from a frame to the order's frame over one venue's connections: no growth, but what all of it costs without a card.
fn path(budget: Budget, pools: &Pools, authority: &connections::Authority, report: &mut Report) -> anyhow::Result<()> {
    for protocol in Protocol::ALL {
        let mut rig = building(|| connections::Rig::of_orders(pools, protocol, authority, SkippingClock::running()))?;
        let side = Side::new(protocol.as_str(), &connections::OPERATIONS, |meter| rig.turn(meter));
        for measured in alternate(budget, vec![side])?.iter().flatten() {
            report.add_figure(BENCH, &format!("path: {}", measured.operation), NANOSECONDS, measured);
        }
        let case = format!("path: tick to order of {}", protocol.as_str());
        for stage in at_hand(rig.latency()) {
            report.add_figure(BENCH, &case, NANOSECONDS, &stage);
        }
    }
    Ok(())
}

/// Tick to order as the loop measures it, whole and by stage, of orders that came one after the other: everything was at hand.
fn at_hand(latency: &Latency) -> Vec<Measured> {
    let stages = Stage::ALL.map(|stage| (stage.as_str(), latency.of_stage(stage)));
    let all = [("whole", latency.whole().clone())].into_iter().chain(stages);
    all.map(|(side, histogram)| Measured { side, operation: "", histogram }).collect()
}

/// What a cache line costs that the core does not have.
fn memory(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    let mut lines = building(|| far::Lines::new(SEED));
    let side = Side::new("read", &far::OPERATIONS, |meter| {
        lines.turn(meter);
        Ok(())
    });
    for measured in alternate(budget, vec![side])?.iter().flatten() {
        report.add_figure(BENCH, &format!("memory: {}", measured.operation), NANOSECONDS, measured);
    }
    Ok(())
}

/// Rows, ratios and pictures of all that was measured: `counts` by side, an operation of which there is nothing is left out.
fn give(of: &'static str, counts: &[usize], sides: &[Vec<Measured>], held: impl Fn(&str) -> Target, report: &mut Report) {
    let operations = sides.first().map_or(0, Vec::len);
    for at in 0..operations {
        let mut measured: Vec<(usize, &Measured)> = counts.iter().copied().zip(sides.iter().map(|side| &side[at])).collect();
        measured.retain(|(_, measured)| !measured.histogram.is_empty());
        measured.dedup_by_key(|(count, _)| *count); // What both of those that are alone do.
        let (Some((least, first)), Some((most, last))) = (measured.first(), measured.last()) else { continue };
        let operation = first.operation;
        for (_, measured) in &measured {
            report.add_figure(BENCH, &format!("{of}: {operation}"), NANOSECONDS, measured);
        }
        for (quantile, percentile, target) in [(0.5, "p50", Target::None), (0.99, "p99", held(operation))] {
            let value = |measured: &Measured| measured.histogram.value_at_quantile(quantile).max(1) as f64;
            let name = format!("{of}: {operation}, {most} / {least}, {percentile}");
            report.add_ratio(Ratio::new(BENCH, name, value(last) / value(first), target));
        }
        let curve = |(quantile, name): (f64, &str)| {
            let points = measured.iter().map(|(count, measured)| (*count as u64, measured.histogram.value_at_quantile(quantile)));
            Curve { name: name.into(), points: points.collect() }
        };
        let curves = [(0.5, "p50"), (0.99, "p99")].map(curve).into();
        report.growths.push(Growth { bench: BENCH, title: format!("{operation}, over {of}"), of, curves });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    fn moment() -> Budget {
        Budget::of_seconds(0.001).expect("positive")
    }

    #[test]
    fn every_count_of_every_case_has_its_rows_ratios_and_pictures() {
        let mut report = Report::new(Machine::read());
        run(moment(), &mut report).unwrap();
        let of = |start: &str| report.rows.iter().filter(|row| row.name.starts_with(start)).count();
        let starts = ["venues: ", "instruments of binance: ", "instruments of kraken: ", "connections: ", "path: ", "memory: "];
        assert_eq!(starts.map(of), [28, 20, 20, 12, 22, 2]);
        let targets: Vec<&str> = report.ratios.iter().filter(|r| r.target.is_some()).map(|r| r.name.as_str()).collect();
        let expected = [
            "venues: a message of binance, 10 / 1, p99",
            "venues: a message of kraken, 10 / 1, p99",
            "instruments of binance: a message of binance, 1000 / 1, p99",
            "instruments of kraken: a message of kraken, 1000 / 1, p99",
        ];
        assert_eq!(targets, expected);
        assert_eq!(report.growths.len(), 20);
        let venues: Vec<u64> = report.growths[0].curves[0].points.iter().map(|point| point.0).collect();
        assert_eq!(venues, [1, 2, 4, 10]);
        assert!(report.rows.iter().all(|row| row.count > 0 && row.p50 > 0));
    }

    #[test]
    fn a_message_that_is_not_taken_as_it_should_ends_the_bench() {
        let pools = Pools::new(SEED).unwrap();
        let mut rig = Rig::new(Layout::over_instruments(&pools, Protocol::Binance, 2), SkippingClock::running()).unwrap();
        rig.lose_a_message();
        let side = Side::new("2", &rig::OPERATIONS, |meter| rig.turn(meter));
        let error = alternate(moment(), vec![side]).expect_err("a gap").to_string();
        assert!(error.contains("not taken as it should"), "{error}");
    }
}
