//! How a case is measured: sides take turns, block by block, and each operation is timed by itself.
//!
//! The order within a round turns around each time (A B, B A, ..), so that neither side always runs on what the
//! other left in the caches. What is measured in the first fifth of the time is forgotten (warm-up).

use crate::timer::Timer;
use hdrhistogram::Histogram;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Longest time recorded, nanoseconds; what is longer counts as this.
const LONGEST_NS: u64 = 10_000_000_000;
/// Significant decimal digits of a recorded value.
const DIGITS: u8 = 3;
/// Longest a case may be told to take.
const SECONDS_MAX: f64 = 3_600.0;

/// How long a case is measured, warm-up included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    whole: Duration,
}

impl Budget {
    /// So many seconds for each case.
    pub fn of_seconds(seconds: f64) -> anyhow::Result<Budget> {
        anyhow::ensure!(seconds > 0.0 && seconds <= SECONDS_MAX, "seconds must be above 0 and at most {SECONDS_MAX}, not {seconds}");
        Ok(Budget { whole: Duration::from_secs_f64(seconds) })
    }

    /// All of it.
    pub const fn whole(self) -> Duration {
        self.whole
    }

    /// One part of `parts`.
    #[must_use]
    pub fn fraction(self, parts: u32) -> Budget {
        Budget { whole: self.whole / parts.max(1) }
    }

    /// The time.
    pub fn time(self) -> Duration {
        self.whole
    }

    fn warm_up(self) -> Duration {
        self.whole / 5
    }
}

/// The times of one operation, nanoseconds.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Who did it: `ours`, the peer's name.
    pub side: &'static str,
    /// What was done.
    pub operation: &'static str,
    /// How long it took.
    pub histogram: Histogram<u64>,
}

/// An empty histogram of nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("constant bounds are valid")
}

/// Times operations into histograms.
pub struct Meter {
    timer: Timer,
    histograms: Vec<Histogram<u64>>,
}

impl Meter {
    fn new(operations: usize) -> Meter {
        let mut meter = Meter { timer: Timer::new(), histograms: (0..operations).map(|_| histogram()).collect() };
        meter.reset(); // Touches the counts: fresh zeroed memory would fault at the first record.
        meter
    }

    /// Runs an operation and records how long it took, as the side's operation number `at`. What it returns is not
    /// dropped within the time; what it drops itself is.
    #[inline(always)]
    pub fn time<T>(&mut self, at: usize, operation: impl FnOnce() -> T) -> T {
        let start = self.timer.read();
        let value = black_box(operation());
        let stop = self.timer.read();
        let ns = self.timer.ns_between(start, stop);
        self.histograms[at].saturating_record(ns);
        value
    }

    /// Records a time that the side took itself (on another thread, of a part), as the side's operation number `at`.
    #[inline]
    pub fn record(&mut self, at: usize, ns: u64) {
        self.histograms[at].saturating_record(ns);
    }

    fn reset(&mut self) {
        self.histograms.iter_mut().for_each(Histogram::reset);
    }
}

type Block<'a> = Box<dyn FnMut(&mut Meter) -> anyhow::Result<()> + 'a>;

/// One side of a case.
pub struct Side<'a> {
    name: &'static str,
    operations: &'a [&'static str],
    meter: Meter,
    block: Block<'a>,
}

impl<'a> Side<'a> {
    /// A side that does `operations`. `block` does some tens of each, through [`Meter::time`]; what it does outside
    /// of that (making the next input) is not measured.
    pub fn new(name: &'static str, operations: &'a [&'static str], block: impl FnMut(&mut Meter) -> anyhow::Result<()> + 'a) -> Side<'a> {
        Side { name, operations, meter: Meter::new(operations.len()), block: Box::new(block) }
    }

    fn run(&mut self) -> anyhow::Result<()> {
        (self.block)(&mut self.meter)
    }
}

/// Lets the sides take turns until the time is over: at least one block of each for warm-up, two that count. Gives
/// what was measured by side and operation.
pub fn alternate(budget: Budget, sides: Vec<Side<'_>>) -> anyhow::Result<Vec<Vec<Measured>>> {
    alternate_at_least(2, budget, sides)
}

