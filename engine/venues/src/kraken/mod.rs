//! Kraken spot: WebSocket v2 for market data and orders, REST for the token and reconciliation.
//!
//! Under construction in this commit's working tree: the types are final, the bodies follow.

pub mod rest;

pub use rest::KrakenRest;

use crate::outbox::Outbox;
use crate::venue::{
    Endpoint, ExecuteError, Heartbeat, Hosts, Link, MessageKind, Role, Venue, VenueCounters, VenueError, VenueInit, VenueSettings,
};
use engine_core::event::{BookInvalid, Event, EventSink, Times};
use engine_core::ids::{InstrumentId, OrderId};

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

/// Kraken's codec.
pub struct Kraken {
    endpoints: Vec<Endpoint>,
    counters: VenueCounters,
}

impl Kraken {
    /// Builds the codec; allocates everything that it will ever use.
    pub fn new(init: VenueInit<'_>) -> Result<Kraken, VenueError> {
        Ok(Kraken { endpoints: endpoints(&init.settings), counters: VenueCounters::default() })
    }
}

impl Venue for Kraken {
    fn name(&self) -> &'static str {
        NAME
    }

    fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    fn on_open(&mut self, _link: Link, _times: Times, _sink: &mut impl EventSink, _out: &mut Outbox) {}

    fn on_close(&mut self, _link: Link, _times: Times, _sink: &mut impl EventSink, _out: &mut Outbox) {}

    fn on_message(
        &mut self,
        _link: Link,
        _kind: MessageKind,
        _payload: &[u8],
        _times: Times,
        _sink: &mut impl EventSink,
        _out: &mut Outbox,
    ) {
    }

    fn on_cold(&mut self, _event: &Event, _times: Times, _sink: &mut impl EventSink, _out: &mut Outbox) {}

    fn on_timer(&mut self, _times: Times, _sink: &mut impl EventSink, _out: &mut Outbox) {}

    fn execute(&mut self, _command: &Event, _times: Times, _out: &mut Outbox) -> Result<(), ExecuteError> {
        Err(ExecuteError::NotConnected)
    }

    fn resync(
        &mut self,
        _instrument: InstrumentId,
        _reason: BookInvalid,
        _times: Times,
        _sink: &mut impl EventSink,
        _out: &mut Outbox,
    ) {
    }

    fn is_ready(&self, _role: Role) -> bool {
        false
    }

    fn adopt_order(&mut self, _order: OrderId, _instrument: InstrumentId, _venue_order_id: Option<&str>) {}

    fn counters(&self) -> &VenueCounters {
        &self.counters
    }

    fn take_notice(&mut self) -> Option<&str> {
        None
    }
}
