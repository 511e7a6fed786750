//! Kraken's ids: `O` and 16 letters in groups (`OABCDE-FGHIJ-KLMNOP`) for orders, `T...` for fills, `L...` for ledger entries.

/// An odd factor and its inverse modulo 2^64: spreads sequential numbers over the alphabet.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const GATHER: u64 = inverse(SPREAD);
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const GROUPS: [usize; 3] = [5, 5, 6];

const fn inverse(odd: u64) -> u64 {
    // Newton's iteration doubles the number of right bits each time.
    let mut x = odd;
    let mut i = 0;
    while i < 6 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
        i += 1;
    }
    x
}

/// An id's text with the given prefix letter.
pub fn text(prefix: char, id: u64) -> String {
    let mut value = u128::from(id.wrapping_mul(SPREAD)) | (u128::from(id & 0xffff) << 64);
    let mut letters = [0u8; 16];
    for slot in letters.iter_mut().rev() {
        *slot = ALPHABET[(value & 31) as usize];
        value >>= 5;
    }
    let mut out = String::with_capacity(19);
    out.push(prefix);
    let mut at = 0;
    for (group, len) in GROUPS.into_iter().enumerate() {
        if group > 0 {
            out.push('-');
        }
        out.extend(letters[at..at + len].iter().map(|letter| char::from(*letter)));
        at += len;
    }
    out
}

/// The id behind a text with this prefix.
pub fn parse(prefix: char, text_in: &str) -> Option<u64> {
    let mut value = 0u128;
    let mut letters = 0;
    for letter in text_in.strip_prefix(prefix)?.bytes().filter(|letter| *letter != b'-') {
        let digit = ALPHABET.iter().position(|known| *known == letter)?;
        letters += 1;
        if letters > 16 {
            return None;
        }
        value = (value << 5) | digit as u128;
    }
    let id = (value as u64).wrapping_mul(GATHER);
    (text(prefix, id) == text_in).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_round_trip(id in any::<u64>()) {
            let text = text('O', id);
            prop_assert_eq!(text.len(), 19);
            prop_assert_eq!(parse('O', &text), Some(id));
            prop_assert_eq!(parse('T', &text), None);
        }

        #[test]
        fn strangers_are_refused(text in "O[A-Z2-7-]{0,30}") {
            if let Some(id) = parse('O', &text) {
                prop_assert_eq!(super::text('O', id), text);
            }
        }
    }
}
