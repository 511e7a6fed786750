//! Order entry: requests out, answers in.
//!
//! - **Correlation.** Every request has a `req_id` that indexes a ring of requests; a refusal carries nothing else.
//! - **Order of requests.** The venue does not work off requests about one order in the order in which they
//!   were sent. A cancel that is wanted while the order itself or an amend is on its way waits for that answer.
//! - **Deadline.** Every new order and amend carries a deadline. After it the venue will not take the request any more;
//!   so a request without an answer a little later than that is reported uncertain, and an order that
//!   REST does not know then does not exist.
//! - **An answer is not the whole truth.** A post-only order is answered with success and cancelled when it would take:
//!   it counts as accepted once `executions` says `new`.

use super::executions::Reports;
use super::limits::{Cost, RateLedger};
use super::message::{Envelope, MinuteText, TIME_TEXT_LEN};
use super::private::Private;
use super::tracked::{InFlight, Tracked};
use super::writer::Writer;
use super::{Cx, S};
use crate::json::{JsonError, Scanner};
use crate::limits::Leaky;
use crate::outbox::{ColdRequest, Outbox};
use crate::venue::{ExecuteError, Role, VenueCounters};
use engine_core::event::{Event, EventKind, EventSink, RejectReason, Side, flags};
use engine_core::ids::{InstrumentId, OrderId};

/// Requests that can be on their way at once.
const REQUESTS_MAX: usize = 1_024;
/// The first id of an order request; smaller ones are the session's.
const ID_FIRST: u64 = 1_000;
/// Milliseconds that a request stays good for, unless configured.
const WINDOW_MS: u64 = 2_000;
const WINDOW_MS_MIN: u64 = 500;
const WINDOW_MS_MAX: u64 = 60_000;
/// An answer comes at most so much later than the deadline, or not at all.
const ANSWER_GRACE_NS: u64 = S;

/// What a request asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ask {
    Add,
    Amend,
    Cancel,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answered {
    /// Not yet.
    No,
    /// Reported uncertain; an answer may still come.
    TooLate,
    /// Yes, or the slot was never used.
    Yes,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    id: u64,
    ask: Ask,
    order: OrderId,
    instrument: InstrumentId,
    sent_ns: u64,
    answered: Answered,
}

/// Requests on their way, by id.
struct Requests {
    ring: Box<[Request]>,
    next_id: u64,
    /// Every request before this one is settled.
    oldest_id: u64,
}

impl Requests {
    fn new() -> Requests {
        let none = Request { id: 0, ask: Ask::Add, order: OrderId::NONE, instrument: InstrumentId(0), sent_ns: 0, answered: Answered::Yes };
        Requests { ring: vec![none; REQUESTS_MAX].into_boxed_slice(), next_id: ID_FIRST, oldest_id: ID_FIRST }
    }

    #[inline]
    fn slot(&mut self, id: u64) -> &mut Request {
        &mut self.ring[id as usize % REQUESTS_MAX]
    }

    /// The id that the next request will have; `None` if too many are on their way.
    #[inline]
    fn next(&mut self) -> Option<u64> {
        let id = self.next_id;
        (self.slot(id).answered != Answered::No && id < 1 << 31).then_some(id)
    }

    #[inline]
    fn sent(&mut self, ask: Ask, order: OrderId, instrument: InstrumentId, now_ns: u64) {
        let id = self.next_id;
        *self.slot(id) = Request { id, ask, order, instrument, sent_ns: now_ns, answered: Answered::No };
        self.next_id += 1;
    }

    /// What the next request will change, for [`Requests::rewind`].
    fn mark(&self) -> (u64, Request) {
        (self.next_id, self.ring[self.next_id as usize % REQUESTS_MAX])
    }

    /// Takes back the request sent since `mark`, at most one, as if it had never been.
    fn rewind(&mut self, (next_id, slot): (u64, Request)) {
        self.next_id = next_id;
        *self.slot(next_id) = slot;
    }

