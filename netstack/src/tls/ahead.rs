//! Sealing ahead: what AES-GCM can compute before the text is there.
//!
//! The number of the next record is known, so its key stream is, and the mask of its tag (NIST SP 800-38D section 7.1). They
//! are made while nothing else is to be done; sealing is then one XOR over the text and its hash. For the few hundred bytes
//! of an order that takes about two thirds of the time that ring takes for all of it; from some 800 bytes on ring is the
//! quicker one, and it seals whatever nothing was made for.
//!
//! No cipher is written here: AES and GHASH's field (as POLYVAL, RFC 8452 appendix A) come from the crates `aes` and
//! `polyval`. Without the processor's instructions for both there is no [`Ahead`].
//!
//! A key stream must never meet two texts. It belongs to the number of one record; [`Ahead::take`] gives it out for that
//! number only and marks it as used, whatever becomes of the record, and the [`Prepared`] that it gives seals once. That of
//! rehearsals belongs to a number that no record has.

use std::hint::black_box;
use std::mem::ManuallyDrop;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Aes256Enc};
use polyval::Polyval;
use polyval::universal_hash::{Reset, UniversalHash};
use ring::aead::NONCE_LEN;
use zeroize::Zeroize;

use super::record::{Suite, TAG};
use super::wiped::Wiped;

/// Longest text (in TLS 1.3 with its content type) that is sealed ahead.
pub(super) const TEXT_MAX: usize = 512;
/// Records that are prepared at a time: a tick may be answered by several orders.
pub(super) const RECORDS: usize = 4;
/// The number under which sealing is rehearsed: far beyond what any key may seal.
pub(super) const REHEARSAL_SEQUENCE: u64 = u64::MAX - 1;

/// Every so many rehearsals go the way of records that nothing was prepared for: that way must stay at hand too.
const UNPREPARED_REHEARSAL: u8 = 4;
/// Of no record: numbers end before it.
const NOTHING: u64 = u64::MAX;
const BLOCK: usize = 16;
const TEXT_BLOCKS: usize = TEXT_MAX / BLOCK;
/// Additional data, text, lengths, in groups of as many blocks as POLYVAL takes at once.
const GROUP: usize = 4;
const HASHED_BLOCKS: usize = (TEXT_BLOCKS + 2).next_multiple_of(GROUP);

type Block = [u8; BLOCK];

/// A key that makes key streams. Not dropped, but wiped ([`Wiped`]).
enum Cipher {
    Aes128(ManuallyDrop<Aes128Enc>),
    Aes256(ManuallyDrop<Aes256Enc>),
}

impl Cipher {
    fn encrypt(&self, blocks: &mut [Block]) {
        let blocks = aes::Block::cast_slice_from_core_mut(blocks);
        match self {
            Cipher::Aes128(key) => key.encrypt_blocks(blocks),
            Cipher::Aes256(key) => key.encrypt_blocks(blocks),
        }
    }
}

/// What a record's number says of its sealing.
#[repr(align(64))]
struct KeyStream {
    /// Of the text; behind it, of the tag.
    blocks: [Block; TEXT_BLOCKS + 1],
    /// The record's number; [`NOTHING`]: made for none, or used.
    made_for: u64,
}

impl KeyStream {
    const fn none() -> KeyStream {
        KeyStream { blocks: [[0; BLOCK]; TEXT_BLOCKS + 1], made_for: NOTHING }
    }

    /// The blocks that GCM counts up from the nonce: 1 is the tag's, the text's follow.
    fn make(&mut self, cipher: &Cipher, sequence: u64, nonce: [u8; NONCE_LEN]) {
        let counters = (2..).take(TEXT_BLOCKS).chain([1]);
        for (block, counter) in self.blocks.iter_mut().zip(counters) {
            let (front, back) = block.split_at_mut(NONCE_LEN);
            front.copy_from_slice(&nonce);
            back.copy_from_slice(&u32::to_be_bytes(counter));
        }
        cipher.encrypt(&mut self.blocks);
        self.made_for = sequence;
    }

    /// Reads all of it: what was made long ago is not in the caches any more.
    fn touch(&self) {
        black_box(self.blocks.iter().step_by(64 / BLOCK).fold(0, |sum, block| sum ^ block[0]));
    }
}

