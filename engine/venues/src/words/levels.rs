//! Price levels sixteen bytes at a time.
//!
//! A venue prints all numbers of a symbol with the same decimals, so where the point of one stands says all of its shape: which of
//! sixteen bytes are digits, which of them must be zeros, and where each digit counts. A [`Shape`] has that ready: the text less the
//! shape's is within the shape's limits or of another form, and one shuffle puts its digits in their places. Price and quantity are
//! added up together.
//!
//! What is said of a [`Cursor`] holds here: `None` is "not in the usual form", and what is read is what [`Cursor::decimal`] reads one by
//! one.

use super::{Cursor, PLACES_MAX, word_at, word_of};
use engine_core::lanes::{Lanes, NOTHING};

/// Digits before a point, at most.
const WHOLE_MAX: usize = 7;
/// Decimals that a quoted number has.
const QUOTED_DECIMALS: usize = 8;

/// How a number is printed whose point stands at a certain place. One cache line, as sixteen bytes are a quarter of one.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Shape {
    /// Zeros where it has digits, and its point.
    text: [u8; 16],
    /// How far each byte may be from that: 9 a digit, and a byte behind the number as far as it likes.
    limits: [u8; 16],
    /// Where in the text the sixteen digits are whose number is the value.
    digits: [u8; 16],
    /// Of those the zeros in front, at most, if there are none in front of others. 15: all but one, or all.
    zeros_max: u8,
}

impl Shape {
    /// No text is so: an impossible place of the point.
    const NONE: Shape = Shape { text: [b'0'; 16], limits: [0; 16], digits: [NOTHING; 16], zeros_max: 0 };

    /// With so many digits before the point, at least one, and so many decimals, of which so many are kept and the others zeros.
    const fn new(whole: usize, decimals: usize, kept: usize) -> Shape {
        assert!(whole > 0 && whole <= WHOLE_MAX && decimals > 0 && decimals <= PLACES_MAX as usize && kept <= decimals);
        let mut shape = Shape { text: [b'0'; 16], limits: [u8::MAX; 16], digits: [NOTHING; 16], zeros_max: 15 };
        let mut at = 0;
        while at < whole + 1 + decimals {
            shape.limits[at] = if at <= whole + kept { 9 } else { 0 };
            at += 1;
        }
        shape.text[whole] = b'.';
        shape.limits[whole] = 0;
        // From the last digit to the first.
        let (mut place, mut at) = (16, whole + kept);
        while place > 16 - whole - kept {
            place -= 1;
            shape.digits[place] = if at > whole { at as u8 } else { at as u8 - 1 };
            at -= 1;
        }
        if whole > 1 {
            shape.zeros_max = (16 - whole - kept) as u8;
        }
        shape
    }
}

/// The shapes of a symbol's prices, or of its quantities, by the place of the point: before it nothing, 1 digit, 2, .. 7.
#[derive(Debug)]
pub struct Shapes {
    by_point: [Shape; WHOLE_MAX + 1],
    /// Decimals as printed.
    decimals: u8,
}

impl Shapes {
    /// `decimals` 0: none.
    const fn new(decimals: usize, kept: usize) -> Shapes {
        let mut by_point = [Shape::NONE; WHOLE_MAX + 1];
        let mut whole = 1;
        while whole <= WHOLE_MAX && decimals > 0 {
            by_point[whole] = Shape::new(whole, decimals, kept);
            whole += 1;
        }
        Shapes { by_point, decimals: decimals as u8 }
    }

