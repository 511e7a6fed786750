//! The eBPF programs made from a [`Filter`], and their attachment to an interface.
//!
//! Two programs share one body, "is this frame ours?":
//! - the **XDP program** redirects ours into the AF_XDP socket of the queue on which the frame came in,
//!   and passes the rest to the kernel as if we were not there;
//! - the **shield** is for AF_PACKET, which sees *copies*: attached at traffic-control ingress, behind
//!   the packet tap, it keeps the kernel from seeing ours too (and from answering them with RST).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::bpf::Register::{R0, R1, R2, R3, R4, R5, R6};
use crate::bpf::{self, Assembler, AttachType, Instruction, Link, ProgramType, code, helper};
use crate::error::{DriverError, Result};
use crate::filter::{ARP_ETHERNET_IPV4, ETHERTYPE_ARP, ETHERTYPE_IPV4, FRAGMENT_MASK, Filter, PROTOCOL_TCP, PROTOCOL_UDP, offset};
use crate::interface::Interface;
use crate::retry::retry_while_busy;

/// `XDP_DROP`.
pub const XDP_DROP: u32 = 1;
/// `XDP_PASS`: on to the kernel.
pub const XDP_PASS: u32 = 2;
/// `TCX_NEXT`: no verdict of ours.
pub const TCX_NEXT: i32 = -1;
/// `TCX_DROP`.
pub const TCX_DROP: i32 = 2;

/// How many queues of an interface can have a socket.
const QUEUES_MAX: u32 = 256;

/// Offsets in `struct xdp_md`.
mod xdp_context {
    pub const DATA: usize = 0;
    pub const DATA_END: usize = 4;
    pub const RX_QUEUE_INDEX: usize = 16;
}

/// Offsets in `struct __sk_buff`.
mod skb_context {
    pub const DATA: usize = 76;
    pub const DATA_END: usize = 80;
}

/// The XDP program for a filter. `on_miss` is the verdict for a frame of ours that arrives on a queue
/// without a socket: [`XDP_PASS`], except in tests, which tell "ours" by it.
///
/// # Errors
/// If the filter makes no sense.
pub fn xdp_program(filter: &Filter, sockets: BorrowedFd<'_>, on_miss: u32) -> Result<Vec<Instruction>> {
    filter.validate()?;
    let mut asm = Assembler::new();
    asm.copy(R6, R1);
    asm.load(code::LOAD_U32, R2, R1, xdp_context::DATA);
    asm.load(code::LOAD_U32, R3, R1, xdp_context::DATA_END);
    is_ours(&mut asm, filter);
    asm.place(Label::Ours);
    // return bpf_redirect_map(sockets, context->rx_queue_index, on_miss)
    asm.load_map(R1, sockets);
    asm.load(code::LOAD_U32, R2, R6, xdp_context::RX_QUEUE_INDEX);
    asm.constant(code::MOVE_CONSTANT, R3, on_miss.cast_signed());
    asm.call(helper::REDIRECT_MAP);
    asm.exit();
    asm.place(Label::NotOurs);
    asm.constant(code::MOVE_CONSTANT, R0, XDP_PASS.cast_signed());
    asm.exit();
    asm.finish()
}

/// The shield for a filter.
///
/// # Errors
/// If the filter makes no sense.
pub fn shield_program(filter: &Filter) -> Result<Vec<Instruction>> {
    filter.validate()?;
    let mut asm = Assembler::new();
    asm.copy(R6, R1);
    // Some drivers leave all but the Ethernet header in page fragments; make our headers readable.
    // On a frame shorter than that it fails, and what is readable already is judged.
    asm.constant(code::MOVE_CONSTANT, R2, offset::ARP_END as i32);
    asm.call(helper::SKB_PULL_DATA);
    asm.load(code::LOAD_U32, R2, R6, skb_context::DATA);
    asm.load(code::LOAD_U32, R3, R6, skb_context::DATA_END);
    is_ours(&mut asm, filter);
    asm.place(Label::Ours);
    asm.constant(code::MOVE_CONSTANT, R0, TCX_DROP);
    asm.exit();
    asm.place(Label::NotOurs);
    asm.constant(code::MOVE_CONSTANT, R0, TCX_NEXT);
    asm.exit();
    asm.finish()
}

