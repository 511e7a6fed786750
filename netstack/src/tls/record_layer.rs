//! The established connection: records in and out, and the few handshake messages that may still come.
//!
//! One call of [`RecordLayer::receive`] deals with at most one record. A record that lies whole in the
//! input is opened where it lies; one that arrives in pieces is put together in the caller's
//! [`RecordBuffer`]. Control records (key updates, alerts) are only remembered when they fall due and are
//! sealed when [`RecordLayer::write_pending`] writes them out, so the order of sequence numbers is
//! always the order on the wire.

use std::ops::Range;

use zeroize::Zeroize;

use super::buffer::RecordBuffer;
use super::error::{Alert, SealError, TlsError};
use super::record::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, RECORD_HEADER, RecordKey, Suite, TrafficKeys, Version};
use drivers::purpose::Purpose;

/// Longest handshake message taken after the handshake; in practice a session ticket of a few hundred bytes.
pub const MAX_LATE_HANDSHAKE_MESSAGE: usize = 16 * 1024;
/// Tickets kept per connection; further ones are counted and dropped (RFC 8446 allows ignoring them).
pub const MAX_TICKETS: u32 = 8;
/// Empty records, warnings and key updates in a row before the peer is considered hostile (as in rustls).
const MAX_QUIET_RECORDS: u8 = 32;
/// Refused renegotiations (TLS 1.2) before the peer is considered hostile (as in rustls).
const MAX_RENEGOTIATION_REQUESTS: u8 = 1;

const HELLO_REQUEST: u8 = 0;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
const HANDSHAKE_HEADER: usize = 4;
const LEVEL_WARNING: u8 = 1;
const LEVEL_FATAL: u8 = 2;

/// Where new traffic keys come from and session tickets go to: rustls's key schedule in production,
/// known keys in tests.
pub trait KeySchedule {
    /// The next keys for sending, sequence number 0.
    fn next_send_keys(&mut self) -> Result<TrafficKeys, TlsError>;
    /// The next keys for receiving, sequence number 0.
    fn next_receive_keys(&mut self) -> Result<TrafficKeys, TlsError>;
    /// Takes the body of a NewSessionTicket message (RFC 8446 section 4.6.1).
    fn new_session_ticket(&mut self, body: &[u8]) -> Result<(), TlsError>;
}

/// What one call of `receive` came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Bytes of the input that are dealt with; call again with the rest while there is one.
    pub consumed: usize,
    /// What happened.
    pub event: Event<'a>,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// All input is taken (an unfinished record is kept); come back with more.
    NeedMore,
    /// A record was consumed that holds nothing for the caller (handshake, key update, ticket). There
    /// may be something to send now: see `has_pending`.
    Progress,
    /// The handshake is complete, the peer is who it says; plaintext may flow (once per connection).
    Established,
    /// Application data, never empty: one record's, where it was decrypted.
    Plaintext(&'a [u8]),
    /// The peer sent close_notify; our own is queued. Everything after it is ignored.
    PeerClosed,
}

/// Counters of an established connection; all monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordStatistics {
    /// Records opened.
    pub records_in: u64,
    /// Records sealed.
    pub records_out: u64,
    /// Key updates of the peer.
    pub key_updates_in: u64,
    /// Key updates of ours.
    pub key_updates_out: u64,
    /// Session tickets received.
    pub tickets: u32,
    /// Records that had to be put together from pieces.
    pub stitched: u64,
}

/// Which control records wait to be written, in the order in which they would be.
#[derive(Debug, Default)]
struct Due {
    key_update: bool,
    /// The peer asked for the key update: no application data may precede it (RFC 8446 section 4.6.3).
    key_update_first: bool,
    no_renegotiation: bool,
    close: Option<[u8; 2]>,
}

#[derive(Debug, PartialEq)]
enum State {
    Open,
    PeerClosed,
    Failed(TlsError),
}

/// Where a handled record's content lies.
enum Content {
    None,
    Plaintext(Range<usize>),
    Closed,
}

