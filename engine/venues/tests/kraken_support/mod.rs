//! A codec with its tables, its outbox and what it gave out, for the tests.
#![allow(dead_code)]

use engine_core::event::{Event, EventKind, Side, Times, flags};
use engine_core::fixed::{Money, Qty};
use engine_core::ids::{InstrumentId, OrderId, VenueId};
use engine_core::instrument::{AssetTable, Capabilities, Instrument, InstrumentTable};
use venues::kraken::{Kraken, default_hosts};
use venues::outbox::{ColdRequest, Outbox};
use venues::venue::{Credentials, Encoding, ExecuteError, Link, MessageKind, Role, Venue, VenueInit, VenueSettings};

pub const MS: u64 = 1_000_000;
pub const S: u64 = 1_000 * MS;
pub const NOW: u64 = 1_767_225_600_123 * MS;
pub const VENUE: VenueId = VenueId(1);
pub const BTC: InstrumentId = InstrumentId(0);
pub const ETH: InstrumentId = InstrumentId(1);
pub const MARKET: Link = Link { role: Role::MarketData, generation: 1 };
pub const ORDERS: Link = Link { role: Role::OrderEntry, generation: 1 };
pub const VENUE_ID: &str = "OZ4QKD-7RWJH-X2MPLN";
pub const TOKEN: &str = "Xk3abcdefghijklmnopqrstuvwxyz0123456789+/AB";

/// A secret made for tests, of no account.
pub const SECRET: &str = "ZW5naW5lLXVuaXQtdGVzdC1zZWNyZXQta3Jha2VuLXNwb3QtNjQtYnl0ZXMtbG9uZy0wMTIzNDU2Nzg5YWJjZA==";

pub fn settings() -> VenueSettings {
    VenueSettings {
        id: VENUE,
        hosts: default_hosts(),
        credentials: Some(Credentials { api_key: "testkey".into(), secret: SECRET.to_owned().into(), ed25519_seed: None }),
        encoding: Encoding::Json,
        dead_man_s: 0,
        cancel_reserve_percent: 20,
        request_window_ms: 0,
    }
}

pub fn tables() -> (InstrumentTable, AssetTable) {
    let (mut instruments, mut assets) = (InstrumentTable::new(), AssetTable::new());
    let quote = assets.intern("USD");
    for (symbol, base, price_scale) in [("BTC/USD", "BTC", 1), ("ETH/USD", "ETH", 2)] {
        let base = assets.intern(base);
        instruments
            .add(Instrument {
                qty_min: Qty(5_000),
                notional_min: Money::from_scaled(5, 1),
                maker_fee_ppm: 2_500,
                taker_fee_ppm: 4_000,
                capabilities: Capabilities { replace: true, reduce: true, post_only: true },
                ..Instrument::new(VENUE, symbol, [base, quote], [price_scale, 8])
            })
            .unwrap();
    }
    (instruments, assets)
}

