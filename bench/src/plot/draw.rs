//! What all pictures share: sizes, colours, scales, the frame, names of what is drawn.

use crate::report::NANOSECONDS;
use std::fmt::Write as _;

pub(super) const WIDTH: f64 = 720.0;
pub(super) const HEIGHT: f64 = 360.0;
pub(super) const LEFT: f64 = 64.0;
pub(super) const RIGHT: f64 = 16.0;
pub(super) const TOP: f64 = 56.0;
pub(super) const BOTTOM: f64 = 40.0;
/// Beyond anything that is measured, in any unit: the last tick there is.
pub(super) const MOST: f64 = 5e12;
/// Height of a line of names.
const LINE: f64 = 18.0;
/// Room for a mark and a letter of a name.
const MARK: f64 = 24.0;
const LETTER: f64 = 7.0;
/// Told apart by people who do not tell red from green. Those beyond are dashed.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// The dark ones come first: so many.
const DARK: usize = 3;

/// The n-th colour; they begin anew after the last.
pub(super) fn colour(at: usize) -> &'static str {
    COLOURS[at % COLOURS.len()]
}

/// What can be read on the n-th colour.
pub(super) fn ink(at: usize) -> &'static str {
    if at % COLOURS.len() < DARK { "#fff" } else { "#111" }
}

/// How the n-th line is drawn: no two of the first twelve alike.
pub(super) fn stroke(at: usize) -> String {
    let dashes = if at < COLOURS.len() { "" } else { " stroke-dasharray=\"6 3\"" };
    format!("stroke=\"{}\"{dashes}", colour(at))
}

/// Text in XML and HTML.
pub(super) fn escape(text: &str) -> String {
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

/// A value beside an axis, with its unit, in the multiple that reads best.
pub(super) fn value_text(unit: &str, value: f64) -> String {
    if unit == NANOSECONDS {
        return match value {
            ns if ns < 1e3 => format!("{ns} ns"),
            ns if ns < 1e6 => format!("{} us", ns / 1e3),
            ns if ns < 1e9 => format!("{} ms", ns / 1e6),
            ns => format!("{} s", ns / 1e9),
        };
    }
    match value {
        v if v < 1e3 => format!("{v}"),
        v if v < 1e6 => format!("{} k", v / 1e3),
        v if v < 1e9 => format!("{} M", v / 1e6),
        v if v < 1e12 => format!("{} G", v / 1e9),
        v => format!("{} T", v / 1e12),
    }
}

/// 1, 2, 5, 10, 20, ..
pub(super) fn ticks(low: f64, high: f64) -> impl Iterator<Item = f64> {
    (0..=12).flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(power))).filter(move |&tick| tick >= low && tick <= high)
}

/// A logarithmic axis from one 1, 2 or 5 to another, upwards in the picture.
pub(super) struct Upwards {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Upwards {
    /// Holds all these values; what is below 1 counts as 1.
    pub(super) fn over(values: impl Iterator<Item = u64> + Clone) -> Upwards {
        let values = values.map(|value| value.max(1) as f64);
        let (least, most) = (values.clone().reduce(f64::min).unwrap_or(1.0), values.fold(1.0, f64::max));
        let low = ticks(1.0, MOST).take_while(|&tick| tick <= least).last().unwrap_or(1.0);
        let high = ticks(1.0, MOST).find(|&tick| tick >= most && tick > low).unwrap_or(MOST);
        Upwards { low, high }
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let part = (value.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - part)
    }

    /// Its lines and what stands beside them.
    pub(super) fn draw(&self, unit: &str, out: &mut String) {
        for tick in ticks(self.low, self.high) {
            let y = self.y(tick);
            let _ = writeln!(
                out,
                "<path d=\"M{LEFT} {y:.1}H{}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                value_text(unit, tick)
            );
        }
    }
}

/// A line of the grid upwards from the floor, and what stands below it.
pub(super) fn upright(x: f64, floor: f64, text: &str, out: &mut String) {
    let _ = writeln!(
        out,
        "<path d=\"M{x:.1} {TOP}V{floor}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        floor + 18.0,
        escape(text)
    );
}

/// The beginning of a picture.
pub(super) fn begin(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n<title>{0}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{0}</text>\n",
        escape(title)
    )
}

/// The names of what is drawn: in lines below the title, below which the picture moves down.
pub(super) struct Legend<'a> {
    names: Vec<&'a str>,
    /// Line and left end.
    pub(super) places: Vec<(f64, f64)>,
}

impl<'a> Legend<'a> {
    /// A name that does not fit begins a new line.
    pub(super) fn new(names: impl IntoIterator<Item = &'a str>) -> Legend<'a> {
        let (mut line, mut left) = (0.0, LEFT);
        let names: Vec<&str> = names.into_iter().collect();
        let place = |name: &&str| {
            let width = 2.0 * MARK + LETTER * name.chars().count() as f64;
            if left > LEFT && left + width > WIDTH {
                (line, left) = (line + 1.0, LEFT);
            }
            let place = (line, left);
            left += width;
            place
        };
        let places = names.iter().map(place).collect();
        Legend { names, places }
    }

    /// By how much the picture moves down.
    pub(super) fn lower(&self) -> f64 {
        self.places.last().map_or(0.0, |(line, _)| line * LINE)
    }

    /// `mark` says how the line before the n-th name looks.
    pub(super) fn draw(&self, mark: impl Fn(usize) -> String, out: &mut String) {
        for (at, (name, (line, left))) in self.names.iter().zip(&self.places).enumerate() {
            let y = 38.0 + line * LINE;
            let _ = writeln!(
                out,
                "<path d=\"M{left:.0} {y}h18\" {}/><text x=\"{:.0}\" y=\"{}\">{}</text>",
                mark(at),
                left + MARK,
                y + 4.0,
                escape(name)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_in_the_multiple_that_reads_best() {
        assert_eq!([20.0, 2e6, 5e9].map(|ns| value_text(NANOSECONDS, ns)), ["20 ns", "2 ms", "5 s"]);
        assert_eq!([500.0, 2e3, 5e8, 1e10, 5e12].map(|n| value_text("bytes/s", n)), ["500", "2 k", "500 M", "10 G", "5 T"]);
    }

    #[test]
    fn an_axis_holds_its_values_and_begins_and_ends_with_a_tick() {
        let axis = Upwards::over([130u64, 4_100].into_iter());
        assert_eq!((axis.low, axis.high), (100.0, 5_000.0));
        assert!(axis.y(130.0) > axis.y(4_100.0), "up is more");
        let one = Upwards::over([100u64].into_iter());
        assert!(one.high > one.low);
        assert!((Upwards::over([].into_iter()).low - 1.0).abs() < 1e-9);
    }

    #[test]
    fn names_take_lines_within_the_picture() {
        let legend = Legend::new(["a name of thirty letters or so"; 9]);
        assert!(legend.places.iter().all(|&(_, left)| left + 24.0 + 7.0 * 30.0 < WIDTH), "{:?}", legend.places);
        assert_eq!(legend.places.last().map(|place| place.0), Some(4.0), "two in a line");
        assert_eq!(Legend::new(["one"]).places, [(0.0, LEFT)]);
        assert_eq!((legend.lower(), Legend::new([]).lower()), (72.0, 0.0));
    }

    #[test]
    fn the_first_twelve_lines_look_different() {
        let looks: std::collections::HashSet<String> = (0..12).map(stroke).collect();
        assert_eq!(looks.len(), 12);
    }
}
