//! Asks the processor for memory ahead of its use, so that several lines come at once instead of one after the other.
//! Changes nothing but time.
#![allow(unsafe_code, reason = "there is no safe way to ask for a cache line")]

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for the line on which a value begins.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    prefetch_line(value, 0);
}

/// Asks for a line that will be written: wherever it is, it becomes this processor's own.
#[inline(always)]
pub fn prefetch_to_write<T>(value: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch changes nothing and never faults, whatever the address. Processors without the instruction
    // take it for one that does nothing.
    unsafe {
        core::arch::asm!("prefetchw [{value}]", value = in(reg) value, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Asks for the first `lines` lines of a value.
#[inline(always)]
pub fn prefetch_lines<T>(value: &T, lines: usize) {
    for line in 0..lines {
        prefetch_line(value, line);
    }
}

#[inline(always)]
fn prefetch_line<T>(value: &T, line: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and never faults, whatever the address; SSE is part of every x86-64.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(value).cast::<i8>().wrapping_add(line * LINE));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, line, LINE);
}
