//! Parsing a response, in pieces of any size.
//!
//! The head is copied into a buffer of fixed size until its empty line arrives, then parsed once. The
//! body's bytes are never copied: each piece is handed out as a slice of the input that it came in.

use super::error::HttpError;
use super::{is_field_value, is_token, list};

/// Interim (1xx) responses accepted before the final one.
const MAX_INTERIM: u8 = 8;
/// Longest chunk-size line, its extensions included.
const MAX_CHUNK_LINE: usize = 1024;
/// Hexadecimal digits of a chunk's size; more are refused before they can overflow.
const MAX_CHUNK_DIGITS: usize = 15;

/// Bounds on what a server may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Status line and headers, in bytes; also the bound on trailers.
    pub head_max: usize,
    /// Header fields.
    pub headers_max: usize,
    /// Body, in bytes.
    pub body_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { head_max: 16 * 1024, headers_max: 96, body_max: 64 * 1024 * 1024 }
    }
}

/// What kind of request the response answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// GET, POST, PUT, DELETE.
    #[default]
    Body,
    /// HEAD: no body, whatever the headers say.
    NoBody,
    /// A request with an Upgrade header: 101 is a final answer.
    Upgrade,
}

/// What one call of `receive` came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Bytes of the input that are dealt with.
    pub consumed: usize,
    /// What happened.
    pub event: Event<'a>,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// All input is taken; come back with more.
    NeedMore,
    /// An interim response (100, 102, 103) was skipped.
    Interim(u16),
    /// Status and headers are there to be read.
    Head,
    /// A piece of the body, never empty.
    Body(&'a [u8]),
    /// The response is complete; what follows in the input belongs to the next one, or to the protocol
    /// that was switched to. Call [`ResponseParser::expect`] before the next response.
    Complete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length {
        left: u64,
    },
    UntilClose,
    ChunkSize,
    ChunkData {
        left: u64,
    },
    ChunkEnd,
    Trailers,
    /// Everything is read; the next call says so.
    Ending,
    Complete,
    Failed(HttpError),
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

/// An incremental parser of responses; one per connection, reused for every response.
#[derive(Debug)]
pub struct ResponseParser {
    limits: Limits,
    expected: Expected,
    state: State,
    /// Status line and headers, up to and including the empty line.
    head: Vec<u8>,
    /// Name and value of each header.
    headers: Vec<(Span, Span)>,
    /// The line of a chunk's size or of a trailer that is being read.
    line: Vec<u8>,
    status: u16,
    reason: Span,
    keep_alive: bool,
    body_len: u64,
    trailer_len: usize,
    interim: u8,
}

impl Default for ResponseParser {
    fn default() -> Self {
        ResponseParser::new(Limits::default())
    }
}

impl ResponseParser {
    /// A parser that waits for the answer to an ordinary request. Allocates here and never again.
    pub fn new(limits: Limits) -> ResponseParser {
        ResponseParser {
            limits,
            expected: Expected::Body,
            state: State::Head,
            head: Vec::with_capacity(limits.head_max),
            headers: Vec::with_capacity(limits.headers_max),
            line: Vec::with_capacity(limits.head_max.max(MAX_CHUNK_LINE)),
            status: 0,
            reason: Span { start: 0, end: 0 },
            keep_alive: false,
            body_len: 0,
            trailer_len: 0,
            interim: 0,
        }
    }

    /// Forgets the previous response and waits for one to a request of this kind.
    pub fn expect(&mut self, expected: Expected) {
        self.expected = expected;
        self.interim = 0;
        self.begin();
    }

    fn begin(&mut self) {
        self.state = State::Head;
        self.head.clear();
        self.headers.clear();
        self.line.clear();
        self.status = 0;
        self.reason = Span { start: 0, end: 0 };
        self.keep_alive = false;
        self.body_len = 0;
        self.trailer_len = 0;
    }

    /// The status code; 0 before the head is complete.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase, often empty.
    pub fn reason(&self) -> &[u8] {
        self.bytes(self.reason)
    }

    /// The header fields, in the order in which they came.
    pub fn headers(&self) -> Headers<'_> {
        Headers { parser: self, next: 0 }
    }

    /// The first header of this name (case does not matter).
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// True if the connection can carry another request after this response.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive && self.state == State::Complete
    }

    /// Body bytes handed out so far.
    pub fn body_len(&self) -> u64 {
        self.body_len
    }

    fn bytes(&self, span: Span) -> &[u8] {
        self.head.get(span.start..span.end).unwrap_or(&[])
    }

    /// Takes a piece of the response from the front of `input`. Call it in a loop until it says
    /// [`Event::NeedMore`] or [`Event::Complete`] (also with an empty rest: the end of a response
    /// without a body needs no further input). An error is final.
    pub fn receive<'a>(&mut self, input: &'a [u8]) -> Result<Received<'a>, HttpError> {
        let result = self.step(input);
        if let Err(error) = &result {
            self.state = State::Failed(*error);
        }
        result
    }

    /// The connection ended. Completes a body that lasts until then; otherwise the response is truncated.
    pub fn end_of_input(&mut self) -> Result<(), HttpError> {
        match self.state {
            State::UntilClose | State::Ending | State::Complete => {
                self.state = State::Complete;
                self.keep_alive = false;
                Ok(())
            }
            State::Failed(error) => Err(error),
            _ => {
                self.state = State::Failed(HttpError::Truncated);
                Err(HttpError::Truncated)
            }
        }
    }

    fn step<'a>(&mut self, input: &'a [u8]) -> Result<Received<'a>, HttpError> {
        let mut consumed = 0;
        // The lines of the chunked coding say nothing to the caller: on with what follows them.
        while matches!(self.state, State::ChunkSize | State::ChunkEnd | State::Trailers) {
            let (count, whole) = self.read_chunk_line(input.get(consumed..).unwrap_or(&[]))?;
            consumed += count;
            if !whole {
                return Ok(Received { consumed, event: Event::NeedMore });
            }
        }
        let mut received = self.step_content(input.get(consumed..).unwrap_or(&[]))?;
        received.consumed += consumed;
        Ok(received)
    }

    fn step_content<'a>(&mut self, input: &'a [u8]) -> Result<Received<'a>, HttpError> {
        match self.state {
            State::Failed(error) => Err(error),
            State::Head => self.step_head(input),
            State::Length { left } => Ok(self.body(input, left, |left| if left == 0 { State::Ending } else { State::Length { left } })),
            State::ChunkData { left } => {
                Ok(self.body(input, left, |left| if left == 0 { State::ChunkEnd } else { State::ChunkData { left } }))
            }
            State::UntilClose => {
                let room = self.limits.body_max - self.body_len;
                if input.len() as u64 > room {
                    return Err(HttpError::BodyTooLarge { limit: self.limits.body_max });
                }
                Ok(self.body(input, room, |_| State::UntilClose))
            }
            State::ChunkSize | State::ChunkEnd | State::Trailers => Ok(Received { consumed: 0, event: Event::NeedMore }),
            State::Ending | State::Complete => {
                self.state = State::Complete;
                Ok(Received { consumed: 0, event: Event::Complete })
            }
        }
    }

    /// Hands out at most `left` bytes of body.
    fn body<'a>(&mut self, input: &'a [u8], left: u64, next: impl Fn(u64) -> State) -> Received<'a> {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let piece = input.get(..count).unwrap_or(&[]);
        self.body_len += count as u64;
        self.state = next(left - count as u64);
        let event = if piece.is_empty() { Event::NeedMore } else { Event::Body(piece) };
        Received { consumed: count, event }
    }

    fn step_head<'a>(&mut self, input: &'a [u8]) -> Result<Received<'a>, HttpError> {
        for (index, &byte) in input.iter().enumerate() {
            if self.head.len() >= self.limits.head_max {
                return Err(HttpError::HeadTooLarge { limit: self.limits.head_max });
            }
            self.head.push(byte);
            // The first bytes tell HTTP from anything else, before a whole head is waited for.
            const BEGIN: &[u8] = b"HTTP/1.";
            if let Some(&expected) = BEGIN.get(self.head.len() - 1)
                && byte != expected
            {
                let version = self.head.starts_with(b"HTTP/");
                return Err(if version { HttpError::UnsupportedVersion } else { HttpError::BadStatusLine });
            }
            if byte == b'\n' && self.head.ends_with(b"\r\n\r\n") {
                let event = self.head_complete()?;
                return Ok(Received { consumed: index + 1, event });
            }
        }
        Ok(Received { consumed: input.len(), event: Event::NeedMore })
    }

    fn head_complete(&mut self) -> Result<Event<'static>, HttpError> {
        let http_1_0 = self.parse_head()?;
        if (100..200).contains(&self.status) && self.status != 101 {
            let status = self.status;
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(HttpError::TooManyInterim { limit: MAX_INTERIM });
            }
            self.begin();
            return Ok(Event::Interim(status));
        }
        if self.status == 101 && self.expected != Expected::Upgrade {
            return Err(HttpError::UnexpectedUpgrade);
        }
        let (framing, self_delimiting) = self.framing(http_1_0)?;
        self.state = framing;
        self.keep_alive = self_delimiting && self.persistent(http_1_0);
        Ok(Event::Head)
    }

    /// Parses status line and headers; returns true for HTTP/1.0.
    fn parse_head(&mut self) -> Result<bool, HttpError> {
        let head = self.head.as_slice();
        let line_end = find_crlf(head, 0).ok_or(HttpError::BadStatusLine)?;
        let line = head.get(..line_end).unwrap_or(&[]);
        // HTTP/1.x SP 3DIGIT [SP reason]
        let &[b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b' ', a, b, c, ref rest @ ..] = line else {
            return Err(HttpError::BadStatusLine);
        };
        let digits = [a, b, c];
        if !minor.is_ascii_digit() || !digits.iter().all(u8::is_ascii_digit) || a == b'0' {
            return Err(HttpError::BadStatusLine);
        }
        if !(rest.is_empty() || rest.starts_with(b" ")) || !is_field_value(rest) {
            return Err(HttpError::BadStatusLine);
        }
        self.status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        self.reason = Span { start: line_end - rest.len() + usize::from(!rest.is_empty()), end: line_end };
        let mut at = line_end + 2;
        loop {
            let end = find_crlf(head, at).ok_or(HttpError::BadHeader("a line that does not end in CRLF"))?;
            if end == at {
                return Ok(minor == b'0');
            }
            if self.headers.len() >= self.limits.headers_max {
                return Err(HttpError::TooManyHeaders { limit: self.limits.headers_max });
            }
            self.headers.push(parse_field(head, at, end)?);
            at = end + 2;
        }
    }

    /// How long the body is (RFC 9112 section 6.3); false if only the end of the connection ends it.
    fn framing(&self, http_1_0: bool) -> Result<(State, bool), HttpError> {
        let length = self.content_length()?;
        let coding = self.transfer_coding()?;
        if self.expected == Expected::NoBody || matches!(self.status, 101 | 204 | 304) {
            return Ok((State::Ending, true));
        }
        match (coding, length) {
            (Some(_), Some(_)) => Err(HttpError::BadTransferEncoding("together with Content-Length")),
            (Some(_), None) if http_1_0 => Err(HttpError::BadTransferEncoding("in HTTP/1.0")),
            (Some(()), None) => Ok((State::ChunkSize, true)),
            (None, Some(length)) if length > self.limits.body_max => Err(HttpError::BodyTooLarge { limit: self.limits.body_max }),
            (None, Some(0)) => Ok((State::Ending, true)),
            (None, Some(left)) => Ok((State::Length { left }, true)),
            (None, None) => Ok((State::UntilClose, false)),
        }
    }

    /// One number; the same one several times is tolerated (RFC 9110 section 8.6).
    fn content_length(&self) -> Result<Option<u64>, HttpError> {
        let mut length = None;
        for (_, value) in self.headers().filter(|(name, _)| name.eq_ignore_ascii_case(b"content-length")) {
            for element in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                let number = parse_decimal(element).ok_or(HttpError::BadContentLength)?;
                if length.is_some_and(|length| length != number) {
                    return Err(HttpError::BadContentLength);
                }
                length = Some(number);
            }
        }
        Ok(length)
    }

    /// `Some` if the body is chunked. No other transfer coding is asked for, so none may come.
    fn transfer_coding(&self) -> Result<Option<()>, HttpError> {
        let mut chunked = None;
        for (_, value) in self.headers().filter(|(name, _)| name.eq_ignore_ascii_case(b"transfer-encoding")) {
            for coding in list(value) {
                if !coding.eq_ignore_ascii_case(b"chunked") {
                    return Err(HttpError::BadTransferEncoding("not chunked"));
                }
                if chunked.replace(()).is_some() {
                    return Err(HttpError::BadTransferEncoding("chunked twice"));
                }
            }
        }
        Ok(chunked)
    }

    /// RFC 9112 section 9.3.
    fn persistent(&self, http_1_0: bool) -> bool {
        let mut keep_alive = !http_1_0;
        for (_, value) in self.headers().filter(|(name, _)| name.eq_ignore_ascii_case(b"connection")) {
            for option in list(value) {
                if option.eq_ignore_ascii_case(b"close") {
                    return false;
                }
                keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        keep_alive
    }

    /// Reads a line of the chunked coding (RFC 9112 section 7.1); returns the bytes taken and whether the
    /// line is whole.
    fn read_chunk_line(&mut self, input: &[u8]) -> Result<(usize, bool), HttpError> {
        let limit = if self.state == State::Trailers { self.limits.head_max } else { MAX_CHUNK_LINE };
        for (index, &byte) in input.iter().enumerate() {
            if self.line.len() >= limit {
                return Err(HttpError::BadChunk("a line that is too long"));
            }
            self.line.push(byte);
            if self.state == State::ChunkEnd && !b"\r\n".starts_with(&self.line) {
                return Err(HttpError::BadChunk("data longer than the chunk's size"));
            }
            if byte == b'\n' {
                if !self.line.ends_with(b"\r\n") {
                    return Err(HttpError::BadChunk("a line that does not end in CRLF"));
                }
                self.chunk_line()?;
                self.line.clear();
                return Ok((index + 1, true));
            }
        }
        Ok((input.len(), false))
    }

    fn chunk_line(&mut self) -> Result<(), HttpError> {
        let line = self.line.strip_suffix(b"\r\n").unwrap_or(&[]);
        self.state = match self.state {
            State::ChunkEnd => State::ChunkSize,
            State::Trailers if line.is_empty() => State::Ending,
            State::Trailers => {
                self.trailer_len += self.line.len();
                if self.trailer_len > self.limits.head_max {
                    return Err(HttpError::HeadTooLarge { limit: self.limits.head_max });
                }
                parse_field(line, 0, line.len())?;
                State::Trailers
            }
            _ => match parse_chunk_size(line)? {
                0 => State::Trailers,
                size if size > self.limits.body_max - self.body_len => {
                    return Err(HttpError::BodyTooLarge { limit: self.limits.body_max });
                }
                left => State::ChunkData { left },
            },
        };
        Ok(())
    }
}

/// The header fields of a response: pairs of name and value.
#[derive(Debug)]
pub struct Headers<'a> {
    parser: &'a ResponseParser,
    next: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let &(name, value) = self.parser.headers.get(self.next)?;
        self.next += 1;
        Some((self.parser.bytes(name), self.parser.bytes(value)))
    }
}

