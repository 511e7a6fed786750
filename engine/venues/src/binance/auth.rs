//! Signatures: HMAC-SHA256 (hex) and Ed25519 (base64), over the payload that each channel defines.
//!
//! | channel | payload |
//! |---|---|
//! | REST | the query string as sent, percent-encoded before signing; `signature` goes last |
//! | WebSocket API | all `params` but `signature`, sorted by name, `k=v` joined by `&`, not encoded |
//!
//! A session log-on (`session.logon`) takes Ed25519 only; with it, later requests carry no signature
//! at all, which is why an Ed25519 key is the one to trade with: an order then costs no cryptography.
//! (The library's Ed25519 allocates 64 bytes for a moment: at each log-on, never for an order.)

use crate::venue::Credentials;
use aws_lc_rs::{hmac, signature};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Length of the longest signature text: 64 bytes in base64.
pub const SIGNATURE_MAX: usize = 88;

/// Why credentials cannot sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuthError {
    /// The Ed25519 seed is not one.
    #[error("the Ed25519 seed was refused: it must be 32 bytes of key material")]
    Seed,
    /// Neither a secret nor a seed.
    #[error("credentials hold neither an HMAC secret nor an Ed25519 seed")]
    Empty,
    /// The key's name cannot stand in a request.
    #[error("the API key holds characters other than letters and digits, or is longer than 128")]
    ApiKey,
}

enum Scheme {
    Hmac(Box<hmac::Key>),
    Ed25519(Box<signature::Ed25519KeyPair>),
}

/// Signs payloads with an account's key.
pub struct Signer {
    scheme: Scheme,
}

impl Signer {
    /// HMAC-SHA256; the key is the secret's text as it is.
    pub fn hmac(secret: &str) -> Signer {
        Signer { scheme: Scheme::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))) }
    }

    /// Ed25519 from its 32-byte seed.
    pub fn ed25519(seed: &[u8; 32]) -> Result<Signer, AuthError> {
        let pair = signature::Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| AuthError::Seed)?;
        Ok(Signer { scheme: Scheme::Ed25519(Box::new(pair)) })
    }

    /// The better key of the two that credentials may hold.
    pub fn from_credentials(credentials: &Credentials) -> Result<Signer, AuthError> {
        let key = credentials.api_key.as_bytes();
        if key.is_empty() || key.len() > 128 || !key.iter().all(u8::is_ascii_alphanumeric) {
            return Err(AuthError::ApiKey);
        }
        match &credentials.ed25519_seed {
            Some(seed) => Signer::ed25519(seed),
            None if credentials.secret.is_empty() => Err(AuthError::Empty),
            None => Ok(Signer::hmac(&credentials.secret)),
        }
    }

    /// True if the key can log a session on.
    pub const fn can_log_on(&self) -> bool {
        matches!(self.scheme, Scheme::Ed25519(_))
    }

    /// Signs `payload` and writes the signature's text; returns its length, `None` if the library fails.
    #[inline]
    pub fn sign(&self, payload: &[u8], out: &mut [u8; SIGNATURE_MAX]) -> Option<usize> {
        match &self.scheme {
            Scheme::Hmac(key) => {
                let tag = hmac::sign(key, payload);
                let text = out.get_mut(..tag.as_ref().len() * 2)?;
                const_hex::encode_to_slice(tag.as_ref(), text).ok()?;
                Some(text.len())
            }
            Scheme::Ed25519(pair) => {
                let signature = pair.try_sign(payload).ok()?;
                STANDARD.encode_slice(signature.as_ref(), out).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Test vectors: keys made for this purpose, of no account.
    const HMAC_KEY: &str = "k7Qm2ZrT0aVb9XyLd3Nf6Hs1PwCe8UjGo5iRtB4xKqYvMzA2nDlWgEhFpSuJc0Tr";
    const HMAC_SECRET: &str = "s3CrEtZ9aB1xQ7wLmN0pV4kT8hR2yUfJ6gDeHc5iXoYnMzKbWvAqPtEuSrGjLd1F";
    const ED_SEED: &str = "6fc68307de88f50352be00e419edcfaec045f3e77eb3eb3a8f3ae6b43de95085";
    const ED_KEY: &str = "e5VbXnQ0mTz7YdLw3RkUs9HjPc1GaFo6iBtM8xKqZvNyA4nDlWgEhCpSuJr2TfQo";
    const REST_PAYLOAD: &str = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.00150000&price=68250.10\
        &newClientOrderId=eng-7f3a_01&recvWindow=2000&timestamp=1767225600123";

    fn sign(signer: &Signer, payload: &str) -> String {
        let mut out = [0; SIGNATURE_MAX];
        let len = signer.sign(payload.as_bytes(), &mut out).unwrap();
        String::from_utf8(out[..len].to_vec()).unwrap()
    }

    #[test]
    fn hmac_vectors() {
        let signer = Signer::hmac(HMAC_SECRET);
        assert_eq!(sign(&signer, REST_PAYLOAD), "ea1c1e9385753cbb102c2e13e483489d9042306b93eecb648ef270ecf9bff384");
        let ws = format!(
            "apiKey={HMAC_KEY}&newClientOrderId=eng-7f3a_01&newOrderRespType=ACK&price=68250.10&quantity=0.00150000\
             &recvWindow=2000&side=BUY&symbol=BTCUSDT&timeInForce=GTC&timestamp=1767225600123&type=LIMIT"
        );
        assert_eq!(sign(&signer, &ws), "9b4f941eadd5a065f6fdf73bf98ad0686e33557c9056ac226298fbf58648ecdd");
        assert!(!signer.can_log_on());
    }

    #[test]
    fn ed25519_vectors() {
        let mut seed = [0; 32];
        const_hex::decode_to_slice(ED_SEED, &mut seed).unwrap();
        let signer = Signer::ed25519(&seed).unwrap();
        assert_eq!(sign(&signer, REST_PAYLOAD), "ve73YlwLXIFmPGByCxBWl88Qc7QxEPbL5p+zRdMwnjgEU6lUfOKpGs8XxonB6w7zapoWcSC8OOJSjCWkSfEADA==");
        assert_eq!(
            sign(&signer, &format!("apiKey={ED_KEY}&timestamp=1767225600123")),
            "XytGkCk3elH+J4FMllL40z+ABuF2IcuWqthHT6Yq2mBQ9wEvCiaC5lzMAlV0gSh1BTZofF5/gLTkUy+JEIdlBg=="
        );
        let fix = "A\u{1}ENG01\u{1}SPOT\u{1}1\u{1}20260101-00:00:00.123";
        assert_eq!(sign(&signer, fix), "uOxlKALCdreGEHChrapE5ccVoyElNPYoNmEZImXWjYC6aUL5TOYjaUzQpsYxjpDD6A/U1cOMTJImeSQMijKZAw==");
        assert!(signer.can_log_on());
    }

    #[test]
    fn credentials_without_a_key_are_refused() {
        let mut credentials = Credentials { api_key: HMAC_KEY.into(), secret: String::new().into(), ed25519_seed: None };
        assert_eq!(Signer::from_credentials(&credentials).err(), Some(AuthError::Empty));
        credentials.secret = HMAC_SECRET.to_owned().into();
        assert!(Signer::from_credentials(&credentials).is_ok());
        credentials.api_key = "key\",\"x\":\"".into();
        assert_eq!(Signer::from_credentials(&credentials).err(), Some(AuthError::ApiKey));
    }
}
