//! `tls`: one record of an established TLS 1.3 connection, sealed and opened.
//!
//! Ours is [`RecordLayer`], with which the engine opens records where they lie and seals them into the frame. The peer
//! is rustls' own record layer through its unbuffered interface, the leanest it has, with the same cipher library
//! (aws-lc-rs): sealing is `process_tls_records` (which gives the right to write) and `encrypt`, opening is
//! `process_tls_records` and `next_record`; the further call by which a caller learns that there is no more is left out.
//!
//! Records are sealed by one end and opened by the other end of the same connection, in the memory where they lie.

use super::{BLOCK, OURS, SEED};
use crate::measure::{Budget, Meter, Side, alternate};
use crate::random::Random;
use crate::report::{Report, Target};
use anyhow::{Context, anyhow, bail, ensure};
use netstack::tls::{Event, KeySchedule, MAX_OVERHEAD, RecordBuffer, RecordLayer, Suite, TlsError, TrafficKeys, Version};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use std::hint::black_box;
use std::sync::Arc;

const BENCH: &str = "tls";
const PEER: &str = "rustls";
const SERVER_NAME: &str = "venue.test";
const OPERATIONS: [&str; 2] = ["seal", "open"];
const SEAL: usize = 0;
const OPEN: usize = 1;
/// Bytes of plaintext: an order, a market-data message, a full segment.
const SIZES: [usize; 3] = [200, 400, 1_400];
/// Records of one connection: far below what one key may seal, so that no key is changed while measuring.
const RECORDS_MAX: u64 = 1 << 20;

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    let authority = Authority::new()?;
    for (suite, name) in
        [(Suite::Aes128Gcm, "aes-128-gcm"), (Suite::Aes256Gcm, "aes-256-gcm"), (Suite::ChaCha20Poly1305, "chacha20-poly1305")]
    {
        for size in SIZES {
            let plaintext = plaintext(size);
            let mut ours = Renewed::new(|| Ours::new(suite));
            let mut peer = Renewed::new(|| Peer::new(&authority, suite));
            let sides = vec![
                Side::new(OURS, &OPERATIONS, |meter| {
                    let pair = ours.get()?;
                    (0..BLOCK).try_for_each(|_| pair.exchange(&plaintext, meter))
                }),
                Side::new(PEER, &OPERATIONS, |meter| {
                    let pair = peer.get()?;
                    (0..BLOCK).try_for_each(|_| pair.exchange(&plaintext, meter))
                }),
            ];
            report.add_case(BENCH, &format!("{name}, {size} bytes,"), &alternate(budget, sides)?, Target::None);
        }
    }
    Ok(())
}

fn plaintext(size: usize) -> Vec<u8> {
    let mut random = Random::new(SEED);
    (0..size).map(|_| random.next() as u8).collect()
}

/// A connection that is made anew before its keys wear out.
struct Renewed<T, F> {
    make: F,
    pair: Option<T>,
    records: u64,
}

impl<T, F: FnMut() -> anyhow::Result<T>> Renewed<T, F> {
    fn new(make: F) -> Renewed<T, F> {
        Renewed { make, pair: None, records: 0 }
    }

    /// The connection, good for a block.
    fn get(&mut self) -> anyhow::Result<&mut T> {
        if self.records >= RECORDS_MAX {
            self.pair = None;
            self.records = 0;
        }
        self.records += BLOCK as u64;
        match &mut self.pair {
            Some(pair) => Ok(pair),
            none => Ok(none.insert((self.make)()?)),
        }
    }
}

/// Keys do not change while measuring.
struct Fixed;

impl KeySchedule for Fixed {
    fn next_send_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        Err(TlsError::Internal("no other key"))
    }

    fn next_receive_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        Err(TlsError::Internal("no other key"))
    }

    fn new_session_ticket(&mut self, _body: &[u8]) -> Result<(), TlsError> {
        Ok(())
    }
}

/// Two ends of a connection, ours.
struct Ours {
    sender: RecordLayer<Fixed>,
    receiver: RecordLayer<Fixed>,
    buffer: RecordBuffer,
    record: Vec<u8>,
}

impl Ours {
    fn new(suite: Suite) -> anyhow::Result<Ours> {
        let keys = |fill: u8| {
            let key = vec![fill; suite.key_len()];
            TrafficKeys::new(suite, &key, [fill; 12], 0).context("the key is as long as the suite's")
        };
        let (one, other) = (keys(1)?, keys(2)?);
        Ok(Ours {
            sender: RecordLayer::new(Version::Tls13, &one, &other, Fixed)?,
            receiver: RecordLayer::new(Version::Tls13, &other, &one, Fixed)?,
            buffer: RecordBuffer::new(),
            record: vec![0; SIZES[SIZES.len() - 1] + MAX_OVERHEAD],
        })
    }

    fn exchange(&mut self, plaintext: &[u8], meter: &mut Meter) -> anyhow::Result<()> {
        let Ours { sender, receiver, buffer, record } = self;
        let length = meter.time(SEAL, || sender.seal(black_box(plaintext), record))?;
        let received = meter.time(OPEN, || receiver.receive(&mut record[..length], buffer))?;
        ensure!(received.consumed == length && received.event == Event::Plaintext(plaintext), "the record does not hold what was sealed");
        Ok(())
    }
}

/// A certificate of its own authority.
struct Authority {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new() -> anyhow::Result<Authority> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![SERVER_NAME.to_owned()])?.self_signed(&key)?;
        Ok(Authority { certificate: certificate.der().clone(), key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())) })
    }
}

fn provider(suite: Suite) -> Arc<CryptoProvider> {
    let suite: SupportedCipherSuite = match suite {
        Suite::Aes128Gcm => aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        Suite::Aes256Gcm => aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        Suite::ChaCha20Poly1305 => aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    };
    Arc::new(CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() })
}

