//! `peregrine sim`: the simulated venues alone, for any client.

use anyhow::Context;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use venue_sim::config::{AccountConfig, BinanceConfig, KrakenConfig, SimConfig, TlsConfig};
use venue_sim::credentials::{BinanceCredentials, KrakenCredentials};

#[derive(clap::Args)]
#[command(after_help = "The keys of a fresh account are written as key files that `peregrine run` takes; the CA \
    certificate that clients must trust is written beside them.\n\nExample:\n  \
    peregrine sim --venues binance,kraken --directory /tmp/sim --seconds 600")]
pub struct Arguments {
    /// Which venues.
    #[arg(long, value_delimiter = ',', default_value = "binance,kraken")]
    venues: Vec<String>,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    listen: IpAddr,
    /// First port; each venue takes two, the control interface one.
    #[arg(long, default_value_t = 9443)]
    port: u16,
    /// Market-data messages per second over all venues.
    #[arg(long, default_value_t = 1_000, value_name = "EVENTS_PER_SECOND")]
    rate: u32,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write the CA certificate and the key files.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Stop after so long; without it, at Ctrl-C.
    #[arg(long)]
    seconds: Option<u64>,
}

/// What a simulation of both venues needs to be traded on.
pub struct Accounts {
    pub binance: BinanceCredentials,
    pub kraken: KrakenCredentials,
}

impl Accounts {
    /// Fresh random keys.
    pub fn generate() -> anyhow::Result<Accounts> {
        Ok(Accounts { binance: BinanceCredentials::generate()?, kraken: KrakenCredentials::generate()? })
    }

    /// Writes key files (mode 600) that the engine takes.
    pub fn write_key_files(&self, directory: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
        let seed: String = self.binance.ed25519_seed.iter().map(|b| format!("{b:02x}")).collect();
        let binance = directory.join("binance.key");
        write_private(&binance, &format!("api_key = \"{}\"\ned25519_seed = \"{seed}\"\n", self.binance.ed25519_key))?;
        let kraken = directory.join("kraken.key");
        write_private(&kraken, &format!("api_key = \"{}\"\nsecret = \"{}\"\n", self.kraken.key, self.kraken.secret))?;
        Ok((binance, kraken))
    }
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = || format!("writing {}", path.display());
    let _ = std::fs::remove_file(path);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)
}

/// Opening balances of the demonstration's accounts.
pub const OPENING_BALANCES: [(&str, &str); 4] = [("BTC", "5"), ("ETH", "100"), ("USDT", "500000"), ("USD", "500000")];

/// The simulation of both venues, two ports each from `first_port` on.
pub fn config(listen: IpAddr, first_port: u16, rate: u32, seed: u64, ca_file: PathBuf, accounts: &Accounts) -> SimConfig {
    let balances: Vec<(String, String)> = OPENING_BALANCES.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let mut binance = BinanceConfig::default();
    binance.venue.listen = SocketAddr::new(listen, first_port);
    binance.venue.listen_second = Some(SocketAddr::new(listen, first_port + 1));
    binance.venue.messages_per_s = rate / 2;
    binance.venue.accounts = vec![AccountConfig { keys: accounts.binance.keys(), balances: balances.clone() }];
    let mut kraken = KrakenConfig::default();
    kraken.venue.listen = SocketAddr::new(listen, first_port + 2);
    kraken.venue.listen_second = Some(SocketAddr::new(listen, first_port + 3));
    kraken.venue.messages_per_s = rate - rate / 2;
    kraken.venue.accounts = vec![AccountConfig { keys: accounts.kraken.keys(), balances }];
    let mut tls = TlsConfig { ca_file: Some(ca_file), ..TlsConfig::default() };
    tls.names.push(listen.to_string());
    SimConfig {
        seed,
        binance: Some(binance),
        kraken: Some(kraken),
        tls: Some(tls),
        control: Some(SocketAddr::new(listen, first_port + 4)),
        ..SimConfig::default()
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    for name in &arguments.venues {
        anyhow::ensure!(matches!(name.as_str(), "binance" | "kraken"), "no simulated venue is called '{name}'; there are binance and kraken");
    }
    std::fs::create_dir_all(&arguments.directory).with_context(|| format!("making {}", arguments.directory.display()))?;
    let accounts = Accounts::generate()?;
    let ca_file = arguments.directory.join("ca.pem");
    let mut config = config(arguments.listen, arguments.port, arguments.rate, arguments.seed, ca_file.clone(), &accounts);
    if !arguments.venues.iter().any(|v| v == "binance") {
        config.binance = None;
    }
    if !arguments.venues.iter().any(|v| v == "kraken") {
        config.kraken = None;
    }
    let (binance_keys, kraken_keys) = accounts.write_key_files(&arguments.directory)?;
    let stop = crate::signals::stop_flag()?;
    let sim = venue_sim::Sim::start(config)?;
    if let Some(address) = sim.binance() {
        println!("binance   https://{address}  wss://{address}/ws  /stream  /ws-api/v3   keys {}", binance_keys.display());
    }
    if let Some(address) = sim.kraken() {
        println!("kraken    https://{address}  wss://{address}/v2                        keys {}", kraken_keys.display());
    }
    println!("CA        {}", ca_file.display());
    println!("Ctrl-C stops.");
    crate::signals::wait(&stop, arguments.seconds.map(std::time::Duration::from_secs));
    sim.stop();
    Ok(ExitCode::SUCCESS)
}
