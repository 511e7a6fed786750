//! The cold plane's queries: token, reconciliation, reference data.
//!
//! | query | call |
//! |---|---|
//! | token | `POST GetWebSocketsToken` |
//! | open orders | `POST OpenOrders` |
//! | one order | `POST OpenOrders` with our id, then `POST ClosedOrders` with it: no single call knows both |
//! | fills | `POST TradesHistory`, pages of 50, `consolidate_taker=false` so that rows are fills |
//! | balances | `POST BalanceEx` |
//! | cancel everything | `POST CancelAll` |
//! | reference data, book, clock | `GET AssetPairs`, `Depth`, `Time` |
//!
//! Private calls are signed over a nonce that grows with every call, whatever the clock does. The venue answers HTTP
//! 200 to refusals too; its `error` list decides.

use super::auth::Signer;
use super::instruments::{altname, common_asset, names_pair, read_asset_pairs};
use super::message::parse_number;
use super::{NAME, S};
use crate::json::{JsonError, Scanner, What};
use crate::rest::{FillRecord, HttpRequest, OrderRecord, RestError, RestQuery, RestReply, Tables, VenueRest};
use crate::venue::{VenueError, VenueSettings};
use engine_core::event::{Side, VALUE_MAX, VenueOrderStatus};
use engine_core::fixed::{Money, Price, Qty, parse_decimal};
use engine_core::ids::{InstrumentId, OrderId, VenueId};
use engine_core::instrument::{AssetTable, Instrument, InstrumentTable};
use zeroize::Zeroizing;

/// Rows of a history page.
const PAGE: u64 = 50;
/// A list of open orders so young need not be asked for again before closed ones are.
const OPEN_LIST_FRESH_NS: u64 = 2 * S;
/// Longest venue text kept in an error.
const TEXT_MAX: usize = 200;

/// Kraken's REST dialect.
pub struct KrakenRest {
    venue: VenueId,
    signer: Option<Signer>,
    nonce: u64,
    now_ns: u64,
    /// The open orders listed last, and when.
    open_list: (u64, Vec<OrderId>),
    /// An order that is not open: the next question about it goes to the closed ones.
    ask_closed: Option<OrderId>,
    /// The question on its way goes to the closed orders.
    asking_closed: bool,
    /// The fills being paged through: their query's start, and the end that keeps the pages from shifting.
    fills: (u64, u64),
}

impl KrakenRest {
    /// Builds it; without credentials only public queries work.
    pub fn new(settings: &VenueSettings) -> Result<KrakenRest, VenueError> {
        let signer = match &settings.credentials {
            None => None,
            Some(credentials) => {
                Some(Signer::new(credentials).map_err(|e| VenueError::Credentials { venue: NAME, reason: e.to_string() })?)
            }
        };
        Ok(KrakenRest {
            venue: settings.id,
            signer,
            nonce: 0,
            now_ns: 0,
            open_list: (0, Vec::new()),
            ask_closed: None,
            asking_closed: false,
            fills: (0, 0),
        })
    }

