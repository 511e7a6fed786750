//! Kraken orders: place, amend, edit, cancel, with the venue's checks and error texts.
//!
//! WebSocket and REST requests are brought to one set of parameters (the WebSocket's names) first.

use super::Kraken;
use super::ids;
use super::limits::OrderAction;
use crate::book::{OrderId, Side};
use crate::decimal::{Amount, DecimalError, REQUEST_UNITS_MAX, parse_fixed, pow10};
use crate::exchange::{Amend, EndReason, NewOrder, Order, OrderKind, Refusal, SelfTrade, TimeInForce};
use crate::ledger::AccountId;
use crate::wire::Params;

/// Fields of `add_order`.
pub const ADD_FIELDS: &[&str] = &[
    "order_type",
    "side",
    "symbol",
    "order_qty",
    "limit_price",
    "time_in_force",
    "post_only",
    "cl_ord_id",
    "order_userref",
    "stp_type",
    "deadline",
    "validate",
    "token",
    "cash_order_qty",
    "fee_preference",
    "reduce_only",
    "margin",
    "limit_price_type",
    "sender_sub_id",
];

/// Longest life of a request's deadline.
const DEADLINE_MAX_NS: u64 = 60_000_000_000;

/// An order that was taken in.
pub struct Placed {
    /// Its id; `None` when it was only validated.
    pub id: Option<OrderId>,
    /// Client's id.
    pub client_id: String,
    /// Client's number.
    pub user_ref: i64,
}

fn refused(refusal: Refusal) -> String {
    match refusal {
        Refusal::InsufficientFunds => "EOrder:Insufficient funds",
        Refusal::WouldTake => "EOrder:Post only order",
        Refusal::DuplicateClientId => "EGeneral:Invalid arguments:cl_ord_id",
        Refusal::UnknownOrder => "EOrder:Unknown order",
        Refusal::NothingToAmend => "EOrder:No amendable parameters",
    }
    .to_owned()
}

fn invalid(name: &str) -> String {
    format!("EGeneral:Invalid arguments:{name}")
}

fn flag(params: &Params, name: &str) -> Result<bool, String> {
    match params.get(name).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(invalid(name)),
    }
}

/// Seconds since the order was made or last amended.
fn age_s(now_ns: u64, order: &Order) -> f64 {
    now_ns.saturating_sub(order.amended_ns) as f64 / 1e9
}

/// True for a UUID with dashes, 32 hex digits, or up to 18 printable ASCII characters.
fn is_client_id(text: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|c| c.is_ascii_hexdigit());
    let uuid = text.len() == 36
        && text.bytes().enumerate().all(|(at, c)| if [8, 13, 18, 23].contains(&at) { c == b'-' } else { c.is_ascii_hexdigit() });
    uuid || (text.len() == 32 && hex(text)) || ((1..=18).contains(&text.len()) && text.bytes().all(|c| (0x20..0x7f).contains(&c)))
}

impl Kraken {
    /// Nanoseconds since the epoch of an RFC 3339 time, checked as a deadline.
    fn check_deadline(now_ns: u64, params: &Params, earliest_ns: u64) -> Result<(), String> {
        let Some(text) = params.get("deadline") else { return Ok(()) };
        let at: jiff::Timestamp = text.parse().map_err(|_| invalid("deadline"))?;
        let at_ns = u64::try_from(at.as_nanosecond()).map_err(|_| invalid("deadline"))?;
        if at_ns < now_ns {
            return Err("EService:Deadline elapsed".into());
        }
        if at_ns < now_ns + earliest_ns / 2 || at_ns > now_ns + DEADLINE_MAX_NS + 1_000_000_000 {
            return Err(invalid("deadline"));
        }
        Ok(())
    }

    fn price(&self, market: usize, text: &str) -> Result<i64, String> {
        let spec = &self.exchange.markets[market].spec;
        match parse_fixed(text, spec.price_scale) {
            Ok(price) if price <= 0 || i128::from(price) > i128::from(REQUEST_UNITS_MAX) * pow10(spec.price_scale) => {
                Err("EOrder:Invalid price".into())
            }
            Ok(price) if price % spec.tick != 0 => Err("EOrder:Tick size check failed".into()),
            Ok(price) => Ok(price),
            Err(DecimalError::Precision) => Err("EOrder:Tick size check failed".into()),
            Err(DecimalError::Garbage | DecimalError::Overflow) => Err("EOrder:Invalid price".into()),
        }
    }

