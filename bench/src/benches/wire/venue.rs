//! The venue: one thread that sends ticks at given times and waits for the order that each causes.
//!
//! It spins on a non-blocking kernel socket, with rustls and WebSocket on it, and takes the time: from when the tick is to
//! be sent (its record is sealed by then; what is left is the write) to when the last byte of the order is decrypted.
//! *A tick that could not be sent in time, because the order before it was late, still counts from when it was to be
//! sent*: a client that falls behind shows it (no coordinated omission). What an order says is checked afterwards.
//!
//! The thread sleeps while nothing is measured. It ends with the [`Venue`], in bounded time whatever the clients do.

use super::echo::DatagramVenue;
use super::floor::RawVenue;
use super::ticks::{Ticks, check};
use crate::timer::Timer;
use anyhow::{Context, anyhow, bail, ensure};
use runtime::host::{ThreadUsage, pin_to_core};
use rustls::ServerConfig;
use rustls::server::ServerConnection;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// How long one order, or a connection, may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a slice may take beyond its ticks' times.
pub const SLICE_PATIENCE: Duration = Duration::from_secs(60);
/// From the beginning of a slice to its first tick: the client has to get into its loop.
const LEAD_NS: u64 = 100_000;
/// Ticks and orders fit, and what a client may have to say besides.
const BUFFER: usize = 4_096;
const SPINS_PER_LOOK: u32 = 64;

/// What is asked for in one go.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// From one tick to the next.
    pub interval_ns: u64,
    /// Ticks at the beginning that do not count: the caches are those of the side before.
    pub warm_up: usize,
    /// Ticks that count.
    pub ticks: usize,
}

impl Slice {
    /// All ticks.
    pub const fn whole(&self) -> usize {
        self.warm_up + self.ticks
    }
}

/// What came of a slice.
#[derive(Debug)]
pub struct Measured {
    /// One for each tick that counts.
    pub times_ns: Vec<u64>,
    /// How often the scheduler took the venue's CPU away.
    pub preemptions: u64,
}

/// A connection, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionId(usize);

enum Command {
    Accept { listener: TcpListener, answer: Sender<anyhow::Result<ConnectionId>> },
    Adopt { end: End, answer: Sender<anyhow::Result<ConnectionId>> },
    Measure { connection: ConnectionId, slice: Slice, answer: Sender<anyhow::Result<Measured>> },
}

/// What both threads look at.
#[derive(Default)]
struct Shared {
    /// The slice is over, well or badly.
    over: AtomicBool,
    /// The venue is to end.
    stop: AtomicBool,
}

/// The venue's thread.
pub struct Venue {
    commands: Option<Sender<Command>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A connection that is being accepted.
#[must_use]
pub struct Accepting(Receiver<anyhow::Result<ConnectionId>>);

impl Accepting {
    /// Waits until it is.
    ///
    /// # Errors
    /// If TLS or the upgrade failed, or nobody came.
    pub fn finish(self) -> anyhow::Result<ConnectionId> {
        self.0.recv_timeout(2 * PATIENCE).context("the venue does not answer")?
    }
}

/// A slice under way.
#[must_use]
pub struct Running {
    shared: Arc<Shared>,
    answer: Receiver<anyhow::Result<Measured>>,
}

impl Running {
    /// True once the venue has all orders, or has given up.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::Acquire)
    }

    /// What was measured.
    ///
    /// # Errors
    /// If an order did not come, or was wrong.
    pub fn finish(self) -> anyhow::Result<Measured> {
        self.answer.recv_timeout(SLICE_PATIENCE + 2 * PATIENCE).context("the venue does not answer")?
    }
}

impl Venue {
    /// Starts the thread, on this CPU.
    pub fn start(cpu: usize, tls: Arc<ServerConfig>, ticks: Ticks) -> anyhow::Result<Venue> {
        let shared = Arc::new(Shared::default());
        let (commands, inbox) = channel();
        let (pinned, is_pinned) = channel();
        let mut work = Work { tls, ticks, shared: shared.clone(), timer: Timer::new(), ends: Vec::new() };
        let thread = thread::Builder::new().name("venue".into()).spawn(move || {
            let result = pin_to_core(cpu);
            if pinned.send(result).is_ok() {
                work.run(&inbox);
            }
        })?;
        let venue = Venue { commands: Some(commands), shared, thread: Some(thread) };
        let pinned = is_pinned.recv().context("the venue's thread did not start")?;
        pinned.map_err(|refusal| anyhow!("the venue's thread: {refusal}"))?;
        Ok(venue)
    }

