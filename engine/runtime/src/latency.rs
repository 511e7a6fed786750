//! Tick-to-order, stage by stage.
//!
//! A *tick* begins when the poll loop sees the frame ([`Stage::Ingress`] starts there) and ends when the
//! order's frame is ready for the NIC. The stages follow each other without a gap, so their times add up
//! to the whole. Only passes in which a market-data message caused an order are recorded; recording is
//! a few nanoseconds and allocates nothing.

use engine_core::event::EventKind;
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest time recorded, nanoseconds; what is longer counts as this.
const LONGEST_NS: u64 = 1_000_000_000;
/// Significant decimal digits of a recorded value.
const DIGITS: u8 = 3;
/// The same of a stage: there are many of them, and what is below 256 ns is exact all the same.
const DIGITS_OF_PARTS: u8 = 2;

/// How many parts a tick-to-order has.
pub const STAGES: usize = 6;

/// The parts of a tick-to-order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Frame seen -> TCP payload in order.
    Ingress = 0,
    /// TLS record opened, WebSocket message complete.
    Decrypt = 1,
    /// Message parsed, book updated, strategy, risk, order recorded.
    Decide = 2,
    /// Order encoded for its venue.
    Encode = 3,
    /// WebSocket frame and TLS record.
    Seal = 4,
    /// TCP segment: frame ready for the NIC.
    Transmit = 5,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Stage; STAGES] = [Stage::Ingress, Stage::Decrypt, Stage::Decide, Stage::Encode, Stage::Seal, Stage::Transmit];

    /// Name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Ingress => "ingress",
            Stage::Decrypt => "decrypt",
            Stage::Decide => "decide",
            Stage::Encode => "encode",
            Stage::Seal => "seal",
            Stage::Transmit => "transmit",
        }
    }
}

/// How many kinds of answers there are.
pub const ANSWERS: usize = 4;

/// What a tick was answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A new order.
    Order = 0,
    /// A cancel.
    Cancel = 1,
    /// An amend.
    Amend = 2,
    /// Several messages: all of them are decided on before the first is encoded.
    Several = 3,
}

impl Answer {
    /// All, in order.
    pub const ALL: [Answer; ANSWERS] = [Answer::Order, Answer::Cancel, Answer::Amend, Answer::Several];

    /// Name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Answer::Order => "order",
            Answer::Cancel => "cancel",
            Answer::Amend => "amend",
            Answer::Several => "several",
        }
    }

    /// Of so many messages, the first of which is for this command.
    pub const fn of(messages: u32, first: Option<EventKind>) -> Answer {
        match (messages, first) {
            (1, Some(EventKind::SendNew)) => Answer::Order,
            (1, Some(EventKind::SendCancel)) => Answer::Cancel,
            (1, Some(EventKind::SendReplace)) => Answer::Amend,
            _ => Answer::Several,
        }
    }
}

/// Percentiles of one path, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Percentiles {
    /// How many were recorded.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 90 of 100 are at most this.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1000.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

/// How many of the slowest ticks are kept.
pub const SLOWEST: usize = 16;

/// What a tick that was answered was like. Times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Circumstances {
    /// When its frame was seen, since 1970.
    pub seen_ns: u64,
    /// What the core wanted sent.
    pub commands: u32,
    /// Messages sent in answer; fewer, if the codec or the channel refused some.
    pub messages: u32,
    /// Until the frame of the last of them was ready.
    pub last_ns: u64,
    /// Bytes of the venue's message.
    pub bytes: u32,
    /// Events that came of it.
    pub events: u32,
    /// Messages of the same frame that came before it.
    pub before: u32,
    /// Frames of the same pass that were not worked off yet.
    pub behind: u32,
    /// Since the pass before that had frames. Like the next two, 0 if there was none.
    pub quiet_ns: u64,
    /// Since the last order that a message caused.
    pub order_ns: u64,
    /// Since the last rehearsal ended.
    pub rehearsed_ns: u64,
}

/// One tick that was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TickRecord {
    /// Id of the venue whose message it was.
    pub venue: u32,
    /// Event kind of the command that the first message was for.
    pub first: u8,
    /// Its stages, nanoseconds.
    pub stages_ns: [u64; STAGES],
    /// What it was like.
    pub like: Circumstances,
}

impl TickRecord {
    /// What it was answered with.
    pub fn answer(&self) -> Answer {
        Answer::of(self.like.messages, EventKind::from_raw(self.first))
    }

    /// Tick to order.
    pub fn whole_ns(&self) -> u64 {
        self.stages_ns.iter().sum()
    }
}

