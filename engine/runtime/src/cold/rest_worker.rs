//! One thread a venue that does REST for it: tokens, snapshots, reference data, order queries,
//! reconciliation, clock offset. Results go back to the hot thread as events.

use super::http::HttpClient;
use super::log::{Level, Log};
use super::mirror::Mirror;
use super::reconcile::{ReconcileError, RestCalls, WorkingOrder, query_order, reconcile};
use crate::clock::wall_ns;
use drivers::spsc::{Consumer, Producer};
use engine_core::event::{BookInvalid, CommandKind, Event, EventKind, InstrumentStatus, Side, Times, flags};
use engine_core::ids::{InstrumentId, OrderId, VenueId};
use engine_core::instrument::{AssetTable, InstrumentTable};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use venues::outbox::ColdRequest;
use venues::rest::{RestError, RestQuery, RestReply, Tables, VenueRest};

/// Text bytes that one notice carries at most.
pub const NOTICE_BYTES_MAX: usize = 240;
/// Tries of one request before it is given up for now.
const TRIES_MAX: u32 = 5;
/// Longest wait of our own between tries, milliseconds.
const WAIT_MS_MAX: u64 = 10_000;
/// Longest wait that a venue may ask for, milliseconds. Asking earlier than it says makes a ban of a refusal.
const ASKED_WAIT_MS_MAX: u64 = 600_000;
/// Answers of which the quickest counts, when clocks are compared.
const CLOCK_TRIES: u32 = 3;
/// How often the venue's clock is compared with ours.
const CLOCK_CHECK_NS: u64 = 60_000_000_000;
/// How often reference data is fetched again: not every venue says when an instrument's status or increments change.
const REFERENCE_CHECK_NS: u64 = 300_000_000_000;
/// The same while an instrument of ours is not open for trading: somebody waits for it.
const REFERENCE_CHECK_CLOSED_NS: u64 = 5_000_000_000;
/// How long an idle worker sleeps before it looks again.
const IDLE: Duration = Duration::from_millis(1);

/// What the hot thread hands to a venue's worker.
///
/// It lies in the slots of a ring that the hot thread writes: of one size, and without a pointer to the heap.
#[derive(Clone, Copy, Default)]
#[allow(clippy::large_enum_variant)]
pub enum ColdTask {
    /// Nothing (an unused slot).
    #[default]
    None,
    /// The codec needs something.
    Request(ColdRequest),
    /// The codec has something to say, for the log.
    Notice {
        /// Bytes of `text` in use.
        len: u16,
        /// The text.
        text: [u8; NOTICE_BYTES_MAX],
    },
}

/// Counters of a worker, readable by others while it runs.
#[derive(Debug, Default)]
pub struct RestCounters {
    /// Requests sent, retries included.
    pub requests: AtomicU64,
    /// Requests that got no usable answer.
    pub failures: AtomicU64,
    /// Reconciliations completed.
    pub reconciliations: AtomicU64,
    /// Snapshots delivered.
    pub snapshots: AtomicU64,
}

/// A REST caller of one venue: codec, connection, retries.
pub struct RestCaller {
    /// For the log.
    pub venue_name: String,
    /// The dialect.
    pub rest: Box<dyn VenueRest>,
    /// The connection.
    pub client: HttpClient,
    /// All instruments.
    pub instruments: InstrumentTable,
    /// All assets.
    pub assets: AssetTable,
    /// The log.
    pub log: Log,
    /// Set when the engine stops: waits end early.
    pub stop: Arc<AtomicBool>,
    /// Counters.
    pub counters: Arc<RestCounters>,
}

/// Why a query got no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The venue's last word: asking again would not help.
    #[error("{0}")]
    Final(String),
    /// Given up after several tries, or because the engine stops.
    #[error("{0}")]
    GivenUp(String),
}

impl RestCaller {
    /// One query, with retries and back-off. Every query is safe to repeat. The error says what was wrong last.
    pub fn query(&mut self, query: &RestQuery) -> Result<RestReply, String> {
        self.ask(query).map_err(|e| e.to_string())
    }

