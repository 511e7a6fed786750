//! Where a simulation lives: in the network namespace and on the processors of whoever starts it.

use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::unistd::Pid;
use venue_sim::Sim;
use venue_sim::config::SimConfig;
use venue_sim::venue::VenueName;

fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped: {reason}");
    eprintln!("skipped: {reason}");
}

/// The processors that the threads named after the simulator may use, as the kernel lists them.
fn simulator_cpus() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs").flatten();
    let statuses = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    statuses
        .filter(|status| status.lines().any(|line| line == "Name:\tvenue-sim"))
        .filter_map(|status| status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t").map(str::to_owned)))
        .collect()
}

#[test]
fn a_simulation_lives_in_the_namespace_and_on_the_processors_of_its_starter() {
    let mut first = CpuSet::new();
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("affinity");
    let cpu = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or(false)).expect("a processor");
    first.set(cpu).expect("in range");
    let started = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("a network namespace needs root: {error}"))?;
        let up =
            Command::new("ip").args(["link", "set", "lo", "up"]).status().map_err(|error| format!("ip (package iproute2): {error}"))?;
        if !up.success() {
            return Err("cannot bring the namespace's loopback up".to_owned());
        }
        sched_setaffinity(Pid::from_raw(0), &first).map_err(|error| error.to_string())?;
        let sim = Sim::start(SimConfig::default()).map_err(|error| error.to_string())?;
        let address = sim.address(VenueName::Binance).ok_or("not simulated")?.main;
        let inside = TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok();
        Ok((sim, address, inside))
    })
    .join()
    .expect("no panic");
    let (sim, address, inside) = match started {
        Ok(started) => started,
        Err(reason) => return skip(&reason),
    };
    assert!(inside, "reachable where it was started");
    assert!(TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_err(), "and nowhere else");
    assert_eq!(simulator_cpus(), [cpu.to_string()]);
    // In-process control works from any thread, whatever its namespace.
    thread::sleep(Duration::from_millis(50));
    assert!(sim.account(VenueName::Binance, "nobody").is_none());
    sim.stop();
}
