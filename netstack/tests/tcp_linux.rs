//! Our TCP against Linux's, over a TUN device in a network namespace of its own, with a wire between them that loses,
//! doubles, reorders, corrupts and delays. Needs the right to make both (skipped without it; in CI it fails instead).
//! With `TCP_SEGMENTS` in the environment it goes on until so many were exchanged (see `tcp_endurance.rs`).

mod tcp_support;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use netstack::tcp::{State, TcpConfig, TcpStatistics};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use tcp_support::*;

nix::ioctl_write_ptr_bad!(
    /// TUNSETIFF.
    set_interface,
    nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
    libc::ifreq
);

/// A TUN device named t0 in a new namespace of this thread, with Linux at [`PEER`].
fn tun() -> Result<File, String> {
    let text = |what: &'static str| move |error: &dyn std::fmt::Display| format!("{what}: {error}");
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| text("unshare")(&error))?;
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .map_err(|error| text("/dev/net/tun")(&error))?;
    // SAFETY: an ifreq of zeros is a valid one: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    (request.ifr_name[0], request.ifr_name[1]) = (b't' as libc::c_char, b'0' as libc::c_char);
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the descriptor is open, and the request lives until the call returns.
    unsafe { set_interface(device.as_raw_fd(), &raw const request) }.map_err(|error| text("TUNSETIFF")(&error))?;
    for arguments in [["addr", "add", "10.0.0.2/24", "dev", "t0"].as_slice(), &["link", "set", "t0", "up"]] {
        let done = Command::new("ip").args(arguments).status().map_err(|error| text("ip")(&error))?;
        if !done.success() {
            return Err(format!("ip {arguments:?}: {done}"));
        }
    }
    Ok(device)
}

/// Linux's side: sends `down`, receives until the end, returns what it received.
fn serve(mut peer: TcpStream, down: Vec<u8>) -> Vec<u8> {
    let mut writer = peer.try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || {
        writer.write_all(&down).expect("Linux sends");
        writer.shutdown(std::net::Shutdown::Write).expect("Linux closes");
    });
    let mut received = Vec::new();
    peer.read_to_end(&mut received).expect("Linux receives");
    sender.join().expect("the sender ends");
    received
}

