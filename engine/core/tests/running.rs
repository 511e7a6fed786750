//! Running profit and loss against sums made anew, and that a look at the losses after a fill is no look at half of a hedge.
#![allow(clippy::inconsistent_digit_grouping, reason = "prices are written as units and cents")]

mod support;

use engine_core::event::*;
use engine_core::fixed::{Money, POW10, Price, Qty};
use engine_core::ids::*;
use engine_core::instrument::{Instrument, InstrumentTable};
use engine_core::order::OrderState;
use engine_core::position::{Position, Positions, RateSource};
use proptest::prelude::*;
use support::*;

const STRATEGIES: usize = 3;
const REPORTING: AssetId = AssetId(3);
/// Quoted in the reporting asset; in one whose rate is fixed; in two whose rates come from the first two books.
const QUOTES: [u16; 4] = [3, 4, 0, 1];

fn table() -> InstrumentTable {
    let mut table = InstrumentTable::new();
    for (base, quote) in QUOTES.into_iter().enumerate() {
        let instrument = Instrument::new(VenueId(0), format!("I{base}"), [AssetId(base as u16), AssetId(quote)], [2, 8]);
        table.add(Instrument { qty_max: Qty(VALUE_MAX), ..instrument }).unwrap();
    }
    table
}

/// `amount * rate` at 10^-18, towards zero, bit by bit; `None` if it does not fit.
fn product(amount: Money, rate: Money) -> Option<Money> {
    let one = POW10[18] as u128;
    let (a, r) = (amount.0.unsigned_abs(), rate.0.unsigned_abs());
    let (mut whole, mut rest) = (0u128, 0u128);
    for bit in (0..128).rev() {
        (whole, rest) = (whole.checked_mul(2)?, rest * 2);
        if a >> bit & 1 == 1 {
            (whole, rest) = (whole.checked_add(r / one)?, rest + r % one);
        }
        (whole, rest) = (whole.checked_add(rest / one)?, rest % one);
    }
    let whole = i128::try_from(whole).ok()?;
    Some(Money(if (amount.0 < 0) == (rate.0 < 0) { whole } else { -whole }))
}

/// Where amounts are more than this, it is all that they count for.
const COUNTED_MAX: i128 = 1 << 108;

fn counts(amount: Money, rate: Option<Money>) -> i128 {
    let converted = rate.and_then(|rate| product(amount, rate));
    converted.map_or(0, |amount| amount.0.clamp(-COUNTED_MAX, COUNTED_MAX))
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// By a strategy, or by nobody.
    Fill {
        by: u8,
        instrument: u16,
        buy: bool,
        price: i64,
        qty: i64,
    },
    Fee {
        by: u8,
        asset: u16,
        amount: i128,
    },
    Mark {
        instrument: u16,
        mid: i64,
    },
    Timer,
}

fn step() -> impl Strategy<Value = Step> {
    let price = prop_oneof![8 => 1i64..2_000_000, 1 => 1i64..=VALUE_MAX];
    let qty = prop_oneof![6 => (1i64..5).prop_map(|lots| lots * COIN), 6 => 1i64..500_000_000, 1 => 1i64..=VALUE_MAX];
    let fee = prop_oneof![4 => -1_000_000_000_000_000_000i128..5_000_000_000_000_000_000, 1 => any::<i128>()];
    let fill = (0u8..4, 0u16..4, any::<bool>(), price, qty);
    prop_oneof![
        8 => fill.prop_map(|(by, instrument, buy, price, qty)| Step::Fill { by, instrument, buy, price, qty }),
        3 => (0u8..4, 0u16..6, fee).prop_map(|(by, asset, amount)| Step::Fee { by, asset, amount }),
        4 => (0u16..4, 1i64..2_000_000).prop_map(|(instrument, mid)| Step::Mark { instrument, mid }),
        2 => Just(Step::Timer),
    ]
}

/// At which mark and rate the position of a strategy (the last: of all) in an instrument counts, and at which rate a fee.
#[derive(Clone, Copy, Default)]
struct Prices {
    mark: Option<Price>,
    rate: Option<Money>,
}

