//! Binance's error codes and texts.

use crate::json::Object;

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status (also the ws-api `status`).
    pub status: u16,
    /// Venue's code.
    pub code: i64,
    /// Venue's text.
    pub msg: String,
    /// `data` member as JSON (ws-api and cancel-replace).
    pub data: Option<Vec<u8>>,
}

impl ApiError {
    /// A plain refusal (HTTP 400).
    pub fn new(code: i64, msg: impl Into<String>) -> ApiError {
        ApiError { status: 400, code, msg: msg.into(), data: None }
    }

    /// The `{"code","msg"[,"data"]}` object.
    pub fn push(&self, out: &mut Vec<u8>) {
        let mut object = Object::new(out);
        object.i64("code", self.code).str("msg", &self.msg);
        if let Some(data) = &self.data {
            object.raw("data", data);
        }
        object.end();
    }

    /// -1102.
    pub fn missing(name: &str) -> ApiError {
        ApiError::new(-1102, format!("Mandatory parameter '{name}' was not sent, was empty/null, or malformed."))
    }

    /// -1100.
    pub fn illegal(name: &str, range: &str) -> ApiError {
        ApiError::new(-1100, format!("Illegal characters found in parameter '{name}'; legal range is '{range}'."))
    }

    /// -1104.
    pub fn unread(read: usize, sent: usize) -> ApiError {
        ApiError::new(-1104, format!("Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'."))
    }

    /// -1013.
    pub fn filter(name: &str) -> ApiError {
        ApiError::new(-1013, format!("Filter failure: {name}"))
    }

    /// -1106.
    pub fn not_required(name: &str) -> ApiError {
        ApiError::new(-1106, format!("Parameter '{name}' sent when not required."))
    }

    /// -1111.
    pub fn precision(name: &str) -> ApiError {
        ApiError::new(-1111, format!("Parameter '{name}' has too much precision."))
    }

    /// -1121.
    pub fn symbol() -> ApiError {
        ApiError::new(-1121, "Invalid symbol.")
    }

    /// -2010, insufficient balance.
    pub fn balance() -> ApiError {
        ApiError::new(-2010, "Account has insufficient balance for requested action.")
    }

    /// -2010, post-only that crosses.
    pub fn would_take() -> ApiError {
        ApiError::new(-2010, "Order would immediately match and take.")
    }

    /// -2010, duplicate client id.
    pub fn duplicate() -> ApiError {
        ApiError::new(-2010, "Duplicate order sent.")
    }

    /// -2010, the symbol takes no orders.
    pub fn closed() -> ApiError {
        ApiError::new(-2010, "Market is closed.")
    }

    /// -2011.
    pub fn unknown_order() -> ApiError {
        ApiError::new(-2011, "Unknown order sent.")
    }

    /// -2013.
    pub fn no_such_order() -> ApiError {
        ApiError::new(-2013, "Order does not exist.")
    }

    /// -1022.
    pub fn signature() -> ApiError {
        ApiError::new(-1022, "Signature for this request is not valid.")
    }

    /// -2015.
    pub fn key() -> ApiError {
        ApiError { status: 401, ..ApiError::new(-2015, "Invalid API-key, IP, or permissions for action.") }
    }

    /// -2014.
    pub fn key_format() -> ApiError {
        ApiError { status: 401, ..ApiError::new(-2014, "API-key format invalid.") }
    }

    /// -1021, too old.
    pub fn outside_window() -> ApiError {
        ApiError::new(-1021, "Timestamp for this request is outside of the recvWindow.")
    }

    /// -1021, too new.
    pub fn ahead() -> ApiError {
        ApiError::new(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    }

    /// -1007.
    pub fn unknown_outcome() -> ApiError {
        ApiError {
            status: 504,
            ..ApiError::new(-1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown.")
        }
    }

    /// -1008.
    pub fn overloaded() -> ApiError {
        ApiError {
            status: 503,
            ..ApiError::new(-1008, "Server is currently overloaded with other requests. Please try again in a few minutes.")
        }
    }

    /// Too much request weight: 429, and 418 once banned.
    pub fn weight(limit: u32, now_ms: u64, until_ms: u64, banned: bool) -> ApiError {
        let msg = if banned {
            format!(
                "Way too much request weight used; IP banned until {until_ms}. Please use WebSocket Streams for live updates to avoid bans."
            )
        } else {
            format!(
                "Too much request weight used; current limit is {limit} request weight per 1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API."
            )
        };
        ApiError { status: if banned { 418 } else { 429 }, code: -1003, msg, data: Some(retry_data(now_ms, until_ms)) }
    }

    /// Too many orders.
    pub fn orders(limit: u32, interval: &str, now_ms: u64, until_ms: u64) -> ApiError {
        ApiError {
            status: 429,
            code: -1015,
            msg: format!("Too many new orders; current limit is {limit} orders per {interval}."),
            data: Some(retry_data(now_ms, until_ms)),
        }
    }
}

fn retry_data(now_ms: u64, until_ms: u64) -> Vec<u8> {
    let mut out = Vec::new();
    Object::new(&mut out).u64("serverTime", now_ms).u64("retryAfter", until_ms).end();
    out
}
