//! Text eight bytes at a time.
//!
//! Venues write their messages by machine: the same members in the same order, no white space, numbers padded to the
//! same places. [`Cursor`] reads such text by what is expected next. A whole key is one comparison, the digits of a
//! number are found and added up eight at once in one register, and nothing is decided byte by byte.
//!
//! **A cursor never says what is wrong.** `None` means "not in the usual form"; the caller then reads the message again
//! with [`crate::json::Scanner`], which takes every form and names every error. So what a cursor accepts, the scanner must
//! accept with the same result; that is what the tests of each reader check.
//!
//! A word holds text as it lies in memory, read as little-endian: the first character is the lowest byte.

use engine_core::fixed::POW10;

/// `0` in each byte.
pub(crate) const ZEROS: u64 = repeat(b'0');
/// The highest bit of each byte.
const HIGH: u64 = repeat(0x80);
/// Decimal places that [`Places`] can have.
pub const PLACES_MAX: u8 = 8;

const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Where the digits that a word begins with end: a bit of the first byte that is none. `values` is the word less [`ZEROS`].
#[inline(always)]
const fn others(values: u64) -> u64 {
    // Up to 9 the sum stays below 0x80. A carry comes from a byte that is no digit, and only touches those behind it.
    (values.wrapping_add(repeat(0x76)) | values) & HIGH
}

/// The digits that a word begins with: their values, byte by byte (what follows is garbage), and eight times their number.
#[inline(always)]
const fn leading_digits(word: u64) -> (u64, u32) {
    let values = word ^ ZEROS;
    (values, others(values).trailing_zeros() & 0x78)
}

/// The number that eight values 0 to 9 make, the first in the lowest byte.
#[inline(always)]
const fn number(values: u64) -> u64 {
    const LOW: u64 = 0x0000_00ff_0000_00ff;
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let first = (pairs & LOW).wrapping_mul(100 + (1_000_000 << 32));
    let second = ((pairs >> 16) & LOW).wrapping_mul(1 + (10_000 << 32));
    first.wrapping_add(second) >> 32
}

/// What [`number`] reverses: the eight digits of a number below 10^8, leading zeros included.
#[inline(always)]
pub(crate) const fn digits(number: u64) -> u64 {
    // Fours, pairs, digits: each half stays where it is, and what is left goes behind it. The products divide by 100
    // and by 10 exactly as far as the values reach.
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = (fours.wrapping_mul(5_243) >> 19) & 0x0000_007f_0000_007f;
    let pairs = hundreds.wrapping_add(fours.wrapping_sub(hundreds.wrapping_mul(100)) << 16);
    let tens = (pairs.wrapping_mul(103) >> 10) & 0x000f_000f_000f_000f;
    tens.wrapping_add(pairs.wrapping_sub(tens.wrapping_mul(10)) << 8)
}

/// The text of a number below 10^8 in a word, and how many digits it has. What follows them is zeros.
#[inline(always)]
pub(crate) const fn short_text(number: u64) -> (u64, u32) {
    let word = digits(number);
    // Nought has one digit.
    let zeros = (word | (1 << 56)).trailing_zeros() & 0x38;
    ((word | ZEROS).wrapping_shr(zeros), 8 - zeros / 8)
}

/// Digits of the largest integer.
pub const INTEGER_LEN_MAX: usize = 20;

/// Writes two integers one behind the other; returns the length of the text. Not for the usual case.
#[cold]
pub fn write_integers(first: u64, second: u64, out: &mut [u8; 2 * INTEGER_LEN_MAX]) -> usize {
    let mut len = 0;
    for number in [first, second] {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number).as_bytes();
        if let Some(room) = out.get_mut(len..len + digits.len()) {
            room.copy_from_slice(digits);
            len += digits.len();
        }
    }
    len
}

/// The first `bits / 8` values, fewer than eight, in the last places of eight; zeros before them.
#[inline(always)]
const fn flush_right(values: u64, bits: u32) -> u64 {
    (values << 8).wrapping_shl(56 - (bits & 0x38))
}

/// What words are worked with, where an instruction finds it in memory: a constant of eight bytes in the code costs an
/// instruction each time that it is needed, and registers there are not enough.
#[derive(Clone, Copy, Debug)]
struct Constants {
    zeros: u64,
    high: u64,
    beyond_nine: u64,
    low: u64,
    first: u64,
    second: u64,
}

impl Constants {
    const ALL: Constants = Constants {
        zeros: ZEROS,
        high: HIGH,
        beyond_nine: repeat(0x76),
        low: 0x0000_00ff_0000_00ff,
        first: 100 + (1_000_000 << 32),
        second: 1 + (10_000 << 32),
    };