    /// Every request is settled and its connection gone: ids begin again (the venue wants them below 2^31).
    fn restart(&mut self) {
        self.ring.iter_mut().for_each(|slot| slot.answered = Answered::Yes);
        (self.next_id, self.oldest_id) = (ID_FIRST, ID_FIRST);
    }

    /// The request that an answer belongs to, unless it was answered before.
    #[inline]
    fn answer(&mut self, id: u64) -> Option<Request> {
        let slot = self.slot(id);
        if slot.id != id || slot.answered == Answered::Yes {
            return None;
        }
        let request = *slot;
        slot.answered = Answered::Yes;
        Some(request)
    }

    /// The oldest request that was sent before `before_ns` and has no answer; it is too late for it now.
    fn overdue(&mut self, before_ns: u64) -> Option<Request> {
        while self.oldest_id < self.next_id {
            let id = self.oldest_id;
            let slot = self.slot(id);
            if slot.id == id && slot.answered == Answered::No {
                if slot.sent_ns >= before_ns {
                    return None;
                }
                slot.answered = Answered::TooLate;
                let request = *slot;
                self.oldest_id += 1;
                return Some(request);
            }
            self.oldest_id += 1;
        }
        None
    }
}

/// The order-entry side of the codec.
pub struct OrderEntry {
    /// What reports are read with.
    pub reports: Reports,
    /// The connection, its token and subscriptions.
    pub private: Private,
    /// Rate counters.
    pub ledger: RateLedger,
    /// From instrument id to place of the symbol.
    places: Vec<Option<u16>>,
    requests: Requests,
    window_ns: u64,
    /// The minute of the last deadline.
    minute: MinuteText,
    /// While a command is executed for practice: what it changes.
    before: Option<Before>,
}

/// What executing a command changes, as it was before.
struct Before {
    requests: (u64, Request),
    place: usize,
    points: Option<Leaky>,
    sent_ns: u64,
    orders: Option<(u32, Tracked)>,
    counters: VenueCounters,
}

/// A refusal in common words.
pub fn reason_of(error: &[u8]) -> RejectReason {
    let begins = |prefix: &str| error.starts_with(prefix.as_bytes());
    let holds = |part: &str| error.windows(part.len()).any(|window| window == part.as_bytes());
    match error {
        b"EOrder:Insufficient funds" | b"EOrder:Insufficient margin" => RejectReason::InsufficientFunds,
        b"EOrder:Post only order" => RejectReason::PostOnlyWouldTake,
        b"EOrder:Unknown order" | b"EOrder:Invalid order" => RejectReason::UnknownOrder,
        b"EOrder:Tick size check failed" | b"EOrder:Invalid price" => RejectReason::InvalidPrice,
        b"EOrder:Order minimum not met" => RejectReason::InvalidQuantity,
        b"EOrder:Cost minimum not met" => RejectReason::Notional,
        b"EOrder:Orders limit exceeded" => RejectReason::TooManyOrders,
        b"EService:Deadline elapsed" => RejectReason::Timing,
        b"EService:Unavailable" => RejectReason::MarketClosed,
        b"EService:Busy" => RejectReason::Overloaded,
        b"EGeneral:Permission denied" | b"EGeneral:Temporary lockout" | b"ESession:Invalid session" | b"ETrade:User Locked" => {
            RejectReason::Authentication
        }
        _ if holds("No amendable parameters") => RejectReason::NoChange,
        _ if holds("ate limit exceeded") || holds("Too many requests") || holds("Exceeded msg rate") => RejectReason::RateLimit,
        _ if begins("EService:Market in ") => RejectReason::MarketClosed,
        _ if begins("EService:Throttled") => RejectReason::Overloaded,
        _ if begins("EAPI:") => RejectReason::Authentication,
        _ if begins("EGeneral:Invalid arguments:volume") => RejectReason::InvalidQuantity,
        _ if begins("EGeneral:Invalid arguments:cl_ord_id") => RejectReason::DuplicateOrderId,
        _ if begins("EGeneral:Invalid arguments:deadline") => RejectReason::Timing,
        _ if begins("EGeneral:Invalid arguments") || begins("EGeneral:Unknown method") => RejectReason::BadRequest,
        _ if begins("EQuery:") || begins("Currency pair not supported") => RejectReason::BadRequest,
        _ if begins("Unsupported field") || begins("Malformed request") => RejectReason::BadRequest,
        _ => RejectReason::Other,
    }
}

