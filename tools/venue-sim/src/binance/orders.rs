//! Binance orders: place, cancel, cancel-replace, amend, with the venue's filters and error texts.
//!
//! Both transports (REST and the WebSocket API) come through here with the same parameters.

use super::Binance;
use super::errors::ApiError;
use super::info::{MAX_NUM_ORDER_AMENDS, MAX_NUM_ORDERS, PERCENT_UP, PRICE_MAX};
use super::user_data::{expiry_text, side_text, status_text, stp_parse, stp_text, tif_text, type_text};
use crate::book::{OrderId, Side};
use crate::decimal::{Amount, DecimalError, REQUEST_UNITS_MAX, parse_i128, pow10};
use crate::exchange::{Amend, EndReason, NewOrder, Order, OrderKind, Refusal, SelfTrade, TimeInForce};
use crate::json::{Object, array};
use crate::ledger::AccountId;
use crate::wire::Params;

/// Decimal places of every price and quantity on the wire.
const WIRE_SCALE: u8 = 8;
const DECIMAL_RANGE: &str = r"^([0-9]{1,20})(\\.[0-9]{1,20})?$";
const CLIENT_ID_RANGE: &str = "^[a-zA-Z0-9-_]{1,36}$";

/// Parameters of `order.place`.
pub const PLACE_PARAMS: &[&str] = &[
    "symbol",
    "side",
    "type",
    "timeInForce",
    "price",
    "quantity",
    "quoteOrderQty",
    "newClientOrderId",
    "newOrderRespType",
    "strategyId",
    "strategyType",
    "selfTradePreventionMode",
];

fn refused(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::InsufficientFunds => ApiError::balance(),
        Refusal::WouldTake => ApiError::would_take(),
        Refusal::DuplicateClientId => ApiError::duplicate(),
        Refusal::UnknownOrder => ApiError::unknown_order(),
        Refusal::NothingToAmend => ApiError::new(-2038, "The requested action would change no state; rejecting."),
    }
}

/// A required parameter.
pub fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str, ApiError> {
    params.get(name).map(String::as_str).filter(|text| !text.is_empty()).ok_or_else(|| ApiError::missing(name))
}

/// A client order id, checked.
fn client_id(params: &Params, name: &str) -> Result<Option<String>, ApiError> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let legal = (1..=36).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_');
    if legal { Ok(Some(text.clone())) } else { Err(ApiError::illegal(name, CLIENT_ID_RANGE)) }
}

/// A positive decimal at the wire's 8 places.
fn decimal8(params: &Params, name: &str) -> Result<i128, ApiError> {
    let text = required(params, name)?;
    match parse_i128(text, WIRE_SCALE) {
        Ok(value) if value > 0 && value <= i128::from(REQUEST_UNITS_MAX) * pow10(WIRE_SCALE) => Ok(value),
        Ok(_) | Err(DecimalError::Garbage | DecimalError::Overflow) => Err(ApiError::illegal(name, DECIMAL_RANGE)),
        Err(DecimalError::Precision) => Err(ApiError::precision(name)),
    }
}

/// From the wire's 8 places to a market's scale; what does not fit breaks the named filter.
fn rescale(value: i128, scale: u8, filter: &str) -> Result<i64, ApiError> {
    let unit = pow10(WIRE_SCALE - scale);
    if value % unit != 0 {
        return Err(ApiError::filter(filter));
    }
    i64::try_from(value / unit).map_err(|_| ApiError::filter(filter))
}

/// How much an answer to a placed order says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Ack,
    Result,
    Full,
}

