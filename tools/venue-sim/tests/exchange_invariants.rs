//! What must hold of the exchange whatever its users do: nothing is made or lost, holds cover the open
//! orders and nothing else, fills add up, prices are honoured, books never cross.

use proptest::prelude::*;
use venue_sim::book::Side;
use venue_sim::decimal::Amount;
use venue_sim::exchange::{
    Amend, EndReason, Event, Exchange, FeeAsset, FeePolicy, MarketSpec, NewOrder, OrderKind, SelfTrade, Status, TimeInForce,
};
use venue_sim::ledger::AccountId;

#[derive(Clone, Debug)]
enum Step {
    Place { user: usize, buy: bool, kind: u8, price: i64, qty: i64, post_only: bool, mode: u8 },
    Cancel { user: usize, pick: usize },
    Amend { user: usize, pick: usize, qty: i64, price: Option<i64> },
    Crowd { buy: bool, price: i64, qty: i64, take: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let price = 9_900i64..10_100;
    let place = (0usize..2, any::<bool>(), 0u8..5, price.clone(), 1i64..500, any::<bool>(), 0u8..5)
        .prop_map(|(user, buy, kind, price, qty, post_only, mode)| Step::Place { user, buy, kind, price, qty, post_only, mode });
    let cancel = (0usize..2, any::<usize>()).prop_map(|(user, pick)| Step::Cancel { user, pick });
    let amend = (0usize..2, any::<usize>(), 1i64..500, proptest::option::of(price.clone()))
        .prop_map(|(user, pick, qty, price)| Step::Amend { user, pick, qty, price });
    let crowd = (any::<bool>(), price, 1i64..800, any::<bool>()).prop_map(|(buy, price, qty, take)| Step::Crowd { buy, price, qty, take });
    proptest::collection::vec(prop_oneof![4 => place, 1 => cancel, 1 => amend, 4 => crowd], 1..120)
}

fn exchange(asset: FeeAsset) -> (Exchange, [AccountId; 2]) {
    let mut exchange = Exchange::new(FeePolicy { maker_ppm: 1_600, taker_ppm: 2_600, asset }, 1);
    exchange.add_market(
        MarketSpec {
            base: "BTC".into(),
            quote: "USD".into(),
            price_scale: 2,
            qty_scale: 5,
            tick: 1,
            lot: 1,
            qty_min: 1,
            qty_max: 1_000_000,
            notional_min: Amount::ZERO,
            open_price: 10_000,
        },
        1,
    );
    let (base, quote) = (exchange.ledger.asset("BTC"), exchange.ledger.asset("USD"));
    let users = [exchange.ledger.open_account(), exchange.ledger.open_account()];
    for user in users {
        exchange.ledger.deposit(user, base, Amount::parse("0.02").expect("valid"));
        exchange.ledger.deposit(user, quote, Amount::parse("2.5").expect("valid"));
    }
    (exchange, users)
}

fn side(buy: bool) -> Side {
    if buy { Side::Buy } else { Side::Sell }
}

fn apply(exchange: &mut Exchange, users: [AccountId; 2], step: &Step, now_ns: u64) {
    let pick_open = |exchange: &Exchange, user: AccountId, pick: usize| {
        let open: Vec<u64> = exchange.open_orders(user).map(|order| order.id).collect();
        (!open.is_empty()).then(|| open[pick % open.len()])
    };
    match step {
        Step::Place { user, buy, kind, price, qty, post_only, mode } => {
            let market = *kind == 4;
            // A refusal is an answer like any other here.
            let _ = exchange.place(
                now_ns,
                NewOrder {
                    account: users[*user],
                    market: 0,
                    side: side(*buy),
                    kind: if market { OrderKind::Market } else { OrderKind::Limit },
                    time_in_force: match kind {
                        2 => TimeInForce::Ioc,
                        3 => TimeInForce::Fok,
                        _ => TimeInForce::Gtc,
                    },
                    price: if market { 0 } else { *price },
                    qty: *qty,
                    quote_qty: None,
                    post_only: *post_only && *kind < 2,
                    client_id: String::new(),
                    user_ref: 0,
                    self_trade: [SelfTrade::Allow, SelfTrade::EndTaker, SelfTrade::EndMaker, SelfTrade::EndBoth, SelfTrade::Decrement]
                        [usize::from(*mode)],
                },
            );
        }
        Step::Cancel { user, pick } => {
            if let Some(id) = pick_open(exchange, users[*user], *pick) {
                assert!(exchange.cancel(now_ns, users[*user], id, EndReason::User).is_ok());
                assert!(exchange.cancel(now_ns, users[*user], id, EndReason::User).is_err(), "an order ends once");
                assert!(exchange.cancel(now_ns, users[1 - *user], id, EndReason::User).is_err(), "and only its owner ends it");
            }
        }
        Step::Amend { user, pick, qty, price } => {
            if let Some(id) = pick_open(exchange, users[*user], *pick) {
                let _ = exchange.amend(now_ns, users[*user], id, Amend { qty: Some(*qty), price: *price, ..Amend::default() });
            }
        }
        Step::Crowd { buy, price, qty, take } => {
            if *take {
                exchange.crowd_take(now_ns, 0, side(*buy), Some(*price), *qty);
            } else {
                exchange.crowd_place(now_ns, 0, side(*buy), *price, *qty);
            }
        }
    }
}

fn check(exchange: &mut Exchange, users: [AccountId; 2], sums: [Amount; 2]) -> Result<(), TestCaseError> {
    let assets = [exchange.markets[0].base, exchange.markets[0].quote];
    prop_assert_eq!(assets.map(|asset| exchange.ledger.sum(asset)), sums, "nothing is made or lost");
    for user in users {
        for asset in assets {
            let balance = exchange.ledger.balance(user, asset);
            prop_assert!(balance.hold.0 >= 0 && balance.total >= balance.hold, "{:?}", balance);
        }
        let asks: Amount =
            exchange.open_orders(user).filter(|o| o.terms.side == Side::Sell).map(|o| Amount::from_fixed(o.open_qty(), 5)).sum();
        prop_assert_eq!(exchange.ledger.balance(user, assets[0]).hold, asks, "base on hold is what is offered");
        if exchange.open_orders(user).all(|o| o.terms.side == Side::Sell) {
            prop_assert_eq!(exchange.ledger.balance(user, assets[1]).hold, Amount::ZERO);
        }
        for order in exchange.all_orders(user) {
            let filled: i64 = exchange.fills(user).iter().filter(|fill| fill.order_id == order.id).map(|fill| fill.qty).sum();
            prop_assert_eq!(filled, order.filled_qty, "fills add up");
            prop_assert!(order.filled_qty + order.prevented_qty <= order.terms.qty || order.end_reason == Some(EndReason::AmendedAway));
            prop_assert_eq!(exchange.markets[0].book.get(order.id).is_some(), order.status.is_open(), "open orders rest, others do not");
        }
    }
    let book = &exchange.markets[0].book;
    if let (Some(bid), Some(ask)) = (book.best(Side::Buy), book.best(Side::Sell)) {
        prop_assert!(bid.0 < ask.0, "crossed");
    }
    for event in exchange.take_events() {
        if let Event::Order(order, venue_sim::exchange::OrderChange::Fill(fill)) = event {
            let better = order.terms.kind == OrderKind::Market
                || match order.terms.side {
                    Side::Buy => fill.price <= order.terms.price,
                    Side::Sell => fill.price >= order.terms.price,
                };
            prop_assert!(better, "a limit is a limit");
            prop_assert!(order.status != Status::Open, "a filled order is not new");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_is_made_or_lost_whatever_users_do(steps in steps(), quote_fees in any::<bool>()) {
        let (mut exchange, users) = exchange(if quote_fees { FeeAsset::Quote } else { FeeAsset::Received });
        let sums = [exchange.markets[0].base, exchange.markets[0].quote].map(|asset| exchange.ledger.sum(asset));
        for (now_ns, step) in (1u64..).zip(&steps) {
            apply(&mut exchange, users, step, now_ns);
            check(&mut exchange, users, sums)?;
        }
        for user in users {
            let open: Vec<u64> = exchange.open_orders(user).map(|order| order.id).collect();
            for id in open {
                prop_assert!(exchange.cancel(1_000, user, id, EndReason::User).is_ok());
            }
            for asset in [exchange.markets[0].base, exchange.markets[0].quote] {
                prop_assert_eq!(exchange.ledger.balance(user, asset).hold, Amount::ZERO, "no order, no hold");
            }
        }
    }

    /// Against two resting orders of the same price the earlier fills first, and a better price always
    /// goes before both, however they were reduced meanwhile.
    #[test]
    fn price_then_time_decides_who_fills(
        first in 2i64..100, second in 1i64..100, better in 1i64..100, reduce in any::<bool>(), taken in 1i64..300,
    ) {
        let (mut exchange, users) = exchange(FeeAsset::Received);
        let place = |exchange: &mut Exchange, user: usize, price: i64, qty: i64| {
            exchange.place(1, NewOrder {
                account: users[user], market: 0, side: Side::Sell, kind: OrderKind::Limit, time_in_force: TimeInForce::Gtc,
                price, qty, quote_qty: None, post_only: true, client_id: String::new(), user_ref: 0, self_trade: SelfTrade::Allow,
            }).expect("funded")
        };
        let early = place(&mut exchange, 0, 10_010, first);
        let late = place(&mut exchange, 1, 10_010, second);
        let best = place(&mut exchange, 1, 10_000, better);
        let first = if reduce {
            exchange.amend(2, users[0], early, Amend { qty: Some(first - 1), ..Amend::default() }).expect("reduces");
            first - 1
        } else {
            first
        };
        exchange.crowd_take(3, 0, Side::Buy, None, taken);
        let filled = |user: usize, id: u64| exchange.order(users[user], id).expect("known").filled_qty;
        let of_best = taken.min(better);
        let of_early = (taken - of_best).min(first);
        let of_late = (taken - of_best - of_early).min(second);
        prop_assert_eq!([filled(1, best), filled(0, early), filled(1, late)], [of_best, of_early, of_late]);
    }
}
