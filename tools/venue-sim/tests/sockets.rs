//! The simulator on real sockets: TLS, HTTP and WebSocket with a client stack that is not ours, and the
//! faults that only a socket shows.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use venue_sim::config::{AccountConfig, BinanceConfig, KrakenConfig, SimConfig};
use venue_sim::credentials::{BinanceCredentials, KrakenCredentials, hmac_sha256_hex};
use venue_sim::decimal::Amount;
use venue_sim::fault::{Fault, Scope};
use venue_sim::venue::VenueName;
use venue_sim::{Sim, SimHandle};

type Socket = WebSocketStream<TlsStream<TcpStream>>;

const PATIENCE: Duration = Duration::from_secs(10);

struct Rig {
    sim: SimHandle,
    binance: BinanceCredentials,
    kraken: KrakenCredentials,
}

fn rig(change: impl FnOnce(&mut SimConfig)) -> Rig {
    let (binance_keys, kraken_keys) = (BinanceCredentials::generate().expect("random"), KrakenCredentials::generate().expect("random"));
    let balances = vec![("USDT".to_owned(), "10000".to_owned())];
    let mut binance = BinanceConfig::default();
    binance.venue.accounts = vec![AccountConfig { keys: binance_keys.api_keys(), balances: balances.clone() }];
    let mut kraken = KrakenConfig::default();
    kraken.venue.accounts = vec![AccountConfig { keys: kraken_keys.api_keys(), balances }];
    let control = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    let mut config = SimConfig { binance: Some(binance), kraken: Some(kraken), control, ..SimConfig::default() };
    change(&mut config);
    Rig { sim: Sim::start(config).expect("starts"), binance: binance_keys, kraken: kraken_keys }
}

impl Rig {
    async fn tls(&self, port: u16, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        self.tls_versions(port, name, rustls::DEFAULT_VERSIONS).await
    }

    async fn tls_versions(
        &self,
        port: u16,
        name: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
        self.connector(versions).connect(ServerName::try_from(name.to_owned()).expect("name"), tcp).await
    }

    /// Makes clients that trust the simulation.
    fn connector(&self, versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.sim.ca_pem.as_bytes()).expect("PEM")).expect("a CA");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    async fn connect(&self, venue: VenueName, second: bool, host: &str, path: &str, key: Option<&str>) -> Result<Socket, Error> {
        let address = self.sim.address(venue).expect("simulated");
        let port = if second { address.second.port() } else { address.main.port() };
        let tls = self.tls(port, host).await?;
        let mut request = format!("wss://{host}{path}").into_client_request()?;
        if let Some(key) = key {
            request.headers_mut().insert("x-mbx-apikey", key.parse().expect("header"));
        }
        Ok(tokio_tungstenite::client_async(request, tls).await?.0)
    }

    async fn stream(&self) -> Socket {
        self.connect(VenueName::Binance, false, "stream.binance.com", "/ws/btcusdt@depth@100ms", None).await.expect("connects")
    }

    /// A request to the control interface; returns status line and body.
    async fn control(&self, method: &str, path: &str, body: &str) -> (String, String) {
        let mut tcp = TcpStream::connect(self.sim.control.expect("listens")).await.expect("connects");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        tcp.write_all(request.as_bytes()).await.expect("writes");
        let mut text = String::new();
        tcp.read_to_string(&mut text).await.expect("reads");
        let (head, body) = text.split_once("\r\n\r\n").expect("HTTP");
        (head.lines().next().unwrap_or("").to_owned(), body.to_owned())
    }
}

async fn next(socket: &mut Socket) -> Option<Message> {
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("something within the patience")? {
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(message) => return Some(message),
            Err(_) => return None,
        }
    }
}

async fn next_json(socket: &mut Socket) -> Value {
    let message = next(socket).await.expect("a message");
    serde_json::from_str(message.to_text().expect("text")).expect("JSON")
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(test);
}

