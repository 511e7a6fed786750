//! Market making: a bid and an ask around a fair price, in each of the strategy's instruments.

use crate::fixed::Money;
use crate::ids::InstrumentId;
use crate::instrument::InstrumentTable;
use crate::sizing::Sizing;
use crate::state_hash::StateHasher;
use crate::strategy::{Context, Strategy};

/// What the strategy is tuned by. Fractions of a price are in millionths (ppm; 100 = one basis point).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MarketMakingParameters {
    /// Size of each quote.
    pub sizing: Sizing,
    /// Distance of a quote from the fair price in a calm market, ppm.
    pub half_spread_ppm: i64,
    /// Least distance of a quote from the fair price after the maker fee, ppm: never undercut, whatever the skew.
    pub edge_min_ppm: i64,
    /// Standard deviations over the horizon that are added to the distance, millionths (1,000,000 = one).
    pub volatility_multiple_ppm: i64,
    /// How long a quote is expected to rest: the horizon of the volatility, nanoseconds.
    pub volatility_horizon_ns: u64,
    /// Memory of the volatility estimate, nanoseconds.
    pub volatility_tau_ns: u64,
    /// Shortest time between two samples of the price, nanoseconds.
    pub volatility_interval_ns: u64,
    /// Largest inventory, long or short, base units: beyond it only the side that reduces is quoted.
    pub inventory_max: Money,
    /// How far quotes shift against the inventory when it is at its largest, ppm.
    pub skew_ppm: i64,
    /// How far the fair price leans towards order flow that all goes one way, ppm.
    pub flow_lean_ppm: i64,
    /// Memory of the order flow, nanoseconds.
    pub flow_tau_ns: u64,
    /// A quote is moved once its price is off by more than this, ppm.
    pub refresh_ppm: i64,
    /// Shortest time between two moves of a quote, nanoseconds.
    pub refresh_min_ns: u64,
    /// Pause of a side after a refusal or reject, nanoseconds.
    pub retry_ns: u64,
}

/// See the module header.
pub struct MarketMaking {
    parameters: MarketMakingParameters,
}

impl MarketMaking {
    /// Quotes `own` instruments. An error says which parameter is wrong.
    pub fn new(parameters: MarketMakingParameters, instruments: &InstrumentTable, own: &[InstrumentId]) -> Result<MarketMaking, String> {
        let _ = (instruments, own);
        Ok(MarketMaking { parameters })
    }
}

impl Strategy for MarketMaking {
    fn name(&self) -> &str {
        "market_making"
    }

    fn on_book(&mut self, _ctx: &mut Context<'_>, _instrument: InstrumentId) {}

    fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_i64(self.parameters.half_spread_ppm);
    }
}
