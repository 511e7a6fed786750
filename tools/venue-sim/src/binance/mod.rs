//! Binance spot: REST, WebSocket API, JSON and SBE market streams, user data.
//!
//! One listener serves all of it. Services are told apart by path (`/api/v3/...`, `/ws-api/v3`, `/ws`,
//! `/stream`); SBE streams have the same paths as JSON streams and are told apart by host name
//! (`stream-sbe.*`), by the venue's second port, or by the path prefix `/sbe`.

mod api;
mod auth;
mod errors;
mod info;
mod limits;
mod orders;
pub mod sbe;
pub mod streams;
mod user_data;
mod ws_api;

mod rest;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use errors::ApiError;
use limits::Limits;
use serde::Deserialize;
use serde_json::value::RawValue;
use streams::{MalformedName, Streams};
use user_data::ReportIds;
use ws_api::Session;

use crate::SimError;
use crate::config::BinanceConfig;
use crate::credentials::{ApiKey, Secret};
use crate::decimal::Amount;
use crate::exchange::{Event, Exchange, FeeAsset, Fill, Order, OrderChange};
use crate::fault::{Fault, Scope};
use crate::flow::{Crowd, FlowCount, Pace, References};
use crate::json::{Object, array};
use crate::ledger::{AccountId, AssetId};
use crate::random::Random;
use crate::venue::{Lifetime, Upgrade, Venue, build_exchange};
use crate::wire::{Action, Class, ConnId, HttpReply, HttpRequest, Outbox, Params, Payload, parse_form, push_json_str};

/// Streams per connection.
const STREAMS_MAX: usize = 1024;

/// A stream connection.
#[derive(Debug)]
struct StreamSession {
    sbe: bool,
    combined: bool,
    names: Vec<String>,
    /// When the last client messages came, ms.
    inbound_ms: VecDeque<u64>,
}

#[derive(Debug)]
enum Connection {
    Streams(StreamSession),
    Api(Session),
}

/// A user data subscription.
#[derive(Clone, Debug)]
struct UserStream {
    conn: ConnId,
    account: AccountId,
    id: u16,
    by_logon: bool,
}

/// Simulated Binance spot.
#[derive(Debug)]
pub struct Binance {
    config: BinanceConfig,
    exchange: Exchange,
    keys: Vec<(ApiKey, AccountId)>,
    streams: Streams,
    connections: BTreeMap<ConnId, Connection>,
    opened_ns: BTreeMap<ConnId, u64>,
    user_streams: Vec<UserStream>,
    limits: Limits,
    reports: ReportIds,
    outbox: Outbox,
    crowd: Crowd,
    pace: Pace,
    random: Random,
    maintenance: bool,
    cancel_only: bool,
    close_at_ns: Option<u64>,
    rate_limit_faults: u32,
    next_life_check_ns: u64,
}

/// Crowd actions per message that is due, at most: a stream nobody listens to must not spin.
const ACTIONS_PER_MESSAGE_MAX: u32 = 20;
/// From the notice of a shutdown to the end of the connections.
const SHUTDOWN_NOTICE_NS: u64 = 1_000_000_000;

impl Binance {
    /// A venue as configured, its books filled.
    pub fn new(
        config: BinanceConfig,
        seed: u64,
        flow: &crate::flow::FlowConfig,
        references: &References,
        now_ns: u64,
    ) -> Result<Binance, SimError> {
        let (mut exchange, keys) = build_exchange(&config.venue, FeeAsset::Received, seed)?;
        let mut crowd = Crowd::new(seed ^ 0x6269_6e61_6e63_6500, flow.clone(), exchange.markets.len());
        crowd.step_prices(&exchange, references);
        crowd.seed(&mut exchange, now_ns);
        exchange.take_events();
        let mut streams = Streams::new(&exchange, config.depth_interval_ms);
        let mut outbox = Outbox::default();
        streams.publish(now_ns, &mut exchange, &[], &mut outbox);
        Ok(Binance {
            limits: Limits::new(&config),
            exchange,
            keys,
            streams,
            connections: BTreeMap::new(),
            opened_ns: BTreeMap::new(),
            user_streams: Vec::new(),
            reports: ReportIds::default(),
            outbox,
            crowd,
            pace: Pace::default(),
            random: Random::new(seed ^ 0x6964_7321),
            maintenance: false,
            cancel_only: false,
            close_at_ns: None,
            rate_limit_faults: 0,
            next_life_check_ns: 0,
            config,
        })
    }

