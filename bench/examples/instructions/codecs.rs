//! A venue's message to events.

use crate::repeat;
use anyhow::ensure;
use bench::benches::growth::market::Protocol;
use bench::messages::binance::{self, Depth, Ticker};
use bench::messages::kraken::{self, Stream};
use bench::messages::{ID_FIRST, Message};
use bench::random::Random;
use engine_core::event::{Event, InstrumentStatus, Side, Times, flags};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::{InstrumentId, VenueId};
use engine_core::instrument::{AssetTable, Capabilities, Instrument, InstrumentTable};
use std::hint::black_box;
use venues::any::{AnyVenue, any_venue, default_hosts};
use venues::outbox::Outbox;
use venues::venue::{Credentials, Encoding, Link, MessageKind, Role, Venue, VenueInit, VenueSettings};

const VENUE: VenueId = VenueId(0);
const INSTRUMENT: InstrumentId = InstrumentId(0);
const LINK: Link = Link { role: Role::MarketData, generation: 1 };
const TIMES: Times = Times { core_ns: 1_767_225_600_000_000_000, poll_delay_ns: 0 };
const SEED: u64 = 0x5eed;
/// Levels a side.
const LEVELS: usize = 8;
const POOL: usize = 64;

fn tables(protocol: Protocol) -> anyhow::Result<(InstrumentTable, AssetTable)> {
    let (mut instruments, mut assets) = (InstrumentTable::new(), AssetTable::new());
    let (symbol, price_scale, qty_scale) = match protocol {
        Protocol::Binance => (binance::SYMBOL, binance::PRICE_SCALE, binance::QTY_SCALE),
        Protocol::Kraken => (kraken::SYMBOL, kraken::PRICE_SCALE, kraken::QTY_SCALE),
    };
    let instrument = Instrument {
        venue: VENUE,
        symbol: symbol.into(),
        base: assets.intern("BTC"),
        quote: assets.intern("USD"),
        price_scale: price_scale as u8,
        qty_scale: qty_scale as u8,
        tick: Price(1),
        lot: Qty(1),
        qty_min: Qty(1),
        qty_max: Qty::MAX,
        notional_min: Money::ZERO,
        maker_fee_ppm: 1_000,
        taker_fee_ppm: 1_000,
        status: InstrumentStatus::Trading,
        epoch: 0,
        capabilities: Capabilities { replace: false, reduce: true, post_only: true },
    };
    instruments.add(instrument).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok((instruments, assets))
}

/// A codec in step with its venue.
struct Rig {
    venue: AnyVenue,
    kind: MessageKind,
    events: Vec<Event>,
    out: Outbox,
}

impl Rig {
    fn new(protocol: Protocol, encoding: Encoding) -> anyhow::Result<Rig> {
        let (instruments, assets) = tables(protocol)?;
        let credentials = (encoding == Encoding::Sbe).then(|| Credentials {
            api_key: "measured".into(),
            secret: String::new().into(),
            ed25519_seed: Some([7; 32].into()),
        });
        let hosts = default_hosts(protocol.as_str()).ok_or_else(|| anyhow::anyhow!("a venue without hosts"))?;
        let settings =
            VenueSettings { id: VENUE, hosts, credentials, encoding, dead_man_s: 0, cancel_reserve_percent: 20, request_window_ms: 0 };
        let venue = any_venue(protocol.as_str(), VenueInit { settings, instruments: &instruments, assets: &assets, epoch: 1 })?;
        let kind = if encoding == Encoding::Sbe { MessageKind::Binary } else { MessageKind::Text };
        let mut rig = Rig { venue, kind, events: Vec::with_capacity(1_024), out: Outbox::new() };
        rig.venue.on_open(LINK, TIMES, &mut rig.events, &mut rig.out);
        Ok(rig)
    }

    fn text(&mut self, bytes: &[u8]) {
        self.venue.on_message(LINK, MessageKind::Text, bytes, TIMES, &mut self.events, &mut self.out);
    }

    /// Binance's, subscribed, with the book just before the first id.
    fn binance(encoding: Encoding) -> anyhow::Result<Rig> {
        let mut rig = Rig::new(Protocol::Binance, encoding)?;
        rig.text(br#"{"result":null,"id":65537}"#);
        for (side, price, mark) in [(Side::Buy, binance::BEST_BID, flags::CLEAR), (Side::Sell, binance::BEST_BID + 1, flags::LAST)] {
            let level = Event::book_level(VENUE, INSTRUMENT, side, Price(price), Qty(1), ID_FIRST, TIMES);
            rig.venue.on_cold(&level.with(mark | flags::COLD | flags::SNAPSHOT), TIMES, &mut rig.events, &mut rig.out);
        }
        Ok(rig)
    }

    /// Messages, over and over again.
    fn run(mut self, messages: &[Message]) -> anyhow::Result<()> {
        let (mut at, mut id, mut frame) = (0, ID_FIRST, Vec::new());
        repeat(|counter| {
            let message: &Message = &messages[at % messages.len()];
            at += 1;
            let first = id + 1;
            id = if message.at.len() > 1 { first + 3 } else { first };
            let bytes = message.write(&mut frame, &[first, id]);
            self.events.clear();
            let Rig { venue, kind, events, out } = &mut self;
            counter.count(|| venue.on_message(LINK, *kind, black_box(bytes), TIMES, events, out));
            ensure!(events.last().is_some_and(|event| event.has(flags::LAST)), "the codec did not take a message");
            Ok(())
        })
    }
}

pub fn binance_depth_json() -> anyhow::Result<()> {
    let mut random = Random::new(SEED);
    let messages: Vec<Message> = (0..POOL).map(|_| Depth::new(&mut random, LEVELS).json()).collect();
    Rig::binance(Encoding::Json)?.run(&messages)
}

pub fn binance_ticker_json() -> anyhow::Result<()> {
    let mut random = Random::new(SEED);
    let messages: Vec<Message> = (0..POOL).map(|_| Ticker::new(&mut random).json()).collect();
    Rig::binance(Encoding::Json)?.run(&messages)
}

pub fn binance_depth_sbe() -> anyhow::Result<()> {
    let mut random = Random::new(SEED);
    let messages: Vec<Message> = (0..POOL).map(|_| Depth::new(&mut random, LEVELS).sbe()).collect();
    Rig::binance(Encoding::Sbe)?.run(&messages)
}

pub fn kraken_book() -> anyhow::Result<()> {
    let stream = Stream::new(&mut Random::new(SEED), POOL);
    let mut rig = Rig::new(Protocol::Kraken, Encoding::Json)?;
    rig.text(&stream.snapshot.bytes);
    rig.run(&stream.updates)
}
