//! What a TLS client trusts and offers; shared by all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::client::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::error::TlsConfigError;
use super::record::Suite;

/// Whose certificates are trusted.
#[derive(Clone, Copy, Debug)]
pub enum Roots<'a> {
    /// The public certification authorities (Mozilla's list, as compiled in by `webpki-roots`).
    Public,
    /// Only the certificates in this PEM text (a private CA, a simulated venue).
    Pem(&'a [u8]),
    /// Only this DER certificate.
    Der(&'a [u8]),
}

/// Which protocol versions are offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.3 and 1.2.
    #[default]
    Both,
    /// TLS 1.3 only.
    Tls13,
    /// TLS 1.2 only.
    Tls12,
}

/// What is offered beyond the roots. The default offers everything that rustls considers safe.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Protocols offered by ALPN (RFC 7301), most wanted first; empty: no ALPN.
    pub alpn: Vec<Vec<u8>>,
    /// Versions offered.
    pub versions: Versions,
    /// Ciphers offered, the quickest first whatever their order here; empty: all three.
    pub suites: Vec<Suite>,
}

/// The wall clock that certificates and tickets are judged by: the caller's, never the system's.
#[derive(Debug)]
struct GivenTime(AtomicU64);

impl TimeProvider for GivenTime {
    fn current_time(&self) -> Option<UnixTime> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            seconds => Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds))),
        }
    }
}

/// Roots, offers and the ticket store of TLS clients. Cheap to clone; clones share tickets and clock.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    client: Arc<ClientConfig>,
    time: Arc<GivenTime>,
}

impl TlsConfig {
    /// A configuration that trusts `roots` and offers TLS 1.3 and 1.2 with all AEAD suites, no ALPN.
    pub fn new(roots: Roots<'_>) -> Result<TlsConfig, TlsConfigError> {
        TlsConfig::with_options(roots, &TlsOptions::default())
    }

    /// A configuration with chosen versions, suites and ALPN protocols.
    pub fn with_options(roots: Roots<'_>, options: &TlsOptions) -> Result<TlsConfig, TlsConfigError> {
        let mut store = RootCertStore::empty();
        match roots {
            Roots::Public => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Roots::Der(der) => store.add(CertificateDer::from(der.to_vec())).map_err(TlsConfigError::BadRoot)?,
            Roots::Pem(text) => {
                for certificate in CertificateDer::pem_slice_iter(text) {
                    let certificate = certificate.map_err(|error| TlsConfigError::BadPem(error.to_string()))?;
                    store.add(certificate).map_err(TlsConfigError::BadRoot)?;
                }
                if store.is_empty() {
                    return Err(TlsConfigError::BadPem("no CERTIFICATE section".into()));
                }
            }
        }
        let mut provider: CryptoProvider = rustls::crypto::aws_lc_rs::default_provider();
        if !options.suites.is_empty() {
            provider.cipher_suites.retain(|suite| Suite::of(*suite).is_some_and(|cipher| options.suites.contains(&cipher)));
        }
        // The quickest first: a server that leaves the choice to us takes it. (Of AES-GCM the longer key takes 14 rounds for 10.)
        provider.cipher_suites.sort_by_key(|suite| match Suite::of(*suite) {
            Some(Suite::Aes128Gcm) => 0,
            Some(Suite::Aes256Gcm) => 1,
            Some(Suite::ChaCha20Poly1305) => 2,
            None => 3,
        });
        let versions: &[&SupportedProtocolVersion] = match options.versions {
            Versions::Both => &[&rustls::version::TLS13, &rustls::version::TLS12],
            Versions::Tls13 => &[&rustls::version::TLS13],
            Versions::Tls12 => &[&rustls::version::TLS12],
        };
        let time = Arc::new(GivenTime(AtomicU64::new(0)));
        let mut client = ClientConfig::builder_with_details(Arc::new(provider), time.clone())
            .with_protocol_versions(versions)
            .map_err(TlsConfigError::BadOptions)?
            .with_root_certificates(store)
            .with_no_client_auth();
        client.alpn_protocols = options.alpn.clone();
        client.enable_secret_extraction = true;
        Ok(TlsConfig { client: Arc::new(client), time })
    }

    /// Sets the wall clock, in seconds since 1970-01-01 UTC. [`super::TlsClient::new`] does it too; call
    /// it now and then on long runs, so that the age of session tickets is right.
    pub fn set_unix_time(&self, seconds: u64) {
        self.time.0.store(seconds, Ordering::Relaxed);
    }

    pub(super) fn client(&self) -> Arc<ClientConfig> {
        self.client.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickest_cipher_is_offered_first() {
        let suites = |options: &TlsOptions| {
            let config = TlsConfig::with_options(Roots::Public, options).expect("the options are sound");
            config
                .client
                .crypto_provider()
                .cipher_suites
                .iter()
                .map(|suite| Suite::of(*suite).expect("one that we can do"))
                .collect::<Vec<_>>()
        };
        let all = suites(&TlsOptions::default());
        assert_eq!(all.first(), Some(&Suite::Aes128Gcm));
        assert!(
            all.is_sorted_by_key(|suite| [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305].iter().position(|s| s == suite))
        );
        let two = suites(&TlsOptions { suites: vec![Suite::ChaCha20Poly1305, Suite::Aes256Gcm], ..TlsOptions::default() });
        assert_eq!((two.first(), two.last()), (Some(&Suite::Aes256Gcm), Some(&Suite::ChaCha20Poly1305)));
    }
}
