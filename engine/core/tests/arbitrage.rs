//! The arbitrage: when it fires, how much, and how it gets out of a half-filled pair.
#![allow(clippy::inconsistent_digit_grouping, reason = "prices are written as units and cents")]

mod support;

use engine_core::config::CoreConfig;
use engine_core::event::*;
use engine_core::fixed::{Money, Qty};
use engine_core::ids::*;
use engine_core::strategies::{Arbitrage, ArbitrageParameters};
use engine_core::strategy::Strategy;
use support::*;

fn parameters() -> ArbitrageParameters {
    ArbitrageParameters {
        edge_min_ppm: 200,
        qty_max: units(2),
        slippage_ppm: 0,
        hedge_slippage_ppm: 2_000,
        imbalance_max: Money::ZERO,
        age_max_ns: SECOND,
        cooldown_ns: 100 * MS,
        leg_timeout_ns: SECOND,
        retry_ns: 100 * MS,
        retries_max: 3,
    }
}

/// Arbitrage on BTC over both venues (strategy 0) and a puppet beside it (strategy 1).
fn bench_with(parameters: ArbitrageParameters, change: impl FnOnce(&mut CoreConfig)) -> Bench {
    let mut config = config(vec![strategy_config("arb", &[BTC_A, BTC_B]), strategy_config("puppet", &[BTC_A, BTC_B])]);
    change(&mut config);
    let arbitrage = Arbitrage::new(parameters, &config.instruments, &[BTC_A, BTC_B]).unwrap();
    let puppet = Puppet::default();
    let strategies: Vec<Box<dyn Strategy>> = vec![Box::new(arbitrage), Box::new(puppet.clone())];
    let mut bench = Bench::of(config, strategies);
    bench.puppets = vec![Puppet::default(), puppet];
    bench
}

fn bench() -> Bench {
    bench_with(parameters(), |_| {})
}

/// New orders among outputs: instrument, side, price, quantity.
fn sent(outputs: &[Event]) -> Vec<(InstrumentId, Side, i64, i64)> {
    let news = of_kind(outputs, EventKind::SendNew);
    assert!(news.iter().all(|e| e.has(flags::IOC)));
    news.iter().map(|e| (e.instrument_id(), e.side().unwrap(), e.order_price().0, e.order_qty().0)).collect()
}

/// B becomes dear: bids at `bid`, two coins.
fn dear(bench: &mut Bench, bid: i64) -> Vec<Event> {
    bench.deep_book(BTC_B, &[(bid, 2 * COIN)], &[(bid + 20_00, 2 * COIN)])
}

/// The two orders of the last attempt: buy on A, sell on B.
fn legs(bench: &Bench) -> (OrderId, OrderId) {
    let open: Vec<_> = bench.desk().orders().iter_open().map(|o| (o.id, o.side)).collect();
    assert_eq!(open.len(), 2, "{open:?}");
    assert_eq!((open[0].1, open[1].1), (Side::Buy, Side::Sell));
    (open[0].0, open[1].0)
}

fn net(bench: &Bench) -> i64 {
    [BTC_A, BTC_B].iter().map(|&i| bench.desk().instrument_position(i).unwrap().qty.0).sum()
}

#[test]
fn fires_both_legs_in_one_pass_when_it_pays_after_fees() {
    let mut bench = bench();
    // Ask on A 50,010. Fees 0.1% each side and 0.02% edge: worth it from about 50,120.1.
    assert_eq!(sent(&dear(&mut bench, 50_120_00)), []);
    assert_eq!(sent(&dear(&mut bench, 50_120_30)), [(BTC_A, Side::Buy, 50_010_00, 2 * COIN), (BTC_B, Side::Sell, 50_120_30, 2 * COIN),]);
}

#[test]
fn fires_the_other_way_round_too() {
    let mut bench = bench();
    let outputs = bench.deep_book(BTC_B, &[(49_800_00, COIN)], &[(49_850_00, COIN)]);
    assert_eq!(sent(&outputs), [(BTC_B, Side::Buy, 49_850_00, COIN), (BTC_A, Side::Sell, 49_990_00, COIN)]);
}

