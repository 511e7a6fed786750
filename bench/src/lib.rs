//! Measurements: what each part of the path costs, beside what a competent engineer would otherwise use.
//!
//! A bench has *cases*. A case has one or two *sides* (ours and a peer) that do the same work on the same
//! bytes; they take turns in one run, so that whatever the machine does meanwhile happens to both. Each
//! operation is timed on its own ([`timer`]) and its time goes into an HDR histogram ([`measure`]).
//!
//! What the figures are, and are not:
//!
//! - *Nothing is subtracted.* Each time includes the cost of reading the counter; that cost is measured
//!   as the row `timer` of every report. It weighs most on the shortest operations, which are ours, so
//!   ratios err in favour of the peer.
//! - No time is known better than the step in which the counter advances; it is in every report, too.
//! - `codec`, `book`, `core`, `tls`, `growth` and `tcp`'s segments are a closed loop: one operation after the other, on one thread.
//!   This says what an operation costs, not how a queue of them behaves under load. `wire`, `t2o` and `tcp`'s transfers are
//!   under load: what is to be sent at a given time counts from that time.
//! - In the closed loops the input of an operation lies in the first-level cache, as it does after decryption. So do code and
//!   tables of both sides, as they take turns by blocks and not by single operations. Rows that say `cold` are the exception.
//! - Absolute times belong to the machine described in the report; compare within one report.
//!
//! | file | what it holds |
//! |---|---|
//! | `timer` | the fenced time stamp counter, and what it costs |
//! | `measure` | histograms, warm-up, the alternation of sides |
//! | `report` | rows, ratios and their targets, JSON, the table |
//! | `machine` | where and of what it was measured |
//! | `peers` | what other systems' parts took, from the file of `bench/peers` |
//! | `plot` | curves and bars as SVG, one HTML page |
//! | `parts` | what no tick-to-order can do without |
//! | `messages` | synthetic venue messages, from a seed |
//! | `benches` | one module for each bench |

pub mod benches;
pub mod machine;
pub mod measure;
pub mod messages;
pub mod parts;
pub mod peers;
pub mod plot;
pub mod random;
pub mod report;
pub mod timer;

use measure::Budget;
use report::{Ratio, Report, Target};

/// One bench.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bench {
    /// Venue messages to events.
    Codec,
    /// Changes of a book.
    Book,
    /// Orders through state and risk.
    Core,
    /// TLS records.
    Tls,
    /// TCP segments and transfers.
    Tcp,
    /// Echoes over a veth pair.
    Link,
    /// From a tick to its order, over a wire.
    Wire,
    /// From a tick to its order in the whole engine; measured by who has it ([`WholeEngine`]).
    T2o,
    /// A message, over how many venues, instruments and connections there are.
    Growth,
}

/// There is no bench of this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no bench `{name}`; there are: all, {}", Bench::ALL.map(Bench::as_str).join(", "))]
pub struct UnknownBench {
    name: String,
}

impl Bench {
    /// All, in the order of a report.
    pub const ALL: [Bench; 9] =
        [Bench::Codec, Bench::Book, Bench::Core, Bench::Tls, Bench::Tcp, Bench::Link, Bench::Wire, Bench::T2o, Bench::Growth];

    /// Its name on the command line and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Bench::Codec => "codec",
            Bench::Book => "book",
            Bench::Core => "core",
            Bench::Tls => "tls",
            Bench::Tcp => "tcp",
            Bench::Link => "link",
            Bench::Wire => "wire",
            Bench::T2o => "t2o",
            Bench::Growth => "growth",
        }
    }

    /// The benches that these names mean; none, or `all`, means all. Each once, in the order of a report.
    pub fn named(names: &[String]) -> Result<Vec<Bench>, UnknownBench> {
        let mut wanted = Vec::new();
        for name in names {
            if name == "all" {
                wanted.extend(Bench::ALL);
                continue;
            }
            let bench = Bench::ALL.into_iter().find(|bench| bench.as_str() == name);
            wanted.push(bench.ok_or_else(|| UnknownBench { name: name.clone() })?);
        }
        Ok(Bench::ALL.into_iter().filter(|bench| names.is_empty() || wanted.contains(bench)).collect())
    }

    /// Why it cannot run here, if it cannot.
    pub fn unavailable(self) -> Option<String> {
        match self {
            Bench::Tcp => benches::tcp::unavailable(),
            Bench::Link => benches::link::unavailable(),
            Bench::Wire => benches::wire::unavailable(),
            _ => None,
        }
    }

    /// Measures.
    fn run(self, budget: Budget, engine: &mut impl WholeEngine, report: &mut Report) -> anyhow::Result<()> {
        match self {
            Bench::Codec => benches::codec::run(budget, report),
            Bench::Book => benches::book::run(budget, report),
            Bench::Core => benches::core::run(budget, report),
            Bench::Tls => benches::tls::run(budget, report),
            Bench::Tcp => benches::tcp::run(budget, report),
            Bench::Link => benches::link::run(budget, report),
            Bench::Wire => benches::wire::run(budget, report),
            Bench::T2o => engine.tick_to_order(budget, report),
            Bench::Growth => benches::growth::run(budget, report),
        }
    }
}

