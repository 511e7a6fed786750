//! Arbitrage between venues: buys where it is cheap and sells where it is dear, in the same pass.
//!
//! Instruments of the same base asset form a group. When a book changes, it is compared with every other of its group, both
//! ways. A pair is worth trading at a level if
//!
//! ```text
//!   bid on B * (1 - taker fee B)  >=  ask on A * (1 + taker fee A) * (1 + minimum edge)
//! ```
//!
//! (prices of different quote assets are compared in the reporting asset). Both sides are walked down level by level for as
//! long as that holds: the sum is the quantity, the last levels are the limits, and both legs leave as immediate-or-cancel
//! orders one after the other. An order that is refused for the rate pauses its instrument, longer with each refusal in a
//! row: pairs with it are not opened meanwhile. Hedges do not wait for that.
//!
//! **Hedging is driven by the position, not by order status.** The group's positions, over all venues, should add up to
//! nothing. Once no leg's answer is awaited (or has been for too long), whatever they add up to is traded away on the venue
//! that pays best, with growing pauses as long as nothing fills; nothing new is opened before that. A late fill that turns up
//! after all changes the position, and is hedged in its turn.

use crate::book::Book;
use crate::event::{Side, VALUE_MAX};
use crate::fixed::{Money, POW10, Price, Qty};
use crate::ids::{AssetId, InstrumentId, VenueId};
use crate::instrument::{Instrument, InstrumentTable};
use crate::sizing::{Bounds, affordable, affordable_of, check_minimum};
use crate::state_hash::StateHasher;
use crate::strategies::rate_backoff::RateBackoff;
use crate::strategy::{BookState, Context, Fill, NewOrder, OrderUpdate, Strategy};

/// What the strategy is tuned by. Fractions of a price are in millionths (ppm; 100 = one basis point).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArbitrageParameters {
    /// Least profit after both taker fees, at every level taken, ppm.
    pub edge_min_ppm: i64,
    /// Largest quantity of one attempt, base units.
    pub qty_max: Money,
    /// How far beyond the worst level taken the limits may lie, ppm; comes out of the profit.
    pub slippage_ppm: i64,
    /// How far beyond the best level a hedge may reach, ppm.
    pub hedge_slippage_ppm: i64,
    /// Position (over all venues) that needs no hedge, base units.
    pub imbalance_max: Money,
    /// Books older than this are not traded on, nanoseconds.
    pub age_max_ns: u64,
    /// Pause after an attempt, nanoseconds.
    pub cooldown_ns: u64,
    /// A leg without a final answer for so long is hedged by what the position says, nanoseconds.
    pub leg_timeout_ns: u64,
    /// Pause after a hedge that did not fill, nanoseconds; doubles with each further one. Also the pause of an instrument whose
    /// order was refused for the rate, before the next pair with it is opened; doubles as well, up to 32 times this.
    pub retry_ns: u64,
    /// Doublings of the pause after hedges at most. From here on it stays the same; nothing new is opened before the hedge is
    /// done.
    pub retries_max: u32,
}

impl Default for ArbitrageParameters {
    fn default() -> Self {
        ArbitrageParameters {
            edge_min_ppm: 200,
            qty_max: Money::from_scaled(1, 1),
            slippage_ppm: 50,
            hedge_slippage_ppm: 2_000,
            imbalance_max: Money::ZERO,
            age_max_ns: 1_000_000_000,
            cooldown_ns: 100_000_000,
            leg_timeout_ns: 1_000_000_000,
            retry_ns: 100_000_000,
            retries_max: 6,
        }
    }
}

const MILLION: f64 = 1e6;
/// Levels of both sides together that one comparison walks at most.
const LEVELS_MAX: usize = 64;
/// Largest number of instruments in one group.
const MEMBERS_MAX: usize = 32;

/// One instrument of a group.
#[derive(Clone, Copy, Debug)]
struct Member {
    instrument: InstrumentId,
    venue: VenueId,
    quote: AssetId,
    qty_scale: u8,
    /// Quote units of one price unit.
    unit: f64,
    /// What a buyer pays for each unit of price, fee included.
    pays: f64,
    /// What a seller gets.
    gets: f64,
    /// Holds back openings, not hedges.
    backoff: RateBackoff,
}

