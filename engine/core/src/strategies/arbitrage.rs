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

use crate::book::{Book, Level};
use crate::event::{Side, VALUE_MAX};
use crate::fixed::{Money, POW10, Price, Qty};
use crate::ids::{AssetId, InstrumentId, VenueId};
use crate::instrument::{Instrument, InstrumentTable};
use crate::sizing::{Bounds, Units, affordable, affordable_of, check_minimum};
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
    base: AssetId,
    quote: AssetId,
    fee_ppm: i32,
    qty_scale: u8,
    units: Units,
    /// Quote units of one price unit.
    unit: f64,
    /// What a buyer pays for each unit of price, fee included.
    pays: f64,
    /// What a seller gets.
    gets: f64,
    /// What a buyer has to get elsewhere for one price unit, in the quote asset: `unit * pays` with the minimum edge.
    cost: f64,
    /// What a seller gets for one price unit, in the quote asset: `unit * gets`.
    proceeds: f64,
    /// Largest quantity of one attempt, rounded down to a unit of quantity and up to one.
    qty_max: i64,
    qty_enough: i64,
    /// Holds back openings, not hedges.
    backoff: RateBackoff,
}

/// What the minimum edge multiplies a cost with.
fn edge(parameters: &ArbitrageParameters) -> f64 {
    1.0 + parameters.edge_min_ppm as f64 / MILLION
}

impl Member {
    /// True only if an order of `qty`, which is on lot, is paid for and large enough. See [`Units::takes`].
    #[inline(always)]
    fn takes(&self, ctx: &Context<'_>, instrument: &Instrument, side: Side, price: Price, qty: Qty) -> bool {
        let available = ctx.available(self.venue, if side == Side::Buy { self.quote } else { self.base });
        self.units.takes(instrument, side, price, qty, available, self.fee_ppm)
    }

