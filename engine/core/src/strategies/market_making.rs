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

use crate::event::{InstrumentStatus, Side, VALUE_MAX};
use crate::fixed::{Money, Price, Qty};
use crate::ids::{InstrumentId, OrderId};
use crate::instrument::{Instrument, InstrumentTable};
use crate::order::{Order, OrderState};
use crate::signals::{EwmaVolatility, OrderFlowImbalance, microprice};
use crate::sizing::{Bounds, Sizing, inventory_room, size};
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

/// One instrument.
#[derive(Clone, Debug)]
struct Lane {
    instrument: InstrumentId,
    inventory_max: Qty,
    flow: OrderFlowImbalance,
    volatility: EwmaVolatility,
    /// Both sides spend the same rate budget.
    backoff: RateBackoff,
    /// By [`Side::index`].
    quotes: [Quote; 2],
}

/// Where a side wants to be.
#[derive(Clone, Copy, Debug)]
struct Target {
    price: Price,
    /// The most aggressive price that keeps the minimum edge.
    edge: Price,
    volatility: f64,
}

/// See the module header.
pub struct MarketMaking {
    parameters: MarketMakingParameters,
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
            lanes.push(Lane {
                instrument: id,
                inventory_max,
                flow: OrderFlowImbalance::new(p.flow_tau_ns),
                volatility: EwmaVolatility::new(p.volatility_tau_ns, p.volatility_interval_ns),
                backoff: RateBackoff::default(),
                quotes: [Quote::default(); 2],
            });
        }
        Ok(MarketMaking { parameters, lanes, lane_of })
    }

    #[inline]
    fn lane(&self, instrument: InstrumentId) -> Option<usize> {
        self.lane_of.get(instrument.index()).filter(|&&lane| lane != NONE).map(|&lane| lane as usize)
    }

    /// Brings both quotes of a lane to where they should be.
    fn requote(&mut self, ctx: &mut Context<'_>, lane: usize) {
        let targets = targets(&self.parameters, &self.lanes[lane], ctx);
        for side in [Side::Buy, Side::Sell] {
            match targets[side.index()] {
                Some(target) => self.quote(ctx, lane, side, target),
                None => self.pull(ctx, lane, side),
            }
        }
    }

    /// Takes a side's order away, if there is one.
    fn pull(&mut self, ctx: &mut Context<'_>, lane: usize, side: Side) {
        let quote = &mut self.lanes[lane].quotes[side.index()];
        let Some(order) = resting(ctx, quote.order) else { return };
        let cancelable = order.state.is_working() || matches!(order.state, OrderState::Pending | OrderState::PendingReplace);
        let now_ns = ctx.now_ns();
        if cancelable && now_ns >= quote.cancel_at_ns && ctx.cancel(quote.order).is_err() {
            quote.cancel_at_ns = now_ns.saturating_add(self.parameters.retry_ns);
        }
    }

    /// Places a side's order, or moves the one that rests.
    fn quote(&mut self, ctx: &mut Context<'_>, lane: usize, side: Side, target: Target) {
        let id = self.lanes[lane].instrument;
        let quote = self.lanes[lane].quotes[side.index()];
        let now_ns = ctx.now_ns();
        let pausing = now_ns < quote.retry_at_ns || self.lanes[lane].backoff.is_pausing(now_ns);
        // The other quote (or another strategy's order) is still in the way: it is moving too.
        if ctx.own_best(id, side.opposite()).is_some_and(|own| (target.price.0 - own.0) * side.sign() >= 0) {
            return;
        }
        let resting = resting(ctx, quote.order).filter(|o| !o.state.is_final());
        let Some(order) = resting else {
            if pausing {
                return;
            }
            let Some(qty) = self.size(ctx, lane, side, target, Money::ZERO) else { return };
            let Some(post_only) = ctx.instrument(id).map(|i| i.capabilities.post_only) else { return };
            let new = NewOrder { instrument: id, side, price: target.price, qty, post_only, ioc: false };
            let quote = &mut self.lanes[lane].quotes[side.index()];
            match ctx.place(new) {
                Ok(order) => (quote.order, quote.moved_ns) = (order, now_ns),
                Err(_) => quote.retry_at_ns = now_ns.saturating_add(self.parameters.retry_ns),
            }
            return;
        };
        if !order.state.is_working() {
            return; // an answer is awaited
        }
        let off = order.price.0.abs_diff(target.price.0) as f64;
        let too_near = (order.price.0 - target.edge.0) * side.sign() > 0;
        let threshold = target.price.0 as f64 * self.parameters.refresh_ppm as f64 / MILLION;
        let settled = now_ns.saturating_sub(quote.moved_ns) >= self.parameters.refresh_min_ns;
        if !(too_near || (off > threshold && settled)) {
            return;
        }
        let (order, filled, held) = (order.id, order.filled, order.reserved.hold);
        let amend = ctx.instrument(id).is_some_and(|i| i.capabilities.replace);
        let qty = if amend { self.size(ctx, lane, side, target, held) } else { None };
        let amending = amend && !pausing && qty.is_some();
        let asked = match qty {
            Some(qty) if amending => ctx.replace(order, target.price, filled + qty),
            // It does no harm where it is.
            Some(_) if amend && !too_near => return,
            _ if now_ns < quote.cancel_at_ns => return,
            _ => ctx.cancel(order),
        };
        let quote = &mut self.lanes[lane].quotes[side.index()];
        match asked {
            Ok(()) => quote.moved_ns = now_ns,
            Err(_) if amending => quote.retry_at_ns = now_ns.saturating_add(self.parameters.retry_ns),
            Err(_) => quote.cancel_at_ns = now_ns.saturating_add(self.parameters.retry_ns),
        }
    }

    /// Size of an order, within inventory and balance; `held` is what the order that it takes the place of holds.
    fn size(&self, ctx: &Context<'_>, lane: usize, side: Side, target: Target, held: Money) -> Option<Qty> {
        let lane = &self.lanes[lane];
        let instrument = ctx.instrument(lane.instrument)?;
        let freed = |this: Side| if this == side { held } else { Money::ZERO };
        let bounds = Bounds {
            side,
            price: target.price,
            position: ctx.position(lane.instrument).map_or(Qty::ZERO, |p| p.qty),
            position_max: lane.inventory_max,
            base_available: ctx.available(instrument.venue, instrument.base) + freed(Side::Sell),
            quote_available: ctx.available(instrument.venue, instrument.quote) + freed(Side::Buy),
            fee_ppm: instrument.maker_fee_ppm.max(if instrument.capabilities.post_only { 0 } else { instrument.taker_fee_ppm }),
            volatility: target.volatility,
        };
        size(&self.parameters.sizing, instrument, &bounds).ok()
    }
}