    /// As [`RestCaller::query`], telling refusals and failures apart.
    pub fn ask(&mut self, query: &RestQuery) -> Result<RestReply, CallError> {
        let mut wait_ms = 100u64;
        let mut last = String::new();
        for _ in 0..TRIES_MAX {
            self.counters.requests.fetch_add(1, Ordering::Relaxed);
            match self.try_once(query) {
                Ok(reply) => return Ok(reply),
                Err(Failure::Final(reason)) => {
                    self.counters.failures.fetch_add(1, Ordering::Relaxed);
                    return Err(CallError::Final(reason));
                }
                Err(Failure::Retry { reason, wait_ms: asked }) => {
                    self.counters.failures.fetch_add(1, Ordering::Relaxed);
                    let fields = [("venue", self.venue_name.clone().into()), ("reason", reason.clone().into())];
                    self.log.now(Level::Warn, "rest_retry", &fields);
                    last = reason;
                    self.sleep(asked.map_or(wait_ms, |asked| asked.clamp(wait_ms, ASKED_WAIT_MS_MAX)));
                    wait_ms = (wait_ms * 2).min(WAIT_MS_MAX);
                }
            }
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
        }
        Err(CallError::GivenUp(last))
    }

    fn try_once(&mut self, query: &RestQuery) -> Result<RestReply, Failure> {
        let tables = Tables { instruments: &self.instruments, assets: &self.assets };
        let request = self.rest.request(query, tables, wall_ns()).map_err(|e| Failure::Final(e.to_string()))?;
        let answer = self.client.send(&request).map_err(|e| Failure::Retry { reason: e.to_string(), wait_ms: None })?;
        self.rest.parse(query, answer.status, &answer.headers, &answer.body, &self.instruments, &mut self.assets).map_err(|e| match e {
            RestError::Wait { wait_ms, .. } => Failure::Retry { reason: e.to_string(), wait_ms: Some(wait_ms) },
            RestError::Refused { status, .. } if status >= 500 => Failure::Retry { reason: e.to_string(), wait_ms: None },
            RestError::Malformed(_) if answer.status >= 500 => Failure::Retry { reason: e.to_string(), wait_ms: None },
            _ => Failure::Final(e.to_string()),
        })
    }

