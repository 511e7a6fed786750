//! Order entry and private reports over the WebSocket API.
//!
//! ```text
//! open --session.logon (Ed25519)--> --userDataStream.subscribe--> ready: orders go out, reports come in
//! ```
//!
//! Answers (matched by request id) and the events of the user-data stream arrive on one socket in any
//! order; both say what became of an order, and both are given out: the core takes repetition and
//! overtaking. Two things are not left to the core: a replacement reported twice is given out once, and a
//! report about an order of ours that cannot be read puts that order in doubt (`OrderUncertain`, and the
//! cold plane asks for it) instead of being lost.
//!
//! What nobody knows is never taken for a refusal: no answer in time, a connection that is gone, HTTP 5xx,
//! -1006 and -1007 all give `OrderUncertain`. What an order became is asked for with `order.status`; fills
//! and the proof that an order never arrived are the cold plane's to fetch.
//!
//! A peer that is gone without a word leaves a connection that takes everything and answers nothing, and the idle
//! limit notices that only after 50 s. So when a request has waited `SILENCE_NS` and no other was answered in that time
//! either, the codec asks for a planned renewal ([`OrderEntry::take_closing`]): once per connection, and not again within
//! `SILENCE_AGAIN_NS`, for if it is the venue that is slow, another new connection would not be quicker, and no orders
//! go out while it logs on. What became of the requests is for their time-out, or the end of the old connection, to say.
//!
//! While a renewed connection logs on, orders are refused (`NotConnected`): the venue would take them for
//! those of a stranger. Reports still come in over the old one.

use super::auth::{SIGNATURE_MAX, Signer};
use super::events::{acknowledgement, emit_balances, emit_report, emit_state, order_status};
use super::limits::{Cost, RateLedger};
use super::market_data::Tools;
use super::reports::{
    Answer, BadField, Execution, OrderAnswer, OrderState, Private, Refusal, Report, Resolved, Stranger, Subject, Tables, balances,
    is_outcome_unknown, parse, reject_reason,
};
use super::requests::{Asked, ID_LEN, Request, Requests};
use super::templates::{Kind, SymbolTemplates, timestamp_ms};
use super::working::WorkingOrders;
use crate::links::LinkSet;
use crate::names::Names;
use crate::notice::Digits;
use crate::outbox::{ColdRequest, Outbox};
use crate::symbols::SymbolIndex;
use crate::venue::{ExecuteError, Link, Role, VenueCounters};
use engine_core::event::{Event, EventKind, EventSink, FeedState, RejectReason, Times, VenueOrderStatus, flags};
use engine_core::fixed::Money;
use engine_core::ids::{AssetId, InstrumentId, OrderId, VenueId};

/// Orders that are remembered.
const WORKING_MAX: usize = 8_192;
/// Balances in one message; more are passed over.
const BALANCES_MAX: usize = 256;
/// A request that has no answer by then is uncertain. The venue's own engine gives up after 10 s.
const ANSWER_TIMEOUT_NS: u64 = 10_000_000_000;
/// A connection that answers nothing for so long while an order request waits is taken for dead. Answers come within
/// tens of milliseconds; a segment that is lost three times in a row, sent again each time after twice the wait, costs
/// less than two seconds. Far below the 10 s of [`ANSWER_TIMEOUT_NS`] and the 50 s of the idle limit.
///
/// A log-on gets its whole [`ANSWER_TIMEOUT_NS`]: a venue that is slow to log on would else never finish with one.
const SILENCE_NS: u64 = 3_000_000_000;
/// Renewals because of silence are at least so far apart: even if each log-on takes seconds, little time goes by without
/// order entry.
const SILENCE_AGAIN_NS: u64 = 30_000_000_000;
const LOG_ON_BACKOFF_MIN_NS: u64 = 500_000_000;
const LOG_ON_BACKOFF_MAX_NS: u64 = 60_000_000_000;

/// An id of the usual length, for rehearsals.
const VENUE_ID_FOR_PRACTICE: u64 = 10_000_000_000;

/// How far the newest connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// No connection.
    Closed,
    /// To be logged on at this time.
    LogOnDue(u64),
    /// `session.logon` is on its way.
    LoggingOn,
    /// To be subscribed at this time.
    SubscribeDue(u64),
    /// `userDataStream.subscribe` is on its way.
    Subscribing,
    /// Orders go out, reports come in.
    Ready,
}

