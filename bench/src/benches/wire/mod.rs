//! `wire`: from a tick that leaves the venue to the order that comes back to it, over a real wire.
//!
//! The wire is a veth pair between two network namespaces that the bench makes and removes, one for each side. At one end is
//! the venue (`venue`): a thread on a CPU of its own that spins on a kernel socket with rustls and WebSocket, sends a
//! Binance depth difference at a given time and waits for the `order.place` that it causes. At the other end, on the
//! measuring thread, is a client. All clients do the same: they read the whole tick, prices and quantities as fixed-point
//! numbers, and answer it with an order at its best bid; the venue checks each.
//!
//! | side | TCP | TLS | WebSocket | codec | waits |
//! |---|---|---|---|---|---|
//! | `ours, AF_XDP`, `ours, AF_PACKET` | ours | our records | ours | ours | spins |
//! | `smoltcp and rustls, AF_XDP` | smoltcp | rustls | ours | ours | spins |
//! | `ours on a kernel socket` | kernel | our records | ours | ours | spins |
//! | `tungstenite, spinning` | kernel | rustls | tungstenite | serde_json | spins |
//! | `tokio` | kernel | rustls | tungstenite | serde_json | epoll |
//! | `order ready, AF_XDP` | ours | sealed before | before | before | spins |
//! | `echo, ..` | none (UDP at the venue's end of one) | none | none | none | spins |
//!
//! Two sides spin on a kernel socket. `tungstenite, spinning` is what there is to take: tokio's design without its sleep, and what
//! ours has a target against. `ours on a kernel socket` is more than anyone finds ready-made: all of ours above TCP. It says what
//! the kernel's sockets alone make of the distance, and has no target.
//!
//! There are two measures, of different ticks:
//!
//! - *From socket to socket.* The venue takes the time, from when the tick is *to be sent* (sealed by then, so the write is in it)
//!   to when the order is decrypted. A tick that is late because the order before it was late counts from when it was to be sent:
//!   no omission is coordinated. So each figure holds the venue's own network (write, kernel TCP, read, decryption) and the
//!   wire's two crossings, the same for all sides but the echoes, which are the bare link: see `floor`. How much that is, the side
//!   with orders that are ready before their ticks says: see `ready`.
//! - *Wire to wire*, as the field measures tick to trade: a tap notes when the tick leaves the venue's network interface and
//!   when the order arrives there: see `tap`. The venue's sockets, TCP and TLS are outside of it. What the client's kernel does
//!   is in it, and that is where veth, which has no hardware, receives on the sender's CPU. A tick counts from when it
//!   really left. The echo here has a UDP socket at the venue's end, which the tap sees: see `echo`. Each order is matched to its
//!   tick by TCP's numbers; one that cannot be is an error. What else passes the tap shows as frames for a tick: one each way is
//!   the tick and its order, more are bare acknowledgements and what was sent again.
//!
//! Sides take turns in slices of some tens of milliseconds; the first ticks of a slice, on caches that the side before has
//! left, do not count. Each side has as many slices as a p99 takes, if the time asked for is too short for them (`CASES`); a
//! percentile of few ticks has no target (`figures`).
//!
//! *What the tap costs.* Slices with a tap are other slices than those without. So that the same ticks can be compared, what the
//! venue measures in them is kept too, as `socket to socket, tapped`: there, wire to wire is a part of each tick's time, which
//! need not be so of `wire to wire` and the plain rows. What the tap takes (0.1 us for each program, see `tap`) is
//!
//! - for all clients in `tapped` alone: a tick's program runs on the venue's CPU before the tick's time stamp, an order's on the
//!   client's after the order's;
//! - for all clients in wire to wire, too: what they send before the order (a bare acknowledgement), and what a program does after
//!   its stamp;
//! - for clients without AF_XDP in wire to wire once more: their ticks are handed over by `netif_rx`, where the tap listens.
//!
//! Between `tapped` and the plain row of a side lies what the tap costs it, and beyond that chance: how deep a CPU slept whose
//! thread waits in epoll, what the host did.
//!
//! *Disturbance.* A thread that loses its CPU falls behind by milliseconds, and with it all ticks that were due
//! meanwhile: the report says of each side in how many slices that happened to it or to the venue, and of all sides together.
//! Where it is more than a few, figures beyond the median are the scheduler's: rows `.., undisturbed` are of the other slices
//! alone. A host that stops a virtual CPU is not noticed by its kernel, and not left out.
//!
//! Kernel sockets have their checksums left out, as a network card would relieve them (in their favour; our
//! frames carry real ones).
//!
//! tokio and tungstenite are in `peregrine` anyway, for the simulated venues and their console; nothing of the engine uses them.
//!
//! | file | what it holds |
//! |---|---|
//! | `venue` | the venue's thread, which takes the times |
//! | `ticks` | what it sends and wants to hear |
//! | `trader`, `clock` | from tick to order, and the time, for the clients of ours |
//! | `by_hand` | one turn of a client that drives a stack itself |
//! | `own`, `kernel` | ours on the stack, and on a kernel socket |
//! | `smoltcp` | smoltcp's TCP and rustls' records |
//! | `peer`, `spinning` | tokio; the same without it, spinning |
//! | `ready` | orders that wait for their ticks |
//! | `figures` | rows, ratios and their targets |
//! | `floor`, `echo` | bare frames, and datagrams that the tap sees |
//! | `tap` | when frames pass the venue's interface |

