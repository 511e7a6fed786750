//! The shape of the configuration file.
//!
//! Every table refuses keys it does not know. Values with units are strings with their unit. Nothing
//! that limits a loss has a default: a limit left out is an error that names it.

use super::units::{Amount, Bytes, HostPort, Network, Number, PortRange, Rate, Ratio, Span};
use crate::engine::LoopTiming;
use netstack::tcp::TcpConfig;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use toml::Spanned;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Name, journal, time-outs.
    pub engine: EngineTable,
    /// Where the hot thread runs.
    #[serde(default)]
    pub host: HostTable,
    /// The network path.
    pub link: LinkTable,
    /// Names and name servers.
    #[serde(default)]
    pub dns: DnsTable,
    /// Value of one unit of each asset in the reporting asset, where no book says it.
    #[serde(default)]
    pub conversion: BTreeMap<String, Number>,
    /// Limits over everything.
    pub limits: GlobalLimits,
    /// Exposure limits by asset.
    #[serde(default)]
    pub asset_limits: BTreeMap<String, AssetLimits>,
    /// The venues.
    #[serde(rename = "venue", default)]
    pub venues: Vec<VenueTable>,
    /// The strategies.
    #[serde(rename = "strategy", default)]
    pub strategies: Vec<StrategyTable>,
}

/// `[engine]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineTable {
    /// Name of this engine; part of file names.
    pub name: String,
    /// Directory of the journal.
    pub journal: PathBuf,
    /// File of the event ring; should be on tmpfs. Default `/dev/shm/peregrine-NAME.ring`.
    pub ring: Option<PathBuf>,
    /// Events that the ring holds; a power of two.
    #[serde(default = "default_ring_events")]
    pub ring_events: u32,
    /// The log; default standard error.
    pub log: Option<PathBuf>,
    /// The asset in which totals are reported and total limits are given.
    pub reporting_asset: Spanned<String>,
    /// A state hash is journalled after so many inputs.
    #[serde(default = "default_state_hash_every")]
    pub state_hash_every: u32,
    /// The journal is forced to disk this often.
    #[serde(default = "default_sync_interval")]
    pub sync_interval: Span,
    /// No answer to an order request for so long: its state is unknown and the venue is asked.
    #[serde(default = "default_ack_timeout")]
    pub ack_timeout: Span,
    /// The venue is asked again for an order of unknown state after so long.
    #[serde(default = "default_requery")]
    pub requery: Span,
    /// What a venue says or omits about an order younger than this is no evidence.
    #[serde(default = "default_reconcile_grace")]
    pub reconcile_grace: Span,
    /// Length of the window of public trades that strategies see.
    #[serde(default = "default_trade_window")]
    pub trade_window: Span,
    /// Levels a side that a book holds.
    #[serde(default = "default_book_levels")]
    pub book_levels: u32,
    /// Orders that the order table holds: open ones and the recently closed.
    #[serde(default = "default_orders")]
    pub orders: u32,
    /// Fills that are remembered, to know one that is reported twice.
    #[serde(default = "default_fills")]
    pub fills: u32,
    /// Public trades that are kept for each instrument.
    #[serde(default = "default_trades")]
    pub trades: u32,
}

fn default_ring_events() -> u32 {
    1 << 18
}
fn default_state_hash_every() -> u32 {
    65_536
}
fn default_sync_interval() -> Span {
    Span(100_000_000)
}
fn default_ack_timeout() -> Span {
    Span(2_000_000_000)
}
fn default_book_levels() -> u32 {
    1_024
}
fn default_orders() -> u32 {
    16_384
}
fn default_fills() -> u32 {
    65_536
}
fn default_trades() -> u32 {
    1_024
}
fn default_requery() -> Span {
    Span(5_000_000_000)
}
fn default_reconcile_grace() -> Span {
    Span(3_000_000_000)
}
fn default_trade_window() -> Span {
    Span(60_000_000_000)
}
fn yes() -> bool {
    true
}