/// Key streams of the next records of one key.
pub(super) struct Ahead {
    cipher: Cipher,
    hash: ManuallyDrop<Polyval>,
    streams: [KeyStream; RECORDS],
    rehearsal: KeyStream,
    rehearsals: u8,
}

impl Ahead {
    /// For a key of AES-GCM, on a processor that has instructions for it.
    pub(super) fn new(suite: Suite, key: &[u8]) -> Option<Wiped<Ahead>> {
        if !has_instructions() {
            return None;
        }
        let cipher = match suite {
            Suite::Aes128Gcm => Cipher::Aes128(ManuallyDrop::new(Aes128Enc::new_from_slice(key).ok()?)),
            Suite::Aes256Gcm => Cipher::Aes256(ManuallyDrop::new(Aes256Enc::new_from_slice(key).ok()?)),
            Suite::ChaCha20Poly1305 => return None,
        };
        let mut key = [[0; BLOCK]];
        cipher.encrypt(&mut key);
        let mut hash_key = times_x(u128::from_be_bytes(key[0])).to_le_bytes();
        let hash = ManuallyDrop::new(Polyval::new(&hash_key.into()));
        key.zeroize();
        hash_key.zeroize();
        let streams = [const { KeyStream::none() }; RECORDS];
        Some(Wiped::new(Ahead { cipher, hash, streams, rehearsal: KeyStream::none(), rehearsals: 0 }))
    }

    /// Makes what is missing for the next records, the first of which has the number `next`, and for rehearsals.
    pub(super) fn prepare(&mut self, next: u64, nonce: impl Fn(u64) -> [u8; NONCE_LEN]) {
        for sequence in next..next.saturating_add(RECORDS as u64) {
            let stream = &mut self.streams[place(sequence)];
            if stream.made_for != sequence {
                stream.make(&self.cipher, sequence, nonce(sequence));
            }
        }
        self.streams[place(next)].touch();
        if self.rehearsal.made_for == NOTHING {
            self.rehearsal.make(&self.cipher, REHEARSAL_SEQUENCE, nonce(REHEARSAL_SEQUENCE));
        }
    }

    /// What was made for the record of this number, if anything was and it is long enough. It is used up with that.
    #[inline]
    pub(super) fn take(&mut self, sequence: u64, text_len: usize) -> Option<Prepared<'_>> {
        let stream = if sequence == REHEARSAL_SEQUENCE {
            self.rehearsals = self.rehearsals.wrapping_add(1);
            if self.rehearsals.is_multiple_of(UNPREPARED_REHEARSAL) || self.rehearsal.made_for == NOTHING {
                return None;
            }
            &self.rehearsal
        } else {
            let stream = &mut self.streams[place(sequence)];
            if std::mem::replace(&mut stream.made_for, NOTHING) != sequence {
                return None;
            }
            &*stream
        };
        (text_len <= TEXT_MAX).then_some(Prepared { hash: &mut self.hash, stream })
    }
}

const fn place(sequence: u64) -> usize {
    (sequence % RECORDS as u64) as usize
}

#[cfg(target_arch = "x86_64")]
fn has_instructions() -> bool {
    is_x86_feature_detected!("aes") && is_x86_feature_detected!("pclmulqdq") && is_x86_feature_detected!("avx")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_instructions() -> bool {
    false
}

/// GHASH's key as POLYVAL's (RFC 8452 appendix A), its bytes turned around.
const fn times_x(key: u128) -> u128 {
    (key << 1) ^ ((key >> 127) * ((0xc2 << 120) | 1))
}

/// A key stream on its way to the one text that it is for.
#[must_use = "it is used up"]
pub(super) struct Prepared<'a> {
    hash: &'a mut Polyval,
    stream: &'a KeyStream,
}

