//! Binance REST: `/api/v3/...`.

use std::net::IpAddr;

use super::Binance;
use super::api::{Method, Security};
use super::auth::{check_window, rest_payload, verify};
use super::errors::ApiError;
use crate::ledger::AccountId;
use crate::wire::{HttpReply, HttpRequest, Params, parse_form};

/// Requests without a known path get the venue's gateway answer.
const NOT_FOUND: &[u8] = b"{\"code\":-1000,\"msg\":\"Path not found.\"}";

impl Binance {
    /// Answers a REST call. Events that it causes are left in the outbox.
    pub(super) fn rest(&mut self, now_ns: u64, peer: IpAddr, request: &HttpRequest) -> HttpReply {
        let Some(method) = Method::of_rest(&request.method, &request.path) else {
            let status = if Method::is_rest_path(&request.path) { 405 } else { 404 };
            return HttpReply::json(status, NOT_FOUND);
        };
        let now_ms = now_ns / 1_000_000;
        let mut account = None;
        let result = self.rest_call(now_ns, peer, request, method, &mut account);
        let mut reply = match result {
            Ok(body) => HttpReply::json(200, body),
            Err(error) => {
                let mut out = Vec::new();
                // REST tells the waiting time in a header, not in the body.
                let retry = matches!(error.status, 418 | 429);
                let data = if retry { None } else { error.data.clone() };
                ApiError { data, ..error.clone() }.push(&mut out);
                let mut reply = HttpReply::json(error.status, out);
                if retry {
                    reply.headers.push(("Retry-After", (60 - now_ms / 1_000 % 60).to_string()));
                }
                reply
            }
        };
        reply.headers.push(("X-MBX-USED-WEIGHT-1M", self.limits.used_weight(now_ms, peer).to_string()));
        if let (Some(account), true) = (account, method.reports_orders) {
            let [ten_seconds, day] = self.limits.order_counts(now_ms, account);
            reply.headers.push(("X-MBX-ORDER-COUNT-10S", ten_seconds.to_string()));
            reply.headers.push(("X-MBX-ORDER-COUNT-1D", day.to_string()));
        }
        self.publish(now_ns);
        if method.is_order {
            self.outbox.filter_reply(now_ns, &mut reply);
        }
        reply
    }

    fn rest_call(
        &mut self,
        now_ns: u64,
        peer: IpAddr,
        request: &HttpRequest,
        method: &Method,
        account: &mut Option<AccountId>,
    ) -> Result<Vec<u8>, ApiError> {
        let now_ms = now_ns / 1_000_000;
        if self.take_rate_limit_fault() {
            return Err(self.limits.refusal(now_ms));
        }
        let body = std::str::from_utf8(&request.body).map_err(|_| ApiError::illegal("body", "UTF-8"))?;
        // Where query and body name the same parameter, the query wins.
        let mut params: Params = parse_form(body).into_iter().collect();
        params.extend(parse_form(&request.query));
        if !method.free_when_ok() {
            self.limits.charge(now_ms, peer, method.weight(&params))?;
        }
        let result = self.rest_authorised(now_ns, request, method, body, &params, account);
        if result.is_err() && method.free_when_ok() {
            self.limits.charge(now_ms, peer, method.weight(&params))?;
        }
        result
    }

    fn rest_authorised(
        &mut self,
        now_ns: u64,
        request: &HttpRequest,
        method: &Method,
        body: &str,
        params: &Params,
        account: &mut Option<AccountId>,
    ) -> Result<Vec<u8>, ApiError> {
        if method.security == Security::Signed {
            let (key, owner) = self.key(request.header("x-mbx-apikey"))?;
            let (payload, signature) = rest_payload(&request.query, body);
            let signature = signature.ok_or_else(|| ApiError::missing("signature"))?;
            check_window(now_ns, params)?;
            verify(&key, &payload, &signature)?;
            *account = Some(owner);
        }
        let mut params = params.clone();
        params.remove("signature");
        self.call(now_ns, method, &params, *account)
    }
}
