//! The codec against the simulated venue, both in memory: what one writes the other must take, and what the
//! venue holds to be true the codec's events must say.

mod binance_support;

use binance_support::{MS, S, send, send_new, send_replace};
use engine_core::book::{Book, BookConfig};
use engine_core::event::{BookInvalid, Event, EventKind, RejectReason, Side, Times, VenueOrderStatus, flags};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::{InstrumentId, OrderId, VenueId};
use engine_core::instrument::{AssetTable, InstrumentTable};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use venue_sim::config::{AccountConfig, BinanceConfig};
use venue_sim::credentials::BinanceCredentials;
use venue_sim::fault::Fault;
use venue_sim::flow::{FlowConfig, References};
use venue_sim::venue::{Upgrade, Venue as SimVenue};
use venue_sim::wire::{Action, HttpRequest, Payload};
use venues::binance::{Binance, BinanceRest, default_hosts};
use venues::outbox::{ColdRequest, Outbox};
use venues::rest::{RestQuery, RestReply, Tables, VenueRest};
use venues::venue::{Credentials, Encoding, Link, MessageKind, Role, Venue, VenueInit, VenueSettings};

const NOW: u64 = 1_767_225_600_000 * MS;
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const VENUE: VenueId = VenueId(0);
const BTC: InstrumentId = InstrumentId(0);

/// Both sides, and the wires between them.
struct Pair {
    sim: venue_sim::binance::Binance,
    references: References,
    codec: Binance,
    rest: BinanceRest,
    instruments: InstrumentTable,
    assets: AssetTable,
    out: Outbox,
    events: Vec<Event>,
    books: Vec<Book>,
    links: BTreeMap<u64, Link>,
    next_conn: u64,
    now_ns: u64,
    snapshots: u32,
}

impl Pair {
    fn new(encoding: Encoding) -> Pair {
        let keys = BinanceCredentials::generate().expect("random");
        let mut config = BinanceConfig { depth_interval_ms: Some(10), ..BinanceConfig::default() };
        let balances = vec![("USDT".into(), "10000000".into()), ("BTC".into(), "100".into())];
        config.venue.accounts = vec![AccountConfig { keys: keys.api_keys(), balances }];
        let flow = FlowConfig::default();
        let prices = config.venue.markets.iter().map(|m| (m.base.clone(), m.open_price.parse().expect("a number")));
        let references = References::new(3, &flow, prices.collect());
        let mut sim = venue_sim::binance::Binance::new(config, 3, &flow, &references, NOW).expect("valid");
        let credentials =
            Credentials { api_key: keys.ed25519_key.clone(), secret: String::new().into(), ed25519_seed: Some(keys.ed25519_seed.into()) };
        let settings = VenueSettings {
            id: VENUE,
            hosts: default_hosts(),
            credentials: Some(credentials),
            encoding,
            dead_man_s: 0,
            cancel_reserve_percent: 20,
            request_window_ms: 0,
        };
        // Reference data comes from the venue, as in the engine.
        let mut rest = BinanceRest::new(&settings).expect("valid");
        let (mut instruments, mut assets) = (InstrumentTable::new(), AssetTable::new());
        let query = RestQuery::Instruments { symbols: vec!["BTCUSDT".into(), "ETHUSDT".into()] };
        let reply = call(&mut sim, &mut rest, &query, &instruments, &mut assets, NOW);
        let Ok(RestReply::Instruments { instruments: found, quarantined }) = reply else { panic!("{reply:?}") };
        assert!(quarantined.is_empty(), "{quarantined:?}");
        for instrument in found {
            instruments.add(instrument).expect("new");
        }
        let codec = Binance::new(VenueInit { settings, instruments: &instruments, assets: &assets, epoch: 7 }).expect("valid");
        let mut pair = Pair {
            sim,
            references,
            codec,
            rest,
            books: instruments.iter().map(|_| Book::new(BookConfig { capacity: 2_000, ..BookConfig::default() })).collect(),
            instruments,
            assets,
            out: Outbox::new(),
            events: Vec::new(),
            links: BTreeMap::new(),
            next_conn: 1,
            now_ns: NOW,
            snapshots: 0,
        };
        for role in Role::ALL {
            pair.connect(role, 1);
        }
        pair.run(100);
        assert!(Role::ALL.iter().all(|&role| pair.codec.is_ready(role)));
        pair
    }

    fn times(&self) -> Times {
        Times { core_ns: self.now_ns, poll_delay_ns: 0 }
    }

