//! Exact decimals: what prices, quantities and balances are made of.
//!
//! Prices and quantities are `i64` at their market's scale. Balances, costs and fees are [`Amount`]s:
//! `i128` at 18 decimal places, so that price x quantity x fee rate is exact and a ledger can be
//! compared to the last unit. Nothing here goes through `f64`.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// Decimal places of every [`Amount`].
pub const AMOUNT_SCALE: u8 = 18;

/// Most digits accepted in one number: enough for any amount, few enough to bound the work.
const TEXT_LEN_MAX: usize = 64;

/// Why text is not a decimal number at the wanted scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecimalError {
    /// Not a decimal number.
    #[error("not a decimal number")]
    Garbage,
    /// More decimal places (other than zeros) than the scale holds.
    #[error("too many decimal places")]
    Precision,
    /// Does not fit the integer.
    #[error("number out of range")]
    Overflow,
}

/// 10^`exponent` for `exponent` up to 38.
pub const fn pow10(exponent: u8) -> i128 {
    let mut value = 1i128;
    let mut i = 0;
    while i < exponent {
        value *= 10;
        i += 1;
    }
    value
}

/// Parses decimal text (`68250.10`, `5e-05`, `-1`) at `scale` decimal places, exactly or not at all.
pub fn parse_i128(text: &str, scale: u8) -> Result<i128, DecimalError> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > TEXT_LEN_MAX {
        return Err(DecimalError::Garbage);
    }
    let (negative, bytes) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (mantissa_text, exponent) = match bytes.iter().position(|c| matches!(c, b'e' | b'E')) {
        Some(at) => {
            let exponent: i32 = std::str::from_utf8(&bytes[at + 1..]).ok().and_then(|t| t.parse().ok()).ok_or(DecimalError::Garbage)?;
            (&bytes[..at], exponent)
        }
        None => (bytes, 0),
    };
    let mut mantissa = 0i128;
    let mut places = 0i32;
    let mut digits = 0;
    let mut in_fraction = false;
    for &c in mantissa_text {
        match c {
            b'.' if !in_fraction => in_fraction = true,
            b'0'..=b'9' => {
                mantissa = mantissa.checked_mul(10).and_then(|m| m.checked_add(i128::from(c - b'0'))).ok_or(DecimalError::Overflow)?;
                digits += 1;
                places += i32::from(in_fraction);
            }
            _ => return Err(DecimalError::Garbage),
        }
    }
    if digits == 0 {
        return Err(DecimalError::Garbage);
    }
    let shift = i32::from(scale).saturating_sub(places).saturating_add(exponent);
    if mantissa == 0 {
        return Ok(0);
    }
    let value = if shift >= 0 {
        let up = u8::try_from(shift).ok().filter(|s| *s <= 38).ok_or(DecimalError::Overflow)?;
        mantissa.checked_mul(pow10(up)).ok_or(DecimalError::Overflow)?
    } else {
        let down = u8::try_from(shift.unsigned_abs()).ok().filter(|s| *s <= 38).ok_or(DecimalError::Precision)?;
        if mantissa % pow10(down) != 0 {
            return Err(DecimalError::Precision);
        }
        mantissa / pow10(down)
    };
    Ok(if negative { -value } else { value })
}

/// Parses decimal text into an `i64` at `scale`.
pub fn parse_fixed(text: &str, scale: u8) -> Result<i64, DecimalError> {
    i64::try_from(parse_i128(text, scale)?).map_err(|_| DecimalError::Overflow)
}

/// Appends `value` at `scale` as fixed decimals, e.g. `68250.10`.
pub fn push_fixed(out: &mut Vec<u8>, value: i64, scale: u8) {
    push_i128(out, i128::from(value), scale, scale);
}

/// Appends `value` at `scale`, padded with zeros to `places` decimals (`places >= scale`).
pub fn push_padded(out: &mut Vec<u8>, value: i64, scale: u8, places: u8) {
    push_i128(out, i128::from(value), scale, places);
}

/// Appends `value` at `scale` with at least `places_min` decimals, trailing zeros beyond them left out.
pub fn push_trimmed(out: &mut Vec<u8>, value: i128, scale: u8, places_min: u8) {
    let mut value = value;
    let mut scale = scale;
    while scale > places_min && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    push_i128(out, value, scale, scale.max(places_min));
}

fn push_i128(out: &mut Vec<u8>, value: i128, scale: u8, places: u8) {
    let mut buffer = [0u8; 64];
    let mut at = buffer.len();
    for _ in scale..places {
        at -= 1;
        buffer[at] = b'0';
    }
    // Nearly every number on the wire fits 64 bits, where division is an order of magnitude cheaper.
    let mut wide = value.unsigned_abs();
    let mut place = 0u8;
    let mut emit = |digit: u8, place: &mut u8| {
        if *place == scale && places > 0 {
            at -= 1;
            buffer[at] = b'.';
        }
        at -= 1;
        buffer[at] = b'0' + digit;
        *place += 1;
    };
    while wide > u128::from(u64::MAX) {
        emit((wide % 10) as u8, &mut place);
        wide /= 10;
    }
    let mut narrow = wide as u64;
    while narrow != 0 || place <= scale {
        emit((narrow % 10) as u8, &mut place);
        narrow /= 10;
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&buffer[at..]);
}

/// Largest price, quantity or amount that a request may name, in whole units: keeps every product of two
/// of them and the scales within `i128`.
pub const REQUEST_UNITS_MAX: i64 = 1_000_000_000;

