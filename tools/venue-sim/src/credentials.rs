//! Keys: making them, and checking what is signed with them.
//!
//! The venues' signature recipes live in their folders; here are the primitives and the random test
//! credentials that a caller hands to both the simulator and its client.

use aws_lc_rs::rand::SecureRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use aws_lc_rs::{digest, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::SimError;

/// How requests under an API key are signed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// HMAC with this secret (Binance: its ASCII bytes; Kraken: base64 of the key).
    Hmac(String),
    /// Ed25519 with this public key.
    Ed25519([u8; 32]),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Secret::Hmac(_) => f.write_str("Hmac(..)"),
            Secret::Ed25519(_) => f.write_str("Ed25519(..)"),
        }
    }
}

/// An API key as the venue keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The key that names the account.
    pub key: String,
    /// How its requests are signed.
    pub secret: Secret,
}

/// Fresh credentials for one Binance account: an HMAC key and an Ed25519 key.
#[derive(Clone)]
pub struct BinanceCredentials {
    /// API key whose requests are signed with HMAC.
    pub hmac_key: String,
    /// Its secret.
    pub hmac_secret: String,
    /// API key whose requests are signed with Ed25519.
    pub ed25519_key: String,
    /// Its private seed.
    pub ed25519_seed: [u8; 32],
    /// Its public key.
    pub ed25519_public: [u8; 32],
}

/// Fresh credentials for one Kraken account.
#[derive(Clone)]
pub struct KrakenCredentials {
    /// API key.
    pub key: String,
    /// Secret, base64.
    pub secret: String,
}

fn random_bytes<const N: usize>() -> Result<[u8; N], SimError> {
    let mut bytes = [0u8; N];
    rand::SystemRandom::new().fill(&mut bytes).map_err(|_| SimError::Random)?;
    Ok(bytes)
}

fn random_alphanumeric<const N: usize>() -> Result<String, SimError> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789AZ";
    Ok(random_bytes::<N>()?.iter().map(|byte| char::from(LETTERS[usize::from(byte & 63)])).collect())
}

impl BinanceCredentials {
    /// Random credentials.
    pub fn generate() -> Result<BinanceCredentials, SimError> {
        let seed = random_bytes::<32>()?;
        Ok(BinanceCredentials {
            hmac_key: random_alphanumeric::<64>()?,
            hmac_secret: random_alphanumeric::<64>()?,
            ed25519_key: random_alphanumeric::<64>()?,
            ed25519_public: ed25519_public(&seed)?,
            ed25519_seed: seed,
        })
    }

    /// Both keys as the venue keeps them.
    pub fn api_keys(&self) -> Vec<ApiKey> {
        vec![
            ApiKey { key: self.hmac_key.clone(), secret: Secret::Hmac(self.hmac_secret.clone()) },
            ApiKey { key: self.ed25519_key.clone(), secret: Secret::Ed25519(self.ed25519_public) },
        ]
    }

    /// The Ed25519 private key as a PKCS#8 PEM file, which is how clients usually take it.
    pub fn ed25519_pem(&self) -> String {
        // RFC 8410: version 0, algorithm 1.3.101.112, the seed as an octet string in an octet string.
        let mut der = vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        der.extend_from_slice(&self.ed25519_seed);
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(der))
    }
}

impl KrakenCredentials {
    /// Random credentials.
    pub fn generate() -> Result<KrakenCredentials, SimError> {
        Ok(KrakenCredentials { key: random_alphanumeric::<56>()?, secret: BASE64.encode(random_bytes::<64>()?) })
    }

    /// The key as the venue keeps it.
    pub fn api_keys(&self) -> Vec<ApiKey> {
        vec![ApiKey { key: self.key.clone(), secret: Secret::Hmac(self.secret.clone()) }]
    }
}

impl std::fmt::Debug for BinanceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BinanceCredentials(..)")
    }
}

impl std::fmt::Debug for KrakenCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KrakenCredentials(..)")
    }
}

/// The public key of an Ed25519 seed.
pub fn ed25519_public(seed: &[u8; 32]) -> Result<[u8; 32], SimError> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SimError::Key)?;
    pair.public_key().as_ref().try_into().map_err(|_| SimError::Key)
}

/// Signs with an Ed25519 seed, base64 out.
pub fn ed25519_sign(seed: &[u8; 32], payload: &[u8]) -> Result<String, SimError> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SimError::Key)?;
    Ok(BASE64.encode(pair.sign(payload)))
}

/// Checks a base64 Ed25519 signature.
pub fn ed25519_verify(public: &[u8; 32], payload: &[u8], signature: &str) -> bool {
    let Ok(signature) = BASE64.decode(signature) else { return false };
    UnparsedPublicKey::new(&ED25519, public).verify(payload, &signature).is_ok()
}

/// HMAC-SHA256, lower-case hex out.
pub fn hmac_sha256_hex(key: &[u8], payload: &[u8]) -> String {
    const_hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), payload))
}

/// Checks a hex HMAC-SHA256 of either case.
pub fn hmac_sha256_verify(key: &[u8], payload: &[u8], signature: &str) -> bool {
    let Ok(tag) = const_hex::decode(signature) else { return false };
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), payload, &tag).is_ok()
}

/// HMAC-SHA512 of `first` followed by SHA-256 of `hashed`: Kraken's REST recipe.
pub fn hmac_sha512_of_sha256(key: &[u8], first: &[u8], hashed: &[u8]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA512, key));
    context.update(first);
    context.update(digest::digest(&digest::SHA256, hashed).as_ref());
    context.sign().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_credentials_sign_and_verify_and_differ() {
        let (one, two) = (BinanceCredentials::generate().expect("random"), BinanceCredentials::generate().expect("random"));
        assert_ne!(one.hmac_key, two.hmac_key);
        assert_eq!((one.hmac_key.len(), one.hmac_secret.len()), (64, 64));
        let signature = ed25519_sign(&one.ed25519_seed, b"payload").expect("key");
        assert!(ed25519_verify(&one.ed25519_public, b"payload", &signature));
        assert!(!ed25519_verify(&one.ed25519_public, b"other", &signature));
        assert!(!ed25519_verify(&two.ed25519_public, b"payload", &signature));
        assert!(!ed25519_verify(&one.ed25519_public, b"payload", "!!"));
        assert!(one.ed25519_pem().contains("PRIVATE KEY"));
        assert!(!format!("{one:?}").contains(&one.hmac_secret));
    }
}
