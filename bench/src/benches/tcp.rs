//! `tcp`: our TCP by the segment, and over wires that lose, beside smoltcp's and Linux's.
//!
//! *By the segment.* A connection in its common case: a data segment in (parsed, checksums verified, taken), a small write
//! out (to the finished packet), its acknowledgement in. Ours is [`netstack::tcp`] with its parser and smoltcp's packet
//! writer (the stack's own is leaner); the peer is smoltcp's socket on its own interface, without Ethernet. A scripted far
//! end sends both the same bytes.
//!
//! *In virtual time.* Two ends and a [`relay`] in one thread: a rate, a queue, a delay, losses or late packets from a seed.
//! The receiver is ours in each case, the sender is ours or smoltcp's, with its CUBIC and with its Reno; and the other way
//! round. All have their default settings (128 KiB to send from, 256 KiB to receive into).
//!
//! *In real time.* The same relay between two kernels ([`linux`]), and between ours and a kernel. All connections of a case
//! run at the same time, each over a relay of its own, so that disturbances of the machine happen to all. Linux's CUBIC is
//! what nearly all Linux machines use, and ours is shown with CUBIC's own back-off too, since these wires lose at random, which is
//! where H-TCP's ([`BackOff`]) carries more; BBR, where the kernel has it, does not take losses for congestion at all, and is
//! shown without a target.

mod cost;
mod ends;
mod linux;
mod relay;

use super::{OURS, SEED};
use crate::measure::{Budget, Measured, histogram};
use crate::report::{Ratio, Report, Target};
use anyhow::ensure;
use drivers::testbed;
use ends::{CLIENT, End, Opening, Ours, SERVER, START_NS, Simulation, Smol};
use linux::{Lab, Task};
use netstack::tcp::{BackOff, TcpConfig};
use relay::{Path, Relay, Way};
use smoltcp::socket::tcp::CongestionControl;
use std::time::Duration;

const BENCH: &str = "tcp";
/// Ours as it is, and with CUBIC's own back-off.
const OWN: [(&str, BackOff); 2] = [(OURS, BackOff::Adaptive), ("ours with CUBIC's back-off", BackOff::Cubic)];
const CUBIC: &str = "smoltcp CUBIC";
const RENO: &str = "smoltcp Reno";
const LINUX: &str = "Linux CUBIC";
const LINUX_BBR: &str = "Linux BBR";
/// A wire without faults.
const WIRE: Path = Path { delay_ns: 0, rate: 100_000_000, queue: 64_000, loss: 0, late: 0, lateness_ns: 0 };
/// One way, and the round trip's name.
const DELAYS: [(u64, &str); 2] = [(100_000, "200 us"), (5_000_000, "10 ms")];
/// What wires do to packets on their way, and its name.
const FAULTS: [(Faults, &str); 4] = [
    (Faults { loss: 0, late: 0 }, "no loss"),
    (Faults { loss: 10, late: 0 }, "1 % loss"),
    (Faults { loss: 50, late: 0 }, "5 % loss"),
    (Faults { loss: 0, late: 100 }, "each tenth packet up to 500 us late"),
];
/// Full segments take 123 us each: a late one is overtaken by up to four.
const OVERTAKEN_NS: u64 = 500_000;
const ENDLESS: u64 = u64::MAX / 2;
/// Virtual time of a transfer.
const TRANSFER_NS: u64 = 1_000_000_000;
/// Transfers of each side, at least.
const TRANSFERS_MIN: u64 = 2;
const ORDER: u64 = 200;
const SPEED: &str = "bytes/s";

/// Packets lost and packets late, per mille.
#[derive(Clone, Copy)]
struct Faults {
    loss: u64,
    late: u64,
}

impl Faults {
    /// The wire, so long, with these faults.
    const fn path(self, delay_ns: u64) -> Path {
        Path { delay_ns, loss: self.loss, late: self.late, lateness_ns: if self.late > 0 { OVERTAKEN_NS } else { 0 }, ..WIRE }
    }
}

