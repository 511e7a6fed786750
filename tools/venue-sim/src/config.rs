//! What a simulation consists of, with defaults that look like the venues.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::SimError;
use crate::credentials::ApiKey;
use crate::decimal::{Amount, parse_fixed};
use crate::exchange::MarketSpec;
use crate::flow::FlowConfig;

/// A whole simulation.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Everything random follows from it.
    pub seed: u64,
    /// The crowd, the same for all venues.
    pub flow: FlowConfig,
    /// Binance, if simulated.
    pub binance: Option<BinanceConfig>,
    /// Kraken, if simulated.
    pub kraken: Option<KrakenConfig>,
    /// TLS; `None` for plain sockets (tests with clients that cannot be given a CA).
    pub tls: Option<TlsConfig>,
    /// Where the control interface (plain HTTP, `/sim/...`) listens; `None` for in-process control only.
    pub control: Option<SocketAddr>,
    /// How often the market moves on and what it said is sent, microseconds: the shorter, the smaller the
    /// bursts and the more processor time is spent.
    pub tick_us: u32,
    /// Write each market-data message to the socket by itself instead of once per tick, as long as the simulator
    /// keeps up with the rate ([`crate::SimHandle::written_together`] says whether it did).
    pub flush_each: bool,
    /// CPU to pin the simulator's thread to.
    pub cpu: Option<usize>,
}

impl Default for SimConfig {
    fn default() -> SimConfig {
        SimConfig {
            seed: 1,
            flow: FlowConfig::default(),
            binance: Some(BinanceConfig::default()),
            kraken: Some(KrakenConfig::default()),
            tls: Some(TlsConfig::default()),
            control: None,
            tick_us: 100,
            flush_each: false,
            cpu: None,
        }
    }
}

impl SimConfig {
    /// The addresses that the venues listen on.
    pub(crate) fn listen_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let venues = [self.binance.as_ref().map(|c| &c.venue), self.kraken.as_ref().map(|c| &c.venue)];
        venues.into_iter().flatten().flat_map(|venue| [Some(venue.listen), venue.listen_second]).flatten().map(|address| address.ip())
    }
}

/// The certificate that the simulator makes for itself.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Host names and IP addresses it is valid for, beside the addresses that the venues listen on.
    pub names: Vec<String>,
    /// Where to write the CA certificate (PEM) that clients are to trust.
    pub ca_file: Option<PathBuf>,
}

impl Default for TlsConfig {
    fn default() -> TlsConfig {
        let names = [
            "localhost",
            "127.0.0.1",
            "binance.sim",
            "kraken.sim",
            "api.binance.com",
            "stream.binance.com",
            "stream-sbe.binance.com",
            "ws-api.binance.com",
            "api.kraken.com",
            "ws.kraken.com",
            "ws-auth.kraken.com",
        ];
        TlsConfig { names: names.map(str::to_owned).to_vec(), ca_file: None }
    }
}

/// What every venue has.
#[derive(Clone, Debug)]
pub struct VenueConfig {
    /// Listening address of the venue; port 0 picks one.
    pub listen: SocketAddr,
    /// Listening address of the venue's second service (Binance: SBE streams; Kraken: private
    /// WebSocket), for clients that tell services apart by port. `None`: the next port (or, with port 0,
    /// any).
    pub listen_second: Option<SocketAddr>,
    /// Market-data messages per second; a message of a stream counts once, however many subscribe.
    pub messages_per_s: u32,
    /// Markets.
    pub markets: Vec<MarketConfig>,
    /// Accounts.
    pub accounts: Vec<AccountConfig>,
    /// Maker fee in millionths.
    pub maker_ppm: u32,
    /// Taker fee in millionths.
    pub taker_ppm: u32,
}

/// A market; numbers are decimal text.
#[derive(Clone, Debug)]
pub struct MarketConfig {
    /// Base asset.
    pub base: String,
    /// Quote asset.
    pub quote: String,
    /// Decimal places of prices.
    pub price_scale: u8,
    /// Decimal places of quantities.
    pub qty_scale: u8,
    /// Price step.
    pub tick: String,
    /// Quantity step.
    pub lot: String,
    /// Smallest quantity.
    pub qty_min: String,
    /// Largest quantity.
    pub qty_max: String,
    /// Smallest notional, in quote.
    pub notional_min: String,
    /// Opening price; also the reference price of the base asset (the first market of an asset decides).
    pub open_price: String,
}

impl MarketConfig {
    /// A market from its parts, in the order of the fields.
    #[allow(clippy::too_many_arguments)]
    fn new(
        base: &str,
        quote: &str,
        scales: (u8, u8),
        steps: (&str, &str),
        qty: (&str, &str),
        notional_min: &str,
        open_price: &str,
    ) -> Self {
        MarketConfig {
            base: base.into(),
            quote: quote.into(),
            price_scale: scales.0,
            qty_scale: scales.1,
            tick: steps.0.into(),
            lot: steps.1.into(),
            qty_min: qty.0.into(),
            qty_max: qty.1.into(),
            notional_min: notional_min.into(),
            open_price: open_price.into(),
        }
    }

