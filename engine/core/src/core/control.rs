//! What is not about one order: the session, connections, reconciliation, balances, commands, halts.

use super::desk::{Desk, Session};
use crate::event::{Anomaly, BookInvalid, CommandKind, Event, EventKind, FeedState, HaltReason, InstrumentStatus, VALUE_MAX, flags};
use crate::fixed::{Money, Price, Qty};
use crate::ids::{AssetId, InstrumentId, OrderId, StrategyId, VenueId};
use crate::order::{OrderEvent, OrderState};
use crate::risk::gate::Entry;

/// Connection roles as they are numbered in [`EventKind::FeedStatus`].
const ROLE_MARKET_DATA: u64 = 0;
const ROLE_ORDER_ENTRY: u64 = 1;

impl Desk {
    /// A session starts: links of the one before are gone, so nothing that was open is certain.
    pub(super) fn on_session_start(&mut self, event: &Event) -> bool {
        let last = self.session.map_or(0, |s| s.epoch);
        let epoch = event.a;
        if epoch <= u64::from(last) || epoch > u64::from(OrderId::EPOCH_MAX) {
            // Ids of an epoch used before would name two orders.
            self.anomaly(Anomaly::OutOfBounds, event, epoch);
            return false;
        }
        self.session = Some(Session { epoch: epoch as u16, next_sequence: 1, config_hash: event.b });
        self.gate.switch(|switches| (switches.shutting_down, switches.cold_plane_behind) = (false, false));
        self.pending_fee = None;
        for venue in 0..self.gate.venue_count() {
            let venue = VenueId(venue as u8);
            if let Some(gate) = self.gate.venue_mut(venue) {
                gate.market_data = FeedState::Down;
                gate.set_entry(Entry::DOWN);
            }
            self.rounds[venue.index()].under_way = false;
        }
        for (market, guard) in self.markets.iter_mut().zip(&mut self.guards) {
            market.book.invalidate(BookInvalid::Disconnected);
            (guard.stale_told, guard.counted) = (false, false);
        }
        self.books.iter_mut().for_each(|count| count.valid = 0);
        self.lose_link(None, true, event);
        true
    }

    /// A stream came up or went down. Returns true if the venue's books became invalid by it.
    pub(super) fn on_feed_status(&mut self, event: &Event) -> bool {
        let venue = event.venue_id();
        let (Some(state), Some(gate)) = (FeedState::from_raw(event.code), self.gate.venue_mut(venue)) else {
            self.anomaly(Anomaly::UnknownId, event, event.a);
            return false;
        };
        match event.a {
            ROLE_MARKET_DATA => {
                gate.market_data = state;
                state == FeedState::Down
            }
            ROLE_ORDER_ENTRY => {
                let entry = gate.entry();
                gate.set_entry(Entry { state, reconciled: entry.reconciled && state != FeedState::Down, ..entry });
                let switches = self.gate.switches();
                if state == FeedState::Down {
                    self.rounds[venue.index()].under_way = false;
                    self.lose_link(Some(venue), false, event);
                } else if state == FeedState::Up && (switches.halted.is_some() || switches.shutting_down) {
                    self.cancel_all(venue);
                }
                false
            }
            role => {
                self.anomaly(Anomaly::UnknownId, event, role);
                false
            }
        }
    }

    pub(super) fn on_instrument_status(&mut self, event: &Event) -> bool {
        let Some(instrument) = self.instruments.get_mut(event.instrument_id()) else {
            self.anomaly(Anomaly::UnknownId, event, u64::from(event.instrument));
            return false;
        };
        let status = InstrumentStatus::from_raw(event.code).unwrap_or(InstrumentStatus::Unknown);
        let changed = instrument.status != status;
        instrument.status = status;
        self.gate.take_rules(event.instrument_id(), instrument);
        changed
    }

    /// New increments: in force for every order from here on.
    pub(super) fn on_instrument_rules(&mut self, event: &Event) -> bool {
        let (tick, lot, qty_min, notional_min) = (event.a as i64, event.b as i64, event.c as i64, event.d as i64);
        let step = 1..=VALUE_MAX;
        let minimum = 0..=VALUE_MAX;
        let Some(instrument) = self.instruments.get_mut(event.instrument_id()) else {
            self.anomaly(Anomaly::UnknownId, event, u64::from(event.instrument));
            return false;
        };
        if !step.contains(&tick) || !step.contains(&lot) || !minimum.contains(&qty_min) || !minimum.contains(&notional_min) {
            instrument.status = InstrumentStatus::Unknown;
            self.gate.take_rules(event.instrument_id(), instrument);
            self.anomaly(Anomaly::OutOfBounds, event, u64::from(event.instrument));
            return true;
        }
        instrument.tick = Price(tick);
        instrument.lot = Qty(lot);
        instrument.qty_min = Qty(qty_min);
        instrument.notional_min = Money::from_scaled(notional_min, instrument.price_scale);
        instrument.epoch += 1;
        self.gate.take_rules(event.instrument_id(), instrument);
        true
    }

