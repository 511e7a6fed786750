//! Kraken WebSocket v2, private side: tokens, order methods, executions and balances.

use super::executions::{balance_records, balance_rows, envelope, push_time, records, snapshot_order, snapshot_trade};
use super::orders::{ADD_FIELDS, Placed};
use super::public_ws::Origin;
use super::{Kraken, PrivateFeed, PrivateSubscription, ids};
use crate::exchange::{EndReason, NewOrder, Order, OrderChange};
use crate::json::{Object, array};
use crate::ledger::AccountId;
use crate::wire::{Class, ConnId, Params, params_from_json};

/// WebSocket deadlines are at least this far ahead.
const DEADLINE_MIN_NS: u64 = 500_000_000;
const NS_PER_MS: u64 = 1_000_000;

impl Kraken {
    /// A fresh token for an account.
    pub(super) fn new_token(&mut self, now_ns: u64, account: AccountId) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let token: String = (0..43).map(|_| char::from(LETTERS[self.random.below(64) as usize])).collect();
        self.tokens.insert(token.clone(), (account, now_ns));
        token
    }

    /// The account of a request's token.
    fn token_account(&self, now_ns: u64, conn: ConnId, params: &Params) -> Result<AccountId, String> {
        let token = params.get("token").ok_or("EAPI:Invalid token")?;
        let (account, made_ns) = self.tokens.get(token).ok_or("EAPI:Invalid token")?;
        let in_use = self.connections.get(&conn).is_some_and(|connection| connection.tokens.contains(token));
        if !in_use && now_ns.saturating_sub(*made_ns) > self.config.token_life_ms * NS_PER_MS {
            return Err("ESession:Invalid session".into());
        }
        Ok(*account)
    }

    /// Subscribes to (or unsubscribes from) `executions` or `balances`.
    pub(super) fn private_subscription(&mut self, now_ns: u64, origin: &Origin, channel: &str, subscribing: bool, params: &Params) {
        let account = match self.token_account(now_ns, origin.conn, params) {
            Ok(account) => account,
            Err(error) => return self.fail(now_ns, origin, Class::Ack, &error, None),
        };
        let feed = if channel == "executions" { PrivateFeed::Executions } else { PrivateFeed::Balances };
        let Some(connection) = self.connections.get_mut(&origin.conn) else { return };
        if !connection.private {
            return self.fail(now_ns, origin, Class::Ack, "EGeneral:Permission denied", None);
        }
        if let Some(token) = params.get("token") {
            connection.tokens.insert(token.clone());
        }
        let slot = connection.private_feed(feed);
        match (subscribing, slot.is_some()) {
            (true, true) => return self.fail(now_ns, origin, Class::Ack, "Already subscribed", None),
            (false, false) => return self.fail(now_ns, origin, Class::Ack, "Subscription Not Found", None),
            (true, false) => *slot = Some(PrivateSubscription { account, sequence: 0 }),
            (false, true) => *slot = None,
        }
        let flag = |name: &str, default: bool| params.get(name).map_or(default, |text| text == "true");
        let mut result = Vec::new();
        let mut object = Object::new(&mut result);
        object.str("channel", channel);
        match feed {
            PrivateFeed::Executions => {
                object.bool("snap_orders", flag("snap_orders", true)).bool("snap_trades", flag("snap_trades", false));
                object.bool("order_status", flag("order_status", true)).bool("ratecounter", flag("ratecounter", false));
                if flag("ratecounter", false) {
                    object.u64("maxratecount", self.config.trading_threshold as u64);
                }
            }
            PrivateFeed::Balances => {
                object.bool("snapshot", flag("snapshot", true));
            }
        }
        object.end();
        self.succeed(now_ns, origin, Class::Ack, &result);
        if !subscribing {
            return;
        }
        let rows = match feed {
            PrivateFeed::Executions => self.execution_rows(account, flag("snap_orders", true), flag("snap_trades", false)),
            PrivateFeed::Balances => balance_rows(&self.exchange, account),
        };
        let wanted = match feed {
            PrivateFeed::Executions => flag("snap_orders", true) || flag("snap_trades", false),
            PrivateFeed::Balances => flag("snapshot", true),
        };
        if wanted {
            self.send_private(now_ns, origin.conn, feed, "snapshot", &rows);
        }
    }

    fn execution_rows(&self, account: AccountId, orders: bool, trades: bool) -> Vec<Vec<u8>> {
        let symbol = |order: &Order| self.names[order.terms.market].symbol.as_str();
        let mut rows = Vec::new();
        if orders {
            rows.extend(self.exchange.open_orders(account).map(|order| snapshot_order(&self.exchange, symbol(order), order)));
        }
        if trades {
            let fills = self.exchange.fills(account);
            for fill in &fills[fills.len().saturating_sub(50)..] {
                if let Some(order) = self.exchange.order(account, fill.order_id) {
                    rows.push(snapshot_trade(&self.exchange, symbol(order), order, fill));
                }
            }
        }
        rows
    }

    /// Sends records on a private channel, numbered.
    pub(super) fn send_private(&mut self, now_ns: u64, conn: ConnId, feed: PrivateFeed, kind: &str, records: &[Vec<u8>]) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let Some(subscription) = connection.private_feed(feed) else { return };
        subscription.sequence += 1;
        let channel = match feed {
            PrivateFeed::Executions => "executions",
            PrivateFeed::Balances => "balances",
        };
        let out = envelope(channel, kind, records, subscription.sequence);
        self.send(now_ns, conn, Class::Execution, out);
    }

    pub(super) fn private_subscribers(&self, account: AccountId, feed: PrivateFeed) -> Vec<ConnId> {
        self.connections
            .iter()
            .filter(|(_, connection)| {
                let subscription = match feed {
                    PrivateFeed::Executions => &connection.executions,
                    PrivateFeed::Balances => &connection.balances,
                };
                subscription.as_ref().is_some_and(|subscription| subscription.account == account)
            })
            .map(|(conn, _)| *conn)
            .collect()
    }

    /// Tells an account's subscribers what happened to an order.
    pub(super) fn report(&mut self, now_ns: u64, order: &Order, change: &OrderChange) {
        let account = order.terms.account;
        let executions = self.private_subscribers(account, PrivateFeed::Executions);
        if !executions.is_empty() {
            let records = records(&self.exchange, &self.names[order.terms.market].symbol, order, change);
            for record in records {
                for conn in &executions {
                    self.send_private(now_ns, *conn, PrivateFeed::Executions, "update", std::slice::from_ref(&record));
                }
            }
        }
        if let OrderChange::Fill(fill) = change {
            for record in balance_records(&self.exchange, fill) {
                for conn in self.private_subscribers(account, PrivateFeed::Balances) {
                    self.send_private(now_ns, conn, PrivateFeed::Balances, "update", std::slice::from_ref(&record));
                }
            }
        }
    }

    /// Handles an order method of a private connection.
    pub(super) fn order_request(&mut self, now_ns: u64, origin: &Origin, params: &Params) {
        let ack = Class::OrderAck;
        if self.take_rate_limit_fault() {
            return self.fail(now_ns, origin, ack, "EOrder:Rate limit exceeded", None);
        }
        let account = match self.token_account(now_ns, origin.conn, params) {
            Ok(account) => account,
            Err(error) => return self.fail(now_ns, origin, ack, &error, None),
        };
        let result = match origin.method.as_str() {
            "add_order" => self.add_order(now_ns, account, params),
            "amend_order" => self.amend(now_ns, account, params, DEADLINE_MIN_NS).map(|amend| {
                let mut out = Vec::new();
                let mut object = Object::new(&mut out);
                object.str("amend_id", &amend);
                for name in ["order_id", "cl_ord_id"] {
                    if let Some(text) = params.get(name) {
                        object.str(name, text);
                    }
                }
                object.end();
                out
            }),
            "edit_order" => self.edit_order(now_ns, account, params),
            "cancel_order" => return self.cancel_orders(now_ns, origin, account, params),
            "cancel_all" => self.refuse_when_closed(true).map(|()| {
                let count = self.cancel_all(now_ns, account, EndReason::User);
                count_result(count)
            }),
            "batch_cancel" => self.batch_cancel(now_ns, account, params),
            "batch_add" => self.batch_add(now_ns, account, params),
            "cancel_all_orders_after" => params
                .get("timeout")
                .and_then(|text| text.parse::<u64>().ok())
                .filter(|seconds| *seconds < 86_400)
                .ok_or_else(|| "EGeneral:Invalid arguments:timeout".to_owned())
                .map(|seconds| self.arm_dead_man(now_ns, account, seconds)),
            _ => Err("EGeneral:Unknown method".into()),
        };
        match result {
            Ok(result) => self.succeed(now_ns, origin, ack, &result),
            Err(error) => self.fail(now_ns, origin, ack, &error, None),
        }
    }

    fn market_of(&self, params: &Params) -> Result<usize, String> {
        let symbol = params.get("symbol").ok_or("EGeneral:Invalid arguments:symbol")?;
        self.names.iter().position(|names| names.symbol == *symbol).ok_or_else(|| format!("Currency pair not supported {symbol}"))
    }

    fn add_order(&mut self, now_ns: u64, account: AccountId, params: &Params) -> Result<Vec<u8>, String> {
        if let Some(unknown) = params.keys().find(|name| !ADD_FIELDS.contains(&name.as_str())) {
            return Err(format!("Unsupported field: '{unknown}' for the given msg type: add order"));
        }
        let market = self.market_of(params)?;
        let (new, validate) = self.new_order(now_ns, account, market, params, DEADLINE_MIN_NS)?;
        let placed = self.place(now_ns, new, validate, true)?;
        let mut out = Vec::new();
        push_placed(&mut out, &placed);
        Ok(out)
    }

    fn edit_order(&mut self, now_ns: u64, account: AccountId, params: &Params) -> Result<Vec<u8>, String> {
        let get = |name: &str| params.get(name).map(String::as_str);
        let order = self.named_open(account, get("order_id"), get("cl_ord_id")).ok_or("EOrder:Unknown order")?;
        let placed = self.edit(now_ns, account, &order, params)?;
        let mut out = Vec::new();
        Object::new(&mut out)
            .str("order_id", &placed.id.map_or_else(String::new, |id| ids::text('O', id)))
            .str("original_order_id", &ids::text('O', order.id))
            .end();
        Ok(out)
    }

    /// One answer per order that the request names, all with its `req_id`.
    fn cancel_orders(&mut self, now_ns: u64, origin: &Origin, account: AccountId, params: &Params) {
        let list = |name: &str| -> Vec<String> {
            let values: Vec<serde_json::Value> = params.get(name).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect()
        };
        let mut targets: Vec<(&str, String)> = Vec::new();
        for name in ["order_id", "cl_ord_id", "order_userref"] {
            targets.extend(list(name).into_iter().map(|text| (name, text)));
        }
        if targets.is_empty() {
            return self.fail(now_ns, origin, Class::OrderAck, "EGeneral:Invalid arguments", None);
        }
        for (name, text) in targets {
            let orders: Vec<Order> = match name {
                "order_id" => self.named_open(account, Some(&text), None).into_iter().collect(),
                "cl_ord_id" => self.named_open(account, None, Some(&text)).into_iter().collect(),
                _ => self.exchange.open_orders(account).filter(|o| o.terms.user_ref.to_string() == text).cloned().collect(),
            };
            if orders.is_empty() {
                self.fail(now_ns, origin, Class::OrderAck, "EOrder:Invalid order", None);
            }
            for order in orders {
                match self.cancel(now_ns, account, &order) {
                    Err(error) => self.fail(now_ns, origin, Class::OrderAck, &error, None),
                    Ok(()) => {
                        let mut result = Vec::new();
                        match name {
                            "cl_ord_id" => Object::new(&mut result).str("cl_ord_id", &text).end(),
                            _ => Object::new(&mut result).str("order_id", &ids::text('O', order.id)).end(),
                        }
                        self.succeed(now_ns, origin, Class::OrderAck, &result);
                    }
                }
            }
        }
    }

    /// `batch_cancel`: 2 to 50 orders; returns how many were cancelled.
    pub(super) fn batch_cancel(&mut self, now_ns: u64, account: AccountId, params: &Params) -> Result<Vec<u8>, String> {
        self.refuse_when_closed(true)?;
        let list = |name: &str| -> Result<Vec<String>, String> {
            params
                .get(name)
                .map_or(Ok(Vec::new()), |text| serde_json::from_str(text).map_err(|_| format!("EGeneral:Invalid arguments:{name}")))
        };
        let (by_id, by_client_id) = (list("orders")?, list("cl_ord_id")?);
        if !(2..=50).contains(&(by_id.len() + by_client_id.len())) {
            return Err("EGeneral:Invalid arguments:orders".into());
        }
        let orders: Vec<Order> = by_id
            .iter()
            .filter_map(|text| self.named_open(account, Some(text), None))
            .chain(by_client_id.iter().filter_map(|text| self.named_open(account, None, Some(text))))
            .collect();
        let count = orders.iter().filter(|order| self.cancel_in_batch(now_ns, account, order)).count();
        Ok(count_result(count))
    }

    fn batch_add(&mut self, now_ns: u64, account: AccountId, params: &Params) -> Result<Vec<u8>, String> {
        let market = self.market_of(params)?;
        let rows: Vec<&serde_json::value::RawValue> =
            params.get("orders").and_then(|text| serde_json::from_str(text).ok()).ok_or("EGeneral:Invalid arguments:orders")?;
        if !(2..=15).contains(&rows.len()) {
            return Err("EGeneral:Invalid arguments:orders".into());
        }
        let mut checked = Vec::with_capacity(rows.len());
        for row in rows {
            let mut fields = params_from_json(row).ok_or("EGeneral:Invalid arguments:orders")?;
            for name in ["deadline", "validate"] {
                if let Some(text) = params.get(name) {
                    fields.insert(name.into(), text.clone());
                }
            }
            if let Some(unknown) = fields.keys().find(|name| !ADD_FIELDS.contains(&name.as_str())) {
                return Err(format!("Unsupported field: '{unknown}' for the given msg type: batch add"));
            }
            checked.push(self.new_order(now_ns, account, market, &fields, DEADLINE_MIN_NS)?);
        }
        let placed = self.place_batch(now_ns, account, market, checked)?;
        let mut out = Vec::new();
        array(&mut out, &placed, |out, row| match row {
            Ok(placed) => push_placed(out, placed),
            Err(error) => Object::new(out).str("error", error).end(),
        });
        Ok(out)
    }

    /// Places the checked orders of a batch, which costs half of what they cost one by one.
    pub(super) fn place_batch(
        &mut self,
        now_ns: u64,
        account: AccountId,
        market: usize,
        checked: Vec<(NewOrder, bool)>,
    ) -> Result<Vec<Result<Placed, String>>, String> {
        self.limits.add(now_ns, account, market, checked.len() as f64 / 2.0);
        if self.limits.trading_counter(now_ns, account, market) > self.config.trading_threshold {
            return Err("EOrder:Rate limit exceeded".into());
        }
        Ok(checked.into_iter().map(|(new, validate)| self.place(now_ns, new, validate, false)).collect())
    }

    /// Arms (or with 0 disarms) an account's dead man's switch; returns the answer's `result`.
    pub(super) fn arm_dead_man(&mut self, now_ns: u64, account: AccountId, seconds: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        push_time(&mut object, "currentTime", now_ns);
        if seconds == 0 {
            self.dead_man.remove(&account);
            object.str("triggerTime", "0");
        } else {
            let at_ns = now_ns + seconds * 1_000 * NS_PER_MS;
            self.dead_man.insert(account, at_ns);
            push_time(&mut object, "triggerTime", at_ns);
        }
        object.end();
        out
    }
}

fn count_result(count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    Object::new(&mut out).u64("count", count as u64).end();
    out
}

fn push_placed(out: &mut Vec<u8>, placed: &Placed) {
    let mut object = Object::new(out);
    object.str("order_id", &placed.id.map_or_else(String::new, |id| ids::text('O', id)));
    if !placed.client_id.is_empty() {
        object.str("cl_ord_id", &placed.client_id);
    } else if placed.user_ref != 0 {
        object.i64("order_userref", placed.user_ref);
    }
    object.end();
}