impl Binance {
    /// Checks the parameters and filters of a new order.
    fn new_order(&mut self, account: AccountId, params: &Params) -> Result<NewOrder, ApiError> {
        let market = self.streams.market(required(params, "symbol")?).ok_or_else(ApiError::symbol)?;
        let side = match required(params, "side")? {
            "BUY" => Side::Buy,
            "SELL" => Side::Sell,
            _ => return Err(ApiError::new(-1117, "Invalid side.")),
        };
        let (kind, post_only) = match required(params, "type")? {
            "LIMIT" => (OrderKind::Limit, false),
            "LIMIT_MAKER" => (OrderKind::Limit, true),
            "MARKET" => (OrderKind::Market, false),
            _ => return Err(ApiError::new(-1116, "Invalid orderType.")),
        };
        let time_in_force = match (params.get("timeInForce").map(String::as_str), kind, post_only) {
            (Some(_), OrderKind::Market, _) | (Some(_), _, true) => return Err(ApiError::not_required("timeInForce")),
            (None, OrderKind::Limit, false) => return Err(ApiError::missing("timeInForce")),
            (None, _, _) | (Some("GTC"), _, _) => TimeInForce::Gtc,
            (Some("IOC"), _, _) => TimeInForce::Ioc,
            (Some("FOK"), _, _) => TimeInForce::Fok,
            (Some(_), _, _) => return Err(ApiError::new(-1115, "Invalid timeInForce.")),
        };
        let self_trade = match params.get("selfTradePreventionMode") {
            None => SelfTrade::EndMaker,
            Some(text) => stp_parse(text)
                .ok_or_else(|| ApiError::new(-1013, "This symbol does not allow the specified self-trade prevention mode."))?,
        };
        let client_id = match client_id(params, "newClientOrderId")? {
            Some(id) => id,
            None => self.random_id(),
        };
        let spec = &self.exchange.markets[market].spec;
        let last = self.exchange.markets[market].day.last;
        let mut new = NewOrder {
            account,
            market,
            side,
            kind,
            time_in_force,
            price: 0,
            qty: 0,
            quote_qty: None,
            post_only,
            client_id,
            user_ref: 0,
            self_trade,
        };
        if kind == OrderKind::Limit {
            if params.contains_key("quoteOrderQty") {
                return Err(ApiError::not_required("quoteOrderQty"));
            }
            new.price = rescale(decimal8(params, "price")?, spec.price_scale, "PRICE_FILTER")?;
            let max = i128::from(PRICE_MAX) * pow10(spec.price_scale);
            if new.price % spec.tick != 0 || i128::from(new.price) > max {
                return Err(ApiError::filter("PRICE_FILTER"));
            }
            if new.price > last.saturating_mul(PERCENT_UP) || new.price < last / PERCENT_UP {
                return Err(ApiError::filter("PERCENT_PRICE_BY_SIDE"));
            }
        } else if params.contains_key("price") {
            return Err(ApiError::not_required("price"));
        }
        if kind == OrderKind::Market && params.contains_key("quoteOrderQty") {
            if params.contains_key("quantity") {
                return Err(ApiError::not_required("quantity"));
            }
            let quote = decimal8(params, "quoteOrderQty")?;
            new.quote_qty = Some(Amount(quote * pow10(crate::decimal::AMOUNT_SCALE - WIRE_SCALE)));
        } else {
            new.qty = rescale(decimal8(params, "quantity")?, spec.qty_scale, "LOT_SIZE")?;
            if new.qty % spec.lot != 0 || new.qty < spec.qty_min || new.qty > spec.qty_max {
                return Err(ApiError::filter("LOT_SIZE"));
            }
        }
        let notional = new.quote_qty.unwrap_or_else(|| {
            let price = if kind == OrderKind::Limit { new.price } else { last };
            Amount::notional(price, spec.price_scale, new.qty, spec.qty_scale)
        });
        if notional < spec.notional_min {
            return Err(ApiError::filter("NOTIONAL"));
        }
        if self.exchange.open_orders(account).filter(|order| order.terms.market == market).count() >= MAX_NUM_ORDERS {
            return Err(ApiError::filter("MAX_NUM_ORDERS"));
        }
        Ok(new)
    }

