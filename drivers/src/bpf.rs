//! eBPF without a compiler: an assembler for the few instructions that we use, and the bpf(2) calls.
//!
//! What is attached stays so for as long as the [`Link`] that the call returned lives: when the process dies, however it dies,
//! it is gone.
//!
//! An instruction is eight bytes: operation, two register numbers, a 16-bit offset, a 32-bit constant
//! (kernel: Documentation/bpf/standardization/instruction-set.rst). Registers: `R0` result, `R1` to
//! `R5` arguments (lost in a call), `R6` to `R9` kept, `R10` frame pointer.

mod shared_array;

pub use shared_array::SharedArray;

use std::ffi::CStr;
use std::fmt::Debug;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::error::{DriverError, Result};

/// One eBPF instruction as the kernel takes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
pub struct Instruction {
    /// Class, source and operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Memory offset, or jump distance counted from the next instruction.
    pub offset: i16,
    /// Constant.
    pub constant: i32,
}

impl Instruction {
    /// Destination register number.
    pub fn destination(&self) -> usize {
        usize::from(self.registers & 0xf)
    }

    /// Source register number.
    pub fn source(&self) -> usize {
        usize::from(self.registers >> 4)
    }
}

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "register numbers; the module header says which does what")]
pub enum Register {
    R0 = 0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// Operation codes.
pub mod code {
    /// `dst = *(u8 *)(src + offset)`
    pub const LOAD_U8: u8 = 0x71;
    /// `dst = *(u16 *)(src + offset)`
    pub const LOAD_U16: u8 = 0x69;
    /// `dst = *(u32 *)(src + offset)`
    pub const LOAD_U32: u8 = 0x61;
    /// `dst = *(u64 *)(src + offset)`
    pub const LOAD_U64: u8 = 0x79;
    /// `*(u8 *)(dst + offset) = src`
    pub const STORE_U8: u8 = 0x73;
    /// `*(u16 *)(dst + offset) = src`
    pub const STORE_U16: u8 = 0x6b;
    /// `*(u32 *)(dst + offset) = src`
    pub const STORE_U32: u8 = 0x63;
    /// `*(u64 *)(dst + offset) = src`
    pub const STORE_U64: u8 = 0x7b;
    /// atomic operation, which the constant names, on `*(u64 *)(dst + offset)`
    pub const ATOMIC_U64: u8 = 0xdb;
    /// Constant of [`ATOMIC_U64`]: `{ old = *..; *.. += src; src = old }`
    pub const FETCH_ADD: i32 = 1;
    /// `dst = constant` (64 bits, two instructions)
    pub const LOAD_CONSTANT_64: u8 = 0x18;
    /// `dst = constant`
    pub const MOVE_CONSTANT: u8 = 0xb7;
    /// `dst = src`
    pub const MOVE: u8 = 0xbf;
    /// `dst += constant`
    pub const ADD_CONSTANT: u8 = 0x07;
    /// `dst += src`
    pub const ADD: u8 = 0x0f;
    /// `dst -= constant`
    pub const SUBTRACT_CONSTANT: u8 = 0x17;
    /// `dst -= src`
    pub const SUBTRACT: u8 = 0x1f;
    /// `dst <<= constant`
    pub const SHIFT_LEFT_CONSTANT: u8 = 0x67;
    /// `dst >>= constant`, unsigned
    pub const SHIFT_RIGHT_CONSTANT: u8 = 0x77;
    /// `dst &= constant`
    pub const AND_CONSTANT: u8 = 0x57;
    /// `dst = (low bits of dst, from network order)`
    pub const FROM_BIG_ENDIAN: u8 = 0xdc;
    /// jump
    pub const JUMP: u8 = 0x05;
    /// jump if the low 32 bits of dst equal the constant (32-bit: no sign extension of the constant)
    pub const JUMP_IF_EQUAL_32: u8 = 0x16;
    /// jump if the low 32 bits of dst differ from the constant
    pub const JUMP_IF_NOT_EQUAL_32: u8 = 0x56;
    /// jump if the low 32 bits of dst exceed the constant, unsigned
    pub const JUMP_IF_ABOVE_32: u8 = 0x26;
    /// jump if the low 32 bits of dst are below the constant, unsigned
    pub const JUMP_IF_BELOW_32: u8 = 0xa6;
    /// jump if dst exceeds src, unsigned
    pub const JUMP_IF_ABOVE: u8 = 0x2d;
    /// call a helper
    pub const CALL: u8 = 0x85;
    /// return R0
    pub const EXIT: u8 = 0x95;
    /// Source "register" of [`LOAD_CONSTANT_64`] that makes the constant a map's descriptor.
    pub const PSEUDO_MAP_FD: u8 = 1;
    /// The same, but the result is the address of the map's first value; the second instruction's constant is added to it.
    pub const PSEUDO_MAP_VALUE: u8 = 2;
}

/// Helper functions (linux/bpf.h, `___BPF_FUNC_MAPPER`).
pub mod helper {
    /// `bpf_ktime_get_ns()`: `CLOCK_MONOTONIC`.
    pub const KTIME_GET_NS: i32 = 5;
    /// `bpf_get_smp_processor_id()`.
    pub const GET_SMP_PROCESSOR_ID: i32 = 8;
    /// `bpf_skb_pull_data(skb, len)`: makes the first bytes readable.
    pub const SKB_PULL_DATA: i32 = 39;
    /// `bpf_redirect_map(map, key, flags)`: the low bits of flags are the verdict if the key is absent.
    pub const REDIRECT_MAP: i32 = 51;
}

/// Collects instructions and resolves labels, which are the program's own.
#[derive(Debug)]
pub struct Assembler<L> {
    program: Vec<Instruction>,
    placed: Vec<(L, usize)>,
    jumps: Vec<(usize, L)>,
}

impl<L> Default for Assembler<L> {
    fn default() -> Assembler<L> {
        Assembler { program: Vec::new(), placed: Vec::new(), jumps: Vec::new() }
    }
}

impl<L: Copy + PartialEq + Debug> Assembler<L> {
    /// An empty program.
    pub fn new() -> Assembler<L> {
        Assembler::default()
    }