#[test]
fn takes_as_deep_as_it_pays_and_no_more_than_both_sides_have() {
    let mut bench = bench();
    bench.deep_book(BTC_A, &[(49_000_00, COIN)], &[(50_000_00, COIN / 2), (50_010_00, COIN / 4), (50_190_00, 9 * COIN)]);
    let outputs = bench.deep_book(BTC_B, &[(50_200_00, COIN / 4), (50_150_00, COIN), (50_010_00, 9 * COIN)], &[(50_300_00, COIN)]);
    // Half a coin at 50,000 and a quarter at 50,010 against bids down to 50,150; the rest does not pay.
    assert_eq!(sent(&outputs), [(BTC_A, Side::Buy, 50_010_00, COIN / 4 * 3), (BTC_B, Side::Sell, 50_150_00, COIN / 4 * 3)]);
}

#[test]
fn quantities_are_on_lot_on_both_venues_and_within_the_bound() {
    let mut bench = bench();
    bench.deep_book(BTC_A, &[(49_000_00, COIN)], &[(50_000_00, 12_345_000)]);
    let outputs = bench.deep_book(BTC_B, &[(50_500_00, 5 * COIN)], &[(50_600_00, COIN)]);
    assert_eq!(sent(&outputs)[0].3, 12_340_000, "B's lot is the coarser one");
    let mut bench = bench_with(ArbitrageParameters { qty_max: Money::from_scaled(5, 1), ..parameters() }, |_| {});
    assert_eq!(sent(&dear(&mut bench, 50_500_00))[0].3, COIN / 2);
}

#[test]
fn limits_may_lie_beyond_by_the_slippage() {
    let mut bench = bench_with(ArbitrageParameters { slippage_ppm: 100, ..parameters() }, |_| {});
    let orders = sent(&dear(&mut bench, 50_500_00));
    assert_eq!((orders[0].2, orders[1].2), (50_015_00, 50_495_00), "0.01%, on tick");
}

#[test]
fn both_legs_filled_is_flat_and_the_next_attempt_waits_for_the_cooldown() {
    let mut bench = bench();
    dear(&mut bench, 50_500_00);
    let (buy, sell) = legs(&bench);
    bench.fill(buy, 50_010_00, 2 * COIN, 1);
    bench.fill(sell, 50_500_00, 2 * COIN, 1);
    assert_eq!(net(&bench), 0);
    assert_eq!(sent(&dear(&mut bench, 50_500_00)), []);
    bench.advance(100 * MS);
    let cash = |instrument| bench.desk().instrument_position(instrument).unwrap().cash();
    assert_eq!(cash(BTC_A) + cash(BTC_B), units(980), "2 * (50,500 - 50,010)");
    assert_eq!(sent(&bench.book(BTC_A, 49_990_00, 50_010_00)).len(), 2);
}

#[test]
fn a_half_filled_pair_is_hedged_where_it_pays_best_as_soon_as_no_leg_is_awaited() {
    let mut bench = bench();
    dear(&mut bench, 50_500_00);
    let (buy, sell) = legs(&bench);
    assert_eq!(sent(&bench.fill(buy, 50_010_00, 2 * COIN, 1)), [], "the other leg is awaited");
    bench.fill(sell, 50_500_00, COIN / 2, 1);
    let outputs = bench.gone(EventKind::OrderExpired, sell, Some(COIN / 2));
    // Long 1.5: sold on B, where the bid is higher; 0.2% below it.
    assert_eq!(sent(&outputs), [(BTC_B, Side::Sell, 50_399_00, COIN / 2 * 3)]);
    let hedge = bench.desk().orders().iter_open().next().unwrap().id;
    assert_eq!(sent(&dear(&mut bench, 50_500_00)), [], "nothing else meanwhile");
    bench.fill(hedge, 50_450_00, COIN / 2 * 3, 2);
    assert_eq!(net(&bench), 0);
}

#[test]
fn a_leg_that_never_left_is_hedged_by_position() {
    let mut bench = bench();
    dear(&mut bench, 50_500_00);
    let (buy, sell) = legs(&bench);
    bench.refused(EventKind::OrderReject, sell, RejectReason::NotSent);
    let outputs = bench.fill(buy, 50_010_00, 2 * COIN, 1);
    assert_eq!(sent(&outputs), [(BTC_B, Side::Sell, 50_399_00, 2 * COIN)]);
}

