//! A key of the cipher library, wiped where it lies when it is dropped: ring leaves that to its users.

#![allow(unsafe_code, reason = "a type of another crate can be wiped only as the bytes that it is")]

use std::ops::{Deref, DerefMut};
use zeroize::zeroize_flat_type;

/// A value all of whose secrets lie within it, overwritten with zeros when dropped.
///
/// Copies that moves leave behind on the stack are not reached.
pub(super) struct Wiped<T>(T);

impl<T> Wiped<T> {
    /// Only for types that need no drop of their own, which would find nothing but zeros; that they own no memory elsewhere
    /// follows.
    pub(super) fn new(value: T) -> Wiped<T> {
        const { assert!(!std::mem::needs_drop::<T>(), "a type with a drop of its own cannot be wiped") }
        Wiped(value)
    }
}

impl<T> Deref for Wiped<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Wiped<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        // SAFETY: the value is ours, aligned and not read any more: it is being dropped, and needs no drop itself (`new`).
        unsafe { zeroize_flat_type(&raw mut self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ahead::{Ahead, REHEARSAL_SEQUENCE, TEXT_MAX};
    use super::super::record::Suite;
    use super::*;
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
    use std::fs::File;
    use std::mem::MaybeUninit;
    use std::os::unix::fs::FileExt;

    /// What lies at a place, as the kernel sees it: bytes between fields may have no value in Rust.
    fn bytes<T>(place: &MaybeUninit<T>) -> Vec<u8> {
        let mut bytes = vec![0xee; size_of::<T>()];
        let memory = File::open("/proc/self/mem").expect("the process may read its own memory");
        memory.read_exact_at(&mut bytes, place.as_ptr() as u64).expect("the place is in memory");
        bytes
    }

    #[test]
    fn a_dropped_cipher_key_leaves_zeros() {
        for (algorithm, len) in [(&AES_128_GCM, 16), (&AES_256_GCM, 32), (&CHACHA20_POLY1305, 32)] {
            let secret: Vec<u8> = (0..len).map(|at| 0x80 | at).collect();
            let key = UnboundKey::new(algorithm, &secret).map(LessSafeKey::new).expect("as long as it must be");
            let mut place = MaybeUninit::new(Wiped::new(key));
            let before = bytes(&place);
            assert!(before.windows(16).any(|window| *window == secret[..16]), "the key is not where it is looked for: {algorithm:?}");
            // SAFETY: initialised above, dropped once.
            unsafe { place.assume_init_drop() };
            assert_eq!(bytes(&place), vec![0; before.len()], "{algorithm:?}");
        }
    }

    /// The hash key of AES-GCM, as POLYVAL has it.
    fn hash_key(key: &[u8]) -> Vec<u8> {
        let mut block = aes::Block::default();
        match key.len() {
            16 => aes::Aes128Enc::new_from_slice(key).expect("as long as it must be").encrypt_block(&mut block),
            _ => aes::Aes256Enc::new_from_slice(key).expect("as long as it must be").encrypt_block(&mut block),
        }
        let key = u128::from_be_bytes(block.into());
        ((key << 1) ^ ((key >> 127) * ((0xc2 << 120) | 1))).to_le_bytes().to_vec()
    }

    #[test]
    fn nothing_that_was_made_ahead_is_left() {
        for (suite, len) in [(Suite::Aes128Gcm, 16), (Suite::Aes256Gcm, 32)] {
            let secret: Vec<u8> = (0..len).map(|at| 0x80 | at).collect();
            let Some(mut ahead) = Ahead::new(suite, &secret) else { return };
            ahead.prepare(7, |sequence| [sequence as u8; 12]);
            let mut secrets = vec![secret[..16].to_vec(), hash_key(&secret)];
            for sequence in [7, 8, 9, 10, REHEARSAL_SEQUENCE] {
                let algorithm = if suite == Suite::Aes128Gcm { &AES_128_GCM } else { &AES_256_GCM };
                let key = UnboundKey::new(algorithm, &secret).map(LessSafeKey::new).expect("as long as it must be");
                let mut stream = [0; TEXT_MAX];
                let nonce = Nonce::assume_unique_for_key([sequence as u8; 12]);
                let _tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut stream).expect("short enough");
                secrets.extend(stream.chunks(16).map(<[u8]>::to_vec));
            }
            let holds = |bytes: &[u8], secret: &[u8]| bytes.windows(16).any(|window| window == secret);
            let mut place = MaybeUninit::new(ahead);
            let before = bytes(&place);
            assert!(secrets.iter().all(|secret| holds(&before, secret)), "{suite:?}: they are not where they are looked for");
            // SAFETY: initialised above, dropped once.
            unsafe { place.assume_init_drop() };
            let left = bytes(&place);
            assert_eq!(left, vec![0; before.len()], "{suite:?}");
        }
    }
}
