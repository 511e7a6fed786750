//! A periodic timer finer than the runtime's own, which counts in milliseconds.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What the runtime polls: it wants a raw descriptor.
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Ticks at a fixed interval; ticks that nobody waited for are merged into one.
pub struct Ticker {
    timer: AsyncFd<Timer>,
}

impl Ticker {
    /// A ticker within the current runtime.
    pub fn every(interval: Duration) -> io::Result<Ticker> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        timer.set(Expiration::Interval(TimeSpec::from_duration(interval)), TimerSetTimeFlags::empty())?;
        // Deprecated because a type could hand out a descriptor that it does not own; this one owns it,
        // and the replacement asks for `unsafe`, which this crate forbids.
        #[allow(deprecated)]
        let timer = AsyncFd::with_interest(Timer(timer), Interest::READABLE)?;
        Ok(Ticker { timer })
    }

    /// Waits for the next tick.
    pub async fn tick(&self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            match self.timer.get_ref().0.wait() {
                Ok(()) => return Ok(()),
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_come_at_the_interval_and_missed_ones_are_merged() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let ticker = Ticker::every(Duration::from_micros(500)).expect("timer");
            let started = std::time::Instant::now();
            for _ in 0..20 {
                ticker.tick().await.expect("ticks");
            }
            assert!(started.elapsed() >= Duration::from_millis(9));
            std::thread::sleep(Duration::from_millis(20));
            let started = std::time::Instant::now();
            for _ in 0..4 {
                ticker.tick().await.expect("ticks");
            }
            assert!(started.elapsed() >= Duration::from_micros(500), "the missed ticks count as one");
        });
    }
}
