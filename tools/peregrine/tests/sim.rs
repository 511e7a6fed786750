//! `peregrine sim`, as a user runs it: endpoints and files are told, any client can ask, Ctrl-C ends it cleanly.

use runtime::cold::http::HttpClient;
use runtime::config::units::HostPort;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use venues::rest::HttpRequest;

struct Sim {
    child: Child,
    lines: mpsc::Receiver<String>,
    directory: PathBuf,
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn start(name: &str, arguments: &[&str]) -> Sim {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sim-{name}-{}", std::process::id()));
    let mut child = Command::new(env!("CARGO_BIN_EXE_peregrine"))
        .args(["sim", "--listen", "127.0.0.1:0", "--directory"])
        .arg(&directory)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let stdout = child.stdout.take().expect("piped");
    let (tell, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    Sim { child, lines, directory }
}

impl Sim {
    /// What it says until it is ready.
    fn ready(&self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(20)).expect("gets ready");
            if line.starts_with("Ctrl-C") {
                return said;
            }
            said.push(line);
        }
    }

    fn interrupt(&mut self) -> std::process::ExitStatus {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("is ours");
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10) {
            if let Some(status) = self.child.try_wait().expect("is ours") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("does not end");
    }
}

#[test]
fn both_venues_answer_a_client_that_trusts_the_written_authority_and_ctrl_c_ends_cleanly() {
    let mut sim = start("both", &[]);
    let said = sim.ready();
    let ca = std::fs::read(sim.directory.join("ca.pem")).expect("written");
    for (venue, path, expected) in
        [("binance", "/api/v3/depth?symbol=BTCUSDT&limit=5", "lastUpdateId"), ("kraken", "/0/public/Time", "unixtime")]
    {
        let line = said.iter().find(|l| l.starts_with(venue)).expect("its endpoints are told");
        let address = line.split("https://").nth(1).and_then(|rest| rest.split('/').next()).expect("a URL");
        let host = HostPort::parse(address).expect("host and port");
        let client = HttpClient::new(host, Some(&ca), &[]).expect("a client");
        let request = HttpRequest { method: "GET", path: path.into(), headers: Vec::new(), body: Vec::new() };
        let answer = client.send(&request).expect("an answer");
        assert_eq!(answer.status, 200);
        assert!(String::from_utf8_lossy(&answer.body).contains(expected));
    }
    for name in ["binance.key", "kraken.key", "binance-hmac.key", "binance-ed25519.pem"] {
        let path = sim.directory.join(name);
        assert_eq!(std::fs::metadata(&path).expect("written").permissions().mode() & 0o777, 0o600, "{name}");
        assert!(said.iter().any(|line| line.contains(&path.display().to_string())), "{name} is told: {said:#?}");
        if name.ends_with(".key") {
            runtime::credentials::read(&path).expect("the engine takes it");
        }
    }
    assert!(sim.interrupt().success());
}

#[test]
fn one_venue_alone_writes_only_its_own_keys_and_ends_after_its_time() {
    let mut sim = start("one", &["--venues", "kraken", "--seconds", "1"]);
    let said = sim.ready();
    assert!(said.iter().any(|l| l.starts_with("kraken")) && !said.iter().any(|l| l.starts_with("binance")));
    assert!(sim.directory.join("kraken.key").exists() && !sim.directory.join("binance.key").exists());
    let started = Instant::now();
    while sim.child.try_wait().expect("is ours").is_none() {
        assert!(started.elapsed() < Duration::from_secs(15), "does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(sim.child.wait().expect("is ours").success());
}

#[test]
fn a_venue_that_cannot_be_simulated_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_peregrine")).args(["sim", "--venues", "nasdaq"]).output().expect("runs");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("nasdaq") && text.contains("binance") && text.contains("kraken"), "{text}");
}
