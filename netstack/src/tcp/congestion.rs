//! Congestion control: CUBIC (RFC 9438) with slow start and initial window of RFC 5681 and RFC 6928.
//!
//! One departure, unless [`BackOff`] says otherwise: after a loss the window falls by the share that stood in a queue, as the round
//! trips tell it, by three tenths (CUBIC's) at most and a tenth at least. H-TCP (draft-leith-tcp-htcp) calls this adaptive
//! back-off. Where a queue stood the two are one; a loss without a queue is seldom a sign of congestion, and to give three tenths
//! away for each costs a long path that loses at random half of what it could carry.
//!
//! One window in bytes. Who calls it knows what was acknowledged, whether the window was the limit, and
//! when a loss counts as an event (once a round trip).

use super::config::BackOff;

/// CUBIC's constants (RFC 9438 sections 4.2 and 4.6): segments per cubed second, and what remains after a loss.
const CUBIC_C: f64 = 0.4;
const CUBIC_BETA: f64 = 0.7;
/// What remains after a loss that no queue stood before.
const BETA_MAX: f64 = 0.9;
/// Growth per round trip that makes a window with this beta as fast as Reno's (RFC 9438 section 4.3).
const RENO_ALPHA: f64 = 3.0 * (1.0 - CUBIC_BETA) / (1.0 + CUBIC_BETA);
/// The window never falls below so many segments, but for a time-out's one.
const SEGMENTS_MIN: u32 = 2;
const WINDOW_MAX: u32 = 1 << 30;

/// See the module's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Congestion {
    window: u32,
    threshold: u32,
    mss: u32,
    initial: u32,
    /// Most that remains after a loss.
    beta_max: f64,
    /// Window in segments at the last loss.
    window_max: f64,
    /// Start of the present growth; `None`: it starts with the next acknowledgement.
    epoch_ns: Option<u64>,
    /// Seconds until the window is back at `window_max` (K).
    to_plateau: f64,
    /// What Reno would have by now, in segments.
    reno: f64,
    /// Parts of a byte that the window has grown.
    fraction: f64,
}

impl Congestion {
    pub(super) fn new(mss: u32, segments: u32, back_off: BackOff) -> Congestion {
        let initial = mss.saturating_mul(segments.max(1)).min(WINDOW_MAX);
        Congestion {
            window: initial,
            threshold: WINDOW_MAX,
            mss,
            initial,
            beta_max: match back_off {
                BackOff::Adaptive => BETA_MAX,
                BackOff::Cubic => CUBIC_BETA,
            },
            window_max: 0.0,
            epoch_ns: None,
            to_plateau: 0.0,
            reno: 0.0,
            fraction: 0.0,
        }
    }

    /// Bytes that may be under way.
    #[inline]
    pub(super) fn window(&self) -> u32 {
        self.window
    }

    #[cfg(test)]
    fn threshold(&self) -> u32 {
        self.threshold
    }

    pub(super) fn narrow(&mut self, mss: u32) {
        self.mss = mss;
    }

    /// `acked` new bytes were delivered while the window was the limit.
    #[inline]
    pub(super) fn on_ack(&mut self, acked: u32, smoothed_ns: u64, now_ns: u64) {
        if self.window < self.threshold {
            // RFC 5681 section 3.1, with byte counting (RFC 3465 section 2.2, L = 2).
            self.window = (self.window + acked.min(2 * self.mss)).min(self.threshold.max(self.window)).min(WINDOW_MAX);
            return;
        }
        let mss = f64::from(self.mss);
        let segments = f64::from(self.window) / mss;
        let epoch_ns = match self.epoch_ns {
            Some(epoch_ns) => epoch_ns,
            None => {
                self.window_max = self.window_max.max(segments);
                self.to_plateau = ((self.window_max - segments) / CUBIC_C).cbrt();
                self.reno = segments;
                self.epoch_ns = Some(now_ns);
                now_ns
            }
        };
        let elapsed = (now_ns.saturating_sub(epoch_ns) + smoothed_ns) as f64 / 1e9;
        let cubic = (CUBIC_C * (elapsed - self.to_plateau).powi(3) + self.window_max).clamp(segments, 1.5 * segments);
        let alpha = if self.reno >= self.window_max { 1.0 } else { RENO_ALPHA };
        self.reno += alpha * f64::from(acked) / f64::from(self.window);
        let growth = ((cubic - segments) / segments * f64::from(acked)).max((self.reno - segments) * mss);
        self.fraction += growth.clamp(0.0, f64::from(acked));
        let whole = self.fraction as u32;
        self.fraction -= f64::from(whole);
        self.window = (self.window + whole).min(WINDOW_MAX);
    }

