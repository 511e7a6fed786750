//! The connection after the upgrade: frames in, messages out, and the other way round.

use std::ops::Range;

use super::buffer::MessageBuffer;
use super::error::{EncodeError, WebSocketError, close_code};
use super::frame::{FrameHeader, MAX_CONTROL_PAYLOAD, MAX_SERVER_HEADER, Opcode, frame_header_len, mask_copy, mask_in_place, write_header};
use super::utf8::Utf8Stream;
use crate::wide::{wide, words};
use drivers::purpose::Purpose;

/// What a message's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Binary data.
    Binary,
}

impl Kind {
    fn opcode(self) -> Opcode {
        match self {
            Kind::Text => Opcode::Text,
            Kind::Binary => Opcode::Binary,
        }
    }
}

/// Who checks that text is UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Utf8Check {
    /// The socket, as RFC 6455 section 8.1 demands.
    #[default]
    Strict,
    /// The caller's own parser refuses anything that it does not expect: the socket does not look.
    LeftToCaller,
}

/// A whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Text or binary.
    pub kind: Kind,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// The peer's close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// The code, if the frame has one.
    pub code: Option<u16>,
    /// The reason, often empty.
    pub reason: &'a str,
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
    /// A fragment was taken that does not end its message.
    Progress,
    /// A whole message.
    Message(Message<'a>),
    /// A ping; the pong is pending.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The peer closes; our echo is pending if we had not closed ourselves. Everything after it is ignored.
    Close(Close<'a>),
    /// The connection is closed; input is ignored.
    Closed,
}

/// Counters; all monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebSocketStatistics {
    /// Messages received.
    pub messages_in: u64,
    /// Of these, messages that were not handed out where they lay.
    pub stitched: u64,
    /// Data frames written.
    pub frames_out: u64,
    /// Pings received.
    pub pings_in: u64,
    /// Pongs received.
    pub pongs_in: u64,
}

/// A payload of a control frame that waits to be written.
#[derive(Clone, Copy)]
struct Control {
    payload: [u8; MAX_CONTROL_PAYLOAD],
    len: usize,
}

impl Control {
    fn new(payload: &[u8]) -> Option<Control> {
        let mut control = Control { payload: [0; MAX_CONTROL_PAYLOAD], len: payload.len() };
        control.payload.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(control)
    }

    fn payload(&self) -> &[u8] {
        self.payload.get(..self.len).unwrap_or(&[])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    PeerClosed,
    Failed(WebSocketError),
}

/// The frame whose payload is being received.
#[derive(Clone, Copy, Debug)]
struct Current {
    header: FrameHeader,
    left: u64,
}

/// One WebSocket connection from the client's side.
pub struct WebSocket {
    state: State,
    utf8_check: Utf8Check,
    /// The beginning of a frame header that is cut.
    header: [u8; MAX_SERVER_HEADER],
    header_len: usize,
    current: Option<Current>,
    /// The kind of the message whose frames are being put together.
    assembling: Option<Kind>,
    utf8: Utf8Stream,
    pong: Option<Control>,
    ping: Option<Control>,
    close: Option<Control>,
    closing: bool,
    statistics: WebSocketStatistics,
}

impl std::fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocket")
            .field("state", &self.state)
            .field("closing", &self.closing)
            .field("statistics", &self.statistics)
            .finish_non_exhaustive()
    }
}

impl WebSocket {
    /// A connection whose upgrade is complete.
    pub fn new(utf8_check: Utf8Check) -> WebSocket {
        WebSocket {
            state: State::Open,
            utf8_check,
            header: [0; MAX_SERVER_HEADER],
            header_len: 0,
            current: None,
            assembling: None,
            utf8: Utf8Stream::default(),
            pong: None,
            ping: None,
            close: None,
            closing: false,
            statistics: WebSocketStatistics::default(),
        }
    }

    /// The counters.
    pub fn statistics(&self) -> WebSocketStatistics {
        self.statistics
    }

    /// True once both sides have closed and nothing is left to write: the TCP connection can go.
    pub fn is_closed(&self) -> bool {
        self.state != State::Open && self.closing && self.close.is_none()
    }

