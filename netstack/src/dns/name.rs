//! Host names: checked, in lower case, without the final dot.

/// Longest name in text (RFC 1035 section 2.3.4: 255 bytes on the wire).
pub(super) const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// A host name. Fixed size: it is kept without an allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    bytes: [u8; NAME_MAX],
    len: u8,
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

impl Name {
    /// Checks a name: labels of 1 to 63 letters, digits, hyphens or underscores; the last not all digits.
    pub(super) fn parse(text: &str) -> Option<Name> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut name = Name::empty();
        for label in text.split('.') {
            name.push_label(label.as_bytes())?;
        }
        let last = text.rsplit('.').next()?;
        (!last.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
    }

    pub(super) fn empty() -> Name {
        Name { bytes: [0; NAME_MAX], len: 0 }
    }

    /// Adds a label; `None` if it is none, or the name would be too long.
    pub(super) fn push_label(&mut self, label: &[u8]) -> Option<()> {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_';
        if label.is_empty() || label.len() > LABEL_MAX || !label.iter().all(allowed) {
            return None;
        }
        let mut at = usize::from(self.len);
        if at > 0 {
            *self.bytes.get_mut(at)? = b'.';
            at += 1;
        }
        let room = self.bytes.get_mut(at..at + label.len())?;
        room.copy_from_slice(label);
        room.make_ascii_lowercase();
        self.len = (at + label.len()) as u8;
        Some(())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Its labels, first to last.
    pub(super) fn labels(&self) -> impl Iterator<Item = &[u8]> {
        self.as_bytes().split(|byte| *byte == b'.').filter(|label| !label.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_checked_and_lowered() {
        let name = Name::parse("Stream.Binance.com.").expect("a name");
        assert_eq!(name.as_bytes(), b"stream.binance.com");
        assert_eq!(name.labels().collect::<Vec<_>>(), [&b"stream"[..], b"binance", b"com"]);
        let longest = [["a"; 63].concat(), ["b"; 63].concat(), ["c"; 63].concat(), ["d"; 61].concat()].join(".");
        assert_eq!(longest.len(), NAME_MAX);
        assert!(Name::parse(&longest).is_some());
        for wrong in ["", ".", "a..b", "a b", "10.0.0", "1.2.3.4.5", "host:443", "ü.de", &["x"; 64].concat(), &format!("{longest}d")] {
            assert!(Name::parse(wrong).is_none(), "{wrong}");
        }
    }
}
