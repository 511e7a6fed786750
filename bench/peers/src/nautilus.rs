//! What the cases need of nautilus: its names for things, one instrument, orders.

use bench::messages::decimal;
use engine_core::event::Side;
use nautilus_core::{UUID4, UnixNanos};
use nautilus_model::enums::{OrderSide, TimeInForce};
use nautilus_model::identifiers::{AccountId, ClientOrderId, InstrumentId, StrategyId, Symbol, TraderId};
use nautilus_model::instruments::CurrencyPair;
use nautilus_model::orders::{LimitOrder, OrderAny};
use nautilus_model::types::{Currency, Money, Price, Quantity};

/// Decimals of prices.
pub const PRICE_SCALE: u32 = 2;
/// Decimals of quantities.
pub const QTY_SCALE: u32 = 8;

/// Says at how many bits prices and quantities are, where that is not what ours are at.
pub const fn precision() -> &'static str {
    if cfg!(feature = "high-precision") { "; nautilus at 128 bits" } else { "" }
}

/// Any time.
pub fn time() -> UnixNanos {
    UnixNanos::from(1_800_000_000_000_000_000)
}

/// The instrument of all cases.
pub fn instrument_id() -> InstrumentId {
    InstrumentId::from("BTCUSDT.BINANCE")
}

/// The trader.
pub fn trader() -> TraderId {
    TraderId::from("TRADER-001")
}

/// The strategy.
pub fn strategy() -> StrategyId {
    StrategyId::from("MINIMAL-001")
}

/// The account.
pub fn account() -> AccountId {
    AccountId::from("BINANCE-001")
}

/// A price of so many units of the last of so many decimals.
pub fn price_at(units: i64, scale: u32) -> Price {
    Price::from(decimal(units, scale).as_str())
}

/// A quantity, likewise.
pub fn quantity_at(units: i64, scale: u32) -> Quantity {
    Quantity::from(decimal(units, scale).as_str())
}

/// A price of so many ticks.
pub fn price(ticks: i64) -> Price {
    price_at(ticks, PRICE_SCALE)
}

/// A quantity of so many units of the last decimal.
pub fn quantity(units: i64) -> Quantity {
    quantity_at(units, QTY_SCALE)
}

/// The field's word for a side.
pub const fn side(side: Side) -> OrderSide {
    match side {
        Side::Buy => OrderSide::Buy,
        Side::Sell => OrderSide::Sell,
    }
}

/// The instrument, with the bounds of ours.
pub fn instrument() -> CurrencyPair {
    let (btc, usdt) = (Currency::BTC(), Currency::USDT());
    CurrencyPair::new(
        instrument_id(),
        Symbol::from("BTCUSDT"),
        btc,
        usdt,
        PRICE_SCALE as u8,
        QTY_SCALE as u8,
        price(1),
        quantity(1_000),
        None,
        None,
        Some(quantity(crate::session::ORDER_MAX)),
        Some(quantity(1_000)),
        None,
        Some(Money::new(5.0, usdt)),
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        time(),
        time(),
    )
}

/// A limit order, post-only, good till cancelled.
pub fn limit_order(id: &str, side: OrderSide, ticks: i64, units: i64) -> OrderAny {
    OrderAny::Limit(LimitOrder::new(
        trader(),
        strategy(),
        instrument_id(),
        ClientOrderId::from(id),
        side,
        quantity(units),
        price(ticks),
        TimeInForce::Gtc,
        None,
        true,
        false,
        false,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        UUID4::new(),
        time(),
    ))
}
