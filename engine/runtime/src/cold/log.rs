//! Structured log: one JSON object a line, written by cold threads only.
//!
//! `{"time":"2026-01-01T00:00:00.123456789Z","level":"warn","event":"book_invalid","venue":"kraken",...}`.
//! Secrets never get here: the types that hold them have no `Display` and no `Serialize`.

use serde_json::{Map, Value};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// How much it matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Routine.
    Info,
    /// Degraded: something was lost, refused or retried.
    Warn,
    /// Somebody should look now.
    Error,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// A log shared by the cold threads. Clones write to the same place.
#[derive(Clone)]
pub struct Log {
    sink: Arc<Mutex<Box<dyn Write + Send>>>,
    least: Level,
}

impl Log {
    /// Appends to a file.
    pub fn to_file(path: &Path) -> io::Result<Log> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Log::to(Box::new(file)))
    }

    /// Writes to any sink.
    pub fn to(sink: Box<dyn Write + Send>) -> Log {
        Log { sink: Arc::new(Mutex::new(sink)), least: Level::Info }
    }

    /// Writes to standard error.
    pub fn to_stderr() -> Log {
        Log::to(Box::new(io::stderr()))
    }

    /// Leaves out what matters less than `least`.
    #[must_use]
    pub fn at_least(mut self, least: Level) -> Log {
        self.least = least;
        self
    }

    /// Writes one line. `time_ns` is nanoseconds since the Unix epoch. A failing sink loses the line,
    /// never the caller.
    pub fn write(&self, time_ns: u64, level: Level, event: &str, fields: &[(&str, Value)]) {
        if level < self.least {
            return;
        }
        let mut line = Map::with_capacity(fields.len() + 3);
        line.insert("time".into(), time_text(time_ns).into());
        line.insert("level".into(), level.as_str().into());
        line.insert("event".into(), event.into());
        for (key, value) in fields {
            line.insert((*key).to_owned(), value.clone());
        }
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = sink.write_all(text.as_bytes());
    }

    /// Writes one line, stamped with the wall clock.
    pub fn now(&self, level: Level, event: &str, fields: &[(&str, Value)]) {
        self.write(crate::clock::wall_ns(), level, event, fields);
    }
}

/// RFC 3339 with nanoseconds.
pub fn time_text(time_ns: u64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time_ns)).map_or_else(|_| time_ns.to_string(), |t| format!("{t:.9}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_is_one_json_object_with_time_level_and_event() {
        let shared = Shared::default();
        let log = Log::to(Box::new(shared.clone())).at_least(Level::Warn);
        log.write(1_767_225_600_123_456_789, Level::Warn, "book_invalid", &[("venue", "kra\"ken\n".into()), ("gaps", 3.into())]);
        log.write(0, Level::Info, "left out", &[]);
        let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1);
        let line: Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["time"], "2026-01-01T00:00:00.123456789Z");
        assert_eq!(line["level"], "warn");
        assert_eq!(line["venue"], "kra\"ken\n");
        assert_eq!(line["gaps"], 3);
    }
}
