//! One order: what is known of it, and what it amounts to in the state hash.

use super::fills::Chain;
use super::state::OrderState;
use crate::event::Side;
use crate::fixed::{Money, Price, Qty};
use crate::ids::{InstrumentId, OrderId, StrategyId, VenueId};
use crate::state_hash::StateHasher;

/// The venue said that the order is gone, but fills that it counts have not arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closing {
    /// The final state that the venue stated.
    pub state: OrderState,
    /// Cumulative filled quantity that it stated.
    pub filled: Qty,
}

/// What an order binds while it is open: the worst case of price and quantity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reserved {
    /// Quantity that may still fill.
    pub qty: Qty,
    /// Held of the quote asset (buy) or the base asset (sell).
    pub hold: Money,
    /// Quote amount that would move, fees not counted. Follows from the rest of the order.
    pub notional: Money,
}

/// Which list of awaited things an order is threaded on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WaitList {
    None,
    InFlight,
    Unknown,
    Closed,
}

/// One order.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub struct Order {
    /// Our id.
    pub id: OrderId,
    /// Its instrument.
    pub instrument: InstrumentId,
    /// Whose it is.
    pub strategy: StrategyId,
    /// Its venue.
    pub venue: VenueId,
    /// Its side.
    pub side: Side,
    /// Its state.
    pub state: OrderState,
    /// Post-only.
    pub post_only: bool,
    /// Immediate or cancel.
    pub ioc: bool,
    /// The venue acknowledged it once, or filled some of it.
    pub acked: bool,
    pub(super) wait_list: WaitList,
    /// The last reconciliation of its venue that reported it.
    pub reported_round: u32,
    pub(super) fills: Chain,
    /// Limit price in force.
    pub price: Price,
    /// Total quantity in force.
    pub qty: Qty,
    /// Filled so far: the sum of booked fills.
    pub filled: Qty,
    /// What a closed order counts for in the table's digest of closed orders; 0 while it counts for nothing.
    pub(super) digest: u64,

    /// What it binds.
    pub reserved: Reserved,
    /// Set while the venue says that it is gone but owes us fills.
    pub closing: Option<Closing>,

    /// Price and total quantity of a replace that is not resolved.
    pub pending: Option<(Price, Qty)>,
    /// When it was placed: core time, nanoseconds since the Unix epoch.
    pub created_ns: u64,
    /// When the last request or question about it was sent.
    pub asked_ns: u64,
    /// When a cancel was sent last; 0 if never.
    pub cancel_sent_ns: u64,
    /// When it became final; 0 while it is open.
    pub closed_ns: u64,
    pub(super) fill_digest: u64,
}

const _: () = assert!(size_of::<Order>() == 192, "three cache lines");

