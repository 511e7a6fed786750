//! The keep-alive client: requests and responses over a scripted transport.

mod session_support;
mod tls_support;

use netstack::http::{HttpError, Method, RequestError};
use netstack::session::{CloseCause, HttpClient, HttpClientConfig, HttpClientError, HttpProgress};
use netstack::tls::Versions;
use netstack::transport::{CloseReason, Resolution, ResolveError, SocketState};
use session_support::{FakeTransport, MS, SECOND};
use tls_support::{Authority, NOW, SERVER_NAME, Server};

/// A client, its transport, and the server's end of the newest socket.
struct World {
    client: HttpClient,
    transport: FakeTransport,
    authority: Option<(Authority, std::sync::Arc<rustls::server::ServerConfig>)>,
    server: Option<Server>,
    served: usize,
    /// Plaintext that came from the client.
    requests: String,
    now_ns: u64,
}

impl World {
    fn new(versions: Option<Versions>, adjust: impl FnOnce(&mut HttpClientConfig)) -> World {
        let authority = versions.map(|_| Authority::new());
        let tls = authority.as_ref().zip(versions).map(|(authority, versions)| authority.client_config(versions, None));
        let mut config = HttpClientConfig::new(SERVER_NAME, if tls.is_some() { 443 } else { 8080 }, tls);
        adjust(&mut config);
        let authority = authority.map(|authority| {
            let config = authority.server_config(&[]);
            (authority, config)
        });
        World {
            client: HttpClient::new(config),
            transport: FakeTransport::new(),
            authority,
            server: None,
            served: 0,
            requests: String::new(),
            now_ns: 0,
        }
    }

    fn get(&mut self, target: &str) {
        self.client.request(Method::Get, target, &[("Accept", "application/json")], b"", self.now_ns).unwrap();
    }

    /// Polls until the client falls silent or has a result; the server takes what is sent.
    fn settle(&mut self) -> HttpProgress {
        let mut last = HttpProgress::Idle;
        for _ in 0..100 {
            last = self.client.poll(&mut self.transport, self.now_ns, NOW);
            if !matches!(last, HttpProgress::Pending) {
                return last;
            }
            self.serve();
        }
        last
    }

    fn serve(&mut self) {
        let count = self.transport.sockets.len();
        let Some(socket) = self.transport.sockets.last_mut() else { return };
        if self.served != count {
            self.served = count;
            self.server = self.authority.as_ref().map(|(_, config)| Server::new(config));
        }
        let bytes = std::mem::take(&mut socket.outgoing);
        match &mut self.server {
            None => self.requests.push_str(std::str::from_utf8(&bytes).unwrap()),
            Some(server) => {
                server.receive(&bytes);
                self.requests.push_str(std::str::from_utf8(&std::mem::take(&mut server.plaintext)).unwrap());
                socket.incoming.extend_from_slice(&server.output());
            }
        }
    }

    fn answer(&mut self, response: &str) {
        let socket = self.transport.sockets.last_mut().unwrap();
        match &mut self.server {
            None => socket.incoming.extend_from_slice(response.as_bytes()),
            Some(server) => {
                server.write(response.as_bytes());
                socket.incoming.extend_from_slice(&server.output());
            }
        }
    }

    fn exchange(&mut self, target: &str, response: &str) -> HttpProgress {
        self.get(target);
        assert_eq!(self.settle(), HttpProgress::Pending);
        self.answer(response);
        self.settle()
    }

