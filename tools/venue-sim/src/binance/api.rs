//! Binance methods: what REST paths and WebSocket API methods have in common.
//!
//! A method has one name (the WebSocket API's), a weight, the security it asks for and the parameters it
//! reads; [`Binance::call`] carries it out.

use super::Binance;
use super::errors::ApiError;
use super::orders::{PLACE_PARAMS, required};
use super::streams::push_snapshot;
use crate::book::Side;
use crate::exchange::Fill;
use crate::json::{Object, array};
use crate::ledger::AccountId;
use crate::wire::{Params, push_u64};

/// What a method asks of its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Security {
    /// Nothing.
    Public,
    /// A signature (or a logged-on session).
    Signed,
}

/// A method of the API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Method {
    /// Name on the WebSocket API.
    pub name: &'static str,
    /// REST method and path, `("", "")` for none.
    pub rest: (&'static str, &'static str),
    /// What it asks.
    pub security: Security,
    /// Request weight (see [`Method::weight`]).
    weight: u32,
    /// Charged only when the call fails.
    free_when_ok: bool,
    /// Parameters it reads; empty for no check.
    params: &'static [&'static str],
    /// True for methods whose answer is an order acknowledgement.
    pub is_order: bool,
    /// True where the answer reports the ORDERS limits too.
    pub reports_orders: bool,
}

const fn query(name: &'static str, path: &'static str, weight: u32, params: &'static [&'static str]) -> Method {
    Method {
        name,
        rest: ("GET", path),
        security: Security::Signed,
        weight,
        free_when_ok: false,
        params,
        is_order: false,
        reports_orders: false,
    }
}

const fn public(name: &'static str, path: &'static str, weight: u32, params: &'static [&'static str]) -> Method {
    Method { security: Security::Public, ..query(name, path, weight, params) }
}

