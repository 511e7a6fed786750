//! A soak: the engine as a process of its own, trading on the simulated venues for a long time, its resident
//! memory and tick-to-order watched. A bench, not a test: it takes as long as it is told.
//!
//! ```sh
//! cargo build --release -p peregrine && cargo run --release -p peregrine --example soak -- 1800 20000
//! ```
//!
//! Arguments: seconds (1800), market-data messages per second (20000). Ends with a table and an exit status that says
//! whether memory stayed flat (last quarter against second quarter, 2 MiB or 2 percent) and every invariant held.

use anyhow::Context;
use peregrine::demo::records;
use peregrine::demo::stage::{self, Stage, StageOptions, Wire};
use peregrine::summary;
use runtime::report::Report;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Between two looks at the process.
const SAMPLE: Duration = Duration::from_secs(10);

fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?.trim().split(' ').next()?.parse().ok()
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(1_800), |a| a.parse()).context("seconds")?;
    let rate: u32 = arguments.next().map_or(Ok(20_000), |a| a.parse()).context("messages per second")?;
    stage::sweep();
    let stage = Stage::set(&StageOptions { rate, ..StageOptions::default() })?;
    let program = std::env::current_exe()?.parent().and_then(Path::parent).map(|d| d.join("peregrine")).context("finding the build")?;
    let mut command = match &stage.wire {
        Wire::Veth(bed) => bed.left().command(&program.to_string_lossy())?,
        Wire::InProcess => Command::new(&program),
    };
    let report_path = stage.place.path.join("report.json");
    command.arg("run").arg("--config").arg(&stage.config).args(["--quiet", "--verify", "--seconds", &seconds.to_string(), "--report"]);
    let mut engine = command.arg(&report_path).stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("starting the engine")?;
    let started = Instant::now();
    let mut samples = Vec::new();
    let status = loop {
        std::thread::sleep(SAMPLE.min(Duration::from_secs(seconds / 20 + 1)));
        if let Some(status) = engine.try_wait()? {
            break status;
        }
        if let Some(kib) = resident_kib(engine.id()) {
            println!("{:>6} s  {:>8} KiB resident", started.elapsed().as_secs(), kib);
            if started.elapsed().as_secs() < seconds {
                samples.push(kib);
            }
        }
    };
    let report: Report = serde_json::from_slice(&std::fs::read(&report_path).context("reading the report")?)?;
    print!("{}", summary::text(&report));
    let quarter = samples.len() / 4;
    let (early, late) = (median(&samples[quarter..2 * quarter]), median(&samples[3 * quarter..]));
    let flat = late <= early + (early / 50).max(2_048);
    let differences = records::differences(&report, &stage.sim, &stage.accounts);
    println!("Resident memory: second quarter {early} KiB, last quarter {late} KiB: {}", if flat { "flat" } else { "GROWS" });
    println!("Differences from the venues' records: {}", if differences.is_empty() { "none".into() } else { differences.join("; ") });
    let good = flat && status.success() && differences.is_empty();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
