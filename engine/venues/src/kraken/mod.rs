//! Kraken spot over WebSocket v2: public market data on one connection, orders and private reports on another.
//!
//! | part | what it holds |
//! |---|---|
//! | [`stream`], [`message`] | public messages, read in one pass; numbers, times, the outer object |
//! | [`book`] | the window of a book and its CRC-32, the venue's only integrity check |
//! | [`market_data`] | subscriptions, resync, trades, status, reference data in mid-session |
//! | [`private`] | the order-entry connection: token, subscriptions, sequence, dead-man's switch |
//! | [`orders`], [`writer`] | requests and their answers |
//! | [`executions`], [`tracked`] | sparse records to order reports; the orders they are about |
//! | [`limits`] | trading-rate counters |
//! | [`instruments`] | reference data, spellings |
//! | [`auth`], [`rest`] | signatures; the cold plane's queries |
//! | [`recorded`], [`decoder`] | recorded traffic, WebSocket v1 included, for the `decode` tool and tests only |

pub mod auth;
pub mod book;
pub mod decoder;
pub mod executions;
pub mod instruments;
pub mod limits;
pub mod market_data;
pub mod message;
pub mod orders;
pub mod private;
pub mod recorded;
pub mod rest;
pub mod stream;
pub mod tracked;
pub mod usual;
pub use crate::writer;

pub use rest::KrakenRest;

use crate::names::Names;
use crate::notice::Notice;
use crate::outbox::Outbox;
use crate::symbols::SymbolIndex;
use crate::venue::{
    Endpoint, ExecuteError, Heartbeat, Hosts, Link, MessageKind, Role, Venue, VenueCounters, VenueError, VenueInit, VenueSettings,
};
use engine_core::event::{BookInvalid, Event, EventKind, EventSink, FeedState, Times};
use engine_core::ids::{InstrumentId, OrderId, VenueId};
use executions::Reports;
use instruments::System;
use market_data::MarketData;
use message::Envelope;
use orders::{Answer, OrderEntry};
use private::{Arrival, Private};

/// The venue's name.
pub const NAME: &str = "kraken";

const S: u64 = 1_000_000_000;
/// Heartbeats come each second; so much silence is a dead link.
const IDLE_TIMEOUT_NS: u64 = 10 * S;

/// Production hosts.
pub fn default_hosts() -> Hosts {
    Hosts {
        rest: ("api.kraken.com".into(), 443),
        market_data: ("ws.kraken.com".into(), 443),
        order_entry: ("ws-auth.kraken.com".into(), 443),
    }
}

fn endpoints(settings: &VenueSettings) -> Vec<Endpoint> {
    let endpoint = |role, (host, port): &(String, u16)| Endpoint {
        role,
        host: host.clone(),
        port: *port,
        path: "/v2".into(),
        headers: Vec::new(),
        heartbeat: Heartbeat::Codec,
        idle_timeout_ns: IDLE_TIMEOUT_NS,
        max_life_ns: 0,
    };
    let mut endpoints = vec![endpoint(Role::MarketData, &settings.hosts.market_data)];
    if settings.credentials.is_some() {
        endpoints.push(endpoint(Role::OrderEntry, &settings.hosts.order_entry));
    }
    endpoints
}

/// What every part needs while it works: the time, and where things go.
pub struct Cx<'a, K> {
    /// The message's times.
    pub times: Times,
    /// Takes events.
    pub sink: &'a mut K,
    /// Takes messages and requests.
    pub out: &'a mut Outbox,
    /// Counters.
    pub counters: &'a mut VenueCounters,
    /// Takes the last oddity's text.
    pub notice: &'a mut Notice,
}

impl<K: EventSink> Cx<'_, K> {
    /// Hands an event on.
    #[inline]
    pub fn emit(&mut self, event: &Event) {
        self.counters.events += 1;
        self.sink.event(event);
    }
}

/// Kraken's codec.
pub struct Kraken {
    id: VenueId,
    endpoints: Vec<Endpoint>,
    market_data: MarketData,
    /// `None` without an account.
    order_entry: Option<OrderEntry>,
    told: FeedState,
    counters: VenueCounters,
    notice: Notice,
}

