//! The L2 book of one instrument: depth, best quote, and whether either may be trusted.
//!
//! The one idea: *an untrusted book has no prices.* A book is invalid from the start, and again after a
//! gap, a failed checksum, a crossing or a lost connection; while it is invalid every query answers
//! "nothing", so that no caller can trade on it by forgetting to ask. A complete snapshot makes it
//! valid again:
//!
//! ```text
//!              level with CLEAR                     event with LAST, not crossed
//!  Invalid ───────────────────────► Loading ─────────────────────────────────────► Valid
//!     ▲  levels without CLEAR          │ BookInvalid, malformed, crossed at LAST     │
//!     │  are ignored and counted       ▼                                             │
//!     └─────────────────────────────────◄──── BookInvalid, malformed, crossed at LAST┘
//! ```
//!
//! **Depth.** Near the touch, where nearly all changes are, a price is its own address: see `ladder`. What a change of a
//! level reads and writes is seven cache lines: two of the book, one of each side, two of the level and the event.
//!
//! **Capacity and window.** A side holds at most [`BookConfig::capacity`] levels: past it, the deepest level
//! is dropped and counted ([`BookCounters::overflowed`]). The rest of the book stays exact, but below the
//! dropped level it may have holes until the venue mentions those levels again (the same is true of
//! any venue that sends a limited snapshot). Venues that publish a fixed window and no deletes for levels
//! pushed out of it (Kraken) need [`BookConfig::window`]: each side is cut to it at the end of each message.
//!
//! **Best quote.** Many venues send the best bid and ask faster than the depth. The quote is kept apart and
//! merged by the venue's sequence counter: where it is newer than the depth, it is the top of the book, and depth
//! levels at or above it are known to be gone. A codec whose best-quote stream does not share the depth's counter
//! sends sequence 0, which is never newer.

mod ladder;

use crate::event::{BookInvalid, Event, EventKind, Side, VALUE_MAX, flags};
use crate::fixed::{Price, Qty};
use crate::ids::VenueId;
use crate::prefetch::prefetch_lines;
use crate::state_hash::StateHasher;
use ladder::{Ladder, Near, Walk};

/// Most levels a side may be configured to hold.
pub const CAPACITY_MAX: usize = 10_000;

/// Prices and quantities below this are within [`VALUE_MAX`]: a power of two.
const PLAIN_MAX: u64 = 1 << 56;
const _: () = assert!(PLAIN_MAX < VALUE_MAX as u64);

/// What the hot path gives back, as whole words: a value put together from its parts would have to be taken apart and put together
/// again wherever ways meet.
const PARTIAL: BookChange = BookChange::Partial;
const UPDATED: [BookChange; 2] = [BookChange::Updated { top: false }, BookChange::Updated { top: true }];

/// No window.
const NO_WINDOW: u32 = u32::MAX;

/// Size and kind of a book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BookConfig {
    /// Levels a side, clamped to 1 ..= [`CAPACITY_MAX`]. With a window, leave room above it for one message's levels.
    pub capacity: usize,
    /// Levels a side kept at the end of each message, for venues that publish a fixed window; `None` for full depth.
    pub window: Option<usize>,
    /// The instrument has no depth feed: best quotes alone make the book valid.
    pub top_only: bool,
}

impl Default for BookConfig {
    fn default() -> BookConfig {
        BookConfig { capacity: 1024, window: None, top_only: false }
    }
}

/// One price level. Quantity is positive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level {
    /// Price.
    pub price: Price,
    /// Resting quantity.
    pub qty: Qty,
}

impl Level {
    /// No level.
    const NONE: Level = Level { price: Price(0), qty: Qty(0) };

    #[inline]
    fn exists(self) -> Option<Level> {
        if self.qty.0 == 0 { None } else { Some(self) }
    }
}

/// Whether a book may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Validity {
    /// Not to be used, and why.
    Invalid(BookInvalid),
    /// A snapshot is coming in; not to be used yet.
    Loading(BookInvalid),
    /// In step with the venue.
    Valid,
}

