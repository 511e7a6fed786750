//! The gate: switches, limits and rates, and the checks that every order and replace passes, in their order.
//!
//! A check reads; only [`Gate::record`], called once all have passed and the order is on its way, writes. The
//! cost is constant: nothing here walks orders, books or tables.
//!
//! The checks are there twice. [`Gate::check_each`] (in `gate/each.rs`) says what they are, in their order, and which one
//! refuses. Nearly all orders are within all limits, and for these [`Gate::pass`] answers first: all checks at once on numbers
//! prepared at start, in 64 bits where the exact ones take 128. It may only say yes where the other would, with the same result
//! (in builds with debug assertions both are asked each time); whatever it is not sure of it leaves to the other.

mod each;

use super::exposure::bound::{fee_at, fee_rate};
use super::exposure::valuation::VALUE_CEILING;
use super::exposure::{Exposure, Gross, Standing, Values};
use super::loss::LossWatch;
use super::refusal::Refusal;
use super::step::Step;
use super::window::Window;
use crate::book::Book;
use crate::config::{ConfigError, CoreConfig};
use crate::event::{FeedState, HaltReason, InstrumentStatus, Side, VALUE_MAX};
use crate::fixed::{Money, POW10, Price, Qty, difference, wide};
use crate::ids::{AssetId, InstrumentId, StrategyId, VenueId};
use crate::instrument::Instrument;
use crate::order::entry::{Order, Reserved};
use crate::order::table::OrderTable;
use crate::position::Positions;
use crate::prefetch::{extent, prefetch_lines};
use crate::state_hash::StateHasher;
use core::ops::Range;

/// A new order, or what an order shall become.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Whose.
    pub strategy: StrategyId,
    /// In what.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// Limit price.
    pub price: Price,
    /// Total quantity.
    pub qty: Qty,
    /// Post-only.
    pub post_only: bool,
    /// Immediate or cancel.
    pub ioc: bool,
    /// The order being replaced; `None` for a new one.
    pub replaces: Option<&'a Order>,
}

impl Request<'_> {
    /// The largest total quantity that may be in force once it is sent.
    #[inline(always)]
    fn worst_qty(&self) -> Qty {
        self.replaces.map_or(self.qty, |order| order.qty_worst().max(self.qty))
    }

    /// The most aggressive price that may be in force once it is sent.
    #[inline(always)]
    fn worst_price(&self) -> Price {
        match (self.replaces, self.side) {
            (None, _) => self.price,
            (Some(order), Side::Buy) => order.price_worst().max(self.price),
            (Some(order), Side::Sell) => order.price_worst().min(self.price),
        }
    }
}

/// What the checks look at.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The core's time.
    pub now_ns: u64,
    /// The instrument asked for.
    pub instrument: &'a Instrument,
    /// Its book.
    pub book: &'a Book,
    /// All orders.
    pub orders: &'a OrderTable,
    /// All positions.
    pub positions: &'a Positions,
}

/// What a request that passed all checks binds from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passed {
    /// Of itself.
    pub reserved: Reserved,
    /// The values that risk will find when it is open (of a new order, or of one that then binds more than before).
    pub(crate) values: Gross,
    /// The price that these are reckoned at.
    pub(crate) reference: Price,
}

/// Limits of one instrument, defaults filled in. The first two cache lines are what [`Gate::pass`] reads; everything in them
/// holds the instrument's own rules as well.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
struct InstrumentGate {
    tick: Step,
    lot: Step,
    /// At least 1.
    qty_min: i64,
    /// At most [`VALUE_MAX`].
    qty_max: i64,
    /// Bounds on price times quantity.
    raw_min: u64,
    raw_max: u64,

    /// Units of [`Money`] of one price unit times one quantity unit.
    up: u64,
    stale_after_ns: u64,
    /// For post-only orders and for others.
    fee_rates: [u64; 2],
    /// Units of [`Money`] of one quantity unit.
    qty_up: i64,
    position_max: i64,
    price_collar_ppm: u32,
    open_orders_max: u32,
    /// Takes limit orders of every kind.
    open: bool,
    can_post_only: bool,
    suspended: bool,
    venue: VenueId,
    /// Powers of two of tick and lot.
    shifts: [u8; 2],
    order_min: Qty,
    order_max: Qty,
    notional_max: Money,
}

