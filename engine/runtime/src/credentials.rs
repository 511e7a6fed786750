//! An account's key file: TOML with `api_key` and `secret` or, where the venue takes such keys, `ed25519_seed`.
//!
//! The file must not be readable by others. Its content is zeroised once it is taken over, and appears in
//! no error, log or report.

use serde::Deserialize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use venues::venue::Credentials;
use zeroize::Zeroizing;

/// Why a key file is not usable.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The system refused.
    #[error("key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("key file {path}: may be read by others (mode {mode:o}); run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The content is not what it should be. The text of the file is not repeated.
    #[error("key file {path}: expected TOML with api_key and secret, or (Binance) ed25519_seed as 64 hexadecimal digits")]
    Format {
        /// The file.
        path: PathBuf,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    api_key: String,
    #[serde(default)]
    secret: String,
    ed25519_seed: Option<String>,
}

/// Reads a key file.
pub fn read(path: &Path) -> Result<Credentials, CredentialsError> {
    let io = |source| CredentialsError::Io { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(CredentialsError::Exposed { path: path.to_owned(), mode });
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(io)?);
    let format = || CredentialsError::Format { path: path.to_owned() };
    let file: KeyFile = toml::from_str(&text).map_err(|_| format())?;
    let secret = Zeroizing::new(file.secret);
    let seed_text = file.ed25519_seed.map(Zeroizing::new);
    let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic());
    if !plain(&file.api_key) || !(plain(&secret) || secret.is_empty() && seed_text.is_some()) {
        return Err(format());
    }
    let ed25519_seed = match seed_text {
        None => None,
        Some(text) => Some(parse_seed(&text).ok_or_else(format)?),
    };
    Ok(Credentials { api_key: file.api_key, secret, ed25519_seed })
}

fn parse_seed(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0u8; 32]);
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in seed.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(pair).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, mode: u32, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("peregrine-keys-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_private_key_file_is_read() {
        let path = file("good", 0o600, &format!("api_key = \"k\"\nsecret = \"s\"\ned25519_seed = \"{}\"\n", "0a".repeat(32)));
        let read = read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.api_key, "k");
        assert_eq!(*read.ed25519_seed.unwrap(), [0x0a; 32]);
    }

    #[test]
    fn exposed_and_malformed_files_are_refused_without_repeating_them() {
        let path = file("open", 0o644, "api_key = \"k\"\nsecret = \"TOPSECRET\"\n");
        assert!(read(&path).unwrap_err().to_string().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for text in [
            "api_key = \"k\"\nsecret = \"TOPSECRET\"\nmore = 1",
            "secret = \"TOPSECRET\"",
            "api_key=\"k\"\nsecret=\"TOPSECRET\"\ned25519_seed=\"zz\"",
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("expected TOML") && !error.contains("TOPSECRET"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
