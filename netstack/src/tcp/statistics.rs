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
    /// Of those, copied into their frame (a connection alone does not know).
    pub bytes_copied_out: u64,
    /// Of those, bytes that were sent before.
    pub bytes_copied_again: u64,
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

impl std::ops::AddAssign for TcpStatistics {
    fn add_assign(&mut self, other: TcpStatistics) {
        // Named one by one, so that a new counter cannot be left out.
        let TcpStatistics {
            segments_in,
            predicted,
            segments_out,
            bytes_in,
            bytes_copied_in,
            bytes_out,
            bytes_copied_out,
            bytes_copied_again,
            retransmissions,
            spurious,
            fast_recoveries,
            timeouts,
            tail_probes,
            window_probes,
            keep_alive_probes,
            out_of_order,
            duplicates,
            out_of_window,
            paws_drops,
            challenges,
            challenges_withheld,
            narrowed,
        } = other;
        self.segments_in += segments_in;
        self.predicted += predicted;
        self.segments_out += segments_out;
        self.bytes_in += bytes_in;
        self.bytes_copied_in += bytes_copied_in;
        self.bytes_out += bytes_out;
        self.bytes_copied_out += bytes_copied_out;
        self.bytes_copied_again += bytes_copied_again;
        self.retransmissions += retransmissions;
        self.spurious += spurious;
        self.fast_recoveries += fast_recoveries;
        self.timeouts += timeouts;
        self.tail_probes += tail_probes;
        self.window_probes += window_probes;
        self.keep_alive_probes += keep_alive_probes;
        self.out_of_order += out_of_order;
        self.duplicates += duplicates;
        self.out_of_window += out_of_window;
        self.paws_drops += paws_drops;
        self.challenges += challenges;
        self.challenges_withheld += challenges_withheld;
        self.narrowed += narrowed;
    }
}
