//! The hot loop of the engine with a scripted network: what a message costs from the loop's look at the network to the end of
//! the pass, over real codecs, core and order path. TLS and TCP are left out: see `connections` for those.
//!
//! Between two messages the loop makes a pass of its own, as it does thousands of times in a running engine, so that
//! timers fall there. Messages go round robin over all instruments, so that each finds its instrument's memory as
//! cold as it gets.

use super::desk::ORDER_EVERY_NS;
use super::market::{Market, Protocol};
use super::parts::{Built, Cold, Ends, Layout, SkippingClock, check_books, parts, session_start};
use crate::measure::Meter;
use anyhow::{Context, ensure};
use drivers::purpose::Purpose;
use netstack::transport::SocketId;
use runtime::engine::hot_loop::{HotLoop, VenueParts};
use runtime::engine::network::{Channel, ChannelCounters, ChannelEvents, Network, NotSent, TimeSource};
use runtime::report::LinkReport;
use serde_json::Value;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use venues::any::AnyVenue;
use venues::venue::{MessageKind, Role};

/// What is timed.
pub const OPERATIONS: [&str; 7] = [
    "a message of binance",
    "a message of kraken",
    "a message of binance and the order that it causes",
    "a message of kraken and the order that it causes",
    "a pass without a frame",
    "a pass with the millisecond's work",
    "a pass with the core's timer",
];
/// Place of a message of Binance; that of Kraken follows.
pub const MESSAGE: usize = 0;
/// Place of a message of Binance with an order; that of Kraken follows.
pub const ORDER: usize = 2;
/// Place of a pass without a frame.
pub const IDLE: usize = 4;
/// Place of a pass with what is due each millisecond.
pub const TICK: usize = 5;
/// Place of a pass with what is due each ten milliseconds, and each fifty.
pub const TIMER: usize = 6;
/// Messages of a turn: the first find caches that another rig has left and do not count.
const MESSAGES: usize = 512;
const UNCOUNTED: usize = 64;
/// Orders of a turn.
const ORDERS: usize = 8;
const MS: u64 = 1_000_000;
/// Passes until all must be up.
const PASSES_MAX: usize = 20_000;

/// What is on the wire.
#[derive(Default)]
struct Wire {
    /// The message that waits, and for which socket.
    frame: Vec<u8>,
    waiting: Option<u16>,
    /// The loop has seen it.
    seen: bool,
    /// What was sent and not yet put into frames.
    written: usize,
    /// What was sent: by which socket.
    sent: Vec<(u16, Vec<u8>)>,
}

struct WireNetwork(Rc<RefCell<Wire>>);

const fn socket(venue: usize, role: Role) -> u16 {
    (2 * venue + role.index()) as u16
}

impl Network for WireNetwork {
    #[inline]
    fn receive(&mut self, _: u64) -> usize {
        let wire = self.0.borrow();
        usize::from(wire.waiting.is_some() && !wire.seen)
    }

    #[inline]
    fn ingress_next(&mut self, _: u64) -> Option<Option<SocketId>> {
        let mut wire = self.0.borrow_mut();
        if std::mem::replace(&mut wire.seen, true) {
            return None;
        }
        wire.waiting.map(|index| Some(SocketId { index, generation: 1 }))
    }

    #[inline]
    fn transmit_urgent(&mut self, now_ns: u64) -> usize {
        self.transmit(now_ns)
    }

    #[inline]
    fn transmit(&mut self, _: u64) -> usize {
        std::mem::take(&mut self.0.borrow_mut().written)
    }

    fn flush(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn maintain(&mut self, _: u64) {}

    fn set_priority(&mut self, _: SocketId) {}

    fn link(&self) -> LinkReport {
        LinkReport::default()
    }
}

struct WireChannel {
    socket: u16,
    open: bool,
}

impl Channel<WireNetwork> for WireChannel {
    #[inline]
    fn poll(&mut self, network: &mut WireNetwork, _: u64, events: &mut impl ChannelEvents) -> bool {
        if !self.open {
            self.open = true;
            events.on_open(1);
            return true;
        }
        let mut wire = network.0.borrow_mut();
        if wire.waiting != Some(self.socket) {
            return false;
        }
        wire.waiting = None;
        events.on_message(1, MessageKind::Text, &wire.frame);
        true
    }

    #[inline]
    fn is_drained(&self, network: &WireNetwork) -> bool {
        network.0.borrow().waiting != Some(self.socket)
    }

    fn owns(&self, socket: SocketId) -> bool {
        socket.index == self.socket
    }

    #[inline]
    fn send(&mut self, network: &mut WireNetwork, message: &[u8], _: Purpose) -> Result<(), NotSent> {
        let mut wire = network.0.borrow_mut();
        wire.written += 1;
        wire.sent.push((self.socket, message.to_vec()));
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.open
    }

    fn is_connecting(&self) -> bool {
        !self.open
    }

