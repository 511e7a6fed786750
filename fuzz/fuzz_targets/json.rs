//! The JSON scanner against serde_json: it takes what JSON is and nothing else, finds the same strings and numbers,
//! and never takes one half of a text for the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use venues::json::{DEPTH_MAX, JsonError, Scanner, What};

/// Walks a value as a codec does, and compares it with what serde_json found there.
fn walk(s: &mut Scanner<'_>, value: &Value) -> Result<(), JsonError> {
    match value {
        Value::Null => assert!(s.null()?),
        Value::Bool(value) => assert_eq!(s.bool()?, *value),
        Value::Number(number) => {
            let (u64, i64) = (s.clone().u64().ok(), s.clone().i64().ok());
            let text = std::str::from_utf8(s.number()?).expect("digits").to_owned();
            if !text.contains(['.', 'e', 'E', '-']) {
                assert_eq!((u64, i64), (text.parse().ok(), text.parse().ok()), "{text}");
            }
            assert!(number.as_f64().is_some());
        }
        Value::String(want) => {
            let mut room = vec![0; want.len() + 8];
            let text = s.string()?;
            assert_eq!(text.resolve(&mut room), Some(want.as_bytes()));
            assert!(text.is(want.as_bytes()) || (text.is_escaped() && want.len() > 64));
        }
        Value::Array(values) => {
            let mut elements = s.array()?;
            for value in values {
                assert!(elements.next(s)?);
                walk(s, value)?;
            }
            assert!(!elements.next(s)?);
        }
        Value::Object(_) => {
            // Members may be there twice: serde keeps the last.
            let mut members = s.object()?;
            while members.next(s)?.is_some() {
                s.skip()?;
            }
        }
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    if std::str::from_utf8(data).is_err() {
        let mut s = Scanner::new(data);
        let _ = s.skip().and_then(|()| s.end());
        return;
    }
    let raw = serde_json::from_slice::<&RawValue>(data);
    let mut s = Scanner::new(data);
    let ours = s.skip().and_then(|()| s.end());
    match (&raw, &ours) {
        (Ok(_), Err(error)) => {
            let depth = data.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
            assert!(error.what == What::Depth && depth >= DEPTH_MAX as usize, "refused: {error}");
        }
        (Err(error), Ok(())) => {
            let depth = data.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
            assert!(depth > 64, "taken, but {error}");
        }
        _ => {}
    }
    if ours.is_ok() {
        if let Ok(value) = serde_json::from_slice::<Value>(data) {
            let mut s = Scanner::new(data);
            walk(&mut s, &value).and_then(|()| s.end()).expect("it was taken whole");
        }
        // A text that opens with a bracket is not whole before its end.
        let text = data.trim_ascii();
        if matches!(text.first(), Some(b'{' | b'[')) {
            let cut = &text[..text.len() - 1];
            let mut s = Scanner::new(cut);
            assert!(s.skip().and_then(|()| s.end()).is_err(), "the last bracket is missed");
        }
    }
});