const fn order(name: &'static str, rest: (&'static str, &'static str), weight: u32, params: &'static [&'static str]) -> Method {
    Method { rest, free_when_ok: true, is_order: true, ..query(name, "", weight, params) }
}

const CANCEL_PARAMS: &[&str] = &["symbol", "orderId", "origClientOrderId", "newClientOrderId", "cancelRestrictions"];
const ORDER_PARAMS: &[&str] = &["symbol", "orderId", "origClientOrderId"];
const LIST_PARAMS: &[&str] = &["symbol", "orderId", "startTime", "endTime", "fromId", "limit"];

/// Parameters that belong to the transport, not to a method.
const TRANSPORT_PARAMS: &[&str] = &["apiKey", "timestamp", "recvWindow", "signature", "returnRateLimits"];

/// Every method that the simulator knows.
pub const METHODS: &[Method] = &[
    public("ping", "/api/v3/ping", 1, &[]),
    public("time", "/api/v3/time", 1, &[]),
    public("exchangeInfo", "/api/v3/exchangeInfo", 20, &["symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"]),
    public("depth", "/api/v3/depth", 5, &["symbol", "limit", "symbolStatus"]),
    public("trades.recent", "/api/v3/trades", 25, &["symbol", "limit"]),
    public("trades.aggregate", "/api/v3/aggTrades", 4, &["symbol", "limit", "fromId", "startTime", "endTime"]),
    public("ticker.book", "/api/v3/ticker/bookTicker", 2, &["symbol", "symbols", "symbolStatus"]),
    public("ticker.24hr", "/api/v3/ticker/24hr", 2, &["symbol", "type"]),
    Method { reports_orders: true, ..order("order.place", ("POST", "/api/v3/order"), 1, PLACE_PARAMS) },
    Method { free_when_ok: false, ..order("order.test", ("POST", "/api/v3/order/test"), 1, PLACE_PARAMS) },
    order("order.cancel", ("DELETE", "/api/v3/order"), 1, CANCEL_PARAMS),
    Method { reports_orders: true, ..order("order.cancelReplace", ("POST", "/api/v3/order/cancelReplace"), 1, &[]) },
    Method {
        free_when_ok: false,
        ..order(
            "order.amend.keepPriority",
            ("PUT", "/api/v3/order/amend/keepPriority"),
            4,
            &["symbol", "orderId", "origClientOrderId", "newClientOrderId", "newQty"],
        )
    },
    order("openOrders.cancelAll", ("DELETE", "/api/v3/openOrders"), 1, &["symbol"]),
    query("order.status", "/api/v3/order", 4, ORDER_PARAMS),
    query("openOrders.status", "/api/v3/openOrders", 6, &["symbol"]),
    query("allOrders", "/api/v3/allOrders", 20, LIST_PARAMS),
    query("myTrades", "/api/v3/myTrades", 20, LIST_PARAMS),
    query("account.status", "/api/v3/account", 20, &["omitZeroBalances"]),
    query("account.rateLimits.orders", "/api/v3/rateLimit/order", 40, &[]),
];

impl Method {
    /// The method of a REST call.
    pub fn of_rest(method: &str, path: &str) -> Option<&'static Method> {
        METHODS.iter().find(|m| m.rest == (method, path))
    }

    /// True when some method has this REST path.
    pub fn is_rest_path(path: &str) -> bool {
        METHODS.iter().any(|m| m.rest.1 == path)
    }

    /// The method of a WebSocket API request.
    pub fn of_name(name: &str) -> Option<&'static Method> {
        METHODS.iter().find(|m| m.name == name)
    }

    /// Weight of a call with these parameters.
    pub fn weight(&self, params: &Params) -> u32 {
        match self.name {
            "depth" => match params.get("limit").and_then(|limit| limit.parse::<u32>().ok()).unwrap_or(100) {
                0..=100 => 5,
                101..=500 => 25,
                501..=1000 => 50,
                _ => 250,
            },
            "openOrders.status" if !params.contains_key("symbol") => 80,
            "myTrades" if params.contains_key("orderId") => 5,
            _ => self.weight,
        }
    }

    /// True when a call that succeeds costs nothing.
    pub fn free_when_ok(&self) -> bool {
        self.free_when_ok
    }
}

impl Binance {
    /// Carries out a method. Signed methods come with the caller's account.
    pub(super) fn call(&mut self, now_ns: u64, method: &Method, params: &Params, account: Option<AccountId>) -> Result<Vec<u8>, ApiError> {
        if !method.params.is_empty() {
            let unread = params.keys().filter(|name| !method.params.contains(&name.as_str()) && !TRANSPORT_PARAMS.contains(&name.as_str()));
            let unread = unread.count();
            if unread > 0 {
                return Err(ApiError::unread(params.len() - unread, params.len()));
            }
        }
        match method.name {
            "ping" => return Ok(b"{}".to_vec()),
            "time" => {
                let mut out = Vec::new();
                Object::new(&mut out).u64("serverTime", now_ns / 1_000_000).end();
                return Ok(out);
            }
            "exchangeInfo" => return self.exchange_info(now_ns, params),
            "depth" => return self.depth(params),
            "trades.recent" => return self.recent_trades(params),
            "trades.aggregate" => return self.aggregate_trades(params),
            "ticker.book" => return self.book_ticker(params),
            "ticker.24hr" => return self.day_ticker(now_ns, params),
            _ => {}
        }
        let account = account.ok_or_else(ApiError::key)?;
        match method.name {
            "order.place" => self.place(now_ns, account, params),
            "order.test" => self.test(account, params),
            "order.cancel" => self.cancel(now_ns, account, params),
            "order.cancelReplace" => self.cancel_replace(now_ns, account, params),
            "order.amend.keepPriority" => self.amend(now_ns, account, params),
            "openOrders.cancelAll" => self.cancel_all(now_ns, account, params),
            "order.status" => {
                let order = self.find(account, params, ("orderId", "origClientOrderId"), false, ApiError::no_such_order)?;
                let mut out = Vec::with_capacity(480);
                self.push_order(&mut out, &order);
                Ok(out)
            }
            "openOrders.status" => self.list_orders(account, params, true),
            "allOrders" => self.list_orders(account, params, false),
            "myTrades" => self.my_trades(account, params),
            "account.status" => Ok(self.account_status(now_ns, account, params)),
            "account.rateLimits.orders" => {
                let mut out = Vec::new();
                self.limits.push_order_rows(&mut out, now_ns / 1_000_000, account);
                Ok(out)
            }
            _ => Err(ApiError::new(-1020, "This operation is not supported.")),
        }
    }

