//! Fixed-point numbers: `Price`, `Qty`, `Money`, and the decimal text they come from.
//!
//! A price or quantity is an `i64` at its instrument's scale (number of decimal places); the scale is
//! the instrument's, not the number's, so arithmetic on the hot path is plain integer arithmetic.
//! Money is an `i128` at one scale for all assets ([`Money::SCALE`]). No `f64` lies on the way to or
//! from a venue. Text is parsed exactly: overflow, excess precision and garbage are errors, never
//! roundings.

use core::fmt;
use core::iter::Sum;
use core::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// Largest scale (decimal places) of a price or quantity. 10^18 is the largest power of ten in `i64`.
pub const SCALE_MAX: u8 = 18;

/// Powers of ten, 10^0 ..= 10^18.
pub const POW10: [i64; SCALE_MAX as usize + 1] = {
    let mut table = [1i64; SCALE_MAX as usize + 1];
    let mut i = 1;
    while i < table.len() {
        table[i] = table[i - 1] * 10;
        i += 1;
    }
    table
};

/// `a * b`, which always fits. (A plain product of `i128` would be checked for overflow, by a call.)
#[inline]
pub(crate) const fn wide(a: i64, b: i64) -> i128 {
    (a as i128).wrapping_mul(b as i128)
}

/// `a + b`; saturates. (The standard way takes twice the time: it does not know that sums nearly always fit.)
#[inline]
pub(crate) const fn sum(a: i128, b: i128) -> i128 {
    match a.checked_add(b) {
        Some(sum) => sum,
        None => bound_towards(b),
    }
}

/// `a - b`; saturates.
#[inline]
pub(crate) const fn difference(a: i128, b: i128) -> i128 {
    match a.checked_sub(b) {
        Some(difference) => difference,
        None => bound_towards(if b < 0 { 1 } else { -1 }),
    }
}

#[cold]
const fn bound_towards(direction: i128) -> i128 {
    if direction < 0 { i128::MIN } else { i128::MAX }
}

/// `a * b * c`; `None` if it does not fit. Two multiplications where `a * b` fits 64 bits, which it nearly always does.
#[inline]
pub(crate) fn product(a: i64, b: i64, c: i64) -> Option<i128> {
    match a.checked_mul(b) {
        Some(raw) => Some(wide(raw, c)),
        None => product_wide(a, b, c),
    }
}

#[cold]
#[inline(never)]
fn product_wide(a: i64, b: i64, c: i64) -> Option<i128> {
    wide(a, b).checked_mul(i128::from(c))
}

/// Why decimal text is not a fixed-point number at the wanted scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecimalError {
    /// No digits at all.
    #[error("empty decimal")]
    Empty,
    /// A character that does not belong in a decimal number.
    #[error("not a decimal number")]
    Garbage,
    /// The value does not fit the integer at this scale.
    #[error("decimal out of range")]
    Overflow,
    /// Digits other than zero beyond the scale.
    #[error("more decimal places than the scale holds")]
    Precision,
}

/// Defines an `i64` fixed-point newtype.
macro_rules! fixed_i64 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[repr(transparent)]
        pub struct $name(pub i64);

        impl $name {
            /// Zero.
            pub const ZERO: $name = $name(0);
            /// The largest value: "no bound".
            pub const MAX: $name = $name(i64::MAX);

            /// Parses decimal text at `scale` decimal places. Exact or an error.
            #[inline]
            pub fn parse(text: &[u8], scale: u8) -> Result<$name, DecimalError> {
                parse_decimal(text, scale).map($name)
            }

            /// True for zero.
            #[inline]
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }

            /// The absolute value; saturates at `i64::MAX`.
            #[inline]
            pub const fn abs(self) -> $name {
                $name(self.0.saturating_abs())
            }

            /// Decimal text at `scale`, for display.
            pub fn display(self, scale: u8) -> Decimal {
                Decimal { value: self.0 as i128, scale, trim: false }
            }

            /// As `f64`, for signals only: never on the way to or from a venue.
            #[inline]
            pub fn to_f64(self, scale: u8) -> f64 {
                self.0 as f64 / POW10[scale as usize] as f64
            }
        }

        impl Add for $name {
            type Output = $name;
            #[inline]
            fn add(self, other: $name) -> $name {
                $name(self.0 + other.0)
            }
        }

        impl Sub for $name {
            type Output = $name;
            #[inline]
            fn sub(self, other: $name) -> $name {
                $name(self.0 - other.0)
            }
        }

        impl Neg for $name {
            type Output = $name;
            #[inline]
            fn neg(self) -> $name {
                $name(-self.0)
            }
        }

        impl AddAssign for $name {
            #[inline]
            fn add_assign(&mut self, other: $name) {
                self.0 += other.0;
            }
        }

        impl SubAssign for $name {
            #[inline]
            fn sub_assign(&mut self, other: $name) {
                self.0 -= other.0;
            }
        }
    };
}

