//! The private channels `executions` and `balances`: sparse records to order reports.
//!
//! | `exec_type` | report |
//! |---|---|
//! | `pending_new` | none: the venue has it, the book does not yet |
//! | `new`, `status`, `iceberg_refill` | `OrderAck`, once |
//! | `trade` | `FillFee` for each fee, then `OrderFill`; the only record that books a fill |
//! | `filled` | none; if fills are missing, `OrderStatus` filled, as evidence |
//! | `canceled` | `OrderCanceled`; `OrderReject` if it is a post-only order that never got in |
//! | `expired` | `OrderExpired` |
//! | `amended`, `restated` | `OrderReplaced` if terms differ from what was reported |
//! | anything else | counted, and the order is asked for over REST |
//!
//! Snapshot rows are evidence, not news: `OrderStatus` with the flag `SNAPSHOT`. An execution may come before the
//! acknowledgement of the order's request. Client ids and symbols may be missing: the venue's order id leads to the
//! entry in [`TrackedOrders`]. A record that cannot be read is counted and costs nobody else anything.

use super::Cx;
use super::message::{missing, parse_number, time};
use super::tracked::{InFlight, TrackedOrders};
use crate::json::{JsonError, Scanner, Text, What};
use crate::names::Names;
use crate::outbox::ColdRequest;
use crate::symbols::SymbolIndex;
use engine_core::event::{Event, EventKind, EventSink, RejectReason, Side, VenueOrderStatus, flags};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::{InstrumentId, OrderId, VenueId};

/// An order changed longer ago than this is listed in a snapshot if it is open.
const SETTLED_NS: u64 = 5 * super::S;
/// Fees of one fill that are reported.
const FEES_MAX: usize = 4;

/// What private records are read with.
pub struct Reports {
    /// The venue.
    pub venue: VenueId,
    /// Orders and assets by their texts.
    pub names: Names,
    /// Symbols and their scales.
    pub symbols: SymbolIndex,
    /// Orders known.
    pub orders: TrackedOrders,
    /// Place of a symbol and its rate counter in thousandths, if a record of the last message told.
    pub rate: Option<(usize, u64)>,
    /// Snapshots so far.
    snapshots: u32,
}

/// One record, numbers as text still: their scales are known once the instrument is.
#[derive(Default)]
struct Record<'a> {
    order_id: &'a [u8],
    client_id: &'a [u8],
    symbol: Option<Text<'a>>,
    side: Option<Side>,
    exec_type: &'a [u8],
    order_status: &'a [u8],
    reason: &'a [u8],
    exec_id: &'a [u8],
    trade_id: Option<u64>,
    maker: bool,
    order_qty: Option<&'a [u8]>,
    limit_price: Option<&'a [u8]>,
    cum_qty: Option<&'a [u8]>,
    last_qty: Option<&'a [u8]>,
    last_price: Option<&'a [u8]>,
    rate: Option<&'a [u8]>,
    fees: Option<Scanner<'a>>,
    time_ns: u64,
}

/// A string, or nothing if the value is of another type.
fn text<'a>(s: &mut Scanner<'a>) -> Result<&'a [u8], JsonError> {
    if s.peek() == Some(b'"') {
        return Ok(s.string()?.raw());
    }
    s.skip()?;
    Ok(b"")
}

/// A decimal's text, or nothing if the value is of another type.
fn decimal<'a>(s: &mut Scanner<'a>) -> Result<Option<&'a [u8]>, JsonError> {
    if matches!(s.peek(), Some(b'"' | b'-' | b'0'..=b'9')) {
        return s.decimal_text().map(Some);
    }
    s.skip()?;
    Ok(None)
}