/// As [`alternate`], with at least so many blocks of each side that count, whatever the time they take.
pub fn alternate_at_least(blocks: u32, budget: Budget, mut sides: Vec<Side<'_>>) -> anyhow::Result<Vec<Vec<Measured>>> {
    round(&mut sides, budget.warm_up(), 1)?;
    sides.iter_mut().for_each(|side| side.meter.reset());
    round(&mut sides, budget.whole - budget.warm_up(), blocks)?;
    let measured = sides.into_iter().map(|side| {
        let Side { name, operations, meter, .. } = side;
        let of = |(&operation, histogram)| Measured { side: name, operation, histogram };
        operations.iter().zip(meter.histograms).map(of).collect()
    });
    Ok(measured.collect())
}

/// Rounds for so long, but so many at least.
fn round(sides: &mut [Side<'_>], time: Duration, least: u32) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut rounds = 0;
    while rounds < least || start.elapsed() < time {
        for at in 0..sides.len() {
            let at = if rounds % 2 == 0 { at } else { sides.len() - 1 - at };
            sides[at].run()?;
        }
        rounds += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn moment() -> Budget {
        Budget::of_seconds(0.000_001).expect("positive")
    }

    #[test]
    fn sides_take_turns_in_both_orders_and_the_warm_up_is_forgotten() {
        let order = RefCell::new(String::new());
        let side = |name: &'static str| {
            let order = &order;
            Side::new(name, &["work"], move |meter| {
                order.borrow_mut().push_str(name);
                meter.time(0, || ());
                Ok(())
            })
        };
        let measured = alternate(moment(), vec![side("a"), side("b")]).expect("nothing fails");
        assert!(order.borrow().starts_with("ababba"), "{}", order.borrow());
        for side in &measured {
            assert_eq!(side[0].histogram.len() as usize, (order.borrow().len() - 2) / 2, "one operation a block");
        }
    }

    #[test]
    fn each_operation_has_its_own_histogram_and_holds_what_it_took() {
        let side = Side::new("ours", &["quick", "slow"], |meter| {
            meter.time(0, || ());
            meter.time(1, || std::thread::sleep(Duration::from_millis(2)));
            Ok(())
        });
        let measured = alternate(moment(), vec![side]).expect("nothing fails").remove(0);
        assert_eq!((measured[0].operation, measured[1].operation), ("quick", "slow"));
        assert!(measured[1].histogram.value_at_quantile(0.0) >= 1_990_000);
        assert!(measured[0].histogram.value_at_quantile(0.5) < 1_000_000);
    }

    #[test]
    fn times_that_a_side_took_itself_count_as_they_are() {
        let side = Side::new("ours", &["one way"], |meter| {
            meter.record(0, 40);
            meter.record(0, 60);
            Ok(())
        });
        let measured = alternate(moment(), vec![side]).expect("nothing fails").remove(0);
        let histogram = &measured[0].histogram;
        assert_eq!((histogram.value_at_quantile(0.5), histogram.value_at_quantile(1.0)), (40, 60));
    }

    #[test]
    fn as_many_blocks_count_as_are_asked_for_when_the_time_is_over_before() {
        let side = |name: &'static str| {
            Side::new(name, &["work"], |meter| {
                meter.record(0, 1);
                Ok(())
            })
        };
        for measured in alternate_at_least(70, moment(), vec![side("a"), side("b")]).expect("nothing fails") {
            assert_eq!(measured[0].histogram.len(), 70);
        }
        let long = Budget::of_seconds(0.05).expect("positive");
        assert!(alternate_at_least(3, long, vec![side("a")]).expect("nothing fails")[0][0].histogram.len() > 3);
    }

    #[test]
    fn a_side_that_fails_ends_the_case() {
        let side = Side::new("ours", &["work"], |_| anyhow::bail!("refused"));
        assert_eq!(alternate(moment(), vec![side]).expect_err("fails").to_string(), "refused");
    }
}
