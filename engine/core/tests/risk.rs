//! Each refusal of the catalogue, by the order that it is for.
#![allow(clippy::inconsistent_digit_grouping, reason = "prices are written as units and cents")]

mod support;

use engine_core::config::{AssetLimits, CoreConfig, RateLimit};
use engine_core::event::*;
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::*;
use engine_core::instrument::Instrument;
use engine_core::risk::Refusal;
use engine_core::strategy::NewOrder;
use support::*;

/// Narrows one limit.
type Narrow = fn(&mut CoreConfig);

fn narrowed(change: impl FnOnce(&mut CoreConfig)) -> Bench {
    let mut config = config(vec![strategy_config("puppet", &[BTC_A, BTC_B, ETH_A])]);
    change(&mut config);
    Bench::with(config)
}

fn fine() -> NewOrder {
    buy(BTC_A, 49_000_00, COIN)
}

/// The order is refused for this reason: counted, given out, and nothing sent.
#[track_caller]
fn refused(bench: &mut Bench, order: NewOrder, why: Refusal) {
    let before = bench.desk().counters().refused_for(why);
    let sent = bench.desk().counters().submitted;
    let at = bench.outputs.len();
    assert_eq!(bench.place(order), Err(why));
    assert_eq!(bench.desk().counters().refused_for(why), before + 1);
    assert_eq!(bench.desk().counters().submitted, sent);
    let given = of_kind(&bench.outputs[at..], EventKind::RiskRefusal);
    assert_eq!(given.len(), 1, "given out as an event");
    assert_eq!((given[0].code, given[0].order_price(), given[0].order_qty()), (why as u32, order.price, order.qty));
    assert_eq!(of_kind(&bench.outputs[at..], EventKind::SendNew), []);
}

#[test]
fn a_sound_order_passes_and_is_sent_once() {
    let mut bench = Bench::new();
    let id = bench.place(fine()).unwrap();
    assert_eq!(id, OrderId::new(1, 1));
    let sent = of_kind(&bench.outputs, EventKind::SendNew);
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].order_id(), sent[0].order_price(), sent[0].order_qty()), (id, Price(49_000_00), Qty(COIN)));
    assert_eq!((sent[0].venue_id(), sent[0].instrument_id(), sent[0].side(), sent[0].poll_delay_ns), (A, BTC_A, Some(Side::Buy), 100));
    let id = bench.place(NewOrder { ioc: true, ..sell(BTC_B, 50_000_00, COIN) }).unwrap();
    assert_eq!(id, OrderId::new(1, 2));
    assert!(bench.outputs.iter().any(|e| e.kind == EventKind::SendNew as u8 && e.has(flags::IOC) && e.venue_id() == B));
}

#[test]
fn no_session_no_orders() {
    let mut bench = Bench::cold(config(vec![strategy_config("puppet", &[BTC_A])]));
    refused(&mut bench, fine(), Refusal::NoSession);
}

#[test]
fn switches_refuse_until_they_are_lifted() {
    let mut bench = Bench::new();
    bench.command(CommandKind::Kill, 0, 0);
    refused(&mut bench, fine(), Refusal::Halted);
    bench.command(CommandKind::Resume, 0, 0);
    assert!(bench.place(fine()).is_ok());

    bench.advance(1); // Nothing but the switch is in the way.
    bench.command(CommandKind::Pause, 0, 0);
    refused(&mut bench, fine(), Refusal::Paused);
    bench.command(CommandKind::Resume, 0, 0);
    assert!(bench.place(fine()).is_ok());

    bench.command(CommandKind::ColdPlaneBehind, 1, 0);
    refused(&mut bench, fine(), Refusal::ColdPlaneBehind);
    bench.command(CommandKind::ColdPlaneBehind, 0, 0);

    bench.command(CommandKind::EnableStrategy, 0, 0);
    refused(&mut bench, fine(), Refusal::StrategyDisabled);
    bench.command(CommandKind::EnableStrategy, 0, 1);
    bench.advance(1);
    assert!(bench.place(fine()).is_ok());

    bench.command(CommandKind::Shutdown, 0, 0);
    refused(&mut bench, fine(), Refusal::ShuttingDown);
    bench.command(CommandKind::Resume, 0, 0);
    refused(&mut bench, fine(), Refusal::ShuttingDown);
}