fn record<'a>(s: &mut Scanner<'a>) -> Result<Record<'a>, JsonError> {
    let mut r = Record::default();
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        match key {
            b"order_id" => r.order_id = text(s)?,
            b"cl_ord_id" => r.client_id = text(s)?,
            b"symbol" if s.peek() == Some(b'"') => r.symbol = Some(s.string()?),
            b"side" => {
                r.side = match text(s)? {
                    b"buy" => Some(Side::Buy),
                    b"sell" => Some(Side::Sell),
                    _ => None,
                }
            }
            b"exec_type" => r.exec_type = text(s)?,
            b"order_status" => r.order_status = text(s)?,
            b"reason" => r.reason = text(s)?,
            b"cancel_reason" if r.reason.is_empty() => r.reason = text(s)?,
            b"exec_id" => r.exec_id = text(s)?,
            b"trade_id" if matches!(s.peek(), Some(b'0'..=b'9' | b'"')) => r.trade_id = Some(s.u64()?),
            b"liquidity_ind" => r.maker = text(s)? == b"m",
            b"order_qty" => r.order_qty = decimal(s)?,
            b"limit_price" => r.limit_price = decimal(s)?,
            b"cum_qty" => r.cum_qty = decimal(s)?,
            b"last_qty" => r.last_qty = decimal(s)?,
            b"last_price" => r.last_price = decimal(s)?,
            b"ratecount" | b"ratecounter" | b"rate_count" => r.rate = decimal(s)?,
            b"fees" => {
                r.fees = Some(s.clone());
                s.skip()?;
            }
            b"timestamp" => r.time_ns = time(s)?,
            _ => s.skip()?,
        }
    }
    if r.exec_type.is_empty() {
        return Err(missing(s, "exec_type"));
    }
    Ok(r)
}

/// What a record is about, found.
#[derive(Clone, Copy)]
struct Place {
    entry: usize,
    order: OrderId,
    instrument: InstrumentId,
    price_scale: u8,
    qty_scale: u8,
}

/// A fill's number from its text id, where the venue gives no number.
fn number_of(exec_id: &[u8]) -> u64 {
    exec_id.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, &byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)) >> 1
}

impl Reports {
    /// Over these tables.
    pub fn new(venue: VenueId, names: Names, symbols: SymbolIndex, orders_max: usize) -> Reports {
        Reports { venue, names, symbols, orders: TrackedOrders::new(orders_max), rate: None, snapshots: 0 }
    }

    /// Reads the `data` array of the `executions` channel.
    pub fn read<K: EventSink>(&mut self, mut data: Scanner<'_>, snapshot: bool, cx: &mut Cx<'_, K>) -> Result<(), JsonError> {
        self.rate = None;
        self.snapshots = self.snapshots.wrapping_add(u32::from(snapshot));
        let mut records = data.array()?;
        while records.next(&mut data)? {
            let mut one = data.clone();
            data.skip()?;
            match record(&mut one) {
                Ok(r) => self.take(&r, snapshot, cx),
                Err(_) => cx.counters.malformed += 1,
            }
        }
        if snapshot {
            // What the venue does not list as open ended while nobody listened; the cold plane finds out how.
            let (seen, before_ns) = (self.snapshots, cx.times.core_ns.saturating_sub(SETTLED_NS));
            self.orders.close_where(|o| o.seen != seen && o.in_flight == InFlight::Nothing && o.changed_ns < before_ns);
        }
        Ok(())
    }

    /// Finds what a record is about; `None` if it is not ours.
    fn place<K: EventSink>(&mut self, r: &Record<'_>, cx: &mut Cx<'_, K>) -> Option<Place> {
        let mut entry = self.orders.find_venue(r.order_id);
        if entry.is_none() {
            // The venue's id names the order in open mode only: there, every order is somebody's.
            let order = match self.names.order(r.client_id) {
                Some(order) => Some(order),
                None => self.names.order(r.order_id),
            };
            entry = order.and_then(|order| self.orders.find_or_insert(order));
            if let Some(at) = entry {
                self.orders.bind(at, r.order_id);
            }
        }
        let Some(entry) = entry else {
            cx.counters.uncorrelated += 1;
            return None;
        };
        let named = r.symbol.map(|symbol| super::stream::position(&mut self.symbols, symbol, || super::stream::OPEN_SCALES));
        let symbol = match (named, self.orders[entry].instrument) {
            (Some(Some(at)), _) => &self.symbols.symbols()[at],
            (None, Some(instrument)) => self.symbols.by_instrument(instrument)?,
            (Some(None), _) => {
                cx.counters.unknown_symbols += 1;
                return None;
            }
            (None, None) => {
                cx.counters.uncorrelated += 1;
                return None;
            }
        };
        let held = &mut self.orders[entry];
        held.instrument = Some(symbol.instrument);
        held.side = r.side.or(held.side);
        Some(Place {
            entry,
            order: held.order,
            instrument: symbol.instrument,
            price_scale: symbol.price_scale,
            qty_scale: symbol.qty_scale,
        })
    }

