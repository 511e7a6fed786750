//! Binance signatures and the time window.
//!
//! REST signs the query string followed by the body as sent, without `signature`; the WebSocket API signs
//! all parameters but `signature`, sorted by name, `k=v` joined by `&`, not percent-encoded.

use super::errors::ApiError;
use crate::credentials::{ApiKey, Secret, ed25519_verify, hmac_sha256_verify};
use crate::wire::{Params, percent_decode};

const WINDOW_DEFAULT_MS: u64 = 5_000;
const WINDOW_MAX_MS: u64 = 60_000;
/// Timestamps of this many digits or more are microseconds.
const MICROSECOND_FLOOR: u64 = 100_000_000_000_000;

/// The payload that a REST call signs, and the signature it carries.
pub fn rest_payload(query: &str, body: &str) -> (String, Option<String>) {
    let mut signature = None;
    let mut payload = String::with_capacity(query.len() + body.len());
    for part in [query, body] {
        let kept: Vec<&str> = part
            .split('&')
            .filter(|pair| match pair.strip_prefix("signature=") {
                Some(value) => {
                    signature.get_or_insert_with(|| percent_decode(&value.replace('+', "%2B")));
                    false
                }
                None => !pair.is_empty(),
            })
            .collect();
        payload.push_str(&kept.join("&"));
    }
    (payload, signature)
}

