//! For tests: runs our programs as the kernel would, so that they are checked without root too.
//!
//! Memory is two objects at made-up addresses, the context and the frame; a load outside of either, an
//! unknown instruction or a missing exit is a panic, as the verifier would have refused it.

use crate::bpf::{Instruction, code, helper};

const CONTEXT: u64 = 0x1000;
const FRAME: u64 = 0x10_0000;
const STEPS_MAX: usize = 1000;

/// Where the context keeps the frame's two ends.
#[derive(Clone, Copy)]
pub(crate) struct ContextLayout {
    pub data: usize,
    pub data_end: usize,
}

/// What `bpf_redirect_map` was called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Redirect {
    pub key: u64,
    pub flags: u64,
}

/// Runs an eBPF program on a frame; `queue` is what the context says at offset 16. Returns R0 and the
/// redirect, if there was one (R0 is then 4, `XDP_REDIRECT`).
pub(crate) fn run(program: &[Instruction], layout: ContextLayout, queue: u32, frame: &[u8]) -> (u64, Option<Redirect>) {
    let mut context = [0_u8; 128];
    context[16..20].copy_from_slice(&queue.to_ne_bytes());
    context[layout.data..layout.data + 4].copy_from_slice(&(FRAME as u32).to_ne_bytes());
    context[layout.data_end..layout.data_end + 4].copy_from_slice(&(FRAME as u32 + frame.len() as u32).to_ne_bytes());
    let load = |address: u64, width: usize| -> u64 {
        let (bytes, base) = if address >= FRAME { (frame, FRAME) } else { (&context[..], CONTEXT) };
        let at = (address - base) as usize;
        let mut word = [0_u8; 8];
        word[..width].copy_from_slice(&bytes[at..at + width]);
        u64::from_ne_bytes(word) >> if cfg!(target_endian = "big") { 64 - 8 * width } else { 0 }
    };
    let mut registers = [0_u64; 11];
    registers[1] = CONTEXT;
    let mut redirect = None;
    let mut at = 0_usize;
    for _ in 0..STEPS_MAX {
        let instruction = program[at];
        let (dst, src) = (instruction.destination(), instruction.source());
        let constant = i64::from(instruction.constant) as u64;
        at += 1;
        let mut jump_if = |taken: bool| {
            if taken {
                at = at.checked_add_signed(isize::from(instruction.offset)).expect("jumps stay inside");
            }
        };
        match instruction.code {
            code::LOAD_U8 => registers[dst] = load(registers[src].wrapping_add_signed(i64::from(instruction.offset)), 1),
            code::LOAD_U16 => registers[dst] = load(registers[src].wrapping_add_signed(i64::from(instruction.offset)), 2),
            code::LOAD_U32 => registers[dst] = load(registers[src].wrapping_add_signed(i64::from(instruction.offset)), 4),
            code::LOAD_CONSTANT_64 => {
                registers[dst] = constant;
                at += 1;
            }
            code::MOVE_CONSTANT => registers[dst] = constant,
            code::MOVE => registers[dst] = registers[src],
            code::ADD_CONSTANT => registers[dst] = registers[dst].wrapping_add(constant),
            code::AND_CONSTANT => registers[dst] &= constant,
            code::FROM_BIG_ENDIAN => {
                assert_eq!(instruction.constant, 16);
                registers[dst] = u64::from(u16::from_be(registers[dst] as u16));
            }
            code::JUMP => jump_if(true),
            code::JUMP_IF_EQUAL_32 => jump_if(registers[dst] as u32 == constant as u32),
            code::JUMP_IF_NOT_EQUAL_32 => jump_if(registers[dst] as u32 != constant as u32),
            code::JUMP_IF_ABOVE_32 => jump_if(registers[dst] as u32 > constant as u32),
            code::JUMP_IF_BELOW_32 => jump_if((registers[dst] as u32) < constant as u32),
            code::JUMP_IF_ABOVE => jump_if(registers[dst] > registers[src]),
            code::CALL if instruction.constant == helper::REDIRECT_MAP => {
                redirect = Some(Redirect { key: registers[2], flags: registers[3] });
                registers[0] = 4;
            }
            code::CALL if instruction.constant == helper::SKB_PULL_DATA => registers[0] = 0,
            code::EXIT => return (registers[0], redirect),
            other => panic!("unknown instruction {other:#x}"),
        }
    }
    panic!("no exit within {STEPS_MAX} steps");
}

/// Runs a classic program on a frame; returns what it returns. `metadata` answers loads of metadata.
pub(crate) fn run_classic(program: &[libc::sock_filter], frame: &[u8], metadata: impl Fn(u32) -> u32) -> u32 {
    use crate::socket_filter::{METADATA, code};
    let mut accumulator = 0_u32;
    let mut at = 0_usize;
    loop {
        let instruction = program[at];
        at += 1;
        let k = instruction.k;
        let load = |width: usize| -> Option<u32> {
            if k >= METADATA {
                return Some(metadata(k));
            }
            let bytes = frame.get(k as usize..k as usize + width)?;
            Some(bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
        };
        let mut jump_if = |taken: bool| at += usize::from(if taken { instruction.jt } else { instruction.jf });
        match instruction.code {
            code::LOAD_U32 | code::LOAD_U16 | code::LOAD_U8 => {
                let width = match instruction.code {
                    code::LOAD_U32 => 4,
                    code::LOAD_U16 => 2,
                    _ => 1,
                };
                match load(width) {
                    Some(word) => accumulator = word,
                    // A load past the end drops the frame.
                    None => return 0,
                }
            }
            code::AND => accumulator &= k,
            code::JUMP_IF_EQUAL => jump_if(accumulator == k),
            code::JUMP_IF_ABOVE => jump_if(accumulator > k),
            code::JUMP_IF_AT_LEAST => jump_if(accumulator >= k),
            code::JUMP_IF_ANY_BIT => jump_if(accumulator & k != 0),
            code::RETURN => return k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}
