//! The record layer against rustls and against records made by hand: streams both ways, all suites, both versions, key
//! updates, every cut, every flipped bit, and what the RFCs say of control records.

mod tls_support;

use drivers::purpose::Purpose;
use netstack::tls::{Alert, KeySchedule, RecordBuffer, RecordLayer, SealError, Suite, TlsError, TrafficKeys, Version, Versions};
use proptest::prelude::*;
use tls_support::*;

const SUITES: [Suite; 3] = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

/// One thing that happens on an established connection.
#[derive(Clone, Debug)]
enum Act {
    ClientSends(usize, bool),
    ServerSends(usize),
    ClientUpdates,
    ServerUpdates,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let length = prop_oneof![4 => 0usize..600, 1 => 16_370usize..16_385];
    let act = prop_oneof![
        4 => (length.clone(), any::<bool>()).prop_map(|(length, in_place)| Act::ClientSends(length, in_place)),
        4 => length.prop_map(Act::ServerSends),
        1 => Just(Act::ClientUpdates),
        1 => Just(Act::ServerUpdates),
    ];
    proptest::collection::vec(act, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_sides_read_what_the_other_wrote_whatever_happens_between(
        combination in 0usize..6,
        acts in acts(),
        size in 1usize..2000,
    ) {
        let (versions, suite) = combinations().nth(combination).unwrap();
        let (mut client, mut server) = established(versions, suite);
        let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
        for (index, act) in acts.iter().enumerate() {
            match *act {
                Act::ClientSends(length, in_place) => {
                    let text: Vec<u8> = (0..length).map(|byte| (byte + index) as u8).collect();
                    // What TLS has to say goes first, as the module's head demands.
                    server.receive(&client.output());
                    let record = if in_place { client.seal_in_place(&text) } else { client.seal(&text) };
                    record.chunks(size).for_each(|piece| server.receive(piece));
                    from_client.extend_from_slice(&text);
                }
                Act::ServerSends(length) => {
                    let text: Vec<u8> = (0..length).map(|byte| (byte * 3 + index) as u8).collect();
                    server.write(&text);
                    for piece in server.output().chunks(size) {
                        client.receive(piece).unwrap();
                    }
                    from_server.extend_from_slice(&text);
                }
                Act::ClientUpdates => client.tls.queue_key_update(),
                Act::ServerUpdates if versions == Versions::Tls13 => server.connection.refresh_traffic_keys().unwrap(),
                Act::ServerUpdates => {}
            }
        }
        settle(&mut client, &mut server).unwrap();
        prop_assert_eq!(server.error, None);
        prop_assert!(server.plaintext == from_client && client.plaintext == from_server);
        if versions == Versions::Tls13 {
            let count = |wanted: fn(&Act) -> bool| acts.iter().filter(|act| wanted(act)).count() as u64;
            let updates = count(|act| matches!(act, Act::ServerUpdates));
            prop_assert_eq!(client.tls.statistics().key_updates_in, updates);
        }
    }
}

/// A stream of the server with everything that may come: data, key updates (TLS 1.3).
fn server_stream(versions: Versions, server: &mut Server) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut plaintext = Vec::new();
    for (index, text) in [&b"first"[..], b"", b"the second message", &[7; 40]].into_iter().enumerate() {
        server.write(text);
        plaintext.extend_from_slice(text);
        bytes.extend_from_slice(&server.output());
        if versions == Versions::Tls13 && index < 2 {
            server.connection.refresh_traffic_keys().unwrap();
            bytes.extend_from_slice(&server.output());
        }
    }
    (bytes, plaintext)
}

