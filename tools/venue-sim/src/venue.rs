//! What the shell and the tests see of a venue, whichever it is.

use std::net::IpAddr;

use serde::Serialize;

use crate::SimError;
use crate::book::Side;
use crate::config::{AccountConfig, VenueConfig};
use crate::credentials::ApiKey;
use crate::decimal::{Amount, parse_fixed};
use crate::exchange::{Exchange, FeeAsset, FeePolicy};
use crate::fault::Fault;
use crate::flow::{FlowCount, References};
use crate::ledger::AccountId;
use crate::wire::{ConnId, HttpReply, HttpRequest, Outbox};

/// The simulated venues.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VenueName {
    /// Binance spot.
    Binance,
    /// Kraken spot.
    Kraken,
}

impl VenueName {
    /// Lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            VenueName::Binance => "binance",
            VenueName::Kraken => "kraken",
        }
    }
}

/// A WebSocket upgrade as the venue judges it.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// Client's address.
    pub peer: IpAddr,
    /// Path, query and headers.
    pub request: HttpRequest,
    /// True when it came in on the venue's second port.
    pub second_port: bool,
}

/// How often the shell pings a connection and how long it lives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lifetime {
    /// Interval of server pings, ms; 0 for none.
    pub ping_interval_ms: u64,
    /// Close without a pong for this long, ms; 0 for never.
    pub pong_timeout_ms: u64,
}

/// A venue as a state machine: requests and ticks in, answers and [`crate::wire::Output`]s out.
/// Times are ns since the Unix epoch on the venue's own clock.
pub trait Venue: Send {
    /// Judges a WebSocket upgrade; `Err` is the HTTP answer of a refused one.
    fn open(&mut self, now_ns: u64, conn: ConnId, upgrade: &Upgrade) -> Result<Lifetime, HttpReply>;
    /// A text message of a client.
    fn on_text(&mut self, now_ns: u64, conn: ConnId, text: &str);
    /// A ping of a client (the shell answers it).
    fn on_ping(&mut self, now_ns: u64, conn: ConnId);
    /// A connection is gone.
    fn closed(&mut self, conn: ConnId);
    /// A REST call.
    fn http(&mut self, now_ns: u64, peer: IpAddr, request: &HttpRequest) -> HttpReply;
    /// `elapsed_us` have passed: flow, timers, heartbeats.
    fn tick(&mut self, now_ns: u64, elapsed_us: u64, references: &References);
    /// `elapsed_us` have passed for which the venue is too late: prices move on, and the messages that it
    /// should have made are given up.
    fn skip(&mut self, elapsed_us: u64, references: &References);
    /// What became of the market-data messages that were due.
    fn flow(&self) -> FlowCount;
    /// A fault on command. The clock jump is the shell's.
    fn inject(&mut self, now_ns: u64, fault: &Fault);
    /// A deposit (or, negative, a withdrawal): changes the balance and tells the account's streams.
    fn deposit(&mut self, now_ns: u64, account: AccountId, asset: &str, amount: Amount);
    /// Messages on their way out.
    fn outbox(&mut self) -> &mut Outbox;
    /// The exchange behind the venue.
    fn exchange(&self) -> &Exchange;
    /// How the venue spells a market.
    fn symbol(&self, market: usize) -> String;
    /// How the venue spells an order's id.
    fn order_text(&self, id: u64) -> String;
    /// How the venue spells a fill's id, as its clients see it.
    fn fill_text(&self, fill: &crate::exchange::Fill) -> String;
    /// The account that an API key opens.
    fn account_of(&self, key: &str) -> Option<AccountId>;
    /// API keys, first of each account.
    fn accounts(&self) -> Vec<(String, AccountId)>;
}

/// A balance as decimal text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BalanceRecord {
    /// Asset.
    pub asset: String,
    /// Everything owned.
    pub total: String,
    /// The part that open orders hold.
    pub hold: String,
}

/// An open order as decimal text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrderRecord {
    /// Venue's id as its clients see it.
    pub id: String,
    /// Client's id.
    pub client_id: String,
    /// Symbol as the venue spells it.
    pub symbol: String,
    /// `buy` or `sell`.
    pub side: &'static str,
    /// Limit price.
    pub price: String,
    /// Quantity.
    pub qty: String,
    /// Filled quantity.
    pub filled_qty: String,
    /// `open`, `partially_filled`, `filled`, `canceled`, `expired`, `expired_in_match`.
    pub status: &'static str,
}

/// A fill as decimal text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FillRecord {
    /// Unique fill id as the venue's clients see it.
    pub id: String,
    /// Public trade id.
    pub trade_id: u64,
    /// Venue's order id.
    pub order_id: String,
    /// Client's id of the order.
    pub client_id: String,
    /// Symbol.
    pub symbol: String,
    /// `buy` or `sell`.
    pub side: &'static str,
    /// Price.
    pub price: String,
    /// Quantity.
    pub qty: String,
    /// Fee.
    pub fee: String,
    /// Asset of the fee.
    pub fee_asset: String,
    /// True for the maker.
    pub maker: bool,
    /// ns since the Unix epoch.
    pub time_ns: u64,
}

