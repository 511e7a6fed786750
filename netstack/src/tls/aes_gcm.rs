//! AES-GCM (NIST SP 800-38D; in TLS: RFC 5288, RFC 8446 section 5.2) for records of a few hundred bytes, in one pass.
//!
//! Cipher libraries are made for long texts: of a short one most of their time goes into the beginning and the end. Here a
//! record's blocks go through the cipher eight at a time whether there are eight or not, no block waits for another, and the
//! hash is reduced once for eight blocks. Text and tag lie behind each other, as they do in a record: so the last block is
//! read and written whole, and only masked.
//!
//! It takes a processor with vectors of two AES blocks (AVX2, VAES, VPCLMULQDQ: Intel since Ice Lake, AMD since Zen 3), and
//! no key is made on another. Neither time nor addresses depend on key or text: there are no tables, and the tag is compared
//! as a whole.
//!
//! The hash is over GF(2^128). With the bytes of each block turned round, a product of two blocks is what the carry-less
//! multiplication gives, times x: this x is put into the hash key beforehand, and the product is reduced from below
//! (Montgomery), for x^-128 of which every power of the key has its part. That is POLYVAL (RFC 8452, appendix A).
#![allow(
    unsafe_code,
    reason = "what is compiled for a processor may be called once that is known; vectors are read and written by address"
)]

use std::arch::x86_64::*;

pub use super::cipher::{NONCE, NotAuthentic, TAG};

/// Bytes of a block.
const BLOCK: usize = 16;
/// Bytes of a vector.
const PAIR: usize = 2 * BLOCK;
/// Blocks that are worked on together.
const GROUP: usize = 8;
/// Bytes of them.
const GROUP_BYTES: usize = GROUP * BLOCK;
/// Powers of the hash key: for a group and the block of the lengths.
const POWERS: usize = GROUP + 1;

/// AES with a key of 128 bits.
pub type Aes128Gcm = AesGcm<11>;
/// AES with a key of 256 bits.
pub type Aes256Gcm = AesGcm<15>;

/// A key, ready to use. It is nothing but its bytes: whoever holds it wipes it.
///
/// That there is one proves that the processor has what its functions are compiled for.
#[repr(C, align(64))]
pub struct AesGcm<const ROUND_KEYS: usize> {
    round_keys: [__m128i; ROUND_KEYS],
    /// Of the hash key, the highest first.
    powers: [__m128i; POWERS],
}

/// The processor has what is needed.
pub fn is_available() -> bool {
    is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
}

impl Aes128Gcm {
    /// A key; `None` on a processor that has not what is needed.
    pub fn new(key: &[u8; 16]) -> Option<Aes128Gcm> {
        // SAFETY: the processor has what the function is compiled for.
        is_available().then(|| unsafe { AesGcm::with_round_keys(expand_128(load(key))) })
    }
}

impl Aes256Gcm {
    /// A key; `None` on a processor that has not what is needed.
    pub fn new(key: &[u8; 32]) -> Option<Aes256Gcm> {
        let (halves, _) = key.as_chunks();
        // SAFETY: the processor has what the function is compiled for.
        is_available().then(|| unsafe { AesGcm::with_round_keys(expand_256(load(&halves[0]), load(&halves[1]))) })
    }
}

impl<const ROUND_KEYS: usize> AesGcm<ROUND_KEYS> {
    /// Seals the text in `record`, behind which lies room for the tag, of which it is made. The nonce may never have been used
    /// with this key, but for texts that never leave the process. A text has fewer than 2^32 - 2 blocks.
    #[inline]
    pub fn seal<const DATA: usize>(&self, nonce: [u8; NONCE], data: [u8; DATA], record: &mut [u8]) -> Result<(), NotAuthentic> {
        if record.len() < TAG {
            return Err(NotAuthentic);
        }
        // SAFETY: with a key there is a processor that has what the function is compiled for.
        let tag = unsafe { self.cross::<true>(nonce, block_of(data), DATA, record) };
        let room = record.last_chunk_mut().ok_or(NotAuthentic)?;
        store(room, tag);
        Ok(())
    }

