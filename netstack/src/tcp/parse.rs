//! A segment's bytes to its fields: quick for what nearly all segments are, smoltcp's parser for the rest.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, Ipv4Address, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr};

const HEADER: usize = 20;
const STAMPED: usize = HEADER + 12;
/// Two NOP, kind and length of a timestamp option (RFC 7323 appendix A).
pub(crate) const TIMESTAMP: [u8; 4] = [1, 1, 8, 10];
const FLAG_PSH: u8 = 0x08;
const FLAG_ACK: u8 = 0x10;
/// FIN, SYN, RST, PSH, ACK.
const FLAGS: u8 = 0x1f;

/// Reads a segment whose checksum has been verified; `None` if it contradicts itself.
#[inline]
pub fn parse(bytes: &[u8]) -> Option<TcpRepr<'_>> {
    parse_usual(bytes).or_else(|| parse_options(bytes))
}

/// [`parse`] for what nearly all segments are: an acknowledgement, with data or without, that has no other option than a
/// timestamp in its usual place. `None`: see what [`parse_options`] says.
#[inline(always)]
pub(crate) fn parse_usual(bytes: &[u8]) -> Option<TcpRepr<'_>> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    let flags = header[13] & FLAGS;
    let timestamp = match header[12] >> 4 {
        8 => {
            let options: &[u8; 12] = bytes.get(HEADER..)?.first_chunk()?;
            if options[..4] != TIMESTAMP {
                return None;
            }
            Some(TcpTimestampRepr::new(u32_at(options, 4), u32_at(options, 8)))
        }
        5 => None,
        _ => return None,
    };
    let ports = [u16::from_be_bytes([header[0], header[1]]), u16::from_be_bytes([header[2], header[3]])];
    if flags & !FLAG_PSH != FLAG_ACK || ports[0] == 0 || ports[1] == 0 {
        return None;
    }
    Some(TcpRepr {
        src_port: ports[0],
        dst_port: ports[1],
        control: if flags & FLAG_PSH != 0 { TcpControl::Psh } else { TcpControl::None },
        seq_number: TcpSeqNumber(u32_at(header, 4) as i32),
        ack_number: Some(TcpSeqNumber(u32_at(header, 8) as i32)),
        window_len: u16::from_be_bytes([header[14], header[15]]),
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp,
        payload: bytes.get(if timestamp.is_some() { STAMPED } else { HEADER }..)?,
    })
}

#[inline]
fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// [`parse`] for any segment.
#[cold]
#[inline(never)]
pub(crate) fn parse_options(bytes: &[u8]) -> Option<TcpRepr<'_>> {
    let packet = TcpPacket::new_checked(bytes).ok()?;
    // The addresses are only needed for the checksum.
    let nobody = IpAddress::Ipv4(Ipv4Address::UNSPECIFIED);
    TcpRepr::parse(&packet, &nobody, &nobody, &ChecksumCapabilities::ignored()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc7323_appendix_a_a_timestamp_in_its_usual_place_is_read_at_once() {
        let mut bytes = [0_u8; STAMPED + 2];
        (bytes[1], bytes[3], bytes[12], bytes[13]) = (7, 9, 8 << 4, FLAG_ACK);
        bytes[HEADER..HEADER + 4].copy_from_slice(&TIMESTAMP);
        (bytes[27], bytes[31]) = (5, 6);
        let segment = parse(&bytes).expect("a segment");
        assert_eq!(segment.timestamp.map(|stamp| (stamp.tsval, stamp.tsecr)), Some((5, 6)));
        assert_eq!((segment.src_port, segment.dst_port, segment.payload), (7, 9, &[0, 0][..]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_quick_way_and_smoltcps_parser_agree_on_any_bytes(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..80), length in prop_oneof![Just(5_u8), Just(8), 0..16_u8],
            flags in prop_oneof![Just(0x10_u8), Just(0x18), any::<u8>()], stamped in any::<bool>(),
        ) {
            if let Some(place) = bytes.get_mut(12) {
                *place = length << 4;
            }
            if let Some(place) = bytes.get_mut(13) {
                *place = flags;
            }
            if let Some(place) = bytes.get_mut(HEADER..HEADER + 4).filter(|_| stamped) {
                place.copy_from_slice(&TIMESTAMP);
            }
            prop_assert_eq!(parse(&bytes), parse_options(&bytes));
        }
    }
}