pub struct Rig {
    pub venue: Kraken,
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
        Rig { venue: Kraken::new(init).unwrap(), out: Outbox::new(), events: Vec::new(), now_ns: NOW, practice: Outbox::new() }
    }

    /// Market data subscribed, both books live.
    pub fn subscribed() -> Rig {
        let mut rig = Rig::new(|_| {});
        rig.open(MARKET);
        rig.text(MARKET, &vector_a());
        rig.text(MARKET, &book("snapshot", "ETH/USD", &[], &[], 0));
        assert!(rig.venue.is_ready(Role::MarketData));
        rig.take();
        rig.out.clear();
        rig
    }

    /// Order entry subscribed and reporting.
    pub fn ready() -> Rig {
        Rig::ready_with(|_| {})
    }

    pub fn ready_with(change: impl FnOnce(&mut VenueSettings)) -> Rig {
        let mut rig = Rig::new(change);
        rig.log_on(ORDERS);
        rig.take();
        rig
    }

    /// Token, subscriptions, empty snapshots.
    pub fn log_on(&mut self, link: Link) {
        self.open(link);
        assert_eq!(self.requests(), [ColdRequest::Token { role: Role::OrderEntry }]);
        self.token(TOKEN);
        self.out.clear();
        self.text(link, r#"{"method":"subscribe","result":{"channel":"executions","maxratecount":180},"success":true,"req_id":2}"#);
        self.text(link, r#"{"method":"subscribe","result":{"channel":"balances"},"success":true,"req_id":3}"#);
        self.text(link, r#"{"channel":"executions","type":"snapshot","data":[],"sequence":1}"#);
        assert!(self.venue.is_ready(Role::OrderEntry));
        self.out.clear();
    }

    /// A token as the cold plane hands it in.
    pub fn token(&mut self, text: &str) {
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(32).collect();
        for (i, piece) in pieces.iter().enumerate() {
            let mut words = [0; 32];
            words[..piece.len()].copy_from_slice(piece);
            let word = |at: usize| u64::from_le_bytes(words[at * 8..at * 8 + 8].try_into().unwrap());
            let event = Event {
                side: Role::OrderEntry as u8,
                code: piece.len() as u32,
                a: word(0),
                b: word(1),
                c: word(2),
                d: word(3),
                flags: flags::COLD | if i + 1 == pieces.len() { flags::LAST } else { 0 },
                ..Event::new(EventKind::ColdText, VENUE, self.times())
            };
            self.venue.on_cold(&event, self.times(), &mut self.events, &mut self.out);
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
        for command in
            [send_new(order, Side::Buy, 612_504, 1_250_000, flags::IOC), send_cancel(order), send_replace(order, 612_490, 1_250_000)]
        {
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

    /// Sends an order and returns its request.
    pub fn send(&mut self, command: Event) -> serde_json::Value {
        self.execute(command).unwrap();
        self.sent_value(Role::OrderEntry)
    }

    /// The events given out since last asked.
    pub fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The kinds of the events given out since last asked.
    pub fn kinds(&mut self) -> Vec<EventKind> {
        self.take().iter().map(|e| e.event_kind().unwrap()).collect()
    }

    /// The messages queued since last asked; requests stay.
    pub fn sent(&mut self) -> Vec<(Role, String)> {
        let sent = self.out.messages().map(|(role, bytes)| (role, String::from_utf8(bytes.to_vec()).unwrap())).collect();
        let requests: Vec<ColdRequest> = self.out.requests().to_vec();
        self.out.clear();
        for request in requests {
            self.out.request(request);
        }
        sent
    }

    /// The methods of the messages queued since last asked.
    pub fn methods(&mut self) -> Vec<String> {
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        self.sent().iter().map(|(_, text)| value(text)["method"].as_str().unwrap().to_owned()).collect()
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

/// A `book` message; rows are price and quantity as printed.
pub fn book(kind: &str, symbol: &str, bids: &[(&str, &str)], asks: &[(&str, &str)], checksum: u32) -> String {
    let rows = |rows: &[(&str, &str)]| rows.iter().map(|(p, q)| format!("{{\"price\":{p},\"qty\":{q}}}")).collect::<Vec<_>>().join(",");
    format!(
        r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol}","bids":[{}],"asks":[{}],"checksum":{checksum},"timestamp":"2026-01-01T00:00:00.231904Z"}}]}}"#,
        rows(bids),
        rows(asks)
    )
}

pub const ASKS_A: [(&str, &str); 10] = [
    ("61250.5", "0.01250000"),
    ("61250.6", "1.50000000"),
    ("61251.0", "0.00031000"),
    ("61252.4", "2.00000000"),
    ("61253.3", "0.40812345"),
    ("61255.0", "0.10000000"),
    ("61258.8", "0.75000000"),
    ("61260.0", "3.20000000"),
    ("61261.7", "0.05000000"),
    ("61265.2", "0.90000000"),
];
pub const BIDS_A: [(&str, &str); 10] = [
    ("61250.4", "0.48000000"),
    ("61249.9", "0.00012500"),
    ("61248.0", "1.25000000"),
    ("61247.3", "0.06400000"),
    ("61245.0", "5.00000000"),
    ("61244.1", "0.33330000"),
    ("61240.0", "0.20000000"),
    ("61238.6", "0.00900000"),
    ("61235.5", "0.71000000"),
    ("61230.0", "12.50000000"),
];

/// The snapshot of the sheet's vector A.
pub fn vector_a() -> String {
    book("snapshot", "BTC/USD", &BIDS_A, &ASKS_A, 1_382_961_491)
}

/// The update of the sheet's vector A.
pub fn vector_a_update() -> String {
    book("update", "BTC/USD", &[("61250.4", "0.60000000")], &[("61250.5", "0.00000000"), ("61266.0", "0.30000000")], 4_262_187_403)
}

pub fn order(sequence: u32) -> OrderId {
    OrderId::new(7, sequence)
}

pub fn send_new(id: OrderId, side: Side, price: i64, qty: i64, flags: u8) -> Event {
    Event {
        instrument: BTC.0,
        side: side as u8,
        a: id.0,
        b: price as u64,
        c: qty as u64,
        flags,
        ..Event::new(EventKind::SendNew, VENUE, Times::default())
    }
}

pub fn send_cancel(id: OrderId) -> Event {
    Event { instrument: BTC.0, a: id.0, ..Event::new(EventKind::SendCancel, VENUE, Times::default()) }
}

pub fn send_replace(id: OrderId, price: i64, qty: i64) -> Event {
    Event { instrument: BTC.0, a: id.0, b: price as u64, c: qty as u64, ..Event::new(EventKind::SendReplace, VENUE, Times::default()) }
}

/// An `executions` update of one record; `fields` follow the ids.
pub fn execution(id: OrderId, sequence: u64, fields: &str) -> String {
    format!(
        r#"{{"channel":"executions","type":"update","data":[{{"order_id":"{VENUE_ID}","cl_ord_id":"{id}",{fields},"timestamp":"2026-01-01T00:00:00.304100Z"}}],"sequence":{sequence}}}"#
    )
}

/// A positive answer.
pub fn accepted(method: &str, req_id: &serde_json::Value, result: &str) -> String {
    format!(
        r#"{{"method":"{method}","req_id":{req_id},"result":{result},"success":true,"time_in":"2026-01-01T00:00:00.300112Z","time_out":"2026-01-01T00:00:00.304809Z"}}"#
    )
}

/// A refusal.
pub fn refused(method: &str, req_id: &serde_json::Value, error: &str) -> String {
    format!(
        r#"{{"error":"{error}","method":"{method}","req_id":{req_id},"success":false,"time_in":"2026-01-01T00:00:00.310112Z","time_out":"2026-01-01T00:00:00.311209Z"}}"#
    )
}
