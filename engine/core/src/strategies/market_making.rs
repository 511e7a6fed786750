//! Market making: a bid and an ask around a fair price, in each of the strategy's instruments.
//!
//! ```text
//!   fair         = microprice, leaning with the order flow
//!   distance     = max(half spread, maker fee + minimum edge) + multiple of the volatility over the horizon
//!   reservation  = fair, shifted against the inventory          (long: down, both quotes; short: up)
//!   bid, ask     = reservation -/+ distance, never nearer to fair than maker fee + minimum edge,
//!                  never through the other side of the book, rounded away from fair to the tick
//! ```
//!
//! (The shift by inventory is the linear form of Avellaneda and Stoikov, "High-frequency trading in a limit order
//! book", 2008.) A quote moves when its price is off by more than the refresh threshold: amended in place where the venue
//! can, else cancelled and placed anew once the cancel is confirmed. Both quotes are pulled while the book is invalid or
//! stale, order entry is down, or the strategy may not trade. One order a side: what is not known to be gone is never
//! replaced by a second one.
//!
//! An order or amend that is refused for the rate pauses its instrument, longer with each refusal in a row. Cancels go on:
//! a quote that came nearer to fair than the minimum edge and may not be amended now is cancelled.

use crate::book::{Book, Level};
use crate::event::{InstrumentStatus, Side, VALUE_MAX};
use crate::fixed::{Money, Price, Qty};
use crate::ids::{AssetId, InstrumentId, OrderId, VenueId};
use crate::instrument::{Instrument, InstrumentTable};
use crate::order::OrderState;
use crate::signals::{EwmaVolatility, OrderFlowImbalance, horizon_root, microprice};
use crate::sizing::{Bounds, Sizer, Sizing, inventory_room};
use crate::state_hash::StateHasher;
use crate::strategies::rate_backoff::RateBackoff;
use crate::strategy::{BookState, Context, Fill, NewOrder, OrderUpdate, Strategy};

/// What the strategy is tuned by. Fractions of a price are in millionths (ppm; 100 = one basis point).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MarketMakingParameters {
    /// Size of each quote.
    pub sizing: Sizing,
    /// Distance of a quote from the fair price in a calm market, ppm.
    pub half_spread_ppm: i64,
    /// Least distance of a quote from the fair price after the maker fee, ppm: kept whatever the skew.
    pub edge_min_ppm: i64,
    /// Standard deviations over the horizon that are added to the distance, millionths (1,000,000 = one).
    pub volatility_multiple_ppm: i64,
    /// How long a quote is expected to rest: the horizon of the volatility, nanoseconds.
    pub volatility_horizon_ns: u64,
    /// Memory of the volatility estimate, nanoseconds.
    pub volatility_tau_ns: u64,
    /// Shortest time between two samples of the price, nanoseconds.
    pub volatility_interval_ns: u64,
    /// Largest inventory, long or short, base units: beyond it only the side that reduces is quoted.
    pub inventory_max: Money,
    /// How far quotes shift against the inventory when it is at its largest, ppm.
    pub skew_ppm: i64,
    /// How far the fair price leans towards order flow that all goes one way, ppm.
    pub flow_lean_ppm: i64,
    /// Memory of the order flow, nanoseconds.
    pub flow_tau_ns: u64,
    /// A quote is moved once its price is off by more than this, ppm.
    pub refresh_ppm: i64,
    /// Shortest time between two moves of a quote, nanoseconds. A quote nearer to fair than the minimum edge moves at once.
    pub refresh_min_ns: u64,
    /// Pause of a side after a refusal or reject, nanoseconds. Refused for the rate, both sides pause, and each further such
    /// refusal doubles the pause, up to 32 times this.
    pub retry_ns: u64,
}

