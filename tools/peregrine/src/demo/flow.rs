//! How much market data there was: what the simulated venues were asked for, what they made and gave up, what the engine
//! received a second, and everything on the way that says that something could not keep up.

use super::stage::Stage;
use engine_core::event::FeedState;
use runtime::engine::{Phase, Status};
use runtime::report::Report;
use serde_json::{Value, json};
use std::time::Instant;
use venue_sim::flow::FlowCount;
use venue_sim::venue::VenueName;

const VENUES: [VenueName; 2] = [VenueName::Binance, VenueName::Kraken];

/// True once the engine trades on all its venues.
pub fn is_ready(status: &Status) -> bool {
    let up = |state| state == FeedState::Up;
    let connected = status.venues().iter().all(|venue| up(venue.market_data()) && up(venue.order_entry()));
    status.phase() == Phase::Running && !status.venues().is_empty() && connected
}

/// Counters at one moment.
struct Reading {
    now_ns: u64,
    messages: u64,
    frames: u64,
    passes: u64,
    /// Sequence gaps, books synchronised anew, connections lost.
    disturbances: [u64; 3],
    unjournalled: u64,
    /// When the venues were asked: they may be busy, and answer later than the engine.
    venues_at: Instant,
    venues: [FlowCount; 2],
    together: u64,
    retransmissions: Option<u64>,
}

impl Reading {
    fn take(stage: &Stage, status: &Status) -> Reading {
        let venues = VENUES.map(|venue| stage.sim.flow(venue));
        let mut reading = Reading {
            now_ns: status.now_ns,
            messages: 0,
            frames: status.frames,
            passes: status.passes,
            disturbances: [0; 3],
            unjournalled: status.dropped,
            venues_at: Instant::now(),
            venues,
            together: stage.sim.written_together(),
            retransmissions: stage.venues_retransmissions(),
        };
        for venue in status.venues() {
            reading.messages += venue.messages;
            for (sum, more) in reading.disturbances.iter_mut().zip([venue.gaps, venue.resyncs, venue.disconnects]) {
                *sum += more;
            }
        }
        reading
    }
}

/// Measures from a moment at which all is connected.
pub struct Meter(Reading);

impl Meter {
    /// Begins.
    pub fn start(stage: &Stage, status: &Status) -> Meter {
        Meter(Reading::take(stage, status))
    }

    /// What there was since then.
    pub fn read(&self, stage: &Stage, status: &Status) -> Flow {
        let (before, after) = (&self.0, Reading::take(stage, status));
        let since = |after: u64, before: u64| after.saturating_sub(before);
        let mut flow = Flow {
            seconds: (since(after.now_ns, before.now_ns) as f64 / 1e9).max(f64::MIN_POSITIVE),
            received: since(after.messages, before.messages),
            venues_seconds: (after.venues_at - before.venues_at).as_secs_f64(),
            due: 0,
            made: 0,
            given_up: 0,
            together: since(after.together, before.together),
            frames: since(after.frames, before.frames),
            passes: since(after.passes, before.passes),
            gaps: since(after.disturbances[0], before.disturbances[0]),
            resyncs: since(after.disturbances[1], before.disturbances[1]),
            disconnects: since(after.disturbances[2], before.disturbances[2]),
            unjournalled: since(after.unjournalled, before.unjournalled),
            venues_retransmissions: after.retransmissions.zip(before.retransmissions).map(|(after, before)| since(after, before)),
        };
        for (after, before) in after.venues.iter().zip(&before.venues) {
            flow.due += since(after.due, before.due);
            flow.made += since(after.made, before.made);
            flow.given_up += since(after.given_up, before.given_up);
        }
        flow
    }
}

/// Market data over some seconds, all venues together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// How long.
    pub seconds: f64,
    /// Messages that the engine took in.
    pub received: u64,
    /// How long the venues' own figures are for.
    pub venues_seconds: f64,
    /// Messages that the venues were asked for.
    pub due: u64,
    /// Messages that they made.
    pub made: u64,
    /// Messages that they gave up, because they were too late for them.
    pub given_up: u64,
    /// Messages that they wrote together with others, because they could not keep up otherwise.
    pub together: u64,
    /// Frames that the engine took in.
    pub frames: u64,
    /// Passes of its loop.
    pub passes: u64,
    /// Sequence gaps.
    pub gaps: u64,
    /// Books synchronised anew.
    pub resyncs: u64,
    /// Connections lost.
    pub disconnects: u64,
    /// Market-data events that the journal did not get.
    pub unjournalled: u64,
    /// Segments that the venues' kernel sent again; `None` where it cannot be asked.
    pub venues_retransmissions: Option<u64>,
}