#[test]
fn every_cut_of_every_suites_stream_gives_the_same_plaintext() {
    for (versions, suite) in combinations() {
        let (mut client, mut server) = established(versions, suite);
        let length = server_stream(versions, &mut server).0.len();
        drop(client);
        for cut in (1..length).step_by(if suite == Suite::Aes128Gcm { 1 } else { 3 }) {
            (client, server) = established(versions, suite);
            let (bytes, plaintext) = server_stream(versions, &mut server);
            client.receive(&bytes[..cut]).unwrap();
            client.receive(&bytes[cut..]).unwrap();
            assert_eq!(client.plaintext, plaintext, "{versions:?} {suite:?} {cut}");
        }
    }
}

#[test]
fn every_flipped_bit_is_found_and_the_server_told() {
    for (versions, suite) in combinations() {
        let length = {
            let (_, mut server) = established(versions, suite);
            server.write(b"buy 1 at 2");
            server.output().len()
        };
        for bit in (0..length * 8).step_by(if suite == Suite::Aes128Gcm { 1 } else { 7 }) {
            let (mut client, mut server) = established(versions, suite);
            server.write(b"buy 1 at 2");
            let mut record = server.output();
            record[bit / 8] ^= 1 << (bit % 8);
            // A longer length waits for more; a peer that goes on sending brings the error to light.
            server.write(&[0; 16_384]);
            server.write(&[0; 4_096]);
            let more = server.output();
            let result = client.receive(&record).and_then(|()| client.receive(&more));
            let error = result.expect_err(&format!("{versions:?} {suite:?} bit {bit}"));
            assert_eq!(client.plaintext, b"", "{error}");
            let alert = client.output();
            assert!(!alert.is_empty(), "{error}");
            server.receive(&alert);
            assert!(matches!(server.error, Some(rustls::Error::AlertReceived(_))), "{:?}", server.error);
        }
    }
}

#[test]
fn closing_is_orderly_on_both_sides() {
    for (versions, suite) in combinations() {
        let (mut client, mut server) = established(versions, suite);
        client.tls.queue_close_notify();
        assert_eq!(client.tls.seal(b"late", &mut [0; 64]), Err(SealError::Closed));
        server.receive(&client.output());
        assert!(server.closed);
        server.write(b"last words");
        server.connection.send_close_notify();
        client.receive(&server.output()).unwrap();
        assert!(client.closed);
        assert_eq!(client.plaintext, b"last words");
        // Whatever follows is ignored.
        client.receive(b"garbage").unwrap();
        let (mut client, mut server) = established(versions, suite);
        server.connection.send_close_notify();
        client.receive(&server.output()).unwrap();
        server.receive(&client.output());
        assert!(client.closed && server.closed);
    }
}

/// Keys that are known, for both directions.
struct Known {
    suite: Suite,
    tickets: usize,
}

impl Known {
    fn keys(suite: Suite, generation: u8) -> TrafficKeys {
        TrafficKeys::new(suite, &[generation; 32][..suite.key_len()], [generation; 12], 0).unwrap()
    }
}

impl KeySchedule for Known {
    fn next_send_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        Ok(Known::keys(self.suite, 2))
    }

    fn next_receive_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        Ok(Known::keys(self.suite, 2))
    }

    fn new_session_ticket(&mut self, _body: &[u8]) -> Result<(), TlsError> {
        self.tickets += 1;
        Ok(())
    }
}

fn known_forge(version: Version, generation: u8) -> Forge {
    Forge::new(version, Suite::Aes128Gcm, &[generation; 16], [generation; 12], 0)
}

fn known(version: Version) -> (RecordLayer<Known>, Forge) {
    let suite = Suite::Aes128Gcm;
    let keys = Known::keys(suite, 1);
    (RecordLayer::new(version, &keys, &keys, Known { suite, tickets: 0 }).unwrap(), known_forge(version, 1))
}

/// Feeds whole records; returns the plaintext.
fn feed(layer: &mut RecordLayer<Known>, records: &[Vec<u8>]) -> Result<Vec<u8>, TlsError> {
    let mut buffer = RecordBuffer::new();
    let mut plaintext = Vec::new();
    for record in records {
        let mut input = record.clone();
        let received = layer.receive(&mut input, &mut buffer)?;
        assert_eq!(received.consumed, record.len());
        if let netstack::tls::Event::Plaintext(text) = received.event {
            plaintext.extend_from_slice(text);
        }
    }
    Ok(plaintext)
}

