//! A certificate authority made for one simulation, and the server certificate it signs.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::SimError;

/// What a listener needs for TLS, and what its clients need to trust it.
pub struct Certificate {
    /// Server configuration (TLS 1.2 and 1.3).
    pub server: Arc<ServerConfig>,
    /// The CA certificate, PEM.
    pub ca_pem: String,
}

/// Makes a CA and a server certificate for the given host names and IP addresses.
pub fn make(names: &[String]) -> Result<Certificate, SimError> {
    let failed = |error: &dyn std::fmt::Display| SimError::Tls(error.to_string());
    let mut ca = CertificateParams::new(Vec::new()).map_err(|e| failed(&e))?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "venue-sim test authority");
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;

    let mut leaf = CertificateParams::new(names.to_vec()).map_err(|e| failed(&e))?;
    leaf.distinguished_name.push(DnType::CommonName, "venue-sim");
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf_key = KeyPair::generate().map_err(|e| failed(&e))?;
    let leaf = leaf.signed_by(&leaf_key, &ca).map_err(|e| failed(&e))?;

    let chain = vec![leaf.der().clone(), ca.der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(&e))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| failed(&e))?;
    Ok(Certificate { server: Arc::new(server), ca_pem: ca.pem() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_accepted() {
        let made = make(&["stream.binance.com".into(), "10.1.2.3".into(), "localhost".into()]).expect("valid names");
        assert!(made.ca_pem.starts_with("-----BEGIN CERTIFICATE-----"));
    }
}