#[test]
fn bounds_on_the_quantity_hold_where_no_other_limit_is_near() {
    let mut bench = narrowed(|c| {
        let limits = c.instrument_limits[0].as_mut().unwrap();
        (limits.order_min, limits.order_max) = (Qty(COIN), Qty(2 * COIN));
    });
    refused(&mut bench, buy(BTC_A, 49_000_00, COIN - 1_000), Refusal::QtyBelowMin);
    refused(&mut bench, buy(BTC_A, 49_000_00, 2 * COIN + 1_000), Refusal::QtyAboveMax);
    assert!(bench.place(buy(BTC_A, 49_000_00, COIN)).is_ok());
    assert!(bench.place(buy(BTC_A, 49_000_00, 2 * COIN)).is_ok());
}

#[test]
fn nothing_is_opened_in_what_has_no_value_in_the_reporting_asset_yet() {
    // What a euro is worth is known from the book of EUR/USDT, which is not there at first.
    let (eur, eur_usdt, btc_eur) = (AssetId(3), InstrumentId(3), InstrumentId(4));
    let mut bench = narrowed(|c| {
        assert_eq!(c.assets.intern("EUR"), eur);
        let like = c.instruments[BTC_A].clone();
        c.instruments.add(Instrument { symbol: "EURUSDT".into(), base: eur, ..like.clone() }).unwrap();
        c.instruments.add(Instrument { symbol: "BTCEUR".into(), quote: eur, ..like }).unwrap();
        c.instrument_limits.resize(5, c.instrument_limits[0]);
        c.asset_limits.push(AssetLimits { asset: eur, exposure_max: units(10_000_000) });
        c.strategies[0].instruments.extend([eur_usdt, btc_eur]);
    });
    bench.balance(A, eur, units(1_000_000));
    bench.book(btc_eur, 45_000_00, 45_001_00);
    refused(&mut bench, buy(btc_eur, 45_000_00, COIN), Refusal::NoReference);
    bench.book(eur_usdt, 1_10, 1_11);
    bench.timer();
    bench.book(btc_eur, 45_000_00, 45_001_00);
    assert!(bench.place(buy(btc_eur, 45_000_00, COIN)).is_ok());
}

#[test]
fn a_venue_must_be_up_reconciled_and_on_time() {
    let mut bench = Bench::new();
    bench.feed(A, 1, FeedState::Maintenance);
    refused(&mut bench, fine(), Refusal::OrderEntryDown);
    bench.feed(A, 1, FeedState::Down);
    refused(&mut bench, fine(), Refusal::OrderEntryDown);
    bench.feed(A, 1, FeedState::Up);
    refused(&mut bench, fine(), Refusal::NotReconciled);
    assert!(bench.place(buy(BTC_B, 49_000_00, COIN)).is_ok(), "the other venue is not concerned");
    bench.reconcile(A, 1, 0);
    refused(&mut bench, fine(), Refusal::NotReconciled);
    bench.reconcile(A, 0, 0);
    bench.reconcile(A, 1, 3);
    refused(&mut bench, fine(), Refusal::NotReconciled);
    bench.reconcile(A, 0, 0);
    bench.reconcile(A, 1, 0);
    bench.apply(Event { venue: A.0, ..Event::command(CommandKind::ClockOffset, (-501 * MS as i64) as u64, 0, bench.times()) });
    refused(&mut bench, fine(), Refusal::ClockSkew);
    bench.apply(Event { venue: A.0, ..Event::command(CommandKind::ClockOffset, 499 * MS, 0, bench.times()) });
    assert!(bench.place(fine()).is_ok());
}

#[test]
fn instrument_status_is_obeyed() {
    let mut bench = Bench::new();
    let status = |bench: &mut Bench, status: InstrumentStatus| {
        bench.apply(Event::instrument_status(A, BTC_A, status, bench.times()));
    };
    for closed in [InstrumentStatus::Halted, InstrumentStatus::CancelOnly, InstrumentStatus::Unknown] {
        status(&mut bench, closed);
        refused(&mut bench, fine(), Refusal::InstrumentClosed);
    }
    status(&mut bench, InstrumentStatus::PostOnly);
    refused(&mut bench, fine(), Refusal::PostOnlyMarket);
    assert!(bench.place(NewOrder { post_only: true, ..fine() }).is_ok());
    status(&mut bench, InstrumentStatus::ReduceOnly);
    refused(&mut bench, fine(), Refusal::ReduceOnlyMarket);
    status(&mut bench, InstrumentStatus::LimitOnly);
    bench.advance(1);
    let id = bench.place(fine()).unwrap();
    bench.fill(id, 49_000_00, COIN, 1);
    status(&mut bench, InstrumentStatus::ReduceOnly);
    assert!(bench.place(sell(BTC_A, 51_000_00, COIN)).is_ok(), "reduces what was bought");
    refused(&mut bench, sell(BTC_A, 51_000_00, 2_000), Refusal::ReduceOnlyMarket);
}

