//! The peers: started inside the far namespace, and ended by their own process id.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use drivers::testbed::Namespace;
use netstack::tls::{Roots, Suite, TlsConfig, TlsOptions, Versions};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::{PATIENCE, PEER_NAME};

const WEBSOCKETS: &str = "websockets==15.0.1";

/// A directory of one test, removed when dropped.
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    pub fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("interop-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a directory under the build directory");
        Directory { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("a directory");
        }
        std::fs::write(&path, contents).expect("a file");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left in the build directory harms nothing.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A certificate for [`PEER_NAME`] and its key as files, and who signed it.
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
    ca_pem: String,
}

impl Certificate {
    pub fn new(directory: &Directory) -> Certificate {
        let ca_key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
        ca.distinguished_name.push(DnType::CommonName, "interop authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).expect("a certificate").pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec![PEER_NAME.to_owned()]).expect("parameters");
        let certificate = leaf.signed_by(&key, &issuer).expect("a certificate");
        Certificate {
            certificate: directory.write("certificate.pem", certificate.pem()),
            key: directory.write("key.pem", key.serialize_pem()),
            ca_pem,
        }
    }

    pub fn client(&self, versions: Versions, suite: Option<Suite>) -> TlsConfig {
        let options = TlsOptions { versions, suites: suite.into_iter().collect(), ..TlsOptions::default() };
        TlsConfig::with_options(Roots::Pem(self.ca_pem.as_bytes()), &options).expect("a TLS configuration")
    }
}

/// A running program. Ends with the test, also if the test panics or is killed.
pub struct Peer {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Peer {
    /// Starts the program inside the namespace and waits until it listens on `port`.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn start(namespace: &Namespace, program: &str, port: u16, arguments: &[&str]) -> Result<Peer, String> {
        let mut command = namespace.command(program).map_err(|error| error.to_string())?;
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: prctl is async-signal-safe, and nothing is captured.
        unsafe {
            command.pre_exec(|| nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).map_err(std::io::Error::from));
        }
        let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        let (sender, lines) = channel();
        for stream in [
            child.stdout.take().map(|out| Box::new(out) as Box<dyn std::io::Read + Send>),
            child.stderr.take().map(|err| Box::new(err) as _),
        ]
        .into_iter()
        .flatten()
        {
            let sender = sender.clone();
            std::thread::spawn(move || {
                // Ends when the program does, or when nobody listens any more.
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let mut peer = Peer { child, lines, said: Vec::new() };
        let start = Instant::now();
        while !listens(namespace, port) {
            let ended = peer.child.try_wait().expect("a child");
            let said = peer.said().join("\n");
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "{program} does not listen on port {port}: {said}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(peer)
    }

    /// What it wrote so far.
    pub fn said(&mut self) -> &[String] {
        self.said.extend(self.lines.try_iter());
        &self.said
    }

    /// Waits until it has written a line that begins so.
    pub fn expect_line(&mut self, begin: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(line) = self.said().iter().find(|line| line.starts_with(begin)) {
                return line.clone();
            }
            assert!(start.elapsed() < PATIENCE, "no line {begin:?} in {:?}", self.said);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// True if something listens on the port inside the namespace.
fn listens(namespace: &Namespace, port: u16) -> bool {
    let table = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default()).expect("namespace");
    // local_address is ADDRESS:PORT in hexadecimal; state 0A is LISTEN.
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().unwrap_or_default();
        local.ends_with(&format!(":{port:04X}")) && fields.nth(1) == Some("0A")
    })
}

/// nginx, wherever it is installed (normally not on an ordinary user's path).
pub fn nginx() -> &'static str {
    ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|path| Path::new(path).exists()).unwrap_or("nginx")
}

/// The Python of an environment that has the `websockets` package, made on first use.
///
/// # Errors
/// With what is missing.
pub fn python() -> Result<PathBuf, String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("websockets-venv");
    let python = venv.join("bin/python");
    let check = format!("import websockets, sys; sys.exit(0 if 'websockets==' + websockets.__version__ == '{WEBSOCKETS}' else 1)");
    if Command::new(&python).args(["-c", &check]).output().is_ok_and(|output| output.status.success()) {
        return Ok(python);
    }
    let run = |command: &mut Command, what: &str| {
        let output = command.output().map_err(|error| format!("{what}: {error}"))?;
        if output.status.success() { Ok(()) } else { Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr))) }
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv), "python3 -m venv (package python3-venv)")?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", WEBSOCKETS]), "pip install websockets")?;
    Ok(python)
}