    fn qty(&self, market: usize, text: &str) -> Result<i64, String> {
        let spec = &self.exchange.markets[market].spec;
        let qty = parse_fixed(text, spec.qty_scale).map_err(|_| invalid("volume"))?;
        if qty <= 0 || qty > spec.qty_max {
            return Err(invalid("volume"));
        }
        if qty < spec.qty_min {
            return Err("EOrder:Order minimum not met".into());
        }
        if qty % spec.lot != 0 {
            return Err(invalid("volume"));
        }
        Ok(qty)
    }

    /// Checks the parameters of a new order. `Ok((order, validate_only))`.
    pub(super) fn new_order(
        &self,
        now_ns: u64,
        account: AccountId,
        market: usize,
        params: &Params,
        deadline_min_ns: u64,
    ) -> Result<(NewOrder, bool), String> {
        let get = |name: &str| params.get(name).map(String::as_str);
        let side = match get("side") {
            Some("buy") => Side::Buy,
            Some("sell") => Side::Sell,
            _ => return Err(invalid("side")),
        };
        let kind = match get("order_type") {
            Some("limit") => OrderKind::Limit,
            Some("market") => OrderKind::Market,
            _ => return Err(invalid("order_type")),
        };
        let time_in_force = match get("time_in_force").map(str::to_ascii_lowercase).as_deref() {
            None | Some("gtc") => TimeInForce::Gtc,
            Some("ioc") => TimeInForce::Ioc,
            Some("fok") => TimeInForce::Fok,
            Some(_) => return Err(invalid("time_in_force")),
        };
        let self_trade = match get("stp_type").map(|text| text.replace('-', "_")).as_deref() {
            None | Some("cancel_newest") => SelfTrade::EndTaker,
            Some("cancel_oldest") => SelfTrade::EndMaker,
            Some("cancel_both") => SelfTrade::EndBoth,
            Some(_) => return Err(invalid("stp_type")),
        };
        let client_id = get("cl_ord_id").unwrap_or("");
        if get("cl_ord_id").is_some_and(|text| !is_client_id(text)) {
            return Err(invalid("cl_ord_id"));
        }
        if get("cl_ord_id").is_some() && get("order_userref").is_some() {
            return Err("EGeneral:Invalid arguments".into());
        }
        let user_ref = match get("order_userref") {
            None => 0,
            Some(text) => i64::from(text.parse::<i32>().map_err(|_| invalid("order_userref"))?),
        };
        let post_only = flag(params, "post_only")?;
        if post_only && (kind == OrderKind::Market || time_in_force != TimeInForce::Gtc) {
            return Err("EGeneral:Invalid arguments".into());
        }
        Kraken::check_deadline(now_ns, params, deadline_min_ns)?;
        let spec = &self.exchange.markets[market].spec;
        let price = match (kind, get("limit_price")) {
            (OrderKind::Limit, Some(text)) => self.price(market, text)?,
            (OrderKind::Limit, None) => return Err("EOrder:Invalid price".into()),
            (OrderKind::Market, _) => 0,
        };
        let quote_qty = match get("cash_order_qty") {
            None => None,
            Some(text) if kind == OrderKind::Market && side == Side::Buy => Some(
                Amount::parse(text)
                    .ok()
                    .filter(|amount| amount.0 > 0 && *amount <= Amount::from_fixed(REQUEST_UNITS_MAX, 0))
                    .ok_or_else(|| invalid("cash_order_qty"))?,
            ),
            Some(_) => return Err(invalid("cash_order_qty")),
        };
        let qty = match (quote_qty, get("order_qty")) {
            (Some(_), None) => 0,
            (None, Some(text)) => self.qty(market, text)?,
            _ => return Err(invalid("volume")),
        };
        let reference = if kind == OrderKind::Limit { price } else { self.exchange.markets[market].day.last };
        let notional = quote_qty.unwrap_or_else(|| Amount::notional(reference, spec.price_scale, qty, spec.qty_scale));
        if notional < spec.notional_min {
            return Err("EOrder:Cost minimum not met".into());
        }
        let new = NewOrder {
            account,
            market,
            side,
            kind,
            time_in_force: if kind == OrderKind::Market { TimeInForce::Gtc } else { time_in_force },
            price,
            qty,
            quote_qty,
            post_only,
            client_id: client_id.to_owned(),
            user_ref,
            self_trade,
        };
        if !new.client_id.is_empty() && self.exchange.open_by_client_id(account, &new.client_id).is_some() {
            return Err(refused(Refusal::DuplicateClientId));
        }
        Ok((new, flag(params, "validate")?))
    }