fixed_i64!(
    /// A price in quote currency per unit of base, at the instrument's price scale.
    Price
);
fixed_i64!(
    /// A quantity of base currency (or contracts), at the instrument's quantity scale. Signed where it
    /// is a position (positive = long).
    Qty
);

/// An amount of one asset, at [`Money::SCALE`] decimal places for every asset.
///
/// `i128` at 10^-18 holds 1.7 * 10^20 units: wide enough for any sum, fine enough that price times
/// quantity (scales adding up to at most 18) and fees are exact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Money(pub i128);

impl Money {
    /// Decimal places of every amount.
    pub const SCALE: u8 = 18;
    /// Zero.
    pub const ZERO: Money = Money(0);

    /// `price * qty`, exact. `price_scale + qty_scale` must be at most [`Money::SCALE`], which
    /// [`crate::instrument::InstrumentTable::add`] checks.
    #[inline]
    pub fn notional(price: Price, qty: Qty, price_scale: u8, qty_scale: u8) -> Money {
        debug_assert!(price_scale + qty_scale <= Money::SCALE);
        let up = POW10[(Money::SCALE - price_scale - qty_scale) as usize];
        Money(wide(price.0, qty.0) * i128::from(up))
    }

    /// An `i64` amount at `scale` decimal places (at most 18).
    #[inline]
    pub fn from_scaled(value: i64, scale: u8) -> Money {
        Money(wide(value, POW10[(Money::SCALE - scale) as usize]))
    }

    /// A quantity of base as an amount of the base asset.
    #[inline]
    pub fn from_qty(qty: Qty, qty_scale: u8) -> Money {
        Money::from_scaled(qty.0, qty_scale)
    }

    /// Parses decimal text exactly.
    pub fn parse(text: &[u8]) -> Result<Money, DecimalError> {
        parse_decimal_i128(text, Money::SCALE).map(Money)
    }

    /// Rounds towards zero to an `i64` at `scale`; saturates.
    #[inline]
    pub fn to_scaled(self, scale: u8) -> i64 {
        let down = POW10[(Money::SCALE - scale) as usize];
        // A division of 64 bits takes a third of the time.
        if let Ok(small) = i64::try_from(self.0) {
            return small / down;
        }
        (self.0 / i128::from(down)).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// The two 64-bit halves (low, high) that carry an amount in an event's payload.
    #[inline]
    pub const fn to_words(self) -> (u64, u64) {
        (self.0 as u64, (self.0 >> 64) as u64)
    }

    /// Reverses [`Money::to_words`].
    #[inline]
    pub const fn from_words(low: u64, high: u64) -> Money {
        Money((((high as u128) << 64) | low as u128) as i128)
    }

    /// As `f64`, for signals and reports only.
    #[inline]
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 1e18
    }

    /// The absolute value.
    #[inline]
    pub const fn abs(self) -> Money {
        Money(self.0.saturating_abs())
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal { value: self.0, scale: Money::SCALE, trim: true }.fmt(f)
    }
}

impl Add for Money {
    type Output = Money;
    #[inline]
    fn add(self, other: Money) -> Money {
        Money(self.0 + other.0)
    }
}

impl Sub for Money {
    type Output = Money;
    #[inline]
    fn sub(self, other: Money) -> Money {
        Money(self.0 - other.0)
    }
}

impl Neg for Money {
    type Output = Money;
    #[inline]
    fn neg(self) -> Money {
        Money(-self.0)
    }
}

impl AddAssign for Money {
    #[inline]
    fn add_assign(&mut self, other: Money) {
        self.0 += other.0;
    }
}

