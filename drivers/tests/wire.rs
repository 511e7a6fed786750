//! AF_XDP and AF_PACKET on a real veth wire between two namespaces. Needs root.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drivers::af_packet::{AfPacket, AfPacketConfig};
use drivers::af_xdp::{AfXdp, AfXdpConfig, BusyPoll};
use drivers::filter::Filter;
use drivers::interface::Interface;
use drivers::port::{Burst, Port};
use drivers::purpose::Purpose;
use drivers::select::{self, AnyPort, Link, LinkConfig};
use drivers::testbed::{self, ENGINE_ADDRESS, Testbed, TestbedConfig};
use drivers::xdp_program::{AttachMode, XdpAttachment};

const DEADLINE: Duration = Duration::from_secs(5);
const VENUE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const KERNEL_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// A wire, or `None` (said on standard error) where there can be none.
fn testbed() -> Option<Testbed> {
    testbed_with(TestbedConfig::default())
}

fn testbed_with(config: TestbedConfig) -> Option<Testbed> {
    if let Some(reason) = testbed::unavailable() {
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: {reason}");
        eprintln!("skipped: {reason}");
        return None;
    }
    Some(Testbed::create(config).expect("testbed"))
}

fn now_ns() -> u64 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

fn small_xdp(bed: &Testbed, filter: Filter) -> AfXdpConfig {
    AfXdpConfig { rx_frames: 256, tx_frames: 128, ..AfXdpConfig::new(bed.left_interface(), filter) }
}

fn small_packet(bed: &Testbed, filter: Filter) -> AfPacketConfig {
    AfPacketConfig { rx_frames: 256, tx_frames: 128, ..AfPacketConfig::new(bed.left_interface(), filter) }
}

fn open_xdp(bed: &Testbed, config: &AfXdpConfig) -> AfXdp {
    bed.left().run(|| AfXdp::open(config)).expect("enter").expect("AF_XDP opens")
}

fn open_packet(bed: &Testbed, config: &AfPacketConfig) -> AfPacket {
    bed.left().run(|| AfPacket::open(config)).expect("enter").expect("AF_PACKET opens")
}

fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A minimal host on a port: answers ARP for `address`, and sends UDP back to where it came from.
/// Returns the number of datagrams echoed once `until` says so.
fn echo(port: &mut impl Port, address: Ipv4Addr, mut until: impl FnMut(u64) -> bool) -> u64 {
    let mac = port.info().mac;
    let mut burst = Burst::new();
    let mut echoed = 0;
    let start = Instant::now();
    while !until(echoed) && start.elapsed() < DEADLINE {
        port.receive(now_ns(), &mut burst);
        for index in 0..burst.len() {
            let handle = burst.frames()[index];
            let mut answer = port.frame(handle).to_vec();
            match (answer[12], answer[13]) {
                (8, 6) if answer[21] == 1 => {
                    let (asker_mac, asker_ip): (Vec<u8>, Vec<u8>) = (answer[22..28].to_vec(), answer[28..32].to_vec());
                    answer[21] = 2;
                    answer[22..28].copy_from_slice(&mac);
                    answer[28..32].copy_from_slice(&address.octets());
                    answer[32..38].copy_from_slice(&asker_mac);
                    answer[38..42].copy_from_slice(&asker_ip);
                }
                (8, 0) if answer[23] == 17 => {
                    assert_eq!(answer[30..34], address.octets(), "only frames for us arrive");
                    let header_sum = internet_checksum(&answer[14..34]);
                    assert_eq!(header_sum, 0, "the IP header is sound");
                    for (a, b) in [(26, 30), (27, 31), (28, 32), (29, 33), (34, 36), (35, 37)] {
                        answer.swap(a, b);
                    }
                    echoed += 1;
                }
                _ => continue,
            }
            let sender: Vec<u8> = answer[6..12].to_vec();
            answer[..6].copy_from_slice(&sender);
            answer[6..12].copy_from_slice(&mac);
            let Some(frame) = port.allocate() else { continue };
            port.buffer(&frame)[..answer.len()].copy_from_slice(&answer);
            port.commit(frame, answer.len());
        }
        port.recycle(&mut burst);
        port.flush(now_ns()).expect("flush");
    }
    echoed
}

