//! Sequence numbers: 32 bits that wrap (RFC 9293 section 3.4).

/// True if `a` lies before `b`.
#[inline]
pub(super) const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// True if `a` lies before `b` or is `b`.
#[inline]
pub(super) const fn at_or_before(a: u32, b: u32) -> bool {
    !before(b, a)
}

/// The later of the two.
#[inline]
pub(super) const fn later(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}

/// The earlier of the two.
#[inline]
pub(super) const fn earlier(a: u32, b: u32) -> u32 {
    if before(a, b) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9293_3_4_order_survives_the_wrap() {
        assert!(before(u32::MAX, 0) && !before(0, u32::MAX) && !before(7, 7));
        assert!(at_or_before(7, 7) && at_or_before(u32::MAX - 1, 5) && !at_or_before(5, u32::MAX - 1));
        assert_eq!((later(u32::MAX, 3), earlier(u32::MAX, 3)), (3, u32::MAX));
    }
}
