//! What a market-data message costs the venues themselves, without sockets: matching, books, JSON.
//!
//! `cargo run --profile fast -p venue-sim --example cost [MESSAGES]` prints messages, bytes and processor time for
//! each venue; under `valgrind --tool=callgrind` it says where the instructions go.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use venue_sim::binance::Binance;
use venue_sim::config::{BinanceConfig, KrakenConfig};
use venue_sim::flow::{FlowConfig, References};
use venue_sim::kraken::Kraken;
use venue_sim::venue::{Upgrade, Venue};
use venue_sim::wire::{Action, HttpRequest, Payload};

const RATE: u32 = 150_000;
const START_NS: u64 = 1_767_225_600_000_000_000;
const TICK_US: u64 = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let messages: u64 = std::env::args().nth(1).map_or(Ok(300_000), |text| text.parse())?;
    let flow = FlowConfig::default();
    let references = References::new(1, &flow, vec![("BTC".into(), 68_250.1), ("ETH".into(), 3_512.4)]);
    let mut binance = BinanceConfig::default();
    binance.venue.messages_per_s = RATE;
    let mut kraken = KrakenConfig::default();
    kraken.venue.messages_per_s = RATE;
    let streams = "btcusdt@depth@100ms/btcusdt@bookTicker/btcusdt@trade/ethusdt@depth@100ms/ethusdt@bookTicker/ethusdt@trade";
    let channel = |name: &str| format!(r#"{{"method":"subscribe","params":{{"channel":"{name}","symbol":["BTC/USDT","ETH/USDT"]}}}}"#);
    let binance = Binance::new(binance, 1, &flow, &references, START_NS)?;
    let kraken = Kraken::new(kraken, 1, &flow, &references, START_NS)?;
    measure("binance", Box::new(binance), ("/stream", &format!("streams={streams}")), &[], references.clone(), messages)?;
    measure("kraken", Box::new(kraken), ("/v2", ""), &[channel("book"), channel("trade")], references, messages)
}

fn measure(
    name: &str,
    mut venue: Box<dyn Venue>,
    (path, query): (&str, &str),
    requests: &[String],
    mut references: References,
    messages: u64,
) -> Result<(), Box<dyn std::error::Error>> {
    let request = HttpRequest { method: "GET".into(), path: path.into(), query: query.into(), ..HttpRequest::default() };
    let upgrade = Upgrade { peer: IpAddr::V4(Ipv4Addr::LOCALHOST), request, second_port: false };
    venue.open(START_NS, 1, &upgrade).map_err(|reply| format!("{name}: status {}", reply.status))?;
    for request in requests {
        venue.on_text(START_NS, 1, request);
    }
    let worked = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let (mut now_ns, mut sent, mut bytes, started) = (START_NS, 0u64, 0usize, worked()?);
    while sent < messages {
        now_ns += TICK_US * 1_000;
        references.advance(TICK_US);
        venue.tick(now_ns, TICK_US, &references);
        for output in venue.outbox().drain() {
            let Action::Send(payload) = output.action else { continue };
            sent += 1;
            bytes += match payload {
                Payload::Text(text) => text.as_str().len(),
                Payload::Binary(bytes) => bytes.len(),
            };
        }
    }
    let ns = (worked()? - started).as_nanos() as f64 / sent as f64;
    println!("{name}: {sent} messages of {} bytes, {ns:.0} ns each", bytes as u64 / sent);
    Ok(())
}
