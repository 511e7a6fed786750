//! Plaintext over a socket: TLS records opened and sealed where the transport lends them, or, without
//! TLS, the bytes as they are.
//!
//! One record may hold several messages, and only one of them is handed out at a time. So a record stays
//! at the front of what the transport lends until all of its plaintext is used: opened, in place, with
//! `plain_left` and `trailer_left` saying what is left of it. A record that was put together from pieces
//! stays in its [`RecordBuffer`].

use crate::tls::{Event, MAX_PENDING_RECORD, MAX_PLAINTEXT, RecordBuffer, SealError, TlsClient};
use crate::transport::{SocketId, Transport};
use drivers::purpose::Purpose;

use super::cause::CloseCause;

/// Records, frames and pieces dealt with in one call at most: a peer that floods us with what needs no
/// answer cannot hold the caller.
const STEPS_MAX: usize = 64;

/// Whether the taker of plaintext wants more now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    More,
    Stop,
}

/// What one call of [`Channel::receive`] came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Intake {
    /// Bytes used up of what the transport lent.
    pub bytes: usize,
    /// TLS records opened.
    pub records: u32,
    /// The taker said [`Flow::Stop`].
    pub stopped: bool,
    /// The TLS handshake is complete.
    pub established: bool,
    /// TLS was closed in order by the peer.
    pub peer_closed: bool,
}

/// One socket and the TLS on it.
#[derive(Debug, Default)]
pub(super) struct Channel {
    socket: Option<SocketId>,
    tls: Option<Box<TlsClient>>,
    /// Opened plaintext at the front of what the transport lends.
    plain_left: usize,
    /// Bytes behind it that belong to the same record.
    trailer_left: usize,
}

impl Channel {
    pub(super) fn new(socket: SocketId) -> Channel {
        Channel { socket: Some(socket), tls: None, plain_left: 0, trailer_left: 0 }
    }

    pub(super) fn socket(&self) -> Option<SocketId> {
        self.socket
    }

    /// Puts TLS between the socket and what follows.
    pub(super) fn secure(&mut self, tls: TlsClient) {
        self.tls = Some(Box::new(tls));
    }

    pub(super) fn tls(&self) -> Option<&TlsClient> {
        self.tls.as_deref()
    }

    /// True if the transport certainly has nothing to read.
    #[inline]
    pub(super) fn is_drained<T: Transport>(&self, transport: &T) -> bool {
        self.socket.is_some_and(|socket| transport.is_drained(socket))
    }

    /// Gives plaintext to `take` piece by piece, until it says stop or nothing more is there. `take`
    /// returns how many bytes it used.
    #[inline]
    pub(super) fn receive<T: Transport>(
        &mut self,
        transport: &mut T,
        records: &mut RecordBuffer,
        mut take: impl FnMut(&[u8]) -> Result<(usize, Flow), CloseCause>,
    ) -> Result<Intake, CloseCause> {
        let Some(socket) = self.socket else {
            return Ok(Intake::default());
        };
        transport.read(socket, |bytes| {
            let mut intake = Intake::default();
            let result = self.take_in(bytes, records, &mut take, &mut intake);
            (intake.bytes, result.map(|()| intake))
        })
    }

