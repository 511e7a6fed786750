//! `kill -9` in mid-trading, and a restart: no order lost, none doubled, positions equal again.
//!
//! The engine runs as a process of its own (over AF_XDP between two network namespaces where root is available,
//! else over the in-process link); the simulated venues live in this process and go on while it is dead, so
//! orders fill that nobody is there to hear of.

use peregrine::demo::records;
use peregrine::demo::stage::{Stage, StageOptions, Wire};
use runtime::report::Report;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use venue_sim::venue::{AccountRecord, VenueName};

const PROGRAM: &str = env!("CARGO_BIN_EXE_peregrine");
/// A round that has not traded by then has failed.
const PATIENCE: Duration = Duration::from_secs(90);

/// A process that does not outlive the test.
struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(stage: &Stage, arguments: &[&str]) -> Engine {
    let mut command = match &stage.wire {
        Wire::Veth(bed) => bed.left().command(PROGRAM).expect("the namespace is there"),
        Wire::InProcess => Command::new(PROGRAM),
    };
    command.arg("run").arg("--config").arg(&stage.config).arg("--quiet").args(arguments);
    Engine(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the program starts"))
}

fn records_of(stage: &Stage) -> [AccountRecord; 2] {
    let binance = stage.sim.account(VenueName::Binance, &stage.accounts.binance.ed25519_key);
    let kraken = stage.sim.account(VenueName::Kraken, &stage.accounts.kraken.key);
    [binance.expect("the account is there"), kraken.expect("the account is there")]
}

/// Orders and fills that the venues have recorded.
fn traded(stage: &Stage) -> (usize, usize, usize) {
    let records = records_of(stage);
    let orders = records.iter().map(|r| r.open_orders.len() + r.closed_orders.len()).sum();
    (orders, records.iter().map(|r| r.fills.len()).sum(), records.iter().map(|r| r.open_orders.len()).sum())
}

fn read_report(path: &Path) -> Report {
    let text = std::fs::read(path).expect("the report was written");
    serde_json::from_slice(&text).expect("the report is JSON")
}

#[test]
fn kill_in_mid_trading_loses_no_order_and_doubles_none() {
    let stage = Stage::set(&StageOptions { rate: 1_000, ..StageOptions::default() }).expect("the stage is set");
    if matches!(stage.wire, Wire::InProcess) {
        assert!(std::env::var_os("CI").is_none(), "in CI this runs over AF_XDP");
        eprintln!("no network namespaces here: over the in-process link instead of AF_XDP");
    }
    let mut left_open = 0;
    for round in 0..3u64 {
        let (orders, fills, _) = traded(&stage);
        let mut engine = start(&stage, &[]);
        let started = Instant::now();
        loop {
            let (orders_now, fills_now, open) = traded(&stage);
            if orders_now >= orders + 6 && fills_now > fills && open > 0 {
                break;
            }
            if let Some(status) = engine.0.try_wait().expect("it is ours") {
                panic!("round {round}: the engine ended by itself: {status}");
            }
            assert!(started.elapsed() < PATIENCE, "round {round}: {orders_now} orders, {fills_now} fills, {open} open");
            std::thread::sleep(Duration::from_millis(5));
        }
        // Not at the same point of its life each time.
        std::thread::sleep(Duration::from_millis(7 * round));
        engine.0.kill().expect("it is ours");
        engine.0.wait().expect("it is ours");
        left_open += traded(&stage).2;
        // The market goes on without it.
        std::thread::sleep(Duration::from_millis(400));
    }
    assert!(left_open > 0, "orders rested at the venues while the engine was dead");

    let path = stage.place.path.join("report.json");
    let mut last = start(&stage, &["--seconds", "8", "--verify", "--report", path.to_str().expect("a plain path")]);
    let status = last.0.wait().expect("it is ours");
    let report = read_report(&path);
    assert!(status.success(), "{status}: {:?}", report.failures);
    assert_eq!(report.journal.replay_matches, Some(true));
    assert_eq!((report.orders.unknown, report.orders.open), (0, 0));
    assert_eq!(records::differences(&report, &stage.sim, &stage.accounts), Vec::<String>::new());
    for record in records_of(&stage) {
        let ids: Vec<&str> = record.closed_orders.iter().chain(&record.open_orders).map(|o| o.client_id.as_str()).collect();
        let unique: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), unique.len(), "no order was placed twice");
    }
}
