//! What is said of a case: rows, ratios, and how often a CPU was lost.
//!
//! A percentile says something once several values lie beyond it: with fewer than [`BEYOND_MIN`] on either side of a ratio, the
//! ratio is there and its target is not.

use super::{BENCH, Case, ECHO_PACKET, ECHO_UDP, ECHO_XDP, KERNEL, OWN, OWN_PACKET, READY, SMOLTCP, SPINNING, TOKIO};
use crate::measure::Measured;
use crate::report::{Ratio, Report, Target};
use anyhow::Context;
use hdrhistogram::Histogram;

/// What is measured of a side: from socket to socket; and if it has a tap, the same of the slices with it, from wire to wire, and
/// what passes from a tick to the next. Undisturbed are slices in which neither thread lost its CPU.
pub const OPERATIONS: [&str; 7] = [
    "",
    "socket to socket, undisturbed",
    "socket to socket, tapped",
    "wire to wire",
    "wire to wire, undisturbed",
    "frames to the venue for a tick",
    "frames from the venue for a tick",
];
pub const SOCKET: usize = 0;
pub const SOCKET_UNDISTURBED: usize = 1;
pub const SOCKET_TAPPED: usize = 2;
pub const WIRE: usize = 3;
pub const WIRE_UNDISTURBED: usize = 4;
pub const FRAMES: usize = 5;
pub const VENUE_FRAMES: usize = 6;
/// Those of a side without a tap come first.
pub const UNTAPPED: usize = 2;

/// Measure, side, what it is compared with, percentile, target. Values are `side / compared`.
pub const RATIOS: [(usize, &str, &str, Percentile, Target); 34] = [
    (SOCKET, OWN, ECHO_PACKET, P50, Target::AtMost(1.5)),
    (SOCKET, OWN, ECHO_PACKET, P99, Target::None),
    (SOCKET, OWN, ECHO_XDP, P50, Target::AtMost(1.5)),
    (SOCKET, OWN, READY, P50, Target::None),
    (SOCKET, READY, ECHO_XDP, P50, Target::None),
    (SOCKET, OWN_PACKET, OWN, P50, Target::None),
    (SOCKET, SMOLTCP, OWN, P50, Target::None),
    (SOCKET, SMOLTCP, OWN, P99, Target::None),
    (SOCKET, KERNEL, OWN, P50, Target::None),
    (SOCKET, KERNEL, OWN, P99, Target::None),
    (SOCKET, KERNEL, READY, P50, Target::None),
    (SOCKET, SPINNING, OWN, P50, Target::AtLeast(1.8)),
    (SOCKET, SPINNING, OWN, P99, Target::None),
    (SOCKET, SPINNING, READY, P50, Target::None),
    (SOCKET, TOKIO, OWN, P50, Target::AtLeast(10.0)),
    (SOCKET, TOKIO, OWN, P99, Target::AtLeast(10.0)),
    (SOCKET, TOKIO, OWN, P999, Target::None),
    (SOCKET, TOKIO, KERNEL, P50, Target::None),
    (SOCKET, TOKIO, READY, P50, Target::None),
    (WIRE, OWN, ECHO_UDP, P50, Target::AtMost(1.5)),
    (WIRE, OWN, ECHO_UDP, P99, Target::None),
    (WIRE, OWN, READY, P50, Target::None),
    (WIRE, KERNEL, READY, P50, Target::None),
    (WIRE, SPINNING, READY, P50, Target::None),
    (WIRE, TOKIO, READY, P50, Target::None),
    (WIRE, OWN_PACKET, OWN, P50, Target::None),
    (WIRE, SMOLTCP, OWN, P50, Target::None),
    (WIRE, KERNEL, OWN, P50, Target::None),
    (WIRE, KERNEL, OWN, P99, Target::None),
    (WIRE, SPINNING, OWN, P50, Target::AtLeast(1.8)),
    (WIRE, SPINNING, OWN, P99, Target::None),
    (WIRE, TOKIO, OWN, P50, Target::AtLeast(10.0)),
    (WIRE, TOKIO, OWN, P99, Target::AtLeast(10.0)),
    (WIRE, TOKIO, KERNEL, P50, Target::None),
];

