//! The last thing that a venue said which an operator should read, kept without allocation.

/// Bytes kept of a notice; the rest is cut.
pub const NOTICE_MAX: usize = 240;

/// One line of text, replaced by each newer one and handed out once.
#[derive(Clone, Debug)]
pub struct Notice {
    bytes: [u8; NOTICE_MAX],
    len: usize,
}

impl Default for Notice {
    fn default() -> Self {
        Notice { bytes: [0; NOTICE_MAX], len: 0 }
    }
}

impl Notice {
    /// Replaces the text by these pieces, one after the other. What is not printable ASCII becomes `?`: the
    /// text comes from outside and ends in a log.
    #[cold]
    pub fn set(&mut self, pieces: &[&[u8]]) {
        let text = pieces.iter().copied().flatten().take(NOTICE_MAX);
        self.len = 0;
        for (&byte, place) in text.zip(&mut self.bytes) {
            *place = if (b' '..=b'~').contains(&byte) { byte } else { b'?' };
            self.len += 1;
        }
    }

    /// The text, once.
    pub fn take(&mut self) -> Option<&str> {
        let len = core::mem::take(&mut self.len);
        core::str::from_utf8(&self.bytes[..len]).ok().filter(|text| !text.is_empty())
    }
}

/// A number as decimal text, for a notice.
pub struct Digits {
    buffer: itoa::Buffer,
}

impl Digits {
    /// A place to write into.
    pub fn new() -> Digits {
        Digits { buffer: itoa::Buffer::new() }
    }

    /// The text of `value`.
    pub fn of(&mut self, value: i64) -> &[u8] {
        self.buffer.format(value).as_bytes()
    }
}

impl Default for Digits {
    fn default() -> Self {
        Digits::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_cut_cleaned_and_handed_out_once() {
        let mut notice = Notice::default();
        assert_eq!(notice.take(), None);
        notice.set(&[b"order refused: ", "na\u{ef}ve\n".as_bytes(), Digits::new().of(-2010)]);
        assert_eq!(notice.take(), Some("order refused: na??ve?-2010"));
        assert_eq!(notice.take(), None);
        notice.set(&[&[b'x'; 1000]]);
        assert_eq!(notice.take().map(str::len), Some(NOTICE_MAX));
    }
}
