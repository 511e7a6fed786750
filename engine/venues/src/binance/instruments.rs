//! Reference data: `exchangeInfo` to instruments.
//!
//! Read symbol by symbol: one that makes no sense (an unknown status, a filter out of range) is put aside
//! with the reason, and costs no other symbol anything.
//!
//! | instrument | from |
//! |---|---|
//! | price scale, tick | decimal places and value of `PRICE_FILTER.tickSize`; if that is 0 (no rule), `quotePrecision` places |
//! | quantity scale, lot | `LOT_SIZE.stepSize`; if that is 0, `baseAssetPrecision` places |
//! | quantity bounds | `LOT_SIZE.minQty`, `maxQty`, rounded inwards to the lot |
//! | notional minimum | `NOTIONAL.minNotional`, else `MIN_NOTIONAL.minNotional` |
//!
//! Fees are the account's, not the symbol's: the venue's standard rate stands in until configuration says.

use engine_core::event::{InstrumentStatus, VALUE_MAX};
use engine_core::fixed::{Money, Price, Qty, SCALE_MAX, decimal_places, parse_decimal};
use engine_core::ids::{AssetId, VenueId};
use engine_core::instrument::{AssetTable, Capabilities, Instrument};
use serde::Deserialize;
use sonic_rs::LazyValue;
use std::borrow::Cow;

/// The venue's standard fee, maker and taker alike, in millionths.
pub const STANDARD_FEE_PPM: i32 = 1_000;

/// `exchangeInfo`, its symbols unread.
#[derive(Deserialize)]
pub struct ExchangeInfo<'a> {
    /// Each is read on its own.
    #[serde(borrow)]
    pub symbols: Vec<LazyValue<'a>>,
}

/// The name alone: enough to say whose record is wrong.
#[derive(Deserialize)]
struct Name<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SymbolInfo<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    base_asset: Cow<'a, str>,
    #[serde(borrow)]
    quote_asset: Cow<'a, str>,
    base_asset_precision: u8,
    quote_precision: u8,
    #[serde(default)]
    amend_allowed: bool,
    #[serde(borrow, default)]
    order_types: Vec<Cow<'a, str>>,
    #[serde(default = "yes")]
    is_spot_trading_allowed: bool,
    #[serde(borrow, default)]
    filters: Vec<LazyValue<'a>>,
}

const fn yes() -> bool {
    true
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter<'a> {
    #[serde(borrow)]
    filter_type: Cow<'a, str>,
    #[serde(borrow)]
    tick_size: Option<Cow<'a, str>>,
    #[serde(borrow)]
    step_size: Option<Cow<'a, str>>,
    #[serde(borrow)]
    min_qty: Option<Cow<'a, str>>,
    #[serde(borrow)]
    max_qty: Option<Cow<'a, str>>,
    #[serde(borrow)]
    min_notional: Option<Cow<'a, str>>,
}

/// The status in common words; one that we do not know counts as unknown, which nothing trades on.
pub fn status(text: &str) -> InstrumentStatus {
    match text {
        "TRADING" => InstrumentStatus::Trading,
        "CANCEL_ONLY" => InstrumentStatus::CancelOnly,
        "END_OF_DAY" | "HALT" | "BREAK" => InstrumentStatus::Halted,
        _ => InstrumentStatus::Unknown,
    }
}

/// The symbol that a record is about, and its status; for `decode`.
pub fn name_and_status(record: &LazyValue<'_>) -> Result<(String, InstrumentStatus), String> {
    #[derive(Deserialize)]
    struct Record<'a> {
        #[serde(borrow)]
        symbol: Cow<'a, str>,
        #[serde(borrow)]
        status: Cow<'a, str>,
    }
    let record: Record<'_> = sonic_rs::from_str(record.as_raw_str()).map_err(|e| e.to_string())?;
    Ok((record.symbol.into_owned(), status(&record.status)))
}

/// Decimal places that matter and the value at them; `None` for zero.
fn step(text: &str) -> Result<Option<(u8, i64)>, String> {
    let bad = |_| format!("bad step `{text}`");
    let written = decimal_places(text.as_bytes()).map_err(bad)?.min(SCALE_MAX);
    let mut value = parse_decimal(text.as_bytes(), written).map_err(bad)?;
    let mut scale = written;
    if value <= 0 {
        return if value == 0 { Ok(None) } else { Err(format!("negative step `{text}`")) };
    }
    while scale > 0 && value % 10 == 0 {
        (value, scale) = (value / 10, scale - 1);
    }
    Ok(Some((scale, value)))
}

