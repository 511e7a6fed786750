//! Kraken WebSocket v2, public side: requests, subscriptions, snapshots and the data channels.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::book_feed::{self, DEPTHS, Rows};
use super::executions::{kind_text, push_time};
use super::instruments::push_instruments;
use super::{Kraken, PrivateFeed};
use crate::book::Side;
use crate::decimal::push_trimmed;
use crate::exchange::{Event, PublicTrade};
use crate::json::{Object, array};
use crate::venue::side_text;
use crate::wire::{Class, ConnId, Params, Payload, params_from_json};

#[derive(Deserialize)]
struct Request<'a> {
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    req_id: Option<&'a RawValue>,
}

/// What an answer needs from its request.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Who asked.
    pub conn: ConnId,
    /// Method.
    pub method: String,
    /// `req_id` as sent.
    pub req_id: Option<String>,
    /// When it was taken in, ns.
    pub at_ns: u64,
}

/// A public subscription as a connection knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Channel {
    /// `book` of a market at a depth.
    Book(usize, usize),
    /// `trade` of a market.
    Trade(usize),
    /// `ticker` of a market; true for `event_trigger: bbo`.
    Ticker(usize, bool),
    /// `instrument`.
    Instrument,
}

impl Kraken {
    /// Handles one message of a client.
    pub(super) fn request(&mut self, now_ns: u64, conn: ConnId, text: &str) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.active_ns = now_ns;
        let private = connection.private;
        let parsed = serde_json::from_str::<Request<'_>>(text).ok();
        let (method, params, req_id) = match &parsed {
            Some(Request { method: Some(method), params, req_id }) => (method.clone(), *params, req_id.map(|raw| raw.get().to_owned())),
            _ => {
                let origin = Origin { conn, method: String::new(), req_id: None, at_ns: now_ns };
                self.fail(now_ns, &origin, Class::Ack, "Malformed request", None);
                return;
            }
        };
        let origin = Origin { conn, method, req_id, at_ns: now_ns };
        if origin.req_id.as_ref().is_some_and(|id| id.parse::<i64>().is_err()) {
            self.fail(now_ns, &Origin { req_id: None, ..origin }, Class::Ack, "Malformed request", None);
            return;
        }
        let Some(map) = params.map_or(Some(Params::new()), params_from_json) else {
            self.fail(now_ns, &origin, Class::Ack, "Malformed request", None);
            return;
        };
        match origin.method.as_str() {
            "ping" => {
                let mut out = Vec::new();
                let mut object = Object::new(&mut out);
                object.str("method", "pong");
                self.finish(now_ns, &origin, object);
                self.send(now_ns, conn, Class::Ack, out);
            }
            "subscribe" | "unsubscribe" => {
                if self.take_rate_limit_fault() {
                    self.fail(now_ns, &origin, Class::Ack, "Exceeded msg rate", None);
                    return;
                }
                self.subscription(now_ns, &origin, &map);
            }
            _ if private => self.order_request(now_ns, &origin, &map),
            _ => self.fail(now_ns, &origin, Class::Ack, "EGeneral:Permission denied", None),
        }
        self.publish(now_ns);
    }

    /// Writes the tail that every answer has and closes it.
    pub(super) fn finish(&self, now_ns: u64, origin: &Origin, mut object: Object<'_>) {
        if let Some(req_id) = &origin.req_id {
            object.raw("req_id", req_id.as_bytes());
        }
        push_time(&mut object, "time_in", origin.at_ns);
        push_time(&mut object, "time_out", now_ns);
        object.end();
    }

    /// A refusal.
    pub(super) fn fail(&mut self, now_ns: u64, origin: &Origin, class: Class, error: &str, symbol: Option<&str>) {
        let mut out = Vec::with_capacity(200);
        let mut object = Object::new(&mut out);
        object.str("error", error);
        if !origin.method.is_empty() {
            object.str("method", &origin.method);
        }
        object.bool("success", false);
        if let Some(symbol) = symbol {
            object.str("symbol", symbol);
        }
        self.finish(now_ns, origin, object);
        self.send(now_ns, origin.conn, class, out);
    }

    /// A success with the given `result`.
    pub(super) fn succeed(&mut self, now_ns: u64, origin: &Origin, class: Class, result: &[u8]) {
        let mut out = Vec::with_capacity(200 + result.len());
        let mut object = Object::new(&mut out);
        object.str("method", &origin.method).raw("result", result).bool("success", true);
        self.finish(now_ns, origin, object);
        self.send(now_ns, origin.conn, class, out);
    }

    fn subscription(&mut self, now_ns: u64, origin: &Origin, params: &Params) {
        let get = |name: &str| params.get(name).map(String::as_str);
        let subscribing = origin.method == "subscribe";
        let snapshot = get("snapshot").is_none_or(|text| text == "true");
        let channel = match get("channel") {
            Some(channel @ ("book" | "trade" | "ticker")) => channel.to_owned(),
            Some("instrument") => {
                self.instrument_subscription(now_ns, origin, subscribing, snapshot);
                return;
            }
            Some(channel @ ("executions" | "balances")) => {
                let channel = channel.to_owned();
                self.private_subscription(now_ns, origin, &channel, subscribing, params);
                return;
            }
            _ => {
                self.fail(now_ns, origin, Class::Ack, "Subscription name invalid", None);
                return;
            }
        };
        let symbols: Vec<String> = get("symbol").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        if symbols.is_empty() {
            self.fail(now_ns, origin, Class::Ack, "Malformed request", None);
            return;
        }
        let depth = match get("depth").map_or(Ok(10), str::parse) {
            Ok(depth) if DEPTHS.contains(&depth) || channel != "book" => depth,
            _ => {
                self.fail(now_ns, origin, Class::Ack, "Subscription depth not supported", None);
                return;
            }
        };
        let bbo = get("event_trigger") == Some("bbo");
        for symbol in symbols {
            let Some(market) = self.names.iter().position(|names| names.symbol == symbol) else {
                self.fail(now_ns, origin, Class::Ack, &format!("Currency pair not supported {symbol}"), Some(&symbol));
                continue;
            };
            let wanted = match channel.as_str() {
                "book" => Channel::Book(market, depth),
                "trade" => Channel::Trade(market),
                _ => Channel::Ticker(market, bbo),
            };
            // `trade` has no snapshot unless asked for.
            let snapshot = if channel == "trade" { get("snapshot") == Some("true") } else { snapshot };
            self.channel_subscription(now_ns, origin, subscribing, wanted, &symbol, snapshot);
        }
    }

    fn channel_subscription(&mut self, now_ns: u64, origin: &Origin, subscribing: bool, wanted: Channel, symbol: &str, snapshot: bool) {
        let Some(connection) = self.connections.get_mut(&origin.conn) else { return };
        // One depth per symbol and channel on a connection.
        let same = |known: &Channel| match (known, wanted) {
            (Channel::Book(a, _), Channel::Book(b, _)) | (Channel::Ticker(a, _), Channel::Ticker(b, _)) => *a == b,
            (known, wanted) => *known == wanted,
        };
        let known = connection.channels.iter().copied().find(|known| same(known));
        match (subscribing, known) {
            (true, Some(_)) => {
                self.fail(now_ns, origin, Class::Ack, "Already subscribed", Some(symbol));
                return;
            }
            (false, known) if known != Some(wanted) && !(known.is_some() && matches!(wanted, Channel::Ticker(..))) => {
                self.fail(now_ns, origin, Class::Ack, "Subscription Not Found", Some(symbol));
                return;
            }
            (true, None) => {
                connection.channels.insert(wanted);
            }
            (false, known) => {
                if let Some(known) = known {
                    connection.channels.remove(&known);
                    self.feeds.drop(origin.conn, known);
                }
            }
        }
        let mut result = Vec::with_capacity(128);
        let mut object = Object::new(&mut result);
        match wanted {
            Channel::Book(_, depth) => object.str("channel", "book").u64("depth", depth as u64).bool("snapshot", snapshot),
            Channel::Trade(_) => object.str("channel", "trade").bool("snapshot", snapshot),
            Channel::Ticker(_, bbo) => {
                object.str("channel", "ticker").str("event_trigger", if bbo { "bbo" } else { "trades" }).bool("snapshot", snapshot)
            }
            Channel::Instrument => object.str("channel", "instrument"),
        };
        object.str("symbol", symbol).end();
        self.succeed(now_ns, origin, Class::Ack, &result);
        if subscribing {
            self.start_channel(now_ns, origin.conn, wanted, snapshot);
        }
    }

    fn start_channel(&mut self, now_ns: u64, conn: ConnId, channel: Channel, snapshot: bool) {
        // The window that the new subscriber starts from is the book as published.
        self.publish(now_ns);
        match channel {
            Channel::Book(market, depth) => {
                let book = &self.exchange.markets[market].book;
                let feed = self.feeds.markets[market].books.entry(depth).or_default();
                if feed.subscribers.is_empty() {
                    feed.reset(book, depth);
                }
                feed.subscribers.push(conn);
                if snapshot {
                    let rows: [Rows; 2] = [Side::Buy, Side::Sell].map(|side| book.levels(side).take(depth).collect());
                    let out = book_feed::message(
                        "snapshot",
                        &self.names[market].symbol,
                        self.scales(market),
                        &rows,
                        book_feed::book_checksum(book),
                        now_ns,
                    );
                    self.send(now_ns, conn, Class::Market, out);
                }
            }
            Channel::Trade(market) => {
                self.feeds.markets[market].trade.push(conn);
                if snapshot {
                    let recent = &self.exchange.markets[market].recent;
                    let trades: Vec<PublicTrade> = recent.iter().skip(recent.len().saturating_sub(50)).copied().collect();
                    let out = self.trade_message("snapshot", market, &trades);
                    self.send(now_ns, conn, Class::Market, out);
                }
            }
            Channel::Ticker(market, bbo) => {
                self.feeds.markets[market].tickers[usize::from(bbo)].push(conn);
                if snapshot {
                    let out = self.ticker_message("snapshot", market, now_ns);
                    self.send(now_ns, conn, Class::Market, out);
                }
            }
            Channel::Instrument => {}
        }
    }

    fn instrument_subscription(&mut self, now_ns: u64, origin: &Origin, subscribing: bool, snapshot: bool) {
        let Some(connection) = self.connections.get_mut(&origin.conn) else { return };
        if subscribing {
            connection.channels.insert(Channel::Instrument);
        } else {
            connection.channels.remove(&Channel::Instrument);
        }
        let mut result = Vec::new();
        Object::new(&mut result).str("channel", "instrument").bool("snapshot", snapshot).end();
        self.succeed(now_ns, origin, Class::Ack, &result);
        if subscribing && snapshot {
            let out = self.instrument_message("snapshot");
            self.send(now_ns, origin.conn, Class::Market, out);
        }
    }

    /// The `instrument` message.
    pub(super) fn instrument_message(&self, kind: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(2048);
        let mut object = Object::new(&mut out);
        object.str("channel", "instrument").str("type", kind);
        push_instruments(object.key("data"), &self.exchange, self.system);
        object.end();
        out
    }

    /// A `trade` message.
    pub(super) fn trade_message(&self, kind: &str, market: usize, trades: &[PublicTrade]) -> Vec<u8> {
        let spec = &self.exchange.markets[market].spec;
        let mut out = Vec::with_capacity(64 + 192 * trades.len());
        let mut object = Object::new(&mut out);
        object.str("channel", "trade").str("type", kind);
        array(object.key("data"), trades, |out, trade| {
            let mut row = Object::new(out);
            row.str("symbol", &self.names[market].symbol).str("side", side_text(trade.taker_side));
            row.number("price", i128::from(trade.price), spec.price_scale).number("qty", i128::from(trade.qty), spec.qty_scale);
            row.str("ord_type", kind_text(trade.taker_kind)).u64("trade_id", trade.id);
            push_time(&mut row, "timestamp", trade.at_ns);
            row.end();
        });
        object.end();
        out
    }

    /// A `ticker` message.
    pub(super) fn ticker_message(&self, kind: &str, market: usize, now_ns: u64) -> Vec<u8> {
        let data = &self.exchange.markets[market];
        let (spec, day) = (&data.spec, &data.day);
        let best = |side| data.book.best(side).unwrap_or_default();
        let mut out = Vec::with_capacity(360);
        let mut object = Object::new(&mut out);
        object.str("channel", "ticker").str("type", kind);
        array(object.key("data"), [()], |out, ()| {
            let mut row = Object::new(out);
            let price = |row: &mut Object<'_>, name: &str, value: i64| {
                row.number(name, i128::from(value), spec.price_scale);
            };
            row.str("symbol", &self.names[market].symbol);
            price(&mut row, "bid", best(Side::Buy).0);
            row.number("bid_qty", i128::from(best(Side::Buy).1), spec.qty_scale);
            price(&mut row, "ask", best(Side::Sell).0);
            row.number("ask_qty", i128::from(best(Side::Sell).1), spec.qty_scale);
            price(&mut row, "last", day.last);
            push_trimmed(row.key("volume"), day.volume, spec.qty_scale, 0);
            price(&mut row, "low", day.low);
            price(&mut row, "high", day.high);
            price(&mut row, "change", day.last - day.open);
            push_time(&mut row, "timestamp", now_ns);
            row.end();
        });
        object.end();
        out
    }

    /// Publishes everything that happened in the exchange. Returns the number of distinct market-data
    /// messages.
    pub(super) fn publish(&mut self, now_ns: u64) -> u64 {
        let mut events = std::mem::take(&mut self.events);
        self.exchange.swap_events(&mut events);
        let mut messages = 0;
        for event in &events {
            match event {
                Event::Trade(trade) => {
                    self.feeds.markets[trade.market].traded = true;
                    let feed = std::mem::take(&mut self.feeds.markets[trade.market].trade);
                    if !feed.is_empty() {
                        let out = self.trade_message("update", trade.market, &[*trade]);
                        self.broadcast(now_ns, &feed, out);
                        messages += 1;
                    }
                    self.feeds.markets[trade.market].trade = feed;
                }
                Event::Order(order, change) => self.report(now_ns, order, change),
            }
        }
        self.events = events;
        for market in 0..self.exchange.markets.len() {
            messages += self.publish_market(now_ns, market);
        }
        messages
    }

    fn publish_market(&mut self, now_ns: u64, market: usize) -> u64 {
        let mut touched = std::mem::take(&mut self.scratch);
        touched.clear();
        self.exchange.markets[market].book.take_touched(&mut touched);
        let traded = std::mem::take(&mut self.feeds.markets[market].traded);
        let mut messages = 0;
        if !touched.is_empty() {
            touched.sort_unstable();
            touched.dedup();
            messages += self.publish_books(now_ns, market, &touched);
            messages += self.publish_tickers(now_ns, market, traded);
        }
        self.scratch = touched;
        messages
    }

    /// A trade and a change of the top touch a level, so tickers are due only when levels were touched.
    fn publish_tickers(&mut self, now_ns: u64, market: usize, traded: bool) -> u64 {
        let mut messages = 0;
        let book = &self.exchange.markets[market].book;
        let top = [book.best(Side::Buy), book.best(Side::Sell)];
        let moved = top != self.feeds.markets[market].top;
        self.feeds.markets[market].top = top;
        for (bbo, due) in [(false, traded), (true, moved)] {
            let subscribers = std::mem::take(&mut self.feeds.markets[market].tickers[usize::from(bbo)]);
            if due && !subscribers.is_empty() {
                let out = self.ticker_message("update", market, now_ns);
                self.broadcast(now_ns, &subscribers, out);
                messages += 1;
            }
            self.feeds.markets[market].tickers[usize::from(bbo)] = subscribers;
        }
        messages
    }

    fn publish_books(&mut self, now_ns: u64, market: usize, touched: &[(Side, i64)]) -> u64 {
        let mut books = std::mem::take(&mut self.feeds.markets[market].books);
        let mut rows = std::mem::take(&mut self.rows);
        let mut checksum = None;
        let mut messages = 0;
        for (depth, feed) in &mut books {
            if feed.subscribers.is_empty() {
                continue;
            }
            let book = &self.exchange.markets[market].book;
            feed.rows(book, *depth, touched, &mut rows);
            if rows[0].is_empty() && rows[1].is_empty() {
                continue;
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            let mut sum = *checksum.get_or_insert_with(|| book_feed::book_checksum(book));
            if self.bad_checksums > 0 {
                self.bad_checksums -= 1;
                sum ^= 0x5a5a_5a5a;
            }
            let out = book_feed::message("update", &self.names[market].symbol, self.scales(market), &rows, sum, now_ns);
            self.broadcast(now_ns, &feed.subscribers, out);
            messages += 1;
        }
        self.feeds.markets[market].books = books;
        self.rows = rows;
        messages
    }

    /// Fault: a book message that puts a bid above the best ask, its checksum right; then the true window.
    pub(super) fn cross_books(&mut self, now_ns: u64) {
        self.publish(now_ns);
        for market in 0..self.exchange.markets.len() {
            let books = std::mem::take(&mut self.feeds.markets[market].books);
            for (depth, feed) in &books {
                let (spec, book) = (&self.exchange.markets[market].spec, &self.exchange.markets[market].book);
                let Some((ask, qty)) = book.best(Side::Sell).filter(|_| !feed.subscribers.is_empty()) else { continue };
                let crossing = (ask + 5 * spec.tick, qty);
                let crossed_sum = book_feed::checksum(std::iter::once(crossing).chain(book.levels(Side::Buy)), book.levels(Side::Sell));
                let (symbol, scales) = (self.names[market].symbol.clone(), self.scales(market));
                let crossed = book_feed::message("update", &symbol, scales, &[vec![crossing], Vec::new()], crossed_sum, now_ns);
                let mut truth: Rows = vec![(crossing.0, 0)];
                truth.extend(book.levels(Side::Buy).take(*depth));
                let restored = book_feed::message("update", &symbol, scales, &[truth, Vec::new()], book_feed::book_checksum(book), now_ns);
                self.broadcast(now_ns, &feed.subscribers, crossed);
                self.broadcast(now_ns, &feed.subscribers, restored);
            }
            self.feeds.markets[market].books = books;
        }
    }

    /// Fault: data about a pair that does not exist, to every subscriber of a book.
    pub(super) fn unknown_symbol(&mut self, now_ns: u64) {
        let scales = book_feed::Scales { price: 1, qty: 8 };
        let rows = [vec![(1, 1)], Vec::new()];
        let out = book_feed::message("update", "NOSUCH/USD", scales, &rows, 0, now_ns);
        for conn in self.feeds.book_subscribers() {
            self.send(now_ns, conn, Class::Market, out.clone());
        }
    }

    /// Fault: an execution (without a private subscription, a public message) of a kind nobody knows.
    pub(super) fn unknown_enum(&mut self, now_ns: u64) {
        let conns: Vec<ConnId> = self.connections.iter().filter(|(_, c)| c.executions.is_some()).map(|(conn, _)| *conn).collect();
        for conn in &conns {
            let mut record = Vec::new();
            Object::new(&mut record)
                .str("order_id", "OAAAAA-AAAAA-AAAAAA")
                .str("exec_type", "mystery")
                .str("order_status", "mystery")
                .end();
            self.send_private(now_ns, *conn, PrivateFeed::Executions, "update", &[record]);
        }
        if conns.is_empty() {
            for conn in self.feeds.book_subscribers() {
                self.send(now_ns, conn, Class::Market, br#"{"channel":"mystery","type":"update","data":[{"symbol":"BTC/USD"}]}"#.to_vec());
            }
        }
    }

    /// Sends one message to many.
    pub(super) fn broadcast(&mut self, now_ns: u64, subscribers: &[ConnId], message: Vec<u8>) {
        for conn in subscribers {
            if let Some(connection) = self.connections.get_mut(conn) {
                connection.sent_ns = now_ns;
            }
        }
        self.outbox.send_all(now_ns, subscribers.iter().copied(), Class::Market, Payload::text(message));
    }

    /// Sends one message to one connection.
    pub(super) fn send(&mut self, now_ns: u64, conn: ConnId, class: Class, message: Vec<u8>) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.sent_ns = now_ns;
        }
        self.outbox.send(now_ns, conn, class, Payload::text(message));
    }
}
