//! The engine's state for whoever looks on: published by the hot thread, read without a lock.
//!
//! A [`StatusBoard`] is a sequence lock: the hot thread makes the version odd, stores the words, makes it
//! even again; a reader copies the words and tries again if the version was odd or has moved. The hot
//! thread never waits, and neither publishing nor reading allocates.

use crate::latency::{LiveLatency, Percentiles};
use engine_core::event::FeedState;
use engine_core::fixed::Money;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Venues that a status has room for.
pub const VENUES_MAX: usize = 16;

/// What the loop is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u64)]
pub enum Phase {
    /// The hot thread has not come to its first pass yet.
    #[default]
    Starting = 0,
    /// Connections are being made, caches filled; trading happens already.
    WarmUp = 1,
    /// Steady.
    Running = 2,
    /// Told to stop: orders are being cancelled.
    Stopping = 3,
    /// The venues' records are compared with ours a last time, connections closed.
    Closing = 4,
    /// The loop has ended.
    Ended = 5,
}

impl Phase {
    fn from_word(word: u64) -> Phase {
        [Phase::Starting, Phase::WarmUp, Phase::Running, Phase::Stopping, Phase::Closing, Phase::Ended]
            .into_iter()
            .find(|p| *p as u64 == word)
            .unwrap_or_default()
    }

    /// Stable lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::WarmUp => "warm_up",
            Phase::Running => "running",
            Phase::Stopping => "stopping",
            Phase::Closing => "closing",
            Phase::Ended => "ended",
        }
    }
}

/// One venue, as published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VenueStatus {
    /// Frames with data for one of its connections.
    pub frames: u64,
    /// Messages taken in.
    pub messages: u64,
    /// Events made of them.
    pub events: u64,
    /// Sequence gaps.
    pub gaps: u64,
    /// Checksum failures.
    pub checksum_failures: u64,
    /// Books synchronised anew.
    pub resyncs: u64,
    /// Messages that could not be decoded.
    pub malformed: u64,
    /// Messages of a kind, for a symbol or with a value that we do not know.
    pub unknown: u64,
    /// Error answers.
    pub venue_errors: u64,
    /// Connections made.
    pub connects: u64,
    /// Connections lost.
    pub disconnects: u64,
    /// Instruments.
    pub books: u64,
    /// Instruments whose book can be traded on.
    pub books_valid: u64,
    pub(super) market_data: u64,
    pub(super) order_entry: u64,
    /// Reconciliations completed.
    pub reconciliations: u64,
    /// Nonzero while nothing may be opened there until a reconciliation completes.
    pub reconcile_pending: u64,
}

impl VenueStatus {
    /// State of its market-data stream.
    pub fn market_data(&self) -> FeedState {
        FeedState::from_raw(self.market_data as u32).unwrap_or(FeedState::Down)
    }

    /// State of its order entry.
    pub fn order_entry(&self) -> FeedState {
        FeedState::from_raw(self.order_entry as u32).unwrap_or(FeedState::Down)
    }

    pub(super) fn set_feeds(&mut self, market_data: FeedState, order_entry: FeedState) {
        (self.market_data, self.order_entry) = (market_data as u64, order_entry as u64);
    }
}

/// Everything published. Money is in the reporting asset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Status {
    /// The hot thread's time: nanoseconds since the Unix epoch.
    pub now_ns: u64,
    /// When its loop began.
    pub started_ns: u64,
    pub(super) phase: u64,
    /// This run's epoch.
    pub epoch: u64,
    /// Passes of the loop.
    pub passes: u64,
    /// Frames received.
    pub frames: u64,
    /// Next sequence of the journal.
    pub sequence: u64,
    /// Market-data events dropped because the cold plane was behind.
    pub dropped: u64,
    /// Orders sent.
    pub submitted: u64,
    /// Orders acknowledged.
    pub acked: u64,
    /// Orders completely filled.
    pub filled: u64,
    /// Fills.
    pub fills: u64,
    /// Orders cancelled or expired.
    pub cancelled: u64,
    /// Orders refused by a venue.
    pub rejected: u64,
    /// Orders replaced in place.
    pub replaced: u64,
    /// Orders refused by risk.
    pub refused_by_risk: u64,
    /// Orders whose state is unknown now.
    pub unknown: u64,
    /// Orders open now.
    pub open: u64,
    pub(super) halted: u64,
    pub(super) pnl: [u64; 8],
    /// Allocator calls of the hot thread after warm-up.
    pub allocations: u64,
    /// Of these, while connections were being made.
    pub allocations_connecting: u64,
    /// How many of `venues` are in use.
    pub venue_count: u64,
    /// By venue id.
    pub venues: [VenueStatus; VENUES_MAX],
}

