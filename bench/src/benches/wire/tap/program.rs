//! The tap's programs. Two note when a frame passed, and what TCP's header says of it; a third notes for them when a driver last
//! handed a frame to this CPU.
//!
//! Of UDP (the floor's) it takes the first word of the payload for a sequence number and an acknowledgement. Everything else, and
//! IPv4 with options, passes unnoticed. No frame is changed or held up.

use super::bpf::Direction;
use super::{ARRIVALS, CACHE_LINE, CAPACITY, CPUS, RECORD_LEN, counter_offset, ring_offset};
use drivers::bpf::{Instruction, code, helper};
use std::os::fd::{AsRawFd, BorrowedFd};

/// `bpf_ktime_get_ns()`: `CLOCK_MONOTONIC`.
const KTIME_GET_NS: i32 = 5;
/// `bpf_get_smp_processor_id()`.
const GET_SMP_PROCESSOR_ID: i32 = 8;
/// Source "register" of [`code::LOAD_CONSTANT_64`] that makes the constant the address of an array's only entry.
const PSEUDO_MAP_VALUE: u8 = 2;
/// `TCX_NEXT`: no verdict.
const TCX_NEXT: i32 = -1;

/// `dst -= constant`, and further operations that the drivers' programs have no use for.
const SUBTRACT_CONSTANT: u8 = 0x17;
const SUBTRACT: u8 = 0x1f;
const ADD: u8 = 0x0f;
const SHIFT_LEFT: u8 = 0x67;
const SHIFT_RIGHT: u8 = 0x77;
const LOAD_U64: u8 = 0x79;
const STORE_U8: u8 = 0x73;
const STORE_U16: u8 = 0x6b;
const STORE_U32: u8 = 0x63;
const STORE_U64: u8 = 0x7b;
/// `atomic { old = *(u64 *)(dst + offset); *.. += src; src = old }`, with [`FETCH_ADD`] as its constant.
const ATOMIC_U64: u8 = 0xdb;
const FETCH_ADD: i32 = 1;

/// Offsets in `struct __sk_buff`.
const SKB_DATA: i16 = 76;
const SKB_DATA_END: i16 = 80;

/// Ethernet, IPv4 without options, TCP without options; a datagram of the floor is longer.
const HEADERS: i32 = 14 + 20 + 20;
const TCP: i32 = 6;
const UDP: i32 = 17;

/// Places that jumps name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Tcp,
    Record,
    Out,
}

/// Collects instructions; registers are numbers (`R10` is the stack's end).
#[derive(Default)]
struct Code {
    program: Vec<Instruction>,
    jumps: Vec<(usize, Place)>,
    places: Vec<(Place, usize)>,
}

impl Code {
    fn op(&mut self, code: u8, destination: u8, source: u8, offset: i16, constant: i32) {
        self.program.push(Instruction { code, registers: destination | source << 4, offset, constant });
    }

    fn constant(&mut self, code: u8, destination: u8, constant: i32) {
        self.op(code, destination, 0, 0, constant);
    }

    fn registers(&mut self, code: u8, destination: u8, source: u8) {
        self.op(code, destination, source, 0, 0);
    }

    fn load(&mut self, code: u8, destination: u8, source: u8, offset: i16) {
        self.op(code, destination, source, offset, 0);
    }

    fn store(&mut self, code: u8, base: u8, offset: i16, source: u8) {
        self.op(code, base, source, offset, 0);
    }

    /// A field of `bits` in network order.
    fn load_network(&mut self, code: u8, bits: i32, destination: u8, source: u8, offset: i16) {
        self.load(code, destination, source, offset);
        self.constant(code::FROM_BIG_ENDIAN, destination, bits);
    }

    /// The address of a byte of an array's only entry.
    fn load_address(&mut self, destination: u8, array: BorrowedFd<'_>, offset: usize) {
        self.op(code::LOAD_CONSTANT_64, destination, PSEUDO_MAP_VALUE, 0, array.as_raw_fd());
        self.op(0, 0, 0, 0, offset as i32);
    }

    /// R1: the address of this CPU's arrival. R0 to R5 are lost.
    fn load_arrival(&mut self, array: BorrowedFd<'_>) {
        self.constant(code::CALL, 0, GET_SMP_PROCESSOR_ID);
        self.constant(code::AND_CONSTANT, 0, CPUS as i32 - 1);
        self.constant(SHIFT_LEFT, 0, CACHE_LINE.trailing_zeros() as i32);
        self.load_address(1, array, ARRIVALS);
        self.registers(ADD, 1, 0);
    }

    fn jump(&mut self, code: u8, (register, other): (u8, u8), constant: i32, to: Place) {
        self.jumps.push((self.program.len(), to));
        self.op(code, register, other, 0, constant);
    }

    fn place(&mut self, place: Place) {
        self.places.push((place, self.program.len()));
    }

    fn finish(mut self) -> Vec<Instruction> {
        for (at, to) in self.jumps {
            let (_, target) = self.places.iter().find(|(place, _)| *place == to).expect("all places of the programs below are placed");
            self.program[at].offset = (*target as i64 - at as i64 - 1) as i16;
        }
        self.program
    }
}