/// Key updates that are prepared when the connection is made: deriving keys allocates. A cipher's limit makes the peer
/// update about each 17 million records; further updates are derived when they come.
const UPDATES_AHEAD: usize = 16;

/// Keys of updates to come, in one direction. They never move: a move would leave its bytes behind where nothing wipes
/// them. So their memory is as large as it must be from the start, they are read where they lie, and once read they are
/// wiped there.
struct KeysAhead {
    keys: Vec<TrafficKeys>,
    /// How many, from the front, are used and wiped.
    used: usize,
}

impl KeysAhead {
    /// Derives them, as many as can be had: an error is one once the key is needed. TLS 1.2 has none.
    fn prepare(version: Version, mut next: impl FnMut() -> Result<TrafficKeys, TlsError>) -> KeysAhead {
        let count = if version == Version::Tls13 { UPDATES_AHEAD } else { 0 };
        let mut keys = Vec::with_capacity(count);
        while keys.len() < count
            && let Ok(derived) = next()
        {
            keys.push(derived);
        }
        KeysAhead { keys, used: 0 }
    }

    /// The next one, ready to use: of the keys that were prepared, or of keys derived now.
    fn next(&mut self, version: Version, derive: impl FnOnce() -> Result<TrafficKeys, TlsError>) -> Result<RecordKey, TlsError> {
        let Some(keys) = self.keys.get_mut(self.used) else {
            return RecordKey::new(version, &derive()?);
        };
        self.used += 1;
        let key = RecordKey::new(version, keys);
        keys.zeroize();
        key
    }
}

/// An established TLS connection, seen from the client.
pub struct RecordLayer<S> {
    version: Version,
    opener: RecordKey,
    sealer: RecordKey,
    schedule: S,
    send_ahead: KeysAhead,
    receive_ahead: KeysAhead,
    state: State,
    due: Due,
    sending_closed: bool,
    /// A handshake message that is split over records.
    split_handshake: Vec<u8>,
    quiet_records: u8,
    renegotiation_requests: u8,
    record_limit: u64,
    statistics: RecordStatistics,
}

impl<S> std::fmt::Debug for RecordLayer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordLayer")
            .field("version", &self.version)
            .field("suite", &self.sealer.suite())
            .field("state", &self.state)
            .field("statistics", &self.statistics)
            .finish_non_exhaustive()
    }
}

impl<S: KeySchedule> RecordLayer<S> {
    /// A connection whose handshake gave these keys.
    pub fn new(version: Version, send: &TrafficKeys, receive: &TrafficKeys, mut schedule: S) -> Result<RecordLayer<S>, TlsError> {
        let sealer = RecordKey::new(version, send)?;
        let send_ahead = KeysAhead::prepare(version, || schedule.next_send_keys());
        let receive_ahead = KeysAhead::prepare(version, || schedule.next_receive_keys());
        let record_limit = sealer.suite().record_limit();
        Ok(RecordLayer {
            version,
            opener: RecordKey::new(version, receive)?,
            sealer,
            schedule,
            send_ahead,
            receive_ahead,
            state: State::Open,
            due: Due::default(),
            sending_closed: false,
            split_handshake: Vec::with_capacity(MAX_LATE_HANDSHAKE_MESSAGE),
            quiet_records: 0,
            renegotiation_requests: 0,
            record_limit,
            statistics: RecordStatistics::default(),
        })
    }

    /// Lowers the number of records that one key may seal (default: the cipher's own limit). TLS 1.3
    /// updates its key at half of it; TLS 1.2 refuses to seal past it.
    pub fn set_record_limit(&mut self, limit: u64) {
        self.record_limit = limit.clamp(8, self.sealer.suite().record_limit());
    }

    /// The negotiated version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The cipher in use.
    pub fn suite(&self) -> Suite {
        self.sealer.suite()
    }

    /// The counters.
    pub fn statistics(&self) -> RecordStatistics {
        self.statistics
    }

    /// The key schedule.
    pub fn schedule(&self) -> &S {
        &self.schedule
    }