    fn body(&self) -> &[u8] {
        self.client.response().unwrap().body
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nX-MBX-USED-WEIGHT-1M: 20\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn requests_share_one_connection() {
    for versions in [None, Some(Versions::Tls13), Some(Versions::Tls12)] {
        let mut world = World::new(versions, |_| {});
        for round in 1..=3 {
            assert_eq!(world.exchange("/api/v3/time", OK), HttpProgress::Complete);
            let response = world.client.response().unwrap();
            assert_eq!((response.status(), response.body), (200, b"{}".as_slice()));
            assert_eq!(response.header("x-mbx-used-weight-1m"), Some(b"20".as_slice()));
            assert_eq!(world.client.statistics().responses, round);
            assert_eq!(world.settle(), HttpProgress::Idle);
        }
        assert_eq!((world.client.statistics().connects, world.transport.sockets.len()), (1, 1));
        let host = if versions.is_some() { "venue.test" } else { "venue.test:8080" };
        let request = format!("GET /api/v3/time HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\r\n");
        assert_eq!(world.requests, request.repeat(3));
    }
}

#[test]
fn every_coding_of_the_body_is_collected_whatever_the_pieces() {
    let responses = [
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6;x=y\r\nhello \r\n5\r\nworld\r\n0\r\nTrailer: 1\r\n\r\n",
    ];
    for versions in [None, Some(Versions::Tls13)] {
        for response in responses {
            for lend_max in 1..response.len() {
                let mut world = World::new(versions, |_| {});
                world.transport.lend_max = lend_max;
                // Whatever was lent, the handshake and the response come through.
                world.get("/");
                for _ in 0..50 {
                    world.settle();
                }
                world.answer(response);
                let mut progress = world.settle();
                for _ in 0..50 {
                    if progress == HttpProgress::Pending {
                        progress = world.settle();
                    }
                }
                assert_eq!(progress, HttpProgress::Complete, "{lend_max} {response}");
                assert_eq!(world.body(), b"hello world");
            }
        }
    }
}

#[test]
fn a_body_may_last_until_the_end_of_the_connection() {
    let mut world = World::new(None, |_| {});
    assert_eq!(world.exchange("/", "HTTP/1.1 200 OK\r\n\r\nall of"), HttpProgress::Pending);
    world.answer(" it");
    world.transport.last().state = SocketState::PeerClosed;
    assert_eq!(world.settle(), HttpProgress::Complete);
    assert_eq!(world.body(), b"all of it");
    assert!(!world.client.is_connected());
    // Over TLS only close_notify ends it: a FIN may be an attacker's.
    for orderly in [true, false] {
        let mut world = World::new(Some(Versions::Tls13), |_| {});
        assert_eq!(world.exchange("/", "HTTP/1.1 200 OK\r\n\r\nall of it"), HttpProgress::Pending);
        if orderly {
            let server = world.server.as_mut().unwrap();
            server.connection.send_close_notify();
            let bytes = server.output();
            world.transport.last().incoming.extend_from_slice(&bytes);
            assert_eq!(world.settle(), HttpProgress::Complete);
        } else {
            world.transport.last().state = SocketState::PeerClosed;
            assert_eq!(world.settle(), HttpProgress::Failed(HttpClientError::Response(HttpError::Truncated)));
        }
    }
}

#[test]
fn a_connection_that_the_server_ends_is_replaced_by_the_next_request() {
    let mut world = World::new(Some(Versions::Tls13), |_| {});
    let last = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(world.exchange("/a", last), HttpProgress::Complete);
    assert!(world.transport.sockets[0].fin_sent && !world.transport.sockets[0].released);
    world.transport.sockets[0].state = SocketState::Closed(CloseReason::Closed);
    assert_eq!(world.exchange("/b", OK), HttpProgress::Complete);
    assert!(world.transport.sockets[0].released);
    assert_eq!(world.client.statistics().connects, 2);
    // Closed while idle: noticed before the next request.
    world.transport.last().state = SocketState::PeerClosed;
    assert_eq!(world.exchange("/c", OK), HttpProgress::Complete);
    assert_eq!((world.client.statistics().connects, world.client.statistics().repeats), (3, 1));
}

#[test]
fn a_request_under_which_the_kept_connection_falls_is_repeated_only_if_that_is_harmless() {
    for (method, repeated) in [(Method::Get, true), (Method::Delete, true), (Method::Post, false)] {
        let mut world = World::new(None, |_| {});
        assert_eq!(world.exchange("/first", OK), HttpProgress::Complete);
        world.client.request(method, "/second", &[], b"", world.now_ns).unwrap();
        assert_eq!(world.settle(), HttpProgress::Pending);
        world.transport.last().state = SocketState::Closed(CloseReason::Reset);
        let progress = world.settle();
        if repeated {
            assert_eq!(progress, HttpProgress::Pending);
            world.answer(OK);
            assert_eq!(world.settle(), HttpProgress::Complete);
            assert_eq!(world.requests.matches("/second").count(), 2);
        } else {
            let error = HttpClientError::Connection(CloseCause::Socket(CloseReason::Reset));
            assert_eq!(progress, HttpProgress::Failed(error));
            assert_eq!(world.requests.matches("/second").count(), 1);
        }
    }
}

#[test]
fn an_old_connection_is_not_used_again() {
    let mut world = World::new(None, |config| config.keep_alive_ns = 30 * SECOND);
    assert_eq!(world.exchange("/", OK), HttpProgress::Complete);
    world.now_ns += 30 * SECOND;
    assert_eq!(world.settle(), HttpProgress::Idle);
    assert!(world.transport.sockets[0].fin_sent && !world.client.is_connected());
    world.now_ns += SECOND;
    assert_eq!(world.settle(), HttpProgress::Idle);
    assert!(world.transport.sockets[0].released, "the linger time is over");
}

#[test]
fn failures_say_where_they_happened_and_the_client_can_be_used_again() {
    let mut world = World::new(None, |config| config.timeout_ns = SECOND);
    world.transport.resolution = Resolution::Failed(ResolveError::NoSuchName);
    world.get("/");
    let HttpProgress::Failed(error) = world.settle() else { panic!() };
    assert_eq!(error.to_string(), "resolving venue.test: no such name");
    world.transport.resolution = Resolution::Address(std::net::Ipv4Addr::LOCALHOST);
    world.get("/");
    assert_eq!(world.client.request(Method::Get, "/", &[], b"", 0), Err(HttpClientError::Busy));
    assert_eq!(world.settle(), HttpProgress::Pending);
    world.now_ns += SECOND;
    assert_eq!(world.settle(), HttpProgress::Failed(HttpClientError::TimedOut { timeout_ms: 1000, stage: "request" }));
    assert_eq!(world.exchange("/", "ICY 200 OK\r\n\r\n"), HttpProgress::Failed(HttpClientError::Response(HttpError::BadStatusLine)));
    assert_eq!(world.exchange("/", OK), HttpProgress::Complete);
    assert_eq!((world.client.statistics().failures, world.client.statistics().responses), (3, 1));
    assert!(world.transport.sockets[..2].iter().all(|socket| socket.released));
}

#[test]
fn sizes_are_bounded_both_ways() {
    let mut world = World::new(None, |config| {
        config.request_max = 100;
        config.body_max = 10;
    });
    let error = world.client.request(Method::Post, "/", &[], &[b'x'; 100], 0).unwrap_err();
    assert_eq!(error, HttpClientError::Request(RequestError::BufferTooSmall { capacity: 100 }));
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n";
    assert_eq!(world.exchange("/", long), HttpProgress::Failed(HttpClientError::Response(HttpError::BodyTooLarge { limit: 10 })));
}

#[test]
fn a_long_request_goes_out_as_room_comes() {
    let mut world = World::new(Some(Versions::Tls13), |_| {});
    world.transport.room = 10_000;
    let body: Vec<u8> = (0..50_000).map(|index| b'a' + (index % 26) as u8).collect();
    world.client.request(Method::Post, "/orders", &[], &body, 0).unwrap();
    assert_eq!(world.settle(), HttpProgress::Pending);
    assert!(world.requests.ends_with(std::str::from_utf8(&body).unwrap()));
    world.answer(OK);
    assert_eq!(world.settle(), HttpProgress::Complete);
}

#[test]
fn a_head_request_has_no_body_whatever_its_length_says() {
    let mut world = World::new(None, |_| {});
    world.client.request(Method::Head, "/", &[], b"", world.now_ns).unwrap();
    world.settle();
    world.answer("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    assert_eq!(world.settle(), HttpProgress::Complete);
    assert_eq!(world.body(), b"");
    world.now_ns += 5 * MS;
    assert_eq!(world.exchange("/", OK), HttpProgress::Complete);
    world.client.close(&mut world.transport, world.now_ns);
    assert!(world.transport.sockets[0].fin_sent);
}
