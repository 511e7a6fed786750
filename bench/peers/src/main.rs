//! `peers`: Peregrine's codecs, book, order state, risk and message passing beside those of other systems.
//!
//! The frame is the `bench` crate's: sides take turns in one run, each operation is timed by itself, percentiles, ratios,
//! one JSON object. Read its documentation for what the figures are. What is particular here:
//!
//! - A peer is called as its own authors call it, through its public functions, with inputs made beforehand. Where the two
//!   sides cannot do the same work, the peer gets the easier task, and the documentation of the case says which.
//! - Nothing of a peer is copied or changed. All are crates of fixed versions (README.md says which, and their licences).
//! - The program's allocator is the system's, for all sides.
//!
//! | file | what it holds |
//! |---|---|
//! | `codec` | venue messages to events: nautilus-okx, barter-data, serde_json |
//! | `book` | decoded changes into a book: nautilus, barter, hftbacktest |
//! | `core` | orders through state and risk: nautilus |
//! | `queue` | events between threads and within one: disruptor, rtrb, nautilus |
//! | `recorded` | what venues sent, as changes of books, for `book` |
//! | `session` | our core in a session, as `core` and `queue` need it |
//! | `nautilus` | what all cases need of nautilus: ids, instrument, orders |

mod book;
mod codec;
mod core;
mod nautilus;
mod queue;
mod recorded;
mod session;

use anyhow::Context;
use bench::measure::Budget;
use bench::report::{Ratio, Report, Target};
use bench::{machine, plot, timer};
use clap::Parser;
use std::path::{Path, PathBuf};

/// The seed of everything random.
const SEED: u64 = 0x5eed;
/// Operations in a block: enough that a side runs on its own caches, few enough that all see the same machine.
const BLOCK: usize = 64;
/// Our side's name.
const OURS: &str = "ours";
/// A side with a single operation that is the case itself.
const ONE: &[&str] = &[""];

/// Measures Peregrine beside the parts of other systems that do the same.
#[derive(Parser)]
#[command(
    name = "peers",
    after_help = "Benches:\n  \
    codec   venue JSON to normalised events: nautilus-okx, barter-data, serde_json (targets: 8 and 4 times as fast)\n  \
    book    decoded changes into a book: nautilus, barter, hftbacktest (target: no slower than any of them)\n  \
    core    orders through state and risk: nautilus (target: 10 times as fast as its RiskEngine::execute)\n  \
    queue   events from thread to thread: disruptor, rtrb; within a thread: nautilus' TopicRouter\n\n\
    Sides of a comparison take turns in one run. Each operation is timed by itself, and the time that the timing takes (the row \
    `timer`) is part of every figure. A ratio is peer / ours of the same percentile: above 1, ours is quicker. A target that is \
    missed does not make the command fail. Build with --release, run on a quiet machine with two free CPUs, compare within one \
    run. README.md says who the peers are and under which licences.\n\n\
    The JSON is one object: machine, date, commit, rows [{bench, name, unit, count, p50, p90, p99, p999, max}] and ratios [{bench, \
    name, value, target, met}].\n\n\
    Examples, from Peregrine's top directory:\n  \
    cargo run --release --manifest-path bench/peers/Cargo.toml -- codec book\n  \
    cargo run --release --manifest-path bench/peers/Cargo.toml -- all --seconds 10 --json peers.json --plot plots\n  \
    cargo run --release --manifest-path bench/peers/Cargo.toml --features high-precision -- codec book core\n  \
    cargo run --release --manifest-path bench/peers/Cargo.toml -- core --json - | jq '.ratios[] | select(.met == false)'"
)]
struct Arguments {
    /// What to measure: all, codec, book, core, queue [default: all].
    #[arg(value_name = "BENCH")]
    benches: Vec<String>,
    /// How long to measure each case, all its sides together, warm-up included. There are fifteen; thirteen without recordings.
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    seconds: f64,
    /// Writes the result as JSON; - is standard output, in place of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes percentile curves (SVG) and report.html into this directory.
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
}