const _: () = assert!(core::mem::offset_of!(InstrumentGate, order_min) <= 128, "what `pass` reads fills two cache lines");

impl InstrumentGate {
    /// Takes over the rules of the instrument now in force.
    fn take_rules(&mut self, instrument: &Instrument) {
        let up = i128::from(POW10[usize::from(Money::SCALE - instrument.price_scale - instrument.qty_scale)]);
        // No price and no quantity passes a rule that makes no sense.
        let step = |step: i64| Step::new(u64::try_from(step).unwrap_or(u64::MAX));
        ((self.tick, self.shifts[0]), (self.lot, self.shifts[1])) = (step(instrument.tick.0), step(instrument.lot.0));
        self.qty_min = self.order_min.max(instrument.qty_min).0.max(1);
        self.qty_max = self.order_max.min(instrument.qty_max).0.min(VALUE_MAX);
        let raw_min = (instrument.notional_min.0.max(0) + up - 1) / up;
        let raw_max = (self.notional_max.0 / up).min(i128::from(u64::MAX));
        self.raw_max = if raw_min > raw_max { 0 } else { raw_max as u64 };
        self.raw_min = raw_min.min(raw_max).max(1) as u64;
        self.up = up as u64;
        self.fee_rates = [fee_rate(instrument.maker_fee_ppm), fee_rate(instrument.taker_fee_ppm)];
        self.open = matches!(instrument.status, InstrumentStatus::Trading | InstrumentStatus::LimitOnly);
        self.can_post_only = instrument.capabilities.post_only;
        self.venue = instrument.venue;
    }

    /// The checks of the order itself: bounds, steps, notional, flags, collar.
    #[inline]
    fn takes(&self, request: &Request<'_>, reference: Price) -> bool {
        let (price, qty) = (request.price.0, request.qty.0);
        let in_bounds = (1..=VALUE_MAX).contains(&price) & (self.qty_min..=self.qty_max).contains(&qty);
        let Some(raw) = raw(price, qty).filter(|_| in_bounds) else { return false };
        let in_steps = self.tick.divides(price as u64, self.shifts[0]) & self.lot.divides(qty as u64, self.shifts[1]);
        let can = !request.post_only | (!request.ioc & self.can_post_only);
        let distance = u128::from(price.abs_diff(reference.0)) * 1_000_000;
        let collar = u128::from(reference.0.unsigned_abs()) * u128::from(self.price_collar_ppm);
        in_steps & (self.raw_min..=self.raw_max).contains(&raw) & can & (distance <= collar)
    }

    /// As [`bind`], where 64 bits hold price times quantity; `None` where they do not, or nothing is left to bind.
    #[inline(always)]
    fn bind(&self, request: &Request<'_>) -> Option<Reserved> {
        let filled = request.replaces.map_or(0, |order| order.filled.0);
        let qty = request.worst_qty().0.checked_sub(filled).filter(|&qty| qty > 0)?;
        let notional = i128::try_from(u128::from(raw(request.worst_price().0, qty)?) * u128::from(self.up)).ok()?;
        let hold = match request.side {
            Side::Sell => wide(qty, self.qty_up),
            Side::Buy => notional + fee_at(notional, self.fee_rates[usize::from(!request.post_only)])?,
        };
        (notional < VALUE_CEILING).then_some(Reserved { qty: Qty(qty), hold: Money(hold), notional: Money(notional) })
    }
}

/// Price times quantity, if 64 bits hold it.
#[inline]
fn raw(price: i64, qty: i64) -> Option<u64> {
    u64::try_from(wide(price, qty)).ok()
}

/// State of a venue's order entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Up or down.
    pub state: FeedState,
    /// The venue's records were compared with ours since it last came up.
    pub reconciled: bool,
    /// The venue's clock is too far from ours.
    pub skewed: bool,
}

impl Entry {
    /// As at the start of a session.
    pub const DOWN: Entry = Entry { state: FeedState::Down, reconciled: false, skewed: false };
}

/// What stops all trading.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Switches {
    /// Stopped, and why.
    pub halted: Option<HaltReason>,
    /// Paused by the operator.
    pub paused: bool,
    /// The engine is stopping.
    pub shutting_down: bool,
    /// The cold plane cannot keep up.
    pub cold_plane_behind: bool,
}