#[test]
fn both_venues_stream_over_verified_tls() {
    run(async {
        let rig = rig(|_| {});
        let mut binance = rig.stream().await;
        let mut last = None;
        for _ in 0..200 {
            let message = next_json(&mut binance).await;
            if let Some(last) = last {
                assert_eq!(message["U"].as_u64(), Some(last + 1));
            }
            last = message["u"].as_u64();
        }
        let mut kraken = rig.connect(VenueName::Kraken, false, "ws.kraken.com", "/v2", None).await.expect("connects");
        assert_eq!(next_json(&mut kraken).await["channel"], "status", "first of all");
        kraken
            .send(Message::text(r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USDT"]},"req_id":1}"#))
            .await
            .expect("sends");
        assert_eq!(next_json(&mut kraken).await["success"], true);
        assert_eq!(next_json(&mut kraken).await["type"], "snapshot");
        assert_eq!(next_json(&mut kraken).await["type"], "update");
        assert!(rig.tls(rig.sim.address(VenueName::Kraken).expect("simulated").main.port(), "evil.example").await.is_err());
        rig.sim.stop();
    });
}

#[test]
fn no_message_is_lost_however_many_wait() {
    run(async {
        // Thousands of messages a tick: far more wait for the connection than it writes in one go.
        for flush_each in [false, true] {
            let rig = rig(|config| {
                (config.tick_us, config.flush_each) = (250_000, flush_each);
                config.binance.as_mut().expect("configured").venue.messages_per_s = 8_000;
            });
            let path = "/stream?streams=btcusdt@bookTicker/btcusdt@trade/ethusdt@trade";
            let mut socket = rig.connect(VenueName::Binance, false, "stream.binance.com", path, None).await.expect("connects");
            let mut last = std::collections::BTreeMap::new();
            let mut trades = 0;
            while trades < 2_000 {
                let message = next_json(&mut socket).await["data"].take();
                if let (Some(symbol), Some(id)) = (message["s"].as_str(), message["t"].as_u64()) {
                    if let Some(before) = last.insert(symbol.to_owned(), id) {
                        assert_eq!(id, before + 1, "{symbol}");
                    }
                    trades += 1;
                }
            }
        }
    });
}

#[test]
fn clients_connect_and_get_snapshots_from_a_venue_that_cannot_keep_up_and_what_it_gives_up_is_counted() {
    run(async {
        // More than a machine makes.
        let rig = rig(|config| {
            config.flush_each = true;
            config.binance.as_mut().expect("configured").venue.messages_per_s = 10_000_000;
            config.kraken.as_mut().expect("configured").venue.messages_per_s = 10_000_000;
        });
        let given_up = |venue| rig.sim.flow(venue).given_up;
        let subscribe = r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USDT"]},"req_id":1}"#;
        let mut kraken = rig.connect(VenueName::Kraken, false, "ws.kraken.com", "/v2", None).await.expect("connects");
        kraken.send(Message::text(subscribe)).await.expect("sends");
        // With a listener, and then for those who come later.
        for _ in 0..3 {
            let address = rig.sim.address(VenueName::Binance).expect("simulated").main;
            let mut rest = rig.tls(address.port(), "api.binance.com").await.expect("a handshake");
            let request = "GET /api/v3/depth?symbol=BTCUSDT&limit=5 HTTP/1.1\r\nHost: api.binance.com\r\nConnection: close\r\n\r\n";
            rest.write_all(request.as_bytes()).await.expect("writes");
            let mut text = String::new();
            timeout(PATIENCE, rest.read_to_string(&mut text)).await.expect("an answer within the patience").expect("reads");
            assert!(text.starts_with("HTTP/1.1 200") && text.contains("lastUpdateId"), "{text}");
            let mut kraken = rig.connect(VenueName::Kraken, false, "ws.kraken.com", "/v2", None).await.expect("connects");
            kraken.send(Message::text(subscribe)).await.expect("sends");
            let mut kinds = Vec::new();
            while kinds.len() < 3 {
                let message = next_json(&mut kraken).await;
                kinds.extend(message["channel"].as_str().or(message["method"].as_str()).map(str::to_owned));
            }
            assert_eq!(kinds, ["status", "subscribe", "book"]);
        }
        for venue in [VenueName::Binance, VenueName::Kraken] {
            let flow = rig.sim.flow(venue);
            assert!(flow.given_up > flow.due / 2, "{flow:?}");
            assert!(flow.made + flow.given_up + flow.unheard <= flow.due + 1, "nothing is counted twice: {flow:?}");
        }
        let before = given_up(VenueName::Kraken);
        let since = std::time::Instant::now();
        while given_up(VenueName::Kraken) <= before {
            assert!(since.elapsed() < PATIENCE, "it does not go on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (_, body) = rig.control("GET", "/sim/stats", "").await;
        let stats = serde_json::from_str::<Value>(&body).expect("JSON");
        assert!(stats["kraken"]["flow"]["given_up"].as_u64().is_some_and(|count| count > before), "{body}");
        assert!(rig.sim.written_together() > 0);
        rig.sim.stop();
    });
}

/// A TCP stream that counts the TLS records of application data that come in.
struct RecordCounter {
    tcp: TcpStream,
    header: Vec<u8>,
    left: usize,
    records: Arc<AtomicU64>,
}

impl RecordCounter {
    fn count(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                self.header.push(bytes[0]);
                bytes = &bytes[1..];
                if let [kind, _, _, high, low] = self.header[..] {
                    self.records.fetch_add(u64::from(kind == 23), Ordering::Relaxed);
                    self.left = usize::from(high) << 8 | usize::from(low);
                    self.header.clear();
                }
            } else {
                let passed = self.left.min(bytes.len());
                (self.left, bytes) = (self.left - passed, &bytes[passed..]);
            }
        }
    }
}

impl AsyncRead for RecordCounter {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.tcp).poll_read(cx, into);
        self.count(&into.filled()[before..]);
        polled
    }
}

