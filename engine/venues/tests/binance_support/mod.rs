//! A codec with its tables, its outbox and what it gave out, for the tests.
#![allow(dead_code)]

use engine_core::book::{Book, BookConfig};
use engine_core::event::{Event, EventKind, Side, Times, flags};
use engine_core::fixed::{Price, Qty};
use engine_core::ids::{InstrumentId, OrderId, VenueId};
use engine_core::instrument::{AssetTable, Capabilities, Instrument, InstrumentTable};
use venues::binance::{Binance, default_hosts};
use venues::outbox::{ColdRequest, Outbox};
use venues::venue::{Credentials, Encoding, ExecuteError, Link, MessageKind, Role, Venue, VenueInit, VenueSettings};

pub const MS: u64 = 1_000_000;
pub const S: u64 = 1_000 * MS;
pub const NOW: u64 = 1_767_225_600_123 * MS;
pub const VENUE: VenueId = VenueId(0);
pub const BTC: InstrumentId = InstrumentId(0);
pub const ETH: InstrumentId = InstrumentId(1);
pub const MARKET: Link = Link { role: Role::MarketData, generation: 1 };
pub const ORDERS: Link = Link { role: Role::OrderEntry, generation: 1 };

/// Keys made for tests, of no account.
pub const ED_SEED: &str = "6fc68307de88f50352be00e419edcfaec045f3e77eb3eb3a8f3ae6b43de95085";
pub const ED_KEY: &str = "e5VbXnQ0mTz7YdLw3RkUs9HjPc1GaFo6iBtM8xKqZvNyA4nDlWgEhCpSuJr2TfQo";

pub fn credentials() -> Credentials {
    let mut seed = [0; 32];
    const_hex::decode_to_slice(ED_SEED, &mut seed).unwrap();
    Credentials { api_key: ED_KEY.into(), secret: String::new().into(), ed25519_seed: Some(seed.into()) }
}

pub fn settings() -> VenueSettings {
    VenueSettings {
        id: VENUE,
        hosts: default_hosts(),
        credentials: Some(credentials()),
        encoding: Encoding::Json,
        dead_man_s: 0,
        cancel_reserve_percent: 20,
        request_window_ms: 0,
    }
}

pub fn tables() -> (InstrumentTable, AssetTable) {
    let (mut instruments, mut assets) = (InstrumentTable::new(), AssetTable::new());
    let quote = assets.intern("USDT");
    for (symbol, base, price_scale, qty_scale) in [("BTCUSDT", "BTC", 2, 8), ("ETHUSDT", "ETH", 2, 4)] {
        let base = assets.intern(base);
        instruments
            .add(Instrument {
                maker_fee_ppm: 1_000,
                taker_fee_ppm: 1_000,
                capabilities: Capabilities { replace: false, reduce: true, post_only: true },
                ..Instrument::new(VENUE, symbol, [base, quote], [price_scale, qty_scale])
            })
            .unwrap();
    }
    (instruments, assets)
}

pub struct Rig {
    pub venue: Binance,
    pub out: Outbox,
    pub events: Vec<Event>,
    pub now_ns: u64,
    pub practice: Outbox,
}

impl Rig {
    pub fn new(change: impl FnOnce(&mut VenueSettings)) -> Rig {
        let (instruments, assets) = tables();
        let mut settings = settings();
        change(&mut settings);
        let init = VenueInit { settings, instruments: &instruments, assets: &assets, epoch: 7 };
        Rig { venue: Binance::new(init).unwrap(), out: Outbox::new(), events: Vec::new(), now_ns: NOW, practice: Outbox::new() }
    }

    /// Market data subscribed, both snapshots asked for.
    pub fn subscribed(encoding: Encoding) -> Rig {
        let mut rig = Rig::new(|settings| settings.encoding = encoding);
        rig.open(MARKET);
        let id = rig.sent_value(Role::MarketData)["id"].as_u64().unwrap();
        rig.text(MARKET, &format!("{{\"result\":null,\"id\":{id}}}"));
        rig
    }