    /// A key by its text.
    fn key(&self, text: &str) -> Result<(ApiKey, AccountId), ApiError> {
        if text.len() != 64 || !text.bytes().all(|c| c.is_ascii_alphanumeric()) {
            return Err(ApiError::key_format());
        }
        self.keys.iter().find(|(key, _)| key.key == text).cloned().ok_or_else(ApiError::key)
    }

    fn scales(&self, market: usize) -> sbe::Scales {
        let spec = &self.exchange.markets[market].spec;
        sbe::Scales { price: spec.price_scale, qty: spec.qty_scale }
    }

    /// A client id as the venue makes them up: 22 letters and digits.
    fn random_id(&mut self) -> String {
        const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..22).map(|_| char::from(LETTERS[self.random.below(62) as usize])).collect()
    }

    fn take_rate_limit_fault(&mut self) -> bool {
        let some = self.rate_limit_faults > 0;
        self.rate_limit_faults = self.rate_limit_faults.saturating_sub(1);
        some
    }

    /// Publishes everything that happened in the exchange. Returns the number of distinct market-data
    /// messages.
    fn publish(&mut self, now_ns: u64) -> u64 {
        let events = self.exchange.take_events();
        let mut trades = Vec::new();
        let mut changed: BTreeMap<AccountId, Vec<AssetId>> = BTreeMap::new();
        for event in events {
            match event {
                Event::Trade(trade) => trades.push(trade),
                Event::Order(order, change) => {
                    if let OrderChange::Fill(fill) = &change
                        && order.filled_qty == fill.qty
                    {
                        self.limits.first_fill(now_ns / 1_000_000, fill.account, fill.maker);
                    }
                    let market = &self.exchange.markets[order.terms.market];
                    let assets = changed.entry(order.terms.account).or_default();
                    for asset in [market.base, market.quote] {
                        if !assets.contains(&asset) {
                            assets.push(asset);
                        }
                    }
                    self.report(now_ns, &order, &change);
                }
            }
        }
        for (account, assets) in changed {
            let position = user_data::account_position(now_ns, &self.exchange, account, &assets);
            for stream in self.streams_of(account) {
                self.send_user_event(now_ns, &stream, &position);
            }
        }
        self.streams.publish(now_ns, &mut self.exchange, &trades, &mut self.outbox)
    }

    fn streams_of(&self, account: AccountId) -> Vec<UserStream> {
        self.user_streams.iter().filter(|stream| stream.account == account).cloned().collect()
    }

    fn report(&mut self, now_ns: u64, order: &Order, change: &OrderChange) {
        let symbol = self.streams.symbol(order.terms.market).to_owned();
        let event = user_data::execution_report(now_ns, &self.exchange, &symbol, order, change, &mut self.reports);
        for stream in self.streams_of(order.terms.account) {
            self.send_user_event(now_ns, &stream, &event);
        }
    }

    fn stream_request(&mut self, now_ns: u64, conn: ConnId, text: &str) {
        #[derive(Deserialize)]
        struct Request<'a> {
            method: Option<String>,
            #[serde(borrow, default)]
            params: Option<&'a RawValue>,
            #[serde(borrow, default)]
            id: Option<&'a RawValue>,
        }
        let Some(Connection::Streams(session)) = self.connections.get(&conn) else { return };
        let (sbe, combined) = (session.sbe, session.combined);
        let request = serde_json::from_str::<Request<'_>>(text);
        let (id, result) = match &request {
            Err(_) => ("null".to_owned(), Err((3, "Invalid JSON: expected value at line 1 column 1".to_owned()))),
            Ok(request) => {
                let id = request.id.map_or("null", RawValue::get).to_owned();
                let params: Vec<serde_json::Value> =
                    request.params.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
                let names = || -> Result<Vec<String>, (i64, String)> {
                    params
                        .iter()
                        .map(|value| value.as_str().map(str::to_owned).ok_or((1, "Invalid value type: expected String".to_owned())))
                        .collect()
                };
                let bad = || (2, "Invalid request: invalid stream".to_owned());
                let result = match request.method.as_deref() {
                    Some("SUBSCRIBE") => names().and_then(|names| self.add_streams(conn, names, sbe, combined).map_err(|_| bad())),
                    Some("UNSUBSCRIBE") => names().and_then(|names| self.remove_streams(conn, &names, sbe).map_err(|_| bad())),
                    Some("LIST_SUBSCRIPTIONS") => {
                        let mut out = Vec::new();
                        if let Some(Connection::Streams(session)) = self.connections.get(&conn) {
                            array(&mut out, &session.names, |out, name| push_json_str(out, name));
                        }
                        Ok(out)
                    }
                    Some("SET_PROPERTY") => match (params.first().and_then(|v| v.as_str()), params.get(1).and_then(|v| v.as_bool())) {
                        (Some("combined"), Some(combined)) => {
                            self.streams.set_combined(conn, combined);
                            if let Some(Connection::Streams(session)) = self.connections.get_mut(&conn) {
                                session.combined = combined;
                            }
                            Ok(b"null".to_vec())
                        }
                        _ => Err((0, "Unknown property".to_owned())),
                    },
                    Some(other) => Err((
                        2,
                        format!(
                            "Invalid request: unknown variant `{other}`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
                        ),
                    )),
                    None => Err((2, "Invalid request: missing field `method`".to_owned())),
                };
                (id, result)
            }
        };
        let mut out = Vec::with_capacity(128);
        let mut object = Object::new(&mut out);
        match result {
            Ok(result) => object.raw("result", &result),
            Err((code, msg)) => {
                Object::new(object.key("error")).i64("code", code).str("msg", &msg).end();
                &mut object
            }
        };
        object.raw("id", id.as_bytes()).end();
        self.outbox.send(now_ns, conn, Class::Ack, Payload::text(out));
    }

    fn add_streams(&mut self, conn: ConnId, names: Vec<String>, sbe: bool, combined: bool) -> Result<Vec<u8>, MalformedName> {
        for name in names {
            self.streams.subscribe(conn, &name, sbe, combined)?;
            if let Some(Connection::Streams(session)) = self.connections.get_mut(&conn)
                && !session.names.contains(&name)
            {
                if session.names.len() >= STREAMS_MAX {
                    return Err(MalformedName);
                }
                session.names.push(name);
            }
        }
        Ok(b"null".to_vec())
    }

    fn remove_streams(&mut self, conn: ConnId, names: &[String], sbe: bool) -> Result<Vec<u8>, MalformedName> {
        for name in names {
            self.streams.unsubscribe(conn, name, sbe)?;
            if let Some(Connection::Streams(session)) = self.connections.get_mut(&conn) {
                session.names.retain(|other| other != name);
            }
        }
        Ok(b"null".to_vec())
    }

    /// Counts a client's message on a stream connection; too many close it.
    fn count_inbound(&mut self, now_ns: u64, conn: ConnId) -> bool {
        let max = self.config.stream_messages_per_s as usize;
        let now_ms = now_ns / 1_000_000;
        let Some(Connection::Streams(session)) = self.connections.get_mut(&conn) else { return true };
        while session.inbound_ms.front().is_some_and(|at| at + 1_000 <= now_ms) {
            session.inbound_ms.pop_front();
        }
        session.inbound_ms.push_back(now_ms);
        if session.inbound_ms.len() <= max {
            return true;
        }
        self.outbox.act(conn, Action::Close(1008, "Too many requests"));
        false
    }

    /// Tells every connection (or one) that it will be shut down.
    fn announce_shutdown(&mut self, now_ns: u64, only: Option<ConnId>) {
        let mut event = Vec::new();
        Object::new(&mut event).str("e", "serverShutdown").u64("E", now_ns / 1_000_000).end();
        let wrap = |name: &str, stream: Option<&str>| {
            let mut out = Vec::new();
            let mut object = Object::new(&mut out);
            if let Some(stream) = stream {
                object.str("stream", stream);
            }
            object.raw(name, &event).end();
            out
        };
        for (conn, connection) in &self.connections {
            if only.is_some_and(|only| only != *conn) {
                continue;
            }
            let text = match connection {
                Connection::Api(_) => wrap("event", None),
                Connection::Streams(session) if session.combined => wrap("data", Some("!serverShutdown")),
                Connection::Streams(_) => event.clone(),
            };
            self.outbox.send(now_ns, *conn, Class::Control, Payload::text(text));
        }
    }

    fn check_lives(&mut self, now_ns: u64) {
        let life_ns = self.config.connection_life_ms.saturating_mul(1_000_000);
        let over: Vec<ConnId> = self.opened_ns.iter().filter(|(_, at)| now_ns.saturating_sub(**at) >= life_ns).map(|(c, _)| *c).collect();
        for conn in over {
            self.announce_shutdown(now_ns, Some(conn));
            self.opened_ns.remove(&conn);
            self.outbox.act(conn, Action::Close(1001, "connection life is over"));
        }
    }

    fn scoped(&self, scope: Scope) -> Vec<ConnId> {
        self.connections
            .iter()
            .filter(|(_, connection)| match scope {
                Scope::All => true,
                Scope::Market => matches!(connection, Connection::Streams(_)),
                Scope::Private => matches!(connection, Connection::Api(_)),
            })
            .map(|(conn, _)| *conn)
            .collect()
    }

    /// Fault: a user data event with an execution type nobody knows (without a subscription, an unknown
    /// market event).
    fn unknown_enum(&mut self, now_ns: u64) {
        if self.user_streams.is_empty() {
            self.streams.unknown_event(now_ns, &mut self.outbox);
        }
        for stream in self.user_streams.clone() {
            let mut event = Vec::new();
            Object::new(&mut event)
                .str("e", "executionReport")
                .u64("E", now_ns / 1_000_000)
                .str("s", self.streams.symbol(0))
                .str("x", "MYSTERY")
                .str("X", "MYSTERY")
                .u64("i", 1)
                .end();
            self.send_user_event(now_ns, &stream, &event);
        }
    }
}