    /// Checks and converts to integers.
    pub(crate) fn spec(&self) -> Result<MarketSpec, SimError> {
        let bad = |field: &str, text: &str| {
            SimError::Config(format!("market {}/{}: {field} = {text:?} is not a positive decimal at the scale", self.base, self.quote))
        };
        if self.price_scale + self.qty_scale > 14 || self.price_scale > 8 || self.qty_scale > 8 {
            return Err(SimError::Config(format!("market {}/{}: scales above 8 decimals", self.base, self.quote)));
        }
        let price = |field, text: &str| parse_fixed(text, self.price_scale).ok().filter(|v| *v > 0).ok_or_else(|| bad(field, text));
        let qty = |field, text: &str| parse_fixed(text, self.qty_scale).ok().filter(|v| *v > 0).ok_or_else(|| bad(field, text));
        Ok(MarketSpec {
            base: self.base.clone(),
            quote: self.quote.clone(),
            price_scale: self.price_scale,
            qty_scale: self.qty_scale,
            tick: price("tick", &self.tick)?,
            lot: qty("lot", &self.lot)?,
            qty_min: qty("qty_min", &self.qty_min)?,
            qty_max: qty("qty_max", &self.qty_max)?,
            notional_min: Amount::parse(&self.notional_min).map_err(|_| bad("notional_min", &self.notional_min))?,
            open_price: price("open_price", &self.open_price)?,
        })
    }
}

/// An account with its keys and what it starts with.
#[derive(Clone, Debug, Default)]
pub struct AccountConfig {
    /// API keys; any of them opens the account.
    pub keys: Vec<ApiKey>,
    /// Opening balances: asset and decimal amount.
    pub balances: Vec<(String, String)>,
}

/// Binance spot.
#[derive(Clone, Debug)]
pub struct BinanceConfig {
    /// What every venue has.
    pub venue: VenueConfig,
    /// Interval of depth messages. `None`: the venue's own (1000, 100 and 20 ms by stream). `Some(0)`: a
    /// message per change of the book, so that `messages_per_s` can be reached.
    pub depth_interval_ms: Option<u32>,
    /// Interval of server pings, ms.
    pub ping_interval_ms: u64,
    /// A connection without a pong for this long is closed, ms.
    pub pong_timeout_ms: u64,
    /// Life of a WebSocket connection, ms.
    pub connection_life_ms: u64,
    /// REQUEST_WEIGHT per minute and IP address.
    pub weight_per_minute: u32,
    /// New orders per 10 s and account.
    pub orders_per_10s: u32,
    /// New orders per day and account.
    pub orders_per_day: u32,
    /// WebSocket connection attempts per 5 minutes and IP address.
    pub connects_per_5min: u32,
    /// Messages a client may send per second on a stream connection.
    pub stream_messages_per_s: u32,
}

impl Default for BinanceConfig {
    fn default() -> BinanceConfig {
        BinanceConfig {
            venue: VenueConfig {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                listen_second: None,
                messages_per_s: 1_000,
                markets: vec![
                    MarketConfig::new("BTC", "USDT", (2, 5), ("0.01", "0.00001"), ("0.00001", "9000"), "5", "68250.10"),
                    MarketConfig::new("ETH", "USDT", (2, 4), ("0.01", "0.0001"), ("0.0001", "9000"), "5", "3512.40"),
                ],
                accounts: Vec::new(),
                maker_ppm: 1_000,
                taker_ppm: 1_000,
            },
            depth_interval_ms: Some(0),
            ping_interval_ms: 20_000,
            pong_timeout_ms: 60_000,
            connection_life_ms: 86_400_000,
            weight_per_minute: 6_000,
            orders_per_10s: 100,
            orders_per_day: 200_000,
            connects_per_5min: 300,
            stream_messages_per_s: 5,
        }
    }
}

/// Kraken spot.
#[derive(Clone, Debug)]
pub struct KrakenConfig {
    /// What every venue has.
    pub venue: VenueConfig,
    /// A connection without client activity for this long is closed, ms.
    pub idle_close_ms: u64,
    /// Life of a token until its first use, ms.
    pub token_life_ms: u64,
    /// WebSocket connection attempts per 10 minutes and IP address.
    pub connects_per_10min: usize,
    /// Threshold of the trading counter (per account and pair).
    pub trading_threshold: f64,
    /// Decay of the trading counter per second.
    pub trading_decay_per_s: f64,
    /// Open orders per account and pair.
    pub open_orders_max: usize,
    /// Maximum of the REST call counter (per key).
    pub rest_counter_max: f64,
    /// Decay of the REST call counter per second.
    pub rest_decay_per_s: f64,
}

impl Default for KrakenConfig {
    fn default() -> KrakenConfig {
        KrakenConfig {
            venue: VenueConfig {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                listen_second: None,
                messages_per_s: 1_000,
                markets: vec![
                    MarketConfig::new("BTC", "USDT", (1, 8), ("0.1", "0.00000001"), ("0.00005", "10000"), "0.5", "68250.1"),
                    MarketConfig::new("ETH", "USDT", (2, 8), ("0.01", "0.00000001"), ("0.001", "100000"), "0.5", "3512.40"),
                    MarketConfig::new("BTC", "USD", (1, 8), ("0.1", "0.00000001"), ("0.00005", "10000"), "0.5", "68250.1"),
                ],
                accounts: Vec::new(),
                maker_ppm: 1_600,
                taker_ppm: 2_600,
            },
            idle_close_ms: 60_000,
            token_life_ms: 900_000,
            connects_per_10min: 150,
            trading_threshold: 180.0,
            trading_decay_per_s: 3.75,
            open_orders_max: 225,
            rest_counter_max: 20.0,
            rest_decay_per_s: 1.0,
        }
    }
}
