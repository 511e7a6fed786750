//! `tls`: one record of an established TLS 1.3 connection, sealed and opened.
//!
//! Ours is [`RecordLayer`], with which the engine opens records where they lie and seals them into the frame. The peer
//! is rustls' own record layer through its unbuffered interface, the leanest it has, with the cipher library that it has
//! by default, aws-lc-rs. Sealing is `process_tls_records` (which gives the right to write) and `encrypt`, opening is
//! `process_tls_records` and `next_record`; the further call by which a caller learns that there is no more is left out.
//!
//! Records are sealed by one end and opened by the other end of the same connection, in the memory where they lie.
//!
//! Then the ciphers alone: ours (AES-GCM, on a processor with what it takes), ring's, which the others' records are
//! sealed with, and aws-lc's: which of them is to seal small records. Each does it in the
//! leanest way that it has, in place, with the additional data of a record. Hot is many in a row, timed together (one is
//! not much longer than a step of some counters). Cold is one after a walk over more memory than the second-level cache
//! of most machines holds, which throws key and, where that cache has a say over the first, machine code out. Records of
//! a connection that waits for the market lie between the two.

use super::{BLOCK, OURS, SEED};
use crate::measure::{Budget, Meter, Side, alternate};
use crate::random::Random;
use crate::report::{Report, Target};
use ::aws_lc_rs::aead as aws_lc_aead;
use anyhow::{Context, anyhow, bail, ensure};
use netstack::tls::aes_gcm::{Aes128Gcm, Aes256Gcm};
use netstack::tls::{Event, KeySchedule, MAX_OVERHEAD, RecordBuffer, RecordLayer, Suite, TlsError, TrafficKeys, Version};
use rcgen::{CertificateParams, KeyPair};
use ring::aead as ring_aead;
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
const SUITES: [(Suite, &str); 3] =
    [(Suite::Aes128Gcm, "aes-128-gcm"), (Suite::Aes256Gcm, "aes-256-gcm"), (Suite::ChaCha20Poly1305, "chacha20-poly1305")];

const RING: &str = "ring";
const AWS_LC: &str = "aws-lc";
/// What a cipher alone does: records in a row, and single ones that find nothing in the caches.
const CIPHER_OPERATIONS: [&str; 4] = ["16 sealed in a row", "16 opened in a row", "sealed cold", "opened cold"];
const SEALS: usize = 0;
const OPENS: usize = 1;
const SEAL_COLD: usize = 2;
const OPEN_COLD: usize = 3;
const ROW: usize = 16;
/// Bytes of text for a cipher alone.
const CIPHER_SIZES: [usize; 4] = [100, 200, 400, 1_000];
/// Rows, and cold records, in a block: as many as make up for a walk's length.
const CIPHER_BLOCK: usize = BLOCK / 2;
/// Bytes that are walked over before a cold operation: twice a second-level cache of today's servers.
const WALK: usize = 2 << 20;
const CACHE_LINE: usize = 64;
const TAG: usize = 16;
const NONCE: usize = 12;
/// A record's header, which is TLS 1.3's additional data.
const HEADER: [u8; 5] = [23, 3, 3, 1, 0];

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    let authority = Authority::new()?;
    for (suite, name) in SUITES {
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
    for (suite, name) in SUITES {
        for size in CIPHER_SIZES {
            let (mut ring, mut aws_lc) = (Cipher::of(RingKey::new(suite)?, size), Cipher::of(AwsLcKey::new(suite)?, size));
            let mut ours = OurKey::new(suite).map(|key| Cipher::of(key, size));
            let mut sides = Vec::new();
            if let Some(ours) = &mut ours {
                sides.push(Side::new(OURS, &CIPHER_OPERATIONS, |meter| ours.block(meter)));
            }
            sides.extend([
                Side::new(RING, &CIPHER_OPERATIONS, |meter| ring.block(meter)),
                Side::new(AWS_LC, &CIPHER_OPERATIONS, |meter| aws_lc.block(meter)),
            ]);
            report.add_case(BENCH, &format!("{name} alone, {size} bytes,"), &alternate(budget, sides)?, Target::None);
        }
    }
    Ok(())
}