#[test]
fn untrusted_books_let_only_reducing_orders_through() {
    let mut bench = narrowed(|c| c.limits.stale_after_ns = 2 * SECOND);
    bench.book_invalid(BTC_A, BookInvalid::Gap);
    refused(&mut bench, fine(), Refusal::BookInvalid);
    bench.book(BTC_A, 49_990_00, 50_010_00);
    bench.advance(2 * SECOND);
    let id = bench.place(fine()).unwrap();
    bench.fill(id, 49_000_00, COIN, 1);
    bench.advance(1);
    refused(&mut bench, fine(), Refusal::BookStale);
    refused(&mut bench, sell(BTC_A, 50_000_00, COIN + 1_000), Refusal::BookStale);
    assert!(bench.place(sell(BTC_A, 50_000_00, COIN / 2)).is_ok(), "against the last mark");
    bench.book_invalid(BTC_A, BookInvalid::Checksum);
    assert!(bench.place(sell(BTC_A, 50_000_01, COIN / 2)).is_ok());
    refused(&mut bench, sell(BTC_A, 50_000_02, COIN / 2), Refusal::BookInvalid);
    bench.deep_book(BTC_A, &[(49_990_00, COIN)], &[(50_010_00, COIN)]);
    bench.level(BTC_A, Side::Sell, 50_010_00, 0);
    refused(&mut bench, fine(), Refusal::NoReference);
}

#[test]
fn without_the_setting_even_reducing_orders_need_a_fresh_book() {
    let mut bench = narrowed(|c| c.limits.reduce_when_stale = false);
    let id = bench.place(fine()).unwrap();
    bench.fill(id, 49_000_00, COIN, 1);
    bench.book_invalid(BTC_A, BookInvalid::Gap);
    refused(&mut bench, sell(BTC_A, 50_000_00, COIN), Refusal::BookInvalid);
}

#[test]
fn ids_out_of_range_and_strangers_instruments_are_refused() {
    let mut bench = Bench::with(config(vec![strategy_config("puppet", &[BTC_A])]));
    refused(&mut bench, buy(InstrumentId(77), 1, 1), Refusal::UnknownInstrument);
    refused(&mut bench, buy(ETH_A, 2_000_00, COIN), Refusal::InstrumentNotAllowed);
}

#[test]
fn the_order_itself_must_fit_the_instrument() {
    let mut bench = narrowed(|c| {
        let limits = c.instrument_limits[1].as_mut().unwrap();
        limits.order_min = Qty(20_000);
        limits.order_max = Qty(2 * COIN);
        limits.notional_max = units(60_000);
    });
    refused(&mut bench, buy(BTC_B, 0, COIN), Refusal::PriceOutOfBounds);
    refused(&mut bench, buy(BTC_B, -10, COIN), Refusal::PriceOutOfBounds);
    refused(&mut bench, buy(BTC_B, i64::MAX, COIN), Refusal::PriceOutOfBounds);
    refused(&mut bench, buy(BTC_B, 49_000_05, COIN), Refusal::PriceOffTick);
    refused(&mut bench, buy(BTC_B, 49_000_00, 0), Refusal::QtyOutOfBounds);
    refused(&mut bench, buy(BTC_B, 49_000_00, i64::MIN), Refusal::QtyOutOfBounds);
    refused(&mut bench, buy(BTC_B, 49_000_00, 15_000), Refusal::QtyOffLot);
    refused(&mut bench, buy(BTC_B, 49_000_00, 10_000), Refusal::QtyBelowMin);
    refused(&mut bench, buy(BTC_B, 49_000_00, 3 * COIN), Refusal::QtyAboveMax);
    refused(&mut bench, buy(BTC_A, 49_000_00, 10_000), Refusal::NotionalBelowMin);
    refused(&mut bench, buy(BTC_B, 49_000_00, 2 * COIN), Refusal::NotionalAboveMax);
    refused(&mut bench, NewOrder { post_only: true, ioc: true, ..fine() }, Refusal::BadFlags);
    refused(&mut bench, buy(BTC_A, 44_999_99, COIN), Refusal::PriceCollar);
    refused(&mut bench, sell(BTC_A, 55_000_01, COIN), Refusal::PriceCollar);
    assert!(bench.place(buy(BTC_A, 45_000_00, COIN)).is_ok());
    assert!(bench.place(sell(BTC_A, 55_000_00, COIN)).is_ok());
}

