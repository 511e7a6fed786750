//! The timer looks at what is due and at what is held: with the same result as if it looked at everything.
#![allow(clippy::inconsistent_digit_grouping, reason = "prices are written as units and cents")]

mod support;

use engine_core::event::*;
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::*;
use engine_core::instrument::InstrumentTable;
use engine_core::position::Positions;
use proptest::prelude::*;
use support::*;

const INSTRUMENTS: u16 = 70;
const STALE_NS: u64 = 300 * MS;
const WINDOW_NS: u64 = 200 * MS;
const RESYNC_EVERY_NS: u64 = 5 * SECOND;

/// Seventy instruments on two venues, one strategy in all of them.
fn wide() -> Bench {
    let mut config = config(Vec::new());
    let like = config.instruments[BTC_A].clone();
    config.instruments = InstrumentTable::new();
    for id in 0..INSTRUMENTS {
        let instrument = engine_core::instrument::Instrument { venue: VenueId((id % 2) as u8), symbol: format!("I{id}"), ..like.clone() };
        config.instruments.add(instrument).unwrap();
    }
    config.instrument_limits = vec![config.instrument_limits[0]; usize::from(INSTRUMENTS)];
    config.strategies = vec![strategy_config("all", &(0..INSTRUMENTS).map(InstrumentId).collect::<Vec<_>>())];
    config.limits.stale_after_ns = STALE_NS;
    config.timing.trade_window_ns = WINDOW_NS;
    config.capacity.trades = 4;
    let mut bench = Bench::cold(config);
    bench.session(1);
    for venue in [A, B] {
        bench.feed(venue, 0, FeedState::Up);
    }
    bench
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Book(u16),
    Invalid(u16),
    Trade { instrument: u16, late_ms: u8 },
    Wait(u16),
    Timer,
}

fn step() -> impl Strategy<Value = Step> {
    let few = (0u16..4).prop_map(|at| at * 23); // Far apart, and often enough each.
    prop_oneof![
        6 => few.clone().prop_map(Step::Book),
        1 => few.clone().prop_map(Step::Invalid),
        6 => (few, 0u8..250).prop_map(|(instrument, late_ms)| Step::Trade { instrument, late_ms }),
        4 => (0u16..120).prop_map(Step::Wait),
        1 => (2_000u16..6_000).prop_map(Step::Wait),
        6 => Just(Step::Timer),
    ]
}

/// What is known of a valid book.
#[derive(Clone, Copy)]
struct Seen {
    updated_ns: u64,
    told: bool,
}

