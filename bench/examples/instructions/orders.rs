//! Orders written, a book changed, an order placed with every check of risk.

use crate::repeat;
use anyhow::{Context, ensure};
use bench::benches::growth::desk::{self, ORDER_EVERY_NS};
use bench::benches::growth::market::{Market, Pool, Protocol, name};
use bench::benches::growth::parts::{EPOCH, codec, session_start, token};
use engine_core::book::{Book, BookConfig};
use engine_core::core::Core;
use engine_core::event::{Event, EventKind, FeedState, RejectReason, Side, Times, flags};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::{AssetId, InstrumentId, OrderId, VenueId};
use engine_core::instrument::{AssetTable, InstrumentTable};
use std::hint::black_box;
use venues::any::AnyVenue;
use venues::outbox::Outbox;
use venues::venue::{Link, MessageKind, Role, Venue};

const VENUE: VenueId = VenueId(0);
const INSTRUMENT: InstrumentId = InstrumentId(0);
const LINK: Link = Link { role: Role::OrderEntry, generation: 1 };
const START_NS: u64 = 1_767_225_600_000_000_000;
const SEED: u64 = 0x5eed;
const BID: i64 = 6_825_010;

fn tables(protocol: Protocol) -> anyhow::Result<(InstrumentTable, AssetTable)> {
    let pool = Pool::new(protocol, SEED)?;
    desk::tables(&[(Market::new(&pool, VENUE, INSTRUMENT, &name(0)), name(0))])
}

/// A codec whose order entry is ready.
struct OrderEntry {
    venue: AnyVenue,
    events: Vec<Event>,
    out: Outbox,
    now_ns: u64,
}

