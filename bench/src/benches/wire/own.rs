//! Our side: the stack (TCP of our own), the session (TLS, WebSocket), Binance's codec and its prepared messages, in one
//! spinning thread, over AF_XDP or AF_PACKET; and the same session and codec over a spinning kernel socket.

use super::clock::Clock;
use super::kernel::KernelTransport;
use super::trader::Trader;
use super::venue::{Running, Slice};
use super::{Client, PATH, PORT, Rig, SERVER_NAME, VENUE_ADDRESS, Wired, connected};
use anyhow::bail;
use drivers::filter::Filter;
use drivers::select::{self, AnyPort, Link, LinkConfig};
use drivers::testbed::{ENGINE_ADDRESS, Testbed};
use netstack::session::{CloseCause, Handler, Progress, Session, SessionConfig};
use netstack::stack::{Stack, StackConfig, TcpSocket};
use netstack::tls::TlsConfig;
use netstack::transport::Transport;
use netstack::websocket::Kind;

/// Messages dealt with per frame, at most.
const MESSAGES_MAX: usize = 64;
/// How often timers are looked at.
pub(super) const TIMERS_NS: u64 = 100_000;

/// A stack on the left side of a wire.
pub fn stack<T: TcpSocket>(bed: &Testbed, link: Link, clock: &Clock) -> anyhow::Result<Stack<AnyPort, T>> {
    let config = LinkConfig::new(link, bed.left_interface(), Filter::Address(ENGINE_ADDRESS));
    let port = bed.left().run(|| select::open(&config))??.port;
    let neighbour = super::introduce(bed, &port)?;
    let config = StackConfig {
        address: Some((ENGINE_ADDRESS, bed.config().prefix_len)),
        neighbours: vec![(VENUE_ADDRESS, neighbour)],
        hosts: vec![(SERVER_NAME.to_owned(), VENUE_ADDRESS)],
        sockets_max: 1,
        seed: clock.now_ns(),
        ..StackConfig::default()
    };
    Ok(Stack::with_tcp(port, &config, clock.now_ns())?)
}

/// The session and what it is for.
struct Desk {
    session: Session,
    trader: Trader,
    clock: Clock,
}

/// Hears a session.
struct Ear<'a> {
    trader: &'a mut Trader,
    now_ns: u64,
    /// Length of the order that a tick has caused.
    order: Option<usize>,
    failure: Option<String>,
}

impl Handler for Ear<'_> {
    fn on_open(&mut self, _generation: u32) {}

    #[inline]
    fn on_message(&mut self, _generation: u32, _kind: Kind, payload: &[u8]) {
        match self.trader.on_tick(payload, self.now_ns) {
            Ok(order) => self.order = Some(order.len()),
            Err(error) => self.failure = Some(error.to_string()),
        }
    }

    fn on_close(&mut self, _generation: u32, cause: &CloseCause) {
        self.failure = Some(cause.to_string());
    }

    fn on_attempt_failed(&mut self, cause: &CloseCause, _wait_ns: u64) {
        self.failure = Some(cause.to_string());
    }
}

impl Desk {
    fn new(tls: &TlsConfig, clock: &Clock) -> anyhow::Result<Desk> {
        let config = SessionConfig::new(SERVER_NAME, PORT, PATH, Some(tls.clone()));
        let session = Session::new(SessionConfig { seed: clock.now_ns(), ..config }, clock.now_ns());
        Ok(Desk { session, trader: Trader::new()?, clock: clock.clone() })
    }

    /// Takes in what has come. Each order is in the transport's hands, and `send` has been called, before the next message.
    #[inline]
    fn work<T: Transport>(&mut self, transport: &mut T, mut send: impl FnMut(&mut T, u64) -> anyhow::Result<()>) -> anyhow::Result<()> {
        for _ in 0..MESSAGES_MAX {
            let now_ns = self.clock.now_ns();
            let mut ear = Ear { trader: &mut self.trader, now_ns, order: None, failure: None };
            let progress = self.session.poll(transport, now_ns, now_ns / 1_000_000_000, &mut ear);
            let Ear { order, failure, .. } = ear;
            if let Some(failure) = failure {
                bail!("{failure}");
            }
            if let Some(len) = order {
                self.session.send(transport, Kind::Text, self.trader.order(len))?;
                send(transport, now_ns)?;
            }
            if progress == Progress::Idle {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Ours, on the stack.
pub struct Own<T: TcpSocket> {
    stack: Stack<AnyPort, T>,
    desk: Desk,
    timers_ns: u64,
    /// After the port, which is closed while its interface is still there.
    _bed: Testbed,
}

impl<T: TcpSocket> Own<T> {
    /// Connects.
    pub fn open(rig: &Rig, link: Link) -> anyhow::Result<(Wired, Own<T>)> {
        let (bed, accepting) = rig.wire(false)?;
        let clock = Clock::new();
        let (stack, desk) = (stack(&bed, link, &clock)?, Desk::new(&rig.own_tls, &clock)?);
        let mut own = Own { stack, desk, timers_ns: 0, _bed: bed };
        connected(|| {
            own.pass()?;
            Ok(own.desk.session.is_open())
        })?;
        Ok((accepting.finish()?, own))
    }

    /// One pass of the loop.
    #[inline]
    fn pass(&mut self) -> anyhow::Result<()> {
        let Own { stack, desk, timers_ns, .. } = self;
        let now_ns = desk.clock.now_ns();
        if stack.receive(now_ns) > 0 {
            while let Some(fed) = stack.ingress_next(now_ns) {
                if fed.is_some() {
                    desk.work(stack, |stack, now_ns| {
                        stack.transmit(now_ns);
                        Ok(stack.flush(now_ns)?)
                    })?;
                }
            }
            stack.transmit(now_ns);
            stack.flush(now_ns)?;
        } else if now_ns >= *timers_ns {
            *timers_ns = now_ns + TIMERS_NS;
            stack.maintain(now_ns);
            desk.work(stack, |_, _| Ok(()))?;
            stack.transmit(now_ns);
            stack.flush(now_ns)?;
        }
        Ok(())
    }
}

impl<T: TcpSocket> Client for Own<T> {
    fn answer(&mut self, _slice: Slice, running: &Running) -> anyhow::Result<()> {
        while !running.is_over() {
            self.pass()?;
        }
        self.desk.trader.check()
    }
}

/// Our session over a kernel socket.
pub struct OwnOnKernel {
    transport: KernelTransport,
    desk: Desk,
    _bed: Testbed,
}

impl OwnOnKernel {
    /// Connects.
    pub fn open(rig: &Rig) -> anyhow::Result<(Wired, OwnOnKernel)> {
        let (bed, accepting) = rig.wire(true)?;
        let transport = KernelTransport::new(super::dial(&bed)?)?;
        let mut own = OwnOnKernel { transport, desk: Desk::new(&rig.own_tls, &Clock::new())?, _bed: bed };
        connected(|| {
            own.pass()?;
            Ok(own.desk.session.is_open())
        })?;
        Ok((accepting.finish()?, own))
    }

    #[inline]
    fn pass(&mut self) -> anyhow::Result<()> {
        self.desk.work(&mut self.transport, |_, _| Ok(()))?;
        self.transport.flush();
        Ok(())
    }
}

impl Client for OwnOnKernel {
    fn answer(&mut self, _slice: Slice, running: &Running) -> anyhow::Result<()> {
        while !running.is_over() {
            self.pass()?;
        }
        self.desk.trader.check()
    }
}
