//! The pcapng capture format: enough of it to write captures that Wireshark reads with nanosecond
//! times, and to read such captures back (IETF draft-ietf-opsawg-pcapng, sections 3 and 4).
//!
//! A file is a sequence of blocks: type, length, body padded to four bytes, length again. A section
//! header says the byte order, an interface description says the unit of time, and each enhanced
//! packet is one frame.

/// Link type "Ethernet".
pub const LINKTYPE_ETHERNET: u16 = 1;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

const OPTION_END: u16 = 0;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// Which way a frame went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Received.
    #[default]
    Inbound,
    /// Sent.
    Outbound,
}

/// Appends a block with the body that `write` writes.
fn block(out: &mut Vec<u8>, kind: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&0_u32.to_le_bytes());
    write(out);
    out.resize(start + (out.len() - start).next_multiple_of(4), 0);
    let len = ((out.len() - start + 4) as u32).to_le_bytes();
    out.extend_from_slice(&len);
    if let Some(field) = out.get_mut(start + 4..start + 8) {
        field.copy_from_slice(&len);
    }
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    out.resize(out.len() + value.len().next_multiple_of(4) - value.len(), 0);
}

/// Appends a section header block: the beginning of a file.
pub fn write_section_header(out: &mut Vec<u8>) {
    block(out, SECTION_HEADER, |body| {
        body.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
        body.extend_from_slice(&1_u16.to_le_bytes());
        body.extend_from_slice(&0_u16.to_le_bytes());
        body.extend_from_slice(&u64::MAX.to_le_bytes());
        option(body, SHB_USERAPPL, b"peregrine");
        option(body, OPTION_END, &[]);
    });
}

/// Appends an interface description block: Ethernet, times in nanoseconds. `name` is cut at 255 bytes.
pub fn write_interface(out: &mut Vec<u8>, name: &str, snap_len: u32) {
    block(out, INTERFACE_DESCRIPTION, |body| {
        body.extend_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
        body.extend_from_slice(&0_u16.to_le_bytes());
        body.extend_from_slice(&snap_len.to_le_bytes());
        let name = name.as_bytes();
        option(body, IF_NAME, name.get(..255).unwrap_or(name));
        option(body, IF_TSRESOL, &[9]);
        option(body, OPTION_END, &[]);
    });
}

/// Appends an enhanced packet block on interface 0. `timestamp_ns` counts from the Unix epoch;
/// `original_len` is the frame's length on the wire, of which `data` is the beginning.
pub fn write_packet(out: &mut Vec<u8>, timestamp_ns: u64, direction: Direction, original_len: u32, data: &[u8]) {
    block(out, ENHANCED_PACKET, |body| {
        body.extend_from_slice(&0_u32.to_le_bytes());
        body.extend_from_slice(&((timestamp_ns >> 32) as u32).to_le_bytes());
        body.extend_from_slice(&(timestamp_ns as u32).to_le_bytes());
        body.extend_from_slice(&(data.len() as u32).to_le_bytes());
        body.extend_from_slice(&original_len.to_le_bytes());
        body.extend_from_slice(data);
        body.resize(body.len() + data.len().next_multiple_of(4) - data.len(), 0);
        let flags: u32 = match direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        option(body, EPB_FLAGS, &flags.to_le_bytes());
        option(body, OPTION_END, &[]);
    });
}

/// Appends an interface statistics block: how many frames there were and how many of them are missing
/// from the file.
pub fn write_statistics(out: &mut Vec<u8>, timestamp_ns: u64, seen: u64, dropped: u64) {
    block(out, INTERFACE_STATISTICS, |body| {
        body.extend_from_slice(&0_u32.to_le_bytes());
        body.extend_from_slice(&((timestamp_ns >> 32) as u32).to_le_bytes());
        body.extend_from_slice(&(timestamp_ns as u32).to_le_bytes());
        option(body, ISB_IFRECV, &seen.to_le_bytes());
        option(body, ISB_IFDROP, &dropped.to_le_bytes());
        option(body, OPTION_END, &[]);
    });
}

/// A frame read from a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: u64,
    /// Index of its interface in the section.
    pub interface: u32,
    /// Which way it went, if the file says.
    pub direction: Option<Direction>,
    /// Length on the wire.
    pub original_len: u32,
    /// The bytes that were captured.
    pub data: &'a [u8],
}