/// Sends `count` datagrams from the right kernel and waits for each echo; returns how many came back.
fn ask(bed: &Testbed, to: (Ipv4Addr, u16), count: u32, size: usize) -> u32 {
    bed.right()
        .run(|| {
            let socket = UdpSocket::bind((VENUE_ADDRESS, 0)).expect("bind");
            socket.connect(to).expect("connect");
            socket.set_read_timeout(Some(Duration::from_millis(500))).expect("timeout");
            let mut answered = 0;
            for number in 0..count {
                let mut payload = vec![number as u8; size];
                payload[..4].copy_from_slice(&number.to_be_bytes());
                let mut answer = vec![0; 2048];
                if socket.send(&payload).is_ok() && socket.recv(&mut answer).is_ok_and(|len| answer[..len] == payload) {
                    answered += 1;
                }
            }
            answered
        })
        .expect("enter")
}

/// Runs the echo on `port` while the right side asks; returns answers.
fn echo_while_asked(
    bed: &Testbed,
    mut port: impl Port + Send,
    to: (Ipv4Addr, u16),
    count: u32,
    size: usize,
) -> (u32, drivers::port::PortStatistics) {
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| ask(bed, to, count, size));
        echo(&mut port, to.0, |_| answers.is_finished());
        (answers.join().expect("asker"), port.statistics())
    })
}

#[test]
fn af_xdp_echoes_on_its_own_address_and_passes_the_rest_to_the_kernel() {
    let Some(bed) = testbed() else { return };
    let port = open_xdp(&bed, &small_xdp(&bed, Filter::Address(ENGINE_ADDRESS)));
    let info = port.info().clone();
    assert_eq!((info.driver, info.mode, info.mtu), ("af_xdp", "native copy", 1500));
    assert!(info.why.iter().any(|line| line.contains("zero-copy") && line.contains("veth")), "{:?}", info.why);
    assert_ne!(info.mac, [0; 6]);

    // More than all the chunks, so that every one of them goes round.
    let (answers, statistics) = echo_while_asked(&bed, port, (ENGINE_ADDRESS, 9000), 1000, 600);
    assert_eq!(answers, 1000);
    assert!(statistics.rx_frames > 1000 && statistics.tx_frames > 1000, "{statistics:?}");
    assert_eq!((statistics.rx_dropped, statistics.tx_invalid, statistics.tx_exhausted), (0, 0, 0));
    assert_eq!(statistics.wakeups, 0, "copy mode receives without system calls");

    // The kernel's own address on the same interface still answers.
    let kernel = bed.left().run(|| UdpSocket::bind((KERNEL_ADDRESS, 9001)).expect("bind")).expect("enter");
    kernel.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let port = open_xdp(&bed, &small_xdp(&bed, Filter::Address(ENGINE_ADDRESS)));
    bed.right()
        .run(|| UdpSocket::bind((VENUE_ADDRESS, 0)).expect("bind").send_to(b"kernel", (KERNEL_ADDRESS, 9001)).expect("send"))
        .expect("enter");
    let mut answer = [0; 16];
    assert_eq!(kernel.recv(&mut answer).expect("the kernel hears its own address"), 6);
    assert_eq!(port.statistics().rx_frames, 0);
}

#[test]
fn af_xdp_in_generic_mode_echoes_too_and_says_why() {
    let Some(bed) = testbed() else { return };
    let config = AfXdpConfig { native: false, ..small_xdp(&bed, Filter::Address(ENGINE_ADDRESS)) };
    let port = open_xdp(&bed, &config);
    assert_eq!(port.info().mode, "generic copy");
    assert!(port.info().why[0].contains("not permitted"), "{:?}", port.info().why);
    assert_eq!(echo_while_asked(&bed, port, (ENGINE_ADDRESS, 9000), 100, 1400).0, 100);
}

#[test]
fn af_xdp_with_busy_polling_echoes() {
    let Some(bed) = testbed() else { return };
    let config = AfXdpConfig { busy_poll: Some(BusyPoll::default()), ..small_xdp(&bed, Filter::Address(ENGINE_ADDRESS)) };
    let port = open_xdp(&bed, &config);
    let (answers, statistics) = echo_while_asked(&bed, port, (ENGINE_ADDRESS, 9000), 200, 100);
    assert_eq!(answers, 200);
    assert!(statistics.wakeups > 0);
}

