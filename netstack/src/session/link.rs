//! One link: a TCP connection on its way from resolving to draining.

use super::cause::CloseCause;
use super::channel::{Channel, Flow, Refusal};
use super::dial::Dial;
use super::random::Random;
use super::{Progress, SendError, SessionConfig, SessionStatistics, Stitched};
use crate::tls::{RecordBuffer, TlsClient};
use crate::transport::{SocketState, Transport};
use crate::websocket::{Event, Kind, Message, MessageBuffer, Upgrade, UpgradeRequest, WebSocket, frame_header_len};
use drivers::purpose::Purpose;

/// Room for any control frame of ours.
const CONTROL_FRAME: usize = 131;
/// Room for an upgrade request besides path and configured headers.
const REQUEST_ROOM: usize = 1024;

/// Where a link is in its life. It is looked at for each message, so its tag stands by itself and is no odd value of a field.
#[derive(Debug)]
#[repr(u8)]
pub(super) enum Stage {
    /// There is none.
    Vacant,
    /// On the way to a channel; when that is done, the upgrade request is to be sent.
    Dialing(Dial),
    /// The answer to the upgrade request is awaited.
    Upgrading(Box<Upgrade>),
    /// Messages flow.
    Open,
    /// We sent a close frame, for this reason, and wait for the peer's; its messages are still taken.
    Closing(CloseCause),
    /// All is said; TCP closes.
    Draining,
}

impl Stage {
    pub(super) fn is_attempt(&self) -> bool {
        self.attempt_name().is_some()
    }

    /// How far an attempt has come, in words.
    pub(super) fn attempt_name(&self) -> Option<&'static str> {
        match self {
            Stage::Dialing(Dial::Done) | Stage::Upgrading(_) => Some("upgrade"),
            Stage::Dialing(stage) => Some(stage.name()),
            Stage::Vacant | Stage::Open | Stage::Closing(_) | Stage::Draining => None,
        }
    }
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Idle,
    Worked,
    /// The link is upgraded: call [`Link::open`].
    Upgraded,
    /// A message was handed out.
    Delivered,
}

/// One link and its buffers, which outlive it.
#[derive(Debug)]
pub(super) struct Link {
    pub stage: Stage,
    pub channel: Channel,
    websocket: WebSocket,
    records: RecordBuffer,
    messages: MessageBuffer,
    /// Given when it opens.
    pub generation: u32,
    /// When the stage must be over (attempt, closing, draining).
    pub deadline_ns: u64,
    pub opened_ns: u64,
    /// When bytes last came in.
    pub received_ns: u64,
    pub ping_due_ns: u64,
    /// When a replacement is due; `u64::MAX` = never.
    pub renew_at_ns: u64,
    /// When it must make way for its replacement; `u64::MAX` = not yet known.
    pub retire_at_ns: u64,
    /// Sealing failed: the next poll ends the link.
    pub fault: Option<CloseCause>,
    /// Of the connections before this one.
    past: Stitched,
}

impl Link {
    pub(super) fn new(config: &SessionConfig) -> Link {
        Link {
            stage: Stage::Vacant,
            channel: Channel::default(),
            websocket: WebSocket::new(config.utf8_check),
            records: RecordBuffer::new(),
            messages: MessageBuffer::new(config.message_max),
            generation: 0,
            deadline_ns: u64::MAX,
            opened_ns: 0,
            received_ns: 0,
            ping_due_ns: u64::MAX,
            renew_at_ns: u64::MAX,
            retire_at_ns: u64::MAX,
            fault: None,
            past: Stitched::default(),
        }
    }

    /// What did not lie whole where it arrived, over all connections that there were.
    pub(super) fn stitched(&self) -> Stitched {
        let records = self.channel.tls().map_or(0, |tls| tls.statistics().stitched);
        Stitched { records: self.past.records + records, messages: self.past.messages + self.websocket.statistics().stitched }
    }

