//! Kraken REST: `/0/public/...` and `/0/private/...`. Errors come in a list, always with HTTP 200.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::executions::{average_price, kind_text, price_of, push_time, reason_text};
use super::instruments::{PairNames, push_asset_pair, push_assets, rest_asset};
use super::{Kraken, ids};
use crate::book::Side;
use crate::credentials::{Secret, hmac_sha512_of_sha256};
use crate::decimal::{Amount, push_fixed};
use crate::exchange::{EndReason, Fill, Order, OrderKind, Status, TimeInForce};
use crate::json::{Object, array};
use crate::ledger::AccountId;
use crate::venue::side_text;
use crate::wire::{HttpReply, HttpRequest, Params, params_from_json, parse_form, push_i64};

/// REST deadlines are at least this far ahead.
pub(super) const DEADLINE_MIN_NS: u64 = 2_000_000_000;
/// Rows of a history page.
const PAGE: usize = 50;
/// Calls that change orders: they do not count against the call counter, and faults on answers hit them.
const ORDER_CALLS: &[&str] =
    &["AddOrder", "AddOrderBatch", "AmendOrder", "EditOrder", "CancelOrder", "CancelOrderBatch", "CancelAll", "CancelAllOrdersAfter"];

pub(super) type Answer = Result<Vec<u8>, String>;

/// The signature of a private call: base64 of HMAC-SHA512 over path and SHA-256 of nonce and body.
pub fn sign(secret: &str, path: &str, nonce: &str, body: &[u8]) -> Option<String> {
    let key = BASE64.decode(secret).ok()?;
    let mut hashed = nonce.as_bytes().to_vec();
    hashed.extend_from_slice(body);
    Some(BASE64.encode(hmac_sha512_of_sha256(&key, path.as_bytes(), &hashed)))
}

fn seconds(out: &mut Vec<u8>, ns: u64) {
    push_fixed(out, i64::try_from(ns / 100_000).unwrap_or(i64::MAX), 4);
}

impl Kraken {
    /// Answers a REST call.
    pub(super) fn rest(&mut self, now_ns: u64, peer: IpAddr, request: &HttpRequest) -> HttpReply {
        let answer = if let Some(name) = request.path.strip_prefix("/0/public/") {
            let params: Params = parse_form(&request.query).into_iter().collect();
            self.public_call(now_ns, peer, name, &params)
        } else if let Some(name) = request.path.strip_prefix("/0/private/") {
            self.private_call(now_ns, name, request)
        } else {
            return HttpReply::json(404, "{\"error\":[\"EGeneral:Unknown method\"]}");
        };
        let mut out = Vec::with_capacity(256);
        let mut object = Object::new(&mut out);
        match &answer {
            Ok(result) => object.raw("error", b"[]").raw("result", result).end(),
            Err(error) => {
                super::instruments::push_strings(object.key("error"), [error.as_str()]);
                object.end();
            }
        }
        let mut reply = HttpReply::json(200, out);
        self.publish(now_ns);
        if request.path.strip_prefix("/0/private/").is_some_and(|name| ORDER_CALLS.contains(&name)) {
            self.outbox.filter_reply(now_ns, &mut reply);
        }
        reply
    }

