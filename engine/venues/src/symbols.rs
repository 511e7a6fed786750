//! From a venue's symbol text to the instrument it names, without allocation.
//!
//! An open-addressing table over the symbols of one venue. In *open* mode (the `decode` tool, recorded
//! traffic) a symbol not seen before is added with the scales given; in the engine a stranger is
//! `None`, and counted by the codec.

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
    slots: Vec<u32>,
    open_scales: Option<(u8, u8)>,
}

const EMPTY: u32 = u32::MAX;

/// FNV-1a over the symbol: short keys, no seed wanted (the table is built once from trusted data).
#[inline]
fn hash(text: &[u8]) -> usize {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    for &byte in text {
        h = (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (h ^ (h >> 32)) as usize
}

impl SymbolIndex {
    /// The index of all instruments of `venue` in the table.
    pub fn new(instruments: &InstrumentTable, venue: VenueId) -> SymbolIndex {
        let mut index = SymbolIndex { symbols: Vec::new(), slots: vec![EMPTY; 16], open_scales: None };
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
        SymbolIndex { symbols: Vec::new(), slots: vec![EMPTY; 16], open_scales: Some((price_scale, qty_scale)) }
    }

    /// Adds a symbol (start-up only).
    pub fn add(&mut self, symbol: Symbol) {
        if (self.symbols.len() + 1) * 2 > self.slots.len() {
            self.slots = vec![EMPTY; self.slots.len() * 2];
            for at in 0..self.symbols.len() {
                self.place(at);
            }
        }
        self.symbols.push(symbol);
        self.place(self.symbols.len() - 1);
    }

    fn place(&mut self, at: usize) {
        let mask = self.slots.len() - 1;
        let mut slot = hash(self.symbols[at].text.as_bytes()) & mask;
        while self.slots[slot] != EMPTY {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = at as u32;
    }

    /// The place of a symbol in [`SymbolIndex::symbols`], by the venue's spelling. Per-symbol state of a
    /// codec is an array indexed by it.
    #[inline]
    pub fn position(&self, text: &[u8]) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash(text) & mask;
        loop {
            let at = self.slots[slot];
            if at == EMPTY {
                return None;
            }
            if self.symbols[at as usize].text.as_bytes() == text {
                return Some(at as usize);
            }
            slot = (slot + 1) & mask;
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
}
