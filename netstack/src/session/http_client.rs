//! An HTTP/1.1 client over one kept-alive connection: one request at a time, response collected.
//!
//! For what is asked now and then (a token, a snapshot): it connects when there is something to ask, keeps
//! the connection for the next question, and makes a new one when the server has closed it.

use thiserror::Error;

use super::cause::CloseCause;
use super::channel::{Channel, Flow, Refusal};
use super::dial::{Dial, Peer};
use super::{Progress, SECOND_NS};
use crate::http::{Event, Expected, HttpError, Limits, Method, RequestError, RequestWriter, ResponseParser};
use crate::tls::{RecordBuffer, TlsConfig};
use crate::transport::{SocketId, SocketState, Transport};
use drivers::purpose::Purpose;

/// Bytes of a request given to the transport in one piece.
const PIECE: usize = 8 * 1024;
/// Time for an orderly end of a connection.
const LINGER_NS: u64 = SECOND_NS;

/// Whom to ask, and with how much patience.
#[derive(Clone)]
pub struct HttpClientConfig {
    /// DNS name or address literal; also SNI and Host header.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS, or `None` for plain text.
    pub tls: Option<TlsConfig>,
    /// From the request to the response's end, at most, in nanoseconds; connecting included.
    pub timeout_ns: u64,
    /// A connection that was not used for so long is not used again (servers close it about then).
    pub keep_alive_ns: u64,
    /// Longest request, in bytes.
    pub request_max: usize,
    /// Longest response body, in bytes.
    pub body_max: usize,
}

impl HttpClientConfig {
    /// A client of `host` with a patience of 10 s, over TLS if a configuration is given.
    pub fn new(host: &str, port: u16, tls: Option<TlsConfig>) -> HttpClientConfig {
        HttpClientConfig {
            host: host.to_owned(),
            port,
            tls,
            timeout_ns: 10 * SECOND_NS,
            keep_alive_ns: 30 * SECOND_NS,
            request_max: 64 * 1024,
            body_max: 16 << 20,
        }
    }

    fn peer(&self) -> Peer<'_> {
        Peer { host: &self.host, port: self.port, tls: self.tls.as_ref() }
    }
}

/// Why there is no response. A request that may have been carried out is not repeated by the client.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum HttpClientError {
    /// The previous request has no answer yet.
    #[error("a request is under way")]
    Busy,
    /// The request cannot be written.
    #[error("the request: {0}")]
    Request(#[from] RequestError),
    /// The connection failed.
    #[error("{0}")]
    Connection(#[from] CloseCause),
    /// The response is malformed or too long.
    #[error("{0}")]
    Response(#[from] HttpError),
    /// No response in time.
    #[error("no response within {timeout_ms} ms; it had come as far as {stage}")]
    TimedOut {
        /// The bound, in milliseconds.
        timeout_ms: u64,
        /// `resolving`, `connecting`, `TLS handshake`, `request`.
        stage: &'static str,
    },
}

/// Counters; all monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpClientStatistics {
    /// Requests given.
    pub requests: u64,
    /// Responses complete.
    pub responses: u64,
    /// Requests without a response.
    pub failures: u64,
    /// Connections begun.
    pub connects: u64,
    /// Requests sent again on a new connection, because the kept one was closed under them.
    pub repeats: u64,
}

/// What one call of [`HttpClient::poll`] came to.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpProgress {
    /// Nothing was asked.
    Idle,
    /// The answer is not complete.
    Pending,
    /// The answer is complete (said once): see [`HttpClient::response`].
    Complete,
    /// There is no answer (said once).
    Failed(HttpClientError),
}

/// A complete response.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    parser: &'a ResponseParser,
    /// The body, whatever its coding on the wire was.
    pub body: &'a [u8],
}

impl<'a> Response<'a> {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.parser.status()
    }

    /// The first header of this name (case does not matter).
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.parser.header(name)
    }
}

/// Where the client is with the request it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// So many bytes of the request are sent.
    Sending(usize),
    Waiting,
    Answered,
}

/// One kept-alive connection, and the request on it.
pub struct HttpClient {
    config: HttpClientConfig,
    /// `None`: no connection.
    dial: Option<Dial>,
    channel: Channel,
    records: RecordBuffer,
    parser: ResponseParser,
    request: Vec<u8>,
    /// The method may be repeated without harm (RFC 9110 section 9.2.2).
    idempotent: bool,
    asked: Asked,
    /// The connection has carried a response before.
    reused: bool,
    /// Bytes of the response have come.
    answered: bool,
    body: Vec<u8>,
    deadline_ns: u64,
    used_ns: u64,
    /// A connection that is closing in order, and how long it may take.
    closing: (Channel, u64),
    statistics: HttpClientStatistics,
}

