//! The clock of the measurements: the time stamp counter between fences, and what reading it costs.
//!
//! The processor may begin work behind a read of the counter before it, and finish work before it after it; a
//! fence on both sides of each read keeps an operation's work between its two reads. That makes a read dearer
//! than a bare one; the cost is measured and reported, never subtracted.
//!
//! Some processors advance the counter by many at once: no time is known better than that step, which is reported too.

use crate::measure::{Budget, Measured, Side, alternate};

/// Reads the counter. `quanta` calibrates it once a process, and falls back to the system's monotonic clock where
/// there is none.
#[derive(Clone, Debug)]
pub struct Timer {
    clock: quanta::Clock,
}

impl Default for Timer {
    fn default() -> Timer {
        Timer::new()
    }
}

impl Timer {
    /// Calibrates (up to 200 ms, once a process).
    pub fn new() -> Timer {
        Timer { clock: quanta::Clock::new() }
    }

    /// The counter, after all work before this call and before all work after it.
    #[inline(always)]
    pub fn read(&self) -> u64 {
        fence();
        let raw = self.clock.raw();
        fence();
        raw
    }

    /// The step in which the counter advances, nanoseconds: what all differences of many reads are multiples of.
    pub fn step_ns(&self) -> f64 {
        const READS: u32 = 10_000;
        const SCALE: u64 = 1_000_000;
        let (mut step, mut before) = (0, self.read());
        for _ in 0..READS {
            let now = self.read();
            step = greatest_common_divisor(step, now.saturating_sub(before));
            before = now;
        }
        self.ns_between(0, step.max(1) * SCALE) as f64 / SCALE as f64
    }

    /// Nanoseconds between two reads.
    #[inline]
    pub fn ns_between(&self, start: u64, stop: u64) -> u64 {
        self.clock.delta_as_nanos(start, stop)
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Work before it is done before work after it begins.
#[inline(always)]
fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: LFENCE is part of SSE2, which every x86-64 processor has; it touches no memory.
    unsafe {
        std::arch::x86_64::_mm_lfence();
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

/// What two reads cost with nothing between them: part of every other figure.
pub fn cost(budget: Budget) -> anyhow::Result<Measured> {
    let side = Side::new("timer", &["two reads, nothing between"], |meter| {
        for _ in 0..256 {
            meter.time(0, || ());
        }
        Ok(())
    });
    alternate(budget.fraction(10), vec![side])?.pop().and_then(|mut side| side.pop()).ok_or_else(|| anyhow::anyhow!("no side"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn nanoseconds_are_nanoseconds() {
        let timer = Timer::new();
        let (wall, start) = (Instant::now(), timer.read());
        std::thread::sleep(Duration::from_millis(20));
        let (measured, wall) = (timer.ns_between(start, timer.read()), wall.elapsed().as_nanos() as u64);
        assert!(measured >= 19_500_000, "{measured}");
        assert!(measured <= wall + wall / 50, "{measured} of {wall}");
        assert_eq!(timer.ns_between(5, 3), 0, "a counter that went back is no time");
    }

    #[test]
    fn the_step_is_what_differences_are_multiples_of() {
        assert_eq!([(0, 6), (4, 6), (26, 39), (5, 0)].map(|(a, b)| greatest_common_divisor(a, b)), [6, 2, 13, 5]);
        let step = Timer::new().step_ns();
        assert!(step > 0.0 && step < 100_000.0, "{step}");
    }

    #[test]
    fn the_cost_of_two_reads_is_small_and_not_nothing() {
        let cost = cost(Budget::of_seconds(0.05).expect("positive")).expect("nothing can fail");
        assert!(cost.histogram.len() >= 256);
        assert!((1..100_000).contains(&cost.histogram.value_at_quantile(0.5)));
    }
}