    fn take<K: EventSink>(&mut self, r: &Record<'_>, snapshot: bool, cx: &mut Cx<'_, K>) {
        let Some(place) = self.place(r, cx) else { return };
        if let Some(rate) = r.rate.and_then(|rate| parse_number(rate, 3).ok())
            && let Some(at) = self.symbols.symbols().iter().position(|s| s.instrument == place.instrument)
        {
            self.rate = Some((at, rate.value.max(0) as u64));
        }
        if self.report(r, place, snapshot, cx).is_err() {
            // This one record is lost; what it said is found out by asking.
            cx.counters.malformed += 1;
            cx.notice.set(&[b"execution record cannot be read: ", r.exec_type, b" of ", &place.order.to_text()]);
            self.ask(place, cx);
        }
    }

    fn ask<K: EventSink>(&mut self, place: Place, cx: &mut Cx<'_, K>) {
        cx.out.request(ColdRequest::OrderStatus { order: place.order, instrument: place.instrument });
    }

    fn report<K: EventSink>(&mut self, r: &Record<'_>, place: Place, snapshot: bool, cx: &mut Cx<'_, K>) -> Result<(), What> {
        let value = |text: Option<&[u8]>, scale: u8| match text {
            None => Ok(None),
            Some(text) => match parse_number(text, scale) {
                Ok(number) if number.value >= 0 => Ok(Some(number.value)),
                Ok(_) => Err(What::Range),
                Err(error) => Err(What::Decimal(error)),
            },
        };
        let price = value(r.limit_price, place.price_scale)?.filter(|&p| p > 0);
        let qty = value(r.order_qty, place.qty_scale)?.filter(|&q| q > 0);
        let filled = value(r.cum_qty, place.qty_scale)?;
        if snapshot {
            self.evidence(r, place, (price, qty, filled), cx);
            return Ok(());
        }
        match r.exec_type {
            b"pending_new" => self.terms(place, price, qty, cx),
            b"new" | b"status" | b"iceberg_refill" => {
                self.terms(place, price, qty, cx);
                self.ack(place.entry, r.time_ns, cx);
            }
            b"trade" => {
                let last = value(r.last_price, place.price_scale)?.zip(value(r.last_qty, place.qty_scale)?);
                let (last_price, last_qty) = last.filter(|&(p, q)| p > 0 && q > 0).ok_or(What::Missing("last_qty"))?;
                self.fill(r, place, last_price, last_qty, cx)?;
            }
            b"filled" => self.filled(r, place, filled, cx),
            b"canceled" => self.gone(r, place, EventKind::OrderCanceled, filled, cx),
            b"expired" => self.gone(r, place, EventKind::OrderExpired, filled, cx),
            b"amended" | b"restated" => self.amended(place, price, qty, r.time_ns, cx),
            unknown => {
                cx.counters.unknown_values += 1;
                cx.notice.set(&[b"unknown exec_type: ", unknown]);
                self.ask(place, cx);
            }
        }
        Ok(())
    }

    /// Notes what a record repeats of the order's terms, unless they are ours to know better.
    fn terms<K: EventSink>(&mut self, place: Place, price: Option<i64>, qty: Option<i64>, cx: &mut Cx<'_, K>) {
        let held = &mut self.orders[place.entry];
        if !matches!(held.in_flight, InFlight::Amend { .. }) {
            held.price = price.unwrap_or(held.price);
            held.qty = qty.unwrap_or(held.qty);
        }
        if held.changed_ns == 0 {
            held.changed_ns = cx.times.core_ns;
        }
    }

    /// The order has been accepted; says so once.
    pub fn ack<K: EventSink>(&mut self, entry: usize, time_ns: u64, cx: &mut Cx<'_, K>) {
        let held = &mut self.orders[entry];
        if let (false, Some(instrument)) = (held.acked, held.instrument) {
            held.acked = true;
            let ack = Event::order_report(EventKind::OrderAck, self.venue, instrument, held.order, cx.times);
            cx.emit(&ack.at(time_ns).with(flags::LAST));
        }
    }