#[test]
fn af_xdp_on_a_shared_address_takes_only_its_ports() {
    let Some(bed) = testbed() else { return };
    let filter = Filter::Ports { address: KERNEL_ADDRESS, first: 20_000, last: 20_099 };
    let kernel = bed.left().run(|| UdpSocket::bind((KERNEL_ADDRESS, 20_100)).expect("bind")).expect("enter");
    kernel.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let port = open_xdp(&bed, &small_xdp(&bed, filter));
    assert_eq!(echo_while_asked(&bed, port, (KERNEL_ADDRESS, 20_099), 50, 64).0, 50);
    let port = open_xdp(&bed, &small_xdp(&bed, filter));
    bed.right()
        .run(|| UdpSocket::bind((VENUE_ADDRESS, 0)).expect("bind").send_to(b"kernel", (KERNEL_ADDRESS, 20_100)).expect("send"))
        .expect("enter");
    assert_eq!(kernel.recv(&mut [0; 16]).expect("the next port is the kernel's"), 6);
    assert_eq!(port.statistics().rx_frames, 0);
}

#[test]
fn af_packet_echoes_and_the_shield_keeps_the_kernel_out() {
    let Some(bed) = testbed() else { return };
    let port = open_packet(&bed, &small_packet(&bed, Filter::Address(ENGINE_ADDRESS)));
    assert_eq!((port.info().driver, port.info().mode), ("af_packet", "tpacket_v2"));
    assert!(port.info().why.is_empty(), "{:?}", port.info().why);
    let (answers, statistics) = echo_while_asked(&bed, port, (ENGINE_ADDRESS, 9000), 1000, 600);
    assert_eq!(answers, 1000);
    assert_eq!((statistics.rx_dropped, statistics.rx_invalid, statistics.tx_exhausted), (0, 0, 0));

    // On a shared address without a socket on the port the kernel would answer "port unreachable",
    // which the asker's connected socket reports as "connection refused". It must stay silent.
    let filter = Filter::Ports { address: KERNEL_ADDRESS, first: 20_000, last: 20_099 };
    let refused = || {
        bed.right()
            .run(|| {
                let socket = UdpSocket::bind((VENUE_ADDRESS, 0)).expect("bind");
                socket.connect((KERNEL_ADDRESS, 20_000)).expect("connect");
                socket.set_read_timeout(Some(Duration::from_millis(200))).expect("timeout");
                socket.send(b"anyone?").expect("send");
                socket.recv(&mut [0; 16]).expect_err("nobody echoes").kind() == ErrorKind::ConnectionRefused
            })
            .expect("enter")
    };
    assert!(refused(), "without a port the kernel answers");
    let mut port = open_packet(&bed, &small_packet(&bed, filter));
    assert!(!refused(), "with a port the shield keeps the kernel silent");
    let mut burst = Burst::new();
    assert_eq!(port.receive(0, &mut burst), 1, "and the port has the frame");
    port.recycle(&mut burst);
    // Also while a process that another thread starts still has copies of all descriptors.
    let starting = Starting::process();
    drop(port);
    let start = Instant::now();
    // The kernel bounds how often it answers (net.ipv4.icmp_ratelimit), and may be late on a busy machine.
    while !refused() {
        assert!(start.elapsed() < DEADLINE, "the shield goes with the port");
    }
    assert!(starting.has_not_begun(), "the copies were there all the time");
}