    fn private(&mut self, name: &str, parameters: &str) -> Result<HttpRequest, RestError> {
        let signer = self.signer.as_ref().ok_or(RestError::Unsupported("the query needs credentials"))?;
        self.nonce = (self.now_ns / 1_000).max(self.nonce + 1);
        let nonce = self.nonce.to_string();
        let path = format!("/0/private/{name}");
        let body = format!("nonce={nonce}{}{parameters}", if parameters.is_empty() { "" } else { "&" }).into_bytes();
        let headers = vec![
            ("API-Key".to_owned(), signer.api_key().to_owned()),
            ("API-Sign".to_owned(), signer.sign(&path, &nonce, &body)),
            ("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
        ];
        Ok(HttpRequest { method: "POST", path, headers, body })
    }

    fn order_query(&mut self, order: OrderId) -> Result<HttpRequest, RestError> {
        let (listed_ns, listed) = &self.open_list;
        let fresh = self.now_ns.saturating_sub(*listed_ns) <= OPEN_LIST_FRESH_NS;
        self.asking_closed = self.ask_closed == Some(order) || (fresh && !listed.contains(&order));
        self.ask_closed = None;
        match self.asking_closed {
            true => self.private("ClosedOrders", &format!("cl_ord_id={order}&consolidate_taker=false&without_count=true")),
            false => self.private("OpenOrders", &format!("cl_ord_id={order}")),
        }
    }

    fn fills_query(&mut self, since_ns: u64, cursor: u64) -> Result<HttpRequest, RestError> {
        if cursor == 0 || self.fills.0 != since_ns {
            self.fills = (since_ns, self.now_ns / S + 1);
        }
        // `start` is exclusive, in seconds: one second early, and what is too old is left out when parsing.
        let start = (since_ns / S).saturating_sub(1);
        let (end, offset) = (self.fills.1, cursor.saturating_sub(1));
        self.private("TradesHistory", &format!("start={start}&end={end}&ofs={offset}&consolidate_taker=false"))
    }
}

fn get(path: String) -> HttpRequest {
    HttpRequest { method: "GET", path, headers: Vec::new(), body: Vec::new() }
}

fn instrument<'a>(tables: Tables<'a>, id: InstrumentId) -> Result<&'a Instrument, RestError> {
    tables.instruments.get(id).ok_or(RestError::Unsupported("no such instrument"))
}

impl VenueRest for KrakenRest {
    fn request(&mut self, query: &RestQuery, tables: Tables<'_>, now_ns: u64) -> Result<HttpRequest, RestError> {
        self.now_ns = now_ns;
        match query {
            RestQuery::ServerTime => Ok(get("/0/public/Time".into())),
            // All pairs: one name that the venue does not have would cost the answer for all others.
            RestQuery::Instruments { .. } => Ok(get("/0/public/AssetPairs".into())),
            RestQuery::BookSnapshot { instrument: id, depth } => {
                let pair = altname(&instrument(tables, *id)?.symbol);
                Ok(get(format!("/0/public/Depth?pair={pair}&count={}", (*depth).clamp(1, 500))))
            }
            RestQuery::StreamToken => self.private("GetWebSocketsToken", ""),
            RestQuery::OpenOrders => self.private("OpenOrders", ""),
            RestQuery::Order { order, .. } => self.order_query(*order),
            RestQuery::Fills { since_ns, cursor, .. } => self.fills_query(*since_ns, *cursor),
            RestQuery::Balances => self.private("BalanceEx", ""),
            RestQuery::CancelAll => self.private("CancelAll", ""),
            RestQuery::CancelInstrument { .. } => Err(RestError::Unsupported("Kraken cancels everything or single orders")),
        }
    }

    fn parse(
        &mut self,
        query: &RestQuery,
        status: u16,
        _headers: &[(String, String)],
        body: &[u8],
        instruments: &InstrumentTable,
        assets: &mut AssetTable,
    ) -> Result<RestReply, RestError> {
        let result = match outer(body) {
            Ok(outer) => accepted(status, outer, body, self.now_ns)?,
            Err(error) => return Err(unreadable(status, body, error)),
        };
        let mut s = result.clone();
        match query {
            RestQuery::ServerTime => server_time(&mut s).map(RestReply::ServerTime).map_err(malformed),
            RestQuery::Instruments { symbols } => reference_data(&mut s, self.venue, symbols, assets).map_err(malformed),
            RestQuery::BookSnapshot { instrument: id, .. } => {
                let tables = Tables { instruments, assets };
                let held = instrument(tables, *id)?;
                depth(&mut s, held).map_err(malformed)
            }
            RestQuery::StreamToken => token(&mut s).map_err(malformed),
            RestQuery::OpenOrders => {
                let orders = order_rows(&mut s, instruments, self.venue).map_err(malformed)?;
                self.open_list = (self.now_ns, orders.iter().filter_map(|record| record.order).collect());
                Ok(RestReply::Orders(orders))
            }
            RestQuery::Order { order, .. } => {
                let mut orders = order_rows(&mut s, instruments, self.venue).map_err(malformed)?;
                orders.retain(|record| record.order == Some(*order));
                if orders.is_empty() && !self.asking_closed {
                    self.ask_closed = Some(*order);
                    return Err(RestError::Wait { wait_ms: 0, text: format!("{order} is not open; the closed ones are asked next") });
                }
                // The newest of them, should an id have been used twice.
                orders.truncate(1);
                Ok(RestReply::Orders(orders))
            }
            RestQuery::Fills { instrument: id, since_ns, cursor } => {
                let tables = Tables { instruments, assets };
                let held = instrument(tables, *id)?;
                let (fills, count) = fills(&mut s, *id, held, *since_ns, assets).map_err(malformed)?;
                Ok(page_of(fills, count, *cursor))
            }
            RestQuery::Balances => balances(&mut s, assets).map_err(malformed),
            RestQuery::CancelAll => canceled(&mut s).map_err(malformed),
            RestQuery::CancelInstrument { .. } => Err(RestError::Unsupported("Kraken cancels everything or single orders")),
        }
    }
}

