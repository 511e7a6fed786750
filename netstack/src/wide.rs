//! Loops over many bytes, compiled for wide registers where the processor has them.
//!
//! What is built runs on any processor of its architecture, so a compiler makes a loop for what all of them have: 16 bytes at a time.
//! [`wide`] has the very same code compiled once more, for AVX2's 32 bytes, and picks one when it is called.

/// Fewer bytes are done as quickly without.
#[cfg(target_arch = "x86_64")]
const LONG: usize = 64;

/// Does some work on `len` bytes. What it calls must be inlined into it, or nothing is gained.
#[inline(always)]
#[allow(unsafe_code, reason = "a function for a processor that has AVX2 may be called once that is known")]
pub(crate) fn wide<R>(len: usize, work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if len >= LONG && is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { with_avx2(work) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = len;
    work()
}

/// The words of a line, all read at once: so that what is made of them may be written back in one piece, too.
#[inline(always)]
pub(crate) fn words(line: &[u8; 64]) -> [u64; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(line.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}
