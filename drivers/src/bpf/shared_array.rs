//! An array that BPF programs write and this process reads, with no call in between: both have its pages.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use super::create_mapped_array;
use crate::error::{DriverError, Result};
use crate::xsk_ring::Mapping;

/// A BPF array of one value, mapped into our memory: words of 64 bits, zero at first.
#[derive(Debug)]
pub struct SharedArray {
    fd: OwnedFd,
    mapping: Mapping,
    words: usize,
}

impl SharedArray {
    /// An array of so many words.
    ///
    /// # Errors
    /// Without `CAP_BPF` (or root), for no words at all or more than 4 GiB of them, or without the memory.
    pub fn new(words: usize) -> Result<SharedArray> {
        let len = words.checked_mul(size_of::<u64>()).and_then(|len| u32::try_from(len).ok());
        let len = len.filter(|len| *len > 0).ok_or_else(|| DriverError::Config(format!("a BPF array of {words} words")))?;
        let fd = create_mapped_array(len)?;
        let mapping = Mapping::of(fd.as_fd(), len as usize, 0)
            .map_err(|error| DriverError::io(format!("mmap of a BPF array of {len} bytes"), error))?;
        Ok(SharedArray { fd, mapping, words })
    }

    /// The map, as programs name it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Its words.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has this many words, begins at a page, and lasts as long as `self`. Programs write to it meanwhile,
        // which atomics allow.
        unsafe { std::slice::from_raw_parts(self.mapping.base().as_ptr().cast(), self.words) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Register::{R0, R1, R2, R3};
    use crate::bpf::{self, Assembler, AttachType, Instruction, ProgramType, code, helper};
    use crate::interface::Interface;
    use crate::testbed::{Testbed, TestbedConfig, unavailable};
    use std::net::{Ipv4Addr, UdpSocket};
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    const FRAME: [u8; 64] = [0; 64];
    const NO_VERDICT: i32 = -1;

    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Place {
        End,
    }

    fn skipped() -> bool {
        let reason = unavailable();
        if let Some(reason) = &reason {
            assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: {reason}");
            eprintln!("skipped: {reason}");
        }
        reason.is_some()
    }

    fn read(array: &SharedArray) -> Vec<u64> {
        array.words().iter().map(|word| word.load(Ordering::Acquire)).collect()
    }

    /// True if nothing is written while `act` goes on, now or soon: a process that another test is starting
    /// holds on to what was attached until it runs its own program.
    fn stands_still(array: &SharedArray, act: impl Fn()) -> bool {
        (0..200).any(|_| {
            let before = read(array);
            act();
            let still = read(array) == before;
            if !still {
                std::thread::sleep(Duration::from_millis(10));
            }
            still
        })
    }

    fn load(program: &[Instruction]) -> Result<OwnedFd> {
        bpf::load_program(ProgramType::TrafficControl, AttachType::TcxIngress, program)
    }

    /// Adds one to a word, and returns so much.
    fn counting(array: &SharedArray, word: usize, result: i32) -> Vec<Instruction> {
        let mut asm = Assembler::<Place>::new();
        asm.load_array(R1, array, word * size_of::<u64>());
        asm.constant(code::MOVE_CONSTANT, R2, 1);
        asm.fetch_add(R1, 0, R2);
        asm.constant(code::MOVE_CONSTANT, R0, result);
        asm.exit();
        asm.finish().expect("no labels")
    }

    #[test]
    fn what_programs_store_is_read_here_and_what_is_stored_here_is_read_by_them() {
        if skipped() {
            return;
        }
        let array = SharedArray::new(4).expect("an array");
        assert_eq!(read(&array), [0; 4]);
        let mut asm = Assembler::<Place>::new();
        asm.load_array(R1, &array, 8);
        asm.constant(code::MOVE_CONSTANT, R2, 7);
        asm.fetch_add(R1, 0, R2);
        // What was there before, by the stack: 4 * it + 16 * it - 3, half of that to the last word.
        asm.store_on_stack(8, R2);
        asm.load_from_stack(R3, 8);
        asm.constant(code::SHIFT_LEFT_CONSTANT, R3, 2);
        asm.registers(code::MOVE, R0, R3);
        asm.constant(code::SHIFT_LEFT_CONSTANT, R0, 2);
        asm.registers(code::ADD, R0, R3);
        asm.constant(code::SUBTRACT_CONSTANT, R0, 3);
        asm.registers(code::MOVE, R2, R0);
        asm.constant(code::SHIFT_RIGHT_CONSTANT, R2, 1);
        asm.store(code::STORE_U64, R1, 16, R2);
        asm.registers(code::SUBTRACT, R2, R0);
        asm.store(code::STORE_U16, R1, 2, R2);
        asm.jump_if(code::JUMP_IF_EQUAL_32, R3, 40, Place::End);
        asm.constant(code::MOVE_CONSTANT, R0, 0);
        asm.place(Place::End);
        asm.exit();
        let program = load(&asm.finish().expect("all labels are placed")).expect("the verifier takes it");
        array.words()[1].store(10, Ordering::Release);
        assert_eq!(bpf::test_run(program.as_fd(), &FRAME).expect("test run"), 197);
        let difference = 98_u64.wrapping_sub(197) & 0xffff;
        assert_eq!(read(&array), [0, 17 | difference << 16, 0, 98]);
    }

    #[test]
    fn programs_have_no_way_out_of_it_and_it_is_never_empty() {
        if skipped() {
            return;
        }
        let array = SharedArray::new(4).expect("an array");
        assert!(load(&counting(&array, 3, 0)).is_ok());
        assert!(load(&counting(&array, 4, 0)).is_err());
        for words in [0, 1 << 29, usize::MAX] {
            assert!(matches!(SharedArray::new(words), Err(DriverError::Config(_))), "{words}");
        }
    }

    #[test]
    fn programs_at_both_directions_of_an_interface_see_what_passes_while_they_are_attached() {
        if skipped() {
            return;
        }
        let bed = Testbed::create(TestbedConfig::default()).expect("a wire");
        let array = SharedArray::new(2).expect("an array");
        let attach = |word: usize, attach: AttachType| {
            let program = counting(&array, word, NO_VERDICT);
            let program = bpf::load_program(ProgramType::TrafficControl, attach, &program).expect("the verifier takes it");
            let inside = bed.left().run(|| {
                let ifindex = Interface::open(bed.left_interface()).expect("the interface").index;
                bpf::create_link(program.as_fd(), ifindex, attach, 0)
            });
            inside.expect("inside").expect("a link")
        };
        let socket = bed.left().run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9_000))).expect("inside").expect("a socket");
        let right = TestbedConfig::default().right.expect("an address");
        let peer = bed.right().run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9_000))).expect("inside").expect("a socket");
        let send = || (0..100).for_each(|_| assert_eq!(socket.send_to(&[0; 20], (right, 9_000)).expect("sent"), 20));
        // The way is known.
        send();
        peer.recv_from(&mut [0; 20]).expect("received");
        let links = [attach(0, AttachType::TcxIngress), attach(1, AttachType::TcxEgress)];
        send();
        let seen = read(&array);
        assert!(seen[0] < 10 && (100..110).contains(&seen[1]), "in and out: {seen:?}");
        drop(links);
        assert!(stands_still(&array, send));
    }

    #[test]
    fn a_program_at_a_tracepoint_runs_with_each_passage_while_it_is_attached() {
        if skipped() {
            return;
        }
        let array = SharedArray::new(2).expect("an array");
        let mut asm = Assembler::<Place>::new();
        asm.call(helper::KTIME_GET_NS);
        asm.load_array(R1, &array, 8);
        asm.store(code::STORE_U64, R1, 0, R0);
        let mut program = asm.finish().expect("no labels");
        program.extend(counting(&array, 0, 0));
        let program = bpf::load_tracepoint_program(&program).expect("the verifier takes it");
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let address = socket.local_addr().expect("bound");
        // To and fro on loopback, which hands over by netif_rx; the rest of the machine may do so too.
        let send = || (0..1_000).for_each(|_| assert_eq!(socket.send_to(&[0], address).expect("sent"), 1));
        send();
        assert_eq!(read(&array), [0; 2]);
        let link = bpf::attach_to_tracepoint(program.as_fd(), c"netif_rx").expect("a link");
        send();
        let seen = read(&array);
        assert!(seen[0] >= 1_000 && seen[1] > 0, "{seen:?}");
        drop(link);
        assert!(stands_still(&array, send));
        let refused = bpf::attach_to_tracepoint(program.as_fd(), c"no_such_tracepoint").expect_err("there is none");
        assert_eq!(refused.raw_os_error(), Some(libc::ENOENT));
    }
}
