//! What the core is built from: tables, limits, times, sizes.
//!
//! Plain data, filled by the runtime from the configuration file. Nothing that limits a loss has a
//! default: a limit of zero is taken as left out, and [`CoreConfig::validate`] names it.

use crate::book::BookConfig;
use crate::event::VALUE_MAX;
use crate::fixed::{Money, Qty};
use crate::ids::{AssetId, InstrumentId, StrategyId, VenueId};
use crate::instrument::{AssetTable, InstrumentTable};

/// At most `count` within any `window_ns` nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RateLimit {
    /// How many.
    pub count: u32,
    /// Length of the sliding window in nanoseconds.
    pub window_ns: u64,
}

impl RateLimit {
    /// Largest count: each limit remembers that many times.
    pub const COUNT_MAX: u32 = 1 << 16;

    /// `count` per second.
    pub const fn per_second(count: u32) -> RateLimit {
        RateLimit { count, window_ns: 1_000_000_000 }
    }
}

/// Limits over everything.
#[derive(Clone, Debug)]
pub struct GlobalLimits {
    /// Gross exposure, reporting asset.
    pub exposure_max: Money,
    /// Loss since midnight UTC that stops trading, reporting asset.
    pub daily_loss_max: Money,
    /// Fall from the best P&L that stops trading, reporting asset.
    pub drawdown_max: Money,
    /// Open orders at once.
    pub open_orders_max: u32,
    /// New orders and replaces.
    pub order_rate: RateLimit,
    /// Cancels of each venue. Does not limit cancel-all.
    pub cancel_rate: RateLimit,
    /// Venue rejects (one venue) that stop trading: one more than `count` within the window.
    pub reject_burst: RateLimit,
    /// Fills (one venue) that stop trading: one more than `count` within the window.
    pub fill_burst: RateLimit,
    /// Difference of a venue's clock from ours beyond which nothing is opened there.
    pub clock_skew_max_ns: u64,
    /// The same order again within this time is refused.
    pub duplicate_window_ns: u64,
    /// A book not confirmed for so long is stale.
    pub stale_after_ns: u64,
    /// Farthest an order's price may lie from the reference, millionths.
    pub price_collar_ppm: u32,
    /// Orders that reduce a position may be placed on a stale or invalid book, against the last mark.
    pub reduce_when_stale: bool,
    /// An open order of a stranger on our account suspends its instrument.
    pub suspend_on_foreign_order: bool,
    /// A balance that differs from the venue's in two reconciliations, by the same amount, stops trading.
    pub halt_on_balance_mismatch: bool,
}

/// One venue, in the order of [`VenueId`].
#[derive(Clone, Debug)]
pub struct VenueConfig {
    /// `binance`, `kraken`.
    pub name: String,
    /// Gross exposure on this venue, reporting asset.
    pub exposure_max: Money,
    /// Open orders at once.
    pub open_orders_max: u32,
    /// New orders and replaces on this venue.
    pub order_rate: RateLimit,
    /// All messages on this venue, cancels included (cancels count but are never refused by it).
    pub message_rate: RateLimit,
    /// Orders are paid from balances (spot): what is not there, holds counted, cannot be spent.
    pub check_balance: bool,
    /// Nothing is opened until the venue's records were compared with ours, after start and after each
    /// outage of order entry.
    pub require_reconcile: bool,
    /// Size and kind of its books.
    pub book: BookConfig,
}

/// Limits of one instrument.
#[derive(Clone, Copy, Debug)]
pub struct InstrumentLimits {
    /// Smallest order; the venue's minimum holds too.
    pub order_min: Qty,
    /// Largest order; the venue's maximum holds too.
    pub order_max: Qty,
    /// Largest position, long or short, with all open orders filled.
    pub position_max: Qty,
    /// Largest notional of one order, quote asset.
    pub notional_max: Money,
    /// Open orders at once.
    pub open_orders_max: u32,
    /// Own collar in millionths; `None` = the global one.
    pub price_collar_ppm: Option<u32>,
    /// Own staleness limit; `None` = the global one.
    pub stale_after_ns: Option<u64>,
}

/// Net exposure of one asset over all venues.
#[derive(Clone, Copy, Debug)]
pub struct AssetLimits {
    /// The asset.
    pub asset: AssetId,
    /// Largest net amount traded into or out of it, in its own units, with all open orders filled.
    pub exposure_max: Money,
}