    fn sleep(&self, ms: u64) {
        for _ in 0..ms.div_ceil(20) {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

enum Failure {
    Final(String),
    Retry { reason: String, wait_ms: Option<u64> },
}

impl RestCalls for RestCaller {
    fn call(&mut self, query: &RestQuery) -> Result<RestReply, ReconcileError> {
        self.query(query).map_err(ReconcileError::Call)
    }
}

/// Requests that wait, each once: while the venue is slow to answer the core asks for the same order again and
/// again. What brings the connections back comes first, or a handful of orders in doubt would use up the venue's
/// rate limit while the token that lets reports come in again waits behind them.
#[derive(Default)]
struct Waiting(Vec<ColdRequest>);

impl Waiting {
    fn add(&mut self, request: ColdRequest) {
        if !self.0.contains(&request) {
            self.0.push(request);
        }
    }

    /// The most urgent one; of equals the oldest.
    fn next(&mut self) -> Option<ColdRequest> {
        let urgency = |request: &ColdRequest| match request {
            ColdRequest::Token { .. } => 0,
            ColdRequest::BookSnapshot { .. } => 1,
            ColdRequest::Reconcile => 2,
            ColdRequest::OrderStatus { .. } => 3,
            ColdRequest::Instruments => 4,
        };
        let (at, _) = self.0.iter().enumerate().min_by_key(|(_, request)| urgency(request))?;
        Some(self.0.remove(at))
    }
}

/// The worker of one venue. Run it on a thread of its own.
pub struct RestWorker {
    /// The venue.
    pub venue: VenueId,
    /// Carries queries.
    pub caller: RestCaller,
    /// Levels a side asked for in snapshots.
    pub snapshot_depth: u32,
    /// Tasks from the hot thread.
    pub tasks: Consumer<ColdTask>,
    /// Results to the hot thread.
    pub results: Producer<Event>,
    /// What the journal says our orders are.
    pub mirror: Arc<Mutex<Mirror>>,
    /// True if the account is known (private queries make sense).
    pub has_credentials: bool,
}

impl RestWorker {
    /// Works until told to stop.
    pub fn run(mut self) {
        let mut clock_check_at = 0u64;
        let mut reference_checked_at = wall_ns();
        let mut waiting = Waiting::default();
        while !self.caller.stop.load(Ordering::Relaxed) {
            let now = wall_ns();
            if now >= clock_check_at {
                self.check_clock();
                clock_check_at = now + CLOCK_CHECK_NS;
            }
            let interval = if self.all_open() { REFERENCE_CHECK_NS } else { REFERENCE_CHECK_CLOSED_NS };
            if now.saturating_sub(reference_checked_at) >= interval {
                reference_checked_at = now;
                waiting.add(ColdRequest::Instruments);
            }
            self.take_tasks(&mut waiting);
            match waiting.next() {
                None => std::thread::sleep(IDLE),
                Some(request) => self.serve(request),
            }
        }
    }

    /// Every instrument of the venue is open for trading, as far as reference data says.
    fn all_open(&self) -> bool {
        let mut ours = self.caller.instruments.iter().filter(|(_, i)| i.venue == self.venue);
        ours.all(|(_, i)| i.status == InstrumentStatus::Trading)
    }

    fn take_tasks(&mut self, waiting: &mut Waiting) {
        while let Some(task) = self.tasks.pop() {
            match task {
                ColdTask::None => {}
                ColdTask::Notice { len, text } => {
                    let text = String::from_utf8_lossy(&text[..usize::from(len).min(NOTICE_BYTES_MAX)]).into_owned();
                    self.log(Level::Warn, "venue_notice", &[("text", text.into())]);
                }
                ColdTask::Request(request) => waiting.add(request),
            }
        }
    }

    fn log(&self, level: Level, event: &str, fields: &[(&str, serde_json::Value)]) {
        let mut all = vec![("venue", self.caller.venue_name.clone().into())];
        all.extend_from_slice(fields);
        self.caller.log.now(level, event, &all);
    }

    fn serve(&mut self, request: ColdRequest) {
        let outcome = match request {
            ColdRequest::BookSnapshot { instrument } => self.book_snapshot(instrument),
            ColdRequest::Token { role } => self.token(role as u8),
            ColdRequest::OrderStatus { order, instrument } => self.order_status(order, instrument),
            ColdRequest::Reconcile => self.reconcile(),
            ColdRequest::Instruments => self.instruments(),
        };
        if let Err(reason) = outcome {
            self.log(Level::Error, "rest_failed", &[("request", format!("{request:?}").into()), ("reason", reason.into())]);
        }
    }

    /// Hands an event to the hot thread; waits while its ring is full.
    fn push(&mut self, event: Event) {
        while !self.results.push(event) {
            if self.caller.stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(IDLE);
        }
    }

    fn times() -> Times {
        Times { core_ns: wall_ns(), poll_delay_ns: 0 }
    }

    fn book_snapshot(&mut self, instrument: InstrumentId) -> Result<(), String> {
        let query = RestQuery::BookSnapshot { instrument, depth: self.snapshot_depth };
        let reply = self.caller.query(&query);
        let (sequence, bids, asks) = match reply {
            Ok(RestReply::BookSnapshot { sequence, bids, asks }) => (sequence, bids, asks),
            other => {
                let failed = Event::book_invalid(self.venue, instrument, BookInvalid::Initial, Self::times()).with(flags::COLD);
                self.push(failed);
                return Err(other.err().unwrap_or_else(|| "unexpected answer to a book snapshot".into()));
            }
        };
        let times = Self::times();
        let sides = bids.iter().map(|l| (Side::Buy, l)).chain(asks.iter().map(|l| (Side::Sell, l)));
        let count = bids.len() + asks.len();
        for (i, (side, &(price, qty))) in sides.enumerate() {
            let clear = if i == 0 { flags::CLEAR } else { 0 };
            let last = if i + 1 == count { flags::LAST } else { 0 };
            let level = Event::book_level(self.venue, instrument, side, price, qty, sequence, times);
            self.push(level.with(flags::COLD | flags::SNAPSHOT | clear | last));
        }
        if count == 0 {
            let empty = Event { instrument: instrument.0, c: sequence, ..Event::new(EventKind::BookTouch, self.venue, times) };
            self.push(empty.with(flags::COLD | flags::SNAPSHOT | flags::CLEAR | flags::LAST));
        }
        self.caller.counters.snapshots.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn token(&mut self, role: u8) -> Result<(), String> {
        let RestReply::Token(token) = self.caller.query(&RestQuery::StreamToken)? else {
            return Err("unexpected answer to a token request".into());
        };
        let pieces: Vec<&[u8]> = token.as_bytes().chunks(32).collect();
        for (i, piece) in pieces.iter().enumerate() {
            let mut words = [0u8; 32];
            words[..piece.len()].copy_from_slice(piece);
            let word = |at: usize| u64::from_le_bytes(words[at * 8..at * 8 + 8].try_into().unwrap_or_default());
            let mut event = Event::new(EventKind::ColdText, self.venue, Self::times());
            (event.side, event.code) = (role, piece.len() as u32);
            (event.a, event.b, event.c, event.d) = (word(0), word(1), word(2), word(3));
            event.flags = flags::COLD | if i + 1 == pieces.len() { flags::LAST } else { 0 };
            self.push(event);
        }
        Ok(())
    }

    fn working(&self) -> Vec<WorkingOrder> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner).working(self.venue)
    }

    fn order_status(&mut self, order: OrderId, instrument: InstrumentId) -> Result<(), String> {
        let Some(ours) = self.working().into_iter().find(|w| w.order == order && w.instrument == instrument) else {
            return Ok(()); // Final by now.
        };
        let events = query_order(self.venue, &ours, &mut self.caller, wall_ns()).map_err(|e| e.to_string())?;
        events.into_iter().for_each(|event| self.push(event));
        Ok(())
    }

    fn reconcile(&mut self) -> Result<(), String> {
        if !self.has_credentials {
            return Ok(());
        }
        // The stream's first reports may still be on their way through the journal.
        self.caller.sleep(200);
        let working = self.working();
        let events = reconcile(self.venue, &working, &mut self.caller, wall_ns()).map_err(|e| e.to_string())?;
        let open = events.last().map_or(0, |e| e.a);
        self.log(Level::Info, "reconciled", &[("working", working.len().into()), ("open_at_venue", open.into())]);
        events.into_iter().for_each(|event| self.push(event));
        self.caller.counters.reconciliations.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Fetches reference data again and reports what changed.
    fn instruments(&mut self) -> Result<(), String> {
        let ours: Vec<(InstrumentId, String)> =
            self.caller.instruments.iter().filter(|(_, i)| i.venue == self.venue).map(|(id, i)| (id, i.symbol.clone())).collect();
        let symbols = ours.iter().map(|(_, s)| s.clone()).collect();
        let RestReply::Instruments { instruments, quarantined } = self.caller.query(&RestQuery::Instruments { symbols })? else {
            return Err("unexpected answer to reference data".into());
        };
        for (symbol, reason) in &quarantined {
            self.log(Level::Warn, "instrument_quarantined", &[("symbol", symbol.clone().into()), ("reason", reason.clone().into())]);
        }
        // One that the venue has no more, or describes in a way that we do not understand, is not traded.
        for (id, symbol) in ours.iter().filter(|(_, symbol)| !instruments.iter().any(|fresh| fresh.symbol == *symbol)) {
            self.log(Level::Warn, "instrument_unknown", &[("symbol", symbol.clone().into())]);
            self.push(Event::instrument_status(self.venue, *id, InstrumentStatus::Unknown, Self::times()).with(flags::COLD));
            if let Some(held) = self.caller.instruments.get_mut(*id) {
                held.status = InstrumentStatus::Unknown;
            }
        }
        for fresh in instruments {
            let Some(&(id, _)) = ours.iter().find(|(_, s)| *s == fresh.symbol) else { continue };
            let Some(held) = self.caller.instruments.get(id).cloned() else { continue };
            if (fresh.price_scale, fresh.qty_scale) != (held.price_scale, held.qty_scale) {
                let symbol = fresh.symbol.clone();
                let hint = "the number of decimals changed: restart the engine to take it up";
                self.log(Level::Error, "instrument_scale_changed", &[("symbol", symbol.into()), ("hint", hint.into())]);
                continue;
            }
            let rules = (fresh.tick, fresh.lot, fresh.qty_min, fresh.notional_min);
            if rules != (held.tick, held.lot, held.qty_min, held.notional_min) {
                self.push(rules_event(self.venue, id, &fresh));
            }
            if fresh.status != held.status {
                self.push(Event::instrument_status(self.venue, id, fresh.status, Self::times()).with(flags::COLD));
            }
            if let Some(held) = self.caller.instruments.get_mut(id) {
                *held = fresh;
            }
        }
        Ok(())
    }

    /// Compares the venue's clock with ours, by the quickest of a few answers.
    fn check_clock(&mut self) {
        let mut best: Option<(u64, i64)> = None;
        for _ in 0..CLOCK_TRIES {
            let before = wall_ns();
            self.caller.counters.requests.fetch_add(1, Ordering::Relaxed);
            let answer = self.caller.try_once(&RestQuery::ServerTime);
            let after = wall_ns();
            if let Ok(RestReply::ServerTime(venue_ns)) = answer {
                let round_trip = after.saturating_sub(before);
                if best.is_none_or(|(quickest, _)| round_trip < quickest) {
                    best = Some((round_trip, clock_offset(venue_ns, before + round_trip / 2)));
                }
            } else {
                self.caller.counters.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        let Some((round_trip, offset)) = best else {
            return self.log(Level::Warn, "clock_not_compared", &[]);
        };
        let event = Event::command(CommandKind::ClockOffset, offset as u64, round_trip, Self::times());
        self.push(Event { venue: self.venue.0, ..event }.with(flags::COLD));
    }
}

/// How far the venue's clock is off ours at least, given that it showed `venue_ns` when ours showed `our_ns`. A
/// clock that shows whole seconds (or milliseconds) is only known to lie within that second; a codec may also
/// give the middle of such a second.
fn clock_offset(venue_ns: u64, our_ns: u64) -> i64 {
    const S: u64 = 1_000_000_000;
    let (begin, step) = match venue_ns % S {
        0 => (venue_ns, S),
        rest if rest == S / 2 => (venue_ns - S / 2, S),
        rest => (venue_ns, [1_000_000, 1_000].into_iter().find(|step| rest.is_multiple_of(*step)).unwrap_or(1)),
    };
    let end = begin.saturating_add(step);
    if our_ns < begin {
        i64::try_from(begin - our_ns).unwrap_or(i64::MAX)
    } else if our_ns > end {
        i64::try_from(our_ns - end).map_or(i64::MIN, |off| -off)
    } else {
        0
    }
}

/// The event that puts an instrument's new increments in force.
pub fn rules_event(venue: VenueId, id: InstrumentId, fresh: &engine_core::instrument::Instrument) -> Event {
    let mut event = Event::new(EventKind::InstrumentRules, venue, RestWorker::times());
    event.instrument = id.0;
    (event.a, event.b) = (fresh.tick.0 as u64, fresh.lot.0 as u64);
    (event.c, event.d) = (fresh.qty_min.0 as u64, fresh.notional_min.to_scaled(fresh.price_scale) as u64);
    event.with(flags::COLD | flags::LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_wait_once_and_what_brings_the_connections_back_comes_first() {
        let order = |sequence| ColdRequest::OrderStatus { order: OrderId::new(1, sequence), instrument: InstrumentId(0) };
        let token = ColdRequest::Token { role: venues::venue::Role::OrderEntry };
        let mut waiting = Waiting::default();
        for _ in 0..3 {
            for request in [order(2), order(1), ColdRequest::Reconcile, token] {
                waiting.add(request);
            }
        }
        let all: Vec<ColdRequest> = std::iter::from_fn(|| waiting.next()).collect();
        assert_eq!(all, [token, ColdRequest::Reconcile, order(2), order(1)]);
    }

    #[test]
    fn a_clock_of_whole_seconds_is_not_wrong_within_its_second() {
        const S: u64 = 1_000_000_000;
        let venue = 1_767_225_600 * S;
        assert_eq!(clock_offset(venue, venue + S / 2), 0);
        assert_eq!(clock_offset(venue, venue + S), 0);
        assert_eq!(clock_offset(venue, venue + 2 * S), -(S as i64), "ours is ahead");
        assert_eq!(clock_offset(venue, venue - 5), 5);
        assert_eq!(clock_offset(venue + S / 2, venue + 1), 0, "the middle stands for its second");
        assert_eq!(clock_offset(venue + S / 2, venue + S), 0);
        assert_eq!(clock_offset(venue + S / 2, venue - 7), 7);
        assert_eq!(clock_offset(venue + 123_000_000, venue + 123_900_000), 0, "a clock of whole milliseconds");
        assert_eq!(clock_offset(venue + 123_456_789, venue), 123_456_789);
        assert_eq!(clock_offset(1, u64::MAX), i64::MIN, "saturates");
    }
}
