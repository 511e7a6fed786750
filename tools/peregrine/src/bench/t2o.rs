//! `t2o`: tick to order in the whole engine, on the demonstration's stage: two simulated venues behind a wire, both
//! strategies, journal and all. What is timed is what every run of the engine times (`runtime::latency`), so nothing is
//! measured here but the parts that no tick-to-order can do without, on the same core of the same process.
//!
//! Loads take turns, round by round, each round with an engine and venues of its own. Orders are few, some eight a
//! second, as the venues' limits have it: a p99 of a short run is one of its worst two or three.
//!
//! What the hot thread must not do in any of them (allocate, fault, copy payload, call the kernel to receive, or more than once to
//! send) is a ratio of each load, from the run's own report.
//!
//! A load that the simulated venues cannot make is not left out in silence: what was received a second, what came of what was
//! asked for, and what got lost are ratios of the report, and standard error says what happened.

use crate::demo::flow::{Flow, Meter, is_ready};
use crate::demo::stage::{self, Stage, StageOptions};
use crate::launch::{Launch, launch, open_log};
use ::bench::measure::{Budget, Measured};
use ::bench::report::{Bar, NANOSECONDS, Ratio, Report, Target, Waterfall};
use ::bench::{WholeEngine, measure, parts};
use anyhow::Context;
use engine_core::event::FeedState;
use nix::sched::CpuSet;
use nix::unistd::Pid;
use runtime::engine::{EngineHandle, LoopTiming};
use runtime::latency::{Answer, Latency, Stage as Part};
use runtime::report::{PiecesReport, Report as RunReport};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const BENCH: &str = "t2o";
/// What is measured of a load in one round, at least: connecting takes a second or two, warm-up two.
const ROUND_MIN: Duration = Duration::from_secs(8);
const ROUNDS: usize = 2;
/// What the engines of all rounds take of the arena: about 40 MiB each.
pub const ARENA_BYTES: usize = ROUNDS * LOADS.len() * (48 << 20);
/// Until then all must be connected and warm.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// The parts are timed for so long, for each load.
const PARTS: Duration = Duration::from_millis(500);
/// What a TLS record and a WebSocket frame of a venue's message have around it.
const AROUND: u64 = 26;
/// At 20,000 messages/s.
const P50_MAX: f64 = 1_000.0;
const P99_MAX: f64 = 2_500.0;
const SBE_P50_MAX: f64 = 800.0;
const PARTS_MAX: f64 = 2.5;
/// Of the messages that are asked for.
const CAME_MIN: f64 = 0.9;
/// Frames, gaps, resyncs, connections, events of the journal.
const LOST_MAX: f64 = 0.0;
/// Messages a second in JSON, over AF_XDP with TLS.
const SUSTAINED_MIN: u32 = 300_000;
/// As many a second are asked for where so many are to come: the venues make none beyond what they are asked for.
const SUSTAINED_ASKED: u32 = 305_000;

/// A load, and the encoding of Binance's market data (Kraken has JSON alone).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Load {
    /// Messages a second, over both venues.
    rate: u32,
    sbe: bool,
}

const LOADS: [Load; 8] = [
    Load { rate: 1_000, sbe: false },
    Load { rate: 20_000, sbe: false },
    Load { rate: 100_000, sbe: false },
    Load { rate: 300_000, sbe: false },
    Load { rate: 1_000, sbe: true },
    Load { rate: 20_000, sbe: true },
    Load { rate: 100_000, sbe: true },
    Load { rate: 300_000, sbe: true },
];

impl Load {
    fn name(self) -> String {
        format!("{}/s {}", self.rate, if self.sbe { "sbe" } else { "json" })
    }

    /// What the venues are asked for.
    const fn asked(self) -> u32 {
        if self.rate == SUSTAINED_MIN { SUSTAINED_ASKED } else { self.rate }
    }