impl SubAssign for Money {
    #[inline]
    fn sub_assign(&mut self, other: Money) {
        self.0 -= other.0;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Money>>(iter: I) -> Money {
        iter.fold(Money::ZERO, Add::add)
    }
}

/// A number with its scale, for display and for writing wire text.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    /// The integer value.
    pub value: i128,
    /// Decimal places.
    pub scale: u8,
    /// Leave trailing zeros of the fraction (and a bare point) out.
    pub trim: bool,
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0u8; 64];
        let mut at = buffer.len();
        let mut magnitude = self.value.unsigned_abs();
        let mut places = 0u8;
        let mut trimming = self.trim;
        while places < self.scale {
            let digit = (magnitude % 10) as u8;
            magnitude /= 10;
            places += 1;
            if trimming && digit == 0 {
                continue;
            }
            trimming = false;
            at -= 1;
            buffer[at] = b'0' + digit;
        }
        if at != buffer.len() {
            at -= 1;
            buffer[at] = b'.';
        }
        loop {
            at -= 1;
            buffer[at] = b'0' + (magnitude % 10) as u8;
            magnitude /= 10;
            if magnitude == 0 {
                break;
            }
        }
        let text = core::str::from_utf8(&buffer[at..]).map_err(|_| fmt::Error)?;
        f.pad_integral(self.value >= 0, "", text)
    }
}

/// Writes `value` at `scale` as fixed decimals (`68250.10`) into `out`; returns the length. No
/// allocation, no floating point: this is how prices and quantities reach the wire.
///
/// `out` must hold 21 bytes (sign, 19 digits, point) or, for `scale` > 17, 22; the rest is untouched.
#[inline]
pub fn write_decimal(value: i64, scale: u8, out: &mut [u8]) -> usize {
    let mut buffer = [0u8; 24];
    let mut at = buffer.len();
    let mut magnitude = value.unsigned_abs();
    let mut places = 0u8;
    while places < scale {
        at -= 1;
        buffer[at] = b'0' + (magnitude % 10) as u8;
        magnitude /= 10;
        places += 1;
    }
    if scale > 0 {
        at -= 1;
        buffer[at] = b'.';
    }
    loop {
        at -= 1;
        buffer[at] = b'0' + (magnitude % 10) as u8;
        magnitude /= 10;
        if magnitude == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    let len = buffer.len() - at;
    out[..len].copy_from_slice(&buffer[at..]);
    len
}

/// Parses decimal text (`-12.340`, `5e-05`, `1E+3`) into an `i64` at `scale`. Exact or an error.
///
/// Leading `+`, an empty integer part (`.5`) and a bare point (`5.`) are refused, as no venue sends them.
#[inline]
pub fn parse_decimal(text: &[u8], scale: u8) -> Result<i64, DecimalError> {
    // The common shape: at most 18 digits, optional sign, no exponent. Anything else takes the slow path.
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return Err(DecimalError::Empty);
    }
    if digits.len() > 19 {
        return parse_decimal_slow(text, scale);
    }
    let mut value: u64 = 0;
    let mut point: Option<usize> = None;
    for (i, &c) in digits.iter().enumerate() {
        let digit = c.wrapping_sub(b'0');
        if digit <= 9 {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        } else if c == b'.' && point.is_none() && i > 0 {
            point = Some(i);
        } else {
            return parse_decimal_slow(text, scale);
        }
    }
    let places = match point {
        Some(at) if at + 1 == digits.len() => return Err(DecimalError::Garbage),
        Some(at) => digits.len() - at - 1,
        None => 0,
    };
    // 19 digits can exceed i64 but not u64 (10^19 - 1 < 2^64).
    let value = i64::try_from(value).map_err(|_| DecimalError::Overflow)?;
    let scaled = rescale(i128::from(value), places as i32, scale)?;
    let scaled = i64::try_from(scaled).map_err(|_| DecimalError::Overflow)?;
    Ok(if negative { -scaled } else { scaled })
}

#[cold]
fn parse_decimal_slow(text: &[u8], scale: u8) -> Result<i64, DecimalError> {
    let wide = parse_decimal_i128(text, scale)?;
    i64::try_from(wide).map_err(|_| DecimalError::Overflow)
}