/// Why it cannot run here, if it cannot: Linux's TCP needs network namespaces of its own.
pub fn unavailable() -> Option<String> {
    testbed::unavailable()
}

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    cost::run(budget, report)?;
    transfers(budget, report)?;
    lost_orders(report)?;
    late_packets(report)?;
    testbed::sweep_stale();
    let mut lab = Lab::new()?;
    kernel_transfers(budget, report, &mut lab)?;
    kernel_lost_orders(budget, report, &mut lab)
}

/// The receiver of orders: a venue answers at once, and its acknowledgement rides on the answer.
fn venue(seed: u64) -> Ours {
    Ours::new(&TcpConfig { ack_delay: 0, ..TcpConfig::default() }, CLIENT, SERVER, seed as u32, START_NS)
}

fn ours(local_is_client: bool, seed: u64) -> Ours {
    ours_with(BackOff::Adaptive, local_is_client, seed)
}

fn ours_with(back_off: BackOff, local_is_client: bool, seed: u64) -> Ours {
    let (local, remote) = if local_is_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    Ours::new(&TcpConfig { back_off, ..TcpConfig::default() }, local, remote, seed as u32, START_NS)
}

/// What the server receives or sends in a second of virtual time.
fn transfer<A: End, B: End>(client: A, server: B, path: Path, seed: u64, way: Way) -> anyhow::Result<u64> {
    let mut simulation = Simulation::new(client, server, Relay::new(path, seed));
    simulation.open()?;
    if way == Way::Up {
        simulation.client.offer(ENDLESS)
    } else {
        simulation.server.offer(ENDLESS)
    }
    let until_ns = simulation.now_ns + TRANSFER_NS;
    simulation.run(until_ns, |_, _| false)?;
    let received = if way == Way::Up { simulation.server.received() } else { simulation.client.received() };
    Ok(u64::try_from(u128::from(received) * 1_000_000_000 / u128::from(TRANSFER_NS))?)
}

fn smoltcp_sender(control: CongestionControl, path: Path, seed: u64) -> anyhow::Result<u64> {
    transfer(ours(true, seed), Smol::new(Opening::Listens, control, seed), path, seed, Way::Down)
}

fn measured(side: &'static str, values: impl IntoIterator<Item = u64>) -> Measured {
    let mut histogram = histogram();
    values.into_iter().for_each(|value| histogram.saturating_record(value));
    Measured { side, operation: "", histogram }
}

/// Adds a case whose values are speeds, more is better: a row for each side, and the ratios `ours / peer` of the mean. Peers are those
/// that are not in [`OWN`].
fn add_speeds(report: &mut Report, case: &str, sides: &[Measured], target_of: impl Fn(&str) -> Target) {
    for side in sides {
        report.add_figure(BENCH, case, SPEED, side);
    }
    let (ours, peers): (Vec<&Measured>, Vec<&Measured>) = sides.iter().partition(|side| OWN.iter().any(|(name, _)| *name == side.side));
    for ours in ours {
        for theirs in &peers {
            let name = format!("{case}: {} / {}, mean", ours.side, theirs.side);
            let value = ours.histogram.mean() / theirs.histogram.mean().max(1.0);
            report.add_ratio(Ratio::new(BENCH, name, value, target_of(theirs.side)));
        }
    }
}

type Sender<'a> = (&'static str, Box<dyn Fn(Path, u64) -> anyhow::Result<u64> + 'a>);

