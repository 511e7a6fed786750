//! The market maker: where it quotes, when it moves, when it goes away.
#![allow(clippy::inconsistent_digit_grouping, reason = "prices are written as units and cents")]

mod support;

use engine_core::config::CoreConfig;
use engine_core::event::*;
use engine_core::fixed::{Price, Qty};
use engine_core::ids::*;
use engine_core::order::{Order, OrderState};
use engine_core::sizing::Sizing;
use engine_core::strategies::{MarketMaking, MarketMakingParameters};
use support::*;

fn calm() -> MarketMakingParameters {
    MarketMakingParameters {
        sizing: Sizing::Fixed(Qty(COIN)),
        half_spread_ppm: 1_000,
        edge_min_ppm: 100,
        volatility_multiple_ppm: 0,
        inventory_max: units(4),
        skew_ppm: 2_000,
        flow_lean_ppm: 0,
        refresh_ppm: 100,
        refresh_min_ns: 10 * MS,
        retry_ns: 500 * MS,
        ..Default::default()
    }
}

fn maker_in(instrument: InstrumentId, parameters: MarketMakingParameters, change: impl FnOnce(&mut CoreConfig)) -> Bench {
    let mut config = config(vec![strategy_config("mm", &[instrument])]);
    change(&mut config);
    let strategy = MarketMaking::new(parameters, &config.instruments, &[instrument]).unwrap();
    Bench::of(config, vec![Box::new(strategy)])
}

fn maker(instrument: InstrumentId, parameters: MarketMakingParameters) -> Bench {
    maker_in(instrument, parameters, |_| {})
}

fn open(bench: &Bench) -> Vec<Order> {
    bench.desk().orders().iter_open().cloned().collect()
}

fn quote(bench: &Bench, side: Side) -> Option<Order> {
    let mut quotes = open(bench).into_iter().filter(|o| o.side == side);
    let first = quotes.next();
    assert!(quotes.next().is_none(), "one order a side");
    first
}

fn price(bench: &Bench, side: Side) -> i64 {
    quote(bench, side).unwrap().pending.map_or_else(|| quote(bench, side).unwrap().price.0, |(p, _)| p.0)
}

fn ack_all(bench: &mut Bench) {
    for order in open(bench) {
        if order.state == OrderState::Pending {
            bench.simple(EventKind::OrderAck, order.id);
        }
    }
}

#[test]
fn quotes_both_sides_of_fair_at_the_half_spread() {
    let bench = maker(BTC_A, calm());
    let (bid, ask) = (quote(&bench, Side::Buy).unwrap(), quote(&bench, Side::Sell).unwrap());
    assert_eq!((bid.price, ask.price), (Price(49_950_00), Price(50_050_00)), "0.1% off 50,000");
    assert_eq!((bid.qty, ask.qty), (Qty(COIN), Qty(COIN)));
    assert!(bid.post_only && ask.post_only && !bid.ioc);
}

#[test]
fn fair_leans_to_the_thin_side_of_the_book() {
    let mut bench = maker(BTC_A, MarketMakingParameters { refresh_ppm: 10, ..calm() });
    ack_all(&mut bench);
    bench.advance(SECOND);
    bench.deep_book(BTC_A, &[(49_990_00, 30 * COIN)], &[(50_010_00, 10 * COIN)]);
    // Microprice 50,005: both quotes move up by 5.
    assert_eq!((price(&bench, Side::Buy), price(&bench, Side::Sell)), (49_954_99, 50_055_01));
}

