//! Linux's TCP as an end: two network namespaces, each with a TUN device, and the relay between the devices in real time.
//!
//! The relay's thread spins; the kernel's side of each packet runs in it, as a TUN device has no interrupt of its own. The
//! programs at the ends are ordinary blocking sockets on threads of their own, kept off the relay's CPU. An end of ours lives
//! in the relay's thread and talks to the second namespace alone: its packets go into the same relay, as if its
//! namespace had a third address.
//!
//! Several connections run at a time, each over a relay of its own: they share neither a queue nor a fate, but the
//! machine's disturbances.

use super::super::keep_off;
use super::ends::{CLIENT, End, Ours, Pattern, SERVER, START_NS};
use super::relay::{self, Path, Relay, Way};
use anyhow::{Context, anyhow, ensure};
use drivers::testbed::Namespace;
use netstack::tcp::{BackOff, TcpConfig};
use nix::libc;
use nix::sched::sched_getcpu;
use nix::sys::socket::{setsockopt, sockopt};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

nix::ioctl_write_ptr_bad!(
    /// TUNSETIFF.
    set_interface,
    nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
    libc::ifreq
);

const KERNEL_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const OUR_PORT: u16 = 20_000;
/// Packets read from a device before it is another's turn.
const TURN: usize = 32;
/// Bytes of one read or write of a program.
const CHUNK: usize = 16 * 1_024;
/// How soon a program notices that it is over.
const PATIENCE: Duration = Duration::from_millis(50);
/// Between the arrival of an order and the next: its acknowledgement must be back.
const ORDER_PAUSE_NS: u64 = 30_000_000;
const OPENING_MAX: Duration = Duration::from_secs(10);
/// Numbers of namespaces, away from those that a testbed uses.
static COUNT: AtomicU32 = AtomicU32::new(500);

/// The kernel at one end.
struct Kernel {
    device: File,
    namespace: Namespace,
}

impl Kernel {
    fn new(name: &str, address: Ipv4Addr) -> anyhow::Result<Kernel> {
        let namespace = Namespace::create(name)?;
        let device = namespace.run(|| tun("t0"))?.context("a TUN device")?;
        namespace.ip(&["address", "add", &format!("{address}/24"), "dev", "t0"])?;
        namespace.ip(&["link", "set", "t0", "txqueuelen", "10000", "up"])?;
        // A connection must not begin with what the one before it has learned.
        namespace.run(|| std::fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1"))?.context("net.ipv4.tcp_no_metrics_save")?;
        Ok(Kernel { device, namespace })
    }
}

/// A TUN device in the calling thread's namespace.
fn tun(name: &str) -> std::io::Result<File> {
    let device = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: an ifreq of zeros is a valid one: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the descriptor is open, and the request lives until the call returns.
    unsafe { set_interface(device.as_raw_fd(), &raw const request) }?;
    Ok(device)
}

/// What is asked of the connections of one measurement.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The wire of each.
    pub path: Path,
    /// Which way the bytes go.
    pub direction: Way,
    /// Connections between two kernels: what they are called, and the kernel's congestion control.
    pub kernels: &'a [(&'static str, &'static str)],
    /// Connections between one of ours and a kernel: what they are called, and how far a loss lowers ours' window.
    pub ours: &'a [(&'static str, BackOff)],
    /// How many of each of these and those.
    pub each: usize,
    /// One write of so many bytes after the other instead of a stream, each first packet lost: times are the outcome.
    pub order: Option<u64>,
    /// How long, once they are open.
    pub time: Duration,
    /// Of all chances.
    pub seed: u64,
}

/// What came of it: for each connection bytes a second, or for each order the nanoseconds until it had arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome(Vec<(&'static str, u64)>);

impl Outcome {
    /// The values of one side.
    pub fn of(&self, side: &str) -> impl Iterator<Item = u64> {
        self.0.iter().filter(move |(name, _)| *name == side).map(|&(_, value)| value)
    }
}

/// What a program needs to know of a connection.
#[derive(Clone)]
struct Program {
    name: &'static str,
    /// The kernel's congestion control; none for connections of ours, whose far end keeps the kernel's default.
    control: Option<&'static str>,
    /// What the receiver has received.
    received: Arc<AtomicU64>,
}

