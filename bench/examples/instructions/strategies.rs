//! What the strategies that are shipped do with a change of the book: both legs of an arbitrage, both quotes moved; and with
//! the changes, nearly all there are, that cause nothing. And a quote cancelled, where the venue does not amend.

use crate::{Counter, repeat};
use anyhow::{Context as _, ensure};
use bench::benches::core::session::{ASK, BID, BTC, COIN, Market, Session, TRADED, VENUE, config};
use engine_core::config::CoreConfig;
use engine_core::core::Core;
use engine_core::event::{Event, EventKind, QTY_UNSTATED, Side, Times, flags};
use engine_core::fixed::{Price, Qty};
use engine_core::ids::{InstrumentId, OrderId, VenueId};
use engine_core::strategies::arbitrage::{Arbitrage, ArbitrageParameters};
use engine_core::strategies::market_making::{MarketMaking, MarketMakingParameters};
use engine_core::strategy::Strategy;
use std::hint::black_box;

const OTHER_VENUE: VenueId = VenueId(1);
const OTHER: InstrumentId = InstrumentId(1);
const MARKETS: [Market; 2] =
    [Market { venue: VENUE, symbol: "BTCUSDT", base: BTC }, Market { venue: OTHER_VENUE, symbol: "BTC/USDT", base: BTC }];
/// The other venue's bids while there is a chance: a hundredth above the asks here.
const DEAR: i64 = ASK + ASK / 100;

/// A session of one strategy, on venues that amend orders or do not.
fn session(
    markets: &[Market],
    instruments: &[InstrumentId],
    amends: bool,
    strategy: impl FnOnce(&CoreConfig) -> Result<Box<dyn Strategy>, String>,
) -> anyhow::Result<Session> {
    let mut config = config(markets, &["counted"])?;
    config.strategies[0].instruments = instruments.to_vec();
    for &id in instruments {
        config.instruments.get_mut(id).context("the instrument is there")?.capabilities.replace = amends;
    }
    let strategy = strategy(&config).map_err(anyhow::Error::msg)?;
    Session::new(config, vec![strategy])
}

/// Orders a second are limited: so many inputs are apart.
fn later(session: &mut Session) -> Times {
    (0..3).for_each(|_| _ = session.next_times());
    session.next_times()
}

/// The only level of the other venue's bids, or that it is gone.
fn other_bid(price: i64, qty: i64, times: Times) -> Event {
    Event::book_level(OTHER_VENUE, OTHER, Side::Buy, Price(price), Qty(qty), times.core_ns, times).with(flags::LAST)
}

/// Arbitrage between two venues, of which the other has one level a side.
fn arbitrage() -> anyhow::Result<Session> {
    let instruments = [TRADED, OTHER];
    let make = |config: &CoreConfig| {
        let made = Arbitrage::new(
            ArbitrageParameters { cooldown_ns: 1, age_max_ns: u64::MAX, ..ArbitrageParameters::default() },
            &config.instruments,
            &instruments,
        );
        made.map(|made| Box::new(made) as Box<dyn Strategy>)
    };
    let mut session = session(&MARKETS, &instruments, true, make)?;
    let times = session.next_times();
    for (side, price) in [(Side::Buy, BID), (Side::Sell, DEAR + 10)] {
        let mark = if side == Side::Buy { flags::CLEAR } else { flags::LAST };
        session.core.apply(&Event::book_level(OTHER_VENUE, OTHER, side, Price(price), Qty(COIN), 1, times).with(mark));
    }
    Ok(session)
}

pub fn arbitrage_pair() -> anyhow::Result<()> {
    let mut session = arbitrage()?;
    repeat(|counter| {
        let times = later(&mut session);
        let (chance, gone, core) = (other_bid(DEAR, COIN / 20, times), other_bid(DEAR, 0, times), &mut session.core);
        let mut legs = Vec::with_capacity(8);
        counter.count(|| legs.extend_from_slice(core.apply(black_box(&chance))));
        legs.retain(|event| event.event_kind() == Some(EventKind::SendNew));
        ensure!(legs.len() == 2, "two legs, not {legs:?}");
        core.apply(&gone);
        for leg in legs {
            let expired = Event::order_report(EventKind::OrderExpired, leg.venue_id(), leg.instrument_id(), leg.order_id(), times);
            core.apply(&Event { b: QTY_UNSTATED, ..expired });
            ensure!(core.desk().order(leg.order_id()).is_some_and(|order| order.state.is_final()), "it has expired");
        }
        Ok(())
    })
}

/// A change at the touch: bids outweigh asks there, or asks bids, so the fair price moves by some ticks.
fn touch(heavy: bool, times: Times) -> Event {
    let qty = if heavy { 100 * COIN } else { COIN / 100 };
    Event::book_level(VENUE, TRADED, Side::Buy, Price(BID), Qty(qty), times.core_ns, times).with(flags::LAST)
}