    /// Opens the text in `record`, behind which lies its tag. What is not authentic is overwritten with zeros.
    #[inline]
    pub fn open<const DATA: usize>(&self, nonce: [u8; NONCE], data: [u8; DATA], record: &mut [u8]) -> Result<(), NotAuthentic> {
        let carried = record.last_chunk().ok_or(NotAuthentic)?;
        // SAFETY: with a key there is a processor that has what the functions are compiled for.
        let is_authentic = unsafe {
            let carried = load(carried);
            equal(self.cross::<false>(nonce, block_of(data), DATA, record), carried)
        };
        match is_authentic {
            true => Ok(()),
            false => {
                record.fill(0);
                Err(NotAuthentic)
            }
        }
    }

    #[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq")]
    fn with_round_keys(round_keys: [__m128i; ROUND_KEYS]) -> Self {
        let mut key = AesGcm { round_keys, powers: [_mm_setzero_si128(); POWERS] };
        // Times x: one place up, and what falls out comes in again as x^127 + x^126 + x^121 + 1.
        let hash_key = turned(key.encrypted(_mm_setzero_si128()));
        let fallen = _mm_cmpgt_epi32(_mm_setzero_si128(), _mm_shuffle_epi32::<0b11_11_11_11>(hash_key));
        let doubled = _mm_or_si128(_mm_slli_epi64::<1>(hash_key), _mm_slli_si128::<8>(_mm_srli_epi64::<63>(hash_key)));
        let hash_key = _mm_xor_si128(doubled, _mm_and_si128(fallen, _mm_set_epi64x(REDUCTION, 1)));
        let mut power = hash_key;
        for place in key.powers.iter_mut().rev() {
            *place = power;
            power = product(power, hash_key);
        }
        key
    }

    /// One block through the cipher.
    #[inline]
    #[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq")]
    fn encrypted(&self, block: __m128i) -> __m128i {
        let [first, middle @ .., last] = self.round_keys.as_slice() else { return block };
        let block = middle.iter().fold(_mm_xor_si128(block, *first), |block, key| _mm_aesenc_si128(block, *key));
        _mm_aesenclast_si128(block, *last)
    }

