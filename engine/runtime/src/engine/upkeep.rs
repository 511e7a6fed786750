//! What the loop does besides frames: what is due each millisecond and more rarely, commands from outside, and what the cold
//! plane has fetched.

use super::hot_loop::{Control, Ending, HotLoop};
use super::network::{Channel, Network, TimeSource};
use super::status::Phase;
use super::venue_slot::Barrier;
use engine_core::event::{Event, EventKind, EventSink, Times};
use std::sync::atomic::Ordering;
use venues::venue::{Role, Venue};

/// Results of the cold plane taken from one venue in one pass.
const COLD_PER_PASS_MAX: usize = 32;
/// How often slow things are looked at.
const TICK_NS: u64 = 1_000_000;
/// How often codecs are told the time.
const VENUE_TIMER_NS: u64 = 50_000_000;
/// How often the status is published.
const STATUS_NS: u64 = 100_000_000;

impl<N, S, V> HotLoop<N, S, V>
where
    N: Network,
    S: Channel<N>,
    V: Venue,
{
    /// What is due each millisecond, and more rarely.
    pub(super) fn tick(&mut self, now: u64, clock: &mut impl TimeSource) {
        self.due.tick_ns = now + TICK_NS;
        self.dirty = true;
        self.network.maintain(now);
        clock.slew();
        let times = Times { core_ns: clock.now_ns(), poll_delay_ns: 0 };
        self.side.watch_ring(times);
        self.take_control(clock);
        self.take_cold_results(clock);
        if now >= self.due.timer_ns {
            self.due.timer_ns = next_due(self.due.timer_ns, self.timing.timer_ns, now);
            let times = Times { core_ns: clock.now_ns(), poll_delay_ns: 0 };
            self.side.event(&Event::timer(times));
        }
        self.settle(clock);
        self.poll_all(clock);
        if now >= self.due.venue_timer_ns {
            self.due.venue_timer_ns = next_due(self.due.venue_timer_ns, VENUE_TIMER_NS, now);
            for slot in &mut self.venues {
                let times = Times { core_ns: clock.now_ns(), poll_delay_ns: 0 };
                slot.venue.on_timer(times, &mut self.side, &mut slot.out);
            }
        }
        self.watch_order_entry(clock);
        self.settle(clock);
        self.step_phase(clock);
        // A kick that was refused for the moment is tried again; a port that is gone is noticed without traffic.
        if let Err(error) = self.network.flush(now) {
            self.failed = Some(error);
        }
        if let Some(error) = self.failed.take() {
            self.ending = Ending::PortGone(error);
            self.phase = Phase::Ended;
        }
        if now >= self.due.status_ns || self.phase == Phase::Ended {
            self.due.status_ns = now + STATUS_NS;
            self.publish(now);
        }
    }

    fn take_control(&mut self, clock: &mut impl TimeSource) {
        while let Some(control) = self.control.pop() {
            let times = Times { core_ns: clock.now_ns(), poll_delay_ns: 0 };
            match control {
                Control::None => {}
                Control::Command { kind, a, b } => self.side.event(&Event::command(kind, a, b, times)),
                Control::Stop => self.begin_stop(clock),
            }
        }
        if (self.progress.failed.load(Ordering::Relaxed) || self.side.is_deaf()) && !matches!(self.ending, Ending::JournalFailed) {
            self.ending = Ending::JournalFailed;
            self.begin_stop(clock);
        }
    }

    /// Takes what the cold plane has fetched: for a codec, or straight for the core.
    pub(super) fn take_cold_results(&mut self, clock: &mut impl TimeSource) {
        let mut any = false;
        for at in 0..self.venues.len() {
            for _ in 0..COLD_PER_PASS_MAX {
                let Some(event) = self.venues[at].results.pop() else { break };
                any = true;
                self.take_cold(at, event, clock);
            }
        }
        if any {
            self.settle(clock);
        }
    }

    fn take_cold(&mut self, at: usize, event: Event, clock: &mut impl TimeSource) {
        let HotLoop { venues, side, .. } = self;
        let slot = &mut venues[at];
        let times = Times { core_ns: clock.now_ns(), poll_delay_ns: 0 };
        let now_stamped = |event: &Event| Event { core_time_ns: times.core_ns, poll_delay_ns: 0, ..*event };
        use EventKind as K;
        match event.event_kind() {
            Some(K::BookLevel | K::BookTouch | K::BookInvalid | K::ColdText) => {
                slot.venue.on_cold(&event, times, side, &mut slot.out);
            }
            Some(K::Reconcile) => {
                let begins = event.code == 0;
                if begins {
                    // The event's own time is when the venue was asked.
                    slot.stale_round = match slot.barrier {
                        Barrier::Down => true,
                        Barrier::Asked { since_ns, .. } => event.core_time_ns < since_ns,
                        Barrier::Done { .. } => false,
                    };
                }
                if slot.stale_round {
                    slot.stale_round = begins;
                    return;
                }
                side.event(&now_stamped(&event));
                if !begins {
                    slot.counters.reconciliations += 1;
                    slot.barrier = Barrier::Done { at_ns: times.core_ns };
                }
            }
            // A fee belongs to the fill that follows directly: nothing may come between them.
            Some(K::FillFee) => slot.held_fee = Some(event),
            Some(_) if event.is_input() => {
                if let Some(fee) = slot.held_fee.take() {
                    side.event(&now_stamped(&fee));
                }
                side.event(&now_stamped(&event));
            }
            _ => {}
        }
    }

    /// Asks for the venue's records whenever order entry has come up, and now and then; lets the old
    /// connection of a planned renewal go once the new one is ready.
    fn watch_order_entry(&mut self, clock: &mut impl TimeSource) {
        let HotLoop { venues, network, .. } = self;
        for slot in venues.iter_mut() {
            let now = clock.now_ns();
            for channel in slot.channels.iter_mut().flatten() {
                if slot.venue.is_ready(channel.role) {
                    channel.channel.retire_old(network, now);
                }
                if slot.venue.take_closing(channel.role) {
                    channel.channel.renew(now);
                }
            }
            let ready = slot.venue.is_ready(Role::OrderEntry);
            match slot.barrier {
                _ if !ready => slot.barrier = Barrier::Down,
                Barrier::Down => slot.ask_reconcile(now, now),
                Barrier::Asked { since_ns, asked_ns } if now - asked_ns >= self.timing.reconcile_retry_ns => {
                    slot.ask_reconcile(since_ns, now);
                }
                Barrier::Done { at_ns } if self.timing.reconcile_ns != 0 && now - at_ns >= self.timing.reconcile_ns => {
                    slot.ask_reconcile(now, now);
                }
                Barrier::Asked { .. } | Barrier::Done { .. } => {}
            }
            slot.pass_notice_on();
        }
    }
}

/// The time after `due`, without catching up on what was missed.
fn next_due(due: u64, interval: u64, now: u64) -> u64 {
    let next = due + interval;
    if next > now { next } else { now + interval }
}