    fn connect(&mut self, role: Role, generation: u32) {
        let endpoint = self.codec.endpoints().iter().find(|e| e.role == role).expect("has it").clone();
        let (path, query) = endpoint.path.split_once('?').unwrap_or((&endpoint.path, ""));
        let mut headers: BTreeMap<String, String> = endpoint.headers.iter().map(|(n, v)| (n.to_lowercase(), v.clone())).collect();
        headers.insert("host".into(), endpoint.host.clone());
        let request = HttpRequest { method: "GET".into(), path: path.into(), query: query.into(), headers, body: Vec::new() };
        let conn = self.next_conn;
        self.next_conn += 1;
        let accepted = self.sim.open(self.now_ns, conn, &Upgrade { peer: PEER, request, second_port: false });
        assert!(accepted.is_ok(), "{role:?}");
        let link = Link { role, generation };
        self.links.insert(conn, link);
        self.codec.on_open(link, self.times(), &mut self.events, &mut self.out);
        self.exchange();
    }

    fn disconnect(&mut self, conn: u64) {
        if let Some(link) = self.links.remove(&conn) {
            self.sim.closed(conn);
            self.codec.on_close(link, self.times(), &mut self.events, &mut self.out);
        }
    }

    /// Carries everything both ways until both are silent.
    fn exchange(&mut self) {
        for _ in 0..1_000 {
            let messages: Vec<(Role, Vec<u8>)> = self.out.messages().map(|(role, bytes)| (role, bytes.to_vec())).collect();
            let requests = self.out.requests().to_vec();
            self.out.clear();
            for (role, bytes) in &messages {
                let newest = self.links.iter().filter(|(_, link)| link.role == *role).max_by_key(|(_, link)| link.generation);
                let (&conn, _) = newest.expect("connected");
                self.sim.on_text(self.now_ns, conn, std::str::from_utf8(bytes).expect("text"));
            }
            for request in &requests {
                if let ColdRequest::BookSnapshot { instrument } = request {
                    self.snapshot(*instrument);
                }
            }
            let outputs: Vec<_> = self.sim.outbox().drain().collect();
            if messages.is_empty() && requests.is_empty() && outputs.is_empty() {
                self.apply();
                return;
            }
            for output in outputs {
                let Some(&link) = self.links.get(&output.conn) else { continue };
                let times = self.times();
                match output.action {
                    Action::Send(Payload::Text(text)) => {
                        self.codec.on_message(link, MessageKind::Text, text.as_str().as_bytes(), times, &mut self.events, &mut self.out);
                    }
                    Action::Send(Payload::Binary(bytes)) => {
                        self.codec.on_message(link, MessageKind::Binary, &bytes, times, &mut self.events, &mut self.out);
                    }
                    Action::Close(..) | Action::Abort => self.disconnect(output.conn),
                    Action::Freeze => {}
                }
            }
        }
        panic!("the two never fall silent");
    }

    /// Fetches a snapshot and hands it in as the cold plane does.
    fn snapshot(&mut self, instrument: InstrumentId) {
        self.snapshots += 1;
        let query = RestQuery::BookSnapshot { instrument, depth: 1_000 };
        let reply = call(&mut self.sim, &mut self.rest, &query, &self.instruments, &mut self.assets, self.now_ns);
        let Ok(RestReply::BookSnapshot { sequence, bids, asks }) = reply else { panic!("{reply:?}") };
        let levels = bids.iter().map(|&(p, q)| (Side::Buy, p.0, q.0)).chain(asks.iter().map(|&(p, q)| (Side::Sell, p.0, q.0)));
        let levels: Vec<_> = levels.collect();
        let times = self.times();
        for event in binance_support::snapshot_events(instrument, sequence, &levels) {
            self.codec.on_cold(&event, times, &mut self.events, &mut self.out);
        }
    }

    fn apply(&mut self) {
        for event in &self.events {
            if let Some(book) = self.books.get_mut(usize::from(event.instrument)) {
                book.apply(event);
            }
        }
    }

