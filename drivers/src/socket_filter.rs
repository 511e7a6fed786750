//! The classic BPF socket filter made from a [`Filter`], for AF_PACKET: the kernel copies only frames of
//! ours into the ring.
//!
//! Classic BPF has an accumulator and loads in network order; a load past the end of the frame ends
//! the program with "drop", so lengths need no check. What comes in with a VLAN tag (which the kernel
//! has moved to metadata) and what this machine sent itself is not ours.

use crate::error::{DriverError, Result};
use crate::filter::{ARP_ETHERNET_IPV4, ETHERTYPE_ARP, ETHERTYPE_IPV4, FRAGMENT_MASK, Filter, PROTOCOL_TCP, PROTOCOL_UDP, offset};

/// Operation codes (linux/bpf_common.h).
pub mod code {
    /// `A = word[k]`
    pub const LOAD_U32: u16 = 0x20;
    /// `A = halfword[k]`
    pub const LOAD_U16: u16 = 0x28;
    /// `A = byte[k]`
    pub const LOAD_U8: u16 = 0x30;
    /// `A &= k`
    pub const AND: u16 = 0x54;
    /// jump if `A == k`
    pub const JUMP_IF_EQUAL: u16 = 0x15;
    /// jump if `A > k`
    pub const JUMP_IF_ABOVE: u16 = 0x25;
    /// jump if `A >= k`
    pub const JUMP_IF_AT_LEAST: u16 = 0x35;
    /// jump if `A & k`
    pub const JUMP_IF_ANY_BIT: u16 = 0x45;
    /// return `k`: how many bytes of the frame to keep
    pub const RETURN: u16 = 0x06;
}

/// Loads from here on read metadata instead of the frame (`SKF_AD_OFF`).
pub const METADATA: u32 = 0xffff_f000;
/// `SKF_AD_PKTTYPE`.
pub const METADATA_PACKET_TYPE: u32 = METADATA + 4;
/// `SKF_AD_VLAN_TAG_PRESENT`.
pub const METADATA_VLAN_PRESENT: u32 = METADATA + 48;
/// `PACKET_OUTGOING`: sent by this machine.
pub const PACKET_OUTGOING: u32 = 4;
/// Keep the whole frame.
const ACCEPT: u32 = 0x4_0000;

/// Where a comparison goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    Ours,
    NotOurs,
    /// Forward by so many instructions.
    Skip(u8),
}

/// The socket filter for a filter, ready for `SO_ATTACH_FILTER`.
///
/// # Errors
/// If the filter makes no sense.
pub fn socket_filter(filter: &Filter) -> Result<Vec<libc::sock_filter>> {
    use To::{Next, NotOurs, Ours, Skip};
    filter.validate()?;
    let mut asm = Classic::default();
    asm.load(code::LOAD_U8, METADATA_VLAN_PRESENT as usize);
    asm.test(code::JUMP_IF_EQUAL, 0, Next, NotOurs);
    asm.load(code::LOAD_U8, METADATA_PACKET_TYPE as usize);
    asm.test(code::JUMP_IF_EQUAL, PACKET_OUTGOING, NotOurs, Next);
    match *filter {
        Filter::Everything => {}
        Filter::Address(address) => {
            asm.load(code::LOAD_U16, offset::ETHERTYPE);
            asm.test(code::JUMP_IF_EQUAL, u32::from(ETHERTYPE_IPV4), Skip(5), Next);
            asm.test(code::JUMP_IF_EQUAL, u32::from(ETHERTYPE_ARP), Next, NotOurs);
            asm.load(code::LOAD_U32, offset::ARP_TYPES);
            asm.test(code::JUMP_IF_EQUAL, ARP_ETHERNET_IPV4, Next, NotOurs);
            asm.load(code::LOAD_U32, offset::ARP_TARGET);
            asm.test(code::JUMP_IF_EQUAL, address.to_bits(), Ours, NotOurs);
            asm.load(code::LOAD_U8, offset::IPV4_VERSION_IHL);
            asm.and(0xf0);
            asm.test(code::JUMP_IF_EQUAL, 0x40, Next, NotOurs);
            asm.load(code::LOAD_U32, offset::IPV4_DESTINATION);
            asm.test(code::JUMP_IF_EQUAL, address.to_bits(), Ours, NotOurs);
        }
        Filter::Ports { address, first, last } => {
            asm.load(code::LOAD_U16, offset::ETHERTYPE);
            asm.test(code::JUMP_IF_EQUAL, u32::from(ETHERTYPE_IPV4), Next, NotOurs);
            asm.load(code::LOAD_U8, offset::IPV4_VERSION_IHL);
            asm.test(code::JUMP_IF_EQUAL, 0x45, Next, NotOurs);
            asm.load(code::LOAD_U16, offset::IPV4_FRAGMENT);
            asm.test(code::JUMP_IF_ANY_BIT, u32::from(FRAGMENT_MASK), NotOurs, Next);
            asm.load(code::LOAD_U32, offset::IPV4_DESTINATION);
            asm.test(code::JUMP_IF_EQUAL, address.to_bits(), Next, NotOurs);
            asm.load(code::LOAD_U8, offset::IPV4_PROTOCOL);
            asm.test(code::JUMP_IF_EQUAL, u32::from(PROTOCOL_TCP), Skip(1), Next);
            asm.test(code::JUMP_IF_EQUAL, u32::from(PROTOCOL_UDP), Next, NotOurs);
            asm.load(code::LOAD_U16, offset::DESTINATION_PORT);
            asm.test(code::JUMP_IF_AT_LEAST, u32::from(first), Next, NotOurs);
            asm.test(code::JUMP_IF_ABOVE, u32::from(last), NotOurs, Ours);
        }
    }
    asm.finish()
}