/// What an event did to the book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BookChange {
    /// Nothing that a reader could see.
    Ignored,
    /// The message goes on; look at its last event.
    Partial,
    /// A message ended and the book is valid. `top` is true if best price or quantity of a side differ from before.
    Updated {
        /// The top of the book moved.
        top: bool,
    },
    /// A snapshot ended: valid from here on.
    Validated,
    /// Invalid from here on (it was valid or loading).
    Invalidated(BookInvalid),
}

/// What happened to a book since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BookCounters {
    /// Level and quote events that were applied.
    pub applied: u64,
    /// Level and quote events that came while the book was invalid, or late by sequence.
    pub ignored: u64,
    /// Deepest levels dropped because a side was full.
    pub overflowed: u64,
    /// Times the book crossed itself.
    pub crossed: u64,
    /// Times an event had an impossible price, quantity or side.
    pub malformed: u64,
    /// Completed snapshots.
    pub snapshots: u64,
    /// Times a usable or loading book became invalid.
    pub invalidated: u64,
    /// Best quotes set aside because bid and ask crossed each other.
    pub quotes_crossed: u64,
}

/// What it takes to fill a quantity from the book.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sweep {
    /// Quantity that the book fills within the limit.
    pub qty: Qty,
    /// Sum of price times quantity, in units of 10^-(price scale + quantity scale). At most 2^63 * [`VALUE_MAX`].
    pub cost: i128,
    /// The worst price touched; zero if nothing fills.
    pub worst: Price,
}

impl Sweep {
    /// Volume-weighted average price, rounded towards zero; `None` if nothing fills.
    #[inline]
    pub fn vwap(&self) -> Option<Price> {
        (self.qty.0 > 0).then(|| Price((self.cost / i128::from(self.qty.0)) as i64))
    }
}

/// The best bid and ask from their own stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Quote {
    sequence: u64,
    /// A message ended with both sides known and not crossed.
    usable: bool,
    /// By [`Side::index`]; `None` if never seen, quantity 0 if the side is empty.
    sides: [Option<Level>; 2],
}

/// The book of one instrument. See the module header.
///
/// In the order of use: the first cache line for every level, the second for the end of every message.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub struct Book {
    state: Validity,
    sequence: u64,
    updated_ns: u64,
    venue_time_ns: u64,
    applied: u64,
    overflowed: u64,
    /// As in the configuration; [`NO_WINDOW`] if there is none.
    window: u32,
    top_only: bool,
    /// Whose book it is: a note of its keeper, nothing to the book.
    pub(crate) venue: VenueId,

    /// Top of the book after the last complete message, by [`Side::index`]; quantity 0 if the side is empty.
    top: [Level; 2],
    quote: Quote,

    ladders: [Ladder; 2],
    config: BookConfig,
    /// Those of above left out.
    counters: BookCounters,
}

impl Book {
    /// An empty, invalid book. Allocates all it will ever use.
    pub fn new(config: BookConfig) -> Book {
        Book::with_tick(config, Price(1))
    }

    /// As [`Book::new`], for prices that are multiples of `tick`: no more than a hint, which makes the book faster.
    pub fn with_tick(config: BookConfig, tick: Price) -> Book {
        let capacity = config.capacity.clamp(1, CAPACITY_MAX);
        let config = BookConfig { capacity, window: config.window.map(|w| w.clamp(1, capacity)), ..config };
        Book {
            state: Validity::Invalid(BookInvalid::Initial),
            sequence: 0,
            updated_ns: 0,
            venue_time_ns: 0,
            applied: 0,
            overflowed: 0,
            window: config.window.map_or(NO_WINDOW, |w| w as u32),
            top_only: config.top_only,
            venue: VenueId(0),
            top: [Level::NONE; 2],
            quote: Quote::default(),
            ladders: [Ladder::new(Side::Buy, capacity, tick), Ladder::new(Side::Sell, capacity, tick)],
            config,
            counters: BookCounters::default(),
        }
    }

    /// Applies a `BookLevel`, `BookInvalid`, `TopOfBook` or `BookTouch` event of this instrument; other kinds are ignored.
    #[inline(always)]
    pub fn apply(&mut self, event: &Event) -> BookChange {
        if event.kind != EventKind::BookLevel as u8 || event.has(flags::CLEAR) {
            return self.apply_other(event);
        }
        match self.take_near(event) {
            Near::Set if event.has(flags::LAST) => self.end_message(),
            Near::Set => PARTIAL,
            near => self.apply_rest(event, near),
        }
    }

