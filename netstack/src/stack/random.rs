//! Chance from a seed: sequence numbers, ports, identifiers.

/// SplitMix64: a counter passed through a mixing function (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Uniform in `0..bound`; 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// 16 random bits.
    pub(crate) fn u16(&mut self) -> u16 {
        (self.next() >> 48) as u16
    }
}

/// Spreads every input bit over all output bits.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// How often something may be done: `burst` times at once, then once in `interval_ns`.
#[derive(Clone, Debug)]
pub(crate) struct RateLimit {
    interval_ns: u64,
    burst: u64,
    /// When the budget would be full again.
    full_at_ns: u64,
}

impl RateLimit {
    pub(crate) fn new(interval_ns: u64, burst: u64) -> RateLimit {
        RateLimit { interval_ns, burst, full_at_ns: 0 }
    }

    /// True if it may be done now; counts it as done.
    pub(crate) fn allow(&mut self, now_ns: u64) -> bool {
        let next_ns = self.full_at_ns.max(now_ns).saturating_add(self.interval_ns);
        if next_ns.saturating_sub(now_ns) > self.interval_ns.saturating_mul(self.burst) {
            return false;
        }
        self.full_at_ns = next_ns;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_allows_a_burst_and_then_one_per_interval() {
        let mut limit = RateLimit::new(1000, 5);
        assert_eq!((0..10).filter(|_| limit.allow(50)).count(), 5);
        assert!(!limit.allow(1049));
        assert!(limit.allow(1050));
        assert!(!limit.allow(1050));
        assert_eq!((0..10).filter(|_| limit.allow(1_000_000)).count(), 5);
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut random = Random::new(7);
        assert!((0..1000).all(|_| random.below(10) < 10));
        assert_eq!(random.below(0), 0);
    }
}