impl Venue for Binance {
    fn open(&mut self, now_ns: u64, conn: ConnId, upgrade: &Upgrade) -> Result<Lifetime, HttpReply> {
        let request = &upgrade.request;
        let query: Params = parse_form(&request.query).into_iter().collect();
        let (path, prefixed) = match request.path.strip_prefix("/sbe") {
            Some(rest) => (rest, true),
            None => (request.path.as_str(), false),
        };
        if self.maintenance {
            return Err(HttpReply::json(
                503,
                "{\"code\":-1008,\"msg\":\"Server is currently overloaded with other requests. Please try again in a few minutes.\"}",
            ));
        }
        if !self.limits.charge_connect(now_ns / 1_000_000, upgrade.peer) {
            return Err(HttpReply::json(429, Vec::new()));
        }
        let connection = if path == "/ws-api/v3" {
            if let Err(error) = self.limits.charge(now_ns / 1_000_000, upgrade.peer, 2) {
                return Err(HttpReply::json(error.status, Vec::new()));
            }
            Connection::Api(Session {
                peer: upgrade.peer,
                connected_ms: now_ns / 1_000_000,
                logon: None,
                rate_limits: query.get("returnRateLimits").is_none_or(|text| text != "false"),
                next_subscription: 0,
            })
        } else {
            let sbe = prefixed || upgrade.second_port || request.header("host").starts_with("stream-sbe");
            if sbe {
                let known = self.key(request.header("x-mbx-apikey")).is_ok_and(|(key, _)| matches!(key.secret, Secret::Ed25519(_)));
                if !known {
                    let mut out = Vec::new();
                    ApiError::key().push(&mut out);
                    return Err(HttpReply::json(401, out));
                }
            }
            let (combined, names): (bool, Vec<String>) = if path == "/stream" {
                let names = query.get("streams").map_or("", String::as_str);
                (true, names.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect())
            } else if path == "/ws" || path.starts_with("/ws/") || path.starts_with("/stream/") {
                let names = path.splitn(3, '/').nth(2).unwrap_or("");
                (path.starts_with("/stream"), names.split('/').filter(|name| name.contains('@')).map(str::to_owned).collect())
            } else {
                return Err(HttpReply::json(404, Vec::new()));
            };
            self.connections
                .insert(conn, Connection::Streams(StreamSession { sbe, combined, names: Vec::new(), inbound_ms: VecDeque::new() }));
            for name in names {
                // A malformed name in the URL is passed over, as the venue does.
                let _ = self.add_streams(conn, vec![name], sbe, combined);
            }
            self.opened_ns.insert(conn, now_ns);
            return Ok(self.lifetime());
        };
        self.connections.insert(conn, connection);
        self.opened_ns.insert(conn, now_ns);
        Ok(self.lifetime())
    }

