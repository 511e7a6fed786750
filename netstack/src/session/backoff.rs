//! How long to wait before the next attempt: exponential, with jitter, honouring Retry-After.

use super::random::Random;

/// Doublings after which the bound on the wait is reached in any sensible configuration.
const DOUBLINGS_MAX: u32 = 20;

/// Waits between attempts: the n-th is drawn from the upper half of `min * 2^n`, at most `max`.
///
/// The random half keeps a thousand clients of a venue that restarted from coming back in step; the fixed
/// half keeps the wait from being drawn as nothing.
#[derive(Clone, Debug)]
pub struct Backoff {
    min_ns: u64,
    max_ns: u64,
    failures: u32,
}

impl Backoff {
    /// Waits between `min_ns` and `max_ns`.
    pub fn new(min_ns: u64, max_ns: u64) -> Backoff {
        Backoff { min_ns, max_ns: max_ns.max(min_ns), failures: 0 }
    }

    /// Attempts that failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A connection proved itself: the next wait is the shortest again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// An attempt failed: how long to wait, in nanoseconds.
    pub(super) fn next_wait_ns(&mut self, random: &mut Random) -> u64 {
        let doublings = self.failures.min(DOUBLINGS_MAX);
        self.failures = self.failures.saturating_add(1);
        let ceiling = self.min_ns.saturating_mul(1 << doublings).min(self.max_ns);
        let half = ceiling / 2;
        half + random.below(ceiling - half + 1)
    }
}

/// Seconds to wait according to a Retry-After header (RFC 9110 section 10.2.3): a number, or a date
/// that is compared with `unix_s`. `None` if it is neither; 0 for a date in the past.
pub fn retry_after_s(value: &str, unix_s: u64) -> Option<u64> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too long to be a number: longer than any bound.
        return Some(value.parse().unwrap_or(u64::MAX));
    }
    http_date_s(value).map(|date| date.saturating_sub(unix_s))
}

/// Seconds since 1970 of an IMF-fixdate, the one form of date that may be generated (RFC 9110 section
/// 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date_s(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_weekday, date) = text.split_once(", ")?;
    let mut parts = date.split(' ');
    let day = number(parts.next()?, 2, 31)?;
    let month_name = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month_name)? as u64 + 1;
    let year = number(parts.next()?, 4, 9999)?;
    let mut clock = parts.next()?.split(':');
    let hour = number(clock.next()?, 2, 23)?;
    let minute = number(clock.next()?, 2, 59)?;
    let second = number(clock.next()?, 2, 60)?;
    if parts.next()? != "GMT" || parts.next().is_some() || clock.next().is_some() || year < 1970 || day == 0 {
        return None;
    }
    // Days since 1970-01-01, counting years from March so that the leap day is the last of its year.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(digits: &str, length: usize, max: u64) -> Option<u64> {
    if digits.len() != length || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|number| *number <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_jitter_and_stay_below_the_bound() {
        let mut random = Random::new(7);
        for _ in 0..50 {
            let mut backoff = Backoff::new(100, 3000);
            for ceiling in [100, 200, 400, 800, 1600, 3000, 3000, 3000] {
                let wait = backoff.next_wait_ns(&mut random);
                assert!((ceiling / 2..=ceiling).contains(&wait), "{wait} is not in the upper half of {ceiling}");
            }
            assert_eq!(backoff.failures(), 8);
            backoff.reset();
            assert!(backoff.next_wait_ns(&mut random) <= 100);
        }
    }

    #[test]
    fn jitter_differs_between_seeds_and_repeats_with_one() {
        let waits = |seed| {
            let (mut random, mut backoff) = (Random::new(seed), Backoff::new(1_000_000, u64::MAX));
            (0..10).map(|_| backoff.next_wait_ns(&mut random)).collect::<Vec<u64>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    #[test]
    fn endless_failures_never_overflow() {
        let (mut random, mut backoff) = (Random::new(1), Backoff::new(u64::MAX / 2, u64::MAX));
        for _ in 0..100 {
            assert!(backoff.next_wait_ns(&mut random) >= u64::MAX / 4);
        }
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        assert_eq!(retry_after_s("120", 0), Some(120));
        assert_eq!(retry_after_s(" 0 ", 0), Some(0));
        assert_eq!(retry_after_s("99999999999999999999999", 0), Some(u64::MAX));
        assert_eq!(retry_after_s("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 - 30), Some(30));
        assert_eq!(retry_after_s("Sun, 06 Nov 1994 08:49:37 GMT", 1_800_000_000), Some(0));
        assert_eq!(retry_after_s("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199), Some(0));
        assert_eq!(retry_after_s("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_199), Some(1));
        for wrong in ["", "soon", "-1", "1.5", "Sun, 06 Nov 1994 08:49:37", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT"]
        {
            assert_eq!(retry_after_s(wrong, 0), None, "{wrong}");
        }
    }
}
