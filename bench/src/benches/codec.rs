//! `codec`: a venue's message to events.
//!
//! Ours is the codec that the engine runs, entered where the engine enters it ([`Venue::on_message`]): it finds the
//! message's kind and symbol, parses, checks the venue's rule of continuity (Binance's ids, Kraken's checksum) and
//! writes events of 64 bytes to memory. A message that the codec does not take as it should ends the bench.
//!
//! The peer is `serde_json`, from the same bytes to structs of the same content: borrowed texts, prices and quantities
//! as fixed-point integers, vectors of levels, which it frees again. It knows the kind of message beforehand, checks
//! nothing and makes no events, so it is given the easier task. Texts become numbers by our own parser; Kraken's
//! numbers go through `f64`, which is the quicker way and exact for quantities of this size. It allocates with the
//! program's allocator: in `peregrine` the system's, behind a look at what kind of thread it is.

use super::{BLOCK, ONE, OURS, SEED};
use crate::measure::{Budget, Meter, Side, alternate};
use crate::messages::binance::{self, Depth, Ticker, Trade};
use crate::messages::kraken::{self, Stream};
use crate::messages::{ID_FIRST, Message};
use crate::random::Random;
use crate::report::{Ratio, Report, Target};
use anyhow::{Context, ensure};
use engine_core::book::{Book, BookConfig};
use engine_core::event::{Event, InstrumentStatus, Side as BookSide, Times, flags};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::{InstrumentId, VenueId};
use engine_core::instrument::{AssetTable, Capabilities, Instrument, InstrumentTable};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use std::fmt;
use std::hint::black_box;
use std::time::Instant;
use venues::binance::Binance;
use venues::kraken::Kraken;
use venues::outbox::Outbox;
use venues::venue::{Credentials, Encoding, Link, MessageKind, Role, Venue, VenueInit, VenueSettings};

const BENCH: &str = "codec";
const PEER: &str = "serde_json";
const VENUE: VenueId = VenueId(0);
const INSTRUMENT: InstrumentId = InstrumentId(0);
const LINK: Link = Link { role: Role::MarketData, generation: 1 };
const TIMES: Times = Times { core_ns: 1_767_225_600_000_000_000, poll_delay_ns: 0 };
/// Different messages of each kind; of Kraken's book, twice as many.
const POOL: usize = 256;
/// So many messages make a rate.
const RATE_MESSAGES: u32 = 200_000;
/// Messages a second.
const RATE_TARGET: Target = Target::AtLeast(1_000_000.0);
/// Of JSON depth messages.
const TARGET: Target = Target::AtLeast(4.0);

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    let mut random = Random::new(SEED);
    for levels in [1, 8] {
        let depths: Vec<Depth> = (0..POOL).map(|_| Depth::new(&mut random, levels)).collect();
        let (json, sbe): (Vec<_>, Vec<_>) = depths.iter().map(|depth| (depth.json(), depth.sbe())).unzip();
        let case = format!("binance depth, {} levels", 2 * levels);
        compare::<DepthUpdate<'_>, _>(budget, report, &case, Rig::binance(Encoding::Json)?, &json, TARGET)?;
        alone(budget, report, &format!("{case}, sbe"), Rig::binance(Encoding::Sbe)?, &sbe)?;
    }
    let tickers: Vec<Ticker> = (0..POOL).map(|_| Ticker::new(&mut random)).collect();
    let (json, sbe): (Vec<_>, Vec<_>) = tickers.iter().map(|ticker| (ticker.json(), ticker.sbe())).unzip();
    compare::<BookTicker<'_>, _>(budget, report, "binance bookTicker", Rig::binance(Encoding::Json)?, &json, Target::None)?;
    alone(budget, report, "binance bestBidAsk, sbe", Rig::binance(Encoding::Sbe)?, &sbe)?;
    let trades: Vec<Trade> = (0..POOL).map(|_| Trade::new(&mut random)).collect();
    let (json, sbe): (Vec<_>, Vec<_>) = trades.iter().map(|trade| (trade.json(), trade.sbe())).unzip();
    compare::<TradeMessage<'_>, _>(budget, report, "binance trade", Rig::binance(Encoding::Json)?, &json, Target::None)?;
    alone(budget, report, "binance trade, sbe", Rig::binance(Encoding::Sbe)?, &sbe)?;
    let stream = Stream::new(&mut random, POOL);
    compare::<BookMessage<'_>, _>(budget, report, "kraken book", Rig::kraken(&stream)?, &stream.updates, TARGET)?;
    let small: Vec<Message> = (0..POOL).map(|_| Depth::new(&mut random, 1).json()).collect();
    let rate = rate_into_book(Rig::binance(Encoding::Json)?, &small)?;
    report.add_ratio(Ratio::new(BENCH, "binance depth, 2 levels: messages a second through codec and book", rate, RATE_TARGET));
    Ok(())
}