    /// Deals with at most one frame at the front of `input`; call it again with the rest while bytes are
    /// left. An error is final, and the close frame that tells the peer is pending.
    #[inline(always)]
    pub fn receive<'a>(&mut self, input: &'a [u8], buffer: &'a mut MessageBuffer) -> Result<Received<'a>, WebSocketError> {
        if self.state != State::Open {
            return self.receive_ended(input);
        }
        match self.receive_frame(input, buffer) {
            Ok(received) => Ok(received),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// What comes once the connection is over.
    #[cold]
    fn receive_ended(&self, input: &[u8]) -> Result<Received<'static>, WebSocketError> {
        match self.state {
            State::Failed(error) => Err(error),
            State::Open | State::PeerClosed => Ok(Received { consumed: input.len(), event: Event::Closed }),
        }
    }

    #[inline(always)]
    fn receive_frame<'a>(&mut self, input: &'a [u8], buffer: &'a mut MessageBuffer) -> Result<Received<'a>, WebSocketError> {
        if self.current.is_none()
            && self.header_len == 0
            && self.assembling.is_none()
            && let Some(header) = FrameHeader::parse(input)?
            && header.fin
            && let Ok(len) = usize::try_from(header.payload_len)
            && let Some(payload) = input.get(header.header_len..).and_then(|rest| rest.get(..len))
        {
            let kind = match header.opcode {
                Opcode::Text => Some(Kind::Text),
                Opcode::Binary => Some(Kind::Binary),
                _ => None,
            };
            if let Some(kind) = kind {
                if len > buffer.message_max() {
                    return Err(WebSocketError::TooBig { limit: buffer.message_max() });
                }
                if kind == Kind::Text && self.utf8_check == Utf8Check::Strict && !is_utf8(payload) {
                    return Err(WebSocketError::InvalidUtf8);
                }
                self.statistics.messages_in += 1;
                return Ok(Received { consumed: header.header_len + len, event: Event::Message(Message { kind, payload }) });
            }
        }
        self.receive_in_pieces(input, buffer)
    }

    /// The rare way: control frames, fragments, and frames that do not lie whole in the input.
    #[cold]
    #[inline(never)]
    fn receive_in_pieces<'a>(&mut self, input: &'a [u8], buffer: &'a mut MessageBuffer) -> Result<Received<'a>, WebSocketError> {
        let mut consumed = 0;
        let mut current = match self.current {
            Some(current) => current,
            None => {
                let (count, header) = self.receive_header(input)?;
                consumed += count;
                let Some(header) = header else {
                    return Ok(Received { consumed, event: Event::NeedMore });
                };
                self.begin_frame(header, buffer)?;
                Current { header, left: header.payload_len }
            }
        };
        let rest = input.get(consumed..).unwrap_or(&[]);
        let count = usize::try_from(current.left).unwrap_or(usize::MAX).min(rest.len());
        let piece = rest.get(..count).unwrap_or(&[]);
        consumed += count;
        current.left -= count as u64;
        if current.header.opcode.is_control() {
            buffer.push_control(piece);
        } else {
            if self.assembling == Some(Kind::Text) && self.utf8_check == Utf8Check::Strict && !self.utf8.push(piece) {
                return Err(WebSocketError::InvalidUtf8);
            }
            buffer.push(piece);
        }
        if current.left > 0 {
            self.current = Some(current);
            return Ok(Received { consumed, event: Event::NeedMore });
        }
        self.current = None;
        let event = match current.header.opcode {
            Opcode::Ping => self.ping(buffer.take_control()),
            Opcode::Pong => {
                self.statistics.pongs_in += 1;
                Event::Pong(buffer.take_control())
            }
            Opcode::Close => self.peer_close(buffer.take_control())?,
            Opcode::Text | Opcode::Binary | Opcode::Continuation => self.end_data_frame(current.header.fin, buffer)?,
        };
        Ok(Received { consumed, event })
    }

    /// Completes the header with bytes of the input; returns how many, and the header if it is whole.
    fn receive_header(&mut self, input: &[u8]) -> Result<(usize, Option<FrameHeader>), WebSocketError> {
        for (index, &byte) in input.iter().enumerate() {
            let Some(slot) = self.header.get_mut(self.header_len) else {
                return Err(WebSocketError::BadLength);
            };
            *slot = byte;
            self.header_len += 1;
            if let Some(header) = FrameHeader::parse(self.header.get(..self.header_len).unwrap_or(&[]))? {
                self.header_len = 0;
                return Ok((index + 1, Some(header)));
            }
        }
        Ok((input.len(), None))
    }

    /// RFC 6455 section 5.4, and the size limit before a byte of the payload is taken.
    fn begin_frame(&mut self, header: FrameHeader, buffer: &mut MessageBuffer) -> Result<(), WebSocketError> {
        let kind = match (header.opcode, self.assembling) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(()),
            (Opcode::Continuation, Some(kind)) => kind,
            (Opcode::Continuation, None) => return Err(WebSocketError::NothingToContinue),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(WebSocketError::InterruptedMessage),
            (Opcode::Text, None) => Kind::Text,
            (Opcode::Binary, None) => Kind::Binary,
        };
        let limit = buffer.message_max();
        if header.payload_len > (limit - buffer.len()) as u64 {
            return Err(WebSocketError::TooBig { limit });
        }
        if self.assembling.is_none() {
            self.utf8 = Utf8Stream::default();
            self.assembling = Some(kind);
        }
        Ok(())
    }