    fn command(&self, command: Command) -> anyhow::Result<()> {
        let commands = self.commands.as_ref().context("the venue has ended")?;
        commands.send(command).map_err(|_| anyhow!("the venue has ended"))
    }

    /// Begins to accept a connection.
    pub fn accept(&self, listener: TcpListener) -> anyhow::Result<Accepting> {
        let (answer, receiver) = channel();
        self.command(Command::Accept { listener, answer })?;
        Ok(Accepting(receiver))
    }

    /// Takes over the venue's end of a floor.
    pub fn adopt(&self, end: impl Into<End>) -> anyhow::Result<ConnectionId> {
        let (answer, receiver) = channel();
        self.command(Command::Adopt { end: end.into(), answer })?;
        Accepting(receiver).finish()
    }

    /// Begins a slice. The client must answer until it is over.
    pub fn begin(&self, connection: ConnectionId, slice: Slice) -> anyhow::Result<Running> {
        let (answer, receiver) = channel();
        self.shared.over.store(false, Ordering::Release);
        self.command(Command::Measure { connection, slice, answer })?;
        Ok(Running { shared: self.shared.clone(), answer: receiver })
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // Its panic has been shown; its commands' senders are gone, which the caller was told.
            let _ = thread.join();
        }
    }
}

/// Whatever happens to the venue's thread, no client waits for a slice that never ends.
struct OverAtLast(Arc<Shared>);

impl Drop for OverAtLast {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}

/// The venue's end of something.
pub enum End {
    /// Of a connection.
    Connection(Box<Connection>),
    /// Of a bare link.
    Raw(Box<RawVenue>),
    /// Of datagrams.
    Datagrams(Box<DatagramVenue>),
}

impl From<RawVenue> for End {
    fn from(end: RawVenue) -> End {
        End::Raw(Box::new(end))
    }
}

impl From<DatagramVenue> for End {
    fn from(end: DatagramVenue) -> End {
        End::Datagrams(Box::new(end))
    }
}

/// The thread's own.
struct Work {
    tls: Arc<ServerConfig>,
    ticks: Ticks,
    shared: Arc<Shared>,
    timer: Timer,
    ends: Vec<End>,
}

impl Work {
    fn run(&mut self, inbox: &Receiver<Command>) {
        let _over_at_last = OverAtLast(self.shared.clone());
        // Whoever no longer waits for an answer needs none.
        while let Ok(command) = inbox.recv() {
            match command {
                Command::Accept { listener, answer } => {
                    let accepted = self.accept(&listener);
                    let _ = answer.send(accepted.map(|connection| self.keep(End::Connection(Box::new(connection)))));
                }
                Command::Adopt { end, answer } => {
                    let _ = answer.send(Ok(self.keep(end)));
                }
                Command::Measure { connection, slice, answer } => {
                    let times = self.measure(connection, slice);
                    self.shared.over.store(true, Ordering::Release);
                    let _ = answer.send(times);
                }
            }
        }
    }

    fn keep(&mut self, end: End) -> ConnectionId {
        self.ends.push(end);
        ConnectionId(self.ends.len() - 1)
    }

