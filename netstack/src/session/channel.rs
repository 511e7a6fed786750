//! Plaintext over a socket: TLS records opened and sealed where the transport lends them, or, without
//! TLS, the bytes as they are.
//!
//! One record may hold several messages, and only one of them is handed out at a time. So a record stays
//! at the front of what the transport lends until all of its plaintext is used: opened, in place, with
//! `plain_left` and `trailer_left` saying what is left of it. A record that was put together from pieces
//! stays in its [`RecordBuffer`].

use crate::tls::{Event, MAX_PENDING_RECORD, MAX_PLAINTEXT, Received, RecordBuffer, SealError, TlsClient};
use crate::transport::{SocketId, Transport};
use drivers::purpose::Purpose;
use std::hint::cold_path;

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

/// Where plaintext that is given out lies.
#[derive(Clone, Copy)]
enum Place {
    /// In the record buffer, from an earlier call.
    Buffer,
    /// At the front of what is lent: there is no TLS, or its record was opened in an earlier call.
    Front,
    /// In a record that was opened just now, for which so many bytes of what is lent were used up.
    Record { consumed: usize },
}

/// What the record at the front holds.
enum Found<'a> {
    Plaintext {
        consumed: usize,
        plaintext: &'a [u8],
    },
    /// Nothing for us; there may be another behind it.
    Nothing,
    /// Nothing, and nothing more is to be done with what is lent.
    End,
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
        let mut intake = Intake::default();
        let mut ended = Ok(());
        transport.read(socket, |bytes| {
            ended = self.take_in(bytes, records, &mut take, &mut intake);
            (intake.bytes, ())
        });
        ended.map(|()| intake)
    }

    /// Not inlined: what calls it is called from wherever a transport may lend from.
    #[inline(never)]
    fn take_in(
        &mut self,
        bytes: &mut [u8],
        records: &mut RecordBuffer,
        take: &mut impl FnMut(&[u8]) -> Result<(usize, Flow), CloseCause>,
        intake: &mut Intake,
    ) -> Result<(), CloseCause> {
        for _ in 0..STEPS_MAX {
            let lent = bytes.get_mut(intake.bytes..).unwrap_or(&mut []);
            let lent_len = lent.len();
            let (place, plaintext): (Place, &[u8]) = if !records.unread().is_empty() {
                (Place::Buffer, records.unread())
            } else if lent.is_empty() {
                return Ok(());
            } else if self.plain_left > 0 || self.trailer_left > 0 || self.tls.is_none() {
                if self.plain_left == 0 && self.trailer_left > 0 {
                    intake.bytes += self.skip_trailer(lent_len);
                    continue;
                }
                let count = if self.tls.is_none() { lent_len } else { self.plain_left.min(lent_len) };
                (Place::Front, lent.get(..count).unwrap_or(&[]))
            } else {
                match self.open(lent, records, intake)? {
                    Found::Plaintext { consumed, plaintext } => (Place::Record { consumed }, plaintext),
                    Found::Nothing => continue,
                    Found::End => return Ok(()),
                }
            };
            let length = plaintext.len();
            let (used, flow) = take(plaintext)?;
            match place {
                Place::Buffer => records.consume(used),
                Place::Front => {
                    self.plain_left = self.plain_left.saturating_sub(used);
                    intake.bytes += used + self.skip_trailer(lent_len - used.min(lent_len));
                }
                // The record was put together in the buffer, and what is left of it waits there.
                Place::Record { consumed } if !records.unread().is_empty() => {
                    records.consume(used);
                    intake.bytes += consumed;
                }
                Place::Record { consumed } if used >= length => intake.bytes += consumed,
                Place::Record { consumed } => {
                    let header = self.sealing_room().0;
                    self.plain_left = length - used;
                    self.trailer_left = consumed.saturating_sub(header + length);
                    intake.bytes += header + used;
                }
            }
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

    /// Opens the record at the front of what is lent.
    #[inline(always)]
    fn open<'a>(&mut self, lent: &'a mut [u8], records: &'a mut RecordBuffer, intake: &mut Intake) -> Result<Found<'a>, CloseCause> {
        let Some(tls) = self.tls.as_deref_mut() else {
            return Ok(Found::End);
        };
        let Received { consumed, event } = tls.receive(lent, records)?;
        match event {
            Event::Plaintext(plaintext) => {
                intake.records += 1;
                return Ok(Found::Plaintext { consumed, plaintext });
            }
            Event::Progress => {
                intake.records += 1;
                intake.bytes += consumed;
                return Ok(if consumed > 0 { Found::Nothing } else { Found::End });
            }
            Event::NeedMore => {}
            Event::Established => intake.established = true,
            Event::PeerClosed => intake.peer_closed = true,
        }
        intake.bytes += consumed;
        Ok(Found::End)
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
            cold_path();
            return Err(Refusal::NoRoom);
        };
        if self.has_pending() {
            cold_path();
            if purpose == Purpose::Rehearse || !self.flush(transport) {
                return Err(Refusal::NoRoom);
            }
        }
        let (header, overhead) = self.sealing_room();
        if self.tls.is_some() && length > MAX_PLAINTEXT {
            cold_path();
            if purpose == Purpose::Rehearse {
                return Err(Refusal::Nothing);
            }
            return self.send_records(transport, socket, length, fill);
        }
        let mut tls = self.tls.as_deref_mut();
        let sealed = transport.write_for(purpose, socket, length + overhead, move |room| {
            let Some(count) = room.get_mut(header..header + length).and_then(fill) else {
                return (0, Err(Refusal::Nothing));
            };
            match &mut tls {
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