    fn on_text(&mut self, now_ns: u64, conn: ConnId, text: &str) {
        if matches!(self.connections.get(&conn), Some(Connection::Api(_))) {
            self.api_request(now_ns, conn, text);
        } else if self.count_inbound(now_ns, conn) {
            self.stream_request(now_ns, conn, text);
        }
    }

    fn on_ping(&mut self, now_ns: u64, conn: ConnId) {
        self.count_inbound(now_ns, conn);
    }

    fn closed(&mut self, conn: ConnId) {
        self.connections.remove(&conn);
        self.opened_ns.remove(&conn);
        self.streams.drop_connection(conn);
        self.user_streams.retain(|stream| stream.conn != conn);
    }

    fn http(&mut self, now_ns: u64, peer: IpAddr, request: &HttpRequest) -> HttpReply {
        self.rest(now_ns, peer, request)
    }

    fn tick(&mut self, now_ns: u64, elapsed_us: u64, references: &References) {
        self.crowd.advance(&self.exchange, references, elapsed_us);
        self.pace.earn(self.config.venue.messages_per_s, elapsed_us);
        let mut fruitless = 0u32;
        let heard = self.streams.is_heard();
        while self.pace.due() {
            self.crowd.act(&mut self.exchange, now_ns);
            let messages = self.publish(now_ns);
            // With nobody listening the market moves on at the same pace.
            fruitless = if messages == 0 { fruitless + 1 } else { 0 };
            let silent = !heard || fruitless >= ACTIONS_PER_MESSAGE_MAX;
            self.pace.spend(messages);
            if silent {
                fruitless = 0;
                if messages == 0 {
                    self.pace.spend_unheard();
                }
            }
        }
        let messages = self.streams.tick(now_ns, &self.exchange, &mut self.outbox);
        self.pace.spend(messages);
        self.outbox.release(now_ns);
        if self.close_at_ns.is_some_and(|at| now_ns >= at) {
            self.close_at_ns = None;
            for conn in self.scoped(Scope::All) {
                self.outbox.act(conn, Action::Close(1001, "server shutdown"));
            }
        }
        if now_ns >= self.next_life_check_ns {
            self.next_life_check_ns = now_ns + 50_000_000;
            self.check_lives(now_ns);
        }
    }