#[test]
fn post_only_needs_a_venue_that_has_it() {
    let mut config = config(vec![strategy_config("puppet", &[BTC_A])]);
    config.instruments.get_mut(BTC_A).unwrap().capabilities.post_only = false;
    let mut bench = Bench::with(config);
    refused(&mut bench, NewOrder { post_only: true, ..fine() }, Refusal::BadFlags);
}

#[test]
fn never_trades_with_itself_whoever_of_us_it_is() {
    let both = vec![strategy_config("one", &[BTC_A]), strategy_config("two", &[BTC_A])];
    let mut bench = Bench::with(config(both));
    let ask = bench.place(sell(BTC_A, 50_100_00, COIN)).unwrap();
    let crossing = |price| Ask::Place(buy(BTC_A, price, COIN));
    assert_eq!(bench.ask_of(1, crossing(50_100_00)), Err(Refusal::SelfTrade));
    assert_eq!(bench.ask_of(0, crossing(50_200_00)), Err(Refusal::SelfTrade));
    assert!(bench.ask_of(1, crossing(50_099_99)).is_ok());
    bench.cancel(ask).unwrap();
    bench.advance(1);
    assert_eq!(bench.ask_of(1, crossing(50_100_00)), Err(Refusal::SelfTrade), "a cancel on its way may lose");
    bench.gone(EventKind::OrderCanceled, ask, Some(0));
    assert!(bench.ask_of(1, crossing(50_100_00)).is_ok());
}

#[test]
fn a_replace_on_its_way_counts_at_both_prices() {
    let mut bench = Bench::new();
    let ask = bench.place(sell(BTC_A, 50_500_00, COIN)).unwrap();
    bench.simple(EventKind::OrderAck, ask);
    bench.replace(ask, 50_100_00, COIN).unwrap();
    refused(&mut bench, buy(BTC_A, 50_100_00, COIN), Refusal::SelfTrade);
    bench.refused(EventKind::ReplaceReject, ask, RejectReason::Other);
    assert!(bench.place(buy(BTC_A, 50_100_00, COIN)).is_ok());
}

#[test]
fn the_same_order_again_is_a_duplicate_for_a_while() {
    let mut bench = narrowed(|c| c.limits.duplicate_window_ns = 10 * MS);
    bench.place(fine()).unwrap();
    refused(&mut bench, fine(), Refusal::Duplicate);
    assert!(bench.place(NewOrder { price: Price(49_000_01), ..fine() }).is_ok());
    assert!(bench.place(fine()).is_ok(), "it is not the last one any more");
    bench.advance(10 * MS - 1);
    refused(&mut bench, fine(), Refusal::Duplicate);
    bench.advance(1);
    assert!(bench.place(fine()).is_ok());
}

#[test]
fn open_orders_are_bounded_in_every_scope() {
    let scopes: [(Narrow, Refusal); 4] = [
        (|c| c.instrument_limits[0].as_mut().unwrap().open_orders_max = 2, Refusal::OpenOrdersInstrument),
        (|c| c.venues[0].open_orders_max = 2, Refusal::OpenOrdersVenue),
        (|c| c.strategies[0].limits.open_orders_max = 2, Refusal::OpenOrdersStrategy),
        (|c| c.limits.open_orders_max = 2, Refusal::OpenOrdersTotal),
    ];
    for (narrow, why) in scopes {
        let mut bench = narrowed(narrow);
        let first = bench.place(buy(BTC_A, 49_000_00, COIN)).unwrap();
        let second = bench.place(buy(BTC_A, 49_000_01, COIN)).unwrap();
        refused(&mut bench, buy(BTC_A, 49_000_02, COIN), why);
        bench.gone(EventKind::OrderExpired, first, Some(0));
        bench.simple(EventKind::OrderUncertain, second);
        assert!(bench.place(buy(BTC_A, 49_000_03, COIN)).is_ok(), "{why}: a closed order frees a place");
        refused(&mut bench, buy(BTC_A, 49_000_04, COIN), why); // an unknown one does not
    }
}

#[test]
fn positions_are_bounded_with_everything_open_filled() {
    let mut bench = narrowed(|c| c.instrument_limits[0].as_mut().unwrap().position_max = Qty(3 * COIN));
    let first = bench.place(buy(BTC_A, 49_000_00, 2 * COIN)).unwrap();
    refused(&mut bench, buy(BTC_A, 49_000_00, COIN + 1_000), Refusal::PositionInstrument);
    bench.fill(first, 49_000_00, 2 * COIN, 1);
    refused(&mut bench, buy(BTC_A, 49_000_00, COIN + 1_000), Refusal::PositionInstrument);
    let second = bench.place(buy(BTC_A, 49_000_00, COIN)).unwrap();
    assert!(bench.place(sell(BTC_A, 50_500_00, 5 * COIN)).is_ok(), "short by 3 at worst");
    refused(&mut bench, sell(BTC_A, 50_500_00, 1_000 * 20), Refusal::PositionInstrument);
    bench.gone(EventKind::OrderCanceled, second, Some(0));
    assert!(bench.place(buy(BTC_A, 49_000_10, COIN)).is_ok());
}