/// Bytes a second in virtual time.
fn transfers(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    let own = OWN.map(|(name, back_off)| -> Sender<'_> {
        (name, Box::new(move |path, seed| transfer(ours(true, seed), ours_with(back_off, false, !seed), path, seed, Way::Down)))
    });
    let smoltcp: [Sender<'_>; 2] = [
        (CUBIC, Box::new(|path, seed| smoltcp_sender(CongestionControl::Cubic, path, seed))),
        (RENO, Box::new(|path, seed| smoltcp_sender(CongestionControl::Reno, path, seed))),
    ];
    let senders: Vec<Sender<'_>> = own.into_iter().chain(smoltcp).collect();
    let cubic = CongestionControl::Cubic;
    let receivers: [Sender<'_>; 2] = [
        (OURS, Box::new(|path, seed| smoltcp_sender(CongestionControl::Cubic, path, seed))),
        (
            CUBIC,
            Box::new(move |path, seed| {
                transfer(Smol::new(Opening::Connects, cubic, !seed), Smol::new(Opening::Listens, cubic, seed), path, seed, Way::Down)
            }),
        ),
    ];
    for (what, sides) in [("sender", &senders[..]), ("receiver", &receivers[..])] {
        for (delay_ns, delay) in DELAYS {
            for (faults, name) in FAULTS {
                let path = faults.path(delay_ns);
                let mut all: Vec<Measured> = sides.iter().map(|(side, _)| measured(side, [])).collect();
                let begin = std::time::Instant::now();
                let mut seed = SEED;
                while seed < SEED + TRANSFERS_MIN || begin.elapsed() < budget.time() / 2 {
                    for (at, (_, transfer)) in sides.iter().enumerate() {
                        all[at].histogram.saturating_record(transfer(path, seed)?);
                    }
                    seed += 1;
                }
                let target = if what == "sender" && faults.loss > 0 { Target::AtLeast(2.0) } else { Target::None };
                add_speeds(report, &format!("{what} in virtual time, {delay} round trip, {name}"), &all, |_| target);
            }
        }
    }
    Ok(())
}

/// From the write of a lone order whose first packet is lost until it has arrived.
fn lost_order<B: End>(sender: B, delay_ns: u64) -> anyhow::Result<Vec<u64>> {
    let mut simulation = Simulation::new(venue(SEED), sender, Relay::new(Path { delay_ns, ..WIRE }, SEED));
    simulation.open()?;
    let mut times = Vec::new();
    // Every other order arrives, so that the round trip stays known and no time-out backs off; of the others the first
    // copy is lost.
    for number in 0..40 {
        let lose: fn(Way, u64) -> bool = if number % 2 == 0 { |_, _| false } else { |way, data| way == Way::Down && data == 0 };
        simulation.relay.lose = lose;
        simulation.relay.forget_data();
        let begin = simulation.now_ns;
        simulation.server.offer(ORDER);
        let wanted = simulation.client.received() + ORDER;
        simulation.run(begin + 60_000_000_000, |client, _| client.received() >= wanted)?;
        ensure!(
            simulation.client.received() == wanted,
            "order {number} was never repaired: {} of {wanted} bytes",
            simulation.client.received()
        );
        if number % 2 == 1 {
            times.push(simulation.now_ns - begin);
        }
        let pause = simulation.now_ns + 20 * delay_ns + 20_000_000;
        simulation.run(pause, |_, _| false)?;
    }
    Ok(times)
}

fn lost_orders(report: &mut Report) -> anyhow::Result<()> {
    for (delay_ns, delay) in DELAYS {
        let case = format!("lone lost order in virtual time, {delay} round trip");
        let mine = measured(OURS, lost_order(ours(false, !SEED), delay_ns)?);
        let theirs = measured("smoltcp", lost_order(Smol::new(Opening::Listens, CongestionControl::Cubic, SEED), delay_ns)?);
        let share = mine.histogram.max() as f64 / (6 * delay_ns + 1_000_000) as f64;
        report.add_case(BENCH, &case, &[vec![mine], vec![theirs]], Target::None);
        report.add_ratio(Ratio::new(BENCH, format!("{case}: longest / (3 round trips + 1 ms), ours"), share, Target::AtMost(1.0)));
    }
    Ok(())
}

