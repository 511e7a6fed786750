//! What the venue says, and what it wants to hear.

use super::super::SEED;
use crate::messages::binance::{Depth, PRICE_SCALE};
use crate::messages::{ID_FIRST, Message, decimal};
use crate::random::Random;
use anyhow::ensure;
use serde::Deserialize;
use std::sync::Arc;

/// Levels on each side of a tick.
const LEVELS: usize = 4;
/// Different ticks.
const POOL: usize = 256;
/// Symbol of all orders.
const SYMBOL: &str = crate::messages::binance::SYMBOL;
/// Quantity of all orders.
pub const ORDER_QTY: &str = "0.00150000";

/// A tick, and what is to be answered.
struct Tick {
    message: Message,
    best_bid: String,
}

/// Ticks in an endless stream, with ids that grow without a hole. Clones begin anew.
pub struct Ticks {
    pool: Arc<[Tick]>,
    at: usize,
    id: u64,
}

impl Clone for Ticks {
    fn clone(&self) -> Ticks {
        Ticks { pool: self.pool.clone(), at: 0, id: ID_FIRST }
    }
}

impl Ticks {
    /// From the seed of all benches.
    pub fn new() -> Ticks {
        let mut random = Random::new(SEED);
        let mut pool = Vec::with_capacity(POOL);
        while pool.len() < POOL {
            let depth = Depth::new(&mut random, LEVELS);
            // A tick whose bids are all deleted has no best one to answer.
            let bids = depth.sides[0].iter().filter(|(_, qty)| *qty > 0);
            if let Some(best) = bids.map(|(price, _)| *price).max() {
                pool.push(Tick { message: depth.json(), best_bid: decimal(best, PRICE_SCALE) });
            }
        }
        Ticks { pool: pool.into(), at: 0, id: ID_FIRST }
    }

    /// Writes the next tick; gives it, and the price that an order has to have.
    pub fn next<'a>(&'a mut self, text: &'a mut Vec<u8>) -> (&'a [u8], &'a str) {
        let tick = &self.pool[self.at];
        self.at = (self.at + 1) % self.pool.len();
        let first = self.id + 1;
        self.id = first + 3;
        (tick.message.write(text, &[first, self.id]), &tick.best_bid)
    }
}

/// An `order.place` as the venue reads it.
#[derive(Deserialize)]
struct Request<'a> {
    id: &'a str,
    method: &'a str,
    #[serde(borrow)]
    params: Parameters<'a>,
}

#[derive(Deserialize)]
struct Parameters<'a> {
    symbol: &'a str,
    side: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(rename = "timeInForce")]
    time_in_force: &'a str,
    #[serde(rename = "newClientOrderId")]
    client_id: &'a str,
    timestamp: u64,
    quantity: &'a str,
    price: &'a str,
}

/// Refuses an order that is not the one which the tick asks for.
pub fn check(order: &[u8], best_bid: &str) -> anyhow::Result<()> {
    let Request { id, method, params } = serde_json::from_slice(order)?;
    let fixed = (method, params.symbol, params.side, params.kind, params.time_in_force);
    ensure!(fixed == ("order.place", SYMBOL, "BUY", "LIMIT", "GTC"), "not the order asked for: {fixed:?}");
    ensure!(!id.is_empty() && !params.client_id.is_empty() && params.timestamp > 0, "an order without ids or time");
    ensure!(
        (params.price, params.quantity) == (best_bid, ORDER_QTY),
        "an order at {} for {}, where the best bid is {best_bid}",
        params.price,
        params.quantity
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::trader::Trader;
    use super::super::{HEADERS, ORDER_FRAME, TICK_FRAME};
    use super::*;

    #[test]
    fn ids_have_no_holes_and_clones_begin_anew() {
        let mut ticks = Ticks::new();
        let mut text = Vec::new();
        let ids = |text: &[u8]| {
            let value: serde_json::Value = serde_json::from_slice(text).unwrap();
            (value["U"].as_u64().unwrap(), value["u"].as_u64().unwrap())
        };
        let first = ids(ticks.next(&mut text).0);
        let second = ids(ticks.next(&mut text).0);
        assert_eq!((first.0, second.0), (ID_FIRST + 1, first.1 + 1));
        assert_eq!(ids(ticks.clone().next(&mut text).0), first);
    }

    #[test]
    fn frames_of_the_floor_are_as_long_as_the_real_ones_on_average() {
        let (mut ticks, mut trader, mut text) = (Ticks::new(), Trader::new().unwrap(), Vec::new());
        let mut bytes = [0; 2];
        for _ in 0..POOL {
            let (tick, _) = ticks.next(&mut text);
            let order = trader.on_tick(tick, 1_767_225_600_000_000_000).unwrap();
            bytes = [bytes[0] + HEADERS + 4 + tick.len(), bytes[1] + HEADERS + 8 + order.len()];
        }
        assert_eq!(bytes.map(|bytes| (bytes + POOL / 2) / POOL), [TICK_FRAME, ORDER_FRAME]);
    }

    #[test]
    fn the_order_of_a_tick_passes_and_that_of_another_does_not() {
        let (mut ticks, mut trader, mut text) = (Ticks::new(), Trader::new().unwrap(), Vec::new());
        for _ in 0..2 * POOL {
            let (tick, best_bid) = ticks.next(&mut text);
            let order = trader.on_tick(tick, 1_767_225_600_000_000_000).unwrap();
            check(order, best_bid).unwrap();
            assert!(check(order, "1.00").is_err());
            assert!(check(&order[1..], best_bid).is_err());
        }
    }
}