mod by_hand;
mod clock;
mod echo;
mod figures;
mod floor;
mod kernel;
mod own;
mod peer;
mod ready;
mod smoltcp;
mod spinning;
mod tap;
mod ticks;
mod trader;
mod venue;

use crate::measure::{Budget, Measured, Side, alternate_at_least};
use crate::report::Report;
use anyhow::{Context, ensure};
use drivers::interface::Interface;
use drivers::port::Port;
use drivers::select::{AnyPort, Link};
use drivers::testbed::{self, ENGINE_ADDRESS, Testbed, TestbedConfig};
use figures::{FRAMES, OPERATIONS, SOCKET, SOCKET_TAPPED, SOCKET_UNDISTURBED, UNTAPPED, VENUE_FRAMES, WIRE, WIRE_UNDISTURBED};
use netstack::stack::OwnTcp;
use netstack::tls::{Roots, Suite, TlsConfig, TlsOptions, Versions};
use rcgen::{CertificateParams, KeyPair};
use runtime::host::{ThreadUsage, topology};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;
use tap::Tap;
use venue::{Accepting, ConnectionId, PATIENCE, Running, Slice, Venue};

const BENCH: &str = "wire";
const SERVER_NAME: &str = "venue.test";
const PATH: &str = "/ws";
const PORT: u16 = 9_443;
/// The venue's address: the kernel's, at the right end of each wire.
const VENUE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Ethernet, IPv4, TCP with timestamps, TLS 1.3.
const HEADERS: usize = 14 + 20 + 32 + 22;
/// Frame of a tick: its text, 354 bytes on average, WebSocket's header and those below.
const TICK_FRAME: usize = HEADERS + 4 + 354;
/// Frame of an order: likewise, 270 bytes.
const ORDER_FRAME: usize = HEADERS + 8 + 270;

const OWN: &str = "ours, AF_XDP";
const OWN_PACKET: &str = "ours, AF_PACKET";
const SMOLTCP: &str = "smoltcp and rustls, AF_XDP";
const KERNEL: &str = "ours on a kernel socket";
const SPINNING: &str = "tungstenite, spinning";
const TOKIO: &str = "tokio";
const READY: &str = "order ready, AF_XDP";
const ECHO_UDP: &str = "echo, AF_XDP to a UDP socket";
const ECHO_PACKET: &str = "echo, AF_XDP to AF_PACKET";
const ECHO_XDP: &str = "echo, AF_XDP to AF_XDP";

/// As in the report.
#[cfg(test)]
const SIDES: [&str; 10] = [OWN, OWN_PACKET, SMOLTCP, KERNEL, SPINNING, TOKIO, READY, ECHO_UDP, ECHO_PACKET, ECHO_XDP];
/// Those with a tap, which come first.
#[cfg(test)]
const TAPPED: usize = 8;

/// How often a tick comes.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    slice: Slice,
    /// Slices of each side that count, however short the time is: a p99 is the worst of a hundred, and 2 slices have one or two
    /// of those.
    slices_min: u32,
}

/// Apart enough that no side but a sleeping one is saturated, near enough that nothing falls asleep.
const CASES: [Case; 2] = [
    Case { name: "every 100 us", slice: Slice { interval_ns: 100_000, warm_up: 32, ticks: 224 }, slices_min: 48 },
    Case { name: "every 1 ms", slice: Slice { interval_ns: 1_000_000, warm_up: 4, ticks: 36 }, slices_min: 48 },
];