    /// A loss, found before a time-out, with `flight` bytes under way. See the module's head for what the round trips say of it.
    pub(super) fn on_loss(&mut self, flight: u32, smoothed_ns: u64, least_ns: u64) {
        let beta = least_ns as f64 / smoothed_ns.max(1) as f64;
        self.reduce(flight, beta.clamp(CUBIC_BETA, self.beta_max));
        self.window = self.threshold;
    }

    /// A time-out; `first`: of this segment.
    pub(super) fn on_timeout(&mut self, flight: u32, first: bool) {
        if first {
            self.reduce(flight, CUBIC_BETA);
        }
        self.window = self.mss;
    }

    fn reduce(&mut self, flight: u32, beta: f64) {
        let segments = f64::from(self.window) / f64::from(self.mss);
        // Fast convergence (RFC 9438 section 4.7).
        self.window_max = if segments < self.window_max { segments * (1.0 + CUBIC_BETA) / 2.0 } else { segments };
        self.threshold = ((f64::from(flight.min(self.window)) * beta) as u32).max(SEGMENTS_MIN * self.mss);
        self.epoch_ns = None;
        self.fraction = 0.0;
    }

    /// A reduction turned out to be groundless.
    pub(super) fn restore(&mut self, window: u32, threshold: u32) {
        self.window = self.window.max(window);
        self.threshold = self.threshold.max(threshold);
        self.epoch_ns = None;
    }

    /// The SYN was lost: one segment to begin with (RFC 5681 section 3.1). After a later pause it is the initial window again.
    pub(super) fn on_lost_syn(&mut self, mss: u32) {
        self.window = mss;
    }

    /// A time-out turned out to be groundless, but a loss before it did not.
    pub(super) fn resume(&mut self) {
        self.window = self.window.max(self.threshold.min(WINDOW_MAX));
        self.epoch_ns = None;
    }

    /// Window and threshold, to be given to [`Congestion::restore`].
    pub(super) fn state(&self) -> (u32, u32) {
        (self.window, self.threshold)
    }