/// Parses decimal text, exponents included, into an `i128` at `scale`. Exact or an error.
pub fn parse_decimal_i128(text: &[u8], scale: u8) -> Result<i128, DecimalError> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if rest.is_empty() {
        return Err(DecimalError::Empty);
    }
    let mut value: i128 = 0;
    let mut places: i32 = 0;
    let mut seen_point = false;
    let mut digits = 0usize;
    // Zeros of the fraction count only once another digit follows: padding may be longer than i128 is precise.
    let mut held_back: i32 = 0;
    let mut at = 0usize;
    while at < rest.len() {
        match rest[at] {
            b'0' if seen_point => held_back += 1,
            c @ b'0'..=b'9' => {
                for _ in 0..held_back {
                    value = value.checked_mul(10).ok_or(DecimalError::Overflow)?;
                }
                value = value.checked_mul(10).and_then(|v| v.checked_add(i128::from(c - b'0'))).ok_or(DecimalError::Overflow)?;
                digits += 1;
                places += held_back + i32::from(seen_point);
                held_back = 0;
            }
            b'.' if !seen_point && digits > 0 => seen_point = true,
            b'e' | b'E' => break,
            _ => return Err(DecimalError::Garbage),
        }
        at += 1;
    }
    if digits == 0 || (seen_point && places + held_back == 0) {
        return Err(DecimalError::Garbage);
    }
    if at < rest.len() {
        places = places.checked_sub(parse_exponent(&rest[at + 1..])?).ok_or(DecimalError::Overflow)?;
    }
    let scaled = rescale(value, places, scale)?;
    Ok(if negative { -scaled } else { scaled })
}

fn parse_exponent(text: &[u8]) -> Result<i32, DecimalError> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || digits.len() > 4 {
        return Err(DecimalError::Garbage);
    }
    let mut value = 0i32;
    for &c in digits {
        if !c.is_ascii_digit() {
            return Err(DecimalError::Garbage);
        }
        value = value * 10 + i32::from(c - b'0');
    }
    Ok(if negative { -value } else { value })
}

/// Moves `value` from `places` decimal places to `scale`, exactly.
#[inline]
fn rescale(value: i128, places: i32, scale: u8) -> Result<i128, DecimalError> {
    let shift = i32::from(scale) - places;
    if value == 0 || shift == 0 {
        return Ok(value);
    }
    if shift > 0 {
        if shift > 38 {
            return Err(DecimalError::Overflow);
        }
        return value.checked_mul(10i128.pow(shift as u32)).ok_or(DecimalError::Overflow);
    }
    if shift < -38 {
        return Err(DecimalError::Precision);
    }
    let divisor = 10i128.pow((-shift) as u32);
    if value % divisor != 0 {
        return Err(DecimalError::Precision);
    }
    Ok(value / divisor)
}

