//! `peregrine decode` over recorded traffic, as a user runs it.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped: {reason}");
    eprintln!("skipped: {reason}");
}

fn capture(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures").join(name);
    if path.is_file() {
        return Some(path);
    }
    skip(&format!("{} is not there", path.display()));
    None
}

/// Runs `peregrine decode` and returns its objects.
fn decode(arguments: &[&str], input: &[u8]) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_peregrine"))
        .arg("decode")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("ends");
    // A file argument leaves the pipe unread; that is no failure.
    let _ = feeder.join().expect("does not panic");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

fn is_decimal(value: &Value) -> bool {
    let text = value.as_str().unwrap_or("no text").trim_start_matches('-');
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    [whole, fraction].iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

fn check_recording(venue: &str) {
    let Some(path) = capture(&format!("{venue}.jsonl")) else { return };
    let file = path.to_str().expect("UTF-8");
    let objects = decode(&["--venue", venue, file], b"");
    let errors: Vec<&Value> = objects.iter().filter(|o| o.get("error").is_some()).collect();
    assert!(errors.is_empty(), "{} errors, the first: {}", errors.len(), errors[0]);
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for object in &objects {
        let kind = object["kind"].as_str().expect("every object has a kind");
        *kinds.entry(kind).or_default() += 1;
        if matches!(kind, "book_level" | "trade" | "top_of_book") {
            assert!(object["instrument"].as_str().is_some_and(|s| !s.is_empty()), "{object}");
            assert!(matches!(object["side"].as_str(), Some("buy" | "sell")), "{object}");
            assert!(["price", "qty", "venue_time_ns"].iter().all(|key| is_decimal(&object[*key])), "{object}");
        }
        if kind == "book_invalid" {
            assert_ne!(object["reason"], "checksum", "{object}");
        }
    }
    assert!(kinds.get("book_level").is_some_and(|&n| n > 100) && kinds.contains_key("trade"), "{kinds:?}");
    // The same lines on standard input give the same.
    let piped = decode(&["--venue", venue, "--channel", "public", "-"], &std::fs::read(&path).expect("readable"));
    assert!(piped == objects, "a file and a pipe differ");
}

#[test]
fn recorded_binance_traffic_decodes_without_an_error() {
    check_recording("binance");
}

#[test]
fn recorded_kraken_traffic_decodes_without_an_error() {
    check_recording("kraken");
}

#[test]
fn bad_lines_are_reported_one_by_one_and_do_not_stop_the_run() {
    let good = "{\"channel\":\"trade\",\"type\":\"update\",\"data\":[{\"symbol\":\"BTC/USD\",\"side\":\"buy\",\"price\":61250.5,\
        \"qty\":0.00850000,\"ord_type\":\"limit\",\"trade_id\":1,\"timestamp\":\"2026-01-01T00:00:00.231904Z\"}]}\n";
    let mut input = b"\x00\xff\n{\"channel\":\n[[[[[[\n".to_vec();
    input.extend_from_slice(good.as_bytes());
    input.extend_from_slice(b"{\"t\":1,\"dir\":\"in\",\"conn\":\"x\",\"b64\":\"!!\"}\n");
    input.extend_from_slice(good.trim_end().as_bytes());
    let objects = decode(&["--venue", "kraken", "-"], &input);
    assert_eq!(objects.iter().filter(|o| o.get("error").is_some()).count(), 4, "{objects:?}");
    let trades: Vec<&Value> = objects.iter().filter(|o| o["kind"] == "trade").collect();
    assert_eq!(trades.len(), 2);
    assert_eq!((&trades[0]["price"], &trades[0]["qty"]), (&"61250.5".into(), &"0.0085".into()));
}

#[test]
fn an_unknown_venue_and_a_missing_file_are_errors() {
    for (arguments, expected) in
        [(["--venue", "nasdaq", "-"], "no decoder for venue"), (["--venue", "kraken", "no/such/file"], "no/such/file")]
    {
        let output =
            Command::new(env!("CARGO_BIN_EXE_peregrine")).arg("decode").args(arguments).stdin(Stdio::null()).output().expect("runs");
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(expected), "{text}");
    }
}