/// The histograms. All memory is taken at construction.
#[derive(Clone, Debug)]
pub struct Latency {
    whole: Histogram<u64>,
    /// The whole again, by the venue whose message it began with.
    venues: Box<[Histogram<u64>]>,
    /// The stages, likewise, and last those of venues that nobody announced: of all they are the sum.
    venue_stages: Box<[[Histogram<u64>; STAGES]]>,
    /// The whole again, by what the tick was answered with.
    answers: [Histogram<u64>; ANSWERS],
    last: Histogram<u64>,
    kick: Histogram<u64>,
    /// The slowest ticks, the slowest first.
    slowest: [TickRecord; SLOWEST],
}

fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, digits).expect("constant bounds are valid")
}

impl Latency {
    /// Empty histograms, for so many venues.
    pub fn new(venues: usize) -> Latency {
        let mut latency = Latency {
            whole: histogram(DIGITS),
            venues: (0..venues).map(|_| histogram(DIGITS)).collect(),
            venue_stages: (0..=venues).map(|_| std::array::from_fn(|_| histogram(DIGITS_OF_PARTS))).collect(),
            answers: std::array::from_fn(|_| histogram(DIGITS)),
            last: histogram(DIGITS),
            kick: histogram(DIGITS),
            slowest: [TickRecord::default(); SLOWEST],
        };
        latency.reset(); // Touches the counts: fresh zeroed memory would fault at the first record.
        latency
    }

    /// Records one tick. Returns its whole.
    #[inline]
    pub fn record(&mut self, tick: &TickRecord) -> u64 {
        let whole = tick.whole_ns();
        self.whole.saturating_record(whole);
        if let Some(histogram) = self.venues.get_mut(tick.venue as usize) {
            histogram.saturating_record(whole);
        }
        if let Some(stages) = self.venue_stages.get_mut((tick.venue as usize).min(self.venues.len())) {
            for (histogram, ns) in stages.iter_mut().zip(tick.stages_ns) {
                histogram.saturating_record(ns);
            }
        }
        self.answers[tick.answer() as usize].saturating_record(whole);
        self.last.saturating_record(tick.like.last_ns);
        if whole > self.slowest[SLOWEST - 1].whole_ns() {
            self.keep(tick, whole);
        }
        whole
    }

    /// Keeps it among the slowest.
    #[cold]
    fn keep(&mut self, tick: &TickRecord, whole: u64) {
        let place = self.slowest.iter().position(|kept| kept.whole_ns() < whole).unwrap_or(SLOWEST - 1);
        self.slowest.copy_within(place..SLOWEST - 1, place + 1);
        self.slowest[place] = *tick;
    }

    /// Records the kick (the one system call of a send), which is not part of tick-to-order.
    #[inline]
    pub fn record_kick(&mut self, ns: u64) {
        self.kick.saturating_record(ns);
    }

    /// Forgets everything (after warm-up).
    pub fn reset(&mut self) {
        let venue_stages = self.venue_stages.iter_mut().flatten();
        self.venues.iter_mut().chain(venue_stages).chain(&mut self.answers).for_each(Histogram::reset);
        self.whole.reset();
        self.last.reset();
        self.kick.reset();
        self.slowest = [TickRecord::default(); SLOWEST];
    }

    /// The slowest ticks, the slowest first.
    pub fn slowest(&self) -> &[TickRecord] {
        let kept = self.slowest.iter().position(|tick| tick.like.messages == 0).unwrap_or(SLOWEST);
        &self.slowest[..kept]
    }

    /// All that was recorded of the whole.
    pub fn whole(&self) -> &Histogram<u64> {
        &self.whole
    }

    /// All that was recorded of one stage. To two digits.
    pub fn of_stage(&self, stage: Stage) -> Histogram<u64> {
        let mut all = histogram(DIGITS_OF_PARTS);
        for venue in &self.venue_stages {
            all.add(&venue[stage as usize]).expect("they have the same bounds");
        }
        all
    }

    /// The whole, of messages of each venue, by id.
    pub fn of_venues(&self) -> &[Histogram<u64>] {
        &self.venues
    }

    /// The stages, in order, of messages of each venue, by id. To two digits.
    pub fn of_venue_stages(&self) -> &[[Histogram<u64>; STAGES]] {
        self.venue_stages.split_last().map_or(&[], |(_, announced)| announced)
    }

    /// The whole, of ticks with this answer.
    pub fn of_answer(&self, answer: Answer) -> &Histogram<u64> {
        &self.answers[answer as usize]
    }

    /// All that was recorded of the kick.
    pub fn of_kick(&self) -> &Histogram<u64> {
        &self.kick
    }

    /// Percentiles of the whole.
    pub fn tick_to_order(&self) -> Percentiles {
        percentiles(&self.whole)
    }

