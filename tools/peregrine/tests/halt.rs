//! A halt outlives a restart, until `peregrine run --resume`.

use engine_core::event::CommandKind;
use peregrine::demo::stage::{Stage, StageOptions, Wire};
use peregrine::launch::{Launch, launch, open_log};
use runtime::engine::LoopTiming;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use venue_sim::venue::VenueName;

const PROGRAM: &str = env!("CARGO_BIN_EXE_peregrine");
const PATIENCE: Duration = Duration::from_secs(60);

/// Orders that the venues have ever taken, and those of them that are open.
fn orders(stage: &Stage) -> (usize, usize) {
    let binance = stage.sim.account(VenueName::Binance, &stage.accounts.binance.ed25519_key).expect("the account is there");
    let kraken = stage.sim.account(VenueName::Kraken, &stage.accounts.kraken.key).expect("the account is there");
    let open = binance.open_orders.len() + kraken.open_orders.len();
    (open + binance.closed_orders.len() + kraken.closed_orders.len(), open)
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the program for some seconds.
fn run(stage: &Stage, more: &[&str]) {
    let mut command = match &stage.wire {
        Wire::Veth(bed) => bed.left().command(PROGRAM).expect("the namespace is there"),
        Wire::InProcess => Command::new(PROGRAM),
    };
    command.arg("run").arg("--config").arg(&stage.config).args(["--quiet", "--seconds", "6"]).args(more);
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_halt_outlives_a_restart_until_it_is_lifted() {
    let stage = Stage::set(&StageOptions { rate: 1_000, ..StageOptions::default() }).expect("the stage is set");
    if matches!(stage.wire, Wire::InProcess) {
        assert!(std::env::var_os("CI").is_none(), "in CI this runs over AF_XDP");
        eprintln!("no network namespaces here: over the in-process link instead of AF_XDP");
    }
    let log = open_log(&stage.document).expect("the log opens");
    let (stop, timing) = (Arc::new(AtomicBool::new(false)), LoopTiming::default());
    let start = || launch(Launch { document: &stage.document, log, stop, verify_replay: false, timing });
    let running = stage.wire.on_engine_side(start).expect("the namespace is there").expect("the engine starts");
    wait_until("orders are placed", || orders(&stage).1 > 0);
    running.handle.command(CommandKind::Kill, 0, 0).expect("there is room for a command");
    wait_until("the halt has cancelled everything", || orders(&stage).1 == 0);
    let (at_the_halt, _) = orders(&stage);
    std::thread::sleep(Duration::from_secs(1));
    running.handle.stop();
    drop(running.relay);
    assert_eq!(orders(&stage), (at_the_halt, 0), "a halted engine places no order");

    run(&stage, &[]);
    assert_eq!(orders(&stage), (at_the_halt, 0), "a halt outlives a restart");
    run(&stage, &["--resume"]);
    let (after, open) = orders(&stage);
    assert!(after > at_the_halt, "it trades again");
    assert_eq!(open, 0, "and cancels when it stops");
}
