//! UTF-8 validation of text that arrives in pieces.

/// Validates a stream of bytes as UTF-8; a character may be cut anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8Stream {
    /// The beginning of a character that is not complete.
    partial: [u8; 4],
    partial_len: usize,
}

impl Utf8Stream {
    /// Takes the next piece; false as soon as no continuation could make the stream valid.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> bool {
        while self.partial_len > 0 {
            let Some((&byte, rest)) = bytes.split_first() else {
                return true;
            };
            bytes = rest;
            let Some(slot) = self.partial.get_mut(self.partial_len) else {
                return false;
            };
            *slot = byte;
            self.partial_len += 1;
            match std::str::from_utf8(self.partial.get(..self.partial_len).unwrap_or(&[])) {
                Ok(_) => self.partial_len = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                let tail = bytes.get(error.valid_up_to()..).unwrap_or(&[]);
                if let Some(partial) = self.partial.get_mut(..tail.len()) {
                    partial.copy_from_slice(tail);
                    self.partial_len = tail.len();
                }
                true
            }
        }
    }

    /// True if the stream does not end within a character.
    pub(super) fn is_complete(&self) -> bool {
        self.partial_len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_split_gives_the_verdict_of_the_whole(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..24),
                "\\PC{0,12}".prop_map(String::into_bytes),
                proptest::collection::vec(prop::sample::select(vec![0xf0u8, 0x9f, 0x98, 0x80, 0xed, 0xa0, 0xc3, b'a']), 0..12),
            ],
            cuts in proptest::collection::vec(0usize..24, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut stream = Utf8Stream::default();
            let mut valid = true;
            let mut at = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                valid = valid && stream.push(&bytes[at..cut]);
                at = cut;
            }
            prop_assert_eq!(valid && stream.is_complete(), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