#[test]
fn quotes_shift_against_the_inventory_and_only_the_reducing_side_is_left_at_its_limit() {
    let mut bench = maker(BTC_A, calm());
    ack_all(&mut bench);
    let bid = quote(&bench, Side::Buy).unwrap();
    bench.advance(SECOND);
    bench.fill(bid.id, 49_950_00, COIN, 1);
    // Long 1 of 4: 2,000 ppm / 4 lower.
    assert_eq!((price(&bench, Side::Buy), price(&bench, Side::Sell)), (49_925_02, 50_024_98));
    for trade in 2..5 {
        ack_all(&mut bench);
        let bid = quote(&bench, Side::Buy).unwrap();
        bench.advance(SECOND);
        bench.fill(bid.id, bid.price.0, bid.qty.0, trade);
    }
    assert_eq!(bench.desk().instrument_position(BTC_A).unwrap().qty, Qty(4 * COIN));
    assert!(quote(&bench, Side::Buy).is_none());
    assert!(quote(&bench, Side::Sell).is_some());
}

#[test]
fn the_minimum_edge_holds_whatever_the_skew() {
    let mut bench = maker(BTC_A, MarketMakingParameters { skew_ppm: 100_000, ..calm() });
    ack_all(&mut bench);
    let bid = quote(&bench, Side::Buy).unwrap();
    bench.advance(SECOND);
    bench.fill(bid.id, 49_950_00, COIN, 1);
    // Maker fee and edge, 100 ppm each, above fair; not further down although the skew says 2.5%.
    assert_eq!(price(&bench, Side::Sell), 50_010_00);
}

#[test]
fn volatility_widens_the_quotes() {
    let parameters = MarketMakingParameters { volatility_multiple_ppm: 1_000_000, volatility_interval_ns: MS, ..calm() };
    let mut bench = maker(BTC_A, parameters);
    ack_all(&mut bench);
    let before = price(&bench, Side::Sell) - price(&bench, Side::Buy);
    for step in 0..20 {
        bench.advance(20 * MS);
        let shift = if step % 2 == 0 { 5_00 } else { 0 };
        bench.book(BTC_A, 49_990_00 + shift, 50_010_00 + shift);
        for order in open(&bench) {
            if let Some((price, qty)) = order.pending {
                bench.replaced(order.id, price.0, qty.0);
            }
        }
    }
    assert!(price(&bench, Side::Sell) - price(&bench, Side::Buy) > before + 10_00);
}

#[test]
fn order_flow_leans_fair() {
    let mut bench = maker(BTC_A, MarketMakingParameters { flow_lean_ppm: 1_000, refresh_ppm: 10, ..calm() });
    ack_all(&mut bench);
    let before = price(&bench, Side::Buy);
    bench.advance(SECOND);
    // Bids grow, asks do as well: the microprice stays, but the flow was the buyers' first.
    bench.level(BTC_A, Side::Buy, 49_990_00, 20 * COIN);
    assert!(price(&bench, Side::Buy) > before);
}

#[test]
fn a_quote_is_amended_in_place_where_the_venue_can() {
    let mut bench = maker(BTC_A, calm());
    ack_all(&mut bench);
    let (bid, ask) = (quote(&bench, Side::Buy).unwrap(), quote(&bench, Side::Sell).unwrap());
    bench.advance(SECOND);
    let at = bench.outputs.len();
    bench.book(BTC_A, 50_090_00, 50_110_00);
    let replaces = of_kind(&bench.outputs[at..], EventKind::SendReplace);
    let sent: Vec<_> = replaces.iter().map(|e| (e.order_id(), e.order_price())).collect();
    assert_eq!(sent, [(bid.id, Price(50_049_90)), (ask.id, Price(50_150_10))]);
    assert_eq!(of_kind(&bench.outputs[at..], EventKind::SendCancel), []);
    // Another move while the answer is awaited asks for nothing.
    bench.advance(SECOND);
    let outputs = bench.book(BTC_A, 50_190_00, 50_210_00);
    assert_eq!(outputs, []);
    bench.replaced(bid.id, 50_049_90, COIN);
    assert_eq!(price(&bench, Side::Buy), 50_049_90, "the old ask may still be in the way");
    bench.replaced(ask.id, 50_150_10, COIN);
    bench.timer();
    assert_eq!((price(&bench, Side::Buy), price(&bench, Side::Sell)), (50_149_80, 50_250_20), "and then both move on");
}