impl Kraken {
    /// Builds the codec; allocates everything that it will ever use.
    pub fn new(init: VenueInit<'_>) -> Result<Kraken, VenueError> {
        let VenueInit { settings, instruments, assets, epoch: _ } = init;
        let symbols = SymbolIndex::new(instruments, settings.id);
        for symbol in symbols.symbols() {
            let plain = |c: u8| c.is_ascii_graphic() && c != b'"' && c != b'\\';
            if symbol.text.len() > 32 || !symbol.text.bytes().all(plain) || !symbol.text.contains('/') {
                let reason = "must be like `BTC/USD`, at most 32 printable characters";
                return Err(VenueError::Symbol { venue: NAME, symbol: symbol.text.clone(), reason });
            }
        }
        let order_entry = match &settings.credentials {
            None => None,
            Some(credentials) => {
                auth::Signer::new(credentials).map_err(|e| VenueError::Credentials { venue: NAME, reason: e.to_string() })?;
                let places = market_data::places(&symbols, instruments);
                let reports = Reports::new(settings.id, Names::closed(assets), symbols, tracked::ORDERS_MAX);
                let private = Private::new(settings.dead_man_s);
                Some(OrderEntry::new(reports, private, places, settings.cancel_reserve_percent, settings.request_window_ms))
            }
        };
        Ok(Kraken {
            id: settings.id,
            endpoints: endpoints(&settings),
            market_data: MarketData::new(settings.id, instruments),
            order_entry,
            told: FeedState::Down,
            counters: VenueCounters::default(),
            notice: Notice::default(),
        })
    }

    /// Tells the core the state of order entry if it differs from what was told.
    fn tell_order_entry(&mut self, times: Times, sink: &mut impl EventSink) {
        let Some(entry) = &self.order_entry else { return };
        let state = match (entry.private.is_subscribed(), entry.private.maintenance) {
            (false, _) => FeedState::Down,
            (true, true) => FeedState::Maintenance,
            (true, false) => FeedState::Up,
        };
        if state != self.told {
            self.told = state;
            self.counters.events += 1;
            sink.event(&Event::feed_status(self.id, Role::OrderEntry as u8, state, times));
        }
    }
}

/// A complete message of the order-entry connection.
fn on_private<K: EventSink>(entry: &mut OrderEntry, generation: u32, payload: &[u8], cx: &mut Cx<'_, K>) {
    let Ok(envelope) = Envelope::read(payload) else {
        cx.counters.malformed += 1;
        return;
    };
    let done = match envelope.channel {
        Some(channel) => on_push(entry, generation, channel.raw(), &envelope, cx),
        None => on_answer(entry, generation, &envelope, cx),
    };
    cx.counters.malformed += u64::from(done.is_err());
}

fn on_push<K: EventSink>(
    entry: &mut OrderEntry,
    generation: u32,
    channel: &[u8],
    envelope: &Envelope<'_>,
    cx: &mut Cx<'_, K>,
) -> Result<(), crate::json::JsonError> {
    let snapshot = envelope.snapshot;
    let Some(mut data) = envelope.data.clone() else {
        cx.counters.unknown_messages += u64::from(channel != b"heartbeat");
        return Ok(());
    };
    match channel {
        b"executions" => {
            if !entry.private.listens_to(generation, snapshot) {
                cx.counters.stale += 1;
                return Ok(());
            }
            match entry.private.executions.take(generation, envelope.sequence, snapshot) {
                Arrival::Next => {}
                Arrival::Repeated => {
                    cx.counters.stale += 1;
                    return Ok(());
                }
                Arrival::Gap => entry.private.on_gap(cx),
            }
            entry.reports.read(data, snapshot, cx)?;
            if let Some((place, counter_milli)) = entry.reports.rate {
                entry.ledger.correct(place, counter_milli, cx.times.core_ns);
            }
            if snapshot {
                entry.private.on_snapshot(generation, cx);
            }
            Ok(())
        }
        b"balances" => match entry.private.balances.take(generation, envelope.sequence, snapshot) {
            Arrival::Repeated => {
                cx.counters.stale += 1;
                Ok(())
            }
            arrival => {
                if arrival == Arrival::Gap {
                    // Balances are absolute: what was lost is in the next, or in the reconciliation.
                    cx.counters.gaps += 1;
                    cx.out.request(crate::outbox::ColdRequest::Reconcile);
                }
                entry.reports.read_balances(data, snapshot, cx)
            }
        },
        b"status" => {
            let system = System::of(stream::status(&mut data)?.raw());
            entry.private.maintenance = system == System::Maintenance;
            Ok(())
        }
        b"heartbeat" => Ok(()),
        _ => {
            cx.counters.unknown_messages += 1;
            Ok(())
        }
    }
}

fn on_answer<K: EventSink>(
    entry: &mut OrderEntry,
    generation: u32,
    envelope: &Envelope<'_>,
    cx: &mut Cx<'_, K>,
) -> Result<(), crate::json::JsonError> {
    let id = envelope.req_id.unwrap_or(0);
    let success = envelope.success == Some(true);
    let error = envelope.error.map_or(&b""[..], |error| error.raw());
    let newest = entry.private.is_newest(generation);
    match envelope.method.map_or(&b""[..], |method| method.raw()) {
        b"pong" => {}
        b"subscribe" | b"unsubscribe" if newest => {
            let answer = Answer::read(envelope.result.as_ref(), envelope.time_ns)?;
            if let Some(limit) = answer.rate_max {
                entry.ledger.set_limit(limit, cx.times.core_ns);
            }
            entry.private.on_subscribed(id, success, error, cx);
        }
        b"subscribe" | b"unsubscribe" => {}
        b"cancel_all" | b"cancel_all_orders_after" => entry.private.on_session_answer(id, success, error, cx),
        b"add_order" | b"amend_order" | b"cancel_order" | b"" => {
            let answer = Answer::read(envelope.result.as_ref(), envelope.time_ns)?;
            entry.on_answer(envelope, &answer, cx);
        }
        _ => cx.counters.unknown_messages += 1,
    }
    Ok(())
}

