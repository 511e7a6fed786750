//! The habits of this code base as a test: what `docs/src/STYLE.md` asks for and a program can check.

use std::path::{Path, PathBuf};

/// Longest line, in characters.
const LINE_CHARS_MAX: usize = 140;
/// Longest file, in lines: beyond this there are two things in one room.
const FILE_LINES_MAX: usize = 1_100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace root")
}

fn sources(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | ".git" | "corpus" | "artifacts" | "book" | "__pycache__") {
                sources(&path, extension, found);
            }
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

fn rust_files() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    sources(&root(), "rs", &mut found);
    assert!(found.len() > 20, "the tree was found");
    found.sort();
    found.into_iter().map(|p| (p.clone(), std::fs::read_to_string(&p).expect("readable source"))).collect()
}

/// The part of a source before its unit tests.
fn product_part(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn every_file_begins_with_what_it_is_and_stays_readable() {
    let mut problems = Vec::new();
    for (path, text) in rust_files() {
        let shown = path.display();
        if !text.starts_with("//!") && !text.starts_with("#!") {
            problems.push(format!("{shown}: begins without a module header (//!)"));
        }
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            problems.push(format!("{shown}: {lines} lines; split it at {FILE_LINES_MAX}"));
        }
        for (i, line) in text.lines().enumerate() {
            // Test vectors may be long; prose and code may not.
            if line.chars().count() > LINE_CHARS_MAX && !line.contains('"') {
                problems.push(format!("{shown}:{}: longer than {LINE_CHARS_MAX} characters", i + 1));
            }
        }
    }
    report(&problems);
}

#[test]
fn nothing_is_left_unfinished() {
    // Assembled, so that this file does not find itself.
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["X", "XX"].concat(), ["todo", "!("].concat(), ["#[ign", "ore"].concat()];
    let mut problems = Vec::new();
    for (path, text) in rust_files() {
        for (i, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|w| line.contains(w.as_str())) {
                problems.push(format!("{}:{}: '{word}'", path.display(), i + 1));
            }
        }
    }
    report(&problems);
}

#[test]
fn sans_io_rooms_have_no_io_no_clock_and_no_thread() {
    let banned =
        ["std::net::Tcp", "std::net::Udp", "std::fs", "std::thread", "Instant::now", "SystemTime", "std::process", "println!", "rand::"];
    let mut problems = Vec::new();
    for (path, text) in rust_files() {
        let relative = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        if !["engine/core/src", "engine/venues/src", "netstack/src"].iter().any(|room| relative.starts_with(room)) {
            continue;
        }
        for (i, line) in product_part(&text).lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            if let Some(word) = banned.iter().find(|w| line.contains(**w)) {
                problems.push(format!("{relative}:{}: '{word}' in a sans-I/O room", i + 1));
            }
        }
    }
    report(&problems);
}

#[test]
fn rooms_use_only_the_rooms_below_them() {
    let allowed: [(&str, &[&str]); 5] = [
        ("drivers", &[]),
        ("netstack", &["drivers"]),
        ("engine/core", &[]),
        ("engine/venues", &["engine-core"]),
        ("engine/runtime", &["drivers", "netstack", "engine-core", "venues"]),
    ];
    let rooms = ["drivers", "netstack", "engine-core", "venues", "runtime", "venue-sim", "bench", "peregrine"];
    let mut problems = Vec::new();
    for (room, below) in allowed {
        let manifest = std::fs::read_to_string(root().join(room).join("Cargo.toml")).expect("a manifest");
        let dependencies = manifest.split("[dev-dependencies]").next().expect("a first part");
        for other in rooms {
            let uses = dependencies.lines().any(|l| l.starts_with(&format!("{other}.")) || l.starts_with(&format!("{other} ")));
            if uses && !below.contains(&other) {
                problems.push(format!("{room} uses {other}, which is not below it"));
            }
        }
    }
    report(&problems);
}