#[test]
fn elsewhere_it_is_cancelled_and_placed_anew_once_it_is_gone() {
    let mut bench = maker(BTC_B, calm());
    ack_all(&mut bench);
    let bid = quote(&bench, Side::Buy).unwrap();
    bench.advance(SECOND);
    let outputs = bench.book(BTC_B, 50_090_00, 50_110_00);
    assert_eq!(of_kind(&outputs, EventKind::SendCancel).len(), 2);
    assert_eq!(of_kind(&outputs, EventKind::SendNew), []);
    let outputs = bench.gone(EventKind::OrderCanceled, bid.id, Some(0));
    assert_eq!(of_kind(&outputs, EventKind::SendNew)[0].order_price(), Price(50_049_90));
}

#[test]
fn small_moves_and_moves_too_soon_are_left_alone() {
    let mut bench = maker(BTC_A, calm());
    ack_all(&mut bench);
    bench.advance(SECOND);
    assert_eq!(bench.book(BTC_A, 49_994_00, 50_014_00), [], "80 ppm");
    let outputs = bench.book(BTC_A, 50_010_00, 50_030_00);
    assert_eq!(of_kind(&outputs, EventKind::SendReplace).len(), 2, "400 ppm");
    for order in open(&bench) {
        bench.replaced(order.id, order.pending.unwrap().0.0, COIN);
    }
    bench.advance(10 * MS - 1);
    assert_eq!(bench.book(BTC_A, 50_030_00, 50_050_00), [], "too soon");
    // But a quote that would give the edge away moves at once.
    let outputs = bench.book(BTC_A, 50_090_00, 50_110_00);
    assert_eq!(of_kind(&outputs, EventKind::SendReplace).iter().map(|e| e.side()).collect::<Vec<_>>(), [Some(Side::Sell)]);
}

#[test]
fn never_quotes_through_the_other_side() {
    let parameters = MarketMakingParameters { half_spread_ppm: 1, edge_min_ppm: 0, ..calm() };
    let mut bench = maker_in(BTC_A, parameters, |c| c.instruments.get_mut(BTC_A).unwrap().maker_fee_ppm = -1_000);
    let (bid, ask) = (quote(&bench, Side::Buy).unwrap(), quote(&bench, Side::Sell).unwrap());
    assert!(bid.price < Price(50_010_00) && ask.price > Price(49_990_00));
    ack_all(&mut bench);
    bench.advance(SECOND);
    bench.book(BTC_A, 49_999_99, 50_000_00);
    assert!(price(&bench, Side::Buy) <= 49_999_99 && price(&bench, Side::Sell) >= 50_000_00);
}

#[test]
fn pulls_both_quotes_while_the_book_cannot_be_trusted() {
    for how in 0..4 {
        let mut bench = maker_in(BTC_A, calm(), |c| c.limits.stale_after_ns = 2 * SECOND);
        ack_all(&mut bench);
        let outputs = match how {
            0 => bench.book_invalid(BTC_A, BookInvalid::Gap),
            1 => bench.feed(A, 0, FeedState::Down),
            2 => bench.level(BTC_A, Side::Buy, 50_010_00, COIN),
            _ => {
                bench.advance(2 * SECOND + 1);
                bench.timer()
            }
        };
        assert_eq!(of_kind(&outputs, EventKind::SendCancel).len(), 2, "way {how}");
        for order in open(&bench) {
            bench.gone(EventKind::OrderCanceled, order.id, Some(0));
        }
        assert_eq!(open(&bench).len(), 0, "and places nothing");
        bench.advance(1);
        bench.book(BTC_A, 49_990_00, 50_010_00);
        assert_eq!(open(&bench).len(), 2, "until the book is back");
    }
}