/// Limits and state of one venue.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub struct VenueGate {
    exposure_max: Money,
    /// Open orders on it.
    pub open: u32,
    open_orders_max: u32,
    entry: Entry,
    /// By all of `entry`, orders can be sent.
    ready: bool,
    /// Market-data stream.
    pub market_data: FeedState,
    require_reconcile: bool,
    check_balance: bool,
    order_rate: Window,
    message_rate: Window,
    cancel_rate: Window,
    rejects: Window,
    fills: Window,
}

impl VenueGate {
    /// Order entry.
    #[inline]
    pub fn entry(&self) -> Entry {
        self.entry
    }

    /// Order entry changed.
    pub fn set_entry(&mut self, entry: Entry) {
        self.entry = entry;
        self.ready = entry.state == FeedState::Up && (entry.reconciled || !self.require_reconcile) && !entry.skewed;
    }
}

/// Limits and state of one strategy.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub struct StrategyGate {
    exposure_max: Money,
    /// It may open orders.
    pub enabled: bool,
    open_orders_max: u32,
    order_rate: Window,
    /// Its losses.
    pub loss: LossWatch,
}

/// One strategy in one instrument.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
struct Seat {
    allowed: bool,
    position_max: Qty,
    /// The last new order on each side.
    last: [LastOrder; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct LastOrder {
    price: Price,
    qty: Qty,
    ioc: bool,
    at_ns: u64,
}

/// Of the limits over everything, those of orders.
#[derive(Clone, Debug)]
struct TotalLimits {
    exposure_max: Money,
    duplicate_window_ns: u64,
    open_orders_max: u32,
    reduce_when_stale: bool,
}

/// See the module header. What an order reads lies in five cache lines in a row: here and at the beginning of `exposure`.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub struct Gate {
    order_rate: Window,
    /// One of `switches` is set.
    stopped: bool,
    switches: Switches,

    instruments: Box<[InstrumentGate]>,
    venues: Box<[VenueGate]>,
    strategies: Box<[StrategyGate]>,
    /// `strategy * instruments + instrument`.
    seats: Box<[Seat]>,

    limits: TotalLimits,
    /// What is open and held.
    pub exposure: Exposure,
    /// Losses of everything.
    pub loss: LossWatch,
}

const _: () = assert!(core::mem::offset_of!(Gate, instruments) == 64 && core::mem::offset_of!(Gate, exposure) == 160);

impl Gate {
    /// Builds the gate of a validated configuration.
    pub fn new(config: &CoreConfig) -> Result<Gate, ConfigError> {
        let instruments = config.instruments.len();
        let limits = &config.limits;
        let mut gates = Vec::with_capacity(instruments);
        for (id, instrument) in config.instruments.iter() {
            let Some(Some(own)) = config.instrument_limits.get(id.index()) else {
                return Err(ConfigError::MissingLimit { name: format!("limits of {}", instrument.symbol) });
            };
            let mut gate = InstrumentGate {
                tick: Step::new(1).0,
                lot: Step::new(1).0,
                qty_min: 0,
                qty_max: 0,
                raw_min: 0,
                raw_max: 0,
                up: 0,
                stale_after_ns: own.stale_after_ns.unwrap_or(limits.stale_after_ns),
                fee_rates: [0; 2],
                qty_up: POW10[usize::from(Money::SCALE - instrument.qty_scale)],
                position_max: own.position_max.0,
                price_collar_ppm: own.price_collar_ppm.unwrap_or(limits.price_collar_ppm),
                open_orders_max: own.open_orders_max,
                open: false,
                can_post_only: false,
                suspended: false,
                venue: instrument.venue,
                shifts: [0; 2],
                order_min: own.order_min,
                order_max: own.order_max,
                notional_max: own.notional_max,
            };
            gate.take_rules(instrument);
            gates.push(gate);
        }
        let venue = |v: &crate::config::VenueConfig| VenueGate {
            market_data: FeedState::Down,
            entry: Entry::DOWN,
            ready: false,
            open: 0,
            require_reconcile: v.require_reconcile,
            check_balance: v.check_balance,
            exposure_max: v.exposure_max,
            open_orders_max: v.open_orders_max,
            order_rate: Window::new(v.order_rate),
            message_rate: Window::new(v.message_rate),
            cancel_rate: Window::new(limits.cancel_rate),
            rejects: Window::new(limits.reject_burst),
            fills: Window::new(limits.fill_burst),
        };
        let strategy = |s: &crate::config::StrategyConfig| StrategyGate {
            enabled: s.enabled,
            loss: LossWatch::new(s.limits.daily_loss_max, s.limits.drawdown_max),
            exposure_max: s.limits.exposure_max.unwrap_or(Money(i128::MAX)),
            open_orders_max: s.limits.open_orders_max,
            order_rate: Window::new(s.limits.order_rate),
        };
        let mut seats = Vec::with_capacity(config.strategies.len() * instruments);
        for s in &config.strategies {
            for (id, instrument) in config.instruments.iter() {
                seats.push(Seat {
                    allowed: s.instruments.contains(&id),
                    position_max: Qty(s.limits.position_max.to_scaled(instrument.qty_scale)),
                    last: [LastOrder::default(); 2],
                });
            }
        }
        let mut asset_max = vec![None; config.assets.len()];
        for limit in &config.asset_limits {
            asset_max[limit.asset.index()] = Some(limit.exposure_max);
        }
        Ok(Gate {
            instruments: gates.into(),
            venues: config.venues.iter().map(venue).collect(),
            strategies: config.strategies.iter().map(strategy).collect(),
            seats: seats.into(),
            order_rate: Window::new(limits.order_rate),
            exposure: Exposure::new(config.strategies.len(), &config.instruments, config.venues.len(), &asset_max),
            loss: LossWatch::new(limits.daily_loss_max, Some(limits.drawdown_max)),
            stopped: false,
            switches: Switches::default(),
            limits: TotalLimits {
                exposure_max: limits.exposure_max,
                duplicate_window_ns: limits.duplicate_window_ns,
                open_orders_max: limits.open_orders_max,
                reduce_when_stale: limits.reduce_when_stale,
            },
        })
    }