/// A quantile and its name.
type Percentile = (f64, &'static str);
const P50: Percentile = (0.5, "p50");
const P99: Percentile = (0.99, "p99");
const P999: Percentile = (0.999, "p99.9");

/// Values beyond a percentile that has a target.
const BEYOND_MIN: f64 = 10.0;
/// Slices of a row of undisturbed ones.
const UNDISTURBED_MIN: u64 = 20;

/// True if a percentile of so many values says something.
fn is_sound(quantile: f64, count: u64) -> bool {
    (count as f64 * (1.0 - quantile)).round() >= BEYOND_MIN
}

/// Of what was measured of a case.
struct Figures<'a> {
    case: &'a Case,
    measured: &'a [Measured],
}

impl<'a> Figures<'a> {
    /// Of one side.
    fn of(&self, side: &str, measure: usize) -> Option<&'a Histogram<u64>> {
        let same = |measured: &&Measured| measured.side == side && measured.operation == OPERATIONS[measure];
        self.measured.iter().find(same).map(|measured| &measured.histogram)
    }

    /// Slices of this side, of all sides if it is none.
    fn slices(&self, side: Option<&str>, measures: [usize; 2]) -> u64 {
        let wanted = |measured: &&Measured| {
            side.is_none_or(|side| measured.side == side) && measures.iter().any(|measure| measured.operation == OPERATIONS[*measure])
        };
        let ticks: u64 = self.measured.iter().filter(wanted).map(|measured| measured.histogram.len()).sum();
        ticks / self.case.slice.ticks as u64
    }

    /// Slices in which a thread lost its CPU, of 100.
    fn disturbed(&self, side: Option<&str>) -> f64 {
        let all = self.slices(side, [SOCKET, WIRE]);
        let undisturbed = self.slices(side, [SOCKET_UNDISTURBED, WIRE_UNDISTURBED]);
        all.saturating_sub(undisturbed) as f64 * 100.0 / all.max(1) as f64
    }
}

