//! What happened to every frame.

/// Counters of a stack; all monotonic. Each received frame is counted once, under what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackStatistics {
    /// TCP segments given to their socket.
    pub tcp_segments: u64,
    /// ARP packets for us.
    pub arp_packets: u64,
    /// Datagrams given to DNS or DHCP.
    pub udp_datagrams: u64,
    /// ICMP messages that we act on.
    pub icmp_messages: u64,

    /// Dropped: shorter than its headers say, or than headers are.
    pub truncated: u64,
    /// Dropped: for another hardware or IP address.
    pub not_ours: u64,
    /// Dropped: neither IPv4 nor ARP.
    pub unknown_ethertype: u64,
    /// Dropped: neither TCP, UDP nor ICMP.
    pub unknown_protocol: u64,
    /// Dropped: wrong checksum (IP, TCP, UDP or ICMP).
    pub bad_checksum: u64,
    /// Dropped: header fields that contradict each other, or a source that nobody can have.
    pub malformed: u64,
    /// Dropped: a fragment (we send with "don't fragment" and do not reassemble).
    pub fragments: u64,
    /// Dropped: TCP for no socket of ours.
    pub no_socket: u64,
    /// Dropped: UDP for no port of ours.
    pub no_port: u64,
    /// Dropped: DNS and DHCP datagrams that answer nothing that was asked.
    pub unexpected_datagrams: u64,
    /// Dropped: ICMP messages that we do not act on.
    pub ignored_icmp: u64,
    /// Dropped: ARP that is not about us or a neighbour of ours.
    pub ignored_arp: u64,
    /// Dropped: segments that TCP did not take: outside the window, old, or forged (RFC 9293 section 3.10.7.4, RFC 5961).
    pub refused_segments: u64,

    /// TCP segments sent.
    pub segments_sent: u64,
    /// Of those: at or below a sequence number that had been sent before.
    pub segments_resent: u64,
    /// RST sent for segments without a socket.
    pub resets_sent: u64,
    /// Replies (RST, challenge, echo) not sent because of their rate limit.
    pub replies_limited: u64,
    /// Replies not sent because the port had no free frame.
    pub replies_dropped: u64,
    /// Times that a socket had to wait for a free transmit frame.
    pub transmit_exhausted: u64,
    /// ARP questions sent.
    pub arp_questions: u64,
    /// Neighbours whose hardware address changed.
    pub neighbour_changes: u64,
    /// Neighbours that did not answer the questions of a refresh (they stay in use).
    pub neighbour_silences: u64,
    /// Others that claim our IP address.
    pub address_conflicts: u64,
    /// Connections started.
    pub connects: u64,
    /// Connections given up because nothing was acknowledged for the user time-out.
    pub timeouts: u64,
    /// DNS questions sent, repetitions included.
    pub dns_questions: u64,
    /// Times that a path turned out to be narrower than the link (RFC 1191).
    pub path_mtu_reductions: u64,
}

impl StackStatistics {
    /// Received frames that were dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.truncated
            + self.not_ours
            + self.unknown_ethertype
            + self.unknown_protocol
            + self.bad_checksum
            + self.malformed
            + self.fragments
            + self.no_socket
            + self.no_port
            + self.unexpected_datagrams
            + self.ignored_icmp
            + self.ignored_arp
            + self.refused_segments
    }

    /// Received frames.
    pub fn received(&self) -> u64 {
        self.dropped() + self.tcp_segments + self.arp_packets + self.udp_datagrams + self.icmp_messages
    }
}