impl AsyncWrite for RecordCounter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[test]
fn each_message_has_a_record_of_its_own_unless_the_venue_cannot_keep_up() {
    run(async {
        for (rate, keeps_up) in [(2_000, true), (50_000_000, false)] {
            let rig = rig(|config| {
                config.flush_each = true;
                config.binance.as_mut().expect("configured").venue.messages_per_s = rate;
                config.kraken = None;
            });
            let port = rig.sim.address(VenueName::Binance).expect("simulated").main.port();
            let tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
            let records = Arc::new(AtomicU64::new(0));
            let counter = RecordCounter { tcp, header: Vec::new(), left: 0, records: records.clone() };
            let name = ServerName::try_from("stream.binance.com").expect("a name");
            let tls = rig.connector(rustls::DEFAULT_VERSIONS).connect(name, counter).await.expect("a handshake");
            let url = "wss://stream.binance.com/stream?streams=btcusdt@depth@100ms/btcusdt@trade/btcusdt@bookTicker";
            let (mut socket, _) = tokio_tungstenite::client_async(url, tls).await.expect("connects");
            // Until it is known that it cannot keep up, each is written by itself.
            let started = std::time::Instant::now();
            while rig.sim.written_together() == 0 && !keeps_up {
                assert!(started.elapsed() < PATIENCE, "never under pressure");
                socket.next().await.expect("flows").expect("whole");
            }
            let (before, count) = (records.load(Ordering::Relaxed), 2_000);
            for _ in 0..count {
                assert!(socket.next().await.expect("flows").expect("whole").is_text());
            }
            let came = records.load(Ordering::Relaxed) - before;
            // Some have been read ahead of the first message, and some are read ahead of the next.
            assert_eq!(came > count * 9 / 10, keeps_up, "{came} records for {count} messages at {rate}/s");
            assert_eq!(rig.sim.written_together() == 0, keeps_up);
            rig.sim.stop();
        }
    });
}