    fn public_call(&mut self, now_ns: u64, peer: IpAddr, name: &str, params: &Params) -> Answer {
        if self.take_rate_limit_fault() || !self.limits.charge_public(now_ns, peer) {
            return Err("EGeneral:Too many requests".into());
        }
        let mut out = Vec::with_capacity(1024);
        match name {
            "Time" => {
                let rfc1123 = jiff::Timestamp::from_nanosecond(i128::from(now_ns))
                    .map(|at| at.strftime("%a, %d %b %y %H:%M:%S +0000").to_string())
                    .unwrap_or_default();
                Object::new(&mut out).u64("unixtime", now_ns / 1_000_000_000).str("rfc1123", &rfc1123).end();
            }
            "SystemStatus" => {
                let mut object = Object::new(&mut out);
                object.str("status", self.system);
                push_time(&mut object, "timestamp", now_ns);
                object.end();
            }
            "Assets" => push_assets(&mut out, &self.exchange),
            "AssetPairs" => {
                let markets = self.rest_markets(params)?;
                let fees = (self.exchange.fees.maker_ppm, self.exchange.fees.taker_ppm);
                let status = self.system;
                let mut object = Object::new(&mut out);
                for market in markets {
                    let names = &self.names[market];
                    push_asset_pair(object.key(&names.id), names, &self.exchange.markets[market].spec, status, fees);
                }
                object.end();
            }
            "Depth" => {
                let market = self.rest_market(params)?;
                let count: usize =
                    params.get("count").map_or(Ok(100), |text| text.parse()).map_err(|_| "EGeneral:Invalid arguments:count")?;
                let spec = &self.exchange.markets[market].spec;
                let book = &self.exchange.markets[market].book;
                let mut object = Object::new(&mut out);
                let mut row = Object::new(object.key(&self.names[market].id));
                for (name, side) in [("asks", Side::Sell), ("bids", Side::Buy)] {
                    array(row.key(name), book.levels(side).take(count.clamp(1, 500)), |out, (price, qty)| {
                        out.extend_from_slice(b"[\"");
                        crate::decimal::push_padded(out, price, spec.price_scale, spec.price_scale.max(5));
                        out.extend_from_slice(b"\",\"");
                        // REST quantities carry three decimals at most on the venue; the simulator tells all.
                        push_fixed(out, qty, spec.qty_scale);
                        out.extend_from_slice(b"\",");
                        push_i64(out, i64::try_from(now_ns / 1_000_000_000).unwrap_or(i64::MAX));
                        out.push(b']');
                    });
                }
                row.end();
                object.end();
            }
            "Trades" => {
                let market = self.rest_market(params)?;
                let spec = &self.exchange.markets[market].spec;
                let recent = &self.exchange.markets[market].recent;
                let mut object = Object::new(&mut out);
                array(object.key(&self.names[market].id), recent, |out, trade| {
                    out.extend_from_slice(b"[\"");
                    crate::decimal::push_padded(out, trade.price, spec.price_scale, spec.price_scale.max(5));
                    out.extend_from_slice(b"\",\"");
                    push_fixed(out, trade.qty, spec.qty_scale);
                    out.extend_from_slice(b"\",");
                    seconds(out, trade.at_ns);
                    let side = if trade.taker_side == Side::Buy { "b" } else { "s" };
                    let kind = if trade.taker_kind == OrderKind::Market { "m" } else { "l" };
                    out.extend_from_slice(format!(",\"{side}\",\"{kind}\",\"\",{}]", trade.id).as_bytes());
                });
                object.str("last", &recent.back().map_or(now_ns, |trade| trade.at_ns).to_string()).end();
            }
            "Ticker" => {
                let markets = self.rest_markets(params)?;
                let mut object = Object::new(&mut out);
                for market in markets {
                    self.push_rest_ticker(object.key(&self.names[market].id), market);
                }
                object.end();
            }
            _ => return Err("EGeneral:Unknown method".into()),
        }
        Ok(out)
    }

    fn push_rest_ticker(&self, out: &mut Vec<u8>, at: usize) {
        let market = &self.exchange.markets[at];
        let (spec, day) = (&market.spec, &market.day);
        let price = |value: i64| Amount::from_fixed(value, spec.price_scale).to_text(5);
        let qty = |value: i64| Amount::from_fixed(value, spec.qty_scale).to_text(8);
        let volume = qty(i64::try_from(day.volume).unwrap_or(i64::MAX));
        let strings = |out: &mut Vec<u8>, texts: &[&str]| super::instruments::push_strings(out, texts.iter().copied());
        let mut o = Object::new(out);
        for (name, side) in [("a", Side::Sell), ("b", Side::Buy)] {
            let (best, size) = market.book.best(side).unwrap_or_default();
            strings(o.key(name), &[&price(best), "1", &qty(size)]);
        }
        let last_qty = market.recent.back().map_or(0, |trade| trade.qty);
        strings(o.key("c"), &[&price(day.last), &qty(last_qty)]);
        strings(o.key("v"), &[&volume, &volume]);
        let vwap = if day.volume > 0 {
            Amount(day.turnover.0.saturating_mul(1_000_000_000) / (day.volume * crate::decimal::pow10(18 - spec.qty_scale)) * 1_000_000_000)
        } else {
            Amount::from_fixed(day.open, spec.price_scale)
        };
        strings(o.key("p"), &[&vwap.to_text(5), &vwap.to_text(5)]);
        array(o.key("t"), [day.trades, day.trades], crate::wire::push_u64);
        strings(o.key("l"), &[&price(day.low), &price(day.low)]);
        strings(o.key("h"), &[&price(day.high), &price(day.high)]);
        o.str("o", &price(day.open)).end();
    }

