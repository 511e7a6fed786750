//! Settings of a connection. Times are nanoseconds.
//!
//! Where RFC 6298 is departed from, and why. Its times are made for bulk transfer, where a copy sent for nothing costs more than one
//! sent late. With an order it is the other way round, and a copy for nothing is found out and taken back (RFC 5682, RFC 3522).
//!
//! - RFC 6298 section 2.1, a second before anything was measured: [`TcpConfig::rto_initial`] has it so, but may be less. Nothing but the
//!   SYN is sent before a round trip was measured. A SYN that was lost, or seems to be, is another matter: from then on the
//!   time-out is three seconds (section 5.7), until there is a measurement. With timestamps the answer to the SYN is one.
//! - RFC 6298 section 2.4, no time-out below a second: [`TcpConfig::rto_floor`] stands in its place, and where section 2.3 has the
//!   clock's granularity.

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// How far a loss lowers the congestion window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BackOff {
    /// By the share that stood in a queue, three tenths at most and a tenth at least: H-TCP's (draft-leith-tcp-htcp).
    #[default]
    Adaptive,
    /// By three tenths: CUBIC's (RFC 9438 section 4.6).
    Cubic,
}

/// Settings of a connection.
#[derive(Clone, Copy, Debug)]
pub struct TcpConfig {
    /// Largest segment we take and send, options included, header excluded (the MSS option, RFC 9293 section 3.7.1).
    pub mss: u16,
    /// Bytes received and not yet read; rounded up to a power of two, at most 2^29.
    pub receive_buffer: usize,
    /// Bytes written and not yet acknowledged.
    pub send_buffer: usize,
    /// Segments written and not yet acknowledged; at most 2^24.
    pub segments_max: usize,
    /// How long an acknowledgement may wait for company (RFC 9293 section 3.8.6.3); at most half a second.
    pub ack_delay: u64,
    /// How long we think the peer lets a lone segment's acknowledgement wait (TLP.max_ack_delay of RFC 8985
    /// section 7.2). A peer that waits longer costs a spare copy of a lone segment; the RFC's bulk value would cost a lost order its time.
    pub peer_ack_delay: u64,
    /// Retransmission time-out before anything was measured (RFC 6298 section 2.1): that of the SYN. Shorter than a round trip,
    /// every SYN is sent twice.
    pub rto_initial: u64,
    /// Least time beyond the smoothed round trip before a time-out. What a peer on a busy machine may take for an answer beyond its
    /// usual time; a lone segment is probed for earlier ([`TcpConfig::peer_ack_delay`]).
    pub rto_floor: u64,
    /// Most that back-off makes of the time-out.
    pub rto_max: u64,
    /// Least reordering window: RFC 8985 section 6.2 starts with a quarter of a round trip and falls to none after three
    /// later segments, which on a path of some 100 us takes every small reordering for a loss. Room for 50 us each way.
    pub reordering_floor: u64,
    /// Initial window in segments (RFC 6928).
    pub initial_window: u32,
    /// How far a loss lowers the congestion window.
    pub back_off: BackOff,
    /// No acknowledgement for so long ends the connection (RFC 9293 section 3.8.3).
    pub user_timeout: u64,
    /// Silence of the peer before it is probed (RFC 9293 section 3.8.4); `None`: never.
    pub keep_alive: Option<u64>,
    /// Time between probes.
    pub keep_alive_interval: u64,
    /// Unanswered probes that end the connection.
    pub keep_alive_probes: u32,
    /// Twice the maximum segment lifetime (RFC 9293 section 3.6.1).
    pub time_wait: u64,
    /// Offer timestamps (RFC 7323).
    pub timestamps: bool,
    /// Offer selective acknowledgement (RFC 2018).
    pub sack: bool,
}

impl Default for TcpConfig {
    fn default() -> TcpConfig {
        TcpConfig {
            mss: 1460,
            receive_buffer: 256 * 1024,
            send_buffer: 128 * 1024,
            segments_max: 512,
            ack_delay: MS,
            peer_ack_delay: MS / 2,
            rto_initial: SECOND,
            rto_floor: 5 * MS,
            rto_max: 60 * SECOND,
            reordering_floor: 120_000,
            initial_window: 10,
            back_off: BackOff::Adaptive,
            user_timeout: 30 * SECOND,
            keep_alive: None,
            keep_alive_interval: SECOND,
            keep_alive_probes: 5,
            time_wait: 60 * SECOND,
            timestamps: true,
            sack: true,
        }
    }
}
