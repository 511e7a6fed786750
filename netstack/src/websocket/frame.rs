//! One frame's header (RFC 6455 section 5.2), and masking (section 5.3).

use super::error::WebSocketError;
use crate::wide::{wide, words};

/// Longest frame header from a server: 2 bytes and a 64-bit length, no mask.
pub(super) const MAX_SERVER_HEADER: usize = 10;
/// Longest frame header of a client.
pub const MAX_FRAME_HEADER: usize = 14;
/// Longest payload of a control frame.
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// Frame types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// A server's frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub fin: bool,
    pub opcode: Opcode,
    /// Payload bytes.
    pub payload_len: u64,
    /// Bytes of the header itself.
    pub header_len: usize,
}

impl FrameHeader {
    /// Parses the header at the front of `bytes`; `None` if it is not all there. What is there is
    /// checked at once.
    #[inline]
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<FrameHeader>, WebSocketError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(WebSocketError::ReservedBits);
        }
        let fin = first & 0x80 != 0;
        let opcode = match first & 0x0f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            reserved => return Err(WebSocketError::ReservedOpcode(reserved)),
        };
        if opcode.is_control() && !fin {
            return Err(WebSocketError::BadControlFrame);
        }
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        if second & 0x80 != 0 {
            return Err(WebSocketError::Masked);
        }
        let (payload_len, header_len) = match second {
            126 | 127 if opcode.is_control() => return Err(WebSocketError::BadControlFrame),
            126 => match bytes.get(2..).and_then(|rest| rest.first_chunk::<2>()) {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
                None => return Ok(None),
            },
            127 => match bytes.get(2..).and_then(|rest| rest.first_chunk::<8>()) {
                Some(length) => (u64::from_be_bytes(*length), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        // The shortest form that fits must be used; the highest bit of the long form must be 0.
        let shortest = match header_len {
            2 => true,
            4 => payload_len > 125,
            _ => payload_len > 0xffff && payload_len >> 63 == 0,
        };
        if !shortest {
            return Err(WebSocketError::BadLength);
        }
        Ok(Some(FrameHeader { fin, opcode, payload_len, header_len }))
    }
}

/// Bytes of a client's frame header for this much payload: 6, 8 or 14.
#[inline]
pub const fn frame_header_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => 6,
        126..=0xffff => 8,
        _ => 14,
    }
}

/// Writes a client's frame header (always final, always masked) that fills `out` exactly; `out` is
/// [`frame_header_len`] bytes long.
#[inline]
pub(super) fn write_header(opcode: Opcode, payload_len: usize, mask: [u8; 4], out: &mut [u8]) {
    let first = 0x80 | opcode as u8;
    match out {
        [a, b, key @ ..] if key.len() == 4 => {
            *a = first;
            *b = 0x80 | payload_len as u8;
            key.copy_from_slice(&mask);
        }
        [a, b, rest @ ..] if rest.len() == 6 => {
            *a = first;
            *b = 0x80 | 126;
            rest[..2].copy_from_slice(&(payload_len as u16).to_be_bytes());
            rest[2..].copy_from_slice(&mask);
        }
        [a, b, rest @ ..] if rest.len() == 12 => {
            *a = first;
            *b = 0x80 | 127;
            rest[..8].copy_from_slice(&(payload_len as u64).to_be_bytes());
            rest[8..].copy_from_slice(&mask);
        }
        _ => {}
    }
}

/// Masks (or unmasks) in place.
#[inline]
pub(super) fn mask_in_place(mask: [u8; 4], bytes: &mut [u8]) {
    let wide = wide_mask(mask);
    let (chunks, tail) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= key;
    }
}

/// Copies and masks in one pass; the slices are equally long.
#[inline]
pub(super) fn mask_copy(mask: [u8; 4], from: &[u8], to: &mut [u8]) {
    wide(from.len(), move || mask_copy_words(mask, from, to));
}