    pub(super) fn rest_market(&self, params: &Params) -> Result<usize, String> {
        let text = params.get("pair").ok_or("EGeneral:Invalid arguments")?;
        self.names.iter().position(|names| names.is_rest(text)).ok_or_else(|| "EQuery:Unknown asset pair".into())
    }

    fn rest_markets(&self, params: &Params) -> Result<Vec<usize>, String> {
        match params.get("pair") {
            None => Ok((0..self.names.len()).collect()),
            Some(list) => list
                .split(',')
                .map(|text| self.names.iter().position(|names| names.is_rest(text)).ok_or_else(|| "EQuery:Unknown asset pair".into()))
                .collect(),
        }
    }

    /// Checks key, nonce and signature; returns the account and the parameters.
    fn authorise(&mut self, request: &HttpRequest) -> Result<(AccountId, String, Params), String> {
        let key_text = request.header("api-key").to_owned();
        let (key, account) = self.keys.iter().find(|(key, _)| key.key == key_text).cloned().ok_or("EAPI:Invalid key")?;
        let body = std::str::from_utf8(&request.body).map_err(|_| "EGeneral:Invalid arguments")?;
        let params: Params = if request.header("content-type").starts_with("application/json") {
            serde_json::from_str(body)
                .ok()
                .and_then(|raw: Box<serde_json::value::RawValue>| params_from_json(&raw))
                .ok_or("EGeneral:Invalid arguments")?
        } else {
            parse_form(body).into_iter().collect()
        };
        let nonce_text = params.get("nonce").ok_or("EAPI:Invalid nonce")?;
        let nonce: u64 = nonce_text.parse().map_err(|_| "EAPI:Invalid nonce")?;
        let Secret::Hmac(secret) = &key.secret else { return Err("EAPI:Invalid key".into()) };
        let wanted = sign(secret, &request.path, nonce_text, &request.body).ok_or("EAPI:Invalid key")?;
        if wanted != request.header("api-sign") {
            return Err("EAPI:Invalid signature".into());
        }
        let last = self.nonces.entry(key_text.clone()).or_default();
        if nonce <= *last {
            return Err("EAPI:Invalid nonce".into());
        }
        *last = nonce;
        Ok((account, key_text, params))
    }