impl std::fmt::Debug for HttpClient {
    /// Without the request: it may hold keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient")
            .field("host", &self.config.host)
            .field("dial", &self.dial)
            .field("asked", &self.asked)
            .field("statistics", &self.statistics)
            .finish_non_exhaustive()
    }
}

impl HttpClient {
    /// A client that connects with its first request.
    pub fn new(config: HttpClientConfig) -> HttpClient {
        let parser = ResponseParser::new(Limits { body_max: config.body_max as u64, ..Limits::default() });
        HttpClient {
            config,
            dial: None,
            channel: Channel::default(),
            records: RecordBuffer::new(),
            parser,
            request: Vec::new(),
            idempotent: true,
            asked: Asked::Nothing,
            reused: false,
            answered: false,
            body: Vec::new(),
            deadline_ns: 0,
            used_ns: 0,
            closing: (Channel::default(), 0),
            statistics: HttpClientStatistics::default(),
        }
    }

    /// Asks. The answer comes from [`HttpClient::poll`].
    ///
    /// # Errors
    /// If a request is under way, or this one is malformed or too long.
    pub fn request(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        now_ns: u64,
    ) -> Result<(), HttpClientError> {
        if matches!(self.asked, Asked::Sending(_) | Asked::Waiting) {
            return Err(HttpClientError::Busy);
        }
        self.request.resize(self.config.request_max, 0);
        let host = self.config.peer().host_header();
        let mut writer = RequestWriter::new(&mut self.request, method, target, &host)?;
        for (name, value) in headers {
            writer = writer.header(name, value.as_bytes())?;
        }
        let length = writer.finish(body)?;
        self.request.truncate(length);
        self.parser.expect(if method == Method::Head { Expected::NoBody } else { Expected::Body });
        self.idempotent = method != Method::Post;
        self.answered = false;
        self.body.clear();
        self.deadline_ns = now_ns.saturating_add(self.config.timeout_ns);
        self.asked = Asked::Sending(0);
        self.statistics.requests += 1;
        Ok(())
    }

    /// Does what can be done now.
    pub fn poll<T: Transport>(&mut self, transport: &mut T, now_ns: u64, unix_s: u64) -> HttpProgress {
        self.linger(transport, now_ns);
        if matches!(self.asked, Asked::Nothing | Asked::Answered) {
            self.keep(transport, now_ns);
            return HttpProgress::Idle;
        }
        if now_ns >= self.deadline_ns {
            let stage = self.dial.map_or("nothing", Dial::name);
            return self.failed(transport, HttpClientError::TimedOut { timeout_ms: self.config.timeout_ns / 1_000_000, stage });
        }
        // Each step either makes progress or ends the loop; the bound is for a peer that never stops sending.
        for _ in 0..64 {
            match self.step(transport, now_ns, unix_s) {
                Ok(Progress::Worked) if self.asked == Asked::Answered => {
                    self.statistics.responses += 1;
                    return HttpProgress::Complete;
                }
                Ok(Progress::Worked) => {}
                Ok(Progress::Idle) => break,
                Err(HttpClientError::Connection(_)) if self.may_repeat() => {
                    self.statistics.repeats += 1;
                    self.asked = Asked::Sending(0);
                    self.drop_connection(transport);
                }
                Err(error) => return self.failed(transport, error),
            }
        }
        HttpProgress::Pending
    }

    /// The kept connection was closed under the request, before an answer began.
    fn may_repeat(&self) -> bool {
        self.reused && !self.answered && (self.idempotent || matches!(self.asked, Asked::Sending(0)))
    }

    fn step<T: Transport>(&mut self, transport: &mut T, now_ns: u64, unix_s: u64) -> Result<Progress, HttpClientError> {
        let stage = match self.dial {
            None => {
                self.records.clear();
                self.reused = false;
                self.statistics.connects += 1;
                self.dial = Some(Dial::Resolving);
                Dial::Resolving
            }
            Some(stage) => stage,
        };
        if stage != Dial::Done {
            let (next, progress) = self.channel.dial(stage, self.config.peer(), transport, &mut self.records, now_ns, unix_s)?;
            self.dial = Some(next);
            return Ok(progress);
        }
        if let Asked::Sending(sent) = self.asked {
            if self.channel.state(transport) != SocketState::Open {
                self.channel.still_connected(transport)?;
            }
            return self.send(transport, sent);
        }
        self.receive(transport, now_ns)
    }

    fn send<T: Transport>(&mut self, transport: &mut T, sent: usize) -> Result<Progress, HttpClientError> {
        let rest = self.request.get(sent..).unwrap_or(&[]);
        let piece = rest.get(..PIECE).unwrap_or(rest);
        let result = self.channel.send(transport, piece.len(), Purpose::Send, |room| {
            room.copy_from_slice(piece);
            Some(piece.len())
        });
        match result {
            Ok(_) if piece.len() == rest.len() => self.asked = Asked::Waiting,
            Ok(_) => self.asked = Asked::Sending(sent + piece.len()),
            Err(Refusal::NoRoom | Refusal::Nothing) => return Ok(Progress::Idle),
            Err(Refusal::Seal(error)) => return Err(CloseCause::Seal(error).into()),
        }
        Ok(Progress::Worked)
    }