    #[inline]
    fn seat(&self, strategy: StrategyId, instrument: InstrumentId) -> usize {
        // A place of a table that is in memory: no product or sum is too large.
        strategy.index().wrapping_mul(self.instruments.len()).wrapping_add(instrument.index())
    }

    /// What stops all trading.
    #[inline]
    pub fn switches(&self) -> Switches {
        self.switches
    }

    /// Changes what stops all trading.
    pub fn switch(&mut self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.switches);
        self.stopped = self.switches != Switches::default();
    }

    /// A venue, if the id is in range.
    #[inline]
    pub fn venue(&self, venue: VenueId) -> Option<&VenueGate> {
        self.venues.get(venue.index())
    }

    /// A venue for change.
    #[inline]
    pub fn venue_mut(&mut self, venue: VenueId) -> Option<&mut VenueGate> {
        self.venues.get_mut(venue.index())
    }

    /// How many venues there are.
    #[inline]
    pub fn venue_count(&self) -> usize {
        self.venues.len()
    }

    /// A strategy, if the id is in range.
    #[inline]
    pub fn strategy(&self, strategy: StrategyId) -> Option<&StrategyGate> {
        self.strategies.get(strategy.index())
    }

    /// A strategy for change.
    #[inline]
    pub fn strategy_mut(&mut self, strategy: StrategyId) -> Option<&mut StrategyGate> {
        self.strategies.get_mut(strategy.index())
    }

    /// How many strategies there are.
    #[inline]
    pub fn strategy_count(&self) -> usize {
        self.strategies.len()
    }

    /// Age beyond which the instrument's book is stale.
    #[inline]
    pub fn stale_after_ns(&self, instrument: InstrumentId) -> u64 {
        self.instruments.get(instrument.index()).map_or(0, |i| i.stale_after_ns)
    }

    /// The venue of an instrument, if the id is in range.
    #[inline]
    pub fn venue_of(&self, instrument: InstrumentId) -> Option<VenueId> {
        self.instruments.get(instrument.index()).map(|i| i.venue)
    }

    /// Rules or status of an instrument changed: in force from here on.
    pub fn take_rules(&mut self, id: InstrumentId, instrument: &Instrument) {
        if let Some(gate) = self.instruments.get_mut(id.index()) {
            gate.take_rules(instrument);
        }
    }

    /// Suspends an instrument until the operator resumes. True if it was not suspended.
    pub fn suspend(&mut self, instrument: InstrumentId) -> bool {
        self.instruments.get_mut(instrument.index()).is_some_and(|i| !std::mem::replace(&mut i.suspended, true))
    }