    #[inline]
    fn take_in(
        &mut self,
        bytes: &mut [u8],
        records: &mut RecordBuffer,
        take: &mut impl FnMut(&[u8]) -> Result<(usize, Flow), CloseCause>,
        intake: &mut Intake,
    ) -> Result<(), CloseCause> {
        for _ in 0..STEPS_MAX {
            let (used, flow) = if !records.unread().is_empty() {
                let (used, flow) = take(records.unread())?;
                records.consume(used);
                (used, flow)
            } else {
                let lent = bytes.get_mut(intake.bytes..).unwrap_or(&mut []);
                if lent.is_empty() {
                    return Ok(());
                }
                if self.plain_left == 0 && self.trailer_left > 0 {
                    intake.bytes += self.skip_trailer(lent.len());
                    continue;
                }
                if self.plain_left > 0 || self.tls.is_none() {
                    let count = if self.tls.is_none() { lent.len() } else { self.plain_left.min(lent.len()) };
                    let (used, flow) = take(lent.get(..count).unwrap_or(&[]))?;
                    let behind = lent.len() - used;
                    self.plain_left = self.plain_left.saturating_sub(used);
                    intake.bytes += used + self.skip_trailer(behind);
                    (used, flow)
                } else {
                    match self.open(bytes, records, take, intake)? {
                        Some(step) => step,
                        None => return Ok(()),
                    }
                }
            };
            if flow == Flow::Stop {
                intake.stopped = true;
                return Ok(());
            }
            if used == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Once a record's plaintext is used up, the rest of the record is skipped, as far as it is lent.
    #[inline]
    fn skip_trailer(&mut self, lent: usize) -> usize {
        if self.plain_left > 0 {
            return 0;
        }
        let skipped = self.trailer_left.min(lent);
        self.trailer_left -= skipped;
        skipped
    }

    /// Opens the record at the front; `None` if there is nothing more to do with this input.
    #[inline]
    fn open(
        &mut self,
        bytes: &mut [u8],
        records: &mut RecordBuffer,
        take: &mut impl FnMut(&[u8]) -> Result<(usize, Flow), CloseCause>,
        intake: &mut Intake,
    ) -> Result<Option<(usize, Flow)>, CloseCause> {
        let Some(tls) = self.tls.as_deref_mut() else {
            return Ok(None);
        };
        let lent = bytes.get_mut(intake.bytes..).unwrap_or(&mut []);
        let received = tls.receive(lent, records)?;
        let consumed = received.consumed;
        match received.event {
            Event::Plaintext(plaintext) => {
                intake.records += 1;
                let (used, flow) = take(plaintext)?;
                let left = plaintext.len() - used.min(plaintext.len());
                let length = plaintext.len();
                if !records.unread().is_empty() {
                    // The record was put together in the buffer, and waits there.
                    records.consume(used);
                    intake.bytes += consumed;
                } else if left == 0 {
                    intake.bytes += consumed;
                } else {
                    let header = tls.header_room();
                    self.plain_left = left;
                    self.trailer_left = consumed.saturating_sub(header + length);
                    intake.bytes += header + used;
                }
                Ok(Some((used, flow)))
            }
            Event::Progress => {
                intake.records += 1;
                intake.bytes += consumed;
                Ok(Some((consumed, Flow::More)))
            }
            Event::NeedMore => {
                intake.bytes += consumed;
                Ok(None)
            }
            Event::Established => {
                intake.bytes += consumed;
                intake.established = true;
                Ok(None)
            }
            Event::PeerClosed => {
                intake.bytes += consumed;
                intake.peer_closed = true;
                Ok(None)
            }
        }
    }

    /// True if TLS has something of its own to send.
    #[inline]
    pub(super) fn has_pending(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_pending())
    }

    /// Writes what TLS has to send; returns true if nothing of it waits any more.
    pub(super) fn flush<T: Transport>(&mut self, transport: &mut T) -> bool {
        let (Some(socket), Some(tls)) = (self.socket, self.tls.as_deref_mut()) else {
            return true;
        };
        while tls.has_pending() {
            // All at once if there is room for it, else piece by piece.
            let whole = tls.pending_room();
            let mut write = |room: usize| {
                transport.write(socket, room, |out| {
                    let written = tls.write_pending(out);
                    (written, written)
                })
            };
            if write(whole).or_else(|| write(MAX_PENDING_RECORD)).unwrap_or(0) == 0 {
                return false;
            }
        }
        true
    }

    /// Bytes before the plaintext, and bytes that sealing adds in all; nothing without TLS.
    #[inline]
    fn sealing_room(&self) -> (usize, usize) {
        self.tls.as_ref().map_or((0, 0), |tls| (tls.header_room(), tls.overhead()))
    }

    /// Sends plaintext: `fill` writes it (at most `length` bytes; it returns how many, or `None` to send
    /// nothing) into the transport's own room, where it is sealed, as one record if it fits into one. What
    /// TLS itself has to send goes first. Returns the bytes given to TCP; a rehearsal gives it none.
    #[inline]
    pub(super) fn send<T: Transport>(
        &mut self,
        transport: &mut T,
        length: usize,
        purpose: Purpose,
        fill: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<usize, Refusal> {
        let Some(socket) = self.socket else {
            return Err(Refusal::NoRoom);
        };
        if self.has_pending() && (purpose == Purpose::Rehearse || !self.flush(transport)) {
            return Err(Refusal::NoRoom);
        }
        let (header, overhead) = self.sealing_room();
        if self.tls.is_some() && length > MAX_PLAINTEXT {
            if purpose == Purpose::Rehearse {
                return Err(Refusal::Nothing);
            }
            return self.send_records(transport, socket, length, fill);
        }
        let Channel { tls, .. } = self;
        let sealed = transport.write_for(purpose, socket, length + overhead, |room| {
            let Some(count) = room.get_mut(header..header + length).and_then(fill) else {
                return (0, Err(Refusal::Nothing));
            };
            match tls.as_deref_mut() {
                None => (count, Ok(count)),
                Some(tls) => match tls.seal_in_place_for(purpose, room, header..header + count) {
                    Ok(record) => (record.end, Ok(record.end)),
                    Err(error) => (0, Err(Refusal::Seal(error))),
                },
            }
        });
        sealed.unwrap_or(Err(Refusal::NoRoom))
    }

    /// Sends more plaintext than one record holds: it is written to the end of the room, then each
    /// record's part is moved forward to its place and sealed there.
    #[cold]
    fn send_records<T: Transport>(
        &mut self,
        transport: &mut T,
        socket: SocketId,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<usize, Refusal> {
        let (header, overhead) = self.sealing_room();
        let Some(tls) = self.tls.as_deref_mut() else {
            return Err(Refusal::NoRoom);
        };
        let records = length.div_ceil(MAX_PLAINTEXT);
        let total = length + records * overhead;
        let start = total - (overhead - header) - length;
        let sealed = transport.write(socket, total, |room| {
            let Some(count) = room.get_mut(start..start + length).and_then(fill) else {
                return (0, Err(Refusal::Nothing));
            };
            let mut written = 0;
            let mut taken = 0;
            while taken < count {
                let part = (count - taken).min(MAX_PLAINTEXT);
                // Never past its source: `start` leaves as much room in front as the headers and tags take.
                room.copy_within(start + taken..start + taken + part, written + header);
                match tls.seal_in_place(room, written + header..written + header + part) {
                    Ok(record) => written = record.end,
                    // What is sealed must go out, or the peer misses a record number; the rest is lost, and
                    // with it the message: the caller gives the connection up.
                    Err(error) => return (written, Err(Refusal::Seal(error))),
                }
                taken += part;
            }
            (written, Ok(written))
        });
        sealed.unwrap_or(Err(Refusal::NoRoom))
    }

    /// Ends our side in order: close_notify, if there is TLS, then FIN.
    pub(super) fn finish<T: Transport>(&mut self, transport: &mut T) {
        if let Some(tls) = self.tls.as_deref_mut() {
            tls.queue_close_notify();
        }
        self.flush(transport);
        if let Some(socket) = self.socket {
            transport.close(socket);
        }
    }

    /// Takes and forgets what the peer still sends.
    pub(super) fn discard<T: Transport>(&mut self, transport: &mut T) -> usize {
        match self.socket {
            Some(socket) => transport.read(socket, |bytes| (bytes.len(), bytes.len())),
            None => 0,
        }
    }

    /// Gives the socket back, at once.
    pub(super) fn release<T: Transport>(&mut self, transport: &mut T) {
        if let Some(socket) = self.socket.take() {
            transport.release(socket);
        }
        *self = Channel::default();
    }
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The transport has no room now.
    NoRoom,
    /// There was nothing to send.
    Nothing,
    /// The record layer refused.
    Seal(SealError),
}
