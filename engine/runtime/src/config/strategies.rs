//! From `[strategy.parameters]` to strategies: strict as everything else. All parameters must be given.

use super::ConfigError;
use super::build::Builder;
use super::file::{StrategyKind, StrategyTable};
use super::units::{Amount, Number, Ratio, Span};
use engine_core::fixed::{Money, Qty};
use engine_core::ids::InstrumentId;
use engine_core::instrument::Instrument;
use engine_core::sizing::Sizing;
use engine_core::strategies::arbitrage::{Arbitrage, ArbitrageParameters};
use engine_core::strategies::market_making::{MarketMaking, MarketMakingParameters};
use engine_core::strategy::Strategy;

/// Largest ratio that a parameter may be: 100 %.
const RATIO_PPM_MAX: i64 = 1_000_000;

/// Builds a strategy from its table; `own` are its instruments, of one base asset.
pub(super) fn build(builder: &Builder<'_>, table: &StrategyTable, own: &[InstrumentId]) -> Result<Box<dyn Strategy>, ConfigError> {
    let mut parameters = Parameters { builder, table, own, asked: Vec::new() };
    let built = match table.kind {
        StrategyKind::MarketMaking => {
            let given = market_making(&mut parameters)?;
            parameters.finish()?;
            MarketMaking::new(given, builder.instruments, own).map(|s| Box::new(s) as Box<dyn Strategy>)
        }
        StrategyKind::CrossVenueArbitrage => {
            let given = arbitrage(&mut parameters)?;
            parameters.finish()?;
            Arbitrage::new(given, builder.instruments, own).map(|s| Box::new(s) as Box<dyn Strategy>)
        }
    };
    built.map_err(|reason| builder.document.error_at_key(&["strategy", &table.name, "parameters"], reason))
}

fn market_making(p: &mut Parameters<'_>) -> Result<MarketMakingParameters, ConfigError> {
    Ok(MarketMakingParameters {
        sizing: p.sizing()?,
        half_spread_ppm: p.ratio("half_spread")?,
        edge_min_ppm: p.ratio("edge_min")?,
        volatility_multiple_ppm: p.multiple("volatility_multiple")?,
        volatility_horizon_ns: p.span("volatility_horizon")?,
        volatility_tau_ns: p.span("volatility_memory")?,
        volatility_interval_ns: p.span("volatility_interval")?,
        inventory_max: p.base("inventory_max")?,
        skew_ppm: p.ratio("inventory_skew")?,
        flow_lean_ppm: p.ratio("flow_lean")?,
        flow_tau_ns: p.span("flow_memory")?,
        refresh_ppm: p.ratio("refresh")?,
        refresh_min_ns: p.span("refresh_min")?,
        retry_ns: p.span("retry")?,
    })
}

fn arbitrage(p: &mut Parameters<'_>) -> Result<ArbitrageParameters, ConfigError> {
    Ok(ArbitrageParameters {
        edge_min_ppm: p.ratio("edge_min")?,
        qty_max: p.base("size_max")?,
        slippage_ppm: p.ratio("slippage")?,
        hedge_slippage_ppm: p.ratio("hedge_slippage")?,
        imbalance_max: p.base("imbalance_max")?,
        age_max_ns: p.span("book_age_max")?,
        cooldown_ns: p.span("cooldown")?,
        leg_timeout_ns: p.span("leg_timeout")?,
        retry_ns: p.span("retry")?,
        retries_max: p.count("retries_max")?,
    })
}

/// Reads the keys of one parameter table, and knows which were never asked for.
struct Parameters<'a> {
    builder: &'a Builder<'a>,
    table: &'a StrategyTable,
    own: &'a [InstrumentId],
    asked: Vec<&'static str>,
}