/// Messages a second through the codec and on into a book, one behind the other; making each message is within the time.
fn rate_into_book(mut rig: Rig<Binance>, messages: &[Message]) -> anyhow::Result<f64> {
    let mut book = Book::new(BookConfig::default());
    for event in &rig.events {
        book.apply(event);
    }
    let (mut feed, mut frame) = (Feed::new(messages), Vec::new());
    let start = Instant::now();
    for _ in 0..RATE_MESSAGES {
        let bytes = feed.next(&mut frame);
        let Rig { venue, kind, out, .. } = &mut rig;
        let mut apply = |event: &Event| {
            book.apply(event);
        };
        venue.on_message(LINK, *kind, black_box(bytes), TIMES, &mut apply, out);
    }
    let seconds = start.elapsed().as_secs_f64();
    rig.check("codec and book")?;
    ensure!(book.is_valid() && book.sequence() == feed.id, "the book does not believe what the codec gave it");
    Ok(RATE_MESSAGES as f64 / seconds)
}

/// Ours and the peer on the same messages.
fn compare<'a, T, V: Venue>(
    budget: Budget,
    report: &mut Report,
    case: &str,
    mut rig: Rig<V>,
    messages: &'a [Message],
    target: Target,
) -> anyhow::Result<()>
where
    T: Typed<'a>,
{
    let mut frame = Vec::new();
    let mut feed = Feed::new(messages);
    let peer = Side::new(PEER, ONE, move |meter| {
        for _ in 0..BLOCK {
            let bytes = feed.next(&mut frame);
            meter.time(0, || T::parse_and_drop(bytes)).context("serde_json")?;
        }
        Ok(())
    });
    let sides = alternate(budget, vec![rig.side(messages), peer])?;
    rig.check(case)?;
    report.add_case(BENCH, case, &sides, target);
    Ok(())
}

/// Ours without a peer.
fn alone<V: Venue>(budget: Budget, report: &mut Report, case: &str, mut rig: Rig<V>, messages: &[Message]) -> anyhow::Result<()> {
    let sides = alternate(budget, vec![rig.side(messages)])?;
    rig.check(case)?;
    report.add_case(BENCH, case, &sides, Target::None);
    Ok(())
}

/// Messages in an endless stream whose ids grow without a hole.
struct Feed<'a> {
    messages: &'a [Message],
    at: usize,
    id: u64,
}

impl<'a> Feed<'a> {
    fn new(messages: &'a [Message]) -> Feed<'a> {
        Feed { messages, at: 0, id: ID_FIRST }
    }

    /// The next message, written into `frame`.
    fn next<'f>(&mut self, frame: &'f mut Vec<u8>) -> &'f [u8] {
        let message = &self.messages[self.at];
        self.at = (self.at + 1) % self.messages.len();
        let first = self.id + 1;
        // A difference spans a few ids; all others have one.
        self.id = if message.at.len() > 1 { first + 3 } else { first };
        message.write(frame, &[first, self.id])
    }
}