    fn emit(&mut self, code: u8, destination: Register, source: u8, offset: i16, constant: i32) {
        self.program.push(Instruction { code, registers: destination as u8 | source << 4, offset, constant });
    }

    /// `destination = memory[source + offset]`, of the width that `code` says.
    pub fn load(&mut self, code: u8, destination: Register, source: Register, offset: usize) {
        self.emit(code, destination, source as u8, offset as i16, 0);
    }

    /// `memory[base + offset] = source`, of the width that `code` says.
    pub fn store(&mut self, code: u8, base: Register, offset: usize, source: Register) {
        self.emit(code, base, source as u8, offset as i16, 0);
    }

    /// `destination = stack[end - below]`, 64 bits.
    pub fn load_from_stack(&mut self, destination: Register, below: usize) {
        self.emit(code::LOAD_U64, destination, Register::R10 as u8, -(below as i16), 0);
    }

    /// `stack[end - below] = source`, 64 bits.
    pub fn store_on_stack(&mut self, below: usize, source: Register) {
        self.emit(code::STORE_U64, Register::R10, source as u8, -(below as i16), 0);
    }

    /// `{ old = memory[base + offset]; memory[base + offset] += source; source = old }` at once, 64 bits.
    pub fn fetch_add(&mut self, base: Register, offset: usize, source: Register) {
        self.emit(code::ATOMIC_U64, base, source as u8, offset as i16, code::FETCH_ADD);
    }

    /// `destination = source`
    pub fn copy(&mut self, destination: Register, source: Register) {
        self.emit(code::MOVE, destination, source as u8, 0, 0);
    }

    /// An operation on a register and a constant.
    pub fn constant(&mut self, code: u8, destination: Register, constant: i32) {
        self.emit(code, destination, 0, 0, constant);
    }

    /// An operation on two registers.
    pub fn registers(&mut self, code: u8, destination: Register, source: Register) {
        self.emit(code, destination, source as u8, 0, 0);
    }

    /// `destination = map`
    pub fn load_map(&mut self, destination: Register, map: BorrowedFd<'_>) {
        self.emit(code::LOAD_CONSTANT_64, destination, code::PSEUDO_MAP_FD, 0, map.as_raw_fd());
        self.emit(0, Register::R0, 0, 0, 0);
    }

    /// `destination = address of array[offset]`, counted in bytes
    pub fn load_array(&mut self, destination: Register, array: &SharedArray, offset: usize) {
        self.emit(code::LOAD_CONSTANT_64, destination, code::PSEUDO_MAP_VALUE, 0, array.fd().as_raw_fd());
        self.emit(0, Register::R0, 0, 0, offset as i32);
    }

    /// Jumps to `label` if `register` compares so with a constant.
    pub fn jump_if(&mut self, code: u8, register: Register, constant: u32, label: L) {
        self.jumps.push((self.program.len(), label));
        self.emit(code, register, 0, 0, constant.cast_signed());
    }

    /// Jumps to `label` if `register` exceeds `other`.
    pub fn jump_if_above(&mut self, register: Register, other: Register, label: L) {
        self.jumps.push((self.program.len(), label));
        self.emit(code::JUMP_IF_ABOVE, register, other as u8, 0, 0);
    }

    /// Jumps to `label`.
    pub fn jump(&mut self, label: L) {
        self.jumps.push((self.program.len(), label));
        self.emit(code::JUMP, Register::R0, 0, 0, 0);
    }

