//! Journal events as JSON objects, one a line, for people and other programs.

use engine_core::event::{Event, EventKind, QTY_UNSTATED, flags};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::OrderId;
use engine_core::order::OrderState;
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

/// What an event of a kind is about; the other id fields of such events mean nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Engine,
    Venue,
    Instrument,
}

const fn about(kind: EventKind) -> About {
    use EventKind as K;
    match kind {
        K::Timer | K::SessionStart | K::StateHash | K::Halt => About::Engine,
        K::FeedStatus | K::Balance | K::Reconcile | K::Command | K::SendCancelAll | K::ColdText => About::Venue,
        _ => About::Instrument,
    }
}

/// One event as a JSON object. Prices, quantities and amounts are decimal strings at the instrument's scale; times are
/// nanoseconds since the Unix epoch as decimal strings, and so is every number of a venue's that may pass 2^53.
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
    let about = kind.map_or(About::Instrument, about);
    let instrument = names.instrument(event.instrument).filter(|_| about == About::Instrument);
    if about != About::Engine {
        put("venue", names.venue(event.venue).map_or_else(|| Value::from(event.venue), Value::from));
    }
    if about == About::Instrument {
        put("instrument", instrument.map_or_else(|| Value::from(event.instrument), |(symbol, ..)| symbol.into()));
    }
    if let Some(side) = event.side().filter(|_| about == About::Instrument) {
        put("side", side.as_str().into());
    }
    let (price_scale, qty_scale) = instrument.map_or((0, 0), |(_, p, q)| (p, q));
    let price = |word: u64| Value::from(Price(word as i64).display(price_scale).to_string());
    let qty = |word: u64| Value::from(Qty(word as i64).display(qty_scale).to_string());
    let order = |word: u64| Value::from(OrderId(word).to_string());
    let money = |low: u64, high: u64| Value::from(Money::from_words(low, high).to_string());
    let number = |word: u64| Value::from(word.to_string());
    let asset = || names.asset(event.asset).map_or_else(|| Value::from(event.asset), Value::from);
    let state = |word: u64| match u8::try_from(word).ok().and_then(OrderState::from_raw) {
        Some(state) => Value::from(state.as_str()),
        None => Value::from(word),
    };
    use EventKind as K;
    match kind {
        Some(K::BookLevel | K::TopOfBook) => {
            put("price", price(event.a));
            put("qty", qty(event.b));
            put("venue_sequence", number(event.c));
        }
        Some(K::BookTouch) => put("venue_sequence", number(event.c)),
        Some(K::Trade) => {
            put("price", price(event.a));
            put("qty", qty(event.b));
            put("trade_id", number(event.c));
        }
        Some(K::InstrumentRules) => {
            put("tick", price(event.a));
            put("lot", qty(event.b));
            put("qty_min", qty(event.c));
            put("notional_min", price(event.d));
        }
        Some(K::FeedStatus) => put("role", event.a.into()),
        Some(K::OrderFill) => {
            put("order", order(event.a));
            put("price", price(event.b));
            put("qty", qty(event.c));
            put("trade_id", number(event.d));
        }
        Some(K::FillFee) => {
            put("order", order(event.d));
            put("trade_id", number(event.a));
            put("asset", asset());
            put("amount", money(event.b, event.c));
        }
        Some(K::OrderReplaced | K::SendNew) => {
            put("order", order(event.a));
            put("price", price(event.b));
            put("qty", qty(event.c));
        }
        Some(K::SendReplace) => {
            put("order", order(event.a));
            put("price", price(event.b));
            put("qty", qty(event.c));
            put("previous_qty", qty(event.d));
        }
        Some(K::OrderCanceled | K::OrderExpired) => {
            put("order", order(event.a));
            if event.b != QTY_UNSTATED {
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
            put("asset", asset());
            put("total", money(event.a, event.b));
            put("available", money(event.c, event.d));
        }
        Some(K::Reconcile) => {
            put("completed", (event.code == 1).into());
            put("open", event.a.into());
        }
        Some(K::SessionStart) => {
            put("epoch", event.a.into());
            put("config_hash", format!("{:016x}", event.b).into());
        }
        Some(K::RiskRefusal) => {
            if event.a != 0 {
                put("order", order(event.a));
            }
            put("price", price(event.b));
            put("qty", qty(event.c));
        }
        Some(K::OrderTransition) => {
            put("order", order(event.a));
            put("from", state(event.b));
            put("to", state(event.c));
            put("filled", qty(event.d));
        }
        Some(K::StateHash) => {
            put("hash", format!("{:016x}", event.a).into());
            put("inputs", event.b.into());
        }
        Some(K::OrderAck | K::OrderReject | K::CancelReject | K::ReplaceReject | K::OrderUncertain | K::SendCancel | K::SendQuery) => {
            put("order", order(event.a));
        }
        Some(K::Anomaly) => {
            put("value", number(event.a));
            let of = u8::try_from(event.b).ok().and_then(EventKind::from_raw);
            put("of", of.map_or_else(|| Value::from(event.b), |k| k.as_str().into()));
        }
        Some(K::Timer | K::BookInvalid | K::InstrumentStatus | K::SendCancelAll | K::SendResync | K::Halt) => {}
        Some(K::Command | K::ColdText) | None => {
            // As signed numbers: a clock's offset may be negative.
            put("words", [event.a, event.b, event.c, event.d].map(|w| (w as i64).to_string()).to_vec().into());
        }
    }
    if matches!(kind, Some(K::SendNew | K::SendReplace | K::SendCancel | K::RiskRefusal | K::OrderTransition)) {
        put("strategy", names.strategy(event.asset).map_or_else(|| Value::from(event.asset), Value::from));
    }
    put("flags", flag_names(event.flags).into());
    match code_name(event) {
        Some(name) => put("code", name.into()),
        None if event.code != 0 => put("code", event.code.into()),
        None => {}
    }
    Value::Object(out)
}