    fn end_data_frame<'a>(&mut self, fin: bool, buffer: &'a mut MessageBuffer) -> Result<Event<'a>, WebSocketError> {
        let Some(kind) = self.assembling else {
            return Err(WebSocketError::NothingToContinue);
        };
        if !fin {
            return Ok(Event::Progress);
        }
        if !self.utf8.is_complete() {
            return Err(WebSocketError::InvalidUtf8);
        }
        self.assembling = None;
        self.statistics.messages_in += 1;
        self.statistics.stitched += 1;
        Ok(Event::Message(Message { kind, payload: buffer.take() }))
    }

    /// RFC 6455 section 5.5.3: only the latest ping needs an answer.
    fn ping<'a>(&mut self, payload: &'a [u8]) -> Event<'a> {
        self.statistics.pings_in += 1;
        if !self.closing {
            self.pong = Control::new(payload);
        }
        Event::Ping(payload)
    }

    /// RFC 6455 sections 5.5.1 and 7.4.
    fn peer_close<'a>(&mut self, payload: &'a [u8]) -> Result<Event<'a>, WebSocketError> {
        let (code, reason) = match payload {
            [] => (None, &[][..]),
            [_] => return Err(WebSocketError::BadClose),
            &[high, low, ref reason @ ..] => (Some(u16::from_be_bytes([high, low])), reason),
        };
        if code.is_some_and(|code| !close_code::may_be_sent(code)) {
            return Err(WebSocketError::BadClose);
        }
        let reason = std::str::from_utf8(reason).map_err(|_| WebSocketError::InvalidUtf8)?;
        self.state = State::PeerClosed;
        self.pong = None;
        self.ping = None;
        if !self.closing {
            self.close = Control::new(payload.get(..2).unwrap_or(&[]));
            self.closing = true;
        }
        Ok(Event::Close(Close { code, reason }))
    }

    #[cold]
    fn fail(&mut self, error: WebSocketError) -> WebSocketError {
        self.state = State::Failed(error);
        self.pong = None;
        self.ping = None;
        if !self.closing {
            self.close = Control::new(&error.close_code().to_be_bytes());
            self.closing = true;
        }
        error
    }

    /// Writes a whole message as one frame at the front of `out`, copying and masking in one pass; returns
    /// the frame's length.
    #[inline]
    pub fn frame(&mut self, kind: Kind, mask: [u8; 4], payload: &[u8], out: &mut [u8]) -> Result<usize, EncodeError> {
        self.frame_for(Purpose::Send, kind, mask, payload, out)
    }

    /// [`WebSocket::frame`], for this purpose: a rehearsed frame is not counted.
    #[inline(always)]
    pub fn frame_for(&mut self, purpose: Purpose, kind: Kind, mask: [u8; 4], payload: &[u8], out: &mut [u8]) -> Result<usize, EncodeError> {
        if self.closing {
            return Err(EncodeError::Closing);
        }
        let length = write_frame(kind.opcode(), mask, payload, out)?;
        self.statistics.frames_out += purpose.count(1);
        Ok(length)
    }

    /// Turns the payload that the caller wrote to `out[payload]` into a frame, in place: it is masked where
    /// it lies, and the header ([`frame_header_len`] bytes) is put right before it. Returns where the frame
    /// lies in `out`.
    #[inline]
    pub fn frame_in_place(
        &mut self,
        kind: Kind,
        mask: [u8; 4],
        out: &mut [u8],
        payload: Range<usize>,
    ) -> Result<Range<usize>, EncodeError> {
        if self.closing {
            return Err(EncodeError::Closing);
        }
        let header_len = frame_header_len(payload.len());
        let needed = header_len + payload.len();
        let start = payload.start.checked_sub(header_len).ok_or(EncodeError::BufferTooSmall { needed })?;
        let frame = out.get_mut(start..).and_then(|out| out.get_mut(..needed)).ok_or(EncodeError::BufferTooSmall { needed })?;
        let (header, bytes) = frame.split_at_mut(header_len);
        mask_in_place(mask, bytes);
        write_header(kind.opcode(), bytes.len(), mask, header);
        self.statistics.frames_out += 1;
        Ok(start..start + needed)
    }

    /// Queues a ping with at most 125 bytes (a ping that still waits is replaced).
    pub fn queue_ping(&mut self, payload: &[u8]) -> Result<(), EncodeError> {
        if self.closing {
            return Err(EncodeError::Closing);
        }
        self.ping = Some(Control::new(payload).ok_or(EncodeError::ControlTooLong)?);
        Ok(())
    }

    /// Queues an unsolicited pong with at most 125 bytes (a one-way heartbeat; RFC 6455 section 5.5.3).
    pub fn queue_pong(&mut self, payload: &[u8]) -> Result<(), EncodeError> {
        if self.closing {
            return Err(EncodeError::Closing);
        }
        self.pong = Some(Control::new(payload).ok_or(EncodeError::ControlTooLong)?);
        Ok(())
    }

    /// Queues a close frame: no more data can be written. The peer's data is still received until its own
    /// close comes.
    pub fn queue_close(&mut self, code: u16, reason: &str) -> Result<(), EncodeError> {
        if self.closing {
            return Err(EncodeError::Closing);
        }
        if !close_code::may_be_sent(code) {
            return Err(EncodeError::BadCloseCode(code));
        }
        let mut control = Control::new(&code.to_be_bytes()).ok_or(EncodeError::ControlTooLong)?;
        control.len += reason.len();
        control.payload.get_mut(2..control.len).ok_or(EncodeError::ControlTooLong)?.copy_from_slice(reason.as_bytes());
        self.close = Some(control);
        self.closing = true;
        Ok(())
    }

    /// True if a control frame waits for [`WebSocket::write_pending`].
    #[inline]
    pub fn has_pending(&self) -> bool {
        self.pong.is_some() || self.ping.is_some() || self.close.is_some()
    }

    /// Writes one waiting control frame (pong, then ping, then close) to the front of `out`; returns its
    /// length, or 0 if none waits or it does not fit (131 bytes are enough for any).
    pub fn write_pending(&mut self, mask: [u8; 4], out: &mut [u8]) -> usize {
        let (opcode, waiting) = if self.pong.is_some() {
            (Opcode::Pong, &mut self.pong)
        } else if self.ping.is_some() {
            (Opcode::Ping, &mut self.ping)
        } else {
            (Opcode::Close, &mut self.close)
        };
        let Some(control) = waiting else {
            return 0;
        };
        match write_frame(opcode, mask, control.payload(), out) {
            Ok(length) => {
                *waiting = None;
                length
            }
            Err(_) => 0,
        }
    }
}