/// Why this cannot be measured here, if it cannot.
pub fn unavailable() -> Option<String> {
    testbed::unavailable().or_else(|| {
        let cpus = topology::Machine::read().map_or(0, |machine| machine.units.len());
        (cpus < 2).then(|| "the venue and its client each spin on a CPU of their own, and there is only one".to_owned())
    })
}

/// Measures, for `budget` or for as long as a p99 takes, whichever is longer.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    measure(budget, &CASES, report)
}

fn measure(budget: Budget, cases: &[Case], report: &mut Report) -> anyhow::Result<()> {
    if let Some(reason) = unavailable() {
        anyhow::bail!("{reason}");
    }
    let rig = Rig::new(report.machine.pinned_to)?;
    let mut own = Own::open(&rig, Link::AfXdp).context(OWN)?;
    let mut own_packet = Own::open(&rig, Link::AfPacket).context(OWN_PACKET)?;
    let mut smoltcp = smoltcp::SmoltcpRustls::open(&rig).context(SMOLTCP)?;
    let mut kernel = own::OwnOnKernel::open(&rig).context(KERNEL)?;
    let mut spinning = spinning::Spinning::open(&rig).context(SPINNING)?;
    let mut tokio = peer::Tokio::open(&rig).context(TOKIO)?;
    let mut ready = ready::Ready::open(&rig).context(READY)?;
    let mut echo_udp = echo::Echo::open(&rig).context(ECHO_UDP)?;
    let mut echo_packet = floor::Floor::open(&rig.venue, Link::AfPacket).context(ECHO_PACKET)?;
    let mut echo_xdp = floor::Floor::open(&rig.venue, Link::AfXdp).context(ECHO_XDP)?;
    for case in cases {
        let (venue, slice) = (&rig.venue, case.slice);
        let sides = vec![
            side(OWN, venue, slice, &mut own),
            side(OWN_PACKET, venue, slice, &mut own_packet),
            side(SMOLTCP, venue, slice, &mut smoltcp),
            side(KERNEL, venue, slice, &mut kernel),
            side(SPINNING, venue, slice, &mut spinning),
            side(TOKIO, venue, slice, &mut tokio),
            side(READY, venue, slice, &mut ready),
            side(ECHO_UDP, venue, slice, &mut echo_udp),
            side(ECHO_PACKET, venue, slice, &mut echo_packet),
            side(ECHO_XDP, venue, slice, &mut echo_xdp),
        ];
        let measured: Vec<Measured> = alternate_at_least(case.slices_min, budget, sides)?.into_iter().flatten().collect();
        figures::tell(case, &measured, report)?;
    }
    Ok(())
}

/// Ours on the stack.
type Own = own::Own<OwnTcp>;

/// A connection to the venue, and the tap on its wire.
pub struct Wired {
    connection: ConnectionId,
    tap: Option<Tap>,
}

/// A connection that is being accepted, likewise.
#[must_use]
pub struct Arriving {
    accepting: Accepting,
    tap: Tap,
}

impl Arriving {
    /// Waits until it is.
    fn finish(self) -> anyhow::Result<Wired> {
        Ok(Wired { connection: self.accepting.finish()?, tap: Some(self.tap) })
    }
}

/// What answers the venue.
trait Client {
    /// Answers until the slice is over.
    fn answer(&mut self, slice: Slice, running: &Running) -> anyhow::Result<()>;
}

