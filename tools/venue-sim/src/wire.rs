//! What goes between the venues' state machines and the I/O shell.
//!
//! A venue is fed requests and ticks and leaves [`Output`]s behind. A market-data message is built once
//! and shared by reference count among its subscribers. The [`Outbox`] is where faults on messages
//! (loss, delay, duplication, damage, stalls) are applied, so that the dialects stay honest.

use std::collections::BTreeMap;

use crate::fault::Fault;

pub use axum::body::Bytes;
pub use axum::extract::ws::Utf8Bytes;

/// A WebSocket connection, numbered by the shell.
pub type ConnId = u64;

/// One WebSocket message.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Text.
    Text(Utf8Bytes),
    /// Binary.
    Binary(Bytes),
}

impl Payload {
    /// Text from bytes that a writer made; text that is not UTF-8 becomes empty (writers emit ASCII).
    pub fn text(bytes: Vec<u8>) -> Payload {
        Payload::Text(Utf8Bytes::try_from(bytes).unwrap_or_default())
    }
}

/// What a message is, for the faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Public data.
    Market,
    /// Answer to a request that places, cancels or amends.
    OrderAck,
    /// Answer to any other request.
    Ack,
    /// Report about an account's order.
    Execution,
    /// Anything else.
    Control,
}

/// What the shell is to do with a connection.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send a message.
    Send(Payload),
    /// Close with a WebSocket close frame.
    Close(u16, &'static str),
    /// Drop the TCP connection without a word.
    Abort,
    /// Stop reading and writing but keep the TCP connection.
    Freeze,
}

/// One thing for the shell to do.
#[derive(Clone, Debug)]
pub struct Output {
    /// To whom.
    pub conn: ConnId,
    /// What.
    pub action: Action,
    /// Not before this time (ns); 0 for at once.
    pub due_ns: u64,
}

/// The request line, headers and body of a REST call.
#[derive(Clone, Debug, Default)]
pub struct HttpRequest {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query without the question mark, as sent.
    pub query: String,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Body as sent.
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// A header's value, empty if absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// The answer to a REST call.
#[derive(Clone, Debug, Default)]
pub struct HttpReply {
    /// HTTP status.
    pub status: u16,
    /// Extra headers.
    pub headers: Vec<(&'static str, String)>,
    /// JSON body.
    pub body: Vec<u8>,
    /// Not before this time (ns); 0 for at once.
    pub due_ns: u64,
    /// Close the connection instead of answering.
    pub lost: bool,
}

impl HttpReply {
    /// A JSON answer.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> HttpReply {
        HttpReply { status, body: body.into(), ..HttpReply::default() }
    }
}

/// Message faults in force.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageFaults {
    /// Market data is held back until this time, ns.
    pub stalled_until_ns: u64,
    /// Execution reports are held back until this time, ns.
    pub silent_until_ns: u64,
    /// Execution reports still to be dropped.
    pub lost_executions: u32,
    /// Market-data messages still to be damaged.
    pub malformed: u32,
    /// Order answers still to be delayed, and by how much.
    pub delayed_acks: u32,
    /// Delay of those, ns.
    pub ack_delay_ns: u64,
    /// Order answers still to be sent twice.
    pub duplicated_acks: u32,
    /// Execution reports still to be sent twice.
    pub duplicated_executions: u32,
    /// Order answers still to be dropped.
    pub lost_acks: u32,
    /// Order answers still to be replaced by one that knows nothing.
    pub unknown_outcomes: u32,
}

fn take(count: &mut u32) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

/// Messages on their way out of a venue.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Faults in force.
    pub faults: MessageFaults,
    /// Market-data messages sent (one message to two subscribers counts two).
    pub market_messages: u64,
    ready: Vec<Output>,
    stalled: Vec<Output>,
    silenced: Vec<Output>,
}