impl Default for MarketMakingParameters {
    fn default() -> Self {
        MarketMakingParameters {
            sizing: Sizing::Notional(Money::from_scaled(1_000, 0)),
            half_spread_ppm: 500,
            edge_min_ppm: 100,
            volatility_multiple_ppm: 1_000_000,
            volatility_horizon_ns: 1_000_000_000,
            volatility_tau_ns: 30_000_000_000,
            volatility_interval_ns: 100_000_000,
            inventory_max: Money::from_scaled(1, 0),
            skew_ppm: 500,
            flow_lean_ppm: 50,
            flow_tau_ns: 1_000_000_000,
            refresh_ppm: 100,
            refresh_min_ns: 50_000_000,
            retry_ns: 500_000_000,
        }
    }
}

const MILLION: f64 = 1e6;
/// No lane.
const NONE: u32 = u32::MAX;

/// The quote on one side.
#[derive(Clone, Copy, Debug, Default)]
struct Quote {
    /// The order; [`OrderId::NONE`] if there is none.
    order: OrderId,
    /// When it was placed or moved last.
    moved_ns: u64,
    /// No order and no amend is asked for before this time.
    retry_at_ns: u64,
    /// No cancel is asked for before this time: the last one was refused.
    cancel_at_ns: u64,
}

/// The parameters, and those that are multiplied with as what they are multiplied by.
#[derive(Clone, Copy, Debug)]
struct Tuning {
    parameters: MarketMakingParameters,
    flow_lean: f64,
    skew: f64,
    volatility_multiple: f64,
    /// Square root of the horizon in seconds.
    horizon_root: f64,
    refresh_ppm: f64,
}

impl Tuning {
    fn new(parameters: MarketMakingParameters) -> Tuning {
        Tuning {
            parameters,
            flow_lean: fraction(parameters.flow_lean_ppm),
            skew: fraction(parameters.skew_ppm),
            volatility_multiple: fraction(parameters.volatility_multiple_ppm),
            horizon_root: horizon_root(parameters.volatility_horizon_ns),
            refresh_ppm: parameters.refresh_ppm as f64,
        }
    }
}

fn fraction(ppm: i64) -> f64 {
    ppm as f64 / MILLION
}

/// One instrument.
#[derive(Clone, Debug)]
struct Lane {
    instrument: InstrumentId,
    venue: VenueId,
    inventory_max: Qty,
    sizer: Sizer,
    /// Of an order, in millionths.
    fee_ppm: i32,
    /// Orders are amended in place, and are post-only.
    amends: bool,
    post_only: bool,
    /// By [`Side::index`]: what an order holds, and fair times this is the most aggressive price.
    spends: [AssetId; 2],
    edges: [f64; 2],
    /// Distance from fair in a calm market.
    calm: f64,
    flow: OrderFlowImbalance,
    volatility: EwmaVolatility,
    /// Both sides spend the same rate budget.
    backoff: RateBackoff,
    /// By [`Side::index`].
    quotes: [Quote; 2],
}

/// Where a side wants to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Target {
    /// Zero: nowhere.
    price: Price,
    /// The most aggressive price that keeps the minimum edge, not yet on tick.
    edge: Price,
    /// What the inventory leaves to be traded.
    room: Qty,
}

/// Where both sides want to be, by [`Side::index`].
#[derive(Clone, Copy, PartialEq, Debug)]
struct Targets {
    sides: [Target; 2],
    volatility: f64,
}

/// What both sides' targets follow from.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Fair {
    /// Best bid and ask.
    top: [Price; 2],
    fair: f64,
    /// Shifted against the inventory.
    reservation: f64,
    distance: f64,
    position: Qty,
}

/// See the module header.
pub struct MarketMaking {
    tuning: Tuning,
    lanes: Vec<Lane>,
    /// By instrument id: index into `lanes`, or [`NONE`].
    lane_of: Vec<u32>,
}

