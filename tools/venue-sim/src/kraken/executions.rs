//! Kraken's `executions` and `balances` channels: sparse records, each with its own sequence.

use super::ids;
use crate::book::Side;
use crate::decimal::{AMOUNT_SCALE, Amount, push_trimmed};
use crate::exchange::{EndReason, Exchange, Fill, Order, OrderChange, OrderKind, Status, TimeInForce};
use crate::json::{Object, array};
use crate::venue::side_text;
use crate::wire::push_rfc3339_us;

/// A time member.
pub fn push_time(object: &mut Object<'_>, name: &str, ns: u64) {
    let out = object.key(name);
    out.push(b'"');
    push_rfc3339_us(out, ns);
    out.push(b'"');
}

fn amount(object: &mut Object<'_>, name: &str, value: Amount) {
    push_trimmed(object.key(name), value.0, AMOUNT_SCALE, 1);
}

fn tif_text(tif: TimeInForce) -> &'static str {
    match tif {
        TimeInForce::Gtc => "GTC",
        TimeInForce::Ioc => "IOC",
        TimeInForce::Fok => "FOK",
    }
}

/// `limit` or `market`.
pub fn kind_text(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::Limit => "limit",
        OrderKind::Market => "market",
    }
}

fn status_text(status: Status) -> &'static str {
    match status {
        Status::Open => "new",
        Status::PartiallyFilled => "partially_filled",
        Status::Filled => "filled",
        Status::Canceled | Status::Expired | Status::ExpiredInMatch => "canceled",
    }
}

/// Why an order ended, in the venue's words.
pub fn reason_text(reason: EndReason) -> &'static str {
    match reason {
        EndReason::User | EndReason::AmendedAway => "User requested",
        EndReason::DeadMan => "Cancel all orders after timer",
        EndReason::PostOnly => "Post only order",
        EndReason::ImmediateRemainder => "Insufficient liquidity for IOC order",
        EndReason::CannotFill => "Insufficient liquidity for FOK order",
        EndReason::NoLiquidity => "Out of funds or liquidity",
        EndReason::SelfTrade => "Self trade prevention",
    }
}

fn push_ids(o: &mut Object<'_>, order: &Order) {
    o.str("order_id", &ids::text('O', order.id));
    if order.terms.client_id.is_empty() {
        o.i64("order_userref", order.terms.user_ref);
    } else {
        o.str("cl_ord_id", &order.terms.client_id);
    }
}

fn push_terms(o: &mut Object<'_>, exchange: &Exchange, symbol: &str, order: &Order) {
    let spec = &exchange.markets[order.terms.market].spec;
    o.str("symbol", symbol).str("side", side_text(order.terms.side)).str("order_type", kind_text(order.terms.kind));
    o.number("order_qty", i128::from(order.terms.qty), spec.qty_scale);
    if order.terms.kind == OrderKind::Limit {
        o.number("limit_price", i128::from(order.terms.price), spec.price_scale).str("limit_price_type", "static");
    }
    o.str("time_in_force", tif_text(order.terms.time_in_force));
    if order.terms.post_only {
        o.bool("post_only", true);
    }
}

fn push_totals(o: &mut Object<'_>, exchange: &Exchange, order: &Order) {
    let spec = &exchange.markets[order.terms.market].spec;
    o.number("cum_qty", i128::from(order.filled_qty), spec.qty_scale);
    amount(o, "cum_cost", order.filled_cost);
    if order.filled_qty > 0 {
        amount(o, "avg_price", average_price(exchange, order));
    }
    amount(o, "fee_usd_equiv", order.fees);
}

/// Average price of an order's fills, cut to ten decimals.
pub fn average_price(exchange: &Exchange, order: &Order) -> Amount {
    let qty_scale = exchange.markets[order.terms.market].spec.qty_scale;
    price_of(order.filled_cost, Amount::from_fixed(order.filled_qty, qty_scale))
}

/// `cost` per unit, cut to ten decimals; zero for nothing.
pub fn price_of(cost: Amount, qty: Amount) -> Amount {
    if qty.0 == 0 {
        return Amount::ZERO;
    }
    // Exact in i128 for any cost below 10^18 quote units.
    let (ten, unit) = (crate::decimal::pow10(10), crate::decimal::pow10(8));
    Amount(cost.0.saturating_mul(ten) / qty.0 * unit)
}