/// Why a capture cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The file does not begin with a section header.
    #[error("not a pcapng file: no section header at byte {at}")]
    NoSection {
        /// Where.
        at: usize,
    },
    /// A block is shorter than it must be, or ends behind the end of the file.
    #[error("block at byte {at} is cut short")]
    Truncated {
        /// Where.
        at: usize,
    },
    /// A block's two lengths differ or are no multiple of four.
    #[error("block at byte {at} has a bad length")]
    BadLength {
        /// Where.
        at: usize,
    },
    /// A packet names an interface that was not described, or a unit of time we cannot express.
    #[error("packet at byte {at} belongs to no readable interface")]
    BadInterface {
        /// Where.
        at: usize,
    },
}

/// Reads the frames of a capture, in file order. Stops after the first error.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Byte order of the current section; `None` before the first.
    big_endian: Option<bool>,
    /// Nanoseconds per unit of time, as a ratio, of each interface of the section.
    interfaces: Vec<Option<(u64, u64)>>,
    failed: bool,
}

impl<'a> Reader<'a> {
    /// A reader of a whole file in memory.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0, big_endian: None, interfaces: Vec::new(), failed: false }
    }

    fn u16(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let raw = bytes.get(at..)?.first_chunk().copied()?;
        Some(if self.big_endian? { u16::from_be_bytes(raw) } else { u16::from_le_bytes(raw) })
    }

    fn u32(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let raw = bytes.get(at..)?.first_chunk().copied()?;
        Some(if self.big_endian? { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) })
    }

    /// The next block's type and body.
    fn block(&mut self) -> Result<(u32, &'a [u8], usize), ReadError> {
        let at = self.at;
        let rest = self.bytes.get(at..).unwrap_or_default();
        if rest.get(..4) == Some(&SECTION_HEADER.to_le_bytes()) {
            // The type reads the same both ways; the magic tells the order.
            let magic: [u8; 4] = rest.get(8..12).and_then(|magic| magic.try_into().ok()).ok_or(ReadError::Truncated { at })?;
            self.big_endian = match magic {
                order if order == BYTE_ORDER_MAGIC.to_le_bytes() => Some(false),
                order if order == BYTE_ORDER_MAGIC.to_be_bytes() => Some(true),
                _ => return Err(ReadError::NoSection { at }),
            };
            self.interfaces.clear();
        }
        if self.big_endian.is_none() {
            return Err(ReadError::NoSection { at });
        }
        let (Some(kind), Some(len)) = (self.u32(rest, 0), self.u32(rest, 4)) else { return Err(ReadError::Truncated { at }) };
        let len = len as usize;
        if len < 12 || !len.is_multiple_of(4) {
            return Err(ReadError::BadLength { at });
        }
        let body = rest.get(8..len - 4).ok_or(ReadError::Truncated { at })?;
        match self.u32(rest, len - 4) {
            None => return Err(ReadError::Truncated { at }),
            Some(again) if again as usize != len => return Err(ReadError::BadLength { at }),
            Some(_) => {}
        }
        self.at += len;
        Ok((kind, body, at))
    }

    /// The value of an option in a list of options.
    fn option(&self, mut list: &'a [u8], wanted: u16) -> Option<&'a [u8]> {
        loop {
            let (code, len) = (self.u16(list, 0)?, usize::from(self.u16(list, 2)?));
            if code == OPTION_END {
                return None;
            }
            if code == wanted {
                return list.get(4..4 + len);
            }
            list = list.get(4 + len.next_multiple_of(4)..)?;
        }
    }

    fn interface(&mut self, body: &'a [u8]) {
        let resolution = body.get(8..).and_then(|options| self.option(options, IF_TSRESOL)).and_then(|value| value.first());
        let ratio = match resolution.copied().unwrap_or(6) {
            power @ 0..=9 => Some((10_u64.pow(9 - u32::from(power)), 1)),
            power @ 10..=18 => Some((1, 10_u64.pow(u32::from(power) - 9))),
            binary @ 0x80..=0xa0 => Some((1_000_000_000, 1_u64 << (binary & 0x7f))),
            _ => None,
        };
        self.interfaces.push(ratio);
    }

    fn packet(&self, body: &'a [u8], at: usize) -> Result<Packet<'a>, ReadError> {
        let cut = ReadError::Truncated { at };
        let interface = self.u32(body, 0).ok_or(cut)?;
        let (high, low) = (self.u32(body, 4).ok_or(cut)?, self.u32(body, 8).ok_or(cut)?);
        let (captured, original_len) = (self.u32(body, 12).ok_or(cut)? as usize, self.u32(body, 16).ok_or(cut)?);
        let data = body.get(20..).and_then(|rest| rest.get(..captured)).ok_or(cut)?;
        let (multiply, divide) = self.interfaces.get(interface as usize).copied().flatten().ok_or(ReadError::BadInterface { at })?;
        let units = u64::from(high) << 32 | u64::from(low);
        let timestamp_ns = u64::try_from(u128::from(units) * u128::from(multiply) / u128::from(divide)).unwrap_or(u64::MAX);
        let flags = body
            .get(20 + captured.next_multiple_of(4)..)
            .and_then(|options| self.option(options, EPB_FLAGS))
            .and_then(|value| self.u32(value, 0));
        let direction = match flags.map(|flags| flags & 3) {
            Some(1) => Some(Direction::Inbound),
            Some(2) => Some(Direction::Outbound),
            _ => None,
        };
        Ok(Packet { timestamp_ns, interface, direction, original_len, data })
    }

    fn advance(&mut self) -> Option<Result<Packet<'a>, ReadError>> {
        while self.at < self.bytes.len() {
            match self.block() {
                Ok((INTERFACE_DESCRIPTION, body, _)) => self.interface(body),
                Ok((ENHANCED_PACKET, body, at)) => return Some(self.packet(body, at)),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Packet<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.advance();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn capture(packets: &[(u64, Direction, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        write_section_header(&mut out);
        write_interface(&mut out, "eth0", 2048);
        for (timestamp_ns, direction, data) in packets {
            write_packet(&mut out, *timestamp_ns, *direction, data.len() as u32 + 7, data);
        }
        write_statistics(&mut out, 1, packets.len() as u64, 3);
        out
    }

    #[test]
    fn an_interface_block_is_laid_out_as_the_draft_says() {
        let mut out = Vec::new();
        write_interface(&mut out, "eth0", 0x800);
        assert_eq!(
            out,
            [
                1, 0, 0, 0, // interface description
                40, 0, 0, 0, // length
                1, 0, 0, 0, // Ethernet, reserved
                0, 8, 0, 0, // snap length
                2, 0, 4, 0, b'e', b't', b'h', b'0', // if_name
                9, 0, 1, 0, 9, 0, 0, 0, // if_tsresol: 10^-9, padded
                0, 0, 0, 0, // end of options
                40, 0, 0, 0, // length
            ]
        );
    }

    #[test]
    fn a_big_endian_microsecond_capture_is_read() {
        let mut out = Vec::new();
        for word in [SECTION_HEADER, 28, BYTE_ORDER_MAGIC, 0x0001_0000, u32::MAX, u32::MAX, 28] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        for word in [INTERFACE_DESCRIPTION, 20, 0x0001_0000, 0, 20] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        for word in [ENHANCED_PACKET, 36, 0, 0, 5, 4, 60, 0xaabb_ccdd, 36] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        let packets: Vec<_> = Reader::new(&out).collect();
        let expected = Packet { timestamp_ns: 5_000, interface: 0, direction: None, original_len: 60, data: &[0xaa, 0xbb, 0xcc, 0xdd] };
        assert_eq!(packets, [Ok(expected)]);
    }

    #[test]
    fn damage_is_reported_where_it_is() {
        let good = capture(&[(1, Direction::Inbound, vec![1, 2, 3])]);
        assert_eq!(Reader::new(&[]).count(), 0);
        assert_eq!(Reader::new(&good[4..]).next(), Some(Err(ReadError::NoSection { at: 0 })));
        let cut = good[..good.len() - 1].to_vec();
        assert!(matches!(Reader::new(&cut).last(), Some(Err(ReadError::Truncated { .. }))));
        let mut bad = good.clone();
        let last = bad.len() - 4;
        bad[last] ^= 4;
        assert!(matches!(Reader::new(&bad).last(), Some(Err(ReadError::BadLength { .. }))));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            packets in prop::collection::vec((any::<u64>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..100)), 0..20)
        ) {
            let packets: Vec<_> = packets
                .into_iter()
                .map(|(time, inbound, data)| (time, if inbound { Direction::Inbound } else { Direction::Outbound }, data))
                .collect();
            let bytes = capture(&packets);
            let read: Vec<_> = Reader::new(&bytes).collect::<Result<_, _>>().expect("our own file is sound");
            prop_assert_eq!(read.len(), packets.len());
            for (read, (time, direction, data)) in read.iter().zip(&packets) {
                prop_assert_eq!(
                    (read.timestamp_ns, read.direction, read.data, read.original_len),
                    (*time, Some(*direction), data.as_slice(), data.len() as u32 + 7)
                );
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0..200_usize, flip in any::<(usize, u8)>()) {
            prop_assert!(Reader::new(&bytes).count() <= bytes.len());
            let mut damaged = capture(&[(1, Direction::Inbound, vec![7; 50]), (2, Direction::Outbound, vec![8; 9])]);
            let len = damaged.len();
            damaged[flip.0 % len] ^= flip.1;
            damaged.truncate(len - cut % len);
            prop_assert!(Reader::new(&damaged).count() <= 4);
        }
    }
}
