//! The trading core: numbers, instruments, events, books, orders, risk, positions, strategies.
//!
//! A pure state machine. Events go in ([`event::Event`]), events come out (orders to send, refusals,
//! state hashes). There is no I/O, no clock, no thread and no random source in this crate: time is a
//! field of the event. The same events in the same order always rebuild the same state, which is why
//! recovery, standby, backtest and replay are one mechanism.
//!
//! Reading order: `fixed` (numbers), `event` (the language every room speaks), `instrument`,
//! `book`, `order` (the order state table), `risk`, `position`, `strategy`, `core`.
#![deny(unsafe_code)]

pub mod book;
pub mod carryless;
pub mod config;
pub mod core;
pub mod event;
pub mod fixed;
pub mod id_set;
pub mod ids;
pub mod instrument;
pub mod order;
pub mod position;
pub mod prefetch;
pub mod risk;
pub mod signals;
pub mod sizing;
pub mod state_hash;
pub mod strategies;
pub mod strategy;
pub mod trades;
