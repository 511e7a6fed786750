//! `peregrine demo`: the whole system on one machine, with nothing to set up.
//!
//! Two network namespaces joined by a veth pair: the simulated venues live in one, on the kernel's sockets;
//! the engine in the other, on its own network path. Where namespaces are not allowed, the in-process link
//! takes the wire's place. At the end the engine's positions, open orders and balances are compared with the
//! venues' own records.

pub mod config;
pub mod flow;
pub mod records;
pub mod stage;

use crate::launch::{Launch, Running, launch, open_log};
use crate::live::LiveLine;
use crate::{signals, summary};
use anyhow::Context;
use flow::{Flow, Meter};
use runtime::config::units::Span;
use runtime::engine::LoopTiming;
use runtime::report::Report;
use stage::{Stage, StageOptions};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// By then both strategies have traded, on any seed.
const TRADES_WITHIN_S: u64 = 8;

/// Options of the subcommand.
#[derive(clap::Args)]
#[command(after_help = "Needs nothing: no keys, no network, no configuration. As root it makes two network namespaces and runs over \
    AF_XDP; without root it says so and uses an in-process link. Everything it makes is removed at the end, and what \
    an earlier demonstration left when it was killed is removed at the start.\n\n\
    Exit status: 0 if every invariant held (positions and balances equal to the venues' records, no order in an \
    unknown state, the journal replays to the same state; over AF_XDP also: the hot thread neither allocated nor faulted after \
    warm-up, but for connections made anew, and made no system call to receive).\n\nExamples:\n  \
    peregrine demo --seconds 60 --rate 20000\n  \
    peregrine demo --seconds 20 --link af_packet --report report.json\n  \
    peregrine demo --seconds 20 --keep demo        and then: peregrine replay demo/journal")]
pub struct Arguments {
    /// How long to trade.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Market-data messages per second, over both venues.
    #[arg(long, default_value_t = 20_000, value_name = "EVENTS_PER_SECOND")]
    rate: u32,
    /// The link.
    #[arg(long, default_value = "auto", value_parser = ["auto", "af_xdp", "af_packet", "memory"])]
    link: String,
    /// Write the summary as JSON to this file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Take Binance' market data as SBE.
    #[arg(long)]
    sbe: bool,
    /// Seed of the simulated market.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often the engine rehearses the way to an order ([host] rehearse); 0s: never; default: as the engine.
    #[arg(long, value_name = "SPAN", value_parser = |text: &str| Span::parse(text))]
    rehearse: Option<Span>,
    /// Keep journal, log and configuration in this directory (which must not exist) instead of removing them.
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
    /// Record all frames of the engine's link into this pcapng file (Wireshark reads it).
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
}

/// Runs the demonstration.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::ensure!((1..=1_000_000).contains(&arguments.rate), "--rate {} is not between 1 and 1000000 messages a second", arguments.rate);
    for swept in stage::sweep() {
        println!("Removed what a killed demonstration left: {swept}");
    }
    let stop = signals::stop_flag()?;
    let stage = Stage::set(&StageOptions {
        link: arguments.link.clone(),
        rate: arguments.rate,
        seed: arguments.seed,
        sbe: arguments.sbe,
        rehearse_ns: arguments.rehearse.map(|span| span.0),
        keep: arguments.keep.clone(),
        capture: arguments.capture.clone(),
    })?;
    println!(
        "Two simulated venues at {}, {} messages/s; two strategies; {} s. Ctrl-C ends it early.",
        stage.wire.venues_address(),
        arguments.rate,
        arguments.seconds
    );
    let log = open_log(&stage.document)?;
    let timing = LoopTiming { reconcile_ns: 20_000_000_000, ..LoopTiming::default() };
    let running = stage
        .wire
        .on_engine_side(|| launch(Launch { document: &stage.document, log, stop: Arc::clone(&stop), verify_replay: true, timing }))??;
    let flow = trade(&running, &stage, &stop, Duration::from_secs(arguments.seconds));
    let mut report = running.handle.stop();
    drop(running.relay);
    compare(&mut report, &stage);
    expect_trading(&mut report, arguments.seconds);
    expect_quiet(&mut report);
    summary::print(&report);
    if let Some(flow) = &flow {
        print!("\n{}", flow.text(&report));
    }
    if !report.failures.is_empty() && !stage.place.keep {
        println!("(repeat with --keep DIRECTORY to keep the journal and the log)");
    }
    if let Some(path) = &arguments.report {
        write_report(&report, flow.as_ref(), path)?;
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lets it trade; returns what flowed since all was connected, if it ever was.
fn trade(running: &Running, stage: &Stage, stop: &AtomicBool, length: Duration) -> Option<Flow> {
    let mut live = LiveLine::new(running.venues.clone(), running.reporting.clone(), false);
    let mut meter = None;
    let deadline = Instant::now() + length;
    while !stop.load(Ordering::Acquire) && Instant::now() < deadline && running.handle.is_running() {
        std::thread::sleep(Duration::from_millis(50));
        live.show(&running.handle);
        if meter.is_none() {
            let status = running.handle.status();
            meter = flow::is_ready(&status).then(|| Meter::start(stage, &status));
        }
    }
    live.end();
    meter.map(|meter| meter.read(stage, &running.handle.status()))
}

/// Writes the summary as JSON, with `flow` in it, whole or not at all.
fn write_report(report: &Report, flow: Option<&Flow>, path: &Path) -> anyhow::Result<()> {
    let failed = || format!("writing the report {}", path.display());
    let mut json = serde_json::to_value(report).with_context(failed)?;
    if let (Some(members), Some(flow)) = (json.as_object_mut(), flow) {
        members.insert("flow".into(), flow.to_json());
    }
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, serde_json::to_vec_pretty(&json).with_context(failed)?).with_context(failed)?;
    std::fs::rename(&temporary, path).with_context(failed)
}

/// The engine's record against the venues' own.
fn compare(report: &mut Report, stage: &Stage) {
    let differences = records::differences(report, &stage.sim, &stage.accounts);
    let balances_match = report.positions_match != Some(false);
    report.positions_match = Some(balances_match && differences.is_empty());
    for difference in differences {
        report.failures.push(format!("differs from the venue's record: {difference}"));
        report.differences.push(difference);
    }
}

/// The hot thread must leave memory and kernel alone once it is warm. Where it cannot be held to that, it is not: other links
/// make system calls, of memory nothing is known before warm-up has ended, and what a new connection takes is put down to that by
/// the accounts themselves. Memory that the machine did not let us lock may be taken away and fault.
fn expect_quiet(report: &mut Report) {
    let (hot, link) = (&report.hot, &report.link);
    if link.driver != "af_xdp" {
        return;
    }
    if link.wakeups > 0 {
        report.failures.push(format!("the hot thread made {} system calls to receive {} frames", link.wakeups, link.rx_frames));
    }
    if !hot.warmed_up {
        return;
    }
    let allocations = hot.allocations_warm();
    if hot.allocations_counted && allocations > 0 {
        let seen =
            format!("the hot thread allocated {allocations} times after warm-up, besides {} for connections", hot.allocations_connecting);
        report.failures.push(seen);
    }
    let faults = hot.page_faults_warm();
    if hot.memory_locked && faults > 0 {
        let seen = format!("the hot thread had {faults} page faults after warm-up, besides {} for connections", hot.page_faults_connecting);
        report.failures.push(seen);
    }
}

/// A demonstration in which nothing happened has failed, whatever else held.
fn expect_trading(report: &mut Report, seconds: u64) {
    for venue in report.venues.iter().filter(|v| !v.connected) {
        report.failures.push(format!("{} was never connected", venue.name));
    }
    if seconds >= TRADES_WITHIN_S && report.orders.fills == 0 {
        report.failures.push(format!("nothing was traded: {} orders sent, no fill", report.orders.submitted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::report::{HotReport, LinkReport};

    /// What the hot thread is reproached with.
    fn failures(adjust: impl FnOnce(&mut Report)) -> Vec<String> {
        let hot = HotReport { warmed_up: true, allocations_counted: true, memory_locked: true, ..HotReport::default() };
        let link = LinkReport { driver: "af_xdp".into(), rx_frames: 100, kicks: 50, ..LinkReport::default() };
        let mut report = Report { hot, link, ..Report::default() };
        adjust(&mut report);
        expect_quiet(&mut report);
        report.failures
    }

    #[test]
    fn a_hot_thread_that_allocates_faults_or_asks_the_kernel_for_frames_fails_the_demonstration() {
        assert_eq!(failures(|_| {}), Vec::<String>::new());
        let told = failures(|report| {
            (report.hot.allocations, report.hot.allocations_connecting) = (7, 4);
            (report.hot.page_faults, report.hot.page_faults_connecting) = (3, 1);
            report.link.wakeups = 5;
        });
        let expected = [
            "the hot thread made 5 system calls to receive 100 frames",
            "the hot thread allocated 3 times after warm-up, besides 4 for connections",
            "the hot thread had 2 page faults after warm-up, besides 1 for connections",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn connections_made_anew_other_links_and_memory_that_is_not_locked_are_no_reproach() {
        let all = |report: &mut Report| (report.hot.allocations, report.hot.page_faults, report.link.wakeups) = (7, 3, 5);
        let reconnected = failures(|report| {
            all(report);
            (report.hot.allocations_connecting, report.hot.page_faults_connecting, report.link.wakeups) = (7, 3, 0);
        });
        let packet = failures(|report| {
            all(report);
            report.link.driver = "af_packet".into();
        });
        let cold = failures(|report| {
            all(report);
            (report.hot.warmed_up, report.link.wakeups) = (false, 0);
        });
        assert_eq!([reconnected, packet, cold], [const { Vec::<String>::new() }; 3]);
        let unlocked = failures(|report| {
            all(report);
            (report.hot.memory_locked, report.hot.allocations_counted, report.link.wakeups) = (false, false, 0);
        });
        assert_eq!(unlocked, Vec::<String>::new());
    }
}
