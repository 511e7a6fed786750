//! `peregrine run`: trade, as a configuration file says, until told to stop.

use crate::launch::{Launch, launch, open_log};
use crate::live::LiveLine;
use crate::{signals, summary};
use anyhow::Context;
use engine_core::event::CommandKind;
use runtime::config::Document;
use runtime::engine::LoopTiming;
use runtime::report::Report;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Options of the subcommand.
#[derive(clap::Args)]
#[command(after_help = "Ctrl-C (or SIGTERM) cancels all open orders, waits for the venues to confirm, and ends with a summary; \
    a second one ends at once, and the next start recovers from the journal.\n\n\
    A commented configuration is in docs/src/engine.toml. Try it on simulated venues first:\n  \
    peregrine sim --venues binance,kraken --directory sim\n  \
    peregrine run --config engine.toml --seconds 60 --report report.json")]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Stop after so long; without it, at Ctrl-C.
    #[arg(long)]
    seconds: Option<u64>,
    /// Write the summary as JSON to this file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Replay the finished journal and compare every output.
    #[arg(long)]
    verify: bool,
    /// Trade again after a halt (loss limit, breaker, mismatch): a halt outlives a restart. Accepts the losses so
    /// far and the balances as the venues state them, and lifts suspensions.
    #[arg(long)]
    resume: bool,
    /// No live status line.
    #[arg(long)]
    quiet: bool,
    /// Check the configuration and end.
    #[arg(long)]
    check: bool,
}

/// Trades until told to stop.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let document = Document::read(&arguments.config)?;
    if arguments.check {
        runtime::config::network::venues(&document)?;
        runtime::config::network::link(&document)?;
        runtime::config::network::stack(&document, 1)?;
        println!("{}: well formed; limits against the venues' own rules are checked at the start", arguments.config.display());
        return Ok(ExitCode::SUCCESS);
    }
    let stop = signals::stop_flag()?;
    let log = open_log(&document)?;
    let running = launch(Launch {
        document: &document,
        log,
        stop: std::sync::Arc::clone(&stop),
        verify_replay: arguments.verify,
        timing: LoopTiming::default(),
    })?;
    if arguments.resume {
        running.handle.command(CommandKind::Resume, 0, 0).context("resuming after a halt")?;
    }
    let mut live = LiveLine::new(running.venues.clone(), running.reporting.clone(), arguments.quiet);
    let deadline = arguments.seconds.map(|s| Instant::now() + Duration::from_secs(s));
    while !stop.load(Ordering::Acquire) && deadline.is_none_or(|d| Instant::now() < d) && running.handle.is_running() {
        std::thread::sleep(Duration::from_millis(50));
        live.show(&running.handle);
    }
    live.end();
    if !arguments.quiet {
        eprintln!("stopping: cancelling open orders");
    }
    let report = running.handle.stop();
    summary::print(&report);
    if let Some(path) = &arguments.report {
        write_report(&report, path)?;
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes a report as JSON, whole or not at all.
pub fn write_report(report: &Report, path: &Path) -> anyhow::Result<()> {
    let failed = || format!("writing the report {}", path.display());
    let text = serde_json::to_vec_pretty(report).with_context(failed)?;
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, text).with_context(failed)?;
    std::fs::rename(&temporary, path).with_context(failed)
}