    /// Percentiles of the time to the last order of a tick.
    pub fn tick_to_last_order(&self) -> Percentiles {
        percentiles(&self.last)
    }

    /// Percentiles of the whole, of messages of the venue with this id; nothing if there is none.
    pub fn tick_to_order_of(&self, venue: usize) -> Percentiles {
        self.venues.get(venue).map_or_else(Percentiles::default, percentiles)
    }

    /// Percentiles of one stage, of messages of the venue with this id; nothing if there is none.
    pub fn stage_of(&self, venue: usize, stage: Stage) -> Percentiles {
        self.of_venue_stages().get(venue).map_or_else(Percentiles::default, |stages| percentiles(&stages[stage as usize]))
    }

    /// Percentiles of the whole, of ticks with this answer.
    pub fn tick_to(&self, answer: Answer) -> Percentiles {
        percentiles(&self.answers[answer as usize])
    }

    /// Percentiles of one stage.
    pub fn stage(&self, stage: Stage) -> Percentiles {
        percentiles(&self.of_stage(stage))
    }

    /// Percentiles of the kick.
    pub fn kick(&self) -> Percentiles {
        percentiles(&self.kick)
    }
}

fn percentiles(h: &Histogram<u64>) -> Percentiles {
    if h.is_empty() {
        return Percentiles::default();
    }
    Percentiles {
        count: h.len(),
        p50: h.value_at_quantile(0.50),
        p90: h.value_at_quantile(0.90),
        p99: h.value_at_quantile(0.99),
        p999: h.value_at_quantile(0.999),
        max: h.max(),
    }
}

/// Octaves of [`LiveLatency`]: up to 2^32 ns.
const OCTAVES: usize = 32;
/// Parts of an octave.
const PARTS: usize = 16;

/// Counts of one path in coarse buckets (16 to an octave), written by one thread and read by any: for a
/// line that is shown while the engine runs. Recording is one load and one store.
pub struct LiveLatency {
    counts: Box<[AtomicU64]>,
}

impl Default for LiveLatency {
    fn default() -> Self {
        LiveLatency::new()
    }
}

impl LiveLatency {
    /// Empty counts.
    pub fn new() -> LiveLatency {
        LiveLatency { counts: (0..OCTAVES * PARTS).map(|_| AtomicU64::new(0)).collect() }
    }

    fn bucket(ns: u64) -> usize {
        let ns = ns.clamp(PARTS as u64, u64::from(u32::MAX));
        let octave = ns.ilog2();
        let part = (ns >> (octave - 4)) as usize & (PARTS - 1);
        octave as usize * PARTS + part
    }

    /// The largest time that falls into a bucket.
    fn bucket_end(bucket: usize) -> u64 {
        let (octave, part) = ((bucket / PARTS) as u32, (bucket % PARTS) as u64);
        if octave < 4 { PARTS as u64 } else { ((PARTS as u64 + part + 1) << (octave - 4)) - 1 }
    }

