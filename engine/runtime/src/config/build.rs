//! From a configuration and the venues' reference data to the core: limits, tables, strategies.
//!
//! A pure function: the same text and the same tables give the same core, whether the engine starts live or a
//! replay rebuilds it from `session.json`. The network's part is in [`super::network`].

use super::file::{InstrumentTableEntry, StrategyTable, VenueTable};
use super::tables::ReferenceData;
use super::units::{Amount, Rate, Ratio};
use super::{ConfigError, Document, strategies};
use crate::session_file::SessionFile;
use engine_core::book::{self, BookConfig};
use engine_core::config::{
    AssetLimits, Capacity, CoreConfig, GlobalLimits, InstrumentLimits, RateLimit, StrategyConfig, StrategyLimits, Timing, VenueConfig,
};
use engine_core::event::VALUE_MAX;
use engine_core::fixed::{Money, Qty};
use engine_core::ids::{AssetId, InstrumentId, VenueId};
use engine_core::instrument::{AssetTable, Instrument, InstrumentTable};
use engine_core::strategy::Strategy;
use std::path::Path;

/// Outputs that strategies may cause with one input.
const STRATEGY_OUTPUTS: u32 = 256;
/// Smallest event ring: a burst of a few books must fit while the disk is busy.
const RING_EVENTS_MIN: u32 = 1_024;
/// Largest collar: a limit beyond it limits nothing.
const COLLAR_PPM_MAX: i64 = 500_000;

/// What a core is made of.
pub struct CoreParts {
    /// Limits and tables.
    pub config: CoreConfig,
    /// The strategies, in the order of `config.strategies`.
    pub strategies: Vec<Box<dyn Strategy>>,
    /// Names of configured strategies that are left out because an instrument of theirs is quarantined.
    pub left_out: Vec<String>,
}

/// Builds the core's parts.
///
/// # Errors
/// With file, line, key and what was expected.
pub fn core(document: &Document, instruments: &InstrumentTable, assets: &AssetTable) -> Result<CoreParts, ConfigError> {
    Builder { document, instruments, assets }.core()
}

/// Builds the core's parts as the session file of a journal says: the very core that made the journal.
/// `path` is the session file's, for messages.
///
/// # Errors
/// As [`core()`]; also if the session file contradicts itself.
pub fn core_of_session(session: &SessionFile, path: &Path) -> Result<CoreParts, ConfigError> {
    let document = Document::parse(path, session.config.clone())?;
    let (instruments, assets) = session.tables().map_err(|reason| document.error(reason))?;
    let parts = core(&document, &instruments, &assets)?;
    let again = session_file(&document, &parts.config);
    if again.venues != session.venues || again.strategies != session.strategies {
        return Err(document.error("the configuration names other venues or strategies than the session file's lists"));
    }
    Ok(parts)
}

/// The session file of a core that was built from this document.
pub fn session_file(document: &Document, config: &CoreConfig) -> SessionFile {
    let venues = config.venues.iter().map(|v| v.name.clone()).collect();
    let strategies = config.strategies.iter().map(|s| s.name.clone()).collect();
    SessionFile::new(&document.text, venues, strategies, &config.assets, &config.instruments)
}

/// The tables of a session file, as reference data.
///
/// # Errors
/// If the session file holds an instrument that cannot be.
pub fn reference_of_session(session: &SessionFile) -> Result<ReferenceData, String> {
    let (instruments, assets) = session.tables()?;
    Ok(ReferenceData { instruments, assets, quarantined: Vec::new() })
}

/// Values of the document in the words of the core.
pub(super) struct Builder<'a> {
    pub document: &'a Document,
    pub instruments: &'a InstrumentTable,
    pub assets: &'a AssetTable,
}

/// What an instrument in a list of names stands for.
enum Named {
    Present(InstrumentId),
    Quarantined,
}

