//! Reconciliation: what the venue says about our orders, fills and balances, as events for the core.
//!
//! A pure function of the working orders that we hold and the venue's answers: the same answers give the
//! same events in the same order. It never guesses: an order is reported gone only if the venue was asked
//! for it by our id, later than [`GRACE_NS`] after it was sent, and answered that there is none.
//!
//! 1. Ask for open orders.
//! 2. Ask for each of our working orders that is not among them.
//! 3. Where the venue counts more filled than we do, ask for the fills.
//! 4. Ask for balances.
//! 5. Report fills first, then the orders' states, then balances, between a begin and an end event. A state carries, in the
//!    place of the venue's time, that of the first question: it may be many seconds old where the venue has us wait.

use engine_core::event::{Event, EventKind, Side, Times, VenueOrderStatus, flags};
use engine_core::fixed::{Price, Qty};
use engine_core::ids::{InstrumentId, OrderId, VenueId};
use std::collections::BTreeSet;
use venues::rest::{FillRecord, OrderRecord, RestQuery, RestReply};

/// An order sent less than this ago may be missing from the venue's answers without being gone.
pub const GRACE_NS: u64 = 3_000_000_000;
/// How far before the oldest concerned order fills are asked for (clock differences).
const FILL_MARGIN_NS: u64 = 60_000_000_000;
/// Pages of fills read at most for one instrument.
const FILL_PAGES_MAX: u32 = 200;

/// One of our orders that is not final as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkingOrder {
    /// Our id.
    pub order: OrderId,
    /// Its instrument.
    pub instrument: InstrumentId,
    /// Side.
    pub side: Side,
    /// Limit price.
    pub price: Price,
    /// Total quantity.
    pub qty: Qty,
    /// Filled so far, as far as we know.
    pub filled: Qty,
    /// When it was sent, nanoseconds since the Unix epoch.
    pub sent_ns: u64,
}

/// Why reconciliation could not complete. It is tried again later; until then nothing is concluded.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A request failed.
    #[error("{0}")]
    Call(String),
    /// The venue answered something else than was asked.
    #[error("unexpected answer to {0}")]
    Unexpected(&'static str),
}

/// Carries a query to the venue and its reply back.
pub trait RestCalls {
    /// One query, retries included.
    fn call(&mut self, query: &RestQuery) -> Result<RestReply, ReconcileError>;
}

/// Runs the reconciliation of one venue. `now_ns` stamps the events.
pub fn reconcile(venue: VenueId, working: &[WorkingOrder], calls: &mut impl RestCalls, now_ns: u64) -> Result<Vec<Event>, ReconcileError> {
    let RestReply::Orders(mut records) = calls.call(&RestQuery::OpenOrders)? else {
        return Err(ReconcileError::Unexpected("open orders"));
    };
    let open_count = records.len() as u64;
    let listed: BTreeSet<OrderId> = records.iter().filter_map(|r| r.order).collect();
    for ours in working.iter().filter(|w| !listed.contains(&w.order)) {
        records.extend(status_of(ours, calls, now_ns)?);
    }
    let fills = missing_fills(working, &records, calls)?;
    let balances = match calls.call(&RestQuery::Balances)? {
        RestReply::Balances(balances) => balances,
        _ => return Err(ReconcileError::Unexpected("balances")),
    };

    let times = Times { core_ns: now_ns, poll_delay_ns: 0 };
    let cold = flags::COLD | flags::SNAPSHOT;
    let mut events = vec![reconcile_mark(venue, 0, 0, times)];
    for (order, fill) in &fills {
        push_fill(&mut events, venue, *order, fill, times);
    }
    for record in &records {
        let order = record.order.unwrap_or(OrderId::NONE);
        let status = Event::order_status(venue, record.instrument, order, record.status, record.filled, record.price, record.qty, times);
        events.push(Event { side: record.side as u8, ..status }.at(now_ns).with(cold));
    }
    for &(asset, total, available) in &balances {
        events.push(Event::balance(venue, asset, total, available, times).with(cold));
    }
    events.push(reconcile_mark(venue, 1, open_count, times));
    Ok(events)
}

/// Asks for one order by our id and reports it, fills included. For a `SendQuery` of the core.
pub fn query_order(venue: VenueId, ours: &WorkingOrder, calls: &mut impl RestCalls, now_ns: u64) -> Result<Vec<Event>, ReconcileError> {
    let records: Vec<OrderRecord> = status_of(ours, calls, now_ns)?.into_iter().collect();
    let fills = missing_fills(std::slice::from_ref(ours), &records, calls)?;
    let times = Times { core_ns: now_ns, poll_delay_ns: 0 };
    let mut events = Vec::new();
    for (order, fill) in &fills {
        push_fill(&mut events, venue, *order, fill, times);
    }
    for record in &records {
        let status =
            Event::order_status(venue, record.instrument, ours.order, record.status, record.filled, record.price, record.qty, times);
        events.push(Event { side: record.side as u8, ..status }.at(now_ns).with(flags::COLD | flags::SNAPSHOT | flags::LAST));
    }
    Ok(events)
}

