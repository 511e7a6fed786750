//! REST for the cold plane: snapshots, reference data, reconciliation. Requests are signed with the
//! account's key, whichever kind it is (HMAC-SHA256 or Ed25519).
//!
//! The signature covers the query string exactly as it is sent (values percent-encoded before signing)
//! and goes last. The `X-MBX-USED-WEIGHT-1M` of each answer feeds a budget of our own: near its end,
//! what can wait (reference data, snapshots) is put off to the next minute, so that reconciliation gets through.

use super::auth::{SIGNATURE_MAX, Signer};
use super::instruments::{self, ExchangeInfo};
use super::message::{Scratch, time_ns};
use super::{NAME, reports, stream, window_ms};
use crate::json::Scanner;
use crate::rest::{FillRecord, HttpRequest, OrderRecord, RestError, RestQuery, RestReply, Tables, VenueRest};
use crate::venue::{VenueError, VenueSettings};
use engine_core::event::{Side, VALUE_MAX};
use engine_core::fixed::{Money, Price, Qty, parse_decimal};
use engine_core::ids::{InstrumentId, OrderId, VenueId};
use engine_core::instrument::{AssetTable, Instrument, InstrumentTable};
use serde::Deserialize;
use sonic_rs::LazyValue;
use std::borrow::Cow;
use std::fmt::Write as _;

/// Rows of one page of fills: the most that the venue gives.
const FILLS_PER_PAGE: usize = 1_000;
/// Levels a side that the venue gives at most.
const DEPTH_MAX: u32 = 5_000;
/// Weight a minute that the venue allows.
const WEIGHT_LIMIT: u64 = 6_000;
/// Weight that is left to what cannot wait.
const WEIGHT_RESERVE: u64 = 1_200;
const MINUTE_NS: u64 = 60_000_000_000;
/// Text of the venue's that an error repeats.
const ERROR_TEXT_MAX: usize = 200;

struct Account {
    key: String,
    signer: Signer,
}

/// The dialect. See [`VenueRest`].
pub struct BinanceRest {
    venue: VenueId,
    account: Option<Account>,
    window_ms: u32,
    /// Weight used, as the venue last said, and in which minute.
    used: u64,
    minute: u64,
    /// In which minute the last request was built.
    asked_minute: u64,
    scratch: Scratch,
}

impl BinanceRest {
    /// From settings; without credentials only public queries are possible.
    pub fn new(settings: &VenueSettings) -> Result<BinanceRest, VenueError> {
        let account = match &settings.credentials {
            None => None,
            Some(credentials) => {
                let error = |e: super::auth::AuthError| VenueError::Credentials { venue: NAME, reason: e.to_string() };
                Some(Account { key: credentials.api_key.clone(), signer: Signer::from_credentials(credentials).map_err(error)? })
            }
        };
        Ok(BinanceRest {
            venue: settings.id,
            account,
            window_ms: window_ms(settings)?,
            used: 0,
            minute: 0,
            asked_minute: 0,
            scratch: Scratch::default(),
        })
    }

    fn public(method: &'static str, path: String) -> HttpRequest {
        HttpRequest { method, path, headers: Vec::new(), body: Vec::new() }
    }

    /// Adds window, time and signature to a query string.
    fn signed(&self, method: &'static str, path: &str, mut query: String, now_ns: u64) -> Result<HttpRequest, RestError> {
        let account = self.account.as_ref().ok_or(RestError::Unsupported("this query needs an account, and none is configured"))?;
        if !query.is_empty() {
            query.push('&');
        }
        // Writing to a String cannot fail.
        let _ = write!(query, "recvWindow={}&timestamp={}", self.window_ms, now_ns / 1_000_000);
        let mut signature = [0; SIGNATURE_MAX];
        let signed = account.signer.sign(query.as_bytes(), &mut signature).and_then(|len| signature.get(..len));
        let signed = signed.ok_or(RestError::Unsupported("the key could not sign"))?;
        query.push_str("&signature=");
        percent_encode(signed, &mut query);
        let headers = vec![("X-MBX-APIKEY".to_owned(), account.key.clone())];
        Ok(HttpRequest { method, path: format!("{path}?{query}"), headers, body: Vec::new() })
    }

    /// What can wait is put off when the minute's weight is nearly used.
    fn spare(&self, weight: u64, now_ns: u64) -> Result<(), RestError> {
        if self.minute == now_ns / MINUTE_NS && self.used + weight > WEIGHT_LIMIT - WEIGHT_RESERVE {
            let wait_ms = (MINUTE_NS - now_ns % MINUTE_NS) / 1_000_000;
            return Err(RestError::Wait { wait_ms, text: format!("request weight {} of {WEIGHT_LIMIT} used", self.used) });
        }
        Ok(())
    }
}

