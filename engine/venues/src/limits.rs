//! Rate budgets: how much a venue lets us ask, and how much of it is left.
//!
//! A venue that is asked too often answers with refusals, then with a ban; and the request that must
//! get through when the budget is nearly spent is the cancel. So each budget keeps a reserve that only
//! cancels may use, and is corrected by what the venue itself says it has counted.
//!
//! Two shapes cover the venues: [`FixedWindow`] (so many per calendar window; Binance) and [`Leaky`]
//! (a counter that decays with time; Kraken). Both take the time as an argument and do integer
//! arithmetic only.

const S: u64 = 1_000_000_000;

/// Who wants to spend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// May not touch the reserve.
    Normal,
    /// A cancel, or a query about an order in doubt: may use all of it.
    Cancel,
}

/// At most `limit` per window; windows begin at multiples of their length since the Unix epoch, as
/// venues count them.
#[derive(Clone, Copy, Debug)]
pub struct FixedWindow {
    limit: u64,
    reserve: u64,
    reserve_percent: u8,
    window_ns: u64,
    window: u64,
    /// When the present window ends.
    end_ns: u64,
    used: u64,
    blocked_until_ns: u64,
}

impl FixedWindow {
    /// A budget of `limit` per `window_ns`, `reserve_percent` of which only cancels may use.
    pub const fn new(limit: u64, window_ns: u64, reserve_percent: u8) -> FixedWindow {
        let window_ns = if window_ns == 0 { 1 } else { window_ns };
        FixedWindow {
            limit,
            reserve: reserve_of(limit, reserve_percent),
            reserve_percent,
            window_ns,
            window: 0,
            end_ns: window_ns,
            used: 0,
            blocked_until_ns: 0,
        }
    }

    #[inline]
    fn roll(&mut self, now_ns: u64) {
        // A division each time would cost more than all the rest.
        if now_ns >= self.end_ns {
            self.enter(now_ns / self.window_ns);
        }
    }

    #[cold]
    fn enter(&mut self, window: u64) {
        // A clock that steps back must not open a fresh budget.
        if window > self.window {
            self.window = window;
            self.end_ns = window.saturating_add(1).saturating_mul(self.window_ns);
            self.used = 0;
        }
    }

    /// True if `cost` more may be spent now.
    #[inline]
    pub fn has_room(&mut self, cost: u64, urgency: Urgency, now_ns: u64) -> bool {
        self.roll(now_ns);
        let limit = match urgency {
            Urgency::Normal => self.limit - self.reserve,
            Urgency::Cancel => self.limit,
        };
        now_ns >= self.blocked_until_ns && self.used.saturating_add(cost) <= limit
    }

    /// Spends `cost`. Call after [`FixedWindow::has_room`] has agreed for every budget concerned.
    #[inline]
    pub fn spend(&mut self, cost: u64, now_ns: u64) {
        self.roll(now_ns);
        self.used = self.used.saturating_add(cost);
    }

    /// The venue says how much of the present window is used, and perhaps a new limit (0 = not said).
    pub fn correct(&mut self, used: u64, limit: u64, now_ns: u64) {
        self.roll(now_ns);
        self.used = used;
        if limit != 0 && limit != self.limit {
            self.limit = limit;
            self.reserve = reserve_of(limit, self.reserve_percent);
        }
    }

    /// Nothing may be spent before `until_ns` (the venue said so). Never shortens an earlier order.
    pub fn block(&mut self, until_ns: u64) {
        self.blocked_until_ns = self.blocked_until_ns.max(until_ns);
    }

    /// The window's length in nanoseconds.
    pub const fn window_ns(&self) -> u64 {
        self.window_ns
    }

    /// What is spent in the present window.
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// The budget.
    pub const fn limit(&self) -> u64 {
        self.limit
    }
}

/// A counter in thousandths that each request raises and time lowers; the venue refuses above `limit`.
#[derive(Clone, Copy, Debug)]
pub struct Leaky {
    limit_milli: u64,
    reserve_milli: u64,
    decay_milli_per_s: u64,
    counter_milli: u64,
    at_ns: u64,
}

impl Leaky {
    /// A counter that may reach `limit_milli` thousandths and falls by `decay_milli_per_s` a second;
    /// the last `reserve_percent` of it are for cancels.
    pub const fn new(limit_milli: u64, decay_milli_per_s: u64, reserve_percent: u8) -> Leaky {
        Leaky { limit_milli, reserve_milli: reserve_of(limit_milli, reserve_percent), decay_milli_per_s, counter_milli: 0, at_ns: 0 }
    }

    #[inline]
    fn decay(&mut self, now_ns: u64) {
        let elapsed_ns = now_ns.saturating_sub(self.at_ns);
        // Of 128 bits only after weeks: their division is a call.
        let fallen = match elapsed_ns.checked_mul(self.decay_milli_per_s) {
            Some(product) => u128::from(product / S),
            None => u128::from(elapsed_ns) * u128::from(self.decay_milli_per_s) / u128::from(S),
        };
        if fallen == 0 {
            return; // Keep the fraction of a step: `at_ns` moves only when the counter does.
        }
        self.counter_milli = self.counter_milli.saturating_sub(u64::try_from(fallen).unwrap_or(u64::MAX));
        self.at_ns = now_ns;
    }

