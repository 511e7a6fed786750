//! Kraken spot: REST, WebSocket v2 public and private.
//!
//! One listener serves all of it. REST is told by its path (`/0/...`); the two WebSocket services share
//! the path `/v2` and are told apart by host name (`ws-auth.*` is private), by the venue's second port
//! (private), or by the path `/v2-auth`.

pub mod book_feed;
mod executions;
mod ids;
mod instruments;
mod limits;
mod orders;
mod private_ws;
mod public_ws;
mod rest;
mod rest_batch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use book_feed::{BookFeed, Rows, Scales};
use instruments::PairNames;
use limits::Limits;
use public_ws::Channel;

use crate::SimError;
use crate::book::Side;
use crate::config::KrakenConfig;
use crate::credentials::ApiKey;
use crate::decimal::Amount;
use crate::exchange::{EndReason, Event, Exchange, FeeAsset, Fill};
use crate::fault::{Fault, Scope};
use crate::flow::{Crowd, FlowCount, Pace, References};
use crate::json::{Object, array};
use crate::ledger::AccountId;
use crate::random::Random;
use crate::venue::{Lifetime, Upgrade, Venue, build_exchange};
use crate::wire::{Action, Class, ConnId, HttpReply, HttpRequest, Outbox};

/// A heartbeat goes out when nothing else did for this long.
const HEARTBEAT_NS: u64 = 1_000_000_000;
/// Crowd actions per message that is due, at most: a stream nobody listens to must not spin.
const ACTIONS_PER_MESSAGE_MAX: u32 = 20;

/// A private channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PrivateFeed {
    Executions,
    Balances,
}

/// A private subscription with its message counter.
#[derive(Clone, Debug)]
struct PrivateSubscription {
    account: AccountId,
    sequence: u64,
}

/// A WebSocket connection.
#[derive(Debug)]
struct Connection {
    private: bool,
    id: u64,
    opened_ns: u64,
    active_ns: u64,
    sent_ns: u64,
    channels: BTreeSet<Channel>,
    tokens: BTreeSet<String>,
    executions: Option<PrivateSubscription>,
    balances: Option<PrivateSubscription>,
}

impl Connection {
    fn private_feed(&mut self, feed: PrivateFeed) -> &mut Option<PrivateSubscription> {
        match feed {
            PrivateFeed::Executions => &mut self.executions,
            PrivateFeed::Balances => &mut self.balances,
        }
    }

    fn has_subscription(&self) -> bool {
        !self.channels.is_empty() || self.executions.is_some() || self.balances.is_some()
    }
}

/// The public subscribers of one market.
#[derive(Debug, Default)]
struct MarketFeeds {
    books: BTreeMap<usize, BookFeed>,
    trade: Vec<ConnId>,
    /// Tickers triggered by trades, and by the best bid and offer.
    tickers: [Vec<ConnId>; 2],
    top: [Option<(i64, i64)>; 2],
    /// Since the last message about it.
    traded: bool,
}

/// The public subscribers.
#[derive(Debug, Default)]
struct Feeds {
    markets: Vec<MarketFeeds>,
}

impl Feeds {
    fn drop(&mut self, conn: ConnId, channel: Channel) {
        let gone = |list: &mut Vec<ConnId>| list.retain(|other| *other != conn);
        match channel {
            Channel::Book(market, depth) => {
                if let Some(feed) = self.markets[market].books.get_mut(&depth) {
                    gone(&mut feed.subscribers);
                }
            }
            Channel::Trade(market) => gone(&mut self.markets[market].trade),
            Channel::Ticker(market, bbo) => gone(&mut self.markets[market].tickers[usize::from(bbo)]),
            Channel::Instrument => {}
        }
    }

    /// True when anyone subscribes to anything that the crowd moves.
    fn is_heard(&self) -> bool {
        self.markets.iter().any(|market| {
            !market.trade.is_empty()
                || market.tickers.iter().any(|subscribers| !subscribers.is_empty())
                || market.books.values().any(|feed| !feed.subscribers.is_empty())
        })
    }

    fn book_subscribers(&self) -> BTreeSet<ConnId> {
        self.markets.iter().flat_map(|market| market.books.values()).flat_map(|feed| feed.subscribers.iter().copied()).collect()
    }
}

/// Simulated Kraken spot.
#[derive(Debug)]
pub struct Kraken {
    config: KrakenConfig,
    exchange: Exchange,
    names: Vec<PairNames>,
    keys: Vec<(ApiKey, AccountId)>,
    nonces: HashMap<String, u64>,
    tokens: HashMap<String, (AccountId, u64)>,
    connections: BTreeMap<ConnId, Connection>,
    feeds: Feeds,
    limits: Limits,
    dead_man: BTreeMap<AccountId, u64>,
    outbox: Outbox,
    crowd: Crowd,
    pace: Pace,
    random: Random,
    system: &'static str,
    skip: u32,
    bad_checksums: u32,
    rate_limit_faults: u32,
    next_amend: u64,
    next_check_ns: u64,
    scratch: Vec<(Side, i64)>,
    rows: [Rows; 2],
    events: Vec<Event>,
}

