//! Percentile curves as SVG, and one HTML page with everything. No scripts, no fonts, nothing from elsewhere.
//!
//! A curve shows what time a share of all operations stayed within. The horizontal axis runs in nines (90 %, 99 %,
//! 99.9 %, ..), so that the tail gets as much room as the rest; the vertical axis is logarithmic.

use crate::report::{Point, Report, Row, met_text, target_text};
use std::fmt::Write as _;
use std::path::Path;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 40.0;
/// Nanoseconds beyond anything that is measured: the last tick there is.
const LONGEST: f64 = 5e12;
/// Height of a line of names.
const LINE: f64 = 18.0;
/// Told apart by people who do not tell red from green. Those beyond are dashed.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// Text in XML and HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A title as a file's name.
fn file_stem(title: &str) -> String {
    let plain: String = title.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join("-")
}

/// The rows of one bench that belong together, in order.
struct Chart<'a> {
    bench: &'static str,
    title: &'a str,
    rows: Vec<&'a Row>,
}

fn charts(report: &Report) -> Vec<Chart<'_>> {
    let mut charts: Vec<Chart<'_>> = Vec::new();
    for row in &report.rows {
        match charts.iter_mut().find(|chart| chart.bench == row.bench && chart.title == row.chart) {
            Some(chart) => chart.rows.push(row),
            None => charts.push(Chart { bench: row.bench, title: &row.chart, rows: vec![row] }),
        }
    }
    charts
}

/// Nanoseconds in the unit that reads best.
fn time_text(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns} ns"),
        ns if ns < 1e6 => format!("{} us", ns / 1e3),
        ns if ns < 1e9 => format!("{} ms", ns / 1e6),
        ns => format!("{} s", ns / 1e9),
    }
}

/// Where values lie in the picture.
struct Axes {
    nines: f64,
    low: f64,
    high: f64,
}

impl Axes {
    /// Whole nines, and values from one 1, 2 or 5 to another.
    fn new<'a>(points: impl Iterator<Item = &'a Point> + Clone) -> Axes {
        let nines = points.clone().map(|p| nines(p.quantile)).fold(1.0, f64::max).ceil();
        let values = points.map(|p| p.value.max(1) as f64);
        let (least, most) = (values.clone().reduce(f64::min).unwrap_or(1.0), values.fold(1.0, f64::max));
        let low = ticks(1.0, LONGEST).take_while(|&tick| tick <= least).last().unwrap_or(1.0);
        let high = ticks(1.0, LONGEST).find(|&tick| tick >= most && tick > low).unwrap_or(LONGEST);
        Axes { nines, low, high }
    }

    fn x(&self, quantile: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * nines(quantile) / self.nines
    }

    fn y(&self, value: f64) -> f64 {
        let part = (value.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - part)
    }
}

/// 0.9 is 1, 0.99 is 2, ..
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-12).log10()
}

/// 1, 2, 5, 10, 20, ..
fn ticks(low: f64, high: f64) -> impl Iterator<Item = f64> {
    (0..=12).flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(power))).filter(move |&tick| tick >= low && tick <= high)
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

/// Where the names of curves stand: line and left end. A name that does not fit begins a new line.
fn legend(rows: &[&Row]) -> Vec<(f64, f64)> {
    let (mut line, mut left) = (0.0, LEFT);
    let place = |row: &&Row| {
        let width = 48.0 + 7.0 * row.curve.len() as f64;
        if left > LEFT && left + width > WIDTH {
            (line, left) = (line + 1.0, LEFT);
        }
        let place = (line, left);
        left += width;
        place
    };
    rows.iter().map(place).collect()
}

/// One picture: a curve for each row.
pub fn svg(title: &str, rows: &[&Row]) -> String {
    let axes = Axes::new(rows.iter().flat_map(|row| &row.points));
    let legend = legend(rows);
    let lower = legend.last().map_or(0.0, |(line, _)| line * LINE);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {1}\" width=\"{WIDTH}\" height=\"{1}\" \
         font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n<title>{0}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{1}\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{0}</text>\n\
         <g transform=\"translate(0 {lower})\">\n",
        escape(title),
        HEIGHT + lower
    );
    let (floor, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for tick in ticks(axes.low, axes.high) {
        let y = axes.y(tick);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            time_text(tick)
        );
    }
    for step in 0..=axes.nines as i32 {
        let x = axes.x(1.0 - 10f64.powi(-step));
        let _ = writeln!(
            out,
            "<path d=\"M{x:.1} {TOP}V{floor}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            floor + 18.0,
            share_text(step)
        );
    }
    let stroke = |at: usize| {
        let dashes = if at < COLOURS.len() { "" } else { " stroke-dasharray=\"6 3\"" };
        format!("stroke=\"{}\"{dashes}", COLOURS[at % COLOURS.len()])
    };
    for (at, row) in rows.iter().enumerate() {
        let corner = |p: &Point| format!("{:.1},{:.1}", axes.x(p.quantile), axes.y(p.value as f64));
        let line = row.points.iter().map(corner).collect::<Vec<_>>().join(" ");
        let _ = writeln!(out, "<polyline points=\"{line}\" fill=\"none\" {} stroke-width=\"2\"/>", stroke(at));
    }
    out.push_str("</g>\n");
    for (at, (row, (line, left))) in rows.iter().zip(legend).enumerate() {
        let y = 38.0 + line * LINE;
        let _ = writeln!(
            out,
            "<path d=\"M{left:.0} {y}h18\" {} stroke-width=\"3\"/><text x=\"{:.0}\" y=\"{}\">{}</text>",
            stroke(at),
            left + 24.0,
            y + 4.0,
            escape(row.curve)
        );
    }
    out.push_str("</svg>\n");
    out
}