/// A place in a program that jumps can name before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    /// The frame is ours.
    Ours,
    /// The frame is not ours.
    NotOurs,
    /// The frame is IPv4.
    Ipv4,
    /// The protocol has ports.
    HasPorts,
}

/// The common body: with the frame from `R2` to `R3`, goes to [`Label::NotOurs`] or falls through to
/// where [`Label::Ours`] must be placed. Fields are compared in network order, as they are loaded.
fn is_ours(asm: &mut Assembler<Label>, filter: &Filter) {
    let network16 = |value: u16| u32::from(u16::from_ne_bytes(value.to_be_bytes()));
    let network32 = |value: u32| u32::from_ne_bytes(value.to_be_bytes());
    match *filter {
        Filter::Everything => require_length(asm, offset::PAYLOAD),
        Filter::Address(address) => {
            require_length(asm, offset::PAYLOAD);
            asm.load(code::LOAD_U16, R5, R2, offset::ETHERTYPE);
            asm.jump_if(code::JUMP_IF_EQUAL_32, R5, network16(ETHERTYPE_IPV4), Label::Ipv4);
            asm.jump_if(code::JUMP_IF_NOT_EQUAL_32, R5, network16(ETHERTYPE_ARP), Label::NotOurs);
            require_length(asm, offset::ARP_END);
            asm.load(code::LOAD_U32, R5, R2, offset::ARP_TYPES);
            asm.jump_if(code::JUMP_IF_NOT_EQUAL_32, R5, network32(ARP_ETHERNET_IPV4), Label::NotOurs);
            asm.load(code::LOAD_U32, R5, R2, offset::ARP_TARGET);
            asm.jump_if(code::JUMP_IF_NOT_EQUAL_32, R5, network32(address.to_bits()), Label::NotOurs);
            asm.jump(Label::Ours);
            asm.place(Label::Ipv4);
            require_length(asm, offset::IPV4_END);
            asm.load(code::LOAD_U8, R5, R2, offset::IPV4_VERSION_IHL);
            asm.constant(code::AND_CONSTANT, R5, 0xf0);
            asm.jump_if(code::JUMP_IF_NOT_EQUAL_32, R5, 0x40, Label::NotOurs);
            asm.load(code::LOAD_U32, R5, R2, offset::IPV4_DESTINATION);
            asm.jump_if(code::JUMP_IF_NOT_EQUAL_32, R5, network32(address.to_bits()), Label::NotOurs);
        }
        Filter::Ports { address, first, last } => {
            require_length(asm, offset::DESTINATION_PORT_END);
            asm.load(code::LOAD_U16, R5, R2, offset::ETHERTYPE);
            asm.jump_if(code::JUMP_IF_NOT_EQUAL_32, R5, network16(ETHERTYPE_IPV4), Label::NotOurs);
            // Version 4 and a header of five words: no options, so the ports are where we look.
            asm.load(code::LOAD_U8, R5, R2, offset::IPV4_VERSION_IHL);
            asm.jump_if(code::JUMP_IF_NOT_EQUAL_32, R5, 0x45, Label::NotOurs);
            asm.load(code::LOAD_U16, R5, R2, offset::IPV4_FRAGMENT);
            asm.constant(code::AND_CONSTANT, R5, network16(FRAGMENT_MASK).cast_signed());
            asm.jump_if(code::JUMP_IF_NOT_EQUAL_32, R5, 0, Label::NotOurs);
            asm.load(code::LOAD_U32, R5, R2, offset::IPV4_DESTINATION);
            asm.jump_if(code::JUMP_IF_NOT_EQUAL_32, R5, network32(address.to_bits()), Label::NotOurs);
            asm.load(code::LOAD_U8, R5, R2, offset::IPV4_PROTOCOL);
            asm.jump_if(code::JUMP_IF_EQUAL_32, R5, u32::from(PROTOCOL_TCP), Label::HasPorts);
            asm.jump_if(code::JUMP_IF_NOT_EQUAL_32, R5, u32::from(PROTOCOL_UDP), Label::NotOurs);
            asm.place(Label::HasPorts);
            asm.load(code::LOAD_U16, R5, R2, offset::DESTINATION_PORT);
            asm.constant(code::FROM_BIG_ENDIAN, R5, 16);
            asm.jump_if(code::JUMP_IF_BELOW_32, R5, u32::from(first), Label::NotOurs);
            asm.jump_if(code::JUMP_IF_ABOVE_32, R5, u32::from(last), Label::NotOurs);
        }
    }
}