    /// True if the instrument is suspended.
    pub fn is_suspended(&self, instrument: InstrumentId) -> bool {
        self.instruments.get(instrument.index()).is_some_and(|i| i.suspended)
    }

    /// The operator resumes: halt, pause, suspensions and breakers are lifted.
    pub fn resume(&mut self) {
        self.switch(|switches| (switches.halted, switches.paused) = (None, false));
        for instrument in &mut self.instruments {
            instrument.suspended = false;
        }
        for venue in &mut self.venues {
            venue.rejects.clear();
            venue.fills.clear();
        }
    }

    /// True while the strategy may open orders at all.
    #[inline]
    pub fn is_open_to(&self, strategy: StrategyId) -> bool {
        self.check_switches(strategy).is_ok()
    }

    #[inline]
    fn check_switches(&self, strategy: StrategyId) -> Result<(), Refusal> {
        let switches = &self.switches;
        if switches.halted.is_some() {
            return Err(Refusal::Halted);
        }
        if switches.paused {
            return Err(Refusal::Paused);
        }
        if switches.shutting_down {
            return Err(Refusal::ShuttingDown);
        }
        if !self.strategies.get(strategy.index()).is_some_and(|s| s.enabled) {
            return Err(Refusal::StrategyDisabled);
        }
        if switches.cold_plane_behind {
            return Err(Refusal::ColdPlaneBehind);
        }
        Ok(())
    }

    /// All checks of a new order or a replace.
    #[inline(never)]
    pub fn check(&self, request: &Request<'_>, view: &View<'_>) -> Result<Passed, Refusal> {
        match self.pass(request, view) {
            Some(passed) => Ok(passed),
            None => self.check_each(request, view),
        }
    }

    /// Asks for what the checks of an order read.
    #[inline]
    pub(crate) fn prefetch(&self, strategy: StrategyId, id: InstrumentId) {
        if let (Some(gate), Some(seat)) = (self.instruments.get(id.index()), self.seats.get(self.seat(strategy, id))) {
            prefetch_lines(gate, 2);
            prefetch_lines(seat, 2);
            self.exposure.prefetch(strategy, id);
        }
    }

    /// All checks at once; `None` if one of them refuses, or may refuse. See the module header.
    #[inline(always)]
    pub(crate) fn pass(&self, request: &Request<'_>, view: &View<'_>) -> Option<Passed> {
        let passed = self.pass_at_once(request, view);
        if cfg!(debug_assertions) && passed.is_some() {
            assert_eq!(passed.ok_or(Refusal::Halted), self.check_each(request, view), "passed at once, not one by one: {request:?}");
        }
        passed
    }

    #[inline(always)]
    fn pass_at_once(&self, request: &Request<'_>, view: &View<'_>) -> Option<Passed> {
        let Request { strategy, instrument: id, side, .. } = *request;
        let gate = self.instruments.get(id.index())?;
        let venue = self.venues.get(gate.venue.index())?;
        let own = self.strategies.get(strategy.index())?;
        let seat = self.seats.get(self.seat(strategy, id))?;
        let now_ns = view.now_ns;
        let stopped = self.stopped | !own.enabled | !seat.allowed;
        if stopped | !venue.ready | !gate.open | gate.suspended | !self.in_rates(own, venue, now_ns) {
            return None;
        }
        let reference = view.book.mid().filter(|mid| mid.0 > 0 && view.book.age_ns(now_ns) <= gate.stale_after_ns)?;
        if !gate.takes(request, reference) {
            return None;
        }
        let (open_orders, crosses) = view.orders.resting(id, side, request.price)?;
        if crosses {
            return None;
        }
        let before = match request.replaces {
            Some(order) => order.reserved,
            None => {
                let room = self.has_room(own, venue, strategy, view.orders);
                let room = room & (open_orders < gate.open_orders_max) & !view.orders.fills_nearly_full();
                if !room || self.duplicate(request, seat, now_ns).is_err() {
                    return None;
                }
                Reserved::default()
            }
        };
        let after = gate.bind(request)?;
        let standing = self.exposure.standing(strategy, id);
        let added = (after.qty.0 - before.qty.0).max(0);
        // An order that adds nothing to what is too much already may pass all the same, here and below: that is for the other to say.
        if (standing.all.towards(side, added) > gate.position_max) | (standing.own.towards(side, added) > seat.position_max.0) {
            return None;
        }
        if !standing.is_priced() {
            return None;
        }
        let values = self.exposure.outlook(&standing, strategy, gate.venue, side, Qty(added), reference).values;
        let more =
            Reserved { qty: Qty(added), hold: Money(after.hold.0 - before.hold.0), notional: Money(after.notional.0 - before.notional.0) };
        let fits = self.fits(own, venue, &standing, side, &more, &values, view.positions);
        fits.then_some(Passed { reserved: after, values: values.of_instrument, reference })
    }

