//! `peregrine sim`: the simulated venues alone, for any client.

use anyhow::Context;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use venue_sim::config::{AccountConfig, BinanceConfig, KrakenConfig, SimConfig, TlsConfig};
use venue_sim::credentials::{BinanceCredentials, KrakenCredentials};
use venue_sim::venue::VenueName;

/// First port where none is asked for.
const FIRST_PORT: u16 = 9443;
/// Ports from the first on: two for each venue and one for the control interface.
pub const PORTS: u16 = 5;

/// Options of the subcommand.
#[derive(clap::Args)]
#[command(after_help = "Writes into --directory: ca.pem, the certificate authority that clients must trust; binance.key and\n\
    kraken.key, key files that `peregrine run` takes; binance-hmac.key and binance-ed25519.pem, the same account for\n\
    other clients. All keys are fresh and worth nothing elsewhere.\n\n\
    Examples:\n  \
    peregrine sim --venues binance,kraken --directory /tmp/sim\n  \
    curl --cacert /tmp/sim/ca.pem 'https://127.0.0.1:9443/api/v3/depth?symbol=BTCUSDT&limit=5'\n  \
    curl -d '{\"venue\":\"kraken\",\"fault\":\"bad_checksum\",\"count\":1}' -H 'content-type: application/json' http://127.0.0.1:9447/sim/fault")]
pub struct Arguments {
    /// Which venues, of binance and kraken.
    #[arg(long, value_delimiter = ',', default_value = "binance,kraken")]
    venues: Vec<VenueArgument>,
    /// Where to listen: an address, or an address and the first port. Each venue takes two ports, the control
    /// interface the fifth; port 0 picks free ones.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDR[:PORT]")]
    listen: Listen,
    /// A host name or address, beside the listening one, that the certificate is valid for (may be repeated).
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Market-data messages per second over all venues.
    #[arg(long, default_value_t = 1_000, value_name = "EVENTS_PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Seed of everything random but the keys.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write the CA certificate and the key files.
    #[arg(long, default_value = ".", value_name = "DIR")]
    directory: PathBuf,
    /// Stop after so long; without it, at Ctrl-C.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

/// A venue on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum VenueArgument {
    Binance,
    Kraken,
}

/// An address with or without the first port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub address: IpAddr,
    /// The first port; 0 lets the system choose each.
    pub first_port: u16,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        let with_port = text.parse::<SocketAddr>().map(|a| Listen { address: a.ip(), first_port: a.port() });
        let listen = with_port.or_else(|_| text.parse().map(|address| Listen { address, first_port: FIRST_PORT }));
        let listen = listen.map_err(|_| "expected an IP address, or one with a port, like 127.0.0.1:9443".to_owned())?;
        if listen.first_port > u16::MAX - PORTS {
            return Err(format!("expected a first port of at most {}: {PORTS} ports follow each other", u16::MAX - PORTS));
        }
        Ok(listen)
    }
}

impl Listen {
    /// The `nth` address from the first port on.
    fn nth(self, nth: u16) -> SocketAddr {
        let port = if self.first_port == 0 { 0 } else { self.first_port + nth };
        SocketAddr::new(self.address, port)
    }
}

/// Keys of one account at each venue.
pub struct Accounts {
    /// Binance.
    pub binance: BinanceCredentials,
    /// Kraken.
    pub kraken: KrakenCredentials,
}

impl Accounts {
    /// Fresh random keys.
    pub fn generate() -> anyhow::Result<Accounts> {
        Ok(Accounts { binance: BinanceCredentials::generate()?, kraken: KrakenCredentials::generate()? })
    }

    /// Writes the key files (mode 600) that the engine takes: Binance's and Kraken's.
    pub fn write_key_files(&self, directory: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
        let seed: String = self.binance.ed25519_seed.iter().map(|b| format!("{b:02x}")).collect();
        let binance = directory.join("binance.key");
        write_private(&binance, &format!("api_key = \"{}\"\ned25519_seed = \"{seed}\"\n", self.binance.ed25519_key))?;
        let kraken = directory.join("kraken.key");
        write_private(&kraken, &format!("api_key = \"{}\"\nsecret = \"{}\"\n", self.kraken.key, self.kraken.secret))?;
        Ok((binance, kraken))
    }