impl MarketMaking {
    /// Quotes `own` instruments. An error says which parameter is wrong.
    pub fn new(parameters: MarketMakingParameters, instruments: &InstrumentTable, own: &[InstrumentId]) -> Result<MarketMaking, String> {
        let p = &parameters;
        let ppm = |name: &str, value: i64, min: i64| {
            if (min..1_000_000).contains(&value) { Ok(()) } else { Err(format!("{name} must be {min} to 999,999 ppm, is {value}")) }
        };
        ppm("half_spread_ppm", p.half_spread_ppm, 1)?;
        ppm("edge_min_ppm", p.edge_min_ppm, 0)?;
        ppm("skew_ppm", p.skew_ppm, 0)?;
        ppm("flow_lean_ppm", p.flow_lean_ppm, 0)?;
        ppm("refresh_ppm", p.refresh_ppm, 0)?;
        if !(0..=100_000_000).contains(&p.volatility_multiple_ppm) {
            return Err(format!("volatility_multiple_ppm must be 0 to 100,000,000, is {}", p.volatility_multiple_ppm));
        }
        if p.inventory_max.0 <= 0 {
            return Err("inventory_max must be greater than zero".into());
        }
        if p.volatility_tau_ns == 0 || p.flow_tau_ns == 0 || p.retry_ns == 0 {
            return Err("volatility_tau_ns, flow_tau_ns and retry_ns must be greater than zero".into());
        }
        let mut lanes = Vec::with_capacity(own.len());
        let mut lane_of = vec![NONE; instruments.len()];
        for &id in own {
            let Some(instrument) = instruments.get(id) else { return Err(format!("instrument {id} does not exist")) };
            let inventory_max = Qty(p.inventory_max.to_scaled(instrument.qty_scale).min(VALUE_MAX));
            if inventory_max < instrument.qty_min {
                return Err(format!("inventory_max is below the smallest order of {}", instrument.symbol));
            }
            if lane_of[id.index()] != NONE {
                return Err(format!("{} is listed twice", instrument.symbol));
            }
            lane_of[id.index()] = lanes.len() as u32;
            let can = instrument.capabilities;
            let least = fraction(i64::from(instrument.maker_fee_ppm) + p.edge_min_ppm);
            lanes.push(Lane {
                instrument: id,
                venue: instrument.venue,
                inventory_max,
                sizer: Sizer::new(p.sizing, instrument),
                fee_ppm: instrument.maker_fee_ppm.max(if can.post_only { 0 } else { instrument.taker_fee_ppm }),
                amends: can.replace,
                post_only: can.post_only,
                spends: [instrument.quote, instrument.base],
                edges: [Side::Buy, Side::Sell].map(|side| 1.0 - side.sign() as f64 * least),
                calm: fraction(p.half_spread_ppm).max(least),
                flow: OrderFlowImbalance::new(p.flow_tau_ns),
                volatility: EwmaVolatility::new(p.volatility_tau_ns, p.volatility_interval_ns),
                backoff: RateBackoff::default(),
                quotes: [Quote::default(); 2],
            });
        }
        Ok(MarketMaking { tuning: Tuning::new(parameters), lanes, lane_of })
    }

    #[inline]
    fn lane(&self, instrument: InstrumentId) -> Option<usize> {
        self.lane_of.get(instrument.index()).filter(|&&lane| lane != NONE).map(|&lane| lane as usize)
    }

    /// Brings both quotes of a lane to where they should be.
    fn requote(&mut self, ctx: &mut Context<'_>, at: usize) {
        if let Some(lane) = self.lanes.get_mut(at) {
            let top = ctx.book(lane.instrument).and_then(Book::top);
            lane.requote(&self.tuning, ctx, top);
        }
    }
}

impl Lane {
    /// Brings both quotes to where they should be. `top`: of the book, as it is.
    fn requote(&mut self, tuning: &Tuning, ctx: &mut Context<'_>, top: Option<(Level, Level)>) {
        let Some(targets) = top.and_then(|top| self.targets(tuning, ctx, top)) else { return self.pull_both(tuning, ctx) };
        for &side in &[Side::Buy, Side::Sell] {
            self.quote(tuning, ctx, side, &targets);
        }
    }