    fn receive<T: Transport>(&mut self, transport: &mut T, now_ns: u64) -> Result<Progress, HttpClientError> {
        let HttpClient { channel, records, parser, body, answered, .. } = self;
        let mut malformed = None;
        let mut complete = false;
        let intake = channel.receive(transport, records, |plaintext| {
            *answered = true;
            let mut consumed = 0;
            loop {
                let received = match parser.receive(plaintext.get(consumed..).unwrap_or(&[])) {
                    Ok(received) => received,
                    Err(error) => {
                        malformed = Some(error);
                        return Ok((consumed, Flow::Stop));
                    }
                };
                consumed += received.consumed;
                match received.event {
                    Event::NeedMore => return Ok((consumed, Flow::More)),
                    Event::Interim(_) | Event::Head => {}
                    Event::Body(piece) => body.extend_from_slice(piece),
                    Event::Complete => {
                        complete = true;
                        return Ok((consumed, Flow::Stop));
                    }
                }
            }
        })?;
        channel.flush(transport);
        if let Some(error) = malformed {
            return Err(error.into());
        }
        if !complete && intake.bytes > 0 && !intake.peer_closed {
            return Ok(Progress::Worked);
        }
        if !complete {
            let ended = match channel.still_connected(transport) {
                Ok(()) if intake.peer_closed => CloseCause::PeerClosed { orderly: true },
                Ok(()) => return Ok(Progress::Idle),
                Err(cause) => cause,
            };
            // The end of the connection may be the end of the body (only an orderly one, RFC 9112 section 9.8).
            let orderly = intake.peer_closed || (self.config.tls.is_none() && matches!(ended, CloseCause::PeerClosed { .. }));
            if !*answered {
                return Err(ended.into());
            }
            if !orderly {
                return Err(HttpError::Truncated.into());
            }
            parser.end_of_input()?;
        }
        self.asked = Asked::Answered;
        self.used_ns = now_ns;
        self.reused = true;
        if !self.parser.keep_alive() {
            self.finish(transport, now_ns);
        }
        Ok(Progress::Worked)
    }

    /// While nothing is asked: gives up a connection that the server closed, or that is too old to be used.
    fn keep<T: Transport>(&mut self, transport: &mut T, now_ns: u64) {
        if self.dial.is_none() {
            return;
        }
        let stale = now_ns.saturating_sub(self.used_ns) >= self.config.keep_alive_ns;
        if stale || self.channel.state(transport) != SocketState::Open {
            self.finish(transport, now_ns);
        }
    }

    /// Closes the connection in order, beside a new one if need be.
    fn finish<T: Transport>(&mut self, transport: &mut T, now_ns: u64) {
        self.channel.finish(transport);
        self.closing.0.release(transport);
        self.closing = (std::mem::take(&mut self.channel), now_ns.saturating_add(LINGER_NS));
        self.drop_connection(transport);
    }

    /// Gives the closing connection's socket back once it is closed.
    fn linger<T: Transport>(&mut self, transport: &mut T, now_ns: u64) {
        let (channel, deadline_ns) = &mut self.closing;
        if channel.socket().is_some() {
            channel.discard(transport);
            if now_ns >= *deadline_ns || matches!(channel.state(transport), SocketState::Closed(_)) {
                channel.release(transport);
            }
        }
    }

    fn failed<T: Transport>(&mut self, transport: &mut T, error: HttpClientError) -> HttpProgress {
        self.asked = Asked::Nothing;
        self.statistics.failures += 1;
        self.drop_connection(transport);
        HttpProgress::Failed(error)
    }

    fn drop_connection<T: Transport>(&mut self, transport: &mut T) {
        self.channel.release(transport);
        self.records.clear();
        self.dial = None;
        self.reused = false;
    }

    /// The last answer, until the next request.
    pub fn response(&self) -> Option<Response<'_>> {
        (self.asked == Asked::Answered).then_some(Response { parser: &self.parser, body: &self.body })
    }

    /// True if a connection is up.
    pub fn is_connected(&self) -> bool {
        self.dial == Some(Dial::Done)
    }

    /// True if this socket belongs to the client.
    pub fn owns(&self, socket: SocketId) -> bool {
        self.channel.socket() == Some(socket) || self.closing.0.socket() == Some(socket)
    }

    /// Closes the connection in order (poll on for a moment); a request under way gets no answer.
    pub fn close<T: Transport>(&mut self, transport: &mut T, now_ns: u64) {
        self.finish(transport, now_ns);
        self.asked = Asked::Nothing;
    }

    /// The counters.
    pub fn statistics(&self) -> HttpClientStatistics {
        self.statistics
    }
}