/// Measures, and adds what was measured.
type Run = fn(Budget, &mut Report) -> anyhow::Result<()>;

/// All, in the order of a report.
const BENCHES: [(&str, Run); 4] = [("codec", codec::run), ("book", book::run), ("core", core::run), ("queue", queue::run)];

/// The benches that these names mean; none, or `all`, means all. Each once, in the order of a report.
fn named(names: &[String]) -> anyhow::Result<Vec<(&'static str, Run)>> {
    for name in names {
        let known = name == "all" || BENCHES.iter().any(|(bench, _)| bench == name);
        anyhow::ensure!(known, "there is no bench `{name}`; there are: all, {}", BENCHES.map(|(bench, _)| bench).join(", "));
    }
    let all = names.is_empty() || names.iter().any(|name| name == "all");
    Ok(BENCHES.into_iter().filter(|(bench, _)| all || names.iter().any(|name| name == bench)).collect())
}

/// Measures these benches on a thread of its own that is pinned where the engine's hot thread would be.
fn measure(benches: &[(&'static str, Run)], seconds: f64) -> anyhow::Result<Report> {
    let budget = Budget::of_seconds(seconds)?;
    std::thread::scope(|scope| {
        let measuring = scope.spawn(move || {
            let mut report = Report::new(machine::prepare());
            report.add_row(&timer::cost(budget)?);
            report.add_ratio(Ratio::new("timer", "step of the counter: nanoseconds", timer::Timer::new().step_ns(), Target::None));
            for (bench, run) in benches {
                eprintln!("peers: measuring {bench} ..");
                run(budget, &mut report).with_context(|| format!("bench {bench}"))?;
            }
            Ok(report)
        });
        measuring.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Hands a report out in the forms asked for.
fn write(report: &Report, json: Option<&Path>, plots: Option<&Path>) -> anyhow::Result<()> {
    let to_out = json.is_some_and(|path| path.as_os_str() == "-");
    print!("{}", if to_out { report.to_json()? } else { report.to_table() });
    if let Some(path) = json.filter(|_| !to_out) {
        std::fs::write(path, report.to_json()?).with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(directory) = plots {
        plot::write(report, directory).with_context(|| format!("writing plots to {}", directory.display()))?;
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let report = measure(&named(&arguments.benches)?, arguments.seconds)?;
    write(&report, arguments.json.as_deref(), arguments.plot.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> anyhow::Result<Vec<&'static str>> {
        let names: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Ok(named(&names)?.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn names_choose_each_bench_once_and_a_wrong_one_is_refused_with_those_that_are() {
        assert_eq!(names("").unwrap(), ["codec", "book", "core", "queue"]);
        assert_eq!(names("queue codec queue").unwrap(), ["codec", "queue"]);
        assert_eq!(names("book all").unwrap().len(), 4);
        assert_eq!(names("all wire").unwrap_err().to_string(), "there is no bench `wire`; there are: all, codec, book, core, queue");
    }

    #[test]
    fn a_short_run_gives_figures_for_every_side_and_targets_where_the_goals_are() {
        let report = measure(&BENCHES, 0.02).expect("every bench runs");
        let count = |bench: &str| report.rows.iter().filter(|row| row.bench == bench).count();
        let recorded = recorded::all().expect("what is there can be read").len();
        assert_eq!(["codec", "book", "core", "queue"].map(count), [9, 16 + 8 * recorded, 23, 18]);
        for row in &report.rows {
            assert!(row.count >= 64 && row.p50 <= row.p99 && row.p99 <= row.max, "{row:?}");
        }
        let with =
            |bench: &str, target: f64| report.ratios.iter().filter(|ratio| ratio.bench == bench && ratio.target == Some(target)).count();
        assert_eq!([with("codec", 8.0), with("codec", 4.0), with("book", 1.0), with("core", 10.0)], [4, 2, 12 + 6 * recorded, 3]);
        assert!(report.ratios.iter().all(|ratio| ratio.value.is_finite()));
    }
}