    /// As the function of this name.
    #[inline(always)]
    const fn number(&self, values: u64) -> u64 {
        let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
        let first = (pairs & self.low).wrapping_mul(self.first);
        let second = ((pairs >> 16) & self.low).wrapping_mul(self.second);
        first.wrapping_add(second) >> 32
    }
}

/// How many decimal places are kept, prepared for [`Cursor::decimal`].
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Eight times the places.
    bits: u32,
    /// Eight times the digits before the point with which the places kept make eight.
    room: u32,
    /// 10 to the power of the places.
    unit: u64,
    /// What makes the highest bit of a byte of eight decimals show that it cannot stand there: a place kept that is no
    /// digit, or one behind them that is no zero.
    limits: u64,
    constants: Constants,
}

/// By their number.
static PLACES: [Places; PLACES_MAX as usize + 1] = {
    let mut table = [Places { bits: 0, room: 64, unit: 1, limits: repeat(0x7f), constants: Constants::ALL }; PLACES_MAX as usize + 1];
    let mut scale = 1;
    while scale < table.len() {
        let bits = 8 * scale as u32;
        let kept = u64::MAX >> (64 - bits);
        table[scale] = Places {
            bits,
            room: 64 - bits,
            unit: POW10[scale] as u64,
            limits: repeat(0x7f) - (kept & repeat(0x7f - 0x76)),
            constants: Constants::ALL,
        };
        scale += 1;
    }
    table
};

impl Places {
    /// `None` if there are more than [`PLACES_MAX`].
    #[inline(always)]
    pub fn of(scale: u8) -> Option<&'static Places> {
        PLACES.get(usize::from(scale))
    }

    /// True if eight decimals fit. They are less [`ZEROS`].
    #[inline(always)]
    const fn fit(&self, decimals: u64) -> bool {
        (decimals.wrapping_add(self.limits) | decimals) & HIGH == 0
    }
}

/// A decimal as it was read: below 10^15.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plain {
    /// At the places asked for.
    pub value: i64,
    /// Decimals as printed, 1 to 8.
    pub decimals: u8,
    /// The integer part has a leading zero that JSON does not allow in a bare number.
    pub zero_padded: bool,
}

/// Two decimals of a price level, and what stands behind them: see [`Cursor::quoted_pair`] and [`Cursor::named_pair`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Price, quantity.
    pub values: (i64, i64),
    /// Their decimals as printed.
    pub decimals: (u8, u8),
    /// The eight bytes behind them.
    next: u64,
}

impl Pair {
    /// True if the text behind the pair begins so. `text` has at most eight bytes.
    #[inline(always)]
    pub const fn is_before<const N: usize>(&self, text: &[u8; N]) -> bool {
        (self.next ^ word_of(text)) << (64 - 8 * N) == 0
    }
}

/// Up to eight bytes as a word, zeros behind them.
#[inline(always)]
const fn word_of<const N: usize>(text: &[u8; N]) -> u64 {
    const { assert!(N > 0 && N <= 8) };
    let (mut word, mut at) = (0, N);
    while at > 0 {
        at -= 1;
        word = word << 8 | text[at] as u64;
    }
    word
}

/// The word at a place of a window. That it lies in the window is known where this is called, so that nothing is left of
/// the check.
#[inline(always)]
fn word_at<const N: usize>(window: &[u8; N], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*window.get(at..)?.first_chunk()?))
}

/// Reads what [`Cursor::decimal`] reads, and says at which place of the window it ends: at most sixteen on. With `PADDED`
/// there must be eight decimals and there may be zeros in front; without, there may be fewer decimals and the zeros may not.
#[inline(always)]
fn decimal_in<const N: usize, const PADDED: bool>(window: &[u8; N], at: usize, places: &Places, k: &Constants) -> Option<(Plain, usize)> {
    let values = word_at(window, at)? ^ k.zeros;
    let other = (values.wrapping_add(k.beyond_nine) | values) & k.high;
    if other == 0 {
        return None;
    }
    let bits = other.trailing_zeros() & 0x38;
    let point = at + (bits / 8) as usize;
    if bits == 0 || window.get(point) != Some(&b'.') || (!PADDED && values & 0xff == 0 && bits > 8) {
        return None;
    }
    let whole = values.wrapping_shl(64u32.wrapping_sub(bits));
    let mut fraction = word_at(window, point + 1)? ^ k.zeros;
    let mut decimals = 8;
    if !PADDED {
        let end = others(fraction).trailing_zeros() & 0x78;
        if end == 0 {
            return None;
        }
        fraction &= u64::MAX.wrapping_shr(64u32.wrapping_sub(end));
        decimals = (end / 8) as u8;
    }
    if (fraction.wrapping_add(places.limits) | fraction) & k.high != 0 {
        return None;
    }
    let value = if bits <= places.room {
        // With no places kept the fraction is zero, wherever it is shifted.
        k.number(whole.wrapping_shr(places.bits) | fraction.wrapping_shl(64u32.wrapping_sub(places.bits)))
    } else {
        k.number(whole).wrapping_mul(places.unit).wrapping_add(k.number(fraction.wrapping_shl(64u32.wrapping_sub(places.bits))))
    };
    Some((Plain { value: value as i64, decimals, zero_padded: false }, point + 1 + usize::from(decimals & 0xf)))
}

