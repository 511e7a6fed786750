//! The live status line: one line that is rewritten on a terminal, a line every five seconds elsewhere.

use engine_core::event::FeedState;
use runtime::engine::EngineHandle;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const ON_TERMINAL: Duration = Duration::from_millis(250);
const ELSEWHERE: Duration = Duration::from_secs(5);

/// Writes the line to standard error, so that standard output holds only the summary.
pub struct LiveLine {
    venues: Vec<String>,
    reporting: String,
    terminal: bool,
    quiet: bool,
    started: Instant,
    next: Instant,
    last: Option<(Instant, u64)>,
}

impl LiveLine {
    /// A line for these venues, amounts in the reporting asset.
    pub fn new(venues: Vec<String>, reporting: String, quiet: bool) -> LiveLine {
        let now = Instant::now();
        LiveLine { venues, reporting, terminal: std::io::stderr().is_terminal(), quiet, started: now, next: now, last: None }
    }

    /// Shows the state, if it is time to.
    pub fn show(&mut self, handle: &EngineHandle) {
        let now = Instant::now();
        if self.quiet || now < self.next {
            return;
        }
        self.next = now + if self.terminal { ON_TERMINAL } else { ELSEWHERE };
        let status = handle.status();
        let messages: u64 = status.venues().iter().map(|v| v.messages).sum();
        let rate = self.last.map_or(0.0, |(then, before)| (messages - before) as f64 / now.duration_since(then).as_secs_f64());
        self.last = Some((now, messages));
        let mut line = format!("{:>4}s {:8}", self.started.elapsed().as_secs(), status.phase().as_str());
        for (name, venue) in self.venues.iter().zip(status.venues()) {
            let state = match (venue.market_data(), venue.order_entry()) {
                (FeedState::Up, FeedState::Up) if venue.books_valid == venue.books => "ok",
                (FeedState::Up, FeedState::Up) => "sync",
                (FeedState::Maintenance, _) | (_, FeedState::Maintenance) => "maintenance",
                _ => "down",
            };
            line.push_str(&format!(" | {name} {state} {}/{} books", venue.books_valid, venue.books));
        }
        let latency = handle.tick_to_order();
        let [pnl, ..] = status.pnl();
        line.push_str(&format!(
            " | {rate:.0} msg/s | orders {} open {} fills {} unknown {} | pnl {:+.2} {} | t2o p50 {} p99 {} us",
            status.submitted,
            status.open,
            status.fills,
            status.unknown,
            pnl.to_f64(),
            self.reporting,
            micros(latency.p50),
            micros(latency.p99),
        ));
        if status.halted() {
            line.push_str(" | HALTED");
        }
        if status.dropped > 0 {
            line.push_str(&format!(" | dropped {}", status.dropped));
        }
        let mut err = std::io::stderr().lock();
        let _ = if self.terminal { write!(err, "\r\x1b[2K{line}") } else { writeln!(err, "{line}") };
        let _ = err.flush();
    }

    /// Leaves the line behind.
    pub fn end(&self) {
        if self.terminal && !self.quiet {
            eprintln!();
        }
    }
}

/// Nanoseconds as microseconds with two decimals.
pub fn micros(ns: u64) -> String {
    format!("{}.{:02}", ns / 1_000, ns % 1_000 / 10)
}