const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
const KEY_UPDATE_REQUESTED: [u8; 5] = [24, 0, 0, 1, 1];

#[test]
fn padding_is_removed_whatever_its_length() {
    let (mut layer, mut forge) = known(Version::Tls13);
    for padding in [0, 1, 15, 16, 255, 16_384 - 4] {
        let record = forge.record(DATA, b"fill", padding);
        assert_eq!(feed(&mut layer, &[record]).unwrap(), b"fill");
    }
    // Data that ends in zeros is not padding.
    let record = forge.record(DATA, &[1, 0, 0], 2);
    assert_eq!(feed(&mut layer, &[record]).unwrap(), [1, 0, 0]);
    let record = forge.record(DATA, b"fill", 16_384 - 3);
    assert_eq!(feed(&mut layer, &[record]), Err(TlsError::RecordOverflow { length: 16_386, limit: 16_385 }));
}

/// Both ways make the record of a number, whatever was rehearsed before, and touch no byte beside it.
#[test]
fn sealing_in_place_and_from_elsewhere_make_the_same_record() {
    const BESIDE: u8 = 0xb5;
    for (version, suite) in
        [Version::Tls12, Version::Tls13].into_iter().flat_map(|version| SUITES.into_iter().map(move |suite| (version, suite)))
    {
        for length in [0, 1, 14, 15, 16, 17, 300, 16_384] {
            let layer = || RecordLayer::new(version, &Known::keys(suite, 1), &Known::keys(suite, 1), Known { suite, tickets: 0 }).unwrap();
            let (mut elsewhere, mut in_place) = (layer(), layer());
            let (before, behind) = (elsewhere.header_room(), elsewhere.trailer_room());
            let plaintext: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let needed = before + length + behind;

            let mut out = vec![BESIDE; needed + 7];
            let mut small = out[..needed - 1].to_vec();
            assert_eq!(elsewhere.seal(&plaintext, &mut small), Err(SealError::BufferTooSmall { needed }));
            assert!(small.iter().all(|byte| *byte == BESIDE), "no plaintext where there is no record");
            assert_eq!(elsewhere.seal(&plaintext, &mut out), Ok(needed));
            assert!(out[needed..].iter().all(|byte| *byte == BESIDE), "{version:?} {suite:?} {length}");

            let mut frame = vec![BESIDE; 9 + needed + 7];
            let at = 9 + before..9 + before + length;
            frame[at.clone()].copy_from_slice(&plaintext);
            let mut rehearsal = frame.clone();
            assert_eq!(in_place.seal_in_place(Purpose::Rehearse, &mut rehearsal, at.clone()), Ok(9..9 + needed));
            assert_eq!(in_place.seal_in_place(Purpose::Send, &mut frame, at), Ok(9..9 + needed));
            assert!(frame[9..9 + needed] == out[..needed], "{version:?} {suite:?} {length}");
            let mut never = Forge::new(version, suite, &vec![1; suite.key_len()], [1; 12], u64::MAX - 1);
            assert!(rehearsal[9..9 + needed] == never.record(DATA, &plaintext, 0), "a number that no record ever has");
            for frame in [&frame, &rehearsal] {
                assert!(frame[..9].iter().chain(&frame[9 + needed..]).all(|byte| *byte == BESIDE), "{version:?} {suite:?} {length}");
            }
            assert_eq!((in_place.statistics().records_out, elsewhere.statistics().records_out), (1, 1));
        }
    }
}