impl Prepared<'_> {
    /// Encrypts the text where it lies; the tag, which covers `data` (at most a block) too.
    #[inline]
    pub(super) fn seal<const DATA: usize>(self, data: [u8; DATA], text: &mut [u8]) -> [u8; TAG] {
        const { assert!(DATA <= BLOCK, "one block of additional data") }
        let Prepared { hash, stream: KeyStream { blocks: stream, .. } } = self;
        // Turned around, as POLYVAL wants them. Zeros in front change nothing: they fill the first group.
        let mut hashed = [[0; BLOCK]; HASHED_BLOCKS];
        let length = text.len();
        let used = (length.div_ceil(BLOCK) + 2).next_multiple_of(GROUP).min(HASHED_BLOCKS);
        let first = used - (length.div_ceil(BLOCK) + 2);
        let mut rooms = hashed[first..used].iter_mut();
        if let Some(room) = rooms.next() {
            let mut block = [0; BLOCK];
            block[..DATA].copy_from_slice(&data);
            *room = u128::from_be_bytes(block).to_le_bytes();
        }
        let (whole, rest) = text.as_chunks_mut::<BLOCK>();
        let mut stream_of_text = stream[..TEXT_BLOCKS].iter();
        for ((text, stream), room) in whole.iter_mut().zip(&mut stream_of_text).zip(&mut rooms) {
            let sealed = u128::from_be_bytes(*text) ^ u128::from_be_bytes(*stream);
            *text = sealed.to_be_bytes();
            *room = sealed.to_le_bytes();
        }
        if !rest.is_empty()
            && let (Some(stream), Some(room)) = (stream[..TEXT_BLOCKS].get(whole.len()), rooms.next())
        {
            let mut block = [0; BLOCK];
            let part = &mut block[..rest.len()];
            part.copy_from_slice(rest);
            part.iter_mut().zip(stream).for_each(|(byte, stream)| *byte ^= stream);
            rest.copy_from_slice(part);
            *room = u128::from_be_bytes(block).to_le_bytes();
        }
        if let Some(room) = rooms.next() {
            let bits = |bytes: usize| 8 * bytes as u128;
            *room = (bits(DATA) << 64 | bits(length)).to_le_bytes();
        }
        hash.update(polyval::Block::cast_slice_from_core(&hashed[..used]));
        // Only the sum is read of the copy, so none is made.
        let sum: Block = hash.clone().finalize().into();
        hash.reset();
        (u128::from_le_bytes(sum) ^ u128::from_be_bytes(stream[TEXT_BLOCKS])).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    use std::collections::HashSet;

    const KEY: [u8; 32] = [0x5c; 32];

    fn nonce(sequence: u64) -> [u8; NONCE_LEN] {
        let mut nonce = [0xa5; NONCE_LEN];
        nonce[4..].copy_from_slice(&sequence.to_be_bytes());
        nonce
    }

    fn by_ring(suite: Suite, sequence: u64, data: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let algorithm = if suite == Suite::Aes128Gcm { &AES_128_GCM } else { &AES_256_GCM };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &KEY[..suite.key_len()]).expect("as long as it must be"));
        let nonce = Nonce::assume_unique_for_key(nonce(sequence));
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(data), text).expect("short enough");
        tag.as_ref().try_into().expect("a tag of 16 bytes")
    }

    /// On a processor that cannot, there is nothing to test.
    fn ahead(suite: Suite) -> Option<Wiped<Ahead>> {
        Ahead::new(suite, &KEY[..suite.key_len()])
    }

    #[test]
    fn texts_of_all_lengths_are_sealed_as_ring_seals_them() {
        for suite in [Suite::Aes128Gcm, Suite::Aes256Gcm] {
            let Some(mut ahead) = ahead(suite) else { return };
            for length in 0..=TEXT_MAX {
                let sequence = length as u64 * 0x0101_0101;
                ahead.prepare(sequence, nonce);
                let text: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
                for short in [true, false] {
                    let (mut ours, mut rings) = (text.clone(), text.clone());
                    let sequence = sequence + u64::from(short);
                    let prepared = ahead.take(sequence, length).expect("made for it");
                    let (tag, right) = if short {
                        let data = [length as u8, 3, 3, 0, 0x80];
                        (prepared.seal(data, &mut ours), by_ring(suite, sequence, &data, &mut rings))
                    } else {
                        let data = [length as u8; 13];
                        (prepared.seal(data, &mut ours), by_ring(suite, sequence, &data, &mut rings))
                    };
                    assert!(ours == rings && tag == right, "{suite:?} {length}");
                }
            }
        }
    }

    /// Test case 3 of GCM's specification as NIST has it (McGrew, Viega, appendix B).
    #[test]
    fn the_specifications_test_case() {
        let key = 0xfeff_e992_8665_731c_6d6a_8f94_6730_8308_u128.to_be_bytes();
        let Some(mut ahead) = Ahead::new(Suite::Aes128Gcm, &key) else { return };
        let iv = [0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88];
        ahead.prepare(0, |_| iv);
        let mut text = [
            0xd931_3225_f884_06e5_a559_09c5_aff5_269a_u128,
            0x86a7_a953_1534_f7da_2e4c_303d_8a31_8a72,
            0x1c3c_0c95_9568_0953_2fcf_0e24_49a6_b525,
            0xb16a_edf5_aa0d_e657_ba63_7b39_1aaf_d255,
        ]
        .map(u128::to_be_bytes);
        let tag = ahead.take(0, 64).expect("made for it").seal([], text.as_flattened_mut());
        let sealed = [
            0x4283_1ec2_2177_7424_4b72_21b7_84d0_d49c_u128,
            0xe3aa_212f_2c02_a4e0_35c1_7e23_29ac_a12e,
            0x21d5_14b2_5466_931c_7d8f_6a5a_ac84_aa05,
            0x1ba3_0b39_6a0a_ac97_3d58_e091_473f_5985,
        ];
        assert_eq!(text, sealed.map(u128::to_be_bytes));
        assert_eq!(tag, 0x4d5c_2af3_27cd_64a6_2cf3_5abd_2ba6_fab4_u128.to_be_bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whoever asks for whatever in whatever order: a key stream is given out once, and for its own number.
        #[test]
        fn a_key_stream_never_meets_two_texts(
            acts in proptest::collection::vec((0u8..3, 0u64..12, prop_oneof![Just(0), 1..=TEXT_MAX, Just(TEXT_MAX + 1)]), 1..60),
        ) {
            let Some(mut ahead) = ahead(Suite::Aes256Gcm) else { return Ok(()) };
            let (mut next, mut given, mut streams) = (0, HashSet::new(), HashSet::new());
            for (act, number, length) in acts {
                match act {
                    // The numbers of a key only go up.
                    0 => {
                        next += number / 4;
                        ahead.prepare(next, nonce);
                    }
                    1 => {
                        let mut text = vec![0; length];
                        if let Some(prepared) = ahead.take(number, length) {
                            prop_assert!(length <= TEXT_MAX);
                            prop_assert!(given.insert(number), "asked for twice, given twice: {number}");
                            prepared.seal([], &mut text);
                            let mut right = vec![0; length];
                            by_ring(Suite::Aes256Gcm, number, &[], &mut right);
                            prop_assert_eq!(&text, &right, "another number's");
                            if length >= BLOCK {
                                prop_assert!(streams.insert(text[..BLOCK].to_vec()));
                            }
                        }
                        next = next.max(number + 1);
                    }
                    _ => {
                        let mut text = vec![0; length];
                        if let Some(prepared) = ahead.take(REHEARSAL_SEQUENCE, length) {
                            prepared.seal([], &mut text);
                            prop_assert!(length < BLOCK || !streams.contains(&text[..BLOCK]), "a record's");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_made_and_too_short_is_used_up_and_a_rehearsal_uses_nothing_up() {
        let Some(mut ahead) = ahead(Suite::Aes128Gcm) else { return };
        assert!(ahead.take(0, 1).is_none(), "nothing was made");
        ahead.prepare(0, nonce);
        for _ in 0..10 {
            let _ = ahead.take(REHEARSAL_SEQUENCE, 1);
        }
        assert!(ahead.take(0, TEXT_MAX + 1).is_none());
        assert!(ahead.take(0, 1).is_none(), "the number was asked for before");
        for sequence in 1..RECORDS as u64 {
            assert!(ahead.take(sequence, TEXT_MAX).is_some());
        }
        assert!(ahead.take(RECORDS as u64, 1).is_none());
    }
}