/// A process that has been forked and does not execute its program before it is told to.
struct Starting {
    go: std::io::PipeWriter,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Starting {
    fn process() -> Starting {
        let (mut forked, tell) = std::io::pipe().expect("a pipe");
        let (wait, go) = std::io::pipe().expect("a pipe");
        let thread = std::thread::spawn(move || {
            let mut command = std::process::Command::new("true");
            let hold = move || {
                // SAFETY: both descriptors are open in the child, which has a byte of its own to write and to read into.
                unsafe {
                    let mut byte = 0_u8;
                    libc::write(tell.as_raw_fd(), (&raw const byte).cast(), 1);
                    libc::read(wait.as_raw_fd(), (&raw mut byte).cast(), 1);
                }
                Ok(())
            };
            // SAFETY: between fork and exec it only writes to and reads from pipes, which signals may interrupt: async-signal-safe.
            let status = unsafe { command.pre_exec(hold) }.status();
            assert!(status.expect("it starts").success());
        });
        forked.read_exact(&mut [0]).expect("it is forked");
        Starting { go, thread: Some(thread) }
    }

    fn has_not_begun(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // Both go wrong only after a failure that has been told.
        let _ = self.go.write_all(&[0]);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[test]
fn af_packet_completes_checksums_that_the_sender_left_to_hardware() {
    let Some(bed) = testbed_with(TestbedConfig { transmit_offload: true, ..TestbedConfig::default() }) else { return };
    let port = open_packet(&bed, &small_packet(&bed, Filter::Address(ENGINE_ADDRESS)));
    // The echo only swaps addresses and ports, so the checksum it got is the one it sends: the asker's
    // kernel takes it only if it was right.
    assert_eq!(echo_while_asked(&bed, port, (ENGINE_ADDRESS, 9000), 50, 333).0, 50);
}

/// Frames flow out of every chunk and back, committed in another order than allocated, some abandoned.
/// A socket behind the wire, and what makes frames for it that carry a number.
fn listener(bed: &Testbed, mac: [u8; 6]) -> (UdpSocket, impl Fn(u16) -> Vec<u8>) {
    let listener = bed.right().run(|| UdpSocket::bind((VENUE_ADDRESS, 9100)).expect("bind")).expect("enter");
    listener.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let right_mac = bed.right().run(|| Interface::open(bed.right_interface())).expect("enter").expect("interface").mac;
    let datagram = move |number: u16| {
        let mut frame = Vec::new();
        frame.extend_from_slice(&right_mac);
        frame.extend_from_slice(&mac);
        frame.extend_from_slice(&[8, 0, 0x45, 0, 0, 30, 0, 0, 0x40, 0, 64, 17, 0, 0]);
        frame.extend_from_slice(&ENGINE_ADDRESS.octets());
        frame.extend_from_slice(&VENUE_ADDRESS.octets());
        let checksum = internet_checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        // UDP from port 1 to 9100, length 10, no checksum.
        frame.extend_from_slice(&[0, 1, (9100 >> 8) as u8, (9100 & 0xff) as u8, 0, 10, 0, 0]);
        frame.extend_from_slice(&number.to_be_bytes());
        frame
    };
    // The listener needs to know where the engine is.
    bed.right()
        .ip(&["neighbour", "replace", &ENGINE_ADDRESS.to_string(), "lladdr", "02:00:00:00:00:01", "dev", bed.right_interface()])
        .expect("neighbour");
    (listener, datagram)
}

/// One frame, kept, changed and sent again and again from different places in it; what it gives back is whole.
fn kept_frames(bed: &Testbed, mut port: impl Port) {
    let (listener, datagram) = listener(bed, port.info().mac);
    let kept = port.keep().expect("a chunk");
    let again = |port: &mut dyn Port, number: u16| {
        let bytes = datagram(number);
        let start = usize::from(number % 64);
        port.buffer(&kept)[start..start + bytes.len()].copy_from_slice(&bytes);
        assert!(port.commit_kept(&kept, start, bytes.len()));
        (start, bytes.len())
    };
    for number in 0..200 {
        let (rehearsed, counted) = (datagram(998), port.statistics());
        port.buffer(&kept)[100..100 + rehearsed.len()].copy_from_slice(&rehearsed);
        for _ in 0..3 {
            port.commit_kept_for(Purpose::Rehearse, &kept, 100, rehearsed.len());
        }
        assert!(port.is_at_rest(&kept));
        let after = port.statistics();
        assert_eq!(
            (after.tx_frames, after.tx_bytes),
            (counted.tx_frames, counted.tx_bytes),
            "what is rehearsed is neither sent nor counted"
        );
        let (start, len) = again(&mut port, number);
        port.flush(now_ns()).expect("flush");
        let mut answer = [0; 16];
        let received = listener.recv(&mut answer).expect("sent frames arrive");
        assert_eq!(answer[..received], number.to_be_bytes());
        let deadline = Instant::now() + DEADLINE;
        while !port.is_at_rest(&kept) {
            // The kernel says that it is done when it is asked: by the next flush of anything.
            assert!(Instant::now() < deadline, "the frame is never given back");
            let other = port.allocate().expect("chunk");
            let bytes = datagram(999);
            port.buffer(&other)[..bytes.len()].copy_from_slice(&bytes);
            port.commit(other, bytes.len());
            port.flush(now_ns()).expect("flush");
            listener.recv(&mut answer).expect("sent frames arrive");
        }
        assert_eq!(port.buffer(&kept)[start..start + len], datagram(number), "nobody has changed it");
    }
    // All other chunks taken: a kept frame needs none.
    let others: Vec<_> = std::iter::from_fn(|| port.allocate()).collect();
    assert!(!port.has_room(false) && port.statistics().tx_exhausted > 0);
    let slots_are_chunks = port.info().driver == "af_packet";
    assert!(slots_are_chunks || port.has_room(true));
    others.into_iter().for_each(|frame| port.abandon(frame));
    assert!(port.has_room(false) && port.has_room(true));
    assert!(!port.commit_kept(&kept, 0, 13) && !port.commit_kept(&kept, 0, 1515), "no Ethernet header; longer than the link takes");
    assert!(!port.commit_kept(&kept, kept.capacity as usize - 20, 44), "beyond its end");
    // Given back while it is under way: free only when that is over, and then once.
    again(&mut port, 7);
    port.release(kept);
    port.flush(now_ns()).expect("flush");
    listener.recv(&mut [0; 16]).expect("it was sent all the same");
    let more: Vec<_> = std::iter::from_fn(|| port.keep()).collect();
    assert_eq!(more.len(), 96, "three quarters of the chunks");
    more.into_iter().for_each(|frame| port.release(frame));
    port.flush(now_ns()).expect("flush");
    assert_eq!(std::iter::from_fn(|| port.allocate()).count(), 128, "no chunk was lost, none is there twice");
}

#[test]
fn af_xdp_sends_kept_frames_again() {
    let Some(bed) = testbed() else { return };
    let port = open_xdp(&bed, &small_xdp(&bed, Filter::Address(ENGINE_ADDRESS)));
    kept_frames(&bed, port);
}

#[test]
fn af_packet_sends_kept_frames_again() {
    let Some(bed) = testbed() else { return };
    let port = open_packet(&bed, &small_packet(&bed, Filter::Address(ENGINE_ADDRESS)));
    kept_frames(&bed, port);
}

fn out_of_order_commit(bed: &Testbed, mut port: impl Port) {
    let (listener, datagram) = listener(bed, port.info().mac);
    for round in 0..100_u16 {
        let (first, second, third) = (port.allocate().expect("chunk"), port.allocate().expect("chunk"), port.allocate().expect("chunk"));
        for (frame, number) in [(third, round * 2), (first, round * 2 + 1)] {
            let bytes = datagram(number);
            port.buffer(&frame)[..bytes.len()].copy_from_slice(&bytes);
            port.commit(frame, bytes.len());
        }
        port.abandon(second);
        port.flush(now_ns()).expect("flush");
        for number in [round * 2, round * 2 + 1] {
            let mut answer = [0; 16];
            let len = listener.recv(&mut answer).expect("sent frames arrive");
            assert_eq!(answer[..len], number.to_be_bytes());
        }
    }
    // Committed but not flushed: as many as fit, and then no more, until the kernel has taken them.
    for _ in 0..128 {
        let frame = port.allocate().expect("chunk");
        let bytes = datagram(0);
        port.buffer(&frame)[..bytes.len()].copy_from_slice(&bytes);
        port.commit(frame, bytes.len());
    }
    assert_eq!(port.allocate(), None, "all slots wait for the flush");
    port.flush(now_ns()).expect("flush");
    let too_long = port.allocate().expect("chunk");
    let capacity = too_long.capacity as usize;
    port.commit(too_long, capacity + 1);
    assert_eq!((port.statistics().tx_invalid, port.statistics().tx_frames), (1, 328));
    let all: Vec<_> = std::iter::from_fn(|| port.allocate()).collect();
    assert_eq!(all.len(), 128, "no chunk was lost");
    assert_eq!(port.statistics().tx_exhausted, 2);
}

#[test]
fn af_xdp_sends_in_commit_order_and_loses_no_chunk() {
    let Some(bed) = testbed() else { return };
    let port = open_xdp(&bed, &small_xdp(&bed, Filter::Address(ENGINE_ADDRESS)));
    out_of_order_commit(&bed, port);
}

#[test]
fn af_packet_sends_in_commit_order_and_loses_no_chunk() {
    let Some(bed) = testbed() else { return };
    let port = open_packet(&bed, &small_packet(&bed, Filter::Address(ENGINE_ADDRESS)));
    out_of_order_commit(&bed, port);
}

/// Floods a port that does not look: the overflow is counted, and afterwards it works again.
fn overflow_is_counted(bed: &Testbed, mut port: impl Port + Send) {
    // Once through ARP.
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(bed, (ENGINE_ADDRESS, 9000), 1, 64));
        echo(&mut port, ENGINE_ADDRESS, |_| asked.is_finished());
        assert_eq!(asked.join().expect("asker"), 1);
    });
    bed.right()
        .run(|| {
            let socket = UdpSocket::bind((VENUE_ADDRESS, 0)).expect("bind");
            for _ in 0..1000 {
                socket.send_to(&[0; 100], (ENGINE_ADDRESS, 9000)).expect("send");
            }
        })
        .expect("enter");
    let dropped = port.statistics().rx_dropped;
    assert!((500..1000).contains(&dropped), "256 of 1000 frames had room, {dropped} were dropped");
    let mut burst = Burst::new();
    let mut received = 0;
    while port.receive(now_ns(), &mut burst) > 0 {
        received += burst.len() as u64;
        port.recycle(&mut burst);
    }
    assert_eq!(received + dropped, 1000);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(bed, (ENGINE_ADDRESS, 9000), 300, 64));
        echo(&mut port, ENGINE_ADDRESS, |_| asked.is_finished());
        assert_eq!(asked.join().expect("asker"), 300, "it recovers");
    });
}

