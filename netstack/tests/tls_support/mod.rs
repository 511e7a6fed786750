//! The peers of the TLS tests: a rustls server in memory with certificates made on the spot, and a forge of single records.
#![allow(dead_code, unused_imports)]

mod forge;

use std::io::{Read, Write};
use std::sync::Arc;

pub use forge::*;
use netstack::tls::{Event, RecordBuffer, Roots, Suite, TlsClient, TlsConfig, TlsError, TlsOptions, Versions};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConnection;
use rustls::server::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

pub const SERVER_NAME: &str = "venue.test";
/// A moment within the validity of the certificates that `rcgen` makes by default.
pub const NOW: u64 = 1_790_000_000;

/// A private CA and a server certificate of it.
pub struct Authority {
    pub ca_der: Vec<u8>,
    pub ca_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new() -> Authority {
        Authority::with(|_| {})
    }

    /// A CA whose server certificate is modified before it is signed.
    pub fn with(modify: impl FnOnce(&mut CertificateParams)) -> Authority {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(vec![]).unwrap();
        ca.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
        modify(&mut leaf);
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        Authority {
            ca_der: ca_certificate.der().to_vec(),
            ca_pem: ca_certificate.pem(),
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        }
    }

    pub fn server_config(&self, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .unwrap();
        config.send_half_rtt_data = true;
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    pub fn client_config(&self, versions: Versions, suite: Option<Suite>) -> TlsConfig {
        let options = TlsOptions { versions, suites: suite.into_iter().collect(), ..TlsOptions::default() };
        TlsConfig::with_options(Roots::Der(&self.ca_der), &options).unwrap()
    }
}

/// All six combinations of version and cipher.
pub fn combinations() -> impl Iterator<Item = (Versions, Suite)> {
    [Versions::Tls13, Versions::Tls12]
        .into_iter()
        .flat_map(|version| [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305].map(|suite| (version, suite)))
}

/// A rustls server and what it has read.
pub struct Server {
    pub connection: ServerConnection,
    pub plaintext: Vec<u8>,
    pub error: Option<rustls::Error>,
    pub closed: bool,
}

impl Server {
    pub fn new(config: &Arc<ServerConfig>) -> Server {
        let mut connection = ServerConnection::new(config.clone()).unwrap();
        connection.set_buffer_limit(None);
        Server { connection, plaintext: Vec::new(), error: None, closed: false }
    }

    pub fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.error.is_none() {
            self.connection.read_tls(&mut bytes).unwrap();
            match self.connection.process_new_packets() {
                Ok(state) => {
                    let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
                    self.connection.reader().read_exact(&mut plaintext).unwrap();
                    self.plaintext.extend_from_slice(&plaintext);
                    self.closed |= state.peer_has_closed();
                }
                Err(error) => self.error = Some(error),
            }
        }
    }

    pub fn write(&mut self, plaintext: &[u8]) {
        self.connection.writer().write_all(plaintext).unwrap();
    }

    pub fn output(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut bytes).unwrap();
        }
        bytes
    }
}

/// Our client with its buffer, and everything that it handed out.
pub struct Client {
    pub tls: TlsClient,
    pub buffer: RecordBuffer,
    pub plaintext: Vec<u8>,
    pub established: bool,
    pub closed: bool,
}

impl Client {
    pub fn new(config: &TlsConfig) -> Client {
        let tls = TlsClient::new(config, SERVER_NAME, NOW).unwrap();
        Client { tls, buffer: RecordBuffer::new(), plaintext: Vec::new(), established: false, closed: false }
    }

    /// Feeds `bytes` as one input.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        let mut input = bytes.to_vec();
        let mut at = 0;
        while at < input.len() {
            let received = self.tls.receive(&mut input[at..], &mut self.buffer)?;
            assert!(received.consumed > 0, "no progress");
            at += received.consumed;
            match received.event {
                Event::NeedMore => assert_eq!(at, input.len(), "asked for more before all input was taken"),
                Event::Progress => {}
                Event::Established => {
                    assert!(!self.established, "established twice");
                    self.established = true;
                }
                Event::Plaintext(bytes) => {
                    assert!(!bytes.is_empty());
                    self.plaintext.extend_from_slice(bytes);
                }
                Event::PeerClosed => self.closed = true,
            }
        }
        Ok(())
    }

    pub fn output(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut out = [0; 512];
        while self.tls.has_pending() {
            let count = self.tls.write_pending(&mut out);
            assert!(count > 0, "pending, but nothing was written");
            bytes.extend_from_slice(&out[..count]);
        }
        bytes
    }

    pub fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut out = vec![0; plaintext.len() + self.tls.overhead()];
        let length = self.tls.seal(plaintext, &mut out).unwrap();
        assert_eq!(length, out.len());
        out
    }

    pub fn seal_in_place(&mut self, plaintext: &[u8]) -> Vec<u8> {
        const LEAD: usize = 7;
        let start = LEAD + self.tls.header_room();
        let mut out = vec![0xee; LEAD + plaintext.len() + self.tls.overhead()];
        out[start..start + plaintext.len()].copy_from_slice(plaintext);
        let record = self.tls.seal_in_place(&mut out, start..start + plaintext.len()).unwrap();
        assert_eq!(record, LEAD..out.len());
        assert_eq!(out[..LEAD], [0xee; LEAD], "bytes before the record were touched");
        out[record].to_vec()
    }
}

/// Carries bytes both ways until neither side has anything to say.
pub fn settle(client: &mut Client, server: &mut Server) -> Result<(), TlsError> {
    for _ in 0..16 {
        let to_server = client.output();
        server.receive(&to_server);
        let to_client = server.output();
        client.receive(&to_client)?;
        if to_server.is_empty() && to_client.is_empty() {
            return Ok(());
        }
    }
    panic!("the two sides never fall silent");
}

/// An established pair.
pub fn established(versions: Versions, suite: Suite) -> (Client, Server) {
    let authority = Authority::new();
    let mut client = Client::new(&authority.client_config(versions, Some(suite)));
    let mut server = Server::new(&authority.server_config(&[]));
    settle(&mut client, &mut server).unwrap();
    assert!(client.established && client.tls.is_established());
    assert_eq!(client.tls.suite(), Some(suite));
    (client, server)
}