#[test]
fn an_unanswered_leg_is_hedged_after_its_time_and_hedged_back_if_it_filled_after_all() {
    let mut bench = bench();
    dear(&mut bench, 50_500_00);
    let (buy, sell) = legs(&bench);
    bench.fill(buy, 50_010_00, 2 * COIN, 1);
    bench.advance(SECOND - 1);
    bench.book(BTC_A, 49_990_00, 50_010_00);
    assert_eq!(sent(&bench.timer()), []);
    bench.advance(1);
    let orders = sent(&bench.timer());
    assert_eq!((orders.len(), orders[0].1, orders[0].3), (1, Side::Sell, 2 * COIN));
    let hedge = bench.desk().orders().iter_open().last().unwrap().id;
    bench.fill(hedge, 50_450_00, 2 * COIN, 2);
    assert_eq!(net(&bench), 0);
    // The sell had filled all along.
    bench.advance(2 * SECOND);
    bench.book(BTC_A, 49_990_00, 50_010_00);
    bench.book(BTC_B, 49_990_00, 50_010_00);
    let outputs = bench.fill(sell, 50_500_00, 2 * COIN, 3);
    let orders = sent(&outputs);
    assert_eq!((orders.len(), orders[0].1, orders[0].3), (1, Side::Buy, 2 * COIN), "short by 2 now");
}

#[test]
fn hedges_that_do_not_fill_are_tried_again_with_growing_pauses_elsewhere_too_and_nothing_new_is_opened() {
    let mut bench = bench();
    dear(&mut bench, 50_500_00);
    let (buy, sell) = legs(&bench);
    bench.fill(buy, 50_010_00, 2 * COIN, 1);
    bench.gone(EventKind::OrderExpired, sell, Some(0));
    let mut times = Vec::new();
    let mut venues = Vec::new();
    for _ in 0..4_000 {
        let open = bench.desk().orders().iter_open().next().cloned();
        if let Some(order) = open {
            assert_eq!(order.side, Side::Sell, "hedges only");
            assert_eq!(order.qty, Qty(2 * COIN));
            times.push(bench.now_ns);
            venues.push(order.venue.0);
            bench.gone(EventKind::OrderExpired, order.id, Some(0));
        }
        bench.advance(MS);
        bench.book(BTC_A, 49_990_00, 50_010_00);
        dear(&mut bench, 50_500_00);
        bench.timer();
    }
    let pauses: Vec<u64> = times.windows(2).map(|w| (w[1] - w[0]) / MS).collect();
    assert_eq!(pauses[..5], [100, 200, 400, 800, 800]);
    assert_eq!(venues[..6], [1, 1, 0, 0, 1, 1], "the next best venue has its turn");
}

/// Refuses openings of a chance that stays, for so long; when they were sent, in milliseconds.
fn refuse_for(bench: &mut Bench, ms: u64, reason: RejectReason) -> Vec<u64> {
    let mut times = Vec::new();
    for step in 0..ms {
        let open: Vec<_> = bench.desk().orders().iter_open().map(|o| o.id).collect();
        if !open.is_empty() {
            assert_eq!(open.len(), 2);
            times.push(step);
        }
        for order in open {
            bench.refused(EventKind::OrderReject, order, reason);
        }
        bench.advance(MS);
        bench.book(BTC_A, 49_990_00, 50_010_00);
        dear(bench, 50_500_00);
        bench.timer();
    }
    times
}

fn pauses(times: &[u64]) -> Vec<u64> {
    times.windows(2).map(|w| w[1] - w[0]).collect()
}

/// Pauses of 10 ms at least, and a cooldown that is shorter.
fn brisk() -> ArbitrageParameters {
    ArbitrageParameters { cooldown_ns: 5 * MS, retry_ns: 10 * MS, ..parameters() }
}

#[test]
fn openings_refused_for_the_rate_are_tried_less_and_less_and_at_full_speed_once_accepted() {
    let mut bench = bench_with(brisk(), |_| {});
    let times = refuse_for(&mut bench, 1_000, RejectReason::RateLimit);
    assert_eq!(pauses(&times), [10, 20, 40, 80, 160, 320, 320]);
    bench.advance(320 * MS);
    bench.book(BTC_A, 49_990_00, 50_010_00);
    for trade in 1..20 {
        dear(&mut bench, 50_500_00);
        let (buy, sell) = legs(&bench);
        bench.fill(buy, 50_010_00, COIN / 10, trade);
        bench.fill(sell, 50_500_00, COIN / 10, trade);
        for order in [buy, sell] {
            bench.gone(EventKind::OrderExpired, order, Some(COIN / 10));
        }
        bench.advance(5 * MS);
    }
    let times = refuse_for(&mut bench, 100, RejectReason::RateLimit);
    assert_eq!(pauses(&times)[..2], [10, 20]);
}

