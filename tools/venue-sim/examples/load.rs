//! How much of a core the simulator needs for a message rate: both venues over TLS, one subscriber each.
//!
//! `cargo run --profile fast -p venue-sim --example load [RATE_PER_VENUE] [SECONDS] [TICK_US]` prints messages
//! received per second and the CPU time of the simulator's thread (from /proc).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::Message;
use venue_sim::Sim;
use venue_sim::config::{BinanceConfig, KrakenConfig, SimConfig};
use venue_sim::venue::VenueName;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// CPU time of the simulator's thread, in clock ticks (1/100 s).
fn cpu_ticks() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok())
        .filter(|stat| stat.contains("(venue-sim)"))
        .filter_map(|stat| {
            let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        })
        .sum()
}

async fn subscribe(
    ca_pem: String,
    port: u16,
    path: &str,
    requests: Vec<String>,
    count: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
) -> Result<(), Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let tls = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, tcp).await?;
    let (mut socket, _) = tokio_tungstenite::client_async(format!("wss://localhost:{port}{path}"), tls).await?;
    for request in requests {
        socket.send(Message::text(request)).await?;
    }
    while let Some(message) = socket.next().await {
        bytes.fetch_add(message?.len() as u64, Ordering::Relaxed);
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let rate: u32 = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let tick_us: u32 = arguments.next().map_or(Ok(SimConfig::default().tick_us), |text| text.parse())?;
    let mut binance = BinanceConfig::default();
    binance.venue.messages_per_s = rate;
    let mut kraken = KrakenConfig::default();
    kraken.venue.messages_per_s = rate;
    let sim = Sim::start(SimConfig { binance: Some(binance), kraken: Some(kraken), tick_us, ..SimConfig::default() })?;
    let port = |venue| sim.address(venue).map_or(0, |address| address.main.port());
    let (binance_port, kraken_port) = (port(VenueName::Binance), port(VenueName::Kraken));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let counts = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    let bytes = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        let streams =
            "/stream?streams=btcusdt@depth@100ms/btcusdt@bookTicker/btcusdt@trade/ethusdt@depth@100ms/ethusdt@bookTicker/ethusdt@trade";
        tokio::spawn(subscribe(sim.ca_pem.clone(), binance_port, streams, Vec::new(), counts[0].clone(), bytes.clone()));
        let channel =
            |name: &str| format!(r#"{{"method":"subscribe","params":{{"channel":"{name}","symbol":["BTC/USDT","ETH/USDT","BTC/USD"]}}}}"#);
        let requests = vec![channel("book"), channel("trade")];
        tokio::spawn(subscribe(sim.ca_pem.clone(), kraken_port, "/v2", requests, counts[1].clone(), bytes.clone()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let read = || counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        let (before, cpu_before, bytes_before, started) = (read(), cpu_ticks(), bytes.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let elapsed = started.elapsed().as_secs_f64();
        let after = read();
        for (name, (before, after)) in ["binance", "kraken"].iter().zip(before.iter().zip(after)) {
            println!("{name}: {:.0} messages/s", (after - before) as f64 / elapsed);
        }
        println!(
            "{:.1} MB/s, simulator thread: {:.0} % of a core",
            (bytes.load(Ordering::Relaxed) - bytes_before) as f64 / elapsed / 1e6,
            (cpu_ticks() - cpu_before) as f64 / elapsed
        );
    });
    sim.stop();
    Ok(())
}
