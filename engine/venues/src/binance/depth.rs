//! One book's synchronisation: snapshot over REST, differences over the stream.
//!
//! The venue's algorithm, with the numbers of its documentation:
//!
//! 1. Subscribe; buffer events; F = `U` of the first.
//! 2. Fetch a snapshot; L = its `lastUpdateId`.
//! 3. If L < F, fetch again. (A snapshot with L = F - 1 joins seamlessly and is taken: step 5 allows it.)
//! 4. Drop buffered events with `u` <= L.
//! 5. The first kept event must have `U` <= L + 1 <= `u`, else fetch again.
//! 6. Book := snapshot, id := L.
//! 7. For each event: `u` < id: ignore. `U` > id + 1: a gap; discard the book and begin at 1. Else apply
//!    its levels (absolute quantities), id := `u`.
//!
//! The snapshot's levels come in one by one and go straight through to the core, which holds the book
//! for incomplete until an event carries `LAST`. The differences that were kept follow in the same breath,
//! so strategies see the book only once it has caught up.
//!
//! **A snapshot says what the book was; only the stream says that we shall hear of what comes next.** A stream
//! that has stalled would else be hidden by the snapshots that its silence makes us fetch. So after a resync
//! the book is in step once an event has joined (step 5), and until then `Joining`: its levels are with the
//! core, without `LAST`. Events with `u` < L are passed over, the one that reaches L or joins completes the book,
//! and one with `U` > L + 1 says that the snapshot is too old by now: step 2 again, with that event kept.
//!
//! Quiet books have to come up, too, though nothing may join for minutes. The venue's ids leave no hole (the
//! next `U` is the last `u` + 1), so silence is told apart from a stall by L:
//!
//! - *At the start*, when the stream has said nothing about this book yet: the snapshot is asked for after the
//!   subscription was confirmed, not upon the first event, and the confirmation on this very connection, at most
//!   `CONFIRMATION_NS` old, stands for the event: the book is in step at once. If the stream has stalled all the
//!   same, the core finds the book stale, and the rules for a resync hold. Step 7 does the check of step 5.
//! - *L is where we stood*: the last `u` of the stream, or the L of the snapshot before. Nothing has changed at the
//!   venue, so the stream owes us nothing: it is not stalled, its book is quiet, and in step at once. So a quiet book
//!   that the core finds stale is confirmed by one snapshot.
//! - *L is ahead of where we stood*: the stream owes us an event, which comes within 100 ms (SBE: 20 ms), if it comes.
//!   An event that we got and could not read, or an id that the venue used up without one, would leave a quiet book
//!   behind for good; so while nothing joins another snapshot is fetched, after `RECHECK_MIN_NS` and then twice as long
//!   each time: if it has the same L, the rule above lets the book go. While the market moves and the stream does
//!   not, L grows from each to the next, and the book stays invalid.
//!
//! While two connections deliver (a planned renewal), their events overlap at arbitrary places; rule 7
//! takes that: an event that only repeats is dropped, one that overlaps is applied.

use super::message::Row;
use crate::batch::emit_levels;
use engine_core::event::{BookInvalid, Event, EventKind, EventSink, Times, flags};
use engine_core::fixed::{Price, Qty};
use engine_core::ids::{InstrumentId, VenueId};

/// Levels that a book may buffer while it waits for its snapshot; then the oldest events go.
pub const BUFFER_ROWS_MAX: usize = 4_096;
/// Events that a book may buffer.
pub const BUFFER_DIFFS_MAX: usize = 512;
/// A snapshot that has not come by then is asked for again.
const SNAPSHOT_TIMEOUT_NS: u64 = 60_000_000_000;
/// Wait before the second attempt; doubles with each.
const BACKOFF_MIN_NS: u64 = 250_000_000;
/// Longest wait between attempts.
const BACKOFF_MAX_NS: u64 = 32_000_000_000;
/// A book in step for so long begins its next resync without a wait.
const STEADY_NS: u64 = 10_000_000_000;
/// The confirmation of a subscription speaks for a stream that has said nothing yet for so long. A snapshot comes within
/// a second, unless the rate budget or the venue keeps it waiting.
const CONFIRMATION_NS: u64 = 10_000_000_000;
/// While nothing joins a snapshot, the next one is asked for after so long; doubles with each, up to [`BACKOFF_MAX_NS`].
/// Far longer than the stream takes to report a change.
const RECHECK_MIN_NS: u64 = 2_000_000_000;

/// What events of this book are stamped with.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The venue.
    pub venue: VenueId,
    /// The instrument.
    pub instrument: InstrumentId,
    /// When the message was taken in.
    pub times: Times,
}

