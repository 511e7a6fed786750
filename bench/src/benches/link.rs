//! `link`: how long 200 bytes take there and back over a veth pair between two network namespaces that the bench makes.
//!
//! Nothing is computed at either end: this is what the link itself costs, by the way one talks to it.
//!
//! | side | what it is |
//! |---|---|
//! | `AF_XDP` | our driver, native copy mode: bare frames; the floor under everything that runs over this link |
//! | `AF_PACKET` | our driver, TPACKET_V2 rings: bare frames |
//! | `kernel UDP`, `kernel TCP` | non-blocking sockets that are asked again and again, as a competent engineer without a driver would |
//! | `blocking UDP`, `blocking TCP` | sockets that sleep until there is something |
//!
//! One thread drives both ends of the sides that spin: send on the left, poll the right, send back, poll the left. No thread
//! switch is in any of their times, and both ends' kernel work is. The far end of the sides that block is a thread on another
//! CPU (on the same, if there is one only). The sides take turns.
//!
//! veth is no network card: these figures say what the ways cost beside each other on this machine, not what a card costs.

use super::{BLOCK, ONE, SEED, keep_off};
use crate::measure::{Budget, Meter, Side, alternate};
use crate::random::Random;
use crate::report::{Report, Target};
use anyhow::{Context, ensure};
use drivers::af_packet::{AfPacket, AfPacketConfig};
use drivers::af_xdp::{AfXdp, AfXdpConfig};
use drivers::filter::Filter;
use drivers::port::{Burst, Port};
use drivers::select::AnyPort;
use drivers::testbed::{self, Namespace, Testbed, TestbedConfig};
use nix::sched::sched_getcpu;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const BENCH: &str = "link";
const CASE: &str = "200 bytes there and back";
/// Bytes of an echo: a frame's whole length, a datagram's or a stream's payload.
const LEN: usize = 200;
/// Ethernet type for local experiments (IEEE 802), so that no IP stack takes part.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How soon the far end of a blocking side notices that it is over.
const SLEEP: Duration = Duration::from_millis(100);
const PORT: u16 = 7;
const SIDES: [&str; 6] = ["AF_XDP", "AF_PACKET", "kernel UDP", "kernel TCP", "blocking UDP", "blocking TCP"];

/// Why it cannot run here, if it cannot.
pub fn unavailable() -> Option<String> {
    testbed::unavailable()
}

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    testbed::sweep_stale();
    let mut echoes: Vec<Box<dyn Echo>> = vec![
        Box::new(Frames::new(|interface| AfXdp::open(&AfXdpConfig::new(interface, Filter::Everything)).map(AnyPort::AfXdp))?),
        Box::new(Frames::new(|interface| AfPacket::open(&AfPacketConfig::new(interface, Filter::Everything)).map(AnyPort::AfPacket))?),
        Box::new(Datagrams::new()?),
        Box::new(Streams::new()?),
        Box::new(BlockingDatagrams::new()?),
        Box::new(BlockingStreams::new()?),
    ];
    let mut sides = Vec::new();
    for (name, echo) in SIDES.into_iter().zip(&mut echoes) {
        let (mut random, mut payload) = (Random::new(SEED), [0; LEN]);
        sides.push(Side::new(name, ONE, move |meter: &mut Meter| {
            for _ in 0..BLOCK {
                payload.fill_with(|| random.next() as u8);
                echo.lay(&payload);
                let answer = meter.time(0, || echo.go())?;
                ensure!(answer[LEN - 100..] == payload[LEN - 100..], "{name}: the answer is not what was sent");
            }
            Ok(())
        }));
    }
    report.add_case(BENCH, CASE, &alternate(budget, sides)?, Target::None);
    Ok(())
}

/// Something that answers what it is sent.
trait Echo {
    /// Puts the bytes where they will be sent from.
    fn lay(&mut self, payload: &[u8; LEN]);
    /// There and back.
    fn go(&mut self) -> anyhow::Result<[u8; LEN]>;
}

/// Frames through our drivers.
struct Frames {
    left: AnyPort,
    right: AnyPort,
    outgoing: [u8; LEN],
    number: u64,
    clock: Instant,
    // Dropped last: the ports go before their wire.
    _bed: Testbed,
}

impl Frames {
    fn new(open: impl Fn(&str) -> drivers::error::Result<AnyPort> + Sync) -> anyhow::Result<Frames> {
        let bed = Testbed::create(TestbedConfig { left: None, right: None, ..TestbedConfig::default() })?;
        let side = |namespace: &Namespace, interface: &str| namespace.run(|| open(interface)).flatten();
        let left = side(bed.left(), bed.left_interface())?;
        let right = side(bed.right(), bed.right_interface())?;
        Ok(Frames { left, right, outgoing: [0; LEN], number: 0, clock: Instant::now(), _bed: bed })
    }
}

fn send(port: &mut AnyPort, bytes: &[u8; LEN], now_ns: u64) -> anyhow::Result<()> {
    let frame = port.allocate().context("no free chunk")?;
    port.buffer(&frame)[..LEN].copy_from_slice(bytes);
    port.commit(frame, LEN);
    port.flush(now_ns).context("the port is gone")
}

