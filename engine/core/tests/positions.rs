//! Positions, accounts and profit against plain sums.
#![allow(clippy::inconsistent_digit_grouping, reason = "prices are written as units and cents")]

use engine_core::event::{Side, VALUE_MAX};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::*;
use engine_core::instrument::{Instrument, InstrumentTable};
use engine_core::position::{PositionError, Positions, RateSource};
use proptest::prelude::*;

const BTC: AssetId = AssetId(0);
const USDT: AssetId = AssetId(1);
const USD: AssetId = AssetId(2);
const ONE: StrategyId = StrategyId(0);
const SPOT: InstrumentId = InstrumentId(0);

fn units(n: i64) -> Money {
    Money::from_scaled(n, 0)
}

fn instrument(symbol: &str, base: AssetId, quote: AssetId) -> Instrument {
    Instrument { qty_max: Qty(VALUE_MAX), ..Instrument::new(VenueId(0), symbol, [base, quote], [2, 8]) }
}

fn table() -> InstrumentTable {
    let mut table = InstrumentTable::new();
    table.add(instrument("BTCUSDT", BTC, USDT)).unwrap();
    table.add(instrument("BTCUSD", BTC, USD)).unwrap();
    table.add(instrument("USDTUSD", USDT, USD)).unwrap();
    table
}

fn book(positions: &mut Positions, table: &InstrumentTable, side: Side, price: i64, qty: i64) -> Money {
    positions.on_fill(Some(ONE), SPOT, &table[SPOT], side, Price(price), Qty(qty)).unwrap().realised
}

const COIN: i64 = 100_000_000;

#[test]
fn average_price_and_profit_of_a_round_trip_through_zero() {
    let table = table();
    let mut positions = Positions::new(1, 3, 1, 3, USDT);
    assert_eq!(book(&mut positions, &table, Side::Buy, 100_00, COIN), Money::ZERO);
    assert_eq!(book(&mut positions, &table, Side::Buy, 200_00, COIN), Money::ZERO);
    let position = *positions.strategy(ONE, SPOT).unwrap();
    assert_eq!((position.qty, position.average_price(&table[SPOT])), (Qty(2 * COIN), Some(Price(150_00))));
    assert_eq!(position.unrealised(&table[SPOT], Price(160_00)), units(20));
    // Sells three: two close at 170, one opens a short.
    assert_eq!(book(&mut positions, &table, Side::Sell, 170_00, 3 * COIN), units(40));
    let position = *positions.strategy(ONE, SPOT).unwrap();
    assert_eq!((position.qty, position.average_price(&table[SPOT])), (Qty(-COIN), Some(Price(170_00))));
    assert_eq!(book(&mut positions, &table, Side::Buy, 180_00, COIN), units(-10));
    let position = *positions.strategy(ONE, SPOT).unwrap();
    assert_eq!((position.qty, position.realised, position.average_price(&table[SPOT])), (Qty(0), units(30), None));
    assert_eq!(position.cash(), units(30));
}

#[test]
fn the_first_statement_opens_an_account_and_later_ones_are_compared() {
    let table = table();
    let mut positions = Positions::new(1, 3, 1, 3, USDT);
    book(&mut positions, &table, Side::Buy, 100_00, COIN);
    let ledger = &mut positions.ledger;
    assert_eq!(ledger.difference(VenueId(0), BTC), None);
    assert_eq!(ledger.state(VenueId(0), BTC, units(5), units(5), 1), Ok(Money::ZERO));
    assert_eq!(ledger.total(VenueId(0), BTC), units(5), "the fill was in it already");
    positions.on_fee(Some(ONE), VenueId(0), BTC, units(1)).unwrap();
    assert_eq!(positions.ledger.total(VenueId(0), BTC), units(4));
    assert_eq!(positions.ledger.difference(VenueId(0), BTC), Some(units(-1)), "the venue's statement is from before the fee");
    assert_eq!(positions.ledger.state(VenueId(0), BTC, units(6), units(6), 2), Ok(units(-2)));
    assert_eq!(positions.ledger.adopt_statement(VenueId(0), BTC), Ok(units(2)));
    assert_eq!(positions.ledger.difference(VenueId(0), BTC), Some(Money::ZERO));
    assert_eq!(positions.ledger.state(VenueId(7), BTC, units(1), units(1), 1), Err(PositionError::UnknownId));
}

