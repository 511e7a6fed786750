//! Binance Spot: JSON or SBE market data, order entry and reports over the WebSocket API, REST for the
//! cold plane.
//!
//! | service | where | what we use it for |
//! |---|---|---|
//! | streams | `stream.binance.com:9443/ws`, SBE: `stream-sbe.binance.com:9443/ws` | depth, best bid and ask, trades |
//! | WebSocket API | `ws-api.binance.com:443/ws-api/v3` | log-on, orders, user-data stream |
//! | REST | `api.binance.com` | snapshots, reference data, reconciliation |
//!
//! The venue pings each connection every 20 s (answered below us) and closes it after 24 hours. It has no
//! dead-man's switch for spot: [`crate::venue::VenueSettings::dead_man_s`] is not used.

pub mod auth;
pub mod decoder;
pub mod depth;
pub mod events;
pub mod instruments;
pub mod limits;
pub mod market_data;
pub mod message;
pub mod orders;
pub mod reports;
pub mod requests;
pub mod rest;
pub mod sbe;
pub mod stream;
pub mod templates;
pub mod usual;
pub mod working;

pub use rest::BinanceRest;

use crate::batch::Counting;
use crate::names::Names;
use crate::notice::Notice;
use crate::outbox::Outbox;
use crate::symbols::SymbolIndex;
use crate::venue::{
    Encoding, Endpoint, ExecuteError, Heartbeat, Hosts, Link, MessageKind, Role, Venue, VenueCounters, VenueError, VenueInit, VenueSettings,
};
use auth::Signer;
use engine_core::event::{BookInvalid, Event, EventKind, EventSink, Times};
use engine_core::ids::{InstrumentId, OrderId};
use limits::RateLedger;
use market_data::{MarketData, STREAMS_MAX, STREAMS_PER_SYMBOL, Tools};
use orders::OrderEntry;

/// The venue's name in configuration and reports.
pub const NAME: &str = "binance";
/// `recvWindow` if configuration does not say: the venue's own default.
const WINDOW_MS: u32 = 5_000;
/// The largest `recvWindow` that the venue takes.
const WINDOW_MS_MAX: u32 = 60_000;
const S: u64 = 1_000_000_000;
/// The venue closes every connection after a day.
const LIFE_MAX_NS: u64 = 24 * 3_600 * S;
/// The server pings each 20 s, so that a connection silent for longer than two of them is dead.
const IDLE_TIMEOUT_NS: u64 = 50 * S;
/// Production host of the SBE streams: takes the place of the JSON streams' default.
const SBE_HOST: &str = "stream-sbe.binance.com";
const JSON_HOST: &str = "stream.binance.com";

/// Production.
pub fn default_hosts() -> Hosts {
    Hosts { rest: ("api.binance.com".into(), 443), market_data: (JSON_HOST.into(), 9_443), order_entry: ("ws-api.binance.com".into(), 443) }
}

/// The codec. See [`Venue`].
pub struct Binance {
    endpoints: Vec<Endpoint>,
    market_data: MarketData,
    orders: Option<OrderEntry>,
    ledger: RateLedger,
    counters: VenueCounters,
    notice: Notice,
    rules_asked_ns: u64,
}

/// `recvWindow` in force.
fn window_ms(settings: &VenueSettings) -> Result<u32, VenueError> {
    match settings.request_window_ms {
        0 => Ok(WINDOW_MS),
        ms if ms <= WINDOW_MS_MAX => Ok(ms),
        _ => Err(VenueError::Settings { venue: NAME, reason: format!("request_window_ms must be at most {WINDOW_MS_MAX}") }),
    }
}

