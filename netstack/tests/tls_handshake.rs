//! Handshakes of our client with a rustls server: versions, certificates, resumption, and every way in
//! which the server's flight can be cut.

mod tls_support;

use netstack::tls::{Alert, Roots, SealError, TlsClient, TlsConfig, TlsConfigError, TlsError, TlsOptions, Version, Versions};
use tls_support::*;

#[test]
fn every_version_and_suite_carries_data_both_ways() {
    for (versions, suite) in combinations() {
        let (mut client, mut server) = established(versions, suite);
        assert_eq!(client.tls.version(), Some(if versions == Versions::Tls13 { Version::Tls13 } else { Version::Tls12 }));
        let mut sent = Vec::new();
        for (index, length) in [1usize, 2, 15, 16, 17, 200, 1399, 4096, 16383, 16384].into_iter().enumerate() {
            let text: Vec<u8> = (0..length).map(|byte| (byte * 31 + index) as u8).collect();
            let record = if index % 2 == 0 { client.seal(&text) } else { client.seal_in_place(&text) };
            server.receive(&record);
            server.write(&text);
            client.receive(&server.output()).unwrap();
            sent.extend_from_slice(&text);
        }
        assert_eq!(server.error, None, "{versions:?} {suite:?}");
        assert_eq!(server.plaintext, sent, "{versions:?} {suite:?}");
        assert_eq!(client.plaintext, sent, "{versions:?} {suite:?}");
    }
}

/// Data that the server sends in the same flight as its last handshake message, whatever way the
/// network cuts that flight.
fn cut_the_last_flight(versions: Versions, cut: impl Fn(&[u8], &mut Client) -> Result<(), TlsError>) {
    let authority = Authority::new();
    let config = authority.client_config(versions, None);
    let server_config = authority.server_config(&[]);
    let mut client = Client::new(&config);
    let mut server = Server::new(&server_config);
    loop {
        server.receive(&client.output());
        // rustls lets a server write early: the data follows the handshake's last message at once.
        let last = versions == Versions::Tls13 || !server.connection.is_handshaking();
        if last {
            server.write(b"first");
            server.write(b"second message");
        }
        let flight = server.output();
        if last {
            cut(&flight, &mut client).unwrap();
            break;
        }
        client.receive(&flight).unwrap();
    }
    assert!(client.established);
    settle(&mut client, &mut server).unwrap();
    assert_eq!(client.plaintext, b"firstsecond message");
    server.receive(&client.seal(b"order"));
    assert_eq!(server.plaintext, b"order");
}

/// The flight's length varies by a few bytes (ECDSA signatures): one past the longest seen is enough.
fn flight_length(versions: Versions) -> usize {
    let length = std::cell::Cell::new(0);
    cut_the_last_flight(versions, |flight, client| {
        length.set(flight.len());
        client.receive(flight)
    });
    length.get()
}

#[test]
fn every_split_of_the_last_flight_keeps_its_early_data_tls13() {
    let length = flight_length(Versions::Tls13);
    assert!(length > 500, "the flight holds certificate and data");
    for split in 1..length {
        cut_the_last_flight(Versions::Tls13, |flight, client| {
            let (head, tail) = flight.split_at(split.min(flight.len()));
            client.receive(head)?;
            client.receive(tail)
        });
    }
}

#[test]
fn every_split_of_the_last_flight_keeps_its_early_data_tls12() {
    let length = flight_length(Versions::Tls12);
    for split in 1..length {
        cut_the_last_flight(Versions::Tls12, |flight, client| {
            let (head, tail) = flight.split_at(split.min(flight.len()));
            client.receive(head)?;
            client.receive(tail)
        });
    }
}

#[test]
fn byte_by_byte_handshake_keeps_early_data() {
    for versions in [Versions::Tls13, Versions::Tls12] {
        cut_the_last_flight(versions, |flight, client| flight.iter().try_for_each(|byte| client.receive(&[*byte])));
    }
}