impl Flow {
    /// Messages a second that the engine took in.
    pub fn received_per_s(&self) -> f64 {
        self.received as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// What got lost or was late between venue and book: of it, nothing may be there for a load to count as taken.
    /// `rx_dropped` are frames that the link dropped.
    pub fn losses(&self, rx_dropped: u64) -> u64 {
        rx_dropped + self.gaps + self.resyncs + self.disconnects + self.unjournalled
    }

    /// In words.
    pub fn text(&self, report: &Report) -> String {
        let per_s = |count: u64| count as f64 / self.seconds.max(f64::MIN_POSITIVE);
        let of_venues = |count: u64| count as f64 / self.venues_seconds.max(f64::MIN_POSITIVE);
        let again = self.venues_retransmissions.map_or_else(|| "?".to_owned(), |count| count.to_string());
        format!(
            "Flow       {:.0} messages/s received over {:.1} s; the venues were asked for {:.0}/s, made {:.0}/s and gave up {} in all\n           \
             {} of them written together with others, because the venues could not keep up otherwise\n           \
             lost: {} frames at the link, {} gaps, {} resyncs, {} connections, {} events not journalled; \
             segments sent again: {again} by the venues, {} by the engine\n           \
             the hot loop: {:.0} passes/s, {:.2} frames and {:.2} messages a pass\n",
            self.received_per_s(),
            self.seconds,
            of_venues(self.due),
            of_venues(self.made),
            self.given_up,
            self.together,
            report.link.rx_dropped,
            self.gaps,
            self.resyncs,
            self.disconnects,
            self.unjournalled,
            report.link.tcp.retransmissions,
            per_s(self.passes),
            self.frames as f64 / self.passes.max(1) as f64,
            self.received as f64 / self.passes.max(1) as f64,
        )
    }

    /// For the JSON report.
    pub fn to_json(&self) -> Value {
        json!({
            "seconds": self.seconds,
            "received": self.received,
            "received_per_s": self.received_per_s(),
            "venues_seconds": self.venues_seconds,
            "due": self.due,
            "made": self.made,
            "given_up": self.given_up,
            "written_together": self.together,
            "frames": self.frames,
            "passes": self.passes,
            "gaps": self.gaps,
            "resyncs": self.resyncs,
            "disconnects": self.disconnects,
            "unjournalled": self.unjournalled,
            "venues_retransmissions": self.venues_retransmissions,
        })
    }
}

/// `RetransSegs` of `/proc/net/snmp`.
pub(super) fn retransmissions(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == "RetransSegs")?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_time_that_was_measured_and_every_loss_counts() {
        let venues = Flow { venues_seconds: 4.0, due: 1_600, made: 1_300, given_up: 280, together: 70, ..Flow::default() };
        let flow = Flow { seconds: 4.0, received: 1_200, ..venues };
        assert_eq!((flow.received_per_s(), flow.losses(0)), (300.0, 0));
        let text = flow.text(&Report::default());
        assert!(
            text.starts_with("Flow       300 messages/s received over 4.0 s; the venues were asked for 400/s, made 325/s and gave up 280")
        );
        assert!(text.contains("70 of them written together") && text.contains("? by the venues"), "{text}");
        assert_eq!(flow.to_json()["received_per_s"], 300.0);
        let disturbed = Flow { gaps: 1, resyncs: 2, disconnects: 3, unjournalled: 4, ..flow };
        assert_eq!(disturbed.losses(5), 15);
    }

    #[test]
    fn the_kernels_retransmissions_are_found_by_name() {
        let snmp = "Ip: A\nIp: 1\nTcp: RtoMin OutSegs RetransSegs InErrs\nTcp: 200 5 7 0\nUdp: x\nUdp: 1\n";
        assert_eq!(retransmissions(snmp), Some(7));
        assert_eq!(retransmissions("Tcp: RtoMin\nTcp: 200\n"), None);
        assert_eq!(retransmissions(""), None);
    }
}
