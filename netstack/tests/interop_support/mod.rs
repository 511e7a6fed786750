//! A wire, our stack at one end of it, and real peers at the other: programs that we did not write, on the
//! kernel's TCP.

pub mod lossy;
pub mod peers;
pub mod tls_pipe;

use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use drivers::filter::Filter;
use drivers::select::{self, AnyPort, Link, LinkConfig};
use drivers::testbed::{self, ENGINE_ADDRESS, Testbed, TestbedConfig};
use lossy::Lossy;
use netstack::stack::{Stack, StackConfig};

/// Where the peers listen: the kernel's address on the far side.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The name in the peers' certificates.
pub const PEER_NAME: &str = "peer.test";
/// How long any step may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Says that a test was skipped; in CI none may be.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped: {reason}");
    eprintln!("skipped: {reason}");
}

/// The caller's clock, in nanoseconds.
pub fn now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// The wall clock, in seconds.
pub fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Runs the test over AF_XDP and over AF_PACKET, each on a wire of its own.
pub fn over_each_link(test: impl Fn(&mut Rig)) {
    if let Some(reason) = testbed::unavailable() {
        return skip(&reason);
    }
    for link in [Link::AfXdp, Link::AfPacket] {
        test(&mut Rig::new(link));
    }
}

/// The port under our stack.
pub type TestPort = Lossy<AnyPort>;

/// A wire with our stack on its left side.
pub struct Rig {
    // Before the wire, so that the port is closed while its interface is still there.
    pub stack: Stack<TestPort>,
    pub bed: Testbed,
    pub link: Link,
}

impl Rig {
    fn new(link: Link) -> Rig {
        let bed = Testbed::create(TestbedConfig::default()).expect("a wire");
        let mut config = LinkConfig::new(link, bed.left_interface(), Filter::Address(ENGINE_ADDRESS));
        config.rx_frames = 1024;
        config.tx_frames = 512;
        let opened = bed.left().run(|| select::open(&config)).expect("namespace").expect("link opens");
        let config = StackConfig {
            address: Some((ENGINE_ADDRESS, 24)),
            hosts: vec![(PEER_NAME.to_owned(), PEER)],
            sockets_max: 4,
            seed: now_ns() ^ unix_s(),
            ..StackConfig::default()
        };
        Rig { stack: Stack::new(Lossy::new(opened.port), &config, now_ns()).expect("a stack"), bed, link }
    }

    /// One pass of the engine's loop: `work` after every frame, and once more at the end.
    pub fn pass(&mut self, work: &mut impl FnMut(&mut Stack<TestPort>, u64)) {
        let frames = self.stack.receive(now_ns());
        while let Some(fed) = self.stack.ingress_next(now_ns()) {
            if fed.is_some() {
                work(&mut self.stack, now_ns());
            }
            self.stack.transmit(now_ns());
            self.stack.flush(now_ns()).expect("the port lives");
        }
        self.stack.maintain(now_ns());
        work(&mut self.stack, now_ns());
        if self.stack.transmit(now_ns()) == 0 && frames == 0 {
            // The peer may need this core.
            std::thread::sleep(Duration::from_micros(20));
        }
        self.stack.flush(now_ns()).expect("the port lives");
    }

    /// Passes until `work` says that it is done.
    pub fn until(&mut self, what: &str, mut work: impl FnMut(&mut Stack<TestPort>, u64) -> bool) {
        let start = Instant::now();
        let mut done = false;
        while !done {
            let link = self.link;
            assert!(start.elapsed() < PATIENCE, "{what} over {link}: not within {PATIENCE:?}; {:?}", self.stack.statistics());
            self.pass(&mut |stack, now_ns| done = done || work(stack, now_ns));
        }
    }

    /// Passes for a while, so that what is under way arrives.
    pub fn settle(&mut self) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(50) {
            self.pass(&mut |_, _| {});
        }
    }
}