#[test]
fn nothing_is_sealed_before_the_handshake_or_ahead_of_our_finished() {
    let authority = Authority::new();
    let mut client = Client::new(&authority.client_config(Versions::Tls13, None));
    let mut server = Server::new(&authority.server_config(&[]));
    let mut out = [0; 256];
    assert_eq!(client.tls.seal(b"order", &mut out), Err(SealError::NotReady));
    server.receive(&client.output());
    client.receive(&server.output()).unwrap();
    assert!(client.established);
    assert_eq!(client.tls.seal(b"order", &mut out), Err(SealError::PendingFirst));
    server.receive(&client.output());
    let length = client.tls.seal(b"order", &mut out).unwrap();
    server.receive(&out[..length]);
    assert_eq!(server.plaintext, b"order");
}

fn refused(authority: &Authority, config: &TlsConfig, name: &str, now: u64) -> (TlsError, Option<rustls::Error>) {
    let mut server = Server::new(&authority.server_config(&[]));
    let mut client = Client::new(config);
    client.tls = TlsClient::new(config, name, now).unwrap();
    server.receive(&client.output());
    let error = client.receive(&server.output()).unwrap_err();
    assert_eq!(client.receive(b"x").unwrap_err(), error, "an error is final");
    assert_eq!(client.tls.seal(b"x", &mut [0; 64]), Err(SealError::Closed));
    server.receive(&client.output());
    (error, server.error)
}

#[test]
fn certificates_are_refused_for_the_right_reason_and_the_server_is_told() {
    use rustls::{AlertDescription, CertificateError, Error};
    let authority = Authority::with(|leaf| {
        leaf.not_before = rcgen::date_time_ymd(2026, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2027, 1, 1);
    });
    let config = authority.client_config(Versions::Tls13, None);

    let stranger = Authority::new().client_config(Versions::Tls13, None);
    let (error, seen) = refused(&authority, &stranger, SERVER_NAME, NOW);
    // The stranger's root has the same name but another key.
    assert!(matches!(error, TlsError::BadCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)), "{error:?}");
    assert!(matches!(seen, Some(Error::AlertReceived(_))), "{seen:?}");

    let (error, seen) = refused(&authority, &config, "other.test", NOW);
    assert!(matches!(error, TlsError::BadCertificate(CertificateError::NotValidForNameContext { .. })), "{error:?}");
    assert_eq!(seen, Some(Error::AlertReceived(AlertDescription::BadCertificate)));

    let (error, seen) = refused(&authority, &config, SERVER_NAME, 1_900_000_000);
    assert!(matches!(error, TlsError::BadCertificate(CertificateError::ExpiredContext { .. })), "{error:?}");
    assert_eq!(seen, Some(Error::AlertReceived(AlertDescription::CertificateExpired)));

    let (error, _) = refused(&authority, &config, SERVER_NAME, 1_700_000_000);
    assert!(matches!(error, TlsError::BadCertificate(CertificateError::NotValidYetContext { .. })), "{error:?}");
}

#[test]
fn a_fatal_alert_of_the_server_is_reported_by_name() {
    let authority = Authority::new();
    let options = TlsOptions { alpn: vec![b"h2".to_vec()], ..TlsOptions::default() };
    let config = TlsConfig::with_options(Roots::Der(&authority.ca_der), &options).unwrap();
    let mut client = Client::new(&config);
    let mut server = Server::new(&authority.server_config(&[b"http/1.1"]));
    server.receive(&client.output());
    let error = client.receive(&server.output()).unwrap_err();
    assert_eq!(error, TlsError::PeerAlert(Alert(120)));
    assert_eq!(error.to_string(), "the peer sent the fatal alert no_application_protocol (120)");
}