impl<'a> Parameters<'a> {
    fn key<'k>(&'k self, key: &'k str) -> [&'k str; 4] {
        ["strategy", &self.table.name, "parameters", key]
    }

    fn error(&self, key: &str, message: impl std::fmt::Display) -> ConfigError {
        self.builder.document.error_at_key(&self.key(key), message)
    }

    fn value(&mut self, key: &'static str) -> Option<&'a toml::Value> {
        self.asked.push(key);
        self.table.parameters.get_ref().get(key)
    }

    /// A value in quotes, if it is there.
    fn optional<T>(&mut self, key: &'static str, expected: &str, parse: fn(&str) -> Result<T, String>) -> Result<Option<T>, ConfigError> {
        match self.value(key) {
            None => Ok(None),
            Some(toml::Value::String(text)) => parse(text).map(Some).map_err(|reason| self.error(key, reason)),
            Some(other) => Err(self.error(key, format!("is the {} {other}; expected {expected}", other.type_str()))),
        }
    }

    /// A value in quotes that must be there.
    fn needed<T>(&mut self, key: &'static str, expected: &str, parse: fn(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        self.optional(key, expected, parse)?.ok_or_else(|| self.error(key, format!("is missing; expected {expected}")))
    }

    /// A ratio of zero or more, millionths.
    fn ratio(&mut self, key: &'static str) -> Result<i64, ConfigError> {
        let ratio = self.needed(key, "a ratio in quotes with its unit, like \"20 bps\"", Ratio::parse)?;
        match ratio.0 {
            ppm @ 0..=RATIO_PPM_MAX => Ok(ppm),
            _ => Err(self.error(key, "expected a ratio from 0 to 100 %")),
        }
    }

    /// A multiple of zero or more, millionths.
    fn multiple(&mut self, key: &'static str) -> Result<i64, ConfigError> {
        let value = self.needed(key, "a decimal number in quotes, like \"1.5\"", Number::parse)?.0;
        let ppm = value.to_scaled(6);
        if !(0..=100 * RATIO_PPM_MAX).contains(&ppm) || Money::from_scaled(ppm, 6) != value {
            return Err(self.error(key, "expected a number from 0 to 100 with at most 6 decimal places"));
        }
        Ok(ppm)
    }

    fn span(&mut self, key: &'static str) -> Result<u64, ConfigError> {
        let span = self.needed(key, "a span of time in quotes with its unit, like \"250ms\"", Span::parse)?;
        self.builder.span(&self.key(key), span)
    }

    fn count(&mut self, key: &'static str) -> Result<u32, ConfigError> {
        let expected = "a whole number greater than zero";
        let value = self.value(key);
        match value.and_then(toml::Value::as_integer).and_then(|n| u32::try_from(n).ok()) {
            Some(count) => self.builder.count(&self.key(key), count),
            None => Err(self.error(key, format!("is missing or no such number; expected {expected}"))),
        }
    }

    fn instrument(&self) -> &'a Instrument {
        // The builder gives at least one, from the table.
        &self.builder.instruments[self.own[0]]
    }

    fn amount(&mut self, key: &'static str, expected: &str) -> Result<Amount, ConfigError> {
        self.needed(key, expected, Amount::parse)
    }

    /// An amount of the base asset.
    fn base(&mut self, key: &'static str) -> Result<Money, ConfigError> {
        let base = self.builder.assets.name(self.instrument().base);
        let amount = self.amount(key, &format!("an amount of {base} in quotes, like \"0.1 {base}\""))?;
        self.builder.amount(&self.key(key), &amount, base)
    }

    /// `size`, in the base or the quote asset, and perhaps `size_risk`.
    fn sizing(&mut self) -> Result<Sizing, ConfigError> {
        let (builder, instrument) = (self.builder, self.instrument());
        let (base, quote) = (builder.assets.name(instrument.base), builder.assets.name(instrument.quote));
        let expected = format!("an amount in quotes, like \"0.1 {base}\" or \"500 {quote}\"");
        let size = self.amount("size", &expected)?;
        let risk = self.optional("size_risk", &format!("an amount of {quote} in quotes"), Amount::parse)?;
        if size.asset == quote {
            if risk.is_some() {
                return Err(self.error("size_risk", format!("bounds by size, which then must be in {base}; expected size in {base}")));
            }
            self.one_of_each("size", quote, |i| builder.assets.name(i.quote) == quote)?;
            return builder.amount(&self.key("size"), &size, quote).map(Sizing::Notional);
        }
        self.one_of_each("size", base, |i| i.qty_scale == instrument.qty_scale)?;
        let qty: Qty = builder.qty(&self.key("size"), &size, instrument)?;
        let Some(risk) = risk else { return Ok(Sizing::Fixed(qty)) };
        let risk = builder.amount(&self.key("size_risk"), &risk, quote)?;
        self.one_of_each("size_risk", quote, |i| builder.assets.name(i.quote) == quote)?;
        Ok(Sizing::VolatilityScaled { risk, qty_max: qty })
    }

    /// Refuses a size that would mean different things for the strategy's instruments.
    fn one_of_each(&self, key: &str, asset: &str, alike: impl Fn(&Instrument) -> bool) -> Result<(), ConfigError> {
        match self.own.iter().map(|id| &self.builder.instruments[*id]).find(|i| !alike(i)) {
            None => Ok(()),
            Some(other) => {
                let message = format!("in {asset} does not fit {}; expected a strategy of its own for that instrument", other.symbol);
                Err(self.error(key, message))
            }
        }
    }

    /// Refuses keys that nothing reads.
    fn finish(&self) -> Result<(), ConfigError> {
        match self.table.parameters.get_ref().keys().find(|key| !self.asked.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(self.error(key, format!("unknown key; expected one of {}", self.asked.join(", ")))),
        }
    }
}