/// Collects instructions; "ours" and "not ours" are the last two.
#[derive(Default)]
struct Classic {
    program: Vec<(u16, To, To, u32)>,
}

impl Classic {
    fn load(&mut self, code: u16, at: usize) {
        self.program.push((code, To::Next, To::Next, at as u32));
    }

    fn and(&mut self, mask: u32) {
        self.program.push((code::AND, To::Next, To::Next, mask));
    }

    fn test(&mut self, code: u16, constant: u32, if_true: To, if_false: To) {
        self.program.push((code, if_true, if_false, constant));
    }

    fn finish(self) -> Result<Vec<libc::sock_filter>> {
        let end = self.program.len();
        let distance = |at: usize, to: To| match to {
            To::Next => Ok(0),
            To::Skip(count) => Ok(count),
            To::Ours => u8::try_from(end - at - 1).map_err(|_| DriverError::Config("socket filter is too long".to_owned())),
            To::NotOurs => u8::try_from(end - at).map_err(|_| DriverError::Config("socket filter is too long".to_owned())),
        };
        let mut program = Vec::with_capacity(end + 2);
        for (at, (code, if_true, if_false, k)) in self.program.into_iter().enumerate() {
            program.push(libc::sock_filter { code, jt: distance(at, if_true)?, jf: distance(at, if_false)?, k });
        }
        program.push(libc::sock_filter { code: code::RETURN, jt: 0, jf: 0, k: ACCEPT });
        program.push(libc::sock_filter { code: code::RETURN, jt: 0, jf: 0, k: 0 });
        Ok(program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf_interpreter::run_classic;
    use crate::filter::samples;
    use proptest::prelude::*;

    fn decides(filter: &Filter, frame: &[u8]) -> bool {
        run_classic(&socket_filter(filter).expect("program"), frame, |_| 0) != 0
    }

    #[test]
    fn socket_filter_takes_only_what_is_plainly_ours() {
        for (name, filter, frame, ours) in samples::cases() {
            assert_eq!(decides(&filter, &frame), ours, "{name}");
        }
    }

    #[test]
    fn tagged_and_outgoing_frames_are_not_ours() {
        let filter = Filter::Address(samples::OURS);
        let program = socket_filter(&filter).expect("program");
        let frame = samples::ipv4(samples::OURS, PROTOCOL_TCP, 1);
        assert_ne!(run_classic(&program, &frame, |_| 0), 0);
        let tagged = |at: u32| u32::from(at == METADATA_VLAN_PRESENT);
        assert_eq!(run_classic(&program, &frame, tagged), 0);
        let outgoing = |at: u32| if at == METADATA_PACKET_TYPE { PACKET_OUTGOING } else { 0 };
        assert_eq!(run_classic(&program, &frame, outgoing), 0);
    }

    proptest! {
        #[test]
        fn socket_filter_agrees_with_the_reference((filter, frame) in samples::near_misses()) {
            prop_assert_eq!(decides(&filter, &frame), filter.matches(&frame));
        }
    }
}