/// Limits of one strategy.
#[derive(Clone, Copy, Debug)]
pub struct StrategyLimits {
    /// Largest position in each of its instruments, base units.
    pub position_max: Money,
    /// Gross exposure, reporting asset; `None` = only the totals bound it.
    pub exposure_max: Option<Money>,
    /// Open orders at once.
    pub open_orders_max: u32,
    /// Loss since midnight UTC that disables it, reporting asset.
    pub daily_loss_max: Money,
    /// Fall from its best P&L that disables it, reporting asset; `None` = only the total bounds it.
    pub drawdown_max: Option<Money>,
    /// New orders and replaces.
    pub order_rate: RateLimit,
}

/// One strategy instance, in the order of [`StrategyId`].
#[derive(Clone, Debug)]
pub struct StrategyConfig {
    /// Its name in reports.
    pub name: String,
    /// The instruments that it may trade and is called for.
    pub instruments: Vec<InstrumentId>,
    /// Its limits.
    pub limits: StrategyLimits,
    /// Trades from the start.
    pub enabled: bool,
}

/// Times, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// No answer to a request for so long: the order is unknown and the venue is asked.
    pub ack_timeout_ns: u64,
    /// An unknown order is asked for again after so long.
    pub requery_ns: u64,
    /// What a snapshot of the venue says or omits about an order younger (or closed later) than this is no evidence.
    pub reconcile_grace_ns: u64,
    /// Length of the window of public trades.
    pub trade_window_ns: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            ack_timeout_ns: 2_000_000_000,
            requery_ns: 5_000_000_000,
            reconcile_grace_ns: 3_000_000_000,
            trade_window_ns: 60_000_000_000,
        }
    }
}

/// Sizes; all memory is taken at construction.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Slots of the order table: open orders and the recently closed ones.
    pub orders: u32,
    /// Fills remembered.
    pub fills: u32,
    /// Outputs that strategies may cause with one input.
    pub strategy_outputs: u32,
    /// Public trades kept for each instrument.
    pub trades: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity { orders: 16_384, fills: 65_536, strategy_outputs: 1_024, trades: 1_024 }
    }
}

/// Everything the core is built from. See the module header.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// All assets.
    pub assets: AssetTable,
    /// All instruments.
    pub instruments: InstrumentTable,
    /// By instrument; `None` = left out, an error.
    pub instrument_limits: Vec<Option<InstrumentLimits>>,
    /// Every base asset needs one.
    pub asset_limits: Vec<AssetLimits>,
    /// By venue id.
    pub venues: Vec<VenueConfig>,
    /// By strategy id.
    pub strategies: Vec<StrategyConfig>,
    /// Totals and total limits are in this asset.
    pub reporting_asset: AssetId,
    /// Value of one unit of an asset in the reporting asset, where no book says it.
    pub conversion: Vec<(AssetId, Money)>,
    /// Limits over everything.
    pub limits: GlobalLimits,
    /// Times.
    pub timing: Timing,
    /// Sizes.
    pub capacity: Capacity,
    /// A state hash is given out after so many inputs; 0 = never.
    pub state_hash_every: u32,
}

/// Why a core cannot be built from a configuration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// A limit that is zero or left out.
    #[error("limit {name} is missing: it must be given and greater than zero")]
    MissingLimit {
        /// Which, e.g. `venue.kraken.exposure_max`.
        name: String,
    },
    /// A value outside what makes sense.
    #[error("{name} is out of range: {expected}")]
    OutOfRange {
        /// Which.
        name: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A reference to something that is not in its table.
    #[error("{name} names {what} {id}, which does not exist")]
    UnknownId {
        /// Where.
        name: String,
        /// What kind of thing.
        what: &'static str,
        /// Its number.
        id: u32,
    },
    /// An asset whose value in the reporting asset nobody states.
    #[error("no value of {asset} in {reporting}: add a conversion rate or an instrument between them")]
    NoRate {
        /// The asset.
        asset: String,
        /// The reporting asset.
        reporting: String,
    },
    /// Strategies given and configured differ in number.
    #[error("{given} strategies given, {configured} configured")]
    StrategyCount {
        /// Instances passed to the core.
        given: usize,
        /// Entries in the configuration.
        configured: usize,
    },
}

/// Bound on amounts in limits: sums and products with it stay within `i128`.
const AMOUNT_MAX: Money = Money(1_000_000_000_000_000 * 1_000_000_000_000_000_000);