    /// Calls a helper.
    pub fn call(&mut self, helper: i32) {
        self.emit(code::CALL, Register::R0, 0, 0, helper);
    }

    /// Returns R0.
    pub fn exit(&mut self) {
        self.emit(code::EXIT, Register::R0, 0, 0, 0);
    }

    /// `label` is here.
    pub fn place(&mut self, label: L) {
        self.placed.push((label, self.program.len()));
    }

    /// The program, all jumps resolved.
    ///
    /// # Errors
    /// If a jump names a label that was never placed.
    pub fn finish(mut self) -> Result<Vec<Instruction>> {
        for (at, label) in &self.jumps {
            let target = self.placed.iter().find(|(placed, _)| placed == label).map(|(_, target)| *target);
            let distance = target.and_then(|target| i16::try_from(target as i64 - *at as i64 - 1).ok());
            match (distance, self.program.get_mut(*at)) {
                (Some(distance), Some(instruction)) => instruction.offset = distance,
                _ => return Err(DriverError::Config(format!("BPF label {label:?} is not within reach"))),
            }
        }
        Ok(self.program)
    }
}

/// Types of programs that have a place to be attached to (`enum bpf_prog_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ProgramType {
    /// `BPF_PROG_TYPE_SCHED_CLS`: traffic control.
    TrafficControl = 3,
    /// `BPF_PROG_TYPE_XDP`.
    Xdp = 6,
}

/// Where a link attaches (`enum bpf_attach_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AttachType {
    /// `BPF_XDP`.
    Xdp = 37,
    /// `BPF_TCX_INGRESS`, from Linux 6.6 on.
    TcxIngress = 46,
    /// `BPF_TCX_EGRESS`, likewise.
    TcxEgress = 47,
}

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_DETACH: libc::c_int = 34;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_F_MMAPABLE: u32 = 1 << 10;
/// Bytes of verifier log kept for an error.
const LOG_SIZE: usize = 64 << 10;

// The members of `union bpf_attr` that we use. The kernel takes any length and reads missing members
// as zero; every structure is padded explicitly, for the kernel refuses non-zero trailing bytes.

#[repr(C)]
#[derive(IntoBytes, Immutable, FromZeros)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

#[repr(C)]
#[derive(IntoBytes, Immutable, FromZeros)]
struct MapUpdate {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(IntoBytes, Immutable, FromZeros)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    program_flags: u32,
    program_name: [u8; 16],
    program_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(IntoBytes, Immutable, FromZeros)]
struct LinkCreate {
    program_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(IntoBytes, Immutable, FromZeros)]
struct LinkDetach {
    link_fd: u32,
}

#[repr(C)]
#[derive(IntoBytes, Immutable, FromZeros)]
struct RawTracepointOpen {
    name: u64,
    program_fd: u32,
    padding: u32,
}

#[repr(C)]
#[derive(IntoBytes, Immutable, FromZeros)]
struct TestRun {
    program_fd: u32,
    return_value: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: `attributes` is a live structure of the given size, laid out as the command expects, and
    // every pointer in it was set by the caller to memory that outlives the call.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome as libc::c_int) }
}

fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: bpf(2) just returned this new descriptor; nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn name(text: &str) -> [u8; 16] {
    let mut name = [0_u8; 16];
    for (to, from) in name.iter_mut().take(15).zip(text.bytes()) {
        *to = from;
    }
    name
}

/// Makes a map from queue number to AF_XDP socket.
///
/// # Errors
/// Without `CAP_BPF` (or root), or on a kernel without AF_XDP.
pub fn create_xsk_map(queues: u32) -> Result<OwnedFd> {
    let mut attributes = MapCreate {
        map_type: BPF_MAP_TYPE_XSKMAP,
        key_size: 4,
        value_size: 4,
        max_entries: queues,
        map_name: name("peregrine_xsks"),
        ..MapCreate::new_zeroed()
    };
    bpf(BPF_MAP_CREATE, &mut attributes).map(owned).map_err(|error| DriverError::io("bpf: creation of an XSKMAP (needs CAP_BPF)", error))
}

/// Makes an array of one value of so many bytes, which user space can map.
fn create_mapped_array(value_size: u32) -> Result<OwnedFd> {
    let mut attributes = MapCreate {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size,
        max_entries: 1,
        map_flags: BPF_F_MMAPABLE,
        map_name: name("peregrine_array"),
        ..MapCreate::new_zeroed()
    };
    bpf(BPF_MAP_CREATE, &mut attributes).map(owned).map_err(|error| DriverError::io("bpf: creation of an array (needs CAP_BPF)", error))
}