/// What the venue says of one order: one record, or none if it is too early to tell.
fn status_of(ours: &WorkingOrder, calls: &mut impl RestCalls, now_ns: u64) -> Result<Option<OrderRecord>, ReconcileError> {
    let query = RestQuery::Order { instrument: ours.instrument, order: ours.order };
    let RestReply::Orders(found) = calls.call(&query)? else { return Err(ReconcileError::Unexpected("order")) };
    if let Some(record) = found.into_iter().find(|r| r.order == Some(ours.order)) {
        return Ok(Some(record));
    }
    if now_ns.saturating_sub(ours.sent_ns) < GRACE_NS {
        return Ok(None);
    }
    Ok(Some(OrderRecord {
        instrument: ours.instrument,
        order: Some(ours.order),
        venue_order_id: String::new(),
        side: ours.side,
        price: ours.price,
        qty: ours.qty,
        filled: Qty::ZERO,
        status: VenueOrderStatus::NotFound,
    }))
}

/// The fills of those orders of which the venue counts more filled than we do, oldest first.
fn missing_fills(
    working: &[WorkingOrder],
    records: &[OrderRecord],
    calls: &mut impl RestCalls,
) -> Result<Vec<(OrderId, FillRecord)>, ReconcileError> {
    let mut behind: Vec<(&WorkingOrder, &OrderRecord)> = Vec::new();
    for record in records {
        if let Some(ours) = working.iter().find(|w| Some(w.order) == record.order)
            && record.filled > ours.filled
        {
            behind.push((ours, record));
        }
    }
    let instruments: BTreeSet<InstrumentId> = behind.iter().map(|(w, _)| w.instrument).collect();
    let mut found = Vec::new();
    for instrument in instruments {
        let concerned: Vec<_> = behind.iter().filter(|(w, _)| w.instrument == instrument).collect();
        let oldest = concerned.iter().map(|(w, _)| w.sent_ns).min().unwrap_or(0);
        let mut cursor = 0;
        for _ in 0..FILL_PAGES_MAX {
            let query = RestQuery::Fills { instrument, since_ns: oldest.saturating_sub(FILL_MARGIN_NS), cursor };
            let RestReply::Fills { fills, next } = calls.call(&query)? else { return Err(ReconcileError::Unexpected("fills")) };
            for fill in fills {
                let owner = concerned.iter().find(|(w, r)| {
                    fill.order == Some(w.order)
                        || (fill.order.is_none() && !r.venue_order_id.is_empty() && fill.venue_order_id == r.venue_order_id)
                });
                if let Some((ours, _)) = owner {
                    found.push((ours.order, fill));
                }
            }
            match next {
                Some(n) => cursor = n,
                None => break,
            }
        }
    }
    found.sort_by_key(|(order, fill)| (fill.time_ns, fill.trade_id, *order));
    Ok(found)
}

fn push_fill(events: &mut Vec<Event>, venue: VenueId, order: OrderId, fill: &FillRecord, times: Times) {
    let cold = flags::COLD | flags::SNAPSHOT;
    if let Some(asset) = fill.fee_asset {
        events.push(Event::fill_fee(venue, fill.instrument, order, fill.trade_id, asset, fill.fee, times).at(fill.time_ns).with(cold));
    }
    let maker = if fill.maker { flags::MAKER } else { 0 };
    let event = Event::fill(venue, fill.instrument, order, fill.side, fill.price, fill.qty, fill.trade_id, times);
    events.push(event.at(fill.time_ns).with(cold | maker));
}

