//! The tap's programs. Two note when a frame passed, and what TCP's header says of it; a third notes for them when a driver last
//! handed a frame to this CPU.
//!
//! Of UDP (the floor's) it takes the first word of the payload for a sequence number and an acknowledgement. Everything else, and
//! IPv4 with options, passes unnoticed. No frame is changed or held up.

use super::{ARRIVALS, CACHE_LINE, CAPACITY, CPUS, Direction, RECORD_LEN, counter_offset, ring_offset};
use drivers::DriverError;
use drivers::bpf::Register::{self, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9};
use drivers::bpf::{self, Instruction, SharedArray, code, helper};
use drivers::filter::{ETHERTYPE_IPV4, PROTOCOL_TCP, PROTOCOL_UDP, offset};
use drivers::xdp_program::TCX_NEXT;

/// Offsets in `struct __sk_buff`.
const SKB_DATA: usize = 76;
const SKB_DATA_END: usize = 80;

/// Ethernet, IPv4 without options, TCP without options; a datagram of the floor is longer.
const HEADERS: i32 = 14 + 20 + 20;

/// Places that jumps name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Tcp,
    Record,
    Out,
}

type Assembler = bpf::Assembler<Place>;

/// Places on the stack, counted back from its end.
const ACKNOWLEDGED: usize = 8;
const FLAGS: usize = 16;
const ARRIVAL: usize = 24;

/// A field of `bits` in network order.
fn load_network(asm: &mut Assembler, code: u8, bits: i32, destination: Register, source: Register, offset: usize) {
    asm.load(code, destination, source, offset);
    asm.constant(code::FROM_BIG_ENDIAN, destination, bits);
}

/// R1: the address of this CPU's arrival. R0 to R5 are lost.
fn load_arrival(asm: &mut Assembler, array: &SharedArray) {
    asm.call(helper::GET_SMP_PROCESSOR_ID);
    asm.constant(code::AND_CONSTANT, R0, CPUS as i32 - 1);
    asm.constant(code::SHIFT_LEFT_CONSTANT, R0, CACHE_LINE.trailing_zeros() as i32);
    asm.load_array(R1, array, ARRIVALS);
    asm.registers(code::ADD, R1, R0);
}

/// The program that runs when a driver hands over a frame.
pub fn arrival_program(array: &SharedArray) -> Result<Vec<Instruction>, DriverError> {
    let mut asm = Assembler::new();
    asm.call(helper::KTIME_GET_NS);
    asm.copy(R6, R0);
    load_arrival(&mut asm, array);
    asm.store(code::STORE_U64, R1, 0, R6);
    asm.constant(code::MOVE_CONSTANT, R0, 0);
    asm.exit();
    asm.finish()
}

