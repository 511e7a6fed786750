//! Two orders asked for together go as two asked for one after the other.
#![allow(clippy::inconsistent_digit_grouping, reason = "prices are written as units and cents")]

mod support;

use engine_core::config::{CoreConfig, RateLimit};
use engine_core::event::{EventKind, Side};
use engine_core::fixed::{Price, Qty};
use engine_core::ids::InstrumentId;
use engine_core::risk::Refusal;
use engine_core::strategy::NewOrder;
use proptest::prelude::*;
use support::*;

/// Narrows a limit, so that it is kept by `n` orders or so.
fn narrow(config: &mut CoreConfig, limit: u8, n: u32) {
    let rate = RateLimit { count: n, window_ns: 5 * MS };
    let coins = i64::from(n);
    match limit {
        0 => config.strategies[0].limits.order_rate = rate,
        1 => config.venues[0].order_rate = rate,
        2 => config.venues[1].message_rate = rate,
        3 => config.limits.order_rate = rate,
        4 => config.instrument_limits.iter_mut().flatten().for_each(|limits| limits.open_orders_max = n),
        5 => config.venues[0].open_orders_max = n,
        6 => config.strategies[0].limits.open_orders_max = n,
        7 => (config.limits.open_orders_max, config.capacity.orders) = (n, 2 * n),
        8 => config.strategies[0].limits.position_max = units(coins),
        9 => config.asset_limits.iter_mut().for_each(|limit| limit.exposure_max = units(coins)),
        10 => config.venues[0].exposure_max = units(50_000 * coins),
        11 => config.strategies[0].limits.exposure_max = Some(units(50_000 * coins)),
        12 => config.limits.exposure_max = units(50_000 * coins),
        13 => config.capacity.strategy_outputs = 16,
        _ => {}
    }
}

fn order() -> impl Strategy<Value = NewOrder> {
    (0u16..3, any::<bool>(), 0i64..30, 1i64..30).prop_map(|(instrument, is_buy, away, tenths)| {
        let (instrument, mid) = (InstrumentId(instrument), if instrument == 2 { 2_000_00 } else { 50_000_00 });
        let (price, qty) = (mid - if is_buy { away } else { -away } * 100, tenths * COIN / 10);
        if is_buy { buy(instrument, price, qty) } else { sell(instrument, price, qty) }
    })
}

fn bench(limit: u8, n: u32, balance: Option<i64>) -> Bench {
    let mut config = config(vec![strategy_config("puppet", &[BTC_A, BTC_B, ETH_A])]);
    narrow(&mut config, limit, n);
    let mut bench = Bench::cold(config);
    if let Some(coins) = balance {
        // The first statement opens the account.
        bench.balance(A, BTC, units(coins));
        bench.balance(A, USDT, units(50_000 * coins));
    }
    bench.start(1);
    bench
}

proptest! {
    #[test]
    fn a_pair_goes_as_two_orders_go(
        limit in 0u8..16, n in 1u32..6, balance in proptest::option::of(1i64..8),
        pairs in proptest::collection::vec((order(), order(), any::<bool>(), 0u64..4), 1..12),
    ) {
        let (mut together, mut apart) = (bench(limit, n, balance), bench(limit, n, balance));
        for (first, second, opposite, ms) in pairs {
            let second = if opposite { NewOrder { side: first.side.opposite(), ..second } } else { second };
            for (bench, ask) in [(&mut together, Ask::Both(first, second)), (&mut apart, Ask::EachOf(first, second))] {
                bench.advance(ms * MS);
                bench.puppets[0].0.lock().unwrap().asks.extend([ask, ask]);
                bench.timer();
            }
            prop_assert_eq!(&together.outputs, &apart.outputs);
            let answers = |bench: &Bench| std::mem::take(&mut bench.puppets[0].0.lock().unwrap().answers);
            prop_assert_eq!(answers(&together), answers(&apart));
            prop_assert_eq!(together.core.state_hash(), apart.core.state_hash());
            prop_assert_eq!(together.desk().counters(), apart.desk().counters());
            together.desk().orders().check();
        }
    }
}

/// What the first takes the last of is not there for the second, which is then refused.
#[test]
fn the_second_is_refused_what_the_first_took_the_last_of() {
    use Refusal::*;
    let legs = [buy(BTC_A, 50_000_00, COIN), NewOrder { side: Side::Sell, ..buy(ETH_A, 2_000_00, COIN) }];
    let more = [legs[0], NewOrder { price: Price(1_999_00), qty: Qty(9 * COIN / 2), ..buy(ETH_A, 0, 0) }];
    let other = [legs[0], sell(BTC_B, 50_000_00, COIN)];
    let cases = [
        (0, 1, other, OrderRateStrategy),
        (1, 1, legs, OrderRateVenue),
        (3, 1, other, OrderRateTotal),
        (5, 1, legs, OpenOrdersVenue),
        (6, 1, other, OpenOrdersStrategy),
        (7, 1, other, OpenOrdersTotal),
        (10, 1, [NewOrder { qty: Qty(9 * COIN / 10), ..legs[0] }, more[1]], ExposureVenue),
        (11, 1, [NewOrder { qty: Qty(9 * COIN / 10), ..legs[0] }, more[1]], ExposureStrategy),
        (12, 1, [NewOrder { qty: Qty(9 * COIN / 10), ..legs[0] }, more[1]], ExposureTotal),
    ];
    for (limit, n, [first, second], why) in cases {
        let mut bench = bench(limit, n, None);
        let at = bench.outputs.len();
        assert_eq!(bench.ask(Ask::Both(first, second)).unwrap().0, 1, "{why}");
        let caused = &bench.outputs[at..];
        assert_eq!(kinds(caused), [EventKind::SendNew, EventKind::OrderTransition, EventKind::RiskRefusal], "{why}");
        assert_eq!((caused[2].code, caused[2].instrument_id()), (why as u32, second.instrument));
    }
}
