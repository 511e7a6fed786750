//! The stream of public trades of one instrument: the last ones, and sums over a rolling time window.
//!
//! The one idea: sums are kept, not computed. A trade is added once when it comes and subtracted once when it
//! leaves the window, so volume and VWAP cost a field access. Sums are integers: no drift however long the
//! stream runs.
//!
//! Time is the core's (`core_time_ns`), so a replay sees the same windows. The ring is bounded: in a burst of
//! more trades than it holds, the oldest leave early and [`TradeStream::truncated`] counts them; the sums then
//! cover a shorter time than the window.

use crate::event::{Event, EventKind, Side, VALUE_MAX, flags};
use crate::fixed::{Price, Qty};
use crate::state_hash::StateHasher;

/// Most trades a stream may be configured to keep.
pub const CAPACITY_MAX: usize = 1 << 16;

/// One public trade.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trade {
    /// Price.
    pub price: Price,
    /// Quantity.
    pub qty: Qty,
    /// The aggressor's side.
    pub side: Side,
    /// When the core took it in: nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// The venue's trade id.
    pub trade_id: u64,
}

const NO_TRADE: Trade = Trade { price: Price(0), qty: Qty(0), side: Side::Buy, time_ns: 0, trade_id: 0 };

/// Sums over the window, by aggressor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sums {
    qty: i128,
    /// Price times quantity, in units of 10^-(price scale + quantity scale).
    notional: i128,
    count: u32,
}

/// Recent trades of one instrument. See the module header.
#[derive(Clone, Debug)]
pub struct TradeStream {
    ring: Vec<Trade>,
    /// Index of the oldest trade.
    head: usize,
    len: usize,
    window_ns: u64,
    now_ns: u64,
    /// By the aggressor's [`Side::index`].
    sums: [Sums; 2],
    total: u64,
    truncated: u64,
    malformed: u64,
}

impl TradeStream {
    /// Keeps up to `capacity` trades (clamped to 1 ..= [`CAPACITY_MAX`]) of the last `window_ns` nanoseconds. Allocates all
    /// it will ever use.
    pub fn new(capacity: usize, window_ns: u64) -> TradeStream {
        TradeStream {
            ring: vec![NO_TRADE; capacity.clamp(1, CAPACITY_MAX)],
            head: 0,
            len: 0,
            window_ns,
            now_ns: 0,
            sums: [Sums::default(); 2],
            total: 0,
            truncated: 0,
            malformed: 0,
        }
    }

    /// Takes a `Trade` event of this instrument. Returns the trade if it is news: not other kinds, not trades that came before
    /// the subscription (flag SNAPSHOT), not impossible values (counted).
    #[inline]
    pub fn apply(&mut self, event: &Event) -> Option<Trade> {
        if event.event_kind() != Some(EventKind::Trade) || event.has(flags::SNAPSHOT) {
            return None;
        }
        let (price, qty) = (event.level_price(), event.level_qty());
        let sane = (1..=VALUE_MAX).contains(&price.0) && (1..=VALUE_MAX).contains(&qty.0);
        let Some(side) = event.side().filter(|_| sane) else {
            self.malformed += 1;
            return None;
        };
        self.advance(event.core_time_ns);
        if self.len == self.ring.len() {
            self.truncated += 1;
            self.drop_oldest();
        }
        let trade = Trade { price, qty, side, time_ns: self.now_ns, trade_id: event.c };
        let at = self.place(self.len);
        self.ring[at] = trade;
        self.len += 1;
        self.total += 1;
        let sums = &mut self.sums[side.index()];
        sums.qty += i128::from(qty.0);
        sums.notional += i128::from(price.0) * i128::from(qty.0);
        sums.count += 1;
        Some(trade)
    }

