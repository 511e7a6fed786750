//! Runs one hot function some hundred times, so that `valgrind --tool=callgrind` can count its instructions:
//!
//! ```text
//! instructions --list      the functions' names
//! instructions --runs      how often each is counted
//! instructions NAME        runs it; what is to be counted happens within `counted_operation`
//! ```
//!
//! Inputs come from a seed and time from a script, so that a count depends on the code alone. `bench/instructions/check`
//! compares the counts with those recorded.

mod codecs;
mod network;
mod orders;
mod strategies;
mod whole;

use std::process::ExitCode;

/// Operations before the first that is counted.
const UNCOUNTED: u32 = 64;
/// Operations that are counted.
const COUNTED: u32 = 256;

/// What callgrind looks for: instructions count from here to its end.
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

type Function = fn() -> anyhow::Result<()>;

/// The hot functions.
const FUNCTIONS: [(&str, Function); 30] = [
    ("binance_depth_json", codecs::binance_depth_json),
    ("binance_ticker_json", codecs::binance_ticker_json),
    ("binance_depth_sbe", codecs::binance_depth_sbe),
    ("kraken_book", codecs::kraken_book),
    ("kraken_sweep", codecs::kraken_sweep),
    ("binance_order", orders::binance_order),
    ("kraken_order", orders::kraken_order),
    ("book_near_touch", orders::book_near_touch),
    ("order_placed", orders::order_placed),
    ("order_filled", orders::order_filled),
    ("arbitrage_pair", strategies::arbitrage_pair),
    ("arbitrage_none", strategies::arbitrage_none),
    ("quotes_moved", strategies::quotes_moved),
    ("quotes_kept", strategies::quotes_kept),
    ("quote_cancelled", strategies::quote_cancelled),
    ("tls_open_300", network::tls_open),
    ("tls_seal_300", network::tls_seal),
    ("tcp_segment_in", network::tcp_segment_in),
    ("tcp_write_out", network::tcp_write_out),
    ("frame_over_1_connection", whole::frame_over_1_connection),
    ("frame_over_64_connections", whole::frame_over_64_connections),
    ("frame_and_order_binance", whole::frame_and_order_binance),
    ("frame_and_order_kraken", whole::frame_and_order_kraken),
    ("message_of_1_venue", whole::message_of_1_venue),
    ("message_of_10_venues", whole::message_of_10_venues),
    ("message_of_1000_instruments", whole::message_of_1000_instruments),
    ("kraken_message_of_1000_instruments", whole::kraken_message_of_1000_instruments),
    ("timer_of_1_venue", whole::timer_of_1_venue),
    ("timer_of_10_venues", whole::timer_of_10_venues),
    ("timer_of_1000_instruments", whole::timer_of_1000_instruments),
];

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let outcome = match name.as_str() {
        "--list" => {
            FUNCTIONS.iter().for_each(|(name, _)| println!("{name}"));
            Ok(())
        }
        "--runs" => {
            println!("{COUNTED}");
            Ok(())
        }
        name => match FUNCTIONS.iter().find(|(known, _)| *known == name) {
            Some((_, function)) => function(),
            None => Err(anyhow::anyhow!("there is no function `{name}`; --list names them")),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