    /// Target of messages received a second, over this driver.
    fn sustained(self, driver: &str) -> Target {
        let counts = self.rate == SUSTAINED_MIN && !self.sbe && driver == "af_xdp";
        if counts { Target::AtLeast(f64::from(SUSTAINED_MIN)) } else { Target::None }
    }

    /// Targets of p50, p99, and p50 against the parts.
    const fn targets(self) -> [Target; 3] {
        match self {
            Load { rate: 20_000, sbe: false } => [Target::AtMost(P50_MAX), Target::AtMost(P99_MAX), Target::AtMost(PARTS_MAX)],
            Load { rate: 20_000, sbe: true } => [Target::None, Target::None, Target::AtMost(PARTS_MAX)],
            _ => [Target::None; 3],
        }
    }

    /// Target of the p50 of ticks that come in SBE, if any do: Kraken's are JSON in any load.
    const fn sbe_target(self) -> Option<Target> {
        match self {
            Load { rate: 20_000, sbe: true } => Some(Target::AtMost(SBE_P50_MAX)),
            Load { sbe: true, .. } => Some(Target::None),
            _ => None,
        }
    }
}

/// The engine, for the benches. To be made before the measuring thread is pinned.
pub struct Engine {
    link: &'static str,
    /// Where threads may run that are not measured.
    everywhere: Option<CpuSet>,
}

impl Engine {
    /// Over this link, on the CPUs that the calling thread may use.
    pub fn over(link: &'static str) -> Engine {
        Engine { link, everywhere: nix::sched::sched_getaffinity(Pid::from_raw(0)).ok() }
    }
}

impl WholeEngine for Engine {
    fn tick_to_order(&mut self, budget: Budget, report: &mut Report) -> anyhow::Result<()> {
        run(self, &LOADS, budget.whole().max(ROUND_MIN), report)
    }
}