#[inline(always)]
fn mask_copy_words(mask: [u8; 4], from: &[u8], to: &mut [u8]) {
    let Some(to) = to.get_mut(..from.len()) else { return };
    let key = wide_mask(mask);
    let (lines_from, rest_from) = from.as_chunks::<64>();
    let (lines_to, rest_to) = to.as_chunks_mut::<64>();
    for (from, to) in lines_from.iter().zip(lines_to) {
        for (word, to) in words(from).iter().zip(to.as_chunks_mut::<8>().0) {
            *to = (word ^ key).to_ne_bytes();
        }
    }
    let (words_from, tail_from) = rest_from.as_chunks::<8>();
    let (words_to, tail_to) = rest_to.as_chunks_mut::<8>();
    for (from, to) in words_from.iter().zip(words_to) {
        *to = (u64::from_ne_bytes(*from) ^ key).to_ne_bytes();
    }
    for ((from, to), key) in tail_from.iter().zip(tail_to).zip(key.to_ne_bytes()) {
        *to = from ^ key;
    }
}

/// The mask, twice.
#[inline]
fn wide_mask(mask: [u8; 4]) -> u64 {
    u64::from(u32::from_ne_bytes(mask)) * 0x1_0000_0001
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masking_equals_the_definition_at_every_length_and_is_its_own_inverse() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..300usize {
            let plain: Vec<u8> = (0..length).map(|index| (index * 7 + 3) as u8).collect();
            let expected: Vec<u8> = plain.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]).collect();
            let mut in_place = plain.clone();
            mask_in_place(mask, &mut in_place);
            let mut copy = vec![0; length];
            mask_copy(mask, &plain, &mut copy);
            assert_eq!(in_place, expected);
            assert_eq!(copy, expected);
            copy.fill(0);
            mask_copy_words(mask, &plain, &mut copy);
            assert_eq!(copy, expected, "on any processor");
            mask_in_place(mask, &mut in_place);
            assert_eq!(in_place, plain);
        }
    }

    #[test]
    fn lengths_must_be_in_their_shortest_form() {
        let parse = |bytes: &[u8]| FrameHeader::parse(bytes).map(|header| header.map(|header| (header.payload_len, header.header_len)));
        assert_eq!(parse(&[0x82, 125]), Ok(Some((125, 2))));
        assert_eq!(parse(&[0x82, 126, 0, 126]), Ok(Some((126, 4))));
        assert_eq!(parse(&[0x82, 126, 0, 125]), Err(WebSocketError::BadLength));
        assert_eq!(parse(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]), Ok(Some((65536, 10))));
        assert_eq!(parse(&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), Err(WebSocketError::BadLength));
        assert_eq!(parse(&[0x82, 127, 0x80, 0, 0, 0, 0, 1, 0, 0]), Err(WebSocketError::BadLength));
    }

    #[test]
    fn incomplete_headers_ask_for_more_and_wrong_bits_are_found_at_once() {
        for (length, header) in [(2, &[0x81u8, 5][..]), (4, &[0x81, 126, 1, 0]), (10, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0])] {
            for cut in 0..length {
                assert_eq!(FrameHeader::parse(&header[..cut]), Ok(None));
            }
            assert!(FrameHeader::parse(header).unwrap().is_some());
        }
        assert_eq!(FrameHeader::parse(&[0xc1]), Err(WebSocketError::ReservedBits));
        assert_eq!(FrameHeader::parse(&[0x83]), Err(WebSocketError::ReservedOpcode(3)));
        assert_eq!(FrameHeader::parse(&[0x8b]), Err(WebSocketError::ReservedOpcode(0xb)));
        assert_eq!(FrameHeader::parse(&[0x09]), Err(WebSocketError::BadControlFrame));
        assert_eq!(FrameHeader::parse(&[0x89, 126]), Err(WebSocketError::BadControlFrame));
        assert_eq!(FrameHeader::parse(&[0x81, 0x85]), Err(WebSocketError::Masked));
    }
}
