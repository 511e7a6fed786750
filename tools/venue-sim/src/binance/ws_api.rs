//! Binance WebSocket API: request envelope, session logon, user data subscriptions.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::api::{Method, Security};
use super::auth::{check_window, verify, ws_payload};
use super::errors::ApiError;
use super::{Binance, Connection, UserStream};
use crate::credentials::Secret;
use crate::json::{Object, array};
use crate::ledger::AccountId;
use crate::wire::{Class, ConnId, Params, Payload, params_from_json, push_u64};

/// A WebSocket API connection.
#[derive(Clone, Debug)]
pub struct Session {
    /// Client's address, for its weight.
    pub peer: IpAddr,
    /// When it connected, ms.
    pub connected_ms: u64,
    /// The account it logged on to.
    pub logon: Option<Logon>,
    /// Whether answers carry `rateLimits`.
    pub rate_limits: bool,
    /// The next user data subscription's id.
    pub next_subscription: u16,
}

/// A logged-on session.
#[derive(Clone, Debug)]
pub struct Logon {
    /// Its key.
    pub key: String,
    /// The account it opens.
    pub account: AccountId,
    /// When, ms.
    pub since_ms: u64,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    method: String,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// The outcome of a request before it is wrapped.
struct Answer {
    result: Result<Vec<u8>, ApiError>,
    class: Class,
    /// Report ORDERS limits of this account too.
    orders_of: Option<AccountId>,
}

impl Answer {
    fn plain(result: Result<Vec<u8>, ApiError>) -> Answer {
        Answer { result, class: Class::Ack, orders_of: None }
    }
}

impl Binance {
    /// Handles one request of a WebSocket API connection.
    pub(super) fn api_request(&mut self, now_ns: u64, conn: ConnId, text: &str) {
        let Some(Connection::Api(session)) = self.connections.get(&conn) else { return };
        let (peer, mut rate_limits) = (session.peer, session.rate_limits);
        let Ok(request) = serde_json::from_str::<Request<'_>>(text) else {
            let error = ApiError::new(-1135, "Invalid JSON request");
            self.answer(now_ns, conn, "null", peer, rate_limits, Answer::plain(Err(error)));
            return;
        };
        let id = request.id.map_or("null", RawValue::get).to_owned();
        let answer = match request.params.map_or(Some(Params::new()), params_from_json) {
            Some(params) => {
                // A request may switch the rate-limit report off (or on) for its own answer.
                rate_limits = params.get("returnRateLimits").map_or(rate_limits, |text| text == "true");
                self.api_method(now_ns, conn, peer, &request.method, &params)
            }
            None => Answer::plain(Err(ApiError::new(-1135, "Invalid JSON request"))),
        };
        self.answer(now_ns, conn, &id, peer, rate_limits, answer);
        self.publish(now_ns);
    }

    fn answer(&mut self, now_ns: u64, conn: ConnId, id: &str, peer: IpAddr, rate_limits: bool, answer: Answer) {
        let now_ms = now_ns / 1_000_000;
        let mut answer = answer;
        if answer.class == Class::OrderAck && self.outbox.take_unknown_outcome() {
            answer.result = Err(ApiError::unknown_outcome());
        }
        let mut out = Vec::with_capacity(512);
        let mut object = Object::new(&mut out);
        object.raw("id", id.as_bytes());
        match &answer.result {
            Ok(result) => object.u64("status", 200).raw("result", result),
            Err(error) => {
                object.u64("status", u64::from(error.status));
                error.push(object.key("error"));
                &mut object
            }
        };
        if rate_limits {
            self.limits.push_answer_rows(object.key("rateLimits"), now_ms, peer, answer.orders_of);
        }
        object.end();
        self.outbox.send(now_ns, conn, answer.class, Payload::text(out));
    }

