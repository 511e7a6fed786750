//! `codec`: a venue's JSON to normalised events, 8 bids and 8 asks a message.
//!
//! Ours is the codec that the engine runs, entered where the engine enters it ([`Venue::on_message`]): it finds kind and
//! symbol, parses, checks the venue's rule of continuity (Binance's ids, Kraken's checksum over the codec's own copy of the
//! book) and writes an event of 64 bytes for each level. A message that the codec does not take as it should ends the bench.
//!
//! The peers, each with what it makes freed again within the time (ours makes nothing that needs freeing):
//!
//! - *nautilus-okx*: `serde_json::from_str::<OKXWsFrame>`, then `parse_book_msg_vec`: text to its deltas, the instrument known
//!   beforehand, no continuity checked. We have no OKX codec, so the messages differ: OKX's `books` update with the very levels
//!   of our message (its rows hold two texts more than Binance's and Kraken's), and the message that the crate ships for its own
//!   tests, as it is and without its white space, the same one again and again. Ours reads its venue's own message of as many
//!   levels.
//! - *barter-data*: the same bytes as ours; `serde_json::from_slice::<BinanceSpotOrderBookL2Update>`, its sequencer's
//!   `validate_sequence`, its `MarketEvent`. The look-up of the instrument is left out.
//! - *serde_json, typed*: the same bytes as ours to structs of the same content: borrowed texts, fixed-point integers, vectors
//!   of levels. It knows the kind of message beforehand, checks nothing, makes no events. Texts become numbers by our own parser,
//!   Kraken's bare numbers through `f64`.

use crate::nautilus::precision;
use crate::{BLOCK, ONE, SEED};
use anyhow::{Context, bail, ensure};
use barter_data::event::MarketIter;
use barter_data::exchange::binance::spot::l2::{BinanceSpotOrderBookL2Sequencer, BinanceSpotOrderBookL2Update};
use barter_data::subscription::book::OrderBookEvent;
use barter_instrument::exchange::ExchangeId;
use bench::benches::codec::rig::{Feed, Rig, TIMES};
use bench::benches::codec::typed::{self, BookMessage, DepthUpdate};
use bench::measure::{Budget, Side, alternate};
use bench::messages::binance::{self, Depth, Level};
use bench::messages::{ID_DIGITS, ID_FIRST, Ids, Message, decimal, kraken};
use bench::random::Random;
use bench::report::{Report, Target};
use engine_core::event::Side as BookSide;
use nautilus_core::UnixNanos;
use nautilus_model::data::Data;
use nautilus_model::identifiers::InstrumentId as NautilusId;
use nautilus_okx::websocket::messages::OKXWsFrame;
use nautilus_okx::websocket::parse::parse_book_msg_vec;
use std::hint::black_box;
use venues::kraken::book::{Book as KrakenBook, Decimals};
use venues::kraken::market_data::DEPTH;
use venues::kraken::message::Row;
use venues::venue::Encoding;

const BENCH: &str = "codec";
const SERDE_JSON: &str = "serde_json, typed (same bytes)";
const BARTER: &str = "barter-data (same bytes)";
const OKX_SAME: &str = "nautilus-okx (OKX books, same levels)";
const OKX_FIXTURE: &str = "nautilus-okx (its fixture, white space taken out)";
const OKX_FIXTURE_AS_IS: &str = "nautilus-okx (its fixture)";
/// The message that nautilus-okx ships for its own tests.
const FIXTURE: &str = include_str!(env!("OKX_FIXTURE"));
/// Levels a side, as in the fixture.
const LEVELS: usize = 8;
/// Different messages of each kind.
const POOL: usize = 256;

/// Bids, then asks.
type Levels = [Vec<Level>; 2];