/// What the programs at the kernels' ends share.
struct Shared {
    go: AtomicBool,
    over: AtomicBool,
    open: AtomicUsize,
    /// By the port of the end that connects.
    programs: Mutex<HashMap<u16, Program>>,
    times: Mutex<Vec<(&'static str, u64)>>,
    errors: Mutex<Vec<anyhow::Error>>,
}

/// Two kernels.
pub struct Lab {
    client: Kernel,
    server: Kernel,
    ports: u16,
}

impl Lab {
    /// Makes the namespaces and their devices.
    pub fn new() -> anyhow::Result<Lab> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |side: char| format!("{}{}-{number}{side}", drivers::testbed::PREFIX, std::process::id());
        Ok(Lab { client: Kernel::new(&name('a'), KERNEL_CLIENT)?, server: Kernel::new(&name('b'), *SERVER.ip())?, ports: 0 })
    }

    /// Runs the connections of a task beside each other.
    pub fn run(&mut self, task: &Task<'_>) -> anyhow::Result<Outcome> {
        let shared = Arc::new(Shared {
            go: AtomicBool::new(false),
            over: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            programs: Mutex::default(),
            times: Mutex::default(),
            errors: Mutex::default(),
        });
        let spinning = sched_getcpu().ok();
        let (direction, order) = (task.direction, task.order);
        let total = (task.kernels.len() + task.ours.len()) * task.each;
        let listener = self.server.namespace.run(listen)??;
        let mut threads = Vec::new();
        let accepting = shared.clone();
        threads.push(self.server.namespace.spawn(move || {
            take_place(spinning);
            accept(&listener, total, direction, order, &accepting);
        })?);
        for &(name, control) in task.kernels {
            for _ in 0..task.each {
                let shared = shared.clone();
                threads.push(self.client.namespace.spawn(move || {
                    take_place(spinning);
                    shared.note(connect(name, control, direction, order, &shared));
                })?);
            }
        }
        let outcome = self.relay(task, &shared);
        // From here on nothing arrives: programs end by their own patience.
        shared.over.store(true, Ordering::Release);
        shared.go.store(true, Ordering::Release);
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a program panicked"))?.context("a namespace")?;
        }
        match shared.errors.lock().map_err(|_| anyhow!("a program panicked"))?.pop() {
            Some(error) => Err(error),
            None => outcome,
        }
    }

    /// A port that no connection of ours has had of late.
    fn next_port(&mut self) -> u16 {
        self.ports = self.ports % 10_000 + 1;
        OUR_PORT + self.ports
    }

    fn relay(&mut self, task: &Task<'_>, shared: &Shared) -> anyhow::Result<Outcome> {
        // What the connections of the task before left behind.
        let mut packet = [0; 2_048];
        for device in [&mut self.client.device, &mut self.server.device] {
            while device.read(&mut packet).is_ok() {}
        }
        let _urgent = Urgent::new();
        let begin = Instant::now();
        let now = || START_NS + begin.elapsed().as_nanos() as u64;
        let mut wires = Wires {
            path: task.path,
            lose: if task.order.is_some() { |way, number| way == Way::Up && number % 2 == 0 } else { |_, _| false },
            seed: task.seed,
            flows: Vec::new(),
        };
        for (name, back_off) in task.ours.iter().flat_map(|side| std::iter::repeat_n(*side, task.each)) {
            let local = SocketAddrV4::new(*CLIENT.ip(), self.next_port());
            let isn = crate::random::Random::new(task.seed + u64::from(local.port())).next() as u32;
            let mut end = Ours::new(&TcpConfig { back_off, ..TcpConfig::default() }, local, SERVER, isn, now());
            if task.direction == Way::Up && task.order.is_none() {
                end.offer(u64::MAX / 2);
            }
            let program = shared.register(local.port(), name, None);
            wires.flows.push(Flow {
                port: local.port(),
                ours: Some(Own { end, program, order_at_ns: None, next_at_ns: 0 }),
                relay: wires.new_relay(),
            });
        }
        let Lab { client, server, .. } = self;
        let mut turn = |wires: &mut Wires| wires.turn(&mut client.device, &mut server.device, now());
        // Both programs of a connection between kernels, the far one of ours.
        let programs = (task.kernels.len() * 2 + task.ours.len()) * task.each;
        while shared.open.load(Ordering::Acquire) < programs || !wires.ours_are_open() {
            turn(&mut wires)?;
            ensure!(begin.elapsed() < OPENING_MAX, "the connections did not open");
            ensure!(shared.failed() == 0, "a program failed");
        }
        shared.go.store(true, Ordering::Release);
        let programs: Vec<(u16, Program)> = shared.programs().iter().map(|(&port, program)| (port, program.clone())).collect();
        let before: Vec<u64> = programs.iter().map(|(port, program)| wires.received(*port, program)).collect();
        let start = Instant::now();
        while start.elapsed() < task.time {
            turn(&mut wires)?;
            if let Some(order) = task.order {
                wires.order(order, now(), shared);
            }
        }
        if task.order.is_some() {
            return Ok(Outcome(shared.times.lock().map_err(|_| anyhow!("a program panicked"))?.clone()));
        }
        let ns = start.elapsed().as_nanos();
        let speed = |bytes: u64| (u128::from(bytes) * 1_000_000_000 / ns) as u64;
        let speeds =
            programs.iter().zip(before).map(|((port, program), before)| (program.name, speed(wires.received(*port, program) - before)));
        Ok(Outcome(speeds.collect()))
    }
}

