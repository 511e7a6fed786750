//! What was measured, and how it compares: rows, ratios, the JSON object and the table.

use crate::machine::Machine;
use crate::measure::Measured;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt::Write as _;

/// Percentiles of one operation of one side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The bench.
    pub bench: &'static str,
    /// Case, operation and side.
    pub name: String,
    /// Of the values: [`NANOSECONDS`], or what else was measured (`bytes/s`, `instructions`).
    pub unit: &'static str,
    /// How many operations.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 90 of 100 are at most this.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1000.
    pub p999: u64,
    /// The longest.
    pub max: u64,
    /// Rows that are plotted together.
    #[serde(skip)]
    pub chart: String,
    /// What this row is called within its chart.
    #[serde(skip)]
    pub curve: &'static str,
    /// Points of the percentile curve.
    #[serde(skip)]
    pub points: Vec<Point>,
}

/// `quantile` of all operations took at most `value`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// From 0 to below 1.
    pub quantile: f64,
    /// In the row's unit.
    pub value: u64,
}

/// The unit of times.
pub const NANOSECONDS: &str = "ns";

/// What a time is made of, for several cases: a picture of bars.
#[derive(Clone, Debug, PartialEq)]
pub struct Waterfall {
    /// The bench.
    pub bench: &'static str,
    /// What the parts are parts of.
    pub title: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

/// One case of a [`Waterfall`], nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// The case.
    pub name: String,
    /// Name and length of each part, in order; the same names in each bar.
    pub parts: Vec<(&'static str, u64)>,
    /// The whole, which need not be the sum of its parts' medians.
    pub whole: u64,
}

/// How a time grows with a number: a picture of curves.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// The bench.
    pub bench: &'static str,
    /// What is measured.
    pub title: String,
    /// What there is more and more of.
    pub of: &'static str,
    /// One for each percentile or operation.
    pub curves: Vec<Curve>,
}

/// A curve of a [`Growth`].
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Its name.
    pub name: String,
    /// How many of it there were, and nanoseconds.
    pub points: Vec<(u64, u64)>,
}

/// What a ratio is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// No less than this.
    AtLeast(f64),
    /// No more than this.
    AtMost(f64),
    /// Nothing.
    None,
}

impl Target {
    fn value(self) -> Option<f64> {
        match self {
            Target::AtLeast(value) | Target::AtMost(value) => Some(value),
            Target::None => None,
        }
    }

    fn met_by(self, value: f64) -> Option<bool> {
        match self {
            Target::AtLeast(target) => Some(value >= target),
            Target::AtMost(target) => Some(value <= target),
            Target::None => None,
        }
    }
}

/// A comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The bench.
    pub bench: &'static str,
    /// What is compared with what.
    pub name: String,
    /// The ratio, or a figure that has a target of its own.
    pub value: f64,
    /// What it should be, if anything.
    pub target: Option<f64>,
    /// Whether it is; nothing where there is no target.
    pub met: Option<bool>,
    /// The direction of the target.
    #[serde(skip)]
    pub against: Target,
}

impl Ratio {
    /// A figure and its target. Values are kept to three decimals.
    pub fn new(bench: &'static str, name: impl Into<String>, value: f64, against: Target) -> Ratio {
        let value = (value * 1_000.0).round() / 1_000.0;
        Ratio { bench, name: name.into(), value, target: against.value(), met: against.met_by(value), against }
    }
}

/// All of one run. Its JSON is one object.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// When, RFC 3339.
    pub date: String,
    /// Which sources.
    pub commit: String,
    /// What was measured.
    pub rows: Vec<Row>,
    /// How it compares.
    pub ratios: Vec<Ratio>,
    /// Pictures of what times are made of.
    #[serde(skip)]
    pub waterfalls: Vec<Waterfall>,
    /// Pictures of how times grow.
    #[serde(skip)]
    pub growths: Vec<Growth>,
}