#[test]
fn strategies_have_position_limits_of_their_own() {
    let mut config = config(vec![strategy_config("one", &[BTC_A]), strategy_config("two", &[BTC_A])]);
    config.strategies[0].limits.position_max = units(1);
    let mut bench = Bench::with(config);
    refused(&mut bench, buy(BTC_A, 49_000_00, COIN + 1_000), Refusal::PositionStrategy);
    assert!(bench.ask_of(1, Ask::Place(buy(BTC_A, 49_000_00, 2 * COIN))).is_ok());
    assert!(bench.place(buy(BTC_A, 49_000_00, COIN)).is_ok(), "the other's do not count");
}

#[test]
fn net_exposure_of_an_asset_adds_up_over_venues() {
    let mut bench = narrowed(|c| c.asset_limits[0].exposure_max = units(3));
    bench.place(buy(BTC_A, 49_000_00, 2 * COIN)).unwrap();
    refused(&mut bench, buy(BTC_B, 49_000_00, COIN + 10_000), Refusal::ExposureAsset);
    assert!(bench.place(buy(BTC_B, 49_000_00, COIN)).is_ok());
    assert!(bench.place(sell(BTC_B, 50_500_00, 3 * COIN)).is_ok());
    refused(&mut bench, sell(BTC_A, 50_500_00, 20_000), Refusal::ExposureAsset);

    // A limit on a quote asset bounds what is paid in it.
    let mut bench = narrowed(|c| c.asset_limits.push(AssetLimits { asset: USDT, exposure_max: units(60_000) }));
    bench.place(buy(BTC_A, 49_000_00, COIN)).unwrap();
    refused(&mut bench, buy(ETH_A, 2_000_00, 6 * COIN), Refusal::ExposureAsset);
    assert!(bench.place(buy(ETH_A, 2_000_00, 5 * COIN)).is_ok());
}

#[test]
fn gross_exposure_is_bounded_by_venue_strategy_and_in_all() {
    let scopes: [(Narrow, Refusal); 3] = [
        (|c| c.venues[0].exposure_max = units(120_000), Refusal::ExposureVenue),
        (|c| c.strategies[0].limits.exposure_max = Some(units(120_000)), Refusal::ExposureStrategy),
        (|c| c.limits.exposure_max = units(120_000), Refusal::ExposureTotal),
    ];
    for (narrow, why) in scopes {
        let mut bench = narrowed(narrow);
        let first = bench.place(buy(BTC_A, 50_000_00, 2 * COIN)).unwrap();
        bench.fill(first, 50_000_00, 2 * COIN, 1);
        refused(&mut bench, buy(ETH_A, 2_000_00, 11 * COIN), why);
        refused(&mut bench, sell(ETH_A, 2_000_00, 11 * COIN), why);
        assert!(bench.place(sell(BTC_A, 50_100_00, 4 * COIN)).is_ok(), "{why}: as short as it is long now");
        let eth = bench.place(buy(ETH_A, 2_000_00, 10 * COIN)).unwrap();
        assert_eq!(bench.desk().gate().exposure.total(), units(120_000));
        bench.gone(EventKind::OrderCanceled, eth, Some(0));
        assert_eq!(bench.desk().gate().exposure.total(), units(100_000));
        // The market moves: so does the value of what is held.
        bench.book(BTC_A, 59_990_00, 60_010_00);
        bench.timer();
        assert_eq!(bench.desk().gate().exposure.total(), units(120_000));
        refused(&mut bench, buy(ETH_A, 2_000_00, COIN), why);
    }
}

#[test]
fn what_is_held_cannot_be_spent_twice() {
    let mut bench = Bench::new();
    let usdt = |bench: &Bench| bench.desk().available(A, USDT);
    assert_eq!(usdt(&bench), units(5_000_000));
    bench.balance(A, USDT, units(5_000_000));
    let id = bench.place(buy(BTC_A, 50_000_00, COIN)).unwrap();
    let held = units(5_000_000) - usdt(&bench);
    assert!(held >= units(50_050) && held < units(50_050) + Money::from_scaled(1, 3), "with the taker fee: {held}");
    bench.fill(id, 50_000_00, COIN / 2, 1);
    let spent = units(5_000_000) - usdt(&bench);
    assert!(spent >= units(50_025) && spent < units(50_026), "half paid, half held: {spent}");
    bench.gone(EventKind::OrderCanceled, id, Some(COIN / 2));
    assert_eq!(usdt(&bench), units(4_975_000));
}