    fn accept(&self, listener: &TcpListener) -> anyhow::Result<Connection> {
        listener.set_nonblocking(true)?;
        let start = Instant::now();
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("accepting"),
            }
            ensure!(start.elapsed() < PATIENCE && !self.shared.stop.load(Ordering::Acquire), "nobody connects to the venue");
            thread::sleep(Duration::from_millis(1));
        };
        Connection::open(stream, self.tls.clone(), self.ticks.clone()).context("the venue's end of a connection")
    }

    fn measure(&mut self, connection: ConnectionId, slice: Slice) -> anyhow::Result<Measured> {
        let before = ThreadUsage::now();
        let Work { shared, timer, ends, .. } = self;
        let end = ends.get_mut(connection.0).context("no such connection")?;
        let patience = Patience { timer: timer.clone(), start: timer.read(), stop: &shared.stop };
        let mut times = Vec::with_capacity(slice.whole());
        for tick in 0..slice.whole() as u64 {
            let due_ns = LEAD_NS + tick * slice.interval_ns;
            let done_ns = match end {
                End::Connection(connection) => connection.exchange(due_ns, &patience),
                End::Raw(raw) => raw.exchange(due_ns, &patience),
                End::Datagrams(datagrams) => datagrams.exchange(due_ns, &patience),
            };
            times.push(done_ns.with_context(|| format!("tick {tick} of a slice"))?.saturating_sub(due_ns));
            patience.check_slice(&slice)?;
        }
        let preemptions = ThreadUsage::now().since(before).involuntary_switches;
        Ok(Measured { times_ns: times.split_off(slice.warm_up), preemptions })
    }
}

/// The time since the slice began, and when it is too late.
pub struct Patience<'a> {
    timer: Timer,
    start: u64,
    stop: &'a AtomicBool,
}

impl Patience<'_> {
    /// Nanoseconds since the slice began.
    #[inline(always)]
    pub fn now_ns(&self) -> u64 {
        self.timer.ns_between(self.start, self.timer.read())
    }

    /// Spins until it is time; says when that was.
    #[inline]
    pub fn until(&self, due_ns: u64) -> u64 {
        loop {
            let now_ns = self.now_ns();
            if now_ns >= due_ns {
                return now_ns;
            }
            std::hint::spin_loop();
        }
    }

    /// # Errors
    /// If what was begun at `since_ns` takes too long, or the venue is to end.
    #[cold]
    pub fn check(&self, since_ns: u64) -> anyhow::Result<()> {
        ensure!(!self.stop.load(Ordering::Acquire), "the bench is given up");
        ensure!(self.now_ns().saturating_sub(since_ns) < PATIENCE.as_nanos() as u64, "no order within {PATIENCE:?}");
        Ok(())
    }

    fn check_slice(&self, slice: &Slice) -> anyhow::Result<()> {
        let most_ns = SLICE_PATIENCE.as_nanos() as u64 + slice.whole() as u64 * slice.interval_ns;
        ensure!(self.now_ns() < most_ns, "the client falls behind without end");
        Ok(())
    }
}

/// The venue's end of a connection.
pub struct Connection {
    stream: TcpStream,
    tls: ServerConnection,
    ticks: Ticks,
    text: Vec<u8>,
    frame: Vec<u8>,
    order: Box<[u8; BUFFER]>,
}

impl Connection {
    /// TLS and the upgrade, as far as it goes.
    fn open(mut stream: TcpStream, tls: Arc<ServerConfig>, ticks: Ticks) -> anyhow::Result<Connection> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut tls = ServerConnection::new(tls)?;
        let mut request = Vec::new();
        let mut pieces = rustls::Stream::new(&mut tls, &mut stream);
        while !request.ends_with(b"\r\n\r\n") {
            let mut piece = [0; 1_024];
            let len = pieces.read(&mut piece).context("TLS handshake and upgrade")?;
            ensure!(len > 0 && request.len() < BUFFER, "no upgrade request");
            request.extend_from_slice(&piece[..len]);
        }
        let answer = switching_protocols(std::str::from_utf8(&request)?)?;
        pieces.write_all(answer.as_bytes())?;
        pieces.flush()?;
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, tls, ticks, text: Vec::new(), frame: Vec::new(), order: Box::new([0; BUFFER]) })
    }

    /// Sends a tick when it is due, and gives the time at which its order was there.
    fn exchange(&mut self, due_ns: u64, patience: &Patience<'_>) -> anyhow::Result<u64> {
        let Connection { stream, tls, ticks, text, frame, order } = self;
        let (tick, best_bid) = ticks.next(text);
        frame.clear();
        write_header(tick.len(), frame)?;
        frame.extend_from_slice(tick);
        // Sealed, and waiting in rustls' own buffer.
        tls.writer().write_all(frame)?;
        let sent_ns = patience.until(due_ns);
        while tls.wants_write() {
            match tls.write_tls(stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => patience.check(sent_ns)?,
                Err(error) => return Err(error).context("sending a tick"),
            }
        }
        let (mut filled, mut spins) = (0, 0_u32);
        let (payload, done_ns) = loop {
            match tls.read_tls(stream) {
                Ok(0) => bail!("the client has closed the connection"),
                Ok(_) => {
                    tls.process_new_packets()?;
                    loop {
                        let room = order.get_mut(filled..).filter(|room| !room.is_empty()).context("an order of kilobytes")?;
                        match tls.reader().read(room) {
                            Ok(len) if len > 0 => filled += len,
                            Ok(_) => bail!("the client has closed TLS"),
                            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                            Err(error) => return Err(error).context("reading an order"),
                        }
                    }
                    if let Some(payload) = payload_of(&order[..filled])? {
                        break (payload, patience.now_ns());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    spins = spins.wrapping_add(1);
                    if spins.is_multiple_of(SPINS_PER_LOOK) {
                        patience.check(sent_ns)?;
                    }
                }
                Err(error) => return Err(error).context("waiting for an order"),
            }
        };
        ensure!(payload.end == filled, "more than an order");
        let (mask, payload) = order[payload.start - 4..payload.end].split_at_mut(4);
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        check(payload, best_bid).with_context(|| String::from_utf8_lossy(payload).into_owned())?;
        Ok(done_ns)
    }
}