    fn market_of(&self, params: &Params) -> Result<usize, ApiError> {
        self.streams.market(required(params, "symbol")?).ok_or_else(ApiError::symbol)
    }

    fn depth(&self, params: &Params) -> Result<Vec<u8>, ApiError> {
        let market = self.market_of(params)?;
        let limit = limit(params, 100, 5_000)?;
        let book = &self.exchange.markets[market].book;
        let side = |side: Side| -> Vec<(i64, i64)> { book.levels(side).take(limit).collect() };
        let mut out = Vec::with_capacity(8192);
        push_snapshot(&mut out, self.streams.update_id(market), self.scales(market), &side(Side::Buy), &side(Side::Sell));
        Ok(out)
    }

    fn recent_trades(&self, params: &Params) -> Result<Vec<u8>, ApiError> {
        let market = &self.exchange.markets[self.market_of(params)?];
        let limit = limit(params, 500, 1_000)?;
        let skip = market.recent.len().saturating_sub(limit);
        let mut out = Vec::new();
        array(&mut out, market.recent.iter().skip(skip), |out, trade| {
            let cost = crate::decimal::Amount::notional(trade.price, market.spec.price_scale, trade.qty, market.spec.qty_scale);
            Object::new(out)
                .u64("id", trade.id)
                .padded8("price", trade.price, market.spec.price_scale)
                .padded8("qty", trade.qty, market.spec.qty_scale)
                .amount("quoteQty", cost, 8)
                .u64("time", trade.at_ns / 1_000_000)
                .bool("isBuyerMaker", trade.taker_side == Side::Sell)
                .bool("isBestMatch", true)
                .end();
        });
        Ok(out)
    }

    /// Each match is its own aggregate, numbered like its trade.
    fn aggregate_trades(&self, params: &Params) -> Result<Vec<u8>, ApiError> {
        let market = &self.exchange.markets[self.market_of(params)?];
        let (limit, from, range) = (limit(params, 500, 1_000)?, number(params, "fromId")?, time_range(params)?);
        let mut trades: Vec<_> = market
            .recent
            .iter()
            .filter(|trade| from.is_none_or(|from| trade.id >= from) && range.contains(&(trade.at_ns / 1_000_000)))
            .collect();
        clip(&mut trades, limit, from.is_some() || params.contains_key("startTime"));
        let mut out = Vec::new();
        array(&mut out, trades, |out, trade| {
            Object::new(out)
                .u64("a", trade.id)
                .padded8("p", trade.price, market.spec.price_scale)
                .padded8("q", trade.qty, market.spec.qty_scale)
                .u64("f", trade.id)
                .u64("l", trade.id)
                .u64("T", trade.at_ns / 1_000_000)
                .bool("m", trade.taker_side == Side::Sell)
                .bool("M", true)
                .end();
        });
        Ok(out)
    }

    fn push_book_ticker(&self, out: &mut Vec<u8>, market: usize) {
        let scales = self.scales(market);
        let book = &self.exchange.markets[market].book;
        let (bid, ask) = (book.best(Side::Buy).unwrap_or_default(), book.best(Side::Sell).unwrap_or_default());
        Object::new(out)
            .str("symbol", self.streams.symbol(market))
            .padded8("bidPrice", bid.0, scales.price)
            .padded8("bidQty", bid.1, scales.qty)
            .padded8("askPrice", ask.0, scales.price)
            .padded8("askQty", ask.1, scales.qty)
            .end();
    }

