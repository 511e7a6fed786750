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