    fn api_method(&mut self, now_ns: u64, conn: ConnId, peer: IpAddr, name: &str, params: &Params) -> Answer {
        let now_ms = now_ns / 1_000_000;
        if self.take_rate_limit_fault() {
            return Answer::plain(Err(self.limits.refusal(now_ms)));
        }
        if let Some(method) = Method::of_name(name) {
            return self.shared_method(now_ns, conn, peer, method, params);
        }
        if let Err(error) = self.limits.charge(now_ms, peer, 2) {
            return Answer::plain(Err(error));
        }
        Answer::plain(match name {
            "session.logon" => self.logon(now_ns, conn, params),
            "session.status" => Ok(self.session_status(now_ns, conn)),
            "session.logout" => {
                self.end_subscriptions(now_ns, conn, |stream| stream.by_logon);
                if let Some(Connection::Api(session)) = self.connections.get_mut(&conn) {
                    session.logon = None;
                }
                Ok(self.session_status(now_ns, conn))
            }
            "session.subscriptions" => {
                let mut out = Vec::new();
                array(&mut out, self.user_streams.iter().filter(|stream| stream.conn == conn), |out, stream| {
                    Object::new(out).u64("subscriptionId", u64::from(stream.id)).end();
                });
                Ok(out)
            }
            "userDataStream.subscribe" => match self.logged_on(conn) {
                Some(account) => self.subscribe_user_data(conn, account, true),
                None => Err(ApiError::key()),
            },
            "userDataStream.subscribe.signature" => {
                self.signed_account(now_ns, params).and_then(|account| self.subscribe_user_data(conn, account, false))
            }
            "userDataStream.unsubscribe" => self.unsubscribe_user_data(now_ns, conn, params),
            _ => Err(ApiError::new(-1104, format!("Unknown method '{name}'."))),
        })
    }

    fn shared_method(&mut self, now_ns: u64, conn: ConnId, peer: IpAddr, method: &Method, params: &Params) -> Answer {
        let now_ms = now_ns / 1_000_000;
        let class = if method.is_order { Class::OrderAck } else { Class::Ack };
        let mut orders_of = None;
        let mut result = match method.free_when_ok() {
            true => Ok(Vec::new()),
            false => self.limits.charge(now_ms, peer, method.weight(params)).map(|()| Vec::new()),
        };
        if result.is_ok() {
            let account = match method.security {
                Security::Public => Ok(None),
                Security::Signed if params.contains_key("apiKey") || params.contains_key("signature") => {
                    self.signed_account(now_ns, params).map(Some)
                }
                Security::Signed => match self.logged_on(conn) {
                    Some(account) => check_window(now_ns, params).map(|()| Some(account)),
                    None => Err(ApiError::key()),
                },
            };
            result = account.and_then(|account| {
                orders_of = account.filter(|_| method.reports_orders);
                self.call(now_ns, method, params, account)
            });
        }
        if result.is_err()
            && method.free_when_ok()
            && let Err(error) = self.limits.charge(now_ms, peer, method.weight(params))
        {
            result = Err(error);
        }
        Answer { result, class, orders_of }
    }

    fn logged_on(&self, conn: ConnId) -> Option<AccountId> {
        match self.connections.get(&conn) {
            Some(Connection::Api(session)) => session.logon.as_ref().map(|logon| logon.account),
            _ => None,
        }
    }

    /// The account of a request that carries its own key and signature.
    fn signed_account(&self, now_ns: u64, params: &Params) -> Result<AccountId, ApiError> {
        let (key, account) = self.key(params.get("apiKey").map_or("", String::as_str))?;
        let signature = params.get("signature").ok_or_else(|| ApiError::missing("signature"))?;
        check_window(now_ns, params)?;
        verify(&key, &ws_payload(params), signature)?;
        Ok(account)
    }

