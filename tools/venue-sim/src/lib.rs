//! Simulated venues: real servers that behave like Binance spot and Kraken spot.
//!
//! The idea is the same as in the engine: the venues are state machines without I/O. A venue
//! ([`venue::Venue`]) is fed requests, ticks and faults with the time as an argument, and leaves messages
//! in its [`wire::Outbox`]; one seed gives one market. Around them [`server`] is a small shell on kernel
//! sockets: TLS with a certificate made for the occasion, HTTP, WebSocket, a regular tick.
//!
//! | module | what it holds |
//! |---|---|
//! | [`book`], [`ledger`], [`orders`], [`exchange`] | matching in price-time order, balances and holds, orders and fees |
//! | [`flow`] | the rest of the market: reference prices, a crowd that quotes and takes |
//! | [`binance`], [`kraken`] | the dialects: REST, WebSocket, signatures, limits, error texts, checksums |
//! | [`fault`] | what can be made to go wrong on command |
//! | [`server`], `connection`, `control` | sockets, one connection's life, the control interface |
//! | `arrears` | what happens when the market is behind the clock |
//!
//! ```no_run
//! use venue_sim::{Sim, config::SimConfig, fault::Fault, venue::VenueName};
//!
//! let sim = Sim::start(SimConfig::default())?;
//! println!("binance: {}", sim.address(VenueName::Binance).map_or_else(String::new, |a| a.main.to_string()));
//! sim.inject(VenueName::Kraken, &Fault::BadChecksum { count: 1 });
//! sim.stop();
//! # Ok::<(), venue_sim::SimError>(())
//! ```
#![forbid(unsafe_code)]

mod arrears;
pub mod binance;
pub mod book;
mod buffered;
pub mod certificate;
pub mod config;
mod connection;
mod control;
pub mod credentials;
pub mod decimal;
pub mod exchange;
pub mod fault;
pub mod flow;
pub mod json;
pub mod kraken;
pub mod ledger;
pub mod orders;
pub mod random;
pub mod server;
mod ticker;
pub mod venue;
pub mod wire;

pub use server::{Sim, SimHandle, VenueAddress};

/// Why a simulation cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A configuration that makes no sense; says which part.
    #[error("configuration: {0}")]
    Config(String),
    /// The system's random source failed.
    #[error("the system's random source failed")]
    Random,
    /// Bytes that are no key.
    #[error("not a usable key")]
    Key,
    /// A certificate could not be made.
    #[error("certificate: {0}")]
    Tls(String),
    /// A system call failed; says what was attempted.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
}
