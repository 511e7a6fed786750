//! What happened since the start, as plain integers. Not part of the state: nothing decides by them.

use crate::event::Anomaly;
use crate::risk::Refusal;

/// Number of kinds of anomalies.
const ANOMALIES: usize = Anomaly::ALL.len();

/// Counters of the core. What orders count comes first.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counters {
    /// New orders sent.
    pub submitted: u64,
    /// Orders that the venue acknowledged (or filled).
    pub acked: u64,
    /// Orders completely filled.
    pub filled: u64,
    /// Fills booked.
    pub fills: u64,
    /// Fills reported again and not booked again.
    pub repeated_fills: u64,
    /// Orders cancelled.
    pub cancelled: u64,
    /// Orders expired.
    pub expired: u64,
    /// Orders refused by the venue, or not sent in the end.
    pub rejected: u64,
    /// Orders replaced in place.
    pub replaced: u64,
    /// Orders whose fate became unknown.
    pub became_unknown: u64,
    /// Cancels sent.
    pub cancels: u64,
    /// Replaces sent.
    pub replaces: u64,
    /// Questions sent about orders.
    pub queries: u64,
    /// Book resynchronisations asked for.
    pub resyncs: u64,
    /// Reconciliations completed.
    pub reconciliations: u64,
    /// Times that trading stopped, of all or of one strategy.
    pub halts: u64,
    /// Outputs that did not fit. Zero, unless a bound of the core's own is wrong.
    pub outputs_lost: u64,
    /// By [`Refusal::index`].
    pub refusals: [u64; Refusal::COUNT],
    /// By [`Anomaly`] number.
    pub anomalies: [u64; ANOMALIES],
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            submitted: 0,
            acked: 0,
            filled: 0,
            fills: 0,
            repeated_fills: 0,
            cancelled: 0,
            expired: 0,
            rejected: 0,
            replaced: 0,
            became_unknown: 0,
            cancels: 0,
            replaces: 0,
            queries: 0,
            resyncs: 0,
            reconciliations: 0,
            halts: 0,
            outputs_lost: 0,
            refusals: [0; Refusal::COUNT],
            anomalies: [0; ANOMALIES],
        }
    }
}

/// One more. (Nothing happens 2^64 times.)
#[inline]
pub(super) fn count(counter: &mut u64) {
    *counter = counter.wrapping_add(1);
}

impl Counters {
    /// Requests refused by risk, all reasons together.
    pub fn refused(&self) -> u64 {
        self.refusals.iter().sum()
    }

    /// Requests refused for one reason.
    pub fn refused_for(&self, refusal: Refusal) -> u64 {
        self.refusals[refusal.index()]
    }

    /// Reasons with how often each was given, those that never were left out.
    pub fn refusals(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.iter().map(|&r| (r, self.refused_for(r))).filter(|&(_, count)| count > 0)
    }

    /// How often an anomaly was seen.
    pub fn anomaly(&self, anomaly: Anomaly) -> u64 {
        self.anomalies[anomaly as usize]
    }

    /// Anomalies with how often each was seen, those that never were left out.
    pub fn anomalies(&self) -> impl Iterator<Item = (Anomaly, u64)> + '_ {
        Anomaly::ALL.iter().map(|&a| (a, self.anomaly(a))).filter(|&(_, count)| count > 0)
    }
}