/// How the levels of a message are printed: prices with as many digits before the point as the first of them, and all numbers
/// with all decimals that are kept. Nearly all levels are like the one before them: then no number's end is looked for, and a
/// price with its point is one word. See [`Cursor::level_like`].
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// A price: zeros where it has digits, and its point.
    price: u64,
    /// The bytes of a price.
    price_bytes: u64,
    /// What [`limits_of`] says of them.
    price_limits: u64,
    /// Its bytes before the point.
    before: u64,
    /// Its length, 3 to 8, less one.
    price_len: u8,
    /// Takes its digits to the end of a word.
    price_shift: u32,
    /// The first number with so many digits that has no zero in front of others.
    price_min: u64,
    /// The bytes of a quantity's decimals.
    decimals: u64,
    decimals_limits: u64,
    decimals_shift: u32,
    /// What they are the part of.
    unit: u64,
    /// How many decimals a quantity has, 1 to 8, less one.
    qty_decimals: u8,
    constants: Constants,
    /// As printed: of prices, of quantities.
    printed: (u8, u8),
}

/// A level as [`Cursor::level_like`] has read it.
#[derive(Clone, Copy, Debug)]
pub struct Like<'a> {
    /// Price, quantity.
    pub values: (i64, i64),
    /// The same, digit by digit: the price, the quantity before its point and behind it. Eight values each, the last digit in the
    /// highest byte.
    pub digits: (u64, u64, u64),
    /// Another price follows.
    pub more: bool,
    /// What follows.
    pub rest: Cursor<'a>,
}

impl Form {
    /// No level is like it.
    pub const NONE: Form = Form {
        price: 0,
        price_bytes: u64::MAX,
        price_limits: repeat(0x7f),
        before: 0,
        price_len: 0,
        price_shift: 0,
        price_min: u64::MAX,
        decimals: 0,
        decimals_limits: 0,
        decimals_shift: 0,
        unit: 1,
        qty_decimals: 0,
        constants: Constants::ALL,
        printed: (0, 0),
    };

    /// Decimals as printed: of prices, of quantities.
    #[inline(always)]
    pub const fn printed(&self) -> (u8, u8) {
        self.printed
    }

    /// Decimals of a quantity, 1 to 8.
    #[inline(always)]
    pub const fn qty_decimals(&self) -> u32 {
        (self.qty_decimals & 0x7) as u32 + 1
    }

    /// True if levels with these places can be like it.
    #[inline(always)]
    pub const fn is_with(&self, price_places: &Places, qty_places: &Places) -> bool {
        self.printed.0 as u32 * 8 == price_places.bits && self.printed.1 as u32 * 8 == qty_places.bits
    }

    /// The form of levels like the one whose price begins with this word; [`Form::NONE`] if they are of another kind.
    #[inline(always)]
    fn of(word: u64, price_places: &Places, qty_places: &Places) -> Form {
        let bits = others(word ^ ZEROS).trailing_zeros() & 0x38;
        let len_bits = bits + 8 + price_places.bits;
        if bits == 0 || word.wrapping_shr(bits) as u8 != b'.' || price_places.bits == 0 || len_bits > 64 || qty_places.bits == 0 {
            return Form::NONE;
        }
        let price_bytes = u64::MAX.wrapping_shr(64u32.wrapping_sub(len_bits));
        let decimals = u64::MAX.wrapping_shr(64u32.wrapping_sub(qty_places.bits));
        let digits = (len_bits / 8 - 1) as usize & 0x7;
        Form {
            price: ZEROS ^ u64::from(b'0' ^ b'.').wrapping_shl(bits),
            price_bytes,
            price_limits: (repeat(0x76) & price_bytes) + (0x7f - 0x76u64).wrapping_shl(bits),
            before: !u64::MAX.wrapping_shl(bits),
            price_len: (len_bits / 8 - 1) as u8,
            price_shift: 72u32.wrapping_sub(len_bits),
            price_min: if bits > 8 { POW10[digits] as u64 / 10 } else { 1 },
            decimals,
            decimals_limits: repeat(0x76) & decimals,
            decimals_shift: 64u32.wrapping_sub(qty_places.bits),
            unit: qty_places.unit,
            qty_decimals: (qty_places.bits / 8 - 1) as u8,
            constants: Constants::ALL,
            printed: ((price_places.bits / 8) as u8, (qty_places.bits / 8) as u8),
        }
    }
}