/// As long as it lives the calling thread goes before all others, for a relay that does not run delays every packet.
struct Urgent;

impl Urgent {
    fn new() -> Urgent {
        Urgent::prefer(-20);
        Urgent
    }

    fn prefer(nice: libc::c_int) {
        // Where the kernel groups threads by sessions, their own priority counts within the session alone.
        let _ = std::fs::write("/proc/self/autogroup", nice.to_string());
        // SAFETY: the call touches no memory of ours; 0 is the calling thread. Where it is refused the thread stays as it is.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        Urgent::prefer(0);
    }
}

/// For the programs: away from the relay's CPU, and before the threads of others.
fn take_place(spinning: Option<usize>) {
    keep_off(spinning);
    Urgent::prefer(-20);
}

impl Shared {
    fn programs(&self) -> MutexGuard<'_, HashMap<u16, Program>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, port: u16, name: &'static str, control: Option<&'static str>) -> Program {
        let program = Program { name, control, received: Arc::default() };
        self.programs().insert(port, program.clone());
        program
    }

    fn note(&self, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.errors.lock().unwrap_or_else(PoisonError::into_inner).push(error);
        }
    }

    fn failed(&self) -> usize {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn took(&self, name: &'static str, ns: u64) {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).push((name, ns));
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Waits until all connections are open.
    fn wait(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
        while !self.go.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// The program that connects.
fn connect(name: &'static str, control: &'static str, direction: Way, order: Option<u64>, shared: &Shared) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(SERVER).context("Linux connects")?;
    let program = shared.register(stream.local_addr()?.port(), name, Some(control));
    prepare(&stream)?;
    shared.wait();
    match (direction, order) {
        (Way::Up, None) => send(&mut stream, &program, shared),
        (Way::Up, Some(order)) => send_orders(&mut stream, &program, order, shared),
        (Way::Down, _) => receive(&mut stream, &program, None, shared),
    }
}

/// A program that another thread is just starting holds the last listener open until it has become that program.
fn listen() -> std::io::Result<TcpListener> {
    let start = Instant::now();
    loop {
        match TcpListener::bind(SERVER) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && start.elapsed() < OPENING_MAX => std::thread::sleep(PATIENCE),
            bound => return bound,
        }
    }
}

/// The program that accepts: each connection is served by a thread of its own.
fn accept(listener: &TcpListener, total: usize, direction: Way, order: Option<u64>, shared: &Shared) {
    shared.note(listener.set_nonblocking(true).context("a listener"));
    std::thread::scope(|scope| {
        let mut accepted = 0;
        while accepted < total && !shared.is_over() {
            match listener.accept() {
                Ok((stream, from)) => {
                    accepted += 1;
                    scope.spawn(move || shared.note(serve(stream, from.port(), direction, order, shared)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_micros(200)),
                Err(error) => return shared.note(Err(error).context("Linux accepts")),
            }
        }
    });
}

fn serve(mut stream: TcpStream, port: u16, direction: Way, order: Option<u64>, shared: &Shared) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    prepare(&stream)?;
    shared.wait();
    // Known by now: the other end is open, too.
    let program = shared.programs().get(&port).cloned();
    let Some(program) = program else { return Ok(()) };
    match direction {
        Way::Up => receive(&mut stream, &program, order, shared),
        Way::Down => send(&mut stream, &program, shared),
    }
}

fn prepare(stream: &TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // When it is over nothing may linger: the wire is gone.
    setsockopt(stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).context("SO_LINGER")
}

fn use_control(stream: &TcpStream, program: &Program) -> anyhow::Result<()> {
    let control = program.control.unwrap_or("cubic");
    setsockopt(stream, sockopt::TcpCongestion, &OsString::from(control)).with_context(|| format!("Linux's {control}"))
}

/// Nothing, if a call has only waited too long.
fn patient(done: std::io::Result<usize>) -> anyhow::Result<usize> {
    match done {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => Ok(0),
        done => done.context("Linux's end of a transfer"),
    }
}

fn send(stream: &mut TcpStream, program: &Program, shared: &Shared) -> anyhow::Result<()> {
    use_control(stream, program)?;
    let (pattern, mut offset) = (Pattern::new(), 0);
    while !shared.is_over() {
        offset += patient(stream.write(pattern.at(offset, CHUNK)))? as u64;
    }
    Ok(())
}

/// With orders, each is answered at once, as a venue does.
fn receive(stream: &mut TcpStream, program: &Program, order: Option<u64>, shared: &Shared) -> anyhow::Result<()> {
    let (pattern, mut buffer, mut offset) = (Pattern::new(), vec![0; CHUNK], 0);
    while !shared.is_over() {
        let len = patient(stream.read(&mut buffer))?;
        ensure!(pattern.holds(offset, &buffer[..len]), "byte {offset} and on were not sent so");
        offset += len as u64;
        program.received.store(offset, Ordering::Release);
        if order.is_some() && len > 0 {
            patient(stream.write(pattern.at(offset - len as u64, len)))?;
        }
    }
    Ok(())
}

fn send_orders(stream: &mut TcpStream, program: &Program, order: u64, shared: &Shared) -> anyhow::Result<()> {
    use_control(stream, program)?;
    let (pattern, mut buffer, mut offset, mut answered) = (Pattern::new(), vec![0; CHUNK], 0, 0);
    loop {
        let begin = Instant::now();
        stream.write_all(pattern.at(offset, order as usize)).context("Linux sends an order")?;
        offset += order;
        while program.received.load(Ordering::Acquire) < offset {
            if shared.is_over() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(20));
        }
        shared.took(program.name, begin.elapsed().as_nanos() as u64);
        while answered < offset && !shared.is_over() {
            answered += patient(stream.read(&mut buffer))? as u64;
        }
        std::thread::sleep(Duration::from_nanos(ORDER_PAUSE_NS));
    }
}

/// A connection of ours.
struct Own {
    end: Ours,
    program: Program,
    /// When the order under way was written.
    order_at_ns: Option<u64>,
    /// When the next will be.
    next_at_ns: u64,
}

/// A connection and its wire.
struct Flow {
    /// Of the end that opened it.
    port: u16,
    ours: Option<Own>,
    relay: Relay,
}

struct Wires {
    path: Path,
    lose: fn(Way, u64) -> bool,
    seed: u64,
    flows: Vec<Flow>,
}

impl Wires {
    fn new_relay(&self) -> Relay {
        let mut relay = Relay::new(self.path, self.seed.wrapping_mul(1_000).wrapping_add(self.flows.len() as u64));
        relay.lose = self.lose;
        relay
    }

    fn ours_are_open(&self) -> bool {
        self.flows.iter().all(|flow| flow.ours.as_ref().is_none_or(|own| own.end.is_open()))
    }

    /// Bytes that the receiver of a connection has received.
    fn received(&self, port: u16, program: &Program) -> u64 {
        let own = self.flows.iter().filter(|flow| flow.port == port).find_map(|flow| flow.ours.as_ref());
        own.map_or(0, |own| own.end.received()).max(program.received.load(Ordering::Acquire))
    }

    /// The wire of the connection with this port, made when its first packet passes.
    fn flow(&mut self, port: u16) -> &mut Flow {
        let at = self.flows.iter().position(|flow| flow.port == port).unwrap_or_else(|| {
            self.flows.push(Flow { port, ours: None, relay: self.new_relay() });
            self.flows.len() - 1
        });
        &mut self.flows[at]
    }

    /// One order after the other on the connections of ours.
    fn order(&mut self, order: u64, now_ns: u64, shared: &Shared) {
        for Own { end, program, order_at_ns, next_at_ns } in self.flows.iter_mut().filter_map(|flow| flow.ours.as_mut()) {
            if let Some(at_ns) = *order_at_ns
                && program.received.load(Ordering::Acquire) >= end.offered()
            {
                shared.took(program.name, now_ns - at_ns);
                (*order_at_ns, *next_at_ns) = (None, now_ns + ORDER_PAUSE_NS);
            }
            if order_at_ns.is_none() && now_ns >= *next_at_ns {
                end.offer(order);
                *order_at_ns = Some(now_ns);
            }
        }
    }

    /// Carries what there is to be carried.
    fn turn(&mut self, client: &mut File, server: &mut File, now_ns: u64) -> anyhow::Result<()> {
        let mut packet = [0; 2_048];
        for (device, way) in [(&mut *client, Way::Up), (&mut *server, Way::Down)] {
            for _ in 0..TURN {
                let len = match device.read(&mut packet) {
                    Ok(len) => len,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("a TUN device"),
                };
                if let Some((source, destination)) = relay::ports(&packet[..len]) {
                    let port = if way == Way::Up { source } else { destination };
                    self.flow(port).relay.send(way, now_ns, packet[..len].to_vec());
                }
            }
        }
        for Flow { ours, relay, .. } in &mut self.flows {
            while let Some((way, packet)) = relay.arrived(now_ns) {
                match (way, &mut *ours) {
                    (Way::Up, _) => server.write_all(&packet).context("a TUN device")?,
                    (Way::Down, None) => client.write_all(&packet).context("a TUN device")?,
                    (Way::Down, Some(own)) => own.end.deliver(now_ns, &packet)?,
                }
            }
            if let Some(own) = ours {
                own.end.work(now_ns, &mut |packet| relay.send(Way::Up, now_ns, packet))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benches::OURS;

    #[test]
    fn kernels_and_ours_share_a_relay_and_every_byte_arrives_as_it_was_sent() {
        if let Some(reason) = drivers::testbed::unavailable() {
            assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: {reason}");
            eprintln!("skipped: {reason}");
            return;
        }
        let path = Path { delay_ns: 1_000_000, rate: 50_000_000, queue: 64_000, loss: 20, late: 100, lateness_ns: 500_000 };
        let kernels = [("Linux", "cubic")];
        let mut lab = Lab::new().expect("namespaces");
        for (direction, order) in [(Way::Up, None), (Way::Down, None), (Way::Up, Some(200))] {
            let path = if order.is_some() { Path { loss: 0, late: 0, ..path } } else { path };
            // On a machine that does much else, nothing may have arrived when the time is over: then more of it.
            let run = |lab: &mut Lab, time| {
                let task = Task { path, direction, kernels: &kernels, each: 2, ours: &[(OURS, BackOff::Adaptive)], order, time, seed: 3 };
                let outcome = lab.run(&task).expect("it runs");
                ["Linux", OURS].map(|side| outcome.of(side).collect::<Vec<_>>())
            };
            let complete = |sides: &[Vec<u64>; 2]| sides.iter().all(|values| values.len() >= 2 && values.iter().all(|&value| value > 0));
            let mut sides = run(&mut lab, Duration::from_millis(800));
            if !complete(&sides) {
                eprintln!("within 800 ms: {sides:?}; once more, with 8 s");
                sides = run(&mut lab, Duration::from_secs(8));
            }
            assert!(complete(&sides), "{direction:?} {sides:?}");
            if order.is_some() {
                assert!(sides[1].iter().all(|&ns| ns >= 3_000_000), "an order's first packet is lost: {:?}", sides[1]);
            }
        }
    }
}