    /// Deals with at most one record at the front of `input` (see [`Received`]). An error is final: it is
    /// returned again by every later call.
    #[inline(always)]
    pub fn receive<'a>(&mut self, input: &'a mut [u8], buffer: &'a mut RecordBuffer) -> Result<Received<'a>, TlsError> {
        if !matches!(self.state, State::Open) {
            return self.receive_ended(input);
        }
        match self.receive_record(input, buffer) {
            Ok(received) => Ok(received),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// What comes once the connection is over.
    #[cold]
    fn receive_ended(&self, input: &[u8]) -> Result<Received<'static>, TlsError> {
        match &self.state {
            State::Failed(error) => Err(error.clone()),
            State::Open | State::PeerClosed => Ok(Received { consumed: input.len(), event: Event::PeerClosed }),
        }
    }

    #[inline(always)]
    fn receive_record<'a>(&mut self, input: &'a mut [u8], buffer: &'a mut RecordBuffer) -> Result<Received<'a>, TlsError> {
        buffer.set_unread(0..0);
        let whole = match input.first_chunk::<RECORD_HEADER>() {
            Some(header) if buffer.is_empty() => Some(self.record_len(header)?),
            _ => None,
        };
        if let Some(len) = whole
            && let Some(record) = input.get_mut(..len)
        {
            let content = self.open(record)?;
            return Ok(Received { consumed: len, event: event(content, input) });
        }
        self.receive_in_pieces(input, buffer)
    }

    /// The rare way: a record that does not lie whole in the input.
    #[cold]
    #[inline(never)]
    fn receive_in_pieces<'a>(&mut self, input: &'a [u8], buffer: &'a mut RecordBuffer) -> Result<Received<'a>, TlsError> {
        let mut consumed = buffer.fill(RECORD_HEADER, input);
        let Some(header) = buffer.held().first_chunk::<RECORD_HEADER>() else {
            return Ok(Received { consumed, event: Event::NeedMore });
        };
        let len = self.record_len(header)?;
        consumed += buffer.fill(len, input.get(consumed..).unwrap_or(&[]));
        if buffer.held().len() < len {
            return Ok(Received { consumed, event: Event::NeedMore });
        }
        buffer.clear();
        self.statistics.stitched += 1;
        let content = self.open(buffer.record_mut(len))?;
        if let Content::Plaintext(plaintext) = &content {
            buffer.set_unread(plaintext.clone());
        }
        Ok(Received { consumed, event: event(content, buffer.record_mut(len)) })
    }

    /// The length of the record with this header, header included, if it is one that may come now.
    #[inline]
    fn record_len(&self, header: &[u8; RECORD_HEADER]) -> Result<usize, TlsError> {
        let [content_type, major, minor, high, low] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        match (self.version, content_type) {
            (_, APPLICATION_DATA) | (Version::Tls12, ALERT | HANDSHAKE) => {}
            (_, CHANGE_CIPHER_SPEC) => return Err(TlsError::UnexpectedMessage("change_cipher_spec after the handshake")),
            (_, ALERT) => return Err(TlsError::UnexpectedMessage("an unprotected alert after the handshake")),
            (_, HANDSHAKE) => return Err(TlsError::UnexpectedMessage("an unprotected handshake record after the handshake")),
            _ => return Err(TlsError::UnexpectedMessage("an unknown record type")),
        }
        // TLS 1.3 authenticates the header as it came; TLS 1.2 only what the version must be.
        if major != 3 || (self.version == Version::Tls12 && minor != 3) {
            return Err(TlsError::UnexpectedMessage("a record of an unknown protocol version"));
        }
        let limit = self.version.max_ciphertext();
        if length > limit {
            return Err(TlsError::RecordOverflow { length, limit });
        }
        Ok(RECORD_HEADER + length)
    }

    #[inline(always)]
    fn open(&mut self, record: &mut [u8]) -> Result<Content, TlsError> {
        let opened = self.opener.open(record)?;
        self.statistics.records_in += 1;
        if opened.content_type == APPLICATION_DATA && self.split_handshake.is_empty() && !opened.plaintext.is_empty() {
            self.quiet_records = 0;
            return Ok(Content::Plaintext(opened.plaintext));
        }
        self.control(opened.content_type, record.get(opened.plaintext).unwrap_or(&[]))
    }

    /// Everything that is not application data.
    #[cold]
    fn control(&mut self, content_type: u8, content: &[u8]) -> Result<Content, TlsError> {
        if !self.split_handshake.is_empty() && content_type != HANDSHAKE {
            return Err(TlsError::UnexpectedMessage("a record between the parts of a handshake message"));
        }
        match content_type {
            APPLICATION_DATA => {
                self.quiet("too many empty records in a row")?;
                Ok(Content::None)
            }
            ALERT => self.alert(content),
            HANDSHAKE if content.is_empty() => Err(TlsError::UnexpectedMessage("an empty handshake record")),
            HANDSHAKE => self.handshake_record(content).map(|()| Content::None),
            CHANGE_CIPHER_SPEC => Err(TlsError::UnexpectedMessage("a protected change_cipher_spec")),
            _ => Err(TlsError::UnexpectedMessage("an unknown content type")),
        }
    }

    /// RFC 8446 section 6, RFC 5246 section 7.2.
    fn alert(&mut self, content: &[u8]) -> Result<Content, TlsError> {
        let &[level, description] = content else {
            return Err(TlsError::Malformed("an alert that is not two bytes long"));
        };
        if !matches!(level, LEVEL_WARNING | LEVEL_FATAL) {
            return Err(TlsError::IllegalParameter("an alert that is neither a warning nor fatal"));
        }
        let alert = Alert(description);
        match alert {
            Alert::CLOSE_NOTIFY => {
                self.state = State::PeerClosed;
                self.queue_close_notify();
                Ok(Content::Closed)
            }
            // TLS 1.3 has no other warning than that the peer gave its handshake up; TLS 1.2 has many.
            _ if level == LEVEL_WARNING && (self.version == Version::Tls12 || alert == Alert::USER_CANCELED) => self.warning(),
            _ => Err(TlsError::PeerAlert(alert)),
        }
    }

    /// A warning says nothing.
    fn warning(&mut self) -> Result<Content, TlsError> {
        self.quiet("too many warnings in a row")?;
        Ok(Content::None)
    }

    /// A record that carries no data costs the peer nothing, but an endless row of them is an attack. Data
    /// begins the count anew.
    fn quiet(&mut self, what: &'static str) -> Result<(), TlsError> {
        self.quiet_records += 1;
        if self.quiet_records > MAX_QUIET_RECORDS {
            return Err(TlsError::UnexpectedMessage(what));
        }
        Ok(())
    }

    /// Takes the content of a handshake record: part of a message, one, or several.
    fn handshake_record(&mut self, content: &[u8]) -> Result<(), TlsError> {
        if self.split_handshake.is_empty() {
            let used = self.handshake_messages(content)?;
            return self.keep_split(content.get(used..).unwrap_or(&[]));
        }
        self.keep_split(content)?;
        let mut joined = std::mem::take(&mut self.split_handshake);
        let used = self.handshake_messages(&joined);
        if let Ok(used) = used {
            joined.drain(..used.min(joined.len()));
        }
        self.split_handshake = joined;
        used.map(|_| ())
    }

    fn keep_split(&mut self, part: &[u8]) -> Result<(), TlsError> {
        // A message in progress may be as long as the limit and share its last record with the next.
        let limit = MAX_LATE_HANDSHAKE_MESSAGE + super::record::MAX_PLAINTEXT;
        if self.split_handshake.len() + part.len() > limit {
            return Err(TlsError::HandshakeTooLarge { limit: MAX_LATE_HANDSHAKE_MESSAGE });
        }
        self.split_handshake.extend_from_slice(part);
        Ok(())
    }

    /// Handles the whole messages at the front of `bytes`; returns how many bytes they are.
    fn handshake_messages(&mut self, bytes: &[u8]) -> Result<usize, TlsError> {
        let mut at = 0;
        while let Some((&[kind, a, b, c], rest)) = bytes.get(at..).and_then(|bytes| bytes.split_first_chunk::<HANDSHAKE_HEADER>()) {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > MAX_LATE_HANDSHAKE_MESSAGE {
                return Err(TlsError::HandshakeTooLarge { limit: MAX_LATE_HANDSHAKE_MESSAGE });
            }
            let Some(body) = rest.get(..length) else {
                break;
            };
            at += HANDSHAKE_HEADER + length;
            self.handshake_message(kind, body, at == bytes.len())?;
        }
        Ok(at)
    }

    fn handshake_message(&mut self, kind: u8, body: &[u8], last: bool) -> Result<(), TlsError> {
        match (self.version, kind) {
            (Version::Tls13, NEW_SESSION_TICKET) => {
                self.statistics.tickets = self.statistics.tickets.saturating_add(1);
                if self.statistics.tickets > MAX_TICKETS {
                    return Ok(());
                }
                self.schedule.new_session_ticket(body)
            }
            (Version::Tls13, KEY_UPDATE) => self.peer_key_update(body, last),
            (Version::Tls12, HELLO_REQUEST) if body.is_empty() => {
                self.renegotiation_requests += 1;
                if self.renegotiation_requests > MAX_RENEGOTIATION_REQUESTS {
                    return Err(TlsError::UnexpectedMessage("renegotiation requested again and again"));
                }
                self.due.no_renegotiation = !self.sending_closed;
                Ok(())
            }
            _ => Err(TlsError::UnexpectedMessage("a handshake message after the handshake")),
        }
    }

    /// RFC 8446 section 4.6.3. Keys must change on a record boundary (section 5.1).
    fn peer_key_update(&mut self, body: &[u8], last: bool) -> Result<(), TlsError> {
        let requested = match body {
            [0] => false,
            [1] => true,
            [_] => return Err(TlsError::IllegalParameter("a key update request that is neither 0 nor 1")),
            _ => return Err(TlsError::Malformed("a key update that is not one byte long")),
        };
        if !last {
            return Err(TlsError::UnexpectedMessage("data behind a key update in its record"));
        }
        self.quiet("too many key updates in a row")?;
        self.opener = self.receive_ahead.next(self.version, || self.schedule.next_receive_keys())?;
        self.statistics.key_updates_in += 1;
        if requested && !self.sending_closed {
            self.due.key_update = true;
            self.due.key_update_first = true;
        }
        Ok(())
    }

    #[cold]
    fn fail(&mut self, error: TlsError) -> TlsError {
        self.state = State::Failed(error.clone());
        self.due.key_update = false;
        self.due.key_update_first = false;
        self.due.no_renegotiation = false;
        self.due.close = match error.alert() {
            Some(alert) if !self.sending_closed => Some([LEVEL_FATAL, alert.0]),
            _ => None,
        };
        self.sending_closed = true;
        error
    }

    /// Queues our close_notify: no more data will be sealed.
    pub fn queue_close_notify(&mut self) {
        if !self.sending_closed {
            self.due.close = Some([LEVEL_WARNING, Alert::CLOSE_NOTIFY.0]);
            self.sending_closed = true;
        }
    }

    /// Queues an update of our sending key (TLS 1.3; without effect in 1.2 and after closing).
    pub fn queue_key_update(&mut self) {
        if self.version == Version::Tls13 && !self.sending_closed {
            self.due.key_update = true;
        }
    }

    /// True if control records wait for [`RecordLayer::write_pending`].
    #[inline]
    pub fn has_pending(&self) -> bool {
        self.due.key_update || self.due.no_renegotiation || self.due.close.is_some()
    }

    /// True if the connection should be replaced before long: TLS 1.2 cannot change its key, and more
    /// than half of the records that the key may seal are spent.
    pub fn wears_out(&self) -> bool {
        self.version == Version::Tls12 && self.sealer.sequence() >= self.record_limit / 2
    }

    /// Writes waiting control records into `out`; returns the bytes written. A record that does not fit
    /// stays queued ([`super::MAX_PENDING_RECORD`] bytes are enough for any).
    pub fn write_pending(&mut self, out: &mut [u8]) -> usize {
        let mut written = 0;
        if self.due.key_update {
            match self.seal_control(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0], out) {
                Some(length) => written += length,
                None => return written,
            }
            self.due.key_update = false;
            self.due.key_update_first = false;
            match self.send_ahead.next(self.version, || self.schedule.next_send_keys()) {
                Ok(sealer) => self.sealer = sealer,
                // The peer expects the new key now; nothing can be sent any more, not even an alert.
                Err(error) => {
                    self.fail(error);
                    self.due.close = None;
                    return written;
                }
            }
            self.statistics.key_updates_out += 1;
        }
        if self.due.no_renegotiation {
            match self.seal_control(ALERT, &[LEVEL_WARNING, Alert::NO_RENEGOTIATION.0], out.get_mut(written..).unwrap_or(&mut [])) {
                Some(length) => written += length,
                None => return written,
            }
            self.due.no_renegotiation = false;
        }
        if let Some(alert) = self.due.close {
            match self.seal_control(ALERT, &alert, out.get_mut(written..).unwrap_or(&mut [])) {
                Some(length) => written += length,
                None => return written,
            }
            self.due.close = None;
        }
        written
    }