/// Asks until the frame with this number is there; others (the kernel's own) are passed over.
fn receive(port: &mut AnyPort, clock: &Instant, number: u64) -> anyhow::Result<[u8; LEN]> {
    let (mut burst, start) = (Burst::new(), clock.elapsed());
    loop {
        let now = clock.elapsed();
        port.receive(now.as_nanos() as u64, &mut burst);
        let mut answer = None;
        for index in 0..burst.len() {
            let handle = burst.frames()[index];
            if let Ok(bytes) = <[u8; LEN]>::try_from(&*port.frame(handle))
                && bytes[12..14] == ETHERTYPE
                && bytes[14..22] == number.to_be_bytes()
            {
                answer = Some(bytes);
            }
        }
        port.recycle(&mut burst);
        if let Some(answer) = answer {
            return Ok(answer);
        }
        ensure!(now - start < PATIENCE, "{} {}: frame {number} was lost", port.info().driver, port.info().mode);
        port.flush(now.as_nanos() as u64).context("the port is gone")?;
    }
}

impl Echo for Frames {
    fn lay(&mut self, payload: &[u8; LEN]) {
        self.number += 1;
        self.outgoing = *payload;
        self.outgoing[..6].copy_from_slice(&self.right.info().mac);
        self.outgoing[6..12].copy_from_slice(&self.left.info().mac);
        self.outgoing[12..14].copy_from_slice(&ETHERTYPE);
        self.outgoing[14..22].copy_from_slice(&self.number.to_be_bytes());
    }

    fn go(&mut self) -> anyhow::Result<[u8; LEN]> {
        let Frames { left, right, outgoing, number, clock, .. } = self;
        send(left, outgoing, clock.elapsed().as_nanos() as u64)?;
        let arrived = receive(right, clock, *number)?;
        send(right, &arrived, clock.elapsed().as_nanos() as u64)?;
        receive(left, clock, *number)
    }
}

/// The kernel's addresses at both ends of a testbed.
fn addresses(bed: &Testbed) -> anyhow::Result<(Ipv4Addr, Ipv4Addr)> {
    bed.config().left.zip(bed.config().right).context("both ends have an address")
}

/// Asks a non-blocking socket again and again.
fn ask(mut call: impl FnMut() -> std::io::Result<usize>) -> anyhow::Result<usize> {
    let start = Instant::now();
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => ensure!(start.elapsed() < PATIENCE, "an echo was lost"),
            done => return done.context("a socket"),
        }
    }
}

/// Two connected UDP sockets.
fn datagrams(bed: &Testbed) -> anyhow::Result<(UdpSocket, UdpSocket)> {
    let (left, right) = addresses(bed)?;
    let at_left = bed.left().run(|| UdpSocket::bind((left, PORT)))??;
    let at_right = bed.right().run(|| UdpSocket::bind((right, PORT)))??;
    at_left.connect((right, PORT))?;
    at_right.connect((left, PORT))?;
    Ok((at_left, at_right))
}

struct Datagrams {
    left: UdpSocket,
    right: UdpSocket,
    outgoing: [u8; LEN],
    _bed: Testbed,
}

impl Datagrams {
    fn new() -> anyhow::Result<Datagrams> {
        let bed = Testbed::create(TestbedConfig::default())?;
        let (left, right) = datagrams(&bed)?;
        left.set_nonblocking(true)?;
        right.set_nonblocking(true)?;
        Ok(Datagrams { left, right, outgoing: [0; LEN], _bed: bed })
    }
}

impl Echo for Datagrams {
    fn lay(&mut self, payload: &[u8; LEN]) {
        self.outgoing = *payload;
    }

    fn go(&mut self) -> anyhow::Result<[u8; LEN]> {
        let mut buffer = [0; LEN];
        ask(|| self.left.send(&self.outgoing))?;
        ask(|| self.right.recv(&mut buffer))?;
        ask(|| self.right.send(&buffer))?;
        ask(|| self.left.recv(&mut buffer))?;
        Ok(buffer)
    }
}

/// Two ends of a TCP connection, without Nagle's delay.
fn streams(bed: &Testbed) -> anyhow::Result<(TcpStream, TcpStream)> {
    let (_, right) = addresses(bed)?;
    let listener = bed.right().run(|| TcpListener::bind((right, PORT)))??;
    let left = bed.left().run(|| TcpStream::connect((right, PORT)))??;
    let (right, _) = listener.accept()?;
    left.set_nodelay(true)?;
    right.set_nodelay(true)?;
    Ok((left, right))
}

struct Streams {
    left: TcpStream,
    right: TcpStream,
    outgoing: [u8; LEN],
    _bed: Testbed,
}

impl Streams {
    fn new() -> anyhow::Result<Streams> {
        let bed = Testbed::create(TestbedConfig::default())?;
        let (left, right) = streams(&bed)?;
        left.set_nonblocking(true)?;
        right.set_nonblocking(true)?;
        Ok(Streams { left, right, outgoing: [0; LEN], _bed: bed })
    }
}