impl Outbox {
    /// Sends a message, subject to the faults in force.
    pub fn send(&mut self, now_ns: u64, conn: ConnId, class: Class, payload: Payload) {
        let mut payload = payload;
        let mut due_ns = 0;
        let mut copies = 1;
        match class {
            Class::Market => {
                self.market_messages += 1;
                if take(&mut self.faults.malformed) {
                    payload = damaged(&payload);
                }
                // What was held back goes first, also once the stall is over.
                if now_ns < self.faults.stalled_until_ns || !self.stalled.is_empty() {
                    self.stalled.push(Output { conn, action: Action::Send(payload), due_ns: 0 });
                    return;
                }
            }
            Class::OrderAck => {
                if take(&mut self.faults.lost_acks) {
                    return;
                }
                if take(&mut self.faults.delayed_acks) {
                    due_ns = now_ns.saturating_add(self.faults.ack_delay_ns);
                }
                if take(&mut self.faults.duplicated_acks) {
                    copies = 2;
                }
            }
            Class::Execution => {
                if take(&mut self.faults.lost_executions) {
                    return;
                }
                if now_ns < self.faults.silent_until_ns || !self.silenced.is_empty() {
                    self.silenced.push(Output { conn, action: Action::Send(payload), due_ns: 0 });
                    return;
                }
                if take(&mut self.faults.duplicated_executions) {
                    copies = 2;
                }
            }
            Class::Ack | Class::Control => {}
        }
        for _ in 1..copies {
            self.ready.push(Output { conn, action: Action::Send(payload.clone()), due_ns });
        }
        self.ready.push(Output { conn, action: Action::Send(payload), due_ns });
    }

    /// Sends a message to several connections; the last one gets the message itself.
    pub fn send_all(&mut self, now_ns: u64, conns: impl Iterator<Item = ConnId>, class: Class, payload: Payload) {
        let mut conns = conns.peekable();
        let mut payload = Some(payload);
        while let Some(conn) = conns.next() {
            let next = if conns.peek().is_some() { payload.clone() } else { payload.take() };
            if let Some(next) = next {
                self.send(now_ns, conn, class, next);
            }
        }
    }

    /// True when the answer to an order request is to be replaced by one that knows nothing.
    pub fn take_unknown_outcome(&mut self) -> bool {
        take(&mut self.faults.unknown_outcomes)
    }

    /// Applies the order-answer faults to a REST reply.
    pub fn filter_reply(&mut self, now_ns: u64, reply: &mut HttpReply) {
        if self.take_unknown_outcome() {
            let page = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>";
            *reply = HttpReply::json(502, page);
        }
        if take(&mut self.faults.lost_acks) {
            reply.lost = true;
        }
        if take(&mut self.faults.delayed_acks) {
            reply.due_ns = now_ns.saturating_add(self.faults.ack_delay_ns);
        }
    }

    /// Puts a fault on messages in force; other faults are none of the outbox's business.
    pub fn inject(&mut self, now_ns: u64, fault: &Fault) {
        let faults = &mut self.faults;
        match *fault {
            Fault::StallStreams { ms } => faults.stalled_until_ns = now_ns.saturating_add(ms.saturating_mul(1_000_000)),
            Fault::SilencePrivate { ms } => faults.silent_until_ns = now_ns.saturating_add(ms.saturating_mul(1_000_000)),
            Fault::LoseExecutions { count } => faults.lost_executions = count,
            Fault::DelayAcks { ms, count } => {
                faults.ack_delay_ns = ms.saturating_mul(1_000_000);
                faults.delayed_acks = count;
            }
            Fault::DuplicateAcks { count } => faults.duplicated_acks = count,
            Fault::DuplicateExecutions { count } => faults.duplicated_executions = count,
            Fault::LoseAcks { count } => faults.lost_acks = count,
            Fault::UnknownOutcome { count } => faults.unknown_outcomes = count,
            Fault::MalformedJson { count } => faults.malformed = count,
            _ => {}
        }
    }

    /// Anything but a message.
    pub fn act(&mut self, conn: ConnId, action: Action) {
        self.ready.push(Output { conn, action, due_ns: 0 });
    }