#[test]
fn stops_quoting_when_it_may_not_trade() {
    let mut bench = maker(BTC_A, calm());
    ack_all(&mut bench);
    bench.apply(Event::instrument_status(A, BTC_A, InstrumentStatus::CancelOnly, bench.times()));
    assert!(open(&bench).iter().all(|o| o.state == OrderState::PendingCancel));
    let mut bench = maker(BTC_A, calm());
    ack_all(&mut bench);
    bench.command(CommandKind::ColdPlaneBehind, 1, 0);
    bench.timer();
    assert!(open(&bench).iter().all(|o| o.state == OrderState::PendingCancel));
}

#[test]
fn pauses_a_side_after_a_reject() {
    let mut bench = maker(BTC_A, calm());
    let bid = quote(&bench, Side::Buy).unwrap();
    bench.refused(EventKind::OrderReject, bid.id, RejectReason::PostOnlyWouldTake);
    assert!(quote(&bench, Side::Buy).is_none() && quote(&bench, Side::Sell).is_some());
    bench.advance(500 * MS - 1);
    bench.timer();
    assert!(quote(&bench, Side::Buy).is_none());
    bench.advance(1);
    bench.timer();
    assert!(quote(&bench, Side::Buy).is_some());
}

/// Quotes with short times and no hurry: 0.05% either way leaves both where they keep their edge.
fn brisk() -> MarketMakingParameters {
    MarketMakingParameters { retry_ns: 10 * MS, refresh_min_ns: MS, ..calm() }
}

/// Moves the book by 0.05%, up or down in turn.
fn sway(bench: &mut Bench, step: u64) {
    let shift = if step.is_multiple_of(2) { 25_00 } else { 0 };
    bench.book(BTC_A, 49_990_00 + shift, 50_010_00 + shift);
}

/// Answers all that is on its way: orders and amends refused for `reason`, or accepted; cancels accepted. How many of
/// each: orders and amends, cancels.
fn answer_all(bench: &mut Bench, reason: Option<RejectReason>) -> (usize, usize) {
    let mut asked = (0, 0);
    for order in open(bench) {
        asked.0 += usize::from(matches!(order.state, OrderState::Pending | OrderState::PendingReplace));
        asked.1 += usize::from(order.state == OrderState::PendingCancel);
        match (order.state, reason) {
            (OrderState::Pending, Some(reason)) => drop(bench.refused(EventKind::OrderReject, order.id, reason)),
            (OrderState::Pending, None) => drop(bench.simple(EventKind::OrderAck, order.id)),
            (OrderState::PendingReplace, Some(reason)) => drop(bench.refused(EventKind::ReplaceReject, order.id, reason)),
            (OrderState::PendingReplace, None) => {
                let (price, qty) = order.pending.unwrap();
                bench.replaced(order.id, price.0, qty.0);
            }
            (OrderState::PendingCancel, _) => drop(bench.gone(EventKind::OrderCanceled, order.id, Some(0))),
            _ => {}
        }
    }
    asked
}

/// Refuses every order and amend for so long, in a swaying market; when they were asked for, in milliseconds, and how many
/// each time.
fn refuse_for(bench: &mut Bench, ms: u64, reason: RejectReason) -> Vec<(u64, usize)> {
    let mut asked = Vec::new();
    for step in 0..ms {
        let (requests, cancels) = answer_all(bench, Some(reason));
        assert_eq!(cancels, 0, "nothing is in danger");
        if requests > 0 {
            asked.push((step, requests));
        }
        bench.advance(MS);
        sway(bench, step);
        bench.timer();
    }
    asked
}

fn pauses(asked: &[(u64, usize)]) -> Vec<u64> {
    asked.windows(2).map(|w| w[1].0 - w[0].0).collect()
}