    /// A balance as the venue states it.
    pub(super) fn on_balance(&mut self, event: &Event) {
        let (total, available) = (Money::from_words(event.a, event.b), Money::from_words(event.c, event.d));
        if self.positions.ledger.state(event.venue_id(), AssetId(event.asset), total, available, self.now_ns).is_err() {
            self.anomaly(Anomaly::UnknownId, event, u64::from(event.asset));
        }
    }

    /// Reconciliation of a venue began or completed.
    pub(super) fn on_reconcile(&mut self, event: &Event) {
        let Some(round) = self.rounds.get_mut(event.venue_id().index()) else {
            return self.anomaly(Anomaly::UnknownId, event, u64::from(event.venue));
        };
        match event.code {
            0 => {
                round.number += 1;
                round.under_way = true;
                round.open_seen = 0;
            }
            1 if round.under_way => {
                round.under_way = false;
                let complete = round.open_seen >= event.a;
                self.end_reconcile(event, complete);
            }
            // The begin was before the link was lost: what came in between is of no use.
            1 => {}
            code => self.anomaly(Anomaly::UnknownKind, event, u64::from(code)),
        }
    }

    fn end_reconcile(&mut self, event: &Event, complete: bool) {
        let venue = event.venue_id();
        if !complete {
            // Some of its events were lost on the way here: no ground to open anything on.
            return self.anomaly(Anomaly::UnknownOrder, event, event.a);
        }
        self.counters.reconciliations += 1;
        self.compare_balances(event);
        if let Some(gate) = self.gate.venue_mut(venue)
            && gate.entry().state == FeedState::Up
        {
            gate.set_entry(Entry { reconciled: true, ..gate.entry() });
        }
    }

    /// A difference that two rounds show alike is none of a fill under way.
    fn compare_balances(&mut self, event: &Event) {
        let venue = event.venue_id();
        let assets = self.config.assets.len();
        let mut mismatch = false;
        for asset in 0..assets {
            let at = venue.index() * assets + asset;
            let asset = AssetId(asset as u16);
            let difference = self.positions.ledger.difference(venue, asset).unwrap_or_default();
            if difference != Money::ZERO && difference == self.differences[at] {
                mismatch = true;
                self.anomaly(Anomaly::BalanceMismatch, &Event { asset: asset.0, ..*event }, difference.0 as u64);
            }
            self.differences[at] = difference;
        }
        if mismatch && self.config.limits.halt_on_balance_mismatch {
            self.halt(HaltReason::Mismatch);
        }
    }

    /// A command of the operator's or the runtime's.
    pub(super) fn on_command(&mut self, event: &Event) {
        let Some(kind) = CommandKind::from_raw(event.code) else {
            return self.anomaly(Anomaly::UnknownKind, event, u64::from(event.code));
        };
        match kind {
            CommandKind::Kill => {
                let reason = u32::try_from(event.a).ok().and_then(HaltReason::from_raw).unwrap_or(HaltReason::Operator);
                self.halt(reason);
            }
            CommandKind::Resume => self.resume(),
            CommandKind::CancelAll => self.cancel_everything(),
            CommandKind::Pause => self.gate.switch(|switches| switches.paused = true),
            CommandKind::ColdPlaneBehind => self.gate.switch(|switches| switches.cold_plane_behind = event.a != 0),
            CommandKind::Shutdown => {
                self.gate.switch(|switches| switches.shutting_down = true);
                self.cancel_everything();
            }
            CommandKind::EnableStrategy => self.enable_strategy(event),
            CommandKind::ClockOffset => {
                let skewed = (event.a as i64).unsigned_abs() > self.config.limits.clock_skew_max_ns;
                match self.gate.venue_mut(event.venue_id()) {
                    Some(gate) => gate.set_entry(Entry { skewed, ..gate.entry() }),
                    None => self.anomaly(Anomaly::UnknownId, event, u64::from(event.venue)),
                }
            }
        }
    }

    /// The operator decides to go on: losses so far are accepted, and balances that were found to differ are taken over.
    fn resume(&mut self) {
        self.gate.resume();
        // What is looked at from here on is reckoned at the same prices.
        self.positions.revalue(&self.instruments);
        self.gate.loss.accept(self.positions.net());
        let assets = self.config.assets.len();
        for at in 0..self.differences.len() {
            if self.differences[at] != Money::ZERO {
                let (venue, asset) = (VenueId((at / assets) as u8), AssetId((at % assets) as u16));
                // Ids are in range by construction, and without a statement there is no difference.
                let _ = self.positions.ledger.adopt_statement(venue, asset);
                self.differences[at] = Money::ZERO;
            }
        }
    }