    /// Order entry logged on and reporting.
    pub fn ready() -> Rig {
        let mut rig = Rig::new(|_| {});
        rig.log_on(ORDERS);
        rig.take();
        rig.out.clear();
        rig
    }

    pub fn log_on(&mut self, link: Link) {
        self.open(link);
        for method in ["session.logon", "userDataStream.subscribe"] {
            let request = self.sent_value(Role::OrderEntry);
            assert_eq!(request["method"], method);
            self.text(link, &format!("{{\"id\":{},\"status\":200,\"result\":{{\"subscriptionId\":0}}}}", request["id"]));
        }
    }

    pub fn times(&self) -> Times {
        Times { core_ns: self.now_ns, poll_delay_ns: 0 }
    }

    pub fn open(&mut self, link: Link) {
        self.venue.on_open(link, self.times(), &mut self.events, &mut self.out);
    }

    pub fn close(&mut self, link: Link) {
        self.venue.on_close(link, self.times(), &mut self.events, &mut self.out);
    }

    pub fn text(&mut self, link: Link, text: &str) {
        self.rehearse();
        self.venue.on_message(link, MessageKind::Text, text.as_bytes(), self.times(), &mut self.events, &mut self.out);
    }

    pub fn binary(&mut self, link: Link, bytes: &[u8]) {
        self.venue.on_message(link, MessageKind::Binary, bytes, self.times(), &mut self.events, &mut self.out);
    }

    pub fn timer(&mut self, after_ns: u64) {
        self.now_ns += after_ns;
        self.rehearse();
        self.venue.on_timer(self.times(), &mut self.events, &mut self.out);
    }

    /// Rehearses a new order, a cancel and a replace, as the runtime does at any time: whatever a test expects holds with
    /// rehearsals between its steps. Gives the messages.
    pub fn rehearse(&mut self) -> Vec<String> {
        let order = OrderId::new(7, 0x00fe_dcba);
        let counters = *self.venue.counters();
        let mut messages = Vec::new();
        for command in [
            send_new(order, Side::Buy, 6_825_010, 150_000, flags::IOC),
            send(EventKind::SendCancel, order),
            send_replace(order, 6_825_010, 100_000, 150_000),
        ] {
            let times = self.times();
            if self.venue.begin_rehearsal(&command, times) {
                let _ = self.venue.execute(&command, times, &mut self.practice);
                self.venue.end_rehearsal(&command);
            }
            messages.extend(self.practice.messages().map(|(_, bytes)| String::from_utf8(bytes.to_vec()).unwrap()));
            assert!(self.practice.requests().is_empty());
            self.practice.clear();
        }
        assert_eq!(*self.venue.counters(), counters, "a rehearsal is not counted");
        messages
    }

    pub fn execute(&mut self, command: Event) -> Result<(), ExecuteError> {
        self.rehearse();
        self.venue.execute(&command, self.times(), &mut self.out)
    }

    /// A snapshot as the cold plane hands it in.
    pub fn snapshot(&mut self, instrument: InstrumentId, sequence: u64, levels: &[(Side, i64, i64)]) {
        for event in snapshot_events(instrument, sequence, levels) {
            self.venue.on_cold(&event, self.times(), &mut self.events, &mut self.out);
        }
    }

    pub fn snapshot_failed(&mut self, instrument: InstrumentId) {
        let failed = Event::book_invalid(VENUE, instrument, engine_core::event::BookInvalid::Initial, self.times()).with(flags::COLD);
        self.venue.on_cold(&failed, self.times(), &mut self.events, &mut self.out);
    }

    /// The events given out since last asked.
    pub fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The kinds of the events given out since last asked.
    pub fn kinds(&mut self) -> Vec<EventKind> {
        self.take().iter().map(|e| e.event_kind().unwrap()).collect()
    }