    fn changes(&self) -> u64 {
        u64::from(self.open)
    }

    fn renew(&mut self, _: u64) {}

    fn retire_old(&mut self, _: &mut WireNetwork, _: u64) {}

    fn shut_down(&mut self, _: &mut WireNetwork, _: u64) {}

    fn is_closed(&self) -> bool {
        false
    }

    fn counters(&self) -> ChannelCounters {
        ChannelCounters::default()
    }
}

/// The loop and what surrounds it.
pub struct Rig {
    hot: HotLoop<WireNetwork, WireChannel, AnyVenue>,
    clock: SkippingClock,
    wire: Rc<RefCell<Wire>>,
    ends: Ends,
    cold: Vec<Cold>,
    markets: Vec<Market>,
    protocols: Vec<Protocol>,
    next: usize,
}

impl Rig {
    /// Everything is up, every book has some messages' worth of depth.
    pub fn new(layout: Layout, mut clock: SkippingClock) -> anyhow::Result<Rig> {
        let protocols = layout.venues.clone();
        let Built { core, codecs, markets } = layout.build(true, |_| None)?;
        let wire = Rc::<RefCell<Wire>>::default();
        let (mut parts, ends) = parts(WireNetwork(Rc::clone(&wire)), core)?;
        let mut cold = Vec::new();
        for (id, venue) in codecs.into_iter().enumerate() {
            let (end, tasks, results) = Cold::new(engine_core::ids::VenueId(id as u8));
            cold.push(end);
            let channels = Role::ALL.map(|role| (role, WireChannel { socket: socket(id, role), open: false })).into();
            parts.venues.push(VenueParts { venue, channels, tasks, results });
        }
        let now_ns = clock.now_ns();
        let mut hot = HotLoop::new(parts, now_ns);
        hot.begin_session(&session_start(now_ns), &mut clock);
        let mut rig = Rig { hot, clock, wire, ends, cold, markets, protocols, next: 0 };
        rig.open()?;
        rig.fill()?;
        Ok(rig)
    }

    /// A pass that nobody looks at, and the answers to what was sent and asked in it.
    fn pass(&mut self) -> anyhow::Result<()> {
        self.hot.pass(&mut self.clock);
        let now_ns = self.clock.now_ns();
        for cold in &mut self.cold {
            cold.serve(&self.markets, now_ns);
        }
        let sent = std::mem::take(&mut self.wire.borrow_mut().sent);
        for (socket, message) in sent {
            let protocol = self.protocols[usize::from(socket / 2)];
            for answer in answers(protocol, &message).with_context(|| format!("answering {}", String::from_utf8_lossy(&message)))? {
                self.deliver(socket, answer.as_bytes())?;
            }
        }
        self.ends.drain();
        Ok(())
    }

    /// A message, in a pass that nobody looks at.
    fn deliver(&mut self, socket: u16, message: &[u8]) -> anyhow::Result<()> {
        let mut wire = self.wire.borrow_mut();
        wire.frame.clear();
        wire.frame.extend_from_slice(message);
        (wire.waiting, wire.seen) = (Some(socket), false);
        drop(wire);
        self.hot.pass(&mut self.clock);
        ensure!(self.wire.borrow().waiting.is_none(), "the loop did not take a message");
        Ok(())
    }

    fn is_up(&self) -> bool {
        let desk = self.hot.side().core().desk();
        let up = |state| state == engine_core::event::FeedState::Up;
        let venues = (0..self.protocols.len()).map(|id| engine_core::ids::VenueId(id as u8));
        venues.into_iter().all(|venue| up(desk.market_data(venue)) && up(desk.order_entry(venue)))
            && check_books(self.hot.side().core(), &self.markets).is_ok()
    }

    /// Connects, subscribes, logs on.
    fn open(&mut self) -> anyhow::Result<()> {
        for passed in 0..PASSES_MAX {
            self.clock.skip(50 * MS);
            self.pass()?;
            if passed == 1 {
                let mut snapshot = Vec::new();
                for at in 0..self.markets.len() {
                    let socket = socket(self.markets[at].venue.index(), Role::MarketData);
                    if self.markets[at].snapshot(&mut snapshot) {
                        self.deliver(socket, &snapshot)?;
                        self.ends.drain();
                    }
                }
            }
            if self.is_up() {
                return Ok(());
            }
        }
        check_books(self.hot.side().core(), &self.markets)?;
        anyhow::bail!("not all venues came up")
    }

    /// Some messages for each market, to a different place of its stream: neighbours must not get the same.
    fn fill(&mut self) -> anyhow::Result<()> {
        for at in 0..self.markets.len() {
            for _ in 0..8 + at * 13 % self.markets[at].round() {
                self.put_message_of(at);
                self.pass()?;
            }
        }
        check_books(self.hot.side().core(), &self.markets)
    }