#[inline(always)]
fn write_frame(opcode: Opcode, mask: [u8; 4], payload: &[u8], out: &mut [u8]) -> Result<usize, EncodeError> {
    let header_len = frame_header_len(payload.len());
    let needed = header_len + payload.len();
    let frame = out.get_mut(..needed).ok_or(EncodeError::BufferTooSmall { needed })?;
    let (header, bytes) = frame.split_at_mut(header_len);
    write_header(opcode, payload.len(), mask, header);
    mask_copy(mask, payload, bytes);
    Ok(needed)
}
/// True if it is UTF-8. Venues' messages are nearly always ASCII, which is seen at a glance.
#[inline]
fn is_utf8(bytes: &[u8]) -> bool {
    is_ascii(bytes) || std::str::from_utf8(bytes).is_ok()
}

/// As the library's, which is made for finding out early that it is not.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    wide(bytes.len(), move || has_no_high_bit(bytes))
}

#[inline(always)]
fn has_no_high_bit(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<64>() else {
        return bytes.iter().fold(0, |bits, byte| bits | byte) & 0x80 == 0;
    };
    // The last line overlaps the one before.
    let mut lanes = words(last);
    for line in bytes.as_chunks::<64>().0 {
        for (lane, word) in lanes.iter_mut().zip(words(line)) {
            *lane |= word;
        }
    }
    lanes.iter().fold(0, |bits, lane| bits | lane) & 0x8080_8080_8080_8080 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_is_judged_as_the_library_does(text in ".{0,80}", at in any::<prop::sample::Index>(), byte: Option<u8>, ascii in "[ -~]{0,200}") {
            for text in [text, ascii] {
                let mut bytes = text.into_bytes();
                if let Some(byte) = byte && !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                prop_assert_eq!(is_ascii(&bytes), bytes.is_ascii());
                prop_assert_eq!(has_no_high_bit(&bytes), bytes.is_ascii(), "on any processor");
                prop_assert_eq!(is_utf8(&bytes), std::str::from_utf8(&bytes).is_ok());
            }
        }
    }
}
