//! `peregrine bench`: what each part of the path costs here, beside what one would otherwise use.

mod t2o;

use ::bench::machine::Machine;
use ::bench::peers::Peers;
use ::bench::report::Report;
use ::bench::{Bench, plot};
use anyhow::Context;
use runtime::host::hot_memory;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of the subcommand.
#[derive(clap::Args)]
#[command(after_help = "Benches:\n  \
    codec   venue messages to events (Binance JSON and SBE, Kraken), against serde_json\n  \
    book    decoded changes into a book with all its checks, against other books without any\n  \
    core    orders through state and full risk, and the reports about them\n  \
    tls     TLS 1.3 records sealed and opened, against rustls' own record layer\n  \
    tcp     segments in and writes out of our TCP, and its goodput over links that lose and reorder, against smoltcp's\n  \
    link    frames there and back over a veth pair: AF_XDP, AF_PACKET, kernel sockets (root)\n  \
    wire    from a tick that leaves a venue to the order that comes back, against tokio, tungstenite, rustls and serde_json, the \
    same without tokio, spinning, and variants on the same wire (root)\n  \
    t2o     tick to order in the whole engine, stage by stage and venue by venue: the demonstration's stage at 1,000 to 300,000 \
    messages/s, JSON and SBE (root for AF_XDP; else over an in-process link)\n  \
    growth  a message over 1 to 10 venues, 1 to 1000 instruments, 1 to 64 connections on one hot core\n\n\
    Sides of a comparison take turns in one run. Each operation is timed by itself, and the time that the timing takes (the row \
    `timer`) is part of every figure. Figures of a debug build, or of a machine that does other work, mean nothing: build with \
    --release, run on a quiet machine, compare within one run.\n\n\
    The JSON is one object: machine, date, commit, rows [{bench, name, unit, count, p50, p90, p99, p999, max}] and ratios [{bench, \
    name, value, target, met}]. A target that is missed does not make the command fail. Other systems' codecs, books and queues are \
    measured by bench/peers, a program of its own (its README says why); --peers takes its JSON in: rows and ratios whose names \
    begin with `peers: `, if they were measured on this machine.\n\n\
    Examples:\n  \
    peregrine bench\n  \
    peregrine bench codec tls --seconds 10 --json result.json --plot plots\n  \
    peregrine bench t2o growth --seconds 60 --plot plots\n  \
    peregrine bench --peers peers.json --json all.json\n  \
    peregrine bench core --json - | jq '.ratios[] | select(.met == false)'")]
pub struct Arguments {
    /// What to measure: all, or some of the benches below [default: all].
    #[arg(value_name = "BENCH")]
    benches: Vec<String>,
    /// Writes the result as JSON; - is standard output, in place of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes pictures (SVG) and report.html into this directory.
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
    /// Adds what bench/peers wrote into this file with its --json.
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// How long to measure each case, warm-up included. There are some tens of them; those of t2o take 8 at least, the two of
    /// wire about a minute each, until every side has ticks enough for a p99: 10,000 of those 100 us apart, 1,000 of those 1 ms
    /// apart.
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    seconds: f64,
}

