//! Binance market streams: subscriptions, depth sequence numbers and the messages themselves.
//!
//! Every changed level of a market takes one update id. A diff message covers `U..=u`, the ids since the
//! message before it, so the venue's continuity rule holds by construction at any interval. A message is
//! built once per stream (and once more in the combined wrapper, if someone wants that) and shared.

use super::sbe;
use crate::book::{Book, Side};
use crate::decimal::push_padded;
use crate::exchange::{Exchange, PublicTrade};
use crate::json::{Object, array};
use crate::wire::{Bytes, Class, ConnId, Outbox, Payload, push_json_str};

/// A stream of one market.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Stream {
    /// `@depth`: diffs each second.
    Depth,
    /// `@depth@100ms`.
    DepthFast,
    /// `@depth5`, `10`, `20`: the top levels each second.
    Partial(u8),
    /// The same each 100 ms.
    PartialFast(u8),
    /// `@bookTicker`.
    BookTicker,
    /// `@trade`.
    Trade,
    /// `@aggTrade`.
    AggTrade,
    /// SBE `@depth`.
    SbeDepth,
    /// SBE `@depth20`.
    SbeDepth20,
    /// SBE `@bestBidAsk`.
    SbeBestBidAsk,
    /// SBE `@trade`.
    SbeTrade,
}

impl Stream {
    /// Parses what follows the symbol in a stream's name, e.g. `depth@100ms`.
    pub fn parse(suffix: &str, sbe: bool) -> Option<Stream> {
        Some(match (sbe, suffix) {
            (true, "depth") => Stream::SbeDepth,
            (true, "depth20") => Stream::SbeDepth20,
            (true, "bestBidAsk") => Stream::SbeBestBidAsk,
            (true, "trade") => Stream::SbeTrade,
            (false, "depth" | "depth@1000ms") => Stream::Depth,
            (false, "depth@100ms") => Stream::DepthFast,
            (false, "depth5" | "depth5@1000ms") => Stream::Partial(5),
            (false, "depth10" | "depth10@1000ms") => Stream::Partial(10),
            (false, "depth20" | "depth20@1000ms") => Stream::Partial(20),
            (false, "depth5@100ms") => Stream::PartialFast(5),
            (false, "depth10@100ms") => Stream::PartialFast(10),
            (false, "depth20@100ms") => Stream::PartialFast(20),
            (false, "bookTicker") => Stream::BookTicker,
            (false, "trade") => Stream::Trade,
            (false, "aggTrade") => Stream::AggTrade,
            _ => return None,
        })
    }

    fn interval_ms(self, forced: Option<u32>) -> u64 {
        let own = match self {
            Stream::Depth | Stream::Partial(_) => 1_000,
            Stream::DepthFast | Stream::PartialFast(_) => 100,
            Stream::SbeDepth => 20,
            Stream::SbeDepth20 => 50,
            Stream::BookTicker | Stream::Trade | Stream::AggTrade | Stream::SbeBestBidAsk | Stream::SbeTrade => return 0,
        };
        forced.map_or(own, u64::from)
    }
}

/// A stream name that no symbol could make good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed stream name")]
pub struct MalformedName;

/// A subscriber of a stream.
#[derive(Clone, Debug)]
struct Subscriber {
    conn: ConnId,
    combined: bool,
}

/// Subscribers of one stream and what they have not been told yet.
#[derive(Debug, Default)]
struct Feed {
    name: String,
    subscribers: Vec<Subscriber>,
    next_due_ns: u64,
    first_id: u64,
    touched: Vec<(Side, i64)>,
}

/// The feeds of a market by stream: a handful, looked through one by one.
#[derive(Debug, Default)]
struct Feeds(Vec<(Stream, Feed)>);

impl Feeds {
    fn get(&self, stream: Stream) -> Option<&Feed> {
        self.0.iter().find(|(known, _)| *known == stream).map(|(_, feed)| feed)
    }

    fn get_mut(&mut self, stream: Stream) -> Option<&mut Feed> {
        self.0.iter_mut().find(|(known, _)| *known == stream).map(|(_, feed)| feed)
    }

