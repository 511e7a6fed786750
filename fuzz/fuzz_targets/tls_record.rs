//! Records of an established TLS connection. The first bytes choose version, cipher and what to do; the rest
//! is either sealed properly first and then damaged, or given as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netstack::tls::{Event, KeySchedule, RecordBuffer, RecordLayer, Suite, TlsError, TrafficKeys, Version};

struct FixedKeys(Suite);

fn keys(suite: Suite) -> TrafficKeys {
    TrafficKeys::new(suite, &vec![3; suite.key_len()], [9; 12], 0).expect("the key has the suite's length")
}

impl KeySchedule for FixedKeys {
    fn next_send_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        Ok(keys(self.0))
    }
    fn next_receive_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        Ok(keys(self.0))
    }
    fn new_session_ticket(&mut self, _body: &[u8]) -> Result<(), TlsError> {
        Ok(())
    }
}

fn layer(version: Version, suite: Suite) -> RecordLayer<FixedKeys> {
    RecordLayer::new(version, &keys(suite), &keys(suite), FixedKeys(suite)).expect("valid keys")
}

fuzz_target!(|data: &[u8]| {
    let [mode, damage_at, damage, step, rest @ ..] = data else { return };
    let version = if mode & 1 == 0 { Version::Tls13 } else { Version::Tls12 };
    let suite = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305][usize::from(mode >> 1) % 3];
    let mut stream = Vec::new();
    if mode & 0x80 == 0 {
        // Both directions use the same keys here, so what we seal is what a peer would have sent.
        let mut peer = layer(version, suite);
        for piece in rest.chunks(usize::from(*step) + 1).take(16) {
            let mut record = vec![0; piece.len() + 64];
            let length = peer.seal(piece, &mut record).expect("it fits");
            stream.extend_from_slice(&record[..length]);
        }
        if *damage != 0 && !stream.is_empty() {
            let at = usize::from(*damage_at) * stream.len() / 256;
            stream[at] ^= damage;
        }
    } else {
        stream.extend_from_slice(rest);
    }
    let untouched = mode & 0x80 == 0 && *damage == 0;

    let mut ours = layer(version, suite);
    let mut buffer = RecordBuffer::new();
    let mut plain = Vec::new();
    let (mut at, mut end) = (0, 0);
    let mut state = usize::from(*step);
    while end < stream.len() || at < end {
        if at == end {
            state = state.wrapping_mul(31).wrapping_add(7);
            end = (end + state % 700 + 1).min(stream.len());
        }
        match ours.receive(&mut stream[at..end], &mut buffer) {
            Ok(received) => {
                at += received.consumed;
                match received.event {
                    Event::Plaintext(bytes) => plain.extend_from_slice(bytes),
                    Event::NeedMore => assert_eq!(at, end),
                    Event::PeerClosed => break,
                    _ => {}
                }
            }
            Err(_) => {
                assert!(!untouched, "what was sealed opens");
                break;
            }
        }
        let mut pending = [0; 256];
        ours.write_pending(&mut pending);
    }
    if untouched {
        let sent: Vec<u8> = rest.chunks(usize::from(*step) + 1).take(16).flatten().copied().collect();
        assert_eq!(plain, sent);
    }
});