/// `[host]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostTable {
    /// CPU of the hot thread; default an isolated one, or else the one that devices interrupt least.
    pub hot_cpu: Option<usize>,
    /// SCHED_FIFO priority of the hot thread, 1 to 99; 0 = ordinary class.
    pub fifo_priority: i32,
    /// Lock all memory.
    pub lock_memory: bool,
    /// Huge-page arena of the hot thread.
    pub arena: Bytes,
    /// Between two rehearsals of the way to an order; 0 = none.
    pub rehearse: Span,
}

impl Default for HostTable {
    fn default() -> Self {
        HostTable {
            hot_cpu: None,
            fifo_priority: 0,
            lock_memory: true,
            arena: Bytes(64 << 20),
            rehearse: Span(LoopTiming::default().rehearse_ns),
        }
    }
}

/// Which port to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// The best that works.
    Auto,
    /// AF_XDP or nothing.
    AfXdp,
    /// AF_PACKET.
    AfPacket,
    /// In process; only where the program provides the other end (demo, tests).
    Memory,
}

/// `[link]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkTable {
    /// Which port.
    pub kind: LinkKind,
    /// Network interface.
    #[serde(default)]
    pub interface: String,
    /// Queue of the interface.
    #[serde(default)]
    pub queue: u32,
    /// Our address and prefix; left out = DHCP.
    pub address: Option<Network>,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Local TCP and UDP ports. Needed when the address is shared with the kernel; outside
    /// `net.ipv4.ip_local_port_range` then.
    pub ports: Option<PortRange>,
    /// True if the kernel has the same address: only our ports are taken from it.
    #[serde(default)]
    pub shared_address: bool,
    /// Neighbours that need no ARP: address to MAC (`aa:bb:cc:dd:ee:ff`).
    #[serde(default)]
    pub neighbours: BTreeMap<Ipv4Addr, String>,
    /// Least time beyond a connection's round trip before what was not acknowledged is sent again.
    #[serde(default = "default_rto_floor")]
    pub rto_floor: Span,
    /// Record all frames into this pcapng file.
    pub capture: Option<PathBuf>,
}

fn default_rto_floor() -> Span {
    Span(TcpConfig::default().rto_floor)
}

/// `[dns]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsTable {
    /// Name servers.
    pub servers: Vec<Ipv4Addr>,
    /// Names that need no server.
    pub hosts: BTreeMap<String, Ipv4Addr>,
}

/// `[limits]`: over all venues and strategies.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalLimits {
    /// Total exposure in the reporting asset.
    pub exposure_max: Spanned<Amount>,
    /// Loss since midnight UTC that stops trading.
    pub daily_loss_max: Spanned<Amount>,
    /// Fall from the session's best P&L that stops trading.
    pub drawdown_max: Spanned<Amount>,
    /// Open orders at once.
    pub open_orders_max: u32,
    /// New orders and replaces.
    pub order_rate_max: Rate,
    /// Cancels.
    pub cancel_rate_max: Rate,
    /// Rejects that stop trading.
    pub reject_burst: Rate,
    /// Fills that stop trading.
    pub fill_burst: Rate,
    /// Difference of a venue's clock from ours that stops trading on it.
    pub clock_skew_max: Span,
    /// The same order again within this time is refused.
    pub duplicate_window: Span,
    /// A book not heard of for so long is stale.
    pub stale_after: Span,
    /// Farthest an order's price may lie from the reference.
    pub price_collar: Ratio,
    /// Orders that reduce a position may be placed while its book is stale, against the last mark.
    #[serde(default)]
    pub reduce_when_stale: bool,
    /// An open order on our account that is not ours suspends its instrument.
    #[serde(default = "yes")]
    pub suspend_on_foreign_order: bool,
    /// A balance that differs from the venue's in two reconciliations by the same amount stops trading.
    #[serde(default = "yes")]
    pub halt_on_balance_mismatch: bool,
}

/// `[asset_limits.BTC]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetLimits {
    /// Largest net exposure over all venues.
    pub exposure_max: Spanned<Amount>,
}

