//! After construction the core takes no memory and gives none back.
#![allow(clippy::inconsistent_digit_grouping, reason = "prices are written as units and cents")]

mod support;

use engine_core::event::*;
use engine_core::fixed::{Money, Price, Qty};
use engine_core::sizing::Sizing;
use engine_core::strategies::{Arbitrage, ArbitrageParameters, MarketMaking, MarketMakingParameters};
use engine_core::strategy::Strategy;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::*;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// Counts the calls of the thread that makes them.
struct Counting;

// SAFETY: every call is handed on to the system's allocator unchanged; counting touches a thread-local integer only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = CALLS.try_with(|c| c.set(c.get() + 1));
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = CALLS.try_with(|c| c.set(c.get() + 1));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A busy market in which both built-in strategies trade, and a venue that answers everything.
#[test]
fn trading_allocates_nothing() {
    let mut config = config(vec![strategy_config("mm", &[BTC_A, BTC_B, ETH_A]), strategy_config("arb", &[BTC_A, BTC_B])]);
    // Small, so that slots and memory of fills are recycled.
    config.limits.open_orders_max = 64;
    config.capacity.orders = 128;
    config.capacity.fills = 256;
    config.state_hash_every = 100;
    let making = MarketMakingParameters {
        sizing: Sizing::Fixed(Qty(COIN / 100)),
        refresh_min_ns: MS,
        retry_ns: 5 * MS,
        inventory_max: units(2),
        ..Default::default()
    };
    let arbitrage = ArbitrageParameters { edge_min_ppm: 0, cooldown_ns: MS, ..Default::default() };
    let strategies: Vec<Box<dyn Strategy>> = vec![
        Box::new(MarketMaking::new(making, &config.instruments, &[BTC_A, BTC_B, ETH_A]).unwrap()),
        Box::new(Arbitrage::new(arbitrage, &config.instruments, &[BTC_A, BTC_B]).unwrap()),
    ];
    let mut bench = Bench::of(config, strategies);
    let mut answers: Vec<Event> = Vec::with_capacity(1_024);
    let mut seed = 42u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let before = CALLS.with(Cell::get);
    let mut trade_id = 0;
    for round in 0..20_000u64 {
        bench.now_ns += 2 * MS;
        let times = bench.times();
        let instrument = [BTC_A, BTC_B, ETH_A][random(3) as usize];
        let venue = if instrument == BTC_B { B } else { A };
        let mid = if instrument == ETH_A { 2_000_00 } else { 50_000_00 + random(20) as i64 * 10_00 };
        let sequence = round + 100;
        let level = |side, price, qty| Event::book_level(venue, instrument, side, Price(price), Qty(qty), sequence, times);
        let events = [
            level(Side::Buy, mid - 10_00, COIN).with(flags::CLEAR),
            level(Side::Sell, mid + 10_00, COIN).with(flags::LAST),
            Event::trade(venue, instrument, Side::Buy, Price(mid), Qty(1_000), round, times).with(flags::LAST),
            Event::timer(times),
        ];
        for event in &events {
            feed(&mut bench, event, &mut answers, &mut trade_id, random(4));
        }
    }
    let calls = CALLS.with(Cell::get) - before;
    let counters = bench.desk().counters();
    assert!(
        counters.submitted > 2_000 && counters.fills > 1_000 && counters.replaced > 1_000 && counters.cancelled > 1_000,
        "{counters:?}"
    );
    assert_eq!(counters.outputs_lost, 0);
    assert_eq!(calls, 0, "calls of the allocator");
}

/// Applies an event, and the venue's answers to what it causes, until there are no more.
fn feed(bench: &mut Bench, event: &Event, answers: &mut Vec<Event>, trade_id: &mut u64, luck: u64) {
    answers.clear();
    answer(bench.core.apply(event), answers, trade_id, luck);
    let mut at = 0;
    while at < answers.len() && at < 900 {
        let event = answers[at];
        at += 1;
        let times = Times { core_ns: event.core_time_ns, poll_delay_ns: 0 };
        let order = bench.core.desk().order(event.order_id()).map(|o| (o.remaining(), o.state));
        let fits = order.is_none_or(|(left, state)| event.kind != EventKind::OrderFill as u8 || (left.0 > 0 && !state.is_final()));
        if fits {
            let fee = Event::fill_fee(event.venue_id(), event.instrument_id(), event.order_id(), event.d, USDT, Money(1_000), times);
            if event.kind == EventKind::OrderFill as u8 {
                bench.core.apply(&fee);
            }
            answer(bench.core.apply(&event), answers, trade_id, luck);
        }
    }
}

fn answer(outputs: &[Event], answers: &mut Vec<Event>, trade_id: &mut u64, luck: u64) {
    for output in outputs {
        let (venue, instrument, order) = (output.venue_id(), output.instrument_id(), output.order_id());
        let times = Times { core_ns: output.core_time_ns, poll_delay_ns: 0 };
        let simple = |kind| Event::order_report(kind, venue, instrument, order, times);
        *trade_id += 1;
        match output.event_kind() {
            Some(EventKind::SendNew) => {
                answers.push(simple(EventKind::OrderAck));
                let side = output.side().unwrap_or(Side::Buy);
                if output.has(flags::IOC) || luck == 0 {
                    let qty = if luck == 1 { Qty(output.order_qty().0 / 2 / 10_000 * 10_000) } else { output.order_qty() };
                    answers.push(Event::fill(venue, instrument, order, side, output.order_price(), qty.max(Qty(1)), *trade_id, times));
                    if output.has(flags::IOC) && luck == 1 {
                        answers.push(Event::order_gone(EventKind::OrderExpired, venue, instrument, order, None, times));
                    }
                }
            }
            Some(EventKind::SendCancel) => answers.push(Event::order_gone(EventKind::OrderCanceled, venue, instrument, order, None, times)),
            Some(EventKind::SendReplace) => {
                answers.push(Event::order_replaced(venue, instrument, order, output.order_price(), output.order_qty(), times));
            }
            Some(EventKind::SendQuery) => answers.push(Event::order_gone(EventKind::OrderCanceled, venue, instrument, order, None, times)),
            _ => {}
        }
    }
}
