//! The cipher of one direction: ours for AES-GCM where the processor has what it takes, else ring's.

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

#[cfg(target_arch = "x86_64")]
use super::aes_gcm::{Aes128Gcm, Aes256Gcm};
use super::record::Suite;
use super::wiped::Wiped;
use thiserror::Error;

/// Bytes of a nonce, whatever the suite.
pub const NONCE: usize = 12;
/// Bytes of a tag, whatever the suite.
pub const TAG: usize = 16;

/// The tag does not belong to what it came with; or there is no room for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the tag is not that of the text, the additional data and the nonce, or there is no room for one")]
pub struct NotAuthentic;

/// A key, ready to use; wiped when dropped.
pub(super) enum Cipher {
    #[cfg(target_arch = "x86_64")]
    Aes128Gcm(Wiped<Aes128Gcm>),
    #[cfg(target_arch = "x86_64")]
    Aes256Gcm(Wiped<Aes256Gcm>),
    Ring(Wiped<LessSafeKey>),
}

impl Cipher {
    /// `None` if the key's length is not the suite's.
    pub(super) fn new(suite: Suite, key: &[u8]) -> Option<Cipher> {
        Cipher::ours(suite, key).or_else(|| Cipher::of_ring(suite, key))
    }

    #[cfg(target_arch = "x86_64")]
    fn ours(suite: Suite, key: &[u8]) -> Option<Cipher> {
        match suite {
            Suite::Aes128Gcm => Aes128Gcm::new(key.try_into().ok()?).map(|key| Cipher::Aes128Gcm(Wiped::new(key))),
            Suite::Aes256Gcm => Aes256Gcm::new(key.try_into().ok()?).map(|key| Cipher::Aes256Gcm(Wiped::new(key))),
            Suite::ChaCha20Poly1305 => None,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn ours(_suite: Suite, _key: &[u8]) -> Option<Cipher> {
        None
    }

    fn of_ring(suite: Suite, key: &[u8]) -> Option<Cipher> {
        let algorithm = match suite {
            Suite::Aes128Gcm => &AES_128_GCM,
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, key).ok()?;
        Some(Cipher::Ring(Wiped::new(LessSafeKey::new(key))))
    }

    /// Opens the text in `body`, behind which lies its tag. What is not authentic is not to be read.
    #[inline(always)]
    pub(super) fn open<const DATA: usize>(&self, nonce: [u8; NONCE], data: [u8; DATA], body: &mut [u8]) -> Result<(), NotAuthentic> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Cipher::Aes128Gcm(key) => key.open(nonce, data, body),
            #[cfg(target_arch = "x86_64")]
            Cipher::Aes256Gcm(key) => key.open(nonce, data, body),
            Cipher::Ring(key) => {
                let (text, tag) = body.split_last_chunk_mut::<TAG>().ok_or(NotAuthentic)?;
                let nonce = Nonce::assume_unique_for_key(nonce);
                let opened = key.open_in_place_separate_tag(nonce, Aad::from(data), (*tag).into(), text, 0..);
                opened.map(|_| ()).map_err(|_| NotAuthentic)
            }
        }
    }

    /// Seals the text in `body`, behind which lies room for the tag. Under one nonce only one text may ever be sealed.
    #[inline(always)]
    pub(super) fn seal<const DATA: usize>(&self, nonce: [u8; NONCE], data: [u8; DATA], body: &mut [u8]) -> Result<(), NotAuthentic> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Cipher::Aes128Gcm(key) => key.seal(nonce, data, body),
            #[cfg(target_arch = "x86_64")]
            Cipher::Aes256Gcm(key) => key.seal(nonce, data, body),
            Cipher::Ring(key) => {
                let (text, tag) = body.split_last_chunk_mut::<TAG>().ok_or(NotAuthentic)?;
                let sealed = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(data), text);
                *tag = sealed.ok().and_then(|sealed| sealed.as_ref().try_into().ok()).ok_or(NotAuthentic)?;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITES: [Suite; 3] = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

    /// Whichever cipher a processor has, its records are the same.
    #[test]
    fn what_one_cipher_seals_the_other_opens() {
        for suite in SUITES {
            let key: Vec<u8> = (0..suite.key_len() as u8).collect();
            let chosen = Cipher::new(suite, &key).expect("the key is as long as the suite's");
            let of_ring = Cipher::of_ring(suite, &key).expect("the key is as long as the suite's");
            for length in (0..600).chain([16_384, 16_385]) {
                let text: Vec<u8> = (0..length).map(|at| at as u8).collect();
                let nonce: [u8; NONCE] = std::array::from_fn(|at| (length + at) as u8);
                let data = [23, 3, 3, (length >> 8) as u8, length as u8];
                let mut body = [text.clone(), vec![0; TAG]].concat();
                chosen.seal(nonce, data, &mut body).expect("there is room for a tag");
                of_ring.open(nonce, data, &mut body).expect("the tag is right");
                assert_eq!(body[..length], text, "{suite:?}, {length} bytes");
                of_ring.seal(nonce, data, &mut body).expect("there is room for a tag");
                chosen.open(nonce, data, &mut body).expect("the tag is right");
                assert_eq!(body[..length], text, "{suite:?}, {length} bytes");
            }
        }
    }

    #[test]
    fn neither_cipher_opens_what_is_not_authentic_or_takes_a_key_of_another_length() {
        for suite in SUITES {
            let key = vec![1; suite.key_len()];
            for cipher in [Cipher::new(suite, &key), Cipher::of_ring(suite, &key)] {
                let cipher = cipher.expect("the key is as long as the suite's");
                for length in 0..TAG {
                    assert_eq!(cipher.open([0; NONCE], [0; 5], &mut vec![0; length]), Err(NotAuthentic), "{suite:?}, {length} bytes");
                    assert_eq!(cipher.seal([0; NONCE], [0; 5], &mut vec![0; length]), Err(NotAuthentic), "{suite:?}, {length} bytes");
                }
                let mut body = vec![7; 100 + TAG];
                cipher.seal([0; NONCE], [0; 5], &mut body).expect("there is room for a tag");
                body[50] ^= 1;
                assert_eq!(cipher.open([0; NONCE], [0; 5], &mut body), Err(NotAuthentic), "{suite:?}");
            }
            for length in [0, 15, 17, 24, 31, 33, 48 - suite.key_len()] {
                assert!(Cipher::new(suite, &vec![1; length]).is_none(), "{suite:?} with a key of {length} bytes");
            }
        }
    }
}