impl Stamp {
    /// A level's event.
    #[inline]
    pub fn level(&self, row: Row, sequence: u64, venue_time_ns: u64) -> Event {
        Event::book_level(self.venue, self.instrument, row.side, Price(row.price), Qty(row.qty), sequence, self.times).at(venue_time_ns)
    }

    /// The event of a message without a level.
    pub fn touch(&self, sequence: u64, venue_time_ns: u64) -> Event {
        Event { instrument: self.instrument.0, c: sequence, ..Event::new(EventKind::BookTouch, self.venue, self.times) }.at(venue_time_ns)
    }
}

/// A difference: update ids `first..=last` and the levels they changed.
#[derive(Clone, Copy, Debug)]
pub struct Diff<'a> {
    /// `U`.
    pub first: u64,
    /// `u`.
    pub last: u64,
    /// Venue time.
    pub time_ns: u64,
    /// Changed levels.
    pub rows: &'a [Row],
}

impl Diff<'_> {
    /// Its events, whole, the final one with `LAST`.
    #[inline]
    pub fn emit(&self, stamp: &Stamp, sink: &mut impl EventSink) {
        let Some(&row) = self.rows.first() else {
            sink.event(&stamp.touch(self.last, self.time_ns).with(flags::LAST));
            return;
        };
        let levels = self.rows.iter().map(|row| (row.side, row.price, row.qty));
        emit_levels(stamp.level(row, self.last, self.time_ns), levels, sink);
    }
}

/// What became of a difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied {
    /// Given out.
    Applied,
    /// Kept until the snapshot is there.
    Buffered,
    /// Given out, and joined to the snapshot: the book is in step.
    Joined,
    /// Nothing new in it.
    Stale,
    /// The sequence skipped: the book is invalid and begins anew.
    Gap,
}

/// What became of a piece of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// Passed on; more is to come.
    Partial,
    /// The book is in step.
    Synchronised,
    /// All of it is there; the stream has yet to reach it.
    Joining,
    /// Nobody waits for it.
    Unwanted,
    /// Older than the first event kept: asked for again.
    TooOld,
    /// It does not join the events kept: the book is invalid and begins anew.
    Gap,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The stream is not up.
    Idle,
    /// Events are kept; the snapshot is due or on its way.
    Buffering,
    /// A snapshot's levels are coming in; L.
    Loading { last: u64 },
    /// A snapshot is in, since when; the stream has yet to reach it. L.
    Joining { last: u64, since_ns: u64 },
    /// In step; id.
    Live { id: u64, since_ns: u64 },
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    first: u64,
    last: u64,
    time_ns: u64,
    rows: usize,
}

/// The synchronisation of one book. See the module header. While it is in step, differences ask for nothing but the state.
#[derive(Debug)]
#[repr(C)]
pub struct BookSync {
    state: State,
    diffs: Vec<Kept>,
    rows: Vec<Row>,
    /// Where the book stood when last we looked: the last `u` of the stream, or the L of a snapshot that it had time to
    /// contradict. Of the connections that are up only. While in step, the state's id is newer.
    stood: Option<u64>,
    /// When the subscription was confirmed, as long as the book has not been found wrong.
    confirmed_ns: Option<u64>,
    /// When the snapshot may be asked for.
    due_ns: u64,
    /// When it was asked for; one is on its way. Without meaning while in step.
    asked_ns: Option<u64>,
    /// Failed attempts in a row.
    attempts: u32,
    /// Snapshots in a row that nothing has joined.
    rechecks: u32,
}

impl Default for BookSync {
    fn default() -> Self {
        BookSync {
            state: State::Idle,
            diffs: Vec::with_capacity(BUFFER_DIFFS_MAX),
            rows: Vec::with_capacity(BUFFER_ROWS_MAX),
            stood: None,
            confirmed_ns: None,
            due_ns: 0,
            asked_ns: None,
            attempts: 0,
            rechecks: 0,
        }
    }
}

impl BookSync {
    /// Bytes at its beginning that a difference asks for while the book is in step.
    pub const HOT_BYTES: usize = size_of::<State>();

    /// True if the book is in step.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    /// True if the book wants nothing, whatever the time: its stream is not up, or it is in step.
    #[inline]
    pub fn is_settled(&self) -> bool {
        matches!(self.state, State::Idle | State::Live { .. })
    }

    /// The stream is up: steps 1 and 2 begin. Nothing if they have begun.
    pub fn start(&mut self, now_ns: u64) {
        if self.state == State::Idle {
            self.begin(now_ns);
            self.confirmed_ns = Some(now_ns);
        }
    }

    /// The stream is gone. True if the book was more than idle.
    pub fn stop(&mut self) -> bool {
        let was = self.state != State::Idle;
        self.state = State::Idle;
        self.forget();
        (self.stood, self.confirmed_ns, self.asked_ns) = (None, None, None);
        self.attempts = 0;
        was
    }

