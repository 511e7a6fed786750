//! Our stack's place taken by others' parts: smoltcp's TCP under it, rustls' own record layer over it. The rest is ours:
//! AF_XDP, WebSocket, codec, prepared messages, the loop. So the difference to ours is what those two parts cost.

use super::by_hand::ByHand;
use super::clock::Clock;
use super::own::stack;
use super::trader::Trader;
use super::venue::{Running, Slice};
use super::{Client, PATH, PORT, Rig, SERVER_NAME, VENUE_ADDRESS, Wired, connected};
use anyhow::{Context, bail, ensure};
use drivers::select::{AnyPort, Link};
use drivers::testbed::Testbed;
use netstack::stack::{SmoltcpTcp, Stack};
use netstack::transport::{SocketId, SocketState, Transport};
use netstack::websocket::{Event, Kind, MessageBuffer, Upgrade, UpgradeRequest, Utf8Check, WebSocket, frame_header_len};
use rustls::client::ClientConnection;
use rustls_pki_types::ServerName;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddrV4;

/// Ticks, orders and flights of a handshake fit.
const BUFFER: usize = 16 * 1024;
const FLIGHT: usize = 2_048;
const ORDER_MAX: usize = 1_024;

/// rustls over a socket of the stack.
struct Tls {
    connection: ClientConnection,
    socket: SocketId,
    plaintext: Box<[u8]>,
    filled: usize,
}

impl Tls {
    /// Takes in what has come; plaintext is behind what there is already.
    #[inline]
    fn receive<T: Transport>(&mut self, transport: &mut T) -> anyhow::Result<()> {
        let Tls { connection, socket, plaintext, filled } = self;
        transport.read(*socket, |bytes| {
            let mut rest = &*bytes;
            let mut take = || -> anyhow::Result<()> {
                while !rest.is_empty() {
                    connection.read_tls(&mut rest)?;
                    connection.process_new_packets()?;
                    loop {
                        let room = plaintext.get_mut(*filled..).filter(|room| !room.is_empty()).context("more than a tick")?;
                        match connection.reader().read(room) {
                            Ok(0) => bail!("the venue has closed TLS"),
                            Ok(len) => *filled += len,
                            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
                Ok(())
            };
            let result = take();
            (bytes.len(), result)
        })
    }

    /// Forgets plaintext that is used up.
    #[inline]
    fn consume(&mut self, count: usize) {
        self.plaintext.copy_within(count..self.filled, 0);
        self.filled -= count;
    }

    /// Writes what rustls has sealed.
    #[inline]
    fn flush<T: Transport>(&mut self, transport: &mut T) -> anyhow::Result<()> {
        let Tls { connection, socket, .. } = self;
        while connection.wants_write() {
            let written = transport.write(*socket, FLIGHT, |mut room| match connection.write_tls(&mut room) {
                Ok(len) => (len, Ok(len)),
                Err(error) => (0, Err(error)),
            });
            if written.transpose()?.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// See the module's head.
pub struct SmoltcpRustls {
    stack: Stack<AnyPort, SmoltcpTcp>,
    tls: Tls,
    websocket: WebSocket,
    messages: MessageBuffer,
    frame: Box<[u8; ORDER_MAX]>,
    trader: Trader,
    clock: Clock,
    masks: u32,
    timers_ns: u64,
    _bed: Testbed,
}

impl SmoltcpRustls {
    /// Connects.
    pub fn open(rig: &Rig) -> anyhow::Result<(Wired, SmoltcpRustls)> {
        let (bed, accepting) = rig.wire(false)?;
        let clock = Clock::new();
        let mut stack: Stack<AnyPort, SmoltcpTcp> = stack(&bed, Link::AfXdp, &clock)?;
        let socket = stack.connect(SocketAddrV4::new(VENUE_ADDRESS, PORT), clock.now_ns())?;
        let connection = ClientConnection::new(rig.client_tls.clone(), ServerName::try_from(SERVER_NAME)?)?;
        let mut client = SmoltcpRustls {
            stack,
            tls: Tls { connection, socket, plaintext: vec![0; BUFFER].into(), filled: 0 },
            websocket: WebSocket::new(Utf8Check::Strict),
            messages: MessageBuffer::new(BUFFER),
            frame: Box::new([0; ORDER_MAX]),
            trader: Trader::new()?,
            clock,
            masks: 0,
            timers_ns: 0,
            _bed: bed,
        };
        client.upgrade()?;
        Ok((accepting.finish()?, client))
    }

    /// TCP, TLS and the upgrade.
    fn upgrade(&mut self) -> anyhow::Result<()> {
        let mut request = [0; ORDER_MAX];
        let wanted = UpgradeRequest { host: SERVER_NAME, target: PATH, headers: &[], protocols: "" };
        let (length, mut upgrade) = Upgrade::request(&wanted, [7; 16], &mut request)?;
        // rustls sends it once it may.
        self.tls.connection.writer().write_all(&request[..length])?;
        connected(|| {
            self.turn(|client| {
                match client.stack.state(client.tls.socket) {
                    SocketState::Connecting => return Ok(()),
                    SocketState::Open => {}
                    state => bail!("the connection is {state:?}"),
                }
                client.tls.receive(&mut client.stack)?;
                client.tls.flush(&mut client.stack)
            })?;
            let progress = upgrade.receive(&self.tls.plaintext[..self.tls.filled])?;
            self.tls.consume(progress.consumed);
            Ok(progress.complete)
        })
    }

    #[inline]
    fn work(&mut self) -> anyhow::Result<()> {
        self.tls.receive(&mut self.stack)?;
        let mut used = 0;
        while used < self.tls.filled {
            let SmoltcpRustls { stack, tls, websocket, messages, frame, trader, clock, masks, .. } = self;
            let received = websocket.receive(&tls.plaintext[used..tls.filled], messages)?;
            used += received.consumed;
            match received.event {
                Event::Message(message) => {
                    let order = trader.on_tick(message.payload, clock.now_ns())?;
                    let length = frame_header_len(order.len()) + order.len();
                    ensure!(length <= ORDER_MAX, "an order of a kilobyte");
                    *masks = masks.wrapping_add(0x9e37_79b9);
                    let length = websocket.frame(Kind::Text, masks.to_ne_bytes(), order, &mut frame[..])?;
                    tls.connection.writer().write_all(&frame[..length])?;
                    tls.flush(stack)?;
                    stack.transmit(clock.now_ns());
                    stack.flush(clock.now_ns())?;
                }
                Event::NeedMore | Event::Progress | Event::Ping(_) | Event::Pong(_) => {}
                event @ (Event::Close(_) | Event::Closed) => bail!("the venue has closed: {event:?}"),
            }
        }
        self.tls.consume(used);
        ensure!(self.stack.state(self.tls.socket) == SocketState::Open, "the connection is {:?}", self.stack.state(self.tls.socket));
        Ok(())
    }
}

impl ByHand for SmoltcpRustls {
    type Tcp = SmoltcpTcp;

    #[inline]
    fn parts(&mut self) -> (&mut Stack<AnyPort, SmoltcpTcp>, &Clock, &mut u64) {
        (&mut self.stack, &self.clock, &mut self.timers_ns)
    }
}

impl Client for SmoltcpRustls {
    fn answer(&mut self, _slice: Slice, running: &Running) -> anyhow::Result<()> {
        while !running.is_over() {
            self.turn(SmoltcpRustls::work)?;
        }
        self.trader.check()
    }
}
