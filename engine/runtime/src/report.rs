//! The summary of a run, as JSON for programs; `peregrine` prints the same for people.

use crate::latency::{Circumstances, Latency, Percentiles};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The whole report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The network path.
    pub link: LinkReport,
    /// Each venue.
    pub venues: Vec<VenueReport>,
    /// Orders over all venues.
    pub orders: OrdersReport,
    /// Positions and balances equal to the venues' records; `None` if they were not compared.
    pub positions_match: Option<bool>,
    /// What did not match.
    pub differences: Vec<String>,
    /// Profit and loss.
    pub pnl: PnlReport,
    /// Times.
    pub latency_ns: LatencyReport,
    /// What the hot thread did that it should not.
    pub hot: HotReport,
    /// The journal.
    pub journal: JournalReport,
    /// How long it ran, seconds.
    pub seconds: f64,
    /// Invariants that failed; empty = all held.
    pub failures: Vec<String>,
    /// All that `latency_ns` is made from, of a run of this process. Not part of the JSON.
    #[serde(skip)]
    pub latency: Option<Arc<Latency>>,
}

/// The network path.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LinkReport {
    /// `af_xdp`, `af_packet`, `memory`.
    pub driver: String,
    /// `zero-copy`, `native copy`, ...
    pub mode: String,
    /// Why not a better one.
    pub why: Vec<String>,
    /// Frame memory on 2 MiB pages.
    pub huge_pages: bool,
    /// Frames received.
    pub rx_frames: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Frames dropped before we saw them.
    pub rx_dropped: u64,
    /// Frames that the stack refused: truncated, malformed, of a wrong checksum, for nobody here.
    #[serde(default)]
    pub rx_refused: u64,
    /// System calls made for sending.
    pub kicks: u64,
    /// System calls made for receiving.
    pub wakeups: u64,
    /// TCP.
    #[serde(default)]
    pub tcp: TcpReport,
    /// TLS records.
    #[serde(default)]
    pub tls: PiecesReport,
    /// WebSocket messages.
    #[serde(default)]
    pub websocket: PiecesReport,
}

/// What a layer received, all connections together, and what of it did not arrive in one piece. Only that is copied: a record
/// that lies whole in its segment is opened there, a message that lies whole in its record is read there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PiecesReport {
    /// Records or messages.
    pub received: u64,
    /// Of these, put together from pieces.
    pub stitched: u64,
}

/// What TCP did, all connections together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpReport {
    /// Segments received.
    pub segments_in: u64,
    /// Of those, taken by header prediction.
    pub predicted: u64,
    /// Payload bytes received in order.
    pub bytes_in: u64,
    /// Of those, copied out of their frames.
    pub bytes_copied_in: u64,
    /// Segments sent.
    pub segments_out: u64,
    /// Payload bytes sent.
    pub bytes_out: u64,
    /// Of those, copied into their frames.
    pub bytes_copied_out: u64,
    /// Of those, bytes that were sent before.
    pub bytes_copied_again: u64,
    /// Segments sent again.
    pub retransmissions: u64,
    /// Of those, found superfluous by the peer.
    pub spurious: u64,
}

/// One venue.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VenueReport {
    /// Its name.
    pub name: String,
    /// Market data and order entry both up.
    pub connected: bool,
    /// TLS version of its connections, as negotiated.
    pub tls: String,
    /// Frames or segments received for it.
    pub frames: u64,
    /// WebSocket messages.
    pub messages: u64,
    /// Events made of them.
    pub events: u64,
    /// Sequence gaps.
    pub gaps: u64,
    /// Books resynchronised.
    pub resyncs: u64,
    /// Checksum failures.
    pub checksum_failures: u64,
    /// Messages that could not be decoded.
    pub malformed: u64,
    /// Messages of a kind, for a symbol or with a value that we do not know.
    #[serde(default)]
    pub unknown: u64,
    /// Connections made, the first ones included.
    pub connects: u64,
    /// Connections lost.
    pub disconnects: u64,
    /// Refusals by the venue.
    pub venue_errors: u64,
    /// Times that the venue's records were compared with ours.
    pub reconciliations: u64,
    /// Order requests sent.
    #[serde(default)]
    pub requests: u64,
    /// Messages that a connection would not take.
    pub not_sent: u64,
    /// REST requests, retries included.
    pub rest_requests: u64,
    /// REST requests that got no usable answer.
    pub rest_failures: u64,
}

/// Orders, over the whole journal (earlier runs included).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OrdersReport {
    /// New orders sent.
    pub submitted: u64,
    /// Acknowledged.
    pub acked: u64,
    /// Completely filled.
    pub filled: u64,
    /// Fills, partial ones included.
    pub fills: u64,
    /// Cancelled or expired.
    pub cancelled: u64,
    /// Refused by a venue.
    pub rejected: u64,
    /// Replaced in place.
    pub replaced: u64,
    /// State unknown now.
    pub unknown: u64,
    /// Open now.
    pub open: u64,
    /// Refused by risk.
    pub refused_by_risk: u64,
    /// The same by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Input that the core could not place, by kind.
    pub anomalies: BTreeMap<String, u64>,
}