    fn new(id: InstrumentId, instrument: &Instrument, parameters: &ArbitrageParameters) -> Member {
        let fee = f64::from(instrument.taker_fee_ppm) / MILLION;
        let (unit, pays, gets) = (1.0 / POW10[usize::from(instrument.price_scale)] as f64, 1.0 + fee, 1.0 - fee);
        let qty_max = parameters.qty_max.to_scaled(instrument.qty_scale).min(VALUE_MAX);
        let exact = Money::from_qty(Qty(qty_max), instrument.qty_scale) == parameters.qty_max;
        Member {
            instrument: id,
            venue: instrument.venue,
            base: instrument.base,
            quote: instrument.quote,
            fee_ppm: instrument.taker_fee_ppm,
            qty_scale: instrument.qty_scale,
            units: Units::of(instrument),
            unit,
            pays,
            gets,
            cost: unit * pays * edge(parameters),
            proceeds: unit * gets,
            qty_max,
            qty_enough: qty_max + i64::from(!exact),
            backoff: RateBackoff::default(),
        }
    }
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
    /// What the minimum edge multiplies a cost with.
    edge: f64,
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
            members.push(Member::new(id, instrument, p));
        }
        if let Some((_, group)) = groups.iter().find(|(_, g)| g.members.len() < 2) {
            let alone = instruments.get(group.members[0].instrument).map_or("?", |i| i.symbol.as_str());
            return Err(format!("{alone} has no other instrument of the same base asset to trade against"));
        }
        let edge = edge(&parameters);
        Ok(Arbitrage { parameters, edge, groups: groups.into_iter().map(|(_, g)| g).collect(), place_of })
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
        self.look_around(ctx, group, changed);
    }

    /// Compares a book that changed with every other of its group. Nearly always the best levels do not pay, and that is all
    /// there is to do.
    #[inline]
    fn look_around(&mut self, ctx: &mut Context<'_>, group: usize, changed: usize) {
        let members = &self.groups[group].members;
        let Some(book) = ctx.book(members[changed].instrument) else { return };
        let (bid, ask) = (book.bid(), book.ask());
        for other in 0..members.len() {
            let members = &self.groups[group].members;
            let (this, that) = (&members[changed], &members[other]);
            let Some(book) = ctx.book(that.instrument).filter(|_| other != changed) else { continue };
            let pays = |buy: &Member, sell: &Member, ask: Option<Level>, bid: Option<Level>| {
                let (Some(ask), Some(bid)) = (ask, bid) else { return false };
                self.terms(ctx, buy, sell).is_some_and(|terms| terms.pay(ask.price, bid.price))
            };
            let (buying, selling) = (pays(this, that, ask, book.bid()), pays(that, this, book.ask(), bid));
            if buying && self.attempt_pair(ctx, group, changed, other) {
                return;
            }
            if selling && self.attempt_pair(ctx, group, other, changed) {
                return;
            }
        }
    }

    /// What a buyer on `a` pays for one price unit with the minimum edge, and what a seller on `b` gets for one, in the same unit;
    /// `None` while a rate is unknown.
    #[inline]
    fn terms(&self, ctx: &Context<'_>, a: &Member, b: &Member) -> Option<Terms> {
        if a.quote == b.quote {
            return Some(Terms { cost: a.cost, proceeds: b.proceeds });
        }
        let (rate_a, rate_b) = (Self::rate(ctx, a, b)?, Self::rate(ctx, b, a)?);
        Some(Terms { cost: a.unit * a.pays * rate_a * self.edge, proceeds: b.proceeds * rate_b })
    }

    /// Value of one unit of a member's quote asset, for comparison with another's.
    #[inline]
    fn rate(ctx: &Context<'_>, member: &Member, other: &Member) -> Option<f64> {
        if member.quote == other.quote { Some(1.0) } else { ctx.value_of(member.quote).map(Money::to_f64) }
    }

    /// A book that may be traded on.
    #[inline]
    fn fresh_book<'c>(&self, ctx: &'c Context<'_>, member: &Member, age_max_ns: u64) -> Option<&'c Book> {
        let book = ctx.book(member.instrument)?;
        let tradable = ctx.order_entry_up(member.venue) && ctx.book_state(member.instrument) == BookState::Valid;
        (tradable && book.age_ns(ctx.now_ns()) <= age_max_ns).then_some(book)
    }

    /// Buys on one member and sells on another, if that pays. True if orders were asked for.
    #[inline(never)]
    fn attempt_pair(&mut self, ctx: &mut Context<'_>, group: usize, buy: usize, sell: usize) -> bool {
        let members = &self.groups[group].members;
        let (a, b) = (&members[buy], &members[sell]);
        // One leg alone would get through.
        if a.backoff.is_pausing(ctx.now_ns()) || b.backoff.is_pausing(ctx.now_ns()) {
            return false;
        }
        let Some((first, second)) = self.legs(ctx, a, b) else { return false };
        // Both or neither: one leg alone is a position. Should the second be refused all the same (the first took the last of a
        // budget), the first one's fill is hedged.
        let asked = ctx.place_both(first, second);
        if asked {
            self.groups[group].next_attempt_ns = ctx.now_ns().saturating_add(self.parameters.cooldown_ns);
        }
        asked
    }

    /// The orders that buy on `a` and sell on `b`.
    #[inline]
    fn legs(&self, ctx: &Context<'_>, a: &Member, b: &Member) -> Option<(NewOrder, NewOrder)> {
        let found = self.find(ctx, a, b)?;
        let (ia, ib) = (ctx.instrument(a.instrument)?, ctx.instrument(b.instrument)?);
        let buy_price = limit(ia, Side::Buy, found.ask, self.parameters.slippage_ppm, found.own_ask)?;
        let sell_price = limit(ib, Side::Sell, found.bid, self.parameters.slippage_ppm, found.own_bid)?;
        let lots = [ia.lot.0.saturating_mul(found.steps[0]), ib.lot.0.saturating_mul(found.steps[1])];
        let both = common_qty(lots, found.steps, found.amount)
            .filter(|both| a.takes(ctx, ia, Side::Buy, buy_price, both[0]) && b.takes(ctx, ib, Side::Sell, sell_price, both[1]));
        let pair = match both {
            Some(both) => both,
            None => affordable_pair(ctx, [(ia, buy_price), (ib, sell_price)], lots, found.steps, found.amount)?,
        };
        let leg = |member: &Member, side: Side, price: Price, qty: Qty| NewOrder {
            instrument: member.instrument,
            side,
            price,
            qty,
            post_only: false,
            ioc: true,
        };
        Some((leg(a, Side::Buy, buy_price, pair[0]), leg(b, Side::Sell, sell_price, pair[1])))
    }

    /// How much can be bought on `a` and sold on `b` at a profit, and down to which levels.
    #[inline]
    fn find(&self, ctx: &Context<'_>, a: &Member, b: &Member) -> Option<Found> {
        let p = &self.parameters;
        let (book_a, book_b) = (self.fresh_book(ctx, a, p.age_max_ns)?, self.fresh_book(ctx, b, p.age_max_ns)?);
        let terms = self.terms(ctx, a, b)?;
        // Our own orders are no liquidity: going as far as them would trade with ourselves.
        let (own_ask, own_bid) = (ctx.own_best(a.instrument, Side::Sell), ctx.own_best(b.instrument, Side::Buy));
        let (ask_end, bid_end) = (own_ask.unwrap_or(Price::MAX), own_bid.unwrap_or(Price::ZERO));
        let pays = |ask: Price, bid: Price| terms.pay(ask, bid) & (ask < ask_end) & (bid > bid_end);
        let (ask, bid) = (book_a.ask()?, book_b.bid()?);
        if !pays(ask.price, bid.price) {
            return None;
        }
        let steps = [a, b].map(|member| POW10[usize::from(a.qty_scale.max(b.qty_scale) - member.qty_scale)]);
        let finer = if steps[0] == 1 { a } else { b };
        let (mut asks, mut bids) = (book_a.levels(Side::Sell), book_b.levels(Side::Buy));
        let (mut ask, mut bid) = (asks.next()?, bids.next()?);
        // An amount too large for 64 bits is more than is ever taken.
        let (mut ask_left, mut bid_left) = (ask.qty.0.saturating_mul(steps[0]), bid.qty.0.saturating_mul(steps[1]));
        let (mut amount, mut worst) = (0_i64, [ask.price, bid.price]);
        for _ in 0..LEVELS_MAX {
            if amount >= finer.qty_enough || !pays(ask.price, bid.price) {
                break;
            }
            let take = ask_left.min(bid_left);
            (amount, worst) = (amount.saturating_add(take), [ask.price, bid.price]);
            ask_left -= take;
            bid_left -= take;
            if ask_left == 0 {
                let Some(next) = asks.next() else { break };
                ask = next;
                ask_left = ask.qty.0.saturating_mul(steps[0]);
            }
            if bid_left == 0 {
                let Some(next) = bids.next() else { break };
                bid = next;
                bid_left = bid.qty.0.saturating_mul(steps[1]);
            }
        }
        let [ask, bid] = worst;
        Some(Found { amount: amount.min(finer.qty_max), steps, ask, bid, own_ask, own_bid })
    }

    /// Trades the group's position away, if it has one.
    #[inline]
    fn hedge(&mut self, ctx: &mut Context<'_>, group: usize) -> Hedge {
        let state = &mut self.groups[group];
        let any = state.members.iter().fold(0, |any, member| any | ctx.position(member.instrument).map_or(0, |p| p.qty.0));
        if any == 0 {
            state.failures = 0;
            return Hedge::Flat;
        }
        self.hedge_position(ctx, group)
    }

    #[inline(never)]
    fn hedge_position(&mut self, ctx: &mut Context<'_>, group: usize) -> Hedge {
        let now_ns = ctx.now_ns();
        let position = |m: &Member| ctx.position(m.instrument).map_or(Money::ZERO, |p| Money::from_qty(p.qty, m.qty_scale));
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
        let own = ctx.own_best(member.instrument, side.opposite());
        let price = limit(instrument, side, level.price, self.parameters.hedge_slippage_ppm, own)?;
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
    /// Base amount, in units of the finer quantity of both.
    amount: i64,
    /// Such units of one unit of each quantity: of the one bought, of the one sold.
    steps: [i64; 2],
    /// Worst ask taken.
    ask: Price,
    /// Worst bid taken.
    bid: Price,
    /// Our own best on these sides.
    own_ask: Option<Price>,
    own_bid: Option<Price>,
}

