//! Counts the instructions of the hot functions: gungraun runs each some hundred times under callgrind, and fails if one takes
//! more than `bench/instructions/counts.toml` has of it, with a tolerance.
//!
//! ```text
//! instructions --bench [PATTERN]   counts; `*::order_filled` is a pattern, and `--help` shows what else gungraun takes
//! instructions [PATTERN]           only runs them, without callgrind
//! instructions --terms             how many operations of each are counted, and the tolerance in per cent
//! ```
//!
//! Inputs come from a seed and time from a script, so that a count depends on the code alone. `bench/instructions/check`
//! shows the counts of one operation beside those recorded. An example and not a bench, since cargo builds benches to unwind:
//! what is counted is built as what ships.

#![expect(missing_docs, reason = "of what gungraun's macros write")]

mod codecs;
mod network;
mod orders;
mod strategies;
mod whole;

use gungraun::{Callgrind, EntryPoint, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Operations before the first that is counted.
const UNCOUNTED: u32 = 64;
/// Operations that are counted.
const COUNTED: u32 = 256;
/// What callgrind looks for: instructions count from here to its end.
const ENTRY: &str = "*counted_operation*";

#[inline(never)]
fn counted_operation(operation: &mut dyn FnMut()) {
    operation();
}

/// Counts operations.
struct Counter {
    done: u32,
}

impl Counter {
    /// Does an operation; counted, once enough were done before.
    fn count(&mut self, mut operation: impl FnMut()) {
        self.done += 1;
        match self.done > UNCOUNTED && !self.is_done() {
            true => counted_operation(&mut operation),
            false => operation(),
        }
    }

    /// As many were counted as shall be.
    const fn is_done(&self) -> bool {
        self.done > UNCOUNTED + COUNTED
    }
}

/// Calls a step until enough operations were counted; a step counts one.
fn repeat(mut step: impl FnMut(&mut Counter) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut counter = Counter { done: 0 };
    while !counter.is_done() {
        step(&mut counter)?;
    }
    Ok(())
}

/// By how much, in per cent, a count may exceed what is recorded.
fn tolerance() -> f64 {
    std::env::var("TOLERANCE_PERCENT").map_or(5.0, |percent| percent.parse().expect("TOLERANCE_PERCENT is a number"))
}

/// Instructions of one operation of each function, as recorded.
static RECORDED: LazyLock<BTreeMap<String, u64>> = LazyLock::new(|| {
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions/counts.toml");
    let path = std::env::var("INSTRUCTIONS_COUNTS").unwrap_or_else(|_| ours.into());
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    toml::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
});

/// A function may take what is recorded of it and the tolerance; one that is not recorded, nothing.
fn within_recorded(name: &str) -> LibraryBenchmarkConfig {
    let recorded = RECORDED.get(name).map_or(0, |count| count * u64::from(COUNTED));
    let limit = (recorded as f64 * (1.0 + tolerance() / 100.0)) as u64;
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    callgrind.entry_point(EntryPoint::Custom(ENTRY.into())).hard_limits([(EventKind::Ir, limit)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

/// Makes benchmarks of functions, all in one group.
macro_rules! benchmarks {
    ($($module:ident: $($name:ident),+;)+) => {
        $($(
            #[library_benchmark(config = within_recorded(stringify!($name)))]
            fn $name() {
                $module::$name().expect("the function does what it is asked");
            }
        )+)+
        library_benchmark_group!(name = hot, benchmarks = [$($($name),+),+]);
    };
}

benchmarks! {
    codecs: binance_depth_json, binance_ticker_json, binance_depth_sbe, kraken_book, kraken_sweep;
    orders: binance_order, kraken_order, book_near_touch, order_placed, order_filled;
    strategies: arbitrage_pair, arbitrage_none, quotes_moved, quotes_kept, quote_cancelled;
    network: tls_open_300, tls_seal_300, tcp_segment_in, tcp_write_out;
    whole: frame_over_1_connection, frame_over_64_connections, frame_and_order_binance, frame_and_order_kraken,
        message_of_1_venue, message_of_10_venues, message_of_1000_instruments, kraken_message_of_1000_instruments,
        timer_of_1_venue, timer_of_10_venues, timer_of_1000_instruments;
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("--terms") {
        println!("{COUNTED} {}", tolerance());
        return;
    }
    gungraun::main!(library_benchmark_groups = hot);
    main();
}
