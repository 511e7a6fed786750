//! The headers of one connection's segments, made ready once: what changes from segment to segment is patched in,
//! and the checksums are carried on from the sums of what does not.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, TcpPacket, TcpRepr};
use std::net::SocketAddrV4;

use super::checksum;
use super::wire::{ETHERNET_HEADER, HOP_LIMIT, IPV4_HEADER, PROTOCOL_TCP, TCP_HEADER};
use crate::tcp::{Plain, TIMESTAMP};

/// Where IP begins, and TCP.
const IP: usize = ETHERNET_HEADER;
const TCP: usize = ETHERNET_HEADER + IPV4_HEADER;
/// All headers without options.
const BARE: usize = TCP + TCP_HEADER;
/// All headers with a timestamp.
const STAMPED: usize = BARE + TIMESTAMP.len() + 8;
const FLAG_PSH: u8 = 0x08;
const FLAG_ACK: u8 = 0x10;
const VERSION_AND_LENGTH: u8 = 0x45;
const DONT_FRAGMENT: u8 = 0x40;

/// See the module's head.
#[derive(Clone, Debug)]
pub(super) struct HeaderTemplate {
    bytes: [u8; BARE],
    ip_sum: u64,
    tcp_sum: u64,
    local: SocketAddrV4,
    remote: SocketAddrV4,
}

impl HeaderTemplate {
    pub(super) fn new(ethernet: &[u8; ETHERNET_HEADER], local: SocketAddrV4, remote: SocketAddrV4) -> HeaderTemplate {
        let mut bytes = [0; BARE];
        bytes[..ETHERNET_HEADER].copy_from_slice(ethernet);
        let ip = &mut bytes[IP..TCP];
        ip[0] = VERSION_AND_LENGTH;
        // The identification stays zero: what may not be fragmented needs none (RFC 6864 section 4.1).
        ip[6] = DONT_FRAGMENT;
        ip[8] = HOP_LIMIT;
        ip[9] = PROTOCOL_TCP;
        ip[12..16].copy_from_slice(&local.ip().octets());
        ip[16..20].copy_from_slice(&remote.ip().octets());
        bytes[TCP..TCP + 2].copy_from_slice(&local.port().to_be_bytes());
        bytes[TCP + 2..TCP + 4].copy_from_slice(&remote.port().to_be_bytes());
        let ip_sum = checksum::sum(&bytes[IP..TCP]);
        let addresses = checksum::sum(&bytes[IP + 12..TCP]);
        let ports = checksum::sum(&bytes[TCP..TCP + 4]);
        HeaderTemplate { bytes, ip_sum, tcp_sum: addresses + ports + checksum::word(u16::from(PROTOCOL_TCP)), local, remote }
    }

    /// Another next hop.
    pub(super) fn set_ethernet(&mut self, ethernet: &[u8; ETHERNET_HEADER]) {
        self.bytes[..ETHERNET_HEADER].copy_from_slice(ethernet);
    }

    /// Bytes of all headers of this segment.
    pub(super) fn len_for(segment: &TcpRepr<'_>) -> usize {
        TCP + segment.header_len()
    }

    /// Bytes of all headers of this plain segment.
    #[inline]
    pub(super) fn plain_len(plain: &Plain) -> usize {
        if plain.stamp.is_some() { STAMPED } else { BARE }
    }

    /// Writes all headers of a segment to `out`, which is [`HeaderTemplate::len_for`] bytes long. Its payload stands behind
    /// them: `payload_len` bytes whose sum is `payload_sum`.
    pub(super) fn emit(&self, out: &mut [u8], segment: &TcpRepr<'_>, payload_len: usize, payload_sum: u64) {
        match Plain::of(segment) {
            Some(plain) => self.emit_plain(out, &plain, payload_len, payload_sum),
            None => self.emit_options(out, segment, payload_len, payload_sum),
        }
    }

    /// [`HeaderTemplate::emit`] for a plain segment; `out` is [`HeaderTemplate::plain_len`] bytes long.
    #[inline(always)]
    pub(super) fn emit_plain(&self, out: &mut [u8], plain: &Plain, payload_len: usize, payload_sum: u64) {
        let (mut header_len, mut rest_sum) = (TCP_HEADER, payload_sum);
        if let Some((value, echo)) = plain.stamp {
            let Some(options) = out.get_mut(BARE..).and_then(|options| options.first_chunk_mut::<12>()) else { return };
            options[..4].copy_from_slice(&TIMESTAMP);
            options[4..8].copy_from_slice(&value.to_be_bytes());
            options[8..].copy_from_slice(&echo.to_be_bytes());
            header_len = STAMPED - TCP;
            rest_sum += checksum::sum(&TIMESTAMP) + checksum::double_word(value) + checksum::double_word(echo);
        }
        let Some(out) = out.first_chunk_mut::<BARE>() else { return };
        *out = self.bytes;
        self.emit_ip(out, header_len + payload_len);
        let lengths = [(header_len as u8) << 2, FLAG_ACK | if plain.push { FLAG_PSH } else { 0 }];
        out[TCP + 4..TCP + 8].copy_from_slice(&plain.sequence.to_be_bytes());
        out[TCP + 8..TCP + 12].copy_from_slice(&plain.acknowledgement.to_be_bytes());
        out[TCP + 12..TCP + 14].copy_from_slice(&lengths);
        out[TCP + 14..TCP + 16].copy_from_slice(&plain.window.to_be_bytes());
        // None of them is longer than 48 bits.
        let parts = [
            checksum::word((header_len + payload_len) as u16),
            checksum::double_word(plain.sequence),
            checksum::double_word(plain.acknowledgement),
            checksum::word(u16::from_be_bytes(lengths)),
            checksum::word(plain.window),
            rest_sum,
        ];
        let total = parts.iter().fold(self.tcp_sum, |total, part| total.wrapping_add(*part));
        out[TCP + 16..TCP + 18].copy_from_slice(&checksum::field(total));
    }