    /// As [`Gate::pass`], for a new order that has passed, and then the same strategy sent one in another instrument: only what that
    /// one can have taken the last of is looked at again.
    #[inline(always)]
    pub(crate) fn passes_again(&self, request: &Request<'_>, passed: &Passed, view: &View<'_>) -> bool {
        let Request { strategy, instrument: id, side, .. } = *request;
        let venue_id = view.instrument.venue;
        let (Some(venue), Some(own)) = (self.venues.get(venue_id.index()), self.strategies.get(strategy.index())) else { return false };
        if !(self.in_rates(own, venue, view.now_ns) & self.has_room(own, venue, strategy, view.orders)) {
            return false;
        }
        let standing = self.exposure.standing(strategy, id);
        let values = self.exposure.values(&standing, strategy, venue_id, passed.values);
        let passes = self.fits(own, venue, &standing, side, &passed.reserved, &values, view.positions);
        if cfg!(debug_assertions) && passes {
            assert_eq!(Ok(*passed), self.check_each(request, view), "passed again, not one by one: {request:?}");
        }
        passes
    }

    /// All rates of an order allow one more.
    #[inline(always)]
    fn in_rates(&self, own: &StrategyGate, venue: &VenueGate, now_ns: u64) -> bool {
        let in_rate = own.order_rate.allows(now_ns) & venue.order_rate.allows(now_ns);
        in_rate & self.order_rate.allows(now_ns) & venue.message_rate.allows(now_ns)
    }

    /// One more order may be open, of all instruments together.
    #[inline(always)]
    fn has_room(&self, own: &StrategyGate, venue: &VenueGate, strategy: StrategyId, orders: &OrderTable) -> bool {
        (venue.open < venue.open_orders_max)
            & (orders.open_of_strategy(strategy) < own.open_orders_max)
            & (orders.open_len() < self.limits.open_orders_max)
            & orders.has_room()
    }

