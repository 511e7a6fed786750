//! Dense identities: venues, instruments, assets, strategies, orders.
//!
//! Every identity is a small integer given out at start-up, so that books, positions and limits are
//! arrays indexed by it. Names exist only at the edges (configuration, logs, the wire).

use core::fmt;

/// Defines a dense index newtype.
macro_rules! dense_id {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[repr(transparent)]
        pub struct $name(pub $raw);

        impl $name {
            /// The array index of this identity.
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

dense_id!(
    /// A venue: index into the configured list of venues.
    VenueId(u8)
);
dense_id!(
    /// An instrument: index into [`crate::instrument::InstrumentTable`]. One id is one symbol on one venue.
    InstrumentId(u16)
);
dense_id!(
    /// An asset (currency, coin): index into [`crate::instrument::AssetTable`], shared by all venues.
    AssetId(u16)
);
dense_id!(
    /// A strategy instance: index into the configured list of strategies.
    StrategyId(u8)
);

/// The client order id: node epoch and sequence in 45 bits, so that it fits every venue's rule.
///
/// The narrowest rule is Bitfinex' `cid` (an integer below 2^45). Text form: the letter `p` and 12
/// lower-case hexadecimal digits (13 characters, alphanumeric, leading letter), within Binance's 36,
/// Kraken's 18, OKX' 32 and the rest.
///
/// The epoch is raised by the runtime at each start (and stored before the first order), so ids never
/// repeat across restarts; the sequence counts orders within the epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct OrderId(pub u64);

impl OrderId {
    /// Bits of the per-epoch sequence.
    pub const SEQUENCE_BITS: u32 = 32;
    /// Bits of the node epoch.
    pub const EPOCH_BITS: u32 = 13;
    /// Largest epoch; the runtime refuses to start past it.
    pub const EPOCH_MAX: u16 = (1 << Self::EPOCH_BITS) - 1;
    /// No order.
    pub const NONE: OrderId = OrderId(0);
    /// Length of the text form in bytes.
    pub const TEXT_LEN: usize = 13;

    /// Builds an id. `sequence` starts at 1 within an epoch; `epoch` starts at 1.
    #[inline]
    pub const fn new(epoch: u16, sequence: u32) -> OrderId {
        assert!(epoch <= Self::EPOCH_MAX);
        OrderId(((epoch as u64) << Self::SEQUENCE_BITS) | sequence as u64)
    }

    /// The node epoch that issued this order.
    #[inline]
    pub const fn epoch(self) -> u16 {
        (self.0 >> Self::SEQUENCE_BITS) as u16
    }

    /// The sequence within its epoch.
    #[inline]
    pub const fn sequence(self) -> u32 {
        self.0 as u32
    }

    /// Writes the text form, e.g. `p00010000002a` for epoch 1, sequence 42.
    #[inline(always)]
    pub const fn to_text(self) -> [u8; Self::TEXT_LEN] {
        self.to_text_after(b'p')
    }

    /// The same with another letter in front, for what is not an order's id.
    #[inline(always)]
    pub const fn to_text_after(self, letter: u8) -> [u8; Self::TEXT_LEN] {
        let [.., a, b, c, d] = hexadecimal((self.0 >> 32) as u32 & 0xffff);
        let [e, f, g, h, i, j, k, l] = hexadecimal(self.0 as u32);
        [letter, a, b, c, d, e, f, g, h, i, j, k, l]
    }

    /// Parses the text form; `None` for anything that is not one of our ids (another client's order
    /// on the same account).
    #[inline]
    pub fn from_text(text: &[u8]) -> Option<OrderId> {
        if text.len() != Self::TEXT_LEN || text[0] != b'p' {
            return None;
        }
        let mut value = 0u64;
        for &c in &text[1..] {
            let digit = match c {
                b'0'..=b'9' => c - b'0',
                b'a'..=b'f' => c - b'a' + 10,
                _ => return None,
            };
            value = (value << 4) | u64::from(digit);
        }
        (value != 0 && value >> (Self::SEQUENCE_BITS + Self::EPOCH_BITS) == 0).then_some(OrderId(value))
    }
}

/// Eight hexadecimal digits, made at once: a digit to a byte, and to each what makes a character of it.
#[inline(always)]
const fn hexadecimal(value: u32) -> [u8; 8] {
    let value = value.swap_bytes() as u64;
    let value = (value | value << 16) & 0x0000_ffff_0000_ffff;
    let value = (value | value << 8) & 0x00ff_00ff_00ff_00ff;
    let digits = (value >> 4 | value << 8) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (digits.wrapping_add(0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    digits.wrapping_add(0x3030_3030_3030_3030).wrapping_add(letters.wrapping_mul((b'a' - b'9' - 1) as u64)).to_le_bytes()
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_text();
        f.write_str(core::str::from_utf8(&text).unwrap_or("p?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_id_text_round_trips_and_rejects_strangers() {
        for id in [OrderId::new(1, 1), OrderId::new(OrderId::EPOCH_MAX, u32::MAX), OrderId::new(77, 42)] {
            assert_eq!(OrderId::from_text(&id.to_text()), Some(id));
            assert!(id.0 < 1 << 45, "fits Bitfinex' cid");
        }
        assert_eq!(OrderId::new(1, 42).to_string(), "p00010000002a");
        for stranger in [&b"p00010000002A"[..], b"x00010000002a", b"p00010000002", b"p000000000000", b"pffffffffffff", b""] {
            assert_eq!(OrderId::from_text(stranger), None, "{stranger:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn ids_are_twelve_hexadecimal_digits_after_their_letter(id in proptest::prelude::any::<u64>(), bits in 0u32..64) {
            let id = OrderId(id >> bits);
            let want = format!("{:012x}", id.0 & 0xffff_ffff_ffff);
            proptest::prop_assert_eq!(&id.to_text()[..], format!("p{want}").into_bytes());
            proptest::prop_assert_eq!(&id.to_text_after(b'n')[..], format!("n{want}").into_bytes());
        }
    }
}