fn positive(name: impl FnOnce() -> String, amount: Money) -> Result<(), ConfigError> {
    if amount.0 <= 0 {
        return Err(ConfigError::MissingLimit { name: name() });
    }
    if amount > AMOUNT_MAX {
        return Err(ConfigError::OutOfRange { name: name(), expected: "at most 10^15 units" });
    }
    Ok(())
}

fn positive_qty(name: impl FnOnce() -> String, qty: Qty) -> Result<(), ConfigError> {
    if qty.0 <= 0 {
        return Err(ConfigError::MissingLimit { name: name() });
    }
    if qty.0 > VALUE_MAX {
        return Err(ConfigError::OutOfRange { name: name(), expected: "at most VALUE_MAX" });
    }
    Ok(())
}

fn nonzero(name: impl FnOnce() -> String, value: u64) -> Result<(), ConfigError> {
    if value == 0 { Err(ConfigError::MissingLimit { name: name() }) } else { Ok(()) }
}

fn rate(name: impl Fn() -> String, rate: RateLimit) -> Result<(), ConfigError> {
    nonzero(&name, u64::from(rate.count))?;
    nonzero(&name, rate.window_ns)?;
    if rate.count > RateLimit::COUNT_MAX {
        return Err(ConfigError::OutOfRange { name: name(), expected: "a count of at most 65,536" });
    }
    Ok(())
}