/// The values at these quantiles are the points of a curve: ten to each power of ten, as far as the count goes.
fn points(histogram: &Histogram<u64>) -> Vec<Point> {
    const PER_DECADE: u32 = 10;
    let decades = histogram.len().max(1).ilog10();
    let at = |step: u32| {
        let quantile = 1.0 - 10f64.powf(-f64::from(step) / f64::from(PER_DECADE));
        Point { quantile, value: histogram.value_at_quantile(quantile) }
    };
    (0..=decades * PER_DECADE).map(at).collect()
}

impl Report {
    /// Nothing measured yet.
    pub fn new(machine: Machine) -> Report {
        let date = jiff::Timestamp::now().round(jiff::Unit::Second).map_or_else(|_| String::new(), |now| now.to_string());
        let (rows, ratios, waterfalls, growths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Report { machine, date, commit: crate::machine::commit(), rows, ratios, waterfalls, growths }
    }

    fn push(&mut self, bench: &'static str, name: String, chart: String, unit: &'static str, measured: &Measured) {
        let h = &measured.histogram;
        self.rows.push(Row {
            bench,
            name,
            unit,
            count: h.len(),
            p50: h.value_at_quantile(0.50),
            p90: h.value_at_quantile(0.90),
            p99: h.value_at_quantile(0.99),
            p999: h.value_at_quantile(0.999),
            max: h.max(),
            chart,
            curve: measured.side,
            points: points(h),
        });
    }

    /// Adds a row that belongs to no case; its side is its bench.
    pub fn add_row(&mut self, measured: &Measured) {
        self.push(measured.side, measured.operation.to_owned(), measured.side.to_owned(), NANOSECONDS, measured);
    }

    /// Adds a row `case, side` whose values are of this unit; those of one case share a picture.
    pub fn add_figure(&mut self, bench: &'static str, case: &str, unit: &'static str, measured: &Measured) {
        self.push(bench, format!("{case}, {}", measured.side), case.to_owned(), unit, measured);
    }

    /// Adds a case: a row for each operation of each side (`case operation, side`) and, where a side `ours` has peers,
    /// the ratios `peer / ours` of the same operation at p50, which is held against `target`, and at p99.
    pub fn add_case(&mut self, bench: &'static str, case: &str, sides: &[Vec<Measured>], target: Target) {
        self.add_case_against(bench, case, sides, |_| target);
    }

    /// As [`Report::add_case`], with a target of its own for each peer, by its name.
    pub fn add_case_against(&mut self, bench: &'static str, case: &str, sides: &[Vec<Measured>], target_of: impl Fn(&str) -> Target) {
        let title = |operation: &str| if operation.is_empty() { case.to_owned() } else { format!("{case} {operation}") };
        for measured in sides.iter().flatten() {
            let title = title(measured.operation);
            self.push(bench, format!("{title}, {}", measured.side), title, NANOSECONDS, measured);
        }
        let Some((ours, peers)) = sides.split_first() else { return };
        for (ours, theirs) in peers.iter().flat_map(|peer| ours.iter().zip(peer)) {
            for (quantile, percentile, target) in [(0.5, "p50", target_of(theirs.side)), (0.99, "p99", Target::None)] {
                let at = |m: &Measured| m.histogram.value_at_quantile(quantile).max(1) as f64;
                let name = format!("{}: {} / {}, {percentile}", title(ours.operation), theirs.side, ours.side);
                self.ratios.push(Ratio::new(bench, name, at(theirs) / at(ours), target));
            }
        }
    }

    /// Adds a figure that has a target.
    pub fn add_ratio(&mut self, ratio: Ratio) {
        self.ratios.push(ratio);
    }

    /// The one JSON object.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// The table for a terminal.
    pub fn to_table(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "{}\n{} at {}", self.machine, self.commit, self.date);
        if self.machine.debug_build {
            out.push_str("DEBUG BUILD: these figures say nothing about speed.\n");
        }
        let width = self.rows.iter().map(|r| r.name.len()).chain(self.ratios.iter().map(|r| r.name.len())).max().unwrap_or(0);
        let units = self.rows.iter().map(|r| r.unit.len()).max().unwrap_or(0).max("unit".len());
        let _ = writeln!(
            out,
            "\n{:<6} {:<width$} {:<units$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10}",
            "bench", "what", "unit", "count", "p50", "p90", "p99", "p99.9", "max"
        );
        for r in &self.rows {
            let [p50, p90, p99, p999, max] = [r.p50, r.p90, r.p99, r.p999, r.max].map(|value| value_text(r.unit, value));
            let _ = writeln!(
                out,
                "{:<6} {:<width$} {:<units$} {:>9} {p50:>9} {p90:>9} {p99:>9} {p999:>9} {max:>10}",
                r.bench, r.name, r.unit, r.count
            );
        }
        if !self.ratios.is_empty() {
            let _ = writeln!(out, "\n{:<6} {:<width$} {:>9} {:>9} met", "bench", "ratio", "value", "target");
        }
        for r in &self.ratios {
            let target = target_text(r.against);
            let met = met_text(r.met);
            let _ = writeln!(out, "{}", format!("{:<6} {:<width$} {:>9.2} {target:>9} {met}", r.bench, r.name, r.value).trim_end());
        }
        out.push_str("\nThe cost of reading the time (row `timer`) is part of every figure.\n");
        out
    }
}