/// A codec in step with its venue, and what it gave out.
struct Rig<V> {
    venue: V,
    kind: MessageKind,
    events: Vec<Event>,
    out: Outbox,
    messages: u64,
}

fn settings(encoding: Encoding, hosts: venues::venue::Hosts) -> VenueSettings {
    // A key of no account: the codec of SBE streams wants one for its headers.
    let credentials = (encoding == Encoding::Sbe).then(|| Credentials {
        api_key: "measured".into(),
        secret: String::new().into(),
        ed25519_seed: Some([7; 32].into()),
    });
    VenueSettings { id: VENUE, hosts, credentials, encoding, dead_man_s: 0, cancel_reserve_percent: 20, request_window_ms: 0 }
}

fn tables(symbol: &str, price_scale: u32, qty_scale: u32) -> anyhow::Result<(InstrumentTable, AssetTable)> {
    let (mut instruments, mut assets) = (InstrumentTable::new(), AssetTable::new());
    let (base, quote) = (assets.intern("BTC"), assets.intern("USD"));
    instruments
        .add(Instrument {
            venue: VENUE,
            symbol: symbol.into(),
            base,
            quote,
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
        })
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok((instruments, assets))
}

impl Rig<Binance> {
    /// Subscribed, with the book in step just before the first id.
    fn binance(encoding: Encoding) -> anyhow::Result<Rig<Binance>> {
        let (instruments, assets) = tables(binance::SYMBOL, binance::PRICE_SCALE, binance::QTY_SCALE)?;
        let settings = settings(encoding, venues::binance::default_hosts());
        let venue = Binance::new(VenueInit { settings, instruments: &instruments, assets: &assets, epoch: 1 })?;
        let kind = if encoding == Encoding::Sbe { MessageKind::Binary } else { MessageKind::Text };
        let mut rig = Rig::new(venue, kind);
        // The codec numbers its requests by connection and place: the first of the first.
        rig.text(br#"{"result":null,"id":65537}"#);
        for (side, price, mark) in [
            (BookSide::Buy, binance::BEST_BID, flags::CLEAR | flags::COLD | flags::SNAPSHOT),
            (BookSide::Sell, binance::BEST_BID + 1, flags::LAST | flags::COLD | flags::SNAPSHOT),
        ] {
            let level = Event::book_level(VENUE, INSTRUMENT, side, Price(price), Qty(1), ID_FIRST, TIMES).with(mark);
            rig.venue.on_cold(&level, TIMES, &mut rig.events, &mut rig.out);
        }
        ensure!(rig.events.last().is_some_and(|event| event.has(flags::LAST)), "Binance's codec did not take the snapshot");
        Ok(rig)
    }
}

impl Rig<Kraken> {
    /// Subscribed, with the stream's window.
    fn kraken(stream: &Stream) -> anyhow::Result<Rig<Kraken>> {
        let (instruments, assets) = tables(kraken::SYMBOL, kraken::PRICE_SCALE, kraken::QTY_SCALE)?;
        let settings = settings(Encoding::Json, venues::kraken::default_hosts());
        let venue = Kraken::new(VenueInit { settings, instruments: &instruments, assets: &assets, epoch: 1 })?;
        let mut rig = Rig::new(venue, MessageKind::Text);
        rig.text(&stream.snapshot.bytes);
        ensure!(rig.venue.is_ready(Role::MarketData), "Kraken's codec did not take the snapshot");
        Ok(rig)
    }
}

impl<V: Venue> Rig<V> {
    fn new(mut venue: V, kind: MessageKind) -> Rig<V> {
        let (mut events, mut out) = (Vec::with_capacity(1_024), Outbox::new());
        venue.on_open(LINK, TIMES, &mut events, &mut out);
        Rig { venue, kind, events, out, messages: 0 }
    }

    fn text(&mut self, bytes: &[u8]) {
        self.venue.on_message(LINK, MessageKind::Text, bytes, TIMES, &mut self.events, &mut self.out);
    }

