//! Why risk refuses an order: the catalogue.
//!
//! Each refusal has a number (stable: it is journalled), a name and a counter. The numbers follow the order
//! of the checks: gates first, then the order itself, then limits, then money, rates last. (Ids are looked up
//! as soon as they are needed: an unknown instrument has no venue to check.)

use crate::event::byte_enum;

byte_enum! {
    /// Why an order, replace or cancel was refused before it was sent.
    Refusal: u32 {
        // Gates: may anything be opened at all?
        /// No session started yet, so there is no epoch to make order ids from.
        NoSession = 0 => "no_session",
        /// Killed: by the operator, a loss limit or a breaker. Until `Resume`.
        Halted = 1 => "halted",
        /// Paused by the operator.
        Paused = 2 => "paused",
        /// The engine is stopping.
        ShuttingDown = 3 => "shutting_down",
        /// The strategy is disabled, by the operator or by its own loss limit.
        StrategyDisabled = 4 => "strategy_disabled",
        /// The cold plane cannot keep up with recording.
        ColdPlaneBehind = 5 => "cold_plane_behind",
        /// The venue's order entry is down or in maintenance.
        OrderEntryDown = 6 => "order_entry_down",
        /// The venue's records were not yet compared with ours since the session (or its last outage) began.
        NotReconciled = 7 => "not_reconciled",
        /// The venue's clock and ours differ by more than the limit.
        ClockSkew = 8 => "clock_skew",
        /// The instrument is not trading (halted, cancel-only, unknown status).
        InstrumentClosed = 9 => "instrument_closed",
        /// The instrument takes post-only orders only.
        PostOnlyMarket = 10 => "post_only_market",
        /// The instrument takes reducing orders only.
        ReduceOnlyMarket = 11 => "reduce_only_market",
        /// Our record and the venue's disagreed about this instrument; needs an operator's `Resume`.
        InstrumentSuspended = 12 => "instrument_suspended",
        /// The book is invalid (gap, checksum, crossed, disconnected).
        BookInvalid = 13 => "book_invalid",
        /// The book has not been heard of for longer than the limit.
        BookStale = 14 => "book_stale",

        // The order itself.
        /// Instrument id out of range.
        UnknownInstrument = 20 => "unknown_instrument",
        /// Not one of the strategy's instruments.
        InstrumentNotAllowed = 21 => "instrument_not_allowed",
        /// Price of zero or less, or beyond any sane bound.
        PriceOutOfBounds = 22 => "price_out_of_bounds",
        /// Price not a multiple of the tick.
        PriceOffTick = 23 => "price_off_tick",
        /// Quantity of zero or less, or beyond any sane bound.
        QtyOutOfBounds = 24 => "qty_out_of_bounds",
        /// Quantity not a multiple of the lot.
        QtyOffLot = 25 => "qty_off_lot",
        /// Below the venue's or our own minimum quantity.
        QtyBelowMin = 26 => "qty_below_min",
        /// Above the venue's or our own maximum quantity.
        QtyAboveMax = 27 => "qty_above_max",
        /// Below the minimum notional.
        NotionalBelowMin = 28 => "notional_below_min",
        /// Above the maximum notional.
        NotionalAboveMax = 29 => "notional_above_max",
        /// Post-only and immediate-or-cancel at once, or a flag that the venue cannot do.
        BadFlags = 30 => "bad_flags",
        /// No fresh price to compare with.
        NoReference = 31 => "no_reference",
        /// Farther from the reference price than the collar allows.
        PriceCollar = 32 => "price_collar",
        /// Would trade with an order of our own.
        SelfTrade = 33 => "self_trade",
        /// The same order was sent a moment ago.
        Duplicate = 34 => "duplicate",

        // Limits.
        /// Open orders of the instrument.
        OpenOrdersInstrument = 40 => "open_orders_instrument",
        /// Open orders of the venue.
        OpenOrdersVenue = 41 => "open_orders_venue",
        /// Open orders of the strategy.
        OpenOrdersStrategy = 42 => "open_orders_strategy",
        /// Open orders in all.
        OpenOrdersTotal = 43 => "open_orders_total",
        /// Position of the instrument, with all open orders filled.
        PositionInstrument = 44 => "position_instrument",
        /// Position of the strategy in the instrument, with all its open orders filled.
        PositionStrategy = 45 => "position_strategy",
        /// Net exposure in the base asset over all venues.
        ExposureAsset = 46 => "exposure_asset",
        /// Gross exposure on the venue, in the reporting asset.
        ExposureVenue = 47 => "exposure_venue",
        /// Gross exposure of the strategy, in the reporting asset.
        ExposureStrategy = 48 => "exposure_strategy",
        /// Gross exposure over everything, in the reporting asset.
        ExposureTotal = 49 => "exposure_total",
        /// Not enough of the asset to pay with, holds counted.
        Balance = 50 => "balance",

        // Rates and room.
        /// Orders and replaces per second of the strategy.
        OrderRateStrategy = 60 => "order_rate_strategy",
        /// Orders and replaces per second on the venue.
        OrderRateVenue = 61 => "order_rate_venue",
        /// Orders and replaces per second in all.
        OrderRateTotal = 62 => "order_rate_total",
        /// Cancels per second.
        CancelRate = 63 => "cancel_rate",
        /// All messages per second to the venue.
        MessageBudget = 64 => "message_budget",
        /// The order table is full.
        TableFull = 65 => "table_full",
        /// The memory of fills is nearly full.
        FillMemoryFull = 66 => "fill_memory_full",
        /// The outputs of one input are full.
        OutputFull = 67 => "output_full",
        /// All order ids of this epoch are used.
        IdsExhausted = 68 => "ids_exhausted",

        // Requests on orders that exist.
        /// No such order of this strategy.
        UnknownOrder = 80 => "unknown_order",
        /// The order's state does not allow it.
        WrongState = 81 => "wrong_state",
        /// The venue cannot replace in place.
        ReplaceUnsupported = 82 => "replace_unsupported",
        /// The replace would change nothing.
        NoChange = 83 => "no_change",
        /// The new total quantity is not above what is filled already.
        BelowFilled = 84 => "below_filled",
    }
}

impl Refusal {
    /// One more than the largest number: length of an array indexed by refusal.
    pub const COUNT: usize = 85;

    /// An array index.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_fit_the_counters() {
        let mut names = std::collections::HashSet::new();
        for &refusal in Refusal::ALL {
            assert_eq!(Refusal::from_raw(refusal as u32), Some(refusal));
            assert!(names.insert(refusal.as_str()), "{refusal}");
            assert!(refusal.index() < Refusal::COUNT);
        }
        assert_eq!(Refusal::ALL.last().map(|r| r.index() + 1), Some(Refusal::COUNT));
        assert_eq!(Refusal::from_raw(u32::MAX), None);
    }
}