    /// What [`Book::take_near`] has left of a level.
    #[inline(never)]
    fn apply_rest(&mut self, event: &Event, near: Near) -> BookChange {
        match self.take_rest(event, near) {
            Ok(()) if event.has(flags::LAST) => self.end_message(),
            Ok(()) => BookChange::Partial,
            Err(change) => change,
        }
    }

    /// Any event but a level that begins no snapshot.
    #[inline(never)]
    fn apply_other(&mut self, event: &Event) -> BookChange {
        match event.event_kind() {
            Some(EventKind::BookLevel) => {
                self.begin_snapshot();
                self.apply_rest(event, Near::Untouched)
            }
            Some(EventKind::TopOfBook) => self.apply_quote(event),
            Some(EventKind::BookTouch) => self.apply_touch(event),
            Some(EventKind::BookInvalid) => {
                self.stamp(event);
                self.invalidate(BookInvalid::from_raw(event.code).unwrap_or(BookInvalid::Malformed))
            }
            _ => BookChange::Ignored,
        }
    }

    /// Makes the book invalid. A later reason replaces an earlier one.
    #[cold]
    pub fn invalidate(&mut self, reason: BookInvalid) -> BookChange {
        let was_in_use = !matches!(self.state, Validity::Invalid(_));
        self.state = Validity::Invalid(reason);
        self.ladders[0].clear(false);
        self.ladders[1].clear(false);
        self.sequence = 0;
        self.quote = Quote::default();
        self.top = [Level::NONE; 2];
        self.counters.invalidated += u64::from(was_in_use);
        if was_in_use { BookChange::Invalidated(reason) } else { BookChange::Ignored }
    }

    /// Takes the level of a `BookLevel` event that begins no snapshot. If that is the last of its message,
    /// [`Book::end_message`] is to follow.
    #[inline(always)]
    pub(crate) fn take_level(&mut self, event: &Event) -> Result<(), BookChange> {
        match self.take_near(event) {
            Near::Set => Ok(()),
            near => self.take_rest(event, near),
        }
    }

    /// As [`Book::take_level`], as far as it goes without a call; [`Book::take_rest`] is to follow unless that was all.
    #[inline(always)]
    fn take_near(&mut self, event: &Event) -> Near {
        let (price, qty) = (event.level_price(), event.level_qty());
        // What markets have passes at one look.
        let plain = ((price.0.wrapping_sub(1) | qty.0) as u64) < PLAIN_MAX;
        if matches!(self.state, Validity::Invalid(_)) || !plain {
            return Near::Untouched;
        }
        let side = usize::from(event.side).wrapping_sub(Side::Buy as usize);
        let Some(ladder) = self.ladders.get_mut(side) else { return Near::Untouched };
        let near = ladder.set_near(price, qty);
        if near == Near::Set {
            self.taken(event);
        }
        near
    }

    /// What [`Book::take_near`] has left of a level.
    #[inline(never)]
    fn take_rest(&mut self, event: &Event, near: Near) -> Result<(), BookChange> {
        if matches!(self.state, Validity::Invalid(_)) {
            return Err(self.ignore());
        }
        let (price, qty) = (event.level_price(), event.level_qty());
        let Some(side) = event.side().filter(|_| is_sane(price, qty)) else { return Err(self.malformed()) };
        let ladder = &mut self.ladders[side.index()];
        let dropped = if near == Near::Untouched { ladder.set(price, qty) } else { ladder.set_rest(price, qty, near) };
        if dropped {
            self.overflowed = self.overflowed.wrapping_add(1);
        }
        self.taken(event);
        Ok(())
    }

    /// Notes that a level was taken.
    #[inline(always)]
    fn taken(&mut self, event: &Event) {
        self.applied = self.applied.wrapping_add(1);
        self.sequence = event.c;
        self.stamp(event);
    }

    #[cold]
    fn ignore(&mut self) -> BookChange {
        self.counters.ignored += 1;
        BookChange::Ignored
    }

    #[cold]
    fn malformed(&mut self) -> BookChange {
        self.counters.malformed += 1;
        self.invalidate(BookInvalid::Malformed)
    }

