//! Dialects: one folder per venue, each with the same parts, all sans-I/O.
//!
//! | part | what it holds |
//! |---|---|
//! | `mod.rs` | identity, endpoints, the [`venue::Venue`] implementation that ties the parts together |
//! | `market_data.rs` | subscribe, parse, sequence and checksum rules -> core events |
//! | `orders.rs` | encode new/cancel/amend, parse acks, rejects, fills |
//! | `auth.rs` | signatures |
//! | `instruments.rs` | reference data |
//! | `rest.rs` | cold-plane requests and replies ([`rest::VenueRest`]) |
//! | `limits.rs` | rate budget, with a reserve for cancels |
//!
//! Hot codecs parse borrowed bytes in one pass and allocate nothing; cold codecs (reference data,
//! account snapshots) may use serde. A message that cannot be decoded is counted, its instrument is
//! quarantined (book invalid, resync), and the session goes on.
#![forbid(unsafe_code)]

pub mod any;
pub mod batch;
pub mod binance;
pub mod crc;
pub mod decode;
pub mod json;
pub mod kraken;
pub mod limits;
pub mod links;
pub mod names;
pub mod notice;
pub mod outbox;
pub mod rest;
pub mod symbols;
pub mod venue;
pub mod words;
pub mod writer;