/// What makes the highest bit of a byte less its shape show that it is not of it: up to 9 where the shape has a zero, nothing
/// elsewhere.
#[inline(always)]
const fn limits_of(shape: &[u8; 8]) -> u64 {
    let (mut limits, mut at) = ([0x7f; 8], 0);
    while at < 8 {
        if shape[at] == b'0' {
            limits[at] = 0x76;
        }
        at += 1;
    }
    u64::from_le_bytes(limits)
}

/// Eight characters of a known shape: digits where the shape has zeros, and between them what it has there.
#[derive(Clone, Copy, Debug)]
pub struct Shaped {
    /// The digits' values, byte by byte; 0 for what stands between them.
    values: u64,
}

impl Shaped {
    /// `None` if the text has another shape.
    #[inline(always)]
    pub fn read(text: &[u8; 8], shape: &[u8; 8]) -> Option<Shaped> {
        let values = u64::from_le_bytes(*text) ^ u64::from_le_bytes(*shape);
        let wrong = (values.wrapping_add(limits_of(shape)) | values) & HIGH;
        (wrong == 0).then_some(Shaped { values })
    }

    /// The number that the two digits from the place `at` on make.
    #[inline(always)]
    pub const fn pair(self, at: u32) -> u64 {
        self.values.wrapping_mul(10).wrapping_add(self.values >> 8).wrapping_shr(8 * at) & 0xff
    }

    /// The number that the six digits from the place `at` (0, 1 or 2) on make, if nothing but marks stands before and
    /// behind them.
    #[inline(always)]
    pub const fn six_from(self, at: u32) -> u64 {
        number(self.values.wrapping_shl(8 * 2u32.wrapping_sub(at)))
    }
}

