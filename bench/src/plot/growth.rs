//! Growth curves: a time over how many there are of something, both axes logarithmic.

use super::draw::{BOTTOM, HEIGHT, LEFT, Legend, RIGHT, Upwards, WIDTH, begin, escape, stroke, upright};
use crate::report::{Growth, NANOSECONDS};
use std::fmt::Write as _;

/// One picture.
pub fn svg(growth: &Growth) -> String {
    let points = growth.curves.iter().flat_map(|curve| &curve.points);
    let values = Upwards::over(points.clone().map(|point| point.1));
    let mut counts: Vec<u64> = points.map(|point| point.0.max(1)).collect();
    counts.sort_unstable();
    counts.dedup();
    let (least, most) = (counts.first().copied().unwrap_or(1) as f64, counts.last().copied().unwrap_or(1) as f64);
    let width = (most / least).ln().max(f64::MIN_POSITIVE);
    let x = |count: u64| LEFT + (WIDTH - LEFT - RIGHT) * (count.max(1) as f64 / least).ln() / width;
    let legend = Legend::new(growth.curves.iter().map(|curve| curve.name.as_str()));
    let mut out = begin(&format!("{}: {}", growth.bench, growth.title), HEIGHT + legend.lower() + 16.0);
    let _ = writeln!(out, "<g transform=\"translate(0 {})\">", legend.lower());
    values.draw(NANOSECONDS, &mut out);
    for &count in &counts {
        upright(x(count), HEIGHT - BOTTOM, &count.to_string(), &mut out);
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{}</text>",
        WIDTH - RIGHT,
        HEIGHT - 4.0,
        escape(growth.of)
    );
    for (at, curve) in growth.curves.iter().enumerate() {
        let corners: Vec<(f64, f64)> = curve.points.iter().map(|&(count, value)| (x(count), values.y(value as f64))).collect();
        let line = corners.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
        let _ = writeln!(out, "<polyline points=\"{line}\" fill=\"none\" {} stroke-width=\"2\"/>", stroke(at));
        for (x, y) in corners {
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{}\"/>", super::draw::colour(at));
        }
    }
    out.push_str("</g>\n");
    legend.draw(|at| format!("{} stroke-width=\"3\"", stroke(at)), &mut out);
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::tests::corners;
    use crate::report::Curve;

    fn growth() -> Growth {
        let curve = |name: &str, points: &[(u64, u64)]| Curve { name: name.into(), points: points.to_vec() };
        let curves = vec![curve("p50", &[(1, 300), (10, 310), (1_000, 600)]), curve("p99 <b>", &[(1, 900), (10, 950), (1_000, 1_800)])];
        Growth { bench: "growth", title: "a message".into(), of: "instruments", curves }
    }

    #[test]
    fn equal_factors_are_equally_far_apart_and_every_count_is_named() {
        let picture = svg(&growth());
        let line = corners(&picture, 0);
        assert!((line[0].0 - LEFT).abs() < 0.1 && (line[2].0 - (WIDTH - RIGHT)).abs() < 0.1, "{line:?}");
        let (ten, thousand) = (line[1].0 - line[0].0, line[2].0 - line[0].0);
        assert!((thousand - 3.0 * ten).abs() < 1.0, "{ten} {thousand}");
        for label in ["1", "10", "1000", "instruments", "200 ns", "2 us", "p50"] {
            assert!(picture.contains(&format!(">{label}</text>")), "{label}");
        }
        assert!(picture.contains("p99 &lt;b&gt;") && !picture.contains("<b>"));
    }

    #[test]
    fn what_takes_longer_lies_higher_and_within_the_picture() {
        let picture = svg(&growth());
        let (p50, p99) = (corners(&picture, 0), corners(&picture, 1));
        assert!(p50.iter().zip(&p99).all(|(p50, p99)| p99.1 < p50.1));
        assert!(p50.is_sorted_by(|a, b| a.1 >= b.1), "it grows: {p50:?}");
        assert!(p50.iter().chain(&p99).all(|&(x, y)| (LEFT..=WIDTH - RIGHT).contains(&x) && (0.0..=HEIGHT - BOTTOM).contains(&y)));
        assert_eq!(picture.matches("<circle").count(), 6);
    }

    #[test]
    fn a_single_count_and_none_at_all_have_a_picture() {
        let mut few = growth();
        few.curves.truncate(1);
        few.curves[0].points.truncate(1);
        for picture in [svg(&few), svg(&Growth { curves: Vec::new(), ..growth() })] {
            assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
        }
    }
}