    /// Where the sides should be; `None`: nothing is quoted.
    #[inline]
    fn targets(&self, tuning: &Tuning, ctx: &Context<'_>, (bid, ask): (Level, Level)) -> Option<Targets> {
        let id = self.instrument;
        let instrument = ctx.instrument(id)?;
        let tradable = matches!(instrument.status, InstrumentStatus::Trading | InstrumentStatus::PostOnly | InstrumentStatus::LimitOnly);
        if !tradable || !ctx.trading_enabled() || !ctx.order_entry_up(self.venue) || ctx.book_state(id) != BookState::Valid {
            return None;
        }
        let position = ctx.position(id).map_or(Qty::ZERO, |p| p.qty);
        let volatility = self.volatility.per_sqrt_second() * tuning.horizon_root;
        let fair = microprice(bid, ask) * (1.0 + tuning.flow_lean * self.flow.normalised());
        let inventory = (position.0 as f64 / self.inventory_max.0 as f64).clamp(-1.0, 1.0);
        let fair = Fair {
            top: [bid.price, ask.price],
            fair,
            reservation: fair * (1.0 - tuning.skew * inventory),
            distance: self.calm + tuning.volatility_multiple * volatility,
            position,
        };
        Some(Targets { sides: [Side::Buy, Side::Sell].map(|side| self.target(instrument, &fair, side)), volatility })
    }

    /// Where a side should be.
    #[inline(always)]
    fn target(&self, instrument: &Instrument, fair: &Fair, side: Side) -> Target {
        let tick = instrument.tick.0;
        let room = inventory_room(side, fair.position, self.inventory_max);
        let edge = away(side, fair.fair * self.edges[side.index()]);
        let wanted = away(side, fair.reservation * (1.0 - side.sign() as f64 * fair.distance));
        let in_bounds = (1..=VALUE_MAX).contains(&edge) & (1..=VALUE_MAX).contains(&wanted);
        if !in_bounds | (room < instrument.qty_min) {
            return Target { price: Price::ZERO, edge: Price::ZERO, room };
        }
        let [bid, ask] = fair.top;
        // Never through the other side: it would take (or be refused, where post-only). An opposing price off tick (the rules
        // changed) must not take ours off it.
        let price = match side {
            Side::Buy => instrument.floor_to_tick(Price(wanted.min(edge).min(ask.0 - tick).max(0))),
            Side::Sell => instrument.ceil_to_tick(Price(wanted.max(edge).max(bid.0 + tick))),
        };
        Target { price, edge: Price(edge), room }
    }

    /// Takes both orders away, if there are any.
    #[cold]
    #[inline(never)]
    fn pull_both(&mut self, tuning: &Tuning, ctx: &mut Context<'_>) {
        self.pull(tuning, ctx, Side::Buy);
        self.pull(tuning, ctx, Side::Sell);
    }

    /// Takes a side's order away, if there is one.
    #[cold]
    #[inline(never)]
    fn pull(&mut self, tuning: &Tuning, ctx: &mut Context<'_>, side: Side) {
        let quote = &mut self.quotes[side.index()];
        let Some(order) = Some(quote.order).filter(|&order| order != OrderId::NONE).and_then(|order| ctx.order(order)) else { return };
        let cancelable = order.state.is_working() || matches!(order.state, OrderState::Pending | OrderState::PendingReplace);
        let now_ns = ctx.now_ns();
        if cancelable && now_ns >= quote.cancel_at_ns && ctx.cancel(quote.order).is_err() {
            quote.cancel_at_ns = now_ns.saturating_add(tuning.parameters.retry_ns);
        }
    }

