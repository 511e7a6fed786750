//! The loop's life: warm-up, running, stopping, closing.

use super::hot_loop::{HotLoop, Winding};
use super::network::{Channel, Network, TimeSource};
use super::status::Phase;
use super::venue_slot::Barrier;
use engine_core::event::{CommandKind, Event, EventSink, Times};
use venues::venue::Venue;

/// Passes that warm-up lasts at least.
const WARM_UP_PASSES_MIN: u64 = 10_000;
/// While stopping, everything is cancelled again this often.
const CANCEL_AGAIN_NS: u64 = 1_000_000_000;
/// How long the last reconciliation may take.
const LAST_RECONCILE_NS_MAX: u64 = 15_000_000_000;
/// Before the last reconciliation: time for the last reports to come in.
const QUIET_NS: u64 = 500_000_000;
/// How long closing the connections may take.
const CLOSE_NS_MAX: u64 = 1_000_000_000;

impl<N, S, V> HotLoop<N, S, V>
where
    N: Network,
    S: Channel<N>,
    V: Venue,
{
    /// Warm-up ends, a stop goes on.
    pub(super) fn step_phase(&mut self, clock: &mut impl TimeSource) {
        let now = clock.now_ns();
        match self.phase {
            Phase::WarmUp => {
                let age = now.saturating_sub(self.started_ns);
                let settled = age >= self.timing.warm_up_ns && self.counters.passes >= WARM_UP_PASSES_MIN && self.all_open();
                if settled || age >= self.timing.warm_up_max_ns {
                    self.end_warm_up();
                }
            }
            Phase::Stopping => self.step_stopping(now, clock),
            Phase::Closing => self.step_closing(now),
            Phase::Starting | Phase::Running | Phase::Ended => {}
        }
    }

    fn all_open(&self) -> bool {
        self.venues.iter().all(|slot| {
            slot.channels.iter().flatten().all(|c| c.channel.is_open() && !c.channel.is_connecting() && slot.venue.is_ready(c.role))
        })
    }

    fn end_warm_up(&mut self) {
        self.latency.reset();
        self.board.latency.reset();
        self.counters.pass_ns_max = 0;
        self.counters.rehearsal_ns_max = 0;
        self.accounting.restart();
        self.warm = true;
        self.phase = Phase::Running;
    }

    pub(super) fn begin_stop(&mut self, clock: &mut impl TimeSource) {
        if matches!(self.phase, Phase::Stopping | Phase::Closing | Phase::Ended) {
            return;
        }
        let now = clock.now_ns();
        self.freeze();
        self.phase = Phase::Stopping;
        self.winding = Winding { since_ns: now, cancel_again_ns: now + CANCEL_AGAIN_NS, ..Winding::default() };
        self.side.event(&Event::command(CommandKind::Shutdown, 0, 0, Times { core_ns: now, poll_delay_ns: 0 }));
    }

    /// Waits for the open orders to be gone; then for a last look at the venues' records.
    fn step_stopping(&mut self, now: u64, clock: &mut impl TimeSource) {
        let open = self.side.core().desk().orders().open_len();
        let waited = now.saturating_sub(self.winding.since_ns);
        if self.winding.reconciling {
            let done = self.venues.iter().all(|slot| !matches!(slot.barrier, Barrier::Asked { .. }));
            if done || waited >= LAST_RECONCILE_NS_MAX {
                self.close_all(now);
            }
            return;
        }
        if open > 0 && waited < self.timing.stop_ns {
            if now >= self.winding.cancel_again_ns {
                self.winding.cancel_again_ns = now + CANCEL_AGAIN_NS;
                let times = Times { core_ns: now, poll_delay_ns: 0 };
                self.side.event(&Event::command(CommandKind::CancelAll, 0, 0, times));
                self.settle(clock);
            }
            return;
        }
        if waited < QUIET_NS {
            return;
        }
        self.winding.orders_left = open > 0;
        self.winding.reconciling = true;
        self.winding.since_ns = now;
        for slot in self.venues.iter_mut().filter(|slot| slot.barrier != Barrier::Down) {
            slot.ask_reconcile(now, now);
        }
    }

    fn close_all(&mut self, now: u64) {
        self.phase = Phase::Closing;
        self.winding.closing_since_ns = Some(now);
        for slot in &mut self.venues {
            slot.last_barrier = slot.barrier;
            for channel in slot.channels.iter_mut().flatten() {
                channel.channel.shut_down(&mut self.network, now);
            }
        }
    }

    fn step_closing(&mut self, now: u64) {
        let closed = self.venues.iter().all(|slot| slot.channels.iter().flatten().all(|c| c.channel.is_closed()));
        let waited = now.saturating_sub(self.winding.closing_since_ns.unwrap_or(now));
        if closed || waited >= CLOSE_NS_MAX {
            self.phase = Phase::Ended;
        }
    }
}