    /// The key stream of a group: counters, turned round, through the cipher.
    #[inline]
    #[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq")]
    fn key_stream(&self, counters: __m256i) -> [__m256i; GROUP / 2] {
        let [first, middle @ .., last] = self.round_keys.as_slice() else { return [counters; GROUP / 2] };
        let mut stream = [counters; GROUP / 2];
        let mut counters = counters;
        let first = _mm256_broadcastsi128_si256(*first);
        for pair in &mut stream {
            *pair = _mm256_xor_si256(turned_pair(counters), first);
            counters = _mm256_add_epi32(counters, _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 2));
        }
        for key in middle {
            let key = _mm256_broadcastsi128_si256(*key);
            for pair in &mut stream {
                *pair = _mm256_aesenc_epi128(*pair, key);
            }
        }
        let last = _mm256_broadcastsi128_si256(*last);
        for pair in &mut stream {
            *pair = _mm256_aesenclast_epi128(*pair, last);
        }
        stream
    }

    /// Takes the text in `record` to the other side, sealed or open, and gives the tag. What lies in the room of the tag is
    /// lost.
    #[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq")]
    fn cross<const SEAL: bool>(&self, nonce: [u8; NONCE], data: __m128i, data_len: usize, record: &mut [u8]) -> __m128i {
        let text_len = record.len().saturating_sub(TAG);
        let lengths = _mm_set_epi64x(data_len as i64 * 8, text_len as i64 * 8);
        let [a, b, c, d, tail @ ..] = nonce;
        let (head, tail) = (u32::from_be_bytes([a, b, c, d]), u64::from_be_bytes(tail));
        let counter = |number: u32| _mm_set_epi64x((u64::from(head) << 32 | tail >> 32) as i64, (tail << 32 | u64::from(number)) as i64);
        let mask = self.encrypted(turned(counter(1)));
        let mut counters = _mm256_set_m128i(counter(3), counter(2));
        // A block of zeros adds nothing: no additional data need no other way.
        let mut hash = product(turned(data), self.powers[POWERS - 1]);

        let (groups, rest) = record.split_at_mut(text_len.saturating_sub(1) / GROUP_BYTES * GROUP_BYTES);
        for group in groups.as_chunks_mut::<GROUP_BYTES>().0 {
            let stream = self.key_stream(counters);
            counters = _mm256_add_epi32(counters, _mm256_set_epi32(0, 0, 0, GROUP as i32, 0, 0, 0, GROUP as i32));
            let powers = self.powers[POWERS - GROUP..].as_chunks::<2>().0;
            let mut sum = Products::new();
            let mut before = alone(hash);
            for ((pair, stream), power) in group.as_chunks_mut::<PAIR>().0.iter_mut().zip(stream).zip(powers) {
                let sealed = cross_pair::<SEAL>(pair, stream);
                sum.add(_mm256_xor_si256(turned_pair(sealed), before), _mm256_set_m128i(power[1], power[0]));
                before = _mm256_setzero_si256();
            }
            hash = sum.reduced();
        }

        // What is left is a group at most: pairs, perhaps a block, perhaps a part of one. Behind it stand the lengths.
        let left = rest.len().saturating_sub(TAG);
        let (pairs, rest) = rest.split_at_mut(left / PAIR * PAIR);
        let mut stream = [0; GROUP_BYTES];
        for (bytes, pair) in stream.as_chunks_mut::<PAIR>().0.iter_mut().zip(self.key_stream(counters)) {
            store_pair(bytes, pair);
        }
        let (pairs_stream, stream) = stream.split_at(pairs.len());
        let (pairs_powers, powers) = self.powers[GROUP.saturating_sub(left.div_ceil(BLOCK))..].split_at(pairs.len() / BLOCK);
        let mut sum = Products::new();
        let mut before = alone(hash);
        let pairs = pairs.as_chunks_mut::<PAIR>().0.iter_mut();
        for ((pair, stream), power) in pairs.zip(pairs_stream.as_chunks::<PAIR>().0).zip(pairs_powers.as_chunks::<2>().0) {
            let sealed = cross_pair::<SEAL>(pair, load_pair(stream));
            sum.add(_mm256_xor_si256(turned_pair(sealed), before), _mm256_set_m128i(power[1], power[0]));
            before = _mm256_setzero_si256();
        }
        let (block, part) = rest.split_at_mut(left % PAIR / BLOCK * BLOCK);
        let (block_stream, stream) = stream.split_at(block.len());
        let (block_powers, powers) = powers.split_at(block.len() / BLOCK);
        if let (Some(block), Some(stream), [power]) = (block.first_chunk_mut(), block_stream.first_chunk(), block_powers) {
            let sealed = cross_block::<SEAL>(block, load(stream), _mm_set1_epi8(-1));
            sum.add(_mm256_xor_si256(alone(turned(sealed)), before), alone(*power));
            before = _mm256_setzero_si256();
        }
        if let (Some(part), Some(stream), [power, last]) = (part.first_chunk_mut(), stream.first_chunk(), powers) {
            let sealed = cross_block::<SEAL>(part, load(stream), first_bytes(left % BLOCK));
            sum.add(_mm256_xor_si256(_mm256_set_m128i(lengths, turned(sealed)), before), _mm256_set_m128i(*last, *power));
        } else {
            sum.add(_mm256_xor_si256(alone(lengths), before), alone(self.powers[POWERS - 1]));
        }
        _mm_xor_si128(turned(sum.reduced()), mask)
    }
}

/// What the hash is reduced with: x^127 + x^126 + x^121, of the upper half.
const REDUCTION: i64 = 0xc2 << 56;

/// Sums of products of blocks, in halves: low by low, crosswise, high by high.
struct Products {
    low: __m256i,
    cross: __m256i,
    high: __m256i,
}

impl Products {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new() -> Products {
        let zero = _mm256_setzero_si256();
        Products { low: zero, cross: zero, high: zero }
    }

    /// Adds the products of two blocks with two powers.
    #[inline]
    #[target_feature(enable = "avx2,pclmulqdq,vpclmulqdq")]
    fn add(&mut self, blocks: __m256i, powers: __m256i) {
        let cross = _mm256_xor_si256(_mm256_clmulepi64_epi128::<0x01>(blocks, powers), _mm256_clmulepi64_epi128::<0x10>(blocks, powers));
        self.low = _mm256_xor_si256(self.low, _mm256_clmulepi64_epi128::<0x00>(blocks, powers));
        self.cross = _mm256_xor_si256(self.cross, cross);
        self.high = _mm256_xor_si256(self.high, _mm256_clmulepi64_epi128::<0x11>(blocks, powers));
    }

