//! The simulated market as strategies meet it: one reference price, venues that stray from it by more than
//! the fees now and then, and takers that reach resting quotes at the touch and away from it.

use venue_sim::binance::Binance;
use venue_sim::book::{OrderId, Side};
use venue_sim::config::{BinanceConfig, KrakenConfig};
use venue_sim::decimal::Amount;
use venue_sim::exchange::{
    EndReason, Event, Exchange, FeeAsset, FeePolicy, MarketSpec, NewOrder, OrderChange, OrderKind, SelfTrade, TimeInForce,
};
use venue_sim::flow::{Crowd, FlowConfig, References};
use venue_sim::kraken::Kraken;
use venue_sim::ledger::AccountId;
use venue_sim::venue::Venue;

const NOW: u64 = 1_767_225_600_000_000_000;
const MS: u64 = 1_000_000;

/// Best bid and ask of a venue's first market, in quote units.
fn top(venue: &dyn Venue) -> Option<(f64, f64)> {
    let market = &venue.exchange().markets[0];
    let scale = 10f64.powi(i32::from(market.spec.price_scale));
    let best = |side| market.book.best(side).map(|(price, _)| price as f64 / scale);
    Some((best(Side::Buy)?, best(Side::Sell)?))
}

#[test]
fn venues_follow_one_reference_and_stray_by_more_than_the_fees_now_and_then() {
    let flow = FlowConfig::default();
    let mut references = References::new(7, &flow, vec![("BTC".into(), 68_250.1), ("ETH".into(), 3_512.4)]);
    let mut binance = BinanceConfig::default();
    binance.venue.messages_per_s = 10_000;
    let mut kraken = KrakenConfig::default();
    kraken.venue.messages_per_s = 10_000;
    let fees = f64::from(binance.venue.taker_ppm + kraken.venue.taker_ppm) * 1e-6;
    let mut binance = Binance::new(binance, 7, &flow, &references, NOW).expect("valid");
    let mut kraken = Kraken::new(kraken, 7, &flow, &references, NOW).expect("valid");
    let mut gaps = Vec::new();
    let (mut episodes, mut paying_ms, mut pays_now) = (0, 0, false);
    let seconds = 30;
    for ms in 1..=seconds * 1_000u64 {
        references.step();
        binance.tick(NOW + ms * MS, 1_000, &references);
        kraken.tick(NOW + ms * MS, 1_000, &references);
        let (Some((bid_a, ask_a)), Some((bid_b, ask_b))) = (top(&binance), top(&kraken)) else { panic!("a side ran empty") };
        let edge = (bid_a / ask_b).max(bid_b / ask_a) - 1.0;
        gaps.push(((bid_a + ask_a) / (bid_b + ask_b) - 1.0).abs());
        let pays = edge > fees;
        paying_ms += u64::from(pays);
        episodes += u32::from(pays && !pays_now);
        pays_now = pays;
    }
    gaps.sort_by(f64::total_cmp);
    assert!(gaps[gaps.len() / 2] < 10e-4, "mostly together: {}", gaps[gaps.len() / 2]);
    assert!(episodes >= 4, "{episodes} chances in {seconds} s");
    assert!(paying_ms > 400 && paying_ms < seconds * 300, "now and then, not always: {paying_ms} ms");
}

/// A maker that keeps a bid and an ask around the middle, renewed ten times a second.
struct Maker {
    account: AccountId,
    distance_bps: f64,
    own: Vec<OrderId>,
}

impl Maker {
    fn renew(&mut self, exchange: &mut Exchange, now_ns: u64, middle: f64) {
        for id in self.own.drain(..) {
            // One that has filled meanwhile is gone already.
            let _ = exchange.cancel(now_ns, self.account, id, EndReason::User);
        }
        let away = middle * self.distance_bps * 1e-4;
        for (side, price) in [(Side::Buy, (middle - away).floor()), (Side::Sell, (middle + away).ceil())] {
            let order = NewOrder {
                account: self.account,
                market: 0,
                side,
                kind: OrderKind::Limit,
                time_in_force: TimeInForce::Gtc,
                price: price as i64,
                qty: 2_000,
                quote_qty: None,
                post_only: true,
                client_id: String::new(),
                user_ref: 0,
                self_trade: SelfTrade::Allow,
            };
            self.own.extend(exchange.place(now_ns, order));
        }
    }
}

/// Fills per second of such a maker, and what the middle moved in its favour within a second of a fill,
/// basis points.
fn maker_record(distance_bps: f64, seconds: u64) -> (f64, f64) {
    let flow = FlowConfig { dislocation_every_ms: 0, ..FlowConfig::default() };
    let mut exchange = Exchange::new(FeePolicy { maker_ppm: 0, taker_ppm: 0, asset: FeeAsset::Quote }, 1);
    exchange.add_market(
        MarketSpec {
            base: "BTC".into(),
            quote: "USDT".into(),
            price_scale: 2,
            qty_scale: 5,
            tick: 1,
            lot: 1,
            qty_min: 1,
            qty_max: 900_000_000,
            notional_min: Amount::ZERO,
            open_price: 6_825_010,
        },
        1,
    );
    let account = exchange.ledger.open_account();
    for (asset, amount) in [("BTC", "1000"), ("USDT", "100000000")] {
        let asset = exchange.ledger.asset(asset);
        exchange.ledger.deposit(account, asset, Amount::parse(amount).expect("valid"));
    }
    let mut references = References::new(5, &flow, vec![("BTC".into(), 68_250.1)]);
    let mut crowd = Crowd::new(5, flow, 1);
    crowd.step_prices(&exchange, &references);
    crowd.seed(&mut exchange, 0);
    let mut maker = Maker { account, distance_bps, own: Vec::new() };
    let (mut fills, mut gain_bps) = (0u32, 0.0);
    let mut pending: Vec<(u64, f64, f64)> = Vec::new();
    for ms in 0..seconds * 1_000 {
        references.step();
        crowd.step_prices(&exchange, &references);
        for _ in 0..3 {
            crowd.act(&mut exchange, ms * MS);
        }
        let best = |side| exchange.markets[0].book.best(side).map(|(price, _)| price as f64);
        let (Some(bid), Some(ask)) = (best(Side::Buy), best(Side::Sell)) else { panic!("a side ran empty") };
        let middle = (bid + ask) / 2.0;
        if ms % 100 == 0 {
            maker.renew(&mut exchange, ms * MS, middle);
        }
        for event in exchange.take_events() {
            if let Event::Order(_, OrderChange::Fill(fill)) = event {
                fills += 1;
                pending.push((ms + 1_000, if fill.side == Side::Buy { 1.0 } else { -1.0 }, fill.price as f64));
            }
        }
        pending.retain(|(at, sign, price)| {
            let due = ms >= *at;
            gain_bps += if due { sign * (middle - price) / price * 1e4 } else { 0.0 };
            !due
        });
    }
    (f64::from(fills) / seconds as f64, gain_bps / f64::from(fills.max(1)))
}

#[test]
fn takers_fill_quotes_at_the_touch_often_and_quotes_away_from_it_now_and_then() {
    let (often, gain_bps) = maker_record(0.6, 20);
    assert!(often > 3.0, "{often} fills/s at the touch");
    assert!(gain_bps > 0.0, "a maker can live: {gain_bps} bps");
    let (seldom, gain_bps) = maker_record(6.0, 60);
    assert!(seldom > 0.05 && seldom < often, "{seldom} fills/s six basis points away");
    assert!(gain_bps > 0.0, "{gain_bps} bps");
}