/// The payload that a WebSocket API request signs.
pub fn ws_payload(params: &Params) -> String {
    let pairs: Vec<String> =
        params.iter().filter(|(name, _)| *name != "signature").map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Checks a signature under a key.
pub fn verify(key: &ApiKey, payload: &str, signature: &str) -> Result<(), ApiError> {
    let good = match &key.secret {
        Secret::Hmac(secret) => hmac_sha256_verify(secret.as_bytes(), payload.as_bytes(), signature),
        Secret::Ed25519(public) => ed25519_verify(public, payload.as_bytes(), signature),
    };
    if good { Ok(()) } else { Err(ApiError::signature()) }
}

/// Checks `timestamp` and `recvWindow` against the server's time.
pub fn check_window(now_ns: u64, params: &Params) -> Result<(), ApiError> {
    let timestamp: u64 = params
        .get("timestamp")
        .ok_or_else(|| ApiError::missing("timestamp"))?
        .parse()
        .map_err(|_| ApiError::illegal("timestamp", "^[0-9]{1,20}$"))?;
    let window_ms = match params.get("recvWindow") {
        None => WINDOW_DEFAULT_MS,
        Some(text) => {
            let window =
                crate::decimal::parse_fixed(text, 3).map_err(|_| ApiError::illegal("recvWindow", "^[0-9]{1,5}(\\.[0-9]{1,3})?$"))?;
            u64::try_from(window)
                .ok()
                .map(|us| us / 1_000)
                .filter(|ms| *ms <= WINDOW_MAX_MS)
                .ok_or_else(|| ApiError::new(-1131, "recvWindow must be less than 60000."))?
        }
    };
    let (now_us, at_us) = (now_ns / 1_000, if timestamp >= MICROSECOND_FLOOR { timestamp } else { timestamp.saturating_mul(1_000) });
    if at_us >= now_us + 1_000_000 {
        return Err(ApiError::ahead());
    }
    if now_us.saturating_sub(at_us) > window_ms * 1_000 {
        return Err(ApiError::outside_window());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{ed25519_public, ed25519_sign, hmac_sha256_hex};

    // Published test vectors, not keys of anyone.
    const KEY: &str = "k7Qm2ZrT0aVb9XyLd3Nf6Hs1PwCe8UjGo5iRtB4xKqYvMzA2nDlWgEhFpSuJc0Tr";
    const SECRET: &str = "s3CrEtZ9aB1xQ7wLmN0pV4kT8hR2yUfJ6gDeHc5iXoYnMzKbWvAqPtEuSrGjLd1F";
    const REST: &str = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.00150000&price=68250.10&newClientOrderId=eng-7f3a_01&recvWindow=2000&timestamp=1767225600123";
    const REST_HMAC: &str = "ea1c1e9385753cbb102c2e13e483489d9042306b93eecb648ef270ecf9bff384";
    const SEED: &str = "6fc68307de88f50352be00e419edcfaec045f3e77eb3eb3a8f3ae6b43de95085";
    const ED25519_KEY: &str = "e5VbXnQ0mTz7YdLw3RkUs9HjPc1GaFo6iBtM8xKqZvNyA4nDlWgEhCpSuJr2TfQo";

    fn hmac_key() -> ApiKey {
        ApiKey { key: KEY.into(), secret: Secret::Hmac(SECRET.into()) }
    }

    fn params(pairs: &[(&str, &str)]) -> Params {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn rest_hmac_vector_holds_wherever_the_parameters_are() {
        assert_eq!(hmac_sha256_hex(SECRET.as_bytes(), REST.as_bytes()), REST_HMAC);
        let signed = format!("{REST}&signature={REST_HMAC}");
        for (query, body) in [(signed.as_str(), ""), ("", signed.as_str())] {
            let (payload, signature) = rest_payload(query, body);
            assert_eq!(payload, REST);
            assert_eq!(verify(&hmac_key(), &payload, &signature.expect("present")), Ok(()));
        }
        assert_eq!(verify(&hmac_key(), REST, &REST_HMAC.to_ascii_uppercase()), Ok(()));
        assert_eq!(verify(&hmac_key(), "symbol=X", REST_HMAC), Err(ApiError::signature()));
    }

    #[test]
    fn ws_hmac_vector_sorts_the_parameters() {
        let params = params(&[
            ("symbol", "BTCUSDT"),
            ("side", "BUY"),
            ("type", "LIMIT"),
            ("timeInForce", "GTC"),
            ("quantity", "0.00150000"),
            ("price", "68250.10"),
            ("newClientOrderId", "eng-7f3a_01"),
            ("newOrderRespType", "ACK"),
            ("recvWindow", "2000"),
            ("timestamp", "1767225600123"),
            ("apiKey", KEY),
            ("signature", "x"),
        ]);
        let signature = "9b4f941eadd5a065f6fdf73bf98ad0686e33557c9056ac226298fbf58648ecdd";
        assert_eq!(verify(&hmac_key(), &ws_payload(&params), signature), Ok(()));
    }

    #[test]
    fn ed25519_vectors_hold() {
        let seed: [u8; 32] = const_hex::decode_to_array(SEED).expect("hex");
        let public = ed25519_public(&seed).expect("key");
        assert_eq!(const_hex::encode(public), "45cf66371179dfdefa4920a57f2336311845decb7c57aeff23b143097a76b962");
        let key = ApiKey { key: ED25519_KEY.into(), secret: Secret::Ed25519(public) };
        let rest = "ve73YlwLXIFmPGByCxBWl88Qc7QxEPbL5p+zRdMwnjgEU6lUfOKpGs8XxonB6w7zapoWcSC8OOJSjCWkSfEADA==";
        assert_eq!(ed25519_sign(&seed, REST.as_bytes()).expect("key"), rest);
        let encoded = format!("{REST}&signature={}", rest.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"));
        let (payload, signature) = rest_payload(&encoded, "");
        assert_eq!(verify(&key, &payload, &signature.expect("present")), Ok(()));
        let logon = params(&[("apiKey", ED25519_KEY), ("timestamp", "1767225600123")]);
        let signature = "XytGkCk3elH+J4FMllL40z+ABuF2IcuWqthHT6Yq2mBQ9wEvCiaC5lzMAlV0gSh1BTZofF5/gLTkUy+JEIdlBg==";
        assert_eq!(verify(&key, &ws_payload(&logon), signature), Ok(()));
    }

    #[test]
    fn the_time_window_is_enforced_on_both_sides() {
        let now = 1_767_225_600_000_000_000;
        let check = |timestamp: &str, window: Option<&str>| {
            let mut pairs = vec![("timestamp", timestamp)];
            pairs.extend(window.map(|w| ("recvWindow", w)));
            check_window(now, &params(&pairs))
        };
        assert_eq!(check("1767225600000", None), Ok(()));
        assert_eq!(check("1767225600000123", None), Ok(()), "microseconds are told by their size");
        assert_eq!(check("1767225595000", None), Ok(()));
        assert_eq!(check("1767225594999", None), Err(ApiError::outside_window()));
        assert_eq!(check("1767225600999", None), Ok(()));
        assert_eq!(check("1767225601000", None), Err(ApiError::ahead()));
        assert_eq!(check("1767225598000", Some("2000")), Ok(()));
        assert_eq!(check("1767225597999", Some("2000")), Err(ApiError::outside_window()));
        assert_eq!(check("1767225600000", Some("60001")).map_err(|e| e.code), Err(-1131));
        assert_eq!(check("soon", None).map_err(|e| e.code), Err(-1100));
        assert_eq!(check_window(now, &Params::new()).map_err(|e| e.code), Err(-1102));
    }
}
