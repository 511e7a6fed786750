//! How long does a bare frame take there and back? AF_XDP and AF_PACKET, on a veth pair that this
//! program makes and removes (root).
//!
//! ```text
//! cargo run --profile fast -p drivers --example echo_latency [-- ROUND_TRIPS]
//! ```
//!
//! Both ends are driven by *one* thread that spins: send on the left, poll the right, send back, poll
//! the left. So no number here contains a thread switch, and each contains two kicks, two passes
//! through the kernel's veth driver and two copies each way: it is the floor for everything built on
//! top of it on this machine, not the latency of a NIC. The drivers take turns, so that a disturbance
//! of the machine falls on all of them.

use std::time::{Duration, Instant};

use drivers::af_packet::{AfPacket, AfPacketConfig};
use drivers::af_xdp::{AfXdp, AfXdpConfig, BusyPoll};
use drivers::error::Result;
use drivers::filter::Filter;
use drivers::frame_memory::ensure_huge_pages;
use drivers::port::{Burst, Port};
use drivers::select::AnyPort;
use drivers::testbed::{self, Namespace, Testbed, TestbedConfig};
use hdrhistogram::Histogram;

/// Ethernet type for local experiments (IEEE 802), so that no IP stack takes part.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
const FRAME_LEN: usize = 200;
const WARM_UP: u64 = 2_000;
/// Round trips of one driver before the next has its turn.
const TURN: u64 = 5_000;
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

struct Contestant {
    name: &'static str,
    left: AnyPort,
    right: AnyPort,
    round_trips_ns: Histogram<u64>,
    // Dropped last: the ports go before their wire.
    _bed: Testbed,
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let round_trips: u64 = match std::env::args().nth(1) {
        Some(text) => text.parse().map_err(|_| format!("{text:?} is no number of round trips"))?,
        None => 100_000,
    };
    if let Some(reason) = testbed::unavailable() {
        return Err(reason.into());
    }
    testbed::sweep_stale();
    let huge = ensure_huge_pages(64);
    println!("huge pages: {} free{}", huge.free, huge.why.map(|why| format!(" ({why})")).unwrap_or_default());

    let mut contestants = vec![
        contestant("af_xdp native copy", |interface| xdp(interface, true, None))?,
        contestant("af_xdp native copy, busy poll", |interface| {
            xdp(interface, true, Some(BusyPoll { interval_ns: 0, ..BusyPoll::default() }))
        })?,
        contestant("af_xdp generic copy", |interface| xdp(interface, false, None))?,
        contestant("af_packet tpacket_v2", |interface| {
            AfPacket::open(&AfPacketConfig::new(interface, Filter::Everything)).map(AnyPort::AfPacket)
        })?,
    ];
    for contestant in &mut contestants {
        contestant.run(WARM_UP)?;
        contestant.round_trips_ns.reset();
        let info = contestant.left.info();
        println!("{:32} {} {}, huge pages {}", contestant.name, info.driver, info.mode, info.huge_pages);
        for reason in &info.why {
            println!("{:32}   - {reason}", "");
        }
    }
    let mut left = round_trips;
    while left > 0 {
        let turn = left.min(TURN);
        for contestant in &mut contestants {
            contestant.run(turn)?;
        }
        left -= turn;
    }
    println!("\nround trip of a {FRAME_LEN}-byte frame, microseconds ({round_trips} each)");
    println!("{:32} {:>8} {:>8} {:>8} {:>8}", "", "p50", "p99", "p99.9", "max");
    for contestant in &contestants {
        let at = |quantile: f64| contestant.round_trips_ns.value_at_quantile(quantile) as f64 / 1000.0;
        println!("{:32} {:8.2} {:8.2} {:8.2} {:8.2}", contestant.name, at(0.5), at(0.99), at(0.999), at(1.0));
    }
    Ok(())
}

fn xdp(interface: &str, native: bool, busy_poll: Option<BusyPoll>) -> Result<AnyPort> {
    let config = AfXdpConfig { native, busy_poll, ..AfXdpConfig::new(interface, Filter::Everything) };
    AfXdp::open(&config).map(AnyPort::AfXdp)
}

fn contestant(name: &'static str, open: impl Fn(&str) -> Result<AnyPort> + Sync) -> Result<Contestant> {
    let bed = Testbed::create(TestbedConfig { left: None, right: None, ..TestbedConfig::default() })?;
    let side = |namespace: &Namespace, interface: &str| namespace.run(|| open(interface)).flatten();
    let left = side(bed.left(), bed.left_interface())?;
    let right = side(bed.right(), bed.right_interface())?;
    // Three significant figures, up to a second.
    let round_trips_ns = Histogram::new_with_bounds(1, 1_000_000_000, 3).expect("constant bounds are valid");
    Ok(Contestant { name, left, right, round_trips_ns, _bed: bed })
}

impl Contestant {
    fn run(&mut self, round_trips: u64) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let clock = Instant::now();
        for number in 0..round_trips {
            let mut bytes = [0; FRAME_LEN];
            bytes[..6].copy_from_slice(&self.right.info().mac);
            bytes[6..12].copy_from_slice(&self.left.info().mac);
            bytes[12..14].copy_from_slice(&ETHERTYPE);
            bytes[14..22].copy_from_slice(&number.to_be_bytes());
            let start = Instant::now();
            send(&mut self.left, &bytes, &clock)?;
            let answer = receive(&mut self.right, &clock, number)?;
            send(&mut self.right, &answer, &clock)?;
            receive(&mut self.left, &clock, number)?;
            self.round_trips_ns.saturating_record(start.elapsed().as_nanos() as u64);
        }
        Ok(())
    }
}

fn send(port: &mut AnyPort, bytes: &[u8; FRAME_LEN], clock: &Instant) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let frame = port.allocate().ok_or("no free chunk")?;
    port.buffer(&frame)[..FRAME_LEN].copy_from_slice(bytes);
    port.commit(frame, FRAME_LEN);
    port.flush(clock.elapsed().as_nanos() as u64)?;
    Ok(())
}

/// Spins until the frame with this number is there; others (the kernel's own) are passed over.
fn receive(port: &mut AnyPort, clock: &Instant, number: u64) -> std::result::Result<[u8; FRAME_LEN], Box<dyn std::error::Error>> {
    let mut burst = Burst::new();
    let start = Instant::now();
    loop {
        let mut answer = None;
        port.receive(clock.elapsed().as_nanos() as u64, &mut burst);
        for index in 0..burst.len() {
            let handle = burst.frames()[index];
            if let Ok(bytes) = <[u8; FRAME_LEN]>::try_from(&*port.frame(handle))
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
        if start.elapsed() > ANSWER_LIMIT {
            return Err(format!("{} {}: frame {number} was lost", port.info().driver, port.info().mode).into());
        }
        port.flush(clock.elapsed().as_nanos() as u64)?;
    }
}