/// All instruments of one base asset.
#[derive(Clone, Debug)]
struct Group {
    members: Vec<Member>,
    next_attempt_ns: u64,
    next_hedge_ns: u64,
    /// Hedges in a row that filled nothing.
    failures: u32,
}

/// What hedging came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hedge {
    /// Nothing to do, or too little for any venue.
    Flat,
    /// Under way or put off.
    Busy,
}

/// See the module header.
pub struct Arbitrage {
    parameters: ArbitrageParameters,
    groups: Vec<Group>,
    /// By instrument id: group and place in it.
    place_of: Vec<Option<(u16, u16)>>,
}

impl Arbitrage {
    /// Trades between `own` instruments of the same base asset. An error says which parameter is wrong.
    pub fn new(parameters: ArbitrageParameters, instruments: &InstrumentTable, own: &[InstrumentId]) -> Result<Arbitrage, String> {
        let p = &parameters;
        for (name, value) in
            [("edge_min_ppm", p.edge_min_ppm), ("slippage_ppm", p.slippage_ppm), ("hedge_slippage_ppm", p.hedge_slippage_ppm)]
        {
            if !(0..1_000_000).contains(&value) {
                return Err(format!("{name} must be 0 to 999,999 ppm, is {value}"));
            }
        }
        if p.qty_max.0 <= 0 || p.imbalance_max.0 < 0 {
            return Err("qty_max must be greater than zero, imbalance_max not negative".into());
        }
        if p.retry_ns == 0 || p.leg_timeout_ns == 0 || p.age_max_ns == 0 || p.retries_max > 20 {
            return Err("retry_ns, leg_timeout_ns and age_max_ns must be greater than zero, retries_max at most 20".into());
        }
        let mut groups: Vec<(AssetId, Group)> = Vec::new();
        let mut place_of = vec![None; instruments.len()];
        for &id in own {
            let Some(instrument) = instruments.get(id) else { return Err(format!("instrument {id} does not exist")) };
            let at = groups.iter().position(|(base, _)| *base == instrument.base).unwrap_or_else(|| {
                groups.push((instrument.base, Group { members: Vec::new(), next_attempt_ns: 0, next_hedge_ns: 0, failures: 0 }));
                groups.len() - 1
            });
            let members = &mut groups[at].1.members;
            if members.iter().any(|m| m.instrument == id) || members.len() == MEMBERS_MAX {
                return Err(format!("{} is listed twice, or with more than {MEMBERS_MAX} others", instrument.symbol));
            }
            place_of[id.index()] = Some((at as u16, members.len() as u16));
            let fee = f64::from(instrument.taker_fee_ppm) / MILLION;
            members.push(Member {
                instrument: id,
                venue: instrument.venue,
                quote: instrument.quote,
                qty_scale: instrument.qty_scale,
                unit: 1.0 / POW10[usize::from(instrument.price_scale)] as f64,
                pays: 1.0 + fee,
                gets: 1.0 - fee,
                backoff: RateBackoff::default(),
            });
        }
        if let Some((_, group)) = groups.iter().find(|(_, g)| g.members.len() < 2) {
            let alone = instruments.get(group.members[0].instrument).map_or("?", |i| i.symbol.as_str());
            return Err(format!("{alone} has no other instrument of the same base asset to trade against"));
        }
        Ok(Arbitrage { parameters, groups: groups.into_iter().map(|(_, g)| g).collect(), place_of })
    }