#[test]
fn refused_for_the_rate_orders_are_asked_for_less_and_less() {
    let mut bench = maker(BTC_A, brisk());
    let asked = refuse_for(&mut bench, 1_000, RejectReason::RateLimit);
    // A hundred times the shortest pause: 1 + 2 + 4 + 8 + 16 + 32 + 32, both sides at once.
    assert_eq!(pauses(&asked), [10, 20, 40, 80, 160, 320, 320]);
    assert!(asked.iter().all(|&(_, requests)| requests == 2), "{asked:?}");
    assert_eq!(bench.desk().counters().rejected, 16);
}

#[test]
fn refused_for_the_rate_amends_are_asked_for_less_and_less() {
    let mut bench = maker(BTC_A, brisk());
    ack_all(&mut bench);
    let before = open(&bench);
    bench.advance(MS);
    sway(&mut bench, 0);
    let asked = refuse_for(&mut bench, 1_000, RejectReason::RateLimit);
    let all: usize = asked.iter().map(|&(_, requests)| requests).sum();
    assert!((8..=16).contains(&all), "{asked:?}");
    // The market may be back where the quotes are when a pause ends: a millisecond later it is not.
    let near = |pause: u64, want: u64| pause.abs_diff(want) <= 2;
    assert!(pauses(&asked).iter().zip([10, 20, 40, 80, 160, 320, 320]).all(|(&pause, want)| near(pause, want)), "{asked:?}");
    let still: Vec<_> = open(&bench).iter().map(|o| (o.id, o.price)).collect();
    assert_eq!(still, before.iter().map(|o| (o.id, o.price)).collect::<Vec<_>>(), "the quotes rest where they were");
}

#[test]
fn refused_for_something_else_it_is_the_same_pause_each_time() {
    let mut bench = maker(BTC_A, brisk());
    let asked = refuse_for(&mut bench, 1_000, RejectReason::PostOnlyWouldTake);
    assert_eq!(pauses(&asked), [10; 99]);
}

#[test]
fn once_accepted_it_is_at_full_speed_again_and_pauses_start_short_again() {
    let mut bench = maker(BTC_A, brisk());
    refuse_for(&mut bench, 400, RejectReason::RateLimit);
    assert_eq!(open(&bench).len(), 0, "in the pause of 320 ms");
    bench.advance(300 * MS);
    bench.book(BTC_A, 49_990_00, 50_010_00);
    assert_eq!(answer_all(&mut bench, None), (2, 0));
    for step in 0..50 {
        bench.advance(MS);
        sway(&mut bench, step);
        assert_eq!(answer_all(&mut bench, None), (2, 0), "each millisecond, as often as the parameters have it: {step}");
    }
    bench.advance(MS);
    sway(&mut bench, 0);
    let asked = refuse_for(&mut bench, 100, RejectReason::RateLimit);
    assert!(asked.len() >= 3 && pauses(&asked)[0] <= 12 && (18..=22).contains(&pauses(&asked)[1]), "{asked:?}");
}

#[test]
fn one_side_accepted_leaves_the_other_no_more_than_the_shortest_pause() {
    let mut bench = maker(BTC_A, brisk());
    refuse_for(&mut bench, 310, RejectReason::RateLimit);
    let (bid, ask) = (quote(&bench, Side::Buy).unwrap(), quote(&bench, Side::Sell).unwrap());
    bench.refused(EventKind::OrderReject, ask.id, RejectReason::RateLimit);
    bench.simple(EventKind::OrderAck, bid.id);
    bench.advance(10 * MS - 1);
    bench.timer();
    assert!(quote(&bench, Side::Sell).is_none());
    bench.advance(1);
    bench.timer();
    assert!(quote(&bench, Side::Sell).is_some());
}