#[test]
fn openings_refused_for_something_else_wait_for_the_cooldown_only() {
    let mut bench = bench_with(brisk(), |_| {});
    let times = refuse_for(&mut bench, 100, RejectReason::InsufficientFunds);
    assert_eq!(pauses(&times), [5; 19]);
}

/// The two legs of an attempt right after pauses up to 160 ms.
fn legs_after_refusals(bench: &mut Bench) -> (OrderId, OrderId) {
    assert_eq!(refuse_for(bench, 311, RejectReason::RateLimit).len(), 5);
    legs(bench)
}

#[test]
fn one_leg_refused_for_the_rate_holds_the_pair_back() {
    let mut bench = bench_with(brisk(), |_| {});
    let (buy, sell) = legs_after_refusals(&mut bench);
    bench.refused(EventKind::OrderReject, sell, RejectReason::RateLimit);
    bench.gone(EventKind::OrderExpired, buy, Some(0));
    bench.advance(320 * MS - 1);
    assert_eq!(sent(&bench.book(BTC_A, 49_990_00, 50_010_00)), [], "B pauses, whatever A accepted");
    bench.advance(1);
    assert_eq!(sent(&dear(&mut bench, 50_500_00)).len(), 2);
}

#[test]
fn hedges_do_not_wait_for_the_pause_after_refusals_for_the_rate() {
    let mut bench = bench_with(brisk(), |_| {});
    let (buy, sell) = legs_after_refusals(&mut bench);
    bench.refused(EventKind::OrderReject, sell, RejectReason::RateLimit);
    let outputs = bench.fill(buy, 50_010_00, 2 * COIN, 1);
    assert_eq!(sent(&outputs), [(BTC_B, Side::Sell, 50_399_00, 2 * COIN)], "although B pauses for 320 ms");
    let hedge = bench.desk().orders().iter_open().next().unwrap().id;
    bench.refused(EventKind::OrderReject, hedge, RejectReason::RateLimit);
    bench.advance(10 * MS);
    assert_eq!(sent(&bench.timer()).len(), 1, "the hedge has a pause of its own");
    // That one is taken, and so B is free for the next pair, too.
    let hedge = bench.desk().orders().iter_open().next().unwrap().id;
    bench.fill(hedge, 50_450_00, 2 * COIN, 2);
    assert_eq!(net(&bench), 0);
    bench.advance(10 * MS);
    assert_eq!(sent(&bench.book(BTC_A, 49_990_00, 50_010_00)).len(), 2);
}

#[test]
fn the_pause_for_the_rate_is_part_of_the_state() {
    // What was not sent leaves everything else as it is after a refusal for the rate.
    let run = |reason| {
        let mut bench = bench_with(brisk(), |_| {});
        dear(&mut bench, 50_500_00);
        let (buy, sell) = legs(&bench);
        for order in [buy, sell] {
            bench.refused(EventKind::OrderReject, order, reason);
        }
        bench.core.state_hash()
    };
    assert_eq!(run(RejectReason::RateLimit), run(RejectReason::RateLimit));
    assert_eq!(run(RejectReason::NotSent), run(RejectReason::PostOnlyWouldTake));
    assert_ne!(run(RejectReason::RateLimit), run(RejectReason::NotSent));
}

#[test]
fn what_is_too_small_to_hedge_does_not_stop_it() {
    let mut bench = bench();
    dear(&mut bench, 50_500_00);
    let (buy, sell) = legs(&bench);
    bench.fill(buy, 50_010_00, 2 * COIN, 1);
    bench.fill(sell, 50_500_00, 2 * COIN - 5_000, 1);
    assert_eq!(sent(&bench.gone(EventKind::OrderExpired, sell, None)), [], "0.00005 BTC is less than any venue takes");
    bench.advance(100 * MS);
    assert_eq!(sent(&bench.book(BTC_A, 49_990_00, 50_010_00)).len(), 2);
}

#[test]
fn imbalance_within_the_bound_is_left_alone() {
    let mut bench = bench_with(ArbitrageParameters { imbalance_max: Money::from_scaled(5, 1), ..parameters() }, |_| {});
    dear(&mut bench, 50_500_00);
    let (buy, sell) = legs(&bench);
    bench.fill(buy, 50_010_00, COIN / 2, 1);
    bench.gone(EventKind::OrderExpired, sell, Some(0));
    assert_eq!(sent(&bench.gone(EventKind::OrderExpired, buy, Some(COIN / 2))), []);
}

