//! Answers of a hostile REST service to each of the cold plane's queries.

use crate::input::Input;
use crate::tables::{NOW, VENUE};
use engine_core::event::VALUE_MAX;
use engine_core::ids::{InstrumentId, OrderId};
use engine_core::instrument::{AssetTable, InstrumentError, InstrumentTable};
use venues::rest::{RestError, RestQuery, RestReply, Tables, VenueRest};

fn query(choice: u8, cursor: u64) -> RestQuery {
    let instrument = InstrumentId(0);
    match choice % 10 {
        0 => RestQuery::ServerTime,
        1 => RestQuery::Instruments { symbols: vec!["BTCUSDT".into(), "BTC/USD".into(), "ETH/USD".into(), "ODD/USD".into()] },
        2 => RestQuery::Instruments { symbols: Vec::new() },
        3 => RestQuery::BookSnapshot { instrument, depth: 10 },
        4 => RestQuery::StreamToken,
        5 => RestQuery::OpenOrders,
        6 => RestQuery::Order { instrument, order: OrderId::new(7, 1) },
        7 => RestQuery::Fills { instrument, since_ns: NOW - 3_600_000_000_000, cursor },
        8 => RestQuery::Balances,
        _ => RestQuery::CancelInstrument { instrument },
    }
}

/// Asks, and gives the bytes as the answer: a byte for the query, one for the status, one for a header, the body; a
/// newline begins the next.
pub fn run(
    mut rest: impl VenueRest,
    (instruments, mut assets): (InstrumentTable, AssetTable),
    data: &[u8],
) -> Vec<Result<RestReply, RestError>> {
    let mut replies = Vec::new();
    let mut cursor = 0;
    for (at, line) in data.split(|&byte| byte == b'\n').take(16).enumerate() {
        let mut input = Input::new(line);
        let query = query(input.u8().wrapping_sub(b'0'), cursor);
        let now_ns = NOW + at as u64 * 1_000_000_000;
        let request = rest.request(&query, Tables { instruments: &instruments, assets: &assets }, now_ns);
        if let Ok(request) = &request {
            assert!(request.path.starts_with('/') && request.path.bytes().all(|byte| byte.is_ascii_graphic()), "{}", request.path);
        }
        let status = match input.u8() {
            b'4' => 429,
            b'5' => 503,
            b'3' => 400,
            b'1' => 418,
            _ => 200,
        };
        let header = match input.u8() {
            b'r' => ("retry-after", "7"),
            b'R' => ("retry-after", "99999999999999999999"),
            b'w' => ("x-mbx-used-weight-1m", "5999"),
            _ => ("content-type", "application/json"),
        };
        let headers = [(header.0.to_owned(), header.1.to_owned())];
        let reply = rest.parse(&query, status, &headers, input.rest(), &instruments, &mut assets);
        cursor = check(&reply, &instruments, &assets).unwrap_or(0);
        replies.push(reply);
    }
    replies
}

/// What an answer may hold; the cursor of the next page.
fn check(reply: &Result<RestReply, RestError>, table: &InstrumentTable, assets: &AssetTable) -> Option<u64> {
    let within = |value: i64, min: i64| assert!((min..=VALUE_MAX).contains(&value), "{value} is out of bounds: {reply:?}");
    match reply {
        Ok(RestReply::Instruments { instruments, quarantined }) => {
            let mut fresh = InstrumentTable::new();
            for instrument in instruments {
                assert_eq!(instrument.venue, VENUE);
                assert!(instrument.base.index() < assets.len() && instrument.quote.index() < assets.len());
                assert!(instrument.qty_min.0 >= 0 && instrument.qty_min <= instrument.qty_max && instrument.notional_min.0 >= 0);
                let added = fresh.add(instrument.clone());
                assert!(matches!(added, Ok(_) | Err(InstrumentError::Duplicate { .. })), "{added:?}");
            }
            assert!(quarantined.iter().all(|(_, reason)| !reason.is_empty()));
        }
        Ok(RestReply::BookSnapshot { bids, asks, .. }) => {
            for (price, qty) in bids.iter().chain(asks) {
                (within(price.0, 1), within(qty.0, 0));
            }
            assert!(bids.is_sorted_by(|a, b| a.0 >= b.0) && asks.is_sorted_by(|a, b| a.0 <= b.0), "best first");
        }
        Ok(RestReply::Orders(orders)) => {
            for order in orders {
                assert!(order.instrument.index() < table.len());
                (within(order.price.0, 0), within(order.qty.0, 0), within(order.filled.0, 0));
            }
        }
        Ok(RestReply::Fills { fills, next }) => {
            for fill in fills {
                assert!(fill.instrument.index() < table.len());
                (within(fill.price.0, 1), within(fill.qty.0, 1));
                assert!(fill.fee_asset.is_none_or(|asset| asset.index() < assets.len()));
            }
            return *next;
        }
        Ok(RestReply::Balances(rows)) => assert!(rows.iter().all(|(asset, ..)| asset.index() < assets.len())),
        Ok(RestReply::ServerTime(_) | RestReply::Token(_) | RestReply::Canceled(_)) => {}
        Err(RestError::Refused { text, .. } | RestError::Wait { text, .. }) => assert!(text.len() <= 1024, "the venue's text is bounded"),
        Err(RestError::Malformed(text)) => assert!(text.len() <= 2048, "the reason is bounded"),
        Err(RestError::Unsupported(_)) => {}
    }
    None
}