#[test]
fn all_of_a_records_number_is_in_its_nonce() {
    for sequence in [1, 0xff, 1 << 31, u64::from(u32::MAX), 1 << 32, 0x0123_4567_89ab_cdef] {
        for suite in SUITES {
            let (key, iv) = ([3; 32], [0x5a; 12]);
            let keys = TrafficKeys::new(suite, &key[..suite.key_len()], iv, sequence).unwrap();
            let mut layer = RecordLayer::new(Version::Tls13, &keys, &keys, Known { suite, tickets: 0 }).unwrap();
            let mut forge = Forge::new(Version::Tls13, suite, &key[..suite.key_len()], iv, sequence);
            let records = [forge.record(DATA, b"one", 0), forge.record(DATA, b"two", 0)];
            assert_eq!(feed(&mut layer, &records).unwrap(), b"onetwo");
            if sequence < suite.record_limit() - 4 {
                let mut out = [0; 64];
                let length = layer.seal(b"one", &mut out).unwrap();
                assert_eq!(out[..length], records[0]);
            }
        }
    }
}

#[test]
fn handshake_messages_may_share_and_span_records() {
    let (mut layer, mut forge) = known(Version::Tls13);
    let ticket = [&[4, 0, 0, 100][..], &[9; 100]].concat();
    let two = [&ticket[..], &ticket].concat();
    for cut in 1..two.len() {
        let (mut layer, mut forge) = known(Version::Tls13);
        let records = [forge.record(HANDSHAKE, &two[..cut], 0), forge.record(HANDSHAKE, &two[cut..], 3), forge.record(DATA, b"x", 0)];
        assert_eq!(feed(&mut layer, &records).unwrap(), b"x");
        assert_eq!(layer.schedule().tickets, 2);
    }
    // A key update that spans records still changes keys on the record boundary.
    let records = [forge.record(HANDSHAKE, &KEY_UPDATE[..2], 0), forge.record(HANDSHAKE, &KEY_UPDATE[2..], 0)];
    feed(&mut layer, &records).unwrap();
    let mut forge = known_forge(Version::Tls13, 2);
    assert_eq!(feed(&mut layer, &[forge.record(DATA, b"new keys", 0)]).unwrap(), b"new keys");
}

#[test]
fn a_requested_key_update_is_answered_before_any_data() {
    let (mut layer, mut forge) = known(Version::Tls13);
    feed(&mut layer, &[forge.record(HANDSHAKE, &KEY_UPDATE_REQUESTED, 0)]).unwrap();
    assert_eq!(layer.seal(b"order", &mut [0; 64]), Err(SealError::PendingFirst));
    let mut out = [0; 128];
    assert_eq!(layer.write_pending(&mut out[..10]), 0, "no room");
    let written = layer.write_pending(&mut out);
    assert_eq!(known_forge(Version::Tls13, 1).open(&out[..written]), (HANDSHAKE, KEY_UPDATE.to_vec()));
    let written = layer.seal(b"order", &mut out).unwrap();
    assert_eq!(known_forge(Version::Tls13, 2).open(&out[..written]), (DATA, b"order".to_vec()));
}

#[test]
fn keys_are_changed_before_their_limit_or_worn_out_where_that_is_impossible() {
    let (mut layer, _) = known(Version::Tls13);
    layer.set_record_limit(16);
    let mut out = [0; 128];
    for _ in 0..8 {
        assert!(!layer.has_pending());
        layer.seal(b"order", &mut out).unwrap();
    }
    assert!(layer.has_pending(), "half of the limit");
    for _ in 8..12 {
        layer.seal(b"order", &mut out).unwrap();
    }
    assert_eq!(layer.seal(b"order", &mut out), Err(SealError::PendingFirst));
    assert!(layer.write_pending(&mut out) > 0);
    layer.seal(b"order", &mut out).unwrap();
    assert_eq!(layer.statistics().key_updates_out, 1);

    let (mut layer, _) = known(Version::Tls12);
    layer.set_record_limit(16);
    for sealed in 0..12 {
        assert_eq!(layer.wears_out(), sealed >= 8);
        layer.seal(b"order", &mut out).unwrap();
    }
    assert_eq!(layer.seal(b"order", &mut out), Err(SealError::KeyExhausted));
    layer.queue_close_notify();
    assert!(layer.write_pending(&mut out) > 0, "there is room for the last word");
}