struct Model {
    table: InstrumentTable,
    positions: Positions,
    /// Each strategy by itself: its own fills and nothing else.
    apart: Vec<Positions>,
    prices: [[Prices; 4]; STRATEGIES + 1],
    rates: [[Option<Money>; 6]; STRATEGIES + 1],
    /// `None` before the first.
    fees: [[Option<i128>; 6]; STRATEGIES + 1],
    /// No mark has moved since the timer.
    current: bool,
}

impl Model {
    fn new() -> Model {
        let table = table();
        let positions = || {
            let mut positions = Positions::new(STRATEGIES, 4, 1, 6, REPORTING);
            positions.rates.set_source(AssetId(4), RateSource::Fixed(Money::from_scaled(93, 2)));
            positions.rates.derive_sources(&table);
            positions
        };
        Model {
            positions: positions(),
            apart: (0..STRATEGIES).map(|_| positions()).collect(),
            table: self::table(),
            prices: Default::default(),
            rates: Default::default(),
            fees: [[None; 6]; STRATEGIES + 1],
            current: true,
        }
    }

    fn position(&self, scope: usize, id: InstrumentId) -> Position {
        let position = if scope == STRATEGIES { self.positions.total(id) } else { self.positions.strategy(StrategyId(scope as u8), id) };
        *position.unwrap()
    }

    fn rate(&self, asset: AssetId) -> Option<Money> {
        if asset == REPORTING { Some(units(1)) } else { self.positions.rates.value(asset) }
    }

