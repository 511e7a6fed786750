//! What `bench/peers` measured, taken into a report.
//!
//! The peers are in a workspace of their own (licences, dependencies), so their figures come from another program and an earlier
//! run: its JSON file. Their rows and ratios keep their bench and have [`PREFIX`] before their names. A file that
//! is not of the agreed form, or is of another machine than the report, is refused: one object describes one machine.

use crate::Bench;
use crate::machine::Machine;
use crate::report::{NANOSECONDS, Ratio, Report, Row, Target};
use serde::Deserialize;
use std::path::Path;

/// What the names of the peers' rows and ratios begin with.
pub const PREFIX: &str = "peers: ";
/// A bench that only the peers have.
const QUEUE: &str = "queue";
/// The row that every report has.
const TIMER: &str = "timer";

/// The file as it is written, as far as it is read.
#[derive(Deserialize)]
struct File {
    machine: Described,
    date: String,
    commit: String,
    rows: Vec<FileRow>,
    ratios: Vec<FileRatio>,
}

/// What tells one machine and build from another.
#[derive(Debug, PartialEq, Deserialize)]
struct Described {
    cpu: String,
    cpus: usize,
    memory_mib: u64,
    kernel: String,
    debug_build: bool,
}

impl Described {
    fn text(&self) -> String {
        format!(
            "{}, {} CPUs, {} MiB, {}, {} build",
            self.cpu,
            self.cpus,
            self.memory_mib,
            self.kernel,
            if self.debug_build { "debug" } else { "release" }
        )
    }
}