impl OrderEntry {
    fn new(protocol: Protocol) -> anyhow::Result<OrderEntry> {
        let (instruments, assets) = tables(protocol)?;
        let venue = codec(protocol, VENUE, true, None, &instruments, &assets)?;
        let mut entry = OrderEntry { venue, events: Vec::with_capacity(1_024), out: Outbox::new(), now_ns: START_NS };
        entry.venue.on_open(LINK, entry.times(), &mut entry.events, &mut entry.out);
        match protocol {
            Protocol::Binance => {
                for _ in ["session.logon", "userDataStream.subscribe"] {
                    let id = entry.asked("id")?;
                    entry.text(&format!(r#"{{"id":{id},"status":200,"result":{{"subscriptionId":0}}}}"#));
                }
            }
            Protocol::Kraken => {
                for piece in token(VENUE, Role::OrderEntry, entry.times()) {
                    entry.venue.on_cold(&piece, entry.times(), &mut entry.events, &mut entry.out);
                }
                entry.text(r#"{"method":"subscribe","result":{"channel":"executions","maxratecount":180},"success":true,"req_id":2}"#);
                entry.text(r#"{"method":"subscribe","result":{"channel":"balances"},"success":true,"req_id":3}"#);
                entry.text(r#"{"channel":"executions","type":"snapshot","data":[],"sequence":1}"#);
            }
        }
        ensure!(entry.venue.is_ready(Role::OrderEntry), "order entry is not ready");
        entry.out.clear();
        Ok(entry)
    }

    fn times(&self) -> Times {
        Times { core_ns: self.now_ns, poll_delay_ns: 0 }
    }

    fn text(&mut self, text: &str) {
        self.venue.on_message(LINK, MessageKind::Text, text.as_bytes(), self.times(), &mut self.events, &mut self.out);
    }

    /// The id of the last message that it wants sent; nothing waits any longer then.
    fn asked(&mut self, key: &str) -> anyhow::Result<String> {
        let (_, bytes) = self.out.messages().last().context("nothing was sent")?;
        let id = serde_json::from_slice::<serde_json::Value>(bytes)?[key].to_string();
        self.out.clear();
        Ok(id)
    }

    fn run(mut self, answer: impl Fn(&mut OrderEntry, OrderId) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut sequence = 0;
        repeat(|counter| {
            self.now_ns += ORDER_EVERY_NS;
            sequence += 1;
            let (times, order) = (self.times(), OrderId::new(EPOCH, sequence));
            let new = Event {
                side: Side::Buy as u8,
                a: order.0,
                b: 612_504 + u64::from(sequence % 100),
                c: 100_000,
                ..Event::new(EventKind::SendNew, VENUE, times)
            };
            let command = Event { instrument: INSTRUMENT.0, ..new }.with(flags::POST_ONLY);
            let OrderEntry { venue, out, .. } = &mut self;
            let mut sent = Ok(());
            counter.count(|| sent = venue.execute(black_box(&command), times, out));
            sent?;
            self.events.clear();
            answer(&mut self, order)
        })
    }
}

pub fn binance_order() -> anyhow::Result<()> {
    OrderEntry::new(Protocol::Binance)?.run(|entry, _| {
        let id = entry.asked("id")?;
        entry.text(&format!(r#"{{"id":{id},"status":400,"error":{{"code":-2010,"msg":"Order would immediately match and take."}}}}"#));
        Ok(())
    })
}

pub fn kraken_order() -> anyhow::Result<()> {
    OrderEntry::new(Protocol::Kraken)?.run(|entry, _| {
        let id = entry.asked("req_id")?;
        entry.text(&format!(r#"{{"error":"EOrder:Post only order","method":"add_order","req_id":{id},"success":false}}"#));
        Ok(())
    })
}

fn level(side: Side, away: i64, qty: i64, sequence: u64, times: Times) -> Event {
    let best = if side == Side::Buy { BID } else { BID + 1 };
    Event::book_level(VENUE, INSTRUMENT, side, Price(best - side.sign() * away), Qty(qty), sequence, times)
}

/// A snapshot of so many levels a side.
fn snapshot(levels: i64, times: Times) -> Vec<Event> {
    let side = |side: Side| (0..levels).map(move |away| level(side, away, 1_000_000, 1, times).with(flags::SNAPSHOT));
    let mut events: Vec<Event> = side(Side::Buy).chain(side(Side::Sell)).collect();
    events[0] = events[0].with(flags::CLEAR);
    let last = events.len() - 1;
    events[last] = events[last].with(flags::LAST);
    events
}

pub fn book_near_touch() -> anyhow::Result<()> {
    let (mut book, times) = (Book::new(BookConfig::default()), Times { core_ns: START_NS, poll_delay_ns: 0 });
    for event in snapshot(200, times) {
        book.apply(&event);
    }
    let mut at = 0;
    repeat(|counter| {
        at += 1;
        let side = if at % 2 == 0 { Side::Buy } else { Side::Sell };
        let change = level(side, (at % 8) as i64, 1_000 + at as i64, 1 + at, times).with(flags::LAST);
        counter.count(|| {
            black_box(book.apply(black_box(&change)));
        });
        ensure!(book.is_valid(), "the book is good");
        Ok(())
    })
}

/// A core in a session, its book good, everything allowed, and a strategy that wants to place an order.
struct Trading {
    core: Core,
    now_ns: u64,
    changes: u64,
}

impl Trading {
    fn new() -> anyhow::Result<Trading> {
        let (instruments, assets) = tables(Protocol::Binance)?;
        let asset_count = assets.len();
        let mut core: Core = desk::core(1, instruments, assets, true)?;
        let now_ns = START_NS;
        core.apply(&session_start(now_ns));
        let times = Times { core_ns: now_ns, poll_delay_ns: 0 };
        for role in Role::ALL {
            core.apply(&Event::feed_status(VENUE, role as u8, FeedState::Up, times));
        }
        let plenty = Money::from_scaled(1_000_000_000, 0);
        for asset in (0..asset_count).map(|id| AssetId(id as u16)) {
            core.apply(&Event::balance(VENUE, asset, plenty, plenty, times).with(flags::COLD | flags::SNAPSHOT));
        }
        for code in [0, 1] {
            core.apply(&Event { code, ..Event::new(EventKind::Reconcile, VENUE, times) }.with(flags::COLD | flags::LAST));
        }
        for event in snapshot(200, times) {
            core.apply(&event);
        }
        Ok(Trading { core, now_ns, changes: 0 })
    }

    const fn times(&self) -> Times {
        Times { core_ns: self.now_ns, poll_delay_ns: 0 }
    }

    /// The change of the book at which the next order is placed.
    fn change(&mut self) -> Event {
        self.changes += 1;
        self.now_ns += ORDER_EVERY_NS;
        let at = self.changes;
        level(Side::Buy, (at % 8) as i64, 1_000 + at as i64, 1 + at, self.times()).with(flags::LAST)
    }

    /// Applies it; gives the order that was placed.
    fn place(&mut self, change: &Event) -> Option<OrderId> {
        self.core.apply(black_box(change)).iter().find(|event| event.kind == EventKind::SendNew as u8).map(Event::order_id)
    }
}

pub fn order_placed() -> anyhow::Result<()> {
    let mut trading = Trading::new()?;
    repeat(|counter| {
        let (change, mut order) = (trading.change(), None);
        counter.count(|| order = trading.place(&change));
        let order = order.context("no order was placed")?;
        let refusal = Event::refusal(EventKind::OrderReject, VENUE, INSTRUMENT, order, RejectReason::PostOnlyWouldTake, trading.times());
        trading.core.apply(&refusal.with(flags::LAST));
        Ok(())
    })
}

pub fn order_filled() -> anyhow::Result<()> {
    let mut trading = Trading::new()?;
    repeat(|counter| {
        let change = trading.change();
        let order = trading.place(&change).context("no order was placed")?;
        let times = trading.times();
        trading.core.apply(&Event::order_report(EventKind::OrderAck, VENUE, INSTRUMENT, order, times).with(flags::LAST));
        let Trading { core, changes, .. } = &mut trading;
        let placed = core.desk().order(order).context("the order is known")?;
        let fill = Event::fill(VENUE, INSTRUMENT, order, placed.side, placed.price, placed.qty, *changes, times);
        let fill = fill.with(flags::MAKER | flags::LAST);
        counter.count(|| {
            core.apply(black_box(&fill));
        });
        ensure!(core.desk().order(order).is_some_and(|order| order.state.is_final()), "the order was not filled");
        Ok(())
    })
}