/// What has the whole engine and can measure it: it lies above this crate.
pub trait WholeEngine: Send {
    /// Measures [`Bench::T2o`]. Called on the measuring thread.
    fn tick_to_order(&mut self, budget: Budget, report: &mut Report) -> anyhow::Result<()>;
}

/// Measures these benches, `seconds` for each case, on a thread of its own that is pinned where the engine's
/// hot thread would be. `progress` is told the name of each bench before it begins.
pub fn run(
    benches: &[Bench],
    seconds: f64,
    engine: &mut impl WholeEngine,
    mut progress: impl FnMut(Bench) + Send,
) -> anyhow::Result<Report> {
    let budget = Budget::of_seconds(seconds)?;
    // Before the others have measured for minutes.
    for bench in benches {
        if let Some(reason) = bench.unavailable() {
            let others = Bench::ALL.iter().filter(|bench| bench.unavailable().is_none()).map(|bench| bench.as_str());
            let others = others.collect::<Vec<_>>().join(", ");
            anyhow::bail!("bench {} cannot run here: {reason}. Run it as root, or name others: {others}", bench.as_str());
        }
    }
    std::thread::scope(|scope| {
        let measuring = scope.spawn(move || {
            let mut report = Report::new(machine::prepare());
            report.add_row(&timer::cost(budget)?);
            report.add_ratio(Ratio::new("timer", "step of the counter: nanoseconds", timer::Timer::new().step_ns(), Target::None));
            for &bench in benches {
                progress(bench);
                bench.run(budget, engine, &mut report).map_err(|error| error.context(format!("bench {}", bench.as_str())))?;
            }
            Ok(report)
        });
        measuring.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Result<Vec<Bench>, UnknownBench> {
        Bench::named(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn names_choose_each_bench_once_in_the_order_of_a_report() {
        assert_eq!(named(&[]), Ok(Bench::ALL.to_vec()));
        assert_eq!(named(&["all"]), Ok(Bench::ALL.to_vec()));
        assert_eq!(named(&["tls", "codec", "tls"]), Ok(vec![Bench::Codec, Bench::Tls]));
    }

    #[test]
    fn a_bench_that_does_not_exist_is_refused_with_those_that_do() {
        let error = named(&["codec", "t3o"]).expect_err("there is none").to_string();
        let all = Bench::ALL.map(Bench::as_str).join(", ");
        assert_eq!(error, format!("there is no bench `t3o`; there are: all, {all}"));
    }

    /// No engine: counts how often it was asked.
    struct NoEngine(u32);

    impl WholeEngine for NoEngine {
        fn tick_to_order(&mut self, _: Budget, _: &mut Report) -> anyhow::Result<()> {
            self.0 += 1;
            Ok(())
        }
    }

    #[test]
    fn a_short_run_of_every_bench_without_a_network_gives_figures_that_can_be_and_a_sound_json_object() {
        // The others have tests of their own.
        let computing = [Bench::Codec, Bench::Book, Bench::Core, Bench::Tls, Bench::T2o];
        let mut begun = Vec::new();
        let mut engine = NoEngine(0);
        let report = run(&computing, 0.002, &mut engine, |bench| begun.push(bench)).expect("every bench runs");
        assert_eq!((&begun[..], engine.0), (&computing[..], 1));
        let json: serde_json::Value = serde_json::from_str(&report.to_json().expect("plain data")).expect("JSON");
        let (rows, ratios) = (json["rows"].as_array().expect("rows"), json["ratios"].as_array().expect("ratios"));
        let of = |list: &[serde_json::Value], bench: &str| list.iter().filter(|entry| entry["bench"] == bench).count();
        let tls = if netstack::tls::aes_gcm::is_available() { (164, 196) } else { (132, 132) };
        let counts = [("timer", 1, 1), ("codec", 15, 13), ("book", 9, 12), ("core", 7, 12), ("tls", tls.0, tls.1)];
        assert_eq!(counts.map(|(bench, ..)| (bench, of(rows, bench), of(ratios, bench))), counts);
        let mut names = std::collections::HashSet::new();
        for row in rows {
            assert!(names.insert((row["bench"].to_string(), row["name"].to_string())), "twice: {row}");
            let figures = ["p50", "p90", "p99", "p999", "max"].map(|key| row[key].as_u64().expect("an integer"));
            assert!(figures.is_sorted() && figures[0] > 0 && figures[0] < 10_000_000, "{row}");
            assert!(row["count"].as_u64().is_some_and(|count| count >= 64), "{row}");
        }
        let timer = rows[0]["p50"].as_u64().expect("an integer");
        assert!(rows.iter().all(|row| row["p50"].as_u64() >= Some(timer / 2)), "nothing takes less than reading the time");
        for ratio in ratios {
            assert!(ratio["value"].as_f64().is_some_and(|value| value >= 0.0 && value.is_finite()), "{ratio}");
            assert_eq!(ratio["met"].is_null(), ratio["target"].is_null());
        }
        let fours = ratios.iter().filter(|ratio| ratio["bench"] == "codec" && ratio["target"] == 4.0).count();
        assert_eq!(fours, 4, "both sizes of Binance's depth, Kraken's book against both peers");
    }

    #[test]
    fn time_that_is_none_is_refused() {
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(run(&[], seconds, &mut NoEngine(0), |_| {}).is_err(), "{seconds}");
        }
    }
}