    /// Does what a group needs: hedge first, then look for a chance, of `changed` with the others or (`None`) of all.
    fn work(&mut self, ctx: &mut Context<'_>, group: usize, changed: Option<usize>) {
        if !ctx.trading_enabled() {
            return;
        }
        let now_ns = ctx.now_ns();
        let (mut open, mut awaited) = (false, false);
        for order in ctx.open_orders() {
            if self.place_of[order.instrument.index()].is_some_and(|(g, _)| usize::from(g) == group) {
                open = true;
                awaited |= now_ns.saturating_sub(order.created_ns) < self.parameters.leg_timeout_ns;
            }
        }
        if awaited || self.hedge(ctx, group) == Hedge::Busy || open || now_ns < self.groups[group].next_attempt_ns {
            return;
        }
        let Some(changed) = changed else { return };
        for other in 0..self.groups[group].members.len() {
            let tried = other != changed && (self.attempt(ctx, group, changed, other) || self.attempt(ctx, group, other, changed));
            if tried {
                return;
            }
        }
    }

    /// What a buyer on `a` pays for one price unit with the minimum edge, and what a seller on `b` gets for one, in the same unit;
    /// `None` while a rate is unknown.
    #[inline]
    fn terms(&self, ctx: &Context<'_>, a: &Member, b: &Member) -> Option<Terms> {
        let cost = a.unit * a.pays * Self::rate(ctx, a, b)? * (1.0 + self.parameters.edge_min_ppm as f64 / MILLION);
        Some(Terms { cost, proceeds: b.unit * b.gets * Self::rate(ctx, b, a)? })
    }

    /// Whether the best levels of both books pay. Nearly always they do not, and that is all there is to do.
    #[inline]
    fn pays_at_the_top(&self, ctx: &Context<'_>, a: &Member, b: &Member) -> bool {
        let (Some(book_a), Some(book_b)) = (ctx.book(a.instrument), ctx.book(b.instrument)) else { return false };
        let (Some(ask), Some(bid)) = (book_a.ask(), book_b.bid()) else { return false };
        self.terms(ctx, a, b).is_some_and(|terms| terms.pay(ask.price, bid.price))
    }

    /// Value of one unit of a member's quote asset, for comparison with another's.
    #[inline]
    fn rate(ctx: &Context<'_>, member: &Member, other: &Member) -> Option<f64> {
        if member.quote == other.quote { Some(1.0) } else { ctx.value_of(member.quote).map(Money::to_f64) }
    }

    /// A book that may be traded on.
    #[inline]
    fn fresh_book<'c>(&self, ctx: &'c Context<'_>, member: &Member, age_max_ns: u64) -> Option<&'c Book> {
        let tradable = ctx.order_entry_up(member.venue) && ctx.book_state(member.instrument) == BookState::Valid;
        ctx.book(member.instrument).filter(|book| tradable && book.age_ns(ctx.now_ns()) <= age_max_ns)
    }

    /// Buys on one member and sells on another, if that pays. True if orders were asked for.
    #[inline]
    fn attempt(&mut self, ctx: &mut Context<'_>, group: usize, buy: usize, sell: usize) -> bool {
        let members = &self.groups[group].members;
        self.pays_at_the_top(ctx, &members[buy], &members[sell]) && self.attempt_pair(ctx, group, buy, sell)
    }

    #[inline(never)]
    fn attempt_pair(&mut self, ctx: &mut Context<'_>, group: usize, buy: usize, sell: usize) -> bool {
        let (a, b) = (self.groups[group].members[buy], self.groups[group].members[sell]);
        // One leg alone would get through.
        if a.backoff.is_pausing(ctx.now_ns()) || b.backoff.is_pausing(ctx.now_ns()) {
            return false;
        }
        let Some(found) = self.find(ctx, &a, &b) else { return false };
        let p = &self.parameters;
        let (Some(ia), Some(ib)) = (ctx.instrument(a.instrument), ctx.instrument(b.instrument)) else { return false };
        let buy_price = limit(ctx, a.instrument, ia, Side::Buy, found.ask, p.slippage_ppm);
        let sell_price = limit(ctx, b.instrument, ib, Side::Sell, found.bid, p.slippage_ppm);
        let (Some(buy_price), Some(sell_price)) = (buy_price, sell_price) else { return false };
        let buying = (ia, bounds(ctx, ia, Side::Buy, buy_price));
        let selling = (ib, bounds(ctx, ib, Side::Sell, sell_price));
        let Some((buy_qty, sell_qty)) = affordable_pair(&buying, &selling, Money(found.qty).min(p.qty_max)) else { return false };
        let enough = |i: &Instrument, price: Price, qty: Qty| check_minimum(i, price, qty.0) == Ok(qty);
        if !enough(ia, buy_price, buy_qty) || !enough(ib, sell_price, sell_qty) {
            return false;
        }
        let leg = |member: &Member, side: Side, price: Price, qty: Qty| NewOrder {
            instrument: member.instrument,
            side,
            price,
            qty,
            post_only: false,
            ioc: true,
        };
        let (first, second) = (leg(&a, Side::Buy, buy_price, buy_qty), leg(&b, Side::Sell, sell_price, sell_qty));
        // Both or neither: one leg alone is a position. Should the second be refused all the same (the first took the last of a
        // budget), the first one's fill is hedged.
        let asked = ctx.place_both(first, second);
        if asked {
            self.groups[group].next_attempt_ns = ctx.now_ns().saturating_add(p.cooldown_ns);
        }
        asked
    }