/// An amount of one asset at [`AMOUNT_SCALE`] decimal places.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Amount(pub i128);

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount(0);

    /// Parses decimal text exactly.
    pub fn parse(text: &str) -> Result<Amount, DecimalError> {
        parse_i128(text, AMOUNT_SCALE).map(Amount)
    }

    /// `value` at `scale` as an amount.
    pub fn from_fixed(value: i64, scale: u8) -> Amount {
        Amount(i128::from(value) * pow10(AMOUNT_SCALE - scale))
    }

    /// `price x qty`, exact while the scales add up to at most [`AMOUNT_SCALE`].
    pub fn notional(price: i64, price_scale: u8, qty: i64, qty_scale: u8) -> Amount {
        Amount(i128::from(price) * i128::from(qty) * pow10(AMOUNT_SCALE - price_scale - qty_scale))
    }

    /// This amount times `rate_ppm` millionths, rounded to `places` decimals as `rounding` says.
    pub fn fee(self, rate_ppm: u32, places: u8, rounding: Rounding) -> Amount {
        let unit = pow10(AMOUNT_SCALE - places);
        // Amounts below 10^38 / 10^6 keep the product in range; a venue's notional is far below.
        let scaled = self.0.saturating_mul(i128::from(rate_ppm));
        let divisor = unit * 1_000_000;
        let quotient = match rounding {
            Rounding::Down => scaled / divisor,
            Rounding::HalfUp => (scaled + divisor / 2) / divisor,
            Rounding::Up => (scaled + divisor - 1) / divisor,
        };
        Amount(quotient * unit)
    }

    /// Fixed decimals, digits beyond `places` cut off.
    pub fn to_text(self, places: u8) -> String {
        let mut out = Vec::with_capacity(32);
        push_i128(&mut out, self.0 / pow10(AMOUNT_SCALE - places), places, places);
        String::from_utf8(out).unwrap_or_default()
    }
}

/// How a fee is rounded to the venue's precision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rounding {
    /// Towards zero.
    Down,
    /// Half away from zero (amounts are positive).
    HalfUp,
    /// Away from zero.
    Up,
}

impl fmt::Display for Amount {
    /// Exact decimal text without trailing zeros: `0.5`, `10000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::with_capacity(48);
        push_trimmed(&mut out, self.0, AMOUNT_SCALE, 0);
        f.write_str(std::str::from_utf8(&out).unwrap_or("?"))
    }
}

impl Add for Amount {
    type Output = Amount;
    fn add(self, other: Amount) -> Amount {
        Amount(self.0 + other.0)
    }
}

impl Sub for Amount {
    type Output = Amount;
    fn sub(self, other: Amount) -> Amount {
        Amount(self.0 - other.0)
    }
}

impl Neg for Amount {
    type Output = Amount;
    fn neg(self) -> Amount {
        Amount(-self.0)
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Amount) {
        self.0 += other.0;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Amount) {
        self.0 -= other.0;
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Amount>>(iter: I) -> Amount {
        iter.fold(Amount::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fixed(value: i64, scale: u8) -> String {
        let mut out = Vec::new();
        push_fixed(&mut out, value, scale);
        String::from_utf8(out).expect("ascii")
    }

    #[test]
    fn text_is_exact_in_both_directions() {
        assert_eq!(parse_fixed("68250.10", 2), Ok(6_825_010));
        assert_eq!(parse_fixed("5e-05", 8), Ok(5_000));
        assert_eq!(parse_fixed("1E3", 0), Ok(1_000));
        assert_eq!(parse_fixed("-0.5", 1), Ok(-5));
        assert_eq!(parse_fixed("68250.1000", 2), Ok(6_825_010), "zeros beyond the scale are no precision");
        assert_eq!(parse_fixed("0.001", 2), Err(DecimalError::Precision));
        assert_eq!(parse_fixed("99999999999999999999", 2), Err(DecimalError::Overflow));
        assert_eq!(parse_fixed(".00000000000000000000000000000000000001e-2147483648", 8), Err(DecimalError::Precision));
        assert_eq!(parse_fixed("1e2147483647", 8), Err(DecimalError::Overflow));
        for garbage in ["", ".", "-", "1.2.3", "0x10", "1e", "NaN", " 1", "1 "] {
            assert_eq!(parse_fixed(garbage, 2), Err(DecimalError::Garbage), "{garbage:?}");
        }
        assert_eq!(fixed(5, 8), "0.00000005");
        assert_eq!(fixed(-5, 1), "-0.5");
        assert_eq!(fixed(0, 0), "0");
        assert_eq!(Amount::parse("0.500").map(|a| a.to_string()), Ok("0.5".to_owned()));
        assert_eq!(Amount::parse("10000").map(|a| a.to_string()), Ok("10000".to_owned()));
        let mut padded = Vec::new();
        push_padded(&mut padded, 6_825_010, 2, 8);
        assert_eq!(padded, b"68250.10000000");
    }

    #[test]
    fn fees_round_as_asked() {
        let cost = Amount::parse("306.252").expect("valid");
        assert_eq!(cost.fee(1_600, 5, Rounding::HalfUp).to_string(), "0.49");
        assert_eq!(cost.fee(1_600, 5, Rounding::Up).to_string(), "0.49001");
        assert_eq!(Amount::parse("0.0015").expect("valid").fee(1_000, 8, Rounding::Down).to_string(), "0.0000015");
    }

    proptest! {
        #[test]
        fn fixed_text_round_trips(value in any::<i64>(), scale in 0u8..=12) {
            prop_assert_eq!(parse_i128(&fixed(value, scale), scale), Ok(i128::from(value)));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[-+]?[0-9]{0,30}[.]?[0-9]{0,30}(e[-+]?[0-9]{0,12})?") {
            let _ = parse_i128(&text, 8);
        }
    }
}