/// True if a symbol can stand in stream names and requests as it is.
fn is_plain(symbol: &str) -> bool {
    !symbol.is_empty() && symbol.len() <= 64 && symbol.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

impl Binance {
    /// From settings and tables. Without credentials there is market data only; order entry takes an Ed25519
    /// key, as only such a key can log a session on.
    pub fn new(init: VenueInit<'_>) -> Result<Binance, VenueError> {
        let VenueInit { settings, instruments, assets, epoch } = init;
        let symbols = SymbolIndex::new(instruments, settings.id);
        if let Some(bad) = symbols.symbols().iter().find(|s| !is_plain(&s.text)) {
            let reason = "only letters, digits and - _ . may stand in it";
            return Err(VenueError::Symbol { venue: NAME, symbol: bad.text.clone(), reason });
        }
        if symbols.symbols().len() * STREAMS_PER_SYMBOL > STREAMS_MAX {
            let most = STREAMS_MAX / STREAMS_PER_SYMBOL;
            return Err(VenueError::Settings {
                venue: NAME,
                reason: format!("one connection carries at most {most} instruments: spread them over hot cores"),
            });
        }
        let window_ms = window_ms(&settings)?;
        let credentials_error = |reason: String| VenueError::Credentials { venue: NAME, reason };
        let orders = match &settings.credentials {
            None => None,
            Some(credentials) => {
                let signer = Signer::from_credentials(credentials).map_err(|e| credentials_error(e.to_string()))?;
                if !signer.can_log_on() {
                    return Err(credentials_error(
                        "order entry takes an Ed25519 key (ed25519_seed): an HMAC key cannot log a session on".into(),
                    ));
                }
                Some(OrderEntry::new(settings.id, symbols.clone(), Names::closed(assets), &credentials.api_key, signer, window_ms, epoch))
            }
        };
        let endpoints = endpoints(&settings, orders.is_some()).map_err(|reason| credentials_error(reason.into()))?;
        Ok(Binance {
            endpoints,
            market_data: MarketData::new(settings.id, settings.encoding, symbols),
            orders,
            ledger: RateLedger::new(settings.cancel_reserve_percent),
            counters: VenueCounters::default(),
            notice: Notice::default(),
            rules_asked_ns: 0,
        })
    }

    /// The rate budget as it stands.
    pub fn ledger(&self) -> &RateLedger {
        &self.ledger
    }
}

fn endpoints(settings: &VenueSettings, order_entry: bool) -> Result<Vec<Endpoint>, &'static str> {
    let endpoint = |role, (host, port): (String, u16), path: &str, headers| Endpoint {
        role,
        host,
        port,
        path: path.into(),
        headers,
        heartbeat: Heartbeat::None,
        idle_timeout_ns: IDLE_TIMEOUT_NS,
        max_life_ns: LIFE_MAX_NS,
    };
    let (host, port) = settings.hosts.market_data.clone();
    let market_data = match settings.encoding {
        Encoding::Json => endpoint(Role::MarketData, (host, port), "/ws?timeUnit=MICROSECOND", Vec::new()),
        Encoding::Sbe => {
            let credentials = settings.credentials.as_ref();
            let key = credentials.filter(|c| c.ed25519_seed.is_some()).ok_or("SBE streams take an Ed25519 API key")?;
            let host = if host == JSON_HOST { SBE_HOST.to_owned() } else { host };
            endpoint(Role::MarketData, (host, port), "/ws", vec![("X-MBX-APIKEY".into(), key.api_key.clone())])
        }
    };
    let mut endpoints = vec![market_data];
    if order_entry {
        endpoints.push(endpoint(Role::OrderEntry, settings.hosts.order_entry.clone(), "/ws-api/v3?timeUnit=MICROSECOND", Vec::new()));
    }
    Ok(endpoints)
}

/// Lends the parts of the codec that both sides use.
macro_rules! tools {
    ($self:ident, $out:ident) => {
        Tools {
            ledger: &mut $self.ledger,
            counters: &mut $self.counters,
            notice: &mut $self.notice,
            rules_asked_ns: &mut $self.rules_asked_ns,
            out: $out,
        }
    };
}