    fn fill<K: EventSink>(&mut self, r: &Record<'_>, place: Place, price: i64, qty: i64, cx: &mut Cx<'_, K>) -> Result<(), What> {
        let side = self.orders[place.entry].side.ok_or(What::Missing("side"))?;
        let trade_id = match r.trade_id {
            Some(id) => id,
            None if !r.exec_id.is_empty() => number_of(r.exec_id),
            None => return Err(What::Missing("trade_id")),
        };
        let mut fees = [None; FEES_MAX];
        if let Some(s) = &r.fees {
            self.read_fees(s.clone(), &mut fees, cx).map_err(|error| error.what)?;
        }
        for (asset, amount) in fees.into_iter().flatten() {
            let fee = Event::fill_fee(self.venue, place.instrument, place.order, trade_id, asset, amount, cx.times);
            cx.emit(&fee.at(r.time_ns));
        }
        let fill = Event::fill(self.venue, place.instrument, place.order, side, Price(price), Qty(qty), trade_id, cx.times);
        cx.emit(&fill.at(r.time_ns).with(flags::LAST | if r.maker { flags::MAKER } else { 0 }));
        let held = &mut self.orders[place.entry];
        held.filled = held.filled.saturating_add(qty);
        if held.qty > 0 && held.filled >= held.qty && held.in_flight == InFlight::Nothing {
            self.orders.close(place.entry);
        }
        Ok(())
    }

    fn read_fees<K: EventSink>(
        &mut self,
        mut s: Scanner<'_>,
        fees: &mut [Option<(engine_core::ids::AssetId, Money)>; FEES_MAX],
        cx: &mut Cx<'_, K>,
    ) -> Result<(), JsonError> {
        let mut at = 0;
        let mut rows = s.array()?;
        while rows.next(&mut s)? {
            let (mut asset, mut amount) = (&b""[..], None);
            let mut members = s.object()?;
            while let Some(key) = members.next(&mut s)? {
                match key {
                    b"asset" => asset = text(&mut s)?,
                    b"qty" => amount = Some(s.money()?),
                    _ => s.skip()?,
                }
            }
            match (self.names.asset(asset), amount, fees.get_mut(at)) {
                (Some(asset), Some(amount), Some(slot)) => {
                    *slot = Some((asset, amount));
                    at += 1;
                }
                _ => {
                    cx.counters.unknown_values += 1;
                    cx.notice.set(&[b"fee cannot be booked, asset: ", asset]);
                }
            }
        }
        Ok(())
    }

    /// The venue says that the order is complete. Its fills came as `trade` records; if some did not, this is evidence.
    fn filled<K: EventSink>(&mut self, r: &Record<'_>, place: Place, filled: Option<i64>, cx: &mut Cx<'_, K>) {
        let held = &self.orders[place.entry];
        let total = filled.unwrap_or(held.qty);
        if held.filled < total {
            let (price, qty) = (Price(held.price), Qty(total.max(held.qty)));
            let filled = Qty(total);
            let status =
                Event::order_status(self.venue, place.instrument, place.order, VenueOrderStatus::Filled, filled, price, qty, cx.times);
            let side = held.side.map_or(0, |side| side as u8);
            cx.emit(&Event { side, ..status }.at(r.time_ns).with(flags::LAST));
            self.ask(place, cx);
        }
        self.orders.close(place.entry);
    }

    fn gone<K: EventSink>(&mut self, r: &Record<'_>, place: Place, kind: EventKind, filled: Option<i64>, cx: &mut Cx<'_, K>) {
        let held = &self.orders[place.entry];
        let never_in = kind == EventKind::OrderCanceled && !held.acked && held.filled == 0 && filled.unwrap_or(0) == 0;
        if never_in && r.reason == b"Post only order" {
            let reason = RejectReason::PostOnlyWouldTake;
            let reject = Event::refusal(EventKind::OrderReject, self.venue, place.instrument, place.order, reason, cx.times);
            cx.emit(&reject.at(r.time_ns).with(flags::LAST));
        } else {
            let gone = Event::order_gone(kind, self.venue, place.instrument, place.order, filled.map(Qty), cx.times);
            cx.emit(&gone.at(r.time_ns).with(flags::LAST));
        }
        if !matches!(r.reason, b"" | b"User requested") {
            cx.notice.set(&[b"order ", &place.order.to_text(), b" ended: ", r.reason]);
        }
        self.orders.close(place.entry);
    }

