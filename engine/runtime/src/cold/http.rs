//! HTTPS over kernel sockets for the cold plane, with retries.

use crate::config::units::HostPort;
use rustls::crypto::CryptoProvider;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use venues::rest::HttpRequest;

/// Largest answer taken: Binance' whole exchange information is about 10 MB.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// Why a request got no answer. Whether it reached the venue is unknown.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Connection, TLS, time-out or protocol.
    #[error("{method} https://{host}{path}: {reason}")]
    Failed {
        /// Method.
        method: &'static str,
        /// Host and port.
        host: String,
        /// Path without the query (which may hold a signature).
        path: String,
        /// What happened.
        reason: String,
    },
    /// The CA file is not usable.
    #[error("CA file: {0}")]
    CertificateAuthority(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// Lower-case names and values.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// One venue's REST host.
pub struct HttpClient {
    agent: ureq::Agent,
    host: HostPort,
}

/// Names that the configuration pins to addresses, before DNS.
#[derive(Debug)]
struct PinnedHosts {
    hosts: Vec<(String, IpAddr)>,
    dns: DefaultResolver,
}

impl Resolver for PinnedHosts {
    fn resolve(&self, uri: &Uri, config: &ureq::config::Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let Some((_, address)) = self.hosts.iter().find(|(name, _)| name == host) else {
            return self.dns.resolve(uri, config, timeout);
        };
        let mut found = self.empty();
        found.push(SocketAddr::new(*address, uri.port_u16().unwrap_or(443)));
        Ok(found)
    }
}

impl HttpClient {
    /// A client for `host`. `ca_pem` replaces the public roots; `pinned` names are not looked up.
    pub fn new(host: HostPort, ca_pem: Option<&[u8]>, pinned: &[(String, IpAddr)]) -> Result<HttpClient, HttpError> {
        let roots = match ca_pem {
            None => RootCerts::WebPki,
            Some(pem) => RootCerts::Specific(Arc::new(read_certificates(pem)?)),
        };
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder().provider(TlsProvider::Rustls).unversioned_rustls_crypto_provider(provider).root_certs(roots).build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .no_delay(true)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(10)))
            .timeout_connect(Some(Duration::from_secs(3)))
            .user_agent("peregrine")
            .build();
        let resolver = PinnedHosts { hosts: pinned.to_vec(), dns: DefaultResolver::default() };
        Ok(HttpClient { agent: ureq::Agent::with_parts(config, DefaultConnector::default(), resolver), host })
    }

    /// Sends one request and reads the whole answer.
    pub fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, HttpError> {
        let failed = |reason: String| HttpError::Failed {
            method: request.method,
            host: format!("{}:{}", self.host.host, self.host.port),
            path: request.path.split('?').next().unwrap_or_default().to_owned(),
            reason,
        };
        let uri = format!("https://{}:{}{}", self.host.host, self.host.port, request.path);
        let mut builder = ureq::http::Request::builder().method(request.method).uri(uri);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let answer = if request.body.is_empty() && request.method != "POST" {
            builder.body(()).map_err(|e| failed(e.to_string())).and_then(|r| self.agent.run(r).map_err(|e| failed(e.to_string())))
        } else {
            builder
                .body(request.body.as_slice())
                .map_err(|e| failed(e.to_string()))
                .and_then(|r| self.agent.run(r).map_err(|e| failed(e.to_string())))
        }?;
        let status = answer.status().as_u16();
        let headers = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let body =
            answer.into_body().with_config().limit(BODY_BYTES_MAX).read_to_vec().map_err(|e| failed(format!("reading the body: {e}")))?;
        Ok(HttpAnswer { status, headers, body })
    }
}

fn read_certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, HttpError> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(e) => return Err(HttpError::CertificateAuthority(e.to_string())),
        }
    }
    if found.is_empty() {
        return Err(HttpError::CertificateAuthority("holds no certificate".into()));
    }
    Ok(found)
}