    fn enable_strategy(&mut self, event: &Event) {
        let strategy = u8::try_from(event.a).ok().map(StrategyId).filter(|&s| self.gate.strategy(s).is_some());
        let Some(strategy) = strategy else {
            return self.anomaly(Anomaly::UnknownId, event, event.a);
        };
        let enabled = event.b != 0;
        self.positions.revalue(&self.instruments);
        let net = self.positions.strategy_net(strategy);
        if let Some(gate) = self.gate.strategy_mut(strategy) {
            gate.enabled = enabled;
            if enabled {
                gate.loss.accept(net);
            }
        }
        if !enabled {
            self.pull_orders_of(strategy);
        }
    }

    /// Stops trading and cancels everything. The first reason stands.
    #[cold]
    pub(super) fn halt(&mut self, reason: HaltReason) {
        if self.gate.switches().halted.is_some() {
            return;
        }
        self.gate.switch(|switches| switches.halted = Some(reason));
        self.counters.halts += 1;
        let output = Event { code: reason as u32, flags: flags::LAST, ..Event::new(EventKind::Halt, VenueId(0), self.times()) };
        self.push(output);
        self.cancel_everything();
    }

    /// Disables one strategy and cancels its orders. In the output `a` is one more than its number (0: all trading stopped).
    #[cold]
    pub(super) fn halt_strategy(&mut self, strategy: StrategyId, reason: HaltReason) {
        let Some(gate) = self.gate.strategy_mut(strategy).filter(|s| s.enabled) else { return };
        gate.enabled = false;
        self.counters.halts += 1;
        let output = Event::new(EventKind::Halt, VenueId(0), self.times());
        self.push(Event { code: reason as u32, asset: u16::from(strategy.0), a: u64::from(strategy.0) + 1, flags: flags::LAST, ..output });
        self.pull_orders_of(strategy);
    }

    /// Cancels everything on every venue.
    pub(super) fn cancel_everything(&mut self) {
        for venue in 0..self.gate.venue_count() {
            self.cancel_all(VenueId(venue as u8));
        }
    }

    /// Cancels everything on a venue, in one message. Nothing to send while its order entry is down: it is made up for
    /// when it comes back, if that still matters.
    pub(super) fn cancel_all(&mut self, venue: VenueId) {
        self.rounds[venue.index()].cancel_all_ns = self.now_ns;
        if self.order_entry(venue) == FeedState::Down {
            return;
        }
        let output = Event { flags: flags::LAST, ..Event::new(EventKind::SendCancelAll, venue, self.times()) };
        self.push(output);
        let mut walk = std::mem::take(&mut self.walk);
        self.collect_open(Some(venue), &mut walk);
        for &slot in &walk {
            let state = self.orders.get(slot).state;
            if state.is_working() || matches!(state, OrderState::Pending | OrderState::PendingReplace) {
                let now_ns = self.now_ns;
                let changed = self.change(slot, OrderEvent::CancelAsked, |order| order.cancel_sent_ns = now_ns);
                self.tell(slot, changed.from, None);
            }
        }
        walk.clear();
        self.walk = walk;
    }

    /// Sends cancels for a strategy's open orders, a bounded number at once; the timer goes on with the rest.
    pub(super) fn pull_orders_of(&mut self, strategy: StrategyId) {
        const AT_ONCE_MAX: u32 = 64;
        let mut sent = 0;
        let mut at = self.orders.next_own(strategy, None);
        while let Some(slot) = at {
            at = self.orders.next_own(strategy, Some(slot));
            let order = self.orders.get(slot);
            let (state, venue) = (order.state, order.venue);
            let pull = state.is_working() || matches!(state, OrderState::Pending | OrderState::PendingReplace);
            if !pull || self.order_entry(venue) == FeedState::Down {
                continue;
            }
            self.send_cancel(slot);
            self.tell(slot, state, None);
            sent += 1;
            if sent == AT_ONCE_MAX {
                break;
            }
        }
    }

    /// Asks the codec for a new snapshot of a book.
    #[cold]
    pub(super) fn resync(&mut self, instrument: InstrumentId, reason: BookInvalid) {
        let Some(venue) = self.instruments.get(instrument).map(|i| i.venue) else { return };
        let market = &mut self.markets[instrument.index()];
        market.resync_ns = self.now_ns;
        self.guards[instrument.index()].overflowed = market.book.overflowed();
        self.counters.resyncs += 1;
        let output = Event::new(EventKind::SendResync, venue, self.times());
        self.push(Event { instrument: instrument.0, code: reason as u32, flags: flags::LAST, ..output });
    }
}