#[test]
fn a_balance_that_is_not_there_is_not_spent() {
    let mut config = config(vec![strategy_config("puppet", &[BTC_A, ETH_A])]);
    config.asset_limits[1].exposure_max = units(1_000);
    config.instrument_limits[2].as_mut().unwrap().position_max = Qty(1_000 * COIN);
    config.strategies[0].limits.position_max = units(1_000);
    let mut bench = Bench::with(config);
    for price in 0..5 {
        bench.place(sell(ETH_A, 2_000_00 + price, 20 * COIN)).unwrap();
    }
    refused(&mut bench, sell(ETH_A, 2_010_00, 10_000 * 100), Refusal::Balance);
}

#[test]
fn rates_are_bounded_in_every_scope() {
    const RATE: RateLimit = RateLimit { count: 2, window_ns: 10 * MS };
    let scopes: [(Narrow, Refusal); 4] = [
        (|c| c.strategies[0].limits.order_rate = RATE, Refusal::OrderRateStrategy),
        (|c| c.venues[0].order_rate = RATE, Refusal::OrderRateVenue),
        (|c| c.limits.order_rate = RATE, Refusal::OrderRateTotal),
        (|c| c.venues[0].message_rate = RATE, Refusal::MessageBudget),
    ];
    for (narrow, why) in scopes {
        let mut bench = narrowed(narrow);
        bench.place(buy(BTC_A, 49_000_00, COIN)).unwrap();
        bench.advance(MS);
        bench.place(buy(BTC_A, 49_000_01, COIN)).unwrap();
        refused(&mut bench, buy(BTC_A, 49_000_02, COIN), why);
        bench.advance(9 * MS);
        assert!(bench.place(buy(BTC_A, 49_000_03, COIN)).is_ok(), "{why}");
        refused(&mut bench, buy(BTC_A, 49_000_04, COIN), why);
    }
}

#[test]
fn cancels_have_a_rate_of_their_own_and_use_the_message_budget() {
    let mut bench = narrowed(|c| {
        c.limits.cancel_rate = RateLimit { count: 1, window_ns: 10 * MS };
        c.venues[0].message_rate = RateLimit { count: 3, window_ns: 10 * MS };
    });
    let (first, second) = (bench.resting(), bench.resting());
    assert_eq!(bench.cancel(first), Ok(first));
    assert_eq!(bench.cancel(first), Ok(first), "one is on its way: nothing is sent");
    assert_eq!(bench.cancel(second), Err(Refusal::CancelRate));
    assert_eq!(of_kind(&bench.outputs, EventKind::SendCancel).len(), 1);
    refused(&mut bench, buy(BTC_A, 48_000_00, COIN), Refusal::MessageBudget);
    bench.advance(10 * MS);
    assert_eq!(bench.cancel(second), Ok(second));
}

#[test]
fn halts_do_not_stop_cancels() {
    let mut bench = Bench::new();
    let id = bench.resting();
    bench.command(CommandKind::Pause, 0, 0);
    bench.feed(A, 1, FeedState::Maintenance);
    assert_eq!(bench.cancel(id), Ok(id));
    bench.feed(A, 1, FeedState::Up);
    let id = {
        bench.reconcile(A, 0, 0);
        bench.reconcile(A, 1, 0);
        bench.command(CommandKind::Resume, 0, 0);
        bench.resting()
    };
    bench.feed(A, 1, FeedState::Down);
    assert_eq!(bench.cancel(id), Err(Refusal::OrderEntryDown), "there is no way to send it");
}

#[test]
fn a_full_table_and_full_outputs_refuse() {
    let mut bench = narrowed(|c| {
        c.limits.open_orders_max = 16;
        c.capacity.orders = 32;
        c.capacity.fills = 32;
        c.capacity.strategy_outputs = 16;
    });
    for i in 0..12 {
        bench.puppets[0].0.lock().unwrap().asks.push_back(Ask::Place(buy(BTC_A, 49_000_00 + i, COIN)));
    }
    bench.timer();
    let answers: Vec<_> = std::mem::take(&mut bench.puppets[0].0.lock().unwrap().answers).into();
    assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 8, "two outputs each");
    assert!(answers[8..].iter().all(|a| *a == Err(Refusal::OutputFull)));
    assert_eq!(bench.desk().counters().refused_for(Refusal::OutputFull), 4);
    assert_eq!(bench.desk().counters().outputs_lost, 0);
}