impl Venue for Binance {
    fn name(&self) -> &'static str {
        NAME
    }

    fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    fn on_open(&mut self, link: Link, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        let mut sink = Counting::new(sink);
        let mut tools = tools!(self, out);
        match (link.role, &mut self.orders) {
            (Role::MarketData, _) => self.market_data.on_open(link, times, &mut sink, &mut tools),
            (Role::OrderEntry, Some(orders)) => orders.on_open(link, times, &mut tools),
            (Role::OrderEntry, None) => {}
        }
        self.counters.events += sink.count();
    }

    fn on_close(&mut self, link: Link, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        let mut sink = Counting::new(sink);
        let mut tools = tools!(self, out);
        match (link.role, &mut self.orders) {
            (Role::MarketData, _) => self.market_data.on_close(link, times, &mut sink),
            (Role::OrderEntry, Some(orders)) => orders.on_close(link, times, &mut sink, &mut tools),
            (Role::OrderEntry, None) => {}
        }
        self.counters.events += sink.count();
    }

    #[inline]
    fn on_message(&mut self, link: Link, kind: MessageKind, payload: &[u8], times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        self.counters.messages += 1;
        let mut sink = Counting::new(sink);
        let mut tools = tools!(self, out);
        match (link.role, &mut self.orders) {
            (Role::MarketData, _) => self.market_data.on_message(link, kind, payload, times, &mut sink, &mut tools),
            (Role::OrderEntry, Some(orders)) if kind == MessageKind::Text => orders.on_message(link, payload, times, &mut sink, &mut tools),
            (Role::OrderEntry, _) => tools.counters.unknown_messages += 1,
        }
        self.counters.events += sink.count();
    }

    fn on_cold(&mut self, event: &Event, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        let mut sink = Counting::new(sink);
        let mut tools = tools!(self, out);
        if matches!(event.event_kind(), Some(EventKind::BookLevel | EventKind::BookTouch | EventKind::BookInvalid)) {
            self.market_data.on_cold(event, times, &mut sink, &mut tools);
        }
        self.counters.events += sink.count();
    }

    fn on_timer(&mut self, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        let mut sink = Counting::new(sink);
        let mut tools = tools!(self, out);
        self.market_data.on_timer(times, &mut tools);
        if let Some(orders) = &mut self.orders {
            orders.on_timer(times, &mut sink, &mut tools);
        }
        self.counters.events += sink.count();
    }

    #[inline]
    fn execute(&mut self, command: &Event, times: Times, out: &mut Outbox) -> Result<(), ExecuteError> {
        let orders = self.orders.as_mut().ok_or(ExecuteError::NotConnected)?;
        orders.execute(command, times, &mut self.ledger, &mut self.counters, out)
    }

    fn touch_order(&self, order: OrderId) {
        if let Some(orders) = &self.orders {
            orders.touch(order);
        }
    }

    fn begin_rehearsal(&mut self, command: &Event, _: Times) -> bool {
        self.orders.as_mut().is_some_and(|orders| orders.begin_rehearsal(command, &self.ledger, &self.counters))
    }

    fn end_rehearsal(&mut self, command: &Event) {
        if let Some(orders) = &mut self.orders {
            orders.end_rehearsal(command, &mut self.ledger, &mut self.counters);
        }
    }

    fn resync(&mut self, instrument: InstrumentId, reason: BookInvalid, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        let mut sink = Counting::new(sink);
        let mut tools = tools!(self, out);
        self.market_data.resync(instrument, reason, times, &mut sink, &mut tools);
        self.counters.events += sink.count();
    }

    fn is_ready(&self, role: Role) -> bool {
        match role {
            Role::MarketData => self.market_data.is_ready(),
            Role::OrderEntry => self.orders.as_ref().is_some_and(OrderEntry::is_ready),
        }
    }

    fn adopt_order(&mut self, order: OrderId, _instrument: InstrumentId, venue_order_id: Option<&str>) {
        if let Some(orders) = &mut self.orders {
            orders.adopt(order, venue_order_id);
        }
    }

    fn counters(&self) -> &VenueCounters {
        &self.counters
    }

    fn take_notice(&mut self) -> Option<&str> {
        self.notice.take()
    }

    fn take_closing(&mut self, role: Role) -> bool {
        match role {
            Role::MarketData => self.market_data.take_closing(),
            Role::OrderEntry => self.orders.as_mut().is_some_and(OrderEntry::take_closing),
        }
    }
}