    /// Lets time go by, in milliseconds.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_ns += MS;
            self.references.step();
            self.sim.tick(self.now_ns, 1_000, &self.references);
            self.codec.on_timer(self.times(), &mut self.events, &mut self.out);
            self.exchange();
            self.events.retain(|e| e.kind >= EventKind::OrderAck as u8);
        }
    }

    fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Order reports since last asked, balances aside.
    fn reports(&mut self) -> Vec<Event> {
        self.take().into_iter().filter(|e| e.kind >= EventKind::OrderAck as u8 && e.kind < EventKind::Balance as u8).collect()
    }

    fn execute(&mut self, command: Event) {
        self.codec.execute(&command, self.times(), &mut self.out).expect("sent");
        self.exchange();
    }

    /// The depth that the codec's events built is the venue's, as soon as its last changes are published.
    fn assert_books_agree(&mut self) {
        for id in 0..self.books.len() {
            let market =
                (0..self.sim.exchange().markets.len()).find(|&m| self.sim.symbol(m) == self.instruments[InstrumentId(id as u16)].symbol);
            let truth = &self.sim.exchange().markets[market.expect("traded")].book;
            let book = &self.books[id];
            assert!(book.is_valid(), "book {id}: {:?}", book.state());
            for (side, sim_side) in [(Side::Buy, venue_sim::book::Side::Buy), (Side::Sell, venue_sim::book::Side::Sell)] {
                let held: Vec<(i64, i64)> = book.levels(side).map(|l| (l.price.0, l.qty.0)).collect();
                let expected: Vec<(i64, i64)> = truth.levels(sim_side).collect();
                assert_eq!(held, expected, "book {id} {side:?}");
            }
        }
    }

    /// Stops the market and lets the last depth messages go out.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.now_ns += MS;
            self.sim.tick(self.now_ns, 0, &self.references);
            self.codec.on_timer(self.times(), &mut self.events, &mut self.out);
            self.exchange();
            self.events.retain(|e| e.kind >= EventKind::OrderAck as u8);
        }
    }

    fn best(&self, side: Side) -> i64 {
        self.books[0].best(side).expect("has a best").price.0
    }
}

fn call(
    sim: &mut venue_sim::binance::Binance,
    rest: &mut BinanceRest,
    query: &RestQuery,
    instruments: &InstrumentTable,
    assets: &mut AssetTable,
    now_ns: u64,
) -> Result<RestReply, venues::rest::RestError> {
    let request = rest.request(query, Tables { instruments, assets }, now_ns)?;
    let (path, query_text) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let headers = request.headers.iter().map(|(n, v)| (n.to_lowercase(), v.clone())).collect();
    let sent = HttpRequest { method: request.method.into(), path: path.into(), query: query_text.into(), headers, body: request.body };
    let reply = sim.http(now_ns, PEER, &sent);
    let headers: Vec<(String, String)> = reply.headers.iter().map(|(n, v)| (n.to_lowercase(), v.clone())).collect();
    rest.parse(query, reply.status, &headers, &reply.body, instruments, assets)
}

#[test]
fn books_of_both_encodings_are_the_venues_books() {
    for encoding in [Encoding::Json, Encoding::Sbe] {
        let mut pair = Pair::new(encoding);
        pair.run(2_000);
        pair.settle();
        pair.assert_books_agree();
        let counters = *pair.codec.counters();
        assert!(counters.messages > 500, "{counters:?}");
        assert_eq!((counters.malformed, counters.gaps, counters.unknown_messages, counters.unknown_symbols), (0, 0, 0, 0), "{encoding:?}");
        assert_eq!(pair.snapshots, 2);
    }
}

#[test]
fn books_heal_after_gaps_garbage_and_lost_connections() {
    for encoding in [Encoding::Json, Encoding::Sbe] {
        let mut pair = Pair::new(encoding);
        pair.sim.inject(pair.now_ns, &Fault::SkipSequence { count: 1 });
        pair.run(500);
        assert_eq!(pair.codec.counters().gaps, 1);
        pair.sim.inject(pair.now_ns, &Fault::UnknownSymbol);
        pair.sim.inject(pair.now_ns, &Fault::StallStreams { ms: 200 });
        pair.run(1_000);
        assert!(pair.codec.counters().unknown_symbols > 0);
        if encoding == Encoding::Json {
            pair.sim.inject(pair.now_ns, &Fault::MalformedJson { count: 1 });
            pair.run(1_000);
            assert!(pair.codec.counters().malformed > 0);
        }
        let market: Vec<u64> = pair.links.iter().filter(|(_, l)| l.role == Role::MarketData).map(|(&c, _)| c).collect();
        pair.disconnect(market[0]);
        pair.apply();
        assert!(!pair.books.iter().any(Book::is_valid));
        pair.connect(Role::MarketData, 2);
        pair.run(500);
        pair.connect(Role::MarketData, 3);
        pair.run(500);
        let old = pair.links.iter().find(|(_, l)| l.role == Role::MarketData && l.generation == 2).map(|(&c, _)| c);
        pair.disconnect(old.expect("open"));
        pair.run(500);
        pair.settle();
        pair.assert_books_agree();
    }
}