/// Where the next CRLF begins, from `at` on. A CR or LF alone is not skipped: the line check finds it.
fn find_crlf(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.windows(2).position(|pair| pair == b"\r\n").map(|position| at + position)
}

/// `name ":" OWS value OWS` in `bytes[start..end]`.
fn parse_field(bytes: &[u8], start: usize, end: usize) -> Result<(Span, Span), HttpError> {
    let line = bytes.get(start..end).unwrap_or(&[]);
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(HttpError::BadHeader("a folded line"));
    }
    let colon = line.iter().position(|&byte| byte == b':').ok_or(HttpError::BadHeader("no colon"))?;
    let (name, value) = line.split_at(colon);
    let value = value.get(1..).unwrap_or(&[]);
    if !is_token(name) {
        return Err(HttpError::BadHeader("illegal characters in the name"));
    }
    if !is_field_value(value) {
        return Err(HttpError::BadHeader("control characters in the value"));
    }
    let leading = value.len() - value.trim_ascii_start().len();
    let trimmed = value.trim_ascii();
    let value_start = start + colon + 1 + leading;
    Ok((Span { start, end: start + colon }, Span { start: value_start, end: value_start + trimmed.len() }))
}

fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// `1*HEXDIG [";" extensions]`; extensions are ignored, as RFC 9112 section 7.1.1 demands.
fn parse_chunk_size(line: &[u8]) -> Result<u64, HttpError> {
    let count = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(count);
    if digits.is_empty() {
        return Err(HttpError::BadChunk("no size"));
    }
    if digits.len() > MAX_CHUNK_DIGITS {
        return Err(HttpError::BadChunk("a size out of range"));
    }
    if !(rest.is_empty() || rest.trim_ascii_start().starts_with(b";")) || !is_field_value(rest) {
        return Err(HttpError::BadChunk("a malformed size line"));
    }
    let size = digits.iter().fold(0, |size, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            _ => (digit | 0x20) - b'a' + 10,
        };
        size << 4 | u64::from(digit)
    });
    Ok(size)
}