/// The order-entry side of the codec.
pub struct OrderEntry {
    venue: VenueId,
    api_key: Box<str>,
    signer: Signer,
    symbols: SymbolIndex,
    /// Place of an instrument in `symbols`, by instrument id; `usize::MAX` if it is another venue's.
    places: Vec<usize>,
    templates: Vec<SymbolTemplates>,
    names: Names,
    requests: Requests,
    working: WorkingOrders,
    balances: Vec<(AssetId, Money, Money)>,
    links: LinkSet,
    stage: Stage,
    failures: u32,
    up: bool,
    closing: bool,
    /// When the newest connection last answered a request.
    answered_ns: u64,
    /// The last connection that a renewal was asked for because of its silence, and when.
    silent: Option<(u32, u64)>,
    /// Next symbol of a cancel of everything; `usize::MAX` if none is under way.
    cancel_all_at: usize,
    /// While a command is executed for practice: what it changes.
    before: Option<Before>,
}

/// What executing a command changes, as it was before.
struct Before {
    ledger: RateLedger,
    counters: VenueCounters,
    next_id: u32,
}

impl OrderEntry {
    /// For these symbols and this account. The caller has checked that symbols and key need no escaping.
    pub fn new(
        venue: VenueId,
        symbols: SymbolIndex,
        names: Names,
        api_key: &str,
        signer: Signer,
        window_ms: u32,
        epoch: u16,
    ) -> OrderEntry {
        let instruments = symbols.symbols().iter().map(|s| s.instrument.index() + 1).max().unwrap_or(0);
        let mut places = vec![usize::MAX; instruments];
        for (at, symbol) in symbols.symbols().iter().enumerate() {
            places[symbol.instrument.index()] = at;
        }
        OrderEntry {
            venue,
            api_key: api_key.into(),
            signer,
            templates: symbols.symbols().iter().map(|s| SymbolTemplates::new(&s.text, window_ms)).collect(),
            symbols,
            places,
            names,
            requests: Requests::new(epoch),
            working: WorkingOrders::new(WORKING_MAX),
            balances: Vec::with_capacity(BALANCES_MAX),
            links: LinkSet::default(),
            stage: Stage::Closed,
            failures: 0,
            up: false,
            closing: false,
            answered_ns: 0,
            silent: None,
            cancel_all_at: usize::MAX,
            before: None,
        }
    }