    /// The sum of both halves of the vectors, reduced.
    #[inline]
    #[target_feature(enable = "avx2,pclmulqdq,vpclmulqdq")]
    fn reduced(self) -> __m128i {
        reduced(both(self.low), both(self.cross), both(self.high))
    }
}

/// The sum of the two blocks of a vector.
#[inline]
#[target_feature(enable = "avx2")]
fn both(pair: __m256i) -> __m128i {
    _mm_xor_si128(_mm256_castsi256_si128(pair), _mm256_extracti128_si256::<1>(pair))
}

/// A vector of a block and of none.
#[inline]
#[target_feature(enable = "avx2")]
fn alone(block: __m128i) -> __m256i {
    _mm256_zextsi128_si256(block)
}

/// The product of two blocks.
#[inline]
#[target_feature(enable = "avx2,pclmulqdq")]
fn product(a: __m128i, b: __m128i) -> __m128i {
    let cross = _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b));
    reduced(_mm_clmulepi64_si128::<0x00>(a, b), cross, _mm_clmulepi64_si128::<0x11>(a, b))
}

/// A product of 256 bits, in its three parts, times x^-128: each step folds the lowest 64 bits into what is above them.
#[inline]
#[target_feature(enable = "avx2,pclmulqdq")]
fn reduced(low: __m128i, cross: __m128i, high: __m128i) -> __m128i {
    let fold = |part: __m128i| {
        let reduction = _mm_clmulepi64_si128::<0x00>(part, _mm_set_epi64x(0, REDUCTION));
        _mm_xor_si128(_mm_shuffle_epi32::<0b01_00_11_10>(part), reduction)
    };
    let cross = _mm_xor_si128(cross, fold(low));
    _mm_xor_si128(high, fold(cross))
}

/// A block with its bytes the other way round.
#[inline]
#[target_feature(enable = "avx2")]
fn turned(block: __m128i) -> __m128i {
    _mm_shuffle_epi8(block, _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f))
}

/// Both blocks with their bytes the other way round.
#[inline]
#[target_feature(enable = "avx2")]
fn turned_pair(pair: __m256i) -> __m256i {
    let order = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    _mm256_shuffle_epi8(pair, _mm256_broadcastsi128_si256(order))
}

/// Takes two blocks of text to the other side; gives them sealed.
#[inline]
#[target_feature(enable = "avx2")]
fn cross_pair<const SEAL: bool>(text: &mut [u8; PAIR], stream: __m256i) -> __m256i {
    let before = load_pair(text);
    let after = _mm256_xor_si256(before, stream);
    store_pair(text, after);
    if SEAL { after } else { before }
}

/// Takes a block to the other side, and makes zeros of what is not of it; gives it sealed.
#[inline]
#[target_feature(enable = "avx2")]
fn cross_block<const SEAL: bool>(text: &mut [u8; BLOCK], stream: __m128i, of_it: __m128i) -> __m128i {
    let before = _mm_and_si128(load(text), of_it);
    let after = _mm_and_si128(_mm_xor_si128(before, stream), of_it);
    store(text, after);
    if SEAL { after } else { before }
}

/// A mask of the first bytes of a block.
#[inline]
#[target_feature(enable = "avx2")]
fn first_bytes(count: usize) -> __m128i {
    let places = _mm_set_epi64x(0x0f0e_0d0c_0b0a_0908, 0x0706_0504_0302_0100);
    _mm_cmpgt_epi8(_mm_set1_epi8(count as i8), places)
}

/// Both are the same; found without looking at one byte before the others.
#[inline]
#[target_feature(enable = "avx2")]
fn equal(a: __m128i, b: __m128i) -> bool {
    let difference = _mm_xor_si128(a, b);
    _mm_testz_si128(difference, difference) == 1
}

/// Additional data as a block of the hash.
#[inline]
fn block_of<const DATA: usize>(data: [u8; DATA]) -> __m128i {
    const { assert!(DATA <= BLOCK, "additional data are a block at most") }
    let mut block = [0; BLOCK];
    block[..DATA].copy_from_slice(&data);
    load(&block)
}

