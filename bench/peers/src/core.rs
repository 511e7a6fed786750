//! `core`: orders through state and risk.
//!
//! Each figure of ours is one call of [`Core::apply`] (a fill: two, with its fee) with everything that belongs to it: a public
//! trade comes in, the strategy asks for an order, the gate checks it against limits of every kind (exposure, position,
//! notional, balance, collar, self-trade, rates, losses ..), the order gets its place in the table and its state, what
//! it binds is reserved, and the command to send it is there. A report moves the order, and with it positions, profit and loss
//! and what is bound. 32 orders rest all the time.
//!
//! The peer is nautilus:
//!
//! - `RiskEngine::execute(SubmitOrder)`: the order is in its cache, the command made, an account with balances, the instrument's
//!   bounds and a largest notional set, as many orders a second allowed as ours; the command goes out to an endpoint that counts.
//!   Checked: precision, sign, bounds of quantity and notional, balances, the rate, the trading state. It neither makes nor moves
//!   the order. Its work grows with the instrument's open orders, so it is measured with none and with as many as ours.
//! - `Cache::add_order`, `RiskEngine::execute` and `Cache::update_order` with the event that says it was submitted: with
//!   these the order has its place and its state, as ours has.
//! - `OrderAny::apply` of an event made beforehand: the order alone, found by nobody, no positions.
//! - `OrderStatus::transition` of the same event, by itself: which state follows, the lower bound of any order state. It takes no
//!   longer than reading the time, which is what its figures are of. (A first fill makes it filled; `OrderAny::apply` corrects that.)
//! - `Cache::update_order` of the same event: the order found by its id and moved, the cache's indices with it; no positions.
//!
//! Both refuse a trade id that was booked before.

use crate::nautilus;
use crate::session::{self, Session};
use crate::{BLOCK, ONE, OURS};
use anyhow::{Context as _, ensure};
use bench::measure::{Budget, Meter, Side, alternate};
use bench::report::{Report, Target};
use engine_core::event::{Event, EventKind, Side as BookSide};
use engine_core::order::OrderState;
use nautilus_common::cache::Cache;
use nautilus_common::clock::{Clock, TestClock};
use nautilus_common::messages::execution::{SubmitOrder, TradingCommand};
use nautilus_common::msgbus::{self, MessagingSwitchboard, TypedIntoHandler};
use nautilus_common::throttler::RateLimit;
use nautilus_core::{UUID4, UnixNanos};
use nautilus_model::accounts::{AccountAny, CashAccount};
use nautilus_model::enums::{AccountType, LiquiditySide, OrderSide, OrderStatus, OrderType};
use nautilus_model::events::{AccountState, OrderAccepted, OrderEventAny, OrderFilled, OrderPendingCancel, OrderSubmitted};
use nautilus_model::identifiers::{TradeId, VenueOrderId};
use nautilus_model::instruments::InstrumentAny;
use nautilus_model::orders::{Order, OrderAny};
use nautilus_model::types::{AccountBalance, Currency, Money};
use nautilus_portfolio::Portfolio;
use nautilus_risk::engine::RiskEngine;
use nautilus_risk::engine::config::RiskEngineConfig;
use rust_decimal::Decimal;
use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::rc::Rc;

const BENCH: &str = "core";
const REPORTS: &[&str] = &["accepted", "half of it filled", "cancel asked for", "the rest filled"];
const TARGET: Target = Target::AtLeast(10.0);
const NONE_RESTS: &str = "nautilus RiskEngine::execute, no order rests";
const WHOLE: &str = "nautilus Cache::add_order, RiskEngine::execute, Cache::update_order(submitted), 32 orders rest";
const ORDERS_REST: &str = "nautilus RiskEngine::execute, 32 orders rest";

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    let counts = Counts::register();
    for (case, told, quantity) in [
        ("new order, passed", session::PLACE, session::ORDER_QTY),
        ("new order, refused (too large)", session::PLACE_TOO_LARGE, 2 * session::ORDER_MAX),
    ] {
        let mut sides = vec![ours_new_order(told)?];
        let passed = told == session::PLACE;
        for (name, resting, whole) in [(NONE_RESTS, 0, false), (ORDERS_REST, session::RESTING, false), (WHOLE, session::RESTING, true)] {
            // An order that is refused is not submitted.
            if passed || !whole {
                sides.push(nautilus_new_order(name, Risk::new(resting, quantity)?, passed, whole, counts.clone()));
            }
        }
        // What is held against the target is the way of an order that is sent.
        let case = format!("{case}{}", nautilus::precision());
        report.add_case(BENCH, &case, &alternate(budget, sides)?, if passed { TARGET } else { Target::None });
    }
    let sides = vec![ours_reports()?, nautilus_reports(), nautilus_transitions(), nautilus_cached_reports()?];
    let case = format!("order{}", nautilus::precision());
    report.add_case(BENCH, &case, &alternate(budget, sides)?, Target::None);
    Ok(())
}