proptest! {
    #[test]
    fn a_stale_book_is_told_once_and_asked_for_at_the_first_timer_past_its_limit(steps in proptest::collection::vec(step(), 1..150)) {
        let mut bench = wide();
        let mut seen: Vec<Option<Seen>> = vec![None; usize::from(INSTRUMENTS)];
        let mut asked_ns = vec![0u64; usize::from(INSTRUMENTS)];
        for step in steps {
            match step {
                Step::Book(id) => {
                    // A snapshot makes it valid; a change confirms it.
                    match seen[usize::from(id)] {
                        None => bench.book(InstrumentId(id), 49_990_00, 50_010_00),
                        Some(_) => bench.level(InstrumentId(id), Side::Buy, 49_980_00, COIN),
                    };
                    seen[usize::from(id)] = Some(Seen { updated_ns: bench.now_ns, told: false });
                }
                Step::Invalid(id) => {
                    bench.book_invalid(InstrumentId(id), BookInvalid::Gap);
                    seen[usize::from(id)] = None;
                }
                Step::Trade { .. } => {}
                Step::Wait(ms) => bench.advance(u64::from(ms) * MS),
                Step::Timer => {
                    bench.puppets[0].0.lock().unwrap().said.clear();
                    let now_ns = bench.now_ns;
                    let outputs = bench.timer();
                    let (mut told, mut asked) = (Vec::new(), Vec::new());
                    for id in 0..INSTRUMENTS {
                        let at = usize::from(id);
                        let Some(book) = seen[at].as_mut().filter(|book| now_ns - book.updated_ns > STALE_NS) else { continue };
                        if !std::mem::replace(&mut book.told, true) {
                            told.push(id);
                        }
                        if now_ns - asked_ns[at] >= RESYNC_EVERY_NS {
                            asked_ns[at] = now_ns;
                            asked.push(id);
                        }
                    }
                    let resyncs: Vec<u16> = of_kind(&outputs, EventKind::SendResync).iter().map(|e| e.instrument).collect();
                    prop_assert_eq!(resyncs, asked);
                    let said = std::mem::take(&mut bench.puppets[0].0.lock().unwrap().said);
                    let mut said: Vec<u16> = said.iter().map(|said| match said {
                        Said::Book(id) => id.0,
                        other => panic!("{other:?}"),
                    }).collect();
                    said.sort_unstable(); // They are told venue by venue.
                    prop_assert_eq!(said, told);
                }
            }
            bench.desk().check_due();
        }
    }

    #[test]
    fn trades_are_gone_from_every_stream_at_the_first_timer_past_the_window(steps in proptest::collection::vec(step(), 1..150)) {
        let mut bench = wide();
        let mut streams: Vec<Vec<(u64, i64)>> = vec![Vec::new(); usize::from(INSTRUMENTS)];
        let mut timer_ns = 0;
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Trade { instrument, late_ms } => {
                    // Never earlier than the last of its stream, or than a timer.
                    let stream = &mut streams[usize::from(instrument)];
                    let came_ns = bench.now_ns - u64::from(late_ms) * MS;
                    let time_ns = stream.last().map_or(0, |last| last.0).max(came_ns).max(timer_ns);
                    stream.push((time_ns, at as i64 + 1));
                    stream.retain(|trade| trade.0 + WINDOW_NS >= time_ns);
                    let (id, times) = (InstrumentId(instrument), Times { core_ns: came_ns, poll_delay_ns: 0 });
                    let trade = Event::trade(bench.venue_of(id), id, Side::Buy, Price(50_000_00), Qty(at as i64 + 1), at as u64, times);
                    bench.apply(trade.with(flags::COLD));
                    stream.drain(..stream.len().saturating_sub(4));
                }
                Step::Wait(ms) => bench.advance(u64::from(ms) * MS),
                Step::Timer => {
                    timer_ns = bench.now_ns;
                    bench.timer();
                    streams.iter_mut().for_each(|stream| stream.retain(|trade| trade.0 + WINDOW_NS >= timer_ns));
                }
                Step::Book(_) | Step::Invalid(_) => {}
            }
            bench.desk().check_due();
            for (id, stream) in streams.iter().enumerate() {
                let trades = bench.desk().trades(InstrumentId(id as u16)).unwrap();
                prop_assert_eq!(trades.iter().map(|t| (t.time_ns, t.qty.0)).collect::<Vec<_>>(), stream.clone());
                prop_assert_eq!(trades.volume(Side::Buy).0, stream.iter().map(|trade| trade.1).sum::<i64>());
            }
        }
    }

    #[test]
    fn profit_and_loss_is_that_of_all_positions_and_fees(
        fills in proptest::collection::vec((0u8..3, 0..INSTRUMENTS, any::<bool>(), 1i64..200, 4_000i64..6_000, 0u16..3, -9i64..20), 0..60),
        marks in proptest::collection::vec((0..INSTRUMENTS, 1i64..9_000), 0..80),
    ) {
        let bench = wide();
        let instruments = bench.desk().instruments();
        let mut positions = Positions::new(3, usize::from(INSTRUMENTS), 2, 3, USDT);
        let mut fees = [[Money::ZERO; 3]; 4]; // The last is all of them.
        for &(id, mark) in &marks {
            positions.on_mid(InstrumentId(id), &instruments[InstrumentId(id)], Price(mark));
        }
        for (strategy, id, buy, lots, price, asset, fee) in fills {
            let (id, side) = (InstrumentId(id), if buy { Side::Buy } else { Side::Sell });
            positions.on_fill(Some(StrategyId(strategy)), id, &instruments[id], side, Price(price), Qty(lots * 1_000_000)).unwrap();
            positions.on_fee(Some(StrategyId(strategy)), VenueId(id.0 as u8 % 2), AssetId(asset), units(fee)).unwrap();
            for of in [usize::from(strategy), 3] {
                fees[of][usize::from(asset)] = fees[of][usize::from(asset)] + units(fee);
            }
        }
        for of in 0..4u8 {
            let (mut net, strategy) = (0i128, StrategyId(of));
            for (id, instrument) in instruments.iter() {
                let position = if of == 3 { positions.total(id) } else { positions.strategy(strategy, id) }.unwrap();
                let unrealised = positions.mark(id).map_or(Money::ZERO, |mark| position.unrealised(instrument, mark));
                net += position.realised.0 + unrealised.0; // The quote asset is the one that is reported in.
            }
            for (asset, &fee) in fees[usize::from(of)].iter().enumerate() {
                net -= positions.rates.convert(AssetId(asset as u16), fee).unwrap_or(Money::ZERO).0;
            }
            let pnl = if of == 3 { positions.pnl(instruments) } else { positions.strategy_pnl(strategy, instruments) };
            prop_assert_eq!(pnl.net(), Money(net));
        }
    }
}