    /// Writes Binance's account in the forms that other clients take: an HMAC key, and the Ed25519 key as PEM.
    fn write_foreign_key_files(&self, directory: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
        let hmac = directory.join("binance-hmac.key");
        write_private(&hmac, &format!("api_key = \"{}\"\nsecret = \"{}\"\n", self.binance.hmac_key, self.binance.hmac_secret))?;
        let pem = directory.join("binance-ed25519.pem");
        write_private(&pem, &self.binance.ed25519_pem())?;
        Ok((hmac, pem))
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

/// Opening balances of the accounts.
pub const OPENING_BALANCES: [(&str, &str); 4] = [("BTC", "5"), ("ETH", "100"), ("USDT", "500000"), ("USD", "500000")];

/// The simulation of both venues. `rate` is over both; the CA certificate is written to `ca_file`.
pub fn config(listen: Listen, rate: u32, seed: u64, ca_file: PathBuf, accounts: &Accounts) -> SimConfig {
    let balances: Vec<(String, String)> = OPENING_BALANCES.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let second = |nth| (listen.first_port != 0).then(|| listen.nth(nth));
    let mut binance = BinanceConfig::default();
    binance.venue.listen = listen.nth(0);
    binance.venue.listen_second = second(1);
    binance.venue.messages_per_s = (rate / 2).max(1);
    binance.venue.accounts = vec![AccountConfig { keys: accounts.binance.api_keys(), balances: balances.clone() }];
    let mut kraken = KrakenConfig::default();
    kraken.venue.listen = listen.nth(2);
    kraken.venue.listen_second = second(3);
    kraken.venue.messages_per_s = (rate - rate / 2).max(1);
    kraken.venue.accounts = vec![AccountConfig { keys: accounts.kraken.api_keys(), balances }];
    let mut tls = TlsConfig { ca_file: Some(ca_file), ..TlsConfig::default() };
    tls.names.push(listen.address.to_string());
    tls.names.dedup();
    SimConfig {
        seed,
        binance: Some(binance),
        kraken: Some(kraken),
        tls: Some(tls),
        control: Some(listen.nth(4)),
        flush_each: true,
        ..SimConfig::default()
    }
}

/// Runs the simulated venues until Ctrl-C, or for the time asked for.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let directory = &arguments.directory;
    std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let directory = directory.canonicalize().with_context(|| format!("finding {}", directory.display()))?;
    let accounts = Accounts::generate()?;
    let ca_file = directory.join("ca.pem");
    let has = |venue| arguments.venues.contains(&venue);
    let mut rate = arguments.rate;
    if !(has(VenueArgument::Binance) && has(VenueArgument::Kraken)) {
        rate = rate.saturating_mul(2); // Only one of the halves is used.
    }
    let mut config = config(arguments.listen, rate, arguments.seed, ca_file.clone(), &accounts);
    config.binance = config.binance.filter(|_| has(VenueArgument::Binance));
    config.kraken = config.kraken.filter(|_| has(VenueArgument::Kraken));
    if let Some(tls) = &mut config.tls {
        tls.names.extend(arguments.names.iter().filter(|name| !name.is_empty()).cloned());
    }
    let stop = crate::signals::stop_flag()?;
    let sim = venue_sim::Sim::start(config)?;
    let (binance_keys, kraken_keys) = accounts.write_key_files(&directory)?;
    let (hmac, pem) = accounts.write_foreign_key_files(&directory)?;
    if let Some(address) = sim.address(VenueName::Binance) {
        println!("binance  REST         https://{}/api/v3", address.main);
        println!("         streams      wss://{0}/ws  wss://{0}/stream", address.main);
        println!("         SBE streams  wss://{0}/ws  wss://{0}/stream", address.second);
        println!("         orders       wss://{}/ws-api/v3", address.main);
        println!("         keys         {}", binance_keys.display());
        println!("                      {} (other clients)", hmac.display());
        println!("                      {} (other clients; key {})", pem.display(), accounts.binance.ed25519_key);
    } else {
        for file in [&binance_keys, &hmac, &pem] {
            let _ = std::fs::remove_file(file);
        }
    }
    if let Some(address) = sim.address(VenueName::Kraken) {
        println!("kraken   REST         https://{}/0", address.main);
        println!("         market data  wss://{}/v2", address.main);
        println!("         orders       wss://{}/v2", address.second);
        println!("         keys         {}", kraken_keys.display());
    } else {
        let _ = std::fs::remove_file(&kraken_keys);
    }
    if let Some(address) = sim.control {
        println!("control  http://{address}/sim/account  /sim/fault  /sim/deposit  /sim/stats");
    }
    println!("CA       {}", ca_file.display());
    println!("Each account holds {}.", OPENING_BALANCES.map(|(asset, amount)| format!("{amount} {asset}")).join(", "));
    println!("Ctrl-C stops.");
    crate::signals::wait(&stop, arguments.seconds.map(std::time::Duration::from_secs));
    sim.stop();
    println!("stopped");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_address_may_carry_the_first_port() {
        let nth = |text: &str, nth| Listen::from_str(text).map(|l| l.nth(nth).to_string());
        assert_eq!(nth("127.0.0.1", 2), Ok("127.0.0.1:9445".to_owned()));
        assert_eq!(nth("0.0.0.0:1000", 4), Ok("0.0.0.0:1004".to_owned()));
        assert_eq!(nth("[::1]:5", 0), Ok("[::1]:5".to_owned()));
        assert_eq!(nth("127.0.0.1:0", 3), Ok("127.0.0.1:0".to_owned()));
        assert!(nth("localhost", 0).is_err());
        assert!(nth("127.0.0.1:65535", 0).is_err());
    }

    #[test]
    fn generated_key_files_are_private_and_the_engine_takes_them() {
        let directory = std::env::temp_dir().join(format!("peregrine-sim-keys-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let accounts = Accounts::generate().unwrap();
        let (binance, kraken) = accounts.write_key_files(&directory).unwrap();
        for path in [&binance, &kraken] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let read = runtime::credentials::read(&binance).unwrap();
        assert_eq!((read.api_key, *read.ed25519_seed.unwrap()), (accounts.binance.ed25519_key, accounts.binance.ed25519_seed));
        let read = runtime::credentials::read(&kraken).unwrap();
        assert_eq!((&read.api_key, read.secret.as_str()), (&accounts.kraken.key, accounts.kraken.secret.as_str()));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