/// A value in a column of a table: times in full, whatever else there is with a decimal prefix once it is long.
pub fn value_text(unit: &str, value: u64) -> String {
    let scaled = |by: f64, prefix: &str| format!("{:.2} {prefix}", value as f64 / by);
    match value {
        _ if unit == NANOSECONDS => value.to_string(),
        0..1_000_000 => value.to_string(),
        1_000_000..1_000_000_000 => scaled(1e6, "M"),
        _ => scaled(1e9, "G"),
    }
}

/// A target in words.
pub fn target_text(target: Target) -> String {
    match target {
        Target::AtLeast(value) => format!(">= {value}"),
        Target::AtMost(value) => format!("<= {value}"),
        Target::None => String::new(),
    }
}

/// Whether a target is met, in words.
pub const fn met_text(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::measure::histogram;

    pub fn measured(side: &'static str, operation: &'static str, values: impl IntoIterator<Item = u64>) -> Measured {
        let mut histogram = histogram();
        values.into_iter().for_each(|value| histogram.saturating_record(value));
        Measured { side, operation, histogram }
    }

    /// A case in which the peer takes five times as long.
    pub fn report() -> Report {
        let mut report = Report::new(Machine::read());
        report.add_row(&measured("timer", "two reads", 10..20));
        let sides = [vec![measured("ours", "open", 1..=1_000)], vec![measured("peer <b>", "open", (1..=1_000).map(|n| n * 5))]];
        report.add_case("tls", "record & more", &sides, Target::AtLeast(4.0));
        report
    }

    #[test]
    fn rows_hold_the_percentiles() {
        let report = report();
        let row = &report.rows[1];
        assert_eq!((row.bench, row.name.as_str(), row.unit, row.count), ("tls", "record & more open, ours", "ns", 1_000));
        assert_eq!((row.p50, row.p90, row.p99, row.p999, row.max), (500, 900, 990, 999, 1_000));
        assert_eq!(row.points.first(), Some(&Point { quantile: 0.0, value: 1 }));
        assert!((row.points.last().map_or(0.0, |p| p.quantile) - 0.999).abs() < 1e-9, "as far as a thousand operations say");
        assert!(row.points.is_sorted_by_key(|p| p.value));
    }

    #[test]
    fn a_ratio_says_by_how_much_the_peer_is_slower_and_whether_that_is_enough() {
        let report = report();
        let names: Vec<&str> = report.ratios.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["record & more open: peer <b> / ours, p50", "record & more open: peer <b> / ours, p99"]);
        assert!((report.ratios[0].value - 5.0).abs() < 0.02, "{}", report.ratios[0].value);
        assert_eq!((report.ratios[0].target, report.ratios[0].met), (Some(4.0), Some(true)));
        assert_eq!((report.ratios[1].target, report.ratios[1].met), (None, None));
    }

    #[test]
    fn each_peer_of_a_case_has_its_own_target() {
        let mut report = Report::new(Machine::read());
        let side = |name, each: u64| vec![measured(name, "", (1..=100).map(|n| n * each))];
        let target_of = |peer: &str| if peer == "slow" { Target::AtLeast(8.0) } else { Target::None };
        report.add_case_against("codec", "depth", &[side("ours", 1), side("slow", 6), side("quick", 2)], target_of);
        let p50: Vec<_> = report.ratios.iter().filter(|r| r.name.ends_with("p50")).map(|r| (r.target, r.met)).collect();
        assert_eq!(p50, [(Some(8.0), Some(false)), (None, None)]);
    }

    #[test]
    fn targets_have_a_direction_and_their_bound_meets_them() {
        let met = |value, target| Ratio::new("core", "x", value, target).met;
        assert_eq!([met(4.0, Target::AtLeast(4.0)), met(3.99, Target::AtLeast(4.0))], [Some(true), Some(false)]);
        assert_eq!([met(100.0, Target::AtMost(100.0)), met(101.0, Target::AtMost(100.0))], [Some(true), Some(false)]);
        assert_eq!(met(1.0, Target::None), None);
    }

    #[test]
    fn the_json_is_one_object_of_the_agreed_shape() {
        let json: serde_json::Value = serde_json::from_str(&report().to_json().expect("plain data")).expect("JSON");
        let keys = |value: &serde_json::Value| value.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>()).expect("an object");
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names.join(" ")
        };
        assert_eq!(sorted(keys(&json)), "commit date machine ratios rows");
        assert_eq!(sorted(keys(&json["rows"][0])), "bench count max name p50 p90 p99 p999 unit");
        assert_eq!(sorted(keys(&json["ratios"][0])), "bench met name target value");
        assert!(json["ratios"][1]["met"].is_null() && json["ratios"][0]["met"] == true);
        assert!(json["date"].as_str().is_some_and(|date| date.ends_with('Z') && date.len() == 20), "{}", json["date"]);
    }

    #[test]
    fn values_of_another_unit_name_it_and_stay_within_their_column() {
        let mut report = Report::new(Machine::read());
        report.add_figure("tcp", "goodput", "bytes/s", &measured("ours", "", [1_200_000_000, 1_200_000_000]));
        report.add_figure("codec", "depth", "instructions", &measured("ours", "", [1_234]));
        let table = report.to_table();
        let line = |start: &str| table.lines().find(|line| line.starts_with(start)).map(str::to_owned).expect("a line");
        assert!(line("tcp ").starts_with("tcp    goodput, ours bytes/s              2    1.20 G"), "{table}");
        assert!(line("codec ").contains("instructions         1      1234"), "{table}");
        assert_eq!(line("bench").len(), line("tcp ").len(), "columns: {table}");
        assert_eq!((value_text("ns", 12_345_678), value_text("bit/s", 999_999_999)), ("12345678".into(), "1000.00 M".into()));
        let json: serde_json::Value = serde_json::from_str(&report.to_json().expect("plain data")).expect("JSON");
        assert_eq!((&json["rows"][0]["unit"], &json["rows"][1]["unit"]), (&"bytes/s".into(), &"instructions".into()));
    }

    #[test]
    fn the_table_has_a_line_for_each_row_and_ratio() {
        let report = report();
        let table = report.to_table();
        for name in report.rows.iter().map(|r| &r.name).chain(report.ratios.iter().map(|r| &r.name)) {
            assert!(table.contains(name.as_str()), "{name} in\n{table}");
        }
        assert!(table.contains(">= 4 yes"), "{table}");
        assert_eq!(table.contains("DEBUG BUILD"), cfg!(debug_assertions));
    }
}
