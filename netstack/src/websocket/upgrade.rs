//! The opening handshake (RFC 6455 section 4): from HTTP to WebSocket.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::UpgradeError;
use crate::http::{Event, Expected, Limits, Method, RequestWriter, ResponseParser, list};

/// Most bytes of a refusal's body that are kept.
pub const MAX_REFUSAL_BODY: usize = 1024;

/// The GUID of RFC 6455 section 1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_TEXT: usize = 24;
const ACCEPT_TEXT: usize = 28;

/// What to ask the server for.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRequest<'a> {
    /// The Host header: name, and port if it is not the scheme's own.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Further headers (User-Agent, authentication); not Sec-WebSocket-Extensions: none is supported.
    pub headers: &'a [(&'a str, &'a str)],
    /// Subprotocols, as one comma-separated list; empty for none.
    pub protocols: &'a str,
}

/// An upgrade under way: the request is written, the response is being read.
#[derive(Debug)]
pub struct Upgrade {
    parser: ResponseParser,
    accept: [u8; ACCEPT_TEXT],
    protocols: String,
    refusal_body: Vec<u8>,
}

/// What one call of [`Upgrade::receive`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpgradeProgress {
    /// Bytes of the input that are dealt with; what is behind them is WebSocket frames.
    pub consumed: usize,
    /// True once the connection is a WebSocket.
    pub complete: bool,
}

impl Upgrade {
    /// Writes the request into `out`; returns its length and the state that reads the answer. `nonce` is
    /// 16 bytes of the caller's randomness.
    pub fn request(request: &UpgradeRequest<'_>, nonce: [u8; 16], out: &mut [u8]) -> Result<(usize, Upgrade), UpgradeError> {
        let mut key = [0; KEY_TEXT];
        encode(&nonce, &mut key)?;
        let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        hash.update(&key);
        hash.update(ACCEPT_GUID);
        let mut accept = [0; ACCEPT_TEXT];
        encode(hash.finish().as_ref(), &mut accept)?;

        let mut writer = RequestWriter::new(out, Method::Get, request.target, request.host)?
            .header("Upgrade", b"websocket")?
            .header("Connection", b"Upgrade")?
            .header("Sec-WebSocket-Key", &key)?
            .header("Sec-WebSocket-Version", b"13")?;
        if !request.protocols.is_empty() {
            writer = writer.header("Sec-WebSocket-Protocol", request.protocols.as_bytes())?;
        }
        for (name, value) in request.headers {
            writer = writer.header(name, value.as_bytes())?;
        }
        let length = writer.finish(b"")?;
        let mut parser = ResponseParser::new(Limits { body_max: u64::from(u32::MAX), ..Limits::default() });
        parser.expect(Expected::Upgrade);
        let protocols = request.protocols.to_owned();
        Ok((length, Upgrade { parser, accept, protocols, refusal_body: Vec::new() }))
    }

    /// Takes a piece of the response. Either all input is consumed and more is needed, or the upgrade is
    /// complete and the rest of the input is frames. A refusal is reported once enough of its body is in.
    pub fn receive(&mut self, input: &[u8]) -> Result<UpgradeProgress, UpgradeError> {
        let mut consumed = 0;
        loop {
            let received = self.parser.receive(input.get(consumed..).unwrap_or(&[]))?;
            consumed += received.consumed;
            match received.event {
                Event::NeedMore => return Ok(UpgradeProgress { consumed, complete: false }),
                Event::Interim(_) => {}
                Event::Head if self.parser.status() == 101 => self.check()?,
                Event::Head => {}
                Event::Body(piece) => {
                    let room = MAX_REFUSAL_BODY - self.refusal_body.len();
                    self.refusal_body.extend_from_slice(piece.get(..room).unwrap_or(piece));
                    if self.refusal_body.len() == MAX_REFUSAL_BODY {
                        return Err(self.refusal());
                    }
                }
                Event::Complete if self.parser.status() == 101 => return Ok(UpgradeProgress { consumed, complete: true }),
                Event::Complete => return Err(self.refusal()),
            }
        }
    }

    /// The connection ended, or the caller's patience did: the error that is known by now.
    pub fn end_of_input(&mut self) -> UpgradeError {
        let ended = self.parser.end_of_input();
        match (self.parser.status(), ended) {
            (0 | 101, Err(error)) => UpgradeError::Http(error),
            (0 | 101, Ok(())) => UpgradeError::Http(crate::http::HttpError::Truncated),
            _ => self.refusal(),
        }
    }

    /// The subprotocol that the server chose.
    pub fn protocol(&self) -> Option<&str> {
        self.parser.header("Sec-WebSocket-Protocol").and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The response's head, for headers that a venue documents (request weights, server time).
    pub fn response(&self) -> &ResponseParser {
        &self.parser
    }

    fn refusal(&self) -> UpgradeError {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        UpgradeError::Refused {
            status: self.parser.status(),
            reason: text(self.parser.reason()),
            retry_after: self.parser.header("Retry-After").map(text),
            body: text(&self.refusal_body),
        }
    }

    /// RFC 6455 section 4.1, the six checks on the response.
    fn check(&self) -> Result<(), UpgradeError> {
        let header = |name: &str| {
            let mut values = self.parser.headers().filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value);
            (values.next(), values.next().is_some())
        };
        if !header("Upgrade").0.is_some_and(|value| value.eq_ignore_ascii_case(b"websocket")) {
            return Err(UpgradeError::BadResponse("Upgrade is not websocket"));
        }
        let connection = self.parser.headers().filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
        if !connection.flat_map(|(_, value)| list(value)).any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
            return Err(UpgradeError::BadResponse("Connection does not say Upgrade"));
        }
        match header("Sec-WebSocket-Accept") {
            (Some(value), false) if value == self.accept => {}
            (None, _) => return Err(UpgradeError::BadResponse("Sec-WebSocket-Accept is missing")),
            _ => return Err(UpgradeError::BadResponse("Sec-WebSocket-Accept is wrong")),
        }
        if header("Sec-WebSocket-Extensions").0.is_some_and(|value| list(value).next().is_some()) {
            return Err(UpgradeError::BadResponse("an extension that was not asked for"));
        }
        match header("Sec-WebSocket-Protocol") {
            (None, _) => Ok(()),
            (Some(value), false) if list(self.protocols.as_bytes()).any(|offered| offered == value) => Ok(()),
            _ => Err(UpgradeError::BadResponse("a subprotocol that was not asked for")),
        }
    }
}

fn encode(bytes: &[u8], out: &mut [u8]) -> Result<(), UpgradeError> {
    match STANDARD.encode_slice(bytes, out) {
        Ok(length) if length == out.len() => Ok(()),
        _ => Err(UpgradeError::BadResponse("the key does not encode")),
    }
}