#[cold]
fn malformed(error: JsonError) -> RestError {
    RestError::Malformed(error.to_string())
}

/// An answer that is not the venue's JSON: a page of the proxy in front of it.
#[cold]
fn unreadable(status: u16, body: &[u8], error: JsonError) -> RestError {
    match status {
        200..300 => malformed(error),
        429 => RestError::Wait { wait_ms: 5_000, text: text_of(body) },
        500.. => RestError::Wait { wait_ms: 1_000, text: format!("HTTP {status}") },
        _ => RestError::Refused { status, code: 0, text: text_of(body) },
    }
}

fn text_of(bytes: &[u8]) -> String {
    bytes.iter().take(TEXT_MAX).map(|&c| if (0x20..0x7f).contains(&c) { char::from(c) } else { '?' }).collect()
}

/// `error` and `result` of an answer.
struct Outer<'a> {
    error: Option<Vec<u8>>,
    result: Option<Scanner<'a>>,
}

fn outer(body: &[u8]) -> Result<Outer<'_>, JsonError> {
    let mut s = Scanner::new(body);
    let (mut error, mut result) = (None, None);
    let mut members = s.object()?;
    while let Some(key) = members.next(&mut s)? {
        match key {
            b"error" => {
                let mut errors = s.array()?;
                while errors.next(&mut s)? {
                    let text = s.string()?.raw();
                    // `W` is a warning; the first error counts.
                    if !text.starts_with(b"W") && error.is_none() {
                        error = Some(text.to_vec());
                    }
                }
            }
            b"result" => {
                result = Some(s.clone());
                s.skip()?;
            }
            _ => s.skip()?,
        }
    }
    s.end()?;
    Ok(Outer { error, result })
}

/// The `result`, or what the venue's refusal means.
fn accepted<'a>(status: u16, outer: Outer<'a>, body: &[u8], now_ns: u64) -> Result<Scanner<'a>, RestError> {
    let Some(error) = outer.error else {
        return match outer.result {
            Some(result) if (200..300).contains(&status) => Ok(result),
            Some(_) => Err(RestError::Refused { status, code: 0, text: text_of(body) }),
            None => Err(unreadable(status, body, JsonError { at: 0, what: What::Missing("result") })),
        };
    };
    let text = text_of(&error);
    let wait_ms = match text.as_str() {
        // Concurrent requests: until the time given, in seconds.
        throttled if throttled.starts_with("EService:Throttled") => {
            let until_s: u64 = throttled.rsplit(' ').next().and_then(|t| t.parse().ok()).unwrap_or(0);
            until_s.saturating_mul(1_000).saturating_sub(now_ns / 1_000_000).clamp(500, 60_000)
        }
        "EAPI:Rate limit exceeded" => 5_000,
        "EGeneral:Too many requests" => 2_000,
        "EService:Unavailable" | "EService:Busy" | "EGeneral:Internal error" => 1_000,
        // The next one is larger.
        "EAPI:Invalid nonce" => 50,
        _ => return Err(RestError::Refused { status, code: 0, text }),
    };
    Err(RestError::Wait { wait_ms, text })
}

