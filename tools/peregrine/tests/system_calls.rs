//! The hot thread's system calls, counted by somebody else.
//!
//! What the report says of them are the driver's own counters. Here `strace` watches the thread while it trades over AF_XDP: between
//! two moments after warm-up it makes no call but the one that sends, and of those about as many as the driver says.

use peregrine::demo::flow::is_ready;
use peregrine::demo::stage::{Stage, StageOptions, Wire};
use peregrine::launch::{Launch, launch, open_log};
use runtime::engine::LoopTiming;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long it is watched after warm-up.
const WATCHED: Duration = Duration::from_secs(3);
/// Frames that may leave before strace looks: ARP and the first segments of connections.
const UNSEEN_MAX: u64 = 100;

/// The thread of this process with this name.
fn thread(name: &str) -> Option<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc is there");
    let is_it = |task: &Path| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let found = tasks.filter_map(Result::ok).find(|task| is_it(&task.path()));
    found.map(|task| task.file_name().to_string_lossy().into_owned())
}

fn seconds_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// When each call was made, and its name: lines like `1764201600.123456 sendto(9, NULL, 0, ..) = 0`.
fn calls(trace: &str) -> Vec<(f64, &str)> {
    fn call(line: &str) -> Option<(f64, &str)> {
        let (at, rest) = line.split_once(' ')?;
        Some((at.parse().ok()?, rest.split_once('(')?.0))
    }
    trace.lines().filter_map(call).collect()
}

/// Why it cannot be watched here.
fn unavailable(stage: &Stage) -> Option<&'static str> {
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    match (&stage.wire, strace) {
        (Wire::InProcess, _) => Some("no network namespaces: no AF_XDP"),
        (_, Err(_)) => Some("strace is not installed"),
        _ => None,
    }
}

#[test]
fn after_warm_up_the_hot_thread_makes_no_system_call_but_those_that_send_and_strace_counts_as_many_as_the_driver() {
    let stage = Stage::set(&StageOptions { rate: 1_000, link: "auto".into(), ..StageOptions::default() }).expect("the stage is set");
    if let Some(reason) = unavailable(&stage) {
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: {reason}");
        eprintln!("skipped: {reason}");
        return;
    }
    let log = open_log(&stage.document).expect("the log opens");
    let (stop, timing) = (Arc::new(AtomicBool::new(false)), LoopTiming::default());
    let start = || launch(Launch { document: &stage.document, log, stop, verify_replay: false, timing });
    let running = stage.wire.on_engine_side(start).expect("the namespace is there").expect("the engine starts");

    let trace_path = stage.place.path.join("strace");
    let hot = thread("pgn-hot").expect("the hot thread runs");
    let mut watching = Command::new("strace");
    watching.args(["-qq", "-ttt", "-p", &hot, "-o"]).arg(&trace_path).stdin(Stdio::null());
    let said_path = stage.place.path.join("strace.said");
    watching.stderr(std::fs::File::create(&said_path).expect("the stage's place takes files"));
    let mut watching = watching.spawn().expect("strace starts");

    let started = Instant::now();
    while !is_ready(&running.handle.status()) {
        assert!(started.elapsed() < PATIENCE, "the engine is not ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    let begin = seconds_now();
    std::thread::sleep(WATCHED);
    let end = seconds_now();
    let report = running.handle.stop();
    drop(running.relay);
    // The thread that it watches has ended.
    watching.wait().expect("it is ours");

    assert_eq!(report.link.driver, "af_xdp", "{:?}", report.link.why);
    assert!(report.venues.iter().all(|venue| venue.disconnects == 0), "a connection was lost: nothing can be said of the others");
    let trace = std::fs::read_to_string(&trace_path).expect("strace wrote it");
    let calls = calls(&trace);
    let mut counts = BTreeMap::new();
    for (_, name) in calls.iter().filter(|(at, _)| (begin..end).contains(at)) {
        *counts.entry(*name).or_insert(0u64) += 1;
    }
    let said = std::fs::read_to_string(&said_path).expect("text");
    assert_eq!(counts.keys().collect::<Vec<_>>(), [&"sendto"], "{counts:?}; strace said: {said:?}");
    // Several acknowledgements a second, whatever the market does.
    assert!(counts["sendto"] > 10, "{counts:?}");
    let sent = calls.iter().filter(|(_, name)| *name == "sendto").count() as u64;
    assert!(report.link.kicks >= sent && report.link.kicks <= sent + UNSEEN_MAX, "{} by the driver, {sent} by strace", report.link.kicks);
    assert!(report.link.kicks <= report.link.tx_frames, "one call a frame at most: {} for {}", report.link.kicks, report.link.tx_frames);
    assert_eq!(report.link.wakeups, 0);
}
