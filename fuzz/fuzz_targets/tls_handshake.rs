//! TLS from the first byte on, with a real server whose records a hostile network changes: dropped, doubled, cut,
//! flipped, renamed, joined, preceded by records of its own. If nothing was changed the handshake succeeds and
//! bytes arrive; whatever was changed, nothing panics, an error is final, and its alert fits its room.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netstack::tls::{Event, RecordBuffer, Roots, Suite, TlsClient, TlsConfig, TlsOptions, Versions};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};
use std::io::Write;
use std::sync::{Arc, LazyLock};
use support::input::Input;

const NAME: &str = "venue.test";
const NOW: u64 = 1_790_000_000;

struct Parties {
    server: Arc<ServerConfig>,
    clients: Vec<TlsConfig>,
}

static PARTIES: LazyLock<Parties> = LazyLock::new(|| {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(vec![]).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = ca.self_signed(&ca_key).expect("a certificate");
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec![NAME.to_owned()]).expect("parameters").signed_by(&key, &issuer).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
        .expect("a server");
    let combinations = [Versions::Tls13, Versions::Tls12].into_iter().flat_map(|versions| {
        [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305].map(|suite| TlsOptions {
            versions,
            suites: vec![suite],
            ..TlsOptions::default()
        })
    });
    let clients = combinations.map(|options| TlsConfig::with_options(Roots::Der(authority.der()), &options).expect("a client")).collect();
    Parties { server: Arc::new(server), clients }
});

/// Cuts off what is left of the records in `bytes`, one by one.
fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let Some(&[_, _, _, high, low]) = bytes.first_chunk::<5>() {
        let len = (5 + usize::from(u16::from_be_bytes([high, low]))).min(bytes.len());
        records.push(bytes[..len].to_vec());
        bytes = &bytes[len..];
    }
    records
}

struct Client {
    tls: TlsClient,
    buffer: RecordBuffer,
    plain: Vec<u8>,
    established: bool,
    failed: bool,
}

impl Client {
    /// Feeds bytes in pieces of at most `step`.
    fn receive(&mut self, bytes: &[u8], step: usize) {
        let mut bytes = bytes.to_vec();
        let (mut at, mut end) = (0, 0);
        while at < bytes.len() && !self.failed {
            end = if at == end { (end + step).min(bytes.len()) } else { end };
            match self.tls.receive(&mut bytes[at..end], &mut self.buffer) {
                Ok(received) => {
                    assert!(received.consumed > 0 && received.consumed <= end - at);
                    at += received.consumed;
                    match received.event {
                        Event::NeedMore => assert_eq!(at, end),
                        Event::Established => {
                            assert!(!self.established, "established once");
                            self.established = true;
                        }
                        Event::Plaintext(bytes) => {
                            assert!(self.established);
                            self.plain.extend_from_slice(bytes);
                        }
                        Event::PeerClosed => return,
                        _ => {}
                    }
                }
                Err(error) => {
                    self.failed = true;
                    let again = self.tls.receive(&mut [22, 3, 3, 0, 1, 0], &mut self.buffer).map(|_| ());
                    // By their texts: the errors of a certificate's check never equal even themselves.
                    assert_eq!(format!("{:?}", again.expect_err("an error is final")), format!("{error:?}"));
                }
            }
        }
    }

    fn pending(&mut self) -> Vec<u8> {
        let mut out = vec![0; self.tls.pending_room()];
        let len = self.tls.write_pending(&mut out);
        out.truncate(len);
        out
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mode = input.u8();
    let step = usize::from(input.u8()) * 8 + 1;
    let config = &PARTIES.clients[usize::from(mode) % PARTIES.clients.len()];
    let tls = TlsClient::new(config, NAME, NOW).expect("a client");
    let mut client = Client { tls, buffer: RecordBuffer::new(), plain: Vec::new(), established: false, failed: false };
    if mode & 0x80 != 0 {
        // No server at all: the fuzzer's own records.
        while !input.is_empty() && !client.failed {
            let kind = input.pick(&[22, 22, 22, 21, 20, 23, 0]);
            let body = input.short();
            let record = [&[kind, 3, 3, 0, body.len() as u8], body].concat();
            client.receive(&record, step);
            client.pending();
        }
        assert!(!client.established);
        return;
    }
    let mut server = ServerConnection::new(PARTIES.server.clone()).expect("a server");
    let (mut changed, mut spoken) = (false, false);
    for _ in 0..12 {
        let mut sent = &client.pending()[..];
        while !sent.is_empty() && server.read_tls(&mut sent).is_ok() && server.process_new_packets().is_ok() {}
        if client.established && !spoken {
            spoken = true;
            let _ = server.writer().write_all(b"tick");
        }
        let mut out = Vec::new();
        while server.wants_write() && server.write_tls(&mut out).is_ok() {}
        let mut flight = Vec::new();
        for mut record in records(&out) {
            let op = input.u8();
            changed |= op & 15 != 0;
            match op & 15 {
                0 => flight.extend(record),
                1 => {}
                2 => flight.extend([&record[..], &record[..]].concat()),
                3 => flight.extend(&record[..usize::from(input.u16()) % record.len()]),
                4 => {
                    record[0] = input.pick(&[20, 21, 22, 23, 24]);
                    flight.extend(record);
                }
                5 => {
                    // The same message over two records.
                    let at = 5 + usize::from(input.u16()) % (record.len() - 4);
                    let (kind, first, second) = (record[0], &record[5..at], &record[at..]);
                    for body in [first, second] {
                        flight.extend([kind, 3, 3]);
                        flight.extend((body.len() as u16).to_be_bytes());
                        flight.extend(body);
                    }
                }
                6 => {
                    let body = input.short();
                    flight.extend([input.pick(&[20, 21, 22, 23]), 3, 3, 0, body.len() as u8]);
                    flight.extend(body);
                    flight.extend(record);
                }
                7 => flight.extend(input.short()),
                _ => {
                    for _ in 0..=input.u8() % 3 {
                        let at = usize::from(input.u16()) % record.len();
                        record[at] ^= input.u8();
                    }
                    flight.extend(record);
                }
            }
        }
        if flight.is_empty() && !client.tls.has_pending() {
            break;
        }
        client.receive(&flight, step);
    }
    if !changed {
        assert!(client.established && !client.failed, "an honest handshake succeeds");
        assert_eq!(client.plain, b"tick");
    }
});