fn is_output(outputs: &[Event], kind: EventKind) -> bool {
    outputs.iter().any(|event| event.event_kind() == Some(kind))
}

/// A trade in, an order out (or its refusal).
fn ours_new_order<'a>(told: i64) -> anyhow::Result<Side<'a>> {
    let mut session = session::trading()?;
    let expected = if told == session::PLACE { EventKind::SendNew } else { EventKind::RiskRefusal };
    Ok(Side::new(OURS, ONE, move |meter| {
        for _ in 0..BLOCK {
            let trade = session::tell(&mut session, told);
            let outputs = meter.time(0, || session.core.apply(black_box(&trade)));
            ensure!(is_output(outputs, expected), "the core gave {outputs:?}");
            if told == session::PLACE {
                // Out of the way, so that as many rest as before.
                let order = session.last_order()?;
                let gone = Event::order_gone(EventKind::OrderCanceled, session::VENUE, session::TRADED, order, None, session.next_times());
                session.core.apply(&gone);
            }
        }
        session.tick();
        Ok(())
    }))
}

/// An order's life from the acknowledgement on: the rest is filled while the cancel is on its way.
fn ours_reports<'a>() -> anyhow::Result<Side<'a>> {
    let mut session = session::trading()?;
    let mut orders = 0;
    Ok(Side::new(OURS, REPORTS, move |meter| {
        for _ in 0..BLOCK {
            ours_life(&mut session, meter, session::side_of(orders))?;
            orders += 1;
        }
        session.tick();
        Ok(())
    }))
}

fn ours_life(session: &mut Session, meter: &mut Meter, side: BookSide) -> anyhow::Result<()> {
    let place = session::tell(session, session::PLACE);
    session.core.apply(&place);
    let order = session.last_order()?;
    let state = |session: &Session| session.core.desk().order(order).map(|order| order.state);
    let accepted = Event::order_report(EventKind::OrderAck, session::VENUE, session::TRADED, order, session.next_times());
    meter.time(0, || session.core.apply(black_box(&accepted)).len());
    let [fee, fill] = session.fill(order, side, session::ORDER_QTY / 2);
    meter.time(1, || session.core.apply(black_box(&fee)).len() + session.core.apply(black_box(&fill)).len());
    ensure!(state(session) == Some(OrderState::PartiallyFilled), "half filled, the order is {:?}", state(session));
    let cancel = session::tell(session, session::CANCEL);
    meter.time(2, || session.core.apply(black_box(&cancel)).len());
    ensure!(state(session) == Some(OrderState::PendingCancel), "with a cancel on its way, the order is {:?}", state(session));
    let [fee, fill] = session.fill(order, side, session::ORDER_QTY / 2);
    meter.time(3, || session.core.apply(black_box(&fee)).len() + session.core.apply(black_box(&fill)).len());
    ensure!(state(session) == Some(OrderState::Filled), "filled, the order is {:?}", state(session));
    Ok(())
}

/// What left nautilus' risk engine. Its message bus is the thread's, so there is one for all.
#[derive(Clone, Default)]
struct Counts {
    sent: Rc<Cell<u64>>,
    denied: Rc<Cell<u64>>,
}

