//! Faults on command: everything a venue has been seen doing wrong.

use serde::{Deserialize, Serialize};

/// Which connections a fault hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All WebSocket connections.
    #[default]
    All,
    /// Public market-data connections.
    Market,
    /// Order-entry and private connections.
    Private,
}

/// A fault. As JSON: `{"fault":"delay_acks","ms":500,"count":3}`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// The TCP connections break without a close frame.
    DropConnections {
        /// Which.
        #[serde(default)]
        scope: Scope,
    },
    /// The connections end properly, with a WebSocket close frame.
    CloseConnections {
        /// Which.
        #[serde(default)]
        scope: Scope,
    },
    /// The TCP connections stay up but nothing is read or written any more.
    HalfOpen {
        /// Which.
        #[serde(default)]
        scope: Scope,
    },
    /// Market data stops for a while, then everything held back arrives at once.
    StallStreams {
        /// How long.
        ms: u64,
    },
    /// The private streams fall silent for a while, though orders go on living; then everything held back
    /// arrives at once.
    SilencePrivate {
        /// How long.
        ms: u64,
    },
    /// Execution reports that are never sent.
    LoseExecutions {
        /// How many.
        count: u32,
    },
    /// Depth messages that are generated but never sent: a gap.
    SkipSequence {
        /// How many.
        count: u32,
    },
    /// Book messages with a wrong checksum (Kraken).
    BadChecksum {
        /// How many.
        count: u32,
    },
    /// Answers to order requests come late.
    DelayAcks {
        /// By how much.
        ms: u64,
        /// How many.
        count: u32,
    },
    /// Answers to order requests come twice.
    DuplicateAcks {
        /// How many.
        count: u32,
    },
    /// Execution reports come twice.
    DuplicateExecutions {
        /// How many.
        count: u32,
    },
    /// Order requests are carried out but not answered.
    LoseAcks {
        /// How many.
        count: u32,
    },
    /// Order requests are carried out, but the answer says that nobody knows (Binance: -1007; REST of
    /// both: HTTP 502 with a page of HTML).
    UnknownOutcome {
        /// How many.
        count: u32,
    },
    /// Requests are refused for exceeding a rate limit.
    RateLimit {
        /// How many.
        count: u32,
    },
    /// Maintenance begins: order requests are refused, connections are told (Binance: `serverShutdown`,
    /// then closed; Kraken: `status`).
    MaintenanceOn,
    /// Maintenance ends.
    MaintenanceOff,
    /// The venue takes cancels only (Binance: symbol status `CANCEL_ONLY`; Kraken: system `cancel_only`).
    CancelOnlyOn,
    /// The venue takes orders again.
    CancelOnlyOff,
    /// Market-data messages cut off in the middle.
    MalformedJson {
        /// How many.
        count: u32,
    },
    /// One depth message per market whose best bid lies above the best ask; then the true levels again.
    CrossedBook,
    /// One market-data message about a symbol that does not exist.
    UnknownSymbol,
    /// One private (or, without one, public) message with a type nobody knows.
    UnknownEnum,
    /// The server's clock jumps.
    ClockJump {
        /// New offset from the true time, ms.
        offset_ms: i64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_commanded_by_json() {
        let parse = |text| serde_json::from_str::<Fault>(text).map_err(|e| e.to_string());
        assert_eq!(parse(r#"{"fault":"delay_acks","ms":500,"count":3}"#), Ok(Fault::DelayAcks { ms: 500, count: 3 }));
        assert_eq!(parse(r#"{"fault":"drop_connections"}"#), Ok(Fault::DropConnections { scope: Scope::All }));
        assert_eq!(parse(r#"{"fault":"half_open","scope":"private"}"#), Ok(Fault::HalfOpen { scope: Scope::Private }));
        assert_eq!(parse(r#"{"fault":"silence_private","ms":2000}"#), Ok(Fault::SilencePrivate { ms: 2_000 }));
        assert_eq!(parse(r#"{"fault":"maintenance_on"}"#), Ok(Fault::MaintenanceOn));
        assert!(parse(r#"{"fault":"set_fire"}"#).is_err());
    }
}
