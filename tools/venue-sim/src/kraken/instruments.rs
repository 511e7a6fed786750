//! Kraken's names for assets and pairs, and its reference data.

use crate::exchange::{Exchange, MarketSpec};
use crate::json::{Object, array};
use crate::wire::push_json_str;

/// The names of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairNames {
    /// WebSocket v2, e.g. `BTC/USD`.
    pub symbol: String,
    /// REST answers, e.g. `XXBTZUSD`.
    pub id: String,
    /// REST requests, e.g. `XBTUSD`.
    pub altname: String,
    /// WebSocket v1, e.g. `XBT/USD`.
    pub wsname: String,
}

/// Old name of an asset, e.g. `XBT` for `BTC`.
pub fn alt_asset(asset: &str) -> &str {
    match asset {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        other => other,
    }
}

/// REST name of an asset, e.g. `XXBT`, `ZUSD`, `USDT`.
pub fn rest_asset(asset: &str) -> String {
    match asset {
        "BTC" | "ETH" | "LTC" | "XRP" | "XLM" | "XMR" | "DOGE" | "ETC" | "ZEC" => format!("X{}", alt_asset(asset)),
        "USD" | "EUR" | "GBP" | "CAD" | "JPY" | "AUD" => format!("Z{asset}"),
        other => other.to_owned(),
    }
}

impl PairNames {
    /// The names of a market.
    pub fn of(spec: &MarketSpec) -> PairNames {
        let (base, quote) = (alt_asset(&spec.base), alt_asset(&spec.quote));
        let (rest_base, rest_quote) = (rest_asset(&spec.base), rest_asset(&spec.quote));
        let altname = format!("{base}{quote}");
        // Pairs of two old assets carry their prefixes; any other pair is called by its altname.
        let old = rest_base.len() == 4 && rest_base != spec.base && rest_quote.len() == 4 && rest_quote != spec.quote;
        PairNames {
            symbol: format!("{}/{}", spec.base, spec.quote),
            id: if old { format!("{rest_base}{rest_quote}") } else { altname.clone() },
            wsname: format!("{base}/{quote}"),
            altname,
        }
    }

    /// True for any spelling that REST takes.
    pub fn is_rest(&self, text: &str) -> bool {
        [&self.id, &self.altname, &self.wsname, &self.symbol].into_iter().any(|name| name == text)
    }
}

/// `Assets` result.
pub fn push_assets(out: &mut Vec<u8>, exchange: &Exchange) {
    let mut object = Object::new(out);
    for (_, asset) in exchange.ledger.assets() {
        let fiat = rest_asset(asset).starts_with('Z') && asset.len() == 3;
        Object::new(object.key(&rest_asset(asset)))
            .str("aclass", "currency")
            .str("altname", alt_asset(asset))
            .u64("decimals", if fiat { 4 } else { 10 })
            .u64("display_decimals", if fiat { 2 } else { 5 })
            .str("status", "enabled")
            .end();
    }
    object.end();
}

/// One row of `AssetPairs`.
pub fn push_asset_pair(out: &mut Vec<u8>, names: &PairNames, spec: &MarketSpec, status: &str, fees_ppm: (u32, u32)) {
    let fees = |out: &mut Vec<u8>, ppm: u32| {
        array(out, [ppm], |out, ppm| {
            out.extend_from_slice(b"[0,");
            crate::decimal::push_trimmed(out, i128::from(ppm), 4, 0);
            out.push(b']');
        });
    };
    let fixed = |value: i64, scale: u8| crate::decimal::Amount::from_fixed(value, scale).to_string();
    let mut o = Object::new(out);
    o.str("altname", &names.altname).str("wsname", &names.wsname).str("aclass_base", "currency").str("base", &rest_asset(&spec.base));
    o.str("aclass_quote", "currency").str("quote", &rest_asset(&spec.quote)).str("lot", "unit");
    o.u64("cost_decimals", 5).u64("pair_decimals", u64::from(spec.price_scale)).u64("lot_decimals", u64::from(spec.qty_scale));
    o.u64("lot_multiplier", 1).raw("leverage_buy", b"[]").raw("leverage_sell", b"[]");
    fees(o.key("fees"), fees_ppm.1);
    fees(o.key("fees_maker"), fees_ppm.0);
    o.str("fee_volume_currency", "ZUSD").u64("margin_call", 80).u64("margin_stop", 40);
    o.str("ordermin", &fixed(spec.qty_min, spec.qty_scale)).str("costmin", &spec.notional_min.to_string());
    o.str("tick_size", &fixed(spec.tick, spec.price_scale)).str("status", status).str("execution_venue", "international").end();
}