/// Bursts of small orders on a wire where each fifth packet is up to 50 us late.
fn late_packets(report: &mut Report) -> anyhow::Result<()> {
    const LATENESS_NS: u64 = 50_000;
    const BURST: u64 = 8;
    for (delay_ns, delay) in DELAYS {
        let path = Path { delay_ns, late: 200, lateness_ns: LATENESS_NS, rate: 1_000_000_000, ..WIRE };
        let case = format!("{BURST} orders, each fifth packet up to 50 us late, {delay} round trip");
        let mut simulation = Simulation::new(venue(SEED), ours(false, !SEED), Relay::new(path, SEED));
        simulation.server.chunk = ORDER as usize;
        simulation.open()?;
        // Both ends open the connection, so each SYN goes twice.
        let opening = simulation.server.statistics().retransmissions;
        let mine = bursts(&mut simulation, delay_ns, BURST)?;
        let again = simulation.server.statistics().retransmissions - opening;
        let smol = Smol::new(Opening::Listens, CongestionControl::Cubic, SEED);
        let mut simulation = Simulation::new(venue(SEED), smol, Relay::new(path, SEED));
        simulation.open()?;
        let theirs = bursts(&mut simulation, delay_ns, BURST)?;
        // All of them on the wire, there, and as late as they may be.
        let unavoidable = BURST * (ORDER + 90) * 8 + delay_ns + LATENESS_NS;
        let (mine, theirs) = (measured(OURS, mine), measured("smoltcp", theirs));
        let share = mine.histogram.max() as f64 / unavoidable as f64;
        report.add_case(BENCH, &case, &[vec![mine], vec![theirs]], Target::None);
        report.add_ratio(Ratio::new(BENCH, format!("{case}: longest / what the wire explains, ours"), share, Target::AtMost(1.0)));
        report.add_ratio(Ratio::new(BENCH, format!("{case}: segments sent again, ours"), again as f64, Target::AtMost(0.0)));
    }
    Ok(())
}

fn bursts<B: End>(simulation: &mut Simulation<Ours, B>, delay_ns: u64, orders: u64) -> anyhow::Result<Vec<u64>> {
    let mut times = Vec::new();
    for _ in 0..400 {
        let begin = simulation.now_ns;
        simulation.server.offer(orders * ORDER);
        let wanted = simulation.client.received() + orders * ORDER;
        simulation.run(begin + 60_000_000_000, |client, _| client.received() >= wanted)?;
        ensure!(simulation.client.received() == wanted, "a burst never arrived");
        times.push(simulation.now_ns - begin);
        let pause = simulation.now_ns + 4 * delay_ns + 2_000_000;
        simulation.run(pause, |_, _| false)?;
    }
    Ok(times)
}

/// Linux's congestion controls that this kernel has, and what they are called here.
fn controls() -> Vec<(&'static str, &'static str)> {
    let available = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap_or_default();
    let all = [(LINUX, "cubic"), (LINUX_BBR, "bbr")];
    all.into_iter().filter(|(_, name)| *name == "cubic" || available.split_whitespace().any(|other| other == *name)).collect()
}

/// Bytes a second in real time: ours or Linux's at one end, Linux's at the other.
fn kernel_transfers(budget: Budget, report: &mut Report, lab: &mut Lab) -> anyhow::Result<()> {
    const ROUNDS: u32 = 2;
    for (what, direction) in [("sender", Way::Up), ("receiver", Way::Down)] {
        // Whose congestion control it is does not matter to a receiver.
        let controls_shown = if direction == Way::Up { 2 } else { 1 };
        let kernels: Vec<_> = controls().into_iter().take(controls_shown).collect();
        let own = &OWN[..controls_shown];
        for (delay_ns, delay) in DELAYS {
            for (faults, name) in FAULTS {
                // Many slow connections at a time, for their losses are few; fast ones would wait for the relay.
                let each = if faults.loss > 0 && delay_ns > 1_000_000 { 6 } else { 1 };
                let names = own.iter().map(|(name, _)| *name).chain(kernels.iter().map(|(name, _)| *name));
                let mut all: Vec<Measured> = names.map(|name| measured(name, [])).collect();
                for round in 0..ROUNDS {
                    let task = Task {
                        path: faults.path(delay_ns),
                        direction,
                        kernels: &kernels,
                        ours: own,
                        each,
                        order: None,
                        time: (budget.time() / ROUNDS).max(Duration::from_millis(100)),
                        seed: SEED + u64::from(round),
                    };
                    let outcome = lab.run(&task)?;
                    for side in &mut all {
                        outcome.of(side.side).for_each(|value| side.histogram.saturating_record(value));
                    }
                }
                let target = |peer: &str| if peer == LINUX && faults.loss > 0 { Target::AtLeast(0.9) } else { Target::None };
                add_speeds(report, &format!("{what} beside a kernel, {delay} round trip, {name}"), &all, target);
            }
        }
    }
    Ok(())
}

