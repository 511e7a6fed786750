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
//!
//! Kraken's codec keeps the book's window and proves the checksum, without which a message of Kraken's says nothing. A
//! second peer does the same besides parsing ([`checked`]): that comparison is of equal work.

pub mod checked;
pub mod rig;
pub mod typed;

use super::SEED;
use crate::measure::{Budget, alternate};
use crate::messages::Message;
use crate::messages::binance::{Depth, Ticker, Trade};
use crate::messages::kraken::Stream;
use crate::random::Random;
use crate::report::{Ratio, Report, Target};
use anyhow::ensure;
use engine_core::book::{Book, BookConfig};
use engine_core::event::Event;
use rig::{Feed, LINK, Rig, TIMES};
use std::hint::black_box;
use std::time::Instant;
use typed::{BookMessage, BookTicker, DepthUpdate, TradeMessage, Typed};
use venues::binance::Binance;
use venues::venue::{Encoding, Venue};

const BENCH: &str = "codec";
const PEER: &str = "serde_json";
/// The peer that proves Kraken's checksum.
const CHECKED_PEER: &str = "serde_json, book and checksum";
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
    compare_kraken(budget, report, &stream)?;
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
    let peer = typed::side::<T>(PEER, messages);
    let sides = alternate(budget, vec![rig.side(messages, None), peer])?;
    rig.check(case)?;
    report.add_case(BENCH, case, &sides, target);
    Ok(())
}

/// Kraken's book: against the peer that parses, and the one that does all of it.
fn compare_kraken(budget: Budget, report: &mut Report, stream: &Stream) -> anyhow::Result<()> {
    let mut rig = Rig::kraken(&stream.snapshot)?;
    let parser = typed::side::<BookMessage<'_>>(PEER, &stream.updates);
    let checked = checked::side(CHECKED_PEER, &stream.snapshot, &stream.updates)?;
    let sides = alternate(budget, vec![rig.side(&stream.updates, None), parser, checked])?;
    rig.check("kraken book")?;
    report.add_case(BENCH, "kraken book", &sides, TARGET);
    Ok(())
}

/// Ours without a peer.
fn alone<V: Venue>(budget: Budget, report: &mut Report, case: &str, mut rig: Rig<V>, messages: &[Message]) -> anyhow::Result<()> {
    let sides = alternate(budget, vec![rig.side(messages, None)])?;
    rig.check(case)?;
    report.add_case(BENCH, case, &sides, Target::None);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::rig::events_end;
    use super::typed::{BinancePrice, BinanceQty, KrakenLevel};
    use super::*;
    use crate::messages::ID_FIRST;
    use engine_core::event::{EventKind, Side as BookSide};

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
        let mut rig = Rig::kraken(&stream.snapshot).unwrap();
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