/// Goes to [`Label::NotOurs`] unless the frame has `length` bytes; the verifier demands this before a load.
fn require_length(asm: &mut Assembler<Label>, length: usize) {
    asm.copy(R4, R2);
    asm.constant(code::ADD_CONSTANT, R4, length as i32);
    asm.jump_if_above(R4, R3, Label::NotOurs);
}

/// In which mode the XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver, before a socket buffer exists.
    Native,
    /// In the kernel's generic receive path: works on every interface, slower.
    Generic,
}

impl AttachMode {
    /// `XDP_FLAGS_DRV_MODE` or `XDP_FLAGS_SKB_MODE`.
    fn flags(self) -> u32 {
        match self {
            AttachMode::Native => 1 << 2,
            AttachMode::Generic => 1 << 1,
        }
    }
}

/// An XDP program on an interface with its map of sockets; gone when dropped or when the process dies.
/// Share it (in an `Arc`) among the ports of all queues of the interface.
#[derive(Debug)]
pub struct XdpAttachment {
    sockets: OwnedFd,
    _program: OwnedFd,
    _link: Link,
    filter: Filter,
    mode: AttachMode,
    ifindex: u32,
}

impl XdpAttachment {
    /// Loads and attaches the program. While another link has the interface, tries again until
    /// `patience` is over: the kernel needs a moment to clean up after a process that was killed.
    ///
    /// # Errors
    /// Without privileges, if the driver lacks the mode, or if the interface stays taken.
    pub fn attach(interface: &Interface, filter: Filter, mode: AttachMode, patience: Duration) -> Result<XdpAttachment> {
        let sockets = bpf::create_xsk_map(QUEUES_MAX)?;
        let program = xdp_program(&filter, sockets.as_fd(), XDP_PASS)?;
        let program = bpf::load_program(ProgramType::Xdp, AttachType::Xdp, &program)?;
        let link = retry_while_busy(patience, || bpf::create_link(program.as_fd(), interface.index, AttachType::Xdp, mode.flags()))
            .map_err(|error| DriverError::io(format!("XDP program on {}, {mode:?} mode{}", interface.name, attach_hint(&error)), error))?;
        Ok(XdpAttachment { sockets, _program: program, _link: link, filter, mode, ifindex: interface.index })
    }

    /// Sends frames of ours that arrive on `queue` to `socket`.
    ///
    /// # Errors
    /// If the queue number is out of range or the socket is not bound.
    pub fn connect(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<()> {
        use std::os::fd::AsRawFd;
        bpf::update_map(self.sockets.as_fd(), queue, socket.as_raw_fd() as u32)
    }

    /// What it takes for ours.
    pub fn filter(&self) -> Filter {
        self.filter
    }

    /// How it runs.
    pub fn mode(&self) -> AttachMode {
        self.mode
    }

    /// Index of the interface it is on.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }
}

fn attach_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => " (another XDP program is attached: see `bpftool net`)",
        Some(libc::EOPNOTSUPP) => " (the driver has no such mode)",
        Some(libc::EINVAL) => " (kernel older than 5.9, or MTU too large for XDP)",
        _ => "",
    }
}

/// The shield on an interface; gone when dropped or when the process dies.
#[derive(Debug)]
pub struct Shield {
    _link: Link,
}