/// Profit and loss in the reporting asset, decimal text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PnlReport {
    /// The reporting asset.
    pub asset: String,
    /// Total.
    pub total: String,
    /// Realised.
    pub realised: String,
    /// Unrealised.
    pub unrealised: String,
    /// Fees paid.
    pub fees: String,
    /// By strategy.
    pub strategies: Vec<StrategyReport>,
    /// Positions, by instrument.
    pub positions: Vec<PositionReport>,
}

/// One strategy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StrategyReport {
    /// Its name.
    pub name: String,
    /// Its total in the reporting asset.
    pub total: String,
}

/// One position.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PositionReport {
    /// Venue.
    pub venue: String,
    /// Symbol.
    pub symbol: String,
    /// Signed quantity.
    pub qty: String,
}

/// Times, nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LatencyReport {
    /// Frame seen by the poll loop to order frame ready for the NIC.
    pub tick_to_order: Percentiles,
    /// The same to the frame of the last order, where a tick caused several.
    pub tick_to_last_order: Percentiles,
    /// Its stages, in order.
    pub stages: BTreeMap<String, Percentiles>,
    /// Tick-to-order of each venue's messages.
    #[serde(default)]
    pub venues: BTreeMap<String, Percentiles>,
    /// Its stages, by venue.
    #[serde(default)]
    pub venue_stages: BTreeMap<String, BTreeMap<String, Percentiles>>,
    /// Tick-to-order by what the tick was answered with: `order`, `cancel`, `amend`, `several`.
    #[serde(default)]
    pub answers: BTreeMap<String, Percentiles>,
    /// The slowest ticks, the slowest first, and what they were like.
    #[serde(default)]
    pub slowest: Vec<SlowTick>,
    /// The system call that makes the NIC look; not part of tick-to-order.
    pub kick: Percentiles,
}

/// A tick that was answered late. Times in nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SlowTick {
    /// Whose message it was.
    pub venue: String,
    /// What it was answered with: `order`, `cancel`, `amend`, `several`.
    pub answer: String,
    /// Tick to order.
    pub whole_ns: u64,
    /// Its stages.
    pub stages_ns: BTreeMap<String, u64>,
    /// What it was like.
    #[serde(flatten)]
    pub like: Circumstances,
}

/// What the hot thread did after warm-up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HotReport {
    /// Allocator calls.
    pub allocations: u64,
    /// Of these, while connections were being made (TLS handshakes may).
    pub allocations_connecting: u64,
    /// True if the counting allocator was in force.
    pub allocations_counted: bool,
    /// Page faults.
    pub page_faults: u64,
    /// Of these, while connections were being made.
    pub page_faults_connecting: u64,
    /// Times it gave up the CPU.
    pub voluntary_switches: u64,
    /// Times the scheduler took the CPU away.
    pub involuntary_switches: u64,
    /// Warm-up had ended; without that the counts above begin at the start.
    pub warmed_up: bool,
    /// Passes of the loop.
    pub passes: u64,
    /// Orders rehearsed to keep the way to an order in the caches; none of them was real.
    pub rehearsals: u64,
    /// Of these, decided on by the rehearsal's strategies: as long as this grows, what they do is rehearsed too.
    pub rehearsals_decided: u64,
    /// How long a rehearsal takes on average, nanoseconds: a frame that comes meanwhile waits for its end.
    pub rehearsal_ns: u64,
    /// The longest of them.
    pub rehearsal_ns_max: u64,
    /// Longest pass that worked off frames, nanoseconds.
    pub pass_ns_max: u64,
    /// Bytes of the hot arena in use.
    pub arena_used: u64,
    /// Bytes of the hot arena; 0 = there is none.
    pub arena_bytes: u64,
    /// The arena lies on 2 MiB pages.
    pub arena_huge_pages: bool,
    /// Bytes of the program's code and constants on 2 MiB pages.
    #[serde(default)]
    pub code_on_huge_pages: u64,
    /// All memory of the process is locked: without that, pages may be taken away and fault.
    #[serde(default)]
    pub memory_locked: bool,
    /// CPU it was pinned to.
    pub cpu: Option<usize>,
    /// Resident memory of the process, bytes.
    pub resident_bytes: u64,
    /// What the machine did not grant, and the fix.
    pub refusals: Vec<String>,
}

impl HotReport {
    /// Allocations after warm-up that no connection made anew accounts for.
    pub const fn allocations_warm(&self) -> u64 {
        self.allocations.saturating_sub(self.allocations_connecting)
    }

    /// Page faults after warm-up, likewise.
    pub const fn page_faults_warm(&self) -> u64 {
        self.page_faults.saturating_sub(self.page_faults_connecting)
    }
}

/// The journal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JournalReport {
    /// Its directory.
    pub path: String,
    /// Events in it.
    pub events: u64,
    /// State hash at the end, hexadecimal.
    pub state_hash: String,
    /// A replay gave the same outputs and the same hash; `None` if it was not tried.
    pub replay_matches: Option<bool>,
    /// Market-data events dropped because the cold plane was behind.
    pub dropped: u64,
}

/// Resident memory of this process, bytes; 0 if the kernel does not say.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok().and_then(|s| s.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