    fn detail(params: &Params) -> Result<Detail, ApiError> {
        match params.get("newOrderRespType").map(String::as_str) {
            Some("ACK") => Ok(Detail::Ack),
            Some("RESULT") => Ok(Detail::Result),
            Some("FULL") => Ok(Detail::Full),
            Some(_) => Err(ApiError::illegal("newOrderRespType", "ACK, RESULT, FULL")),
            None => Ok(match params.get("type").map(String::as_str) {
                Some("LIMIT" | "MARKET") => Detail::Full,
                _ => Detail::Ack,
            }),
        }
    }

    /// `order.place`.
    pub(super) fn place(&mut self, now_ns: u64, account: AccountId, params: &Params) -> Result<Vec<u8>, ApiError> {
        let detail = Binance::detail(params)?;
        let new = self.new_order(account, params)?;
        self.refuse_new()?;
        self.limits.charge_order(now_ns / 1_000_000, account)?;
        let id = self.exchange.place(now_ns, new).map_err(refused)?;
        self.placed_answer(account, id, detail)
    }

    /// `order.test`.
    pub(super) fn test(&mut self, account: AccountId, params: &Params) -> Result<Vec<u8>, ApiError> {
        Binance::detail(params)?;
        let new = self.new_order(account, params)?;
        if !self.exchange.can_afford(&new) {
            return Err(ApiError::balance());
        }
        Ok(b"{}".to_vec())
    }

    fn placed_answer(&self, account: AccountId, id: OrderId, detail: Detail) -> Result<Vec<u8>, ApiError> {
        let order = self.exchange.order(account, id).ok_or_else(ApiError::no_such_order)?;
        let symbol = self.streams.symbol(order.terms.market);
        let spec = &self.exchange.markets[order.terms.market].spec;
        let mut out = Vec::with_capacity(512);
        let mut o = Object::new(&mut out);
        o.str("symbol", symbol).u64("orderId", id).i64("orderListId", -1).str("clientOrderId", &order.terms.client_id);
        o.u64("transactTime", order.updated_ns / 1_000_000);
        if detail != Detail::Ack {
            self.push_terms(&mut o, order);
            o.u64("workingTime", order.created_ns / 1_000_000).str("selfTradePreventionMode", stp_text(order.terms.self_trade));
            if let Some(reason) = expiry_text(order) {
                o.str("expiryReason", reason);
            }
        }
        if detail == Detail::Full {
            // The latest fills of this order: it was placed just now, so all of its fills are the last ones.
            let fills = self.exchange.fills(account);
            let from = fills.iter().rposition(|fill| fill.order_id != id).map_or(0, |at| at + 1);
            array(o.key("fills"), &fills[from..], |out, fill| {
                Object::new(out)
                    .padded8("price", fill.price, spec.price_scale)
                    .padded8("qty", fill.qty, spec.qty_scale)
                    .amount("commission", fill.fee, 8)
                    .str("commissionAsset", self.exchange.ledger.asset_name(fill.fee_asset))
                    .u64("tradeId", fill.trade_id)
                    .end();
            });
        }
        o.end();
        Ok(out)
    }

    fn push_terms(&self, o: &mut Object<'_>, order: &Order) {
        let spec = &self.exchange.markets[order.terms.market].spec;
        o.padded8("price", order.terms.price, spec.price_scale).padded8("origQty", order.terms.qty, spec.qty_scale);
        o.padded8("executedQty", order.filled_qty, spec.qty_scale);
        o.amount("origQuoteOrderQty", order.terms.quote_qty.unwrap_or_default(), 8);
        o.amount("cummulativeQuoteQty", order.filled_cost, 8).str("status", status_text(order.status));
        o.str("timeInForce", tif_text(order.terms.time_in_force)).str("type", type_text(order));
        o.str("side", side_text(order.terms.side));
    }

