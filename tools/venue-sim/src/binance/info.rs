//! Binance `exchangeInfo`: symbols and their filters.

use super::Binance;
use super::errors::ApiError;
use crate::exchange::MarketSpec;
use crate::json::{Object, array};
use crate::wire::Params;

/// Open orders per account and symbol.
pub const MAX_NUM_ORDERS: usize = 200;
/// Amends per order.
pub const MAX_NUM_ORDER_AMENDS: u32 = 10;
/// Largest price, in quote units.
pub const PRICE_MAX: i64 = 1_000_000;
/// A bid may be this many times the last price, and an ask that fraction of it (and the reverse).
pub const PERCENT_UP: i64 = 5;

impl Binance {
    /// The `exchangeInfo` answer.
    pub(super) fn exchange_info(&self, now_ns: u64, params: &Params) -> Result<Vec<u8>, ApiError> {
        let wanted: Option<Vec<String>> = match (params.get("symbol"), params.get("symbols")) {
            (Some(symbol), _) => Some(vec![symbol.clone()]),
            (None, Some(symbols)) => Some(serde_json::from_str(symbols).map_err(|_| ApiError::illegal("symbols", "[\"SYMBOL\",...]"))?),
            (None, None) => None,
        };
        let markets: Vec<usize> = match wanted {
            None => (0..self.exchange.markets.len()).collect(),
            Some(names) => names.iter().map(|name| self.streams.market(name).ok_or_else(ApiError::symbol)).collect::<Result<_, _>>()?,
        };
        let mut out = Vec::with_capacity(4096);
        let mut object = Object::new(&mut out);
        object.str("timezone", "UTC").u64("serverTime", now_ns / 1_000_000);
        self.limits.push_info_rows(object.key("rateLimits"));
        object.raw("exchangeFilters", b"[]");
        array(object.key("symbols"), markets, |out, market| {
            let status = match (self.maintenance, self.cancel_only) {
                (true, _) => "BREAK",
                (false, true) => "CANCEL_ONLY",
                (false, false) => "TRADING",
            };
            push_symbol(out, self.streams.symbol(market), status, &self.exchange.markets[market].spec);
        });
        object.end();
        Ok(out)
    }
}

fn push_symbol(out: &mut Vec<u8>, symbol: &str, status: &str, spec: &MarketSpec) {
    let mut o = Object::new(out);
    o.str("symbol", symbol).str("status", status).str("baseAsset", &spec.base).u64("baseAssetPrecision", 8);
    o.str("quoteAsset", &spec.quote).u64("quotePrecision", 8).u64("quoteAssetPrecision", 8);
    o.u64("baseCommissionPrecision", 8).u64("quoteCommissionPrecision", 8);
    o.raw("orderTypes", br#"["LIMIT","LIMIT_MAKER","MARKET"]"#);
    o.bool("icebergAllowed", false).bool("ocoAllowed", false).bool("otoAllowed", false).bool("quoteOrderQtyMarketAllowed", true);
    o.bool("allowTrailingStop", false).bool("cancelReplaceAllowed", true).bool("amendAllowed", true);
    o.bool("pegInstructionsAllowed", false).bool("isSpotTradingAllowed", true).bool("isMarginTradingAllowed", false);
    push_filters(o.key("filters"), spec);
    o.raw("permissions", b"[]").raw("permissionSets", br#"[["SPOT"]]"#).str("defaultSelfTradePreventionMode", "EXPIRE_MAKER");
    o.raw("allowedSelfTradePreventionModes", br#"["NONE","EXPIRE_TAKER","EXPIRE_MAKER","EXPIRE_BOTH","DECREMENT"]"#);
    o.end();
}

fn push_filters(out: &mut Vec<u8>, spec: &MarketSpec) {
    let (ps, qs) = (spec.price_scale, spec.qty_scale);
    out.push(b'[');
    Object::new(out)
        .str("filterType", "PRICE_FILTER")
        .padded8("minPrice", spec.tick, ps)
        .padded8("maxPrice", PRICE_MAX, 0)
        .padded8("tickSize", spec.tick, ps)
        .end();
    out.push(b',');
    Object::new(out)
        .str("filterType", "LOT_SIZE")
        .padded8("minQty", spec.qty_min, qs)
        .padded8("maxQty", spec.qty_max, qs)
        .padded8("stepSize", spec.lot, qs)
        .end();
    out.push(b',');
    Object::new(out)
        .str("filterType", "MARKET_LOT_SIZE")
        .padded8("minQty", 0, 0)
        .padded8("maxQty", spec.qty_max, qs)
        .padded8("stepSize", 0, 0)
        .end();
    out.push(b',');
    Object::new(out)
        .str("filterType", "NOTIONAL")
        .amount("minNotional", spec.notional_min, 8)
        .bool("applyMinToMarket", true)
        .str("maxNotional", "9000000.00000000")
        .bool("applyMaxToMarket", false)
        .u64("avgPriceMins", 5)
        .end();
    out.push(b',');
    Object::new(out)
        .str("filterType", "PERCENT_PRICE_BY_SIDE")
        .str("bidMultiplierUp", "5")
        .str("bidMultiplierDown", "0.2")
        .str("askMultiplierUp", "5")
        .str("askMultiplierDown", "0.2")
        .u64("avgPriceMins", 5)
        .end();
    out.push(b',');
    Object::new(out).str("filterType", "MAX_NUM_ORDERS").u64("maxNumOrders", MAX_NUM_ORDERS as u64).end();
    out.push(b',');
    Object::new(out).str("filterType", "MAX_NUM_ORDER_AMENDS").u64("maxNumOrderAmends", u64::from(MAX_NUM_ORDER_AMENDS)).end();
    out.push(b']');
}