impl CoreConfig {
    /// Checks that everything needed is there and makes sense. The first fault found is the error.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_sizes()?;
        self.validate_global()?;
        self.validate_venues()?;
        self.validate_instruments()?;
        self.validate_strategies()
    }

    fn validate_sizes(&self) -> Result<(), ConfigError> {
        let range = |name: &str, ok: bool, expected: &'static str| {
            if ok { Ok(()) } else { Err(ConfigError::OutOfRange { name: name.into(), expected }) }
        };
        range("venues", (1..=255).contains(&self.venues.len()), "1 to 255 venues")?;
        range("strategies", self.strategies.len() <= 255, "at most 255 strategies")?;
        range("instruments", !self.instruments.is_empty(), "at least one instrument")?;
        let c = &self.capacity;
        let room = u64::from(self.limits.open_orders_max) * 2;
        range(
            "capacity.orders",
            u64::from(c.orders) >= room && c.orders <= 1 << 22,
            "at least twice limits.open_orders_max, at most 2^22",
        )?;
        range("capacity.fills", c.fills >= c.orders && c.fills <= 1 << 24, "at least capacity.orders, at most 2^24")?;
        range("capacity.strategy_outputs", (16..=1 << 20).contains(&c.strategy_outputs), "16 to 2^20")?;
        range("capacity.trades", (1..=1 << 20).contains(&c.trades), "1 to 2^20")?;
        nonzero(|| "timing.ack_timeout_ns".into(), self.timing.ack_timeout_ns)?;
        nonzero(|| "timing.requery_ns".into(), self.timing.requery_ns)?;
        nonzero(|| "timing.reconcile_grace_ns".into(), self.timing.reconcile_grace_ns)?;
        nonzero(|| "timing.trade_window_ns".into(), self.timing.trade_window_ns)
    }

    fn validate_global(&self) -> Result<(), ConfigError> {
        let l = &self.limits;
        positive(|| "limits.exposure_max".into(), l.exposure_max)?;
        positive(|| "limits.daily_loss_max".into(), l.daily_loss_max)?;
        positive(|| "limits.drawdown_max".into(), l.drawdown_max)?;
        nonzero(|| "limits.open_orders_max".into(), u64::from(l.open_orders_max))?;
        rate(|| "limits.order_rate".into(), l.order_rate)?;
        rate(|| "limits.cancel_rate".into(), l.cancel_rate)?;
        rate(|| "limits.reject_burst".into(), l.reject_burst)?;
        rate(|| "limits.fill_burst".into(), l.fill_burst)?;
        nonzero(|| "limits.clock_skew_max_ns".into(), l.clock_skew_max_ns)?;
        nonzero(|| "limits.duplicate_window_ns".into(), l.duplicate_window_ns)?;
        nonzero(|| "limits.stale_after_ns".into(), l.stale_after_ns)?;
        nonzero(|| "limits.price_collar_ppm".into(), u64::from(l.price_collar_ppm))?;
        if self.reporting_asset.index() >= self.assets.len() {
            return Err(ConfigError::UnknownId { name: "reporting_asset".into(), what: "asset", id: self.reporting_asset.0.into() });
        }
        for &(asset, value) in &self.conversion {
            if asset.index() >= self.assets.len() {
                return Err(ConfigError::UnknownId { name: "conversion".into(), what: "asset", id: asset.0.into() });
            }
            positive(|| format!("conversion.{}", self.assets.name(asset)), value)?;
        }
        for limit in &self.asset_limits {
            if limit.asset.index() >= self.assets.len() {
                return Err(ConfigError::UnknownId { name: "asset_limits".into(), what: "asset", id: limit.asset.0.into() });
            }
            positive(|| format!("asset_limits.{}.exposure_max", self.assets.name(limit.asset)), limit.exposure_max)?;
        }
        Ok(())
    }

    fn validate_venues(&self) -> Result<(), ConfigError> {
        for v in &self.venues {
            positive(|| format!("venue.{}.exposure_max", v.name), v.exposure_max)?;
            nonzero(|| format!("venue.{}.open_orders_max", v.name), u64::from(v.open_orders_max))?;
            rate(|| format!("venue.{}.order_rate", v.name), v.order_rate)?;
            rate(|| format!("venue.{}.message_rate", v.name), v.message_rate)?;
        }
        Ok(())
    }

    fn validate_instruments(&self) -> Result<(), ConfigError> {
        for (id, instrument) in self.instruments.iter() {
            let Some(venue) = self.venues.get(instrument.venue.index()) else {
                return Err(ConfigError::UnknownId { name: instrument.symbol.clone(), what: "venue", id: instrument.venue.0.into() });
            };
            for asset in [instrument.base, instrument.quote] {
                if asset.index() >= self.assets.len() {
                    return Err(ConfigError::UnknownId { name: instrument.symbol.clone(), what: "asset", id: asset.0.into() });
                }
            }
            let name = |limit: &str| format!("venue.{}.instrument.{}.{limit}", venue.name, instrument.symbol);
            let Some(Some(limits)) = self.instrument_limits.get(id.index()) else {
                return Err(ConfigError::MissingLimit { name: name("limits") });
            };
            positive_qty(|| name("order_min"), limits.order_min)?;
            positive_qty(|| name("order_max"), limits.order_max)?;
            positive_qty(|| name("position_max"), limits.position_max)?;
            positive(|| name("notional_max"), limits.notional_max)?;
            nonzero(|| name("open_orders_max"), u64::from(limits.open_orders_max))?;
            if limits.price_collar_ppm == Some(0) {
                return Err(ConfigError::MissingLimit { name: name("price_collar_ppm") });
            }
            if limits.stale_after_ns == Some(0) {
                return Err(ConfigError::MissingLimit { name: name("stale_after_ns") });
            }
            if !self.asset_limits.iter().any(|l| l.asset == instrument.base) {
                return Err(ConfigError::MissingLimit { name: format!("asset_limits.{}.exposure_max", self.assets.name(instrument.base)) });
            }
        }
        Ok(())
    }

    fn validate_strategies(&self) -> Result<(), ConfigError> {
        for s in &self.strategies {
            let name = |limit: &str| format!("strategy.{}.{limit}", s.name);
            for i in &s.instruments {
                if i.index() >= self.instruments.len() {
                    return Err(ConfigError::UnknownId { name: name("instruments"), what: "instrument", id: i.0.into() });
                }
            }
            positive(|| name("position_max"), s.limits.position_max)?;
            if let Some(exposure) = s.limits.exposure_max {
                positive(|| name("exposure_max"), exposure)?;
            }
            nonzero(|| name("open_orders_max"), u64::from(s.limits.open_orders_max))?;
            positive(|| name("daily_loss_max"), s.limits.daily_loss_max)?;
            if let Some(drawdown) = s.limits.drawdown_max {
                positive(|| name("drawdown_max"), drawdown)?;
            }
            rate(|| name("order_rate"), s.limits.order_rate)?;
        }
        Ok(())
    }

    /// The id of a venue by name.
    pub fn venue(&self, name: &str) -> Option<VenueId> {
        self.venues.iter().position(|v| v.name == name).map(|i| VenueId(i as u8))
    }

    /// The id of a strategy by name.
    pub fn strategy(&self, name: &str) -> Option<StrategyId> {
        self.strategies.iter().position(|s| s.name == name).map(|i| StrategyId(i as u8))
    }
}