    /// A market's next message on the wire; whose protocol it is.
    fn put_message_of(&mut self, at: usize) -> Protocol {
        let market = &mut self.markets[at];
        let mut wire = self.wire.borrow_mut();
        market.next(&mut wire.frame);
        (wire.waiting, wire.seen) = (Some(socket(market.venue.index(), Role::MarketData)), false);
        market.protocol()
    }

    /// The same of the market whose turn it is.
    fn put_next(&mut self) -> Protocol {
        let at = self.next;
        self.next = (at + 1) % self.markets.len();
        self.put_message_of(at)
    }

    /// A message in a pass of its own.
    #[inline(never)]
    pub fn take_in(&mut self) {
        self.hot.pass(&mut self.clock);
    }

    /// A turn: messages, orders, passes without either.
    pub fn turn(&mut self, meter: &mut Meter) -> anyhow::Result<()> {
        for at in 0..MESSAGES {
            let protocol = self.put_next();
            if at < UNCOUNTED {
                self.take_in();
            } else {
                meter.time(MESSAGE + protocol as usize, || self.take_in());
            }
            self.check_taken()?;
            if !self.wire.borrow().sent.is_empty() {
                self.pass()?; // Other rigs' turns were long: an order was due.
            }
            if at % 64 == 0 {
                meter.time(IDLE, || self.take_in());
            } else {
                self.take_in();
            }
        }
        for _ in 0..ORDERS {
            self.clock.skip(ORDER_EVERY_NS);
            self.pass()?;
            self.clock.skip(MS);
            meter.time(TICK, || self.take_in());
            self.clock.skip(10 * MS);
            meter.time(TIMER, || self.take_in());
            let protocol = self.put_next();
            meter.time(ORDER + protocol as usize, || self.take_in());
            let sent = self.wire.borrow().sent.len();
            ensure!(sent == 1, "{sent} messages were sent in the place of an order");
            self.check_taken()?;
            self.pass()?;
        }
        check_books(self.hot.side().core(), &self.markets)
    }

    /// The last message was taken as a good one.
    pub fn check_taken(&mut self) -> anyhow::Result<()> {
        let (events, invalid) = self.ends.drain();
        ensure!(self.wire.borrow().waiting.is_none() && events > 0 && !invalid, "a message was not taken as it should: {events} events");
        Ok(())
    }

    /// The venue sends a message that never arrives.
    #[cfg(test)]
    pub(super) fn lose_a_message(&mut self) {
        let at = self.next;
        let mut wire = self.wire.borrow_mut();
        self.markets[at].next(&mut wire.frame);
    }

    /// The next message is ready to be taken in, and nothing else is to be done. With [`Rig::take_in`] and
    /// [`Rig::check_taken`], for counting instructions.
    pub fn prepare(&mut self) -> anyhow::Result<()> {
        self.pass()?;
        self.put_next();
        Ok(())
    }

    /// In the next pass the millisecond's work is due, and the core's timer.
    pub fn prepare_timer(&mut self) -> anyhow::Result<()> {
        self.pass()?;
        self.clock.skip(10 * MS);
        Ok(())
    }
}

/// What a venue says to a message of ours. An order is refused, so that it is over.
pub(super) fn answers(protocol: Protocol, message: &[u8]) -> anyhow::Result<Vec<String>> {
    let value: Value = serde_json::from_slice(message)?;
    let method = value["method"].as_str().unwrap_or("");
    Ok(match protocol {
        Protocol::Binance => match method {
            "SUBSCRIBE" => vec![format!(r#"{{"result":null,"id":{}}}"#, value["id"])],
            "session.logon" | "userDataStream.subscribe" => {
                vec![format!(r#"{{"id":{},"status":200,"result":{{"subscriptionId":0}}}}"#, value["id"])]
            }
            "order.place" => {
                let error = r#""error":{"code":-2010,"msg":"Order would immediately match and take."}"#;
                vec![format!(r#"{{"id":{},"status":400,{error}}}"#, value["id"])]
            }
            other => anyhow::bail!("nobody expects {other}"),
        },
        Protocol::Kraken => match (method, value["params"]["channel"].as_str()) {
            ("subscribe", Some("executions")) => vec![
                format!(r#"{{"method":"subscribe","result":{{"channel":"executions"}},"success":true,"req_id":{}}}"#, value["req_id"]),
                r#"{"channel":"executions","type":"snapshot","data":[],"sequence":1}"#.to_owned(),
            ],
            ("subscribe", Some("balances")) => {
                vec![format!(r#"{{"method":"subscribe","result":{{"channel":"balances"}},"success":true,"req_id":{}}}"#, value["req_id"])]
            }
            ("subscribe" | "ping", _) => Vec::new(),
            ("add_order", _) => {
                vec![format!(r#"{{"error":"EOrder:Post only order","method":"add_order","req_id":{},"success":false}}"#, value["req_id"])]
            }
            (other, _) => anyhow::bail!("nobody expects {other}"),
        },
    })
}