/// `data` of the `instrument` channel.
pub fn push_instruments(out: &mut Vec<u8>, exchange: &Exchange, status: &str) {
    let mut object = Object::new(out);
    array(object.key("assets"), exchange.ledger.assets(), |out, (_, asset)| {
        Object::new(out)
            .str("id", asset)
            .str("status", "enabled")
            .u64("precision", 10)
            .u64("precision_display", 5)
            .bool("borrowable", false)
            .raw("collateral_value", b"1.0")
            .end();
    });
    array(object.key("pairs"), &exchange.markets, |out, market| {
        let spec = &market.spec;
        let mut o = Object::new(out);
        o.str("symbol", &PairNames::of(spec).symbol).str("base", &spec.base).str("quote", &spec.quote).str("status", status);
        o.u64("qty_precision", u64::from(spec.qty_scale));
        push_scientific(o.key("qty_increment"), spec.lot, spec.qty_scale);
        o.u64("price_precision", u64::from(spec.price_scale));
        push_scientific(o.key("price_increment"), spec.tick, spec.price_scale);
        o.u64("cost_precision", 5);
        o.raw("cost_min", spec.notional_min.to_string().as_bytes());
        push_scientific(o.key("qty_min"), spec.qty_min, spec.qty_scale);
        o.bool("marginable", false).bool("has_index", true).end();
    });
    object.end();
}

/// A number as the venue prints small ones: below 10^-4 in scientific notation (`5e-05`).
fn push_scientific(out: &mut Vec<u8>, value: i64, scale: u8) {
    let (mut digits, mut places) = (value, scale);
    while places > 0 && digits % 10 == 0 && digits != 0 {
        digits /= 10;
        places -= 1;
    }
    let magnitude = digits.unsigned_abs().checked_ilog10().unwrap_or(0);
    let exponent = i64::from(places) - i64::from(magnitude);
    if exponent <= 4 || digits == 0 {
        crate::decimal::push_trimmed(out, i128::from(value), scale, 0);
        return;
    }
    let text = digits.to_string();
    let (head, tail) = text.split_at(1);
    out.extend_from_slice(head.as_bytes());
    if !tail.is_empty() {
        out.push(b'.');
        out.extend_from_slice(tail.as_bytes());
    }
    out.extend_from_slice(format!("e-{exponent:02}").as_bytes());
}

/// A JSON array of strings.
pub fn push_strings<'a>(out: &mut Vec<u8>, texts: impl IntoIterator<Item = &'a str>) {
    array(out, texts, push_json_str);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::Amount;

    fn spec(base: &str, quote: &str) -> MarketSpec {
        MarketSpec {
            base: base.into(),
            quote: quote.into(),
            price_scale: 1,
            qty_scale: 8,
            tick: 1,
            lot: 1,
            qty_min: 5_000,
            qty_max: 1,
            notional_min: Amount::ZERO,
            open_price: 1,
        }
    }

    #[test]
    fn pairs_have_all_their_names() {
        let names = PairNames::of(&spec("BTC", "USD"));
        assert_eq!(
            (names.symbol.as_str(), names.id.as_str(), names.altname.as_str(), names.wsname.as_str()),
            ("BTC/USD", "XXBTZUSD", "XBTUSD", "XBT/USD")
        );
        assert_eq!(PairNames::of(&spec("ETH", "USDT")).id, "ETHUSDT");
        assert!(names.is_rest("XBTUSD") && names.is_rest("XXBTZUSD") && !names.is_rest("XBTEUR"));
        assert_eq!((rest_asset("BTC"), rest_asset("USD"), rest_asset("USDT")), ("XXBT".into(), "ZUSD".into(), "USDT".into()));
    }

    #[test]
    fn small_numbers_are_scientific() {
        for (value, scale, text) in
            [(1, 8, "1e-08"), (5_000, 8, "5e-05"), (1, 1, "0.1"), (10_000, 8, "0.0001"), (15, 6, "1.5e-05"), (50, 0, "50")]
        {
            let mut out = Vec::new();
            push_scientific(&mut out, value, scale);
            assert_eq!(String::from_utf8_lossy(&out), text);
            assert_eq!(crate::decimal::parse_fixed(text, scale), Ok(value));
        }
    }
}