    fn skip(&mut self, elapsed_us: u64, references: &References) {
        self.crowd.advance(&self.exchange, references, elapsed_us);
        self.pace.give_up(self.config.venue.messages_per_s, elapsed_us);
    }

    fn flow(&self) -> FlowCount {
        self.pace.count()
    }

    fn inject(&mut self, now_ns: u64, fault: &Fault) {
        match *fault {
            Fault::DropConnections { scope } => {
                for conn in self.scoped(scope) {
                    self.outbox.act(conn, Action::Abort);
                }
            }
            Fault::CloseConnections { scope } => {
                for conn in self.scoped(scope) {
                    self.outbox.act(conn, Action::Close(1001, "going away"));
                }
            }
            Fault::HalfOpen { scope } => {
                for conn in self.scoped(scope) {
                    self.outbox.act(conn, Action::Freeze);
                }
            }
            Fault::SkipSequence { count } => self.streams.skip = count,
            Fault::RateLimit { count } => self.rate_limit_faults = count,
            Fault::MaintenanceOn => {
                self.maintenance = true;
                self.announce_shutdown(now_ns, None);
                self.close_at_ns = Some(now_ns + SHUTDOWN_NOTICE_NS);
            }
            Fault::MaintenanceOff => {
                self.maintenance = false;
                self.close_at_ns = None;
            }
            Fault::CancelOnlyOn => self.cancel_only = true,
            Fault::CancelOnlyOff => self.cancel_only = false,
            Fault::CrossedBook => self.streams.cross_books(now_ns, &self.exchange, &mut self.outbox),
            Fault::UnknownSymbol => self.streams.unknown_symbol(now_ns, &mut self.outbox),
            Fault::UnknownEnum => self.unknown_enum(now_ns),
            // The venue has no checksum; the rest is done to its messages on their way out, or to the clock.
            Fault::BadChecksum { .. } | Fault::ClockJump { .. } => {}
            Fault::StallStreams { .. }
            | Fault::SilencePrivate { .. }
            | Fault::LoseExecutions { .. }
            | Fault::UnknownOutcome { .. }
            | Fault::DelayAcks { .. }
            | Fault::DuplicateAcks { .. }
            | Fault::DuplicateExecutions { .. }
            | Fault::LoseAcks { .. }
            | Fault::MalformedJson { .. } => self.outbox.inject(now_ns, fault),
        }
    }

    fn deposit(&mut self, now_ns: u64, account: AccountId, asset: &str, amount: Amount) {
        let id = self.exchange.ledger.asset(asset);
        self.exchange.ledger.deposit(account, id, amount);
        let update = user_data::balance_update(now_ns, asset, amount);
        for stream in self.streams_of(account) {
            self.send_user_event(now_ns, &stream, &update);
        }
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    fn symbol(&self, market: usize) -> String {
        self.streams.symbol(market).to_owned()
    }

    fn order_text(&self, id: u64) -> String {
        id.to_string()
    }

    fn fill_text(&self, fill: &Fill) -> String {
        fill.trade_id.to_string()
    }

    fn account_of(&self, key: &str) -> Option<AccountId> {
        self.keys.iter().find(|(known, _)| known.key == key).map(|(_, account)| *account)
    }

    fn accounts(&self) -> Vec<(String, AccountId)> {
        crate::venue::first_keys(&self.keys)
    }
}

impl Binance {
    fn lifetime(&self) -> Lifetime {
        Lifetime { ping_interval_ms: self.config.ping_interval_ms, pong_timeout_ms: self.config.pong_timeout_ms }
    }
}