    /// The book is wrong: begins anew, after a wait that grows with each failure in a row. False if a
    /// resync is under way already.
    pub fn restart(&mut self, now_ns: u64) -> bool {
        self.confirmed_ns = None;
        match self.state {
            State::Idle | State::Buffering => return false,
            State::Live { id, since_ns } => {
                self.reached(id);
                if now_ns.saturating_sub(since_ns) >= STEADY_NS {
                    self.attempts = 0;
                }
            }
            State::Loading { .. } | State::Joining { .. } => {}
        }
        let wait_ns = self.next_wait_ns();
        self.begin(now_ns.saturating_add(wait_ns));
        true
    }

    fn begin(&mut self, due_ns: u64) {
        self.state = State::Buffering;
        self.forget();
        self.asked_ns = None;
        self.due_ns = due_ns;
        self.rechecks = 0;
    }

    /// The stream, or a snapshot, has come to this id.
    fn reached(&mut self, id: u64) {
        self.stood = self.stood.max(Some(id));
    }

    fn forget(&mut self) {
        self.diffs.clear();
        self.rows.clear();
    }

    /// Nothing before the first attempt; then twice as much each time.
    fn next_wait_ns(&mut self) -> u64 {
        let attempts = self.attempts;
        self.attempts = attempts.saturating_add(1);
        match attempts.checked_sub(1) {
            None => 0,
            Some(doublings) => BACKOFF_MIN_NS.saturating_mul(1 << doublings.min(20)).min(BACKOFF_MAX_NS),
        }
    }

    /// True if a snapshot is to be asked for now. A snapshot that never came is given up.
    #[inline]
    pub fn wants_snapshot(&mut self, now_ns: u64) -> bool {
        match (self.state, self.asked_ns) {
            (State::Idle | State::Live { .. }, _) => false,
            (_, Some(asked_ns)) if now_ns.saturating_sub(asked_ns) < SNAPSHOT_TIMEOUT_NS => false,
            (State::Loading { .. }, _) => {
                // Its pieces stopped coming; the core holds the book for incomplete.
                self.begin(now_ns);
                true
            }
            (_, Some(_)) => true,
            (_, None) => now_ns >= self.due_ns,
        }
    }

    /// The snapshot was asked for.
    pub fn asked(&mut self, now_ns: u64) {
        if let State::Joining { last, .. } = self.state {
            // The stream had time to contradict it.
            self.reached(last);
        }
        self.asked_ns = Some(now_ns);
    }

    /// The snapshot could not be had: tried again after a wait.
    pub fn snapshot_failed(&mut self, now_ns: u64) {
        if matches!(self.state, State::Buffering | State::Joining { .. }) && self.asked_ns.is_some() {
            self.asked_ns = None;
            self.attempts = self.attempts.max(1);
            self.due_ns = now_ns.saturating_add(self.next_wait_ns());
        }
    }

    /// A difference from the stream.
    #[inline]
    pub fn on_diff(&mut self, diff: Diff<'_>, stamp: &Stamp, sink: &mut impl EventSink) -> Applied {
        match self.state {
            State::Live { id, since_ns } => {
                if diff.last <= id {
                    return Applied::Stale;
                }
                if diff.first > id.saturating_add(1) {
                    sink.event(&Event::book_invalid(stamp.venue, stamp.instrument, BookInvalid::Gap, stamp.times));
                    self.restart(stamp.times.core_ns);
                    self.keep(diff);
                    return Applied::Gap;
                }
                diff.emit(stamp, sink);
                self.state = State::Live { id: diff.last, since_ns };
                Applied::Applied
            }
            State::Idle => {
                self.begin(stamp.times.core_ns);
                self.keep(diff);
                Applied::Buffered
            }
            State::Joining { last, since_ns } => self.join(diff, last, since_ns, stamp, sink),
            State::Buffering | State::Loading { .. } => {
                self.keep(diff);
                Applied::Buffered
            }
        }
    }

    /// Steps 4 and 5 for a snapshot that was there before the stream had come to it.
    #[cold]
    fn join(&mut self, diff: Diff<'_>, last: u64, since_ns: u64, stamp: &Stamp, sink: &mut impl EventSink) -> Applied {
        if diff.last < last {
            return Applied::Stale;
        }
        if diff.first > last.saturating_add(1) {
            // Time that the snapshot has waited counts: the stream's first sign of life is not kept waiting for a book.
            let due_ns = since_ns.saturating_add(self.next_wait_ns());
            self.begin(due_ns);
            self.keep(diff);
            return Applied::Buffered;
        }
        if diff.last > last {
            for &row in diff.rows {
                sink.event(&stamp.level(row, diff.last, diff.time_ns).with(flags::SNAPSHOT));
            }
        }
        self.in_step(diff.last, diff.time_ns, stamp, sink);
        Applied::Joined
    }

