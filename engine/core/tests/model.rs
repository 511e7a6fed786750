//! Anything may happen in any order: what must hold all the same.
#![allow(clippy::inconsistent_digit_grouping, reason = "prices are written as units and cents")]

mod support;

use engine_core::event::*;
use engine_core::fixed::{Money, Qty};
use engine_core::ids::*;
use engine_core::order::{Next, OrderEvent, OrderState, state};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap, HashSet};
use support::*;

/// Something that happens. Orders are named by how many placed since they are back.
#[derive(Clone, Debug)]
enum Step {
    Place { instrument: u8, buy: bool, offset: i8, lots: u16, ioc: bool },
    Replace { back: u8, offset: i8, lots: u16 },
    Cancel { back: u8 },
    Simple { back: u8, kind: u8 },
    Refused { back: u8, kind: u8, reason: u8 },
    Fill { back: u8, lots: u16, trade: u8, price_offset: i8 },
    Gone { back: u8, expired: bool, stated: Option<u16> },
    Replaced { back: u8, offset: i8, lots: u16 },
    Status { back: u8, status: u8, lots: u16 },
    Book { instrument: u8, offset: i8 },
    Invalid { instrument: u8 },
    Wait { ms: u16 },
    Timer,
    Feed { venue: bool, role: bool, state: u8 },
    Round { venue: bool, end: bool },
    Command { kind: u8, a: u8 },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let back = 0u8..12;
    let lots = 1u16..400;
    prop_oneof![
        12 => (0u8..3, any::<bool>(), -60i8..60, lots.clone(), any::<bool>())
            .prop_map(|(instrument, buy, offset, lots, ioc)| Step::Place { instrument, buy, offset, lots, ioc }),
        4 => (back.clone(), -60i8..60, lots.clone()).prop_map(|(back, offset, lots)| Step::Replace { back, offset, lots }),
        4 => back.clone().prop_map(|back| Step::Cancel { back }),
        8 => (back.clone(), 0u8..2).prop_map(|(back, kind)| Step::Simple { back, kind }),
        4 => (back.clone(), 0u8..3, 0u8..18).prop_map(|(back, kind, reason)| Step::Refused { back, kind, reason }),
        10 => (back.clone(), lots.clone(), 0u8..30, -60i8..60)
            .prop_map(|(back, lots, trade, price_offset)| Step::Fill { back, lots, trade, price_offset }),
        5 => (back.clone(), any::<bool>(), proptest::option::of(0u16..400))
            .prop_map(|(back, expired, stated)| Step::Gone { back, expired, stated }),
        3 => (back.clone(), -60i8..60, lots.clone()).prop_map(|(back, offset, lots)| Step::Replaced { back, offset, lots }),
        4 => (back, 0u8..6, 0u16..400).prop_map(|(back, status, lots)| Step::Status { back, status, lots }),
        4 => (0u8..3, -20i8..20).prop_map(|(instrument, offset)| Step::Book { instrument, offset }),
        1 => (0u8..3).prop_map(|instrument| Step::Invalid { instrument }),
        4 => (1u16..3_000).prop_map(|ms| Step::Wait { ms }),
        4 => Just(Step::Timer),
        1 => (any::<bool>(), any::<bool>(), 0u8..3).prop_map(|(venue, role, state)| Step::Feed { venue, role, state }),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(venue, end)| Step::Round { venue, end }),
        1 => (1u8..9, 0u8..3).prop_map(|(kind, a)| Step::Command { kind, a }),
        1 => Just(Step::Restart),
    ]
}

/// Bench plus what the fills should add up to.
struct Model {
    bench: Bench,
    placed: Vec<OrderId>,
    /// Fills that should have been booked, once each.
    booked: HashSet<(OrderId, u64)>,
    positions: BTreeMap<u16, i64>,
    cash: BTreeMap<u16, i128>,
    epoch: u64,
}

impl Model {
    fn new() -> Model {
        let mut config = config(vec![strategy_config("one", &[BTC_A, BTC_B, ETH_A]), strategy_config("two", &[BTC_A])]);
        config.capacity.orders = 64;
        config.limits.open_orders_max = 24;
        config.capacity.fills = 4_096;
        config.state_hash_every = 7;
        for limits in config.instrument_limits.iter_mut().flatten() {
            limits.position_max = Qty(POSITION_MAX);
        }
        Model {
            bench: Bench::with(config),
            placed: Vec::new(),
            booked: HashSet::new(),
            positions: BTreeMap::new(),
            cash: BTreeMap::new(),
            epoch: 1,
        }
    }