impl Builder<'_> {
    fn core(&self) -> Result<CoreParts, ConfigError> {
        let file = &self.document.file;
        let reporting = file.engine.reporting_asset.get_ref();
        let reporting_asset = self.asset(&["engine", "reporting_asset"], reporting)?;
        self.check_names()?;
        self.check_runtime()?;
        let mut strategy_configs = Vec::new();
        let mut strategies: Vec<Box<dyn Strategy>> = Vec::new();
        let mut left_out = Vec::new();
        for table in &file.strategies {
            match self.strategy(table)? {
                None => left_out.push(table.name.clone()),
                Some(config) => {
                    strategies.push(strategies::build(self, table, &config.instruments)?);
                    strategy_configs.push(config);
                }
            }
        }
        let config = CoreConfig {
            assets: self.assets.clone(),
            instruments: self.instruments.clone(),
            instrument_limits: self.instrument_limits()?,
            asset_limits: self.asset_limits()?,
            venues: file.venues.iter().map(|v| self.venue(v)).collect::<Result<_, _>>()?,
            strategies: strategy_configs,
            reporting_asset,
            conversion: self.conversion()?,
            limits: self.global_limits()?,
            timing: self.timing()?,
            capacity: self.capacity()?,
            state_hash_every: file.engine.state_hash_every,
        };
        // What is checked above is checked with its line; this finds what only the whole can be wrong in.
        config.validate().map_err(|e| self.document.error(e.to_string()))?;
        Ok(CoreParts { config, strategies, left_out })
    }

    fn check_names(&self) -> Result<(), ConfigError> {
        let file = &self.document.file;
        if file.venues.is_empty() {
            return Err(self.document.error("venue: expected at least one [[venue]]"));
        }
        for (i, venue) in file.venues.iter().enumerate() {
            let name = venue.name.get_ref();
            if file.venues[..i].iter().any(|v| v.name.get_ref() == name) {
                return Err(self.document.error_at(&venue.name, format!("venue \"{name}\" is there twice; expected each venue once")));
            }
            for (j, instrument) in venue.instruments.iter().enumerate() {
                if venue.instruments[..j].iter().any(|x| x.symbol == instrument.symbol) {
                    let key = ["venue", name, "instrument", &instrument.symbol];
                    return Err(self.document.error_at_key(&key, "is there twice; expected each instrument once"));
                }
            }
        }
        for (i, strategy) in file.strategies.iter().enumerate() {
            if file.strategies[..i].iter().any(|s| s.name == strategy.name) {
                return Err(self.document.error_at_key(&["strategy", &strategy.name], "is there twice; expected each name once"));
            }
        }
        Ok(())
    }

    /// What the core does not see, but the engine could not start with.
    fn check_runtime(&self) -> Result<(), ConfigError> {
        let file = &self.document.file;
        let name = &file.engine.name;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(self.error(&["engine", "name"], "expected letters, digits, - and _: it is part of file names"));
        }
        let events = file.engine.ring_events;
        if !events.is_power_of_two() || events < RING_EVENTS_MIN {
            let message = format!("is {events}; expected a power of two of at least {RING_EVENTS_MIN}");
            return Err(self.error(&["engine", "ring_events"], message));
        }
        self.span(&["engine", "sync_interval"], file.engine.sync_interval)?;
        if !(0..=99).contains(&file.host.fifo_priority) {
            let message = format!("is {}; expected 1 to 99, or 0 for the ordinary class", file.host.fifo_priority);
            return Err(self.error(&["host", "fifo_priority"], message));
        }
        Ok(())
    }

    fn error(&self, key: &[&str], message: impl std::fmt::Display) -> ConfigError {
        self.document.error_at_key(key, message)
    }

    /// An asset that must be in the table.
    fn asset(&self, key: &[&str], name: &str) -> Result<AssetId, ConfigError> {
        self.assets.find(name.as_bytes()).ok_or_else(|| {
            let known: Vec<&str> = (0..self.assets.len()).map(|i| self.assets.name(AssetId(i as u16))).collect();
            self.error(key, format!("unknown asset \"{name}\"; expected one of {}", known.join(", ")))
        })
    }

    /// An amount greater than zero of exactly this asset.
    pub(super) fn amount(&self, key: &[&str], amount: &Amount, asset: &str) -> Result<Money, ConfigError> {
        if amount.asset != asset {
            return Err(self.error(key, format!("is in {}; expected an amount of {asset}, like \"10 {asset}\"", amount.asset)));
        }
        if amount.value.0 <= 0 {
            return Err(self.error(key, format!("is {}; expected an amount of {asset} greater than zero", amount.value)));
        }
        if amount.value > Money::from_scaled(1_000_000_000_000_000, 0) {
            return Err(self.error(key, format!("is {}; expected at most 10^15 {asset}", amount.value)));
        }
        Ok(amount.value)
    }

    /// An amount of the reporting asset.
    fn total(&self, key: &[&str], amount: &Amount) -> Result<Money, ConfigError> {
        self.amount(key, amount, self.document.file.engine.reporting_asset.get_ref())
    }

    /// A quantity of an instrument, exact at its scale.
    pub(super) fn qty(&self, key: &[&str], amount: &Amount, instrument: &Instrument) -> Result<Qty, ConfigError> {
        let value = self.amount(key, amount, self.assets.name(instrument.base))?;
        let qty = Qty(value.to_scaled(instrument.qty_scale));
        if qty.0 > VALUE_MAX || Money::from_qty(qty, instrument.qty_scale) != value {
            let expected = format!("expected at most {} decimal places, as {} has", instrument.qty_scale, instrument.symbol);
            return Err(self.error(key, format!("is {}; {expected}", amount.value)));
        }
        Ok(qty)
    }

    pub(super) fn count(&self, key: &[&str], value: u32) -> Result<u32, ConfigError> {
        if value == 0 { Err(self.error(key, "is 0; expected a number greater than zero")) } else { Ok(value) }
    }

    pub(super) fn span(&self, key: &[&str], span: super::units::Span) -> Result<u64, ConfigError> {
        if span.0 == 0 { Err(self.error(key, "is 0; expected a span of time greater than zero, like \"250ms\"")) } else { Ok(span.0) }
    }

    fn rate(&self, key: &[&str], rate: Rate) -> Result<RateLimit, ConfigError> {
        if rate.count == 0 || rate.count > RateLimit::COUNT_MAX {
            let most = RateLimit::COUNT_MAX;
            return Err(self.error(key, format!("is {} in a span; expected 1 to {most}, like \"100/1s\"", rate.count)));
        }
        Ok(RateLimit { count: rate.count, window_ns: rate.window_ns })
    }

    fn collar(&self, key: &[&str], ratio: Ratio) -> Result<u32, ConfigError> {
        match u32::try_from(ratio.0) {
            Ok(ppm) if ppm > 0 && ratio.0 <= COLLAR_PPM_MAX => Ok(ppm),
            _ => Err(self.error(key, "expected a ratio above 0 and up to 50 %, like \"50 bps\"")),
        }
    }

    fn global_limits(&self) -> Result<GlobalLimits, ConfigError> {
        let l = &self.document.file.limits;
        Ok(GlobalLimits {
            exposure_max: self.total(&["limits", "exposure_max"], l.exposure_max.get_ref())?,
            daily_loss_max: self.total(&["limits", "daily_loss_max"], l.daily_loss_max.get_ref())?,
            drawdown_max: self.total(&["limits", "drawdown_max"], l.drawdown_max.get_ref())?,
            open_orders_max: self.count(&["limits", "open_orders_max"], l.open_orders_max)?,
            order_rate: self.rate(&["limits", "order_rate_max"], l.order_rate_max)?,
            cancel_rate: self.rate(&["limits", "cancel_rate_max"], l.cancel_rate_max)?,
            reject_burst: self.rate(&["limits", "reject_burst"], l.reject_burst)?,
            fill_burst: self.rate(&["limits", "fill_burst"], l.fill_burst)?,
            clock_skew_max_ns: self.span(&["limits", "clock_skew_max"], l.clock_skew_max)?,
            duplicate_window_ns: self.span(&["limits", "duplicate_window"], l.duplicate_window)?,
            stale_after_ns: self.span(&["limits", "stale_after"], l.stale_after)?,
            price_collar_ppm: self.collar(&["limits", "price_collar"], l.price_collar)?,
            reduce_when_stale: l.reduce_when_stale,
            suspend_on_foreign_order: l.suspend_on_foreign_order,
            halt_on_balance_mismatch: l.halt_on_balance_mismatch,
        })
    }

    fn venue(&self, v: &VenueTable) -> Result<VenueConfig, ConfigError> {
        let name = v.name.get_ref().as_str();
        Ok(VenueConfig {
            name: name.to_owned(),
            exposure_max: self.total(&["venue", name, "exposure_max"], v.exposure_max.get_ref())?,
            open_orders_max: self.count(&["venue", name, "open_orders_max"], v.open_orders_max)?,
            order_rate: self.rate(&["venue", name, "order_rate_max"], v.order_rate_max)?,
            message_rate: self.rate(&["venue", name, "message_rate_max"], v.message_rate_max)?,
            check_balance: v.check_balance,
            require_reconcile: v.require_reconcile,
            book: self.book()?,
        })
    }

    fn book(&self) -> Result<BookConfig, ConfigError> {
        let capacity = self.document.file.engine.book_levels as usize;
        let key = ["engine", "book_levels"];
        if !(64..=book::CAPACITY_MAX).contains(&capacity) {
            return Err(self.error(&key, format!("expected 64 to {} levels a side", book::CAPACITY_MAX)));
        }
        // Codecs of venues that publish a window report themselves what leaves it.
        Ok(BookConfig { capacity, window: None, top_only: false })
    }

    fn instrument_limits(&self) -> Result<Vec<Option<InstrumentLimits>>, ConfigError> {
        let mut limits: Vec<Option<InstrumentLimits>> = vec![None; self.instruments.len()];
        for (index, venue) in self.document.file.venues.iter().enumerate() {
            for entry in &venue.instruments {
                // One that is not in the table is quarantined.
                if let Some(id) = self.instruments.find(VenueId(index as u8), entry.symbol.as_bytes()) {
                    limits[id.index()] = Some(self.limits_of(venue.name.get_ref(), entry, &self.instruments[id])?);
                }
            }
        }
        Ok(limits)
    }

    fn limits_of(&self, venue: &str, entry: &InstrumentTableEntry, instrument: &Instrument) -> Result<InstrumentLimits, ConfigError> {
        let symbol = entry.symbol.as_str();
        let base = ["venue", venue, "instrument", symbol];
        let key = |name: &'static str| [base[0], base[1], base[2], base[3], name];
        let limits = InstrumentLimits {
            order_min: self.qty(&key("order_min"), entry.order_min.get_ref(), instrument)?,
            order_max: self.qty(&key("order_max"), entry.order_max.get_ref(), instrument)?,
            position_max: self.qty(&key("position_max"), entry.position_max.get_ref(), instrument)?,
            notional_max: self.amount(&key("notional_max"), entry.notional_max.get_ref(), self.assets.name(instrument.quote))?,
            open_orders_max: self.count(&key("open_orders_max"), entry.open_orders_max)?,
            price_collar_ppm: entry.price_collar.map(|ratio| self.collar(&key("price_collar"), ratio)).transpose()?,
            stale_after_ns: entry.stale_after.map(|span| self.span(&key("stale_after"), span)).transpose()?,
        };
        if limits.order_max < limits.order_min || limits.order_max < instrument.qty_min {
            let least = limits.order_min.max(instrument.qty_min).display(instrument.qty_scale);
            let message = format!("lies below the smallest order; expected at least {least} {}", self.assets.name(instrument.base));
            return Err(self.error(&key("order_max"), message));
        }
        Ok(limits)
    }

    fn asset_limits(&self) -> Result<Vec<AssetLimits>, ConfigError> {
        let given = &self.document.file.asset_limits;
        let mut limits = Vec::new();
        for (name, limit) in given {
            let asset = self.asset(&["asset_limits", name], name)?;
            let key = ["asset_limits", name, "exposure_max"];
            limits.push(AssetLimits { asset, exposure_max: self.amount(&key, limit.exposure_max.get_ref(), name)? });
        }
        for (_, instrument) in self.instruments.iter() {
            let base = self.assets.name(instrument.base);
            if !given.contains_key(base) {
                let message =
                    format!("is missing; {} needs it: expected a table [asset_limits.{base}] with exposure_max", instrument.symbol);
                return Err(self.error(&["asset_limits", base], message));
            }
        }
        Ok(limits)
    }

    fn conversion(&self) -> Result<Vec<(AssetId, Money)>, ConfigError> {
        let mut rates = Vec::new();
        for (name, rate) in &self.document.file.conversion {
            let key = ["conversion", name.as_str()];
            let asset = self.asset(&key, name)?;
            if rate.0.0 <= 0 {
                return Err(self.error(&key, "expected the value of one unit, greater than zero"));
            }
            rates.push((asset, rate.0));
        }
        Ok(rates)
    }

    fn timing(&self) -> Result<Timing, ConfigError> {
        let e = &self.document.file.engine;
        Ok(Timing {
            ack_timeout_ns: self.span(&["engine", "ack_timeout"], e.ack_timeout)?,
            requery_ns: self.span(&["engine", "requery"], e.requery)?,
            reconcile_grace_ns: self.span(&["engine", "reconcile_grace"], e.reconcile_grace)?,
            trade_window_ns: self.span(&["engine", "trade_window"], e.trade_window)?,
        })
    }

    fn capacity(&self) -> Result<Capacity, ConfigError> {
        let e = &self.document.file.engine;
        let open = self.document.file.limits.open_orders_max;
        if u64::from(e.orders) < 2 * u64::from(open) || e.orders > 1 << 22 {
            let message = format!("is {}; expected at least twice limits.open_orders_max ({open}) and at most 4194304", e.orders);
            return Err(self.error(&["engine", "orders"], message));
        }
        if e.fills < e.orders || e.fills > 1 << 24 {
            let message = format!("is {}; expected at least engine.orders ({}) and at most 16777216", e.fills, e.orders);
            return Err(self.error(&["engine", "fills"], message));
        }
        if !(1..=1 << 20).contains(&e.trades) {
            return Err(self.error(&["engine", "trades"], format!("is {}; expected 1 to 1048576", e.trades)));
        }
        Ok(Capacity { orders: e.orders, fills: e.fills, strategy_outputs: STRATEGY_OUTPUTS, trades: e.trades })
    }

    /// The strategy's configuration; `None` if an instrument of it is quarantined.
    fn strategy(&self, table: &StrategyTable) -> Result<Option<StrategyConfig>, ConfigError> {
        let mut instruments = Vec::new();
        if table.instruments.is_empty() {
            return Err(self.error(&["strategy", &table.name, "instruments"], "is empty; expected names like \"binance:BTCUSDT\""));
        }
        for name in &table.instruments {
            match self.named(&table.name, name.get_ref())? {
                Named::Quarantined => return Ok(None),
                Named::Present(id) if instruments.contains(&id) => {
                    let message = format!("names {} twice; expected each instrument once", name.get_ref());
                    return Err(self.error(&["strategy", &table.name, "instruments"], message));
                }
                Named::Present(id) => instruments.push(id),
            }
        }
        let l = &table.limits;
        let key = |name: &'static str| ["strategy", table.name.as_str(), "limits", name];
        let base = self.assets.name(self.instruments[instruments[0]].base);
        let limits = StrategyLimits {
            position_max: self.amount(&key("position_max"), l.position_max.get_ref(), base)?,
            exposure_max: l.exposure_max.as_ref().map(|x| self.total(&key("exposure_max"), x.get_ref())).transpose()?,
            open_orders_max: self.count(&key("open_orders_max"), l.open_orders_max)?,
            daily_loss_max: self.total(&key("daily_loss_max"), l.daily_loss_max.get_ref())?,
            drawdown_max: l.drawdown_max.as_ref().map(|x| self.total(&key("drawdown_max"), x.get_ref())).transpose()?,
            order_rate: self.rate(&key("order_rate_max"), l.order_rate_max)?,
        };
        for &id in &instruments {
            let other = self.assets.name(self.instruments[id].base);
            if other != base {
                let message = format!("mixes {base} and {other}; expected instruments of one base asset: position_max is in it");
                return Err(self.error(&["strategy", &table.name, "instruments"], message));
            }
        }
        Ok(Some(StrategyConfig { name: table.name.clone(), instruments, limits, enabled: table.enabled }))
    }

    /// What `venue:SYMBOL` stands for.
    fn named(&self, strategy: &str, name: &str) -> Result<Named, ConfigError> {
        let key = ["strategy", strategy, "instruments"];
        let Some((venue, symbol)) = name.split_once(':') else {
            return Err(self.error(&key, format!("\"{name}\" names no instrument; expected venue:SYMBOL, like \"binance:BTCUSDT\"")));
        };
        let venues = &self.document.file.venues;
        let place = venues.iter().position(|v| v.name.get_ref() == venue);
        let configured = place.and_then(|i| venues[i].instruments.iter().find(|x| x.symbol == symbol).map(|_| VenueId(i as u8)));
        let Some(id) = configured else {
            let all = venues.iter().flat_map(|v| v.instruments.iter().map(|x| format!("{}:{}", v.name.get_ref(), x.symbol)));
            let known = all.collect::<Vec<_>>().join(", ");
            return Err(self.error(&key, format!("unknown instrument \"{name}\"; expected one of {known}")));
        };
        Ok(self.instruments.find(id, symbol.as_bytes()).map_or(Named::Quarantined, Named::Present))
    }
}
