//! The `decode` tool's lines, of both venues and channels: raw messages and capture lines. Whatever a line holds, JSON
//! objects come out, one a line, errors among them are counted, and the next line is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use venues::decode::{Channel, Decoder};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let venue = if choice & 1 == 0 { "binance" } else { "kraken" };
    let channel = if choice & 2 == 0 { Channel::Public } else { Channel::Private };
    let mut decoder = Decoder::new(venue, channel).expect("a venue of ours");
    let (mut out, mut objects, mut errors) = (Vec::new(), 0, 0);
    for line in data.split(|&byte| byte == b'\n').take(64) {
        out.clear();
        decoder.decode_line(line, &mut out);
        for object in out.split(|&byte| byte == b'\n').filter(|object| !object.is_empty()) {
            let value: serde_json::Value = serde_json::from_slice(object).expect("an object");
            assert!(value.get("error").is_some() || value.get("kind").is_some());
            errors += u64::from(value.get("error").is_some());
            objects += 1;
        }
        assert_eq!(decoder.errors(), errors);
    }
    assert!(objects <= data.len() + 64);
});