    /// Those of numbers with eight decimals, of which so many are kept and the others are zeros; `None` if there are more than
    /// [`PLACES_MAX`].
    #[inline(always)]
    pub fn quoted(places: u8) -> Option<&'static Shapes> {
        static BY_PLACES: [Shapes; PLACES_MAX as usize + 1] = {
            let mut table = [const { Shapes::new(0, 0) }; PLACES_MAX as usize + 1];
            let mut places = 0;
            while places < table.len() {
                table[places] = Shapes::new(QUOTED_DECIMALS, places);
                places += 1;
            }
            table
        };
        BY_PLACES.get(usize::from(places))
    }

    /// Those of numbers with all decimals that are kept, of which there is one at least: with none, no number is so. `None` if there are
    /// more than [`PLACES_MAX`].
    #[inline(always)]
    pub fn bare(places: u8) -> Option<&'static Shapes> {
        static BY_PLACES: [Shapes; PLACES_MAX as usize + 1] = {
            let mut table = [const { Shapes::new(0, 0) }; PLACES_MAX as usize + 1];
            let mut places = 0;
            while places < table.len() {
                table[places] = Shapes::new(places, places);
                places += 1;
            }
            table
        };
        BY_PLACES.get(usize::from(places))
    }

    /// Decimals as printed, at most eight.
    #[inline(always)]
    pub const fn decimals(&self) -> u8 {
        self.decimals
    }

    /// Reads the number that sixteen bytes begin with: the values of its sixteen digits, the place of its point, and its shape.
    #[inline(always)]
    fn read<C: Lanes>(&self, c: C, text: &[u8; 16]) -> Option<(C::Bits, usize, &Shape)> {
        let text = c.lane(text);
        // Without a point in the first eight bytes: as if it were the last of these, which is no point then.
        let point = (c.equal(text, b'.') | 1 << WHOLE_MAX).trailing_zeros() as usize;
        let shape = &self.by_point[point];
        let values = c.sum(text, c.lane(&shape.text));
        c.is_within(values, c.lane(&shape.limits)).then(|| (c.arranged(values, c.lane(&shape.digits)), point, shape))
    }
}

/// A level of bare numbers as [`Cursor::bare_level`] has read it.
#[derive(Clone, Copy, Debug)]
pub struct BareLevel<'a, C: Lanes> {
    /// Price, quantity.
    pub values: (i64, i64),
    /// The values of their sixteen digits each.
    pub digits: (C::Bits, C::Bits),
    /// How many of those are zeros in front of others: of a number of nought, 15.
    pub zeros: (usize, usize),
    /// Another price follows.
    pub more: bool,
    /// What follows.
    pub rest: Cursor<'a>,
}

/// How many of sixteen digits are zeros in front of others, or of the last.
#[inline(always)]
fn zeros_in_front<C: Lanes>(c: C, digits: C::Bits) -> usize {
    (c.no_less(digits, 1) | 1 << 15).trailing_zeros() as usize
}

impl<'a> Cursor<'a> {
    /// Reads `68250.10000000","1.50000000`, each with eight decimals, of which a price is above zero, and up to the next price if
    /// `"],["` follows: price and quantity, whether it does, and what is left. `None` also if less than 43 bytes are left: what is there
    /// must then be read piece by piece.
    #[inline(always)]
    pub fn quoted_level<C: Lanes>(&self, c: C, price_shapes: &Shapes, qty_shapes: &Shapes) -> Option<((i64, i64), bool, Cursor<'a>)> {
        // 7 + 1 + 8, twice, what stands between them, and the word behind them.
        let window: &[u8; 43] = self.rest.first_chunk()?;
        let (price, point, _) = price_shapes.read(c, window.first_chunk()?)?;
        let end = point + 1 + QUOTED_DECIMALS;
        if (word_at(window, end)? ^ word_of(b"\",\"")) << 40 != 0 {
            return None;
        }
        let at = end + 3;
        let (qty, point, _) = qty_shapes.read(c, window.get(at..)?.first_chunk()?)?;
        let end = at + point + 1 + QUOTED_DECIMALS;
        let more = (word_at(window, end)? ^ word_of(b"\"],[\"")) << 24 == 0;
        let (price, qty) = c.numbers(price, qty);
        let rest = self.rest.get(if more { end + 5 } else { end }..)?;
        (price != 0).then_some(((price as i64, qty as i64), more, Cursor { rest }))
    }

