//! Fills of resting orders take a short way through the core: they leave what the long way leaves.

mod support;

use engine_core::event::*;
use engine_core::fixed::{Money, Qty};
use engine_core::ids::*;
use engine_core::order::OrderState as S;
use proptest::prelude::*;
use support::*;

/// All that a fill moves, but for how it came about.
fn left(bench: &Bench) -> Vec<String> {
    let (desk, exposure) = (bench.desk(), &bench.desk().gate().exposure);
    let mut left = vec![format!("{:?} {:?} {:?}", desk.pnl(), desk.positions().net(), desk.positions().strategy_net(StrategyId(0)))];
    left.push(format!("{:?} {:?} {:?}", exposure.total(), exposure.of_venue(A), exposure.of_venue(B)));
    for instrument in [BTC_A, BTC_B, ETH_A] {
        let positions = (desk.instrument_position(instrument), desk.strategy_position(StrategyId(0), instrument));
        left.push(format!("{positions:?} {:?} {:?}", exposure.open(instrument, Side::Buy), exposure.open(instrument, Side::Sell)));
        for side in [Side::Buy, Side::Sell] {
            let own = exposure.own_open(StrategyId(0), instrument, side);
            left.push(format!("{own:?} {:?}", desk.orders().most_aggressive_price(instrument, side)));
        }
    }
    for asset in [BTC, USDT, ETH] {
        let more = [true, false].map(|into| exposure.flow_exceeds(asset, into, units(400_000).0));
        left.push(format!("{:?} {:?} {more:?}", desk.positions().ledger.account(A, asset), exposure.held(A, asset)));
    }
    let (gate, counters) = (desk.gate().venue(A).unwrap(), desk.counters());
    left.push(format!("{} {} {} {}", gate.open, counters.acked, counters.filled, counters.fills));
    left.push(format!("{} {}", desk.orders().open_len(), desk.orders().open_of_strategy(StrategyId(0))));
    left
}

/// Outputs and what the strategy was told, but for the state that the order was in.
fn told(bench: &Bench, outputs: &[Event]) -> (Vec<Event>, Vec<String>) {
    let outputs = outputs.iter().map(|event| Event { b: 0, ..*event }).collect();
    let said = bench.said().into_iter().map(|said| match said {
        Said::Order(update) => format!("{:?}", engine_core::strategy::OrderUpdate { previous: S::New, ..update }),
        said => format!("{said:?}"),
    });
    (outputs, said.collect())
}

/// An order, some of it filled before, some or all of the rest at the end.
#[derive(Clone, Copy, Debug)]
struct Case {
    buys: bool,
    before: i64,
    rest: i64,
    better: i64,
    fee: Option<i64>,
    moved: i64,
    others: u8,
    /// Held beforehand, by an order of another size: the same again would be a duplicate.
    held: i64,
}

fn run(case: Case, cancel: bool) -> (Bench, Vec<Event>) {
    let mut bench = Bench::new();
    let order = |price: i64, qty| if case.buys { buy(BTC_A, price, qty) } else { sell(BTC_A, price, qty) };
    let sign = if case.buys { 1 } else { -1 };
    if case.held != 0 {
        let price = if case.held > 0 { 5_000_000 } else { 5_000_100 };
        let first = if case.held > 0 { buy(BTC_A, price, case.held) } else { sell(BTC_A, price, -case.held) };
        let first = bench.place(first).unwrap();
        bench.simple(EventKind::OrderAck, first);
        bench.fill(first, price, case.held.abs(), 1_000);
    }
    for away in 0..i64::from(case.others) {
        let other = bench.place(order(5_000_000 - sign * (2 + away) * 100, COIN / 100)).unwrap();
        bench.simple(EventKind::OrderAck, other);
    }
    let price = 5_000_000 - sign * 100;
    let id = bench.place(order(price, COIN)).unwrap();
    bench.simple(EventKind::OrderAck, id);
    if case.before > 0 {
        bench.fill(id, price, case.before, 1);
    }
    if cancel {
        // With a cancel on its way a fill is taken as any report is.
        bench.cancel(id).unwrap();
    } else {
        bench.timer();
    }
    bench.level(BTC_A, Side::Buy, 5_000_000 + case.moved, COIN);
    if let Some(fee) = case.fee {
        bench.fee(id, 2, USDT, Money(i128::from(fee)));
    }
    bench.said();
    let outputs = bench.fill(id, price - sign * case.better, COIN - case.before - case.rest, 2);
    assert_eq!(bench.order(id).filled, Qty(COIN - case.rest));
    let state = if case.rest == 0 { S::Filled } else { S::PartiallyFilled };
    assert!(bench.state(id) == state || (cancel && case.rest > 0 && bench.state(id) == S::PendingCancel));
    bench.desk().orders().check();
    bench.desk().gate().exposure.check(bench.desk().positions(), bench.desk().orders().iter_open(), false);
    (bench, outputs)
}

proptest! {
    #[test]
    fn a_resting_order_that_is_filled_leaves_what_one_with_a_cancel_on_its_way_leaves(
        buys in any::<bool>(), before in prop_oneof![Just(0), 1..COIN / 2], rest in prop_oneof![Just(0), 1..COIN / 2], better in 0i64..500,
        fee in proptest::option::of(-1_000_000i64..1_000_000_000), moved in 0i64..90, others in 0u8..3,
        held in prop_oneof![Just(0), (-99i64..100).prop_map(|n| n * COIN / 100)],
    ) {
        let case = Case { buys, before, rest, better, fee, moved, others, held };
        let ((short, outputs), (long, other_outputs)) = (run(case, false), run(case, true));
        prop_assert_eq!(left(&short), left(&long));
        let ((outputs, said), (other_outputs, other_said)) = (told(&short, &outputs), told(&long, &other_outputs));
        if rest == 0 {
            prop_assert_eq!((outputs, said), (other_outputs, other_said));
        } else {
            // The one rests on, the other waits on.
            prop_assert_eq!(outputs.len(), other_outputs.len());
            prop_assert_eq!((outputs[0].c, outputs[0].d), (S::PartiallyFilled as u64, other_outputs[0].d));
            prop_assert_eq!(said.len(), 1 + usize::from(before == 0), "told of a change of state only");
            prop_assert_eq!(&said[0], &other_said[0]);
        }
        let (short, long) = (short.desk(), long.desk());
        prop_assert_eq!(short.orders().iter_open().count(), long.orders().iter_open().count());
    }
}