/// The venue's own record of an account, exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountRecord {
    /// Venue.
    pub venue: VenueName,
    /// API key that the account was asked for by (or its first).
    pub key: String,
    /// Balances, assets that never had any left out.
    pub balances: Vec<BalanceRecord>,
    /// Open orders, oldest first.
    pub open_orders: Vec<OrderRecord>,
    /// Orders that are done, oldest first.
    pub closed_orders: Vec<OrderRecord>,
    /// Fills, oldest first.
    pub fills: Vec<FillRecord>,
}

/// The account's record at this venue.
pub fn account_record(venue: &dyn Venue, name: VenueName, key: &str, account: AccountId) -> AccountRecord {
    let exchange = venue.exchange();
    let fixed = |value: i64, scale: u8| Amount::from_fixed(value, scale).to_string();
    let order = |order: &crate::exchange::Order| {
        let spec = &exchange.markets[order.terms.market].spec;
        OrderRecord {
            id: venue.order_text(order.id),
            client_id: order.terms.client_id.clone(),
            symbol: venue.symbol(order.terms.market),
            side: side_text(order.terms.side),
            price: fixed(order.terms.price, spec.price_scale),
            qty: fixed(order.terms.qty, spec.qty_scale),
            filled_qty: fixed(order.filled_qty, spec.qty_scale),
            status: match order.status {
                crate::exchange::Status::Open => "open",
                crate::exchange::Status::PartiallyFilled => "partially_filled",
                crate::exchange::Status::Filled => "filled",
                crate::exchange::Status::Canceled => "canceled",
                crate::exchange::Status::Expired => "expired",
                crate::exchange::Status::ExpiredInMatch => "expired_in_match",
            },
        }
    };
    AccountRecord {
        venue: name,
        key: key.to_owned(),
        balances: exchange
            .ledger
            .assets()
            .map(|(id, asset)| (asset, exchange.ledger.balance(account, id)))
            .filter(|(_, balance)| *balance != crate::ledger::Balance::default())
            .map(|(asset, balance)| BalanceRecord {
                asset: asset.to_owned(),
                total: balance.total.to_string(),
                hold: balance.hold.to_string(),
            })
            .collect(),
        open_orders: exchange.open_orders(account).map(order).collect(),
        closed_orders: exchange.all_orders(account).filter(|o| !o.status.is_open()).map(order).collect(),
        fills: exchange
            .fills(account)
            .iter()
            .map(|fill| {
                let spec = &exchange.markets[fill.market].spec;
                FillRecord {
                    id: venue.fill_text(fill),
                    trade_id: fill.trade_id,
                    order_id: venue.order_text(fill.order_id),
                    client_id: fill.client_id.clone(),
                    symbol: venue.symbol(fill.market),
                    side: side_text(fill.side),
                    price: fixed(fill.price, spec.price_scale),
                    qty: fixed(fill.qty, spec.qty_scale),
                    fee: fill.fee.to_string(),
                    fee_asset: exchange.ledger.asset_name(fill.fee_asset).to_owned(),
                    maker: fill.maker,
                    time_ns: fill.at_ns,
                }
            })
            .collect(),
    }
}

/// `buy` or `sell`.
pub fn side_text(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

/// Builds the exchange of a venue: markets, accounts with their opening balances, fees. Returns it with
/// the API keys and the account each opens.
pub(crate) fn build_exchange(config: &VenueConfig, asset: FeeAsset, seed: u64) -> Result<(Exchange, Vec<(ApiKey, AccountId)>), SimError> {
    if config.markets.is_empty() {
        return Err(SimError::Config("a venue needs at least one market".into()));
    }
    let fees = FeePolicy { maker_ppm: config.maker_ppm, taker_ppm: config.taker_ppm, asset };
    let mut exchange = Exchange::new(fees, 38_500_000_000 + seed % 1_000_000);
    for (at, market) in config.markets.iter().enumerate() {
        exchange.add_market(market.spec()?, 84_000_000 + 1_000_000 * at as u64);
    }
    let mut keys = Vec::new();
    for AccountConfig { keys: account_keys, balances } in &config.accounts {
        let account = exchange.ledger.open_account();
        for (asset, amount) in balances {
            let parsed = Amount::parse(amount).map_err(|_| SimError::Config(format!("balance {amount:?} of {asset} is not a decimal")))?;
            let asset = exchange.ledger.asset(asset);
            exchange.ledger.deposit(account, asset, parsed);
        }
        for key in account_keys {
            keys.push((key.clone(), account));
        }
    }
    Ok((exchange, keys))
}

/// The reference prices of the assets that a venue's markets trade.
pub(crate) fn reference_prices(config: &VenueConfig) -> Vec<(String, f64)> {
    config
        .markets
        .iter()
        .filter_map(|market| {
            let price = parse_fixed(&market.open_price, market.price_scale).ok()?;
            Some((market.base.clone(), price as f64 / 10f64.powi(i32::from(market.price_scale))))
        })
        .collect()
}

/// The first key of each account.
pub(crate) fn first_keys(keys: &[(ApiKey, AccountId)]) -> Vec<(String, AccountId)> {
    let mut first: Vec<(String, AccountId)> = Vec::new();
    for (key, account) in keys {
        if !first.iter().any(|(_, known)| known == account) {
            first.push((key.key.clone(), *account));
        }
    }
    first
}