    /// True if `cost_milli` more may be spent now.
    #[inline]
    pub fn has_room(&mut self, cost_milli: u64, urgency: Urgency, now_ns: u64) -> bool {
        self.decay(now_ns);
        let limit = match urgency {
            Urgency::Normal => self.limit_milli - self.reserve_milli,
            Urgency::Cancel => self.limit_milli,
        };
        self.counter_milli.saturating_add(cost_milli) <= limit
    }

    /// Spends `cost_milli`.
    #[inline]
    pub fn spend(&mut self, cost_milli: u64, now_ns: u64) {
        self.decay(now_ns);
        if self.counter_milli == 0 {
            self.at_ns = self.at_ns.max(now_ns);
        }
        self.counter_milli = self.counter_milli.saturating_add(cost_milli);
    }

    /// The venue says what the counter is.
    pub fn correct(&mut self, counter_milli: u64, now_ns: u64) {
        self.counter_milli = counter_milli;
        self.at_ns = self.at_ns.max(now_ns);
    }

    /// The counter in thousandths, as of the last call that took a time.
    pub const fn counter_milli(&self) -> u64 {
        self.counter_milli
    }
}

const fn reserve_of(limit: u64, percent: u8) -> u64 {
    let percent = if percent > 90 { 90 } else { percent };
    (limit / 100) * percent as u64 + (limit % 100) * percent as u64 / 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reserve_is_left_for_cancels_and_the_window_refills() {
        let mut window = FixedWindow::new(10, 10 * S, 20);
        let now = 1_000 * S;
        for _ in 0..8 {
            assert!(window.has_room(1, Urgency::Normal, now));
            window.spend(1, now);
        }
        assert!(!window.has_room(1, Urgency::Normal, now));
        assert!(window.has_room(2, Urgency::Cancel, now) && !window.has_room(3, Urgency::Cancel, now));
        assert!(!window.has_room(1, Urgency::Normal, now + 10 * S - 1), "same calendar window");
        assert!(window.has_room(1, Urgency::Normal, now + 10 * S));
        window.spend(8, now + 10 * S);
        assert!(!window.has_room(1, Urgency::Normal, now), "a clock that steps back opens nothing");
    }

    #[test]
    fn the_venues_count_and_order_to_wait_prevail() {
        let mut window = FixedWindow::new(10, 10 * S, 0);
        window.spend(1, 0);
        window.correct(9, 0, 0);
        assert!(window.has_room(1, Urgency::Normal, 0) && !window.has_room(2, Urgency::Normal, 0));
        window.correct(9, 100, 0);
        assert!(window.has_room(91, Urgency::Normal, 0) && !window.has_room(92, Urgency::Normal, 0));
        window.block(25 * S);
        window.block(5 * S);
        assert!(!window.has_room(1, Urgency::Cancel, 24 * S));
        assert!(window.has_room(1, Urgency::Cancel, 25 * S));
    }

    #[test]
    fn leaky_counter_falls_with_time_and_keeps_fractions() {
        let mut leaky = Leaky::new(60_000, 1_000, 10);
        for _ in 0..54 {
            assert!(leaky.has_room(1_000, Urgency::Normal, S));
            leaky.spend(1_000, S);
        }
        assert!(!leaky.has_room(1_000, Urgency::Normal, S) && leaky.has_room(6_000, Urgency::Cancel, S));
        // Asked each microsecond for a second, it still falls by a whole unit.
        let mut now = S;
        for _ in 0..1_000_000 {
            now += 1_000;
            leaky.has_room(0, Urgency::Normal, now);
        }
        assert_eq!(leaky.counter_milli(), 53_000);
        leaky.correct(60_000, now);
        assert!(!leaky.has_room(1, Urgency::Cancel, now));
        assert!(leaky.has_room(54_000, Urgency::Normal, now + 100 * S));
    }

    proptest! {
        #[test]
        fn windows_are_those_of_the_calendar(
            window_ns in prop_oneof![1u64..100, Just(10 * S), Just(86_400 * S), Just(u64::MAX)],
            steps in proptest::collection::vec((prop_oneof![0u64..300, 0..200_000 * S, any::<u64>()], 0u64..4), 1..40),
        ) {
            let mut window = FixedWindow::new(1_000, window_ns, 0);
            let (mut present, mut used) = (0, 0);
            for (now_ns, cost) in steps {
                if now_ns / window_ns > present {
                    (present, used) = (now_ns / window_ns, 0);
                }
                prop_assert_eq!(window.has_room(cost, Urgency::Normal, now_ns), used + cost <= 1_000);
                window.spend(cost, now_ns);
                used += cost;
                prop_assert_eq!(window.used(), used);
            }
        }

        #[test]
        fn a_counter_falls_by_the_whole_product(
            elapsed_ns in (any::<u64>(), 0u32..64), decay in (any::<u64>(), 0u32..64), counter in any::<u64>(),
        ) {
            let (elapsed_ns, decay) = (elapsed_ns.0 >> elapsed_ns.1, decay.0 >> decay.1);
            let mut leaky = Leaky::new(u64::MAX, decay, 0);
            leaky.correct(counter, 0);
            leaky.has_room(0, Urgency::Normal, elapsed_ns);
            let fallen = u128::from(elapsed_ns) * u128::from(decay) / 1_000_000_000;
            prop_assert_eq!(u128::from(leaky.counter_milli()), u128::from(counter).saturating_sub(fallen));
        }
    }
}
