//! The summary of a run for a person to read.

use crate::live::micros;
use runtime::latency::{Answer, Percentiles, Stage};
use runtime::report::{Report, SlowTick};

/// So many of the slowest ticks are shown; the report has more.
const SLOWEST_SHOWN: usize = 3;

/// Prints it to standard output.
pub fn print(report: &Report) {
    print!("{}", text(report));
}

/// The summary as text.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(String::new());
    let link = &report.link;
    line(format!("Link       {} ({}){}", link.driver, link.mode, if link.huge_pages { ", frames on 2 MiB pages" } else { "" }));
    for why in &link.why {
        line(format!("           not better: {why}"));
    }
    line(format!(
        "           {} frames in, {} out, {} dropped, {} send calls, {} receive calls",
        grouped(link.rx_frames),
        grouped(link.tx_frames),
        link.rx_dropped,
        grouped(link.kicks),
        grouped(link.wakeups)
    ));
    line(format!(
        "           copied: {} bytes by TCP, {} of {} TLS records and {} of {} messages, which came in pieces",
        grouped(link.tcp.bytes_copied_in + link.tcp.bytes_copied_out),
        grouped(link.tls.stitched),
        grouped(link.tls.received),
        grouped(link.websocket.stitched),
        grouped(link.websocket.received)
    ));
    line(String::new());
    line(format!(
        "{:<10} {:>9} {:>6} {:>12} {:>12} {:>6} {:>8} {:>9} {:>9}",
        "Venue", "connected", "tls", "messages", "events", "gaps", "resyncs", "checksums", "malformed"
    ));
    for v in &report.venues {
        let connected = if v.connected { "yes" } else { "no" };
        line(format!(
            "{:<10} {:>9} {:>6} {:>12} {:>12} {:>6} {:>8} {:>9} {:>9}",
            v.name,
            connected,
            v.tls,
            grouped(v.messages),
            grouped(v.events),
            v.gaps,
            v.resyncs,
            v.checksum_failures,
            v.malformed
        ));
    }
    line(String::new());
    let o = &report.orders;
    line(format!(
        "Orders     {} sent, {} acknowledged, {} filled ({} fills), {} cancelled or expired, {} replaced, {} rejected, {} open, {} unknown",
        grouped(o.submitted),
        grouped(o.acked),
        grouped(o.filled),
        grouped(o.fills),
        grouped(o.cancelled),
        grouped(o.replaced),
        o.rejected,
        o.open,
        o.unknown
    ));
    if o.refused_by_risk > 0 {
        let reasons = o.refusals.iter().map(|(name, count)| format!("{name} {}", grouped(*count))).collect::<Vec<_>>().join(", ");
        line(format!("           {} refused by risk: {reasons}", grouped(o.refused_by_risk)));
    }
    let pnl = &report.pnl;
    line(format!("P&L        {} {} (realised {}, unrealised {}, fees {})", pnl.total, pnl.asset, pnl.realised, pnl.unrealised, pnl.fees));
    for s in &pnl.strategies {
        line(format!("           {:<22} {}", s.name, s.total));
    }
    for p in &pnl.positions {
        line(format!("Position   {:<10} {:<10} {}", p.venue, p.symbol, p.qty));
    }
    match report.positions_match {
        Some(true) => line("           equal to the venues' own records to the last unit: positions, balances, fills, open orders".into()),
        Some(false) => line("           NOT EQUAL to the venues' own records:".into()),
        None => line("           (not compared with the venues' records)".into()),
    }
    for difference in &report.differences {
        line(format!("           {difference}"));
    }
    line(String::new());
    line(format!("{:<16} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}", "Latency, us", "count", "p50", "p90", "p99", "p99.9", "max"));
    line(row("tick to order", &report.latency_ns.tick_to_order));
    for stage in Stage::ALL {
        if let Some(p) = report.latency_ns.stages.get(stage.as_str()) {
            line(row(&format!("  {}", stage.as_str()), p));
        }
    }
    for answer in Answer::ALL {
        if let Some(p) = report.latency_ns.answers.get(answer.as_str()).filter(|p| p.count > 0) {
            line(row(&format!("to {}", answer.as_str()), p));
        }
    }
    line(row("to last order", &report.latency_ns.tick_to_last_order));
    line(row("send call", &report.latency_ns.kick));
    for (n, tick) in report.latency_ns.slowest.iter().take(SLOWEST_SHOWN).enumerate() {
        line(format!("{:<16} {}", if n == 0 { "slowest ticks" } else { "" }, slow(tick)));
    }
    let hot = &report.hot;
    line(String::new());
    let cpu = hot.cpu.map_or_else(|| "not pinned".to_owned(), |c| format!("CPU {c}"));
    line(format!(
        "Hot thread {cpu}; after warm-up {} allocations ({} while connecting), {} page faults, {} voluntary and {} involuntary switches; {} MiB resident",
        hot.allocations,
        hot.allocations_connecting,
        hot.page_faults,
        hot.voluntary_switches,
        hot.involuntary_switches,
        hot.resident_bytes >> 20
    ));
    if hot.rehearsals > 0 {
        let (mean, most) = (hot.rehearsal_ns as f64 / 1e3, hot.rehearsal_ns_max as f64 / 1e3);
        line(format!(
            "           {} orders rehearsed in idle passes, {mean:.1} us at a time, {most:.1} us at most; none was sent",
            grouped(hot.rehearsals)
        ));
    }
    for refusal in &hot.refusals {
        line(format!("           not granted: {refusal}"));
    }
    let journal = &report.journal;
    let replay = match journal.replay_matches {
        Some(true) => "a replay gives every output and the same hash again",
        Some(false) => "A REPLAY DIFFERS",
        None => "not replayed",
    };
    line(format!("Journal    {} events, state hash {}; {replay}", grouped(journal.events), journal.state_hash));
    line(format!("           {}", journal.path));
    line(String::new());
    if report.failures.is_empty() {
        line(format!("All invariants held over {:.1} s.", report.seconds));
    } else {
        line("FAILED:".into());
        for failure in &report.failures {
            line(format!("  {failure}"));
        }
    }
    out
}

/// What made a tick slow, in a line.
fn slow(tick: &SlowTick) -> String {
    let part = |stage: Stage| format!("{} {}", stage.as_str(), micros(tick.stages_ns.get(stage.as_str()).copied().unwrap_or_default()));
    let plural = |count: u32, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let queue = match (tick.like.before, tick.like.behind) {
        (0, 0) => String::new(),
        (before, behind) => format!("; {} of its frame before it, {} waiting behind", plural(before, "message"), plural(behind, "frame")),
    };
    format!(
        "{} {}: {} bytes, {} -> {}: {}{queue}",
        micros(tick.whole_ns),
        tick.venue,
        grouped(u64::from(tick.like.bytes)),
        plural(tick.like.events, "event"),
        if tick.like.messages == 1 { tick.answer.clone() } else { plural(tick.like.messages, "message") },
        Stage::ALL.map(part).join(", ")
    )
}

fn row(name: &str, p: &Percentiles) -> String {
    format!(
        "{name:<16} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        grouped(p.count),
        micros(p.p50),
        micros(p.p90),
        micros(p.p99),
        micros(p.p999),
        micros(p.max)
    )
}

/// A number with thin groups of three digits: `1 234 567`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(n), text);
        }
    }

    #[test]
    fn a_failed_run_says_so() {
        let report = Report { failures: vec!["positions differ".into()], positions_match: Some(false), ..Report::default() };
        let text = text(&report);
        assert!(text.contains("FAILED:\n  positions differ"));
        assert!(text.contains("NOT EQUAL"));
    }
}
