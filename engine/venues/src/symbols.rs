//! From a venue's symbol text to the instrument it names, without allocation.
//!
//! An open-addressing table over the symbols of one venue. In *open* mode (the `decode` tool, recorded
//! traffic) a symbol not seen before is added with the scales given; in the engine a stranger is
//! `None`, and counted by the codec.
//!
//! With a thousand symbols each message finds its own out of the caches. So a place of the table has all that a message
//! is read with, and is half a cache line: to find a symbol is to wait for one line, and none follows.

use engine_core::ids::{InstrumentId, VenueId};
use engine_core::instrument::InstrumentTable;

/// One symbol's entry: what a market-data codec needs to turn text into fixed-point numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The venue's spelling.
    pub text: String,
    /// The instrument.
    pub instrument: InstrumentId,
    /// Decimal places of prices.
    pub price_scale: u8,
    /// Decimal places of quantities.
    pub qty_scale: u8,
}

/// The symbols of one venue.
#[derive(Clone, Debug)]
pub struct SymbolIndex {
    symbols: Vec<Symbol>,
    slots: Vec<Slot>,
    open_scales: Option<(u8, u8)>,
}

/// A symbol's text as two words and its length: all of it up to 16 bytes, its ends beyond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Key {
    head: u64,
    tail: u64,
    len: u32,
}

impl Key {
    /// Texts of up to so many bytes are equal if their keys are.
    const WHOLE_MAX: u32 = 16;

    #[inline]
    fn new(text: &[u8]) -> Key {
        let len = text.len().min(u32::MAX as usize) as u32;
        if let (Some(head), Some(tail)) = (text.first_chunk(), text.last_chunk()) {
            return Key { head: u64::from_le_bytes(*head), tail: u64::from_le_bytes(*tail), len };
        }
        let (head, tail) = match (text.first_chunk(), text.last_chunk()) {
            (Some(head), Some(tail)) => (u32::from_le_bytes(*head), u32::from_le_bytes(*tail)),
            _ => (text.iter().fold(0, |word, &byte| (word << 8) | u32::from(byte)), 0),
        };
        Key { head: u64::from(head), tail: u64::from(tail), len }
    }

    /// Short keys, no seed wanted (the table is built once from trusted data).
    #[inline]
    const fn hash(self) -> usize {
        let mixed = (self.head ^ self.tail.rotate_left(29)).wrapping_add(self.len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize
    }
}

/// A symbol as a message names it: where it is, whose it is, and how its numbers are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Place in [`SymbolIndex::symbols`].
    pub at: usize,
    /// As in its [`Symbol`], as all that follows.
    pub instrument: InstrumentId,
    /// Decimal places of prices.
    pub price_scale: u8,
    /// Decimal places of quantities.
    pub qty_scale: u8,
}

/// A place of the table.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
struct Slot {
    key: Key,
    /// Place of the symbol; [`EMPTY`] if there is none.
    at: u32,
    instrument: InstrumentId,
    price_scale: u8,
    /// And [`NOT_PLAIN`].
    qty_scale: u8,
}

const EMPTY: u32 = u32::MAX;
/// A symbol does not read in JSON as it is: it has a quote, backslash or control character.
const NOT_PLAIN: u8 = 0x80;
const FREE: Slot = Slot { key: Key { head: 0, tail: 0, len: 0 }, at: EMPTY, instrument: InstrumentId(0), price_scale: 0, qty_scale: 0 };
const _: () = assert!(size_of::<Slot>() == 32);

impl Slot {
    #[inline]
    const fn found(&self) -> Found {
        let Slot { at, instrument, price_scale, qty_scale, .. } = *self;
        Found { at: at as usize, instrument, price_scale, qty_scale: qty_scale & !NOT_PLAIN }
    }
}

impl SymbolIndex {
    /// The index of all instruments of `venue` in the table.
    pub fn new(instruments: &InstrumentTable, venue: VenueId) -> SymbolIndex {
        let mut index = SymbolIndex { symbols: Vec::new(), slots: vec![FREE; 16], open_scales: None };
        for (id, instrument) in instruments.iter().filter(|(_, i)| i.venue == venue) {
            index.add(Symbol {
                text: instrument.symbol.clone(),
                instrument: id,
                price_scale: instrument.price_scale,
                qty_scale: instrument.qty_scale,
            });
        }
        index
    }

    /// An empty index that adds every symbol it is asked for, at these scales. For decoding recorded
    /// traffic; allocates as it goes.
    pub fn open(price_scale: u8, qty_scale: u8) -> SymbolIndex {
        SymbolIndex { symbols: Vec::new(), slots: vec![FREE; 16], open_scales: Some((price_scale, qty_scale)) }
    }

    /// Adds a symbol (start-up only).
    pub fn add(&mut self, symbol: Symbol) {
        if (self.symbols.len() + 1) * 2 > self.slots.len() {
            self.slots = vec![FREE; self.slots.len() * 2];
            for at in 0..self.symbols.len() {
                self.place(at);
            }
        }
        self.symbols.push(symbol);
        self.place(self.symbols.len() - 1);
    }

    fn place(&mut self, at: usize) {
        let mask = self.slots.len() - 1;
        let text = self.symbols[at].text.as_bytes();
        let key = Key::new(text);
        let mut slot = key.hash() & mask;
        while self.slots[slot].at != EMPTY {
            slot = (slot + 1) & mask;
        }
        let plain = text.iter().all(|&c| c > 0x1f && c != b'"' && c != b'\\');
        let Symbol { instrument, price_scale, qty_scale, .. } = self.symbols[at];
        let qty_scale = qty_scale | if plain { 0 } else { NOT_PLAIN };
        self.slots[slot] = Slot { key, at: at as u32, instrument, price_scale, qty_scale };
    }

