//! Binance SBE market-data streams: schema 1 version 0, templates 10000 to 10003, little-endian.
//!
//! Header of 8 bytes (block length, template, schema, version), root block, groups, symbol last. Times
//! are microseconds; a value is mantissa x 10^exponent with the market's own scales as exponents.

use crate::exchange::PublicTrade;

/// TradesStreamEvent.
pub const TRADES: u16 = 10_000;
/// BestBidAskStreamEvent.
pub const BEST_BID_ASK: u16 = 10_001;
/// DepthSnapshotStreamEvent.
pub const DEPTH_SNAPSHOT: u16 = 10_002;
/// DepthDiffStreamEvent.
pub const DEPTH_DIFF: u16 = 10_003;

/// The scales of a market: exponents are their negatives.
#[derive(Clone, Copy, Debug)]
pub struct Scales {
    /// Decimal places of prices.
    pub price: u8,
    /// Decimal places of quantities.
    pub qty: u8,
}

fn header(out: &mut Vec<u8>, block: u16, template: u16) {
    for field in [block, template, 1, 0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
}

fn exponents(out: &mut Vec<u8>, scales: Scales) {
    out.push((scales.price as i8).wrapping_neg() as u8);
    out.push((scales.qty as i8).wrapping_neg() as u8);
}

fn symbol_text(out: &mut Vec<u8>, symbol: &str) {
    out.push(symbol.len() as u8);
    out.extend_from_slice(symbol.as_bytes());
}

fn levels(out: &mut Vec<u8>, levels: &[(i64, i64)]) {
    out.extend_from_slice(&16u16.to_le_bytes());
    out.extend_from_slice(&(levels.len() as u16).to_le_bytes());
    for (price, qty) in levels {
        out.extend_from_slice(&price.to_le_bytes());
        out.extend_from_slice(&qty.to_le_bytes());
    }
}

/// One or more trades of one taker at one time.
pub fn trades(symbol: &str, scales: Scales, event_us: u64, trades: &[PublicTrade]) -> Vec<u8> {
    let mut out = Vec::with_capacity(40 + trades.len() * 25 + symbol.len());
    header(&mut out, 18, TRADES);
    out.extend_from_slice(&event_us.to_le_bytes());
    let at_us = trades.first().map_or(event_us, |trade| trade.at_ns / 1_000);
    out.extend_from_slice(&at_us.to_le_bytes());
    exponents(&mut out, scales);
    out.extend_from_slice(&25u16.to_le_bytes());
    out.extend_from_slice(&(trades.len() as u32).to_le_bytes());
    for trade in trades {
        out.extend_from_slice(&trade.id.to_le_bytes());
        out.extend_from_slice(&trade.price.to_le_bytes());
        out.extend_from_slice(&trade.qty.to_le_bytes());
        out.push(u8::from(trade.taker_side == crate::book::Side::Sell));
    }
    symbol_text(&mut out, symbol);
    out
}

/// Best bid and ask, `(price, qty)` each; an empty side is zeros.
pub fn best_bid_ask(symbol: &str, scales: Scales, event_us: u64, update_id: u64, bid: (i64, i64), ask: (i64, i64)) -> Vec<u8> {
    let mut out = Vec::with_capacity(59 + symbol.len());
    header(&mut out, 50, BEST_BID_ASK);
    out.extend_from_slice(&event_us.to_le_bytes());
    out.extend_from_slice(&update_id.to_le_bytes());
    exponents(&mut out, scales);
    for value in [bid.0, bid.1, ask.0, ask.1] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    symbol_text(&mut out, symbol);
    out
}

/// The top levels.
pub fn depth_snapshot(symbol: &str, scales: Scales, event_us: u64, update_id: u64, bids: &[(i64, i64)], asks: &[(i64, i64)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(35 + (bids.len() + asks.len()) * 16 + symbol.len());
    header(&mut out, 18, DEPTH_SNAPSHOT);
    out.extend_from_slice(&event_us.to_le_bytes());
    out.extend_from_slice(&update_id.to_le_bytes());
    exponents(&mut out, scales);
    levels(&mut out, bids);
    levels(&mut out, asks);
    symbol_text(&mut out, symbol);
    out
}

/// Changed levels; quantity 0 removes.
pub fn depth_diff(symbol: &str, scales: Scales, event_us: u64, ids: (u64, u64), bids: &[(i64, i64)], asks: &[(i64, i64)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(43 + (bids.len() + asks.len()) * 16 + symbol.len());
    header(&mut out, 26, DEPTH_DIFF);
    out.extend_from_slice(&event_us.to_le_bytes());
    out.extend_from_slice(&ids.0.to_le_bytes());
    out.extend_from_slice(&ids.1.to_le_bytes());
    exponents(&mut out, scales);
    levels(&mut out, bids);
    levels(&mut out, asks);
    symbol_text(&mut out, symbol);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Side;
    use crate::exchange::OrderKind;

    #[test]
    fn best_bid_ask_matches_the_published_vector() {
        // The vector prints quantities at 5 decimals.
        let out = best_bid_ask(
            "BTCUSDT",
            Scales { price: 2, qty: 5 },
            1_767_225_600_123_456,
            54_321_000_777,
            (6_825_010, 150_000),
            (6_825_011, 42_000),
        );
        assert_eq!(
            const_hex::encode(out),
            "3200112701000000402222464847060049b1c8a50c000000fefb3224680000000000f049020000000000332468000000000010a40000000000000742544355534454"
        );
    }

    #[test]
    fn depth_diff_matches_the_published_vector() {
        let out = depth_diff(
            "BTCUSDT",
            Scales { price: 2, qty: 5 },
            1_767_225_600_140_000,
            (54_321_000_778, 54_321_000_781),
            &[(6_825_010, 0), (6_825_000, 250_000)],
            &[(6_825_020, 75_000)],
        );
        assert_eq!(
            const_hex::encode(out),
            "1a00132701000000e0622246484706004ab1c8a50c0000004db1c8a50c000000fefb1000020032246800000000000000000000000000282468000000000090d0030000000000100001003c24680000000000f8240100000000000742544355534454"
        );
    }

    #[test]
    fn trades_carry_a_wide_group_count_and_the_makers_side() {
        let trade = PublicTrade { market: 0, id: 7, price: 1, qty: 2, taker_side: Side::Sell, taker_kind: OrderKind::Limit, at_ns: 5_000 };
        let out = trades("AB", Scales { price: 2, qty: 5 }, 9, &[trade, trade]);
        assert_eq!(&out[..8], [18, 0, 0x10, 0x27, 1, 0, 0, 0]);
        assert_eq!(&out[16..24], 5u64.to_le_bytes());
        assert_eq!(&out[26..32], [25, 0, 2, 0, 0, 0]);
        assert_eq!(out[32 + 24], 1, "the buyer was the maker");
        assert_eq!(out.len(), 8 + 18 + 6 + 50 + 3);
    }
}
