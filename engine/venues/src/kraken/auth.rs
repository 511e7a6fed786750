//! Signatures of private REST calls: `API-Sign`.
//!
//! `base64( HMAC-SHA512( key = base64-decoded secret, path ‖ SHA-256( nonce ‖ body ) ) )`, where the body is the very
//! bytes sent and holds the nonce too. The WebSocket needs no signature: it takes a token that such a call fetched.

use crate::venue::Credentials;
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Why credentials cannot sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuthError {
    /// The secret is not base64 text.
    #[error("the secret is not base64 text: give it as the venue showed it")]
    Secret,
    /// There is no secret.
    #[error("credentials hold no secret")]
    Empty,
    /// The key's name cannot stand in a header.
    #[error("the API key is empty, longer than 256, or holds characters that no key has")]
    ApiKey,
}

/// Signs calls with an account's key.
pub struct Signer {
    api_key: String,
    key: hmac::Key,
}

impl Signer {
    /// From the account's key and secret.
    pub fn new(credentials: &Credentials) -> Result<Signer, AuthError> {
        let api_key = credentials.api_key.as_bytes();
        if api_key.is_empty() || api_key.len() > 256 || !api_key.iter().all(u8::is_ascii_graphic) {
            return Err(AuthError::ApiKey);
        }
        if credentials.secret.is_empty() {
            return Err(AuthError::Empty);
        }
        let secret = STANDARD.decode(credentials.secret.as_bytes()).map(Zeroizing::new).map_err(|_| AuthError::Secret)?;
        Ok(Signer { api_key: credentials.api_key.clone(), key: hmac::Key::new(hmac::HMAC_SHA512, &secret) })
    }

    /// The key's public name.
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// The signature of a call.
    pub fn sign(&self, path: &str, nonce: &str, body: &[u8]) -> String {
        let mut inner = digest::Context::new(&digest::SHA256);
        inner.update(nonce.as_bytes());
        inner.update(body);
        let mut outer = hmac::Context::with_key(&self.key);
        outer.update(path.as_bytes());
        outer.update(inner.finish().as_ref());
        STANDARD.encode(outer.sign())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Test vectors: a secret made for this purpose, of no account.
    const SECRET: &str = "ZW5naW5lLXVuaXQtdGVzdC1zZWNyZXQta3Jha2VuLXNwb3QtNjQtYnl0ZXMtbG9uZy0wMTIzNDU2Nzg5YWJjZA==";
    const NONCE: &str = "1767225600123456";

    fn credentials(api_key: &str, secret: &str) -> Credentials {
        Credentials { api_key: api_key.into(), secret: secret.to_owned().into(), ed25519_seed: None }
    }

    #[test]
    fn signature_vectors() {
        let signer = Signer::new(&credentials("key", SECRET)).unwrap();
        for (path, body, signature) in [
            (
                "/0/private/GetWebSocketsToken",
                "nonce=1767225600123456",
                "TY2KnMblbGguQIxb2oow7wAiSPPBjUOTCcpSiE2xho1yBFShcmUiYm+Fg65JOqXq8ow6Wzqchze7lg1A3i7Giw==",
            ),
            (
                "/0/private/AddOrder",
                "nonce=1767225600123456&ordertype=limit&type=buy&volume=0.0125&pair=XBTUSD&price=61250.5&timeinforce=GTC\
                 &oflags=post&cl_ord_id=6d1b345e-2821-40e2-ad83-4ecb18a06876",
                "a+nV9mdXBLri47ZvIs4g8mwcyjRaFeNL0nYmjPyYtfgZ3hfN3THjiXuUt7EcjHwbDIOa/30cn3y/DZ8IBN0SWg==",
            ),
            (
                "/0/private/CancelOrderBatch",
                r#"{"nonce":"1767225600123456","orders":["OAAAAA-BBBBB-CCCCCC","ODDDDD-EEEEE-FFFFFF"]}"#,
                "7jIoqXZarPHMssP0Xu1WikdjqVtf/ss7Y0uHqU/PPWhmT8Sjxawi/EFQulMPJY5i5YyhzDwIWFIjBVCGmrUaOA==",
            ),
        ] {
            assert_eq!(signer.sign(path, NONCE, body.as_bytes()), signature, "{path}");
        }
    }

    #[test]
    fn credentials_that_cannot_sign_are_refused() {
        for (api_key, secret, why) in [
            ("", SECRET, AuthError::ApiKey),
            ("two words", SECRET, AuthError::ApiKey),
            ("key", "", AuthError::Empty),
            ("key", "not base64!", AuthError::Secret),
        ] {
            assert_eq!(Signer::new(&credentials(api_key, secret)).err(), Some(why));
        }
    }
}