impl Kraken {
    /// A venue as configured, its books filled.
    pub fn new(
        config: KrakenConfig,
        seed: u64,
        flow: &crate::flow::FlowConfig,
        references: &References,
        now_ns: u64,
    ) -> Result<Kraken, SimError> {
        let (mut exchange, keys) = build_exchange(&config.venue, FeeAsset::Quote, seed)?;
        let mut crowd = Crowd::new(seed ^ 0x6b72_616b_656e_0000, flow.clone(), exchange.markets.len());
        crowd.step_prices(&exchange, references);
        crowd.seed(&mut exchange, now_ns);
        exchange.take_events();
        let mut feeds = Feeds::default();
        for market in &mut exchange.markets {
            market.book.take_touched(&mut Vec::new());
            let top = [market.book.best(Side::Buy), market.book.best(Side::Sell)];
            feeds.markets.push(MarketFeeds { top, ..MarketFeeds::default() });
        }
        Ok(Kraken {
            limits: Limits::new(&config),
            names: exchange.markets.iter().map(|market| PairNames::of(&market.spec)).collect(),
            exchange,
            keys,
            nonces: HashMap::new(),
            tokens: HashMap::new(),
            connections: BTreeMap::new(),
            feeds,
            dead_man: BTreeMap::new(),
            outbox: Outbox::default(),
            crowd,
            pace: Pace::default(),
            random: Random::new(seed ^ 0x746f_6b65_6e00),
            system: "online",
            skip: 0,
            bad_checksums: 0,
            rate_limit_faults: 0,
            next_amend: seed,
            next_check_ns: 0,
            scratch: Vec::new(),
            rows: Default::default(),
            events: Vec::new(),
            config,
        })
    }

    fn scales(&self, market: usize) -> Scales {
        let spec = &self.exchange.markets[market].spec;
        Scales { price: spec.price_scale, qty: spec.qty_scale }
    }

    fn take_rate_limit_fault(&mut self) -> bool {
        let some = self.rate_limit_faults > 0;
        self.rate_limit_faults = self.rate_limit_faults.saturating_sub(1);
        some
    }

    fn send_status(&mut self, now_ns: u64, conn: ConnId) {
        let Some(connection) = self.connections.get(&conn) else { return };
        let id = connection.id;
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.str("channel", "status").str("type", "update");
        array(object.key("data"), [id], |out, id| {
            Object::new(out).str("version", "2.0.10").str("system", self.system).str("api_version", "v2").u64("connection_id", id).end();
        });
        object.end();
        self.send(now_ns, conn, Class::Control, out);
    }

    /// Changes the system's state and tells everyone.
    fn set_system(&mut self, now_ns: u64, system: &'static str) {
        self.system = system;
        let conns: Vec<ConnId> = self.connections.keys().copied().collect();
        for conn in conns {
            self.send_status(now_ns, conn);
            if self.connections.get(&conn).is_some_and(|connection| connection.channels.contains(&Channel::Instrument)) {
                let out = self.instrument_message("update");
                self.send(now_ns, conn, Class::Market, out);
            }
        }
    }