    fn back(&self, back: u8) -> OrderId {
        let at = self.placed.len().checked_sub(1 + usize::from(back));
        at.map_or(OrderId::new(4_000, 1), |at| self.placed[at])
    }

    /// Applies a step; gives the outputs.
    fn apply(&mut self, step: &Step) -> Vec<Event> {
        let mid = |instrument: u8| if instrument == 2 { 2_000_00 } else { 50_000_00 };
        let lot = |lots: u16| i64::from(lots) * 1_000_000;
        let at = self.bench.outputs.len();
        match *step {
            Step::Place { instrument, buy: side, offset, lots, ioc } => {
                self.bench.advance(1);
                let price = mid(instrument) + i64::from(offset) * 100;
                let id = InstrumentId(u16::from(instrument));
                let order = if side { buy(id, price, lot(lots)) } else { sell(id, price, lot(lots)) };
                if let Ok(id) = self.bench.place(engine_core::strategy::NewOrder { ioc, ..order }) {
                    self.placed.push(id);
                }
            }
            Step::Replace { back, offset, lots } => {
                let _ = self.bench.replace(self.back(back), 50_000_00 + i64::from(offset) * 100, lot(lots));
            }
            Step::Cancel { back } => {
                let _ = self.bench.cancel(self.back(back));
            }
            Step::Simple { back, kind } => {
                let kind = [EventKind::OrderAck, EventKind::OrderUncertain][usize::from(kind)];
                self.bench.simple(kind, self.back(back));
            }
            Step::Refused { back, kind, reason } => {
                let kind = [EventKind::OrderReject, EventKind::CancelReject, EventKind::ReplaceReject][usize::from(kind)];
                self.bench.refused(kind, self.back(back), RejectReason::from_raw(u32::from(reason)).unwrap());
            }
            Step::Fill { back, lots, trade, price_offset } => self.fill(back, lot(lots), u64::from(trade), price_offset),
            Step::Gone { back, expired, stated } => {
                let kind = if expired { EventKind::OrderExpired } else { EventKind::OrderCanceled };
                self.bench.gone(kind, self.back(back), stated.map(lot));
            }
            Step::Replaced { back, offset, lots } => {
                self.bench.replaced(self.back(back), 50_000_00 + i64::from(offset) * 100, lot(lots));
            }
            Step::Status { back, status, lots } => {
                let status = VenueOrderStatus::from_raw(u32::from(status)).unwrap();
                self.bench.status(self.back(back), status, lot(lots), 50_000_00, lot(400));
            }
            Step::Book { instrument, offset } => {
                let price = mid(instrument) + i64::from(offset) * 100;
                self.bench.book(InstrumentId(u16::from(instrument)), price - 10, price + 10);
            }
            Step::Invalid { instrument } => {
                self.bench.book_invalid(InstrumentId(u16::from(instrument)), BookInvalid::Gap);
            }
            Step::Wait { ms } => self.bench.advance(u64::from(ms) * MS),
            Step::Timer => {
                self.bench.timer();
            }
            Step::Feed { venue, role, state } => {
                let state = FeedState::from_raw(u32::from(state)).unwrap();
                self.bench.feed(VenueId(u8::from(venue)), u8::from(role), state);
            }
            Step::Round { venue, end } => {
                self.bench.reconcile(VenueId(u8::from(venue)), u32::from(end), 0);
            }
            Step::Command { kind, a } => {
                let kind = CommandKind::from_raw(u32::from(kind)).unwrap();
                // Not for good: later steps should still trade.
                self.bench.command(kind, u64::from(a), 1);
                self.bench.command(CommandKind::Resume, 0, 0);
                self.bench.command(CommandKind::EnableStrategy, 0, 1);
            }
            Step::Restart => {
                self.epoch += 1;
                self.bench.start(self.epoch);
            }
        }
        self.bench.outputs[at..].to_vec()
    }

    fn fill(&mut self, back: u8, qty: i64, trade: u64, price_offset: i8) {
        let id = self.back(back);
        let Some(order) = self.bench.desk().order(id).cloned() else {
            self.bench.fill(id, 50_000_00, qty, trade);
            return;
        };
        let price = 50_000_00 + i64::from(price_offset);
        self.bench.fill(id, price, qty, trade);
        if self.booked.insert((id, trade)) {
            let sign = order.side.sign();
            *self.positions.entry(order.instrument.0).or_default() += sign * qty;
            *self.cash.entry(order.instrument.0).or_default() -= i128::from(sign) * i128::from(price) * i128::from(qty);
        }
    }