#[test]
fn books_of_a_stalled_stream_stay_invalid_until_it_goes_on() {
    for encoding in [Encoding::Json, Encoding::Sbe] {
        let mut pair = Pair::new(encoding);
        pair.run(500);
        pair.sim.inject(pair.now_ns, &Fault::StallStreams { ms: 7_000 });
        pair.run(1_000);
        for id in 0..pair.books.len() {
            let times = pair.times();
            pair.codec.resync(InstrumentId(id as u16), BookInvalid::Stale, times, &mut pair.events, &mut pair.out);
        }
        let snapshots = pair.snapshots;
        for _ in 0..59 {
            pair.run(100);
            assert!(!pair.books.iter().any(Book::is_valid), "{encoding:?}: the stream is silent");
        }
        assert!((2..=6).contains(&(pair.snapshots - snapshots)), "{} snapshots in 6 s", pair.snapshots - snapshots);
        pair.run(500);
        pair.settle();
        pair.assert_books_agree();
        assert_eq!(pair.codec.counters().gaps, 0, "what was held back leads to the snapshot and past it");
    }
}

#[test]
fn an_order_is_placed_amended_and_cancelled() {
    let mut pair = Pair::new(Encoding::Json);
    pair.settle();
    pair.take();
    let order = OrderId::new(7, 1);
    let price = pair.best(Side::Buy) - 50_000;
    let qty = 100_000 / 10i64.pow(u32::from(8 - pair.instruments[BTC].qty_scale));
    pair.execute(send_new(order, Side::Buy, price, 2 * qty, flags::POST_ONLY));
    let kinds = |events: &[Event]| events.iter().map(|e| e.event_kind().unwrap()).collect::<Vec<_>>();
    let events = pair.reports();
    assert!(!events.is_empty() && events.iter().all(|e| e.event_kind() == Some(EventKind::OrderAck) && e.order_id() == order));
    pair.execute(send_replace(order, price, qty, 2 * qty));
    let events = pair.reports();
    assert_eq!(kinds(&events), [EventKind::OrderReplaced], "once, though answer and stream both say it");
    assert_eq!((events[0].b as i64, events[0].c as i64), (price, qty));
    pair.execute(send(EventKind::SendQuery, order));
    let events = pair.reports();
    assert_eq!((kinds(&events), events[0].code, events[0].d as i64), (vec![EventKind::OrderStatus], VenueOrderStatus::Open as u32, qty));
    let reply = call(&mut pair.sim, &mut pair.rest, &RestQuery::OpenOrders, &pair.instruments, &mut pair.assets, pair.now_ns);
    let Ok(RestReply::Orders(open)) = reply else { panic!("{reply:?}") };
    assert_eq!((open.len(), open[0].order, open[0].price, open[0].qty), (1, Some(order), Price(price), Qty(qty)));
    pair.execute(send(EventKind::SendCancel, order));
    let events = pair.reports();
    assert!(!events.is_empty() && events.iter().all(|e| e.event_kind() == Some(EventKind::OrderCanceled) && e.b == 0));
    pair.execute(send(EventKind::SendCancel, order));
    let events = pair.reports();
    assert_eq!((kinds(&events), events[0].code), (vec![EventKind::CancelReject], RejectReason::UnknownOrder as u32));
    // Refusals.
    let ask = pair.best(Side::Sell);
    for (command, reason) in [
        (send_new(OrderId::new(7, 2), Side::Buy, ask + 1_000, qty, flags::POST_ONLY), RejectReason::PostOnlyWouldTake),
        (send_new(OrderId::new(7, 3), Side::Buy, price, 1, 0), RejectReason::Notional),
        (
            send_new(OrderId::new(7, 4), Side::Buy, price, 8_000 * 10i64.pow(u32::from(pair.instruments[BTC].qty_scale)), 0),
            RejectReason::InsufficientFunds,
        ),
    ] {
        pair.execute(command);
        let events = pair.reports();
        assert_eq!(kinds(&events), [EventKind::OrderReject], "{reason:?}");
        assert_eq!(events[0].code, reason as u32);
    }
    // Everything at once.
    for sequence in 10..15 {
        pair.execute(send_new(OrderId::new(7, sequence), Side::Buy, price, qty, 0));
    }
    pair.reports();
    pair.execute(send(EventKind::SendCancelAll, OrderId::NONE));
    let gone: BTreeSet<OrderId> =
        pair.reports().iter().filter(|e| e.event_kind() == Some(EventKind::OrderCanceled)).map(Event::order_id).collect();
    assert_eq!(gone.len(), 5);
}