    fn logon(&mut self, now_ns: u64, conn: ConnId, params: &Params) -> Result<Vec<u8>, ApiError> {
        let (key, account) = self.key(params.get("apiKey").map_or("", String::as_str))?;
        if !matches!(key.secret, Secret::Ed25519(_)) {
            return Err(ApiError::new(-4056, "HMAC_SHA256 API key is not supported."));
        }
        self.signed_account(now_ns, params)?;
        if let Some(Connection::Api(session)) = self.connections.get_mut(&conn) {
            session.logon = Some(Logon { key: key.key, account, since_ms: now_ns / 1_000_000 });
        }
        Ok(self.session_status(now_ns, conn))
    }

    fn session_status(&self, now_ns: u64, conn: ConnId) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let mut object = Object::new(&mut out);
        if let Some(Connection::Api(session)) = self.connections.get(&conn) {
            match &session.logon {
                Some(logon) => object.str("apiKey", &logon.key).u64("authorizedSince", logon.since_ms),
                None => object.raw("apiKey", b"null").raw("authorizedSince", b"null"),
            };
            object.u64("connectedSince", session.connected_ms).bool("returnRateLimits", session.rate_limits);
        }
        object.u64("serverTime", now_ns / 1_000_000);
        object.bool("userDataStream", self.user_streams.iter().any(|stream| stream.conn == conn && stream.by_logon)).end();
        out
    }

    fn subscribe_user_data(&mut self, conn: ConnId, account: AccountId, by_logon: bool) -> Result<Vec<u8>, ApiError> {
        if self.user_streams.iter().any(|stream| stream.conn == conn && stream.account == account) {
            return Err(ApiError::new(-2035, "User Data Stream subscription already active."));
        }
        let Some(Connection::Api(session)) = self.connections.get_mut(&conn) else { return Err(ApiError::key()) };
        let id = session.next_subscription;
        session.next_subscription =
            id.checked_add(1).ok_or_else(|| ApiError::new(-2042, "Maximum subscription ID reached for this connection."))?;
        self.user_streams.push(UserStream { conn, account, id, by_logon });
        let mut out = Vec::new();
        Object::new(&mut out).u64("subscriptionId", u64::from(id)).end();
        Ok(out)
    }

    fn unsubscribe_user_data(&mut self, now_ns: u64, conn: ConnId, params: &Params) -> Result<Vec<u8>, ApiError> {
        let id = match params.get("subscriptionId") {
            None => None,
            Some(text) => Some(text.parse::<u16>().map_err(|_| ApiError::illegal("subscriptionId", "^[0-9]{1,5}$"))?),
        };
        if self.end_subscriptions(now_ns, conn, |stream| id.is_none_or(|id| stream.id == id)) == 0 {
            return Err(ApiError::new(-2036, "User Data Stream subscription not active."));
        }
        Ok(b"{}".to_vec())
    }

    /// Ends the subscriptions of a connection that `which` picks, with notice. Returns how many.
    fn end_subscriptions(&mut self, now_ns: u64, conn: ConnId, which: impl Fn(&UserStream) -> bool) -> usize {
        let ended: Vec<UserStream> = self.user_streams.iter().filter(|stream| stream.conn == conn && which(stream)).cloned().collect();
        for stream in &ended {
            let mut event = Vec::new();
            Object::new(&mut event).str("e", "eventStreamTerminated").u64("E", now_ns / 1_000_000).end();
            self.send_user_event(now_ns, stream, &event);
        }
        self.user_streams.retain(|stream| !(stream.conn == conn && which(stream)));
        ended.len()
    }

    /// Sends one user data event to one subscription.
    pub(super) fn send_user_event(&mut self, now_ns: u64, stream: &UserStream, event: &[u8]) {
        let mut out = Vec::with_capacity(event.len() + 40);
        let mut object = Object::new(&mut out);
        push_u64(object.key("subscriptionId"), u64::from(stream.id));
        object.raw("event", event).end();
        self.outbox.send(now_ns, stream.conn, Class::Execution, Payload::text(out));
    }
}
