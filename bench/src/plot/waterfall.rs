//! What a time is made of: a bar for each case, its parts one after the other, over one linear axis from nothing.

use super::draw::{Legend, RIGHT, TOP, WIDTH, begin, colour, escape, ink, upright, value_text};
use crate::report::{Bar, NANOSECONDS, Waterfall};
use std::fmt::Write as _;

/// Where bars begin: their names stand before.
const FROM: f64 = 208.0;
/// Room for the whole's number behind the longest bar.
const BEHIND: f64 = 64.0;
const BAR: f64 = 22.0;
const STEP: f64 = 34.0;
/// A part narrower than this has no number in it.
const NUMBERED: f64 = 30.0;
/// Lines of the grid, at most.
const TICKS_MAX: u64 = 8;

/// The step of a linear axis up to `most`: 1, 2 or 5 times a power of ten.
fn step(most: u64) -> u64 {
    let steps = (0..19).flat_map(|power| [1, 2, 5].map(|n: u64| n.saturating_mul(10u64.pow(power))));
    steps.into_iter().find(|step| most.div_ceil(*step) <= TICKS_MAX).unwrap_or(u64::MAX)
}

fn length(bar: &Bar) -> u64 {
    bar.parts.iter().map(|part| part.1).sum()
}

/// One picture.
pub fn svg(waterfall: &Waterfall) -> String {
    let longest = waterfall.bars.iter().map(|bar| length(bar).max(bar.whole)).max().unwrap_or(0).max(1);
    let x = |ns: u64| FROM + (WIDTH - RIGHT - BEHIND - FROM) * ns as f64 / longest as f64;
    let names: Vec<&str> = waterfall.bars.first().map_or_else(Vec::new, |bar| bar.parts.iter().map(|part| part.0).collect());
    let legend = Legend::new(names.iter().copied().chain(["the whole"]));
    let floor = TOP + STEP * waterfall.bars.len() as f64;
    let mut out = begin(&format!("{}: {}", waterfall.bench, waterfall.title), floor + 32.0 + legend.lower());
    let _ = writeln!(out, "<g transform=\"translate(0 {})\">", legend.lower());
    let step = step(longest);
    for tick in (0..=longest).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        upright(x(tick), floor, &value_text(NANOSECONDS, tick as f64), &mut out);
    }
    for (at, bar) in waterfall.bars.iter().enumerate() {
        let top = TOP + STEP * at as f64 + (STEP - BAR) / 2.0;
        let middle = top + BAR / 2.0 + 4.0;
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>", FROM - 8.0, escape(&bar.name));
        let mut begun = 0;
        for (at, &(name, ns)) in bar.parts.iter().enumerate() {
            let (left, right) = (x(begun), x(begun + ns));
            begun += ns;
            let _ = writeln!(
                out,
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{}\"><title>{} {ns} ns</title></rect>",
                right - left,
                colour(at),
                escape(name)
            );
            if right - left >= NUMBERED {
                let _ = writeln!(
                    out,
                    "<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"middle\" fill=\"{}\">{ns}</text>",
                    (left + right) / 2.0,
                    ink(at)
                );
            }
        }
        let (mark, end) = (x(bar.whole), x(begun.max(bar.whole)));
        let _ = writeln!(out, "<path d=\"M{mark:.1} {:.1}v{}\" stroke=\"#222\" stroke-width=\"2\"/>", top - 3.0, BAR + 6.0);
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{middle:.1}\" font-weight=\"bold\">{} ns</text>", end + 6.0, bar.whole);
    }
    out.push_str("</g>\n");
    let mark = |at: usize| {
        let colour = if at < names.len() { colour(at) } else { "#222" };
        let width = if at < names.len() { 10 } else { 2 };
        format!("stroke=\"{colour}\" stroke-width=\"{width}\"")
    };
    legend.draw(mark, &mut out);
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waterfall() -> Waterfall {
        let bar = |name: &str, parts: [u64; 3], whole| Bar {
            name: name.into(),
            parts: ["ingress", "decide & more", "seal"].into_iter().zip(parts).collect(),
            whole,
        };
        let bars = vec![bar("1000/s", [200, 500, 300], 1_100), bar("20000/s <json>", [100, 400, 0], 450)];
        Waterfall { bench: "t2o", title: "stages, p50".into(), bars }
    }

    /// Left end and width of each part.
    fn parts(svg: &str) -> Vec<(f64, f64)> {
        let number = |text: &str, key: &str| text.split(key).nth(1)?.split('"').next()?.parse().ok();
        let rectangles = svg.split("<rect ").skip(2); // The first is the ground.
        rectangles.map(|text| (number(text, "x=\"").expect("x"), number(text, "width=\"").expect("width"))).collect()
    }

    #[test]
    fn parts_follow_each_other_and_are_as_long_as_they_take() {
        let picture = svg(&waterfall());
        let parts = parts(&picture);
        assert_eq!(parts.len(), 6);
        for bar in parts.chunks(3) {
            assert!((bar[0].0 - FROM).abs() < 0.1, "{bar:?}");
            for pair in bar.windows(2) {
                assert!((pair[0].0 + pair[0].1 - pair[1].0).abs() < 0.2, "{bar:?}");
            }
        }
        assert!((parts[1].1 / parts[0].1 - 2.5).abs() < 0.02 && (parts[4].1 / parts[1].1 - 0.8).abs() < 0.02, "{parts:?}");
        assert!(parts.iter().all(|(left, width)| left + width <= WIDTH - RIGHT));
    }

    #[test]
    fn bars_parts_and_wholes_are_named() {
        let picture = svg(&waterfall());
        for text in ["1000/s", "20000/s &lt;json&gt;", "decide &amp; more", "1100 ns", "450 ns", "the whole", "0 ns", "1 us"] {
            assert!(picture.contains(&format!(">{text}</text>")), "{text}\n{picture}");
        }
        assert!(picture.contains(">500</text>") && !picture.contains(">0</text>"), "numbers only where there is room");
    }

    #[test]
    fn an_axis_has_few_round_ticks() {
        assert_eq!([1, 8, 9, 1_100, 3_999, 4_001].map(step), [1, 1, 2, 200, 500, 1_000]);
        let nothing = svg(&Waterfall { bars: Vec::new(), ..waterfall() });
        assert!(!nothing.contains("NaN") && !nothing.contains("inf"));
    }
}