#[inline]
fn load(bytes: &[u8; BLOCK]) -> __m128i {
    // SAFETY: as many bytes as are read, wherever they lie; every x86-64 has the instruction.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
fn store(bytes: &mut [u8; BLOCK], block: __m128i) {
    // SAFETY: as many bytes as are written, wherever they lie; every x86-64 has the instruction.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), block) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_pair(bytes: &[u8; PAIR]) -> __m256i {
    // SAFETY: as many bytes as are read, wherever they lie.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_pair(bytes: &mut [u8; PAIR], pair: __m256i) {
    // SAFETY: as many bytes as are written, wherever they lie.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), pair) }
}

/// The round keys of a key of 128 bits (FIPS 197 section 5.2).
#[inline(never)]
#[target_feature(enable = "aes,avx2")]
fn expand_128(key: __m128i) -> [__m128i; 11] {
    let mut keys = [key; 11];
    keys[1] = round_key::<0x01>(keys[0], keys[0]);
    keys[2] = round_key::<0x02>(keys[1], keys[1]);
    keys[3] = round_key::<0x04>(keys[2], keys[2]);
    keys[4] = round_key::<0x08>(keys[3], keys[3]);
    keys[5] = round_key::<0x10>(keys[4], keys[4]);
    keys[6] = round_key::<0x20>(keys[5], keys[5]);
    keys[7] = round_key::<0x40>(keys[6], keys[6]);
    keys[8] = round_key::<0x80>(keys[7], keys[7]);
    keys[9] = round_key::<0x1b>(keys[8], keys[8]);
    keys[10] = round_key::<0x36>(keys[9], keys[9]);
    keys
}

/// The round keys of a key of 256 bits (FIPS 197 section 5.2).
#[inline(never)]
#[target_feature(enable = "aes,avx2")]
fn expand_256(first: __m128i, second: __m128i) -> [__m128i; 15] {
    let mut keys = [first; 15];
    keys[1] = second;
    keys[2] = round_key::<0x01>(keys[0], keys[1]);
    keys[3] = round_key_between(keys[1], keys[2]);
    keys[4] = round_key::<0x02>(keys[2], keys[3]);
    keys[5] = round_key_between(keys[3], keys[4]);
    keys[6] = round_key::<0x04>(keys[4], keys[5]);
    keys[7] = round_key_between(keys[5], keys[6]);
    keys[8] = round_key::<0x08>(keys[6], keys[7]);
    keys[9] = round_key_between(keys[7], keys[8]);
    keys[10] = round_key::<0x10>(keys[8], keys[9]);
    keys[11] = round_key_between(keys[9], keys[10]);
    keys[12] = round_key::<0x20>(keys[10], keys[11]);
    keys[13] = round_key_between(keys[11], keys[12]);
    keys[14] = round_key::<0x40>(keys[12], keys[13]);
    keys
}

/// A round key, of the one that lies a key's length before it and the one just before it.
#[inline]
#[target_feature(enable = "aes,avx2")]
fn round_key<const CONSTANT: i32>(far: __m128i, near: __m128i) -> __m128i {
    let word = _mm_shuffle_epi32::<0b11_11_11_11>(_mm_aeskeygenassist_si128::<CONSTANT>(near));
    _mm_xor_si128(summed(far), word)
}

/// Every second round key of 256 bits: without rotation and constant.
#[inline]
#[target_feature(enable = "aes,avx2")]
fn round_key_between(far: __m128i, near: __m128i) -> __m128i {
    let word = _mm_shuffle_epi32::<0b10_10_10_10>(_mm_aeskeygenassist_si128::<0>(near));
    _mm_xor_si128(summed(far), word)
}

/// Each word and those before it, summed.
#[inline]
#[target_feature(enable = "avx2")]
fn summed(key: __m128i) -> __m128i {
    let key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    _mm_xor_si128(key, _mm_slli_si128::<8>(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal")).collect()
    }

    fn key_128(key: &[u8; 16]) -> Option<Aes128Gcm> {
        here(Aes128Gcm::new(key))
    }

    fn key_256(key: &[u8; 32]) -> Option<Aes256Gcm> {
        here(Aes256Gcm::new(key))
    }

    /// On a processor without the instructions there is no key, and this is all that can be said there.
    fn here<T>(key: Option<T>) -> Option<T> {
        assert_eq!(key.is_some(), is_available());
        if key.is_none() {
            eprintln!("this processor has no VAES: ring is used instead of what is tested here");
        }
        key
    }

    /// Test vectors of McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, those without additional data:
    /// number, key, nonce, text, sealed text, tag.
    const VECTORS: [(u8, &str, &str, &str, &str, &str); 6] = [
        (1, "00000000000000000000000000000000", "000000000000000000000000", "", "", "58e2fccefa7e3061367f1d57a4e7455a"),
        (
            2,
            "00000000000000000000000000000000",
            "000000000000000000000000",
            "00000000000000000000000000000000",
            "0388dace60b6a392f328c2b971b2fe78",
            "ab6e47d42cec13bdf53a67b21257bddf",
        ),
        (
            3,
            "feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            concat!(
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
                "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
            ),
            concat!(
                "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e",
                "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985"
            ),
            "4d5c2af327cd64a62cf35abd2ba6fab4",
        ),
        (
            13,
            "0000000000000000000000000000000000000000000000000000000000000000",
            "000000000000000000000000",
            "",
            "",
            "530f8afbc74536b9a963b4f1c4cb738b",
        ),
        (
            14,
            "0000000000000000000000000000000000000000000000000000000000000000",
            "000000000000000000000000",
            "00000000000000000000000000000000",
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        ),
        (
            15,
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            concat!(
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
                "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
            ),
            concat!(
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa",
                "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
            ),
            "b094dac5d93471bdec1a502270e3cc6c",
        ),
    ];

    /// Seals a text and opens it again.
    fn check<const ROUND_KEYS: usize>(key: &AesGcm<ROUND_KEYS>, nonce: [u8; NONCE], text: &[u8], sealed: &[u8]) {
        let mut record = [text, &[0; TAG]].concat();
        key.seal(nonce, [], &mut record).expect("there is room for a tag");
        assert_eq!(record, sealed);
        key.open(nonce, [], &mut record).expect("the tag is right");
        assert_eq!(record[..text.len()], *text);
    }

    #[test]
    fn the_vectors_of_the_specification_hold() {
        for (number, key, nonce, text, sealed, tag) in VECTORS {
            println!("test case {number}");
            let (key, text, sealed) = (bytes(key), bytes(text), [bytes(sealed), bytes(tag)].concat());
            let nonce = bytes(nonce).try_into().expect("12 bytes");
            match key.as_slice().try_into() {
                Ok(key) => key_128(key).iter().for_each(|key| check(key, nonce, &text, &sealed)),
                Err(_) => key_256(key.as_slice().try_into().expect("32 bytes")).iter().for_each(|key| check(key, nonce, &text, &sealed)),
            }
        }
    }

    /// A key of ours and the same of ring.
    struct Twins<const ROUND_KEYS: usize> {
        ours: AesGcm<ROUND_KEYS>,
        ring: LessSafeKey,
    }

    impl<const ROUND_KEYS: usize> Twins<ROUND_KEYS> {
        fn agree<const DATA: usize>(&self, nonce: [u8; NONCE], data: [u8; DATA], text: &[u8]) {
            // Neither what lies before a record nor what lies behind it is touched.
            let mut place = [vec![0xa5; 64], text.to_vec(), vec![0x5a; TAG], vec![0xa5; 64]].concat();
            let range = 64..64 + text.len() + TAG;
            self.ours.seal(nonce, data, &mut place[range.clone()]).expect("there is room for a tag");
            let mut sealed = text.to_vec();
            let tag = self.ring.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(data), &mut sealed);
            sealed.extend_from_slice(tag.expect("ring seals").as_ref());
            assert_eq!(place[range.clone()], sealed, "{} bytes, {DATA} of additional data", text.len());
            self.ours.open(nonce, data, &mut place[range.clone()]).expect("the tag is right");
            assert_eq!(place[64..64 + text.len()], *text, "{} bytes opened", text.len());
            assert_eq!(place[..64], [0xa5; 64], "before a record of {} bytes", text.len());
            assert_eq!(place[range.end..], [0xa5; 64], "behind a record of {} bytes", text.len());
        }

        fn agree_on_all_lengths(&self) {
            let mut state = 1_u64;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            };
            for length in (0..=1_600).chain([4_096, 16_383, 16_384, 16_385, 16_640]) {
                let text: Vec<u8> = (0..length).map(|_| next()).collect();
                let nonce: [u8; NONCE] = std::array::from_fn(|_| next());
                self.agree(nonce, std::array::from_fn::<_, 5, _>(|_| next()), &text);
                self.agree(nonce, std::array::from_fn::<_, 13, _>(|_| next()), &text);
                self.agree(nonce, std::array::from_fn::<_, 16, _>(|_| next()), &text);
                self.agree(nonce, [], &text);
            }
        }
    }

    fn twins_128(key: [u8; 16]) -> Option<Twins<11>> {
        let ring = UnboundKey::new(&AES_128_GCM, &key).map(LessSafeKey::new).expect("as long as it must be");
        Some(Twins { ours: key_128(&key)?, ring })
    }

    fn twins_256(key: [u8; 32]) -> Option<Twins<15>> {
        let ring = UnboundKey::new(&AES_256_GCM, &key).map(LessSafeKey::new).expect("as long as it must be");
        Some(Twins { ours: key_256(&key)?, ring })
    }

    #[test]
    fn seals_and_opens_as_ring_does() {
        for fill in [0x00, 0x01, 0x5e, 0xff] {
            twins_128([fill; 16]).iter().for_each(Twins::agree_on_all_lengths);
            twins_256([fill; 32]).iter().for_each(Twins::agree_on_all_lengths);
        }
        // Hash keys with and without a highest bit: what falls out when they are doubled comes in again.
        for number in 0..64_u8 {
            let (nonce, data, text) = ([number; NONCE], [number; 5], [number; 300]);
            twins_128(std::array::from_fn(|at| number ^ at as u8)).iter().for_each(|twins| twins.agree(nonce, data, &text));
            twins_256(std::array::from_fn(|at| number ^ at as u8)).iter().for_each(|twins| twins.agree(nonce, data, &text));
        }
    }

    #[test]
    fn whatever_bit_is_changed_nothing_is_opened() {
        if let (Some(key), Some(other)) = (key_128(&[7; 16]), key_128(&[8; 16])) {
            no_flipped_bit_is_opened(&key, &other);
        }
        if let (Some(key), Some(other)) = (key_256(&[7; 32]), key_256(&[8; 32])) {
            no_flipped_bit_is_opened(&key, &other);
        }
    }

    fn no_flipped_bit_is_opened<const ROUND_KEYS: usize>(key: &AesGcm<ROUND_KEYS>, other_key: &AesGcm<ROUND_KEYS>) {
        let (nonce, data) = ([3; NONCE], [23, 3, 3, 0, 99]);
        for length in [0, 1, 15, 16, 17, 31, 32, 33, 100, 127, 128, 129, 145, 300] {
            let mut sealed = vec![9; length + TAG];
            key.seal(nonce, data, &mut sealed).expect("there is room for a tag");
            for bit in 0..sealed.len() * 8 {
                let mut record = sealed.clone();
                record[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(key.open(nonce, data, &mut record), Err(NotAuthentic), "{length} bytes, bit {bit}");
                assert!(record.iter().all(|byte| *byte == 0), "{length} bytes: what is not authentic is there to be read");
            }
            for bit in 0..NONCE * 8 {
                let mut other = nonce;
                other[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(key.open(other, data, &mut sealed.clone()), Err(NotAuthentic), "{length} bytes, bit {bit} of the nonce");
            }
            for bit in 0..data.len() * 8 {
                let mut other = data;
                other[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(key.open(nonce, other, &mut sealed.clone()), Err(NotAuthentic), "{length} bytes, bit {bit} of the data");
            }
            assert_eq!(key.open(nonce, data, &mut sealed[..length + TAG - 1].to_vec()), Err(NotAuthentic), "{length} bytes, cut short");
            assert_eq!(other_key.open(nonce, data, &mut sealed.clone()), Err(NotAuthentic), "{length} bytes, another key");
        }
        for length in 0..TAG {
            assert_eq!(key.open(nonce, data, &mut vec![0; length]), Err(NotAuthentic), "{length} bytes are less than a tag");
            assert_eq!(key.seal(nonce, data, &mut vec![0; length]), Err(NotAuthentic), "{length} bytes are no room for a tag");
        }
    }
}