/// `unixtime` has whole seconds only: the middle of the second is the best guess.
fn server_time(s: &mut Scanner<'_>) -> Result<u64, JsonError> {
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        if key == b"unixtime" {
            return Ok(s.u64()?.saturating_mul(S).saturating_add(S / 2));
        }
        s.skip()?;
    }
    Err(s.error(What::Missing("unixtime")))
}

fn reference_data(s: &mut Scanner<'_>, venue: VenueId, symbols: &[String], assets: &mut AssetTable) -> Result<RestReply, JsonError> {
    let (mut instruments, mut quarantined) = (Vec::new(), Vec::new());
    let wanted = |symbol: &str| symbols.iter().any(|s| s == symbol);
    let mut found = Vec::new();
    read_asset_pairs(s, venue, assets, wanted, |symbol, instrument| found.push((symbol, instrument)))?;
    for symbol in symbols {
        // Of several pairs with one name (there are dark pools), the first counts.
        match found.iter().find(|(name, _)| name == symbol) {
            Some((_, Ok(instrument))) => instruments.push(instrument.clone()),
            Some((_, Err(reason))) => quarantined.push((symbol.clone(), reason.clone())),
            // Left out of both lists: the caller says that the venue does not have it.
            None => {}
        }
    }
    Ok(RestReply::Instruments { instruments, quarantined })
}

/// `{"XXBTZUSD":{"asks":[["price","qty",time],..],"bids":..}}`
fn depth(s: &mut Scanner<'_>, instrument: &Instrument) -> Result<RestReply, JsonError> {
    let (mut bids, mut asks) = (Vec::new(), Vec::new());
    let mut pairs = s.object()?;
    while pairs.next(s)?.is_some() {
        let mut members = s.object()?;
        while let Some(key) = members.next(s)? {
            let side = match key {
                b"bids" => &mut bids,
                b"asks" => &mut asks,
                _ => {
                    s.skip()?;
                    continue;
                }
            };
            let mut rows = s.array()?;
            while rows.next(s)? {
                let mut numbers = [0i64; 2];
                let mut row = s.array()?;
                let mut column = 0;
                while row.next(s)? {
                    match numbers.get_mut(column) {
                        Some(slot) => *slot = s.decimal(if column == 0 { instrument.price_scale } else { instrument.qty_scale })?,
                        None => s.skip()?,
                    }
                    column += 1;
                }
                side.push((Price(numbers[0]), Qty(numbers[1])));
            }
        }
    }
    // The venue's order is not relied upon.
    for side in [&mut bids, &mut asks] {
        side.retain(|&(price, qty)| price.0 > 0 && qty.0 > 0);
    }
    bids.sort_by_key(|level| std::cmp::Reverse(level.0));
    asks.sort_by_key(|level| level.0);
    Ok(RestReply::BookSnapshot { sequence: 0, bids, asks })
}

fn token(s: &mut Scanner<'_>) -> Result<RestReply, JsonError> {
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        if key == b"token" {
            let text = s.string()?.raw();
            let text = core::str::from_utf8(text).map_err(|_| s.error(What::Field("token")))?;
            return Ok(RestReply::Token(Zeroizing::new(text.to_owned())));
        }
        s.skip()?;
    }
    Err(s.error(What::Missing("token")))
}

/// The instrument of this venue that REST text names.
fn find_pair(instruments: &InstrumentTable, venue: VenueId, text: &str) -> Option<InstrumentId> {
    instruments.iter().find(|(_, i)| i.venue == venue && names_pair(text, &i.symbol)).map(|(id, _)| id)
}

fn str_of<'a>(s: &mut Scanner<'a>) -> Result<&'a str, JsonError> {
    if s.peek() != Some(b'"') {
        s.skip()?;
        return Ok("");
    }
    let at = s.position();
    core::str::from_utf8(s.string()?.raw()).map_err(|_| JsonError { at, what: What::Type })
}