    /// Releases held-back messages whose time has come.
    pub fn release(&mut self, now_ns: u64) {
        if !self.silenced.is_empty() && now_ns >= self.faults.silent_until_ns {
            self.ready.append(&mut self.silenced);
        }
        if !self.stalled.is_empty() && now_ns >= self.faults.stalled_until_ns {
            self.ready.append(&mut self.stalled);
        }
    }

    /// Hands out what is ready.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Output> {
        self.ready.drain(..)
    }

    /// True when nothing is ready.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }
}

/// The first two thirds of a message: text that is no JSON, or a cut binary message.
fn damaged(payload: &Payload) -> Payload {
    match payload {
        Payload::Text(text) => Payload::Text(text.as_str().chars().take(text.as_str().len() * 2 / 3).collect::<String>().into()),
        Payload::Binary(bytes) => Payload::Binary(bytes.slice(..bytes.len() * 2 / 3)),
    }
}

/// Appends an unsigned integer in decimal.
pub fn push_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a signed integer in decimal.
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a JSON string with its quotes, escaped.
pub fn push_json_str(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    // Nearly all text is names that need no escape.
    if text.bytes().all(|c| c >= 0x20 && c != b'"' && c != b'\\') {
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            c if (c as u32) < 0x20 => out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Decodes a query string or form body into pairs, in order.
pub fn parse_form(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name), percent_decode(value))
        })
        .collect()
}

/// Undoes percent-encoding and `+` for space; a broken escape stays as it is.
pub fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Request parameters by name, values as text: strings unquoted, numbers as printed.
pub type Params = BTreeMap<String, String>;

/// Reads the members of a JSON object as [`Params`]; arrays and objects keep their JSON text.
pub fn params_from_json(raw: &serde_json::value::RawValue) -> Option<Params> {
    let members: BTreeMap<String, &serde_json::value::RawValue> = serde_json::from_str(raw.get()).ok()?;
    members
        .into_iter()
        .map(|(name, value)| {
            let text = value.get();
            let text = if text.starts_with('"') { serde_json::from_str::<String>(text).ok()? } else { text.to_owned() };
            Some((name, text))
        })
        .collect()
}