/// The records that one change of an order gives; each is its own message.
pub fn records(exchange: &Exchange, symbol: &str, order: &Order, change: &OrderChange) -> Vec<Vec<u8>> {
    let mut records = Vec::with_capacity(2);
    let mut record = |write: &mut dyn FnMut(&mut Object<'_>)| {
        let mut out = Vec::with_capacity(400);
        let mut o = Object::new(&mut out);
        push_ids(&mut o, order);
        write(&mut o);
        push_time(&mut o, "timestamp", order.updated_ns);
        o.end();
        records.push(out);
    };
    match change {
        OrderChange::New => {
            record(&mut |o| {
                push_terms(o, exchange, symbol, order);
                o.raw("cum_cost", b"0.0").raw("fee_usd_equiv", b"0.0").str("fee_ccy_pref", "fciq").raw("stop_price", b"0.0");
                o.str("exec_type", "pending_new").str("order_status", "pending_new");
            });
            record(&mut |o| {
                o.str("exec_type", "new").str("order_status", "new");
            });
        }
        OrderChange::Fill(fill) => {
            record(&mut |o| {
                push_trade(o, exchange, symbol, order, fill);
                push_totals(o, exchange, order);
                o.str("order_status", "partially_filled");
            });
            if order.status == Status::Filled {
                record(&mut |o| {
                    o.str("exec_type", "filled");
                    push_totals(o, exchange, order);
                    o.str("order_status", "filled");
                });
            }
        }
        OrderChange::Ended => {
            let reason = order.end_reason.map_or("", reason_text);
            record(&mut |o| {
                o.str("exec_type", "canceled").str("order_status", "canceled").str("reason", reason).str("cancel_reason", reason);
                push_totals(o, exchange, order);
            });
        }
        OrderChange::Amended { .. } => {
            let spec = &exchange.markets[order.terms.market].spec;
            record(&mut |o| {
                o.str("exec_type", "amended").str("order_status", status_text(order.status)).bool("amended", true);
                o.number("order_qty", i128::from(order.terms.qty), spec.qty_scale);
                o.number("limit_price", i128::from(order.terms.price), spec.price_scale);
            });
        }
        // The venue has no decrementing mode; its parser never asks for one.
        OrderChange::Decremented { .. } => {}
    }
    records
}

fn push_trade(o: &mut Object<'_>, exchange: &Exchange, symbol: &str, order: &Order, fill: &Fill) {
    let spec = &exchange.markets[fill.market].spec;
    o.str("symbol", symbol).str("side", side_text(fill.side)).str("order_type", kind_text(order.terms.kind));
    o.str("exec_type", "trade").str("exec_id", &ids::text('T', fill.exec_id)).u64("trade_id", fill.trade_id);
    o.number("last_qty", i128::from(fill.qty), spec.qty_scale).number("last_price", i128::from(fill.price), spec.price_scale);
    amount(o, "cost", fill.cost);
    o.str("liquidity_ind", if fill.maker { "m" } else { "t" });
    array(o.key("fees"), [fill], |out, fill| {
        let mut fee = Object::new(out);
        fee.str("asset", exchange.ledger.asset_name(fill.fee_asset));
        amount(&mut fee, "qty", fill.fee);
        fee.end();
    });
}

/// A snapshot row of an open order.
pub fn snapshot_order(exchange: &Exchange, symbol: &str, order: &Order) -> Vec<u8> {
    let mut out = Vec::with_capacity(400);
    let mut o = Object::new(&mut out);
    push_ids(&mut o, order);
    push_terms(&mut o, exchange, symbol, order);
    push_totals(&mut o, exchange, order);
    o.str("exec_type", if order.filled_qty > 0 { "status" } else { "new" }).str("order_status", status_text(order.status));
    if order.amends > 0 {
        o.bool("amended", true);
    }
    push_time(&mut o, "timestamp", order.updated_ns);
    o.end();
    out
}