/// True if the token was refused.
pub fn is_token_error(error: &[u8]) -> bool {
    matches!(error, b"EAPI:Invalid token" | b"ESession:Invalid session" | b"EAPI:Invalid session")
}

impl OrderEntry {
    /// Over these tables.
    pub fn new(reports: Reports, private: Private, places: Vec<Option<u16>>, reserve_percent: u8, window_ms: u32) -> OrderEntry {
        let window_ms = if window_ms == 0 { WINDOW_MS } else { u64::from(window_ms).clamp(WINDOW_MS_MIN, WINDOW_MS_MAX) };
        let ledger = RateLedger::new(reports.symbols.symbols().len(), reserve_percent);
        OrderEntry {
            reports,
            private,
            ledger,
            places,
            requests: Requests::new(),
            window_ns: window_ms * 1_000_000,
            minute: MinuteText::default(),
            before: None,
        }
    }

    fn place(&self, instrument: InstrumentId) -> Result<usize, ExecuteError> {
        self.places.get(instrument.index()).copied().flatten().map(usize::from).ok_or(ExecuteError::Unknown)
    }

    /// Puts one of the core's outputs on the wire. Not inlined: a rehearsal must go through the very same code.
    #[inline(never)]
    pub fn execute(&mut self, command: &Event, now_ns: u64, out: &mut Outbox) -> Result<(), ExecuteError> {
        match command.event_kind() {
            Some(EventKind::SendNew) => self.add(command, now_ns, out),
            Some(EventKind::SendCancel) => self.cancel(command, now_ns, out),
            Some(EventKind::SendReplace) => self.amend(command, now_ns, out),
            Some(EventKind::SendCancelAll) => {
                self.private.check_ready()?;
                if !self.private.cancel_all(now_ns, out) {
                    return Err(ExecuteError::Full);
                }
                self.ledger.charge_all(now_ns);
                Ok(())
            }
            Some(EventKind::SendQuery) => {
                let request = ColdRequest::OrderStatus { order: command.order_id(), instrument: command.instrument_id() };
                if out.request(request) { Ok(()) } else { Err(ExecuteError::Full) }
            }
            _ => Err(ExecuteError::Unsupported),
        }
    }

    fn add(&mut self, command: &Event, now_ns: u64, out: &mut Outbox) -> Result<(), ExecuteError> {
        self.private.check_ready()?;
        let (order, instrument) = (command.order_id(), command.instrument_id());
        let place = self.place(instrument)?;
        let side = command.side().ok_or(ExecuteError::Unknown)?;
        let (price, qty) = (command.order_price().0, command.order_qty().0);
        if price <= 0 || qty <= 0 {
            return Err(ExecuteError::Unsupported);
        }
        let id = self.requests.next().ok_or(ExecuteError::Full)?;
        if self.reports.orders.find(order).is_some() {
            return Err(ExecuteError::Unknown); // Ids are used once.
        }
        if !self.ledger.admit(place, Cost::Add, now_ns) {
            return Err(ExecuteError::RateLimited);
        }
        let entry = self.reports.orders.find_or_insert(order).ok_or(ExecuteError::Full)?;
        let post_only = command.has(flags::POST_ONLY);
        let deadline = self.deadline(now_ns);
        let sent = out.send(Role::OrderEntry, |space| self.write_add(space, place, command, side, id, &deadline));
        let held = &mut self.reports.orders[entry];
        (held.instrument, held.side, held.price, held.qty) = (Some(instrument), Some(side), price, qty);
        (held.changed_ns, held.post_only, held.in_flight) = (now_ns, post_only, InFlight::Add);
        if !sent {
            self.reports.orders.close(entry);
            return Err(ExecuteError::Full);
        }
        self.requests.sent(Ask::Add, order, instrument, now_ns);
        self.private.sent(now_ns);
        Ok(())
    }