/// RFC 3339 UTC text with microseconds, e.g. `2026-01-01T00:00:00.123456Z`.
pub fn push_rfc3339_us(out: &mut Vec<u8>, ns: u64) {
    let us = ns / 1_000;
    let (days, in_day) = (us / 86_400_000_000, us % 86_400_000_000);
    // Civil date from days since 1970-01-01 (proleptic Gregorian, years from 0000-03-01).
    let z = days as i64 + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let digits = |out: &mut Vec<u8>, value: u64, width: usize| {
        let mut buffer = [b'0'; 8];
        let mut value = value;
        for slot in buffer[..width].iter_mut().rev() {
            *slot = b'0' + (value % 10) as u8;
            value /= 10;
        }
        out.extend_from_slice(&buffer[..width]);
    };
    digits(out, year as u64, 4);
    out.push(b'-');
    digits(out, month as u64, 2);
    out.push(b'-');
    digits(out, day as u64, 2);
    out.push(b'T');
    let seconds = in_day / 1_000_000;
    digits(out, seconds / 3_600, 2);
    out.push(b':');
    digits(out, seconds / 60 % 60, 2);
    out.push(b':');
    digits(out, seconds % 60, 2);
    out.push(b'.');
    digits(out, in_day % 1_000_000, 6);
    out.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_the_civil_date() {
        for (ns, text) in [
            (1_767_225_600_123_456_789, "2026-01-01T00:00:00.123456Z"),
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_795_531_529_000_001_000, "2026-11-24T14:45:29.000001Z"),
        ] {
            let mut out = Vec::new();
            push_rfc3339_us(&mut out, ns);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }

    #[test]
    fn forms_decode_and_survive_broken_escapes() {
        assert_eq!(
            parse_form("a=1&b=x%20y+z&c=%zz&d"),
            [("a", "1"), ("b", "x y z"), ("c", "%zz"), ("d", "")].map(|(a, b)| (a.into(), b.into()))
        );
        assert_eq!(percent_decode("%"), "%");
        assert_eq!(percent_decode("%e2%82"), "\u{fffd}");
    }

    #[test]
    fn numbers_in_params_keep_their_print() {
        let raw: Box<serde_json::value::RawValue> =
            serde_json::from_str(r#"{"price":"1.50","qty":0.01250,"n":5e-05,"l":[1,"a"]}"#).expect("valid");
        let params = params_from_json(&raw).expect("object");
        assert_eq!(params["price"], "1.50");
        assert_eq!(params["qty"], "0.01250");
        assert_eq!(params["n"], "5e-05");
        assert_eq!(params["l"], r#"[1,"a"]"#);
    }

    fn text(output: &Output) -> &str {
        match &output.action {
            Action::Send(Payload::Text(text)) => text.as_str(),
            _ => "",
        }
    }

    #[test]
    fn faults_hit_only_their_class_and_only_as_often_as_asked() {
        let faults =
            MessageFaults { lost_acks: 1, duplicated_executions: 1, malformed: 1, delayed_acks: 1, ack_delay_ns: 5, ..Default::default() };
        let mut outbox = Outbox { faults, ..Outbox::default() };
        let payload = || Payload::text(b"{\"abcdef\":1}".to_vec());
        outbox.send(10, 1, Class::OrderAck, payload());
        assert!(outbox.is_empty(), "lost");
        outbox.send(10, 1, Class::OrderAck, payload());
        assert_eq!(outbox.drain().map(|o| o.due_ns).collect::<Vec<_>>(), [15]);
        outbox.send(10, 1, Class::Execution, payload());
        outbox.send(10, 1, Class::Execution, payload());
        assert_eq!(outbox.drain().count(), 3);
        outbox.send(10, 1, Class::Market, payload());
        outbox.send(10, 1, Class::Market, payload());
        let sent: Vec<String> = outbox.drain().map(|o| text(&o).to_owned()).collect();
        assert!(serde_json::from_str::<serde_json::Value>(&sent[0]).is_err());
        assert!(serde_json::from_str::<serde_json::Value>(&sent[1]).is_ok());
    }

    #[test]
    fn a_stall_holds_market_data_only_and_releases_it_in_order() {
        let mut outbox = Outbox::default();
        outbox.faults.stalled_until_ns = 100;
        outbox.send(10, 1, Class::Market, Payload::text(b"1".to_vec()));
        outbox.send(20, 1, Class::Ack, Payload::text(b"2".to_vec()));
        outbox.send(30, 1, Class::Market, Payload::text(b"3".to_vec()));
        assert_eq!(outbox.drain().map(|o| text(&o).to_owned()).collect::<Vec<_>>(), ["2"]);
        outbox.release(99);
        assert!(outbox.is_empty());
        outbox.send(100, 1, Class::Market, Payload::text(b"4".to_vec()));
        assert!(outbox.is_empty(), "a message after the stall does not overtake");
        outbox.release(100);
        assert_eq!(outbox.drain().map(|o| text(&o).to_owned()).collect::<Vec<_>>(), ["1", "3", "4"]);
    }

    #[test]
    fn a_silence_holds_execution_reports_only_and_lost_ones_stay_lost() {
        let mut outbox = Outbox::default();
        outbox.inject(0, &Fault::SilencePrivate { ms: 1 });
        outbox.inject(0, &Fault::LoseExecutions { count: 1 });
        for (class, name) in [(Class::Execution, "lost"), (Class::Execution, "late"), (Class::OrderAck, "ack"), (Class::Market, "market")] {
            outbox.send(10, 1, class, Payload::text(name.as_bytes().to_vec()));
        }
        assert_eq!(outbox.drain().map(|o| text(&o).to_owned()).collect::<Vec<_>>(), ["ack", "market"]);
        outbox.release(1_000_000);
        assert_eq!(outbox.drain().map(|o| text(&o).to_owned()).collect::<Vec<_>>(), ["late"]);
        outbox.send(1_000_001, 1, Class::Execution, Payload::text(b"prompt".to_vec()));
        assert_eq!(outbox.drain().count(), 1);
    }
}
