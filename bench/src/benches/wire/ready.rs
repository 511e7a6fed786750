//! Orders that are ready before their ticks: a client that knows beforehand what the venue will say, seals its answer while it
//! waits, and when the frame comes only lets TCP (ours) send it. No decryption, no parsing, no encoding, no sealing.
//!
//! It says how much of each figure belongs to the venue, the wire and TCP: what ours takes beyond this is TLS, WebSocket, codec
//! and decision.

use super::by_hand::ByHand;
use super::clock::Clock;
use super::own::stack;
use super::ticks::Ticks;
use super::trader::Trader;
use super::venue::{Running, Slice};
use super::{Client, PATH, PORT, Rig, SERVER_NAME, VENUE_ADDRESS, Wired, connected};
use anyhow::{bail, ensure};
use drivers::select::{AnyPort, Link};
use drivers::testbed::Testbed;
use netstack::stack::{OwnTcp, Stack};
use netstack::tls::{Event, RECORD_HEADER, RecordBuffer, TlsClient};
use netstack::transport::{SocketId, SocketState, Transport};
use netstack::websocket::{Kind, Upgrade, UpgradeRequest, Utf8Check, WebSocket};
use std::net::SocketAddrV4;

const ORDER_MAX: usize = 1_024;

/// See the module's head.
pub struct Ready {
    stack: Stack<AnyPort, OwnTcp>,
    socket: SocketId,
    tls: TlsClient,
    websocket: WebSocket,
    ticks: Ticks,
    trader: Trader,
    text: Vec<u8>,
    frame: Box<[u8; ORDER_MAX]>,
    record: Box<[u8; ORDER_MAX]>,
    /// Bytes of the record that waits.
    sealed: usize,
    clock: Clock,
    timers_ns: u64,
    _bed: Testbed,
}

impl Ready {
    /// Connects.
    pub fn open(rig: &Rig) -> anyhow::Result<(Wired, Ready)> {
        let (bed, accepting) = rig.wire(false)?;
        let clock = Clock::new();
        let mut stack: Stack<AnyPort, OwnTcp> = stack(&bed, Link::AfXdp, &clock)?;
        let socket = stack.connect(SocketAddrV4::new(VENUE_ADDRESS, PORT), clock.now_ns())?;
        let mut client = Ready {
            stack,
            socket,
            tls: TlsClient::new(&rig.own_tls, SERVER_NAME, clock.now_ns() / 1_000_000_000)?,
            websocket: WebSocket::new(Utf8Check::LeftToCaller),
            ticks: rig.ticks.clone(),
            trader: Trader::new()?,
            text: Vec::new(),
            frame: Box::new([0; ORDER_MAX]),
            record: Box::new([0; ORDER_MAX]),
            sealed: 0,
            clock,
            timers_ns: 0,
            _bed: bed,
        };
        client.upgrade()?;
        client.prepare()?;
        Ok((accepting.finish()?, client))
    }

    /// TCP, TLS and the upgrade.
    fn upgrade(&mut self) -> anyhow::Result<()> {
        let mut request = [0; ORDER_MAX];
        let wanted = UpgradeRequest { host: SERVER_NAME, target: PATH, headers: &[], protocols: "" };
        let (length, mut upgrade) = Upgrade::request(&wanted, [7; 16], &mut request)?;
        let (mut records, mut asked, mut complete) = (RecordBuffer::new(), false, false);
        connected(|| {
            self.turn(|client| {
                let Ready { stack, socket, tls, record, .. } = client;
                if stack.state(*socket) == SocketState::Connecting {
                    return Ok(());
                }
                stack.read(*socket, |bytes| {
                    let mut used = 0;
                    let mut take = || -> anyhow::Result<()> {
                        while used < bytes.len() {
                            let received = tls.receive(&mut bytes[used..], &mut records)?;
                            used += received.consumed;
                            match received.event {
                                Event::Plaintext(answer) => complete = upgrade.receive(answer)?.complete,
                                Event::NeedMore => break,
                                Event::PeerClosed => bail!("the venue has closed TLS"),
                                Event::Established | Event::Progress => {}
                            }
                        }
                        Ok(())
                    };
                    let result = take();
                    (used, result)
                })?;
                while tls.has_pending() {
                    let room = tls.pending_room();
                    ensure!(stack.write(*socket, room, |out| (tls.write_pending(out), ())).is_some(), "no room for a flight");
                }
                if tls.is_established() && !asked {
                    asked = true;
                    let sealed = tls.seal(&request[..length], &mut record[..])?;
                    client.sealed = sealed;
                    client.send()?;
                }
                Ok(())
            })?;
            Ok(complete)
        })
    }

    /// Seals the answer to the next tick.
    fn prepare(&mut self) -> anyhow::Result<()> {
        let Ready { tls, websocket, ticks, trader, text, frame, record, sealed, clock, .. } = self;
        let (tick, _) = ticks.next(text);
        let order = trader.on_tick(tick, clock.now_ns())?;
        let length = websocket.frame(Kind::Text, [3, 1, 4, 1], order, &mut frame[..])?;
        *sealed = tls.seal(&frame[..length], &mut record[..])?;
        Ok(())
    }

    #[inline]
    fn send(&mut self) -> anyhow::Result<()> {
        let Ready { stack, socket, record, sealed, clock, .. } = self;
        let written = stack.write(*socket, *sealed, |room| {
            room.copy_from_slice(&record[..*sealed]);
            (*sealed, ())
        });
        ensure!(written.is_some(), "no room for an order");
        stack.transmit(clock.now_ns());
        Ok(stack.flush(clock.now_ns())?)
    }

    #[inline]
    fn work(&mut self) -> anyhow::Result<()> {
        // A tick is a record, and so short that it comes in one segment.
        let seen = self.stack.read(self.socket, |bytes| {
            let length = bytes.get(3..RECORD_HEADER).and_then(|length| length.first_chunk::<2>());
            (bytes.len(), length.map(|length| (bytes.len(), usize::from(u16::from_be_bytes(*length)))))
        });
        let Some((came, length)) = seen else {
            let state = self.stack.state(self.socket);
            ensure!(state == SocketState::Open, "the connection is {state:?}");
            return Ok(());
        };
        self.send()?;
        ensure!(came == RECORD_HEADER + length, "not a record a segment: {came} bytes");
        self.prepare()
    }
}

impl ByHand for Ready {
    type Tcp = OwnTcp;

    #[inline]
    fn parts(&mut self) -> (&mut Stack<AnyPort, OwnTcp>, &Clock, &mut u64) {
        (&mut self.stack, &self.clock, &mut self.timers_ns)
    }
}

impl Client for Ready {
    fn answer(&mut self, _slice: Slice, running: &Running) -> anyhow::Result<()> {
        while !running.is_over() {
            self.turn(Ready::work)?;
        }
        self.trader.check()
    }
}