#[test]
fn af_xdp_counts_overflow_and_recovers() {
    let Some(bed) = testbed() else { return };
    let port = open_xdp(&bed, &small_xdp(&bed, Filter::Address(ENGINE_ADDRESS)));
    overflow_is_counted(&bed, port);
}

#[test]
fn af_packet_counts_overflow_and_recovers() {
    let Some(bed) = testbed() else { return };
    let port = open_packet(&bed, &small_packet(&bed, Filter::Address(ENGINE_ADDRESS)));
    overflow_is_counted(&bed, port);
}

/// Frames on loan keep their bytes and are not handed out twice, whatever comes in meanwhile.
fn loans_are_respected(bed: &Testbed, mut port: impl Port + Send) {
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(bed, (ENGINE_ADDRESS, 9000), 1, 64));
        echo(&mut port, ENGINE_ADDRESS, |_| asked.is_finished());
    });
    let flood = |first: u32, count: u32| {
        bed.right()
            .run(|| {
                let socket = UdpSocket::bind((VENUE_ADDRESS, 0)).expect("bind");
                for number in first..first + count {
                    socket.send_to(&number.to_be_bytes(), (ENGINE_ADDRESS, 9000)).expect("send");
                }
            })
            .expect("enter");
    };
    let numbers = |port: &mut dyn Port, burst: &Burst| -> Vec<u32> {
        burst.frames().iter().map(|frame| u32::from_be_bytes(port.frame(*frame)[42..46].try_into().expect("four bytes"))).collect()
    };
    flood(0, 10);
    let mut held = Burst::new();
    assert_eq!(port.receive(now_ns(), &mut held), 10);
    assert_eq!(numbers(&mut port, &held), (0..10).collect::<Vec<_>>());
    // Three times round the ring, taken out as it comes, with ten slots missing.
    let mut burst = Burst::new();
    let mut seen = Vec::new();
    for batch in 0..24 {
        flood(100 + batch * 32, 32);
        while port.receive(now_ns(), &mut burst) > 0 {
            seen.extend(numbers(&mut port, &burst));
            port.recycle(&mut burst);
        }
    }
    assert_eq!(numbers(&mut port, &held), (0..10).collect::<Vec<_>>(), "frames on loan are left alone");
    assert!(seen.is_sorted_by(|a, b| a < b) && seen.iter().all(|number| *number >= 100), "nothing is handed out twice: {seen:?}");
    port.recycle(&mut held);
    assert!(held.is_empty());
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(bed, (ENGINE_ADDRESS, 9000), 300, 64));
        echo(&mut port, ENGINE_ADDRESS, |_| asked.is_finished());
        assert_eq!(asked.join().expect("asker"), 300, "all slots are in use again");
    });
}