    /// How much can be bought on `a` and sold on `b` at a profit, and down to which levels.
    #[inline]
    fn find(&self, ctx: &Context<'_>, a: &Member, b: &Member) -> Option<Found> {
        let p = &self.parameters;
        let (book_a, book_b) = (self.fresh_book(ctx, a, p.age_max_ns)?, self.fresh_book(ctx, b, p.age_max_ns)?);
        let terms = self.terms(ctx, a, b)?;
        // Our own orders are no liquidity: going as far as them would trade with ourselves.
        let own_ask = ctx.own_best(a.instrument, Side::Sell).unwrap_or(Price::MAX);
        let own_bid = ctx.own_best(b.instrument, Side::Buy).unwrap_or(Price::ZERO);
        let pays = |ask: Price, bid: Price| terms.pay(ask, bid) && ask < own_ask && bid > own_bid;
        let (ask, bid) = (book_a.ask()?, book_b.bid()?);
        if !pays(ask.price, bid.price) {
            return None;
        }
        let (mut asks, mut bids) = (book_a.levels(Side::Sell), book_b.levels(Side::Buy));
        let (mut ask, mut bid) = (asks.next()?, bids.next()?);
        let mut found = Found { qty: 0, ask: ask.price, bid: bid.price };
        let mut ask_left = Money::from_qty(ask.qty, a.qty_scale).0;
        let mut bid_left = Money::from_qty(bid.qty, b.qty_scale).0;
        for _ in 0..LEVELS_MAX {
            if !pays(ask.price, bid.price) || found.qty >= p.qty_max.0 {
                break;
            }
            let take = ask_left.min(bid_left);
            found = Found { qty: found.qty + take, ask: ask.price, bid: bid.price };
            ask_left -= take;
            bid_left -= take;
            if ask_left == 0 {
                let Some(next) = asks.next() else { break };
                ask = next;
                ask_left = Money::from_qty(ask.qty, a.qty_scale).0;
            }
            if bid_left == 0 {
                let Some(next) = bids.next() else { break };
                bid = next;
                bid_left = Money::from_qty(bid.qty, b.qty_scale).0;
            }
        }
        Some(found)
    }

    /// Trades the group's position away, if it has one.
    fn hedge(&mut self, ctx: &mut Context<'_>, group: usize) -> Hedge {
        let now_ns = ctx.now_ns();
        let position = |m: &Member| Money::from_qty(ctx.position(m.instrument).map_or(Qty::ZERO, |p| p.qty), m.qty_scale);
        let net: Money = self.groups[group].members.iter().map(position).sum();
        if net.abs() <= self.parameters.imbalance_max {
            self.groups[group].failures = 0;
            return Hedge::Flat;
        }
        let side = if net.0 > 0 { Side::Sell } else { Side::Buy };
        if now_ns < self.groups[group].next_hedge_ns {
            return Hedge::Busy;
        }
        let Some(choice) = self.choose_hedge(ctx, group, side, net.abs()) else {
            // Too little for any venue stays; what only lacks a book, a balance or a connection is waited for.
            return if self.is_dust(ctx, group, net.abs()) { Hedge::Flat } else { Hedge::Busy };
        };
        let state = &mut self.groups[group];
        state.next_hedge_ns = now_ns.saturating_add(self.parameters.retry_ns << state.failures.min(self.parameters.retries_max));
        state.failures = state.failures.saturating_add(1);
        // A refusal is a failure like any other: tried again after the pause.
        let _ = ctx.place(choice);
        Hedge::Busy
    }

