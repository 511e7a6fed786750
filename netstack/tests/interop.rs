//! Our stack against programs that we did not write, over AF_XDP and AF_PACKET on a real wire: the kernel's
//! TCP, openssl, nginx, and a Python WebSocket server.
//!
//! Needs root (network namespaces); openssl, nginx and python3 with `venv` where a test says so, and a
//! reachable package index for the first run of the WebSocket tests. A test without what it needs says that
//! it was skipped (in CI it fails instead).

mod interop_support;

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener};

use interop_support::peers::{Certificate, Directory, Peer, nginx, python};
use interop_support::tls_pipe::TlsPipe;
use interop_support::{PEER, PEER_NAME, Rig, TestPort, now_ns, over_each_link, skip, unix_s};
use netstack::http::Method;
use netstack::session::{CloseCause, Handler, HttpClient, HttpClientConfig, HttpProgress, Progress, Session, SessionConfig};
use netstack::stack::Stack;
use netstack::tls::{Suite, TlsConfig, Version, Versions};
use netstack::transport::{CloseReason, SocketState, Transport};
use netstack::websocket::Kind;

fn pattern(position: usize) -> u8 {
    ((position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// Sends `total` bytes to an echo server on the kernel's TCP, and closes in order.
fn echo(rig: &mut Rig, port: u16, total: usize) {
    let listener = rig.bed.right().run(|| TcpListener::bind((PEER, port))).expect("namespace").expect("bind");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut buffer = vec![0; 65_536];
        let mut total = 0;
        loop {
            let count = stream.read(&mut buffer).expect("read");
            if count == 0 {
                return total;
            }
            stream.write_all(&buffer[..count]).expect("write");
            total += count;
        }
    });
    let socket = rig.stack.connect(SocketAddrV4::new(PEER, port), now_ns()).expect("begun");
    let (mut written, mut read) = (0, 0);
    rig.until("all bytes come back", |stack, _| {
        if stack.state(socket) == SocketState::Connecting {
            return false;
        }
        let len = (1 + written % 4001).min(total - written);
        if len > 0 {
            let filled = stack.write(socket, len, |room| {
                for (place, byte) in room.iter_mut().enumerate() {
                    *byte = pattern(written + place);
                }
                (len, ())
            });
            written += filled.map_or(0, |()| len);
        }
        stack.read(socket, |bytes| {
            for byte in bytes.iter() {
                assert_eq!(*byte, pattern(read), "byte {read}");
                read += 1;
            }
            (bytes.len(), ())
        });
        read == total
    });
    rig.stack.close(socket);
    rig.until("closed in order", |stack, _| stack.state(socket) == SocketState::Closed(CloseReason::Closed));
    assert_eq!(server.join().expect("the server"), total);
    rig.stack.release(socket);
}

#[test]
fn the_kernel_s_tcp_echoes_megabytes_and_closes_in_order() {
    over_each_link(|rig| {
        echo(rig, 7000, 8 << 20);
        let statistics = rig.stack.statistics();
        assert_eq!((statistics.bad_checksum, statistics.no_socket, statistics.malformed), (0, 0, 0), "{statistics:?}");
    });
}

#[test]
fn the_kernel_s_tcp_echoes_over_a_line_that_loses_frames() {
    over_each_link(|rig| {
        for (place, loss_ppm) in [5_000, 20_000, 50_000].into_iter().enumerate() {
            rig.stack.port_mut().lose(loss_ppm, 77 + loss_ppm);
            echo(rig, 7010 + place as u16, 200_000);
        }
        assert!(rig.stack.statistics().segments_resent > 0);
    });
}

#[test]
fn a_port_on_which_nobody_listens_refuses() {
    over_each_link(|rig| {
        let socket = rig.stack.connect(SocketAddrV4::new(PEER, 7001), now_ns()).expect("begun");
        rig.until("refused", |stack, _| stack.state(socket) == SocketState::Closed(CloseReason::Refused));
    });
}

#[test]
fn openssl_shakes_hands_and_answers_in_every_version_and_cipher() {
    over_each_link(|rig| {
        let directory = Directory::new();
        let certificate = Certificate::new(&directory);
        for (place, (versions, flag, version)) in
            [(Versions::Tls13, "-tls1_3", Version::Tls13), (Versions::Tls12, "-tls1_2", Version::Tls12)].into_iter().enumerate()
        {
            let port = 7100 + place as u16;
            let (accept, cert, key) =
                (format!("{PEER}:{port}"), certificate.certificate.to_string_lossy(), certificate.key.to_string_lossy());
            // -rev: each line comes back reversed.
            let arguments = ["s_server", "-accept", &accept, "-cert", &cert, "-key", &key, "-rev", "-quiet", flag];
            let _server = match Peer::start(rig.bed.right(), "openssl", port, &arguments) {
                Ok(server) => server,
                Err(reason) => return skip(&reason),
            };
            for suite in [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
                let config = certificate.client(versions, Some(suite));
                // Twice: the second handshake resumes the first session.
                for _ in 0..2 {
                    reversed_lines(rig, port, &config, version, suite);
                }
            }
        }
    });
}

/// Sends lines of many lengths over TLS and checks that they come back reversed.
fn reversed_lines(rig: &mut Rig, port: u16, config: &TlsConfig, version: Version, suite: Suite) {
    let lines: Vec<Vec<u8>> = [1, 2, 15, 100, 1000, 1400, 1500, 4000, 9000, 16_000]
        .into_iter()
        .map(|len| (0..len).map(|place| b'a' + pattern(place + len) % 26).chain([b'\n']).collect())
        .collect();
    let expected: Vec<u8> = lines.iter().flat_map(|line| line[..line.len() - 1].iter().rev().copied().chain([b'\n'])).collect();
    let socket = rig.stack.connect(SocketAddrV4::new(PEER, port), now_ns()).expect("begun");
    let mut pipe = TlsPipe::new(socket, config);
    let mut sent = 0;
    rig.until("reversed lines", |stack, _| {
        if stack.state(socket) == SocketState::Connecting {
            return false;
        }
        pipe.poll(stack);
        // One line at a time: the server reads a line per record.
        let answered = pipe.received.iter().filter(|byte| **byte == b'\n').count();
        if sent == answered && sent < lines.len() && pipe.send(stack, &lines[sent]) {
            sent += 1;
        }
        pipe.received.len() >= expected.len()
    });
    assert!(pipe.received == expected, "{version:?} {suite:?}");
    assert_eq!((pipe.tls.version(), pipe.tls.suite()), (Some(version), Some(suite)));
    pipe.tls.queue_close_notify();
    pipe.poll(&mut rig.stack);
    rig.stack.close(socket);
    rig.until("closed", |stack, _| matches!(stack.state(socket), SocketState::Closed(_)));
    rig.stack.release(socket);
}

#[test]
fn openssl_with_a_certificate_of_a_stranger_is_refused() {
    over_each_link(|rig| {
        let (directory, other) = (Directory::new(), Directory::new());
        let (certificate, stranger) = (Certificate::new(&directory), Certificate::new(&other));
        let (accept, cert, key) = (format!("{PEER}:7110"), certificate.certificate.to_string_lossy(), certificate.key.to_string_lossy());
        let arguments = ["s_server", "-accept", &accept, "-cert", &cert, "-key", &key, "-rev", "-quiet"];
        let _server = match Peer::start(rig.bed.right(), "openssl", 7110, &arguments) {
            Ok(server) => server,
            Err(reason) => return skip(&reason),
        };
        let mut config = HttpClientConfig::new(PEER_NAME, 7110, Some(stranger.client(Versions::Both, None)));
        config.timeout_ns = 5_000_000_000;
        let mut client = HttpClient::new(config);
        client.request(Method::Get, "/", &[], b"", now_ns()).expect("a request");
        let mut failure = String::new();
        rig.until("refused", |stack, now_ns| match client.poll(stack, now_ns, unix_s()) {
            HttpProgress::Failed(error) => {
                failure = error.to_string();
                true
            }
            progress => {
                assert_ne!(progress, HttpProgress::Complete);
                false
            }
        });
        assert!(failure.contains("certificate") || failure.contains("issuer"), "{failure}");
    });
}

const NGINX_CONFIGURATION: &str = "
daemon off;
master_process off;
error_log stderr warn;
pid nginx.pid;
events { worker_connections 64; }
http {
    access_log off;
    default_type application/octet-stream;
    keepalive_requests 12;
    server {
        listen 10.77.0.1:7200;
        listen 10.77.0.1:7201 ssl;
        ssl_certificate certificate.pem;
        ssl_certificate_key key.pem;
        root html;
        location /list/ { autoindex on; }
        location = /teapot { return 418 'short and stout'; }
        location = /nothing { return 204; }
    }
}
";

#[test]
fn nginx_answers_kept_alive_requests_with_and_without_tls() {
    over_each_link(|rig| {
        let directory = Directory::new();
        let certificate = Certificate::new(&directory);
        directory.write("nginx.conf", NGINX_CONFIGURATION);
        let big: Vec<u8> = (0..700_000).map(pattern).collect();
        directory.write("html/big.bin", &big);
        directory.write("html/empty", b"");
        for number in 0..2000 {
            directory.write(&format!("html/list/file-with-a-rather-long-name-{number:04}"), b"");
        }
        let prefix = directory.path().to_string_lossy();
        let arguments = ["-p", &prefix, "-c", "nginx.conf", "-e", "stderr"];
        let _server = match Peer::start(rig.bed.right(), nginx(), 7201, &arguments) {
            Ok(server) => server,
            Err(reason) => return skip(&reason),
        };
        for tls in [None, Some(certificate.client(Versions::Both, None))] {
            let port = if tls.is_some() { 7201 } else { 7200 };
            let mut client = HttpClient::new(HttpClientConfig::new(PEER_NAME, port, tls));
            for _ in 0..3 {
                assert_eq!(get(rig, &mut client, Method::Get, "/big.bin"), (200, big.clone()));
                let (status, listing) = get(rig, &mut client, Method::Get, "/list/");
                let listing = String::from_utf8(listing).expect("text");
                assert_eq!((status, listing.matches("<a href=\"file-").count()), (200, 2000));
                assert_eq!(client.response().expect("a response").header("transfer-encoding"), Some(&b"chunked"[..]));
                assert_eq!(get(rig, &mut client, Method::Get, "/empty"), (200, Vec::new()));
                assert_eq!(get(rig, &mut client, Method::Head, "/big.bin"), (200, Vec::new()));
                assert_eq!(get(rig, &mut client, Method::Get, "/nothing"), (204, Vec::new()));
                assert_eq!(get(rig, &mut client, Method::Get, "/teapot"), (418, b"short and stout".to_vec()));
                assert_eq!(get(rig, &mut client, Method::Get, "/absent").0, 404);
            }
            // nginx ends a connection after twelve requests: twenty-one need two.
            let statistics = client.statistics();
            assert_eq!((statistics.requests, statistics.responses, statistics.failures), (21, 21, 0));
            assert_eq!(statistics.connects, 2, "{statistics:?}");
            client.close(&mut rig.stack, now_ns());
            rig.settle();
        }
    });
}

fn get(rig: &mut Rig, client: &mut HttpClient, method: Method, target: &str) -> (u16, Vec<u8>) {
    client.request(method, target, &[("Accept", "*/*")], b"", now_ns()).expect("a request");
    rig.until(target, |stack, now_ns| match client.poll(stack, now_ns, unix_s()) {
        HttpProgress::Complete => true,
        HttpProgress::Failed(error) => panic!("{target}: {error}"),
        _ => false,
    });
    let response = client.response().expect("a response");
    (response.status(), response.body.to_vec())
}

/// What a session told.
#[derive(Default)]
struct Log {
    opens: u32,
    messages: Vec<(Kind, Vec<u8>)>,
    closes: Vec<String>,
}

impl Handler for Log {
    fn on_open(&mut self, _generation: u32) {
        self.opens += 1;
    }
    fn on_message(&mut self, _generation: u32, kind: Kind, payload: &[u8]) {
        self.messages.push((kind, payload.to_vec()));
    }
    fn on_close(&mut self, _generation: u32, cause: &CloseCause) {
        self.closes.push(cause.to_string());
    }
}

/// A session, polled as the engine does it.
struct Talk {
    session: Session,
    log: Log,
}

impl Talk {
    fn open(rig: &mut Rig, tls: Option<&TlsConfig>, path: &str) -> Talk {
        let port = if tls.is_some() { 7301 } else { 7300 };
        let mut config = SessionConfig::new(PEER_NAME, port, path, tls.cloned());
        config.message_max = 8 << 20;
        config.seed = now_ns();
        let mut talk = Talk { session: Session::new(config, now_ns()), log: Log::default() };
        rig.until("session opens", |stack, now_ns| {
            talk.poll(stack, now_ns);
            talk.session.is_open()
        });
        talk
    }

    fn poll(&mut self, stack: &mut Stack<TestPort>, now_ns: u64) {
        for _ in 0..16 {
            if self.session.poll(stack, now_ns, unix_s(), &mut self.log) == Progress::Idle {
                break;
            }
        }
    }

    fn send(&mut self, rig: &mut Rig, kind: Kind, payload: &[u8]) {
        self.session.send(&mut rig.stack, kind, payload).expect("room");
    }

    /// Waits for so many messages in all.
    fn await_messages(&mut self, rig: &mut Rig, count: usize) {
        rig.until("messages", |stack, now_ns| {
            self.poll(stack, now_ns);
            assert!(self.log.closes.is_empty(), "{:?}", self.log.closes);
            self.log.messages.len() >= count
        });
    }

    /// Ends the session and waits until it is over.
    fn shut_down(&mut self, rig: &mut Rig) {
        self.session.shut_down(&mut rig.stack, now_ns());
        rig.until("shut down", |stack, now_ns| {
            self.poll(stack, now_ns);
            self.session.is_shut_down()
        });
        rig.settle();
    }
}

/// Runs the test with the WebSocket server at the other end, plain and over TLS.
fn with_websockets(test: impl Fn(&mut Rig, Option<&TlsConfig>, &mut Peer)) {
    let python = match python() {
        Ok(python) => python.to_string_lossy().into_owned(),
        Err(reason) => return skip(&reason),
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop_support/websocket_server.py");
    over_each_link(|rig| {
        let directory = Directory::new();
        let certificate = Certificate::new(&directory);
        let address = PEER.to_string();
        let mut plain = Peer::start(rig.bed.right(), &python, 7300, &[script, &address, "7300"]).expect("python starts");
        test(rig, None, &mut plain);
        let (cert, key) = (certificate.certificate.to_string_lossy(), certificate.key.to_string_lossy());
        let mut secure = Peer::start(rig.bed.right(), &python, 7301, &[script, &address, "7301", &cert, &key]).expect("python starts");
        test(rig, Some(&certificate.client(Versions::Both, None)), &mut secure);
    });
}

#[test]
fn a_websocket_server_echoes_messages_of_all_sizes() {
    with_websockets(|rig, tls, server| {
        let mut talk = Talk::open(rig, tls, "/echo");
        let mut expected = Vec::new();
        for len in [0, 1, 125, 126, 127, 1000, 1460, 16_383, 16_384, 30_000] {
            let text: Vec<u8> = (0..len).map(|place| b' ' + pattern(place) % 90).collect();
            let binary: Vec<u8> = (0..len).map(pattern).collect();
            talk.send(rig, Kind::Text, &text);
            expected.push((Kind::Text, text));
            talk.await_messages(rig, expected.len());
            talk.send(rig, Kind::Binary, &binary);
            expected.push((Kind::Binary, binary));
            talk.await_messages(rig, expected.len());
        }
        assert!(talk.log.messages == expected);
        talk.shut_down(rig);
        assert_eq!(server.expect_line("closed"), "closed 1000 ");
    });
}

#[test]
fn a_websocket_server_s_fragments_and_pings_are_put_together_and_answered() {
    with_websockets(|rig, tls, _| {
        let mut talk = Talk::open(rig, tls, "/fragments");
        // Multi-byte characters that are cut in two by the fragments.
        let text: String = (0..2000).map(|number| if number % 3 == 0 { '\u{20ac}' } else { 'x' }).collect();
        talk.send(rig, Kind::Text, text.as_bytes());
        let binary: Vec<u8> = (0..20_000).map(pattern).collect();
        talk.send(rig, Kind::Binary, &binary);
        talk.await_messages(rig, 2);
        assert!(talk.log.messages == [(Kind::Text, text.into_bytes()), (Kind::Binary, binary)]);
        assert!(talk.session.statistics().pings_in > 10);
        talk.shut_down(rig);

        let mut talk = Talk::open(rig, tls, "/pings");
        talk.send(rig, Kind::Text, b"ping me");
        talk.await_messages(rig, 1);
        assert_eq!(talk.log.messages[0].1, b"all answered");
        assert!(talk.session.statistics().pings_in >= 5);
        talk.shut_down(rig);
    });
}

#[test]
fn a_burst_of_thousands_of_messages_arrives_in_order() {
    with_websockets(|rig, tls, _| {
        let mut talk = Talk::open(rig, tls, "/burst");
        talk.send(rig, Kind::Text, b"5000");
        talk.await_messages(rig, 5000);
        for (number, (_, payload)) in talk.log.messages.iter().enumerate() {
            let expected = format!("{number} {}", "x".repeat(number % 2000));
            assert!(*payload == expected.as_bytes(), "message {number}");
        }
        talk.shut_down(rig);
    });
}

#[test]
fn big_messages_are_whole_in_both_directions() {
    with_websockets(|rig, tls, _| {
        let mut talk = Talk::open(rig, tls, "/big");
        for (place, len) in [70_000, 1 << 20, 6_000_000].into_iter().enumerate() {
            talk.send(rig, Kind::Text, len.to_string().as_bytes());
            talk.await_messages(rig, place + 1);
            let (kind, payload) = &talk.log.messages[place];
            assert_eq!((*kind, payload.len()), (Kind::Binary, len));
            assert!(payload.iter().enumerate().all(|(place, byte)| *byte == (place % 251) as u8));
        }
        talk.shut_down(rig);
        // Sent, a message is as long as the send buffer allows.
        let mut talk = Talk::open(rig, tls, "/echo");
        let binary: Vec<u8> = (0..60_000).map(pattern).collect();
        talk.send(rig, Kind::Binary, &binary);
        talk.await_messages(rig, 1);
        assert!(talk.log.messages == [(Kind::Binary, binary)]);
        talk.shut_down(rig);
    });
}

#[test]
fn a_close_by_the_server_is_told_with_its_code_and_followed_by_a_new_connection() {
    with_websockets(|rig, tls, server| {
        let mut talk = Talk::open(rig, tls, "/goodbye");
        talk.send(rig, Kind::Text, b"how long?");
        rig.until("closed by the server, and open again", |stack, now_ns| {
            talk.poll(stack, now_ns);
            talk.log.opens == 2
        });
        assert_eq!(talk.log.closes.len(), 1);
        assert!(talk.log.closes[0].contains("4001") && talk.log.closes[0].contains("enough"), "{:?}", talk.log.closes);
        server.expect_line("closed 4001");
        talk.shut_down(rig);
    });
}