    #[inline]
    fn emit_ip(&self, out: &mut [u8; BARE], len: usize) {
        let total_len = (IPV4_HEADER + len) as u16;
        out[IP + 2..IP + 4].copy_from_slice(&total_len.to_be_bytes());
        out[IP + 10..IP + 12].copy_from_slice(&checksum::field(self.ip_sum + checksum::word(total_len)));
    }

    /// SYN, FIN, RST and segments with other options: rare.
    #[cold]
    #[inline(never)]
    fn emit_options(&self, out: &mut [u8], segment: &TcpRepr<'_>, payload_len: usize, payload_sum: u64) {
        let header_len = segment.header_len();
        let Some(headers) = out.first_chunk_mut::<BARE>() else { return };
        *headers = self.bytes;
        self.emit_ip(headers, header_len + payload_len);
        let Some(tcp) = out.get_mut(TCP..TCP + header_len) else { return };
        let (from, to) = (IpAddress::Ipv4(*self.local.ip()), IpAddress::Ipv4(*self.remote.ip()));
        let bare = TcpRepr { payload: &[], ..*segment };
        bare.emit(&mut TcpPacket::new_unchecked(&mut *tcp), &from, &to, &ChecksumCapabilities::ignored());
        tcp[16..18].fill(0);
        let addresses = checksum::sum(&self.bytes[IP + 12..TCP]);
        let pseudo = addresses + checksum::word(u16::from(PROTOCOL_TCP)) + checksum::word((header_len + payload_len) as u16);
        let field = checksum::field(pseudo + checksum::sum(tcp) + payload_sum);
        tcp[16..18].copy_from_slice(&field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use smoltcp::wire::{Ipv4Packet, TcpControl, TcpSeqNumber, TcpTimestampRepr};
    use std::net::Ipv4Addr;

    fn segment<'a>(payload: &'a [u8], control: TcpControl) -> TcpRepr<'a> {
        TcpRepr {
            src_port: 30_000,
            dst_port: 443,
            control,
            seq_number: TcpSeqNumber(0x1234_5678),
            ack_number: Some(TcpSeqNumber(-5)),
            window_len: 0xfedc,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        }
    }

    fn check(segment: &TcpRepr<'_>) {
        let (local, remote) =
            (SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 30_000), SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), 443));
        let template = HeaderTemplate::new(&[7; ETHERNET_HEADER], local, remote);
        let len = HeaderTemplate::len_for(segment);
        let mut frame = vec![0xee; len + segment.payload.len()];
        frame[len..].copy_from_slice(segment.payload);
        template.emit(&mut frame[..len], segment, segment.payload.len(), checksum::sum(segment.payload));
        assert_eq!(frame[..ETHERNET_HEADER], [7; ETHERNET_HEADER]);
        let ip = Ipv4Packet::new_checked(&frame[ETHERNET_HEADER..]).expect("lengths are right");
        assert!(ip.verify_checksum() && ip.dont_frag() && ip.hop_limit() == HOP_LIMIT);
        assert_eq!((ip.src_addr(), ip.dst_addr(), usize::from(ip.total_len())), (*local.ip(), *remote.ip(), frame.len() - ETHERNET_HEADER));
        let (from, to) = (IpAddress::Ipv4(*local.ip()), IpAddress::Ipv4(*remote.ip()));
        let tcp = TcpPacket::new_checked(ip.payload()).expect("lengths are right");
        assert!(tcp.verify_checksum(&from, &to));
        assert_eq!(TcpRepr::parse(&tcp, &from, &to, &ChecksumCapabilities::default()).as_ref(), Ok(segment));
    }

    #[test]
    fn rare_segments_have_all_their_options_and_right_checksums() {
        let syn = segment(&[], TcpControl::Syn);
        check(&TcpRepr { ack_number: None, max_seg_size: Some(1460), window_scale: Some(7), sack_permitted: true, ..syn });
        check(&segment(b"bye", TcpControl::Fin));
        check(&segment(&[], TcpControl::Rst));
        let stamp = Some(TcpTimestampRepr::new(9, 8));
        check(&TcpRepr { sack_ranges: [Some((1, 2)), Some((5, 9)), None], timestamp: stamp, ..segment(b"data", TcpControl::Psh) });
    }

    proptest! {
        #[test]
        fn plain_segments_read_back_as_they_were_with_right_checksums(
            payload in proptest::collection::vec(any::<u8>(), 0..1400), sequence: i32, ack: Option<i32>, window_len: u16,
            stamp: Option<(u32, u32)>, push: bool,
        ) {
            let control = if push { TcpControl::Psh } else { TcpControl::None };
            check(&TcpRepr {
                seq_number: TcpSeqNumber(sequence),
                ack_number: ack.map(TcpSeqNumber),
                window_len,
                timestamp: stamp.map(|(value, echo)| TcpTimestampRepr::new(value, echo)),
                ..segment(&payload, control)
            });
        }
    }
}