/// Two ends of a connection, rustls'.
struct Peer {
    client: UnbufferedClientConnection,
    server: UnbufferedServerConnection,
    record: Vec<u8>,
}

/// What an end of a handshake needs next.
#[derive(PartialEq, Eq)]
enum Step {
    Again,
    Input,
    Done,
}

/// Goes one step on in a handshake; `out` receives what is to be sent. Gives the bytes of input that are used up.
fn step<Data>(status: UnbufferedStatus<'_, '_, Data>, out: &mut Vec<u8>) -> anyhow::Result<(usize, Step)> {
    let UnbufferedStatus { discard, state } = status;
    let step = match state? {
        ConnectionState::EncodeTlsData(mut chunk) => {
            let start = out.len();
            if let Err(EncodeError::InsufficientSize(size)) = chunk.encode(&mut []) {
                out.resize(start + size.required_size, 0);
            }
            let length = chunk.encode(&mut out[start..]).map_err(|error| anyhow!("{error:?}"))?;
            out.truncate(start + length);
            Step::Again
        }
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done();
            Step::Again
        }
        ConnectionState::BlockedHandshake => Step::Input,
        ConnectionState::WriteTraffic(_) => Step::Done,
        state => bail!("unexpected in a handshake: {state:?}"),
    };
    Ok((discard, step))
}

impl Peer {
    fn new(authority: &Authority, suite: Suite) -> anyhow::Result<Peer> {
        let provider = provider(suite);
        let versions: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_single_cert(vec![authority.certificate.clone()], authority.key.clone_key())?;
        server.send_tls13_tickets = 0;
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone())?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut peer = Peer {
            client: UnbufferedClientConnection::new(Arc::new(client), ServerName::try_from(SERVER_NAME)?)?,
            server: UnbufferedServerConnection::new(Arc::new(server))?,
            record: vec![0; SIZES[SIZES.len() - 1] + 64],
        };
        peer.shake_hands()?;
        Ok(peer)
    }

    fn shake_hands(&mut self) -> anyhow::Result<()> {
        let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
        let mut done = [false, false];
        for _ in 0..64 {
            let (used, client) = step(self.client.process_tls_records(&mut to_client), &mut to_server)?;
            to_client.drain(..used);
            let (used, server) = step(self.server.process_tls_records(&mut to_server), &mut to_client)?;
            to_server.drain(..used);
            done = [client == Step::Done, server == Step::Done];
            if done == [true, true] && to_client.is_empty() && to_server.is_empty() {
                return Ok(());
            }
        }
        bail!("rustls does not come to the end of its handshake: {done:?}")
    }

    fn exchange(&mut self, plaintext: &[u8], meter: &mut Meter) -> anyhow::Result<()> {
        let Peer { client, server, record } = self;
        let length = meter.time(SEAL, || match client.process_tls_records(&mut []).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                traffic.encrypt(black_box(plaintext), record).map_err(|error| anyhow!("{error:?}"))
            }
            other => Err(anyhow!("rustls cannot write: {other:?}")),
        })?;
        let mut opened = false;
        let used = meter.time(OPEN, || {
            let UnbufferedStatus { mut discard, state } = server.process_tls_records(&mut record[..length]);
            let Ok(ConnectionState::ReadTraffic(mut traffic)) = state else { bail!("rustls cannot read") };
            while let Some(part) = traffic.next_record() {
                let part = part?;
                discard += part.discard;
                opened = black_box(part.payload).len() == plaintext.len();
            }
            Ok(discard)
        })?;
        ensure!(opened && used == length, "the record does not hold what was sealed");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    #[test]
    fn records_of_both_sides_are_of_the_same_length() {
        let authority = Authority::new().unwrap();
        for suite in [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
            for size in SIZES {
                let (mut ours, mut peer) = (Ours::new(suite).unwrap(), Peer::new(&authority, suite).unwrap());
                let text = plaintext(size);
                let length = ours.sender.seal(&text, &mut ours.record).unwrap();
                let theirs = match peer.client.process_tls_records(&mut []).state.unwrap() {
                    ConnectionState::WriteTraffic(mut traffic) => traffic.encrypt(&text, &mut peer.record).unwrap(),
                    state => panic!("{state:?}"),
                };
                assert_eq!((length, theirs), (size + 22, size + 22), "{suite:?}");
            }
        }
    }

    #[test]
    fn connections_are_renewed_before_their_keys_wear_out() {
        let mut made = 0;
        let mut renewed = Renewed::new(|| {
            made += 1;
            Ok(made)
        });
        let blocks = RECORDS_MAX / BLOCK as u64;
        for _ in 0..=2 * blocks {
            renewed.get().unwrap();
        }
        assert_eq!(*renewed.get().unwrap(), 3);
    }

    #[test]
    fn a_damaged_record_is_noticed() {
        let mut ours = Ours::new(Suite::Aes128Gcm).unwrap();
        let length = ours.sender.seal(b"buy", &mut ours.record).unwrap();
        ours.record[length - 1] ^= 1;
        assert!(ours.receiver.receive(&mut ours.record[..length], &mut ours.buffer).is_err());
    }

    #[test]
    fn every_suite_and_size_is_measured_on_both_sides() {
        let mut report = Report::new(Machine::read());
        run(Budget::of_seconds(0.001).unwrap(), &mut report).unwrap();
        assert_eq!((report.rows.len(), report.ratios.len()), (3 * 3 * 2 * 2, 3 * 3 * 2 * 2));
        assert!(report.rows.iter().all(|row| row.count >= 2 * BLOCK as u64 && row.p50 > 0));
    }
}