    /// The order that trades `amount` on `side` where it pays best. After each second failure the next best venue is taken.
    fn choose_hedge(&self, ctx: &Context<'_>, group: usize, side: Side, amount: Money) -> Option<NewOrder> {
        let state = &self.groups[group];
        let mut best: Option<(f64, NewOrder)> = None;
        let mut second: Option<(f64, NewOrder)> = None;
        for member in &state.members {
            let Some((worth, order)) = self.hedge_on(ctx, member, &state.members[0], side, amount) else { continue };
            if best.as_ref().is_none_or(|(w, _)| worth > *w) {
                second = best.replace((worth, order));
            } else if second.as_ref().is_none_or(|(w, _)| worth > *w) {
                second = Some((worth, order));
            }
        }
        let other_turn = state.failures % 4 >= 2;
        let chosen = if other_turn { second.or(best) } else { best };
        chosen.map(|(_, order)| order)
    }

    /// The hedge on one member, and what it is worth for each unit (higher is better).
    fn hedge_on(&self, ctx: &Context<'_>, member: &Member, unit_of: &Member, side: Side, amount: Money) -> Option<(f64, NewOrder)> {
        let book = self.fresh_book(ctx, member, u64::MAX)?;
        let instrument = ctx.instrument(member.instrument)?;
        let level = book.best(side.opposite())?;
        let price = limit(ctx, member.instrument, instrument, side, level.price, self.parameters.hedge_slippage_ppm)?;
        let wanted = Qty(amount.to_scaled(instrument.qty_scale));
        let qty = affordable_of(instrument, &bounds(ctx, instrument, side, price), wanted);
        let qty = check_minimum(instrument, price, qty.0).ok()?;
        let per_unit = level.price.0 as f64 * member.unit * Self::rate(ctx, member, unit_of)?;
        let worth = if side == Side::Sell { per_unit * member.gets } else { -per_unit * member.pays };
        let order = NewOrder { instrument: member.instrument, side, price, qty, post_only: false, ioc: true };
        ctx.check(order).is_ok().then_some((worth, order))
    }

    /// True if no venue of the group takes an order as small.
    fn is_dust(&self, ctx: &Context<'_>, group: usize, amount: Money) -> bool {
        self.groups[group].members.iter().all(|member| {
            let (Some(instrument), Some(book)) = (ctx.instrument(member.instrument), ctx.book(member.instrument)) else { return false };
            let qty = amount.to_scaled(instrument.qty_scale);
            let least = instrument.qty_min.max(instrument.lot);
            let small = qty < least.0;
            small || book.mid().is_some_and(|mid| check_minimum(instrument, mid, qty).is_err())
        })
    }
}

/// What both sides of a pair come to.
#[derive(Clone, Copy, Debug)]
struct Terms {
    cost: f64,
    proceeds: f64,
}

impl Terms {
    #[inline]
    fn pay(self, ask: Price, bid: Price) -> bool {
        bid.0 as f64 * self.proceeds >= ask.0 as f64 * self.cost
    }
}

/// A chance.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// Base amount, at [`Money::SCALE`].
    qty: i128,
    /// Worst ask taken.
    ask: Price,
    /// Worst bid taken.
    bid: Price,
}

/// So many millionths of a price, rounded down: whole millions and the rest apart, so that 64 bits do.
#[inline]
const fn share(price: Price, ppm: i64) -> i64 {
    price.0 / 1_000_000 * ppm + price.0 % 1_000_000 * ppm / 1_000_000
}