    fn private_call(&mut self, now_ns: u64, name: &str, request: &HttpRequest) -> Answer {
        if request.method != "POST" {
            return Err("EGeneral:Invalid arguments".into());
        }
        let (account, key, params) = self.authorise(request)?;
        let points = match name {
            "TradesHistory" | "ClosedOrders" => 4.0,
            _ if ORDER_CALLS.contains(&name) => 0.0,
            _ => 1.0,
        };
        if self.take_rate_limit_fault() || !self.limits.charge_rest(now_ns, &key, points) {
            return Err("EAPI:Rate limit exceeded".into());
        }
        let mut out = Vec::with_capacity(512);
        match name {
            "GetWebSocketsToken" => {
                let token = self.new_token(now_ns, account);
                Object::new(&mut out).str("token", &token).u64("expires", self.config.token_life_ms / 1_000).end();
            }
            "Balance" | "BalanceEx" => self.push_balances(&mut out, account, name == "BalanceEx"),
            "OpenOrders" => {
                let wanted = params.get("cl_ord_id");
                let orders: Vec<&Order> =
                    self.exchange.open_orders(account).filter(|order| wanted.is_none_or(|id| order.terms.client_id == *id)).collect();
                let mut object = Object::new(&mut out);
                self.push_orders(object.key("open"), &orders);
                object.end();
            }
            "ClosedOrders" => {
                let (wanted, page) = (params.get("cl_ord_id"), Page::of(&params)?);
                let orders: Vec<&Order> = self
                    .exchange
                    .all_orders(account)
                    .filter(|order| !order.status.is_open() && wanted.is_none_or(|id| order.terms.client_id == *id))
                    .filter(|order| page.holds(order.updated_ns))
                    .collect();
                let count = orders.len() as u64;
                let rows: Vec<&Order> = orders.into_iter().rev().skip(page.offset).take(PAGE).collect();
                let mut object = Object::new(&mut out);
                self.push_orders(object.key("closed"), &rows);
                object.u64("count", count).end();
            }
            "QueryOrders" => {
                let list = params.get("txid").ok_or("EGeneral:Invalid arguments")?;
                let orders: Vec<&Order> = list
                    .split(',')
                    .take(PAGE)
                    .map(|text| ids::parse('O', text).and_then(|id| self.exchange.order(account, id)))
                    .collect::<Option<_>>()
                    .ok_or("EOrder:Unknown order")?;
                self.push_orders(&mut out, &orders);
            }
            "TradesHistory" => {
                let page = Page::of(&params)?;
                let consolidate = params.get("consolidate_taker").is_none_or(|text| text != "false");
                let mut fills: Vec<Fill> = self.exchange.fills(account).iter().filter(|fill| page.holds(fill.at_ns)).cloned().collect();
                if consolidate {
                    consolidate_taker(&mut fills);
                }
                let count = fills.len() as u64;
                let mut object = Object::new(&mut out);
                let mut trades = Object::new(object.key("trades"));
                for fill in fills.iter().rev().skip(page.offset).take(PAGE) {
                    self.push_fill(trades.key(&ids::text('T', fill.exec_id)), account, fill);
                }
                trades.end();
                object.u64("count", count).end();
            }
            "AddOrder" => {
                let market = self.rest_market(&params)?;
                let common = rest_order_params(&params)?;
                let (new, validate) = self.new_order(now_ns, account, market, &common, DEADLINE_MIN_NS)?;
                let text = self.order_description(&new);
                let placed = self.place(now_ns, new, validate, true)?;
                let mut object = Object::new(&mut out);
                Object::new(object.key("descr")).str("order", &text).end();
                if let Some(id) = placed.id {
                    super::instruments::push_strings(object.key("txid"), [ids::text('O', id).as_str()]);
                }
                object.end();
            }
            "AddOrderBatch" => out = self.rest_batch_add(now_ns, account, &params)?,
            "CancelOrderBatch" => out = self.rest_batch_cancel(now_ns, account, &params)?,
            "AmendOrder" => {
                let mut common = params.clone();
                if let Some(txid) = params.get("txid") {
                    common.insert("order_id".into(), txid.clone());
                }
                let amend = self.amend(now_ns, account, &common, DEADLINE_MIN_NS)?;
                Object::new(&mut out).str("amend_id", &amend).end();
            }
            "EditOrder" => {
                let order = self.named_open(account, params.get("txid").map(String::as_str), None).ok_or("EOrder:Unknown order")?;
                let mut common = Params::new();
                for (from, to) in [("volume", "order_qty"), ("price", "limit_price"), ("userref", "order_userref")] {
                    if let Some(text) = params.get(from) {
                        common.insert(to.into(), text.clone());
                    }
                }
                let placed = self.edit(now_ns, account, &order, &common)?;
                let mut object = Object::new(&mut out);
                Object::new(object.key("descr")).str("order", "edited").end();
                object.str("txid", &placed.id.map_or_else(String::new, |id| ids::text('O', id)));
                object.str("originaltxid", &ids::text('O', order.id)).str("status", "ok").u64("orders_cancelled", 1).end();
            }
            "CancelOrder" => {
                let count = self.rest_cancel(now_ns, account, &params)?;
                Object::new(&mut out).u64("count", count).end();
            }
            "CancelAll" => {
                self.refuse_when_closed(true)?;
                let count = self.cancel_all(now_ns, account, EndReason::User);
                Object::new(&mut out).u64("count", count as u64).end();
            }
            "CancelAllOrdersAfter" => {
                let timeout: u64 = params
                    .get("timeout")
                    .and_then(|text| text.parse().ok())
                    .filter(|s| *s < 86_400)
                    .ok_or("EGeneral:Invalid arguments:timeout")?;
                out = self.arm_dead_man(now_ns, account, timeout);
            }
            _ => return Err("EGeneral:Unknown method".into()),
        }
        Ok(out)
    }