/// The answer to an upgrade request.
fn switching_protocols(request: &str) -> anyhow::Result<String> {
    let mut headers = request.lines().filter_map(|line| line.split_once(':'));
    let key = headers.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key")).context("an upgrade without a key")?.1.trim();
    let accept = derive_accept_key(key.as_bytes());
    Ok(format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"))
}

/// The header of a server's text frame (RFC 6455 section 5.2).
fn write_header(payload_len: usize, out: &mut Vec<u8>) -> anyhow::Result<()> {
    const FINAL_TEXT: u8 = 0x81;
    match payload_len {
        len @ 0..=125 => out.extend_from_slice(&[FINAL_TEXT, len as u8]),
        len => {
            let len = u16::try_from(len).context("a tick of more than 64 KiB")?.to_be_bytes();
            out.extend_from_slice(&[FINAL_TEXT, 126, len[0], len[1]]);
        }
    }
    Ok(())
}

/// Where the payload of a client's text frame lies, once all of it is there.
fn payload_of(bytes: &[u8]) -> anyhow::Result<Option<std::ops::Range<usize>>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    ensure!((*first, second & 0x80) == (0x81, 0x80), "not a masked text frame: {first:02x} {second:02x}");
    let (len, start) = match second & 0x7f {
        126 => match rest.first_chunk::<2>() {
            Some(len) => (usize::from(u16::from_be_bytes(*len)), 8),
            None => return Ok(None),
        },
        127 => bail!("an order of more than 64 KiB"),
        len => (usize::from(len), 6),
    };
    Ok((bytes.len() >= start + len).then_some(start..start + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_there_with_its_last_byte() {
        let mut frame = vec![0x81, 0x80 | 126, 1, 0, 9, 9, 9, 9];
        frame.resize(8 + 256, 7);
        for len in 0..frame.len() {
            assert_eq!(payload_of(&frame[..len]).unwrap(), None, "{len}");
        }
        assert_eq!(payload_of(&frame).unwrap(), Some(8..264));
        assert_eq!(payload_of(&[0x81, 0x83, 0, 0, 0, 0, 1, 2, 3, 0x81]).unwrap(), Some(6..9));
        assert!(payload_of(&[0x81, 0x03]).is_err(), "not masked");
        assert!(payload_of(&[0x89, 0x80]).is_err(), "a ping");
    }

    #[test]
    fn the_upgrade_is_answered_as_the_standard_says() {
        // RFC 6455 section 1.3.
        let request = "GET /chat HTTP/1.1\r\nHost: a\r\nsec-websocket-KEY: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        assert!(switching_protocols(request).unwrap().contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(switching_protocols("GET / HTTP/1.1\r\n\r\n").is_err());
    }
}