    /// Heartbeats, idle connections, the dead man's switch.
    fn check_timers(&mut self, now_ns: u64) {
        let idle_ns = self.config.idle_close_ms.saturating_mul(1_000_000);
        let mut heartbeats = Vec::new();
        for (conn, connection) in &self.connections {
            let idle = now_ns.saturating_sub(connection.active_ns) > idle_ns;
            let unused = connection.private
                && connection.executions.is_none()
                && connection.balances.is_none()
                && now_ns.saturating_sub(connection.opened_ns) > idle_ns;
            if idle || unused {
                self.outbox.act(*conn, Action::Close(1000, "idle"));
            } else if connection.has_subscription() && now_ns.saturating_sub(connection.sent_ns) >= HEARTBEAT_NS {
                heartbeats.push(*conn);
            }
        }
        for conn in heartbeats {
            self.send(now_ns, conn, Class::Market, br#"{"channel":"heartbeat"}"#.to_vec());
        }
        let fired: Vec<AccountId> = self.dead_man.iter().filter(|(_, at)| now_ns >= **at).map(|(account, _)| *account).collect();
        // In maintenance the engine is away; the switch fires when it returns.
        if self.system != "maintenance" && !fired.is_empty() {
            for account in fired {
                self.dead_man.remove(&account);
                self.cancel_all(now_ns, account, EndReason::DeadMan);
            }
            self.publish(now_ns);
        }
    }

    fn scoped(&self, scope: Scope) -> Vec<ConnId> {
        let wanted = |private: bool| match scope {
            Scope::All => true,
            Scope::Market => !private,
            Scope::Private => private,
        };
        self.connections.iter().filter(|(_, connection)| wanted(connection.private)).map(|(conn, _)| *conn).collect()
    }
}

impl Venue for Kraken {
    fn open(&mut self, now_ns: u64, conn: ConnId, upgrade: &Upgrade) -> Result<Lifetime, HttpReply> {
        let private = match upgrade.request.path.as_str() {
            "/v2-auth" => true,
            "/v2" => upgrade.second_port || upgrade.request.header("host").starts_with("ws-auth"),
            _ => return Err(HttpReply::json(404, Vec::new())),
        };
        if !self.limits.charge_connect(now_ns, upgrade.peer) {
            return Err(HttpReply::json(429, Vec::new()));
        }
        let id = self.random.bits();
        self.connections.insert(
            conn,
            Connection {
                private,
                id,
                opened_ns: now_ns,
                active_ns: now_ns,
                sent_ns: now_ns,
                channels: BTreeSet::new(),
                tokens: BTreeSet::new(),
                executions: None,
                balances: None,
            },
        );
        self.send_status(now_ns, conn);
        Ok(Lifetime::default())
    }

    fn on_text(&mut self, now_ns: u64, conn: ConnId, text: &str) {
        self.request(now_ns, conn, text);
    }

    fn on_ping(&mut self, now_ns: u64, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.active_ns = now_ns;
        }
    }

    fn closed(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.remove(&conn) {
            for channel in connection.channels {
                self.feeds.drop(conn, channel);
            }
        }
    }

    fn http(&mut self, now_ns: u64, peer: IpAddr, request: &HttpRequest) -> HttpReply {
        self.rest(now_ns, peer, request)
    }

    fn tick(&mut self, now_ns: u64, elapsed_us: u64, references: &References) {
        self.crowd.advance(&self.exchange, references, elapsed_us);
        self.pace.earn(self.config.venue.messages_per_s, elapsed_us);
        let mut fruitless = 0u32;
        let heard = self.feeds.is_heard();
        // In maintenance the market stands still.
        while self.pace.due() && self.system != "maintenance" {
            self.crowd.act(&mut self.exchange, now_ns);
            let messages = self.publish(now_ns);
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
        self.outbox.release(now_ns);
        if now_ns >= self.next_check_ns {
            self.next_check_ns = now_ns + 50_000_000;
            self.check_timers(now_ns);
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
            Fault::SkipSequence { count } => self.skip = count,
            Fault::BadChecksum { count } => self.bad_checksums = count,
            Fault::RateLimit { count } => self.rate_limit_faults = count,
            Fault::MaintenanceOn => self.set_system(now_ns, "maintenance"),
            Fault::CancelOnlyOn => self.set_system(now_ns, "cancel_only"),
            Fault::MaintenanceOff | Fault::CancelOnlyOff => self.set_system(now_ns, "online"),
            Fault::CrossedBook => self.cross_books(now_ns),
            Fault::UnknownSymbol => self.unknown_symbol(now_ns),
            Fault::UnknownEnum => self.unknown_enum(now_ns),
            Fault::ClockJump { .. } => {
                // Activity was stamped by the clock before the jump.
                for connection in self.connections.values_mut() {
                    connection.active_ns = now_ns;
                    connection.sent_ns = now_ns;
                    connection.opened_ns = now_ns;
                }
                self.next_check_ns = 0;
            }
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
        self.next_amend += 1;
        let record = executions::deposit_record(&self.exchange, account, id, amount, self.next_amend, now_ns);
        for conn in self.private_subscribers(account, PrivateFeed::Balances) {
            self.send_private(now_ns, conn, PrivateFeed::Balances, "update", std::slice::from_ref(&record));
        }
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    fn symbol(&self, market: usize) -> String {
        self.names[market].symbol.clone()
    }

    fn order_text(&self, id: u64) -> String {
        ids::text('O', id)
    }

    fn fill_text(&self, fill: &Fill) -> String {
        ids::text('T', fill.exec_id)
    }

    fn account_of(&self, key: &str) -> Option<AccountId> {
        self.keys.iter().find(|(known, _)| known.key == key).map(|(_, account)| *account)
    }

    fn accounts(&self) -> Vec<(String, AccountId)> {
        crate::venue::first_keys(&self.keys)
    }
}