/// Both quotes rest, and a long pause for the rate has begun.
fn resting_in_a_long_pause(instrument: InstrumentId) -> Bench {
    let mut bench = maker(instrument, brisk());
    if instrument == BTC_A {
        ack_all(&mut bench);
        refuse_for(&mut bench, 400, RejectReason::RateLimit);
        bench.book(BTC_A, 49_990_00, 50_010_00);
        return bench;
    }
    // No amends here: a quote is lost, and its orders are refused.
    let (bid, ask) = (quote(&bench, Side::Buy).unwrap(), quote(&bench, Side::Sell).unwrap());
    bench.simple(EventKind::OrderAck, ask.id);
    bench.refused(EventKind::OrderReject, bid.id, RejectReason::RateLimit);
    for _ in 0..5 {
        while quote(&bench, Side::Buy).is_none() {
            bench.advance(MS);
            bench.timer();
        }
        bench.refused(EventKind::OrderReject, quote(&bench, Side::Buy).unwrap().id, RejectReason::RateLimit);
    }
    bench
}

#[test]
fn cancels_go_out_in_the_longest_pause_for_the_rate() {
    for how in 0..3 {
        let mut bench = resting_in_a_long_pause(BTC_A);
        assert_eq!(open(&bench).len(), 2);
        let outputs = match how {
            0 => bench.book_invalid(BTC_A, BookInvalid::Gap),
            1 => bench.feed(A, 0, FeedState::Down),
            _ => bench.apply(Event::instrument_status(A, BTC_A, InstrumentStatus::CancelOnly, bench.times())),
        };
        assert_eq!(of_kind(&outputs, EventKind::SendCancel).len(), 2, "way {how}");
    }
    // Where a move is a cancel, its first half goes out; the second waits.
    let mut bench = resting_in_a_long_pause(BTC_B);
    let outputs = bench.book(BTC_B, 50_090_00, 50_110_00);
    assert_eq!(kinds(&outputs), [EventKind::SendCancel, EventKind::OrderTransition]);
    assert_eq!(answer_all(&mut bench, None), (0, 1));
    bench.advance(100 * MS);
    bench.book(BTC_B, 50_090_00, 50_110_00);
    assert_eq!(open(&bench).len(), 0);
}

#[test]
fn an_amend_refused_for_the_rate_does_not_hold_the_cancel_back() {
    let mut bench = maker(BTC_A, brisk());
    ack_all(&mut bench);
    bench.advance(MS);
    sway(&mut bench, 0);
    assert_eq!(answer_all(&mut bench, Some(RejectReason::RateLimit)), (2, 0));
    let outputs = bench.book_invalid(BTC_A, BookInvalid::Gap);
    assert_eq!(of_kind(&outputs, EventKind::SendCancel).len(), 2, "at once");
}

#[test]
fn a_quote_that_gives_its_edge_away_is_cancelled_while_amends_pause_for_the_rate() {
    let mut bench = resting_in_a_long_pause(BTC_A);
    let (bid, ask) = (quote(&bench, Side::Buy).unwrap(), quote(&bench, Side::Sell).unwrap());
    // Up by 0.09%: the ask is 0.01% from fair, the bid further away than it should be.
    let outputs = bench.book(BTC_A, 50_035_00, 50_055_00);
    assert_eq!(of_kind(&outputs, EventKind::SendCancel).iter().map(|e| e.order_id()).collect::<Vec<_>>(), [ask.id]);
    assert_eq!(of_kind(&outputs, EventKind::SendReplace), []);
    assert_eq!(answer_all(&mut bench, None), (0, 1));
    assert_eq!(open(&bench).iter().map(|o| o.id).collect::<Vec<_>>(), [bid.id], "and not placed anew before the pause is over");
    bench.advance(320 * MS);
    bench.book(BTC_A, 50_035_00, 50_055_00);
    assert_eq!(answer_all(&mut bench, None), (2, 0));
    assert_eq!((price(&bench, Side::Buy), price(&bench, Side::Sell)), (49_994_95, 50_095_05));
}