    /// Places an order that passed [`Kraken::new_order`]. `charged` is false when the caller has charged it.
    pub(super) fn place(&mut self, now_ns: u64, new: NewOrder, validate: bool, charge: bool) -> Result<Placed, String> {
        self.refuse_when_closed(false)?;
        let (account, market) = (new.account, new.market);
        if charge && !self.limits.charge(now_ns, account, market, OrderAction::Add, 0.0) {
            return Err("EOrder:Rate limit exceeded".into());
        }
        if self.exchange.open_orders(account).filter(|order| order.terms.market == market).count() >= self.config.open_orders_max {
            return Err("EOrder:Orders limit exceeded".into());
        }
        if !self.exchange.can_afford(&new) {
            return Err(refused(Refusal::InsufficientFunds));
        }
        let (client_id, user_ref) = (new.client_id.clone(), new.user_ref);
        if validate {
            return Ok(Placed { id: None, client_id, user_ref });
        }
        let crosses = new.post_only && self.exchange.markets[market].book.crosses(new.side, Some(new.price));
        let id = if crosses {
            self.exchange.place_stillborn(now_ns, new, EndReason::PostOnly)
        } else {
            self.exchange.place(now_ns, new).map_err(refused)?
        };
        Ok(Placed { id: Some(id), client_id, user_ref })
    }

    /// The open order that `order_id` or `cl_ord_id` names.
    pub(super) fn named_open(&self, account: AccountId, order_id: Option<&str>, client_id: Option<&str>) -> Option<Order> {
        let order = match (order_id, client_id) {
            (Some(text), _) => self.exchange.order(account, ids::parse('O', text)?)?,
            (None, Some(client_id)) => self.exchange.open_by_client_id(account, client_id)?,
            (None, None) => return None,
        };
        order.status.is_open().then(|| order.clone())
    }

    /// Amends an order; returns the amend's id.
    pub(super) fn amend(&mut self, now_ns: u64, account: AccountId, params: &Params, deadline_min_ns: u64) -> Result<String, String> {
        let get = |name: &str| params.get(name).map(String::as_str);
        self.refuse_when_closed(false)?;
        Kraken::check_deadline(now_ns, params, deadline_min_ns)?;
        if get("order_id").is_some() == get("cl_ord_id").is_some() {
            return Err("EGeneral:Invalid arguments".into());
        }
        let order = self.named_open(account, get("order_id"), get("cl_ord_id")).ok_or("EOrder:Unknown order")?;
        let market = order.terms.market;
        if get("order_qty").is_none() && get("limit_price").is_none() {
            return Err("EOrder:No amendable parameters".into());
        }
        let qty = get("order_qty").map(|text| self.qty(market, text)).transpose()?;
        let price = get("limit_price").map(|text| self.price(market, text)).transpose()?;
        let spec = &self.exchange.markets[market].spec;
        let (new_qty, new_price) = (qty.unwrap_or(order.terms.qty), price.unwrap_or(order.terms.price));
        if Amount::notional(new_price, spec.price_scale, new_qty, spec.qty_scale) < spec.notional_min {
            return Err("EOrder:Cost minimum not met".into());
        }
        if !self.limits.charge(now_ns, account, market, OrderAction::Amend, age_s(now_ns, &order)) {
            return Err("EOrder:Rate limit exceeded".into());
        }
        let post_only = flag(params, "post_only")?;
        // A post-only order stays one: its amend into the book's other side is refused too.
        let post_only = post_only || order.terms.post_only;
        let amend = Amend { qty, price, client_id: None, post_only };
        self.exchange.amend(now_ns, account, order.id, amend).map_err(refused)?;
        self.next_amend += 1;
        Ok(ids::text('T', self.next_amend))
    }

