//! What a position can become with its open orders filled.

use crate::event::Side;

/// Open quantities below this, and any position, can be added without overflow.
const OPEN_SANE: u64 = 1 << 61;

/// True below it.
#[inline]
pub(super) const fn are_sane(open: [i64; 2]) -> bool {
    ((open[0] | open[1]) as u64) < OPEN_SANE
}

/// What a position and its open orders can become: long with all buys filled, short (as a positive number) with all sells.
#[derive(Clone, Copy, Debug)]
pub(in crate::risk) struct Extremes {
    long: i64,
    short: i64,
}

impl Extremes {
    #[inline]
    pub(super) fn new(position: i64, open: [i64; 2]) -> Extremes {
        Extremes::of(position, open, are_sane(open))
    }

    /// The same; `sane`: the open quantities are below [`OPEN_SANE`].
    #[inline(always)]
    pub(super) fn of(position: i64, open: [i64; 2], sane: bool) -> Extremes {
        debug_assert!(are_sane(open) || !sane);
        if sane {
            // No position is beyond `VALUE_MAX`.
            return Extremes { long: position.wrapping_add(open[0]), short: open[1].wrapping_sub(position) };
        }
        Extremes { long: position.saturating_add(open[0]), short: open[1].saturating_sub(position) }
    }

    /// In the direction of `side`, with `added` more.
    #[inline]
    pub fn towards(self, side: Side, added: i64) -> i64 {
        let now = if side == Side::Buy { self.long } else { self.short };
        now.saturating_add(added)
    }

    /// The larger of both.
    #[inline]
    pub(super) fn worst(self) -> i64 {
        self.long.max(self.short)
    }

    /// The larger of both, with `added` more on `side`.
    #[inline]
    pub(super) fn worst_with(self, side: Side, added: i64) -> i64 {
        let other = if side == Side::Buy { self.short } else { self.long };
        self.towards(side, added).max(other)
    }
}