impl Counts {
    /// Counts what comes to the endpoints of the execution engine.
    fn register() -> Counts {
        let counts = Counts::default();
        let Counts { sent, denied } = counts.clone();
        let count = |counter: &Cell<u64>| counter.set(counter.get() + 1);
        msgbus::register_trading_command_endpoint(
            MessagingSwitchboard::exec_engine_queue_execute(),
            TypedIntoHandler::from(move |command: TradingCommand| {
                black_box(&command);
                count(&sent);
            }),
        );
        msgbus::register_order_event_endpoint(
            MessagingSwitchboard::exec_engine_process(),
            TypedIntoHandler::from(move |event: OrderEventAny| {
                black_box(&event);
                count(&denied);
            }),
        );
        counts
    }
}

/// Puts so many orders on each side, far from the market.
fn rest(cache: &mut Cache, resting: i64) -> anyhow::Result<()> {
    for at in 0..resting {
        for (side, book_side) in [(OrderSide::Buy, BookSide::Buy), (OrderSide::Sell, BookSide::Sell)] {
            let price = session::price_at(book_side, session::resting_away(at));
            let order = nautilus::limit_order(&format!("R-{side}-{at}"), side, price.0, session::ORDER_QTY);
            cache.add_order(order.clone(), None, None, false)?;
            cache.update_order(&submitted(&order))?;
            cache.update_order(&accepted(&order))?;
        }
    }
    let open = cache.orders_open(None, Some(&nautilus::instrument_id()), None, None, None).len() as i64;
    ensure!(open == 2 * resting, "nautilus' cache holds {open} open orders, not {}", 2 * resting);
    Ok(())
}

/// Nautilus' risk engine with an account, the instrument, and an order to be sent.
struct Risk {
    engine: RiskEngine,
    clock: Rc<RefCell<TestClock>>,
    cache: Rc<RefCell<Cache>>,
    order: OrderAny,
    now_ns: u64,
}

impl Risk {
    /// With so many orders resting on each side.
    fn new(resting: i64, quantity: i64) -> anyhow::Result<Risk> {
        let (btc, usdt) = (Currency::BTC(), Currency::USDT());
        let balance = |amount: i64, currency: Currency| {
            let money = Money::new(amount as f64, currency);
            AccountBalance::new(money, Money::new(0.0, currency), money)
        };
        let balances = vec![balance(session::BALANCE_BTC, btc), balance(session::BALANCE_USDT, usdt)];
        let time = nautilus::time();
        let state = AccountState::new(nautilus::account(), AccountType::Cash, balances, vec![], true, UUID4::new(), time, time, None);
        let cache = Rc::new(RefCell::new(Cache::default()));
        let order = nautilus::limit_order("O-0", OrderSide::Buy, session::BID, quantity);
        {
            let mut cache = cache.borrow_mut();
            cache.add_instrument(InstrumentAny::CurrencyPair(nautilus::instrument()))?;
            cache.add_account(AccountAny::Cash(CashAccount::new(state, false, false)))?;
            rest(&mut cache, resting)?;
            cache.add_order(order.clone(), None, None, false)?;
        }
        let clock = Rc::new(RefCell::new(TestClock::new()));
        let dyn_clock: Rc<RefCell<dyn Clock>> = clock.clone();
        let portfolio = Portfolio::new(cache.clone(), dyn_clock.clone(), None);
        let config = RiskEngineConfig { max_order_submit: RateLimit::new(100, 1_000_000_000), ..RiskEngineConfig::default() };
        let mut engine = RiskEngine::new(config, portfolio, dyn_clock, cache.clone());
        engine.set_max_notional_per_order(nautilus::instrument_id(), Decimal::from(session::BALANCE_USDT));
        Ok(Risk { engine, clock, cache, order, now_ns: time.as_u64() })
    }

    /// The command to send the order, at the next moment.
    fn command(&mut self) -> TradingCommand {
        self.now_ns += 2 * session::STEP_NS;
        let now = UnixNanos::from(self.now_ns);
        self.clock.borrow_mut().set_time(now);
        TradingCommand::SubmitOrder(SubmitOrder::from_order(&self.order, nautilus::trader(), None, None, UUID4::new(), now))
    }
}