#[test]
fn fills_fees_and_balances_are_the_venues_own() {
    let mut pair = Pair::new(Encoding::Json);
    pair.settle();
    pair.take();
    let order = OrderId::new(7, 1);
    let scale = pair.instruments[BTC].qty_scale;
    let qty = 5 * 10i64.pow(u32::from(scale)) / 100;
    let ask = pair.best(Side::Sell);
    pair.execute(send_new(order, Side::Buy, ask + 100_000, qty, flags::IOC));
    let events = pair.take();
    let fills: Vec<&Event> = events.iter().filter(|e| e.event_kind() == Some(EventKind::OrderFill)).collect();
    assert_eq!(fills.iter().map(|e| e.c as i64).sum::<i64>(), qty);
    assert!(fills.iter().all(|e| !e.has(flags::MAKER) && e.order_id() == order));
    let since_ns = pair.now_ns - S;
    let query = RestQuery::Fills { instrument: BTC, since_ns, cursor: 0 };
    let reply = call(&mut pair.sim, &mut pair.rest, &query, &pair.instruments, &mut pair.assets, pair.now_ns);
    let Ok(RestReply::Fills { fills: records, next: Some(next) }) = reply else { panic!("{reply:?}") };
    let streamed: Vec<(u64, u64, u64)> = fills.iter().map(|e| (e.d, e.b, e.c)).collect();
    let recorded: Vec<(u64, u64, u64)> = records.iter().map(|r| (r.trade_id, r.price.0 as u64, r.qty.0 as u64)).collect();
    assert_eq!(streamed, recorded, "the stream and the record say the same");
    for (fill, record) in fills.iter().zip(&records) {
        let fee = events.iter().find(|e| e.event_kind() == Some(EventKind::FillFee) && e.a == fill.d).expect("each has a fee");
        assert_eq!((Money::from_words(fee.b, fee.c), Some(fee.asset)), (record.fee, record.fee_asset.map(|a| a.0)));
    }
    let query = RestQuery::Fills { instrument: BTC, since_ns, cursor: next };
    let reply = call(&mut pair.sim, &mut pair.rest, &query, &pair.instruments, &mut pair.assets, pair.now_ns);
    assert_eq!(reply, Ok(RestReply::Fills { fills: Vec::new(), next: None }));
    let reply = call(&mut pair.sim, &mut pair.rest, &RestQuery::Balances, &pair.instruments, &mut pair.assets, pair.now_ns);
    let Ok(RestReply::Balances(balances)) = reply else { panic!("{reply:?}") };
    for symbol in [&b"BTC"[..], b"USDT"] {
        let asset = pair.assets.find(symbol).expect("interned");
        let last = events.iter().rfind(|e| e.event_kind() == Some(EventKind::Balance) && e.asset == asset.0).expect("streamed");
        let (_, total, available) = balances.iter().find(|(a, _, _)| *a == asset).expect("recorded");
        assert_eq!((Money::from_words(last.a, last.b), Money::from_words(last.c, last.d)), (*total, *available));
    }
}

#[test]
fn answers_that_are_late_doubled_or_lost_change_nothing() {
    let mut pair = Pair::new(Encoding::Json);
    pair.settle();
    pair.take();
    // Far enough away that the market does not come by within the test.
    let price = pair.best(Side::Buy) / 2;
    let qty = 200_000 / 10i64.pow(u32::from(8 - pair.instruments[BTC].qty_scale));
    for (sequence, fault, uncertain) in [
        (1, Fault::DuplicateAcks { count: 1 }, false),
        (2, Fault::DuplicateExecutions { count: 3 }, false),
        (3, Fault::DelayAcks { ms: 500, count: 1 }, false),
        (4, Fault::LoseAcks { count: 1 }, true),
        (5, Fault::UnknownOutcome { count: 1 }, true),
        (6, Fault::LoseExecutions { count: 1 }, false),
    ] {
        let order = OrderId::new(7, sequence);
        pair.sim.inject(pair.now_ns, &fault);
        pair.execute(send_new(order, Side::Buy, price, qty, 0));
        pair.run(11_000);
        let events = pair.reports();
        let of_order: Vec<EventKind> = events.iter().filter(|e| e.order_id() == order).map(|e| e.event_kind().unwrap()).collect();
        assert!(of_order.contains(&EventKind::OrderAck), "{fault:?}: {of_order:?}");
        assert_eq!(of_order.contains(&EventKind::OrderUncertain), uncertain, "{fault:?}: {of_order:?}");
        assert!(!of_order.contains(&EventKind::OrderReject), "{fault:?}: {of_order:?}");
    }
    let query = RestQuery::CancelInstrument { instrument: BTC };
    let reply = call(&mut pair.sim, &mut pair.rest, &query, &pair.instruments, &mut pair.assets, pair.now_ns);
    assert_eq!(reply, Ok(RestReply::Canceled(6)), "all six had arrived");
}
