//! Asks the processor for memory ahead of its use, so that several lines come at once instead of one after the other.
//! Changes nothing but time.
#![allow(unsafe_code, reason = "there is no safe way to ask for a cache line")]

use core::ops::Range;

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

/// Where a value lies: the address of its first byte, and the one behind its last.
#[inline]
pub fn extent<T: ?Sized>(value: &T) -> Range<usize> {
    let from = core::ptr::from_ref(value).cast::<u8>().addr();
    from..from.wrapping_add(size_of_val(value))
}

/// The first bytes of the lines that this memory is on.
#[inline]
pub fn lines(extent: Range<usize>) -> impl Iterator<Item = usize> {
    (extent.start / LINE..extent.end.div_ceil(LINE)).map(|line| line * LINE)
}

/// Asks for all lines of this memory.
#[inline]
pub fn prefetch_extent(extent: Range<usize>) {
    lines(extent).for_each(|line| ask(core::ptr::without_provenance(line)));
}

#[inline(always)]
fn prefetch_line<T>(value: &T, line: usize) {
    ask(core::ptr::from_ref(value).cast::<u8>().wrapping_add(line * LINE));
}

#[inline(always)]
fn ask(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and never faults, whatever the address; SSE is part of every x86-64.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_on_every_line_that_one_of_its_bytes_is_on() {
        let bytes = [0u8; 200];
        for (from, to) in [(0, 1), (0, 64), (0, 65), (63, 65), (7, 200)] {
            let extent = extent(&bytes[from..to]);
            assert_eq!((extent.start, extent.len()), (bytes[from..].as_ptr().addr(), to - from));
            let every: std::collections::BTreeSet<usize> = extent.clone().map(|byte| byte / LINE * LINE).collect();
            assert_eq!(lines(extent).collect::<Vec<_>>(), every.into_iter().collect::<Vec<_>>());
        }
    }
}