/// One page: the machine, the ratios, the percentiles, the curves.
pub fn html(report: &Report) -> String {
    let mut out = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Peregrine: measurements</title>\n<style>\
         body{font:15px/1.5 sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}\
         table{border-collapse:collapse;margin:1rem 0}th,td{padding:.15rem .7rem;border-bottom:1px solid #ddd;text-align:right}\
         th:nth-child(-n+2),td:nth-child(-n+2){text-align:left}.no{color:#b00020;font-weight:bold}.warning{color:#b00020}\
         svg{max-width:100%;height:auto;margin:.5rem 0}</style></head><body>\n<h1>Measurements</h1>\n",
    );
    let _ = writeln!(out, "<p>{}<br>Commit {}, {}</p>", escape(&report.machine.to_string()), escape(&report.commit), escape(&report.date));
    if report.machine.debug_build {
        out.push_str("<p class=\"warning\">Debug build: these figures say nothing about speed.</p>\n");
    }
    out.push_str(
        "<p>Each operation is timed by itself; the sides of a case take turns in one run. The cost of reading the time \
         (<code>timer</code>) is part of every figure.</p>\n",
    );
    if !report.ratios.is_empty() {
        out.push_str("<h2>Ratios</h2>\n<table><tr><th>bench<th>what<th>value<th>target<th>met</tr>\n");
    }
    for r in &report.ratios {
        let class = if r.met == Some(false) { " class=\"no\"" } else { "" };
        let _ = writeln!(
            out,
            "<tr><td>{}<td>{}<td>{:.2}<td>{}<td{class}>{}</tr>",
            r.bench,
            escape(&r.name),
            r.value,
            escape(&target_text(r.against)),
            met_text(r.met)
        );
    }
    if !report.ratios.is_empty() {
        out.push_str("</table>\n");
    }
    out.push_str("<h2>Percentiles</h2>\n<table><tr><th>bench<th>what<th>unit<th>count<th>p50<th>p90<th>p99<th>p99.9<th>max</tr>\n");
    for r in &report.rows {
        let _ = writeln!(
            out,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            r.bench,
            escape(&r.name),
            r.unit,
            r.count,
            r.p50,
            r.p90,
            r.p99,
            r.p999,
            r.max
        );
    }
    out.push_str("</table>\n<h2>Percentile curves</h2>\n");
    for chart in charts(report) {
        out.push_str(&svg(&format!("{}: {}", chart.bench, chart.title), &chart.rows));
    }
    out.push_str("</body></html>\n");
    out
}

/// Writes a picture for each case and `report.html` into a directory, which is made if need be.
pub fn write(report: &Report, directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for chart in charts(report) {
        let title = format!("{}: {}", chart.bench, chart.title);
        std::fs::write(directory.join(file_stem(&title) + ".svg"), svg(&title, &chart.rows))?;
    }
    std::fs::write(directory.join("report.html"), html(report))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    /// The corners of a polyline.
    fn corners(svg: &str, at: usize) -> Vec<(f64, f64)> {
        let line = svg.lines().filter_map(|l| l.strip_prefix("<polyline points=\"")).nth(at).expect("a line");
        let points = line.split('"').next().unwrap_or_default().split(' ');
        points.map(|p| p.split_once(',').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).expect("x,y")).collect()
    }

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
    fn names_of_many_curves_take_lines_within_the_picture_and_no_two_curves_look_alike() {
        let report = report();
        let row = charts(&report)[1].rows[0];
        let rows = [row; 9].map(|row| Row { curve: "a name of thirty letters or so", ..row.clone() });
        let rows: Vec<&Row> = rows.iter().collect();
        assert_eq!(legend(&rows[..1]), [(0.0, LEFT)]);
        let places = legend(&rows);
        assert!(places.iter().all(|&(_, left)| left + 24.0 + 7.0 * 30.0 < WIDTH), "{places:?}");
        assert_eq!(places.last().map(|place| place.0), Some(4.0), "two in a line");
        let picture = svg("x", &rows);
        let looks = picture.lines().filter(|line| line.starts_with("<polyline")).map(|line| line.split("fill=").nth(1));
        let looks: std::collections::HashSet<_> = looks.collect();
        assert_eq!(looks.len(), 9);
    }

    #[test]
    fn axes_are_labelled_in_nines_and_round_times() {
        let report = report();
        let picture = svg("x", &charts(&report)[1].rows);
        for label in ["0 %", "90 %", "99 %", "99.9 %", "1 ns", "100 ns", "5 us"] {
            assert!(picture.contains(&format!(">{label}</text>")), "{label}");
        }
        assert_eq!(share_text(5), "99.999 %");
        assert_eq!((time_text(20.0), time_text(2e6), time_text(5e9)), ("20 ns".into(), "2 ms".into(), "5 s".into()));
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

    #[test]
    fn text_is_escaped_and_nothing_comes_from_elsewhere() {
        let page = html(&report());
        assert!(page.contains("peer &lt;b&gt;") && page.contains("record &amp; more") && !page.contains("peer <b>"));
        let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
        for reference in ["http", "src=", "href=", "url(", "@import", "<script"] {
            assert!(!elsewhere.contains(reference), "{reference}");
        }
        assert_eq!(page.matches("<svg").count(), 2);
    }

    #[test]
    fn files_are_named_after_their_cases() {
        let directory = std::env::temp_dir().join(format!("peregrine-bench-plot-{}", std::process::id()));
        write(&report(), &directory).expect("a writable temporary directory");
        let mut names: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["report.html", "timer-timer.svg", "tls-record-more-open.svg"]);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