/// The context of one call, borrowed from the codec's fields.
macro_rules! cx {
    ($self:ident, $times:ident, $sink:ident, $out:ident) => {
        &mut Cx { times: $times, sink: $sink, out: $out, counters: &mut $self.counters, notice: &mut $self.notice }
    };
}

impl Venue for Kraken {
    fn name(&self) -> &'static str {
        NAME
    }

    fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    fn on_open(&mut self, link: Link, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        let cx = cx!(self, times, sink, out);
        match (link.role, &mut self.order_entry) {
            (Role::MarketData, _) => self.market_data.on_open(link.generation, cx),
            (Role::OrderEntry, Some(entry)) => entry.private.on_open(link.generation, cx),
            (Role::OrderEntry, None) => {}
        }
    }

    fn on_close(&mut self, link: Link, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        let cx = cx!(self, times, sink, out);
        match (link.role, &mut self.order_entry) {
            (Role::MarketData, _) => self.market_data.on_close(link.generation, cx),
            (Role::OrderEntry, Some(entry)) => {
                if entry.private.on_close(link.generation) {
                    entry.on_close(cx);
                }
                self.tell_order_entry(times, sink);
            }
            (Role::OrderEntry, None) => {}
        }
    }

    #[inline]
    fn on_message(&mut self, link: Link, kind: MessageKind, payload: &[u8], times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        self.counters.messages += 1;
        if kind != MessageKind::Text {
            self.counters.unknown_messages += 1;
            return;
        }
        let cx = cx!(self, times, sink, out);
        match (link.role, &mut self.order_entry) {
            (Role::MarketData, _) => self.market_data.on_message(link.generation, payload, cx),
            (Role::OrderEntry, Some(entry)) => {
                on_private(entry, link.generation, payload, cx);
                self.tell_order_entry(times, sink);
            }
            (Role::OrderEntry, None) => {}
        }
    }

    fn on_cold(&mut self, event: &Event, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        // Books come over the stream itself; the one thing that is fetched is the token.
        if event.event_kind() == Some(EventKind::ColdText)
            && event.side == Role::OrderEntry as u8
            && let Some(entry) = &mut self.order_entry
        {
            entry.private.on_token(event, cx!(self, times, sink, out));
        }
    }

    fn on_timer(&mut self, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        let cx = cx!(self, times, sink, out);
        self.market_data.on_timer(cx);
        if let Some(entry) = &mut self.order_entry {
            entry.private.on_timer(cx);
            entry.expire(entry.answers_due_ns(times.core_ns), cx);
            self.tell_order_entry(times, sink);
        }
    }

    fn touch_order(&self, order: OrderId) {
        if let Some(entry) = &self.order_entry {
            entry.touch(order);
        }
    }

    fn begin_rehearsal(&mut self, command: &Event, times: Times) -> bool {
        self.order_entry.as_mut().is_some_and(|entry| entry.begin_rehearsal(command, &self.counters, times.core_ns))
    }

    fn end_rehearsal(&mut self, command: &Event) {
        if let Some(entry) = &mut self.order_entry {
            entry.end_rehearsal(command, &mut self.counters);
        }
    }

    #[inline]
    fn execute(&mut self, command: &Event, times: Times, out: &mut Outbox) -> Result<(), ExecuteError> {
        let result = match &mut self.order_entry {
            Some(entry) => entry.execute(command, times.core_ns, out),
            None => Err(ExecuteError::NotConnected),
        };
        match result {
            Ok(()) => self.counters.requests += 1,
            Err(ExecuteError::RateLimited) => self.counters.rate_limited += 1,
            Err(_) => {}
        }
        result
    }

    fn resync(&mut self, instrument: InstrumentId, reason: BookInvalid, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        self.market_data.resync(instrument, reason, cx!(self, times, sink, out));
    }

    fn is_ready(&self, role: Role) -> bool {
        match (role, &self.order_entry) {
            (Role::MarketData, _) => self.market_data.is_ready(),
            (Role::OrderEntry, Some(entry)) => entry.private.is_ready(),
            (Role::OrderEntry, None) => false,
        }
    }

    fn adopt_order(&mut self, order: OrderId, instrument: InstrumentId, venue_order_id: Option<&str>) {
        if let Some(entry) = &mut self.order_entry {
            entry.adopt(order, instrument, venue_order_id);
        }
    }

    fn counters(&self) -> &VenueCounters {
        &self.counters
    }

    fn take_notice(&mut self) -> Option<&str> {
        self.notice.take()
    }
}