/// Appends bytes as they may stand in a query string (RFC 3986 unreserved characters as they are).
fn percent_encode(bytes: &[u8], out: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// `symbol=..` of an instrument.
fn symbol_query(tables: &Tables<'_>, instrument: InstrumentId) -> Result<String, RestError> {
    let instrument = tables.instruments.get(instrument).ok_or(RestError::Unsupported("unknown instrument"))?;
    let mut query = "symbol=".to_owned();
    percent_encode(instrument.symbol.as_bytes(), &mut query);
    Ok(query)
}

impl VenueRest for BinanceRest {
    fn request(&mut self, query: &RestQuery, tables: Tables<'_>, now_ns: u64) -> Result<HttpRequest, RestError> {
        self.asked_minute = now_ns / MINUTE_NS;
        match query {
            RestQuery::ServerTime => Ok(Self::public("GET", "/api/v3/time".into())),
            RestQuery::Instruments { symbols } => {
                self.spare(20, now_ns)?;
                let mut path = "/api/v3/exchangeInfo".to_owned();
                if !symbols.is_empty() {
                    path.push_str("?symbols=");
                    let list = sonic_rs::to_string(symbols).map_err(|e| RestError::Malformed(e.to_string()))?;
                    percent_encode(list.as_bytes(), &mut path);
                }
                Ok(Self::public("GET", path))
            }
            RestQuery::BookSnapshot { instrument, depth } => {
                let depth = (*depth).clamp(1, DEPTH_MAX);
                self.spare(snapshot_weight(depth), now_ns)?;
                Ok(Self::public("GET", format!("/api/v3/depth?{}&limit={depth}", symbol_query(&tables, *instrument)?)))
            }
            RestQuery::StreamToken => Err(RestError::Unsupported("Binance sessions log on with a signature, not with a token")),
            RestQuery::OpenOrders => self.signed("GET", "/api/v3/openOrders", String::new(), now_ns),
            RestQuery::Order { instrument, order } => {
                let query = format!("{}&origClientOrderId={order}", symbol_query(&tables, *instrument)?);
                self.signed("GET", "/api/v3/order", query, now_ns)
            }
            RestQuery::Fills { instrument, since_ns, cursor } => {
                let symbol = symbol_query(&tables, *instrument)?;
                let query = match cursor {
                    0 => format!("{symbol}&startTime={}&limit={FILLS_PER_PAGE}", since_ns / 1_000_000),
                    from => format!("{symbol}&fromId={from}&limit={FILLS_PER_PAGE}"),
                };
                self.signed("GET", "/api/v3/myTrades", query, now_ns)
            }
            RestQuery::Balances => self.signed("GET", "/api/v3/account", String::new(), now_ns),
            RestQuery::CancelAll => Err(RestError::Unsupported("Binance cancels by symbol: ask for each instrument")),
            RestQuery::CancelInstrument { instrument } => {
                self.signed("DELETE", "/api/v3/openOrders", symbol_query(&tables, *instrument)?, now_ns)
            }
        }
    }

    fn parse(
        &mut self,
        query: &RestQuery,
        status: u16,
        headers: &[(String, String)],
        body: &[u8],
        instruments: &InstrumentTable,
        assets: &mut AssetTable,
    ) -> Result<RestReply, RestError> {
        let header = |name: &str| headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        if let Some(used) = header("x-mbx-used-weight-1m").and_then(|value| value.parse().ok()) {
            (self.used, self.minute) = (used, self.asked_minute);
        }
        if status != 200 {
            return refusal(query, status, header("retry-after"), body);
        }
        match query {
            RestQuery::ServerTime => {
                #[derive(Deserialize)]
                #[serde(rename_all = "camelCase")]
                struct Time {
                    server_time: u64,
                }
                Ok(RestReply::ServerTime(time_ns(read::<Time>(body)?.server_time)))
            }
            RestQuery::Instruments { .. } => {
                let info: ExchangeInfo<'_> = read(body)?;
                let (mut found, mut quarantined) = (Vec::new(), Vec::new());
                for record in info.symbols {
                    match instruments::instrument(&record, self.venue, assets) {
                        Ok(instrument) => found.push(instrument),
                        Err(reason) => quarantined.push(reason),
                    }
                }
                Ok(RestReply::Instruments { instruments: found, quarantined })
            }
            RestQuery::BookSnapshot { instrument, .. } => {
                let instrument = instruments.get(*instrument).ok_or(RestError::Unsupported("unknown instrument"))?;
                self.snapshot(body, instrument)
            }
            RestQuery::OpenOrders | RestQuery::Order { .. } => {
                let single = matches!(query, RestQuery::Order { .. });
                let rows: Vec<LazyValue<'_>> = if single { vec![read(body)?] } else { read(body)? };
                // A record that cannot be read is left out: an order of ours is then asked for by its id.
                let orders = rows.into_iter().filter_map(|row| order_record(&row, self.venue, instruments));
                let orders: Vec<OrderRecord> = orders.collect();
                if single && orders.is_empty() {
                    return Err(RestError::Malformed("the order's record cannot be read".into()));
                }
                Ok(RestReply::Orders(orders))
            }
            RestQuery::Fills { instrument, cursor, .. } => {
                let rows: Vec<Trade<'_>> = read(body)?;
                let table = instruments.get(*instrument).ok_or(RestError::Unsupported("unknown instrument"))?;
                let mut fills = Vec::with_capacity(rows.len());
                for row in &rows {
                    fills.push(row.record(*instrument, table, assets)?);
                }
                fills.sort_by_key(|fill| fill.trade_id);
                // The first page is by time; from there on by id, until a page is not full.
                let more = if *cursor == 0 { !fills.is_empty() } else { fills.len() >= FILLS_PER_PAGE };
                let next = fills.last().filter(|_| more).map(|fill| fill.trade_id.saturating_add(1));
                Ok(RestReply::Fills { fills, next })
            }
            RestQuery::Balances => {
                #[derive(Deserialize)]
                struct Balance<'a> {
                    #[serde(borrow)]
                    asset: Cow<'a, str>,
                    #[serde(borrow)]
                    free: Cow<'a, str>,
                    #[serde(borrow)]
                    locked: Cow<'a, str>,
                }
                #[derive(Deserialize)]
                struct Balances<'a> {
                    #[serde(borrow)]
                    balances: Vec<Balance<'a>>,
                }
                let mut rows = Vec::new();
                for balance in read::<Balances<'_>>(body)?.balances {
                    let Some(asset) = assets.find(balance.asset.as_bytes()) else { continue };
                    let free = money(&balance.free)?;
                    let total = free.0.checked_add(money(&balance.locked)?.0);
                    rows.push((asset, Money(total.ok_or_else(|| malformed("balance out of range"))?), free));
                }
                Ok(RestReply::Balances(rows))
            }
            RestQuery::CancelInstrument { .. } => {
                let reports: Vec<LazyValue<'_>> = read(body)?;
                Ok(RestReply::Canceled(u32::try_from(reports.len()).unwrap_or(u32::MAX)))
            }
            RestQuery::StreamToken | RestQuery::CancelAll => Err(RestError::Unsupported("this query is never sent")),
        }
    }
}

