//! Percentile curves: what value a share of all operations stayed within. The horizontal axis runs in nines (90 %, 99 %,
//! 99.9 %, ..), so that the tail gets as much room as the rest; the vertical axis is logarithmic.

use super::draw::{BOTTOM, HEIGHT, LEFT, Legend, RIGHT, Upwards, WIDTH, begin, stroke, upright};
use crate::report::{Point, Row};
use std::fmt::Write as _;

/// 0.9 is 1, 0.99 is 2, ..
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-12).log10()
}

/// A share in per cent: 90, 99, 99.9, ..
fn share_text(nines: i32) -> String {
    match nines {
        0 => "0 %".into(),
        1 => "90 %".into(),
        2 => "99 %".into(),
        n => format!("99.{} %", "9".repeat(n as usize - 2)),
    }
}

/// One picture: a curve for each row. All rows are of one unit.
pub fn svg(title: &str, rows: &[&Row]) -> String {
    let points = rows.iter().flat_map(|row| &row.points);
    let most = points.clone().map(|p| nines(p.quantile)).fold(1.0, f64::max).ceil();
    let x = |quantile: f64| LEFT + (WIDTH - LEFT - RIGHT) * nines(quantile) / most;
    let values = Upwards::over(points.map(|p| p.value));
    let legend = Legend::new(rows.iter().map(|row| row.curve));
    let mut out = begin(title, HEIGHT + legend.lower());
    let _ = writeln!(out, "<g transform=\"translate(0 {})\">", legend.lower());
    values.draw(rows.first().map_or(crate::report::NANOSECONDS, |row| row.unit), &mut out);
    for step in 0..=most as i32 {
        upright(x(1.0 - 10f64.powi(-step)), HEIGHT - BOTTOM, &share_text(step), &mut out);
    }
    for (at, row) in rows.iter().enumerate() {
        let corner = |p: &Point| format!("{:.1},{:.1}", x(p.quantile), values.y(p.value as f64));
        let line = row.points.iter().map(corner).collect::<Vec<_>>().join(" ");
        let _ = writeln!(out, "<polyline points=\"{line}\" fill=\"none\" {} stroke-width=\"2\"/>", stroke(at));
    }
    out.push_str("</g>\n");
    legend.draw(|at| format!("{} stroke-width=\"3\"", stroke(at)), &mut out);
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::charts;
    use crate::plot::draw::TOP;
    use crate::plot::tests::corners;
    use crate::report::tests::report;

    #[test]
    fn curves_rise_to_the_right_within_the_picture_and_the_slower_side_lies_above() {
        let report = report();
        let charts = charts(&report);
        assert_eq!(charts.len(), 2);
        let picture = svg("x", &charts[1].rows);
        let (ours, peer) = (corners(&picture, 0), corners(&picture, 1));
        for (x, y) in ours.iter().chain(&peer) {
            assert!((LEFT..=WIDTH - RIGHT).contains(x) && (TOP..=HEIGHT - BOTTOM).contains(y), "{x} {y}");
        }
        assert!(ours.is_sorted_by(|a, b| a.0 < b.0 && a.1 >= b.1));
        assert!(ours.iter().zip(&peer).all(|(ours, peer)| peer.1 < ours.1), "up is slower");
    }

    #[test]
    fn no_two_curves_look_alike() {
        let report = report();
        let row = charts(&report)[1].rows[0];
        let picture = svg("x", &[row; 9]);
        let looks = picture.lines().filter(|line| line.starts_with("<polyline")).map(|line| line.split("fill=").nth(1));
        let looks: std::collections::HashSet<_> = looks.collect();
        assert_eq!(looks.len(), 9);
    }

    #[test]
    fn axes_are_labelled_in_nines_and_round_values_of_the_unit() {
        let report = report();
        let picture = svg("x", &charts(&report)[1].rows);
        for label in ["0 %", "90 %", "99 %", "99.9 %", "1 ns", "100 ns", "5 us"] {
            assert!(picture.contains(&format!(">{label}</text>")), "{label}");
        }
        let row = Row { unit: "bytes/s", ..charts(&report)[1].rows[1].clone() };
        let picture = svg("x", &[&row]);
        assert!(picture.contains(">5 k</text>") && !picture.contains(" us<"), "{picture}");
        assert_eq!(share_text(5), "99.999 %");
    }

    #[test]
    fn a_curve_of_one_value_still_has_a_picture() {
        let mut report = report();
        for row in &mut report.rows {
            row.points = vec![Point { quantile: 0.0, value: 0 }];
        }
        assert_eq!(corners(&svg("x", &charts(&report)[1].rows), 0).len(), 1);
        let nothing = svg("x", &[]);
        assert!(nothing.contains("1 ns") && !nothing.contains("NaN") && !nothing.contains("inf"), "{nothing}");
    }
}