    fn rest_cancel(&mut self, now_ns: u64, account: AccountId, params: &Params) -> Result<u64, String> {
        let orders: Vec<Order> = match (params.get("txid"), params.get("cl_ord_id")) {
            (Some(txid), _) => match txid.parse::<i32>() {
                Ok(user_ref) => {
                    self.exchange.open_orders(account).filter(|order| order.terms.user_ref == i64::from(user_ref)).cloned().collect()
                }
                Err(_) => self.named_open(account, Some(txid), None).into_iter().collect(),
            },
            (None, Some(client_id)) => self.named_open(account, None, Some(client_id)).into_iter().collect(),
            (None, None) => return Err("EGeneral:Invalid arguments".into()),
        };
        if orders.is_empty() {
            return Err("EOrder:Unknown order".into());
        }
        for order in &orders {
            self.cancel(now_ns, account, order)?;
        }
        Ok(orders.len() as u64)
    }

    fn push_balances(&self, out: &mut Vec<u8>, account: AccountId, extended: bool) {
        let mut object = Object::new(out);
        for (id, asset) in self.exchange.ledger.assets() {
            let balance = self.exchange.ledger.balance(account, id);
            if balance.total.0 == 0 && balance.hold.0 == 0 {
                continue;
            }
            // The venue prints four or ten decimals; the simulator prints what its ledger holds.
            let name = rest_asset(asset);
            if extended {
                Object::new(object.key(&name))
                    .str("balance", &balance.total.to_text(10))
                    .str("hold_trade", &balance.hold.to_text(10))
                    .end();
            } else {
                object.str(&name, &balance.total.to_text(10));
            }
        }
        object.end();
    }

    pub(super) fn order_description(&self, terms: &crate::exchange::NewOrder) -> String {
        let spec = &self.exchange.markets[terms.market].spec;
        let qty = Amount::from_fixed(terms.qty, spec.qty_scale).to_text(spec.qty_scale);
        let pair = &PairNames::of(spec).altname;
        match terms.kind {
            OrderKind::Limit => {
                let price = Amount::from_fixed(terms.price, spec.price_scale).to_text(spec.price_scale);
                format!("{} {qty} {pair} @ limit {price}", side_text(terms.side))
            }
            OrderKind::Market => format!("{} {qty} {pair} @ market", side_text(terms.side)),
        }
    }

    fn push_orders(&self, out: &mut Vec<u8>, orders: &[&Order]) {
        let mut object = Object::new(out);
        for order in orders {
            self.push_rest_order(object.key(&ids::text('O', order.id)), order);
        }
        object.end();
    }