    /// Begins an attempt; the slot's channel has been released.
    pub(super) fn begin(&mut self, config: &SessionConfig, now_ns: u64) {
        self.stage = Stage::Dialing(Dial::Resolving);
        self.past = self.stitched();
        self.websocket = WebSocket::new(config.utf8_check);
        self.records.clear();
        self.messages.clear();
        self.generation = 0;
        self.deadline_ns = now_ns.saturating_add(config.connect_timeout_ns);
        self.ping_due_ns = u64::MAX;
        self.renew_at_ns = u64::MAX;
        self.retire_at_ns = u64::MAX;
        self.fault = None;
    }

    /// One step of an attempt.
    #[cold]
    pub(super) fn attempt<T: Transport>(
        &mut self,
        config: &SessionConfig,
        transport: &mut T,
        now_ns: u64,
        unix_s: u64,
        random: &mut Random,
        statistics: &mut SessionStatistics,
    ) -> Result<Step, CloseCause> {
        match self.stage {
            Stage::Dialing(Dial::Done) => self.request_upgrade(config, transport, random),
            Stage::Dialing(stage) => self.dial(stage, config, transport, now_ns, unix_s, statistics),
            Stage::Upgrading(_) => self.upgrade(transport, now_ns, statistics),
            _ => Ok(Step::Idle),
        }
    }

    fn dial<T: Transport>(
        &mut self,
        stage: Dial,
        config: &SessionConfig,
        transport: &mut T,
        now_ns: u64,
        unix_s: u64,
        statistics: &mut SessionStatistics,
    ) -> Result<Step, CloseCause> {
        let (next, progress) = self.channel.dial(stage, config.peer(), transport, &mut self.records, now_ns, unix_s)?;
        statistics.connects += u64::from(stage == Dial::Connecting && next != stage);
        self.stage = Stage::Dialing(next);
        Ok(if progress == Progress::Worked { Step::Worked } else { Step::Idle })
    }

    fn request_upgrade<T: Transport>(
        &mut self,
        config: &SessionConfig,
        transport: &mut T,
        random: &mut Random,
    ) -> Result<Step, CloseCause> {
        let headers: Vec<(&str, &str)> = config.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let headers_len: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let host = config.peer().host_header();
        let mut request = vec![0; REQUEST_ROOM + config.path.len() + host.len() + headers_len];
        let wanted = UpgradeRequest { host: &host, target: &config.path, headers: &headers, protocols: "" };
        let (length, upgrade) = Upgrade::request(&wanted, random.nonce(), &mut request)?;
        let sent = self.channel.send(transport, length, Purpose::Send, |room| {
            room.copy_from_slice(request.get(..length)?);
            Some(length)
        });
        match sent {
            Ok(_) => {
                self.stage = Stage::Upgrading(Box::new(upgrade));
                Ok(Step::Worked)
            }
            Err(Refusal::NoRoom | Refusal::Nothing) => self.channel.still_connected(transport).map(|()| Step::Idle),
            Err(Refusal::Seal(error)) => Err(CloseCause::Seal(error)),
        }
    }

    fn upgrade<T: Transport>(&mut self, transport: &mut T, now_ns: u64, statistics: &mut SessionStatistics) -> Result<Step, CloseCause> {
        let Stage::Upgrading(upgrade) = &mut self.stage else {
            return Ok(Step::Idle);
        };
        let intake = self.channel.receive(transport, &mut self.records, |plaintext| {
            let progress = upgrade.receive(plaintext)?;
            Ok((progress.consumed, if progress.complete { Flow::Stop } else { Flow::More }))
        })?;
        self.channel.flush(transport);
        statistics.bytes_in += intake.bytes as u64;
        statistics.records_in += u64::from(intake.records);
        if intake.stopped {
            self.received_ns = now_ns;
            return Ok(Step::Upgraded);
        }
        if intake.bytes > 0 && !intake.peer_closed {
            return Ok(Step::Worked);
        }
        match self.channel.still_connected(transport) {
            Ok(()) if !intake.peer_closed => Ok(Step::Idle),
            Ok(()) => Err(self.upgrade_ended(CloseCause::PeerClosed { orderly: true })),
            Err(cause) => Err(self.upgrade_ended(cause)),
        }
    }