    /// Finds the order that `orderId` and/or the client id name. `open` looks among open orders for the
    /// client id, else the latest one is taken.
    pub(super) fn find(
        &self,
        account: AccountId,
        params: &Params,
        names: (&str, &str),
        open: bool,
        unknown: fn() -> ApiError,
    ) -> Result<Order, ApiError> {
        let market = self.streams.market(required(params, "symbol")?).ok_or_else(ApiError::symbol)?;
        let (id, client_id) = (params.get(names.0), params.get(names.1));
        let order = match (id, client_id) {
            (Some(id), client_id) => {
                let id: OrderId = id.parse().map_err(|_| ApiError::illegal(names.0, "^[0-9]{1,20}$"))?;
                let order = self.exchange.order(account, id).ok_or_else(unknown)?;
                if client_id.is_some_and(|client_id| *client_id != order.terms.client_id) {
                    return Err(if open { unknown() } else { ApiError::new(-2039, "Client order ID is not correct for this order ID.") });
                }
                order
            }
            (None, Some(client_id)) if open => self.exchange.open_by_client_id(account, client_id).ok_or_else(unknown)?,
            (None, Some(client_id)) => self.exchange.latest_by_client_id(account, client_id).ok_or_else(unknown)?,
            (None, None) => {
                return Err(ApiError::new(-1102, format!("Param '{}' or '{}' must be sent, but both were empty/null!", names.1, names.0)));
            }
        };
        if order.terms.market != market || (open && !order.status.is_open()) {
            return Err(unknown());
        }
        Ok(order.clone())
    }

    /// `order.cancel`.
    pub(super) fn cancel(&mut self, now_ns: u64, account: AccountId, params: &Params) -> Result<Vec<u8>, ApiError> {
        self.refuse_in_maintenance()?;
        self.cancel_named(now_ns, account, params, ("orderId", "origClientOrderId"), "newClientOrderId")
    }

    fn cancel_named(
        &mut self,
        now_ns: u64,
        account: AccountId,
        params: &Params,
        names: (&str, &str),
        new_id: &str,
    ) -> Result<Vec<u8>, ApiError> {
        let order = self.find(account, params, names, true, ApiError::unknown_order)?;
        let restricted = match params.get("cancelRestrictions").map(String::as_str) {
            None => false,
            Some("ONLY_NEW") => order.filled_qty > 0,
            Some("ONLY_PARTIALLY_FILLED") => order.filled_qty == 0,
            Some(_) => return Err(ApiError::illegal("cancelRestrictions", "ONLY_NEW, ONLY_PARTIALLY_FILLED")),
        };
        if restricted {
            return Err(ApiError::new(-2011, "Order was not canceled due to cancel restrictions."));
        }
        let cancel_id = match client_id(params, new_id)? {
            Some(id) => id,
            None => self.random_id(),
        };
        self.cancel_order(now_ns, account, order.id, cancel_id)
    }

    fn cancel_order(&mut self, now_ns: u64, account: AccountId, id: OrderId, cancel_id: String) -> Result<Vec<u8>, ApiError> {
        let order = self.exchange.cancel(now_ns, account, id, EndReason::User).map_err(refused)?;
        self.reports.cancels.insert(id, cancel_id.clone());
        let mut out = Vec::with_capacity(480);
        let mut o = Object::new(&mut out);
        o.str("symbol", self.streams.symbol(order.terms.market)).str("origClientOrderId", &order.terms.client_id);
        o.u64("orderId", id).i64("orderListId", -1).str("clientOrderId", &cancel_id).u64("transactTime", now_ns / 1_000_000);
        self.push_terms(&mut o, &order);
        o.str("selfTradePreventionMode", stp_text(order.terms.self_trade)).end();
        Ok(out)
    }