    fn block(&mut self, meter: &mut Meter, feed: &mut Feed<'_>, frame: &mut Vec<u8>) {
        for _ in 0..BLOCK {
            let bytes = feed.next(frame);
            self.events.clear();
            let Rig { venue, kind, events, out, .. } = self;
            meter.time(0, || venue.on_message(LINK, *kind, black_box(bytes), TIMES, events, out));
            black_box(&*events);
            self.messages += u64::from(events_end(&self.events));
        }
    }

    fn side<'a>(&'a mut self, messages: &'a [Message]) -> Side<'a> {
        let (mut feed, mut frame, mut taken) = (Feed::new(messages), Vec::new(), 0);
        Side::new(OURS, ONE, move |meter| {
            self.block(meter, &mut feed, &mut frame);
            taken += BLOCK as u64;
            ensure!(self.messages == taken, "{} of {taken} messages gave no events", taken - self.messages);
            Ok(())
        })
    }

    /// What was measured is the way of good messages.
    fn check(&self, case: &str) -> anyhow::Result<()> {
        let c = self.venue.counters();
        let wrong = c.malformed + c.unknown_messages + c.unknown_symbols + c.gaps + c.checksum_failures + c.stale;
        ensure!(wrong == 0, "{case}: the codec objected to messages: {c:?}");
        Ok(())
    }
}

/// The events of a whole message.
fn events_end(events: &[Event]) -> bool {
    events.last().is_some_and(|event| event.has(flags::LAST))
}

/// A message as `serde_json` gives it.
trait Typed<'a> {
    /// Parses, and frees what it took.
    fn parse_and_drop(bytes: &[u8]) -> serde_json::Result<()>;
}

macro_rules! typed {
    ($($name:ident),*) => {
        $(impl<'a> Typed<'a> for $name<'a> {
            #[inline]
            fn parse_and_drop(bytes: &[u8]) -> serde_json::Result<()> {
                let message: $name<'_> = serde_json::from_slice(black_box(bytes))?;
                black_box(&message);
                Ok(())
            }
        })*
    };
}

typed!(DepthUpdate, BookTicker, TradeMessage, BookMessage);

/// A number in a text, at a scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Quoted<const SCALE: u8>(i64);

impl<'de, const SCALE: u8> Deserialize<'de> for Quoted<SCALE> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<const SCALE: u8>;
        impl<const SCALE: u8> Visitor<'_> for Text<SCALE> {
            type Value = Quoted<SCALE>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal number in a text")
            }

            #[inline]
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quoted<SCALE>, E> {
                Price::parse(text.as_bytes(), SCALE).map(|price| Quoted(price.0)).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A bare number, at a scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bare<const SCALE: u8>(i64);

impl<'de, const SCALE: u8> Deserialize<'de> for Bare<SCALE> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Ok(Bare((value * engine_core::fixed::POW10[SCALE as usize] as f64).round() as i64))
    }
}

type BinancePrice = Quoted<{ binance::PRICE_SCALE as u8 }>;
type BinanceQty = Quoted<{ binance::QTY_SCALE as u8 }>;

#[allow(dead_code, reason = "read to be there, as in the events")]
#[derive(Deserialize, Debug)]
struct DepthUpdate<'a> {
    #[serde(rename = "e")]
    kind: &'a str,
    #[serde(rename = "E")]
    time_us: u64,
    #[serde(rename = "s")]
    symbol: &'a str,
    #[serde(rename = "U")]
    first: u64,
    #[serde(rename = "u")]
    last: u64,
    #[serde(rename = "b")]
    bids: Vec<(BinancePrice, BinanceQty)>,
    #[serde(rename = "a")]
    asks: Vec<(BinancePrice, BinanceQty)>,
}

