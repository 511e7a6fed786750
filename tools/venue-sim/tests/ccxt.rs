//! The venues' truthfulness, checked by ccxt: a client that was written for the real ones.
//!
//! Needs python3 with `venv` and a reachable package index; the environment is made once, under the
//! build directory. Without them the test says that it was skipped (in CI it fails instead).

use std::path::{Path, PathBuf};
use std::process::Command;

use venue_sim::Sim;
use venue_sim::config::{AccountConfig, BinanceConfig, KrakenConfig, SimConfig, TlsConfig};
use venue_sim::credentials::{BinanceCredentials, KrakenCredentials};
use venue_sim::venue::VenueName;

const CCXT: &str = "ccxt==4.5.90";

fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped: {reason}");
    eprintln!("skipped: {reason}");
}

/// The Python of an environment that has ccxt, made on first use.
fn python() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ccxt-venv");
    let python = venv.join("bin/python");
    let has_ccxt = |python: &Path| {
        let check = format!("import ccxt, ccxt.pro, sys; sys.exit(0 if 'ccxt==' + ccxt.__version__ == '{CCXT}' else 1)");
        Command::new(python).args(["-c", &check]).output().is_ok_and(|output| output.status.success())
    };
    if has_ccxt(&python) {
        return Ok(python);
    }
    let run = |command: &mut Command, what: &str| {
        let output = command.output().map_err(|e| format!("{what}: {e}"))?;
        if output.status.success() { Ok(()) } else { Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr))) }
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv), "python3 -m venv (package python3-venv)")?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", CCXT]), "pip install ccxt")?;
    Ok(python)
}

#[test]
fn an_independent_client_trades_on_both_venues() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => return skip(&reason),
    };
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let ca_file = directory.join(format!("ccxt-ca-{}.pem", std::process::id()));
    let settings_file = directory.join(format!("ccxt-settings-{}.json", std::process::id()));
    let binance_keys = BinanceCredentials::generate().expect("random");
    let kraken_keys = KrakenCredentials::generate().expect("random");
    let balances = vec![("USDT".to_owned(), "100000".to_owned()), ("BTC".to_owned(), "1".to_owned())];

    let mut binance = BinanceConfig::default();
    binance.venue.messages_per_s = 200;
    binance.venue.accounts = vec![AccountConfig { keys: binance_keys.api_keys(), balances: balances.clone() }];
    // The client opens its subscriptions in a burst.
    binance.stream_messages_per_s = 50;
    let mut kraken = KrakenConfig::default();
    kraken.venue.messages_per_s = 200;
    kraken.venue.accounts = vec![AccountConfig { keys: kraken_keys.api_keys(), balances }];
    kraken.rest_counter_max = 100.0;
    let sim = Sim::start(SimConfig {
        binance: Some(binance),
        kraken: Some(kraken),
        tls: Some(TlsConfig { ca_file: Some(ca_file.clone()), ..TlsConfig::default() }),
        ..SimConfig::default()
    })
    .expect("starts");
    let port = |venue| sim.address(venue).expect("simulated").main.port();
    let (binance_port, kraken_port) = (port(VenueName::Binance), port(VenueName::Kraken));
    let settings = serde_json::json!({
        "ca_file": ca_file,
        "binance_rest": format!("https://localhost:{binance_port}"),
        "binance_ws": format!("wss://localhost:{binance_port}"),
        "binance_key": binance_keys.hmac_key,
        "binance_secret": binance_keys.hmac_secret,
        "kraken_rest": format!("https://localhost:{kraken_port}"),
        "kraken_ws": format!("wss://localhost:{kraken_port}"),
        "kraken_key": kraken_keys.key,
        "kraken_secret": kraken_keys.secret,
    });
    std::fs::write(&settings_file, settings.to_string()).expect("writable");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ccxt_client.py");
    let output = Command::new(python).arg(script).arg(&settings_file).output().expect("python runs");
    for file in [&ca_file, &settings_file] {
        // Left-over files in the build directory harm nothing.
        let _ = std::fs::remove_file(file);
    }
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("all ok"), "{stdout}");
    println!("{stdout}");
    for (venue, key) in [(VenueName::Binance, &binance_keys.hmac_key), (VenueName::Kraken, &kraken_keys.key)] {
        let record = sim.account(venue, key).expect("account");
        assert!(record.open_orders.is_empty(), "{record:?}");
        assert!(!record.fills.is_empty());
    }
    sim.stop();
}