#[test]
fn a_cancel_refused_for_the_rate_pauses_its_side_alone_and_never_longer() {
    let mut bench = maker(BTC_A, brisk());
    ack_all(&mut bench);
    bench.book_invalid(BTC_A, BookInvalid::Gap);
    let bid = quote(&bench, Side::Buy).unwrap().id;
    bench.gone(EventKind::OrderCanceled, quote(&bench, Side::Sell).unwrap().id, Some(0));
    let mut asked = Vec::new();
    for step in 0..100 {
        if quote(&bench, Side::Buy).unwrap().state == OrderState::PendingCancel {
            bench.refused(EventKind::CancelReject, bid, RejectReason::RateLimit);
            asked.push(step);
        }
        bench.advance(MS);
        bench.timer();
    }
    assert_eq!(asked, (0..100).step_by(10).collect::<Vec<_>>());
    bench.book(BTC_A, 49_990_00, 50_010_00);
    assert_eq!(quote(&bench, Side::Sell).unwrap().state, OrderState::Pending, "orders are free to go");
}

#[test]
fn each_instrument_has_its_own_pause_for_the_rate() {
    let config = config(vec![strategy_config("mm", &[BTC_A, ETH_A])]);
    let parameters = MarketMakingParameters { sizing: Sizing::Fixed(Qty(COIN / 10)), ..brisk() };
    let strategy = MarketMaking::new(parameters, &config.instruments, &[BTC_A, ETH_A]).unwrap();
    let mut bench = Bench::of(config, vec![Box::new(strategy)]);
    let of = |bench: &Bench, instrument| open(bench).iter().filter(|o| o.instrument == instrument).count();
    assert_eq!((of(&bench, BTC_A), of(&bench, ETH_A)), (2, 2));
    let (btc, eth): (Vec<_>, Vec<_>) = open(&bench).into_iter().partition(|o| o.instrument == BTC_A);
    btc.iter().for_each(|o| drop(bench.refused(EventKind::OrderReject, o.id, RejectReason::RateLimit)));
    bench.advance(MS);
    eth.iter().for_each(|o| drop(bench.gone(EventKind::OrderCanceled, o.id, Some(0))));
    assert_eq!((of(&bench, BTC_A), of(&bench, ETH_A)), (0, 2), "the other is quoted on");
    // Nor does what one is granted help the other.
    ack_all(&mut bench);
    bench.advance(9 * MS - 1);
    bench.timer();
    assert_eq!(of(&bench, BTC_A), 0);
    bench.advance(1);
    bench.timer();
    assert_eq!(of(&bench, BTC_A), 2);
}

#[test]
fn the_pause_for_the_rate_is_part_of_the_state() {
    // The same requests at the same times, refused for the rate as often, but for the order of the answers: the last accepted
    // one starts the pauses anew, and only the hash can tell before the next refusal.
    let run = |accepted_last: bool| {
        let mut bench = maker(BTC_A, brisk());
        ack_all(&mut bench);
        bench.advance(MS);
        sway(&mut bench, 0);
        let (bid, ask) = (quote(&bench, Side::Buy).unwrap(), quote(&bench, Side::Sell).unwrap());
        let (to, qty) = bid.pending.unwrap();
        if !accepted_last {
            bench.replaced(bid.id, to.0, qty.0);
        }
        bench.refused(EventKind::ReplaceReject, ask.id, RejectReason::RateLimit);
        if accepted_last {
            bench.replaced(bid.id, to.0, qty.0);
        }
        (bench.core.state_hash(), bench)
    };
    let next_pause = |bench: &mut Bench| {
        bench.advance(100 * MS);
        sway(bench, 1);
        sway(bench, 0);
        pauses(&refuse_for(bench, 100, RejectReason::RateLimit))[0]
    };
    let ((first, mut one), (again, _), (second, mut other)) = (run(false), run(false), run(true));
    assert_eq!(first, again);
    assert!((18..=22).contains(&next_pause(&mut one)) && (8..=12).contains(&next_pause(&mut other)));
    assert_ne!(first, second);
}

