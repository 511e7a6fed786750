//! Secrets wiped where they lie when they are dropped: keys of ciphers, ours and ring's, which leave that to their users, and the
//! memory of a whole connection.

#![allow(unsafe_code, reason = "what has fields of other crates can be wiped only as the bytes that it is")]

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use zeroize::zeroize_flat_type;

/// A value all of whose secrets lie within it, overwritten with zeros when dropped.
///
/// Copies that moves leave behind on the stack are not reached.
pub(super) struct Wiped<T>(T);

impl<T> Wiped<T> {
    /// Only for types that need no drop of their own, which would find nothing but zeros, and own no memory elsewhere, which would
    /// not be wiped.
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

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        // SAFETY: the value is ours, aligned and not read any more: it is being dropped, and needs no drop itself (`new`). From here on
        // the place is only bytes, so that zeros need be no value of the type (a reference among its fields is none).
        unsafe { zeroize_flat_type((&raw mut self.0).cast::<MaybeUninit<T>>()) }
    }
}

/// A value on the heap whose place is overwritten with zeros once it is dropped.
///
/// Fields wipe their secrets themselves. But what lies between them, and in the unused part of an enum, is whatever lay on the
/// stack where the value was made: there may be keys.
pub(super) struct WipedBox<T>(Box<MaybeUninit<T>>);

impl<T> WipedBox<T> {
    pub(super) fn new(value: T) -> WipedBox<T> {
        WipedBox(Box::new(MaybeUninit::new(value)))
    }
}

impl<T> Deref for WipedBox<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `new` put a value there, and only `drop` takes it away.
        unsafe { self.0.assume_init_ref() }
    }
}

impl<T> DerefMut for WipedBox<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { self.0.assume_init_mut() }
    }
}

impl<T> Drop for WipedBox<T> {
    fn drop(&mut self) {
        // SAFETY: `new` put a value there, which is dropped once; from then on the place is only bytes, and ours.
        unsafe {
            self.0.assume_init_drop();
            zeroize_flat_type(&raw mut *self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::aead::{AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, LessSafeKey, UnboundKey};
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_dropped_key_of_our_cipher_leaves_zeros() {
        use crate::tls::aes_gcm::{Aes128Gcm, Aes256Gcm};

        fn check<T>(key: Option<T>, secret: &[u8]) {
            let Some(key) = key else { return eprintln!("this processor has no VAES: ring is used instead of what is tested here") };
            let mut place = MaybeUninit::new(Wiped::new(key));
            let before = bytes(&place);
            assert!(before.windows(16).any(|window| *window == secret[..16]), "the key is not where it is looked for");
            // SAFETY: initialised above, dropped once.
            unsafe { place.assume_init_drop() };
            assert_eq!(bytes(&place), vec![0; before.len()]);
        }
        let secret: [u8; 32] = std::array::from_fn(|at| 0x80 | at as u8);
        check(Aes128Gcm::new(secret.first_chunk().expect("32 bytes are more than 16")), &secret);
        check(Aes256Gcm::new(&secret), &secret);
    }

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
}