/// Runs both streams; returns our counters and the time that it took.
fn exchange(device: &mut File, faults: Faults, seed: u64, config: &TcpConfig, up: usize, down: usize) -> (TcpStatistics, Duration) {
    let (up, down) = (stream(up, seed), stream(down, !seed));
    let listener = TcpListener::bind(PEER).expect("Linux listens");
    let to_us = down.clone();
    let server = std::thread::spawn(move || serve(listener.accept().expect("Linux accepts").0, to_us));
    let begin = Instant::now();
    let now = || SECOND + begin.elapsed().as_nanos() as u64;
    let local = std::net::SocketAddrV4::new(*OURS.ip(), 50_000 + (seed % 1000) as u16);
    let mut ours = Ours::new(config, local, PEER, u32::MAX - (seed as u32 & 0xffff), now(), up.clone());
    ours.use_per_mille = 700;
    let mut wire = Wire::new(faults, seed);
    let mut packet = vec![0; 65_536];
    while !(ours.peer_closed && ours.finished()) {
        assert!(
            begin.elapsed() < Duration::from_secs(300),
            "seed {seed}: {:?} {:?}",
            ours.connection.state(),
            ours.connection.statistics()
        );
        let mut idle = true;
        // A burst, then our turn.
        for _ in 0..64 {
            match device.read(&mut packet) {
                Ok(len) if packet[0] >> 4 == 4 && packet[9] == 6 => wire.send(1, now(), packet[..len].to_vec()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("TUN: {error}"),
            }
            idle = false;
        }
        while let Some((to, bytes)) = wire.arrived(now()) {
            idle = false;
            if to == 0 {
                ours.deliver(now(), &bytes);
            } else {
                match device.write_all(&bytes) {
                    Ok(()) => {}
                    // What the wire has corrupted into another IP version does not get as far as Linux.
                    Err(error) if error.kind() == ErrorKind::InvalidInput && bytes[0] >> 4 != 4 => {}
                    Err(error) => panic!("TUN takes a packet: {error}"),
                }
            }
        }
        for bytes in ours.work(now()) {
            idle = false;
            wire.send(0, now(), bytes);
        }
        if idle {
            std::thread::sleep(Duration::from_micros(20));
        }
    }
    let took = begin.elapsed();
    // What was last sent must still reach Linux.
    let until = now() + SECOND;
    while !server.is_finished() && now() < until {
        while let Some((to, bytes)) = wire.arrived(now()) {
            if to == 1 {
                device.write_all(&bytes).expect("TUN takes a packet");
            }
        }
        while let Ok(len) = device.read(&mut packet) {
            if packet[0] >> 4 == 4 && packet[9] == 6 {
                wire.send(1, now(), packet[..len].to_vec());
            }
        }
        for bytes in ours.work(now()) {
            wire.send(0, now(), bytes);
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    assert!(ours.received == down, "down: {} of {}", ours.received.len(), down.len());
    // Linux would wait for ever for what we gave up sending.
    assert!(server.is_finished(), "seed {seed}: given up, {:?} {:?}", ours.connection.state(), ours.connection.statistics());
    let received = server.join().expect("the server ends");
    assert!(received == up, "up: {} of {}", received.len(), up.len());
    assert!(matches!(ours.connection.state(), State::TimeWait | State::Closed));
    (ours.connection.statistics(), took)
}

#[test]
fn streams_arrive_whole_between_ours_and_linux() {
    let mut device = match tun() {
        Ok(device) => device,
        Err(reason) => {
            assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: {reason}");
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let config = TcpConfig { time_wait: 10 * MS, ..TcpConfig::default() };
    let quick = Faults { delay_ns: 200 * US, ..CLEAN };
    let (statistics, took) = exchange(&mut device, quick, 1, &config, 2_000_000, 2_000_000);
    println!("clean: {took:?} {statistics:?}");
    let bad = Faults { loss: 20, duplication: 10, reordering: 100, corruption: 5, lateness_ns: 300 * US, ..quick };
    let plain = TcpConfig { sack: false, timestamps: false, receive_buffer: 32 * 1024, ..config };
    for seed in 2..6 {
        let config = if seed == 5 { plain } else { config };
        let (statistics, took) = exchange(&mut device, bad, seed, &config, 500_000, 200_000);
        println!("seed {seed}: {took:?} {statistics:?}");
        assert!(statistics.retransmissions > 0 && statistics.out_of_order > 0);
    }
    // Longer streams on wires of all kinds.
    let (wanted, mut segments, mut seed) = (from_environment("TCP_SEGMENTS").unwrap_or(0), 0, from_environment("TCP_SEED").unwrap_or(6));
    while segments < wanted {
        let mut chance = Chance::new(seed);
        let faults = Faults {
            loss: chance.below(40),
            duplication: chance.below(30),
            reordering: chance.below(300),
            corruption: chance.below(10),
            delay_ns: [50 * US, 200 * US, 2 * MS][chance.below(3) as usize],
            lateness_ns: [50 * US, 500 * US, 3 * MS][chance.below(3) as usize],
            serialization_ns: [0, 12 * US][chance.below(2) as usize],
        };
        let config = if chance.below(4) == 0 { plain } else { config };
        let sizes = [chance.below(4_000_000) as usize, chance.below(4_000_000) as usize];
        println!("seed {seed}: {faults:?} {sizes:?}");
        let (statistics, took) = exchange(&mut device, faults, seed, &config, sizes[0], sizes[1]);
        segments += statistics.segments_in + statistics.segments_out;
        println!("  {took:?}, {segments} segments so far");
        seed += 1;
    }
}
