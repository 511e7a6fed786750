//! Binance user data: `executionReport` and `outboundAccountPosition` over the WebSocket API.

use std::collections::HashMap;

use crate::book::{OrderId, Side};
use crate::exchange::{EndReason, Exchange, Order, OrderChange, OrderKind, SelfTrade, Status, TimeInForce};
use crate::json::{Object, array};
use crate::ledger::{AccountId, AssetId};

/// `BUY` or `SELL`.
pub fn side_text(side: Side) -> &'static str {
    match side {
        Side::Buy => "BUY",
        Side::Sell => "SELL",
    }
}

/// The order type as the venue names it.
pub fn type_text(order: &Order) -> &'static str {
    match (order.terms.kind, order.terms.post_only) {
        (OrderKind::Market, _) => "MARKET",
        (OrderKind::Limit, true) => "LIMIT_MAKER",
        (OrderKind::Limit, false) => "LIMIT",
    }
}

/// Time in force as the venue names it.
pub fn tif_text(tif: TimeInForce) -> &'static str {
    match tif {
        TimeInForce::Gtc => "GTC",
        TimeInForce::Ioc => "IOC",
        TimeInForce::Fok => "FOK",
    }
}

/// Order status as the venue names it.
pub fn status_text(status: Status) -> &'static str {
    match status {
        Status::Open => "NEW",
        Status::PartiallyFilled => "PARTIALLY_FILLED",
        Status::Filled => "FILLED",
        Status::Canceled => "CANCELED",
        Status::Expired => "EXPIRED",
        Status::ExpiredInMatch => "EXPIRED_IN_MATCH",
    }
}

/// Self-trade prevention mode as the venue names it.
pub fn stp_text(mode: SelfTrade) -> &'static str {
    match mode {
        SelfTrade::Allow => "NONE",
        SelfTrade::EndTaker => "EXPIRE_TAKER",
        SelfTrade::EndMaker => "EXPIRE_MAKER",
        SelfTrade::EndBoth => "EXPIRE_BOTH",
        SelfTrade::Decrement => "DECREMENT",
    }
}

/// Self-trade prevention mode by its name; `TRANSFER` acts as `DECREMENT` unless both sides ask for it,
/// which one account's orders here never do differently.
pub fn stp_parse(text: &str) -> Option<SelfTrade> {
    Some(match text {
        "NONE" => SelfTrade::Allow,
        "EXPIRE_TAKER" => SelfTrade::EndTaker,
        "EXPIRE_MAKER" => SelfTrade::EndMaker,
        "EXPIRE_BOTH" => SelfTrade::EndBoth,
        "DECREMENT" => SelfTrade::Decrement,
        _ => return None,
    })
}

/// Why an order expired, as `eR`/`expiryReason`.
pub fn expiry_text(order: &Order) -> Option<&'static str> {
    match order.end_reason? {
        EndReason::ImmediateRemainder => Some("UNFILLED_IOC_QUANTITY_EXPIRED"),
        EndReason::CannotFill => Some("UNFILLED_FOK_ORDER_EXPIRED"),
        EndReason::NoLiquidity => Some("INSUFFICIENT_LIQUIDITY"),
        EndReason::User | EndReason::DeadMan | EndReason::SelfTrade | EndReason::PostOnly | EndReason::AmendedAway => None,
    }
}

/// Ids that reports need beyond what the exchange keeps.
#[derive(Debug, Default)]
pub struct ReportIds {
    /// The cancel request's own client id, by order, until its report is sent.
    pub cancels: HashMap<OrderId, String>,
    execution: u64,
}

