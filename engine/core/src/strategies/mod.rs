//! The strategies that come with the engine.

pub mod arbitrage;
pub mod market_making;
mod rate_backoff;

pub use arbitrage::{Arbitrage, ArbitrageParameters};
pub use market_making::{MarketMaking, MarketMakingParameters};
