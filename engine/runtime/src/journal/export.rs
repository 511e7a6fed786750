//! Journal events as JSON objects, one a line, for people and other programs.

use engine_core::event::{Event, EventKind, Side};
use serde_json::{Map, Value};

/// Names that make an exported event readable. Implemented over the session file's tables; without one,
/// ids stay numbers.
pub trait Names {
    /// Venue name.
    fn venue(&self, id: u8) -> Option<&str>;
    /// Symbol, price scale, quantity scale.
    fn instrument(&self, id: u16) -> Option<(&str, u8, u8)>;
    /// Asset name.
    fn asset(&self, id: u16) -> Option<&str>;
    /// Strategy name.
    fn strategy(&self, id: u16) -> Option<&str>;
}

/// No names: everything stays a number.
pub struct Unnamed;

impl Names for Unnamed {
    fn venue(&self, _: u8) -> Option<&str> {
        None
    }
    fn instrument(&self, _: u16) -> Option<(&str, u8, u8)> {
        None
    }
    fn asset(&self, _: u16) -> Option<&str> {
        None
    }
    fn strategy(&self, _: u16) -> Option<&str> {
        None
    }
}

/// One event as a JSON object. Prices and quantities are decimal strings at the instrument's scale;
/// times are nanoseconds since the Unix epoch as decimal strings.
pub fn to_json(sequence: u64, event: &Event, names: &dyn Names) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    put("sequence", sequence.into());
    let kind = event.event_kind();
    put("kind", kind.map_or_else(|| Value::from(event.kind), |k| k.as_str().into()));
    put("core_time_ns", event.core_time_ns.to_string().into());
    if event.venue_time_ns != 0 {
        put("venue_time_ns", event.venue_time_ns.to_string().into());
    }
    put("poll_delay_ns", event.poll_delay_ns.into());
    put("venue", names.venue(event.venue).map_or_else(|| Value::from(event.venue), Value::from));
    let instrument = names.instrument(event.instrument);
    put("instrument", instrument.map_or_else(|| Value::from(event.instrument), |(symbol, ..)| symbol.into()));
    if let Some(side) = event.side() {
        put("side", side.as_str().into());
    }
    let (price_scale, qty_scale) = instrument.map_or((0, 0), |(_, p, q)| (p, q));
    let price = |word: u64| Value::from(engine_core::fixed::Price(word as i64).display(price_scale).to_string());
    let qty = |word: u64| Value::from(engine_core::fixed::Qty(word as i64).display(qty_scale).to_string());
    let order = |word: u64| Value::from(engine_core::ids::OrderId(word).to_string());
    let money = |low: u64, high: u64| Value::from(engine_core::fixed::Money::from_words(low, high).to_string());
    use EventKind as K;
    match kind {
        Some(K::BookLevel | K::TopOfBook) => {
            put("price", price(event.a));
            put("qty", qty(event.b));
            put("venue_sequence", event.c.into());
        }
        Some(K::Trade) => {
            put("price", price(event.a));
            put("qty", qty(event.b));
            put("trade_id", event.c.into());
        }
        Some(K::OrderFill) => {
            put("order", order(event.a));
            put("price", price(event.b));
            put("qty", qty(event.c));
            put("trade_id", event.d.into());
        }
        Some(K::FillFee) => {
            put("order", order(event.d));
            put("trade_id", event.a.into());
            put("asset", names.asset(event.asset).map_or_else(|| Value::from(event.asset), Value::from));
            put("amount", money(event.b, event.c));
        }
        Some(K::OrderReplaced | K::SendNew | K::SendReplace) => {
            put("order", order(event.a));
            put("price", price(event.b));
            put("qty", qty(event.c));
        }
        Some(K::OrderCanceled | K::OrderExpired) => {
            put("order", order(event.a));
            if event.b != engine_core::event::QTY_UNSTATED {
                put("filled", qty(event.b));
            }
        }
        Some(K::OrderStatus) => {
            put("order", order(event.a));
            put("filled", qty(event.b));
            put("price", price(event.c));
            put("qty", qty(event.d));
        }
        Some(K::Balance) => {
            put("asset", names.asset(event.asset).map_or_else(|| Value::from(event.asset), Value::from));
            put("total", money(event.a, event.b));
            put("available", money(event.c, event.d));
        }
        Some(K::RiskRefusal) => {
            put("price", price(event.b));
            put("qty", qty(event.c));
        }
        Some(K::OrderTransition) => {
            put("order", order(event.a));
            put("from", event.b.into());
            put("to", event.c.into());
            put("filled", qty(event.d));
        }
        Some(K::StateHash) => {
            put("hash", format!("{:016x}", event.a).into());
            put("inputs", event.b.into());
        }
        Some(K::OrderAck | K::OrderReject | K::CancelReject | K::ReplaceReject | K::OrderUncertain | K::SendCancel | K::SendQuery) => {
            put("order", order(event.a));
        }
        _ => {
            put("words", vec![event.a, event.b, event.c, event.d].into());
        }
    }
    if matches!(kind, Some(K::SendNew | K::SendReplace | K::SendCancel | K::RiskRefusal)) {
        put("strategy", names.strategy(event.asset).map_or_else(|| Value::from(event.asset), Value::from));
    }
    put("flags", event.flags.into());
    put("code", code_name(event).map_or_else(|| Value::from(event.code), Value::from));
    Value::Object(out)
}

/// The name of an event's code, where its kind gives the code a meaning.
pub fn code_name(event: &Event) -> Option<&'static str> {
    use engine_core::event as e;
    let code = event.code;
    match event.event_kind()? {
        EventKind::BookInvalid => e::BookInvalid::from_raw(code).map(|c| c.as_str()),
        EventKind::InstrumentStatus => e::InstrumentStatus::from_raw(code).map(|c| c.as_str()),
        EventKind::FeedStatus => e::FeedState::from_raw(code).map(|c| c.as_str()),
        EventKind::OrderReject | EventKind::CancelReject | EventKind::ReplaceReject => e::RejectReason::from_raw(code).map(|c| c.as_str()),
        EventKind::OrderStatus => e::VenueOrderStatus::from_raw(code).map(|c| c.as_str()),
        EventKind::Command => e::CommandKind::from_raw(code).map(|c| c.as_str()),
        EventKind::Halt => e::HaltReason::from_raw(code).map(|c| c.as_str()),
        EventKind::Anomaly => e::Anomaly::from_raw(code).map(|c| c.as_str()),
        _ => None,
    }
}

/// The side as a word, `-` if none.
pub fn side_name(side: Option<Side>) -> &'static str {
    side.map_or("-", Side::as_str)
}