#[test]
fn a_replay_asks_for_the_same_at_the_same_times() {
    let run = || {
        let mut bench = maker(BTC_A, brisk());
        refuse_for(&mut bench, 500, RejectReason::RateLimit);
        let hash = bench.core.state_hash();
        bench.advance(200 * MS);
        sway(&mut bench, 0);
        answer_all(&mut bench, None);
        refuse_for(&mut bench, 100, RejectReason::RateLimit);
        (hash, bench.core.state_hash(), bench.outputs)
    };
    assert!(run() == run());
}

#[test]
fn an_order_of_unknown_fate_is_never_doubled() {
    let mut bench = maker(BTC_A, calm());
    let bid = quote(&bench, Side::Buy).unwrap();
    bench.simple(EventKind::OrderUncertain, bid.id);
    bench.advance(SECOND);
    bench.book(BTC_A, 50_090_00, 50_110_00);
    bench.timer();
    assert_eq!(quote(&bench, Side::Buy).unwrap().id, bid.id);
    bench.session(2);
    bench.feed(A, 0, FeedState::Up);
    bench.feed(A, 1, FeedState::Up);
    bench.book(BTC_A, 49_990_00, 50_010_00);
    assert_eq!(quote(&bench, Side::Buy).unwrap().id, bid.id, "nor after a restart");
    bench.reconcile(A, 0, 0);
    bench.advance(10 * SECOND);
    bench.status(bid.id, VenueOrderStatus::NotFound, 0, 0, 0);
    bench.reconcile(A, 1, 0);
    bench.advance(500 * MS);
    bench.book(BTC_A, 49_990_00, 50_010_00);
    let renewed = quote(&bench, Side::Buy).unwrap();
    assert_eq!((renewed.id.epoch(), renewed.state), (2, OrderState::Pending));
}

#[test]
fn quotes_no_more_than_the_account_can_pay_for() {
    let mut bench = maker_in(BTC_A, calm(), |_| {});
    for order in open(&bench) {
        bench.gone(EventKind::OrderCanceled, order.id, Some(0));
    }
    let poor = maker_in(BTC_A, MarketMakingParameters { sizing: Sizing::Fixed(Qty(20 * COIN)), inventory_max: units(30), ..calm() }, |c| {
        c.instruments.get_mut(BTC_A).unwrap().qty_max = Qty(70 * COIN);
    });
    let (bid, ask) = (quote(&poor, Side::Buy).unwrap(), quote(&poor, Side::Sell).unwrap());
    assert_eq!((bid.qty, ask.qty), (Qty(20 * COIN), Qty(20 * COIN)));
}

#[test]
fn impossible_parameters_are_named() {
    let config = config(vec![strategy_config("mm", &[BTC_A])]);
    let error = |parameters| MarketMaking::new(parameters, &config.instruments, &[BTC_A]).err().unwrap();
    assert!(error(MarketMakingParameters { half_spread_ppm: 0, ..calm() }).contains("half_spread_ppm"));
    assert!(error(MarketMakingParameters { skew_ppm: -1, ..calm() }).contains("skew_ppm"));
    assert!(error(MarketMakingParameters { inventory_max: units(0), ..calm() }).contains("inventory_max"));
    assert!(error(MarketMakingParameters { retry_ns: 0, ..calm() }).contains("retry_ns"));
    assert!(MarketMaking::new(calm(), &config.instruments, &[InstrumentId(9)]).is_err());
    assert!(MarketMaking::new(calm(), &config.instruments, &[BTC_A, BTC_A]).is_err());
}

#[test]
fn no_refusal_of_an_amend_holds_a_cancel_back() {
    let mut bench = maker(BTC_A, brisk());
    ack_all(&mut bench);
    bench.advance(MS);
    sway(&mut bench, 0);
    assert_eq!(answer_all(&mut bench, Some(RejectReason::PostOnlyWouldTake)), (2, 0));
    let outputs = bench.book_invalid(BTC_A, BookInvalid::Gap);
    assert_eq!(of_kind(&outputs, EventKind::SendCancel).len(), 2, "at once");
}