/// A key of a cipher. False: refused.
trait CipherKey {
    /// Seals the text of a record, behind which lies room for its tag.
    fn seal(&self, nonce: [u8; NONCE], record: &mut [u8]) -> bool;
    /// Opens the text of a record, behind which lies its tag.
    fn open(&self, nonce: [u8; NONCE], record: &mut [u8]) -> bool;
}

/// The bytes of every key here.
const KEY: [u8; 32] = [1; 32];

/// A key of ours.
enum OurKey {
    Aes128Gcm(Aes128Gcm),
    Aes256Gcm(Aes256Gcm),
}

impl OurKey {
    /// `None` for a suite that is ring's, and on a processor that has not what ours takes.
    fn new(suite: Suite) -> Option<OurKey> {
        match suite {
            Suite::Aes128Gcm => Aes128Gcm::new(KEY.first_chunk()?).map(OurKey::Aes128Gcm),
            Suite::Aes256Gcm => Aes256Gcm::new(&KEY).map(OurKey::Aes256Gcm),
            Suite::ChaCha20Poly1305 => None,
        }
    }
}

impl CipherKey for OurKey {
    #[inline]
    fn seal(&self, nonce: [u8; NONCE], record: &mut [u8]) -> bool {
        match self {
            OurKey::Aes128Gcm(key) => key.seal(nonce, HEADER, record).is_ok(),
            OurKey::Aes256Gcm(key) => key.seal(nonce, HEADER, record).is_ok(),
        }
    }

    #[inline]
    fn open(&self, nonce: [u8; NONCE], record: &mut [u8]) -> bool {
        match self {
            OurKey::Aes128Gcm(key) => key.open(nonce, HEADER, record).is_ok(),
            OurKey::Aes256Gcm(key) => key.open(nonce, HEADER, record).is_ok(),
        }
    }
}

struct AwsLcKey(aws_lc_aead::LessSafeKey);

impl AwsLcKey {
    fn new(suite: Suite) -> anyhow::Result<AwsLcKey> {
        let algorithm = match suite {
            Suite::Aes128Gcm => &aws_lc_aead::AES_128_GCM,
            Suite::Aes256Gcm => &aws_lc_aead::AES_256_GCM,
            Suite::ChaCha20Poly1305 => &aws_lc_aead::CHACHA20_POLY1305,
        };
        let key = aws_lc_aead::UnboundKey::new(algorithm, &KEY[..suite.key_len()]).map_err(|_| anyhow!("aws-lc refused its key"))?;
        Ok(AwsLcKey(aws_lc_aead::LessSafeKey::new(key)))
    }
}

impl CipherKey for AwsLcKey {
    #[inline]
    fn seal(&self, nonce: [u8; NONCE], record: &mut [u8]) -> bool {
        let nonce = aws_lc_aead::Nonce::assume_unique_for_key(nonce);
        let Some((text, tag)) = record.split_last_chunk_mut::<TAG>() else { return false };
        self.0.seal_in_place_scatter(nonce, aws_lc_aead::Aad::from(HEADER), text, &[], tag).is_ok()
    }

    #[inline]
    fn open(&self, nonce: [u8; NONCE], record: &mut [u8]) -> bool {
        let nonce = aws_lc_aead::Nonce::assume_unique_for_key(nonce);
        let Some((text, tag)) = record.split_last_chunk_mut::<TAG>() else { return false };
        self.0.open_in_place_separate_tag(nonce, aws_lc_aead::Aad::from(HEADER), &*tag, text).is_ok()
    }
}

struct RingKey(ring_aead::LessSafeKey);

impl RingKey {
    fn new(suite: Suite) -> anyhow::Result<RingKey> {
        let algorithm = match suite {
            Suite::Aes128Gcm => &ring_aead::AES_128_GCM,
            Suite::Aes256Gcm => &ring_aead::AES_256_GCM,
            Suite::ChaCha20Poly1305 => &ring_aead::CHACHA20_POLY1305,
        };
        let key = ring_aead::UnboundKey::new(algorithm, &KEY[..suite.key_len()]).map_err(|_| anyhow!("ring refused its key"))?;
        Ok(RingKey(ring_aead::LessSafeKey::new(key)))
    }
}