#[derive(Deserialize)]
struct FileRow {
    bench: String,
    name: String,
    unit: String,
    count: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

#[derive(Deserialize)]
struct FileRatio {
    bench: String,
    name: String,
    value: f64,
    target: Option<f64>,
    met: Option<bool>,
}

/// Why a file cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// It is no JSON, or not of that form.
    #[error("is not what bench/peers writes with --json: {0}")]
    NotTheForm(#[from] serde_json::Error),
    /// It is of that form, but a row or ratio cannot be.
    #[error("is not what bench/peers writes with --json: `{entry}` {why}")]
    Impossible {
        /// Name of the row or ratio.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It was measured elsewhere.
    #[error("was measured elsewhere ({theirs}; here: {ours}): measure the peers on this machine, with a build like this one")]
    Elsewhere {
        /// Where.
        theirs: String,
        /// Where this report is from.
        ours: String,
    },
}

/// Figures of the peers.
#[derive(Clone, Debug)]
pub struct Peers {
    /// When they were measured, RFC 3339.
    pub date: String,
    /// Of which sources.
    pub commit: String,
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
}

impl Peers {
    /// Reads a file that `bench/peers` wrote on this machine.
    ///
    /// # Errors
    /// If it cannot be read, is not of that form, or was measured elsewhere.
    pub fn read(path: &Path, machine: &Machine) -> Result<Peers, PeersError> {
        Peers::parse(&std::fs::read_to_string(path)?, machine)
    }

    fn parse(text: &str, machine: &Machine) -> Result<Peers, PeersError> {
        let file: File = serde_json::from_str(text)?;
        let here = Described {
            cpu: machine.cpu.clone(),
            cpus: machine.cpus,
            memory_mib: machine.memory_mib,
            kernel: machine.kernel.clone(),
            debug_build: machine.debug_build,
        };
        if file.machine != here {
            return Err(PeersError::Elsewhere { theirs: file.machine.text(), ours: here.text() });
        }
        let rows = file.rows.into_iter().map(row).collect::<Result<Vec<_>, _>>()?;
        let ratios = file.ratios.into_iter().map(ratio).collect::<Result<Vec<_>, _>>()?;
        if rows.is_empty() {
            return Err(PeersError::Impossible { entry: "rows".into(), why: "is empty" });
        }
        Ok(Peers { date: file.date, commit: file.commit, rows, ratios })
    }
}

impl Report {
    /// Adds the peers' rows and ratios.
    pub fn take_in(&mut self, peers: Peers) {
        self.rows.extend(peers.rows);
        self.ratios.extend(peers.ratios);
    }
}

/// The bench of this name, with a name that lives as long as the report.
fn bench(name: &str) -> Option<&'static str> {
    Bench::ALL.map(Bench::as_str).into_iter().chain([QUEUE, TIMER]).find(|known| *known == name)
}

fn row(row: FileRow) -> Result<Row, PeersError> {
    let FileRow { bench: of, name, unit, count, p50, p90, p99, p999, max } = row;
    let impossible = |why| PeersError::Impossible { entry: name.clone(), why };
    let bench = bench(&of).ok_or_else(|| impossible("is of an unknown bench"))?;
    if unit != NANOSECONDS {
        return Err(impossible("is not in nanoseconds"));
    }
    if count == 0 || ![p50, p90, p99, p999, max].is_sorted() {
        return Err(impossible("has percentiles that cannot be"));
    }
    // The file has no more points than these: the curves are among the pictures that bench/peers draws.
    let (name, chart, points) = (format!("{PREFIX}{name}"), String::new(), Vec::new());
    Ok(Row { bench, name, unit: NANOSECONDS, count, p50, p90, p99, p999, max, chart, curve: "", points })
}

fn ratio(ratio: FileRatio) -> Result<Ratio, PeersError> {
    let FileRatio { bench: of, name, value, target, met } = ratio;
    let impossible = |why| PeersError::Impossible { entry: name.clone(), why };
    let bench = bench(&of).ok_or_else(|| impossible("is of an unknown bench"))?;
    // The file does not say in which direction a target lies; value and verdict do.
    let against = match (target, met) {
        (None, None) => Target::None,
        (Some(target), Some(met)) if met == (value >= target) => Target::AtLeast(target),
        (Some(target), Some(met)) if met == (value <= target) => Target::AtMost(target),
        _ => return Err(impossible("has a verdict that is not about its target")),
    };
    Ok(Ratio::new(bench, format!("{PREFIX}{name}"), value, against))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot;
    use crate::report::tests::measured;
    use serde_json::{Value, json};

    /// As `bench/peers` makes it.
    fn written() -> Value {
        let mut report = Report::new(Machine::read());
        report.add_row(&measured("timer", "two reads", 10..20));
        let sides = [vec![measured("ours", "", 1..=1_000)], vec![measured("nautilus, its fixture", "", (1..=1_000).map(|n| n * 5))]];
        report.add_case("codec", "depth", &sides, Target::AtLeast(8.0));
        report.add_case("queue", "ping", &sides, Target::None);
        report.add_ratio(Ratio::new("core", "nanoseconds", 90.0, Target::AtMost(100.0)));
        serde_json::from_str(&report.to_json().expect("plain data")).expect("JSON")
    }

    fn parse(value: &Value) -> Result<Peers, PeersError> {
        Peers::parse(&value.to_string(), &Machine::read())
    }

    #[test]
    fn rows_and_ratios_of_the_peers_are_in_the_one_object_under_names_of_their_own() {
        let mut report = crate::report::tests::report();
        let before = (report.rows.len(), report.ratios.len());
        report.take_in(parse(&written()).expect("of the form"));
        let json: Value = serde_json::from_str(&report.to_json().expect("plain data")).expect("JSON");
        for (list, before) in [("rows", before.0), ("ratios", before.1)] {
            let theirs = written()[list].as_array().expect("a list").clone();
            let taken = &json[list].as_array().expect("a list")[before..];
            assert_eq!(taken.len(), theirs.len(), "{list}");
            for (taken, mut theirs) in taken.iter().zip(theirs) {
                theirs["name"] = format!("{PREFIX}{}", theirs["name"].as_str().expect("text")).into();
                assert_eq!(*taken, theirs);
            }
        }
        let table = report.to_table();
        assert!(table.contains("peers: depth, ours") && table.contains("<= 100"), "{table}");
        assert!(plot::html(&report).contains("peers: depth, nautilus, its fixture"), "in the page's tables");
    }

    #[test]
    fn a_file_of_another_machine_or_build_is_refused() {
        for (key, other) in [
            ("cpu", json!("Another")),
            ("cpus", json!(1_000)),
            ("memory_mib", json!(1)),
            ("kernel", json!("Another")),
            ("debug_build", json!(!cfg!(debug_assertions))),
        ] {
            let mut value = written();
            value["machine"][key] = other;
            let error = parse(&value).expect_err("elsewhere").to_string();
            assert!(error.starts_with("was measured elsewhere (") && error.contains("CPUs"), "{error}");
        }
    }

    #[test]
    fn a_file_of_another_form_is_refused_and_the_error_says_where() {
        let changed = |pointer: &str, to: Value| {
            let mut value = written();
            *value.pointer_mut(pointer).expect("it is there") = to;
            parse(&value).expect_err("not of the form").to_string()
        };
        let told = "is not what bench/peers writes with --json: ";
        let cases = [
            ("/rows", json!(7), "invalid type"),
            ("/rows", json!([]), "`rows` is empty"),
            ("/rows/1/p99", json!("much"), "invalid type"),
            ("/rows/1/p99", json!(1), "`depth, ours` has percentiles that cannot be"),
            ("/rows/1/count", json!(0), "`depth, ours` has percentiles that cannot be"),
            ("/rows/1/unit", json!("s"), "`depth, ours` is not in nanoseconds"),
            ("/rows/1/bench", json!("x"), "`depth, ours` is of an unknown bench"),
            ("/ratios/0/bench", json!("x"), "is of an unknown bench"),
            ("/ratios/0/met", json!(null), "has a verdict that is not about its target"),
        ];
        for (pointer, to, why) in cases {
            let error = changed(pointer, to);
            assert!(error.starts_with(told) && error.contains(why), "{pointer}: {error}");
        }
        let error = Peers::parse("no JSON", &Machine::read()).expect_err("no JSON").to_string();
        assert!(error.starts_with(told), "{error}");
        assert!(Peers::read(Path::new("/nowhere/peers.json"), &Machine::read()).is_err());
    }

    #[test]
    fn the_direction_of_a_target_is_found_again() {
        let peers = parse(&written()).expect("of the form");
        let with: Vec<_> = peers.ratios.iter().map(|ratio| ratio.against).filter(|against| *against != Target::None).collect();
        assert_eq!(with, [Target::AtLeast(8.0), Target::AtMost(100.0)]);
    }
}