    fn amended<K: EventSink>(&mut self, place: Place, price: Option<i64>, qty: Option<i64>, time_ns: u64, cx: &mut Cx<'_, K>) {
        let held = &mut self.orders[place.entry];
        let terms = (price.unwrap_or(held.price), qty.unwrap_or(held.qty));
        if let InFlight::Amend { price: asked_price, qty: asked_qty, told } = &mut held.in_flight {
            // Ours, if the row has its terms; any other row may be of the amend before, and the answer will tell.
            if (price, qty) != (Some(*asked_price), Some(*asked_qty)) || *told {
                return;
            }
            *told = true;
        } else if terms == (held.price, held.qty) || terms.0 == 0 || terms.1 == 0 {
            return;
        }
        self.replaced(place.entry, terms, time_ns, cx);
    }

    /// Price and total quantity are these from here on.
    pub fn replaced<K: EventSink>(&mut self, entry: usize, (price, qty): (i64, i64), time_ns: u64, cx: &mut Cx<'_, K>) {
        let held = &mut self.orders[entry];
        (held.price, held.qty, held.changed_ns) = (price, qty, cx.times.core_ns);
        let Some(instrument) = held.instrument else { return };
        let replaced = Event::order_replaced(self.venue, instrument, held.order, Price(price), Qty(qty), cx.times);
        cx.emit(&replaced.at(time_ns).with(flags::LAST));
    }

    /// A snapshot row.
    fn evidence<K: EventSink>(
        &mut self,
        r: &Record<'_>,
        place: Place,
        (price, qty, filled): (Option<i64>, Option<i64>, Option<i64>),
        cx: &mut Cx<'_, K>,
    ) {
        if r.exec_type == b"trade" {
            return; // An old fill: what is missing is asked for by reconciliation.
        }
        let status = match r.order_status {
            b"pending_new" | b"new" | b"partially_filled" | b"" => VenueOrderStatus::Open,
            b"filled" => VenueOrderStatus::Filled,
            b"canceled" => VenueOrderStatus::Canceled,
            b"expired" => VenueOrderStatus::Expired,
            unknown => {
                cx.counters.unknown_values += 1;
                cx.notice.set(&[b"unknown order_status: ", unknown]);
                self.ask(place, cx);
                return;
            }
        };
        self.terms(place, price, qty, cx);
        let held = &mut self.orders[place.entry];
        (held.acked, held.seen) = (true, self.snapshots);
        held.filled = held.filled.max(filled.unwrap_or(0));
        let (price, qty) = (price.unwrap_or(held.price), qty.unwrap_or(held.qty));
        let side = held.side.map_or(0, |side| side as u8);
        let filled = Qty(filled.unwrap_or(0));
        let event = Event::order_status(self.venue, place.instrument, place.order, status, filled, Price(price), Qty(qty), cx.times);
        cx.emit(&Event { side, ..event }.at(r.time_ns).with(flags::SNAPSHOT | flags::LAST));
        if status != VenueOrderStatus::Open {
            self.orders.close(place.entry);
        }
    }

    /// Reads the `data` array of the `balances` channel. The venue states totals; what open orders hold back is not
    /// shown, so the available amount is given as the total.
    pub fn read_balances<K: EventSink>(&mut self, mut data: Scanner<'_>, snapshot: bool, cx: &mut Cx<'_, K>) -> Result<(), JsonError> {
        let mut rows = data.array()?;
        while rows.next(&mut data)? {
            let mut one = data.clone();
            data.skip()?;
            if self.balance(&mut one, snapshot, cx).is_err() {
                cx.counters.malformed += 1;
            }
        }
        Ok(())
    }

    fn balance<K: EventSink>(&mut self, s: &mut Scanner<'_>, snapshot: bool, cx: &mut Cx<'_, K>) -> Result<(), JsonError> {
        let (mut asset, mut total, mut time_ns, mut spot) = (&b""[..], None, 0, true);
        let mut members = s.object()?;
        while let Some(key) = members.next(s)? {
            match key {
                b"asset" => asset = text(s)?,
                b"balance" => total = Some(s.money()?),
                b"wallet_type" => spot = text(s)? == b"spot",
                b"timestamp" => time_ns = time(s)?,
                _ => s.skip()?,
            }
        }
        let total = total.ok_or_else(|| missing(s, "balance"))?;
        // An asset that no instrument of ours needs is nobody's business here.
        if let Some(asset) = self.names.asset(asset).filter(|_| spot) {
            let mark = if snapshot { flags::SNAPSHOT } else { 0 };
            cx.emit(&Event::balance(self.venue, asset, total, total, cx.times).at(time_ns).with(flags::LAST | mark));
        }
        Ok(())
    }
}
