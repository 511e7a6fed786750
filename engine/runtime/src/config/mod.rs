//! The configuration: read, checked, and turned into what the rooms below want.
//!
//! Strict: a key that nobody reads, a value with the wrong unit, a limit left out are errors that name the
//! file, the line, the key and what was expected. Nothing that limits a loss has a default.

pub mod build;
pub mod file;
pub mod locate;
pub mod network;
pub mod strategies;
pub mod tables;
pub mod units;

use file::File;
use locate::line_of;
use std::path::{Path, PathBuf};

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// Line, counted from 1; 0 if the error concerns the whole file.
    pub line: usize,
    /// What is wrong and what was expected.
    pub message: String,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

/// A configuration file that was read and whose shape is right.
#[derive(Clone, Debug)]
pub struct Document {
    /// Where it came from.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// What it says.
    pub file: File,
}

impl Document {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Document, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError {
            path: path.to_owned(),
            line: 0,
            message: format!("cannot be read: {e}"),
        })?;
        Document::parse(path, text)
    }

    /// Parses text that came from `path` (for messages).
    pub fn parse(path: &Path, text: String) -> Result<Document, ConfigError> {
        match toml::from_str::<File>(&text) {
            Ok(file) => Ok(Document { path: path.to_owned(), text, file }),
            Err(error) => {
                let offset = error.span().map(|span| span.start);
                let line = offset.map_or(0, |offset| line_of(&text, offset));
                let key = offset.map(|offset| locate::path_at(&text, offset)).filter(|key| !key.is_empty());
                let message = match key {
                    Some(key) => format!("{key}: {}", error.message()),
                    None => error.message().to_owned(),
                };
                Err(ConfigError { path: path.to_owned(), line, message })
            }
        }
    }

    /// An error at a place of this document.
    pub fn error_at<T>(&self, place: &toml::Spanned<T>, message: impl Into<String>) -> ConfigError {
        ConfigError { path: self.path.clone(), line: line_of(&self.text, place.span().start), message: message.into() }
    }

    /// An error at a key of this document. The path names elements of lists by their `name` or `symbol`.
    pub fn error_at_key<S: AsRef<str>>(&self, path: &[S], message: impl std::fmt::Display) -> ConfigError {
        let key: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
        let line = locate::line_of_path(&self.text, &key);
        ConfigError { path: self.path.clone(), line, message: format!("{}: {message}", key.join(".")) }
    }

    /// An error of the whole document.
    pub fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError { path: self.path.clone(), line: 0, message: message.into() }
    }
}

#[cfg(test)]
mod config_tests;