    fn amend(&mut self, command: &Event, now_ns: u64, out: &mut Outbox) -> Result<(), ExecuteError> {
        self.private.check_ready()?;
        let (order, instrument) = (command.order_id(), command.instrument_id());
        let place = self.place(instrument)?;
        let (price, qty) = (command.order_price().0, command.order_qty().0);
        let entry = self.reports.orders.find(order).ok_or(ExecuteError::Unknown)?;
        let held = &self.reports.orders[entry];
        if held.closed || price <= 0 || qty <= 0 {
            return Err(ExecuteError::Unknown);
        }
        if held.in_flight != InFlight::Nothing {
            return Err(ExecuteError::Full); // One request about an order at a time: the venue does not keep their order.
        }
        let id = self.requests.next().ok_or(ExecuteError::Full)?;
        if !self.ledger.admit(place, Cost::Amend { changed_ns: held.changed_ns }, now_ns) {
            return Err(ExecuteError::RateLimited);
        }
        let post_only = held.post_only;
        let deadline = self.deadline(now_ns);
        let sent = out.send(Role::OrderEntry, |space| self.write_amend(space, place, command, post_only, id, &deadline));
        if !sent {
            return Err(ExecuteError::Full);
        }
        self.reports.orders[entry].in_flight = InFlight::Amend { price, qty, told: false };
        self.requests.sent(Ask::Amend, order, instrument, now_ns);
        self.private.sent(now_ns);
        Ok(())
    }

    fn cancel(&mut self, command: &Event, now_ns: u64, out: &mut Outbox) -> Result<(), ExecuteError> {
        self.private.check_ready()?;
        let (order, instrument) = (command.order_id(), command.instrument_id());
        self.place(instrument)?;
        // An order that we lost sight of can be cancelled all the same: its id says it all.
        if let Some(entry) = self.reports.orders.find_or_insert(order) {
            let held = &mut self.reports.orders[entry];
            held.instrument = held.instrument.or(Some(instrument));
            if held.in_flight != InFlight::Nothing {
                held.cancel_waits = true;
                return Ok(());
            }
        }
        self.send_cancel(order, instrument, now_ns, out)
    }

    fn send_cancel(&mut self, order: OrderId, instrument: InstrumentId, now_ns: u64, out: &mut Outbox) -> Result<(), ExecuteError> {
        let place = self.place(instrument)?;
        let id = self.requests.next().ok_or(ExecuteError::Full)?;
        let changed_ns = self.reports.orders.find(order).map_or(0, |entry| self.reports.orders[entry].changed_ns);
        if !self.ledger.admit(place, Cost::Cancel { changed_ns }, now_ns) {
            return Err(ExecuteError::RateLimited);
        }
        let sent = out.send(Role::OrderEntry, |space| self.write_cancel(space, order, id));
        if !sent {
            return Err(ExecuteError::Full);
        }
        self.requests.sent(Ask::Cancel, order, instrument, now_ns);
        self.private.sent(now_ns);
        Ok(())
    }

    /// What a request that is sent now stays good for.
    #[inline(always)]
    fn deadline(&mut self, now_ns: u64) -> [u8; TIME_TEXT_LEN] {
        self.minute.time_text(now_ns.saturating_add(self.window_ns))
    }

