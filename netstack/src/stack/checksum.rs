//! The Internet checksum (RFC 1071), in pieces.
//!
//! Sums are kept in the machine's byte order (section 2, part B: the sum of swapped words is the swapped sum), 64 bits
//! wide and unfolded, so that parts may be summed at different times and added; the last step is [`fold`].
//! Every part but the last must have an even length.

use crate::wide::wide;

/// The sum of the bytes as 16-bit words; a last odd byte is followed by zero.
#[inline]
pub(super) fn sum(bytes: &[u8]) -> u64 {
    wide(bytes.len(), move || sum_of_words(bytes))
}

/// In lanes, from the front: as many bytes as there are lanes for, then half of what was, and half of it again.
#[inline(always)]
fn sum_of_words(bytes: &[u8]) -> u64 {
    let (lines, mut rest) = bytes.as_chunks::<64>();
    // 32-bit words cannot overflow 64 bits within any packet; the carries are folded in at the end.
    let mut lanes = [0_u64; 16];
    for line in lines {
        add(&mut lanes, line);
    }
    if let Some((line, after)) = rest.split_first_chunk::<32>() {
        add(&mut lanes, line);
        rest = after;
    }
    if let Some((line, after)) = rest.split_first_chunk::<16>() {
        add(&mut lanes, line);
        rest = after;
    }
    let mut total = lanes.iter().fold(0_u64, |total, lane| total.wrapping_add(*lane));
    if let Some((words, after)) = rest.split_first_chunk::<8>() {
        let words = u64::from_ne_bytes(*words);
        total = total.wrapping_add(words & 0xffff_ffff).wrapping_add(words >> 32);
        rest = after;
    }
    if let Some((word, after)) = rest.split_first_chunk::<4>() {
        total = total.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
        rest = after;
    }
    if let Some((word, after)) = rest.split_first_chunk::<2>() {
        total = total.wrapping_add(u64::from(u16::from_ne_bytes(*word)));
        rest = after;
    }
    match *rest {
        [last, ..] => total.wrapping_add(u64::from(u16::from_ne_bytes([last, 0]))),
        [] => total,
    }
}

/// Adds each 32-bit word of a line to its lane.
#[inline(always)]
fn add<const BYTES: usize>(lanes: &mut [u64; 16], line: &[u8; BYTES]) {
    for (lane, word) in lanes.iter_mut().zip(line.as_chunks::<4>().0) {
        *lane = lane.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
    }
}

/// A 16-bit number of a header, as [`sum`] would have counted it.
#[inline]
pub(super) const fn word(value: u16) -> u64 {
    value.to_be() as u64
}

/// A 32-bit number of a header, as [`sum`] would have counted it.
#[inline]
pub(super) const fn double_word(value: u32) -> u64 {
    value.to_be() as u64
}

/// Folds the carries in: 16 bits, in the machine's byte order.
#[inline]
pub(super) const fn fold(total: u64) -> u16 {
    // A number and itself with its halves swapped: in the upper half is the sum of both, with the carry out of the lower one.
    let total = (total.wrapping_add(total.rotate_left(32)) >> 32) as u32;
    (total.wrapping_add(total.rotate_left(16)) >> 16) as u16
}

/// The bytes of a checksum field over `total`, which counted the field as zero.
#[inline]
pub(super) const fn field(total: u64) -> [u8; 2] {
    (!fold(total)).to_ne_bytes()
}

/// True if `total`, the checksum field counted as it came, is right.
#[inline]
pub(super) const fn is_right(total: u64) -> bool {
    fold(total) == 0xffff
}

/// The sum of a pseudo-header (RFC 9293 section 3.1); `addresses`: both, as they stand in the IPv4 header.
#[inline]
pub(super) fn pseudo_header(addresses: &[u8; 8], protocol: u8, len: u16) -> u64 {
    sum(addresses) + word(u16::from(protocol)) + word(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 1, word for word.
    fn slow(bytes: &[u8]) -> u16 {
        let mut total = 0_u32;
        for pair in bytes.chunks(2) {
            total += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            total = (total & 0xffff) + (total >> 16);
        }
        !(total as u16)
    }

    #[test]
    fn rfc1071_3_the_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)).to_be(), 0xddf2);
        assert_eq!(field(sum(&bytes)), [0x22, 0x0d]);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_sum_of_the_rfc(bytes in proptest::collection::vec(any::<u8>(), 0..2000), cut in 0..1000_usize) {
            let want = slow(&bytes).to_be_bytes();
            prop_assert_eq!(field(sum(&bytes)), want);
            prop_assert_eq!(field(sum_of_words(&bytes)), want, "on any processor");
            // Of nothing but zeros there are two sums.
            let carries = if bytes.iter().any(|byte| *byte > 0) { u64::from(u32::MAX) * 0xffff } else { 0 };
            prop_assert_eq!(field(sum_of_words(&bytes) + carries), want, "however many carries there are");
            let cut = (cut * 2).min(bytes.len() / 2 * 2);
            prop_assert_eq!(field(sum(&bytes[..cut]) + sum(&bytes[cut..])), want);
        }

        #[test]
        fn a_right_field_is_right_and_a_flipped_bit_is_not(
            bytes in proptest::collection::vec(any::<u8>(), 4..200), bit in any::<prop::sample::Index>(),
        ) {
            let mut bytes = bytes;
            bytes[..2].fill(0);
            let field = field(sum(&bytes));
            bytes[..2].copy_from_slice(&field);
            prop_assert!(is_right(sum(&bytes)));
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!is_right(sum(&bytes)));
        }

        #[test]
        fn numbers_count_as_their_bytes(small: u16, large: u32) {
            let whole = [&small.to_be_bytes()[..], &large.to_be_bytes()[..]].concat();
            prop_assert_eq!(fold(word(small) + double_word(large)), fold(sum(&whole)));
        }
    }
}