/// `{"open":{"O..":{..}}}` or `{"closed":{..},"count":n}`. Orders of pairs that we do not hold are left out; one of
/// ours that cannot be read fails the answer, for a missing order would be taken as gone.
fn order_rows(s: &mut Scanner<'_>, instruments: &InstrumentTable, venue: VenueId) -> Result<Vec<OrderRecord>, JsonError> {
    let mut records = Vec::new();
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        if !matches!(key, b"open" | b"closed") {
            s.skip()?;
            continue;
        }
        let mut rows = s.object()?;
        while let Some(id) = rows.next(s)? {
            let id = String::from_utf8_lossy(id).into_owned();
            records.extend(order_row(s, id, instruments, venue)?);
        }
    }
    Ok(records)
}

fn order_row(
    s: &mut Scanner<'_>,
    venue_order_id: String,
    instruments: &InstrumentTable,
    venue: VenueId,
) -> Result<Option<OrderRecord>, JsonError> {
    let start = s.position();
    let (mut order, mut status, mut pair, mut side, mut price) = (None, "", "", "", &b""[..]);
    let (mut qty, mut filled) = (&b""[..], &b""[..]);
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        match key {
            b"cl_ord_id" => order = OrderId::from_text(str_of(s)?.as_bytes()),
            b"status" => status = str_of(s)?,
            b"vol" => qty = s.decimal_text()?,
            b"vol_exec" => filled = s.decimal_text()?,
            b"descr" => {
                let mut members = s.object()?;
                while let Some(key) = members.next(s)? {
                    match key {
                        b"pair" => pair = str_of(s)?,
                        b"type" => side = str_of(s)?,
                        b"price" => price = s.decimal_text()?,
                        _ => s.skip()?,
                    }
                }
            }
            _ => s.skip()?,
        }
    }
    let Some((id, held)) = find_pair(instruments, venue, pair).and_then(|id| Some((id, instruments.get(id)?))) else { return Ok(None) };
    let fail = |field: &'static str| JsonError { at: start, what: What::Field(field) };
    let side = match side {
        "buy" => Side::Buy,
        "sell" => Side::Sell,
        _ => return Err(fail("type")),
    };
    let number = |text: &[u8], scale: u8, field| match parse_decimal(text, scale) {
        Ok(value @ 0..=VALUE_MAX) => Ok(value),
        _ => Err(fail(field)),
    };
    let (qty, filled) = (number(qty, held.qty_scale, "vol")?, number(filled, held.qty_scale, "vol_exec")?);
    let status = match status {
        "pending" | "open" => VenueOrderStatus::Open,
        "closed" => VenueOrderStatus::Filled,
        "canceled" => VenueOrderStatus::Canceled,
        "expired" => VenueOrderStatus::Expired,
        _ => return Err(fail("status")),
    };
    Ok(Some(OrderRecord {
        instrument: id,
        order,
        venue_order_id,
        side,
        // A trigger price of another client's order may have other decimals than ours: of no concern.
        price: Price(number(price, held.price_scale, "price").or_else(|e| if order.is_none() { Ok(0) } else { Err(e) })?),
        qty: Qty(qty),
        filled: Qty(filled),
        status,
    }))
}

/// The fills of one instrument on a page of `TradesHistory`, oldest first, and how many rows there are in all.
fn fills(
    s: &mut Scanner<'_>,
    id: InstrumentId,
    held: &Instrument,
    since_ns: u64,
    assets: &AssetTable,
) -> Result<(Vec<FillRecord>, u64), JsonError> {
    let (mut records, mut count) = (Vec::new(), 0);
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        match key {
            b"count" => count = s.u64()?,
            b"trades" => {
                let mut rows = s.object()?;
                while rows.next(s)?.is_some() {
                    records.extend(fill_row(s, id, held, assets)?);
                }
            }
            _ => s.skip()?,
        }
    }
    records.retain(|fill| fill.time_ns >= since_ns);
    records.sort_by_key(|fill| (fill.time_ns, fill.trade_id));
    Ok((records, count))
}