/// The names of an event's flags.
fn flag_names(set: u8) -> Vec<&'static str> {
    const NAMES: [(u8, &str); 7] = [
        (flags::LAST, "last"),
        (flags::CLEAR, "clear"),
        (flags::SNAPSHOT, "snapshot"),
        (flags::MAKER, "maker"),
        (flags::POST_ONLY, "post_only"),
        (flags::IOC, "ioc"),
        (flags::COLD, "cold"),
    ];
    NAMES.iter().filter(|(bit, _)| set & bit != 0).map(|(_, name)| *name).collect()
}

/// The name of an event's code, where its kind gives the code a meaning.
pub fn code_name(event: &Event) -> Option<&'static str> {
    use engine_core::event as e;
    let code = event.code;
    match event.event_kind()? {
        EventKind::RiskRefusal => engine_core::risk::Refusal::from_raw(code).map(|c| c.as_str()),
        EventKind::BookInvalid | EventKind::SendResync => e::BookInvalid::from_raw(code).map(|c| c.as_str()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::event::{CommandKind, HaltReason, Side, Times};
    use engine_core::ids::{InstrumentId, StrategyId, VenueId};

    struct Table;

    impl Names for Table {
        fn venue(&self, id: u8) -> Option<&str> {
            (id == 1).then_some("kraken")
        }
        fn instrument(&self, id: u16) -> Option<(&str, u8, u8)> {
            (id == 0).then_some(("BTC/USD", 1, 8))
        }
        fn asset(&self, id: u16) -> Option<&str> {
            (id == 2).then_some("USD")
        }
        fn strategy(&self, id: u16) -> Option<&str> {
            (id == 3).then_some("mm")
        }
    }

    const TIMES: Times = Times { core_ns: 1_767_225_600_000_000_001, poll_delay_ns: 9 };

    #[test]
    fn prices_and_quantities_are_exact_decimals_and_ids_have_names() {
        let order = OrderId::new(2, 7);
        let event = Event {
            asset: u16::from(StrategyId(3).0),
            b: 612_504,
            c: 12_500,
            side: Side::Sell as u8,
            ..Event::order_report(EventKind::SendNew, VenueId(1), InstrumentId(0), order, TIMES)
        };
        let json = to_json(5, &event.with(flags::POST_ONLY | flags::LAST), &Table);
        let expected = serde_json::json!({
            "sequence": 5, "kind": "send_new", "core_time_ns": "1767225600000000001", "poll_delay_ns": 9, "venue": "kraken",
            "instrument": "BTC/USD", "side": "sell", "order": order.to_string(), "price": "61250.4", "qty": "0.00012500",
            "strategy": "mm", "flags": ["last", "post_only"],
        });
        assert_eq!(json, expected);
        let unnamed = to_json(5, &event, &Unnamed);
        assert_eq!((&unnamed["venue"], &unnamed["price"]), (&1.into(), &"612504".into()));
    }

    #[test]
    fn events_show_only_what_they_are_about() {
        let halt = Event { code: HaltReason::DailyLoss as u32, ..Event::new(EventKind::Halt, VenueId(1), TIMES) };
        let json = to_json(1, &halt, &Table);
        assert_eq!(json["code"], "daily_loss");
        assert!(json.get("venue").is_none() && json.get("instrument").is_none());
        let offset = Event::command(CommandKind::ClockOffset, (-5i64) as u64, 3, TIMES);
        assert_eq!(to_json(1, &offset, &Table)["words"][0], "-5");
        let strange = Event { kind: 250, code: 3, ..Event::default() };
        assert_eq!(to_json(1, &strange, &Table)["kind"], 250);
    }

    #[test]
    fn every_kind_can_be_shown() {
        for &kind in EventKind::ALL {
            let full =
                Event { code: u32::MAX, a: u64::MAX, b: u64::MAX, c: u64::MAX, d: u64::MAX, flags: 255, side: 9, ..Event::default() };
            let json = to_json(u64::MAX, &Event { kind: kind as u8, instrument: 7, asset: 7, venue: 7, ..full }, &Table);
            assert_eq!(json["kind"], kind.as_str());
        }
    }
}