/// Sets `map[key] = value`.
///
/// # Errors
/// If the map does not take the entry.
pub fn update_map(map: BorrowedFd<'_>, key: u32, value: u32) -> Result<()> {
    let mut attributes = MapUpdate {
        map_fd: map.as_raw_fd() as u32,
        key: (&raw const key) as u64,
        value: (&raw const value) as u64,
        ..MapUpdate::new_zeroed()
    };
    bpf(BPF_MAP_UPDATE_ELEM, &mut attributes).map(drop).map_err(|error| DriverError::io(format!("bpf: entry {key} of the XSKMAP"), error))
}

/// Loads a program; on refusal by the verifier the error carries its log.
///
/// # Errors
/// Without `CAP_BPF` and `CAP_NET_ADMIN`, or if the verifier refuses.
pub fn load_program(kind: ProgramType, attach: AttachType, program: &[Instruction]) -> Result<OwnedFd> {
    load(kind as u32, attach as u32, program)
}

/// Loads a program for a tracepoint, whose arguments it gets as bare words; else as [`load_program`].
///
/// # Errors
/// Without `CAP_BPF` and `CAP_PERFMON`, or if the verifier refuses.
pub fn load_tracepoint_program(program: &[Instruction]) -> Result<OwnedFd> {
    load(BPF_PROG_TYPE_RAW_TRACEPOINT, 0, program)
}

fn load(program_type: u32, expected_attach_type: u32, program: &[Instruction]) -> Result<OwnedFd> {
    let license = c"MIT";
    let mut attributes = ProgramLoad {
        program_type,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        program_name: name("peregrine_ours"),
        expected_attach_type,
        ..ProgramLoad::new_zeroed()
    };
    let refused = match bpf(BPF_PROG_LOAD, &mut attributes) {
        Ok(fd) => return Ok(owned(fd)),
        Err(refused) => refused,
    };
    if refused.raw_os_error() == Some(libc::EPERM) {
        return Err(DriverError::io("bpf: program load (needs CAP_BPF and CAP_NET_ADMIN, for a tracepoint CAP_PERFMON)", refused));
    }
    // Once more for the log, which slows loading down and is of no use to a program that is taken.
    let mut log = vec![0_u8; LOG_SIZE];
    attributes.log_level = 1;
    attributes.log_size = LOG_SIZE as u32;
    attributes.log_buffer = log.as_mut_ptr() as u64;
    match bpf(BPF_PROG_LOAD, &mut attributes) {
        Ok(fd) => Ok(owned(fd)),
        Err(source) => {
            let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
            Err(DriverError::Verifier { source, log: String::from_utf8_lossy(text).into_owned() })
        }
    }
}

/// An attached program. Dropping it takes the program away at once, whoever else holds the descriptor: a process that another
/// thread is just about to start has copies of all descriptors until it executes its program.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Drop for Link {
    fn drop(&mut self) {
        // The kernel lacks it for tracepoints (EOPNOTSUPP), and an interface may be gone already: closing does the rest.
        let _ = bpf(BPF_LINK_DETACH, &mut LinkDetach { link_fd: self.0.as_raw_fd() as u32 });
    }
}

/// Attaches a program to an interface of the calling thread's network namespace; at traffic control, behind those that are there.
///
/// # Errors
/// `EBUSY` if the place is taken, `EOPNOTSUPP` if the driver has no such mode.
pub fn create_link(program: BorrowedFd<'_>, ifindex: u32, attach: AttachType, flags: u32) -> io::Result<Link> {
    let mut attributes = LinkCreate { program_fd: program.as_raw_fd() as u32, target_ifindex: ifindex, attach_type: attach as u32, flags };
    bpf(BPF_LINK_CREATE, &mut attributes).map(|fd| Link(owned(fd)))
}

/// Runs a program at each passage of a tracepoint of the kernel.
///
/// # Errors
/// `ENOENT` if there is no such tracepoint.
pub fn attach_to_tracepoint(program: BorrowedFd<'_>, tracepoint: &CStr) -> io::Result<Link> {
    let mut attributes = RawTracepointOpen { name: tracepoint.as_ptr() as u64, program_fd: program.as_raw_fd() as u32, padding: 0 };
    bpf(BPF_RAW_TRACEPOINT_OPEN, &mut attributes).map(|fd| Link(owned(fd)))
}

/// Runs a loaded program once on `frame` inside the kernel and returns its verdict
/// (`BPF_PROG_TEST_RUN`; frames shorter than an Ethernet header are refused).
///
/// # Errors
/// If the kernel does not run it.
pub fn test_run(program: BorrowedFd<'_>, frame: &[u8]) -> Result<u32> {
    let mut attributes = TestRun {
        program_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat: 1,
        ..TestRun::new_zeroed()
    };
    bpf(BPF_PROG_TEST_RUN, &mut attributes).map_err(|error| DriverError::io("bpf: test run", error))?;
    Ok(attributes.return_value)
}
