//! Traffic keys lie where they are needed, as long as they are needed, and leave nothing behind in freed memory.

mod tls_support;
mod watching_allocator;

use std::sync::Arc;

use netstack::tls::{KeySchedule, RecordBuffer, RecordLayer, Suite, TlsError, TrafficKeys, Version, Versions};
use rustls::ConnectionTrafficSecrets;
use tls_support::*;
use watching_allocator::{blocks_with, watched};

const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
/// More than are prepared.
const UPDATES: u8 = 20;
/// Prepared when the connection is made.
const UPDATES_AHEAD: u8 = 16;

#[derive(Clone, Copy)]
enum Direction {
    Send = 0x40,
    Receive = 0x80,
}

/// Bytes that nothing else in this process is made of.
fn bytes<const N: usize>(seed: u8) -> [u8; N] {
    std::array::from_fn(|at| seed.wrapping_mul(2 * at as u8 + 3) ^ (at as u8).wrapping_mul(29))
}

fn key(direction: Direction, generation: u8) -> [u8; 32] {
    bytes(direction as u8 + generation)
}

fn iv(direction: Direction, generation: u8) -> [u8; 12] {
    bytes(direction as u8 + generation + 0x20)
}

fn keys(direction: Direction, generation: u8) -> TrafficKeys {
    TrafficKeys::new(Suite::Aes256Gcm, &key(direction, generation), iv(direction, generation), 0).unwrap()
}

/// Blocks in which the key of this generation lies, and those in which its initialization vector does, freed or in use.
fn found(direction: Direction, generation: u8, freed: bool) -> (usize, usize) {
    (blocks_with(&key(direction, generation)[..16], freed), blocks_with(&iv(direction, generation), freed))
}

/// The keys above, one after another; generation 0 is the handshake's.
#[derive(Default)]
struct Numbered {
    sent: u8,
    received: u8,
}

impl KeySchedule for Numbered {
    fn next_send_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        self.sent += 1;
        Ok(keys(Direction::Send, self.sent))
    }

    fn next_receive_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        self.received += 1;
        Ok(keys(Direction::Receive, self.received))
    }

    fn new_session_ticket(&mut self, _body: &[u8]) -> Result<(), TlsError> {
        Ok(())
    }
}

fn keys_of_updates_are_wiped_where_they_lay() {
    const BOTH: [Direction; 2] = [Direction::Send, Direction::Receive];
    let updates: Vec<[Vec<u8>; 2]> = (0..UPDATES)
        .map(|generation| {
            let (key, iv) = (key(Direction::Receive, generation), iv(Direction::Receive, generation));
            let mut forge = Forge::new(Version::Tls13, Suite::Aes256Gcm, &key, iv, 0);
            [forge.record(DATA, b"tick", 0), forge.record(HANDSHAKE, &KEY_UPDATE, 0)]
        })
        .collect();
    let mut buffer = RecordBuffer::new();
    let mut layer = watched(|| {
        let (send, receive) = (keys(Direction::Send, 0), keys(Direction::Receive, 0));
        RecordLayer::new(Version::Tls13, &send, &receive, Numbered::default()).unwrap()
    });
    for (generation, records) in (0..).zip(updates) {
        for direction in BOTH {
            let to_come = generation + 1..=UPDATES_AHEAD;
            assert!(to_come.clone().all(|later| found(direction, later, false) == (1, 1)), "each is prepared, in one place");
            assert!((0..=UPDATES).filter(|other| !to_come.contains(other)).all(|used| found(direction, used, false) == (0, 0)));
        }
        watched(|| {
            for mut record in records {
                layer.receive(&mut record, &mut buffer).unwrap();
            }
            layer.queue_key_update();
            assert!(layer.write_pending(&mut [0; 64]) > 0);
        });
    }
    let statistics = layer.statistics();
    assert_eq!((statistics.key_updates_in, statistics.key_updates_out), (u64::from(UPDATES), u64::from(UPDATES)));

    // A connection that ends early still has keys to come.
    watched(|| drop(layer));
    watched(|| {
        let (send, receive) = (keys(Direction::Send, 0), keys(Direction::Receive, 0));
        drop(RecordLayer::new(Version::Tls13, &send, &receive, Numbered::default()).unwrap());
    });
    for direction in BOTH {
        for generation in 0..=UPDATES {
            assert_eq!(found(direction, generation, false), (0, 0), "generation {generation} is still held");
            assert_eq!(found(direction, generation, true), (0, 0), "generation {generation} was left in freed memory");
        }
    }
}

fn key_of(secrets: &ConnectionTrafficSecrets) -> &[u8] {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, .. }
        | ConnectionTrafficSecrets::Aes256Gcm { key, .. }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, .. } => key.as_ref(),
        _ => panic!("another suite"),
    }
}

fn a_connection_leaves_no_traffic_key_in_freed_memory() {
    let authority = Authority::new();
    let mut server_config = rustls::ServerConfig::clone(&authority.server_config(&[]));
    server_config.enable_secret_extraction = true;
    let server_config = Arc::new(server_config);
    for (versions, suite) in combinations() {
        let config = authority.client_config(versions, Some(suite));
        let mut server = Server::new(&server_config);
        let mut client = watched(|| Client::new(&config));
        for _ in 0..4 {
            server.receive(&watched(|| client.output()));
            let bytes = server.output();
            watched(|| client.receive(&bytes)).unwrap();
        }
        assert!(client.established);
        let secrets = server.connection.dangerous_extract_secrets().unwrap();
        let [client_key, server_key] = [key_of(&secrets.rx.1), key_of(&secrets.tx.1)];
        // rustls frees the key block of TLS 1.2 (RFC 5246 section 6.3), which only it ever has, as it is.
        let key_blocks = blocks_with(&[client_key, server_key].concat(), true);
        assert!(versions == Versions::Tls12 || key_blocks == 0);
        for key in [client_key, server_key] {
            assert_eq!(blocks_with(key, false), 1, "{versions:?} {suite:?}: the connection alone holds a key");
        }
        watched(|| drop(client));
        for key in [client_key, server_key] {
            assert_eq!(blocks_with(key, false), 0, "{versions:?} {suite:?}: a key is still held");
            assert_eq!(blocks_with(key, true), key_blocks, "{versions:?} {suite:?}: a key was left in freed memory");
        }
    }
}

/// One test: only one thread may watch.
#[test]
fn no_traffic_key_outlives_its_use() {
    keys_of_updates_are_wiped_where_they_lay();
    a_connection_leaves_no_traffic_key_in_freed_memory();
}
