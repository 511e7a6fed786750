//! The cold plane's HTTPS client against a server on loopback that behaves and misbehaves: connections are kept,
//! refusals with a time are waited out, and nothing that a server does costs more than a bounded time.

use engine_core::instrument::{AssetTable, InstrumentTable};
use runtime::cold::http::{HttpClient, HttpError};
use runtime::cold::log::Log;
use runtime::cold::rest_worker::{CallError, RestCaller};
use runtime::config::units::HostPort;
use rustls::{ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use venues::rest::{HttpRequest, RestError, RestQuery, RestReply, Tables, VenueRest};

/// What the server does with one request; the string is everything after the status code.
type Script = fn(number: u32, path: &str) -> Reply;

enum Reply {
    /// Sends these bytes and keeps the connection.
    Bytes(Vec<u8>),
    /// Sends these bytes and closes without a TLS close_notify.
    Cut(Vec<u8>),
    /// Says nothing.
    Silence,
}

struct Server {
    port: u16,
    ca_pem: String,
    connections: Arc<AtomicU32>,
    requests: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
}

impl Server {
    fn start(script: Script) -> Server {
        let made = venue_sim::certificate::make(&["venue.test".into(), "127.0.0.1".into()]).expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let server = Server { port, ca_pem: made.ca_pem, connections: Arc::default(), requests: Arc::default(), stop: Arc::default() };
        let (connections, requests, stop) = (server.connections.clone(), server.requests.clone(), server.stop.clone());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                connections.fetch_add(1, Ordering::Relaxed);
                let tls = ServerConnection::new(made.server.clone()).expect("a server configuration");
                let (requests, stop) = (requests.clone(), stop.clone());
                std::thread::spawn(move || serve(StreamOwned::new(tls, stream), script, &requests, &stop));
            }
        });
        server
    }

    fn client(&self) -> HttpClient {
        let pinned = [("venue.test".to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST))];
        let host = HostPort { host: "venue.test".into(), port: self.port };
        HttpClient::new(host, Some(self.ca_pem.as_bytes()), &pinned).expect("a client")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(stream: StreamOwned<ServerConnection, TcpStream>, script: Script, requests: &AtomicU32, stop: &AtomicBool) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(n) if n > 0 => {}
                _ => return,
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let number = requests.fetch_add(1, Ordering::Relaxed);
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let out = reader.get_mut();
        match script(number, &path) {
            Reply::Bytes(bytes) => {
                if out.write_all(&bytes).and_then(|()| out.flush()).is_err() {
                    return;
                }
            }
            Reply::Cut(bytes) => {
                let _ = out.write_all(&bytes).and_then(|()| out.flush());
                let _ = out.sock.shutdown(std::net::Shutdown::Both);
                return;
            }
            Reply::Silence => {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                return;
            }
        }
    }
}

fn ok(body: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 200 OK\r\nX-Used-Weight: 7\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

fn get(path: &str) -> HttpRequest {
    HttpRequest { method: "GET", path: path.into(), headers: Vec::new(), body: Vec::new() }
}

#[test]
fn requests_share_a_connection_and_bodies_of_both_kinds_are_read() {
    let server = Server::start(|number, path| match number {
        1 => Reply::Bytes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".to_vec()),
        _ => ok(path),
    });
    let client = server.client();
    let answer = client.send(&get("/a?x=1")).expect("an answer");
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"/a?x=1"[..]));
    assert!(answer.headers.contains(&("x-used-weight".into(), "7".into())), "names come in lower case");
    assert_eq!(client.send(&get("/b")).expect("an answer").body, b"abcde");
    let post = HttpRequest { method: "POST", path: "/c".into(), headers: vec![("api-key".into(), "k".into())], body: b"nonce=1".to_vec() };
    assert_eq!(client.send(&post).expect("an answer").body, b"/c");
    let delete = HttpRequest { method: "DELETE", ..get("/d") };
    assert_eq!(client.send(&delete).expect("an answer").body, b"/d");
    assert_eq!(server.connections.load(Ordering::Relaxed), 1, "the connection is kept");
}