    fn book_ticker(&self, params: &Params) -> Result<Vec<u8>, ApiError> {
        let mut out = Vec::new();
        if params.contains_key("symbol") {
            self.push_book_ticker(&mut out, self.market_of(params)?);
        } else {
            array(&mut out, 0..self.exchange.markets.len(), |out, market| self.push_book_ticker(out, market));
        }
        Ok(out)
    }

    fn push_day_ticker(&self, out: &mut Vec<u8>, now_ns: u64, at: usize) {
        let market = &self.exchange.markets[at];
        let (scales, day) = (self.scales(at), &market.day);
        let best = |side| market.book.best(side).unwrap_or_default();
        Object::new(out)
            .str("symbol", self.streams.symbol(at))
            .padded8("priceChange", day.last - day.open, scales.price)
            .padded8("lastPrice", day.last, scales.price)
            .padded8("bidPrice", best(Side::Buy).0, scales.price)
            .padded8("bidQty", best(Side::Buy).1, scales.qty)
            .padded8("askPrice", best(Side::Sell).0, scales.price)
            .padded8("askQty", best(Side::Sell).1, scales.qty)
            .padded8("openPrice", day.open, scales.price)
            .padded8("highPrice", day.high, scales.price)
            .padded8("lowPrice", day.low, scales.price)
            .padded8("volume", i64::try_from(day.volume).unwrap_or(i64::MAX), scales.qty)
            .amount("quoteVolume", day.turnover, 8)
            .u64("openTime", (now_ns / 1_000_000).saturating_sub(86_400_000))
            .u64("closeTime", now_ns / 1_000_000)
            .u64("count", day.trades)
            .end();
    }

    fn day_ticker(&self, now_ns: u64, params: &Params) -> Result<Vec<u8>, ApiError> {
        let mut out = Vec::new();
        if params.contains_key("symbol") {
            self.push_day_ticker(&mut out, now_ns, self.market_of(params)?);
        } else {
            array(&mut out, 0..self.exchange.markets.len(), |out, market| self.push_day_ticker(out, now_ns, market));
        }
        Ok(out)
    }

    fn list_orders(&self, account: AccountId, params: &Params, open: bool) -> Result<Vec<u8>, ApiError> {
        let market = match params.get("symbol") {
            None if open => None,
            _ => Some(self.market_of(params)?),
        };
        let from = number(params, "orderId")?;
        let range = time_range(params)?;
        let limit = limit(params, 500, 1_000)?;
        let wanted = |order: &&crate::exchange::Order| {
            market.is_none_or(|market| order.terms.market == market)
                && from.is_none_or(|from| order.id >= from)
                && range.contains(&(order.created_ns / 1_000_000))
        };
        let mut orders: Vec<_> = if open {
            self.exchange.open_orders(account).filter(wanted).collect()
        } else {
            self.exchange.all_orders(account).filter(wanted).collect()
        };
        if !open {
            clip(&mut orders, limit, from.is_some() || params.contains_key("startTime"));
        }
        let mut out = Vec::new();
        array(&mut out, orders, |out, order| self.push_order(out, order));
        Ok(out)
    }