/// The order of a quote, if it has one.
#[inline]
fn resting<'c>(ctx: &'c Context<'_>, order: OrderId) -> Option<&'c Order> {
    if order == OrderId::NONE { None } else { ctx.order(order) }
}

/// Where each side should be, by [`Side::index`]; `None`: nowhere.
fn targets(parameters: &MarketMakingParameters, lane: &Lane, ctx: &Context<'_>) -> [Option<Target>; 2] {
    let nowhere = [None; 2];
    let id = lane.instrument;
    let (Some(instrument), Some(book)) = (ctx.instrument(id), ctx.book(id)) else { return nowhere };
    let tradable = matches!(instrument.status, InstrumentStatus::Trading | InstrumentStatus::PostOnly | InstrumentStatus::LimitOnly);
    if !tradable || !ctx.trading_enabled() || !ctx.order_entry_up(instrument.venue) || ctx.book_state(id) != BookState::Valid {
        return nowhere;
    }
    let Some((bid, ask)) = book.top() else { return nowhere };
    let position = ctx.position(id).map_or(Qty::ZERO, |p| p.qty);
    let volatility = lane.volatility.over(parameters.volatility_horizon_ns);
    let ppm = |value: i64| value as f64 / MILLION;
    let fair = microprice(bid, ask) * (1.0 + ppm(parameters.flow_lean_ppm) * lane.flow.normalised());
    let least = ppm(i64::from(instrument.maker_fee_ppm) + parameters.edge_min_ppm);
    let distance = ppm(parameters.half_spread_ppm).max(least) + ppm(parameters.volatility_multiple_ppm) * volatility;
    let inventory = (position.0 as f64 / lane.inventory_max.0 as f64).clamp(-1.0, 1.0);
    let reservation = fair * (1.0 - ppm(parameters.skew_ppm) * inventory);
    let target = |side: Side| {
        if inventory_room(side, position, lane.inventory_max) < instrument.qty_min {
            return None;
        }
        let sign = side.sign() as f64;
        let edge = away(instrument, side, fair * (1.0 - sign * least))?;
        let wanted = away(instrument, side, reservation * (1.0 - sign * distance))?;
        // Never through the other side: it would take (or be refused, where post-only).
        let price = match side {
            Side::Buy => Price(wanted.0.min(edge.0).min(ask.price.0 - instrument.tick.0)),
            Side::Sell => Price(wanted.0.max(edge.0).max(bid.price.0 + instrument.tick.0)),
        };
        // An opposing price off tick (the rules changed) must not take ours off it.
        let price = if side == Side::Buy { instrument.floor_to_tick(price) } else { instrument.ceil_to_tick(price) };
        (price.0 > 0).then_some(Target { price, edge, volatility })
    };
    [target(Side::Buy), target(Side::Sell)]
}

/// A price rounded to the tick, away from fair; `None` if it is out of bounds.
#[inline]
fn away(instrument: &Instrument, side: Side, price: f64) -> Option<Price> {
    // As `floor` and `ceil`, for what is above zero: those are calls into a library.
    let whole = price as i64;
    let units = if side == Side::Sell && (whole as f64) < price { whole.saturating_add(1) } else { whole };
    if price <= 0.0 || !(1..=VALUE_MAX).contains(&units) {
        return None;
    }
    Some(if side == Side::Buy { instrument.floor_to_tick(Price(units)) } else { instrument.ceil_to_tick(Price(units)) })
}

impl Strategy for MarketMaking {
    fn name(&self) -> &str {
        "market_making"
    }

    fn on_book(&mut self, ctx: &mut Context<'_>, instrument: InstrumentId) {
        let Some(at) = self.lane(instrument) else { return };
        let lane = &mut self.lanes[at];
        let now_ns = ctx.now_ns();
        match ctx.book(instrument).and_then(|book| book.top()) {
            Some((bid, ask)) => {
                lane.flow.update(bid, ask, now_ns);
                lane.volatility.update((bid.price.0 + ask.price.0) as f64 / 2.0, now_ns);
            }
            None => {
                lane.flow.reset();
                lane.volatility.restart();
            }
        }
        self.requote(ctx, at);
    }

    fn on_order(&mut self, ctx: &mut Context<'_>, update: &OrderUpdate) {
        let Some(at) = self.lane(update.instrument) else { return };
        let (now_ns, retry_ns) = (ctx.now_ns(), self.parameters.retry_ns);
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