    fn check(&self) {
        let desk = self.bench.desk();
        desk.orders().check();
        assert_eq!(desk.counters().outputs_lost, 0);
        let mut open: HashMap<(u16, u8), i64> = HashMap::new();
        let mut held: HashMap<(u8, u16), i128> = HashMap::new();
        let mut of_venue = [0u32; 2];
        for order in desk.orders().iter_open() {
            *open.entry((order.instrument.0, order.side as u8)).or_default() += order.reserved.qty.0;
            let instrument = desk.instruments().get(order.instrument).unwrap();
            let asset = if order.side == Side::Buy { instrument.quote } else { instrument.base };
            *held.entry((order.venue.0, asset.0)).or_default() += order.reserved.hold.0;
            of_venue[order.venue.index()] += 1;
            let worst = order.closing.map_or(order.qty_worst(), |c| c.filled.min(order.qty_worst()));
            assert_eq!(order.reserved.qty.0, (worst.0 - order.filled.0).max(0), "what is open is bound");
        }
        for instrument in 0..3u16 {
            for side in [Side::Buy, Side::Sell] {
                let want = open.get(&(instrument, side as u8)).copied().unwrap_or(0);
                assert_eq!(desk.gate().exposure.open(InstrumentId(instrument), side), Qty(want));
            }
            let position = desk.instrument_position(InstrumentId(instrument)).unwrap();
            assert_eq!(position.qty.0, self.positions.get(&instrument).copied().unwrap_or(0), "positions are the sum of fills");
            let cash = self.cash.get(&instrument).copied().unwrap_or(0) * 100_000_000; // price scale 2 + quantity scale 8 -> 18
            assert_eq!(position.cash(), Money(cash));
        }
        for venue in 0..2u8 {
            assert_eq!(desk.gate().venue(VenueId(venue)).unwrap().open, of_venue[usize::from(venue)]);
            for asset in 0..3u16 {
                let want = held.get(&(venue, asset)).copied().unwrap_or(0);
                assert_eq!(desk.gate().exposure.held(VenueId(venue), AssetId(asset)), Money(want));
            }
        }
    }
}

const POSITION_MAX: i64 = 10 * COIN;