#[test]
fn af_xdp_respects_loans() {
    let Some(bed) = testbed() else { return };
    let port = open_xdp(&bed, &small_xdp(&bed, Filter::Address(ENGINE_ADDRESS)));
    loans_are_respected(&bed, port);
}

#[test]
fn af_packet_respects_loans() {
    let Some(bed) = testbed() else { return };
    let port = open_packet(&bed, &small_packet(&bed, Filter::Address(ENGINE_ADDRESS)));
    loans_are_respected(&bed, port);
}

#[test]
fn a_taken_queue_is_waited_for_and_then_reported() {
    let Some(bed) = testbed() else { return };
    let config = AfXdpConfig { busy_patience: Duration::from_millis(50), ..small_xdp(&bed, Filter::Address(ENGINE_ADDRESS)) };
    let first = open_xdp(&bed, &config);
    let refused = bed.left().run(|| AfXdp::open(&config)).expect("enter").map(|_| ()).expect_err("the interface is taken");
    assert!(refused.to_string().contains("another XDP program"), "{refused}");
    let patient = AfXdpConfig { busy_patience: DEADLINE, ..config };
    let second = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| open_xdp(&bed, &patient));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished(), "it waits while the first port lives");
        drop(first);
        waiting.join().expect("opens once the first port is gone")
    });
    assert_eq!(second.info().mode, "native copy");
}