/// Limit of an order that takes down to `level`: moved by `ppm` to the taker's disadvantage and put on tick, but short of our
/// own orders; `None` if these are in the way at `level` already.
#[inline]
fn limit(ctx: &Context<'_>, id: InstrumentId, instrument: &Instrument, side: Side, level: Price, ppm: i64) -> Option<Price> {
    let by = share(level, ppm);
    let own = ctx.own_best(id, side.opposite());
    let price = match side {
        Side::Buy => {
            let moved = instrument.floor_to_tick(Price(level.0 + by)).max(instrument.ceil_to_tick(level));
            own.map_or(moved, |own| moved.min(instrument.floor_to_tick(Price(own.0 - 1))))
        }
        Side::Sell => {
            let moved = instrument.ceil_to_tick(Price(level.0 - by)).min(instrument.floor_to_tick(level));
            own.map_or(moved, |own| moved.max(instrument.ceil_to_tick(Price(own.0 + 1))))
        }
    };
    let reaches = (price.0 - level.0) * side.sign() >= 0;
    (reaches && (1..=VALUE_MAX).contains(&price.0)).then_some(price)
}

/// What the account allows, but for the balance that the side does not spend.
#[inline]
fn bounds(ctx: &Context<'_>, instrument: &Instrument, side: Side, price: Price) -> Bounds {
    let spent = if side == Side::Buy { instrument.quote } else { instrument.base };
    let available = ctx.available(instrument.venue, spent);
    Bounds {
        side,
        price,
        position: Qty::ZERO,
        position_max: Qty(VALUE_MAX),
        base_available: available,
        quote_available: available,
        fee_ppm: instrument.taker_fee_ppm,
        volatility: 0.0,
    }
}

/// The largest amount up to `wanted` that both accounts pay for and that is on lot on both instruments, in the units of each.
#[inline]
fn affordable_pair(buy: &(&Instrument, Bounds), sell: &(&Instrument, Bounds), wanted: Money) -> Option<(Qty, Qty)> {
    let pays = |(instrument, bounds): &(&Instrument, Bounds), qty: Qty| affordable_of(instrument, bounds, qty) == qty;
    let unbounded = common_qty(buy.0, sell.0, wanted).filter(|(bought, sold)| pays(buy, *bought) && pays(sell, *sold));
    if unbounded.is_some() {
        return unbounded;
    }
    let can = |(instrument, bounds): &(&Instrument, Bounds)| Money::from_qty(affordable(instrument, bounds), instrument.qty_scale);
    common_qty(buy.0, sell.0, wanted.min(can(buy)).min(can(sell)))
}

/// The largest amount up to `wanted` that is on lot on both instruments, in the units of each.
#[inline]
fn common_qty(a: &Instrument, b: &Instrument, wanted: Money) -> Option<(Qty, Qty)> {
    let on_lot = |i: &Instrument, amount: Money| i.floor_to_lot(Qty(amount.to_scaled(i.qty_scale).clamp(0, VALUE_MAX)));
    let mut amount = wanted;
    // One lot is nearly always a multiple of the other: two rounds settle it.
    for _ in 0..4 {
        let qty_a = on_lot(a, amount);
        let qty_b = on_lot(b, Money::from_qty(qty_a, a.qty_scale));
        let settled = Money::from_qty(qty_b, b.qty_scale);
        if settled == Money::from_qty(qty_a, a.qty_scale) {
            return (qty_a.0 > 0).then_some((qty_a, qty_b));
        }
        amount = settled;
    }
    None
}

impl Strategy for Arbitrage {
    fn name(&self) -> &str {
        "arbitrage"
    }

    fn on_start(&mut self, _ctx: &mut Context<'_>) {
        for group in &mut self.groups {
            group.failures = 0;
            group.next_hedge_ns = 0;
            group.next_attempt_ns = 0;
            group.members.iter_mut().for_each(|member| member.backoff = RateBackoff::default());
        }
    }

    #[inline]
    fn on_book(&mut self, ctx: &mut Context<'_>, instrument: InstrumentId) {
        if let Some(Some((group, member))) = self.place_of.get(instrument.index()).copied() {
            self.work(ctx, usize::from(group), Some(usize::from(member)));
        }
    }