#[allow(dead_code, reason = "read to be there, as in the events")]
#[derive(Deserialize, Debug)]
struct BookTicker<'a> {
    #[serde(rename = "u")]
    id: u64,
    #[serde(rename = "s")]
    symbol: &'a str,
    #[serde(rename = "b")]
    bid: BinancePrice,
    #[serde(rename = "B")]
    bid_qty: BinanceQty,
    #[serde(rename = "a")]
    ask: BinancePrice,
    #[serde(rename = "A")]
    ask_qty: BinanceQty,
}

#[allow(dead_code, reason = "read to be there, as in the events")]
#[derive(Deserialize, Debug)]
struct TradeMessage<'a> {
    #[serde(rename = "e")]
    kind: &'a str,
    #[serde(rename = "s")]
    symbol: &'a str,
    #[serde(rename = "t")]
    id: u64,
    #[serde(rename = "p")]
    price: BinancePrice,
    #[serde(rename = "q")]
    qty: BinanceQty,
    #[serde(rename = "T")]
    time_us: u64,
    #[serde(rename = "m")]
    buyer_is_maker: bool,
}

#[allow(dead_code, reason = "read to be there, as in the events")]
#[derive(Deserialize, Debug)]
struct KrakenLevel {
    price: Bare<{ kraken::PRICE_SCALE as u8 }>,
    qty: Bare<{ kraken::QTY_SCALE as u8 }>,
}

#[allow(dead_code, reason = "read to be there, as in the events")]
#[derive(Deserialize, Debug)]
struct BookData<'a> {
    symbol: &'a str,
    bids: Vec<KrakenLevel>,
    asks: Vec<KrakenLevel>,
    checksum: u32,
    timestamp: &'a str,
}