    fn apply_touch(&mut self, event: &Event) -> BookChange {
        if event.has(flags::CLEAR) {
            self.begin_snapshot();
        }
        if matches!(self.state, Validity::Invalid(_)) {
            return BookChange::Ignored;
        }
        self.sequence = self.sequence.max(event.c);
        self.stamp(event);
        if event.has(flags::LAST) { self.end_message() } else { BookChange::Partial }
    }

    #[inline]
    fn apply_quote(&mut self, event: &Event) -> BookChange {
        let Some((side, level)) = checked_quote(event) else { return self.malformed() };
        if event.c < self.quote.sequence {
            self.counters.ignored += 1;
            return BookChange::Ignored;
        }
        self.quote.sequence = event.c;
        self.quote.sides[side.index()] = Some(level);
        self.quote.usable = false;
        self.applied += 1;
        if !event.has(flags::LAST) {
            return BookChange::Partial;
        }
        let uncrossed = match self.quote.sides {
            [Some(bid), Some(ask)] => bid.qty.is_zero() || ask.qty.is_zero() || bid.price < ask.price,
            _ => false,
        };
        self.quote.usable = uncrossed;
        self.counters.quotes_crossed += u64::from(!uncrossed && self.quote.sides.iter().all(Option::is_some));
        match self.state {
            Validity::Valid => {
                self.stamp(event);
                self.updated()
            }
            Validity::Invalid(_) if self.top_only && uncrossed => {
                self.stamp(event);
                self.state = Validity::Valid;
                self.counters.snapshots += 1;
                self.updated();
                BookChange::Validated
            }
            _ => BookChange::Ignored,
        }
    }

    #[cold]
    fn begin_snapshot(&mut self) {
        let reason = match self.state {
            Validity::Invalid(reason) | Validity::Loading(reason) => reason,
            Validity::Valid => BookInvalid::Initial,
        };
        self.state = Validity::Loading(reason);
        self.ladders[0].clear(true);
        self.ladders[1].clear(true);
        self.sequence = 0;
        self.top = [Level::NONE; 2];
    }

    #[inline]
    fn stamp(&mut self, event: &Event) {
        self.updated_ns = self.updated_ns.max(event.core_time_ns);
        if event.venue_time_ns != 0 {
            self.venue_time_ns = event.venue_time_ns;
        }
    }

    /// Cuts to the window, checks for crossing, notes the new top.
    #[inline(always)]
    pub(crate) fn end_message(&mut self) -> BookChange {
        let window = self.window as usize;
        if matches!(self.state, Validity::Valid)
            && !self.quote.usable
            && let Some(bid) = self.ladders[0].best(Side::Buy)
            && let Some(ask) = self.ladders[1].best(Side::Sell)
            && bid.price < ask.price
            && self.ladders[0].len() <= window
            && self.ladders[1].len() <= window
        {
            return self.updated_to([bid, ask]);
        }
        self.end_message_slowly()
    }

    /// As [`Book::end_message`], whatever the message has brought.
    #[inline(never)]
    fn end_message_slowly(&mut self) -> BookChange {
        let loading = matches!(self.state, Validity::Loading(_));
        for ladder in &mut self.ladders {
            if loading {
                ladder.settle();
            }
            ladder.truncate(self.window as usize);
        }
        let [bid, ask] = [Side::Buy, Side::Sell].map(|side| self.depth_best(side));
        if bid.qty.0 != 0 && ask.qty.0 != 0 && bid.price >= ask.price {
            self.counters.crossed += 1;
            return self.invalidate(BookInvalid::Crossed);
        }
        self.state = Validity::Valid;
        let change = if self.quote_leads() { self.updated() } else { self.updated_to([bid, ask]) };
        if loading {
            self.counters.snapshots += 1;
            return BookChange::Validated;
        }
        change
    }

    #[inline]
    fn updated(&mut self) -> BookChange {
        self.updated_to([self.merged_best(Side::Buy), self.merged_best(Side::Sell)])
    }

    #[inline]
    fn updated_to(&mut self, top: [Level; 2]) -> BookChange {
        // Without a branch for each of the four numbers.
        let differ = |a: Level, b: Level| (a.price.0 ^ b.price.0) | (a.qty.0 ^ b.qty.0);
        let moved = (differ(top[0], self.top[0]) | differ(top[1], self.top[1])) != 0;
        self.top = top;
        UPDATED[usize::from(moved)]
    }