#[test]
fn fills_of_open_orders_that_fill_the_memory_stop_new_orders() {
    let mut bench = narrowed(|c| {
        c.limits.open_orders_max = 8;
        c.capacity.orders = 16;
        c.capacity.fills = 16;
    });
    let id = bench.place(buy(BTC_A, 49_000_00, COIN)).unwrap();
    for trade in 0..12 {
        bench.fill(id, 49_000_00, 1_000, trade);
    }
    refused(&mut bench, buy(BTC_A, 49_000_01, COIN), Refusal::FillMemoryFull);
    bench.gone(EventKind::OrderCanceled, id, Some(12_000));
    assert!(bench.place(buy(BTC_A, 49_000_01, COIN)).is_ok());
}

#[test]
fn requests_on_orders_are_checked() {
    let mut bench = Bench::with(config(vec![strategy_config("one", &[BTC_A, BTC_B]), strategy_config("two", &[BTC_A])]));
    let id = bench.resting();
    assert_eq!(bench.cancel(OrderId::new(1, 99)), Err(Refusal::UnknownOrder));
    assert_eq!(bench.replace(OrderId::new(1, 99), 49_000_00, COIN), Err(Refusal::UnknownOrder));
    assert_eq!(bench.ask_of(1, Ask::Cancel(id)), Err(Refusal::UnknownOrder), "another's order is not there for it");
    assert_eq!(bench.replace(id, 49_000_00, COIN), Err(Refusal::NoChange));
    bench.fill(id, 49_000_00, COIN / 2, 1);
    assert_eq!(bench.replace(id, 49_000_00, COIN / 2), Err(Refusal::BelowFilled));
    assert_eq!(bench.replace(id, 49_000_00, COIN / 2 + 500), Err(Refusal::QtyOffLot));
    assert_eq!(bench.replace(id, 40_000_00, COIN), Err(Refusal::PriceCollar));
    assert_eq!(bench.replace(id, 49_500_00, COIN), Ok(id));
    assert_eq!(bench.replace(id, 49_600_00, COIN), Err(Refusal::WrongState), "one at a time");
    let other = bench.place(buy(BTC_B, 49_000_00, COIN)).unwrap();
    bench.simple(EventKind::OrderAck, other);
    assert_eq!(bench.replace(other, 49_100_00, COIN), Err(Refusal::ReplaceUnsupported));
    bench.gone(EventKind::OrderCanceled, other, Some(0));
    assert_eq!(bench.cancel(other), Err(Refusal::WrongState));
    assert_eq!(bench.replace(other, 49_100_00, COIN), Err(Refusal::WrongState));
}

#[test]
fn a_venue_that_only_reduces_in_place_may_reduce() {
    let mut config = config(vec![strategy_config("puppet", &[BTC_A, BTC_B])]);
    config.instruments.get_mut(BTC_B).unwrap().capabilities.reduce = true;
    let mut bench = Bench::with(config);
    let id = bench.place(buy(BTC_B, 49_000_00, COIN)).unwrap();
    bench.simple(EventKind::OrderAck, id);
    assert_eq!(bench.replace(id, 49_000_00, 2 * COIN), Err(Refusal::ReplaceUnsupported));
    assert_eq!(bench.replace(id, 49_000_00, COIN / 2), Ok(id));
}

#[test]
fn a_replace_is_bounded_by_the_larger_of_old_and_new() {
    let mut bench = narrowed(|c| c.instrument_limits[0].as_mut().unwrap().position_max = Qty(3 * COIN));
    let id = bench.resting();
    assert_eq!(bench.replace(id, 49_000_00, 3 * COIN + 1_000), Err(Refusal::PositionInstrument));
    bench.replace(id, 49_000_00, 3 * COIN).unwrap();
    refused(&mut bench, buy(BTC_A, 49_000_01, 20_000), Refusal::PositionInstrument);
    bench.replaced(id, 49_000_00, 3 * COIN);
    bench.replace(id, 49_000_00, COIN).unwrap();
    refused(&mut bench, buy(BTC_A, 49_000_01, 20_000), Refusal::PositionInstrument);
    bench.replaced(id, 49_000_00, COIN);
    assert!(bench.place(buy(BTC_A, 49_000_01, 2 * COIN)).is_ok());
}