    fn scopes(by: u8) -> impl Iterator<Item = usize> {
        [usize::from(by), STRATEGIES].into_iter().skip(usize::from(usize::from(by) >= STRATEGIES))
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Fill { by, instrument, buy, price, qty } => {
                let (id, side) = (InstrumentId(instrument), if buy { Side::Buy } else { Side::Sell });
                let strategy = (usize::from(by) < STRATEGIES).then_some(StrategyId(by));
                let before: Vec<Position> = Self::scopes(by).map(|scope| self.position(scope, id)).collect();
                let booked = self.positions.on_fill(strategy, id, &self.table[id], side, Price(price), Qty(qty));
                if booked.is_err() {
                    return;
                }
                if let Some(apart) = self.apart.get_mut(usize::from(by)) {
                    assert_eq!(apart.on_fill(strategy, id, &self.table[id], side, Price(price), Qty(qty)), booked);
                }
                let now = Prices { mark: self.positions.mark(id), rate: self.rate(self.table[id].quote) };
                for (scope, before) in Self::scopes(by).zip(before) {
                    let prices = &mut self.prices[scope][id.index()];
                    if before.qty.is_zero() || prices.mark.is_none() {
                        prices.mark = now.mark;
                    }
                    prices.rate = prices.rate.or(now.rate);
                }
            }
            Step::Fee { by, asset, amount } => {
                let strategy = (usize::from(by) < STRATEGIES).then_some(StrategyId(by));
                let asset = AssetId(asset);
                if self.positions.on_fee(strategy, VenueId(0), asset, Money(amount)).is_err() {
                    return;
                }
                let now = self.rate(asset);
                for scope in Self::scopes(by) {
                    *self.fees[scope][asset.index()].get_or_insert_default() += amount;
                    let rate = &mut self.rates[scope][asset.index()];
                    *rate = rate.or(now);
                }
            }
            Step::Mark { instrument, mid } => {
                let id = InstrumentId(instrument);
                self.positions.on_mid(id, &self.table[id], Price(mid));
                self.current = false;
            }
            Step::Timer => {
                self.positions.revalue(&self.table);
                self.current = true;
                for scope in 0..=STRATEGIES {
                    for (id, instrument) in self.table.iter() {
                        let now = Prices { mark: self.positions.mark(id), rate: self.rate(instrument.quote) };
                        if self.position(scope, id).fills > 0 {
                            self.prices[scope][id.index()] = now;
                        }
                    }
                    for asset in (0..6u16).filter(|&asset| self.fees[scope][usize::from(asset)].is_some()) {
                        self.rates[scope][usize::from(asset)] = self.rate(AssetId(asset));
                    }
                }
            }
        }
    }

    fn net(&self, scope: usize) -> Money {
        let mut net = 0;
        for (id, instrument) in self.table.iter() {
            let (position, prices) = (self.position(scope, id), self.prices[scope][id.index()]);
            net += counts(position.realised, prices.rate);
            if let Some(mark) = prices.mark.filter(|_| !position.qty.is_zero()) {
                net += counts(position.unrealised(instrument, mark), prices.rate);
            }
        }
        let fees = self.fees[scope].iter().zip(self.rates[scope]);
        Money(net - fees.map(|(&sum, rate)| counts(Money(sum.unwrap_or(0)), rate)).sum::<i128>())
    }

    fn check(&self) {
        for scope in 0..=STRATEGIES {
            let strategy = StrategyId(scope as u8);
            let (net, pnl) = match scope {
                STRATEGIES => (self.positions.net(), self.positions.pnl(&self.table)),
                _ => (self.positions.strategy_net(strategy), self.positions.strategy_pnl(strategy, &self.table)),
            };
            assert_eq!(net, self.net(scope), "as of the last timer");
            assert!(!self.current || net == pnl.net(), "{net:?} {pnl:?}");
            for (id, _) in self.table.iter().filter(|_| scope < STRATEGIES) {
                assert_eq!(self.positions.strategy(strategy, id), self.apart[scope].strategy(strategy, id));
            }
        }
        for asset in (0..6).map(AssetId) {
            let account = self.positions.ledger.account(VenueId(0), asset).unwrap();
            assert_eq!(self.positions.ledger.total(VenueId(0), asset), account.total().unwrap_or(Money::ZERO));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn running_sums_are_those_made_anew_at_the_prices_of_the_last_timer(
        opened in proptest::collection::vec(any::<bool>(), 6), steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut model = Model::new();
        for (asset, _) in opened.into_iter().enumerate().filter(|(_, opened)| *opened) {
            model.positions.ledger.state(VenueId(0), AssetId(asset as u16), units(7), units(7), 1).unwrap();
        }
        for (at, step) in steps.into_iter().enumerate() {
            model.apply(step);
            model.check();
            if at % 16 == 15 {
                // A later statement, and the operator takes it over.
                model.positions.ledger.state(VenueId(0), BTC, units(at as i64), units(1), 1).unwrap();
                model.positions.ledger.adopt_statement(VenueId(0), BTC).unwrap();
            }
        }
        model.apply(Step::Timer);
        model.check();
    }

    #[test]
    fn amounts_are_converted_exactly(
        amount in any::<i128>(), amount_shift in 0u32..127, rate in any::<i128>(), rate_shift in 0u32..127, one in any::<bool>(),
    ) {
        let amount = Money(amount >> amount_shift);
        let rate = if one { units(1) } else { Money(rate >> rate_shift) };
        let mut positions = Positions::new(1, 0, 1, 2, AssetId(0));
        positions.rates.set_source(AssetId(1), RateSource::Fixed(rate));
        prop_assert_eq!(positions.rates.convert(AssetId(1), amount), product(amount, rate));
    }
}

#[test]
fn a_fill_that_breaks_a_limit_halts_at_once() {
    let mut config = config(vec![strategy_config("one", &[BTC_A]), strategy_config("two", &[BTC_A])]);
    config.strategies[0].limits.daily_loss_max = units(500);
    config.limits.daily_loss_max = units(900);
    let mut bench = Bench::with(config);
    let bought = bench.place(buy(BTC_A, 50_000_00, COIN)).unwrap();
    bench.fill(bought, 50_000_00, COIN, 1);
    let resting = bench.resting();
    bench.advance(1);
    let sold = bench.place(sell(BTC_A, 49_500_00, COIN)).unwrap();
    bench.simple(EventKind::OrderAck, sold);
    let outputs = bench.fill(sold, 49_500_01, COIN / 2, 2);
    assert_eq!(of_kind(&outputs, EventKind::Halt), []);
    // The fee comes before its fill, and is looked at with it.
    bench.fee(sold, 3, USDT, Money::from_scaled(2, 2));
    let outputs = bench.fill(sold, 49_500_01, COIN / 2, 3);
    let halt = of_kind(&outputs, EventKind::Halt);
    assert_eq!((halt.len(), halt[0].code, halt[0].a), (1, HaltReason::DailyLoss as u32, 1), "the strategy, and it alone");
    assert_eq!(of_kind(&outputs, EventKind::SendCancel)[0].order_id(), resting);

    let bought = bench.ask_of(1, Ask::Place(buy(BTC_A, 50_000_00, COIN))).unwrap();
    bench.fill(bought, 50_000_00, COIN, 4);
    let sold = bench.ask_of(1, Ask::Place(sell(BTC_A, 49_600_00, COIN))).unwrap();
    let outputs = bench.fill(sold, 49_600_00, COIN, 5);
    assert_eq!(of_kind(&outputs, EventKind::Halt).len(), 1);
    assert_eq!(bench.desk().halted(), Some(HaltReason::DailyLoss), "500 and 400: of all");
    assert_eq!(bench.state(sold), OrderState::Filled);
}

#[test]
fn a_fill_between_timers_does_not_look_at_one_leg_of_a_hedge() {
    let mut config = config(vec![strategy_config("hedge", &[BTC_A, BTC_B])]);
    config.strategies[0].limits.daily_loss_max = units(300);
    config.strategies[0].limits.drawdown_max = Some(units(300));
    let mut bench = Bench::with(config);
    let long = bench.place(buy(BTC_A, 50_000_00, 10 * COIN)).unwrap();
    bench.fill(long, 50_000_00, 10 * COIN, 1);
    let short = bench.place(sell(BTC_B, 50_000_00, 10 * COIN)).unwrap();
    bench.fill(short, 50_000_00, 10 * COIN, 2);
    let more = bench.place(buy(BTC_A, 49_960_00, COIN)).unwrap();
    bench.timer();
    // Both venues fall by 40, one after the other, and a fill comes in between: ten coins at 40 would be over the limit.
    bench.book(BTC_A, 49_950_00, 49_970_00);
    bench.fill(more, 49_960_00, COIN / 100, 3);
    bench.book(BTC_B, 49_950_00, 49_970_00);
    bench.advance(20 * MS);
    bench.timer();
    // And up again, the other leg first: no peak that was never there.
    bench.book(BTC_A, 50_000_00, 50_020_00);
    bench.fill(more, 49_960_00, COIN / 100, 4);
    bench.book(BTC_B, 50_000_00, 50_020_00);
    bench.advance(20 * MS);
    bench.timer();
    assert_eq!(of_kind(&bench.outputs, EventKind::Halt), []);
    assert_eq!(bench.desk().positions().net(), bench.desk().pnl().net());
}

#[test]
fn what_an_operator_accepts_is_what_is_looked_at_from_then_on() {
    let mut config = config(vec![strategy_config("one", &[BTC_A])]);
    config.limits.drawdown_max = units(500);
    let mut bench = Bench::with(config);
    let bought = bench.place(buy(BTC_A, 50_000_00, 2 * COIN)).unwrap();
    bench.fill(bought, 50_000_00, COIN, 1);
    bench.timer();
    // The loss comes after the timer, and the operator goes on before the next.
    bench.book(BTC_A, 49_590_00, 49_610_00);
    bench.command(CommandKind::Resume, 0, 0);
    bench.fill(bought, 49_600_00, COIN / 100, 2);
    bench.book(BTC_A, 49_190_00, 49_210_00);
    bench.advance(20 * MS);
    bench.timer();
    assert_eq!(bench.desk().halted(), None, "400 twice, and 400 of it accepted");
    bench.book(BTC_A, 49_090_00, 49_110_00);
    bench.advance(20 * MS);
    bench.timer();
    assert_eq!(bench.desk().halted(), Some(HaltReason::Drawdown));
}