fn target_of(peer: &str) -> Target {
    match peer {
        SERDE_JSON => Target::AtLeast(4.0),
        OKX_SAME | OKX_FIXTURE | OKX_FIXTURE_AS_IS => Target::AtLeast(8.0),
        _ => Target::None,
    }
}

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    let mut random = Random::new(SEED);
    let depths: Vec<Depth> = (0..POOL).map(|_| Depth::new(&mut random, LEVELS)).collect();
    let messages: Vec<Message> = depths.iter().map(Depth::json).collect();
    let as_okx: Vec<Message> = depths.iter().map(|depth| okx(&depth.sides, binance::PRICE_SCALE, binance::QTY_SCALE)).collect();
    let (compact, as_is) = fixture()?;
    let mut ours = Rig::binance(Encoding::Json)?;
    let sides = vec![
        ours.side(&messages, Some(2 * LEVELS)),
        typed::side::<DepthUpdate<'_>>(SERDE_JSON, &messages),
        barter_side(&messages),
        okx_side(OKX_SAME, &as_okx, binance::PRICE_SCALE, binance::QTY_SCALE),
        okx_side(OKX_FIXTURE, &compact, 2, 0),
        okx_side(OKX_FIXTURE_AS_IS, &as_is, 2, 0),
    ];
    let sides = alternate(budget, sides)?;
    ours.check("Binance")?;
    let case = format!("JSON depth of 8+8 levels (ours: Binance depthUpdate{})", precision());
    report.add_case_against(BENCH, &case, &sides, target_of);

    let stream = KrakenStream::new(&mut random);
    let mut ours = Rig::kraken(&stream.snapshot)?;
    let sides = vec![
        ours.side(&stream.updates, Some(2 * LEVELS)),
        typed::side::<BookMessage<'_>>(SERDE_JSON, &stream.updates),
        okx_side(OKX_SAME, &stream.as_okx, kraken::PRICE_SCALE, kraken::QTY_SCALE),
    ];
    let sides = alternate(budget, sides)?;
    ours.check("Kraken")?;
    let case = format!("JSON depth of 8+8 levels (ours: Kraken book with checksum{})", precision());
    report.add_case_against(BENCH, &case, &sides, target_of);
    Ok(())
}