    fn get_or_insert(&mut self, stream: Stream) -> &mut Feed {
        let at = self.0.iter().position(|(known, _)| *known == stream).unwrap_or_else(|| {
            self.0.push((stream, Feed::default()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }
}

/// One market as the streams see it.
#[derive(Debug)]
struct MarketFeed {
    symbol: String,
    scales: sbe::Scales,
    update_id: u64,
    top: [(i64, i64); 2],
    feeds: Feeds,
    uncross: Vec<(Side, i64)>,
}

/// All streams of the venue.
#[derive(Debug)]
pub struct Streams {
    markets: Vec<MarketFeed>,
    depth_interval_ms: Option<u32>,
    scratch: Vec<(Side, i64)>,
    /// Depth messages still to be skipped (fault).
    pub skip: u32,
}

impl Streams {
    /// Streams of the given markets.
    pub fn new(exchange: &Exchange, depth_interval_ms: Option<u32>) -> Streams {
        let markets = exchange
            .markets
            .iter()
            .map(|market| MarketFeed {
                symbol: format!("{}{}", market.spec.base, market.spec.quote),
                scales: sbe::Scales { price: market.spec.price_scale, qty: market.spec.qty_scale },
                update_id: 54_321_000_000,
                top: [(0, 0); 2],
                feeds: Feeds::default(),
                uncross: Vec::new(),
            })
            .collect();
        Streams { markets, depth_interval_ms, scratch: Vec::new(), skip: 0 }
    }

    /// The update id of a market's book: everything up to it is in the book.
    pub fn update_id(&self, market: usize) -> u64 {
        self.markets[market].update_id
    }

    /// A market's symbol.
    pub fn symbol(&self, market: usize) -> &str {
        &self.markets[market].symbol
    }

    /// The market with this symbol (upper case).
    pub fn market(&self, symbol: &str) -> Option<usize> {
        self.markets.iter().position(|market| market.symbol == symbol)
    }

    /// Subscribes a connection. `Err` for a malformed name; a well-formed name of an unknown symbol is
    /// accepted and stays silent.
    pub fn subscribe(&mut self, conn: ConnId, name: &str, sbe: bool, combined: bool) -> Result<(), MalformedName> {
        let (market, stream) = self.resolve(name, sbe)?;
        let Some(market) = market else { return Ok(()) };
        let feed = self.markets[market].feeds.get_or_insert(stream);
        if feed.name.is_empty() {
            feed.name = name.to_owned();
        }
        if !feed.subscribers.iter().any(|subscriber| subscriber.conn == conn) {
            feed.subscribers.push(Subscriber { conn, combined });
        }
        Ok(())
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, conn: ConnId, name: &str, sbe: bool) -> Result<(), MalformedName> {
        let (market, stream) = self.resolve(name, sbe)?;
        if let Some(feed) = market.and_then(|market| self.markets[market].feeds.get_mut(stream)) {
            feed.subscribers.retain(|subscriber| subscriber.conn != conn);
        }
        Ok(())
    }

    /// Ends all subscriptions of a connection.
    pub fn drop_connection(&mut self, conn: ConnId) {
        for feed in self.markets.iter_mut().flat_map(|market| market.feeds.0.iter_mut().map(|(_, feed)| feed)) {
            feed.subscribers.retain(|subscriber| subscriber.conn != conn);
        }
    }

    /// True when anyone subscribes to anything.
    pub fn is_heard(&self) -> bool {
        self.markets.iter().any(|market| market.feeds.0.iter().map(|(_, feed)| feed).any(|feed| !feed.subscribers.is_empty()))
    }

    /// Switches the combined wrapper of a connection.
    pub fn set_combined(&mut self, conn: ConnId, combined: bool) {
        for feed in self.markets.iter_mut().flat_map(|market| market.feeds.0.iter_mut().map(|(_, feed)| feed)) {
            for subscriber in feed.subscribers.iter_mut().filter(|subscriber| subscriber.conn == conn) {
                subscriber.combined = combined;
            }
        }
    }

    fn resolve(&self, name: &str, sbe: bool) -> Result<(Option<usize>, Stream), MalformedName> {
        let (symbol, suffix) = name.split_once('@').ok_or(MalformedName)?;
        let well_formed = !symbol.is_empty() && symbol.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !well_formed {
            return Err(MalformedName);
        }
        let stream = Stream::parse(suffix, sbe).ok_or(MalformedName)?;
        Ok((self.market(&symbol.to_ascii_uppercase()), stream))
    }

    /// Publishes what changed in the exchange. Returns the number of distinct messages built.
    pub fn publish(&mut self, now_ns: u64, exchange: &mut Exchange, trades: &[PublicTrade], outbox: &mut Outbox) -> u64 {
        let mut messages = 0;
        let forced = self.depth_interval_ms;
        for at in 0..self.markets.len() {
            let mut touched = std::mem::take(&mut self.scratch);
            touched.clear();
            exchange.markets[at].book.take_touched(&mut touched);
            let of_market = |trade: &&PublicTrade| trade.market == at;
            for trade in trades.iter().filter(of_market) {
                messages += self.markets[at].publish_trade(now_ns, trade, outbox);
            }
            if !touched.is_empty() {
                touched.sort_unstable();
                touched.dedup();
                let feed = &mut self.markets[at];
                let first = feed.update_id + 1;
                feed.update_id += touched.len() as u64;
                feed.note(first, &touched);
                let book = &exchange.markets[at].book;
                messages += feed.publish_top(now_ns, book, outbox);
                messages += feed.publish_due(now_ns, book, forced, &mut self.skip, outbox);
            }
            self.scratch = touched;
        }
        messages
    }

    /// Publishes what has waited for its interval. Returns the number of distinct messages built.
    pub fn tick(&mut self, now_ns: u64, exchange: &Exchange, outbox: &mut Outbox) -> u64 {
        let forced = self.depth_interval_ms;
        let mut messages = 0;
        for (feed, market) in self.markets.iter_mut().zip(&exchange.markets) {
            if !feed.uncross.is_empty() {
                let levels = std::mem::take(&mut feed.uncross);
                let first = feed.update_id + 1;
                feed.update_id += levels.len() as u64;
                feed.note(first, &levels);
            }
            messages += feed.publish_due(now_ns, &market.book, forced, &mut self.skip, outbox);
        }
        messages
    }

    /// Fault: one diff per market that puts a bid above the best ask; the next one takes it back.
    pub fn cross_books(&mut self, now_ns: u64, exchange: &Exchange, outbox: &mut Outbox) {
        for (feed, market) in self.markets.iter_mut().zip(&exchange.markets) {
            let Some((ask, qty)) = market.book.best(Side::Sell) else { continue };
            let price = ask + 5 * market.spec.tick;
            feed.update_id += 1;
            let ids = (feed.update_id, feed.update_id);
            for stream in [Stream::Depth, Stream::DepthFast, Stream::SbeDepth] {
                let json = feed.diff_json(now_ns, ids, &[(price, qty)], &[]);
                let binary = sbe::depth_diff(&feed.symbol, feed.scales, now_ns / 1_000, ids, &[(price, qty)], &[]);
                if let Some(entry) = feed.feeds.get(stream).filter(|entry| entry.touched.is_empty()) {
                    match stream {
                        Stream::SbeDepth => entry.send_binary(now_ns, binary, outbox),
                        _ => entry.send_text(now_ns, json, outbox),
                    }
                }
            }
            feed.uncross.push((Side::Buy, price));
        }
    }

    /// Fault: a message about a symbol that does not exist, to every stream connection.
    pub fn unknown_symbol(&mut self, now_ns: u64, outbox: &mut Outbox) {
        for market in &self.markets {
            let ids = (market.update_id, market.update_id);
            let json = push_diff("NOSUCHUSDT", market.scales, now_ns, ids, &[(1, 1)], &[]);
            let binary = sbe::depth_diff("NOSUCHUSDT", market.scales, now_ns / 1_000, ids, &[(1, 1)], &[]);
            for (stream, feed) in &market.feeds.0 {
                match stream {
                    Stream::SbeDepth => feed.send_binary(now_ns, binary.clone(), outbox),
                    Stream::Depth | Stream::DepthFast => feed.send_text(now_ns, json.clone(), outbox),
                    _ => {}
                }
            }
        }
    }

    /// Fault: an event of a kind nobody knows, to every text stream.
    pub fn unknown_event(&mut self, now_ns: u64, outbox: &mut Outbox) {
        for market in &self.markets {
            for (stream, feed) in &market.feeds.0 {
                if matches!(stream, Stream::Depth | Stream::DepthFast | Stream::Trade | Stream::BookTicker) {
                    let mut out = Vec::new();
                    Object::new(&mut out).str("e", "mysteryEvent").u64("E", now_ns / 1_000_000).str("s", &market.symbol).end();
                    feed.send_text(now_ns, out, outbox);
                }
            }
        }
    }
}

impl Feed {
    fn send_text(&self, now_ns: u64, raw: Vec<u8>, outbox: &mut Outbox) {
        let of = |combined: bool| self.subscribers.iter().filter(move |subscriber| subscriber.combined == combined).map(|s| s.conn);
        if of(true).next().is_some() {
            let mut out = Vec::with_capacity(raw.len() + self.name.len() + 24);
            out.extend_from_slice(b"{\"stream\":");
            push_json_str(&mut out, &self.name);
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(&raw);
            out.push(b'}');
            outbox.send_all(now_ns, of(true), Class::Market, Payload::text(out));
        }
        if of(false).next().is_some() {
            outbox.send_all(now_ns, of(false), Class::Market, Payload::text(raw));
        }
    }

    fn send_binary(&self, now_ns: u64, message: Vec<u8>, outbox: &mut Outbox) {
        let conns = self.subscribers.iter().map(|subscriber| subscriber.conn);
        outbox.send_all(now_ns, conns, Class::Market, Payload::Binary(Bytes::from(message)));
    }
}

impl MarketFeed {
    fn live(&self, stream: Stream) -> Option<&Feed> {
        self.feeds.get(stream).filter(|feed| !feed.subscribers.is_empty())
    }

    /// Notes changed levels, whose ids begin at `first`, for every diff stream.
    fn note(&mut self, first: u64, touched: &[(Side, i64)]) {
        for feed in self.feeds.0.iter_mut().map(|(_, feed)| feed) {
            if feed.touched.is_empty() {
                feed.first_id = first;
            }
            feed.touched.extend_from_slice(touched);
        }
    }

    fn publish_trade(&mut self, now_ns: u64, trade: &PublicTrade, outbox: &mut Outbox) -> u64 {
        let mut messages = 0;
        for stream in [Stream::Trade, Stream::AggTrade, Stream::SbeTrade] {
            let Some(feed) = self.live(stream) else { continue };
            match stream {
                Stream::SbeTrade => {
                    feed.send_binary(now_ns, sbe::trades(&self.symbol, self.scales, now_ns / 1_000, &[*trade]), outbox);
                }
                _ => feed.send_text(now_ns, self.trade_json(now_ns, trade, stream == Stream::AggTrade), outbox),
            }
            messages += 1;
        }
        messages
    }

    fn publish_top(&mut self, now_ns: u64, book: &Book, outbox: &mut Outbox) -> u64 {
        let top = [book.best(Side::Buy).unwrap_or_default(), book.best(Side::Sell).unwrap_or_default()];
        if top == self.top {
            return 0;
        }
        self.top = top;
        let mut messages = 0;
        if let Some(feed) = self.live(Stream::BookTicker) {
            let mut out = Vec::with_capacity(160);
            let mut object = Object::new(&mut out);
            object.u64("u", self.update_id).str("s", &self.symbol);
            object.padded8("b", top[0].0, self.scales.price).padded8("B", top[0].1, self.scales.qty);
            object.padded8("a", top[1].0, self.scales.price).padded8("A", top[1].1, self.scales.qty).end();
            feed.send_text(now_ns, out, outbox);
            messages += 1;
        }
        if let Some(feed) = self.live(Stream::SbeBestBidAsk) {
            let out = sbe::best_bid_ask(&self.symbol, self.scales, now_ns / 1_000, self.update_id, top[0], top[1]);
            feed.send_binary(now_ns, out, outbox);
            messages += 1;
        }
        messages
    }

    /// Sends every depth stream whose interval has passed and that has something to say.
    fn publish_due(&mut self, now_ns: u64, book: &Book, forced: Option<u32>, skip: &mut u32, outbox: &mut Outbox) -> u64 {
        let mut messages = 0;
        let (update_id, scales) = (self.update_id, self.scales);
        for (stream, feed) in &mut self.feeds.0 {
            if feed.touched.is_empty() {
                continue;
            }
            let is_depth =
                !matches!(stream, Stream::BookTicker | Stream::Trade | Stream::AggTrade | Stream::SbeBestBidAsk | Stream::SbeTrade);
            if feed.subscribers.is_empty() || !is_depth {
                feed.touched.clear();
                continue;
            }
            let interval_ns = stream.interval_ms(forced) * 1_000_000;
            // A time farther off than the interval is one of before the clock jumped back.
            if now_ns < feed.next_due_ns && feed.next_due_ns - now_ns <= interval_ns {
                continue;
            }
            feed.next_due_ns = now_ns + interval_ns;
            feed.touched.sort_unstable();
            feed.touched.dedup();
            let ids = (feed.first_id, update_id);
            let diff = |side: Side| -> Vec<(i64, i64)> {
                feed.touched.iter().filter(|(s, _)| *s == side).map(|(_, price)| (*price, book.qty_at(side, *price))).collect()
            };
            let top = |side: Side, depth: u8| -> Vec<(i64, i64)> { book.levels(side).take(usize::from(depth)).collect() };
            if matches!(stream, Stream::Depth | Stream::DepthFast | Stream::SbeDepth) && *skip > 0 {
                *skip -= 1;
                feed.touched.clear();
                continue;
            }
            match stream {
                Stream::Depth | Stream::DepthFast => {
                    let out = push_diff(&self.symbol, scales, now_ns, ids, &diff(Side::Buy), &diff(Side::Sell));
                    feed.send_text(now_ns, out, outbox);
                }
                Stream::Partial(depth) | Stream::PartialFast(depth) => {
                    let mut out = Vec::with_capacity(64 + 64 * usize::from(*depth));
                    push_snapshot(&mut out, update_id, scales, &top(Side::Buy, *depth), &top(Side::Sell, *depth));
                    feed.send_text(now_ns, out, outbox);
                }
                Stream::SbeDepth => {
                    let out = sbe::depth_diff(&self.symbol, scales, now_ns / 1_000, ids, &diff(Side::Buy), &diff(Side::Sell));
                    feed.send_binary(now_ns, out, outbox);
                }
                Stream::SbeDepth20 => {
                    let out =
                        sbe::depth_snapshot(&self.symbol, scales, now_ns / 1_000, update_id, &top(Side::Buy, 20), &top(Side::Sell, 20));
                    feed.send_binary(now_ns, out, outbox);
                }
                _ => {}
            }
            feed.touched.clear();
            messages += 1;
        }
        messages
    }

    fn diff_json(&self, now_ns: u64, ids: (u64, u64), bids: &[(i64, i64)], asks: &[(i64, i64)]) -> Vec<u8> {
        push_diff(&self.symbol, self.scales, now_ns, ids, bids, asks)
    }

    fn trade_json(&self, now_ns: u64, trade: &PublicTrade, aggregate: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(192);
        let mut object = Object::new(&mut out);
        object.str("e", if aggregate { "aggTrade" } else { "trade" }).u64("E", now_ns / 1_000_000).str("s", &self.symbol);
        object.u64(if aggregate { "a" } else { "t" }, trade.id);
        object.padded8("p", trade.price, self.scales.price).padded8("q", trade.qty, self.scales.qty);
        if aggregate {
            object.u64("f", trade.id).u64("l", trade.id);
        }
        object.u64("T", trade.at_ns / 1_000_000).bool("m", trade.taker_side == Side::Sell).bool("M", true).end();
        out
    }
}

fn push_diff(symbol: &str, scales: sbe::Scales, now_ns: u64, ids: (u64, u64), bids: &[(i64, i64)], asks: &[(i64, i64)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + 36 * (bids.len() + asks.len()));
    let mut object = Object::new(&mut out);
    object.str("e", "depthUpdate").u64("E", now_ns / 1_000_000).str("s", symbol).u64("U", ids.0).u64("u", ids.1);
    push_levels(object.key("b"), scales, bids);
    push_levels(object.key("a"), scales, asks);
    object.end();
    out
}

/// `{"lastUpdateId":..,"bids":[..],"asks":[..]}`.
pub fn push_snapshot(out: &mut Vec<u8>, update_id: u64, scales: sbe::Scales, bids: &[(i64, i64)], asks: &[(i64, i64)]) {
    let mut object = Object::new(out);
    object.u64("lastUpdateId", update_id);
    push_levels(object.key("bids"), scales, bids);
    push_levels(object.key("asks"), scales, asks);
    object.end();
}

fn push_levels(out: &mut Vec<u8>, scales: sbe::Scales, levels: &[(i64, i64)]) {
    array(out, levels, |out, (price, qty)| {
        out.extend_from_slice(b"[\"");
        push_padded(out, *price, scales.price, 8);
        out.extend_from_slice(b"\",\"");
        push_padded(out, *qty, scales.qty, 8);
        out.extend_from_slice(b"\"]");
    });
}