    fn push_rest_order(&self, out: &mut Vec<u8>, order: &Order) {
        let spec = &self.exchange.markets[order.terms.market].spec;
        let fixed = |value: i64, scale: u8| Amount::from_fixed(value, scale).to_text(scale);
        let mut o = Object::new(out);
        o.raw("refid", b"null").i64("userref", order.terms.user_ref);
        if !order.terms.client_id.is_empty() {
            o.str("cl_ord_id", &order.terms.client_id);
        }
        let status = match order.status {
            Status::Open | Status::PartiallyFilled => "open",
            Status::Filled => "closed",
            Status::Canceled | Status::Expired | Status::ExpiredInMatch => "canceled",
        };
        o.str("status", status);
        seconds(o.key("opentm"), order.created_ns);
        o.u64("starttm", 0).u64("expiretm", 0);
        let price = if order.terms.kind == OrderKind::Limit { fixed(order.terms.price, spec.price_scale) } else { "0".into() };
        Object::new(o.key("descr"))
            .str("pair", &PairNames::of(spec).altname)
            .str("type", side_text(order.terms.side))
            .str("ordertype", kind_text(order.terms.kind))
            .str("price", &price)
            .str("price2", "0")
            .str("leverage", "none")
            .str("order", &self.order_description(&order.terms))
            .str("close", "")
            .end();
        o.str("vol", &fixed(order.terms.qty, spec.qty_scale)).str("vol_exec", &fixed(order.filled_qty, spec.qty_scale));
        o.amount("cost", order.filled_cost, 10).amount("fee", order.fees, 5);
        o.amount("price", average_price(&self.exchange, order), 10).str("stopprice", "0.00000").str("limitprice", "0.00000");
        o.str("misc", if order.amends > 0 { "amended" } else { "" });
        o.str("oflags", if order.terms.post_only { "fciq,post" } else { "fciq" });
        let tif = match order.terms.time_in_force {
            TimeInForce::Gtc => "GTC",
            TimeInForce::Ioc => "IOC",
            TimeInForce::Fok => "FOK",
        };
        o.str("timeinforce", tif);
        if !order.status.is_open() {
            seconds(o.key("closetm"), order.updated_ns);
            match order.end_reason {
                Some(reason) => o.str("reason", reason_text(reason)),
                None => o.raw("reason", b"null"),
            };
        }
        let trades: Vec<String> = self
            .exchange
            .fills(order.terms.account)
            .iter()
            .filter(|fill| fill.order_id == order.id)
            .map(|f| ids::text('T', f.exec_id))
            .collect();
        if !trades.is_empty() {
            super::instruments::push_strings(o.key("trades"), trades.iter().map(String::as_str));
        }
        o.end();
    }

    fn push_fill(&self, out: &mut Vec<u8>, account: AccountId, fill: &Fill) {
        let spec = &self.exchange.markets[fill.market].spec;
        let kind = self.exchange.order(account, fill.order_id).map_or("limit", |order| kind_text(order.terms.kind));
        let mut o = Object::new(out);
        o.str("ordertxid", &ids::text('O', fill.order_id)).str("postxid", "").str("pair", &self.names[fill.market].id);
        seconds(o.key("time"), fill.at_ns);
        o.str("type", side_text(fill.side)).str("ordertype", kind);
        // Of a consolidated row it is the average.
        let price = price_of(fill.cost, Amount::from_fixed(fill.qty, spec.qty_scale));
        o.str("price", &price.to_text(spec.price_scale.max(5))).amount("cost", fill.cost, 10);
        o.amount("fee", fill.fee, 5).amount("vol", Amount::from_fixed(fill.qty, spec.qty_scale), 8).str("margin", "0.0").str("misc", "");
        o.u64("trade_id", fill.trade_id).bool("maker", fill.maker).end();
    }
}

/// Merges each run of a taker order's fills into one row, which is what the venue tells unless asked not
/// to: totals of the run, and the ids of its first fill.
fn consolidate_taker(fills: &mut Vec<Fill>) {
    fills.dedup_by(|later, first| {
        let same = !later.maker && !first.maker && later.order_id == first.order_id;
        if same {
            first.qty += later.qty;
            first.cost += later.cost;
            first.fee += later.fee;
        }
        same
    });
}