#[test]
fn profit_is_summed_in_the_reporting_asset() {
    let table = table();
    let mut positions = Positions::new(1, 3, 1, 3, USD);
    positions.rates.derive_sources(&table);
    let usd_spot = InstrumentId(1);
    positions.on_fill(Some(ONE), SPOT, &table[SPOT], Side::Buy, Price(100_00), Qty(COIN)).unwrap();
    positions.on_fee(Some(ONE), VenueId(0), USDT, units(2)).unwrap();
    assert_eq!(positions.pnl(&table).unpriced, 2, "no mark, no rate of USDT");
    positions.on_mid(usd_spot, &table[usd_spot], Price(90_00));
    positions.on_mid(InstrumentId(2), &table[InstrumentId(2)], Price(90));
    positions.on_mid(SPOT, &table[SPOT], Price(110_00));
    let pnl = positions.pnl(&table);
    assert_eq!((pnl.realised, pnl.unrealised, pnl.fees, pnl.unpriced), (Money::ZERO, units(9), Money::from_scaled(18, 1), 0));
    assert_eq!(positions.rates.value(BTC), Some(units(90)), "from its book in USD");
    assert_eq!(positions.strategy_pnl(ONE, &table), pnl);
    assert_eq!(positions.strategy_pnl(StrategyId(9), &table).net(), Money::ZERO);
    assert!(positions.rates.has_source(BTC) && positions.rates.set_source(BTC, RateSource::Fixed(units(1))));
}

#[test]
fn what_does_not_fit_is_refused_whole() {
    let table = table();
    let mut positions = Positions::new(1, 3, 1, 3, USDT);
    for (price, qty, error) in [
        (0, 1, PositionError::OutOfBounds),
        (1, 0, PositionError::OutOfBounds),
        (-1, 1, PositionError::OutOfBounds),
        (VALUE_MAX + 1, 1, PositionError::OutOfBounds),
        (1, i64::MIN, PositionError::OutOfBounds),
        (VALUE_MAX, VALUE_MAX, PositionError::Overflow),
    ] {
        assert_eq!(positions.on_fill(Some(ONE), SPOT, &table[SPOT], Side::Buy, Price(price), Qty(qty)), Err(error), "{price} {qty}");
    }
    assert_eq!(positions.on_fill(Some(StrategyId(3)), SPOT, &table[SPOT], Side::Buy, Price(1), Qty(1)), Err(PositionError::UnknownId));
    assert_eq!(positions.on_fee(Some(ONE), VenueId(0), BTC, Money(i128::MAX)), Err(PositionError::Overflow));
    assert_eq!(*positions.total(SPOT).unwrap(), engine_core::position::Position::default());
    assert_eq!(positions.ledger.total(VenueId(0), BTC), Money::ZERO);
}

proptest! {
    #[test]
    fn everything_is_the_sum_of_the_fills(
        fills in proptest::collection::vec((0u8..2, any::<bool>(), 1i64..1_000_000, 1i64..1_000_000_000, -1_000i64..1_000), 1..80),
        mark in 1i64..1_000_000,
    ) {
        let table = table();
        let mut positions = Positions::new(2, 3, 1, 3, USDT);
        let (mut qty, mut cash, mut fees) = ([0i64; 2], [0i128; 2], 0i128);
        for (strategy, buy, price, amount, fee) in fills {
            let side = if buy { Side::Buy } else { Side::Sell };
            positions.on_fill(Some(StrategyId(strategy)), SPOT, &table[SPOT], side, Price(price), Qty(amount)).unwrap();
            positions.on_fee(Some(StrategyId(strategy)), VenueId(0), USDT, Money(i128::from(fee))).unwrap();
            qty[usize::from(strategy)] += side.sign() * amount;
            cash[usize::from(strategy)] -= i128::from(side.sign()) * i128::from(price) * i128::from(amount) * 100_000_000;
            fees += i128::from(fee);
        }
        let value = |q: i64| i128::from(q) * i128::from(mark) * 100_000_000;
        for strategy in 0..2 {
            let position = positions.strategy(StrategyId(strategy as u8), SPOT).unwrap();
            prop_assert_eq!((position.qty.0, position.cash().0), (qty[strategy], cash[strategy]));
            let profit = position.realised.0 + position.unrealised(&table[SPOT], Price(mark)).0;
            prop_assert_eq!(profit, cash[strategy] + value(qty[strategy]), "to the last unit");
            prop_assert_eq!(position.bought.0 - position.sold.0, position.qty.0);
        }
        let total = positions.total(SPOT).unwrap();
        prop_assert_eq!((total.qty.0, total.cash().0), (qty[0] + qty[1], cash[0] + cash[1]));
        let account = |asset| positions.ledger.account(VenueId(0), asset).unwrap().net().0;
        prop_assert_eq!(account(BTC), i128::from(qty[0] + qty[1]) * 10_000_000_000);
        prop_assert_eq!(account(USDT), cash[0] + cash[1] - fees);
        positions.on_mid(SPOT, &table[SPOT], Price(mark));
        prop_assert_eq!(positions.pnl(&table).net().0, cash[0] + cash[1] + value(qty[0] + qty[1]) - fees);
    }
}