    /// `openOrders.cancelAll`.
    pub(super) fn cancel_all(&mut self, now_ns: u64, account: AccountId, params: &Params) -> Result<Vec<u8>, ApiError> {
        self.refuse_in_maintenance()?;
        let market = self.streams.market(required(params, "symbol")?).ok_or_else(ApiError::symbol)?;
        let ids: Vec<OrderId> =
            self.exchange.open_orders(account).filter(|order| order.terms.market == market).map(|order| order.id).collect();
        if ids.is_empty() {
            return Err(ApiError::unknown_order());
        }
        let mut reports = Vec::with_capacity(ids.len());
        for id in ids {
            let cancel_id = self.random_id();
            reports.push(self.cancel_order(now_ns, account, id, cancel_id)?);
        }
        let mut out = Vec::new();
        array(&mut out, reports, |out, report| out.extend_from_slice(&report));
        Ok(out)
    }

    /// `order.cancelReplace`.
    pub(super) fn cancel_replace(&mut self, now_ns: u64, account: AccountId, params: &Params) -> Result<Vec<u8>, ApiError> {
        let allow_failure = match required(params, "cancelReplaceMode")? {
            "STOP_ON_FAILURE" => false,
            "ALLOW_FAILURE" => true,
            _ => return Err(ApiError::illegal("cancelReplaceMode", "STOP_ON_FAILURE, ALLOW_FAILURE")),
        };
        let cancel_over_limit = match params.get("orderRateLimitExceededMode").map(String::as_str) {
            None | Some("DO_NOTHING") => false,
            Some("CANCEL_ONLY") => true,
            Some(_) => return Err(ApiError::illegal("orderRateLimitExceededMode", "DO_NOTHING, CANCEL_ONLY")),
        };
        let detail = Binance::detail(params)?;
        // Parameters and filters are checked before anything is cancelled.
        let new = self.new_order(account, params)?;
        self.refuse_new()?;
        let limit = self.limits.charge_order(now_ns / 1_000_000, account);
        if !cancel_over_limit {
            limit.clone()?;
        }
        let cancelled = self.cancel_named(now_ns, account, params, ("cancelOrderId", "cancelOrigClientOrderId"), "cancelNewClientOrderId");
        let placed = if cancelled.is_err() && !allow_failure {
            None
        } else {
            Some(match limit {
                Err(error) => Err(error),
                Ok(()) => match self.exchange.place(now_ns, new) {
                    Ok(id) => self.placed_answer(account, id, detail),
                    Err(refusal) => Err(refused(refusal)),
                },
            })
        };
        let result = |half: &Result<Vec<u8>, ApiError>| if half.is_ok() { "SUCCESS" } else { "FAILURE" };
        let body = |half: &Result<Vec<u8>, ApiError>| match half {
            Ok(json) => json.clone(),
            Err(error) => {
                let mut out = Vec::new();
                ApiError { data: None, ..error.clone() }.push(&mut out);
                out
            }
        };
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.str("cancelResult", result(&cancelled)).str("newOrderResult", placed.as_ref().map_or("NOT_ATTEMPTED", result));
        object.raw("cancelResponse", &body(&cancelled));
        object.raw("newOrderResponse", &placed.as_ref().map_or_else(|| b"null".to_vec(), body)).end();
        match (&cancelled, &placed) {
            (Ok(_), Some(Ok(_))) => Ok(out),
            (Err(_), None | Some(Err(_))) => Err(ApiError { data: Some(out), ..ApiError::new(-2022, "Order cancel-replace failed.") }),
            _ => Err(ApiError { status: 409, data: Some(out), ..ApiError::new(-2021, "Order cancel-replace partially failed.") }),
        }
    }