    /// The connection ended, or the time is up, while the answer to the upgrade was awaited: what is known
    /// of a refusal says more than `otherwise`.
    pub(super) fn upgrade_ended(&mut self, otherwise: CloseCause) -> CloseCause {
        if let Stage::Upgrading(upgrade) = &mut self.stage {
            let error = upgrade.end_of_input();
            if matches!(error, crate::websocket::UpgradeError::Refused { .. }) {
                return CloseCause::Upgrade(error);
            }
        }
        otherwise
    }

    /// The link is upgraded; its replacement is due at `renew_at_ns`.
    pub(super) fn open(&mut self, config: &SessionConfig, generation: u32, now_ns: u64, renew_at_ns: u64) {
        self.stage = Stage::Open;
        self.generation = generation;
        self.deadline_ns = u64::MAX;
        self.opened_ns = now_ns;
        self.received_ns = now_ns;
        self.ping_due_ns = match config.ping_interval_ns {
            0 => u64::MAX,
            interval => now_ns.saturating_add(interval),
        };
        self.renew_at_ns = renew_at_ns;
    }

    /// Why sealing failed, if it did.
    #[inline]
    pub(super) fn take_fault(&mut self) -> Option<CloseCause> {
        // Taking writes what is there already, for each message.
        if self.fault.is_none() { None } else { self.fault.take() }
    }

    /// Takes in what has come, up to one message.
    #[inline]
    pub(super) fn receive<T: Transport>(
        &mut self,
        transport: &mut T,
        now_ns: u64,
        random: &mut Random,
        statistics: &mut SessionStatistics,
        mut deliver: impl FnMut(u32, Kind, &[u8]),
    ) -> Result<Step, CloseCause> {
        let Link { channel, websocket, records, messages, generation, .. } = self;
        let mut delivered = false;
        let mut closed = None;
        let intake = channel.receive(transport, records, |plaintext| {
            let received = websocket.receive(plaintext, messages)?;
            let flow = match received.event {
                Event::Message(Message { kind, payload }) => {
                    statistics.note_message(payload);
                    delivered = true;
                    deliver(*generation, kind, payload);
                    Flow::Stop
                }
                Event::NeedMore | Event::Progress => Flow::More,
                Event::Ping(_) => {
                    statistics.note_ping();
                    Flow::More
                }
                Event::Pong(payload) => {
                    statistics.note_pong(payload, now_ns);
                    Flow::More
                }
                Event::Close(close) => {
                    closed = Some(CloseCause::PeerClose { code: close.code, reason: close.reason.to_owned() });
                    Flow::Stop
                }
                Event::Closed => Flow::Stop,
            };
            Ok((received.consumed, flow))
        })?;
        statistics.records_in += u64::from(intake.records);
        if intake.bytes > 0 {
            statistics.bytes_in += intake.bytes as u64;
            self.received_ns = now_ns;
        }
        if let Some(cause) = closed {
            return Err(cause);
        }
        if self.websocket.has_pending() || self.channel.has_pending() {
            self.write_control(transport, random)?;
        }
        if delivered {
            return Ok(Step::Delivered);
        }
        if intake.peer_closed {
            return Err(CloseCause::PeerClosed { orderly: true });
        }
        if intake.bytes > 0 {
            return Ok(Step::Worked);
        }
        self.channel.still_connected(transport).map(|()| Step::Idle)
    }