    /// Lets trades older than the window go. Time that goes backwards is ignored. Amortised constant: each trade leaves once.
    #[inline]
    pub fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        let oldest_kept = self.now_ns.saturating_sub(self.window_ns);
        while self.len > 0 && self.ring[self.head].time_ns < oldest_kept {
            self.drop_oldest();
        }
    }

    /// When the oldest trade leaves the window; `None` without trades.
    #[inline]
    pub fn oldest_leaves_ns(&self) -> Option<u64> {
        (self.len > 0).then(|| self.ring[self.head].time_ns.saturating_add(self.window_ns).saturating_add(1))
    }

    #[inline]
    fn place(&self, nth: usize) -> usize {
        let at = self.head + nth;
        if at >= self.ring.len() { at - self.ring.len() } else { at }
    }

    #[inline]
    fn drop_oldest(&mut self) {
        let trade = self.ring[self.head];
        let sums = &mut self.sums[trade.side.index()];
        sums.qty -= i128::from(trade.qty.0);
        sums.notional -= i128::from(trade.price.0) * i128::from(trade.qty.0);
        sums.count -= 1;
        self.head = self.place(1);
        self.len -= 1;
    }

    /// The last trade still in the window.
    #[inline]
    pub fn last(&self) -> Option<Trade> {
        (self.len > 0).then(|| self.ring[self.place(self.len - 1)])
    }

    /// Trades in the window, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Trade> + '_ {
        (0..self.len).map(|nth| self.ring[self.place(nth)])
    }

    /// Number of trades in the window.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if no trade is in the window.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Quantity traded in the window by aggressors of `side`; saturates.
    #[inline]
    pub fn volume(&self, side: Side) -> Qty {
        Qty(i64::try_from(self.sums[side.index()].qty).unwrap_or(i64::MAX))
    }

    /// Quantity traded in the window; saturates.
    #[inline]
    pub fn total_volume(&self) -> Qty {
        Qty(i64::try_from(self.sums[0].qty + self.sums[1].qty).unwrap_or(i64::MAX))
    }

    /// Volume-weighted average price over the window, rounded towards zero; `None` without trades.
    #[inline]
    pub fn vwap(&self) -> Option<Price> {
        let qty = self.sums[0].qty + self.sums[1].qty;
        let notional = self.sums[0].notional + self.sums[1].notional;
        (qty > 0).then(|| Price((notional / qty) as i64))
    }

    /// Length of the window in nanoseconds.
    #[inline]
    pub fn window_ns(&self) -> u64 {
        self.window_ns
    }

    /// Trades taken in since the start.
    #[inline]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Trades that left before their time because the ring was full.
    #[inline]
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Trade events with an impossible price, quantity or side.
    #[inline]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Writes the state that decides the answers: the sums and the ends of the window (the ring in between follows from them
    /// and the journal). `now_ns`: up to when nothing has left the window that is still in it.
    pub fn hash_state(&self, hasher: &mut StateHasher, now_ns: u64) {
        hasher.write_u64(self.now_ns.max(now_ns));
        hasher.write_u64(self.total);
        hasher.write_u64(self.truncated);
        hasher.write_usize(self.len);
        for sums in &self.sums {
            hasher.write_i128(sums.qty);
            hasher.write_i128(sums.notional);
            hasher.write_u32(sums.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Times;
    use crate::ids::{InstrumentId, VenueId};
    use proptest::prelude::*;

    fn trade(side: Side, price: i64, qty: i64, time_ns: u64) -> Event {
        let times = Times { core_ns: time_ns, poll_delay_ns: 0 };
        Event::trade(VenueId(0), InstrumentId(0), side, Price(price), Qty(qty), time_ns, times)
    }

    #[test]
    fn trades_leave_the_window_at_its_end_and_not_before() {
        let mut stream = TradeStream::new(8, 100);
        stream.apply(&trade(Side::Buy, 10, 3, 1_000));
        stream.apply(&trade(Side::Sell, 20, 1, 1_050));
        assert_eq!(stream.vwap(), Some(Price((10 * 3 + 20) / 4)));
        stream.advance(1_100);
        assert_eq!(stream.len(), 2, "exactly the window old is still in it");
        stream.advance(1_101);
        assert_eq!((stream.len(), stream.volume(Side::Buy), stream.volume(Side::Sell)), (1, Qty(0), Qty(1)));
        stream.advance(10);
        assert_eq!(stream.len(), 1, "time does not go backwards");
        stream.advance(5_000);
        assert_eq!((stream.last(), stream.vwap()), (None, None));
    }

    #[test]
    fn burst_beyond_the_ring_drops_the_oldest_and_counts() {
        let mut stream = TradeStream::new(3, u64::MAX);
        for i in 1..=5 {
            stream.apply(&trade(Side::Buy, i, i, i as u64));
        }
        assert_eq!(stream.iter().map(|t| t.price.0).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!((stream.truncated(), stream.total(), stream.total_volume()), (2, 5, Qty(12)));
    }

    #[test]
    fn snapshot_trades_and_impossible_values_are_not_news() {
        let mut stream = TradeStream::new(4, 1_000);
        assert!(stream.apply(&trade(Side::Buy, 10, 1, 5).with(flags::SNAPSHOT)).is_none());
        for (price, qty) in [(0, 1), (1, 0), (-1, 1), (1, i64::MIN), (i64::MAX, 1), (1, VALUE_MAX + 1)] {
            assert!(stream.apply(&trade(Side::Buy, price, qty, 5)).is_none(), "{price} {qty}");
        }
        let sideless = Event { side: 0, ..trade(Side::Buy, 1, 1, 5) };
        assert!(stream.apply(&sideless).is_none());
        assert_eq!((stream.malformed(), stream.total()), (7, 0));
    }

    proptest! {
        #[test]
        fn sums_equal_those_of_the_trades_in_the_ring(
            steps in proptest::collection::vec((any::<bool>(), 1..=VALUE_MAX, 1..=VALUE_MAX, 0u64..50), 1..200),
            capacity in 1usize..40,
            window in 0u64..400,
        ) {
            let mut stream = TradeStream::new(capacity, window);
            let mut now = 1_000;
            for (buy, price, qty, dt) in steps {
                now += dt;
                stream.apply(&trade(if buy { Side::Buy } else { Side::Sell }, price, qty, now));
                let qty: i128 = stream.iter().map(|t| i128::from(t.qty.0)).sum();
                let notional: i128 = stream.iter().map(|t| i128::from(t.price.0) * i128::from(t.qty.0)).sum();
                prop_assert!(stream.len() <= capacity && stream.iter().all(|t| t.time_ns + window >= now));
                prop_assert_eq!(stream.sums[0].qty + stream.sums[1].qty, qty);
                prop_assert_eq!(stream.vwap(), Some(Price((notional / qty) as i64)));
            }
        }
    }
}