/// One `executionReport` object.
pub fn execution_report(
    now_ns: u64,
    exchange: &Exchange,
    symbol: &str,
    order: &Order,
    change: &OrderChange,
    ids: &mut ReportIds,
) -> Vec<u8> {
    let spec = &exchange.markets[order.terms.market].spec;
    let (ps, qs) = (spec.price_scale, spec.qty_scale);
    ids.execution += 1;
    let (client_id, original) = match change {
        OrderChange::Ended if order.end_reason == Some(EndReason::User) => {
            (ids.cancels.remove(&order.id).unwrap_or_default(), order.terms.client_id.as_str())
        }
        OrderChange::Amended { previous_client_id } if *previous_client_id != order.terms.client_id => {
            (order.terms.client_id.clone(), previous_client_id.as_str())
        }
        _ => (order.terms.client_id.clone(), ""),
    };
    let execution_type = match change {
        OrderChange::New => "NEW",
        OrderChange::Fill(_) => "TRADE",
        OrderChange::Amended { .. } => "REPLACED",
        OrderChange::Decremented { .. } => "TRADE_PREVENTION",
        OrderChange::Ended => match order.status {
            Status::Canceled => "CANCELED",
            Status::ExpiredInMatch => "TRADE_PREVENTION",
            _ => "EXPIRED",
        },
    };
    let fill = match change {
        OrderChange::Fill(fill) => Some(fill),
        _ => None,
    };
    let on_book = order.status.is_open() && order.terms.kind == OrderKind::Limit && order.terms.time_in_force == TimeInForce::Gtc;
    let mut out = Vec::with_capacity(640);
    let mut o = Object::new(&mut out);
    o.str("e", "executionReport").u64("E", now_ns / 1_000_000).str("s", symbol).str("c", &client_id);
    o.str("S", side_text(order.terms.side)).str("o", type_text(order)).str("f", tif_text(order.terms.time_in_force));
    o.padded8("q", order.terms.qty, qs).padded8("p", order.terms.price, ps);
    o.str("P", "0.00000000").str("F", "0.00000000").i64("g", -1).str("C", original);
    o.str("x", execution_type).str("X", status_text(order.status)).str("r", "NONE").u64("i", order.id);
    o.padded8("l", fill.map_or(0, |f| f.qty), qs).padded8("z", order.filled_qty, qs).padded8("L", fill.map_or(0, |f| f.price), ps);
    match fill {
        Some(fill) => o.amount("n", fill.fee, 8).str("N", exchange.ledger.asset_name(fill.fee_asset)),
        None => o.str("n", "0").raw("N", b"null"),
    };
    o.u64("T", order.updated_ns / 1_000_000).i64("t", fill.map_or(-1, |f| f.trade_id as i64)).u64("I", 81_234_000_000 + ids.execution);
    o.bool("w", on_book).bool("m", fill.is_some_and(|f| f.maker)).bool("M", false).u64("O", order.created_ns / 1_000_000);
    o.amount("Z", order.filled_cost, 8).amount("Y", fill.map_or_else(Default::default, |f| f.cost), 8);
    o.amount("Q", order.terms.quote_qty.unwrap_or_default(), 8);
    if on_book || order.filled_qty > 0 {
        o.u64("W", order.created_ns / 1_000_000);
    }
    o.str("V", stp_text(order.terms.self_trade));
    if order.prevented_qty > 0 {
        o.padded8("A", order.prevented_qty, qs);
        if let OrderChange::Decremented { qty } = change {
            o.padded8("B", *qty, qs);
        }
    }
    if let (OrderChange::Ended, Some(reason)) = (change, expiry_text(order)) {
        o.str("eR", reason);
    }
    o.end();
    out
}

/// One `outboundAccountPosition` object for the given assets.
pub fn account_position(now_ns: u64, exchange: &Exchange, account: AccountId, assets: &[AssetId]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut object = Object::new(&mut out);
    object.str("e", "outboundAccountPosition").u64("E", now_ns / 1_000_000).u64("u", now_ns / 1_000_000);
    array(object.key("B"), assets, |out, asset| {
        let balance = exchange.ledger.balance(account, *asset);
        Object::new(out).str("a", exchange.ledger.asset_name(*asset)).amount("f", balance.free(), 8).amount("l", balance.hold, 8).end();
    });
    object.end();
    out
}

/// One `balanceUpdate` object (deposit or withdrawal).
pub fn balance_update(now_ns: u64, asset: &str, delta: crate::decimal::Amount) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    Object::new(&mut out)
        .str("e", "balanceUpdate")
        .u64("E", now_ns / 1_000_000)
        .str("a", asset)
        .amount("d", delta, 8)
        .u64("T", now_ns / 1_000_000)
        .end();
    out
}
