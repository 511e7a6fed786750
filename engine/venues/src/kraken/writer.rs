//! Writes a request piece by piece into the outbox's room: prepared text is copied, numbers are patched in. No format
//! strings, no allocation; what does not fit makes the whole message fail.

use engine_core::fixed;

/// A message being written.
pub struct Writer<'a> {
    space: &'a mut [u8],
    at: usize,
    fits: bool,
}

impl<'a> Writer<'a> {
    /// Into this room.
    #[inline]
    pub const fn new(space: &'a mut [u8]) -> Writer<'a> {
        Writer { space, at: 0, fits: true }
    }

    /// Text as it is.
    #[inline]
    pub fn put(&mut self, text: &[u8]) -> &mut Self {
        match self.space.get_mut(self.at..self.at + text.len()) {
            Some(room) => {
                room.copy_from_slice(text);
                self.at += text.len();
            }
            None => self.fits = false,
        }
        self
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: u64) -> &mut Self {
        self.put(itoa::Buffer::new().format(value).as_bytes())
    }

    /// A decimal with all its places.
    #[inline]
    pub fn decimal(&mut self, value: i64, scale: u8) -> &mut Self {
        let mut text = [0; 24];
        let len = fixed::write_decimal(value, scale, &mut text);
        self.put(&text[..len])
    }

    /// The length written; `None` if something did not fit.
    #[inline]
    pub fn finish(&self) -> Option<usize> {
        self.fits.then_some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_fails_as_a_whole() {
        let mut space = [0; 12];
        let mut writer = Writer::new(&mut space);
        assert_eq!(writer.put(b"a").integer(42).decimal(612_504, 1).finish(), Some(10));
        assert_eq!(writer.put(b"1234").put(b"5").finish(), None);
        assert_eq!(&space[..10], b"a4261250.4");
    }
}