impl Shield {
    /// Loads and attaches the shield.
    ///
    /// # Errors
    /// Without privileges or on a kernel before 6.6.
    pub fn attach(interface: &Interface, filter: &Filter) -> Result<Shield> {
        let program = shield_program(filter)?;
        let program = bpf::load_program(ProgramType::TrafficControl, AttachType::TcxIngress, &program)?;
        let link = bpf::create_link(program.as_fd(), interface.index, AttachType::TcxIngress, 0)
            .map_err(|error| DriverError::io(format!("shield at ingress of {} (needs Linux 6.6)", interface.name), error))?;
        Ok(Shield { _link: link })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf_interpreter::{self, ContextLayout, Redirect};
    use crate::filter::samples;
    use proptest::prelude::*;
    use std::fs::File;

    const XDP: ContextLayout = ContextLayout { data: xdp_context::DATA, data_end: xdp_context::DATA_END };
    const SKB: ContextLayout = ContextLayout { data: skb_context::DATA, data_end: skb_context::DATA_END };

    /// What the XDP program decides; the interpreter never looks into the map.
    fn xdp_decides(filter: &Filter, frame: &[u8]) -> bool {
        let stands_for_the_map = File::open("/dev/null").expect("/dev/null");
        let program = xdp_program(filter, stands_for_the_map.as_fd(), XDP_PASS).expect("program");
        match bpf_interpreter::run(&program, XDP, 3, frame) {
            (4, Some(Redirect { key: 3, flags })) if flags == u64::from(XDP_PASS) => true,
            (verdict, None) if verdict == u64::from(XDP_PASS) => false,
            other => panic!("unexpected verdict {other:?}"),
        }
    }

    fn shield_decides(filter: &Filter, frame: &[u8]) -> bool {
        let program = shield_program(filter).expect("program");
        match bpf_interpreter::run(&program, SKB, 0, frame) {
            (verdict, None) if verdict as i32 == TCX_DROP => true,
            (verdict, None) if verdict as i32 == TCX_NEXT => false,
            other => panic!("unexpected verdict {other:?}"),
        }
    }

    #[test]
    fn both_programs_take_only_what_is_plainly_ours() {
        for (name, filter, frame, ours) in samples::cases() {
            assert_eq!(xdp_decides(&filter, &frame), ours, "XDP: {name}");
            assert_eq!(shield_decides(&filter, &frame), ours, "shield: {name}");
        }
    }

    #[test]
    fn programs_are_short() {
        let map = File::open("/dev/null").expect("/dev/null");
        for (_, filter, ..) in samples::cases() {
            assert!(xdp_program(&filter, map.as_fd(), XDP_PASS).expect("program").len() <= 42);
        }
    }

    #[test]
    fn the_kernel_verifies_the_programs_and_decides_the_same() {
        if !nix::unistd::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: BPF needs root");
            eprintln!("skipped: BPF needs root");
            return;
        }
        for (name, filter, frame, ours) in samples::cases() {
            let map = bpf::create_xsk_map(4).expect("map");
            // The map is empty: a frame of ours gets the verdict for a miss, which tells it from others.
            let program = xdp_program(&filter, map.as_fd(), XDP_DROP).expect("program");
            let program = bpf::load_program(ProgramType::Xdp, AttachType::Xdp, &program).expect("the verifier takes it");
            let shield = shield_program(&filter).expect("program");
            let shield = bpf::load_program(ProgramType::TrafficControl, AttachType::TcxIngress, &shield).expect("the verifier takes it");
            if frame.len() < offset::PAYLOAD {
                continue; // not a frame for the kernel's test run
            }
            let verdict = bpf::test_run(program.as_fd(), &frame).expect("test run");
            assert_eq!(verdict, if ours { XDP_DROP } else { XDP_PASS }, "XDP: {name}");
            if frame.len() < offset::IPV4_END {
                continue; // a socket buffer's test run takes no cut IP header
            }
            let verdict = bpf::test_run(shield.as_fd(), &frame).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(verdict.cast_signed(), if ours { TCX_DROP } else { TCX_NEXT }, "shield: {name}");
        }
    }

    #[test]
    fn a_refused_program_brings_the_verifiers_log() {
        if !nix::unistd::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: BPF needs root");
            eprintln!("skipped: BPF needs root");
            return;
        }
        // Reads the frame without a look at its end.
        let mut asm = Assembler::<Label>::new();
        asm.load(code::LOAD_U32, R2, R1, xdp_context::DATA);
        asm.load(code::LOAD_U8, R0, R2, 0);
        asm.exit();
        let program = asm.finish().expect("no labels");
        match bpf::load_program(ProgramType::Xdp, AttachType::Xdp, &program) {
            Err(DriverError::Verifier { log, .. }) => assert!(log.contains("invalid access to packet"), "{log}"),
            other => panic!("unexpected {other:?}"),
        }
    }

    #[test]
    fn a_jump_to_nowhere_is_refused() {
        let mut asm = Assembler::new();
        asm.jump(Label::Ours);
        assert!(asm.finish().is_err());
    }

    proptest! {
        #[test]
        fn programs_agree_with_the_reference((filter, frame) in samples::near_misses()) {
            let ours = filter.matches(&frame);
            prop_assert_eq!(xdp_decides(&filter, &frame), ours);
            prop_assert_eq!(shield_decides(&filter, &frame), ours);
        }
    }
}