/// OKX's `books` update that says the same.
fn okx(levels: &Levels, price_scale: u32, qty_scale: u32) -> Message {
    let rows = |levels: &[Level]| {
        let row = |&(price, qty): &Level| {
            let qty = if qty == 0 { "0".to_owned() } else { decimal(qty, qty_scale) };
            format!(r#"["{}","{qty}","0","3"]"#, decimal(price, price_scale))
        };
        levels.iter().map(row).collect::<Vec<_>>().join(",")
    };
    let hole = "0".repeat(ID_DIGITS);
    let head = format!(
        r#"{{"arg":{{"channel":"books","instId":"BTC-USDT"}},"action":"update","data":[{{"asks":[{}],"bids":[{}],"ts":"1767225600105","checksum":-855196043,"prevSeqId":"#,
        rows(&levels[1]),
        rows(&levels[0])
    );
    let between = r#","seqId":"#;
    let at = vec![head.len(), head.len() + ID_DIGITS + between.len()];
    Message { bytes: format!("{head}{hole}{between}{hole}}}]}}").into_bytes(), ids: Ids::Digits, at }
}

/// The crate's own message, without white space and as it is.
fn fixture() -> anyhow::Result<(Vec<Message>, Vec<Message>)> {
    let compact = without_white_space(FIXTURE);
    let levels = |text: &str| parse_okx(text, &NautilusId::from("BTC-USDT.OKX"), 2, 0).map(|data| deltas(&data).len());
    ensure!(levels(FIXTURE)? == 2 * LEVELS && levels(&compact)? == 2 * LEVELS, "nautilus-okx ships another message than it did");
    let message = |text: String| vec![Message { bytes: text.into_bytes(), ids: Ids::Digits, at: Vec::new() }];
    Ok((message(compact), message(FIXTURE.to_owned())))
}

/// A JSON text in one line, the order of its members kept. Its strings hold no white space and no escapes.
fn without_white_space(text: &str) -> String {
    text.split_whitespace().collect()
}

/// As nautilus' client does it: text to frame, frame to deltas.
#[inline]
fn parse_okx(text: &str, id: &NautilusId, price_precision: u8, size_precision: u8) -> anyhow::Result<Vec<Data>> {
    match serde_json::from_str::<OKXWsFrame>(text)? {
        OKXWsFrame::BookData { action, data, .. } => {
            parse_book_msg_vec(data, id, price_precision, size_precision, action, UnixNanos::from(TIMES.core_ns))
        }
        other => bail!("nautilus-okx took a book for {other:?}"),
    }
}

fn deltas(data: &[Data]) -> Vec<nautilus_model::data::OrderBookDelta> {
    let of = |data: &Data| if let Data::Deltas(deltas) = data { deltas.deltas.clone() } else { Vec::new() };
    data.iter().flat_map(of).collect()
}

fn okx_side<'a>(name: &'static str, messages: &'a [Message], price_scale: u32, qty_scale: u32) -> Side<'a> {
    let (mut feed, mut frame) = (Feed::new(messages), Vec::new());
    let id = NautilusId::from("BTC-USDT.OKX");
    Side::new(name, ONE, move |meter| {
        for _ in 0..BLOCK {
            let text = std::str::from_utf8(feed.next(&mut frame))?;
            let parsed = meter.time(0, || {
                let data = parse_okx(black_box(text), &id, price_scale as u8, qty_scale as u8)?;
                black_box(&data);
                anyhow::Ok(data.len())
            });
            ensure!(parsed? == 1, "nautilus-okx gave nothing");
        }
        Ok(())
    })
}

/// Barter's way from bytes to its event.
struct Barter {
    sequencer: BinanceSpotOrderBookL2Sequencer,
}

impl Barter {
    fn new() -> Barter {
        Barter { sequencer: BinanceSpotOrderBookL2Sequencer::new(ID_FIRST) }
    }

    #[inline]
    fn parse(&mut self, bytes: &[u8]) -> anyhow::Result<MarketIter<u64, OrderBookEvent>> {
        let update: BinanceSpotOrderBookL2Update = serde_json::from_slice(bytes)?;
        let valid = self.sequencer.validate_sequence(update)?.context("barter-data takes the update for an old one")?;
        Ok(MarketIter::from((ExchangeId::BinanceSpot, 0, valid)))
    }
}

fn barter_side(messages: &[Message]) -> Side<'_> {
    let (mut feed, mut frame, mut barter) = (Feed::new(messages), Vec::new(), Barter::new());
    Side::new(BARTER, ONE, move |meter| {
        for _ in 0..BLOCK {
            let bytes = feed.next(&mut frame);
            let parsed = meter.time(0, || {
                let events = barter.parse(black_box(bytes))?;
                black_box(&events);
                anyhow::Ok(events.0.len())
            });
            ensure!(parsed? == 1, "barter-data gave nothing");
        }
        Ok(())
    })
}

/// Kraken's book: each update sets the quantities of the best eight levels of both sides, so the window after it does not
/// depend on what came before, and the stream can be repeated for ever.
struct KrakenStream {
    snapshot: Message,
    updates: Vec<Message>,
    as_okx: Vec<Message>,
}

