//! Counters of a connection.

/// What a connection has seen and done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpStatistics {
    /// Segments received.
    pub segments_in: u64,
    /// Of those, taken by header prediction.
    pub predicted: u64,
    /// Segments sent.
    pub segments_out: u64,
    /// Payload bytes received in order.
    pub bytes_in: u64,
    /// Payload bytes that were copied on their way in.
    pub bytes_copied_in: u64,
    /// Payload bytes sent, each time.
    pub bytes_out: u64,
    /// Segments sent again.
    pub retransmissions: u64,
    /// Of those, found superfluous by the peer (duplicate SACK, RFC 2883).
    pub spurious: u64,
    /// Times that losses were repaired without a time-out.
    pub fast_recoveries: u64,
    /// Retransmission time-outs.
    pub timeouts: u64,
    /// Tail loss probes.
    pub tail_probes: u64,
    /// Zero window probes.
    pub window_probes: u64,
    /// Keep-alive probes.
    pub keep_alive_probes: u64,
    /// Segments received ahead of a hole.
    pub out_of_order: u64,
    /// Segments received with nothing new in them.
    pub duplicates: u64,
    /// Segments outside the window, or with data that found no room.
    pub out_of_window: u64,
    /// Segments dropped for an old timestamp, or for lacking one (RFC 7323 sections 5.3 and 3.2).
    pub paws_drops: u64,
    /// Challenges sent (RFC 5961).
    pub challenges: u64,
    /// Challenges kept back (RFC 5961 section 7).
    pub challenges_withheld: u64,
    /// Times that the path was found too narrow for our segments.
    pub narrowed: u64,
}
