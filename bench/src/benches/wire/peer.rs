//! What a competent engineer would otherwise write: tokio on one thread, tokio-tungstenite, rustls, serde_json to typed
//! structs, on a kernel socket without Nagle's algorithm. It waits in epoll, as tokio does.
//!
//! Prices and quantities become fixed-point integers by our own parser, the quickest there is to hand. How a tick is read and
//! its order written ([`answer`]) is that of `super::spinning` too, and so is how tungstenite is set up ([`configuration`]).

use super::ticks::ORDER_QTY;
use super::venue::{Running, SLICE_PATIENCE, Slice};
use super::{Client, PATH, Rig, SERVER_NAME, Wired};
use crate::messages::binance::{PRICE_SCALE, QTY_SCALE};
use crate::messages::decimal;
use anyhow::{Context, bail};
use drivers::testbed::Testbed;
use engine_core::fixed::{Price, Qty};
use futures_util::{SinkExt, StreamExt};
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;
use tungstenite::protocol::WebSocketConfig;

/// Holds some ticks.
const READ_BUFFER: usize = 4_096;

#[allow(dead_code, reason = "read to be there, as in the events of ours")]
#[derive(Deserialize)]
struct DepthUpdate<'a> {
    #[serde(rename = "e")]
    kind: &'a str,
    #[serde(rename = "E")]
    time_us: u64,
    #[serde(rename = "s")]
    symbol: &'a str,
    #[serde(rename = "U")]
    first: u64,
    #[serde(rename = "u")]
    last: u64,
    #[serde(rename = "b", borrow)]
    bids: Vec<(&'a str, &'a str)>,
    #[serde(rename = "a", borrow)]
    asks: Vec<(&'a str, &'a str)>,
}

#[derive(Serialize)]
struct Request<'a> {
    id: &'a str,
    method: &'a str,
    params: Parameters<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Parameters<'a> {
    symbol: &'a str,
    side: &'a str,
    r#type: &'a str,
    time_in_force: &'a str,
    new_order_resp_type: &'a str,
    new_client_order_id: &'a str,
    recv_window: u32,
    timestamp: u64,
    quantity: &'a str,
    price: &'a str,
}

/// Prices and quantities of one side.
fn levels(rows: &[(&str, &str)]) -> anyhow::Result<Vec<(Price, Qty)>> {
    let level = |(price, qty): &(&str, &str)| {
        Ok((Price::parse(price.as_bytes(), PRICE_SCALE as u8)?, Qty::parse(qty.as_bytes(), QTY_SCALE as u8)?))
    };
    rows.iter().map(level).collect()
}

/// How tungstenite is set up. It fills as much of its buffer with zeros as a read may take, before each: 128 KiB if it is not
/// told otherwise.
pub fn configuration() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(READ_BUFFER)
}

/// Reads a tick and writes the order that it causes.
///
/// # Errors
/// If the tick is not a depth difference, or names no bid.
pub fn answer(tick: &str, sequence: u32) -> anyhow::Result<String> {
    let update: DepthUpdate<'_> = serde_json::from_str(tick)?;
    let (bids, asks) = (levels(&update.bids)?, levels(&update.asks)?);
    std::hint::black_box(&asks);
    let best = bids.iter().filter(|(_, qty)| qty.0 > 0).map(|(price, _)| price.0).max().context("no bid")?;
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let request = Request {
        id: &format!("n0001{sequence:08x}"),
        method: "order.place",
        params: Parameters {
            symbol: update.symbol,
            side: "BUY",
            r#type: "LIMIT",
            time_in_force: "GTC",
            new_order_resp_type: "ACK",
            new_client_order_id: &format!("p0001{sequence:08x}"),
            recv_window: 5_000,
            timestamp,
            quantity: ORDER_QTY,
            price: &decimal(best, PRICE_SCALE),
        },
    };
    Ok(serde_json::to_string(&request)?)
}

/// See the module's head.
pub struct Tokio {
    // Before the runtime, which it must not outlive.
    socket: WebSocketStream<TlsStream<TcpStream>>,
    runtime: Runtime,
    sequence: u32,
    _bed: Testbed,
}

impl Tokio {
    /// Connects.
    pub fn open(rig: &Rig) -> anyhow::Result<(Wired, Tokio)> {
        let (bed, accepting) = rig.wire(true)?;
        let stream = super::dial(&bed)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let connector = TlsConnector::from(rig.client_tls.clone());
        let socket = runtime.block_on(async {
            let connect = async {
                let stream = connector.connect(ServerName::try_from(SERVER_NAME)?, TcpStream::from_std(stream)?).await?;
                let request = format!("wss://{SERVER_NAME}{PATH}");
                let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(configuration())).await?;
                anyhow::Ok(socket)
            };
            timeout(super::venue::PATIENCE, connect).await.context("tokio does not connect in time")?
        })?;
        Ok((accepting.finish()?, Tokio { socket, runtime, sequence: 0, _bed: bed }))
    }
}

impl Client for Tokio {
    fn answer(&mut self, slice: Slice, _running: &Running) -> anyhow::Result<()> {
        let Tokio { socket, runtime, sequence, .. } = self;
        let all = async {
            for _ in 0..slice.whole() {
                match socket.next().await.context("the venue has closed")?? {
                    Message::Text(tick) => {
                        *sequence = sequence.wrapping_add(1);
                        socket.send(Message::text(answer(tick.as_str(), *sequence)?)).await?;
                    }
                    message => bail!("not a tick: {message:?}"),
                }
            }
            Ok(())
        };
        let most = SLICE_PATIENCE + Duration::from_nanos(slice.interval_ns * slice.whole() as u64);
        runtime.block_on(async { timeout(most, all).await }).context("tokio does not answer in time")?
    }
}

#[cfg(test)]
mod tests {
    use super::super::ticks::{Ticks, check};
    use super::super::trader::Trader;
    use super::*;

    #[test]
    fn its_orders_are_those_of_ours() {
        let (mut ticks, mut trader, mut text) = (Ticks::new(), Trader::new().unwrap(), Vec::new());
        for sequence in 1..300 {
            let (tick, best_bid) = ticks.next(&mut text);
            let theirs = answer(std::str::from_utf8(tick).unwrap(), sequence).unwrap();
            check(theirs.as_bytes(), best_bid).unwrap();
            let ours = trader.on_tick(tick, 1_767_225_600_000_000_000).unwrap();
            assert!(ours.len().abs_diff(theirs.len()) <= 2, "as long: {theirs}");
        }
        assert!(answer("{}", 1).is_err());
    }
}