/// `[[venue]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VenueTable {
    /// `binance` or `kraken`.
    pub name: Spanned<String>,
    /// Encoding of market data.
    #[serde(default)]
    pub encoding: EncodingName,
    /// REST host; default production.
    pub rest: Option<HostPort>,
    /// Market-data host; default production.
    pub market_data: Option<HostPort>,
    /// Order-entry host; default production.
    pub order_entry: Option<HostPort>,
    /// Certificate authority in PEM; default the public roots.
    pub ca_file: Option<PathBuf>,
    /// The account's key file (TOML with `api_key`, `secret`, `ed25519_seed`); left out = market data only.
    pub credentials: Option<PathBuf>,
    /// Dead-man's switch, where the venue has one.
    #[serde(default = "default_dead_man")]
    pub dead_man: Span,
    /// Share of each rate budget that only cancels may use.
    #[serde(default = "default_cancel_reserve")]
    pub cancel_reserve: Ratio,
    /// Connections are renewed after so long at the latest; `"0s"` = by the venue's own limit.
    #[serde(default)]
    pub connection_life_max: Span,
    /// How late a request may reach the venue and still be taken; `"0s"` = the venue's usual value.
    #[serde(default)]
    pub request_window: Span,
    /// Assets, besides those traded, that the venue takes fees in, like `BNB`.
    #[serde(default)]
    pub fee_assets: Vec<String>,
    /// Orders are paid from balances: what is not there cannot be spent.
    #[serde(default = "yes")]
    pub check_balance: bool,
    /// Nothing is opened until the venue's records were compared with ours.
    #[serde(default = "yes")]
    pub require_reconcile: bool,
    /// Maker fee.
    pub maker_fee: Ratio,
    /// Taker fee.
    pub taker_fee: Ratio,
    /// Total exposure on this venue in the reporting asset.
    pub exposure_max: Spanned<Amount>,
    /// Open orders at once on this venue.
    pub open_orders_max: u32,
    /// New orders and replaces on this venue.
    pub order_rate_max: Rate,
    /// All messages on this venue; cancels count, but are never refused by it.
    pub message_rate_max: Rate,
    /// The instruments traded.
    #[serde(rename = "instrument")]
    pub instruments: Vec<InstrumentTableEntry>,
}

fn default_dead_man() -> Span {
    Span(60_000_000_000)
}
fn default_cancel_reserve() -> Ratio {
    Ratio(200_000)
}

/// Encoding of market data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncodingName {
    /// JSON.
    #[default]
    Json,
    /// SBE (Binance).
    Sbe,
}

/// `[[venue.instrument]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstrumentTableEntry {
    /// The venue's spelling on its order channel.
    pub symbol: String,
    /// Smallest order; the venue's minimum holds too.
    pub order_min: Spanned<Amount>,
    /// Largest order.
    pub order_max: Spanned<Amount>,
    /// Largest position, long or short.
    pub position_max: Spanned<Amount>,
    /// Largest notional of one order, in the quote asset.
    pub notional_max: Spanned<Amount>,
    /// Open orders at once on this instrument.
    pub open_orders_max: u32,
    /// Its own collar, instead of the one of `[limits]`.
    pub price_collar: Option<Ratio>,
    /// Its own limit of staleness, instead of the one of `[limits]`.
    pub stale_after: Option<Span>,
}

/// `[[strategy]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyTable {
    /// Its name in reports.
    pub name: String,
    /// Which strategy.
    pub kind: StrategyKind,
    /// `venue:SYMBOL`, in the order in which the strategy wants them.
    pub instruments: Vec<Spanned<String>>,
    /// Its own limits.
    pub limits: StrategyLimits,
    /// Its parameters; see the strategy's documentation.
    pub parameters: Spanned<toml::Table>,
    /// Trades from the start.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// The strategies that are built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrategyKind {
    /// Quotes both sides of one instrument.
    MarketMaking,
    /// Buys on one venue what it sells on another.
    CrossVenueArbitrage,
}

/// `[strategy.limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyLimits {
    /// Largest position in each of its instruments, in base units.
    pub position_max: Spanned<Amount>,
    /// Open orders at once.
    pub open_orders_max: u32,
    /// Loss since midnight UTC that stops the strategy.
    pub daily_loss_max: Spanned<Amount>,
    /// New orders and replaces.
    pub order_rate_max: Rate,
    /// Total exposure in the reporting asset; left out = only the totals bound it.
    pub exposure_max: Option<Spanned<Amount>>,
    /// Fall from its best P&L that stops the strategy; left out = only the total bounds it.
    pub drawdown_max: Option<Spanned<Amount>>,
}