    /// Nothing was sent for a time-out: what was known of the path is old (RFC 5681 section 4.1).
    pub(super) fn on_idle(&mut self) {
        self.window = self.window.min(self.initial);
        self.epoch_ns = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    fn control(segments: u32) -> Congestion {
        Congestion::new(MSS, segments, BackOff::Adaptive)
    }

    #[test]
    fn rfc6928_2_initial_window_is_ten_segments() {
        assert_eq!(control(10).window(), 10 * MSS);
    }

    #[test]
    fn rfc5681_3_1_a_lost_syn_leaves_one_segment_until_the_path_is_known() {
        let mut control = control(10);
        control.on_lost_syn(MSS);
        assert_eq!(control.window(), MSS);
        control.on_idle();
        assert_eq!(control.window(), MSS, "a pause opens nothing");
        for _ in 0..100 {
            control.on_ack(MSS, 1_000_000, 0);
        }
        control.on_idle();
        assert_eq!(control.window(), 10 * MSS, "what was lost at the beginning is no reason to begin small for ever");
    }

    #[test]
    fn rfc5681_3_1_slow_start_doubles_a_round_trip() {
        let mut control = control(10);
        for _ in 0..10 {
            control.on_ack(MSS, 1_000_000, 0);
        }
        assert_eq!(control.window(), 20 * MSS);
    }

    #[test]
    fn rfc5681_3_1_a_timeout_leaves_one_segment_and_remembers_the_flight_once() {
        let mut control = control(10);
        control.on_timeout(10 * MSS, true);
        assert_eq!((control.window(), control.threshold()), (MSS, 7 * MSS));
        control.on_timeout(MSS, false);
        assert_eq!(control.threshold(), 7 * MSS);
    }

    #[test]
    fn rfc9438_4_2_window_returns_to_its_plateau_after_k_and_passes_it() {
        let mut control = control(100);
        control.on_loss(100 * MSS, 100_000_000, 50_000_000);
        assert_eq!(control.window(), 70 * MSS);
        // K = cbrt(30 / 0.4) = 4.2 s; 100 ms a round trip.
        let mut at_plateau = 0;
        for round in 0..100_u64 {
            let now_ns = round * 100_000_000;
            for _ in 0..control.window() / MSS {
                control.on_ack(MSS, 100_000_000, now_ns);
            }
            if round == 41 {
                at_plateau = control.window();
            }
        }
        assert!((95 * MSS..=106 * MSS).contains(&at_plateau), "{at_plateau}");
        assert!(control.window() > 110 * MSS, "{}", control.window());
    }

    #[test]
    fn rfc3465_2_2_one_acknowledgement_of_many_segments_opens_by_two() {
        let mut control = control(10);
        control.on_ack(10 * MSS, 1_000_000, 0);
        assert_eq!(control.window(), 12 * MSS);
        control.on_ack(MSS / 2, 1_000_000, 0);
        assert_eq!(control.window(), 12 * MSS + MSS / 2, "bytes count, not acknowledgements");
    }

    /// A window of 100 segments that met a loss behind a long queue, on a path of 1 ms, after so many round trips.
    fn after_rounds(rounds: u64) -> u32 {
        let mut control = control(100);
        control.on_loss(100 * MSS, 2, 1);
        for round in 0..rounds {
            for _ in 0..control.window() / MSS {
                control.on_ack(MSS, 1_000_000, round * 1_000_000);
            }
        }
        control.window() / MSS
    }

    #[test]
    fn rfc9438_4_3_on_a_short_path_the_window_grows_as_fast_as_renos() {
        // CUBIC alone would be back at 100 segments after K = 4.2 s. Per round trip 3 * 0.3 / 1.7 = 0.53 segments, and one beyond 100.
        assert_eq!(after_rounds(0), 70);
        assert!((79..=81).contains(&after_rounds(20)), "{}", after_rounds(20));
        let slope = after_rounds(160) - after_rounds(120);
        assert!((38..=41).contains(&slope), "{slope}");
    }

    #[test]
    fn rfc9438_4_6_a_loss_behind_a_queue_leaves_seven_tenths_and_two_segments_at_least() {
        let after = |segments: u32| {
            let mut control = control(segments);
            control.on_loss(segments * MSS, 2, 1);
            (control.window() / MSS, control.threshold() / MSS)
        };
        assert_eq!((after(100), after(10), after(2)), ((70, 70), (7, 7), (2, 2)));
    }

    #[test]
    fn rfc9438_4_7_a_loss_below_the_last_plateau_lowers_the_next_one() {
        let mut control = control(100);
        control.on_loss(100 * MSS, 2, 1);
        assert!((control.window_max - 100.0).abs() < 1e-9);
        control.on_loss(70 * MSS, 2, 1);
        assert!((control.window_max - 70.0 * 0.85).abs() < 1e-9, "others have come: room is left for them");
    }

    #[test]
    fn htcp_adaptive_back_off_gives_up_what_stood_in_the_queue() {
        let after = |smoothed_ns, least_ns| {
            let mut control = control(100);
            control.on_loss(100 * MSS, smoothed_ns, least_ns);
            control.window() / MSS
        };
        assert_eq!(after(100, 100), 90, "no queue: not nothing");
        assert_eq!(after(100, 80), 80);
        assert_eq!(after(100, 10), 70, "a long queue: RFC 9438's");
        assert_eq!(after(0, 0), 70, "nothing is known");
    }

    #[test]
    fn rfc9438_4_6_cubics_own_back_off_leaves_seven_tenths_whatever_stood_in_the_queue() {
        for least_ns in [1, 80, 100] {
            let mut control = Congestion::new(MSS, 100, BackOff::Cubic);
            control.on_loss(100 * MSS, 100, least_ns);
            assert_eq!(control.window(), 70 * MSS, "{least_ns}");
        }
    }

    #[test]
    fn rfc4015_3_2_a_groundless_timeout_after_a_loss_leaves_what_the_loss_left() {
        let mut control = control(10);
        control.on_loss(10 * MSS, 2, 1);
        control.on_timeout(7 * MSS, false);
        control.resume();
        assert_eq!(control.window(), 7 * MSS);
    }

    #[test]
    fn rfc5681_4_1_idle_restarts_from_the_initial_window() {
        let mut control = control(10);
        for _ in 0..100 {
            control.on_ack(MSS, 1_000_000, 0);
        }
        control.on_idle();
        assert_eq!(control.window(), 10 * MSS);
        control.on_loss(10 * MSS, 2, 1);
        control.on_idle();
        assert_eq!(control.window(), 7 * MSS, "never wider than it was");
    }
}
