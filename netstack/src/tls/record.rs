//! One direction of the record protection: a key, its nonce and its sequence number.
//!
//! TLS 1.3 (RFC 8446 section 5.2): header as additional data, nonce = iv XOR sequence, the true content
//! type behind the plaintext, then padding. TLS 1.2 (RFC 5288, RFC 7905): sequence, type, version and
//! plaintext length as additional data; AES-GCM carries half of its nonce in the record.

use std::hint::select_unpredictable;
use std::ops::Range;

use rustls::{CipherSuite, ConnectionTrafficSecrets, SupportedCipherSuite};
use zeroize::Zeroize;

use super::cipher::{Cipher, NONCE, TAG};
use super::error::{SealError, TlsError};
use drivers::purpose::Purpose;

/// Bytes of a record's header: type, version, length.
pub const RECORD_HEADER: usize = 5;
/// Most plaintext that one record holds (RFC 8446 section 5.1).
pub const MAX_PLAINTEXT: usize = 1 << 14;
/// Most bytes behind a record's header in TLS 1.3 (RFC 8446 section 5.2).
pub const MAX_CIPHERTEXT_TLS13: usize = MAX_PLAINTEXT + 256;
/// Most bytes behind a record's header in TLS 1.2 (RFC 5246 section 6.2.3).
pub const MAX_CIPHERTEXT_TLS12: usize = MAX_PLAINTEXT + 2048;
/// Most bytes that sealing adds to a plaintext, whatever the version and suite.
pub const MAX_OVERHEAD: usize = RECORD_HEADER + EXPLICIT_NONCE + TAG;
/// Most bytes that sealing puts before a plaintext, whatever the version and suite.
pub const MAX_HEADER_ROOM: usize = RECORD_HEADER + EXPLICIT_NONCE;

const EXPLICIT_NONCE: usize = 8;
const MAX_KEY: usize = 32;

/// Content types (RFC 8446 section 5.1).
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// The negotiated protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Version {
    /// Most bytes behind a record's header.
    pub const fn max_ciphertext(self) -> usize {
        match self {
            Version::Tls12 => MAX_CIPHERTEXT_TLS12,
            Version::Tls13 => MAX_CIPHERTEXT_TLS13,
        }
    }
}

/// The cipher of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