    /// Writes what the WebSocket and TLS have to say for themselves. What finds no room waits.
    pub(super) fn write_control<T: Transport>(&mut self, transport: &mut T, random: &mut Random) -> Result<(), CloseCause> {
        let Link { channel, websocket, .. } = self;
        while websocket.has_pending() {
            let mask = random.mask();
            let sent = channel.send(transport, CONTROL_FRAME, Purpose::Send, |room| {
                let length = websocket.write_pending(mask, room);
                (length > 0).then_some(length)
            });
            match sent {
                Ok(_) => {}
                Err(Refusal::NoRoom | Refusal::Nothing) => return Ok(()),
                Err(Refusal::Seal(error)) => return Err(CloseCause::Seal(error)),
            }
        }
        channel.flush(transport);
        Ok(())
    }

    /// Sends one message, or goes the same way without sending it; returns the bytes given to TCP.
    #[inline]
    pub(super) fn send<T: Transport>(
        &mut self,
        transport: &mut T,
        kind: Kind,
        payload: &[u8],
        mask: [u8; 4],
        purpose: Purpose,
    ) -> Result<usize, SendError> {
        let length = frame_header_len(payload.len()) + payload.len();
        let Link { channel, websocket, .. } = self;
        let sent = channel.send(transport, length, purpose, move |room| websocket.frame_for(purpose, kind, mask, payload, room).ok());
        match sent {
            Ok(bytes) => Ok(bytes),
            Err(Refusal::NoRoom) => Err(SendError::NoRoom),
            Err(Refusal::Nothing) => Err(SendError::NotOpen),
            Err(Refusal::Seal(error)) => {
                if purpose == Purpose::Send {
                    self.fault = Some(CloseCause::Seal(error));
                }
                Err(SendError::Seal(error))
            }
        }
    }

    /// A ping of ours is due; its payload is the time, so the pong tells the round trip.
    pub(super) fn ping<T: Transport>(&mut self, transport: &mut T, now_ns: u64, random: &mut Random) -> Result<(), CloseCause> {
        // Refused only when closing, and then no heartbeat is needed.
        let _ = self.websocket.queue_ping(&now_ns.to_be_bytes());
        self.write_control(transport, random)
    }

    /// Begins the closing handshake.
    pub(super) fn begin_close<T: Transport>(
        &mut self,
        transport: &mut T,
        code: u16,
        cause: CloseCause,
        deadline_ns: u64,
        random: &mut Random,
    ) {
        // Refused only if the peer closed first, and then its close frame is answered already.
        let _ = self.websocket.queue_close(code, "");
        self.stage = Stage::Closing(cause);
        self.deadline_ns = deadline_ns;
        if let Err(fault) = self.write_control(transport, random) {
            self.fault = Some(fault);
        }
    }

    /// Says the last words and closes TCP: the close frame or the alert that is due, close_notify, FIN.
    pub(super) fn drain<T: Transport>(&mut self, transport: &mut T, deadline_ns: u64, random: &mut Random) {
        // The words are a courtesy: if they cannot be sealed, the FIN says enough.
        let _ = self.write_control(transport, random);
        self.channel.finish(transport);
        self.stage = Stage::Draining;
        self.deadline_ns = deadline_ns;
    }

    /// One step of draining: discards input until the socket is closed.
    pub(super) fn drained<T: Transport>(&mut self, transport: &mut T) -> bool {
        self.channel.discard(transport);
        matches!(self.channel.state(transport), SocketState::Closed(_))
    }

    /// True if nothing is left of what has been received.
    #[inline]
    pub(super) fn is_drained<T: Transport>(&self, transport: &T) -> bool {
        match self.stage {
            Stage::Vacant => true,
            Stage::Open => self.fault.is_none() && self.records.unread().is_empty() && self.channel.is_drained(transport),
            _ => false,
        }
    }

    /// True if TLS asks for a new connection before its key is used up.
    pub(super) fn wears_out(&self) -> bool {
        self.channel.tls().is_some_and(TlsClient::wears_out)
    }

    /// Vacates the slot at once.
    pub(super) fn release<T: Transport>(&mut self, transport: &mut T) {
        let records = self.stitched().records;
        self.channel.release(transport);
        self.past.records = records;
        self.stage = Stage::Vacant;
        self.deadline_ns = u64::MAX;
    }
}
