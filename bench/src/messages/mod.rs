//! Synthetic venue messages in the venues' shapes, from a seed.
//!
//! A bench needs an endless stream in which every message is new, and the venues' rules (ids that grow without a
//! hole, checksums of the book so far) hold for each. So messages are made once, and what must differ from round to
//! round is written into a copy before each use, outside of the measured time.
//!
//! A stream of book changes ends where it began: it is played forwards and then undone, change by change.

pub mod binance;
pub mod kraken;

/// Digits of an id in a text.
pub const ID_DIGITS: usize = 11;
/// The first id; the last of as many digits is ten times as far.
pub const ID_FIRST: u64 = 10_000_000_000;

/// How ids are written in a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ids {
    /// [`ID_DIGITS`] decimal digits.
    Digits,
    /// 64 bits, little-endian.
    LittleEndian,
}

/// A message, and where its ids go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// As it would come out of its record.
    pub bytes: Vec<u8>,
    /// How ids are written.
    pub ids: Ids,
    /// Where: as many as the message has, in the order in which they grow.
    pub at: Vec<usize>,
}

impl Message {
    /// Copies the message into `frame`, with these ids.
    #[inline]
    pub fn write<'a>(&self, frame: &'a mut Vec<u8>, ids: &[u64]) -> &'a [u8] {
        frame.clear();
        frame.extend_from_slice(&self.bytes);
        for (&at, &id) in self.at.iter().zip(ids) {
            match self.ids {
                Ids::LittleEndian => frame[at..at + 8].copy_from_slice(&id.to_le_bytes()),
                Ids::Digits => {
                    let mut left = id;
                    for digit in frame[at..at + ID_DIGITS].iter_mut().rev() {
                        *digit = b'0' + (left % 10) as u8;
                        left /= 10;
                    }
                }
            }
        }
        frame
    }
}

/// A value at a scale, as venues print it: always with all its decimals.
pub fn decimal(value: i64, scale: u32) -> String {
    let one = 10i64.pow(scale);
    format!("{}.{:0width$}", value / one, value % one, width = scale as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_where_they_belong() {
        let text = Message { bytes: b"U:00000000000,u:00000000000".to_vec(), ids: Ids::Digits, at: vec![2, 16] };
        let mut frame = Vec::new();
        assert_eq!(text.write(&mut frame, &[ID_FIRST, ID_FIRST + 42]), b"U:10000000000,u:10000000042");
        let binary = Message { bytes: vec![9; 10], ids: Ids::LittleEndian, at: vec![1] };
        assert_eq!(binary.write(&mut frame, &[258]), [9, 2, 1, 0, 0, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn decimals_keep_their_zeros() {
        assert_eq!((decimal(6_825_010, 2), decimal(5, 8), decimal(0, 1)), ("68250.10".into(), "0.00000005".into(), "0.0".into()));
    }
}