#[test]
fn several_ports_can_share_one_attached_program() {
    let Some(bed) = testbed() else { return };
    let config = small_xdp(&bed, Filter::Address(ENGINE_ADDRESS));
    let attach = |name: &str, namespace: &testbed::Namespace| {
        namespace
            .run(|| {
                let interface = Interface::open(name).expect("interface");
                XdpAttachment::attach(&interface, config.filter, AttachMode::Native, DEADLINE).expect("attach")
            })
            .map(Arc::new)
            .expect("enter")
    };
    let ours = attach(bed.left_interface(), bed.left());
    let open_on = |queue: u32, attachment: &Arc<XdpAttachment>| {
        let config = AfXdpConfig { queue, busy_patience: Duration::from_millis(20), ..config.clone() };
        bed.left().run(|| AfXdp::open_on(&config, attachment)).expect("enter")
    };
    let no_such_queue = open_on(7, &ours).map(|_| ()).expect_err("veth has one queue");
    assert!(no_such_queue.to_string().contains("no such queue"), "{no_such_queue}");
    let port = open_on(0, &ours).expect("queue 0");
    assert_eq!(echo_while_asked(&bed, port, (ENGINE_ADDRESS, 9000), 20, 64).0, 20);
    // The program stays for the next port of the queue.
    let port = open_on(0, &ours).expect("queue 0 again");
    assert_eq!(echo_while_asked(&bed, port, (ENGINE_ADDRESS, 9000), 20, 64).0, 20);
}

#[test]
fn auto_takes_af_xdp_and_falls_back_to_af_packet_with_the_reason() {
    let Some(bed) = testbed() else { return };
    let config = LinkConfig {
        busy_patience: Duration::from_millis(20),
        rx_frames: 256,
        tx_frames: 128,
        ..LinkConfig::new(Link::Auto, bed.left_interface(), Filter::Address(ENGINE_ADDRESS))
    };
    let open = || bed.left().run(|| select::open(&config)).expect("enter").expect("a link").port;
    let best = open();
    assert!(matches!(best, AnyPort::AfXdp(_)));
    // While the first port has the interface, AF_XDP is not to be had.
    let next = open();
    assert!(matches!(next, AnyPort::AfPacket(_)));
    assert!(
        next.info().why.iter().any(|line| line.contains("af_xdp: native XDP") && line.contains("another XDP program")),
        "{:?}",
        next.info().why
    );
}

