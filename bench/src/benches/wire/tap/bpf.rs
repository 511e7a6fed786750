//! What the tap needs of bpf(2) beyond what the drivers have: an array that user space can map, links to both directions of
//! an interface, and programs at tracepoints.

use drivers::bpf::Instruction;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::{CStr, c_void};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Which frames of an interface (`BPF_TCX_INGRESS`, `BPF_TCX_EGRESS`; Linux 6.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Direction {
    /// Those that come in.
    Ingress = 46,
    /// Those that go out.
    Egress = 47,
}

/// The members of `union bpf_attr` for `BPF_MAP_CREATE` that are not zero.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// Likewise for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

/// Likewise for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct RawTracepointOpen {
    name: u64,
    program_fd: u32,
    padding: u32,
}

/// Likewise for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    program_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// A call that makes a descriptor.
fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attributes` is a live structure of this size, laid out as the command expects, and what its pointers lead to is
    // live too; the kernel takes what is missing for zero.
    let made = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    let fd = libc::c_int::try_from(made).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the call has just returned this new descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a program behind those that are there, in the calling thread's network namespace, for as long as the descriptor is
/// open.
pub fn attach(program: BorrowedFd<'_>, ifindex: u32, direction: Direction) -> io::Result<OwnedFd> {
    let program_fd = program.as_raw_fd() as u32;
    bpf(BPF_LINK_CREATE, &LinkCreate { program_fd, target_ifindex: ifindex, attach_type: direction as u32, flags: 0 })
}

/// Loads a program for a tracepoint, without its arguments' types.
pub fn load_for_tracepoint(program: &[Instruction]) -> io::Result<OwnedFd> {
    let attributes = ProgramLoad {
        program_type: BPF_PROG_TYPE_RAW_TRACEPOINT,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
    };
    bpf(BPF_PROG_LOAD, &attributes)
}

/// Runs a program at each passage of a tracepoint, for as long as the descriptor is open.
pub fn attach_to_tracepoint(program: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let program_fd = program.as_raw_fd() as u32;
    bpf(BPF_RAW_TRACEPOINT_OPEN, &RawTracepointOpen { name: name.as_ptr() as u64, program_fd, padding: 0 })
}

/// A BPF array of one entry, which lies in our memory too.
pub struct SharedArray {
    fd: OwnedFd,
    base: NonNull<c_void>,
    words: usize,
}

// SAFETY: the mapping belongs to this value alone, and is only read, as atomics.
unsafe impl Send for SharedArray {}

impl SharedArray {
    /// `len` zeroes; a multiple of the page size.
    pub fn new(len: usize) -> io::Result<SharedArray> {
        let value_size = u32::try_from(len).map_err(io::Error::other)?;
        let fd = bpf(
            BPF_MAP_CREATE,
            &MapCreate { map_type: BPF_MAP_TYPE_ARRAY, key_size: 4, value_size, max_entries: 1, map_flags: BPF_F_MMAPABLE },
        )?;
        let length = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let base = unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, &fd, 0)? };
        Ok(SharedArray { fd, base, words: len / size_of::<u64>() })
    }

    /// For programs.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What programs have written.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has this many words, begins at a page, and lasts as long as `self`. Programs write to it meanwhile,
        // which atomics allow; nothing is written through this reference (the pages are read-only).
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast(), self.words) }
    }
}

impl Drop for SharedArray {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference to it outlives `self`. Failing leaves it in place.
        let _ = unsafe { munmap(self.base, self.words * size_of::<u64>()) };
    }
}
