//! From a key to its line, and from a place in the text to the key that stands there.
//!
//! A path is a list of keys; an element of an array of tables is named by its `name` or `symbol`:
//! `["venue", "kraken", "instrument", "BTC/USD", "order_max"]`. Only errors look things up, so the text is
//! parsed again each time.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Keys that name an element of an array of tables.
const NAMING_KEYS: [&str; 2] = ["name", "symbol"];

/// The line (counted from 1) of a byte offset.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|&&b| b == b'\n').count() + 1
}

/// The line of `path`, or of as much of it as there is; 0 if nothing of it is there.
pub fn line_of_path<S: AsRef<str>>(text: &str, path: &[S]) -> usize {
    let Ok(document) = DeTable::parse(text) else { return 0 };
    let mut found = None;
    let mut tables: Vec<&DeTable<'_>> = vec![document.get_ref()];
    for step in path {
        let step = step.as_ref();
        let Some(&table) = tables.first() else { break };
        if tables.len() > 1 || !table.contains_key(step) {
            // An element of an array of tables, by its name.
            let Some(element) = tables.iter().find(|t| name_of(t) == Some(step)) else { break };
            found = name_offset(element).or(found);
            tables = vec![element];
            continue;
        }
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == step) else { break };
        found = Some(key.span().start);
        tables = tables_in(value);
    }
    found.map_or(0, |offset| line_of(text, offset))
}

/// The path of the innermost key whose entry covers `offset`; empty if none does.
pub fn path_at(text: &str, offset: usize) -> String {
    let Ok(document) = DeTable::parse(text) else { return String::new() };
    let mut path = Vec::new();
    descend(document.get_ref(), offset, &mut path);
    path.join(".")
}

fn descend(table: &DeTable<'_>, offset: usize, path: &mut Vec<String>) {
    for (key, value) in table {
        match value.get_ref() {
            DeValue::Table(inner) => {
                let before = path.len();
                path.push(key.get_ref().to_string());
                descend(inner, offset, path);
                if path.len() > before + 1 || covers(key, value, offset) {
                    return;
                }
                path.truncate(before);
            }
            DeValue::Array(elements) => {
                for element in elements.iter() {
                    let Some(inner) = element.get_ref().as_table() else { continue };
                    let before = path.len();
                    path.push(key.get_ref().to_string());
                    if let Some(name) = name_of(inner) {
                        path.push(name.to_owned());
                    }
                    let named = path.len();
                    descend(inner, offset, path);
                    if path.len() > named || element.span().contains(&offset) {
                        return;
                    }
                    path.truncate(before);
                }
                if covers(key, value, offset) {
                    path.push(key.get_ref().to_string());
                    return;
                }
            }
            _ if covers(key, value, offset) => {
                path.push(key.get_ref().to_string());
                return;
            }
            _ => {}
        }
    }
}

fn covers<K>(key: &Spanned<K>, value: &Spanned<DeValue<'_>>, offset: usize) -> bool {
    key.span().contains(&offset) || value.span().contains(&offset)
}

fn tables_in<'a, 'i>(value: &'a Spanned<DeValue<'i>>) -> Vec<&'a DeTable<'i>> {
    match value.get_ref() {
        DeValue::Table(table) => vec![table],
        DeValue::Array(elements) => elements.iter().filter_map(|e| e.get_ref().as_table()).collect(),
        _ => Vec::new(),
    }
}

fn name_of<'a>(table: &'a DeTable<'_>) -> Option<&'a str> {
    NAMING_KEYS.iter().find_map(|&key| table.get(key)).and_then(|value| value.get_ref().as_str())
}

fn name_offset(table: &DeTable<'_>) -> Option<usize> {
    table.iter().find(|(key, _)| NAMING_KEYS.contains(&key.get_ref().as_ref())).map(|(key, _)| key.span().start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
[limits]
exposure_max = \"1 USD\"

[[venue]]
name = \"binance\"
exposure_max = \"2 USD\"

[[venue.instrument]]
symbol = \"BTCUSDT\"
order_max = \"1 BTC\"

[[venue]]
name = \"kraken\"
exposure_max = \"3 USD\"

[[venue.instrument]]
symbol = \"BTC/USD\"
order_max = \"2 BTC\"

[conversion]
USDT = \"1\"
";

    #[test]
    fn a_path_finds_its_line_and_a_missing_key_that_of_its_table() {
        let line = |path: &[&str]| line_of_path(TEXT, path);
        assert_eq!(line(&["limits", "exposure_max"]), 2);
        assert_eq!(line(&["limits", "missing"]), 1);
        assert_eq!(line(&["venue", "binance", "exposure_max"]), 6);
        assert_eq!(line(&["venue", "kraken", "exposure_max"]), 14);
        assert_eq!(line(&["venue", "kraken", "missing"]), 13);
        assert_eq!(line(&["venue", "kraken", "instrument", "BTC/USD", "order_max"]), 18);
        assert_eq!(line(&["venue", "binance", "instrument", "BTCUSDT", "order_max"]), 10);
        assert_eq!(line(&["conversion", "USDT"]), 21);
        assert_eq!(line(&["nothing"]), 0);
        assert_eq!(line_of_path("not = = toml", &["not"]), 0);
    }

    #[test]
    fn an_offset_finds_its_path() {
        let at = |what: &str, nth: usize| {
            let offset = TEXT.match_indices(what).nth(nth).expect("is in the text").0;
            path_at(TEXT, offset)
        };
        assert_eq!(at("\"1 USD\"", 0), "limits.exposure_max");
        assert_eq!(at("\"3 USD\"", 0), "venue.kraken.exposure_max");
        assert_eq!(at("\"2 BTC\"", 0), "venue.kraken.instrument.BTC/USD.order_max");
        assert_eq!(at("[limits]", 0), "limits");
    }
}