    /// Places a side's order, or moves the one that rests, or takes it away.
    #[inline]
    fn quote(&mut self, tuning: &Tuning, ctx: &mut Context<'_>, side: Side, targets: &Targets) {
        let target = targets.sides[side.index()];
        if target.price.is_zero() {
            return self.pull(tuning, ctx, side);
        }
        // The other quote (or another strategy's order) is still in the way: it is moving too.
        if ctx.crosses_own(self.instrument, side, target.price) {
            return;
        }
        let quote = &self.quotes[side.index()];
        let order = if quote.order == OrderId::NONE { None } else { ctx.order_near_best(quote.order, self.instrument, side) };
        let Some(order) = order.filter(|o| !o.state.is_final()) else {
            return self.place(tuning, ctx, side, targets);
        };
        if !order.state.is_working() {
            return; // an answer is awaited
        }
        let now_ns = ctx.now_ns();
        let too_near = ctx.instrument(self.instrument).is_some_and(|i| is_too_near(i, side, order.price, target.edge));
        let off = order.price.0.abs_diff(target.price.0) as i64 as f64;
        let threshold = target.price.0 as f64 * tuning.refresh_ppm / MILLION;
        let settled = now_ns.saturating_sub(quote.moved_ns) >= tuning.parameters.refresh_min_ns;
        if !(too_near || (off > threshold && settled)) {
            return;
        }
        let (order, filled, held, at) = (order.id, order.filled, order.reserved.hold, (self.instrument, side));
        let qty = if self.amends { self.size(ctx, side, targets, held) } else { None };
        let amending = self.amends && qty.is_some() && !self.is_pausing(side, now_ns);
        let quote = &mut self.quotes[side.index()];
        let asked = match qty {
            Some(qty) if amending => ctx.replace_near_best(order, at, target.price, filled + qty),
            // It does no harm where it is.
            Some(_) if !too_near => return,
            _ if now_ns < quote.cancel_at_ns => return,
            _ => ctx.cancel_near_best(order, at),
        };
        match asked {
            Ok(()) => quote.moved_ns = now_ns,
            Err(_) if amending => quote.retry_at_ns = now_ns.saturating_add(tuning.parameters.retry_ns),
            Err(_) => quote.cancel_at_ns = now_ns.saturating_add(tuning.parameters.retry_ns),
        }
    }

    /// Places a side's order, of which there is none.
    #[inline(never)]
    fn place(&mut self, tuning: &Tuning, ctx: &mut Context<'_>, side: Side, targets: &Targets) {
        let (id, now_ns) = (self.instrument, ctx.now_ns());
        if self.is_pausing(side, now_ns) {
            return;
        }
        let Some(qty) = self.size(ctx, side, targets, Money::ZERO) else { return };
        let price = targets.sides[side.index()].price;
        let new = NewOrder { instrument: id, side, price, qty, post_only: self.post_only, ioc: false };
        let quote = &mut self.quotes[side.index()];
        match ctx.place(new) {
            Ok(order) => (quote.order, quote.moved_ns) = (order, now_ns),
            Err(_) => quote.retry_at_ns = now_ns.saturating_add(tuning.parameters.retry_ns),
        }
    }

    /// No order and no amend may be asked for.
    #[inline]
    fn is_pausing(&self, side: Side, now_ns: u64) -> bool {
        now_ns < self.quotes[side.index()].retry_at_ns || self.backoff.is_pausing(now_ns)
    }

    /// Size of an order, within inventory and balance; `held` is what the order that it takes the place of holds.
    #[inline(always)]
    fn size(&self, ctx: &Context<'_>, side: Side, targets: &Targets, held: Money) -> Option<Qty> {
        let bounds = self.bounds(ctx, side, targets, held);
        let quick = self.sizer.size_at_once(ctx.instrument(self.instrument)?, &bounds);
        if quick.is_some() && !cfg!(debug_assertions) { quick } else { self.size_each(ctx, side, targets, held) }
    }

    /// As [`Lane::size`], whatever the amounts are.
    #[cold]
    #[inline(never)]
    fn size_each(&self, ctx: &Context<'_>, side: Side, targets: &Targets, held: Money) -> Option<Qty> {
        self.sizer.size(ctx.instrument(self.instrument)?, &self.bounds(ctx, side, targets, held))
    }

    #[inline(always)]
    fn bounds(&self, ctx: &Context<'_>, side: Side, targets: &Targets, held: Money) -> Bounds {
        let target = targets.sides[side.index()];
        Bounds {
            side,
            price: target.price,
            room: target.room,
            available: ctx.available(self.venue, self.spends[side.index()]) + held,
            fee_ppm: self.fee_ppm,
            volatility: targets.volatility,
        }
    }
}