/// The risk engine alone, or `whole`: with the order put into the cache before and submitted after.
fn nautilus_new_order<'a>(name: &'static str, mut risk: Risk, passes: bool, whole: bool, counts: Counts) -> Side<'a> {
    Side::new(name, ONE, move |meter| {
        let before = (counts.sent.get(), counts.denied.get());
        for _ in 0..BLOCK {
            let command = risk.command();
            if !whole {
                meter.time(0, || risk.engine.execute(black_box(command)));
                continue;
            }
            risk.cache.borrow_mut().purge_order(risk.order.client_order_id());
            let (order, event) = (risk.order.clone(), submitted(&risk.order));
            meter.time(0, || {
                risk.cache.borrow_mut().add_order(order, None, None, false)?;
                risk.engine.execute(black_box(command));
                risk.cache.borrow_mut().update_order(&event)
            })?;
        }
        let left = (counts.sent.get() - before.0, counts.denied.get() - before.1);
        let all = BLOCK as u64;
        ensure!(left == if passes { (all, 0) } else { (0, all) }, "of {all} orders, nautilus sent and denied {left:?}");
        Ok(())
    })
}

fn submitted(order: &OrderAny) -> OrderEventAny {
    OrderEventAny::Submitted(OrderSubmitted::new(
        order.trader_id(),
        order.strategy_id(),
        order.instrument_id(),
        order.client_order_id(),
        nautilus::account(),
        UUID4::new(),
        nautilus::time(),
        nautilus::time(),
    ))
}

fn venue_order_id(order: &OrderAny) -> VenueOrderId {
    VenueOrderId::from(format!("V-{}", order.client_order_id()).as_str())
}

fn accepted(order: &OrderAny) -> OrderEventAny {
    OrderEventAny::Accepted(OrderAccepted::new(
        order.trader_id(),
        order.strategy_id(),
        order.instrument_id(),
        order.client_order_id(),
        venue_order_id(order),
        nautilus::account(),
        UUID4::new(),
        nautilus::time(),
        nautilus::time(),
        false,
    ))
}

fn pending_cancel(order: &OrderAny) -> OrderEventAny {
    OrderEventAny::PendingCancel(OrderPendingCancel::new(
        order.trader_id(),
        order.strategy_id(),
        order.instrument_id(),
        order.client_order_id(),
        nautilus::account(),
        UUID4::new(),
        nautilus::time(),
        nautilus::time(),
        false,
        Some(venue_order_id(order)),
    ))
}

fn half_filled(order: &OrderAny, trade_id: u64) -> OrderEventAny {
    OrderEventAny::Filled(OrderFilled::new(
        order.trader_id(),
        order.strategy_id(),
        order.instrument_id(),
        order.client_order_id(),
        venue_order_id(order),
        nautilus::account(),
        TradeId::from(trade_id.to_string().as_str()),
        order.order_side(),
        OrderType::Limit,
        nautilus::quantity(session::ORDER_QTY / 2),
        nautilus::price(session::BID),
        Currency::USDT(),
        LiquiditySide::Maker,
        UUID4::new(),
        nautilus::time(),
        nautilus::time(),
        false,
        None,
        Some(Money::new(0.05, Currency::USDT())),
    ))
}

/// A fresh order for each life, its events made beforehand.
fn nautilus_reports<'a>() -> Side<'a> {
    let mut orders = 0;
    Side::new("nautilus OrderAny::apply", REPORTS, move |meter| {
        for _ in 0..BLOCK {
            orders += 1;
            nautilus_life(meter, orders)?;
        }
        Ok(())
    })
}

/// The n-th order and the events of its life. Names are interned for ever: a few, used again and again.
fn life(number: u64) -> (OrderAny, [OrderEventAny; 4]) {
    let order = nautilus::limit_order(&format!("O-{}", number % 64), OrderSide::Buy, session::BID, session::ORDER_QTY);
    let trades = [2 * number % 64, (2 * number + 1) % 64];
    let events = [accepted(&order), half_filled(&order, trades[0]), pending_cancel(&order), half_filled(&order, trades[1])];
    (order, events)
}

/// The state that each report finds, and the one that follows it.
const TRANSITIONS: [[OrderStatus; 2]; 4] = [
    [OrderStatus::Submitted, OrderStatus::Accepted],
    [OrderStatus::Accepted, OrderStatus::Filled],
    [OrderStatus::PartiallyFilled, OrderStatus::PendingCancel],
    [OrderStatus::PendingCancel, OrderStatus::Filled],
];