#[test]
fn saying_what_is_coming_changes_nothing() {
    let mut bench = Bench::new();
    bench.resting();
    let before = bench.core.state_hash();
    for id in [0, 1, 2, 3, u16::MAX].map(InstrumentId) {
        bench.core.upcoming(id);
        let prices = [i64::MIN, -1, 0, 1, 49_990_00, VALUE_MAX, i64::MAX].map(Price);
        bench.core.upcoming_levels(id, prices.into_iter().flat_map(|price| [(Side::Buy, price), (Side::Sell, price)]));
    }
    assert_eq!(bench.core.state_hash(), before);
    let outputs = bench.level(BTC_A, Side::Buy, 49_990_00, COIN);
    assert!(outputs.is_empty() && bench.desk().book(BTC_A).unwrap().is_valid());
}

/// Books of A and of B that can be traded on, as counted and as walked.
fn valid_books(bench: &Bench) -> [u64; 2] {
    bench.desk().check_due();
    let mut counts = [[0; 2]; 3];
    bench.desk().count_books(&mut counts);
    let each = u64::from(INSTRUMENTS) / 2;
    assert_eq!([counts[0][0], counts[1][0], counts[2][0]], [each, each, 0], "no books where there is no venue");
    [counts[0][1], counts[1][1]]
}

#[test]
fn valid_books_are_counted_through_all_that_may_become_of_them() {
    let mut bench = wide();
    assert_eq!(valid_books(&bench), [0, 0]);
    for id in [0, 1, 2, 46] {
        bench.book(InstrumentId(id), 100_00, 100_10);
    }
    assert_eq!(valid_books(&bench), [3, 1]);
    bench.book(InstrumentId(2), 100_00, 100_10);
    assert_eq!(valid_books(&bench), [3, 1], "a snapshot more is no book more");

    let loading = Event::book_level(A, InstrumentId(2), Side::Buy, Price(99_00), Qty(COIN), 900, bench.times()).with(flags::CLEAR);
    bench.apply(loading);
    assert_eq!(valid_books(&bench), [2, 1], "a snapshot has begun");
    let rest = Event::book_level(A, InstrumentId(2), Side::Sell, Price(99_10), Qty(COIN), 900, bench.times()).with(flags::LAST);
    bench.apply(rest);
    assert_eq!(valid_books(&bench), [3, 1], "and has ended");

    bench.level(InstrumentId(2), Side::Buy, 99_20, COIN);
    assert_eq!(valid_books(&bench), [2, 1], "crossed");
    bench.book_invalid(InstrumentId(1), BookInvalid::Gap);
    bench.book_invalid(InstrumentId(1), BookInvalid::Gap);
    assert_eq!(valid_books(&bench), [2, 0], "a gap counts once");
    bench.level(InstrumentId(0), Side::Buy, 0, COIN);
    assert_eq!(valid_books(&bench), [1, 0], "malformed");

    bench.book(InstrumentId(0), 100_00, 100_10);
    bench.book(InstrumentId(3), 100_00, 100_10);
    bench.advance(STALE_NS);
    bench.level(InstrumentId(0), Side::Buy, 100_00, COIN);
    assert_eq!(valid_books(&bench), [2, 1], "as old as may be");
    bench.advance(1);
    bench.level(InstrumentId(0), Side::Buy, 100_00, 2 * COIN);
    assert_eq!(valid_books(&bench), [1, 0], "stale before any timer has seen it");
    bench.timer();
    assert_eq!(valid_books(&bench), [1, 0], "and after");
    bench.level(InstrumentId(46), Side::Buy, 100_00, COIN);
    assert_eq!(valid_books(&bench), [2, 0], "heard of again");

    bench.feed(A, 0, FeedState::Down);
    assert_eq!(valid_books(&bench), [0, 0]);
    bench.feed(A, 0, FeedState::Up);
    bench.book(InstrumentId(0), 100_00, 100_10);
    bench.book(InstrumentId(1), 100_00, 100_10);
    assert_eq!(valid_books(&bench), [1, 1]);
    bench.session(2);
    assert_eq!(valid_books(&bench), [0, 0], "a session begins without books");
}