#[test]
fn alpn_is_negotiated_from_pem_roots() {
    let authority = Authority::new();
    let options = TlsOptions { alpn: vec![b"http/1.1".to_vec()], ..TlsOptions::default() };
    let config = TlsConfig::with_options(Roots::Pem(authority.ca_pem.as_bytes()), &options).unwrap();
    let mut client = Client::new(&config);
    let mut server = Server::new(&authority.server_config(&[b"http/1.1"]));
    settle(&mut client, &mut server).unwrap();
    assert_eq!(client.tls.alpn(), Some(&b"http/1.1"[..]));
    assert_eq!(server.connection.server_name(), Some(SERVER_NAME));
}

#[test]
fn unusable_configuration_is_refused() {
    assert!(matches!(TlsConfig::new(Roots::Pem(b"no certificate here")), Err(TlsConfigError::BadPem(_))));
    assert!(matches!(TlsConfig::new(Roots::Der(b"no certificate here")), Err(TlsConfigError::BadRoot(_))));
    let config = TlsConfig::new(Roots::Public).unwrap();
    assert!(matches!(TlsClient::new(&config, "not a name!", NOW), Err(TlsConfigError::BadServerName(_))));
}

#[test]
fn a_ticket_resumes_the_next_connection_in_both_versions() {
    for versions in [Versions::Tls13, Versions::Tls12] {
        let authority = Authority::new();
        let config = authority.client_config(versions, None);
        let server_config = authority.server_config(&[]);
        for kind in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
            let mut client = Client::new(&config);
            let mut server = Server::new(&server_config);
            settle(&mut client, &mut server).unwrap();
            assert_eq!(server.connection.handshake_kind(), Some(kind), "{versions:?}");
            server.receive(&client.seal(b"order"));
            server.write(b"fill");
            client.receive(&server.output()).unwrap();
            assert_eq!((server.plaintext.as_slice(), client.plaintext.as_slice()), (&b"order"[..], &b"fill"[..]));
        }
    }
}

#[test]
fn giving_up_during_the_handshake_says_so() {
    let authority = Authority::new();
    let mut client = Client::new(&authority.client_config(Versions::Both, None));
    let mut server = Server::new(&authority.server_config(&[]));
    client.tls.queue_close_notify();
    server.receive(&client.output());
    assert!(!client.tls.is_established());
    assert_eq!(client.tls.seal(b"x", &mut [0; 64]), Err(SealError::Closed));
}

#[test]
fn garbage_instead_of_a_server_hello_is_an_error_that_is_answered_by_an_alert() {
    let authority = Authority::new();
    let config = authority.client_config(Versions::Both, None);
    for garbage in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0; 64], &[0xff; 64], &[22, 3, 3, 0, 4, 2, 0xff, 0xff, 0xff]] {
        let mut client = Client::new(&config);
        client.output();
        let result = client.receive(garbage);
        if let Err(error) = result {
            let alert = client.output();
            assert_eq!(alert.first(), Some(&21), "{error}");
        } else {
            assert!(!client.established);
        }
    }
    let mut client = Client::new(&config);
    assert!(matches!(client.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Err(TlsError::RecordOverflow { .. } | TlsError::Handshake(_))));
}

#[test]
fn an_endless_handshake_is_cut_off() {
    let authority = Authority::new();
    let mut client = Client::new(&authority.client_config(Versions::Both, None));
    client.output();
    // A handshake message that announces 16 MiB, in records of the greatest length.
    let mut record = vec![22, 3, 3, 0x40, 0];
    record.resize(5 + 0x4000, 0);
    record[5..9].copy_from_slice(&[2, 0xff, 0xff, 0xff]);
    let mut fed = 0;
    let error = loop {
        match client.receive(&record) {
            Ok(()) => fed += record.len(),
            Err(error) => break error,
        }
        assert!(fed < 1 << 20, "more than a MiB was taken");
    };
    assert!(matches!(error, TlsError::HandshakeTooLarge { .. } | TlsError::Handshake(_)), "{error:?}");
}