#[test]
fn refusals_are_answers_and_a_lost_connection_is_made_anew() {
    let server = Server::start(|number, _| match number {
        0 => {
            Reply::Cut(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy".to_vec())
        }
        1 => Reply::Cut(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec()),
        2 => Reply::Cut(b"not http at all\r\n\r\n".to_vec()),
        _ => ok("fine"),
    });
    let client = server.client();
    let refused = client.send(&get("/x")).expect("a refusal is an answer");
    assert_eq!((refused.status, refused.body.as_slice()), (503, &b"busy"[..]));
    assert!(refused.headers.contains(&("retry-after".into(), "3".into())));
    for what in ["a body cut short", "garbage"] {
        let error = client.send(&get("/secret?signature=abc")).expect_err(what).to_string();
        assert!(error.contains("/secret") && !error.contains("signature"), "{what}: {error}");
    }
    assert_eq!(client.send(&get("/x")).expect("connects again").body, b"fine");
}

#[test]
fn a_silent_server_costs_a_bounded_time() {
    let server = Server::start(|_, _| Reply::Silence);
    let client = server.client();
    let started = Instant::now();
    let error = client.send(&get("/x")).expect_err("nothing comes");
    assert!(matches!(error, HttpError::Failed { .. }));
    assert!(started.elapsed() < Duration::from_secs(15), "took {:?}", started.elapsed());
}

#[test]
fn only_the_given_authority_is_trusted() {
    let server = Server::start(|_, _| ok("fine"));
    let other = venue_sim::certificate::make(&["venue.test".into()]).expect("a certificate").ca_pem;
    let pinned = [("venue.test".to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST))];
    for ca in [Some(other.as_bytes()), None] {
        let host = HostPort { host: "venue.test".into(), port: server.port };
        let client = HttpClient::new(host, ca, &pinned).expect("a client");
        let error = client.send(&get("/x")).expect_err("a stranger signed it").to_string();
        assert!(error.to_lowercase().contains("certificate") || error.to_lowercase().contains("issuer"), "{error}");
    }
    let host = HostPort { host: "venue.test".into(), port: server.port };
    assert!(matches!(HttpClient::new(host, Some(b"nothing"), &[]), Err(HttpError::CertificateAuthority(_))));
    assert_eq!(server.requests.load(Ordering::Relaxed), 0);
}

/// A dialect of one question.
struct Plain;

impl VenueRest for Plain {
    fn request(&mut self, _: &RestQuery, _: Tables<'_>, _: u64) -> Result<HttpRequest, RestError> {
        Ok(get("/time"))
    }

    fn parse(
        &mut self,
        _: &RestQuery,
        status: u16,
        _: &[(String, String)],
        body: &[u8],
        _: &InstrumentTable,
        _: &mut AssetTable,
    ) -> Result<RestReply, RestError> {
        let text = String::from_utf8_lossy(body).into_owned();
        match status {
            200 => text.parse().map(RestReply::ServerTime).map_err(|_| RestError::Malformed(text)),
            429 => Err(RestError::Wait { wait_ms: 50, text }),
            _ => Err(RestError::Refused { status, code: 0, text }),
        }
    }
}

fn ask(script: Script) -> (Result<RestReply, CallError>, u32) {
    let server = Server::start(script);
    let mut caller = RestCaller {
        venue_name: "plain".into(),
        rest: Box::new(Plain),
        client: server.client(),
        instruments: InstrumentTable::new(),
        assets: AssetTable::new(),
        log: Log::to(Box::new(std::io::sink())),
        stop: Arc::default(),
        counters: Arc::default(),
    };
    let answer = caller.ask(&RestQuery::ServerTime);
    (answer, server.requests.load(Ordering::Relaxed))
}

fn status(line: &str, body: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 {line}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

#[test]
fn what_may_pass_is_tried_again_and_what_is_final_is_not() {
    let (answer, requests) = ask(|number, _| match number {
        0 => status("503 Service Unavailable", "maintenance"),
        1 => status("429 Too Many Requests", "slow down"),
        2 => Reply::Cut(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n17".to_vec()),
        _ => ok("1767225600000000000"),
    });
    assert_eq!((answer, requests), (Ok(RestReply::ServerTime(1_767_225_600_000_000_000)), 4));

    let (answer, requests) = ask(|_, _| status("400 Bad Request", "no such thing"));
    assert!(matches!(&answer, Err(CallError::Final(reason)) if reason.contains("no such thing")), "{answer:?}");
    assert_eq!(requests, 1);

    let (answer, requests) = ask(|_, _| ok("<html>"));
    assert!(matches!(answer, Err(CallError::Final(_))));
    assert_eq!(requests, 1);

    let (answer, requests) = ask(|_, _| status("502 Bad Gateway", "<html>"));
    assert!(matches!(&answer, Err(CallError::GivenUp(reason)) if reason.contains("502")), "{answer:?}");
    assert!((3..=10).contains(&requests), "bounded: {requests}");
}
