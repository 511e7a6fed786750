//! Single records under keys that are known, whatever they hold, allowed or not: what a peer that is up to anything may
//! send. The fuzz targets use it, too.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use netstack::tls::{Suite, Version};

/// Content types (RFC 8446 section 5.1).
pub const ALERT: u8 = 21;
/// A handshake message, a part of one, or several.
pub const HANDSHAKE: u8 = 22;
/// Application data.
pub const DATA: u8 = 23;

/// One direction of a connection.
pub struct Forge {
    version: Version,
    key: LessSafeKey,
    iv: [u8; 12],
    /// TLS 1.2's AES-GCM carries half of its nonce in the record.
    explicit: bool,
    sequence: u64,
}

impl Forge {
    /// The next record has the number `sequence`.
    pub fn new(version: Version, suite: Suite, key: &[u8], iv: [u8; 12], sequence: u64) -> Forge {
        let algorithm = match suite {
            Suite::Aes128Gcm => &AES_128_GCM,
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let explicit = version == Version::Tls12 && suite != Suite::ChaCha20Poly1305;
        Forge { version, key: LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap()), iv, explicit, sequence }
    }

    /// A record of this content type; `padding` zeros behind it (TLS 1.3).
    pub fn record(&mut self, content_type: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let sequence = self.sequence.to_be_bytes();
        let nonce = self.next_nonce();
        let mut text = content.to_vec();
        match self.version {
            Version::Tls13 => {
                text.push(content_type);
                text.resize(text.len() + padding, 0);
                let length = (text.len() + 16) as u16;
                let header = [DATA, 3, 3, (length >> 8) as u8, length as u8];
                self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(header), &mut text).unwrap();
                [&header[..], &text].concat()
            }
            Version::Tls12 => {
                let length = text.len() as u16;
                let data = [&sequence[..], &[content_type, 3, 3, (length >> 8) as u8, length as u8]].concat();
                self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(data), &mut text).unwrap();
                let carried = if self.explicit { &nonce[4..] } else { &[] };
                let length = (text.len() + carried.len()) as u16;
                [&[content_type, 3, 3, (length >> 8) as u8, length as u8][..], carried, &text].concat()
            }
        }
    }

    /// The content type and the content of a record without padding.
    pub fn open(&mut self, record: &[u8]) -> (u8, Vec<u8>) {
        let sequence = self.sequence.to_be_bytes();
        let mut nonce = self.next_nonce();
        let header: [u8; 5] = record[..5].try_into().unwrap();
        let (carried, body) = record[5..].split_at(if self.explicit { 8 } else { 0 });
        nonce[12 - carried.len()..].copy_from_slice(carried);
        let [high, low] = ((body.len() - 16) as u16).to_be_bytes();
        let data = match self.version {
            Version::Tls13 => header.to_vec(),
            Version::Tls12 => [&sequence[..], &[header[0], 3, 3, high, low]].concat(),
        };
        let mut text = body.to_vec();
        let text = self.key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(data), &mut text).expect("authentic");
        match (self.version, &*text) {
            (Version::Tls13, [content @ .., content_type]) => (*content_type, content.to_vec()),
            _ => (header[0], text.to_vec()),
        }
    }

    fn next_nonce(&mut self) -> [u8; 12] {
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()).for_each(|(byte, number)| *byte ^= number);
        self.sequence += 1;
        nonce
    }
}
