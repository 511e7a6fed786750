//! Binance's REST answers: see `support::rest`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use support::rest::run;
use support::tables::{BINANCE, settings, tables};
use venues::binance::{BinanceRest, default_hosts};
use venues::venue::Encoding;

fuzz_target!(|data: &[u8]| {
    let rest = || BinanceRest::new(&settings(default_hosts(), Encoding::Json)).expect("keys");
    let first = run(rest(), tables(&BINANCE), data);
    assert_eq!(first, run(rest(), tables(&BINANCE), data), "the same answers give the same replies");
});
