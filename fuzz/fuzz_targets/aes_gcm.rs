//! AES-GCM beside aws-lc's: the same records, and the same verdict on records that were damaged. The first byte chooses key
//! length and additional data, the next ones nonce, key and damage; the rest is text.
#![no_main]

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use libfuzzer_sys::fuzz_target;
use netstack::tls::aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm, NONCE, TAG};

/// Places that are not the record's, and what lies there.
const AROUND: usize = 48;
const UNTOUCHED: u8 = 0xa5;

fn compare<const ROUND_KEYS: usize, const DATA: usize>(
    ours: &AesGcm<ROUND_KEYS>,
    theirs: &LessSafeKey,
    nonce: [u8; NONCE],
    data: [u8; DATA],
    text: &[u8],
    damage: (u16, u8),
) {
    let nonce_of_theirs = || Nonce::assume_unique_for_key(nonce);
    let mut sealed = text.to_vec();
    theirs.seal_in_place_append_tag(nonce_of_theirs(), Aad::from(data), &mut sealed).expect("aws-lc seals");
    let mut place = [&[UNTOUCHED; AROUND], text, &[0; TAG], &[UNTOUCHED; AROUND]].concat();
    let range = AROUND..AROUND + text.len() + TAG;
    ours.seal(nonce, data, &mut place[range.clone()]).expect("there is room for a tag");
    assert_eq!(place[range.clone()], sealed);

    let (at, bits) = damage;
    let at = usize::from(at) % sealed.len();
    sealed[at] ^= bits;
    place[range.clone()].copy_from_slice(&sealed);
    let opened = ours.open(nonce, data, &mut place[range.clone()]).is_ok();
    assert_eq!(opened, theirs.open_in_place(nonce_of_theirs(), Aad::from(data), &mut sealed).is_ok());
    assert_eq!(opened, bits == 0);
    match opened {
        true => assert_eq!(place[AROUND..AROUND + text.len()], *text),
        false => assert!(place[range.clone()].iter().all(|byte| *byte == 0), "what is not authentic is there to be read"),
    }
    assert!(place[..AROUND].iter().chain(&place[range.end..]).all(|byte| *byte == UNTOUCHED));
}

fn compare_all<const ROUND_KEYS: usize>(
    ours: Option<AesGcm<ROUND_KEYS>>,
    theirs: UnboundKey,
    [mode, seed @ ..]: [u8; 20],
    text: &[u8],
    damage: (u16, u8),
) {
    // On a processor without the instructions there is nothing to compare.
    let Some(ours) = ours else { return };
    let (theirs, nonce) = (LessSafeKey::new(theirs), std::array::from_fn(|at| seed[at]));
    match mode >> 1 & 3 {
        0 => compare(&ours, &theirs, nonce, [], text, damage),
        1 => compare::<ROUND_KEYS, 5>(&ours, &theirs, nonce, std::array::from_fn(|at| seed[at + 7]), text, damage),
        2 => compare::<ROUND_KEYS, 13>(&ours, &theirs, nonce, std::array::from_fn(|at| seed[at + 5]), text, damage),
        _ => compare::<ROUND_KEYS, 16>(&ours, &theirs, nonce, std::array::from_fn(|at| seed[at + 3]), text, damage),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((head, rest)) = input.split_first_chunk::<20>() else { return };
    let Some((&[key, high, low, bits], text)) = rest.split_first_chunk::<4>() else { return };
    // A short input stands for a long text as well.
    let text = text.repeat(usize::from(head[19] % 4) + 1);
    let damage = (u16::from_be_bytes([high, low]), bits);
    if head[0] & 1 == 0 {
        let key: [u8; 16] = std::array::from_fn(|at| key ^ head[at]);
        compare_all(Aes128Gcm::new(&key), UnboundKey::new(&AES_128_GCM, &key).expect("16 bytes"), *head, &text, damage);
    } else {
        let key: [u8; 32] = std::array::from_fn(|at| key.wrapping_mul(at as u8) ^ head[at % 20]);
        compare_all(Aes256Gcm::new(&key), UnboundKey::new(&AES_256_GCM, &key).expect("32 bytes"), *head, &text, damage);
    }
});