    /// The messages queued since last asked.
    pub fn sent(&mut self) -> Vec<(Role, String)> {
        let sent = self.out.messages().map(|(role, bytes)| (role, String::from_utf8(bytes.to_vec()).unwrap())).collect();
        let requests: Vec<ColdRequest> = self.out.requests().to_vec();
        self.out.clear();
        for request in requests {
            self.out.request(request);
        }
        sent
    }

    /// The one message queued, as JSON.
    pub fn sent_value(&mut self, role: Role) -> serde_json::Value {
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!(sent[0].0, role);
        serde_json::from_str(&sent[0].1).unwrap()
    }

    /// The requests queued since last asked.
    pub fn requests(&mut self) -> Vec<ColdRequest> {
        let requests = self.out.requests().to_vec();
        self.out.clear();
        requests
    }
}

pub fn snapshot_events(instrument: InstrumentId, sequence: u64, levels: &[(Side, i64, i64)]) -> Vec<Event> {
    let times = Times::default();
    let count = levels.len();
    let level = |(i, &(side, price, qty)): (usize, &(Side, i64, i64))| {
        let clear = if i == 0 { flags::CLEAR } else { 0 };
        let last = if i + 1 == count { flags::LAST } else { 0 };
        let event = Event::book_level(VENUE, instrument, side, Price(price), Qty(qty), sequence, times);
        event.with(flags::COLD | flags::SNAPSHOT | clear | last)
    };
    if count == 0 {
        let empty = Event { instrument: instrument.0, c: sequence, ..Event::new(EventKind::BookTouch, VENUE, times) };
        return vec![empty.with(flags::COLD | flags::SNAPSHOT | flags::CLEAR | flags::LAST)];
    }
    levels.iter().enumerate().map(level).collect()
}

/// `SendNew` of an order.
pub fn send_new(order: OrderId, side: Side, price: i64, qty: i64, flags: u8) -> Event {
    Event {
        instrument: BTC.0,
        side: side as u8,
        a: order.0,
        b: price as u64,
        c: qty as u64,
        flags,
        ..Event::new(EventKind::SendNew, VENUE, Times::default())
    }
}

/// An order output that names an order only.
pub fn send(kind: EventKind, order: OrderId) -> Event {
    Event { instrument: BTC.0, a: order.0, ..Event::new(kind, VENUE, Times::default()) }
}

/// `SendReplace` of an order.
pub fn send_replace(order: OrderId, price: i64, qty: i64, before: i64) -> Event {
    Event { b: price as u64, c: qty as u64, d: before as u64, ..send(EventKind::SendReplace, order) }
}

/// A depth message.
pub fn depth(symbol: &str, first: u64, last: u64, bids: &[(&str, &str)], asks: &[(&str, &str)]) -> String {
    let rows = |rows: &[(&str, &str)]| rows.iter().map(|(p, q)| format!("[\"{p}\",\"{q}\"]")).collect::<Vec<_>>().join(",");
    format!(
        "{{\"e\":\"depthUpdate\",\"E\":1767225600105123,\"s\":\"{symbol}\",\"U\":{first},\"u\":{last},\"b\":[{}],\"a\":[{}]}}",
        rows(bids),
        rows(asks)
    )
}

/// A small book.
pub const SNAPSHOT: [(Side, i64, i64); 2] = [(Side::Buy, 6_825_010, 150_000_000), (Side::Sell, 6_825_011, 42_000_000)];

pub fn wants(instrument: InstrumentId) -> ColdRequest {
    ColdRequest::BookSnapshot { instrument }
}

/// A book that applies what was given out for an instrument.
pub fn book(events: &[Event], instrument: InstrumentId) -> Book {
    let mut book = Book::new(BookConfig::default());
    for event in events.iter().filter(|e| e.instrument_id() == instrument) {
        book.apply(event);
    }
    book
}