/// A bound in lots, rounded inwards; `up` for a lower bound.
fn bound(text: Option<&str>, scale: u8, lot: i64, up: bool) -> Result<Option<i64>, String> {
    let Some(text) = text else { return Ok(None) };
    let bad = || format!("bad quantity `{text}`");
    // Bounds may be finer than the step: compare at the finest scale that holds them.
    let fine = decimal_places(text.as_bytes()).map_err(|_| bad())?.clamp(scale, SCALE_MAX);
    let wide = engine_core::fixed::parse_decimal_i128(text.as_bytes(), fine).map_err(|_| bad())?;
    let unit = i128::from(lot) * 10i128.pow(u32::from(fine - scale));
    let lots = if up { (wide + unit - 1).div_euclid(unit) } else { wide.div_euclid(unit) };
    let value = lots.checked_mul(i128::from(lot)).ok_or_else(bad)?;
    Ok(Some(i64::try_from(value).unwrap_or(i64::MAX).clamp(0, VALUE_MAX)))
}

/// One record to an instrument; on an error, whose it is and why.
pub fn instrument(record: &LazyValue<'_>, venue: VenueId, assets: &mut AssetTable) -> Result<Instrument, (String, String)> {
    let name = || sonic_rs::from_str::<Name<'_>>(record.as_raw_str()).map_or_else(|_| "?".to_owned(), |name| name.symbol.into_owned());
    let info: SymbolInfo<'_> = sonic_rs::from_str(record.as_raw_str()).map_err(|e| (name(), e.to_string()))?;
    build(&info, venue, assets).map_err(|reason| (info.symbol.clone().into_owned(), reason))
}

fn build(info: &SymbolInfo<'_>, venue: VenueId, assets: &mut AssetTable) -> Result<Instrument, String> {
    let (mut price, mut lot, mut qty_min, mut qty_max, mut notional, mut legacy) = (None, None, None, None, None, None);
    for filter in &info.filters {
        // A filter whose members have other types than ours is one that we do not read.
        let Ok(filter) = sonic_rs::from_str::<Filter<'_>>(filter.as_raw_str()) else { continue };
        match &*filter.filter_type {
            "PRICE_FILTER" => price = filter.tick_size,
            "LOT_SIZE" => (lot, qty_min, qty_max) = (filter.step_size, filter.min_qty, filter.max_qty),
            "NOTIONAL" => notional = filter.min_notional,
            "MIN_NOTIONAL" => legacy = filter.min_notional,
            _ => {}
        }
    }
    let price = price.ok_or("no PRICE_FILTER")?;
    let lot = lot.ok_or("no LOT_SIZE")?;
    let (price_scale, tick) = step(&price)?.unwrap_or((info.quote_precision, 1));
    let (qty_scale, lot) = step(&lot)?.unwrap_or((info.base_asset_precision, 1));
    if u32::from(price_scale) + u32::from(qty_scale) > u32::from(SCALE_MAX) {
        return Err(format!("{price_scale} decimal places of prices and {qty_scale} of quantities are more than {SCALE_MAX} in all"));
    }
    let notional_min = match notional.or(legacy) {
        None => Money::ZERO,
        Some(text) => Money::parse(text.as_bytes()).map_err(|e| format!("minNotional `{text}`: {e}"))?,
    };
    if [&info.symbol, &info.base_asset, &info.quote_asset].iter().any(|text| text.is_empty() || text.len() > 64) {
        return Err("empty or overlong name".into());
    }
    if assets.len() >= usize::from(u16::MAX) - 2 {
        return Err("too many assets".into());
    }
    let mut intern = |name: &str| -> AssetId { assets.intern(name) };
    let tradable = info.is_spot_trading_allowed;
    Ok(Instrument {
        venue,
        symbol: info.symbol.clone().into_owned(),
        base: intern(&info.base_asset),
        quote: intern(&info.quote_asset),
        price_scale,
        qty_scale,
        tick: Price(tick),
        lot: Qty(lot),
        qty_min: Qty(bound(qty_min.as_deref(), qty_scale, lot, true)?.unwrap_or(0).max(lot)),
        qty_max: bound(qty_max.as_deref(), qty_scale, lot, false)?.filter(|&max| max > 0).map_or(Qty::MAX, Qty),
        notional_min,
        maker_fee_ppm: STANDARD_FEE_PPM,
        taker_fee_ppm: STANDARD_FEE_PPM,
        status: if tradable { status(&info.status) } else { InstrumentStatus::Halted },
        epoch: 0,
        capabilities: Capabilities {
            replace: false,
            reduce: info.amend_allowed,
            post_only: info.order_types.iter().any(|kind| kind == "LIMIT_MAKER"),
        },
    })
}
