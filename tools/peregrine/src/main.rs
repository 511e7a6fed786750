//! `peregrine`: the command. Runs the engine, the demonstration and the simulated venues, and works on
//! journals and recorded messages. Each subcommand is a module of the library of the same name.

use clap::{Parser, Subcommand};
use peregrine::{bench, decode, demo, journal, replay, run, sim};
use std::process::ExitCode;

/// The global allocator counts what the hot thread allocates (nothing, after warm-up).
#[global_allocator]
static ALLOCATOR: runtime::host::hot_memory::HotAllocator = runtime::host::hot_memory::HotAllocator;

#[derive(Parser)]
#[command(
    name = "peregrine",
    version,
    about = "Low-latency trading engine for crypto venues",
    long_about = "Peregrine receives market data and sends orders over its own network path (AF_XDP, AF_PACKET), \
                  in one busy-spinning thread, and journals everything, so that every run can be replayed.\n\n\
                  Start with `peregrine demo`: it needs no keys and no network.",
    after_help = "Examples:\n  \
                  peregrine demo --seconds 60              see it trade on two simulated venues\n  \
                  peregrine sim --venues binance,kraken    simulated venues for any client\n  \
                  peregrine run --config engine.toml       trade\n  \
                  peregrine replay JOURNAL                 rebuild the state from a journal and compare\n  \
                  peregrine journal JOURNAL --export       a journal as JSON lines\n  \
                  peregrine decode --venue kraken FILE     recorded venue messages as events\n  \
                  peregrine bench codec tls                what parts of the path cost on this machine"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// See it trade: two simulated venues, the engine and both strategies over its own network path.
    Demo(demo::Arguments),
    /// Trade, as a configuration file says.
    Run(run::Arguments),
    /// The simulated venues alone, for any client.
    Sim(sim::Arguments),
    /// Rebuild the state from a journal and compare every output.
    Replay(replay::Arguments),
    /// Inspect, verify or export a journal.
    Journal(journal::Arguments),
    /// Recorded venue messages as normalised events.
    Decode(decode::Arguments),
    /// Measure what each part of the path costs here, beside what one would otherwise use.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    // Before there is a second thread. If it is refused, the engine says so when it starts.
    let _ = runtime::host::topology::keep_pages_mapped();
    let outcome = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Sim(arguments) => sim::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Journal(arguments) => journal::run(&arguments),
        Command::Decode(arguments) => decode::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("peregrine: {error:#}");
            ExitCode::FAILURE
        }
    }
}