#[allow(dead_code, reason = "read to be there, as in the events")]
#[derive(Deserialize, Debug)]
struct BookMessage<'a> {
    channel: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    data: [BookData<'a>; 1],
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::event::EventKind;

    /// What a codec gives for a message.
    fn events<V: Venue>(rig: &mut Rig<V>, bytes: &[u8]) -> Vec<Event> {
        rig.events.clear();
        rig.venue.on_message(LINK, rig.kind, bytes, TIMES, &mut rig.events, &mut rig.out);
        rig.events.clone()
    }

    fn levels(events: &[Event]) -> Vec<(u8, i64, i64)> {
        events.iter().map(|event| (event.side, event.level_price().0, event.level_qty().0)).collect()
    }

    #[test]
    fn json_sbe_and_the_peer_say_the_same_of_every_depth_message() {
        let mut random = Random::new(3);
        let depths: Vec<Depth> = (0..50).map(|at| Depth::new(&mut random, 1 + at % 9)).collect();
        let (json, sbe): (Vec<_>, Vec<_>) = depths.iter().map(|depth| (depth.json(), depth.sbe())).unzip();
        let mut rigs = (Rig::binance(Encoding::Json).unwrap(), Rig::binance(Encoding::Sbe).unwrap());
        let (mut json_feed, mut sbe_feed, mut frame) = (Feed::new(&json), Feed::new(&sbe), Vec::new());
        for depth in &depths {
            let from_json = events(&mut rigs.0, json_feed.next(&mut frame));
            let peer: DepthUpdate<'_> = serde_json::from_slice(&frame).unwrap();
            let peer_sequence = peer.last;
            let side = |side: BookSide, rows: &[(BinancePrice, BinanceQty)]| -> Vec<(u8, i64, i64)> {
                rows.iter().map(|(price, qty)| (side as u8, price.0, qty.0)).collect()
            };
            let peer = [side(BookSide::Buy, &peer.bids), side(BookSide::Sell, &peer.asks)].concat();
            let from_sbe = events(&mut rigs.1, sbe_feed.next(&mut frame));
            assert_eq!(from_json, from_sbe);
            assert_eq!((levels(&from_json), from_json[0].c), (peer, peer_sequence));
            assert_eq!(from_json.len(), depth.sides[0].len() * 2);
        }
        rigs.0.check("json").unwrap();
        rigs.1.check("sbe").unwrap();
    }

    #[test]
    fn json_sbe_and_the_peer_say_the_same_of_tickers_and_trades() {
        let mut random = Random::new(4);
        let mut rigs = (Rig::binance(Encoding::Json).unwrap(), Rig::binance(Encoding::Sbe).unwrap());
        let mut frame = Vec::new();
        let ticker = Ticker::new(&mut random);
        let from_json = events(&mut rigs.0, ticker.json().write(&mut frame, &[ID_FIRST]));
        let peer: BookTicker<'_> = serde_json::from_slice(&frame).unwrap();
        let expected = vec![(1, peer.bid.0, peer.bid_qty.0), (2, peer.ask.0, peer.ask_qty.0)];
        let from_sbe = events(&mut rigs.1, ticker.sbe().write(&mut frame, &[ID_FIRST]));
        assert_eq!((levels(&from_json), levels(&from_sbe)), (expected.clone(), expected));
        let trade = Trade::new(&mut random);
        let from_json = events(&mut rigs.0, trade.json().write(&mut frame, &[ID_FIRST + 9]));
        let peer: TradeMessage<'_> = serde_json::from_slice(&frame).unwrap();
        let expected = vec![(if peer.buyer_is_maker { 2 } else { 1 }, peer.price.0, peer.qty.0)];
        let from_sbe = events(&mut rigs.1, trade.sbe().write(&mut frame, &[ID_FIRST + 9]));
        assert_eq!((levels(&from_json), from_json[0].c), (expected, ID_FIRST + 9));
        assert_eq!(from_json, from_sbe);
    }

    #[test]
    fn the_peer_reads_what_the_codec_takes_of_every_kraken_update() {
        let stream = Stream::new(&mut Random::new(5), 100);
        let mut rig = Rig::kraken(&stream).unwrap();
        for round in 0..2 {
            for message in &stream.updates {
                let peer: BookMessage<'_> = serde_json::from_slice(&message.bytes).unwrap();
                let rows = |side: BookSide, rows: &[KrakenLevel]| -> Vec<(u8, i64, i64)> {
                    rows.iter().map(|row| (side as u8, row.price.0, row.qty.0)).collect()
                };
                let expected = [rows(BookSide::Buy, &peer.data[0].bids), rows(BookSide::Sell, &peer.data[0].asks)].concat();
                let events = events(&mut rig, &message.bytes);
                assert!(events_end(&events) && events.iter().all(|e| e.event_kind() == Some(EventKind::BookLevel)), "round {round}");
                // Behind the message's own rows may come those that it pushed out of the window.
                let levels = levels(&events);
                assert_eq!(levels[..expected.len()], expected);
                assert!(levels[expected.len()..].iter().all(|level| level.2 == 0));
            }
        }
        rig.check("kraken").unwrap();
    }

    #[test]
    fn a_rate_is_of_messages_that_the_book_believes() {
        let mut random = Random::new(6);
        let mut messages: Vec<Message> = (0..POOL).map(|_| Depth::new(&mut random, 1).json()).collect();
        assert!(rate_into_book(Rig::binance(Encoding::Json).unwrap(), &messages).unwrap() > 1_000.0);
        messages[9].bytes.truncate(60);
        messages[9].at.clear();
        assert!(rate_into_book(Rig::binance(Encoding::Json).unwrap(), &messages).is_err());
    }

    #[test]
    fn a_codec_that_objects_ends_the_bench() {
        let mut messages = vec![Depth::new(&mut Random::new(1), 2).json()];
        messages[0].bytes.truncate(40);
        messages[0].at.clear();
        let mut report = Report::new(crate::machine::Machine::read());
        let rig = Rig::binance(Encoding::Json).unwrap();
        let budget = Budget::of_seconds(0.001).unwrap();
        assert!(alone(budget, &mut report, "broken", rig, &messages).is_err());
        assert!(report.rows.is_empty());
    }
}