fn reconcile_mark(venue: VenueId, code: u32, open_count: u64, times: Times) -> Event {
    Event { code, a: open_count, flags: flags::COLD | flags::LAST, ..Event::new(EventKind::Reconcile, venue, times) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::fixed::Money;
    use engine_core::ids::AssetId;

    const NOW: u64 = 1_000_000_000_000_000_000;

    fn working(sequence: u32, filled: i64, age_ns: u64) -> WorkingOrder {
        WorkingOrder {
            order: OrderId::new(1, sequence),
            instrument: InstrumentId(0),
            side: Side::Buy,
            price: Price(100),
            qty: Qty(10),
            filled: Qty(filled),
            sent_ns: NOW - age_ns,
        }
    }

    fn record(ours: &WorkingOrder, filled: i64, status: VenueOrderStatus) -> OrderRecord {
        OrderRecord {
            instrument: ours.instrument,
            order: Some(ours.order),
            venue_order_id: format!("V{}", ours.order.sequence()),
            side: ours.side,
            price: ours.price,
            qty: ours.qty,
            filled: Qty(filled),
            status,
        }
    }

    fn fill(venue_order_id: &str, trade_id: u64, qty: i64) -> FillRecord {
        FillRecord {
            instrument: InstrumentId(0),
            order: None,
            venue_order_id: venue_order_id.into(),
            trade_id,
            side: Side::Buy,
            price: Price(100),
            qty: Qty(qty),
            fee: Money(5),
            fee_asset: Some(AssetId(1)),
            maker: true,
            time_ns: NOW - 1000 + trade_id,
        }
    }

    /// A venue with fixed answers.
    #[derive(Default)]
    struct Scripted {
        open: Vec<OrderRecord>,
        closed: Vec<OrderRecord>,
        pages: Vec<Vec<FillRecord>>,
        asked: Vec<RestQuery>,
        fail_balances: bool,
    }

    impl RestCalls for Scripted {
        fn call(&mut self, query: &RestQuery) -> Result<RestReply, ReconcileError> {
            self.asked.push(query.clone());
            Ok(match query {
                RestQuery::OpenOrders => RestReply::Orders(self.open.clone()),
                RestQuery::Order { order, .. } => {
                    RestReply::Orders(self.closed.iter().filter(|r| r.order == Some(*order)).cloned().collect())
                }
                RestQuery::Fills { cursor, .. } => {
                    let page = *cursor as usize;
                    let next = (page + 1 < self.pages.len()).then_some(*cursor + 1);
                    RestReply::Fills { fills: self.pages.get(page).cloned().unwrap_or_default(), next }
                }
                RestQuery::Balances if self.fail_balances => return Err(ReconcileError::Call("HTTP 503".into())),
                RestQuery::Balances => RestReply::Balances(vec![(AssetId(0), Money(7), Money(6))]),
                _ => return Err(ReconcileError::Unexpected("query")),
            })
        }
    }

    #[test]
    fn missed_fills_come_before_the_state_of_their_order() {
        let (a, b) = (working(1, 2, 9_000_000_000), working(2, 0, 9_000_000_000));
        let mut venue = Scripted {
            open: vec![record(&a, 5, VenueOrderStatus::Open)],
            closed: vec![record(&b, 10, VenueOrderStatus::Filled)],
            pages: vec![vec![fill("V1", 1, 2), fill("OTHER", 2, 1)], vec![fill("V2", 4, 10), fill("V1", 3, 3)]],
            ..Scripted::default()
        };
        let events = reconcile(VenueId(1), &[a, b], &mut venue, NOW).unwrap();
        let kinds: Vec<_> = events.iter().map(|e| (e.event_kind().unwrap(), e.d)).collect();
        use EventKind as K;
        let trades: Vec<u64> = kinds.iter().filter(|(k, _)| *k == K::OrderFill).map(|(_, d)| *d).collect();
        assert_eq!(trades, [1, 3, 4], "oldest first, strangers left out; known ones are the core's to drop");
        assert_eq!(kinds.first().unwrap().0, K::Reconcile);
        assert_eq!(kinds.last().unwrap().0, K::Reconcile);
        let last_fill = kinds.iter().rposition(|(k, _)| *k == K::OrderFill).unwrap();
        let first_status = kinds.iter().position(|(k, _)| *k == K::OrderStatus).unwrap();
        assert!(last_fill < first_status);
        assert!(events.iter().all(|e| e.has(flags::COLD) && e.venue == 1));
    }

    #[test]
    fn silence_is_not_evidence_until_the_grace_time_is_over() {
        let (young, old) = (working(1, 0, GRACE_NS - 1), working(2, 0, GRACE_NS));
        let mut venue = Scripted::default();
        let events = reconcile(VenueId(0), &[young, old], &mut venue, NOW).unwrap();
        let gone: Vec<_> = events.iter().filter(|e| e.event_kind() == Some(EventKind::OrderStatus)).collect();
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].order_id(), old.order);
        assert_eq!(gone[0].code, VenueOrderStatus::NotFound as u32);
        assert_eq!(query_order(VenueId(0), &young, &mut venue, NOW).unwrap(), []);
    }

    #[test]
    fn a_failed_request_concludes_nothing() {
        let mut venue = Scripted { fail_balances: true, ..Scripted::default() };
        assert!(reconcile(VenueId(0), &[working(1, 0, GRACE_NS)], &mut venue, NOW).is_err());
    }

    #[test]
    fn orders_of_strangers_are_reported_without_an_id() {
        let mut stranger = record(&working(9, 0, 0), 0, VenueOrderStatus::Open);
        stranger.order = None;
        let mut venue = Scripted { open: vec![stranger], ..Scripted::default() };
        let events = reconcile(VenueId(0), &[], &mut venue, NOW).unwrap();
        assert_eq!(events[1].order_id(), OrderId::NONE);
        assert_eq!(events.last().unwrap().a, 1, "counted as open");
    }
}