    /// Reads `61250.4,"qty":0.60000000`, as JSON has numbers, with the decimals of the shapes, of which a price is above zero, and up to
    /// the next price if `},{"price":` follows. What else follows is the caller's to check: it may be more decimals. `None` also if less
    /// than 64 bytes are left.
    #[inline(always)]
    pub fn bare_level<C: Lanes>(&self, c: C, price_shapes: &Shapes, qty_shapes: &Shapes) -> Option<BareLevel<'a, C>> {
        let window: &[u8; 64] = self.rest.first_chunk()?;
        let (price, point, price_shape) = price_shapes.read(c, window.first_chunk()?)?;
        let end = point + 1 + usize::from(price_shapes.decimals & 0xf);
        if (word_at(window, end)? ^ word_of(b",\"qty\":")) << 8 != 0 {
            return None;
        }
        let at = end + 7;
        let (qty, point, qty_shape) = qty_shapes.read(c, window.get(at..)?.first_chunk()?)?;
        let zeros = (zeros_in_front(c, price), zeros_in_front(c, qty));
        if zeros.0 > usize::from(price_shape.zeros_max) || zeros.1 > usize::from(qty_shape.zeros_max) {
            return None;
        }
        let end = at + point + 1 + usize::from(qty_shapes.decimals & 0xf);
        let more = word_at(window, end)? == word_of(b"},{\"pric") && word_at(window, end + 3)? == word_of(b"\"price\":");
        let values = c.numbers(price, qty);
        let rest = self.rest.get(if more { end + 11 } else { end }..)?;
        let level = BareLevel { values: (values.0 as i64, values.1 as i64), digits: (price, qty), zeros, more, rest: Cursor { rest } };
        (values.0 != 0).then_some(level)
    }

    /// As [`Cursor::integer`].
    #[inline(always)]
    pub fn integer_in_lane<C: Lanes>(&mut self, c: C) -> Option<u64> {
        /// A lane's length from here on puts so many digits in the last places.
        static LAST_PLACES: [u8; 32] = {
            let mut table = [NOTHING; 32];
            let mut at = 16;
            while at < 32 {
                table[at] = at as u8 - 16;
                at += 1;
            }
            table
        };
        let Some(window) = self.rest.first_chunk::<17>() else { return self.integer() };
        let values = c.sum(c.lane(window.first_chunk()?), c.lane(&[b'0'; 16]));
        let len = (c.no_less(values, 10) | 1 << 16).trailing_zeros() as usize;
        // Nought, nothing, zeros in front, and more digits than these: not for here.
        if window[0] == b'0' || window[len].is_ascii_digit() || len == 0 {
            return self.integer();
        }
        let digits = c.arranged(values, c.lane(LAST_PLACES.get(len..)?.first_chunk()?));
        self.rest = self.rest.get(len..)?;
        Some(c.number(digits))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Places, Plain};
    use super::*;
    use engine_core::carryless::{Carryless, Native, Portable};
    use proptest::prelude::*;

    /// Values, whether more follows and what is left, with and without the processor's help.
    type Read = Option<((i64, i64), bool, Vec<u8>)>;

    fn quoted(text: &[u8], scales: (u8, u8)) -> Read {
        let shapes = (Shapes::quoted(scales.0).unwrap(), Shapes::quoted(scales.1).unwrap());
        let read = |read: Option<((i64, i64), bool, Cursor<'_>)>| read.map(|(values, more, rest)| (values, more, rest.rest.to_vec()));
        let portable = read(Cursor::new(text).quoted_level(Portable, shapes.0, shapes.1));
        if let Some(c) = Native::detect() {
            assert_eq!(read(c.run(|| Cursor::new(text).quoted_level(c, shapes.0, shapes.1))), portable);
        }
        portable
    }

    fn bare_with<C: Lanes>(c: C, text: &[u8], shapes: (&Shapes, &Shapes)) -> Read {
        let BareLevel { values, digits, zeros, more, rest } = Cursor::new(text).bare_level(c, shapes.0, shapes.1)?;
        assert_eq!(c.numbers(digits.0, digits.1), (values.0 as u64, values.1 as u64));
        let zeros_of = |value: i64| 15 - value.max(1).ilog10() as usize;
        assert_eq!(zeros, (zeros_of(values.0), zeros_of(values.1)));
        Some((values, more, rest.rest.to_vec()))
    }

    fn bare(text: &[u8], scales: (u8, u8)) -> Read {
        let shapes = (Shapes::bare(scales.0).unwrap(), Shapes::bare(scales.1).unwrap());
        let portable = bare_with(Portable, text, shapes);
        if let Some(c) = Native::detect() {
            assert_eq!(c.run(|| bare_with(c, text, shapes)), portable);
        }
        portable
    }

    #[test]
    fn every_place_of_the_point_and_every_number_of_decimals() {
        for whole in 1..=WHOLE_MAX {
            for places in 0..=PLACES_MAX {
                let printed = |decimals: u8| format!("{}.{}", &"7654321"[..whole], "0".repeat(usize::from(decimals)));
                let unit = 10i64.pow(u32::from(places));
                let value = "7654321"[..whole].parse::<i64>().unwrap() * unit;
                let text = format!("{}\",\"{}\"],[\"{:40}", printed(8), printed(8), "");
                let read = quoted(text.as_bytes(), (places, places));
                assert_eq!(read, Some(((value, value), true, vec![b' '; 40])), "{text}");
                let number = printed(places);
                let text = format!("{number},\"qty\":{number}}},{{\"price\":{:64}", "");
                let read = bare(text.as_bytes(), (places, places));
                assert_eq!(read, (places > 0).then(|| ((value, value), true, vec![b' '; 64])), "{text}");
            }
        }
        assert!(Shapes::quoted(9).is_none() && Shapes::bare(9).is_none());
    }

    proptest! {
        #[test]
        fn levels_read_as_pairs_do(
            numbers in prop::array::uniform2(
                "[1-9][0-9]{0,6}\\.[0-9]{1,3}0{5,7}|[0-9]{1,8}\\.[0-9]{8}|[1-9][0-9]{3}\\.[0-9]{2}|[1-9]?[0-9]{1,7}\\.[0-9]{1,8}|\
                 0?[1-9]{1,3}\\.[0-9]{1,3}0{2}|[-+.0-9e]{0,18}|0\\.0{1,9}",
            ),
            between in prop_oneof![8 => Just("\",\""), 8 => Just(",\"qty\":"), 1 => Just("\",,"), 1 => Just(",\"qtz\":"), 1 => Just("")],
            behind in prop_oneof![
                3 => Just("\"],[\""), 1 => Just("\"],[."), 1 => Just("\"]]"), 3 => Just("},{\"price\":"), 1 => Just("},{\"prize\":"),
                1 => Just("}],\"asks\":["), 1 => Just(""), 1 => Just("0"),
            ],
            filling in "[ -~]{70}", cut in 0usize..200, scales in (0u8..=8, prop_oneof![2 => Just(8u8), 1 => 0u8..=8]),
        ) {
            let text = format!("{}{between}{}{behind}{filling}", numbers[0], numbers[1]);
            let text = &text.as_bytes()[..cut.min(text.len())];
            let decimal = |cursor: &mut Cursor<'_>, scale: u8| cursor.decimal(Places::of(scale).unwrap());
            let one_by_one = |fits: &dyn Fn(&Plain, u8) -> bool, between: &[u8], next: &[u8]| {
                let mut cursor = Cursor::new(text);
                let price = decimal(&mut cursor, scales.0).filter(|price| fits(price, scales.0) && price.value > 0)?;
                cursor.rest = cursor.rest.strip_prefix(between)?;
                let qty = decimal(&mut cursor, scales.1).filter(|qty| fits(qty, scales.1))?;
                let rest = cursor.rest.strip_prefix(next);
                Some(((price.value, qty.value), rest.is_some(), rest.unwrap_or(cursor.rest).to_vec()))
            };
            let want = one_by_one(&|plain, _| plain.decimals == 8, b"\",\"", b"\"],[\"").filter(|_| text.len() >= 43);
            prop_assert_eq!(quoted(text, scales), want);
            let want = one_by_one(&|plain, scale| !plain.zero_padded && plain.decimals == scale, b",\"qty\":", b"},{\"price\":");
            let want = want.filter(|_| text.len() >= 64);
            let read = bare(text, scales);
            if want.is_some() || read.as_ref().is_none_or(|(.., rest)| !rest[0].is_ascii_digit()) {
                prop_assert_eq!(read, want);
            }
        }

        #[test]
        fn integers_read_as_ever(text in "[1-9][0-9]{0,20}|0?[0-9]{0,4}|[ -~]{0,4}|[1-9][0-9]{14,17}", tail in "[,}\\]x][ -~]{0,24}|") {
            let text = format!("{text}{tail}");
            let read = |read: &dyn Fn(&mut Cursor<'_>) -> Option<u64>| {
                let mut cursor = Cursor::new(text.as_bytes());
                read(&mut cursor).map(|value| (value, cursor.rest.to_vec()))
            };
            let (want, portable) = (read(&|cursor| cursor.integer()), read(&|cursor| cursor.integer_in_lane(Portable)));
            // Sixteen digits and what follows them are enough here; there, a word more is looked at.
            prop_assert!(portable == want || want.is_none() && text.len() >= 17 && text.as_bytes()[..17].iter().any(|c| !c.is_ascii_digit()));
            if let Some((value, rest)) = &portable {
                prop_assert_eq!(format!("{value}{}", String::from_utf8_lossy(rest)), text.as_str());
            }
            if let Some(c) = Native::detect() {
                prop_assert_eq!(c.run(|| read(&|cursor| cursor.integer_in_lane(c))), portable);
            }
        }
    }
}