#[test]
fn untrusted_old_and_unreachable_books_are_not_traded_on() {
    let mut bench = bench();
    bench.book_invalid(BTC_A, BookInvalid::Gap);
    assert_eq!(sent(&dear(&mut bench, 50_500_00)), []);
    bench.book(BTC_A, 49_990_00, 50_010_00);
    let mut bench = self::bench();
    bench.advance(SECOND + 1);
    assert_eq!(sent(&dear(&mut bench, 50_500_00)), [], "A's book is older than the bound");
    bench.feed(A, 1, FeedState::Down);
    assert_eq!(sent(&bench.book(BTC_A, 49_990_00, 50_010_00)), []);
}

#[test]
fn fires_both_legs_or_none() {
    // The second leg would be refused: the account on B has no coins to sell.
    let mut bench = bench_with(parameters(), |c| c.instrument_limits[1].as_mut().unwrap().notional_max = units(50));
    assert_eq!(dear(&mut bench, 50_500_00), []);
    assert_eq!(bench.desk().counters().submitted, 0);
    // And nothing at all while it may not trade.
    let mut bench = self::bench();
    bench.command(CommandKind::Pause, 0, 0);
    assert_eq!(dear(&mut bench, 50_500_00), []);
}

#[test]
fn the_second_leg_is_measured_against_what_the_first_one_took() {
    // Each alone would pass; there is room for one order.
    let mut bench = bench_with(parameters(), |c| c.strategies[0].limits.open_orders_max = 1);
    let outputs = dear(&mut bench, 50_500_00);
    assert_eq!(of_kind(&outputs, EventKind::SendNew).len(), 1);
    let counters = bench.desk().counters();
    assert_eq!((counters.submitted, counters.refusals.iter().sum::<u64>()), (1, 1));
}

#[test]
fn our_own_orders_are_no_liquidity() {
    let mut bench = bench();
    // The puppet bids on B above everybody, which the arbitrage sees in the book.
    let own = bench.ask_of(1, Ask::Place(engine_core::strategy::NewOrder { post_only: true, ..buy(BTC_B, 50_400_00, COIN) })).unwrap();
    bench.simple(EventKind::OrderAck, own);
    bench.deep_book(BTC_B, &[(50_400_00, COIN), (49_990_00, COIN)], &[(50_600_00, COIN)]);
    assert_eq!(of_kind(&bench.outputs, EventKind::SendNew).len(), 1);
    // A stranger bids higher: down to our own bid it is taken, not further.
    let outputs = bench.deep_book(BTC_B, &[(50_500_00, COIN / 2), (50_400_00, COIN)], &[(50_600_00, COIN)]);
    assert_eq!(sent(&outputs), [(BTC_A, Side::Buy, 50_010_00, COIN / 2), (BTC_B, Side::Sell, 50_500_00, COIN / 2)]);
}

#[test]
fn quote_assets_are_compared_at_their_value() {
    let mut config = config(vec![strategy_config("arb", &[BTC_A, BTC_B])]);
    let usd = config.assets.intern("USD");
    config.instruments.get_mut(BTC_B).unwrap().quote = usd;
    config.conversion = vec![(usd, Money::from_scaled(99, 2))];
    let arbitrage = Arbitrage::new(parameters(), &config.instruments, &[BTC_A, BTC_B]).unwrap();
    let mut bench = Bench::of(config, vec![Box::new(arbitrage)]);
    // At par it would pay; a dollar is worth 0.99 here, so B has to be dearer by that.
    assert_eq!(sent(&dear(&mut bench, 50_500_00)), []);
    assert_eq!(sent(&dear(&mut bench, 50_700_00)).len(), 2);
}

#[test]
fn impossible_parameters_are_named() {
    let config = config(vec![strategy_config("arb", &[BTC_A, BTC_B])]);
    let error = |p, own: &[InstrumentId]| Arbitrage::new(p, &config.instruments, own).err().unwrap();
    assert!(error(ArbitrageParameters { edge_min_ppm: -1, ..parameters() }, &[BTC_A, BTC_B]).contains("edge_min_ppm"));
    assert!(error(ArbitrageParameters { qty_max: Money::ZERO, ..parameters() }, &[BTC_A, BTC_B]).contains("qty_max"));
    assert!(error(ArbitrageParameters { retry_ns: 0, ..parameters() }, &[BTC_A, BTC_B]).contains("retry_ns"));
    assert!(error(parameters(), &[BTC_A, ETH_A]).contains("no other instrument"));
}