/// What is left to read. See the module header.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// At the start of `text`.
    #[inline(always)]
    pub const fn new(text: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: text }
    }

    /// True if nothing is left.
    #[inline(always)]
    pub const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline(always)]
    fn word(&self) -> Option<u64> {
        self.rest.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// `count` is at most 8, and so many are there.
    #[inline(always)]
    fn advance(&mut self, count: usize) -> Option<()> {
        self.rest = self.rest.get(count..)?;
        Some(())
    }

    /// Takes so many bytes.
    #[inline(always)]
    pub fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(taken)
    }

    /// Takes exactly this text.
    #[inline(always)]
    pub fn expect<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        let (found, rest) = self.rest.split_first_chunk::<N>()?;
        if found != text {
            return None;
        }
        self.rest = rest;
        Some(())
    }

    /// Takes this text if it is there.
    #[inline(always)]
    pub fn accept<const N: usize>(&mut self, text: &[u8; N]) -> bool {
        self.expect(text).is_some()
    }

    /// Takes the text up to a quote, and the quote. At most 32 bytes. Escapes and control characters are not looked for:
    /// the caller must know the text.
    #[inline(always)]
    pub fn until_quote(&mut self) -> Option<&'a [u8]> {
        let start = self.rest;
        let mut len = 0;
        for _ in 0..4 {
            let unlike = self.word()? ^ repeat(b'"');
            let quotes = unlike.wrapping_sub(repeat(1)) & !unlike & HIGH;
            if quotes != 0 {
                let at = (quotes.trailing_zeros() / 8) as usize;
                self.advance(at + 1)?;
                return start.get(..len + at);
            }
            self.advance(8)?;
            len += 8;
        }
        None
    }

    /// Takes a bare integer of up to 19 digits, without leading zeros.
    #[inline(always)]
    pub fn integer(&mut self) -> Option<u64> {
        let (values, bits) = leading_digits(self.word()?);
        if bits < 64 {
            if bits == 0 || (values & 0xff == 0 && bits > 8) {
                return None;
            }
            self.advance((bits / 8) as usize)?;
            return Some(number(flush_right(values, bits)));
        }
        if values & 0xff == 0 {
            return None;
        }
        let mut value = number(values);
        self.advance(8)?;
        let (values, bits) = leading_digits(self.word()?);
        if bits < 64 {
            self.advance((bits / 8) as usize)?;
            return Some(value.wrapping_mul(POW10[(bits / 8) as usize] as u64).wrapping_add(number(flush_right(values, bits))));
        }
        value = value.wrapping_mul(100_000_000).wrapping_add(number(values));
        self.advance(8)?;
        let (values, bits) = leading_digits(self.word()?);
        // 19 digits always fit.
        if bits > 24 {
            return None;
        }
        self.advance((bits / 8) as usize)?;
        Some(value.wrapping_mul(POW10[(bits / 8) as usize] as u64).wrapping_add(number(flush_right(values, bits))))
    }

    /// Takes a decimal of one to seven digits, a point, and one to eight decimals, of which those beyond `places` are
    /// zeros. What follows is the caller's to check.
    #[inline(always)]
    pub fn decimal(&mut self, places: &Places) -> Option<Plain> {
        let word = self.word()?;
        let values = word ^ ZEROS;
        let point = others(values);
        if point == 0 {
            return None;
        }
        let bits = point.trailing_zeros() & 0x38;
        if bits == 0 || word.wrapping_shr(bits) as u8 != b'.' {
            return None;
        }
        let zero_padded = values & 0xff == 0 && bits > 8;
        let whole = flush_right(values, bits);
        self.advance((bits / 8) as usize + 1)?;
        let mut fraction = self.word()? ^ ZEROS;
        let mut decimals = 8;
        // Eight decimals are the usual thing. Where there are fewer, zeros follow them.
        if !places.fit(fraction) {
            let end = others(fraction).trailing_zeros() & 0x78;
            if end == 0 {
                return None;
            }
            fraction &= u64::MAX.wrapping_shr(64u32.wrapping_sub(end));
            if !places.fit(fraction) {
                return None;
            }
            decimals = (end / 8) as u8;
        }
        self.advance(usize::from(decimals))?;
        // With no places kept the fraction is zero, wherever it is shifted.
        let part = fraction.wrapping_shl(64u32.wrapping_sub(places.bits));
        let value = if bits <= places.room {
            number(whole.wrapping_shr(places.bits) | part)
        } else {
            number(whole).wrapping_mul(places.unit).wrapping_add(number(part))
        };
        Some(Plain { value: value as i64, decimals, zero_padded })
    }

    /// Takes `68250.10000000","1.50000000`, each with eight decimals, of which a price is above zero. `None` also if less than
    /// 43 bytes are left: what is there must then be read piece by piece.
    #[inline(always)]
    pub fn quoted_pair(&mut self, price_places: &Places, qty_places: &Places) -> Option<Pair> {
        // 7 + 1 + 8, twice, what stands between them, and the word behind them.
        let window: &[u8; 43] = self.rest.first_chunk()?;
        let k = &price_places.constants;
        let (price, end) = decimal_in::<43, true>(window, 0, price_places, k)?;
        if price.value == 0 || window.get(end..end + 3)? != b"\",\"" {
            return None;
        }
        let (qty, end) = decimal_in::<43, true>(window, end + 3, qty_places, k)?;
        let next = word_at(window, end)?;
        self.rest = self.rest.get(end..)?;
        Some(Pair { values: (price.value, qty.value), decimals: (8, 8), next })
    }

    /// Takes `61250.4,"qty":0.60000000`, as JSON has numbers, of which a price is above zero. `None` also if less than 47 bytes are
    /// left.
    #[inline(always)]
    pub fn named_pair(&mut self, price_places: &Places, qty_places: &Places) -> Option<Pair> {
        let window: &[u8; 47] = self.rest.first_chunk()?;
        let k = &price_places.constants;
        let (price, end) = decimal_in::<47, false>(window, 0, price_places, k)?;
        if price.value == 0 || window.get(end..end + 7)? != b",\"qty\":" {
            return None;
        }
        let (qty, end) = decimal_in::<47, false>(window, end + 7, qty_places, k)?;
        let next = word_at(window, end)?;
        self.rest = self.rest.get(end..)?;
        Some(Pair { values: (price.value, qty.value), decimals: (price.decimals, qty.decimals), next })
    }

    /// The form of levels like the one that follows.
    #[inline(always)]
    pub fn form(&self, price_places: &Places, qty_places: &Places) -> Form {
        self.word().map_or(Form::NONE, |word| Form::of(word, price_places, qty_places))
    }

    /// As [`Cursor::named_pair`], of a level in this form, with what is behind it up to the next price if it is `},{"price":`.
    /// `None` if the level is in another form. What else follows is the caller's to check: it may be more decimals.
    #[inline(always)]
    pub fn level_like(&self, form: &Form) -> Option<Like<'a>> {
        let window: &[u8; 47] = self.rest.first_chunk()?;
        let k = &form.constants;
        let price = (word_at(window, 0)? ^ form.price) & form.price_bytes;
        if (price.wrapping_add(form.price_limits) | price) & k.high != 0 {
            return None;
        }
        // The point goes: it is nought already.
        let behind = price >> 8;
        let price_digits = ((price ^ behind) & form.before ^ behind).wrapping_shl(form.price_shift);
        let price = k.number(price_digits);
        let at = usize::from(form.price_len & 0x7) + 1;
        if price < form.price_min || (word_at(window, at)? ^ word_of(b",\"qty\":")) << 8 != 0 {
            return None;
        }
        let at = at + 7;
        let values = word_at(window, at)? ^ k.zeros;
        let bits = ((values.wrapping_add(k.beyond_nine) | values) & k.high).trailing_zeros() & 0x38;
        let point = at + (bits / 8) as usize;
        if bits == 0 || window.get(point) != Some(&b'.') || (values & 0xff == 0 && bits > 8) {
            return None;
        }
        let fraction = (word_at(window, point + 1)? ^ k.zeros) & form.decimals;
        if (fraction.wrapping_add(form.decimals_limits) | fraction) & k.high != 0 {
            return None;
        }
        let whole = values.wrapping_shl(64u32.wrapping_sub(bits));
        let fraction = fraction.wrapping_shl(form.decimals_shift);
        let qty = k.number(whole).wrapping_mul(form.unit).wrapping_add(k.number(fraction));
        let end = point + usize::from(form.qty_decimals & 0x7) + 2;
        let more = word_at(window, end)? == word_of(b"},{\"pric") && word_at(window, end + 3)? == word_of(b"\"price\":");
        let rest = window.get(end..).and(self.rest.get(if more { end + 11 } else { end }..))?;
        let digits = (price_digits, whole, fraction);
        Some(Like { values: (price as i64, qty as i64), digits, more, rest: Cursor { rest } })
    }

    /// Takes what [`Pair::is_before`] has seen.
    #[inline(always)]
    pub fn skip<const N: usize>(&mut self) -> Option<()> {
        self.advance(N)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::fixed::parse_decimal;
    use proptest::prelude::*;

    #[test]
    fn integers_of_every_length_up_to_nineteen_digits() {
        for len in 1..=25 {
            let digits = &"9876543210987654321098765"[..len];
            let text = format!("{digits},        ");
            let mut cursor = Cursor::new(text.as_bytes());
            let want = (len <= 19).then(|| digits.parse().unwrap());
            assert_eq!(cursor.integer(), want, "{digits}");
            assert_eq!(cursor.accept(b","), want.is_some());
        }
        for (text, want) in [("0,       ", Some(0)), ("00,      ", None), ("012345678,       ", None), ("01,      ", None)] {
            assert_eq!(Cursor::new(text.as_bytes()).integer(), want, "{text}");
        }
        for text in ["", ",       ", "-1,       ", "1234567", "12345678", "1234567812345678"] {
            assert_eq!(Cursor::new(text.as_bytes()).integer(), None, "{text}: no number, or no room to look ahead");
        }
    }

    #[test]
    fn texts_end_at_the_first_quote() {
        for len in 0..40 {
            let text = format!("{}\"rest\"    ", "x".repeat(len));
            let mut cursor = Cursor::new(text.as_bytes());
            let want = (len < 32).then(|| &text.as_bytes()[..len]);
            assert_eq!(cursor.until_quote(), want);
            assert_eq!(cursor.accept(b"rest"), want.is_some());
        }
        assert_eq!(Cursor::new(b"\xa2#!\"       ").until_quote(), Some(&b"\xa2#!"[..]), "neighbours of a quote are none");
        assert_eq!(Cursor::new(b"abc\"").until_quote(), None, "no room to look ahead");
    }

    #[test]
    fn decimals_keep_their_places_or_are_none() {
        let read = |text: &str, scale| {
            let text = format!("{text}\"        ");
            let mut cursor = Cursor::new(text.as_bytes());
            let plain = cursor.decimal(Places::of(scale).unwrap())?;
            cursor.accept(b"\"").then_some((plain.value, plain.decimals))
        };
        assert_eq!(read("68250.10000000", 2), Some((6_825_010, 8)));
        assert_eq!(read("68250.1", 8), Some((6_825_010_000_000, 1)));
        assert_eq!(read("1234567.00000000", 0), Some((1_234_567, 8)));
        assert_eq!(read("9999999.99999999", 8), Some((999_999_999_999_999, 8)));
        assert_eq!(read("0.0", 3), Some((0, 1)));
        for text in ["68250.10100000", "0.001", "0.00000001"] {
            assert_eq!(read(text, 2), None, "{text}: finer than the places");
        }
        for text in ["", ".5", "5.", "5", "-5.0", "1e5", "12345678.0", "0.123456789", "5.x", "5,0", "5.0e1"] {
            assert_eq!(read(text, 8), None, "{text}");
        }
        assert!(Places::of(9).is_none());
    }

    #[test]
    fn integers_of_any_length_are_written() {
        let mut whole = [b'x'; 40];
        assert_eq!(write_integers(u64::MAX, u64::MAX, &mut whole), 40);
        assert_eq!(&whole, b"1844674407370955161518446744073709551615");
    }

    /// The two halves of eight digits do not touch each other: every value of each is every number.
    #[test]
    fn digits_are_those_of_the_number() {
        for half in 0..10_000 {
            for number in [half, half * 10_000, half * 10_000 + 9_999 - half, half * 10_000 + half] {
                assert_eq!((digits(number) | ZEROS).to_le_bytes().as_slice(), format!("{number:08}").as_bytes());
            }
        }
    }

    proptest! {
        /// A pair is what the two decimals are one by one; what is wrong with either, or not where it should be, is refused.
        #[test]
        fn pairs_read_as_their_decimals_do(
            numbers in prop::array::uniform2("[0-9]{1,8}\\.[0-9]{7,9}|[0-9]{1,8}\\.[0-9]{1,8}|0?[1-9]{1,5}\\.[0-9]{1,3}0{5}|[-+.0-9e]{0,18}|0\\.0{1,9}"),
            between in prop_oneof![8 => Just("\",\""), 8 => Just(",\"qty\":"), 1 => Just("\",,"), 1 => Just("")],
            behind in "[\",}\\]]{2}[ -~]{40}", cut in 0usize..120, scales in (0u8..=8, 0u8..=8),
        ) {
            let text = format!("{}{between}{}{behind}", numbers[0], numbers[1]);
            let text = &text.as_bytes()[..cut.min(text.len())];
            let (price_places, qty_places) = (Places::of(scales.0).unwrap(), Places::of(scales.1).unwrap());
            let one_by_one = |between: &[u8], quoted: bool| {
                let mut cursor = Cursor::new(text);
                let fits = |plain: &Plain| if quoted { plain.decimals == 8 } else { !plain.zero_padded };
                let price = cursor.decimal(price_places).filter(|plain| fits(plain) && plain.value > 0)?;
                cursor.rest = cursor.rest.strip_prefix(between)?;
                let qty = cursor.decimal(qty_places).filter(fits)?;
                Some(((price.value, qty.value), (price.decimals, qty.decimals), cursor.rest))
            };
            let pair = |cursor: &mut Cursor<'_>, pair: Option<Pair>| {
                pair.map(|pair| (pair.values, pair.decimals, cursor.rest.to_vec(), pair.next))
            };
            let mut cursor = Cursor::new(text);
            let read = cursor.quoted_pair(price_places, qty_places);
            let quoted = pair(&mut cursor, read);
            let mut cursor = Cursor::new(text);
            let read = cursor.named_pair(price_places, qty_places);
            let named = pair(&mut cursor, read);
            for (read, want, window) in [(quoted, one_by_one(b"\",\"", true), 43), (named, one_by_one(b",\"qty\":", false), 47)] {
                prop_assert!(read.is_none() || text.len() >= window);
                let want = want.filter(|_| text.len() >= window);
                prop_assert_eq!(read.as_ref().map(|read| (read.0, read.1, read.2.as_slice())), want);
                if let Some((_, _, rest, next)) = read {
                    prop_assert_eq!(&next.to_le_bytes(), &rest[..8]);
                }
            }
        }

        /// A level in the form of another is what it is without a form, and one in its own form is one that is not refused.
        #[test]
        fn levels_alike_read_as_pairs_do(
            prices in prop::array::uniform2("[1-9][0-9]{3}\\.[0-9]{2}|[1-9]?[0-9]{1,7}\\.[0-9]{1,8}|0?[1-9]{1,3}\\.[0-9]{1,3}0{2}|[-+.0-9e]{0,9}|0\\.0{1,5}"),
            qty in "[0-9]{1,8}\\.[0-9]{1,9}|[1-9]\\.[0-9]{8}|0\\.0{8}|[-+.0-9e]{0,18}",
            between in prop_oneof![12 => Just(",\"qty\":"), 1 => Just(",\"qtz\":"), 1 => Just(",")],
            behind in prop_oneof![4 => Just("},{\"price\":"), 2 => Just("}],\"asks\":["), 1 => Just("},{\"prize\":"), 1 => Just("")],
            cut in 0usize..160, scales in (0u8..=8, prop_oneof![2 => Just(8u8), 1 => 0u8..=8]),
        ) {
            let text = format!("{}{between}{qty}{behind}{:40}", prices[0], "");
            let text = &text.as_bytes()[..cut.min(text.len())];
            let (price_places, qty_places) = (Places::of(scales.0).unwrap(), Places::of(scales.1).unwrap());
            let mut pair = Cursor::new(text);
            let named = pair.named_pair(price_places, qty_places);
            let other = format!("{},\"qty\":", prices[1]);
            for of in [text, other.as_bytes()] {
                let form = Cursor::new(of).form(price_places, qty_places);
                let Some(like) = Cursor::new(text).level_like(&form) else { continue };
                prop_assert!(form.is_with(price_places, qty_places));
                let is_whole = !like.rest.rest[0].is_ascii_digit();
                prop_assert!(named.is_some() || !is_whole);
                if let Some(named) = named.filter(|_| is_whole) {
                    prop_assert_eq!((like.values, form.printed()), (named.values, named.decimals));
                    let (price, whole, decimals) = like.digits;
                    let unit = POW10[form.qty_decimals() as usize] as u64;
                    prop_assert_eq!(number(price), named.values.0 as u64);
                    prop_assert_eq!(number(whole) * unit + number(decimals), named.values.1 as u64);
                    prop_assert!([price, whole, decimals].iter().all(|digits| others(*digits) == 0));
                    let mut rest = pair;
                    prop_assert_eq!(rest.accept(b"},{\"price\":"), like.more);
                    prop_assert_eq!(like.rest.rest, rest.rest);
                }
            }
            let form = Cursor::new(text).form(price_places, qty_places);
            if let Some(named) = named.filter(|named| named.decimals == scales && prices[0].len() <= 8) {
                prop_assert!(Cursor::new(text).level_like(&form).is_some(), "{:?} {:?}", named, form);
            }
        }

        #[test]
        fn integers_have_the_text_that_they_always_have(
            first in any::<u64>(), second in any::<u64>(), digits in (1u32..=18, 1u32..=18),
        ) {
            let (first, second) = (first % 10u64.pow(digits.0), second % 10u64.pow(digits.1));
            let want = format!("{first}{second}");
            let mut whole = [b'x'; 2 * INTEGER_LEN_MAX];
            prop_assert_eq!(write_integers(first, second, &mut whole), want.len());
            prop_assert_eq!(&whole[..want.len()], want.as_bytes());
        }

        #[test]
        fn numbers_agree_with_the_reference_parser(text in "[0-9]{1,8}\\.[0-9]{1,8}", tail in "[\",}\\]][ -~]{8}", scale in 0u8..=8) {
            let all = format!("{text}{tail}");
            let mut cursor = Cursor::new(all.as_bytes());
            let point = text.find('.').unwrap();
            let decimals = text.len() - point - 1;
            let want = parse_decimal(text.as_bytes(), scale).ok().filter(|_| point <= 7);
            let read = cursor.decimal(Places::of(scale).unwrap());
            prop_assert_eq!(read.map(|plain| plain.value), want);
            if let Some(plain) = read {
                prop_assert_eq!(usize::from(plain.decimals), decimals);
                prop_assert_eq!(plain.zero_padded, point > 1 && text.starts_with('0'));
                prop_assert_eq!(cursor.rest, tail.as_bytes());
            }
        }

        #[test]
        fn every_byte_is_told_from_a_digit(bytes in any::<[u8; 8]>()) {
            let digits = bytes.iter().take_while(|c| c.is_ascii_digit()).count();
            prop_assert_eq!(leading_digits(u64::from_le_bytes(bytes)).1 as usize, digits * 8);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), scale in 0u8..=8) {
            let mut cursor = Cursor::new(&bytes);
            let _ = (cursor.integer(), cursor.decimal(Places::of(scale).unwrap()), cursor.until_quote());
        }
    }
}