    /// So much more in an instrument keeps the limits of assets and values, and is paid for.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn fits(
        &self,
        own: &StrategyGate,
        venue: &VenueGate,
        standing: &Standing<'_>,
        side: Side,
        more: &Reserved,
        values: &Values,
        positions: &Positions,
    ) -> bool {
        let buying = side == Side::Buy;
        let too_much = self.exposure.flow_exceeds(standing.base, buying, wide(more.qty.0, standing.base_up))
            || self.exposure.flow_exceeds(standing.quote, !buying, more.notional.0);
        let in_exposures =
            values.venue <= venue.exposure_max.0 && values.strategy <= own.exposure_max.0 && values.total <= self.limits.exposure_max.0;
        let paid = !venue.check_balance || more.hold.0 <= self.exposure.left(standing, side, positions.ledger.balances());
        !too_much && in_exposures && paid
    }

    /// What is left of an asset on a venue, holds counted.
    fn available(&self, venue: VenueId, asset: AssetId, view: &View<'_>) -> i128 {
        difference(view.positions.ledger.total(venue, asset).0, self.exposure.held(venue, asset).0)
    }

    /// Gives out what every order reads and changes.
    pub(crate) fn touch(&self, touch: &mut impl FnMut(Range<usize>)) {
        self.order_rate.touch(touch);
    }

    /// The same of orders of a strategy in an instrument.
    pub(crate) fn touch_seat(&self, strategy: StrategyId, id: InstrumentId, touch: &mut impl FnMut(Range<usize>)) {
        self.instruments.get(id.index()).into_iter().for_each(|gate| touch(extent(gate)));
        self.seats.get(self.seat(strategy, id)).into_iter().for_each(|seat| touch(extent(seat)));
        self.exposure.touch(strategy, id, touch);
    }

    /// The same of orders on a venue, and of cancels.
    pub(crate) fn touch_venue(&self, id: VenueId, touch: &mut impl FnMut(Range<usize>)) {
        let Some(venue) = self.venues.get(id.index()) else { return };
        touch(extent(venue));
        [&venue.order_rate, &venue.message_rate, &venue.cancel_rate].into_iter().for_each(|window| window.touch(touch));
        self.exposure.touch_venue(id, touch);
    }

    /// The same of orders of a strategy.
    pub(crate) fn touch_strategy(&self, id: StrategyId, touch: &mut impl FnMut(Range<usize>)) {
        let Some(strategy) = self.strategies.get(id.index()) else { return };
        touch(extent(strategy));
        strategy.order_rate.touch(touch);
        self.exposure.touch_strategy(id, touch);
    }

    /// Notes that the order or replace was sent.
    #[inline]
    pub fn record(&mut self, request: &Request<'_>, venue: VenueId, now_ns: u64) {
        let seat = self.seat(request.strategy, request.instrument);
        let venue = &mut self.venues[venue.index()];
        if request.replaces.is_none() {
            let last = LastOrder { price: request.price, qty: request.qty, ioc: request.ioc, at_ns: now_ns };
            self.seats[seat].last[request.side.index()] = last;
            // No more than the table has room for.
            venue.open = venue.open.wrapping_add(1);
        }
        venue.order_rate.record(now_ns);
        venue.message_rate.record(now_ns);
        self.strategies[request.strategy.index()].order_rate.record(now_ns);
        self.order_rate.record(now_ns);
    }

    /// Checks the rate of cancels of a venue.
    #[inline]
    pub fn check_cancel(&self, venue: VenueId, now_ns: u64) -> Result<(), Refusal> {
        if self.venues[venue.index()].cancel_rate.allows(now_ns) { Ok(()) } else { Err(Refusal::CancelRate) }
    }

    /// Notes that a cancel was sent.
    #[inline]
    pub fn record_cancel(&mut self, venue: VenueId, now_ns: u64) {
        let venue = &mut self.venues[venue.index()];
        venue.cancel_rate.record(now_ns);
        venue.message_rate.record(now_ns);
    }

    /// Notes a venue's reject; true if it is one too many.
    pub fn record_reject(&mut self, venue: VenueId, now_ns: u64) -> bool {
        let rejects = &mut self.venues[venue.index()].rejects;
        let burst = !rejects.allows(now_ns);
        rejects.record(now_ns);
        burst
    }

    /// Notes a fill; true if it is one too many.
    #[inline]
    pub fn record_fill(&mut self, venue: VenueId, now_ns: u64) -> bool {
        let fills = &mut self.venues[venue.index()].fills;
        let burst = !fills.allows(now_ns);
        fills.record(now_ns);
        burst
    }

    /// Writes the state.
    pub fn hash_state(&self, hasher: &mut StateHasher) {
        let Switches { halted, paused, shutting_down, cold_plane_behind } = self.switches;
        hasher.write_u64(halted.map_or(u64::MAX, |reason| reason as u64));
        hasher.write_bool(paused);
        hasher.write_bool(shutting_down);
        hasher.write_bool(cold_plane_behind);
        for instrument in &self.instruments {
            hasher.write_bool(instrument.suspended);
        }
        for venue in &self.venues {
            hasher.write_u32(venue.market_data as u32);
            hasher.write_u32(venue.entry.state as u32);
            hasher.write_bool(venue.entry.reconciled);
            hasher.write_bool(venue.entry.skewed);
            hasher.write_u32(venue.open);
            for window in [&venue.order_rate, &venue.message_rate, &venue.cancel_rate, &venue.rejects, &venue.fills] {
                window.hash_state(hasher);
            }
        }
        for strategy in &self.strategies {
            hasher.write_bool(strategy.enabled);
            strategy.loss.hash_state(hasher);
            strategy.order_rate.hash_state(hasher);
        }
        for last in self.seats.iter().flat_map(|seat| &seat.last) {
            hasher.write_price(last.price);
            hasher.write_qty(last.qty);
            hasher.write_bool(last.ioc);
            hasher.write_u64(last.at_ns);
        }
        self.order_rate.hash_state(hasher);
        self.loss.hash_state(hasher);
        self.exposure.hash_state(hasher);
    }
}