    /// Seals a control record; `None` if `out` is too small.
    fn seal_control(&mut self, content_type: u8, content: &[u8], out: &mut [u8]) -> Option<usize> {
        let length = self.sealer.seal(content_type, content, out).ok()?;
        self.statistics.records_out += 1;
        Some(length)
    }

    /// Bytes that sealing puts before the plaintext (5, or 13 for AES-GCM in TLS 1.2).
    #[inline]
    pub fn header_room(&self) -> usize {
        self.sealer.header_room()
    }

    /// Bytes that sealing puts behind the plaintext (17 in TLS 1.3, 16 in 1.2).
    #[inline]
    pub fn trailer_room(&self) -> usize {
        self.sealer.trailer_room()
    }

    /// Seals `plaintext` (at most 16384 bytes) as one record at the front of `out`: copied there, then sealed where it
    /// lies. Returns the record's length.
    #[inline]
    pub fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        self.may_seal()?;
        let length = self.sealer.seal(APPLICATION_DATA, plaintext, out)?;
        self.sealed(Purpose::Send);
        Ok(length)
    }

    /// Seals the plaintext that lies in `out[plaintext]` where it lies, header before and trailer behind;
    /// returns where the record lies.
    #[inline(always)]
    pub fn seal_in_place(&mut self, purpose: Purpose, out: &mut [u8], plaintext: Range<usize>) -> Result<Range<usize>, SealError> {
        self.may_seal()?;
        let record = self.sealer.seal_in_place(purpose, APPLICATION_DATA, out, plaintext)?;
        self.sealed(purpose);
        Ok(record)
    }

    #[inline(always)]
    fn may_seal(&self) -> Result<(), SealError> {
        if self.sending_closed {
            return Err(SealError::Closed);
        }
        if self.due.key_update_first {
            return Err(SealError::PendingFirst);
        }
        // Four records are kept back for control: a key update, a warning, an alert, a close_notify.
        if self.sealer.sequence() >= self.record_limit - 4 {
            return Err(match self.version {
                Version::Tls13 => SealError::PendingFirst,
                Version::Tls12 => SealError::KeyExhausted,
            });
        }
        Ok(())
    }

    #[inline(always)]
    fn sealed(&mut self, purpose: Purpose) {
        self.statistics.records_out += purpose.count(1);
        if self.version == Version::Tls13 && self.sealer.sequence() >= self.record_limit / 2 {
            self.due.key_update = true;
        }
    }
}

#[inline]
fn event(content: Content, record: &[u8]) -> Event<'_> {
    match content {
        Content::Plaintext(range) => Event::Plaintext(record.get(range).unwrap_or(&[])),
        Content::None => Event::Progress,
        Content::Closed => Event::PeerClosed,
    }
}