/// A whole echo from a stream.
fn fill(stream: &mut TcpStream, buffer: &mut [u8; LEN]) -> anyhow::Result<()> {
    let mut filled = 0;
    while filled < LEN {
        let len = ask(|| stream.read(&mut buffer[filled..]))?;
        ensure!(len > 0, "the other end closed");
        filled += len;
    }
    Ok(())
}

impl Echo for Streams {
    fn lay(&mut self, payload: &[u8; LEN]) {
        self.outgoing = *payload;
    }

    fn go(&mut self) -> anyhow::Result<[u8; LEN]> {
        let mut buffer = [0; LEN];
        // A send buffer that holds one echo at a time takes it whole.
        ensure!(ask(|| self.left.write(&self.outgoing))? == LEN, "an echo was cut");
        fill(&mut self.right, &mut buffer)?;
        ensure!(ask(|| self.right.write(&buffer))? == LEN, "an echo was cut");
        fill(&mut self.left, &mut buffer)?;
        Ok(buffer)
    }
}

/// A thread that answers, until it is dropped.
struct Answering {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
}

impl Answering {
    /// `answer` waits for something and answers it; it must come back within a moment if there is nothing.
    fn new(mut answer: impl FnMut() -> std::io::Result<()> + Send + 'static) -> Answering {
        let over = Arc::new(AtomicBool::new(false));
        let (seen, busy) = (over.clone(), sched_getcpu().ok());
        let thread = std::thread::spawn(move || {
            keep_off(busy);
            while !seen.load(Ordering::Acquire) {
                match answer() {
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::UnexpectedEof) => {}
                    done => done.context("the far end")?,
                }
            }
            Ok(())
        });
        Answering { over, thread: Some(thread) }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // An error of its own has made the echo fail already.
            let _ = thread.join();
        }
    }
}

struct BlockingDatagrams {
    left: UdpSocket,
    outgoing: [u8; LEN],
    _far: Answering,
    _bed: Testbed,
}

impl BlockingDatagrams {
    fn new() -> anyhow::Result<BlockingDatagrams> {
        let bed = Testbed::create(TestbedConfig::default())?;
        let (left, right) = datagrams(&bed)?;
        left.set_read_timeout(Some(PATIENCE))?;
        right.set_read_timeout(Some(SLEEP))?;
        let mut buffer = [0; LEN];
        let far = Answering::new(move || {
            let len = right.recv(&mut buffer)?;
            right.send(&buffer[..len]).map(drop)
        });
        Ok(BlockingDatagrams { left, outgoing: [0; LEN], _far: far, _bed: bed })
    }
}

impl Echo for BlockingDatagrams {
    fn lay(&mut self, payload: &[u8; LEN]) {
        self.outgoing = *payload;
    }

    fn go(&mut self) -> anyhow::Result<[u8; LEN]> {
        let mut buffer = [0; LEN];
        self.left.send(&self.outgoing)?;
        self.left.recv(&mut buffer).context("an echo was lost")?;
        Ok(buffer)
    }
}

struct BlockingStreams {
    left: TcpStream,
    outgoing: [u8; LEN],
    _far: Answering,
    _bed: Testbed,
}

impl BlockingStreams {
    fn new() -> anyhow::Result<BlockingStreams> {
        let bed = Testbed::create(TestbedConfig::default())?;
        let (left, mut right) = streams(&bed)?;
        left.set_read_timeout(Some(PATIENCE))?;
        right.set_read_timeout(Some(SLEEP))?;
        let mut buffer = [0; LEN];
        let far = Answering::new(move || {
            right.read_exact(&mut buffer)?;
            right.write_all(&buffer)
        });
        Ok(BlockingStreams { left, outgoing: [0; LEN], _far: far, _bed: bed })
    }
}

impl Echo for BlockingStreams {
    fn lay(&mut self, payload: &[u8; LEN]) {
        self.outgoing = *payload;
    }

    fn go(&mut self) -> anyhow::Result<[u8; LEN]> {
        let mut buffer = [0; LEN];
        self.left.write_all(&self.outgoing)?;
        self.left.read_exact(&mut buffer).context("an echo was lost")?;
        Ok(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    #[test]
    fn every_way_over_the_link_brings_back_what_was_sent() {
        if let Some(reason) = unavailable() {
            assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: {reason}");
            eprintln!("skipped: {reason}");
            return;
        }
        let mut report = Report::new(Machine::read());
        run(Budget::of_seconds(0.05).expect("positive"), &mut report).expect("it runs");
        let names: Vec<&str> = report.rows.iter().map(|row| row.curve).collect();
        assert_eq!(names, SIDES);
        assert!(report.rows.iter().all(|row| row.count >= 2 * BLOCK as u64 && row.p50 > 100), "{:?}", report.rows);
        assert_eq!(report.ratios.len(), 2 * (SIDES.len() - 1));
    }

    #[test]
    fn an_answer_that_never_comes_is_an_error() {
        let nothing = || Err(std::io::Error::from(ErrorKind::WouldBlock));
        assert_eq!(ask(nothing).expect_err("nobody answers").to_string(), "an echo was lost");
    }
}