#[test]
fn both_tls_versions_are_spoken_under_every_name_and_address() {
    run(async {
        let rig = rig(|_| {});
        let port = rig.sim.address(VenueName::Kraken).expect("simulated").main.port();
        for (version, wanted) in [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)] {
            for name in ["localhost", "kraken.sim", "ws-auth.kraken.com", "127.0.0.1"] {
                let mut tls = rig.tls_versions(port, name, &[version]).await.expect("a handshake");
                assert_eq!(tls.get_ref().1.protocol_version(), Some(wanted));
                let request = format!("GET /0/public/Time HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
                tls.write_all(request.as_bytes()).await.expect("writes");
                let mut text = String::new();
                tls.read_to_string(&mut text).await.expect("reads");
                assert!(text.starts_with("HTTP/1.1 200") && text.contains("unixtime"), "{text}");
            }
        }
        rig.sim.stop();
    });
}

#[test]
fn the_venues_record_of_an_account_is_exact() {
    run(async {
        let rig = rig(|_| {});
        let mut api = rig.connect(VenueName::Binance, false, "binance.sim", "/ws-api/v3", None).await.expect("connects");
        let mut ask = async |method: &str, params: Value| {
            let mut params = params;
            params["apiKey"] = json!(rig.binance.hmac_key);
            params["timestamp"] = json!(
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
            );
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let mut payload: Vec<String> =
                params.as_object().expect("object").iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
            payload.sort();
            params["signature"] = json!(hmac_sha256_hex(rig.binance.hmac_secret.as_bytes(), payload.join("&").as_bytes()));
            api.send(Message::text(json!({"id": 1, "method": method, "params": params}).to_string())).await.expect("sends");
            next_json(&mut api).await
        };
        let bought =
            ask("order.place", json!({"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.02", "newClientOrderId": "m"}))
                .await;
        assert_eq!(bought["status"], 200, "{bought}");
        let rests = ask(
            "order.place",
            json!({"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "50000.00", "quantity": "0.01", "newClientOrderId": "r"}),
        )
        .await;
        assert_eq!(rests["status"], 200, "{rests}");
        let record = rig.sim.account(VenueName::Binance, &rig.binance.ed25519_key).expect("either key opens the account");
        let amount = |text: &str| Amount::parse(text).expect("decimal");
        let balance = |asset: &str| record.balances.iter().find(|row| row.asset == asset).expect("held").clone();
        assert_eq!(record.open_orders.iter().map(|order| order.client_id.as_str()).collect::<Vec<_>>(), ["r"]);
        assert_eq!(
            record.closed_orders.iter().map(|order| (order.client_id.as_str(), order.status)).collect::<Vec<_>>(),
            [("m", "filled")]
        );
        assert!(record.fills.iter().all(|fill| fill.client_id == "m" && fill.fee_asset == "BTC" && !fill.maker));
        let qty: Amount = record.fills.iter().map(|fill| amount(&fill.qty)).sum();
        let fees: Amount = record.fills.iter().map(|fill| amount(&fill.fee)).sum();
        assert_eq!((qty, balance("BTC").total), (amount("0.02"), (qty - fees).to_string()), "the balance is the sum of the fills");
        assert_eq!(balance("USDT").hold, "500", "price x quantity of what rests");
        rig.sim.stop();
    });
}

#[test]
fn services_are_told_apart_by_host_by_path_and_by_port() {
    run(async {
        let rig = rig(|_| {});
        let key = Some(rig.binance.ed25519_key.as_str());
        for (second, host, path) in [
            (false, "stream-sbe.binance.com", "/ws/btcusdt@depth"),
            (false, "localhost", "/sbe/ws/btcusdt@depth"),
            (true, "localhost", "/stream?streams=btcusdt@depth"),
        ] {
            let mut socket = rig.connect(VenueName::Binance, second, host, path, key).await.expect("connects");
            match next(&mut socket).await {
                Some(Message::Binary(bytes)) => assert_eq!(&bytes[..4], [26, 0, 0x13, 0x27], "template 10003"),
                other => panic!("{other:?}"),
            }
        }
        assert!(rig.connect(VenueName::Binance, true, "localhost", "/ws", None).await.is_err(), "SBE asks for a key");
        assert!(rig.connect(VenueName::Binance, true, "localhost", "/ws", Some(&rig.binance.hmac_key)).await.is_err(), "an Ed25519 key");
        assert!(rig.connect(VenueName::Binance, false, "localhost", "/nosuch", None).await.is_err());
        for (second, host, path, private) in [
            (false, "ws-auth.kraken.com", "/v2", true),
            (true, "localhost", "/v2", true),
            (false, "localhost", "/v2-auth", true),
            (false, "localhost", "/v2", false),
        ] {
            let mut socket = rig.connect(VenueName::Kraken, second, host, path, None).await.expect("connects");
            next(&mut socket).await;
            socket.send(Message::text(r#"{"method":"cancel_all","params":{"token":"x"}}"#)).await.expect("sends");
            let wanted = if private { "EAPI:Invalid token" } else { "EGeneral:Permission denied" };
            assert_eq!(next_json(&mut socket).await["error"], wanted, "{host}{path}");
        }
        rig.sim.stop();
    });
}

#[test]
fn dropped_half_open_and_stalled_connections_are_what_they_are_called() {
    run(async {
        let rig = rig(|_| {});
        let mut dropped = rig.stream().await;
        next(&mut dropped).await.expect("flows");
        assert!(rig.sim.inject(VenueName::Binance, &Fault::DropConnections { scope: Scope::Market }));
        let ended = timeout(PATIENCE, async { while let Some(Ok(_)) = dropped.next().await {} }).await;
        assert!(ended.is_ok(), "the connection breaks");

        let mut frozen = rig.stream().await;
        next(&mut frozen).await.expect("flows");
        rig.sim.inject(VenueName::Binance, &Fault::HalfOpen { scope: Scope::All });
        let silent = timeout(PATIENCE, async { while timeout(Duration::from_millis(300), frozen.next()).await.is_ok() {} }).await;
        assert!(silent.is_ok(), "nothing arrives any more");
        frozen.send(Message::text("{}")).await.expect("but the connection stands");

        let mut stalled = rig.stream().await;
        let first = next_json(&mut stalled).await;
        assert!(first["u"].as_u64().is_some());
        let mut last = first["u"].as_u64().expect("u");
        rig.sim.inject(VenueName::Binance, &Fault::StallStreams { ms: 500 });
        let mut gap = Duration::ZERO;
        let until = tokio::time::Instant::now() + Duration::from_secs(1);
        while tokio::time::Instant::now() < until {
            let before = tokio::time::Instant::now();
            let message = next_json(&mut stalled).await;
            gap = gap.max(before.elapsed());
            assert_eq!(message["U"].as_u64(), Some(last + 1), "nothing is lost");
            last = message["u"].as_u64().expect("u");
        }
        assert!(gap > Duration::from_millis(300), "{gap:?}");
        rig.sim.stop();
    });
}

#[test]
fn the_control_interface_tells_accounts_and_takes_faults() {
    run(async {
        let rig = rig(|_| {});
        let (status, body) = rig.control("GET", &format!("/sim/account?key={}", rig.kraken.key), "").await;
        assert!(status.contains("200"), "{status}");
        let records: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(records[0]["balances"][0], json!({"asset": "USDT", "total": "10000", "hold": "0"}));
        let (_, body) = rig.control("GET", "/sim/account", "").await;
        assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON").as_array().map(Vec::len), Some(2));

        let deposit = json!({"venue": "kraken", "key": rig.kraken.key, "asset": "BTC", "amount": "0.5"});
        let (status, _) = rig.control("POST", "/sim/deposit", &deposit.to_string()).await;
        assert!(status.contains("200"), "{status}");
        let record = rig.sim.account(VenueName::Kraken, &rig.kraken.key).expect("known");
        assert_eq!(record.balances.iter().map(|row| row.total.as_str()).collect::<Vec<_>>(), ["0.5", "10000"]);
        let (_, body) = rig.control("GET", "/sim/stats", "").await;
        assert!(serde_json::from_str::<Value>(&body).expect("JSON")["kraken"]["market_messages"].is_u64(), "{body}");

        let mut kraken = rig.connect(VenueName::Kraken, false, "localhost", "/v2", None).await.expect("connects");
        next(&mut kraken).await;
        let (status, _) = rig.control("POST", "/sim/fault", r#"{"venue":"kraken","fault":"maintenance_on"}"#).await;
        assert!(status.contains("200"), "{status}");
        assert_eq!(next_json(&mut kraken).await["data"][0]["system"], "maintenance");
        for bad in ["{}", r#"{"fault":"set_fire"}"#, r#"{"venue":"nosuch","fault":"maintenance_on"}"#] {
            let (status, _) = rig.control("POST", "/sim/fault", bad).await;
            assert!(status.contains("400"), "{bad}: {status}");
        }
        rig.sim.stop();
    });
}

#[test]
fn late_answers_and_clock_jumps_are_seen_by_the_client() {
    run(async {
        let rig = rig(|_| {});
        let mut api = rig.connect(VenueName::Binance, false, "ws-api.binance.com", "/ws-api/v3", None).await.expect("connects");
        let ask = |id: &str, method: &str| Message::text(json!({"id": id, "method": method, "params": {}}).to_string());
        api.send(ask("1", "time")).await.expect("sends");
        let before = next_json(&mut api).await["result"]["serverTime"].as_u64().expect("time");
        rig.sim.inject(VenueName::Binance, &Fault::ClockJump { offset_ms: -3_600_000 });
        api.send(ask("2", "time")).await.expect("sends");
        let after = next_json(&mut api).await["result"]["serverTime"].as_u64().expect("time");
        assert!(before > after + 3_500_000);
        rig.sim.inject(VenueName::Binance, &Fault::ClockJump { offset_ms: 0 });
        rig.sim.inject(VenueName::Binance, &Fault::DelayAcks { ms: 300, count: 1 });
        let started = std::time::Instant::now();
        api.send(ask("late", "order.place")).await.expect("sends");
        api.send(ask("prompt", "time")).await.expect("sends");
        assert_eq!(next_json(&mut api).await["id"], "prompt", "only order answers wait");
        assert_eq!(next_json(&mut api).await["id"], "late");
        assert!(started.elapsed() >= Duration::from_millis(300));
        rig.sim.stop();
    });
}

#[test]
fn the_server_pings_and_drops_clients_that_never_answer() {
    run(async {
        let rig = rig(|config| {
            if let Some(binance) = &mut config.binance {
                binance.ping_interval_ms = 100;
                binance.pong_timeout_ms = 350;
                binance.venue.messages_per_s = 1;
            }
        });
        let mut socket = rig.stream().await;
        let ping = timeout(PATIENCE, async {
            loop {
                if let Some(Ok(Message::Ping(payload))) = socket.next().await {
                    return payload;
                }
            }
        });
        assert!(ping.await.expect("a ping").iter().all(u8::is_ascii_digit));
        // Reading answers pings, so a client that stops reading stops answering.
        tokio::time::sleep(Duration::from_millis(900)).await;
        let closed = timeout(PATIENCE, async {
            while let Some(message) = socket.next().await {
                if matches!(message, Ok(Message::Close(_)) | Err(_)) {
                    return true;
                }
            }
            true
        });
        assert!(closed.await.expect("ends"));
        rig.sim.stop();
    });
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = taken.local_addr().expect("bound");
    let mut binance = BinanceConfig::default();
    binance.venue.listen = address;
    let error = Sim::start(SimConfig { binance: Some(binance), kraken: None, ..SimConfig::default() }).err().expect("refused");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    let mut nonsense = BinanceConfig::default();
    nonsense.venue.markets[0].tick = "zero".into();
    let error = Sim::start(SimConfig { binance: Some(nonsense), kraken: None, ..SimConfig::default() }).err().expect("refused");
    assert!(error.to_string().contains("BTC/USDT: tick"), "{error}");
}