impl BinanceRest {
    fn snapshot(&mut self, body: &[u8], instrument: &Instrument) -> Result<RestReply, RestError> {
        self.scratch.clear();
        let mut s = Scanner::new(body);
        let sequence = stream::book_body(&mut s, (instrument.price_scale, instrument.qty_scale), &mut self.scratch)
            .and_then(|sequence| s.end().map(|()| sequence))
            .map_err(|e| malformed(&e.to_string()))?;
        let side = |side: Side| -> Vec<(Price, Qty)> {
            let rows = self.scratch.rows().iter().filter(|row| row.side == side && row.qty > 0);
            rows.map(|row| (Price(row.price), Qty(row.qty))).collect()
        };
        let (mut bids, mut asks) = (side(Side::Buy), side(Side::Sell));
        bids.sort_by_key(|level| std::cmp::Reverse(level.0));
        asks.sort_by_key(|level| level.0);
        Ok(RestReply::BookSnapshot { sequence, bids, asks })
    }
}

/// Weight of a snapshot by its depth.
const fn snapshot_weight(depth: u32) -> u64 {
    match depth {
        0..=100 => 5,
        101..=500 => 25,
        501..=1_000 => 50,
        _ => 250,
    }
}

fn malformed(what: &str) -> RestError {
    RestError::Malformed(what.chars().take(ERROR_TEXT_MAX).collect())
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, RestError> {
    // sonic-rs takes lazy values out of bytes without looking whether they are UTF-8: that is looked at first.
    let text = std::str::from_utf8(body).map_err(|e| malformed(&e.to_string()))?;
    sonic_rs::from_str(text).map_err(|e| malformed(&e.to_string()))
}

fn money(text: &str) -> Result<Money, RestError> {
    Money::parse(text.as_bytes()).map_err(|e| malformed(&format!("amount `{text}`: {e}")))
}

/// An answer that is not 200.
fn refusal(query: &RestQuery, status: u16, retry_after: Option<&str>, body: &[u8]) -> Result<RestReply, RestError> {
    #[derive(Deserialize)]
    struct Refusal<'a> {
        code: i64,
        #[serde(borrow)]
        msg: Cow<'a, str>,
    }
    let (code, text) = match read::<Refusal<'_>>(body) {
        Ok(refusal) => (refusal.code, refusal.msg.chars().take(ERROR_TEXT_MAX).collect()),
        Err(_) => (0, String::from_utf8_lossy(&body[..body.len().min(ERROR_TEXT_MAX)]).into_owned()),
    };
    match (query, status, code) {
        (_, 418 | 429, _) => {
            let seconds = retry_after.and_then(|value| value.parse::<u64>().ok()).unwrap_or(60);
            Err(RestError::Wait { wait_ms: seconds.saturating_mul(1_000), text })
        }
        // The venue does not know the order, or there is none to cancel.
        (RestQuery::Order { .. }, _, -2013) => Ok(RestReply::Orders(Vec::new())),
        (RestQuery::CancelInstrument { .. }, _, -2011) => Ok(RestReply::Canceled(0)),
        _ => Err(RestError::Refused { status, code, text }),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    order_id: u64,
    #[serde(borrow)]
    client_order_id: Cow<'a, str>,
    #[serde(borrow)]
    price: Cow<'a, str>,
    #[serde(borrow)]
    orig_qty: Cow<'a, str>,
    #[serde(borrow)]
    executed_qty: Cow<'a, str>,
    #[serde(borrow, default)]
    prevented_quantity: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    side: Cow<'a, str>,
}