/// The program that runs when a driver hands over a frame.
pub fn arrival_program(array: BorrowedFd<'_>) -> Vec<Instruction> {
    let mut code = Code::default();
    code.constant(code::CALL, 0, KTIME_GET_NS);
    code.registers(code::MOVE, 6, 0);
    code.load_arrival(array);
    code.store(STORE_U64, 1, 0, 6);
    code.constant(code::MOVE_CONSTANT, 0, 0);
    code.constant(code::EXIT, 0, 0);
    code.finish()
}

/// The program for one direction, which writes into `array` (see the module above for its layout).
pub fn program(array: BorrowedFd<'_>, direction: Direction) -> Vec<Instruction> {
    let mut code = Code::default();
    code.registers(code::MOVE, 6, 1);
    if direction == Direction::Ingress {
        // The arrival counts for one frame.
        code.load_arrival(array);
        code.load(LOAD_U64, 2, 1, 0);
        code.store(STORE_U64, 10, -24, 2);
        code.constant(code::MOVE_CONSTANT, 2, 0);
        code.store(STORE_U64, 1, 0, 2);
        // What AF_PACKET sends has its headers in a page of their own.
        code.registers(code::MOVE, 1, 6);
        code.constant(code::MOVE_CONSTANT, 2, HEADERS);
        code.constant(code::CALL, 0, helper::SKB_PULL_DATA);
    }
    code.load(code::LOAD_U32, 2, 6, SKB_DATA);
    code.load(code::LOAD_U32, 3, 6, SKB_DATA_END);
    code.registers(code::MOVE, 4, 2);
    code.constant(code::ADD_CONSTANT, 4, HEADERS);
    code.jump(code::JUMP_IF_ABOVE, (4, 3), 0, Place::Out);
    code.load_network(code::LOAD_U16, 16, 5, 2, 12);
    code.jump(code::JUMP_IF_NOT_EQUAL_32, (5, 0), 0x0800, Place::Out);
    code.load(code::LOAD_U8, 5, 2, 14);
    code.jump(code::JUMP_IF_NOT_EQUAL_32, (5, 0), 0x45, Place::Out);
    // R7: payload's length; R8: protocol; R9: sequence number; R1: acknowledgement; R0: flags.
    code.load_network(code::LOAD_U16, 16, 7, 2, 16);
    code.load(code::LOAD_U8, 8, 2, 23);
    code.jump(code::JUMP_IF_EQUAL_32, (8, 0), TCP, Place::Tcp);
    code.jump(code::JUMP_IF_NOT_EQUAL_32, (8, 0), UDP, Place::Out);
    code.constant(SUBTRACT_CONSTANT, 7, 20 + 8);
    code.load_network(code::LOAD_U32, 32, 9, 2, 42);
    code.registers(code::MOVE, 1, 9);
    code.constant(code::MOVE_CONSTANT, 0, 0);
    code.jump(code::JUMP, (0, 0), 0, Place::Record);
    code.place(Place::Tcp);
    code.load_network(code::LOAD_U32, 32, 9, 2, 38);
    code.load_network(code::LOAD_U32, 32, 1, 2, 42);
    code.load(code::LOAD_U8, 5, 2, 46);
    code.constant(SHIFT_RIGHT, 5, 4);
    code.constant(SHIFT_LEFT, 5, 2);
    code.constant(SUBTRACT_CONSTANT, 7, 20);
    code.registers(SUBTRACT, 7, 5);
    code.load(code::LOAD_U8, 0, 2, 47);
    code.place(Place::Record);
    code.store(STORE_U64, 10, -8, 1);
    code.store(STORE_U64, 10, -16, 0);
    match direction {
        Direction::Ingress => code.load(LOAD_U64, 0, 10, -24),
        // After everything else.
        Direction::Egress => code.constant(code::CALL, 0, KTIME_GET_NS),
    }
    // R2: the frame's number; R4: its record. Both ends' CPUs send on the venue's behalf, hence the atomic.
    code.load_address(1, array, counter_offset(direction));
    code.constant(code::MOVE_CONSTANT, 2, 1);
    code.op(ATOMIC_U64, 1, 2, 0, FETCH_ADD);
    code.registers(code::MOVE, 3, 2);
    code.constant(code::AND_CONSTANT, 3, CAPACITY as i32 - 1);
    code.constant(SHIFT_LEFT, 3, RECORD_LEN.trailing_zeros() as i32);
    code.load_address(4, array, ring_offset(direction));
    code.registers(ADD, 4, 3);
    code.store(STORE_U64, 4, 0, 0);
    code.store(STORE_U32, 4, 8, 9);
    code.load(LOAD_U64, 5, 10, -8);
    code.store(STORE_U32, 4, 12, 5);
    code.store(STORE_U16, 4, 16, 7);
    code.load(LOAD_U64, 5, 10, -16);
    code.store(STORE_U8, 4, 18, 5);
    code.store(STORE_U8, 4, 19, 8);
    // Last: the record is whole.
    code.constant(code::ADD_CONSTANT, 2, 1);
    code.store(STORE_U64, 4, 24, 2);
    code.place(Place::Out);
    code.constant(code::MOVE_CONSTANT, 0, TCX_NEXT);
    code.constant(code::EXIT, 0, 0);
    code.finish()
}
