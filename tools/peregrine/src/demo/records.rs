//! The engine's positions, fills and open orders against the simulated venues' own records.

use crate::sim::Accounts;
use engine_core::fixed::Money;
use runtime::report::Report;
use std::collections::BTreeMap;
use venue_sim::SimHandle;
use venue_sim::venue::{AccountRecord, VenueName};

/// Everything that differs, in words; empty if nothing does.
pub fn differences(report: &Report, sim: &SimHandle, accounts: &Accounts) -> Vec<String> {
    let mut found = Vec::new();
    let mut fills = 0u64;
    let mut open = 0u64;
    for (name, venue, key) in
        [("binance", VenueName::Binance, &accounts.binance.ed25519_key), ("kraken", VenueName::Kraken, &accounts.kraken.key)]
    {
        let Some(record) = sim.account(venue, key) else {
            found.push(format!("{name} has no record of the account"));
            continue;
        };
        fills += record.fills.len() as u64;
        open += record.open_orders.len() as u64;
        for order in &record.open_orders {
            found.push(format!("{name} order {} ({} {} {}) is still open there", order.client_id, order.side, order.qty, order.symbol));
        }
        positions(report, name, &record, &mut found);
    }
    if fills != report.orders.fills {
        found.push(format!("{} fills booked, the venues made {fills}", report.orders.fills));
    }
    if open != report.orders.open {
        found.push(format!("{} orders open, {open} at the venues", report.orders.open));
    }
    found
}

/// Positions: the sum of the fills that the venue recorded.
fn positions(report: &Report, name: &str, record: &AccountRecord, found: &mut Vec<String>) {
    let mut theirs: BTreeMap<&str, Money> = BTreeMap::new();
    for fill in &record.fills {
        let Ok(qty) = Money::parse(fill.qty.as_bytes()) else {
            found.push(format!("{name} fill {} has a quantity that is no number: {}", fill.id, fill.qty));
            continue;
        };
        let sum = theirs.entry(fill.symbol.as_str()).or_default();
        sum.0 += if fill.side == "buy" { qty.0 } else { -qty.0 };
    }
    for position in report.pnl.positions.iter().filter(|p| p.venue == name) {
        let ours = Money::parse(position.qty.as_bytes()).unwrap_or_default();
        let venue = theirs.remove(position.symbol.as_str()).unwrap_or_default();
        if ours != venue {
            found.push(format!("{name} {}: position {ours}, the venue's fills add up to {venue}", position.symbol));
        }
    }
    for (symbol, qty) in theirs.into_iter().filter(|(_, qty)| qty.0 != 0) {
        found.push(format!("{name} {symbol}: no position, the venue's fills add up to {qty}"));
    }
}
