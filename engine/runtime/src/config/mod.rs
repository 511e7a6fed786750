//! The configuration file: TOML, strict.

pub mod units;