/// True if a price is more aggressive than the edge, put on tick.
#[inline]
fn is_too_near(instrument: &Instrument, side: Side, price: Price, edge: Price) -> bool {
    // What is a tick and more less aggressive is not, wherever ticks lie.
    (edge.0 - price.0) * side.sign() < instrument.tick.0 && is_beyond(instrument, side, price, edge)
}

#[cold]
#[inline(never)]
fn is_beyond(instrument: &Instrument, side: Side, price: Price, edge: Price) -> bool {
    match side {
        Side::Buy => price > instrument.floor_to_tick(edge),
        Side::Sell => price < instrument.ceil_to_tick(edge),
    }
}

/// A price rounded to the unit, away from fair.
#[inline(always)]
fn away(side: Side, price: f64) -> i64 {
    // As `floor` and `ceil`, for what is above zero: those are calls into a library.
    let whole = price as i64;
    whole.wrapping_add(i64::from(side == Side::Sell && (whole as f64) < price))
}

impl Strategy for MarketMaking {
    fn name(&self) -> &str {
        "market_making"
    }

    fn on_book(&mut self, ctx: &mut Context<'_>, instrument: InstrumentId) {
        let lane_of = self.lane_of.get(instrument.index()).copied().unwrap_or(NONE);
        let Some(lane) = self.lanes.get_mut(lane_of as usize) else { return };
        let now_ns = ctx.now_ns();
        let top = ctx.book(instrument).and_then(Book::top);
        match top {
            Some((bid, ask)) => {
                lane.flow.update(bid, ask, now_ns);
                lane.volatility.update((bid.price.0 + ask.price.0) as f64 / 2.0, now_ns);
            }
            None => {
                lane.flow.reset();
                lane.volatility.restart();
            }
        }
        lane.requote(&self.tuning, ctx, top);
    }

    fn on_order(&mut self, ctx: &mut Context<'_>, update: &OrderUpdate) {
        let Some(at) = self.lane(update.instrument) else { return };
        let (now_ns, retry_ns) = (ctx.now_ns(), self.tuning.parameters.retry_ns);
        let Lane { quotes, backoff, .. } = &mut self.lanes[at];
        let quote = &mut quotes[update.side.index()];
        if quote.order == update.order {
            let refused_for_rate = backoff.on_order(update, now_ns, retry_ns);
            let failed = update.state == OrderState::Rejected || update.reason.is_some();
            let retry_at_ns = now_ns.saturating_add(retry_ns);
            // The pause for the rate is the instrument's. Neither holds a cancel back: only its own refusal does.
            if failed && !refused_for_rate {
                quote.retry_at_ns = retry_at_ns;
            }
            if failed && update.previous == OrderState::PendingCancel {
                quote.cancel_at_ns = retry_at_ns;
            }
            if update.state.is_final() {
                quote.order = OrderId::NONE;
            }
        }
        self.requote(ctx, at);
    }

    fn on_fill(&mut self, ctx: &mut Context<'_>, fill: &Fill) {
        if let Some(at) = self.lane(fill.instrument) {
            self.requote(ctx, at);
        }
    }

    fn on_timer(&mut self, ctx: &mut Context<'_>) {
        for at in 0..self.lanes.len() {
            self.requote(ctx, at);
        }
    }