fn side<'a>(
    name: &'static str,
    venue: &'a Venue,
    slice: Slice,
    (Wired { connection, tap }, client): &'a mut (Wired, impl Client),
) -> Side<'a> {
    // The times, and whether both threads kept their CPUs.
    let mut slices = move || {
        let before = ThreadUsage::now();
        let running = venue.begin(*connection, slice)?;
        let answered = client.answer(slice, &running);
        // What the venue has to say of a client that failed is that it heard nothing.
        answered.with_context(|| format!("the client of {name}"))?;
        let measured = running.finish().with_context(|| format!("the venue of {name}"))?;
        let preemptions = measured.preemptions + ThreadUsage::now().since(before).involuntary_switches;
        anyhow::Ok((measured.times_ns, preemptions == 0))
    };
    let operations = if tap.is_some() { &OPERATIONS[..] } else { &OPERATIONS[..UNTAPPED] };
    Side::new(name, operations, move |meter| {
        let mut record = |measure: usize, values: &[u64]| values.iter().for_each(|value| meter.record(measure, *value));
        let (times_ns, undisturbed) = slices()?;
        record(SOCKET, &times_ns);
        if undisturbed {
            record(SOCKET_UNDISTURBED, &times_ns);
        }
        // The tap costs a little, so it has slices of its own.
        if let Some(tap) = tap {
            let listening = tap.listen()?;
            let (times_ns, undisturbed) = slices()?;
            let pairs = tap::pair(&listening.taken()?, slice.whole()).with_context(|| format!("the wire of {name}"))?;
            record(SOCKET_TAPPED, &times_ns);
            record(WIRE, &pairs.times_ns[slice.warm_up..]);
            if undisturbed {
                record(WIRE_UNDISTURBED, &pairs.times_ns[slice.warm_up..]);
            }
            record(FRAMES, &pairs.frames[slice.warm_up..]);
            record(VENUE_FRAMES, &pairs.venue_frames[slice.warm_up..]);
        }
        Ok(())
    })
}

/// The venue and what a client needs to connect to it.
struct Rig {
    venue: Venue,
    ticks: ticks::Ticks,
    own_tls: TlsConfig,
    client_tls: Arc<ClientConfig>,
}

impl Rig {
    /// `measuring` is the CPU of the clients.
    fn new(measuring: Option<usize>) -> anyhow::Result<Rig> {
        testbed::sweep_stale();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![SERVER_NAME.to_owned()])?.self_signed(&key)?;
        let certificate = certificate.der().clone();
        let options = TlsOptions { versions: Versions::Tls13, suites: vec![Suite::Aes128Gcm], ..TlsOptions::default() };
        let own_tls = TlsConfig::with_options(Roots::Der(&certificate), &options)?;
        let suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
        let provider = Arc::new(CryptoProvider { cipher_suites: suites, ..aws_lc_rs::default_provider() });
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone())?;
        let client_tls = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server_tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        let ticks = ticks::Ticks::new();
        let venue = Venue::start(other_cpu(measuring)?, Arc::new(server_tls), ticks.clone())?;
        Ok(Rig { venue, ticks, own_tls, client_tls: Arc::new(client_tls) })
    }

    /// A wire with the venue listening at its right end, for one client.
    fn wire(&self, transmit_offload: bool) -> anyhow::Result<(Testbed, Arriving)> {
        let (bed, tap) = tapped(transmit_offload)?;
        let listener = bed.right().run(|| TcpListener::bind((VENUE_ADDRESS, PORT)))??;
        let accepting = self.venue.accept(listener)?;
        Ok((bed, Arriving { accepting, tap }))
    }
}

/// A wire and its tap.
fn tapped(transmit_offload: bool) -> anyhow::Result<(Testbed, Tap)> {
    let bed = Testbed::create(TestbedConfig { transmit_offload, ..TestbedConfig::default() })?;
    let tap = Tap::new(&bed)?;
    Ok((bed, tap))
}

/// A CPU for the venue that is not the clients', on another core if there is one.
fn other_cpu(measuring: Option<usize>) -> anyhow::Result<usize> {
    let machine = topology::Machine::read().map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    let taken = measuring.or_else(|| machine.default_hot_cpu());
    let core = machine.units.iter().find(|unit| Some(unit.cpu) == taken).map(|unit| unit.core);
    let others = machine.units.iter().filter(|unit| Some(unit.cpu) != taken);
    others.min_by_key(|unit| (Some(unit.core) == core, unit.cpu)).map(|unit| unit.cpu).context("the venue needs a second CPU")
}

/// Tells the venue's kernel our hardware address, so that it never has to ask; gives that of the venue's.
fn introduce(bed: &Testbed, port: &AnyPort) -> anyhow::Result<[u8; 6]> {
    let mac = port.info().mac.map(|byte| format!("{byte:02x}")).join(":");
    let (us, interface) = (ENGINE_ADDRESS.to_string(), bed.right_interface());
    bed.right().ip(&["neigh", "replace", &us, "lladdr", &mac, "dev", interface, "nud", "permanent"])?;
    Ok(bed.right().run(|| Interface::open(interface))??.mac)
}

/// A kernel socket that is connected to the venue.
fn dial(bed: &Testbed) -> anyhow::Result<TcpStream> {
    let venue = SocketAddr::from((VENUE_ADDRESS, PORT));
    bed.left().run(|| TcpStream::connect_timeout(&venue, PATIENCE))?.context("connecting to the venue")
}

