//! Kraken's REST answers: see `support::rest`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use support::rest::run;
use support::tables::{KRAKEN, settings, tables};
use venues::kraken::{KrakenRest, default_hosts};
use venues::venue::Encoding;

fuzz_target!(|data: &[u8]| {
    let rest = || KrakenRest::new(&settings(default_hosts(), Encoding::Json)).expect("keys");
    let first = run(rest(), tables(&KRAKEN), data);
    assert_eq!(first, run(rest(), tables(&KRAKEN), data), "the same answers give the same replies");
});