    fn hash_state(&self, hasher: &mut StateHasher) {
        for lane in &self.lanes {
            lane.flow.hash_state(hasher);
            lane.volatility.hash_state(hasher);
            lane.backoff.hash_state(hasher);
            for quote in &lane.quotes {
                hasher.write_u64(quote.order.0);
                hasher.write_u64(quote.moved_ns);
                hasher.write_u64(quote.retry_at_ns);
                hasher.write_u64(quote.cancel_at_ns);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::strategy::Strategy as _;

    /// As [`away`] and put on tick; `None` if out of bounds.
    fn plain_away(tick: i64, side: Side, price: f64) -> Option<i64> {
        let units = if side == Side::Buy { price.floor() } else { price.ceil() };
        let in_bounds = units >= 1.0 && units <= VALUE_MAX as f64;
        in_bounds.then(|| on_tick(tick, side, units as i64))
    }

    fn on_tick(tick: i64, side: Side, price: i64) -> i64 {
        let down = price.div_euclid(tick) * tick;
        if side == Side::Buy || down == price { down } else { down + tick }
    }

    /// As [`Lane::target`], each price put on tick as soon as it is known: the price, and the edge.
    fn plain_target(lane: &Lane, instrument: &Instrument, least: f64, fair: &Fair, side: Side) -> Option<(i64, i64)> {
        if inventory_room(side, fair.position, lane.inventory_max) < instrument.qty_min {
            return None;
        }
        let (tick, sign) = (instrument.tick.0, side.sign() as f64);
        let edge = plain_away(tick, side, fair.fair * (1.0 - sign * least))?;
        let wanted = plain_away(tick, side, fair.reservation * (1.0 - sign * fair.distance))?;
        let price = match side {
            Side::Buy => wanted.min(edge).min(fair.top[1].0 - tick),
            Side::Sell => wanted.max(edge).max(fair.top[0].0 + tick),
        };
        let price = on_tick(tick, side, price);
        (price > 0).then_some((price, edge))
    }

    fn float() -> impl proptest::strategy::Strategy<Value = f64> {
        prop_oneof![0.0..1e4, (1_i64..1_000_000).prop_map(|n| n as f64), 0.0..2e17, any::<f64>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn targets_are_the_plain_ones(
            tick in prop_oneof![1_i64..100, 1..=VALUE_MAX], qty_min in 0_i64..1_000,
            position in prop_oneof![-50_i64..50, -VALUE_MAX..=VALUE_MAX],
            inventory_max in 1_i64..10_000, least_ppm in -1_000_000_i64..1_000_000, fair in float(), shift in -0.1_f64..0.1,
            distance in prop_oneof![0.0..0.1_f64, 0.0..3.0_f64], top in (1..=VALUE_MAX, 1..=VALUE_MAX), near in any::<bool>(),
            off in -200_i64..200, other in 1..=VALUE_MAX,
        ) {
            let mut table = InstrumentTable::new();
            let instrument = Instrument { maker_fee_ppm: 0, ..Instrument::new(VenueId(0), "BTCUSDT", [AssetId(0), AssetId(1)], [2, 8]) };
            let id = table.add(instrument.clone()).unwrap();
            let maker = MarketMaking::new(MarketMakingParameters::default(), &table, &[id]).unwrap();
            let instrument = Instrument { tick: Price(tick), qty_min: Qty(qty_min), ..instrument };
            let least = fraction(least_ppm);
            let edges = [1.0 - least, 1.0 + least];
            let lane = Lane { inventory_max: Qty(inventory_max), edges, ..maker.lanes[0].clone() };
            let at = (fair as i64).clamp(1, VALUE_MAX - 300);
            let top = if near { [Price(at), Price((at + off.abs()).max(1))] } else { [Price(top.0), Price(top.1)] };
            let fair = Fair { top, fair, reservation: fair * (1.0 + shift), distance, position: Qty(position) };
            for side in [Side::Buy, Side::Sell] {
                let target = lane.target(&instrument, &fair, side);
                match plain_target(&lane, &instrument, least, &fair, side) {
                    None => prop_assert_eq!(target.price, Price::ZERO),
                    Some((price, edge)) => {
                        prop_assert_eq!(target.price, Price(price));
                        for order in [target.edge.0 + off, edge, edge - 1, edge + 1, other] {
                            let plain = if side == Side::Buy { order > edge } else { order < edge };
                            prop_assert_eq!(is_too_near(&instrument, side, Price(order), target.edge), plain, "{} {}", order, edge);
                        }
                    }
                }
            }
        }
    }
}