/// Measures these loads, each for so long in each round.
fn run(engine: &Engine, loads: &[Load], length: Duration, report: &mut Report) -> anyhow::Result<()> {
    for swept in stage::sweep() {
        eprintln!("peregrine: removed what a killed run left: {swept}");
    }
    let mut tallies: Vec<Tally> = loads.iter().map(|&load| Tally::new(load)).collect();
    for round in 0..ROUNDS {
        for at in 0..tallies.len() {
            let at = if round % 2 == 0 { at } else { tallies.len() - 1 - at };
            let tally = &mut tallies[at];
            eprintln!("peregrine: t2o, round {} of {ROUNDS}, {} ..", round + 1, tally.load.name());
            // On a thread of its own: this one is pinned to the core that all but the hot thread must keep off.
            let ended = std::thread::scope(|scope| {
                let running = scope.spawn(|| {
                    if let Some(everywhere) = &engine.everywhere {
                        let _ = nix::sched::sched_setaffinity(Pid::from_raw(0), everywhere); // It was allowed before.
                    }
                    trade(tally.load, length, engine.link)
                });
                running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            let name = tally.load.name();
            match ended {
                Ok(round) => tally.add(round),
                Err(error) if error.is::<Unreached>() => eprintln!("peregrine: t2o, {name}: could not be measured: {error:#}"),
                Err(error) => return Err(error.context(name)),
            }
        }
    }
    let mut bars = Vec::new();
    for tally in &tallies {
        tally.give(report)?;
        bars.extend(tally.bar());
    }
    report.waterfalls.push(Waterfall { bench: BENCH, title: "stages of tick to order, p50".into(), bars });
    Ok(())
}

/// The venues or the engine did not get as far as trading.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreached(String);

/// What one round of one load gave.
struct Round {
    report: RunReport,
    /// Market data while it was measured.
    flow: Flow,
}

/// Sets the stage, trades for so long, and takes everything down again.
fn trade(load: Load, length: Duration, link: &str) -> anyhow::Result<Round> {
    let stage = Stage::set(&StageOptions { link: link.into(), rate: load.asked(), sbe: load.sbe, ..StageOptions::default() })?;
    let log = open_log(&stage.document)?;
    let timing = LoopTiming { reconcile_ns: 20_000_000_000, warm_up_max_ns: READY_WITHIN.as_nanos() as u64, ..LoopTiming::default() };
    let (stop, launched) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
    let running = std::thread::scope(|scope| {
        // Venues that are busy with something else may never answer: then waiting for them must end.
        scope.spawn(|| {
            let deadline = Instant::now() + READY_WITHIN;
            while !launched.load(Ordering::Acquire) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            stop.store(true, Ordering::Release);
        });
        let launch = || launch(Launch { document: &stage.document, log, stop: Arc::clone(&stop), verify_replay: false, timing });
        let running = stage.wire.on_engine_side(launch);
        launched.store(true, Ordering::Release);
        running
    })?;
    let running = running.map_err(|error| Unreached(format!("the engine did not start: {error:#}")))?;
    let flow = wait_and_watch(&stage, &running.handle, length);
    let report = running.handle.stop();
    drop(running.relay);
    drop(stage);
    let flow = flow.map_err(|venues| {
        let down: Vec<&str> = venues.iter().filter_map(|&at| report.venues.get(at)).map(|venue| venue.name.as_str()).collect();
        let (who, within) = (if down.is_empty() { "the engine".to_owned() } else { down.join(", ") }, READY_WITHIN.as_secs());
        Unreached(format!("not ready within {within} s: {who} (the simulated venues cannot keep up with this load on this machine)"))
    })?;
    for failure in &report.failures {
        eprintln!("peregrine: t2o, {}: {failure}", load.name());
    }
    eprint!("{}", flow.text(&report));
    Ok(Round { report, flow })
}

/// Market data over `length`, once all is ready; the venues that were not, if it never was.
fn wait_and_watch(stage: &Stage, handle: &EngineHandle, length: Duration) -> Result<Flow, Vec<usize>> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let status = handle.status();
        if is_ready(&status) {
            break;
        }
        if Instant::now() > deadline || !handle.is_running() {
            let is_down = |at: &usize| {
                let venue = &status.venues()[*at];
                venue.market_data() != FeedState::Up || venue.order_entry() != FeedState::Up
            };
            return Err((0..status.venues().len()).filter(is_down).collect());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let meter = Meter::start(stage, &handle.status());
    std::thread::sleep(length);
    Ok(meter.read(stage, &handle.status()))
}

/// The rounds of a load together.
struct Tally {
    load: Load,
    /// The whole, by stage, by venue, the kick: empty while no round was measured.
    sums: Vec<Measured>,
    /// The stages of each venue, by its name: likewise.
    venues: Vec<(String, Vec<Measured>)>,
    driver: String,
    rates: Vec<f64>,
    lost: u64,
    bytes_in: u64,
    messages: u64,
    bytes_out: u64,
    requests: u64,
    hot: HotSums,
}

/// What the hot thread did that it should not, all rounds together.
#[derive(Default)]
struct HotSums {
    /// The allocator was watched in each round.
    allocations_counted: bool,
    /// After warm-up, but for connections that were made anew.
    allocations: u64,
    page_faults: u64,
    /// Payload that TCP could not leave in its frame.
    copied: u64,
    /// The same, sent before: then a frame may still be with the card, or be acknowledged in part.
    copied_again: u64,
    /// What came in pieces and was put together: the rare way, of which there may be as much as the venues' kernel makes.
    records: PiecesReport,
    messages: PiecesReport,
    sent: u64,
    send_calls: u64,
    received: u64,
    receive_calls: u64,
}

impl HotSums {
    fn add(&mut self, report: &RunReport, is_first: bool) {
        let (hot, link) = (&report.hot, &report.link);
        self.allocations_counted = hot.allocations_counted && (is_first || self.allocations_counted);
        self.allocations += hot.allocations_warm();
        self.page_faults += hot.page_faults_warm();
        self.copied += link.tcp.bytes_copied_in + link.tcp.bytes_copied_out.saturating_sub(link.tcp.bytes_copied_again);
        self.copied_again += link.tcp.bytes_copied_again;
        for (sum, more) in [(&mut self.records, link.tls), (&mut self.messages, link.websocket)] {
            sum.received += more.received;
            sum.stitched += more.stitched;
        }
        self.sent += link.tx_frames;
        self.send_calls += link.kicks;
        self.received += link.rx_frames;
        self.receive_calls += link.wakeups;
    }

    fn ratios(&self, name: &str) -> Vec<Ratio> {
        let per = |some: u64, all: u64| some as f64 / all.max(1) as f64;
        let figures = [
            ("allocations after warm-up", self.allocations as f64, Target::AtMost(0.0)),
            ("page faults after warm-up", self.page_faults as f64, Target::AtMost(0.0)),
            ("payload bytes that TCP copied", self.copied as f64, Target::AtMost(0.0)),
            ("payload bytes that TCP copied to send them again", self.copied_again as f64, Target::None),
            ("share of records that came in pieces", per(self.records.stitched, self.records.received), Target::None),
            ("share of messages that came in pieces", per(self.messages.stitched, self.messages.received), Target::None),
            ("system calls per frame sent", per(self.send_calls, self.sent), Target::AtMost(1.0)),
            ("system calls per frame received", per(self.receive_calls, self.received), Target::AtMost(0.0)),
        ];
        // Without the program's own allocator nobody has counted.
        let counted = figures.into_iter().skip(usize::from(!self.allocations_counted));
        counted.map(|(what, value, target)| Ratio::new(BENCH, format!("{name}: hot thread, {what}"), value, target)).collect()
    }
}

const WHOLE: usize = 0;
const STAGES: usize = 1;

const BINANCE_TICKS: &str = "ticks of binance";

/// A name that lives as long as the report.
fn venue_text(name: &str) -> &'static str {
    match name {
        "binance" => BINANCE_TICKS,
        "kraken" => "ticks of kraken",
        _ => "ticks of another venue",
    }
}

const fn answer_text(answer: Answer) -> &'static str {
    match answer {
        Answer::Order => "answered by an order",
        Answer::Cancel => "answered by a cancel",
        Answer::Amend => "answered by an amend",
        Answer::Several => "answered by several",
    }
}