impl Status {
    /// What the loop is doing.
    pub fn phase(&self) -> Phase {
        Phase::from_word(self.phase)
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        self.phase = phase as u64;
    }

    /// True while trading is stopped (kill switch, loss limit, breaker).
    pub fn halted(&self) -> bool {
        self.halted != 0
    }

    pub(super) fn set_halted(&mut self, halted: bool) {
        self.halted = u64::from(halted);
    }

    /// Total, realised and unrealised profit and loss, and fees paid.
    pub fn pnl(&self) -> [Money; 4] {
        std::array::from_fn(|i| Money::from_words(self.pnl[2 * i], self.pnl[2 * i + 1]))
    }

    pub(super) fn set_pnl(&mut self, pnl: [Money; 4]) {
        for (i, amount) in pnl.into_iter().enumerate() {
            (self.pnl[2 * i], self.pnl[2 * i + 1]) = amount.to_words();
        }
    }

    /// The venues in use.
    pub fn venues(&self) -> &[VenueStatus] {
        &self.venues[..(self.venue_count as usize).min(VENUES_MAX)]
    }
}

const WORDS: usize = size_of::<Status>() / 8;

/// Where the hot thread writes its status, and others read it.
pub struct StatusBoard {
    version: AtomicU64,
    words: [AtomicU64; WORDS],
    /// Tick-to-order times as they come in.
    pub latency: LiveLatency,
}

impl StatusBoard {
    /// An empty board.
    pub fn new() -> Arc<StatusBoard> {
        Arc::new(StatusBoard { version: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)), latency: LiveLatency::new() })
    }

    /// Publishes. One thread only.
    pub fn publish(&self, status: &Status) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let (words, _) = <[u64; WORDS]>::ref_from_prefix(status.as_bytes()).unwrap_or((&[0; WORDS], &[]));
        for (to, from) in self.words.iter().zip(words) {
            to.store(*from, Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// The last status published whole.
    pub fn read(&self) -> Status {
        let mut words = [0u64; WORDS];
        loop {
            let before = self.version.load(Ordering::Acquire);
            for (to, from) in words.iter_mut().zip(&self.words) {
                *to = from.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                return Status::read_from_bytes(words.as_bytes()).unwrap_or_default();
            }
            std::hint::spin_loop();
        }
    }

    /// Percentiles of tick-to-order since warm-up, to about 6 percent.
    pub fn tick_to_order(&self) -> Percentiles {
        self.latency.percentiles()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_never_sees_half_a_status() {
        let board = StatusBoard::new();
        let writer = std::thread::spawn({
            let board = Arc::clone(&board);
            move || {
                for n in 1..=200_000u64 {
                    let mut status = Status { now_ns: n, sequence: n, ..Status::default() };
                    status.venues[VENUES_MAX - 1].reconcile_pending = n;
                    status.set_pnl([Money(-i128::from(n)); 4]);
                    board.publish(&status);
                }
            }
        });
        let mut last = 0;
        while last < 200_000 {
            let status = board.read();
            assert!(status.now_ns >= last);
            last = status.now_ns;
            assert_eq!((status.sequence, status.venues[VENUES_MAX - 1].reconcile_pending), (last, last));
            assert_eq!(status.pnl()[3], Money(-i128::from(last)));
        }
        writer.join().unwrap();
    }

    #[test]
    fn phases_survive_the_words() {
        for phase in [Phase::Starting, Phase::WarmUp, Phase::Running, Phase::Stopping, Phase::Closing, Phase::Ended] {
            let mut status = Status::default();
            status.set_phase(phase);
            assert_eq!(status.phase(), phase);
        }
        assert_eq!(Status::default().venues().len(), 0);
    }
}