    /// True once the newest connection is logged on and reporting.
    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Ready && self.links.newest_ready()
    }

    /// True once after the server said that it will close the newest connection, and once when that answers nothing.
    pub fn take_closing(&mut self) -> bool {
        core::mem::take(&mut self.closing)
    }

    fn place(&self, instrument: InstrumentId) -> Option<usize> {
        self.places.get(instrument.index()).copied().filter(|&at| at < self.templates.len())
    }

    /// A connection is open: log on.
    pub fn on_open(&mut self, link: Link, times: Times, tools: &mut Tools<'_>) {
        self.links.open(link.generation);
        self.closing = false;
        self.failures = 0;
        self.stage = Stage::LogOnDue(times.core_ns);
        self.advance(times.core_ns, tools);
    }

    /// A connection is gone: what was on its way over it is uncertain.
    pub fn on_close(&mut self, link: Link, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        let newest = self.links.newest() == Some(link.generation);
        self.links.close(link.generation);
        while let Some(request) = self.requests.take_of(link.generation) {
            self.unanswered(&request, times, sink, tools);
        }
        if newest {
            self.stage = match self.links.newest_ready() {
                true => Stage::Ready,
                false if self.links.newest().is_some() => Stage::LogOnDue(times.core_ns),
                false => Stage::Closed,
            };
        }
        self.report_down(times, sink);
    }

    /// Reports the stream down if no connection reports any longer.
    fn report_down(&mut self, times: Times, sink: &mut impl EventSink) {
        if self.up && !self.links.any_ready() {
            self.up = false;
            sink.event(&Event::feed_status(self.venue, Role::OrderEntry as u8, FeedState::Down, times));
        }
    }

    /// Sends what the session needs next, if it is due.
    fn advance(&mut self, now_ns: u64, tools: &mut Tools<'_>) {
        let Some(generation) = self.links.newest() else { return };
        let (asked, next) = match self.stage {
            Stage::LogOnDue(due_ns) if now_ns >= due_ns => (Asked::LogOn, Stage::LoggingOn),
            Stage::SubscribeDue(due_ns) if now_ns >= due_ns => (Asked::Subscribe, Stage::Subscribing),
            _ => return,
        };
        if !tools.ledger.admit(Cost::Session, now_ns) {
            return;
        }
        let request = Request { asked, order: OrderId::NONE, symbol: 0, sent_ns: now_ns, generation };
        let Some(id) = self.requests.add(request) else { return };
        let sent = match asked {
            Asked::LogOn => tools.out.send(Role::OrderEntry, |space| self.write_log_on(space, &id, now_ns)),
            _ => tools.out.send(Role::OrderEntry, |space| write_subscribe(space, &id)),
        };
        match sent {
            true => self.stage = next,
            false => self.requests.withdraw(&id),
        }
    }

    /// `session.logon`: the one request that is signed; the payload's parameters are in order of name.
    fn write_log_on(&self, space: &mut [u8], id: &[u8; ID_LEN], now_ns: u64) -> Option<usize> {
        let mut number = itoa::Buffer::new();
        let timestamp = number.format(timestamp_ms(now_ns)).as_bytes();
        let key = self.api_key.as_bytes();
        let mut payload = [0; 256];
        let len = join(&mut payload, &[b"apiKey=", key, b"&timestamp=", timestamp])?;
        let mut signature = [0; SIGNATURE_MAX];
        let signed = self.signer.sign(&payload[..len], &mut signature)?;
        let (head, key_at) = (b"{\"id\":\"", b"\",\"method\":\"session.logon\",\"params\":{\"apiKey\":\"");
        join(space, &[head, id, key_at, key, b"\",\"timestamp\":", timestamp, b",\"signature\":\"", &signature[..signed], b"\"}}"])
    }

    /// The session could not be logged on or subscribed: again, after a wait that doubles.
    fn session_failed(&mut self, now_ns: u64) {
        let wait_ns = LOG_ON_BACKOFF_MIN_NS.saturating_mul(1 << self.failures.min(16)).min(LOG_ON_BACKOFF_MAX_NS);
        self.failures = self.failures.saturating_add(1);
        let due_ns = now_ns.saturating_add(wait_ns);
        self.stage = match self.stage {
            Stage::Closed => Stage::Closed,
            Stage::Subscribing => Stage::SubscribeDue(due_ns),
            _ => Stage::LogOnDue(due_ns),
        };
    }

    /// A message.
    #[inline]
    pub fn on_message(&mut self, link: Link, payload: &[u8], times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        match parse(payload) {
            Ok(Private::Report(report)) => self.on_report(&report, times, sink, tools),
            Ok(Private::Answer(answer)) => self.on_answer(link, answer, times, sink, tools),
            Ok(Private::Position { balances, time_ns }) => self.on_position(balances, time_ns, times, sink, tools),
            Ok(Private::Terminated) => self.on_terminated(link, times, sink, tools),
            Ok(Private::Shutdown) => {
                self.closing |= self.links.newest() == Some(link.generation);
                tools.notice.set(&[b"the venue will shut down this order connection"]);
            }
            Ok(Private::Unused(_)) => {}
            Ok(Private::Unknown) => tools.counters.unknown_messages += 1,
            Err(_) => {
                tools.counters.malformed += 1;
                tools.notice.set(&[b"order message cannot be read: ", payload]);
                // A report may have been in it.
                tools.out.request(ColdRequest::Reconcile);
            }
        }
    }

    /// The subscription has ended while the connection is up: subscribe again, and catch up.
    #[cold]
    fn on_terminated(&mut self, link: Link, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        tools.notice.set(&[b"the user-data subscription has ended"]);
        self.links.set_ready(link.generation, false);
        if self.links.newest() == Some(link.generation) {
            self.stage = Stage::SubscribeDue(times.core_ns);
            self.advance(times.core_ns, tools);
        }
        self.report_down(times, sink);
    }

    #[inline]
    fn on_report(&mut self, report: &Report<'_>, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        let subject = match report.subject(&mut Tables { symbols: &mut self.symbols, names: &mut self.names }) {
            Ok(subject) => subject,
            Err(stranger) => {
                // Another client of the account may trade a lot: counted, not said each time.
                match stranger {
                    Stranger::Order => tools.counters.uncorrelated += 1,
                    Stranger::Symbol => tools.counters.unknown_symbols += 1,
                }
                return;
            }
        };
        match report.resolve(&subject, &mut self.names) {
            Ok(resolved) => self.give_out(&subject, &resolved, times, sink, tools),
            Err(BadField(field)) => self.doubtful(&subject, field, times, sink, tools),
        }
    }

    /// Something about an order of ours makes no sense: it is in doubt, and the cold plane asks for it.
    #[cold]
    fn doubtful(&mut self, subject: &Subject, field: &'static str, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        tools.counters.unknown_values += 1;
        tools.notice.set(&[b"report cannot be read: order ", &subject.order.to_text(), b", field ", field.as_bytes()]);
        let event = Event::order_report(EventKind::OrderUncertain, self.venue, subject.instrument, subject.order, times);
        sink.event(&event.with(flags::LAST));
        tools.out.request(ColdRequest::OrderStatus { order: subject.order, instrument: subject.instrument });
    }

    fn give_out(&mut self, subject: &Subject, resolved: &Resolved, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        let order = subject.order;
        let known = self.working.get_mut(order);
        let mut repeated = false;
        if let Some(known) = known {
            if resolved.venue_id != 0 {
                known.venue_id = resolved.venue_id;
            }
            repeated = known.qty == resolved.qty;
            known.qty = resolved.qty;
        }
        if resolved.status != VenueOrderStatus::Open {
            self.working.remove(order);
        }
        if resolved.execution == Execution::Replaced && repeated {
            return;
        }
        if resolved.fill.is_some_and(|fill| fill.fee_unknown) {
            tools.counters.unknown_values += 1;
            tools.notice.set(&[b"fee in an asset that is not in the table: order ", &order.to_text()]);
        }
        emit_report(self.venue, subject, resolved, times, sink);
    }

    fn on_position(
        &mut self,
        rows: crate::json::Scanner<'_>,
        time_ns: u64,
        times: Times,
        sink: &mut impl EventSink,
        tools: &mut Tools<'_>,
    ) {
        self.balances.clear();
        let kept = &mut self.balances;
        let read = balances(rows, &mut self.names, |asset, total, free| {
            if kept.len() < BALANCES_MAX {
                kept.push((asset, total, free));
            }
        });
        // Assets that no instrument of ours has are of no concern.
        if read.is_err() {
            tools.counters.malformed += 1;
            return;
        }
        emit_balances(self.venue, &self.balances, time_ns, times, sink);
    }

    #[inline]
    fn on_answer(&mut self, link: Link, answer: Answer<'_>, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        if let Some(limits) = &answer.rate_limits
            && tools.ledger.read(&mut limits.clone(), times.core_ns).is_err()
        {
            tools.counters.malformed += 1;
        }
        if self.links.newest() == Some(link.generation) {
            self.answered_ns = times.core_ns;
        }
        let Some(request) = self.requests.take(answer.id) else {
            self.on_stray(link, &answer, times, sink, tools);
            return;
        };
        if let Some(refusal) = answer.refusal {
            tools.counters.venue_errors += 1;
            self.on_refusal(&request, answer.status, &refusal, times, sink, tools);
            return;
        }
        match request.asked {
            Asked::LogOn | Asked::Subscribe => self.on_session(&request, answer.status, times, sink, tools),
            // The user-data stream reports each order.
            Asked::CancelAll => {}
            Asked::Place | Asked::Cancel | Asked::Amend | Asked::Query => {
                let parsed = answer.result.map(OrderAnswer::parse);
                match parsed {
                    Some(Ok(Some(result))) if answer.status == 200 => self.on_result(&request, &result, times, sink, tools),
                    _ => self.doubtful(&self.subject(&request), "result", times, sink, tools),
                }
            }
        }
    }

    /// An answer that belongs to no request: an error about the session as a whole, or one that came too late.
    #[cold]
    fn on_stray(&mut self, link: Link, answer: &Answer<'_>, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        tools.counters.uncorrelated += 1;
        let Some(refusal) = answer.refusal else { return };
        tools.counters.venue_errors += 1;
        let mut digits = Digits::new();
        tools.notice.set(&[b"the venue says: ", refusal.text, b" (code ", digits.of(refusal.code), b")"]);
        apply_wait(tools.ledger, answer.status, &refusal, times.core_ns);
        if answer.status == 401 {
            self.session_lost(link.generation, times, sink);
        }
    }

    /// The venue no longer takes us for logged on (the key was revoked, the session has ended).
    #[cold]
    fn session_lost(&mut self, generation: u32, times: Times, sink: &mut impl EventSink) {
        if self.links.newest() == Some(generation) {
            self.links.set_ready(generation, false);
            self.stage = Stage::LoggingOn;
            self.session_failed(times.core_ns);
            self.report_down(times, sink);
        }
    }

    /// The session is logged on, or subscribed.
    #[cold]
    fn on_session(&mut self, request: &Request, status: u64, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        if self.links.newest() != Some(request.generation) {
            return;
        }
        if status != 200 {
            self.session_failed(times.core_ns);
            return;
        }
        if request.asked == Asked::LogOn {
            self.stage = Stage::SubscribeDue(times.core_ns);
            self.advance(times.core_ns, tools);
            return;
        }
        self.stage = Stage::Ready;
        self.failures = 0;
        // Another connection that reported all along leaves no gap to catch up on.
        if !self.links.any_ready() {
            tools.out.request(ColdRequest::Reconcile);
        }
        self.links.set_ready(request.generation, true);
        if !core::mem::replace(&mut self.up, true) {
            sink.event(&Event::feed_status(self.venue, Role::OrderEntry as u8, FeedState::Up, times));
        }
    }

    fn subject(&self, request: &Request) -> Subject {
        // Requests about orders are made with places that exist.
        let symbol = &self.symbols.symbols()[request.symbol];
        let scales = (symbol.price_scale, symbol.qty_scale);
        Subject { order: request.order, symbol: request.symbol, instrument: symbol.instrument, scales }
    }

    #[inline]
    fn on_result(&mut self, request: &Request, result: &OrderAnswer<'_>, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        let subject = self.subject(request);
        if request.asked == Asked::Place {
            if let Some(known) = self.working.get_mut(request.order) {
                known.venue_id = result.venue_id();
            }
            sink.event(&acknowledgement(self.venue, &subject, result.time_ns(), times).with(flags::LAST));
            return;
        }
        let changed = |state: OrderState| if request.asked == Asked::Query { Ok(state) } else { state.changed() };
        let state = match result.resolve(subject.scales).and_then(changed) {
            Ok(state) => state,
            Err(BadField(field)) => return self.doubtful(&subject, field, times, sink, tools),
        };
        let mut repeated = false;
        if state.status != VenueOrderStatus::Open {
            self.working.remove(request.order);
        } else if let Some(known) = self.working.get_mut(request.order) {
            repeated = request.asked == Asked::Amend && known.qty == state.qty;
            known.qty = state.qty;
        }
        if repeated {
            return;
        }
        if request.asked == Asked::Query {
            let event = order_status(self.venue, &subject, &state, times);
            sink.event(&event.with(flags::LAST));
            // The answer counts fills; it does not list them.
            if state.filled > 0 {
                tools.out.request(ColdRequest::OrderStatus { order: subject.order, instrument: subject.instrument });
            }
            return;
        }
        emit_state(self.venue, &subject, &state, times, sink);
    }

    /// A refusal: of the order, of the cancel, of the amendment; or nobody knows.
    #[cold]
    fn on_refusal(
        &mut self,
        request: &Request,
        status: u64,
        refusal: &Refusal<'_>,
        times: Times,
        sink: &mut impl EventSink,
        tools: &mut Tools<'_>,
    ) {
        let reason = reject_reason(refusal.code, refusal.text);
        apply_wait(tools.ledger, status, refusal, times.core_ns);
        use RejectReason::{InvalidPrice, InvalidQuantity, MarketClosed, Notional};
        if matches!(reason, MarketClosed | InvalidPrice | InvalidQuantity | Notional) {
            tools.ask_rules(times.core_ns);
        }
        let unknown_on_cancel_all = request.asked == Asked::CancelAll && reason == RejectReason::UnknownOrder;
        if !unknown_on_cancel_all {
            let mut digits = Digits::new();
            tools.notice.set(&[b"refused: ", refusal.text, b" (code ", digits.of(refusal.code), b") ", &request.order.to_text()]);
        }
        if !request.asked.is_of_order() {
            if request.asked != Asked::CancelAll && self.links.newest() == Some(request.generation) {
                // Already subscribed is as good as subscribed.
                match (request.asked, refusal.code) {
                    (Asked::Subscribe, -2035) => self.on_session(request, 200, times, sink, tools),
                    (Asked::Subscribe, -2015) => {
                        self.stage = Stage::LoggingOn;
                        self.session_failed(times.core_ns);
                    }
                    _ => self.session_failed(times.core_ns),
                }
            }
            return;
        }
        let subject = self.subject(request);
        let kind = match request.asked {
            _ if is_outcome_unknown(status, refusal.code) => EventKind::OrderUncertain,
            Asked::Place => EventKind::OrderReject,
            Asked::Cancel => EventKind::CancelReject,
            Asked::Amend => EventKind::ReplaceReject,
            _ => {
                // Not to be found yet, or no budget: the cold plane knows when silence is evidence.
                tools.out.request(ColdRequest::OrderStatus { order: subject.order, instrument: subject.instrument });
                return;
            }
        };
        if kind == EventKind::OrderReject {
            self.working.remove(request.order);
        }
        if kind == EventKind::OrderUncertain && request.asked == Asked::Query {
            tools.out.request(ColdRequest::OrderStatus { order: subject.order, instrument: subject.instrument });
            return;
        }
        let reason = if kind == EventKind::OrderUncertain { RejectReason::Other } else { reason };
        let event = Event::refusal(kind, self.venue, subject.instrument, subject.order, reason, times);
        sink.event(&event.with(flags::LAST));
        if status == 401 {
            self.session_lost(request.generation, times, sink);
        }
    }

    /// A request that got no answer.
    #[cold]
    fn unanswered(&mut self, request: &Request, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        if !request.asked.is_of_order() {
            if request.asked != Asked::CancelAll && self.links.newest() == Some(request.generation) {
                self.session_failed(times.core_ns);
            }
            return;
        }
        let Subject { order, instrument, .. } = self.subject(request);
        if request.asked == Asked::Query {
            tools.out.request(ColdRequest::OrderStatus { order, instrument });
            return;
        }
        sink.event(&Event::order_report(EventKind::OrderUncertain, self.venue, instrument, order, times).with(flags::LAST));
    }

    /// Time went by: log-on after a wait, requests without an answer, the rest of a cancel of everything.
    pub fn on_timer(&mut self, times: Times, sink: &mut impl EventSink, tools: &mut Tools<'_>) {
        self.advance(times.core_ns, tools);
        self.watch_silence(times.core_ns, tools);
        let before_ns = times.core_ns.saturating_sub(ANSWER_TIMEOUT_NS);
        while let Some(request) = self.requests.take_older(before_ns) {
            self.unanswered(&request, times, sink, tools);
        }
        self.pump_cancel_all(times.core_ns, tools.ledger, tools.out, tools.counters);
    }

    /// Asks for a renewal if the newest connection answers nothing. Requests over an older one come first in the ring:
    /// then a renewal is under way already.
    fn watch_silence(&mut self, now_ns: u64, tools: &mut Tools<'_>) {
        let Some(request) = self.requests.oldest() else { return };
        let limit_ns = if matches!(request.asked, Asked::LogOn | Asked::Subscribe) { ANSWER_TIMEOUT_NS } else { SILENCE_NS };
        let silent = now_ns.saturating_sub(request.sent_ns.max(self.answered_ns)) >= limit_ns;
        let newest = self.links.newest() == Some(request.generation);
        let asked = self
            .silent
            .is_some_and(|(generation, at_ns)| generation == request.generation || now_ns.saturating_sub(at_ns) < SILENCE_AGAIN_NS);
        if silent && newest && !asked {
            self.silent = Some((request.generation, now_ns));
            self.closing = true;
            tools.notice.set(&[b"the order connection answers nothing: asking for a new one"]);
        }
    }

    /// Puts an output of the core on the wire. Not inlined: a rehearsal must go through the very same code.
    #[inline(never)]
    pub fn execute(
        &mut self,
        command: &Event,
        times: Times,
        ledger: &mut RateLedger,
        counters: &mut VenueCounters,
        out: &mut Outbox,
    ) -> Result<(), ExecuteError> {
        match command.event_kind() {
            Some(EventKind::SendNew) => self.send_new(command, times, ledger, counters, out),
            Some(EventKind::SendCancel) => {
                let at = self.place(command.instrument_id()).ok_or(ExecuteError::Unknown)?;
                let order = command.order_id();
                let venue_id = self.working.get(order).map_or(0, |known| known.venue_id);
                let templates = &self.templates[at];
                let write = |space: &mut [u8], id: &[u8; ID_LEN]| templates.cancel(space, id, order, venue_id, times.core_ns);
                let generation = self.generation()?;
                let request = Request { asked: Asked::Cancel, order, symbol: at, sent_ns: times.core_ns, generation };
                send(&mut self.requests, request, Cost::Cancel, ledger, counters, out, write)
            }
            Some(EventKind::SendReplace) => self.send_replace(command, times, ledger, counters, out),
            Some(EventKind::SendCancelAll) => {
                self.generation()?;
                self.cancel_all_at = 0;
                self.pump_cancel_all(times.core_ns, ledger, out, counters);
                Ok(())
            }
            Some(EventKind::SendQuery) => self.send_query(command, times, ledger, counters, out),
            _ => Err(ExecuteError::Unsupported),
        }
    }

    /// Reads what is remembered of an order.
    pub fn touch(&self, order: OrderId) {
        core::hint::black_box(self.working.get(order).copied());
    }

    /// Takes down what executing the command changes: the request, what was spent, the order. False if it is none to
    /// rehearse with.
    pub fn begin_rehearsal(&mut self, command: &Event, ledger: &RateLedger, counters: &VenueCounters) -> bool {
        use EventKind::{SendCancel, SendNew, SendReplace};
        let order = command.order_id();
        if !matches!(command.event_kind(), Some(SendNew | SendCancel | SendReplace)) || self.working.get(order).is_some() {
            return false;
        }
        self.before = Some(Before { ledger: ledger.clone(), counters: *counters, next_id: self.requests.next_id() });
        // A cancel or an amendment is of an order that the venue has given an id.
        if command.event_kind() != Some(SendNew)
            && let Some(known) = self.working.entry(order)
        {
            known.venue_id = VENUE_ID_FOR_PRACTICE;
        }
        true
    }

    /// Takes back what was executed since.
    pub fn end_rehearsal(&mut self, command: &Event, ledger: &mut RateLedger, counters: &mut VenueCounters) {
        let Some(before) = self.before.take() else { return };
        self.working.remove(command.order_id());
        self.requests.rewind(before.next_id);
        (*ledger, *counters) = (before.ledger, before.counters);
    }

    /// The connection that orders may go to.
    #[inline]
    fn generation(&self) -> Result<u32, ExecuteError> {
        self.links.newest().filter(|_| self.stage == Stage::Ready).ok_or(ExecuteError::NotConnected)
    }

    #[inline]
    fn send_new(
        &mut self,
        command: &Event,
        times: Times,
        ledger: &mut RateLedger,
        counters: &mut VenueCounters,
        out: &mut Outbox,
    ) -> Result<(), ExecuteError> {
        let generation = self.generation()?;
        let at = self.place(command.instrument_id()).ok_or(ExecuteError::Unknown)?;
        let side = command.side().ok_or(ExecuteError::Unknown)?;
        let kind = match (command.has(flags::POST_ONLY), command.has(flags::IOC)) {
            (true, true) => return Err(ExecuteError::Unsupported),
            (true, false) => Kind::PostOnly,
            (false, true) => Kind::Ioc,
            (false, false) => Kind::Limit,
        };
        let symbol = &self.symbols.symbols()[at];
        let (order, price, qty) = (command.order_id(), command.order_price().0, command.order_qty().0);
        let (price_at, qty_at) = ((price, symbol.price_scale), (qty, symbol.qty_scale));
        let templates = &self.templates[at];
        let write = |space: &mut [u8], id: &[u8; ID_LEN]| templates.place(space, id, order, (side, kind), price_at, qty_at, times.core_ns);
        let request = Request { asked: Asked::Place, order, symbol: at, sent_ns: times.core_ns, generation };
        send(&mut self.requests, request, Cost::Place, ledger, counters, out, write)?;
        if let Some(known) = self.working.entry(order) {
            (known.price, known.qty) = (price, qty);
        }
        Ok(())
    }

    fn send_replace(
        &mut self,
        command: &Event,
        times: Times,
        ledger: &mut RateLedger,
        counters: &mut VenueCounters,
        out: &mut Outbox,
    ) -> Result<(), ExecuteError> {
        let at = self.place(command.instrument_id()).ok_or(ExecuteError::Unknown)?;
        let (order, price, qty) = (command.order_id(), command.order_price().0, command.order_qty().0);
        // The venue can only make an order smaller.
        let same_price = self.working.get(order).is_none_or(|known| known.price == 0 || known.price == price);
        if !same_price || qty <= 0 || qty >= command.d as i64 {
            return Err(ExecuteError::Unsupported);
        }
        let generation = self.generation()?;
        let scale = self.symbols.symbols()[at].qty_scale;
        let templates = &self.templates[at];
        let write = |space: &mut [u8], id: &[u8; ID_LEN]| templates.amend(space, id, order, (qty, scale), times.core_ns);
        let request = Request { asked: Asked::Amend, order, symbol: at, sent_ns: times.core_ns, generation };
        send(&mut self.requests, request, Cost::Amend, ledger, counters, out, write)
    }

    /// Over the session if it is up, else (or when the budget is spent) the cold plane asks.
    #[cold]
    fn send_query(
        &mut self,
        command: &Event,
        times: Times,
        ledger: &mut RateLedger,
        counters: &mut VenueCounters,
        out: &mut Outbox,
    ) -> Result<(), ExecuteError> {
        let (order, instrument) = (command.order_id(), command.instrument_id());
        let at = self.place(instrument).ok_or(ExecuteError::Unknown)?;
        if let Ok(generation) = self.generation() {
            let templates = &self.templates[at];
            let write = |space: &mut [u8], id: &[u8; ID_LEN]| templates.query(space, id, order, times.core_ns);
            let request = Request { asked: Asked::Query, order, symbol: at, sent_ns: times.core_ns, generation };
            if send(&mut self.requests, request, Cost::Query, ledger, counters, out, write).is_ok() {
                return Ok(());
            }
        }
        if out.request(ColdRequest::OrderStatus { order, instrument }) { Ok(()) } else { Err(ExecuteError::Full) }
    }

    /// The venue cancels by symbol: one request for each, as far as budget and room go; the timer goes on.
    fn pump_cancel_all(&mut self, now_ns: u64, ledger: &mut RateLedger, out: &mut Outbox, counters: &mut VenueCounters) {
        let Ok(generation) = self.generation() else { return };
        while let Some(templates) = self.templates.get(self.cancel_all_at) {
            let symbol = self.cancel_all_at;
            let request = Request { asked: Asked::CancelAll, order: OrderId::NONE, symbol, sent_ns: now_ns, generation };
            let write = |space: &mut [u8], id: &[u8; ID_LEN]| templates.cancel_all(space, id, now_ns);
            if send(&mut self.requests, request, Cost::Cancel, ledger, counters, out, write).is_err() {
                return;
            }
            self.cancel_all_at += 1;
        }
        self.cancel_all_at = usize::MAX;
    }

    /// An order that survived a restart.
    pub fn adopt(&mut self, order: OrderId, venue_order_id: Option<&str>) {
        if let Some(known) = self.working.entry(order) {
            known.venue_id = venue_order_id.and_then(|text| super::reports::digits(text.as_bytes())).unwrap_or(0);
        }
    }
}