fn units(text: &str, scale: u8) -> Option<i64> {
    parse_decimal(text.as_bytes(), scale).ok().filter(|value| (0..=VALUE_MAX).contains(value))
}

fn order_record(row: &LazyValue<'_>, venue: VenueId, instruments: &InstrumentTable) -> Option<OrderRecord> {
    let order: Order<'_> = sonic_rs::from_str(row.as_raw_str()).ok()?;
    let id = instruments.find(venue, order.symbol.as_bytes())?;
    let instrument = instruments.get(id)?;
    let qty = |text: &str| units(text, instrument.qty_scale);
    let prevented = order.prevented_quantity.as_deref().map_or(Some(0), qty)?;
    Some(OrderRecord {
        instrument: id,
        order: OrderId::from_text(order.client_order_id.as_bytes()),
        venue_order_id: order.order_id.to_string(),
        side: reports::side(order.side.as_bytes())?,
        price: Price(units(&order.price, instrument.price_scale)?),
        qty: Qty((qty(&order.orig_qty)? - prevented).max(0)),
        filled: Qty(qty(&order.executed_qty)?),
        status: reports::status(order.status.as_bytes())?,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trade<'a> {
    id: u64,
    order_id: u64,
    #[serde(borrow)]
    price: Cow<'a, str>,
    #[serde(borrow)]
    qty: Cow<'a, str>,
    #[serde(borrow)]
    commission: Cow<'a, str>,
    #[serde(borrow)]
    commission_asset: Cow<'a, str>,
    time: u64,
    is_buyer: bool,
    is_maker: bool,
}

impl Trade<'_> {
    /// A fill that cannot be read is an error, not a gap: what is concluded from fills must be whole.
    fn record(&self, id: InstrumentId, instrument: &Instrument, assets: &AssetTable) -> Result<FillRecord, RestError> {
        let bad = |field: &str| malformed(&format!("fill {}: bad {field}", self.id));
        let positive = |text: &str, scale, field: &str| units(text, scale).filter(|&value| value > 0).ok_or_else(|| bad(field));
        Ok(FillRecord {
            instrument: id,
            order: None,
            venue_order_id: self.order_id.to_string(),
            trade_id: self.id,
            side: if self.is_buyer { Side::Buy } else { Side::Sell },
            price: Price(positive(&self.price, instrument.price_scale, "price")?),
            qty: Qty(positive(&self.qty, instrument.qty_scale, "qty")?),
            fee: money(&self.commission)?,
            fee_asset: assets.find(self.commission_asset.as_bytes()),
            maker: self.is_maker,
            time_ns: time_ns(self.time),
        })
    }
}