    /// True if the best quote is newer than the depth.
    #[inline]
    fn quote_leads(&self) -> bool {
        self.quote.usable && (self.quote.sequence > self.sequence || self.top_only)
    }

    /// Quantity 0 if the side is empty.
    #[inline]
    fn merged_best(&self, side: Side) -> Level {
        if self.quote_leads() {
            return self.quote.sides[side.index()].filter(|level| !level.qty.is_zero()).unwrap_or(Level::NONE);
        }
        self.depth_best(side)
    }

    /// Quantity 0 if the side is empty.
    #[inline]
    fn depth_best(&self, side: Side) -> Level {
        self.ladders[side.index()].best(side).unwrap_or(Level::NONE)
    }

    /// Asks for what every message reads of the book.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch_lines(self, 3);
        self.ladders.iter().for_each(Ladder::prefetch);
    }

    /// Asks for what a change of this level reads.
    #[inline]
    pub(crate) fn prefetch_level(&self, side: Side, price: Price) {
        self.ladders[side.index()].prefetch_level(price);
    }

    /// Whether the book may be used.
    #[inline]
    pub fn state(&self) -> Validity {
        self.state
    }

    /// True if the book is in step with the venue.
    #[inline]
    pub fn is_valid(&self) -> bool {
        matches!(self.state, Validity::Valid)
    }

    /// Nanoseconds since the last event that confirmed the book; `u64::MAX` if there was none.
    #[inline]
    pub fn age_ns(&self, now_ns: u64) -> u64 {
        if self.updated_ns == 0 { u64::MAX } else { now_ns.saturating_sub(self.updated_ns) }
    }

    /// True if the book is valid and was confirmed within the last `age_ns_max` nanoseconds.
    #[inline]
    pub fn is_fresh(&self, now_ns: u64, age_ns_max: u64) -> bool {
        self.is_valid() && self.age_ns(now_ns) <= age_ns_max
    }

    /// Core time of the last event that confirmed the book (nanoseconds since the Unix epoch; 0 if none).
    #[inline]
    pub fn updated_ns(&self) -> u64 {
        self.updated_ns
    }

    /// The venue's time of the last event that had one (nanoseconds since the Unix epoch; 0 if none).
    #[inline]
    pub fn venue_time_ns(&self) -> u64 {
        self.venue_time_ns
    }

    /// The venue's sequence of the depth.
    #[inline]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What happened so far.
    #[inline]
    pub fn counters(&self) -> BookCounters {
        BookCounters { applied: self.applied, overflowed: self.overflowed, ..self.counters }
    }

    /// Deepest levels dropped so far because a side was full.
    #[inline]
    pub(crate) fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Size and kind, as clamped by [`Book::new`].
    #[inline]
    pub fn config(&self) -> &BookConfig {
        &self.config
    }

    /// The best level of a side, quote and depth merged, as of the last complete message.
    #[inline]
    pub fn best(&self, side: Side) -> Option<Level> {
        if self.is_valid() { self.top[side.index()].exists() } else { None }
    }

    /// The best bid.
    #[inline]
    pub fn bid(&self) -> Option<Level> {
        self.best(Side::Buy)
    }

    /// The best ask.
    #[inline]
    pub fn ask(&self) -> Option<Level> {
        self.best(Side::Sell)
    }

    /// Best bid and ask, if both sides have one.
    #[inline]
    pub fn top(&self) -> Option<(Level, Level)> {
        Some((self.bid()?, self.ask()?))
    }

    /// The middle between best bid and ask, rounded down to a price unit.
    #[inline]
    pub fn mid(&self) -> Option<Price> {
        self.top().map(|(bid, ask)| Price((bid.price.0 + ask.price.0) >> 1))
    }

    /// Number of depth levels held on a side (0 while invalid).
    #[inline]
    pub fn depth(&self, side: Side) -> usize {
        if self.is_valid() { self.ladders[side.index()].len() } else { 0 }
    }

    /// Level `index` of the merged book (0 = best).
    #[inline]
    pub fn level(&self, side: Side, index: usize) -> Option<Level> {
        self.levels(side).nth(index)
    }

    /// All levels of a side, best first, quote and depth merged. Empty while the book is invalid.
    #[inline]
    pub fn levels(&self, side: Side) -> Levels<'_> {
        let depth = self.ladders[side.index()].walk();
        if self.is_valid() && !self.quote.usable { Levels { quote: None, depth } } else { self.levels_merged(side, depth) }
    }

    #[inline(never)]
    fn levels_merged<'a>(&'a self, side: Side, mut depth: Walk<'a>) -> Levels<'a> {
        let mut quote = None;
        if !self.is_valid() {
            depth.end();
        } else if self.quote_leads() {
            quote = self.merged_best(side).exists();
            match quote {
                // Depth at or better than a newer best quote is known to be gone.
                Some(level) => depth.skip_to_worse_than(level.price),
                None => depth.end(),
            }
        }
        Levels { quote, depth }
    }

    /// Walks the side that an order on `taker_side` would take (a buy takes asks), from the best, until `qty` is
    /// filled, the next level is worse than `limit`, or the side ends.
    #[inline]
    pub fn sweep(&self, taker_side: Side, qty: Qty, limit: Option<Price>) -> Sweep {
        let mut sweep = Sweep::default();
        for level in self.levels(taker_side.opposite()) {
            let beyond = limit.is_some_and(|limit| (level.price.0 - limit.0) * taker_side.sign() > 0);
            let left = qty.0 - sweep.qty.0;
            if beyond || left <= 0 {
                break;
            }
            let take = left.min(level.qty.0);
            sweep.qty.0 += take;
            sweep.cost += i128::from(level.price.0) * i128::from(take);
            sweep.worst = level.price;
        }
        sweep
    }

    /// Resting quantity on `side` at `limit` or better; saturates.
    pub fn quantity_to(&self, side: Side, limit: Price) -> Qty {
        let within = |level: &Level| (limit.0 - level.price.0) * side.sign() <= 0;
        Qty(self.levels(side).take_while(within).fold(0i64, |sum, level| sum.saturating_add(level.qty.0)))
    }

    /// Writes the state that decides the book's answers. Constant time: levels are summed as they change.
    pub fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u32(match self.state {
            Validity::Invalid(reason) => reason as u32,
            Validity::Loading(reason) => 0x100 | reason as u32,
            Validity::Valid => 0x200,
        });
        for ladder in &self.ladders {
            hasher.write_usize(ladder.len());
            hasher.write_u64(ladder.digest());
        }
        for level in self.quote.sides.into_iter().chain(self.top.map(Level::exists)) {
            let level = level.unwrap_or(Level { price: Price(-1), qty: Qty(-1) });
            hasher.write_price(level.price);
            hasher.write_qty(level.qty);
        }
        hasher.write_u64(self.quote.sequence);
        hasher.write_bool(self.quote.usable);
        hasher.write_u64(self.sequence);
        hasher.write_u64(self.updated_ns);
    }
}

/// Levels of one side, best first. See [`Book::levels`].
#[derive(Clone, Debug)]
pub struct Levels<'a> {
    quote: Option<Level>,
    depth: Walk<'a>,
}

impl Iterator for Levels<'_> {
    type Item = Level;

    #[inline]
    fn next(&mut self) -> Option<Level> {
        self.quote.take().or_else(|| self.depth.next())
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.depth.left() + usize::from(self.quote.is_some());
        (len, Some(len))
    }
}

impl ExactSizeIterator for Levels<'_> {}

/// True if price and quantity of a level are within bounds.
fn is_sane(price: Price, qty: Qty) -> bool {
    (1..=VALUE_MAX).contains(&price.0) && (0..=VALUE_MAX).contains(&qty.0)
}

/// Side, price and quantity of a best quote, if they are within bounds. An empty side carries no price.
#[inline]
fn checked_quote(event: &Event) -> Option<(Side, Level)> {
    let level = Level { price: event.level_price(), qty: event.level_qty() };
    let price_min = i64::from(!level.qty.is_zero());
    let sane = (price_min..=VALUE_MAX).contains(&level.price.0) && (0..=VALUE_MAX).contains(&level.qty.0);
    event.side().filter(|_| sane).map(|side| (side, level))
}