/// True if some event of the table leads from one state to the other.
fn is_edge(from: OrderState, to: OrderState) -> bool {
    let working = matches!(to, OrderState::Acked | OrderState::PartiallyFilled | OrderState::Filled | OrderState::Unknown);
    OrderEvent::ALL.iter().any(|&event| match state::next(from, event) {
        Next::To(state) | Next::ImpossibleTo(state) => state == to,
        Next::Stay | Next::Impossible => from == to,
        Next::Working | Next::FirstAck => working || from == to,
        Next::Resume => working || matches!(to, OrderState::Pending | OrderState::PendingReplace),
        Next::RejectedUnlessAcked => matches!(to, OrderState::Rejected | OrderState::Unknown),
        Next::Gone => matches!(to, OrderState::Canceled | OrderState::Rejected),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_orders_stay_in_their_graph_and_sums_are_right(steps in proptest::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in &steps {
            let outputs = model.apply(step);
            for event in of_kind(&outputs, EventKind::OrderTransition) {
                let state = |word: u64| OrderState::from_raw(word as u8).unwrap();
                prop_assert!(is_edge(state(event.b), state(event.c)), "{:?}", event);
            }
            model.check();
            let desk = model.bench.desk();
            // Without orders to be placed on the way, values are those that the timer left.
            let timer = matches!(step, Step::Timer);
            desk.gate().exposure.check(desk.positions(), desk.orders().iter_open(), timer);
            if timer {
                prop_assert_eq!(desk.positions().net(), desk.pnl().net());
                for strategy in [StrategyId(0), StrategyId(1)] {
                    prop_assert_eq!(desk.positions().strategy_net(strategy), desk.strategy_pnl(strategy).net());
                }
            }
            desk.check_due();
        }
    }

    #[test]
    fn risk_never_lets_an_order_pass_beyond_the_position_limit(steps in proptest::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in &steps {
            let outputs = model.apply(step);
            for event in outputs.iter().filter(|e| matches!(e.event_kind(), Some(EventKind::SendNew | EventKind::SendReplace))) {
                let desk = model.bench.desk();
                let (id, side) = (event.instrument_id(), event.side().unwrap());
                let position = desk.instrument_position(id).unwrap().qty.0 * side.sign();
                let order = desk.order(event.order_id()).unwrap();
                // A replace that asks for less may be sent whatever the position has become.
                let asks_more = event.kind == EventKind::SendNew as u8 || event.c > event.d;
                if asks_more && !order.state.is_final() {
                    prop_assert!(position + desk.gate().exposure.open(id, side).0 <= POSITION_MAX);
                }
                let ours = desk.orders().most_aggressive(id, side.opposite());
                prop_assert!(ours.is_none_or(|o| (order.price_worst().0 - o.price_worst().0) * side.sign() < 0), "no self trade");
            }
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_outputs_and_the_same_state(steps in proptest::collection::vec(step(), 1..80)) {
        let (mut one, mut two) = (Model::new(), Model::new());
        for step in &steps {
            prop_assert_eq!(one.apply(step), two.apply(step));
            prop_assert_eq!(one.bench.core.state_hash(), two.bench.core.state_hash());
        }
        prop_assert!(one.bench.outputs == two.bench.outputs);
    }

    /// What a venue says about one order, in any order and more than once, ends alike.
    #[test]
    fn shuffled_and_repeated_reports_converge(
        fills in proptest::collection::vec(1i64..30, 0..5),
        ends in 0u8..3,
        order in proptest::collection::vec(any::<u16>(), 24),
    ) {
        let mut bench = Bench::new();
        let total = 150_000_000;
        let id = bench.place(buy(BTC_A, 50_000_00, total)).unwrap();
        let filled: i64 = fills.iter().map(|f| f * 1_000_000).sum();
        let mut reports: Vec<(u16, u8)> = Vec::new();
        // 0 is the ack, 1 the end, 2.. the fills; everything twice.
        for (at, key) in (0..fills.len() as u8 + 2).cycle().take((fills.len() + 2) * 2).zip(order) {
            reports.push((key, at));
        }
        reports.sort();
        for &(_, report) in &reports {
            match report {
                0 => { bench.simple(EventKind::OrderAck, id); }
                1 if ends == 0 => { bench.gone(EventKind::OrderCanceled, id, Some(filled)); }
                1 if ends == 1 => { bench.gone(EventKind::OrderExpired, id, Some(filled)); }
                1 => { bench.status(id, VenueOrderStatus::Canceled, filled, 50_000_00, total); }
                n => { bench.fill(id, 50_000_00, fills[usize::from(n) - 2] * 1_000_000, u64::from(n)); }
            }
            bench.desk().orders().check();
        }
        let want = if ends == 1 { OrderState::Expired } else { OrderState::Canceled };
        prop_assert_eq!(bench.state(id), want);
        prop_assert_eq!(bench.desk().instrument_position(BTC_A).unwrap().qty, Qty(filled));
        prop_assert_eq!(bench.desk().gate().exposure.held(A, USDT), Money::ZERO);
        let impossible = bench.desk().counters().anomaly(Anomaly::ImpossibleTransition);
        prop_assert_eq!(impossible, 0);
    }

    /// Arbitrary words in every field: nothing panics, and the table stays in order.
    #[test]
    fn no_event_whatever_makes_the_core_panic(
        events in proptest::collection::vec(
            (any::<u8>(), any::<u8>(), 0u8..3, 0u8..3, 0u16..4, any::<u16>(), any::<u32>(), any::<[u64; 4]>(), any::<bool>()),
            1..60,
        ),
    ) {
        let mut bench = Bench::new();
        let resting = bench.resting();
        for (kind, flags, venue, side, instrument, asset, code, words, ours) in events {
            let kind = if kind < 64 { kind } else { kind % 45 };
            let code = if ours { code % 20 } else { code };
            let a = if ours { resting.0 } else { words[0] };
            bench.advance(words[3] % SECOND);
            let event = Event {
                kind, flags, venue, side, instrument, asset, code, a,
                b: words[1], c: words[2], d: words[3],
                core_time_ns: bench.now_ns, venue_time_ns: words[2], poll_delay_ns: code,
            };
            bench.apply(event);
            bench.desk().orders().check();
        }
    }
}