impl KrakenStream {
    fn new(random: &mut Random) -> KrakenStream {
        const BEST_BID: i64 = 612_504;
        let scale = |scale: u32| Decimals::same(scale as u8);
        let mut book = KrakenBook::new(DEPTH, scale(kraken::PRICE_SCALE), scale(kraken::QTY_SCALE));
        let mut set = |levels: usize| -> (Levels, u32) {
            let levels = [BookSide::Buy, BookSide::Sell].map(|side| {
                let best = if side == BookSide::Buy { BEST_BID } else { BEST_BID + 1 };
                let level = |at: i64| (best - side.sign() * at * 7, 1 + random.below(500_000_000) as i64);
                let levels: Vec<Level> = (0..levels as i64).map(level).collect();
                for &(price, qty) in &levels {
                    book.set(Row { side, price, qty });
                }
                levels
            });
            (levels, book.checksum())
        };
        let (window, checksum) = set(DEPTH);
        let snapshot = KrakenStream::message("snapshot", &window, checksum);
        let updates: Vec<(Levels, u32)> = (0..POOL).map(|_| set(LEVELS)).collect();
        KrakenStream {
            snapshot,
            as_okx: updates.iter().map(|(levels, _)| okx(levels, kraken::PRICE_SCALE, kraken::QTY_SCALE)).collect(),
            updates: updates.iter().map(|(levels, checksum)| KrakenStream::message("update", levels, *checksum)).collect(),
        }
    }

