//! How far the market is behind the clock, and what follows from it.
//!
//! Time that has passed is made up for in slices of a tick, and between two slices everyone else gets a turn:
//! connections and requests never wait for more of the crowd's flow than a slice. Time that is too long ago is
//! skipped: its messages are given up and counted. A market whose thread has worked for some time without
//! catching up is under pressure; then, and only then, messages that wait for a connection are written together,
//! as servers do whose buffers fill.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So much is made up for, or two ticks if they are longer; the rest is skipped.
const OWED_US_MAX: u64 = 10_000;
/// Less than this is not behind; nor are two ticks.
const BEHIND_US: u64 = 1_000;
/// Work of the thread itself, spent without catching up, after which there is pressure.
const WORKED_NS: u64 = 5_000_000;
/// Pressure lasts until the market has not been behind for so long: it would only come back.
const RELIEF: Duration = Duration::from_secs(1);

/// What is to be done for the market next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// To be skipped first, microseconds.
    pub skip_us: u64,
    /// To be made up for, microseconds.
    pub slice_us: u64,
    /// Another step is due at once.
    pub more: bool,
}

/// The market's place in time.
#[derive(Debug)]
pub struct Arrears {
    at: Instant,
    tick_us: u64,
    worked_since_ns: Option<u64>,
    last_behind: Instant,
}

impl Arrears {
    /// A market that is on time.
    pub fn new(now: Instant, tick_us: u64) -> Arrears {
        Arrears { at: now, tick_us: tick_us.max(1), worked_since_ns: None, last_behind: now }
    }

    /// Takes the next step, if any time has passed. `worked_ns` reads the processor time of the thread.
    pub fn step(&mut self, now: Instant, worked_ns: impl FnOnce() -> u64, pressure: &Pressure) -> Option<Step> {
        let passed = now.saturating_duration_since(self.at);
        let passed_us = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        if passed_us == 0 {
            return None;
        }
        let skip_us = passed_us.saturating_sub(OWED_US_MAX.max(2 * self.tick_us));
        let owed_us = passed_us - skip_us;
        let slice_us = owed_us.min(self.tick_us);
        self.at += Duration::from_micros(skip_us + slice_us);
        self.judge(now, owed_us, worked_ns, pressure);
        Some(Step { skip_us, slice_us, more: owed_us - slice_us >= self.tick_us })
    }

    fn judge(&mut self, now: Instant, owed_us: u64, worked_ns: impl FnOnce() -> u64, pressure: &Pressure) {
        if owed_us < BEHIND_US.max(2 * self.tick_us) {
            self.worked_since_ns = None;
            if pressure.is_on() && now.saturating_duration_since(self.last_behind) > RELIEF {
                pressure.on.store(false, Ordering::Relaxed);
            }
            return;
        }
        self.last_behind = now;
        if pressure.is_on() {
            return;
        }
        let worked_ns = worked_ns();
        let since_ns = *self.worked_since_ns.get_or_insert(worked_ns);
        if worked_ns.saturating_sub(since_ns) >= WORKED_NS {
            pressure.on.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether connections may write messages together, and how many were.
#[derive(Debug, Default)]
pub struct Pressure {
    on: AtomicBool,
    together: AtomicU64,
}

impl Pressure {
    /// True while the market cannot keep up if each message is written by itself.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Counts messages that were written together with others for that reason.
    pub fn count_together(&self, messages: u64) {
        self.together.fetch_add(messages, Ordering::Relaxed);
    }

    /// Messages written together so far.
    pub fn together(&self) -> u64 {
        self.together.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_US: u64 = 100;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn time_is_made_up_for_in_slices_and_what_is_too_long_ago_is_skipped() {
        let (start, pressure) = (Instant::now(), Pressure::default());
        let mut arrears = Arrears::new(start, TICK_US);
        let mut step = |at_us| arrears.step(start + us(at_us), || 0, &pressure);
        assert_eq!(step(0), None);
        assert_eq!(step(90), Some(Step { skip_us: 0, slice_us: 90, more: false }), "whatever has passed");
        assert_eq!(step(400), Some(Step { skip_us: 0, slice_us: 100, more: true }));
        assert_eq!(step(400), Some(Step { skip_us: 0, slice_us: 100, more: true }));
        assert_eq!(step(400), Some(Step { skip_us: 0, slice_us: 100, more: false }), "less than a tick waits for the next");
        assert_eq!(step(500_390), Some(Step { skip_us: 490_000, slice_us: 100, more: true }));
        let mut made_up_us = 100;
        while let Some(step) = step(500_390) {
            assert_eq!(step.skip_us, 0);
            made_up_us += step.slice_us;
        }
        assert_eq!(made_up_us, OWED_US_MAX);
    }

    #[test]
    fn long_ticks_are_never_cut() {
        let (start, pressure) = (Instant::now(), Pressure::default());
        let mut arrears = Arrears::new(start, 250_000);
        assert_eq!(arrears.step(start + us(260_000), || 0, &pressure), Some(Step { skip_us: 0, slice_us: 250_000, more: false }));
        assert_eq!(arrears.step(start + us(500_000), || 0, &pressure), Some(Step { skip_us: 0, slice_us: 250_000, more: false }));
        assert!(!pressure.is_on());
    }

    #[test]
    fn pressure_comes_from_work_that_does_not_catch_up_and_outlives_it_by_the_relief() {
        let (start, pressure) = (Instant::now(), Pressure::default());
        let mut arrears = Arrears::new(start, TICK_US);
        // A host that took the core away: far behind, but without work of its own. The thread catches up.
        let mut now = start + us(9_000);
        let mut worked_ns = 0;
        while let Some(step) = arrears.step(now, || worked_ns, &pressure) {
            (now, worked_ns) = (now + us(30), worked_ns + 30_000);
            if !step.more {
                break;
            }
        }
        assert!(!pressure.is_on() && worked_ns > 2_000_000, "{worked_ns}");
        // Each slice takes longer than it lasts.
        let began_ns = worked_ns;
        while !pressure.is_on() {
            (now, worked_ns) = (now + us(150), worked_ns + 150_000);
            arrears.step(now, || worked_ns, &pressure).expect("time has passed");
            assert!(worked_ns - began_ns < 20_000_000, "never");
        }
        assert!(worked_ns - began_ns > WORKED_NS);
        // Catching up alone does not end it.
        while arrears.step(now, || worked_ns, &pressure).is_some_and(|step| step.more) {}
        assert!(pressure.is_on());
        for _ in 0..=RELIEF.as_micros() / 100 {
            now += us(100);
            arrears.step(now, || worked_ns, &pressure);
        }
        now += us(100);
        arrears.step(now, || worked_ns, &pressure);
        assert!(!pressure.is_on());
    }
}
