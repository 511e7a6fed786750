//! Bounded patience with EBUSY: the kernel frees a queue some milliseconds after its owner died.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// Repeats `attempt` while it fails with `EBUSY`, for at most `patience`. For set-up only.
pub(crate) fn retry_while_busy<T>(patience: Duration, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_busy_is_waited_for_and_not_for_ever() {
        let busy = || io::Error::from_raw_os_error(libc::EBUSY);
        let mut calls = 0;
        let third = retry_while_busy(Duration::from_secs(5), || {
            calls += 1;
            if calls < 3 { Err(busy()) } else { Ok(calls) }
        });
        assert_eq!(third.expect("free at the third call"), 3);
        let never = retry_while_busy::<()>(Duration::from_millis(15), || Err(busy()));
        assert_eq!(never.expect_err("always busy").raw_os_error(), Some(libc::EBUSY));
        let mut calls = 0;
        let refused = retry_while_busy::<()>(Duration::from_secs(5), || {
            calls += 1;
            Err(io::Error::from_raw_os_error(libc::EPERM))
        });
        assert!(refused.is_err());
        assert_eq!(calls, 1);
    }
}