/// Brings AddOrder's parameters to the WebSocket's names.
pub(super) fn rest_order_params(params: &Params) -> Result<Params, String> {
    let mut common = Params::new();
    for (from, to) in [
        ("type", "side"),
        ("ordertype", "order_type"),
        ("volume", "order_qty"),
        ("price", "limit_price"),
        ("timeinforce", "time_in_force"),
        ("cl_ord_id", "cl_ord_id"),
        ("userref", "order_userref"),
        ("stptype", "stp_type"),
        ("deadline", "deadline"),
        ("validate", "validate"),
    ] {
        if let Some(text) = params.get(from) {
            common.insert(to.into(), text.clone());
        }
    }
    for flag in params.get("oflags").map_or("", String::as_str).split(',').filter(|flag| !flag.is_empty()) {
        match flag {
            "post" => {
                common.insert("post_only".into(), "true".into());
            }
            "viqc" => {
                if let Some(volume) = common.remove("order_qty") {
                    common.insert("cash_order_qty".into(), volume);
                }
            }
            "fciq" | "fcib" | "nompp" => {}
            _ => return Err("EGeneral:Invalid arguments:oflags".into()),
        }
    }
    Ok(common)
}

/// A page of a history: `start` exclusive, `end` inclusive, seconds.
struct Page {
    start_ns: Option<u64>,
    end_ns: Option<u64>,
    offset: usize,
}

impl Page {
    fn of(params: &Params) -> Result<Page, String> {
        let time = |name: &str| match params.get(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => crate::decimal::parse_i128(text, 9)
                .ok()
                .and_then(|ns| u64::try_from(ns).ok())
                .map(Some)
                .ok_or_else(|| format!("EGeneral:Invalid arguments:{name}")),
        };
        let offset = params.get("ofs").map_or(Ok(0), |text| text.parse()).map_err(|_| "EGeneral:Invalid arguments:ofs")?;
        Ok(Page { start_ns: time("start")?, end_ns: time("end")?, offset })
    }

    fn holds(&self, at_ns: u64) -> bool {
        // As precise as the times that rows tell.
        let at_ns = at_ns - at_ns % 100_000;
        self.start_ns.is_none_or(|start| at_ns > start) && self.end_ns.is_none_or(|end| at_ns <= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A published test vector, not a key of anyone.
    const SECRET: &str = "ZW5naW5lLXVuaXQtdGVzdC1zZWNyZXQta3Jha2VuLXNwb3QtNjQtYnl0ZXMtbG9uZy0wMTIzNDU2Nzg5YWJjZA==";
    const NONCE: &str = "1767225600123456";

    #[test]
    fn signature_vectors_hold() {
        for (path, body, signature) in [
            (
                "/0/private/GetWebSocketsToken",
                "nonce=1767225600123456",
                "TY2KnMblbGguQIxb2oow7wAiSPPBjUOTCcpSiE2xho1yBFShcmUiYm+Fg65JOqXq8ow6Wzqchze7lg1A3i7Giw==",
            ),
            (
                "/0/private/AddOrder",
                "nonce=1767225600123456&ordertype=limit&type=buy&volume=0.0125&pair=XBTUSD&price=61250.5&timeinforce=GTC&oflags=post&cl_ord_id=6d1b345e-2821-40e2-ad83-4ecb18a06876",
                "a+nV9mdXBLri47ZvIs4g8mwcyjRaFeNL0nYmjPyYtfgZ3hfN3THjiXuUt7EcjHwbDIOa/30cn3y/DZ8IBN0SWg==",
            ),
            (
                "/0/private/CancelOrderBatch",
                r#"{"nonce":"1767225600123456","orders":["OAAAAA-BBBBB-CCCCCC","ODDDDD-EEEEE-FFFFFF"]}"#,
                "7jIoqXZarPHMssP0Xu1WikdjqVtf/ss7Y0uHqU/PPWhmT8Sjxawi/EFQulMPJY5i5YyhzDwIWFIjBVCGmrUaOA==",
            ),
        ] {
            assert_eq!(sign(SECRET, path, NONCE, body.as_bytes()).as_deref(), Some(signature), "{path}");
        }
        assert_eq!(sign("not base64!", "/", NONCE, b""), None);
    }
}
