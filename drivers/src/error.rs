//! What can go wrong while a port is opened. Running ports report through counters and `io::Error`.

use std::io;

/// Why a driver could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A system call was refused. `what` names the call, the object and, where known, the remedy.
    #[error("{what}: {source}")]
    System {
        /// The step that failed.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A setting is impossible, whatever the machine.
    #[error("configuration: {0}")]
    Config(String),
    /// The verifier refused a BPF program; its log is included.
    #[error("BPF verifier refused the program: {source}\n{log}")]
    Verifier {
        /// The kernel's answer.
        source: io::Error,
        /// The verifier's log.
        log: String,
    },
    /// A helper program (`ip`) failed.
    #[error("`{command}` failed: {message}")]
    Command {
        /// The command line.
        command: String,
        /// Its standard error, or why it did not start.
        message: String,
    },
    /// No permitted way to open the link worked.
    #[error("no link on {interface} works; tried:\n{}", tried.join("\n"))]
    NoLink {
        /// The interface asked for.
        interface: String,
        /// One line for each attempt, in order.
        tried: Vec<String>,
    },
}

impl DriverError {
    /// Wraps `errno` of the call that just failed.
    pub(crate) fn last_os(what: impl Into<String>) -> DriverError {
        DriverError::System { what: what.into(), source: io::Error::last_os_error() }
    }

    /// Wraps an I/O error.
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> DriverError {
        DriverError::System { what: what.into(), source }
    }

    /// The kernel's error number, where the failure was a system call.
    pub fn errno(&self) -> Option<i32> {
        match self {
            DriverError::System { source, .. } | DriverError::Verifier { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// The failure on one line, for `PortInfo::why`.
    pub fn one_line(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().to_owned()
    }
}

/// Short form used throughout the crate.
pub type Result<T> = std::result::Result<T, DriverError>;