/// The table of states alone.
fn nautilus_transitions<'a>() -> Side<'a> {
    let (_, events) = life(0);
    Side::new("nautilus OrderStatus::transition", REPORTS, move |meter| {
        for _ in 0..BLOCK {
            for (at, (event, [mut before, after])) in events.iter().zip(TRANSITIONS).enumerate() {
                let next = meter.time(at, || black_box(&mut before).transition(black_box(event))).context(REPORTS[at])?;
                ensure!(next == after, "nautilus' order is {next}, not {after}");
            }
        }
        Ok(())
    })
}

/// As many orders rest as with ours.
fn nautilus_cached_reports<'a>() -> anyhow::Result<Side<'a>> {
    let mut cache = Cache::default();
    rest(&mut cache, session::RESTING)?;
    let mut orders = 0;
    Ok(Side::new("nautilus Cache::update_order, 32 orders rest", REPORTS, move |meter| {
        for _ in 0..BLOCK {
            orders += 1;
            let (order, events) = life(orders);
            let id = order.client_order_id();
            cache.add_order(order.clone(), None, None, false)?;
            cache.update_order(&submitted(&order))?;
            for (at, event) in events.iter().enumerate() {
                meter.time(at, || cache.update_order(black_box(event)).map(|_| ())).context(REPORTS[at])?;
            }
            ensure!(cache.order(&id).is_some_and(|order| order.status() == OrderStatus::Filled), "nautilus' order is not filled");
            cache.purge_order(id);
        }
        Ok(())
    }))
}

fn nautilus_life(meter: &mut Meter, number: u64) -> anyhow::Result<()> {
    let (mut order, events) = life(number);
    order.apply(submitted(&order))?;
    for (at, event) in events.into_iter().enumerate() {
        meter.time(at, || order.apply(black_box(event))).context(REPORTS[at])?;
    }
    ensure!(order.status() == OrderStatus::Filled, "nautilus' order is {} in the end", order.status());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_of_nautilus_goes_the_way_that_ours_goes_and_neither_books_a_trade_twice() {
        let mut order = nautilus::limit_order("O-1", OrderSide::Buy, session::BID, session::ORDER_QTY);
        let fill = half_filled(&order, 1);
        for event in [submitted(&order), accepted(&order), fill.clone()] {
            order.apply(event).unwrap();
        }
        assert_eq!(order.status(), OrderStatus::PartiallyFilled);
        assert!(order.apply(fill).is_err());
        let mut session = session::trading().unwrap();
        let place = session::tell(&mut session, session::PLACE);
        session.core.apply(&place);
        let id = session.last_order().unwrap();
        let [_, fill] = session.fill(id, BookSide::Buy, session::ORDER_QTY / 2);
        session.core.apply(&fill);
        session.core.apply(&fill);
        let ours = session.core.desk().order(id).unwrap();
        assert_eq!((ours.state, ours.filled.0), (OrderState::PartiallyFilled, session::ORDER_QTY / 2));
    }

    #[test]
    fn nautilus_sends_what_is_within_the_bounds_and_denies_what_is_not() {
        let counts = Counts::register();
        let run = |quantity: i64| {
            let mut risk = Risk::new(session::RESTING, quantity).unwrap();
            let before = (counts.sent.get(), counts.denied.get());
            let command = risk.command();
            risk.engine.execute(command);
            (counts.sent.get() - before.0, counts.denied.get() - before.1)
        };
        assert_eq!(run(session::ORDER_QTY), (1, 0));
        assert_eq!(run(session::ORDER_MAX), (1, 0));
        assert_eq!(run(session::ORDER_MAX + 1_000), (0, 1));
    }

    #[test]
    fn nautilus_counts_orders_a_second() {
        let counts = Counts::register();
        let mut risk = Risk::new(0, session::ORDER_QTY).unwrap();
        let command = risk.command();
        for _ in 0..101 {
            risk.engine.execute(command.clone());
        }
        assert_eq!((counts.sent.get(), counts.denied.get()), (100, 1));
    }
}