/// Adds a case to the report.
pub fn tell(case: &Case, measured: &[Measured], report: &mut Report) -> anyhow::Result<()> {
    let (figures, name) = (Figures { case, measured }, case.name);
    for (measure, side, compared, (quantile, percentile), target) in RATIOS {
        let operation = OPERATIONS[measure];
        let of = |side: &str| figures.of(side, measure).with_context(|| format!("{side} has no measure `{operation}`"));
        let (ours, theirs) = (of(side)?, of(compared)?);
        let value = |histogram: &Histogram<u64>| histogram.value_at_quantile(quantile).max(1) as f64;
        let title = if measure == SOCKET { name.to_owned() } else { format!("{name} {operation}") };
        let target = if is_sound(quantile, ours.len().min(theirs.len())) { target } else { Target::None };
        let title = format!("{title}: {side} / {compared}, {percentile}");
        report.add_ratio(Ratio::new(BENCH, title, value(ours) / value(theirs), target));
    }
    const DISTURBED: &str = "slices in which venue or client lost its CPU, of 100";
    report.add_ratio(Ratio::new(BENCH, format!("{name}: {DISTURBED}"), figures.disturbed(None), Target::None));
    for side in measured.iter().filter(|side| side.operation == OPERATIONS[SOCKET]).map(|side| side.side) {
        report.add_ratio(Ratio::new(BENCH, format!("{name}: {DISTURBED}, {side}"), figures.disturbed(Some(side)), Target::None));
    }
    for (measure, operation) in OPERATIONS.into_iter().enumerate() {
        for side in measured.iter().filter(|side| side.operation == operation) {
            match measure {
                FRAMES | VENUE_FRAMES => report.add_figure(BENCH, &format!("{name} {operation}"), "frames", side),
                SOCKET_UNDISTURBED | WIRE_UNDISTURBED if side.histogram.len() < UNDISTURBED_MIN * case.slice.ticks as u64 => {}
                _ => report.add_case(BENCH, name, &[vec![side.clone()]], Target::None),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{CASES, SIDES, TAPPED};
    use super::*;
    use crate::machine::Machine;
    use crate::measure::histogram;

    const TICKS: u64 = 36;

    /// What a run would have measured: slices of each measure by side, each tick `10 us + side`.
    fn told(slices: impl Fn(usize, &str) -> u64) -> Report {
        let case = CASES[1];
        assert_eq!(case.slice.ticks as u64, TICKS);
        let mut measured = Vec::new();
        for (at, side) in SIDES.into_iter().enumerate() {
            let operations = if at < TAPPED { OPERATIONS.len() } else { UNTAPPED };
            for (measure, operation) in OPERATIONS.into_iter().enumerate().take(operations) {
                let mut histogram = histogram();
                histogram.record_n(10_000 + at as u64, slices(measure, side) * TICKS).unwrap();
                measured.push(Measured { side, operation, histogram });
            }
        }
        let mut report = Report::new(Machine::read());
        tell(&case, &measured, &mut report).unwrap();
        report
    }

    fn value(report: &Report, name: &str) -> f64 {
        report.ratios.iter().find(|ratio| ratio.name == name).unwrap_or_else(|| panic!("no {name}")).value
    }

    #[test]
    fn a_percentile_with_few_values_beyond_it_has_no_target() {
        assert!(is_sound(0.99, 1_000) && !is_sound(0.99, 900) && is_sound(0.5, 20) && !is_sound(0.5, 18));
        assert!(is_sound(0.999, 10_000) && !is_sound(0.999, 9_000));
        for (slices, sound) in [(28, true), (20, false)] {
            let report = told(|_, side| if side == TOKIO { slices } else { 28 });
            let ratio = |name: &str| report.ratios.iter().find(|ratio| ratio.name == name).unwrap();
            assert_eq!(ratio("every 1 ms: tokio / ours, AF_XDP, p99").target.is_some(), sound);
            assert_eq!(ratio("every 1 ms wire to wire: tokio / ours, AF_XDP, p99").met.is_some(), sound);
            assert_eq!(ratio("every 1 ms: tokio / ours, AF_XDP, p50").target, Some(10.0));
        }
    }

    #[test]
    fn each_side_says_how_often_a_cpu_was_lost_in_its_slices_with_and_without_the_tap() {
        let report = told(|measure, side| match (measure, side) {
            (SOCKET_UNDISTURBED, OWN) => 39,
            (WIRE_UNDISTURBED, OWN) => 35,
            (SOCKET_UNDISTURBED, ECHO_XDP) => 30,
            _ => 40,
        });
        let name = "every 1 ms: slices in which venue or client lost its CPU, of 100";
        let of_thousand = |side: &str| (value(&report, &format!("{name}, {side}")) * 10.0).round() as u64;
        assert_eq!([of_thousand(OWN), of_thousand(ECHO_XDP), of_thousand(TOKIO)], [75, 250, 0]);
        let slices = 40.0 * (SIDES.len() + TAPPED) as f64;
        assert!((value(&report, name) - 16.0 * 100.0 / slices).abs() < 0.001);
    }

    #[test]
    fn undisturbed_slices_have_rows_of_their_own_if_there_are_twenty() {
        let report = told(|measure, side| match (measure, side) {
            (SOCKET_UNDISTURBED | WIRE_UNDISTURBED, OWN) => 20,
            (SOCKET_UNDISTURBED | WIRE_UNDISTURBED, TOKIO) => 19,
            _ => 40,
        });
        let count = |name: &str| report.rows.iter().find(|row| row.name == name).map(|row| row.count);
        for measure in ["socket to socket", "wire to wire"] {
            assert_eq!(count(&format!("every 1 ms {measure}, undisturbed, {OWN}")), Some(20 * TICKS));
            assert_eq!(count(&format!("every 1 ms {measure}, undisturbed, {TOKIO}")), None);
        }
        assert_eq!(count(&format!("every 1 ms, {TOKIO}")), Some(40 * TICKS), "the row of all slices stays");
        assert_eq!(count(&format!("every 1 ms socket to socket, tapped, {TOKIO}")), Some(40 * TICKS));
    }

    #[test]
    fn what_the_engine_must_reach_on_the_wire_has_its_targets() {
        let report = told(|_, _| 40);
        let targets: Vec<(&str, f64)> = report.ratios.iter().filter_map(|ratio| Some((ratio.name.as_str(), ratio.target?))).collect();
        let expected = [
            ("every 1 ms: ours, AF_XDP / echo, AF_XDP to AF_PACKET, p50", 1.5),
            ("every 1 ms: ours, AF_XDP / echo, AF_XDP to AF_XDP, p50", 1.5),
            ("every 1 ms: tungstenite, spinning / ours, AF_XDP, p50", 1.8),
            ("every 1 ms: tokio / ours, AF_XDP, p50", 10.0),
            ("every 1 ms: tokio / ours, AF_XDP, p99", 10.0),
            ("every 1 ms wire to wire: ours, AF_XDP / echo, AF_XDP to a UDP socket, p50", 1.5),
            ("every 1 ms wire to wire: tungstenite, spinning / ours, AF_XDP, p50", 1.8),
            ("every 1 ms wire to wire: tokio / ours, AF_XDP, p50", 10.0),
            ("every 1 ms wire to wire: tokio / ours, AF_XDP, p99", 10.0),
        ];
        assert_eq!(targets, expected);
    }
}
