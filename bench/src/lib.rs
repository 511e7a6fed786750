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
//! - Closed loop: one operation after the other, on one thread. This says what an operation costs, not how
//!   a queue of them behaves under load.
//! - The input of an operation lies in the first-level cache, as it does after decryption. So do code and
//!   tables of both sides, as they take turns by blocks and not by single operations.
//! - Absolute times belong to the machine described in the report; compare within one report.
//!
//! | file | what it holds |
//! |---|---|
//! | `timer` | the fenced time stamp counter, and what it costs |
//! | `measure` | histograms, warm-up, the alternation of sides |
//! | `report` | rows, ratios and their targets, JSON, the table |
//! | `machine` | where and of what it was measured |
//! | `plot` | percentile curves as SVG, one HTML page |
//! | `messages` | synthetic venue messages, from a seed |
//! | `benches` | one module for each bench |

pub mod benches;
pub mod machine;
pub mod measure;
pub mod messages;
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
}

/// There is no bench of this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no bench `{name}`; there are: all, {}", Bench::ALL.map(Bench::as_str).join(", "))]
pub struct UnknownBench {
    name: String,
}

impl Bench {
    /// All, in the order of a report.
    pub const ALL: [Bench; 4] = [Bench::Codec, Bench::Book, Bench::Core, Bench::Tls];

    /// Its name on the command line and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Bench::Codec => "codec",
            Bench::Book => "book",
            Bench::Core => "core",
            Bench::Tls => "tls",
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

    /// Measures.
    fn run(self, budget: Budget, report: &mut Report) -> anyhow::Result<()> {
        match self {
            Bench::Codec => benches::codec::run(budget, report),
            Bench::Book => benches::book::run(budget, report),
            Bench::Core => benches::core::run(budget, report),
            Bench::Tls => benches::tls::run(budget, report),
        }
    }
}

/// Measures these benches, `seconds` for each case, on a thread of its own that is pinned where the engine's
/// hot thread would be. `progress` is told the name of each bench before it begins.
pub fn run(benches: &[Bench], seconds: f64, mut progress: impl FnMut(Bench) + Send) -> anyhow::Result<Report> {
    let budget = Budget::of_seconds(seconds)?;
    std::thread::scope(|scope| {
        let measuring = scope.spawn(move || {
            let mut report = Report::new(machine::prepare());
            report.add_row(&timer::cost(budget)?);
            report.add_ratio(Ratio::new("timer", "step of the counter: nanoseconds", timer::Timer::new().step_ns(), Target::None));
            for &bench in benches {
                progress(bench);
                bench.run(budget, &mut report).map_err(|error| error.context(format!("bench {}", bench.as_str())))?;
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
        let error = named(&["codec", "t2o"]).expect_err("there is none yet").to_string();
        assert_eq!(error, "there is no bench `t2o`; there are: all, codec, book, core, tls");
    }

    #[test]
    fn a_short_run_of_every_bench_gives_figures_that_can_be_and_a_sound_json_object() {
        let mut begun = Vec::new();
        let report = run(&Bench::ALL, 0.002, |bench| begun.push(bench)).expect("every bench runs");
        assert_eq!(begun, Bench::ALL);
        let json: serde_json::Value = serde_json::from_str(&report.to_json().expect("plain data")).expect("JSON");
        let (rows, ratios) = (json["rows"].as_array().expect("rows"), json["ratios"].as_array().expect("ratios"));
        let of = |list: &[serde_json::Value], bench: &str| list.iter().filter(|entry| entry["bench"] == bench).count();
        let counts = [("timer", 1, 1), ("codec", 14, 10), ("book", 4, 4), ("core", 6, 10), ("tls", 36, 36)];
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
            assert!(ratio["value"].as_f64().is_some_and(|value| value > 0.0 && value.is_finite()), "{ratio}");
            assert_eq!(ratio["met"].is_null(), ratio["target"].is_null());
        }
        let fours = ratios.iter().filter(|ratio| ratio["bench"] == "codec" && ratio["target"] == 4.0).count();
        assert_eq!(fours, 3, "both sizes of Binance's depth, Kraken's book");
    }

    #[test]
    fn time_that_is_none_is_refused() {
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(run(&[], seconds, |_| {}).is_err(), "{seconds}");
        }
    }
}