impl Order {
    /// A new order, unsent.
    #[inline]
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        id: OrderId,
        strategy: StrategyId,
        instrument: InstrumentId,
        venue: VenueId,
        side: Side,
        price: Price,
        qty: Qty,
        now_ns: u64,
    ) -> Order {
        Order {
            id,
            instrument,
            strategy,
            venue,
            side,
            state: OrderState::New,
            post_only: false,
            ioc: false,
            acked: false,
            wait_list: WaitList::None,
            reported_round: 0,
            fills: Chain::EMPTY,
            price,
            qty,
            filled: Qty::ZERO,
            digest: 0,
            reserved: Reserved::default(),
            closing: None,
            pending: None,
            created_ns: now_ns,
            asked_ns: now_ns,
            cancel_sent_ns: 0,
            closed_ns: 0,
            fill_digest: 0,
        }
    }

    /// Quantity not filled, by what is in force; zero after an overfill.
    #[inline]
    pub fn remaining(&self) -> Qty {
        Qty((self.qty.0 - self.filled.0).max(0))
    }

    /// The largest total quantity that may be in force, a replace on its way counted.
    #[inline]
    pub fn qty_worst(&self) -> Qty {
        self.pending.map_or(self.qty, |(_, qty)| self.qty.max(qty))
    }

    /// The most aggressive price that may be in force (highest for a buy, lowest for a sell).
    #[inline]
    pub fn price_worst(&self) -> Price {
        match (self.pending, self.side) {
            (None, _) => self.price,
            (Some((price, _)), Side::Buy) => self.price.max(price),
            (Some((price, _)), Side::Sell) => self.price.min(price),
        }
    }

    /// Its most aggressive price, as a number that is larger the more aggressive it is.
    #[inline]
    pub(super) fn key(&self) -> i64 {
        self.price_worst().0 * self.side.sign()
    }

    /// All of it that needs less than a word, in one; bits 3 to 7 are free.
    #[inline(always)]
    fn small(&self) -> u64 {
        let flags = u64::from(self.post_only) | u64::from(self.ioc) << 1 | u64::from(self.acked) << 2;
        let places = u64::from(self.strategy.0) << 48 | u64::from(self.instrument.0) << 32 | u64::from(self.venue.0) << 24;
        places | u64::from(self.side as u8) << 16 | u64::from(self.state as u8) << 8 | flags
    }

    /// All that matters of it, in words.
    pub(super) fn words(&self) -> [u64; WORDS] {
        let flags = u64::from(self.pending.is_some()) << 3 | u64::from(self.closing.is_some()) << 4;
        let (pending_price, pending_qty) = self.pending.unwrap_or_default();
        let (hold_low, hold_high) = self.reserved.hold.to_words();
        [
            self.id.0,
            self.small() | flags,
            self.price.0 as u64,
            self.qty.0 as u64,
            self.filled.0 as u64,
            u64::from(self.reported_round),
            pending_price.0 as u64,
            pending_qty.0 as u64,
            self.closing.map_or(0, |closing| closing.state as u64),
            self.closing.map_or(0, |closing| closing.filled.0 as u64),
            self.reserved.qty.0 as u64,
            hold_low,
            hold_high,
            self.created_ns,
            self.asked_ns,
            self.cancel_sent_ns,
            self.closed_ns,
            self.fill_digest,
        ]
    }

    /// All that matters of a closed one (it binds nothing, waits for nothing), in words.
    pub(super) fn words_closed(&self) -> [u64; WORDS_CLOSED] {
        [
            self.id.0,
            self.small(),
            self.price.0 as u64,
            self.qty.0 as u64,
            self.filled.0 as u64,
            u64::from(self.reported_round),
            self.created_ns,
            self.asked_ns,
            self.cancel_sent_ns,
            self.closed_ns,
            self.fill_digest,
            0,
        ]
    }

    pub(super) fn write(&self, hasher: &mut StateHasher) {
        for word in self.words() {
            hasher.write_u64(word);
        }
    }
}

/// Words that an order amounts to.
const WORDS: usize = 18;
/// Words that a closed order amounts to; even.
const WORDS_CLOSED: usize = 12;

/// Keys of [`digest`]: SplitMix64 from zero.
const DIGEST_KEYS: [u64; WORDS_CLOSED] = {
    let mut keys = [0u64; WORDS_CLOSED];
    let mut i = 0;
    while i < WORDS_CLOSED {
        let mut z = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(i as u64 + 1);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        keys[i] = z ^ (z >> 31);
        i += 1;
    }
    keys
};

/// Mixes the words of a closed order; never 0. Pairs are multiplied independently of each other (the NH family of hash functions):
/// a third of the time that a [`StateHasher`] takes, in which each word waits for the one before.
pub(super) fn digest(words: &[u64; WORDS_CLOSED]) -> u64 {
    let mut sum = 0u64;
    for (pair, keys) in words.chunks_exact(2).zip(DIGEST_KEYS.chunks_exact(2)) {
        let product = u128::from(pair[0].wrapping_add(keys[0])) * u128::from(pair[1].wrapping_add(keys[1]));
        sum = sum.wrapping_add(product as u64 ^ (product >> 64) as u64);
    }
    sum | 1
}