    fn on_order(&mut self, ctx: &mut Context<'_>, update: &OrderUpdate) {
        if let Some(Some((group, member))) = self.place_of.get(update.instrument.index()).copied() {
            let member = &mut self.groups[usize::from(group)].members[usize::from(member)];
            member.backoff.on_order(update, ctx.now_ns(), self.parameters.retry_ns);
            self.work(ctx, usize::from(group), None);
        }
    }

    fn on_fill(&mut self, ctx: &mut Context<'_>, fill: &Fill) {
        if let Some(Some((group, _))) = self.place_of.get(fill.instrument.index()).copied() {
            // Something moved: the next hedge need not wait.
            let state = &mut self.groups[usize::from(group)];
            state.failures = 0;
            state.next_hedge_ns = state.next_hedge_ns.min(ctx.now_ns());
        }
    }

    fn on_timer(&mut self, ctx: &mut Context<'_>) {
        for group in 0..self.groups.len() {
            self.work(ctx, group, None);
        }
    }

    fn hash_state(&self, hasher: &mut StateHasher) {
        for group in &self.groups {
            hasher.write_u64(group.next_attempt_ns);
            hasher.write_u64(group.next_hedge_ns);
            hasher.write_u32(group.failures);
            group.members.iter().for_each(|member| member.backoff.hash_state(hasher));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Trades BTC for dollars, in lots of so much; each with other decimals.
    fn instrument(scales: [u8; 2], lot: i64, fee_ppm: i32) -> Instrument {
        let new = Instrument::new(VenueId(0), "BTCUSD", [AssetId(0), AssetId(1)], scales);
        Instrument { lot: Qty(lot), taker_fee_ppm: fee_ppm, ..new }
    }

    fn bounds(side: Side, price: i64, available: i128) -> Bounds {
        let available = Money(available);
        Bounds {
            side,
            price: Price(price),
            position: Qty::ZERO,
            position_max: Qty(VALUE_MAX),
            base_available: available,
            quote_available: available,
            fee_ppm: if side == Side::Buy { 1_000 } else { 0 },
            volatility: 0.0,
        }
    }

    proptest! {
        /// Never less than by bounding first and rounding to lots then, which takes divisions; and the accounts pay for it.
        #[test]
        fn a_pair_is_the_largest_that_both_accounts_pay_for(
            lot in 1_i64..2_000, multiple in 1_i64..30, odd in 0_i64..2, prices in (1_i64..10_000_000, 1_i64..10_000_000),
            wanted in 0_i128..10_i128.pow(19), quote in 0_i128..10_i128.pow(24), base in 0_i128..10_i128.pow(19),
        ) {
            // A lot here is `multiple` lots there, but for the odd ones.
            let (buy, sell) = (instrument([2, 8], lot * multiple * 100 + odd, 1_000), instrument([1, 6], lot, 0));
            let (buying, selling) = (bounds(Side::Buy, prices.0, quote), bounds(Side::Sell, prices.1, base));
            let can = |i: &Instrument, bounds: &Bounds| Money::from_qty(affordable(i, bounds), i.qty_scale);
            let bounded = Money(wanted).min(can(&buy, &buying)).min(can(&sell, &selling));
            let plain = common_qty(&buy, &sell, bounded);
            let pair = affordable_pair(&(&buy, buying), &(&sell, selling), Money(wanted));
            if odd == 0 {
                prop_assert_eq!(pair, plain);
            }
            prop_assert!(pair >= plain);
            if let Some((bought, sold)) = pair {
                prop_assert_eq!(Money::from_qty(bought, 8), Money::from_qty(sold, 6));
                prop_assert!(Money::from_qty(bought, 8) <= bounded);
                prop_assert_eq!((buy.floor_to_lot(bought), sell.floor_to_lot(sold)), (bought, sold));
            }
        }

        /// As by one division of what takes more than 64 bits.
        #[test]
        fn a_share_of_a_level_is_exact(level in 0..=VALUE_MAX, ppm in 0_i64..1_000_000) {
            prop_assert_eq!(i128::from(share(Price(level), ppm)), i128::from(level) * i128::from(ppm) / 1_000_000);
        }
    }
}