/// The program for one direction, which writes into `array` (see the module above for its layout).
pub fn program(array: &SharedArray, direction: Direction) -> Result<Vec<Instruction>, DriverError> {
    let mut asm = Assembler::new();
    asm.copy(R6, R1);
    if direction == Direction::Ingress {
        // The arrival counts for one frame.
        load_arrival(&mut asm, array);
        asm.load(code::LOAD_U64, R2, R1, 0);
        asm.store_on_stack(ARRIVAL, R2);
        asm.constant(code::MOVE_CONSTANT, R2, 0);
        asm.store(code::STORE_U64, R1, 0, R2);
        // What AF_PACKET sends has its headers in a page of their own.
        asm.copy(R1, R6);
        asm.constant(code::MOVE_CONSTANT, R2, HEADERS);
        asm.call(helper::SKB_PULL_DATA);
    }
    asm.load(code::LOAD_U32, R2, R6, SKB_DATA);
    asm.load(code::LOAD_U32, R3, R6, SKB_DATA_END);
    asm.copy(R4, R2);
    asm.constant(code::ADD_CONSTANT, R4, HEADERS);
    asm.jump_if_above(R4, R3, Place::Out);
    load_network(&mut asm, code::LOAD_U16, 16, R5, R2, offset::ETHERTYPE);
    asm.jump_if(code::JUMP_IF_NOT_EQUAL_32, R5, u32::from(ETHERTYPE_IPV4), Place::Out);
    asm.load(code::LOAD_U8, R5, R2, offset::IPV4_VERSION_IHL);
    asm.jump_if(code::JUMP_IF_NOT_EQUAL_32, R5, 0x45, Place::Out);
    // R7: payload's length; R8: protocol; R9: sequence number; R1: acknowledgement; R0: flags.
    load_network(&mut asm, code::LOAD_U16, 16, R7, R2, 16);
    asm.load(code::LOAD_U8, R8, R2, offset::IPV4_PROTOCOL);
    asm.jump_if(code::JUMP_IF_EQUAL_32, R8, u32::from(PROTOCOL_TCP), Place::Tcp);
    asm.jump_if(code::JUMP_IF_NOT_EQUAL_32, R8, u32::from(PROTOCOL_UDP), Place::Out);
    asm.constant(code::SUBTRACT_CONSTANT, R7, 20 + 8);
    load_network(&mut asm, code::LOAD_U32, 32, R9, R2, 42);
    asm.copy(R1, R9);
    asm.constant(code::MOVE_CONSTANT, R0, 0);
    asm.jump(Place::Record);
    asm.place(Place::Tcp);
    load_network(&mut asm, code::LOAD_U32, 32, R9, R2, 38);
    load_network(&mut asm, code::LOAD_U32, 32, R1, R2, 42);
    asm.load(code::LOAD_U8, R5, R2, 46);
    asm.constant(code::SHIFT_RIGHT_CONSTANT, R5, 4);
    asm.constant(code::SHIFT_LEFT_CONSTANT, R5, 2);
    asm.constant(code::SUBTRACT_CONSTANT, R7, 20);
    asm.registers(code::SUBTRACT, R7, R5);
    asm.load(code::LOAD_U8, R0, R2, 47);
    asm.place(Place::Record);
    asm.store_on_stack(ACKNOWLEDGED, R1);
    asm.store_on_stack(FLAGS, R0);
    match direction {
        Direction::Ingress => asm.load_from_stack(R0, ARRIVAL),
        // After everything else.
        Direction::Egress => asm.call(helper::KTIME_GET_NS),
    }
    // R2: the frame's number; R4: its record. Both ends' CPUs send on the venue's behalf, hence the atomic.
    asm.load_array(R1, array, counter_offset(direction));
    asm.constant(code::MOVE_CONSTANT, R2, 1);
    asm.fetch_add(R1, 0, R2);
    asm.copy(R3, R2);
    asm.constant(code::AND_CONSTANT, R3, CAPACITY as i32 - 1);
    asm.constant(code::SHIFT_LEFT_CONSTANT, R3, RECORD_LEN.trailing_zeros() as i32);
    asm.load_array(R4, array, ring_offset(direction));
    asm.registers(code::ADD, R4, R3);
    asm.store(code::STORE_U64, R4, 0, R0);
    asm.store(code::STORE_U32, R4, 8, R9);
    asm.load_from_stack(R5, ACKNOWLEDGED);
    asm.store(code::STORE_U32, R4, 12, R5);
    asm.store(code::STORE_U16, R4, 16, R7);
    asm.load_from_stack(R5, FLAGS);
    asm.store(code::STORE_U8, R4, 18, R5);
    asm.store(code::STORE_U8, R4, 19, R8);
    // Last: the record is whole.
    asm.constant(code::ADD_CONSTANT, R2, 1);
    asm.store(code::STORE_U64, R4, 24, R2);
    asm.place(Place::Out);
    asm.constant(code::MOVE_CONSTANT, R0, TCX_NEXT);
    asm.exit();
    asm.finish()
}