    /// All is given out up to this id: the book is complete.
    fn in_step(&mut self, id: u64, time_ns: u64, stamp: &Stamp, sink: &mut impl EventSink) {
        sink.event(&stamp.touch(id, time_ns).with(flags::SNAPSHOT | flags::LAST));
        self.state = State::Live { id, since_ns: stamp.times.core_ns };
        self.forget();
    }

    /// Buffers a difference. When the buffer is full the older half goes; should the snapshot turn out to be
    /// older than what is left, step 3 fetches another.
    fn keep(&mut self, diff: Diff<'_>) {
        self.reached(diff.last);
        if diff.rows.len() > BUFFER_ROWS_MAX {
            // Cannot be kept, so nothing before it is of use either.
            self.forget();
            return;
        }
        while self.diffs.len() == BUFFER_DIFFS_MAX || self.rows.len() + diff.rows.len() > BUFFER_ROWS_MAX {
            let drop = self.diffs.len().div_ceil(2);
            let rows: usize = self.diffs.drain(..drop).map(|kept| kept.rows).sum();
            self.rows.drain(..rows);
        }
        self.diffs.push(Kept { first: diff.first, last: diff.last, time_ns: diff.time_ns, rows: diff.rows.len() });
        self.rows.extend_from_slice(diff.rows);
    }

    /// A piece of a snapshot from the cold plane: `BookLevel` or, for an empty book, `BookTouch`; `c` is L.
    pub fn on_snapshot(&mut self, event: &Event, stamp: &Stamp, sink: &mut impl EventSink) -> Taken {
        if event.has(flags::CLEAR) {
            if !matches!(self.state, State::Buffering | State::Joining { .. }) || self.asked_ns.is_none() {
                return Taken::Unwanted;
            }
            let last = event.c;
            if self.diffs.first().is_some_and(|kept| last.saturating_add(1) < kept.first) {
                self.snapshot_failed(stamp.times.core_ns);
                return Taken::TooOld;
            }
            self.state = State::Loading { last };
        }
        let last = match self.state {
            // A piece of another snapshot would carry another L.
            State::Loading { last } if last == event.c => last,
            _ => return Taken::Unwanted,
        };
        let piece = Event { core_time_ns: stamp.times.core_ns, poll_delay_ns: stamp.times.poll_delay_ns, ..*event };
        sink.event(&Event { flags: (event.flags | flags::SNAPSHOT) & !flags::LAST, ..piece });
        if !event.has(flags::LAST) {
            return Taken::Partial;
        }
        self.asked_ns = None;
        match self.catch_up(last, stamp, sink) {
            Some((id, time_ns)) if id > last || self.is_quiet(last, stamp.times.core_ns) => {
                self.in_step(id, time_ns, stamp, sink);
                Taken::Synchronised
            }
            Some(_) => {
                let now_ns = stamp.times.core_ns;
                self.forget();
                self.state = State::Joining { last, since_ns: now_ns };
                let wait_ns = RECHECK_MIN_NS.saturating_mul(1 << self.rechecks.min(20)).min(BACKOFF_MAX_NS);
                self.rechecks = self.rechecks.saturating_add(1);
                self.due_ns = now_ns.saturating_add(wait_ns);
                Taken::Joining
            }
            None => {
                sink.event(&Event::book_invalid(stamp.venue, stamp.instrument, BookInvalid::Gap, stamp.times));
                self.restart(stamp.times.core_ns);
                Taken::Gap
            }
        }
    }

    /// True if a snapshot with this L, which no event has joined, shows that the stream owes us none. See the module header.
    fn is_quiet(&self, last: u64, now_ns: u64) -> bool {
        match self.stood {
            Some(stood) => stood == last,
            None => self.confirmed_ns.is_some_and(|at_ns| now_ns.saturating_sub(at_ns) < CONFIRMATION_NS),
        }
    }

    /// Steps 4 to 7 over the kept events: the id that they lead to, and the last event's time. `None` if they do not join.
    fn catch_up(&self, last: u64, stamp: &Stamp, sink: &mut impl EventSink) -> Option<(u64, u64)> {
        let (mut id, mut time_ns, mut at) = (last, 0, 0);
        for kept in &self.diffs {
            let rows = &self.rows[at..at + kept.rows];
            at += kept.rows;
            if kept.last <= id {
                continue;
            }
            if kept.first > id.saturating_add(1) {
                return None;
            }
            for &row in rows {
                sink.event(&stamp.level(row, kept.last, kept.time_ns).with(flags::SNAPSHOT));
            }
            (id, time_ns) = (kept.last, kept.time_ns);
        }
        Some((id, time_ns))
    }
}