fn fill_row(s: &mut Scanner<'_>, id: InstrumentId, held: &Instrument, assets: &AssetTable) -> Result<Option<FillRecord>, JsonError> {
    let start = s.position();
    let (mut order, mut pair, mut side, mut time) = ("", "", "", &b""[..]);
    let (mut price, mut qty, mut fee) = (&b""[..], &b""[..], Money::ZERO);
    let (mut trade_id, mut maker) = (None, false);
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        match key {
            b"ordertxid" => order = str_of(s)?,
            b"pair" => pair = str_of(s)?,
            b"type" => side = str_of(s)?,
            b"time" => time = s.decimal_text()?,
            b"price" => price = s.decimal_text()?,
            b"vol" => qty = s.decimal_text()?,
            b"fee" => fee = s.money()?,
            b"trade_id" => trade_id = Some(s.u64()?),
            b"maker" if matches!(s.peek(), Some(b't' | b'f')) => maker = s.bool()?,
            _ => s.skip()?,
        }
    }
    if !names_pair(pair, &held.symbol) {
        return Ok(None);
    }
    let fail = |field: &'static str| JsonError { at: start, what: What::Field(field) };
    let side = match side {
        "buy" => Side::Buy,
        "sell" => Side::Sell,
        _ => return Err(fail("type")),
    };
    let number = |text: &[u8], scale: u8, field| match parse_number(text, scale) {
        Ok(number) if number.value > 0 => Ok(number.value),
        _ => Err(fail(field)),
    };
    Ok(Some(FillRecord {
        instrument: id,
        order: None,
        venue_order_id: order.to_owned(),
        trade_id: trade_id.ok_or_else(|| fail("trade_id"))?,
        side,
        price: Price(number(price, held.price_scale, "price")?),
        qty: Qty(number(qty, held.qty_scale, "vol")?),
        fee,
        // Fees are in the quote asset (`fciq`): we never ask for another.
        fee_asset: (held.quote.index() < assets.len()).then_some(held.quote),
        maker,
        time_ns: parse_decimal(time, 9).ok().and_then(|ns| u64::try_from(ns).ok()).ok_or_else(|| fail("time"))?,
    }))
}

/// Pages come newest first, and only the first tells how many there are. To give out the oldest first, a first page
/// of several is thrown away and the last asked for; a cursor is an offset plus one.
fn page_of(fills: Vec<FillRecord>, count: u64, cursor: u64) -> RestReply {
    match cursor {
        0 if count > PAGE => RestReply::Fills { fills: Vec::new(), next: Some((count - 1) / PAGE * PAGE + 1) },
        0 | 1 => RestReply::Fills { fills, next: None },
        _ => RestReply::Fills { fills, next: Some(cursor.saturating_sub(PAGE).max(1)) },
    }
}

/// `BalanceEx`: total = balance; available = balance + credit - credit used - held by orders.
fn balances(s: &mut Scanner<'_>, assets: &AssetTable) -> Result<RestReply, JsonError> {
    let mut found: Vec<(engine_core::ids::AssetId, Money, Money)> = Vec::new();
    let mut rows = s.object()?;
    while let Some(code) = rows.next(s)? {
        let asset = core::str::from_utf8(code).ok().and_then(|code| assets.find(common_asset(code).as_bytes()));
        let (mut total, mut more, mut less) = (Money::ZERO, Money::ZERO, Money::ZERO);
        let mut members = s.object()?;
        while let Some(key) = members.next(s)? {
            match key {
                b"balance" => total = s.money()?,
                b"credit" => more = Money(more.0.saturating_add(s.money()?.0)),
                b"credit_used" | b"hold_trade" => less = Money(less.0.saturating_add(s.money()?.0)),
                _ => s.skip()?,
            }
        }
        if let Some(asset) = asset {
            found.push((asset, total, Money(total.0.saturating_add(more.0).saturating_sub(less.0))));
        }
    }
    Ok(RestReply::Balances(found))
}

fn canceled(s: &mut Scanner<'_>) -> Result<RestReply, JsonError> {
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        if key == b"count" {
            return Ok(RestReply::Canceled(u32::try_from(s.u64()?).unwrap_or(u32::MAX)));
        }
        s.skip()?;
    }
    Err(s.error(What::Missing("count")))
}