/// A histogram of a run as one of ours.
fn measured(side: &'static str, histogram: &hdrhistogram::Histogram<u64>) -> Measured {
    let mut own = measure::histogram();
    // Of the same kind, but for its bounds: values beyond them count as the longest.
    for value in histogram.iter_recorded() {
        own.saturating_record_n(value.value_iterated_to(), value.count_at_value());
    }
    Measured { side, operation: "", histogram: own }
}

/// The stages of each venue of a run.
fn venue_stages(report: &RunReport, latency: &Latency) -> Vec<(String, Vec<Measured>)> {
    let stages = |of: &[hdrhistogram::Histogram<u64>]| Part::ALL.iter().zip(of).map(|(stage, of)| measured(stage.as_str(), of)).collect();
    report.venues.iter().zip(latency.of_venue_stages()).map(|(venue, of)| (venue.name.clone(), stages(of))).collect()
}

/// Adds histograms to others of the same order.
fn add_up<'a>(sums: impl IntoIterator<Item = &'a mut Measured>, more: impl IntoIterator<Item = Measured>) {
    for (sum, more) in sums.into_iter().zip(more) {
        // Both are of the same kind.
        let _ = sum.histogram.add(more.histogram);
    }
}

/// All histograms of a run but those, in one order.
fn histograms(latency: &Latency, venues: &[&'static str]) -> Vec<Measured> {
    let whole = [measured("whole", latency.whole())];
    let stages = Part::ALL.map(|stage| measured(stage.as_str(), &latency.of_stage(stage)));
    let venues = venues.iter().zip(latency.of_venues()).map(|(name, histogram)| measured(name, histogram));
    let answers = Answer::ALL.map(|answer| measured(answer_text(answer), latency.of_answer(answer)));
    whole.into_iter().chain(stages).chain(venues).chain(answers).chain([measured("send call", latency.of_kick())]).collect()
}

impl Tally {
    fn new(load: Load) -> Tally {
        let (sums, venues, driver, rates) = (Vec::new(), Vec::new(), String::new(), Vec::new());
        Tally { load, sums, venues, driver, rates, lost: 0, bytes_in: 0, messages: 0, bytes_out: 0, requests: 0, hot: HotSums::default() }
    }

    fn add(&mut self, round: Round) {
        let Round { report, flow } = round;
        self.hot.add(&report, self.rates.is_empty());
        self.rates.push(flow.received_per_s());
        self.lost += flow.losses(report.link.rx_dropped);
        self.bytes_in += report.link.tcp.bytes_in;
        self.bytes_out += report.link.tcp.bytes_out;
        self.messages += report.venues.iter().map(|venue| venue.messages).sum::<u64>();
        self.requests += report.venues.iter().map(|venue| venue.requests).sum::<u64>();
        self.driver.clone_from(&report.link.driver);
        let Some(latency) = &report.latency else { return };
        let venues: Vec<&str> = report.venues.iter().map(|venue| venue_text(&venue.name)).collect();
        let (sums, stages) = (histograms(latency, &venues), venue_stages(&report, latency));
        if self.sums.is_empty() {
            (self.sums, self.venues) = (sums, stages);
            return;
        }
        add_up(&mut self.sums, sums);
        add_up(self.venues.iter_mut().flat_map(|(_, of)| of), stages.into_iter().flat_map(|(_, of)| of));
    }

    /// Rows and ratios.
    fn give(&self, report: &mut Report) -> anyhow::Result<()> {
        let name = self.load.name();
        let came = self.rates.iter().fold(0.0, |sum, rate| sum + rate) / self.rates.len().max(1) as f64;
        let asked = f64::from(self.load.asked());
        report.add_ratio(Ratio::new(BENCH, format!("{name}: messages that came / asked for"), came / asked, Target::AtLeast(CAME_MIN)));
        if !self.rates.is_empty() {
            let lost = "frames, gaps, resyncs, connections and journalled events lost";
            let sustained = self.load.sustained(&self.driver);
            report.add_ratio(Ratio::new(BENCH, format!("{name}: messages received a second"), came, sustained));
            report.add_ratio(Ratio::new(BENCH, format!("{name}: {lost}"), self.lost as f64, Target::AtMost(LOST_MAX)));
            self.hot.ratios(&name).into_iter().for_each(|ratio| report.add_ratio(ratio));
        }
        let Some(whole) = self.sums.first().filter(|whole| !whole.histogram.is_empty()) else {
            eprintln!("peregrine: t2o, {name}: no tick caused an order; there are no figures");
            return Ok(());
        };
        let case = format!("{name} over {}", self.driver);
        for sum in self.sums.iter().filter(|sum| !sum.histogram.is_empty()) {
            report.add_figure(BENCH, &case, NANOSECONDS, sum);
        }
        for (venue, stages) in &self.venues {
            for stage in stages.iter().filter(|stage| !stage.histogram.is_empty()) {
                report.add_figure(BENCH, &format!("{case}, ticks of {venue}"), NANOSECONDS, stage);
            }
        }
        let mean = |bytes: u64, count: u64| (bytes / count.max(1)).saturating_sub(AROUND).max(1) as usize;
        let (tick, order) = (mean(self.bytes_in, self.messages), mean(self.bytes_out, self.requests));
        let parts = parts::unavoidable(Budget::of_seconds(PARTS.as_secs_f64())?, tick, order).context("the unavoidable parts")?;
        let [p50, p99] = [0.5, 0.99].map(|quantile| whole.histogram.value_at_quantile(quantile) as f64);
        let against = p50 / parts.histogram.value_at_quantile(0.5).max(1) as f64;
        report.add_figure(BENCH, &case, NANOSECONDS, &parts);
        let what = [("nanoseconds, p50", p50), ("nanoseconds, p99", p99), ("t2o against the sum of its unavoidable parts, p50", against)];
        for ((what, value), target) in what.into_iter().zip(self.load.targets()) {
            report.add_ratio(Ratio::new(BENCH, format!("{name}: {what}"), value, target));
        }
        let binance = self.sums.iter().find(|sum| sum.side == BINANCE_TICKS && !sum.histogram.is_empty());
        if let (Some(target), Some(ticks)) = (self.load.sbe_target(), binance) {
            let value = ticks.histogram.value_at_quantile(0.5) as f64;
            report.add_ratio(Ratio::new(BENCH, format!("{name}: {BINANCE_TICKS}, all of them SBE: nanoseconds, p50"), value, target));
        }
        Ok(())
    }

    /// Its medians, to be drawn.
    fn bar(&self) -> Option<Bar> {
        let p50 = |sum: &Measured| sum.histogram.value_at_quantile(0.5);
        let whole = self.sums.get(WHOLE).filter(|whole| !whole.histogram.is_empty()).map(p50)?;
        let stages = self.sums.get(STAGES..STAGES + runtime::latency::STAGES)?;
        Some(Bar { name: self.load.name(), parts: stages.iter().map(|stage| (stage.side, p50(stage))).collect(), whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::bench::machine::Machine;
    use engine_core::event::EventKind;
    use runtime::latency::{Circumstances, TickRecord};
    use runtime::report::HotReport;

    #[test]
    fn targets_are_those_of_twenty_thousand_messages_a_second() {
        let with_targets = LOADS.iter().filter(|load| load.targets().iter().any(|target| *target != Target::None));
        assert_eq!(with_targets.map(|load| load.name()).collect::<Vec<_>>(), ["20000/s json", "20000/s sbe"]);
        assert_eq!(LOADS[1].targets(), [Target::AtMost(1_000.0), Target::AtMost(2_500.0), Target::AtMost(2.5)]);
        assert_eq!(LOADS.map(|load| load.sbe_target().is_some()), LOADS.map(|load| load.sbe), "of each load that has any");
        assert_eq!(LOADS[5].sbe_target(), Some(Target::AtMost(800.0)));
    }

    #[test]
    fn rounds_of_a_load_add_up_and_become_rows_ratios_and_a_bar() {
        let mut latency = Latency::new(2);
        for n in 1..=50 {
            for (venue, first, stages_ns) in [(0, EventKind::SendNew, [n, 2 * n, 3 * n, n, n, n]), (1, EventKind::SendCancel, [n; 6])] {
                let like = Circumstances { messages: 1, ..Circumstances::default() };
                latency.record(&TickRecord { venue, first: first as u8, stages_ns, like });
            }
        }
        let venue = |name: &str| runtime::report::VenueReport { name: name.into(), messages: 100, requests: 10, ..Default::default() };
        let run = RunReport { venues: vec![venue("binance"), venue("kraken")], latency: Some(Arc::new(latency)), ..RunReport::default() };
        let mut tally = Tally::new(LOADS[1]);
        for rate in [19_000, 20_000] {
            let mut report = run.clone();
            (report.link.tcp.bytes_in, report.link.tcp.bytes_out) = (60_000, 5_000);
            report.link.driver = "memory".into();
            (report.link.tx_frames, report.link.kicks, report.link.rx_frames, report.link.wakeups) = (100, 80, 1_000, 1);
            (report.link.tcp.bytes_copied_in, report.link.tcp.bytes_copied_out) = (7, 100);
            report.link.tcp.bytes_copied_again = if rate == 20_000 { 100 } else { 0 };
            report.link.tls = PiecesReport { received: 40, stitched: 10 };
            report.link.websocket = PiecesReport { received: 40, stitched: 4 };
            report.hot = HotReport {
                allocations: 12,
                allocations_connecting: 12,
                allocations_counted: true,
                page_faults: 5,
                page_faults_connecting: 4,
                ..HotReport::default()
            };
            let flow = Flow { seconds: 2.0, received: 2 * rate, gaps: 3, ..Flow::default() };
            tally.add(Round { report, flow });
        }
        assert_eq!((tally.messages, tally.requests, tally.bytes_in), (400, 40, 120_000));
        let mut report = Report::new(Machine::read());
        tally.give(&mut report).unwrap();
        let names: Vec<&str> = report.rows.iter().filter_map(|row| row.name.strip_prefix("20000/s json over memory, ")).collect();
        let stages = ["ingress", "decrypt", "decide", "encode", "seal", "transmit"];
        let answers = ["answered by an order", "answered by a cancel"];
        let expected = [&["whole"], &stages[..], &["ticks of binance", "ticks of kraken"], &answers].concat();
        assert_eq!(names[..expected.len()], expected);
        let of_venues: Vec<String> =
            ["binance", "kraken"].iter().flat_map(|venue| stages.map(|stage| format!("ticks of {venue}, {stage}"))).collect();
        assert_eq!(names[expected.len()..names.len() - 1], of_venues);
        assert_eq!(names.last(), Some(&"its unavoidable parts"));
        let decide = |venue: &str| report.rows.iter().find(|row| row.name.ends_with(&format!("{venue}, decide"))).expect("a row");
        let [binance, kraken] = ["binance", "kraken"].map(|venue| (decide(venue).count, decide(venue).max));
        assert_eq!((binance, kraken), ((100, 150), (100, 50)), "two rounds, each venue its own");
        assert_eq!((report.rows[0].count, report.rows[7].count), (200, 100), "two rounds, two venues");
        let value = |name: &str| report.ratios.iter().find(|ratio| ratio.name.ends_with(name)).map(|ratio| (ratio.value, ratio.met));
        assert_eq!(value("messages that came / asked for"), Some((0.975, Some(true))));
        assert_eq!(value("messages received a second"), Some((19_500.0, None)));
        assert_eq!(value("journalled events lost"), Some((6.0, Some(false))), "gaps are losses");
        assert_eq!(value(": nanoseconds, p99").map(|(value, met)| (value > 400.0, met)), Some((true, Some(true))));
        assert!(value("unavoidable parts, p50").is_some_and(|(value, _)| value > 0.0));
        let hot: Vec<_> =
            report.ratios.iter().filter_map(|ratio| Some((ratio.name.split_once("hot thread, ")?.1, ratio.value, ratio.met))).collect();
        let expected = [
            ("allocations after warm-up", 0.0, Some(true)),
            ("page faults after warm-up", 2.0, Some(false)),
            ("payload bytes that TCP copied", 114.0, Some(false)),
            ("payload bytes that TCP copied to send them again", 100.0, None),
            ("share of records that came in pieces", 0.25, None),
            ("share of messages that came in pieces", 0.1, None),
            ("system calls per frame sent", 0.8, Some(true)),
            ("system calls per frame received", 0.001, Some(false)),
        ];
        assert_eq!(hot, expected, "both rounds together");
        let bar = tally.bar().expect("measured");
        assert_eq!(bar.parts.iter().map(|part| part.0).collect::<Vec<_>>(), stages);
        assert_eq!(bar.whole, report.rows[0].p50);
    }

    #[test]
    fn the_target_of_sbe_is_that_of_ticks_in_sbe() {
        let mut latency = Latency::new(2);
        for (venue, ns) in [(0, 100), (1, 9_000)] {
            let like = Circumstances { messages: 1, ..Circumstances::default() };
            latency.record(&TickRecord { venue, first: EventKind::SendNew as u8, stages_ns: [ns, 0, 0, 0, 0, 0], like });
        }
        let venues = ["binance", "kraken"].map(|name| runtime::report::VenueReport { name: name.into(), ..Default::default() });
        let run = RunReport { venues: venues.into(), latency: Some(Arc::new(latency)), ..RunReport::default() };
        for (load, expected) in [(LOADS[5], Some((100.0, Some(true)))), (LOADS[1], None)] {
            let (mut tally, mut report) = (Tally::new(load), Report::new(Machine::read()));
            tally.add(Round { report: run.clone(), flow: Flow { seconds: 2.0, received: 1, ..Flow::default() } });
            tally.give(&mut report).unwrap();
            let sbe = report.ratios.iter().find(|ratio| ratio.name.contains("all of them SBE"));
            assert_eq!(sbe.map(|ratio| (ratio.value, ratio.met)), expected);
        }
    }

    #[test]
    fn allocations_that_nobody_counted_are_no_figure() {
        let counted = RunReport { hot: HotReport { allocations_counted: true, ..HotReport::default() }, ..RunReport::default() };
        for (reports, figures) in
            [(vec![&counted, &counted], 8), (vec![&counted, &RunReport::default()], 7), (vec![&RunReport::default(), &counted], 7)]
        {
            let mut sums = HotSums::default();
            reports.iter().enumerate().for_each(|(at, report)| sums.add(report, at == 0));
            assert_eq!(sums.ratios("x").len(), figures);
        }
    }

    #[test]
    fn so_many_messages_are_asked_for_that_the_target_can_be_met_and_it_is_that_of_json_over_af_xdp() {
        let with = |driver: &'static str| LOADS.iter().filter(move |load| load.sustained(driver) != Target::None).map(|load| load.name());
        assert_eq!(with("af_xdp").collect::<Vec<_>>(), ["300000/s json"]);
        assert_eq!(with("af_packet").chain(with("memory")).count(), 0);
        for load in LOADS {
            let most = if load.rate == 300_000 { 305_000 } else { load.rate };
            assert_eq!(load.asked(), most);
        }
    }

    #[test]
    fn a_load_that_was_never_reached_has_a_ratio_of_nothing_and_no_rows() {
        let mut report = Report::new(Machine::read());
        let tally = Tally::new(LOADS[3]);
        tally.give(&mut report).unwrap();
        assert!(report.rows.is_empty() && tally.bar().is_none());
        assert_eq!(report.ratios.len(), 1);
        assert_eq!((report.ratios[0].value, report.ratios[0].met), (0.0, Some(false)));
    }

    #[test]
    fn the_whole_engine_is_measured_over_the_in_process_link() {
        let mut report = Report::new(Machine::read());
        run(&Engine::over("memory"), &[Load { rate: 1_000, sbe: false }], Duration::from_secs(4), &mut report).unwrap();
        let whole = report.rows.iter().find(|row| row.name == "1000/s json over memory, whole").expect("orders were sent");
        let count = |which: &dyn Fn(&str) -> bool| report.rows.iter().filter(|row| which(&row.name)).map(|row| row.count).sum::<u64>();
        let of_venues = count(&|name| name.rsplit(", ").next().is_some_and(|last| last.starts_with("ticks of")));
        let of_decisions = count(&|name| name.contains("ticks of") && name.ends_with(", decide"));
        let all = [of_venues, of_decisions, count(&|name| name.contains("answered by"))];
        assert!(whole.count > 0 && all == [whole.count; 3], "{} {all:?}", whole.count);
        assert_eq!(report.waterfalls[0].bars.len(), 1);
        assert!(report.ratios.iter().any(|ratio| ratio.name.contains("came / asked") && ratio.value > 0.3));
    }
}