    #[inline(never)]
    fn write_add(
        &self,
        space: &mut [u8],
        place: usize,
        command: &Event,
        side: Side,
        id: u64,
        deadline: &[u8; TIME_TEXT_LEN],
    ) -> Option<usize> {
        let symbol = &self.reports.symbols.symbols()[place];
        let (order, price, qty) = (command.order_id(), command.order_price().0, command.order_qty().0);
        let mut m = Writer::new(space);
        m.fixed(br#"{"method":"add_order","params":{"order_type":"limit","side":""#);
        match side {
            Side::Buy => m.fixed(br#"buy","symbol":""#),
            Side::Sell => m.fixed(br#"sell","symbol":""#),
        };
        m.put(symbol.text.as_bytes()).fixed(br#"","order_qty":"#).decimal(qty, symbol.qty_scale);
        m.fixed(br#","limit_price":"#).decimal(price, symbol.price_scale);
        match command.has(flags::IOC) {
            true => m.fixed(br#","time_in_force":"ioc""#),
            false => m.fixed(br#","time_in_force":"gtc""#),
        };
        if command.has(flags::POST_ONLY) {
            m.fixed(br#","post_only":true"#);
        }
        m.fixed(br#","cl_ord_id":""#).fixed(&order.to_text());
        self.write_end(m.fixed(br#"","deadline":""#).fixed(deadline).fixed(b"\""), id)
    }

    #[inline(never)]
    fn write_amend(
        &self,
        space: &mut [u8],
        place: usize,
        command: &Event,
        post_only: bool,
        id: u64,
        deadline: &[u8; TIME_TEXT_LEN],
    ) -> Option<usize> {
        let symbol = &self.reports.symbols.symbols()[place];
        let (order, price, qty) = (command.order_id(), command.order_price().0, command.order_qty().0);
        let mut m = Writer::new(space);
        m.fixed(br#"{"method":"amend_order","params":{"cl_ord_id":""#).fixed(&order.to_text());
        m.fixed(br#"","order_qty":"#).decimal(qty, symbol.qty_scale).fixed(br#","limit_price":"#).decimal(price, symbol.price_scale);
        if post_only {
            m.fixed(br#","post_only":true"#);
        }
        self.write_end(m.fixed(br#","deadline":""#).fixed(deadline).fixed(b"\""), id)
    }

    #[inline(never)]
    fn write_cancel(&self, space: &mut [u8], order: OrderId, id: u64) -> Option<usize> {
        let mut m = Writer::new(space);
        m.fixed(br#"{"method":"cancel_order","params":{"cl_ord_id":[""#).fixed(&order.to_text());
        self.write_end(m.fixed(br#""]"#), id)
    }

    /// The end of every request.
    #[inline(always)]
    fn write_end(&self, m: &mut Writer<'_>, id: u64) -> Option<usize> {
        m.fixed(br#","token":""#).put(self.private.token()).fixed(br#""},"req_id":"#).integer(id).fixed(b"}").finish()
    }

    /// Reads what is remembered of an order.
    pub fn touch(&self, order: OrderId) {
        core::hint::black_box(self.reports.orders.find(order).map(|entry| self.reports.orders[entry].clone()));
    }

    /// Takes down what executing the command changes: the request, the points, the order. False if it is none to rehearse
    /// with.
    pub fn begin_rehearsal(&mut self, command: &Event, counters: &VenueCounters, now_ns: u64) -> bool {
        use EventKind::{SendCancel, SendNew, SendReplace};
        let (order, instrument) = (command.order_id(), command.instrument_id());
        let Some(kind @ (SendNew | SendCancel | SendReplace)) = command.event_kind() else { return false };
        let Ok(place) = self.place(instrument) else { return false };
        if self.reports.orders.find(order).is_some() {
            return false;
        }
        self.before = Some(Before {
            requests: self.requests.mark(),
            place,
            points: self.ledger.pair(place),
            sent_ns: self.private.sent_ns(),
            orders: self.reports.orders.mark(),
            counters: *counters,
        });
        // A cancel or an amend is of an order that is known.
        if kind != SendNew
            && let Some(entry) = self.reports.orders.find_or_insert(order)
        {
            let held = &mut self.reports.orders[entry];
            (held.instrument, held.changed_ns) = (Some(instrument), now_ns);
        }
        true
    }

    /// Takes back what was executed since.
    pub fn end_rehearsal(&mut self, command: &Event, counters: &mut VenueCounters) {
        let Some(before) = self.before.take() else { return };
        self.reports.orders.take_back(command.order_id(), before.orders);
        self.requests.rewind(before.requests);
        self.ledger.restore(before.place, before.points);
        self.private.sent(before.sent_ns);
        *counters = before.counters;
    }

    /// The answer to an order request has come (or never will): a cancel that waited for it goes out.
    fn settled<K: EventSink>(&mut self, request: &Request, cx: &mut Cx<'_, K>) {
        let Some(entry) = self.reports.orders.find(request.order) else { return };
        let held = &mut self.reports.orders[entry];
        if request.ask != Ask::Cancel {
            held.in_flight = InFlight::Nothing;
        }
        if !core::mem::take(&mut held.cancel_waits) || held.closed {
            return;
        }
        let sent = self.private.check_ready().and_then(|()| self.send_cancel(request.order, request.instrument, cx.times.core_ns, cx.out));
        match sent {
            Ok(()) => cx.counters.requests += 1,
            Err(error) => {
                cx.counters.rate_limited += u64::from(error == ExecuteError::RateLimited);
                self.refuse(EventKind::CancelReject, request, error.reason(), 0, cx);
            }
        }
    }

    fn refuse<K: EventSink>(&mut self, kind: EventKind, request: &Request, reason: RejectReason, time_ns: u64, cx: &mut Cx<'_, K>) {
        let refusal = Event::refusal(kind, self.reports.venue, request.instrument, request.order, reason, cx.times);
        cx.emit(&refusal.at(time_ns).with(flags::LAST));
    }

    /// An answer to an order request.
    pub fn on_answer<K: EventSink>(&mut self, answer: &Envelope<'_>, result: &Answer<'_>, cx: &mut Cx<'_, K>) {
        let request = answer.req_id.filter(|&id| id >= ID_FIRST).and_then(|id| self.requests.answer(id));
        if answer.success == Some(true) {
            self.accepted(request.as_ref(), result, cx);
        } else {
            let error = answer.error.map_or(&b""[..], |error| error.raw());
            self.refused(request.as_ref(), error, result, cx);
        }
    }

    fn accepted<K: EventSink>(&mut self, request: Option<&Request>, result: &Answer<'_>, cx: &mut Cx<'_, K>) {
        let Some(request) = request else {
            cx.counters.uncorrelated += 1;
            return;
        };
        if !result.warnings.is_empty() {
            cx.notice.set(&[b"warning about ", &request.order.to_text(), b": ", result.warnings]);
        }
        let Some(entry) = self.reports.orders.find(request.order) else { return };
        match request.ask {
            Ask::Add => {
                self.reports.orders.bind(entry, result.order_id);
                // A post-only order may still be thrown out: `new` on executions tells, if it can be heard.
                if !self.reports.orders[entry].post_only || !self.private.hears_executions() {
                    self.reports.ack(entry, result.time_ns, cx);
                }
            }
            Ask::Amend => {
                if let InFlight::Amend { price, qty, told: false } = self.reports.orders[entry].in_flight {
                    self.reports.replaced(entry, (price, qty), result.time_ns, cx);
                }
            }
            // The order is gone when `executions` says so.
            Ask::Cancel => {}
        }
        self.settled(request, cx);
    }

    fn refused<K: EventSink>(&mut self, request: Option<&Request>, error: &[u8], result: &Answer<'_>, cx: &mut Cx<'_, K>) {
        cx.counters.venue_errors += 1;
        if is_token_error(error) {
            self.private.token_refused(cx);
        }
        let Some(request) = request else {
            cx.counters.uncorrelated += 1;
            cx.notice.set(&[b"refused: ", error]);
            return;
        };
        cx.notice.set(&[b"refused ", &request.order.to_text(), b": ", error]);
        let reason = reason_of(error);
        if error == b"EOrder:Rate limit exceeded"
            && let Ok(place) = self.place(request.instrument)
        {
            self.ledger.refused(place, cx.times.core_ns);
        }
        let kind = match request.ask {
            Ask::Add => EventKind::OrderReject,
            Ask::Amend => EventKind::ReplaceReject,
            Ask::Cancel => EventKind::CancelReject,
        };
        self.refuse(kind, request, reason, result.time_ns, cx);
        // Refused, or not known any more: reports still on their way find a closed entry as well as an open one.
        if (request.ask == Ask::Add || reason == RejectReason::UnknownOrder)
            && let Some(entry) = self.reports.orders.find(request.order)
        {
            self.reports.orders.close(entry);
        }
        self.settled(request, cx);
    }

    /// Requests sent before `before_ns` that have no answer: nobody knows what became of them.
    pub fn expire<K: EventSink>(&mut self, before_ns: u64, cx: &mut Cx<'_, K>) {
        while let Some(request) = self.requests.overdue(before_ns) {
            let uncertain = Event::order_report(EventKind::OrderUncertain, self.reports.venue, request.instrument, request.order, cx.times);
            cx.emit(&uncertain.with(flags::LAST));
            self.settled(&request, cx);
        }
    }

    /// The connection is gone: what is on its way will never be answered.
    pub fn on_close<K: EventSink>(&mut self, cx: &mut Cx<'_, K>) {
        self.expire(u64::MAX, cx);
        self.requests.restart();
    }

    /// Before this time, a request must have been sent to be overdue.
    pub const fn answers_due_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.window_ns + ANSWER_GRACE_NS)
    }

    /// A working order that survived a restart.
    pub fn adopt(&mut self, order: OrderId, instrument: InstrumentId, venue_order_id: Option<&str>) {
        let Some(entry) = self.reports.orders.find_or_insert(order) else { return };
        let held = &mut self.reports.orders[entry];
        (held.instrument, held.acked) = (Some(instrument), true);
        if let Some(id) = venue_order_id {
            self.reports.orders.bind(entry, id.as_bytes());
        }
    }

    /// Side of an order, if known; for tests and tools.
    pub fn side_of(&self, order: OrderId) -> Option<Side> {
        self.reports.orders.find(order).and_then(|entry| self.reports.orders[entry].side)
    }
}

/// The `result` of an answer, and the answer's time.
#[derive(Clone, Copy, Default, Debug)]
pub struct Answer<'a> {
    /// The venue's order id.
    pub order_id: &'a [u8],
    /// Our id.
    pub client_id: &'a [u8],
    /// `channel` of a subscription.
    pub channel: &'a [u8],
    /// Threshold of the trading counter.
    pub rate_max: Option<u64>,
    /// First warning.
    pub warnings: &'a [u8],
    /// When the venue answered; 0 if not stated.
    pub time_ns: u64,
}

impl<'a> Answer<'a> {
    /// Reads the `result` object; any other value gives nothing.
    pub fn read(result: Option<&Scanner<'a>>, time_ns: u64) -> Result<Answer<'a>, JsonError> {
        let mut answer = Answer { time_ns, ..Answer::default() };
        let Some(mut s) = result.cloned().filter(|s| s.clone().peek() == Some(b'{')) else { return Ok(answer) };
        let mut members = s.object()?;
        while let Some(key) = members.next(&mut s)? {
            match key {
                b"order_id" if s.peek() == Some(b'"') => answer.order_id = s.string()?.raw(),
                b"cl_ord_id" if s.peek() == Some(b'"') => answer.client_id = s.string()?.raw(),
                b"channel" if s.peek() == Some(b'"') => answer.channel = s.string()?.raw(),
                b"maxratecount" if matches!(s.peek(), Some(b'0'..=b'9')) => {
                    let text = s.decimal_text()?;
                    answer.rate_max = super::message::parse_number(text, 0).ok().and_then(|n| u64::try_from(n.value).ok());
                }
                b"warnings" if s.peek() == Some(b'[') => {
                    let mut warnings = s.array()?;
                    while warnings.next(&mut s)? {
                        if s.peek() == Some(b'"') { answer.warnings = s.string()?.raw() } else { s.skip()? }
                    }
                }
                _ => s.skip()?,
            }
        }
        Ok(answer)
    }
}