#[test]
fn floods_of_what_says_nothing_are_cut_off() {
    for (version, content_type, content) in [
        (Version::Tls13, DATA, &b""[..]),
        (Version::Tls12, DATA, b""),
        (Version::Tls12, ALERT, &[1, 90]),
        (Version::Tls13, ALERT, &[1, 90]),
        (Version::Tls12, HANDSHAKE, &[0, 0, 0, 0]),
    ] {
        let (mut layer, mut forge) = known(version);
        let mut count = 0;
        let error = loop {
            count += 1;
            assert!(count < 100);
            if let Err(error) = feed(&mut layer, &[forge.record(content_type, content, 0)]) {
                break error;
            }
        };
        assert!(matches!(error, TlsError::UnexpectedMessage(_)), "{error}");
        assert!(count > 1, "one is harmless");
    }
    // Key updates without data between them: each costs a key derivation.
    let (mut client, mut server) = established(Versions::Tls13, Suite::Aes128Gcm);
    let mut updates = 0;
    let error = loop {
        server.connection.refresh_traffic_keys().unwrap();
        updates += 1;
        assert!(updates < 100);
        if let Err(error) = client.receive(&server.output()) {
            break error;
        }
    };
    assert_eq!((updates, error), (33, TlsError::UnexpectedMessage("too many key updates in a row")));
    let (mut layer, mut forge) = known(Version::Tls13);
    for _ in 0..100 {
        feed(&mut layer, &[forge.record(HANDSHAKE, &[4, 0, 0, 1, 9], 0)]).unwrap();
    }
    assert_eq!(layer.schedule().tickets, 8, "tickets beyond the bound are dropped");
    let (mut layer, mut forge) = known(Version::Tls13);
    let error = feed(&mut layer, &[forge.record(HANDSHAKE, &[4, 0, 0x80, 0], 0)]);
    assert_eq!(error, Err(TlsError::HandshakeTooLarge { limit: 16_384 }));
}

/// RFC 8446 section 6, RFC 5246 section 7.2.
#[test]
fn only_a_warning_may_say_user_canceled_and_every_level_is_known() {
    for version in [Version::Tls13, Version::Tls12] {
        for (alert, verdict) in [
            ([1, 90], Ok(b"".to_vec())),
            ([2, 90], Err(TlsError::PeerAlert(Alert(90)))),
            ([0, 0], Err(TlsError::IllegalParameter("an alert that is neither a warning nor fatal"))),
            ([3, 90], Err(TlsError::IllegalParameter("an alert that is neither a warning nor fatal"))),
        ] {
            let (mut layer, mut forge) = known(version);
            assert_eq!(feed(&mut layer, &[forge.record(ALERT, &alert, 0)]), verdict, "{version:?} {alert:?}");
        }
    }
}

#[test]
fn warnings_of_tls12_are_not_fatal_and_renegotiation_is_refused() {
    let (mut layer, mut forge) = known(Version::Tls12);
    let records = [forge.record(ALERT, &[1, 112], 0), forge.record(HANDSHAKE, &[0, 0, 0, 0], 0), forge.record(DATA, b"fill", 0)];
    assert_eq!(feed(&mut layer, &records).unwrap(), b"fill");
    let mut out = [0; 64];
    assert_eq!(layer.write_pending(&mut out), 5 + 8 + 2 + 16);
    assert_eq!(out[0], 21, "a no_renegotiation alert");
    let error = feed(&mut layer, &[forge.record(ALERT, &[2, 40], 0)]);
    assert_eq!(error, Err(TlsError::PeerAlert(Alert(40))));
}