    /// Edits an order the old way: cancels it and places a new one. Returns the new order.
    pub(super) fn edit(&mut self, now_ns: u64, account: AccountId, order: &Order, params: &Params) -> Result<Placed, String> {
        self.refuse_when_closed(false)?;
        let market = order.terms.market;
        let get = |name: &str| params.get(name).map(String::as_str);
        let mut new = order.terms.clone();
        new.qty = get("order_qty").map_or(Ok(order.open_qty()), |text| self.qty(market, text))?;
        new.price = get("limit_price").map_or(Ok(order.terms.price), |text| self.price(market, text))?;
        if params.contains_key("post_only") {
            new.post_only = flag(params, "post_only")?;
        }
        new.user_ref = match get("order_userref") {
            None => order.terms.user_ref,
            Some(text) => i64::from(text.parse::<i32>().map_err(|_| invalid("order_userref"))?),
        };
        new.client_id = String::new();
        if !self.limits.charge(now_ns, account, market, OrderAction::Edit, age_s(now_ns, order)) {
            return Err("EOrder:Rate limit exceeded".into());
        }
        self.exchange.cancel(now_ns, account, order.id, EndReason::User).map_err(refused)?;
        self.place(now_ns, new, false, false)
    }

    /// Cancels one order.
    pub(super) fn cancel(&mut self, now_ns: u64, account: AccountId, order: &Order) -> Result<(), String> {
        self.refuse_when_closed(true)?;
        if !self.limits.charge(now_ns, account, order.terms.market, OrderAction::Cancel, age_s(now_ns, order)) {
            return Err("EOrder:Rate limit exceeded".into());
        }
        self.exchange.cancel(now_ns, account, order.id, EndReason::User).map_err(refused).map(|_| ())
    }

    /// Cancels one order of a batch, which is carried out even over the limit.
    pub(super) fn cancel_in_batch(&mut self, now_ns: u64, account: AccountId, order: &Order) -> bool {
        let points = super::limits::cost(OrderAction::Cancel, age_s(now_ns, order));
        self.limits.add(now_ns, account, order.terms.market, points);
        self.exchange.cancel(now_ns, account, order.id, EndReason::User).is_ok()
    }

    /// Cancels all of an account's orders; returns how many.
    pub(super) fn cancel_all(&mut self, now_ns: u64, account: AccountId, reason: EndReason) -> usize {
        let open: Vec<(OrderId, usize)> = self.exchange.open_orders(account).map(|order| (order.id, order.terms.market)).collect();
        let mut markets: Vec<usize> = open.iter().map(|(_, market)| *market).collect();
        markets.dedup();
        for market in markets {
            self.limits.add(now_ns, account, market, 1.0);
        }
        open.into_iter().filter(|(id, _)| self.exchange.cancel(now_ns, account, *id, reason).is_ok()).count()
    }

    /// Refuses trading while the venue is in maintenance, or new orders while it only cancels.
    pub(super) fn refuse_when_closed(&self, is_cancel: bool) -> Result<(), String> {
        match self.system {
            "maintenance" => Err("EService:Unavailable".into()),
            "cancel_only" if !is_cancel => Err("EService:Market in cancel_only mode".into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_are_uuids_hex_or_short_text() {
        for good in ["6d1b345e-2821-40e2-ad83-4ecb18a06876", "6d1b345e282140e2ad834ecb18a06876", "p00010000002a", "a"] {
            assert!(is_client_id(good), "{good}");
        }
        for bad in ["", "6d1b345e-2821-40e2-ad83-4ecb18a0687", "nineteen-characters", "umlaut\u{e4}"] {
            assert!(!is_client_id(bad), "{bad}");
        }
    }
}