impl Suite {
    /// The record cipher of a rustls suite; `None` for one that we cannot do.
    pub(super) fn of(suite: SupportedCipherSuite) -> Option<Suite> {
        use CipherSuite as Id;
        match suite.suite() {
            Id::TLS13_AES_128_GCM_SHA256 | Id::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 | Id::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => {
                Some(Suite::Aes128Gcm)
            }
            Id::TLS13_AES_256_GCM_SHA384 | Id::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 | Id::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => {
                Some(Suite::Aes256Gcm)
            }
            Id::TLS13_CHACHA20_POLY1305_SHA256
            | Id::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | Id::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Some(Suite::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// Bytes of the key.
    pub const fn key_len(self) -> usize {
        match self {
            Suite::Aes128Gcm => 16,
            Suite::Aes256Gcm | Suite::ChaCha20Poly1305 => 32,
        }
    }

    /// Records that one key may seal: 2^24 full ones for AES-GCM (RFC 8446 section 5.5), no limit of
    /// its own for ChaCha20-Poly1305.
    pub const fn record_limit(self) -> u64 {
        match self {
            Suite::Aes128Gcm | Suite::Aes256Gcm => 1 << 24,
            Suite::ChaCha20Poly1305 => u64::MAX,
        }
    }
}

/// The number under which sealing is rehearsed: no record has it or one above it. Different texts are rehearsed under it, so what
/// is made of them must never leave the process.
const REHEARSAL_SEQUENCE: u64 = u64::MAX - 1;

/// Key material of one direction; wiped when dropped.
#[derive(Zeroize)]
#[zeroize(drop)]
pub struct TrafficKeys {
    #[zeroize(skip)]
    suite: Suite,
    key: [u8; MAX_KEY],
    iv: [u8; NONCE],
    sequence: u64,
}

impl TrafficKeys {
    /// Keys for `suite`; `sequence` is the number of the next record. `None` if the key's length is not
    /// the suite's.
    pub fn new(suite: Suite, key: &[u8], iv: [u8; NONCE], sequence: u64) -> Option<TrafficKeys> {
        if key.len() != suite.key_len() {
            return None;
        }
        let mut keys = TrafficKeys { suite, key: [0; MAX_KEY], iv, sequence };
        keys.key.get_mut(..key.len())?.copy_from_slice(key);
        Some(keys)
    }

    pub(super) fn from_rustls(sequence: u64, secrets: &ConnectionTrafficSecrets) -> Result<TrafficKeys, TlsError> {
        let (suite, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Suite::ChaCha20Poly1305, key, iv),
            _ => return Err(TlsError::Internal("the negotiated cipher is not one that we implement")),
        };
        let iv = <[u8; NONCE]>::try_from(iv.as_ref()).map_err(|_| TlsError::Internal("the traffic IV is not 12 bytes long"))?;
        TrafficKeys::new(suite, key.as_ref(), iv, sequence).ok_or(TlsError::Internal("the traffic key has a wrong length"))
    }
}

impl std::fmt::Debug for TrafficKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrafficKeys").field("suite", &self.suite).field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

/// What an opened record holds.
pub(super) struct Opened {
    /// The true content type.
    pub content_type: u8,
    /// Where the plaintext lies in the record.
    pub plaintext: Range<usize>,
}

/// The record protection of one direction, ready to use.
pub(super) struct RecordKey {
    cipher: Cipher,
    iv: [u8; NONCE],
    sequence: u64,
    suite: Suite,
    version: Version,
    /// Bytes of the nonce that a record carries in front of its text.
    explicit_nonce: u8,
}

impl Drop for RecordKey {
    fn drop(&mut self) {
        self.iv.zeroize();
    }
}

impl RecordKey {
    pub(super) fn new(version: Version, keys: &TrafficKeys) -> Result<RecordKey, TlsError> {
        let key = keys.key.get(..keys.suite.key_len()).ok_or(TlsError::Internal("the traffic key has a wrong length"))?;
        let cipher = Cipher::new(keys.suite, key).ok_or(TlsError::Internal("the cipher refused its key"))?;
        let explicit_nonce = match (version, keys.suite) {
            (Version::Tls12, Suite::Aes128Gcm | Suite::Aes256Gcm) => EXPLICIT_NONCE as u8,
            _ => 0,
        };
        Ok(RecordKey { cipher, iv: keys.iv, sequence: keys.sequence, suite: keys.suite, version, explicit_nonce })
    }

    pub(super) fn suite(&self) -> Suite {
        self.suite
    }

    /// The number of the next record.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Bytes that precede the plaintext in a record: header and explicit nonce.
    #[inline]
    pub(super) fn header_room(&self) -> usize {
        RECORD_HEADER + self.explicit_nonce()
    }

    /// Bytes that follow the plaintext in a record: inner content type (TLS 1.3) and tag.
    #[inline]
    pub(super) fn trailer_room(&self) -> usize {
        match self.version {
            Version::Tls12 => TAG,
            Version::Tls13 => 1 + TAG,
        }
    }

    #[inline]
    fn explicit_nonce(&self) -> usize {
        usize::from(self.explicit_nonce)
    }

    /// iv XOR sequence (RFC 8446 section 5.3; also our choice of TLS 1.2's explicit nonce).
    #[inline]
    fn nonce(&self, sequence: u64) -> [u8; NONCE] {
        // Written in the pieces in which it is copied next: a read that spans two writes has to wait for both.
        let [a, b, c, d, e, f, g, h, tail @ ..] = self.iv;
        let head = u64::from_be_bytes([a, b, c, d, e, f, g, h]) ^ (sequence >> 32);
        let tail = u32::from_be_bytes(tail) ^ sequence as u32;
        let mut nonce = [0; NONCE];
        nonce[..8].copy_from_slice(&head.to_be_bytes());
        nonce[8..].copy_from_slice(&tail.to_be_bytes());
        nonce
    }

    /// The number after that of the record which is sealed now.
    #[inline]
    fn next_sealed(&self) -> Result<u64, SealError> {
        if self.sequence >= REHEARSAL_SEQUENCE {
            return Err(SealError::KeyExhausted);
        }
        Ok(self.sequence + 1)
    }

    #[cold]
    fn bad_mac(&self) -> TlsError {
        TlsError::BadRecordMac { sequence: self.sequence }
    }

    /// Opens a whole record (header included) in place.
    #[inline(always)]
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<Opened, TlsError> {
        let opened = match self.version {
            Version::Tls13 => self.open_tls13(record)?,
            Version::Tls12 => self.open_tls12(record)?,
        };
        let next = self.sequence.checked_add(1);
        self.sequence = next.ok_or_else(|| TlsError::Internal("the receive sequence number is used up"))?;
        Ok(opened)
    }

    #[inline(always)]
    fn open_tls13(&mut self, record: &mut [u8]) -> Result<Opened, TlsError> {
        let Some((header, body)) = record.split_first_chunk_mut::<RECORD_HEADER>() else {
            return Err(TlsError::Malformed("a record without a header"));
        };
        if self.cipher.open(self.nonce(self.sequence), *header, body).is_err() {
            return Err(self.bad_mac());
        }
        let text = body.split_last_chunk::<TAG>().map_or(&[][..], |(text, _)| text);
        let length = text.len();
        if length > MAX_PLAINTEXT + 1 {
            return Err(TlsError::RecordOverflow { length, limit: MAX_PLAINTEXT + 1 });
        }
        // The content type is the last byte that is not padding.
        match text.iter().rposition(|byte| *byte != 0) {
            Some(end) => Ok(Opened { content_type: text[end], plaintext: RECORD_HEADER..RECORD_HEADER + end }),
            None => Err(TlsError::UnexpectedMessage("a record without a content type")),
        }
    }

    #[inline(never)]
    fn open_tls12(&mut self, record: &mut [u8]) -> Result<Opened, TlsError> {
        let Some((header, body)) = record.split_first_chunk_mut::<RECORD_HEADER>() else {
            return Err(TlsError::Malformed("a record without a header"));
        };
        let content_type = header[0];
        let explicit = self.explicit_nonce();
        let Some((carried, body)) = body.split_at_mut_checked(explicit) else {
            return Err(self.bad_mac());
        };
        let Some(length) = body.len().checked_sub(TAG) else {
            return Err(self.bad_mac());
        };
        if length > MAX_PLAINTEXT {
            return Err(TlsError::RecordOverflow { length, limit: MAX_PLAINTEXT });
        }
        let mut nonce = self.nonce(self.sequence);
        if explicit > 0 {
            nonce[..NONCE - EXPLICIT_NONCE].copy_from_slice(&self.iv[..NONCE - EXPLICIT_NONCE]);
            nonce[NONCE - EXPLICIT_NONCE..].copy_from_slice(carried);
        }
        if self.cipher.open(nonce, additional_data_tls12(self.sequence, content_type, length), body).is_err() {
            return Err(self.bad_mac());
        }
        let start = RECORD_HEADER + explicit;
        Ok(Opened { content_type, plaintext: start..start + length })
    }

    /// Bytes of the record that seals `length` bytes of plaintext.
    #[inline]
    pub(super) fn sealed_len(&self, length: usize) -> usize {
        self.header_room() + length + self.trailer_room()
    }

    /// Seals `plaintext` into the front of `out`; returns the record's length.
    #[inline]
    pub(super) fn seal(&mut self, content_type: u8, plaintext: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        let length = plaintext.len();
        if length > MAX_PLAINTEXT {
            return Err(SealError::TooLong { length });
        }
        let needed = self.sealed_len(length);
        let start = self.header_room();
        let record = out.get_mut(..needed).ok_or(SealError::BufferTooSmall { needed })?;
        let next = self.next_sealed()?;
        record[start..start + length].copy_from_slice(plaintext);
        self.protect(self.sequence, content_type, length, record)?;
        self.sequence = next;
        Ok(needed)
    }

    /// Seals the plaintext that lies in `out[plaintext]` where it lies; the record is
    /// `plaintext.start - header_room .. plaintext.end + trailer_room`. A rehearsal seals under a number that no record
    /// ever has, and the number goes on as if nothing had been.
    #[inline(never)]
    pub(super) fn seal_in_place(
        &mut self,
        purpose: Purpose,
        content_type: u8,
        out: &mut [u8],
        plaintext: Range<usize>,
    ) -> Result<Range<usize>, SealError> {
        let length = plaintext.len();
        if length > MAX_PLAINTEXT {
            return Err(SealError::TooLong { length });
        }
        let needed = self.sealed_len(length);
        let start = plaintext.start.checked_sub(self.header_room()).ok_or(SealError::BufferTooSmall { needed })?;
        let record = out.get_mut(start..).and_then(|out| out.get_mut(..needed)).ok_or(SealError::BufferTooSmall { needed })?;
        let next = self.next_sealed()?;
        let sent = purpose == Purpose::Send;
        let sequence = select_unpredictable(sent, self.sequence, REHEARSAL_SEQUENCE);
        let next = select_unpredictable(sent, next, self.sequence);
        self.protect(sequence, content_type, length, record)?;
        self.sequence = next;
        Ok(start..start + needed)
    }

    /// Makes a record of `record`, in which `length` bytes of plaintext lie where they belong.
    #[inline(always)]
    fn protect(&self, sequence: u64, content_type: u8, length: usize, record: &mut [u8]) -> Result<(), SealError> {
        let nonce = self.nonce(sequence);
        let (header, body) = record.split_first_chunk_mut::<RECORD_HEADER>().ok_or(SealError::Cipher)?;
        let [high, low] = (body.len() as u16).to_be_bytes();
        match self.version {
            Version::Tls13 => {
                let data = [APPLICATION_DATA, 3, 3, high, low];
                *header = data;
                // The content type becomes part of the text.
                *body.get_mut(length).ok_or(SealError::Cipher)? = content_type;
                self.cipher.seal(nonce, data, body)
            }
            Version::Tls12 => {
                *header = [content_type, 3, 3, high, low];
                let (explicit, body) = body.split_at_mut(self.explicit_nonce());
                explicit.copy_from_slice(&nonce[NONCE - explicit.len()..]);
                self.cipher.seal(nonce, additional_data_tls12(sequence, content_type, length), body)
            }
        }
        .map_err(|_| SealError::Cipher)
    }
}

/// Additional data of TLS 1.2 (RFC 5246 section 6.2.3.3).
#[inline]
fn additional_data_tls12(sequence: u64, content_type: u8, length: usize) -> [u8; 13] {
    let mut data = [0; 13];
    data[..8].copy_from_slice(&sequence.to_be_bytes());
    data[8] = content_type;
    data[9] = 3;
    data[10] = 3;
    data[11..].copy_from_slice(&(length as u16).to_be_bytes());
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_record_has_the_number_of_rehearsals() {
        for suite in [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
            let keys =
                TrafficKeys::new(suite, &vec![1; suite.key_len()], [2; NONCE], REHEARSAL_SEQUENCE - 1).expect("as long as it must be");
            let mut key = RecordKey::new(Version::Tls13, &keys).expect("the cipher takes its key");
            let mut out = [0; 64];
            assert!(key.seal(APPLICATION_DATA, b"the last one", &mut out).is_ok());
            assert_eq!(key.seal(APPLICATION_DATA, b"one more", &mut out), Err(SealError::KeyExhausted));
            let plaintext = key.header_room()..key.header_room() + 8;
            assert_eq!(key.seal_in_place(Purpose::Send, APPLICATION_DATA, &mut out, plaintext), Err(SealError::KeyExhausted));
            assert_eq!(key.sequence(), REHEARSAL_SEQUENCE);
        }
    }
}