/// A snapshot row of an old fill.
pub fn snapshot_trade(exchange: &Exchange, symbol: &str, order: &Order, fill: &Fill) -> Vec<u8> {
    let mut out = Vec::with_capacity(400);
    let mut o = Object::new(&mut out);
    push_ids(&mut o, order);
    push_trade(&mut o, exchange, symbol, order, fill);
    o.str("order_status", status_text(order.status));
    push_time(&mut o, "timestamp", fill.at_ns);
    o.end();
    out
}

/// The two `balances` records of a fill: base, then quote with the fee.
pub fn balance_records(exchange: &Exchange, fill: &Fill) -> [Vec<u8>; 2] {
    let market = &exchange.markets[fill.market];
    let qty = Amount::from_fixed(fill.qty, market.spec.qty_scale);
    let (base, quote) = match fill.side {
        Side::Buy => (qty, -fill.cost),
        Side::Sell => (-qty, fill.cost),
    };
    let rows = [
        (market.base, base, Amount::ZERO, fill.base_total, fill.exec_id * 2),
        (market.quote, quote, fill.fee, fill.quote_total, fill.exec_id * 2 + 1),
    ];
    rows.map(|(asset, change, fee, total, ledger_id)| {
        let mut out = Vec::with_capacity(320);
        let mut o = Object::new(&mut out);
        o.str("asset", exchange.ledger.asset_name(asset)).str("asset_class", "currency");
        amount(&mut o, "amount", change);
        amount(&mut o, "balance", total);
        amount(&mut o, "fee", fee);
        o.str("ledger_id", &ids::text('L', ledger_id)).str("ref_id", &ids::text('T', fill.exec_id));
        push_time(&mut o, "timestamp", fill.at_ns);
        o.str("type", "trade").str("subtype", "").str("category", "trade").str("wallet_type", "spot").str("wallet_id", "main");
        o.end();
        out
    })
}

/// The `balances` record of a deposit or (negative) withdrawal.
pub fn deposit_record(
    exchange: &Exchange,
    account: crate::ledger::AccountId,
    asset: crate::ledger::AssetId,
    change: Amount,
    id: u64,
    at_ns: u64,
) -> Vec<u8> {
    let kind = if change.0 < 0 { "withdrawal" } else { "deposit" };
    let mut out = Vec::with_capacity(320);
    let mut o = Object::new(&mut out);
    o.str("asset", exchange.ledger.asset_name(asset)).str("asset_class", "currency");
    amount(&mut o, "amount", change);
    amount(&mut o, "balance", exchange.ledger.balance(account, asset).total);
    o.raw("fee", b"0.0").str("ledger_id", &ids::text('L', id)).str("ref_id", &ids::text('Q', id));
    push_time(&mut o, "timestamp", at_ns);
    o.str("type", kind).str("subtype", "").str("category", kind).str("wallet_type", "spot").str("wallet_id", "main");
    o.end();
    out
}

/// Rows of the `balances` snapshot.
pub fn balance_rows(exchange: &Exchange, account: crate::ledger::AccountId) -> Vec<Vec<u8>> {
    exchange
        .ledger
        .assets()
        .map(|(id, asset)| (asset, exchange.ledger.balance(account, id).total))
        .filter(|(_, total)| total.0 != 0)
        .map(|(asset, total)| {
            let mut out = Vec::with_capacity(160);
            let mut o = Object::new(&mut out);
            o.str("asset", asset).str("asset_class", "currency");
            amount(&mut o, "balance", total);
            array(o.key("wallets"), [()], |out, ()| {
                let mut wallet = Object::new(out);
                wallet.str("type", "spot").str("id", "main");
                amount(&mut wallet, "balance", total);
                wallet.end();
            });
            o.end();
            out
        })
        .collect()
}

/// Wraps records of a private channel.
pub fn envelope(channel: &str, kind: &str, records: &[Vec<u8>], sequence: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(80 + records.iter().map(Vec::len).sum::<usize>());
    let mut o = Object::new(&mut out);
    o.str("channel", channel).str("type", kind);
    array(o.key("data"), records, |out, record| out.extend_from_slice(record));
    o.u64("sequence", sequence).end();
    out
}