/// So many millionths of a price, rounded down: where 64 bits do not hold the product, whole millions and the rest apart.
#[inline]
const fn share(price: Price, ppm: i64) -> i64 {
    match price.0.checked_mul(ppm) {
        Some(product) => product / 1_000_000,
        None => price.0 / 1_000_000 * ppm + price.0 % 1_000_000 * ppm / 1_000_000,
    }
}

/// Limit of an order that takes down to `level`: moved by `ppm` to the taker's disadvantage and put on tick, but short of our
/// own best on that side; `None` if this is in the way at `level` already.
#[inline(always)]
fn limit(instrument: &Instrument, side: Side, level: Price, ppm: i64, own: Option<Price>) -> Option<Price> {
    let by = share(level, ppm);
    let price = match side {
        Side::Buy => {
            let moved = instrument.floor_to_tick(Price(level.0 + by));
            // No tick lies between.
            let moved = if moved >= level { moved } else { instrument.ceil_to_tick(level) };
            own.filter(|&own| moved >= own).map_or(moved, |own| instrument.floor_to_tick(Price(own.0 - 1)))
        }
        Side::Sell => {
            let moved = instrument.ceil_to_tick(Price(level.0 - by));
            let moved = if moved <= level { moved } else { instrument.floor_to_tick(level) };
            own.filter(|&own| moved <= own).map_or(moved, |own| instrument.ceil_to_tick(Price(own.0 + 1)))
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
    Bounds { side, price, room: Qty(VALUE_MAX), available, fee_ppm: instrument.taker_fee_ppm, volatility: 0.0 }
}

/// The largest quantities up to `amount` that both accounts pay for and that are on lot on both instruments; `None` if one of
/// these takes none as small. Bought and sold, at their limits, as everything here: lots and amount in units of the finer
/// quantity, `steps` of which make a unit of each.
#[cold]
#[inline(never)]
fn affordable_pair(
    ctx: &Context<'_>,
    [buy, sell]: [(&Instrument, Price); 2],
    lots: [i64; 2],
    steps: [i64; 2],
    amount: i64,
) -> Option<[Qty; 2]> {
    let bounds = [bounds(ctx, buy.0, Side::Buy, buy.1), bounds(ctx, sell.0, Side::Sell, sell.1)];
    affordable_within([(buy.0, &bounds[0]), (sell.0, &bounds[1])], lots, steps, amount)
}

/// See [`affordable_pair`].
fn affordable_within(legs: [(&Instrument, &Bounds); 2], lots: [i64; 2], steps: [i64; 2], amount: i64) -> Option<[Qty; 2]> {
    let [buy, sell] = legs;
    let pays = |(instrument, bounds): (&Instrument, &Bounds), qty: Qty| affordable_of(instrument, bounds, qty) == qty;
    let unbounded = common_qty(lots, steps, amount).filter(|[bought, sold]| pays(buy, *bought) && pays(sell, *sold));
    let pair = unbounded.or_else(|| {
        let can = |(instrument, bounds): (&Instrument, &Bounds), step: i64| affordable(instrument, bounds).0.saturating_mul(step);
        common_qty(lots, steps, amount.min(can(buy, steps[0])).min(can(sell, steps[1])))
    })?;
    let enough = |(instrument, bounds): (&Instrument, &Bounds), qty: Qty| check_minimum(instrument, bounds.price, qty.0) == Ok(qty);
    (enough(buy, pair[0]) && enough(sell, pair[1])).then_some(pair)
}

/// The largest quantities up to `amount` that are on lot on both instruments. See [`affordable_pair`].
#[inline]
fn common_qty(lots: [i64; 2], steps: [i64; 2], amount: i64) -> Option<[Qty; 2]> {
    let (finer, coarser) = (lots[0].min(lots[1]) as u64, lots[0].max(lots[1]) as u64);
    let amount = amount.max(0) as u64;
    // One lot is nearly always a multiple of the other.
    let multiple = finer == coarser || coarser.is_multiple_of(finer);
    let common = if multiple { amount - amount % coarser } else { settle(lots, amount)? };
    let units = |step: i64| Qty(if step == 1 { common as i64 } else { (common / step as u64) as i64 });
    (common > 0).then(|| steps.map(units))
}

/// As [`common_qty`], where neither lot is a multiple of the other: rounded to each in turn, up to four times.
#[cold]
fn settle(lots: [i64; 2], mut amount: u64) -> Option<u64> {
    let lots = lots.map(|lot| lot as u64);
    for _ in 0..4 {
        let first = amount - amount % lots[0];
        amount = first - first % lots[1];
        if amount == first {
            return Some(amount);
        }
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
            room: Qty(VALUE_MAX),
            available,
            fee_ppm: if side == Side::Buy { 1_000 } else { 0 },
            volatility: 0.0,
        }
    }

    /// As [`common_qty`], in amounts of the base asset.
    fn plain_common(a: &Instrument, b: &Instrument, wanted: Money) -> Option<[Qty; 2]> {
        let on_lot = |i: &Instrument, amount: Money| {
            let units = amount.to_scaled(i.qty_scale).clamp(0, VALUE_MAX);
            Qty(units / i.lot.0 * i.lot.0)
        };
        let mut amount = wanted;
        for _ in 0..4 {
            let qty_a = on_lot(a, amount);
            let qty_b = on_lot(b, Money::from_qty(qty_a, a.qty_scale));
            let settled = Money::from_qty(qty_b, b.qty_scale);
            if settled == Money::from_qty(qty_a, a.qty_scale) {
                return (qty_a.0 > 0).then_some([qty_a, qty_b]);
            }
            amount = settled;
        }
        None
    }

    /// As [`affordable_within`], in amounts of the base asset.
    fn plain_pair(buy: (&Instrument, &Bounds), sell: (&Instrument, &Bounds), wanted: Money) -> Option<[Qty; 2]> {
        let pays = |(i, bounds): (&Instrument, &Bounds), qty: Qty| affordable_of(i, bounds, qty) == qty;
        let can = |(i, bounds): (&Instrument, &Bounds)| Money::from_qty(affordable(i, bounds), i.qty_scale);
        let unbounded = plain_common(buy.0, sell.0, wanted).filter(|[bought, sold]| pays(buy, *bought) && pays(sell, *sold));
        let pair = unbounded.or_else(|| plain_common(buy.0, sell.0, wanted.min(can(buy)).min(can(sell))))?;
        let enough = |(i, bounds): (&Instrument, &Bounds), qty: Qty| check_minimum(i, bounds.price, qty.0) == Ok(qty);
        (enough(buy, pair[0]) && enough(sell, pair[1])).then_some(pair)
    }

    /// As [`limit`], by the larger and the smaller of what bounds it.
    fn plain_limit(instrument: &Instrument, side: Side, level: Price, ppm: i64, own: Option<Price>) -> Option<Price> {
        let tick = instrument.tick.0;
        let by = (i128::from(level.0) * i128::from(ppm) / 1_000_000) as i64;
        let floor = |price: i64| price.div_euclid(tick) * tick;
        let ceil = |price: i64| -(-price).div_euclid(tick) * tick;
        let price = match side {
            Side::Buy => floor(level.0 + by).max(ceil(level.0)).min(own.map_or(i64::MAX, |own| floor(own.0 - 1))),
            Side::Sell => ceil(level.0 - by).min(floor(level.0)).max(own.map_or(i64::MIN, |own| ceil(own.0 + 1))),
        };
        let reaches = if side == Side::Buy { price >= level.0 } else { price <= level.0 };
        (reaches && (1..=VALUE_MAX).contains(&price)).then_some(Price(price))
    }

    #[test]
    fn the_largest_attempt_is_rounded_both_ways() {
        for (qty_max, down, up) in [(150_000_000, 150, 150), (150_000_001, 150, 151), (1, 0, 1)] {
            let parameters = ArbitrageParameters { qty_max: Money::from_scaled(qty_max, 8), ..ArbitrageParameters::default() };
            let member = Member::new(InstrumentId(0), &instrument([2, 2], 1, 0), &parameters);
            assert_eq!((member.qty_max, member.qty_enough), (down, up));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_048))]

        /// In units of the finer quantity it is as in amounts of the base asset; never less than by bounding first and rounding to
        /// lots then; and the accounts pay for it.
        #[test]
        fn a_pair_is_the_largest_that_both_accounts_pay_for(
            lot in 1_i64..2_000, multiple in 1_i64..30, odd in 0_i64..2, scales in (0_u8..=9, 0_u8..=9), turned in any::<bool>(),
            prices in (1_i64..10_000_000, 1_i64..10_000_000), least in (0_i64..10_000, 0_i64..10_000),
            wanted in prop_oneof![0_i64..1_000_000_000, 0_i64..=VALUE_MAX],
            quote in prop_oneof![0_i128..10_i128.pow(24), any::<i128>()], base in prop_oneof![0_i128..10_i128.pow(19), any::<i128>()],
        ) {
            let scale = scales.0.max(scales.1);
            let steps = [scales.0, scales.1].map(|own| POW10[usize::from(scale - own)]);
            // A lot here is `multiple` lots there, but for the odd ones.
            let lots = [lot * multiple * if odd == 0 { steps[1] } else { 1 } + odd, lot * if odd == 0 { steps[0] } else { 1 }];
            let lots = if turned { [lots[1], lots[0]] } else { lots };
            let scales = if turned { [scales.1, scales.0] } else { [scales.0, scales.1] };
            let steps = if turned { [steps[1], steps[0]] } else { steps };
            let (buy, sell) = (instrument([2, scales[0]], lots[0], 1_000), instrument([1, scales[1]], lots[1], 0));
            let (buy, sell) = (Instrument { qty_min: Qty(least.0), ..buy }, Instrument { qty_min: Qty(least.1), ..sell });
            let (buying, selling) = (bounds(Side::Buy, prices.0, quote), bounds(Side::Sell, prices.1, base));
            let amount = Money::from_scaled(wanted, scale);
            let on_scale = [lots[0].saturating_mul(steps[0]), lots[1].saturating_mul(steps[1])];
            prop_assert_eq!(common_qty(on_scale, steps, wanted), plain_common(&buy, &sell, amount));
            let pair = affordable_within([(&buy, &buying), (&sell, &selling)], on_scale, steps, wanted);
            prop_assert_eq!(pair, plain_pair((&buy, &buying), (&sell, &selling), amount));
            let can = |i: &Instrument, bounds: &Bounds| Money::from_qty(affordable(i, bounds), i.qty_scale);
            let bounded = amount.min(can(&buy, &buying)).min(can(&sell, &selling));
            if least == (0, 0) {
                prop_assert!(pair >= plain_common(&buy, &sell, bounded));
            }
            if let Some([bought, sold]) = pair {
                prop_assert_eq!(Money::from_qty(bought, scales[0]), Money::from_qty(sold, scales[1]));
                prop_assert!(Money::from_qty(bought, scales[0]) <= bounded);
                prop_assert_eq!((buy.floor_to_lot(bought), sell.floor_to_lot(sold)), (bought, sold));
            }
        }

        #[test]
        fn a_limit_is_the_plain_one(
            buy in any::<bool>(), tick in prop_oneof![1_i64..1_000, 1..=VALUE_MAX], ppm in prop_oneof![Just(0), 0_i64..1_000_000],
            level in prop_oneof![1_i64..10_000_000, 1..=VALUE_MAX], away in prop_oneof![-2_000_i64..2_000, any::<i64>()],
        ) {
            let instrument = Instrument { tick: Price(tick), ..instrument([2, 8], 1, 0) };
            let side = if buy { Side::Buy } else { Side::Sell };
            let near = |price: i64| Price(price.saturating_add(away).clamp(1, VALUE_MAX));
            let unbounded = plain_limit(&instrument, side, Price(level), ppm, None).map_or(level, |price| price.0);
            for own in [None, Some(near(level)), Some(near(unbounded)), Some(Price(unbounded))] {
                prop_assert_eq!(limit(&instrument, side, Price(level), ppm, own), plain_limit(&instrument, side, Price(level), ppm, own));
            }
        }

        /// As by one division of what takes more than 64 bits.
        #[test]
        fn a_share_of_a_level_is_exact(level in 0..=VALUE_MAX, ppm in 0_i64..1_000_000) {
            prop_assert_eq!(i128::from(share(Price(level), ppm)), i128::from(level) * i128::from(ppm) / 1_000_000);
        }
    }
}