impl CipherKey for RingKey {
    #[inline]
    fn seal(&self, nonce: [u8; NONCE], record: &mut [u8]) -> bool {
        let nonce = ring_aead::Nonce::assume_unique_for_key(nonce);
        let Some((text, tag)) = record.split_last_chunk_mut::<TAG>() else { return false };
        let sealed = self.0.seal_in_place_separate_tag(nonce, ring_aead::Aad::from(HEADER), text);
        sealed.is_ok_and(|sealed| {
            tag.copy_from_slice(sealed.as_ref());
            true
        })
    }

    #[inline]
    fn open(&self, nonce: [u8; NONCE], record: &mut [u8]) -> bool {
        let nonce = ring_aead::Nonce::assume_unique_for_key(nonce);
        let Some((text, tag)) = record.split_last_chunk_mut::<TAG>() else { return false };
        self.0.open_in_place_separate_tag(nonce, ring_aead::Aad::from(HEADER), (*tag).into(), text, 0..).is_ok()
    }
}

fn nonce(number: u64) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    nonce[NONCE - 8..].copy_from_slice(&number.to_be_bytes());
    nonce
}

/// A cipher at work on one text.
struct Cipher<K> {
    key: K,
    number: u64,
    plaintext: Vec<u8>,
    /// Text and tag.
    record: Vec<u8>,
    tags: [[u8; TAG]; ROW],
    walk: Vec<u8>,
}

impl<K: CipherKey> Cipher<K> {
    fn of(key: K, size: usize) -> Cipher<K> {
        let plaintext = plaintext(size);
        let record = [plaintext.as_slice(), &[0; TAG]].concat();
        Cipher { key, number: 0, plaintext, record, tags: [[0; TAG]; ROW], walk: vec![1; WALK] }
    }

    fn block(&mut self, meter: &mut Meter) -> anyhow::Result<()> {
        for _ in 0..CIPHER_BLOCK {
            let right = self.row(meter);
            ensure!(right && self.record.starts_with(&self.plaintext), "what was opened is not what was sealed");
        }
        for _ in 0..CIPHER_BLOCK {
            let right = self.cold(meter);
            ensure!(right && self.record.starts_with(&self.plaintext), "what was opened is not what was sealed");
        }
        Ok(())
    }

    /// Seals what was sealed before, again and again, and opens it in the opposite order.
    fn row(&mut self, meter: &mut Meter) -> bool {
        let Cipher { key, number, record, tags, .. } = self;
        let at = record.len() - TAG;
        let sealed = meter.time(SEALS, || {
            (*number..).zip(tags.iter_mut()).fold(true, |right, (number, tag)| {
                let right = right & key.seal(nonce(number), black_box(record));
                tag.copy_from_slice(&record[at..]);
                right
            })
        });
        let opened = meter.time(OPENS, || {
            tags.iter().enumerate().rev().fold(true, |right, (index, tag)| {
                record[at..].copy_from_slice(tag);
                right & key.open(nonce(*number + index as u64), black_box(record))
            })
        });
        *number += ROW as u64;
        sealed && opened
    }

    fn cold(&mut self, meter: &mut Meter) -> bool {
        let Cipher { key, number, record, walk, .. } = self;
        let nonce = nonce(*number);
        *number += 1;
        walk_over(walk);
        let sealed = meter.time(SEAL_COLD, || key.seal(nonce, black_box(record)));
        walk_over(walk);
        let opened = meter.time(OPEN_COLD, || key.open(nonce, black_box(record)));
        sealed && opened
    }
}