/// Market making, both quotes resting.
fn market_making(parameters: MarketMakingParameters, amends: bool) -> anyhow::Result<Session> {
    let make = |config: &CoreConfig| {
        let made = MarketMaking::new(parameters, &config.instruments, &[TRADED]);
        made.map(|made| Box::new(made) as Box<dyn Strategy>)
    };
    let mut session = session(&MARKETS[..1], &[TRADED], amends, make)?;
    // Both quotes were placed when the book came.
    let times = later(&mut session);
    let placed: Vec<OrderId> = session.core.desk().orders().iter_open().map(|order| order.id).collect();
    for order in placed {
        session.core.apply(&Event::order_report(EventKind::OrderAck, VENUE, TRADED, order, times));
    }
    Ok(session)
}

/// Quotes follow every change.
fn restless() -> MarketMakingParameters {
    MarketMakingParameters { refresh_ppm: 0, refresh_min_ns: 1, ..MarketMakingParameters::default() }
}

/// What a change, counted, causes of one kind.
fn sent(kind: EventKind, core: &mut Core, change: &Event, counter: &mut Counter) -> Vec<Event> {
    let mut caused = Vec::with_capacity(8);
    counter.count(|| caused.extend_from_slice(core.apply(black_box(change))));
    caused.retain(|event| event.event_kind() == Some(kind));
    caused
}

pub fn quotes_moved() -> anyhow::Result<()> {
    let mut session = market_making(restless(), true)?;
    let mut heavy = true;
    repeat(|counter| {
        heavy = !heavy;
        let times = later(&mut session);
        let core = &mut session.core;
        let replaces = sent(EventKind::SendReplace, core, &touch(heavy, times), counter);
        ensure!(replaces.len() == 2, "both quotes are moved, not {replaces:?}");
        for replace in replaces {
            let (order, price, qty) = (replace.order_id(), replace.order_price(), replace.order_qty());
            core.apply(&Event::order_replaced(VENUE, TRADED, order, price, qty, times));
        }
        Ok(())
    })
}

/// Where orders are not amended, a quote that is off is cancelled, while of the other one the answer is awaited.
pub fn quote_cancelled() -> anyhow::Result<()> {
    let mut session = market_making(restless(), false)?;
    let (mut heavy, mut awaited) = (true, None);
    repeat(|counter| {
        heavy = !heavy;
        let times = later(&mut session);
        let cancels = sent(EventKind::SendCancel, &mut session.core, &touch(heavy, times), counter);
        // At first both rest.
        ensure!(cancels.len() == if awaited.is_some() { 1 } else { 2 }, "one quote is cancelled, not {cancels:?}");
        let placed = placed_anew(&mut session, cancels[0].order_id(), times)?;
        let other = match awaited.replace(placed) {
            // It is where it should no longer be.
            Some(order) => acknowledge(&mut session, order, times).context("it is cancelled as well")?,
            None => cancels[1].order_id(),
        };
        let other = placed_anew(&mut session, other, times)?;
        ensure!(acknowledge(&mut session, other, times).is_none(), "it rests");
        Ok(())
    })
}

/// Acknowledges an order; gives it if it is cancelled thereupon.
fn acknowledge(session: &mut Session, order: OrderId, times: Times) -> Option<OrderId> {
    let acknowledged = Event::order_report(EventKind::OrderAck, VENUE, TRADED, order, times);
    let caused = session.core.apply(&acknowledged);
    caused.iter().find(|event| event.event_kind() == Some(EventKind::SendCancel)).map(Event::order_id)
}

/// An order that was cancelled is gone; gives the one that is placed in its stead.
fn placed_anew(session: &mut Session, order: OrderId, times: Times) -> anyhow::Result<OrderId> {
    let gone = Event { b: QTY_UNSTATED, ..Event::order_report(EventKind::OrderCanceled, VENUE, TRADED, order, times) };
    let caused = session.core.apply(&gone);
    let new = caused.iter().find(|event| event.event_kind() == Some(EventKind::SendNew));
    new.map(Event::order_id).context("the quote is placed anew")
}

/// The touch changes, but not by as much as quotes are moved for.
pub fn quotes_kept() -> anyhow::Result<()> {
    let parameters = MarketMakingParameters { refresh_ppm: 100_000, edge_min_ppm: 0, ..MarketMakingParameters::default() };
    let mut session = market_making(parameters, true)?;
    let mut heavy = true;
    repeat(|counter| {
        heavy = !heavy;
        let (change, core) = (touch(heavy, later(&mut session)), &mut session.core);
        let mut caused = usize::MAX;
        counter.count(|| caused = core.apply(black_box(&change)).len());
        ensure!(caused == 0 && core.desk().orders().open_len() == 2, "both quotes stay, and {caused} outputs");
        Ok(())
    })
}

/// The touch changes, but the other venue's does not pay.
pub fn arbitrage_none() -> anyhow::Result<()> {
    let mut session = arbitrage()?;
    let mut heavy = true;
    repeat(|counter| {
        heavy = !heavy;
        let (change, core) = (touch(heavy, later(&mut session)), &mut session.core);
        let mut caused = usize::MAX;
        counter.count(|| caused = core.apply(black_box(&change)).len());
        ensure!(caused == 0, "{caused} outputs");
        Ok(())
    })
}
