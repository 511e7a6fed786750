//! Round trips: smoothed, least, and the time-out made of them (RFC 6298, on a nanosecond clock).

/// The least round trip is forgotten after one to two of these (RFC 8985 section 6.1 leaves the window open).
const MIN_WINDOW_NS: u64 = 60_000_000_000;
const BACKOFF_MAX: u32 = 16;
/// The time-out after a lost SYN, until a round trip is measured (RFC 6298 section 5.7).
const AFTER_LOST_SYN_NS: u64 = 3_000_000_000;

/// See the module's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundTrip {
    /// SRTT; `None` before the first measurement.
    pub(super) smoothed: Option<u64>,
    variation: u64,
    min_now: u64,
    min_before: u64,
    min_since: u64,
    backoff: u32,
    /// What [`RoundTrip::timeout`] says.
    timeout: u64,
    initial: u64,
    floor: u64,
    max: u64,
}

impl RoundTrip {
    pub(super) fn new(initial: u64, floor: u64, max: u64, now_ns: u64) -> RoundTrip {
        let unknown = u64::MAX;
        let max = max.max(floor);
        RoundTrip {
            smoothed: None,
            variation: 0,
            min_now: unknown,
            min_before: unknown,
            min_since: now_ns,
            backoff: 0,
            timeout: initial.min(max),
            initial,
            floor,
            max,
        }
    }

    /// A measurement for the least round trip.
    #[inline]
    pub(super) fn least(&mut self, sample: u64, now_ns: u64) {
        if now_ns.saturating_sub(self.min_since) >= MIN_WINDOW_NS {
            (self.min_before, self.min_now, self.min_since) = (self.min_now, u64::MAX, now_ns);
        }
        self.min_now = self.min_now.min(sample);
    }

    /// What was the least round trip is so no more.
    pub(super) fn forget_least(&mut self) {
        (self.min_now, self.min_before) = (u64::MAX, u64::MAX);
    }

    /// A measurement for the time-out (RFC 6298 sections 2.2 and 2.3); ends a back-off (section 5, closing remark).
    #[inline]
    pub(super) fn sample(&mut self, sample: u64) {
        match self.smoothed {
            None => (self.smoothed, self.variation) = (Some(sample), sample / 2),
            Some(smoothed) => {
                self.variation = self.variation - self.variation / 4 + smoothed.abs_diff(sample) / 4;
                self.smoothed = Some(smoothed - smoothed / 8 + sample / 8);
            }
        }
        self.backoff = 0;
        self.set_timeout();
    }

    /// Least round trip of late; 0 before the first measurement.
    #[inline]
    pub(super) fn min(&self) -> u64 {
        let min = self.min_now.min(self.min_before);
        if min == u64::MAX { 0 } else { min }
    }

    /// The time-out, back-off included.
    #[inline]
    pub(super) fn timeout(&self) -> u64 {
        self.timeout
    }

    /// It is asked for more often than what it is made of changes.
    #[inline]
    fn set_timeout(&mut self) {
        let base = match self.smoothed {
            None => self.initial,
            Some(smoothed) => smoothed.saturating_add((self.variation * 4).max(self.floor)),
        };
        self.timeout = base.saturating_mul(1 << self.backoff).min(self.max);
    }

    /// The SYN was not answered in time: the path may be longer than was thought, and no copy of the SYN tells how long.
    pub(super) fn lose_syn(&mut self) {
        self.initial = self.initial.max(AFTER_LOST_SYN_NS);
        self.set_timeout();
    }

    /// Doubles the time-out (RFC 6298 section 5.5).
    pub(super) fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(BACKOFF_MAX);
        self.set_timeout();
    }

    /// Something new was acknowledged: the path lives.
    pub(super) fn end_back_off(&mut self) {
        if self.backoff > 0 {
            self.backoff = 0;
            self.set_timeout();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn rfc6298_2_2_timeout_follows_mean_and_variation() {
        let mut rtt = RoundTrip::new(1000 * MS, 5 * MS, 60_000 * MS, 0);
        assert_eq!(rtt.timeout(), 1000 * MS, "2.1: before anything is measured");
        rtt.sample(100 * MS);
        assert_eq!(rtt.timeout(), 300 * MS, "2.2: SRTT + 4 * R/2");
        rtt.sample(200 * MS);
        assert_eq!(rtt.timeout(), (112 * MS + MS / 2) + 4 * (37 * MS + MS / 2 + 25 * MS), "2.3: 1/8 and 1/4 of what is new");
    }

    #[test]
    fn rfc6298_2_3_and_6298_2_4_the_floor_lies_above_the_mean() {
        let mut rtt = RoundTrip::new(1000 * MS, 5 * MS, 60_000 * MS, 0);
        for _ in 0..200 {
            rtt.sample(100 * MS);
        }
        assert!((104 * MS..=106 * MS).contains(&rtt.timeout()), "{}", rtt.timeout());
        rtt.sample(200 * MS);
        assert!(rtt.timeout() > 200 * MS, "one slow answer widens it: {}", rtt.timeout());
    }

    #[test]
    fn rfc6298_5_5_back_off_doubles_and_a_measurement_ends_it() {
        let mut rtt = RoundTrip::new(100 * MS, MS, 1000 * MS, 0);
        rtt.back_off();
        rtt.back_off();
        assert_eq!(rtt.timeout(), 400 * MS);
        for _ in 0..100 {
            rtt.back_off();
        }
        assert_eq!(rtt.timeout(), 1000 * MS, "2.5: up to a maximum");
        rtt.sample(10 * MS);
        assert_eq!(rtt.timeout(), 30 * MS);
    }

    #[test]
    fn rfc8985_6_1_the_least_round_trip_is_forgotten_when_the_path_has_grown_longer() {
        let mut rtt = RoundTrip::new(100 * MS, MS, 1000 * MS, 0);
        assert_eq!(rtt.min(), 0);
        rtt.least(5 * MS, 1);
        rtt.least(9 * MS, MIN_WINDOW_NS + 1);
        assert_eq!(rtt.min(), 5 * MS);
        rtt.least(9 * MS, 2 * MIN_WINDOW_NS + 2);
        assert_eq!(rtt.min(), 9 * MS);
    }
}