    /// Counts one time. One thread only.
    #[inline]
    pub fn record(&self, ns: u64) {
        let count = &self.counts[Self::bucket(ns)];
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Forgets everything (after warm-up). One thread only.
    pub fn reset(&self) {
        self.counts.iter().for_each(|c| c.store(0, Ordering::Relaxed));
    }

    /// Percentiles; each is the upper end of its bucket.
    pub fn percentiles(&self) -> Percentiles {
        let counts: Vec<u64> = self.counts.iter().map(|c| c.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let at = |thousandths: u64| {
            let wanted = (total * thousandths).div_ceil(1000).max(1);
            let mut seen = 0;
            let bucket = counts.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            bucket.map_or(0, Self::bucket_end)
        };
        if total == 0 {
            return Percentiles::default();
        }
        Percentiles { count: total, p50: at(500), p90: at(900), p99: at(990), p999: at(999), max: at(1000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_percentiles_are_within_a_sixteenth() {
        let live = LiveLatency::new();
        for ns in 1..=10_000u64 {
            live.record(ns);
        }
        let p = live.percentiles();
        assert_eq!(p.count, 10_000);
        for (got, wanted) in [(p.p50, 5_000u64), (p.p90, 9_000), (p.p99, 9_900), (p.max, 10_000)] {
            assert!(got >= wanted && got <= wanted + wanted / 16, "{got} for {wanted}");
        }
        live.record(0);
        live.record(u64::MAX);
        assert_eq!(live.percentiles().max, u64::from(u32::MAX));
        live.reset();
        assert_eq!(live.percentiles(), Percentiles::default());
    }

    /// A tick with this answer and these stages.
    fn tick(venue: u32, answer: Answer, stages_ns: [u64; STAGES]) -> TickRecord {
        let (messages, first) = match answer {
            Answer::Order => (1, EventKind::SendNew),
            Answer::Cancel => (1, EventKind::SendCancel),
            Answer::Amend => (1, EventKind::SendReplace),
            Answer::Several => (2, EventKind::SendNew),
        };
        TickRecord { venue, first: first as u8, stages_ns, like: Circumstances { messages, ..Circumstances::default() } }
    }

    #[test]
    fn the_slowest_ticks_are_kept_in_their_order() {
        let mut latency = Latency::new(1);
        assert!(latency.slowest().is_empty());
        // 1 to 97, each once, in an order that is none.
        for n in 1..=97u64 {
            let mut tick = tick(0, Answer::Order, [0, 0, n * 37 % 98, 0, 0, 0]);
            tick.like.seen_ns = n;
            latency.record(&tick);
            assert_eq!(latency.slowest().len(), SLOWEST.min(n as usize));
        }
        let mut all: Vec<u64> = (1..=97u64).map(|n| n * 37 % 98).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        let kept: Vec<u64> = latency.slowest().iter().map(TickRecord::whole_ns).collect();
        assert_eq!(kept, all[..SLOWEST]);
        assert!(latency.slowest().iter().all(|tick| tick.like.seen_ns * 37 % 98 == tick.whole_ns()), "each with what it was like");
        latency.reset();
        assert!(latency.slowest().is_empty());
    }

    #[test]
    fn stages_add_up_and_percentiles_hold() {
        let mut latency = Latency::new(0);
        for n in 1..=1000 {
            latency.record(&tick(0, Answer::Order, [n, 0, n, 0, 0, n]));
        }
        let whole = latency.tick_to_order();
        assert_eq!(whole.count, 1000);
        assert!(whole.p50.abs_diff(1500) <= 3, "{whole:?}");
        assert!(whole.p99.abs_diff(2970) <= 6, "{whole:?}");
        assert!(whole.max.abs_diff(3000) <= 6);
        assert_eq!(latency.stage(Stage::Decrypt).max, 0);
        latency.record(&tick(0, Answer::Order, [u64::MAX / 8; STAGES]));
        latency.reset();
        assert_eq!(latency.tick_to_order(), Percentiles::default());
    }

    #[test]
    fn each_venue_and_each_answer_has_its_own_whole_and_all_of_them_are_in_the_common_one() {
        let mut latency = Latency::new(2);
        for n in 1..=100 {
            latency.record(&tick(0, Answer::Cancel, [n, 0, 0, 0, 0, n]));
            latency.record(&tick(1, Answer::Several, [0, 100 * n, 0, 0, 0, 0]));
        }
        latency.record(&tick(2, Answer::Amend, [7; STAGES])); // A venue that nobody announced.
        let [first, second] = [0, 1].map(|venue| latency.tick_to_order_of(venue));
        assert_eq!((first.count, first.p50, first.max), (100, 100, 200));
        assert_eq!((second.count, second.p50), (100, 5_003));
        let stage = |venue, stage| latency.stage_of(venue, stage);
        let ingress = stage(0, Stage::Ingress);
        assert_eq!((ingress.count, ingress.p50, ingress.max), (100, 50, 100), "the other venue's are not among them");
        assert_eq!((stage(1, Stage::Decrypt).count, stage(1, Stage::Decrypt).p50.abs_diff(5_000) <= 50), (100, true), "to two digits");
        assert_eq!((stage(0, Stage::Decrypt).max, stage(2, Stage::Ingress)), (0, Percentiles::default()));
        let [order, cancel, amend, several] = Answer::ALL.map(|answer| latency.tick_to(answer));
        assert_eq!((order.count, cancel, amend.max, several), (0, first, 42, second));
        assert_eq!((latency.tick_to_order().count, latency.tick_to_order_of(2).count), (201, 0));
        assert_eq!([latency.whole().len(), latency.of_stage(Stage::Encode).len(), latency.of_kick().len()], [201, 201, 0]);
        latency.reset();
        assert!(latency.of_venues().iter().chain(latency.of_venue_stages().iter().flatten()).all(hdrhistogram::Histogram::is_empty));
        assert!(Answer::ALL.iter().all(|answer| latency.of_answer(*answer).is_empty()));
    }

    #[test]
    fn an_answer_is_named_after_its_only_message() {
        use EventKind::{SendCancel, SendNew, SendReplace};
        let single = [(SendNew, "order"), (SendCancel, "cancel"), (SendReplace, "amend")];
        for (kind, name) in single {
            assert_eq!(Answer::of(1, Some(kind)).as_str(), name);
            assert_eq!(Answer::of(2, Some(kind)), Answer::Several);
        }
    }
}