/// Tries until it is connected.
fn connected(mut attempt: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    while !attempt()? {
        ensure!(start.elapsed() < PATIENCE, "no connection to the venue within {PATIENCE:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::figures::RATIOS;
    use super::*;
    use crate::machine::Machine;
    use crate::measure::alternate;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// True, and said, if this machine cannot measure.
    fn skipped() -> bool {
        let Some(reason) = unavailable() else { return false };
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: {reason}");
        eprintln!("skipped: {reason}");
        true
    }

    #[test]
    fn every_side_answers_every_tick_and_is_measured() {
        if skipped() {
            return;
        }
        let mut report = Report::new(Machine::read());
        let cases = CASES.map(|case| Case { slices_min: 2, ..case });
        measure(Budget::of_seconds(0.001).unwrap(), &cases, &mut report).unwrap();
        let curves: Vec<&str> = report.rows.iter().map(|row| row.curve).collect();
        let tapped = &SIDES[..TAPPED];
        let case = [&SIDES[..], tapped, tapped, tapped, tapped].concat();
        assert_eq!(curves, [&case[..], &case[..]].concat());
        for (rows, case) in report.rows.chunks(case.len()).zip(cases) {
            assert!(rows.iter().all(|row| row.count == 2 * case.slice.ticks as u64), "{rows:?}");
            let (socket, rest) = rows.split_at(SIDES.len());
            let (tapped, rest) = rest.split_at(TAPPED);
            let (wire, frames) = rest.split_at(TAPPED);
            assert!(socket.iter().chain(tapped).chain(wire).all(|row| row.p50 > 500 && row.unit == "ns"), "{rows:?}");
            assert!(frames.iter().all(|row| row.p50 >= 1 && row.unit == "frames"), "{frames:?}");
            // What the tap sees is a part of what the venue sees of the same ticks: but for two clocks and three digits.
            let is_part = |wire: u64, whole: u64| wire <= whole + whole / 100;
            for (whole, wire) in tapped.iter().zip(wire) {
                assert!(is_part(wire.p50, whole.p50) && is_part(wire.max, whole.max), "{wire:?} {whole:?}");
            }
        }
        assert_eq!(report.ratios.len(), CASES.len() * (RATIOS.len() + 1 + SIDES.len()));
        // A slice in which a thread lost its core can make a ratio so small that it is kept as zero.
        assert!(report.ratios.iter().all(|ratio| ratio.value.is_finite() && ratio.value >= 0.0), "{:?}", report.ratios);
    }

    #[test]
    fn each_row_has_ticks_enough_for_its_p99_however_short_the_time() {
        let ticks = CASES.map(|case| u64::from(case.slices_min) * case.slice.ticks as u64);
        assert!(ticks[0] >= 10_000 && ticks[1] >= 1_000, "{ticks:?}");
        // All of it, in seconds, if no side falls behind.
        let slices = (SIDES.len() + TAPPED) as u64;
        let ns = CASES.map(|case| u64::from(case.slices_min + 1) * slices * case.slice.interval_ns * case.slice.whole() as u64);
        assert!(ns.iter().sum::<u64>() < 100_000_000_000, "{ns:?}");
    }

    /// Counts how often a client gives its CPU up.
    struct Watched<C>(C, u64);

    impl<C: Client> Client for Watched<C> {
        fn answer(&mut self, slice: Slice, running: &Running) -> anyhow::Result<()> {
            let before = ThreadUsage::now();
            self.0.answer(slice, running)?;
            self.1 += ThreadUsage::now().since(before).voluntary_switches;
            Ok(())
        }
    }

    fn sleeps(rig: &Rig, slice: Slice, (wired, client): (Wired, impl Client)) -> u64 {
        let mut client = Watched(client, 0);
        let running = rig.venue.begin(wired.connection, slice).unwrap();
        client.answer(slice, &running).unwrap();
        assert_eq!(running.finish().unwrap().times_ns.len(), slice.ticks);
        client.1
    }

    #[test]
    fn the_spinning_peer_never_sleeps_and_tokio_does_for_each_tick() {
        if skipped() {
            return;
        }
        let rig = Rig::new(None).unwrap();
        let slice = Slice { interval_ns: 2_000_000, warm_up: 0, ticks: 30 };
        // The kernel may make anyone wait for memory now and then.
        assert!(sleeps(&rig, slice, spinning::Spinning::open(&rig).unwrap()) < slice.ticks as u64 / 10);
        assert!(sleeps(&rig, slice, peer::Tokio::open(&rig).unwrap()) > slice.ticks as u64 / 2);
    }

    /// Shares its CPU with a thread that spins, too.
    struct Crowded<C>(C);

    impl<C: Client> Client for Crowded<C> {
        fn answer(&mut self, slice: Slice, running: &Running) -> anyhow::Result<()> {
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
                let answered = self.0.answer(slice, running);
                over.store(true, Ordering::Relaxed);
                answered
            })
        }
    }

    #[test]
    fn slices_in_which_a_thread_lost_its_cpu_are_not_among_the_undisturbed_ones() {
        if skipped() {
            return;
        }
        let cpu = topology::Machine::read().unwrap().units[0].cpu;
        let pinned = std::thread::spawn(move || {
            runtime::host::pin_to_core(cpu).unwrap();
            let moment = Budget::of_seconds(0.001).unwrap();
            let rig = Rig::new(Some(cpu)).unwrap();
            let (wired, client) = own::OwnOnKernel::open(&rig).unwrap();
            let mut crowded = (wired, Crowded(client));
            let sides = vec![side(KERNEL, &rig.venue, Slice { interval_ns: 1_000_000, warm_up: 0, ticks: 60 }, &mut crowded)];
            let measured = alternate(moment, sides).unwrap();
            let counts: Vec<u64> = measured[0].iter().map(|measured| measured.histogram.len()).collect();
            assert_eq!((counts[SOCKET], counts[SOCKET_TAPPED], counts[WIRE]), (120, 120, 120));
            assert_eq!((counts[SOCKET_UNDISTURBED], counts[WIRE_UNDISTURBED]), (0, 0));
            let mut alone = (Wired { tap: None, ..crowded.0 }, crowded.1.0);
            let sides = vec![side(KERNEL, &rig.venue, Slice { interval_ns: 100_000, warm_up: 0, ticks: 4 }, &mut alone)];
            let measured = alternate_at_least(200, moment, sides).unwrap();
            let undisturbed = measured[0][SOCKET_UNDISTURBED].histogram.len();
            assert!(undisturbed >= 40 && undisturbed.is_multiple_of(4), "whole slices, and not a few of them: {undisturbed}");
        });
        pinned.join().unwrap();
    }

    #[test]
    fn a_tick_that_is_late_counts_from_when_it_was_to_be_sent() {
        if skipped() {
            return;
        }
        struct Late<C>(C);
        impl<C: Client> Client for Late<C> {
            fn answer(&mut self, slice: Slice, running: &Running) -> anyhow::Result<()> {
                std::thread::sleep(Duration::from_millis(60));
                self.0.answer(slice, running)
            }
        }
        let rig = Rig::new(None).unwrap();
        let (Wired { connection, .. }, client) = own::OwnOnKernel::open(&rig).unwrap();
        let slice = Slice { interval_ns: 1_000_000, warm_up: 2, ticks: 20 };
        let running = rig.venue.begin(connection, slice).unwrap();
        Late(client).answer(slice, &running).unwrap();
        let times = running.finish().unwrap().times_ns;
        assert_eq!(times.len(), slice.ticks);
        // The last was to be sent 21 ms after the first, when nobody listened yet.
        assert!(times.iter().all(|ns| *ns > 30_000_000), "{times:?}");
    }

    #[test]
    fn a_client_that_gives_up_ends_the_bench_and_the_venue_at_once() {
        if skipped() {
            return;
        }
        struct Broken;
        impl Client for Broken {
            fn answer(&mut self, _slice: Slice, _running: &Running) -> anyhow::Result<()> {
                anyhow::bail!("no idea")
            }
        }
        let rig = Rig::new(None).unwrap();
        let mut broken = (own::OwnOnKernel::open(&rig).unwrap().0, Broken);
        let side = side(OWN, &rig.venue, CASES[0].slice, &mut broken);
        let error = alternate(Budget::of_seconds(0.001).unwrap(), vec![side]);
        assert_eq!(error.err().map(|error| format!("{error:#}")), Some(format!("the client of {OWN}: no idea")));
        let start = Instant::now();
        drop(rig);
        assert!(start.elapsed() < PATIENCE / 2, "it waits for an order: {:?}", start.elapsed());
    }
}