/// Number of decimal places in decimal text, trailing zeros counted, exponent honoured
/// (`0.00100` is 5, `1e-08` is 8, `5` is 0). The scale that holds the text exactly.
pub fn decimal_places(text: &[u8]) -> Result<u8, DecimalError> {
    let mantissa_end = text.iter().position(|c| matches!(c, b'e' | b'E')).unwrap_or(text.len());
    let mantissa = &text[..mantissa_end];
    let point = mantissa.iter().position(|&c| c == b'.');
    let places = point.map_or(0, |at| mantissa.len() - at - 1) as i32;
    let exponent = if mantissa_end < text.len() { parse_exponent(&text[mantissa_end + 1..])? } else { 0 };
    u8::try_from((places - exponent).max(0)).map_err(|_| DecimalError::Precision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimal_text_parses_exactly() {
        let cases: &[(&str, u8, i64)] = &[
            ("68250.10", 2, 6_825_010),
            ("68250.10000000", 2, 6_825_010),
            ("0.00005100", 8, 5_100),
            ("1e-08", 8, 1),
            ("5E-05", 8, 5_000),
            ("1.5e3", 0, 1_500),
            ("-0.5", 1, -5),
            ("0", 18, 0),
            ("-0.0", 2, 0),
            ("9223372036854775807", 0, i64::MAX),
            ("0.00000000000000000000", 8, 0),
            ("1.50000000000000000000000000000000000000000000000000", 1, 15),
            ("1.50000000000000000000000000000000000000000000000000e-1", 2, 15),
        ];
        for &(text, scale, want) in cases {
            assert_eq!(parse_decimal(text.as_bytes(), scale), Ok(want), "{text}");
        }
    }

    #[test]
    fn decimal_text_that_does_not_fit_is_an_error() {
        use DecimalError::*;
        let cases: &[(&str, u8, DecimalError)] = &[
            ("", 2, Empty),
            ("-", 2, Empty),
            (".5", 2, Garbage),
            ("5.", 2, Garbage),
            ("+5", 2, Garbage),
            ("1.2.3", 2, Garbage),
            ("1,2", 2, Garbage),
            ("NaN", 2, Garbage),
            ("1e", 2, Garbage),
            ("1e+", 2, Garbage),
            ("0.001", 2, Precision),
            ("1e-9", 8, Precision),
            ("9223372036854775808", 0, Overflow),
            ("92233720368547758.08", 3, Overflow),
            ("1e30", 0, Overflow),
            ("1e9999", 0, Overflow),
            ("99999999999999999999999999999999999999999999", 0, Overflow),
        ];
        for &(text, scale, want) in cases {
            assert_eq!(parse_decimal(text.as_bytes(), scale), Err(want), "{text}");
        }
    }

    #[test]
    fn decimal_places_counts_trailing_zeros_and_exponents() {
        assert_eq!(decimal_places(b"78878.0"), Ok(1));
        assert_eq!(decimal_places(b"1e-08"), Ok(8));
        assert_eq!(decimal_places(b"1.5e-3"), Ok(4));
        assert_eq!(decimal_places(b"25"), Ok(0));
        assert_eq!(decimal_places(b"1e2"), Ok(0));
    }

    #[test]
    fn money_is_exact_and_displays_trimmed() {
        let amount = Money::notional(Price(6_825_010), Qty(150_000), 2, 8);
        assert_eq!(amount.to_string(), "102.37515");
        assert_eq!(Money::parse(b"102.37515"), Ok(amount));
        let (low, high) = (-amount).to_words();
        assert_eq!(Money::from_words(low, high), -amount);
        assert_eq!((-amount).to_string(), "-102.37515");
        assert_eq!(Money::ZERO.to_string(), "0");
        assert_eq!(amount.to_scaled(2), 10_237);
    }

    proptest! {
        #[test]
        fn a_product_of_three_is_exact_or_does_not_fit(
            factors in any::<[i64; 3]>(), less in [0u32..64, 0..64, 0..64],
        ) {
            let [a, b, c] = [0, 1, 2].map(|at| factors[at] >> less[at]);
            let exact = (i128::from(a) * i128::from(b)).checked_mul(i128::from(c));
            prop_assert_eq!(product(a, b, c), exact);
        }

        #[test]
        fn amounts_are_scaled_as_by_one_wide_division(high in -2_i64..=2, low in any::<u64>(), scale in 0_u8..=Money::SCALE) {
            let amount = Money(i128::from(high) << 62 | i128::from(low));
            let wide = amount.0 / 10_i128.pow(u32::from(Money::SCALE - scale));
            prop_assert_eq!(i128::from(amount.to_scaled(scale)), wide.clamp(i128::from(i64::MIN), i128::from(i64::MAX)));
        }

        #[test]
        fn written_decimals_parse_back(value in any::<i64>(), scale in 0u8..=18) {
            prop_assume!(value != i64::MIN);
            let mut out = [0u8; 24];
            let len = write_decimal(value, scale, &mut out);
            prop_assert_eq!(parse_decimal(&out[..len], scale), Ok(value));
            let shown = Price(value).display(scale).to_string();
            prop_assert_eq!(shown.as_bytes(), &out[..len]);
        }

        #[test]
        fn sums_and_differences_saturate(a in any::<i128>(), b in any::<i128>(), shift in 0u32..127) {
            let b = b >> shift;
            prop_assert_eq!((sum(a, b), difference(a, b)), (a.saturating_add(b), a.saturating_sub(b)));
        }

        #[test]
        fn any_bytes_parse_or_fail_the_same_way_twice(text in proptest::collection::vec(any::<u8>(), 0..40), scale in 0u8..=18) {
            let narrow = parse_decimal(&text, scale);
            let wide = parse_decimal_i128(&text, scale);
            if let Ok(value) = narrow {
                prop_assert_eq!(wide, Ok(i128::from(value)));
            }
        }
    }
}
