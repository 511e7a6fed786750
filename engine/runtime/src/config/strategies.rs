//! From `[strategy.parameters]` to strategies: strict as everything else.

use super::build::Builder;
use super::file::{StrategyKind, StrategyTable};
use super::units::{Amount, Number, Ratio, Span};
use super::ConfigError;
use engine_core::fixed::{Money, Qty};
use engine_core::ids::InstrumentId;
use engine_core::strategy::Strategy;

/// Reads the keys of one parameter table, each once, and knows which were never asked for.
struct Parameters<'a> {
    builder: &'a Builder<'a>,
    table: &'a StrategyTable,
    asked: Vec<&'static str>,
}

impl<'a> Parameters<'a> {
    fn new(builder: &'a Builder<'a>, table: &'a StrategyTable) -> Parameters<'a> {
        Parameters { builder, table, asked: Vec::new() }
    }

    fn error(&self, key: &str, message: impl std::fmt::Display) -> ConfigError {
        self.builder.document.error_at_key(&["strategy", &self.table.name, "parameters", key], message)
    }

    fn text(&mut self, key: &'static str, expected: &str) -> Result<Option<&'a str>, ConfigError> {
        self.asked.push(key);
        match self.table.parameters.get_ref().get(key) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.error(key, format!("is the {} {other}; expected {expected}", other.type_str()))),
        }
    }

    fn optional<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        match self.text(key, expected)? {
            None => Ok(None),
            Some(text) => parse(text).map(Some).map_err(|reason| self.error(key, reason)),
        }
    }

    fn needed<T>(&self, key: &str, expected: &str, value: Option<T>) -> Result<T, ConfigError> {
        value.ok_or_else(|| self.error(key, format!("is missing; expected {expected}")))
    }
}