    fn my_trades(&self, account: AccountId, params: &Params) -> Result<Vec<u8>, ApiError> {
        let market = self.market_of(params)?;
        let (order, from) = (number(params, "orderId")?, number(params, "fromId")?);
        let range = time_range(params)?;
        let limit = limit(params, 500, 1_000)?;
        let mut fills: Vec<&Fill> = self
            .exchange
            .fills(account)
            .iter()
            .filter(|fill| {
                fill.market == market
                    && order.is_none_or(|order| fill.order_id == order)
                    && from.is_none_or(|from| fill.trade_id >= from)
                    && range.contains(&(fill.at_ns / 1_000_000))
            })
            .collect();
        clip(&mut fills, limit, from.is_some() || params.contains_key("startTime"));
        let scales = self.scales(market);
        let mut out = Vec::new();
        array(&mut out, fills, |out, fill| {
            Object::new(out)
                .str("symbol", self.streams.symbol(market))
                .u64("id", fill.trade_id)
                .u64("orderId", fill.order_id)
                .i64("orderListId", -1)
                .padded8("price", fill.price, scales.price)
                .padded8("qty", fill.qty, scales.qty)
                .amount("quoteQty", fill.cost, 8)
                .amount("commission", fill.fee, 8)
                .str("commissionAsset", self.exchange.ledger.asset_name(fill.fee_asset))
                .u64("time", fill.at_ns / 1_000_000)
                .bool("isBuyer", fill.side == Side::Buy)
                .bool("isMaker", fill.maker)
                .bool("isBestMatch", true)
                .end();
        });
        Ok(out)
    }

    fn account_status(&self, now_ns: u64, account: AccountId, params: &Params) -> Vec<u8> {
        let omit_zero = params.get("omitZeroBalances").is_some_and(|text| text == "true");
        let fees = self.exchange.fees;
        let rate = |ppm: u32| crate::decimal::Amount::from_fixed(i64::from(ppm), 6).to_text(8);
        let mut out = Vec::with_capacity(1024);
        let mut o = Object::new(&mut out);
        o.u64("makerCommission", u64::from(fees.maker_ppm / 100)).u64("takerCommission", u64::from(fees.taker_ppm / 100));
        o.u64("buyerCommission", 0).u64("sellerCommission", 0);
        Object::new(o.key("commissionRates"))
            .str("maker", &rate(fees.maker_ppm))
            .str("taker", &rate(fees.taker_ppm))
            .str("buyer", "0.00000000")
            .str("seller", "0.00000000")
            .end();
        o.bool("canTrade", true).bool("canWithdraw", true).bool("canDeposit", true).bool("brokered", false);
        o.bool("requireSelfTradePrevention", false).bool("preventSor", false);
        o.u64("updateTime", now_ns / 1_000_000).str("accountType", "SPOT");
        let balances = self
            .exchange
            .ledger
            .assets()
            .map(|(id, name)| (name, self.exchange.ledger.balance(account, id)))
            .filter(|(_, balance)| !omit_zero || balance.total.0 != 0);
        array(o.key("balances"), balances, |out, (name, balance)| {
            Object::new(out).str("asset", name).amount("free", balance.free(), 8).amount("locked", balance.hold, 8).end();
        });
        array(o.key("permissions"), ["SPOT"], crate::wire::push_json_str);
        push_u64(o.key("uid"), 100_200_300 + account.0 as u64);
        o.end();
        out
    }
}

fn number(params: &Params, name: &str) -> Result<Option<u64>, ApiError> {
    params.get(name).map(|text| text.parse().map_err(|_| ApiError::illegal(name, "^[0-9]{1,20}$"))).transpose()
}

fn limit(params: &Params, default: usize, max: usize) -> Result<usize, ApiError> {
    Ok(number(params, "limit")?.map_or(default, |limit| usize::try_from(limit).unwrap_or(max)).clamp(1, max))
}

fn time_range(params: &Params) -> Result<std::ops::RangeInclusive<u64>, ApiError> {
    Ok(number(params, "startTime")?.unwrap_or(0)..=number(params, "endTime")?.unwrap_or(u64::MAX))
}

/// Keeps the first `limit` rows when a start was given, else the last.
fn clip<T>(rows: &mut Vec<T>, limit: usize, from_start: bool) {
    if from_start {
        rows.truncate(limit);
    } else {
        rows.drain(..rows.len().saturating_sub(limit));
    }
}
