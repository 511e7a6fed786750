//! Pictures as SVG, and one HTML page with everything. No scripts, no fonts, nothing from elsewhere.
//!
//! | file | what it draws |
//! |---|---|
//! | `percentiles` | what value a share of all operations stayed within: a curve for each row |
//! | `waterfall` | what a time is made of: a bar for each case |
//! | `growth` | how a time grows with how many there are |
//! | `draw` | what they share |

mod draw;
mod growth;
mod percentiles;
mod waterfall;

use crate::report::{Report, Row, met_text, target_text, value_text};
use draw::escape;
use std::fmt::Write as _;
use std::path::Path;

/// A title as a file's name.
fn file_stem(title: &str) -> String {
    let plain: String = title.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join("-")
}

/// The rows of one bench that belong together, in order; rows without points have no picture.
struct Chart<'a> {
    bench: &'static str,
    title: &'a str,
    rows: Vec<&'a Row>,
}

fn charts(report: &Report) -> Vec<Chart<'_>> {
    let mut charts: Vec<Chart<'_>> = Vec::new();
    for row in report.rows.iter().filter(|row| !row.points.is_empty()) {
        let fits = |chart: &&mut Chart<'_>| chart.bench == row.bench && chart.title == row.chart && chart.rows[0].unit == row.unit;
        match charts.iter_mut().find(fits) {
            Some(chart) => chart.rows.push(row),
            None => charts.push(Chart { bench: row.bench, title: &row.chart, rows: vec![row] }),
        }
    }
    charts
}

/// Heading, title and picture of everything that is drawn, in the order of the page.
fn pictures(report: &Report) -> Vec<(&'static str, String, String)> {
    let waterfalls = report.waterfalls.iter().map(|w| ("What times are made of", format!("{}: {}", w.bench, w.title), waterfall::svg(w)));
    let growths = report.growths.iter().map(|g| ("Growth", format!("{}: {}", g.bench, g.title), growth::svg(g)));
    let curves = charts(report).into_iter().map(|chart| {
        let unit = match chart.rows[0].unit {
            crate::report::NANOSECONDS => String::new(),
            unit => format!(", {unit}"),
        };
        let title = format!("{}: {}{unit}", chart.bench, chart.title);
        let picture = percentiles::svg(&title, &chart.rows);
        ("Percentile curves", title, picture)
    });
    waterfalls.chain(growths).chain(curves).collect()
}

/// One page: the machine, the ratios, the percentiles, the pictures.
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
        let _ = write!(out, "<tr><td>{}<td>{}<td>{}<td>{}", r.bench, escape(&r.name), escape(r.unit), r.count);
        for value in [r.p50, r.p90, r.p99, r.p999, r.max] {
            let _ = write!(out, "<td>{}", value_text(r.unit, value));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
    let mut under = "";
    for (heading, _, picture) in pictures(report) {
        if heading != under {
            let _ = writeln!(out, "<h2>{heading}</h2>");
            under = heading;
        }
        out.push_str(&picture);
    }
    out.push_str("</body></html>\n");
    out
}

/// Writes every picture and `report.html` into a directory, which is made if need be.
pub fn write(report: &Report, directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for (_, title, picture) in pictures(report) {
        std::fs::write(directory.join(file_stem(&title) + ".svg"), picture)?;
    }
    std::fs::write(directory.join("report.html"), html(report))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::report::tests::{measured, report};
    use crate::report::{Bar, Curve, Growth, Waterfall};

    /// The corners of a polyline.
    pub fn corners(svg: &str, at: usize) -> Vec<(f64, f64)> {
        let line = svg.lines().filter_map(|l| l.strip_prefix("<polyline points=\"")).nth(at).expect("a line");
        let points = line.split('"').next().unwrap_or_default().split(' ');
        points.map(|p| p.split_once(',').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).expect("x,y")).collect()
    }

    /// With one picture of each kind.
    fn full() -> Report {
        let mut report = report();
        report.add_figure("tcp", "goodput <lossless>", "bytes/s", &measured("ours", "", [2_500_000_000]));
        let bars = vec![Bar { name: "20000/s".into(), parts: vec![("ingress", 100), ("decide <i>", 400)], whole: 520 }];
        report.waterfalls.push(Waterfall { bench: "t2o", title: "stages".into(), bars });
        let curves = vec![Curve { name: "p50".into(), points: vec![(1, 300), (10, 330)] }];
        report.growths.push(Growth { bench: "growth", title: "a message".into(), of: "venues", curves });
        report
    }

    #[test]
    fn text_is_escaped_and_nothing_comes_from_elsewhere() {
        let page = html(&full());
        assert!(page.contains("peer &lt;b&gt;") && page.contains("record &amp; more") && !page.contains("peer <b>"));
        assert!(page.contains("decide &lt;i&gt;") && !page.contains("<i>") && !page.contains("<lossless>"));
        let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
        for reference in ["http", "src=", "href=", "url(", "@import", "<script"] {
            assert!(!elsewhere.contains(reference), "{reference}");
        }
        assert_eq!(page.matches("<svg").count(), 5);
    }

    #[test]
    fn the_page_has_every_kind_of_picture_under_its_heading_once_and_values_in_their_unit() {
        let page = html(&full());
        let places = ["What times are made of", "Growth", "Percentile curves"].map(|heading| {
            assert_eq!(page.matches(&format!("<h2>{heading}</h2>")).count(), 1, "{heading}");
            page.find(heading).unwrap_or(0)
        });
        assert!(places.is_sorted(), "{places:?}");
        assert!(page.contains("<td>bytes/s<td>1<td>2.50 G<td>"), "{page}");
        assert!(!html(&report()).contains("<h2>Growth"), "no heading without a picture");
    }

    #[test]
    fn rows_of_different_units_never_share_a_picture() {
        let mut report = full();
        report.add_figure("tcp", "goodput <lossless>", "ns", &measured("ours", "", [10]));
        let of_tcp: Vec<_> = charts(&report).into_iter().filter(|chart| chart.bench == "tcp").map(|chart| chart.rows[0].unit).collect();
        assert_eq!(of_tcp, ["bytes/s", "ns"]);
    }

    #[test]
    fn files_are_named_after_their_cases() {
        let directory = std::env::temp_dir().join(format!("peregrine-bench-plot-{}", std::process::id()));
        write(&full(), &directory).expect("a writable temporary directory");
        let mut names: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let pictures = ["growth-a-message.svg", "t2o-stages.svg", "tcp-goodput-lossless-bytes-s.svg"];
        assert_eq!(names, [&pictures[..1], &["report.html"], &pictures[1..], &["timer-timer.svg", "tls-record-more-open.svg"]].concat());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