    fn message(kind: &str, levels: &Levels, checksum: u32) -> Message {
        let [bids, asks] = [0, 1].map(|side: usize| {
            let row = |&(price, qty): &Level| {
                format!(r#"{{"price":{},"qty":{}}}"#, decimal(price, kraken::PRICE_SCALE), decimal(qty, kraken::QTY_SCALE))
            };
            levels[side].iter().map(row).collect::<Vec<_>>().join(",")
        });
        let text = format!(
            r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"{}","bids":[{bids}],"asks":[{asks}],"checksum":{checksum},"timestamp":"2026-01-01T00:00:00.231904Z"}}]}}"#,
            kraken::SYMBOL
        );
        Message { bytes: text.into_bytes(), ids: Ids::Digits, at: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nautilus;
    use bench::benches::codec::typed::{BinancePrice, BinanceQty, KrakenLevel};
    use engine_core::event::Event;
    use engine_core::fixed::Price;
    use nautilus_model::enums::{BookAction, OrderSide};
    use venues::venue::Venue;

    /// Side, price, quantity.
    type Rows = Vec<(u8, String, String)>;

    fn rows(levels: &Levels, price_scale: u32, qty_scale: u32) -> Rows {
        let side = |side: BookSide| {
            let row = move |&(price, qty): &Level| (side as u8, decimal(price, price_scale), decimal(qty, qty_scale));
            levels[side.index()].iter().map(row)
        };
        side(BookSide::Buy).chain(side(BookSide::Sell)).collect()
    }

    fn ours_rows<V: Venue>(ours: &mut Rig<V>, bytes: &[u8], price_scale: u32, qty_scale: u32) -> Rows {
        ours.events.clear();
        ours.text(bytes);
        let row = |e: &Event| (e.side, decimal(e.level_price().0, price_scale), decimal(e.level_qty().0, qty_scale));
        ours.events.iter().map(row).collect()
    }

    fn okx_rows(message: &Message, price_scale: u32, qty_scale: u32) -> Rows {
        let id = NautilusId::from("BTC-USDT.OKX");
        let mut frame = Vec::new();
        let text = std::str::from_utf8(message.write(&mut frame, &[ID_FIRST, ID_FIRST + 4])).unwrap();
        let data = parse_okx(text, &id, price_scale as u8, qty_scale as u8).unwrap();
        let row = |delta: nautilus_model::data::OrderBookDelta| {
            let side = if delta.order.side == OrderSide::Buy { 1 } else { 2 };
            assert_eq!(delta.action == BookAction::Delete, delta.order.size.raw == 0);
            (side, delta.order.price.to_string(), delta.order.size.to_string())
        };
        deltas(&data).into_iter().map(row).collect()
    }

    #[test]
    fn all_say_the_same_of_every_binance_message() {
        let mut random = Random::new(3);
        let depths: Vec<Depth> = (0..50).map(|_| Depth::new(&mut random, LEVELS)).collect();
        let messages: Vec<Message> = depths.iter().map(Depth::json).collect();
        let (mut ours, mut barter) = (Rig::binance(Encoding::Json).unwrap(), Barter::new());
        let (mut feed, mut frame) = (Feed::new(&messages), Vec::new());
        let (price_scale, qty_scale) = (binance::PRICE_SCALE, binance::QTY_SCALE);
        for depth in &depths {
            let expected = rows(&depth.sides, price_scale, qty_scale);
            let bytes = feed.next(&mut frame);
            assert_eq!(ours_rows(&mut ours, bytes, price_scale, qty_scale), expected);
            let typed: DepthUpdate<'_> = serde_json::from_slice(bytes).unwrap();
            let row = |side: u8| {
                move |(price, qty): &(BinancePrice, BinanceQty)| (side, decimal(price.0, price_scale), decimal(qty.0, qty_scale))
            };
            assert_eq!(typed.bids.iter().map(row(1)).chain(typed.asks.iter().map(row(2))).collect::<Rows>(), expected);
            let events = barter.parse(bytes).unwrap().0;
            let Some(Ok(event)) = events.first() else { panic!("{events:?}") };
            let OrderBookEvent::Update(book) = &event.kind else { panic!("{event:?}") };
            // It keeps the zeros that the text ends with: compared is the number.
            let number = |text: String, scale: u32| decimal(Price::parse(text.as_bytes(), scale as u8).unwrap().0, scale);
            let row = |side: u8| {
                move |level: &barter_data::books::Level| {
                    (side, number(level.price.to_string(), price_scale), number(level.amount.to_string(), qty_scale))
                }
            };
            let book = (book.bids().levels().iter().map(row(1)).chain(book.asks().levels().iter().map(row(2)))).collect::<Rows>();
            assert_eq!(book, expected);
            let okx = okx(&depth.sides, price_scale, qty_scale);
            assert_eq!(okx_rows(&okx, price_scale, qty_scale), expected);
        }
        ours.check("ours").unwrap();
    }

    #[test]
    fn all_say_the_same_of_every_kraken_message() {
        let stream = KrakenStream::new(&mut Random::new(4));
        let mut ours = Rig::kraken(&stream.snapshot).unwrap();
        let (price_scale, qty_scale) = (kraken::PRICE_SCALE, kraken::QTY_SCALE);
        for (message, okx) in stream.updates.iter().zip(&stream.as_okx) {
            let typed: BookMessage<'_> = serde_json::from_slice(&message.bytes).unwrap();
            let row = |side: u8| move |level: &KrakenLevel| (side, decimal(level.price.0, price_scale), decimal(level.qty.0, qty_scale));
            let expected = typed.data[0].bids.iter().map(row(1)).chain(typed.data[0].asks.iter().map(row(2))).collect::<Rows>();
            assert_eq!(expected.len(), 2 * LEVELS);
            assert_eq!(ours_rows(&mut ours, &message.bytes, price_scale, qty_scale), expected);
            assert_eq!(okx_rows(okx, price_scale, qty_scale), expected);
        }
        ours.check("ours").unwrap();
    }

    #[test]
    fn the_fixture_without_its_white_space_says_the_same() {
        let (compact, as_is) = fixture().unwrap();
        assert_eq!(okx_rows(&compact[0], 2, 0), okx_rows(&as_is[0], 2, 0));
        assert!(compact[0].bytes.len() < as_is[0].bytes.len() / 2);
        assert_eq!(nautilus::price(847_698).to_string(), okx_rows(&compact[0], 2, 0)[LEVELS].1);
    }

    #[test]
    fn a_codec_that_objects_ends_the_bench() {
        let mut messages = vec![Depth::new(&mut Random::new(1), LEVELS).json()];
        messages[0].bytes.truncate(40);
        messages[0].at.clear();
        let mut ours = Rig::binance(Encoding::Json).unwrap();
        let budget = Budget::of_seconds(0.001).unwrap();
        let error = alternate(budget, vec![ours.side(&messages, Some(2 * LEVELS))]).unwrap_err();
        assert_eq!(error.to_string(), "a message of 16 levels gave 0 events");
    }
}