    /// The place of a symbol in [`SymbolIndex::symbols`], by the venue's spelling. Per-symbol state of a
    /// codec is an array indexed by it.
    #[inline]
    pub fn position(&self, text: &[u8]) -> Option<usize> {
        self.slot(text).map(|slot| slot.at as usize)
    }

    /// A symbol by the venue's spelling.
    #[inline]
    pub fn find(&self, text: &[u8]) -> Option<Found> {
        self.slot(text).map(Slot::found)
    }

    /// As [`SymbolIndex::find`], by the text between the quotes of a JSON string whose escapes nobody has looked for:
    /// `None` also if the symbol could not stand there as it is.
    #[inline]
    pub fn find_as_written(&self, text: &[u8]) -> Option<Found> {
        self.slot(text).filter(|slot| slot.qty_scale & NOT_PLAIN == 0).map(Slot::found)
    }

    #[inline]
    fn slot(&self, text: &[u8]) -> Option<&Slot> {
        let key = Key::new(text);
        let mask = self.slots.len() - 1;
        let mut at = key.hash() & mask;
        loop {
            let slot = &self.slots[at];
            if slot.at == EMPTY {
                return None;
            }
            if slot.key == key && (key.len <= Key::WHOLE_MAX || self.symbols[slot.at as usize].text.as_bytes() == text) {
                return Some(slot);
            }
            at = (at + 1) & mask;
        }
    }

    /// As [`SymbolIndex::position`], but in open mode adds a stranger (if it is printable text of at most
    /// 64 bytes and ids are left).
    #[inline]
    pub fn position_or_add(&mut self, text: &[u8]) -> Option<usize> {
        if let Some(at) = self.position(text) {
            return Some(at);
        }
        let (price_scale, qty_scale) = self.open_scales?;
        let text = core::str::from_utf8(text).ok().filter(|t| !t.is_empty() && t.len() <= 64 && t.bytes().all(|b| b.is_ascii_graphic()))?;
        let instrument = InstrumentId(u16::try_from(self.symbols.len()).ok()?);
        self.add(Symbol { text: text.to_owned(), instrument, price_scale, qty_scale });
        Some(self.symbols.len() - 1)
    }

    /// True in open mode.
    pub fn is_open(&self) -> bool {
        self.open_scales.is_some()
    }

    /// All symbols, in the order in which they were added.
    #[inline]
    pub fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    /// The symbol of an instrument. Linear in open mode and start-up order otherwise: for encoders, keep
    /// an array of your own.
    pub fn by_instrument(&self, instrument: InstrumentId) -> Option<&Symbol> {
        self.symbols.iter().find(|s| s.instrument == instrument)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_index_finds_what_it_added_and_refuses_garbage() {
        let mut index = SymbolIndex::open(8, 8);
        for i in 0..500 {
            assert_eq!(index.position_or_add(format!("SYM{i}").as_bytes()), Some(i));
        }
        for i in 0..500 {
            assert_eq!(index.position(format!("SYM{i}").as_bytes()), Some(i));
        }
        assert_eq!(index.position(b"OTHER"), None);
        assert_eq!(index.position_or_add(b""), None);
        assert_eq!(index.position_or_add(b"\xff"), None);
        assert_eq!(index.position_or_add(&[b'A'; 65]), None);
    }

    #[test]
    fn what_is_found_is_what_was_added() {
        let mut index = SymbolIndex::open(8, 8);
        for at in 0..700u16 {
            let (price_scale, qty_scale) = ((at % 19) as u8, (at / 19 % 19) as u8);
            let text = if at % 3 == 0 { format!("\"{at}\"") } else { format!("SYM{at}") };
            index.add(Symbol { text, instrument: InstrumentId(u16::MAX - at), price_scale, qty_scale });
        }
        for (at, symbol) in index.symbols().iter().enumerate() {
            let Symbol { instrument, price_scale, qty_scale, .. } = *symbol;
            let want = Found { at, instrument, price_scale, qty_scale };
            assert_eq!(index.find(symbol.text.as_bytes()), Some(want));
            assert_eq!(index.find_as_written(symbol.text.as_bytes()), (at % 3 != 0).then_some(want));
        }
    }

    #[test]
    fn symbols_of_every_length_are_told_apart() {
        let mut index = SymbolIndex::open(8, 8);
        // Long ones differ in the middle only, where the key does not look.
        let texts: Vec<String> =
            (1..=40).flat_map(|len| ["A", "B"].map(|c| format!("{}{c}{}", "x".repeat(len / 2), "x".repeat(len - len / 2)))).collect();
        for (at, text) in texts.iter().enumerate() {
            assert_eq!(index.position(text.as_bytes()), None);
            assert_eq!(index.position_or_add(text.as_bytes()), Some(at));
        }
        for (at, text) in texts.iter().enumerate() {
            assert_eq!(index.position(text.as_bytes()), Some(at));
            assert_eq!(index.find_as_written(text.as_bytes()).map(|found| found.at), Some(at));
            assert_eq!(index.position(&[text.as_bytes(), b"\0"].concat()), None);
        }
        assert_eq!((index.position(b""), index.position(b"\0")), (None, None));
    }

    #[test]
    fn a_symbol_that_needs_escapes_is_not_found_as_written() {
        let mut index = SymbolIndex::open(8, 8);
        assert_eq!(index.position_or_add(br"A\\B"), Some(0));
        assert_eq!(index.position(br"A\\B"), Some(0));
        assert_eq!(index.find_as_written(br"A\\B"), None, "in a message this spells A\\B");
    }
}