    /// `order.amend.keepPriority`.
    pub(super) fn amend(&mut self, now_ns: u64, account: AccountId, params: &Params) -> Result<Vec<u8>, ApiError> {
        self.refuse_in_maintenance()?;
        let unknown: fn() -> ApiError = || ApiError::new(-2038, "Unknown order sent.");
        let order = self.find(account, params, ("orderId", "origClientOrderId"), true, unknown)?;
        let spec = &self.exchange.markets[order.terms.market].spec;
        let qty = rescale(decimal8(params, "newQty")?, spec.qty_scale, "LOT_SIZE")?;
        if qty % spec.lot != 0 || qty < spec.qty_min {
            return Err(ApiError::filter("LOT_SIZE"));
        }
        if Amount::notional(order.terms.price, spec.price_scale, qty, spec.qty_scale) < spec.notional_min {
            return Err(ApiError::filter("NOTIONAL"));
        }
        if qty > order.terms.qty {
            return Err(ApiError::new(-2038, "Order amend (quantity increase) is not supported."));
        }
        if qty == order.terms.qty {
            return Err(ApiError::new(-2038, "The requested action would change no state; rejecting."));
        }
        if order.amends >= MAX_NUM_ORDER_AMENDS {
            return Err(ApiError::filter("MAX_NUM_ORDER_AMENDS"));
        }
        let new_id = match client_id(params, "newClientOrderId")? {
            Some(id) => id,
            None => self.random_id(),
        };
        let amend = Amend { qty: Some(qty), client_id: Some(new_id), ..Amend::default() };
        self.exchange.amend(now_ns, account, order.id, amend).map_err(refused)?;
        let after = self.exchange.order(account, order.id).ok_or_else(unknown)?;
        let (ps, qs) = (spec_scales(self, after).0, spec_scales(self, after).1);
        let mut out = Vec::with_capacity(480);
        let mut object = Object::new(&mut out);
        object.u64("transactTime", now_ns / 1_000_000).u64("executionId", 81_000_000_000 + now_ns % 1_000_000_000);
        let mut o = Object::new(object.key("amendedOrder"));
        o.str("symbol", self.streams.symbol(after.terms.market)).u64("orderId", after.id).i64("orderListId", -1);
        o.str("origClientOrderId", &order.terms.client_id).str("clientOrderId", &after.terms.client_id);
        o.padded8("price", after.terms.price, ps).padded8("qty", after.terms.qty, qs).padded8("executedQty", after.filled_qty, qs);
        o.padded8("preventedQty", after.prevented_qty, qs).str("quoteOrderQty", "0.00000000");
        o.amount("cumulativeQuoteQty", after.filled_cost, 8).str("status", status_text(after.status));
        o.str("timeInForce", tif_text(after.terms.time_in_force)).str("type", type_text(after));
        o.str("side", side_text(after.terms.side)).u64("workingTime", after.created_ns / 1_000_000);
        o.str("selfTradePreventionMode", stp_text(after.terms.self_trade)).end();
        object.end();
        Ok(out)
    }

    /// One row of `order.status`, `openOrders.status` and `allOrders`.
    pub(super) fn push_order(&self, out: &mut Vec<u8>, order: &Order) {
        let mut o = Object::new(out);
        o.str("symbol", self.streams.symbol(order.terms.market)).u64("orderId", order.id).i64("orderListId", -1);
        o.str("clientOrderId", &order.terms.client_id);
        self.push_terms(&mut o, order);
        o.str("stopPrice", "0.00000000").str("icebergQty", "0.00000000");
        o.u64("time", order.created_ns / 1_000_000).u64("updateTime", order.updated_ns / 1_000_000).bool("isWorking", true);
        o.u64("workingTime", order.created_ns / 1_000_000).str("selfTradePreventionMode", stp_text(order.terms.self_trade));
        if let Some(reason) = expiry_text(order) {
            o.str("expiryReason", reason);
        }
        o.end();
    }

    /// Refuses new orders in maintenance and while only cancels are taken.
    fn refuse_new(&self) -> Result<(), ApiError> {
        self.refuse_in_maintenance()?;
        if self.cancel_only { Err(ApiError::closed()) } else { Ok(()) }
    }

    fn refuse_in_maintenance(&self) -> Result<(), ApiError> {
        if self.maintenance { Err(ApiError::overloaded()) } else { Ok(()) }
    }
}

fn spec_scales(venue: &Binance, order: &Order) -> (u8, u8) {
    let spec = &venue.exchange.markets[order.terms.market].spec;
    (spec.price_scale, spec.qty_scale)
}