/// What the child of the next test runs: opens a port, says so, and sleeps until it is killed.
#[test]
fn child_that_holds_a_port_until_it_is_killed() {
    let Ok(interface) = std::env::var("DRIVERS_TEST_HOLD_INTERFACE") else { return };
    let _port =
        AfXdp::open(&AfXdpConfig { rx_frames: 256, tx_frames: 128, ..AfXdpConfig::new(interface, Filter::Address(ENGINE_ADDRESS)) })
            .expect("the child's port opens");
    eprintln!("holding");
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_process_leaves_no_xdp_program_behind() {
    let Some(bed) = testbed() else { return };
    let has_program = || bed.left().ip(&["-details", "link", "show", "dev", bed.left_interface()]).expect("ip link").contains("prog/xdp");
    let mut child = bed
        .left()
        .command(std::env::current_exe().expect("own path").to_str().expect("UTF-8 path"))
        .expect("namespace")
        .args(["--exact", "child_that_holds_a_port_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env("DRIVERS_TEST_HOLD_INTERFACE", bed.left_interface())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("child starts");
    let mut said = Vec::new();
    let mut stderr = child.stderr.take().expect("piped");
    while !said.ends_with(b"holding\n") {
        let mut byte = [0];
        assert_eq!(stderr.read(&mut byte).expect("read"), 1, "the child ended early: {}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    assert!(has_program());
    child.kill().expect("kill");
    assert_eq!(child.wait().expect("wait").signal(), Some(9));
    let start = Instant::now();
    while has_program() {
        assert!(start.elapsed() < DEADLINE, "the program outlived its process");
        std::thread::sleep(Duration::from_millis(5));
    }
    // And the queue is free again for the next process, within the bounded retry.
    assert_eq!(open_xdp(&bed, &small_xdp(&bed, Filter::Address(ENGINE_ADDRESS))).info().mode, "native copy");
}

#[test]
fn a_vanished_interface_is_an_error_of_flush() {
    let Some(bed) = testbed() else { return };
    let mut port = open_xdp(&bed, &small_xdp(&bed, Filter::Address(ENGINE_ADDRESS)));
    bed.left().ip(&["link", "del", bed.left_interface()]).expect("delete");
    let frame = port.allocate().expect("chunk");
    port.commit(frame, 60);
    assert!(port.flush(0).is_err());
}

#[test]
fn impossible_settings_are_refused_before_anything_is_touched() {
    let Some(bed) = testbed_with(TestbedConfig { mtu: 9000, ..TestbedConfig::default() }) else { return };
    let refused =
        |config: AfXdpConfig| bed.left().run(|| AfXdp::open(&config)).expect("enter").map(|_| ()).expect_err("refused").to_string();
    let good = small_xdp(&bed, Filter::Address(ENGINE_ADDRESS));
    assert!(refused(good.clone()).contains("MTU 9000"));
    assert!(refused(AfXdpConfig { rx_frames: 100, ..good.clone() }).contains("rx_frames"));
    assert!(refused(AfXdpConfig { filter: Filter::Address(Ipv4Addr::BROADCAST), ..good }).contains("unicast"));
    // AF_PACKET takes jumbo frames.
    assert_eq!(open_packet(&bed, &small_packet(&bed, Filter::Address(ENGINE_ADDRESS))).info().mtu, 9000);
}

#[test]
fn testbeds_disappear_when_dropped_and_stale_ones_are_swept() {
    let Some(bed) = testbed() else { return };
    let path = bed.left().path();
    assert!(path.exists());
    drop(bed);
    assert!(!path.exists());
    // A child that has ended leaves its process id free.
    let mut child = std::process::Command::new("true").spawn().expect("true");
    let pid = child.id();
    child.wait().expect("wait");
    let stale = drivers::testbed::Namespace::create(&format!("{}{pid}-0a", testbed::PREFIX)).expect("namespace");
    let live = drivers::testbed::Namespace::create(&format!("{}{}-900a", testbed::PREFIX, std::process::id())).expect("namespace");
    let swept = testbed::sweep_stale();
    assert!(swept.contains(&stale.name().to_owned()), "{swept:?}");
    assert!(!stale.path().exists() && live.path().exists());
}