#[test]
fn too_many_rejects_kill() {
    let mut bench = narrowed(|c| c.limits.reject_burst = RateLimit { count: 2, window_ns: SECOND });
    for i in 0..2 {
        let id = bench.place(buy(BTC_A, 49_000_00 + i, COIN)).unwrap();
        bench.refused(EventKind::OrderReject, id, RejectReason::InsufficientFunds);
        let id = bench.place(buy(BTC_A, 48_000_00 + i, COIN)).unwrap();
        bench.refused(EventKind::OrderReject, id, RejectReason::PostOnlyWouldTake);
    }
    assert_eq!(bench.desk().halted(), None);
    let id = bench.place(buy(BTC_A, 49_000_05, COIN)).unwrap();
    let outputs = bench.refused(EventKind::OrderReject, id, RejectReason::Other);
    assert_eq!(bench.desk().halted(), Some(HaltReason::RejectBurst));
    assert_eq!(of_kind(&outputs, EventKind::SendCancelAll).len(), 2);
    bench.command(CommandKind::Resume, 0, 0);
    let id = bench.place(buy(BTC_A, 49_000_06, COIN)).unwrap();
    bench.refused(EventKind::OrderReject, id, RejectReason::Other);
    assert_eq!(bench.desk().halted(), None, "the count starts anew");
}

#[test]
fn too_many_fills_kill() {
    let mut bench = narrowed(|c| c.limits.fill_burst = RateLimit { count: 3, window_ns: SECOND });
    let id = bench.resting();
    for trade in 0..3 {
        bench.fill(id, 49_000_00, 1_000, trade);
    }
    bench.fill(id, 49_000_00, 1_000, 2);
    assert_eq!(bench.desk().halted(), None, "a repeated fill is none");
    let outputs = bench.fill(id, 49_000_00, 1_000, 3);
    assert_eq!(bench.desk().halted(), Some(HaltReason::FillBurst));
    assert_eq!(of_kind(&outputs, EventKind::Halt)[0].code, HaltReason::FillBurst as u32);
    assert_eq!(bench.state(id), engine_core::order::OrderState::PendingCancel);
}

#[test]
fn a_loss_kills_all_and_only_the_loser_where_the_limit_is_its_own() {
    let mut config = config(vec![strategy_config("one", &[BTC_A]), strategy_config("two", &[BTC_A])]);
    config.strategies[0].limits.daily_loss_max = units(500);
    config.limits.drawdown_max = units(2_000);
    let mut bench = Bench::with(config);
    let id = bench.place(buy(BTC_A, 50_000_00, COIN)).unwrap();
    bench.fill(id, 50_000_00, COIN, 1);
    let resting = bench.resting();
    let other = bench.ask_of(1, Ask::Place(buy(BTC_A, 48_000_00, COIN))).unwrap();
    bench.advance(20 * MS);
    bench.book(BTC_A, 49_490_00, 49_510_00);
    let outputs = bench.timer();
    let halt = of_kind(&outputs, EventKind::Halt);
    assert_eq!((halt.len(), halt[0].code, halt[0].a), (1, HaltReason::DailyLoss as u32, 1));
    assert_eq!(of_kind(&outputs, EventKind::SendCancel)[0].order_id(), resting);
    refused(&mut bench, fine(), Refusal::StrategyDisabled);
    assert_eq!(bench.desk().halted(), None);
    assert_eq!(bench.state(other), engine_core::order::OrderState::Pending);

    bench.advance(20 * MS);
    bench.book(BTC_A, 47_990_00, 48_010_00);
    let outputs = bench.timer();
    assert_eq!(bench.desk().halted(), Some(HaltReason::Drawdown));
    assert_eq!(of_kind(&outputs, EventKind::SendCancelAll).len(), 2);
    assert_eq!(bench.ask_of(1, Ask::Place(buy(BTC_A, 47_000_00, COIN))), Err(Refusal::Halted));
    bench.command(CommandKind::Resume, 0, 0);
    bench.advance(20 * MS);
    bench.timer();
    assert_eq!(bench.desk().halted(), None, "the loss so far was accepted");
}

#[test]
fn everything_unreported_but_found_open_suspends_its_instrument() {
    let mut bench = Bench::new();
    bench.apply(Event::order_status(A, BTC_A, OrderId::NONE, VenueOrderStatus::Open, Qty(0), Price(1), Qty(1), bench.times()));
    refused(&mut bench, fine(), Refusal::InstrumentSuspended);
    assert!(bench.place(buy(ETH_A, 1_900_00, COIN)).is_ok());
    bench.command(CommandKind::Resume, 0, 0);
    assert!(bench.place(fine()).is_ok());
}