/// A lone order whose first packet is lost, in real time.
fn kernel_lost_orders(budget: Budget, report: &mut Report, lab: &mut Lab) -> anyhow::Result<()> {
    for (delay_ns, delay) in DELAYS {
        let task = Task {
            path: Path { delay_ns, ..WIRE },
            direction: Way::Up,
            kernels: &controls()[..1],
            ours: &OWN[..1],
            each: 1,
            order: Some(ORDER),
            time: budget.time().max(Duration::from_millis(500)),
            seed: SEED,
        };
        let outcome = lab.run(&task)?;
        let sides = [OURS, LINUX].map(|side| vec![measured(side, outcome.of(side))]);
        report.add_case(BENCH, &format!("lone lost order beside a kernel, {delay} round trip"), &sides, Target::None);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_without_faults_is_filled_by_our_sender_and_its_rate_is_not_exceeded() {
        for (delay_ns, _) in DELAYS {
            let speed = transfer(ours(true, 1), ours(false, 2), Path { delay_ns, ..WIRE }, 1, Way::Up).expect("it runs");
            assert!((9_000_000..12_500_000).contains(&speed), "{speed}");
        }
    }

    #[test]
    fn late_packets_are_overtaken_and_the_stream_still_flows() {
        let (mut relay, mut order) = (Relay::new(FAULTS[3].0.path(100_000), 1), Vec::new());
        (0..200u8).for_each(|packet| relay.send(Way::Up, 0, vec![packet; 200]));
        order.extend(std::iter::from_fn(|| relay.arrived(u64::MAX - 1)).map(|(_, packet)| packet[0]));
        assert!(order.len() == 200 && !order.is_sorted(), "{order:?}");
        for (delay_ns, _) in DELAYS {
            let speed = transfer(ours(true, 1), ours(false, 2), FAULTS[3].0.path(delay_ns), 1, Way::Up).expect("it runs");
            assert!(speed > 6_000_000, "{speed} of 12.5 MB/s");
        }
    }

    #[test]
    fn every_case_is_measured_and_every_target_is_about_ours() {
        if let Some(reason) = unavailable() {
            assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: {reason}");
            eprintln!("skipped: {reason}");
            return;
        }
        let mut report = Report::new(crate::machine::Machine::read());
        run(Budget::of_seconds(0.01).expect("positive"), &mut report).expect("it runs");
        let kernels = controls().len();
        let speeds = report.rows.iter().filter(|row| row.unit == SPEED).count();
        let cases = DELAYS.len() * FAULTS.len();
        assert_eq!(speeds, cases * 4 + cases * 2 + cases * (2 + kernels) + cases * 2);
        let late = |row: &&crate::report::Row| row.unit == SPEED && row.name.contains("up to 500 us late");
        assert_eq!(report.rows.iter().filter(late).count(), speeds / FAULTS.len(), "a reordering wire for each");
        assert!(report.rows.iter().all(|row| row.bench == BENCH && row.count > 0 && row.max > 0), "{:?}", report.rows);
        // Four of each of our two senders beside smoltcp's two and beside Linux, of the receiver beside Linux; lost orders; late ones
        // twice.
        assert_eq!(report.ratios.iter().filter(|ratio| ratio.target.is_some()).count(), 2 * 4 * 2 + 2 * 4 + 4 + 2 + 2 * 2);
        assert!(report.ratios.iter().all(|ratio| ratio.name.contains(OURS) && ratio.value.is_finite()));
        let late = report.ratios.iter().filter(|ratio| ratio.name.contains("sent again")).map(|ratio| ratio.met);
        assert_eq!(late.collect::<Vec<_>>(), [Some(true); 2]);
    }

    #[test]
    fn a_lone_lost_order_takes_two_round_trips_and_smoltcp_a_second() {
        let mine = lost_order(ours(false, !1), 5_000_000).expect("it runs");
        assert!(mine.iter().all(|&ns| (20_000_000..31_000_000).contains(&ns)), "{mine:?}");
        let theirs = lost_order(Smol::new(Opening::Listens, CongestionControl::Cubic, 1), 5_000_000).expect("it runs");
        assert!(theirs.iter().all(|&ns| ns > 900_000_000), "{theirs:?}");
    }
}