/// Measures and reports.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let benches = Bench::named(&arguments.benches)?;
    // Before anything is measured: the file may be of no use.
    let peers = arguments.peers.as_deref().map(read_peers).transpose()?;
    make_arena(&benches);
    let progress = |bench: Bench| eprintln!("peregrine: measuring {} ..", bench.as_str());
    let mut report = ::bench::run(&benches, arguments.seconds, &mut t2o::Engine::over("auto"), progress)?;
    peers.into_iter().for_each(|peers| report.take_in(peers));
    write(&report, arguments.json.as_deref(), arguments.plot.as_deref(), &mut std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// What `bench/peers` wrote.
fn read_peers(path: &Path) -> anyhow::Result<Peers> {
    let peers = Peers::read(path, &Machine::read()).map_err(|error| anyhow::anyhow!("--peers: {} {error}", path.display()))?;
    eprintln!("peregrine: with what bench/peers measured at {} of {}", peers.date, peers.commit);
    Ok(peers)
}

/// Makes the engine's arena large enough for every engine of the run: its memory is not used again, and the second engine
/// would lie on ordinary pages.
fn make_arena(benches: &[Bench]) {
    let bytes = |bench: &Bench| match bench {
        Bench::T2o => t2o::ARENA_BYTES,
        Bench::Growth => ::bench::benches::growth::ARENA_BYTES,
        _ => 0,
    };
    let bytes: usize = benches.iter().map(bytes).sum();
    if bytes > 0 && hot_memory::is_installed() {
        for refusal in hot_memory::create_arena(bytes, None).refusals {
            eprintln!("peregrine: {refusal}");
        }
    }
}

/// Hands a report out in the forms asked for.
fn write(report: &Report, json: Option<&Path>, plots: Option<&Path>, out: &mut impl Write) -> anyhow::Result<()> {
    let to_out = json.is_some_and(|path| path.as_os_str() == "-");
    let text = if to_out { report.to_json()? } else { report.to_table() };
    out.write_all(text.as_bytes()).context("writing to standard output")?;
    if let Some(path) = json.filter(|_| !to_out) {
        std::fs::write(path, report.to_json()?).with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(directory) = plots {
        plot::write(report, directory).with_context(|| format!("writing plots to {}", directory.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(line: &str) -> Arguments {
        Line::try_parse_from(std::iter::once("bench").chain(line.split_whitespace())).expect("a valid line").arguments
    }

    #[test]
    fn a_bench_that_does_not_exist_is_refused_with_those_that_do_and_nothing_is_measured() {
        let error = run(&arguments("codec wires")).expect_err("there is none").to_string();
        assert!(error.starts_with("there is no bench `wires`; there are: all, codec, "), "{error}");
    }

    #[test]
    fn peers_of_another_form_are_refused_and_nothing_is_measured() {
        let path = std::env::temp_dir().join(format!("peregrine-bench-peers-{}.json", std::process::id()));
        std::fs::write(&path, "{\"rows\": []}").expect("a writable temporary directory");
        let error = run(&arguments(&format!("book --peers {}", path.display()))).expect_err("not of the form").to_string();
        std::fs::remove_file(&path).expect("ours");
        assert!(error.starts_with(&format!("--peers: {} is not what bench/peers writes", path.display())), "{error}");
        let error = run(&arguments("book --peers /nowhere/peers.json")).expect_err("not there").to_string();
        assert!(error.starts_with("--peers: /nowhere/peers.json cannot be read"), "{error}");
    }

    #[test]
    fn the_help_explains_every_bench() {
        let help = <Line as clap::CommandFactory>::command().render_long_help().to_string();
        for bench in Bench::ALL {
            let explained = help.lines().any(|line| line.trim_start().starts_with(&format!("{} ", bench.as_str())));
            assert!(explained, "{} in\n{help}", bench.as_str());
        }
    }

    #[test]
    fn a_run_gives_a_table_a_json_object_and_plots() {
        let directory = std::env::temp_dir().join(format!("peregrine-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a writable temporary directory");
        let asked = arguments("book --seconds 0.02");
        let report = ::bench::run(&Bench::named(&asked.benches).expect("exists"), asked.seconds, &mut t2o::Engine::over("auto"), |_| {})
            .expect("measures");
        let (json, plots) = (directory.join("result.json"), directory.join("plots"));
        let mut out = Vec::new();
        write(&report, Some(&json), Some(&plots), &mut out).expect("writes");
        let table = String::from_utf8(out).expect("text");
        assert!(report.rows.len() > 1 && report.rows.iter().all(|row| table.contains(&row.name)), "{table}");
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).expect("written")).expect("JSON");
        assert!(value["rows"].as_array().is_some_and(|rows| rows.len() == report.rows.len()), "{value}");
        let mut out = Vec::new();
        write(&report, Some(Path::new("-")), None, &mut out).expect("writes");
        let printed: serde_json::Value = serde_json::from_slice(&out).expect("JSON and nothing else");
        assert_eq!(printed, value);
        let names: Vec<_> = std::fs::read_dir(&plots).expect("made").map(|e| e.expect("readable").file_name()).collect();
        assert!(names.contains(&"report.html".into()) && names.len() > 2, "{names:?}");
        std::fs::remove_dir_all(&directory).expect("ours");
    }
}