/// Reads each cache line; gives how many.
fn walk_over(memory: &[u8]) -> usize {
    let lines = black_box(memory).chunks(CACHE_LINE);
    black_box(lines.fold(0, |sum, line| sum + usize::from(line[0])))
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
        let alone = |name: &str| name.contains(" alone, ");
        let rows = report.rows.iter().filter(|row| !alone(&row.name));
        assert_eq!(
            (rows.clone().count(), report.ratios.iter().filter(|ratio| !alone(&ratio.name)).count()),
            (3 * 3 * 2 * 2, 3 * 3 * 2 * 2)
        );
        assert!(rows.clone().all(|row| row.count >= 2 * BLOCK as u64 && row.p50 > 0));
        let rows = report.rows.iter().filter(|row| alone(&row.name));
        let ratios = report.ratios.iter().filter(|ratio| alone(&ratio.name));
        // Two suites are ours where the processor has what it takes.
        let ours = SUITES.iter().filter(|(suite, _)| OurKey::new(*suite).is_some()).count();
        assert_eq!((rows.clone().count(), ratios.clone().count()), ((3 * 2 + ours) * 4 * 4, (3 + ours) * 4 * 4 * 2));
        assert!(rows.clone().all(|row| row.count >= 2 * CIPHER_BLOCK as u64 && row.p50 > 0));
        let against = |suffix: &str| ratios.clone().filter(|ratio| ratio.name.contains(suffix)).count();
        assert_eq!(against(": aws-lc / ring, p"), (3 - ours) * 4 * 4 * 2, "above 1 where ring is the quicker one");
        assert_eq!((against(": ring / ours, p"), against(": aws-lc / ours, p")), (ours * 4 * 4 * 2, ours * 4 * 4 * 2));
    }

    /// A record of each cipher; the others open it.
    #[test]
    fn all_ciphers_make_the_same_records() {
        for (suite, name) in SUITES {
            let mut keys: Vec<Box<dyn CipherKey>> = vec![Box::new(RingKey::new(suite).unwrap()), Box::new(AwsLcKey::new(suite).unwrap())];
            keys.extend(OurKey::new(suite).map(|key| Box::new(key) as Box<dyn CipherKey>));
            for size in [0, 1, 15, 16, 17].into_iter().chain(CIPHER_SIZES) {
                let text = [plaintext(size), vec![0; TAG]].concat();
                let seal = |key: &dyn CipherKey| {
                    let mut record = text.clone();
                    assert!(key.seal(nonce(9), &mut record));
                    record
                };
                let sealed = seal(keys[0].as_ref());
                assert!(size < 15 || sealed[..size] != text[..size], "{name}: nothing was sealed");
                for key in &keys {
                    assert_eq!(seal(key.as_ref()), sealed, "{name}, {size} bytes");
                    assert!(!key.open(nonce(8), &mut sealed.clone()), "{name}: another record's number");
                    let mut record = sealed.clone();
                    assert!(key.open(nonce(9), &mut record));
                    assert_eq!(record[..size], text[..size]);
                }
            }
        }
    }

    /// Opens what it has not sealed.
    struct Forgetful(AwsLcKey);

    impl CipherKey for Forgetful {
        fn seal(&self, nonce: [u8; NONCE], record: &mut [u8]) -> bool {
            self.0.seal(nonce, record)
        }

        fn open(&self, _: [u8; NONCE], _: &mut [u8]) -> bool {
            true
        }
    }

    #[test]
    fn a_cipher_that_does_not_give_the_text_back_is_noticed() {
        let measure = |block: &mut dyn FnMut(&mut Meter) -> anyhow::Result<()>| {
            alternate(Budget::of_seconds(0.000_1).unwrap(), vec![Side::new("side", &CIPHER_OPERATIONS, block)]).map(drop)
        };
        let mut forgetful = Cipher::of(Forgetful(AwsLcKey::new(Suite::Aes256Gcm).unwrap()), 100);
        assert!(measure(&mut |meter| forgetful.block(meter)).unwrap_err().to_string().contains("not what was sealed"));
        let mut sound = Cipher::of(RingKey::new(Suite::Aes256Gcm).unwrap(), 100);
        measure(&mut |meter| sound.block(meter)).unwrap();
        assert_eq!(sound.number % (ROW + 1) as u64, 0, "no number twice: as many for each row, one for each cold record");
    }

    #[test]
    fn a_walk_reads_each_line() {
        assert_eq!((walk_over(&vec![1; WALK]), walk_over(&[1; CACHE_LINE + 1])), (WALK / CACHE_LINE, 2));
    }
}