/// Spends, notes and queues one request; on an error nothing is left behind but what was spent.
#[inline]
fn send(
    requests: &mut Requests,
    request: Request,
    cost: Cost,
    ledger: &mut RateLedger,
    counters: &mut VenueCounters,
    out: &mut Outbox,
    write: impl FnOnce(&mut [u8], &[u8; ID_LEN]) -> Option<usize>,
) -> Result<(), ExecuteError> {
    let id = requests.add(request).ok_or(ExecuteError::Full)?;
    if !ledger.admit(cost, request.sent_ns) {
        requests.withdraw(&id);
        counters.rate_limited += 1;
        return Err(ExecuteError::RateLimited);
    }
    if !out.send(Role::OrderEntry, |space| write(space, &id)) {
        requests.withdraw(&id);
        return Err(ExecuteError::Full);
    }
    counters.requests += 1;
    Ok(())
}

/// What the venue said about waiting goes into the budget.
fn apply_wait(ledger: &mut RateLedger, status: u64, refusal: &Refusal<'_>, now_ns: u64) {
    if refusal.code == -1015 {
        ledger.block_orders(refusal.retry_ns, now_ns);
    } else if matches!(status, 418 | 429) || refusal.code == -1003 {
        // Without a time: to the end of the minute.
        let minute_ns = 60_000_000_000;
        let next = (now_ns / minute_ns + 1) * minute_ns;
        ledger.block_all(if refusal.retry_ns == 0 { next } else { refusal.retry_ns });
    }
}

fn write_subscribe(space: &mut [u8], id: &[u8; ID_LEN]) -> Option<usize> {
    join(space, &[b"{\"id\":\"", id, b"\",\"method\":\"userDataStream.subscribe\"}"])
}

/// Writes pieces one after the other; how many bytes.
fn join(space: &mut [u8], pieces: &[&[u8]]) -> Option<usize> {
    let mut at = 0;
    for piece in pieces {
        space.get_mut(at..at + piece.len())?.copy_from_slice(piece);
        at += piece.len();
    }
    Some(at)
}
